//! Socket options that only Linux has, or numbers in its own way.
//!
//! An option that this kernel does not know gives ENOPROTOOPT; a plan may take that for `unsupported`.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::plan::SocketOption;
use crate::sys::{Fault, Result, check, socket};
use crate::words::names::Family;

/// SO_LINGER counts in seconds.
pub const SO_LINGER_SECONDS: i32 = libc::SO_LINGER;

/// What binds a socket to an interface.
pub const BOUND_INTERFACE: &str = "SO_BINDTODEVICE";

/// ip(7), `include/uapi/linux/in.h`; since 6.3.
pub(super) const IP_LOCAL_PORT_RANGE: i32 = 51;

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
        SocketOption::Mark(mark) => ((libc::SOL_SOCKET, libc::SO_MARK), mark as i32),
        SocketOption::ReuseAddr(_)
        | SocketOption::ReusePort(_)
        | SocketOption::Linger(_)
        | SocketOption::V6Only(_)
        | SocketOption::Ttl(_)
        | SocketOption::Broadcast(_)
        | SocketOption::SendTimeout(_)
        | SocketOption::ReceiveTimeout(_)
        | SocketOption::SendBuffer(_)
        | SocketOption::ReceiveBuffer(_) => return socket::set_option(fd, family, option),
    };
    Ok(socket::set_bytes(fd, level, name, &value)?)
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
