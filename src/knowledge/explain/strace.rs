//! Lines of strace and `perf trace`: system calls as the kernel saw them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use super::call::call;
use super::place::place;
use super::read::{Reading, Unreadable, group, named, pattern};
use super::system::System;
use crate::knowledge::policy::separate::End;
use crate::words::names::{Call, Family, Protocol};

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)+) => {
        $(static $name: LazyLock<Regex> = LazyLock::new(|| pattern($pattern));)+
    };
}

patterns! {
    LINE = r"(?:^|[\s\]])(?:<\.\.\. )?([a-z0-9_]+)(?: resumed>|\()(.*)\)\s+= (-1 ([A-Z][A-Z0-9]+)|0)\b";
    UNFINISHED = r"(?:^|[\s\]])([a-z0-9_]+)\((.*?),?\s*<unfinished \.\.\.>";
    PID = r"^\s*(?:\[pid\s+(\d+)\]|(\d+)\s)";
    NAME = r"\b(E[A-Z][A-Z0-9]+)\b";
    FAMILY = r"(?:\b(?:AF|PF)_INET|\.family: INET)(6?)\b";
    ADDRESS = r#"inet_(?:addr\("|pton\(AF_INET6, ")([^"]+)"|\baddr: ([0-9a-fA-F.:]+)"#;
    PORT = r"\bhtons\((\d{1,5})\)|\bport: (\d{1,5})\b";
}

/// Every failed call, in order. Empty: this is no trace, or nothing in it failed.
pub fn read(lines: &[&str]) -> Vec<Result<Reading, Unreadable>> {
    let mut waiting: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut found = Vec::new();
    let mut before = "";
    for line in lines {
        let above = std::mem::replace(&mut before, line);
        if !line.contains(" = ") && !line.contains("unfinished") {
            continue;
        }
        // A line that a mail or a terminal has wrapped.
        let wrapped = line.contains("= -1 E") && !LINE.is_match(line);
        let joined = if wrapped { format!("{above} {}", line.trim_start()) } else { String::new() };
        let line = if wrapped { &*joined } else { line };
        let pid = PID.captures(line).map(|pid| format!("{}{}", group(&pid, 1), group(&pid, 2))).unwrap_or_default();
        if let Some(begun) = UNFINISHED.captures(line) {
            // As many as a process has threads; more is no trace.
            if waiting.len() < 4096 {
                waiting.insert((pid, group(&begun, 1).to_owned()), group(&begun, 2).to_owned());
            }
            continue;
        }
        let Some(ended) = LINE.captures(line) else { continue };
        let begun = if line.contains(" resumed>") {
            waiting.remove(&(pid, group(&ended, 1).to_owned())).unwrap_or_default()
        } else {
            String::new()
        };
        let arguments = format!("{begun}{}", group(&ended, 2));
        if let Some(call) = failed(&ended, &arguments) {
            found.push(reading(call, &arguments, group(&ended, 4)));
        }
    }
    found
}

fn failed(found: &Captures<'_>, arguments: &str) -> Option<Call> {
    let call = call(group(found, 1))?;
    // What succeeds is an error only where the error is what it asked for.
    (!group(found, 4).is_empty() || (call == Call::SoError && arguments.contains("SO_ERROR, [E"))).then_some(call)
}

/// `connect(3, {sa_family=AF_INET, …}, 16) = -1 EADDRNOTAVAIL (…)`.
fn reading(mut call: Call, arguments: &str, errno: &str) -> Result<Reading, Unreadable> {
    if arguments.contains("AF_UNIX") || arguments.contains("AF_LOCAL") {
        return Err(Unreadable::UnixSocket);
    }
    let in_arguments = || NAME.captures_iter(arguments).find_map(|found| named(group(&found, 1)));
    let errno = named(errno).or_else(in_arguments).ok_or(Unreadable::NoErrno)?;
    if call == Call::SoError && !arguments.contains("SO_ERROR") {
        return Err(Unreadable::NoErrno);
    }
    // send() is sendto() without an address, and recvmsg() may be about the error queue.
    if call == Call::Sendto && arguments.ends_with("NULL, 0") {
        call = Call::Send;
    }
    if call == Call::Recv && arguments.contains("MSG_ERRQUEUE") {
        call = Call::ErrorQueue;
    }
    let system = Some(System::Linux);
    let mut reading = Reading { calls: vec![call], errno: Some(errno), system, ..Reading::default() };
    reading.family =
        FAMILY.captures(arguments).map(|found| if group(&found, 1).is_empty() { Family::Ipv4 } else { Family::Ipv6 });
    reading.protocol = match arguments {
        _ if arguments.contains("IPPROTO_MPTCP") => Some(Protocol::Mptcp),
        _ if arguments.contains("SOCK_STREAM") => Some(Protocol::Tcp),
        _ if arguments.contains("SOCK_DGRAM") => Some(Protocol::Udp),
        _ => None,
    };
    let first = |pattern: &Regex| {
        let found = pattern.captures(arguments)?;
        found.iter().skip(1).flatten().next().map(|group| group.as_str().to_owned())
    };
    let address = first(&ADDRESS).and_then(|address| address.parse().ok());
    place(&mut reading, End { address, port: first(&PORT).and_then(|port| port.parse().ok()) });
    Ok(reading)
}
