//! What this host says about an address: whether it has it, and whether it can send there.
//!
//! It sends nothing and leaves no socket open. It does not decide why a call failed.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;

use super::{Address, bind, connect, os, set_option, socket};
use crate::plan::SocketOption;
use crate::words::errno::{Errno, ErrnoName};
use crate::words::names::{Family, Os, Protocol};

/// Whether there is no address to send to the destination from: no interface has one of its family, or none has `::1`
/// for `::1`, or Linux says of a UDP socket that there is none, as where all are tentative. `false` where the addresses
/// cannot be read.
pub fn lacks_source(destination: IpAddr) -> bool {
    // What lacks ports is EAGAIN there (`inet_dgram_connect()`, net/ipv4/af_inet.c).
    let refused = || refuses_destination(SocketAddr::new(destination, 9), Broadcast::Permitted);
    if os::OS == Os::Linux && refused().is_some_and(|errno| errno.is(ErrnoName::EADDRNOTAVAIL)) {
        return true;
    }
    let destination = match destination.to_canonical() {
        // As a destination it means this host.
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    let Ok(interfaces) = getifaddrs() else { return false };
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        match destination {
            IpAddr::V4(_) => address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip())),
            IpAddr::V6(_) => address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())),
        }
    });
    let mut addresses = addresses.filter(|address| destination != Ipv6Addr::LOCALHOST || *address == destination);
    addresses.next().is_none()
}

/// What bind() says of an address with port 0, which asks for no port that somebody may have. The port is given back.
pub fn refuses_address(address: SocketAddr) -> Option<Errno> {
    let mut any_port = address;
    any_port.set_port(0);
    let socket = socket(Family::of(address.ip()), Protocol::Udp).ok()?;
    bind(&socket, &Address::new(any_port)).err()
}

/// Whether a socket has asked to be allowed to send to broadcast addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    Permitted,
    Refused,
}

/// What the route says of a destination: connect() of a UDP socket looks for one and sends nothing.
pub fn refuses_destination(destination: SocketAddr, broadcast: Broadcast) -> Option<Errno> {
    let family = Family::of(destination.ip());
    let socket = socket(family, Protocol::Udp).ok()?;
    // Where that cannot be had, the answer is what it would be without.
    let _ = set_option(&socket, family, &SocketOption::Broadcast(broadcast == Broadcast::Permitted));
    connect(&socket, &Address::new(destination)).err()
}
