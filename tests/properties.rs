//! Laws that hold for any input. No kernel, no privileges.

use std::sync::Arc;

use crate::harness::test;
use errnoscope::finding::{Report, Verdict};
use errnoscope::plan::{self, Answer, Fate, Hello, Observations, Outcome, Performed, Plan, StepResult};
use errnoscope::problem::Problem;
use errnoscope::render::json;
use errnoscope::scenario::rule::{Expected, permits};
use errnoscope::scenario::{self, Expectation};
use errnoscope::{catalogue, check, claim, errno, explain, names::Os, policy, untrusted};
use proptest::prelude::*;
use proptest::sample::Index;

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
        let plans = scenario::cases(scenario).take(3).filter_map(|case| scenario::compile(scenario, &case).ok());
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
        Observations { case: plan.case.clone(), fate: Fate::Done, steps: steps.collect() }
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

/// Every format that somebody may hand over: a file of it, and what reads one.
fn readers() -> Vec<(Vec<String>, fn(&'static str) -> bool)> {
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
        let rendered = problem.render(&annotate_snippets::Renderer::plain());
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
    #![proptest_config(ProptestConfig { cases: 8_000, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_scenario_never_panics(text in mutated()) {
        read(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 200, ..ProptestConfig::default() })]

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
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

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

/// A report in which somebody has written `match` without evidence is not read.
#[test]
fn a_match_without_a_confirmed_witness_cannot_be_read() {
    let finding = |verdict: &str, confirmed: bool| {
        format!(
            r#"{{"scenario": "bind.x", "case": "bind.x[]", "axes": {{}}, "cause": "none",
               "subject": {{"call": "bind", "port": "explicit"}}, "outcome": {{"ok": true}}, "verdict": "{verdict}",
               "expected": [], "elsewhere": {{}}, "witness": [{{"precondition": "p", "confirmed": {confirmed}}}], "trail": []}}"#
        )
    };
    let read = |text: &str| serde_json::from_str::<errnoscope::finding::Finding>(text);
    assert_eq!(read(&finding("match", true)).expect("confirmed").verdict(), Verdict::Match);
    assert!(read(&finding("match", false)).expect_err("unconfirmed").to_string().contains("claims a match"));
    assert!(read(&finding("unwitnessed", false)).is_ok());
}

#[test]
fn a_report_of_another_version_is_refused() {
    let error = serde_json::from_str::<Report>(r#"{"format": "errnoscope-report/3"}"#).expect_err("version 3");
    assert!(error.to_string().contains("this version reads `errnoscope-report/2`"), "{error}");
    let old = serde_json::from_str::<Report>(r#"{"format": "errnoscope-report/1"}"#).expect_err("version 1");
    assert!(old.to_string().contains("reads `errnoscope-report/2`; run again with this version"), "{old}");
}
