//! Preconditions, and the evidence that they held around a subject op.
//!
//! A worker answers queries without knowing what is hoped for; here the answers are held against it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::names::{Family, Protocol, User};
use crate::plan::{Answer, Detail, Query};
use crate::socket_table::{self, SocketRow};
use crate::untrusted::Text;

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

/// Kernel state that a finding rests on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Precondition {
    /// The socket table shows the named socket in this state; `gone`: no row has its name and peer.
    Socket {
        socket: String,
        protocol: Protocol,
        state: crate::plan::WaitFor,
        /// Whose effective uid made it. The kernel lists no owner of sockets without a file, such as those in TIME_WAIT.
        #[serde(default)]
        user: Option<User>,
    },
    /// At most `free` ports of the range are held by no socket.
    Full {
        protocol: Protocol,
        family: Family,
        low: u16,
        high: u16,
        #[serde(default)]
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

/// A precondition with what the kernel said of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// The precondition, in words.
    pub precondition: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Answer>,
    /// What else shows it, where it is the subject op itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
    pub confirmed: bool,
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

    /// The verdict of the evidence, and as much of it as the precondition is about.
    pub fn witness(
        &self,
        at: Moment,
        before: Option<&Answer>,
        after: Option<&Answer>,
        detail: Option<&Detail>,
    ) -> Witness {
        let confirmed = match self {
            Precondition::Offender { address } => {
                matches!(detail, Some(Detail::ErrorQueue { offender: Some(offender), .. }) if offender == address)
            }
            Precondition::Counted { packets, .. } => match (before, after) {
                (Some(Answer::Counter { packets: before }), Some(Answer::Counter { packets: after })) => {
                    after.saturating_sub(*before) >= *packets
                }
                _ => false,
            },
            _ => match at {
                Moment::Before => before.is_some_and(|answer| self.holds(answer)),
                Moment::After => after.is_some_and(|answer| self.holds(answer)),
                Moment::Both => [before, after].iter().all(|answer| answer.is_some_and(|answer| self.holds(answer))),
            },
        };
        let (before, after) = match at {
            Moment::Before => (before, None),
            Moment::After => (None, after),
            Moment::Both => (before, after),
        };
        let detail = detail.filter(|_| matches!(self, Precondition::Offender { .. }));
        Witness {
            precondition: self.describe().into(),
            before: before.map(|answer| self.relevant(answer)),
            after: after.map(|answer| self.relevant(answer)),
            detail: detail.cloned(),
            confirmed,
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
            (Precondition::Route { kind, .. }, Answer::Route { kind: seen }) => seen == kind,
            (Precondition::Sysctl { value, .. }, Answer::Sysctl { value: seen }) => {
                value.split_whitespace().eq(seen.raw().split_whitespace())
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
