//! A request to end early, which wakes the thread that waits for the network.
//!
//! It does not know who asked, nor how the trace ends.

use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// Something was written to the other end: that stays so, and nothing is lost between a look and a wait.
#[derive(Debug)]
pub struct Interrupt {
    stream: UnixStream,
    requested: bool,
}

impl Interrupt {
    /// Requested by the first of these signals, which lose their usual effect.
    pub fn on_signals(signals: &[i32]) -> std::io::Result<Interrupt> {
        let (interrupt, other) = Interrupt::pair()?;
        for &signal in signals {
            signal_hook::low_level::pipe::register(signal, other.try_clone()?)?;
        }
        Ok(interrupt)
    }

    /// Requested by writing to the stream.
    pub fn pair() -> std::io::Result<(Interrupt, UnixStream)> {
        let (stream, other) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        Ok((Interrupt { stream, requested: false }, other))
    }

    /// Looks whether anything was written. The other end may also be closed, which means nothing.
    pub(super) fn read(&mut self) {
        self.requested |= matches!(self.stream.read(&mut [0]), Ok(1));
    }

    pub(super) fn is_requested(&self) -> bool {
        self.requested
    }
}

impl AsRawFd for Interrupt {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
