//! A network that follows a script, on a clock of its own.
//!
//! It knows why each call fails, which the tracer does not, and keeps account of what the tracer asks of it. It panics
//! where the tracer breaks the contract of [`Network`]; whether the trace is right is the business of others.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use errnoscope::knowledge::policy::{Policy, ProbeCall, Signal};
use errnoscope::tracer::{
    self, Dispatched, FailedCall, Icmp, Interrupted, Network, PortMode, Probe, ProbeId, ProbeReply, Trace,
    TraceSettings, TracerCall,
};
use errnoscope::words::cause::Cause;
use errnoscope::words::errno::{Errno, ErrnoName};
use errnoscope::words::names::{Family, Os, PortChoice, Protocol};

/// A failure and what is behind it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub call: ProbeCall,
    pub errno: ErrnoName,
    pub cause: Cause,
}

/// What comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Silence,
    Router,
    Open,
    Closed,
    /// A router says that it cannot reach the target.
    Unreachable,
    Failed(Fault),
}

/// What becomes of a probe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lot {
    /// What the path does with its TTL.
    Path,
    /// A call fails at once. One that is in progress after all gets the path's answer.
    Fails(Fault),
    /// Something else answers, and perhaps says so twice.
    Answers { after: Duration, reply: Reply, twice: bool },
}

/// All that a trace depends on.
#[derive(Clone)]
pub struct Script {
    pub settings: TraceSettings,
    /// What each TTL meets, and when; every TTL beyond the last meets the last.
    pub path: Vec<(Duration, Reply)>,
    /// What becomes of the first probes.
    pub lots: Vec<Lot>,
    /// What becomes of all others.
    pub rest: Lot,
    /// Whether a probe's source is told.
    pub tells: bool,
    pub interrupted: Option<Duration>,
}

/// What a trace came to, and what it took.
pub struct Run {
    pub trace: Trace,
    /// What each probe met.
    pub met: Vec<Met>,
    pub elapsed: Duration,
}

pub struct Met {
    pub probe: Probe,
    /// The failure that it ran into, sooner or later.
    pub fault: Option<Fault>,
    /// The operands of the call that failed at once.
    pub operands: Option<String>,
    pub sent: Duration,
    /// When it is answered first.
    pub due: Option<Duration>,
    /// Whether it has a socket that is to be forgotten.
    pub kept: bool,
    pub forgotten: u32,
}

pub fn run(script: &Script, policy: &Policy) -> Run {
    run_watched(script, policy, &mut |_| {})
}

pub fn run_watched(script: &Script, policy: &Policy, watch: &mut dyn FnMut(&Trace)) -> Run {
    let mut network = Simulated {
        script,
        now: Duration::ZERO,
        coming: Vec::new(),
        open: BTreeSet::new(),
        met: Vec::new(),
        receives: 0,
        looks: 0,
        answers: 0,
    };
    let trace = tracer::trace(&script.settings, policy, &mut network, watch);
    Run { trace, met: network.met, elapsed: network.now }
}

struct Simulated<'s> {
    script: &'s Script,
    now: Duration,
    /// In the order of their times, and of their probes at one time.
    coming: Vec<(ProbeId, ProbeReply)>,
    open: BTreeSet<ProbeId>,
    met: Vec<Met>,
    receives: u64,
    looks: u64,
    answers: u64,
}

impl Script {
    fn reply(&self, ttl: u8) -> (Duration, Reply) {
        let last = self.path.len() - 1;
        self.path[last.min(usize::from(ttl) - 1)]
    }

    /// The signal of a fault, as the tracer is to see it.
    pub fn signal(&self, fault: Fault) -> Signal {
        let TraceSettings { os, reuse, target, ports, .. } = self.settings;
        let port = match (fault.call, ports) {
            (ProbeCall::Socket, _) => PortChoice::None,
            (_, PortMode::Ephemeral) | (ProbeCall::Bind, PortMode::BindZero) => PortChoice::Ephemeral,
            // bind(port 0) has picked one, which connect() finds.
            (_, PortMode::Sequence | PortMode::Fixed(_) | PortMode::BindZero) => PortChoice::Explicit,
        };
        let family = if target.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        Signal { os, call: fault.call, port, protocol: Protocol::Tcp, family, reuse, errno: fault.errno }
    }

    pub fn most_in_flight(&self) -> usize {
        if matches!(self.settings.ports, PortMode::Fixed(_)) { 1 } else { self.settings.in_flight }
    }

    /// Every probe takes a sequence number, and a round has each of them once.
    pub fn most_probes(&self) -> u64 {
        u64::from(self.settings.rounds) * u64::from(self.settings.sequences.size())
    }
}

/// How often a horizon of 7 TTLs can double before it is 255.
const MOST_STALLS: u64 = 6;

impl Simulated<'_> {
    fn errno(&self, name: ErrnoName) -> Errno {
        Errno::recorded(name.as_str(), name.raw(self.script.settings.os).expect("the OS has the errno"))
    }

    fn source(&self, probe: &Probe) -> SocketAddr {
        let own = if self.script.settings.target.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" };
        let address = self.script.settings.source.unwrap_or_else(|| own.parse().expect("an address"));
        let picked = 40_000 + (probe.id.0 % 10_000) as u16;
        SocketAddr::new(address, probe.port.filter(|port| *port != 0).unwrap_or(picked))
    }

    fn router(&self, ttl: u8) -> IpAddr {
        let network = if self.script.settings.target.is_ipv4() { "198.51.100." } else { "2001:db8:1::" };
        format!("{network}{ttl}").parse().expect("an address")
    }

    fn come(&mut self, probe: &Probe, after: Duration, reply: Reply) {
        let v4 = self.script.settings.target.is_ipv4();
        // Nobody but Linux shows the message to an ordinary program.
        let from_router = |(kind, code)| {
            let shown = self.script.settings.os == Os::Linux;
            shown.then_some(Icmp { from: self.router(probe.ttl), kind, code })
        };
        let named = |name| ErrnoName::new(name).expect("a known errno");
        let (error, icmp) = match reply {
            Reply::Silence => return,
            Reply::Router => (Some(named("EHOSTUNREACH")), from_router(if v4 { (11, 0) } else { (3, 0) })),
            Reply::Open => (None, None),
            Reply::Closed => (Some(named("ECONNREFUSED")), None),
            Reply::Unreachable => (Some(named("EHOSTUNREACH")), from_router(if v4 { (3, 1) } else { (1, 3) })),
            Reply::Failed(fault) => (Some(fault.errno), None),
        };
        let error = error.map_or(Ok(()), |name| Err(self.errno(name)));
        self.coming.push((probe.id, ProbeReply { at: self.now + after, error, icmp }));
        self.coming.sort_by_key(|(probe, answer)| (answer.at, *probe));
    }
}

impl Network for Simulated<'_> {
    fn now(&mut self) -> Duration {
        self.now
    }

    fn dispatch(&mut self, probe: &Probe) -> Dispatched {
        let script = self.script;
        assert_eq!(probe.id.0, self.met.len(), "probes are numbered in order");
        assert!(script.settings.ttls.contains(&probe.ttl), "TTL {} is out of {:?}", probe.ttl, script.settings.ttls);
        assert!(self.open.len() < script.most_in_flight(), "more than {} under way", script.most_in_flight());
        assert!((self.met.len() as u64) < script.most_probes(), "more than {} probes", script.most_probes());
        let source = self.source(probe);
        let lot = script.lots.get(probe.id.0).copied().unwrap_or(script.rest);
        let mut met =
            Met { probe: *probe, fault: None, operands: None, sent: self.now, due: None, kept: true, forgotten: 0 };
        let fault = match lot {
            Lot::Fails(fault) => Some(fault),
            Lot::Path | Lot::Answers { .. } => None,
        };
        met.fault = fault;
        let (call, operands) = match fault.map_or(ProbeCall::Connect, |fault| fault.call) {
            ProbeCall::Socket => (TracerCall::Socket, "tcp".to_owned()),
            ProbeCall::Bind => (TracerCall::Bind, SocketAddr::new(source.ip(), probe.port.unwrap_or(0)).to_string()),
            ProbeCall::Connect => (TracerCall::Connect, script.settings.target.to_string()),
            ProbeCall::SoError => unreachable!("SO_ERROR does not fail at once"),
        };
        let in_progress = ErrnoName::new("EINPROGRESS").expect("a known errno");
        let errno = fault.map_or(in_progress, |fault| fault.errno);
        if matches!(errno.as_str(), "EINPROGRESS" | "EALREADY") {
            let (after, reply, twice) = match lot {
                Lot::Answers { after, reply, twice } => (after, reply, twice),
                Lot::Path | Lot::Fails(_) => {
                    let (after, reply) = script.reply(probe.ttl);
                    (after, reply, false)
                }
            };
            if let Reply::Failed(fault) = reply {
                met.fault = Some(fault);
            }
            met.due = (reply != Reply::Silence).then_some(self.now + after);
            for _ in 0..=u8::from(twice) {
                self.come(probe, after, reply);
            }
        } else {
            met.operands = Some(operands.clone());
        }
        met.kept = call == TracerCall::Connect;
        if met.kept {
            self.open.insert(probe.id);
        }
        self.met.push(met);
        let result = Err(FailedCall { call, operands, errno: self.errno(errno), cause: None });
        Dispatched { source: (script.tells && call == TracerCall::Connect).then_some(source), result }
    }

    fn receive(&mut self, until: Duration, answers: &mut Vec<(ProbeId, ProbeReply)>) -> Result<(), Interrupted> {
        if until == self.now {
            // No wait: a look at what has come, once for each probe that was sent.
            self.looks += 1;
            assert!(self.looks <= self.met.len() as u64, "{} looks for {} probes", self.looks, self.met.len());
        } else {
            assert!(until > self.now, "there is nothing to wait for until {until:?}: it is {:?}", self.now);
            // A wait ends with an answer, with the deadline of a probe, with the horizon, or with the interval.
            self.receives += 1;
            let rounds = u64::from(self.script.settings.rounds);
            let most = self.answers + self.met.len() as u64 + rounds * (MOST_STALLS + 1);
            assert!(self.receives <= most, "{} waits for {} probes", self.receives, self.met.len());
        }
        let next = self.coming.first().map_or(until, |(_, answer)| answer.at.min(until));
        if let Some(at) = self.script.interrupted.filter(|at| *at <= next) {
            self.now = self.now.max(at);
            return Err(Interrupted);
        }
        self.now = self.now.max(next);
        // Of what nobody waits for any more the tracer is told as well: it may have been on its way.
        let come = self.coming.iter().take_while(|(_, answer)| answer.at <= self.now).count();
        self.answers += come as u64;
        answers.extend(self.coming.drain(..come));
        Ok(())
    }

    fn forget(&mut self, probe: ProbeId) {
        self.open.remove(&probe);
        self.met[probe.0].forgotten += 1;
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} because {}", self.call, self.errno.as_str(), self.cause)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Silence => f.write_str("silence"),
            Reply::Router => f.write_str("a router"),
            Reply::Open => f.write_str("the target, open"),
            Reply::Closed => f.write_str("the target, closed"),
            Reply::Unreachable => f.write_str("a router: unreachable"),
            Reply::Failed(fault) => write!(f, "{fault:?}"),
        }
    }
}

impl fmt::Debug for Lot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lot::Path => f.write_str("goes its way"),
            Lot::Fails(fault) => write!(f, "{fault:?}"),
            Lot::Answers { after, reply, twice } => {
                write!(f, "after {after:?} {reply:?}{}", if *twice { ", twice" } else { "" })
            }
        }
    }
}

/// As a reader wants a counter-example: what was asked, and what happened that is out of the ordinary.
impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of them: a setting that is new has to be told as well.
        let TraceSettings {
            os,
            kernel,
            target,
            source,
            ttls,
            queries,
            rounds,
            wait,
            interval,
            in_flight,
            ports,
            sequences,
            reuse,
        } = &self.settings;
        let (low, high) = sequences.range().into();
        writeln!(f, "on {os} {kernel} to {target} from {source:?}, TTL {ttls:?}, {queries} queries, {rounds} rounds,")?;
        writeln!(
            f,
            "  wait {wait:?}, interval {interval:?}, {in_flight} in flight, reuse {reuse}, source told: {}",
            self.tells
        )?;
        writeln!(f, "  ports {ports:?}, sequence {low} to {high}; path {:?}", self.path)?;
        let mut next = *sequences;
        for lot in &self.lots {
            let taken = next.take().or_else(|| {
                next.start_round();
                next.take()
            });
            let port = match ports {
                PortMode::Sequence => taken.unwrap_or_default(),
                PortMode::Fixed(port) => *port,
                PortMode::Ephemeral | PortMode::BindZero => 0,
            };
            match lot {
                Lot::Fails(fault) if matches!(fault.call, ProbeCall::Bind) => {
                    writeln!(f, "  bind {port}: {} because {}", fault.errno.as_str(), fault.cause)?;
                }
                lot => writeln!(f, "  {lot:?}")?,
            }
        }
        write!(f, "  and the rest: {:?}", self.rest)
    }
}
