//! For systems where no ring makes calls: all but Linux, and Linux on processors whose io_uring nobody has described to
//! the crate.
//!
//! It makes no call, and says that there are none.

use std::os::fd::OwnedFd;

use super::os::NAME;
use super::{Address, Fault, Result, unsupported};
use crate::words::names::{Call, Need};

/// No value of this type exists here.
pub struct Ring(std::convert::Infallible);

impl Ring {
    pub fn new(_: Call) -> Result<Ring, Fault> {
        let processor = std::env::consts::ARCH;
        Err(unsupported(Need::IoUring, format!("this program has no io_uring on {NAME} and {processor}")))
    }

    pub fn bind(&mut self, _: &OwnedFd, _: &Address) -> Result<()> {
        match self.0 {}
    }

    pub fn listen(&mut self, _: &OwnedFd, _: i32) -> Result<()> {
        match self.0 {}
    }

    pub fn connect(&mut self, _: &OwnedFd, _: &Address) -> Result<()> {
        match self.0 {}
    }

    pub fn accept(&mut self, _: &OwnedFd) -> Result<OwnedFd> {
        match self.0 {}
    }

    pub fn send(&mut self, _: &OwnedFd, _: &[u8]) -> Result<usize> {
        match self.0 {}
    }
}
