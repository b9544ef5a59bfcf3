//! A file that records changes of a machine that others use as well, so that they are undone even after SIGKILL.
//!
//! A change is on disk before it is made. The next program undoes what is left; the lock on the file keeps it away
//! while this one lives. It does not know how a change is made and undone.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::Fault;

const FORMAT: &str = "errnoscope-journal/1";

/// Where a case has its files, before a number: in a directory that everybody may use, and that a boot empties.
const OWN_DIRECTORIES: &str =
    if cfg!(target_vendor = "apple") { "/private/tmp/errnoscope-case-" } else { "/tmp/errnoscope-case-" };

/// That of a process.
pub fn own_directory(pid: u32) -> PathBuf {
    PathBuf::from(format!("{OWN_DIRECTORIES}{pid}"))
}

/// Whether that is what a journal names.
pub fn is_own_directory(path: &Path) -> bool {
    let number = path.to_str().and_then(|path| path.strip_prefix(OWN_DIRECTORIES));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What was, and what is to be instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostChange {
    /// A number that the kernel keeps under a name.
    Setting { name: String, from: i32, to: i32 },
    /// An address that the interface did not have.
    Address { device: String, address: IpAddr },
    /// A directory with what a case has made in it.
    Directory { path: PathBuf },
}

/// The file's first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    format: String,
    /// What no two boots of a machine have in common.
    boot: String,
    pid: u32,
}

/// The journal of this process, and of those that it starts.
pub struct Journal {
    file: Flock<File>,
    path: PathBuf,
}

impl Journal {
    /// Makes it ours, and undoes what a former owner has left; `told` has a sentence about each thing that was found.
    /// An owner that is about to end gets until `timeout`.
    pub fn take(
        path: &Path,
        boot: &str,
        timeout: Duration,
        undo: &mut dyn FnMut(&HostChange) -> Result<(), Fault>,
        told: &mut Vec<String>,
    ) -> Result<Journal, Fault> {
        let shown = path.display();
        let end = Instant::now() + timeout;
        let file = loop {
            // A link that somebody else has put there would lead anywhere.
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
                .open(path)
                .map_err(|error| Fault::Failed(format!("{shown} cannot be opened: {error}")))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => break file,
                Err((_, nix::Error::EWOULDBLOCK)) if Instant::now() < end => super::pause_ms(10.0),
                Err((mut file, nix::Error::EWOULDBLOCK)) => {
                    let mut text = String::new();
                    let _ = file.read_to_string(&mut text);
                    let pid = owner(&text).map_or(String::new(), |owner| format!(" (process {})", owner.pid));
                    return Err(Fault::Failed(format!(
                        "another errnoscope{pid} runs on this machine, and their cases would share its ports; wait until it has ended"
                    )));
                }
                Err((_, errno)) => return Err(Fault::Failed(format!("{shown} cannot be locked: {}", errno.desc()))),
            }
        };
        let uid = file.metadata().map_err(|error| Fault::Failed(format!("{shown}: {error}")))?.uid();
        if uid != super::effective_uid() {
            let advice = "look what it is, and remove it";
            return Err(Fault::Failed(format!("{shown} is a file of uid {uid}, and not trusted: {advice}")));
        }
        let mut journal = Journal { file, path: path.to_owned() };
        let text = journal.text()?;
        match owner(&text) {
            None if text.trim().is_empty() => {}
            None => {
                let advice = "look what it says, and remove it";
                return Err(Fault::Failed(format!("{shown} is no journal of this program: {advice}")));
            }
            Some(owner) if owner.boot != boot => {
                if !changes(&text).is_empty() {
                    told.push(format!(
                        "{shown} is of an earlier boot, which no setting and no address has outlived: dropped"
                    ));
                }
            }
            Some(owner) => {
                let left = changes(&text);
                if !left.is_empty() {
                    let (count, noun) = (left.len(), if left.len() == 1 { "change" } else { "changes" });
                    told.push(format!("process {} has left {count} {noun} to this machine: undone", owner.pid));
                }
                journal.undo(undo)?;
            }
        }
        let owner = Owner { format: FORMAT.to_owned(), boot: boot.to_owned(), pid: std::process::id() };
        journal.begin(&owner)?;
        Ok(journal)
    }

    /// Notes a change, and only then makes it.
    pub fn make<T>(&self, change: &HostChange, make: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        self.append(change)?;
        make()
    }

    /// Undoes every change, the last first, and forgets them.
    pub fn undo(&mut self, undo: &mut dyn FnMut(&HostChange) -> Result<(), Fault>) -> Result<(), Fault> {
        let text = self.text()?;
        let left = changes(&text);
        if left.is_empty() {
            return Ok(());
        }
        let failed: Vec<String> =
            left.iter().rev().filter_map(|change| Some(undo(change).err()?.to_string())).collect();
        if !failed.is_empty() {
            let left = format!("{} says what is left to undo", self.path.display());
            return Err(Fault::Failed(format!("{}; {left}", failed.join("; "))));
        }
        match owner(&text) {
            Some(owner) => self.begin(&owner),
            None => Ok(()),
        }
    }

    /// The changes that have not been undone, in the order in which they were made.
    #[cfg(any(target_os = "macos", test))]
    pub fn changes(&mut self) -> Result<Vec<HostChange>, Fault> {
        Ok(changes(&self.text()?))
    }

    fn begin(&mut self, owner: &Owner) -> Result<(), Fault> {
        self.file.set_len(0).map_err(|error| self.broken(error))?;
        self.append(owner)
    }

    /// One write, so that processes which share the file share no line, and on disk when this returns.
    fn append(&self, entry: &impl Serialize) -> Result<(), Fault> {
        let mut line = serde_json::to_vec(entry).map_err(|error| self.broken(error.into()))?;
        line.push(b'\n');
        let mut file: &File = &self.file;
        file.write_all(&line).and_then(|()| file.sync_data()).map_err(|error| self.broken(error))
    }

    fn text(&mut self) -> Result<String, Fault> {
        let mut text = String::new();
        let mut file: &File = &self.file;
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
        read.map(|_| text).map_err(|error| self.broken(error))
    }

    fn broken(&self, error: std::io::Error) -> Fault {
        Fault::Failed(format!("{}: {error}", self.path.display()))
    }
}

fn owner(text: &str) -> Option<Owner> {
    let owner: Owner = serde_json::from_str(text.lines().next()?).ok()?;
    (owner.format == FORMAT).then_some(owner)
}

/// A last line without an end was cut off by a crash, before its change was made.
fn changes(text: &str) -> Vec<HostChange> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().skip(1).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    /// A machine whose settings are numbers in a map.
    struct Machine {
        settings: RefCell<BTreeMap<String, i32>>,
        place: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Machine {
            let settings = [("first", 49152), ("last", 65535)].map(|(name, value)| (name.to_owned(), value));
            Machine { settings: RefCell::new(settings.into()), place: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> PathBuf {
            self.place.path().join("journal")
        }

        fn take(&self, boot: &str) -> Result<(Journal, Vec<String>), Fault> {
            let mut told = Vec::new();
            let undo = &mut |change: &HostChange| self.undo(change);
            Journal::take(&self.path(), boot, Duration::ZERO, undo, &mut told).map(|journal| (journal, told))
        }

        fn get(&self, name: &str) -> i32 {
            self.settings.borrow()[name]
        }

        /// As a case does it: what the file says is looked at in the moment of the change.
        fn set(&self, journal: &Journal, name: &str, to: i32) {
            let change = HostChange::Setting { name: name.to_owned(), from: self.get(name), to };
            let made = journal.make(&change, || {
                let text = std::fs::read_to_string(self.path()).unwrap();
                assert_eq!(changes(&text).last(), Some(&change), "it is noted before it is made");
                self.settings.borrow_mut().insert(name.to_owned(), to);
                Ok(())
            });
            made.unwrap();
        }

        fn undo(&self, change: &HostChange) -> Result<(), Fault> {
            let HostChange::Setting { name, from, to } = change else {
                return Err(Fault::Failed("no address can be removed".to_owned()));
            };
            if self.get(name) == *to {
                self.settings.borrow_mut().insert(name.clone(), *from);
            }
            Ok(())
        }
    }

    #[test]
    fn what_was_changed_is_undone_from_the_last_to_the_first() {
        let machine = Machine::new();
        let (mut journal, told) = machine.take("boot").unwrap();
        assert_eq!(told, [""; 0]);
        machine.set(&journal, "first", 30000);
        machine.set(&journal, "last", 30015);
        machine.set(&journal, "first", 40000);
        assert_eq!((machine.get("first"), machine.get("last")), (40000, 30015));
        assert_eq!(journal.changes().unwrap().len(), 3);
        journal.undo(&mut |change| machine.undo(change)).unwrap();
        assert_eq!((machine.get("first"), machine.get("last")), (49152, 65535));
        assert_eq!(journal.changes().unwrap(), []);
        machine.set(&journal, "first", 1024);
        journal.undo(&mut |change| machine.undo(change)).unwrap();
        assert_eq!(machine.get("first"), 49152, "it can be used again");
    }

    #[test]
    fn the_next_one_undoes_what_a_killed_one_left() {
        let machine = Machine::new();
        let (journal, _) = machine.take("boot").unwrap();
        machine.set(&journal, "first", 30000);
        machine.set(&journal, "last", 30015);
        drop(journal);
        let (mut journal, told) = machine.take("boot").unwrap();
        assert_eq!(told, [format!("process {} has left 2 changes to this machine: undone", std::process::id())]);
        assert_eq!((machine.get("first"), machine.get("last")), (49152, 65535));
        assert_eq!(journal.changes().unwrap(), []);
    }

    #[test]
    fn a_change_that_was_noted_and_not_made_is_not_undone() {
        let machine = Machine::new();
        let (journal, _) = machine.take("boot").unwrap();
        machine.set(&journal, "first", 30000);
        let noted = HostChange::Setting { name: "first".to_owned(), from: 30000, to: 40000 };
        let killed = || Err::<(), _>(Fault::Failed("killed in between".to_owned()));
        journal.make(&noted, killed).unwrap_err();
        drop(journal);
        machine.take("boot").unwrap();
        assert_eq!(machine.get("first"), 49152);
    }

    #[test]
    fn somebody_else_s_change_is_left_alone() {
        let machine = Machine::new();
        let (journal, _) = machine.take("boot").unwrap();
        machine.set(&journal, "first", 30000);
        drop(journal);
        machine.settings.borrow_mut().insert("first".to_owned(), 20000);
        machine.take("boot").unwrap();
        assert_eq!(machine.get("first"), 20000);
    }

    #[test]
    fn a_line_that_was_cut_off_is_no_change() {
        let machine = Machine::new();
        let (journal, _) = machine.take("boot").unwrap();
        machine.set(&journal, "first", 30000);
        machine.set(&journal, "last", 30015);
        machine.settings.borrow_mut().insert("last".to_owned(), 65535);
        drop(journal);
        let text = std::fs::read_to_string(machine.path()).unwrap();
        std::fs::write(machine.path(), &text[..text.len() - 1]).unwrap();
        let (_, told) = machine.take("boot").unwrap();
        assert!(told[0].contains("1 change "), "{told:?}");
        assert_eq!((machine.get("first"), machine.get("last")), (49152, 65535));
    }

    #[test]
    fn two_at_once_is_one_too_many() {
        let machine = Machine::new();
        let (journal, _) = machine.take("boot").unwrap();
        machine.set(&journal, "first", 30000);
        let refused = machine.take("boot").map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        assert_eq!(machine.get("first"), 30000, "it is in use");
        drop(journal);
        machine.take("boot").unwrap();
    }

    #[test]
    fn a_journal_of_another_boot_is_dropped_with_a_reason() {
        let machine = Machine::new();
        let (journal, _) = machine.take("boot 1").unwrap();
        machine.set(&journal, "first", 30000);
        drop(journal);
        let (mut journal, told) = machine.take("boot 2").unwrap();
        assert!(told.len() == 1 && told[0].contains("earlier boot"), "{told:?}");
        assert_eq!(machine.get("first"), 30000, "nothing was undone");
        assert_eq!(journal.changes().unwrap(), []);
        drop(journal);
        assert_eq!(machine.take("boot 3").unwrap().1, [""; 0], "an empty one is no news");
    }

    #[test]
    fn what_cannot_be_undone_stays_noted() {
        let machine = Machine::new();
        let (journal, _) = machine.take("boot").unwrap();
        let change = HostChange::Address { device: "lo0".to_owned(), address: "127.0.0.2".parse().unwrap() };
        journal.make(&change, || Ok(())).unwrap();
        machine.set(&journal, "first", 30000);
        drop(journal);
        let refused = machine.take("boot").map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("no address can be removed") && refused.contains("journal"), "{refused}");
        assert_eq!(machine.get("first"), 49152, "the rest is undone");
        assert_eq!(changes(&std::fs::read_to_string(machine.path()).unwrap())[0], change);
    }

    #[test]
    fn only_a_directory_of_a_case_is_removed() {
        assert!(is_own_directory(&own_directory(1)) && is_own_directory(&own_directory(99_999)));
        let more = |what: &str| format!("{OWN_DIRECTORIES}{what}");
        for path in ["/".to_owned(), "/tmp".to_owned(), more(""), more("1/.."), more("x"), more("1x")] {
            assert!(!is_own_directory(Path::new(&path)), "{path}");
        }
    }

    #[test]
    fn another_file_is_not_touched() {
        let machine = Machine::new();
        std::fs::write(machine.path(), "somebody's notes\n").unwrap();
        let refused = machine.take("boot").map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("no journal of this program"), "{refused}");
        assert_eq!(std::fs::read_to_string(machine.path()).unwrap(), "somebody's notes\n");
        std::fs::remove_file(machine.path()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", machine.path()).unwrap();
        machine.take("boot").map(|_| ()).unwrap_err();
    }
}
