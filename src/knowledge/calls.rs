//! The socket calls of somebody else's program, and what findings know about those that failed.
//!
//! Another module recorded them. This one asks the host nothing, and does not say what the program should have done.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::knowledge::policy::causes::{CallQuery, Knowledge, rank};
use crate::plan::{Outcome, Unsupported};
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Os, PortChoice, Protocol, Reuse, words};

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
    /// The system that answered.
    pub os: Os,
    /// Its words.
    pub command: Vec<String>,
    /// The conditions that it ran under, as they were written.
    pub conditions: Vec<String>,
    /// What this host lacks for one of the conditions. Then the command was not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<Unsupported>,
    /// Conditions that did not hold when the command had ended, and processes of its environment that were gone or
    /// stopped then, a sentence each.
    pub lost: Vec<String>,
    /// The command's exit code, or 128 + the number of the signal that killed it.
    pub exit_code: i32,
    /// How much was looked at, and what was not.
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
    /// Threads of all of them.
    pub threads: u64,
    /// Calls that were counted and are not in the list.
    pub left_out: u64,
    /// Some process set up io_uring, through which sockets can be used without a call that shows here.
    pub io_uring: bool,
    /// Some program of 32 bits used sockets: none of its calls shows here.
    #[serde(default)]
    pub compat32: bool,
    /// Some process filters its own system calls: those that its filter denied do not show here.
    #[serde(default)]
    pub own_filter: bool,
}

words! {
    /// System calls that do what another one is known for.
    SystemCall {
        /// sendmsg(2), for `send` or `sendto`.
        Sendmsg = "sendmsg",
        /// sendmmsg(2), for `send` or `sendto`.
        Sendmmsg = "sendmmsg",
        /// recvmsg(2), for `recv` or MSG_ERRQUEUE.
        Recvmsg = "recvmsg",
        /// recvmmsg(2), for `recv`.
        Recvmmsg = "recvmmsg",
    }
}

words! {
    /// Why a call failed, as far as the host itself says so.
    Reason {
        /// There is no address of the destination's family to send from; for `::1`, no interface has `::1`.
        NoSourceAddress = "no-source-address",
        /// bind() refuses the address with any port.
        AddressNotLocal = "address-not-local",
        /// The error came back for a datagram that this socket had sent before, and was told to this call
        /// (`sock_error()`).
        EarlierDatagram = "earlier-datagram",
        /// A route prohibits the destination.
        Route = "route",
        /// It is a broadcast address, and the socket has no SO_BROADCAST.
        Broadcast = "broadcast",
        /// The port is below `ip_unprivileged_port_start`, and the caller lacks CAP_NET_BIND_SERVICE.
        PrivilegedPort = "privileged-port",
        /// The caller lacks CAP_NET_RAW.
        RawSocket = "raw-socket",
        /// No group of the caller is in `ping_group_range`.
        PingSocket = "ping-socket",
        /// Neither the route nor the port nor the kind of socket forbids it: what is left is a security module, a
        /// program of the caller's cgroup, or a seccomp filter.
        SecurityModule = "security-module",
    }
}

impl Reason {
    /// What it makes the cause; nothing where that depends on the errno.
    fn cause(self) -> Option<Cause> {
        match self {
            Reason::NoSourceAddress => Some(Cause::NoSourceAddress),
            Reason::AddressNotLocal => Some(Cause::AddressNotLocal),
            Reason::EarlierDatagram => None,
            Reason::Route => Some(Cause::Unreachable),
            Reason::Broadcast
            | Reason::PrivilegedPort
            | Reason::RawSocket
            | Reason::PingSocket
            | Reason::SecurityModule => Some(Cause::Permission),
        }
    }
}

/// One call on a socket of IPv4 or IPv6 that has returned. One that a signal interrupted has not: the kernel makes it
/// again or says EINTR, and ptrace(2) does not tell which.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Microseconds since the command was started.
    pub micros: u64,
    /// As the command's own PID namespace numbers them.
    pub pid: i32,
    /// The thread in that process, numbered alike.
    pub thread: i32,
    /// What it does: `sendto` with an address of its own, otherwise `send`, whichever system call it is. Of `send` and
    /// `recv` only those that failed are here, and none that was to be tried again (EAGAIN).
    pub call: Call,
    /// The system call, where its name is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SystemCall>,
    /// The socket's descriptor; for socket() and accept() the new one. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<i32>,
    /// The socket's; absent where it is neither TCP nor UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The socket's.
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
    /// Of a failed call, what the host said when it was asked at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Where the earlier datagram went that the error belongs to. Absent where it may be one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<SocketAddr>,
    /// What the reason means; without one, what findings know to give this errno to this call, the likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
}

impl Record {
    /// connect() goes on in the background: no failure yet.
    pub fn is_under_way(&self) -> bool {
        self.call == Call::Connect && self.outcome.is(ErrnoName::EINPROGRESS)
    }

    /// Whether it gave an errno, and not that it goes on.
    pub fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Errno(_)) && !self.is_under_way()
    }
}

/// The JSON Schema of the calls.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<Calls>(FORMAT)
}

/// What may be asked of what is known: the same for many calls.
type Question = (Call, ErrnoName, Option<PortChoice>, Option<Protocol>, Option<Family>, Option<Reuse>);

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
        if let Some(cause) = record.reason.and_then(Reason::cause) {
            record.causes = vec![cause];
            continue;
        }
        let Record { call, port, protocol, family, reuse, .. } = *record;
        // It is told to whichever call comes first, and those that receive were looked at.
        let call = if record.reason == Some(Reason::EarlierDatagram) { Call::Recv } else { call };
        let port = asked(os, call, errno, port);
        let causes = known.entry((call, errno, port, protocol, family, reuse)).or_insert_with(|| {
            let query =
                CallQuery { os: Some(os), calls: vec![call], errno: Some(errno), port, protocol, family, reuse };
            causes(&query, *stack)
        });
        record.causes.clone_from(causes);
    }
}

/// The port, where it may matter. bind() of Linux looks at the address before it looks at the port (`__inet_bind()`,
/// net/ipv4/af_inet.c; `__inet6_bind()`, net/ipv6/af_inet6.c): only EACCES and EADDRINUSE are about that.
fn asked(os: Os, call: Call, errno: ErrnoName, port: PortChoice) -> Option<PortChoice> {
    let is_about_address = os == Os::Linux
        && call == Call::Bind
        && !matches!(errno, ErrnoName::EACCES | ErrnoName::EADDRINUSE | ErrnoName::EAGAIN);
    (port != PortChoice::None && !is_about_address).then_some(port)
}

fn causes(query: &CallQuery, stack: Option<&str>) -> Vec<Cause> {
    let found = |query: &CallQuery| -> Vec<Cause> {
        let known = Knowledge::built_in().of_stack(stack, |known| query.selects(known));
        rank(known).into_iter().map(|ranked| ranked.cause).collect()
    };
    // Nobody may have looked at this call with these very options.
    let mut causes = found(query);
    if causes.is_empty() && query.reuse.is_some() {
        causes = found(&CallQuery { reuse: None, ..query.clone() });
    }
    // An error that waits is told to whichever call comes first (`sock_error()`), and those that receive were looked
    // at.
    if causes.is_empty() && [Call::Send, Call::Sendto, Call::ErrorQueue].contains(&query.calls[0]) {
        causes = self::causes(&CallQuery { calls: vec![Call::Recv], ..query.clone() }, stack);
    }
    causes
}
