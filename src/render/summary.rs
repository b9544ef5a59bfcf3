//! What a person sees after a run: counts by scenario and verdict, then everything that is no match.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{Attribute, Cell, Color};

use super::details;
use super::style::{BAD, GOOD, HEADING, WARN, paint, verdict as style};
use super::text::{count, distribution, field, heading, lines, numbers_from, table, unwrapped};
use crate::report::finding::{Finding, Missing, Report, Verdict};
use crate::words::names::Call;

/// How many kinds of trouble are shown in full.
const IN_FULL: usize = 10;

/// The whole summary, with styles; what is new comes first.
pub fn summary(report: &Report, width: usize) -> String {
    let mut text = headline(report);
    if !report.findings.is_empty() {
        text.push_str(&format!("\n{}\n", verdicts(report, width)));
    }
    text.push_str(&total(report));
    let trouble = trouble(report, width);
    if !trouble.is_empty() {
        text.push('\n');
        text.push_str(&trouble);
    }
    text
}

/// Whether something is new, in one line: an answer that nobody expected, or that is in doubt.
fn headline(report: &Report) -> String {
    let summary = report.summary();
    let number = |verdict: Verdict| summary.get(&verdict).copied().unwrap_or(0);
    let is_new = |verdict: &Verdict| !matches!(verdict, Verdict::Match | Verdict::Unsupported);
    let mut new: Vec<String> = present(report)
        .filter(|(verdict, _)| is_new(verdict))
        .map(|(verdict, count)| format!("{count} {verdict}"))
        .collect();
    let unstable = report.findings.iter().filter(|finding| finding.is_unstable()).count();
    if unstable > 0 {
        new.push(format!("{unstable} not stable"));
    }
    let answers = count(number(Verdict::Match), "answer");
    if !new.is_empty() {
        return format!("{}: {}; see below\n", paint(BAD, "not as expected"), new.join(", "));
    }
    match number(Verdict::Match) {
        0 => format!("{}: no call could be made here\n", paint(WARN, "nothing ran")),
        1 => format!("{}: the answer is as expected\n", paint(GOOD, "nothing new")),
        _ => format!("{}: all {answers} are as expected\n", paint(GOOD, "nothing new")),
    }
}

/// Everything that is no match, and nothing where all are.
pub fn trouble(report: &Report, width: usize) -> String {
    [kinds_of_trouble(report, width), unstable(report), unsupported(report, width)]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every finding in full, matches too.
pub fn everything(report: &Report, width: usize) -> String {
    let findings = report.findings.iter().map(|finding| details::finding(finding, 1, width));
    findings.collect::<Vec<_>>().join("\n")
}

/// `2310 cases, 5120 findings: 5100 match, 20 unsupported`.
pub fn total(report: &Report) -> String {
    let cases: BTreeSet<&str> = report.findings.iter().map(|finding| &*finding.case).collect();
    let verdicts: Vec<String> =
        present(report).map(|(verdict, count)| paint(style(verdict), &format!("{count} {verdict}"))).collect();
    let verdicts = if verdicts.is_empty() { "nothing ran".to_owned() } else { verdicts.join(", ") };
    let cases = count(cases.len() as u64, "case");
    let repeated = if report.repeat > 1 { format!(" {} times each", report.repeat) } else { String::new() };
    format!("{cases}{repeated}, {}: {verdicts}\n", count(report.findings.len() as u64, "finding"))
}

fn present(report: &Report) -> impl Iterator<Item = (Verdict, u64)> {
    report.summary().into_iter().filter(|(_, count)| *count > 0)
}

fn verdicts(report: &Report, width: usize) -> String {
    let columns: Vec<Verdict> = present(report).map(|(verdict, _)| verdict).collect();
    let mut table = table(width);
    table.set_header(heading(["scenario", "cases"].into_iter().chain(columns.iter().map(|verdict| verdict.as_str()))));
    for row in by_scenario(report) {
        let mut cells = vec![Cell::new(row.scenario), Cell::new(row.cases)];
        for verdict in &columns {
            let count = row.verdicts.get(verdict).copied().unwrap_or(0);
            cells.push(match (verdict, count) {
                (_, 0) => Cell::new("·").add_attribute(Attribute::Dim),
                (Verdict::Match, count) => Cell::new(count),
                (Verdict::Unsupported, count) => Cell::new(count).fg(Color::DarkYellow),
                (_, count) => Cell::new(count).fg(Color::DarkRed).add_attribute(Attribute::Bold),
            });
        }
        table.add_row(cells);
    }
    numbers_from(&mut table, 1);
    unwrapped(&mut table, 1);
    lines(table, "")
}

/// The findings of one scenario, counted.
pub struct Row<'r> {
    pub scenario: &'r str,
    pub cases: usize,
    pub verdicts: BTreeMap<Verdict, u64>,
}

pub fn by_scenario(report: &Report) -> Vec<Row<'_>> {
    let mut rows: BTreeMap<&str, (BTreeSet<&str>, BTreeMap<Verdict, u64>)> = BTreeMap::new();
    for finding in &report.findings {
        let (cases, verdicts) = rows.entry(&finding.scenario).or_default();
        cases.insert(&finding.case);
        *verdicts.entry(finding.verdict()).or_default() += 1;
    }
    rows.into_iter().map(|(scenario, (cases, verdicts))| Row { scenario, cases: cases.len(), verdicts }).collect()
}

/// Findings of one scenario and one verdict that say the same.
pub struct Kind<'r> {
    pub first: &'r Finding,
    pub findings: usize,
}

/// What is neither a match nor unsupported, the worst first.
pub fn kinds(report: &Report) -> Vec<Kind<'_>> {
    let mut kinds: Vec<Kind<'_>> = Vec::new();
    let mut known: BTreeMap<(Verdict, &str, Call, Option<String>), usize> = BTreeMap::new();
    for finding in &report.findings {
        if matches!(finding.verdict(), Verdict::Match | Verdict::Unsupported) {
            continue;
        }
        let key = (finding.verdict(), &*finding.scenario, finding.subject.call, finding.reason());
        let index = *known.entry(key).or_insert_with(|| {
            kinds.push(Kind { first: finding, findings: 0 });
            kinds.len() - 1
        });
        kinds[index].findings += 1;
    }
    // The order of the verdicts is that of their weight; equal ones stay in the order of the catalogue.
    kinds.sort_by_key(|kind| kind.first.verdict());
    kinds
}

fn kinds_of_trouble(report: &Report, width: usize) -> String {
    let kinds = kinds(report);
    let in_full = kinds.iter().take(IN_FULL);
    let mut shown: Vec<String> = in_full.map(|kind| details::finding(kind.first, kind.findings, width)).collect();
    if let Some(rest) = kinds.get(IN_FULL..).filter(|rest| !rest.is_empty()) {
        let findings: usize = rest.iter().map(|kind| kind.findings).sum();
        let more = count(rest.len() as u64, "more kind");
        shown.push(format!("… and {more} ({}); --json has them all\n", count(findings as u64, "finding")));
    }
    shown.join("\n")
}

/// One line each, however long: they are for searching and for copying ids.
fn unstable(report: &Report) -> String {
    let unstable = report.findings.iter().filter(|finding| finding.is_unstable());
    let lines: String = unstable
        .map(|finding| format!("  {} {}: {}\n", finding.case, finding.subject.call, distribution(finding)))
        .collect();
    if lines.is_empty() { lines } else { format!("{}\n{lines}", paint(HEADING, "not stable")) }
}

/// What the host lacks, and how many findings that costs.
pub fn lacks(report: &Report) -> Vec<(String, u64)> {
    let mut lacks: BTreeMap<(&str, &str), (&Missing, u64)> = BTreeMap::new();
    for missing in report.findings.iter().filter_map(Finding::missing) {
        if let Missing::Unsupported(lacking) = missing {
            lacks.entry((lacking.need.as_str(), &lacking.reason)).or_insert((missing, 0)).1 += 1;
        }
    }
    lacks.into_values().map(|(missing, findings)| (missing.to_string(), findings)).collect()
}

fn unsupported(report: &Report, width: usize) -> String {
    let mut text = String::new();
    for (reason, findings) in lacks(report) {
        let label = format!("{:>6} unsupported  ", findings);
        text.push_str(&field(&label, &reason, width));
    }
    text
}
