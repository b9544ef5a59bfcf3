//! Scenario files: what a scenario says, and the cases that its axes span.
//!
//! Reading is strict: what a file says and this module does not know is an error with a place. Nothing here
//! performs an op or judges an outcome.

mod case;
mod check;
mod compile;
mod condition;
mod hold;
mod read;
pub mod rule;
mod shared;
pub mod witness;

use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use crate::words::names::Need;
use crate::words::untrusted::Text;

pub use crate::words::problem::Problem;
pub use case::{Case, cases};
pub use check::check;
pub use compile::{Compiled, SubjectCall, compile};
pub use condition::Condition;
pub use hold::{Compound, Hold};
pub use read::read;
pub use rule::{Expectation, Expected, Platform, Rule};

/// The schema-like description of a scenario file that error messages refer to.
pub const KEYS: &[&str] = &[
    "claim",
    "id",
    "why",
    "cause",
    "needs",
    "slow",
    "deadline_ms",
    "axes",
    "exclude",
    "facts",
    "values",
    "setup",
    "precondition",
    "subject",
];

/// One scenario file, read and syntactically sound.
#[derive(Debug)]
pub struct Scenario {
    /// Where it came from, for messages.
    pub file: String,
    /// The whole text, for messages.
    pub text: &'static str,
    pub claim: Text,
    pub id: String,
    /// Where the id stands.
    pub id_span: Range<usize>,
    pub why: Text,
    pub cause: Spanned<DeValue<'static>>,
    pub needs: Vec<NeedRule>,
    /// Cases that wait for kernel timers, and run only when asked for.
    pub slow: Option<Condition>,
    pub deadline_ms: u32,
    pub axes: Vec<Axis>,
    pub exclude: Vec<Exclude>,
    pub facts: Vec<(Spanned<String>, Condition)>,
    pub values: Vec<(Spanned<String>, Vec<ValueRow>)>,
    pub setup: Vec<StepText>,
    pub preconditions: Vec<PreconditionText>,
    pub subjects: Vec<Subject>,
}

#[derive(Debug)]
pub struct Axis {
    pub name: Spanned<String>,
    pub values: Vec<Spanned<String>>,
}

/// Cases that are left out, and why they make no sense.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclude {
    pub when: Spanned<Condition>,
    pub why: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeedRule {
    pub need: Spanned<String>,
    pub when: Option<Spanned<Condition>>,
    #[serde(skip)]
    pub(crate) parsed: Option<Need>,
}

/// One row of a `values` table: the first row whose condition holds gives the value.
#[derive(Debug)]
pub struct ValueRow {
    pub when: Option<Condition>,
    pub is: Spanned<DeValue<'static>>,
    pub span: Range<usize>,
}

/// An op as written, with `$name` references still in it.
#[derive(Debug)]
pub struct StepText {
    pub when: Option<Condition>,
    /// Whose effective uid.
    pub user: Option<Spanned<DeValue<'static>>>,
    /// Errnos that are as good as success here.
    pub permit: Vec<String>,
    /// Errnos by which a host says that it lacks what the op needs.
    pub unsupported: Vec<String>,
    /// `{ bind = { … } }`.
    pub op: Spanned<DeValue<'static>>,
    pub span: Range<usize>,
}

#[derive(Debug)]
pub struct PreconditionText {
    pub when: Option<Condition>,
    pub at: crate::scenario::witness::Moment,
    /// `{ socket = { … } }`.
    pub what: Spanned<DeValue<'static>>,
    pub span: Range<usize>,
}

/// A call under test, with what each OS is expected to answer.
#[derive(Debug)]
pub struct Subject {
    /// The earlier subject call that must have succeeded for this one to be made.
    pub after: Option<Spanned<String>>,
    /// Overrides the scenario's cause.
    pub cause: Option<Spanned<DeValue<'static>>>,
    pub before: Vec<StepText>,
    pub step: StepText,
    pub preconditions: Vec<PreconditionText>,
    /// Why nothing is witnessed in the cases that have no precondition: a sentence.
    pub unwitnessed: Option<Spanned<Arc<str>>>,
    pub rules: Vec<Rule>,
}

impl Scenario {
    /// The call folder and claim that the file's path must spell: `bind/a-claim-in-kebab-case.toml`.
    pub fn expected_file_name(&self) -> String {
        format!("{}.toml", kebab(&self.claim))
    }
}

/// Lower-case letters and digits, everything else a single hyphen.
pub fn kebab(claim: &str) -> String {
    let mut name = String::new();
    for letter in claim.chars() {
        if letter.is_ascii_alphanumeric() {
            name.push(letter.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_end_matches('-').to_owned()
}
