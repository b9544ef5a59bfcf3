//! What findings say about claims, as text for terminals and as a table of Markdown.
//!
//! `report::claim` has decided the verdicts before. What is only expected is never shown as observed.

use std::collections::BTreeSet;

use comfy_table::{Cell, Color, Row};

use super::document::{Said, phrase};
use super::style::{BAD, FAINT, GOOD, HEADING, WARN, paint};
use super::text::{self, EXPECTED, SOME_RUN, XNU_RUN, count, field, heading, lines, marked, table, unwrapped};
use crate::report::claim::verdict::{ClaimAnswer, Group};
use crate::report::claim::{ClaimVerdict, Judged, OnOs, Tally};
use crate::report::finding::Behind;
use crate::words::names::{Os, PortChoice};

/// How many groups of calls show what decides a claim.
const SHOWN: usize = 6;

/// One line a claim, with its verdict on every OS.
pub fn verdicts(judged: &[Judged], stacks: &BTreeSet<String>, behind: &Behind, width: usize) -> String {
    let stacks: Vec<String> = stacks.iter().map(|stack| marked(stack, behind.contains_key(stack))).collect();
    let mut text = field("observed  ", &stacks.join(", "), width);
    text.push('\n');
    let mut rows = table(width);
    let systems = Os::ALL.iter().map(|os| os.as_str());
    rows.set_header(heading(std::iter::once("claim").chain(systems)));
    for claim in judged {
        let cells = Os::ALL.iter().filter_map(|os| claim.systems.get(os)).map(|on| {
            let cell = Cell::new(short(on));
            match on.verdict {
                ClaimVerdict::Confirmed => cell.fg(Color::Green),
                ClaimVerdict::Refuted => cell.fg(Color::Red),
                ClaimVerdict::Mixed => cell.fg(Color::Yellow),
                ClaimVerdict::Unknown => cell.add_attribute(comfy_table::Attribute::Dim),
            }
        });
        rows.add_row(Row::from(std::iter::once(Cell::new(&claim.id)).chain(cells).collect::<Vec<_>>()));
    }
    unwrapped(&mut rows, 1 + Os::ALL.len());
    text.push_str(&lines(rows, ""));
    text.push_str("\nA number is in how many of the calls that a claim is about it holds.\n");
    let marks: String = judged.iter().flat_map(|claim| claim.systems.values()).map(mark).collect();
    text.push_str(&text::expected_marks(&marks));
    if !marks.is_empty() {
        text.push_str("With either mark the verdict is unknown.\n");
    }
    text.extend(text::behind(behind).iter().map(|line| field("", line, width)));
    text
}

/// `mixed 3/12`; where nothing was observed, what is expected, with its mark.
fn short(on: &OnOs) -> String {
    match (on.verdict, on.expected.verdict) {
        (ClaimVerdict::Unknown, ClaimVerdict::Unknown) => ClaimVerdict::Unknown.to_string(),
        (ClaimVerdict::Unknown, _) => format!("{}{}", counted(&on.expected), mark(on)),
        _ => counted(&on.observed),
    }
}

/// When it holds, by what was observed or else is expected.
fn of_either(on: &OnOs) -> Option<String> {
    when(if on.verdict == ClaimVerdict::Unknown { &on.expected } else { &on.observed })
}

/// The marks of the calls, where none of them was observed.
fn mark(on: &OnOs) -> &'static str {
    match on.verdict {
        ClaimVerdict::Unknown if on.expected.calls == 0 => "",
        ClaimVerdict::Unknown if on.expected.xnu_run == on.expected.calls => XNU_RUN,
        ClaimVerdict::Unknown if on.expected.xnu_run > 0 => SOME_RUN,
        ClaimVerdict::Unknown => EXPECTED,
        ClaimVerdict::Confirmed | ClaimVerdict::Refuted | ClaimVerdict::Mixed => "",
    }
}

fn counted(tally: &Tally) -> String {
    format!("{} {}/{}", tally.verdict, of(tally, ClaimAnswer::Holds), tally.calls)
}

fn of(tally: &Tally, answer: ClaimAnswer) -> u64 {
    tally.answers.get(&answer).copied().unwrap_or(0)
}

/// A claim with who makes it, what decides it and what speaks against it.
pub fn claim(judged: &Judged, behind: &Behind, width: usize) -> String {
    let mut text = format!("{}\n", paint(HEADING, &judged.id));
    text.push_str(&field("  ", &judged.statement, width));
    for source in &judged.source {
        text.push_str(&field("  said in  ", &format!("{}: “{}”", source.place, source.says), width));
    }
    for (os, on) in &judged.systems {
        let style = match on.verdict {
            ClaimVerdict::Confirmed => GOOD,
            ClaimVerdict::Refuted => BAD,
            ClaimVerdict::Mixed => WARN,
            ClaimVerdict::Unknown => FAINT,
        };
        text.push_str(&format!("\n  {os}  {}", paint(style, on.verdict.as_str())));
        match (on.verdict, on.expected.verdict) {
            (ClaimVerdict::Unknown, ClaimVerdict::Unknown) => text.push_str(": nothing there is what it is about\n"),
            (ClaimVerdict::Unknown, expected) => {
                let run = match on.expected.xnu_run {
                    0 => String::new(),
                    run => format!(" ({run} of them xnu-run)"),
                };
                text.push_str(&format!(": not observed; expected {expected}, {}{run}\n", answers(&on.expected)));
                text.push_str(&groups(&on.expected, width));
            }
            _ => {
                text.push_str(&format!(": {}\n", answers(&on.observed)));
                text.push_str(&groups(&on.observed, width));
                let stacks: BTreeSet<&String> = on.observed.groups.iter().flat_map(|group| &group.stacks).collect();
                let behind = behind.iter().filter(|(stack, _)| stacks.contains(stack));
                let behind = behind.map(|(stack, commands)| (stack.clone(), commands.clone())).collect();
                text.extend(text::behind(&behind).iter().map(|line| field("    ", line, width)));
                if on.expected.calls > 0 {
                    let calls = count(on.expected.calls, "call");
                    text.push_str(&format!("    not observed: {calls}, expected {}\n", on.expected.verdict));
                }
            }
        }
    }
    let words = text::glossary(&text, width);
    text + &words
}

/// When a claim holds that does not always hold.
fn when(tally: &Tally) -> Option<String> {
    tally.when.as_ref().map(phrase::when)
}

/// `holds in 3 of 12 calls`.
fn answers(tally: &Tally) -> String {
    let either = match of(tally, ClaimAnswer::Either) {
        0 => String::new(),
        either => format!(", and may in {either}"),
    };
    format!("holds in {} of {}{either}", of(tally, ClaimAnswer::Holds), count(tally.calls, "call"))
}

/// The largest groups of each answer, and a command that shows one of the calls against the claim.
fn groups(tally: &Tally, width: usize) -> String {
    let mut text = when(tally).map_or_else(String::new, |when| field("    holds if  ", &when, width));
    for &answer in ClaimAnswer::ALL {
        let own: Vec<&Group> = tally.groups.iter().filter(|group| group.answer == answer).collect();
        for group in own.iter().take(SHOWN) {
            let what = format!("{} {}: {}, {}", group.calls, call(group), group.cause, outcomes(group).text);
            text.push_str(&field(&format!("    {:<6}  ", answer.as_str()), &what, width));
            text.push_str(&field("            ", &group.example, width));
        }
        if let Some(more) = own.get(SHOWN..).filter(|more| !more.is_empty()) {
            let calls = more.iter().map(|group| group.calls).sum();
            text.push_str(&format!("            and {} more\n", count(calls, "call")));
        }
    }
    if let Some(against) = against(tally) {
        text.push_str(&format!("    see     {}\n", reproduce(against)));
    }
    text
}

/// The smallest counter-example.
fn against(tally: &Tally) -> Option<&Group> {
    let against = tally.groups.iter().filter(|group| group.answer != ClaimAnswer::Holds);
    against.min_by_key(|group| (group.example.len(), &group.example))
}

fn outcomes(group: &Group) -> Said {
    Said::outcomes(group.outcomes.iter().map(String::as_str))
}

fn call(group: &Group) -> String {
    match group.port {
        PortChoice::None => group.call.to_string(),
        port => format!("{}, {port} port", group.call),
    }
}

fn reproduce(group: &Group) -> String {
    format!("errnoscope run -v '{}'", group.example)
}

/// What people say, as a document has it: a row a claim, a column a system.
pub struct ClaimTable {
    pub systems: Vec<String>,
    pub rows: Vec<TableRow>,
}

pub struct TableRow {
    pub id: String,
    pub statement: String,
    /// For each system: `mixed 3/12`, with its mark where it is only expected, and when it holds if it is mixed.
    pub verdicts: Vec<(String, Option<String>)>,
    /// A case against it that was observed, and its outcome.
    pub against: Option<(String, Said)>,
}

impl ClaimTable {
    pub fn new(judged: &[Judged]) -> ClaimTable {
        let rows = judged.iter().map(|claim| {
            let against = claim.systems.values().find_map(|on| against(&on.observed));
            TableRow {
                id: claim.id.clone(),
                statement: claim.statement.clone(),
                verdicts: Os::ALL
                    .iter()
                    .filter_map(|os| claim.systems.get(os))
                    .map(|on| (short(on), of_either(on)))
                    .collect(),
                against: against.map(|group| (group.example.clone(), outcomes(group))),
            }
        });
        ClaimTable { systems: Os::ALL.iter().map(Os::to_string).collect(), rows: rows.collect() }
    }
}
