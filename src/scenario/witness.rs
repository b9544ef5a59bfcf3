//! Preconditions, and the evidence that they held around a subject op.
//!
//! A worker answers queries without knowing the preconditions; this compares the answers with them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::plan::socket_table::Sought;
use crate::plan::unix::OwnPath;
use crate::plan::{Answer, Census, Detail, Query, WaitFor};
use crate::words::names::{Family, FileKind, Protocol, UnixState, UnixWanted, User};
use crate::words::ports::{PortRange, flat_range, visit_sysctl};
use crate::words::untrusted::shown;

/// When a precondition must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WitnessTime {
    /// Right before the subject op, which may end it.
    Before,
    /// Right after it.
    After,
    /// Before and after.
    Both,
}

/// Kernel state that a finding rests on. Reports have it as scenario files spell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Precondition {
    /// The socket table shows the named socket in this state; `gone`: no row of it is that socket.
    Socket {
        /// The name that the op which made it gave.
        socket: String,
        /// In which table.
        protocol: Protocol,
        /// In which state, or `gone`.
        state: WaitFor,
        /// Whose effective uid made it. The kernel lists no owner of sockets without a file, such as those in
        /// TIME_WAIT.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<User>,
    },
    /// At most `free` ports of the range are held by no socket.
    Full(Full),
    /// The address is, or is not, configured on an interface.
    Address {
        /// The address.
        address: IpAddr,
        /// Whether an interface has it.
        local: bool,
    },
    /// What the FIB has for a destination: `unicast`, `local`, `blackhole`, …, or `none`.
    Route {
        /// The destination.
        destination: IpAddr,
        /// What the FIB answers.
        kind: String,
    },
    /// The sysctl has this value; white space between numbers does not count.
    Sysctl {
        /// Named with dots.
        name: String,
        /// The value.
        value: String,
    },
    /// No more than `free` descriptors can be opened.
    Descriptors {
        /// How many at most.
        free: u64,
    },
    /// The nftables counter has gone up by at least `packets` over the subject op.
    Counted {
        /// Its name.
        counter: String,
        /// How many at least.
        packets: u64,
    },
    /// Whether the subject op's user may bind ports below ip_unprivileged_port_start.
    User {
        /// Whether it may (CAP_NET_BIND_SERVICE, capabilities(7)).
        net_bind_service: bool,
    },
    /// The error queue entry that the subject op read names this router.
    Offender {
        /// Its address.
        address: IpAddr,
    },
    /// The kernel's list shows the named socket of the family unix in this state.
    Unix {
        /// The name that the op which made it gave.
        socket: String,
        /// In which state, or `gone`.
        state: UnixWanted,
        /// How many connections wait for its accept(), at least.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pending: Option<u32>,
    },
    /// What a path of the case's own directory leads to.
    File {
        /// The path.
        path: OwnPath,
        /// What is there.
        kind: FileKind,
    },
}

flat_range! {
    /// A range of ports that is taken.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Full {
        /// By sockets of which protocol.
        protocol: Protocol,
        /// And of which family.
        family: Family,
        ..range,
        /// How many ports may be left, at most.
        #[serde(default, skip_serializing_if = "is_zero")]
        free: u16,
    }
}

/// A precondition with what the kernel said of it. Whether that confirms it is never stored: it follows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "WireWitness")]
pub struct Witness {
    /// When it must hold.
    pub at: WitnessTime,
    /// What must hold.
    pub precondition: Precondition,
    /// What the kernel answered right before the subject op, if that counts.
    pub before: Option<Answer>,
    /// And right after it.
    pub after: Option<Answer>,
    /// What else shows it, where it is the subject op itself.
    pub detail: Option<Detail>,
}

/// A witness as files have it, with what follows from the rest written out.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Witness")]
struct WireWitness {
    at: WitnessTime,
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

/// What is written of a witness does not follow from its answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FalseWitness {
    /// It says that it is confirmed.
    #[error("`{precondition}` is said to be confirmed, and its answers do not confirm it")]
    Confirmed {
        /// In words.
        precondition: String,
    },
    /// It says that it is not.
    #[error("`{precondition}` is said not to be confirmed, and its answers confirm it")]
    Unconfirmed {
        /// In words.
        precondition: String,
    },
}

impl TryFrom<WireWitness> for Witness {
    type Error = FalseWitness;

    fn try_from(wire: WireWitness) -> Result<Witness, FalseWitness> {
        let WireWitness { at, precondition, before, after, detail, confirmed } = wire;
        let witness = Witness { at, precondition, before, after, detail };
        if witness.confirmed() == confirmed {
            return Ok(witness);
        }
        let precondition = witness.precondition.describe();
        Err(if confirmed {
            FalseWitness::Confirmed { precondition }
        } else {
            FalseWitness::Unconfirmed { precondition }
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
        at: WitnessTime,
        precondition: &Precondition,
        before: Option<&Answer>,
        after: Option<&Answer>,
        detail: Option<&Detail>,
    ) -> Witness {
        let (before, after) = match (precondition, at) {
            // What is counted over the op has two ends.
            (Precondition::Counted { .. }, _) | (_, WitnessTime::Both) => (before, after),
            (_, WitnessTime::Before) => (before, None),
            (_, WitnessTime::After) => (None, after),
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
                    // One that has gone down is not the counter that was read before.
                    after.checked_sub(*before).is_some_and(|counted| counted >= *packets)
                }
                _ => false,
            },
            Precondition::Socket { .. }
            | Precondition::Full { .. }
            | Precondition::Address { .. }
            | Precondition::Route { .. }
            | Precondition::Sysctl { .. }
            | Precondition::Descriptors { .. }
            | Precondition::Unix { .. }
            | Precondition::File { .. }
            | Precondition::User { .. } => match self.at {
                WitnessTime::Before => holds(&self.before),
                WitnessTime::After => holds(&self.after),
                WitnessTime::Both => holds(&self.before) && holds(&self.after),
            },
        }
    }
}

impl Precondition {
    /// What to ask the kernel.
    pub fn query(&self) -> Option<Query> {
        Some(match self {
            Precondition::Socket { socket, .. } => Query::Socket { socket: socket.clone() },
            &Precondition::Full(Full { protocol, family, range, .. }) => {
                Query::Census(Census { protocol, family, range })
            }
            &Precondition::Address { address, .. } => Query::Address { address },
            &Precondition::Route { destination, .. } => Query::Route { destination },
            Precondition::Sysctl { name, .. } => Query::Sysctl { name: name.clone() },
            Precondition::Descriptors { .. } => Query::Descriptors {},
            Precondition::Counted { counter, .. } => Query::Counter { counter: counter.clone() },
            Precondition::User { .. } => Query::User {},
            Precondition::Offender { .. } => return None,
            Precondition::Unix { socket, .. } => Query::Unix { socket: socket.clone() },
            Precondition::File { path, .. } => Query::File { path: path.clone() },
        })
    }

    /// In words, for reports, with nothing in them that controls a terminal.
    pub fn describe(&self) -> String {
        let words = match self {
            Precondition::Socket { socket, protocol, state, user } => {
                let state = state.in_table(*protocol).map_or("gone", |state| state.as_str());
                match user {
                    None => format!("{socket} {state}"),
                    Some(user) => format!("{socket} {state} of {user}"),
                }
            }
            Precondition::Full(Full { protocol, range, free, .. }) => {
                format!("{protocol} ports {} to {} held, at most {free} free", range.low(), range.high())
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
            Precondition::Unix { socket, state, pending: None } => format!("{socket} {state}"),
            Precondition::Unix { socket, state, pending: Some(pending) } => {
                format!("{socket} {state}, {pending} or more waiting for accept()")
            }
            Precondition::File { path, kind } => format!("{}: {kind}", path.as_str()),
        };
        shown(&words).into_owned()
    }

    /// Hands the range of ephemeral ports that it is about to `range`, which may put another in its place.
    pub(super) fn visit_ranges(&mut self, range: &mut dyn FnMut(&mut PortRange)) {
        match self {
            Precondition::Full(full) => range(&mut full.range),
            Precondition::Sysctl { name, value } => visit_sysctl(name, value, range),
            Precondition::Socket { .. }
            | Precondition::Address { .. }
            | Precondition::Route { .. }
            | Precondition::Descriptors { .. }
            | Precondition::Counted { .. }
            | Precondition::User { .. }
            | Precondition::Unix { .. }
            | Precondition::File { .. }
            | Precondition::Offender { .. } => {}
        }
    }

    fn holds(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Precondition::Socket { protocol, state, user, .. }, Answer::Socket { rows, .. }) => {
                let Some(sought) = Sought::of(*protocol, answer) else { return false };
                let mut found = sought.among(rows);
                match state.in_table(*protocol) {
                    None => found.next().is_none(),
                    Some(state) => found.any(|row| row.state == state && (user.is_none() || row.user == *user)),
                }
            }
            (Precondition::Full(full), answer @ Answer::Census { .. }) => {
                full.left(answer).is_some_and(|left| left <= u32::from(full.free))
            }
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
            (Precondition::Unix { state, pending, .. }, Answer::Unix { inode, rows }) => {
                let own = rows.iter().find(|row| row.inode == *inode);
                let waiting = rows.iter().filter(|row| row.state == UnixState::Pending).count();
                let is_so = match (state, own) {
                    (UnixWanted::Gone, own) => own.is_none(),
                    (_, None) => false,
                    (UnixWanted::Bound, Some(own)) => own.state == UnixState::Unconnected && own.name.is_some(),
                    (UnixWanted::Listening, Some(own)) => own.state == UnixState::Listening,
                    (UnixWanted::Connected, Some(own)) => own.state == UnixState::Connected,
                };
                is_so && pending.is_none_or(|least| waiting >= least as usize)
            }
            (Precondition::File { kind, .. }, Answer::File { kind: seen, .. }) => kind == seen,
            (
                Precondition::Unix { .. }
                | Precondition::File { .. }
                | Precondition::Socket { .. }
                | Precondition::Full(_)
                | Precondition::Address { .. }
                | Precondition::Route { .. }
                | Precondition::Sysctl { .. }
                | Precondition::Descriptors { .. }
                | Precondition::Counted { .. }
                | Precondition::User { .. }
                | Precondition::Offender { .. },
                _,
            ) => false,
        }
    }

    /// Of a whole port's rows, a confirmed state needs only its own; anything else keeps them all.
    fn relevant(&self, answer: &Answer) -> Answer {
        match (self, answer) {
            (Precondition::Socket { protocol, state, .. }, Answer::Socket { local, remote, rows, inode })
                if *state != WaitFor::Gone && self.holds(answer) =>
            {
                let rows = Sought::of(*protocol, answer).into_iter().flat_map(|sought| sought.among(rows));
                Answer::Socket { local: *local, remote: *remote, rows: rows.cloned().collect(), inode: *inode }
            }
            _ => answer.clone(),
        }
    }
}

impl Full {
    /// How many ports of the range no socket holds, by an answer that is one: about as many ports as the range has, and
    /// no more of them held, or named as free, than there are.
    pub fn left(&self, answer: &Answer) -> Option<u32> {
        let Answer::Census { held, size, free } = answer else { return None };
        let left = size.checked_sub(*held)?;
        let named = free.iter().all(|port| self.range.contains(*port)) && free.len() as u64 <= u64::from(left);
        (*size == self.range.size() && named).then_some(left)
    }
}

fn is_zero(count: &u16) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::unix::UnixRow;
    use crate::words::names::UnixKind;
    use crate::words::untrusted::Text;

    fn full(free: u16) -> Precondition {
        let (protocol, family) = (Protocol::Tcp, Family::Ipv4);
        Precondition::Full(Full { protocol, family, range: PortRange::of::<30_000, 30_015>(), free })
    }

    /// Whether an answer, before and after, makes a witness.
    #[track_caller]
    fn confirms(precondition: &Precondition, answer: &Answer) -> bool {
        let [before, after, both] = [WitnessTime::Before, WitnessTime::After, WitnessTime::Both]
            .map(|at| Witness::new(at, precondition, Some(answer), Some(answer), None).confirmed());
        assert!(before == after && after == both, "one answer is as good as the other");
        both
    }

    fn census(held: u32, size: u32, free: &[u16]) -> Answer {
        Answer::Census { held, size, free: free.to_vec() }
    }

    #[test]
    fn a_census_is_of_the_range_and_adds_up() {
        assert!(confirms(&full(0), &census(16, 16, &[])));
        assert!(confirms(&full(2), &census(14, 16, &[30_000, 30_015])));
        assert!(confirms(&full(2), &census(15, 16, &[30_000])));
        // More are free than may be.
        assert!(!confirms(&full(0), &census(15, 16, &[30_000])));
        assert!(!confirms(&full(1), &census(14, 16, &[30_000, 30_001])));
        // What no kernel says: of another range, or of none, or with more held than there are, or more free than are
        // left.
        for (held, size) in [(0, 0), (1, 1), (15, 15), (17, 17), (28_232, 28_232), (u32::MAX, u32::MAX)] {
            assert!(!confirms(&full(0), &census(held, size, &[])), "{held} of {size}");
        }
        for (held, size) in [(5, 4), (17, 16), (1, 0), (u32::MAX, 16), (u32::MAX, 0), (u32::MAX - 65_519, 16)] {
            for free in [0, 16, u16::MAX] {
                assert!(!confirms(&full(free), &census(held, size, &[])), "{held} of {size}, {free} may be free");
            }
        }
        assert!(!confirms(&full(0), &census(16, 16, &[30_000])), "none is left, and one is free");
        assert!(!confirms(&full(1), &census(15, 16, &[29_999])), "a port of no such range");
    }

    #[test]
    fn a_counter_counts_up() {
        let counted = |packets| Precondition::Counted { counter: "hits".to_owned(), packets };
        let confirmed = |packets, before, after| {
            let [before, after] = [before, after].map(|packets| Answer::Counter { packets });
            Witness::new(WitnessTime::Both, &counted(packets), Some(&before), Some(&after), None).confirmed()
        };
        assert!(confirmed(1, 0, 1) && confirmed(1, 5, 9) && confirmed(0, 5, 5) && confirmed(u64::MAX, 0, u64::MAX));
        assert!(!confirmed(1, 5, 5) && !confirmed(2, 5, 6));
        // It was made anew meanwhile.
        assert!(!confirmed(0, 5, 4) && !confirmed(1, u64::MAX, 0));
        let failed = Answer::Failed { error: "nft knows no counter `hits`".into() };
        assert!(!confirms(&counted(0), &failed), "a counter that is not there has counted nothing");
        let there = Answer::Counter { packets: 0 };
        assert!(!Witness::new(WitnessTime::Both, &counted(0), Some(&failed), Some(&there), None).confirmed());
        assert!(!Witness::new(WitnessTime::Both, &counted(0), None, Some(&there), None).confirmed());
    }

    #[test]
    fn a_unix_socket_is_the_row_with_its_inode() {
        let row = |state, name: Option<&str>, inode| UnixRow {
            kind: UnixKind::Stream,
            state,
            name: name.map(Text::from),
            inode,
        };
        let is = |state, pending| Precondition::Unix { socket: "s".to_owned(), state, pending };
        let pending = || row(UnixState::Pending, Some("a"), 0);
        let listener =
            Answer::Unix { inode: 7, rows: vec![row(UnixState::Listening, Some("a"), 7), pending(), pending()] };
        assert!(confirms(&is(UnixWanted::Listening, None), &listener));
        assert!(confirms(&is(UnixWanted::Listening, Some(2)), &listener));
        assert!(!confirms(&is(UnixWanted::Listening, Some(3)), &listener));
        assert!(
            !confirms(&is(UnixWanted::Bound, None), &listener) && !confirms(&is(UnixWanted::Gone, None), &listener)
        );
        // Another socket has the name.
        let stale = Answer::Unix { inode: 8, rows: vec![row(UnixState::Listening, Some("a"), 7)] };
        assert!(confirms(&is(UnixWanted::Gone, None), &stale) && !confirms(&is(UnixWanted::Listening, None), &stale));
        let nameless = Answer::Unix { inode: 7, rows: vec![row(UnixState::Unconnected, None, 7)] };
        assert!(!confirms(&is(UnixWanted::Bound, None), &nameless));
    }

    /// An answer to another question, or none, confirms nothing.
    #[test]
    fn only_its_own_answer_makes_a_witness() {
        let socket =
            |state| Precondition::Socket { socket: "s".to_owned(), protocol: Protocol::Tcp, state, user: None };
        let gone = socket(WaitFor::Gone);
        let address = "192.0.2.1".parse().unwrap();
        let preconditions = [
            gone.clone(),
            full(u16::MAX),
            Precondition::Address { address, local: false },
            Precondition::Route { destination: address, kind: "none".to_owned() },
            Precondition::Sysctl { name: "net.x".to_owned(), value: String::new() },
            Precondition::Descriptors { free: u64::MAX },
            Precondition::User { net_bind_service: false },
            Precondition::Unix { socket: "s".to_owned(), state: UnixWanted::Gone, pending: None },
            Precondition::File { path: OwnPath::try_from("a".to_owned()).unwrap(), kind: FileKind::None },
        ];
        let answers = [
            Answer::Socket { local: "127.0.0.1:1".parse().ok(), remote: None, rows: Vec::new(), inode: Some(7) },
            census(16, 16, &[]),
            Answer::Address { local: false },
            Answer::Route { kind: "none".into() },
            Answer::Sysctl { value: Text::default() },
            Answer::Descriptors { open: 4, limit: 4 },
            Answer::User { uid: 0, net_bind_service: false },
            Answer::Unix { inode: 7, rows: Vec::new() },
            Answer::File { kind: FileKind::None, mode: 0 },
        ];
        for (of, precondition) in preconditions.iter().enumerate() {
            for (to, answer) in answers.iter().enumerate() {
                assert_eq!(confirms(precondition, answer), of == to, "{precondition:?}, {answer:?}");
            }
            assert!(!confirms(precondition, &Answer::Failed { error: Text::default() }));
            assert!(!Witness::new(WitnessTime::Both, precondition, None, None, None).confirmed());
            assert!(!Witness::new(WitnessTime::Both, precondition, Some(&answers[of]), None, None).confirmed());
            assert!(!Witness::new(WitnessTime::Both, precondition, None, Some(&answers[of]), None).confirmed());
        }
        let nameless = Answer::Socket { local: None, remote: None, rows: Vec::new(), inode: None };
        assert!(!confirms(&gone, &nameless), "a socket that never had a name is not gone");
    }
}
