//! Reports, comparisons, and checks of tracers, for GitHub Actions: annotations, which are lines on standard output,
//! and a job summary in Markdown.
//!
//! Both have limits, and what a limit leaves out is counted. Where they go is not decided here.

use std::fmt::Write;

use super::compare::{case, of, total, values};
use super::details;
use super::summary::{self, Kind};
use super::text::{count, shown, truncate};
use crate::report::compare::{Comparison, Group, Weight};
use crate::report::finding::{Finding, Report, Verdict};
use crate::scenario::Expectation;
use crate::tracer::check::judge::BehaviourVerdict;
use crate::tracer::check::{BehaviourChange, Check, CheckRow, Tracer};
use crate::words::untrusted::shown_lines;

/// GitHub shows this many annotations of each kind for a step, and drops the others without a word (docs.github.com,
/// "Usage limits for workflow commands").
const ANNOTATIONS: usize = 10;
/// How many cases an annotation names.
const EXAMPLES: usize = 3;
/// A check run's annotation has a title of at most 255 characters.
const TITLE: usize = 255;
/// No summary of a step may be larger, together with what earlier commands of the step have written.
pub const SUMMARY: usize = 1024 * 1024;
/// What is kept for saying how much is left out.
const REST: usize = 100;

/// Text in which the runner looks for no commands, whoever has written what stands in it: neither for lines that begin
/// with `::` nor for `##[` (actions/runner, ActionCommand.cs). The token is for this one text, and nobody may guess it.
pub fn without_commands(text: &str, token: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("::stop-commands::{token}\n{text}{end}::{token}::\n")
}

/// A message for standard error, which the runner reads as well and in no order with standard output: it begins with
/// words of ours, no other line of it begins as it came, and nowhere stands what the runner looks for.
pub fn harmless(message: &str) -> String {
    message.replace("##[", "# #[").split(['\n', '\r']).collect::<Vec<_>>().join("\n| ")
}

/// A line for each group of changes, at most ten of each kind, the worst first.
pub fn annotations(comparison: &Comparison) -> String {
    let groups = comparison.groups();
    let mut lines = String::new();
    for &weight in Weight::ALL {
        let mut most = ANNOTATIONS;
        if weight == Weight::Notice && !comparison.environment.is_empty() {
            most -= 1;
            lines.push_str(&environment(comparison));
        }
        let groups: Vec<&Group<'_>> = groups.iter().filter(|group| group.weight == weight).collect();
        // The last one counts the rest.
        let shown = if groups.len() > most { most - 1 } else { groups.len() };
        for group in &groups[..shown] {
            lines.push_str(&annotation(weight, &title(group), &message(group)));
        }
        let rest: usize = groups[shown..].iter().map(|group| group.changes.len()).sum();
        if rest > 0 {
            let title = format!("{} more: {}", groups.len() - shown, count(rest as u64, "case"));
            lines.push_str(&annotation(weight, &title, "more changes of this weight; the job summary has them"));
        }
    }
    lines
}

fn title(group: &Group<'_>) -> String {
    format!("{}: {}", group.scenario, count(group.changes.len() as u64, "case"))
}

fn message(group: &Group<'_>) -> String {
    let mut message = format!("{}: {}", group.call(), group.words);
    for change in group.changes.iter().take(EXAMPLES) {
        message.push('\n');
        message.push_str(&case(change));
    }
    if group.changes.len() > EXAMPLES {
        let _ = write!(message, "\n… and {} more", group.changes.len() - EXAMPLES);
    }
    message
}

fn environment(comparison: &Comparison) -> String {
    let facts: Vec<String> = comparison
        .environment
        .iter()
        .map(|difference| format!("{}: {}", shown(&difference.fact), values(difference)))
        .collect();
    annotation(Weight::Notice, "the environment differs, which is no change", &facts.join("\n"))
}

/// A line for each trouble about which a tracer does the wrong thing, or with a baseline another; at most ten of each
/// kind.
pub fn check_annotations(check: &Check, changes: Option<&[BehaviourChange]>) -> String {
    let mut lines = String::new();
    for &weight in Weight::ALL {
        let found: Vec<(&Tracer, &CheckRow)> = check
            .tracers
            .iter()
            .flat_map(|tracer| tracer.runs.iter().map(move |row| (tracer, row)))
            .filter(|(tracer, row)| check_weight(tracer, row, changes) == Some(weight))
            .collect();
        let shown = if found.len() > ANNOTATIONS { ANNOTATIONS - 1 } else { found.len() };
        for (tracer, row) in &found[..shown] {
            let kind = row.kind.map_or(String::new(), |kind| format!(": {kind}"));
            let title = format!("{}, {}: {}, {}{kind}", tracer.label(), row.trouble, row.behaviour, row.verdict);
            let said = row.message.as_ref().map(|message| format!("it says: {message}"));
            let made = format!("made by: errnoscope exec {}", row.conditions.join(" "));
            let made = Some(made).filter(|_| !row.conditions.is_empty());
            let lines_of: Vec<String> = [Some(row.why.clone()), said, made].into_iter().flatten().collect();
            lines.push_str(&annotation(weight, &title, &lines_of.join("\n")));
        }
        if found.len() > shown {
            let title = format!("{} more", count((found.len() - shown) as u64, "run"));
            lines.push_str(&annotation(weight, &title, "the job summary has them"));
        }
    }
    lines
}

/// What a run is worth to somebody who does not look for it.
fn check_weight(tracer: &Tracer, row: &CheckRow, changes: Option<&[BehaviourChange]>) -> Option<Weight> {
    let is_new = changes.is_none_or(|changes| {
        changes.iter().any(|change| change.tracer == tracer.label() && change.trouble == row.trouble)
    });
    match row.verdict {
        BehaviourVerdict::Broken => Some(Weight::Error),
        BehaviourVerdict::Wrong if is_new => Some(Weight::Error),
        BehaviourVerdict::NotExercised if is_new && changes.is_some() => Some(Weight::Warning),
        BehaviourVerdict::Right if is_new && changes.is_some() => Some(Weight::Notice),
        BehaviourVerdict::Wrong | BehaviourVerdict::NotExercised | BehaviourVerdict::Right => None,
    }
}

/// A job summary of what tracers do, of at most `room` bytes.
pub fn check_summary(check: &Check, changes: Option<&[BehaviourChange]>, room: usize) -> String {
    let mut summary = Bounded { text: String::new(), room: room.min(SUMMARY) };
    summary.push("## errnoscope: what tracers do about socket errors\n");
    let rows = check.tracers.iter().flat_map(|tracer| {
        tracer.runs.iter().filter(|row| row.verdict != BehaviourVerdict::Right).map(move |one| {
            let is_known = one.verdict == BehaviourVerdict::Wrong && check_weight(tracer, one, changes).is_none();
            let known = if is_known { " (as in the baseline)" } else { "" };
            let kind = one.kind.map_or(String::new(), |kind| format!(": {kind}"));
            let verdict = format!("{}{kind}{known}", one.verdict);
            row([cell(&tracer.label()), one.trouble.to_string(), one.behaviour.to_string(), verdict, cell(&one.why)])
        })
    });
    summary.table("What is not right", ["tracer", "trouble", "behaviour", "verdict", "why"], "run", rows);
    summary.push(&format!("\n{}\n", super::check::total(check)));
    summary.text
}

/// `::error title=…::…`, escaped as `@actions/core` does it (packages/core/src/command.ts).
fn annotation(weight: Weight, title: &str, message: &str) -> String {
    let data = |text: &str| shown_lines(text).replace('%', "%25").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!("::{weight} title={}::{}\n", property(&truncate(&shown(title), TITLE)), data(message))
}

/// A job summary of at most `room` bytes. Where it does not fit, rows are left out and counted.
pub fn summary(comparison: &Comparison, room: usize) -> String {
    let mut summary = Bounded { text: String::new(), room: room.min(SUMMARY) };
    let sides = format!("{} → {}", of(&comparison.baseline), of(&comparison.current));
    summary.push(&format!("## errnoscope: {}\n\n{}\n", cell(&sides), total(comparison)));
    if !comparison.environment.is_empty() {
        let rows = comparison.environment.iter().map(|difference| {
            let value = |value: &Option<String>| cell(value.as_deref().unwrap_or("absent"));
            row([cell(&difference.fact), value(&difference.baseline), value(&difference.current)])
        });
        summary.table("The environment differs, which is no change", ["", "baseline", "current"], "fact", rows);
    }
    let groups = comparison.groups();
    let rows = groups.iter().map(|group| {
        let cases = group.changes.len().to_string();
        row([group.weight.to_string(), cell(group.scenario), cell(&group.call()), cell(&group.words), cases])
    });
    summary.table("What changed", ["", "scenario", "call", "change", "cases"], "kind", rows);
    let changes = groups.iter().flat_map(|group| group.changes.iter().map(move |change| (group, change)));
    let rows = changes.map(|(group, change)| {
        row([format!("`{}`", cell(&case(change)).replace('`', "'")), cell(&group.call()), cell(&group.words)])
    });
    summary.table("Each case", ["case", "call", "change"], "case", rows);
    summary.text
}

/// A job summary of what a run found, of at most `room` bytes: first every difference from the expectations.
pub fn report_summary(reports: &[Report], room: usize) -> String {
    let mut summary = Bounded { text: String::new(), room: room.min(SUMMARY) };
    for report in reports {
        let findings = || report.findings.iter();
        let differ = || findings().filter(|finding| finding.verdict() == Verdict::Mismatch);
        let said = match differ().count() as u64 {
            0 => "No finding is other than expected.".to_owned(),
            some => format!("**{} not as expected.**", count(some, "finding")),
        };
        let title = format!("{} ({}, {})", report.host.stack, report.host.release, report.started);
        summary.push(&format!("## errnoscope: {}\n\n{said}\n", cell(&title)));
        let expected =
            |finding: &Finding| finding.expected().iter().map(details::expected).collect::<Vec<_>>().join(" or ");
        let gave = |finding: &Finding| finding.outcome().map_or_else(String::new, details::outcome);
        let call = |finding: &Finding| finding.subject.call.to_string();
        let id = |finding: &Finding| format!("`{}`", cell(&finding.case).replace('`', "'"));
        let rows = differ().map(|one| row([id(one), call(one), cell(&expected(one)), gave(one)]));
        summary.table("Not as expected", ["case", "call", "expected", "gave"], "finding", rows);
        let news = findings().filter(|one| one.verdict() == Verdict::Match && !one.expected().iter().any(is_known));
        let rows = news.map(|one| row([id(one), call(one), gave(one)]));
        summary.table("What nobody knew", ["case", "call", "gave"], "finding", rows);
        let others = summary::kinds(report).into_iter().filter(|kind| kind.first.verdict() != Verdict::Mismatch);
        let rows = others.map(|Kind { first, findings }| {
            let reason = first.reason().unwrap_or_default();
            row([first.verdict().to_string(), findings.to_string(), id(first), call(first), cell(&reason)])
        });
        summary.table("What proves nothing", ["", "findings", "such as", "call", "why"], "kind", rows);
        let rows = summary::lacks(report).into_iter().map(|(why, findings)| row([findings.to_string(), cell(&why)]));
        summary.table("What this host lacks", ["findings", "why"], "reason", rows);
        summary.push(&format!("\n{}\n", anstream::adapter::strip_str(&summary::total(report))));
    }
    summary.text
}

/// Whether somebody says what is to be expected.
fn is_known(expectation: &Expectation) -> bool {
    expectation.authority.is_some()
}

fn row<const N: usize>(cells: [String; N]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Text that is only text in a table's cell.
fn cell(text: &str) -> String {
    shown(text).replace('|', "\\|").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text that does not grow beyond its room.
struct Bounded {
    text: String,
    room: usize,
}

impl Bounded {
    fn push(&mut self, text: &str) {
        if self.fits(text) {
            self.text.push_str(text);
        }
    }

    fn fits(&self, text: &str) -> bool {
        self.text.len() + text.len() + REST <= self.room
    }

    /// A table, cut off after the last row that fits; nothing where there are no rows.
    fn table<const N: usize>(
        &mut self,
        title: &str,
        heading: [&str; N],
        noun: &str,
        rows: impl Iterator<Item = String>,
    ) {
        let mut rows = rows.peekable();
        let head = format!("\n### {title}\n\n{}|{}\n", row(heading.map(str::to_owned)), "---|".repeat(N));
        let has_room = rows.peek().is_some_and(|first| self.fits(&(head.clone() + first)));
        if has_room {
            self.text.push_str(&head);
            while let Some(row) = rows.next_if(|row| self.fits(row)) {
                self.text.push_str(&row);
            }
        }
        let rest = rows.count();
        let note = format!("\n… and {} left out\n", count(rest as u64, &format!("more {noun}")));
        // Something of what is kept goes to each of three tables.
        if rest > 0 && self.text.len() + note.len() <= self.room {
            self.text.push_str(&note);
        }
    }
}
