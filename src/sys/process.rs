//! Processes, signals, limits and users, as Unix systems share them.
//!
//! It starts processes and ends this one. Each operating system has its own way to wake a wait.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeValLike;
use rustix::io::{self, FdFlags};
use rustix::process::{self, Pid, Resource, Rlimit, WaitId, WaitIdOptions, WaitOptions};
use rustix::termios;

use super::{Fault, Result, answer, check};

/// Which side of a fork() this is.
pub enum Fork {
    Child,
    Parent(i32),
}

/// fork(2), for processes of one thread: a worker and those below it, and what `exec` runs in, start none.
pub fn fork() -> Result<Fork> {
    debug_assert!(super::os::threads().is_none_or(|threads| threads == 1), "a process of several threads forks");
    // SAFETY: in a process of one thread, which the tests hold to above, no lock is held by a thread that the child
    // lacks, so that the child may do what its parent may.
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
    // SAFETY: the pointer is to an int. rustix has no __WALL.
    check(unsafe { libc::waitpid(pid, &mut status, super::os::WAIT_FLAGS) })?;
    Ok(ended(status))
}

/// Waits for a child for at most `limit` by looking again and again, where nothing can be polled; `None` if it is still
/// running then.
pub fn look_for(pid: i32, limit: Duration) -> Result<Option<Ended>> {
    let end = Instant::now() + limit;
    loop {
        if let Some((_, status)) = answer(process::waitpid(Pid::from_raw(pid), WaitOptions::NOHANG))? {
            return Ok(Some(ended(status.as_raw())));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        pause_ms(0.5);
    }
}

/// The signal by which a child is stopped now, if it is. It stays ours to reap.
pub fn stopped_by(pid: i32) -> Option<i32> {
    let flags = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    process::waitid(WaitId::Pid(Pid::from_raw(pid)?), flags).ok()??.stopping_signal()
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
    process::wait(WaitOptions::NOHANG).is_ok()
}

/// kill(2) with SIGKILL.
pub fn kill(pid: i32) {
    signal(pid, process::Signal::KILL);
}

/// Lets a process that was stopped go on.
pub fn wake(pid: i32) {
    signal(pid, process::Signal::CONT);
}

fn signal(pid: i32, signal: process::Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = process::kill_process(pid, signal);
    }
}

/// Gives a command an open file of this process, under the name that is returned.
pub fn lend(command: &mut Command, file: &std::fs::File) -> PathBuf {
    let fd = file.as_raw_fd();
    // SAFETY: fcntl(2) is all that the child calls; the caller keeps the file open until the command runs.
    unsafe { command.pre_exec(move || Ok(io::fcntl_setfd(BorrowedFd::borrow_raw(fd), FdFlags::empty())?)) };
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
    // SAFETY: restoring the default needs no handler. Without it the standard library's SIGSEGV handler would swallow a
    // signal that comes from kill(2).
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
    process::geteuid().as_raw()
}

/// What passwd(5) calls a user, where it knows the uid.
pub fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()))?;
    line.split(':').next().map(str::to_owned)
}

/// Soft and hard RLIMIT_NOFILE, as far as the kernel keeps to them.
pub fn descriptor_limit() -> (u64, u64) {
    let (limit, most) = (process::getrlimit(Resource::Nofile), super::os::most_descriptors());
    // None is RLIM_INFINITY.
    let own = |limit: Option<u64>| limit.unwrap_or(u64::MAX).min(most);
    (own(limit.current), own(limit.maximum))
}

pub fn set_descriptor_limit(soft: u64) -> Result<()> {
    let limit = Rlimit { current: Some(soft), ..process::getrlimit(Resource::Nofile) };
    answer(process::setrlimit(Resource::Nofile, limit))
}

/// Soft and hard RLIMIT_NOFILE, for good.
pub fn limit_descriptors(most: u64) -> Result<()> {
    answer(process::setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }))
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
    // Not by rustix: in a PID namespace a group whose leader is outside of it is 0, which its `Pid` cannot be.
    // SAFETY: these calls take no pointers.
    unsafe { libc::tcgetpgrp(0) == libc::getpgrp() }
}

/// From now on this process is a group of its own, which has the terminal of standard input.
pub fn take_foreground() {
    // SAFETY: these calls take no pointers. A group that does not have the terminal is stopped by the signal, unless it
    // ignores it.
    unsafe {
        libc::setpgid(0, 0);
        let former = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        libc::tcsetpgrp(0, libc::getpid());
        libc::signal(libc::SIGTTOU, former);
    }
}

/// From now on signals of the terminal's keys are for others.
pub fn lead_group() {
    let _ = process::setpgid(None, None);
}

/// A case that crashes on purpose leaves no core file.
pub fn no_core_files() {
    let _ = process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// The lowest descriptor that is free, below which all are open.
pub fn lowest_free_descriptor() -> Result<u64> {
    Ok(answer(io::dup(rustix::stdio::stdin()))?.as_raw_fd() as u64)
}

/// How many descriptors below `limit` are open: those above it, opened before it was lowered, leave none of them less
/// free.
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
    let (input, output) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let moved = (io::fcntl_dupfd_cloexec(input, 3)?, io::fcntl_dupfd_cloexec(output, 3)?);
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok((moved.0.into(), moved.1.into()))
}

/// Where `file` is a terminal, bytes pass it as they are from now on.
pub fn raw_terminal(file: &std::fs::File) {
    if let Ok(mut terminal) = termios::tcgetattr(file) {
        terminal.make_raw();
        let _ = termios::tcsetattr(file, termios::OptionalActions::Now, &terminal);
    }
}

/// pipe(2): the end to read from, the end to write to.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    answer(rustix::pipe::pipe())
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
    answer(io::read(fd, buffer))
}

pub fn write(fd: &OwnedFd, data: &[u8]) -> Result<usize> {
    answer(io::write(fd, data))
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

/// gVisor names itself in no system call. It passes for a build of Linux 4.4 made five minutes after that was tagged,
/// which nobody made (`pkg/sentry/syscalls/linux/linux64.go`), whatever release it claims: 4.4.0 for long,
/// 4.19.0-gvisor since.
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
