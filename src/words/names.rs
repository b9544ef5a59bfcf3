//! The project's words as types: one spelling in scenarios, JSON, CLI text and tests.
//!
//! Only closed vocabularies live here; what a scenario may invent (its own axes and values) is text.

use serde::{Deserialize, Serialize};

/// An enum whose variants have one spelling each, the same in every format.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<$name, String> {
                $name::ALL.iter().copied().find(|name| name.as_str() == word).ok_or_else(|| {
                    let known = $name::ALL.iter().map(|name| name.as_str());
                    let kind = stringify!($name).to_lowercase();
                    format!("unknown {kind} `{word}`{}", crate::words::near::or_list(word, known))
                })
            }
        }
    };
}
pub(crate) use words;

words! {
    /// An operating system that a scenario has expectations for.
    Os {
        Linux = "linux",
        Macos = "macos",
    }
}

words! {
    Protocol {
        Tcp = "tcp",
        Udp = "udp",
    }
}

words! {
    Family {
        Ipv4 = "ipv4",
        Ipv6 = "ipv6",
    }
}

words! {
    /// Which of SO_REUSEADDR and SO_REUSEPORT are set.
    Reuse {
        None = "none",
        Addr = "addr",
        Port = "port",
        Both = "both",
    }
}

words! {
    /// The situation of the socket that holds a port or a 4-tuple.
    HolderState {
        Bound = "bound",
        Listening = "listening",
        SynSent = "syn-sent",
        Established = "established",
        /// Established, and made by accept(), so that it shares its port with its listener.
        Accepted = "accepted",
        FinWait1 = "fin-wait-1",
        FinWait2 = "fin-wait-2",
        CloseWait = "close-wait",
        LastAck = "last-ack",
        TimeWait = "time-wait",
        /// A connected UDP socket.
        Connected = "connected",
    }
}

words! {
    /// A state as the kernel's socket table spells it (`include/net/tcp_states.h`; RFC 9293 section 3.3.2).
    SocketState {
        Established = "ESTABLISHED",
        SynSent = "SYN_SENT",
        SynRecv = "SYN_RECV",
        FinWait1 = "FIN_WAIT_1",
        FinWait2 = "FIN_WAIT_2",
        TimeWait = "TIME_WAIT",
        /// Not connected; for UDP, any bound socket without a peer.
        Close = "CLOSE",
        CloseWait = "CLOSE_WAIT",
        LastAck = "LAST_ACK",
        Listen = "LISTEN",
        Closing = "CLOSING",
        NewSynRecv = "NEW_SYN_RECV",
        /// Bound and neither connected nor listening (Linux 6.8 and later list these).
        Bound = "BOUND",
    }
}

words! {
    /// Whose effective uid an op runs under. `root` is uid 0 of the case's own user namespace.
    User {
        Root = "root",
        UserA = "user-a",
        UserB = "user-b",
    }
}

words! {
    /// The call under test, as programmers name it.
    Call {
        Socket = "socket",
        Setsockopt = "setsockopt",
        Bind = "bind",
        Listen = "listen",
        Connect = "connect",
        Accept = "accept",
        Send = "send",
        Sendto = "sendto",
        Recv = "recv",
        Shutdown = "shutdown",
        Close = "close",
        /// getsockopt(SO_ERROR): the error of a connect that was in progress.
        SoError = "SO_ERROR",
        /// recvmsg(MSG_ERRQUEUE) after IP_RECVERR or IPV6_RECVERR.
        ErrorQueue = "MSG_ERRQUEUE",
    }
}

words! {
    /// Whether a call finds its source port, or has the kernel look for one.
    PortChoice {
        /// The port is fixed: bind() passes it, or an earlier bind() or accept() gave the socket one, whoever chose the number.
        Explicit = "explicit",
        /// The kernel picks: bind(port 0), or autobind by connect, listen or sendto.
        Ephemeral = "ephemeral",
        /// The call has nothing to do with a port.
        None = "none",
    }
}

/// What a call finds where its source port should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalPort {
    /// A number: bind() passes it, or the socket has it from bind() or accept().
    Set,
    /// bind() passes 0, or neither bind() nor accept() has given the socket a port.
    Open,
}

words! {
    /// What the host must offer.
    Need {
        NetworkNamespace = "network-namespace",
        Ipv6 = "ipv6",
        SecondUser = "second-user",
        Tun = "tun",
        Nft = "nft",
        /// XNU's own rules, which no other kernel has.
        Xnu = "xnu",
        Linux = "linux",
        /// SELinux is enabled: its hooks answer some calls before the protocol does.
        Selinux = "selinux",
        /// As many descriptors and processes as a case takes (RLIMIT_NOFILE, RLIMIT_NPROC).
        Resources = "resources",
    }
}

words! {
    /// Why an expectation is believed.
    Authority {
        Posix = "posix",
        Manual = "manual",
        KernelSource = "kernel-source",
        Observed = "observed",
    }
}

impl From<u16> for LocalPort {
    /// What bind() passes.
    fn from(port: u16) -> LocalPort {
        if port == 0 { LocalPort::Open } else { LocalPort::Set }
    }
}

impl PortChoice {
    /// The one definition, for plans, traced calls and probes. It follows the kernel: connect() on a socket with a port checks
    /// that port's 4-tuple, whether the port came from bind(port 0) or from the program, and only on one without a port looks
    /// for a free one (`__inet_hash_connect()`, net/ipv4/inet_hashtables.c: `if (port)`; XNU `in_pcbconnect()`,
    /// bsd/netinet/in_pcb.c: `inp->inp_lport == 0`). So EADDRNOTAVAIL after bind(port 0) means a busy 4-tuple, which
    /// another bind(port 0) avoids, and not that no port is left. After bind(port 0) with IP_BIND_ADDRESS_NO_PORT the
    /// port is still open (`__inet_bind()`, net/ipv4/af_inet.c). SO_ERROR and MSG_ERRQUEUE speak of the connect() before.
    pub fn of(call: Call, port: LocalPort) -> PortChoice {
        match (call, port) {
            (
                Call::Socket | Call::Setsockopt | Call::Accept | Call::Send | Call::Recv | Call::Shutdown | Call::Close,
                _,
            ) => PortChoice::None,
            (
                Call::Bind | Call::Listen | Call::Connect | Call::Sendto | Call::SoError | Call::ErrorQueue,
                LocalPort::Set,
            ) => PortChoice::Explicit,
            (
                Call::Bind | Call::Listen | Call::Connect | Call::Sendto | Call::SoError | Call::ErrorQueue,
                LocalPort::Open,
            ) => PortChoice::Ephemeral,
        }
    }
}

impl Family {
    pub fn of(address: std::net::IpAddr) -> Family {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

impl Reuse {
    pub fn of(address: bool, port: bool) -> Reuse {
        match (address, port) {
            (false, false) => Reuse::None,
            (true, false) => Reuse::Addr,
            (false, true) => Reuse::Port,
            (true, true) => Reuse::Both,
        }
    }

    pub fn address(self) -> bool {
        matches!(self, Reuse::Addr | Reuse::Both)
    }

    pub fn port(self) -> bool {
        matches!(self, Reuse::Port | Reuse::Both)
    }
}

impl HolderState {
    /// How the socket table spells it for `protocol`.
    pub fn in_table(self, protocol: Protocol) -> SocketState {
        match self {
            HolderState::Bound if protocol == Protocol::Udp => SocketState::Close,
            HolderState::Bound => SocketState::Bound,
            HolderState::Listening => SocketState::Listen,
            HolderState::SynSent => SocketState::SynSent,
            HolderState::Established | HolderState::Accepted | HolderState::Connected => SocketState::Established,
            HolderState::FinWait1 => SocketState::FinWait1,
            HolderState::FinWait2 => SocketState::FinWait2,
            HolderState::CloseWait => SocketState::CloseWait,
            HolderState::LastAck => SocketState::LastAck,
            HolderState::TimeWait => SocketState::TimeWait,
        }
    }
}

/// The values that the report format gives to its axes. A scenario may invent other axes, but not other
/// spellings for these.
pub fn axis_vocabulary(axis: &str) -> Option<Vec<&'static str>> {
    fn all<T: Copy>(words: &[T], as_str: fn(T) -> &'static str) -> Vec<&'static str> {
        words.iter().map(|&word| as_str(word)).collect()
    }
    Some(match axis {
        "protocol" => all(Protocol::ALL, Protocol::as_str),
        "family" => all(Family::ALL, Family::as_str),
        "holder_state" => all(HolderState::ALL, HolderState::as_str),
        "relation" => {
            vec!["same-specific", "holder-wildcard", "claimer-wildcard", "both-wildcard", "different-specific"]
        }
        "holder_reuse" | "claimer_reuse" | "reuse" => all(Reuse::ALL, Reuse::as_str),
        "holder_user" | "claimer_user" | "user" => all(User::ALL, User::as_str),
        "timestamps" => vec!["on", "off"],
        "tw_reuse" => vec!["0", "1", "2"],
        _ => return None,
    })
}
