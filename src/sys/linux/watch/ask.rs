//! Asks this host why a call has just failed, if the errno leaves that open.
//!
//! It asks only if the caller's socket is in this network. Without an answer from the host, the reason stays open.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use super::look::Socket;
use crate::knowledge::calls::{Reason, Record};
use crate::plan::Outcome;
use crate::sys::linux::read_sysctl;
use crate::sys::{self, Broadcast, check};
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Protocol};

/// `include/uapi/asm-generic/socket.h`; since 5.14.
const SO_NETNS_COOKIE: i32 = 71;

/// `include/uapi/linux/capability.h`.
const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_RAW: u32 = 13;

/// More sockets than this are not remembered.
const MOST_SOCKETS: usize = 65_536;

/// Where the datagrams of each socket went, by its inode: to one destination, or (`None`) to several.
#[derive(Debug, Default)]
pub(super) struct Sent(HashMap<u64, Option<SocketAddr>>);

impl Sent {
    pub fn add(&mut self, socket: &Socket, destinations: &[SocketAddr]) {
        let Some(inode) = socket.inode() else { return };
        if self.0.len() >= MOST_SOCKETS && !self.0.contains_key(&inode) {
            return;
        }
        for destination in destinations {
            let known = self.0.entry(inode).or_insert(Some(*destination));
            if *known != Some(*destination) {
                *known = None;
            }
        }
    }

    /// `Some(None)`: to one of several. `None`: nothing was sent that was seen.
    fn of(&self, socket: &Socket) -> Option<Option<SocketAddr>> {
        // A connected socket has one by itself, and may send without a call that is looked at.
        let seen = socket.inode().and_then(|inode| self.0.get(&inode).copied());
        match (seen, socket.peer()) {
            (None, peer) => peer.map(Some),
            (Some(seen), Some(peer)) if seen != Some(peer) => Some(None),
            (Some(seen), _) => Some(seen),
        }
    }
}

/// Whether the socket is in the network namespace that this process asks in.
fn is_here(socket: &Socket, thread: i32) -> bool {
    let own = sys::socket(Family::Ipv4, Protocol::Udp).ok().and_then(|own| cookie(&own));
    match (own, cookie(socket.descriptor())) {
        (Some(own), Some(other)) => own == other,
        // An older kernel: a socket is nearly always in the namespace of its thread.
        _ => {
            let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net")).ok();
            of("self").is_some_and(|own| of(&thread.to_string()) == Some(own))
        }
    }
}

fn cookie(socket: &OwnedFd) -> Option<u64> {
    let (mut value, mut length) = (0_u64, size_of::<u64>() as u32);
    let place = (&raw mut value).cast();
    // SAFETY: the pointers are to 64 bits and to their size.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, place, &mut length) })
        .ok()?;
    Some(value)
}

/// Why socket() was denied, by what was asked for.
pub(super) fn about_new_socket(record: &Record, arguments: [u64; 6]) -> Option<Reason> {
    if !is_denied(&record.outcome) {
        return None;
    }
    let [_, kind, protocol, ..] = arguments.map(|argument| argument as i32);
    let is_icmp = [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&protocol);
    Some(match kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
        // `inet_create()`, net/ipv4/af_inet.c: EPERM.
        libc::SOCK_RAW if !may(record.thread, CAP_NET_RAW) => Reason::RawSocket,
        // `ping_init_sock()`, net/ipv4/ping.c: EACCES, whatever the capabilities.
        libc::SOCK_DGRAM if is_icmp && record.outcome.is(ErrnoName::EACCES) => Reason::PingSocket,
        _ => Reason::SecurityModule,
    })
}

/// Why a call on this socket failed, and where the datagram went that the error belongs to.
pub(super) fn about(
    record: &Record,
    destination: Option<SocketAddr>,
    socket: &Socket,
    sent: &Sent,
) -> Option<(Reason, Option<SocketAddr>)> {
    let Outcome::Errno(errno) = &record.outcome else { return None };
    let is_udp = record.protocol == Some(Protocol::Udp);
    let alone = |reason| Some((reason, None));
    let earlier = || sent.of(socket).map(|earlier| (Reason::EarlierDatagram, earlier));
    let here = || is_here(socket, record.thread);
    match (record.call, errno.known()?) {
        (Call::Recv, name) if is_udp && may_come_back(name) => earlier(),
        (Call::Send | Call::Sendto, name) if is_udp && only_comes_back(name) => {
            earlier().or(Some((Reason::EarlierDatagram, None)))
        }
        (Call::Bind, ErrnoName::EADDRNOTAVAIL) => {
            let refused = here().then(|| sys::refuses_address(destination?)).flatten();
            refused.filter(|refused| refused == errno).and_then(|_| alone(Reason::AddressNotLocal))
        }
        (Call::Bind, ErrnoName::EACCES | ErrnoName::EPERM) => {
            let port = destination?.port();
            let first = read_sysctl("net.ipv4.ip_unprivileged_port_start").ok().filter(|_| here())?.parse().ok()?;
            let is_privileged = port != 0 && port < first && !may(record.thread, CAP_NET_BIND_SERVICE);
            alone(if is_privileged { Reason::PrivilegedPort } else { Reason::SecurityModule })
        }
        (Call::Listen, ErrnoName::EACCES | ErrnoName::EPERM) => alone(Reason::SecurityModule),
        (Call::Connect | Call::Send | Call::Sendto, ErrnoName::EADDRNOTAVAIL | ErrnoName::ENETUNREACH) => {
            let destination = destination?;
            if here() && sys::lacks_source(destination.ip()) {
                return alone(Reason::NoSourceAddress);
            }
            (record.call != Call::Connect && is_fine(destination)).then(earlier).flatten()
        }
        // No route gives it, and TCP does not tell what a packet filter says (`tcp_connect()`, net/ipv4/tcp_output.c).
        (Call::Connect, ErrnoName::EPERM) => alone(Reason::SecurityModule),
        (Call::Connect | Call::Send | Call::Sendto, ErrnoName::EACCES) => {
            let destination = destination.filter(|_| here())?;
            let refused = |broadcast| sys::refuses_destination(destination, broadcast);
            match (refused(Broadcast::Permitted), refused(Broadcast::Refused)) {
                (Some(why), _) if why.is(ErrnoName::EACCES) => alone(Reason::Route),
                (Some(why), _) if why.is(ErrnoName::EPERM) => alone(Reason::SecurityModule),
                (None, Some(why)) if why.is(ErrnoName::EACCES) && is_udp => alone(Reason::Broadcast),
                (None, _) if record.call != Call::Connect && is_udp && sent.of(socket).is_some() => earlier(),
                (None, _) => alone(Reason::SecurityModule),
                (Some(_), _) => None,
            }
        }
        (Call::Send | Call::Sendto, name) if is_udp && may_come_back(name) => {
            destination.filter(|destination| here() && is_fine(*destination)).and_then(|_| earlier())
        }
        _ => None,
    }
}

fn is_fine(destination: SocketAddr) -> bool {
    sys::refuses_destination(destination, Broadcast::Permitted).is_none()
}

/// Errnos that ICMP errors are turned into (`icmp_err_convert`, net/ipv4/icmp.c; `icmpv6_err_convert()`,
/// net/ipv6/icmp.c).
fn may_come_back(errno: ErrnoName) -> bool {
    only_comes_back(errno)
        || matches!(errno, ErrnoName::ENETUNREACH | ErrnoName::EHOSTUNREACH | ErrnoName::EACCES | ErrnoName::EMSGSIZE)
}

/// Those of them that nothing on this host gives to a datagram that is being sent.
fn only_comes_back(errno: ErrnoName) -> bool {
    matches!(
        errno,
        ErrnoName::ECONNREFUSED
            | ErrnoName::ENOPROTOOPT
            | ErrnoName::EPROTO
            | ErrnoName::EHOSTDOWN
            | ErrnoName::ENONET
            | ErrnoName::EOPNOTSUPP
    )
}

fn is_denied(outcome: &Outcome) -> bool {
    matches!(outcome.errno(), Some(ErrnoName::EACCES | ErrnoName::EPERM))
}

/// Whether a thread has a capability in effect; in doubt it has.
fn may(thread: i32, capability: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_none_or(|set| set & (1 << capability) != 0)
}
