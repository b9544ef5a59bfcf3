//! The socket calls that Unix systems share.
//!
//! Each function is one system call, or one and what is needed to read its result. None waits by itself except
//! [`poll`]; [`bounded`] is what keeps a blocking call from lasting.

use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use socket2::{SockAddr, SockAddrStorage};

use super::{Result, check, check_size, last, os};
use crate::plan::{How, SocketOption};
use crate::words::names::{Family, Protocol};

/// An address as the kernel takes it, built once where it is used often.
pub struct Address(SockAddr);

impl Address {
    pub fn new(address: SocketAddr) -> Address {
        Address(SockAddr::from(address))
    }
}

pub fn socket(family: Family, protocol: Protocol) -> Result<OwnedFd> {
    open(family, kind(protocol), 0, Mode::Blocking)
}

/// A socket whose calls never wait, made in one call where the OS can.
pub fn socket_nonblocking(family: Family, protocol: Protocol) -> Result<OwnedFd> {
    open(family, kind(protocol), 0, Mode::Nonblocking)
}

/// A raw socket that never waits and gets every ICMP error sent to this host. It takes privileges.
pub fn icmp_socket(family: Family) -> Result<OwnedFd> {
    let protocol = match family {
        Family::Ipv4 => libc::IPPROTO_ICMP,
        Family::Ipv6 => libc::IPPROTO_ICMPV6,
    };
    let fd = open(family, libc::SOCK_RAW, protocol, Mode::Nonblocking)?;
    os::filter_icmp(&fd, family)?;
    Ok(fd)
}

fn kind(protocol: Protocol) -> i32 {
    match protocol {
        Protocol::Tcp => libc::SOCK_STREAM,
        Protocol::Udp => libc::SOCK_DGRAM,
    }
}

fn open(family: Family, kind: i32, protocol: i32, mode: Mode) -> Result<OwnedFd> {
    let domain = match family {
        Family::Ipv4 => libc::AF_INET,
        Family::Ipv6 => libc::AF_INET6,
    };
    // SAFETY: socket(2) takes no pointers.
    let fd = check(unsafe { libc::socket(domain, kind | os::socket_flags(mode), protocol) })?;
    // SAFETY: the kernel has just handed out this descriptor, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    os::after_open(&fd, mode)?;
    Ok(fd)
}

pub fn bind(fd: &OwnedFd, address: &Address) -> Result<()> {
    bind_length(fd, address, address.0.len())
}

/// bind(2) that lies about the size of the address.
pub fn bind_length(fd: &OwnedFd, address: &Address, length: u32) -> Result<()> {
    // Linux refuses more than 128 bytes before it reads them (move_addr_to_kernel(), net/socket.c), XNU more than SOCK_MAXADDRLEN,
    // 255 (getsockaddr(), bsd/kern/uipc_syscalls.c).
    #[repr(C, align(8))]
    struct Longest([u8; 256]);
    let mut longest = Longest([0; 256]);
    let size = (address.0.len() as usize).min(longest.0.len());
    // SAFETY: the address is valid for its own length, which is cut to that of the place it is copied to.
    unsafe { std::ptr::copy_nonoverlapping(address.0.as_ptr().cast::<u8>(), longest.0.as_mut_ptr(), size) };
    // SAFETY: 256 bytes are there, and no kernel reads more of an address.
    check(unsafe { libc::bind(fd.as_raw_fd(), longest.0.as_ptr().cast(), length) }).map(drop)
}

pub fn listen(fd: &OwnedFd, backlog: i32) -> Result<()> {
    // SAFETY: listen(2) takes no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

pub fn connect(fd: &OwnedFd, address: &Address) -> Result<()> {
    // SAFETY: the address is valid for the length that is passed with it.
    check(unsafe { libc::connect(fd.as_raw_fd(), address.0.as_ptr().cast(), address.0.len()) }).map(drop)
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
    let fd = os::raw_accept(fd.as_raw_fd())?;
    // SAFETY: the kernel has just handed out this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// send(2), or sendto(2) with an address, that never waits.
pub fn send(fd: &OwnedFd, data: &[u8], to: Option<&Address>) -> Result<usize> {
    let (address, length) = to.map_or((std::ptr::null(), 0), |to| (to.0.as_ptr(), to.0.len()));
    let flags = libc::MSG_DONTWAIT | os::SEND_FLAGS;
    // SAFETY: data and address are valid for the lengths that are passed with them.
    check_size(unsafe { libc::sendto(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), flags, address.cast(), length) })
}

pub fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is valid for its length.
    check_size(unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// recvfrom(2): a datagram's size and who sent it. What does not fit the buffer is lost.
pub fn receive_from(fd: &OwnedFd, buffer: &mut [u8]) -> Result<(usize, Option<SocketAddr>)> {
    let mut storage = SockAddrStorage::zeroed();
    let mut length = storage.size_of();
    // SAFETY: buffer and storage are valid for the lengths that are passed with them.
    let size = check_size(unsafe {
        let address = (&raw mut storage).cast();
        libc::recvfrom(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0, address, &mut length)
    })?;
    // SAFETY: the kernel has written an address of this length.
    Ok((size, unsafe { SockAddr::new(storage, length) }.as_socket()))
}

pub fn shutdown(fd: &OwnedFd, how: How) -> Result<()> {
    let how = match how {
        How::Read => libc::SHUT_RD,
        How::Write => libc::SHUT_WR,
        How::Both => libc::SHUT_RDWR,
    };
    // SAFETY: shutdown(2) takes no pointers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(drop)
}

pub fn close(fd: OwnedFd) -> Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: this takes the ownership of the descriptor, so that it is closed once.
    check(unsafe { libc::close(fd.into_raw_fd()) }).map(drop)
}

pub fn local_name(fd: &OwnedFd) -> Result<Option<SocketAddr>> {
    // SAFETY: the pointers are to a storage of the stated length.
    name(|address, length| unsafe { libc::getsockname(fd.as_raw_fd(), address, length) })
}

pub fn peer_name(fd: &OwnedFd) -> Result<Option<SocketAddr>> {
    // SAFETY: the pointers are to a storage of the stated length.
    name(|address, length| unsafe { libc::getpeername(fd.as_raw_fd(), address, length) })
}

fn name(call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> i32) -> Result<Option<SocketAddr>> {
    let mut storage = SockAddrStorage::zeroed();
    let mut length = storage.size_of();
    check(call((&raw mut storage).cast(), &mut length))?;
    // SAFETY: the kernel has written an address of this length.
    Ok(unsafe { SockAddr::new(storage, length) }.as_socket())
}

/// The uid of an open socket's owner, and its inode (fstat(2)).
pub fn owner(fd: &OwnedFd) -> Result<(u32, u32)> {
    // SAFETY: zeroed is a valid stat, which fstat(2) fills in.
    let stat = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        check(libc::fstat(fd.as_raw_fd(), &mut stat))?;
        stat
    };
    Ok((stat.st_uid, stat.st_ino as u32))
}

/// Whether an IPv6 socket refuses to speak IPv4.
pub fn is_v6_only(fd: &OwnedFd) -> Result<bool> {
    let (mut value, mut length) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the pointers are to an int and its length.
    check(unsafe {
        let value = (&raw mut value).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, value, &mut length)
    })?;
    Ok(value != 0)
}

/// getsockopt(SO_ERROR), which clears what it reads.
pub fn socket_error(fd: &OwnedFd) -> Result<()> {
    let (mut error, mut length) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the pointers are to an int and to its length.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &mut length)
    })?;
    if error == 0 { Ok(()) } else { Err(crate::words::errno::Errno::from_raw(os::OS, error)) }
}

pub fn set_nonblocking(fd: &OwnedFd, mode: Mode) -> Result<()> {
    let mut value = i32::from(mode == Mode::Nonblocking);
    // SAFETY: FIONBIO reads one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut value) }).map(drop)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Blocking,
    Nonblocking,
}

/// What [`poll`] waits for; errors and hang-ups always end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Readable,
    Writable,
    Error,
}

/// poll(2) on one descriptor: whether anything came within `ms`.
pub fn poll(fd: RawFd, until: Until, ms: u32) -> Result<bool> {
    let events = match until {
        Until::Readable => libc::POLLIN,
        Until::Writable => libc::POLLOUT,
        Until::Error => 0,
    };
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd, and its count is one.
    Ok(check(unsafe { libc::poll(&mut entry, 1, i32::try_from(ms).unwrap_or(i32::MAX)) })? != 0)
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
        _ => return os::set_own_option(fd, family, option),
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
    let name = std::ffi::CString::new(device).unwrap_or_default();
    // SAFETY: the name is a C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(last()),
        index => Ok(index),
    }
}
