//! ICMP errors as a raw socket delivers them, and the TCP packet that each of them quotes.
//!
//! A message alone proves nothing, because anybody can send one. The kernel checks the quoted sequence number before it
//! gives a socket an error; another module looks for that error.

use std::net::{IpAddr, SocketAddr};

use etherparse::{Icmpv4Slice, Icmpv6Slice, IpNumber, Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice};

use crate::tracer::Icmp;

/// An ICMP error about a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    pub icmp: Icmp,
    /// The quoted segment's, as it was when it met its end.
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Quote {
    /// Whether the segment was one from `local` to `target`: the whole 4-tuple, since ports alone are shared by tracers
    /// on the same host.
    pub fn is_about(&self, local: SocketAddr, target: SocketAddr) -> bool {
        let pair = |endpoint: SocketAddr| (endpoint.ip(), endpoint.port());
        pair(self.source) == pair(local) && pair(self.destination) == pair(target)
    }
}

/// Destination unreachable, time exceeded, parameter problem (RFC 792; RFC 4443 section 3).
const ERRORS_V4: [u8; 3] = [3, 11, 12];
const ERRORS_V6: [u8; 3] = [1, 3, 4];

/// What a raw ICMP socket received from `from`: with an IP header for IPv4, without one for IPv6.
pub fn read(from: IpAddr, packet: &[u8]) -> Option<Quote> {
    let (kind, code, segment) = match from {
        IpAddr::V4(_) => {
            // Lengths in IP headers are not looked at: macOS changes their byte order.
            let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
            let icmp = Icmpv4Slice::from_slice(packet.get(header.slice().len()..)?).ok()?;
            (icmp.type_u8(), icmp.code_u8(), ipv4(icmp.payload())?)
        }
        IpAddr::V6(_) => {
            let icmp = Icmpv6Slice::from_slice(packet).ok()?;
            (icmp.type_u8(), icmp.code_u8(), ipv6(icmp.payload())?)
        }
    };
    let errors = if from.is_ipv4() { ERRORS_V4 } else { ERRORS_V6 };
    let Segment { source, destination, tcp } = segment;
    // A router need not quote more of it (RFC 792), and nothing else is needed.
    let &[a, b, c, d, ..] = tcp.get(..8)? else { return None };
    errors.contains(&kind).then_some(Quote {
        icmp: Icmp { from, kind, code },
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    })
}

struct Segment<'p> {
    source: IpAddr,
    destination: IpAddr,
    tcp: &'p [u8],
}

fn ipv4(quoted: &[u8]) -> Option<Segment<'_>> {
    let header = Ipv4HeaderSlice::from_slice(quoted).ok()?;
    let is_begin = header.protocol() == IpNumber::TCP && header.fragments_offset().value() == 0;
    is_begin.then_some(Segment {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        tcp: quoted.get(header.slice().len()..)?,
    })
}

fn ipv6(quoted: &[u8]) -> Option<Segment<'_>> {
    let header = Ipv6HeaderSlice::from_slice(quoted).ok()?;
    let rest = quoted.get(header.slice().len()..)?;
    let (extensions, number, tcp, error) = Ipv6ExtensionsSlice::from_slice_lax(header.next_header(), rest);
    let is_begin = error.is_none() && number == IpNumber::TCP && !extensions.is_fragmenting_payload();
    is_begin.then_some(Segment {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        tcp,
    })
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    const ROUTER: [&str; 2] = ["203.0.113.254", "2001:db8:2::fe"];
    const LOCAL: [&str; 2] = ["192.0.2.1:33434", "[2001:db8::1]:33434"];
    const TARGET: [&str; 2] = ["198.51.100.7:80", "[2001:db8:1::7]:80"];

    fn segment(local: &str, target: &str) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = match (local.parse().unwrap(), target.parse().unwrap()) {
            (SocketAddr::V4(local), SocketAddr::V4(target)) => PacketBuilder::ipv4(
                local.ip().octets(),
                target.ip().octets(),
                1,
            )
            .tcp(local.port(), target.port(), 1, 100),
            (SocketAddr::V6(local), SocketAddr::V6(target)) => PacketBuilder::ipv6(
                local.ip().octets(),
                target.ip().octets(),
                1,
            )
            .tcp(local.port(), target.port(), 1, 100),
            _ => unreachable!("two families"),
        };
        builder.syn().write(&mut packet, &[]).unwrap();
        packet
    }

    /// As a raw socket delivers it.
    fn message(family: usize, kind: u8, quoted: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        match (ROUTER[family].parse().unwrap(), LOCAL[family].parse::<SocketAddr>().unwrap().ip()) {
            (IpAddr::V4(router), IpAddr::V4(local)) => PacketBuilder::ipv4(router.octets(), local.octets(), 64)
                .icmpv4_raw(kind, 0, [0; 4])
                .write(&mut packet, quoted)
                .unwrap(),
            (IpAddr::V6(router), IpAddr::V6(local)) => {
                PacketBuilder::ipv6(router.octets(), local.octets(), 64)
                    .icmpv6_raw(kind, 0, [0; 4])
                    .write(&mut packet, quoted)
                    .unwrap();
                packet.drain(..40);
            }
            _ => unreachable!("two families"),
        }
        packet
    }

    fn read_from(family: usize, packet: &[u8]) -> Option<Quote> {
        read(ROUTER[family].parse().unwrap(), packet)
    }

    fn about(family: usize, kind: u8) -> Quote {
        Quote {
            icmp: Icmp { from: ROUTER[family].parse().unwrap(), kind, code: 0 },
            source: LOCAL[family].parse().unwrap(),
            destination: TARGET[family].parse().unwrap(),
        }
    }

    #[test]
    fn eight_bytes_of_the_segment_are_enough() {
        for (family, kind, header) in [(0, 11, 20), (1, 3, 40)] {
            let segment = segment(LOCAL[family], TARGET[family]);
            for size in 0..=segment.len() {
                let quote = read_from(family, &message(family, kind, &segment[..size]));
                assert_eq!(quote, (size >= header + 8).then(|| about(family, kind)), "{size} bytes");
            }
        }
    }

    #[test]
    fn only_errors_about_tcp_count() {
        for (family, errors) in [(0, ERRORS_V4), (1, ERRORS_V6)] {
            let mut segment = segment(LOCAL[family], TARGET[family]);
            for kind in 0..=u8::MAX {
                let quote = read_from(family, &message(family, kind, &segment));
                assert_eq!(quote.is_some(), errors.contains(&kind), "type {kind}");
            }
            segment[[9, 6][family]] = IpNumber::UDP.0;
            assert_eq!(read_from(family, &message(family, errors[0], &segment)), None);
        }
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut segment = segment(LOCAL[0], TARGET[0]);
        segment[7] = 1;
        assert_eq!(read_from(0, &message(0, 11, &segment)), None);
    }

    #[test]
    fn extension_headers_are_passed_over() {
        let mut segment = segment(LOCAL[1], TARGET[1]);
        // Hop-by-hop options, with padding alone.
        segment[6] = IpNumber::IPV6_HEADER_HOP_BY_HOP.0;
        segment.splice(40..40, [IpNumber::TCP.0, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(read_from(1, &message(1, 3, &segment)), Some(about(1, 3)));
        assert_eq!(read_from(1, &message(1, 3, &segment[..44])), None);
    }

    #[test]
    fn the_order_of_bytes_in_lengths_plays_no_part() {
        let mut packet = message(0, 11, &segment(LOCAL[0], TARGET[0]));
        packet.swap(2, 3);
        packet.swap(30, 31);
        assert_eq!(read_from(0, &packet), Some(about(0, 11)));
    }

    #[test]
    fn every_part_of_the_4_tuple_counts() {
        let quote = about(0, 11);
        let [local, target] = [LOCAL[0], TARGET[0]].map(|endpoint| endpoint.parse().unwrap());
        assert!(quote.is_about(local, target));
        for other in ["192.0.2.2:33434", "192.0.2.1:33435"] {
            assert!(!quote.is_about(other.parse().unwrap(), target), "{other}");
        }
        for other in ["198.51.100.8:80", "198.51.100.7:81"] {
            assert!(!quote.is_about(local, other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_scope_is_no_part_of_a_packet() {
        let quote = Quote {
            source: "[fe80::1]:1".parse().unwrap(),
            destination: "[fe80::2]:2".parse().unwrap(),
            ..about(1, 3)
        };
        assert!(quote.is_about("[fe80::1%7]:1".parse().unwrap(), "[fe80::2%7]:2".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_makes_it_panic(
            family in 0..2_usize,
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ) {
            read_from(family, &bytes);
            let mut packet = message(family, [11, 3][family], &segment(LOCAL[family], TARGET[family]));
            for (place, byte) in edits {
                let place = place.index(packet.len());
                packet[place] = byte;
            }
            read_from(family, &packet);
            read_from(1 - family, &packet);
        }
    }
}
