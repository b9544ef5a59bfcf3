//! Between a command and the process that stands in for it: its signals, its end, and whose it is.
//!
//! It does not start the command, and does not know what world it runs in.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{Pid, getegid};

use super::OS;
use super::namespace::leave_root_to;
use crate::errno::Errno;
use crate::sys::{Ended, Result, check, effective_uid, ended, errno_of};

/// Signals that ask a command to end.
const FORWARDED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// What a command inherits, and this process loses on the way to it.
pub struct Caller {
    ids: [u32; 2],
    mask: SigSet,
}

impl Caller {
    pub fn current() -> Result<Caller> {
        let ids = [effective_uid(), getegid().as_raw()];
        Ok(Caller { ids, mask: SigSet::thread_get_mask().map_err(own)? })
    }

    /// To be the caller again, before a command takes this process over. There is no way back.
    pub fn restore(&self) -> Result<(), String> {
        if effective_uid() != self.ids[0] {
            leave_root_to(self.ids)?;
        }
        self.mask.thread_set_mask().map_err(|errno| format!("the signal mask: {}", own(errno)))
    }
}

/// execvp(3): returns only if it fails.
pub fn become_command(command: &mut Command) -> Errno {
    errno_of(&command.exec())
}

fn own(errno: nix::Error) -> Errno {
    Errno::from_raw(OS, errno as i32)
}

fn watched() -> SigSet {
    FORWARDED.into_iter().chain([Signal::SIGCHLD]).collect()
}

/// From now on signals wait for [`shepherd`], also those that come before it.
pub(super) fn block_signals() {
    // A caller that ignores SIGCHLD would have the kernel reap our children.
    // SAFETY: the default needs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let _ = watched().thread_block();
}

/// Waits for a child, and meanwhile passes signals on to it and reaps every other.
pub fn shepherd(child: i32) -> Result<Ended> {
    let signals = SignalFd::new(&watched()).map_err(own)?;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to an int.
        while let pid @ 1.. = check(unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) })? {
            if pid == child {
                return Ok(ended(status));
            }
        }
        let Some(signal) = signals.read_signal().map_err(own)? else { continue };
        // A terminal sends its signals to the command as well.
        let from_terminal = signal.ssi_code == libc::SI_KERNEL;
        if let Some(&forwarded) = FORWARDED.iter().find(|&&known| known as u32 == signal.ssi_signo && !from_terminal) {
            let _ = kill(Pid::from_raw(child), forwarded);
        }
    }
}
