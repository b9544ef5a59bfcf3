//! Packets as a router or a host on the path sees and makes them: TCP SYNs, and the answers to them.
//!
//! It works on bytes and sends nothing.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice, ip_number::TCP};

use crate::words::names::{Family, Protocol};

/// A request for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// How many more routers it may pass, or hop limit.
    pub ttl: u8,
    sequence: u32,
}

impl Syn {
    /// The SYN in this IP packet, if it is one.
    pub fn parse(packet: &[u8]) -> Option<Syn> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let (source, destination, ttl) = match sliced.net? {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), header.ttl())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), header.hop_limit())
            }
            _ => return None,
        };
        match sliced.transport? {
            TransportSlice::Tcp(tcp) if tcp.syn() && !tcp.ack() => Some(Syn {
                source: SocketAddr::new(source, tcp.source_port()),
                destination: SocketAddr::new(destination, tcp.destination_port()),
                ttl,
                sequence: tcp.sequence_number(),
            }),
            _ => None,
        }
    }

    /// What its destination answers: SYN and ACK from an open port, RST and ACK from a closed one (RFC 9293 section
    /// 3.5).
    pub fn answer(&self, open: bool) -> Option<Vec<u8>> {
        let (from, to) = (self.destination, self.source);
        let step = ip(from.ip(), to.ip())?;
        let builder = step.tcp(from.port(), to.port(), FIRST_SEQUENCE, WINDOW).ack(self.sequence.wrapping_add(1));
        let builder = if open { builder.syn() } else { builder.rst() };
        let mut packet = Vec::with_capacity(builder.size(0));
        builder.write(&mut packet, &[]).ok()?;
        Some(packet)
    }
}

/// Who asks whom in this IP packet, if it is a request of that protocol: a TCP SYN, or any UDP datagram.
pub fn request(protocol: Protocol, packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    match protocol {
        Protocol::Tcp | Protocol::Mptcp => Syn::parse(packet).map(|syn| (syn.source, syn.destination)),
        Protocol::Udp => {
            let sliced = SlicedPacket::from_ip(packet).ok()?;
            let TransportSlice::Udp(udp) = sliced.transport? else { return None };
            let (source, destination): (IpAddr, IpAddr) = match sliced.net? {
                NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
                NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
                _ => return None,
            };
            Some((SocketAddr::new(source, udp.source_port()), SocketAddr::new(destination, udp.destination_port())))
        }
    }
}

/// Of the connections that a destination takes here, which carry nothing.
const FIRST_SEQUENCE: u32 = 1;
const WINDOW: u16 = 65_535;

/// What packets set out with.
const TTL: u8 = 64;

/// The ICMP type and code of time exceeded in transit (RFC 792; RFC 4443 section 3.3).
pub fn time_exceeded(family: Family) -> (u8, u8) {
    match family {
        Family::Ipv4 => (11, 0),
        Family::Ipv6 => (3, 0),
    }
}

/// Port unreachable, as a host without that port may answer (RFC 792; RFC 4443 section 3.1).
pub fn port_unreachable(family: Family) -> (u8, u8) {
    match family {
        Family::Ipv4 => (3, 3),
        Family::Ipv6 => (1, 4),
    }
}

/// An ICMP error about a packet, which it quotes as far as one may (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4).
/// `None` where the two addresses are of different families.
pub fn icmp_error(router: IpAddr, to: IpAddr, (kind, code): (u8, u8), packet: &[u8]) -> Option<Vec<u8>> {
    let mut answer = Vec::with_capacity(packet.len() + 64);
    match (router, to) {
        (IpAddr::V4(router), IpAddr::V4(to)) => PacketBuilder::ipv4(router.octets(), to.octets(), TTL)
            .icmpv4_raw(kind, code, [0; 4])
            .write(&mut answer, &packet[..packet.len().min(548)]),
        (IpAddr::V6(router), IpAddr::V6(to)) => PacketBuilder::ipv6(router.octets(), to.octets(), TTL)
            .icmpv6_raw(kind, code, [0; 4])
            .write(&mut answer, &packet[..packet.len().min(1232)]),
        _ => return None,
    }
    .ok()?;
    Some(answer)
}

fn ip(from: IpAddr, to: IpAddr) -> Option<PacketBuilderStep<etherparse::IpHeaders>> {
    use etherparse::{IpHeaders, Ipv4Header, Ipv6FlowLabel, Ipv6Header};
    let headers = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            IpHeaders::Ipv4(Ipv4Header::new(0, TTL, TCP, from.octets(), to.octets()).ok()?, Default::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => IpHeaders::Ipv6(
            Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: TCP,
                hop_limit: TTL,
                source: from.octets(),
                destination: to.octets(),
            },
            Default::default(),
        ),
        _ => return None,
    };
    Some(PacketBuilder::ip(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(ack: bool) -> Vec<u8> {
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 1], 3).tcp(40_000, 80, 1, 100).syn();
        let mut packet = Vec::new();
        if ack { builder.ack(1) } else { builder }.write(&mut packet, &[]).unwrap();
        packet
    }

    #[test]
    fn a_syn_is_told_from_other_segments_and_quoted() {
        assert_eq!(Syn::parse(&segment(true)), None);
        let packet = segment(false);
        let syn = Syn::parse(&packet).unwrap();
        assert_eq!((syn.source, syn.ttl), ("192.0.2.1:40000".parse().unwrap(), 3));
        let answer = icmp_error([192, 0, 2, 254].into(), syn.source.ip(), (11, 0), &packet).unwrap();
        assert_eq!(answer[20..22], [11, 0]);
        assert_eq!(answer[28..], packet[..]);
        assert_eq!(icmp_error("2001:db8::1".parse().unwrap(), syn.source.ip(), (3, 0), &packet), None);
    }

    #[test]
    fn a_request_is_of_its_protocol() {
        let ends = |text: &str| Some(("192.0.2.1:40000".parse().unwrap(), text.parse().unwrap()));
        assert_eq!(request(Protocol::Tcp, &segment(false)), ends("198.51.100.1:80"));
        assert_eq!(request(Protocol::Tcp, &segment(true)), None);
        assert_eq!(request(Protocol::Udp, &segment(false)), None);
        let mut datagram = Vec::new();
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 1], 3).udp(40_000, 53);
        builder.write(&mut datagram, &[0]).unwrap();
        assert_eq!(request(Protocol::Udp, &datagram), ends("198.51.100.1:53"));
        assert_eq!(request(Protocol::Tcp, &datagram), None);
    }

    #[test]
    fn an_answer_goes_back_and_acknowledges() {
        let syn = Syn::parse(&segment(false)).unwrap();
        for open in [true, false] {
            let answer = syn.answer(open).unwrap();
            let sliced = SlicedPacket::from_ip(&answer).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{answer:?}") };
            assert_eq!((tcp.source_port(), tcp.destination_port()), (80, 40_000));
            assert_eq!((tcp.syn(), tcp.rst(), tcp.ack()), (open, !open, true));
            assert_eq!(tcp.acknowledgment_number(), 2);
        }
    }
}
