//! Which local addresses overlap, which are this host's, and which one a connection comes from.
//!
//! Ports are `port`'s.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::rules;
use crate::spec::course::Course;
use crate::spec::state::{HostState, SocketEntry, ipv4};
use crate::words::names::{Family, Os};

/// What counts of a socket where addresses are compared.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    pub family: Family,
    pub address: IpAddr,
    pub v6only: bool,
}

impl Receiver {
    pub fn of(socket: &SocketEntry) -> Receiver {
        Receiver { family: socket.family, address: socket.address, v6only: socket.options.v6only }
    }

    /// Whether it receives what is sent to that address.
    pub fn receives(self, to: IpAddr) -> bool {
        let of_family = match (self.family, ipv4(to)) {
            (Family::Ipv4, to) => to.is_some(),
            (Family::Ipv6, Some(_)) => !self.v6only,
            (Family::Ipv6, None) => ipv4(self.address).is_none(),
        };
        of_family && (self.is_wildcard() || self.address.to_canonical() == to.to_canonical())
    }

    fn is_ipv4(self) -> bool {
        ipv4(self.address).is_some()
    }

    pub fn is_wildcard(self) -> bool {
        self.address.to_canonical().is_unspecified()
    }

    /// Whether it is the wildcard address, and the other one is in what it stands for. Of an IPv6 socket that has a
    /// peer the kernel keeps an IPv4 address, too (`LOOPBACK4_IPV6`), which 0.0.0.0 overlaps.
    fn covers(self, other: Receiver) -> bool {
        match (self.is_wildcard(), self.is_ipv4()) {
            (false, _) => false,
            (true, false) => true,
            (true, true) => other.is_ipv4() || other.is_wildcard() || self.family == Family::Ipv4,
        }
    }

    fn is_apart(self, other: Receiver) -> bool {
        (self.v6only && other.is_ipv4()) || (other.v6only && self.is_ipv4())
    }
}

/// Whether two names are one on the wire.
pub fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

/// `inet_rcv_saddr_equal(…, true)`.
pub fn overlap(cx: &mut Course<'_>, claimer: Receiver, holder: Receiver) -> bool {
    if cx.holds(&rules::V6ONLY_APART, claimer.is_apart(holder)) {
        return false;
    }
    if cx.holds(&rules::OVERLAP_SAME, claimer.address.to_canonical() == holder.address.to_canonical()) {
        return true;
    }
    cx.holds(&rules::OVERLAP_WILDCARD, claimer.covers(holder) || holder.covers(claimer))
}

/// `inet_rcv_saddr_equal()` with the wildcard of the first alone: what the bucket has cached, and who comes.
pub fn stands_for(cached: Receiver, claimer: Receiver) -> bool {
    !cached.is_apart(claimer)
        && (cached.address.to_canonical() == claimer.address.to_canonical() || cached.covers(claimer))
}

/// Whether an IPv4 address is one that this host broadcasts to.
pub fn is_broadcast(host: &HostState, address: Ipv4Addr) -> bool {
    let of_device = |(_, own, prefix): &(String, IpAddr, u8)| match own {
        IpAddr::V4(own) if *prefix < 31 => {
            let hosts = u32::MAX.checked_shr((*prefix).into()).unwrap_or(0);
            u32::from(*own) | hosts == u32::from(address)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => false,
    };
    address.is_broadcast() || host.addresses.iter().any(of_device)
}

/// The address that a connection to one of this host's own addresses comes from (`fib_info_update_nhc_saddr`,
/// `ipv6_dev_get_saddr`).
pub fn source(host: &HostState, to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(address) if address.is_loopback() && !host.addresses.iter().any(|(_, own, _)| *own == to) => {
            Ipv4Addr::LOCALHOST.into()
        }
        _ => to,
    }
}

pub fn is_local(host: &HostState, address: IpAddr) -> bool {
    host.has(Os::Linux, address)
}
