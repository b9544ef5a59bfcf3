//! Namespaces and the processes in them: a private host for a worker or a command, and a fresh network for each case.
//!
//! The process becomes two. The first only waits. The second is pid 1 of a private PID namespace, so everything below
//! it ends with it. It does not decide what a case or a command does there.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::mount::{self, MountFlags, MountPropagationFlags};
use rustix::{fs, process};

use super::command::{shepherd, take_terminal};
use super::host;
use super::user_namespace::{self, map_self, map_subordinate, unshare};
use crate::sys::{
    Ended, Fault, Fork, Isolate, Isolation, Purpose, Result, Supervision, Until, answer, any_child, check,
    effective_uid, exit_now, fork, keep_signals, look_for, machine, pipe, poll, read, reap, shared_host, socket,
    unsupported,
};
use crate::words::errno::{Errno, ErrnoName};
use crate::words::names::{Family, Need, Protocol};

/// Uids that no account has, for the two ordinary users of a privileged worker.
const PRIVILEGED_USERS: [u32; 2] = [60_001, 60_002];

/// Whether the network that this process is in was made by it or by the process that it was forked from.
static PRIVATE: AtomicBool = AtomicBool::new(false);

/// Whether nobody outside sees what is mounted.
static PRIVATE_MOUNTS: AtomicBool = AtomicBool::new(false);

/// Directories that many systems have for what somebody may put there, and that most have nothing in.
const OFTEN_EMPTY: [&CStr; 6] = [c"/var/empty", c"/mnt", c"/media", c"/srv", c"/opt", c"/home"];

/// Before anything of a network is changed: the host's stays as it is, whoever asks.
pub fn only_private() -> Result<(), Fault> {
    match PRIVATE.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err(unsupported(
            Need::NetworkNamespace,
            "there is no network of its own, and what this would change is everybody's",
        )),
    }
}

/// Enters a private network and PID namespace. Returns in the process that is pid 1 there, or, where that is not
/// possible, in the caller with the reason: then it takes the host that everybody has, a worker alone.
pub fn isolate(outside: Purpose, wanted: Isolate) -> Isolation {
    match outside {
        Purpose::Worker => {
            let parent = process::getppid();
            die_with_parent();
            // A parent that died before is noticed by the end of standard input.
            if process::getppid() != parent {
                exit_now(1);
            }
        }
        Purpose::Command => keep_signals(),
    }
    if outside == Purpose::Worker
        && let Some(stack) = machine().stack
    {
        return sandbox(stack);
    }
    let mut users = PRIVILEGED_USERS;
    let entered = match wanted {
        Isolate::Never => Err(Fault::Failed("none was asked for".to_owned())),
        Isolate::WherePossible => is_survived().and_then(|()| enter_private_host(&mut users)),
    };
    let lacking = |why: String| Isolation { kind: "none", users, lacking: Some(why), shared: None };
    match (entered, outside) {
        (Ok(()), _) => match become_init(outside) {
            Ok(()) => {
                PRIVATE.store(true, Ordering::Relaxed);
                Isolation { kind: "netns", users, lacking: None, shared: None }
            }
            Err(why) => lacking(format!("pid 1 of a new PID namespace: {why}")),
        },
        (Err(why), Purpose::Worker) => share_host(users, why.to_string()),
        (Err(why), Purpose::Command) => Isolation { kind: "none", users, lacking: None, shared: Some(why.to_string()) },
    }
}

fn enter_private_host(users: &mut [u32; 2]) -> Result<(), Fault> {
    let Err(first) = private_host() else { return Ok(()) };
    let entered = enter_user_namespace().and_then(|mapped| {
        *users = mapped;
        private_host().map_err(|second| Fault::Failed(format!("{second} in a user namespace")))
    });
    entered.map_err(|second| Fault::Failed(format!("{first}; {second}")))
}

/// Cases run on the host that everybody has, where a worker is alone, and changes nothing that others could notice.
fn share_host(users: [u32; 2], why: String) -> Isolation {
    shared_host::be_the_only_worker();
    host::keep_others_out();
    // What a case leaves behind is this process's to bury, whoever pid 1 is.
    let _ = process::set_child_subreaper(Some(process::getpid()));
    Isolation { kind: "none", users, lacking: None, shared: Some(why) }
}

/// Some sandboxes kill a process for a call that they forbid. Where there is a filter, another process tries first.
fn is_survived() -> Result<(), Fault> {
    // SAFETY: with this argument prctl(2) takes no other.
    if unsafe { libc::prctl(libc::PR_GET_SECCOMP) } != libc::SECCOMP_MODE_FILTER as i32 {
        return Ok(());
    }
    match fork()? {
        Fork::Child => {
            let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNET;
            let _ = unshare(flags);
            exit_now(0)
        }
        Fork::Parent(pid) => match reap(pid) {
            Ok(Ended::Killed(signal)) => Err(Fault::Failed(format!(
                "unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET): a seccomp filter kills whoever calls it (signal {signal})"
            ))),
            _ => Ok(()),
        },
    }
}

/// gVisor has network namespaces, but only one set of `net.*` sysctls, those of the first
/// (`pkg/sentry/fsimpl/proc/tasks_sys.go`), and no table that tells one namespace's sockets from another's: what is
/// private is the sandbox, if nobody else is in it.
fn sandbox(stack: &str) -> Isolation {
    let users = PRIVILEGED_USERS;
    match process::getpid().is_init() {
        true => {
            PRIVATE.store(true, Ordering::Relaxed);
            Isolation { kind: "sandbox", users, lacking: None, shared: None }
        }
        false => {
            let lacking = format!(
                "{stack} has no private network for a case but that of a fresh sandbox, and this one is in use: from outside, \
                 `errnoscope run --on 'runsc --network=none do --'` starts one for each"
            );
            Isolation { kind: "none", users, lacking: Some(lacking), shared: None }
        }
    }
}

/// ENOSPC says nothing about disks here (`inc_ucount()`, kernel/ucount.c).
fn told(errno: &Errno) -> String {
    match errno.raw() {
        libc::ENOSPC => format!("{errno}: raise user.max_net_namespaces and user.max_pid_namespaces"),
        _ => errno.to_string(),
    }
}

fn private_host() -> Result<(), Fault> {
    let call = "unshare(CLONE_NEWPID | CLONE_NEWNET)";
    match unshare_for_sure(libc::CLONE_NEWPID | libc::CLONE_NEWNET, "net") {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Fault::Failed(format!("{call}: it gives 0 and does nothing; a seccomp filter answers for the kernel")))
        }
        Err(errno) => Err(Fault::Failed(format!("{call}: {}", told(&errno)))),
    }
}

/// Whether this process is in another namespace of that kind now. A seccomp filter may let a call succeed that is never
/// made; what is done then is done to the host. Without /proc nobody can tell, and no sysctl can be written.
fn unshare_for_sure(flags: i32, kind: &str) -> Result<bool> {
    let namespace = || std::fs::read_link(format!("/proc/self/ns/{kind}")).ok();
    let before = namespace();
    unshare(flags)?;
    Ok(before.is_none() || before != namespace())
}

/// Forks; the parent mirrors how the child ends and never returns.
fn become_init(outside: Purpose) -> Result<(), Fault> {
    let (alive, held) = pipe()?;
    match fork()? {
        Fork::Parent(pid) => {
            drop(alive);
            let ended = match outside {
                Purpose::Worker => reap(pid),
                Purpose::Command => {
                    let (begin, others) = (&mut || Ok(()), &mut |_, _| ());
                    let ended =
                        shepherd(pid, Supervision { begin, limit: None, at_end: &mut |_| (), others, watch: None });
                    take_terminal();
                    ended.map(|(ended, _)| ended)
                }
            };
            drop(held);
            exit_now(ended.map_or(1, Ended::code))
        }
        Fork::Child => {
            drop(held);
            die_with_parent();
            // From in here the parent's pid is always 0; its end of the pipe tells whether it died before this.
            if poll(&alive, Until::Readable, 0)? {
                exit_now(1);
            }
            if !process::getpid().is_init() {
                return Err(Fault::Failed("there is none; a seccomp filter answers for the kernel".to_owned()));
            }
            match outside {
                Purpose::Worker => writable_sysctls(),
                // For ps(1) in there. Where a container hides parts of /proc, the kernel refuses: the old one has to
                // do.
                Purpose::Command => drop(private_proc()),
            }
            Ok(())
        }
    }
}

/// Container runtimes mount /proc/sys read-only. A procfs of our own, where we may mount one, is not.
fn writable_sysctls() {
    let writable = fs::access("/proc/sys/net/ipv4/ip_local_port_range", fs::Access::WRITE_OK);
    if writable == Err(rustix::io::Errno::ROFS) {
        let _ = private_proc();
    }
}

/// A procfs of this PID namespace, which nobody outside sees.
fn private_proc() -> Result<()> {
    if !unshare_for_sure(libc::CLONE_NEWNS, "mnt")? {
        return Err(crate::words::errno::Errno::from_raw(super::OS, libc::ENOSYS));
    }
    answer(mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE))?;
    PRIVATE_MOUNTS.store(true, Ordering::Relaxed);
    answer(mount::mount("proc", "/proc", "proc", MountFlags::empty(), None))
}

/// An empty directory that everybody in there may write to, and that ends with this mount namespace: a file system over
/// a directory that has nothing in it, so that nothing is hidden.
pub fn empty_directory() -> Result<PathBuf> {
    let place = OFTEN_EMPTY.into_iter().find_map(|place| {
        let path = PathBuf::from(place.to_str().ok()?);
        std::fs::read_dir(&path).ok()?.next().is_none().then_some((place, path))
    });
    let (Some((place, path)), true) = (place, PRIVATE_MOUNTS.load(Ordering::Relaxed)) else {
        return Err(Errno::from_raw(super::OS, libc::ENOTSUP));
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    answer(mount::mount("tmpfs", place, "tmpfs", flags, Some(c"mode=1777")))?;
    Ok(path)
}

/// Makes an empty directory that everybody may write to the current one. Nothing of it is left when this process ends,
/// however that comes: it is a file system that is mounted nowhere, or one of a sandbox that ends with the case.
pub fn enter_directory(isolation: &Isolation) -> Result<(), Fault> {
    if isolation.is_shared() {
        return shared_host::enter_directory();
    }
    only_private()?;
    if isolation.kind == "sandbox" {
        // gVisor has no fsopen(2).
        PRIVATE_MOUNTS.store(true, Ordering::Relaxed);
        return Ok(answer(process::chdir(&empty_directory()?))?);
    }
    // Who is root of a user namespace alone may mount only in a mount namespace of that.
    unshare(libc::CLONE_NEWNS)?;
    let directory = answer(super::file::nameless_file_system())?;
    answer(process::fchdir(&directory))?;
    process::umask(fs::Mode::from_raw_mode(0o022));
    Ok(())
}

/// Makes the file system of the current directory a read-only one (fspick(2), Linux 5.2).
pub fn make_read_only() -> Result<(), Fault> {
    only_private()?;
    let reconfigured = || {
        let system = mount::fspick(fs::CWD, ".", mount::FsPickFlags::FSPICK_CLOEXEC)?;
        mount::fsconfig_set_flag(&system, "ro")?;
        mount::fsconfig_reconfigure(&system)
    };
    Ok(answer(reconfigured())?)
}

/// Becomes uid 0 of a new user namespace, with two more uids where subordinate ids are to be had.
fn enter_user_namespace() -> Result<[u32; 2], Fault> {
    let (uid, gid) = (process::geteuid().as_raw(), process::getegid().as_raw());
    let pid = process::getpid().as_raw_pid();
    // newuidmap(1) must run outside, and can only do so once we are inside.
    let (go, inside) = pipe()?;
    let helper = match fork()? {
        Fork::Child => {
            drop(inside);
            let _ = read(&go, &mut [0]);
            exit_now(i32::from(!map_subordinate(pid, uid, gid)))
        }
        Fork::Parent(helper) => helper,
    };
    let entered = keeping_death_signal(|| unshare(libc::CLONE_NEWUSER));
    drop(inside);
    let subordinate = reap(helper) == Ok(Ended::Exited(0));
    entered.map_err(|errno| user_namespace::refused(&errno, uid))?;
    if !subordinate {
        map_self([0, 0], [uid, gid], uid)?;
    }
    debug_assert_eq!(effective_uid(), 0);
    Ok([1, 2])
}

/// PR_SET_PDEATHSIG. It is lost on every change of credentials, and never inherited.
pub fn die_with_parent() {
    let _ = process::set_parent_process_death_signal(Some(process::Signal::KILL));
}

/// Does something that changes this process's credentials. Whoever wants it to die with its parent, as a worker does or
/// who started it ([`end_with_this`]), still has that.
fn keeping_death_signal<T>(change: impl FnOnce() -> T) -> T {
    let (signal, parent) = (process::parent_process_death_signal().ok().flatten(), process::getppid());
    let changed = change();
    if let Some(signal) = signal {
        let _ = process::set_parent_process_death_signal(Some(signal));
        if process::getppid() != parent {
            let _ = process::kill_process(process::getpid(), signal);
        }
    }
    changed
}

/// Has a command die when this thread does, whatever ends it.
pub fn end_with_this(command: &mut Command) {
    let parent = Some(process::getpid());
    // SAFETY: prctl(2) and getppid(2) are all that the child calls.
    unsafe {
        command.pre_exec(move || {
            die_with_parent();
            // It may have died before.
            if process::getppid() == parent { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
        })
    };
}

/// How large the hash tables of the next network namespaces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// A handful of sockets: nothing to scan when they are dumped or torn down.
    Small,
    /// A whole range of ports. The kernel derives tcp_max_tw_buckets from it, as half of this (`tcp_set_hashinfo`).
    Large,
}

/// Gives the namespaces that are made from now on hash tables of their own: dumping and tearing down would otherwise
/// scan those of the host (262,144 buckets where this was measured). Linux 6.1; older kernels do without.
pub fn size_tables(tables: Tables) {
    let (tcp, udp) = match tables {
        Tables::Small => ("512", "128"),
        Tables::Large => ("65536", "4096"),
    };
    for (name, entries) in [("net.ipv4.tcp_child_ehash_entries", tcp), ("net.ipv4.udp_child_hash_entries", udp)] {
        let _ = super::write_sysctl(name, entries);
    }
}

/// A fresh network namespace with `lo` up, where there are any.
pub fn enter_case(isolation: &Isolation) -> Result<()> {
    if isolation.is_shared() {
        return shared_host::enter_case();
    }
    unshare(libc::CLONE_NEWNET)?;
    let control = socket(Family::Ipv4, Protocol::Udp)?;
    // SAFETY: zeroed is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    match check(unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) }) {
        // On gVisor it is up, and knows no other state.
        Err(errno) if errno.raw() == libc::ENOTTY => Ok(()),
        set => set.map(drop),
    }
}

/// A descriptor of a process.
pub(super) fn open_process(pid: i32) -> Result<OwnedFd> {
    let pid = process::Pid::from_raw(pid).ok_or_else(|| Errno::from_raw(super::OS, libc::ESRCH))?;
    answer(process::pidfd_open(pid, process::PidfdFlags::empty()))
}

/// Waits for a child for at most `limit`; `None` if it is still running then.
pub fn wait_for(pid: i32, limit: Duration) -> Result<Option<Ended>> {
    let pidfd = match open_process(pid) {
        // gVisor.
        Err(errno) if errno.is(ErrnoName::ENOSYS) => return look_for(pid, limit),
        pidfd => pidfd?,
    };
    if poll(&pidfd, Until::Readable, limit.as_millis() as u32)? { reap(pid).map(Some) } else { Ok(None) }
}

/// Orphans are ours: this is pid 1 of its namespace. Mostly there are none, which one call tells.
pub fn leave_case(isolation: &Isolation, pid: i32) {
    if isolation.is_shared() {
        shared_host::leave_case(pid);
    } else if any_child() {
        kill_descendants();
    }
}

/// Kills everything else in this PID namespace and reaps it. Only pid 1 of a namespace may.
pub fn kill_descendants() {
    // SAFETY: these calls take no pointers but the null status. In a namespace of our own -1 means nobody else's.
    unsafe {
        if libc::getpid() == 1 {
            libc::kill(-1, libc::SIGKILL);
            while libc::waitpid(-1, std::ptr::null_mut(), 0) != -1 {}
        }
    }
}
