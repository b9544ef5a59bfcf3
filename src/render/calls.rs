//! Calls as text: a line for each, equal ones on one line.
//!
//! `knowledge` has looked up the causes before.

use std::net::IpAddr;

use super::style::{FAINT, paint};
use super::text::{count, field};
use crate::knowledge::calls::{Calls, Reason, Record, Seen};
use crate::words::names::{Call, Family, PortChoice};

/// More lines than anybody reads.
const MOST_LINES: usize = 200;

pub fn calls(calls: &Calls, width: usize) -> String {
    let failed = calls.calls.iter().filter(|record| record.has_failed()).count();
    let total = calls.calls.len() as u64 + calls.seen.left_out;
    let title = format!(
        "{} of {} on internet sockets, {failed} failed",
        count(total, "call"),
        match calls.seen.processes {
            1 => "1 process".to_owned(),
            processes => format!("{processes} processes"),
        }
    );
    let mut text = paint(FAINT, &title) + "\n";
    let mut lines: Vec<(String, u64)> = Vec::new();
    for record in &calls.calls {
        let line = line(record, width);
        let known = lines.len();
        match lines.last_mut().filter(|(last, _)| *last == line) {
            Some((_, times)) => *times += 1,
            None if known > MOST_LINES => break,
            None => lines.push((line, 1)),
        }
    }
    let cut = lines.len() > MOST_LINES;
    lines.truncate(MOST_LINES);
    let mut shown = calls.seen.left_out;
    for (line, times) in &lines {
        text.push_str(line.trim_end());
        text.push_str(&if *times > 1 { format!("  ×{times}\n") } else { "\n".to_owned() });
        shown += times;
    }
    if cut {
        text.push_str(&format!("… and {} more; --json FILE has them all\n", total - shown));
    }
    if calls.seen.left_out > 0 {
        text.push_str(&format!("{} came after that and were only counted\n", count(calls.seen.left_out, "call")));
    }
    let Seen { io_uring: has_rings, compat32, own_filter, .. } = calls.seen;
    let notes = [
        (has_rings, "a process uses io_uring: what its sockets do by that is not among these calls"),
        (compat32, "a program of 32 bits uses sockets: its calls are not among these"),
        (own_filter, "a process filters its own system calls: those that its filter denies are not among these"),
    ];
    for (_, note) in notes.iter().filter(|(is_so, _)| *is_so) {
        text.push_str(&field("", note, width));
    }
    text
}

/// Without what tells a call from the same one a moment later.
fn line(record: &Record, width: usize) -> String {
    let name = record.by.map_or(record.call.as_str(), |by| by.as_str());
    let label = format!("{:>6} {name:<10} ", record.pid);
    let kind = [record.protocol.map(|it| it.as_str()), record.family.map(|it| it.as_str())];
    let kind = kind.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let own = match (record.local, record.port) {
        (Some(local), PortChoice::Explicit) => format!("{local} "),
        (Some(local), _) if is_told_its_name(record.call) => format!("{local} "),
        _ => String::new(),
    };
    let to = |arrow: &str| record.address.map_or(String::new(), |address| format!("{own}{arrow}{address}"));
    let what = match record.call {
        Call::Socket => kind,
        Call::Setsockopt => format!("{kind} {}", record.option.as_deref().unwrap_or_default()),
        Call::Bind => format!("{kind} {}", record.address.map_or(String::new(), |address| address.to_string())),
        Call::Connect | Call::Sendto | Call::Send | Call::ErrorQueue => format!("{kind} {}", to("→ ")),
        Call::Accept | Call::Recv => format!("{kind} {}", to("← ")),
        _ => format!("{kind} {own}"),
    };
    let outcome = record.outcome.name();
    let causes: Vec<&str> = record.causes.iter().map(|cause| cause.as_str()).collect();
    let cause = match causes[..] {
        [_, ..] if record.has_failed() => format!(": {}", causes.join(" or ")),
        _ => String::new(),
    };
    let reason = record.reason.map_or(String::new(), |reason| format!(" ({})", sentence(reason, record)));
    field(&label, &format!("{} {outcome}{cause}{reason}", what.trim_end()), width)
}

/// What the host said, and where to see it.
fn sentence(reason: Reason, record: &Record) -> String {
    let said = match reason {
        Reason::NoSourceAddress => match record.family {
            Some(Family::Ipv4) => "this host has no IPv4 address to send from: see `ip -4 address`",
            Some(Family::Ipv6) | None => match record.address.map(|address| address.ip()) {
                Some(IpAddr::V6(to)) if to.is_loopback() => "this host has no IPv6 address ::1: see `ip -6 address`",
                _ => {
                    "this host has no IPv6 address to send from: see `ip -6 address` and `sysctl net.ipv6.conf.all.disable_ipv6`"
                }
            },
        },
        Reason::AddressNotLocal => "no interface of this host has that address",
        Reason::EarlierDatagram => match record.earlier {
            Some(earlier) => return format!("the answer to an earlier datagram, to {earlier}"),
            None => "the answer to an earlier datagram",
        },
        Reason::Route => "a route prohibits it: see `ip route`",
        Reason::Broadcast => "a broadcast address takes SO_BROADCAST",
        Reason::PrivilegedPort => "below net.ipv4.ip_unprivileged_port_start, without CAP_NET_BIND_SERVICE",
        Reason::RawSocket => "a raw socket takes CAP_NET_RAW",
        Reason::PingSocket => "no group of the caller is in net.ipv4.ping_group_range",
        Reason::SecurityModule => {
            "no route and no port forbids it: see security modules (SELinux, AppArmor, Landlock), the cgroup's \
             programs and seccomp filters"
        }
    };
    said.to_owned()
}

/// Calls that do not choose a port: which one the socket has is known by then.
fn is_told_its_name(call: Call) -> bool {
    matches!(call, Call::SoError | Call::Accept | Call::Send | Call::Recv | Call::ErrorQueue)
}
