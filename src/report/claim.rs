//! Statements that people rely on, each with a query over findings that can prove it wrong.
//!
//! A claim is data. It never says itself whether it is true: `verdict` holds it against findings, and `check` against
//! the catalogue, because a query that nothing can answer is a mistake of whoever wrote it.

pub mod condition;
mod read;
pub mod verdict;

use serde::Serialize;
use toml::Spanned;

use crate::words::problem::Problem;

pub use condition::ClaimCondition;
pub use read::{LIST, is_list, read, schema};
pub use verdict::{ClaimVerdict, FORMAT, Judged, OnOs, Tally, judge, result_schema};

/// A claims file that has been read.
#[derive(Debug)]
pub struct Claims {
    /// Where it came from, for messages.
    pub file: String,
    /// The whole text, for messages.
    pub text: &'static str,
    /// In the order of the file.
    pub claims: Vec<Claim>,
}

/// Every call that `selects` selects satisfies `holds`.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Lower-case letters, digits and single hyphens, with its place in the file.
    pub id: Spanned<String>,
    /// As people say it.
    pub statement: String,
    /// Who says so; at least one.
    pub sources: Vec<Source>,
    /// Which calls it is about.
    pub selects: Spanned<ClaimCondition>,
    /// What it says of them.
    pub holds: Spanned<ClaimCondition>,
}

/// Where a claim is made, and in which words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A manual page with its section, a question's number, a tracer's issue.
    #[serde(rename = "in")]
    pub place: String,
    /// A sentence of it at most.
    pub says: String,
}

/// The path of the claims in this binary, below the catalogue.
pub const FILE: &str = "scenarios/claims.toml";

/// The text of the claims in this binary.
pub const TEXT: &str = include_str!("../../scenarios/claims.toml");

/// The claims in this binary. Their file is checked by the tests.
pub fn embedded() -> Result<Claims, Problem> {
    read(FILE, TEXT)
}
