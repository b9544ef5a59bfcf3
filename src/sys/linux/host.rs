//! A host that others use: where the journal of a worker is, and what keeps another worker out of the same ports.
//!
//! It changes nothing there. What is done about a worker that died is `shared_host`'s.

use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::{fs, net, process};

use crate::sys::journal::HostChange;
use crate::sys::{Fault, pause_ms, shared_host};

/// What no two boots have in common. Where /proc is hidden, nobody tells.
pub(in crate::sys) fn boot_session() -> Result<String, Fault> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned())
}

/// The first place that can be written to. A container may have none: then there is nothing to undo either, as a
/// directory is all that a case makes.
pub(in crate::sys) fn journal_path() -> Option<PathBuf> {
    let uid = process::geteuid().as_raw();
    let is_writable = |place: &Path| fs::access(place, fs::Access::WRITE_OK | fs::Access::EXEC_OK).is_ok();
    if uid == 0 && is_writable(Path::new("/run")) {
        return Some(PathBuf::from("/run/errnoscope.journal"));
    }
    let places = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/dev/shm"), PathBuf::from("/var/tmp")];
    places.into_iter().find(|place| is_writable(place)).map(|place| place.join(format!("errnoscope-{uid}.journal")))
}

/// Nothing else of a host that others use is changed.
pub(in crate::sys) fn undo(change: &HostChange) -> Result<(), Fault> {
    match change {
        HostChange::Directory { path } => shared_host::remove_directory(path),
        HostChange::Setting { .. } | HostChange::Address { .. } => {
            Err(Fault::Failed("no such change is made on Linux".to_owned()))
        }
    }
}

/// Keeps out the workers of other users and of other containers on these ports: like ports, a name without a file
/// belongs to a network namespace (unix(7), "Abstract"). It is this process's as long as that lives.
pub(super) fn keep_others_out() {
    const NAME: &str = "errnoscope-ports";
    let held = || -> rustix::io::Result<()> {
        let address = SocketAddrUnix::new_abstract_name(NAME.as_bytes())?;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        net::bind(&socket, &address)?;
        let _: i32 = socket.into_raw_fd();
        Ok(())
    };
    let end = Instant::now() + shared_host::TIMEOUT;
    loop {
        match held() {
            Ok(()) => return,
            Err(rustix::io::Errno::ADDRINUSE) if Instant::now() < end => pause_ms(10.0),
            Err(rustix::io::Errno::ADDRINUSE) => shared_host::give_up(&format!(
                "another errnoscope, of another user or container, runs in this network, and their cases would share its \
                 ports; wait until it has ended (ss -xp | grep @{NAME})"
            )),
            // A sandbox without AF_UNIX: what is left is that cases are run again on other ports.
            Err(_) => return,
        }
    }
}
