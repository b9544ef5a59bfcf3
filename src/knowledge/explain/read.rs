//! Reads what a person has when calls failed: a trace, an exception, lines of a log, a message.
//!
//! It assumes nothing that the text does not say: neither the OS nor the call.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use super::call::{self, CallCandidate, Surety};
use super::lines::{self, Block};
use super::system::System;
use super::{message, place, strace, system};
use crate::knowledge::policy::separate::End;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, PortChoice, Protocol};

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
    pub system: Option<System>,
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
    /// It tells of a failure, but not of its errno.
    #[error("no errno in this text; {0}")]
    Told(&'static str),
    /// It is about files.
    #[error("this is about a file; expected a socket's error")]
    File,
    /// No scenario knows sockets that are files.
    #[error("this is about a UNIX socket; expected IPv4 or IPv6")]
    UnixSocket,
}

/// Texts that tell of a failure without its errno, and how to get it.
const HINTS: &[(&str, &str)] = &[
    ("couldn't connect to server", "`curl -v` prints it"),
    ("failed to connect to", "`curl -v` prints it, if this is from curl"),
    (
        "protocol family unavailable",
        "Java says so without a call, where this host has no address of the destination's family: see `ip -6 address`",
    ),
    ("port is already allocated", "Docker says so itself: another container has the port, see `docker ps`"),
];

/// Reads every failed call, the last one first.
pub fn read(text: &str) -> Result<Vec<Reading>, Unreadable> {
    let lines: Vec<&str> = text.lines().collect();
    let mut all = strace::read(&lines);
    if all.is_empty() {
        all = lines::blocks(&lines).iter().map(block).collect();
    }
    let about = [Unreadable::UnixSocket, Unreadable::File].into_iter().find(|about| all.contains(&Err(*about)));
    let mut readings: Vec<Reading> = Vec::new();
    for reading in all.into_iter().filter_map(Result::ok) {
        match readings.last_mut().filter(|last| same(last, &reading)) {
            Some(last) => complete(last, reading),
            None => readings.push(reading),
        }
    }
    readings.reverse();
    // What is made again and again fails again and again.
    let mut told: Vec<Reading> = Vec::new();
    for reading in readings {
        if told.len() < lines::MOST && !told.contains(&reading) {
            told.push(reading);
        }
    }
    let mut readings = told;
    // A paste is of one host.
    let mut systems: Vec<System> = readings.iter().filter_map(|reading| reading.system).collect();
    systems.dedup();
    if let [system] = systems[..] {
        readings.iter_mut().for_each(|reading| reading.system = Some(system));
    }
    // These say that a call is under way, or to be made again.
    let passes = |reading: &Reading| {
        reading.errno.is_some_and(|errno| matches!(errno.as_str(), "EINPROGRESS" | "EAGAIN" | "EINTR" | "EALREADY"))
    };
    if readings.iter().any(|reading| !passes(reading)) {
        readings.retain(|reading| !passes(reading));
    }
    match readings.is_empty() {
        false => Ok(readings),
        true => Err(about.unwrap_or_else(|| unreadable(text))),
    }
}

fn unreadable(text: &str) -> Unreadable {
    let lower = text.to_ascii_lowercase();
    if let Some((_, hint)) = HINTS.iter().find(|(says, _)| lower.contains(says)) {
        return Unreadable::Told(hint);
    }
    match text.chars().any(|c| !c.is_ascii() && c.is_alphabetic()) {
        true => Unreadable::Told("messages are read in English: give the number, or run the program with LC_ALL=C"),
        false => Unreadable::NoErrno,
    }
}

/// Whether a later line tells the same failure again, as an outer exception does.
fn same(one: &Reading, other: &Reading) -> bool {
    let end = |one: End, other: End| one == End::default() || other == End::default() || one == other;
    let calls =
        one.calls.is_empty() || other.calls.is_empty() || one.calls.iter().any(|call| other.calls.contains(call));
    one.errno == other.errno
        && one.number == other.number
        && calls
        && end(one.local, other.local)
        && end(one.remote, other.remote)
}

fn complete(one: &mut Reading, other: Reading) {
    if one.calls.is_empty() {
        one.calls = other.calls;
    }
    one.system = one.system.or(other.system);
    one.port = one.port.or(other.port);
    one.protocol = one.protocol.or(other.protocol);
    one.family = one.family.or(other.family);
    if one.local == End::default() {
        one.local = other.local;
    }
    if one.remote == End::default() {
        one.remote = other.remote;
    }
}

/// A pattern of these modules, which the tests compile.
pub(super) fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the tests compile every pattern")
}

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)+) => {
        $(static $name: LazyLock<Regex> = LazyLock::new(|| pattern($pattern));)+
    };
}

patterns! {
    UNIX = r"(?i)AF_UNIX|AF_LOCAL|\bunix:/|\b(?:dial|listen|read|write) unix(?:gram|packet)?\b|/\S+\.sock\b|Unix domain socket";
    // A file may be forbidden as well.
    FILE = r#"(?i)\b(?:open|opening|access|create|chdir|mkdir|unlink|stat|exec|execve|load|save)\b(?:\(\))?[^/:]{0,24}["'` ]/+[\w.-]+/[\w./-]+"#;
    // The JDK on Windows has the call behind its message.
    JDK = r"(?:Exception|Error): [^:]+: (?:connect|bind|JVM_Bind|Cannot bind|recv failed)\s*$";
    // A port of OpenBSD's program has its name: `nc.openbsd`, `OpenBSD Secure Shell server`.
    BSD = r"(?:^|[^.-])\b(?:Free|Net|Open)BSD\b(?:[^ -]|[ -][^SNn]|$)|(?:^|[\s(])(?i:free|net|open)bsd\d|\bDragonFly\b";
    WINDOWS = r"(?:^|[^A-Za-z])[A-Za-z]:\\\w|: no further information";
    MACOS = r"(?:^|[^\w.])(?:/Users/\w|/opt/homebrew/|/System/Library/|/private/var/)";
    NODE = r"(?:Error: (connect|listen|bind|send) E[A-Z]+\b|\b(connect|listen|bind|send) E[A-Z]+:? [^-])";
    NODE_LOCAL = r" - Local \((\S+)\)";
    ADDRESS_FIELD = r#"^\s*["']?(?:address|host)["']?\s*:\s*["']([0-9a-fA-F.:]+)["']"#;
    PORT_FIELD = r#"^\s*["']?port["']?\s*:\s*(\d{1,5})"#;
    CLIENT = r"(?i)source_addr|source addr|localaddress|local_addr|internalConnect|\bssh: |create_connection|proxy_bind";
}

/// One group of a match, empty where it took no part.
pub(super) fn group<'t>(found: &Captures<'t>, index: usize) -> &'t str {
    found.get(index).map_or("", |group| group.as_str())
}

/// The first group that took part.
pub(super) fn first<'t>(found: &Captures<'t>) -> &'t str {
    found.iter().skip(1).flatten().next().map_or("", |group| group.as_str())
}

pub(super) fn named(name: &str) -> Option<ErrnoName> {
    let name = name.to_ascii_uppercase();
    if name == "EWOULDBLOCK" { Some(ErrnoName::EAGAIN) } else { ErrnoName::new(&name) }
}

fn block(block: &Block) -> Result<Reading, Unreadable> {
    let Block { line, errno: mention, mentions, numbers, above, below, beside } = block;
    if UNIX.is_match(line) {
        return Err(Unreadable::UnixSocket);
    }
    let forbids =
        mention.is_some_and(|mention| matches!(mention.errno.as_str(), "EACCES" | "EPERM" | "EMFILE" | "ENFILE"));
    if forbids && FILE.is_match(&masked(line, mentions)) && !line.contains("/dev/tcp/") && !line.contains("/dev/udp/") {
        return Err(Unreadable::File);
    }
    let mut reading = Reading { errno: mention.map(|mention| mention.errno), ..Reading::default() };
    let numbers: Vec<i32> = numbers.iter().copied().chain(below.iter().flat_map(|line| lines::numbers(line))).collect();
    system_of(block, &numbers, &mut reading);
    if reading.errno.is_none() && reading.number.is_none() {
        return Err(Unreadable::NoErrno);
    }
    let known = reading.errno.or(reading.number.and_then(|number| {
        let os = reading.system.and_then(System::rules);
        os.and_then(|os| ErrnoName::numbered(os, number))
    }));
    let (candidates, tells) = candidates(block);
    reading.calls = call::settle(&candidates, known, reading.system);
    // The lines near it say what was tried.
    if reading.calls.is_empty()
        && let Some(errno) = known
    {
        let can_give = |call: &Call| call::can_give(*call, errno, reading.system);
        let mut tried = beside.iter().map(|line| call::opening(line));
        reading.calls = tried.find(|calls| !calls.is_empty() && calls.iter().all(can_give)).unwrap_or_default();
    }
    let lower = line.to_ascii_lowercase();
    place::read(&masked(line, mentions), &mut reading);
    // The line that has the call has the protocol as well.
    reading.protocol = reading.protocol.or_else(|| place::protocol(tells));
    let node = NODE.captures(line);
    if let Some(found) = &node {
        if let Some(before) = NODE_LOCAL.captures(line) {
            let remote = reading.remote;
            let mut own = Reading { calls: vec![Call::Bind], ..Reading::default() };
            place::read(group(&before, 1), &mut own);
            place::local(&mut reading, own.local);
            reading.remote = remote;
        }
        // Node's own bind is that of datagrams; TCP servers listen, and TCP clients bind in their connect.
        let client = below.iter().any(|line| line.contains("internalConnect"));
        let datagrams = matches!(first(found), "bind" | "send") && !client;
        reading.protocol = reading.protocol.or(Some(if datagrams { Protocol::Udp } else { Protocol::Tcp }));
    }
    fields(below, &mut reading);
    // A wrapped line, or what a program adds: `Is the server running on host …`.
    let more: Vec<&str> = below.iter().map(|line| line.trim()).filter(|line| !line.starts_with("at ")).collect();
    if reading.local == End::default() && reading.remote == End::default() && !more.is_empty() {
        place::read(&more.join(" "), &mut reading);
    }
    complete_from(beside, &mut reading);
    let around = above.iter().take(4).chain(below);
    // asyncio's datagram endpoints are servers as often.
    let server = above.iter().any(|line| line.contains("create_datagram_endpoint"));
    let client = !server && (CLIENT.is_match(line) || around.into_iter().any(|line| CLIENT.is_match(line)));
    if client && reading.calls.first() == Some(&Call::Bind) && reading.local.port.is_none_or(|port| port == 0) {
        reading.port = Some(PortChoice::Ephemeral);
    }
    if lower.contains("peer name") {
        reading.protocol = reading.protocol.or(Some(Protocol::Udp));
    }
    // The port that a datagram came from says nothing of who chose it.
    if reading.calls == [Call::Sendto] {
        reading.port = None;
    }
    // bind() before a connect() that has a destination: the kernel chose the port.
    if reading.calls == [Call::Bind, Call::Connect] && reading.remote.address.is_some() && reading.port.is_none() {
        reading.port = Some(PortChoice::Ephemeral);
    }
    Ok(reading)
}

/// The line without its errnos, which have no address.
fn masked(line: &str, mentions: &[message::Mention]) -> String {
    let mut masked = line.to_owned();
    for mention in mentions.iter().filter(|mention| !mention.name) {
        masked.replace_range(mention.start..mention.end, &"~".repeat(mention.end - mention.start));
    }
    masked
}

/// What may be the call, and the line beside that has it.
fn candidates(block: &Block) -> (Vec<CallCandidate>, &str) {
    let lower = block.line.to_ascii_lowercase();
    let mut found = call::candidates(&block.line, &lower, block.errno.as_ref(), &block.mentions);
    let sure = |found: &[CallCandidate]| found.first().is_some_and(|first| first.surety >= Surety::Action);
    let of = |line: &String| call::candidates(line, &line.to_ascii_lowercase(), None, &[]);
    // A stack below: the frame nearest to the error that is a function of a call, and surer the one that is the system
    // call. Above: the last one.
    let mut tells = "";
    for least in [Surety::Named, Surety::Action] {
        for line in block.below.iter().chain(&block.above) {
            if sure(&found) {
                break;
            }
            let mut more = of(line);
            more.retain(|candidate| candidate.surety >= least);
            if !more.is_empty() {
                more.append(&mut found);
                (found, tells) = (more, line);
            }
        }
    }
    (found, tells)
}

/// What the lines beside an error say of the ends that its own line leaves open. Of the protocol they say nothing: a
/// program's banner has addresses of its own.
fn complete_from(lines: &[String], reading: &mut Reading) {
    for line in lines {
        // Of which call its address is, the line itself says first.
        let own = call::opening(line);
        let calls = if own.is_empty() { reading.calls.clone() } else { own };
        let mut more = Reading { calls, errno: reading.errno, ..Reading::default() };
        place::read(line, &mut more);
        if reading.local == End::default() && reading.remote == End::default() {
            (reading.local, reading.remote) = (more.local, more.remote);
            (reading.port, reading.family) = (reading.port.or(more.port), reading.family.or(more.family));
            continue;
        }
        // `bind 127.0.0.1`, then `already running on port 8000?`
        for (own, other) in [(reading.local, more.local), (reading.remote, more.remote)] {
            let same = other.address.is_none() || other.address == own.address;
            if own.address.is_some() && own.port.is_none() && other.port.is_some_and(|port| port != 0) && same {
                place::place(reading, End { port: other.port, ..own });
            }
        }
    }
}

/// Node's fields, and those of logs in JSON, below the error's line.
fn fields(below: &[String], reading: &mut Reading) {
    let field = |pattern: &Regex| below.iter().find_map(|line| Some(group(&pattern.captures(line)?, 1).to_owned()));
    let address = field(&ADDRESS_FIELD).and_then(|address| address.parse().ok());
    let port = field(&PORT_FIELD).and_then(|port| port.parse().ok());
    if address.is_some() || port.is_some() {
        place::place(reading, End { address, port });
    }
}

/// The OS: by a number that the errno's name goes with, by words, by who says so.
fn system_of(block: &Block, numbers: &[i32], reading: &mut Reading) {
    let said = block.mentions.iter().find_map(|mention| mention.system);
    if let Some(errno) = reading.errno {
        let numbered = numbers.iter().find_map(|&number| message::numbered(errno, number));
        reading.system = numbered.or(said);
        if reading.system != Some(System::Windows) && JDK.is_match(&block.line) {
            reading.system = Some(System::Windows);
        }
    } else if let Some(&number) = numbers.first() {
        if let Some(errno) = system::windows(number) {
            (reading.errno, reading.system) = (Some(errno), Some(System::Windows));
        } else {
            reading.number = Some(number.abs());
            // The kernel's own log, and io_uring's results, have the errno negative.
            let linux = ErrnoName::numbered(crate::words::names::Os::Linux, number.abs());
            let kernel = number < 0 && block.line.contains(' ') && linux.is_some();
            // The others have no numbers as high.
            let high = linux.is_some()
                && crate::words::names::Os::ALL[1..].iter().all(|&os| ErrnoName::numbered(os, number.abs()).is_none());
            reading.system = (kernel || high).then_some(System::Linux);
        }
    }
    // The files of a stack are of one system.
    let mut lines = std::iter::once(&block.line).chain(&block.below).chain(&block.beside);
    if reading.system.is_none() {
        let of = |line: &String| {
            let windows = WINDOWS.is_match(line).then_some(System::Windows);
            windows.or(MACOS.is_match(line).then_some(System::Macos))
        };
        reading.system = lines.find_map(of);
    }
    let windows = reading.system == Some(System::Windows);
    if !windows && BSD.is_match(&block.line) {
        reading.system = Some(System::Bsd);
    }
}
