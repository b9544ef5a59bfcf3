//! From a tracer's calls to its attempts to send a probe, and to what it did when one failed.
//!
//! `judge` says whether that was right. A probe is known by its TTL: if an attempt fails, the next one with the same
//! TTL is the same probe again.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::knowledge::calls::Record;
use crate::knowledge::policy::{ProbeCall, Signal};
use crate::plan::Outcome;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Os, PortChoice, Protocol, Reuse, words};

words! {
    /// What a tracer did next after a call of a probe had failed.
    Next {
        /// The same probe from another port.
        Skip = "skip",
        /// The same probe from the same port.
        Retry = "retry",
        /// The next probe.
        FailProbe = "fail-probe",
        /// Nothing more: this was its last attempt.
        Abort = "abort",
        /// It went on with the socket as if the call had not failed, or was told that the probe is under way.
        Proceed = "proceed",
    }
}

/// No tracer looks further: what has failed more often was tried more than once.
const MOST_PROBES: usize = 64;

/// One try to send one probe, by a TCP socket.
#[derive(Clone, Debug)]
pub struct Attempt {
    pid: i32,
    /// The source port that was asked for; 0 where the kernel chooses.
    pub port: u16,
    pub ttl: Option<u8>,
    /// The first call that failed, EINPROGRESS apart.
    pub failure: Option<Signal>,
    pub under_way: bool,
    /// Which calls it consists of, by their place in the list.
    pub calls: Vec<usize>,
    /// Calls after the failed one, on the same socket.
    proceeded: bool,
}

impl Attempt {
    fn new(pid: i32, ttl: Option<u8>) -> Attempt {
        Attempt { pid, port: 0, ttl, failure: None, under_way: false, calls: Vec::new(), proceeded: false }
    }

    /// One of which nothing else is known.
    #[cfg(test)]
    pub fn failed(signal: Signal) -> Attempt {
        Attempt { failure: Some(signal), ..Attempt::new(4, None) }
    }
}

/// A TCP socket of a process, and the attempt that it is in.
struct Socket {
    ttl: Option<u8>,
    attempt: Option<usize>,
}

/// The attempts in the order in which they began.
pub fn attempts(calls: &[Record], os: Os) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut sockets: HashMap<(i32, i32), Socket> = HashMap::new();
    for (index, record) in calls.iter().enumerate() {
        let is_stream = record.protocol.map(Protocol::table) == Some(Protocol::Tcp);
        let Some(descriptor) = record.descriptor else {
            if record.call == Call::Socket && is_stream {
                let failure = signal(record, ProbeCall::Socket, os);
                attempts.push(Attempt { failure, calls: vec![index], ..Attempt::new(record.pid, None) });
            }
            continue;
        };
        let key = (record.pid, descriptor);
        if record.call == Call::Socket {
            // A raw socket has the number of TCP as well: only socket() tells the two apart.
            sockets.remove(&key);
            if is_stream {
                sockets.insert(key, Socket { ttl: None, attempt: None });
            }
            continue;
        }
        let Some(socket) = sockets.get_mut(&key) else { continue };
        match record.call {
            Call::Setsockopt => {
                let Some(ttl) = record.option.as_deref().and_then(ttl) else { continue };
                socket.ttl = Some(ttl);
                if let Some(attempt) = socket.attempt.map(|at| &mut attempts[at]).filter(|it| it.failure.is_none()) {
                    attempt.ttl = Some(ttl);
                }
            }
            Call::Bind | Call::Connect => {
                let call = if record.call == Call::Bind { ProbeCall::Bind } else { ProbeCall::Connect };
                // bind() begins one, and so does the connect() of a socket that is not bound or that has tried before.
                let goes_on = |at: &usize| record.call == Call::Connect && !attempts[*at].has_connected(calls);
                let at = socket.attempt.filter(goes_on).unwrap_or_else(|| {
                    attempts.push(Attempt::new(record.pid, socket.ttl));
                    attempts.len() - 1
                });
                socket.attempt = Some(at);
                let attempt = &mut attempts[at];
                attempt.calls.push(index);
                if record.call == Call::Bind {
                    attempt.port = record.address.map_or(0, |address| address.port());
                }
                match &record.outcome {
                    // A reset is the target's answer, to a connect() that waits.
                    Outcome::Errno(errno)
                        if matches!(errno.known(), Some(ErrnoName::EINPROGRESS | ErrnoName::ECONNREFUSED)) =>
                    {
                        attempt.under_way = true;
                    }
                    Outcome::Errno(_) if attempt.failure.is_none() => attempt.failure = signal(record, call, os),
                    Outcome::Ok if record.call == Call::Connect => attempt.under_way = true,
                    _ => {}
                }
                attempt.proceeded |= attempt.calls.len() > 1 && call == ProbeCall::Connect;
            }
            _ => {}
        }
    }
    attempts
}

impl Attempt {
    fn has_connected(&self, calls: &[Record]) -> bool {
        self.calls.iter().any(|&call| calls[call].call == Call::Connect)
    }

    fn has_proceeded(&self) -> bool {
        self.proceeded && self.failure.is_some_and(|signal| signal.call == ProbeCall::Bind)
    }
}

/// What a failed attempt tells a tracer. What nobody could see of the socket is taken to be usual.
fn signal(record: &Record, call: ProbeCall, os: Os) -> Option<Signal> {
    let Outcome::Errno(errno) = &record.outcome else { return None };
    Some(Signal {
        os,
        call,
        port: if call == ProbeCall::Socket { PortChoice::None } else { record.port },
        protocol: Protocol::Tcp,
        family: record.family.unwrap_or(Family::Ipv4),
        reuse: record.reuse.unwrap_or(Reuse::None),
        errno: ErrnoName::new(errno.name())?,
    })
}

/// The value of an option that limits how far a packet goes.
fn ttl(option: &str) -> Option<u8> {
    let (name, value) = option.split_once(" = ")?;
    ["IP_TTL", "IPV6_UNICAST_HOPS"].contains(&name).then(|| value.parse().ok())?
}

/// What came after each attempt that failed, by its place; nothing where the calls do not tell.
pub fn reactions(attempts: &[Attempt], ended: bool) -> Vec<(usize, Option<Next>)> {
    let mut without: HashMap<i32, usize> = HashMap::new();
    // The TTL that a probe without one would have had: that after the last one that was sent.
    let mut due: HashMap<i32, u8> = HashMap::new();
    let mut own: Vec<u8> = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        own.push(attempt.ttl.unwrap_or_else(|| due.get(&attempt.pid).copied().unwrap_or(1)));
        match attempt.ttl {
            None => *without.entry(attempt.pid).or_default() += 1,
            Some(ttl) if attempt.under_way => drop(due.insert(attempt.pid, ttl.saturating_add(1))),
            Some(_) => {}
        }
    }
    // Of the attempts after the one that is looked at: the port of the first, and the first TTL. Many set it only after
    // bind().
    let mut later: HashMap<i32, (u16, Option<u8>)> = HashMap::new();
    let mut reactions = Vec::new();
    for (index, attempt) in attempts.iter().enumerate().rev() {
        let following = later.get(&attempt.pid).copied();
        if attempt.failure.is_some() {
            let next = match following {
                _ if attempt.has_proceeded() => Some(Next::Proceed),
                None => ended.then_some(Next::Abort),
                // More than a tracer has probes, and none came so far.
                Some((_, None)) => (without[&attempt.pid] > MOST_PROBES).then_some(Next::Skip),
                Some((_, Some(ttl))) if ttl != own[index] => Some(Next::FailProbe),
                Some((port, _)) if port == attempt.port && port != 0 => Some(Next::Retry),
                Some(_) => Some(Next::Skip),
            };
            reactions.push((index, next));
        }
        let ttl = attempt.ttl.or(following.and_then(|(_, ttl)| ttl));
        later.insert(attempt.pid, (attempt.port, ttl));
    }
    reactions.reverse();
    reactions
}

/// Whether one of these source ports was asked for.
pub fn asks_for(calls: &[Record], ports: &[u16]) -> bool {
    let binds = calls.iter().filter(|record| record.call == Call::Bind);
    binds.filter_map(|record| record.address).any(|address| ports.contains(&address.port()))
}

/// Whether a socket was to be bound to this address.
pub fn binds_to(calls: &[Record], address: IpAddr) -> bool {
    calls.iter().any(|record| record.call == Call::Bind && record.address.is_some_and(|own| own.ip() == address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::errno::Errno;

    /// One call on a socket of its own process, whose source port is the caller's choice.
    fn record(call: Call, descriptor: i32, port: u16, errno: &str) -> Record {
        let outcome = if errno == "ok" { Outcome::Ok } else { Outcome::Errno(Errno::recorded(errno, 1)) };
        Record {
            micros: 0,
            pid: 4,
            thread: 4,
            call,
            by: None,
            descriptor: Some(descriptor),
            protocol: Some(Protocol::Tcp),
            family: Some(Family::Ipv4),
            reuse: Some(Reuse::Port),
            port: if port == 0 { PortChoice::Ephemeral } else { PortChoice::Explicit },
            address: (call != Call::Setsockopt).then(|| std::net::SocketAddr::new([10, 77, 0, 1].into(), port)),
            local: None,
            option: (call == Call::Setsockopt).then(|| format!("IP_TTL = {port}")),
            outcome,
            reason: None,
            earlier: None,
            causes: Vec::new(),
        }
    }

    /// `ttl port bind connect`, a probe each; a TTL of 0 is never set, and `-` is a call that is not made.
    #[track_caller]
    fn check(probes: &[&str], ended: bool, expected: &[Option<Next>]) {
        let mut calls = Vec::new();
        for probe in probes {
            let words: Vec<&str> = probe.split(' ').collect();
            let [ttl, port, bind, connect] = words[..] else { panic!("{probe}") };
            let (ttl, port) = (ttl.parse().unwrap(), port.parse().unwrap());
            calls.push(record(Call::Socket, 7, 0, "ok"));
            calls.push(record(Call::Bind, 7, port, bind));
            if ttl != 0 {
                calls.push(record(Call::Setsockopt, 7, ttl, "ok"));
            }
            if connect != "-" {
                calls.push(record(Call::Connect, 7, port, connect));
            }
        }
        let reactions = reactions(&attempts(&calls, Os::Linux), ended);
        assert_eq!(reactions.into_iter().map(|(_, next)| next).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_ttl_of_what_follows_tells_what_a_tracer_did() {
        let (skip, lost, abort) = (Some(Next::Skip), Some(Next::FailProbe), Some(Next::Abort));
        check(&["1 10 ok EINPROGRESS", "2 11 ok EINPROGRESS"], true, &[]);
        check(&["1 10 ok EADDRNOTAVAIL", "1 11 ok EINPROGRESS"], true, &[skip]);
        check(&["1 10 ok EADDRNOTAVAIL", "1 10 ok EINPROGRESS"], true, &[Some(Next::Retry)]);
        check(&["1 10 ok EADDRNOTAVAIL", "2 11 ok EINPROGRESS"], true, &[lost]);
        check(&["1 10 ok EINPROGRESS", "2 11 ok EADDRNOTAVAIL"], true, &[abort]);
        check(&["1 10 ok EINPROGRESS", "2 11 ok EADDRNOTAVAIL"], false, &[None]);
        // The TTL comes after bind(): a probe that fails there never had one.
        check(&["0 10 EADDRINUSE -", "0 11 EADDRINUSE -", "1 12 ok EINPROGRESS"], true, &[skip, skip]);
        check(&["1 10 ok EINPROGRESS", "0 11 EADDRINUSE -", "3 12 ok EINPROGRESS"], true, &[lost]);
        check(&["0 10 EADDRINUSE EINPROGRESS"], true, &[Some(Next::Proceed)]);
        check(&["0 10 EADDRINUSE -", "0 11 EADDRINUSE -"], true, &[None, abort]);
        // The target's own answer is no trouble.
        check(&["1 10 ok ECONNREFUSED"], true, &[]);
    }

    #[test]
    fn more_failures_than_probes_are_skips() {
        let ports: Vec<String> = (1..=66).map(|port| format!("0 {port} EADDRINUSE -")).collect();
        let probes: Vec<&str> = ports.iter().map(String::as_str).collect();
        let mut expected = vec![Some(Next::Skip); 65];
        expected.push(Some(Next::Abort));
        check(&probes, true, &expected);
    }
}
