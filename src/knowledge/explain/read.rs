//! Reads what a person has when a call failed: a trace, an exception, a log line, a message.
//!
//! It assumes nothing that the text does not say: neither the OS nor the call.

use std::net::IpAddr;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use super::message;
use crate::knowledge::policy::separate::End;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Os, PortChoice, Protocol};

/// What a text says about a failed call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Empty: the text names none. Several: it does not say which of them.
    pub calls: Vec<Call>,
    /// Its name.
    pub errno: Option<ErrnoName>,
    /// An error number whose name the text does not give.
    pub number: Option<i32>,
    /// The system that the text is from, where it shows that.
    pub os: Option<Os>,
    /// Whether the call found its source port.
    pub port: Option<PortChoice>,
    /// The socket's protocol.
    pub protocol: Option<Protocol>,
    /// The socket's address family.
    pub family: Option<Family>,
    /// The socket's own end.
    pub local: End,
    /// Its peer.
    pub remote: End,
}

/// Why a text cannot be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Neither a name nor a number of an errno is in it, and no message that is known here.
    #[error(
        "no errno in this text; expected a call and an errno (`connect EADDRNOTAVAIL`), a number (`os error 48`), or the \
         message as it came: a line of strace, of a log, of an exception"
    )]
    NoErrno,
    /// No scenario knows sockets that are files.
    #[error("this is about a UNIX socket; expected IPv4 or IPv6")]
    UnixSocket,
}

/// Reads one failed call; of several lines of strace the last that failed.
pub fn read(text: &str) -> Result<Reading, Unreadable> {
    let text = text.trim();
    let traced = text.lines().rev().find_map(|line| STRACE.captures(line).filter(|found| strace_call(found).is_some()));
    if let Some(found) = &traced {
        return strace(found);
    }
    if UNIX.is_match(text) {
        return Err(Unreadable::UnixSocket);
    }
    let mut reading = Reading { calls: calls(text), ..Reading::default() };
    ends(text, &mut reading);
    errno(text, &mut reading);
    if reading.errno.is_none() && reading.number.is_none() {
        return Err(Unreadable::NoErrno);
    }
    Ok(reading)
}

/// A pattern of this module, which the tests compile.
fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the tests compile every pattern")
}

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)+) => {
        $(static $name: LazyLock<Regex> = LazyLock::new(|| pattern($pattern));)+
    };
}

const CALL: &str = "accept4?|bind|connect|getsockopt|listen|recv(?:from|m?msg)?|send(?:to|m?msg)?|setsockopt|shutdown|close|socket|readv?|writev?|SO_ERROR|MSG_ERRQUEUE";

patterns! {
    STRACE = r"(?:^|[\s\]])(?:<\.\.\. )?([a-z0-9_]+)(?: resumed>|\()(.*)\)\s+= (-1 ([A-Z][A-Z0-9]+)|0)\b";
    UNIX = r"(?i)AF_UNIX|AF_LOCAL|\bunix:/|\b(?:dial|listen|read|write) unix(?:gram|packet)?\b";
    // Calls, from the surest place to the least.
    FAILED = &format!(r"\b({CALL})\([^()\s]*\)[^()]* failed\b");
    NODE = &format!(r"(?i)^(?:.*[^\w])?({CALL}) (?:WSA)?E[A-Z0-9]{{3,}}\b");
    NODE_LISTEN = r"\blisten E[A-Z]+: |syscall: 'listen'";
    NODE_FIELD = &format!(r"syscall: '({CALL})'");
    BEFORE_COLON = &format!(r"(?i)(?:^|: |\s)({CALL})(?:\(2?\))?: ");
    NUMBERED = &format!(r"(?i)^({CALL}) -?\d{{1,5}}$");
    JAVA = r"(?i)\((bind|connect|listen|accept) failed\)|: (connect|bind)\b|\b(?:socket)?(bind|connect|listen|accept)0?\(|: (JVM_Bind)";
    WORD = r"(?i)\b(bind|connect|listen|accept)(?:ing)?\b";
    // Errnos.
    NAME = r"(?i)\b(?:WSA)?(E[A-Z][A-Z0-9]+)\b";
    CODE = r"(?i)\b(?:os |win|sock(?:et)?)?err(?:or|no)?(?: ?code)?(?: ?[:=] ?| )-?(\d{1,5})\b|\bOs \{ code: (\d{1,5})|\((\d{1,5}): |Exception \((\d{1,5})\)|^(?:[a-zA-Z_][a-zA-Z0-9_]* )?-?(\d{1,5})$";
    // Addresses.
    GO = r"\b(dial|listen|read|write|accept|set) (tcp|udp)([46]?) (?:([^\s>]*)->)?(\S*):? ";
    NODE_ENDS = r"\b(?:connect|listen|bind|send) E[A-Z]+:?(?: [a-z' ]+)? (\S+)(?: - Local \((\S*)\))?";
    TO = r"\b(?:bind|connect|listen)\(\) to (\S+?),? ";
    PYTHON = r"address \('([^']*)', (\d{1,5})";
    RUBY = r#"for "?([^\s"]+)"? port (\d{1,5})"#;
    FAMILY = r"\b(?:AF|PF)_INET(6?)\b";
    ADDRESS = r#"inet_(?:addr\("|pton\(AF_INET6, ")([^"]+)""#;
    HTONS = r"\bhtons\((\d{1,5})\)";
}

/// The call that a name in a program or a trace stands for.
fn call(name: &str) -> Option<Call> {
    Some(match name.to_ascii_lowercase().as_str() {
        "socket" => Call::Socket,
        "setsockopt" => Call::Setsockopt,
        "bind" | "jvm_bind" => Call::Bind,
        "listen" => Call::Listen,
        "connect" => Call::Connect,
        "accept" | "accept4" => Call::Accept,
        "send" | "sendmsg" | "sendmmsg" | "write" | "writev" => Call::Send,
        "sendto" => Call::Sendto,
        "recv" | "recvfrom" | "recvmsg" | "recvmmsg" | "read" | "readv" => Call::Recv,
        "shutdown" => Call::Shutdown,
        "close" => Call::Close,
        "getsockopt" | "so_error" => Call::SoError,
        "msg_errqueue" => Call::ErrorQueue,
        _ => return None,
    })
}

fn calls(text: &str) -> Vec<Call> {
    let surest = [&FAILED, &NODE, &NODE_FIELD, &NUMBERED].into_iter().find_map(|pattern| pattern.captures(text));
    if let Some(name) = surest.as_ref().and_then(first) {
        let mut calls: Vec<Call> = call(name).into_iter().collect();
        // Node calls both so, and libuv keeps what bind() said until somebody listens.
        if calls == [Call::Listen] && NODE_LISTEN.is_match(text) {
            calls.insert(0, Call::Bind);
        }
        return calls;
    }
    // In `dial tcp …: connect: message` it is the last one.
    if let Some(found) = BEFORE_COLON.captures_iter(text).last() {
        return first(&found).and_then(call).into_iter().collect();
    }
    let mut calls: Vec<Call> = Vec::new();
    for pattern in [&JAVA, &WORD] {
        calls.extend(pattern.captures_iter(text).filter_map(|found| first(&found).and_then(call)));
        calls.sort_unstable();
        calls.dedup();
        if !calls.is_empty() {
            break;
        }
    }
    calls
}

/// The first group that took part.
fn first<'t>(found: &Captures<'t>) -> Option<&'t str> {
    found.iter().skip(1).flatten().next().map(|group| group.as_str())
}

fn group<'t>(found: &Captures<'t>, index: usize) -> &'t str {
    found.get(index).map_or("", |group| group.as_str())
}

fn named(name: &str) -> Option<ErrnoName> {
    let name = name.to_ascii_uppercase();
    if name == "EWOULDBLOCK" { Some(ErrnoName::EAGAIN) } else { ErrnoName::new(&name) }
}

fn errno(text: &str, reading: &mut Reading) {
    let number = CODE.captures_iter(text).find_map(|found| first(&found).and_then(|digits| digits.parse().ok()));
    let name = NAME.captures_iter(text).find_map(|found| named(group(&found, 1)));
    let message = message::find(text);
    reading.os = reading.os.or(message.and_then(|message| message.os));
    reading.errno = name.or(message.map(|message| message.errno));
    match (reading.errno, number) {
        // A number that a name goes with tells the OS.
        (Some(errno), Some(number)) => {
            let has = |os: &&Os| errno.raw(**os) == Some(number);
            let mut numbered = Os::ALL.iter().filter(has);
            if let (Some(&os), None) = (numbered.next(), numbered.next()) {
                reading.os = Some(os);
            }
        }
        (None, number) => reading.number = number,
        (Some(_), None) => {}
    }
}

fn strace_call(found: &Captures<'_>) -> Option<Call> {
    let call = call(group(found, 1))?;
    // What succeeds is an error only where the error is what it asked for.
    (!group(found, 4).is_empty() || (call == Call::SoError && group(found, 2).contains("SO_ERROR, [E"))).then_some(call)
}

/// `connect(3, {sa_family=AF_INET, …}, 16) = -1 EADDRNOTAVAIL (…)`.
fn strace(found: &Captures<'_>) -> Result<Reading, Unreadable> {
    let arguments = group(found, 2);
    if UNIX.is_match(arguments) {
        return Err(Unreadable::UnixSocket);
    }
    let mut call = strace_call(found).ok_or(Unreadable::NoErrno)?;
    let in_arguments = || NAME.captures_iter(arguments).find_map(|found| named(group(&found, 1)));
    let errno = named(group(found, 4)).or_else(in_arguments).ok_or(Unreadable::NoErrno)?;
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
    let mut reading = Reading { calls: vec![call], errno: Some(errno), os: Some(Os::Linux), ..Reading::default() };
    reading.family =
        FAMILY.captures(arguments).map(|found| if group(&found, 1).is_empty() { Family::Ipv4 } else { Family::Ipv6 });
    reading.protocol = match arguments {
        _ if arguments.contains("SOCK_STREAM") => Some(Protocol::Tcp),
        _ if arguments.contains("SOCK_DGRAM") => Some(Protocol::Udp),
        _ => None,
    };
    let end = End {
        address: ADDRESS.captures(arguments).and_then(|found| group(&found, 1).parse().ok()),
        port: HTONS.captures(arguments).and_then(|found| group(&found, 1).parse().ok()),
    };
    place(&mut reading, end);
    Ok(reading)
}

/// An address of a call is the local one where the call binds, and the other one elsewhere.
fn place(reading: &mut Reading, end: End) {
    let binds = matches!(reading.calls[..], [Call::Bind, ..] | [Call::Listen, ..]);
    if binds {
        local(reading, end);
    } else {
        reading.family = reading.family.or(end.address.map(Family::of));
        reading.remote = end;
    }
}

fn local(reading: &mut Reading, end: End) {
    reading.family = reading.family.or(end.address.map(Family::of));
    reading.port = end.port.map(|port| if port == 0 { PortChoice::Ephemeral } else { PortChoice::Explicit });
    reading.local = end;
}

fn ends(text: &str, reading: &mut Reading) {
    if let Some(found) = GO.captures(text) {
        reading.protocol = group(&found, 2).parse().ok();
        reading.family = match group(&found, 3) {
            "4" => Some(Family::Ipv4),
            "6" => Some(Family::Ipv6),
            _ => None,
        };
        let (before, after) = (group(&found, 4), end(group(&found, 5).trim_end_matches(':')));
        if group(&found, 1) == "listen" || (group(&found, 1) != "dial" && before.is_empty()) {
            local(reading, after);
        } else {
            reading.remote = after;
            reading.family = reading.family.or(after.address.map(Family::of));
            if !before.is_empty() {
                local(reading, end(before));
            }
        }
    } else if let Some(found) = NODE_ENDS.captures(text) {
        // Node's own bind is that of datagrams; TCP servers listen.
        reading.protocol = match text.contains("bind E") || text.contains("send E") {
            true => Some(Protocol::Udp),
            false => Some(Protocol::Tcp),
        };
        place(reading, end(group(&found, 1)));
        if let Some(before) = found.get(2) {
            local(reading, end(before.as_str()));
        }
    } else if let Some(found) = TO.captures(text) {
        place(reading, end(group(&found, 1)));
    } else if let Some(found) = PYTHON.captures(text).or_else(|| RUBY.captures(text)) {
        place(reading, End { address: group(&found, 1).parse().ok(), port: group(&found, 2).parse().ok() });
    }
}

/// `127.0.0.1:80`, `[::1]:80`, `:::80`, `:80`, `localhost:80`, `127.0.0.1`.
fn end(text: &str) -> End {
    let bare = text.parse::<IpAddr>().ok();
    // Node writes `:::3000` where others write `[::]:3000`; an address alone has no port.
    if bare.is_some() && !text.starts_with(":::") {
        return End { address: bare, port: None };
    }
    let (address, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let address = address.trim_start_matches('[').trim_end_matches(']');
    End { address: address.parse().ok(), port: port.parse().ok() }
}
