//! What every format looks like: each output for a small report of a real run, beside the file that has it.
//!
//! Where an output is to be another, `UPDATE_EXPECT=1 cargo test --test all -- golden::` writes the files anew, and
//! their difference is what a reviewer reads. The report is made by `ci/golden.sh`. Whether the outputs are right is
//! the business of others.

use std::fs;
use std::path::Path;

use crate::common;
use crate::common::golden::golden;
use crate::common::reports::{SMALL, evidence, small, text_of};
use crate::common::said::{Said, command, run, said};
use crate::harness::test;
use errnoscope::knowledge::explain::{self, Given, read};
use errnoscope::knowledge::policy::causes::Knowledge;
use errnoscope::plan::Outcome;
use errnoscope::render;
use errnoscope::report::finding::{Finding, Missing, Report, Verdict};
use errnoscope::words::errno::Errno;
use errnoscope::words::names::Os;

/// Another run, in which some findings have become something else.
fn changed() -> Report {
    let findings = small().findings.iter().enumerate().filter_map(|(index, finding)| {
        let loops = Outcome::Errno(Errno::from_raw(Os::Linux, 40));
        Some(match index % 13 {
            1 => Finding::observed(evidence(finding), loops),
            3 => Finding::without_outcome(evidence(finding), Missing::Broken("killed by signal 9".into())),
            5 => return None,
            7 => Finding::observed(evidence(finding), Outcome::Ok),
            _ => finding.clone(),
        })
    });
    let mut report = small().with(findings.collect());
    report.host.release = "6.19.14".into();
    report.host.stack = "linux 6.19".into();
    report.started = common::started();
    report.host.sysctls.insert("net.ipv4.tcp_fin_timeout".into(), "30".into());
    report
}

/// The program in a directory that has `small.json` and `changed.json`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(SMALL), place.0.path().join("small.json")).unwrap();
        fs::write(place.0.path().join("changed.json"), text_of(&changed())).unwrap();
        place
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> Said {
        let mut command = command(arguments);
        let said = said(command.current_dir(&self.0).env("GITHUB_STEP_SUMMARY", "summary.md").output().unwrap());
        said.check(code, &[], &[]);
        said
    }
}

#[test]
fn a_report_is_written_as_it_was_read() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SMALL)).unwrap();
    assert!(text.as_bytes() == text_of(small()), "{SMALL} is not what this version writes");
}

#[test]
fn terminal() {
    golden("summary.txt", &render::summary::summary(small(), 80));
    let first = |(index, finding): &(usize, &Finding)| {
        *index == 0 || small().findings[index - 1].scenario != finding.scenario || finding.is_unstable()
    };
    let some = small().findings.iter().enumerate().filter(first).map(|(_, finding)| finding.clone());
    golden("findings.txt", &render::summary::everything(&small().with(some.collect()), 80));
}

#[test]
fn report() {
    golden("report.md", &run(&["report", SMALL]).check(0, &[], &[]).out);
}

/// What a job's summary says of a run: every difference from the expectations before anything else.
#[test]
fn report_for_github() {
    let place = Place::new();
    assert_eq!(place.run(&["report", "changed.json", "--github"], 0).out, "");
    let summary = fs::read_to_string(place.0.path().join("summary.md")).unwrap();
    let differ = changed().findings.iter().filter(|finding| finding.verdict() == Verdict::Mismatch).count();
    let (first, _) = summary.split_once("\n### What").expect("more than that");
    assert_eq!(first.lines().filter(|line| line.starts_with("| `")).count(), differ, "{first}");
    golden("report-summary.md", &summary);
}

/// What the page says; its style, its script and their hashes, and the packed findings (`tests/formats.rs` reads those)
/// apart.
#[test]
fn page() {
    let place = Place::new();
    place.run(&["report", "small.json", "--html", "page.html"], 0);
    let page = fs::read_to_string(place.0.path().join("page.html")).unwrap();
    let mut text = String::new();
    let mut rest = &*page;
    while let Some(at) = rest.find(['<']) {
        let (before, element) = rest.split_at(at);
        let open = element.find('>').unwrap() + 1;
        let name = ["style", "script"].into_iter().find(|name| element[1..open].starts_with(name));
        let own = if element.starts_with("<meta http-equiv") { "<meta …>" } else { &element[..open] };
        text.push_str(before);
        text.push_str(own);
        rest = &element[open..];
        if let Some(name) = name {
            rest = &rest[rest.find(&format!("</{name}")).unwrap()..];
        }
    }
    golden("page.html", &(text + rest));
}

#[test]
fn junit() {
    golden("junit.xml", &render::junit::junit(small()).unwrap());
}

#[test]
fn comparison() {
    let place = Place::new();
    golden("comparison.txt", &place.run(&["compare", "small.json", "changed.json", "-v"], 1).out);
    golden("comparison.json", &place.run(&["compare", "small.json", "changed.json", "--json"], 1).out);
    let said = place.run(&["compare", "small.json", "changed.json", "--github"], 1).out;
    // Nobody may guess the token.
    let (_, token) = said.lines().next().unwrap().split_once("::stop-commands::").expect("it is the first line");
    golden("annotations.txt", &said.replace(token, "TOKEN"));
    golden("job-summary.md", &fs::read_to_string(place.0.path().join("summary.md")).unwrap());
}

#[test]
fn compat() {
    golden("compat.json", &Place::new().run(&["compat", "small.json", "changed.json"], 0).out);
}

#[test]
fn boundaries() {
    let place = Place::new();
    golden("boundaries.txt", &place.run(&["boundaries", "small.json", "changed.json"], 0).out);
    golden("boundaries.json", &place.run(&["boundaries", "small.json", "changed.json", "--json"], 0).out);
}

#[test]
fn claims() {
    golden("claims.txt", &run(&["claims", SMALL]).check(0, &[], &[]).out);
    golden("claim.txt", &run(&["claims", SMALL, "time-wait-makes-connect-fail"]).check(0, &[], &[]).out);
    golden("claims.json", &run(&["claims", SMALL, "time-wait-makes-connect-fail", "--json"]).check(0, &[], &[]).out);
}

/// By what this report knows alone: what is built in grows.
#[test]
fn explanation() {
    let knowledge = Knowledge::of([small()]);
    let reading = read::read("connect EADDRNOTAVAIL").unwrap().remove(0);
    let understood = explain::understand(reading, Given::default(), Some(Os::Linux), &knowledge).unwrap();
    let explanation = explain::explain(understood, &knowledge).unwrap();
    golden("answer.txt", &render::explain::answer(&explanation, 80));
    golden("explanation.txt", &render::explain::explanation(&explanation, 80));
    golden("explanation.json", &(serde_json::to_string_pretty(&explanation).unwrap() + "\n"));
}

#[test]
fn policies() {
    let evaluate = ["policy", "evaluate", SMALL, "--policy", "conflate", "--policy", "addr-in-use-only"];
    golden("policy-evaluation.txt", &run(&evaluate).check(1, &[], &[]).out);
    golden("policy-evaluation.json", &run(&[&evaluate[..], &["--json"]].concat()).check(1, &[], &[]).out);
    golden("policy-derivation.txt", &run(&["policy", "derive", SMALL]).check(0, &[], &[]).out);
    golden("policy-derivation.json", &run(&["policy", "derive", SMALL, "--json"]).check(0, &[], &[]).out);
    golden("policy-derived.toml", &run(&["policy", "derive", SMALL, "-o", "-"]).check(0, &[], &[]).out);
    golden("policy.txt", &run(&["policy", "show", "conflate"]).check(0, &[], &[]).out);
    golden("policy.json", &run(&["policy", "show", "conflate", "--json"]).check(0, &[], &[]).out);
    let diff = ["policy", "diff", "conflate", "addr-in-use-only"];
    golden("policy-diff.txt", &run(&diff).check(1, &[], &[]).out);
    golden("policy-diff.json", &run(&[&diff[..], &["--json"]].concat()).check(1, &[], &[]).out);
}
