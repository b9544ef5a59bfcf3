//! The kernel's socket table, through sock_diag(7).
//!
//! There are tens of thousands of messages, so each is read in place, and only its header. It reports rows and counts;
//! `socket_table` finds out which socket a row is.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    DecodeError, Emitable, ErrorBuffer, ErrorMessage, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NetlinkHeader, Parseable,
};
use netlink_packet_sock_diag::constants::SOCK_DIAG_BY_FAMILY;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use rustix::buffer::spare_capacity;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::OS;
use crate::plan::socket_table::SocketRow;
use crate::sys::{Fault, Result, answer, check};
use crate::words::errno::Errno;
use crate::words::names::{Family, Protocol, SocketState};
use crate::words::ports::PortSet;

/// `include/uapi/linux/inet_diag.h`; the crate knows only its successor.
const TCPDIAG_GETSOCK: u16 = 18;

/// Whether the kernel lists who made a socket: of one without a file it does not know.
pub fn tells_owner(row: &SocketRow) -> bool {
    row.inode != 0
}

/// Sockets that listen or are merely bound are found by scanning tables of the whole host (65,536 buckets each where
/// this was measured), so that they are asked for only where there may be any. They have a file: who holds it can ask
/// [`tcp_state`].
pub const UNCONNECTED: [SocketState; 2] = [SocketState::Listen, SocketState::Bound];

/// The state of a TCP socket by itself, without the table (TCP_INFO).
pub fn tcp_state(fd: &OwnedFd) -> Result<Option<SocketState>> {
    // `tcpi_state` is the first byte of `struct tcp_info`, and the kernel writes as much as there is room for.
    let (mut number, mut length) = (0_u8, 1);
    // SAFETY: the pointers are to a byte and to its length.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut number).cast(), &mut length)
    })?;
    Ok(state(Protocol::Tcp, number))
}

/// A TCP socket that is merely bound, as the table would list it: what the kernel says of the socket itself, to
/// getsockname(2), TCP_INFO and fstat(2).
pub fn bound_row(fd: &OwnedFd) -> Result<Option<SocketRow>> {
    let local = crate::sys::local_name(fd)?.filter(|local| local.port() != 0);
    let (Some(local), Some(SocketState::Bound)) = (local, tcp_state(fd)?) else { return Ok(None) };
    let (uid, inode) = crate::sys::owner(fd)?;
    Ok(Some(SocketRow {
        protocol: Protocol::Tcp,
        state: SocketState::Bound,
        local,
        remote: None,
        uid,
        user: None,
        inode,
    }))
}

/// The inode by which the table lists the socket of a descriptor (`sock_i_ino`, which is what fstat(2) gives), and that
/// of one whose descriptor is closed: none.
pub fn listed_inode(fd: Option<&OwnedFd>) -> Result<Option<u32>> {
    fd.map_or(Ok(Some(0)), |fd| Ok(Some(crate::sys::owner(fd)?.1)))
}

/// Whether the table has TCP sockets that are merely bound. Linux 6.8 lists them (91051f003948, "tcp: Dump bound-only
/// sockets in inet_diag"), as do older kernels whose makers took that over.
pub fn lists_bound() -> bool {
    let listed = || -> Result<bool, Fault> {
        let fd = crate::sys::socket(Family::Ipv4, Protocol::Tcp)?;
        crate::sys::bind(&fd, &crate::sys::Address::new(SocketAddr::from(([0, 0, 0, 0], 0))))?;
        let Some(row) = bound_row(&fd)? else { return Ok(false) };
        Ok(SocketTable::open()?.rows(Protocol::Tcp, row.local.port(), &UNCONNECTED)?.contains(&row))
    };
    listed().unwrap_or(false)
}

/// The table of the namespace in which it was opened.
pub struct SocketTable {
    fd: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl SocketTable {
    pub fn open() -> Result<SocketTable> {
        let (family, kind, protocol) = (AddressFamily::NETLINK, SocketType::RAW, net::netlink::SOCK_DIAG);
        let fd = answer(net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)))?;
        Ok(SocketTable { fd, buffer: Vec::new(), sequence: 0 })
    }

    /// The sockets of both families on a local port, or on any where it is 0: connections, and those of the
    /// [`UNCONNECTED`] that are named.
    pub fn rows(&mut self, protocol: Protocol, port: u16, named: &[SocketState]) -> Result<Vec<SocketRow>, Fault> {
        let left_out = UNCONNECTED.into_iter().filter(|state| !named.contains(state));
        let states = left_out.fold(u32::MAX, |states, state| states & !(1 << number(state)));
        let mut rows = Vec::new();
        self.dump(protocol, states, port, |header| rows.extend(row(protocol, &header)))?;
        Ok(rows)
    }

    /// Which local ports any socket of either family holds.
    pub fn ports(&mut self, protocol: Protocol) -> Result<PortSet, Fault> {
        let mut held = PortSet::new();
        self.dump(protocol, u32::MAX, 0, |header| {
            held.insert(header.socket_id.source_port);
        })?;
        Ok(held)
    }

    /// Both families: for TCP in one scan by the older request, which ignores the family (`inet_diag_dump_compat`).
    fn dump(&mut self, protocol: Protocol, states: u32, port: u16, mut visit: impl Visit) -> Result<(), Fault> {
        match protocol {
            Protocol::Tcp | Protocol::Mptcp => {
                self.ask(|sequence| any_family_request(states, port, sequence), &mut visit)
            }
            Protocol::Udp => [Family::Ipv4, Family::Ipv6]
                .into_iter()
                .try_for_each(|family| self.ask(|sequence| request(family, states, port, sequence), &mut visit)),
        }
    }

    fn ask(&mut self, request: impl Fn(u32) -> Vec<u8>, visit: &mut impl Visit) -> Result<(), Fault> {
        self.sequence += 1;
        let request = request(self.sequence);
        answer(net::send(&self.fd, &request, SendFlags::empty()))?;
        // The kernel fills at most 32 KiB at a time (netlink_dump), and that only for those who ask for as much. What
        // it does not fill is never touched: a fresh process pays for every page.
        self.buffer.reserve(64 * 1024);
        loop {
            answer(net::recv(&self.fd, spare_capacity(&mut self.buffer), RecvFlags::empty()))?;
            let end = parse(&self.buffer, self.sequence, visit)?;
            self.buffer.clear();
            if end == Dump::Done {
                return Ok(());
            }
        }
    }
}

/// What is done with each socket of a dump.
trait Visit: FnMut(InetResponseHeader) {}
impl<T: FnMut(InetResponseHeader)> Visit for T {}

#[derive(Debug, PartialEq, Eq)]
enum Dump {
    More,
    Done,
}

/// For UDP.
fn request(family: Family, states: u32, port: u16, sequence: u32) -> Vec<u8> {
    let family = match family {
        Family::Ipv4 => libc::AF_INET as u8,
        Family::Ipv6 => libc::AF_INET6 as u8,
    };
    let request = InetRequest {
        family,
        protocol: libc::IPPROTO_UDP as u8,
        extensions: ExtensionFlags::empty(),
        // The crate has no name for BOUND_INACTIVE, which is among these bits.
        states: StateFlags::from_bits_retain(states),
        socket_id: SocketId { source_port: port, ..SocketId::new_v4() },
    };
    message(SOCK_DIAG_BY_FAMILY, request.buffer_len(), sequence, |payload| request.emit(payload))
}

/// `struct inet_diag_req`, for TCP, which the crate has not: family, two lengths, extensions, `struct
/// inet_diag_sockid`, states, and a word of no use.
fn any_family_request(states: u32, port: u16, sequence: u32) -> Vec<u8> {
    let id = SocketId { source_port: port, ..SocketId::new_v4() };
    let end = 4 + id.buffer_len();
    message(TCPDIAG_GETSOCK, end + 8, sequence, |payload| {
        id.emit(&mut payload[4..end]);
        payload[end..end + 4].copy_from_slice(&states.to_ne_bytes());
    })
}

fn message(kind: u16, length: usize, sequence: u32, write: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    let start = header.buffer_len();
    header.length = (start + length) as u32;
    header.message_type = kind;
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let mut bytes = vec![0; start + length];
    header.emit(&mut bytes);
    write(&mut bytes[start..]);
    bytes
}

/// Visits every socket in what one recv() gave.
fn parse(mut datagram: &[u8], sequence: u32, visit: &mut impl Visit) -> Result<Dump, Fault> {
    let unread = |error: DecodeError| Fault::Failed(format!("sock_diag: {error}"));
    while !datagram.is_empty() {
        let message = NetlinkBuffer::new_checked(datagram).map_err(unread)?;
        if message.sequence_number() == sequence {
            match message.message_type() {
                NLMSG_DONE => return Ok(Dump::Done),
                NLMSG_ERROR => {
                    let payload = message.payload();
                    let error = ErrorBuffer::new_checked(&payload).map_err(unread)?;
                    let error = ErrorMessage::parse(&error).map_err(unread)?;
                    return Err(Fault::Errno(Errno::from_raw(OS, -error.raw_code())));
                }
                _ => visit(InetResponseHeader::parse(message.payload()).map_err(unread)?),
            }
        }
        datagram = datagram.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Dump::More)
}

fn row(protocol: Protocol, header: &InetResponseHeader) -> Option<SocketRow> {
    let id = &header.socket_id;
    let remote = SocketAddr::new(id.destination_address, id.destination_port);
    // A failed connect() leaves the address of its peer behind, without the port.
    let peerless = remote.port() == 0 && (remote.ip().is_unspecified() || protocol == Protocol::Tcp);
    Some(SocketRow {
        protocol,
        state: state(protocol, header.state)?,
        local: SocketAddr::new(id.source_address, id.source_port),
        remote: (!peerless).then_some(remote),
        uid: header.uid,
        user: None,
        inode: header.inode,
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

fn state(protocol: Protocol, number: u8) -> Option<SocketState> {
    match STATES.get(usize::from(number).checked_sub(1)?).copied()? {
        // Those that are merely bound are asked for as BOUND_INACTIVE and listed as what they are (sk_diag_fill).
        SocketState::Close if protocol == Protocol::Tcp => Some(SocketState::Bound),
        state => Some(state),
    }
}

fn number(state: SocketState) -> usize {
    STATES.iter().position(|&other| other == state).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(kind: u16, payload: &[u8]) -> Vec<u8> {
        message(kind, payload.len(), 7, |to| to.copy_from_slice(payload))
    }

    fn time_wait() -> [u8; 72] {
        let mut message = [0; 72];
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
        let mut bytes = fixture(SOCK_DIAG_BY_FAMILY, &time_wait());
        bytes.extend(fixture(3, &[0; 4]));
        let mut rows = Vec::new();
        let end = parse(&bytes, 7, &mut |header: InetResponseHeader| rows.extend(row(Protocol::Tcp, &header))).unwrap();
        assert_eq!(end, Dump::Done);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].state, SocketState::TimeWait);
        assert_eq!((rows[0].local, rows[0].remote), ("127.0.0.1:40000".parse().unwrap(), "127.0.0.2:80".parse().ok()));
        assert_eq!((rows[0].uid, rows[0].inode), (60_001, 0));
    }

    #[test]
    fn a_truncated_or_failed_dump_is_no_answer() {
        let bytes = fixture(SOCK_DIAG_BY_FAMILY, &time_wait()[..40]);
        assert!(matches!(parse(&bytes, 7, &mut |_: InetResponseHeader| ()), Err(Fault::Failed(_))));
        let error = fixture(2, &(-2_i32).to_ne_bytes());
        assert!(
            matches!(parse(&error, 7, &mut |_: InetResponseHeader| ()), Err(Fault::Errno(errno)) if errno.name() == "ENOENT")
        );
        assert!(matches!(parse(&error, 8, &mut |_: InetResponseHeader| ()), Ok(Dump::More)));
    }
}
