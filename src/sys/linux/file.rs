//! Files that have no name until they are whole, so that no crash leaves half a report behind.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use crate::errno::Errno;
use crate::sys::{Result, check, errno_of};

/// A file in `directory` that vanishes unless it gets a name (open(2), O_TMPFILE). Some file systems have no such
/// thing: EOPNOTSUPP.
pub fn nameless_file(directory: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).mode(0o666).custom_flags(libc::O_TMPFILE).open(directory)
}

/// A directory with one file in it, which is there for as long as some process has it open, and how it is called in
/// this process and in those that it becomes: a file system of its own that is mounted nowhere (fsopen(2), Linux 5.2).
pub fn nameless_directory(name: &str, text: &str) -> Result<PathBuf> {
    const CREATE: libc::c_uint = 6;
    let own = |fd: libc::c_long| {
        let fd = check(fd as i32)?;
        // SAFETY: the descriptor is new.
        Ok::<_, Errno>(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the arguments are a C string, flags, descriptors that are open, and the null pointers that
    // FSCONFIG_CMD_CREATE asks for.
    let directory = unsafe {
        let system = own(libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 1))?;
        check(libc::syscall(libc::SYS_fsconfig, system.as_raw_fd(), CREATE, none, none, 0) as i32)?;
        own(libc::syscall(libc::SYS_fsmount, system.as_raw_fd(), 0, 0))?
    };
    let place = PathBuf::from(format!("/proc/self/fd/{}", directory.into_raw_fd()));
    std::fs::write(place.join(name), text).map_err(|error| errno_of(&error))?;
    Ok(place)
}

/// Names a nameless file; fails where the name is taken (linkat(2)).
pub fn name_file(file: &File, path: &Path) -> io::Result<()> {
    let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, &*descriptor, AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW).map_err(io::Error::from)
}
