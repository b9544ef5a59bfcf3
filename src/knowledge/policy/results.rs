//! The JSON output of the commands about policies.
//!
//! It only combines results of other modules.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::derive::Ambiguity;
use super::diff::Difference;
use super::evaluate::Evaluation;
use super::evidence::{Basis, Evidence, LeftOut};
use super::read::WirePolicy;
use crate::report::finding::Behind;
use crate::words::names::Os;

pub const EVALUATION: &str = "errnoscope-policy-evaluation/3";
pub const DERIVATION: &str = "errnoscope-policy-derivation/3";
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
    pub observed: usize,
    pub permitted: usize,
    pub expected: usize,
    /// Findings that say nothing about a policy, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
}

impl Grounds {
    pub fn of(evidence: &Evidence) -> Grounds {
        let number = |basis| evidence.items.iter().filter(|item| item.basis == basis).count();
        Grounds {
            stacks: evidence.stacks.clone(),
            behind: evidence.behind.clone(),
            expected_systems: evidence.expected.clone(),
            observed: number(Basis::Observed),
            permitted: number(Basis::Permitted),
            expected: number(Basis::Expected),
            left_out: evidence.left_out.clone(),
        }
    }
}

/// What `policy evaluate --json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Evaluations {
    #[schemars(extend("const" = EVALUATION))]
    pub format: &'static str,
    pub evidence: Grounds,
    pub policies: Vec<Evaluation>,
}

/// What `policy derive --json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Derivation {
    #[schemars(extend("const" = DERIVATION))]
    pub format: &'static str,
    pub evidence: Grounds,
    /// As its file has it.
    #[schemars(with = "WirePolicy")]
    pub policy: Value,
    /// Whether it is known that no policy over the fields that it needs has fewer rules.
    pub shortest: bool,
    pub ambiguities: Vec<Ambiguity>,
}

/// What `policy diff --json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Diff {
    #[schemars(extend("const" = DIFF))]
    pub format: &'static str,
    /// The policies' names.
    pub first: String,
    pub second: String,
    pub differences: Vec<Difference>,
}

pub fn evaluation_schema() -> Value {
    crate::words::schema::schema::<Evaluations>(EVALUATION)
}

pub fn derivation_schema() -> Value {
    crate::words::schema::schema::<Derivation>(DERIVATION)
}

pub fn diff_schema() -> Value {
    crate::words::schema::schema::<Diff>(DIFF)
}
