//! Ops: each is one socket call, or one change of the case's private host.
//!
//! Scenario files and plans use the same types. The interpreter performs the ops.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::unix::{OwnPath, UnixName};
use super::{Fill, How, RouteKind, SocketForm, SocketOption, WaitFor};
use crate::words::names::{Call, Family, Need, Protocol, UnixKind, Via};
use crate::words::ports::{PortRange, visit_sysctl};
use crate::words::untrusted::shown;

/// One socket-API call, or one change of the private host, with its arguments.
///
/// Sockets go by name: the name that the op which made them gave. An address and a port are those that the call passes;
/// port 0 has the kernel choose. `wait_ms` is how many milliseconds a call may block before it counts as blocked (100
/// where it is not said), `deadline_ms` how long to wait for a state (2000); both are multiplied by the plan's
/// `patience`. `device` is the name of an interface, `prefix` a length in bits, and ICMP types and codes are those of
/// RFC 792 or RFC 4443. `backlog` is listen(2)'s (8), `bytes` how many bytes are sent at a time (1 for sendto(2), 65536
/// until full), `signal` the number of a signal, and `mode` that of chmod(2). `length` overrides the size of the
/// address that is passed, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "what the arguments are is said above, once for all ops")]
pub enum Op {
    /// socket(2).
    Socket {
        socket: String,
        family: Family,
        protocol: Protocol,
        #[serde(default, skip_serializing_if = "SocketForm::is_usual")]
        form: SocketForm,
    },
    /// setsockopt(2) with a typed option.
    SetOption { socket: String, option: SocketOption },
    /// bind(2).
    Bind {
        socket: String,
        address: IpAddr,
        port: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<u32>,
        /// The interface whose index becomes `sin6_scope_id`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        #[serde(default = "by_syscall", skip_serializing_if = "is_by_syscall")]
        via: Via,
    },
    /// listen(2).
    Listen {
        socket: String,
        #[serde(default = "default_backlog")]
        backlog: i32,
        #[serde(default = "by_syscall", skip_serializing_if = "is_by_syscall")]
        via: Via,
    },
    /// connect(2). A blocking one is given `wait_ms` before it counts as blocked.
    Connect {
        socket: String,
        address: IpAddr,
        port: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<u32>,
        #[serde(default)]
        nonblocking: bool,
        #[serde(default = "default_wait_ms")]
        wait_ms: u32,
        #[serde(default = "by_syscall", skip_serializing_if = "is_by_syscall")]
        via: Via,
    },
    /// connect(2) with AF_UNSPEC, which dissolves the association.
    Disconnect { socket: String },
    /// accept(2), bounded by `wait_ms`; the new socket is called `new`.
    Accept {
        socket: String,
        new: String,
        #[serde(default = "default_wait_ms")]
        wait_ms: u32,
        #[serde(default = "by_syscall", skip_serializing_if = "is_by_syscall")]
        via: Via,
    },
    /// send(2) of `bytes` bytes, without waiting.
    Send {
        socket: String,
        bytes: u32,
        #[serde(default = "by_syscall", skip_serializing_if = "is_by_syscall")]
        via: Via,
    },
    /// send(2) without waiting until the kernel takes no more: data and any FIN behind it stay queued.
    SendUntilFull {
        socket: String,
        #[serde(default = "default_piece", skip_serializing_if = "is_default_piece")]
        bytes: u32,
    },
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
    /// fork(2): a child that inherits the socket's descriptor, and keeps it open as long as the case lives.
    Inherit { socket: String },
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
    /// RTM_NEWADDR, without duplicate address detection unless `dad` asks for it: then an IPv6 address stays tentative
    /// until the kernel has found it unique (RFC 4862 section 5.4).
    AddAddress {
        device: String,
        address: IpAddr,
        prefix: u8,
        #[serde(default, skip_serializing_if = "is_false")]
        dad: bool,
    },
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
    /// Reads packets from a TUN device until a TCP SYN or a UDP datagram arrives and answers it with an ICMP error from
    /// `router`. `beside` the case a process of its own does it, as often as there is something to answer, for calls
    /// that wait for the answer.
    #[serde(alias = "answer-syn")]
    Answer {
        device: String,
        #[serde(default = "tcp")]
        protocol: Protocol,
        router: IpAddr,
        icmp_type: u8,
        icmp_code: u8,
        #[serde(default, skip_serializing_if = "is_false")]
        beside: bool,
    },
    /// `nft -f -` in the case's namespace.
    Nft { ruleset: String },
    /// Takes every port of the range (see [`Fill`]).
    Fill(Fill),
    /// Lowers RLIMIT_NOFILE to what is open already.
    ExhaustDescriptors {},
    /// socket(2) of the family unix.
    UnixSocket { socket: String, kind: UnixKind },
    /// bind(2) to a name of the family unix.
    UnixBind { socket: String, name: UnixName },
    /// connect(2) to a name of the family unix. A blocking one is given `wait_ms` before it counts as blocked.
    UnixConnect {
        socket: String,
        name: UnixName,
        #[serde(default)]
        nonblocking: bool,
        #[serde(default = "default_wait_ms")]
        wait_ms: u32,
    },
    /// sendto(2) of `bytes` bytes to a name of the family unix, without waiting.
    UnixSendTo {
        socket: String,
        name: UnixName,
        #[serde(default = "default_bytes")]
        bytes: u32,
    },
    /// An empty file in the case's own directory.
    MakeFile { path: OwnPath },
    /// mkdir(2) in the case's own directory, and then chmod(2).
    MakeDirectory { path: OwnPath, mode: u32 },
    /// unlink(2) of a file in the case's own directory.
    Unlink { path: OwnPath },
    /// Makes the file system of the case's own directory a read-only one.
    MakeReadOnly {},
    /// landlock_restrict_self(2): from now on the case may neither bind nor connect TCP sockets.
    ForbidTcp {},
    /// The case kills itself with this signal: for the harness's own tests.
    Raise { signal: i32 },
}

/// What is known of each op whatever its arguments are: one row for each, so that a new op is thought about once.
#[derive(Clone, Copy, Debug)]
struct Traits<'o> {
    call: Option<Call>,
    socket: Option<&'o str>,
    makes: Option<Made<'o>>,
    gives: Gives,
    lacks: Need,
    changes_host: bool,
    /// For how many milliseconds it may block, at least, before it counts as blocked.
    waits_ms: Option<u32>,
}

/// A socket that an op makes, and of which kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made<'o> {
    /// By socket(2).
    New {
        /// Its name.
        socket: &'o str,
        /// Of socket(2)'s first argument.
        family: Family,
        /// Of its second and third.
        protocol: Protocol,
    },
    /// By socket(2), of the family unix.
    Unix {
        /// Its name.
        socket: &'o str,
        /// Of socket(2)'s second argument.
        kind: UnixKind,
    },
    /// By accept(2): of its listener's kind.
    Accepted {
        /// Its name.
        socket: &'o str,
        /// Whose connection it is.
        listener: &'o str,
    },
}

/// What an op may give back beside its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// Nothing.
    Nothing,
    /// The names of its socket and of the peer.
    Names,
    /// How many bytes the kernel took or gave.
    Bytes,
    /// An entry of the error queue.
    ErrorQueue,
    /// The packet that was answered.
    Packet,
    /// How many ports were taken.
    Fill,
}

impl<'o> Made<'o> {
    /// The name of the socket that is made.
    pub fn socket(self) -> &'o str {
        match self {
            Made::New { socket, .. } | Made::Unix { socket, .. } | Made::Accepted { socket, .. } => socket,
        }
    }

    /// Whether socket(2) makes it, from nothing.
    pub fn is_new(self) -> bool {
        match self {
            Made::New { .. } | Made::Unix { .. } => true,
            Made::Accepted { .. } => false,
        }
    }
}

impl Op {
    fn traits(&self) -> Traits<'_> {
        let none = Traits {
            call: None,
            socket: None,
            makes: None,
            gives: Gives::Nothing,
            lacks: Need::Linux,
            changes_host: false,
            waits_ms: None,
        };
        let host = Traits { changes_host: true, ..none };
        let network = Traits { lacks: Need::NetworkNamespace, ..host };
        let on = |socket| Traits { socket: Some(socket), ..none };
        let of = |call, socket| Traits { call: Some(call), ..on(socket) };
        let names = |call, socket| Traits { gives: Gives::Names, ..of(call, socket) };
        let ring = |via: Via| if via == Via::IoUring { Need::IoUring } else { Need::Linux };
        let family = |address: &IpAddr, otherwise| if address.is_ipv6() { Need::Ipv6 } else { otherwise };
        match self {
            Op::Socket { socket, family, protocol, .. } => Traits {
                makes: Some(Made::New { socket, family: *family, protocol: *protocol }),
                lacks: match (family, protocol) {
                    (_, Protocol::Mptcp) => Need::Mptcp,
                    (Family::Ipv6, _) => Need::Ipv6,
                    (Family::Ipv4, _) => Need::Linux,
                },
                ..of(Call::Socket, socket)
            },
            Op::SetOption { socket, option: SocketOption::V6Only(_) } => {
                Traits { lacks: Need::Ipv6, ..of(Call::Setsockopt, socket) }
            }
            Op::SetOption { socket, .. } => of(Call::Setsockopt, socket),
            Op::Bind { socket, address, via, .. } => {
                Traits { lacks: family(address, ring(*via)), ..names(Call::Bind, socket) }
            }
            Op::Listen { socket, via, .. } => Traits { lacks: ring(*via), ..names(Call::Listen, socket) },
            Op::Connect { socket, address, via, nonblocking, wait_ms, .. } => Traits {
                lacks: family(address, ring(*via)),
                // A ring waits whatever the socket says.
                waits_ms: (!nonblocking || *via == Via::IoUring).then_some(*wait_ms),
                ..names(Call::Connect, socket)
            },
            Op::Disconnect { socket } => names(Call::Connect, socket),
            Op::Accept { socket, new, wait_ms, .. } => Traits {
                makes: Some(Made::Accepted { socket: new, listener: socket }),
                waits_ms: Some(*wait_ms),
                ..names(Call::Accept, socket)
            },
            Op::Send { socket, .. } => Traits { gives: Gives::Bytes, ..of(Call::Send, socket) },
            Op::SendUntilFull { socket, .. } => Traits { gives: Gives::Bytes, ..on(socket) },
            Op::SendTo { socket, .. } => names(Call::Sendto, socket),
            Op::Receive { socket, wait_ms } => {
                Traits { gives: Gives::Bytes, waits_ms: Some(*wait_ms), ..of(Call::Recv, socket) }
            }
            Op::Shutdown { socket, .. } => of(Call::Shutdown, socket),
            Op::Close { socket } => of(Call::Close, socket),
            Op::SoError { socket, wait_ms } => Traits { waits_ms: Some(*wait_ms), ..of(Call::SoError, socket) },
            Op::ErrorQueue { socket, wait_ms } => {
                Traits { gives: Gives::ErrorQueue, waits_ms: Some(*wait_ms), ..of(Call::ErrorQueue, socket) }
            }
            Op::GetName { socket } => Traits { gives: Gives::Names, ..on(socket) },
            Op::Inherit { socket } => Traits { lacks: Need::Resources, ..on(socket) },
            Op::Wait { socket, .. } => on(socket),
            Op::AddAddress { address, .. } => Traits { lacks: family(address, Need::NetworkNamespace), ..host },
            Op::AddRoute { destination, .. } => Traits { lacks: family(destination, Need::NetworkNamespace), ..host },
            Op::SetUp { .. } | Op::AddVeth { .. } => network,
            Op::AddTun { .. } => Traits { lacks: Need::Tun, ..host },
            Op::Answer { .. } => Traits { gives: Gives::Packet, lacks: Need::Tun, waits_ms: Some(0), ..none },
            Op::Nft { .. } => Traits { lacks: Need::Nft, ..host },
            Op::Fill(_) => Traits { gives: Gives::Fill, waits_ms: Some(0), ..none },
            Op::UnixSocket { socket, kind } => {
                Traits { makes: Some(Made::Unix { socket, kind: *kind }), ..of(Call::Socket, socket) }
            }
            Op::UnixBind { socket, .. } => of(Call::Bind, socket),
            Op::UnixConnect { socket, nonblocking, wait_ms, .. } => {
                Traits { waits_ms: (!nonblocking).then_some(*wait_ms), ..of(Call::Connect, socket) }
            }
            Op::UnixSendTo { socket, .. } => of(Call::Sendto, socket),
            Op::MakeReadOnly {} => network,
            Op::SetSysctl { .. } | Op::DeleteAddress { .. } => host,
            Op::Elapse { .. }
            | Op::ExhaustDescriptors {}
            | Op::MakeFile { .. }
            | Op::MakeDirectory { .. }
            | Op::Unlink { .. }
            | Op::ForbidTcp {}
            | Op::Raise { .. } => none,
        }
    }

    /// The call that this op makes, for those that can be a subject.
    pub fn call(&self) -> Option<Call> {
        self.traits().call
    }

    /// The socket that the op acts on.
    pub fn socket(&self) -> Option<&str> {
        self.traits().socket
    }

    /// The socket that the op makes.
    pub fn makes(&self) -> Option<Made<'_>> {
        self.traits().makes
    }

    /// What the op may give back beside its outcome.
    pub fn gives(&self) -> Gives {
        self.traits().gives
    }

    /// What the host lacks when it refuses the op.
    pub fn lacks(&self) -> Need {
        self.traits().lacks
    }

    /// Whether it would change what all processes of a network namespace have, or of a mount namespace.
    pub fn changes_host(&self) -> bool {
        self.traits().changes_host
    }

    /// For how many milliseconds it may block, at least, before it counts as blocked; nothing where it never does.
    pub fn waits_ms(&self) -> Option<u32> {
        self.traits().waits_ms
    }

    /// Hands every port that the op names to `port`, and every range of ephemeral ports to `range`, which may put
    /// others in their place. IP_LOCAL_PORT_RANGE is a range of one socket, and stays what it is.
    pub fn visit_ports(&mut self, port: &mut dyn FnMut(&mut u16), range: &mut dyn FnMut(&mut PortRange)) {
        match self {
            Op::Bind { port: own, .. } | Op::Connect { port: own, .. } | Op::SendTo { port: own, .. } => port(own),
            Op::Fill(fill) => {
                range(&mut fill.range);
                if let Some(to) = &mut fill.to {
                    let mut own = to.port();
                    port(&mut own);
                    to.set_port(own);
                }
            }
            Op::SetSysctl { name, value } => visit_sysctl(name, value, range),
            Op::Socket { .. }
            | Op::SetOption { .. }
            | Op::Listen { .. }
            | Op::Disconnect { .. }
            | Op::Accept { .. }
            | Op::Send { .. }
            | Op::SendUntilFull { .. }
            | Op::Receive { .. }
            | Op::Shutdown { .. }
            | Op::Close { .. }
            | Op::SoError { .. }
            | Op::ErrorQueue { .. }
            | Op::GetName { .. }
            | Op::Inherit { .. }
            | Op::Wait { .. }
            | Op::Elapse { .. }
            | Op::SetUp { .. }
            | Op::AddAddress { .. }
            | Op::DeleteAddress { .. }
            | Op::AddRoute { .. }
            | Op::AddVeth { .. }
            | Op::AddTun { .. }
            | Op::Answer { .. }
            | Op::Nft { .. }
            | Op::UnixSocket { .. }
            | Op::UnixBind { .. }
            | Op::UnixConnect { .. }
            | Op::UnixSendTo { .. }
            | Op::MakeFile { .. }
            | Op::MakeDirectory { .. }
            | Op::Unlink { .. }
            | Op::MakeReadOnly {}
            | Op::ExhaustDescriptors {}
            | Op::ForbidTcp {}
            | Op::Raise { .. } => {}
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

fn default_piece() -> u32 {
    64 * 1024
}

fn is_default_piece(bytes: &u32) -> bool {
    *bytes == default_piece()
}

fn by_syscall() -> Via {
    Via::Syscall
}

fn is_by_syscall(via: &Via) -> bool {
    *via == Via::Syscall
}

fn tcp() -> Protocol {
    Protocol::Tcp
}

fn is_false(on: &bool) -> bool {
    !on
}
