//! What a tracer knows when a probe fails, and nothing that it would have to ask for.

use serde::{Deserialize, Serialize};

use crate::words::errno::{self, ErrnoName};
use crate::words::names::{Call, Family, Os, PortChoice, Protocol, Reuse, words};

words! {
    /// The calls that make a probe.
    ProbeCall {
        /// socket(2).
        Socket = "socket",
        /// bind(2).
        Bind = "bind",
        /// connect(2).
        Connect = "connect",
        /// getsockopt(SO_ERROR), once the socket is ready.
        SoError = "SO_ERROR",
    }
}

impl ProbeCall {
    /// `None` for calls that no probe makes.
    pub fn new(call: Call) -> Option<ProbeCall> {
        match call {
            Call::Socket => Some(ProbeCall::Socket),
            Call::Bind => Some(ProbeCall::Bind),
            Call::Connect => Some(ProbeCall::Connect),
            Call::SoError => Some(ProbeCall::SoError),
            Call::Setsockopt
            | Call::Listen
            | Call::Accept
            | Call::Send
            | Call::Sendto
            | Call::Recv
            | Call::Shutdown
            | Call::Close
            | Call::ErrorQueue => None,
        }
    }
}

impl From<ProbeCall> for Call {
    fn from(call: ProbeCall) -> Call {
        match call {
            ProbeCall::Socket => Call::Socket,
            ProbeCall::Bind => Call::Bind,
            ProbeCall::Connect => Call::Connect,
            ProbeCall::SoError => Call::SoError,
        }
    }
}

/// One failed call of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Signal {
    /// The system that the tracer runs on.
    pub os: Os,
    /// The call that failed.
    pub call: ProbeCall,
    /// `none` for socket() alone.
    pub port: PortChoice,
    /// Of the probe.
    pub protocol: Protocol,
    /// Of the target.
    pub family: Family,
    /// The probe's own options.
    pub reuse: Reuse,
    /// What the call gave.
    pub errno: ErrnoName,
}

impl Signal {
    /// Whether there can be such a signal: socket() knows no port, the other calls do, and the OS has the errno.
    pub fn is_possible(&self) -> bool {
        (self.call == ProbeCall::Socket) == (self.port == PortChoice::None) && self.errno.raw(self.os).is_some()
    }

    /// Every signal that is possible.
    pub fn all() -> impl Iterator<Item = Signal> {
        let calls = ProbeCall::ALL.iter().flat_map(|&call| PortChoice::ALL.iter().map(move |&port| (call, port)));
        let sockets = Protocol::ALL.iter().flat_map(|&protocol| {
            Family::ALL.iter().flat_map(move |&family| Reuse::ALL.iter().map(move |&reuse| (protocol, family, reuse)))
        });
        let sockets: Vec<(Protocol, Family, Reuse)> = sockets.collect();
        let calls: Vec<(ProbeCall, PortChoice)> = calls.collect();
        let errnos = Os::ALL.iter().flat_map(|&os| {
            errno::table(os).filter_map(move |(name, _)| ErrnoName::new(name)).map(move |errno| (os, errno))
        });
        errnos
            .flat_map(move |(os, errno)| {
                let sockets = sockets.clone();
                calls.clone().into_iter().flat_map(move |(call, port)| {
                    sockets.clone().into_iter().map(move |(protocol, family, reuse)| Signal {
                        os,
                        call,
                        port,
                        protocol,
                        family,
                        reuse,
                        errno,
                    })
                })
            })
            .filter(Signal::is_possible)
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Signal { os, call, port, protocol, family, reuse, errno } = self;
        write!(f, "{os} {call} port={port} {protocol} {family} reuse={reuse} {}", errno.as_str())
    }
}
