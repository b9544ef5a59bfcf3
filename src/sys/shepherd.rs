//! Between a command and the process that stands in for it, by what POSIX has: its signals and its end.
//!
//! Linux has its own way, by which it also sees what others that the command has left behind do. Here they live on.

use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::low_level;

use super::signals::{FORWARDED, GRACE};
use super::{Ended, Flock, Result, Until, check, errno_of, poll, process};
use crate::errno::Errno;

/// The longest sleep: a signal that comes between two looks ends it at once, and this is for what has no signal.
const LONGEST: Duration = Duration::from_secs(60);

/// Signals that have come and that nobody has dealt with, a bit each.
static COME: AtomicU32 = AtomicU32::new(0);

/// A byte for each signal.
static WAKER: Mutex<Option<UnixStream>> = Mutex::new(None);

/// From now on signals wait for [`shepherd`]. Nothing has to be restored: a command gets the usual handlers of all.
pub struct Caller;

impl Caller {
    pub fn current() -> Result<Caller> {
        let failed = |error: std::io::Error| errno_of(&error);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        for end in [&ours, &theirs] {
            end.set_nonblocking(true).map_err(failed)?;
        }
        for signal in FORWARDED.into_iter().chain([Signal::SIGCHLD]) {
            let bit = 1 << signal as u32;
            // SAFETY: the handler changes an atomic, which a signal cannot interrupt halfway.
            unsafe {
                low_level::register(signal as i32, move || {
                    COME.fetch_or(bit, Ordering::Relaxed);
                })
            }
            .map_err(failed)?;
            low_level::pipe::register(signal as i32, theirs.try_clone().map_err(failed)?).map_err(failed)?;
        }
        if let Ok(mut waker) = WAKER.lock() {
            *waker = Some(ours);
        }
        Ok(Caller)
    }

    pub fn restore(&self) -> Result<(), String> {
        Ok(())
    }
}

/// execvp(3): returns only if it fails.
#[cfg_attr(all(test, target_os = "linux"), expect(dead_code, reason = "Linux tests what macOS has"))]
pub fn become_command(command: &mut Command) -> Errno {
    errno_of(&command.exec())
}

/// Waits for a child, and meanwhile passes signals on to it. Says whether its time was up.
pub fn shepherd(child: i32, flock: Flock) -> Result<(Ended, bool)> {
    let mut waker = WAKER.lock().ok().and_then(|mut waker| waker.take());
    let mut deadline = flock.limit.map(|limit| Instant::now() + limit);
    let mut time_is_up = false;
    let command = Pid::from_raw(child);
    loop {
        if has_ended(child)? {
            (flock.at_end)(child);
            return Ok((process::reap(child)?, time_is_up));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let _ = kill(command, if time_is_up { Signal::SIGKILL } else { Signal::SIGTERM });
            // One that is stopped ends only when it goes on.
            let _ = kill(command, Signal::SIGCONT);
            deadline = (!time_is_up).then(|| Instant::now() + GRACE);
            time_is_up = true;
        }
        let left = deadline.map_or(LONGEST, |deadline| deadline.saturating_duration_since(Instant::now()).min(LONGEST));
        match &mut waker {
            Some(waker) => {
                // Rounded up, or the last millisecond would be one of many looks.
                match poll(waker.as_raw_fd(), Until::Readable, left.as_millis() as u32 + 1) {
                    Err(errno) if errno.raw() != libc::EINTR => return Err(errno),
                    _ => drain(waker),
                }
            }
            None => process::pause_ms(left.as_secs_f64().min(0.01) * 1000.0),
        }
        let come = COME.swap(0, Ordering::Relaxed);
        for signal in FORWARDED.into_iter().filter(|&signal| come & 1 << signal as u32 != 0) {
            if !is_of_the_terminal(signal) {
                let _ = kill(command, signal);
            }
        }
    }
}

/// Whether it has ended; it can still be asked about.
fn has_ended(child: i32) -> Result<bool> {
    // SAFETY: zeroed is a valid siginfo_t, and the pointer is to a whole one, which stays zero if there is no news.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        check(libc::waitid(
            libc::P_PID,
            child as libc::id_t,
            &mut info,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        ))?;
        Ok(info.si_pid() == child)
    }
}

/// A terminal sends the signals of its keys to everybody in front of it, so that the command has had it already.
fn is_of_the_terminal(signal: Signal) -> bool {
    // SAFETY: neither call takes a pointer.
    matches!(signal, Signal::SIGINT | Signal::SIGQUIT) && unsafe { libc::tcgetpgrp(0) == libc::getpgrp() }
}

fn drain(waker: &mut UnixStream) {
    let mut bytes = [0; 64];
    while match waker.read(&mut bytes) {
        Ok(size) => size == bytes.len(),
        Err(error) => error.kind() == ErrorKind::Interrupted,
    } {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because handlers belong to the whole process.
    #[test]
    fn a_command_ends_as_it_would_alone() {
        let run = |script: &str, limit: Option<u64>, signal: Option<i32>| {
            let mut ended = None;
            let mut command = Command::new("sh");
            if script.starts_with(": deaf") {
                // SAFETY: ignoring needs no handler.
                unsafe {
                    command.pre_exec(|| {
                        libc::signal(libc::SIGTERM, libc::SIG_IGN);
                        Ok(())
                    });
                }
            }
            let child = command.args(["-c", script]).spawn().unwrap().id() as i32;
            if let Some(signal) = signal {
                // SAFETY: raise(3) takes no pointers.
                unsafe { libc::raise(signal) };
            }
            let mut at_end = |pid| ended = Some(pid);
            let limit = limit.map(Duration::from_millis);
            let result = shepherd(child, Flock { limit, at_end: &mut at_end, watch: None }).unwrap();
            assert_eq!(ended, Some(child), "{script}");
            result
        };
        assert_eq!(run("exit 3", None, None), (Ended::Exited(3), false), "also without the signals");
        Caller::current().unwrap().restore().unwrap();
        assert_eq!(run("kill -USR1 $$", None, None), (Ended::Killed(libc::SIGUSR1), false));
        Caller::current().unwrap();
        assert_eq!(run("exec sleep 60", None, Some(libc::SIGUSR2)), (Ended::Killed(libc::SIGUSR2), false));
        Caller::current().unwrap();
        assert_eq!(run("exec sleep 60", Some(20), None), (Ended::Killed(libc::SIGTERM), true));
        Caller::current().unwrap();
        assert_eq!(run(": deaf; exec sleep 60", Some(20), None), (Ended::Killed(libc::SIGKILL), true));
        Caller::current().unwrap();
        assert!(run("kill -STOP $$; exit 4", Some(20), None).1, "one that is stopped is woken up to end");
    }
}
