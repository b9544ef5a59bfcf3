//! What differs around two reports: the host, its settings, the catalogue, the tool.
//!
//! It does not say whether a difference matters; it may explain a change.

use indexmap::{IndexMap, IndexSet};
use serde::Serialize;

use crate::report::finding::Report;

/// A fact that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FactDifference {
    /// `release`, `need ipv6`, a sysctl's name.
    pub fact: String,
    /// Absent where that side does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// And on the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
}

/// What differs around two reports, in the order of [`facts`].
pub fn differences(baseline: &Report, current: &Report) -> Vec<FactDifference> {
    between(facts(baseline), facts(current))
}

/// What differs between two lists of facts.
pub fn between(mut before: IndexMap<String, String>, mut after: IndexMap<String, String>) -> Vec<FactDifference> {
    let names: IndexSet<String> = before.keys().chain(after.keys()).cloned().collect();
    names
        .into_iter()
        .map(|fact| FactDifference { baseline: before.swap_remove(&fact), current: after.swap_remove(&fact), fact })
        .filter(|difference| difference.baseline != difference.current)
        .collect()
}

/// All that is told of a report besides its findings, by name.
pub fn facts(report: &Report) -> IndexMap<String, String> {
    let Report { tool, host, catalogue, complete, repeat, .. } = report;
    let needs = host.capabilities.iter().map(|(need, capability)| {
        let available = if capability.available { "available" } else { "not available" };
        let reason = capability.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        (format!("need {need}"), format!("{available}{reason}"))
    });
    // Where the kernel puts a tab between two numbers, people put a blank.
    let words = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
    let sysctls = host.sysctls.iter().map(|(name, value)| (name.to_string(), words(value.raw())));
    [
        ("os", host.os.to_string()),
        ("stack", host.stack.to_string()),
        ("release", host.release.to_string()),
        ("architecture", host.arch.to_string()),
        ("isolation", host.isolation.to_string()),
        ("tool", format!("{} {}", tool.name, tool.version)),
        ("catalogue", catalogue.digest.to_string()),
        ("repeat", repeat.to_string()),
        ("complete", if *complete { "yes".to_owned() } else { "no, interrupted".to_owned() }),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .chain(host.behind.iter().map(|command| ("behind".to_owned(), command.to_string())))
    .chain(needs)
    .chain(sysctls)
    .collect()
}
