//! The system that a text comes from, and what an errno means where nothing was observed.
//!
//! It has no findings: those are of Linux and macOS.

use serde::{Deserialize, Serialize};

use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Os, words};

words! {
    /// A system that errors are reported from.
    System {
        /// Linux.
        Linux = "linux",
        /// macOS.
        Macos = "macos",
        /// Words and numbers are macOS's. Nothing was observed there, and the rules of macOS are the nearest known.
        Bsd = "bsd",
        /// Nothing is known of it but what its errnos mean.
        Windows = "windows",
    }
}

impl System {
    /// Whose rules tell what may be behind an errno.
    pub fn rules(self) -> Option<Os> {
        match self {
            System::Linux => Some(Os::Linux),
            System::Macos | System::Bsd => Some(Os::Macos),
            System::Windows => None,
        }
    }
}

impl From<Os> for System {
    fn from(os: Os) -> System {
        match os {
            Os::Linux => System::Linux,
            Os::Macos => System::Macos,
        }
    }
}

/// The errno that this number is of on Windows: of Windows Sockets, or of libuv, which has numbers of its own there.
pub fn windows(number: i32) -> Option<ErrnoName> {
    let libuv = || LIBUV.iter().find(|row| row.1 == number.abs()).and_then(|row| ErrnoName::new(row.0));
    ErrnoName::windows_numbered(number.abs()).or_else(libuv)
}

/// libuv `include/uv/errno.h`, where the system has no errno of that name.
const LIBUV: &[(&str, i32)] = &[
    ("EACCES", 4092),
    ("EADDRINUSE", 4091),
    ("EADDRNOTAVAIL", 4090),
    ("EAFNOSUPPORT", 4089),
    ("EAGAIN", 4088),
    ("EALREADY", 4084),
    ("EBADF", 4083),
    ("ECANCELED", 4081),
    ("ECONNABORTED", 4079),
    ("ECONNREFUSED", 4078),
    ("ECONNRESET", 4077),
    ("EDESTADDRREQ", 4076),
    ("EHOSTUNREACH", 4073),
    ("EINTR", 4072),
    ("EINVAL", 4071),
    ("EISCONN", 4069),
    ("EMFILE", 4066),
    ("EMSGSIZE", 4065),
    ("ENETDOWN", 4063),
    ("ENETUNREACH", 4062),
    ("ENFILE", 4061),
    ("ENOBUFS", 4060),
    ("ENOTCONN", 4053),
    ("ENOTSOCK", 4050),
    ("EPERM", 4048),
    ("EPIPE", 4047),
    ("EPROTO", 4046),
    ("ESHUTDOWN", 4042),
    ("ETIMEDOUT", 4039),
];

/// What an errno means on Windows, how to see it, and what to do.
pub fn meaning(errno: ErrnoName, calls: &[Call]) -> (&'static str, &'static [&'static str], &'static str) {
    const TAKEN: &[&str] = &["netstat -ano", "netsh int ipv4 show dynamicport tcp"];
    match errno.as_str() {
        "EADDRINUSE" if calls.first() == Some(&Call::Connect) => (
            "no port of the dynamic range is left to connect from, or the connection's addresses and ports are in use",
            TAKEN,
            "end connections, reuse them, or widen the range: netsh int ipv4 set dynamicport tcp",
        ),
        "EADDRINUSE" => (
            "another socket has this address and port; a client's bind() may have used up the dynamic range",
            TAKEN,
            "choose another port, or end the process that netstat shows",
        ),
        "EACCES" => (
            "the port is in an excluded range (Hyper-V, WSL and Docker reserve some), another socket has it with \
             SO_EXCLUSIVEADDRUSE, or a firewall forbids the call",
            &["netsh int ipv4 show excludedportrange protocol=tcp", "netstat -ano"],
            "choose a port outside of the ranges shown; `net stop winnat` frees those that NAT reserved",
        ),
        "ENOBUFS" => (
            "no buffer or no port is left: most often the dynamic port range is exhausted",
            TAKEN,
            "end or reuse connections, or widen the range: netsh int ipv4 set dynamicport tcp",
        ),
        "EADDRNOTAVAIL" => (
            "the address is none of this host's, or the destination is one that nobody can connect to (0.0.0.0, port 0)",
            &["ipconfig"],
            "bind an address that ipconfig shows; correct the destination",
        ),
        "ECONNREFUSED" => (
            "the destination is up, and nothing listens on that port (or a firewall answers with a reset)",
            &["netstat -ano"],
            "start the server, or correct the address and the port",
        ),
        "ETIMEDOUT" => (
            "nobody answered: the host is down, the address is wrong, or a firewall drops the packets",
            &["Test-NetConnection REMOTE -Port REMOTE_PORT"],
            "see whether the host is up, and what filters are on the path",
        ),
        "EHOSTUNREACH" | "ENETUNREACH" => (
            "no route leads to the destination, or a router said that it cannot be reached",
            &["route print"],
            "see the routing table and the interfaces",
        ),
        "ECONNRESET" | "ECONNABORTED" => (
            "the connection was ended: by the peer, by this host, or by something between them",
            &["netstat -ano"],
            "see the log of the other end",
        ),
        "EAFNOSUPPORT" => (
            "the address is not of the socket's family, or the family is not installed",
            &["ipconfig"],
            "use an address of the socket's family",
        ),
        "EINVAL" => (
            "the socket is in no state for this call, or an argument is wrong",
            &[],
            "see the program's earlier calls: a socket is bound once, and listens before it accepts",
        ),
        "EAGAIN" => {
            ("the call would block; that is no failure of a non-blocking socket", &[], "wait until the socket is ready")
        }
        "EMFILE" => ("no socket is left for this process", &[], "close sockets that are no longer needed"),
        _ => ("only the name of this errno is known here", &[], "see Microsoft's list of Windows Sockets error codes"),
    }
}
