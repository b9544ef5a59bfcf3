//! Which processes have a socket open, as far as the caller may look into them: proc(5).
//!
//! A process that only root may look into is not found by anybody else.

use std::fs;
use std::path::Path;

use crate::sys::Owner;

/// The processes that have the socket with this inode open, by number.
pub fn owners(inode: u32) -> Vec<Owner> {
    let link = format!("socket:[{inode}]");
    let has_it = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files.map(|file| file.path()).any(|file| fs::read_link(file).is_ok_and(|target| target.as_os_str() == &*link))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let owner = |process: &Path| {
        let pid = process.file_name()?.to_str()?.parse().ok()?;
        let name = has_it(process).then(|| fs::read_to_string(process.join("comm")).unwrap_or_default())?;
        Some(Owner { pid, name: name.trim_end().to_owned() })
    };
    let mut owners: Vec<Owner> = processes.filter_map(|process| owner(&process)).collect();
    owners.sort();
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::names::{Family, Protocol};

    #[test]
    fn a_process_that_has_a_socket_open_is_found() {
        let socket = crate::sys::socket(Family::Ipv4, Protocol::Udp).unwrap();
        let inode = crate::sys::owner(&socket).unwrap().1;
        let own = std::process::id();
        assert!(owners(inode).iter().any(|owner| owner.pid == own));
        drop(socket);
        assert!(owners(inode).iter().all(|owner| owner.pid != own));
    }
}
