//! socket(2), setsockopt(2), bind(2) and listen(2).
//!
//! Which port a socket gets is `port`'s business.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::connect::{LENGTHS, LONGEST, length_of};
use super::{address, port, rules};
use crate::plan::SocketOption;
use crate::spec::course::{Course, Ending, Stop};
use crate::spec::state::{Attempt, SocketEntry, SocketId, State, ipv4, mapped, unspecified};
use crate::words::names::{Family, Os, Protocol, SocketState, User};

/// setsockopt(2).
pub fn set_option(cx: &mut Course<'_>, s: &mut State, id: SocketId, user: User, option: &SocketOption) -> Ending {
    let socket = s.socket(id);
    match option {
        SocketOption::V6Only(_) => {
            cx.refuses(&rules::OPTION_V6ONLY_OF_IPV4, socket.family == Family::Ipv4)?;
            cx.refuses(&rules::OPTION_V6ONLY_TOO_LATE, socket.port != 0)?;
        }
        SocketOption::BindToDevice(device) => {
            let may = user == User::Root;
            cx.refuses(&rules::OPTION_DEVICE_TAKES_PRIVILEGE, socket.options.device.is_some() && !may)?;
            let is_there = device.is_empty() || device == "lo" || s.host.devices.contains(device);
            cx.refuses(&rules::OPTION_NO_DEVICE, !is_there)?;
        }
        SocketOption::Ttl(hops) => cx.refuses(&rules::OPTION_TTL_ZERO, *hops == 0 && socket.family == Family::Ipv4)?,
        SocketOption::Mark(_) => cx.refuses(&rules::OPTION_MARK_TAKES_PRIVILEGE, user != User::Root)?,
        SocketOption::Linger2(_) | SocketOption::UserTimeout(_) | SocketOption::QuickAck(_)
            if socket.protocol == Protocol::Udp =>
        {
            cx.refuses(&rules::OPTION_OF_TCP, true)?;
        }
        _ => {}
    }
    let options = &mut s.socket_mut(id).options;
    match option {
        SocketOption::ReuseAddr(on) => options.reuse_addr = *on,
        SocketOption::ReusePort(on) => options.reuse_port = *on,
        SocketOption::Linger(seconds) => options.linger = Some(*seconds),
        SocketOption::V6Only(on) => options.v6only = *on,
        SocketOption::BindToDevice(device) => options.device = (!device.is_empty()).then(|| device.clone()),
        SocketOption::Freebind(on) => options.freebind = *on,
        SocketOption::BindAddressNoPort(on) => options.no_port = *on,
        SocketOption::LocalPortRange(range) => options.range = Some(*range),
        SocketOption::Broadcast(on) => options.broadcast = *on,
        SocketOption::Linger2(seconds) => options.linger2 = *seconds,
        SocketOption::ReceiveTimeout(ms) => options.receive_timeout = *ms != 0,
        // The peer's FIN has been acknowledged by then.
        SocketOption::QuickAck(_) => super::segments::acknowledge(cx, s, id),
        SocketOption::SendTimeout(_) => return Err(Stop::not("SO_SNDTIMEO")),
        SocketOption::UserTimeout(_) => return Err(Stop::not("TCP_USER_TIMEOUT")),
        SocketOption::RecvErr(_) => return Err(Stop::not("IP_RECVERR")),
        SocketOption::Ttl(_) | SocketOption::Mark(_) | SocketOption::SendBuffer(_) | SocketOption::ReceiveBuffer(_) => {
        }
    }
    Ok(cx.gives(&rules::OPTION_IS_SET))
}

/// bind(2).
pub fn bind(
    cx: &mut Course<'_>,
    s: &mut State,
    id: SocketId,
    user: User,
    to: SocketAddr,
    length: Option<u32>,
) -> Ending {
    let family = s.socket(id).family;
    let length = length.unwrap_or(length_of(to));
    cx.refuses(&rules::ADDRESS_LONG, length > LONGEST)?;
    cx.refuses(&rules::LANDLOCK_FORBIDS_TCP, s.host.tcp_forbidden && s.socket(id).protocol == Protocol::Tcp)?;
    match family {
        Family::Ipv4 => allow_ipv4(cx, s, id, user, to, length)?,
        Family::Ipv6 => allow_ipv6(cx, s, id, user, to, length)?,
    }
    let (address, port) = (to.ip(), to.port());
    let socket = s.socket_mut(id);
    let was_v6only = socket.options.v6only;
    socket.address = address;
    let is_ipv6 = ipv4(address).is_none() && !address.is_unspecified();
    socket.options.v6only |= is_ipv6;
    let leaves_port = port == 0 && socket.options.no_port;
    if !cx.holds(&rules::BIND_ADDRESS_ALONE, leaves_port) && !port::get_port(cx, s, id, port) {
        let socket = s.socket_mut(id);
        (socket.address, socket.options.v6only) = (unspecified(family), was_v6only);
        let rule = if port == 0 { &rules::BIND_PORTS_EXHAUSTED } else { &rules::BIND_PORT_HELD };
        return Err(Stop::Gives(cx.gives(rule)));
    }
    let socket = s.socket_mut(id);
    // `inet_rcv_saddr` of ::ffff:0.0.0.0 is no address, but its type is not IPV6_ADDR_ANY.
    socket.address_set = !address.is_unspecified();
    socket.port_set |= port != 0;
    (socket.told_port, socket.peer) = (socket.port, None);
    Ok(cx.gives(&rules::BIND_TAKES_NAME))
}

/// `inet_bind()` and `__inet_bind()`, up to the port.
fn allow_ipv4(
    cx: &mut Course<'_>,
    s: &State,
    id: SocketId,
    user: User,
    to: SocketAddr,
    length: u32,
) -> Result<(), Stop> {
    let socket = s.socket(id);
    cx.refuses(&rules::BIND_SELINUX_LENGTH, cx.world.selinux && !to.is_ipv4() && length < LENGTHS.1)?;
    cx.refuses(&rules::BIND_SHORT, length < LENGTHS.0)?;
    let IpAddr::V4(address) = to.ip() else {
        return Err(Stop::Gives(cx.gives(&rules::BIND_OTHER_FAMILY)));
    };
    allow_own_ipv4(cx, s, socket, address)?;
    cx.refuses(&rules::BIND_PRIVILEGED, is_privileged(s, user, to.port()))?;
    cx.refuses(&rules::BIND_HAS_NAME, socket.state != SocketState::Close || socket.port != 0)
}

/// `inet_addr_valid_or_nonlocal()`.
fn allow_own_ipv4(cx: &mut Course<'_>, s: &State, socket: &SocketEntry, own: Ipv4Addr) -> Result<(), Stop> {
    let is_special = own.is_unspecified() || own.is_multicast() || address::is_broadcast(&s.host, own);
    let is_foreign = !is_special && !address::is_local(&s.host, own.into()) && !takes_any(cx, s, socket, "net.ipv4");
    cx.refuses(&rules::BIND_NOT_LOCAL, is_foreign)
}

/// `inet6_bind()` and `__inet6_bind()`, up to the port.
fn allow_ipv6(
    cx: &mut Course<'_>,
    s: &State,
    id: SocketId,
    user: User,
    to: SocketAddr,
    length: u32,
) -> Result<(), Stop> {
    let socket = s.socket(id);
    cx.refuses(&rules::BIND_SHORT, length < LENGTHS.1)?;
    let IpAddr::V6(address) = to.ip() else {
        return Err(Stop::Gives(cx.gives(&rules::BIND_OTHER_FAMILY)));
    };
    let is_tcp = socket.protocol != Protocol::Udp;
    cx.refuses(&rules::BIND_MULTICAST_STREAM, address.is_multicast() && is_tcp)?;
    cx.refuses(&rules::BIND_PRIVILEGED, is_privileged(s, user, to.port()))?;
    cx.refuses(&rules::BIND_HAS_NAME, socket.state != SocketState::Close || socket.port != 0)?;
    if let Some(own) = mapped(to.ip()) {
        cx.refuses(&rules::BIND_MAPPED_ON_V6ONLY, socket.options.v6only)?;
        return allow_own_ipv4(cx, s, socket, own);
    }
    // `IPV6_ADDR_LINKLOCAL` is a type of multicast addresses, too.
    let is_of_link =
        address.is_unicast_link_local() || matches!(address.segments()[0], 0xff01 | 0xff02 | 0xff11 | 0xff12);
    cx.refuses(&rules::BIND_LINK_LOCAL_WITHOUT_DEVICE, is_of_link && socket.options.device.is_none())?;
    if address.is_unspecified() || address.is_multicast() {
        return Ok(());
    }
    if address.is_unicast_link_local() {
        return Err(Stop::not("a link-local address"));
    }
    let is_foreign = !address::is_local(&s.host, to.ip()) && !takes_any(cx, s, socket, "net.ipv6");
    cx.refuses(&rules::BIND_NOT_LOCAL, is_foreign)
}

/// Whether the socket or the host takes addresses that are not the host's.
fn takes_any(cx: &mut Course<'_>, s: &State, socket: &SocketEntry, family: &str) -> bool {
    let by_host = s.host.number(Os::Linux, &format!("{family}.ip_nonlocal_bind")) != 0;
    cx.holds(&rules::BIND_FREEBIND, socket.options.freebind) || cx.holds(&rules::BIND_NONLOCAL, by_host)
}

fn is_privileged(s: &State, user: User, port: u16) -> bool {
    let first = || s.host.number(Os::Linux, "net.ipv4.ip_unprivileged_port_start");
    user != User::Root && port != 0 && u64::from(port) < first()
}

/// `inet_listen()` and `inet_csk_listen_start()`.
pub fn listen(cx: &mut Course<'_>, s: &mut State, id: SocketId, backlog: i32) -> Ending {
    let socket = s.socket(id);
    cx.refuses(&rules::LISTEN_NOT_A_STREAM, socket.protocol == Protocol::Udp)?;
    cx.refuses(&rules::LISTEN_ATTEMPT, socket.attempt != Attempt::Unconnected)?;
    let state = socket.state;
    cx.refuses(&rules::LISTEN_HAS_PEER, !matches!(state, SocketState::Close | SocketState::Listen))?;
    let most = s.host.number(Os::Linux, "net.core.somaxconn") as u32;
    s.socket_mut(id).backlog = (backlog as u32).min(most);
    if state == SocketState::Listen {
        return Ok(cx.gives(&rules::LISTEN_AGAIN));
    }
    s.socket_mut(id).state = SocketState::Listen;
    let port = s.socket(id).port;
    if !port::get_port(cx, s, id, port) {
        // `inet_sk_set_state()`, and not `tcp_set_state()`: the port stays.
        s.socket_mut(id).state = SocketState::Close;
        let rule = if port == 0 { &rules::LISTEN_PORTS_EXHAUSTED } else { &rules::LISTEN_PORT_HELD };
        return Err(Stop::Gives(cx.gives(rule)));
    }
    Ok(cx.gives(&rules::LISTENS))
}
