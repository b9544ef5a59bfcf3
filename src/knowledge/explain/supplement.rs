//! Causes that no scenario makes, and that the kernel's sources or reports of its users know.
//!
//! They are shown as expected, never as observed.

use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Os, PortChoice};

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
    Linux Connect ECONNRESET Ephemeral Refused, SOURCE "net/ipv4/tcp_input.c: tcp_reset";
    Linux Send ECONNREFUSED None Filtered, PRACTICE "an ICMP message of a filter about an earlier datagram";
    Linux Send ENETUNREACH None NoRoute, PRACTICE "the route went away, or an ICMP message about an earlier datagram";
    Linux Accept ENFILE None DescriptorsExhausted, SOURCE "fs/file_table.c: alloc_empty_file";
    Linux Socket ENFILE None DescriptorsExhausted, SOURCE "fs/file_table.c: alloc_empty_file";
    Linux Accept ECONNABORTED None Refused, PRACTICE "the client reset the connection before accept()";
    Macos Connect ETIMEDOUT Ephemeral NoAnswer, PRACTICE "a peer that does not answer";
    Macos Connect ETIMEDOUT Ephemeral Filtered, PRACTICE "a filter that drops packets looks like silence";
    Macos Connect ECONNRESET Ephemeral Refused, PRACTICE "a peer that resets the connection";
    Macos Send ECONNRESET None Refused, PRACTICE "a peer that resets the connection";
    Macos Accept ENFILE None DescriptorsExhausted, SOURCE "XNU bsd/kern/kern_descrip.c: falloc";
}
