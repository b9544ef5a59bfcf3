//! The kind of socket that makes a call, read from the ops that created it.
//!
//! It depends only on the plan, not on the kernel, so it is known before the plan runs.

use serde::{Deserialize, Serialize};

use super::{Made, Op, SocketOption};
use crate::words::names::{Family, Protocol, Reuse, UnixKind};

/// The kind of socket that makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "WireKind", into = "WireKind")]
pub enum SocketKind {
    /// One that has addresses and ports.
    Ip(IpSocket),
    /// One of the family unix.
    Unix(UnixKind),
}

/// The kind of a socket that has addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpSocket {
    /// Its transport.
    pub protocol: Protocol,
    /// Its address family.
    pub family: Family,
    /// Which of the two options are set when the call is made.
    pub reuse: Reuse,
}

/// `{"protocol": "tcp", "family": "ipv4", "reuse": "none"}` or `{"unix": "stream"}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKind {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protocol: Option<Protocol>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    family: Option<Family>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reuse: Option<Reuse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unix: Option<UnixKind>,
}

impl From<SocketKind> for WireKind {
    fn from(kind: SocketKind) -> WireKind {
        let none = WireKind { protocol: None, family: None, reuse: None, unix: None };
        match kind {
            SocketKind::Ip(IpSocket { protocol, family, reuse }) => {
                WireKind { protocol: Some(protocol), family: Some(family), reuse: Some(reuse), ..none }
            }
            SocketKind::Unix(kind) => WireKind { unix: Some(kind), ..none },
        }
    }
}

impl TryFrom<WireKind> for SocketKind {
    type Error = &'static str;

    fn try_from(wire: WireKind) -> Result<SocketKind, &'static str> {
        match wire {
            WireKind { protocol: Some(protocol), family: Some(family), reuse: Some(reuse), unix: None } => {
                Ok(SocketKind::Ip(IpSocket { protocol, family, reuse }))
            }
            WireKind { protocol: None, family: None, reuse: None, unix: Some(kind) } => Ok(SocketKind::Unix(kind)),
            _ => Err("a socket has a protocol, a family and its reuse, or is one of the family unix"),
        }
    }
}

impl schemars::JsonSchema for SocketKind {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SocketKind".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (protocol, family) = (generator.subschema_for::<Protocol>(), generator.subschema_for::<Family>());
        let (reuse, kind) = (generator.subschema_for::<Reuse>(), generator.subschema_for::<UnixKind>());
        schemars::json_schema!({
            "description": "The kind of socket that makes a call.",
            "oneOf": [
                { "type": "object", "properties": { "protocol": protocol, "family": family, "reuse": reuse },
                  "required": ["protocol", "family", "reuse"], "additionalProperties": false },
                { "type": "object", "properties": { "unix": kind },
                  "required": ["unix"], "additionalProperties": false }
            ]
        })
    }
}

impl SocketKind {
    /// That of the socket of this name after these ops; `None` where none of them made it.
    pub fn after<O: std::borrow::Borrow<Op>>(ops: &[O], name: &str) -> Option<SocketKind> {
        let mut kind = None;
        for (index, op) in ops.iter().map(O::borrow).enumerate() {
            match op.makes().filter(|made| made.socket() == name) {
                Some(Made::New { family, protocol, .. }) => {
                    kind = Some(SocketKind::Ip(IpSocket { protocol, family, reuse: Reuse::None }));
                }
                Some(Made::Unix { kind: own, .. }) => kind = Some(SocketKind::Unix(own)),
                // What accept() makes is of its listener's kind, with the options that it has by then
                // (sk_clone_lock()).
                Some(Made::Accepted { listener, .. }) if listener != name => {
                    kind = Some(SocketKind::after(&ops[..index], listener)?);
                }
                Some(Made::Accepted { .. }) | None => {}
            }
            if let (Op::SetOption { socket, option }, Some(SocketKind::Ip(own))) = (op, &mut kind)
                && socket == name
            {
                match option {
                    SocketOption::ReuseAddr(on) => own.reuse = Reuse::of(*on, own.reuse.port()),
                    SocketOption::ReusePort(on) => own.reuse = Reuse::of(own.reuse.address(), *on),
                    SocketOption::Linger(_)
                    | SocketOption::V6Only(_)
                    | SocketOption::BindToDevice(_)
                    | SocketOption::Freebind(_)
                    | SocketOption::BindAddressNoPort(_)
                    | SocketOption::LocalPortRange(_)
                    | SocketOption::RecvErr(_)
                    | SocketOption::Ttl(_)
                    | SocketOption::Broadcast(_)
                    | SocketOption::Linger2(_)
                    | SocketOption::UserTimeout(_)
                    | SocketOption::QuickAck(_)
                    | SocketOption::Mark(_)
                    | SocketOption::SendTimeout(_)
                    | SocketOption::ReceiveTimeout(_)
                    | SocketOption::SendBuffer(_)
                    | SocketOption::ReceiveBuffer(_) => {}
                }
            }
        }
        kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(text: &str) -> Op {
        serde_json::from_str(text).unwrap()
    }

    #[track_caller]
    fn check(ops: &[&str], name: &str, kind: Option<(Protocol, Family, Reuse)>) {
        let ops: Vec<Op> = ops.iter().map(|text| op(text)).collect();
        let kind = kind.map(|(protocol, family, reuse)| SocketKind::Ip(IpSocket { protocol, family, reuse }));
        assert_eq!(SocketKind::after(&ops, name), kind, "{name}");
    }

    #[test]
    fn a_kind_is_written_as_one_of_two_shapes() {
        let ip = SocketKind::Ip(IpSocket { protocol: Protocol::Udp, family: Family::Ipv6, reuse: Reuse::Port });
        for (kind, text) in [
            (ip, r#"{"protocol":"udp","family":"ipv6","reuse":"port"}"#),
            (SocketKind::Unix(UnixKind::Stream), r#"{"unix":"stream"}"#),
        ] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), text);
            assert_eq!(serde_json::from_str::<SocketKind>(text).unwrap(), kind);
        }
        let both = r#"{"protocol":"udp","family":"ipv6","reuse":"port","unix":"stream"}"#;
        for text in ["{}", both, r#"{"protocol":"udp"}"#] {
            assert!(serde_json::from_str::<SocketKind>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_kind_is_what_the_ops_before_the_call_made() {
        let tcp = r#"{"socket":{"socket":"a","family":"ipv4","protocol":"tcp"}}"#;
        let udp = r#"{"socket":{"socket":"b","family":"ipv6","protocol":"udp"}}"#;
        let option = |name: &str, what: &str, on: bool| {
            format!(r#"{{"set-option":{{"socket":"{name}","option":{{"{what}":{on}}}}}}}"#)
        };
        let (addr, port, off) =
            (option("a", "reuse-addr", true), option("a", "reuse-port", true), option("a", "reuse-addr", false));
        let accept = r#"{"accept":{"socket":"a","new":"c"}}"#;
        let all = Some((Protocol::Tcp, Family::Ipv4, Reuse::Both));
        check(&[], "a", None);
        check(&[tcp, udp], "a", Some((Protocol::Tcp, Family::Ipv4, Reuse::None)));
        check(&[tcp, udp, &addr], "b", Some((Protocol::Udp, Family::Ipv6, Reuse::None)));
        check(&[tcp, &addr, &port], "a", all);
        check(&[tcp, &addr, &port, &off], "a", Some((Protocol::Tcp, Family::Ipv4, Reuse::Port)));
        // Another socket of the same name is another socket.
        check(&[tcp, &addr, &port, tcp], "a", Some((Protocol::Tcp, Family::Ipv4, Reuse::None)));
        check(&[tcp, &addr, &port, accept, &off], "c", all);
        check(&[accept], "c", None);
        let unix = [r#"{"unix-socket":{"socket":"a","kind":"stream"}}"#, accept, &addr].map(op);
        assert_eq!(SocketKind::after(&unix, "c"), Some(SocketKind::Unix(UnixKind::Stream)));
    }
}
