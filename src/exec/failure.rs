//! Why a command has not run, in types that say it in a sentence each.
//!
//! Nothing is found out here.

use std::net::{IpAddr, SocketAddr};

use super::environment::{STARTUP_TIMEOUT, how_it_ended};
use crate::plan::Unsupported;
use crate::scenario::Impossible;
use crate::sys::{Ended, Fault};
use crate::words::errno::Errno;
use crate::words::names::Protocol;
use crate::words::ports::{PORT_RANGE, PortRange, RangeError};

/// Why a command has not run.
#[derive(Debug)]
pub enum Failed {
    Environment(NoEnvironment),
    /// There can be no environment on this host, which lacks something that a condition needs: in words, and what it
    /// is.
    Lacks(String, Unsupported),
    /// The environment was there, and the command refused.
    Command(Errno),
}

impl From<NoEnvironment> for Failed {
    fn from(why: NoEnvironment) -> Failed {
        Failed::Environment(why)
    }
}

/// Why there is no environment for a command.
#[derive(Debug, thiserror::Error)]
pub enum NoEnvironment {
    #[error("{what}: {errno}")]
    System { what: &'static str, errno: Errno },
    #[error("cannot handle signals: {0}")]
    Signals(std::io::Error),
    #[error("cannot create a private network for the command: {0}")]
    Private(String),
    #[error("cannot build the command's network: {0}")]
    Network(Fault),
    #[error("cannot start a process: fork: {0}; see `ulimit -u`, and pids.max of its cgroup")]
    Process(Errno),
    #[error("the path does not work: {0}; if this machine is busy, try again")]
    Path(Fault),
    #[error("cannot enter the server's network: {0}")]
    Server(Fault),
    #[error("{option}: cannot write {name}: {fault}")]
    Sysctl { option: &'static str, name: &'static str, fault: Fault },
    #[error("--listen {port}: cannot listen: {fault}")]
    Listen { port: u16, fault: Fault },
    #[error("--silent {router}: cannot drop what it sends: {fault}")]
    Silent { router: u8, fault: Fault },
    #[error("--unreachable {router}: cannot add its route to the server: {fault}")]
    Unreachable { router: u8, fault: Fault },
    #[error("--filtered: cannot drop what the server sends: {0}")]
    Filtered(Fault),
    #[error(
        "--ready {port}: `--listen {port}`, or a program of an earlier --with, has this port; leave that out, or choose \
         another port"
    )]
    PortOfAnother { port: u16 },
    #[error("cannot read the socket table, which shows when `{command}` is ready: {fault}")]
    HelperTable { command: String, fault: Fault },
    #[error("--with: `{command}` {} before it was ready to serve", how_it_ended(*.ended))]
    HelperEnded { command: String, ended: Ended },
    #[error("--with: `{command}` cannot be waited for: {errno}")]
    HelperLost { command: String, errno: Errno },
    /// Without a port a TCP port was waited for that it listens on.
    #[error("--with: `{command}` {}{}", if *.is_stopped { "is stopped, and " } else { "" }, not_ready(*.port))]
    HelperLate { command: String, is_stopped: bool, port: Option<u16> },
    #[error("{0}, before the command was started; it has not run")]
    HelperFailed(String),
    #[error(
        "cannot read the client's socket table: {0}; it takes sock_diag: CONFIG_INET_DIAG, or the kernel modules \
         tcp_diag and udp_diag"
    )]
    ClientTable(Fault),
    #[error("cannot read {PORT_RANGE}: {0}")]
    PortRange(RangeError),
    #[error(transparent)]
    NoNamespaces(#[from] NeedsNamespaces),
    #[error("condition `{text}` cannot be made: {why}")]
    Condition { text: String, why: Unmakeable },
    /// The process that was to hold the conditions says why.
    #[error("{0}")]
    Holders(String),
    #[error("--may-change {name}: no condition is called so, or sets it{meant}")]
    MayChange { name: String, meant: String },
    #[error("cannot write a file for the shell to begin with: {0}; see TMPDIR")]
    Startup(std::io::Error),
    #[error("cannot become the caller again: {0}")]
    Caller(Fault),
    #[error(
        "cannot trace the command, which has not run: {call}(2): {errno}; a seccomp filter (of a container, or of \
         systemd), kernel.yama.ptrace_scope=3 or another security module may refuse this; allow it, or leave out --trace \
         and --json"
    )]
    Untraceable { call: &'static str, errno: Errno },
    #[error(
        "cannot start the thread that a traced command needs: {0}; it has not run; see `ulimit -u`, and pids.max of its \
         cgroup"
    )]
    Thread(Errno),
}

fn not_ready(port: Option<u16>) -> String {
    let seconds = STARTUP_TIMEOUT.as_secs();
    match port {
        Some(port) => format!("did not open port {port}, TCP or UDP, within {seconds} s"),
        None => {
            format!("did not listen on a TCP port within {seconds} s; if it serves UDP, add --ready PORT")
        }
    }
}

/// Why a condition cannot be, whoever makes it.
#[derive(Debug, thiserror::Error)]
pub enum Unmakeable {
    #[error(
        "{protocol} port {port} is held already, by another condition or by a server; choose another, or leave one out"
    )]
    Held { protocol: Protocol, port: u16 },
    #[error("no {protocol} port from 1024 on is left for its other end; name one by peer=ADDRESS:PORT")]
    NoPort { protocol: Protocol },
    #[error(
        "free={free} is too many: of the ports {} to {}, {left} are not held by others",
        range.low(),
        range.high()
    )]
    TooManyFree { free: u16, range: PortRange, left: usize },
    #[error("router {router} and prefix {prefix} are of two families")]
    Families { router: IpAddr, prefix: IpAddr },
    #[error(transparent)]
    Impossible(#[from] Impossible),
    #[error(
        "the command's network has nothing but lo, from which no way leads to {}: with --path 0 --listen {port} there is \
         a server, to=10.77.0.2:{port}",
        to.ip(),
        port = to.port()
    )]
    NoWay { to: SocketAddr },
    #[error(
        "nobody listens on {to}, and no program of --with has within {} s; --listen {} has errnoscope listen there",
        STARTUP_TIMEOUT.as_secs(),
        to.port()
    )]
    NoServer { to: SocketAddr },
    #[error("setrlimit(RLIMIT_NOFILE, {most}): {errno}; the hard limit is {hard}")]
    Descriptors { most: u64, errno: Errno, hard: u64 },
}

/// What a host without namespaces does not offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeedsNamespaces {
    #[error("leave out --path, --listen, --with and --no-timestamps: they take a network of the command's own; {why}")]
    Network { why: String },
    #[error("leave out --trace and --json: system calls can be seen on Linux only")]
    Watch,
    #[error(
        "condition `{text}` cannot be made here: the range of ephemeral ports is everybody's, {own}; leave out range=…"
    )]
    Range { text: String, own: PortRange },
    #[error(
        "condition `{text}` cannot be made here: nobody can ask whether another process still has that limit; use \
         `ulimit -n` for the command"
    )]
    Descriptors { text: String },
    #[error("condition `{text}` cannot be made here: it takes a network of the command's own; {why}")]
    OwnNetwork { text: String, why: String },
}
