//! The messages of C libraries and languages for socket errnos.
//!
//! It has only errnos that findings can explain. Others are known by name and number.

use crate::words::errno::ErrnoName;
use crate::words::names::Os;

/// A message that was found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub errno: ErrnoName,
    /// Where only one of the systems says it so.
    pub os: Option<Os>,
}

/// The longest message that `text` has.
pub fn find(text: &str) -> Option<Message> {
    // An apostrophe has many shapes.
    let text = text.to_lowercase().replace('\u{2019}', "'");
    let found =
        MESSAGES.iter().filter(|(message, ..)| text.contains(message)).max_by_key(|(message, ..)| message.len());
    found.and_then(|&(_, errno, os)| Some(Message { errno: ErrnoName::new(errno)?, os }))
}

/// glibc `sysdeps/gnu/errlist.h`, Apple `libsyscall`, musl `src/errno/__strerror.h`, Windows `FormatMessage`, the
/// variants of Rust's `ErrorKind`.
const MESSAGES: &[(&str, &str, Option<Os>)] = &[
    ("address already in use", "EADDRINUSE", None),
    ("address in use", "EADDRINUSE", None),
    ("addrinuse", "EADDRINUSE", None),
    ("only one usage of each socket address", "EADDRINUSE", None),
    ("cannot assign requested address", "EADDRNOTAVAIL", Some(Os::Linux)),
    ("can't assign requested address", "EADDRNOTAVAIL", Some(Os::Macos)),
    ("address not available", "EADDRNOTAVAIL", None),
    ("addrnotavailable", "EADDRNOTAVAIL", None),
    ("the requested address is not valid in its context", "EADDRNOTAVAIL", None),
    ("resource temporarily unavailable", "EAGAIN", None),
    ("network is unreachable", "ENETUNREACH", None),
    ("network unreachable", "ENETUNREACH", None),
    ("networkunreachable", "ENETUNREACH", None),
    ("no route to host", "EHOSTUNREACH", None),
    ("host is unreachable", "EHOSTUNREACH", None),
    ("hostunreachable", "EHOSTUNREACH", None),
    ("connection refused", "ECONNREFUSED", None),
    ("connectionrefused", "ECONNREFUSED", None),
    ("actively refused it", "ECONNREFUSED", None),
    ("software caused connection abort", "ECONNABORTED", None),
    ("connection reset by peer", "ECONNRESET", None),
    ("connection timed out", "ETIMEDOUT", None),
    ("operation timed out", "ETIMEDOUT", None),
    ("operation now in progress", "EINPROGRESS", None),
    ("operation already in progress", "EALREADY", None),
    ("transport endpoint is already connected", "EISCONN", Some(Os::Linux)),
    ("socket is already connected", "EISCONN", Some(Os::Macos)),
    ("transport endpoint is not connected", "ENOTCONN", Some(Os::Linux)),
    ("socket is not connected", "ENOTCONN", Some(Os::Macos)),
    ("permission denied", "EACCES", None),
    ("permissiondenied", "EACCES", None),
    ("operation not permitted", "EPERM", None),
    ("invalid argument", "EINVAL", None),
    ("too many open files", "EMFILE", None),
    ("no file descriptors available", "EMFILE", None),
    ("too many open files in system", "ENFILE", None),
    ("address family not supported by protocol", "EAFNOSUPPORT", None),
    ("operation not supported on socket", "EOPNOTSUPP", Some(Os::Macos)),
    ("operation not supported", "EOPNOTSUPP", None),
    ("broken pipe", "EPIPE", None),
    ("brokenpipe", "EPIPE", None),
    ("destination address required", "EDESTADDRREQ", None),
    ("protocol not available", "ENOPROTOOPT", None),
    ("protocol error", "EPROTO", None),
    ("host is down", "EHOSTDOWN", None),
    ("machine is not on the network", "ENONET", Some(Os::Linux)),
];
