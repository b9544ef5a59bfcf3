//! What Linux has for files beyond POSIX: files without a name, links to open files, files that nothing can replace.
//!
//! It does not decide which file is written.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::linkat;
use rustix::mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::sys::errno_of;

/// A directory that is only a place needs no permission to be read.
pub const DIRECTORY: OFlag = OFlag::O_PATH;

/// A file in `directory` that vanishes unless it gets a name (open(2), O_TMPFILE). Some file systems have no such
/// thing: EOPNOTSUPP.
pub fn nameless_file(directory: &OwnedFd, mode: Mode) -> Result<File, Errno> {
    openat(directory, ".", OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC, mode).map(File::from)
}

/// A directory with one file in it, which is there for as long as some process has it open, and how it is called in
/// this process and in those that it becomes: a file system of its own that is mounted nowhere (fsopen(2), Linux 5.2).
pub fn nameless_directory(name: &str, text: &str) -> crate::sys::Result<PathBuf> {
    let directory = nameless_file_system().map_err(|errno| errno_of(&errno.into()))?;
    let place = PathBuf::from(format!("/proc/self/fd/{}", directory.into_raw_fd()));
    std::fs::write(place.join(name), text).map_err(|error| errno_of(&error))?;
    Ok(place)
}

pub(super) fn nameless_file_system() -> rustix::io::Result<OwnedFd> {
    let system = mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    mount::fsconfig_create(system.as_fd())?;
    mount::fsmount(system.as_fd(), FsMountFlags::empty(), MountAttrFlags::empty())
}

/// Names a nameless file; fails where the name is taken (linkat(2)).
pub fn name_file(file: &File, directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, &*descriptor, directory, name, AtFlags::AT_SYMLINK_FOLLOW)
}

/// Whether links in there are more than their text (proc(5), /proc/pid/fd).
pub fn has_magic_links(directory: &OwnedFd) -> bool {
    fstatfs(directory).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
}

/// Why nothing can take the place of `name`, or take a name for a while in its directory, if the kernel says that
/// (statx(2)).
pub fn is_fixed(directory: &OwnedFd, name: Option<&OsStr>) -> Option<&'static str> {
    let set = |name: &[u8], flags| attributes(directory, name, flags).unwrap_or(0);
    let own = name.map_or(0, |name| set(name.as_bytes(), libc::AT_SYMLINK_NOFOLLOW));
    let around = set(b"", libc::AT_EMPTY_PATH);
    let has = |attributes: u64, attribute: i32| attributes & attribute as u64 != 0;
    match () {
        () if has(own, libc::STATX_ATTR_MOUNT_ROOT) => {
            Some("it is a mount point, which no new file can replace; mount its directory, or give another name")
        }
        () if has(own, libc::STATX_ATTR_IMMUTABLE) || has(around, libc::STATX_ATTR_IMMUTABLE) => {
            Some("it, or its directory, is immutable; see chattr(1)")
        }
        () if has(own, libc::STATX_ATTR_APPEND) || has(around, libc::STATX_ATTR_APPEND) => {
            Some("it, or its directory, can only be added to; see chattr(1)")
        }
        () => None,
    }
}

fn attributes(directory: &OwnedFd, name: &[u8], flags: i32) -> Option<u64> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: zeroed is a valid statx; the name is a C string, and the other pointer is to a whole statx.
    let (code, found) = unsafe {
        let mut found: libc::statx = std::mem::zeroed();
        (libc::statx(directory.as_raw_fd(), name.as_ptr(), flags, 0, &mut found), found)
    };
    (code == 0).then_some(found.stx_attributes & found.stx_attributes_mask)
}
