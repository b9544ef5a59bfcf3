//! What only Linux has, for every other system: each function answers with its reason, and some types have no value.
//!
//! It makes no call. If a system has another way, that is in the system's own file.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::os::{NAME, OS, Tun};
pub use super::ringless::Ring;
pub use super::untraced::{Watch, be_watched, cannot_trace};
use super::{Fault, Life, Result, process, unsupported};
use crate::plan::unix::UnixRow;
use crate::plan::{Detail, RouteKind};
use crate::words::errno::Errno;
use crate::words::names::Need;

/// Its kernel is not one to boot from an initramfs.
pub fn boot(_: fn() -> std::process::ExitCode) -> std::process::ExitCode {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), b"errnoscope init: only Linux boots this program\n");
    std::process::ExitCode::from(2)
}

pub(super) const DIRECTORY: OFlag = OFlag::empty();

/// There is no O_TMPFILE.
pub(super) fn nameless_file(_: &OwnedFd, _: Mode) -> Result<File, nix::Error> {
    Err(nix::Error::EOPNOTSUPP)
}

pub fn nameless_directory(_: &str, _: &str) -> Result<std::path::PathBuf> {
    Err(Errno::from_raw(OS, libc::ENOTSUP))
}

pub fn empty_directory() -> Result<std::path::PathBuf> {
    Err(Errno::from_raw(OS, libc::ENOTSUP))
}

pub(super) fn name_file(_: &File, _: &OwnedFd, _: &OsStr) -> Result<(), nix::Error> {
    Err(nix::Error::EOPNOTSUPP)
}

pub(super) fn has_magic_links(_: &OwnedFd) -> bool {
    false
}

pub(super) fn is_fixed(_: &OwnedFd, _: Option<&OsStr>) -> Option<&'static str> {
    None
}

pub fn make_read_only() -> Result<(), Fault> {
    no_private_host()
}

pub fn unix_rows() -> Result<Vec<UnixRow>, Fault> {
    Err(unsupported(Need::Linux, format!("{NAME} has no list of Unix sockets that is read here")))
}

pub fn has_selinux() -> bool {
    false
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    Small,
    Large,
}

pub fn size_tables(_: Tables) {}

pub fn receive_error(_: &OwnedFd) -> Result<(Errno, Detail), Fault> {
    Err(unsupported(Need::Linux, format!("{NAME} has no error queue")))
}

pub(super) fn no_private_host<T>() -> Result<T, Fault> {
    Err(unsupported(
        Need::NetworkNamespace,
        format!("{NAME} has no network namespaces, and what this would change is everybody's"),
    ))
}

/// What is nobody's but this process's: nothing.
pub fn only_private() -> Result<(), Fault> {
    no_private_host()
}

pub fn set_up(_: &str) -> Result<(), Fault> {
    no_private_host()
}

/// Nothing is to be waited for that another call has not waited for.
pub fn settle(_: Duration) -> Result<(), Fault> {
    Ok(())
}

/// No 4-tuple is taken over from TIME_WAIT: in_pcbconnect() fails for it on macOS.
pub fn time_waits_taken_over() -> Result<u64> {
    Ok(0)
}

pub fn add_veth(_: &str, _: &str) -> Result<(), Fault> {
    no_private_host()
}

pub const ONWARD: &str = "";

/// Landlock is Linux's.
pub fn forbid_tcp() -> Result<()> {
    Err(Errno::from_raw(OS, libc::ENOSYS))
}

/// Nobody says here whether an address is to be found unique.
pub fn add_address_with_dad(_: &str, _: IpAddr, _: u8) -> Result<(), Fault> {
    no_private_host()
}

/// No value of this type exists here.
pub struct Chain(Infallible);

pub type Line = (Tun, Infallible);

impl Chain {
    pub fn single() -> Result<Chain, Fault> {
        no_private_host()
    }

    pub fn build(_: u8, _: bool) -> Result<(Chain, Option<Line>), Fault> {
        no_private_host()
    }

    pub fn server(&self) -> usize {
        match self.0 {}
    }

    pub fn enter(&self, _: usize) -> Result<(), Fault> {
        match self.0 {}
    }

    pub fn client_addresses(&self) -> Vec<(IpAddr, u8)> {
        match self.0 {}
    }

    pub fn server_addresses(&self) -> Vec<IpAddr> {
        match self.0 {}
    }

    pub fn check(&self, _: Duration) -> Result<(), Fault> {
        match self.0 {}
    }

    pub fn silence(&self, _: u8) -> Result<(), Fault> {
        match self.0 {}
    }

    pub fn refuse(&self, _: u8, _: RouteKind) -> Result<(), Fault> {
        match self.0 {}
    }

    pub fn filter(&self) -> Result<(), Fault> {
        match self.0 {}
    }
}

pub fn carry((_, never): Line, _: Duration) -> ! {
    match never {}
}

pub fn listen_on(_: u16) -> Result<Vec<OwnedFd>, Fault> {
    no_private_host()
}

pub fn serve(_: Vec<OwnedFd>) -> ! {
    process::pause_for_ever()
}

/// Nothing here has others to rely on.
pub fn life_of(_: i32) -> Result<Life> {
    Err(Errno::from_raw(OS, libc::ENOTSUP))
}

pub fn others() -> Vec<i32> {
    Vec::new()
}

/// No system but Linux has such a thing: it goes on until it notices by itself.
pub fn end_with_this(_: &mut std::process::Command) {}

pub fn descriptor_limit_of(_: i32) -> Result<u64> {
    Err(Errno::from_raw(OS, libc::ENOTSUP))
}
