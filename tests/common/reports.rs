//! Reports of real runs, and what tests make of them.

use std::fs::File;
use std::path::Path;
use std::sync::LazyLock;

use errnoscope::finding::{Distribution, Evidence, Finding, Report, Verdict};
use errnoscope::plan::Outcome;
use errnoscope::render::json;

pub const BASELINE: &str = "ci/baselines/linux-6.18.json.gz";

/// A few dozen findings with every verdict, as `ci/golden.sh` made them.
pub const SMALL: &str = "tests/golden/report.json";

/// Read once: it is large.
pub fn baseline() -> &'static Report {
    static REPORT: LazyLock<Report> =
        LazyLock::new(|| compressed(&Path::new(env!("CARGO_MANIFEST_DIR")).join(BASELINE)));
    &REPORT
}

/// The baseline as a single run of each case would have made it.
pub fn single() -> &'static Report {
    static REPORT: LazyLock<Report> = LazyLock::new(|| {
        let once = |finding: &Finding| finding.clone().ran(None).unwrap();
        Report { repeat: 1, ..baseline().with(baseline().findings.iter().map(once).collect()) }
    });
    &REPORT
}

/// The reports that are committed, of every stack that has been observed, in the order of their names, which is the scripts'.
pub fn baselines() -> &'static [Report] {
    static REPORTS: LazyLock<Vec<Report>> = LazyLock::new(|| {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/baselines");
        let files = std::fs::read_dir(&directory).expect("the baselines are there");
        let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "no baseline in {}", directory.display());
        files.sort();
        files.iter().map(|path| compressed(path)).collect()
    });
    &REPORTS
}

#[track_caller]
fn compressed(path: &Path) -> Report {
    let reader = flate2::read::GzDecoder::new(File::open(path).unwrap());
    read(&std::io::read_to_string(reader).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

pub fn small() -> &'static Report {
    static REPORT: LazyLock<Report> =
        LazyLock::new(|| read(&std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SMALL)).unwrap()));
    &REPORT
}

#[track_caller]
fn read(text: &str) -> Report {
    json::read(text).unwrap_or_else(|(line, column, message)| panic!("{line}:{column}: {message}"))
}

pub fn text_of(report: &Report) -> Vec<u8> {
    let mut text = Vec::new();
    json::write(report, &mut text).unwrap();
    text
}

/// What a finding is made of, for another one.
pub fn evidence(finding: &Finding) -> Evidence {
    let Finding { scenario, case, axes, cause, subject, elsewhere, trail, .. } = finding.clone();
    Evidence {
        scenario,
        case,
        axes,
        cause,
        subject,
        expected: finding.expected().clone(),
        elsewhere,
        witness: finding.witness().to_vec(),
        unwitnessed: finding.unwitnessed().map(Into::into),
        trail,
    }
}

/// The finding with another outcome, which is all that is expected of it.
pub fn given(finding: &Finding, outcome: Outcome) -> Finding {
    let mut expectation = finding.expected()[0].clone();
    outcome.name().clone_into(&mut expectation.outcome);
    Finding::observed(Evidence { expected: [expectation].into(), ..evidence(finding) }, outcome)
}

/// The finding of a case that ran so often with these outcomes; a verdict's name stands for runs without one.
#[track_caller]
pub fn repeated(finding: &Finding, outcomes: &[(&str, u32)]) -> Finding {
    let mut runs = Distribution::default();
    for &(name, count) in outcomes {
        match name.parse::<Verdict>() {
            Ok(verdict) => drop(runs.verdicts.insert(verdict, count)),
            Err(_) => {
                runs.outcomes.insert(name.to_owned(), count);
                let verdict = if finding.outcome().is_some() { finding.verdict() } else { Verdict::Match };
                *runs.verdicts.entry(verdict).or_default() += count;
            }
        }
    }
    finding.clone().ran(Some(runs)).unwrap()
}
