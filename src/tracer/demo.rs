//! A simulated path: one TUN device, behind which one thread answers like all routers and the target.
//!
//! It needs no server and no other host. Its namespaces end with the process.

use std::net::IpAddr;
use std::time::Duration;

use crate::plan::RouteKind;
use crate::sys::{self, Fault, Isolation, Tun};
use crate::words::names::Family;
use crate::words::packet::{Syn, icmp_error, time_exceeded};

/// A path to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    pub routers: u8,
    /// A router that never answers.
    pub silent: Option<u8>,
}

const DEVICE: &str = "demo";

/// How long the kernel may take until the addresses are usable.
const SETTLING: Duration = Duration::from_secs(10);

/// Why there is no such network.
#[derive(Debug, thiserror::Error)]
pub enum NoDemo {
    #[error("cannot create a private network: {0}")]
    Network(String),
    #[error("the TUN device: {0}")]
    Device(Fault),
    #[error("{0}")]
    Thread(Fault),
}

impl Path {
    /// Of the address blocks for documentation (RFC 5737, RFC 3849).
    pub fn target(family: Family) -> IpAddr {
        match family {
            Family::Ipv4 => [203, 0, 113, 80].into(),
            Family::Ipv6 => [0x2001, 0xdb8, 3, 0, 0, 0, 0, 0x80].into(),
        }
    }

    pub fn router(family: Family, number: u8) -> IpAddr {
        match family {
            Family::Ipv4 => [198, 51, 100, number].into(),
            Family::Ipv6 => [0x2001, 0xdb8, 2, 0, 0, 0, 0, number.into()].into(),
        }
    }

    fn client(family: Family) -> IpAddr {
        match family {
            Family::Ipv4 => [192, 0, 2, 1].into(),
            Family::Ipv6 => [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into(),
        }
    }

    /// What comes back for a packet, if anything does: from the router where its TTL ends, or from the target, whose
    /// port 80 is open and whose other ports are closed.
    pub fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let syn = Syn::parse(packet)?;
        if syn.ttl > self.routers {
            return syn.answer(syn.destination.port() == 80);
        }
        if Some(syn.ttl) == self.silent {
            return None;
        }
        let client = syn.source.ip();
        let family = Family::of(client);
        icmp_error(Path::router(family, syn.ttl), client, time_exceeded(family), packet)
    }

    /// Enters a network of its own, in which this path leads to its target. The process that returns from this may be
    /// another than the one that called it: see [`sys::isolate`].
    pub fn enter(self) -> Result<(), NoDemo> {
        let Isolation { lacking, shared, .. } = sys::isolate(sys::Purpose::Command, sys::Isolate::WherePossible);
        if let Some(why) = lacking.or(shared) {
            return Err(NoDemo::Network(why));
        }
        let tun = lay().map_err(NoDemo::Device)?;
        let player = std::thread::Builder::new().spawn(move || self.play(tun));
        player.map(drop).map_err(|error| NoDemo::Thread(sys::no_thread(&error)))
    }

    fn play(&self, mut tun: Tun) {
        let mut packet = [0; 2048];
        while let Ok(size) = tun.receive(&mut packet) {
            if let Some(answer) = self.answer(&packet[..size])
                && tun.send(&answer).is_err()
            {
                return;
            }
        }
    }
}

/// The device with its addresses, and everything else behind it.
fn lay() -> Result<Tun, Fault> {
    sys::set_up("lo")?;
    let tun = Tun::create(DEVICE)?;
    for &family in Family::ALL {
        let (prefix, everything) = match family {
            Family::Ipv4 => (24, IpAddr::from([0; 4])),
            Family::Ipv6 => (64, IpAddr::from([0; 16])),
        };
        sys::add_address(DEVICE, Path::client(family), prefix)?;
        sys::add_route(everything, 0, RouteKind::Unicast, Some(DEVICE))?;
    }
    sys::settle(SETTLING)?;
    Ok(tun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ttl_decides_who_answers() {
        let path = Path { routers: 2, silent: Some(2) };
        let syn = |ttl| {
            let builder = etherparse::PacketBuilder::ipv4([192, 0, 2, 1], [203, 0, 113, 80], ttl);
            let mut packet = Vec::new();
            builder.tcp(40_000, 80, 1, 100).syn().write(&mut packet, &[]).unwrap();
            packet
        };
        let source = |packet: Vec<u8>| IpAddr::from(<[u8; 4]>::try_from(&packet[12..16]).unwrap());
        assert_eq!(path.answer(&syn(1)).map(source), Some(Path::router(Family::Ipv4, 1)));
        assert_eq!(path.answer(&syn(2)), None);
        assert_eq!(path.answer(&syn(3)).map(source), Some(Path::target(Family::Ipv4)));
        assert_eq!(path.answer(&[0x45, 0]), None);
    }
}
