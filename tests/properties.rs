//! Laws that hold for any input. No kernel, no privileges.

use std::sync::Arc;

use crate::harness::test;
use errnoscope::finding::{Report, Verdict};
use errnoscope::plan::Outcome;
use errnoscope::problem::Problem;
use errnoscope::scenario::rule::{Expected, permits};
use errnoscope::scenario::{self, Expectation};
use errnoscope::{catalogue, errno, names::Os};
use proptest::prelude::*;
use proptest::sample::Index;

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
