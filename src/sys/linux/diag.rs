//! The kernel's socket table, through sock_diag(7).
//!
//! The messages have one fixed layout and come by the ten thousand, so they are read where they lie in the buffer.
//! It reports rows and counts; which row is whose is `socket_table`'s business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::OS;
use crate::errno::Errno;
use crate::names::{Family, Protocol, SocketState};
use crate::socket_table::SocketRow;
use crate::sys::{Fault, Result, check, check_size};

/// `sizeof(struct nlmsghdr)`, `sizeof(struct inet_diag_msg)`.
const HEADER: usize = 16;
const MESSAGE: usize = 72;
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// Which sockets are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    /// Neither listening nor merely bound ones: these are found by scanning tables of the whole host (65,536 buckets
    /// each where this was measured), and they have a file, so whoever holds none knows that there are none.
    Connections,
}

/// The table of the namespace in which it was opened.
pub struct SocketTable {
    fd: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl SocketTable {
    pub fn open() -> Result<SocketTable> {
        // SAFETY: socket(2) takes no pointers.
        let fd = check(unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG)
        })?;
        // SAFETY: the kernel has just handed out this descriptor, and nothing else owns it.
        Ok(SocketTable { fd: unsafe { OwnedFd::from_raw_fd(fd) }, buffer: Vec::new(), sequence: 0 })
    }

    /// The sockets of both families on a local port.
    pub fn rows(&mut self, protocol: Protocol, port: u16, scope: Scope) -> Result<Vec<SocketRow>, Fault> {
        let states = match scope {
            Scope::All => u32::MAX,
            Scope::Connections => !(1 << number(SocketState::Listen) | 1 << number(SocketState::Bound)),
        };
        let mut rows = Vec::new();
        self.dump(protocol, states, port, |message| rows.extend(row(protocol, message)))?;
        Ok(rows)
    }

    /// Which local ports any socket of either family holds, as a bitmap.
    pub fn ports(&mut self, protocol: Protocol) -> Result<Vec<u64>, Fault> {
        let mut held = vec![0_u64; 1024];
        self.dump(protocol, u32::MAX, 0, |message| {
            let port = usize::from(u16::from_be_bytes([message[4], message[5]]));
            held[port / 64] |= 1 << (port % 64);
        })?;
        Ok(held)
    }

    /// Both families: for TCP in one scan by the older request, which ignores the family (`inet_diag_dump_compat`).
    fn dump(&mut self, protocol: Protocol, states: u32, port: u16, mut visit: impl FnMut(&[u8])) -> Result<(), Fault> {
        match protocol {
            Protocol::Tcp => self.ask(|sequence| any_family_request(states, port, sequence), &mut visit),
            Protocol::Udp => [Family::Ipv4, Family::Ipv6]
                .into_iter()
                .try_for_each(|family| self.ask(|sequence| request(family, states, port, sequence), &mut visit)),
        }
    }

    fn ask<const N: usize>(
        &mut self,
        request: impl Fn(u32) -> [u8; N],
        visit: &mut impl FnMut(&[u8]),
    ) -> Result<(), Fault> {
        self.sequence += 1;
        let request = request(self.sequence);
        // SAFETY: the request is valid for its length.
        check_size(unsafe { libc::send(self.fd.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) })?;
        // The kernel fills at most 32 KiB at a time (netlink_dump), and that only for those who ask for as much. What
        // it does not fill is never touched: a fresh process pays for every page.
        self.buffer.reserve(64 * 1024);
        loop {
            // SAFETY: the buffer's capacity is what it is said to be.
            let size = check_size(unsafe {
                libc::recv(self.fd.as_raw_fd(), self.buffer.as_mut_ptr().cast(), self.buffer.capacity(), 0)
            })?;
            // SAFETY: the kernel has written this many bytes.
            unsafe { self.buffer.set_len(size) };
            let end = parse(&self.buffer, self.sequence, visit)?;
            self.buffer.clear();
            if end == Dump::Done {
                return Ok(());
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Dump {
    More,
    Done,
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`, for UDP.
fn request(family: Family, states: u32, port: u16, sequence: u32) -> [u8; 72] {
    let mut request = header::<72>(SOCK_DIAG_BY_FAMILY, sequence);
    request[16] = match family {
        Family::Ipv4 => libc::AF_INET as u8,
        Family::Ipv6 => libc::AF_INET6 as u8,
    };
    request[17] = libc::IPPROTO_UDP as u8;
    request[20..24].copy_from_slice(&states.to_ne_bytes());
    request[24..26].copy_from_slice(&port.to_be_bytes());
    request
}

/// `struct nlmsghdr` and `struct inet_diag_req`, for TCP.
fn any_family_request(states: u32, port: u16, sequence: u32) -> [u8; 76] {
    let mut request = header::<76>(TCPDIAG_GETSOCK, sequence);
    request[20..22].copy_from_slice(&port.to_be_bytes());
    request[68..72].copy_from_slice(&states.to_ne_bytes());
    request
}

fn header<const N: usize>(kind: u16, sequence: u32) -> [u8; N] {
    let mut request = [0; N];
    request[..4].copy_from_slice(&(N as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
    request
}

/// Visits every `struct inet_diag_msg` in what one recv() gave.
fn parse(mut datagram: &[u8], sequence: u32, visit: &mut impl FnMut(&[u8])) -> Result<Dump, Fault> {
    let short = || Fault::Failed("sock_diag sent a message that is too short".to_owned());
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    while !datagram.is_empty() {
        let length = word(datagram, 0).ok_or_else(short)? as usize;
        let message = datagram.get(..length).filter(|message| message.len() >= HEADER).ok_or_else(short)?;
        if word(message, 8) == Some(sequence) {
            match i32::from(u16::from_ne_bytes([message[4], message[5]])) {
                libc::NLMSG_DONE => return Ok(Dump::Done),
                libc::NLMSG_ERROR => {
                    let code = word(message, HEADER).ok_or_else(short)? as i32;
                    return Err(Fault::Errno(Errno::from_raw(OS, -code)));
                }
                _ => visit(message.get(HEADER..HEADER + MESSAGE).ok_or_else(short)?),
            }
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Dump::More)
}

fn row(protocol: Protocol, message: &[u8]) -> Option<SocketRow> {
    let port = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let word = |at: usize| u32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    let address = |at: usize| match i32::from(message[0]) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::new(message[at], message[at + 1], message[at + 2], message[at + 3])),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&message[at..at + 16]).unwrap_or_default())),
    };
    let remote = SocketAddr::new(address(24), port(6));
    let state = match state(message[1])? {
        // Those that are merely bound are asked for as BOUND_INACTIVE and listed as what they are (sk_diag_fill).
        SocketState::Close if protocol == Protocol::Tcp => SocketState::Bound,
        state => state,
    };
    // A failed connect() leaves the address of its peer behind, without the port.
    let peerless = remote.port() == 0 && (remote.ip().is_unspecified() || protocol == Protocol::Tcp);
    Some(SocketRow {
        protocol,
        state,
        local: SocketAddr::new(address(8), port(4)),
        remote: (!peerless).then_some(remote),
        uid: word(64),
        inode: word(68),
    })
}

/// `include/net/tcp_states.h`, from 1 on; a bound socket is told apart since 6.8.
const STATES: [SocketState; 13] = [
    SocketState::Established,
    SocketState::SynSent,
    SocketState::SynRecv,
    SocketState::FinWait1,
    SocketState::FinWait2,
    SocketState::TimeWait,
    SocketState::Close,
    SocketState::CloseWait,
    SocketState::LastAck,
    SocketState::Listen,
    SocketState::Closing,
    SocketState::NewSynRecv,
    SocketState::Bound,
];

fn state(number: u8) -> Option<SocketState> {
    STATES.get(usize::from(number).checked_sub(1)?).copied()
}

fn number(state: SocketState) -> usize {
    STATES.iter().position(|&other| other == state).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[8..12].copy_from_slice(&7_u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    fn message() -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        message[0] = libc::AF_INET as u8;
        message[1] = 6;
        message[4..8].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        message[8..12].copy_from_slice(&[127, 0, 0, 1]);
        message[24..28].copy_from_slice(&[127, 0, 0, 2]);
        message[64..68].copy_from_slice(&60_001_u32.to_ne_bytes());
        message
    }

    #[test]
    fn a_time_wait_entry_is_read() {
        let mut bytes = fixture(SOCK_DIAG_BY_FAMILY, &message());
        bytes.extend(fixture(3, &[0; 4]));
        let mut rows = Vec::new();
        let end = parse(&bytes, 7, &mut |message: &[u8]| rows.extend(row(Protocol::Tcp, message))).unwrap();
        assert_eq!(end, Dump::Done);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].state, SocketState::TimeWait);
        assert_eq!((rows[0].local, rows[0].remote), ("127.0.0.1:40000".parse().unwrap(), "127.0.0.2:80".parse().ok()));
        assert_eq!((rows[0].uid, rows[0].inode), (60_001, 0));
    }

    #[test]
    fn a_truncated_or_failed_dump_is_no_answer() {
        let bytes = fixture(SOCK_DIAG_BY_FAMILY, &message()[..40]);
        assert!(matches!(parse(&bytes, 7, &mut |_: &[u8]| ()), Err(Fault::Failed(_))));
        let error = fixture(2, &(-2_i32).to_ne_bytes());
        assert!(matches!(parse(&error, 7, &mut |_: &[u8]| ()), Err(Fault::Errno(errno)) if errno.name() == "ENOENT"));
        assert!(matches!(parse(&error, 8, &mut |_: &[u8]| ()), Ok(Dump::More)));
    }
}
