//! Socket options that only Linux has, or numbers in its own way.
//!
//! An option that this kernel does not know is its errno (ENOPROTOOPT), which a plan may take for a lack.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::names::Family;
use crate::plan::SocketOption;
use crate::sys::{Fault, Result, check, socket};

/// SO_LINGER counts in seconds.
pub const SO_LINGER_SECONDS: i32 = libc::SO_LINGER;

/// What binds a socket to an interface.
pub const BOUND_INTERFACE: &str = "SO_BINDTODEVICE";

/// ip(7), `include/uapi/linux/in.h`; since 6.3.
const IP_LOCAL_PORT_RANGE: i32 = 51;

pub fn set_own_option(fd: &OwnedFd, family: Family, option: &SocketOption) -> Result<(), Fault> {
    let by_family = |v4: i32, v6: i32| match family {
        Family::Ipv4 => (libc::SOL_IP, v4),
        Family::Ipv6 => (libc::SOL_IPV6, v6),
    };
    let ((level, name), value) = match *option {
        SocketOption::BindToDevice(ref device) => {
            // SAFETY: the pointer and the length are those of the name.
            check(unsafe {
                libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_BINDTODEVICE,
                    device.as_ptr().cast(),
                    device.len() as u32,
                )
            })?;
            return Ok(());
        }
        SocketOption::Freebind(on) => (by_family(libc::IP_FREEBIND, libc::IPV6_FREEBIND), i32::from(on)),
        SocketOption::RecvErr(on) => (by_family(libc::IP_RECVERR, libc::IPV6_RECVERR), i32::from(on)),
        // Both are options of level SOL_IP for either family (ip(7)).
        SocketOption::BindAddressNoPort(on) => ((libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT), i32::from(on)),
        SocketOption::LocalPortRange(range) => {
            let (low, high) = (u32::from(range.low()), u32::from(range.high()));
            ((libc::SOL_IP, IP_LOCAL_PORT_RANGE), (high << 16 | low) as i32)
        }
        SocketOption::QuickAck(on) => ((libc::SOL_TCP, libc::TCP_QUICKACK), i32::from(on)),
        SocketOption::Linger2(seconds) => ((libc::SOL_TCP, libc::TCP_LINGER2), seconds),
        SocketOption::UserTimeout(ms) => ((libc::SOL_TCP, libc::TCP_USER_TIMEOUT), ms),
        ref other => return Err(Fault::Failed(format!("{other:?} is not an option of Linux alone"))),
    };
    Ok(socket::set_bytes(fd, level, name, &value)?)
}

/// What a program calls an option, and its value: a number where it is as long as one.
pub(super) fn option_name(level: i32, name: i32, value: &[u8]) -> String {
    const KNOWN: &[(i32, i32, &str)] = &[
        (libc::SOL_SOCKET, libc::SO_REUSEADDR, "SO_REUSEADDR"),
        (libc::SOL_SOCKET, libc::SO_REUSEPORT, "SO_REUSEPORT"),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, "SO_KEEPALIVE"),
        (libc::SOL_SOCKET, libc::SO_BROADCAST, "SO_BROADCAST"),
        (libc::SOL_SOCKET, libc::SO_LINGER, "SO_LINGER"),
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE, "SO_BINDTODEVICE"),
        (libc::SOL_SOCKET, libc::SO_RCVBUF, "SO_RCVBUF"),
        (libc::SOL_SOCKET, libc::SO_SNDBUF, "SO_SNDBUF"),
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO, "SO_RCVTIMEO"),
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO, "SO_SNDTIMEO"),
        (libc::SOL_SOCKET, libc::SO_MARK, "SO_MARK"),
        (libc::SOL_IP, libc::IP_TTL, "IP_TTL"),
        (libc::SOL_IP, libc::IP_TOS, "IP_TOS"),
        (libc::SOL_IP, libc::IP_HDRINCL, "IP_HDRINCL"),
        (libc::SOL_IP, libc::IP_FREEBIND, "IP_FREEBIND"),
        (libc::SOL_IP, libc::IP_TRANSPARENT, "IP_TRANSPARENT"),
        (libc::SOL_IP, libc::IP_RECVERR, "IP_RECVERR"),
        (libc::SOL_IP, libc::IP_MTU_DISCOVER, "IP_MTU_DISCOVER"),
        (libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT"),
        (libc::SOL_IP, IP_LOCAL_PORT_RANGE, "IP_LOCAL_PORT_RANGE"),
        (libc::SOL_IPV6, libc::IPV6_V6ONLY, "IPV6_V6ONLY"),
        (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"),
        (libc::SOL_IPV6, libc::IPV6_RECVERR, "IPV6_RECVERR"),
        (libc::SOL_IPV6, libc::IPV6_FREEBIND, "IPV6_FREEBIND"),
        (libc::SOL_IPV6, libc::IPV6_TCLASS, "IPV6_TCLASS"),
        (libc::SOL_TCP, libc::TCP_NODELAY, "TCP_NODELAY"),
        (libc::SOL_TCP, libc::TCP_KEEPIDLE, "TCP_KEEPIDLE"),
        (libc::SOL_TCP, libc::TCP_KEEPINTVL, "TCP_KEEPINTVL"),
        (libc::SOL_TCP, libc::TCP_KEEPCNT, "TCP_KEEPCNT"),
        (libc::SOL_TCP, libc::TCP_SYNCNT, "TCP_SYNCNT"),
        (libc::SOL_TCP, libc::TCP_LINGER2, "TCP_LINGER2"),
        (libc::SOL_TCP, libc::TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"),
        (libc::SOL_TCP, libc::TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"),
        (libc::SOL_TCP, libc::TCP_QUICKACK, "TCP_QUICKACK"),
        (libc::SOL_TCP, libc::TCP_CORK, "TCP_CORK"),
        (libc::SOL_TCP, libc::TCP_FASTOPEN, "TCP_FASTOPEN"),
        (libc::SOL_TCP, libc::TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT"),
    ];
    let known = KNOWN.iter().find(|known| (known.0, known.1) == (level, name));
    let name = known.map_or_else(|| format!("level {level} option {name}"), |known| known.2.to_owned());
    match value.first_chunk() {
        Some(number) if value.len() == 4 => format!("{name} = {}", i32::from_ne_bytes(*number)),
        _ if name == "SO_BINDTODEVICE" => format!("{name} = {}", String::from_utf8_lossy(value).trim_end_matches('\0')),
        _ => name,
    }
}

/// raw(7) and `include/uapi/linux/icmp.h`; `include/uapi/linux/icmpv6.h`. A bit that is set keeps a type out.
const ICMP_FILTER: i32 = 1;
const ICMPV6_FILTER: i32 = 1;

/// Lets only errors through to a raw socket, so that other people's pings cannot fill its buffer.
pub(in crate::sys) fn filter_icmp(fd: &OwnedFd, family: Family) -> Result<()> {
    match family {
        Family::Ipv4 => {
            let errors = 1_u32 << 3 | 1 << 11 | 1 << 12;
            socket::set_bytes(fd, libc::SOL_RAW, ICMP_FILTER, &!errors)
        }
        Family::Ipv6 => {
            let errors = 1_u32 << 1 | 1 << 3 | 1 << 4;
            let blocked = [!errors, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX];
            socket::set_bytes(fd, libc::SOL_ICMPV6, ICMPV6_FILTER, &blocked)
        }
    }
}
