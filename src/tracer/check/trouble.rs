//! The troubles that a tracer can meet, each made of conditions of `exec`.
//!
//! The right reaction follows from the cause, and is in `policy::right`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::profile::{Places, Profile};
use crate::words::cause::Cause;
use crate::words::names::words;

/// How many routers there are on the way to the server.
pub const ROUTERS: u8 = 5;
/// The port that the server listens on.
pub const PORT: u16 = 443;
/// Where the probes of a tracer are expected that says nothing about its source ports.
const USUAL_FIRST: u16 = 33434;
/// An ephemeral range that a tracer with a sequence of its own can leave behind while somebody waits. mtr begins at
/// 33000.
const EPHEMERAL: &str = "32768-33767";
/// RFC 5737: an address that nobody has.
const FOREIGN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

words! {
    /// What goes wrong. The order is that of tables.
    Trouble {
        /// Nothing.
        Nothing = "none",
        /// Somebody listens on the source address and port.
        PortListening = "port-listening",
        /// Somebody listens on the source port, for every address.
        PortListeningAnywhere = "port-listening-anywhere",
        /// Another program's connection has the source port.
        PortConnected = "port-connected",
        /// Another user's connection has the source port, with SO_REUSEPORT: that is an agreement of one user's
        /// sockets, from which not even root is exempt.
        PortOfOtherUser = "port-of-other-user",
        /// An earlier connection attempt to the same target has the 4-tuple.
        TupleSynSent = "tuple-syn-sent",
        /// A connection to the same target has the 4-tuple.
        TupleEstablished = "tuple-established",
        /// An earlier connection with TCP timestamps has the 4-tuple: the kernel takes it over.
        TupleTimeWaitTimestamps = "tuple-time-wait-timestamps",
        /// The same without timestamps: the kernel does not.
        TupleTimeWait = "tuple-time-wait",
        /// The source address belongs to no interface.
        SourceNotLocal = "source-not-local",
        /// No route leads to the target.
        NoRoute = "no-route",
        /// Every port of the ephemeral range is bound.
        PortsExhausted = "ports-exhausted",
        /// Every port that needs no privilege is bound.
        EveryPortHeld = "every-port-held",
    }
}

/// The two ends of the path, and the routers' addresses as a tracer of IPv4 sees them.
pub fn client() -> IpAddr {
    Ipv4Addr::new(10, 77, 0, 1).into()
}

pub fn server() -> SocketAddr {
    SocketAddr::new(address_at(ROUTERS + 1), PORT)
}

/// Who answers a probe of that TTL.
pub fn address_at(ttl: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, ttl - 1, 2).into()
}

impl Trouble {
    /// The cause of the calls that fail, as it is in findings; `none` where they should not.
    pub fn cause(self) -> Cause {
        match self {
            Trouble::Nothing | Trouble::TupleTimeWaitTimestamps => Cause::None,
            Trouble::PortListening
            | Trouble::PortListeningAnywhere
            | Trouble::PortConnected
            | Trouble::PortOfOtherUser => Cause::PortInUse,
            Trouble::TupleSynSent | Trouble::TupleEstablished | Trouble::TupleTimeWait => Cause::TupleInUse,
            Trouble::SourceNotLocal => Cause::AddressNotLocal,
            Trouble::NoRoute => Cause::NoRoute,
            Trouble::PortsExhausted | Trouble::EveryPortHeld => Cause::PortsExhausted,
        }
    }

    /// The source ports that are made busy: two, so that a probe that is lost can be told from one that is sent again.
    pub fn ports(self, profile: &Profile) -> Vec<u16> {
        let first = profile.first.unwrap_or(USUAL_FIRST);
        match self.cause() {
            Cause::PortInUse | Cause::TupleInUse => vec![first, first + 2],
            _ if self == Trouble::TupleTimeWaitTimestamps => vec![first, first + 2],
            _ => Vec::new(),
        }
    }

    /// The arguments of `exec` that make it, behind those of the path.
    pub fn arguments(self, profile: &Profile) -> Vec<String> {
        let (client, server) = (client(), server());
        let conditions: Vec<String> = match self {
            Trouble::Nothing => Vec::new(),
            Trouble::SourceNotLocal => vec![format!("source-not-local={FOREIGN}")],
            Trouble::NoRoute => vec!["no-route".to_owned()],
            Trouble::PortsExhausted => vec![format!("ports-exhausted,range={EPHEMERAL}")],
            Trouble::EveryPortHeld => vec!["ports-held=1024-65535".to_owned()],
            _ => {
                let condition = |port: u16| match self {
                    Trouble::PortListening => format!("port-held={port},address={client},state=listening"),
                    Trouble::PortListeningAnywhere => format!("port-held={port},state=listening"),
                    Trouble::PortConnected => format!("port-held={port},address={client},state=established"),
                    Trouble::PortOfOtherUser => {
                        format!("port-held={port},address={client},state=established,reuse=port,user=other")
                    }
                    Trouble::TupleSynSent => format!("tuple-held={client}:{port}-{server},state=syn-sent"),
                    Trouble::TupleEstablished => format!("tuple-held={client}:{port}-{server},state=established"),
                    _ => format!("tuple-held={client}:{port}-{server},state=time-wait"),
                };
                self.ports(profile).into_iter().map(condition).collect()
            }
        };
        // In SYN_SENT there is a connection only as long as the server does not answer.
        let world = match self {
            Trouble::TupleSynSent => Some("--filtered"),
            Trouble::TupleTimeWait => Some("--no-timestamps"),
            _ => None,
        };
        let conditions = conditions.into_iter().flat_map(|condition| ["--condition".to_owned(), condition]);
        world.map(str::to_owned).into_iter().chain(conditions).collect()
    }

    /// The last TTL that is answered.
    pub fn last(self) -> u8 {
        if self == Trouble::TupleSynSent { ROUTERS } else { ROUTERS + 1 }
    }

    pub fn places(self) -> Places {
        let source = (self == Trouble::SourceNotLocal).then_some(IpAddr::V4(FOREIGN));
        Places { target: server().ip(), port: PORT, source }
    }
}
