//! A part of a report: what the commands about reports are asked to leave out.

use std::fs;

use crate::common::reports::{BASELINE, SMALL, small};
use crate::common::said::run;
use crate::harness::{rstest, test};
use errnoscope::report::finding::Finding;
use errnoscope::words::names::Call;

/// What of the small report is left, by the library.
fn left(is_wanted: impl Fn(&Finding) -> bool) -> usize {
    small().findings.iter().filter(|finding| is_wanted(finding)).count()
}

#[test]
fn every_command_about_reports_takes_a_part() {
    let of_bind = left(|finding| finding.subject.call == Call::Bind);
    let all = small().findings.len();
    assert!(0 < of_bind && of_bind < all);
    let note = format!("only {of_bind} of {all} findings are selected");
    for command in ["report", "compat", "claims"] {
        run(&[command, SMALL, "--call", "bind"]).check(0, &[], &[&note]);
    }
    let twice = format!("only {} of {} findings are selected", 2 * of_bind, 2 * all);
    run(&["compare", SMALL, SMALL, "--call", "bind"]).check(0, &["no change"], &[&twice]);
    run(&["boundaries", SMALL, "--call", "bind"]).check(3, &[], &["no kernel in two versions"]);
}

/// Eight rows and not 1,700 lines: what a person came for.
#[test]
fn one_question_is_one_command() {
    let asked = ["report", BASELINE, "bind.port-held", "-x", "holder_state=time-wait", "-x", "protocol=tcp"];
    let answer = run(&asked).check(0, &["bind.port-held"], &[]).out.lines().count();
    assert!(answer < run(&["report", BASELINE]).out.lines().count() / 4, "{answer} lines");
    let one = small().findings[0].case.to_string();
    run(&["report", SMALL, &one]).check(0, &[], &["only 1 of"]);
}

/// What only one of two reports was asked for has not disappeared.
#[test]
fn a_part_of_a_run_is_compared_with_that_part_of_a_baseline() {
    let place = tempfile::tempdir().unwrap();
    let part = place.path().join("part.json");
    let mut report = small().clone();
    let scenario = report.findings[0].scenario.clone();
    report.findings.retain(|finding| finding.scenario == scenario);
    fs::write(&part, serde_json::to_string(&report).unwrap()).unwrap();
    let part = part.to_str().unwrap();
    run(&["compare", SMALL, part]).check(1, &["disappeared"], &[]);
    run(&["compare", SMALL, part, &scenario]).check(0, &["no change"], &[]);
    run(&["compare", SMALL, part, &scenario, "--accept"]).check(2, &[], &["a part of one is no baseline"]);
}

#[rstest]
#[case(&["bind.port-hold"], 3, "did you mean")]
#[case(&["nothing-like-it"], 3, "neither a file nor a scenario or case")]
#[case(&["-x", "familly=ipv4"], 2, "did you mean family?")]
#[case(&["-x", "family=ipv5"], 2, "unknown value `ipv5` of axis `family`")]
#[case(&["-x", "family"], 2, "expected axis=value")]
#[case(&["--on-stack", "linux 9.9"], 3, "no report is of the stack `linux 9.9`")]
#[case(&["--call", "listen", "--cause", "no-route"], 3, "the conditions exclude each other")]
#[case(&["missing.json"], 2, "cannot read missing.json")]
#[case(&["./missing"], 2, "cannot read ./missing")]
fn what_no_report_has_is_an_error(#[case] words: &[&str], #[case] code: i32, #[case] said: &str) {
    for command in ["report", "compat"] {
        run(&[&[command, SMALL], words].concat()).check(code, &[], &[said]);
    }
}

#[test]
fn ids_alone_are_no_report() {
    for command in ["report", "compat", "boundaries"] {
        run(&[command, "bind.port-held"]).check(2, &[], &["no report among the arguments"]);
    }
}

#[test]
fn a_stack_is_chosen() {
    let stack = small().host.stack.to_string();
    run(&["compat", SMALL, "--on-stack", &stack]).check(0, &[], &[]);
    run(&["report", SMALL, "--on-stack", "linux*"]).check(0, &[&stack], &[]);
}
