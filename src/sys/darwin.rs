//! What macOS is told and how it answers, as text and numbers: names of settings, the words of ifconfig(8) and
//! route(8), the frames of a utun device, and the addresses that a case can borrow.
//!
//! It makes no call, so it is tested on any OS. It follows the named sources; no Mac has confirmed it yet.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::Fault;
use super::journal::HostChange;
use crate::words::ports::{PORT_RANGE, PortRange};

/// Its settings here: `in_pcbbind()` (`bsd/netinet/in_pcb.c`) takes the first pair, and the second for a socket with
/// IP_PORTRANGE_HIGH.
pub const RANGES: [[&str; 2]; 2] = [
    ["net.inet.ip.portrange.first", "net.inet.ip.portrange.last"],
    ["net.inet.ip.portrange.hifirst", "net.inet.ip.portrange.hilast"],
];

/// `sysctl_net_ipport_check()` moves others into these bounds without a word.
const LOWEST: u16 = 1024;

/// A sysctl that plans name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Two numbers are one value on Linux.
    PortRange,
    /// One of XNU's own numbers.
    Number(String),
    /// Linux alone has it.
    Absent,
}

impl Setting {
    pub fn named(name: &str) -> Setting {
        match name {
            PORT_RANGE => Setting::PortRange,
            _ if name.starts_with("net.ipv4.") || name.starts_with("net.ipv6.") || name.starts_with("net.core.") => {
                Setting::Absent
            }
            _ => Setting::Number(name.to_owned()),
        }
    }
}

/// What the four settings of the port range have to be for a value such as `30000 30015`.
pub fn port_range(value: &str) -> Result<Vec<(&'static str, i32)>, Fault> {
    let range = PortRange::from_sysctl(value).map_err(|why| Fault::Failed(why.to_string()))?;
    if range.low() < LOWEST {
        return Err(Fault::Failed(format!("the range {range} begins below {LOWEST}")));
    }
    let (low, high) = (range.low().into(), range.high().into());
    Ok(RANGES.iter().flat_map(|[first, last]| [(*first, low), (*last, high)]).collect())
}

/// What gives the interface the address. Cases of a point-to-point device speak to nobody at its other end, so that
/// this end is as good a name for it as any.
pub fn add_address(device: &str, address: IpAddr, prefix: u8) -> Vec<String> {
    let (address, prefix) = (address.to_string(), prefix.to_string());
    let words: Vec<&str> = match address.contains(':') {
        true => vec![device, "inet6", &address, "prefixlen", &prefix, "alias"],
        false if device.starts_with("utun") => {
            vec![device, "inet", &address, &address, "netmask", "255.255.255.255", "alias"]
        }
        false => vec![device, "inet", &address, "netmask", "255.255.255.255", "alias"],
    };
    words.into_iter().map(str::to_owned).collect()
}

pub fn remove_address(device: &str, address: IpAddr) -> Vec<String> {
    let family = if address.is_ipv4() { "inet" } else { "inet6" };
    [device, family, &address.to_string(), "-alias"].map(str::to_owned).to_vec()
}

/// A route to a network through a device, which goes with the device.
pub fn add_route(network: IpAddr, prefix: u8, device: &str) -> Vec<String> {
    let family = if network.is_ipv4() { "-inet" } else { "-inet6" };
    ["-n", "add", family, "-net", &format!("{network}/{prefix}"), "-interface", device].map(str::to_owned).to_vec()
}

pub fn ask_route(destination: IpAddr) -> Vec<String> {
    let family = if destination.is_ipv4() { "-inet" } else { "-inet6" };
    ["-n", "get", family, &destination.to_string()].map(str::to_owned).to_vec()
}

/// What `route get` says of a destination, in the words of plans. `None` if it does not say it in the way that is known
/// (`print_getmsg()`, network_cmds, `route.tproj/route.c`).
pub fn route_kind(said: &str) -> Option<&'static str> {
    if said.contains("not in table") {
        return Some("none");
    }
    let flags = said.lines().find_map(|line| line.trim_start().strip_prefix("flags: <"))?.strip_suffix('>')?;
    let has = |flag| flags.split(',').any(|other| other == flag);
    Some(match () {
        () if has("REJECT") => "unreachable",
        () if has("BLACKHOLE") => "blackhole",
        () if has("BROADCAST") => "broadcast",
        () if has("MULTICAST") => "multicast",
        () if has("LOCAL") => "local",
        () => "unicast",
    })
}

/// Whether ifconfig(8) shows the address as one that duplicate address detection has not passed yet.
pub fn is_tentative(said: &str, address: IpAddr) -> bool {
    let text = address.to_string();
    said.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("inet6")
            && words.next().is_some_and(|word| word.split('%').next() == Some(&text))
            && words.any(|word| word == "tentative")
    })
}

/// An address of an interface, its netmask, and on a point-to-point one the other end's address.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub address: IpAddr,
    pub netmask: Option<IpAddr>,
    pub peer: Option<IpAddr>,
}

/// RFC 3849; RFC 4193 section 3.1, of which these are the ones that are made up locally.
const DOCUMENTATION: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32);
const PRIVATE: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 8);

/// Why the loopback interface cannot lend a case this address: whoever has it would no longer be reached. Of `others`,
/// the machine's interfaces but loopback, none has it in its network.
pub fn refuses(address: IpAddr, others: &[Own]) -> Option<String> {
    let nobodys = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_documentation() || v4.is_private(),
        IpAddr::V6(v6) => DOCUMENTATION.contains(&v6) || PRIVATE.contains(&v6),
    };
    if !nobodys {
        return Some(format!(
            "{address} may be somebody's: only loopback, private and documentation addresses are lent"
        ));
    }
    let near = others.iter().find(|own| own.peer == Some(address) || is_near(address, own))?;
    Some(format!("{address} is in the network of this machine's {}, and may be somebody's", near.address))
}

fn is_near(address: IpAddr, own: &Own) -> bool {
    let network = own.netmask.and_then(|mask| IpNet::with_netmask(own.address, mask).ok());
    network.map_or(own.address == address, |network| network.contains(&address))
}

/// Whether the machine already is as an earlier change has left it, so that there is something to undo.
pub fn is_made(
    change: &HostChange,
    number: impl FnOnce(&str) -> Option<i32>,
    has: impl FnOnce(IpAddr) -> bool,
) -> bool {
    match change {
        HostChange::Setting { name, to, .. } => number(name) == Some(*to),
        HostChange::Address { address, .. } => has(*address),
        // Whatever it has become, it is looked for by who removes it.
        HostChange::Directory { .. } => true,
    }
}

/// Before each packet of a utun device: its address family, in network byte order (`utun_output()`,
/// `bsd/net/if_utun.c`).
pub const UTUN_HEADER: usize = 4;

/// `AF_INET` and `AF_INET6` as macOS has them (`bsd/sys/socket.h`).
const FAMILIES: [(u8, u32); 2] = [(4, 2), (6, 30)];

/// The packet with its header before it; `None` if it is neither IPv4 nor IPv6.
pub fn utun_frame(packet: &[u8]) -> Option<Vec<u8>> {
    let version = packet.first()? >> 4;
    let (_, family) = FAMILIES.iter().find(|(known, _)| *known == version)?;
    Some([&family.to_be_bytes()[..], packet].concat())
}

/// The packet of a frame; `None` if its header says nothing known.
pub fn utun_packet(frame: &[u8]) -> Option<&[u8]> {
    let (header, packet) = frame.split_first_chunk::<UTUN_HEADER>()?;
    FAMILIES.iter().any(|(_, family)| *family == u32::from_be_bytes(*header)).then_some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_range_of_a_plan_is_four_settings_here() {
        assert_eq!(Setting::named("net.ipv4.ip_local_port_range"), Setting::PortRange);
        assert_eq!(Setting::named("net.inet.tcp.msl"), Setting::Number("net.inet.tcp.msl".to_owned()));
        for linux in ["net.ipv4.tcp_tw_reuse", "net.ipv6.ip_nonlocal_bind", "net.core.somaxconn"] {
            assert_eq!(Setting::named(linux), Setting::Absent, "{linux}");
        }
        let wanted = [
            ("net.inet.ip.portrange.first", 30000),
            ("net.inet.ip.portrange.last", 30015),
            ("net.inet.ip.portrange.hifirst", 30000),
            ("net.inet.ip.portrange.hilast", 30015),
        ];
        assert_eq!(port_range("30000 30015").unwrap(), wanted);
        assert_eq!(port_range("30000\t30015").unwrap(), wanted);
        for wrong in ["", "30000", "30015 30000", "1000 2000", "1024 65536", "1 2 3", "a b"] {
            port_range(wrong).unwrap_err();
        }
    }

    #[test]
    fn ifconfig_and_route_are_told_what_their_manuals_want() {
        assert_eq!(
            add_address("lo0", ip("127.0.0.2"), 32).join(" "),
            "lo0 inet 127.0.0.2 netmask 255.255.255.255 alias"
        );
        assert_eq!(add_address("lo0", ip("fd00::2"), 128).join(" "), "lo0 inet6 fd00::2 prefixlen 128 alias");
        assert_eq!(
            add_address("utun7", ip("192.0.2.1"), 24).join(" "),
            "utun7 inet 192.0.2.1 192.0.2.1 netmask 255.255.255.255 alias"
        );
        assert_eq!(remove_address("lo0", ip("127.0.0.2")).join(" "), "lo0 inet 127.0.0.2 -alias");
        assert_eq!(remove_address("lo0", ip("fd00::2")).join(" "), "lo0 inet6 fd00::2 -alias");
        assert_eq!(
            add_route(ip("198.51.100.0"), 24, "utun7").join(" "),
            "-n add -inet -net 198.51.100.0/24 -interface utun7"
        );
        assert_eq!(ask_route(ip("2001:db8::1")).join(" "), "-n get -inet6 2001:db8::1");
    }

    #[test]
    fn routes_are_read_by_their_flags_alone() {
        let said = |flags: &str| {
            format!(
                "   route to: 198.51.100.1\ndestination: 198.51.100.0\n  interface: utun7\n      flags: <{flags}>\n"
            )
        };
        assert_eq!(route_kind(&said("UP,DONE,STATIC")), Some("unicast"));
        assert_eq!(route_kind(&said("UP,HOST,DONE,LOCAL")), Some("local"));
        assert_eq!(route_kind(&said("UP,HOST,DONE,LLINFO,BROADCAST")), Some("broadcast"));
        assert_eq!(route_kind(&said("UP,REJECT,DONE,STATIC")), Some("unreachable"));
        assert_eq!(route_kind(&said("UP,DONE,BLACKHOLE")), Some("blackhole"));
        assert_eq!(route_kind("route: writing to routing socket: not in table\n"), Some("none"));
        assert_eq!(route_kind("something else\n"), None);
    }

    #[test]
    fn an_address_is_tentative_as_long_as_its_own_line_says_so() {
        let said = "utun7: flags=8051<UP> mtu 1500\n\tinet6 fe80::1%utun7 prefixlen 64 scopeid 0x9\n\tinet6 2001:db8::1 \
                    prefixlen 64 tentative\n\tinet6 2001:db8::2 prefixlen 64\n";
        assert!(is_tentative(said, ip("2001:db8::1")));
        assert!(!is_tentative(said, ip("2001:db8::2")));
        assert!(!is_tentative(said, ip("fe80::1")));
    }

    #[test]
    fn nobody_is_cut_off_for_a_case() {
        let own = |address, netmask: &str, peer: Option<&str>| Own {
            address: ip(address),
            netmask: Some(ip(netmask)),
            peer: peer.map(ip),
        };
        let en0 = [own("192.168.1.20", "255.255.255.0", None), own("fd00::20", "ffff:ffff:ffff:ffff::", None)];
        let vpn = [own("10.0.0.7", "255.255.255.255", Some("10.0.0.1"))];
        for (address, others, free) in [
            ("127.0.0.2", &en0[..], true),
            ("10.0.0.1", &en0[..], true),
            ("10.0.0.1", &vpn[..], false),
            ("10.0.0.2", &vpn[..], true),
            ("fd00::2", &vpn[..], true),
            ("fd00::2", &en0[..], false),
            ("2001:db8::1", &en0[..], true),
            ("192.168.1.1", &en0[..], false),
            ("8.8.8.8", &[], false),
            ("2606:4700::1", &[], false),
        ] {
            assert_eq!(refuses(ip(address), others).is_none(), free, "{address} beside {others:?}");
        }
    }

    #[test]
    fn only_what_is_still_so_is_undone() {
        let setting = HostChange::Setting { name: "first".to_owned(), from: 49152, to: 30000 };
        assert!(is_made(&setting, |_| Some(30000), |_| false));
        assert!(!is_made(&setting, |_| Some(20000), |_| true));
        assert!(!is_made(&setting, |_| None, |_| true));
        let address = HostChange::Address { device: "lo0".to_owned(), address: ip("127.0.0.2") };
        assert!(is_made(&address, |_| None, |_| true));
        assert!(!is_made(&address, |_| Some(30000), |_| false));
        assert!(is_made(&HostChange::Directory { path: "/private/tmp/errnoscope-case-7".into() }, |_| None, |_| false));
    }

    #[test]
    fn frames_have_the_family_before_the_packet() {
        let frame = utun_frame(&[0x45, 1, 2]).unwrap();
        assert_eq!(frame, [0, 0, 0, 2, 0x45, 1, 2]);
        assert_eq!(utun_packet(&frame), Some(&[0x45, 1, 2][..]));
        assert_eq!(utun_frame(&[0x60]).unwrap(), [0, 0, 0, 30, 0x60]);
        assert_eq!(utun_frame(&[]), None);
        assert_eq!(utun_frame(&[0x15]), None);
        assert_eq!(utun_packet(&[0, 0, 0, 17, 0x45]), None);
        assert_eq!(utun_packet(&[0, 0]), None);
    }
}
