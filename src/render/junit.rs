//! Reports as JUnit XML: a test suite per scenario, a test case per finding.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::details;
use crate::report::finding::{Finding, Report, Verdict};
use crate::words::moment::Moment;
use crate::words::untrusted::{shown, shown_lines};

/// A finding's details are for narrow logs.
const WIDTH: usize = 100;

pub fn junit(report: &Report) -> Result<String, String> {
    let mut junit = Junit::new(format!("errnoscope on {}", shown(&report.host.in_words())));
    let mut suite: Option<TestSuite> = None;
    for finding in &report.findings {
        if suite.as_ref().is_some_and(|suite| suite.name.as_str() != shown(&finding.scenario)) {
            junit.add_test_suites(suite.take());
        }
        suite.get_or_insert_with(|| test_suite(&finding.scenario, report.started)).add_test_case(test_case(finding));
    }
    junit.add_test_suites(suite);
    let skipped: usize = junit.test_suites.iter().map(|suite| suite.skipped).sum();
    let xml = junit.to_string().map_err(|error| error.to_string())?;
    // Jenkins' xunit plugin validates by a schema (junit-10.xsd) that has this attribute on suites alone. Inside of a
    // value a quote is written otherwise, so that the first one is it.
    Ok(xml.replacen(&format!(" skipped=\"{skipped}\""), "", 1))
}

/// Every suite has the time at which the run began: scenarios run side by side.
fn test_suite(scenario: &str, started: Moment) -> TestSuite {
    let mut suite = TestSuite::new(&*shown(scenario));
    suite.set_timestamp(started.time());
    suite
}

fn test_case(finding: &Finding) -> TestCase {
    let mut case = TestCase::new(format!("{} {}", shown(&finding.case), finding.subject.call), status(finding));
    case.set_classname(&*shown(&finding.scenario));
    let micros: f64 = finding.trail.iter().map(|entry| entry.micros).sum();
    case.set_time(Duration::try_from_secs_f64(micros / 1e6).unwrap_or_default());
    case
}

fn status(finding: &Finding) -> TestCaseStatus {
    let mut status = match finding.verdict() {
        Verdict::Match => return TestCaseStatus::success(),
        Verdict::Mismatch => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Unwitnessed | Verdict::Broken | Verdict::TimedOut => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
        Verdict::Unsupported => TestCaseStatus::skipped(),
    };
    status.set_type(finding.verdict().as_str());
    status.set_message(&*shown(&finding.reason().unwrap_or_default()));
    if finding.verdict() != Verdict::Unsupported {
        let details = anstream::adapter::strip_str(&details::finding(finding, 1, WIDTH)).to_string();
        status.set_description(shown_lines(&details));
    }
    status
}
