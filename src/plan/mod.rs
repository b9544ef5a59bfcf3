//! The messages between coordinator and worker: a plan down, observations up, one line of JSON each.
//!
//! A plan holds no expectation, so a worker cannot know what it is supposed to see. The types are the protocol: a
//! change of meaning or shape takes a new [`PROTOCOL`] number. A line of the protocol begins with [`MARK`]; the
//! transport may print other lines between them, and end lines as terminals do.

mod argument;
mod kind;
mod op;
mod option;
mod outcome;
pub mod socket_table;
pub mod unix;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::plan::socket_table::SocketRow;
use crate::plan::unix::{OwnPath, UnixRow};
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, FileKind, Need, Os, Protocol, User};
use crate::words::ports::flat_range;
use crate::words::schema::schema;
use crate::words::untrusted::Text;

pub use argument::{Fill, FillHow, How, RouteKind, SocketForm, WaitFor};
pub use kind::{IpSocket, SocketKind};
pub use op::{Gives, Made, Op};
pub use option::SocketOption;
pub use outcome::Outcome;

/// The version of the lines that coordinator and worker exchange.
pub const PROTOCOL: u32 = 5;

/// How many of each a worker says at most. Whoever says more is no worker of ours, and is not read to the end.
pub const MOST_STEPS: usize = 4096;
/// Answers before or after one step.
pub const MOST_ANSWERS: usize = 64;
/// A listener may share its port with ten thousand accepted sockets; the reader needs the ones that can be meant.
pub const MOST_ROWS: usize = 256;
/// Ports that a census names as free.
pub const MOST_FREE: usize = 8;
/// Samples of what taking a port cost.
pub const MOST_COSTS: usize = 64;

/// The record separator of JSON text sequences (RFC 7464): JSON never has this byte in it, and what consoles and shells
/// print does not either.
pub const MARK: u8 = 0x1e;

/// The message in a line, or nothing where the line is somebody else's.
pub fn message(line: &[u8]) -> Option<&[u8]> {
    let mark = line.iter().rposition(|&byte| byte == MARK)?;
    Some(line[mark + 1..].trim_ascii_end())
}

/// The JSON Schema of a worker's first line.
pub fn hello_schema() -> serde_json::Value {
    schema::<Hello>(&format!("errnoscope-hello/{PROTOCOL}"))
}

/// The JSON Schema of a plan.
pub fn plan_schema() -> serde_json::Value {
    schema::<Plan>(&format!("errnoscope-plan/{PROTOCOL}"))
}

/// The JSON Schema of the answer to a plan.
pub fn answer_schema() -> serde_json::Value {
    schema::<Observations>(&format!("errnoscope-answer/{PROTOCOL}"))
}

/// One case, flattened into steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its id, which the observations repeat.
    pub case: String,
    /// Which plan of the run it is, which the observations repeat as well: a case may run more than once.
    pub number: u32,
    /// The worker kills the case after this many milliseconds, times `patience`.
    pub deadline_ms: u32,
    /// By how much every wait of an op is longer than it says, for a machine that is slower.
    pub patience: u32,
    /// What to do, one after the other.
    pub steps: Vec<Step>,
}

/// One op of a plan, as whom to perform it, and what it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What to do.
    pub op: Op,
    /// Whose effective uid the op runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// Why it is there.
    pub role: Role,
}

/// Why a step is there, which decides what its failure means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Role {
    /// Builds the situation. An errno that is not permitted ends the case.
    Setup {
        /// Errnos that are as good as success.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        permit: Vec<ErrnoName>,
        /// Errnos by which the host says that it lacks what this op needs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unsupported: Vec<ErrnoName>,
        /// The index of the step without which this one is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requires: Option<u32>,
    },
    /// The op under test; the queries are answered right before and right after it.
    Subject {
        /// What the kernel is asked right before and right after.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        queries: Vec<Query>,
        /// The index of the step without which this one is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requires: Option<u32>,
    },
}

impl Plan {
    /// How long the case may take on this machine, in milliseconds.
    pub fn deadline(&self) -> u32 {
        self.deadline_ms.saturating_mul(self.patience)
    }
}

impl Step {
    /// Whether the case goes on after this step: always after a subject, after a setup op only if it did what was
    /// wanted.
    pub fn goes_on(&self, result: &Performed) -> bool {
        if matches!(self.role, Role::Subject { .. }) {
            return true;
        }
        match result {
            Performed::Outcome(Outcome::Ok) => true,
            Performed::Outcome(Outcome::Errno(errno)) => errno.known().is_some_and(|errno| self.goes_on_after(errno)),
            Performed::Outcome(Outcome::Blocked { .. }) | Performed::Unsupported(_) | Performed::Failed(_) => false,
        }
    }

    /// Whether this step may give that errno, and the case goes on.
    pub fn goes_on_after(&self, errno: ErrnoName) -> bool {
        let Role::Setup { permit, .. } = &self.role else { return true };
        permit.contains(&errno)
            || (matches!(self.op, Op::Connect { nonblocking: true, .. }) && errno == ErrnoName::EINPROGRESS)
    }
}

impl Role {
    /// The step that must have ended `ok` or in progress for this one to be performed at all.
    pub fn requires(&self) -> Option<u32> {
        match self {
            Role::Setup { requires, .. } | Role::Subject { requires, .. } => *requires,
        }
    }
}

/// A question to the kernel around a subject op. It names what to read, not what to find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Query {
    /// The rows of the socket table that share `socket`'s protocol and local port.
    Socket {
        /// The name that the op which made it gave.
        socket: String,
    },
    /// How many ports of the range any socket holds, from the socket table.
    Census(Census),
    /// Whether an address is configured on an interface (RTM_GETADDR).
    Address {
        /// The address.
        address: IpAddr,
    },
    /// What the FIB answers for a destination (RTM_GETROUTE).
    Route {
        /// The destination.
        destination: IpAddr,
    },
    /// The value of a sysctl.
    Sysctl {
        /// Named with dots, as sysctl(8) does.
        name: String,
    },
    /// The soft RLIMIT_NOFILE, and how many descriptors below it are open.
    Descriptors {},
    /// Packets counted by an nftables counter object in table `inet errnoscope`.
    Counter {
        /// Its name.
        counter: String,
    },
    /// The effective uid of the step and its capability to bind low ports.
    User {},
    /// The sockets of the family unix that are `socket`, or have its name.
    Unix {
        /// The name that the op which made it gave.
        socket: String,
    },
    /// What a path of the case's own directory leads to.
    File {
        /// The path.
        path: OwnPath,
    },
}

flat_range! {
    /// A range of ports of a protocol.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Census {
        /// Of which table.
        protocol: Protocol,
        /// What the case is about. A port counts as held whatever the family of its socket.
        family: Family,
        ..range,
    }
}

/// What the kernel said to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    // See [`socket_table::Sought`].
    /// Rows, and by what `socket` is to be found among them.
    Socket {
        /// Its name (getsockname(2)); absent where it has none.
        local: Option<SocketAddr>,
        /// Its peer's (getpeername(2), or where it was connected to); absent where it has none.
        remote: Option<SocketAddr>,
        /// The rows of its port, [`MOST_ROWS`] at most.
        #[serde(deserialize_with = "at_most::<MOST_ROWS, _, _>")]
        rows: Vec<SocketRow>,
        /// The inode that fstat(2) gives its descriptor, which the table has as well; 0 once it is closed. Absent where
        /// there is no such number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inode: Option<u32>,
    },
    /// Ports of the range held by at least one socket, and the first few that none holds.
    Census {
        /// How many of them some socket holds.
        held: u32,
        /// How many ports the range has.
        size: u32,
        /// Some that none holds, [`MOST_FREE`] at most.
        #[serde(deserialize_with = "at_most::<MOST_FREE, _, _>")]
        free: Vec<u16>,
    },
    /// Whether an interface has it.
    Address {
        /// It is the address of one.
        local: bool,
    },
    /// `unicast`, `local`, `blackhole`, …, or `none` where the FIB has no entry.
    Route {
        /// The type of the route (ip-route(8)).
        kind: Text,
    },
    /// A sysctl's value.
    Sysctl {
        /// As the file has it, without the line's end.
        value: Text,
    },
    /// The descriptors of the process that makes the calls.
    Descriptors {
        /// How many below the limit are open.
        open: u64,
        /// The soft RLIMIT_NOFILE: one more than the highest descriptor that can be opened.
        limit: u64,
    },
    /// An nftables counter.
    Counter {
        /// How many it has counted since it was made.
        packets: u64,
    },
    /// Who makes the step's calls.
    User {
        /// The effective uid, in the case's user namespace.
        uid: u32,
        /// Whether CAP_NET_BIND_SERVICE is in effect (capabilities(7)).
        net_bind_service: bool,
    },
    /// Sockets of the family unix, and by what `socket` is to be found among them.
    Unix {
        /// The inode that fstat(2) gave its descriptor.
        inode: u32,
        /// It, and those that have its name: [`MOST_ROWS`] at most.
        #[serde(deserialize_with = "at_most::<MOST_ROWS, _, _>")]
        rows: Vec<UnixRow>,
    },
    /// What is there.
    File {
        /// Of which kind it is.
        kind: FileKind,
        /// Its permissions.
        mode: u32,
    },
    /// The kernel could not be asked.
    Failed {
        /// Why.
        error: Text,
    },
}

/// What the host lacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unsupported {
    /// What is missing.
    pub need: Need,
    /// In words.
    pub reason: Text,
}

/// One performed step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepResult {
    /// Index into the plan's steps.
    pub step: u32,
    /// What it came to.
    pub result: Performed,
    /// Wall-clock duration of the op alone, in microseconds.
    pub micros: f64,
    /// What the op gave back beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
    /// For a subject, the answers to its queries right before it, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<MOST_ANSWERS, _, _>")]
    pub before: Vec<Answer>,
    /// And right after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<MOST_ANSWERS, _, _>")]
    pub after: Vec<Answer>,
}

/// What performing a step came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Performed {
    /// The call was made.
    Outcome(Outcome),
    /// The host lacks what it takes.
    Unsupported(Unsupported),
    /// The harness itself could not go on (an unknown socket name, a wait that ran out): why.
    Failed(Text),
}

impl Performed {
    /// Whether a step that requires this one is performed.
    pub fn went_well(&self) -> bool {
        match self {
            Performed::Outcome(Outcome::Ok) => true,
            Performed::Outcome(Outcome::Errno(errno)) => errno.is(ErrnoName::EINPROGRESS),
            Performed::Outcome(Outcome::Blocked { .. }) | Performed::Unsupported(_) | Performed::Failed(_) => false,
        }
    }
}

/// What an op gave back beside its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Detail {
    /// The socket's name after the op, and its peer's.
    Names {
        /// getsockname(2); absent where it has none.
        local: Option<SocketAddr>,
        /// Absent where it has none.
        remote: Option<SocketAddr>,
    },
    /// One entry of the error queue (`struct sock_extended_err`).
    ErrorQueue {
        /// `ee_origin`: 1 local, 2 ICMP, 3 ICMPv6 (`include/uapi/linux/errqueue.h`).
        origin: u8,
        /// `ee_type`.
        icmp_type: u8,
        /// `ee_code`.
        icmp_code: u8,
        /// Who sent the ICMP error (`SO_EE_OFFENDER`).
        offender: Option<IpAddr>,
    },
    /// The packet that an ICMP error answered.
    #[serde(alias = "syn")]
    Packet {
        /// Who sent it.
        source: SocketAddr,
        /// To whom.
        destination: SocketAddr,
    },
    /// Ports taken, by how many processes, and what they cost.
    Fill {
        /// How many were taken.
        ports: u32,
        /// How many processes hold them: each has its own limit of descriptors.
        processes: u32,
        /// In the order of the ports taken; only of a range that is large enough to tell.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<MOST_COSTS, _, _>")]
        costs: Vec<Cost>,
    },
    /// What the kernel took or gave.
    Bytes {
        /// How many bytes.
        count: u64,
    },
}

/// What some calls in a row cost, of those that take a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Ports of the range that were held after the last of them.
    pub ports: u32,
    /// Median wall-clock duration of one bind() or connect(), in nanoseconds: other work of the host shows in few
    /// calls.
    pub nanos: u32,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fate {
    /// It came to its end, or to a step after which no other could follow.
    Done,
    /// A signal ended it.
    Killed {
        /// Its number there (signal(7)).
        signal: i32,
    },
    /// It gave up, and said why.
    Exited {
        /// Its exit code.
        code: i32,
        /// Why.
        message: Text,
    },
    /// It did not end by its deadline, and was killed.
    TimedOut {
        /// The deadline, in milliseconds.
        ms: u32,
    },
}

/// Everything a worker says of one plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observations {
    /// The id of the plan's case.
    pub case: String,
    /// The plan's number.
    pub number: u32,
    /// How the case ended.
    pub fate: Fate,
    /// The steps that were performed, in their order.
    #[serde(deserialize_with = "at_most::<MOST_STEPS, _, _>")]
    pub steps: Vec<StepResult>,
}

/// Reads a list up to its bound, and none that is longer: what nobody asked for takes no memory.
fn at_most<'de, const MOST: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    struct Bounded<const MOST: usize, T>(std::marker::PhantomData<T>);

    impl<'de, const MOST: usize, T: Deserialize<'de>> serde::de::Visitor<'de> for Bounded<MOST, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MOST {
                    return Err(serde::de::Error::custom(format!("a list of more than {MOST}")));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(Bounded::<MOST, T>(std::marker::PhantomData))
}

/// A worker's first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The version of the lines that it writes and reads: [`PROTOCOL`].
    #[schemars(extend("const" = PROTOCOL))]
    pub protocol: u32,
    /// The system that it was built for.
    pub os: Os,
    /// uname(2)'s release: `6.18.4-generic`.
    pub release: Text,
    /// uname(2)'s machine: `x86_64`.
    pub arch: Text,
    /// What answers, where it is not the OS's own stack but one that passes for it: `gvisor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Text>,
    /// `netns`: each case has a network of its own. `sandbox`: the worker has, and is good for one case. `none`: cases
    /// share the host's.
    pub isolation: Text,
    /// For each need: nothing if the host offers it, otherwise why not.
    pub capabilities: BTreeMap<Need, Capability>,
    /// The settings that decide what calls give, by name; those that the host does not have are left out.
    pub sysctls: BTreeMap<Text, Text>,
}

impl Hello {
    /// Whether cases have the network that everybody has.
    pub fn is_shared(&self) -> bool {
        self.isolation == "none"
    }

    /// Whether the network is the worker's, so that it is good for one case.
    pub fn is_sandbox(&self) -> bool {
        self.isolation == "sandbox"
    }
}

/// Whether the host offers a need, found by trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Whether it can be had.
    pub available: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::ports::PortRange;

    /// Ranges are written as two numbers beside the other arguments, and one that is empty is not read.
    #[test]
    fn a_range_on_the_wire_is_flat_and_never_empty() {
        let (protocol, family) = (Protocol::Tcp, Family::Ipv4);
        let query = Query::Census(Census { protocol, family, range: PortRange::of::<30_000, 30_015>() });
        let text = r#"{"census":{"protocol":"tcp","family":"ipv4","low":30000,"high":30015}}"#;
        assert_eq!(serde_json::to_string(&query).unwrap(), text);
        assert_eq!(serde_json::from_str::<Query>(text).unwrap(), query);
        let fill = r#"{"fill":{"how":"bind","protocol":"tcp","address":"127.0.0.1","low":1,"high":2,"reuse":"none"}}"#;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Op>(fill).unwrap()).unwrap(), fill);
        for (from, to) in
            [("\"low\":1", "\"low\":3"), ("\"low\":1", "\"low\":0"), ("\"low\":1,", ""), ("\"low\"", "\"lowest\"")]
        {
            serde_json::from_str::<Op>(&fill.replace(from, to)).expect_err(to);
        }
        serde_json::from_str::<Query>(&text.replace("30015", "29999")).expect_err("an empty range");
        let option = r#"{"set-option":{"socket":"s","option":{"local-port-range":[40000,40004]}}}"#;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Op>(option).unwrap()).unwrap(), option);
        serde_json::from_str::<Op>(&option.replace("40004", "3")).expect_err("an empty range");
    }
}
