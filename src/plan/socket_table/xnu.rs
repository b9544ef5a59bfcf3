//! The socket table of macOS as bytes: what `net.inet.tcp.pcblist_n` and `net.inet.udp.pcblist_n` give.
//!
//! A list is a header, the records of each socket, and the header again (`get_pcblist_n()`,
//! `bsd/netinet/in_pcblist.c`); the structures are those of `in_pcb.h`, `tcp_var.h` and `socketvar.h`, which XNU packs
//! to 4 bytes and has left alone from macOS 11 to 15 but for the end of `xsocket_n`. What differs from them is refused:
//! a wrong guess would witness what is not so. It reads nothing from a kernel, and no Mac's table has been through it
//! yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::SocketRow;
use crate::words::names::{Protocol, SocketState};
use crate::words::ports::PortSet;

/// `struct xinpgen`.
const HEADER: usize = 24;

/// `xi_kind` and its like, with the sizes that the record may have.
const SOCKET: (u32, &[usize]) = (0x001, &[76, 104]);
const RECEIVE_BUFFER: (u32, &[usize]) = (0x002, &[32]);
const SEND_BUFFER: (u32, &[usize]) = (0x004, &[32]);
const STATISTICS: (u32, &[usize]) = (0x008, &[136]);
const ENDPOINTS: (u32, &[usize]) = (0x010, &[104]);
const TCP: (u32, &[usize]) = (0x020, &[204]);
/// A buffer of a socket that has been closed: of its fields the length alone is set.
const NO_BUFFER: (u32, &[usize]) = (0, &[32]);

const KINDS: [(u32, &[usize]); 7] = [SOCKET, RECEIVE_BUFFER, SEND_BUFFER, STATISTICS, ENDPOINTS, TCP, NO_BUFFER];

/// `INP_IPV4`, `INP_IPV6`; a socket of `::` that also receives IPv4 has both.
const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// Why bytes are no list of sockets as it is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the messages name")]
pub enum TableError {
    /// It stops in the middle of something.
    #[error("it ends at byte {at}")]
    End { at: usize },
    /// `xig_len` is not the size of a `struct xinpgen`.
    #[error("a header of {size} bytes instead of {HEADER}, at byte {at}")]
    Header { size: usize, at: usize },
    /// A record of a kind that nobody knows, or of another size.
    #[error("record of kind {kind:#x} with {size} bytes, at byte {at}")]
    Record { kind: u32, size: usize, at: usize },
    /// A record that belongs to a socket, before the first of them.
    #[error("record of kind {kind:#x} before any socket, at byte {at}")]
    Early { kind: u32, at: usize },
    /// `inp_vflag` has neither `INP_IPV4` nor `INP_IPV6`.
    #[error("a socket of neither family (inp_vflag {flags:#x}), at byte {at}")]
    Family { flags: u8, at: usize },
    /// `t_state` has a number that `tcp_fsm.h` has not.
    #[error("TCP state {state}, on port {port}")]
    State { state: u32, port: u16 },
    /// A TCP socket without a record of its state.
    #[error("a TCP socket without a state, on port {port}")]
    Stateless { port: u16 },
}

/// The rows of a whole list, which is a header alone where there is no socket; what is wrong with it, and at which
/// byte.
pub fn rows(protocol: Protocol, list: &[u8]) -> Result<Vec<SocketRow>, TableError> {
    let mut rows = Vec::new();
    let mut socket: Option<Socket> = None;
    let mut at = rounded(header(list, 0)?);
    if list.len() == HEADER && number(list, 4)? == 0 {
        return Ok(rows);
    }
    while list.len().saturating_sub(at) > HEADER {
        let size = number(list, at)? as usize;
        let kind = number(list, at + 4)?;
        let known = KINDS.iter().find(|(known, _)| *known == kind);
        let Some(record) = list.get(at..at + size).filter(|_| known.is_some_and(|(_, sizes)| sizes.contains(&size)))
        else {
            return Err(TableError::Record { kind, size, at });
        };
        match (kind, &mut socket) {
            (kind, _) if kind == ENDPOINTS.0 => {
                rows.extend(socket.take().map(|socket| socket.row(protocol)).transpose()?);
                socket = Some(Socket::new(record, at)?);
            }
            (_, None) => return Err(TableError::Early { kind, at }),
            (kind, Some(socket)) if kind == SOCKET.0 => socket.uid = number(record, 64)?,
            (kind, Some(socket)) if kind == TCP.0 => socket.state = Some(number(record, 36)?),
            (_, Some(_)) => {}
        }
        at += rounded(size);
    }
    rows.extend(socket.map(|socket| socket.row(protocol)).transpose()?);
    // A list that was cut off has none.
    header(list, at)?;
    Ok(rows)
}

/// Which local ports the rows hold.
pub fn ports(rows: &[SocketRow]) -> PortSet {
    rows.iter().map(|row| row.local.port()).collect()
}

/// The size of the header there, which is one if it says its own.
fn header(list: &[u8], at: usize) -> Result<usize, TableError> {
    match number(list, at)? as usize {
        HEADER if list.len() >= at + HEADER => Ok(HEADER),
        size => Err(TableError::Header { size, at }),
    }
}

/// `ROUNDUP64()`.
fn rounded(size: usize) -> usize {
    size.next_multiple_of(8)
}

/// Fields are as the machine has them, and all Macs are little-endian.
fn number(bytes: &[u8], at: usize) -> Result<u32, TableError> {
    let field = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
    field.map(|field| u32::from_le_bytes(*field)).ok_or(TableError::End { at: bytes.len() })
}

/// One socket, as far as its records have been read.
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    uid: u32,
    /// `t_state`.
    state: Option<u32>,
}

impl Socket {
    /// From `struct xinpcb_n`, whose size is known.
    fn new(record: &[u8], at: usize) -> Result<Socket, TableError> {
        let family = record[44];
        let end = |port: usize, address: usize| {
            let port = u16::from_be_bytes([record[port], record[port + 1]]);
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&record[address..address + 16]);
            let address = if family & IPV6 != 0 {
                Some(IpAddr::V6(unscoped(bytes)))
            } else {
                let [.., a, b, c, d] = bytes;
                (family & IPV4 != 0).then_some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            };
            let address = address.ok_or(TableError::Family { flags: family, at })?;
            Ok::<_, TableError>(SocketAddr::new(address, port))
        };
        Ok(Socket { remote: end(16, 48)?, local: end(18, 64)?, uid: 0, state: None })
    }

    fn row(self, protocol: Protocol) -> Result<SocketRow, TableError> {
        let Socket { local, remote, uid, state } = self;
        let remote = (remote.port() != 0).then_some(remote);
        let state = match (protocol, state) {
            (Protocol::Tcp | Protocol::Mptcp, Some(state)) => tcp_state(state, local.port())?,
            (Protocol::Tcp | Protocol::Mptcp, None) => return Err(TableError::Stateless { port: local.port() }),
            (Protocol::Udp, _) if remote.is_some() => SocketState::Established,
            (Protocol::Udp, _) => SocketState::Close,
        };
        Ok(SocketRow { protocol, state, local, remote, uid, user: None, inode: 0 })
    }
}

/// The kernel writes the interface into a link-local address (`in6_embedded_scope`), behind `fe80`.
fn unscoped(mut bytes: [u8; 16]) -> Ipv6Addr {
    if bytes[0] == 0xfe && bytes[1] & 0xc0 == 0x80 {
        bytes[2..4].fill(0);
    }
    Ipv6Addr::from(bytes)
}

/// `bsd/netinet/tcp_fsm.h`. A socket with a port that is in no state yet is bound.
fn tcp_state(state: u32, port: u16) -> Result<SocketState, TableError> {
    Ok(match state {
        0 if port != 0 => SocketState::Bound,
        0 => SocketState::Close,
        1 => SocketState::Listen,
        2 => SocketState::SynSent,
        3 => SocketState::SynRecv,
        4 => SocketState::Established,
        5 => SocketState::CloseWait,
        6 => SocketState::FinWait1,
        7 => SocketState::Closing,
        8 => SocketState::LastAck,
        9 => SocketState::FinWait2,
        10 => SocketState::TimeWait,
        state => return Err(TableError::State { state, port }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATION: u64 = 7;

    fn xinpgen(count: u32) -> Vec<u8> {
        [&24_u32.to_le_bytes()[..], &count.to_le_bytes(), &GENERATION.to_le_bytes(), &GENERATION.to_le_bytes()].concat()
    }

    /// A record of this size and kind with some fields set, and what follows it up to the next.
    fn record(size: usize, kind: u32, fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; size.next_multiple_of(8)];
        bytes[..4].copy_from_slice(&(size as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        for (at, field) in fields {
            bytes[*at..at + field.len()].copy_from_slice(field);
        }
        bytes
    }

    fn address(ip: IpAddr) -> [u8; 16] {
        match ip {
            IpAddr::V6(ip) => ip.octets(),
            IpAddr::V4(ip) => {
                let mut bytes = [0; 16];
                bytes[12..].copy_from_slice(&ip.octets());
                bytes
            }
        }
    }

    /// All records of one socket, in the order in which the kernel has them.
    fn socket(local: &str, remote: &str, flags: u8, uid: u32, state: Option<u32>) -> Vec<u8> {
        let [local, remote] = [local, remote].map(|end| end.parse::<SocketAddr>().unwrap());
        let mut bytes = record(
            104,
            0x10,
            &[
                (16, &remote.port().to_be_bytes()),
                (18, &local.port().to_be_bytes()),
                (44, &[flags]),
                (48, &address(remote.ip())),
                (64, &address(local.ip())),
            ],
        );
        bytes.extend(record(104, 0x01, &[(64, &uid.to_le_bytes())]));
        bytes.extend([record(32, 0x02, &[]), record(32, 0x04, &[]), record(136, 0x08, &[])].concat());
        bytes.extend(state.map(|state| record(204, 0x20, &[(36, &state.to_le_bytes())])).unwrap_or_default());
        bytes
    }

    fn list(sockets: &[Vec<u8>]) -> Vec<u8> {
        let count = sockets.len() as u32;
        [xinpgen(count), sockets.concat(), xinpgen(count)].concat()
    }

    fn row(protocol: Protocol, state: SocketState, local: &str, remote: Option<&str>, uid: u32) -> SocketRow {
        let remote = remote.map(|remote| remote.parse().unwrap());
        SocketRow { protocol, state, local: local.parse().unwrap(), remote, uid, user: None, inode: 0 }
    }

    #[test]
    fn sockets_of_both_families_are_read() {
        let sockets = [
            socket("127.0.0.1:20000", "0.0.0.0:0", 1, 501, Some(0)),
            socket("[::]:80", "[::]:0", 3, 0, Some(1)),
            socket("127.0.0.1:20000", "127.0.0.1:20100", 1, 501, Some(10)),
            socket("[fe80:4::1]:22", "[fe80:4::2]:4000", 2, 501, Some(4)),
        ];
        let rows = rows(Protocol::Tcp, &list(&sockets)).unwrap();
        let expected = [
            row(Protocol::Tcp, SocketState::Bound, "127.0.0.1:20000", None, 501),
            row(Protocol::Tcp, SocketState::Listen, "[::]:80", None, 0),
            row(Protocol::Tcp, SocketState::TimeWait, "127.0.0.1:20000", Some("127.0.0.1:20100"), 501),
            row(Protocol::Tcp, SocketState::Established, "[fe80::1]:22", Some("[fe80::2]:4000"), 501),
        ];
        assert_eq!(rows, expected);
        assert_eq!(ports(&rows).iter().collect::<Vec<_>>(), [22, 80, 20000]);
    }

    #[test]
    fn udp_has_no_states_but_a_peer() {
        let sockets =
            [socket("0.0.0.0:53", "0.0.0.0:0", 1, 0, None), socket("10.0.0.1:5000", "10.0.0.2:53", 1, 501, None)];
        let expected = [
            row(Protocol::Udp, SocketState::Close, "0.0.0.0:53", None, 0),
            row(Protocol::Udp, SocketState::Established, "10.0.0.1:5000", Some("10.0.0.2:53"), 501),
        ];
        assert_eq!(rows(Protocol::Udp, &list(&sockets)).unwrap(), expected);
        assert_eq!(rows(Protocol::Udp, &list(&[])).unwrap(), []);
        assert_eq!(rows(Protocol::Udp, &xinpgen(0)).unwrap(), [], "an empty list is one header");
    }

    /// What macOS 11 and 12 have, and a socket that is closed while its connection is in TIME_WAIT.
    #[test]
    fn older_and_closed_sockets_are_read() {
        let mut whole = socket("127.0.0.1:1", "127.0.0.1:2", 1, 9, Some(10));
        let end = whole.split_off(104);
        let tcp = end[end.len() - 208..].to_vec();
        whole.extend(
            [record(76, 0x01, &[(64, &77_u32.to_le_bytes())]), record(32, 0, &[]), record(32, 0, &[])].concat(),
        );
        whole.extend([record(136, 0x08, &[]), tcp].concat());
        let expected = row(Protocol::Tcp, SocketState::TimeWait, "127.0.0.1:1", Some("127.0.0.1:2"), 77);
        assert_eq!(rows(Protocol::Tcp, &list(&[whole])).unwrap(), [expected]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let good = || list(&[socket("127.0.0.1:1", "0.0.0.0:0", 1, 0, Some(0))]);
        let with = |at: usize, value: u8| {
            let mut bytes = good();
            bytes[at] = value;
            bytes
        };
        #[track_caller]
        fn refused(bytes: &[u8], why: &str) {
            let said = rows(Protocol::Tcp, bytes).expect_err(why).to_string();
            assert!(said.contains(why), "{said}");
        }
        refused(&[], "it ends at byte 0");
        refused(&with(0, 32), "a header of 32 bytes");
        refused(&with(24, 112), "record of kind 0x10 with 112 bytes, at byte 24");
        refused(&with(28, 0x40), "record of kind 0x40");
        refused(&with(24 + 44, 4), "neither family (inp_vflag 0x4), at byte 24");
        let tcp = good().len() - HEADER - 208;
        refused(&with(tcp + 36, 11), "TCP state 11, on port 1");
        refused(&with(28, 0x01), "before any socket");
        refused(&list(&[socket("127.0.0.1:1", "0.0.0.0:0", 1, 0, None)]), "a TCP socket without a state");
    }

    /// Wherever it is cut off, a list is no list, and nothing panics.
    #[test]
    fn half_a_list_is_refused() {
        let whole = list(&[
            socket("127.0.0.1:1", "0.0.0.0:0", 1, 0, Some(0)),
            socket("127.0.0.1:2", "0.0.0.0:0", 1, 0, Some(1)),
        ]);
        for end in 0..whole.len() {
            assert!(rows(Protocol::Tcp, &whole[..end]).is_err(), "cut at {end} of {}", whole.len());
        }
        assert_eq!(rows(Protocol::Tcp, &whole).unwrap().len(), 2);
    }
}
