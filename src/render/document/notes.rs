//! What a reader must not overlook: mismatches, unstable findings, what was not observed, and what is unknown.
//!
//! None of it is ever folded away.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::super::details;
use super::super::summary::{kinds, lacks};
use super::super::text::{self, count, distribution};
use super::{Document, ScenarioFindings, StackAnswer};
use crate::report::compat::Basis;
use crate::report::finding::{self, Finding, Verdict};
use crate::words::names::Call;
use crate::words::untrusted::Text;

/// As much of a digest as tells two catalogues apart.
const DIGEST: usize = "sha256:".len() + 12;

/// A stack with all that a report says of it as a whole.
pub struct Stack {
    pub label: String,
    pub release: String,
    pub arch: String,
    pub isolation: String,
    pub started: String,
    /// Cases and findings: `3701 cases 2 times each, 5856 findings`.
    pub ran: String,
    pub verdicts: Vec<(Verdict, u64)>,
    pub catalogue: String,
    pub tool: String,
    /// Who speaks for it, where it is behind a command.
    pub behind: Vec<String>,
    pub complete: bool,
}

pub fn stacks(document: &Document<'_>) -> Vec<Stack> {
    let labels = document.observed().map(|(_, column)| column.label.clone());
    let stacks = document.reports.iter().zip(labels).map(|(report, label)| {
        let cases: std::collections::BTreeSet<&str> = report.findings.iter().map(|finding| &*finding.case).collect();
        let times = if report.repeat > 1 { format!(" {} times each", report.repeat) } else { String::new() };
        let findings = count(report.findings.len() as u64, "finding");
        let digest = report.catalogue.digest.get(..DIGEST).unwrap_or(&report.catalogue.digest);
        Stack {
            label,
            release: report.host.release.to_string(),
            arch: report.host.arch.to_string(),
            isolation: report.host.isolation.to_string(),
            started: report.started.to_string(),
            ran: format!("{}{times}, {findings}", count(cases.len() as u64, "case")),
            verdicts: Verdict::ALL
                .iter()
                .map(|&verdict| (verdict, own(report.findings.iter(), verdict)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            catalogue: format!(
                "{}, {}, {digest}",
                count(report.catalogue.scenarios, "scenario"),
                count(report.catalogue.cases, "case")
            ),
            tool: format!("{} {}", report.tool.name, report.tool.version),
            behind: text::behind(&finding::behind([&report.host])),
            complete: report.complete,
        }
    });
    stacks.collect()
}

fn own<'f>(findings: impl Iterator<Item = &'f Finding>, verdict: Verdict) -> u64 {
    findings.filter(|finding| finding.verdict() == verdict).count() as u64
}

/// Findings of one scenario and stack that are no match for the same reason.
pub struct Trouble {
    pub stack: String,
    /// Whether the stack is the OS's own, so that something else was expected of it.
    pub own: bool,
    pub verdict: Verdict,
    pub findings: String,
    pub case: String,
    pub call: String,
    pub reason: String,
    pub expected: Vec<String>,
}

/// The worst first, on each stack.
pub fn trouble(document: &Document<'_>) -> Vec<Trouble> {
    let reports = document.reports.iter().zip(document.observed());
    let trouble = reports.flat_map(|(report, (_, column))| {
        kinds(report).into_iter().map(|kind| Trouble {
            stack: column.label.clone(),
            own: report.host.is_own(),
            verdict: kind.first.verdict(),
            findings: count(kind.findings as u64, "finding"),
            case: kind.first.case.to_string(),
            call: kind.first.subject.call.to_string(),
            reason: kind.first.reason().unwrap_or_default(),
            expected: kind.first.expected().iter().map(details::expected).collect(),
        })
    });
    trouble.collect()
}

/// A stack that passes for an OS, of which nothing is expected: how many of its findings are no match.
pub struct Stranger {
    pub stack: String,
    pub os: String,
    pub verdicts: Vec<(Verdict, u64)>,
}

pub fn strangers(document: &Document<'_>) -> Vec<Stranger> {
    let reports = document.reports.iter().zip(document.observed()).filter(|(report, _)| !report.host.is_own());
    let stranger = reports.map(|(report, (_, column))| Stranger {
        stack: column.label.clone(),
        os: column.os.to_string(),
        verdicts: (report.summary().into_iter())
            .filter(|(verdict, count)| *verdict != Verdict::Match && *count > 0)
            .collect(),
    });
    stranger.collect()
}

/// A call that gave more than one outcome when it was repeated, and how often each on the stacks where it did.
pub struct Unstable {
    /// Whether one of the stacks is an OS's own.
    pub own: bool,
    pub case: String,
    pub call: String,
    pub stacks: Vec<(String, String)>,
}

pub fn unstable(document: &Document<'_>) -> Vec<Unstable> {
    let mut calls: IndexMap<_, (bool, Vec<(String, String)>)> = IndexMap::new();
    for (report, (_, column)) in document.reports.iter().zip(document.observed()) {
        for finding in report.findings.iter().filter(|finding| finding.is_unstable()) {
            let (own, stacks) = calls.entry((&finding.case, finding.subject.call)).or_default();
            *own |= report.host.is_own();
            stacks.push((column.label.clone(), distribution(finding)));
        }
    }
    let unstable = |((case, call), (own, stacks)): ((&Text, Call), _)| Unstable {
        own,
        case: case.to_string(),
        call: call.to_string(),
        stacks,
    };
    calls.into_iter().map(unstable).collect()
}

/// What a host lacked, and how many findings that costs.
pub struct Lack {
    /// Whether one of the stacks is an OS's own.
    pub own: bool,
    pub stacks: Vec<String>,
    pub findings: String,
    pub reason: String,
}

pub fn unsupported(document: &Document<'_>) -> Vec<Lack> {
    let mut all: IndexMap<(String, u64), (bool, Vec<String>)> = IndexMap::new();
    for (report, (_, column)) in document.reports.iter().zip(document.observed()) {
        for lack in lacks(report) {
            let (own, stacks) = all.entry(lack).or_default();
            *own |= report.host.is_own();
            stacks.push(column.label.clone());
        }
    }
    let lack = |((reason, findings), (own, stacks)): (_, (bool, Vec<String>))| Lack {
        own,
        stacks,
        findings: count(findings, "finding"),
        reason,
    };
    all.into_iter().map(lack).collect()
}

/// What documents and sources say of calls that nobody observed on a system, and what nobody knows of it.
pub struct NotObserved {
    pub system: String,
    /// Those of which something is known.
    pub expected: u64,
    /// Those of them that XNU's own code gave.
    pub xnu_run: u64,
    pub unknown: u64,
    /// Scenarios with calls of which nothing is known, with how many.
    pub scenarios: Vec<(String, u64)>,
}

pub fn not_observed(document: &Document<'_>) -> Vec<NotObserved> {
    let columns = document.columns.iter().enumerate().filter(|(_, column)| !column.observed);
    let systems = columns.map(|(place, column)| {
        let (mut expected, mut xnu_run, mut unknown) = (0, 0, 0);
        let mut scenarios: BTreeMap<&str, u64> = BTreeMap::new();
        for item in document.items() {
            match item.given[place] {
                Some(StackAnswer::Expected(outcomes)) if outcomes.iter().any(|one| one.outcome == "unknown") => {
                    unknown += 1;
                    *scenarios.entry(&item.finding.scenario).or_default() += 1;
                }
                Some(given) => {
                    expected += 1;
                    xnu_run += u64::from(given.basis() == Basis::XnuRun);
                }
                None => {}
            }
        }
        let scenarios = scenarios.into_iter().map(|(scenario, calls)| (scenario.to_owned(), calls)).collect();
        NotObserved { system: column.os.to_string(), expected, xnu_run, unknown, scenarios }
    });
    systems.collect()
}

/// All findings, counted: one row for each verdict and outcome, one number for each stack.
pub fn counted(document: &Document<'_>) -> Vec<(Verdict, String, Vec<u64>)> {
    let counts = document.counts();
    let labels: Vec<&String> = document.observed().map(|(_, column)| &column.label).collect();
    let kinds: std::collections::BTreeSet<&(Verdict, String)> = counts.values().flat_map(|own| own.keys()).collect();
    let rows = kinds.into_iter().map(|kind| {
        let own = |label: &&String| counts.get(*label).and_then(|own| own.get(kind)).copied().unwrap_or(0);
        (kind.0, kind.1.clone(), labels.iter().map(own).collect())
    });
    rows.collect()
}

/// `2 unsupported`, of the findings of one scenario; nothing where all match.
pub fn other_than_match(scenario: &ScenarioFindings<'_>) -> String {
    let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
    for given in scenario.items.iter().flat_map(|item| item.given.iter().flatten()) {
        if let StackAnswer::Observed(finding) = given {
            *counts.entry(finding.verdict()).or_default() += 1;
        }
    }
    counts.remove(&Verdict::Match);
    counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect::<Vec<_>>().join(", ")
}
