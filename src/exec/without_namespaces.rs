//! Conditions on a host without namespaces: which of them can be made beside the command, and what is then left out.
//!
//! Sockets that hold ports are in the command's way there as well. Everything else would change the host for everybody,
//! or cannot be checked, and is refused. Nothing here creates anything.

use super::Request;
use super::condition::{DEFAULT_RANGE, HostCondition, Named, Situation, Surroundings};
use super::failure::{NeedsNamespaces, Unmakeable};
use crate::plan::{FillHow, Op};
use crate::words::ports::PortRange;

/// The host that everybody has.
pub struct SharedHost<'a> {
    /// Why the command has no network of its own.
    pub why: &'a str,
    /// Its range of ephemeral ports.
    pub range: PortRange,
    /// Whether it shows which limits a process has.
    pub shows_limits: bool,
    /// Whether it shows the calls of a process.
    pub shows_calls: bool,
}

/// The conditions as they can be made there; or why not.
pub fn conditions(request: &Request, host: &SharedHost<'_>) -> Result<Vec<HostCondition>, NeedsNamespaces> {
    if !request.environment.is_bare() {
        return Err(NeedsNamespaces::Network { why: host.why.to_owned() });
    }
    if request.watch && !host.shows_calls {
        return Err(NeedsNamespaces::Watch);
    }
    request.conditions.iter().map(|named| condition(named, host)).collect()
}

fn condition(named: &Named, host: &SharedHost<'_>) -> Result<HostCondition, NeedsNamespaces> {
    let (text, own) = (|| named.text.clone(), host.range);
    match &named.condition {
        HostCondition::Held(_) | HostCondition::PortsHeld { .. } => Ok(named.condition.clone()),
        HostCondition::PortsExhausted { range, .. } if *range != DEFAULT_RANGE && *range != own => {
            Err(NeedsNamespaces::Range { text: text(), own })
        }
        HostCondition::PortsExhausted { protocol, address, reuse, to, free, .. } => Ok(HostCondition::PortsExhausted {
            protocol: *protocol,
            address: *address,
            range: own,
            reuse: *reuse,
            to: *to,
            free: *free,
        }),
        HostCondition::DescriptorsExhausted { .. } if host.shows_limits => Ok(named.condition.clone()),
        HostCondition::DescriptorsExhausted { .. } => Err(NeedsNamespaces::Descriptors { text: text() }),
        HostCondition::SourceNotLocal { .. }
        | HostCondition::NoRoute { .. }
        | HostCondition::Route { .. }
        | HostCondition::OutputDropped { .. }
        | HostCondition::Icmp { .. }
        | HostCondition::Sysctl { .. } => Err(NeedsNamespaces::OwnNetwork { text: text(), why: host.why.to_owned() }),
    }
}

/// What can be made without a network of the command's own.
///
/// Settings stay as they are. A port that a bound socket holds is gone for connections to every destination as well, so
/// that no connection has to be made, which a listener's queue would have no room for: XNU chooses a port whatever the
/// tuple (`tcp_connect()`, `bsd/netinet/tcp_usrreq.c`, with `in_pcbbind()`, `bsd/netinet/in_pcb.c`), and Linux passes
/// over a port that somebody has bound (`__inet_hash_connect()`, `net/ipv4/inet_hashtables.c`).
pub fn situation(conditions: &[HostCondition], around: &Surroundings) -> Result<Situation, (usize, Unmakeable)> {
    let mut situation = Situation::of(conditions, around)?;
    situation.steps.retain_mut(|(_, step)| match &mut step.op {
        Op::SetSysctl { .. } => false,
        Op::Fill(fill) => {
            (fill.how, fill.to) = (FillHow::Bind, None);
            true
        }
        _ => true,
    });
    Ok(situation)
}

/// What the user ought to know beforehand.
pub fn warning(conditions: &[HostCondition]) -> Option<&'static str> {
    let exhausts = conditions.iter().any(|condition| matches!(condition, HostCondition::PortsExhausted { .. }));
    exhausts.then_some("other programs of this network have no ephemeral port either, as long as the command runs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Environment;
    use crate::exec::condition::Holder;
    use crate::scenario::witness::{Full, Precondition};
    use crate::words::names::{HolderState, Protocol, Reuse};

    const OWN: PortRange = PortRange::of::<49152, 65535>();

    fn exhausted(range: PortRange, to: Option<&str>, free: u16) -> HostCondition {
        let (protocol, reuse) = (Protocol::Tcp, Reuse::None);
        let to = to.map(|to| to.parse().unwrap());
        HostCondition::PortsExhausted { protocol, address: [0, 0, 0, 0].into(), range, reuse, to, free }
    }

    fn held() -> HostCondition {
        let (local, reuse) = ("127.0.0.1:8080".parse().unwrap(), Reuse::None);
        let (protocol, state) = (Protocol::Tcp, HolderState::TimeWait);
        HostCondition::Held(Holder { protocol, state, local, reuse, peer: None, user: None })
    }

    fn request(condition: HostCondition) -> Request {
        let conditions = vec![Named { text: "it".to_owned(), condition }];
        Request {
            conditions,
            environment: Environment { timestamps: true, ..Environment::default() },
            ..Request::default()
        }
    }

    #[test]
    fn which_conditions_need_a_network_of_their_own() {
        let host =
            |is_linux| SharedHost { why: "it says no", range: OWN, shows_limits: is_linux, shows_calls: is_linux };
        let conditions = |request: &Request| conditions(request, &host(false));
        let address = [127, 0, 0, 1].into();
        let (protocol, range, reuse) = (Protocol::Udp, PortRange::of::<1, 2>(), Reuse::None);
        let ports = HostCondition::PortsHeld { protocol, address, range, reuse };
        for condition in [held(), ports] {
            assert_eq!(conditions(&request(condition.clone())).unwrap(), [condition]);
        }
        let to = Some("192.0.2.1:443");
        for range in [DEFAULT_RANGE, OWN] {
            assert_eq!(conditions(&request(exhausted(range, to, 3))).unwrap(), [exhausted(OWN, to, 3)]);
        }
        for (condition, why) in [
            (exhausted(PortRange::of::<40000, 40001>(), None, 0), "everybody's, 49152-65535"),
            (HostCondition::SourceNotLocal { address }, "it says no"),
            (HostCondition::NoRoute { prefix: None }, "it says no"),
            (HostCondition::Sysctl { name: "net.ipv4.tcp_tw_reuse", value: "1".to_owned() }, "it says no"),
            (HostCondition::OutputDropped { prefix: None, port: None, protocol: None, verdict: 0 }, "it says no"),
            (HostCondition::DescriptorsExhausted { free: 0 }, "nobody can ask"),
        ] {
            let said = conditions(&request(condition)).unwrap_err().to_string();
            assert!(said.starts_with("condition `it` cannot be made here: ") && said.contains(why), "{said}");
        }
        let environment = Environment { path: Some(1), ..Environment::default() };
        conditions(&Request { environment, ..request(held()) }).unwrap_err();
        conditions(&Request { watch: true, ..request(held()) }).unwrap_err();
        let limited = HostCondition::DescriptorsExhausted { free: 0 };
        let watched = Request { watch: true, ..request(limited.clone()) };
        assert_eq!(super::conditions(&watched, &host(true)).unwrap(), [limited]);
    }

    /// Nothing of the machine is set, and what shows the condition is what shows it on Linux.
    #[test]
    fn what_is_made_beside_a_command_holds_ports_and_sets_nothing() {
        for to in [None, Some("127.0.0.1:8080"), Some("192.0.2.1:443")] {
            let conditions = [exhausted(OWN, to, 2), held()];
            let around = Surroundings { taken: [(Protocol::Tcp, 50000)].into(), ..Surroundings::default() };
            let situation = situation(&conditions, &around).unwrap();
            let ops: Vec<&Op> = situation.steps.iter().map(|(_, step)| &step.op).collect();
            assert!(!ops.iter().any(|op| matches!(op, Op::SetSysctl { .. })), "{ops:?}");
            let mut bound = Vec::new();
            for op in ops {
                if let Op::Fill(fill) = op {
                    assert_eq!((fill.how, fill.to), (FillHow::Bind, None));
                    bound.extend(fill.range.ports());
                }
            }
            assert_eq!(bound, (49152..=65533).filter(|port| *port != 50000).collect::<Vec<u16>>());
            let checks: Vec<&Precondition> = situation.checks.iter().map(|check| &check.precondition).collect();
            let full = |check: &&&Precondition| matches!(check, Precondition::Full(Full { range: OWN, free: 2, .. }));
            assert_eq!(checks.iter().filter(full).count(), 1, "{checks:?}");
            assert!(checks.iter().any(|check| matches!(check, Precondition::Socket { .. })), "{checks:?}");
        }
        assert!(warning(&[held()]).is_none() && warning(&[held(), exhausted(OWN, None, 0)]).is_some());
    }
}
