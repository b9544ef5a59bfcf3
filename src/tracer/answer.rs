//! What an answer says about the path.
//!
//! An ICMP message says more than the errno that the kernel makes of it, so it counts first.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::record::IcmpError;
use super::{Icmp, ProbeReply};
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, words};
use crate::words::packet::{port_unreachable, time_exceeded};

words! {
    /// What answered a probe.
    Meaning {
        /// A router that used the TTL up: the path is longer.
        Router = "router",
        /// The target took the connection: the port is open.
        Open = "open",
        /// The target refused it: the port is closed.
        Closed = "closed",
        /// Somebody says that there is no way to the target, or no admittance.
        Unreachable = "unreachable",
        /// The kernel gave up waiting.
        Silence = "silence",
    }
}

impl Meaning {
    /// Whether the path ends at the hop that answered so.
    pub fn ends_path(self) -> bool {
        match self {
            Meaning::Open | Meaning::Closed | Meaning::Unreachable => true,
            Meaning::Router | Meaning::Silence => false,
        }
    }
}

pub fn meaning(target: SocketAddr, answer: &ProbeReply) -> Meaning {
    let Err(errno) = &answer.error else { return Meaning::Open };
    match answer.icmp {
        Some(Icmp { from, kind, code }) => {
            let family = Family::of(from);
            if (kind, code) == time_exceeded(family) {
                Meaning::Router
            } else if (kind, code) == port_unreachable(family) && from == target.ip() {
                Meaning::Closed
            } else {
                Meaning::Unreachable
            }
        }
        None => match errno.known() {
            Some(ErrnoName::ECONNREFUSED | ErrnoName::ECONNRESET) => Meaning::Closed,
            // What both kernels make of time exceeded; a host unreachable looks the same without its message.
            Some(ErrnoName::EHOSTUNREACH) => Meaning::Router,
            Some(ErrnoName::ETIMEDOUT) => Meaning::Silence,
            _ => Meaning::Unreachable,
        },
    }
}

/// What traceroute(1) writes behind a hop: `!N`, `!H`, `!P`, `!X` and others, or the code.
pub fn mark(family: Family, icmp: IcmpError) -> Option<String> {
    if (icmp.kind, icmp.code) == time_exceeded(family) {
        return None;
    }
    let known = match (family, icmp.kind, icmp.code) {
        (Family::Ipv4, 3, 0) | (Family::Ipv6, 1, 0) => "!N",
        (Family::Ipv4, 3, 1) | (Family::Ipv6, 1, 3) => "!H",
        (Family::Ipv4, 3, 2) => "!P",
        (Family::Ipv4, 3, 3) | (Family::Ipv6, 1, 4) => "!p",
        (Family::Ipv4, 3, 4) => "!F",
        (Family::Ipv4, 3, 5) => "!S",
        (Family::Ipv4, 3, 9 | 10 | 13) | (Family::Ipv6, 1, 1) => "!X",
        (Family::Ipv4, 3, code) | (Family::Ipv6, 1, code) => return Some(format!("!<{code}>")),
        (_, kind, code) => return Some(format!("!<{kind}-{code}>")),
    };
    Some(known.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::words::errno::Errno;

    #[test]
    fn the_message_says_more_than_the_errno() {
        let target: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let check = |errno: Option<&str>, icmp: Option<(&str, u8, u8)>, expected| {
            let icmp = icmp.map(|(from, kind, code)| Icmp { from: from.parse().unwrap(), kind, code });
            let error = errno.map_or(Ok(()), |name| Err(Errno::recorded(name, 1)));
            let answer = ProbeReply { at: Duration::ZERO, error, icmp };
            assert_eq!(meaning(target, &answer), expected, "{answer:?}");
        };
        check(None, None, Meaning::Open);
        check(Some("ECONNREFUSED"), None, Meaning::Closed);
        check(Some("ECONNREFUSED"), Some(("192.0.2.1", 3, 3)), Meaning::Closed);
        check(Some("ECONNREFUSED"), Some(("198.51.100.1", 3, 3)), Meaning::Unreachable);
        check(Some("EHOSTUNREACH"), Some(("198.51.100.1", 11, 0)), Meaning::Router);
        check(Some("EHOSTUNREACH"), Some(("198.51.100.1", 3, 1)), Meaning::Unreachable);
        check(Some("EHOSTUNREACH"), Some(("2001:db8::1", 3, 0)), Meaning::Router);
        check(Some("EHOSTUNREACH"), None, Meaning::Router);
        check(Some("ETIMEDOUT"), None, Meaning::Silence);
    }
}
