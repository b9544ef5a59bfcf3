//! Changes of one scenario and call that are alike, put together: twelve cases are one thing to look at.
//!
//! What a group says is decided here, once for every format; how it looks, in `render`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Comparison, Kind, Seen, Weight};
use crate::finding::Verdict;
use crate::names::Call;
use crate::untrusted::Text;

/// Changes that are alike.
#[derive(Clone, Debug)]
pub struct Group<'c> {
    pub weight: Weight,
    pub scenario: &'c str,
    pub call: Call,
    /// As that of a change: all of the group have the same, so that each is a case of its own.
    pub ordinal: u32,
    /// `EADDRNOTAVAIL → ok, match → mismatch`.
    pub words: String,
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
    /// `connect`, or `connect (2)` where the case makes it again.
    pub fn call(&self) -> String {
        if self.ordinal == 1 { self.call.to_string() } else { format!("{} ({})", self.call, self.ordinal) }
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
            let steadiness = change.kinds.iter().filter(|kind| matches!(kind, Kind::Unstable | Kind::Stable));
            parts.extend(steadiness.map(Kind::to_string));
            parts.join(", ")
        }
    }
}

/// `ok, match`, or `unsupported`.
fn state(seen: &Seen) -> String {
    let outcome = outcomes(seen).into_iter();
    outcome.chain([seen.verdict.to_string()]).collect::<Vec<_>>().join(", ")
}

/// `EADDRNOTAVAIL or ok`, without how often: counts differ from case to case, and would make each its own group.
fn outcomes(seen: &Seen) -> Option<String> {
    let repeated = seen.distribution.iter().flat_map(BTreeMap::keys);
    let outcomes: BTreeSet<&str> = repeated.map(Text::as_str).chain(seen.outcome.as_deref()).collect();
    // What did not come to an outcome is counted by its verdict, which is told beside it.
    let alone = outcomes.len() == 1;
    let outcomes: Vec<&str> =
        outcomes.into_iter().filter(|outcome| !alone || outcome.parse::<Verdict>().is_err()).collect();
    (!outcomes.is_empty()).then(|| outcomes.join(" or "))
}
