//! TCP sockets that are merely bound, on kernels whose socket table has none of them (before Linux 6.8): those of a case's
//! own process are asked themselves.
//!
//! What the table lists is not its business, and other processes' sockets it cannot see.

use super::interpreter::{Case, Known};
use crate::names::Protocol;
use crate::socket_table::SocketRow;
use crate::sys::{self, Fault};

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
    if case.lists_bound || protocol != Protocol::Tcp {
        return Ok(rows);
    }
    for known in case.sockets.values() {
        rows.extend(row(known)?);
    }
    for fd in &case.filled {
        // Not all of them need be TCP sockets.
        rows.extend(sys::bound_row(fd).unwrap_or(None));
    }
    Ok(rows)
}

/// Whether this socket is among them. Such a one has no peer, whatever it tried to connect to.
pub fn has(case: &Case, socket: &Known) -> Result<bool, Fault> {
    Ok(!case.lists_bound && row(socket)?.is_some())
}

fn row(socket: &Known) -> Result<Option<SocketRow>, Fault> {
    match &socket.fd {
        Some(fd) if socket.protocol == Protocol::Tcp && socket.bound != Bound::No => Ok(sys::bound_row(fd)?),
        _ => Ok(None),
    }
}
