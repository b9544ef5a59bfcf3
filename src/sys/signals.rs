//! Which signals are for whom. The first SIGINT or SIGTERM asks for an end in good order; a second one ends everything.
//!
//! The caller knows what good order is, and whom to wake. No thread waits for signals.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, sigaction};
use nix::unistd::Pid;
use signal_hook::low_level;

use super::os;

/// The signals that ask for an end.
pub const INTERRUPTS: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// Signals that are meant for a command.
pub(super) const FORWARDED: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGALRM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];

/// Those of them that end a process.
pub(super) fn ending() -> impl Iterator<Item = Signal> {
    FORWARDED.into_iter().filter(|signal| !matches!(signal, Signal::SIGWINCH | Signal::SIGTSTP | Signal::SIGCONT))
}

/// Those of them that a terminal sends to everybody in front of it.
pub(super) fn is_sent_by_terminals(signal: Signal) -> bool {
    matches!(
        signal,
        Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH | Signal::SIGTSTP | Signal::SIGCONT
    )
}

/// Whether a signal is ignored, which a command inherits (nohup(1), the background of a script): it gets no handler
/// then.
pub(super) fn is_ignored(signal: Signal) -> bool {
    // SAFETY: zeroed is a valid sigaction; no new action is given, and the pointer is to a whole old one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal as i32, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Stops this process, as SIGTSTP does that nobody keeps back. Returns when it goes on.
pub(super) fn stop() {
    let usual = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default needs no handler.
    let Ok(former) = (unsafe { sigaction(Signal::SIGTSTP, &usual) }) else { return };
    if let Ok(mask) = SigSet::from(Signal::SIGTSTP).thread_swap_mask(SigmaskHow::SIG_UNBLOCK) {
        let _ = kill(Pid::this(), Signal::SIGTSTP);
        let _ = mask.thread_set_mask();
    }
    // SAFETY: it was this signal's handler before.
    let _ = unsafe { sigaction(Signal::SIGTSTP, &former) };
}

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
            // SAFETY: the handler reads a clock, changes atomics and calls _exit(2): nothing that a signal could
            // interrupt halfway.
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

/// Whether signals that ask for an end have it. They are kept for a command otherwise.
static ENDS: AtomicBool = AtomicBool::new(false);
/// From when on, in ms since [`clock`] was looked at first.
static ENDS_FROM: AtomicU64 = AtomicU64::new(0);

fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// In the process that stands in for a command, where signals are kept back and pid 1 has no default effects: from now
/// on each that asks for an end has it at once, but for those that somebody else here watches. Those that have come
/// already or come within `grace` change nothing: they were for a command that has just ended.
pub fn end_on_signals(watched: &[i32], grace: Duration) -> std::io::Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !grace.is_zero() {
        os::forget_signals();
    }
    ENDS_FROM.store(clock() + grace.as_millis() as u64, Ordering::Relaxed);
    ENDS.store(true, Ordering::Relaxed);
    if !DONE.swap(true, Ordering::Relaxed) {
        let unwatched = |signal: &Signal| !watched.contains(&(*signal as i32)) && !is_ignored(*signal);
        for signal in ending().filter(unwatched) {
            let handle = move || {
                if ENDS.load(Ordering::Relaxed) && clock() >= ENDS_FROM.load(Ordering::Relaxed) {
                    low_level::exit(128 + signal as i32);
                }
            };
            // SAFETY: the handler reads a clock that has begun, and atomics, and calls _exit(2).
            unsafe { low_level::register(signal as i32, handle) }?;
        }
    }
    Ok(SigSet::from_iter(FORWARDED).thread_unblock()?)
}

/// From now on signals wait for [`super::shepherd`], also those that come before it.
pub fn keep_signals() {
    ENDS.store(false, Ordering::Relaxed);
    os::hold_signals();
}
