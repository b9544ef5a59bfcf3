//! Causes that no scenario makes, and that the kernel's sources or reports of its users know.
//!
//! They are shown as expected, never as observed.

use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Os, PortChoice};

#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub os: Os,
    pub call: Call,
    errno: &'static str,
    pub port: PortChoice,
    pub cause: Cause,
    pub family: Option<Family>,
    /// Who knows it: the kernel's source, or people who met it.
    pub by: &'static str,
    /// The place in the source, or how it comes about.
    pub how: &'static str,
}

pub fn entries(errno: ErrnoName) -> impl Iterator<Item = &'static Entry> {
    ENTRIES.iter().filter(move |entry| entry.errno == errno.as_str())
}

const SOURCE: &str = "kernel-source";
const PRACTICE: &str = "practice";

macro_rules! entries {
    ($($os:ident $call:ident $errno:ident $port:ident $cause:ident $family:expr, $by:ident $how:literal;)+) => {
        const ENTRIES: &[Entry] = &[$(Entry {
            os: Os::$os,
            call: Call::$call,
            errno: stringify!($errno),
            port: PortChoice::$port,
            cause: Cause::$cause,
            family: $family,
            by: $by,
            how: $how,
        }),+];
    };
}

entries! {
    Linux Connect EADDRNOTAVAIL Ephemeral NoSourceAddress Some(Family::Ipv6), SOURCE "net/ipv6/route.c: ip6_route_get_saddr";
    Linux Sendto EADDRNOTAVAIL Ephemeral NoSourceAddress Some(Family::Ipv6), SOURCE "net/ipv6/route.c: ip6_route_get_saddr";
    Linux Bind EADDRNOTAVAIL Ephemeral AddressNotLocal None, SOURCE "net/ipv4/af_inet.c: __inet_bind looks at the address before the port";
    Linux Bind EAFNOSUPPORT Ephemeral AddressInvalid None, SOURCE "net/ipv4/af_inet.c: __inet_bind";
    Linux Bind EPERM Explicit Permission None, SOURCE "kernel/bpf/cgroup.c: a program of the cgroup forbids bind()";
    Linux Connect EPERM Ephemeral Permission None, SOURCE "kernel/bpf/cgroup.c: a program of the cgroup forbids connect()";
    Linux Connect EACCES Ephemeral Permission None, SOURCE "net/ipv4/datagram.c: broadcast without SO_BROADCAST; security modules";
    Linux Sendto EACCES Ephemeral Permission None, SOURCE "net/ipv4/udp.c: broadcast without SO_BROADCAST";
    Linux Socket EPERM None Permission None, SOURCE "net/ipv4/af_inet.c: a raw socket takes CAP_NET_RAW";
    Linux Socket EACCES None Permission None, SOURCE "net/ipv4/ping.c: net.ipv4.ping_group_range";
    Linux Connect ETIMEDOUT Ephemeral NoAnswer None, SOURCE "net/ipv4/tcp_timer.c: tcp_write_err";
    Linux Connect ETIMEDOUT Ephemeral Filtered None, PRACTICE "a filter that drops packets looks like silence";
    Linux Connect ECONNRESET Ephemeral Refused None, SOURCE "net/ipv4/tcp_input.c: tcp_reset";
    Linux Send ECONNRESET None Refused None, SOURCE "net/ipv4/tcp_input.c: tcp_reset";
    Linux Recv ECONNRESET None Refused None, SOURCE "net/ipv4/tcp_input.c: tcp_reset";
    Linux Recv ETIMEDOUT None NoAnswer None, SOURCE "net/ipv4/tcp_timer.c: tcp_write_err";
    Linux Send ETIMEDOUT None NoAnswer None, SOURCE "net/ipv4/tcp_timer.c: tcp_write_err";
    Linux Send ECONNREFUSED None Refused None, SOURCE "net/ipv4/udp.c: __udp4_lib_err, an ICMP message about an earlier datagram";
    Linux Send ECONNREFUSED None Filtered None, PRACTICE "an ICMP message of a filter about an earlier datagram";
    Linux Sendto ECONNREFUSED Ephemeral Refused None, SOURCE "net/ipv4/udp.c: __udp4_lib_err, an ICMP message about an earlier datagram";
    Linux Send EHOSTUNREACH None Unreachable None, SOURCE "net/ipv4/udp.c: __udp4_lib_err, an ICMP message about an earlier datagram";
    Linux Send EHOSTUNREACH None Filtered None, PRACTICE "an ICMP message of a filter about an earlier datagram";
    Linux Send ENETUNREACH None NoRoute None, PRACTICE "the route went away, or an ICMP message about an earlier datagram";
    Linux Send EACCES None Filtered None, PRACTICE "an ICMP message of a filter about an earlier datagram";
    Linux Recv EHOSTUNREACH None Unreachable None, PRACTICE "an ICMP message about an earlier packet";
    Linux Accept EMFILE None DescriptorsExhausted None, SOURCE "fs/file.c: alloc_fd";
    Linux Accept ENFILE None DescriptorsExhausted None, SOURCE "fs/file_table.c: alloc_empty_file";
    Linux Socket ENFILE None DescriptorsExhausted None, SOURCE "fs/file_table.c: alloc_empty_file";
    Linux Accept ECONNABORTED None Refused None, PRACTICE "the client reset the connection before accept()";
    Macos Bind EADDRNOTAVAIL Ephemeral AddressNotLocal None, SOURCE "XNU bsd/netinet/in_pcb.c: in_pcbbind";
    Macos Connect ETIMEDOUT Ephemeral NoAnswer None, PRACTICE "a peer that does not answer";
    Macos Connect ETIMEDOUT Ephemeral Filtered None, PRACTICE "a filter that drops packets looks like silence";
    Macos Connect ECONNRESET Ephemeral Refused None, PRACTICE "a peer that resets the connection";
    Macos Send ECONNRESET None Refused None, PRACTICE "a peer that resets the connection";
    Macos Recv ECONNRESET None Refused None, PRACTICE "a peer that resets the connection";
    Macos Send ECONNREFUSED None Refused None, PRACTICE "an ICMP message about an earlier datagram";
    Macos Accept EMFILE None DescriptorsExhausted None, SOURCE "XNU bsd/kern/kern_descrip.c: fdalloc";
    Macos Accept ENFILE None DescriptorsExhausted None, SOURCE "XNU bsd/kern/kern_descrip.c: falloc";
}
