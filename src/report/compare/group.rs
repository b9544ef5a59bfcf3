//! Groups equal changes of one scenario and call: twelve cases are one thing to look at.
//!
//! `render` decides how a group looks.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, ChangeKind, ComparedFinding, Comparison, Weight};
use crate::report::finding::{Distribution, call_name};
use crate::words::names::Call;

/// Changes that are alike.
#[derive(Clone, Debug)]
pub struct Group<'c> {
    /// That of each.
    pub weight: Weight,
    /// The scenario's id.
    pub scenario: &'c str,
    /// Which call.
    pub call: Call,
    /// As that of a change: all of the group have the same, so that each is a case of its own.
    pub ordinal: u32,
    /// `EADDRNOTAVAIL → ok, match → mismatch`.
    pub words: String,
    /// In the order of their cases' names.
    pub changes: Vec<&'c Change>,
}

impl Comparison {
    /// All changes in groups, the worst and then the largest first.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<(Weight, &str, Call, u32, String), Vec<&Change>> = BTreeMap::new();
        for change in &self.changes {
            let key = (change.weight, &*change.scenario, change.call, change.ordinal, words(change));
            groups.entry(key).or_default().push(change);
        }
        let group = |((weight, scenario, call, ordinal, words), changes)| Group {
            weight,
            scenario,
            call,
            ordinal,
            words,
            changes,
        };
        let mut groups: Vec<Group<'_>> = groups.into_iter().map(group).collect();
        groups.sort_by_key(|group| (group.weight, std::cmp::Reverse(group.changes.len())));
        groups
    }
}

impl Group<'_> {
    /// `connect`, or `connect (call 2)` where others of the case come before it.
    pub fn call(&self) -> String {
        call_name(self.call, self.ordinal)
    }
}

fn words(change: &Change) -> String {
    match (&change.baseline, &change.current) {
        (None, None) => String::new(),
        (Some(was), None) => format!("disappeared, was {}", state(was)),
        (None, Some(is)) => format!("appeared: {}", state(is)),
        (Some(was), Some(is)) => {
            let arrow = |was: &str, is: &str| if was == is { is.to_owned() } else { format!("{was} → {is}") };
            let mut parts = Vec::new();
            match (outcomes(was), outcomes(is)) {
                (Some(was), Some(is)) => parts.push(arrow(&was, &is)),
                (None, Some(is)) => parts.push(is),
                (_, None) => {}
            }
            if was.verdict != is.verdict {
                parts.push(arrow(was.verdict.as_str(), is.verdict.as_str()));
            }
            let steadiness =
                change.kinds.iter().filter(|kind| matches!(kind, ChangeKind::Unstable | ChangeKind::Stable));
            parts.extend(steadiness.map(ChangeKind::to_string));
            parts.join(", ")
        }
    }
}

/// `ok, match`, or `unsupported`.
fn state(seen: &ComparedFinding) -> String {
    let outcome = outcomes(seen).into_iter();
    outcome.chain([seen.verdict.to_string()]).collect::<Vec<_>>().join(", ")
}

/// `EADDRNOTAVAIL or ok`, without how often: counts differ from case to case, and would make each its own group.
fn outcomes(seen: &ComparedFinding) -> Option<String> {
    let repeated = seen.distribution.iter().flat_map(Distribution::answers).map(|(answer, _)| answer);
    let answers: BTreeSet<&str> = repeated.chain(seen.outcome.as_deref()).collect();
    // A verdict that came in all runs is told beside it.
    let alone = answers.contains(seen.verdict.as_str()) && answers.len() == 1;
    let answers: Vec<&str> = answers.into_iter().filter(|_| !alone).collect();
    (!answers.is_empty()).then(|| answers.join(" or "))
}
