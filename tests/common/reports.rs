//! Reports of real runs, and what tests make of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::LazyLock;

use errnoscope::plan::Outcome;
use errnoscope::render::json;
use errnoscope::report::finding::{Distribution, Finding, Report, Unjudged, Verdict};
use serde_json::Value;

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

/// The reports that are committed, of every stack that has been observed, in the order of their names, which is the
/// scripts'.
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
pub fn evidence(finding: &Finding) -> Unjudged {
    let Finding { scenario, case, axes, cause, subject, elsewhere, trail, .. } = finding.clone();
    Unjudged {
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
    expectation.outcome = outcome.name().into();
    Finding::observed(Unjudged { expected: [expectation].into(), ..evidence(finding) }, outcome)
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

/// What a text from outside may try on a terminal, a page or a log: colours of its own, another title, a cleared
/// screen, the other direction, what cannot be seen, lines of its own.
pub const HOSTILE: &str = "\u{1b}[31mX\u{1b}]0;t\u{7}\u{9b}2J\u{7f}\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{feff}\u{2028}\n::error::\r\n##[x]\t";

/// The small report with [`HOSTILE`] behind every text that may be any, and where these texts are (`findings.*.case`).
pub fn hostile() -> &'static (Report, Vec<String>) {
    static REPORT: LazyLock<(Report, Vec<String>)> = LazyLock::new(|| {
        let mut json: Value = serde_json::from_slice(&text_of(small())).unwrap();
        let mut places = BTreeSet::new();
        collect(&json, "", &mut places);
        let mut taken = Vec::new();
        for place in places {
            let mut changed = json.clone();
            spoil(&mut changed, "", &place);
            // Words of which only some are known stay as they are, and so does what has to fit something else.
            if json::read(&changed.to_string()).is_ok() {
                json = changed;
                taken.push(place);
            }
        }
        (read(&json.to_string()), taken)
    });
    &REPORT
}

/// Where texts are; of the names in an object, `place.?`.
fn collect(value: &Value, place: &str, places: &mut BTreeSet<String>) {
    match value {
        Value::String(_) => drop(places.insert(place.to_owned())),
        Value::Array(items) => items.iter().for_each(|item| collect(item, &format!("{place}.*"), places)),
        Value::Object(entries) => {
            for (name, value) in entries {
                // Those of a map, not of a structure.
                let map = ["axes", "sysctls", "distribution", "outcomes"].iter().any(|map| place.ends_with(map));
                if map {
                    places.insert(format!("{place}.?"));
                }
                collect(value, &format!("{place}.{}", if map { "*" } else { name }), places);
            }
        }
        _ => {}
    }
}

fn spoil(value: &mut Value, place: &str, wanted: &str) {
    match value {
        Value::String(text) if place == wanted => text.push_str(HOSTILE),
        Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, &format!("{place}.*"), wanted)),
        Value::Object(entries) => {
            let all = std::mem::take(entries);
            for (name, mut value) in all {
                let map = ["axes", "sysctls", "distribution", "outcomes"].iter().any(|map| place.ends_with(map));
                spoil(&mut value, &format!("{place}.{}", if map { "*" } else { &name }), wanted);
                let spoilt = if map && format!("{place}.?") == wanted { format!("{name}{HOSTILE}") } else { name };
                entries.insert(spoilt, value);
            }
        }
        _ => {}
    }
}

/// Whatever says this to a terminal has let somebody else speak; colours of the program's own pass.
#[track_caller]
pub fn check_shown(what: &str, text: &str) {
    assert!(!text.contains("\u{1b}[31mX"), "{what} has somebody else's colours:\n{text:?}");
    let plain = anstream::adapter::strip_str(text).to_string();
    let own = |text: &str| text.replace("\u{1b}[", "");
    assert!(!own(text).contains('\u{1b}'), "{what} has an escape:\n{text:?}");
    let bad = |letter: char| {
        letter != '\n' && letter.is_control()
            || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if let Some(place) = plain.find(bad) {
        let line = plain[..place].lines().last().unwrap_or_default();
        panic!("{what} has {:?} behind `{line}`", plain[place..].chars().next());
    }
    // Behind an indent it may have come there because a line was full.
    let begun = plain.lines().find(|line| line.starts_with("::error::") || line.starts_with("##[x]"));
    assert_eq!(begun, None, "{what} has somebody else's line");
}
