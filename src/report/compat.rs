//! Compatibility data: what each call of each case gives on every stack, by which evidence, and between which versions
//! that changed.
//!
//! Nothing is guessed: what no report observed is expected by a named authority or unknown, and reports that disagree
//! are shown to disagree. What the outcomes mean is not said here.

pub mod boundaries;
mod run;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::report::finding::Distribution;
use crate::scenario::Expectation;
use crate::words::cause::Cause;
use crate::words::digest;
use crate::words::names::{Authority, Call, Os, words};

pub use sweep::{Source, Sweep};

use run::{Run, runs};
use sweep::{Asked, Key, short};

/// The version of the compatibility data, its first field.
pub const FORMAT: &str = "errnoscope-compat/2";

words! {
    /// How an outcome is known, the best first.
    Basis {
        /// Reports have it.
        Observed = "observed",
        /// No report has it, and XNU's own networking code gave it, which ran in user space on Linux: no Mac.
        XnuRun = "xnu-run",
        /// No report has it, and another authority says so.
        Expected = "expected",
        /// Nobody has looked, and no authority says.
        Unknown = "unknown",
    }
}

/// All stacks in one document.
///
/// The evidence for an observed value is every report of its stack from the value's `since` to its `until` that
/// `missing` does not name.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Compat {
    /// `errnoscope-compat/2`.
    #[schemars(extend("const" = FORMAT))]
    pub format: &'static str,
    /// A column for each: the stacks that were observed, then the OSes of which something is only expected.
    pub stacks: IndexMap<String, Stack>,
    /// The reports by the first digits of their digests, in the order of stack, version and time.
    pub reports: IndexMap<String, Source>,
    /// Man pages, kernel functions and RFC sections, by the first digits of their texts' SHA-256.
    pub references: BTreeMap<String, String>,
    /// In the order of their cases' names.
    pub calls: Vec<Entry>,
}

/// One column: what answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Stack {
    /// The OS that it is, or passes for.
    pub os: Os,
    /// The versions that were observed, the oldest first; empty where the stack has none of its own.
    #[schemars(with = "Vec<String>")]
    pub versions: Vec<Version>,
    /// How many calls are known how; every basis is there.
    pub calls: BTreeMap<Basis, u64>,
    /// Calls that give something else from some version on.
    pub changed: u64,
    /// Calls of which repeated runs, or reports of one version, disagree.
    pub unstable: u64,
    /// Calls that gave what was not expected.
    pub refuted: u64,
}

/// One call of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Entry {
    /// The scenario's id.
    pub scenario: String,
    /// The case's id.
    pub case: String,
    /// Which call.
    pub call: Call,
    /// 1 for the first call under test of the case, and so on.
    pub ordinal: u32,
    /// What it runs into, by the newest report that has it.
    pub cause: Cause,
    /// By stack; every stack is there.
    pub on: IndexMap<String, Support>,
}

/// What a call gives on one stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Support {
    /// One, or where it changed one after the other, the oldest first.
    pub values: Vec<Value>,
    /// The reports of this stack that say nothing of the call: the verdict instead, or `absent`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub missing: BTreeMap<String, String>,
}

/// What a call gives over some versions, or is expected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Value {
    /// How that is known.
    pub basis: Basis,
    /// `ok`, `blocked`, an errno's name, or `not-reached` where an earlier call is expected to fail. Several where the
    /// kernel may choose, repeated runs or reports disagree; none where it is unknown.
    pub outcomes: BTreeSet<String>,
    /// Absent where no older version was observed to give something else: it may always have been so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// Absent where no newer version was observed to give something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<LastObserved>,
    /// How often repeated runs gave what, by report, where they disagree.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub distributions: BTreeMap<String, Distribution>,
    /// Where reports of the same version disagree: which of them have what outcome.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub conflict: BTreeMap<String, Vec<String>>,
    /// What was expected instead of what was observed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub refutes: Vec<Statement>,
    /// Who says what was not observed; for an unknown outcome, why it is unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub says: Vec<Statement>,
}

/// The first version that was observed to give this, and the one observed before it, which gave something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Since {
    /// That version.
    #[schemars(with = "String")]
    pub version: Version,
    /// The one before it.
    #[schemars(with = "String")]
    pub after: Version,
}

/// The last version that was observed to give this, and the one observed next, which gave something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LastObserved {
    /// That version.
    #[schemars(with = "String")]
    pub version: Version,
    /// The one after it.
    #[schemars(with = "String")]
    pub before: Version,
}

/// What an authority says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Statement {
    /// `ok`, `blocked`, an errno's name, or `unknown`.
    pub outcome: String,
    /// Absent where the outcome is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// A key of `references`.
    #[serde(rename = "ref")]
    pub reference: String,
}

impl Compat {
    /// Everything that the reports say and expect.
    pub fn of(sweep: &Sweep) -> Compat {
        let observed = sweep.stacks();
        let mut compat = Compat {
            format: FORMAT,
            stacks: IndexMap::new(),
            reports: sweep.by_id(),
            references: BTreeMap::new(),
            calls: Vec::new(),
        };
        for (name, indices) in &observed {
            let sources = indices.iter().map(|&index| &sweep.sources[index]);
            let mut versions: Vec<Version> = sources.clone().filter_map(|source| source.version.clone()).collect();
            versions.dedup();
            let os = sources.map(|source| source.os).next();
            compat.stacks.extend(os.map(|os| ((*name).to_owned(), Stack::new(os, versions))));
        }
        for &os in Os::ALL.iter().filter(|os| sweep.calls.values().any(|asked| asked.expected.contains_key(os))) {
            compat.stacks.entry(os.to_string()).or_insert_with(|| Stack::new(os, Vec::new()));
        }
        for (key, asked) in &sweep.calls {
            let entry = compat.entry(sweep, &observed, key, asked);
            compat.calls.push(entry);
        }
        compat
    }

    fn entry(&mut self, sweep: &Sweep, observed: &IndexMap<&str, Vec<usize>>, key: &Key, asked: &Asked) -> Entry {
        let mut on = IndexMap::new();
        for (name, stack) in &mut self.stacks {
            let indices = observed.get(&**name).map_or(&[][..], Vec::as_slice);
            let runs = runs(sweep, asked, indices);
            stack.count(&runs);
            let mut values = observed_values(&runs, &mut self.references);
            if values.is_empty() {
                // What an OS is expected to give, another stack that calls itself by its name need not.
                let expected = asked.expected.get(&stack.os).filter(|_| stack.os.as_str() == name);
                values.push(expected_value(expected.map_or(&[][..], |expected| expected), &mut self.references));
            }
            *stack.calls.entry(values[0].basis).or_default() += 1;
            let missing = indices.iter().filter_map(|index| {
                let why = match asked.said.get(index) {
                    None => "absent",
                    Some(said) if said.outcomes.is_empty() => said.verdict.as_str(),
                    Some(_) => return None,
                };
                Some((sweep.sources[*index].id().to_owned(), why.to_owned()))
            });
            on.insert(name.clone(), Support { values, missing: missing.collect() });
        }
        let Key { scenario, case, ordinal, call } = key.clone();
        Entry { scenario, case, call, ordinal, cause: asked.cause, on }
    }

    /// The reports that are the evidence for a value, by their ids.
    pub fn evidence<'c>(
        &'c self,
        stack: &'c str,
        support: &'c Support,
        value: &'c Value,
    ) -> impl Iterator<Item = &'c str> {
        self.reports.iter().filter_map(move |(id, source)| {
            let version = source.version.as_ref();
            let is_within = value.since.as_ref().is_none_or(|since| version >= Some(&since.version))
                && value.until.as_ref().is_none_or(|until| version <= Some(&until.version));
            let counts = source.stack == stack && is_within && !support.missing.contains_key(id);
            (value.basis == Basis::Observed && counts).then_some(&**id)
        })
    }
}

impl Basis {
    /// That of what no report has: the best of those of the outcomes that may be.
    pub fn of(expected: &[Expectation]) -> Basis {
        let bases = expected.iter().filter_map(|expectation| expectation.authority).map(|authority| match authority {
            Authority::XnuRun => Basis::XnuRun,
            Authority::Posix | Authority::Manual | Authority::KernelSource | Authority::Observed => Basis::Expected,
        });
        bases.min().unwrap_or(Basis::Unknown)
    }
}

impl Stack {
    fn new(os: Os, versions: Vec<Version>) -> Stack {
        let calls = Basis::ALL.iter().map(|&basis| (basis, 0)).collect();
        Stack { os, versions, calls, changed: 0, unstable: 0, refuted: 0 }
    }

    fn count(&mut self, runs: &[Run<'_>]) {
        self.changed += u64::from(runs.len() > 1);
        self.unstable += u64::from(runs.iter().any(Run::is_unstable));
        self.refuted += u64::from(runs.iter().any(|run| !run.against.is_empty()));
    }
}

fn observed_values(runs: &[Run<'_>], references: &mut BTreeMap<String, String>) -> Vec<Value> {
    let mut values = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let owned = |text: &&str| (*text).to_owned();
        let before = index.checked_sub(1).and_then(|before| runs[before].versions).zip(run.versions);
        let after = runs.get(index + 1).and_then(|after| after.versions).zip(run.versions);
        let against = run.against.iter().flat_map(|expected| expected.iter());
        values.push(Value {
            basis: Basis::Observed,
            outcomes: run.outcomes.iter().map(owned).collect(),
            since: before.map(|((_, last), (first, _))| Since { version: first.clone(), after: last.clone() }),
            until: after.map(|((first, _), (_, last))| LastObserved { version: last.clone(), before: first.clone() }),
            distributions: run.distributions.iter().map(|(id, counts)| (owned(id), (*counts).clone())).collect(),
            conflict: run.conflict.iter().map(|(name, ids)| (owned(name), ids.iter().map(owned).collect())).collect(),
            refutes: against.map(|expected| statement(expected, references)).collect(),
            says: Vec::new(),
        });
    }
    values
}

fn expected_value(expected: &[Expectation], references: &mut BTreeMap<String, String>) -> Value {
    let is_known = |expected: &&Expectation| expected.authority.is_some();
    let outcomes: BTreeSet<String> =
        expected.iter().filter(is_known).map(|expected| expected.outcome.to_string()).collect();
    Value {
        basis: Basis::of(expected),
        outcomes,
        since: None,
        until: None,
        distributions: BTreeMap::new(),
        conflict: BTreeMap::new(),
        refutes: Vec::new(),
        says: expected.iter().map(|expected| statement(expected, references)).collect(),
    }
}

fn statement(expected: &Expectation, references: &mut BTreeMap<String, String>) -> Statement {
    let digest = digest::sha256([expected.reference.raw()]);
    let reference = short(&digest).to_owned();
    references.entry(reference.clone()).or_insert_with(|| expected.reference.to_string());
    Statement { outcome: expected.outcome.to_string(), authority: expected.authority, reference }
}

/// The JSON Schema of compatibility data.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<Compat>(FORMAT)
}
