//! What may stand behind a failed call, as far as the scenarios know.
//!
//! It says nothing about what to do: that is the business of `right` and of the policies.

use std::collections::BTreeMap;

use super::{ProbeCall, Signal};
use crate::catalogue::Catalogue;
use crate::cause::Cause;
use crate::judge::CURRENT;
use crate::names::{Family, Protocol};
use crate::scenario::{Case, cases, compile};

/// The causes that are known to give this errno to this call, the one with the most cases first.
///
/// Empty where no scenario expects it. A probe's socket is new, so that its state is never the cause. Reads the whole
/// catalogue: some milliseconds, for whoever has an error to explain.
pub fn causes(signal: &Signal) -> Vec<Cause> {
    let Ok(catalogue) = Catalogue::embedded() else { return Vec::new() };
    let mut counts: BTreeMap<Cause, u64> = BTreeMap::new();
    for scenario in &catalogue.scenarios {
        for case in cases(scenario).filter(|case| is_alike(case, signal)) {
            let Ok(compiled) = compile(scenario, &case) else { continue };
            for subject in &compiled.subjects {
                let same_call = ProbeCall::new(subject.call) == Some(signal.call) && subject.port == signal.port;
                let expected = scenario.expectations(&case, subject.subject, signal.os, CURRENT);
                let same_errno = expected.iter().any(|expected| expected.outcome == signal.errno.as_str());
                if same_call && same_errno && subject.cause != Cause::SocketState {
                    *counts.entry(subject.cause).or_default() += 1;
                }
            }
        }
    }
    let mut causes: Vec<(Cause, u64)> = counts.into_iter().collect();
    causes.sort_by_key(|&(cause, count)| (std::cmp::Reverse(count), cause));
    causes.into_iter().map(|(cause, _)| cause).collect()
}

/// Whether the case is about the same kind of socket, as far as its axes say.
fn is_alike(case: &Case, signal: &Signal) -> bool {
    let agrees = |axis: &str, word: &str, words: &[&str]| {
        case.value(axis).is_none_or(|value| value == word || !words.contains(&value))
    };
    let protocols: Vec<&str> = Protocol::ALL.iter().map(|protocol| protocol.as_str()).collect();
    let families: Vec<&str> = Family::ALL.iter().map(|family| family.as_str()).collect();
    agrees("protocol", signal.protocol.as_str(), &protocols) && agrees("family", signal.family.as_str(), &families)
}
