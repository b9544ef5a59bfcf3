//! Boundaries for people: a heading for each pair of versions, and one line for equal changes.
//!
//! `report` has grouped them before.

use std::collections::BTreeSet;

use super::compare::values;
use super::style::{BAD, FAINT, GOOD, HEADING, WARN, paint};
use super::text::{self, count, field, marked, shown};
use crate::report::compat::boundaries::{Boundaries, Boundary, Class, RefusedOp};
use crate::report::finding::Behind;

/// How much of each class is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cases {
    /// The command that shows one of them.
    Example,
    /// The command, and the ids of all.
    Named,
}

/// All boundaries, with styles.
pub fn boundaries(boundaries: &Boundaries, cases: Cases, width: usize) -> String {
    let mut text = String::new();
    for (stack, versions) in &boundaries.versions {
        let own: Vec<&Boundary> = boundaries.boundaries.iter().filter(|boundary| boundary.stack == *stack).collect();
        let reports = || boundaries.reports.values().filter(|source| source.stack == *stack);
        let names = versions.iter().map(|version| {
            let mut own = reports().filter(|source| source.version.as_ref() == Some(version));
            marked(&version.to_string(), own.any(|source| source.behind.is_some()))
        });
        let names: Vec<String> = names.collect();
        text.push_str(&field(&format!("{}  ", shown(stack)), &names.join(", "), width));
        for boundary in &own {
            text.push_str(&one(boundary, cases, width));
        }
        if own.is_empty() {
            text.push_str(&format!("\n{}\n", paint(GOOD, "nothing changed between them")));
        }
        text.push('\n');
    }
    text.push_str(&total(boundaries));
    let mut behind = Behind::new();
    for source in boundaries.reports.values() {
        let name = || format!("{} {}", source.stack, source.release);
        behind.extend(source.behind.iter().map(|command| (name(), BTreeSet::from([command.clone()]))));
    }
    text.extend(text::behind(&behind).iter().map(|line| field("", line, width)));
    text
}

fn one(boundary: &Boundary, cases: Cases, width: usize) -> String {
    let Boundary { after, since, environment, classes, refused, .. } = boundary;
    let mut text = format!("\n{}\n", paint(HEADING, &format!("between {after} and {since}")));
    for difference in environment {
        let label = format!("  {}  ", shown(&difference.fact));
        text.push_str(&paint(FAINT, field(&label, &values(difference), width).trim_end()));
        text.push('\n');
    }
    for RefusedOp { op, by, cases: refusing } in refused {
        let number = count(refusing.len() as u64, "case");
        text.push_str(&field(&format!("  refused {by}  "), &format!("{}  {number}", shown(op)), width));
        let named = refusing.iter().filter(|_| cases == Cases::Named);
        text.extend(named.map(|case| format!("      {}\n", shown(case))));
    }
    for class in classes {
        let unstable = if class.unstable { format!("  {}", paint(WARN, "unstable")) } else { String::new() };
        let number = count(class.cases.len() as u64, "case");
        text.push_str(&format!("  {}  {}  {number}{unstable}\n", shown(&class.scenario), class.call()));
        let change = format!("{} → {}", names(&class.from), names(&class.to));
        text.push_str(&format!("    {}\n", paint(BAD, &change)));
        for (side, references) in [("before", &class.because.before), ("since", &class.because.since)] {
            for reference in references {
                text.push_str(&paint(FAINT, field(&format!("    {side:<6}  "), &shown(reference), width).trim_end()));
                text.push('\n');
            }
        }
        text.push_str(&format!("    {}\n", shown(&class.command())));
        let named = class.cases.iter().filter(|_| cases == Cases::Named);
        text.extend(named.map(|case| format!("      {}\n", shown(case))));
    }
    text
}

/// `EADDRINUSE or ok`.
fn names(outcomes: &BTreeSet<String>) -> String {
    outcomes.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
}

fn total(boundaries: &Boundaries) -> String {
    let classes: Vec<&Class> = boundaries.boundaries.iter().flat_map(|boundary| &boundary.classes).collect();
    let changes: usize = classes.iter().map(|class| class.cases.len()).sum();
    let unstable: usize = classes.iter().filter(|class| class.unstable).map(|class| class.cases.len()).sum();
    let unstable = if unstable > 0 { format!(", {unstable} of them unstable") } else { String::new() };
    let places = boundaries.boundaries.len();
    let ies = if places == 1 { "y" } else { "ies" };
    format!("{places} boundar{ies}: {} of calls{unstable}\n", count(changes as u64, "change"))
}
