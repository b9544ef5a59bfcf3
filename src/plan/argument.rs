//! What arguments of ops can be.
//!
//! `op` has the ops; options of sockets are `option`'s.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::words::names::{HolderState, Protocol, Reuse, SocketState};
use crate::words::near::or_list;
use crate::words::ports::flat_range;

flat_range! {
    /// How a range of ports is taken.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    pub struct Fill {
        /// Which calls take them.
        how: FillHow,
        /// Of which sockets.
        protocol: Protocol,
        /// The local address of every socket made; for `connect`, what autobind then chooses.
        address: IpAddr,
        ..range,
        /// Which options they set before.
        #[serde(default = "no_reuse")]
        reuse: Reuse,
        /// For `connect` and `time-wait`: the listener to connect to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<SocketAddr>,
        /// How many ports to leave free, at the upper end for `bind`.
        #[serde(default, skip_serializing_if = "is_zero")]
        leave: u16,
        /// Whether each socket has the range for itself (IP_LOCAL_PORT_RANGE), where the range of all is not changed.
        #[serde(default, skip_serializing_if = "is_false")]
        by_option: bool,
    }
}

/// By which calls a range of ports is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FillHow {
    /// bind() to each port by number: linear in the size of the range.
    Bind,
    /// bind(port 0) again and again.
    BindZero,
    /// connect() from unbound sockets to `to` again and again.
    Connect,
    /// For each port: bind, connect to `to`, and an active close.
    TimeWait,
}

/// Which socket of a protocol socket(2) is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SocketForm {
    /// `SOCK_STREAM` for TCP, `SOCK_DGRAM` for UDP.
    #[default]
    Usual,
    /// `SOCK_RAW` with the protocol's number (raw(7)).
    Raw,
    /// `SOCK_DGRAM` with `IPPROTO_ICMP` or `IPPROTO_ICMPV6` (icmp(7)), whatever the protocol is.
    Ping,
}

impl SocketForm {
    pub(super) fn is_usual(&self) -> bool {
        *self == SocketForm::Usual
    }
}

/// The second argument of shutdown(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// `SHUT_RD`.
    Read,
    /// `SHUT_WR`.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

/// The type of a route (ip-route(8), `RTN_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// An ordinary one, through a device.
    Unicast,
    /// EHOSTUNREACH.
    Unreachable,
    /// EINVAL, and nothing is said to anybody.
    Blackhole,
    /// EACCES.
    Prohibit,
    /// As if this table had no route: ENETUNREACH, where no other has one.
    Throw,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
pub enum WaitFor {
    /// No row of the table is that socket.
    #[serde(rename = "gone")]
    Gone,
    /// A row of the table shows it in this state.
    #[serde(untagged)]
    State(HolderState),
}

impl<'de> Deserialize<'de> for WaitFor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<WaitFor, D::Error> {
        struct StateVisitor;

        // A visitor's fault has a place, and can say which words there are.
        impl serde::de::Visitor<'_> for StateVisitor {
            type Value = WaitFor;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the state of a socket, or `gone`")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<WaitFor, E> {
                let known = || HolderState::ALL.iter().map(|state| state.as_str()).chain(["gone"]);
                match word.parse() {
                    _ if word == "gone" => Ok(WaitFor::Gone),
                    Ok(state) => Ok(WaitFor::State(state)),
                    Err(_) => Err(E::custom(format!("unknown state `{word}`{}", or_list(word, known())))),
                }
            }
        }

        deserializer.deserialize_str(StateVisitor)
    }
}

impl WaitFor {
    /// The state that the socket table must show, or `None` for `gone`.
    pub fn in_table(self, protocol: Protocol) -> Option<SocketState> {
        match self {
            WaitFor::Gone => None,
            WaitFor::State(state) => Some(state.in_table(protocol)),
        }
    }
}

fn no_reuse() -> Reuse {
    Reuse::None
}

fn is_zero(count: &u16) -> bool {
    *count == 0
}

fn is_false(value: &bool) -> bool {
    !value
}
