//! Calls that every Unix has, for what Linux does by calls of its own.
//!
//! If no POSIX call can do it, `absent` says so.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::SockaddrStorage;
use rustix::net::SocketFlags;

use super::os::OS;
pub use super::process::look_for as wait_for;
use super::{Fault, Mode, Result, answer, process, socket};
use crate::words::errno::Errno;

pub(super) const WAIT_FLAGS: i32 = 0;

/// The standard library has SIGPIPE ignored.
pub(super) const SEND_FLAGS: i32 = 0;

pub(super) fn socket_flags(_: Mode) -> SocketFlags {
    SocketFlags::empty()
}

pub(super) fn after_open(fd: &OwnedFd, mode: Mode) -> Result<()> {
    close_on_exec(fd)?;
    match mode {
        Mode::Blocking => Ok(()),
        Mode::Nonblocking => socket::set_nonblocking(fd, mode),
    }
}

pub(super) fn close_on_exec(fd: &OwnedFd) -> Result<()> {
    answer(rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC))
}

/// Not told without a file system of processes.
pub(super) fn threads() -> Option<usize> {
    None
}

pub(super) fn accept_on(fd: &OwnedFd) -> Result<OwnedFd> {
    answer(rustix::net::accept(fd))
}

/// Closes what a process may have inherited.
pub fn close_from(first: u32) {
    for fd in first as i32..i32::try_from(process::descriptor_limit().0).unwrap_or(i32::MAX).min(65_536) {
        // SAFETY: the caller uses none of these descriptors.
        unsafe { libc::close(fd) };
    }
}

/// Where a process finds its descriptors.
pub(super) const DESCRIPTORS: &str = "/dev/fd";

/// Nobody is found: what there is for it (libproc) has not been tried.
pub fn owners(_: u32) -> Vec<super::Owner> {
    Vec::new()
}

/// Without capabilities, it is the superuser who may.
pub fn may_bind_low_ports() -> Result<bool> {
    Ok(process::effective_uid() == 0)
}

pub fn has_address(address: IpAddr) -> Result<bool, Fault> {
    Ok(interfaces()?.iter().any(|interface| interface.address.as_ref().and_then(ip) == Some(address)))
}

pub(super) fn interfaces() -> Result<Vec<InterfaceAddress>> {
    getifaddrs().map(Iterator::collect).map_err(|errno| Errno::from_raw(OS, errno as i32))
}

pub(super) fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}
