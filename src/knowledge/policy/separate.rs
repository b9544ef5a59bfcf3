//! The cheapest extra observation that tells two causes of one signal apart.
//!
//! One table says how a program can see each cause, and at which cost. The cheaper of the two decides. Another table
//! has the commands that show a cause to a person. Nothing here observes anything.

use std::net::IpAddr;

use crate::words::cause::Cause;
use crate::words::names::{Call, Os, Protocol};

/// What to look at, so that a program can say which of two causes it ran into at `call`.
pub fn separate(one: Cause, other: Cause, call: impl Into<Call>) -> &'static str {
    let call = call.into();
    let (first, second) = (see(one, call), see(other, call));
    if first.0 <= second.0 { first.1 } else { second.1 }
}

/// What it takes to see a cause (0: the tracer knows; 1: a cheap call; 2: a table of the kernel; 3: another probe), and
/// how.
fn see(cause: Cause, call: Call) -> (u8, &'static str) {
    match cause {
        Cause::AddressInvalid => {
            (0, "look at the address before the call: its kind, scope and port need no system call")
        }
        Cause::SocketState | Cause::InProgress | Cause::None => {
            (0, "keep account of the socket: bound, connecting and connected are the program's own doing")
        }
        Cause::Permission => (
            1,
            "compare the port with the restricted ones (55555 on macOS) and with ip_unprivileged_port_start, and the destination with the broadcast addresses",
        ),
        Cause::DescriptorsExhausted => (1, "getrlimit(RLIMIT_NOFILE) against the number of descriptors open"),
        Cause::TtlExceeded | Cause::Refused => (1, ICMP),
        Cause::Filtered | Cause::Unreachable if call == Call::SoError => (1, ICMP),
        Cause::NoSourceAddress => (2, "getifaddrs(): whether any interface has an address of the destination's family"),
        Cause::AddressNotLocal => (2, "getifaddrs(): whether an interface has the local address"),
        Cause::NoRoute | Cause::Unreachable => {
            (2, "connect a UDP socket with a port of its own: it sends nothing, and fails where the route does")
        }
        Cause::PortsExhausted => {
            (2, "ip_local_port_range (net.inet.ip.portrange on macOS) against a count of the ports held")
        }
        Cause::TupleInUse => (2, "getsockname() before connect(), and that 4-tuple in the socket table"),
        Cause::PortInUse => (2, "whether the socket table has the port"),
        Cause::QueueFull => (2, "what the device's queue has dropped, by its counters"),
        Cause::Reset => (3, "a capture of the packets: whose reset it was"),
        Cause::Filtered | Cause::NoAnswer => (3, "a second probe of another kind or TTL"),
    }
}

const ICMP: &str = "the ICMP message behind it: type, code and sender, from the error queue (IP_RECVERR) on Linux and from a raw socket elsewhere";

/// One end of a connection, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct End {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
}

/// What the failed call was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The socket's protocol.
    pub protocol: Option<Protocol>,
    /// The socket's own end.
    pub local: End,
    /// Its peer.
    pub remote: End,
}

/// What to run on `os` to see whether it was this cause; a word in capitals stands for what is not known.
pub fn commands(cause: Cause, os: Os, about: &About) -> Vec<String> {
    let Words { local, local_port, remote, remote_port } = words(about);
    let end = match about.remote.address {
        Some(IpAddr::V6(address)) => format!("[{address}]:{remote_port}"),
        _ => format!("{remote}:{remote_port}"),
    };
    let (ss, netstat, lsof) = match about.protocol {
        Some(Protocol::Tcp) => ("ss -tanp", "netstat -anv -p tcp", "TCP"),
        // A port is held by its subflow, a TCP socket.
        Some(Protocol::Mptcp) => ("ss -tanp", "netstat -anv -p tcp", "TCP"),
        Some(Protocol::Udp) => ("ss -uanp", "netstat -anv -p udp", "UDP"),
        None => ("ss -tuanp", "netstat -anv", ""),
    };
    match (os, cause) {
        (Os::Linux, Cause::PortInUse) => {
            // A TCP socket that is bound and nothing else is listed by -B alone (iproute2 6.8, Linux 6.8).
            let bound = (about.protocol != Some(Protocol::Udp)).then(|| format!("ss -tnpB 'sport = :{local_port}'"));
            std::iter::once(format!("{ss} 'sport = :{local_port}'")).chain(bound).collect()
        }
        (Os::Macos, Cause::PortInUse) => {
            vec![
                format!("sudo lsof -nP -i {lsof}:{local_port}"),
                // Without a process, and so not among its files.
                format!("{netstat} | grep '[.]{local_port} .*TIME_WAIT'"),
            ]
        }
        (Os::Linux, Cause::TupleInUse) => vec![format!("{ss} 'sport = :{local_port} and dst {end}'")],
        (Os::Macos, Cause::TupleInUse) => {
            vec![format!("{netstat} | grep '[.]{local_port} .*{remote}[.]{remote_port} '")]
        }
        (Os::Linux, Cause::PortsExhausted) => {
            vec!["sysctl net.ipv4.ip_local_port_range".to_owned(), format!("{ss}H 'sport >= :32768' | wc -l")]
        }
        (Os::Macos, Cause::PortsExhausted) => {
            vec!["sysctl net.inet.ip.portrange".to_owned(), format!("{netstat} | wc -l")]
        }
        (Os::Linux, Cause::NoSourceAddress) => {
            vec!["ip -6 address".to_owned(), "sysctl net.ipv6.conf.all.disable_ipv6".to_owned()]
        }
        (Os::Macos, Cause::NoSourceAddress) => vec!["ifconfig | grep -w inet6".to_owned()],
        (Os::Linux, Cause::AddressNotLocal) => vec![format!("ip -brief address show to {local}")],
        (Os::Macos, Cause::AddressNotLocal) => vec![format!("ifconfig | grep -wF {local}")],
        (Os::Linux, Cause::NoRoute) => vec![format!("ip route get {remote}")],
        (Os::Linux, Cause::Unreachable) => {
            vec![format!("ip route get {remote}"), format!("ip neighbour show {remote}")]
        }
        (Os::Macos, Cause::NoRoute | Cause::Unreachable) => vec![format!("route -n get {remote}")],
        (Os::Linux, Cause::Permission) => {
            vec!["sysctl net.ipv4.ip_unprivileged_port_start".to_owned(), "grep CapEff /proc/PID/status".to_owned()]
        }
        (Os::Macos, Cause::Permission) => vec!["ps -o user= -p PID".to_owned()],
        (Os::Linux, Cause::DescriptorsExhausted) => {
            vec!["grep 'open files' /proc/PID/limits".to_owned(), "ls /proc/PID/fd | wc -l".to_owned()]
        }
        (Os::Macos, Cause::DescriptorsExhausted) => {
            vec!["launchctl limit maxfiles".to_owned(), "lsof -p PID | wc -l".to_owned()]
        }
        (Os::Linux, Cause::SocketState | Cause::AddressInvalid) => vec!["strace -f -e trace=network -p PID".to_owned()],
        (Os::Macos, Cause::SocketState | Cause::AddressInvalid) => vec!["sudo dtruss -f -p PID".to_owned()],
        (Os::Linux, Cause::Filtered) => vec!["sudo nft list ruleset".to_owned()],
        (Os::Macos, Cause::Filtered) => vec!["sudo pfctl -s rules".to_owned()],
        (_, Cause::Refused | Cause::NoAnswer | Cause::TtlExceeded) => {
            vec![format!("errnoscope trace {remote} -p {remote_port}")]
        }
        (Os::Linux, Cause::InProgress) => vec![format!("{ss} state syn-sent 'dst {end}'")],
        (Os::Macos, Cause::InProgress) => vec![format!("{netstat} | grep SYN_SENT")],
        (_, Cause::Reset) => vec![format!("tcpdump -n host {remote} and 'tcp[tcpflags] & tcp-rst != 0'")],
        (Os::Linux, Cause::QueueFull) => vec!["tc -s qdisc".to_owned(), "ip -s link".to_owned()],
        (Os::Macos, Cause::QueueFull) => vec!["netstat -id".to_owned(), "netstat -m".to_owned()],
        (_, Cause::None) => Vec::new(),
    }
}

struct Words {
    local: String,
    local_port: String,
    remote: String,
    remote_port: String,
}

fn words(about: &About) -> Words {
    fn word<T: ToString>(known: Option<T>, otherwise: &str) -> String {
        known.map_or_else(|| otherwise.to_owned(), |known| known.to_string())
    }
    Words {
        local: word(about.local.address, "LOCAL"),
        local_port: word(about.local.port.filter(|&port| port != 0), "LOCAL_PORT"),
        remote: word(about.remote.address, "REMOTE"),
        remote_port: word(about.remote.port, "REMOTE_PORT"),
    }
}
