//! The protocol for others: `errnoscope protocol check` finds each fault that a worker can have, a worker in another
//! language gives true findings, and what is said of the lines is so.

use std::process::Command;

use crate::common::PROGRAM;
use crate::common::said::{Said, said};
use crate::harness::{needs, rstest, test};
use serde_json::Value;

needs!(Namespaces);

/// A command for `--on`: our own worker, with this in its way.
fn liar(script: &str) -> String {
    // The arguments that come after it are the worker's.
    format!("sh -c '{}' sh", script.replace('\'', r"'\''"))
}

fn check(command: &str, more: &[&str]) -> Said {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut check = Command::new(PROGRAM);
    check.args(["protocol", "check", command, "--remote-binary", PROGRAM]).args(more).current_dir(root);
    said(check.env("NO_COLOR", "1").output().unwrap())
}

/// The points with this result.
fn with_result(said: &Said, result: &str) -> Vec<String> {
    let json: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let points = json["points"].as_array().unwrap().iter().filter(|point| point["result"] == result);
    points.map(|point| point["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn our_own_worker_gets_everything_right() {
    let said = check("env", &["--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(with_result(&said, "ok").len() > 20 && with_result(&said, "wrong").is_empty(), "{}", said.out);
    assert_eq!(with_result(&said, "not-offered"), [""; 0]);
    // On a host that others use as well it takes other ports, and gets the same right.
    let said = check(&liar("\"$@\" --isolation none"), &["--json"]);
    assert_eq!((said.code, with_result(&said, "wrong")), (0, Vec::new()), "{}", said.out);
}

#[test(Python)]
fn a_worker_in_another_language_gets_right_what_it_offers() {
    let said = check("python3 examples/worker.py", &["--json"]);
    assert_eq!((said.code, with_result(&said, "wrong")), (0, Vec::new()), "{}", said.out);
    assert_eq!(with_result(&said, "not-offered"), ["census", "user", "disconnect", "unix"]);
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/worker.py")).unwrap();
    assert!(text.lines().count() <= 300, "{} lines", text.lines().count());
    assert!(text.lines().all(|line| line.chars().count() <= 120));
}

/// What the other worker found is what ours finds.
#[test(Python)]
fn a_worker_in_another_language_gives_the_same_findings() {
    let place = tempfile::tempdir().unwrap();
    let worker = concat!("python3 ", env!("CARGO_MANIFEST_DIR"), "/examples/worker.py");
    let cases = ["bind.port-held", "-x", "family=ipv4", "-x", "holder_state=listening"];
    for (file, on) in [("own.json", &[][..]), ("other.json", &["--on", worker])] {
        let mut run = Command::new(PROGRAM);
        run.args(["run", "--json", file]).args(cases).args(on).current_dir(&place);
        let said = said(run.output().unwrap());
        assert_eq!(said.code, 0, "{said:?}");
    }
    let [own, other] = ["own.json", "other.json"].map(|file| {
        let text = std::fs::read_to_string(place.path().join(file)).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        report["findings"].as_array().unwrap().clone()
    });
    let (mut same, mut lacking) = (0, 0);
    for (own, other) in own.iter().zip(&other) {
        assert_eq!((&own["case"], &own["subject"]), (&other["case"], &other["subject"]));
        match other["verdict"].as_str() {
            Some("match") => {
                assert_eq!(own["outcome"]["errno"], other["outcome"]["errno"], "{}", own["case"]);
                same += 1;
            }
            Some("unsupported") => lacking += 1,
            verdict => panic!("{verdict:?} of {}: {}", other["case"], other["missing"]),
        }
    }
    assert!(own.len() == other.len() && same > 30, "{same} the same, {lacking} lacking");
}

/// Each point is wrong where something is wrong with it, and nothing else is.
#[rstest]
#[case::knows_no_such_isolation("hello", r#"1s/"isolation":"netns"/"isolation":"jail"/"#, "isolation `jail`")]
#[case::leaves_a_need_out("hello", r#"1s/"tun":{[^}]*},//"#, "nothing about `tun`")]
#[case::has_no_reason("hello", r#"1s/"xnu":{[^}]*}/"xnu":{"available":false}/"#, "`xnu` is not available")]
#[case::contradicts_itself("hello", r#"1s/"netns"/"none"/"#, "isolation `none`, and network-namespace is available")]
#[case::speaks_another("hello", r#"1s/"protocol":5/"protocol":6/"#, "speaks protocol 6, this program 5")]
#[case::cannot_close(
    "socket",
    r#"s/"step":2,"result":{"outcome":{"ok":true}/"step":2,"result":{"failed":"x"/"#,
    "step 3"
)]
#[case::binds_what_is_held(
    "bind",
    r#"s/"errno":"EADDRINUSE","raw":98/"ok":true/"#,
    "step 3: bound to port 20000, and its name is"
)]
#[case::has_names_of_its_own("bind", r#"s/EADDRINUSE/EINUSE/"#, "on linux that is `EADDRINUSE`")]
#[case::does_not_set_options(
    "options",
    r#"s/"errno":"EADDRINUSE","raw":98/"ok":true/"#,
    "step 4: bound to port 20000, and its name is"
)]
#[case::carries_nothing(
    "connect",
    r#"s/\("step":7,"result":{"outcome":{\)"ok":true/\1"blocked_ms":100/"#,
    "step 7, `receive`: blocked"
)]
#[case::takes_an_errno_for_its_own_fault(
    "refused",
    r#"s/"outcome":{"errno":"ECONNREFUSED","raw":111}/"failed":"refused"/"#,
    "step 1, `connect`: failed: refused"
)]
#[case::waits_although_it_should_not(
    "in-progress",
    r#"s/"errno":"EINPROGRESS","raw":115/"ok":true/"#,
    "step 1, `connect`: ok"
)]
#[case::has_no_patience(
    "blocked",
    r#"s/"blocked_ms":40/"blocked_ms":20/"#,
    "blocked after 20 ms, and `accept` waits for 40 ms"
)]
#[case::lacks_what_all_have(
    "blocked",
    r#"s/"outcome":{"blocked_ms":40}/"unsupported":{"need":"linux","reason":"no time"}/"#,
    "linux: no time"
)]
#[case::goes_on(
    "setup-fails",
    r#"s/\]}$/,{"step":4,"result":{"outcome":{"ok":true}},"micros":1}]}/"#,
    "step 3 has ended the case"
)]
#[case::ends_too_early("permit", r#"s/,{"step":4.*/]}/"#, "step 4 is missing")]
#[case::performs_what_stands_on_nothing(
    "requires",
    r#"s/,{"step":5/,{"step":4,"result":{"outcome":{"ok":true}},"micros":1}&/"#,
    "step 4, which requires step 3"
)]
#[case::knows_no_states("witness", r#"s/"state":"LISTEN"/"state":"CLOSE"/g"#, "step 2, `listen`: after it, CLOSE")]
#[case::answers_too_late("witness", r#"s/"before":\[[^]]*\]}}\]/"before":[]/"#, "0 answers to 1 questions")]
#[case::makes_calls_on_nothing(
    "no-such-socket",
    r#"s/"failed":"[^"]*"/"outcome":{"errno":"EBADF","raw":9}/"#,
    "the socket `nobody`, which no op has made"
)]
#[case::keeps_the_first(
    "two-cases",
    r#"/case=2/s/\("step":1,"result":{"outcome":{\)"ok":true/\1"errno":"EADDRINUSE","raw":98/"#,
    "case 2: step 1, `bind`: EADDRINUSE"
)]
#[case::has_no_order(
    "two-cases",
    r#"s/case=1/case=2/;t;s/case=2/case=1/"#,
    "an answer about `protocol.two-cases[case=2]`, plan"
)]
#[case::knows_no_deadline(
    "deadline",
    r#"/case=1/s/"fate":{"timed-out":{"ms":150}}/"fate":"done"/"#,
    "step 1 is missing"
)]
#[case::does_not_answer("unknown-op", "/case=1/d", "an answer about `protocol.unknown-op[case=2]`")]
#[case::says_that_it_can(
    "unknown-op",
    r#"/case=1/s/"fate":.*/"fate":"done","steps":[{"step":0,"result":{"outcome":{"ok":true}},"micros":1}]}/"#,
    "step 0, `teleport`: ok"
)]
#[case::has_no_reason_to_exit("unknown-op", r#"s/"message":"[^}]*"}/"message":""}/"#, "exited without a message")]
#[case::mistakes_the_line("noise", "s/protocol.noise/x/", "an answer about `x[case=1]`")]
#[case::hides_a_crash("killed", r#"/case=1/s/"fate":{"killed":{"signal":9}}/"fate":"done"/"#, "step 1 is missing")]
#[case::knows_one_family("ipv6", r#"s/"local":"\[::1\]:/"local":"127.0.0.1:/g"#, "none of its family")]
#[case::does_not_wait(
    "wait",
    r#"s/"step":3,"result":{"failed":"[^"]*"}/"step":3,"result":{"outcome":{"ok":true}}/"#,
    "step 3, `wait`: ok"
)]
#[case::cannot_count("census", r#"s/"held":1/"held":0/"#, "after it, 0 of 4")]
#[case::is_somebody_else("user", r#"s/"uid":0/"uid":7/g"#, "before it, uid 7")]
#[case::keeps_the_peer(
    "disconnect",
    r#"s/"step":2,"result":{"outcome":{"ok":true}/"step":2,"result":{"outcome":{"errno":"EINVAL","raw":22}/"#,
    "EINVAL"
)]
#[case::finds_nobody("unix", r#"s/"errno":"ENOENT","raw":2/"errno":"ECONNREFUSED","raw":111/"#, "ECONNREFUSED")]
#[case::is_no_json("socket", "2s/,//", "no answer of this protocol")]
fn each_fault_is_found(#[case] point: &str, #[case] sed: &str, #[case] words: &str) {
    let command = liar(&format!("\"$@\" | sed -u '{sed}'"));
    let said = check(&command, &[point, "--json"]);
    assert_eq!((said.code, with_result(&said, "wrong")), (1, vec![point.to_owned()]), "{said:?}");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let point = &json["points"][0];
    let text = point["said"].as_str().unwrap_or_default();
    assert!(text.contains(words), "{text}");
    assert!(point["expected"].as_str().is_some_and(|expected| !expected.is_empty()), "{point}");
    // The same without a fault.
    let said = check("env", &[point["name"].as_str().unwrap(), "--json"]);
    assert_eq!((said.code, with_result(&said, "ok").len()), (0, 1), "{said:?}");
}

#[rstest]
#[case::says_more(r#""$@"; printf "\036{}\n""#, "more than it was asked for: {}")]
#[case::stays(r#""$@"; exec sleep 1000"#, "it had to be killed")]
fn a_worker_that_does_not_end_is_told(#[case] script: &str, #[case] words: &str) {
    let said = check(&liar(script), &["socket", "end"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("ok           socket") && said.out.contains("wrong        end"), "{}", said.out);
    let said = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(words), "{said}");
}

/// One fault is one point's, and the worker is asked about the others all the same.
#[test]
fn a_fault_of_one_point_is_none_of_the_others() {
    let said = check(&liar(r#""$@" | sed -u "/protocol.refused/s/^/x/;/protocol.refused/s/.$//""#), &["--json"]);
    assert_eq!((said.code, with_result(&said, "wrong")), (1, vec!["refused".to_owned()]), "{}", said.out);
    assert!(with_result(&said, "ok").len() > 20);
}

/// What is not there is told apart from what is wrong.
#[test]
fn what_need_not_be_offered_is_no_fault() {
    let lacks = r#"s/"census":{"held"[^}]*}/"failed":{"error":"no table"}/g"#;
    let said = check(&liar(&format!("\"$@\" | sed -u '{lacks}'")), &["census", "bind"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("not offered  census") && said.out.contains("no table"), "{}", said.out);
    assert!(said.out.ends_with("protocol 5, 2 points: 1 not offered, 1 ok\n"), "{}", said.out);
}

#[rstest]
#[case::nothing("exit 0", "ended before it said hello")]
#[case::a_shell("printf 'Last login: today\\n$ '; cat > /dev/null", "Last login: today")]
#[case::a_web_server("printf 'HTTP/1.1 400 Bad Request\\r\\n\\r\\n'", "HTTP/1.1 400 Bad Request")]
#[case::junk("printf '\\001\\002\\377\\000junk'", "ended before it said hello")]
fn what_is_no_worker_is_told_with_its_words(#[case] script: &str, #[case] words: &str) {
    let said = check(&liar(script), &["--wait", "1"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.starts_with("wrong        hello") && said.out.contains("1 point: 1 wrong"), "{}", said.out);
    let words_of = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words_of.contains(words), "{words_of}");
}

#[test]
fn a_point_that_is_none_is_told_with_what_is_like_it() {
    let said = check("env", &["blockd"]);
    said.check(2, &[], &["no point is called `blockd`; did you mean blocked?"]);
}

/// Everything that goes over the line is what the schemas say.
#[test]
fn the_lines_are_those_of_their_schemas() {
    let [hello, plan, answer] = ["hello", "plan", "answer"].map(|name| {
        let output = Command::new(PROGRAM).args(["schema", name]).output().unwrap();
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
        // What is committed for others is what there is.
        let path = format!("{}/docs/schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let committed: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(committed == schema, "{path} is stale: errnoscope schema {name} > {path}");
        jsonschema::validator_for(&schema).unwrap()
    });
    let said = check("env", &["--json"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let mut lines = 0;
    for point in json["points"].as_array().unwrap() {
        for message in point["exchange"].as_array().into_iter().flatten() {
            let (to, from) = (message["to-worker"].as_str(), message["from-worker"].as_str());
            let line: Value = serde_json::from_str(to.or(from).unwrap()).unwrap();
            let validator = match (to, &*point["name"].to_string()) {
                (None, "\"hello\"") => &hello,
                (None, _) => &answer,
                (Some(_), _) => &plan,
            };
            // This one is not to be understood.
            let is_foreign = to.is_some() && line.to_string().contains("teleport");
            assert_eq!(validator.is_valid(&line), !is_foreign, "{line}");
            lines += 1;
        }
    }
    assert!(lines > 50, "{lines}");
}

/// The page for others has each op and each question that a plan may have.
#[test]
fn the_page_names_every_op_and_query() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md")).unwrap();
    let output = Command::new(PROGRAM).args(["schema", "plan"]).output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut names = 0;
    for kind in ["Op", "Query"] {
        for choice in schema["$defs"][kind]["oneOf"].as_array().unwrap() {
            let name = choice["required"][0].as_str().unwrap();
            assert!(page.contains(&format!("`{name}`")), "docs/protocol.md does not have the {kind} `{name}`");
            names += 1;
        }
    }
    assert!(names > 45, "{names}");
}
