//! The real network: probes are sockets, and readiness comes from epoll or kqueue.
//!
//! It makes each call once and reports what the kernel said. It does not decide what that means for a trace.

mod interrupt;
mod quote;
mod raw;
mod replies;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};

use crate::plan::SocketOption;
use crate::sys::{self, Address, Fault};
use crate::tracer::{Dispatched, FailedCall, Interrupted, Network, Probe, ProbeId, ProbeReply, TracerCall};
use crate::words::cause::Cause;
use crate::words::errno::{Errno, ErrnoName};
use crate::words::names::{Family, Os, Protocol, Reuse, words};

pub use interrupt::Interrupt;
use raw::Raw;
use replies::{Flight, Flights, Stage};

words! {
    /// How it is found out which router answered.
    Replies {
        /// The error queue where the kernel has one that shows it, else raw ICMP where this user may, else not at all.
        Auto = "auto",
        /// recvmsg(MSG_ERRQUEUE), which Linux grants to everybody.
        ErrorQueue = "error-queue",
        /// A raw ICMP socket, which takes privileges.
        RawIcmp = "raw-icmp",
        /// Not at all: SO_ERROR says what happened, and not where.
        SoError = "so-error",
    }
}

/// The call by which a socket is watched for events, as mio makes it.
fn event_call() -> TracerCall {
    if sys::HOST == Some(Os::Linux) { TracerCall::EpollCtl } else { TracerCall::Kevent }
}

/// What holds for every probe.
#[derive(Clone, Debug)]
pub struct Config {
    /// A link-local address has its scope.
    pub target: SocketAddr,
    /// The address that probes are bound to; without one, the one that the kernel's routes choose.
    pub source: Option<IpAddr>,
    /// The only interface that probes may leave by.
    pub interface: Option<String>,
    pub reuse: Reuse,
    pub replies: Replies,
}

/// Why there is no network to trace on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    pub what: &'static str,
    pub errno: Errno,
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.errno)
    }
}

/// Tokens that no probe has: their ids count records.
const INTERRUPT: Token = Token(usize::MAX);
const RAW: Token = Token(usize::MAX - 1);

/// Events fetched with one call; the others stay with the kernel for the next.
const EVENTS: usize = 64;

/// The network that this host is on.
pub struct Wire {
    start: Instant,
    poll: Poll,
    events: Events,
    interrupt: Interrupt,
    target: SocketAddr,
    address: Address,
    /// Where probes are bound to if they have a port; the wildcard address if nobody knows better.
    source: SocketAddr,
    /// Set on each probe's socket, before its TTL.
    options: Vec<SocketOption>,
    flights: Flights,
}

impl Wire {
    /// Everything but the probes' own sockets is opened here, so that running out of descriptors shows in a probe.
    pub fn open(config: &Config, interrupt: Interrupt) -> Result<Wire, OpenError> {
        let fault = |what| move |error: std::io::Error| OpenError { what, errno: sys::errno_of(&error) };
        let poll = Poll::new().map_err(fault("there is no way to wait for events"))?;
        let readable = Interest::READABLE;
        poll.registry()
            .register(&mut SourceFd(&interrupt.as_raw_fd()), INTERRUPT, readable)
            .map_err(fault("signals cannot be waited for"))?;
        let family = Family::of(config.target.ip());
        let scout = Scout::new(config, family);
        let queue = match config.replies {
            Replies::Auto => scout.refusal().is_none(),
            Replies::ErrorQueue => match scout.refusal() {
                None => true,
                Some(errno) => return Err(OpenError { what: "this kernel has no error queue for sockets", errno }),
            },
            Replies::RawIcmp | Replies::SoError => false,
        };
        let raw = match config.replies {
            Replies::Auto => Raw::open(family).ok(),
            Replies::RawIcmp => {
                let what = "a raw ICMP socket, which takes privileges (CAP_NET_RAW), cannot be opened";
                Some(Raw::open(family).map_err(|errno| OpenError { what, errno })?)
            }
            Replies::ErrorQueue | Replies::SoError => None,
        };
        if let Some(raw) = &raw {
            poll.registry()
                .register(&mut SourceFd(&raw.as_raw_fd()), RAW, readable)
                .map_err(fault("raw ICMP cannot be waited for"))?;
        }
        Ok(Wire {
            start: Instant::now(),
            poll,
            events: Events::with_capacity(EVENTS),
            interrupt,
            target: config.target,
            address: Address::new(config.target),
            source: scout.source(config),
            options: options(config, queue),
            flights: Flights::new(config.target, queue, raw, config.replies == Replies::Auto),
        })
    }

    /// The source address of probes with an explicit port, where it is known before the first of them.
    pub fn source(&self) -> Option<IpAddr> {
        Some(self.source.ip()).filter(|address| !address.is_unspecified())
    }

    fn family(&self) -> Family {
        Family::of(self.target.ip())
    }

    /// A probe's calls before connect, and what it was bound to.
    fn prepare(&self, probe: &Probe) -> Result<(OwnedFd, Option<SocketAddr>), FailedCall> {
        let family = self.family();
        let socket = sys::socket_nonblocking(family, Protocol::Tcp).map_err(|errno| {
            let operands = format!("{} {family}", Protocol::Tcp);
            FailedCall { cause: self.told(&errno), ..failed(TracerCall::Socket, operands, errno) }
        })?;
        let ttl = SocketOption::Ttl(probe.ttl);
        for option in self.options.iter().chain([&ttl]) {
            sys::set_option(&socket, family, option)
                .map_err(|fault| failed(TracerCall::Setsockopt, operands(family, option), errno(fault)))?;
        }
        let Some(port) = probe.port else { return Ok((socket, None)) };
        let mut source = self.source;
        source.set_port(port);
        sys::bind(&socket, &Address::new(source))
            .map_err(|errno| failed(TracerCall::Bind, source.to_string(), errno))?;
        // A connect() that fails takes the port back that bind() has picked.
        let picked = if port == 0 { sys::local_name(&socket).ok().flatten() } else { None };
        Ok((socket, Some(picked.unwrap_or(source))))
    }

    /// After connect(): before it, an unconnected socket would be reported as hung up. An event that was there first is
    /// not lost, because both kernels look at the socket when it is registered.
    fn watch(&self, probe: ProbeId, socket: &OwnedFd) -> Result<(), FailedCall> {
        let result =
            self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(probe.0), Interest::WRITABLE);
        result.map_err(|error| {
            let operands = format!("to wait for the answer of {}", self.target);
            failed(event_call(), operands, sys::errno_of(&error))
        })
    }

    /// What the host knows of an errno of socket() or connect() that the errno does not tell. Without an address to
    /// send from connect() gives EADDRNOTAVAIL (`ip6_dst_lookup_tail()`, net/ipv6/ip6_output.c), as it does where ports
    /// are taken.
    fn told(&self, errno: &Errno) -> Option<Cause> {
        let may_be =
            matches!(errno.known(), Some(ErrnoName::EADDRNOTAVAIL | ErrnoName::ENETUNREACH | ErrnoName::EAFNOSUPPORT));
        (may_be && sys::lacks_source(self.target.ip())).then_some(Cause::NoSourceAddress)
    }
}

impl Network for Wire {
    fn now(&mut self) -> Duration {
        self.start.elapsed()
    }

    fn dispatch(&mut self, probe: &Probe) -> Dispatched {
        let (socket, bound) = match self.prepare(probe) {
            Ok(prepared) => prepared,
            Err(failed) => return Dispatched { source: None, result: Err(failed) },
        };
        let connected = sys::connect(&socket, &self.address);
        let stage = match &connected {
            Ok(()) => Stage::Connected,
            Err(errno) if matches!(errno.known(), Some(ErrnoName::EINPROGRESS | ErrnoName::EALREADY)) => {
                Stage::Connecting
            }
            Err(_) => Stage::Dead,
        };
        let is_whole = |source: &SocketAddr| source.port() != 0 && !source.ip().is_unspecified();
        let source = match bound.filter(is_whole) {
            None if stage != Stage::Dead => sys::local_name(&socket).ok().flatten(),
            bound => bound,
        };
        if stage == Stage::Connecting
            && let Err(failed) = self.watch(probe.id, &socket)
        {
            return Dispatched { source, result: Err(failed) };
        }
        let now = self.now();
        self.flights.add(probe.id, Flight::new(socket, source, stage), now);
        let result = connected.map_err(|errno| {
            let operands = match bound {
                Some(bound) => format!("{bound} -> {}", self.target),
                None => self.target.to_string(),
            };
            FailedCall { cause: self.told(&errno), ..failed(TracerCall::Connect, operands, errno) }
        });
        Dispatched { source, result }
    }

    fn receive(&mut self, until: Duration, answers: &mut Vec<(ProbeId, ProbeReply)>) -> Result<(), Interrupted> {
        let before = answers.len();
        let mut now = self.now();
        self.flights.settle(now, true, answers);
        loop {
            let wake = self.flights.wake().map_or(until, |wake| wake.min(until));
            let timeout = if answers.len() > before { Duration::ZERO } else { wake.saturating_sub(now) };
            // A timeout is rounded up to what the kernel counts in: no waking up too early, and to no end.
            match self.poll.poll(&mut self.events, Some(timeout)) {
                Ok(()) => {}
                // A signal, which counts if it writes to the pipe.
                Err(error) if sys::errno_of(&error).is(ErrnoName::EINTR) => self.events.clear(),
                Err(error) => unreachable!("waiting for events only fails on signals: {error}"),
            }
            now = self.now();
            for event in &self.events {
                match event.token() {
                    INTERRUPT => self.interrupt.read(),
                    RAW => self.flights.raw_is_ready(),
                    Token(probe) => self.flights.read(ProbeId(probe), now, answers),
                }
            }
            self.flights.settle(now, now < until, answers);
            if self.interrupt.is_requested() {
                return Err(Interrupted);
            }
            if answers.len() > before || now >= until {
                return Ok(());
            }
        }
    }

    fn forget(&mut self, probe: ProbeId) {
        self.flights.remove(probe);
    }
}

/// A UDP socket that is asked what TCP's would answer. It sends nothing, and what it cannot tell, the probes will.
struct Scout {
    socket: Option<OwnedFd>,
    family: Family,
}

impl Scout {
    fn new(config: &Config, family: Family) -> Scout {
        let socket = sys::socket(family, Protocol::Udp).ok();
        if let (Some(socket), Some(interface)) = (&socket, &config.interface) {
            // Where this is forbidden, each probe fails of it.
            let _ = sys::set_option(socket, family, &SocketOption::BindToDevice(interface.clone()));
        }
        Scout { socket, family }
    }

    /// Why the kernel has no error queue.
    fn refusal(&self) -> Option<Errno> {
        let socket = self.socket.as_ref()?;
        sys::set_option(socket, self.family, &SocketOption::RecvErr(true)).err().map(errno)
    }

    fn source(&self, config: &Config) -> SocketAddr {
        let chosen = self.socket.as_ref().and_then(|socket| {
            sys::connect(socket, &Address::new(config.target)).ok()?;
            sys::local_name(socket).ok()?
        });
        let mut source = match (config.source, chosen) {
            (None, Some(chosen)) => chosen,
            (Some(given), _) => SocketAddr::new(given, 0),
            (None, None) if config.target.is_ipv4() => SocketAddr::from(([0; 4], 0)),
            (None, None) => SocketAddr::from(([0_u16; 8], 0)),
        };
        source.set_port(0);
        // A link-local source has the scope of the link that is used.
        if let (SocketAddr::V6(source), SocketAddr::V6(target)) = (&mut source, config.target)
            && source.ip().is_unicast_link_local()
            && source.scope_id() == 0
        {
            let interface = config.interface.as_deref().and_then(|interface| sys::device_index(interface).ok());
            source.set_scope_id(interface.unwrap_or(target.scope_id()));
        }
        source
    }
}

fn options(config: &Config, queue: bool) -> Vec<SocketOption> {
    let interface = config.interface.iter().map(|interface| SocketOption::BindToDevice(interface.clone()));
    let address = config.reuse.address().then_some(SocketOption::ReuseAddr(true));
    let port = config.reuse.port().then_some(SocketOption::ReusePort(true));
    let errors = queue.then_some(SocketOption::RecvErr(true));
    interface.chain(address).chain(port).chain(errors).collect()
}

fn failed(call: TracerCall, operands: String, errno: Errno) -> FailedCall {
    FailedCall { call, operands, errno, cause: None }
}

/// An option as programmers write it, with its value.
fn operands(family: Family, option: &SocketOption) -> String {
    let by_family = |v4, v6| match family {
        Family::Ipv4 => v4,
        Family::Ipv6 => v6,
    };
    match option {
        SocketOption::Ttl(hops) => format!("{} {hops}", by_family("IP_TTL", "IPV6_UNICAST_HOPS")),
        SocketOption::RecvErr(_) => format!("{} 1", by_family("IP_RECVERR", "IPV6_RECVERR")),
        SocketOption::ReuseAddr(_) => "SO_REUSEADDR 1".to_owned(),
        SocketOption::ReusePort(_) => "SO_REUSEPORT 1".to_owned(),
        SocketOption::BindToDevice(interface) => format!("{} {interface}", sys::BOUND_INTERFACE),
        other => format!("{other:?}"),
    }
}

/// An option that this OS does not have is refused as a kernel would.
fn errno(fault: Fault) -> Errno {
    match fault {
        Fault::Errno(errno) => errno,
        Fault::Blocked { .. } | Fault::Unsupported(_) | Fault::Failed(_) => {
            let unknown = ErrnoName::ENOPROTOOPT;
            Errno::recorded(unknown.as_str(), unknown.raw(sys::OS).unwrap_or_default())
        }
    }
}
