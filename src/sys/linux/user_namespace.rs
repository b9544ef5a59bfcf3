//! User namespaces: who a process is in one, and what a person can do if there is none.
//!
//! It does not decide what happens in them.

use std::process::Command;

use crate::sys::{Fault, Result, check, errno_of};
use crate::words::errno::Errno;

/// unshare(2).
pub(super) fn unshare(flags: i32) -> Result<()> {
    // SAFETY: unshare(2) takes no pointers; this process has one thread.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// In a fresh user namespace: names for the one user and the one group that it takes no privilege to map.
pub(super) fn map_self([uid, gid]: [u32; 2], [outer_uid, outer_gid]: [u32; 2], caller: u32) -> Result<(), Fault> {
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| Fault::Failed(format!("/proc/self/{file}: {}; {}", errno_of(&error), advice(caller))))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{uid} {outer_uid} 1\n"))?;
    write("gid_map", format!("{gid} {outer_gid} 1\n"))
}

/// Gives this process the ids that it had before [`super::isolate`] made it uid 0 of a user namespace, and nothing of
/// that user's power over the network it is in.
pub(super) fn leave_root_to(ids: [u32; 2]) -> Result<(), Fault> {
    unshare(libc::CLONE_NEWUSER).map_err(|errno| refused(&errno, ids[0]))?;
    map_self(ids, [0, 0], ids[0])
}

/// Why there is no user namespace for this caller.
pub(super) fn refused(errno: &Errno, caller: u32) -> Fault {
    Fault::Failed(format!("unshare(CLONE_NEWUSER): {errno}; {}", advice(caller)))
}

/// Asks the set-uid helpers for a map of 0 to ourselves and of 1 and 2 to the first two subordinate ids.
pub(super) fn map_subordinate(pid: i32, uid: u32, gid: u32) -> bool {
    let user = crate::sys::user_name(uid);
    let first_of = |file: &str| -> Option<u32> {
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let owner = fields.next()?;
            let first = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.trim().parse().ok()?;
            (count >= 2 && (user.as_deref() == Some(owner) || owner == uid.to_string())).then_some(first)
        })
    };
    let map = |command: &str, own: u32, file: &str| -> Option<bool> {
        let first = first_of(file)?;
        let ids = [0, own, 1, 1, first, 2].map(|number| number.to_string());
        Some(
            Command::new(command)
                .arg(pid.to_string())
                .args(ids)
                .stderr(std::process::Stdio::null())
                .status()
                .ok()?
                .success(),
        )
    };
    // The gid map first: without it a uid map alone would have to be undone, which nothing can.
    map("newgidmap", gid, "/etc/subgid") == Some(true) && map("newuidmap", uid, "/etc/subuid") == Some(true)
}

/// What a person can do about a refused user namespace. Root has no use for one, and meets this where none is let
/// through.
fn advice(caller: u32) -> String {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let mut advice = Vec::new();
    if read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        advice.push("set kernel.unprivileged_userns_clone=1");
    }
    if read("/proc/sys/user/max_user_namespaces") == "0" {
        advice.push("raise user.max_user_namespaces above 0");
    }
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        advice.push("set kernel.apparmor_restrict_unprivileged_userns=0, or give this binary an AppArmor profile that allows userns");
    }
    if advice.is_empty() {
        advice.push("in a container, start it with --privileged, or with a seccomp profile that allows unshare");
    }
    match caller {
        0 => advice.push("in a systemd service, set RestrictNamespaces=no"),
        _ => advice.push("or run as root"),
    }
    advice.join(", ")
}
