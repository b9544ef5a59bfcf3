//! Stands between a command and this program: passes signals on, waits for its end, and knows which processes belong to
//! it.
//!
//! It does not start the command, and does not know its world.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, getegid};

use super::OS;
use super::user_namespace::leave_root_to;
use crate::sys::signals::{FORWARDED, GRACE, is_sent_by_terminals, stop};
use crate::sys::{Ended, Fault, Result, Supervision, Watch, check, effective_uid, errno_of, reap};
use crate::words::errno::Errno;

/// What a command inherits, and this process loses on the way to it.
pub struct Credentials {
    ids: [u32; 2],
    mask: SigSet,
}

impl Credentials {
    pub fn current() -> Result<Credentials> {
        let ids = [effective_uid(), getegid().as_raw()];
        Ok(Credentials { ids, mask: SigSet::thread_get_mask().map_err(own)? })
    }

    /// To be the caller again, before a command takes this process over. There is no way back.
    pub fn restore(&self) -> Result<(), Fault> {
        if effective_uid() != self.ids[0] {
            leave_root_to(self.ids)?;
        }
        self.mask.thread_set_mask().map_err(|errno| Fault::Failed(format!("the signal mask: {}", own(errno))))
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

/// Until somebody lets them through ([`crate::sys::end_on_signals`]) or waits for them ([`shepherd`]).
pub(in crate::sys) fn hold_signals() {
    // A caller that ignores SIGCHLD would have the kernel reap our children.
    // SAFETY: the default needs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let _ = watched().thread_block();
}

/// Those that wait.
pub(in crate::sys) fn forget_signals() {
    while matches!(next_signal(&SigSet::from_iter(FORWARDED), Some(Duration::ZERO)), Ok(Some(_))) {}
}

/// Waits for a child, and meanwhile passes signals on to it and reaps every other. Says whether its time was up.
pub fn shepherd(child: i32, flock: Supervision) -> Result<(Ended, bool)> {
    let time_is_up = Arc::new(AtomicBool::new(false));
    let mut attention = Attention { child, deadline: flock.limit.map(|limit| Instant::now() + limit), time_is_up };
    let time_is_up = attention.time_is_up.clone();
    let Supervision { begin, at_end, others, watch, limit: _ } = flock;
    let ended = match watch {
        None => {
            begin()?;
            loop {
                if let Some(ended) = reap_all(child, at_end, others)? {
                    break ended;
                }
                attention.attend(&watched())?;
            }
        }
        Some(watch) => {
            // A stop that is waited for by waitid(2) wakes its tracer on the same processor; a signal would not.
            let attend = move || while attention.attend(&SigSet::from_iter(FORWARDED)).is_ok() {};
            std::thread::Builder::new().spawn(attend).map_err(|error| errno_of(&error))?;
            begin()?;
            watch_until_end(child, at_end, others, watch)?
        }
    };
    Ok((ended, time_is_up.load(Ordering::Relaxed)))
}

/// What is done for a command while it runs.
struct Attention {
    child: i32,
    deadline: Option<Instant>,
    time_is_up: Arc<AtomicBool>,
}

impl Attention {
    /// Waits for one of these signals or for the deadline, and tells the command.
    fn attend(&mut self, set: &SigSet) -> Result<()> {
        let command = Pid::from_raw(self.child);
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            let again = self.time_is_up.swap(true, Ordering::Relaxed);
            self.deadline = (!again).then(|| Instant::now() + GRACE);
            let _ = kill(command, if again { Signal::SIGKILL } else { Signal::SIGTERM });
            // One that is stopped ends only when it goes on.
            let _ = kill(command, Signal::SIGCONT);
            return Ok(());
        }
        let Some(signal) = next_signal(set, left)? else { return Ok(()) };
        let Some(known) = FORWARDED.into_iter().find(|&known| known as i32 == signal.si_signo) else { return Ok(()) };
        // A terminal sends its signals to the command as well. Timers say the same of theirs, which are ours alone.
        if signal.si_code != libc::SI_KERNEL || !is_sent_by_terminals(known) {
            let _ = kill(command, known);
        }
        if known == Signal::SIGTSTP {
            // Or whoever waits for us would take the command to be running. Pid 1 never stops.
            stop();
        }
        Ok(())
    }
}

/// Reaps whoever has ended, up to the child that counts.
fn reap_all(child: i32, at_end: &mut dyn FnMut(i32), others: &mut dyn FnMut(i32, Ended)) -> Result<Option<Ended>> {
    loop {
        // A look first: until it is reaped one can ask about it.
        let info = news(libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)?;
        // SAFETY: waitid(2) fills in the pid, or leaves it 0.
        let pid = unsafe { info.si_pid() };
        if pid == 0 {
            return Ok(None);
        }
        if pid == child {
            at_end(pid);
        }
        let ended = reap(pid)?;
        if pid == child {
            return Ok(Some(ended));
        }
        others(pid, ended);
    }
}

/// Lets traced threads go on whenever they stop, until the child that counts has ended.
fn watch_until_end(
    child: i32,
    at_end: &mut dyn FnMut(i32),
    others: &mut dyn FnMut(i32, Ended),
    watch: &mut Watch,
) -> Result<Ended> {
    loop {
        // Without WSTOPPED: children that are not traced may stop, and it is the kernel's rule that those that are need
        // not be asked for (`wait_task_stopped()`, kernel/exit.c).
        let info = match news(libc::WEXITED) {
            Err(errno) if errno.raw() == libc::EINTR => continue,
            info => info?,
        };
        // SAFETY: waitid(2) has filled in both.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        let ended = match info.si_code {
            libc::CLD_EXITED => Ended::Exited(status),
            libc::CLD_KILLED | libc::CLD_DUMPED => Ended::Killed(status),
            _ => {
                if pid == child && status >> 8 == libc::PTRACE_EVENT_EXIT {
                    at_end(pid);
                }
                watch.stopped(pid, status);
                continue;
            }
        };
        if pid == child {
            return Ok(ended);
        }
        watch.gone(pid);
        others(pid, ended);
    }
}

/// What there is to be told of a child, or of a traced thread.
fn news(flags: i32) -> Result<libc::siginfo_t> {
    // SAFETY: zeroed is a valid siginfo_t, and the pointer is to a whole one.
    let (code, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        (libc::waitid(libc::P_ALL, 0, &mut info, flags | libc::__WALL), info)
    };
    check(code).map(|_| info)
}

/// Waits for one of these signals, for so long at most.
fn next_signal(set: &SigSet, limit: Option<Duration>) -> Result<Option<libc::siginfo_t>> {
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
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: null asks for no change, and the other pointer is to a whole rlimit.
    check(unsafe { libc::prlimit64(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limit) })?;
    Ok(limit.rlim_cur)
}

/// A shell in there may have left the terminal to a process group that is gone.
pub(super) fn take_terminal() {
    // SAFETY: these calls take no pointers. One that is not in the foreground is stopped by the signal, unless it
    // ignores it.
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
