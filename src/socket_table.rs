//! Rows of the kernel's socket table, and how to find one socket among them.
//!
//! Reading the table is the business of `sys`; this is what was read.

pub mod xnu;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::names::{Protocol, SocketState, User};

/// One socket, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SocketRow {
    pub protocol: Protocol,
    pub state: SocketState,
    pub local: SocketAddr,
    /// Absent where the socket has no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddr>,
    pub uid: u32,
    /// Whose uid that is, of the users that a case acts as. Absent for other uids, and for sockets without a file: the
    /// kernel lists those as uid 0, whoever made them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// 0 for sockets without a file, such as those in TIME_WAIT.
    pub inode: u32,
}

/// The row that a socket with this name and peer must be: an unconnected socket by its local name alone.
pub fn find(rows: &[SocketRow], local: SocketAddr, remote: Option<SocketAddr>) -> impl Iterator<Item = &SocketRow> {
    rows.iter().filter(move |row| {
        same(row.local, local) && remote.is_none_or(|remote| row.remote.is_some_and(|peer| same(peer, remote)))
    })
}

/// Equality of endpoints as the table spells them: flow label and scope are no part of it, and the kernel lists
/// IPv4-mapped addresses of IPv6 sockets either way.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}
