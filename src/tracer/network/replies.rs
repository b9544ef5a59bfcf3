//! The probes in flight, and what is read from their sockets when something has happened to them.
//!
//! A socket's own error makes an answer. An ICMP message only says who caused it. It is read from the error queue, or
//! from a raw socket, which also gets messages about other people's packets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::raw::Raw;
use crate::plan::{Detail, SocketOption};
use crate::sys;
use crate::tracer::{Icmp, ProbeId, ProbeReply};
use crate::words::errno::Errno;
use crate::words::names::Family;

/// How far apart a socket's error and the raw message about it may be read. Linux delivers the message first, macOS the
/// error, both in one go.
const APART: Duration = Duration::from_millis(5);

/// Raw messages read in one go, however many there are.
const BATCH: usize = 256;

/// `include/uapi/linux/errqueue.h`: SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6. Other origins are not somebody's answer.
const ICMP_ORIGINS: [u8; 2] = [2, 3];

/// A probe that has called connect().
pub struct Flight {
    socket: OwnedFd,
    /// The other half of the 4-tuple, by which raw messages find their probe.
    local: Option<SocketAddr>,
    stage: Stage,
    /// From the raw socket, and when it was read.
    message: Option<(Duration, Icmp)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    Connecting,
    Connected,
    /// Its error has been read, but not yet who sent it.
    Held {
        at: Duration,
        errno: Errno,
    },
    /// Its error has been told.
    Dead,
}

impl Flight {
    pub fn new(socket: OwnedFd, local: Option<SocketAddr>, stage: Stage) -> Flight {
        Flight { socket, local, stage, message: None }
    }

    /// The first entry of the error queue that an ICMP message caused.
    fn queued(&self) -> Option<Icmp> {
        loop {
            match sys::receive_error(&self.socket).ok()?.1 {
                Detail::ErrorQueue { origin, icmp_type, icmp_code, offender: Some(from) }
                    if ICMP_ORIGINS.contains(&origin) =>
                {
                    return Some(Icmp { from, kind: icmp_type, code: icmp_code });
                }
                _ => {}
            }
        }
    }
}

impl Drop for Flight {
    /// An error leaves nothing to reset, and most probes end with one.
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Connecting | Stage::Connected) {
            // It fails at most on macOS, if the connection has just gone by itself. The family plays no part.
            let _ = sys::set_option(&self.socket, Family::Ipv4, &SocketOption::Linger(0));
        }
    }
}

/// All probes that are under way.
pub struct Flights {
    target: SocketAddr,
    flights: BTreeMap<ProbeId, Flight>,
    /// Whether the error queue is read.
    queue: bool,
    raw: Option<Raw>,
    /// Whether there may be messages in the raw socket.
    raw_ready: bool,
    /// Whether the first answer decides between the error queue and the raw socket.
    undecided: bool,
    held: Vec<ProbeId>,
}

impl Flights {
    pub fn new(target: SocketAddr, queue: bool, raw: Option<Raw>, auto: bool) -> Flights {
        let undecided = auto && queue && raw.is_some();
        Flights { target, flights: BTreeMap::new(), queue, raw, raw_ready: false, undecided, held: Vec::new() }
    }

    pub fn add(&mut self, id: ProbeId, flight: Flight, now: Duration) {
        let connecting = flight.stage == Stage::Connecting;
        self.flights.insert(id, flight);
        // An answer that came within connect() leaves a mark that only SO_ERROR shows, and no event, unless the error
        // queue gets an entry (tcp_v6_err(), net/ipv6/tcp_ipv6.c: sock_owned_by_user()).
        if connecting && !self.queue {
            self.read_error(id, now);
        }
    }

    pub fn remove(&mut self, id: ProbeId) {
        self.flights.remove(&id);
        self.held.retain(|held| *held != id);
    }

    pub fn raw_is_ready(&mut self) {
        self.raw_ready = self.raw.is_some();
    }

    /// When to look again without an event.
    pub fn wake(&self) -> Option<Duration> {
        if self.raw_ready {
            return Some(Duration::ZERO);
        }
        let held = self.held.iter().filter_map(|id| match self.flights.get(id)?.stage {
            Stage::Held { at, .. } => Some(at + APART),
            _ => None,
        });
        held.min()
    }

    /// Something has happened to this probe.
    pub fn read(&mut self, id: ProbeId, now: Duration, answers: &mut Vec<(ProbeId, ProbeReply)>) {
        if self.read_error(id, now) {
            return;
        }
        let Some(flight) = self.flights.get_mut(&id).filter(|flight| flight.stage == Stage::Connecting) else { return };
        // No error is not yet a connection: the event may be about an error that is still on its way into the socket.
        if sys::peer_name(&flight.socket).is_ok() {
            flight.stage = Stage::Connected;
            answers.push((id, ProbeReply { at: now, error: Ok(()), icmp: None }));
        }
    }

    /// SO_ERROR before the error queue, because reading the queue clears it. Whether there is an error.
    fn read_error(&mut self, id: ProbeId, now: Duration) -> bool {
        let Some(flight) = self.flights.get_mut(&id).filter(|flight| flight.stage == Stage::Connecting) else {
            return false;
        };
        let Err(errno) = sys::socket_error(&flight.socket) else { return false };
        flight.stage = Stage::Held { at: now, errno };
        self.held.push(id);
        if self.queue
            && let Some(icmp) = flight.queued()
        {
            flight.message = Some((now, icmp));
            if self.undecided {
                self.undecided = false;
                self.raw = None;
            }
        }
        true
    }

    /// Answers for every probe whose error has been read, once it is known who sent it. Without patience nobody waits
    /// for that.
    pub fn settle(&mut self, now: Duration, patient: bool, answers: &mut Vec<(ProbeId, ProbeReply)>) {
        if self.raw_ready || !self.held.is_empty() {
            self.read_messages(now);
        }
        let expects_message = patient && self.raw.is_some();
        let held = std::mem::take(&mut self.held);
        for id in held {
            let Some(flight) = self.flights.get_mut(&id) else { continue };
            let Stage::Held { at, errno } = &flight.stage else { continue };
            // An older one was about something that was no error to the socket.
            let message = flight.message.filter(|(came, _)| *came + APART >= *at);
            if message.is_none() && expects_message && now < *at + APART {
                self.held.push(id);
                continue;
            }
            answers.push((id, ProbeReply { at: *at, error: Err(errno.clone()), icmp: message.map(|(_, icmp)| icmp) }));
            flight.stage = Stage::Dead;
            if self.undecided && message.is_some() {
                // It came by the raw socket alone: Linux before 5.12 shows nothing in the queue of a connect in
                // progress.
                self.undecided = false;
                self.queue = false;
            }
        }
    }

    /// Reads the raw socket, and gives each message to the probe that it is about.
    fn read_messages(&mut self, now: Duration) {
        self.raw_ready = false;
        let Some(raw) = &self.raw else { return };
        let mut met = Vec::new();
        for count in 0.. {
            if count == BATCH {
                self.raw_ready = true;
                break;
            }
            let Some(quote) = raw.receive() else { break };
            let Some(quote) = quote else { continue };
            let found = self
                .flights
                .iter_mut()
                .find(|(_, flight)| flight.local.is_some_and(|local| quote.is_about(local, self.target)));
            if let Some((id, flight)) = found {
                flight.message = Some((now, quote.icmp));
                met.push(*id);
            }
        }
        for id in met {
            self.read_error(id, now);
        }
    }
}
