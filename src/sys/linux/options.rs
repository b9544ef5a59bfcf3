//! Socket options that only Linux has, or numbers in its own way.
//!
//! An option that this kernel does not know is its errno (ENOPROTOOPT), which a plan may take for a lack.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::names::Family;
use crate::plan::SocketOption;
use crate::sys::{Fault, check, socket};

/// SO_LINGER counts in seconds.
pub const SO_LINGER_SECONDS: i32 = libc::SO_LINGER;

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
        SocketOption::LocalPortRange(low, high) => {
            ((libc::SOL_IP, IP_LOCAL_PORT_RANGE), (u32::from(high) << 16 | u32::from(low)) as i32)
        }
        SocketOption::QuickAck(on) => ((libc::SOL_TCP, libc::TCP_QUICKACK), i32::from(on)),
        SocketOption::Linger2(seconds) => ((libc::SOL_TCP, libc::TCP_LINGER2), seconds),
        SocketOption::UserTimeout(ms) => ((libc::SOL_TCP, libc::TCP_USER_TIMEOUT), ms),
        ref other => return Err(Fault::Failed(format!("{other:?} is not an option of Linux alone"))),
    };
    Ok(socket::set_bytes(fd, level, name, &value)?)
}
