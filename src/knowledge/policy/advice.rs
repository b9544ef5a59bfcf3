//! What a person can do about a cause. The tracer's messages and explanations share these texts.
//!
//! It does not name options of a command.

use crate::words::cause::Cause;

/// A fragment; empty where there is nothing to do.
pub fn advice(cause: Cause) -> &'static str {
    match cause {
        Cause::PortsExhausted => {
            "every port of the ephemeral range is taken: wait for connections to end, or widen \
             net.ipv4.ip_local_port_range (net.inet.ip.portrange on macOS)"
        }
        Cause::AddressNotLocal => "no interface of this host has that address",
        Cause::NoSourceAddress => {
            "this host has no address of the destination's family, or `lo` no ::1: see `ip address`, and \
             `sysctl net.ipv6.conf.all.disable_ipv6`"
        }
        Cause::Permission => "the system does not let this user do it: use ports from 1024 on, or run with privileges",
        Cause::DescriptorsExhausted => "no descriptor is left: raise the limit (ulimit -n)",
        Cause::AddressInvalid => "the system does not take this address: a link-local one needs its interface (%eth0)",
        Cause::PortInUse => "the port is taken: choose another, or end what has it",
        Cause::TupleInUse => "the connection's 4-tuple is taken: choose another source port, or wait for the old one",
        Cause::NoRoute => "no route leads there: see the routing table",
        Cause::Unreachable => "a route or a router says that nothing leads there: see the routing table",
        Cause::SocketState => "the program made this call too early, too late or twice: see its earlier calls",
        Cause::Filtered => "a packet filter stands in the way, here or on the path: see its rules",
        Cause::NoAnswer => "nobody answers: see whether the host is up, and what filters the path has",
        Cause::TtlExceeded => "the TTL was used up on the way: raise it, or look for a loop in the path",
        Cause::Refused => "nobody listens there: start the server, or correct the port",
        Cause::Reset => {
            "the other end closed the connection with a reset: see its log. A proxy, a firewall or a load balancer \
             between may send one as well, often after an idle time"
        }
        Cause::QueueFull => {
            "packets are sent faster than the device takes them: send more slowly, or lengthen the device's queue"
        }
        Cause::InProgress | Cause::None => "",
    }
}
