//! What other processes do, according to /proc: whether they run, are stopped or are ending.
//!
//! It waits for no process, and ends none.

use std::fs::{read_dir, read_to_string};
use std::os::fd::AsRawFd;

use super::OS;
use super::namespace::open_process;
use crate::sys::{Life, Result, errno_of};
use crate::words::errno::Errno;

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Of a process of this PID namespace, and of the process group that it leads, if it does: one member that is stopped
/// is enough.
pub fn life_of(pid: i32) -> Result<Life> {
    let leader = number_of(pid)?;
    let life = life(&leader)?;
    if life != Life::Runs {
        return Ok(life);
    }
    let is_stopped = |number: &str| is_in_group(number, &leader) && self::life(number) == Ok(Life::Stopped);
    let entries = read_dir("/proc").map_err(|error| errno_of(&error))?;
    let mut numbers = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(if numbers.any(|number| is_stopped(&number)) { Life::Stopped } else { Life::Runs })
}

/// All processes of this PID namespace but this one. With the /proc of another there are none to see.
pub fn others() -> Vec<i32> {
    let own = std::process::id();
    if !read_to_string("/proc/self/stat").is_ok_and(|text| text.starts_with(&format!("{own} "))) {
        return Vec::new();
    }
    let entries = read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| u32::try_from(*pid) != Ok(own)).collect()
}

/// What /proc calls a process. It may be that of another PID namespace, which numbers processes otherwise.
fn number_of(pid: i32) -> Result<String> {
    let pidfd = open_process(pid)?;
    let text = read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).map_err(|error| errno_of(&error))?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
    number.filter(|number| number.parse().is_ok_and(|number: i32| number > 0)).map(str::to_owned).ok_or_else(gone)
}

fn life(number: &str) -> Result<Life> {
    let text = read_to_string(format!("/proc/{number}/status")).map_err(|error| errno_of(&error))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let pending = |name| field(name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    // What is pending comes before anything else that the process does.
    let pending = pending("SigPnd:") | pending("ShdPnd:");
    Ok(match field("State:").and_then(|state| state.chars().next()).ok_or_else(gone)? {
        'Z' | 'X' | 'x' => Life::Ended,
        _ if pending & bit(libc::SIGKILL) != 0 => Life::Ended,
        'T' | 't' => Life::Stopped,
        _ if pending & bit(libc::SIGSTOP) != 0 => Life::Stopped,
        _ => Life::Runs,
    })
}

fn is_in_group(number: &str, leader: &str) -> bool {
    let Ok(text) = read_to_string(format!("/proc/{number}/stat")) else { return false };
    // Behind the name, which may hold anything: state, parent, group.
    text.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(2)) == Some(leader)
}

fn gone() -> Errno {
    Errno::from_raw(OS, libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    fn start(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_signal_counts_from_when_it_is_sent() {
        let mut child = start("exec sleep 1000");
        let pid = child.id() as i32;
        assert_eq!(life_of(pid), Ok(Life::Runs));
        assert!(others().contains(&pid) && !others().contains(&(std::process::id() as i32)));
        for (signal, expected) in [
            (Signal::SIGSTOP, Life::Stopped),
            (Signal::SIGCONT, Life::Runs),
            (Signal::SIGSTOP, Life::Stopped),
            (Signal::SIGKILL, Life::Ended),
        ] {
            kill(Pid::from_raw(pid), signal).unwrap();
            assert_eq!(life_of(pid), Ok(expected), "{signal}");
        }
        child.wait().unwrap();
        assert!(life_of(pid).is_err());
        assert!(!others().contains(&pid));
    }

    #[test]
    fn one_of_a_group_that_is_stopped_stops_it() {
        let mut child = start("sleep 1000 & kill -STOP $!; wait");
        let pid = child.id() as i32;
        while life_of(pid) == Ok(Life::Runs) {
            std::thread::yield_now();
        }
        assert_eq!(life_of(pid), Ok(Life::Stopped));
        kill(Pid::from_raw(-pid), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}
