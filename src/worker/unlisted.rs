//! Sockets that the kernel's table has not: those of a case's own process are asked themselves.
//!
//! What the table lists is not its business, and other processes' sockets it cannot see.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::interpreter::{Case, Known};
use crate::names::{Need, Protocol, SocketState};
use crate::plan::Unsupported;
use crate::socket_table::SocketRow;
use crate::sys::{self, Fault, SocketTable};

/// What the socket table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    All,
    /// All but TCP sockets that are merely bound (Linux before 6.8).
    AllButBound,
    /// There is none (gVisor).
    Nothing,
}

pub fn listed() -> Listed {
    match SocketTable::open() {
        Err(errno) if errno.name() == "EPROTONOSUPPORT" => Listed::Nothing,
        _ if sys::lists_bound() => Listed::All,
        _ => Listed::AllButBound,
    }
}

/// Which port bind() gave a socket. An explicit one it keeps as long as it is open; one that the kernel chose goes back when a
/// connection ends, although getsockname(2) still names it (`tcp_set_state`, SOCK_BINDPORT_LOCK).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    No,
    Explicit,
    Ephemeral,
}

/// The rows that the socket table should have and has not.
pub fn rows(case: &Case, protocol: Protocol) -> Result<Vec<SocketRow>, Fault> {
    let mut rows = Vec::new();
    if case.listed == Listed::All || (case.listed == Listed::AllButBound && protocol != Protocol::Tcp) {
        return Ok(rows);
    }
    for known in case.sockets.values().filter(|known| known.protocol == protocol) {
        rows.extend(row(case, known)?);
    }
    for fd in &case.filled {
        // Not all of them need be sockets, nor of this protocol.
        rows.extend(match case.listed {
            Listed::Nothing => own_row(fd, protocol).unwrap_or(None),
            _ => sys::bound_row(fd).unwrap_or(None),
        });
    }
    Ok(rows)
}

/// The peer that its row has. A socket that is merely bound has none, whatever it tried to connect to: the table of a kernel
/// that lists such sockets says so, here the socket does.
pub fn peer(case: &Case, socket: &Known) -> Option<SocketAddr> {
    let is_bound = |row: SocketRow| row.state == SocketState::Bound;
    let is_bound = case.listed != Listed::All && row(case, socket).is_ok_and(|row| row.is_some_and(is_bound));
    socket.remote.filter(|_| !is_bound)
}

/// Where there is no table, nobody tells what became of a connection without a descriptor: neither that it is there nor that it
/// is gone.
pub fn can_tell(case: &Case, socket: &Known) -> Result<(), Fault> {
    if case.listed != Listed::Nothing || socket.fd.is_some() {
        return Ok(());
    }
    let reason = "there is no socket table (sock_diag), and whoever has closed a socket cannot ask it for its state";
    Err(Fault::Unsupported(Unsupported { need: Need::Linux, reason: reason.to_owned() }))
}

fn row(case: &Case, known: &Known) -> Result<Option<SocketRow>, Fault> {
    let Some(fd) = &known.fd else { return Ok(None) };
    if case.listed == Listed::Nothing {
        let row =
            own_row(fd, known.protocol)?.filter(|row| row.state != SocketState::Bound || known.bound != Bound::No);
        return Ok(row.map(|row| {
            let is_connection = !matches!(row.state, SocketState::Bound | SocketState::Listen | SocketState::Close);
            // A connection that is not established yet, or no longer, is that of the last connect(): getpeername(2) says no more.
            let remote = row.remote.or(known.remote.filter(|_| is_connection));
            SocketRow { remote, ..row }
        }));
    }
    match known.protocol {
        Protocol::Tcp if known.bound != Bound::No => Ok(sys::bound_row(fd)?),
        _ => Ok(None),
    }
}

/// What the kernel says of an open socket itself: to getsockname(2), getpeername(2), TCP_INFO and fstat(2).
fn own_row(fd: &OwnedFd, protocol: Protocol) -> Result<Option<SocketRow>, Fault> {
    let Some(local) = sys::local_name(fd)?.filter(|local| local.port() != 0) else { return Ok(None) };
    let remote = sys::peer_name(fd).unwrap_or(None);
    let state = match (protocol, sys::tcp_state(fd)) {
        (Protocol::Tcp, state) => state?,
        (Protocol::Udp, Ok(_)) => None,
        (Protocol::Udp, Err(_)) if remote.is_some() => Some(SocketState::Established),
        (Protocol::Udp, Err(_)) => Some(SocketState::Close),
    };
    let (uid, inode) = sys::owner(fd)?;
    Ok(state.map(|state| SocketRow { protocol, state, local, remote, uid, user: None, inode }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Family;
    use crate::sys::{Address, UNCONNECTED};

    /// On a kernel that has a table: what sockets say of themselves is what it says of them.
    #[test]
    fn a_socket_is_listed_as_what_it_says_it_is() {
        let any = Address::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        let open = |protocol| {
            let fd = sys::socket(Family::Ipv4, protocol).unwrap();
            sys::bind(&fd, &any).unwrap();
            fd
        };
        let (listener, client) = (open(Protocol::Tcp), open(Protocol::Tcp));
        sys::listen(&listener, 8).unwrap();
        sys::connect(&client, &Address::new(sys::local_name(&listener).unwrap().unwrap())).unwrap();
        let server = sys::accept(&listener).unwrap();
        let (bound, connected) = (open(Protocol::Udp), open(Protocol::Udp));
        sys::connect(&connected, &Address::new(sys::local_name(&bound).unwrap().unwrap())).unwrap();
        let mut states = Vec::new();
        for (protocol, fds) in
            [(Protocol::Tcp, [&listener, &client, &server]), (Protocol::Udp, [&bound, &connected, &bound])]
        {
            for fd in fds {
                let row = own_row(fd, protocol).unwrap().unwrap();
                let rows = SocketTable::open().unwrap().rows(protocol, row.local.port(), &UNCONNECTED).unwrap();
                assert!(rows.contains(&row), "{row:?} is none of {rows:?}");
                states.push(row.state);
            }
        }
        use SocketState::{Close, Established, Listen};
        assert_eq!(states, [Listen, Established, Established, Close, Established, Close]);
        assert!(own_row(&open(Protocol::Udp), Protocol::Tcp).is_err(), "a UDP socket is no TCP socket");
        assert_eq!(own_row(&client, Protocol::Udp).unwrap(), None);
    }
}
