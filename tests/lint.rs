//! What `lint` says of what people mistype, and of files that stand beside others.

use std::path::Path;

use crate::common::said::run;
use crate::harness::{rstest, test};

const GOOD: &str = r#"claim = "A port that is held cannot be bound"
id = "bind.mine"
why = "It is tested."
cause = "port-in-use"
needs = [{ need = "linux" }]

[axes]
family = ["ipv4"]

[[setup]]
hold = { socket = "holder", state = "bound", protocol = "tcp", address = "127.0.0.1", port = 20000 }

[[setup]]
open = { socket = "claimer", protocol = "tcp", family = "$family" }

[[setup]]
set-option = { socket = "claimer", option = { reuse-addr = true } }

[[subject]]
bind = { socket = "claimer", address = "127.0.0.1", port = 20000 }

[[subject.precondition]]
socket = { socket = "holder", protocol = "tcp", state = "bound" }

[[subject.expect]]
os = ["linux"]
outcome = "EADDRINUSE"
authority = "posix"
ref = "bind()"
"#;

fn written(text: &str) -> (tempfile::TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("mine.toml"), text).unwrap();
    let path = place.path().to_str().unwrap().to_owned();
    (place, path)
}

/// Words that are nearly right are told what they may have been.
#[rstest]
#[case::op("set-option =", "setoption =", "unknown op `setoption`; did you mean set-option?")]
#[case::compound_op("hold =", "hodl =", "unknown op `hodl`; did you mean hold?")]
#[case::option("reuse-addr =", "reuse-adr =", "unknown variant `reuse-adr`; did you mean reuse-addr?")]
#[case::field(
    "port = 20000 }\n\n[[subject.p",
    "prot = 20000 }\n\n[[subject.p",
    "unexpected keys in table: prot; did you mean port?"
)]
#[case::key("why =", "wy =", "unknown key `wy`; did you mean why?")]
#[case::value("state = \"bound\" }", "state = \"buond\" }", "did you mean bound")]
#[case::axis_value(
    "[\"ipv4\"]",
    "[\"ipv4\", \"ipv5\"]",
    "unknown value `ipv5` of axis `family`; did you mean ipv4 or ipv6?"
)]
#[case::reference("$family", "$famly", "unknown reference `$famly`; did you mean family?")]
#[case::need("need = \"linux\"", "need = \"linx\"", "unknown need `linx`; did you mean linux")]
#[case::errno("\"EADDRINUSE\"", "\"EADDRINUS\"", "unknown outcome `EADDRINUS`; did you mean EADDRINUSE?")]
#[case::cause("\"port-in-use\"", "\"port-inuse\"", "did you mean port-in-use")]
#[case::socket(
    "socket = \"claimer\", address",
    "socket = \"claimr\", address",
    "a socket `claimr`; did you mean claimer?"
)]
fn a_slip_is_told_with_what_was_meant(#[case] right: &str, #[case] wrong: &str, #[case] said: &str) {
    assert!(GOOD.contains(right), "{right}");
    let (_place, path) = written(&GOOD.replacen(right, wrong, 1));
    let problems = run(&["lint", &path, "--json"]);
    problems.check(2, &[said], &[]);
    // What is put together of others has nothing to do with options.
    assert_eq!(problems.out.contains("the compound ops are"), said.contains("unknown op"), "{}", problems.out);
}

#[test]
fn a_bad_id_is_told_where_it_stands() {
    let (_place, path) = written(&GOOD.replace("bind.mine", "Bind.X"));
    run(&["lint", &path]).check(2, &["mine.toml:2:6", "`Bind.X` is no scenario id"], &[]);
}

/// What needs Linux has no rule for other systems, and is known to need it where they are told.
#[test]
fn a_case_that_needs_linux_asks_no_rule_for_macos() {
    let (_place, path) = written(GOOD);
    run(&["lint", &path]).check(0, &["1 case: no problems"], &[]);
    let (_place, open) = written(&GOOD.replace("needs = [{ need = \"linux\" }]\n", ""));
    run(&["lint", &open]).check(2, &["no rule covers bind of bind.mine[family=ipv4] on macos"], &[]);
    run(&["list", "--cases", "--json", "--scenarios", &path]).check(0, &["\"macos\":[{\"outcome\":\"unknown\""], &[]);
    run(&["show", "bind.mine[family=ipv4]", "--scenarios", &path]).check(0, &["EADDRINUSE", "macos"], &[]);
}

/// Scenarios of one's own stand beside others, under ids that nobody else has.
#[test]
fn scenarios_of_several_places_are_one_catalogue() {
    let (_first, mine) = written(GOOD);
    let (_second, other) = written(&GOOD.replace("bind.mine", "bind.other"));
    run(&["list", "--scenarios", &mine, "--scenarios", &other]).check(0, &["2 scenarios, 2 cases"], &[]);
    let beside = run(&["list", "--also", &mine, "bind.mine", "bind.port-held"]);
    beside.check(0, &["bind.mine", "bind.port-held", "2 scenarios"], &[]);
    run(&["show", "bind.mine", "--also", &mine]).check(0, &["A port that is held cannot be bound"], &[]);
    // One place that is named twice is one place.
    run(&["list", "--scenarios", &mine, "--also", &mine]).check(0, &["1 scenario, 1 case"], &[]);
    let (_third, same) = written(&format!("# A copy.\n{GOOD}"));
    let refused = run(&["list", "--scenarios", &mine, "--also", &same]);
    let places = [format!("{}:3:", Path::new(&same).join("mine.toml").display()), format!("{mine}/mine.toml:2 has it")];
    refused.check(2, &[], &["the id `bind.mine` is taken"]);
    for place in places {
        assert!(refused.err.contains(&place), "{place}: {}", refused.err);
    }
}
