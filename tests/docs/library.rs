//! The example of docs/library.md.

use errnoscope::report::finding::Report;
use errnoscope::words::errno::{Errno, ErrnoName};
use errnoscope::words::names::{Call, Os, PortChoice};

use crate::common::reports::SMALL;
use crate::harness::test;

#[test]
fn a_report_is_read() {
    let path = super::root().join(SMALL);
    assert_eq!(busy(&path).unwrap(), 3);
}

/// How often connect() on a bound socket gave EADDRNOTAVAIL.
fn busy(path: &std::path::Path) -> Result<usize, Box<dyn std::error::Error>> {
    // The same number is another errno elsewhere.
    assert!(Errno::from_raw(Os::Linux, 99).is(ErrnoName::EADDRNOTAVAIL));
    assert!(Errno::from_raw(Os::Macos, 49).is(ErrnoName::EADDRNOTAVAIL));

    // How often did connect() on a bound socket give EADDRNOTAVAIL?
    let report: Report = std::fs::read_to_string(path)?.parse()?;
    let connects = report.findings.iter().filter(|finding| finding.subject.call == Call::Connect);
    let bound = connects.filter(|finding| finding.subject.port == PortChoice::Explicit);
    let gave = bound.filter_map(|finding| finding.outcome());
    let refused = gave.filter(|outcome| outcome.is(ErrnoName::EADDRNOTAVAIL)).count();
    Ok(refused)
}
