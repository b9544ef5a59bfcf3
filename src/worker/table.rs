//! The socket table of a case: what the kernel lists, and the case's own sockets that the kernel does not list, which
//! are asked one by one.
//!
//! Nobody can ask the sockets of other processes.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::case::{Bound, Known, Listed, RunningCase};
use crate::plan::Unsupported;
use crate::plan::socket_table::{SocketRow, Sought};
use crate::sys::{self, Fault, SocketTable};
use crate::words::errno::ErrnoName;
use crate::words::names::{Need, Protocol, SocketState};
use crate::words::ports::PortSet;

pub fn listed() -> Listed {
    match SocketTable::open() {
        Err(errno) if errno.is(ErrnoName::EPROTONOSUPPORT) => Listed::Nothing,
        _ if sys::lists_bound() => Listed::All,
        _ => Listed::AllButBound,
    }
}

/// The rows of a port. All sockets in the namespace are this case's, so that only one that is open here or was filled
/// in can listen or be merely bound.
pub fn rows(case: &mut RunningCase<'_>, protocol: Protocol, port: u16) -> Result<Vec<SocketRow>, Fault> {
    let mut rows = if case.listed == Listed::Nothing { Vec::new() } else { listed_rows(case, protocol, port)? };
    rows.extend(unlisted(case, protocol)?);
    // The kernel lists all that are merely bound, whatever port is asked for.
    rows.retain(|row| row.local.port() == port);
    for row in rows.iter_mut().filter(|row| sys::tells_owner(row)) {
        row.user = case.isolation.user_of(row.uid);
    }
    Ok(rows)
}

fn listed_rows(case: &mut RunningCase<'_>, protocol: Protocol, port: u16) -> Result<Vec<SocketRow>, Fault> {
    let mut named = if case.has_filled { sys::UNCONNECTED.to_vec() } else { Vec::new() };
    let here = |known: &&Known| known.table() == Some(Protocol::Tcp) && known.local.is_some_and(|at| at.port() == port);
    for fd in case.sockets.values().filter(here).filter_map(|known| known.fd.as_ref()) {
        named.extend(sys::tcp_state(fd)?);
    }
    case.table()?.rows(protocol, port, &named)
}

/// The ports of either family that any socket holds.
pub fn ports(case: &mut RunningCase<'_>, protocol: Protocol) -> Result<PortSet, Fault> {
    let mut held = if case.listed == Listed::Nothing { PortSet::new() } else { case.table()?.ports(protocol)? };
    for row in unlisted(case, protocol)? {
        held.insert(row.local.port());
    }
    Ok(held)
}

/// The rows that the kernel's table should have and has not.
fn unlisted(case: &RunningCase, protocol: Protocol) -> Result<Vec<SocketRow>, Fault> {
    let mut rows = Vec::new();
    if case.listed == Listed::All || (case.listed == Listed::AllButBound && protocol != Protocol::Tcp) {
        return Ok(rows);
    }
    for known in case.sockets.values().filter(|known| known.table() == Some(protocol)) {
        rows.extend(row(case, known)?);
    }
    for fd in &case.filled {
        // Not all of them need be sockets, nor of this protocol.
        rows.extend(match case.listed {
            Listed::Nothing => own_row(fd, protocol).unwrap_or(None),
            Listed::All | Listed::AllButBound => sys::bound_row(fd).unwrap_or(None),
        });
    }
    Ok(rows)
}

/// By what a socket is to be found among the rows; nothing where it has no name.
pub fn sought(case: &RunningCase, socket: &Known) -> Result<Option<Sought>, Fault> {
    let (Some(local), Some(protocol)) = (socket.local, socket.table()) else { return Ok(None) };
    let inode = if case.listed == Listed::Nothing { None } else { sys::listed_inode(socket.fd.as_ref())? };
    Ok(Some(Sought { protocol, local, remote: peer(case, socket), inode }))
}

/// The peer that its row has; none if another socket of the case has taken both its names over, as one may take those
/// of one in TIME_WAIT (`tcp_twsk_unique`, net/ipv4/tcp_ipv4.c). Where the kernel lists a socket that is merely bound,
/// it names whatever that last tried to connect to; one that is asked itself has none.
fn peer(case: &RunningCase, socket: &Known) -> Option<SocketAddr> {
    let has_followed = |other: &&Known| {
        (other.table(), other.local, other.remote) == (Some(Protocol::Tcp), socket.local, socket.remote)
            && other.joined > socket.joined
    };
    if case.sockets.values().find(has_followed).is_some() {
        return None;
    }
    let is_bound = |row: SocketRow| row.state == SocketState::Bound;
    let is_bound = case.listed != Listed::All && row(case, socket).is_ok_and(|row| row.is_some_and(is_bound));
    socket.remote.filter(|_| !is_bound)
}

/// Where there is no table, nobody tells what became of a connection without a descriptor: neither that it is there nor
/// that it is gone.
pub fn can_tell(case: &RunningCase, socket: &Known) -> Result<(), Fault> {
    if case.listed != Listed::Nothing || socket.fd.is_some() {
        return Ok(());
    }
    let reason = "there is no socket table (sock_diag), and whoever has closed a socket cannot ask it for its state";
    Err(Fault::Unsupported(Unsupported { need: Need::Linux, reason: reason.to_owned().into() }))
}

fn row(case: &RunningCase, known: &Known) -> Result<Option<SocketRow>, Fault> {
    let (Some(fd), Some(protocol)) = (&known.fd, known.table()) else { return Ok(None) };
    if case.listed == Listed::Nothing {
        let row = own_row(fd, protocol)?.filter(|row| row.state != SocketState::Bound || known.bound != Bound::No);
        return Ok(row.map(|row| {
            let is_connection = !matches!(row.state, SocketState::Bound | SocketState::Listen | SocketState::Close);
            // A connection that is not established yet, or no longer, is that of the last connect(): getpeername(2)
            // says no more.
            let remote = row.remote.or(known.remote.filter(|_| is_connection));
            SocketRow { remote, ..row }
        }));
    }
    match protocol {
        Protocol::Tcp | Protocol::Mptcp if known.bound != Bound::No => Ok(sys::bound_row(fd)?),
        Protocol::Tcp | Protocol::Mptcp | Protocol::Udp => Ok(None),
    }
}

/// What the kernel says of an open socket itself: to getsockname(2), getpeername(2), TCP_INFO and fstat(2).
fn own_row(fd: &OwnedFd, protocol: Protocol) -> Result<Option<SocketRow>, Fault> {
    let Some(local) = sys::local_name(fd)?.filter(|local| local.port() != 0) else { return Ok(None) };
    let remote = sys::peer_name(fd).unwrap_or(None);
    let state = match (protocol, sys::tcp_state(fd)) {
        (Protocol::Tcp | Protocol::Mptcp, state) => state?,
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
    use crate::sys::{Address, UNCONNECTED};
    use crate::words::names::Family;

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
