//! Sockets of the family unix, and the files of the directory that a case has for itself.
//!
//! Every path is relative to that directory, which [`enter_directory`](super::enter_directory) makes the current one.

use std::mem::offset_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use rustix::net::{self, AddressFamily, SocketType};

use super::{Fault, Mode, Result, answer, check, check_size, errno_of, os, unsupported};
use crate::plan::unix::{OwnPath, UnixName, UnixRow};
use crate::words::names::{FileKind, Need, UnixKind, UnixState};
use crate::words::untrusted::Text;

/// A `struct sockaddr_un` with a name that may be longer than its own place for one, so that the kernel sees how long
/// it is.
struct Address {
    bytes: [u8; Address::SIZE],
    length: u32,
}

impl Address {
    const SIZE: usize = 256;

    fn new(name: &UnixName) -> Address {
        let mut bytes = [0; Address::SIZE];
        // The family is below the name, and on macOS above a byte that the kernel sets itself (getsockaddr()).
        let family = offset_of!(libc::sockaddr_un, sun_family);
        let number = (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes();
        bytes[family..family + number.len()].copy_from_slice(&number);
        let start = offset_of!(libc::sockaddr_un, sun_path);
        let (start, name, end) = match name {
            // With the NUL that ends it, where there is room in the structure.
            UnixName::Path(path) => (start, path.as_str(), usize::from(path.as_str().len() < size_of_path())),
            UnixName::Abstract(name) => (start + 1, name.as_str(), 0),
        };
        let name = &name.as_bytes()[..name.len().min(Address::SIZE - start - 1)];
        bytes[start..start + name.len()].copy_from_slice(name);
        Address { bytes, length: (start + name.len() + end) as u32 }
    }
}

fn size_of_path() -> usize {
    size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path)
}

pub fn unix_socket(kind: UnixKind) -> Result<OwnedFd> {
    let kind = match kind {
        UnixKind::Stream => SocketType::STREAM,
        UnixKind::Datagram => SocketType::DGRAM,
        UnixKind::Seqpacket => SocketType::SEQPACKET,
    };
    let fd = answer(net::socket_with(AddressFamily::UNIX, kind, os::socket_flags(Mode::Blocking), None))?;
    os::after_open(&fd, Mode::Blocking)?;
    Ok(fd)
}

pub fn unix_bind(fd: &OwnedFd, name: &UnixName) -> Result<()> {
    let Address { bytes, length } = Address::new(name);
    // SAFETY: the array is longer than the length says.
    check(unsafe { libc::bind(fd.as_raw_fd(), bytes.as_ptr().cast(), length) }).map(drop)
}

pub fn unix_connect(fd: &OwnedFd, name: &UnixName) -> Result<()> {
    let Address { bytes, length } = Address::new(name);
    // SAFETY: the array is longer than the length says.
    check(unsafe { libc::connect(fd.as_raw_fd(), bytes.as_ptr().cast(), length) }).map(drop)
}

/// sendto(2) that never waits.
pub fn unix_send_to(fd: &OwnedFd, data: &[u8], name: &UnixName) -> Result<usize> {
    let Address { bytes, length } = Address::new(name);
    let flags = libc::MSG_DONTWAIT | os::SEND_FLAGS;
    // SAFETY: data and address are valid for the lengths that are passed with them.
    check_size(unsafe {
        libc::sendto(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), flags, bytes.as_ptr().cast(), length)
    })
}

/// What a socket that has a peer says of itself, to getsockname(2), getpeername(2) and fstat(2). Whether one listens
/// that has none, not every system tells: macOS declares SO_ACCEPTCONN, and does not answer.
pub fn own_unix_row(fd: &OwnedFd, kind: UnixKind) -> Result<UnixRow, Fault> {
    if net::getpeername(fd).is_err() {
        return Err(unsupported(Need::Linux, "a socket without a peer does not say whether it listens"));
    }
    let name = net::SocketAddrUnix::try_from(answer(net::getsockname(fd))?).ok();
    let name = name.as_ref().and_then(net::SocketAddrUnix::path_bytes);
    let name = name.map(|name| Text::from(String::from_utf8_lossy(name).into_owned()));
    Ok(UnixRow { kind, state: UnixState::Connected, name, inode: super::owner(fd)?.1 })
}

pub fn make_file(path: &OwnPath) -> Result<()> {
    std::fs::File::create_new(path.as_str()).map(drop).map_err(|error| errno_of(&error))
}

/// With exactly this mode, whatever the umask is.
pub fn make_directory(path: &OwnPath, mode: u32) -> Result<()> {
    let made = std::fs::create_dir(path.as_str())
        .and_then(|()| std::fs::set_permissions(path.as_str(), std::fs::Permissions::from_mode(mode)));
    made.map_err(|error| errno_of(&error))
}

pub fn unlink(path: &OwnPath) -> Result<()> {
    std::fs::remove_file(path.as_str()).map_err(|error| errno_of(&error))
}

/// What is there, and its mode (lstat(2)).
pub fn file_kind(path: &OwnPath) -> Result<(FileKind, u32)> {
    let found = match std::fs::symlink_metadata(path.as_str()) {
        Ok(found) => found,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok((FileKind::None, 0)),
        Err(error) => return Err(errno_of(&error)),
    };
    let kind = match found.file_type() {
        kind if kind.is_socket() => FileKind::Socket,
        kind if kind.is_dir() => FileKind::Directory,
        _ => FileKind::File,
    };
    Ok((kind, found.permissions().mode() & 0o7777))
}
