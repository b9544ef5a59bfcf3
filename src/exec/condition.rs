//! Conditions for a command: which setup ops create each of them, and which kernel state shows that it holds.
//!
//! They are situations of the catalogue's scenarios, made of the same ops. `cli` reads them from the command line, and
//! the interpreter performs the ops.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::failure::Unmakeable;
use crate::plan::{Fill, FillHow, Op, Role, RouteKind, Step, WaitFor};
use crate::scenario::witness::{Full, Precondition};
use crate::scenario::{Compound, Hold};
use crate::words::names::{Family, HolderState, Protocol, Reuse, User};
use crate::words::ports::{PORT_RANGE, PortRange};

/// The range of a fresh network namespace (`inet_init_net`, net/ipv4/af_inet.c).
pub const DEFAULT_RANGE: PortRange = PortRange::of::<32768, 60999>();
/// How many ports are filled by connect() at a time: it looks at half of them to find a free one.
const PIECE: usize = 512;

/// TCP_TIMEWAIT_LEN: nothing else ends TIME_WAIT but a packet, or an administrator.
pub const TIME_WAIT: Duration = Duration::from_secs(60);

/// Where the other ends of holders listen, from this port on.
const FIRST_PEER_PORT: u16 = 20_100;
/// From which port on autobind takes while holders are made, so that none of a range is lost to a helper; if that will
/// not do, from any.
const FIRST_APART: [u16; 2] = [20_600, 10_600];
/// From how many.
const APART: u16 = 100;

/// What [`HostCondition::OutputDropped`] does with a packet, in nft's words.
pub const VERDICTS: &[(&str, &str)] = &[
    ("drop", "drop"),
    ("net-unreachable", "reject with icmpx type no-route"),
    ("host-unreachable", "reject with icmpx type host-unreachable"),
    ("port-unreachable", "reject with icmpx type port-unreachable"),
    ("admin-prohibited", "reject with icmpx type admin-prohibited"),
    ("reset", "reject with tcp reset"),
];

/// A condition, and how somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub text: String,
    pub condition: HostCondition,
}

impl Named {
    /// The condition's name, without what is given to it.
    pub fn name(&self) -> &str {
        self.text.split(['=', ',']).next().unwrap_or_default()
    }

    /// Whether somebody who says this means the condition.
    pub fn is_called(&self, name: &str) -> bool {
        name == self.name() || name == self.text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

/// A situation that a command runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCondition {
    /// All but `free` ports of the ephemeral range are bound, or, with `to`, connected to one destination.
    PortsExhausted {
        protocol: Protocol,
        address: IpAddr,
        range: PortRange,
        reuse: Reuse,
        to: Option<SocketAddr>,
        free: u16,
    },
    /// Sockets are bound to all ports of a range.
    PortsHeld { protocol: Protocol, address: IpAddr, range: PortRange, reuse: Reuse },
    /// A socket has a local address and port, in a state; with `peer`, a 4-tuple.
    Held(Holder),
    /// No interface has the address.
    SourceNotLocal { address: IpAddr },
    /// No route leads to the prefix; without one, to the server or, in a network without a path, to anything.
    NoRoute { prefix: Option<Prefix> },
    /// A route that forbids the prefix.
    Route { kind: RouteKind, prefix: Prefix },
    /// A packet filter keeps what is sent from leaving. `verdict` is an index into [`VERDICTS`].
    OutputDropped { prefix: Option<Prefix>, port: Option<u16>, protocol: Option<Protocol>, verdict: usize },
    /// The command can open `free` more descriptors than it is given.
    DescriptorsExhausted { free: u64 },
    /// A router answers each TCP SYN to the prefix with an ICMP error.
    Icmp { kind: u8, code: u8, prefix: Prefix, router: Option<IpAddr> },
    /// A sysctl of the network namespace has a value.
    Sysctl { name: &'static str, value: String },
}

/// The socket of [`HostCondition::Held`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub protocol: Protocol,
    pub state: HolderState,
    pub local: SocketAddr,
    pub reuse: Reuse,
    pub peer: Option<SocketAddr>,
    /// Whose it is, if not the command's user's. In TIME_WAIT it is nobody's: `inet_twsk_diag_fill`,
    /// net/ipv4/inet_diag.c.
    pub user: Option<User>,
}

/// What there is in the command's network namespace before any condition.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Addresses of the client's end of a path, and how long their prefixes are.
    pub client: Vec<(IpAddr, u8)>,
    /// Addresses of the server of a path.
    pub server: Vec<IpAddr>,
    /// The device of a path.
    pub device: &'static str,
    /// Local ports that sockets have.
    pub taken: BTreeSet<(Protocol, u16)>,
}

/// What makes some conditions, in the order in which it has to be performed, and what shows them. The numbers say which
/// condition each is for.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    pub steps: Vec<(usize, Step)>,
    /// Ops to be performed over and over as long as the command runs.
    pub repeated: Vec<(usize, Op)>,
    pub checks: Vec<ConditionCheck>,
    /// How many descriptors the command can open beyond those that it is given.
    pub descriptors: Option<(usize, u64)>,
    /// Where a server is that nobody asked for: it accepts nothing.
    pub served: Vec<SocketAddr>,
}

/// Kernel state that must be there while the command runs.
#[derive(Clone, Debug)]
pub struct ConditionCheck {
    pub condition: usize,
    pub precondition: Precondition,
    /// How long it lasts by itself, where it does not for ever. Until then the command may use it up.
    pub lasts: Option<Duration>,
}

impl Surroundings {
    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || address.is_unspecified() || self.client.iter().any(|(own, _)| *own == address)
    }

    fn has_path(&self) -> bool {
        !self.server.is_empty()
    }
}

/// In this order: what helps to make others comes first, and what would hinder them last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Sysctls,
    Holders,
    Ranges,
    Exhaustion,
    Routes,
    Filters,
}

/// The first condition with connections to a place of this network at which nobody listens, and no other condition
/// does.
pub fn unserved(conditions: &[HostCondition], around: &Surroundings) -> Option<(usize, SocketAddr)> {
    let is_held = |port| {
        conditions.iter().any(|other| matches!(other, HostCondition::Held(holder) if holder.local.port() == port))
            || around.taken.contains(&(Protocol::Tcp, port))
    };
    destinations(conditions).find(|(_, to)| around.is_local(to.ip()) && !is_held(to.port()))
}

/// The first condition with connections to a place to which no way leads.
pub fn unreachable(conditions: &[HostCondition], around: &Surroundings) -> Option<(usize, SocketAddr)> {
    destinations(conditions).find(|(_, to)| !around.is_local(to.ip()) && !around.has_path())
}

fn destinations(conditions: &[HostCondition]) -> impl Iterator<Item = (usize, SocketAddr)> {
    conditions.iter().enumerate().filter_map(|(index, condition)| match condition {
        HostCondition::PortsExhausted { protocol: Protocol::Tcp, to: Some(to), .. } => Some((index, *to)),
        _ => None,
    })
}

impl ConditionCheck {
    /// The sysctl that it is about.
    pub fn sysctl(&self) -> Option<&str> {
        match &self.precondition {
            Precondition::Sysctl { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether somebody who says this means the sysctl: `net.ipv4.tcp_tw_reuse`, or `tcp_tw_reuse`.
    pub fn is_of_sysctl(&self, said: &str) -> bool {
        self.sysctl().is_some_and(|name| name == said || name.rsplit('.').next() == Some(said))
    }
}

impl Situation {
    /// Whether a process has to hold it.
    pub fn is_held(&self) -> bool {
        !(self.steps.is_empty() && self.repeated.is_empty() && self.checks.is_empty())
    }

    /// `Err` has the number of a condition that cannot be, and why.
    pub fn of(conditions: &[HostCondition], around: &Surroundings) -> Result<Situation, (usize, Unmakeable)> {
        let mut making = Making {
            around,
            taken: around.taken.clone(),
            served: BTreeSet::new(),
            peers: BTreeMap::new(),
            names: BTreeMap::new(),
            parts: Vec::new(),
            situation: Situation::default(),
        };
        making.note_ports(conditions)?;
        making.choose_peers(conditions)?;
        for (index, condition) in conditions.iter().enumerate() {
            making.add(index, condition).map_err(|why| (index, why))?;
        }
        making.keep_range_free(conditions);
        making.parts.sort_by_key(|(phase, _, _)| *phase);
        let steps = making.parts.into_iter().map(|(_, index, step)| (index, step)).collect();
        Ok(Situation { steps, ..making.situation })
    }
}

struct Making<'a> {
    around: &'a Surroundings,
    /// Ports that sockets have, or will have.
    taken: BTreeSet<(Protocol, u16)>,
    /// Ports of destinations that nobody else serves.
    served: BTreeSet<u16>,
    /// The other ends of holders, by the number of the condition, where nobody else has them.
    peers: BTreeMap<usize, SocketAddr>,
    /// How many holders have this name.
    names: BTreeMap<String, usize>,
    parts: Vec<(Phase, usize, Step)>,
    situation: Situation,
}

impl Making<'_> {
    /// Ports that conditions name belong to them alone.
    fn note_ports(&mut self, conditions: &[HostCondition]) -> Result<(), (usize, Unmakeable)> {
        for (index, condition) in conditions.iter().enumerate() {
            let (protocol, ports, shared) = match *condition {
                HostCondition::Held(Holder { protocol, local, reuse, .. }) => {
                    (protocol, local.port()..=local.port(), reuse != Reuse::None)
                }
                HostCondition::PortsHeld { protocol, range, reuse, .. } => {
                    (protocol, range.ports(), reuse != Reuse::None)
                }
                _ => continue,
            };
            for port in ports {
                if !self.taken.insert((protocol, port)) && !shared {
                    return Err((index, Unmakeable::Held { protocol, port }));
                }
            }
        }
        Ok(())
    }

    /// Then helpers get theirs, before anybody counts what is left of a range.
    fn choose_peers(&mut self, conditions: &[HostCondition]) -> Result<(), (usize, Unmakeable)> {
        for condition in conditions {
            if let HostCondition::PortsExhausted { protocol: Protocol::Tcp, to: Some(to), .. } = condition
                && self.around.is_local(to.ip())
                && self.taken.insert((Protocol::Tcp, to.port()))
            {
                self.served.insert(to.port());
            }
        }
        let wanted = |port: &u16| {
            conditions.iter().any(|condition| match *condition {
                HostCondition::PortsExhausted { range, .. } => range.contains(*port),
                _ => false,
            })
        };
        for (index, condition) in conditions.iter().enumerate() {
            let HostCondition::Held(Holder { protocol, state, local, peer, .. }) = *condition else { continue };
            if matches!(state, HolderState::Bound | HolderState::Listening) {
                continue;
            }
            let peer = match peer {
                Some(peer) => peer,
                None => {
                    // Outside of a range that is to be exhausted, if that is possible.
                    let ports = || (FIRST_PEER_PORT..=u16::MAX).chain(1024..FIRST_PEER_PORT);
                    let mut free = ports().filter(|port| !self.taken.contains(&(protocol, *port)));
                    let port = free.clone().find(|port| !wanted(port)).or_else(|| free.next());
                    SocketAddr::new(local.ip(), port.ok_or((index, Unmakeable::NoPort { protocol }))?)
                }
            };
            if self.around.is_local(peer.ip()) && !self.around.taken.contains(&(protocol, peer.port())) {
                self.taken.insert((protocol, peer.port()));
            }
            self.peers.insert(index, peer);
        }
        Ok(())
    }

    fn add(&mut self, index: usize, condition: &HostCondition) -> Result<(), Unmakeable> {
        match condition {
            HostCondition::PortsExhausted { protocol, address, range, reuse, to, free } => {
                let (protocol, address, reuse, to, range) = (*protocol, *address, *reuse, *to, *range);
                let own: Vec<u16> = range.ports().filter(|port| !self.taken.contains(&(protocol, *port))).collect();
                let count = own.len().checked_sub(usize::from(*free)).ok_or(Unmakeable::TooManyFree {
                    free: *free,
                    range,
                    left: own.len(),
                })?;
                if let Some(to) = to.filter(|to| protocol == Protocol::Tcp && self.served.remove(&to.port())) {
                    self.serve(index, to)?;
                }
                let how = if to.is_some() { FillHow::Connect } else { FillHow::Bind };
                for run in runs(&own[..count]) {
                    let fill =
                        |range| Op::Fill(Fill { how, protocol, address, range, reuse, to, leave: 0, by_option: false });
                    match how {
                        FillHow::Connect => {
                            for piece in pieces(run) {
                                self.set_silently(Phase::Exhaustion, index, PORT_RANGE, &piece.to_sysctl());
                                self.step(Phase::Exhaustion, index, fill(piece));
                            }
                        }
                        _ => self.step(Phase::Exhaustion, index, fill(run)),
                    }
                }
                self.set(Phase::Exhaustion, index, PORT_RANGE, &range.to_sysctl());
                let family = Family::of(address);
                self.check(index, Precondition::Full(Full { protocol, family, range, free: *free }));
            }
            HostCondition::PortsHeld { protocol, address, range, reuse } => {
                let (protocol, address, range) = (*protocol, *address, *range);
                let fill = Fill {
                    how: FillHow::Bind,
                    protocol,
                    address,
                    range,
                    reuse: *reuse,
                    to: None,
                    leave: 0,
                    by_option: false,
                };
                self.step(Phase::Ranges, index, Op::Fill(fill));
                let family = Family::of(address);
                self.check(index, Precondition::Full(Full { protocol, family, range, free: 0 }));
            }
            HostCondition::Held(holder) => self.hold(index, *holder)?,
            HostCondition::SourceNotLocal { address } => {
                let loopback: [(IpAddr, u8); 2] = [(Ipv4Addr::LOCALHOST.into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
                let own = self.around.client.iter().map(|own| (own, self.around.device));
                let found = own.chain(loopback.iter().map(|own| (own, "lo"))).find(|((own, _), _)| own == address);
                if let Some((&(address, prefix), device)) = found {
                    self.step(Phase::Routes, index, Op::DeleteAddress { device: device.to_owned(), address, prefix });
                }
                let name = if address.is_ipv4() { "net.ipv4.ip_nonlocal_bind" } else { "net.ipv6.ip_nonlocal_bind" };
                self.set(Phase::Sysctls, index, name, "0");
                self.check(index, Precondition::Address { address: *address, local: false });
            }
            HostCondition::NoRoute { prefix } => {
                let host = |&address: &IpAddr| Prefix { address, length: if address.is_ipv4() { 32 } else { 128 } };
                // RFC 5737 and RFC 3849: addresses that nobody has.
                let anywhere: [IpAddr; 2] =
                    [Ipv4Addr::new(198, 51, 100, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
                let prefixes: Vec<Prefix> = match prefix {
                    Some(prefix) => vec![*prefix],
                    None if self.around.has_path() => self.around.server.iter().map(host).collect(),
                    None => anywhere.iter().map(host).collect(),
                };
                for prefix in prefixes {
                    let mut kind = "none";
                    if self.around.has_path() {
                        self.route(index, prefix, RouteKind::Throw, None);
                        kind = "throw";
                    }
                    self.check_route(index, prefix, kind);
                }
            }
            HostCondition::Route { kind, prefix } => {
                self.route(index, *prefix, *kind, None);
                self.check_route(index, *prefix, route_word(*kind));
            }
            HostCondition::OutputDropped { prefix, port, protocol, verdict } => {
                let counter = format!("hits{index}");
                let (_, verdict) = VERDICTS[*verdict];
                let to = prefix.map_or(String::new(), |Prefix { address, length }| {
                    format!("{} daddr {address}/{length} ", if address.is_ipv4() { "ip" } else { "ip6" })
                });
                let protocol = protocol.map_or("{ tcp, udp }", Protocol::as_str);
                let port = port.map_or(String::new(), |port| format!("th dport {port} "));
                let rule = format!("{to}meta l4proto {protocol} {port}counter name {counter} {verdict}");
                let ruleset = format!(
                    "table inet errnoscope {{ counter {counter} {{ }}; \
                     chain output {{ type filter hook output priority 0; {rule}; }}; }}"
                );
                self.step(Phase::Filters, index, Op::Nft { ruleset });
                self.check(index, Precondition::Counted { counter, packets: 0 });
            }
            HostCondition::DescriptorsExhausted { free } => self.situation.descriptors = Some((index, *free)),
            HostCondition::Icmp { kind, code, prefix, router } => {
                self.answer(index, (*kind, *code), *prefix, *router)?
            }
            HostCondition::Sysctl { name, value } => self.set(Phase::Sysctls, index, name, value),
        }
        Ok(())
    }

    fn hold(&mut self, index: usize, holder: Holder) -> Result<(), Unmakeable> {
        let Holder { protocol, state, local, reuse, peer: _, user } = holder;
        // A port may be held twice: by both protocols, and by sockets that share it.
        let name = format!("the holder of {protocol} {local}");
        let number = self.names.entry(name.clone()).and_modify(|number| *number += 1).or_insert(1);
        let socket = if *number == 1 { name } else { format!("{name} ({number})") };
        let peer = self.peers.get(&index).copied();
        let hold = Hold {
            socket: socket.clone(),
            state,
            protocol,
            address: local.ip(),
            port: local.port(),
            reuse,
            v6only: None,
            peer: peer.map(|peer| peer.ip()),
            peer_port: peer.map_or(0, |peer| peer.port()),
        };
        let served = peer.is_some_and(|peer| {
            !self.around.is_local(peer.ip()) || self.around.taken.contains(&(protocol, peer.port()))
        });
        let ops = if served { hold.towards_server() } else { Compound::Hold(hold).expand(crate::sys::OS) };
        for op in ops? {
            // A socket is whose socket() or accept() made it; binding a low port takes a privilege.
            let user = user.filter(|_| !matches!(op, Op::Bind { .. }));
            self.step_as(user, Phase::Holders, index, op);
        }
        let precondition = Precondition::Socket { socket, protocol, state: WaitFor::State(state), user };
        // A connection may take its place (`tcp_twsk_unique`).
        let lasts = (state == HolderState::TimeWait).then_some(TIME_WAIT);
        self.situation.checks.push(ConditionCheck { condition: index, precondition, lasts });
        Ok(())
    }

    /// A listener with room for more connections than there are ports.
    fn serve(&mut self, index: usize, at: SocketAddr) -> Result<(), Unmakeable> {
        let (socket, address, port) = (format!("the server on {at}"), at.ip(), at.port());
        self.situation.served.push(at);
        self.set_silently(Phase::Ranges, index, "net.core.somaxconn", "65535");
        let (protocol, backlog) = (Protocol::Tcp, 65_535);
        let server = Compound::Serve { socket, protocol, address, port, backlog };
        for op in server.expand(crate::sys::OS)? {
            self.step(Phase::Ranges, index, op);
        }
        Ok(())
    }

    fn answer(
        &mut self,
        index: usize,
        (icmp_type, icmp_code): (u8, u8),
        prefix: Prefix,
        router: Option<IpAddr>,
    ) -> Result<(), Unmakeable> {
        let device = format!("errnoscope{index}");
        // RFC 5737 and RFC 3849: addresses that nobody has.
        let (own, length, other): (IpAddr, u8, IpAddr) = match prefix.address {
            IpAddr::V4(_) => {
                (Ipv4Addr::new(203, 0, 113, index as u8 + 1).into(), 32, Ipv4Addr::new(203, 0, 113, 254).into())
            }
            IpAddr::V6(_) => {
                let address = |host| Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, host).into();
                (address(index as u16 + 1), 128, address(0xfe))
            }
        };
        let router = router.unwrap_or(other);
        if router.is_ipv4() != prefix.address.is_ipv4() {
            return Err(Unmakeable::Families { router, prefix: prefix.address });
        }
        self.step(Phase::Routes, index, Op::AddTun { device: device.clone() });
        let own = Op::AddAddress { device: device.clone(), address: own, prefix: length, dad: false };
        self.step(Phase::Routes, index, own);
        self.route(index, prefix, RouteKind::Unicast, Some(device.clone()));
        self.check_route(index, prefix, "unicast");
        let protocol = Protocol::Tcp;
        let answer = Op::Answer { device, protocol, router, icmp_type, icmp_code, beside: false };
        self.situation.repeated.push((index, answer));
        Ok(())
    }

    /// Helpers of holders take their ports elsewhere while a range is to be exhausted or held.
    fn keep_range_free(&mut self, conditions: &[HostCondition]) {
        let ranges = conditions.iter().filter_map(|condition| match condition {
            HostCondition::PortsExhausted { range, .. } => Some(*range),
            HostCondition::PortsHeld { range, .. } => Some(*range),
            _ => None,
        });
        let ranges: Vec<PortRange> = ranges.collect();
        let Some(first) = self.parts.iter().find(|(phase, _, _)| *phase == Phase::Holders).map(|part| part.1) else {
            return;
        };
        let is_taken = |port| Protocol::ALL.iter().any(|&protocol| self.taken.contains(&(protocol, port)));
        let is_apart =
            |apart: &PortRange| !ranges.iter().any(|range| apart.overlaps(*range)) && !apart.ports().any(is_taken);
        let all = (1024..=u16::MAX).step_by(APART.into());
        let candidates = FIRST_APART.into_iter().chain(all);
        let candidates = candidates.filter_map(|low| PortRange::new(low, low.checked_add(APART - 1)?).ok());
        if let (false, Some(apart)) = (ranges.is_empty(), { candidates }.find(is_apart)) {
            self.set_silently(Phase::Sysctls, first, PORT_RANGE, &apart.to_sysctl());
            self.set_silently(Phase::Ranges, first, PORT_RANGE, &DEFAULT_RANGE.to_sysctl());
        }
    }

    fn step(&mut self, phase: Phase, index: usize, op: Op) {
        self.step_as(None, phase, index, op);
    }

    fn step_as(&mut self, user: Option<User>, phase: Phase, index: usize, op: Op) {
        let role = Role::Setup { permit: Vec::new(), unsupported: Vec::new(), requires: None };
        self.parts.push((phase, index, Step { op, user, role }));
    }

    fn set_silently(&mut self, phase: Phase, index: usize, name: &str, value: &str) {
        self.step(phase, index, Op::SetSysctl { name: name.to_owned(), value: value.to_owned() });
    }

    fn set(&mut self, phase: Phase, index: usize, name: &str, value: &str) {
        self.set_silently(phase, index, name, value);
        self.check(index, Precondition::Sysctl { name: name.to_owned(), value: value.to_owned() });
    }

    fn route(&mut self, index: usize, prefix: Prefix, kind: RouteKind, device: Option<String>) {
        let op = Op::AddRoute { destination: prefix.address, prefix: prefix.length, kind, device };
        self.step(Phase::Routes, index, op);
    }

    fn check_route(&mut self, index: usize, prefix: Prefix, kind: &str) {
        self.check(index, Precondition::Route { destination: prefix.address, kind: kind.to_owned() });
    }

    fn check(&mut self, condition: usize, precondition: Precondition) {
        self.situation.checks.push(ConditionCheck { condition, precondition, lasts: None });
    }
}

/// As the FIB is read ([`Precondition::Route`]).
fn route_word(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Unicast => "unicast",
        RouteKind::Unreachable => "unreachable",
        RouteKind::Blackhole => "blackhole",
        RouteKind::Prohibit => "prohibit",
        RouteKind::Throw => "throw",
    }
}

/// Ports in order, as ranges without gaps.
fn runs(ports: &[u16]) -> Vec<PortRange> {
    let follows = |before: &u16, port: &u16| before.checked_add(1) == Some(*port);
    let ends = |run: &[u16]| PortRange::new(*run.first()?, *run.last()?).ok();
    ports.chunk_by(follows).filter_map(ends).collect()
}

/// A range in pieces of even size, and at most one that is a single port: in others the search can miss a free port.
fn pieces(range: PortRange) -> Vec<PortRange> {
    let ports: Vec<u16> = range.ports().collect();
    let (even, single) = ports.split_at(ports.len() & !1);
    even.chunks(PIECE).chain([single]).flat_map(runs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(ends: &[(u16, u16)]) -> Vec<PortRange> {
        ends.iter().map(|&(low, high)| PortRange::new(low, high).unwrap()).collect()
    }

    #[test]
    fn ports_without_gaps_are_one_range() {
        assert_eq!(runs(&[1, 2, 3, 5, 7, 8]), ranges(&[(1, 3), (5, 5), (7, 8)]));
        assert_eq!(runs(&[65_534, 65_535]), ranges(&[(65_534, 65_535)]));
        assert_eq!(runs(&[]), []);
    }

    #[test]
    fn no_piece_is_of_odd_size_but_one_port() {
        let pieces = |low, high| pieces(PortRange::new(low, high).unwrap());
        assert_eq!(pieces(10, 10), ranges(&[(10, 10)]));
        assert_eq!(pieces(10, 12), ranges(&[(10, 11), (12, 12)]));
        assert_eq!(pieces(1, 1025), ranges(&[(1, 512), (513, 1024), (1025, 1025)]));
        assert_eq!(pieces(65_534, 65_535), ranges(&[(65_534, 65_535)]));
    }
}
