//! The kernel, as the worker sees it: one function per call, an errno as a value, nothing retried (not even EINTR).
//!
//! One name, `os`, picks the operating system; all its files export the same functions, and what an OS lacks is the
//! value [`Fault::Unsupported`]. Nothing here decides what an errno means. What is pure or POSIX of macOS is tested on
//! Linux, too.

#[cfg(not(target_os = "linux"))]
mod absent;
#[cfg(any(target_os = "macos", test))]
mod darwin;
mod file;
#[cfg(any(target_os = "linux", target_os = "macos", test))]
mod journal;
#[cfg(target_os = "linux")]
mod linux;
mod local;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod other;
#[cfg(not(target_os = "linux"))]
mod posix;
mod process;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod ringless;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod router;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod shared_host;
#[cfg(any(not(target_os = "linux"), test))]
mod shepherd;
mod signals;
mod socket;
mod stdout;
mod trail;
mod unix;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod untraced;

#[cfg(target_os = "linux")]
use linux as os;
#[cfg(target_os = "macos")]
use macos as os;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
use other as os;

pub use file::{Directory, Name, Reader, Target, Unwritable, is_same_file, open_to_append};
pub use local::{Broadcast, lacks_source, refuses_address, refuses_destination};
pub use os::*;
pub use process::*;
pub use signals::{INTERRUPTS, Signals, TOGETHER, end_on_signals, keep_signals};
pub use socket::*;
pub use stdout::{Stdout, stdout_was_closed};
pub use trail::Trail;
pub use unix::{
    file_kind, make_directory, make_file, own_unix_row, unix_bind, unix_connect, unix_send_to, unix_socket, unlink,
};

use crate::plan::Unsupported;
use crate::words::errno::Errno;
use crate::words::names::{Need, User};

pub type Result<T, E = Errno> = std::result::Result<T, E>;

/// Why an op did not end `ok`, or what else of the system could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Errno(Errno),
    #[error("no answer within {ms} ms")]
    Blocked { ms: u32 },
    #[error("{}", .0.reason)]
    Unsupported(Unsupported),
    /// The harness could not go on.
    #[error("{0}")]
    Failed(String),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Fault {
        Fault::Errno(errno)
    }
}

/// What a process does, as far as others can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Runs,
    /// By a signal or a tracer, or it will be before it does anything else.
    Stopped,
    /// Killed as well, if it will never do anything else.
    Ended,
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub pid: u32,
    pub name: String,
}

/// Whether a worker looks for a private host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolate {
    /// Where there is one to be had.
    WherePossible,
    /// It takes the host that everybody has.
    Never,
}

/// The host that the worker's cases run on.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// `netns`, `sandbox` or `none`, as reports say it.
    pub kind: &'static str,
    /// The uids that user-a and user-b stand for.
    pub users: [u32; 2],
    /// Why cases cannot run at all.
    pub lacking: Option<String>,
    /// Why they run on the host that everybody has, if they do.
    pub shared: Option<String>,
}

/// Who stays outside of the private host, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A worker dies with its parent: nobody else wants its answers.
    Worker,
    /// A command of the user's lives on, as any command would, and gets the signals that were meant for it.
    Command,
}

/// Who looks after a command, and what for.
pub struct Supervision<'f> {
    /// Called when signals reach the command and everything is there to look after it; if this fails it never runs.
    pub begin: &'f mut dyn FnMut() -> Result<()>,
    /// How long it may run: then it is asked to end (SIGTERM), and a while later made to (SIGKILL).
    pub limit: Option<std::time::Duration>,
    /// Called when it has ended, before it is gone.
    pub at_end: &'f mut dyn FnMut(i32),
    /// Called for every other child that has ended meanwhile.
    pub others: &'f mut dyn FnMut(i32, Ended),
    /// Who wants to see what it does.
    pub watch: Option<&'f mut Watch>,
}

impl Isolation {
    /// Whether there is a private network, in which each case gets one of its own.
    pub fn has_network(&self) -> bool {
        self.kind == "netns" && self.lacking.is_none()
    }

    /// Whether others use the network that cases run in.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    pub fn user_of(&self, uid: u32) -> Option<User> {
        match uid {
            0 => Some(User::Root),
            uid if uid == self.users[0] => Some(User::UserA),
            uid if uid == self.users[1] => Some(User::UserB),
            _ => None,
        }
    }
}

/// The two names and what the kernel calls this machine.
#[derive(Clone, Debug)]
pub struct Machine {
    pub release: String,
    pub arch: String,
    /// What answers, where another kernel passes for this one.
    pub stack: Option<&'static str>,
}

impl Machine {
    /// The version in the release.
    pub fn kernel(&self) -> semver::Version {
        crate::words::release::version(&self.release)
    }
}

fn unsupported(need: Need, reason: impl Into<String>) -> Fault {
    Fault::Unsupported(Unsupported { need, reason: reason.into().into() })
}

/// The errno that the last failed call of this thread left.
fn last() -> Errno {
    Errno::from_raw(OS, std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// A return value of the C library: -1 means that errno says why.
fn check(value: i32) -> Result<i32> {
    if value == -1 { Err(last()) } else { Ok(value) }
}

fn check_size(value: isize) -> Result<usize> {
    usize::try_from(value).map_err(|_| last())
}

/// What rustix gives, which is the kernel's answer, and which it asks for once.
fn answer<T>(answer: rustix::io::Result<T>) -> Result<T> {
    answer.map_err(|errno| Errno::from_raw(OS, errno.raw_os_error()))
}

/// Why a thread cannot be started.
pub fn no_thread(error: &std::io::Error) -> Fault {
    let errno = errno_of(error);
    let advice = "raise the limits of processes and of memory: ulimit -u, ulimit -v";
    Fault::Failed(format!("cannot start a thread: {errno}; {advice}"))
}

/// The errno inside an error of the standard library, by number and never by kind.
pub fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(OS, error.raw_os_error().unwrap_or(0))
}
