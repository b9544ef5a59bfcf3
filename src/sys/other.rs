//! A Unix that is neither Linux nor macOS: errnoscope reads findings there, and makes none.
//!
//! No worker runs here: there are no expectations for such a kernel, and no way to read its sockets. It is
//! type-checked, so that the rest of the program relies on POSIX alone.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

pub use super::absent::*;
pub use super::posix::*;
pub use super::shepherd::{Credentials, become_command, shepherd};
pub(super) use super::shepherd::{forget_signals, hold_signals};

use super::{Fault, Isolate, Isolation, Purpose, Result, exit_now, unsupported};
use crate::plan::socket_table::SocketRow;
use crate::plan::{RouteKind, SocketOption};
use crate::words::errno::Errno;
use crate::words::names::{Family, Need, Os, Protocol, SocketState};
use crate::words::ports::PortSet;

/// Whose numbers errnos are taken to have: those of 4.4BSD, as on macOS.
pub const OS: Os = Os::Macos;
/// It is none of the systems that findings know.
pub const HOST: Option<Os> = None;
pub const NAME: &str = "this system";

pub const SO_LINGER_SECONDS: i32 = libc::SO_LINGER;
pub const BOUND_INTERFACE: &str = "";
pub fn tells_owner(_: &SocketRow) -> bool {
    false
}

pub const UNCONNECTED: [SocketState; 2] = [SocketState::Listen, SocketState::Bound];

pub fn isolate(outside: Purpose, _: Isolate) -> Isolation {
    const WHY: &str = "cases and commands run on Linux and macOS";
    if outside == Purpose::Worker {
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("errnoscope worker: {WHY}\n"));
        exit_now(2);
    }
    Isolation { kind: "none", users: [0, 0], lacking: Some(WHY.to_owned()), shared: None }
}

pub(super) fn device_name(device: &str) -> std::borrow::Cow<'_, str> {
    device.into()
}

pub fn die_with_parent() {}

pub fn enter_case(_: &Isolation) -> Result<()> {
    absent()
}

pub fn leave_case(_: &Isolation, _: i32) {}

pub fn enter_directory(_: &Isolation) -> Result<(), Fault> {
    no_private_host()
}

pub(super) fn most_descriptors() -> u64 {
    u64::MAX
}

pub fn set_own_option(_: &OwnedFd, _: Family, option: &SocketOption) -> Result<(), Fault> {
    Err(unsupported(Need::Linux, format!("{NAME} has no such socket option: {option:?}")))
}

pub(super) fn filter_icmp(_: &OwnedFd, _: Family) -> Result<()> {
    Ok(())
}

pub fn read_sysctl(_: &str) -> Result<String> {
    absent()
}

pub fn write_sysctl(_: &str, _: &str) -> Result<(), Fault> {
    no_private_host()
}

pub fn add_address(_: &str, _: IpAddr, _: u8) -> Result<(), Fault> {
    no_private_host()
}

pub fn delete_address(_: &str, _: IpAddr, _: u8) -> Result<(), Fault> {
    no_private_host()
}

pub fn add_route(_: IpAddr, _: u8, _: RouteKind, _: Option<&str>) -> Result<(), Fault> {
    no_private_host()
}

pub fn route_kind(_: IpAddr) -> Result<&'static str, Fault> {
    no_private_host()
}

pub fn tcp_state(_: &OwnedFd) -> Result<Option<SocketState>> {
    absent()
}

pub fn bound_row(_: &OwnedFd) -> Result<Option<SocketRow>> {
    absent()
}

pub fn listed_inode(_: Option<&OwnedFd>) -> Result<Option<u32>> {
    Ok(None)
}

pub fn lists_bound() -> bool {
    false
}

/// No value of this type exists here.
pub struct SocketTable(std::convert::Infallible);

impl SocketTable {
    pub fn open() -> Result<SocketTable> {
        absent()
    }

    pub fn rows(&mut self, _: Protocol, _: u16, _: &[SocketState]) -> Result<Vec<SocketRow>, Fault> {
        match self.0 {}
    }

    pub fn ports(&mut self, _: Protocol) -> Result<PortSet, Fault> {
        match self.0 {}
    }
}

/// No value of this type exists here.
pub struct Tun(std::convert::Infallible);

impl Tun {
    pub fn create(_: &str) -> Result<Tun, Fault> {
        no_private_host()
    }

    pub fn answer(&mut self, _: Protocol, _: IpAddr, _: (u8, u8), _: u32) -> Result<(SocketAddr, SocketAddr), Fault> {
        match self.0 {}
    }

    pub fn receive(&mut self, _: &mut [u8]) -> Result<usize, Fault> {
        match self.0 {}
    }

    pub fn send(&mut self, _: &[u8]) -> Result<(), Fault> {
        match self.0 {}
    }
}

fn absent<T>() -> Result<T> {
    Err(Errno::from_raw(OS, libc::ENOSYS))
}
