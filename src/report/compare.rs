//! Holds two reports against each other: what changed from a baseline to the current run.
//!
//! It says what differs and how important that is, and never which report is right. It compares only what the kernel
//! said: expectations belong to the catalogue.

pub mod accept;
pub mod environment;
mod group;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::report::finding::{Distribution, Finding, Report, SubjectRef, Verdict};
use crate::words::cause::Cause;
use crate::words::moment::Moment;
use crate::words::names::{Call, words};
use crate::words::untrusted::Text;

pub use environment::FactDifference;
pub use group::Group;

/// The version of the comparison format, its first field.
pub const FORMAT: &str = "errnoscope-comparison/3";

words! {
    /// In what a finding differs; several may hold at once.
    #[schemars(rename = "Kind")]
    ChangeKind {
        /// The kernel gives another outcome.
        Outcome = "outcome-changed",
        /// The verdict is another.
        Verdict = "verdict-changed",
        /// Repeated runs no longer agree.
        Unstable = "became-unstable",
        /// Repeated runs agree again.
        Stable = "became-stable",
        /// The baseline has it and the current run has not.
        Disappeared = "disappeared",
        /// The current run has it and the baseline has not.
        Appeared = "appeared",
    }
}

words! {
    /// How much a change weighs, in the words that CI services have for it; the worst first.
    Weight {
        /// Another outcome, or one that is not right.
        Error = "error",
        /// Less is known than before.
        Warning = "warning",
        /// More is known than before, or what was wrong is right.
        Notice = "notice",
    }
}

/// All that differs between two reports.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Comparison {
    /// `errnoscope-comparison/3`.
    #[schemars(extend("const" = FORMAT))]
    pub format: &'static str,
    /// The report that the other is held against.
    pub baseline: Side,
    /// The other.
    pub current: Side,
    /// What differs around the findings. It may explain a change, and is none itself.
    pub environment: Vec<FactDifference>,
    /// How many changes there are.
    pub summary: Summary,
    /// A change for each finding that differs, in the order of their cases' names.
    pub changes: Vec<Change>,
    /// Those that a file of known deviations names, which are not among the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Change>,
}

/// One of the two reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Side {
    /// What answered: `linux 6.18`.
    pub stack: Text,
    /// The kernel's release.
    pub release: Text,
    /// The command of `--on` that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<Text>,
    /// When the run began.
    pub started: Moment,
    /// Whether the run came to its end.
    pub complete: bool,
    /// How many it has.
    pub findings: u64,
}

/// How many findings differ, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Summary {
    /// Findings that both sides have and that do not differ.
    pub unchanged: u64,
    /// Findings that differ, or that one side alone has.
    pub changed: u64,
    /// Changes by kind; every kind is there, and a change may be of several.
    pub kinds: BTreeMap<ChangeKind, u64>,
    /// Changes by weight; every weight is there, and each change has one.
    pub weights: BTreeMap<Weight, u64>,
}

/// A finding that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Change {
    /// How much it weighs.
    pub weight: Weight,
    /// In what it differs; at least one.
    pub kinds: BTreeSet<ChangeKind>,
    /// The scenario's id.
    pub scenario: Text,
    /// The case's id.
    pub case: Text,
    /// Which call.
    pub call: Call,
    /// 1 for the first call under test of the case, and so on.
    pub ordinal: u32,
    /// What it ran into.
    pub cause: Cause,
    /// Absent where the finding appeared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<ComparedFinding>,
    /// Absent where the finding disappeared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<ComparedFinding>,
}

/// What a finding says, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ComparedFinding {
    /// Absent where the call was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for every verdict but `match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// Where the cases ran more than once: how often it gave what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
}

/// What differs from `baseline` to `current`.
pub fn compare(baseline: &Report, current: &Report) -> Comparison {
    let (before, mut after) = (by_key(baseline), by_key(current));
    let mut changes = Vec::new();
    let mut unchanged = 0;
    for (key, old) in before {
        match after.remove(&key) {
            None => changes.push(change(&key, old, BTreeSet::from([ChangeKind::Disappeared]), Some(old), None)),
            Some(new) => {
                let kinds = kinds(old, new);
                if kinds.is_empty() {
                    unchanged += 1;
                } else {
                    changes.push(change(&key, new, kinds, Some(old), Some(new)));
                }
            }
        }
    }
    changes.extend(
        after.into_iter().map(|(key, new)| change(&key, new, BTreeSet::from([ChangeKind::Appeared]), None, Some(new))),
    );
    changes.sort_by(|a, b| a.place().cmp(&b.place()));
    Comparison {
        format: FORMAT,
        baseline: Side::of(baseline),
        current: Side::of(current),
        environment: environment::differences(baseline, current),
        summary: Summary::of(unchanged, &changes),
        changes,
        known: Vec::new(),
    }
}

impl Comparison {
    /// The same without the changes that are known: those to what these findings of the current report are.
    pub fn without(mut self, known: &BTreeSet<Key<'_>>) -> Comparison {
        let is_known = |change: &Change| change.current.is_some() && known.contains(&change.place());
        (self.known, self.changes) = self.changes.into_iter().partition(is_known);
        self.summary = Summary::of(self.summary.unchanged, &self.changes);
        self
    }

    /// Whether a finding changed. Where the environment alone differs, nothing has: kernels get patches all the time,
    /// and whether that shows is the question.
    pub fn is_changed(&self) -> bool {
        !self.changes.is_empty()
    }
}

impl Side {
    fn of(report: &Report) -> Side {
        Side {
            stack: report.host.stack.clone(),
            release: report.host.release.clone(),
            behind: report.host.behind.clone(),
            started: report.started,
            complete: report.complete,
            findings: report.findings.len() as u64,
        }
    }
}

impl Summary {
    fn of(unchanged: u64, changes: &[Change]) -> Summary {
        let mut kinds: BTreeMap<ChangeKind, u64> = ChangeKind::ALL.iter().map(|&kind| (kind, 0)).collect();
        let mut weights: BTreeMap<Weight, u64> = Weight::ALL.iter().map(|&weight| (weight, 0)).collect();
        for change in changes {
            *weights.entry(change.weight).or_default() += 1;
            for kind in &change.kinds {
                *kinds.entry(*kind).or_default() += 1;
            }
        }
        Summary { unchanged, changed: changes.len() as u64, kinds, weights }
    }
}

impl Change {
    fn place(&self) -> Key<'_> {
        (&self.scenario, &self.case, self.ordinal, self.call)
    }
}

impl ComparedFinding {
    fn of(finding: &Finding) -> ComparedFinding {
        ComparedFinding {
            outcome: finding.outcome().map(|outcome| outcome.name().to_owned()),
            verdict: finding.verdict(),
            reason: finding.reason().map(Text::from),
            distribution: finding.distribution().cloned(),
        }
    }
}

/// The scenario, the case, and which of its calls under test; and the call, which another catalogue may have in its
/// place.
pub type Key<'r> = (&'r str, &'r str, u32, Call);

/// Its findings in the order of their cases' names.
pub fn by_key(report: &Report) -> BTreeMap<Key<'_>, &Finding> {
    report.findings.iter().map(|finding| (key(finding), finding)).collect()
}

/// That of one finding.
pub fn key(finding: &Finding) -> Key<'_> {
    let SubjectRef { call, ordinal, .. } = finding.subject;
    (&finding.scenario, &finding.case, ordinal, call)
}

fn change(
    key: &Key<'_>,
    named: &Finding,
    kinds: BTreeSet<ChangeKind>,
    old: Option<&Finding>,
    new: Option<&Finding>,
) -> Change {
    let (scenario, case, ordinal, call) = *key;
    Change {
        weight: weight(&kinds, new),
        kinds,
        scenario: scenario.to_owned().into(),
        case: case.to_owned().into(),
        call,
        ordinal,
        cause: named.cause,
        baseline: old.map(ComparedFinding::of),
        current: new.map(ComparedFinding::of),
    }
}

fn kinds(old: &Finding, new: &Finding) -> BTreeSet<ChangeKind> {
    let mut kinds = BTreeSet::new();
    if outcome_changed(old, new) {
        kinds.insert(ChangeKind::Outcome);
    }
    if old.verdict() != new.verdict() {
        kinds.insert(ChangeKind::Verdict);
    }
    match (is_unstable(old), is_unstable(new)) {
        (false, true) => kinds.extend([ChangeKind::Unstable]),
        // One run says nothing about the next.
        (true, false) if new.distribution().is_some() => kinds.extend([ChangeKind::Stable]),
        (true, false) | (false, false) | (true, true) => {}
    }
    kinds
}

/// Whether the kernel gives what it did not give before. An unstable finding has several outcomes, and which of them
/// one run shows is chance.
fn outcome_changed(old: &Finding, new: &Finding) -> bool {
    let (before, after) = (outcomes(old), outcomes(new));
    let changed = match (before.len(), after.len()) {
        (0, _) | (_, 0) => false,
        // That it also gives others is told as instability.
        (1, 2..) => !after.is_superset(&before),
        _ => !after.is_subset(&before),
    };
    changed && !(is_free(old, &after) && is_free(new, &before))
}

/// The outcomes that were seen. Runs without one (broken, unsupported) are the verdict's business.
pub fn outcomes(finding: &Finding) -> BTreeSet<&str> {
    match finding.distribution() {
        Some(distribution) => distribution.outcomes.keys().map(String::as_str).collect(),
        None => finding.outcome().iter().map(|outcome| outcome.name()).collect(),
    }
}

/// Whether repeated runs disagree where the kernel is not free to choose.
pub fn is_unstable(finding: &Finding) -> bool {
    let outcomes =
        finding.distribution().into_iter().flat_map(Distribution::answers).map(|(answer, _)| answer).collect();
    finding.is_unstable() && !is_free(finding, &outcomes)
}

/// Whether the kernel may choose between the finding's outcome and `outcomes`.
fn is_free(finding: &Finding, outcomes: &BTreeSet<&str>) -> bool {
    outcomes.is_subset(&choice(finding))
}

/// The outcomes between which the kernel may choose: all that are permitted by name, so that any of them may come in
/// the next run. That nobody knows better (`unknown`) is no such freedom.
pub fn choice(finding: &Finding) -> BTreeSet<&str> {
    let permitted = finding.expected().iter().filter(|_| finding.verdict() == Verdict::Match);
    permitted.map(|expectation| &*expectation.outcome).collect()
}

fn weight(kinds: &BTreeSet<ChangeKind>, new: Option<&Finding>) -> Weight {
    let Some(new) = new else { return Weight::Warning };
    // A finding that is unstable as before, and wrong as before, weighs what its change does.
    let is_new =
        [ChangeKind::Outcome, ChangeKind::Verdict, ChangeKind::Appeared].iter().any(|kind| kinds.contains(kind));
    match new.verdict() {
        Verdict::Mismatch | Verdict::Unwitnessed | Verdict::Broken | Verdict::TimedOut if is_new => Weight::Error,
        Verdict::Match if kinds.contains(&ChangeKind::Verdict) => healed(kinds),
        _ if kinds.contains(&ChangeKind::Outcome) => Weight::Error,
        Verdict::Unsupported if kinds.contains(&ChangeKind::Verdict) => Weight::Warning,
        _ => healed(kinds),
    }
}

/// What a change weighs that is for the better, unless it comes with doubt.
fn healed(kinds: &BTreeSet<ChangeKind>) -> Weight {
    if kinds.contains(&ChangeKind::Unstable) { Weight::Warning } else { Weight::Notice }
}

/// The JSON Schema of a comparison.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<Comparison>(FORMAT)
}
