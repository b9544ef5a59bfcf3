//! Datagrams between UDP sockets of this host.
//!
//! What comes from other hosts, ICMP errors among it, is not modelled; this host's own are.

use std::net::SocketAddr;

use super::address::{Receiver, same};
use super::connect::{self, Connect};
use super::{rules, stream};
use crate::spec::course::{Course, Ending, Stop};
use crate::spec::state::{SocketEntry, SocketId, State, ipv4};
use crate::words::names::{Family, Protocol};

/// What IPv4 and IPv6 have room for in one packet.
const MOST: (u32, u32) = (65_507, 65_527);

/// send(2), or sendto(2) with an address: `inet_sendmsg()` and `udp_sendmsg()`.
pub fn send(cx: &mut Course<'_>, s: &mut State, id: SocketId, to: Option<SocketAddr>, bytes: u32) -> Ending {
    connect::udp_autobind(cx, s, id)?;
    // Of IPv4 the length is asked before the address.
    cx.refuses(&rules::UDP_TOO_LONG, s.socket(id).family == Family::Ipv4 && bytes > 0xffff)?;
    let peer = s.socket(id).peer;
    cx.refuses(&rules::UDP_SEND_WITHOUT_PEER, to.is_none() && peer.is_none())?;
    cx.refuses(&rules::UDP_SEND_PORT_ZERO, to.or(peer).is_some_and(|to| to.port() == 0))?;
    let Some(wanted) = to.or(peer) else { return Err(Stop::Impossible) };
    let call = Connect { to: wanted, length: None, nonblocking: true };
    let (target, source) = connect::route(cx, s, id, &call, call.length())?;
    let most = if ipv4(target.ip()).is_some() { MOST.0 } else { MOST.1 };
    cx.refuses(&rules::UDP_TOO_LONG, bytes > most)?;
    stream::tell_error(cx, s, id)?;
    cx.refuses(&rules::UDP_SEND_SHUT, s.socket(id).write_shut)?;
    let own = s.socket(id).address;
    let from = SocketAddr::new(if own.to_canonical().is_unspecified() { source } else { own }, s.socket(id).port);
    match receiver(s, target, from)? {
        Some(receiver) => s.socket_mut(receiver).unread += 1,
        None if peer.is_some_and(|peer| same(peer, target)) => {
            s.socket_mut(id).error = cx.error(&rules::UDP_REFUSED);
        }
        None => {}
    }
    Ok(cx.gives(&rules::UDP_SENDS))
}

/// The socket that receives at an address what comes from another: the one that says most of both (`compute_score`).
fn receiver(s: &State, to: SocketAddr, from: SocketAddr) -> Result<Option<SocketId>, Stop> {
    let score = |socket: &SocketEntry| {
        let own = Receiver::of(socket);
        let is_peer = socket.peer.is_none_or(|peer| same(peer, from));
        (own.receives(to.ip()) && is_peer).then_some((socket.peer.is_some(), !own.is_wildcard()))
    };
    let scores = s.owners(Protocol::Udp, to.port()).filter_map(|(id, socket)| Some((score(socket)?, id)));
    let scores: Vec<_> = scores.collect();
    let Some((best, id)) = scores.iter().max_by_key(|(score, _)| *score).copied() else { return Ok(None) };
    match scores.iter().filter(|(score, _)| *score == best).count() {
        1 => Ok(Some(id)),
        _ => Err(Stop::not("a datagram for several sockets that share a port")),
    }
}
