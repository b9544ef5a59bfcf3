//! Findings and reports: the JSON contract.
//!
//! Everything that a report says later is derived from these types. A finding whose verdict is `match` cannot be
//! made, nor read back, unless every precondition was confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::moment::Moment;
use crate::names::{Call, Need, Os, PortChoice, User, words};
use crate::plan::{Capability, Detail, Hello, Outcome, Unsupported};
use crate::scenario::Expectation;
use crate::untrusted::Text;
use crate::witness::Witness;

/// The version of the report format, its first field.
pub const FORMAT: &str = "errnoscope-report/2";

/// Formats before it. The first did not say when the run began.
const OLD: &[&str] = &["errnoscope-report/1"];

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

/// A run on one stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// `errnoscope-report/2`.
    pub format: Format,
    pub tool: Tool,
    pub host: Host,
    pub catalogue: Catalogue,
    /// When the run began, by the clock of the host that wrote the report.
    pub started: Moment,
    /// False where the run was interrupted: what did not run is absent.
    pub complete: bool,
    /// How often each case ran.
    pub repeat: u32,
    /// Findings by verdict; every verdict is there.
    pub summary: BTreeMap<Verdict, u64>,
    pub findings: Vec<Finding>,
}

/// The one format that this version reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Format;

impl Serialize for Format {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(FORMAT)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
        let format = String::deserialize(deserializer)?;
        if format == FORMAT {
            Ok(Format)
        } else {
            let again = if OLD.contains(&&*format) { "; run again with this version" } else { "" };
            Err(serde::de::Error::custom(format!("format `{format}`, this version reads `{FORMAT}`{again}")))
        }
    }
}

impl schemars::JsonSchema for Format {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": FORMAT })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    pub name: Text,
    pub version: Text,
}

impl Tool {
    pub fn this() -> Tool {
        Tool { name: env!("CARGO_PKG_NAME").to_owned().into(), version: env!("CARGO_PKG_VERSION").to_owned().into() }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub os: Os,
    pub release: Text,
    pub arch: Text,
    /// What answered: `linux 6.18`, the OS's own, or one that passes for it: `gvisor 20240729.0`.
    pub stack: Text,
    /// `netns`, `sandbox` (a fresh stack for each case), or `none`.
    pub isolation: Text,
    pub capabilities: BTreeMap<Need, Capability>,
    pub sysctls: BTreeMap<Text, Text>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    pub scenarios: u64,
    /// All cases of the catalogue, run or not.
    pub cases: u64,
    /// `sha256:` over the scenario files' names and contents.
    pub digest: Text,
}

/// One subject call of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, try_from = "WireFinding")]
pub struct Finding {
    pub scenario: Text,
    pub case: Text,
    pub axes: IndexMap<Text, Text>,
    pub cause: Cause,
    pub subject: SubjectRef,
    /// Absent where the call was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    verdict: Verdict,
    /// Why, for every verdict but `match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// Where the cases ran more than once: how often each outcome appeared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<BTreeMap<Text, u32>>,
    /// The outcomes that this host's platform permits.
    pub expected: Arc<[Expectation]>,
    /// The outcomes that other platforms are expected to give: not observed here.
    pub elsewhere: BTreeMap<Os, Arc<[Expectation]>>,
    pub witness: Vec<Witness>,
    pub trail: Vec<Arc<TrailEntry>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectRef {
    pub call: Call,
    pub port: PortChoice,
}

/// One op of a case, with what it gave and how long it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrailEntry {
    pub op: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<Text>,
    /// The other arguments, `name=value`.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub arguments: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<Unsupported>,
    /// Why the harness itself could not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Text>,
    /// Wall-clock duration of the op alone, in microseconds.
    pub micros: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// What is judged, before it has a verdict.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub scenario: Text,
    pub case: Text,
    pub axes: IndexMap<Text, Text>,
    pub cause: Cause,
    pub subject: SubjectRef,
    pub outcome: Option<Outcome>,
    pub expected: Arc<[Expectation]>,
    pub elsewhere: BTreeMap<Os, Arc<[Expectation]>>,
    pub witness: Vec<Witness>,
    pub trail: Vec<Arc<TrailEntry>>,
}

impl Finding {
    /// A finding of a call that was made: a match, a mismatch or unwitnessed.
    pub fn observed(evidence: Evidence, outcome: Outcome) -> Finding {
        let unconfirmed: Vec<&str> = evidence
            .witness
            .iter()
            .filter(|witness| !witness.confirmed)
            .map(|witness| &*witness.precondition)
            .collect();
        let (verdict, reason) = if !unconfirmed.is_empty() {
            (Verdict::Unwitnessed, Some(format!("the kernel did not confirm: {}", unconfirmed.join("; "))))
        } else if crate::scenario::rule::permits(&evidence.expected, &outcome) {
            (Verdict::Match, None)
        } else {
            (Verdict::Mismatch, Some(mismatch_kind(&evidence.expected, &outcome)))
        };
        Finding::new(Evidence { outcome: Some(outcome), ..evidence }, verdict, reason.map(Text::from))
    }

    /// A finding of a call that was not made, or whose case did not end.
    pub fn without_outcome(evidence: Evidence, why: Missing) -> Finding {
        let (verdict, reason) = match why {
            Missing::Unsupported(Unsupported { need, reason }) => {
                (Verdict::Unsupported, format!("{need}: {}", reason.raw()).into())
            }
            Missing::Broken(reason) => (Verdict::Broken, reason),
            Missing::TimedOut(reason) => (Verdict::TimedOut, reason),
        };
        Finding::new(evidence, verdict, Some(reason))
    }

    fn new(evidence: Evidence, verdict: Verdict, reason: Option<Text>) -> Finding {
        let Evidence { scenario, case, axes, cause, subject, outcome, expected, elsewhere, witness, trail } = evidence;
        Finding {
            scenario,
            case,
            axes,
            cause,
            subject,
            outcome,
            verdict,
            reason,
            distribution: None,
            expected,
            elsewhere,
            witness,
            trail,
        }
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether repeated runs gave more than one outcome.
    pub fn is_unstable(&self) -> bool {
        self.distribution.as_ref().is_some_and(|outcomes| outcomes.len() > 1)
    }

    /// The outcome's name, or the verdict's where there is none.
    pub fn outcome_name(&self) -> &str {
        self.outcome.as_ref().map_or(self.verdict.as_str(), Outcome::name)
    }
}

/// Why a call has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    Unsupported(Unsupported),
    Broken(Text),
    TimedOut(Text),
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
    outcome: Option<Outcome>,
    verdict: Verdict,
    reason: Option<Text>,
    distribution: Option<BTreeMap<Text, u32>>,
    expected: Arc<[Expectation]>,
    elsewhere: BTreeMap<Os, Arc<[Expectation]>>,
    witness: Vec<Witness>,
    trail: Vec<Arc<TrailEntry>>,
}

impl TryFrom<WireFinding> for Finding {
    type Error = String;

    fn try_from(wire: WireFinding) -> Result<Finding, String> {
        let WireFinding { verdict, reason, distribution, .. } = wire;
        if verdict == Verdict::Match
            && (wire.outcome.is_none() || wire.witness.iter().any(|witness| !witness.confirmed))
        {
            return Err(format!("{} claims a match without an outcome or with an unconfirmed precondition", wire.case));
        }
        let evidence = Evidence {
            scenario: wire.scenario,
            case: wire.case,
            axes: wire.axes,
            cause: wire.cause,
            subject: wire.subject,
            outcome: wire.outcome,
            expected: wire.expected,
            elsewhere: wire.elsewhere,
            witness: wire.witness,
            trail: wire.trail,
        };
        Ok(Finding { distribution, ..Finding::new(evidence, verdict, reason) })
    }
}

impl Report {
    pub fn new(
        hello: &Hello,
        catalogue: Catalogue,
        started: Moment,
        complete: bool,
        repeat: u32,
        findings: Vec<Finding>,
    ) -> Report {
        Report {
            format: Format,
            tool: Tool::this(),
            host: Host::new(hello),
            catalogue,
            started,
            complete,
            repeat,
            summary: summary(&findings),
            findings,
        }
    }

    /// The same run with other findings.
    pub fn with(&self, findings: Vec<Finding>) -> Report {
        let Report { format, tool, host, catalogue, started, complete, repeat, summary: _, findings: _ } = self;
        Report {
            format: *format,
            tool: tool.clone(),
            host: host.clone(),
            catalogue: catalogue.clone(),
            started: *started,
            complete: *complete,
            repeat: *repeat,
            summary: summary(&findings),
            findings,
        }
    }
}

impl Host {
    fn new(hello: &Hello) -> Host {
        let version = crate::scenario::rule::version(&hello.release);
        Host {
            os: hello.os,
            release: hello.release.clone(),
            arch: hello.arch.clone(),
            stack: hello.stack.clone().unwrap_or_else(|| own_stack(hello.os, &version).into()),
            isolation: hello.isolation.clone(),
            capabilities: hello.capabilities.clone(),
            sysctls: hello.sysctls.clone(),
        }
    }

    /// Whether it is the OS's own stack that answered: only then is it evidence of what the OS does.
    pub fn is_own(&self) -> bool {
        self.kernel().is_some()
    }

    /// The kernel's version, where it is the OS's own stack that answered.
    pub fn kernel(&self) -> Option<semver::Version> {
        let version = crate::scenario::rule::version(&self.release);
        (self.stack == own_stack(self.os, &version)).then_some(version)
    }
}

/// What answers, where it is not the OS's own stack. No expectation is about it.
pub fn stranger(hello: &Hello) -> Option<&str> {
    hello.stack.as_deref().filter(|name| *name != stack(hello.os, &hello.release))
}

/// What the stack of an OS of that release is called.
pub fn stack(os: Os, release: &str) -> String {
    own_stack(os, &crate::scenario::rule::version(release))
}

/// The version in the name of an OS's own stack; 0.0.0 where it is none.
pub fn stack_version(os: Os, stack: &str) -> semver::Version {
    crate::scenario::rule::version(stack.strip_prefix(os.as_str()).unwrap_or_default().trim_start())
}

/// What an OS's own stack is called.
fn own_stack(os: Os, version: &semver::Version) -> String {
    format!("{os} {}.{}", version.major, version.minor)
}

/// How many findings have each verdict.
pub fn summary(findings: &[Finding]) -> BTreeMap<Verdict, u64> {
    let mut counts: BTreeMap<Verdict, u64> = Verdict::ALL.iter().map(|&verdict| (verdict, 0)).collect();
    for finding in findings {
        *counts.entry(finding.verdict).or_default() += 1;
    }
    counts
}

/// The JSON Schema of a report.
pub fn schema() -> serde_json::Value {
    crate::schema::schema::<Report>(FORMAT)
}
