//! A host that cases share with everybody: one worker at a time, and what a case changes there is undone, even after
//! SIGKILL.
//!
//! `journal` remembers what is left to undo. How that is undone, and where the journal is, the OS says.

use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use super::journal::{HostChange, Journal, is_own_directory, own_directory};
use super::os::{boot_session, journal_path, undo};
use super::{Fault, Result, check, exit_now, pause_ms};

/// How long a worker that was replaced, and what it has left behind, may take to end.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);

const LOST: &str = "the journal is held by a thread that died";

static JOURNAL: Mutex<Option<Journal>> = Mutex::new(None);

/// Makes sure that this worker is the only one, and undoes what a killed one has left. Otherwise there is none. Where
/// no file can be written there is no journal, and no change is made.
pub(super) fn be_the_only_worker() {
    let Some(path) = journal_path() else { return };
    let mut told = Vec::new();
    let taken = boot_session().and_then(|boot| Journal::take(&path, &boot, TIMEOUT, &mut { undo }, &mut told));
    for told in told {
        let _ = writeln!(std::io::stderr(), "errnoscope: {told}");
    }
    match (taken, JOURNAL.lock()) {
        (Ok(journal), Ok(mut known)) => *known = Some(journal),
        (Err(why), _) => give_up(&why.to_string()),
        (_, Err(_)) => give_up(LOST),
    }
}

/// Says why there is no worker here, and ends this process.
pub(super) fn give_up(why: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "errnoscope worker: {why}");
    exit_now(1)
}

/// A case's process leads a group, into which everything is born that it starts.
pub(super) fn enter_case() -> Result<()> {
    // SAFETY: setpgid(2) takes no pointers.
    check(unsafe { libc::setpgid(0, 0) }).map(drop)
}

/// Ends what is left of a case, and makes the host what it was. If that fails this worker is of no more use.
pub(super) fn leave_case(pid: i32) {
    end_group(pid);
    let undone = match JOURNAL.lock() {
        Ok(mut journal) => journal.as_mut().map_or(Ok(()), |journal| journal.undo(&mut { undo })),
        Err(_) => Err(Fault::Failed(LOST.to_owned())),
    };
    if let Err(why) = undone {
        give_up(&format!("this machine is not as it was: {why}"));
    }
}

/// Kills what is left of a case's group, and waits until nothing is.
fn end_group(leader: i32) {
    for _ in 0..2000 {
        // SAFETY: kill(2) takes no pointers.
        if unsafe { libc::kill(-leader, libc::SIGKILL) } == -1 {
            return;
        }
        // What has ended stays in its group until somebody has asked: its parent, or whoever took it over.
        // SAFETY: the null status is permitted.
        while unsafe { libc::waitpid(-leader, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        pause_ms(0.5);
    }
}

/// Notes a change and makes it; nothing where this process has no journal.
pub(super) fn make(change: &HostChange, make: impl FnOnce() -> Result<(), Fault>) -> Option<Result<(), Fault>> {
    match JOURNAL.lock() {
        Ok(journal) => journal.as_ref().map(|journal| journal.make(change, make)),
        Err(_) => Some(Err(Fault::Failed(LOST.to_owned()))),
    }
}

/// Whether a case has made that change.
#[cfg(target_os = "macos")]
pub(super) fn has_made(change: &HostChange) -> Result<bool, Fault> {
    let mut journal = JOURNAL.lock().map_err(|_| Fault::Failed(LOST.to_owned()))?;
    Ok(match journal.as_mut() {
        Some(journal) => journal.changes()?.contains(change),
        None => false,
    })
}

/// Makes a directory that is removed after the case, by this program or the next, the current one. Everybody may write
/// to it, as the users of a case do.
pub(super) fn enter_directory() -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt;

    let path = own_directory(std::process::id());
    let failed = |error: std::io::Error| Fault::Failed(format!("{}: {error}", path.display()));
    // What somebody else has put there is not to be removed with this case's.
    if path.symlink_metadata().is_ok() {
        return Err(Fault::Failed(format!("{} is in the way; remove it", path.display())));
    }
    let made = make(&HostChange::Directory { path: path.clone() }, || std::fs::create_dir(&path).map_err(failed));
    made.unwrap_or_else(|| Err(Fault::Failed("no directory for temporary files can be written to".to_owned())))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o1777)).map_err(failed)?;
    std::env::set_current_dir(&path).map_err(failed)?;
    // SAFETY: umask(2) takes no pointers.
    unsafe { libc::umask(0o022) };
    Ok(())
}

/// Removes the directory of a case.
pub(super) fn remove_directory(path: &std::path::Path) -> Result<(), Fault> {
    if !is_own_directory(path) {
        return Err(Fault::Failed(format!("{} is no directory of a case", path.display())));
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
            Err(Fault::Failed(format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}
