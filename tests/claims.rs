//! Claims: the faults of their file, the laws of judging them, and what is known of the built-in ones. No kernel, no
//! privileges.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::common;
use crate::common::reports::{BASELINE, baseline};
use crate::common::said::{Said, run};
use crate::harness::{rstest, test};
use errnoscope::plan::{Hello, PROTOCOL, Unsupported};
use errnoscope::report::claim::verdict::ClaimAnswer;
use errnoscope::report::claim::{self, Claim, ClaimVerdict, Claims, Judged, judge};
use errnoscope::report::finding::{Missing, Report};
use errnoscope::scenario::{cases, compile};
use errnoscope::suite;
use errnoscope::suite::catalogue::{self, Catalogue};
use errnoscope::suite::judge as judged;
use errnoscope::words::names::{Need, Os};
use errnoscope::words::problem::Problem;
use serde_json::Value;

const GOOD: &str = r#"# A comment comes first.
format = "errnoscope-claim-list/1"

[[claim]]
id = "time-wait-fails"
statement = "A port in TIME_WAIT cannot be bound"
source = [{ in = "a test", says = "so" }]
where = { call = "bind", axes = { holder_state = "time-wait" } }
holds = [
    { outcome = "EADDRINUSE" },
    { not = { scenario = "bind.port-held" } },
]
"#;

fn read(text: &str) -> Result<Claims, Problem> {
    claim::read("test.toml", String::leak(text.to_owned()))
}

#[track_caller]
fn embedded() -> Claims {
    claim::embedded().unwrap_or_else(|problem| panic!("{problem}"))
}

fn catalogue() -> Catalogue {
    Catalogue::embedded().unwrap_or_else(|problems| panic!("{}", problems[0]))
}

/// The report of a host that can run nothing: all that is in it is expected.
fn nothing_observed() -> Report {
    let hello = Hello {
        protocol: PROTOCOL,
        os: Os::Linux,
        release: errnoscope::scenario::rule::NEWEST.to_string().into(),
        arch: "none".into(),
        stack: None,
        isolation: "none".into(),
        capabilities: BTreeMap::new(),
        sysctls: BTreeMap::new(),
    };
    let catalogue = catalogue();
    let lacking = Unsupported { need: Need::NetworkNamespace, reason: "a test".into() };
    let mut findings = Vec::new();
    for scenario in &catalogue.scenarios {
        for case in cases(scenario) {
            let compiled = compile(scenario, &case, Os::Linux).unwrap_or_else(|problem| panic!("{problem}"));
            let why = Missing::Unsupported(lacking.clone());
            findings.extend(judged::without_run(scenario, &case, &compiled, &hello, &why));
        }
    }
    Report::new(&hello, catalogue.facts(), common::started(), true, 1, findings)
}

/// The first fault of a file, from reading it or from holding it against the catalogue.
fn fault(text: &str) -> Option<Problem> {
    match read(text) {
        Ok(claims) => suite::claims::check(&claims, &catalogue()).into_iter().next(),
        Err(problem) => Some(problem),
    }
}

#[test]
fn the_good_one_is_good() {
    assert_eq!(fault(GOOD), None);
    assert!(claim::is_list(GOOD));
    assert!(catalogue::embedded().iter().all(|(_, text)| !claim::is_list(text)));
}

/// One replacement, the place of the fault as `line:column`, and words of the message or of what would be right.
#[rstest]
#[case::syntax("[[claim]]", "[[claim]", "4:9", "]")]
#[case::format("list/1", "list/2", "2:10", "errnoscope-claim-list/2")]
#[case::unknown_key("statement", "sentence", "6:1", "unknown field `sentence`")]
#[case::missing_key("statement = \"A port in TIME_WAIT cannot be bound\"\n", "", "4:1", "missing field `statement`")]
#[case::no_claims("[[claim]]", "[[claims]]", "4:3", "unknown field `claims`")]
#[case::bad_id("time-wait-fails", "TIME_WAIT", "5:6", "no claim's id")]
#[case::empty_statement("A port in TIME_WAIT cannot be bound", " ", "6:13", "empty text")]
#[case::no_source("[{ in = \"a test\", says = \"so\" }]", "[]", "7:10", "no source")]
#[case::empty_source("\"so\"", "\"\"", "7:35", "empty text")]
#[case::unknown_call("\"bind\"", "\"bnid\"", "8:18", "unknown variant `bnid`")]
#[case::unknown_condition("call = ", "cell = ", "8:11", "unknown field `cell`")]
#[case::no_value("\"bind\"", "[]", "8:18", "an empty array")]
#[case::value_twice("\"bind\"", "[\"bind\", \"bind\"]", "8:18", "twice")]
#[case::unknown_errno("\"EADDRINUSE\"", "\"EADRINUSE\"", "10:17", "unknown outcome `EADRINUSE`")]
#[case::claimed_unknown("\"EADDRINUSE\"", "\"unknown\"", "10:17", "`unknown` is not an outcome")]
#[case::never_holds(
    "where = { call = \"bind\", axes = { holder_state = \"time-wait\" } }",
    "where = []",
    "8:9",
    "never holds"
)]
#[case::unknown_axis("holder_state", "holder_sate", "8:35", "unknown axis `holder_sate`; did you mean holder_state")]
#[case::unknown_value("\"time-wait\"", "\"timewait\"", "8:50", "expected one of")]
#[case::unknown_scenario(
    "bind.port-held",
    "bind.port-hold*",
    "11:26",
    "no scenario matches `bind.port-hold*`; did you mean bind.port-held"
)]
#[case::selects_nothing("call = \"bind\"", "call = \"send\"", "8:9", "selects nothing")]
fn a_fault_is_found_at_its_place(#[case] from: &str, #[case] to: &str, #[case] place: &str, #[case] words: &str) {
    assert!(GOOD.contains(from), "the good file has `{from}`");
    let problem = fault(&GOOD.replacen(from, to, 1)).expect("it is wrong");
    let (line, column) = problem.line_and_column();
    assert_eq!(format!("{line}:{column}"), place, "{problem}");
    assert!(problem.to_string().contains(words), "no `{words}` in: {problem}");
}

#[test]
fn an_id_is_given_once() {
    let again = GOOD.split_once("\n\n").expect("a head and a claim").1;
    let problem = read(&format!("{GOOD}\n{again}")).expect_err("both have the same id");
    assert_eq!(problem.to_string(), "test.toml:15:6: the id `time-wait-fails` is taken; ids are unique");
    assert_eq!(read("format = \"errnoscope-claim-list/1\"\n").expect_err("nothing").message, "no claims");
}

#[test]
fn the_built_in_claims_are_sound() {
    let claims = embedded();
    let problems = suite::claims::check(&claims, &catalogue());
    assert!(problems.is_empty(), "{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    assert_eq!(claims.claims.len(), 30);
    let schema = jsonschema::validator_for(&claim::schema()).expect("the schema is one");
    let json: Value = toml::from_str(claim::TEXT).expect("it is TOML");
    if let Some(error) = schema.iter_errors(&json).next() {
        panic!("{error} at {}", error.instance_path());
    }
}

/// What SEMANTICS says of them: of Linux 6.18 observed, of macOS expected only.
#[rstest]
#[case("eaddrinuse-means-port-in-use", ClaimVerdict::Mixed, ClaimVerdict::Mixed)]
#[case("eaddrnotavail-means-address-not-local", ClaimVerdict::Mixed, ClaimVerdict::Mixed)]
#[case("linux-eaddrnotavail-means-range-full", ClaimVerdict::Mixed, ClaimVerdict::Unknown)]
#[case("macos-tracer-sees-only-eaddrinuse", ClaimVerdict::Unknown, ClaimVerdict::Mixed)]
#[case("linux-reuseport-prevents-eaddrnotavail", ClaimVerdict::Refuted, ClaimVerdict::Unknown)]
#[case("macos-reuseport-is-for-udp", ClaimVerdict::Unknown, ClaimVerdict::Refuted)]
#[case("skip-on-eaddrinuse-alone", ClaimVerdict::Mixed, ClaimVerdict::Mixed)]
#[case("reuseaddr-on-new-socket-is-enough", ClaimVerdict::Refuted, ClaimVerdict::Confirmed)]
#[case("time-wait-makes-connect-fail", ClaimVerdict::Mixed, ClaimVerdict::Confirmed)]
#[case("exhaustion-is-per-server", ClaimVerdict::Mixed, ClaimVerdict::Refuted)]
fn the_ten_claims_are_what_they_are(#[case] id: &str, #[case] linux: ClaimVerdict, #[case] macos: ClaimVerdict) {
    let claim = of_baseline().iter().find(|claim| claim.id == id).unwrap_or_else(|| panic!("no claim is called {id}"));
    assert_eq!(claim.systems[&Os::Linux].verdict, linux, "{claim:#?}");
    assert_eq!(claim.systems[&Os::Macos].verdict, ClaimVerdict::Unknown, "nobody has run it on a Mac");
    assert_eq!(claim.systems[&Os::Macos].expected.verdict, macos, "{claim:#?}");
}

/// What the baseline says of each claim.
fn of_baseline() -> &'static [Judged] {
    static JUDGED: LazyLock<Vec<Judged>> = LazyLock::new(|| judge(&embedded().claims, [baseline()]));
    &JUDGED
}

#[test]
fn what_is_only_expected_makes_no_verdict() {
    let judged = judge(&embedded().claims, &[nothing_observed()]);
    for claim in &judged {
        for on in claim.systems.values() {
            assert_eq!((on.verdict, on.observed.calls), (ClaimVerdict::Unknown, 0), "{}", claim.id);
        }
        assert!(claim.systems.values().any(|on| on.expected.calls > 0), "{} is about nothing", claim.id);
    }
    // What is expected of Linux is what Linux does.
    for (expected, observed) in judged.iter().zip(of_baseline()) {
        let linux = &observed.systems[&Os::Linux];
        if linux.verdict != ClaimVerdict::Unknown {
            assert_eq!(expected.systems[&Os::Linux].expected.verdict, linux.verdict, "{}", observed.id);
        }
    }
}

/// The verdict of two parts together.
fn both(a: ClaimVerdict, b: ClaimVerdict) -> ClaimVerdict {
    match (a, b) {
        (ClaimVerdict::Unknown, other) | (other, ClaimVerdict::Unknown) => other,
        (a, b) if a == b => a,
        _ => ClaimVerdict::Mixed,
    }
}

#[test]
fn reports_together_say_what_they_say_apart() {
    let claims = embedded().claims;
    let some = baseline().findings.iter().step_by(5).cloned().collect();
    let whole = &baseline().with(some);
    let all = judge(&claims, [whole]);
    for parts in [2, 7] {
        let part = |rest: usize| {
            let indexed = whole.findings.iter().enumerate().filter(|(index, _)| index % parts == rest);
            Report { findings: indexed.map(|(_, finding)| finding.clone()).collect(), ..whole.clone() }
        };
        let (first, second): (Report, Vec<Report>) = (part(0), (1..parts).map(part).collect());
        let [a, b] = [judge(&claims, [&first]), judge(&claims, &second)];
        let together = judge(&claims, second.iter().chain([&first, &first]));
        assert_eq!(together, all, "neither order nor repetition makes a difference");
        for ((a, b), all) in a.iter().zip(&b).zip(&all) {
            for os in Os::ALL {
                let [a, b, all] = [a, b, all].map(|judged| &judged.systems[os]);
                assert_eq!(both(a.verdict, b.verdict), all.verdict);
                assert_eq!(a.observed.calls + b.observed.calls, all.observed.calls);
            }
        }
    }
}

#[test]
fn a_claim_and_its_negation_are_never_both_confirmed() {
    let claims = embedded().claims;
    let negations: Vec<Claim> = claims
        .iter()
        .cloned()
        .map(|mut claim| {
            let span = claim.holds.span();
            claim.holds = toml::Spanned::new(span, claim.holds.into_inner().negated());
            claim
        })
        .collect();
    for (claim, negation) in of_baseline().iter().zip(judge(&negations, [baseline()])) {
        for os in Os::ALL {
            let [on, not] = [claim, &negation].map(|judged| &judged.systems[os]);
            for (on, not) in [(&on.observed, &not.observed), (&on.expected, &not.expected)] {
                let opposite = match on.verdict {
                    ClaimVerdict::Confirmed => ClaimVerdict::Refuted,
                    ClaimVerdict::Refuted => ClaimVerdict::Confirmed,
                    same => same,
                };
                assert_eq!(not.verdict, opposite, "{} on {os}", claim.id);
                assert_eq!(on.answers[&ClaimAnswer::Holds], not.answers[&ClaimAnswer::Fails]);
            }
        }
    }
}

#[test]
fn groups_drop_no_call() {
    for Judged { id, systems, .. } in of_baseline() {
        for tally in systems.values().flat_map(|on| [&on.observed, &on.expected]) {
            assert_eq!(tally.groups.iter().map(|group| group.calls).sum::<u64>(), tally.calls, "{id}");
            assert_eq!(tally.answers.values().sum::<u64>(), tally.calls, "{id}");
        }
    }
}

/// What such a kernel chose on the day of the report must not decide.
#[test]
fn where_a_kernel_may_choose_a_claim_is_neither_confirmed_nor_refuted() {
    for outcome in ["EADDRNOTAVAIL", "EINPROGRESS"] {
        let text = GOOD
            .replace(
                "{ call = \"bind\", axes = { holder_state = \"time-wait\" } }",
                "{ scenario = \"connect.odd-range\", cause = \"ports-exhausted\", os = \"linux\" }",
            )
            .replace("{ not = { scenario = \"bind.port-held\" } },", "")
            .replace("EADDRINUSE", outcome);
        let claims = read(&text).unwrap_or_else(|problem| panic!("{problem}")).claims;
        let judged = judge(&claims, [baseline()]);
        let linux = &judged[0].systems[&Os::Linux];
        assert_eq!(
            (linux.verdict, linux.observed.answers[&ClaimAnswer::Either]),
            (ClaimVerdict::Mixed, linux.observed.calls)
        );
    }
}

#[track_caller]
fn says(arguments: &[&str], code: i32, out: &[&str], err: &[&str]) -> Said {
    let said = run(arguments);
    said.check(code, out, err);
    said
}

#[test]
fn the_table_has_a_line_for_each_claim() {
    let said = says(
        &["claims", BASELINE],
        0,
        &["observed  linux 6.18", "* expected by documents and sources, not observed"],
        &[],
    );
    for claim in embedded().claims {
        let line = said.out.lines().find(|line| line.starts_with(claim.id.get_ref().as_str()));
        assert!(line.is_some_and(|line| line.len() <= 80), "{}:\n{}", claim.id.get_ref(), said.out);
    }
}

#[test]
fn a_claim_that_is_named_is_told_in_full() {
    let words = [
        "said in  trippy issue 1246: “Testing on macOS",
        "linux  unknown: nothing there is what it is about",
        "macos  unknown: not observed; expected mixed",
        "see     errnoscope run -v 'bind.broadcast[protocol=udp,address=limited]'",
        "holds if  ",
    ];
    let said = says(&["claims", "macos-tracer-*", BASELINE], 0, &words, &[]);
    assert!(!said.out.contains("eaddrinuse-means"));
    let all = says(&["claims", BASELINE, "--verbose"], 0, &["exhaustion-is-per-server\n", "errnoscope run -v '"], &[]);
    assert_eq!(all.out.matches("\n  linux  ").count(), 30);
}

#[test]
fn json_is_what_its_schema_says() {
    let said = says(&["claims", BASELINE, "--json"], 0, &["errnoscope-claims/3"], &[]);
    let json = said.json_of("claims");
    assert_eq!(json["claims"].as_array().map(Vec::len), Some(30));
    let list = run(&["schema", "claim-list"]).json();
    assert_eq!(list, claim::schema());
}

#[test]
fn what_is_wrong_is_said() {
    says(&["claims"], 2, &[], &["Usage: errnoscope claims"]);
    says(&["claims", "time-wait-*"], 2, &[], &["no report among the arguments"]);
    says(&["claims", BASELINE, "time-wait-makes-conect-fail"], 3, &[], &["did you mean time-wait-makes-connect-fail"]);
    says(&["claims", "/nonexistent/report.json"], 2, &[], &["cannot read /nonexistent/report.json"]);
    says(&["claims", "scenarios/claims.toml"], 2, &[], &["no errnoscope report"]);
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("mine.toml");
    let file = path.to_str().expect("UTF-8");
    std::fs::write(&path, GOOD).expect("written");
    says(&["claims", BASELINE, "--claims", file], 0, &["time-wait-fails", "mixed"], &[]);
    says(&["lint", file], 0, &["1 file, 0 scenarios, 0 cases: no problems"], &[]);
    std::fs::write(&path, GOOD.replace("call = \"bind\"", "call = \"send\"")).expect("written");
    let words = ["mine.toml:8:9", "`time-wait-fails` selects nothing"];
    says(&["claims", BASELINE, "--claims", file], 2, &[], &[&words[..], &["1 problem in a claims file"]].concat());
    says(&["lint", file], 2, &words, &[]);
}

#[test]
fn a_report_as_markdown_has_the_claims_after_the_answer() {
    let said = says(&["report", BASELINE], 0, &["| a counter-example |"], &[]);
    let place = |heading: &str| said.out.find(heading).unwrap_or_else(|| panic!("no {heading}"));
    assert!(
        place("## The answer") < place("## What people say") && place("## What people say") < place("## Scenarios")
    );
    for claim in embedded().claims {
        assert!(said.out.contains(&format!("| {} |", claim.statement)), "{}", claim.statement);
    }
}
