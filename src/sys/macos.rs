//! macOS: one machine for everybody, on which cases run one at a time, and what they change is undone.
//!
//! What it lacks is a value with a reason (`absent`). It is type-checked against Apple's headers as the libc crate has
//! them, and linked, and has never run on a Mac.

mod machine;
mod orphans;
mod table;
mod utun;

pub use machine::{
    add_address, add_route, delete_address, enter_case, enter_directory, isolate, leave_case, read_sysctl, route_kind,
    write_sysctl,
};
pub(super) use machine::{boot_session, journal_path, undo};
pub use orphans::die_with_parent;
pub use table::{SocketTable, UNCONNECTED, bound_row, listed_inode, lists_bound, tcp_state, tells_owner};
pub use utun::Tun;

pub use super::absent::*;
pub use super::posix::*;
pub use super::shepherd::{Credentials, become_command, shepherd};
pub(super) use super::shepherd::{forget_signals, hold_signals};

use std::os::fd::OwnedFd;

use super::{Fault, Result, socket, unsupported};
use crate::plan::SocketOption;
use crate::words::names::{Family, Need, Os};

pub const OS: Os = Os::Macos;
pub const HOST: Option<Os> = Some(OS);
pub const NAME: &str = "macOS";

/// What the kernel calls a device of a plan's: those that it numbers, and `lo`, which is lo0 (`bsd/net/if_loop.c`).
pub(super) fn device_name(device: &str) -> std::borrow::Cow<'_, str> {
    match device {
        "lo" => machine::LOOPBACK.into(),
        _ => utun::named(device).map_or(device.into(), Into::into),
    }
}

/// SO_LINGER counts in clock ticks; this one counts in seconds (`bsd/sys/socket.h`).
pub const SO_LINGER_SECONDS: i32 = libc::SO_LINGER_SEC;

/// What binds a socket to an interface.
pub const BOUND_INTERFACE: &str = "IP_BOUND_IF";

/// `OPEN_MAX` or more: what a process may have open at most, whatever its limit says (`proc_limitgetcur_nofile()`,
/// `bsd/kern/kern_resource.c`). setrlimit(2) takes no higher one.
pub(super) fn most_descriptors() -> u64 {
    machine::number("kern.maxfilesperproc").ok().and_then(|most| most.try_into().ok()).unwrap_or(10_240)
}

pub fn set_own_option(fd: &OwnedFd, family: Family, option: &SocketOption) -> Result<(), Fault> {
    match option {
        // IP_BOUND_IF takes the interface by index.
        SocketOption::BindToDevice(device) => {
            let index = if device.is_empty() { 0 } else { socket::device_index(device)? };
            let (level, name) = match family {
                Family::Ipv4 => (libc::IPPROTO_IP, libc::IP_BOUND_IF),
                Family::Ipv6 => (libc::IPPROTO_IPV6, libc::IPV6_BOUND_IF),
            };
            Ok(socket::set_bytes(fd, level, name, &index)?)
        }
        SocketOption::QuickAck(_) => Ok(()),
        SocketOption::Freebind(_)
        | SocketOption::BindAddressNoPort(_)
        | SocketOption::LocalPortRange(_)
        | SocketOption::RecvErr(_)
        | SocketOption::Linger2(_)
        | SocketOption::UserTimeout(_)
        | SocketOption::Mark(_) => {
            Err(unsupported(Need::Linux, format!("macOS has no such socket option: {option:?}")))
        }
        SocketOption::ReuseAddr(_)
        | SocketOption::ReusePort(_)
        | SocketOption::Linger(_)
        | SocketOption::V6Only(_)
        | SocketOption::Ttl(_)
        | SocketOption::Broadcast(_)
        | SocketOption::SendTimeout(_)
        | SocketOption::ReceiveTimeout(_)
        | SocketOption::SendBuffer(_)
        | SocketOption::ReceiveBuffer(_) => socket::set_option(fd, family, option),
    }
}

/// RFC 3542 section 3.2, `bsd/netinet6/in6.h`. A bit that is set lets a type through.
const ICMP6_FILTER: i32 = 18;

/// Lets only errors through to a raw socket; for IPv4 there is no such filter.
pub(super) fn filter_icmp(fd: &OwnedFd, family: Family) -> Result<()> {
    match family {
        Family::Ipv4 => Ok(()),
        Family::Ipv6 => {
            let errors = [1_u32 << 1 | 1 << 3 | 1 << 4, 0, 0, 0, 0, 0, 0, 0];
            socket::set_bytes(fd, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &errors)
        }
    }
}
