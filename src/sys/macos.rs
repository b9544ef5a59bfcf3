//! macOS: the socket calls are there, the private host is not.
//!
//! What it lacks is a value with a reason. It has been type-checked against Apple's headers as the libc crate has them,
//! and never run on a Mac.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Ended, Fault, Flock, Isolation, Mode, Outside, Result, check, errno_of, process, socket, unsupported};
use crate::calls::{Record, Seen};
use crate::errno::Errno;
use crate::names::{Family, Need, Os, Protocol, SocketState};
use crate::plan::{Detail, RouteKind, SocketOption};
use crate::socket_table::{SocketRow, xnu};

pub const OS: Os = Os::Macos;

pub(super) const WAIT_FLAGS: i32 = 0;

/// There is no MSG_NOSIGNAL; the standard library has SIGPIPE ignored.
pub(super) const SEND_FLAGS: i32 = 0;
/// SO_LINGER counts in clock ticks; this one counts in seconds (`bsd/sys/socket.h`).
pub const SO_LINGER_SECONDS: i32 = libc::SO_LINGER_SEC;

/// What binds a socket to an interface.
pub const BOUND_INTERFACE: &str = "IP_BOUND_IF";

pub(super) fn socket_flags(_: Mode) -> i32 {
    0
}

pub(super) fn after_open(fd: &OwnedFd, mode: Mode) -> Result<()> {
    // SAFETY: F_SETFD takes an int.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    match mode {
        Mode::Blocking => Ok(()),
        Mode::Nonblocking => socket::set_nonblocking(fd, mode),
    }
}

pub(super) fn raw_accept(fd: i32) -> Result<i32> {
    // SAFETY: null pointers ask for no address.
    check(unsafe { libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut()) })
}

/// Its kernel is not one to boot from an initramfs.
pub fn boot(_: fn() -> std::process::ExitCode) -> std::process::ExitCode {
    eprintln!("errnoscope init: only Linux boots this program");
    std::process::ExitCode::from(2)
}

/// There is no O_TMPFILE.
pub fn nameless_file(_: &std::path::Path) -> std::io::Result<std::fs::File> {
    Err(std::io::ErrorKind::Unsupported.into())
}

pub fn name_file(_: &std::fs::File, _: &std::path::Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

pub fn close_from(first: u32) {
    for fd in first as i32..libc::c_int::try_from(process::descriptor_limit().0).unwrap_or(1024).min(65_536) {
        // SAFETY: the caller uses none of these descriptors.
        unsafe { libc::close(fd) };
    }
}

pub fn isolate(_: Outside) -> Isolation {
    Isolation { kind: "none", users: [60_001, 60_002], lacking: None }
}

/// There is no parent-death signal; a worker's case ends with its deadline at the latest.
pub fn die_with_parent() {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    Small,
    Large,
}

pub fn size_tables(_: Tables) {}

pub fn enter_case() -> Result<()> {
    Ok(())
}

pub fn wait_for(pid: i32, limit: Duration) -> Result<Option<Ended>> {
    let end = Instant::now() + limit;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to an int.
        if check(unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) })? == pid {
            return Ok(Some(process::ended(status)));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        process::pause_ms(0.5);
    }
}

/// Processes that a case left behind belong to launchd here, and cannot be told from others.
pub fn kill_descendants() {}

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
        other => Err(unsupported(Need::Linux, format!("macOS has no such socket option: {other:?}"))),
    }
}

pub fn receive_error(_: &OwnedFd) -> Result<(Errno, Detail), Fault> {
    Err(unsupported(Need::Linux, "macOS has no error queue"))
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

pub fn read_sysctl(name: &str) -> Result<String> {
    let name = std::ffi::CString::new(name).unwrap_or_default();
    let (mut value, mut size) = (0_i32, size_of::<i32>());
    // SAFETY: the pointers are to an int and its size; null asks for no change.
    check(unsafe { libc::sysctlbyname(name.as_ptr(), (&raw mut value).cast(), &mut size, std::ptr::null_mut(), 0) })?;
    Ok(value.to_string())
}

/// It would be the whole machine's, and nothing would put it back after a SIGKILL.
pub fn write_sysctl(_: &str, _: &str) -> Result<(), Fault> {
    no_private_host()
}

/// connect() takes none over: in_pcbconnect() fails for the 4-tuple of a socket in TIME_WAIT.
pub fn time_waits_taken_over() -> Result<u64> {
    Ok(0)
}

pub fn open_descriptors() -> Result<u64> {
    let entries = std::fs::read_dir("/dev/fd").map_err(|error| errno_of(&error))?;
    Ok(entries.count().saturating_sub(1) as u64)
}

/// Without capabilities, it is the superuser who may.
pub fn may_bind_low_ports() -> Result<bool> {
    Ok(process::effective_uid() == 0)
}

pub const UNCONNECTED: [SocketState; 2] = [SocketState::Listen, SocketState::Bound];

pub fn tcp_state(_: &OwnedFd) -> Result<Option<SocketState>> {
    Ok(None)
}

pub fn bound_row(_: &OwnedFd) -> Result<Option<SocketRow>> {
    Ok(None)
}

pub fn lists_bound() -> bool {
    true
}

/// The lists of all sockets of the machine, which anybody may read.
pub struct SocketTable;

impl SocketTable {
    pub fn open() -> Result<SocketTable> {
        Ok(SocketTable)
    }

    /// The sockets of both families on a local port: connections, and those of the [`UNCONNECTED`] that are named.
    pub fn rows(&mut self, protocol: Protocol, port: u16, named: &[SocketState]) -> Result<Vec<SocketRow>, Fault> {
        let mut rows = all_rows(protocol)?;
        rows.retain(|row| {
            let is_named = !UNCONNECTED.contains(&row.state) || named.contains(&row.state);
            row.local.port() == port && is_named
        });
        Ok(rows)
    }

    /// Which local ports any socket of either family holds, as a bitmap.
    pub fn ports(&mut self, protocol: Protocol) -> Result<Vec<u64>, Fault> {
        Ok(xnu::ports(&all_rows(protocol)?))
    }
}

fn all_rows(protocol: Protocol) -> Result<Vec<SocketRow>, Fault> {
    let name = match protocol {
        Protocol::Tcp => c"net.inet.tcp.pcblist_n",
        Protocol::Udp => c"net.inet.udp.pcblist_n",
    };
    let (nothing, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: null asks for the size alone, which leaves room for sockets that are made meanwhile.
    check(unsafe { libc::sysctlbyname(name.as_ptr(), nothing, &mut size, nothing, 0) })?;
    let mut list = vec![0_u8; size];
    // SAFETY: the buffer has as many bytes as the size says, which the kernel sets to what it wrote.
    check(unsafe { libc::sysctlbyname(name.as_ptr(), list.as_mut_ptr().cast(), &mut size, nothing, 0) })?;
    list.truncate(size);
    xnu::rows(protocol, &list).map_err(|why| {
        Fault::Failed(format!("{} is not as known, so nothing is read from it: {why}", name.to_string_lossy()))
    })
}

fn no_private_host<T>() -> Result<T, Fault> {
    Err(unsupported(
        Need::NetworkNamespace,
        "macOS has no network namespaces, and the host's own network is not touched",
    ))
}

pub fn set_up(_: &str) -> Result<(), Fault> {
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

pub fn add_veth(_: &str, _: &str) -> Result<(), Fault> {
    no_private_host()
}

pub fn has_address(address: IpAddr) -> Result<bool, Fault> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|errno| Errno::from_raw(OS, errno as i32))?;
    let addresses = interfaces.filter_map(|interface| interface.address);
    Ok(addresses.into_iter().any(|other| {
        let v4 = other.as_sockaddr_in().map(|other| IpAddr::V4(other.ip()));
        v4.or_else(|| other.as_sockaddr_in6().map(|other| IpAddr::V6(other.ip()))) == Some(address)
    }))
}

pub fn route_kind(_: IpAddr) -> Result<&'static str, Fault> {
    Err(unsupported(Need::Linux, "the routes of macOS are not read yet"))
}

pub const ONWARD: &str = "";

/// No value of this type exists here.
pub struct Chain(Infallible);

pub type Line = (Tun, Tun);

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

pub fn carry((near, _): Line, _: Duration) -> ! {
    match near.0 {}
}

pub fn listen_on(_: u16) -> Result<Vec<OwnedFd>, Fault> {
    no_private_host()
}

pub fn serve(_: Vec<OwnedFd>) -> ! {
    process::pause_for_ever()
}

/// A command runs in a world of its own or not at all, so that there is nothing to restore.
pub struct Caller;

impl Caller {
    pub fn current() -> Result<Caller> {
        Ok(Caller)
    }

    pub fn restore(&self) -> Result<(), String> {
        Ok(())
    }
}

pub fn become_command(command: &mut Command) -> Errno {
    errno_of(&command.exec())
}

pub fn shepherd(child: i32, _: Flock) -> Result<(Ended, bool)> {
    process::reap(child).map(|ended| (ended, false))
}

pub fn descriptor_limit_of(_: i32) -> Result<u64> {
    Err(Errno::from_raw(OS, libc::ENOTSUP))
}

/// No value of this type exists here.
pub struct Watch {
    pub seen: Seen,
    pub calls: Vec<Record>,
    #[expect(dead_code, reason = "it is what keeps a value from being made")]
    never: Infallible,
}

impl Watch {
    pub fn begin(_: i32) -> Result<Watch> {
        Err(Errno::from_raw(OS, libc::ENOTSUP))
    }
}

pub fn be_watched() -> Result<()> {
    Err(Errno::from_raw(OS, libc::ENOTSUP))
}

/// No value of this type exists here.
pub struct Tun(Infallible);

impl Tun {
    pub fn create(_: &str) -> Result<Tun, Fault> {
        Err(unsupported(Need::Tun, "macOS has no TUN device that a case could have to itself"))
    }

    pub fn answer_syn(&mut self, _: IpAddr, _: (u8, u8), _: u32) -> Result<(SocketAddr, SocketAddr), Fault> {
        match self.0 {}
    }

    pub fn receive(&mut self, _: &mut [u8]) -> Result<usize, Fault> {
        match self.0 {}
    }

    pub fn send(&mut self, _: &[u8]) -> Result<(), Fault> {
        match self.0 {}
    }
}
