//! Comparisons: laws that hold for any two reports, what each format says, limits, and the command.
//!
//! Every report here is made from the committed baseline, so that it has what real ones have.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::sync::{Arc, LazyLock};

use crate::common;
use crate::common::reports::{evidence, given, single, text_of};
use crate::common::said::{Said, command, said};
use crate::common::tries;
use crate::harness::test;
use errnoscope::plan::{Outcome, Unsupported};
use errnoscope::render::compare::{Cases, comparison as text};
use errnoscope::render::{github, json};
use errnoscope::report::compare::{self, ChangeKind, Comparison, Weight, compare};
use errnoscope::report::finding::{Finding, Missing, Report, Verdict};
use errnoscope::words::errno::Errno;
use errnoscope::words::names::Os;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

/// Some of it: every scenario, and the findings where the kernel may choose.
static SOME: LazyLock<Report> = LazyLock::new(|| {
    let keep = |(index, finding): &(usize, &Finding)| {
        let first = *index == 0 || single().findings[index - 1].scenario != finding.scenario;
        first || index % 60 == 0 || finding.expected().len() > 1
    };
    with(single().findings.iter().enumerate().filter(keep).map(|(_, finding)| finding.clone()).collect())
});

fn with(findings: Vec<Finding>) -> Report {
    single().with(findings)
}

fn errno(raw: i32) -> Outcome {
    Outcome::Errno(Errno::from_raw(Os::Linux, raw))
}

/// ELOOP: no scenario expects it.
const NEVER: i32 = 40;

/// One thing that can happen to a finding.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    Gone,
    Added,
    Mismatch,
    OtherOutcome,
    Broken,
    Unsupported,
    Unstable,
    /// Nothing that counts: times, reasons, and that it ran more often with the same outcome.
    Nothing,
}

const MUTATIONS: [Mutation; 8] = [
    Mutation::Gone,
    Mutation::Added,
    Mutation::Mismatch,
    Mutation::OtherOutcome,
    Mutation::Broken,
    Mutation::Unsupported,
    Mutation::Unstable,
    Mutation::Nothing,
];

/// What the finding becomes, and in what that differs.
fn mutate(finding: &Finding, mutation: Mutation) -> (Vec<Finding>, &'static [ChangeKind]) {
    let mut new = finding.clone();
    match mutation {
        Mutation::Gone => return (vec![], &[ChangeKind::Disappeared]),
        Mutation::Added => {
            new.case = format!("{}[added]", new.case).into();
            return (vec![finding.clone(), new], &[ChangeKind::Appeared]);
        }
        Mutation::Mismatch => {
            return (
                vec![Finding::observed(evidence(finding), errno(NEVER))],
                &[ChangeKind::Outcome, ChangeKind::Verdict],
            );
        }
        Mutation::OtherOutcome => {
            return (vec![given(finding, errno(NEVER))], &[ChangeKind::Outcome]);
        }
        Mutation::Broken => {
            let why = Missing::Broken("killed by signal 9".into());
            return (vec![Finding::without_outcome(evidence(finding), why)], &[ChangeKind::Verdict]);
        }
        Mutation::Unsupported => {
            let need = errnoscope::words::names::Need::Nft;
            let why = Missing::Unsupported(Unsupported { need, reason: "not installed".into() });
            return (vec![Finding::without_outcome(evidence(finding), why)], &[ChangeKind::Verdict]);
        }
        Mutation::Unstable => {
            return (
                vec![common::reports::repeated(finding, &[(finding.outcome_name(), 7), ("ELOOP", 3)])],
                &[ChangeKind::Unstable],
            );
        }
        Mutation::Nothing => {}
    }
    new = counted(new, &[(finding.outcome_name(), 20)]);
    new.trail.clear();
    new.elsewhere.clear();
    (vec![new], &[])
}

type Found = BTreeSet<(String, String, Vec<ChangeKind>)>;

fn found(comparison: &Comparison) -> Found {
    let found = comparison.changes.iter().map(|change| {
        (change.case.to_string(), change.call.to_string(), change.kinds.iter().copied().collect::<Vec<_>>())
    });
    found.collect()
}

/// A report with some of its findings mutated, its findings in any order, and what a comparison has to find.
fn mutated() -> impl Strategy<Value = (Report, Found)> {
    let matches = SOME.findings.iter().enumerate().filter(|(_, finding)| finding.verdict() == Verdict::Match);
    let indices: Vec<usize> = matches.map(|(index, _)| index).collect();
    let mutations = prop::collection::btree_map(prop::sample::select(indices), 0..MUTATIONS.len(), 0..60);
    let made = mutations.prop_map(|mutations| {
        let (mut findings, mut found) = (Vec::new(), Found::new());
        for (index, finding) in SOME.findings.iter().enumerate() {
            let Some(&mutation) = mutations.get(&index) else {
                findings.push(finding.clone());
                continue;
            };
            let (new, kinds) = mutate(finding, MUTATIONS[mutation]);
            if !kinds.is_empty() {
                let case = if kinds == [ChangeKind::Appeared] { &new[1].case } else { &finding.case };
                found.insert((case.to_string(), finding.subject.call.to_string(), kinds.to_vec()));
            }
            findings.extend(new);
        }
        (findings, found)
    });
    made.prop_flat_map(|(findings, found)| {
        (Just(findings).prop_shuffle(), Just(found)).prop_map(|(findings, found)| (with(findings), found))
    })
}

/// How many changes each format tells of, by weight where it says so.
fn counts(comparison: &Comparison) -> [u64; 5] {
    let plain = |text: &str| anstream::adapter::strip_str(text).to_string();
    let before = |line: &str, word: &str| -> u64 {
        let line = line.split(word).next().unwrap();
        line.rsplit(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let terminal = plain(&text(comparison, Cases::Counted, 80));
    let lines = terminal.lines().filter(|line| line.starts_with("  ") && line.contains(" case"));
    let lines = lines.filter(|line| line.trim_start().starts_with(|letter: char| letter.is_ascii_digit()));
    let terminal = lines.map(|line| before(line, " case")).sum();
    let named = plain(&text(comparison, Cases::Named, 80));
    let named = named.lines().filter(|line| line.starts_with("    ") && line.contains('[')).count() as u64;
    let annotations = github::annotations(comparison);
    let titles = annotations.lines().filter_map(|line| line.split("::").nth(1)).filter(|title| title.contains(" case"));
    let annotations = titles.map(|title| before(title, " case")).sum();
    let summary = github::summary(comparison, github::SUMMARY);
    let cases = summary.split("### Each case").nth(1).unwrap_or_default();
    let rows = cases.lines().filter(|line| line.starts_with("| `")).count() as u64;
    let json = serde_json::to_value(comparison).unwrap();
    [terminal, named, annotations, rows, json["changes"].as_array().unwrap().len() as u64]
}

proptest! {
    #![proptest_config(tries(96))]

    #[test]
    fn every_mutation_is_found_and_nothing_else((current, expected) in mutated()) {
        let comparison = compare(&SOME, &current);
        prop_assert_eq!(found(&comparison), expected);
        prop_assert_eq!(comparison.is_changed(), !comparison.changes.is_empty());
        prop_assert_eq!(comparison.environment.len(), 0);
    }

    #[test]
    fn a_report_is_like_itself_in_any_order((report, _) in mutated()) {
        let mut sorted = with(report.findings.clone());
        sorted.findings.sort_by(|a, b| b.case.cmp(&a.case));
        let comparison = compare(&report, &sorted);
        prop_assert!(!comparison.is_changed(), "{:?}", comparison.changes);
        prop_assert_eq!(comparison.summary.unchanged, report.findings.len() as u64);
        prop_assert_eq!(compare(&SOME, &report), compare(&SOME, &sorted));
    }

    #[test]
    fn swapped_sides_swap_what_came_and_went((current, _) in mutated()) {
        let (there, back) = (compare(&SOME, &current), compare(&current, &SOME));
        let of = |comparison: &Comparison, kind| {
            let changes = comparison.changes.iter().filter(|change| change.kinds.contains(&kind));
            changes.map(|change| change.case.to_string()).collect::<BTreeSet<String>>()
        };
        prop_assert_eq!(of(&there, ChangeKind::Appeared), of(&back, ChangeKind::Disappeared));
        prop_assert_eq!(of(&there, ChangeKind::Disappeared), of(&back, ChangeKind::Appeared));
        prop_assert_eq!(of(&there, ChangeKind::Outcome), of(&back, ChangeKind::Outcome));
        prop_assert_eq!(of(&there, ChangeKind::Verdict), of(&back, ChangeKind::Verdict));
    }

    #[test]
    fn every_format_counts_alike((current, expected) in mutated()) {
        let comparison = compare(&SOME, &current);
        prop_assert_eq!(counts(&comparison), [expected.len() as u64; 5]);
        let summary = &comparison.summary;
        prop_assert_eq!(summary.changed, summary.weights.values().sum::<u64>());
        let both = summary.unchanged + summary.changed - summary.kinds[&ChangeKind::Appeared];
        prop_assert_eq!(both, SOME.findings.len() as u64);
        prop_assert_eq!(comparison.groups().iter().map(|group| group.changes.len()).sum::<usize>(), comparison.changes.len());
    }

    #[test]
    fn what_is_said_holds_to_the_limits((current, _) in mutated(), room in 0..4000_usize) {
        let comparison = compare(&SOME, &current);
        let annotations = github::annotations(&comparison);
        for weight in Weight::ALL {
            let prefix = format!("::{weight} ");
            prop_assert!(annotations.lines().filter(|line| line.starts_with(&prefix)).count() <= 10);
        }
        prop_assert!(github::summary(&comparison, room).len() <= room);
        let text = anstream::adapter::strip_str(&text(&comparison, Cases::Counted, 80)).to_string();
        for line in text.lines() {
            prop_assert!(line.chars().count() <= 80, "{}", line);
        }
    }
}

#[test]
fn a_comparison_is_as_its_schema_says() {
    let validator = jsonschema::validator_for(&compare::schema()).unwrap();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..8 {
        let (mut current, _) = mutated().new_tree(&mut runner).unwrap().current();
        current.host.sysctls.insert("net.ipv4.new".into(), "1".into());
        let json = serde_json::to_value(compare(&SOME, &current)).unwrap();
        let faults: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert_eq!(faults, [""; 0]);
    }
}

/// One finding before and after, and in what it differs.
#[track_caller]
fn check(old: Finding, new: Finding, kinds: &[ChangeKind], weight: Option<Weight>) {
    let comparison = compare(&with(vec![old]), &with(vec![new]));
    let found: Vec<ChangeKind> = comparison.changes.iter().flat_map(|change| &change.kinds).copied().collect();
    assert_eq!((&*found, comparison.changes.first().map(|change| change.weight)), (kinds, weight));
}

fn matching() -> Finding {
    single().findings.iter().find(|finding| finding.outcome_name() == "EADDRINUSE").unwrap().clone()
}

fn repeated(outcomes: &[(&str, u32)]) -> Finding {
    let has = outcomes.iter().any(|(outcome, _)| *outcome == matching().outcome_name());
    counted(if has { matching() } else { given(&matching(), Outcome::Ok) }, outcomes)
}

#[track_caller]
fn counted(finding: Finding, outcomes: &[(&str, u32)]) -> Finding {
    common::reports::repeated(&finding, outcomes)
}

#[test]
fn instability_is_a_change_and_which_outcome_it_shows_is_not() {
    let both = [("EADDRINUSE", 7), ("ok", 3)];
    let fewer = [("EADDRINUSE", 1), ("ok", 9)];
    check(matching(), repeated(&both), &[ChangeKind::Unstable], Some(Weight::Warning));
    check(repeated(&both), repeated(&fewer), &[], None);
    check(repeated(&both), given(&matching(), Outcome::Ok), &[], None);
    check(repeated(&both), repeated(&[("EADDRINUSE", 10)]), &[ChangeKind::Stable], Some(Weight::Notice));
    check(repeated(&both), matching(), &[], None);
    check(repeated(&both), repeated(&[("ok", 5), ("ELOOP", 5)]), &[ChangeKind::Outcome], Some(Weight::Error));
    let elsewhere = [("ok", 5), ("ELOOP", 5)];
    check(matching(), repeated(&elsewhere), &[ChangeKind::Outcome, ChangeKind::Unstable], Some(Weight::Error));
    let (broken, _) = mutate(&matching(), Mutation::Broken);
    let once = matching().and(broken[0].clone());
    assert_eq!((once.verdict(), once.is_unstable()), (Verdict::Broken, true), "the worse speaks");
    check(once, matching(), &[ChangeKind::Verdict], Some(Weight::Notice));
}

#[test]
fn what_the_kernel_may_choose_is_no_change() {
    let free = single().findings.iter().find(|finding| finding.expected().len() > 1).unwrap();
    let [one, other] = [0, 1].map(|index| free.expected()[index].outcome.clone());
    let raw = |name: &str| (1..200).find(|&raw| Errno::from_raw(Os::Linux, raw).name() == name).unwrap();
    let first = Finding::observed(evidence(free), errno(raw(&one)));
    let second = Finding::observed(evidence(free), errno(raw(&other)));
    check(first.clone(), second.clone(), &[], None);
    check(first.clone(), counted(second, &[(&one, 3), (&other, 4)]), &[], None);
    check(
        first.clone(),
        Finding::observed(evidence(free), errno(NEVER)),
        &[ChangeKind::Outcome, ChangeKind::Verdict],
        Some(Weight::Error),
    );
    // Nobody knowing better is no such freedom: where nothing has been observed yet, this is how a change shows.
    let unknown = |outcome| {
        let mut evidence = evidence(free);
        let mut expectation = free.expected()[0].clone();
        expectation.outcome = "unknown".into();
        evidence.expected = Arc::from([expectation]);
        Finding::observed(evidence, outcome)
    };
    check(unknown(errno(raw(&one))), unknown(errno(raw(&other))), &[ChangeKind::Outcome], Some(Weight::Error));
}

#[test]
fn what_heals_weighs_less_than_what_breaks() {
    let mismatch = Finding::observed(evidence(&matching()), errno(NEVER));
    check(mismatch.clone(), matching(), &[ChangeKind::Outcome, ChangeKind::Verdict], Some(Weight::Notice));
    let (broken, _) = mutate(&matching(), Mutation::Broken);
    check(broken[0].clone(), matching(), &[ChangeKind::Verdict], Some(Weight::Notice));
    check(matching(), broken[0].clone(), &[ChangeKind::Verdict], Some(Weight::Error));
    let (unsupported, _) = mutate(&matching(), Mutation::Unsupported);
    check(matching(), unsupported[0].clone(), &[ChangeKind::Verdict], Some(Weight::Warning));
}

#[test]
fn a_call_that_a_case_makes_twice_is_two_findings() {
    let again = |mut finding: Finding| {
        finding.subject.ordinal += 1;
        finding
    };
    let old = with(vec![matching(), again(matching())]);
    let new = with(vec![matching(), again(Finding::observed(evidence(&matching()), errno(NEVER)))]);
    let comparison = compare(&old, &new);
    assert_eq!((comparison.changes.len(), comparison.changes[0].ordinal), (1, 2));
    assert!(text(&comparison, Cases::Counted, 80).contains("bind (call 2)"));
    assert_eq!(compare(&old, &with(vec![matching()])).changes[0].ordinal, 2);
}

#[test]
fn an_environment_that_differs_is_told_and_no_change() {
    let mut other = with(SOME.findings.clone());
    other.host.release = "6.19.1".into();
    other.host.sysctls.insert("net.ipv4.ip_local_port_range".into(), "1024 65000".into());
    other.host.sysctls.remove("net.ipv6.bindv6only");
    other.repeat = 20;
    let comparison = compare(&SOME, &other);
    assert!(!comparison.is_changed());
    let text = anstream::adapter::strip_str(&text(&comparison, Cases::Counted, 80)).to_string();
    for line in [
        &*format!("  release  {} → 6.19.1\n", SOME.host.release),
        "  repeat  1 → 20\n",
        "  net.ipv4.ip_local_port_range  32768 60999 → 1024 65000\n",
        "  net.ipv6.bindv6only  0 → absent\n",
        "no change",
        "in another environment",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    // A tab is a blank.
    other.host.sysctls.insert("net.ipv4.ip_local_port_range".into(), "32768 60999".into());
    assert_eq!(compare(&SOME, &other).environment.len(), 3);
    let annotations = github::annotations(&comparison);
    assert_eq!(annotations.lines().count(), 1);
    assert!(annotations.starts_with("::notice title=the environment differs%2C which"), "{annotations}");
    assert!(annotations.contains("%0Arepeat: 1 → 20%0A"), "{annotations}");
}

/// What a file says can neither end a line nor begin a command.
#[test]
fn annotations_and_summaries_are_escaped() {
    let mut new = Finding::observed(evidence(&matching()), errno(NEVER));
    new.scenario = "a:b,c%d\n::error::injected".into();
    new.case = "x[a=1|2]\r\n::warning::`<b>`\u{1b}[35m".into();
    let comparison = compare(&with(vec![]), &with(vec![new]));
    let annotations = github::annotations(&comparison);
    let expected = "::error title=a%3Ab%2Cc%25d\\n%3A%3Aerror%3A%3Ainjected%3A 1 case::bind: appeared: ELOOP, mismatch%0A\
                    x[a=1|2]\\r\\n::warning::`<b>`\\u{1b}[35m\n";
    assert_eq!(annotations, expected);
    let summary = github::summary(&comparison, github::SUMMARY);
    assert!(summary.contains("| `x[a=1\\|2]\\r\\n::warning::'&lt;b&gt;'\\u{1b}[35m` |"), "{summary}");
    let text = text(&comparison, Cases::Named, 80);
    assert!(!text.contains("\n::") && !text.contains("\u{1b}[35m"), "{text}");
}

#[test]
fn the_eleventh_annotation_is_counted_in_the_tenth() {
    for (scenarios, lines) in [(9, 9), (10, 10), (11, 10), (45, 10)] {
        let first = |index: usize| {
            let mut new = Finding::observed(evidence(&matching()), errno(NEVER));
            new.scenario = format!("bind.{index:02}").into();
            // The first is the largest.
            let cases = if index == 0 { 7 } else { 1 };
            (0..cases).map(move |case| {
                let mut new = new.clone();
                new.case = format!("{}[case={case}]", new.scenario).into();
                new
            })
        };
        let comparison = compare(&with(vec![]), &with((0..scenarios).flat_map(first).collect()));
        let annotations = github::annotations(&comparison);
        assert_eq!(annotations.lines().count(), lines);
        assert!(annotations.starts_with("::error title=bind.00%3A 7 cases::"), "{annotations}");
        assert!(annotations.contains("%0A… and 4 more\n"), "{annotations}");
        let last = annotations.lines().last().unwrap();
        let rest = format!("::error title={} more%3A {0} cases::", scenarios - 9);
        assert_eq!(last.starts_with(&rest), scenarios > 10, "{last}");
        assert_eq!(counts(&comparison), [comparison.changes.len() as u64; 5]);
    }
}

#[test]
fn a_summary_that_is_too_long_is_cut_at_a_row() {
    let again = single().findings.iter().cloned().map(|mut finding| {
        finding.case = format!("{} again", finding.case).into();
        finding
    });
    let all = with(single().findings.iter().cloned().chain(again).collect());
    let comparison = compare(&with(vec![]), &all);
    assert_eq!(comparison.changes.len(), 2 * single().findings.len());
    for room in [github::SUMMARY, 100_000, 20_000, 2_000, 500, 10, 0] {
        let summary = github::summary(&comparison, room);
        assert!(summary.len() <= room);
        let Some(cases) = summary.split("### Each case").nth(1) else { continue };
        let rows = cases.lines().filter(|line| line.starts_with("| `")).count();
        let rest = format!("\n… and {} more cases left out\n", comparison.changes.len() - rows);
        assert!(summary.ends_with(&rest), "{room}: {}", &summary[summary.len() - 200..]);
        assert!(room < 100_000 || summary.len() + 1_000 > room, "{} of {room}", summary.len());
    }
}

/// In a directory of its own with `a.json.gz`, the baseline, and `b.json`.
struct Place(tempfile::TempDir);

impl Place {
    fn new(current: &Report) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let file = fs::File::create(place.0.path().join("a.json.gz")).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        json::write(&SOME, &mut encoder).unwrap();
        encoder.finish().unwrap();
        place.write("b.json", &text_of(current));
        place
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.path().join(name)).unwrap()
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = command(&["compare"]);
        command.args(arguments).current_dir(&self.0).env("GITHUB_STEP_SUMMARY", self.0.path().join("summary.md"));
        said(command.output().unwrap())
    }
}

/// The first findings with another outcome, the rest as it is.
fn worse(cases: usize) -> Report {
    let mut left = cases;
    let findings = SOME.findings.iter().map(|finding| {
        if left == 0 || finding.verdict() != Verdict::Match {
            return finding.clone();
        }
        left -= 1;
        Finding::observed(evidence(finding), errno(NEVER))
    });
    with(findings.collect())
}

#[test]
fn the_command_tells_of_changes_by_its_exit_code() {
    let place = Place::new(&SOME);
    let later = Report { started: common::started(), ..with(SOME.findings.clone()) };
    place.write("b.json", &text_of(&later));
    let [then, now] = [single().started, later.started].map(|started| format!("{started})"));
    place.run(&["a.json.gz", "b.json"]).check(0, &["baseline  linux 6.18", &then, &now, "no change: "], &[]);
    place.write("b.json", &text_of(&worse(3)));
    let said = place.run(&["a.json.gz", "b.json"]);
    said.check(1, &["EADDRNOTAVAIL → ELOOP, match → mismatch", "3 changes: 3 outcome-changed, 3 verdict-changed"], &[]);
    assert!(!said.out.contains("protocol=tcp"), "{}", said.out);
    place.run(&["a.json.gz", "b.json", "-v"]).check(1, &["    bind.address-not-local[protocol=tcp"], &[]);
    let json = place.run(&["a.json.gz", "b.json", "--json"]).check(1, &[], &[]).json_of("comparison");
    assert_eq!((&json["format"], &json["summary"]["changed"]), (&"errnoscope-comparison/3".into(), &3.into()));
    assert!(!place.0.path().join("summary.md").exists(), "a summary that nobody asked for");
    place.run(&["a.json.gz"]).check(2, &[], &["<CURRENT>"]);
    place.run(&["a.json.gz", "b.json", "--json", "--github"]).check(2, &[], &["cannot be used with"]);
}

#[test]
fn github_gets_annotations_and_a_summary() {
    let place = Place::new(&worse(3));
    place.write("summary.md", b"# From an earlier command\n");
    let said = place.run(&["a.json.gz", "b.json", "--github"]);
    said.check(1, &["3 changes", "\n::error title=bind.address-not-local%3A "], &[]);
    assert!(obeyed(&said.out)[2..].iter().all(|name| name == "error"), "{}", said.out);
    let summary = String::from_utf8(place.read("summary.md")).unwrap();
    assert!(summary.starts_with("# From an earlier command\n## errnoscope: linux 6.18"), "{summary}");
    assert_eq!(summary.matches("\n| `").count(), 3);
    // Together they keep to the limit.
    place.write("summary.md", &vec![b'x'; github::SUMMARY - 1_500]);
    place.run(&["a.json.gz", "b.json", "--github"]).check(1, &[], &[]);
    let length = place.read("summary.md").len();
    assert!(length > github::SUMMARY - 1_500 && length <= github::SUMMARY, "{length}");
}

/// What the runner makes of a step's output (actions/runner, src/Runner.Common/ActionCommand.cs and
/// src/Runner.Worker/ActionCommandManager.cs): the names of the commands that it obeys.
fn obeyed(output: &str) -> Vec<String> {
    let (mut names, mut stopped) = (Vec::new(), None);
    for line in output.split(['\n', '\r']) {
        let second = line.trim_start().strip_prefix("::").and_then(|rest| rest.split_once("::"));
        let first = line.split_once("##[").and_then(|(_, rest)| rest.split_once(']'));
        let Some((head, data)) = second.or(first) else { continue };
        let name = head.split(' ').next().unwrap().to_owned();
        match &stopped {
            Some(token) if *token == name => stopped = None,
            Some(_) => continue,
            None if name == "stop-commands" => stopped = Some(data.to_owned()),
            None => {}
        }
        names.push(name);
    }
    names
}

#[test]
fn nothing_in_a_report_is_a_command_for_github() {
    const COMMANDS: [&str; 6] = [
        "::stop-commands::x",
        "::add-mask::a",
        "##[add-mask]a",
        "a ##[stop-commands]x",
        "::errnoscope-0::",
        "::error file=x::y",
    ];
    let mut report = worse(3);
    // Wrapped, so that some of it begins a line.
    let hostile = |length| COMMANDS.map(|command| format!("{} {command} ", "a".repeat(length))).concat();
    report.host.arch = hostile(68).into();
    report.host.release = hostile(3).into();
    report.host.sysctls.insert(COMMANDS[0].into(), COMMANDS.join("\n").into());
    for capability in report.host.capabilities.values_mut() {
        capability.reason = Some(COMMANDS.join("\r\n").into());
    }
    for finding in &mut report.findings {
        finding.scenario = format!("{}.{}", finding.scenario, COMMANDS[1]).into();
        finding.case = format!("{}{}", finding.case, COMMANDS.join("\n")).into();
    }
    let place = Place::new(&report);
    let said = place.run(&["a.json.gz", "b.json", "--github", "-v"]);
    said.check(1, &["::stop-commands::errnoscope-", "add-mask"], &[]);
    let names = obeyed(&said.out);
    assert!(names[0] == "stop-commands" && names[1].starts_with("errnoscope-"), "{names:?}");
    assert!(names[1].len() > 40, "{}", names[1]);
    let annotations = &names[2..];
    assert!(annotations.len() > 3, "{names:?}");
    assert!(annotations.iter().all(|name| ["error", "warning", "notice"].contains(&&**name)), "{names:?}");
    let again = obeyed(&place.run(&["a.json.gz", "b.json", "--github"]).out);
    assert_ne!(names[1], again[1], "the token can be guessed");
    // Without a step that reads it, it is text alone.
    assert!(!place.run(&["a.json.gz", "b.json"]).out.contains("::stop-commands::errnoscope-"));

    let doubtful = place.run(&["a.json.gz", "b.json", "--github", "--accept"]);
    assert_eq!(obeyed(&doubtful.err), [""; 0], "{}", doubtful.err);
    let text = String::from_utf8(place.read("b.json")).unwrap();
    for command in COMMANDS {
        let name = format!("\"{command}\\n{command}\\r{command}\": 1, \"repeat\"");
        place.write("bad.json", text.replacen("\"repeat\"", &name, 1).as_bytes());
        let said = place.run(&["a.json.gz", "bad.json", "--github"]);
        said.check(2, &[], &["unknown field"]);
        assert_eq!(obeyed(&said.err), [""; 0], "{}", said.err);
    }
}

#[test]
fn accepting_replaces_the_baseline_whole() {
    let place = Place::new(&worse(3));
    place.run(&["a.json.gz", "b.json", "--accept"]).check(0, &["3 changes"], &["accepted as a.json.gz: "]);
    assert!(place.read("a.json.gz").starts_with(&[0x1f, 0x8b]), "no longer compressed");
    place.run(&["a.json.gz", "b.json"]).check(0, &["no change"], &[]);
    place.run(&["new.json", "b.json", "--accept"]).check(0, &[], &["accepted as new.json"]);
    assert_eq!(place.read("new.json"), place.read("b.json"));
    place.run(&["absent.json", "b.json"]).check(2, &[], &["cannot read absent.json"]);
    place.write("bad.json", b"{}");
    place.run(&["bad.json", "b.json", "--accept"]).check(2, &[], &["bad.json:1:2: no errnoscope report"]);
    assert_eq!(place.read("bad.json"), b"{}");
}

#[test]
fn what_is_in_doubt_is_not_accepted() {
    let mutated = |mutation| {
        let mut findings = SOME.findings.clone();
        findings.splice(..1, mutate(&SOME.findings[0], mutation).0);
        with(findings)
    };
    let interrupted = Report { complete: false, ..with(SOME.findings.clone()) };
    let fewer = with(SOME.findings[9..].to_vec());
    for (report, doubt) in [
        (interrupted, "the run was interrupted"),
        (fewer, "not run, of the same catalogue: 9 cases, such as accept."),
        (with(vec![]), "nothing ran"),
        (mutated(Mutation::Broken), "broken: 1 finding, accept.refused["),
        (mutated(Mutation::Unstable), "not stable: 1 finding, accept.refused["),
    ] {
        let place = Place::new(&report);
        let before = place.read("a.json.gz");
        place.run(&["a.json.gz", "b.json", "--accept"]).check(1, &[], &["not accepted:", doubt]);
        assert_eq!(place.read("a.json.gz"), before);
    }
    // Nor what a kernel does by choice: that is no doubt.
    let free = SOME.findings.iter().position(|finding| finding.expected().len() > 1).unwrap();
    let mut report = with(SOME.findings.clone());
    let [one, other] = [0, 1].map(|index| report.findings[free].expected()[index].outcome.clone());
    report.findings[free] = counted(report.findings[free].clone(), &[(&one, 3), (&other, 4)]);
    Place::new(&report).run(&["a.json.gz", "b.json", "--accept"]).check(0, &[], &["accepted"]);
}

#[test]
fn files_that_are_no_reports_are_told_by_place() {
    let place = Place::new(&SOME);
    let text = String::from_utf8(text_of(&SOME)).unwrap();
    let lines = text.lines().count();
    let next = text.replace("errnoscope-report/3", "errnoscope-report/5");
    for (bytes, message) in [
        (next.as_bytes(), "bad.json:2:33: no errnoscope report: format `errnoscope-report/5`, this version reads"),
        (&text.as_bytes()[..text.len() - 4], &*format!("bad.json:{}:", lines - 1)),
        (b"[]", "bad.json:1:"),
        (b"", "bad.json:1:0: no errnoscope report: EOF"),
        (b"\xff\xfe\x00", "neither UTF-8 nor gzip"),
        (b"\x1f\x8b\x08\x00", "cannot read bad.json"),
    ] {
        place.write("bad.json", bytes);
        for sides in [["bad.json", "b.json"], ["b.json", "bad.json"]] {
            let said = place.run(&sides);
            assert_eq!(said.check(2, &[], &[message]).out, "");
        }
    }
}

/// 500 MB that take no room on the disk, and a little gzip that is a lot of text.
#[test]
fn files_that_are_too_large_are_not_read_to_their_end() {
    let place = Place::new(&SOME);
    fs::File::create(place.0.path().join("large.json")).unwrap().set_len(500 << 20).unwrap();
    let file = fs::File::create(place.0.path().join("bomb.json.gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    let blanks = vec![b' '; 1 << 20];
    for _ in 0..129 {
        encoder.write_all(&blanks).unwrap();
    }
    encoder.finish().unwrap();
    for name in ["large.json", "bomb.json.gz"] {
        place.run(&[name, "b.json"]).check(2, &[], &[name, "larger than 128 MiB, the most that is read"]);
    }
}
