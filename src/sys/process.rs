//! Processes, signals, limits and users, as Unix systems share them.
//!
//! It starts processes and ends this one. Each operating system has its own way to wake a wait.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeValLike;

use super::{Fault, Result, check, check_size};

/// Which side of a fork() this is.
pub enum Fork {
    Child,
    Parent(i32),
}

/// fork(2), for processes of one thread: a worker and those below it, and what `exec` runs in, start none.
pub fn fork() -> Result<Fork> {
    debug_assert!(super::os::threads().is_none_or(|threads| threads == 1), "a process of several threads forks");
    // SAFETY: in a process of one thread, which the tests hold to above, no lock is held by a thread that the child lacks, so
    // that the child may do what its parent may.
    Ok(match check(unsafe { libc::fork() })? {
        0 => Fork::Child,
        pid => Fork::Parent(pid),
    })
}

/// _exit(2): no destructors, no buffers, at once.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(code) }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Killed(i32),
}

impl Ended {
    /// As a shell would say it.
    pub fn code(self) -> i32 {
        match self {
            Ended::Exited(code) => code,
            Ended::Killed(signal) => 128 + signal,
        }
    }
}

/// waitpid(2), without a deadline.
pub fn reap(pid: i32) -> Result<Ended> {
    let mut status = 0;
    // SAFETY: the pointer is to an int.
    check(unsafe { libc::waitpid(pid, &mut status, super::os::WAIT_FLAGS) })?;
    Ok(ended(status))
}

/// Waits for a child for at most `limit` by looking again and again, where nothing can be polled; `None` if it is still running then.
pub fn look_for(pid: i32, limit: Duration) -> Result<Option<Ended>> {
    let end = Instant::now() + limit;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to an int.
        if check(unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) })? == pid {
            return Ok(Some(ended(status)));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        pause_ms(0.5);
    }
}

/// The signal by which a child is stopped now, if it is. It stays ours to reap.
pub fn stopped_by(pid: i32) -> Option<i32> {
    // SAFETY: zeroed is a valid siginfo_t, and the pointer is to a whole one.
    let (code, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
        (libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags), info)
    };
    // SAFETY: waitid(2) has filled in both, or left them 0.
    let (stopped, signal) = unsafe { (info.si_pid(), info.si_status()) };
    (code == 0 && stopped == pid).then_some(signal)
}

/// Whether a signal stops those that want something from a terminal which others have.
pub fn is_from_terminal(signal: i32) -> bool {
    [libc::SIGTTIN, libc::SIGTTOU].contains(&signal)
}

pub(super) fn ended(status: i32) -> Ended {
    if libc::WIFSIGNALED(status) {
        Ended::Killed(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    }
}

/// Whether this process has any child left, ended or not; one that has ended is reaped.
pub fn any_child() -> bool {
    // SAFETY: a null status pointer asks for none.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) != -1 }
}

/// kill(2) with SIGKILL.
pub fn kill(pid: i32) {
    // SAFETY: kill(2) takes no pointers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Lets a process that was stopped go on.
pub fn wake(pid: i32) {
    // SAFETY: kill(2) takes no pointers.
    unsafe { libc::kill(pid, libc::SIGCONT) };
}

/// Gives a command an open file of this process, under the name that is returned.
pub fn lend(command: &mut Command, file: &std::fs::File) -> PathBuf {
    let fd = file.as_raw_fd();
    // SAFETY: fcntl(2) is all that the child calls, and takes no pointers here.
    unsafe {
        command.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        })
    };
    PathBuf::from(format!("/dev/fd/{fd}"))
}

/// A file that this process was given by that name is not for those that it starts.
pub fn keep_lent(path: &Path) {
    let fd =
        ["/dev/fd", "/proc/self/fd"].iter().find_map(|place| path.strip_prefix(place).ok()?.to_str()?.parse().ok());
    if let Some(fd) = fd.filter(|fd: &i32| *fd > 2) {
        // SAFETY: fcntl(2) takes no pointers here, and fails where there is no such descriptor.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Sends this process a signal with its default effect.
pub fn raise(signal: i32) -> Result<()> {
    // SAFETY: restoring the default needs no handler. Without it the standard library's SIGSEGV handler would swallow
    // a signal that comes from kill(2).
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: kill(2) takes no pointers.
    check(unsafe { libc::kill(libc::getpid(), signal) }).map(drop)
}

/// Ctrl-C is the coordinator's to handle, although the terminal sends it to the whole process group.
pub fn ignore_interrupts() {
    // SAFETY: ignoring needs no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}

static FIRED: AtomicBool = AtomicBool::new(false);

extern "C" fn fired(_: i32) {
    FIRED.store(true, Ordering::Relaxed);
}

/// Runs a call that may block, and interrupts it after `ms`.
pub fn bounded<T>(ms: u32, call: impl FnOnce() -> Result<T>) -> Result<T, Fault> {
    FIRED.store(false, Ordering::Relaxed);
    catch_alarms();
    // It goes on firing, in case that the first signal came just before the call went to sleep.
    set_timer(ms.max(1), 5);
    let result = call();
    set_timer(0, 0);
    match result {
        Err(errno) if errno.raw() == libc::EINTR && FIRED.load(Ordering::Relaxed) => Err(Fault::Blocked { ms }),
        result => Ok(result?),
    }
}

/// No SA_RESTART: EINTR is the point.
fn catch_alarms() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    // Below a process that keeps signals for a command it would never come.
    let _ = SigSet::from(Signal::SIGALRM).thread_unblock();
    // SAFETY: zeroed is a valid sigaction; the handler only stores to an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = fired as extern "C" fn(i32) as libc::sighandler_t;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
    }
}

fn set_timer(first_ms: u32, then_ms: u32) {
    let timer = libc::itimerval { it_value: timeval(first_ms), it_interval: timeval(then_ms) };
    // SAFETY: the pointer is to a whole itimerval, and the old value is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}

/// The widths of its fields differ between systems, which is `nix`'s to know.
pub(super) fn timeval(ms: u32) -> libc::timeval {
    *nix::sys::time::TimeVal::milliseconds(ms.into()).as_ref()
}

/// Sleeps for `ms`; a signal may end it early.
pub fn pause_ms(ms: f64) {
    std::thread::sleep(std::time::Duration::from_secs_f64(ms / 1000.0));
}

/// Waits for the signal that ends this process.
pub fn pause_for_ever() -> ! {
    loop {
        // SAFETY: pause(2) takes no arguments.
        unsafe { libc::pause() };
    }
}

/// The effective uid, changed alone, so that it can be changed back.
pub fn set_effective_uid(uid: u32) -> Result<()> {
    os_set_effective_uid(uid)?;
    // A change of credentials clears it (prctl(2), PR_SET_PDEATHSIG).
    super::os::die_with_parent();
    Ok(())
}

#[cfg(target_os = "linux")]
fn os_set_effective_uid(uid: u32) -> Result<()> {
    const UNCHANGED: libc::uid_t = libc::uid_t::MAX;
    // Not by its number: processors of 32 bits have an older call of that name, whose uids have 16.
    // SAFETY: setresuid(2) takes no pointers.
    check(unsafe { libc::setresuid(UNCHANGED, uid, UNCHANGED) }).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn os_set_effective_uid(uid: u32) -> Result<()> {
    // SAFETY: seteuid(2) takes no pointers.
    check(unsafe { libc::seteuid(uid) }).map(drop)
}

pub fn effective_uid() -> u32 {
    // SAFETY: it takes no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// Soft and hard RLIMIT_NOFILE, as far as the kernel keeps to them.
pub fn descriptor_limit() -> (u64, u64) {
    let (limit, most) = (raw_descriptor_limit(), super::os::most_descriptors());
    // They have a sign on FreeBSD.
    let own = |limit| u64::try_from(i128::from(limit)).unwrap_or(u64::MAX).min(most);
    (own(limit.rlim_cur), own(limit.rlim_max))
}

fn raw_descriptor_limit() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a whole rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit
}

pub fn set_descriptor_limit(soft: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft as libc::rlim_t, rlim_max: raw_descriptor_limit().rlim_max };
    // SAFETY: the pointer is to a whole rlimit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map(drop)
}

/// Soft and hard RLIMIT_NOFILE, for good.
pub fn limit_descriptors(most: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: most as libc::rlim_t, rlim_max: most as libc::rlim_t };
    // SAFETY: the pointer is to a whole rlimit.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map(drop)
}

/// The lowest descriptor that is free in a program that this process becomes.
pub fn lowest_inheritable_gap() -> u64 {
    let is_inherited = |fd: &u64| {
        // SAFETY: F_GETFD takes no pointers.
        let flags = unsafe { libc::fcntl(*fd as i32, libc::F_GETFD) };
        flags != -1 && flags & libc::FD_CLOEXEC == 0
    };
    (0..descriptor_limit().0).find(|fd| !is_inherited(fd)).unwrap_or(0)
}

/// Whether standard input is a terminal, and this process's group has it.
pub fn is_in_foreground() -> bool {
    // SAFETY: these calls take no pointers.
    unsafe { libc::tcgetpgrp(0) == libc::getpgrp() }
}

/// From now on this process is a group of its own, which has the terminal of standard input.
pub fn take_foreground() {
    // SAFETY: these calls take no pointers. A group that does not have the terminal is stopped by the signal, unless it ignores it.
    unsafe {
        libc::setpgid(0, 0);
        let former = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        libc::tcsetpgrp(0, libc::getpid());
        libc::signal(libc::SIGTTOU, former);
    }
}

/// From now on signals of the terminal's keys are for others.
pub fn lead_group() {
    // SAFETY: setpgid(2) takes no pointers.
    unsafe { libc::setpgid(0, 0) };
}

/// A case that crashes on purpose leaves no core file.
pub fn no_core_files() {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a whole rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) };
}

/// The lowest descriptor that is free, below which all are open.
pub fn lowest_free_descriptor() -> Result<u64> {
    // SAFETY: dup(2) takes no pointers.
    let fd = check(unsafe { libc::dup(0) })?;
    // SAFETY: the descriptor is new and used nowhere else.
    unsafe { libc::close(fd) };
    Ok(fd as u64)
}

/// How many descriptors below `limit` are open: those above it, opened before it was lowered, leave none of them less free.
pub fn open_descriptors(limit: u64) -> Result<u64> {
    // The question takes one itself.
    let own = lowest_free_descriptor()?;
    let entries = std::fs::read_dir(super::os::DESCRIPTORS).map_err(|error| super::errno_of(&error))?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    Ok(numbers.filter(|number| *number < limit && *number != own).count() as u64)
}

/// Moves standard input and output out of the way: children find /dev/null there, and plans stay ours.
pub fn take_standard_streams() -> std::io::Result<(std::fs::File, std::fs::File)> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let take = |fd: i32| -> std::io::Result<std::fs::File> {
        // SAFETY: fcntl(2) and dup2(2) take no pointers; the new descriptor is owned by the file that is returned.
        unsafe {
            let moved = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3);
            if moved == -1 || libc::dup2(null.as_raw_fd(), fd) == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(std::fs::File::from_raw_fd(moved))
        }
    };
    Ok((take(0)?, take(1)?))
}

/// Where `file` is a terminal, bytes pass it as they are from now on.
pub fn raw_terminal(file: &std::fs::File) {
    // SAFETY: zeroed is a valid termios, which tcgetattr(3) fills in; where it cannot, nothing else is called.
    unsafe {
        let mut terminal: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(file.as_raw_fd(), &mut terminal) == 0 {
            libc::cfmakeraw(&mut terminal);
            libc::tcsetattr(file.as_raw_fd(), libc::TCSANOW, &terminal);
        }
    }
}

/// pipe(2): the end to read from, the end to write to.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for both descriptors.
    check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
    // SAFETY: both descriptors are new and owned by nobody.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Closes everything but this, which it gives back. Fails where not even descriptor 3 may be had (RLIMIT_NOFILE).
pub fn keep_only(fd: OwnedFd) -> Result<OwnedFd> {
    // SAFETY: dup2(2) takes no pointers; a fresh process uses nothing else of what it inherited.
    let moved = check(unsafe { libc::dup2(fd.as_raw_fd(), 3) })?;
    // It may have been 3 before, and is closed below otherwise.
    std::mem::forget(fd);
    super::os::close_from(4);
    // SAFETY: dup2(2) has succeeded, so that descriptor 3 is open; its former owner, if any, is used no more.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

pub fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is valid for its length.
    check_size(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

pub fn write(fd: &OwnedFd, data: &[u8]) -> Result<usize> {
    // SAFETY: the data is valid for its length.
    check_size(unsafe { libc::write(fd.as_raw_fd(), data.as_ptr().cast(), data.len()) })
}

/// A number that nobody else guesses.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    getrandom::u64().unwrap_or_else(|_| std::hash::RandomState::new().build_hasher().finish())
}

pub fn machine() -> super::Machine {
    let uname = nix::sys::utsname::uname();
    let text = |part: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        uname.as_ref().map(|uname| part(uname).to_string_lossy().into_owned()).unwrap_or_default()
    };
    let stack = is_gvisor(&text(|uname| uname.version())).then_some("gvisor");
    super::Machine { release: text(|uname| uname.release()), arch: text(|uname| uname.machine()), stack }
}

/// gVisor names itself in no system call. It passes for a build of Linux 4.4 made five minutes after that was tagged, which nobody
/// made (`pkg/sentry/syscalls/linux/linux64.go`), whatever release it claims: 4.4.0 for long, 4.19.0-gvisor since.
fn is_gvisor(version: &str) -> bool {
    version == "#1 SMP Sun Jan 10 15:06:54 PST 2016"
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Ended, look_for};

    #[test]
    fn a_child_is_looked_for_until_it_ends_or_time_is_up() {
        let start = |time: &str| Command::new("sleep").arg(time).spawn().expect("it is everywhere");
        let ended = look_for(start("0").id() as i32, Duration::from_secs(60));
        assert!(matches!(ended, Ok(Some(Ended::Exited(0)))));
        let mut lasting = start("1000");
        assert!(matches!(look_for(lasting.id() as i32, Duration::from_millis(20)), Ok(None)));
        lasting.kill().and_then(|()| lasting.wait()).expect("it is still ours");
    }
}
