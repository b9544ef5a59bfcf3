//! The project's words as types: one spelling in scenarios, JSON, CLI text and tests.
//!
//! Only closed vocabularies live here; what a scenario may invent (its own axes and values) is text.

use serde::{Deserialize, Serialize};

use crate::words::near::or_list;

/// A word that is none of a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {} `{word}`{}", vocabulary.to_lowercase(), or_list(word, known.iter().copied()))]
pub struct UnknownWord {
    /// The name of the type: `Protocol`.
    pub vocabulary: &'static str,
    /// What was read instead.
    pub word: String,
    /// Every word of the vocabulary.
    pub known: &'static [&'static str],
}

/// An enum whose variants have one spelling each, the same in every format.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        $(#[$meta])*
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of this list.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word, as every format spells it.
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
            type Err = $crate::words::names::UnknownWord;

            fn from_str(word: &str) -> Result<$name, Self::Err> {
                $name::ALL.iter().copied().find(|name| name.as_str() == word).ok_or_else(|| Self::Err {
                    vocabulary: stringify!($name),
                    word: word.to_owned(),
                    known: &[$($word),+],
                })
            }
        }
    };
}
pub(crate) use words;

words! {
    /// An operating system that a scenario has expectations for: Linux, of any distribution, or macOS, whose kernel is
    /// XNU.
    #[expect(missing_docs, reason = "schemas of maps by OS name their keys only where these have no descriptions")]
    Os {
        Linux = "linux",
        Macos = "macos",
    }
}

words! {
    /// The transport of a socket.
    Protocol {
        /// `SOCK_STREAM` (tcp(7)).
        Tcp = "tcp",
        /// `SOCK_DGRAM` (udp(7)).
        Udp = "udp",
        /// `SOCK_STREAM` with `IPPROTO_MPTCP` (RFC 8684), which Linux has.
        Mptcp = "mptcp",
    }
}

words! {
    /// The address family of a socket.
    Family {
        /// `AF_INET` (ip(7)).
        Ipv4 = "ipv4",
        /// `AF_INET6` (ipv6(7)).
        Ipv6 = "ipv6",
    }
}

words! {
    /// The kind of a socket of the family unix (unix(7)).
    UnixKind {
        /// `SOCK_STREAM`.
        Stream = "stream",
        /// `SOCK_DGRAM`.
        Datagram = "datagram",
        /// `SOCK_SEQPACKET`, which macOS does not have.
        Seqpacket = "seqpacket",
    }
}

words! {
    /// What a socket of the family unix is doing, as the kernel lists it.
    UnixState {
        /// It neither listens nor has a peer.
        Unconnected = "unconnected",
        /// listen(2) has made it a listener.
        Listening = "listening",
        /// It is the server's end of a connection that nobody has accepted.
        Pending = "pending",
        /// It has a peer.
        Connected = "connected",
    }
}

words! {
    /// In which state a socket of the family unix is to be.
    UnixWanted {
        /// It has a name, and does neither of the next two.
        Bound = "bound",
        /// It listens.
        Listening = "listening",
        /// It has a peer.
        Connected = "connected",
        /// The kernel lists it no more.
        Gone = "gone",
    }
}

words! {
    /// What makes a call.
    Via {
        /// The system call of that name.
        Syscall = "syscall",
        /// A ring of io_uring(7), with this one entry; the outcome is what its completion says.
        IoUring = "io-uring",
    }
}

words! {
    /// What a path leads to (lstat(2)).
    FileKind {
        /// Nothing.
        None = "none",
        /// A socket, whether one has that name or not.
        Socket = "socket",
        /// A directory.
        Directory = "directory",
        /// Any other file.
        File = "file",
    }
}

words! {
    /// Which of SO_REUSEADDR and SO_REUSEPORT are set.
    Reuse {
        /// Neither of them.
        None = "none",
        /// SO_REUSEADDR alone.
        Addr = "addr",
        /// SO_REUSEPORT alone.
        Port = "port",
        /// Both of them.
        Both = "both",
    }
}

words! {
    /// The situation of the socket that holds a port or a 4-tuple.
    HolderState {
        /// It has a port by bind(2), and nothing else has happened to it.
        Bound = "bound",
        /// listen(2) has made it a listener (TCP).
        Listening = "listening",
        /// Its connect(2) has sent a SYN that nobody answers (TCP).
        SynSent = "syn-sent",
        /// It is one end of a connection, and has called connect(2) (TCP).
        Established = "established",
        /// Established, and made by accept(), so that it shares its port with its listener.
        Accepted = "accepted",
        /// It has closed its direction, and its FIN is not acknowledged (TCP).
        FinWait1 = "fin-wait-1",
        /// Its FIN is acknowledged, and the peer has not closed (TCP).
        FinWait2 = "fin-wait-2",
        /// The peer has closed its direction, and this socket has not (TCP).
        CloseWait = "close-wait",
        /// It has closed after its peer, and its FIN is not acknowledged (TCP).
        LastAck = "last-ack",
        /// It closed first, and the kernel keeps the 4-tuple for a while: 60 seconds on Linux (`TCP_TIMEWAIT_LEN`),
        /// twice `net.inet.tcp.msl` on macOS.
        TimeWait = "time-wait",
        /// A connected UDP socket.
        Connected = "connected",
    }
}

words! {
    /// A state as the kernel's socket table spells it (`include/net/tcp_states.h`; RFC 9293 section 3.3.2).
    SocketState {
        /// Connected; for UDP, any socket with a peer.
        Established = "ESTABLISHED",
        /// A SYN is sent.
        SynSent = "SYN_SENT",
        /// A SYN has come and is answered.
        SynRecv = "SYN_RECV",
        /// Closed here, not acknowledged.
        FinWait1 = "FIN_WAIT_1",
        /// Closed here, acknowledged.
        FinWait2 = "FIN_WAIT_2",
        /// Closed by both, here first.
        TimeWait = "TIME_WAIT",
        /// Not connected; for UDP, any bound socket without a peer.
        Close = "CLOSE",
        /// Closed by the peer.
        CloseWait = "CLOSE_WAIT",
        /// Closed by the peer and then here, not acknowledged.
        LastAck = "LAST_ACK",
        /// Listening.
        Listen = "LISTEN",
        /// Closed by both at once.
        Closing = "CLOSING",
        /// A request for a connection, before there is a socket for it (`TCP_NEW_SYN_RECV`).
        NewSynRecv = "NEW_SYN_RECV",
        /// Bound and neither connected nor listening (Linux 6.8 and later list these).
        Bound = "BOUND",
    }
}

words! {
    /// Whose effective uid an op runs under. `root` is uid 0 of the case's own user namespace.
    User {
        /// Uid 0.
        Root = "root",
        /// An ordinary user.
        UserA = "user-a",
        /// Another ordinary user.
        UserB = "user-b",
    }
}

words! {
    /// The call under test, as programmers name it.
    Call {
        /// socket(2).
        Socket = "socket",
        /// setsockopt(2).
        Setsockopt = "setsockopt",
        /// bind(2).
        Bind = "bind",
        /// listen(2).
        Listen = "listen",
        /// connect(2); also with `AF_UNSPEC`, which dissolves an association.
        Connect = "connect",
        /// accept(2).
        Accept = "accept",
        /// send(2), without an address.
        Send = "send",
        /// sendto(2), with an address.
        Sendto = "sendto",
        /// recv(2) and its like.
        Recv = "recv",
        /// shutdown(2).
        Shutdown = "shutdown",
        /// close(2).
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
        /// The port is fixed: bind() passes it, or an earlier bind() or accept() gave the socket one, whoever chose the
        /// number.
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
        /// A network of the case's own (network_namespaces(7)), which the worker may change.
        NetworkNamespace = "network-namespace",
        /// Ports that nobody else has, where the case has no network of its own.
        FreePorts = "free-ports",
        /// IPv6, with `::1` on the loopback interface.
        Ipv6 = "ipv6",
        /// A process that may become other users (setresuid(2)).
        SecondUser = "second-user",
        /// A TUN device (`/dev/net/tun`).
        Tun = "tun",
        /// nftables, and the program nft(8).
        Nft = "nft",
        /// XNU's own rules, which no other kernel has.
        Xnu = "xnu",
        /// Linux's own rules or options, which no other kernel has, or not at this release.
        Linux = "linux",
        /// SELinux is enabled: its hooks answer some calls before the protocol does.
        Selinux = "selinux",
        /// As many descriptors and processes as a case takes (RLIMIT_NOFILE, RLIMIT_NPROC).
        Resources = "resources",
        /// Multipath TCP (`net.mptcp.enabled`), whose sockets the kernel lists by their subflows.
        Mptcp = "mptcp",
        /// Rings that make calls (`kernel.io_uring_disabled`).
        IoUring = "io-uring",
    }
}

words! {
    /// Why an expectation is believed. What comes later is the better reason.
    Authority {
        /// The text of POSIX.1-2024.
        Posix = "posix",
        /// A manual page of the OS.
        Manual = "manual",
        /// The source of the kernel: a function, and the release where that matters.
        KernelSource = "kernel-source",
        /// The networking code of XNU itself gave it, which ran in user space on Linux: no Mac. Which release is in the
        /// reference.
        XnuRun = "xnu-run",
        /// Somebody saw it: on which host and release is in the reference.
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
    /// The one definition, for plans, traced calls and probes. It follows the kernel: connect() on a socket with a port
    /// checks that port's 4-tuple, whether the port came from bind(port 0) or from the program, and only on one without
    /// a port looks for a free one (`__inet_hash_connect()`, net/ipv4/inet_hashtables.c: `if (port)`; XNU
    /// `in_pcbconnect()`, bsd/netinet/in_pcb.c: `inp->inp_lport == 0`). So EADDRNOTAVAIL after bind(port 0) means a
    /// busy 4-tuple, which another bind(port 0) avoids, and not that no port is left. After bind(port 0) with
    /// IP_BIND_ADDRESS_NO_PORT the port is still open (`__inet_bind()`, net/ipv4/af_inet.c). SO_ERROR and MSG_ERRQUEUE
    /// speak of the connect() before.
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

impl Protocol {
    /// In which socket table its sockets are. MPTCP's hold their ports by a subflow, a TCP socket that is listed with
    /// the inode of its owner (`mptcp_subflow_create_socket()`, net/mptcp/subflow.c).
    pub fn table(self) -> Protocol {
        match self {
            Protocol::Tcp | Protocol::Mptcp => Protocol::Tcp,
            Protocol::Udp => Protocol::Udp,
        }
    }
}

impl Family {
    /// That of an address.
    pub fn of(address: std::net::IpAddr) -> Family {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

impl Reuse {
    /// The value for two options that are on or off.
    pub fn of(address: bool, port: bool) -> Reuse {
        match (address, port) {
            (false, false) => Reuse::None,
            (true, false) => Reuse::Addr,
            (false, true) => Reuse::Port,
            (true, true) => Reuse::Both,
        }
    }

    /// Whether SO_REUSEADDR is set.
    pub fn address(self) -> bool {
        matches!(self, Reuse::Addr | Reuse::Both)
    }

    /// Whether SO_REUSEPORT is set.
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

/// The values that the report format gives to its axes. A scenario may invent other axes, but not other spellings for
/// these.
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
        "via" => all(Via::ALL, Via::as_str),
        _ => return None,
    })
}
