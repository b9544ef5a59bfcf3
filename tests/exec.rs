//! `errnoscope exec`: the path is what it says, the command ends as if nobody stood in between, and nothing is left.

mod common;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use common::{hop, inside};
use errnoscope::names::{Family, Protocol};
use errnoscope::plan::{Detail, SocketOption};
use errnoscope::sys::{self, Address, Mode, Until};
use rstest::rstest;

const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];
const PORT: u16 = 443;
const PATIENCE_MS: u32 = 10_000;

#[derive(Debug, PartialEq)]
enum Answer {
    Connected,
    /// Whose ICMP error it was, its type and code.
    Icmp(IpAddr, u8, u8),
    Failed(String),
    Nothing,
}

/// A TCP connection attempt that goes no further than `hops`.
fn connect(to: IpAddr, hops: u8, wait_ms: u32) -> Answer {
    let family = if to.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let fd = sys::socket(family, Protocol::Tcp).unwrap();
    sys::set_nonblocking(&fd, Mode::Nonblocking).unwrap();
    for option in [SocketOption::Ttl(hops), SocketOption::RecvErr(true)] {
        sys::set_option(&fd, family, &option).unwrap();
    }
    match sys::connect(&fd, &Address::new(SocketAddr::new(to, PORT))) {
        Err(errno) if errno.name() == "EINPROGRESS" => {}
        Err(errno) => return Answer::Failed(errno.to_string()),
        Ok(()) => return Answer::Connected,
    }
    if !sys::poll(fd.as_raw_fd(), Until::Writable, wait_ms).unwrap() {
        return Answer::Nothing;
    }
    match sys::receive_error(&fd) {
        Ok((_, Detail::ErrorQueue { icmp_type, icmp_code, offender: Some(offender), .. })) => {
            Answer::Icmp(offender, icmp_type, icmp_code)
        }
        _ => sys::socket_error(&fd).map_or_else(|errno| Answer::Failed(errno.to_string()), |()| Answer::Connected),
    }
}

fn time_exceeded(router: usize, family: Family) -> Answer {
    let kind = if family == Family::Ipv4 { 11 } else { 3 };
    Answer::Icmp(hop(router, family), kind, 0)
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(5)]
#[case(15)]
#[case(64)]
fn every_hop_of_a_path_is_where_the_plan_says(#[case] routers: u8) {
    inside(&["--path", &routers.to_string(), "--listen", &PORT.to_string()], || {
        for family in FAMILIES {
            for hops in 1..=routers {
                let router = usize::from(hops);
                let answer = connect(hop(usize::from(routers) + 1, family), hops, PATIENCE_MS);
                assert_eq!(answer, time_exceeded(router, family));
                // An error closes the attempt, and nobody listens on a router.
                let answer = connect(hop(router, family), 255, PATIENCE_MS);
                assert_eq!(answer, Answer::Failed("ECONNREFUSED".to_owned()), "router {router}");
            }
            let server = hop(usize::from(routers) + 1, family);
            assert_eq!(connect(server, routers + 1, PATIENCE_MS), Answer::Connected);
        }
    });
}
