//! Interfaces, addresses, neighbours, routes and rules, through rtnetlink(7).
//!
//! A refusal is the kernel's errno. It reads the FIB by the rule that the kernel uses (longest prefix, then lowest
//! metric, `local` before `main`) because a lookup would answer a blackhole with an errno.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::OS;
use super::namespace::only_private;
use crate::plan::RouteKind;
use crate::sys::{Fault, device_index, errno_of, pause_ms};
use crate::words::errno::Errno;
use crate::words::names::Family;

/// Up, and usable at some later time ([`settle`]).
pub fn set_up(device: &str) -> Result<(), Fault> {
    let mut message = LinkMessage::default();
    message.header.index = device_index(device)?;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    change(RouteNetlinkMessage::SetLink(message), 0)
}

/// Configured, and local at some later time ([`settle`]).
pub fn add_address(device: &str, address: IpAddr, prefix: u8) -> Result<(), Fault> {
    // All of 127.0.0.0/8 is this host's as it is.
    if only_private().is_err() && device == "lo" && route_kind(address)? == "local" {
        return Ok(());
    }
    change(RouteNetlinkMessage::NewAddress(address_message(device, address, prefix)?), NLM_F_CREATE | NLM_F_EXCL)
}

/// Configured, and this host's only when duplicate address detection has found it unique.
pub fn add_address_with_dad(device: &str, address: IpAddr, prefix: u8) -> Result<(), Fault> {
    let mut message = address_message(device, address, prefix)?;
    message.header.flags.remove(AddressHeaderFlags::Nodad);
    change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// An IPv6 address is usable only when a kernel thread has got round to it (`addrconf_dad_work`), even without
/// duplicate address detection: until then packets to it are dropped. Waits for all of them, so long at most.
pub fn settle(limit: Duration) -> Result<(), Fault> {
    let start = Instant::now();
    while let Some(address) = unsettled()? {
        let waited = start.elapsed();
        if waited >= limit {
            return Err(Fault::Failed(format!(
                "the address {address} is not usable after {} ms: the kernel has not got round to it (addrconf_dad_work), as on \
                 a machine with too much to do",
                waited.as_millis()
            )));
        }
        pause_ms((waited.as_secs_f64() * 20.0).clamp(0.2, 20.0));
    }
    Ok(())
}

/// An IPv6 address that we added to a device with a carrier, and that is not local yet.
fn unsettled() -> Result<Option<IpAddr>, Fault> {
    let mut addresses = Vec::new();
    let mut question = AddressMessage::default();
    question.header.family = AddressFamily::Inet6;
    dump(RouteNetlinkMessage::GetAddress(question), |answer| {
        let RouteNetlinkMessage::NewAddress(entry) = answer else { return };
        if entry.header.flags.contains(AddressHeaderFlags::Nodad) {
            let tentative = entry.header.flags.contains(AddressHeaderFlags::Tentative);
            addresses.extend(entry.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some((entry.header.index, *address, tentative)),
                _ => None,
            }));
        }
    })?;
    if addresses.is_empty() {
        return Ok(None);
    }
    let mut carriers = Vec::new();
    dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |answer| {
        let RouteNetlinkMessage::NewLink(link) = answer else { return };
        if link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp) {
            carriers.push(link.header.index);
        }
    })?;
    for (index, address, tentative) in addresses {
        if carriers.contains(&index) && (tentative || route_kind(address)? != "local") {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

pub fn delete_address(device: &str, address: IpAddr, prefix: u8) -> Result<(), Fault> {
    change(RouteNetlinkMessage::DelAddress(address_message(device, address, prefix)?), 0)
}

fn address_message(device: &str, address: IpAddr, prefix: u8) -> Result<AddressMessage, Fault> {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = prefix;
    message.header.scope = AddressScope::Universe;
    message.header.index = device_index(device)?;
    if address.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    Ok(message)
}

pub fn add_route(destination: IpAddr, prefix: u8, kind: RouteKind, device: Option<&str>) -> Result<(), Fault> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    (message.header.kind, message.header.scope) = match kind {
        RouteKind::Unicast => (RouteType::Unicast, RouteScope::Link),
        RouteKind::Unreachable => (RouteType::Unreachable, RouteScope::Universe),
        RouteKind::Blackhole => (RouteType::BlackHole, RouteScope::Universe),
        RouteKind::Prohibit => (RouteType::Prohibit, RouteScope::Universe),
        RouteKind::Throw => (RouteType::Throw, RouteScope::Universe),
    };
    if prefix > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination)));
    }
    if let Some(device) = device {
        message.attributes.push(RouteAttribute::Oif(device_index(device)?));
    }
    change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

pub fn add_veth(device: &str, peer: &str) -> Result<(), Fault> {
    let end = |device| End { device, hardware: None, namespace: None };
    join(&end(device), &end(peer))
}

/// The end of a veth pair: its name, and, where the kernel is not to choose, hardware address and network namespace.
pub(super) struct End<'a> {
    pub device: &'a str,
    pub hardware: Option<[u8; 6]>,
    pub namespace: Option<BorrowedFd<'a>>,
}

impl End<'_> {
    fn attributes(&self) -> Vec<LinkAttribute> {
        let mut attributes = vec![LinkAttribute::IfName(self.device.to_owned())];
        attributes.extend(self.hardware.map(|address| LinkAttribute::Address(address.to_vec())));
        // Made there, and not moved there: a move waits for everybody who may still look at the device.
        attributes.extend(self.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        attributes
    }
}

/// A veth pair whose ends may be in other namespaces.
pub(super) fn join(near: &End, far: &End) -> Result<(), Fault> {
    let mut other = LinkMessage::default();
    other.attributes = far.attributes();
    let mut message = LinkMessage::default();
    message.attributes = near.attributes();
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
    ]));
    change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Tells who has an address, for good: nobody ever asks, waits or forgets.
pub(super) fn add_neighbour(device: &str, address: IpAddr, hardware: [u8; 6]) -> Result<(), Fault> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = device_index(device)?;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        }),
        NeighbourAttribute::LinkLayerAddress(hardware.to_vec()),
    ];
    change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// A route through a router; prefix 0 is the default route.
pub(super) fn add_route_via(destination: IpAddr, prefix: u8, gateway: IpAddr) -> Result<(), Fault> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = prefix;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    if prefix > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination)));
    }
    message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
    change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// What this namespace sends by itself of a protocol finds no route; what it only forwards does (ip-rule(8)).
pub(super) fn mute(version: Family, protocol: i32) -> Result<(), Fault> {
    let mut message = RuleMessage::default();
    message.header.family = match version {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    };
    message.header.action = RuleAction::Blackhole;
    message.attributes = vec![
        RuleAttribute::Priority(1),
        // Of all interfaces it is `lo` that means "from here".
        RuleAttribute::Iifname("lo".to_owned()),
        RuleAttribute::IpProtocol(IpProtocol::from(protocol)),
    ];
    change(RouteNetlinkMessage::NewRule(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Whether an address is configured, by itself or by a prefix on `lo` (`fib_add_ifaddr`: all of it is local).
pub fn has_address(address: IpAddr) -> Result<bool, Fault> {
    let mut question = AddressMessage::default();
    question.header.family = family(address);
    let loopback = device_index("lo").unwrap_or(1);
    let mut found = false;
    dump(RouteNetlinkMessage::GetAddress(question), |answer| {
        let RouteNetlinkMessage::NewAddress(entry) = answer else { return };
        found |= own_address(&entry).is_some_and(|own| {
            own == address
                || (address.is_ipv4()
                    && entry.header.index == loopback
                    && matches_prefix(own, entry.header.prefix_len, address))
        });
    })?;
    Ok(found)
}

/// The address that an entry makes this host's. IFA_ADDRESS is that of the other end where there is an IFA_LOCAL, and
/// no IPv6 address is anybody's before it is known to be unique (`ipv6_chk_addr_and_flags`, net/ipv6/addrconf.c).
fn own_address(entry: &AddressMessage) -> Option<IpAddr> {
    let flags = entry.header.flags;
    if flags.contains(AddressHeaderFlags::Tentative) && !flags.contains(AddressHeaderFlags::Optimistic) {
        return None;
    }
    let local = entry.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(local) => Some(*local),
        _ => None,
    });
    local.or_else(|| {
        entry.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// Whether it is in `local`, its prefix, its metric: the greatest wins.
type Rank = (bool, u8, std::cmp::Reverse<u32>);

/// The type of the FIB entry that `destination` meets, or `none`.
pub fn route_kind(destination: IpAddr) -> Result<&'static str, Fault> {
    let mut question = RouteMessage::default();
    question.header.address_family = family(destination);
    let mut best: Option<(Rank, RouteType)> = None;
    dump(RouteNetlinkMessage::GetRoute(question), |answer| {
        let RouteNetlinkMessage::NewRoute(entry) = answer else { return };
        let (mut network, mut metric) = (None, 0);
        let mut table = u32::from(entry.header.table);
        for attribute in &entry.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => network = Some(IpAddr::V4(*address)),
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => network = Some(IpAddr::V6(*address)),
                RouteAttribute::Priority(priority) => metric = *priority,
                RouteAttribute::Table(number) => table = *number,
                _ => {}
            }
        }
        let prefix = entry.header.destination_prefix_length;
        let met = network.map_or(prefix == 0, |network| matches_prefix(network, prefix, destination));
        if !met || ![u32::from(RouteHeader::RT_TABLE_MAIN), 255].contains(&table) {
            return;
        }
        let rank = (table == 255, prefix, std::cmp::Reverse(metric));
        if best.as_ref().is_none_or(|(other, _)| rank > *other) {
            best = Some((rank, entry.header.kind));
        }
    })?;
    Ok(match best.map(|(_, kind)| kind) {
        None => "none",
        Some(RouteType::Unicast) => "unicast",
        Some(RouteType::Local) => "local",
        Some(RouteType::Broadcast) => "broadcast",
        Some(RouteType::Anycast) => "anycast",
        Some(RouteType::Multicast) => "multicast",
        Some(RouteType::BlackHole) => "blackhole",
        Some(RouteType::Unreachable) => "unreachable",
        Some(RouteType::Prohibit) => "prohibit",
        Some(RouteType::Throw) => "throw",
        Some(_) => "other",
    })
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn matches_prefix(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    IpNet::new(network, prefix).is_ok_and(|network| network.contains(&address))
}

fn change(message: RouteNetlinkMessage, flags: u16) -> Result<(), Fault> {
    only_private()?;
    talk(message, NLM_F_REQUEST | NLM_F_ACK | flags, |_| ())
}

fn dump(message: RouteNetlinkMessage, visit: impl FnMut(RouteNetlinkMessage)) -> Result<(), Fault> {
    talk(message, NLM_F_REQUEST | NLM_F_DUMP, visit)
}

/// One request, and its answers up to the end or the acknowledgement.
fn talk(message: RouteNetlinkMessage, flags: u16, mut visit: impl FnMut(RouteNetlinkMessage)) -> Result<(), Fault> {
    let io = |error: std::io::Error| Fault::Errno(errno_of(&error));
    let socket = Socket::new(NETLINK_ROUTE).map_err(io)?;
    let mut request = NetlinkMessage::from(message);
    request.header.flags = flags;
    request.header.sequence_number = 1;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map_err(io)?;
    loop {
        let (answer, _) = socket.recv_from_full().map_err(io)?;
        let mut rest = &answer[..];
        while rest.len() >= 16 {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| Fault::Failed(format!("rtnetlink: {error}")))?;
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => {
                    return match error.raw_code() {
                        0 => Ok(()),
                        code => Err(Fault::Errno(Errno::from_raw(OS, -code))),
                    };
                }
                NetlinkPayload::InnerMessage(inner) => visit(inner),
                _ => {}
            }
            rest = rest.get(length.max(16)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_line_is_not_this_host() {
        let [own, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let entry = |attributes: &[AddressAttribute], flags| {
            let mut entry = AddressMessage::default();
            entry.attributes = attributes.to_vec();
            entry.header.flags = flags;
            own_address(&entry)
        };
        let none = AddressHeaderFlags::empty();
        for attributes in [
            [AddressAttribute::Address(other), AddressAttribute::Local(own)],
            [AddressAttribute::Local(own), AddressAttribute::Address(other)],
        ] {
            assert_eq!(entry(&attributes, none), Some(own));
        }
        let alone = [AddressAttribute::Address(own)];
        assert_eq!(entry(&alone, none), Some(own));
        assert_eq!(entry(&alone, AddressHeaderFlags::Tentative), None);
        assert_eq!(entry(&alone, AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed), None);
        assert_eq!(entry(&alone, AddressHeaderFlags::Tentative | AddressHeaderFlags::Optimistic), Some(own));
    }

    #[test]
    fn prefixes_of_all_lengths() {
        #[track_caller]
        fn check(network: &str, prefix: u8, address: &str, expected: bool) {
            assert_eq!(matches_prefix(network.parse().unwrap(), prefix, address.parse().unwrap()), expected);
        }
        check("127.0.0.1", 8, "127.9.9.9", true);
        check("192.0.2.1", 32, "192.0.2.1", true);
        check("192.0.2.1", 32, "192.0.2.0", false);
        check("0.0.0.0", 0, "203.0.113.9", true);
        check("2001:db8::", 32, "2001:db8::1", true);
        check("2001:db8::1", 128, "2001:db8::2", false);
        check("::", 0, "10.0.0.1", false);
    }
}
