//! What is expected of macOS, held against what XNU's own networking code gave (ci/evidence).

use std::collections::{BTreeMap, BTreeSet};

use crate::common::golden::golden;
use crate::common::reports::{evidence, small, text_of};
use crate::common::said::run;
use crate::harness::test;
use errnoscope::report::finding::{Finding, Report};
use errnoscope::scenario::{Case, Expectation, Platform, Scenario, SubjectCall, cases, compile};
use errnoscope::suite::catalogue::Catalogue;
use errnoscope::suite::judge;
use errnoscope::suite::xnu_run::{self, Line};
use errnoscope::words::names::{Authority, Call, Os};

/// macOS 11, whose code it is.
fn then(os: Os) -> Platform {
    Platform { os, release: xnu_run::RELEASE, offers: Vec::new() }
}

fn expected(scenario: &Scenario, case: &Case, subject: &SubjectCall, platform: fn(Os) -> Platform) -> Vec<Expectation> {
    let all = judge::expectations(scenario, case, subject, platform);
    all.and_then(|all| all.get(&Os::Macos).map(|expected| expected.to_vec())).unwrap_or_default()
}

/// The best reason for what is expected, `unknown`, or nothing where the call is not expected to be made.
fn grade(expected: &[Expectation]) -> Option<&'static str> {
    let made: Vec<_> = expected.iter().filter(|expectation| expectation.outcome != "not-reached").collect();
    let best: Option<Authority> = made.iter().filter_map(|expectation| expectation.authority).max();
    (!made.is_empty()).then(|| best.map_or("unknown", Authority::as_str))
}

/// Every expectation for macOS against every line, and how many have which grade.
#[test]
fn no_line_refutes_what_is_expected_of_macos() {
    let catalogue = Catalogue::embedded().expect("a sound catalogue");
    let lines = xnu_run::lines();
    let mut open: BTreeMap<(String, Call), &Line> = BTreeMap::new();
    for line in &lines {
        assert_eq!(line.nth, 1, "{}: `xnu_run::outcome` takes no case to make a call twice", line.case);
        assert!(open.insert((line.case.clone(), line.call), line).is_none(), "{} {}", line.case, line.call);
    }
    let mut grades: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let (mut agree, mut differ, mut refuted) = (BTreeMap::<bool, usize>::new(), BTreeSet::new(), Vec::new());
    for scenario in &catalogue.scenarios {
        for case in cases(scenario) {
            let mut calls = BTreeSet::new();
            for subject in compile(scenario, &case, Os::Macos).expect("a sound case").subjects {
                let platforms = [then, Platform::current].map(|on| expected(scenario, &case, &subject, on));
                for (place, expected) in platforms.iter().enumerate() {
                    grades.entry(grade(expected).unwrap_or("not made")).or_default()[place] += 1;
                    for one in expected.iter().filter(|one| one.authority == Some(Authority::XnuRun)) {
                        let given = xnu_run::outcome(&case, subject.call);
                        assert_eq!(given, Some(&*one.outcome), "{} {}: {}", case.id, subject.call, one.reference);
                    }
                }
                let Some(line) = open.remove(&(case.id.clone(), subject.call)) else { continue };
                assert!(calls.insert(subject.call), "{} {}: which of them gave it?", case.id, subject.call);
                let said: Vec<&str> = platforms[0].iter().map(|one| &*one.outcome).collect();
                let name = format!("{} {}: {}, expected {}", line.case, line.call, line.outcome, said.join(" or "));
                if line.port == subject.port && said.contains(&&*line.outcome) {
                    *agree.entry(line.witnessed).or_default() += 1;
                } else if line.witnessed {
                    refuted.push(name);
                } else {
                    differ.insert(name);
                }
            }
        }
    }
    assert!(refuted.is_empty(), "{}", refuted.join("\n"));
    let count = |witnessed| lines.iter().filter(|line| line.witnessed == witnessed).count();
    let mut gone: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for line in open.into_values() {
        let scenario = line.case.split('[').next().unwrap_or_default();
        gone.entry(scenario).or_default()[usize::from(!line.witnessed)] += 1;
    }
    let mut text = format!("{} gave, of calls of the catalogue of version 0.1\n", xnu_run::SOURCE);
    for (witnessed, name) in [(true, "witnessed"), (false, "unwitnessed")] {
        let agree = agree.get(&witnessed).copied().unwrap_or_default();
        text.push_str(&format!(
            "  {:5} {name}, of which {agree} are what is expected of that call today\n",
            count(witnessed)
        ));
    }
    text.push_str("\nunwitnessed, and not what is expected\n");
    differ.iter().for_each(|name| text.push_str(&format!("  {name}\n")));
    text.push_str("\nof calls that are not in today's catalogue, by scenario: witnessed, unwitnessed\n");
    for (scenario, [witnessed, unwitnessed]) in gone {
        text.push_str(&format!("  {witnessed:5} {unwitnessed:5}  {scenario}\n"));
    }
    text.push_str("\ncalls of today's catalogue, by the best reason for what is expected of macOS: 11, the newest\n");
    for (grade, [then, now]) in grades {
        text.push_str(&format!("  {then:5} {now:5}  {grade}\n"));
    }
    golden("xnu-run.txt", &text);
}

/// The small report, as if that code had given what is expected of macOS in each case that `of` selects.
fn graded(of: fn(usize) -> bool) -> Report {
    let findings = small().findings.iter().enumerate().filter_map(|(index, finding)| {
        let mut evidence = evidence(finding);
        if let Some(expected) = evidence.elsewhere.get_mut(&Os::Macos).filter(|_| of(index)) {
            let run =
                |one: &Expectation| Expectation { authority: one.authority.map(|_| Authority::XnuRun), ..one.clone() };
            *expected = expected.iter().map(run).collect();
        }
        Some(Finding::observed(evidence, finding.outcome()?.clone()))
    });
    small().with(findings.collect())
}

/// Wherever it is said what nobody observed, it is said which of the two reasons there is.
#[test]
fn what_that_code_gave_has_a_mark_of_its_own_everywhere() {
    let place = tempfile::tempdir().expect("a directory");
    let file = |name: &str| place.path().join(name).to_str().expect("UTF-8").to_owned();
    let (all, some) = (file("all.json"), file("some.json"));
    std::fs::write(&all, text_of(&graded(|_| true))).expect("writable");
    std::fs::write(&some, text_of(&graded(|index| index % 2 == 0))).expect("writable");
    let says = |arguments: &[&str], words: &[&str]| {
        let said = run(arguments);
        words.iter().for_each(|word| assert!(said.out.contains(word), "{arguments:?} lacks {word}:\n{}", said.out));
        said.out.clone()
    };
    let text = says(&["report", &all], &["**EADDRINUSE**‡", "it is not a Mac", "of them xnu-run)"]);
    assert!(!text.contains("**EADDRINUSE**\\*"), "{text}");
    says(&["report", &some], &["**EADDRINUSE**‡\\*", "it is not a Mac"]);
    says(&["report", &all, "--html", "-"], &["class=\"o in-use xnu-run\"", "not on a Mac"]);
    let not_a_mac = "‡ given by XNU 7195.141.2's own code, run on Linux; not a Mac";
    let text = says(&["claims", &all], &["‡", not_a_mac]);
    assert!(!text.contains("* expected"), "{text}");
    says(&["claims", &some], &["‡*", not_a_mac, "* expected"]);
    says(&["claims", &some, "time-wait-makes-connect-fail"], &["of them xnu-run)"]);
    says(&["policy", "evaluate", &some], &["macos‡", "macos*", not_a_mac, "xnu-run   "]);
    let rules = says(&["policy", "derive", &all], &["of XNU's code (‡)"]);
    assert!(!rules.contains("expected, not observed:"), "{rules}");
    says(&["compat", &some], &["\"basis\":\"xnu-run\"", "\"authority\":\"xnu-run\""]);
    let asked = ["explain", "--report", &some, "--os", "macos", "connect EADDRINUSE"];
    says(&asked, &["tuple-in-use (by XNU's code, run on Linux: not a Mac)"]);
    says(&[&asked[..], &["-v"]].concat(), &["     xnu-run    ", "     expected   "]);
}
