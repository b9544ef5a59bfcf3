//! Lines of strace, `perf trace`, dtruss and truss: system calls as the kernel saw them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use super::call::call;
use super::place::{endpoint, local, place, remote};
use super::read::{Reading, Unreadable, group, named, pattern};
use super::system::System;
use crate::knowledge::policy::separate::End;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Protocol};

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)+) => {
        $(static $name: LazyLock<Regex> = LazyLock::new(|| pattern($pattern));)+
    };
}

patterns! {
    LINE = r"(?:^|[\s\]])(?:<\.\.\. )?([a-z0-9_]+)(?: resumed>|\()(.*)\)\s+= (-1 ([A-Z][A-Z0-9]+)|0)\b";
    // dtruss of macOS: `connect(0x5, 0x16B4E2A10, 0x10) = -1 Err#61`; truss of FreeBSD: `… ERR#61 'Connection …'`.
    TRUSS = r"(?:^|[\s:])([a-z0-9_]+)\((.*)\)\s+(= -1 )?(?:Err|ERR)#(\d{1,3})\b";
    UNFINISHED = r"(?:^|[\s\]])([a-z0-9_]+)\((.*?),?\s*<unfinished \.\.\.>";
    PID = r"^\s*(?:\[pid\s+(\d+)\]|(\d+)\s)";
    NAME = r"\b(E[A-Z][A-Z0-9]+)\b";
    FAMILY = r"(?:\b(?:AF|PF)_INET|\.family: INET)(6?)\b";
    ADDRESS = r#"inet_(?:addr\("|pton\(AF_INET6, ")([^"]+)"|\baddr: ([0-9a-fA-F.:]+)"#;
    PAIR = r"\bAF_INET6? (\S+:\d{1,5}) \}";
    // `strace -yy`: `3<TCP:[192.0.2.1:40000->192.0.2.2:80]>`, or an inode.
    SOCKET = r"^\d+<(TCP|UDP)(?:v6)?:\[(\S*?)\]>";
    PORT = r"\bhtons\((\d{1,5})\)|\bport: (\d{1,5})\b";
}

/// Every failed call, in order. Empty: this is no trace, or nothing in it failed.
pub fn read(lines: &[&str]) -> Vec<Result<Reading, Unreadable>> {
    let mut waiting: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut found = Vec::new();
    let mut before = "";
    for line in lines {
        let above = std::mem::replace(&mut before, line);
        if !line.contains(" = ") && !line.contains("unfinished") && !line.contains("ERR#") {
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
        if line.contains("rr#") || line.contains("RR#") {
            found.extend(TRUSS.captures(line).and_then(|failed| truss(&failed)));
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
            found.push(reading(call, &arguments, named(group(&ended, 4)), System::Linux));
        }
    }
    found
}

fn failed(found: &Captures<'_>, arguments: &str) -> Option<Call> {
    let call = call(group(found, 1))?;
    // What succeeds is an error only where the error is what it asked for.
    (!group(found, 4).is_empty() || (call == Call::SoError && arguments.contains("SO_ERROR, [E"))).then_some(call)
}

fn truss(found: &Captures<'_>) -> Option<Result<Reading, Unreadable>> {
    let system = if group(found, 3).is_empty() { System::Bsd } else { System::Macos };
    let errno = ErrnoName::numbered(system.rules()?, group(found, 4).parse().ok()?);
    Some(reading(call(group(found, 1))?, group(found, 2), errno, system))
}

/// `connect(3, {sa_family=AF_INET, …}, 16) = -1 EADDRNOTAVAIL (…)`.
fn reading(mut call: Call, arguments: &str, errno: Option<ErrnoName>, system: System) -> Result<Reading, Unreadable> {
    if arguments.contains("AF_UNIX") || arguments.contains("AF_LOCAL") {
        return Err(Unreadable::UnixSocket);
    }
    let in_arguments = || NAME.captures_iter(arguments).find_map(|found| named(group(&found, 1)));
    let errno = errno.or_else(in_arguments).ok_or(Unreadable::NoErrno)?;
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
    let mut reading = Reading { calls: vec![call], errno: Some(errno), system: Some(system), ..Reading::default() };
    reading.family =
        FAMILY.captures(arguments).map(|found| if group(&found, 1).is_empty() { Family::Ipv4 } else { Family::Ipv6 });
    reading.protocol = match arguments {
        _ if arguments.contains("IPPROTO_MPTCP") => Some(Protocol::Mptcp),
        _ if arguments.contains("SOCK_STREAM") => Some(Protocol::Tcp),
        _ if arguments.contains("SOCK_DGRAM") => Some(Protocol::Udp),
        _ => None,
    };
    if let Some(socket) = SOCKET.captures(arguments) {
        reading.protocol = group(&socket, 1).to_ascii_lowercase().parse().ok();
        let ends = group(&socket, 2);
        let (own, peer) = ends.split_once("->").unwrap_or((ends, ""));
        for (end, set) in [(own, local as fn(&mut Reading, End)), (peer, remote)] {
            let end = endpoint(end);
            if end.address.is_some() {
                set(&mut reading, end);
            }
        }
    }
    let first = |pattern: &Regex| {
        let found = pattern.captures(arguments)?;
        found.iter().skip(1).flatten().next().map(|group| group.as_str().to_owned())
    };
    let address = first(&ADDRESS).and_then(|address| address.parse().ok());
    let named = End { address, port: first(&PORT).and_then(|port| port.parse().ok()) };
    let named = first(&PAIR).map_or(named, |pair| endpoint(&pair));
    if named != End::default() {
        place(&mut reading, named);
    }
    Ok(reading)
}
