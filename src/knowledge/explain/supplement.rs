//! Causes that no scenario makes, and that the kernel's sources or reports of its users know.
//!
//! They are shown as expected, never as observed.

use super::Understood;
use crate::knowledge::policy::causes::Known;
use crate::knowledge::policy::evidence::Basis;
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Os, PortChoice, Reuse};

#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub os: Os,
    pub call: Call,
    errno: &'static str,
    pub port: PortChoice,
    pub cause: Cause,
    /// Who knows it: the kernel's source, or people who met it.
    pub by: &'static str,
    /// The place in the source, or how it comes about.
    pub how: &'static str,
}

pub fn entries(errno: ErrnoName) -> impl Iterator<Item = &'static Entry> {
    ENTRIES.iter().filter(move |entry| entry.errno == errno.as_str())
}

/// What is only expected: of calls that no scenario makes so.
pub fn known(understood: &Understood, os: Os) -> Vec<Known> {
    let entries = entries(understood.errno).filter(|entry| entry.os == os);
    let known = entries.map(|entry| Known {
        os,
        call: entry.call,
        // Nobody has looked at both ways to get a port.
        port: understood.port.filter(|_| entry.port != PortChoice::None).unwrap_or(entry.port),
        errno: understood.errno,
        cause: entry.cause,
        scenario: String::new(),
        basis: Basis::Expected,
        by: entry.by.to_owned(),
        behind: false,
        protocol: None,
        family: None,
        reuse: understood.reuse.unwrap_or(Reuse::None),
        findings: 1,
        example: entry.how.to_owned(),
    });
    known.collect()
}

const SOURCE: &str = "kernel-source";
const PRACTICE: &str = "practice";

macro_rules! entries {
    ($($os:ident $call:ident $errno:ident $port:ident $cause:ident, $by:ident $how:literal;)+) => {
        const ENTRIES: &[Entry] = &[$(Entry {
            os: Os::$os,
            call: Call::$call,
            errno: stringify!($errno),
            port: PortChoice::$port,
            cause: Cause::$cause,
            by: $by,
            how: $how,
        }),+];
    };
}

entries! {
    Linux Bind EPERM Explicit Permission, SOURCE "kernel/bpf/cgroup.c: a program of the cgroup forbids bind()";
    Linux Connect EPERM Ephemeral Permission, SOURCE "kernel/bpf/cgroup.c: a program of the cgroup forbids connect()";
    Linux Connect EACCES Ephemeral Permission, SOURCE "net/ipv4/datagram.c: broadcast without SO_BROADCAST; security modules";
    Linux Connect ETIMEDOUT Ephemeral Filtered, PRACTICE "a filter that drops packets looks like silence";
    Linux Send ECONNREFUSED None Filtered, PRACTICE "an ICMP message of a filter about an earlier datagram";
    Linux Send ENETUNREACH None NoRoute, PRACTICE "the route went away, or an ICMP message about an earlier datagram";
    Linux Socket EAFNOSUPPORT None NoSourceAddress, SOURCE "net/socket.c: __sock_create, the family is not built in, switched off (ipv6.disable=1), or forbidden (seccomp, as of systemd's RestrictAddressFamilies=)";
    Linux Accept ENFILE None DescriptorsExhausted, SOURCE "fs/file_table.c: alloc_empty_file";
    Linux Socket ENFILE None DescriptorsExhausted, SOURCE "fs/file_table.c: alloc_empty_file";
    Linux Connect EADDRNOTAVAIL Ephemeral AddressNotLocal, PRACTICE "programs call it connect where bind() of a source address failed before";
    Linux Send EAGAIN None PortsExhausted, PRACTICE "programs call it send where sendto() of an unbound socket takes a port";
    Linux Recv ENETUNREACH None Unreachable, SOURCE "net/ipv4/icmp.c: icmp_err_convert, an ICMP message (3/0) about an earlier packet";
    Linux Send EHOSTDOWN None Unreachable, SOURCE "net/ipv4/icmp.c: icmp_err_convert, an ICMP message (3/7) about an earlier datagram";
    Linux Recv EHOSTDOWN None Unreachable, SOURCE "net/ipv4/icmp.c: icmp_err_convert, an ICMP message (3/7) about an earlier packet";
    Linux Sendto EHOSTDOWN Ephemeral Unreachable, SOURCE "net/ipv4/icmp.c: icmp_err_convert, an ICMP message (3/7) about an earlier datagram";
    Linux Send ENONET None Unreachable, SOURCE "net/ipv4/icmp.c: icmp_err_convert, an ICMP message (3/8) about an earlier datagram";
    Linux Recv ENONET None Unreachable, SOURCE "net/ipv4/icmp.c: icmp_err_convert, an ICMP message (3/8) about an earlier packet";
    Linux Recv ECONNRESET None Reset, SOURCE "net/ipv4/tcp_input.c: tcp_reset";
    Linux Send ECONNRESET None Reset, SOURCE "net/ipv4/tcp_input.c: tcp_reset";
    Linux Connect ECONNRESET Ephemeral Reset, SOURCE "net/ipv4/tcp_input.c: tcp_reset, after the handshake, as of tcp_abort_on_overflow";
    Linux Accept ECONNABORTED None Reset, PRACTICE "the client reset the connection before accept()";
    Linux Recv ECONNABORTED None Reset, SOURCE "net/ipv4/tcp.c: tcp_abort, by somebody on this host (ss -K)";
    Linux Send ECONNABORTED None Reset, SOURCE "net/ipv4/tcp.c: tcp_abort, by somebody on this host (ss -K)";
    Linux Sendto ENOBUFS Ephemeral QueueFull, SOURCE "include/linux/netdevice.h: net_xmit_errno, for a socket with IP_RECVERR";
    Linux Send ENOBUFS None QueueFull, SOURCE "include/linux/netdevice.h: net_xmit_errno, for a socket with IP_RECVERR";
    Linux Send EPERM None Filtered, SOURCE "net/netfilter/core.c: nf_hook_slow, a rule that drops what this host sends";
    Macos Connect ETIMEDOUT Ephemeral NoAnswer, PRACTICE "a peer that does not answer";
    Macos Connect ETIMEDOUT Ephemeral Filtered, PRACTICE "a filter that drops packets looks like silence";
    Macos Recv ECONNRESET None Reset, PRACTICE "a peer that resets the connection";
    Macos Send ECONNRESET None Reset, PRACTICE "a peer that resets the connection";
    Macos Connect ECONNRESET Ephemeral Reset, PRACTICE "a peer that resets the connection";
    Macos Accept ECONNABORTED None Reset, PRACTICE "the client reset the connection before accept()";
    Macos Recv ECONNABORTED None Reset, PRACTICE "a peer that resets the connection";
    Macos Send ECONNABORTED None Reset, PRACTICE "a peer that resets the connection";
    Macos Sendto ENOBUFS Ephemeral QueueFull, SOURCE "XNU bsd/net/classq: a full queue of the interface";
    Macos Send ENOBUFS None QueueFull, SOURCE "XNU bsd/net/classq: a full queue of the interface";
    Macos Accept ENFILE None DescriptorsExhausted, SOURCE "XNU bsd/kern/kern_descrip.c: falloc";
    Macos Connect EHOSTDOWN Ephemeral Unreachable, SOURCE "XNU bsd/netinet/in_arp.c: arp_lookup_ip, no neighbour answers for the address";
    Macos Sendto EHOSTDOWN Ephemeral Unreachable, SOURCE "XNU bsd/netinet/in_arp.c: arp_lookup_ip, no neighbour answers for the address";
    Macos Send EHOSTDOWN None Unreachable, SOURCE "XNU bsd/netinet/in_arp.c: arp_lookup_ip, no neighbour answers for the address";
}
