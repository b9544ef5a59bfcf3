//! Laws that hold for any input. No kernel, no privileges.

use std::sync::Arc;

use crate::common::reports::{evidence, small};
use crate::common::tries;
use crate::harness::test;
use errnoscope::knowledge::{explain, policy};
use errnoscope::plan::{self, Answer, Fate, Hello, Observations, Outcome, Performed, Plan, StepResult};
use errnoscope::render::{self, json};
use errnoscope::report::claim;
use errnoscope::report::finding::{Finding, Report, Unjudged, Verdict};
use errnoscope::scenario::rule::{Expected, permits};
use errnoscope::scenario::{self, Expectation};
use errnoscope::suite::catalogue;
use errnoscope::tracer::check;
use errnoscope::words::problem::Problem;
use errnoscope::words::{errno, names::Os, untrusted};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// One of these texts with a few pieces cut out, doubled, swapped or replaced.
fn mutated_of(texts: Vec<String>) -> impl Strategy<Value = String> {
    let edit = (any::<Index>(), any::<Index>(), 0..5_u8, "[ -~\n\"$\\[\\]{}=]{0,12}");
    (any::<Index>(), prop::collection::vec(edit, 1..6)).prop_map(move |(text, edits)| {
        let mut text: Vec<char> = text.get(&texts).chars().collect();
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

/// A scenario file of the catalogue.
fn mutated() -> impl Strategy<Value = String> {
    mutated_of(catalogue::embedded().into_iter().map(|(_, text)| text.to_owned()).collect())
}

/// A line of the protocol: plans of the catalogue, and answers to them.
fn lines() -> Vec<String> {
    let catalogue = catalogue::Catalogue::embedded().expect("the catalogue is good");
    let plans = catalogue.scenarios.iter().flat_map(|scenario| {
        let plans =
            scenario::cases(scenario).take(3).filter_map(|case| scenario::compile(scenario, &case, Os::Linux).ok());
        plans.map(|compiled| compiled.plan).collect::<Vec<Plan>>()
    });
    let plans: Vec<Plan> = plans.collect();
    let outcome = |step: usize| match step % 4 {
        0 => Performed::Outcome(Outcome::Ok),
        1 => Performed::Outcome(Outcome::Errno(errno::Errno::from_raw(Os::Linux, 98))),
        2 => Performed::Outcome(Outcome::Blocked { ms: 7 }),
        _ => Performed::Failed("a reason".into()),
    };
    let answers = plans.iter().map(|plan| {
        let steps = (0..plan.steps.len()).map(|step| StepResult {
            step: step as u32,
            result: outcome(step),
            micros: step as f64 / 3.0,
            detail: None,
            before: vec![Answer::Census { held: 1, size: 2, free: vec![3] }],
            after: vec![Answer::Failed { error: "EPERM".into() }],
        });
        Observations { case: plan.case.clone(), number: plan.number, fate: Fate::Done, steps: steps.collect() }
    });
    let mut lines: Vec<String> = answers.map(|answers| serde_json::to_string(&answers).unwrap()).collect();
    lines.extend(plans.iter().map(|plan| serde_json::to_string(plan).unwrap()));
    lines.push(
        r#"{"protocol":4,"os":"linux","release":"6.18","arch":"x86_64","isolation":"netns","capabilities":{},"sysctls":{}}"#
            .to_owned(),
    );
    lines
}

/// What a line says, whoever wrote it: a value or an error.
fn heard(line: &[u8]) -> bool {
    let Some(message) = plan::message(line) else { return false };
    let plan = serde_json::from_slice::<Plan>(message).is_ok();
    let answers = serde_json::from_slice::<Observations>(message).is_ok();
    let hello = serde_json::from_slice::<Hello>(message).is_ok();
    assert!(u8::from(plan) + u8::from(answers) + u8::from(hello) <= 1, "a line is of one kind");
    plan || answers || hello
}

/// Whether a text can be read.
type Reads = fn(&'static str) -> bool;

/// Every format that somebody may hand over: files of it, and what reads one.
fn readers() -> Vec<(Vec<String>, Reads)> {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    vec![
        (vec![claim::TEXT.to_owned()], |text| claim::read("x.toml", text).is_ok()),
        (vec![policy::BUILT_IN[0].1.to_owned(), file("tests/golden/policy-derived.toml")], |text| {
            policy::read("x.toml", text).is_ok()
        }),
        (check::profile::BUILT_IN.iter().map(|(_, text)| (*text).to_owned()).collect(), |text| {
            check::profile::read("x.toml", text).is_ok()
        }),
        (vec![file("ci/tracers/mtr.json")], |text| check::read(text).is_ok()),
        (vec![file("tests/golden/report.json")], |text| json::read(text).is_ok()),
        (
            vec![
                "bind(3, {sa_family=AF_INET, sin_port=htons(80)}, 16) = -1 EADDRINUSE (Address already in use)"
                    .to_owned(),
                "OSError: [Errno 98] Address already in use".to_owned(),
                "Error: listen EADDRINUSE: address already in use :::3000".to_owned(),
            ],
            |text| explain::read::read(text).is_ok(),
        ),
    ]
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
        let rendered = render::problem::problem(problem, &annotate_snippets::Renderer::plain());
        assert!(rendered.contains("mutated.toml:"));
        // Control characters, which a file may hold anywhere, are shown as something that can be seen.
        let message = untrusted::shown(&problem.message);
        assert!(rendered.contains(&*message) || message.chars().count() > 400);
        let controls = |letter| letter != '\n' && untrusted::is_spelled_out(letter);
        assert!(!rendered.contains(controls) && !problem.to_string().contains(controls));
    }
    problems.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..tries(8_000) })]

    #[test]
    fn a_mutated_scenario_never_panics(text in mutated()) {
        read(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..tries(500) })]

    /// Every reader gives a value or an error, of its own files a little changed and of anything.
    #[test]
    fn no_reader_panics(
        texts in readers().into_iter().map(|(texts, _)| mutated_of(texts)).collect::<Vec<_>>(),
        other in any::<String>(),
    ) {
        let other: &'static str = String::leak(other);
        for (text, (_, read)) in texts.into_iter().zip(readers()) {
            read(String::leak(text));
            read(other);
        }
    }
}

/// Otherwise nothing but errors would be read above.
#[test]
fn every_reader_reads_its_own_files() {
    for (texts, read) in readers() {
        for text in texts {
            assert!(read(String::leak(text.clone())), "{text}");
        }
    }
}

proptest! {
    #![proptest_config(tries(2_000))]

    /// What carries the lines may say anything before one, and end it as terminals do.
    #[test]
    fn a_line_is_heard_behind_anything(line in prop::sample::select(lines()), before in any::<Vec<u8>>(), end in "[\r\n \t]{0,4}") {
        let all = [&*before, &[plan::MARK], line.as_bytes(), end.as_bytes()].concat();
        prop_assert_eq!(plan::message(&all), Some(line.as_bytes()));
        prop_assert!(heard(&all));
    }

    #[test]
    fn no_line_panics(line in mutated_of(lines()), bytes in any::<Vec<u8>>(), mark in any::<Index>()) {
        heard(&[&[plan::MARK], line.as_bytes()].concat());
        let mut marked = bytes.clone();
        marked.insert(mark.index(bytes.len() + 1), plan::MARK);
        heard(&marked);
        heard(&bytes);
    }

    #[test]
    fn what_is_shown_controls_nothing_and_is_shown_alike_again(text in any::<String>()) {
        let shown = untrusted::shown(&text);
        prop_assert!(!shown.contains(untrusted::is_spelled_out), "{:?}", shown);
        prop_assert_eq!(untrusted::shown(&shown), &*shown);
        let words = |letter: &char| letter.is_ascii_graphic();
        prop_assert_eq!(text.chars().filter(words).count() <= shown.chars().count(), true);
    }

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
        let rendered = render::problem::problem(&problem, &annotate_snippets::Renderer::plain());
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
        let expectation = |raw| Expectation { outcome: errno(raw).name().into(), authority: None, reference: "".into() };
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
    let bare = |unwitnessed| Unjudged { witness: Vec::new(), unwitnessed, ..evidence(matching) };
    assert_eq!(Finding::observed(bare(None), outcome.clone()).verdict(), Verdict::Unwitnessed);
    let explained = Finding::observed(bare(Some("socket() asks nothing of anybody".into())), outcome);
    assert_eq!(explained.verdict(), Verdict::Match);
    let json = serde_json::to_string(&explained).expect("serializable");
    assert_eq!(serde_json::from_str::<Finding>(&json).expect("read"), explained);
    assert!(serde_json::from_str::<Finding>(&json.replace("unwitnessed", "unsaid")).is_err());
}

proptest! {
    #![proptest_config(tries(256))]

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
    let matches = |finding: &&Finding| finding.verdict() == Verdict::Match;
    let first = small().findings.iter().find(matches).expect("there is one");
    let last = small().findings.iter().rposition(|finding| matches(&finding)).expect("there are several");
    forged(&|json| json["findings"][last] = json!(first), "has two findings of call 1 of bind.");
    forged(&|json| drop(json["findings"].as_array_mut().expect("a list").pop()), "and its findings have ");
}

#[test]
fn a_report_of_another_version_is_refused() {
    let error = serde_json::from_str::<Report>(r#"{"format": "errnoscope-report/5"}"#).expect_err("version 5");
    assert!(error.to_string().contains("this version reads `errnoscope-report/3`"), "{error}");
}
