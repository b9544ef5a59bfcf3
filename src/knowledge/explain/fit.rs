//! What of the known causes fits a text: their order, and advice with its call, address and port.
//!
//! It knows no evidence.

use super::Understood;
use super::system::System;
use crate::knowledge::policy::advice;
use crate::knowledge::policy::right::accounts_for;
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Os, PortChoice};

/// What comes first has the lowest number. Causes of one number are ordered by their evidence.
pub fn order(cause: Cause, call: Call, port: PortChoice, understood: &Understood) -> u8 {
    let errno = understood.errno.as_str();
    let usual = 4;
    match (cause, call, errno) {
        // Where it was seen, something else was the reason.
        _ if !accounts_for(cause, understood.errno) => 10,
        (Cause::Reset | Cause::QueueFull, ..) => 0,
        // The program's own mistakes are found while it is written.
        (Cause::SocketState, ..) => 9,
        (Cause::NoSourceAddress, ..) => {
            let chosen = port == PortChoice::Explicit || understood.local.port.is_some_and(|port| port != 0);
            if understood.family == Some(Family::Ipv6) && !chosen { 0 } else { 7 }
        }
        (Cause::InProgress, _, "EINPROGRESS" | "EALREADY") => 0,
        (Cause::InProgress | Cause::None, ..) | (Cause::AddressNotLocal, Call::Connect, _) => 8,
        (Cause::PortsExhausted, _, "EAGAIN") => 1,
        (Cause::PortsExhausted, Call::Connect | Call::Sendto, "EADDRNOTAVAIL") => 1,
        (Cause::AddressNotLocal, Call::Bind, _) if port == PortChoice::Explicit => 1,
        // What macOS gives as well where the range is exhausted.
        (Cause::AddressNotLocal, Call::Bind, _) => {
            if understood.local.address.is_some() {
                1
            } else {
                5
            }
        }
        (Cause::NoAnswer, _, "ETIMEDOUT") => 1,
        (Cause::Permission, _, "EACCES" | "EPERM") => 1,
        (Cause::Refused, _, "ECONNREFUSED" | "ECONNRESET" | "ECONNABORTED") => 1,
        (Cause::NoRoute, _, "ENETUNREACH") => 1,
        (Cause::Unreachable, _, "EHOSTUNREACH" | "EHOSTDOWN") => 1,
        (Cause::Filtered, ..) => 3,
        (Cause::TtlExceeded, ..) => 6,
        (Cause::AddressInvalid, _, "ENETUNREACH") => 6,
        (Cause::AddressInvalid, _, "EINVAL" | "EAFNOSUPPORT") => 1,
        _ => usual,
    }
}

/// Which calls come first where a text names none: those that most programs meet the errno in. Nobody meets the error
/// queue by accident.
pub fn obscure(call: Call, errno: ErrnoName) -> u8 {
    let usual: &[Call] = match errno.as_str() {
        "ECONNRESET" => &[Call::Recv, Call::Send],
        "EPIPE" => &[Call::Send],
        // A packet filter; raw sockets are few.
        "EACCES" => &[Call::Bind],
        "EPERM" | "ENOBUFS" | "EMSGSIZE" => &[Call::Sendto, Call::Send],
        _ => &[],
    };
    if let Some(place) = usual.iter().position(|usual| *usual == call) {
        return place as u8;
    }
    let more = usual.len() as u8;
    match call {
        Call::Bind | Call::Connect | Call::Socket | Call::Accept => more,
        Call::Sendto
        | Call::Listen
        | Call::Send
        | Call::Recv
        | Call::SoError
        | Call::Setsockopt
        | Call::Shutdown
        | Call::Close => more + 1,
        Call::ErrorQueue => more + 2,
    }
}

/// What a person can do about a cause of this call, in the words of one system.
pub fn advice(cause: Cause, call: Call, port: PortChoice, understood: &Understood) -> String {
    if !accounts_for(cause, understood.errno) {
        return String::new();
    }
    let linux = understood.os.rules() == Some(Os::Linux);
    let errno = understood.errno.as_str();
    let to = understood.remote.address.map(|address| format!(" to {address}")).unwrap_or_default();
    match cause {
        Cause::PortsExhausted if linux && call == Call::Bind => {
            "every port of the ephemeral range is taken: set IP_BIND_ADDRESS_NO_PORT before bind(), so that connect() \
             chooses the port; wait for connections to end; or widen net.ipv4.ip_local_port_range"
                .to_owned()
        }
        Cause::PortsExhausted if linux => format!(
            "every port of the ephemeral range is taken{to}: reuse connections, wait for some to end, or widen \
             net.ipv4.ip_local_port_range"
        ),
        Cause::PortsExhausted => format!(
            "every port of the ephemeral range is taken{to}: reuse connections, wait for some to end, or widen \
             net.inet.ip.portrange.first"
        ),
        Cause::Permission => permission(call, errno, understood, linux),
        Cause::PortInUse => match understood.local.port.filter(|_| port == PortChoice::Explicit) {
            Some(port) if linux && (32_768..=60_999).contains(&port) => format!(
                "{port} is in the ephemeral range: an outgoing connection or its TIME_WAIT may have it, and no list of \
                 listeners shows that. Reserve it (net.ipv4.ip_local_reserved_ports), or choose a port outside; end \
                 the process that has it"
            ),
            port => {
                let port = port.map(|port| format!("port {port}")).unwrap_or("the port".to_owned());
                format!("{port} is taken: choose another, or end what has it; SO_REUSEADDR binds beside TIME_WAIT")
            }
        },
        Cause::Refused if matches!(call, Call::Send | Call::Sendto | Call::Recv) => {
            "an earlier datagram found nobody: start the server, or correct the port".to_owned()
        }
        Cause::Refused | Cause::Filtered if errno == "ECONNREFUSED" && cause == Cause::Filtered => {
            "a filter refuses in the server's place (REJECT of iptables sends port-unreachable): see its rules"
                .to_owned()
        }
        Cause::Unreachable if errno == "EHOSTUNREACH" => {
            "a router says so, or no neighbour answers for the address: see the route and the neighbour table"
                .to_owned()
        }
        Cause::NoSourceAddress if call == Call::Socket => {
            "the system has no such family: switched off (ipv6.disable=1), or forbidden to the program \
             (RestrictAddressFamilies= of systemd)"
                .to_owned()
        }
        Cause::NoAnswer => {
            "nobody answers: see whether the address is right, whether the host is up, and what filters \
                            the path has"
                .to_owned()
        }
        _ => advice::advice(cause).to_owned(),
    }
}

fn permission(call: Call, errno: &str, understood: &Understood, linux: bool) -> String {
    let said = match (call, errno, understood.local.port) {
        (Call::Socket, ..) if linux => {
            "a raw socket takes CAP_NET_RAW: run as root, or give the program the capability (setcap); a ping socket \
             takes a group of net.ipv4.ping_group_range"
        }
        (Call::Socket, ..) => "a raw socket takes root",
        (_, "EPERM", _) if linux => {
            "a BPF program of the cgroup (systemd's IPAddressDeny= and SocketBindDeny=, Cilium), a packet filter or a \
             seccomp filter forbids the call"
        }
        (Call::Connect | Call::Sendto | Call::Send, ..) if linux => {
            "a security module forbids it (SELinux: `setsebool -P httpd_can_network_connect on` for web servers), or \
             the destination is a broadcast address, which takes SO_BROADCAST"
        }
        (Call::Connect | Call::Sendto | Call::Send, ..) => {
            "a broadcast destination takes SO_BROADCAST; otherwise the system's sandbox forbids it"
        }
        (_, _, Some(1024..)) if linux => {
            return format!(
                "port {} takes no privileges: a security module (SELinux, AppArmor), systemd's SocketBindDeny= or a \
                 raised net.ipv4.ip_unprivileged_port_start forbids it; on Windows it is in an excluded range",
                understood.local.port.unwrap_or_default()
            );
        }
        (_, _, Some(1..1024)) => "use a port from 1024 on, or run with privileges",
        _ => advice::advice(Cause::Permission),
    };
    said.to_owned()
}

/// Commands that fit the call better than those of the cause alone.
pub fn commands(cause: Cause, call: Call, understood: &Understood) -> Option<Vec<String>> {
    let linux = understood.os == System::Linux;
    let own = |commands: &[&str]| Some(commands.iter().map(|&command| command.to_owned()).collect());
    match (cause, call) {
        (Cause::Permission, Call::Socket) if linux => {
            own(&["grep CapEff /proc/PID/status", "sysctl net.ipv4.ping_group_range"])
        }
        (Cause::Permission, Call::Connect | Call::Sendto | Call::Send) if linux => {
            own(&["getenforce", "sudo ausearch -m avc -ts recent"])
        }
        (Cause::Permission, Call::Bind | Call::Listen) if linux && understood.local.port.is_some_and(|p| p >= 1024) => {
            own(&["sudo ausearch -m avc -ts recent", "sysctl net.ipv4.ip_unprivileged_port_start"])
        }
        _ => None,
    }
}
