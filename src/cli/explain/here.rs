//! What this host says of the causes of a failure, now: `explain --here`.
//!
//! It reads the socket table, addresses, settings, and what a route says of a destination. It changes nothing, sends
//! nothing, and leaves no socket open. The failure may be older: what held then may be gone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cli::Failure;
use crate::knowledge::explain::system::System;
use crate::knowledge::explain::{Explanation, Here, Understood};
use crate::knowledge::policy::separate::End;
use crate::plan::socket_table::{SocketRow, same};
use crate::render::text::count;
use crate::sys::{self, Broadcast, Fault, SocketTable};
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Os, Protocol, SocketState};
use crate::words::ports::{PORT_RANGE, PortRange, PortSet};

/// The explanation, with what the host says of each of its causes.
pub fn looked_at(explanation: Explanation) -> Result<Explanation, Failure> {
    let Understood { os, .. } = explanation.understood;
    if sys::HOST.map(System::from) != Some(os) {
        return Err(Failure::bad(format!(
            "--here looks at this host, which is {}, and the failure is one of {os}: run it there",
            sys::HOST.map_or("neither Linux nor macOS", Os::as_str)
        )));
    }
    let candidates = explanation.failures.iter().flat_map(|failure| &failure.causes);
    // In the order of their ranks, each once.
    let mut seen = BTreeSet::new();
    let causes: Vec<Cause> = candidates.map(|candidate| candidate.cause).filter(|cause| seen.insert(*cause)).collect();
    let here = causes.into_iter().filter_map(|cause| look(cause, &explanation.understood)).collect();
    Ok(explanation.with_host(here))
}

/// Whether it holds, and what says so.
type Said = (Option<bool>, String);

/// Nothing where a cause is the program's own doing, which no host shows, or where nothing of it is left to see.
fn look(cause: Cause, understood: &Understood) -> Option<Here> {
    let said = match cause {
        Cause::PortInUse => port_in_use(understood),
        Cause::TupleInUse => tuple_in_use(understood),
        Cause::PortsExhausted => ports_exhausted(understood),
        Cause::AddressNotLocal => address_not_local(understood),
        Cause::NoSourceAddress => no_source_address(understood),
        Cause::Permission => permission(understood),
        Cause::NoRoute | Cause::Unreachable => no_way(understood, cause),
        Cause::Refused => refused(understood),
        Cause::NoAnswer | Cause::TtlExceeded | Cause::Filtered => {
            Ok((None, "only a packet would show it, and this sends none; `errnoscope trace` does".to_owned()))
        }
        Cause::DescriptorsExhausted => descriptors(understood),
        Cause::Reset | Cause::QueueFull => return None,
        Cause::SocketState | Cause::AddressInvalid | Cause::InProgress | Cause::None => return None,
    };
    let (holds, said) = said.unwrap_or_else(|fault| (None, fault.to_string()));
    Some(Here { cause, holds, said })
}

/// The sockets on a local port, of the protocols that the text leaves open. The kernel lists the subflows of MPTCP as
/// TCP's.
fn rows_on(port: u16, named: &[SocketState], understood: &Understood) -> Result<Vec<SocketRow>, Fault> {
    let protocols = understood.protocol.as_ref().map_or(&[Protocol::Tcp, Protocol::Udp][..], std::slice::from_ref);
    let mut table = SocketTable::open()?;
    let rows: Result<Vec<Vec<SocketRow>>, Fault> =
        protocols.iter().map(|protocol| table.rows(*protocol, port, named)).collect();
    Ok(rows?.concat())
}

fn is_to(row: &SocketRow, peer: SocketAddr) -> bool {
    row.remote.is_some_and(|remote| same(remote, peer))
}

/// Whether a socket that is bound to one address stands in the way of another: they are equal, or one is a wildcard
/// that has the other among its addresses.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let (one, other) = (one.to_canonical(), other.to_canonical());
    let among = |wildcard: IpAddr, address: IpAddr| match wildcard {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.is_ipv4() || address.is_unspecified(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
        _ => false,
    };
    one == other || among(one, other) || among(other, one)
}

/// `tcp 0.0.0.0:80 LISTEN, nginx (pid 7), user root`.
fn holder(row: &SocketRow) -> String {
    let remote = row.remote.map(|remote| format!(" to {remote}")).unwrap_or_default();
    let mut said = format!("{} {}{remote} {}", row.protocol, row.local, row.state);
    // What the kernel keeps of a connection is nobody's any more.
    if row.inode == 0 {
        return said + ", which no process has";
    }
    let owners = sys::owners(row.inode);
    let names: Vec<String> = owners.iter().map(|owner| format!("{} (pid {})", owner.name, owner.pid)).collect();
    let user = sys::user_name(row.uid).unwrap_or_else(|| row.uid.to_string());
    match &*names {
        [] => said.push_str(", a process that this user may not see"),
        names => said.push_str(&format!(", {}", names.join(" and "))),
    }
    said + &format!(", user {user}")
}

/// More are counted, not named.
const NAMED: usize = 3;

fn holders(rows: &[SocketRow]) -> String {
    let named: Vec<String> = rows.iter().take(NAMED).map(holder).collect();
    let more = rows.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {}", count(more as u64, "more socket")) };
    named.join("; ") + &more
}

fn port_in_use(understood: &Understood) -> Result<Said, Fault> {
    let End { address, port } = understood.local;
    let Some(port) = port.filter(|port| *port != 0) else {
        return Ok((None, "the text names no local port".to_owned()));
    };
    let mut rows = rows_on(port, &sys::UNCONNECTED, understood)?;
    rows.retain(|row| address.is_none_or(|address| overlap(address, row.local.ip())));
    // Who listens or is bound stands in the way of more than a connection does.
    rows.sort_by_key(|row| (!sys::UNCONNECTED.contains(&row.state), row.inode == 0));
    if rows.is_empty() {
        let place = address.map(|address| format!(" of {address}")).unwrap_or_default();
        return Ok((Some(false), format!("no socket has port {port}{place} now")));
    }
    Ok((Some(true), holders(&rows)))
}

fn tuple_in_use(understood: &Understood) -> Result<Said, Fault> {
    let local = understood.local.port.filter(|port| *port != 0);
    let remote = understood.remote.address.zip(understood.remote.port);
    let (Some(port), Some((address, remote_port))) = (local, remote) else {
        return Ok((None, "the text does not name both ports and the destination".to_owned()));
    };
    let peer = SocketAddr::new(address, remote_port);
    let mut rows = rows_on(port, &[], understood)?;
    rows.retain(|row| is_to(row, peer));
    if rows.is_empty() {
        return Ok((Some(false), format!("no socket has a connection from port {port} to {peer} now")));
    }
    Ok((Some(true), holders(&rows)))
}

/// The ports that the kernel may pick, where the host says.
fn range() -> Result<Option<(PortRange, PortSet)>, Fault> {
    if sys::OS != Os::Linux {
        return Ok(None);
    }
    let text = sys::read_sysctl(PORT_RANGE)?;
    let range = PortRange::from_sysctl(&text).map_err(|error| Fault::Failed(format!("{PORT_RANGE}: {error}")))?;
    let mut reserved = PortSet::new();
    // `80,1000-1010`, or nothing.
    for part in sys::read_sysctl("net.ipv4.ip_local_reserved_ports")?.split(',').map(str::trim) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(low), Ok(high)) = (low.parse::<u16>(), high.parse::<u16>()) {
            (low..=high).for_each(|port| reserved.insert(port));
        }
    }
    Ok(Some((range, reserved)))
}

fn ports_exhausted(understood: &Understood) -> Result<Said, Fault> {
    let Some((range, reserved)) = range()? else {
        return Ok((None, "the ephemeral ports of this system are not counted".to_owned()));
    };
    let protocol = understood.protocol.unwrap_or(Protocol::Tcp);
    let mut table = SocketTable::open()?;
    let held = table.ports(protocol)?;
    let all: Vec<u16> = range.ports().filter(|port| !reserved.contains(*port)).collect();
    let free = all.iter().filter(|port| !held.contains(**port)).count();
    let ports = format!("{free} of {} {protocol} ports from {} to {} are free", all.len(), range.low(), range.high());
    let destination = understood.remote.address.zip(understood.remote.port);
    let shares = protocol != Protocol::Udp && understood.calls.contains(&Call::Connect);
    let Some((address, port)) = destination.filter(|_| shares) else { return Ok((Some(free == 0), ports)) };
    // connect() shares a port with connections to elsewhere (`__inet_hash_connect()`, net/ipv4/inet_hashtables.c).
    let peer = SocketAddr::new(address, port);
    let rows = table.rows(protocol, 0, &[])?;
    let to_peer = rows.iter().filter(|row| is_to(row, peer));
    let can_be_picked = |port: &u16| range.contains(*port) && !reserved.contains(*port);
    let taken: BTreeSet<u16> = to_peer.map(|row| row.local.port()).filter(can_be_picked).collect();
    let said = format!("{ports}; {} have a connection to {peer}", taken.len());
    let holds = match free {
        1.. => Some(false),
        0 if taken.len() == all.len() => Some(true),
        // Whether a port was bound or picked decides, and the table does not say that.
        0 => None,
    };
    Ok((holds, said))
}

fn address_not_local(understood: &Understood) -> Result<Said, Fault> {
    let Some(address) = understood.local.address.filter(|address| !address.is_unspecified()) else {
        return Ok((None, "the text names no local address".to_owned()));
    };
    Ok(match sys::has_address(address)? {
        true => (Some(false), format!("an interface has {address}")),
        false => (Some(true), format!("no interface has {address}, or it is not usable yet")),
    })
}

fn no_source_address(understood: &Understood) -> Result<Said, Fault> {
    let family = understood.family.or(understood.remote.address.map(Family::of)).unwrap_or(Family::Ipv6);
    // Documentation addresses (RFC 5737, RFC 3849): what matters is their family.
    let anywhere = match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    let destination = understood.remote.address.unwrap_or(anywhere);
    Ok(match sys::lacks_source(destination) {
        true => (Some(true), format!("this host has no {family} address to send to {destination} from")),
        false => (Some(false), format!("this host has an {family} address to send from")),
    })
}

fn permission(understood: &Understood) -> Result<Said, Fault> {
    let Some(port) = understood.local.port.filter(|port| *port != 0) else {
        return Ok((None, "the text names no local port".to_owned()));
    };
    let first = match sys::OS {
        Os::Linux => sys::read_sysctl("net.ipv4.ip_unprivileged_port_start")?,
        Os::Macos => "1024".to_owned(),
    };
    let first: u32 = first.parse().map_err(|_| Fault::Failed(format!("ip_unprivileged_port_start is {first}")))?;
    if u32::from(port) < first {
        return Ok((Some(true), format!("ports below {first} need a privilege here, and {port} is one")));
    }
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let modules = if modules.is_empty() { String::new() } else { format!(" (active: {})", modules.trim()) };
    Ok((
        None,
        format!(
            "not because of its number: ports from {first} on are for everybody; a security module{modules}, a \
            filter of the service, or a BPF program of its cgroup can forbid it"
        ),
    ))
}

fn no_way(understood: &Understood, cause: Cause) -> Result<Said, Fault> {
    let Some(address) = understood.remote.address else {
        return Ok((None, "the text names no destination".to_owned()));
    };
    let destination = SocketAddr::new(address, understood.remote.port.filter(|port| *port != 0).unwrap_or(9));
    let refusal = sys::refuses_destination(destination, Broadcast::Permitted);
    Ok(match (refusal, cause) {
        (Some(errno), _) => {
            let same = errno.is(understood.errno);
            let instead = if same { String::new() } else { format!(" instead of {}", understood.errno.as_str()) };
            let said = format!("connect() of a UDP socket to {address}, which sends nothing, gives {errno}{instead}");
            (same.then_some(true), said)
        }
        (None, Cause::NoRoute) => (Some(false), format!("a route leads to {address}")),
        (None, _) => (None, format!("a route leads to {address}; only a packet would show what comes back")),
    })
}

fn refused(understood: &Understood) -> Result<Said, Fault> {
    let (Some(address), Some(port)) = (understood.remote.address, understood.remote.port) else {
        return Ok((None, "the text names no destination with a port".to_owned()));
    };
    if !address.is_unspecified() && !sys::has_address(address)? {
        return Ok((None, format!("{address} is another host; `errnoscope trace {address} -p {port}` asks it")));
    }
    let protocol = understood.protocol.unwrap_or(Protocol::Tcp);
    let mut rows = SocketTable::open()?.rows(protocol, port, &sys::UNCONNECTED)?;
    let open = |row: &SocketRow| match protocol {
        Protocol::Tcp | Protocol::Mptcp => row.state == SocketState::Listen,
        Protocol::Udp => row.remote.is_none(),
    };
    rows.retain(|row| open(row) && (address.is_unspecified() || overlap(address, row.local.ip())));
    Ok(match rows.is_empty() {
        true => (Some(true), format!("nobody has {protocol} port {port} of {address} open now")),
        false => (Some(false), format!("somebody does now: {}", holders(&rows))),
    })
}

fn descriptors(understood: &Understood) -> Result<Said, Fault> {
    if !understood.errno.eq(&ErrnoName::ENFILE) || sys::OS != Os::Linux {
        return Ok((None, "it is the limit of one process: look at that one".to_owned()));
    }
    // Allocated, unused (always 0), most (proc(5)).
    let text = std::fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let &[used, _, most] = &*numbers else { return Ok((None, "/proc/sys/fs/file-nr cannot be read".to_owned())) };
    Ok((Some(used >= most), format!("{used} files are open on this host, of at most {most} (fs.file-max)")))
}
