//! Laws that hold for any input. No kernel, no privileges.

use std::sync::Arc;

use crate::common::reports::{evidence, small};
use crate::harness::test;
use errnoscope::finding::{Evidence, Finding, Report, Verdict};
use errnoscope::plan::Outcome;
use errnoscope::problem::Problem;
use errnoscope::scenario::rule::{Expected, permits};
use errnoscope::scenario::{self, Expectation};
use errnoscope::{catalogue, errno, names::Os};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// A scenario file of the catalogue with a few pieces cut out, doubled, swapped or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let files: Vec<&'static str> = catalogue::embedded().into_iter().map(|(_, text)| text).collect();
    let edit = (any::<Index>(), any::<Index>(), 0..5_u8, "[ -~\n\"$\\[\\]{}=]{0,12}");
    (any::<Index>(), prop::collection::vec(edit, 1..6)).prop_map(move |(file, edits)| {
        let mut text: Vec<char> = file.get(&files).chars().collect();
        for (from, to, kind, insert) in edits {
            let (a, b) = (from.index(text.len().max(1)), to.index(text.len().max(1)));
            // Short pieces keep the rest of the file meaningful.
            let (start, end) = (a.min(b).min(text.len()), a.max(b).min(a.min(b) + 40).min(text.len()));
            let piece: Vec<char> = text[start..end].to_vec();
            match kind {
                0 => drop(text.drain(start..end)),
                1 => drop(text.splice(end..end, piece)),
                2 => drop(text.splice(start..end, insert.chars())),
                3 => drop(text.splice(start..start, insert.chars())),
                _ => drop(text.splice(start..end, piece.into_iter().rev())),
            }
        }
        text.into_iter().collect()
    })
}

/// Reads, checks and words every fault; the only thing forbidden is to panic.
fn read(text: String) -> bool {
    let text: &'static str = String::leak(text);
    let problems = match scenario::read("mutated.toml", text) {
        Ok(scenario) => scenario::check(&scenario),
        Err(problems) => problems,
    };
    for problem in &problems {
        let (line, column) = problem.line_and_column();
        assert!(line >= 1 && column >= 1);
        let rendered = problem.render(&annotate_snippets::Renderer::plain());
        assert!(rendered.contains("mutated.toml:"));
        // Control characters, which a file may hold anywhere, are shown as something that can be seen.
        assert!(rendered.contains(&problem.message) || problem.message.contains(char::is_control));
    }
    problems.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_scenario_never_panics(text in mutated()) {
        read(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_random_file_never_panics(text in any::<String>()) {
        read(text);
    }

    /// The short form of a fault and the long one name the same place.
    #[test]
    fn a_place_is_named_alike_everywhere(text in "[a-zü\"= \n]{0,40}", from in 0..50_usize, length in 0..9_usize) {
        let text: &'static str = String::leak(text);
        let message = "m".to_owned();
        let problem = Problem { file: "mutated.toml".to_owned(), text, span: from..from + length, message, help: None };
        let (line, column) = problem.line_and_column();
        let rendered = problem.render(&annotate_snippets::Renderer::plain());
        prop_assert!(rendered.contains(&format!("mutated.toml:{line}:{column}")), "{line}:{column} {rendered}");
    }

    #[test]
    fn an_outcome_survives_json(raw in 1..200_i32, ms in any::<u32>(), kind in 0..3_u8) {
        let outcome = match kind {
            0 => Outcome::Ok,
            1 => Outcome::Errno(errno::Errno::from_raw(Os::Linux, raw)),
            _ => Outcome::Blocked { ms },
        };
        let json = serde_json::to_string(&outcome).expect("an outcome is serializable");
        prop_assert_eq!(serde_json::from_str::<Outcome>(&json).expect("what was written is read"), outcome);
    }

    /// Permitting more never turns a match into a mismatch.
    #[test]
    fn widening_an_expectation_keeps_a_match(raw in 1..134_i32, others in prop::collection::vec(1..134_i32, 0..4)) {
        let errno = |raw| errno::Errno::from_raw(Os::Linux, raw);
        let expectation = |raw| Expectation { outcome: errno(raw).name().to_owned(), authority: None, reference: String::new() };
        let outcome = Outcome::Errno(errno(raw));
        let narrow = vec![expectation(raw)];
        prop_assert!(permits(&narrow, &outcome));
        let wide: Arc<[Expectation]> = narrow.into_iter().chain(others.into_iter().map(expectation)).collect();
        prop_assert!(permits(&wide, &outcome));
    }

    #[test]
    fn an_expected_outcome_reads_as_it_is_written(raw in 1..134_i32) {
        let errno = errno::Errno::from_raw(Os::Linux, raw);
        prop_assume!(!errno.name().starts_with("errno "));
        let expected: Expected = errno.name().parse().expect("a known name");
        prop_assert_eq!(expected.as_str(), errno.name());
    }
}

/// A finding of a real run with something else in one place, and what is said of it.
#[track_caller]
fn forged(verdict: Verdict, place: &str, value: Value, complaint: &str) {
    let finding = small().findings.iter().find(|finding| finding.verdict() == verdict).expect("one of each");
    let mut json = serde_json::to_value(finding).expect("a finding is serializable");
    let unchanged = serde_json::from_value::<Finding>(json.clone());
    assert!(unchanged.is_ok_and(|read| read == *finding), "what was written is read");
    let (parent, name) = place.rsplit_once('/').expect("a JSON pointer");
    let parent = json.pointer_mut(parent).expect("it is there");
    match (value, parent) {
        (Value::Null, Value::Object(parent)) => drop(parent.remove(name)),
        (value, parent) => parent[name] = value,
    }
    match serde_json::from_value::<Finding>(json) {
        Ok(_) => panic!("{place} of a {verdict} was believed"),
        Err(error) => assert!(error.to_string().contains(complaint), "{place} of a {verdict}: {error}"),
    }
}

/// Whatever follows from the rest of a finding is computed again when it is read.
#[test]
fn what_does_not_follow_is_not_read() {
    use Verdict::{Broken, Match, Mismatch, TimedOut, Unsupported, Unwitnessed};
    forged(Match, "/outcome", json!({ "ok": true }), "says `match`, and what it has makes it `mismatch` (succeeded");
    forged(Match, "/outcome", Value::Null, "has neither an outcome nor a reason");
    forged(Match, "/missing", json!({ "broken": "so" }), "has an outcome and says why there is none");
    forged(Match, "/expected/0/outcome", json!("ok"), "makes it `mismatch`");
    forged(Match, "/expected", json!([]), "no rule covers it");
    forged(Match, "/witness", json!([]), "makes it `unwitnessed` (the kernel was asked nothing");
    forged(Match, "/witness/0/confirmed", json!(false), "`holder BOUND` is said not to be confirmed");
    forged(Match, "/witness/0/before", Value::Null, "`holder BOUND` is said to be confirmed, and its answers do not");
    forged(Match, "/witness/0/after/socket/rows/0/state", json!("LISTEN"), "is said to be confirmed");
    forged(Match, "/witness/0/after/socket/rows/0/protocol", json!("udp"), "is said to be confirmed");
    forged(
        Match,
        "/witness/0/precondition/socket/state",
        json!("listening"),
        "`holder LISTEN` is said to be confirmed",
    );
    forged(Match, "/witness/0/precondition/socket/protocol", json!("udp"), "is said to be confirmed");
    forged(Match, "/witness/0/precondition", json!("holder BOUND"), "unknown variant `holder BOUND`");
    forged(Match, "/unwitnessed", json!("so"), "has witnesses and says why there are none");
    forged(Match, "/distribution/verdicts/match", json!(4), "it counts 5 outcomes, and 4 verdicts");
    forged(Match, "/distribution/outcomes", json!({ "ok": 5 }), "does not count the outcome `EADDRINUSE`");
    forged(Match, "/distribution/verdicts", json!({ "match": 4, "mismatch": 1 }), "do not make `match`");
    forged(Match, "/distribution/verdicts/broken", json!(0), "counts what never came");
    forged(Match, "/subject/ordinal", Value::Null, "missing field `ordinal`");
    forged(Match, "/trail/0/op", json!("socket"), "invalid type: unit variant");
    forged(Mismatch, "/verdict", json!("match"), "says `match`, and what it has makes it `mismatch`");
    forged(Unwitnessed, "/verdict", json!("match"), "makes it `unwitnessed` (the kernel did not confirm: ");
    forged(Unwitnessed, "/witness/0/confirmed", json!(true), "is said to be confirmed");
    forged(Broken, "/missing", json!({ "timed-out": "so" }), "says `broken`, and what it has makes it `timed-out`");
    forged(TimedOut, "/outcome", json!({ "blocked_ms": 7 }), "has an outcome and says why there is none");
    forged(Unsupported, "/missing/unsupported/need", json!("luck"), "unknown variant `luck`");
}

/// Without preconditions a match needs the scenario's word for it.
#[test]
fn a_call_without_preconditions_says_why() {
    let matching = small().findings.iter().find(|finding| finding.verdict() == Verdict::Match).expect("there is one");
    let outcome = matching.outcome().expect("a match has one").clone();
    let bare = |unwitnessed| Evidence { witness: Vec::new(), unwitnessed, ..evidence(matching) };
    assert_eq!(Finding::observed(bare(None), outcome.clone()).verdict(), Verdict::Unwitnessed);
    let explained = Finding::observed(bare(Some("socket() asks nothing of anybody".into())), outcome);
    assert_eq!(explained.verdict(), Verdict::Match);
    let json = serde_json::to_string(&explained).expect("serializable");
    assert_eq!(serde_json::from_str::<Finding>(&json).expect("read"), explained);
    assert!(serde_json::from_str::<Finding>(&json.replace("unwitnessed", "unsaid")).is_err());
}

proptest! {
    /// No verdict but its own is read from any finding.
    #[test]
    fn no_other_verdict_is_read(index in any::<Index>(), verdict in 0..Verdict::ALL.len()) {
        let finding = index.get(&small().findings);
        let mut json = serde_json::to_value(finding).expect("serializable");
        json["verdict"] = json!(Verdict::ALL[verdict]);
        prop_assert_eq!(serde_json::from_value::<Finding>(json).is_ok(), Verdict::ALL[verdict] == finding.verdict());
    }
}

#[test]
fn a_report_that_contradicts_itself_is_not_read() {
    let whole = serde_json::to_value(small()).expect("serializable");
    let forged = |change: &dyn Fn(&mut Value), complaint: &str| {
        let mut json = whole.clone();
        change(&mut json);
        let error = serde_json::from_value::<Report>(json).expect_err(complaint);
        assert!(error.to_string().contains(complaint), "{error}");
    };
    forged(&|json| json["summary"]["match"] = json!(1), "its summary says 1 `match`, and its findings have 6");
    forged(&|json| drop(json["summary"].as_object_mut().expect("a map").remove("broken")), "nothing of `broken`");
    forged(&|json| json["findings"][1] = json["findings"][0].clone(), "has two findings of call 1 of bind.");
    forged(&|json| drop(json["findings"].as_array_mut().expect("a list").pop()), "and its findings have ");
}

#[test]
fn a_report_of_another_version_is_refused() {
    let error = serde_json::from_str::<Report>(r#"{"format": "errnoscope-report/4"}"#).expect_err("version 4");
    assert!(error.to_string().contains("this version reads `errnoscope-report/3`"), "{error}");
}
