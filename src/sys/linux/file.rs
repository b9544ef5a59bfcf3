//! Files that have no name until they are whole, so that no crash leaves half a report behind.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

/// A file in `directory` that vanishes unless it gets a name (open(2), O_TMPFILE). Some file systems have no such
/// thing: EOPNOTSUPP.
pub fn nameless_file(directory: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).mode(0o666).custom_flags(libc::O_TMPFILE).open(directory)
}

/// Names a nameless file; fails where the name is taken (linkat(2)).
pub fn name_file(file: &File, path: &Path) -> io::Result<()> {
    let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, &*descriptor, AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW).map_err(io::Error::from)
}
