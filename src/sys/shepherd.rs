//! Stands between a command and this program, by POSIX calls alone: its signals and its end.
//!
//! Linux has its own way, which also sees other processes that the command has left. Here they live on.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::low_level;

use super::signals::{FORWARDED, GRACE, ending, is_ignored, is_sent_by_terminals, stop};
use super::{Ended, Fault, Result, Supervision, Until, check, errno_of, poll, process};
use crate::words::errno::Errno;

/// The longest sleep: a signal that comes between two looks ends it at once, and this is for what has no signal.
const LONGEST: Duration = Duration::from_secs(60);

/// How long everybody in front of a terminal takes to get its signal.
const GROUP: Duration = Duration::from_millis(300);

/// Signals that have come and that nobody has dealt with, a bit each.
static COME: AtomicU32 = AtomicU32::new(0);

/// A byte for each signal.
static WAKER: Mutex<Option<UnixStream>> = Mutex::new(None);

/// The canary of the next command.
static CANARY: Mutex<Option<Canary>> = Mutex::new(None);

/// From now on signals wait for [`shepherd`]. Nothing has to be restored: a command gets the usual handlers of all.
pub struct Credentials;

impl Credentials {
    pub fn current() -> Result<Credentials> {
        let failed = |error: std::io::Error| errno_of(&error);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        for end in [&ours, &theirs] {
            end.set_nonblocking(true).map_err(failed)?;
        }
        // What is ignored stays so, also for the command.
        for signal in FORWARDED.into_iter().chain([Signal::SIGCHLD]).filter(|&signal| !is_ignored(signal)) {
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
        // It is there before the command is: a signal that comes in between is the command's once as well.
        if let Ok(mut canary) = CANARY.lock() {
            *canary = Some(Canary::new());
        }
        Ok(Credentials)
    }

    pub fn restore(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// execvp(3): returns only if it fails.
#[cfg_attr(all(test, target_os = "linux"), expect(dead_code, reason = "Linux tests what macOS has"))]
pub fn become_command(command: &mut Command) -> Errno {
    errno_of(&command.exec())
}

/// They wait in [`COME`] anyway.
pub(super) fn hold_signals() {}

/// Those that wait.
pub(super) fn forget_signals() {
    COME.store(0, Ordering::Relaxed);
}

/// A program in this process's group, which a signal to the whole group ends and one to this process alone does not:
/// POSIX has no other way to tell Ctrl-C, which the command gets by itself, from kill(1).
struct Canary(Option<Child>);

impl Canary {
    fn new() -> Canary {
        let (input, output) = (Stdio::piped(), Stdio::null());
        // It ends with its input, which is with this process.
        Canary(Command::new("cat").stdin(input).stdout(output).stderr(Stdio::null()).spawn().ok())
    }

    /// Whether the group has had a signal that has come.
    fn has_ended(&mut self) -> bool {
        let Some(child) = &mut self.0 else { return false };
        let ended = matches!(process::look_for(child.id() as i32, GROUP), Ok(Some(_)));
        if ended {
            *self = Canary::new();
        }
        ended
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// Waits for a child, and meanwhile passes signals on to it. Says whether its time was up.
pub fn shepherd(child: i32, flock: Supervision) -> Result<(Ended, bool)> {
    let mut canary = CANARY.lock().ok().and_then(|mut canary| canary.take()).unwrap_or_else(Canary::new);
    (flock.begin)()?;
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
                match poll(&waker, Until::Readable, left.as_millis() as u32 + 1) {
                    Err(errno) if errno.raw() != libc::EINTR => return Err(errno),
                    _ => drain(waker),
                }
            }
            None => process::pause_ms(left.as_secs_f64().min(0.01) * 1000.0),
        }
        let come = COME.swap(0, Ordering::Relaxed);
        for signal in FORWARDED.into_iter().filter(|&signal| come & 1 << signal as u32 != 0) {
            let ends = ending().any(|it| it == signal);
            if !(ends && is_sent_by_terminals(signal) && canary.has_ended()) {
                let _ = kill(command, signal);
            }
            if signal == Signal::SIGTSTP {
                stop();
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
            let (begin, others) = (&mut || Ok(()), &mut |_, _| ());
            let limit = limit.map(Duration::from_millis);
            let result =
                shepherd(child, Supervision { begin, limit, at_end: &mut at_end, others, watch: None }).unwrap();
            assert_eq!(ended, Some(child), "{script}");
            result
        };
        assert_eq!(run("exit 3", None, None), (Ended::Exited(3), false), "also without the signals");
        Credentials::current().unwrap().restore().unwrap();
        assert_eq!(run("kill -USR1 $$", None, None), (Ended::Killed(libc::SIGUSR1), false));
        Credentials::current().unwrap();
        assert_eq!(run("exec sleep 60", None, Some(libc::SIGUSR2)), (Ended::Killed(libc::SIGUSR2), false));
        Credentials::current().unwrap();
        assert_eq!(run("exec sleep 60", Some(20), None), (Ended::Killed(libc::SIGTERM), true));
        Credentials::current().unwrap();
        assert_eq!(run(": deaf; exec sleep 60", Some(20), None), (Ended::Killed(libc::SIGKILL), true));
        Credentials::current().unwrap();
        assert!(run("kill -STOP $$; exit 4", Some(20), None).1, "one that is stopped is woken up to end");
    }

    /// In a process of its own, which leads a group as a shell's job does: the keys of a terminal are for the whole
    /// group.
    #[test]
    #[expect(clippy::zombie_processes, reason = "the shepherd waits for it")]
    fn a_signal_comes_once_whether_it_is_for_the_group_or_not() {
        const INSIDE: &str = "ERRNOSCOPE_TEST_SHEPHERD";
        let Ok(inside) = std::env::var(INSIDE) else {
            let name = "sys::shepherd::tests::a_signal_comes_once_whether_it_is_for_the_group_or_not";
            for (inside, code) in [("signals", 0), ("the end", 143)] {
                let mut again = Command::new(std::env::current_exe().unwrap());
                // A shell cannot trap what was ignored when it began: SIGINT in the background, SIGHUP below nohup(1).
                // SAFETY: the default needs no handler.
                unsafe {
                    again.pre_exec(|| {
                        for signal in ending() {
                            libc::signal(signal as i32, libc::SIG_DFL);
                        }
                        Ok(())
                    });
                }
                let ran = again.args([name, "--exact"]).env(INSIDE, inside).process_group(0).output().unwrap();
                let said = String::from_utf8_lossy(&ran.stdout);
                assert_eq!(ran.status.code(), Some(code), "{said}");
                assert!(code != 0 || said.contains("1 passed"), "{said}");
            }
            return;
        };
        if inside == "the end" {
            use crate::sys::signals::{end_on_signals, keep_signals};
            Credentials::current().unwrap();
            end_on_signals(&[], Duration::ZERO).unwrap();
            keep_signals();
            hold_signals();
            kill(Pid::this(), Signal::SIGTERM).unwrap();
            forget_signals();
            end_on_signals(&[], Duration::from_millis(100)).unwrap();
            kill(Pid::this(), Signal::SIGTERM).unwrap();
            process::pause_ms(200.0);
            kill(Pid::this(), Signal::SIGWINCH).unwrap();
            kill(Pid::this(), Signal::SIGTERM).unwrap();
            process::pause_for_ever();
        }
        for (signal, to) in [
            (Signal::SIGINT, Pid::this()),
            (Signal::SIGINT, Pid::from_raw(0)),
            (Signal::SIGQUIT, Pid::from_raw(0)),
            (Signal::SIGHUP, Pid::from_raw(0)),
            (Signal::SIGHUP, Pid::this()),
            (Signal::SIGWINCH, Pid::this()),
        ] {
            Credentials::current().unwrap();
            let script = format!(
                "n=0; trap 'n=$((n+1))' {}; echo ready; i=0; while [ $i -lt 150 ]; do sleep .01; i=$((i+1)); done; exit $n",
                &signal.as_str()[3..]
            );
            let mut child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
            let mut output = child.stdout.take().unwrap();
            let sender = std::thread::spawn(move || {
                output.read_exact(&mut [0; 6]).unwrap();
                kill(to, signal).unwrap();
                output.read_to_end(&mut Vec::new()).unwrap();
            });
            let (begin, others) = (&mut || Ok(()), &mut |_, _| ());
            let flock = Supervision { begin, limit: None, at_end: &mut |_| (), others, watch: None };
            assert_eq!(shepherd(child.id() as i32, flock).unwrap(), (Ended::Exited(1), false), "{signal} to {to}");
            sender.join().unwrap();
        }
    }
}
