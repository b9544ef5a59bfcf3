//! Standard output as the kernel has it, and whether there was one.
//!
//! The standard library opens /dev/null for a descriptor that is closed at the start, and takes EBADF for a success: a
//! report that went there would be lost without a word. It does not decide what is written.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::write;

use super::{Until, poll};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Called before main(), and before the standard library has looked at the descriptors (`sanitize_standard_fds()`).
extern "C" fn look() {
    // SAFETY: F_GETFD takes no argument.
    WAS_CLOSED.store(unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1, Ordering::Relaxed);
}

// SAFETY: what stands in this section is a pointer to a function that the C library calls before main(); the function
// needs nothing that has to be set up before it. Its arguments, which glibc hands over, are ignored.
#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".init_array"))]
static LOOK: extern "C" fn() = look;

/// Whether this program was started without a standard output, as by `>&-`.
pub fn stdout_was_closed() -> bool {
    WAS_CLOSED.load(Ordering::Relaxed)
}

/// Standard output without a buffer.
#[derive(Debug)]
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if stdout_was_closed() {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let stdout = io::stdout();
        match write(&stdout, bytes) {
            // Somebody else made it so, who has it as well.
            Err(nix::Error::EAGAIN) => {
                let _ = poll(&stdout, Until::Writable, u32::MAX);
                Err(io::ErrorKind::Interrupted.into())
            }
            written => Ok(written?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
