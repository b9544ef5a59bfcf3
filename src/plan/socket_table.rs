//! Rows of the kernel's socket table, and how to find one socket among them.
//!
//! `sys` reads the table.

pub mod xnu;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::plan::Answer;
use crate::words::names::{Protocol, SocketState, User};

/// One socket, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SocketRow {
    /// Of which table it is.
    pub protocol: Protocol,
    /// UDP has two: [`SocketState::Established`] with a peer, [`SocketState::Close`] without.
    pub state: SocketState,
    /// Its address and port.
    pub local: SocketAddr,
    /// Absent where the socket has no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddr>,
    /// The owner's, as the worker's user namespace numbers it.
    pub uid: u32,
    /// Whose uid that is, of the users that a case acts as. Absent for other uids, and for sockets without a file: the
    /// kernel lists those as uid 0, whoever made them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// 0 for sockets without a file, such as those in TIME_WAIT.
    pub inode: u32,
}

/// A socket that is looked for in the table, by what the kernel gives to tell it from others of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// In which table to look.
    pub protocol: Protocol,
    /// The name that its row has.
    pub local: SocketAddr,
    /// The peer that its row has.
    pub remote: Option<SocketAddr>,
    /// That of its descriptor; 0 once it is closed, and absent where there is no such number: then its names decide.
    pub inode: Option<u32>,
}

impl Sought {
    /// What a worker says of the socket; nothing where it has no name.
    pub fn of(protocol: Protocol, answer: &Answer) -> Option<Sought> {
        match answer {
            &Answer::Socket { local: Some(local), remote, inode, .. } => {
                Some(Sought { protocol: protocol.table(), local, remote, inode })
            }
            _ => None,
        }
    }

    /// The rows that are this socket.
    pub fn among(self, rows: &[SocketRow]) -> impl Iterator<Item = &SocketRow> {
        rows.iter().filter(move |row| row.protocol == self.protocol && self.is(row))
    }

    /// The rows of any socket that has its local name, and its peer if it has one.
    pub fn namesakes(self, rows: &[SocketRow]) -> impl Iterator<Item = &SocketRow> {
        rows.iter().filter(move |row| row.protocol == self.protocol && self.has_names_of(row))
    }

    fn is(&self, row: &SocketRow) -> bool {
        // What the kernel keeps of a connection without a file has both names, and nobody else has both.
        let is_left = self.remote.is_some() && row.inode == 0 && self.has_names_of(row);
        match self.inode {
            None => self.has_names_of(row),
            Some(0) => is_left,
            // A socket that is still open may have its connection in TIME_WAIT (`tcp_time_wait`,
            // net/ipv4/tcp_minisocks.c).
            Some(inode) => row.inode == inode || (is_left && row.state == SocketState::TimeWait),
        }
    }

    fn has_names_of(&self, row: &SocketRow) -> bool {
        same(row.local, self.local)
            && self.remote.is_none_or(|remote| row.remote.is_some_and(|peer| same(peer, remote)))
    }
}

/// Equality of endpoints as the table spells them: flow label and scope are no part of it, and the kernel lists
/// IPv4-mapped addresses of IPv6 sockets either way.
pub fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUPLE: (&str, Option<&str>) = ("127.0.0.1:1", Some("127.0.0.2:2"));

    fn row(state: SocketState, (local, remote): (&str, Option<&str>), inode: u32) -> SocketRow {
        let (local, remote) = (local.parse().unwrap(), remote.map(|remote| remote.parse().unwrap()));
        SocketRow { protocol: Protocol::Tcp, state, local, remote, uid: 0, user: None, inode }
    }

    #[track_caller]
    fn found(inode: Option<u32>, (local, remote): (&str, Option<&str>), row: &SocketRow) -> bool {
        let (local, remote) = (local.parse().unwrap(), remote.map(|remote| remote.parse().unwrap()));
        let sought = |protocol| Sought { protocol, local, remote, inode };
        assert_eq!(sought(Protocol::Udp).among(std::slice::from_ref(row)).count(), 0, "it is of TCP");
        sought(Protocol::Tcp).among(std::slice::from_ref(row)).count() == 1
    }

    #[test]
    fn an_open_socket_is_its_inode_whatever_the_name() {
        let alone = ("127.0.0.1:1", None);
        assert!(found(Some(7), alone, &row(SocketState::Listen, alone, 7)));
        assert!(found(Some(7), alone, &row(SocketState::Bound, ("127.0.0.1:1", Some("127.0.0.9:9")), 7)));
        for inode in [0, 6, 8] {
            assert!(!found(Some(7), alone, &row(SocketState::Listen, alone, inode)));
            assert!(!found(Some(7), alone, &row(SocketState::TimeWait, TUPLE, inode)), "it has had no peer");
        }
        assert!(found(Some(7), TUPLE, &row(SocketState::TimeWait, TUPLE, 0)), "its connection, which has ended");
        assert!(!found(Some(7), TUPLE, &row(SocketState::FinWait2, TUPLE, 0)), "while it is open this has its inode");
    }

    #[test]
    fn a_closed_socket_is_what_has_both_names_and_no_file() {
        for state in [SocketState::TimeWait, SocketState::FinWait2, SocketState::LastAck] {
            assert!(found(Some(0), TUPLE, &row(state, TUPLE, 0)));
            assert!(!found(Some(0), TUPLE, &row(state, TUPLE, 7)), "another socket has its names");
        }
        let other = [("127.0.0.1:1", Some("127.0.0.2:3")), ("127.0.0.1:3", Some("127.0.0.2:2")), ("127.0.0.1:1", None)];
        for other in other {
            assert!(!found(Some(0), TUPLE, &row(SocketState::TimeWait, other, 0)));
        }
        let alone = ("127.0.0.1:1", None);
        for row in [row(SocketState::TimeWait, TUPLE, 0), row(SocketState::Listen, alone, 7)] {
            assert!(!found(Some(0), alone, &row), "a socket without a peer leaves nothing");
        }
    }

    #[test]
    fn where_there_are_no_inodes_the_name_decides() {
        let alone = ("127.0.0.1:1", None);
        for inode in [0, 7] {
            assert!(found(None, alone, &row(SocketState::Listen, alone, inode)));
            assert!(found(None, alone, &row(SocketState::Established, TUPLE, inode)));
            assert!(found(None, TUPLE, &row(SocketState::TimeWait, TUPLE, inode)));
            assert!(!found(None, TUPLE, &row(SocketState::Listen, alone, inode)));
        }
        let mapped = ("[::ffff:127.0.0.1]:1", None);
        assert!(found(None, alone, &row(SocketState::Listen, mapped, 7)));
    }
}
