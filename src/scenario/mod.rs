//! Scenario files: what a scenario says, and the cases that its axes span.
//!
//! Reading is strict: what a file says and this module does not know is an error with a place. Nothing here performs an
//! op or judges an outcome.

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

use crate::words::names::{Need, Os};
use crate::words::untrusted::Text;

pub use crate::words::problem::Problem;
pub use case::{Case, cases};
pub use check::check;
pub use compile::{Compiled, SubjectCall, compile};
pub use condition::Condition;
pub use hold::{Compound, Hold, Impossible};
pub use read::read;
pub use rule::{Expectation, ExpectationRule, Expected, Platform};

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
    /// A sentence that says what the scenario is about.
    pub claim: Text,
    /// `call.situation`, by which people and reports name it. It never changes.
    pub id: String,
    /// Where the id stands.
    pub id_span: Range<usize>,
    /// Why anybody should care.
    pub why: Text,
    /// What its calls run into, or a reference to a value that says it.
    pub cause: Spanned<DeValue<'static>>,
    /// What the host must offer, in which cases.
    pub needs: Vec<NeedRule>,
    /// Cases that wait for kernel timers, and run only when asked for.
    pub slow: Option<Condition>,
    /// Milliseconds after which a case is killed.
    pub deadline_ms: u32,
    /// What varies, in the order of the file.
    pub axes: Vec<Axis>,
    /// Points of the product that are no cases.
    pub exclude: Vec<Exclude>,
    /// Conditions that have a name.
    pub facts: Vec<(Spanned<String>, Condition)>,
    /// Tables from which cases take values.
    pub values: Vec<(Spanned<String>, Vec<ValueRow>)>,
    /// What builds the situation.
    pub setup: Vec<StepText>,
    /// Kernel state that must hold around every call under test.
    pub preconditions: Vec<PreconditionText>,
    /// The calls under test.
    pub subjects: Vec<Subject>,
}

/// A parameter that varies.
#[derive(Debug)]
pub struct Axis {
    /// Its name, with its place in the file.
    pub name: Spanned<String>,
    /// What it may be, in the order in which cases have them.
    pub values: Vec<Spanned<String>>,
}

/// Cases that are left out, and why they make no sense.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclude {
    /// Which points these are.
    pub when: Spanned<Condition>,
    /// A sentence.
    pub why: Text,
}

/// What the host must offer, and in which cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeedRule {
    /// A word of [`Need`], with its place in the file.
    pub need: Spanned<String>,
    /// In which cases; absent: in all.
    pub when: Option<Spanned<Condition>>,
    #[serde(skip)]
    pub(crate) parsed: Option<Need>,
}

/// One row of a `values` table: the first row whose condition holds gives the value.
#[derive(Debug)]
pub struct ValueRow {
    /// Where it holds; absent: everywhere.
    pub when: Option<Condition>,
    /// The value, or a reference to another.
    pub is: Spanned<DeValue<'static>>,
    /// Its bytes in the file.
    pub span: Range<usize>,
}

/// An op as written, with `$name` references still in it.
#[derive(Debug)]
pub struct StepText {
    /// In which cases it is performed; absent: in all.
    pub when: Option<Condition>,
    /// On which OS alone; absent: on every one.
    pub os: Option<Os>,
    /// Whose effective uid.
    pub user: Option<Spanned<DeValue<'static>>>,
    /// Errnos that are as good as success here.
    pub permit: Vec<String>,
    /// Errnos by which a host says that it lacks what the op needs.
    pub unsupported: Vec<String>,
    /// `{ bind = { … } }`.
    pub op: Spanned<DeValue<'static>>,
    /// Its bytes in the file.
    pub span: Range<usize>,
}

/// A precondition as written, with `$name` references still in it.
#[derive(Debug)]
pub struct PreconditionText {
    /// In which cases it is one; absent: in all.
    pub when: Option<Condition>,
    /// On which OS alone, where others have no such state or it says nothing there; absent: on every one.
    pub os: Option<Os>,
    /// When it must hold.
    pub at: crate::scenario::witness::WitnessTime,
    /// `{ socket = { … } }`.
    pub what: Spanned<DeValue<'static>>,
    /// Its bytes in the file.
    pub span: Range<usize>,
}

/// A call under test, with what each OS is expected to answer.
#[derive(Debug)]
pub struct Subject {
    /// The earlier subject call that must have succeeded for this one to be made.
    pub after: Option<Spanned<String>>,
    /// Overrides the scenario's cause.
    pub cause: Option<Spanned<DeValue<'static>>>,
    /// What is done before it, after what came earlier.
    pub before: Vec<StepText>,
    /// The call.
    pub step: StepText,
    /// What must hold around this call alone.
    pub preconditions: Vec<PreconditionText>,
    /// Why nothing is witnessed in the cases that have no precondition: a sentence.
    pub unwitnessed: Option<Spanned<Arc<str>>>,
    /// What each OS is expected to answer. The first rule that applies decides.
    pub rules: Vec<ExpectationRule>,
}

impl Scenario {
    /// Whether a step or a precondition is there on one OS alone.
    fn has_entries_of_an_os(&self) -> bool {
        let steps = self.subjects.iter().flat_map(|subject| subject.before.iter().chain([&subject.step]));
        let preconditions = self.subjects.iter().flat_map(|subject| &subject.preconditions);
        self.setup.iter().chain(steps).any(|step| step.os.is_some())
            || self.preconditions.iter().chain(preconditions).any(|precondition| precondition.os.is_some())
    }

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
