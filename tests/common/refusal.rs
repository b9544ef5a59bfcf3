//! Threads that the kernel refuses something. Programs that such a thread starts are refused it as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// Calls that make or enter namespaces, and mount(2).
const NAMESPACES: &[i64] = &[libc::SYS_unshare, libc::SYS_setns, libc::SYS_mount];
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NEW: u64 = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

/// What a call that is refused gives.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    Errno(i32),
    /// It says that it has done what it has not.
    Lie,
    /// Whoever makes it is killed (SIGSYS).
    Kill,
}

/// Runs `body` on a thread in a network of its own, which has no way into another. For root.
#[track_caller]
pub fn without_namespaces<T: Send>(refusal: Refusal, body: impl FnOnce() -> T + Send) -> T {
    without_namespaces_and(&[], refusal, body)
}

/// The same after these mounts.
#[track_caller]
pub fn without_namespaces_and<T: Send>(mounts: &[&[&str]], refusal: Refusal, body: impl FnOnce() -> T + Send) -> T {
    // The journal of a host without namespaces lets no two workers run at once.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let action = match refusal {
        Refusal::Errno(errno) => SeccompAction::Errno(errno as u32),
        Refusal::Lie => SeccompAction::Errno(0),
        Refusal::Kill => SeccompAction::KillProcess,
    };
    let confined = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("this test makes a network of its own, for which it has to be root");
        set_up_loopback();
        for arguments in mounts {
            done(&[&["mount"], *arguments].concat());
        }
        let has_bit = |bit: u64| {
            let is_set = SeccompCmpOp::MaskedEq(bit);
            let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, is_set, bit).expect("a condition");
            SeccompRule::new(vec![condition]).expect("a rule")
        };
        let bits = (0..64).map(|bit| 1 << bit).filter(|bit| CLONE_NEW & bit != 0);
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NAMESPACES.iter().map(|&call| (call, Vec::new())).collect();
        rules.insert(libc::SYS_clone, bits.map(has_bit).collect());
        refuse(rules, action);
        // Its flags are in memory, where a filter cannot look: who meets this uses clone(2).
        refuse([(libc::SYS_clone3, Vec::new())].into(), SeccompAction::Errno(libc::ENOSYS as u32));
        body()
    };
    std::thread::scope(|scope| scope.spawn(confined).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn refuse(rules: BTreeMap<i64, Vec<SeccompRule>>, refused: SeccompAction) {
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a processor that seccompiler knows");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    apply_filter(&program).expect("seccomp is to be had");
}

/// As a container finds it: `lo` is up, and /proc/sys cannot be written.
fn set_up_loopback() {
    for command in [
        &["ip", "link", "set", "lo", "up"][..],
        &["mount", "--make-rprivate", "/"],
        &["mount", "--bind", "/proc/sys", "/proc/sys"],
        &["mount", "-o", "remount,bind,ro", "/proc/sys"],
    ] {
        done(command);
    }
}

#[track_caller]
fn done(command: &[&str]) {
    let done = std::process::Command::new(command[0]).args(&command[1..]).status().expect("it starts");
    assert!(done.success(), "{command:?}: {done}");
}

/// All of /proc/sys/net and what /proc has of interfaces, addresses and routes, as this thread sees them.
pub fn network() -> BTreeMap<PathBuf, String> {
    fn walk(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => walk(&path, found),
                // Some can only be written.
                path => drop(found.insert(path.clone(), std::fs::read_to_string(path).unwrap_or_default())),
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(Path::new("/proc/sys/net"), &mut found);
    assert!(found.len() > 100, "the sysctls were read");
    for table in ["dev", "route", "if_inet6", "ipv6_route", "fib_trie"] {
        let path = Path::new("/proc/thread-self/net").join(table);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // What has passed through a device, and who uses a route, is counted.
        let is_count = |index: &usize| match table {
            "dev" => *index > 0,
            "ipv6_route" => matches!(index, 6 | 7),
            _ => false,
        };
        let kept = |line: &str| {
            let words = line.split_whitespace().enumerate().filter(|(index, _)| !is_count(index));
            words.map(|(_, word)| word.to_owned()).collect::<Vec<_>>().join(" ")
        };
        found.insert(path, text.lines().map(kept).collect::<Vec<_>>().join("\n"));
    }
    found
}
