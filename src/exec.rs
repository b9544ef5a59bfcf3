//! A world for one command: which namespaces, which processes besides the command, and how the command's end gets out.
//!
//! pid 1 of the world builds it, starts what it needs, and then looks after the command; with it everything ends. The
//! pieces are `sys`; this knows in which order they fit.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use crate::errno::Errno;
use crate::plan::RouteKind;
use crate::sys::{self, Caller, Chain, Fork, Outside};

/// The most routers that a path may have. Its addresses have room for four times as many.
pub const MOST_ROUTERS: u8 = 64;

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
}

/// Why a command has not run.
#[derive(Debug)]
pub enum Failed {
    /// There is no world for it.
    World(String),
    /// The world was there, and the command refused.
    Command(Errno),
}

/// Runs the command in its world, and gives back the exit code that says how it ended. The process that returns from
/// this may be another than the one that called it: see [`sys::isolate`].
pub fn run(world: &World, command: &mut Command) -> Result<i32, Failed> {
    let what = |what: &'static str| move |errno: Errno| Failed::World(format!("{what}: {errno}"));
    let caller = Caller::current().map_err(what("cannot tell who the caller is"))?;
    if let Some(lacking) = sys::isolate(Outside::Command).lacking {
        return Err(Failed::World(format!("no private world to be had: {lacking}")));
    }
    let chain = build(world).map_err(Failed::World)?;
    match sys::fork().map_err(what("fork"))? {
        Fork::Child => {
            chain.enter(0).map_err(|fault| Failed::World(format!("the client's namespace: {fault}")))?;
            caller.restore().map_err(|why| Failed::World(format!("the caller's ids: {why}")))?;
            Err(Failed::Command(sys::become_command(command)))
        }
        Fork::Parent(pid) => sys::shepherd(pid).map(sys::Ended::code).map_err(what("the command cannot be waited for")),
    }
}

/// Everything but the command, in working order. Only then does anything go wrong on purpose.
fn build(world: &World) -> Result<Chain, String> {
    let (chain, line) = match world.path {
        Some(routers) => Chain::build(routers, world.rtt.is_some()),
        None => Chain::single().map(|chain| (chain, None)),
    }
    .map_err(|fault| format!("cannot build the path: {fault}"))?;
    let rtt = world.rtt.unwrap_or_default();
    if let Some(line) = line {
        start(|| sys::carry(line, rtt))?;
    }
    chain.check(rtt).map_err(|fault| format!("the path does not work: {fault}"))?;

    chain.enter(chain.server()).map_err(|fault| format!("the server's namespace: {fault}"))?;
    if !world.timestamps {
        let name = "net.ipv4.tcp_timestamps";
        sys::write_sysctl(name, "0").map_err(|fault| format!("{name} cannot be written: {fault}"))?;
    }
    let mut listeners: Vec<OwnedFd> = Vec::new();
    for &port in &world.listen {
        listeners.extend(sys::listen_on(port).map_err(|fault| format!("cannot listen on port {port}: {fault}"))?);
    }
    if !listeners.is_empty() {
        start(|| sys::serve(listeners))?;
    }
    for &router in &world.silent {
        chain.silence(router).map_err(|fault| format!("cannot silence router {router}: {fault}"))?;
    }
    for (&router, &kind) in &world.unreachable {
        chain.refuse(router, kind).map_err(|fault| format!("router {router} takes no route to the server: {fault}"))?;
    }
    if world.filtered {
        chain.filter().map_err(|fault| format!("cannot filter the server: {fault}"))?;
    }
    Ok(chain)
}

/// A process that goes on until the world ends.
fn start(work: impl FnOnce()) -> Result<(), String> {
    match sys::fork().map_err(|errno| format!("fork: {errno}"))? {
        Fork::Child => {
            work();
            sys::exit_now(1)
        }
        Fork::Parent(_) => Ok(()),
    }
}
