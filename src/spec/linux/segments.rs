//! What segments do to the two ends of a TCP connection on this host: SYN, FIN, RST and data.
//!
//! Everything here happens within the call that sends the segment, but for acknowledgements that the kernel delays.

use std::net::SocketAddr;

use super::address::{Receiver, same};
use super::{port, rules};
use crate::spec::course::{Course, Stop};
use crate::spec::state::{Attempt, SocketEntry, SocketId, State, ipv4};
use crate::words::names::{Family, Os, Protocol, SocketState};

/// `TCP_TIMEWAIT_LEN`, include/net/tcp.h, in milliseconds.
const TIME_WAIT_MS: u64 = 60_000;

/// Whether a socket of this state is in the table of 4-tuples.
pub fn has_tuple(state: SocketState) -> bool {
    !matches!(state, SocketState::Close | SocketState::Listen | SocketState::Bound)
}

/// Whether a socket has that 4-tuple.
pub fn is_tuple(socket: &SocketEntry, local: SocketAddr, peer: SocketAddr) -> bool {
    // The ports first: many sockets may share one of them.
    socket.port == local.port()
        && socket.peer.is_some_and(|own| own.port() == peer.port())
        && has_tuple(socket.state)
        && same(SocketAddr::new(socket.address, socket.port), local)
        && socket.peer.is_some_and(|own| same(own, peer))
}

/// What the acknowledgement of a FIN does, which may come at any moment, and what a SYN does that is sent again.
pub fn let_time_pass(cx: &mut Course<'_>, s: &mut State) {
    let unacknowledged = |socket: &SocketEntry| socket.state == SocketState::FinWait1 && !socket.stuck;
    let waiting: Vec<SocketId> =
        s.sockets.iter().filter(|(_, socket)| unacknowledged(socket)).map(|(id, _)| *id).collect();
    for id in waiting {
        if cx.choose(2) == 1 {
            fin_acknowledged(cx, s, id);
        }
    }
}

/// A SYN of a socket that has just come into SYN_SENT reaches this host's own listener, or nobody.
pub fn syn(cx: &mut Course<'_>, s: &mut State, client: SocketId) -> Result<(), Stop> {
    let entry = s.socket(client);
    let (Some(to), from) = (entry.peer, SocketAddr::new(entry.address, entry.port)) else { return Ok(()) };
    if cx.holds(&rules::SELF_CONNECT, is_tuple(entry, to, from)) {
        let entry = s.socket_mut(client);
        (entry.state, entry.other) = (SocketState::Established, Some(client));
        return Ok(());
    }
    // What is left of an earlier connection answers, and not the listener: the SYN is sent again a second later.
    if s.owners(Protocol::Tcp, to.port()).any(|(_, other)| is_tuple(other, to, from)) {
        return Ok(());
    }
    let Some(listener) = listener(s, to)? else {
        reset(cx, s, client);
        return Ok(());
    };
    let queued = s.socket(listener).queue.len() as u64;
    if cx.holds(&rules::QUEUE_FULL, queued > u64::from(s.socket(listener).backlog)) {
        return Ok(());
    }
    if !cx.holds(&rules::LISTENER_ANSWERS, true) {
        return Ok(());
    }
    let timestamps = s.host.number(Os::Linux, "net.ipv4.tcp_timestamps") != 0;
    let server = s.socket(listener);
    let as_family = |address: SocketAddr| match (server.family, ipv4(address.ip())) {
        (Family::Ipv6, Some(own)) => SocketAddr::new(own.to_ipv6_mapped().into(), address.port()),
        (Family::Ipv4, Some(own)) => SocketAddr::new(own.into(), address.port()),
        (_, None) => address,
    };
    let child = SocketEntry {
        descriptors: 0,
        queue: Vec::new(),
        is_queued: true,
        address: as_family(to).ip(),
        peer: Some(as_family(from)),
        port_set: false,
        autobound: false,
        state: SocketState::Established,
        attempt: Attempt::Connected,
        error: None,
        backlog: 0,
        other: Some(client),
        timestamps,
        ..server.clone()
    };
    let child = s.add(child);
    s.take_port(child, to.port());
    s.socket_mut(listener).queue.push(child);
    let entry = s.socket_mut(client);
    (entry.state, entry.other, entry.timestamps) = (SocketState::Established, Some(child), timestamps);
    Ok(())
}

/// The listener that answers at an address: one for this very address before one for all (`compute_score`).
fn listener(s: &State, to: SocketAddr) -> Result<Option<SocketId>, Stop> {
    let listening = s.owners(Protocol::Tcp, to.port()).filter(|(_, socket)| socket.state == SocketState::Listen);
    let all: Vec<(SocketId, bool)> = listening
        .filter(|(_, socket)| Receiver::of(socket).receives(to.ip()))
        .map(|(id, socket)| (id, !Receiver::of(socket).is_wildcard()))
        .collect();
    let exact: Vec<SocketId> = all.iter().filter(|(_, exact)| *exact).map(|(id, _)| *id).collect();
    let best = if exact.is_empty() { all.into_iter().map(|(id, _)| id).collect() } else { exact };
    match best[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        [..] => Err(Stop::not("a connection to several listeners that share a port")),
    }
}

/// A FIN is sent: the peer hears of it at once, unless data is before it that it takes no more of.
pub fn fin(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    let socket = s.socket(id);
    let Some(other) = socket.other.filter(|other| !socket.stuck && s.sockets.contains_key(other)) else { return };
    let is_last = socket.state == SocketState::LastAck;
    // Its ACK comes with it.
    if s.socket(other).state == SocketState::FinWait1 && !s.socket(other).stuck && is_last {
        fin_acknowledged(cx, s, other);
    }
    let now = s.now;
    let Some(peer) = s.sockets.get_mut(&other) else { return };
    match peer.state {
        SocketState::Established => {
            (peer.state, peer.ended, peer.read_shut) = (SocketState::CloseWait, true, true);
        }
        SocketState::FinWait1 | SocketState::FinWait2 => time_wait(cx, s, other, false),
        SocketState::TimeWait if peer.waits_for_fin => {
            peer.waits_for_fin = false;
            (peer.since, peer.expires) = (now, now + TIME_WAIT_MS);
        }
        _ => {}
    }
    // In TIME_WAIT it acknowledges at once.
    if is_last {
        done(cx, s, id);
    }
}

/// An acknowledgement that this socket has put off is sent.
pub fn acknowledge(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    let other = s.socket(id).other.filter(|other| s.sockets.contains_key(other));
    if let Some(other) =
        other.filter(|other| s.socket(*other).state == SocketState::FinWait1 && !s.socket(*other).stuck)
    {
        fin_acknowledged(cx, s, other);
    }
}

/// The peer has acknowledged a FIN.
fn fin_acknowledged(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    s.socket_mut(id).state = SocketState::FinWait2;
    let socket = s.socket(id);
    if cx.holds(&rules::ORPHAN_IN_FIN_WAIT_2, !socket.is_open()) {
        time_wait(cx, s, id, true);
    }
}

/// `tcp_time_wait()`: what is left is an entry without a socket.
pub fn time_wait(cx: &mut Course<'_>, s: &mut State, id: SocketId, waits_for_fin: bool) {
    let lasts = if waits_for_fin { fin_timeout(s, id) } else { TIME_WAIT_MS };
    let now = s.now;
    let mut entry = s.socket(id).clone();
    (entry.state, entry.waits_for_fin, entry.since, entry.expires) =
        (SocketState::TimeWait, waits_for_fin, now, now + lasts);
    if !entry.is_open() {
        *s.socket_mut(id) = entry;
        return;
    }
    entry.descriptors = 0;
    let port = entry.port;
    let left = s.add(entry);
    s.take_port(left, port);
    if let Some(other) = s.socket(id).other.and_then(|other| s.sockets.get_mut(&other)) {
        other.other = Some(left);
    }
    done(cx, s, id);
}

/// `tcp_fin_time()`, in milliseconds.
pub fn fin_timeout(s: &State, id: SocketId) -> u64 {
    let own = s.socket(id).options.linger2;
    let seconds = if own > 0 { own as u64 } else { s.host.number(Os::Linux, "net.ipv4.tcp_fin_timeout") };
    seconds * 1000
}

/// Sends a reset to the other end, if there is one.
pub fn send_reset(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    if let Some(other) = s.socket(id).other.filter(|other| *other != id && s.sockets.contains_key(other)) {
        reset(cx, s, other);
    }
}

/// `tcp_reset()`: a reset has come.
pub fn reset(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    if s.socket(id).state == SocketState::TimeWait {
        return s.remove(id);
    }
    let error = match s.socket(id).state {
        SocketState::SynSent => cx.error(&rules::RESET_REFUSES),
        SocketState::CloseWait => cx.error(&rules::RESET_AFTER_FIN),
        SocketState::Close => return,
        _ => cx.error(&rules::RESET_ENDS),
    };
    s.socket_mut(id).error = error;
    done(cx, s, id);
}

/// `tcp_done()`.
pub fn done(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    let socket = s.socket_mut(id);
    (socket.read_shut, socket.write_shut) = (true, true);
    close_state(cx, s, id);
    let socket = s.socket(id);
    if !socket.is_open() && !socket.is_queued {
        port::put_port(cx, s, id);
        s.remove(id);
    }
}

/// `tcp_set_state(TCP_CLOSE)`: the socket leaves the tables, and gives a port back that bind() has not set.
pub fn close_state(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    s.socket_mut(id).state = SocketState::Close;
    let gives_back = !s.socket(id).port_set && s.socket(id).port != 0;
    if cx.holds(&rules::PORT_GIVEN_BACK, gives_back) {
        port::put_port(cx, s, id);
    }
}

/// `tcp_disconnect()`.
pub fn disconnect(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    let state = s.socket(id).state;
    if state != SocketState::Close {
        close_state(cx, s, id);
    }
    match state {
        SocketState::Listen => listen_stop(cx, s, id),
        SocketState::Established | SocketState::CloseWait | SocketState::FinWait1 | SocketState::FinWait2 => {
            send_reset(cx, s, id);
            s.socket_mut(id).error = cx.error(&rules::DISCONNECT_LEAVES_ERROR);
        }
        SocketState::SynSent => s.socket_mut(id).error = cx.error(&rules::DISCONNECT_LEAVES_ERROR),
        _ => {}
    }
    let socket = s.socket_mut(id);
    (socket.peer, socket.other, socket.unread, socket.stuck) = (None, None, 0, false);
    (socket.read_shut, socket.write_shut, socket.ended) = (false, false, false);
    reset_address(s, id);
}

/// `inet_bhash2_reset_saddr()`.
pub fn reset_address(s: &mut State, id: SocketId) {
    let socket = s.socket_mut(id);
    if !socket.address_set {
        socket.address = crate::spec::state::unspecified(socket.family);
    }
}

/// `inet_csk_listen_stop()`: what nobody has accepted is reset.
pub fn listen_stop(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    let queue = std::mem::take(&mut s.socket_mut(id).queue);
    for child in queue {
        if cx.holds(&rules::UNACCEPTED_ARE_RESET, true) {
            send_reset(cx, s, child);
        }
        port::put_port(cx, s, child);
        s.remove(child);
    }
}

/// Data reaches the other end, or nobody: then a reset comes back.
pub fn data(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    let other = s.socket(id).other.filter(|other| s.sockets.contains_key(other));
    let Some(other) = other else { return reset(cx, s, id) };
    let peer = s.socket(other);
    let has_closed = !peer.is_open() && !peer.is_queued;
    let has_shut = peer.read_shut && matches!(peer.state, SocketState::FinWait1 | SocketState::FinWait2);
    if cx.holds(&rules::DATA_FOR_NOBODY, has_closed || has_shut) {
        if has_closed {
            port::put_port(cx, s, other);
            s.remove(other);
        } else {
            reset(cx, s, other);
        }
        return reset(cx, s, id);
    }
    s.socket_mut(other).unread += 1;
}

/// Kernel time that has passed: what is left of connections goes.
pub fn expire(cx: &mut Course<'_>, s: &mut State) {
    let left = |socket: &SocketEntry| socket.state == SocketState::TimeWait;
    let left: Vec<SocketId> = s.sockets.iter().filter(|(_, socket)| left(socket)).map(|(id, _)| *id).collect();
    for id in left {
        if cx.holds(&rules::TIME_WAIT_ENDS, s.socket(id).expires <= s.now) {
            port::put_port(cx, s, id);
            s.remove(id);
        }
    }
}
