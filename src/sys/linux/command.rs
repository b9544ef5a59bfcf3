//! Between a command and the process that stands in for it: its signals, its end, and whose it is.
//!
//! It does not start the command, and does not know what world it runs in.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getegid};

use super::OS;
use super::namespace::leave_root_to;
use crate::errno::Errno;
use crate::sys::{Ended, Flock, Result, check, effective_uid, errno_of, reap};

/// Signals that are meant for a command: most ask it to end.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGALRM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// How long a command has from SIGTERM to SIGKILL when its time is up.
const GRACE: Duration = Duration::from_secs(2);

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

/// Waits for a child, and meanwhile passes signals on to it and reaps every other. Says whether its time was up.
pub fn shepherd(child: i32, mut flock: Flock) -> Result<(Ended, bool)> {
    let mut deadline = flock.limit.map(|limit| Instant::now() + limit);
    let mut timed_out = false;
    loop {
        // A look first: until it is reaped one can ask about it.
        while let Some((pid, has_ended)) = news(flock.watch.is_some())? {
            if let (Some(watch), false) = (&mut flock.watch, has_ended) {
                watch.stopped(pid, take_status(pid)?);
                continue;
            }
            if pid == child {
                (flock.at_end)(pid);
            }
            let ended = reap(pid)?;
            if pid == child {
                return Ok((ended, timed_out));
            }
            if let Some(watch) = &mut flock.watch {
                watch.gone(pid);
            }
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            let signal = if timed_out { Signal::SIGKILL } else { Signal::SIGTERM };
            deadline = (!timed_out).then(|| Instant::now() + GRACE);
            timed_out = true;
            let _ = kill(Pid::from_raw(child), signal);
            // One that is stopped ends only when it goes on.
            let _ = kill(Pid::from_raw(child), Signal::SIGCONT);
            continue;
        }
        let Some(signal) = next_signal(left)? else { continue };
        // A terminal sends its signals to the command as well.
        let from_terminal = signal.si_code == libc::SI_KERNEL;
        if let Some(&forwarded) = FORWARDED.iter().find(|&&known| known as i32 == signal.si_signo && !from_terminal) {
            let _ = kill(Pid::from_raw(child), forwarded);
        }
    }
}

/// A child or traced thread that has ended or, among traced ones, stopped, and which of the two.
fn news(traced: bool) -> Result<Option<(i32, bool)>> {
    let stops = if traced { libc::WSTOPPED } else { 0 };
    let info = wait_id(libc::P_ALL, 0, libc::WEXITED | stops | libc::WNOWAIT)?;
    // SAFETY: waitid(2) fills in the pid, or leaves it 0.
    let pid = unsafe { info.si_pid() };
    let has_ended = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED].contains(&info.si_code);
    Ok((pid != 0).then_some((pid, has_ended)))
}

/// Why a traced thread has stopped; it is told once.
fn take_status(thread: i32) -> Result<i32> {
    let info = wait_id(libc::P_PID, thread as u32, libc::WSTOPPED)?;
    // SAFETY: waitid(2) fills in the status, or leaves it 0.
    Ok(unsafe { info.si_status() })
}

fn wait_id(kind: libc::idtype_t, id: u32, flags: i32) -> Result<libc::siginfo_t> {
    // SAFETY: zeroed is a valid siginfo_t, and the pointer is to a whole one.
    let (code, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        (libc::waitid(kind, id, &mut info, flags | libc::WNOHANG | libc::__WALL), info)
    };
    check(code).map(|_| info)
}

/// Waits for a signal that somebody watches, for so long at most.
fn next_signal(limit: Option<Duration>) -> Result<Option<libc::siginfo_t>> {
    let set = watched();
    let timeout = limit.map(TimeSpec::from_duration);
    let timeout = timeout.as_ref().map_or(std::ptr::null(), |timeout| std::ptr::from_ref(timeout.as_ref()));
    // SAFETY: zeroed is a valid siginfo_t; the pointers are to whole values, or null for no limit.
    let (code, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        (libc::sigtimedwait(set.as_ref(), &mut info, timeout), info)
    };
    match check(code) {
        Ok(_) => Ok(Some(info)),
        Err(errno) if [libc::EAGAIN, libc::EINTR].contains(&errno.raw()) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Soft RLIMIT_NOFILE of another process, which may have ended if nobody has reaped it.
pub fn descriptor_limit_of(pid: i32) -> Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: null asks for no change, and the other pointer is to a whole rlimit.
    check(unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit) })?;
    Ok(limit.rlim_cur)
}

/// A shell in there may have left the terminal to a process group that is gone.
pub(super) fn take_terminal() {
    // SAFETY: these calls take no pointers. One that is not in the foreground is stopped by the signal, unless it ignores it.
    unsafe {
        if libc::tcgetsid(0) == libc::getsid(0) && libc::tcgetpgrp(0) != libc::getpgrp() {
            let former = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
            // Nobody takes it from a process group that lives.
            if libc::kill(-libc::tcgetpgrp(0), 0) == -1 {
                libc::tcsetpgrp(0, libc::getpgrp());
            }
            libc::signal(libc::SIGTTOU, former);
        }
    }
}
