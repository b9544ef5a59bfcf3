//! Reports as Markdown: what this stack did, beside what others are expected to do.
//!
//! Neither times nor dates: two runs on one kernel give the same text, and a difference is one of the kernel's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use indexmap::{IndexMap, IndexSet};

use super::summary::{by_scenario, kinds, lacks};
use super::text::{count, distribution};
use super::{claims, details};
use crate::claim::Judged;
use crate::finding::{Finding, Report, Verdict};
use crate::names::Os;

/// As much of a digest as tells two catalogues apart.
const DIGEST: usize = "sha256:".len() + 12;

pub fn markdown(report: &Report, claims: &[Judged]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = Markdown { report, claims, out: &mut text }.write();
    text
}

struct Markdown<'r> {
    report: &'r Report,
    claims: &'r [Judged],
    out: &'r mut String,
}

impl Markdown<'_> {
    fn write(&mut self) -> fmt::Result {
        self.header()?;
        self.out.write_str(&claims::markdown(self.claims, self.report.host.os))?;
        self.verdicts()?;
        let mut rest = &*self.report.findings;
        while let Some(first) = rest.first() {
            let length = rest.iter().position(|finding| finding.scenario != first.scenario).unwrap_or(rest.len());
            let (scenario, others) = rest.split_at(length);
            self.scenario(scenario)?;
            rest = others;
        }
        self.trouble()
    }

    fn header(&mut self) -> fmt::Result {
        let Report { tool, host, catalogue, started, complete, repeat, findings, .. } = self.report;
        let cases: BTreeSet<&str> = findings.iter().map(|finding| &*finding.case).collect();
        writeln!(self.out, "# What {} answers\n", host.stack)?;
        writeln!(self.out, "| | |\n|---|---|")?;
        let digest = catalogue.digest.get(..DIGEST).unwrap_or(&catalogue.digest);
        let times = if *repeat > 1 { format!(" {repeat} times each") } else { String::new() };
        let ran = format!("{}{times}, {}", count(cases.len() as u64, "case"), count(findings.len() as u64, "finding"));
        let known = format!("{}, {}, {digest}", count(catalogue.scenarios, "scenario"), count(catalogue.cases, "case"));
        for (name, value) in [
            ("stack", host.stack.clone()),
            ("release", host.release.clone()),
            ("architecture", host.arch.clone()),
            ("isolation", host.isolation.clone()),
            ("catalogue", known),
            ("started", started.to_string()),
            ("ran", ran),
            ("by", format!("{} {}", tool.name, tool.version)),
        ] {
            writeln!(self.out, "| {name} | {} |", cell(&value))?;
        }
        if !complete {
            writeln!(self.out, "\n> **Incomplete:** the run was interrupted. Cases that did not run are absent.")?;
        }
        Ok(())
    }

    fn verdicts(&mut self) -> fmt::Result {
        let present = self.report.summary.iter().filter(|(_, count)| **count > 0);
        let columns: Vec<Verdict> = present.map(|(&verdict, _)| verdict).collect();
        let names: Vec<&str> = columns.iter().map(|verdict| verdict.as_str()).collect();
        writeln!(self.out, "\n## Verdicts\n")?;
        if columns.is_empty() {
            return writeln!(self.out, "Nothing ran.");
        }
        writeln!(self.out, "| scenario | cases | {} |", names.join(" | "))?;
        writeln!(self.out, "|---|---:|{}", "---:|".repeat(columns.len()))?;
        for row in by_scenario(self.report) {
            write!(self.out, "| [{0}](#{1}) | {2} |", row.scenario, anchor(row.scenario), row.cases)?;
            for verdict in &columns {
                write!(self.out, " {} |", row.verdicts.get(verdict).map_or(String::new(), u64::to_string))?;
            }
            writeln!(self.out)?;
        }
        Ok(())
    }

    /// One table: what was called, what it gave, where.
    fn scenario(&mut self, findings: &[Finding]) -> fmt::Result {
        let Some(first) = findings.first() else { return Ok(()) };
        let cases: BTreeSet<&str> = findings.iter().map(|finding| &*finding.case).collect();
        writeln!(self.out, "\n## {}\n", first.scenario)?;
        writeln!(self.out, "{}, {}.", count(cases.len() as u64, "case"), count(findings.len() as u64, "finding"))?;
        let fixed: Vec<String> = values(findings)
            .iter()
            .map(|(axis, values)| format!("`{axis}` {}", values.iter().copied().collect::<Vec<_>>().join(" ")))
            .collect();
        if !fixed.is_empty() {
            writeln!(self.out, "Axes: {}.", fixed.join("; "))?;
        }
        let elsewhere: BTreeSet<Os> = findings.iter().flat_map(|finding| finding.elsewhere.keys().copied()).collect();
        write!(self.out, "\n| call | cause | {} | findings | where |", self.report.host.stack)?;
        for os in &elsewhere {
            write!(self.out, " {os}: expected, not observed |")?;
        }
        writeln!(self.out, " for example |")?;
        writeln!(self.out, "|---|---|---|---:|---|{}---|", "---|".repeat(elsewhere.len()))?;
        let all = values(findings);
        for group in groups(findings) {
            let Some(example) = group.first() else { continue };
            let outcome = match example.verdict() {
                Verdict::Match => format!("**{}**", permitted(example)),
                verdict => format!("{} ({verdict})", example.outcome.as_ref().map_or("—", |outcome| outcome.name())),
            };
            write!(
                self.out,
                "| {} | {} | {outcome} | {} | {} |",
                call(example),
                example.cause,
                group.len(),
                cell(&place(&group, &all)),
            )?;
            for os in &elsewhere {
                write!(self.out, " {} |", cell(&expected_on(*os, &group)))?;
            }
            let point = example.case.strip_prefix(&*example.scenario).unwrap_or(&example.case);
            writeln!(self.out, " `{}` |", cell(point))?;
        }
        Ok(())
    }

    fn trouble(&mut self) -> fmt::Result {
        let kinds = kinds(self.report);
        if !kinds.is_empty() {
            writeln!(self.out, "\n## Mismatches and what went wrong\n")?;
        }
        for kind in kinds {
            let finding = kind.first;
            let reason = cell(finding.reason.as_deref().unwrap_or_default());
            let findings = count(kind.findings as u64, "finding");
            let (verdict, call) = (finding.verdict(), finding.subject.call);
            writeln!(self.out, "- **{verdict}**, {findings}: `{}` {call}: {reason}", finding.case)?;
            for expectation in finding.expected.iter() {
                writeln!(self.out, "  - expected {}", details::expected(expectation))?;
            }
        }
        let unstable: Vec<&Finding> = self.report.findings.iter().filter(|finding| finding.is_unstable()).collect();
        if !unstable.is_empty() {
            writeln!(self.out, "\n## Not stable\n")?;
        }
        for finding in unstable {
            writeln!(self.out, "- `{}` {}: {}", finding.case, finding.subject.call, distribution(finding))?;
        }
        let lacks = lacks(self.report);
        if !lacks.is_empty() {
            writeln!(self.out, "\n## Unsupported on this host\n")?;
        }
        for (reason, findings) in lacks {
            writeln!(self.out, "- {}: {}", count(findings, "finding"), cell(reason))?;
        }
        Ok(())
    }
}

/// Findings with the same call, cause, outcome and verdict, in the order in which they first appear by call.
fn groups(findings: &[Finding]) -> Vec<Vec<&Finding>> {
    let mut order: Vec<String> = Vec::new();
    let mut groups: BTreeMap<(usize, &str, String, Verdict), Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        let call = call(finding);
        let position = order.iter().position(|known| *known == call).unwrap_or_else(|| {
            order.push(call);
            order.len() - 1
        });
        let key = (position, finding.cause.as_str(), permitted(finding), finding.verdict());
        groups.entry(key).or_default().push(finding);
    }
    groups.into_values().collect()
}

/// The outcome; where the kernel may choose between several, all of them, because one run says nothing about the next.
fn permitted(finding: &Finding) -> String {
    match &*finding.expected {
        several @ [_, _, ..] if finding.verdict() == Verdict::Match => {
            let outcomes: Vec<&str> = several.iter().map(|expectation| &*expectation.outcome).collect();
            outcomes.join(" or ")
        }
        _ => finding.outcome_name().to_owned(),
    }
}

fn call(finding: &Finding) -> String {
    match finding.subject.port {
        crate::names::PortChoice::None => finding.subject.call.to_string(),
        port => format!("{}, {port} port", finding.subject.call),
    }
}

type Values<'f> = IndexMap<&'f str, IndexSet<&'f str>>;

/// Which values the axes take, in the order of the catalogue.
fn values<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Values<'f> {
    let mut all = Values::new();
    for (axis, value) in findings.into_iter().flat_map(|finding| &finding.axes) {
        all.entry(axis).or_default().insert(value);
    }
    all
}

/// What tells the findings of a group from the others of the scenario, as far as single axes can.
fn place(group: &[&Finding], all: &Values<'_>) -> String {
    let own = values(group.iter().copied());
    let mut conditions = Vec::new();
    for (axis, own) in &own {
        let Some(all) = all.get(axis) else { continue };
        let others: IndexSet<&str> = all.iter().copied().filter(|value| !own.contains(value)).collect();
        let list = |values: &IndexSet<&str>| values.iter().copied().collect::<Vec<_>>().join(", ");
        conditions.push(match (own.len(), others.len()) {
            (_, 0) => continue,
            (1, _) => format!("{axis}={}", list(own)),
            (_, 1) => format!("{axis}≠{}", list(&others)),
            (in_group, elsewhere) if in_group > elsewhere => format!("{axis} ∉ {{{}}}", list(&others)),
            _ => format!("{axis} ∈ {{{}}}", list(own)),
        });
    }
    conditions.join("; ")
}

/// What another OS is expected to do in the cases of a group, with how many of them and on whose authority.
fn expected_on(os: Os, group: &[&Finding]) -> String {
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for finding in group {
        let Some(expectations) = finding.elsewhere.get(&os) else { continue };
        let outcomes: Vec<String> = expectations
            .iter()
            .map(|expectation| match expectation.authority {
                Some(authority) => format!("{} ({authority})", expectation.outcome),
                None => expectation.outcome.clone(),
            })
            .collect();
        *expected.entry(outcomes.join(" or ")).or_default() += 1;
    }
    let single = expected.len() == 1;
    let mut expected: Vec<(String, u64)> = expected.into_iter().collect();
    expected.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let shown =
        expected.into_iter().map(|(outcome, count)| if single { outcome } else { format!("{outcome} ×{count}") });
    shown.collect::<Vec<_>>().join(", ")
}

/// Text that fits a table's cell.
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The anchor that renderers give a heading.
fn anchor(heading: &str) -> String {
    heading.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect::<String>().to_lowercase()
}
