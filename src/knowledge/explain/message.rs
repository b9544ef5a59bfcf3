//! The messages of C libraries and languages for socket errnos.
//!
//! It has only errnos that findings can explain. Others are known by name and number.

use std::sync::LazyLock;

use regex_lite::Regex;

use super::read::pattern;
use super::system::{self, System};
use crate::words::errno::ErrnoName;

/// An errno that a text names or describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mention {
    pub errno: ErrnoName,
    /// Where only one of the systems says it so.
    pub system: Option<System>,
    pub start: usize,
    pub end: usize,
    /// Whether it is a name, which is surer than a message.
    pub name: bool,
}

/// Every errno of a line by name or message, in order. `lower` is the line in lower case.
pub fn mentions(lower: &str) -> Vec<Mention> {
    let mut found: Vec<Mention> = names(lower);
    for &(message, errno, system) in MESSAGES {
        let Some(errno) = ErrnoName::new(errno) else { continue };
        let places = lower.match_indices(message).map(|(start, message)| (start, start + message.len()));
        found.extend(places.map(|(start, end)| Mention { errno, system, start, end, name: false }));
    }
    found.extend(phrases(lower));
    // The longer of two messages says more; a name never stands in a message.
    found.sort_by_key(|mention| (mention.start, std::cmp::Reverse(mention.end)));
    let mut end = 0;
    found.retain(|mention| {
        let kept = mention.start >= end;
        end = end.max(mention.end);
        kept
    });
    found
}

/// Whether a line has any errno by name or message. `lower` is the line in lower case.
pub fn has_mention(lower: &str) -> bool {
    MESSAGES.iter().any(|(message, ..)| lower.contains(message))
        || !names(lower).is_empty()
        || phrases(lower).next().is_some()
}

/// What some programs say in words of their own around an address.
fn phrases(lower: &str) -> impl Iterator<Item = Mention> {
    // kubectl and PostgreSQL's JDBC driver; Spring and Flask; curl on Windows.
    static REFUSED: LazyLock<Regex> = LazyLock::new(|| pattern(r"connection to (?:the server )?\S+ (was )?refused\b"));
    static IN_USE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bport \d{1,5} (?:is|was) (?:already )?in use"));
    static LATE: LazyLock<Regex> = LazyLock::new(|| pattern(r"connect to \S+ port \d+: timed out"));
    let of = |word: &str, pattern: &Regex, errno, system| {
        let found = lower.contains(word).then(|| pattern.find(lower)).flatten();
        // The word alone is the errno: before it stand call and address.
        found.map(|found| Mention { errno, system, start: found.end() - word.len(), end: found.end(), name: false })
    };
    let late = of("timed out", &LATE, ErrnoName::ETIMEDOUT, Some(System::Windows));
    let in_use = of("in use", &IN_USE, ErrnoName::EADDRINUSE, None);
    of("refused", &REFUSED, ErrnoName::ECONNREFUSED, None).into_iter().chain(in_use).chain(late)
}

fn names(lower: &str) -> Vec<Mention> {
    let bytes = lower.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_alphanumeric() {
            at += 1;
        }
        let word = &lower[start..at];
        let windows = word.starts_with("wsae");
        let name = if windows { &word[3..] } else { word };
        if !name.starts_with('e') || !(3..=16).contains(&name.len()) {
            continue;
        }
        let upper = name.to_ascii_uppercase();
        if let Some(errno) = ErrnoName::new(if upper == "EWOULDBLOCK" { "EAGAIN" } else { &upper }) {
            let system = windows.then_some(System::Windows);
            found.push(Mention { errno, system, start, end: at, name: true });
        }
    }
    found
}

/// The system whose number of `errno` this is, where it is that of one alone.
pub fn numbered(errno: ErrnoName, number: i32) -> Option<System> {
    if system::windows(number) == Some(errno) {
        return Some(System::Windows);
    }
    let has = |os: &crate::words::names::Os| errno.raw(*os) == Some(number.abs());
    let mut systems = crate::words::names::Os::ALL.iter().filter(|os| has(os));
    match (systems.next(), systems.next()) {
        (Some(&os), None) => Some(os.into()),
        _ => None,
    }
}

/// glibc `sysdeps/gnu/errlist.h`, Apple `libsyscall`, musl `src/errno/__strerror.h`, Windows `FormatMessage`, the
/// variants of Rust's `ErrorKind`.
const MESSAGES: &[(&str, &str, Option<System>)] = &[
    ("address already in use", "EADDRINUSE", None),
    ("address in use", "EADDRINUSE", None),
    ("addrinuse", "EADDRINUSE", None),
    ("only one usage of each socket address", "EADDRINUSE", Some(System::Windows)),
    (
        "only one usage of each socket address (protocol/network address/port) is normally permitted",
        "EADDRINUSE",
        Some(System::Windows),
    ),
    ("cannot assign requested address", "EADDRNOTAVAIL", Some(System::Linux)),
    ("can't assign requested address", "EADDRNOTAVAIL", Some(System::Macos)),
    ("address not available", "EADDRNOTAVAIL", None),
    ("addrnotavailable", "EADDRNOTAVAIL", None),
    ("requested address is not valid in its context", "EADDRNOTAVAIL", Some(System::Windows)),
    ("resource temporarily unavailable", "EAGAIN", None),
    ("network is unreachable", "ENETUNREACH", None),
    ("network unreachable", "ENETUNREACH", None),
    ("networkunreachable", "ENETUNREACH", None),
    ("no route to host", "EHOSTUNREACH", None),
    ("host is unreachable", "EHOSTUNREACH", None),
    ("hostunreachable", "EHOSTUNREACH", None),
    // gunicorn's word.
    ("connection in use", "EADDRINUSE", None),
    ("connection refused", "ECONNREFUSED", None),
    ("connectionrefused", "ECONNREFUSED", None),
    (
        "no connection could be made because the target machine actively refused it",
        "ECONNREFUSED",
        Some(System::Windows),
    ),
    ("actively refused it", "ECONNREFUSED", Some(System::Windows)),
    ("software caused connection abort", "ECONNABORTED", None),
    ("connection reset by peer", "ECONNRESET", None),
    ("connection timed out", "ETIMEDOUT", None),
    ("operation timed out", "ETIMEDOUT", None),
    ("operation now in progress", "EINPROGRESS", None),
    ("operation already in progress", "EALREADY", None),
    ("transport endpoint is already connected", "EISCONN", Some(System::Linux)),
    ("socket is already connected", "EISCONN", Some(System::Macos)),
    ("transport endpoint is not connected", "ENOTCONN", Some(System::Linux)),
    ("socket is not connected", "ENOTCONN", Some(System::Macos)),
    ("permission denied", "EACCES", None),
    ("permissiondenied", "EACCES", None),
    ("operation not permitted", "EPERM", None),
    ("invalid argument", "EINVAL", None),
    ("too many open files", "EMFILE", None),
    ("no file descriptors available", "EMFILE", None),
    ("too many open files in system", "ENFILE", None),
    ("address family not supported by protocol", "EAFNOSUPPORT", None),
    ("operation not supported on socket", "EOPNOTSUPP", Some(System::Macos)),
    ("operation not supported", "EOPNOTSUPP", None),
    ("broken pipe", "EPIPE", None),
    ("brokenpipe", "EPIPE", None),
    ("destination address required", "EDESTADDRREQ", None),
    ("protocol not available", "ENOPROTOOPT", None),
    ("protocol error", "EPROTO", None),
    ("host is down", "EHOSTDOWN", None),
    ("machine is not on the network", "ENONET", Some(System::Linux)),
    ("addressalreadyinuse", "EADDRINUSE", None),
    ("addressnotavailable", "EADDRNOTAVAIL", None),
    (
        "an attempt was made to access a socket in a way forbidden by its access permissions",
        "EACCES",
        Some(System::Windows),
    ),
    ("access a socket in a way forbidden", "EACCES", Some(System::Windows)),
    ("an existing connection was forcibly closed by the remote host", "ECONNRESET", Some(System::Windows)),
    ("forcibly closed by the remote host", "ECONNRESET", Some(System::Windows)),
    (
        "an established connection was aborted by the software in your host machine",
        "ECONNABORTED",
        Some(System::Windows),
    ),
    ("connection was aborted by the software in your host machine", "ECONNABORTED", Some(System::Windows)),
    ("did not properly respond after a period of time", "ETIMEDOUT", Some(System::Windows)),
    ("lacked sufficient buffer space or because a queue was full", "ENOBUFS", Some(System::Windows)),
    ("socket operation was attempted to an unreachable host", "EHOSTUNREACH", Some(System::Windows)),
    ("socket operation was attempted to an unreachable network", "ENETUNREACH", Some(System::Windows)),
    ("non-blocking socket operation could not be completed immediately", "EAGAIN", Some(System::Windows)),
    ("address incompatible with the requested protocol was used", "EAFNOSUPPORT", Some(System::Windows)),
    ("an invalid argument was supplied", "EINVAL", Some(System::Windows)),
    ("no buffer space available", "ENOBUFS", None),
    ("no buffers available", "ENOBUFS", None),
    ("message too long", "EMSGSIZE", None),
    ("network is down", "ENETDOWN", None),
    ("no such device", "ENODEV", None),
    ("bad file descriptor", "EBADF", None),
    ("interrupted system call", "EINTR", None),
    ("socket operation on non-socket", "ENOTSOCK", None),
    ("cannot send after transport endpoint shutdown", "ESHUTDOWN", Some(System::Linux)),
    ("can't send after socket shutdown", "ESHUTDOWN", Some(System::Macos)),
    ("protocol not supported", "EPROTONOSUPPORT", None),
    ("protocol wrong type for socket", "EPROTOTYPE", None),
    ("cannot allocate memory", "ENOMEM", None),
    ("connection reset", "ECONNRESET", None),
    ("connectionreset", "ECONNRESET", None),
    ("address family not supported", "EAFNOSUPPORT", None),
    ("host unreachable", "EHOSTUNREACH", None),
];
