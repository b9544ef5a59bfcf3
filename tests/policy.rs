//! Policies: their format, the laws of deriving one, and what is known of the built-in ones. No kernel, no privileges.

use std::collections::{BTreeMap, BTreeSet};

use crate::common;
use crate::common::reports::{BASELINE, baseline, baselines};
use crate::common::tries;
use crate::harness::test;
use errnoscope::knowledge::policy::derive::{Derived, decides, derive, targets};
use errnoscope::knowledge::policy::diff::diff;
use errnoscope::knowledge::policy::evaluate::{Evaluation, evaluate};
use errnoscope::knowledge::policy::evidence::{Basis, CausedSignal, Evidence, LeftOut, evidence, is_of_a_probe};
use errnoscope::knowledge::policy::right::{Consequence, decision, right};
use errnoscope::knowledge::policy::{self, Action, BUILT_IN, Policy, ProbeCall, Rule, Signal, built_in};
use errnoscope::plan::{Hello, PROTOCOL, Unsupported};
use errnoscope::report::finding::{Missing, Report};
use errnoscope::scenario::{cases, compile};
use errnoscope::suite::catalogue::Catalogue;
use errnoscope::suite::{catalogue, judge};
use errnoscope::words::cause::Cause;
use errnoscope::words::errno::ErrnoName;
use errnoscope::words::names::{Family, Os, PortChoice, Protocol, Reuse};
use errnoscope::words::problem::Problem;
use proptest::prelude::*;

const HEAD: &str = "format = \"errnoscope-policy/1\"\nname = \"test\"\nwhy = \"a test\"\n";
const LAST: &str = "[[rule]]\naction = \"abort\"\nwhy = \"otherwise\"\n";

fn read(text: String) -> Result<Policy, Problem> {
    policy::read("test.toml", String::leak(text))
}

#[track_caller]
fn named(name: &str) -> Policy {
    built_in(name).expect("it is built in").unwrap_or_else(|problem| panic!("{problem}"))
}

fn errno(name: &str) -> ErrnoName {
    ErrnoName::new(name).expect("a known errno")
}

/// A TCP probe over IPv4 with SO_REUSEPORT.
fn signal(os: Os, call: ProbeCall, port: PortChoice, name: &str) -> Signal {
    Signal { os, call, port, protocol: Protocol::Tcp, family: Family::Ipv4, reuse: Reuse::Port, errno: errno(name) }
}

#[test]
fn the_built_in_policies_are_sound() {
    let names: BTreeSet<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), BUILT_IN.len());
    let schema = jsonschema::validator_for(&policy::schema()).expect("the schema is one");
    for (name, text) in BUILT_IN {
        let policy = named(name);
        assert_eq!(policy.name, *name);
        let again = read(policy::write(&policy, "written by a test")).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(again, policy, "what is written is read");
        let json: serde_json::Value = toml::from_str(text).expect("it is TOML");
        if let Some(error) = schema.iter_errors(&json).next() {
            panic!("{name}: {error} at {}", error.instance_path());
        }
    }
}

#[test]
fn the_default_policy_is_what_the_baselines_give() {
    let catalogue = Catalogue::embedded().unwrap_or_else(|problems| panic!("{}", problems[0]));
    // Other stacks take hours, and may lag: REPORT.md says which catalogue each ran.
    assert_eq!(baseline().catalogue, catalogue.facts(), "{BASELINE} is of other scenarios: ci/generated.sh --write");
    for report in baselines() {
        assert!(report.complete, "{}", report.host.stack);
    }
    let derived = derive(&evidence(baselines()));
    assert_eq!(derived.policy, named(policy::DEFAULT), "ci/generated.sh --write derives it again");
}

#[test]
fn a_stack_that_passes_for_a_system_is_no_evidence_about_it() {
    let mut stranger = baseline().clone();
    let alone = evidence([&stranger]);
    assert!(!alone.items.is_empty());
    stranger.host.stack = "gvisor 1.0".into();
    let Evidence { items, left_out, stacks, behind: _, expected } = evidence([&stranger]);
    assert!(items.is_empty() && stacks.is_empty() && expected.is_empty());
    assert_eq!(left_out, BTreeMap::from([(LeftOut::OtherStack, stranger.findings.len() as u64)]));
}

/// The place and the words of what is wrong with `text`.
#[track_caller]
fn fault(text: &str, place: (usize, usize), words: &[&str]) {
    let problem = read(text.to_owned()).expect_err("it is wrong");
    assert_eq!(problem.line_and_column(), place, "{problem}");
    for word in words {
        assert!(problem.to_string().contains(word), "no `{word}` in: {problem}");
    }
}

#[test]
fn faults_have_a_place_and_say_what_was_expected() {
    fault("format = \n", (1, 10), &["test.toml:1:10"]);
    fault(&format!("{HEAD}colour = 1\n{LAST}"), (4, 1), &["unknown field `colour`", "`rule`"]);
    for read in ["/2", "/3"] {
        fault(&HEAD.replace("/1", read), (1, 1), &["missing field `rule`"]);
    }
    fault(&format!("{}{LAST}", HEAD.replace("/1", "/4")), (1, 10), &["errnoscope-policy/4", "errnoscope-policy/2"]);
    fault(&format!("{}{LAST}", HEAD.replace("a test", " ")), (3, 7), &["empty text"]);
    let rule = |conditions: &str| format!("{HEAD}[[rule]]\n{conditions}\naction = \"skip\"\nwhy = \"so\"\n{LAST}");
    fault(&rule("os = \"windows\""), (5, 6), &["windows", "linux", "macos"]);
    fault(&rule("errno = \"EADRINUSE\""), (5, 9), &["unknown errno `EADRINUSE`"]);
    fault(&rule("errno = [\"EADDRINUSE\", \"NONE\"]"), (5, 24), &["unknown errno `NONE`"]);
    fault(&rule("call = \"listen\""), (5, 8), &["listen", "SO_ERROR"]);
    fault(&rule("port = 80"), (5, 8), &["a value or an array of values"]);
    fault(&rule("port = []"), (5, 8), &["an empty array"]);
    fault(&rule("os = [\"linux\", \"linux\"]"), (5, 6), &["twice"]);
    fault(&rule("uid = 0"), (5, 1), &["unknown field `uid`", "`errno`"]);
    fault(&format!("{HEAD}[[rule]]\naction = \"retry\"\nwhy = \"so\"\n"), (5, 10), &["retry", "fail-probe"]);
    fault(&format!("{HEAD}[[rule]]\naction = \"skip\"\n"), (4, 1), &["missing field `why`"]);
}

#[test]
fn a_policy_decides_everything_and_each_rule_something() {
    let rule = |conditions: &str| format!("[[rule]]\n{conditions}\naction = \"skip\"\nwhy = \"so\"\n");
    fault(&format!("{HEAD}rule = []\n"), (1, 1), &["no rules"]);
    fault(&format!("{HEAD}{}", rule("os = \"linux\"")), (4, 1), &["the last rule has conditions"]);
    fault(&format!("{HEAD}{LAST}{LAST}"), (7, 1), &["rule 2 can never apply", "rule 1 above it has no conditions"]);
    let twice = rule("errno = \"EINVAL\"");
    fault(&format!("{HEAD}{twice}{}{LAST}", twice.replace("errno", "os = \"linux\"\nerrno")), (8, 1), &["rule 2"]);
    // socket() knows no port, and macOS has no ENONET.
    fault(&format!("{HEAD}{}{LAST}", rule("call = \"socket\"\nport = \"explicit\"")), (4, 1), &["rule 1"]);
    fault(&format!("{HEAD}{}{LAST}", rule("os = \"macos\"\nerrno = \"ENONET\"")), (4, 1), &["rule 1"]);
}

#[test]
fn the_first_rule_that_applies_decides() {
    let text = format!(
        "{HEAD}[[rule]]\ncall = \"bind\"\nerrno = [\"EADDRINUSE\", \"EACCES\"]\naction = \"skip\"\nwhy = \"so\"\n\
         [[rule]]\nerrno = \"EADDRINUSE\"\naction = \"fail-probe\"\nwhy = \"so\"\n{LAST}"
    );
    let policy = read(text).unwrap_or_else(|problem| panic!("{problem}"));
    let of = |call, errno| policy.decide(&signal(Os::Linux, call, PortChoice::Explicit, errno));
    assert_eq!(of(ProbeCall::Bind, "EADDRINUSE"), (0, Action::Skip));
    assert_eq!(of(ProbeCall::Connect, "EADDRINUSE"), (1, Action::FailProbe));
    assert_eq!(of(ProbeCall::Connect, "EACCES"), (2, Action::Abort));
}

#[test]
fn an_action_is_right_where_it_is_the_right_one() {
    for &taken in Action::ALL {
        for &wanted in Action::ALL {
            let decision = decision(taken, wanted);
            assert_eq!(decision.kind == Consequence::Right, taken == wanted);
            assert_eq!(decision.cost == 0, taken == wanted);
        }
    }
    for &cause in Cause::ALL {
        assert_eq!(right(cause, errno("EINPROGRESS")).action, Action::Proceed, "{cause}");
    }
    assert_eq!(right(Cause::None, errno("EADDRNOTAVAIL")).action, Action::Abort);
    assert_eq!(right(Cause::TtlExceeded, errno("EHOSTUNREACH")).action, Action::Proceed);
}

/// The findings of a host with this OS that can run nothing: only what the other one is expected to do is in them.
fn expected(os: Os) -> Evidence {
    let hello = Hello {
        protocol: PROTOCOL,
        os,
        release: errnoscope::scenario::rule::NEWEST.to_string().into(),
        arch: "none".into(),
        stack: None,
        isolation: "none".into(),
        capabilities: BTreeMap::new(),
        sysctls: BTreeMap::new(),
    };
    let catalogue = catalogue::Catalogue::embedded().unwrap_or_else(|problems| panic!("{}", problems[0]));
    let lacking = Unsupported { need: errnoscope::words::names::Need::NetworkNamespace, reason: "a test".into() };
    let mut findings = Vec::new();
    for scenario in &catalogue.scenarios {
        for case in cases(scenario) {
            let compiled = compile(scenario, &case, Os::Linux).unwrap_or_else(|problem| panic!("{problem}"));
            let why = Missing::Unsupported(lacking.clone());
            // What did not run has no trail that would tell which calls no probe makes.
            let others = compiled.subjects.iter().filter(|subject| {
                let ops = compiled.plan.steps[..=subject.step as usize].iter().map(|step| &step.op);
                !is_of_a_probe(subject.socket, ops)
            });
            let others: Vec<u32> = others.map(|subject| subject.ordinal).collect();
            let all = judge::without_run(scenario, &case, &compiled, &hello, &why);
            findings.extend(all.into_iter().filter(|finding| !others.contains(&finding.subject.ordinal)));
        }
    }
    evidence(&[Report::new(&hello, catalogue.facts(), common::started(), true, 1, findings)])
}

#[test]
fn what_was_not_observed_is_expected() {
    let evidence = expected(Os::Linux);
    assert!(evidence.items.len() > 1_000);
    assert!(evidence.items.iter().all(|item| !item.basis.is_of_a_host() && item.signal.os == Os::Macos));
    assert_eq!(evidence.expected, BTreeSet::from([Os::Macos]));
}

/// How many wrong decisions of this kind have a signal like this and this cause.
fn wrong(
    evaluation: &Evaluation,
    kind: Consequence,
    call: ProbeCall,
    port: PortChoice,
    name: &str,
    cause: Cause,
) -> u64 {
    let found = evaluation.wrong.iter().filter(|wrong| {
        (wrong.kind, wrong.call, wrong.port, wrong.cause) == (kind, call, port, cause) && wrong.errno == errno(name)
    });
    found.map(|wrong| wrong.count).sum()
}

#[test]
fn what_is_known_of_the_others_is_found() {
    let linux = expected(Os::Macos);
    use ProbeCall::{Bind, Connect};
    let conflate = evaluate(&named("conflate"), &linux);
    let exhausted = Cause::PortsExhausted;
    assert!(wrong(&conflate, Consequence::Hides, Bind, PortChoice::Ephemeral, "EADDRINUSE", exhausted) > 0);
    assert!(wrong(&conflate, Consequence::Hides, Connect, PortChoice::Ephemeral, "EADDRNOTAVAIL", exhausted) > 0);
    assert!(
        wrong(&conflate, Consequence::Hides, Bind, PortChoice::Explicit, "EADDRNOTAVAIL", Cause::AddressNotLocal) > 0
    );
    let in_use = evaluate(&named("addr-in-use-only"), &linux);
    assert!(
        wrong(&in_use, Consequence::GivesUp, Connect, PortChoice::Explicit, "EADDRNOTAVAIL", Cause::TupleInUse) > 0
    );
    assert!(wrong(&in_use, Consequence::Hides, Bind, PortChoice::Ephemeral, "EADDRINUSE", exhausted) > 0);
    let next = evaluate(&named("next-port-on-both"), &linux);
    assert!(wrong(&next, Consequence::Hides, Bind, PortChoice::Explicit, "EADDRNOTAVAIL", Cause::AddressNotLocal) > 0);
    for evaluation in [conflate, in_use, next] {
        assert!(!evaluation.is_right());
    }
    for os in [Os::Linux, Os::Macos] {
        assert!(evaluate(&named("evidence"), &expected(os)).is_right(), "what {os} leaves to expect");
    }
}

/// What tells a busy 4-tuple from exhaustion on Linux, and a busy port from everything on macOS.
#[test]
fn the_evidence_decides_the_tracer_pattern() {
    let evidence = named("evidence");
    use Action::{Abort, FailProbe, Skip};
    use PortChoice::{Ephemeral, Explicit};
    use ProbeCall::{Bind, Connect, SoError};
    for (os, call, port, errno, action) in [
        (Os::Linux, Bind, Explicit, "EADDRINUSE", Skip),
        (Os::Linux, Connect, Explicit, "EADDRNOTAVAIL", Skip),
        (Os::Linux, Bind, Ephemeral, "EADDRINUSE", Abort),
        (Os::Linux, Connect, Ephemeral, "EADDRNOTAVAIL", Abort),
        (Os::Linux, Bind, Explicit, "EADDRNOTAVAIL", Abort),
        (Os::Linux, Connect, Explicit, "ENETUNREACH", FailProbe),
        (Os::Linux, SoError, Explicit, "ETIMEDOUT", FailProbe),
        (Os::Macos, Bind, Explicit, "EADDRINUSE", Skip),
        (Os::Macos, Connect, Explicit, "EADDRINUSE", Skip),
        (Os::Macos, Bind, Explicit, "EADDRNOTAVAIL", Abort),
        (Os::Macos, Connect, Ephemeral, "EADDRNOTAVAIL", Abort),
        (Os::Macos, Connect, Explicit, "EHOSTUNREACH", FailProbe),
        (Os::Macos, SoError, Explicit, "ETIMEDOUT", FailProbe),
    ] {
        let signal = signal(os, call, port, errno);
        assert_eq!(evidence.decide(&signal).1, action, "{signal}");
    }
}

/// What nobody has seen is an error.
#[test]
fn an_errno_that_nobody_has_seen_stops_the_trace() {
    let evidence = named("evidence");
    for signal in Signal::all().filter(|signal| signal.errno == errno("ENOTTY")) {
        assert_eq!(evidence.decide(&signal).1, Action::Abort, "{signal}");
    }
}

#[test]
fn a_difference_reads_like_a_rule() {
    let (conflate, in_use) = (named("conflate"), named("addr-in-use-only"));
    assert_eq!(diff(&conflate, &conflate, Signal::all()), []);
    for second in [&in_use, &named("evidence"), &named("next-port-on-both")] {
        let differences = diff(&conflate, second, Signal::all());
        let counted: u64 = differences.iter().map(|difference| difference.signals).sum();
        let differ = Signal::all().filter(|signal| conflate.decide(signal).1 != second.decide(signal).1);
        assert_eq!(counted, differ.count() as u64);
    }
    let differences = diff(&conflate, &in_use, Signal::all());
    let first = &differences[0];
    assert_eq!((first.first, first.second), (Action::Skip, Action::Abort));
    assert_eq!(first.when["errno"], BTreeSet::from(["EADDRNOTAVAIL"]));
    assert_eq!(first.when["call"], BTreeSet::from(["bind", "connect"]));
}

#[test]
fn an_ambiguity_is_a_result() {
    let signal = signal(Os::Linux, ProbeCall::Connect, PortChoice::Explicit, "EADDRNOTAVAIL");
    let item = |cause, scenario: &str| CausedSignal {
        signal,
        cause,
        basis: Basis::Observed,
        scenario: scenario.to_owned(),
        case: format!("{scenario}[]"),
    };
    let evidence = Evidence {
        items: vec![item(Cause::TupleInUse, "a"), item(Cause::AddressNotLocal, "b"), item(Cause::AddressNotLocal, "b")],
        ..Evidence::default()
    };
    let Derived { policy, ambiguities, .. } = derive(&evidence);
    let [ambiguity] = &ambiguities[..] else { panic!("{ambiguities:?}") };
    // To skip would hide a real error, to stop loses a trace: the first is worse.
    assert_eq!((ambiguity.safe, policy.decide(&signal).1), (Action::Abort, Action::Abort));
    assert_eq!(ambiguity.sides.len(), 2);
    assert!(ambiguity.separate.iter().any(|how| how.contains("getifaddrs")), "{:?}", ambiguity.separate);
    let evaluation = evaluate(&policy, &evidence);
    assert_eq!((evaluation.total.right, evaluation.total.unavoidable), (2, 1));
    assert!(evaluation.is_right());
}

fn items() -> impl Strategy<Value = Vec<CausedSignal>> {
    let calls: Vec<(ProbeCall, PortChoice)> = vec![
        (ProbeCall::Socket, PortChoice::None),
        (ProbeCall::Bind, PortChoice::Explicit),
        (ProbeCall::Bind, PortChoice::Ephemeral),
        (ProbeCall::Connect, PortChoice::Explicit),
        (ProbeCall::Connect, PortChoice::Ephemeral),
        (ProbeCall::SoError, PortChoice::Explicit),
    ];
    let errnos = vec!["EADDRINUSE", "EADDRNOTAVAIL", "EAGAIN", "EINPROGRESS", "EHOSTUNREACH"];
    let item = (
        prop::sample::select(Os::ALL),
        prop::sample::select(calls),
        prop::sample::select(Protocol::ALL),
        prop::sample::select(&[Family::Ipv4, Family::Ipv6][..]),
        prop::sample::select(&[Reuse::None, Reuse::Port][..]),
        prop::sample::select(errnos),
        prop::sample::select(Cause::ALL),
        0..4_u8,
    );
    let item = item.prop_map(|(os, (call, port), protocol, family, reuse, name, cause, scenario)| CausedSignal {
        signal: Signal { os, call, port, protocol, family, reuse, errno: errno(name) },
        cause,
        basis: match os {
            Os::Linux => Basis::Observed,
            Os::Macos if scenario < 2 => Basis::XnuRun,
            Os::Macos => Basis::Expected,
        },
        scenario: format!("s{scenario}"),
        case: format!("s{scenario}[{cause}]"),
    });
    prop::collection::vec(item, 0..14)
}

fn of(items: Vec<CausedSignal>) -> Evidence {
    Evidence { items, ..Evidence::default() }
}

/// Nothing can be left out: no rule, no condition, no value. What a rule does names its errnos, unless it stops.
fn irredundant(rules: &[Rule], items: &[CausedSignal]) {
    let (targets, _) = targets(items);
    assert!(decides(rules, &targets));
    for index in 0..rules.len() - 1 {
        let mut fewer = rules.to_vec();
        fewer.remove(index);
        assert!(!decides(&fewer, &targets), "rule {} is not needed: {rules:#?}", index + 1);
        macro_rules! needed {
            ($($field:ident),+) => {$(
                let values = &rules[index].when.$field;
                if !values.is_empty() && (stringify!($field) != "errno" || rules[index].action == Action::Abort) {
                    let mut looser = rules.to_vec();
                    looser[index].when.$field.clear();
                    assert!(!decides(&looser, &targets), "{} of rule {}: {rules:#?}", stringify!($field), index + 1);
                }
                for value in 0..if values.len() > 1 { values.len() } else { 0 } {
                    let mut narrower = rules.to_vec();
                    narrower[index].when.$field.remove(value);
                    assert!(!decides(&narrower, &targets), "{} of rule {}: {rules:#?}", stringify!($field), index + 1);
                }
            )+};
        }
        needed!(os, call, port, protocol, family, reuse, errno);
    }
}

proptest! {
    #![proptest_config(tries(64))]

    /// What is derived from findings decides all of them right, as far as one can, and says nothing twice.
    #[test]
    fn a_derived_policy_is_right_and_has_nothing_to_spare(items in items()) {
        let evidence = of(items);
        let Derived { policy, ambiguities, .. } = derive(&evidence);
        let evaluation = evaluate(&policy, &evidence);
        prop_assert!(evaluation.is_right(), "{:#?}", evaluation.wrong);
        prop_assert_eq!(ambiguities.is_empty(), evaluation.wrong.is_empty());
        irredundant(&policy.rules, &evidence.items);
        for rule in &policy.rules[..policy.rules.len() - 1] {
            prop_assert!(rule.forced.as_ref().is_some_and(|forced| forced.observed + forced.xnu_run + forced.expected > 0), "{rule:?}");
        }
    }

    /// The order of the findings makes no difference.
    #[test]
    fn the_order_of_findings_makes_no_difference(
        (one, other) in items().prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle())),
    ) {
        prop_assert_eq!(derive(&of(one)), derive(&of(other)));
    }

    /// A derived policy is one that can be written and read, unless a rule of it decides only the impossible.
    #[test]
    fn a_derived_policy_reads_as_it_was_written(items in items()) {
        let policy = derive(&of(items)).policy;
        let again = read(policy::write(&policy, "")).unwrap_or_else(|problem| panic!("{problem}"));
        prop_assert_eq!(again, policy);
    }
}

#[test]
fn the_committed_evidence_has_nothing_to_spare_and_rests_on_findings() {
    for rule in named("evidence").rules {
        let forced = rule.forced.expect("each rule says what it rests on");
        assert!(forced.observed + forced.xnu_run + forced.expected > 0 && !forced.example.is_empty());
    }
}
