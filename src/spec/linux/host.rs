//! What changes the host, fills a range of ports, or waits: ops that are no single socket call.
//!
//! What the sockets of a fill meet is what any socket meets.

use std::net::SocketAddr;

use super::connect::{self, Connect};
use super::{bind, rules, segments, stream};
use crate::plan::{Fill, FillHow, WaitFor};
use crate::spec::Permitted;
use crate::spec::course::{Course, Ending, Stop};
use crate::spec::state::{SocketEntry, SocketId, State};
use crate::words::names::{Family, HolderState, Protocol, SocketState, User};

/// Whether the table shows a socket in that state; where it does not, nobody can have waited for it in vain.
pub fn wait(cx: &mut Course<'_>, s: &State, id: SocketId, until: WaitFor) -> Ending {
    let reached = match (until, s.sockets.get(&id)) {
        (WaitFor::Gone, None) => true,
        (WaitFor::Gone, Some(socket)) => {
            let lists_bound = cx.holds(&rules::TABLE_LISTS_BOUND, true);
            socket.port == 0 || (socket.state == SocketState::Close && !lists_bound)
        }
        (WaitFor::State(_), None) => false,
        (WaitFor::State(state), Some(socket)) => {
            // A socket that is still open may have left its connection in TIME_WAIT.
            let left = s.sockets.values().find(|other| {
                other.state == SocketState::TimeWait && socket.state == SocketState::Close && is_left_of(other, socket)
            });
            is_in(socket, state) || left.is_some_and(|left| is_in(left, state))
        }
    };
    if reached { Ok(Permitted::Ok) } else { Err(Stop::Impossible) }
}

fn is_left_of(entry: &SocketEntry, socket: &SocketEntry) -> bool {
    (entry.address, entry.port, entry.peer) == (socket.address, socket.told_port, socket.peer)
}

fn is_in(socket: &SocketEntry, wanted: HolderState) -> bool {
    let is_fin_wait_2 =
        socket.state == SocketState::FinWait2 || (socket.state == SocketState::TimeWait && socket.waits_for_fin);
    match wanted {
        HolderState::Bound => socket.state == SocketState::Close && socket.port != 0,
        HolderState::Listening => socket.state == SocketState::Listen,
        HolderState::SynSent => socket.state == SocketState::SynSent,
        HolderState::Established | HolderState::Accepted | HolderState::Connected => {
            socket.state == SocketState::Established
        }
        HolderState::FinWait1 => socket.state == SocketState::FinWait1,
        HolderState::FinWait2 => is_fin_wait_2,
        HolderState::CloseWait => socket.state == SocketState::CloseWait,
        HolderState::LastAck => socket.state == SocketState::LastAck,
        HolderState::TimeWait => socket.state == SocketState::TimeWait && !socket.waits_for_fin,
    }
}

/// Takes every port of a range, in whatever order: the lowest first.
pub fn fill(cx: &mut Course<'_>, s: &mut State, user: User, fill: &Fill) -> Ending {
    let count = fill.range.size().saturating_sub(fill.leave.into());
    if fill.leave > 0 && fill.how != FillHow::Bind {
        return Err(Stop::not("a fill that leaves some port"));
    }
    let (range, rules) = (fill.range.low()..=fill.range.high(), cx.rules.len());
    for port in range.take(count as usize) {
        // The rules are those of the last socket.
        cx.rules.truncate(rules);
        let id = open(s, user, fill);
        let own = SocketAddr::new(fill.address, if fill.how == FillHow::BindZero { 0 } else { port });
        cx.only = Some(port);
        let to = fill.to.map(|to| Connect { to, length: None, nonblocking: false });
        let given = match (fill.how, to) {
            (FillHow::Bind | FillHow::BindZero, _) => bind::bind(cx, s, id, user, own, None),
            (FillHow::Connect, Some(to)) => connect::connect(cx, s, id, &to),
            (FillHow::TimeWait, Some(to)) => {
                bind::bind(cx, s, id, user, own, None)?;
                connect::connect(cx, s, id, &to)?;
                through_time_wait(cx, s, id, user)
            }
            (FillHow::Connect | FillHow::TimeWait, None) => return Err(Stop::not("a fill without a target")),
        };
        cx.only = None;
        match given {
            // Somebody else had it already: the fill picks another.
            Err(Stop::Gives(_)) if fill.how != FillHow::Bind => s.remove(id),
            other => match other? {
                Permitted::Ok => {}
                outcome => return Ok(outcome),
            },
        }
    }
    Ok(Permitted::Ok)
}

fn open(s: &mut State, user: User, fill: &Fill) -> SocketId {
    let mut socket = SocketEntry::new(fill.protocol, Family::of(fill.address), user);
    (socket.options.reuse_addr, socket.options.reuse_port) = (fill.reuse.address(), fill.reuse.port());
    socket.options.range = fill.by_option.then_some(fill.range);
    s.add(socket)
}

/// The other end accepts, this one closes first, and both are gone but for an entry.
fn through_time_wait(cx: &mut Course<'_>, s: &mut State, id: SocketId, user: User) -> Ending {
    let child = s.socket(id).other;
    let listener = s.sockets.iter().find(|(_, socket)| child.is_some_and(|child| socket.queue.contains(&child)));
    let listener = listener.map(|(id, _)| *id);
    let (Some(child), Some(listener)) = (child, listener) else { return Err(Stop::Impossible) };
    stream::accept(cx, s, listener, user, "")?;
    s.names.remove("");
    stream::close(cx, s, id)?;
    stream::close(cx, s, child)
}

/// Kernel time passes.
pub fn elapse(cx: &mut Course<'_>, s: &mut State, ms: u32) -> Ending {
    s.now += u64::from(ms);
    segments::expire(cx, s);
    let pending = |socket: &SocketEntry| socket.protocol == Protocol::Tcp && socket.state == SocketState::SynSent;
    if ms >= 1000 && s.sockets.values().any(pending) {
        return Err(Stop::not("a SYN that is sent again"));
    }
    Ok(Permitted::Ok)
}
