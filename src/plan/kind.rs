//! The kind of socket that makes a call, read from the ops that created it.
//!
//! It depends only on the plan, not on the kernel, so it is known before the plan runs.

use serde::{Deserialize, Serialize};

use super::{Made, Op, SocketOption};
use crate::words::names::{Family, Protocol, Reuse};

/// The kind of socket that makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SocketKind {
    /// Its transport.
    pub protocol: Protocol,
    /// Its address family.
    pub family: Family,
    /// Which of the two options are set when the call is made.
    pub reuse: Reuse,
}

impl SocketKind {
    /// That of the socket of this name after these ops; `None` where none of them made it.
    pub fn after<O: std::borrow::Borrow<Op>>(ops: &[O], name: &str) -> Option<SocketKind> {
        let mut kind = None;
        let mut options = (false, false);
        for (index, op) in ops.iter().map(O::borrow).enumerate() {
            match op.makes().filter(|made| made.socket() == name) {
                Some(Made::New { family, protocol, .. }) => {
                    kind = Some((protocol, family));
                    options = (false, false);
                }
                // What accept() makes is of its listener's kind, with the options that it has by then
                // (sk_clone_lock()).
                Some(Made::Accepted { listener, .. }) if listener != name => {
                    let listener = SocketKind::after(&ops[..index], listener)?;
                    kind = Some((listener.protocol, listener.family));
                    options = (listener.reuse.address(), listener.reuse.port());
                }
                Some(Made::Accepted { .. }) | None => {}
            }
            if let Op::SetOption { socket, option } = op
                && socket == name
            {
                match option {
                    SocketOption::ReuseAddr(on) => options.0 = *on,
                    SocketOption::ReusePort(on) => options.1 = *on,
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
                    | SocketOption::QuickAck(_) => {}
                }
            }
        }
        let (protocol, family) = kind?;
        Some(SocketKind { protocol, family, reuse: Reuse::of(options.0, options.1) })
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
        let kind = kind.map(|(protocol, family, reuse)| SocketKind { protocol, family, reuse });
        assert_eq!(SocketKind::after(&ops, name), kind, "{name}");
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
    }
}
