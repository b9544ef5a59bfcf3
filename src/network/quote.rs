//! ICMP errors as a raw socket delivers them, and the TCP packet that each of them quotes.
//!
//! A message alone proves nothing, because anybody can send one. The kernel checks the quoted sequence number before it gives a socket
//! an error; whether there is one is seen elsewhere.

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
    /// Whether the segment was one from `local` to `target`: the whole 4-tuple, since ports alone are shared by
    /// tracers on the same host.
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
