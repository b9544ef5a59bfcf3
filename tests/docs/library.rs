//! The example of docs/library.md.

use errnoscope::render::json;
use errnoscope::words::errno::Errno;
use errnoscope::words::names::Os;

use crate::common::reports::SMALL;
use crate::harness::test;

#[test]
fn a_report_is_read() {
    let path = super::root().join(SMALL);
    assert_eq!(busy(&path), Ok(3));
}

/// How often connect() on a bound socket gave EADDRNOTAVAIL.
fn busy(path: &std::path::Path) -> Result<usize, String> {
    // The same number is another errno elsewhere.
    assert_eq!(Errno::from_raw(Os::Linux, 99).name(), "EADDRNOTAVAIL");
    assert_eq!(Errno::from_raw(Os::Macos, 49).name(), "EADDRNOTAVAIL");

    // How often did connect() on a bound socket give EADDRNOTAVAIL?
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let report = json::read(&text).map_err(|(line, column, why)| format!("{line}:{column}: {why}"))?;
    let connects = report.findings.iter().filter(|finding| finding.subject.call.as_str() == "connect");
    let bound = connects.filter(|finding| finding.subject.port.as_str() == "explicit");
    let refused = bound.filter(|finding| finding.outcome_name() == "EADDRNOTAVAIL").count();
    Ok(refused)
}
