//! Findings and reports: the JSON contract.
//!
//! Everything that a report says later is derived from these types. What follows from the rest of a report is written
//! for readers and believed by none: verdicts, what is confirmed and the summary are computed again when a report is
//! read, and a report that says something else is refused. It reads no file.

mod contradiction;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::plan::{Detail, Op, Outcome, SocketKind, Unsupported};
use crate::scenario::Expectation;
use crate::scenario::witness::Witness;
use crate::words::cause::Cause;
use crate::words::names::{Call, Os, PortChoice, User, words};
use crate::words::untrusted::Text;

pub use contradiction::{Contradiction, Miscount};
pub use report::{
    Behind, CatalogueFacts, FORMAT, Format, Host, Report, Tool, behind, outdated, schema, stack, stack_version,
    stranger, summary,
};

words! {
    /// What a finding amounts to.
    Verdict {
        /// The outcome is permitted, and every precondition was confirmed.
        Match = "match",
        /// The outcome is not permitted, and every precondition was confirmed.
        Mismatch = "mismatch",
        /// The kernel did not confirm a precondition, so the outcome says nothing.
        Unwitnessed = "unwitnessed",
        /// The host lacks something that the case needs.
        Unsupported = "unsupported",
        /// The situation could not be made, or the case crashed.
        Broken = "broken",
        /// The case did not end by its deadline.
        TimedOut = "timed-out",
    }
}

/// One subject call of one case. What its verdict follows from can be read, and not changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WireFinding")]
pub struct Finding {
    /// The scenario's id.
    pub scenario: Text,
    /// The case's id: `scenario[axis=value,…]`.
    pub case: Text,
    /// The case's value of each axis.
    pub axes: IndexMap<Text, Text>,
    /// What the call ran into, by construction.
    pub cause: Cause,
    /// Which call it is.
    pub subject: SubjectRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Missing>,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    distribution: Option<Distribution>,
    expected: Arc<[Expectation]>,
    /// What the other systems are expected to give, by the same scenario: not observed here.
    pub elsewhere: BTreeMap<Os, Arc<[Expectation]>>,
    witness: Vec<Witness>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unwitnessed: Option<Text>,
    /// The ops up to the call, with what each gave; where the call was not made, all that were performed.
    pub trail: Vec<Arc<TrailEntry>>,
}

/// Which call of a case it is, and what made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectRef {
    /// Which call.
    pub call: Call,
    /// Whether it found its source port, or the kernel picked one.
    pub port: PortChoice,
    /// 1 for the first call under test of the case, and so on: the same in every run.
    #[schemars(range(min = 1))]
    pub ordinal: u32,
    /// What made it.
    pub socket: SocketKind,
}

/// `connect`, or `connect (call 2)` where others of the case come before it.
pub fn call_name(call: Call, ordinal: u32) -> String {
    if ordinal == 1 { call.to_string() } else { format!("{call} (call {ordinal})") }
}

/// One op of a case, with what it gave and how long it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrailEntry {
    /// What was done.
    pub op: Op,
    /// As whom, where that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// What the op gave. There is this, or one of the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What the host lacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<Unsupported>,
    /// Why the harness itself could not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Text>,
    /// Wall-clock duration of the op alone, in microseconds.
    pub micros: f64,
    /// What it gave beside its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// Where cases ran more than once: how often a call had each outcome, and how often each verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// By name; runs without an outcome are not among them.
    pub outcomes: BTreeMap<String, u32>,
    /// How many runs had each verdict.
    pub verdicts: BTreeMap<Verdict, u32>,
}

impl Distribution {
    /// One run more.
    fn count(&mut self, finding: &Finding) {
        if let Some(outcome) = &finding.outcome {
            *self.outcomes.entry(outcome.name().to_owned()).or_default() += 1;
        }
        *self.verdicts.entry(finding.verdict).or_default() += 1;
    }

    /// Each outcome, and for runs without one their verdict, with how often it came.
    pub fn answers(&self) -> impl Iterator<Item = (&str, u32)> {
        let outcomes = self.outcomes.iter().map(|(outcome, &count)| (outcome.as_str(), count));
        let without = self.verdicts.iter().filter(|(verdict, _)| !verdict.has_outcome());
        outcomes.chain(without.map(|(verdict, &count)| (verdict.as_str(), count)))
    }

    /// Why these cannot be the runs of a finding with this verdict and outcome.
    fn contradiction(&self, verdict: Verdict, outcome: Option<&Outcome>) -> Option<Miscount> {
        let sum = |counts: &mut dyn Iterator<Item = u32>| counts.map(u64::from).sum::<u64>();
        let outcomes = sum(&mut self.outcomes.values().copied());
        let with = self.verdicts.iter().filter(|(verdict, _)| verdict.has_outcome());
        let with = sum(&mut with.map(|(_, &count)| count));
        let worst = self.verdicts.keys().copied().max_by_key(|verdict| verdict.severity());
        if outcomes != with {
            return Some(Miscount::Outcomes { outcomes, verdicts: with });
        }
        if self.outcomes.values().chain(self.verdicts.values()).any(|count| *count == 0) {
            return Some(Miscount::Zero);
        }
        if worst != Some(verdict) {
            return Some(Miscount::Verdict(verdict));
        }
        let own = outcome.map(Outcome::name)?;
        (!self.outcomes.contains_key(own)).then(|| Miscount::Missing(own.to_owned()))
    }
}

impl Verdict {
    /// Whether the call was made and gave an outcome.
    pub fn has_outcome(self) -> bool {
        match self {
            Verdict::Match | Verdict::Mismatch | Verdict::Unwitnessed => true,
            Verdict::Unsupported | Verdict::Broken | Verdict::TimedOut => false,
        }
    }

    /// Which of two verdicts of one call speaks for both: the larger.
    pub fn severity(self) -> u8 {
        match self {
            Verdict::Match => 0,
            Verdict::Unsupported => 1,
            Verdict::Unwitnessed => 2,
            Verdict::TimedOut => 3,
            Verdict::Broken => 4,
            Verdict::Mismatch => 5,
        }
    }
}

/// What is judged, before it has a verdict.
#[derive(Clone, Debug)]
pub struct Unjudged {
    /// The scenario's id.
    pub scenario: Text,
    /// The case's id.
    pub case: Text,
    /// The case's value of each axis.
    pub axes: IndexMap<Text, Text>,
    /// What the call ran into, by construction.
    pub cause: Cause,
    /// Which call it is.
    pub subject: SubjectRef,
    /// The outcomes that this host's platform permits.
    pub expected: Arc<[Expectation]>,
    /// Those that other platforms are expected to give.
    pub elsewhere: BTreeMap<Os, Arc<[Expectation]>>,
    /// The preconditions of the call, with the kernel's answers.
    pub witness: Vec<Witness>,
    /// Why there is nothing to ask the kernel, in the words of the scenario.
    pub unwitnessed: Option<Text>,
    /// The ops up to the call.
    pub trail: Vec<Arc<TrailEntry>>,
}

impl Finding {
    /// A finding of a call that was made: a match, a mismatch or unwitnessed. Nothing else makes a match.
    pub fn observed(evidence: Unjudged, outcome: Outcome) -> Finding {
        let verdict = verdict(&evidence, &outcome);
        Finding::new(evidence, Some(outcome), None, verdict)
    }

    /// A finding of a call that was not made, or whose case did not end. Nobody was asked about its situation.
    pub fn without_outcome(evidence: Unjudged, why: Missing) -> Finding {
        let verdict = why.verdict();
        Finding::new(Unjudged { witness: Vec::new(), ..evidence }, None, Some(why), verdict)
    }

    fn new(evidence: Unjudged, outcome: Option<Outcome>, missing: Option<Missing>, verdict: Verdict) -> Finding {
        let Unjudged { scenario, case, axes, cause, subject, expected, elsewhere, witness, unwitnessed, trail } =
            evidence;
        Finding {
            scenario,
            case,
            axes,
            cause,
            subject,
            outcome,
            missing,
            verdict,
            distribution: None,
            expected,
            elsewhere,
            witness,
            unwitnessed,
            trail,
        }
    }

    /// The finding of one run, which others are to be added to.
    pub fn counted(self) -> Finding {
        let mut runs = Distribution::default();
        runs.count(&self);
        Finding { distribution: Some(runs), ..self }
    }

    /// This and another run of the same call as one finding: the worse verdict speaks, the outcomes are counted.
    pub fn and(self, run: Finding) -> Finding {
        let mut whole = if self.distribution.is_some() { self } else { self.counted() };
        let mut runs = whole.distribution.take().unwrap_or_default();
        runs.count(&run);
        if run.verdict.severity() > whole.verdict.severity() {
            whole = run;
        }
        Finding { distribution: Some(runs), ..whole }
    }

    /// The same finding, of a case that ran once, or so often; `Err` says why these cannot be its runs.
    pub fn ran(self, distribution: Option<Distribution>) -> Result<Finding, Contradiction> {
        let why = distribution.as_ref().and_then(|runs| runs.contradiction(self.verdict, self.outcome.as_ref()));
        match why {
            Some(why) => Err(Contradiction::Distribution { ordinal: self.subject.ordinal, case: self.case, why }),
            None => Ok(Finding { distribution, ..self }),
        }
    }

    /// What it amounts to.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Absent where the call was not made.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Why there is no outcome.
    pub fn missing(&self) -> Option<&Missing> {
        self.missing.as_ref()
    }

    /// Where the cases ran more than once: how often it gave what.
    pub fn distribution(&self) -> Option<&Distribution> {
        self.distribution.as_ref()
    }

    /// The outcomes that this host's platform permits.
    pub fn expected(&self) -> &Arc<[Expectation]> {
        &self.expected
    }

    /// The preconditions of the call, with the kernel's answers. Empty where the call was not made, or nothing can be
    /// asked.
    pub fn witness(&self) -> &[Witness] {
        &self.witness
    }

    /// Why the kernel was asked nothing, in the words of the scenario.
    pub fn unwitnessed(&self) -> Option<&str> {
        self.unwitnessed.as_deref()
    }

    /// Why, for every verdict but `match`.
    pub fn reason(&self) -> Option<String> {
        if let Some(missing) = &self.missing {
            return Some(missing.to_string());
        }
        let unconfirmed = self.witness.iter().filter(|witness| !witness.confirmed());
        let unconfirmed: Vec<String> = unconfirmed.map(|witness| witness.precondition.describe()).collect();
        match (self.verdict, &self.outcome) {
            (Verdict::Unwitnessed, _) if unconfirmed.is_empty() => {
                Some("the kernel was asked nothing, and the scenario does not say why".to_owned())
            }
            (Verdict::Unwitnessed, _) => Some(format!("the kernel did not confirm: {}", unconfirmed.join("; "))),
            (Verdict::Mismatch, Some(outcome)) => Some(mismatch_kind(&self.expected, outcome)),
            _ => None,
        }
    }

    /// Whether repeated runs gave more than one outcome, or sometimes none.
    pub fn is_unstable(&self) -> bool {
        self.distribution.as_ref().is_some_and(|runs| runs.answers().count() > 1)
    }

    /// The outcome's name, or the verdict's where there is none.
    pub fn outcome_name(&self) -> &str {
        self.outcome.as_ref().map_or(self.verdict.as_str(), Outcome::name)
    }
}

/// The verdict of a call that was made: rule 6 of ARCHITECTURE.md.
fn verdict(evidence: &Unjudged, outcome: &Outcome) -> Verdict {
    let is_explained = !evidence.witness.is_empty() || evidence.unwitnessed.is_some();
    if !is_explained || !evidence.witness.iter().all(Witness::confirmed) {
        Verdict::Unwitnessed
    } else if crate::scenario::rule::permits(&evidence.expected, outcome) {
        Verdict::Match
    } else {
        Verdict::Mismatch
    }
}

/// Why a call has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Missing {
    /// The host lacks something that the case needs.
    Unsupported(Unsupported),
    /// The situation could not be made, or the case crashed.
    Broken(Text),
    /// The case did not end by its deadline.
    TimedOut(Text),
}

impl Missing {
    /// The verdict that it makes.
    pub fn verdict(&self) -> Verdict {
        match self {
            Missing::Unsupported(_) => Verdict::Unsupported,
            Missing::Broken(_) => Verdict::Broken,
            Missing::TimedOut(_) => Verdict::TimedOut,
        }
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Missing::Unsupported(Unsupported { need, reason }) => write!(f, "{need}: {reason}"),
            Missing::Broken(reason) | Missing::TimedOut(reason) => f.write_str(reason),
        }
    }
}

/// Which way an outcome misses its expectation.
fn mismatch_kind(expected: &[Expectation], outcome: &Outcome) -> String {
    let wanted: Vec<&str> = expected.iter().map(|expectation| &*expectation.outcome).collect();
    let wanted = if wanted.is_empty() { "nothing (no rule covers it)".to_owned() } else { wanted.join(" or ") };
    match outcome {
        Outcome::Ok => format!("succeeded, expected {wanted}"),
        Outcome::Errno(errno) if wanted == "ok" => format!("failed with {errno}, expected ok"),
        Outcome::Errno(errno) => format!("failed otherwise: {errno}, expected {wanted}"),
        Outcome::Blocked { ms } => format!("blocked for {ms} ms, expected {wanted}"),
    }
}

/// A finding as read, before its verdict is believed.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Finding")]
struct WireFinding {
    scenario: Text,
    case: Text,
    axes: IndexMap<Text, Text>,
    cause: Cause,
    subject: SubjectRef,
    /// What the call gave. There is either this or `missing`.
    outcome: Option<Outcome>,
    /// Why there is no outcome.
    missing: Option<Missing>,
    /// It follows from the outcome, the expectation and the witnesses, or from what is missing; a reader computes it
    /// again.
    verdict: Verdict,
    /// Where the cases ran more than once: how often it gave what. The worst verdict is that of the finding.
    distribution: Option<Distribution>,
    /// The outcomes that this host's platform permits.
    expected: Arc<[Expectation]>,
    /// The outcomes that other platforms are expected to give: not observed here.
    elsewhere: BTreeMap<Os, Arc<[Expectation]>>,
    /// The preconditions of the call, with what the kernel said of them. Without an outcome, none.
    witness: Vec<Witness>,
    /// Where the call has no preconditions: why there is nothing to ask the kernel.
    unwitnessed: Option<Text>,
    /// The ops up to the call; where it was not made, all that were.
    trail: Vec<Arc<TrailEntry>>,
}

impl TryFrom<WireFinding> for Finding {
    type Error = Contradiction;

    fn try_from(wire: WireFinding) -> Result<Finding, Contradiction> {
        let (ordinal, case) = (wire.subject.ordinal, wire.case.clone());
        let evidence = Unjudged {
            scenario: wire.scenario,
            case: wire.case,
            axes: wire.axes,
            cause: wire.cause,
            subject: wire.subject,
            expected: wire.expected,
            elsewhere: wire.elsewhere,
            witness: wire.witness,
            unwitnessed: wire.unwitnessed,
            trail: wire.trail,
        };
        let has_witness = !evidence.witness.is_empty();
        let finding = match (wire.outcome, wire.missing) {
            (Some(_), None) if has_witness && evidence.unwitnessed.is_some() => {
                return Err(Contradiction::NeedlessReason { ordinal, case });
            }
            (Some(outcome), None) => Finding::observed(evidence, outcome),
            (None, Some(_)) if has_witness => return Err(Contradiction::WitnessesAlone { ordinal, case }),
            (None, Some(missing)) => Finding::without_outcome(evidence, missing),
            (Some(_), Some(_)) => return Err(Contradiction::Both { ordinal, case }),
            (None, None) => return Err(Contradiction::Neither { ordinal, case }),
        };
        if finding.verdict != wire.verdict {
            let (says, follows, reason) = (wire.verdict, finding.verdict, finding.reason());
            return Err(Contradiction::Verdict { ordinal, case, says, follows, reason });
        }
        finding.ran(wire.distribution)
    }
}

impl schemars::JsonSchema for Finding {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        WireFinding::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WireFinding::json_schema(generator)
    }
}
