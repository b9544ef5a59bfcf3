//! connect(2), and what dissolves an association.
//!
//! What its segments do is `segments`' business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{address, port, rules, segments};
use crate::spec::course::{Course, Ending, Stop};
use crate::spec::state::{Attempt, Cache, SocketEntry, SocketId, State, ipv4, mapped};
use crate::words::names::{Family, Os, Protocol, SocketState};

/// `sizeof(struct sockaddr_in)`, and `SIN6_LEN_RFC2133`.
pub const LENGTHS: (u32, u32) = (16, 24);

/// `sizeof(struct sockaddr_storage)`.
pub const LONGEST: u32 = 128;

/// A connect(2) as it is called.
pub struct Connect {
    pub to: SocketAddr,
    pub length: Option<u32>,
    pub nonblocking: bool,
}

impl Connect {
    pub fn length(&self) -> u32 {
        self.length.unwrap_or(length_of(self.to))
    }
}

/// `sizeof` of the structure that has an address.
pub fn length_of(address: SocketAddr) -> u32 {
    if address.is_ipv4() { 16 } else { 28 }
}

/// `__inet_stream_connect()` or `inet_dgram_connect()`.
pub fn connect(cx: &mut Course<'_>, s: &mut State, id: SocketId, call: &Connect) -> Ending {
    let length = call.length();
    cx.refuses(&rules::ADDRESS_LONG, length > LONGEST)?;
    cx.refuses(&rules::LANDLOCK_FORBIDS_TCP, s.host.tcp_forbidden && s.socket(id).protocol == Protocol::Tcp)?;
    cx.refuses(&rules::CONNECT_NO_FAMILY, length < 2)?;
    if s.socket(id).protocol == Protocol::Udp {
        return udp_connect(cx, s, id, call, length);
    }
    match s.socket(id).attempt {
        Attempt::Connected => cx.refuses(&rules::CONNECT_CONNECTED, true)?,
        Attempt::Connecting => {
            let is_pending = s.socket(id).state == SocketState::SynSent;
            if is_pending && call.nonblocking {
                return Ok(cx.gives(&rules::CONNECT_PENDING));
            }
        }
        Attempt::Unconnected | Attempt::Disconnecting => {
            if s.socket(id).attempt == Attempt::Disconnecting {
                return Err(Stop::not("a connect after shutdown() of one in progress"));
            }
            cx.refuses(&rules::CONNECT_NOT_CLOSED, s.socket(id).state != SocketState::Close)?;
            tcp_connect(cx, s, id, call, length)?;
            s.socket_mut(id).attempt = Attempt::Connecting;
            if call.nonblocking {
                return Ok(cx.gives(&rules::CONNECT_IN_PROGRESS));
            }
        }
    }
    match s.socket(id).state {
        SocketState::SynSent => Ok(cx.gives(&rules::CONNECT_WAITS)),
        SocketState::Close => {
            let told = s.socket_mut(id).error.take();
            segments::disconnect(cx, s, id);
            s.socket_mut(id).attempt = Attempt::Unconnected;
            match told.filter(|_| cx.holds(&rules::CONNECT_TELLS_ERROR, true)) {
                Some(error) => Err(Stop::Gives(crate::spec::Permitted::Errno(error))),
                None => Ok(cx.gives(&rules::CONNECT_ABORTED)),
            }
        }
        _ => {
            s.socket_mut(id).attempt = Attempt::Connected;
            Ok(cx.gives(&rules::CONNECT_ENDS))
        }
    }
}

/// `tcp_v4_connect()` and `tcp_v6_connect()`.
fn tcp_connect(cx: &mut Course<'_>, s: &mut State, id: SocketId, call: &Connect, length: u32) -> Result<(), Stop> {
    let (to, source) = route(cx, s, id, call, length)?;
    let socket = s.socket_mut(id);
    socket.ended = false;
    if socket.address.to_canonical().is_unspecified() {
        socket.address = source;
    }
    (socket.peer, socket.state, socket.error) = (Some(to), SocketState::SynSent, None);
    let found = hash_connect(cx, s, id, to);
    if let Err(stop) = found {
        segments::close_state(cx, s, id);
        s.socket_mut(id).peer = None;
        segments::reset_address(s, id);
        return Err(stop);
    }
    segments::syn(cx, s, id)
}

/// Where to, as it stands on the wire, and from which address if the socket has none.
pub fn route(
    cx: &mut Course<'_>,
    s: &State,
    id: SocketId,
    call: &Connect,
    length: u32,
) -> Result<(SocketAddr, IpAddr), Stop> {
    let socket = s.socket(id);
    let family = socket.family;
    let shortest = if family == Family::Ipv4 { LENGTHS.0 } else { LENGTHS.1 };
    let takes_ipv4 = family == Family::Ipv6 && socket.protocol == Protocol::Udp && call.to.is_ipv4();
    if takes_ipv4 {
        return Err(Stop::not("an IPv4 address for a UDP socket of IPv6"));
    }
    cx.refuses(&rules::CONNECT_SHORT, length < shortest)?;
    cx.refuses(&rules::CONNECT_OTHER_FAMILY, call.to.is_ipv4() != (family == Family::Ipv4))?;
    let own = (!socket.address.to_canonical().is_unspecified()).then_some(socket.address);
    let mut to = call.to.ip();
    if cx.holds(&rules::CONNECT_WILDCARD_IS_LOOPBACK, to.is_unspecified()) {
        to = match (family, mapped(socket.address)) {
            (Family::Ipv4, _) => own.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            (Family::Ipv6, Some(_)) => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
            (Family::Ipv6, None) => Ipv6Addr::LOCALHOST.into(),
        };
    }
    let is_tcp = socket.protocol != Protocol::Udp;
    let broadcasts = ipv4(to).is_some_and(|to| address::is_broadcast(&s.host, to));
    cx.refuses(&rules::UDP_BROADCAST, !is_tcp && broadcasts && !socket.options.broadcast)?;
    if !is_tcp && (broadcasts || to.to_canonical().is_multicast()) {
        return Err(Stop::not("a datagram for many"));
    }
    if let IpAddr::V6(v6) = to {
        cx.refuses(&rules::CONNECT_MAPPED_ON_V6ONLY, mapped(to).is_some() && socket.options.v6only)?;
        if mapped(to).is_none() && own.is_some_and(|own| mapped(own).is_some()) {
            return Err(Stop::not("an IPv6 destination of a socket bound to an IPv4 address"));
        }
        if v6.is_unicast_link_local() {
            return Err(Stop::not("a link-local destination"));
        }
    }
    cx.refuses(&rules::CONNECT_TO_MANY, broadcasts || to.to_canonical().is_multicast())?;
    let target = to.to_canonical();
    let has_ipv6 = s.host.addresses.iter().any(|(_, own, _)| own.is_ipv6());
    cx.refuses(&rules::CONNECT_NO_SOURCE, target.is_ipv6() && own.is_none() && !has_ipv6)?;
    if !address::is_local(&s.host, target) {
        if s.host.devices.is_empty() && own.is_none_or(|own| !own.to_canonical().is_loopback()) {
            cx.refuses(&rules::CONNECT_NO_ROUTE, true)?;
        }
        return Err(Stop::not("a destination that is not this host"));
    }
    let source = match address::source(&s.host, target) {
        IpAddr::V4(source) if family == Family::Ipv6 => source.to_ipv6_mapped().into(),
        source => source,
    };
    Ok((SocketAddr::new(to, call.to.port()), source))
}

/// `__inet_hash_connect()`.
fn hash_connect(cx: &mut Course<'_>, s: &mut State, id: SocketId, to: SocketAddr) -> Result<(), Stop> {
    let socket = s.socket(id);
    let (own_port, own) = (socket.port, socket.address);
    // The age of a TIME_WAIT entry is counted in whole seconds: it may be of the second before.
    let is_young = |socket: &SocketEntry| socket.state == SocketState::TimeWait && s.now - socket.since < 1000;
    let next_second = cx.only.is_none()
        && cx.holds(&rules::REUSE_AGE_IN_SECONDS, s.sockets.values().any(is_young))
        && cx.choose(2) == 1;
    if own_port != 0 {
        let free = is_unique(cx, s, id, own_port, Seeker::HasPort);
        cx.refuses(&rules::CONNECT_TUPLE_HELD, !free)?;
        take_over(s, id, SocketAddr::new(own, own_port), to);
        return Ok(());
    }
    let groups = port::for_connect(cx, s, id);
    let seeker = Seeker::Seeks { next_second };
    let picked = port::pick(cx, s, &groups, |cx, port| match s.buckets.get(&(Protocol::Tcp, port)) {
        None => true,
        Some(bucket) => {
            let by_connect = bucket.cache == Cache::default();
            !cx.holds(&rules::AUTOBIND_NEVER_SHARES, !by_connect) && is_unique(cx, s, id, port, seeker)
        }
    });
    cx.refuses(&rules::CONNECT_PORTS_EXHAUSTED, picked.is_none())?;
    let port = picked.unwrap_or(0);
    take_over(s, id, SocketAddr::new(own, port), to);
    s.take_port(id, port);
    s.socket_mut(id).autobound = true;
    Ok(())
}

/// Whether a connect looks for a port.
#[derive(Clone, Copy)]
enum Seeker {
    HasPort,
    Seeks { next_second: bool },
}

/// `__inet_check_established()`, and its IPv6 twin.
fn is_unique(cx: &mut Course<'_>, s: &State, id: SocketId, port: u16, seeker: Seeker) -> bool {
    let socket = s.socket(id);
    let Some(peer) = socket.peer else { return true };
    let local = SocketAddr::new(socket.address, port);
    let holders: Vec<SocketId> = s
        .owners(Protocol::Tcp, port)
        .filter(|(other, holder)| *other != id && segments::is_tuple(holder, local, peer))
        .map(|(other, _)| other)
        .collect();
    for holder in holders {
        let holder = s.socket(holder);
        let sees = holder.options.device.is_none() || holder.options.device == socket.options.device;
        if !sees || (holder.state == SocketState::TimeWait && is_given_up(cx, s, holder, seeker)) {
            continue;
        }
        if cx.holds(&rules::TUPLE_IS_UNIQUE, true) {
            return false;
        }
    }
    true
}

/// `tcp_twsk_unique()`.
fn is_given_up(cx: &mut Course<'_>, s: &State, left: &SocketEntry, seeker: Seeker) -> bool {
    if !cx.holds(&rules::TIME_WAIT_WITH_TIMESTAMPS, left.timestamps) {
        return false;
    }
    let next_second = match seeker {
        Seeker::HasPort => return cx.holds(&rules::TIME_WAIT_GIVEN_TO_A_PORT, true),
        Seeker::Seeks { next_second } => next_second,
    };
    let is_loopback = [Some(left.address), left.peer.map(|peer| peer.ip())];
    let is_loopback = is_loopback.into_iter().flatten().any(|address| address.to_canonical().is_loopback());
    let reuse = match s.host.number(Os::Linux, "net.ipv4.tcp_tw_reuse") {
        0 => false,
        2 => cx.holds(&rules::REUSE_FOR_LOOPBACK, is_loopback),
        _ => true,
    };
    let reuse = reuse && !cx.holds(&rules::REUSE_NOT_OF_FIN_WAIT_2, left.waits_for_fin);
    let delay = s.host.number(Os::Linux, "net.ipv4.tcp_tw_reuse_delay");
    let is_old = s.now - left.since > delay || next_second;
    reuse && cx.holds(&rules::REUSE_AFTER_DELAY, is_old)
}

/// What is left of an earlier connection with this 4-tuple goes.
fn take_over(s: &mut State, id: SocketId, local: SocketAddr, to: SocketAddr) {
    let same = |(other, socket): &(SocketId, &SocketEntry)| {
        *other != id && socket.state == SocketState::TimeWait && segments::is_tuple(socket, local, to)
    };
    let left: Vec<SocketId> = s.owners(Protocol::Tcp, local.port()).filter(same).map(|(other, _)| other).collect();
    for left in left {
        s.remove(left);
    }
}

/// `inet_dgram_connect()` and `__ip4_datagram_connect()`.
fn udp_connect(cx: &mut Course<'_>, s: &mut State, id: SocketId, call: &Connect, length: u32) -> Ending {
    udp_autobind(cx, s, id)?;
    let (to, source) = route(cx, s, id, call, length)?;
    let socket = s.socket_mut(id);
    if socket.address.to_canonical().is_unspecified() {
        socket.address = source;
    }
    (socket.peer, socket.state) = (Some(to), SocketState::Established);
    Ok(cx.gives(&rules::UDP_CONNECTS))
}

/// `inet_autobind()`.
pub fn udp_autobind(cx: &mut Course<'_>, s: &mut State, id: SocketId) -> Result<(), Stop> {
    if s.socket(id).port == 0 {
        let found = port::get_port(cx, s, id, 0);
        cx.refuses(&rules::UDP_PORTS_EXHAUSTED, !found)?;
    }
    Ok(())
}

/// connect(2) with AF_UNSPEC.
pub fn dissolve(cx: &mut Course<'_>, s: &mut State, id: SocketId) -> Ending {
    if s.socket(id).protocol == Protocol::Udp {
        let socket = s.socket_mut(id);
        (socket.peer, socket.state, socket.options.device) = (None, SocketState::Close, None);
        segments::reset_address(s, id);
        if !s.socket(id).port_set {
            s.release_port(id);
            s.socket_mut(id).told_port = 0;
        }
    } else {
        segments::disconnect(cx, s, id);
        s.socket_mut(id).attempt = Attempt::Unconnected;
    }
    Ok(cx.gives(&rules::DISSOLVES))
}
