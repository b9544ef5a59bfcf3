//! The socket calls that Unix systems share.
//!
//! Each function is one system call, or one and what is needed to read its result. None waits by itself except
//! [`poll_all`]; [`bounded`] is what keeps a blocking call from lasting.

use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{self, AddressFamily, RecvFlags, SocketType};
use socket2::{SockAddr, SockAddrStorage};

use super::{Result, answer, check, check_size, last, os};
use crate::plan::{How, SocketForm, SocketOption};
use crate::words::names::{Family, Protocol};

/// An address as the kernel takes it, built once where it is used often.
pub struct Address(SockAddr);

impl Address {
    pub fn new(address: SocketAddr) -> Address {
        Address(SockAddr::from(address))
    }

    /// As a call takes it, for as long as this lives.
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn raw(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        (self.0.as_ptr().cast(), self.0.len())
    }
}

pub fn socket(family: Family, protocol: Protocol) -> Result<OwnedFd> {
    open(family, kind(protocol), number(protocol), Mode::Blocking)
}

/// The socket of a protocol that is asked for.
pub fn socket_of_form(family: Family, protocol: Protocol, form: SocketForm) -> Result<OwnedFd> {
    match form {
        SocketForm::Usual => socket(family, protocol),
        SocketForm::Raw => {
            let number = match protocol {
                Protocol::Tcp => Some(net::ipproto::TCP),
                Protocol::Udp => Some(net::ipproto::UDP),
                Protocol::Mptcp => number(protocol),
            };
            open(family, SocketType::RAW, number, Mode::Blocking)
        }
        SocketForm::Ping => open(family, SocketType::DGRAM, Some(icmp(family)), Mode::Blocking),
    }
}

/// A socket whose calls never wait, made in one call where the OS can.
pub fn socket_nonblocking(family: Family, protocol: Protocol) -> Result<OwnedFd> {
    open(family, kind(protocol), number(protocol), Mode::Nonblocking)
}

/// A raw socket that never waits and gets every ICMP error sent to this host. It takes privileges.
pub fn icmp_socket(family: Family) -> Result<OwnedFd> {
    let fd = open(family, SocketType::RAW, Some(icmp(family)), Mode::Nonblocking)?;
    os::filter_icmp(&fd, family)?;
    Ok(fd)
}

fn icmp(family: Family) -> net::Protocol {
    match family {
        Family::Ipv4 => net::ipproto::ICMP,
        Family::Ipv6 => net::ipproto::ICMPV6,
    }
}

fn kind(protocol: Protocol) -> SocketType {
    match protocol {
        Protocol::Tcp | Protocol::Mptcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    }
}

/// Of what is not the usual protocol of its kind. Every system may be asked for MPTCP.
fn number(protocol: Protocol) -> Option<net::Protocol> {
    /// `include/uapi/linux/in.h`.
    const IPPROTO_MPTCP: u32 = 262;
    match protocol {
        Protocol::Tcp | Protocol::Udp => None,
        Protocol::Mptcp => std::num::NonZeroU32::new(IPPROTO_MPTCP).map(net::Protocol::from_raw),
    }
}

fn open(family: Family, kind: SocketType, protocol: Option<net::Protocol>, mode: Mode) -> Result<OwnedFd> {
    let domain = match family {
        Family::Ipv4 => AddressFamily::INET,
        Family::Ipv6 => AddressFamily::INET6,
    };
    let fd = answer(net::socket_with(domain, kind, os::socket_flags(mode), protocol))?;
    os::after_open(&fd, mode)?;
    Ok(fd)
}

pub fn bind(fd: &OwnedFd, address: &Address) -> Result<()> {
    bind_length(fd, address, address.0.len())
}

/// bind(2) that lies about the size of the address.
pub fn bind_length(fd: &OwnedFd, address: &Address, length: u32) -> Result<()> {
    let longest = Longest::of(address);
    // SAFETY: 256 bytes are there, and no kernel reads more of an address.
    check(unsafe { libc::bind(fd.as_raw_fd(), longest.0.as_ptr().cast(), length) }).map(drop)
}

/// An address with room for any length that is claimed of it.
#[repr(C, align(8))]
struct Longest([u8; 256]);

impl Longest {
    // Linux refuses more than 128 bytes before it reads them (move_addr_to_kernel(), net/socket.c), XNU more than
    // SOCK_MAXADDRLEN, 255 (getsockaddr(), bsd/kern/uipc_syscalls.c).
    fn of(address: &Address) -> Longest {
        let mut longest = Longest([0; 256]);
        let size = (address.0.len() as usize).min(longest.0.len());
        // SAFETY: the address is valid for its own length, which is cut to that of the place it is copied to.
        unsafe { std::ptr::copy_nonoverlapping(address.0.as_ptr().cast::<u8>(), longest.0.as_mut_ptr(), size) };
        longest
    }
}

pub fn listen(fd: &OwnedFd, backlog: i32) -> Result<()> {
    answer(net::listen(fd, backlog))
}

pub fn connect(fd: &OwnedFd, address: &Address) -> Result<()> {
    // SAFETY: the address is valid for the length that is passed with it.
    check(unsafe { libc::connect(fd.as_raw_fd(), address.0.as_ptr().cast(), address.0.len()) }).map(drop)
}

/// connect(2) that lies about the size of the address.
pub fn connect_length(fd: &OwnedFd, address: &Address, length: u32) -> Result<()> {
    let longest = Longest::of(address);
    // SAFETY: 256 bytes are there, and no kernel reads more of an address.
    check(unsafe { libc::connect(fd.as_raw_fd(), longest.0.as_ptr().cast(), length) }).map(drop)
}

/// connect(2) with AF_UNSPEC.
pub fn disconnect(fd: &OwnedFd) -> Result<()> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a zeroed storage is a valid sockaddr of any kind.
    let address = unsafe { storage.view_as::<libc::sockaddr>() };
    address.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    // SAFETY: the pointer is to a whole sockaddr.
    check(unsafe { libc::connect(fd.as_raw_fd(), address, size_of::<libc::sockaddr>() as u32) }).map(drop)
}

pub fn accept(fd: &OwnedFd) -> Result<OwnedFd> {
    os::accept_on(fd)
}

/// send(2), or sendto(2) with an address, that never waits.
pub fn send(fd: &OwnedFd, data: &[u8], to: Option<&Address>) -> Result<usize> {
    let (address, length) = to.map_or((std::ptr::null(), 0), |to| (to.0.as_ptr(), to.0.len()));
    let flags = libc::MSG_DONTWAIT | os::SEND_FLAGS;
    // SAFETY: data and address are valid for the lengths that are passed with them.
    check_size(unsafe { libc::sendto(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), flags, address.cast(), length) })
}

pub fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    answer(net::recv(fd, buffer, RecvFlags::empty())).map(|(size, _)| size)
}

/// recvfrom(2): a datagram's size and who sent it. What does not fit the buffer is lost.
pub fn receive_from(fd: &OwnedFd, buffer: &mut [u8]) -> Result<(usize, Option<SocketAddr>)> {
    let (size, _, from) = answer(net::recvfrom(fd, buffer, RecvFlags::empty()))?;
    Ok((size, from.and_then(|from| from.try_into().ok())))
}

pub fn shutdown(fd: &OwnedFd, how: How) -> Result<()> {
    let how = match how {
        How::Read => net::Shutdown::Read,
        How::Write => net::Shutdown::Write,
        How::Both => net::Shutdown::Both,
    };
    answer(net::shutdown(fd, how))
}

pub fn close(fd: OwnedFd) -> Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: this takes the ownership of the descriptor, so that it is closed once.
    check(unsafe { libc::close(fd.into_raw_fd()) }).map(drop)
}

pub fn local_name(fd: &OwnedFd) -> Result<Option<SocketAddr>> {
    answer(net::getsockname(fd)).map(|name| name.try_into().ok())
}

pub fn peer_name(fd: &OwnedFd) -> Result<Option<SocketAddr>> {
    answer(net::getpeername(fd)).map(|name| name?.try_into().ok())
}

/// The uid of an open socket's owner, and its inode (fstat(2)).
pub fn owner(fd: &OwnedFd) -> Result<(u32, u32)> {
    let stat = answer(rustix::fs::fstat(fd))?;
    Ok((stat.st_uid, stat.st_ino as u32))
}

/// Whether an IPv6 socket refuses to speak IPv4.
pub fn is_v6_only(fd: &OwnedFd) -> Result<bool> {
    answer(net::sockopt::ipv6_v6only(fd))
}

/// getsockopt(SO_ERROR), which clears what it reads.
pub fn socket_error(fd: &OwnedFd) -> Result<()> {
    answer(answer(net::sockopt::socket_error(fd))?)
}

pub fn set_nonblocking(fd: &OwnedFd, mode: Mode) -> Result<()> {
    answer(rustix::io::ioctl_fionbio(fd, mode == Mode::Nonblocking))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Blocking,
    Nonblocking,
}

/// What a descriptor is waited for until; errors and hang-ups always end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Readable,
    Writable,
    Error,
}

/// What became of a descriptor that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What it was waited for.
    pub came: bool,
    /// An error, or that the other end has hung up.
    pub ended: bool,
}

/// poll(2) on one descriptor: whether anything came within `ms`.
pub fn poll(fd: impl AsFd, until: Until, ms: u32) -> Result<bool> {
    let ready = poll_all(&[(fd.as_fd(), until)], Some(Duration::from_millis(ms.into())))?;
    Ok(ready.iter().any(|ready| ready.came || ready.ended))
}

/// poll(2) until something comes of one of them, for so long at most.
pub fn poll_all(fds: &[(BorrowedFd<'_>, Until)], limit: Option<Duration>) -> Result<Vec<Ready>> {
    let flags = |until| match until {
        Until::Readable => PollFlags::IN,
        Until::Writable => PollFlags::OUT,
        Until::Error => PollFlags::empty(),
    };
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|(fd, until)| PollFd::from_borrowed_fd(*fd, flags(*until))).collect();
    answer(rustix::event::poll(&mut polled, limit.as_ref()))?;
    let ready = |(polled, (_, until)): (&PollFd<'_>, &(_, Until))| {
        let (came, wanted) = (polled.revents(), flags(*until));
        Ready { came: came.intersects(wanted), ended: came.intersects(wanted.complement()) }
    };
    Ok(polled.iter().zip(fds).map(ready).collect())
}

/// One typed option, by the level and name that it has for `family`.
pub fn set_option(fd: &OwnedFd, family: Family, option: &SocketOption) -> Result<(), super::Fault> {
    let socket = libc::SOL_SOCKET;
    let (level, name, value) = match *option {
        SocketOption::ReuseAddr(on) => (socket, libc::SO_REUSEADDR, i32::from(on)),
        SocketOption::ReusePort(on) => (socket, libc::SO_REUSEPORT, i32::from(on)),
        SocketOption::Broadcast(on) => (socket, libc::SO_BROADCAST, i32::from(on)),
        SocketOption::V6Only(on) => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(on)),
        SocketOption::Ttl(hops) => match family {
            Family::Ipv4 => (libc::IPPROTO_IP, libc::IP_TTL, i32::from(hops)),
            Family::Ipv6 => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, i32::from(hops)),
        },
        SocketOption::Linger(seconds) => {
            let linger = libc::linger { l_onoff: 1, l_linger: i32::from(seconds) };
            return Ok(set_bytes(fd, socket, os::SO_LINGER_SECONDS, &linger)?);
        }
        // One that is too large for the kernel's type is too large for any kernel.
        SocketOption::SendBuffer(bytes) => (socket, libc::SO_SNDBUF, i32::try_from(bytes).unwrap_or(i32::MAX)),
        SocketOption::ReceiveBuffer(bytes) => (socket, libc::SO_RCVBUF, i32::try_from(bytes).unwrap_or(i32::MAX)),
        SocketOption::SendTimeout(ms) => return Ok(limit_connect(fd, ms)?),
        SocketOption::ReceiveTimeout(ms) => {
            return Ok(set_bytes(fd, socket, libc::SO_RCVTIMEO, &super::process::timeval(ms))?);
        }
        SocketOption::BindToDevice(_)
        | SocketOption::Freebind(_)
        | SocketOption::BindAddressNoPort(_)
        | SocketOption::LocalPortRange(_)
        | SocketOption::RecvErr(_)
        | SocketOption::Linger2(_)
        | SocketOption::UserTimeout(_)
        | SocketOption::QuickAck(_)
        | SocketOption::Mark(_) => return os::set_own_option(fd, family, option),
    };
    Ok(set_bytes(fd, level, name, &value)?)
}

/// SO_SNDTIMEO: a blocking connect() that takes longer gives EINPROGRESS.
pub fn limit_connect(fd: &OwnedFd, ms: u32) -> Result<()> {
    let limit = super::process::timeval(ms);
    set_bytes(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &limit)
}

/// setsockopt(2) with a plain C value.
pub(super) fn set_bytes<T: Copy>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> Result<()> {
    // SAFETY: the pointer is to a whole T, and options are plain C structures or bytes.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size_of::<T>() as u32)
    })
    .map(drop)
}

/// The endpoint, with the scope that an interface's name stands for.
pub fn scoped(address: IpAddr, port: u16, scope: Option<&str>) -> Result<SocketAddr> {
    let mut endpoint = SocketAddr::new(address, port);
    if let (SocketAddr::V6(endpoint), Some(device)) = (&mut endpoint, scope) {
        endpoint.set_scope_id(device_index(device)?);
    }
    Ok(endpoint)
}

pub fn device_index(device: &str) -> Result<u32> {
    let name = std::ffi::CString::new(&*os::device_name(device)).unwrap_or_default();
    // SAFETY: the name is a C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(last()),
        index => Ok(index),
    }
}
