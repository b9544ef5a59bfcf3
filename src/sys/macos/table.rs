//! The lists of all sockets of the machine, which anybody may read.
//!
//! `socket_table::xnu` reads their bytes.

use std::os::fd::OwnedFd;

use super::super::{Fault, Result, check};
use crate::plan::socket_table::{SocketRow, xnu};
use crate::words::names::{Protocol, SocketState};
use crate::words::ports::PortSet;

/// Whether the kernel lists who made a socket: `so_uid` of every one, also in TIME_WAIT (`get_pcblist_n()`,
/// `bsd/netinet/in_pcblist.c`).
pub fn tells_owner(_: &SocketRow) -> bool {
    true
}

pub const UNCONNECTED: [SocketState; 2] = [SocketState::Listen, SocketState::Bound];

/// The list tells of every socket, so that none has to be asked itself.
pub fn tcp_state(_: &OwnedFd) -> Result<Option<SocketState>> {
    Ok(None)
}

pub fn bound_row(_: &OwnedFd) -> Result<Option<SocketRow>> {
    Ok(None)
}

/// The list has addresses of the kernel's, which no descriptor tells.
pub fn listed_inode(_: Option<&OwnedFd>) -> Result<Option<u32>> {
    Ok(None)
}

pub fn lists_bound() -> bool {
    true
}

pub struct SocketTable;

impl SocketTable {
    pub fn open() -> Result<SocketTable> {
        Ok(SocketTable)
    }

    /// The sockets of both families on a local port, or with 0 on any. One read has them all, so that none needs to be
    /// named.
    pub fn rows(&mut self, protocol: Protocol, port: u16, _: &[SocketState]) -> Result<Vec<SocketRow>, Fault> {
        let mut rows = all_rows(protocol)?;
        rows.retain(|row| port == 0 || row.local.port() == port);
        Ok(rows)
    }

    /// Which local ports any socket of either family holds.
    pub fn ports(&mut self, protocol: Protocol) -> Result<PortSet, Fault> {
        Ok(xnu::ports(&all_rows(protocol)?))
    }
}

fn all_rows(protocol: Protocol) -> Result<Vec<SocketRow>, Fault> {
    let name = match protocol {
        Protocol::Tcp | Protocol::Mptcp => c"net.inet.tcp.pcblist_n",
        Protocol::Udp => c"net.inet.udp.pcblist_n",
    };
    let (nothing, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: null asks for the size alone, which leaves room for sockets that are made meanwhile.
    check(unsafe { libc::sysctlbyname(name.as_ptr(), nothing, &mut size, nothing, 0) })?;
    let mut list = vec![0_u8; size];
    // SAFETY: the buffer has as many bytes as the size says, which the kernel sets to what it wrote.
    check(unsafe { libc::sysctlbyname(name.as_ptr(), list.as_mut_ptr().cast(), &mut size, nothing, 0) })?;
    list.truncate(size);
    xnu::rows(protocol, &list).map_err(|why| {
        Fault::Failed(format!("{} is not as known, so nothing is read from it: {why}", name.to_string_lossy()))
    })
}
