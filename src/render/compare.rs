//! A comparison for people: first the environment, then the changes by scenario, with one line for equal ones.
//!
//! `report::compare` has grouped and ordered them before.

use std::fmt::Write;

use super::style::{BAD, FAINT, GOOD, HEADING, WARN, paint};
use super::text::{count, field, shown};
use crate::report::compare::{Change, Comparison, FactDifference, Group, Side, Weight};
use crate::report::finding::Distribution;

/// How much of each group is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cases {
    Counted,
    /// With their ids, a line each.
    Named,
}

/// The whole comparison, with styles.
pub fn comparison(comparison: &Comparison, cases: Cases, width: usize) -> String {
    let mut text = side("baseline  ", &comparison.baseline, width) + &side("current   ", &comparison.current, width);
    if !comparison.environment.is_empty() {
        let _ = writeln!(text, "\n{}", paint(HEADING, "environment"));
        for difference in &comparison.environment {
            text.push_str(&field(&format!("  {}  ", shown(&difference.fact)), &values(difference), width));
        }
    }
    let mut groups = comparison.groups();
    // The scenario with the worst change comes first, and keeps its changes together.
    let order: Vec<&str> = groups.iter().map(|group| group.scenario).collect();
    groups.sort_by_key(|group| order.iter().position(|&scenario| scenario == group.scenario));
    let mut scenario = "";
    for group in &groups {
        if group.scenario != scenario {
            scenario = group.scenario;
            let _ = writeln!(text, "\n{}", paint(HEADING, &shown(scenario)));
        }
        text.push_str(&self::group(group, cases, width));
    }
    let (first, rest) = counted(comparison);
    let style = if comparison.is_changed() { HEADING } else { GOOD };
    text + "\n" + &field("", &format!("{first}{rest}"), width).replacen(&first, &paint(style, &first), 1)
}

fn side(label: &str, side: &Side, width: usize) -> String {
    let interrupted = if side.complete { "" } else { ", interrupted" };
    let findings = count(side.findings, "finding");
    field(label, &shown(&format!("{}, {findings}{interrupted}", of(side))), width)
}

/// `linux 6.18 (6.18.5, 2026-11-22T17:16:08Z)`: what ran, and when.
pub fn of(side: &Side) -> String {
    let behind = side.behind.as_ref().map(|command| format!(", behind `{command}`")).unwrap_or_default();
    format!("{} ({}, {}{behind})", side.stack, side.release, side.started)
}

/// `6.18.44 → 6.19.1`.
pub fn values(difference: &FactDifference) -> String {
    // As much of a digest as tells two apart.
    let value = |value: &Option<String>| match value.as_deref() {
        None => "absent".to_owned(),
        Some("") => "empty".to_owned(),
        Some(digest) if digest.starts_with("sha256:") => shown(digest).chars().take("sha256:".len() + 12).collect(),
        Some(value) => shown(value),
    };
    format!("{} → {}", value(&difference.baseline), value(&difference.current))
}

fn group(group: &Group<'_>, cases: Cases, width: usize) -> String {
    let changes = count(group.changes.len() as u64, "case");
    let label = format!("  {changes:>10}  {}  ", group.call());
    let style = match group.weight {
        Weight::Error => BAD,
        Weight::Warning => WARN,
        Weight::Notice => GOOD,
    };
    let text = field(&label, &shown(&group.words), width).replacen(&changes, &paint(style, &changes), 1);
    match cases {
        Cases::Counted => text,
        Cases::Named => {
            let named = group.changes.iter().map(|change| format!("    {}\n", paint(FAINT, &case(change))));
            text + &named.collect::<String>()
        }
    }
}

/// The id of a change's case, with how often it gave what.
pub fn case(change: &Change) -> String {
    let distribution = change.current.as_ref().and_then(|seen| seen.distribution.as_ref());
    let counts = distribution.into_iter().flat_map(Distribution::answers);
    let counts: Vec<String> = counts.map(|(answer, count)| format!("{answer} ×{count}")).collect();
    shown(&if counts.len() < 2 { change.case.to_string() } else { format!("{}: {}", change.case, counts.join(", ")) })
}

/// `24 changes: 24 outcome-changed, 12 verdict-changed; 5832 findings unchanged`.
pub fn total(comparison: &Comparison) -> String {
    let (first, rest) = counted(comparison);
    first + &rest
}

/// The same in two parts, of which the first is what matters.
fn counted(comparison: &Comparison) -> (String, String) {
    let summary = &comparison.summary;
    let unchanged = format!("{} unchanged", count(summary.unchanged, "finding"));
    if !comparison.is_changed() {
        let environment = if comparison.environment.is_empty() { "" } else { " in another environment" };
        return ("no change".to_owned(), format!(": {unchanged}{environment}"));
    }
    let kinds = summary.kinds.iter().filter(|(_, count)| **count > 0);
    let kinds: Vec<String> = kinds.map(|(kind, count)| format!("{count} {kind}")).collect();
    (count(summary.changed, "change"), format!(": {}; {unchanged}", kinds.join(", ")))
}
