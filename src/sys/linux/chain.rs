//! A chain of network namespaces: client, routers, server, and a link of both families between neighbours.
//!
//! The addresses follow a plan, so nobody has to ask for them. Descriptors hold the namespaces, and nothing else does.
//! The caller decides what runs in them and what goes wrong on the way.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use super::route::{End, add_neighbour, add_route_via, join, mute};
use super::{OS, Tables, Tun, add_address, add_route, set_up, settle, size_tables, write_sysctl};
use crate::plan::{RouteKind, SocketOption};
use crate::sys::{Address, Fault, Until, errno_of, poll, send, set_option, socket, socket_error};
use crate::words::errno::Errno;
use crate::words::names::{Family, Protocol};

/// The devices of a link, by where they lead.
pub const ONWARD: &str = "towards-server";
const BACK: &str = "towards-client";

/// How long the kernel may take until everything is usable.
const SETTLING: Duration = Duration::from_secs(5);

/// A port that nobody listens on: what arrives there is answered with an error.
const DISCARD: u16 = 9;

/// What a fresh namespace gets from its host, or has by default, and must not have here. Before it has any device,
/// since devices start with the values of `default`.
const SETTINGS: &[(&str, &str)] = &[
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    // No error is held back: neither by destination, nor, as the masks exempt them, by the limit for all.
    ("net.ipv4.icmp_ratelimit", "0"),
    ("net.ipv4.icmp_ratemask", "0"),
    ("net.ipv6.icmp.ratelimit", "0"),
    ("net.ipv6.icmp.ratemask", "\n"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    // No link-local addresses: the addresses of the plan are all that there are.
    ("net.ipv6.conf.default.addr_gen_mode", "1"),
];

/// A packet of the default TTL comes to its end at this router (RFC 1700).
const DEFAULT_HOPS: u8 = 64;
const HOP_LIMITS: &[&str] =
    &["net.ipv4.ip_default_ttl", "net.ipv6.conf.all.hop_limit", "net.ipv6.conf.default.hop_limit"];

pub struct Chain {
    /// From the client to the server; one that is both, where there is no link.
    namespaces: Vec<OwnedFd>,
}

/// Both ends of a first link that somebody has to carry packets between.
pub type Line = (Tun, Tun);

impl Chain {
    /// A client that is its own server.
    pub fn single() -> Result<Chain, Fault> {
        let namespace = create(Tables::Large).map_err(at(0, 0))?;
        set_up("lo").map_err(at(0, 0))?;
        wait_until_settled()?;
        Ok(Chain { namespaces: vec![namespace] })
    }

    /// Builds it, up to where [`Chain::check`] can find it in order. `with_line`: the first link is one.
    pub fn build(routers: u8, with_line: bool) -> Result<(Chain, Option<Line>), Fault> {
        let last = usize::from(routers) + 1;
        let mut namespaces = Vec::new();
        for place in 0..=last {
            let ends = place == 0 || place == last;
            namespaces.push(create(if ends { Tables::Large } else { Tables::Small }).map_err(at(place, last))?);
            let forwarding = if ends { "0" } else { "1" };
            for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
                write_sysctl(name, forwarding).map_err(at(place, last))?;
            }
            for name in HOP_LIMITS.iter().filter(|_| routers >= DEFAULT_HOPS) {
                write_sysctl(name, "128").map_err(at(place, last))?;
            }
        }
        let chain = Chain { namespaces };
        let mut line = None;
        for link in 0..last {
            if link == 0 && with_line {
                chain.enter(0)?;
                let near = Tun::create(ONWARD)?;
                chain.enter(1)?;
                line = Some((near, Tun::create(BACK)?));
            } else {
                chain.enter(link)?;
                chain.add_link(link).map_err(at(link, last))?;
            }
        }
        // Every device is up before any has an address: an address without a carrier is not usable.
        for (place, device) in chain.devices() {
            chain.enter(place)?;
            set_up(device).map_err(at(place, last))?;
        }
        for place in 0..=last {
            chain.enter(place)?;
            chain.configure(place, with_line).map_err(at(place, last))?;
        }
        for place in 0..=last {
            chain.enter(place)?;
            wait_until_settled().map_err(at(place, last))?;
        }
        Ok((chain, line))
    }

    /// The number of the server; the client's is 0, and those of the routers are in between.
    pub fn server(&self) -> usize {
        self.namespaces.len() - 1
    }

    pub fn enter(&self, place: usize) -> Result<(), Fault> {
        setns(&self.namespaces[place], CloneFlags::CLONE_NEWNET)
            .map_err(|errno| at(place, self.server())(Fault::Errno(Errno::from_raw(OS, errno as i32))))
    }

    /// The client's end of the first link, and how long its prefixes are.
    pub fn client_addresses(&self) -> Vec<(IpAddr, u8)> {
        vec![(near(0, Family::Ipv4), 24), (near(0, Family::Ipv6), 64)]
    }

    pub fn server_addresses(&self) -> Vec<IpAddr> {
        [Family::Ipv4, Family::Ipv6].map(|family| far(self.server() - 1, family)).to_vec()
    }

    /// Whether packets of both families reach the server and come back; if not, where they stop.
    pub fn check(&self, rtt: Duration) -> Result<(), Fault> {
        let last = self.server();
        if last == 0 {
            return Ok(());
        }
        self.enter(0)?;
        let timeout = SETTLING + rtt * 2;
        for family in [Family::Ipv4, Family::Ipv6] {
            if answers(far(last - 1, family), family, rtt, timeout)? {
                continue;
            }
            for place in 1..last {
                if !answers(far(place - 1, family), family, rtt, rtt + Duration::from_millis(100))? {
                    let address = far(place - 1, family);
                    return Err(Fault::Failed(format!("{}, {address}, does not answer", name(place, last))));
                }
            }
            let address = far(last - 1, family);
            return Err(Fault::Failed(format!("the server, {address}, does not answer, but all routers do")));
        }
        Ok(())
    }

    /// A router that forwards and never says anything by itself.
    pub fn silence(&self, router: u8) -> Result<(), Fault> {
        self.enter(router.into())?;
        mute(Family::Ipv4, libc::IPPROTO_ICMP)?;
        mute(Family::Ipv6, libc::IPPROTO_ICMPV6)
    }

    /// A router that has a route of this kind to the server.
    pub fn refuse(&self, router: u8, kind: RouteKind) -> Result<(), Fault> {
        self.enter(router.into())?;
        add_route(far(self.server() - 1, Family::Ipv4), 32, kind, None)?;
        add_route(far(self.server() - 1, Family::Ipv6), 128, kind, None)
    }

    /// A server whose TCP answers nothing, which is all that others see of one that drops what comes in.
    pub fn filter(&self) -> Result<(), Fault> {
        self.enter(self.server())?;
        mute(Family::Ipv4, libc::IPPROTO_TCP)?;
        mute(Family::Ipv6, libc::IPPROTO_TCP)
    }

    fn add_link(&self, link: usize) -> Result<(), Fault> {
        let near = End { device: ONWARD, hardware: Some(hardware(link, 1)), namespace: None };
        let there = Some(self.namespaces[link + 1].as_fd());
        join(&near, &End { device: BACK, hardware: Some(hardware(link, 2)), namespace: there })
    }

    fn devices(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let last = self.server();
        (0..=last).flat_map(move |place| {
            let onward = (place < last).then_some(ONWARD);
            let back = (place > 0).then_some(BACK);
            [Some("lo"), onward, back].into_iter().flatten().map(move |device| (place, device))
        })
    }

    /// Addresses, neighbours and routes of one namespace.
    fn configure(&self, place: usize, with_line: bool) -> Result<(), Fault> {
        for family in [Family::Ipv4, Family::Ipv6] {
            let prefix = if family == Family::Ipv4 { 24 } else { 64 };
            // A TUN device has no hardware addresses.
            let has_neighbours = |link: usize| link > 0 || !with_line;
            if place > 0 {
                let link = place - 1;
                add_address(BACK, far(link, family), prefix)?;
                if has_neighbours(link) {
                    add_neighbour(BACK, near(link, family), hardware(link, 1))?;
                }
                for earlier in 0..link {
                    add_route_via(address(earlier, 0, family), prefix, near(link, family))?;
                }
            }
            if place < self.server() {
                let link = place;
                add_address(ONWARD, near(link, family), prefix)?;
                if has_neighbours(link) {
                    add_neighbour(ONWARD, far(link, family), hardware(link, 2))?;
                }
                add_route_via(address(0, 0, family), 0, far(link, family))?;
            }
        }
        Ok(())
    }
}

/// A fresh namespace, which this process is in from then on.
fn create(tables: Tables) -> Result<OwnedFd, Fault> {
    size_tables(tables);
    super::user_namespace::unshare(libc::CLONE_NEWNET)?;
    for (name, value) in SETTINGS {
        write_sysctl(name, value).map_err(|fault| {
            let advice = "it takes IPv6 (ipv6.disable=0 on the kernel's command line) and a writable /proc/sys";
            Fault::Failed(format!("{name} cannot be written: {fault}; {advice}"))
        })?;
    }
    Ok(File::open("/proc/self/ns/net").map_err(|error| errno_of(&error))?.into())
}

fn wait_until_settled() -> Result<(), Fault> {
    settle(SETTLING).map_err(|fault| match fault {
        Fault::Failed(why) => {
            Fault::Failed(format!("{why}, or as without IPv6 (net.ipv6.conf.all.disable_ipv6=0 enables it)"))
        }
        fault => fault,
    })
}

/// Whether a host says that nobody listens on [`DISCARD`], which only the right host does.
fn answers(host: IpAddr, family: Family, rtt: Duration, timeout: Duration) -> Result<bool, Fault> {
    let fd = socket(family, Protocol::Udp)?;
    set_option(&fd, family, &SocketOption::RecvErr(true))?;
    crate::sys::connect(&fd, &Address::new(SocketAddr::new(host, DISCARD)))?;
    let wait = (rtt + Duration::from_millis(10)).as_millis() as u32;
    let end = Instant::now() + timeout;
    while Instant::now() < end {
        // What one attempt runs into, the next may not.
        let _ = send(&fd, b"", None);
        if poll(&fd, Until::Error, wait)? && socket_error(&fd).is_err_and(|errno| errno.raw() == libc::ECONNREFUSED) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whose fault it is, and what to do about it.
fn at(place: usize, last: usize) -> impl Fn(Fault) -> Fault {
    move |fault| {
        let advice = match &fault {
            Fault::Errno(errno) => match errno.raw() {
                libc::EMFILE => "; raise the number of open files: `ulimit -n`",
                libc::ENOSPC => "; raise user.max_net_namespaces, in a container also outside of it",
                libc::EPERM | libc::EACCES => {
                    "; a seccomp filter or a security module refuses it: `strace -f` shows the call"
                }
                _ => "",
            },
            Fault::Blocked { .. } | Fault::Unsupported(_) | Fault::Failed(_) => "",
        };
        Fault::Failed(format!("{}: {fault}{advice}", name(place, last)))
    }
}

fn name(place: usize, last: usize) -> String {
    match place {
        0 if last == 0 => "its only host".to_owned(),
        0 => "the client".to_owned(),
        place if place == last => "the server".to_owned(),
        place => format!("router {place}"),
    }
}

fn hardware(link: usize, end: u8) -> [u8; 6] {
    // Locally administered.
    [0x02, 0x77, 0, 0, link as u8, end]
}

/// The end that is nearer to the client.
fn near(link: usize, family: Family) -> IpAddr {
    address(link, 1, family)
}

fn far(link: usize, family: Family) -> IpAddr {
    address(link, 2, family)
}

fn address(link: usize, host: u8, family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::new(10, 77, link as u8, host).into(),
        // With the same digits, although these are hexadecimal.
        Family::Ipv6 => {
            let digits = (link / 10 * 16 + link % 10) as u16;
            Ipv6Addr::new(0xfd77, 0, 0, digits, 0, 0, 0, host.into()).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_write_a_link_alike() {
        for link in [0, 9, 10, 64] {
            assert_eq!(near(link, Family::Ipv4).to_string(), format!("10.77.{link}.1"));
            let expected: IpAddr = format!("fd77:0:0:{link}::2").parse().unwrap();
            assert_eq!(far(link, Family::Ipv6), expected);
        }
    }
}
