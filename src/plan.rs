//! What travels between the coordinator and a worker: a plan down, observations up, one line of JSON each.
//!
//! A plan holds no expectation, so a worker cannot know what it is supposed to see. The types are the protocol:
//! a change of meaning or shape takes a new [`PROTOCOL`] number.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::errno::{Errno, ErrnoName};
use crate::names::{Call, Family, HolderState, Need, Os, Protocol, Reuse, SocketState, User};
use crate::socket_table::SocketRow;

/// The version of the lines that coordinator and worker exchange.
pub const PROTOCOL: u32 = 1;

/// One case, flattened into steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub case: String,
    /// The worker kills the case after this many milliseconds.
    pub deadline_ms: u32,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub op: Op,
    /// Whose effective uid the op runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    pub role: Role,
}

/// Why a step is there, which decides what its failure means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Role {
    /// Builds the situation. An errno that is not permitted ends the case.
    Setup {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        permit: Vec<ErrnoName>,
        /// Errnos by which the host says that it lacks what this op needs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unsupported: Vec<ErrnoName>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requires: Option<u32>,
    },
    /// The op under test; the queries are answered right before and right after it.
    Subject {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        queries: Vec<Query>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requires: Option<u32>,
    },
}

impl Role {
    /// The step that must have ended `ok` or in progress for this one to be performed at all.
    pub fn requires(&self) -> Option<u32> {
        match self {
            Role::Setup { requires, .. } | Role::Subject { requires, .. } => *requires,
        }
    }
}

/// One socket-API call, or one change of the private host, with its arguments.
///
/// Sockets go by name: the name that the op which made them gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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

/// How a range of ports is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fill {
    pub how: FillHow,
    pub protocol: Protocol,
    /// The local address of every socket made; for `connect`, what autobind then chooses.
    pub address: IpAddr,
    pub low: u16,
    pub high: u16,
    #[serde(default = "no_reuse")]
    pub reuse: Reuse,
    /// For `connect` and `time-wait`: the listener to connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<SocketAddr>,
    /// How many ports to leave free, at the upper end for `bind`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leave: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Read,
    Write,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    Unicast,
    Unreachable,
    Blackhole,
    Prohibit,
    Throw,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum WaitFor {
    #[serde(rename = "gone")]
    Gone,
    #[serde(untagged)]
    State(HolderState),
}

/// A socket option with its value (socket(7), ip(7), ipv6(7), tcp(7)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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
    LocalPortRange(u16, u16),
    /// IP_RECVERR, IPV6_RECVERR.
    RecvErr(bool),
    /// IP_TTL, IPV6_UNICAST_HOPS.
    Ttl(u8),
    /// SO_BROADCAST.
    Broadcast(bool),
    /// TCP_LINGER2, in seconds.
    Linger2(i32),
}

/// A question to the kernel around a subject op. It names what to read, not what to find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Query {
    /// The rows of the socket table that share `socket`'s protocol and local port.
    Socket { socket: String },
    /// How many ports of the range any socket holds, from the socket table.
    Census { protocol: Protocol, family: Family, low: u16, high: u16 },
    /// Whether an address is configured on an interface (RTM_GETADDR).
    Address { address: IpAddr },
    /// What the FIB answers for a destination (RTM_GETROUTE).
    Route { destination: IpAddr },
    Sysctl { name: String },
    /// Open descriptors and the soft RLIMIT_NOFILE.
    Descriptors {},
    /// Packets counted by an nftables counter object in table `inet errnoscope`.
    Counter { counter: String },
    /// The effective uid of the step and its capability to bind low ports.
    User {},
}

/// What the kernel said to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// Rows, and the tuple by which `socket` is to be found among them.
    Socket {
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
        rows: Vec<SocketRow>,
    },
    /// Ports of the range held by at least one socket, and the first few that none holds.
    Census { held: u32, size: u32, free: Vec<u16> },
    Address { local: bool },
    /// `unicast`, `local`, `blackhole`, …, or `none` where the FIB has no entry.
    Route { kind: String },
    Sysctl { value: String },
    Descriptors { open: u64, limit: u64 },
    Counter { packets: u64 },
    User { uid: u32, net_bind_service: bool },
    /// The kernel could not be asked.
    Failed { error: String },
}

/// What a call gave back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "WireOutcome", try_from = "WireOutcome")]
pub enum Outcome {
    Ok,
    Errno(Errno),
    /// It did not return within this many milliseconds.
    Blocked { ms: u32 },
}

impl Outcome {
    /// `ok`, the errno's name, or `blocked`.
    pub fn name(&self) -> &str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Errno(errno) => errno.name(),
            Outcome::Blocked { .. } => "blocked",
        }
    }
}

/// `{"ok": true}`, `{"errno": "EADDRINUSE", "raw": 98}` or `{"blocked_ms": 500}`.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Outcome")]
pub struct WireOutcome {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocked_ms: Option<u32>,
}

impl schemars::JsonSchema for Outcome {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Outcome".into()
    }

    /// Stricter than the fields alone: exactly one of the three shapes.
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "oneOf": [
                { "type": "object", "properties": { "ok": { "const": true } },
                  "required": ["ok"], "additionalProperties": false },
                { "type": "object", "properties": { "errno": { "type": "string" }, "raw": { "type": "integer" } },
                  "required": ["errno", "raw"], "additionalProperties": false },
                { "type": "object", "properties": { "blocked_ms": { "type": "integer", "minimum": 0 } },
                  "required": ["blocked_ms"], "additionalProperties": false }
            ]
        })
    }
}

impl From<Outcome> for WireOutcome {
    fn from(outcome: Outcome) -> WireOutcome {
        let mut wire = WireOutcome { ok: None, errno: None, raw: None, blocked_ms: None };
        match outcome {
            Outcome::Ok => wire.ok = Some(true),
            Outcome::Errno(errno) => (wire.errno, wire.raw) = (Some(errno.name().to_owned()), Some(errno.raw())),
            Outcome::Blocked { ms } => wire.blocked_ms = Some(ms),
        }
        wire
    }
}

impl TryFrom<WireOutcome> for Outcome {
    type Error = &'static str;

    fn try_from(wire: WireOutcome) -> Result<Outcome, &'static str> {
        match wire {
            WireOutcome { ok: Some(true), errno: None, raw: None, blocked_ms: None } => Ok(Outcome::Ok),
            WireOutcome { ok: None, errno: Some(name), raw: Some(raw), blocked_ms: None } => {
                Ok(Outcome::Errno(Errno::recorded(&name, raw)))
            }
            WireOutcome { ok: None, errno: None, raw: None, blocked_ms: Some(ms) } => Ok(Outcome::Blocked { ms }),
            _ => Err("an outcome is {\"ok\": true}, {\"errno\": NAME, \"raw\": NUMBER} or {\"blocked_ms\": NUMBER}"),
        }
    }
}

/// What the host lacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unsupported {
    pub need: Need,
    pub reason: String,
}

/// One performed step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepResult {
    /// Index into the plan's steps.
    pub step: u32,
    pub result: Performed,
    /// Wall-clock duration of the op alone, in microseconds.
    pub micros: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Answer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Answer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Performed {
    Outcome(Outcome),
    Unsupported(Unsupported),
    /// The harness itself could not go on (an unknown socket name, a wait that ran out): why.
    Failed(String),
}

/// What an op gave back beside its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Detail {
    /// The socket's name after the op, and its peer's.
    Names { local: Option<SocketAddr>, remote: Option<SocketAddr> },
    /// One entry of the error queue (`struct sock_extended_err`).
    ErrorQueue { origin: u8, icmp_type: u8, icmp_code: u8, offender: Option<IpAddr> },
    /// The SYN that an ICMP error answered.
    Syn { source: SocketAddr, destination: SocketAddr },
    /// Ports taken, by how many processes.
    Fill { ports: u32, processes: u32 },
    Bytes { count: u64 },
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fate {
    Done,
    Killed { signal: i32 },
    Exited { code: i32, message: String },
    TimedOut { ms: u32 },
}

/// Everything a worker says of one plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observations {
    pub case: String,
    pub fate: Fate,
    pub steps: Vec<StepResult>,
}

/// A worker's first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    pub protocol: u32,
    pub os: Os,
    pub release: String,
    pub arch: String,
    /// `netns` or `none`.
    pub isolation: String,
    /// For each need: nothing if the host offers it, otherwise why not.
    pub capabilities: BTreeMap<Need, Capability>,
    pub sysctls: BTreeMap<String, String>,
}

/// Whether the host offers a need, found by trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    pub available: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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

    /// The op's name, as TOML and JSON spell it, and its other arguments as text: for trails.
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

/// The states a [`WaitFor`] accepts in the socket table, or `None` for `gone`.
impl WaitFor {
    pub fn in_table(self, protocol: Protocol) -> Option<SocketState> {
        match self {
            WaitFor::Gone => None,
            WaitFor::State(state) => Some(state.in_table(protocol)),
        }
    }
}
