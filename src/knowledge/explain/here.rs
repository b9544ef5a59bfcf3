//! What one host says of the causes of a failure, and how that orders them.
//!
//! It asks no host: `cli` does.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Candidate, Explanation};
use crate::words::cause::Cause;

/// Whether a cause holds on one host at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Here {
    /// The cause.
    pub cause: Cause,
    /// Absent: the host alone cannot tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// What the host says, or why it cannot tell.
    pub said: String,
}

impl Explanation {
    /// With what the host says of its causes: those that hold come first, and those that do not come behind those of
    /// which it cannot tell. What does not account for the errno stays last.
    pub fn with_host(mut self, here: Vec<Here>) -> Explanation {
        self.here = here;
        let rank = |candidate: &Candidate| {
            let here = self.here.iter().find(|here| candidate.cause == here.cause);
            match here.and_then(|here| here.holds) {
                Some(true) => 0,
                _ if candidate.advice.is_empty() => 3,
                None => 1,
                Some(false) => 2,
            }
        };
        for failure in &mut self.failures {
            failure.causes.sort_by_key(rank);
        }
        self.failures.sort_by_key(|failure| failure.causes.first().is_none_or(|first| rank(first) != 0));
        self.here.sort_by_key(|here| match here.holds {
            Some(true) => 0,
            Some(false) => 1,
            None => 2,
        });
        self
    }
}
