//! Which signals are meant for whom. SIGINT and SIGTERM to us: the first is a wish to end in good order, a later one ends everything.
//!
//! What good order is, and who is woken up for it, the caller knows. There is no thread that waits for signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::low_level;

/// The signals that ask for an end.
pub const INTERRUPTS: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// Signals that are meant for a command: most ask it to end.
pub(super) const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGALRM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// How long a command has from SIGTERM to SIGKILL when its time is up.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Signals that come together are one wish: timeout(1) sends its signal to the program and to the whole group.
pub const TOGETHER: Duration = Duration::from_millis(250);

/// What has been wished for since the handlers are in place. When it is dropped, nobody looks any more, and a signal
/// ends the program at once.
pub struct Signals {
    pub interrupted: Arc<AtomicBool>,
    /// The first signal, and in the upper half when it came, in ms; 0 as long as there is none.
    first: Arc<AtomicU64>,
    unwatched: Arc<AtomicBool>,
}

impl Signals {
    pub fn watch() -> std::io::Result<Signals> {
        let signals = Signals { interrupted: Arc::default(), first: Arc::default(), unwatched: Arc::default() };
        let start = Instant::now();
        for signal in INTERRUPTS {
            let (interrupted, first) = (signals.interrupted.clone(), signals.first.clone());
            let unwatched = signals.unwatched.clone();
            let handle = move || {
                let now = start.elapsed();
                let wish = ((now.as_millis() as u64) << 32) | signal as u64;
                match first.compare_exchange(0, wish, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) if unwatched.load(Ordering::Relaxed) => low_level::exit(128 + signal),
                    Ok(_) => interrupted.store(true, Ordering::Relaxed),
                    Err(first) if now > Duration::from_millis(first >> 32) + TOGETHER => low_level::exit(128 + signal),
                    Err(_) => {}
                }
            };
            // SAFETY: the handler reads a clock, changes atomics and calls _exit(2): nothing that a signal could interrupt halfway.
            unsafe { low_level::register(signal, handle) }?;
        }
        Ok(signals)
    }

    /// The first of them.
    pub fn received(&self) -> Option<u8> {
        Some(self.first.load(Ordering::Relaxed) as u8).filter(|&signal| signal != 0)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.unwatched.store(true, Ordering::Relaxed);
    }
}

/// In the process that stands in for a command in a world of its own, where signals are kept back and pid 1 has no default
/// effects: from now on each ends it at once, but for those that somebody else here watches. Those that come within
/// `grace` change nothing: they were for a command that has just ended.
pub fn end_on_signals(watched: &[i32], grace: Duration) -> std::io::Result<()> {
    let start = Instant::now();
    for signal in FORWARDED.map(|signal| signal as i32).into_iter().filter(|signal| !watched.contains(signal)) {
        let handle = move || {
            if start.elapsed() >= grace {
                low_level::exit(128 + signal);
            }
        };
        // SAFETY: the handler reads a clock and calls _exit(2).
        unsafe { low_level::register(signal, handle) }?;
    }
    Ok(SigSet::from_iter(FORWARDED).thread_unblock()?)
}
