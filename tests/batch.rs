//! `run --plans-to` and `--results-from`: a worker that no pipe leads to, and files that are not what they should be.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::PROGRAM;
use crate::common::said::{Said, run_in};
use crate::harness::{needs, rstest, test};
use serde_json::Value;
use tempfile::TempDir;

needs!(Namespaces);

fn shell(place: &Path, script: &str) {
    let status = Command::new("sh").args(["-c", script]).env("ERRNOSCOPE", PROGRAM).current_dir(place).status();
    assert!(status.unwrap().success(), "{script}");
}

/// The plans of eight cases, and a worker's answers.
fn carried() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let plans = ["run", "--plans-to", "plans", "bind.port-held", "-x", "family=ipv4", "-x", "holder_state=bound"];
    run_in(place.path(), &[&plans[..], &["-x", "protocol=tcp"]].concat()).check(0, &[], &["plans has the plans of"]);
    shell(place.path(), "\"$ERRNOSCOPE\" worker < plans > results");
    place
}

fn judge(place: &Path) -> Said {
    run_in(place, &["run", "--results-from", "plans", "results", "--json", "report.json"])
}

#[test]
fn files_give_the_findings_that_a_pipe_gives() {
    let place = carried();
    let said = judge(place.path());
    said.check(0, &["behind --results-from results", "nothing new"], &[]);
    let select = ["bind.port-held", "-x", "family=ipv4", "-x", "holder_state=bound", "-x", "protocol=tcp"];
    run_in(place.path(), &[&["run", "--json", "own.json"], &select[..]].concat());
    let [own, carried] = ["own.json", "report.json"]
        .map(|file| -> Value { serde_json::from_slice(&fs::read(place.path().join(file)).unwrap()).unwrap() });
    assert_eq!(carried["host"]["behind"], "--results-from results");
    let findings = |report: &Value| -> Vec<Value> {
        let list = report["findings"].as_array().unwrap().iter();
        list.map(|finding| serde_json::json!([finding["case"], finding["verdict"], finding["outcome"]])).collect()
    };
    assert!(findings(&own).len() > 10);
    assert_eq!(findings(&own), findings(&carried));
}

/// One of the files is no longer what it was, and where is told.
#[rstest]
#[case::cut_short("head -n 4 results > part; mv part results", "results:4: the last answer is to plan 3")]
#[case::cut_within_a_line("head -c -40 results > part; mv part results", "no answer of this protocol")]
#[case::doubled("sed -i 3p results", "results:4: an answer about")]
#[case::one_too_many("tail -n 1 results >> results", "an answer more than PLANS has plans")]
#[case::in_another_order("sed -i '2{h;d};3{G}' results", "results:2: an answer about")]
#[case::no_hello("sed -i 1d results", "results:1: a hello without a protocol")]
#[case::of_another_protocol(
    "sed -i '1s/\"protocol\":5/\"protocol\":4/' results",
    "results:1: the worker speaks protocol 4, this program 5"
)]
#[case::of_a_shared_host("sed -i '1s/\"netns\"/\"none\"/' results", "results:1: isolation `none`")]
#[case::nothing(": > results", "results:1: no line of a worker")]
#[case::a_liar("sed -i '3s/\"raw\":98/\"raw\":0/' results", "results:3: step")]
#[case::no_plans(": > plans", "results:2: an answer more than PLANS has plans")]
#[case::of_another_catalogue("sed -i '2s/20000/20001/' plans", "plans:2: the plan of `bind.port-held[")]
#[case::of_a_case_that_is_none(
    "sed -i '2s/bind.port-held/bind.no-such/' plans",
    "plans:2: this catalogue has no case `bind.no-such"
)]
#[case::the_wrong_way_round("mv plans x; mv results plans; mv x results", "results:1: a hello without a protocol")]
fn a_file_that_is_not_right_is_told_with_its_line(#[case] script: &str, #[case] words: &str) {
    let place = carried();
    shell(place.path(), script);
    judge(place.path()).check(2, &[], &[words]);
    assert!(!place.path().join("report.json").exists());
}

#[rstest]
#[case(&["--plans-to", "plans", "--on", "env"])]
#[case(&["--results-from", "plans", "results", "--on", "env"])]
#[case(&["--results-from", "plans", "results", "bind.port-held"])]
#[case(&["--results-from", "plans"])]
#[case(&["--plans-os", "macos"])]
fn usage(#[case] arguments: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(run_in(place.path(), &[&["run"], arguments].concat()).code, 2);
}
