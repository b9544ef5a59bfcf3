//! Which call a text is about: what it says of the action, not every noun.
//!
//! A call that cannot give the errno is not the call. What can is asked of findings.

use super::message::Mention;
use super::supplement;
use super::system::System;
use crate::knowledge::policy::causes::Knowledge;
use crate::words::errno::ErrnoName;
use crate::words::names::Call;

/// Calls that a place in a line stands for, and how surely.
#[derive(Clone, Debug)]
pub struct CallCandidate {
    calls: Vec<Call>,
    pub surety: Surety,
    /// The nearest to the errno first, those before it first.
    distance: (bool, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Surety {
    /// Part of another word, or a noun.
    Noun,
    /// A verb.
    Verb,
    /// The verb of what failed, or the name of a function.
    Action,
    /// The system call's name, where a runtime or perror() puts it.
    Named,
}

/// The call that a name in a program or a trace stands for.
pub fn call(name: &str) -> Option<Call> {
    let name = name.to_ascii_lowercase();
    // As dtruss and Windows have it: `connect_nocancel`, `WSARecv`, `ConnectEx`.
    let name = name.strip_suffix("_nocancel").unwrap_or(&name);
    Some(match name.strip_prefix("wsa").or(name.strip_suffix("ex")).unwrap_or(name) {
        "socket" => Call::Socket,
        "setsockopt" => Call::Setsockopt,
        "bind" | "bind0" | "jvm_bind" => Call::Bind,
        "listen" => Call::Listen,
        "connect" | "connect0" => Call::Connect,
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

/// Names that are no words of English: whoever writes them means the system call.
const UNMISTAKABLE: &[&str] = &[
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recv",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "accept4",
    "setsockopt",
    "writev",
    "readv",
    "wsarecv",
    "wsasend",
    "wsarecvfrom",
    "wsasendto",
    "wsaconnect",
    "connectex",
    "acceptex",
];

/// What a word says of the action in prose.
fn prose(word: &str) -> Option<(Vec<Call>, Surety)> {
    let of = |call, surety| Some((vec![call], surety));
    match word {
        "bind" | "binding" | "bound" | "binds" => of(Call::Bind, Surety::Verb),
        "connect" | "connecting" | "connects" | "reconnect" | "reconnecting" | "dial" | "dialing" => {
            of(Call::Connect, Surety::Verb)
        }
        // Runtimes call both so, and libuv keeps what bind() said until somebody listens.
        "listen" | "listening" | "listens" | "listener" | "listeners" => {
            Some((vec![Call::Bind, Call::Listen], Surety::Verb))
        }
        "accept" | "accepting" => of(Call::Accept, Surety::Verb),
        "sending" | "send" => of(Call::Send, Surety::Verb),
        "receiving" | "receive" => of(Call::Recv, Surety::Verb),
        "writing" | "write" => of(Call::Send, Surety::Noun),
        "reading" | "read" => of(Call::Recv, Surety::Noun),
        "socket" | "sockets" => of(Call::Socket, Surety::Noun),
        "connection" | "connected" => of(Call::Connect, Surety::Noun),
        _ => None,
    }
}

/// Every candidate of a line, the surest first. Words inside the errno's own message say nothing of the call.
pub fn candidates(line: &str, lower: &str, mention: Option<&Mention>, messages: &[Mention]) -> Vec<CallCandidate> {
    let errno = mention.map_or(line.len(), |mention| mention.start);
    let mut found: Vec<CallCandidate> = Vec::new();
    let mut at = 0;
    while let Some(word) = next_word(lower, at) {
        at = word.end;
        if messages.iter().any(|message| word.start < message.end && message.start < word.end) {
            continue;
        }
        let place = Place { lower, start: word.start, end: word.end, errno };
        if let Some((calls, surety)) = named(line, &place) {
            found.push(CallCandidate { calls, surety, distance: place.distance() });
        }
    }
    for (phrase, call) in [("peer name", Call::Connect), ("source address", Call::Bind), ("server socket", Call::Bind)]
    {
        if let Some(start) = lower.find(phrase).filter(|_| !lower.contains("bind")) {
            let place = Place { lower, start, end: start + phrase.len(), errno };
            found.push(CallCandidate { calls: vec![call], surety: Surety::Verb, distance: place.distance() });
        }
    }
    // .NET adds the address that it connects to, and none to its other errors.
    let ends = mention.map(|mention| line[mention.end..].trim_start_matches(['.', ' ']));
    if lower.contains("socketexception") && ends.is_some_and(|ends| ends.starts_with(is_address)) {
        found.push(CallCandidate { calls: vec![Call::Connect], surety: Surety::Verb, distance: (true, 0) });
    }
    found.sort_by_key(|candidate| (std::cmp::Reverse(candidate.surety), candidate.distance));
    found
}

/// The calls that a line without an errno is about: its first verb says what was tried.
pub fn opening(line: &str) -> Vec<Call> {
    let found = candidates(line, &line.to_ascii_lowercase(), None, &[]);
    let sure = found.into_iter().filter(|candidate| candidate.surety >= Surety::Action);
    sure.max_by_key(|candidate| candidate.distance).map(|first| first.calls).unwrap_or_default()
}

fn next_word(lower: &str, from: usize) -> Option<std::ops::Range<usize>> {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = lower.as_bytes();
    let start = from + bytes.get(from..)?.iter().position(part)?;
    let length = bytes[start..].iter().position(|byte| !part(byte)).unwrap_or(bytes.len() - start);
    Some(start..start + length)
}

struct Place<'t> {
    lower: &'t str,
    start: usize,
    end: usize,
    errno: usize,
}

impl<'t> Place<'t> {
    fn word(&self) -> &'t str {
        &self.lower[self.start..self.end]
    }

    fn before(&self) -> &'t str {
        &self.lower[..self.start]
    }

    fn after(&self) -> &'t str {
        &self.lower[self.end..]
    }

    fn distance(&self) -> (bool, usize) {
        (self.start > self.errno, self.start.abs_diff(self.errno))
    }
}

fn named(line: &str, place: &Place<'_>) -> Option<(Vec<Call>, Surety)> {
    let word = place.word();
    let (before, after) = (place.before().trim_end(), place.after());
    if let Some(own) = call(word) {
        // Between colons, as perror() and Go write it; before the errno's name, as Node does; as a field of a log.
        let manual = after.strip_prefix("(2)").or(after.strip_prefix("()")).unwrap_or(after);
        let opens = before.is_empty() || before.ends_with([':', '-', '[', ']', '(', '>']);
        let colons = opens && manual.starts_with(':') && !manual.starts_with("::");
        let node =
            place.errno > place.end && place.lower[place.end..place.errno].chars().all(|c| matches!(c, ' ' | ':'));
        let node = node && (word.contains('_') || opens || !matches!(word, "socket"));
        let field = before.trim_end_matches(['"', '\'', ' ', ':', '=']).ends_with("syscall");
        let ruby = before.ends_with('-') && after.starts_with("(2)");
        let java = before.ends_with('(') && after.starts_with(" failed)");
        let jdk = before.ends_with(':') && after.trim_end().is_empty() && place.start > place.errno;
        // The frame of a stack that made the system call.
        let native = after.starts_with("(native method)");
        if colons || node || field || ruby || java || jdk || native || matches!(own, Call::SoError | Call::ErrorQueue) {
            // Node, Julia and libuv say so of both. As an argument it is the call itself.
            let alone = before.is_empty() && !lower_has_more(place);
            let both = own == Call::Listen && (node || field || line.contains("IOError")) && !alone;
            return Some((if both { vec![Call::Bind, Call::Listen] } else { vec![own] }, Surety::Named));
        }
        if after.starts_with('(') && !after.starts_with("(s)") {
            let method =
                own == Call::Listen && (before.ends_with('.') || (before.ends_with(':') && !before.ends_with("::")));
            let calls = if method { vec![Call::Bind, Call::Listen] } else { vec![own] };
            return Some((calls, Surety::Action));
        }
        if after.starts_with(" fail") || after.starts_with(" error") {
            let calls = if own == Call::Listen { vec![Call::Bind, Call::Listen] } else { vec![own] };
            return Some((calls, Surety::Action));
        }
        // An open socket is bound or connected as well.
        if own == Call::Socket && (before.ends_with(" open") || before.ends_with(" opening")) {
            return None;
        }
        const REASONS: &[&str] = &["calling", "call to", "create", "creating"];
        if REASONS.iter().any(|reason| before.ends_with(reason)) && (own != Call::Listen) {
            return Some((vec![own], Surety::Action));
        }
        if UNMISTAKABLE.contains(&word) {
            return Some((vec![own], Surety::Action));
        }
    }
    // A socket with an address is one that is bound.
    let addressed = |after: &str| after.strip_prefix(':').unwrap_or(after).starts_with(is_address);
    if word == "socket" && after.strip_prefix(' ').is_some_and(addressed) {
        return Some((vec![Call::Bind], Surety::Action));
    }
    // What ended was made before.
    if word == "connection"
        && [" aborted", " reset", " lost", " closed", " broken"].iter().any(|ended| after.starts_with(ended))
    {
        return None;
    }
    // `System.Net.Sockets.SocketException`: a type.
    let typed = before.ends_with('.') && (after.starts_with('.') || after.starts_with("::"));
    if let Some((calls, surety)) = prose(word).filter(|_| !typed) {
        const TRIES: &[&str] = &[
            "to",
            "not",
            "could",
            "couldn't",
            "cannot",
            "can't",
            "unable to",
            "failed to",
            "attempting to",
            "while",
            "when",
            "error",
            "failure",
            "failed",
            "be",
        ];
        let tried = TRIES.iter().any(|tries| before.ends_with(tries));
        let fails =
            [" fail", " error", "() ", " to ", " on ", " address", " port"].iter().any(|says| after.starts_with(says));
        let action = surety == Surety::Verb && (tried || fails) || tried && matches!(word, "read" | "write");
        let action = action || matches!(word, "listen" | "listening") && after.starts_with(" socket");
        return Some((calls, if action { Surety::Action } else { surety }));
    }
    // The functions of a stack: `at Socket._onConnect (net.js:601:18)`, `at Socket.<ConnectAsync>g__Wait(…)`.
    let frame =
        line.trim_start().starts_with("at ") && [" (", " [as ", ">g__"].iter().any(|ends| after.starts_with(ends));
    parts(&line[place.start..place.end], frame || after.starts_with('('))
}

/// Whether an address can begin so.
fn is_address(first: char) -> bool {
    first.is_ascii_digit() || matches!(first, '[' | '*')
}

/// Whether a line says more than a call and an errno.
fn lower_has_more(place: &Place<'_>) -> bool {
    place.lower.split_whitespace().count() > 2
}

/// A name of several words: `apr_socket_connect`, `finishConnect`, `ConnectException`.
fn parts(name: &str, is_function: bool) -> Option<(Vec<Call>, Surety)> {
    // PHP says of its servers that they cannot connect.
    if name.to_ascii_lowercase().ends_with("server") && name.contains('_') && is_function {
        return Some((vec![Call::Bind, Call::Listen], Surety::Named));
    }
    // Java throws a BindException from connect() as well.
    let thrown = name.ends_with("Exception") || name.ends_with("Error");
    if thrown && !name.ends_with("ConnectException") {
        return None;
    }
    let mut words: Vec<String> = vec![String::new()];
    let shouts = !name.contains(|c: char| c.is_ascii_lowercase());
    for c in name.chars() {
        if c == '_' || (c.is_ascii_uppercase() && !shouts) {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(c.to_ascii_lowercase());
        }
    }
    let verb = |word: &String| {
        let own = call(word).filter(|_| UNMISTAKABLE.contains(&&**word)).map(|call| vec![call]);
        let libuv = name.starts_with("uv_");
        own.or_else(|| prose(word).filter(|(_, surety)| libuv || *surety == Surety::Verb).map(|(calls, _)| calls))
    };
    let calls = words.iter().rev().find_map(verb)?;
    Some((calls, if is_function { Surety::Action } else { Surety::Noun }))
}

/// Whether the call can give the errno on the system, or on any where none is known.
pub fn can_give(call: Call, errno: ErrnoName, system: Option<System>) -> bool {
    let rules = system.map(System::rules);
    let on = |os| rules.is_none_or(|rules| rules.is_none_or(|rules| rules == os));
    let same = |one: Call| one == call || (call == Call::Connect && one == Call::SoError);
    let known = &Knowledge::built_in().known;
    known.iter().any(|known| known.errno == errno && same(known.call) && on(known.os))
        || supplement::entries(errno).any(|entry| same(entry.call) && on(entry.os))
}

/// The calls of the surest candidate that can give the errno.
pub fn settle(candidates: &[CallCandidate], errno: Option<ErrnoName>, system: Option<System>) -> Vec<Call> {
    let Some(errno) = errno else { return candidates.first().map(|first| first.calls.clone()).unwrap_or_default() };
    for candidate in candidates {
        // connect() never gives it on Linux: libuv and others keep what their bind() said.
        if candidate.calls == [Call::Connect] && errno.as_str() == "EADDRINUSE" {
            return match system.and_then(System::rules) {
                Some(crate::words::names::Os::Macos) => vec![Call::Connect],
                None if system.is_some() => vec![Call::Connect],
                _ => vec![Call::Bind, Call::Connect],
            };
        }
        // What calls give there nobody has seen.
        let windows = system == Some(System::Windows) && candidate.surety >= Surety::Action;
        let can_give = |call: &Call| windows || can_give(*call, errno, system);
        let able: Vec<Call> = candidate.calls.iter().copied().filter(can_give).collect();
        if !able.is_empty() {
            return able;
        }
    }
    // A system call by its name is what it says; words mean something near it.
    let sure = candidates.first().filter(|first| first.surety == Surety::Named);
    sure.map(|first| first.calls.clone()).unwrap_or_default()
}
