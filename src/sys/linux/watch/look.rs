//! Looks at a stopped thread: its memory and its sockets.
//!
//! It changes neither, and does not know what the thread does next.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::sys::{Result, check, local_name, peer_name};
use crate::words::names::{Family, Protocol, Reuse};

/// The longest address of a family that is looked at, `struct sockaddr_in6`.
const LONGEST_ADDRESS: usize = 28;
/// A pidfd for a thread instead of its process (`include/uapi/linux/pidfd.h`; since 6.9).
const PIDFD_THREAD: i32 = libc::O_EXCL;

/// What its descriptors can be had by: a thread may have its own, and the first of a process may be gone before the
/// others.
pub(super) fn pidfd(thread: i32, process: i32) -> Result<OwnedFd> {
    let open = |pid: i32, flags: i32| {
        // SAFETY: pidfd_open(2) takes no pointers; the descriptor is new.
        let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) } as i32)?;
        // SAFETY: as above.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    open(thread, PIDFD_THREAD).or_else(|_| open(process, 0))
}

pub(super) fn is_thread_of(thread: i32, process: i32) -> bool {
    // SAFETY: tgkill(2) takes no pointers; signal 0 only asks.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, 0) == 0 }
}

/// Somebody else's socket of IPv4 or IPv6, by a descriptor of our own.
pub(super) struct Socket {
    fd: OwnedFd,
    pub family: Family,
    /// Its name, where it has a port.
    pub local: Option<SocketAddr>,
}

impl Socket {
    /// `None` of any other descriptor, and of one that is not there.
    pub fn of(pidfd: &OwnedFd, descriptor: i32) -> Option<Socket> {
        // SAFETY: pidfd_getfd(2) takes no pointers; the descriptor is new.
        let fd =
            check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), descriptor, 0) } as i32).ok()?;
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // One that has no name yet has an address of its family, all zeroes.
        let local = local_name(&fd).ok()??;
        Some(Socket { fd, family: Family::of(local.ip()), local: Some(local).filter(|local| local.port() != 0) })
    }

    pub fn protocol(&self) -> Option<Protocol> {
        match self.option(libc::SO_PROTOCOL)? {
            libc::IPPROTO_TCP => Some(Protocol::Tcp),
            libc::IPPROTO_UDP => Some(Protocol::Udp),
            libc::IPPROTO_MPTCP => Some(Protocol::Mptcp),
            _ => None,
        }
    }

    pub fn reuse(&self) -> Reuse {
        let is_set = |name| self.option(name).is_some_and(|value| value != 0);
        match (is_set(libc::SO_REUSEADDR), is_set(libc::SO_REUSEPORT)) {
            (false, false) => Reuse::None,
            (true, false) => Reuse::Addr,
            (false, true) => Reuse::Port,
            (true, true) => Reuse::Both,
        }
    }

    pub fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        peer_name(&self.fd).ok().flatten()
    }

    pub fn inode(&self) -> Option<u64> {
        nix::sys::stat::fstat(&self.fd).ok().map(|stat| stat.st_ino)
    }

    fn option(&self, name: i32) -> Option<i32> {
        let (mut value, mut length) = (0_i32, size_of::<i32>() as u32);
        let place = (&raw mut value).cast();
        // SAFETY: the pointers are to an int and to its size.
        check(unsafe { libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_SOCKET, name, place, &mut length) }).ok()?;
        Some(value)
    }
}

/// What the arguments of socket() ask for.
pub(super) fn kind(domain: i32, kind: i32, number: i32) -> (Option<Family>, Option<Protocol>) {
    let family = match domain {
        libc::AF_INET => Some(Family::Ipv4),
        libc::AF_INET6 => Some(Family::Ipv6),
        _ => None,
    };
    let protocol = match (kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), number) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Some(Protocol::Tcp),
        (libc::SOCK_STREAM, libc::IPPROTO_MPTCP) => Some(Protocol::Mptcp),
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Some(Protocol::Udp),
        _ => None,
    };
    (family, protocol)
}

/// How much of it could be read.
pub(super) fn memory(thread: i32, place: u64, bytes: &mut [u8]) -> usize {
    let there = [RemoteIoVec { base: place as usize, len: bytes.len() }];
    process_vm_readv(Pid::from_raw(thread), &mut [IoSliceMut::new(bytes)], &there).unwrap_or(0)
}

/// An address that a thread has in its memory, if it is one of IPv4 or IPv6.
pub(super) fn address(thread: i32, place: u64, length: u64) -> Option<SocketAddr> {
    if place == 0 || length < 16 {
        return None;
    }
    let mut bytes = [0; LONGEST_ADDRESS];
    let size = memory(thread, place, &mut bytes[..LONGEST_ADDRESS.min(length as usize)]);
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
        libc::AF_INET if size >= 16 => {
            let address: [u8; 4] = bytes[4..8].try_into().ok()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), port))
        }
        libc::AF_INET6 if size >= 24 => {
            let address: [u8; 16] = bytes[8..24].try_into().ok()?;
            Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), port))
        }
        _ => None,
    }
}

/// `struct msghdr`, as far as it is looked at, and what it points to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    name: (u64, u64),
    control: (u64, u64),
}

impl Message {
    pub const SIZE: usize = size_of::<libc::msghdr>();

    /// From the bytes of one.
    pub fn new(bytes: &[u8]) -> Option<Message> {
        let word = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let name = (word(std::mem::offset_of!(libc::msghdr, msg_name))?, {
            let at = std::mem::offset_of!(libc::msghdr, msg_namelen);
            u64::from(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        });
        let control = (
            word(std::mem::offset_of!(libc::msghdr, msg_control))?,
            word(std::mem::offset_of!(libc::msghdr, msg_controllen))?,
        );
        Some(Message { name, control })
    }

    pub fn read(thread: i32, place: u64) -> Option<Message> {
        let mut bytes = [0; Message::SIZE];
        let size = memory(thread, place, &mut bytes);
        Message::new(&bytes[..size])
    }

    pub fn address(self, thread: i32) -> Option<SocketAddr> {
        address(thread, self.name.0, self.name.1)
    }

    /// The control messages: level, type and payload of each.
    pub fn control(self, thread: i32) -> Vec<(i32, i32, Vec<u8>)> {
        let mut bytes = vec![0; (self.control.1 as usize).min(1024)];
        let size = memory(thread, self.control.0, &mut bytes);
        control_messages(&bytes[..size])
    }
}

/// What a program has in the place of its control messages: as many as are whole.
fn control_messages(mut rest: &[u8]) -> Vec<(i32, i32, Vec<u8>)> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut found = Vec::new();
    while rest.len() >= HEADER {
        let int = |at: usize| i32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let at = std::mem::offset_of!(libc::cmsghdr, cmsg_len);
        let length = usize::from_ne_bytes(rest[at..at + size_of::<usize>()].try_into().unwrap_or_default());
        if !(HEADER..=rest.len()).contains(&length) {
            break;
        }
        let (level, kind) =
            (std::mem::offset_of!(libc::cmsghdr, cmsg_level), std::mem::offset_of!(libc::cmsghdr, cmsg_type));
        found.push((int(level), int(kind), rest[HEADER..length].to_vec()));
        rest = rest.get(length.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control message of this level, type and payload that says of itself that it has this length.
    fn message(length: usize, level: i32, kind: i32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([level, kind].iter().flat_map(|number| number.to_ne_bytes()));
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
        bytes
    }

    #[test]
    fn control_messages_are_read_as_far_as_they_are_whole() {
        const HEADER: usize = size_of::<libc::cmsghdr>();
        let first = message(HEADER + 3, 1, 2, b"abc");
        let second = message(HEADER + 8, 3, 4, b"defghijk");
        let both = [first.clone(), second].concat();
        let whole = vec![(1, 2, b"abc".to_vec()), (3, 4, b"defghijk".to_vec())];
        assert_eq!(control_messages(&both), whole);
        for end in 0..both.len() {
            assert!(whole.starts_with(&control_messages(&both[..end])), "{end}");
        }
        // A program may have written any length there.
        for length in [0, 1, HEADER - 1, both.len() + 1, usize::MAX, usize::MAX - 3] {
            let strange = [first.clone(), message(length, 3, 4, b"defghijk")].concat();
            assert_eq!(control_messages(&strange), whole[..1], "{length}");
        }
    }

    #[test]
    fn a_message_is_read_from_as_many_bytes_as_it_has() {
        assert!(Message::new(&[0; Message::SIZE]).is_some());
        assert!((0..Message::SIZE).any(|size| Message::new(&vec![0; size]).is_none()));
    }
}
