//! What a worker gets right of the protocol, point by point, as `protocol check --json` has it.
//!
//! `suite::conformance` asks the worker; nothing here does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::words::names::words;
use crate::words::untrusted::Text;

/// The version of this format, its first field.
pub const FORMAT: &str = "errnoscope-protocol-check/1";

words! {
    /// What came of a point.
    #[schemars(rename = "Result")]
    PointResult {
        /// It is as the protocol has it.
        Right = "ok",
        /// It is not.
        Wrong = "wrong",
        /// The worker says that it does not have this, and need not have it.
        NotOffered = "not-offered",
    }
}

/// What one worker gets right.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Conformance {
    /// `errnoscope-protocol-check/1`.
    #[schemars(extend("const" = FORMAT))]
    pub format: &'static str,
    /// Of which protocol.
    pub protocol: u32,
    /// The command that leads to the worker.
    pub command: Text,
    /// Points by result; every result is there.
    pub summary: BTreeMap<PointResult, u64>,
    /// In the order in which they were asked.
    pub points: Vec<ConformancePoint>,
}

/// One thing that a worker must get right.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Point", deny_unknown_fields)]
pub struct ConformancePoint {
    /// In a word.
    pub name: String,
    /// What the protocol says.
    pub rule: String,
    /// Whether every worker must have it.
    pub core: bool,
    /// What came of it.
    pub result: PointResult,
    /// What the worker said that is wrong, or why it does not offer this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<Text>,
    /// What it was to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Text>,
    /// The messages that were exchanged, in their order, without their marks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchange: Vec<Message>,
}

/// One line between coordinator and worker.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub enum Message {
    /// What the worker was sent.
    ToWorker(Text),
    /// What it said.
    FromWorker(Text),
}

impl Conformance {
    /// Of these points.
    pub fn new(protocol: u32, command: &str, points: Vec<ConformancePoint>) -> Conformance {
        let mut summary: BTreeMap<PointResult, u64> = PointResult::ALL.iter().map(|&result| (result, 0)).collect();
        points.iter().for_each(|point| *summary.entry(point.result).or_default() += 1);
        Conformance { format: FORMAT, protocol, command: command.into(), summary, points }
    }

    /// Whether nothing is wrong.
    pub fn is_right(&self) -> bool {
        self.summary.get(&PointResult::Wrong).is_none_or(|&count| count == 0)
    }
}

/// The JSON Schema of this format.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<Conformance>(FORMAT)
}
