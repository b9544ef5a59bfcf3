//! Preconditions, and the evidence that they held around a subject op.
//!
//! A worker answers queries without knowing what is hoped for; here the answers are held against it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::names::{Family, Protocol, User};
use crate::plan::{Answer, Detail, Query};
use crate::socket_table::{self, SocketRow};

/// When a precondition must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Right before the subject op, which may end it.
    Before,
    /// Right after it.
    After,
    Both,
}

/// Kernel state that a finding rests on. Reports have it as scenario files spell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Precondition {
    /// The socket table shows the named socket in this state; `gone`: no row has its name and peer.
    Socket {
        socket: String,
        protocol: Protocol,
        state: crate::plan::WaitFor,
        /// Whose effective uid made it. The kernel lists no owner of sockets without a file, such as those in TIME_WAIT.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<User>,
    },
    /// At most `free` ports of the range are held by no socket.
    Full {
        protocol: Protocol,
        family: Family,
        low: u16,
        high: u16,
        #[serde(default, skip_serializing_if = "is_zero")]
        free: u16,
    },
    /// The address is, or is not, configured on an interface.
    Address {
        address: IpAddr,
        local: bool,
    },
    /// What the FIB has for a destination: `unicast`, `local`, `blackhole`, …, or `none`.
    Route {
        destination: IpAddr,
        kind: String,
    },
    Sysctl {
        name: String,
        value: String,
    },
    /// No more than `free` descriptors can be opened.
    Descriptors {
        free: u64,
    },
    /// The nftables counter has gone up by at least `packets` over the subject op.
    Counted {
        counter: String,
        packets: u64,
    },
    /// Whether the subject op's user may bind ports below ip_unprivileged_port_start.
    User {
        net_bind_service: bool,
    },
    /// The error queue entry that the subject op read names this router.
    Offender {
        address: IpAddr,
    },
}

/// A precondition with what the kernel said of it. Whether that confirms it is never stored: it follows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "WireWitness")]
pub struct Witness {
    pub at: Moment,
    pub precondition: Precondition,
    pub before: Option<Answer>,
    pub after: Option<Answer>,
    /// What else shows it, where it is the subject op itself.
    pub detail: Option<Detail>,
}

/// A witness as files have it, with what follows from the rest written out.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Witness")]
struct WireWitness {
    at: Moment,
    precondition: Precondition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Answer>,
    /// What else shows it, where it is the subject op itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<Detail>,
    /// Whether the answers confirm the precondition. A reader computes it again.
    confirmed: bool,
}

impl Serialize for Witness {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let confirmed = self.confirmed();
        let Witness { at, precondition, before, after, detail } = self.clone();
        WireWitness { at, precondition, before, after, detail, confirmed }.serialize(serializer)
    }
}

impl TryFrom<WireWitness> for Witness {
    type Error = String;

    fn try_from(wire: WireWitness) -> Result<Witness, String> {
        let WireWitness { at, precondition, before, after, detail, confirmed } = wire;
        let witness = Witness { at, precondition, before, after, detail };
        if witness.confirmed() == confirmed {
            return Ok(witness);
        }
        let what = witness.precondition.describe();
        Err(match confirmed {
            true => format!("`{what}` is said to be confirmed, and its answers do not confirm it"),
            false => format!("`{what}` is said not to be confirmed, and its answers confirm it"),
        })
    }
}

impl schemars::JsonSchema for Witness {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        WireWitness::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WireWitness::json_schema(generator)
    }
}

impl Witness {
    /// What the kernel said around the subject op, as far as the precondition is about it.
    pub fn new(
        at: Moment,
        precondition: &Precondition,
        before: Option<&Answer>,
        after: Option<&Answer>,
        detail: Option<&Detail>,
    ) -> Witness {
        let (before, after) = match (precondition, at) {
            // What is counted over the op has two ends.
            (Precondition::Counted { .. }, _) | (_, Moment::Both) => (before, after),
            (_, Moment::Before) => (before, None),
            (_, Moment::After) => (None, after),
        };
        let detail = detail.filter(|_| matches!(precondition, Precondition::Offender { .. }));
        Witness {
            at,
            precondition: precondition.clone(),
            before: before.map(|answer| precondition.relevant(answer)),
            after: after.map(|answer| precondition.relevant(answer)),
            detail: detail.cloned(),
        }
    }

    /// Whether the kernel confirmed the precondition when it had to hold.
    pub fn confirmed(&self) -> bool {
        let holds = |answer: &Option<Answer>| answer.as_ref().is_some_and(|answer| self.precondition.holds(answer));
        match &self.precondition {
            Precondition::Offender { address } => {
                matches!(&self.detail, Some(Detail::ErrorQueue { offender: Some(offender), .. }) if offender == address)
            }
            Precondition::Counted { packets, .. } => match (&self.before, &self.after) {
                (Some(Answer::Counter { packets: before }), Some(Answer::Counter { packets: after })) => {
                    after.saturating_sub(*before) >= *packets
                }
                _ => false,
            },
            Precondition::Socket { .. }
            | Precondition::Full { .. }
            | Precondition::Address { .. }
            | Precondition::Route { .. }
            | Precondition::Sysctl { .. }
            | Precondition::Descriptors { .. }
            | Precondition::User { .. } => match self.at {
                Moment::Before => holds(&self.before),
                Moment::After => holds(&self.after),
                Moment::Both => holds(&self.before) && holds(&self.after),
            },
        }
    }
}

impl Precondition {
    /// What to ask the kernel.
    pub fn query(&self) -> Option<Query> {
        Some(match self {
            Precondition::Socket { socket, .. } => Query::Socket { socket: socket.clone() },
            &Precondition::Full { protocol, family, low, high, .. } => Query::Census { protocol, family, low, high },
            &Precondition::Address { address, .. } => Query::Address { address },
            &Precondition::Route { destination, .. } => Query::Route { destination },
            Precondition::Sysctl { name, .. } => Query::Sysctl { name: name.clone() },
            Precondition::Descriptors { .. } => Query::Descriptors {},
            Precondition::Counted { counter, .. } => Query::Counter { counter: counter.clone() },
            Precondition::User { .. } => Query::User {},
            Precondition::Offender { .. } => return None,
        })
    }

    /// In words, for reports.
    pub fn describe(&self) -> String {
        match self {
            Precondition::Socket { socket, protocol, state, user } => {
                let state = state.in_table(*protocol).map_or("gone", |state| state.as_str());
                match user {
                    None => format!("{socket} {state}"),
                    Some(user) => format!("{socket} {state} of {user}"),
                }
            }
            Precondition::Full { protocol, low, high, free, .. } => {
                format!("{protocol} ports {low} to {high} held, at most {free} free")
            }
            Precondition::Address { address, local: true } => format!("{address} configured"),
            Precondition::Address { address, local: false } => format!("{address} not configured"),
            Precondition::Route { destination, kind } => format!("route to {destination}: {kind}"),
            Precondition::Sysctl { name, value } => format!("{name} = {value}"),
            Precondition::Descriptors { free } => format!("at most {free} descriptors free"),
            Precondition::Counted { counter, packets } => format!("counter {counter} up by {packets} or more"),
            Precondition::User { net_bind_service: true } => "CAP_NET_BIND_SERVICE effective".to_owned(),
            Precondition::User { net_bind_service: false } => "CAP_NET_BIND_SERVICE not effective".to_owned(),
            Precondition::Offender { address } => format!("error reported by {address}"),
        }
    }

    fn holds(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (
                Precondition::Socket { protocol, state, user, .. },
                Answer::Socket { local: Some(local), remote, rows },
            ) => {
                let mut found = matching(rows, *protocol, *local, *remote);
                match state.in_table(*protocol) {
                    None => found.next().is_none(),
                    Some(state) => found.any(|row| row.state == state && (user.is_none() || row.user == *user)),
                }
            }
            (Precondition::Full { free, .. }, Answer::Census { held, size, .. }) => size - held <= u32::from(*free),
            (Precondition::Address { local, .. }, Answer::Address { local: seen }) => local == seen,
            (Precondition::Route { kind, .. }, Answer::Route { kind: seen }) => kind == seen,
            (Precondition::Sysctl { value, .. }, Answer::Sysctl { value: seen }) => {
                value.split_whitespace().eq(seen.split_whitespace())
            }
            (Precondition::Descriptors { free }, Answer::Descriptors { open, limit }) => {
                limit.saturating_sub(*open) <= *free
            }
            (Precondition::User { net_bind_service }, Answer::User { net_bind_service: seen, .. }) => {
                net_bind_service == seen
            }
            _ => false,
        }
    }

    /// Of a whole port's rows, a confirmed precondition needs only its own; anything else keeps them all.
    fn relevant(&self, answer: &Answer) -> Answer {
        match (self, answer) {
            (Precondition::Socket { protocol, .. }, Answer::Socket { local: Some(local), remote, rows })
                if self.holds(answer) =>
            {
                let rows = matching(rows, *protocol, *local, *remote).cloned().collect();
                Answer::Socket { local: Some(*local), remote: *remote, rows }
            }
            _ => answer.clone(),
        }
    }
}

fn matching(
    rows: &[SocketRow],
    protocol: Protocol,
    local: SocketAddr,
    remote: Option<SocketAddr>,
) -> impl Iterator<Item = &SocketRow> {
    socket_table::find(rows, local, remote).filter(move |row| row.protocol == protocol)
}

fn is_zero(count: &u16) -> bool {
    *count == 0
}
