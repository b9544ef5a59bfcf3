//! Why a report is refused: what it says of itself does not follow from the rest of it.
//!
//! Who wrote it so, and why, is not asked.

use super::Verdict;
use crate::words::untrusted::Text;

/// Something in a report that follows from the rest of it, and is not what follows.
///
/// A call is named by its case and its place among the calls under test of it, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the messages name")]
pub enum Contradiction {
    /// The summary counts other findings of a verdict than there are. `says` is absent where it does not name the
    /// verdict.
    #[error("its summary says {} `{verdict}`, and its findings have {counted}", says.map_or("nothing of".to_owned(), |says| says.to_string()))]
    Summary { verdict: Verdict, says: Option<u64>, counted: u64 },
    /// Two findings are of one call.
    #[error("it has two findings of call {ordinal} of {case}")]
    Twice { ordinal: u32, case: Text },
    /// A finding has witnesses, and a reason why it has none.
    #[error("call {ordinal} of {case} has witnesses and says why there are none")]
    NeedlessReason { ordinal: u32, case: Text },
    /// A finding of a call that was not made has witnesses.
    #[error("call {ordinal} of {case} has witnesses and no outcome")]
    WitnessesAlone { ordinal: u32, case: Text },
    /// A finding has an outcome, and a reason why it has none.
    #[error("call {ordinal} of {case} has an outcome and says why there is none")]
    Both { ordinal: u32, case: Text },
    /// A finding has no outcome and no reason for that.
    #[error("call {ordinal} of {case} has neither an outcome nor a reason why there is none")]
    Neither { ordinal: u32, case: Text },
    /// The verdict is not the one that outcome, expectations and witnesses make.
    #[error("call {ordinal} of {case} says `{says}`, and what it has makes it `{follows}`{}", reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Verdict { ordinal: u32, case: Text, says: Verdict, follows: Verdict, reason: Option<String> },
    /// The counts of repeated runs are not those of this finding.
    #[error("the distribution of call {ordinal} of {case}: {why}")]
    Distribution { ordinal: u32, case: Text, why: Miscount },
}

/// Why counts cannot be those of the runs of a finding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the messages name")]
pub enum Miscount {
    /// Every run with such a verdict has an outcome, and no other.
    #[error("it counts {outcomes} outcomes, and {verdicts} verdicts of runs with an outcome")]
    Outcomes { outcomes: u64, verdicts: u64 },
    /// A count is 0.
    #[error("it counts what never came")]
    Zero,
    /// The worst of the verdicts is not the finding's.
    #[error("its verdicts do not make `{0}`: the worst of them speaks for all")]
    Verdict(Verdict),
    /// The finding's own outcome is not among those that are counted.
    #[error("it does not count the outcome `{0}`")]
    Missing(String),
}
