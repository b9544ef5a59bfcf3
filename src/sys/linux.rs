//! Linux: what only it has, or what it spells in its own way.
//!
//! Each file below it has one idea; this one has what is too small for a file.

mod boot;
mod chain;
mod command;
mod delay;
mod diag;
mod error_queue;
mod file;
mod host;
mod landlock;
mod life;
mod namespace;
mod options;
mod owner;
mod route;
mod serve;
mod tun;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod uring;
mod user_namespace;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod watch;

pub use boot::boot;
pub use chain::{Chain, Line, ONWARD};
pub use command::{Credentials, become_command, descriptor_limit_of, shepherd};
pub(super) use command::{forget_signals, hold_signals};
pub use delay::carry;
pub use diag::{SocketTable, UNCONNECTED, bound_row, listed_inode, lists_bound, tcp_state, tells_owner};
pub use error_queue::receive_error;
pub use file::nameless_directory;
pub(super) use file::{DIRECTORY, has_magic_links, is_fixed, name_file, nameless_file};
pub(super) use host::{boot_session, journal_path, undo};
pub use landlock::forbid_tcp;
pub use life::{life_of, others};
pub use namespace::{
    Tables, die_with_parent, empty_directory, end_with_this, enter_case, enter_directory, isolate, leave_case,
    make_read_only, only_private, size_tables, wait_for,
};
pub(super) use options::filter_icmp;
pub use options::{BOUND_INTERFACE, SO_LINGER_SECONDS, set_own_option};
pub use owner::owners;
pub use route::{
    add_address, add_address_with_dad, add_route, add_veth, delete_address, has_address, route_kind, set_up, settle,
};
pub use serve::{listen_on, serve};
pub use tun::Tun;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use uring::Ring;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use watch::{Watch, be_watched, cannot_trace};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use super::{
    ringless::Ring,
    untraced::{Watch, be_watched, cannot_trace},
};
use std::os::fd::OwnedFd;

use rustix::net::SocketFlags;
use rustix::thread::CapabilitySet;

use super::{Fault, Result, answer};
use crate::plan::unix::UnixRow;
use crate::words::names::Os;

pub const OS: Os = Os::Linux;
pub const HOST: Option<Os> = Some(OS);
pub const NAME: &str = "Linux";

/// What the kernel calls a device of a plan's.
pub(super) fn device_name(device: &str) -> std::borrow::Cow<'_, str> {
    device.into()
}

pub(super) const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;

/// RLIMIT_NOFILE says all there is to say.
pub(super) fn most_descriptors() -> u64 {
    u64::MAX
}

/// Threads that are traced can be waited for like children.
pub(super) const WAIT_FLAGS: i32 = libc::__WALL;

pub(super) fn socket_flags(mode: super::Mode) -> SocketFlags {
    match mode {
        super::Mode::Blocking => SocketFlags::CLOEXEC,
        super::Mode::Nonblocking => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    }
}

pub(super) fn after_open(_: &OwnedFd, _: super::Mode) -> Result<()> {
    Ok(())
}

pub(super) fn accept_on(fd: &OwnedFd) -> Result<OwnedFd> {
    answer(rustix::net::accept_with(fd, SocketFlags::CLOEXEC))
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) {
    // SAFETY: the caller is a fresh process that uses none of what it inherited.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

pub fn read_sysctl(name: &str) -> Result<String> {
    let text = std::fs::read_to_string(path_of(name)).map_err(|error| super::errno_of(&error))?;
    Ok(text.trim_end().to_owned())
}

/// Every socket of the family unix of this network namespace (proc(5)).
pub fn unix_rows() -> Result<Vec<UnixRow>, Fault> {
    let text = std::fs::read("/proc/self/net/unix").map_err(|error| super::errno_of(&error))?;
    // A name may be any bytes.
    Ok(String::from_utf8_lossy(&text).lines().filter_map(UnixRow::of_line).collect())
}

/// Whether SELinux is enabled, with a policy or without: `init_sel_fs()`, security/selinux/selinuxfs.c, registers its
/// filesystem only then.
pub fn has_selinux() -> bool {
    let text = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.split_whitespace().any(|name| name == "selinuxfs")
}

/// Of the network namespace that this process is in.
pub fn write_sysctl(name: &str, value: &str) -> Result<(), Fault> {
    use std::io::Write;
    namespace::only_private()?;
    // Opened without O_CREAT: nothing can be created there, and EACCES would hide ENOENT.
    let mut file =
        std::fs::OpenOptions::new().write(true).open(path_of(name)).map_err(|error| super::errno_of(&error))?;
    Ok(file.write_all(value.as_bytes()).map_err(|error| super::errno_of(&error))?)
}

fn path_of(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// How many sockets in TIME_WAIT were taken over by a connect() of this network namespace (LINUX_MIB_TIMEWAITRECYCLED,
/// which `__inet_check_established` counts up).
pub fn time_waits_taken_over() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/net/netstat").map_err(|error| super::errno_of(&error))?;
    // A line of names, and below it one of values.
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let (names, values) = (lines.next().into_iter().flatten(), lines.next().into_iter().flatten());
    let value = names.zip(values).find(|(name, _)| *name == "TWRecycled").and_then(|(_, value)| value.parse().ok());
    value.ok_or_else(|| crate::words::errno::Errno::from_raw(OS, libc::ENOENT))
}

/// Where a process finds its descriptors.
pub(super) const DESCRIPTORS: &str = "/proc/self/fd";

/// Threads of this process, where /proc tells.
pub(super) fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

/// Whether CAP_NET_BIND_SERVICE is effective (capget(2)).
pub fn may_bind_low_ports() -> Result<bool> {
    let sets = answer(rustix::thread::capabilities(None))?;
    Ok(sets.effective.contains(CapabilitySet::NET_BIND_SERVICE))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_errno_table_agrees_with_the_c_library() {
        let libc = [
            ("EAGAIN", libc::EAGAIN),
            ("EACCES", libc::EACCES),
            ("EMFILE", libc::EMFILE),
            ("ENONET", libc::ENONET),
            ("EADDRINUSE", libc::EADDRINUSE),
            ("EADDRNOTAVAIL", libc::EADDRNOTAVAIL),
            ("EISCONN", libc::EISCONN),
            ("ENETUNREACH", libc::ENETUNREACH),
            ("EHOSTUNREACH", libc::EHOSTUNREACH),
            ("EPROTO", libc::EPROTO),
            ("ECONNREFUSED", libc::ECONNREFUSED),
            ("EINPROGRESS", libc::EINPROGRESS),
            ("EALREADY", libc::EALREADY),
            ("EHOSTDOWN", libc::EHOSTDOWN),
            ("ENOPROTOOPT", libc::ENOPROTOOPT),
            ("ENOTCONN", libc::ENOTCONN),
            ("EAFNOSUPPORT", libc::EAFNOSUPPORT),
            ("EOPNOTSUPP", libc::EOPNOTSUPP),
            ("ETIMEDOUT", libc::ETIMEDOUT),
        ];
        for (name, raw) in libc {
            assert_eq!(crate::words::errno::Errno::from_raw(super::OS, raw).name(), name);
        }
    }
}
