//! Whether a run may become the baseline for later runs.
//!
//! A mismatch may, so that its end is noticed. A doubtful run may not. Nothing here writes the file.

use std::collections::BTreeSet;

use super::is_unstable;
use crate::report::finding::{Finding, Report, Verdict};

/// Why `current` cannot become the baseline; nothing where it can. `baseline` is what it would replace.
pub fn doubts(baseline: Option<&Report>, current: &Report) -> Vec<String> {
    let mut doubts = Vec::new();
    if !current.complete {
        doubts.push("the run was interrupted".to_owned());
    }
    if current.findings.iter().all(|finding| finding.verdict() == Verdict::Unsupported) {
        doubts.push("nothing ran".to_owned());
    }
    let left_out = baseline.map(|baseline| left_out(baseline, current)).unwrap_or_default();
    doubts.extend(some("not run, of the same catalogue", "case", left_out.into_iter()));
    for verdict in [Verdict::Unwitnessed, Verdict::Broken, Verdict::TimedOut] {
        let of_it = current.findings.iter().filter(|finding| finding.verdict() == verdict).map(name);
        doubts.extend(some(verdict.as_str(), "finding", of_it));
    }
    let unstable = current.findings.iter().filter(|finding| is_unstable(finding)).map(name);
    doubts.extend(some("not stable", "finding", unstable));
    doubts
}

/// The cases that only a run of everything would have: with the same catalogue on the same system nothing else takes
/// them away.
fn left_out(baseline: &Report, current: &Report) -> Vec<String> {
    if baseline.catalogue.digest != current.catalogue.digest || baseline.host.os != current.host.os {
        return Vec::new();
    }
    let ran: BTreeSet<&str> = current.findings.iter().map(|finding| &*finding.case).collect();
    let cases: BTreeSet<&str> = baseline.findings.iter().map(|finding| &*finding.case).collect();
    cases.difference(&ran).map(|&case| case.to_owned()).collect()
}

fn name(finding: &Finding) -> String {
    format!("{} {}", finding.case, finding.subject.call)
}

/// `broken: 3 findings, such as …`.
fn some(what: &str, noun: &str, mut names: impl Iterator<Item = String>) -> Option<String> {
    let first = names.next()?;
    let plural = match 1 + names.count() {
        1 => format!("1 {noun}, "),
        several => format!("{several} {noun}s, such as "),
    };
    Some(format!("{what}: {plural}{first}"))
}
