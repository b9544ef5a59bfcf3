//! Calls that a ring of one entry makes, which is made anew for each (io_uring(7)).
//!
//! It does not retry, and leaves open what the same call would have given by itself.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::{IoUring, Probe, opcode, squeue, types};

use super::{OS, SEND_FLAGS};
use crate::sys::{Address, Fault, Result, errno_of, unsupported};
use crate::words::errno::Errno;
use crate::words::names::{Call, Need};

/// A ring for one call.
pub struct Ring(IoUring);

impl Ring {
    /// One that can make this call, or why the kernel has none.
    pub fn new(call: Call) -> Result<Ring, Fault> {
        let (code, since) = match call {
            Call::Bind => (opcode::Bind::CODE, "6.11"),
            Call::Listen => (opcode::Listen::CODE, "6.11"),
            Call::Connect => (opcode::Connect::CODE, "5.5"),
            Call::Accept => (opcode::Accept::CODE, "5.5"),
            Call::Send => (opcode::Send::CODE, "5.6"),
            call => return Err(Fault::Failed(format!("no ring makes {call} here"))),
        };
        let lacking = |error: std::io::Error| {
            let errno = errno_of(&error);
            unsupported(Need::IoUring, format!("io_uring_setup: {errno}; enable it: sysctl kernel.io_uring_disabled=0"))
        };
        let ring = IoUring::new(1).map_err(lacking)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(lacking)?;
        match probe.is_supported(code) {
            true => Ok(Ring(ring)),
            false => Err(unsupported(Need::IoUring, format!("no ring of this kernel makes {call}: Linux {since}"))),
        }
    }

    pub fn bind(&mut self, fd: &OwnedFd, address: &Address) -> Result<()> {
        let (pointer, length) = address.raw();
        // SAFETY: the kernel copies the address before the call returns (io_bind_prep()).
        unsafe { self.make(opcode::Bind::new(types::Fd(fd.as_raw_fd()), pointer, length).build()) }.map(drop)
    }

    pub fn listen(&mut self, fd: &OwnedFd, backlog: i32) -> Result<()> {
        // SAFETY: it takes no pointers.
        unsafe { self.make(opcode::Listen::new(types::Fd(fd.as_raw_fd()), backlog).build()) }.map(drop)
    }

    pub fn connect(&mut self, fd: &OwnedFd, address: &Address) -> Result<()> {
        let (pointer, length) = address.raw();
        // SAFETY: the kernel copies the address before the call returns (io_connect_prep()).
        unsafe { self.make(opcode::Connect::new(types::Fd(fd.as_raw_fd()), pointer, length).build()) }.map(drop)
    }

    pub fn accept(&mut self, fd: &OwnedFd) -> Result<OwnedFd> {
        let entry = opcode::Accept::new(types::Fd(fd.as_raw_fd()), std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: there is nothing behind null pointers.
        let fd = unsafe { self.make(entry.flags(libc::SOCK_CLOEXEC).build()) }?;
        // SAFETY: the descriptor is new.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// send(2) that never waits, so that the kernel has done with the data when it returns.
    pub fn send(&mut self, fd: &OwnedFd, data: &[u8]) -> Result<usize> {
        let entry = opcode::Send::new(types::Fd(fd.as_raw_fd()), data.as_ptr(), data.len() as u32);
        // SAFETY: MSG_DONTWAIT completes it before the call returns.
        unsafe { self.make(entry.flags(libc::MSG_DONTWAIT | SEND_FLAGS).build()) }.map(|sent| sent as usize)
    }

    /// Submits the entry and waits for what comes of it. A signal ends the wait with EINTR; the entry ends with the
    /// ring.
    ///
    /// # Safety
    ///
    /// What the entry points to has to live until the kernel has done with it.
    unsafe fn make(&mut self, entry: squeue::Entry) -> Result<i32> {
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.0.submission().push(&entry) };
        pushed.map_err(|_| Errno::from_raw(OS, libc::EBUSY))?;
        self.0.submit_and_wait(1).map_err(|error| errno_of(&error))?;
        let result = self.0.completion().next().map_or(-libc::EINTR, |completion| completion.result());
        if result < 0 { Err(Errno::from_raw(OS, -result)) } else { Ok(result) }
    }
}
