//! The cheapest extra observation that tells two causes of one signal apart.
//!
//! One table says how each cause can be seen and what that takes; two causes are told apart by whichever of them is
//! cheaper to see. Nothing here observes anything.

use super::ProbeCall;
use crate::cause::Cause;

/// What to look at, so that a tracer can say which of two causes it ran into at `call`.
pub fn separate(one: Cause, other: Cause, call: ProbeCall) -> &'static str {
    let (first, second) = (see(one, call), see(other, call));
    if first.0 <= second.0 { first.1 } else { second.1 }
}

/// What it takes to see a cause (0: the tracer knows; 1: a cheap call; 2: a table of the kernel; 3: another probe),
/// and how.
fn see(cause: Cause, call: ProbeCall) -> (u8, &'static str) {
    match cause {
        Cause::AddressInvalid => {
            (0, "look at the address before the call: its kind, scope and port need no system call")
        }
        Cause::SocketState | Cause::InProgress | Cause::None => {
            (0, "keep account of the socket: bound, connecting and connected are the tracer's own doing")
        }
        Cause::Permission => (
            1,
            "compare the port with the restricted ones (55555 on macOS) and with ip_unprivileged_port_start, and the destination with the broadcast addresses",
        ),
        Cause::DescriptorsExhausted => (1, "getrlimit(RLIMIT_NOFILE) against the number of descriptors open"),
        Cause::TtlExceeded | Cause::Refused => (1, ICMP),
        Cause::Filtered | Cause::Unreachable if call == ProbeCall::SoError => (1, ICMP),
        Cause::AddressNotLocal => (2, "getifaddrs(): whether an interface has the local address"),
        Cause::NoRoute | Cause::Unreachable => {
            (2, "connect a UDP socket with a port of its own: it sends nothing, and fails where the route does")
        }
        Cause::PortsExhausted => {
            (2, "ip_local_port_range (net.inet.ip.portrange on macOS) against a count of the ports held")
        }
        Cause::TupleInUse => (2, "getsockname() before connect(), and that 4-tuple in the socket table"),
        Cause::PortInUse => (2, "whether the socket table has the port"),
        Cause::Filtered | Cause::NoAnswer => (3, "a second probe of another kind or TTL"),
    }
}

const ICMP: &str = "the ICMP message behind it: type, code and sender, from the error queue (IP_RECVERR) on Linux and from a raw socket elsewhere";
