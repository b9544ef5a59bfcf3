//! A trace as text: the hops as far as they are known, what was skipped, and how it ended.
//!
//! `tracer` has decided the meaning before; this says it in words.

use std::fmt::Write;
use std::net::IpAddr;

use comfy_table::{Attribute, Cell, Color};

use super::style::{BAD, FAINT, HEADING, WARN, paint};
use super::text::{count, field, heading, lines, numbers_from, table, unwrapped};
use crate::knowledge::policy::advice::advice;
use crate::tracer::record::{Abort, Choices, Failure, Fate, ProbeRecord, RoundEnd, Tried};
use crate::tracer::view::{HopRow, Times, Voice};
use crate::tracer::{Meaning, PortModeName, mark};
use crate::words::cause::Cause;
use crate::words::names::{Family, Os};

/// Where the trace goes, and how.
pub fn header(host: &str, settings: &Choices, width: usize) -> String {
    let target = settings.target;
    let address = if host == target.ip().to_string() { String::new() } else { format!(" ({})", target.ip()) };
    let source = settings.source.map(|source| format!(" from {source}")).unwrap_or_default();
    let ports = match (settings.port_mode, settings.fixed_port) {
        (PortModeName::Fixed, Some(port)) => format!("source port {port}"),
        (PortModeName::Ephemeral, _) => "ephemeral source ports".to_owned(),
        _ => format!("source ports {} to {}", settings.first_sequence, settings.last_sequence),
    };
    let hops = count(settings.max_ttl.into(), "hop");
    let title = format!("{host}{address}, port {}{source}: TCP, at most {hops}, {ports}", target.port());
    field("trace to ", &title, width)
}

/// A line for each hop; silent ones at the end share one.
pub fn hops(hops: &[HopRow], width: usize) -> String {
    let several = hops.iter().any(|hop| hop.totals.issued - hop.totals.skipped > 1);
    let answered = hops.iter().rposition(|hop| !hop.answers.is_empty()).map_or(0, |index| index + 1);
    // Two silent hops fit in two lines.
    let shown = if hops.len() - answered > 2 { answered } else { hops.len() };
    let mut table = table(width);
    let times: &[&str] = if several { &["answered", "best", "average", "worst"] } else { &["ms"] };
    table.set_header(heading(["hop", "address", ""].into_iter().chain(times.iter().copied())));
    for hop in &hops[..shown] {
        let sent = hop.totals.issued - hop.totals.skipped;
        let share = |answers: u64| Cell::new(format!("{answers}/{sent}"));
        if hop.answers.is_empty() {
            let word = if hop.totals.sent == 0 { "not sent" } else { "*" };
            let mut row = vec![Cell::new(hop.ttl), Cell::new(word).add_attribute(Attribute::Dim), Cell::new("")];
            if several {
                row.push(share(0));
            }
            table.add_row(row);
        }
        for (index, responder) in hop.answers.iter().enumerate() {
            let ttl = if index == 0 { hop.ttl.to_string() } else { String::new() };
            let mut row = vec![Cell::new(ttl), Cell::new(address(responder)), said(responder)];
            if several {
                row.push(share(responder.times.count));
            }
            row.extend(milliseconds(responder.times, several).into_iter().map(Cell::new));
            table.add_row(row);
        }
    }
    numbers_from(&mut table, 3);
    if let Some(column) = table.column_mut(0) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    unwrapped(&mut table, 1);
    let mut text = if shown > 0 { lines(table, "") } else { String::new() };
    let silent = &hops[shown..];
    let unsent = silent.iter().position(|hop| hop.totals.sent == 0).unwrap_or(silent.len());
    for (range, said) in [(&silent[..unsent], "no answer"), (&silent[unsent..], "not sent")] {
        if let (Some(first), Some(last)) = (range.first(), range.last()) {
            let ttls =
                if first.ttl == last.ttl { first.ttl.to_string() } else { format!("{} to {}", first.ttl, last.ttl) };
            let _ = writeln!(text, "{}", paint(FAINT, &format!("{ttls}: {said}")));
        }
    }
    text
}

/// `router.example (192.0.2.1)`.
fn address(responder: &Voice) -> String {
    let address = responder.address.map_or_else(|| "a router that is not shown".to_owned(), |ip| ip.to_string());
    match &responder.name {
        Some(name) => format!("{name} ({address})"),
        None => address,
    }
}

/// What it answered, where that is not the usual.
fn said(responder: &Voice) -> Cell {
    match responder.meaning {
        Meaning::Open => Cell::new("open").fg(Color::DarkGreen),
        Meaning::Closed => Cell::new("closed").fg(Color::DarkYellow),
        Meaning::Unreachable => {
            let family = responder.address.map_or(Family::Ipv4, Family::of);
            let mark = responder.icmp.and_then(|icmp| mark(family, icmp)).unwrap_or_else(|| "!".to_owned());
            Cell::new(mark).fg(Color::DarkRed)
        }
        Meaning::Router | Meaning::Silence => Cell::new(""),
    }
}

fn milliseconds(times: Times, several: bool) -> Vec<String> {
    let show = |ms: f64| if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.1}") };
    if !several {
        return vec![show(times.best)];
    }
    vec![show(times.best), show(times.sum / times.count as f64), show(times.worst)]
}

/// The ports that were skipped, by reason: a skip is never silent.
pub fn skips(probes: &[ProbeRecord], settings: &Choices, width: usize) -> String {
    let skipped: Vec<&ProbeRecord> = probes.iter().filter(|record| record.fate == Fate::Skipped).collect();
    if skipped.is_empty() {
        return String::new();
    }
    let mut kinds: Vec<(String, u64, Vec<u16>)> = Vec::new();
    for record in &skipped {
        let Some(failure) = &record.failure else { continue };
        let kind = format!("{} {}", failure.call, failure.errno);
        // The number is the port only where it was bound to.
        let number = (settings.port_mode == PortModeName::Sequence).then_some(record.sequence);
        let port = record.source.map(|source| source.port()).or(number);
        match kinds.iter_mut().find(|(known, ..)| *known == kind) {
            Some((_, times, ports)) => {
                *times += 1;
                ports.extend(port);
            }
            None => kinds.push((kind, 1, port.into_iter().collect())),
        }
    }
    let kinds = kinds.iter().map(|(kind, times, ports)| match ports[..] {
        [] => format!("{times} by {kind}"),
        _ => format!("{times} by {kind} ({})", ranges(ports)),
    });
    let kinds: Vec<String> = kinds.collect();
    let text = format!("{}: {}", count(skipped.len() as u64, "source port"), kinds.join(", "));
    field("skipped ", &text, width)
}

/// `33434-33436, 40000`, the first few of them.
fn ranges(ports: &[u16]) -> String {
    const MOST: usize = 4;
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.dedup();
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let more = if ranges.len() > MOST { ", …" } else { "" };
    let shown = ranges.iter().take(MOST);
    let shown: Vec<String> =
        shown.map(|&(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") }).collect();
    shown.join(", ") + more
}

/// How the trace ended, where that is no error of this host.
pub fn ended(ended: &RoundEnd, settings: &Choices) -> Option<String> {
    let (target, port) = (settings.target.ip(), settings.target.port());
    Some(match ended {
        RoundEnd::Reached { ttl, open } => {
            let port = format!("port {port} is {}", if *open { "open" } else { "closed" });
            format!("{} {target} at hop {ttl}, {port}\n", paint(HEADING, "reached"))
        }
        RoundEnd::Unreachable { ttl, from } => {
            let from = from.map_or_else(|| "somebody".to_owned(), |from| from.to_string());
            format!("{} {target}: {from} says so at hop {ttl}\n", paint(BAD, "unreachable"))
        }
        RoundEnd::NotReached => format!("{} {target} within {} hops\n", paint(BAD, "not reached:"), settings.max_ttl),
        RoundEnd::Interrupted => format!("{}\n", paint(WARN, "interrupted")),
        RoundEnd::NothingSent { .. } | RoundEnd::Aborted(_) | RoundEnd::SequencesSpent { .. } => return None,
    })
}

/// What went wrong on this host, and what to do about it.
pub fn error(ended: &RoundEnd, settings: &Choices) -> Option<String> {
    match ended {
        RoundEnd::Aborted(abort) => Some(aborted(abort, settings)),
        RoundEnd::SequencesSpent { round, numbers, tried } => {
            if tried.is_empty() {
                let numbers = count(*numbers, "sequence number");
                return Some(format!("round {round} has used up its {numbers}; widen --source-port-range"));
            }
            let advice = match settings.port_mode {
                PortModeName::Fixed => "choose another --source-port, or let the tracer choose",
                PortModeName::Sequence => {
                    "widen --source-port-range, or let the kernel choose with --source-port-mode ephemeral"
                }
                PortModeName::Ephemeral => {
                    "leave --source out, so that connect() looks for a free port, or choose another one"
                }
            };
            let ports = count(*numbers, "port");
            Some(format!("no source port is left for round {round}: {ports} tried, {}; {advice}", failures(tried)))
        }
        RoundEnd::NothingSent { tried } => {
            Some(format!("no probe could be sent: {}; {}", failures(tried), advice_for(tried)))
        }
        RoundEnd::Reached { .. } | RoundEnd::Unreachable { .. } | RoundEnd::NotReached | RoundEnd::Interrupted => None,
    }
}

/// `3 bind EADDRINUSE, 1 connect EADDRNOTAVAIL`.
fn failures(tried: &[Tried]) -> String {
    tried.iter().map(Tried::to_string).collect::<Vec<_>>().join(", ")
}

fn advice_for(tried: &[Tried]) -> &'static str {
    match tried.iter().map(|tried| &*tried.errno).collect::<Vec<_>>()[..] {
        ["ENETUNREACH" | "EHOSTUNREACH"] => "no route leads there: see the routing table, or try the other family",
        ["EACCES" | "EPERM"] => "a route or a filter of this host prohibits it",
        _ => "see the calls and errnos, and --json for each probe",
    }
}

fn aborted(abort: &Abort, settings: &Choices) -> String {
    let failure = &abort.failure;
    if abort.causes == [Cause::NoSourceAddress] {
        let Failure { call, operands, errno, .. } = failure;
        return format!("{} ({call}({operands}): {errno})", no_source(settings));
    }
    let causes: Vec<&str> = abort.causes.iter().map(|cause| cause.as_str()).collect();
    let cause = match causes[..] {
        [] => "cause unknown to the scenarios".to_owned(),
        [cause] => format!("cause {cause}"),
        _ => format!("cause one of {}", causes.join(", ")),
    };
    let first = abort.causes.first().copied();
    let advice = [first.map(advice).filter(|advice| !advice.is_empty()), first.and_then(option)];
    let advice: String = advice.iter().flatten().map(|advice| format!("; {advice}")).collect();
    format!("{}({}): {}: {cause}{advice}", failure.call, failure.operands, failure.errno)
}

/// Nothing about ports: none of them helps.
fn no_source(settings: &Choices) -> String {
    let target = settings.target.ip();
    let lacks = match target {
        IpAddr::V4(_) => "IPv4 address",
        IpAddr::V6(target) if target.is_loopback() => "IPv6 address ::1",
        IpAddr::V6(_) => "IPv6 address",
    };
    let look = match (settings.os, target) {
        (Os::Linux, IpAddr::V4(_)) => "`ip -4 address`",
        (Os::Linux, IpAddr::V6(_)) => "`ip -6 address` and `sysctl net.ipv6.conf.all.disable_ipv6`",
        (Os::Macos, _) => "`ifconfig`",
    };
    format!("this host has no {lacks} to send to {target} from; see {look}")
}

/// Which of the tracer's options help against a cause that ends a trace.
fn option(cause: Cause) -> Option<&'static str> {
    Some(match cause {
        Cause::PortsExhausted => "use --source-port-mode sequence",
        Cause::AddressNotLocal => "choose another --source",
        Cause::DescriptorsExhausted => "lower --in-flight",
        Cause::PortInUse | Cause::TupleInUse => "use a --policy that skips the port",
        Cause::NoSourceAddress => "try the other family (-4, -6)",
        Cause::Permission
        | Cause::AddressInvalid
        | Cause::NoRoute
        | Cause::Unreachable
        | Cause::SocketState
        | Cause::Filtered
        | Cause::NoAnswer
        | Cause::TtlExceeded
        | Cause::Refused
        | Cause::Reset
        | Cause::QueueFull
        | Cause::InProgress
        | Cause::None => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::names::Reuse;

    #[test]
    fn numbers_that_were_all_used_are_no_ports_that_were_tried_in_vain() {
        let settings = Choices {
            os: Os::Linux,
            target: "192.0.2.9:80".parse().unwrap(),
            source: None,
            first_ttl: 1,
            max_ttl: 30,
            queries: 1,
            rounds: 1,
            wait_ms: 1000,
            interval_ms: 1000,
            in_flight: 32,
            port_mode: PortModeName::Sequence,
            fixed_port: None,
            first_sequence: 1,
            last_sequence: 4,
            reuse: Reuse::Port,
            policy: "evidence".to_owned(),
        };
        let spent = |tried| error(&RoundEnd::SequencesSpent { round: 1, numbers: 4, tried }, &settings).unwrap();
        assert_eq!(spent(Vec::new()), "round 1 has used up its 4 sequence numbers; widen --source-port-range");
        let tried = Tried { call: crate::tracer::TracerCall::Bind, errno: "EADDRINUSE".to_owned(), count: 4 };
        assert!(spent(vec![tried]).contains("4 ports tried, 4 bind EADDRINUSE; widen --source-port-range, or"));
    }

    #[test]
    fn ports_next_to_each_other_are_one_range() {
        assert_eq!(ranges(&[5, 1, 2, 3]), "1-3, 5");
        assert_eq!(ranges(&[1, 3, 5, 7, 9, 9]), "1, 3, 5, 7, …");
        assert_eq!(ranges(&[65_534, 65_535]), "65534-65535");
    }
}
