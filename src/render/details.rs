//! One finding in full: the expectation, the observation, and everything that led to it.
//!
//! It judges nothing.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::style::{FAINT, HEADING, paint, verdict as style};
use super::text::{count, distribution, field};
use crate::plan::socket_table::Sought;
use crate::plan::{Answer, Cost, Detail, Op, Outcome};
use crate::report::finding::{Finding, TrailEntry};
use crate::scenario::Expectation;
use crate::scenario::witness::Witness;
use crate::words::names::{FileKind, PortChoice};

/// A finding that stands for `findings` that say the same.
pub fn finding(finding: &Finding, findings: usize, width: usize) -> String {
    let times = if findings > 1 { format!("  (×{findings}, one of them:)") } else { String::new() };
    let verdict = paint(style(finding.verdict()), &finding.verdict().as_str().to_uppercase());
    // The id stays on one line, so that it can be copied into the next command.
    let mut text = format!("{verdict}  {}{times}\n  {}\n", paint(HEADING, &finding.scenario), finding.case);
    text.extend(finding.reason().map(|reason| field("  reason    ", &reason, width)));
    let port = match finding.subject.port {
        PortChoice::None => String::new(),
        choice => format!(" ({choice} port)"),
    };
    text.push_str(&field("  call      ", &format!("{}{port}, cause {}", finding.subject.call, finding.cause), width));
    for (index, expectation) in finding.expected().iter().enumerate() {
        let label = if index == 0 { "  expected  " } else { "         or " };
        text.push_str(&field(label, &expected(expectation), width));
    }
    for (os, expectations) in &finding.elsewhere {
        for expectation in expectations.iter() {
            let there = format!("{}; expected, not observed", expected(expectation));
            text.push_str(&field(&format!("  {os:8}  "), &there, width));
        }
    }
    text.push_str(&field("  observed  ", &finding.outcome().map_or("nothing".to_owned(), outcome), width));
    if finding.distribution().is_some() {
        text.push_str(&field("  repeated  ", &distribution(finding), width));
    }
    if !finding.trail.is_empty() {
        text.push_str("  trail\n");
        text.push_str(&trail(finding, width));
    }
    if !finding.witness().is_empty() {
        text.push_str("  witness\n");
        for witness in finding.witness() {
            text.push_str(&witness_lines(witness, width));
        }
    }
    text.extend(finding.unwitnessed().map(|why| field("  witness   ", &unwitnessed(why), width)));
    text
}

/// `EADDRINUSE (kernel-source: inet_csk_get_port)`.
pub fn expected(expectation: &Expectation) -> String {
    match expectation.authority {
        Some(authority) => format!("{} ({authority}: {})", expectation.outcome, expectation.reference),
        None => format!("{} ({})", expectation.outcome, expectation.reference),
    }
}

/// `ok`, `EADDRINUSE (98)`, `blocked for 500 ms`.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok => "ok".to_owned(),
        Outcome::Errno(errno) => format!("{errno} ({})", errno.raw()),
        Outcome::Blocked { ms } => format!("blocked for {ms} ms"),
    }
}

/// One op of a trail, in words.
pub struct TrailLine {
    pub micros: f64,
    /// `ok`, an errno, `blocked`, `unsupported` or `failed`.
    pub outcome: String,
    /// With its arguments, and what it gave back.
    pub op: String,
}

/// Ops in words, each put into words once.
#[derive(Default)]
pub struct Words<'f>(HashMap<&'f Op, String>);

impl<'f> Words<'f> {
    fn of(&mut self, op: &'f Op) -> String {
        self.0.entry(op).or_insert_with(|| op.in_words()).clone()
    }
}

/// The ops of a finding. A socket's name is told once, and again when it changes.
pub fn steps<'f>(finding: &'f Finding, words: &mut Words<'f>) -> Vec<TrailLine> {
    let mut known: BTreeMap<&str, &Detail> = BTreeMap::new();
    let steps = finding.trail.iter().map(|entry| {
        let detail = entry.detail.as_ref();
        let told = entry.op.socket().zip(detail).and_then(|(socket, detail)| known.insert(socket, detail));
        step(entry, words.of(&entry.op), detail.filter(|detail| told != Some(detail)))
    });
    steps.collect()
}

/// Columns of a time below 100 ms: the layout of a trail is the same on a slow machine.
const MICROS: usize = 5;

/// A tenth of a microsecond says nothing of a call that took a thousand.
fn in_micros(micros: f64) -> String {
    if micros < 999.95 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

/// One op a line, what it gave first.
fn trail(finding: &Finding, width: usize) -> String {
    let rows: Vec<(String, TrailLine)> =
        steps(finding, &mut Words::default()).into_iter().map(|step| (in_micros(step.micros), step)).collect();
    let micros = rows.iter().map(|(micros, _)| micros.len()).max().unwrap_or(0).max(MICROS);
    let outcomes = rows.iter().map(|(_, step)| step.outcome.len()).max().unwrap_or(0).max("outcome".len());
    let mut text = paint(FAINT, &format!("   #  {:>micros$}  {:outcomes$}  op", "µs", "outcome")) + "\n";
    for (index, (micro, TrailLine { outcome, op, .. })) in rows.iter().enumerate() {
        text.push_str(&field(&format!("  {:>2}  {micro:>micros$}  {outcome:outcomes$}  ", index + 1), op, width));
    }
    text
}

fn step(entry: &TrailEntry, op: String, detail: Option<&Detail>) -> TrailLine {
    let (outcome, more) = match (&entry.outcome, &entry.unsupported, &entry.failed) {
        (Some(outcome), ..) => (outcome.name(), None),
        (_, Some(lacking), _) => ("unsupported", Some(lacking.reason.to_string())),
        (.., Some(why)) => ("failed", Some(why.to_string())),
        (None, None, None) => ("", None),
    };
    let user = entry.user.map(|user| format!("as {user}"));
    let op = [Some(op), user].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let more = [more, detail.map(describe)].into_iter().flatten();
    let op = std::iter::once(op).chain(more).collect::<Vec<_>>().join("; ");
    TrailLine { micros: entry.micros, outcome: outcome.to_owned(), op }
}

fn describe(detail: &Detail) -> String {
    match detail {
        Detail::Names { local, remote } => names(*local, *remote),
        Detail::ErrorQueue { origin, icmp_type, icmp_code, offender } => {
            let from = offender.map(|offender| format!(" from {offender}")).unwrap_or_default();
            format!("origin {origin}, ICMP type {icmp_type} code {icmp_code}{from}")
        }
        Detail::Packet { source, destination } => format!("from {source} to {destination}"),
        Detail::Fill { ports, processes, costs } => {
            let micros = |cost: &Cost| format!("{:.1} µs", f64::from(cost.nanos) / 1000.0);
            let costs = match &**costs {
                [first, .., last] => format!("; a call took {} at first and {} at last", micros(first), micros(last)),
                _ => String::new(),
            };
            let processes = if *processes == 1 { "1 process" } else { &format!("{processes} processes") };
            format!("{}, {processes}{costs}", count(u64::from(*ports), "port"))
        }
        Detail::Bytes { count: bytes } => count(*bytes, "byte"),
    }
}

fn witness_lines(witness: &Witness, width: usize) -> String {
    let mut text = field("    ", &precondition(witness), width);
    for (label, said) in answers(witness) {
        // What the kernel said is aligned behind what it is.
        text.push_str(&field(&format!("      {:<8}", format!("{label}: ")), &said, width));
    }
    text
}

/// `none: there is nothing to ask the kernel: …`.
pub fn unwitnessed(why: &str) -> String {
    format!("none: {why}")
}

/// The precondition and whether it was confirmed, and what the kernel said of it.
pub fn evidence(witness: &Witness) -> Vec<String> {
    let answers = answers(witness).into_iter().map(|(label, said)| format!("{label}: {said}"));
    std::iter::once(precondition(witness)).chain(answers).collect()
}

fn precondition(witness: &Witness) -> String {
    let confirmed = if witness.confirmed() { "confirmed" } else { "NOT CONFIRMED" };
    format!("{}: {confirmed}", witness.precondition.describe())
}

/// What the kernel said, each behind when it did.
fn answers(witness: &Witness) -> Vec<(&'static str, String)> {
    let mut answers = Vec::new();
    match (&witness.before, &witness.after) {
        (Some(before), Some(after)) if before == after => answers.push(("before and after", answer(before))),
        (before, after) => {
            for (label, said) in [("before", before), ("after", after)] {
                answers.extend(said.iter().map(|said| (label, answer(said))));
            }
        }
    }
    answers.extend(witness.detail.iter().map(|detail| ("read", describe(detail))));
    answers
}

/// What the kernel said, in a few words.
pub fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Socket { local, remote, rows, .. } if rows.is_empty() => {
            format!("no socket on the port of {}", names(*local, *remote))
        }
        Answer::Socket { rows, .. } => {
            let rows = rows.iter().map(|row| {
                let sought = Sought::of(row.protocol, answer);
                let is_it = sought.is_some_and(|sought| sought.among(std::slice::from_ref(row)).next().is_some());
                let whose = if is_it { "" } else { " (another socket)" };
                format!("{} {} {} uid {}{whose}", row.protocol, row.state, names(Some(row.local), row.remote), row.uid)
            });
            rows.collect::<Vec<_>>().join("; ")
        }
        Answer::Census { held, size, free } if free.is_empty() => format!("{held} of {size} ports held"),
        Answer::Census { held, size, free } => {
            let free: Vec<String> = free.iter().map(u16::to_string).collect();
            format!("{held} of {size} ports held; free: {}", free.join(", "))
        }
        Answer::Address { local: true } => "configured".to_owned(),
        Answer::Address { local: false } => "not configured".to_owned(),
        Answer::Route { kind } => kind.to_string(),
        Answer::Sysctl { value } => value.to_string(),
        Answer::Descriptors { open, limit } => format!("{open} open, limit {limit}"),
        Answer::Counter { packets } => format!("{packets} packets"),
        Answer::User { uid, net_bind_service } => {
            format!("uid {uid}, CAP_NET_BIND_SERVICE {}", if *net_bind_service { "effective" } else { "not effective" })
        }
        Answer::Unix { rows, .. } if rows.is_empty() => "no such socket".to_owned(),
        Answer::Unix { inode, rows } => {
            let rows = rows.iter().map(|row| {
                let whose = if row.inode == *inode { "" } else { " (another socket)" };
                let name = row.name.as_ref().map_or("no name", |name| name.as_str());
                format!("unix {} {} {name}{whose}", row.kind, row.state)
            });
            rows.collect::<Vec<_>>().join("; ")
        }
        Answer::File { kind: FileKind::None, .. } => "nothing there".to_owned(),
        Answer::File { kind, mode } => format!("{kind}, mode {mode:o}"),
        Answer::Failed { error } => format!("the kernel could not be asked: {error}"),
    }
}

fn names(local: Option<SocketAddr>, remote: Option<SocketAddr>) -> String {
    let name =
        |address: Option<SocketAddr>| address.map_or_else(|| "no name".to_owned(), |address| address.to_string());
    match remote {
        Some(_) => format!("{} → {}", name(local), name(remote)),
        None => name(local),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_below_100_ms_takes_no_more_columns_than_another() {
        for (micros, shown) in [(0.0, "0.0"), (2.44, "2.4"), (999.9, "999.9"), (999.96, "1000"), (99_999.4, "99999")] {
            assert_eq!(in_micros(micros), shown);
            assert!(shown.len() <= MICROS);
        }
    }
}
