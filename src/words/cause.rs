//! What a subject call ran into, known by construction and independent of the kernel's answer.
//!
//! A cause does not say what a program should do: the policy does.

use crate::words::names::words;
use serde::{Deserialize, Serialize};

words! {
    /// What a call runs into. A scenario says which it makes; nothing reads it from an errno. What takes a connection
    /// or a device in use, `reset` and `queue-full`, no scenario makes yet: `explain` alone knows it.
    Cause {
        /// Another socket holds the local port; of the family unix, a file or a socket has the name.
        PortInUse = "port-in-use",
        /// Another socket holds the whole 4-tuple.
        TupleInUse = "tuple-in-use",
        /// No ephemeral port is left.
        PortsExhausted = "ports-exhausted",
        /// The local address belongs to no interface of this host.
        AddressNotLocal = "address-not-local",
        /// This host has no address of the destination's family to send from; for `::1`, `lo` does not have it.
        NoSourceAddress = "no-source-address",
        /// The caller may not do this.
        Permission = "permission",
        /// No descriptor is left.
        DescriptorsExhausted = "descriptors-exhausted",
        /// The socket's state does not admit the call.
        SocketState = "socket-state",
        /// The address is malformed, of another family, or of a kind that the call does not take.
        AddressInvalid = "address-invalid",
        /// No route leads to the destination.
        NoRoute = "no-route",
        /// A route or a router says that the destination cannot be reached.
        Unreachable = "unreachable",
        /// A router says that the TTL or hop limit was used up.
        TtlExceeded = "ttl-exceeded",
        /// A packet filter stands in the way.
        Filtered = "filtered",
        /// The destination answers with a reset.
        Refused = "refused",
        /// Nobody answers.
        NoAnswer = "no-answer",
        /// The other end, or something between, ended a connection that was made.
        Reset = "reset",
        /// A queue of the device, or the socket's memory, is full.
        QueueFull = "queue-full",
        /// The connection is being made; there is no error yet.
        InProgress = "in-progress",
        /// Nothing stands in the way.
        None = "none",
    }
}
