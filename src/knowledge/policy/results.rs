//! The JSON output of the commands about policies.
//!
//! It only combines results of other modules.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::derive::Ambiguity;
use super::diff::PolicyDifference;
use super::evaluate::Evaluation;
use super::evidence::{Basis, Evidence, LeftOut};
use super::read::WirePolicy;
use crate::report::finding::Behind;
use crate::words::names::Os;

/// The version of what `policy evaluate --json` prints, its first field.
pub const EVALUATION: &str = "errnoscope-policy-evaluation/3";
/// The version of what `policy derive --json` prints, its first field.
pub const DERIVATION: &str = "errnoscope-policy-derivation/3";
/// The version of what `policy diff --json` prints, its first field.
pub const DIFF: &str = "errnoscope-policy-diff/1";

/// On what a result rests: how many failed calls are known how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Grounds {
    /// The stacks that were observed: `linux 6.18`.
    pub stacks: BTreeSet<String>,
    /// The commands behind which reports came about, by stack.
    #[serde(skip_serializing_if = "Behind::is_empty")]
    #[schemars(default)]
    pub behind: Behind,
    /// Systems that are only expected to do something.
    pub expected_systems: BTreeSet<Os>,
    /// Failed calls that kernels gave.
    pub observed: usize,
    /// Failed calls that a kernel might as well have given.
    pub permitted: usize,
    /// Failed calls that XNU's own code gave, which ran in user space on Linux: no Mac.
    pub xnu_run: usize,
    /// Failed calls that are only expected.
    pub expected: usize,
    /// Findings that say nothing about a policy, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
}

impl Grounds {
    /// Those of some evidence.
    pub fn of(evidence: &Evidence) -> Grounds {
        let number = |basis| evidence.items.iter().filter(|item| item.basis == basis).count();
        Grounds {
            stacks: evidence.stacks.clone(),
            behind: evidence.behind.clone(),
            expected_systems: evidence.expected.clone(),
            observed: number(Basis::Observed),
            permitted: number(Basis::Permitted),
            xnu_run: number(Basis::XnuRun),
            expected: number(Basis::Expected),
            left_out: evidence.left_out.clone(),
        }
    }
}

/// What `policy evaluate --json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Evaluations {
    /// `errnoscope-policy-evaluation/2`.
    #[schemars(extend("const" = EVALUATION))]
    pub format: &'static str,
    /// On what it rests.
    pub evidence: Grounds,
    /// In the order in which they were asked for.
    pub policies: Vec<Evaluation>,
}

/// What `policy derive --json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Derivation {
    /// `errnoscope-policy-derivation/2`.
    #[schemars(extend("const" = DERIVATION))]
    pub format: &'static str,
    /// On what it rests.
    pub evidence: Grounds,
    /// As its file has it.
    #[schemars(with = "WirePolicy")]
    pub policy: Value,
    /// Whether it is known that no policy over the fields that it needs has fewer rules.
    pub shortest: bool,
    /// Signals for which no policy is right with every cause.
    pub ambiguities: Vec<Ambiguity>,
}

/// What `policy diff --json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Diff {
    /// `errnoscope-policy-diff/1`.
    #[schemars(extend("const" = DIFF))]
    pub format: &'static str,
    /// The policies' names.
    pub first: String,
    /// The name of the second.
    pub second: String,
    /// Where the two decide differently, as boxes that do not overlap.
    pub differences: Vec<PolicyDifference>,
}

/// The JSON Schema of what `policy evaluate --json` prints.
pub fn evaluation_schema() -> Value {
    crate::words::schema::schema::<Evaluations>(EVALUATION)
}

/// The JSON Schema of what `policy derive --json` prints.
pub fn derivation_schema() -> Value {
    crate::words::schema::schema::<Derivation>(DERIVATION)
}

/// The JSON Schema of what `policy diff --json` prints.
pub fn diff_schema() -> Value {
    crate::words::schema::schema::<Diff>(DIFF)
}
