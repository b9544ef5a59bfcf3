//! The world of one command: its networks, the server in them, and what goes wrong on the way to it.
//!
//! The pieces are `sys`; this knows in which order they fit. What the command itself runs into is a condition, and not
//! made here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::condition::Surroundings;
use crate::names::{Protocol, SocketState};
use crate::plan::RouteKind;
use crate::sys::{self, Caller, Chain, Ended, Fault, Fork, SocketTable};

/// The most routers that a path may have. Its addresses have room for four times as many.
pub const MOST_ROUTERS: u8 = 64;

/// How long a helper may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a command finds around it.
#[derive(Clone, Debug, Default)]
pub struct World {
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
    /// A program that runs where the server is, for `sh -c`.
    pub with: Option<OsString>,
    /// The port by which one knows that it is ready; otherwise any that it listens on.
    pub ready: Option<u16>,
}

impl World {
    /// Whether anything but the command has to be there.
    pub fn is_bare(&self) -> bool {
        self.path.is_none() && self.listen.is_empty() && self.with.is_none() && self.timestamps
    }

    /// Everything but conditions and the command, in working order. Only then does anything go wrong on purpose.
    pub fn build(&self, caller: &Caller) -> Result<Chain, String> {
        let (chain, line) = match self.path {
            Some(routers) => Chain::build(routers, self.rtt.is_some()),
            None => Chain::single().map(|chain| (chain, None)),
        }
        .map_err(|fault| format!("cannot build the path: {fault}"))?;
        let rtt = self.rtt.unwrap_or_default();
        if let Some(line) = line {
            start(|| sys::carry(line, rtt))?;
        }
        chain.check(rtt).map_err(|fault| format!("the path does not work: {fault}"))?;

        chain.enter(chain.server()).map_err(|fault| format!("the server's namespace: {fault}"))?;
        if !self.timestamps {
            let name = "net.ipv4.tcp_timestamps";
            sys::write_sysctl(name, "0").map_err(|fault| format!("{name} cannot be written: {fault}"))?;
        }
        if !self.listen.is_empty() {
            // A server that is short of descriptors still has its queue.
            sys::write_sysctl("net.core.somaxconn", "65535").map_err(|fault| format!("net.core.somaxconn: {fault}"))?;
        }
        let mut listeners: Vec<OwnedFd> = Vec::new();
        for &port in &self.listen {
            listeners.extend(sys::listen_on(port).map_err(|fault| format!("cannot listen on port {port}: {fault}"))?);
        }
        if !listeners.is_empty() {
            start(|| sys::serve(listeners))?;
        }
        if let Some(command) = &self.with {
            help(command, self.ready, caller)?;
        }
        for &router in &self.silent {
            chain.silence(router).map_err(|fault| format!("cannot silence router {router}: {fault}"))?;
        }
        for (&router, &kind) in &self.unreachable {
            chain
                .refuse(router, kind)
                .map_err(|fault| format!("router {router} takes no route to the server: {fault}"))?;
        }
        if self.filtered {
            chain.filter().map_err(|fault| format!("cannot filter the server: {fault}"))?;
        }
        Ok(chain)
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
        let ports = (1..=u16::MAX).filter(|port| held[usize::from(*port) / 64] & (1 << (port % 64)) != 0);
        around.taken.extend(ports.map(|port| (protocol, port)));
    }
    Ok(around)
}

/// A process that goes on until the world ends.
fn start(work: impl FnOnce()) -> Result<i32, String> {
    match sys::fork().map_err(|errno| format!("fork: {errno}"))? {
        Fork::Child => {
            work();
            sys::exit_now(1)
        }
        Fork::Parent(pid) => Ok(pid),
    }
}

/// Starts a helper in the namespace that this process is in, as the caller, and waits until it listens.
fn help(command: &OsString, ready: Option<u16>, caller: &Caller) -> Result<(), String> {
    let what = command.to_string_lossy();
    let fault = |fault: Fault| format!("the socket table, which shows when `{what}` is ready: {fault}");
    let mut table = SocketTable::open().map_err(|errno| fault(errno.into()))?;
    let before = listening(&mut table).map_err(fault)?;
    let pid = start(|| {
        // What it says is not the command's output, and Ctrl-C is the command's.
        sys::lead_group();
        let failed = match caller.restore() {
            Err(why) => why,
            Ok(()) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(std::io::stderr());
                sys::become_command(&mut shell).to_string()
            }
        };
        let _ = writeln!(std::io::stderr(), "errnoscope: `{what}` cannot be started: {failed}");
        sys::exit_now(127)
    })?;
    let end = Instant::now() + PATIENCE;
    let mut running = true;
    loop {
        let now = listening(&mut table).map_err(fault)?;
        let is_ready = match ready {
            Some(port) => now.contains(&port),
            None => now.difference(&before).next().is_some(),
        };
        if is_ready {
            return Ok(());
        }
        // One that goes into the background ends with 0, and listens later.
        match if running { sys::wait_for(pid, Duration::ZERO) } else { Ok(None) } {
            Ok(None) => {}
            Ok(Some(Ended::Exited(0))) => running = false,
            Ok(Some(ended)) => {
                return Err(format!("`{what}` ended before it was ready, with exit code {}", ended.code()));
            }
            Err(errno) => return Err(format!("`{what}` cannot be waited for: {errno}")),
        }
        if Instant::now() > end {
            let port = ready.map_or("any TCP port".to_owned(), |port| format!("port {port}"));
            let seconds = PATIENCE.as_secs();
            return Err(format!("`{what}` did not listen on {port} within {seconds} s; --ready PORT says which one"));
        }
        sys::pause_ms(2.0);
    }
}

/// TCP ports that somebody listens on, and UDP ports that somebody has.
fn listening(table: &mut SocketTable) -> Result<BTreeSet<u16>, Fault> {
    let mut ports = BTreeSet::new();
    for row in table.rows(Protocol::Tcp, 0, &[SocketState::Listen])? {
        if row.state == SocketState::Listen {
            ports.insert(row.local.port());
        }
    }
    let udp = table.rows(Protocol::Udp, 0, &[])?;
    ports.extend(udp.iter().filter(|row| row.remote.is_none()).map(|row| row.local.port()));
    Ok(ports)
}
