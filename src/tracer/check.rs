//! What tracers do about troubles: the format of a check, and what changed between two checks.
//!
//! `cli` runs the tracers; this judges their calls and their output.

pub mod attempt;
pub mod infer;
pub mod judge;
pub mod profile;
pub mod trouble;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::knowledge::policy::right::Consequence;
use crate::report::finding::Tool;
use crate::words::cause::Cause;

use infer::{Habit, Likeness};
use judge::{Behaviour, BehaviourJudgement, BehaviourVerdict};
use trouble::Trouble;

/// The version of the format, its first field.
pub const FORMAT: &str = "errnoscope-check/2";

/// What some tracers did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// `errnoscope-check/2`.
    #[schemars(extend("const" = FORMAT))]
    pub format: String,
    pub tool: Tool,
    /// The kernel that answered: `linux 6.18`.
    pub stack: String,
    pub tracers: Vec<Tracer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tracer {
    /// The name of its profile.
    pub name: String,
    /// What it says of itself; empty where its profile does not ask.
    pub version: String,
    /// How it was started where nothing was wrong.
    pub command: Vec<String>,
    pub runs: Vec<CheckRow>,
    /// What it does about the signals that it was seen to get.
    pub habits: Vec<Habit>,
    /// How much of that the policies of errnoscope would do as well.
    pub like: Vec<Likeness>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRow {
    pub trouble: Trouble,
    pub cause: Cause,
    /// The options of `errnoscope exec` that make it.
    pub conditions: Vec<String>,
    pub behaviour: Behaviour,
    pub verdict: BehaviourVerdict,
    /// What a wrong behaviour does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Consequence>,
    pub why: String,
    /// The TTLs that were answered, as far as its output says.
    pub reached: BTreeSet<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The line of its output that names the error, or else what it complains about, in a few lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The system calls that show it.
    pub proof: Vec<String>,
}

pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<Check>(FORMAT)
}

/// Reads a check; what is wrong with the text, and at which line and column.
pub fn read(text: &str) -> Result<Check, (usize, usize, String)> {
    let wrong = |error: serde_json::Error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        (error.line(), error.column(), error.to_string().replace(&place, ""))
    };
    let check: Check = serde_json::from_str(text).map_err(wrong)?;
    match &*check.format {
        FORMAT => Ok(check),
        other => Err((1, 1, format!("format `{other}`, this version reads `{FORMAT}`"))),
    }
}

impl CheckRow {
    pub fn new(
        trouble: Trouble,
        conditions: Vec<String>,
        exit_code: Option<i32>,
        judgement: BehaviourJudgement,
    ) -> CheckRow {
        let BehaviourJudgement { behaviour, verdict, kind, why, reached, message, proof } = judgement;
        let cause = trouble.cause();
        CheckRow { trouble, cause, conditions, behaviour, verdict, kind, why, reached, exit_code, message, proof }
    }
}

impl Tracer {
    /// Its name and, where it says one, its version.
    pub fn label(&self) -> String {
        let number = self.version.split_whitespace().find(|word| word.starts_with(|it: char| it.is_ascii_digit()));
        number.map_or_else(|| self.name.clone(), |number| format!("{} {number}", self.name))
    }

    /// Whether there is a run of this verdict.
    pub fn has(&self, verdict: BehaviourVerdict) -> bool {
        self.runs.iter().any(|row| row.verdict == verdict)
    }
}

/// A trouble about which a tracer does something else than in the baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BehaviourChange {
    pub tracer: String,
    pub trouble: Trouble,
    /// Nothing where the baseline does not have it.
    pub baseline: Option<CheckOutcome>,
    pub current: CheckOutcome,
}

/// What a tracer did, whether that was right, and what it does where it was wrong.
pub type CheckOutcome = (Behaviour, BehaviourVerdict, Option<Consequence>);

/// What the current runs show that the baseline does not. A tracer is held against itself, in the same version if the
/// baseline has that; what did not run now is no change.
pub fn changes(baseline: &Check, current: &Check) -> Vec<BehaviourChange> {
    let mut changes = Vec::new();
    for tracer in &current.tracers {
        let namesakes = || baseline.tracers.iter().filter(|known| known.name == tracer.name);
        let known = namesakes().find(|known| known.version == tracer.version).or_else(|| namesakes().next_back());
        for row in tracer.runs.iter().filter(|row| row.behaviour != Behaviour::NotRun) {
            let before = known.and_then(|known| known.runs.iter().find(|known| known.trouble == row.trouble));
            let outcome = |row: &CheckRow| (row.behaviour, row.verdict, row.kind);
            let (before, now) = (before.map(outcome), outcome(row));
            if before != Some(now) {
                let (tracer, trouble) = (tracer.label(), row.trouble);
                changes.push(BehaviourChange { tracer, trouble, baseline: before, current: now });
            }
        }
    }
    changes
}
