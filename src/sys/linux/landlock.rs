//! Landlock (landlock(7)): what a process may not do any more, because it said so itself.
//!
//! It makes no exceptions: a rule would have to name a port.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::sys::{Result, check};

/// `include/uapi/linux/landlock.h`, since the fourth version of its interface (Linux 6.7).
#[repr(C)]
struct Ruleset {
    access_fs: u64,
    access_net: u64,
}

const BIND_TCP: u64 = 1 << 0;
const CONNECT_TCP: u64 = 1 << 1;

/// From now on this process, and whatever it starts, may neither bind nor connect a TCP socket.
pub fn forbid_tcp() -> Result<()> {
    let ruleset = Ruleset { access_fs: 0, access_net: BIND_TCP | CONNECT_TCP };
    // SAFETY: the pointer and the size are those of a whole ruleset; the flags are 0.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size_of::<Ruleset>(), 0) as i32
    })?;
    // SAFETY: the kernel has just handed out this descriptor, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: prctl(2) takes no pointers here.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: it takes the ruleset's descriptor, which is open, and no flags.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd.as_raw_fd(), 0) as i32 }).map(drop)
}
