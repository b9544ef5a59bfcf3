//! A TCP tracer without a network: which probe is sent when, what an answer means, and when the trace is over.
//!
//! Time, randomness and the network come in through [`TraceSettings`] and [`Network`], so the same inputs give the same
//! trace. The policy decides what a failed call means, and its decision is recorded.

mod answer;
mod horizon;
pub mod record;
pub mod report;
mod round;
mod sequence;
mod state;
pub mod view;

// Around it: a real network, one that is played, and the tracers of others.
pub mod check;
pub mod demo;
pub mod network;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::knowledge::policy::{Policy, ProbeCall};
use crate::words::cause::Cause;
use crate::words::errno::Errno;
use crate::words::names::{LocalPort, Os, PortChoice, Reuse, words};

pub use answer::{Meaning, mark, meaning};
pub use record::{ProbeRecord, Trace};
pub use sequence::Sequences;
pub use state::{Next, State};

/// How a trace is made. Everything that can be chosen; nothing that is found out on the way.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// Whose errnos the network gives.
    pub os: Os,
    /// The release of that kernel.
    pub kernel: semver::Version,
    pub target: SocketAddr,
    /// The address that probes are bound to; without one, the kernel's choice.
    pub source: Option<IpAddr>,
    /// 1 to 255, the first not above the last.
    pub ttls: RangeInclusive<u8>,
    /// Probes for each TTL in a round, at least 1.
    pub queries: u8,
    /// At least 1.
    pub rounds: u32,
    /// How long the answer to a probe may take.
    pub wait: Duration,
    /// From the start of a round to the start of the next, at least.
    pub interval: Duration,
    /// How many probes may be under way at once, at least 1.
    pub in_flight: usize,
    pub ports: PortMode,
    pub sequences: Sequences,
    /// The options of each probe's socket.
    pub reuse: Reuse,
}

/// Where a probe's source port comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// It is the probe's sequence number.
    Sequence,
    /// Always this one, so that only one probe can be under way at a time.
    Fixed(u16),
    /// connect() picks one.
    Ephemeral,
    /// bind(port 0) picks one, where the source address is given: connect() then finds a port, as it does with a
    /// number.
    BindZero,
}

words! {
    /// The names of the modes.
    PortModeName {
        Sequence = "sequence",
        Fixed = "fixed",
        Ephemeral = "ephemeral",
    }
}

impl PortMode {
    pub fn name(self) -> PortModeName {
        match self {
            PortMode::Sequence => PortModeName::Sequence,
            PortMode::Fixed(_) => PortModeName::Fixed,
            PortMode::Ephemeral | PortMode::BindZero => PortModeName::Ephemeral,
        }
    }
}

impl PortMode {
    /// What the policy is told about the port of a call.
    pub fn choice(self, call: ProbeCall) -> PortChoice {
        let port = match (self, call) {
            (PortMode::Sequence | PortMode::Fixed(_), _) => LocalPort::Set,
            (PortMode::Ephemeral, _) | (PortMode::BindZero, ProbeCall::Bind) => LocalPort::Open,
            (PortMode::BindZero, ProbeCall::Socket | ProbeCall::Connect | ProbeCall::SoError) => LocalPort::Set,
        };
        PortChoice::of(call.into(), port)
    }
}

/// Tells probes apart within a trace: the index of the probe's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId(pub usize);

/// One connection attempt with a limited TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub id: ProbeId,
    pub ttl: u8,
    /// The source port to bind to, 0 for one that bind() picks; `None` leaves bind() out.
    pub port: Option<u16>,
}

words! {
    /// A call of a probe.
    TracerCall {
        Socket = "socket",
        Setsockopt = "setsockopt",
        Bind = "bind",
        Connect = "connect",
        /// To be told of events, on Linux.
        EpollCtl = "epoll_ctl",
        /// The same on macOS.
        Kevent = "kevent",
        /// getsockopt(SO_ERROR), once there is an event.
        SoError = "SO_ERROR",
    }
}

impl TracerCall {
    /// The call as the policy knows it; none of those that it has no say in.
    pub fn probe_call(self) -> Option<ProbeCall> {
        match self {
            TracerCall::Socket => Some(ProbeCall::Socket),
            TracerCall::Bind => Some(ProbeCall::Bind),
            TracerCall::Connect => Some(ProbeCall::Connect),
            TracerCall::SoError => Some(ProbeCall::SoError),
            TracerCall::Setsockopt | TracerCall::EpollCtl | TracerCall::Kevent => None,
        }
    }
}

/// What a probe meets, for real or in a test.
pub trait Network {
    /// The time since the trace began. Never goes back.
    fn now(&mut self) -> Duration;

    /// Makes the calls of a probe: socket, its options, bind, connect. The first that fails ends it. Of a probe that
    /// came as far as connect, the socket is kept until it is forgotten.
    fn dispatch(&mut self, probe: &Probe) -> Dispatched;

    /// Waits until a probe has been answered, at most until `until`, which may be now, and appends what came.
    fn receive(&mut self, until: Duration, answers: &mut Vec<(ProbeId, ProbeReply)>) -> Result<(), Interrupted>;

    /// Gives the probe's socket back, if there is one, with a reset where it is connected: no TIME_WAIT is left in the
    /// way of the next.
    fn forget(&mut self, probe: ProbeId);
}

/// How far a probe came at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// The source that it was sent from, as far as the network tells it.
    pub source: Option<SocketAddr>,
    /// `Ok` where it is connected already; connect() that gives EINPROGRESS is the usual failure.
    pub result: Result<(), FailedCall>,
}

/// A call of a probe that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCall {
    pub call: TracerCall,
    /// What it was called with: `192.0.2.1:33434`.
    pub operands: String,
    pub errno: Errno,
    /// What is behind it, where the host has said so: then no policy has to tell it from the errno.
    pub cause: Option<Cause>,
}

/// What came back for a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReply {
    pub at: Duration,
    /// getsockopt(SO_ERROR).
    pub error: Result<(), Errno>,
    /// The ICMP message behind the error, where the network shows it.
    pub icmp: Option<Icmp>,
}

/// An ICMP error and who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    pub from: IpAddr,
    pub kind: u8,
    pub code: u8,
}

/// Somebody asked for an early end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// Traces to the end. `watch` sees the trace after everything that changed it.
pub fn trace(
    settings: &TraceSettings,
    policy: &Policy,
    network: &mut dyn Network,
    watch: &mut dyn FnMut(&Trace),
) -> Trace {
    let mut state = State::new(settings, policy);
    loop {
        match state.next(network.now()) {
            Next::Send(probe) => {
                let dispatched = network.dispatch(&probe);
                let now = network.now();
                state.dispatched(probe.id, dispatched, now);
                // What has come already is looked at now: it tells sooner how far to go, and its time is more exact.
                receive(&mut state, network, now);
            }
            Next::Forget(probe) => network.forget(probe),
            Next::Wait(until) => {
                watch(state.trace());
                receive(&mut state, network, until);
            }
            Next::Done => break,
        }
    }
    watch(state.trace());
    state.into_trace()
}

fn receive(state: &mut State, network: &mut dyn Network, until: Duration) {
    let mut answers = Vec::new();
    match network.receive(until, &mut answers) {
        Ok(()) => answers.into_iter().for_each(|(probe, answer)| state.answered(probe, answer)),
        Err(Interrupted) => state.interrupt(),
    }
}
