//! How a user writes a condition: `NAME[=VALUE][,KEY=VALUE]…`, without a character that a shell would interpret.
//!
//! `exec` creates the conditions.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::exec::{DEFAULT_RANGE, Holder, HostCondition, Named, Prefix, VERDICTS};
use crate::plan::RouteKind;
use crate::words::names::{HolderState, Protocol, Reuse, User};
use crate::words::near::or_list;
use crate::words::ports::{PortRange, RangeError};

/// What `--help` says of them.
pub const HELP: &str = "\
Conditions (-c), made by the ops of the scenarios in the command's own network, witnessed by the kernel before the \
command starts and when it has ended:
  ports-exhausted              every ephemeral port is bound
    free=N                       but N
    to=ADDRESS:PORT              by connections to one destination instead; if
                                 nobody listens there, errnoscope does, and
                                 never answers
    range=LOW-HIGH               of this range [default: 32768-60999]
    protocol=tcp|udp  address=ADDRESS  reuse=none|addr|port|both
  port-held=PORT               a socket has the port
    state=STATE                  listening, bound, established, accepted,
                                 syn-sent, fin-wait-2, close-wait, time-wait;
                                 UDP: bound, connected [default: the first]
    address=ADDRESS  peer=ADDRESS:PORT  protocol=…  reuse=…
    user=same|other              whose it is: the command's user's, or that of
                                 another, who is no root [default: same]
  ports-held=LOW-HIGH          sockets are bound to these ports
    protocol=…  address=ADDRESS  reuse=…
  tuple-held=ADDRESS:PORT-ADDRESS:PORT
                               a connection has this 4-tuple, ours first
    state=STATE                  [default: established]
    protocol=…  reuse=…  user=…  [default: tcp, both, same]
  source-not-local[=ADDRESS]   no interface has it [default: 192.0.2.1]
  no-route[=PREFIX]            no route leads there [default: anywhere outside,
                               or the server of --path]
  unreachable=PREFIX, blackhole=PREFIX, prohibit=PREFIX
                               a route of this type
  output-dropped[=PREFIX]      a packet filter (nft) drops what is sent there
    port=PORT  protocol=…
    verdict=WHAT                 drop, net-unreachable, host-unreachable,
                                 port-unreachable, admin-prohibited, reset
  icmp=TYPE/CODE,for=PREFIX    a router answers TCP SYNs with an ICMP error
    router=ADDRESS               (needs /dev/net/tun)
  descriptors-exhausted[=N]    N more descriptors can be opened than are given;
                               with 0 most programs cannot load libraries
  timestamps=on|off            net.ipv4.tcp_timestamps
  tw-reuse=0|1|2               net.ipv4.tcp_tw_reuse";

const NAMES: &[&str] = &[
    "ports-exhausted",
    "port-held",
    "ports-held",
    "tuple-held",
    "source-not-local",
    "no-route",
    "unreachable",
    "blackhole",
    "prohibit",
    "output-dropped",
    "icmp",
    "descriptors-exhausted",
    "timestamps",
    "tw-reuse",
];

/// States that leave the rest of the network as it is: the others take tiny socket buffers.
const STATES: &[HolderState] = &[
    HolderState::Bound,
    HolderState::Listening,
    HolderState::SynSent,
    HolderState::Established,
    HolderState::Accepted,
    HolderState::FinWait2,
    HolderState::CloseWait,
    HolderState::TimeWait,
];

pub fn named(text: &str) -> Result<Named, String> {
    Ok(Named { text: text.to_owned(), condition: parse(text)? })
}

fn parse(text: &str) -> Result<HostCondition, String> {
    let mut parts = text.split(',');
    let (name, value) = entry(parts.next().unwrap_or_default());
    let mut fields = Fields { name, value, entries: Vec::new(), known: Vec::new() };
    for part in parts {
        let (key, value) = entry(part);
        let value = value.ok_or_else(|| format!("`{part}` has no value, expected KEY=VALUE"))?;
        if fields.entries.iter().any(|(other, _)| *other == key) {
            return Err(format!("`{key}` is given twice"));
        }
        fields.entries.push((key, value));
    }
    let condition = fields.condition()?;
    fields.finish()?;
    Ok(condition)
}

fn entry(part: &str) -> (&str, Option<&str>) {
    part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)))
}

struct Fields<'t> {
    name: &'t str,
    value: Option<&'t str>,
    /// Those that nobody has asked for yet.
    entries: Vec<(&'t str, &'t str)>,
    /// Those that somebody has asked for.
    known: Vec<&'static str>,
}

impl Fields<'_> {
    fn condition(&mut self) -> Result<HostCondition, String> {
        Ok(match self.name {
            "ports-exhausted" => self.ports_exhausted()?,
            "port-held" => {
                let port = self.required("a port", port)?;
                self.held(port)?
            }
            "ports-held" => {
                let range = self.required("LOW-HIGH", range)?;
                let (protocol, reuse) = (self.protocol()?, self.reuse(Reuse::None)?);
                let address = self.take("address", parsed)?.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
                HostCondition::PortsHeld { protocol, address, range, reuse }
            }
            "tuple-held" => {
                let (local, remote) = self.required("LOCAL:PORT-REMOTE:PORT", tuple)?;
                let (protocol, reuse) = (self.protocol()?, self.reuse(Reuse::Both)?);
                let usual = if protocol == Protocol::Udp { HolderState::Connected } else { HolderState::Established };
                let state = self.state(protocol, usual)?;
                if matches!(state, HolderState::Bound | HolderState::Listening) {
                    return Err(format!("a socket in state {state} has no peer; use port-held"));
                }
                let user = self.user(state)?;
                HostCondition::Held(Holder { protocol, state, local, reuse, peer: Some(remote), user })
            }
            "source-not-local" => HostCondition::SourceNotLocal {
                address: self.optional(parsed)?.unwrap_or(Ipv4Addr::new(192, 0, 2, 1).into()),
            },
            "no-route" => HostCondition::NoRoute { prefix: self.optional(prefix)? },
            "unreachable" => self.route(RouteKind::Unreachable)?,
            "blackhole" => self.route(RouteKind::Blackhole)?,
            "prohibit" => self.route(RouteKind::Prohibit)?,
            "output-dropped" => {
                let verdict = self.take("verdict", |word| {
                    VERDICTS.iter().position(|(known, _)| *known == word).ok_or_else(|| {
                        format!("unknown verdict `{word}`{}", or_list(word, VERDICTS.iter().map(|(known, _)| *known)))
                    })
                })?;
                let prefix = self.optional(prefix)?;
                let (port, protocol) = (self.take("port", port)?, self.take("protocol", protocol)?);
                let verdict = verdict.unwrap_or(0);
                // Without a port, the reset itself would not get through.
                if VERDICTS[verdict].0 == "reset" && (protocol, port.is_some()) != (Some(Protocol::Tcp), true) {
                    return Err(
                        "only TCP to a port can be answered with a reset: add protocol=tcp,port=PORT".to_owned()
                    );
                }
                HostCondition::OutputDropped { prefix, port, protocol, verdict }
            }
            "icmp" => {
                let (kind, code) = self.required("TYPE/CODE", |text| {
                    let (kind, code) = text.split_once('/').ok_or("expected TYPE/CODE, such as 3/1")?;
                    Ok((parsed(kind)?, parsed(code)?))
                })?;
                let prefix = self.take("for", prefix)?.ok_or("which destinations? add for=PREFIX")?;
                HostCondition::Icmp { kind, code, prefix, router: self.take("router", parsed)? }
            }
            "descriptors-exhausted" => {
                HostCondition::DescriptorsExhausted { free: self.optional(parsed::<u32>)?.unwrap_or(0).into() }
            }
            "timestamps" => {
                let value = self.required("on or off", |word| match word {
                    "on" => Ok("1"),
                    "off" => Ok("0"),
                    other => Err(format!("`{other}` is neither on nor off")),
                })?;
                HostCondition::Sysctl { name: "net.ipv4.tcp_timestamps", value: value.to_owned() }
            }
            "tw-reuse" => {
                let value = self.required("0, 1 or 2", |word| match word {
                    "0" | "1" | "2" => Ok(word.to_owned()),
                    other => Err(format!("`{other}` is none of 0, 1, 2")),
                })?;
                HostCondition::Sysctl { name: "net.ipv4.tcp_tw_reuse", value }
            }
            other => return Err(format!("unknown condition `{other}`{}", or_list(other, NAMES.iter().copied()))),
        })
    }

    fn ports_exhausted(&mut self) -> Result<HostCondition, String> {
        if let Some(value) = self.value.take() {
            return Err(format!("ports-exhausted takes no value, but free=N, to=…; what is `{value}`?"));
        }
        let (protocol, reuse) = (self.protocol()?, self.reuse(Reuse::None)?);
        let to: Option<SocketAddr> = self.take("to", endpoint)?;
        let address: Option<IpAddr> = self.take("address", parsed)?;
        if let (Some(_), Some(address)) = (to, address) {
            return Err(format!("connections choose their own address: leave out address={address}"));
        }
        let range = self.take("range", range)?.unwrap_or(DEFAULT_RANGE);
        let size = range.size();
        // `inet_csk_find_open_port` and `__inet_hash_connect` search ports of one parity, then those of the other.
        if size > 1 && size % 2 == 1 {
            let message = "in a range of odd size Linux may miss a free port, so that it is exhausted at random";
            return Err(format!("{message}: give one port, or an even number of them"));
        }
        let free = self.take("free", parsed::<u16>)?.unwrap_or(0);
        if u32::from(free) > size {
            return Err(format!("the range has {size} ports, {free} cannot be left free"));
        }
        let address = to.map_or(address.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), |to| match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        });
        Ok(HostCondition::PortsExhausted { protocol, address, range, reuse, to, free })
    }

    fn held(&mut self, port: u16) -> Result<HostCondition, String> {
        let (protocol, reuse) = (self.protocol()?, self.reuse(Reuse::None)?);
        let usual = if protocol == Protocol::Udp { HolderState::Bound } else { HolderState::Listening };
        let state = self.state(protocol, usual)?;
        let peer: Option<SocketAddr> = self.take("peer", endpoint)?;
        let alone = matches!(state, HolderState::Bound | HolderState::Listening);
        if let (true, Some(peer)) = (alone, peer) {
            return Err(format!("a socket in state {state} has no peer: leave out peer={peer}, or add state=…"));
        }
        let usual = match peer {
            _ if alone => Ipv6Addr::UNSPECIFIED.into(),
            Some(SocketAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        let address: IpAddr = self.take("address", parsed)?.unwrap_or(usual);
        if peer.is_some_and(|peer| peer.is_ipv4() != address.is_ipv4()) {
            return Err("address and peer are of two families".to_owned());
        }
        let user = self.user(state)?;
        Ok(HostCondition::Held(Holder { protocol, state, local: SocketAddr::new(address, port), reuse, peer, user }))
    }

    fn route(&mut self, kind: RouteKind) -> Result<HostCondition, String> {
        Ok(HostCondition::Route { kind, prefix: self.required("a prefix", prefix)? })
    }

    fn protocol(&mut self) -> Result<Protocol, String> {
        Ok(self.take("protocol", protocol)?.unwrap_or(Protocol::Tcp))
    }

    fn reuse(&mut self, usual: Reuse) -> Result<Reuse, String> {
        Ok(self.take("reuse", word(Reuse::ALL, Reuse::as_str))?.unwrap_or(usual))
    }

    fn user(&mut self, state: HolderState) -> Result<Option<User>, String> {
        let user = self.take("user", |word| match word {
            "same" => Ok(None),
            "other" => Ok(Some(User::UserA)),
            other => Err(format!("unknown value `{other}`{}", or_list(other, ["same", "other"].into_iter()))),
        })?;
        match user.flatten() {
            Some(_) if state == HolderState::TimeWait => {
                Err("a socket in time-wait is nobody's: leave out user=other".to_owned())
            }
            user => Ok(user),
        }
    }

    fn state(&mut self, protocol: Protocol, usual: HolderState) -> Result<HolderState, String> {
        let known = match protocol {
            Protocol::Tcp | Protocol::Mptcp => STATES,
            Protocol::Udp => &[HolderState::Bound, HolderState::Connected],
        };
        Ok(self.take("state", word(known, HolderState::as_str))?.unwrap_or(usual))
    }

    /// The value behind the condition's name, where there has to be one.
    fn required<T>(&mut self, what: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
        let name = self.name;
        self.optional(parse)?.ok_or_else(|| format!("{name} needs {what}: {name}=…"))
    }

    fn optional<T>(&mut self, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        self.value.take().map(|value| parse(value).map_err(|why| format!("{}: {why}", self.name))).transpose()
    }

    fn take<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        self.known.push(key);
        let Some(at) = self.entries.iter().position(|(other, _)| *other == key) else { return Ok(None) };
        let (_, value) = self.entries.remove(at);
        parse(value).map(Some).map_err(|why| format!("{key}: {why}"))
    }

    /// Refuses what the condition does not have.
    fn finish(&self) -> Result<(), String> {
        let name = self.name;
        if let Some(value) = self.value {
            return Err(format!("{name} takes no value; what is `{value}`?"));
        }
        match self.entries.first() {
            None => Ok(()),
            Some((key, _)) if self.known.is_empty() => Err(format!("{name} has no `{key}`")),
            Some((key, _)) => Err(format!("{name} has no `{key}`{}", or_list(key, self.known.iter().copied()))),
        }
    }
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

fn word<T: Copy>(known: &[T], as_str: fn(T) -> &'static str) -> impl Fn(&str) -> Result<T, String> + '_ {
    move |text| {
        known.iter().copied().find(|&known| as_str(known) == text).ok_or_else(|| {
            let words: Vec<&str> = known.iter().map(|&known| as_str(known)).collect();
            format!("unknown value `{text}`{}", or_list(text, words.iter().copied()))
        })
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    // What MPTCP takes of ports and tuples, TCP sockets take for it: they hold them from MPTCP, too.
    word(&[Protocol::Tcp, Protocol::Udp], Protocol::as_str)(text)
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|&port| port != 0);
    port.ok_or_else(|| format!("`{text}` is no port from 1 to 65535"))
}

fn range(text: &str) -> Result<PortRange, String> {
    text.parse().map_err(|why: RangeError| why.to_string())
}

fn endpoint(text: &str) -> Result<SocketAddr, String> {
    let end: SocketAddr =
        text.parse().map_err(|_| format!("`{text}` is no address with a port, such as 127.0.0.1:80 or [::1]:80"))?;
    port(&end.port().to_string())?;
    Ok(end)
}

/// Both ends of a connection. An arrow between them is understood as well, if a shell lets it through.
fn tuple(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let ends = text.split_once("->").or_else(|| text.split_once('-'));
    let (local, remote) =
        ends.ok_or_else(|| format!("`{text}` has one end, expected two: 127.0.0.1:40000-127.0.0.1:80"))?;
    let (local, remote) = (endpoint(local)?, endpoint(remote)?);
    if local.is_ipv4() != remote.is_ipv4() {
        return Err(format!("{local} and {remote} are of two families"));
    }
    Ok((local, remote))
}

fn prefix(text: &str) -> Result<Prefix, String> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = parsed(address)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => most,
        Some(length) => length
            .parse()
            .ok()
            .filter(|length| *length <= most)
            .ok_or_else(|| format!("`{length}` is no length of a prefix, from 0 to {most}"))?,
    };
    let network = IpNet::new(address, length).map_err(|why| why.to_string())?.network();
    if network != address {
        return Err(format!("{address} has bits beyond the prefix: write {network}/{length}"));
    }
    Ok(Prefix { address, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, why: &str) {
        let error = parse(text).expect_err(text);
        assert!(error.contains(why), "{text}: {error}");
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        refused("port-held=80,user=othr", "did you mean other");
        refused("port-held=80,state=time-wait,user=other", "nobody's");
        refused("ports-exhasuted", "did you mean ports-exhausted");
        refused("", "unknown condition ``");
        refused("ports-exhausted=4", "takes no value");
        refused("ports-exhausted,fre=4", "did you mean free");
        refused("ports-exhausted,free", "has no value");
        refused("ports-exhausted,free=1,free=2", "given twice");
        refused("ports-exhausted,range=40000-40002", "odd size");
        refused("ports-exhausted,range=40001-40000", "is empty");
        refused("ports-exhausted,range=40000-40001,free=3", "has 2 ports");
        refused("ports-exhausted,to=127.0.0.1", "no address with a port");
        refused("ports-exhausted,to=127.0.0.1:80,address=127.0.0.1", "leave out address");
        refused("port-held", "needs a port: port-held=");
        refused("port-held=0", "no port from 1");
        refused("port-held=80,state=listning", "did you mean listening");
        refused("port-held=80,protocol=udp,state=listening", "expected one of bound, connected");
        refused("port-held=80,peer=127.0.0.1:1", "has no peer");
        refused("port-held=80,state=established,address=::1,peer=127.0.0.1:1", "two families");
        refused("tuple-held=127.0.0.1:1", "has one end");
        refused("tuple-held=127.0.0.1:1-[::1]:2", "two families");
        refused("tuple-held=127.0.0.1:1-127.0.0.1:2,state=bound", "use port-held");
        refused("unreachable", "needs a prefix");
        refused("unreachable=10.0.0.1/8", "write 10.0.0.0/8");
        refused("prohibit=10.0.0.0/33", "from 0 to 32");
        refused("icmp=3,for=10.0.0.0/8", "expected TYPE/CODE");
        refused("icmp=3/1", "add for=PREFIX");
        refused("timestamps=maybe", "neither on nor off");
        refused("timestamps=on,x=1", "timestamps has no `x`");
        refused("tw-reuse=3", "none of 0, 1, 2");
        refused("output-dropped,verdict=reset", "add protocol=tcp");
        refused("output-dropped,verdict=drip", "did you mean drop");
    }

    #[test]
    fn an_arrow_is_as_good_as_a_dash() {
        assert_eq!(parse("tuple-held=127.0.0.1:1->127.0.0.1:2"), parse("tuple-held=127.0.0.1:1-127.0.0.1:2"));
        let Ok(HostCondition::Held(Holder { local, peer: Some(peer), .. })) =
            parse("tuple-held=[::1]:1-[2001:db8::1]:2")
        else {
            panic!("two ends");
        };
        assert_eq!((local.to_string(), peer.to_string()), ("[::1]:1".to_owned(), "[2001:db8::1]:2".to_owned()));
    }
}
