//! Claims against findings: observations decide, and what is only expected is kept apart.
//!
//! Only calls with a confirmed situation count. The order of reports makes no difference, nor does the same report
//! given twice.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

use super::condition::CallView;
use super::{Claim, Source};
use crate::report::compat::Basis;
use crate::report::decide::{CaseTable, When};
use crate::report::finding::{self, Behind, Finding, Report, SubjectRef};
use crate::scenario::Expected;
use crate::words::cause::Cause;
use crate::words::names::{Call, Os, PortChoice, words};
use crate::words::untrusted::Text;

/// The version of what `claims --json` prints, its first field.
pub const FORMAT: &str = "errnoscope-claims/3";

words! {
    /// What findings say of a claim.
    #[schemars(rename = "Verdict")]
    ClaimVerdict {
        /// It holds for every call that it is about.
        Confirmed = "confirmed",
        /// It holds for none.
        Refuted = "refuted",
        /// It holds for some, or a kernel may choose whether it does.
        Mixed = "mixed",
        /// Nothing that it is about was observed.
        Unknown = "unknown",
    }
}

words! {
    /// Whether a claim holds for one call.
    #[schemars(rename = "Answer")]
    ClaimAnswer {
        /// It does.
        Holds = "holds",
        /// It does not: a counter-example.
        Fails = "fails",
        /// The kernel may choose between outcomes for which it does and others.
        Either = "either",
    }
}

/// What some reports say of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// The claim's.
    pub id: String,
    /// As people say it.
    pub statement: String,
    /// Who says so.
    pub source: Vec<Source>,
    /// Every OS is there.
    pub systems: BTreeMap<Os, OnOs>,
}

/// What is known of a claim on one OS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnOs {
    /// That of what was observed, and of nothing else.
    pub verdict: ClaimVerdict,
    /// The calls that were observed.
    pub observed: Tally,
    /// What documents and sources say of calls that nobody observed there.
    pub expected: Tally,
}

/// Calls by whether the claim holds for them: those for which it does not are its counter-examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// What these calls alone would say.
    pub verdict: ClaimVerdict,
    /// How many of them there are; a case that makes two such calls counts twice, and so does one on two stacks.
    pub calls: u64,
    /// How many of them nobody observed, and XNU's own networking code gave, run in user space on Linux: no Mac.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub xnu_run: u64,
    /// Every answer is there.
    pub answers: BTreeMap<ClaimAnswer, u64>,
    /// When it holds, if it holds for some of the calls and a condition of a few terms tells them apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub when: Option<When>,
    /// All of them, the largest groups first.
    pub groups: Vec<Group>,
}

/// Calls of one scenario with the same answer and the same outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Whether the claim holds for them.
    pub answer: ClaimAnswer,
    /// Their scenario's id.
    pub scenario: String,
    /// Which call.
    pub call: Call,
    /// Whether it found its source port.
    pub port: PortChoice,
    /// What they ran into.
    pub cause: Cause,
    /// Several where the kernel may choose.
    pub outcomes: BTreeSet<String>,
    /// The stacks that were observed.
    pub stacks: BTreeSet<String>,
    /// How many there are.
    pub calls: u64,
    /// The case with the shortest name.
    pub example: String,
}

/// A call of a case as one stack answered it, or as it is expected to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item<'r> {
    key: Key<'r>,
    answer: ClaimAnswer,
    cause: Cause,
    outcomes: BTreeSet<String>,
    /// Empty where nobody observed it.
    stack: &'r str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'r> {
    scenario: &'r str,
    case: &'r str,
    ordinal: u32,
    call: Call,
    port: PortChoice,
}

/// What the calls say of one claim.
#[derive(Default)]
struct Items<'r> {
    observed: BTreeMap<Os, BTreeSet<Item<'r>>>,
    /// With the best reason that a report has for it.
    expected: BTreeMap<Os, BTreeMap<Item<'r>, Basis>>,
}

/// Holds every claim against all reports together, but for those of stacks that only pass for a system: a claim is
/// about systems.
pub fn judge<'r>(claims: &[Claim], reports: impl IntoIterator<Item = &'r Report>) -> Vec<Judged> {
    let mut all: Vec<Items<'r>> = claims.iter().map(|_| Items::default()).collect();
    let mut seen: BTreeSet<(Os, Key<'r>)> = BTreeSet::new();
    let mut axes: Axes<'r> = Axes::new();
    for report in reports.into_iter().filter(|report| report.host.is_own()) {
        let host = report.host.os;
        for finding in &report.findings {
            let SubjectRef { call, port, ordinal, socket: _ } = finding.subject;
            let key = Key { scenario: &finding.scenario, case: &finding.case, ordinal, call, port };
            axes.insert(key.case, &finding.axes);
            let outcomes = outcomes(finding);
            let own = outcomes.is_empty().then_some((&host, finding.expected()));
            let expected: Vec<(Os, BTreeSet<&str>, Basis)> = (finding.elsewhere.iter().chain(own))
                .map(|(&os, all)| (os, named(all.iter().map(|one| &*one.outcome)), Basis::of(all)))
                .collect();
            if !outcomes.is_empty() {
                seen.insert((host, key));
            }
            for (claim, items) in claims.iter().zip(&mut all) {
                let observed = answer(claim, finding, host, key, &outcomes, &report.host.stack);
                items.observed.entry(host).or_default().extend(observed);
                for (os, outcomes, basis) in &expected {
                    if let Some(item) = answer(claim, finding, *os, key, outcomes, "") {
                        let known = items.expected.entry(*os).or_default().entry(item).or_insert(*basis);
                        *known = (*known).min(*basis);
                    }
                }
            }
        }
    }
    claims.iter().zip(all).map(|(claim, items)| judged(claim, items, &seen, &axes)).collect()
}

/// What was observed takes the place of what is expected of the same call.
fn judged(claim: &Claim, mut items: Items<'_>, seen: &BTreeSet<(Os, Key<'_>)>, axes: &Axes<'_>) -> Judged {
    let on = |&os: &Os| {
        let mut expected = items.expected.remove(&os).unwrap_or_default();
        expected.retain(|item, _| !seen.contains(&(os, item.key)));
        let xnu_run = expected.values().filter(|basis| **basis == Basis::XnuRun).count() as u64;
        let expected = Tally { xnu_run, ..tally(&expected.into_keys().collect(), axes) };
        let observed = tally(&items.observed.remove(&os).unwrap_or_default(), axes);
        (os, OnOs { verdict: observed.verdict, observed, expected })
    };
    Judged {
        id: claim.id.get_ref().clone(),
        statement: claim.statement.clone(),
        source: claim.sources.clone(),
        systems: Os::ALL.iter().map(on).collect(),
    }
}

/// What the kernel gave. Where it may choose, what it chose today must not make a difference, so that this is all it
/// may give. Nothing where the call was not made, or its situation was not confirmed.
fn outcomes(finding: &Finding) -> BTreeSet<&str> {
    let Some(outcome) = finding.outcome().map(crate::plan::Outcome::name) else { return BTreeSet::new() };
    match finding.verdict() {
        finding::Verdict::Match | finding::Verdict::Mismatch => {
            let permitted = finding.expected().iter().map(|expectation| &*expectation.outcome);
            let repeated =
                finding.distribution().into_iter().flat_map(|runs| runs.outcomes.keys()).map(|outcome| &**outcome);
            let other = permitted.filter(|_| finding.verdict() == finding::Verdict::Match).chain(repeated);
            named(other.chain([outcome]))
        }
        finding::Verdict::Unwitnessed
        | finding::Verdict::Unsupported
        | finding::Verdict::Broken
        | finding::Verdict::TimedOut => BTreeSet::new(),
    }
}

/// Without what says that nobody knows, or that nothing happened.
fn named<'n>(outcomes: impl Iterator<Item = &'n str>) -> BTreeSet<&'n str> {
    let is_outcome = |name: &&str| matches!(name.parse(), Ok(Expected::Ok | Expected::Blocked | Expected::Errno(_)));
    outcomes.filter(is_outcome).collect()
}

/// What one call says of a claim, if the claim is about it.
fn answer<'r>(
    claim: &Claim,
    finding: &'r Finding,
    os: Os,
    key: Key<'r>,
    outcomes: &BTreeSet<&str>,
    stack: &'r str,
) -> Option<Item<'r>> {
    let view = |outcome| CallView {
        os,
        scenario: key.scenario,
        call: key.call,
        port: key.port,
        cause: finding.cause,
        axes: &finding.axes,
        outcome,
    };
    let selected: Vec<&str> =
        outcomes.iter().copied().filter(|outcome| claim.selects.get_ref().holds(&view(outcome))).collect();
    let held = selected.iter().filter(|outcome| claim.holds.get_ref().holds(&view(outcome))).count();
    let answer = match (held, selected.len()) {
        (_, 0) => return None,
        (0, _) => ClaimAnswer::Fails,
        (held, all) if held == all => ClaimAnswer::Holds,
        _ => ClaimAnswer::Either,
    };
    Some(Item { key, answer, cause: finding.cause, outcomes: selected.into_iter().map(str::to_owned).collect(), stack })
}

/// The axes of each case.
type Axes<'r> = BTreeMap<&'r str, &'r IndexMap<Text, Text>>;

fn tally(items: &BTreeSet<Item<'_>>, axes: &Axes<'_>) -> Tally {
    let mut answers: BTreeMap<ClaimAnswer, u64> = ClaimAnswer::ALL.iter().map(|&answer| (answer, 0)).collect();
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    for Item { key, answer, cause, outcomes, stack } in items {
        *answers.entry(*answer).or_default() += 1;
        let same = (*answer, key.scenario, key.call, key.port, *cause, outcomes);
        let group = groups.entry(same).or_insert_with(|| Group {
            answer: *answer,
            scenario: key.scenario.to_owned(),
            call: key.call,
            port: key.port,
            cause: *cause,
            outcomes: outcomes.clone(),
            stacks: BTreeSet::new(),
            calls: 0,
            example: key.case.to_owned(),
        });
        group.calls += 1;
        if (key.case.len(), key.case) < (group.example.len(), &group.example) {
            key.case.clone_into(&mut group.example);
        }
        group.stacks.extend((!stack.is_empty()).then(|| (*stack).to_owned()));
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.cmp(b)));
    let calls = items.len() as u64;
    let verdict = match (calls, answers.get(&ClaimAnswer::Holds), answers.get(&ClaimAnswer::Fails)) {
        (0, ..) => ClaimVerdict::Unknown,
        (calls, Some(holds), _) if *holds == calls => ClaimVerdict::Confirmed,
        (calls, _, Some(fails)) if *fails == calls => ClaimVerdict::Refuted,
        _ => ClaimVerdict::Mixed,
    };
    let when = (verdict == ClaimVerdict::Mixed).then(|| when(items, axes)).flatten();
    Tally { verdict, calls, xnu_run: 0, answers, when, groups }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The most terms that somebody reads.
const TERMS: usize = 6;

/// When a claim holds that holds for some calls. Stacks, and the calls of one case, are told apart only if they have to
/// be.
fn when(items: &BTreeSet<Item<'_>>, axes: &Axes<'_>) -> Option<When> {
    let names: IndexSet<&str> = items
        .iter()
        .filter_map(|item| axes.get(item.key.case))
        .flat_map(|own| own.keys())
        .map(|axis| &**axis)
        .collect();
    let place = |item: &Item<'_>, apart: bool| {
        let key = item.key;
        let mut place: Vec<String> = names
            .iter()
            .map(|axis| {
                axes.get(key.case).and_then(|own| own.get(*axis)).map_or_else(String::new, |value| value.to_string())
            })
            .collect();
        place.extend([item.cause.as_str(), key.call.as_str(), key.port.as_str(), key.scenario].map(str::to_owned));
        if apart {
            place.extend([key.ordinal.to_string(), item.stack.to_owned()]);
        }
        place
    };
    let places = |apart: bool| {
        let mut places: IndexMap<Vec<String>, bool> = IndexMap::new();
        let holds = |item: &Item<'_>| item.answer == ClaimAnswer::Holds;
        let same = items.iter().all(|item| *places.entry(place(item, apart)).or_insert(holds(item)) == holds(item));
        same.then_some(places)
    };
    let places = places(false).or_else(|| places(true))?;
    let others = ["cause", "call", "port", "scenario", "ordinal", "stack"];
    // Rows without the last two leave those axes without a value, as if they were not there.
    let names = names.into_iter().chain(others).map(str::to_owned).collect();
    let (rows, holds): (Vec<Vec<String>>, Vec<bool>) = places.into_iter().unzip();
    CaseTable::new(names, rows)?.when(|row| Some(holds[row])).filter(|when| when.terms.len() <= TERMS)
}

/// What `claims --json` prints.
#[derive(Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// `errnoscope-claims/3`.
    #[schemars(extend("const" = FORMAT))]
    pub format: &'static str,
    /// The stacks that were observed: `linux 6.18`.
    pub stacks: BTreeSet<String>,
    /// The commands behind which reports came about, by stack.
    #[serde(skip_serializing_if = "Behind::is_empty")]
    #[schemars(default)]
    pub behind: Behind,
    /// In the order of their file.
    pub claims: Vec<Judged>,
}

/// The JSON Schema of what `claims --json` prints.
pub fn result_schema() -> serde_json::Value {
    crate::words::schema::schema::<Judgement>(FORMAT)
}
