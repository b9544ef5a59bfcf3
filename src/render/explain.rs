//! An explanation as text: what was understood, then each cause, with how to see it and what to do.
//!
//! `knowledge::explain` has found and ordered the causes before.

use super::document::families;
use super::style::{FAINT, HEADING, WARN, paint};
use super::text::{self, BEHIND, count, field, marked, shown};
use crate::knowledge::explain::system::System;
use crate::knowledge::explain::{Candidate, ExplainedCall, Explanation, Told, Understood};
use crate::knowledge::policy::evidence::Basis;
use crate::words::names::PortChoice;

/// The answer alone: what failed, why most likely, how to see it, what to do.
pub fn answer(explanation: &Explanation, width: usize) -> String {
    let Explanation { understood, failures, .. } = explanation;
    let mut text = field("failed    ", &asked(understood), width);
    if let Some(failure) = failures.first()
        && let Some(first) = failure.causes.first()
    {
        text.push_str(&field("likely    ", &likely(failures, first), width));
        text.push_str(&here(explanation, width));
        text.push_str(&commands(&first.commands, "see       "));
        if !first.advice.is_empty() {
            text.push_str(&field("do        ", &first.advice, width));
        }
    }
    text.push_str(&meaning(explanation, width));
    text.push_str(&others(explanation, width));
    if !failures.is_empty() {
        text.push_str(&paint(FAINT, "-v shows the evidence for each cause, and what tells them apart"));
        text.push('\n');
    }
    text
}

/// Which causes hold on this host now, a line or more each.
fn here(explanation: &Explanation, width: usize) -> String {
    let alike = explanation.here.chunk_by(|a, b| (a.holds, &a.said) == (b.holds, &b.said));
    let lines = alike.enumerate().map(|(index, alike)| {
        let label = if index == 0 { "here      " } else { "          " };
        let causes: Vec<&str> = alike.iter().map(|here| here.cause.as_str()).collect();
        let holds = match (alike[0].holds, alike.len()) {
            (Some(true), 1) => "holds now",
            (Some(true), _) => "hold now",
            (Some(false), 1) => "does not hold now",
            (Some(false), _) => "do not hold now",
            (None, _) => "cannot be told",
        };
        field(label, &format!("{} {holds}: {}", causes.join(" and "), shown(&alike[0].said)), width)
    });
    lines.collect()
}

/// `ports-exhausted; else refused; with an explicit port tuple-in-use`.
fn likely(failures: &[ExplainedCall], first: &Candidate) -> String {
    let names = |causes: &[Candidate]| {
        // Without advice it does not account for the errno.
        let causes = causes.iter().filter(|cause| !cause.advice.is_empty());
        let names: Vec<&str> = causes.take(3).map(|cause| cause.cause.as_str()).collect();
        names.join(" or ")
    };
    let best = first.evidence.iter().map(|evidence| evidence.basis).min();
    let mut likely = first.cause.to_string();
    match best {
        Some(Basis::Observed | Basis::Permitted) => {}
        Some(Basis::XnuRun) => likely.push_str(&format!(" ({})", text::NOT_A_MAC)),
        Some(Basis::Expected) | None => likely.push_str(" (expected, not observed)"),
    }
    let rest = names(&failures[0].causes[1..]);
    if !rest.is_empty() {
        likely.push_str(&format!("; else {rest}"));
    }
    for failure in failures[1..].iter().take(3) {
        let port =
            if failure.port == PortChoice::None { String::new() } else { format!(" with an {} port", failure.port) };
        let names = names(&failure.causes);
        if !names.is_empty() {
            likely.push_str(&format!("; {}{port}: {names}", failure.call));
        }
    }
    likely
}

/// A command stays on one line, so that it can be copied.
fn commands(commands: &[String], label: &str) -> String {
    let lines = commands.iter().enumerate().map(|(index, command)| {
        if index == 0 { format!("{label}{command}\n") } else { format!("{:1$}{command}\n", "", label.len()) }
    });
    lines.collect()
}

/// What is said where nothing was observed.
fn meaning(explanation: &Explanation, width: usize) -> String {
    let mut text = String::new();
    if let Some(meaning) = &explanation.meaning {
        let errno = explanation.understood.errno.as_str();
        text.push_str(&field("means     ", &format!("{errno}: {}", meaning.meaning), width));
        text.push_str(&commands(&meaning.commands, "see       "));
        text.push_str(&field("do        ", meaning.advice, width));
    }
    text.extend(explanation.elsewhere.iter().map(|note| field("elsewhere ", note, width)));
    text
}

fn others(explanation: &Explanation, width: usize) -> String {
    let others = explanation.others.iter().map(|other| {
        let cause = other.cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        field("also      ", &format!("{}{cause}", asked(&other.understood)), width)
    });
    others.collect()
}

pub fn explanation(explanation: &Explanation, width: usize) -> String {
    let mut text = understood(&explanation.understood, width);
    text.push_str(&here(explanation, width));
    text.push_str(&meaning(explanation, width));
    text.push_str(&others(explanation, width));
    for failure in &explanation.failures {
        text.push('\n');
        text.push_str(&self::failure(failure, &explanation.understood, width));
    }
    let mut evidence = explanation.failures.iter().flat_map(|failure| &failure.causes).flat_map(|one| &one.evidence);
    if evidence.any(|evidence| evidence.behind) {
        let note = format!("{BEHIND} as a program behind a command (`run --on`) said, not seen from here");
        text.push_str(&field("", &note, width));
    }
    text
}

/// What was asked, and what the errno is called elsewhere.
fn understood(understood: &Understood, width: usize) -> String {
    let numbers: Vec<String> = understood.numbers.iter().map(|(os, number)| format!("{number} on {os}")).collect();
    field("understood  ", &asked(understood), width) + &field("numbers     ", &numbers.join(", "), width)
}

/// `connect, EADDRNOTAVAIL, linux (assumed: this host)`.
pub fn asked(understood: &Understood) -> String {
    let Understood { calls, errno, numbers: _, os, told, port, protocol, family, reuse, local, remote, connecting: _ } =
        understood;
    let calls: Vec<&str> = calls.iter().map(|call| call.as_str()).collect();
    let calls = if calls.is_empty() { "every call".to_owned() } else { calls.join(" or ") };
    let told = match told {
        Told::Given => "",
        Told::Read => " (the text says so)",
        Told::Assumed => " (assumed: this host)",
        Told::ByNumber => " (the number is no such error of this host)",
    };
    let told = match (os, told) {
        (System::Windows, _) => " (nothing was observed there)",
        (System::Bsd, _) => " (nothing was observed there; these are the rules of macOS)",
        (System::Macos, " (the text says so)") => " (the text says so, or another BSD)",
        _ => told,
    };
    let port = port.filter(|port| *port != PortChoice::None).map(|port| format!("{port} port"));
    let kind = [port, protocol.map(|protocol| protocol.to_string()), family.map(|family| family.to_string())];
    let reuse = reuse.map(|reuse| format!("reuse {reuse}"));
    let end = |name: &str, end: &crate::knowledge::policy::separate::End| {
        let address = end.address.map(|address| address.to_string());
        let port = end.port.map(|port| format!("port {port}"));
        let end: Vec<String> = [address, port].into_iter().flatten().collect();
        (!end.is_empty()).then(|| format!("{name} {}", end.join(" ")))
    };
    let more = kind.into_iter().chain([reuse, end("local", local), end("remote", remote)]).flatten();
    let more: String = more.map(|more| format!(", {more}")).collect();
    format!("{calls}, {}, {os}{told}{more}", errno.as_str())
}

fn failure(failure: &ExplainedCall, understood: &Understood, width: usize) -> String {
    let port = match failure.port {
        PortChoice::None => String::new(),
        port => format!(" with an {port} port"),
    };
    let title = format!("{}{port} gives {}", failure.call, understood.errno.as_str());
    let mut text = paint(HEADING, &title) + "\n";
    for (index, cause) in failure.causes.iter().enumerate() {
        text.push_str(&candidate(index + 1, cause, understood, width));
    }
    for apart in &failure.apart {
        let causes: Vec<&str> = apart.causes.iter().map(|cause| cause.as_str()).collect();
        let apart = format!("{}: {}", causes.join(" or "), apart.by);
        text.push_str(&field("  tell apart  ", &apart, width));
    }
    text
}

fn candidate(rank: usize, candidate: &Candidate, understood: &Understood, width: usize) -> String {
    let only = match candidate.evidence.iter().map(|evidence| evidence.basis).min() {
        Some(Basis::Observed) => String::new(),
        Some(Basis::XnuRun) => format!(", {}", paint(WARN, text::NOT_A_MAC)),
        Some(Basis::Permitted | Basis::Expected) | None => format!(", {}", paint(WARN, "expected, not observed")),
    };
    let made = match candidate.scenarios {
        0 => "which no scenario makes".to_owned(),
        scenarios => format!("in {}", count(scenarios, "scenario")),
    };
    let mut text = format!("  {rank}  {}  {made}{only}\n", paint(HEADING, candidate.cause.as_str()));
    for alike in candidate.evidence.chunk_by(|a, b| a.basis == b.basis) {
        let number = alike.iter().map(|evidence| evidence.findings).sum();
        let by: Vec<String> = alike.iter().map(|evidence| marked(&evidence.by, evidence.behind)).collect();
        let by = families(by.iter().map(String::as_str));
        let said = match alike[0].basis {
            Basis::Observed => format!("{} on {by}, such as", count(number, "finding")),
            Basis::Permitted => format!("{} on {by}, which chose otherwise, such as", count(number, "finding")),
            Basis::XnuRun => format!("in {} {}, such as", count(number, "case"), text::NOT_A_MAC),
            Basis::Expected if candidate.scenarios == 0 => format!("by {by}:"),
            Basis::Expected => format!("{} by {by}, such as", count(number, "case")),
        };
        text.push_str(&field(&format!("     {:<9}  ", alike[0].basis), &said, width));
        // The id of a case is for copying and stays whole; a place in sources does not.
        let example = &alike[0].example;
        match example.contains(' ') {
            true => text.push_str(&field(INDENT, example, width)),
            false => text.push_str(&format!("{INDENT}{}\n", paint(FAINT, example))),
        }
    }
    text.extend(kinds(candidate, understood).map(|kinds| field("     where      ", &kinds, width)));
    for (index, command) in candidate.commands.iter().enumerate() {
        // A command stays on one line, so that it can be copied.
        text.push_str(&format!("     {:<9}  {command}\n", if index == 0 { "look" } else { "" }));
    }
    text.push_str(&field("     program    ", &format!("{}: {}", candidate.step, candidate.why), width));
    if !candidate.advice.is_empty() {
        text.push_str(&field("     you        ", &candidate.advice, width));
    }
    text
}

const INDENT: &str = "                ";

/// The kinds of socket, where findings have fewer than the question leaves open.
fn kinds(candidate: &Candidate, understood: &Understood) -> Option<String> {
    let mut kinds = Vec::new();
    if let (None, Some(protocol), 1) = (understood.protocol, candidate.protocols.first(), candidate.protocols.len()) {
        kinds.push(format!("{protocol} only"));
    }
    if let (None, Some(family), 1) = (understood.family, candidate.families.first(), candidate.families.len()) {
        kinds.push(format!("{family} only"));
    }
    (!kinds.is_empty()).then(|| kinds.join(", "))
}
