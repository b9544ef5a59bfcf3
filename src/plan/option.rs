//! Socket options, each with the type of its value.
//!
//! `sys` knows their numbers.

use serde::{Deserialize, Serialize};

use crate::words::ports::PortRange;

/// A socket option with its value (socket(7), ip(7), ipv6(7), tcp(7)).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SocketOption {
    /// SO_REUSEADDR.
    ReuseAddr(bool),
    /// SO_REUSEPORT.
    ReusePort(bool),
    /// SO_LINGER on, with this many seconds; 0 makes close() send a reset.
    Linger(u16),
    /// IPV6_V6ONLY.
    V6Only(bool),
    /// SO_BINDTODEVICE; the empty name unbinds.
    BindToDevice(String),
    /// IP_FREEBIND, IPV6_FREEBIND.
    Freebind(bool),
    /// IP_BIND_ADDRESS_NO_PORT.
    BindAddressNoPort(bool),
    /// IP_LOCAL_PORT_RANGE, lowest and highest port.
    LocalPortRange(PortRange),
    /// IP_RECVERR, IPV6_RECVERR.
    RecvErr(bool),
    /// IP_TTL, IPV6_UNICAST_HOPS.
    Ttl(u8),
    /// SO_BROADCAST.
    Broadcast(bool),
    /// TCP_LINGER2, in seconds.
    Linger2(i32),
    /// TCP_USER_TIMEOUT, in milliseconds.
    UserTimeout(i32),
    /// TCP_QUICKACK: an acknowledgement that is being delayed is sent now. Only ever a matter of time, so that an OS
    /// without it does nothing.
    QuickAck(bool),
    /// SO_MARK.
    Mark(u32),
    /// SO_SNDTIMEO, in milliseconds.
    SendTimeout(u32),
    /// SO_RCVTIMEO, in milliseconds.
    ReceiveTimeout(u32),
    /// SO_SNDBUF, in bytes. Linux doubles it, and takes no less than 4,608 (`SOCK_MIN_SNDBUF`).
    SendBuffer(u32),
    /// SO_RCVBUF, in bytes. Linux doubles it, and takes no less than 2,304 (`SOCK_MIN_RCVBUF`).
    ReceiveBuffer(u32),
}
