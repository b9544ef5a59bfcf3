//! Ops: each is one socket call, or one change of the case's private host.
//!
//! Scenario files and plans use the same types. The interpreter performs the ops.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::words::names::{Call, Family, HolderState, Protocol, Reuse, SocketState};
use crate::words::near::or_list;
use crate::words::ports::{PortRange, flat_range};
use crate::words::untrusted::shown;

/// One socket-API call, or one change of the private host, with its arguments.
///
/// Sockets go by name: the name that the op which made them gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Op {
    /// socket(2).
    Socket { socket: String, family: Family, protocol: Protocol },
    /// setsockopt(2) with a typed option.
    SetOption { socket: String, option: SocketOption },
    /// bind(2). `length` overrides the size of the address that is passed, in bytes.
    Bind {
        socket: String,
        address: IpAddr,
        port: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<u32>,
        /// The interface whose index becomes `sin6_scope_id`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
    },
    /// listen(2).
    Listen {
        socket: String,
        #[serde(default = "default_backlog")]
        backlog: i32,
    },
    /// connect(2). A blocking one is given `wait_ms` before it counts as blocked.
    Connect {
        socket: String,
        address: IpAddr,
        port: u16,
        #[serde(default)]
        nonblocking: bool,
        #[serde(default = "default_wait_ms")]
        wait_ms: u32,
    },
    /// connect(2) with AF_UNSPEC, which dissolves the association.
    Disconnect { socket: String },
    /// accept(2), bounded by `wait_ms`; the new socket is called `new`.
    Accept {
        socket: String,
        new: String,
        #[serde(default = "default_wait_ms")]
        wait_ms: u32,
    },
    /// send(2) of `bytes` bytes, without waiting.
    Send { socket: String, bytes: u32 },
    /// send(2) without waiting until the kernel takes no more: data and any FIN behind it stay queued.
    SendUntilFull { socket: String },
    /// sendto(2) of `bytes` bytes, without waiting.
    SendTo {
        socket: String,
        address: IpAddr,
        port: u16,
        #[serde(default = "default_bytes")]
        bytes: u32,
    },
    /// recv(2), bounded by `wait_ms`.
    Receive {
        socket: String,
        #[serde(default = "default_wait_ms")]
        wait_ms: u32,
    },
    /// shutdown(2).
    Shutdown { socket: String, how: How },
    /// close(2). The name stays known: the kernel may keep the connection after it.
    Close { socket: String },
    /// poll(2) until the socket is writable or in error, at most `wait_ms`, then getsockopt(SO_ERROR); the outcome
    /// is the errno read.
    SoError {
        socket: String,
        #[serde(default = "default_wait_ms")]
        wait_ms: u32,
    },
    /// recvmsg(MSG_ERRQUEUE), bounded by `wait_ms`; the outcome is `ee_errno`.
    ErrorQueue {
        socket: String,
        #[serde(default = "default_wait_ms")]
        wait_ms: u32,
    },
    /// getsockname(2).
    GetName { socket: String },
    /// Reads the socket table until it shows `socket` in `state`, or no more at all (`gone`).
    Wait {
        socket: String,
        state: WaitFor,
        #[serde(default = "default_deadline_ms")]
        deadline_ms: u32,
    },
    /// Lets kernel time pass: for what only age changes, and never to synchronise.
    Elapse { ms: u32 },
    /// Writes a sysctl of the case's own network namespace, named with dots.
    SetSysctl { name: String, value: String },
    /// Brings an interface up.
    SetUp { device: String },
    /// RTM_NEWADDR, without duplicate address detection.
    AddAddress { device: String, address: IpAddr, prefix: u8 },
    /// RTM_DELADDR.
    DeleteAddress { device: String, address: IpAddr, prefix: u8 },
    /// RTM_NEWROUTE in the main table.
    AddRoute {
        destination: IpAddr,
        prefix: u8,
        kind: RouteKind,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
    },
    /// A veth pair, both ends in the case's namespace.
    AddVeth { device: String, peer: String },
    /// A TUN device, up.
    AddTun { device: String },
    /// Reads packets from a TUN device until a TCP SYN arrives and answers it with an ICMP error from `router`.
    AnswerSyn { device: String, router: IpAddr, icmp_type: u8, icmp_code: u8 },
    /// `nft -f -` in the case's namespace.
    Nft { ruleset: String },
    /// Takes every port of the range (see [`Fill`]).
    Fill(Fill),
    /// Lowers RLIMIT_NOFILE to what is open already.
    ExhaustDescriptors {},
    /// The case kills itself with this signal: for the harness's own tests.
    Raise { signal: i32 },
}

flat_range! {
    /// How a range of ports is taken.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    pub struct Fill {
        how: FillHow,
        protocol: Protocol,
        /// The local address of every socket made; for `connect`, what autobind then chooses.
        address: IpAddr,
        ..range,
        #[serde(default = "no_reuse")]
        reuse: Reuse,
        /// For `connect` and `time-wait`: the listener to connect to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<SocketAddr>,
        /// How many ports to leave free, at the upper end for `bind`.
        #[serde(default, skip_serializing_if = "is_zero")]
        leave: u16,
    }
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Read,
    Write,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    Unicast,
    Unreachable,
    Blackhole,
    Prohibit,
    Throw,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
pub enum WaitFor {
    #[serde(rename = "gone")]
    Gone,
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

/// A socket option with its value (socket(7), ip(7), ipv6(7), tcp(7)).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SocketOption {
    /// SO_REUSEADDR.
    ReuseAddr(bool),
    /// SO_REUSEPORT.
    ReusePort(bool),
    /// SO_LINGER on, with this many seconds; 0 makes close() send a reset.
    Linger(u16),
    /// IPV6_V6ONLY.
    V6Only(bool),
    /// SO_BINDTODEVICE; the empty name unbinds.
    BindToDevice(String),
    /// IP_FREEBIND, IPV6_FREEBIND.
    Freebind(bool),
    /// IP_BIND_ADDRESS_NO_PORT.
    BindAddressNoPort(bool),
    /// IP_LOCAL_PORT_RANGE, lowest and highest port.
    LocalPortRange(PortRange),
    /// IP_RECVERR, IPV6_RECVERR.
    RecvErr(bool),
    /// IP_TTL, IPV6_UNICAST_HOPS.
    Ttl(u8),
    /// SO_BROADCAST.
    Broadcast(bool),
    /// TCP_LINGER2, in seconds.
    Linger2(i32),
    /// TCP_USER_TIMEOUT, in milliseconds.
    UserTimeout(i32),
    /// TCP_QUICKACK: an acknowledgement that is being delayed is sent now. Only ever a matter of time, so that an OS
    /// without it does nothing.
    QuickAck(bool),
}

impl Op {
    /// The call that this op makes, for those that can be a subject.
    pub fn call(&self) -> Option<Call> {
        Some(match self {
            Op::Socket { .. } => Call::Socket,
            Op::SetOption { .. } => Call::Setsockopt,
            Op::Bind { .. } => Call::Bind,
            Op::Listen { .. } => Call::Listen,
            Op::Connect { .. } | Op::Disconnect { .. } => Call::Connect,
            Op::Accept { .. } => Call::Accept,
            Op::Send { .. } => Call::Send,
            Op::SendTo { .. } => Call::Sendto,
            Op::Receive { .. } => Call::Recv,
            Op::Shutdown { .. } => Call::Shutdown,
            Op::Close { .. } => Call::Close,
            Op::SoError { .. } => Call::SoError,
            Op::ErrorQueue { .. } => Call::ErrorQueue,
            Op::SendUntilFull { .. }
            | Op::GetName { .. }
            | Op::Wait { .. }
            | Op::Elapse { .. }
            | Op::SetSysctl { .. }
            | Op::SetUp { .. }
            | Op::AddAddress { .. }
            | Op::DeleteAddress { .. }
            | Op::AddRoute { .. }
            | Op::AddVeth { .. }
            | Op::AddTun { .. }
            | Op::AnswerSyn { .. }
            | Op::Nft { .. }
            | Op::Fill(_)
            | Op::ExhaustDescriptors {}
            | Op::Raise { .. } => return None,
        })
    }

    /// The socket that the op acts on.
    pub fn socket(&self) -> Option<&str> {
        match self {
            Op::Socket { socket, .. }
            | Op::SetOption { socket, .. }
            | Op::Bind { socket, .. }
            | Op::Listen { socket, .. }
            | Op::Connect { socket, .. }
            | Op::Disconnect { socket }
            | Op::Accept { socket, .. }
            | Op::Send { socket, .. }
            | Op::SendUntilFull { socket }
            | Op::SendTo { socket, .. }
            | Op::Receive { socket, .. }
            | Op::Shutdown { socket, .. }
            | Op::Close { socket }
            | Op::SoError { socket, .. }
            | Op::ErrorQueue { socket, .. }
            | Op::GetName { socket }
            | Op::Wait { socket, .. } => Some(socket),
            Op::Elapse { .. }
            | Op::SetSysctl { .. }
            | Op::SetUp { .. }
            | Op::AddAddress { .. }
            | Op::DeleteAddress { .. }
            | Op::AddRoute { .. }
            | Op::AddVeth { .. }
            | Op::AddTun { .. }
            | Op::AnswerSyn { .. }
            | Op::Nft { .. }
            | Op::Fill(_)
            | Op::ExhaustDescriptors {}
            | Op::Raise { .. } => None,
        }
    }

    /// The socket that the op makes.
    pub fn makes(&self) -> Option<&str> {
        match self {
            Op::Socket { socket: made, .. } | Op::Accept { new: made, .. } => Some(made),
            _ => None,
        }
    }

    /// As a trail shows it: its name, its socket and its other arguments, with nothing in it that controls a terminal.
    pub fn in_words(&self) -> String {
        let (name, arguments) = self.describe();
        let parts = [name.as_str(), self.socket().unwrap_or_default(), &arguments];
        shown(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")).into_owned()
    }

    /// The op's name, as TOML and JSON spell it, and its other arguments as text.
    pub fn describe(&self) -> (String, String) {
        let value = serde_json::to_value(self).unwrap_or_default();
        let Some((name, arguments)) = value.as_object().and_then(|op| op.iter().next()) else {
            return (String::new(), String::new());
        };
        let mut text = String::new();
        for (key, value) in arguments.as_object().into_iter().flatten() {
            if key == "socket" {
                continue;
            }
            let separator = if text.is_empty() { "" } else { " " };
            match value {
                serde_json::Value::String(value) => text.push_str(&format!("{separator}{key}={value}")),
                value => text.push_str(&format!("{separator}{key}={value}")),
            }
        }
        (name.clone(), text)
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

fn default_backlog() -> i32 {
    8
}

fn default_wait_ms() -> u32 {
    100
}

fn default_deadline_ms() -> u32 {
    2_000
}

fn default_bytes() -> u32 {
    1
}

fn no_reuse() -> Reuse {
    Reuse::None
}

fn is_zero(count: &u16) -> bool {
    *count == 0
}
