//! Ends processes that must not outlive their parent, on a system that has no parent-death signal.
//!
//! A case and all that it starts are a process group, which the worker kills (`shared_host`). A process that gets no
//! signal looks for its parent itself.

use std::sync::atomic::{AtomicI32, Ordering};

use super::super::{exit_now, process};

/// How often a process looks who its parent is.
const LOOK_MS: f64 = 50.0;

/// The process whose parent is being watched: a child of it starts without the thread.
static WATCHED: AtomicI32 = AtomicI32::new(0);

/// From now on this process ends, soon, when its parent has.
pub fn die_with_parent() {
    // SAFETY: neither takes an argument.
    let (own, parent) = unsafe { (libc::getpid(), libc::getppid()) };
    if WATCHED.swap(own, Ordering::Relaxed) == own {
        return;
    }
    // An alarm is for the thread that made the call which it is to end: this one takes no signals.
    // SAFETY: zeroed is a valid set, and the pointers are to whole ones.
    let former = unsafe {
        let (mut all, mut former): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut former);
        former
    };
    let _ = std::thread::Builder::new().stack_size(32 * 1024).spawn(move || {
        loop {
            process::pause_ms(LOOK_MS);
            // SAFETY: it takes no argument.
            if unsafe { libc::getppid() } != parent {
                exit_now(1)
            }
        }
    });
    // SAFETY: the pointer is to a whole set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &former, std::ptr::null_mut()) };
}
