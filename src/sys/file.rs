//! Finds the place where a file is to be written so that nobody else can change it, and writes files whole or not at
//! all.
//!
//! A directory is held open from the moment it is found, so the directory that was checked is the one that is used. The
//! caller decides which file it is and what it contains.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{AccessFlags, Gid, Uid, UnlinkatFlags, faccessat, fchown, fsync, unlinkat};

use super::os::{DIRECTORY, has_magic_links, is_fixed, name_file, nameless_file};

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// How often another random name is tried where one is taken.
const MOST_NAMES: usize = 100;
/// How a name begins that a file has for as long as it takes to rename it.
const PREFIX: &str = ".errnoscope-";

/// Why nothing can be written at a path.
#[derive(Debug)]
pub enum Unwritable {
    /// Somebody else put it where everybody may put something.
    Foreign {
        what: &'static str,
        name: OsString,
        owner: u32,
    },
    /// It belongs to somebody whose the new file could not be.
    OwnerLost {
        owner: u32,
        group: u32,
    },
    /// Nothing can take its place: it is a mount point, or has an attribute of chattr(1).
    Fixed(&'static str),
    System(io::Error),
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unwritable::Foreign { what, name, owner } => write!(
                f,
                "`{}` is {what} of another user (uid {owner}) in a directory where everybody may put files; \
                 use a directory of your own",
                name.display()
            ),
            Unwritable::OwnerLost { owner, group } => write!(
                f,
                "it belongs to uid {owner} and gid {group}, and you cannot give the new file to them; \
                 remove it, or give another name"
            ),
            Unwritable::Fixed(why) => f.write_str(why),
            Unwritable::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Unwritable {}

impl From<Errno> for Unwritable {
    fn from(errno: Errno) -> Unwritable {
        Unwritable::System(errno.into())
    }
}

impl From<io::Error> for Unwritable {
    fn from(error: io::Error) -> Unwritable {
        Unwritable::System(error)
    }
}

/// What is done about directories that are missing on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingParents {
    Refused,
    Made,
}

/// Whether somebody has to read a FIFO already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Awaited,
    Present,
}

/// Which file it is, whatever it is called: its device and its inode.
pub type FileNumber = (libc::dev_t, libc::ino_t);

/// What a path leads to.
#[derive(Debug)]
pub enum Target {
    /// A file, or a name that is free.
    File(Name),
    /// A FIFO or a device, which cannot be replaced, and its file number.
    Special(Name, FileNumber),
    /// One of this process's own open files, by its name in /proc.
    Open(File),
}

/// A name in a directory.
#[derive(Debug)]
pub struct Name {
    directory: OwnedFd,
    name: OsString,
}

impl Target {
    /// Finds it, and finds out whether it can be written; nothing is left behind.
    pub fn find(path: &Path) -> Result<Target, Unwritable> {
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(Errno::EISDIR.into());
        }
        let target = match walk(path, MissingParents::Refused)? {
            Walked::Directory(_) => return Err(Errno::EISDIR.into()),
            Walked::Open(file) => return Ok(Target::Open(file)),
            Walked::Name(name) => name,
        };
        let Some(found) = target.look()? else {
            target.try_out(None)?;
            return Ok(Target::File(target));
        };
        match kind(&found) {
            SFlag::S_IFREG => {
                target.try_out(Some(&found))?;
                Ok(Target::File(target))
            }
            SFlag::S_IFDIR => Err(Errno::EISDIR.into()),
            SFlag::S_IFSOCK => Err(Errno::ENXIO.into()),
            _ => {
                faccessat(&target.directory, &*target.name, AccessFlags::W_OK, AtFlags::AT_EACCESS)?;
                Ok(Target::Special(target, number(&found)))
            }
        }
    }
}

/// A directory, found like a file, and made if it is missing.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    pub fn find_or_make(path: &Path) -> Result<Directory, Unwritable> {
        match walk(path, MissingParents::Made)? {
            Walked::Directory(directory) => Ok(Directory(directory)),
            Walked::Name(_) | Walked::Open(_) => Err(Errno::ENOTDIR.into()),
        }
    }

    /// A file in it that can be written.
    pub fn file(&self, name: &OsStr) -> Result<Target, Unwritable> {
        let target = Name { directory: self.0.try_clone()?, name: name.to_owned() };
        let found = target.look()?;
        match found.as_ref().map(kind) {
            None | Some(SFlag::S_IFREG) => {
                target.try_out(found.as_ref())?;
                Ok(Target::File(target))
            }
            Some(SFlag::S_IFDIR) => Err(Errno::EISDIR.into()),
            Some(_) => Err(Errno::EEXIST.into()),
        }
    }
}

impl Name {
    /// What has this name, unless somebody else planted it.
    fn look(&self) -> Result<Option<FileStat>, Unwritable> {
        match fstatat(&self.directory, &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => {
                of_whom(&self.directory, &self.name, &found)?;
                Ok(Some(found))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// All that [`Name::write`] will do, but for the last step: it would be a pity to learn it after ten minutes.
    fn try_out(&self, former: Option<&FileStat>) -> Result<(), Unwritable> {
        if let Some(why) = is_fixed(&self.directory, former.map(|_| &*self.name)) {
            return Err(Unwritable::Fixed(why));
        }
        let _quiet = Quiet::begin();
        let named = match self.nameless(former) {
            Err(error @ Unwritable::OwnerLost { .. }) => return Err(error),
            Err(_) => self.named(former)?.1,
            Ok(file) => match self.give_name(&file) {
                Ok(named) => named,
                Err(_) => self.named(former)?.1,
            },
        };
        Ok(unlinkat(&self.directory, &*named, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Puts a file with this content in the place of what is there, with its mode and its owner. It is on the disk
    /// before it has its name, and the name is when this returns.
    pub fn write(&self, content: &[u8]) -> Result<(), Unwritable> {
        let former = self.look()?;
        let filled = |mut file: &File| {
            file.write_all(content)?;
            // Whoever writes to a file takes its set-uid bits away, unless that is root (file_remove_privs(),
            // fs/inode.c).
            former.as_ref().map_or(Ok(()), |former| keep_mode(file, former))?;
            file.sync_all()
        };
        // A file that has no name goes with this process, whatever ends it.
        let (temporary, _quiet) = match self.nameless(former.as_ref()) {
            Err(error @ Unwritable::OwnerLost { .. }) => return Err(error),
            Ok(file) => {
                filled(&file)?;
                let quiet = Quiet::begin();
                // A name can be given only where there is none, and taken over only by another name.
                let named = match former {
                    None => name_file(&file, &self.directory, &self.name),
                    Some(_) => Err(Errno::EEXIST),
                };
                let other = match named {
                    Ok(()) => return self.keep(),
                    Err(Errno::EEXIST) => self.give_name(&file),
                    Err(errno) => Err(errno),
                };
                match other {
                    Ok(name) => (name, quiet),
                    // Without /proc, or where a file system has half of it.
                    Err(_) => self.write_named(former.as_ref(), filled)?,
                }
            }
            Err(_) => self.write_named(former.as_ref(), filled)?,
        };
        renameat(&self.directory, &*temporary, &self.directory, &*self.name)
            .inspect_err(|_| self.remove(&temporary))?;
        self.keep()
    }

    /// Puts the name on the disk, too; what cannot do that, need not.
    fn keep(&self) -> Result<(), Unwritable> {
        match openat(&self.directory, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).and_then(fsync) {
            Ok(()) | Err(Errno::EACCES | Errno::EINVAL | Errno::EROFS | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_named(
        &self,
        former: Option<&FileStat>,
        filled: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(OsString, Quiet), Unwritable> {
        let quiet = Quiet::begin();
        let (file, temporary) = self.named(former)?;
        filled(&file).inspect_err(|_| self.remove(&temporary))?;
        Ok((temporary, quiet))
    }

    fn nameless(&self, former: Option<&FileStat>) -> Result<File, Unwritable> {
        let file = nameless_file(&self.directory, first_mode(former))?;
        become_like(&file, former)?;
        Ok(file)
    }

    /// A file with a name that nobody guesses.
    fn named(&self, former: Option<&FileStat>) -> Result<(File, OsString), Unwritable> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let make = |name: &OsStr| openat(&self.directory, name, flags, first_mode(former));
        let (file, name) = with_random_name(make)?;
        let file = File::from(file);
        become_like(&file, former).inspect_err(|_| self.remove(&name))?;
        Ok((file, name))
    }

    fn give_name(&self, file: &File) -> Result<OsString, Errno> {
        with_random_name(|name| name_file(file, &self.directory, name)).map(|((), name)| name)
    }

    fn remove(&self, name: &OsStr) {
        let _ = unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir);
    }

    /// Opens what is no regular file, if it is still what was found: its file number says so.
    pub fn open_special(&self, found: FileNumber, reader: Reader) -> Result<File, Unwritable> {
        let wait = match reader {
            Reader::Awaited => OFlag::empty(),
            Reader::Present => OFlag::O_NONBLOCK,
        };
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | wait;
        let file = File::from(openat(&self.directory, &*self.name, flags, Mode::empty())?);
        if number(&fstat(&file)?) == found { Ok(file) } else { Err(Errno::ESTALE.into()) }
    }
}

/// Opens a file to add to its end; it is made where there is none.
pub fn open_to_append(path: &Path) -> Result<File, Unwritable> {
    let Name { directory, name } = match walk(path, MissingParents::Refused)? {
        Walked::Directory(_) => return Err(Errno::EISDIR.into()),
        Walked::Open(file) => return Ok(file),
        Walked::Name(found) => {
            found.look()?;
            found
        }
    };
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    Ok(openat(&directory, &*name, flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(0o666))?.into())
}

/// Where a path ends.
enum Walked {
    Directory(OwnedFd),
    Name(Name),
    Open(File),
}

/// Follows a path as the kernel would, but for links that somebody else planted: also where `fs.protected_symlinks` is
/// 0, and also in its middle.
fn walk(path: &Path, missing: MissingParents) -> Result<Walked, Unwritable> {
    let open = |at: &OwnedFd, name: &OsStr, more: OFlag| {
        openat(at, name, DIRECTORY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | more, Mode::empty())
    };
    let begin = |name: &str| nix::fcntl::open(name, DIRECTORY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    if path.as_os_str().is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let mut directory = begin(".")?;
    let mut links = 0;
    // What is still to be gone, the next step at the end.
    let mut steps = steps(path);
    while let Some(step) = steps.pop() {
        match step {
            Step::Root => directory = begin("/")?,
            Step::Up => directory = open(&directory, OsStr::new(".."), OFlag::empty())?,
            Step::Down(name) => match fstatat(&directory, &*name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) if missing == MissingParents::Made => {
                    mkdirat(&directory, &*name, Mode::from_bits_truncate(0o777))?;
                    directory = open(&directory, &name, OFlag::O_NOFOLLOW)?;
                }
                Err(Errno::ENOENT) if steps.is_empty() => return Ok(Walked::Name(Name { directory, name })),
                Err(errno) => return Err(errno.into()),
                Ok(found) if kind(&found) == SFlag::S_IFLNK => {
                    of_whom(&directory, &name, &found)?;
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::ELOOP.into());
                    }
                    if !has_magic_links(&directory) {
                        steps.extend(self::steps(Path::new(&readlinkat(&directory, &*name)?)));
                    } else if steps.is_empty() {
                        return open_now(directory, name);
                    } else {
                        directory = open(&directory, &name, OFlag::empty())?;
                    }
                }
                Ok(found) if kind(&found) == SFlag::S_IFDIR => directory = open(&directory, &name, OFlag::O_NOFOLLOW)?,
                Ok(_) if steps.is_empty() => return Ok(Walked::Name(Name { directory, name })),
                Ok(_) => return Err(Errno::ENOTDIR.into()),
            },
        }
    }
    Ok(Walked::Directory(directory))
}

/// A link of /proc leads to an open file, and not to a path.
fn open_now(directory: OwnedFd, name: OsString) -> Result<Walked, Unwritable> {
    let is_directory = fstatat(&directory, &*name, AtFlags::empty()).is_ok_and(|found| kind(&found) == SFlag::S_IFDIR);
    if is_directory {
        return Ok(Walked::Directory(openat(&directory, &*name, DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?));
    }
    let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // A pipe that nobody reads any more would never open.
    let file = openat(&directory, &*name, flags | OFlag::O_NONBLOCK, Mode::empty())?;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(Walked::Open(file.into()))
}

enum Step {
    Root,
    Up,
    Down(OsString),
}

/// The parts of a path, the first at the end.
fn steps(path: &Path) -> Vec<Step> {
    let step = |part: Component<'_>| match part {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(step).collect()
}

/// Refuses what somebody else put where everybody may put something, as the kernel does with `fs.protected_symlinks`,
/// `protected_fifos` and `protected_regular` (`may_follow_link()` and `may_create_in_sticky()`, fs/namei.c).
fn of_whom(directory: &OwnedFd, name: &OsStr, found: &FileStat) -> Result<(), Unwritable> {
    let place = fstat(directory)?;
    let mode = Mode::from_bits_truncate(place.st_mode);
    let is_everybodys = mode.contains(Mode::S_ISVTX) && mode.intersects(Mode::S_IWOTH | Mode::S_IWGRP);
    let is_ours = found.st_uid == Uid::effective().as_raw() || found.st_uid == place.st_uid;
    let what = match kind(found) {
        _ if is_ours || !is_everybodys => return Ok(()),
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFDIR => return Ok(()),
        _ => "a file",
    };
    Err(Unwritable::Foreign { what, name: name.to_owned(), owner: found.st_uid })
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

fn number(found: &FileStat) -> FileNumber {
    (found.st_dev, found.st_ino)
}

/// Nobody may read what they could not read before, also while it is being written.
fn first_mode(former: Option<&FileStat>) -> Mode {
    Mode::from_bits_truncate(if former.is_some() { 0o600 } else { 0o666 })
}

/// Gives a new file the owner and the mode of the former.
fn become_like(file: &File, former: Option<&FileStat>) -> Result<(), Unwritable> {
    let Some(former) = former else { return Ok(()) };
    let now = fstat(file)?;
    if (now.st_uid, now.st_gid) != (former.st_uid, former.st_gid) {
        let owner = (now.st_uid != former.st_uid).then(|| Uid::from_raw(former.st_uid));
        let lost = |_| Unwritable::OwnerLost { owner: former.st_uid, group: former.st_gid };
        fchown(file, owner, Some(Gid::from_raw(former.st_gid))).map_err(lost)?;
    }
    // After the owner, whose change takes set-uid bits away.
    Ok(keep_mode(file, former)?)
}

fn keep_mode(file: &File, former: &FileStat) -> Result<(), Errno> {
    let mode = Mode::from_bits_truncate(former.st_mode);
    if Mode::from_bits_truncate(fstat(file)?.st_mode) == mode { Ok(()) } else { fchmod(file, mode) }
}

/// Tries names until one is free.
fn with_random_name<T>(make: impl Fn(&OsStr) -> Result<T, Errno>) -> Result<(T, OsString), Errno> {
    let mut tries = 0;
    loop {
        let name = OsString::from(format!("{PREFIX}{:016x}", super::random()));
        match make(&name) {
            Err(Errno::EEXIST) if tries < MOST_NAMES => tries += 1,
            made => return made.map(|made| (made, name)),
        }
    }
}

/// A file that has a temporary name would outlive a signal: those that end a program wait meanwhile.
struct Quiet(Option<SigSet>);

impl Quiet {
    fn begin() -> Quiet {
        let signals = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];
        Quiet(SigSet::from_iter(signals).thread_swap_mask(SigmaskHow::SIG_BLOCK).ok())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(former) = &self.0 {
            let _ = former.thread_set_mask();
        }
    }
}

/// Whether both are one file, pipe or terminal.
pub fn is_same_file(one: &impl AsFd, other: &impl AsFd) -> bool {
    let number = |fd: BorrowedFd<'_>| fstat(fd).map(|found| number(&found));
    number(one.as_fd()).is_ok_and(|one| number(other.as_fd()) == Ok(one))
}
