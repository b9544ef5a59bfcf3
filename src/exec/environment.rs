//! The environment of one command: its networks, the server in them, and the faults on the way to the server.
//!
//! `sys` has the pieces; this knows their order. It does not create conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::condition::Surroundings;
use super::failure::NoEnvironment;
use crate::plan::RouteKind;
use crate::sys::{self, Chain, Credentials, Ended, Fault, Fork, Life, SocketTable};
use crate::words::names::{Protocol, SocketState};

/// The most routers that a path may have. Its addresses have room for four times as many.
pub const MOST_ROUTERS: u8 = 64;

/// How long a helper may take until it listens.
pub const STARTUP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process takes to die that was killed.
const DEATH: Duration = Duration::from_secs(1);

/// What a command finds around it.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The routers between client and server; without it there is one namespace, and no path.
    pub path: Option<u8>,
    /// Ports that the server listens on.
    pub listen: BTreeSet<u16>,
    /// Routers that forward, but say nothing by themselves.
    pub silent: BTreeSet<u8>,
    /// Routers with a route of that kind to the server.
    pub unreachable: BTreeMap<u8, RouteKind>,
    /// The server answers no TCP.
    pub filtered: bool,
    /// What the first link adds to every round trip.
    pub rtt: Option<Duration>,
    /// The server has TCP timestamps.
    pub timestamps: bool,
    /// Programs that run where the server is, for `sh -c`, in the order in which they start.
    pub with: Vec<OsString>,
    /// The port by which one knows that each is ready, TCP or UDP; without any, a TCP port that it listens on.
    pub ready: Vec<u16>,
}

/// A process that the command relies on as long as it runs.
#[derive(Debug)]
pub struct Helper {
    pid: i32,
    /// The option that asked for it, and what it is.
    what: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A part of this program, which never ends by itself.
    Own,
    /// The program of --with. When it ends with 0 it has done all that it was there for.
    Program,
    /// What that has started. Until pid 1 is its parent, its end is its parent's business.
    Started,
}

/// How many an environment has, and the namespaces that they are in.
pub struct Built {
    pub chain: Chain,
    pub helpers: Vec<Helper>,
}

impl Environment {
    /// Whether anything but the command has to be there.
    pub fn is_bare(&self) -> bool {
        self.path.is_none() && self.listen.is_empty() && self.with.is_empty() && self.timestamps
    }

    /// Everything but conditions and the command, in working order. Only then does anything go wrong on purpose.
    pub fn build(&self, caller: &Credentials) -> Result<Built, NoEnvironment> {
        let mut helpers = Vec::new();
        let ours = |what: &str, pid| Helper { pid, what: what.to_owned(), kind: Kind::Own };
        let (chain, line) = match self.path {
            Some(routers) => Chain::build(routers, self.rtt.is_some()),
            None => Chain::single().map(|chain| (chain, None)),
        }
        .map_err(NoEnvironment::Network)?;
        let rtt = self.rtt.unwrap_or_default();
        if let Some(line) = line {
            helpers.push(ours("--rtt: the process that carries the packets", start(|| sys::carry(line, rtt))?));
        }
        chain.check(rtt).map_err(NoEnvironment::Path)?;

        chain.enter(chain.server()).map_err(NoEnvironment::Server)?;
        let set = |option, name, value| {
            sys::write_sysctl(name, value).map_err(|fault| NoEnvironment::Sysctl { option, name, fault })
        };
        if !self.timestamps {
            set("--no-timestamps", "net.ipv4.tcp_timestamps", "0")?;
        }
        if !self.listen.is_empty() {
            // A server that is short of descriptors still has its queue.
            set("--listen", "net.core.somaxconn", "65535")?;
        }
        let mut listeners: Vec<OwnedFd> = Vec::new();
        for &port in &self.listen {
            listeners.extend(sys::listen_on(port).map_err(|fault| NoEnvironment::Listen { port, fault })?);
        }
        if !listeners.is_empty() {
            helpers.push(ours("--listen: the server", start(|| sys::serve(listeners))?));
        }
        for (index, command) in self.with.iter().enumerate() {
            helpers.extend(help(command, self.ready.get(index).copied(), caller)?);
            let what = format!("--with `{}`: a process that it started", command.to_string_lossy());
            let known: Vec<i32> = helpers.iter().map(|helper| helper.pid).collect();
            let others = sys::others().into_iter().filter(|pid| !known.contains(pid));
            helpers.extend(others.map(|pid| Helper { pid, what: what.clone(), kind: Kind::Started }));
        }
        for &router in &self.silent {
            chain.silence(router).map_err(|fault| NoEnvironment::Silent { router, fault })?;
        }
        for (&router, &kind) in &self.unreachable {
            chain.refuse(router, kind).map_err(|fault| NoEnvironment::Unreachable { router, fault })?;
        }
        if self.filtered {
            chain.filter().map_err(NoEnvironment::Filtered)?;
        }
        Ok(Built { chain, helpers })
    }
}

impl Helper {
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Why the command cannot rely on it, if it cannot. `ended` has those that somebody has waited for.
    pub fn fails(&self, ended: &BTreeMap<i32, Ended>) -> Option<String> {
        let has_ended = |limit| ended.get(&self.pid).copied().or_else(|| sys::wait_for(self.pid, limit).ok().flatten());
        let how = match has_ended(Duration::ZERO) {
            None => match sys::life_of(self.pid) {
                Ok(Life::Runs) => return None,
                Ok(Life::Stopped) => "is stopped, and does nothing".to_owned(),
                Ok(Life::Ended) | Err(_) if self.kind == Kind::Started => return None,
                Ok(Life::Ended) => has_ended(DEATH).map_or("is being killed".to_owned(), how_it_ended),
                Err(errno) => format!("cannot be looked at: {errno}; an environment needs /proc"),
            },
            Some(Ended::Exited(0)) if self.kind != Kind::Own => return None,
            Some(ended) => how_it_ended(ended),
        };
        Some(format!("{} {how}", self.what))
    }
}

pub fn how_it_ended(ended: Ended) -> String {
    match ended {
        Ended::Exited(code) => format!("ended with exit code {code}"),
        Ended::Killed(signal) => format!("was killed by signal {signal}"),
    }
}

/// What the client's namespace has before any condition.
pub fn surroundings(chain: &Chain) -> Result<Surroundings, Fault> {
    chain.enter(0)?;
    let mut around = Surroundings { device: sys::ONWARD, ..bystanders()? };
    if chain.server() > 0 {
        (around.client, around.server) = (chain.client_addresses(), chain.server_addresses());
    }
    Ok(around)
}

/// Who has ports in the network that this process is in.
pub fn bystanders() -> Result<Surroundings, Fault> {
    let mut around = Surroundings::default();
    let mut table = SocketTable::open()?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let held = table.ports(protocol)?;
        around.taken.extend(held.iter().filter(|port| *port != 0).map(|port| (protocol, port)));
    }
    Ok(around)
}

/// A process that goes on until the environment ends.
fn start(work: impl FnOnce()) -> Result<i32, NoEnvironment> {
    match sys::fork().map_err(NoEnvironment::Process)? {
        Fork::Child => {
            sys::keep_signals();
            work();
            sys::exit_now(1)
        }
        Fork::Parent(pid) => Ok(pid),
    }
}

/// Starts a helper in the namespace that this process is in, as the caller, and waits until it listens. One that has
/// ended then, in good order, is in the background, and nobody to look after.
fn help(command: &OsString, ready: Option<u16>, caller: &Credentials) -> Result<Option<Helper>, NoEnvironment> {
    let what = command.to_string_lossy();
    let named = || what.clone().into_owned();
    let fault = |fault: Fault| NoEnvironment::HelperTable { command: named(), fault };
    let mut table = SocketTable::open().map_err(|errno| fault(errno.into()))?;
    let before = ports(&mut table, ready).map_err(fault)?;
    if let Some(port) = ready.filter(|port| before.contains(port)) {
        return Err(NoEnvironment::PortOfAnother { port });
    }
    let pid = start(|| {
        // What it says is not the command's output, and Ctrl-C is the command's.
        sys::lead_group();
        let failed = match caller.restore() {
            Err(fault) => fault.to_string(),
            Ok(()) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(std::io::stderr());
                sys::become_command(&mut shell).to_string()
            }
        };
        let _ = writeln!(std::io::stderr(), "errnoscope: `{what}` cannot be started: {failed}");
        sys::exit_now(127)
    })?;
    let end = Instant::now() + STARTUP_TIMEOUT;
    let mut running = true;
    loop {
        if ports(&mut table, ready).map_err(fault)?.difference(&before).next().is_some() {
            let helper = Helper { pid, what: format!("--with: `{what}`"), kind: Kind::Program };
            return Ok(running.then_some(helper));
        }
        // One that goes into the background ends with 0, and listens later.
        match if running { sys::wait_for(pid, Duration::ZERO) } else { Ok(None) } {
            Ok(None) => {}
            Ok(Some(Ended::Exited(0))) => running = false,
            Ok(Some(ended)) => return Err(NoEnvironment::HelperEnded { command: named(), ended }),
            Err(errno) => return Err(NoEnvironment::HelperLost { command: named(), errno }),
        }
        if Instant::now() > end {
            let is_stopped = sys::life_of(pid) == Ok(Life::Stopped);
            return Err(NoEnvironment::HelperLate { command: named(), is_stopped, port: ready });
        }
        sys::pause_ms(2.0);
    }
}

/// TCP ports that somebody listens on. Where a port has a name, it alone, also for UDP: any other UDP socket may be a
/// client's.
fn ports(table: &mut SocketTable, named: Option<u16>) -> Result<BTreeSet<u16>, Fault> {
    let mut ports = BTreeSet::new();
    for row in table.rows(Protocol::Tcp, 0, &[SocketState::Listen])? {
        if row.state == SocketState::Listen {
            ports.insert(row.local.port());
        }
    }
    if let Some(named) = named {
        let udp = table.rows(Protocol::Udp, named, &[])?;
        ports.extend(udp.iter().filter(|row| row.remote.is_none()).map(|row| row.local.port()));
        ports.retain(|port| *port == named);
    }
    Ok(ports)
}
