//! What is done with a socket that has a connection, or waits for one: accept(2), send(2), recv(2), shutdown(2),
//! close(2) and SO_ERROR.
//!
//! What segments make of the other end is `segments`' business.

use super::{port, rules, segments};
use crate::plan::How;
use crate::spec::Permitted;
use crate::spec::course::{Course, Ending, Stop};
use crate::spec::state::{Attempt, SocketId, State};
use crate::words::names::{Protocol, SocketState, User};

/// accept(2).
pub fn accept(cx: &mut Course<'_>, s: &mut State, id: SocketId, user: User, new: &str) -> Ending {
    cx.refuses(&rules::NO_DESCRIPTOR, s.host.descriptors_left == Some(0))?;
    let socket = s.socket(id);
    cx.refuses(&rules::ACCEPT_NOT_A_STREAM, socket.protocol == Protocol::Udp)?;
    cx.refuses(&rules::ACCEPT_NOT_LISTENING, socket.state != SocketState::Listen)?;
    let times_out = socket.options.receive_timeout;
    let Some(child) = s.socket(id).queue.first().copied() else {
        cx.refuses(&rules::WAITS_FOR_A_TIME, times_out)?;
        return Ok(cx.gives(&rules::ACCEPT_WAITS));
    };
    s.socket_mut(id).queue.remove(0);
    let socket = s.socket_mut(child);
    (socket.is_queued, socket.descriptors, socket.owner) = (false, 1, user);
    s.host.descriptors_left = s.host.descriptors_left.map(|left| left.saturating_sub(1));
    s.names.insert(new.to_owned(), child);
    Ok(cx.gives(&rules::ACCEPT_GIVES_THE_OLDEST))
}

/// send(2) of a TCP socket, without waiting: `tcp_sendmsg_locked()`.
pub fn send(cx: &mut Course<'_>, s: &mut State, id: SocketId) -> Ending {
    let socket = s.socket(id);
    if !matches!(socket.state, SocketState::Established | SocketState::CloseWait) {
        tell_error(cx, s, id)?;
        let connects = s.socket(id).state == SocketState::SynSent;
        cx.refuses(&rules::SEND_WITHOUT_PEER, !connects)?;
        return Err(Stop::Gives(cx.gives(&rules::SEND_WHILE_CONNECTING)));
    }
    if socket.error.is_some() || cx.holds(&rules::SEND_SHUT, socket.write_shut) {
        tell_error(cx, s, id)?;
        return Err(Stop::Gives(cx.gives(&rules::SEND_SHUT)));
    }
    cx.refuses(&rules::SEND_FULL, socket.stuck)?;
    segments::data(cx, s, id);
    Ok(cx.gives(&rules::SENDS))
}

/// Sends until the kernel takes no more. Nobody reads meanwhile.
pub fn send_until_full(cx: &mut Course<'_>, s: &mut State, id: SocketId) -> Ending {
    send(cx, s, id)?;
    s.socket_mut(id).stuck = true;
    Ok(Permitted::Ok)
}

/// Ends the call with the socket's error, which is told once: `sock_error()`.
pub fn tell_error(cx: &mut Course<'_>, s: &mut State, id: SocketId) -> Result<(), Stop> {
    let Some(error) = s.socket(id).error else { return Ok(()) };
    if cx.holds(&rules::ERROR_TOLD_ONCE, true) {
        s.socket_mut(id).error = None;
    }
    Err(Stop::Gives(Permitted::Errno(error)))
}

/// recv(2): `tcp_recvmsg_locked()`, or UDP's.
pub fn receive(cx: &mut Course<'_>, s: &mut State, id: SocketId) -> Ending {
    let socket = s.socket(id);
    let is_tcp = socket.protocol != Protocol::Udp;
    cx.refuses(&rules::RECEIVE_LISTENING, socket.state == SocketState::Listen)?;
    if !is_tcp {
        tell_error(cx, s, id)?;
    }
    let socket = s.socket(id);
    if socket.unread > 0 {
        let other = socket.other.filter(|_| is_tcp);
        let socket = s.socket_mut(id);
        socket.unread = if is_tcp { 0 } else { socket.unread - 1 };
        if other.is_some_and(|other| s.sockets.get(&other).is_some_and(|other| other.stuck)) {
            return Err(Stop::not("a peer that reads on"));
        }
        return Ok(cx.gives(&rules::RECEIVES));
    }
    if is_tcp && cx.holds(&rules::RECEIVE_END, socket.ended) {
        return Ok(Permitted::Ok);
    }
    tell_error(cx, s, id)?;
    let socket = s.socket(id);
    if cx.holds(&rules::RECEIVE_END, socket.read_shut) {
        return Ok(Permitted::Ok);
    }
    cx.refuses(&rules::RECEIVE_WITHOUT_PEER, is_tcp && socket.state == SocketState::Close)?;
    cx.refuses(&rules::WAITS_FOR_A_TIME, s.socket(id).options.receive_timeout)?;
    Ok(cx.gives(&rules::RECEIVE_WAITS))
}

/// poll(2) until the socket is writable or in error, and then SO_ERROR.
pub fn so_error(cx: &mut Course<'_>, s: &mut State, id: SocketId) -> Ending {
    let socket = s.socket(id);
    if socket.error.is_none() && cx.holds(&rules::SO_ERROR_WAITS, socket.state == SocketState::SynSent) {
        return Ok(Permitted::Blocked);
    }
    if socket.stuck && socket.error.is_none() {
        return Err(Stop::not("poll() of a socket that is full"));
    }
    tell_error(cx, s, id)?;
    Ok(cx.gives(&rules::SO_ERROR_NONE))
}

/// `inet_shutdown()`.
pub fn shutdown(cx: &mut Course<'_>, s: &mut State, id: SocketId, how: How) -> Ending {
    let (reads, writes) = match how {
        How::Read => (true, false),
        How::Write => (false, true),
        How::Both => (true, true),
    };
    let is_tcp = s.socket(id).protocol != Protocol::Udp;
    let state = s.socket(id).state;
    if s.socket(id).attempt == Attempt::Connecting {
        let pending = matches!(state, SocketState::SynSent | SocketState::Close);
        s.socket_mut(id).attempt = if pending { Attempt::Disconnecting } else { Attempt::Connected };
    }
    match state {
        SocketState::Listen if !reads => return Ok(cx.gives(&rules::SHUTDOWN_LISTENER_WRITES)),
        SocketState::Listen | SocketState::SynSent => {
            segments::disconnect(cx, s, id);
            s.socket_mut(id).attempt = Attempt::Unconnected;
            return Ok(cx.gives(&rules::SHUTDOWN_DISCONNECTS));
        }
        _ => {}
    }
    let socket = s.socket_mut(id);
    (socket.read_shut, socket.write_shut) = (socket.read_shut || reads, socket.write_shut || writes);
    cx.refuses(&rules::SHUTDOWN_WITHOUT_PEER, state == SocketState::Close)?;
    if is_tcp && writes {
        finish(cx, s, id);
    }
    Ok(cx.gives(&rules::SHUTS_DOWN))
}

/// `tcp_close_state()`, and the FIN where there is one to send.
fn finish(cx: &mut Course<'_>, s: &mut State, id: SocketId) {
    let next = match s.socket(id).state {
        SocketState::Established => SocketState::FinWait1,
        SocketState::CloseWait => SocketState::LastAck,
        _ => return,
    };
    s.socket_mut(id).state = next;
    segments::fin(cx, s, id);
}

/// close(2): `tcp_close()`, or UDP's.
pub fn close(cx: &mut Course<'_>, s: &mut State, id: SocketId) -> Ending {
    s.host.descriptors_left = s.host.descriptors_left.map(|left| left + 1);
    let socket = s.socket_mut(id);
    socket.descriptors = socket.descriptors.saturating_sub(1);
    if cx.holds(&rules::CLOSE_NOT_THE_LAST, socket.descriptors > 0) {
        return Ok(Permitted::Ok);
    }
    let (protocol, state, unread) = (socket.protocol, socket.state, socket.unread);
    let resets = socket.options.linger == Some(0);
    if protocol == Protocol::Udp {
        s.remove(id);
        return Ok(cx.gives(&rules::CLOSES));
    }
    let socket = s.socket_mut(id);
    (socket.read_shut, socket.write_shut) = (true, true);
    match state {
        SocketState::Listen => {
            segments::close_state(cx, s, id);
            segments::listen_stop(cx, s, id);
        }
        SocketState::Close => {}
        _ if cx.holds(&rules::CLOSE_RESETS_OVER_UNREAD, unread > 0)
            || cx.holds(&rules::CLOSE_RESETS_BY_LINGER, resets) =>
        {
            segments::close_state(cx, s, id);
            if state != SocketState::SynSent {
                segments::send_reset(cx, s, id);
            }
        }
        SocketState::SynSent => segments::close_state(cx, s, id),
        SocketState::FinWait2 => {
            if cx.holds(&rules::ORPHAN_IN_FIN_WAIT_2, true) {
                segments::time_wait(cx, s, id, true);
            }
        }
        _ => finish(cx, s, id),
    }
    if s.sockets.get(&id).is_some_and(|socket| socket.state == SocketState::Close) {
        port::put_port(cx, s, id);
        s.remove(id);
    }
    Ok(cx.gives(&rules::CLOSES))
}
