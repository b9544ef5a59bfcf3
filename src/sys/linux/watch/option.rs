//! The names of socket options that a program has set.
//!
//! It reads numbers and bytes; it does not know whether the kernel accepted them.

use crate::sys::linux::options::IP_LOCAL_PORT_RANGE;

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
