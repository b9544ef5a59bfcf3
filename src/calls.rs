//! The socket calls that somebody else's program made, with what findings know of those that failed.
//!
//! They were seen as they happened; here nothing is asked for, and nothing is said about what the program should have done.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::errno::ErrnoName;
use crate::names::{Call, Family, Os, PortChoice, Protocol, Reuse, words};
use crate::plan::{Outcome, Unsupported};
use crate::policy::causes::{Knowledge, Query, rank};

/// The version of the format, its first field.
pub const FORMAT: &str = "errnoscope-calls/2";

/// More calls than this are counted, and not kept.
pub const MOST_CALLS: usize = 1_000_000;

/// The calls of a command and of everything that it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// `errnoscope-calls/2`.
    #[schemars(extend("const" = FORMAT))]
    pub format: String,
    pub os: Os,
    pub command: Vec<String>,
    /// The conditions that it ran under, as they were written.
    pub conditions: Vec<String>,
    /// What this host lacks for one of the conditions. Then the command was not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<Unsupported>,
    /// Conditions that did not hold until the command ended, a sentence each.
    pub lost: Vec<String>,
    /// The command's exit code, or 128 + the number of the signal that killed it.
    pub exit_code: i32,
    pub seen: Seen,
    /// In the order in which they returned.
    pub calls: Vec<Record>,
}

/// How much was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The command itself among them.
    pub processes: u64,
    pub threads: u64,
    /// Calls that were counted and are not in the list.
    pub left_out: u64,
    /// Some process set up io_uring, through which sockets can be used without a call that shows here.
    pub io_uring: bool,
    /// Some program of 32 bits used sockets: none of its calls shows here.
    #[serde(default)]
    pub narrow: bool,
    /// Some process filters its own system calls: those that its filter denied do not show here.
    #[serde(default)]
    pub own_filter: bool,
}

words! {
    /// System calls that do what another one is known for.
    SystemCall {
        Sendmsg = "sendmsg",
        Sendmmsg = "sendmmsg",
        Recvmsg = "recvmsg",
        Recvmmsg = "recvmmsg",
    }
}

/// One call on a socket of IPv4 or IPv6 that has returned. One that a signal interrupted has not: the kernel makes it again or
/// says EINTR, and ptrace(2) does not tell which.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Microseconds since the command was started.
    pub micros: u64,
    /// As the command's own PID namespace numbers them.
    pub pid: i32,
    pub thread: i32,
    /// What it does: `sendto` with an address of its own, otherwise `send`, whichever system call it is. Of `send` and `recv`
    /// only those that failed are here, and none that was to be tried again (EAGAIN).
    pub call: Call,
    /// The system call, where its name is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SystemCall>,
    /// The socket's descriptor; for socket() and accept() the new one. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// SO_REUSEADDR and SO_REUSEPORT after the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<Reuse>,
    /// Who chose, or chooses, the source port.
    pub port: PortChoice,
    /// The address that was passed: to bind() its own, otherwise the peer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The socket's name after the call, where it has a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<SocketAddr>,
    /// For setsockopt(): the option and its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// For SO_ERROR and MSG_ERRQUEUE, the error that it gave.
    pub outcome: Outcome,
    /// What findings know to give this errno to this call, the likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
}

impl Record {
    /// connect() goes on in the background: no failure yet.
    pub fn is_under_way(&self) -> bool {
        self.call == Call::Connect && self.outcome.name() == "EINPROGRESS"
    }

    pub fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Errno(_)) && !self.is_under_way()
    }
}

pub fn schema() -> serde_json::Value {
    crate::schema::schema::<Calls>(FORMAT)
}

/// What may be asked of what is known: the same for many calls.
type Question = (Call, ErrnoName, PortChoice, Option<Protocol>, Option<Family>, Option<Reuse>);

/// Adds to each failed call what is known of it on a kernel of this release.
pub fn explain(calls: &mut [Record], os: Os, kernel: &Version) {
    let mut known: BTreeMap<Question, Vec<Cause>> = BTreeMap::new();
    let stack = LazyCell::new(|| Knowledge::built_in().most_like(os, kernel));
    for record in calls {
        let Outcome::Errno(errno) = &record.outcome else { continue };
        let Some(errno) = ErrnoName::new(errno.name()) else { continue };
        if record.is_under_way() {
            record.causes = vec![Cause::InProgress];
            continue;
        }
        let Record { call, port, protocol, family, reuse, .. } = *record;
        let causes = known.entry((call, errno, port, protocol, family, reuse)).or_insert_with(|| {
            let port = (port != PortChoice::None).then_some(port);
            let query = Query { os: Some(os), calls: vec![call], errno: Some(errno), port, protocol, family, reuse };
            causes(&query, *stack)
        });
        record.causes.clone_from(causes);
    }
}

fn causes(query: &Query, stack: Option<&str>) -> Vec<Cause> {
    let found = |query: &Query| -> Vec<Cause> {
        let known = Knowledge::built_in().of_stack(stack, |known| query.selects(known));
        rank(known).into_iter().map(|ranked| ranked.cause).collect()
    };
    // Nobody may have looked at this call with these very options.
    let mut causes = found(query);
    if causes.is_empty() && query.reuse.is_some() {
        causes = found(&Query { reuse: None, ..query.clone() });
    }
    // An error that waits is told to whichever call comes first (`sock_error()`), and those that receive were looked at.
    if causes.is_empty() && [Call::Send, Call::Sendto, Call::ErrorQueue].contains(&query.calls[0]) {
        causes = self::causes(&Query { calls: vec![Call::Recv], ..query.clone() }, stack);
    }
    causes
}
