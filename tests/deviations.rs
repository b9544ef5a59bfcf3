//! Known deviations of a stack: what is named is no failure, what is no longer so is news, and a fault of the file has
//! its place.

use std::fs;
use std::path::Path;

use crate::common::said::{Said, run_in};
use crate::harness::{needs, rstest, test};
use serde_json::Value;
use tempfile::TempDir;

needs!(Namespaces);

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Two cases of which one is expected to be what it is not.
const SCENARIO: &str = r#"claim = "A port above the privileged ones can be bound"
id = "bind.free-port"
why = "The simplest thing that can work."
cause = "none"

[axes]
protocol = ["tcp", "udp"]

[[setup]]
open = { socket = "claimer", protocol = "$protocol", family = "ipv4" }

[[subject]]
bind = { socket = "claimer", address = "127.0.0.1", port = 20000 }
unwitnessed = "nobody is in the way"

[[subject.expect]]
os = ["linux", "macos"]
when = { protocol = "tcp" }
outcome = "EACCES"
authority = "posix"
ref = "bind()"

[[subject.expect]]
os = ["linux", "macos"]
outcome = "ok"
authority = "posix"
ref = "bind()"
"#;

const KNOWN: &str = r#"format = "errnoscope-deviations/1"
stack = "*"

[[deviation]]
id = "bind.free-port[protocol=tcp]"
call = "bind"
outcome = "ok"
says = "A port is a port."
link = "https://example.org/1"
"#;

/// A directory with the scenario and a file of deviations.
fn stage(known: &str) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.toml"), SCENARIO).unwrap();
    fs::write(place.path().join("known.toml"), known).unwrap();
    place
}

const RUN: [&str; 4] = ["run", "--scenarios", "a.toml", "-q"];

#[test]
fn a_mismatch_that_is_known_is_no_failure() {
    let place = stage(KNOWN);
    let with = |more: &[&str]| run_in(place.path(), &[&RUN[..3], more].concat());
    assert_eq!(with(&[]).code, 1, "it is a mismatch");
    let known = with(&["--deviations", "known.toml", "--json", "report.json"]);
    let line = "known: bind.free-port[protocol=tcp] bind: ok (A port is a port; https://example.org/1), 1 finding";
    let words = known.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(known.code == 0 && words.starts_with(line), "{known:?}");
    assert!(words.contains("nothing new: the answer is as expected"), "{words}");
    // What was found is what it is, whoever knows it.
    let report: Value = serde_json::from_slice(&fs::read(place.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["summary"]["mismatch"], 1);
    assert_eq!(run_in(place.path(), &[&RUN[..], &["--deviations", "known.toml"]].concat()).out, "", "nothing is new");
}

/// Each of these is about calls that were made, and none gave that.
#[rstest]
#[case::it_gives_something_else("outcome = \"ok\"", "outcome = \"EADDRINUSE\"", 1)]
#[case::it_is_as_expected("protocol=tcp", "protocol=udp", 1)]
#[case::it_was_not_tried("bind.free-port[protocol=tcp]", "connect.refused", 1)]
fn what_is_no_longer_so_is_said_first(#[case] from: &str, #[case] to: &str, #[case] code: i32) {
    let place = stage(&KNOWN.replace(from, to));
    let now = run_in(place.path(), &["run", "--scenarios", "a.toml", "--deviations", "known.toml"]);
    let is_news = !to.starts_with("connect");
    assert_eq!((now.code, now.out.starts_with("no longer so: ")), (code, is_news), "{now:?}");
}

/// Healed: the expectation is met, and only the file says otherwise.
#[test]
fn a_deviation_that_has_healed_fails() {
    let place = stage(KNOWN);
    fs::write(place.path().join("a.toml"), SCENARIO.replace("EACCES", "ok")).unwrap();
    let now = run_in(place.path(), &["run", "--scenarios", "a.toml", "--deviations", "known.toml", "-q"]);
    assert!(now.code == 1 && now.out.starts_with("no longer so: bind.free-port"), "{now:?}");
    assert!(now.out.split_whitespace().collect::<Vec<_>>().join(" ").contains("; now ok"), "{now:?}");
}

#[test]
fn another_stack_has_its_own() {
    let place = stage(&KNOWN.replace("stack = \"*\"", "stack = \"gvisor *\""));
    let now = run_in(place.path(), &[&RUN[..], &["--deviations", "known.toml"]].concat());
    assert!(now.code == 1 && !now.out.contains("known") && !now.out.contains("no longer"), "{now:?}");
}

/// The file that is in the repository is true of both reports that are.
#[rstest]
#[case("gvisor-20221219.0")]
#[case("gvisor-20240729.0")]
fn the_deviations_of_gvisor_are_so(#[case] stack: &str) {
    let [linux, gvisor] = ["linux-6.18", stack].map(|name| format!("ci/baselines/{name}.json.gz"));
    let compare = |more: &[&str]| run_in(Path::new(ROOT), &[&["compare", &linux, &gvisor], more].concat());
    let changes = |said: &Said, list: &str| {
        let json: Value = serde_json::from_str(&said.out).unwrap();
        json[list].as_array().map_or(0, Vec::len)
    };
    let file = ["--deviations", "scenarios/deviations/gvisor.toml"];
    let (without, with) = (compare(&["--json"]), compare(&[&file[..], &["--json"]].concat()));
    let known = changes(&with, "known");
    assert!(known > 80, "{known}");
    assert_eq!((changes(&without, "changes"), changes(&without, "known")), (changes(&with, "changes") + known, 0));
    assert_eq!(with.err, "", "none of them is gone");
    let text = compare(&file);
    let entries = fs::read_to_string(format!("{ROOT}/{}", file[1])).unwrap().matches("[[deviation]]").count();
    assert_eq!(text.out.lines().filter(|line| line.starts_with("known: ")).count(), entries, "{}", text.out);
}

/// One that is gone fails a comparison in which nothing else changed.
#[test]
fn a_comparison_tells_what_is_gone() {
    let place = stage(&KNOWN.replace("bind.free-port[protocol=tcp]", "bind.dual-stack").replace("\"ok\"", "\"EPERM\""));
    let same = format!("{ROOT}/ci/baselines/gvisor-20240729.0.json.gz");
    let said = run_in(place.path(), &["compare", &same, &same, "--deviations", "known.toml"]);
    assert!(said.code == 1 && said.out.starts_with("no longer so: bind.dual-stack"), "{said:?}");
    let said = run_in(place.path(), &["compare", &same, &same, "--deviations", "known.toml", "--json"]);
    assert!(said.code == 1 && said.err.starts_with("no longer so: bind.dual-stack"), "{said:?}");
}

#[rstest]
#[case::another_format("deviations/1", "deviations/2", "1:10", "this version reads `errnoscope-deviations/1`")]
#[case::no_stack("stack = \"*\"\n", "", "1:1", "missing field `stack`")]
#[case::an_unknown_key("says =", "say =", "8:1", "unknown field `say`")]
#[case::an_unknown_call("call = \"bind\"", "call = \"bond\"", "6:8", "unknown variant `bond`")]
#[case::an_unknown_outcome(
    "\"ok\"",
    "\"EADDRINUSED\"",
    "7:11",
    "unknown outcome `EADDRINUSED`; did you mean EADDRINUSE?"
)]
#[case::nothing_said("\"A port is a port.\"", "\" \"", "8:8", "empty text")]
#[case::no_link("https://example.org/1", "somewhere", "9:8", "no link")]
#[case::no_toml("[[deviation]]", "[[deviation", "4:12", "unclosed")]
fn a_fault_has_its_place(#[case] from: &str, #[case] to: &str, #[case] place: &str, #[case] words: &str) {
    assert!(KNOWN.contains(from));
    let stage = stage(&KNOWN.replace(from, to));
    for arguments in [&[&RUN[..], &["--deviations", "known.toml"]].concat()[..], &["lint", "known.toml"]] {
        let said = run_in(stage.path(), arguments);
        let text = format!("{}{}", said.out, said.err);
        assert!(said.code == 2 && text.contains(&format!("known.toml:{place}")), "{arguments:?}: {text}");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn twins_and_empty_files_are_faults() {
    let (head, entry) = KNOWN.split_at(KNOWN.find("[[").unwrap());
    for (text, words) in [(head.to_owned(), "no deviations"), (format!("{KNOWN}\n{entry}"), "a second deviation")] {
        let said = run_in(stage(&text).path(), &[&RUN[..], &["--deviations", "known.toml"]].concat());
        said.check(2, &[], &[words]);
    }
    let said = run_in(Path::new(ROOT), &["lint", "scenarios"]);
    said.check(0, &["no problems"], &[]);
}
