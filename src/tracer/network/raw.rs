//! A raw ICMP socket: every ICMP error that this host gets, for any program.
//!
//! It sends nothing, and matches nothing.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::quote::{self, Quote};
use crate::sys;
use crate::words::names::Family;

/// Enough for the longest IPv4 headers, and for IPv6 with a few extensions.
const SIZE: usize = 1024;

pub struct Raw {
    socket: OwnedFd,
}

impl Raw {
    pub fn open(family: Family) -> sys::Result<Raw> {
        Ok(Raw { socket: sys::icmp_socket(family)? })
    }

    /// One message, of which the quote may be of no interest; `None` once all are read.
    pub fn receive(&self) -> Option<Option<Quote>> {
        let mut packet = [0; SIZE];
        let (size, from) = sys::receive_from(&self.socket, &mut packet).ok()?;
        Some(from.and_then(|from| quote::read(from.ip(), &packet[..size])))
    }
}

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
