//! The columns of a document: which stacks there are, and their names.
//!
//! It does not look at their answers.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::super::text::marked;
use crate::report::finding::Report;
use crate::words::names::Os;

/// Something that answers, or is expected to.
#[derive(Clone, Debug)]
pub struct Column {
    /// `linux 6.18`, with as much more as tells it from the others; `linux 6.18†` where somebody behind a command
    /// speaks for it; `macos*` where nobody observed it.
    pub label: String,
    pub os: Os,
    pub observed: bool,
}

/// One for each report, and one for each system that no report is about.
pub fn columns(reports: &[Report]) -> Vec<Column> {
    type Name = fn(&Report) -> String;
    const NAMES: [Name; 4] = [
        |report| report.host.stack.to_string(),
        |report| format!("{} ({})", report.host.stack, report.host.release),
        |report| format!("{} ({}, {})", report.host.stack, report.host.release, report.host.arch),
        |report| {
            let digest: String = report.catalogue.digest.chars().skip("sha256:".len()).take(6).collect();
            format!("{} ({}, {}, {digest})", report.host.stack, report.host.release, report.host.arch)
        },
    ];
    let mut labels: Vec<String> = reports.iter().map(NAMES[0]).collect();
    for longer in &NAMES[1..] {
        let shared = counted(&labels);
        for (label, report) in labels.iter_mut().zip(reports) {
            if shared.get(label).is_some_and(|count| *count > 1) {
                *label = longer(report);
            }
        }
    }
    let shared = counted(&labels);
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for label in labels.iter_mut().filter(|label| shared.get(*label).is_some_and(|count| *count > 1)) {
        let number = numbers.entry(label.clone()).or_default();
        *number += 1;
        *label = format!("{label} #{number}");
    }
    let observed = labels.into_iter().zip(reports).map(|(label, report)| {
        let label = marked(&label, report.host.behind.is_some());
        Column { label, os: report.host.os, observed: true }
    });
    let own = |os: Os| reports.iter().any(|report| report.host.os == os && report.host.is_own());
    let expected = Os::ALL.iter().filter(|os| !own(**os));
    let expected = expected.map(|&os| Column { label: format!("{os}*"), os, observed: false });
    observed.chain(expected).collect()
}

fn counted(labels: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for label in labels {
        *counts.entry(label.clone()).or_default() += 1;
    }
    counts
}

/// Some of the columns as one: `linux 5.10, 6.1; gvisor 2025`, or `all 8 stacks`.
pub fn joined(columns: &[Column], places: &[usize]) -> String {
    let observed = columns.iter().filter(|column| column.observed).count();
    let own = || places.iter().filter_map(|&place| columns.get(place));
    if observed > 2 && own().filter(|column| column.observed).count() == observed {
        return format!("all {observed} stacks");
    }
    families(own().map(|column| &*column.label))
}

/// `linux 5.10, 6.1; gvisor 2025`.
pub fn families<'l>(labels: impl Iterator<Item = &'l str>) -> String {
    let mut families: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for label in labels {
        let (family, version) = label.split_once(' ').unwrap_or((label, ""));
        families.entry(family).or_default().push(version);
    }
    let families = families.into_iter().map(|(family, versions)| format!("{family} {}", versions.join(", ")));
    families.map(|family| family.trim_end().to_owned()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_agree_have_one_name() {
        let column = |label: &str| Column { label: label.to_owned(), os: Os::Linux, observed: !label.ends_with('*') };
        let columns = ["linux 5.10", "gvisor 2025", "linux 6.1", "macos*"].map(column);
        assert_eq!(joined(&columns, &[0, 1]), "linux 5.10; gvisor 2025");
        assert_eq!(joined(&columns, &[0, 2]), "linux 5.10, 6.1");
        assert_eq!(joined(&columns, &[0, 1, 2]), "all 3 stacks");
        assert_eq!(joined(&columns, &[3]), "macos*");
    }
}
