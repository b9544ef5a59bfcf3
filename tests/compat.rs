//! Compatibility data and boundaries: laws that hold for any reports, what is printed, and the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use crate::common;
use crate::common::reports::{BASELINE, SMALL, baseline, evidence, repeated, small, text_of};
use crate::common::said::{Said, run, run_in};
use crate::common::tries;
use crate::harness::test;
use errnoscope::plan::{Outcome, Unsupported};
use errnoscope::render::json;
use errnoscope::report::compat::boundaries::{Boundaries, Side, boundaries};
use errnoscope::report::compat::{self, Basis, Compat, Sweep};
use errnoscope::report::finding::{Finding, Missing, Report, TrailEntry, Unjudged, Verdict};
use errnoscope::words::errno::Errno;
use errnoscope::words::names::{Call, Need, Os};
use proptest::prelude::*;
use serde_json::Value;

/// A run of the findings on another kernel, or on another stack that has this for a kernel's release.
fn on(release: &str, stack: Option<&str>, findings: Vec<Finding>) -> Report {
    let mut report = small().with(findings);
    report.host.release = release.into();
    let version: Vec<&str> = release.split(['.', '-']).collect();
    report.host.stack = stack.map_or(format!("linux {}.{}", version[0], version[1]), str::to_owned).into();
    report
}

fn found(finding: &Finding, outcome: Outcome) -> Finding {
    Finding::observed(evidence(finding), outcome)
}

fn errno(raw: i32) -> Outcome {
    Outcome::Errno(Errno::from_raw(Os::Linux, raw))
}

/// The findings that have an outcome and are no kernel's choice: what is made of these differs.
fn plain() -> Vec<Finding> {
    let is_plain = |finding: &&Finding| finding.verdict() == Verdict::Match && finding.expected().len() == 1;
    small().findings.iter().filter(is_plain).cloned().collect()
}

fn sweep<'r>(reports: impl IntoIterator<Item = &'r Report>) -> Sweep {
    let mut sweep = Sweep::default();
    for report in reports {
        sweep.add(&digest(report), report);
    }
    sweep
}

fn digest(report: &Report) -> String {
    format!("sha256:{}", errnoscope::words::digest::sha256([text_of(report)]))
}

type Says = BTreeMap<(String, Call), Result<BTreeSet<String>, String>>;

/// What the report says of each call, as the compatibility data should have it: outcomes, or the verdict instead.
fn said_by(report: &Report) -> Says {
    let says = |finding: &Finding| match (finding.verdict(), finding.distribution(), finding.outcome()) {
        (Verdict::Match | Verdict::Mismatch, Some(distribution), _) => {
            Ok(distribution.outcomes.keys().cloned().collect())
        }
        (Verdict::Match | Verdict::Mismatch, None, Some(outcome)) => Ok(BTreeSet::from([outcome.name().to_owned()])),
        (verdict, ..) => Err(verdict.to_string()),
    };
    report.findings.iter().map(|finding| ((finding.case.to_string(), finding.subject.call), says(finding))).collect()
}

/// Every outcome of every report stands in exactly one value of its call and stack, whose evidence it is, and nothing
/// else stands there.
#[track_caller]
fn nothing_is_dropped_or_invented(reports: &[Report], compat: &Compat) {
    let by_digest: BTreeMap<String, Says> = reports.iter().map(|report| (digest(report), said_by(report))).collect();
    for entry in &compat.calls {
        for (stack, support) in &entry.on {
            let mut seen: BTreeSet<&str> = support.missing.keys().map(String::as_str).collect();
            for value in &support.values {
                let mut outcomes: BTreeSet<String> = BTreeSet::new();
                for id in compat.evidence(stack, support, value) {
                    assert!(seen.insert(id), "{id} is evidence twice: {entry:?}");
                    let said = &by_digest[&compat.reports[id].digest];
                    outcomes.extend(said[&(entry.case.clone(), entry.call)].clone().unwrap());
                }
                if value.basis == Basis::Observed {
                    assert_eq!(outcomes, value.outcomes, "{entry:?}");
                    assert!(!outcomes.is_empty(), "a value without evidence: {entry:?}");
                } else {
                    assert_eq!((outcomes.len(), support.values.len()), (0, 1), "{entry:?}");
                }
            }
            for (id, source) in compat.reports.iter().filter(|(_, source)| source.stack == *stack) {
                assert!(seen.contains(&**id), "what {id} says is lost: {entry:?}");
                let why = match by_digest[&source.digest].get(&(entry.case.clone(), entry.call)) {
                    None => Some("absent".to_owned()),
                    Some(said) => said.clone().err(),
                };
                assert_eq!(why.as_ref(), support.missing.get(id), "{entry:?}");
            }
        }
    }
}

/// Each place where a value ends and the next begins: the call, the versions, what was and what is.
type Steps = BTreeSet<(String, Call, String, String, Vec<String>, Vec<String>)>;

fn steps_of(compat: &Compat) -> Steps {
    let mut steps = Steps::new();
    for entry in &compat.calls {
        for pair in entry.on.values().flat_map(|support| support.values.windows(2)) {
            let (until, since) = (pair[0].until.as_ref().unwrap(), pair[1].since.as_ref().unwrap());
            assert_eq!((&until.version, &until.before), (&since.after, &since.version), "{entry:?}");
            assert!(since.after < since.version, "{entry:?}");
            let [from, to] = [0, 1].map(|side: usize| pair[side].outcomes.iter().cloned().collect());
            steps.insert((
                entry.case.clone(),
                entry.call,
                since.after.to_string(),
                since.version.to_string(),
                from,
                to,
            ));
        }
    }
    steps
}

fn steps(boundaries: &Boundaries) -> Steps {
    let mut steps = Steps::new();
    for boundary in &boundaries.boundaries {
        for class in &boundary.classes {
            for case in &class.cases {
                let [from, to] = [&class.from, &class.to].map(|names| names.iter().cloned().collect());
                let (after, since) = (boundary.after.to_string(), boundary.since.to_string());
                assert!(steps.insert((case.clone(), class.call, after, since, from, to)), "twice: {case}");
            }
        }
    }
    steps
}

/// What can become of a finding in another run.
fn changed(finding: &Finding, how: u8) -> Option<Finding> {
    let mut new = finding.clone();
    match how {
        0 => return None,
        1 => new = found(finding, Outcome::Ok),
        2 => new = found(finding, errno(40)),
        3 => new = Finding::without_outcome(evidence(finding), Missing::Broken("killed by signal 9".into())),
        4 => new = repeated(finding, &[(finding.outcome_name(), 2), ("ELOOP", 3)]),
        _ => {}
    }
    Some(new)
}

fn any_report() -> impl Strategy<Value = Report> {
    let hosts = [
        ("5.10.0-35-amd64", None),
        ("6.9.1", None),
        ("6.16.12", None),
        ("6.16.12-cloud", None),
        ("6.17.13", None),
        ("6.18.44", None),
        ("4.4.0", Some("gvisor 20221219.0")),
    ];
    let findings = plain();
    let ways = prop::collection::vec(0..12_u8, findings.len());
    (prop::sample::select(hosts.to_vec()), ways).prop_map(move |((release, stack), ways)| {
        let findings = findings.iter().zip(ways).filter_map(|(finding, how)| changed(finding, how));
        on(release, stack, findings.collect())
    })
}

proptest! {
    #![proptest_config(tries(12))]

    #[test]
    fn every_finding_is_evidence_for_one_value(reports in prop::collection::vec(any_report(), 1..6)) {
        let sweep = sweep(&reports);
        let compat = Compat::of(&sweep);
        nothing_is_dropped_or_invented(&reports, &compat);
        prop_assert_eq!(steps_of(&compat), steps(&boundaries(&sweep)));
        let json = serde_json::to_value(&compat).unwrap();
        let schema = jsonschema::validator_for(&compat::schema()).unwrap();
        prop_assert!(schema.is_valid(&json), "{:?}", schema.iter_errors(&json).next());
    }

    #[test]
    fn the_order_of_the_reports_is_nothing(reports in prop::collection::vec(any_report(), 1..5)) {
        let forth = sweep(&reports);
        let back = sweep(reports.iter().rev().chain(&reports));
        prop_assert_eq!(text(&Compat::of(&forth)), text(&Compat::of(&back)));
        prop_assert_eq!(boundaries(&forth), boundaries(&back));
    }
}

fn text(compat: &Compat) -> String {
    let mut text = Vec::new();
    json::write_compat(compat, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Three kernels, of which the last two give something else for all plain calls that succeeded in the first.
fn three() -> [Report; 3] {
    let findings = plain();
    let fail = |finding: &Finding| match finding.outcome() {
        Some(Outcome::Ok) => found(finding, errno(40)),
        _ => finding.clone(),
    };
    let failing: Vec<Finding> = findings.iter().map(fail).collect();
    [on("6.9.1", None, findings), on("6.16.12", None, failing.clone()), on("6.17.13", None, failing)]
}

#[test]
fn versions_are_numbers_and_neighbours_are_named() {
    let [first, second, third] = three();
    let compat = Compat::of(&sweep([&third, &first, &second]));
    let versions: Vec<String> = compat.stacks["linux"].versions.iter().map(ToString::to_string).collect();
    assert_eq!(versions, ["6.9.1", "6.16.12", "6.17.13"]);
    let entry = compat.calls.iter().find(|entry| entry.on["linux"].values.len() == 2).unwrap();
    let value = serde_json::to_value(&entry.on["linux"].values).unwrap();
    let was = serde_json::json!({ "basis": "observed", "outcomes": ["ok"],
        "until": { "version": "6.9.1", "before": "6.16.12" } });
    assert_eq!(value[0], was);
    assert_eq!(value[1]["since"], serde_json::json!({ "version": "6.16.12", "after": "6.9.1" }));
    assert_eq!((&value[1]["until"], &value[1]["refutes"][0]["outcome"]), (&Value::Null, &"ok".into()));
    // What a Mac does is expected by an authority, whose words are there.
    let there = &entry.on["macos"].values[0];
    assert_eq!(there.basis, Basis::Expected);
    assert!(!compat.references[&there.says[0].reference].is_empty());
}

/// A stack that calls itself by a kernel's release is still not that kernel.
#[test]
fn another_stack_is_on_nobody_s_line() {
    let [first, second, _] = three();
    let other = on("6.12.0", Some("gvisor 20241021.0"), second.findings.clone());
    let (without, with) = (sweep([&first, &second]), sweep([&first, &second, &other]));
    let [without, with] = [without, with].map(|sweep| (Compat::of(&sweep), boundaries(&sweep)));
    assert_eq!(without.1.boundaries, with.1.boundaries);
    for (entry, own) in with.0.calls.iter().zip(&without.0.calls) {
        assert_eq!(entry.on["linux"], own.on["linux"]);
        let [value] = &entry.on["gvisor 20241021.0"].values[..] else { panic!("{entry:?}") };
        assert!(value.since.is_none() && value.until.is_none(), "{entry:?}");
    }
}

#[test]
fn reports_of_one_version_that_disagree_are_shown_to() {
    let [first, second, _] = three();
    let again = Report { started: common::started(), ..on("6.9.1", None, second.findings.clone()) };
    let sweep = sweep([&first, &again]);
    let compat = Compat::of(&sweep);
    let ok = |finding: &&Finding| finding.outcome() == Some(&Outcome::Ok);
    let disagreeing = first.findings.iter().filter(ok).count();
    assert!(disagreeing > 5);
    assert_eq!(compat.stacks["linux"].unstable, disagreeing as u64);
    let ids: Vec<&String> = compat.reports.keys().collect();
    for entry in &compat.calls {
        let [value] = &entry.on["linux"].values[..] else { panic!("{entry:?}") };
        if value.outcomes.len() > 1 {
            let both: Vec<&String> = value.conflict.values().flatten().collect();
            assert_eq!((value.conflict["ELOOP"].len(), value.conflict["ok"].len(), both.len()), (1, 1, 2));
            assert!(ids.iter().all(|id| both.contains(id)));
        }
    }
    assert!(boundaries(&sweep).versions.is_empty());
}

/// Which of the outcomes that are all expected one run shows is chance, and no boundary.
#[test]
fn what_the_kernel_may_choose_is_one_value() {
    let free = small().findings.iter().find(|finding| finding.expected().len() > 1).unwrap();
    let [one, other] = [0, 1].map(|index| {
        let name = &free.expected()[index].outcome;
        let raw = errnoscope::words::errno::ErrnoName::new(name).unwrap().raw(Os::Linux).unwrap();
        vec![found(free, errno(raw))]
    });
    let sweep = sweep(&[on("6.9.1", None, one), on("6.16.12", None, other)]);
    let compat = Compat::of(&sweep);
    assert_eq!(compat.calls[0].on["linux"].values.len(), 1);
    assert_eq!(compat.calls[0].on["linux"].values[0].outcomes.len(), 2);
    assert_eq!(compat.stacks["linux"].unstable, 0);
    assert_eq!(boundaries(&sweep).boundaries, []);
}

/// The findings of a host that refuses an op for all of these.
fn refusing(need: Need) -> Vec<Finding> {
    let unsupported = Unsupported { need, reason: "set-option option={}: ENOPROTOOPT".into() };
    let refuse = |finding: &Finding| {
        let last = finding.trail.last().expect("it was run");
        let entry = TrailEntry { unsupported: Some(unsupported.clone()), outcome: None, ..(**last).clone() };
        let evidence = Unjudged { trail: vec![Arc::new(entry)], ..evidence(finding) };
        Finding::without_outcome(evidence, Missing::Unsupported(unsupported.clone()))
    };
    plain().iter().map(refuse).collect()
}

/// What a host lacks besides, such as a second user, another of the same kernel may have.
#[test]
fn an_op_that_only_one_of_two_kernels_refuses_is_a_boundary() {
    let sides = |before, now| -> Vec<(String, String, Side, usize)> {
        let found = boundaries(&sweep(&[on("6.9.1", None, before), on("6.16.12", None, now)])).boundaries;
        let told = found.iter().flat_map(|boundary| {
            assert!(boundary.classes.is_empty(), "{boundary:?}");
            let (after, since) = (boundary.after.to_string(), boundary.since.to_string());
            boundary.refused.iter().map(move |it| (after.clone(), since.clone(), it.by, it.cases.len()))
        });
        told.collect()
    };
    let cases = plain().iter().map(|finding| finding.case.clone()).collect::<BTreeSet<_>>().len();
    let told = |side| vec![("6.9.1".to_owned(), "6.16.12".to_owned(), side, cases)];
    assert_eq!(sides(refusing(Need::Linux), plain()), told(Side::Before));
    assert_eq!(sides(plain(), refusing(Need::Linux)), told(Side::Since));
    assert_eq!(sides(refusing(Need::Linux), refusing(Need::Linux)), []);
    assert_eq!(sides(refusing(Need::SecondUser), plain()), []);
}

#[test]
fn a_sysctl_that_only_one_of_two_kernels_has_is_a_boundary() {
    let newer = on("6.16.12", None, plain());
    let mut older = on("6.9.1", None, plain());
    assert!(older.host.sysctls.remove("net.ipv4.tcp_tw_reuse_delay").is_some());
    let found = boundaries(&sweep([&newer, &older])).boundaries;
    let [boundary] = &found[..] else { panic!("{found:?}") };
    assert_eq!((boundary.classes.len(), boundary.refused.len()), (0, 0));
    assert_eq!(boundary.environment[0].fact, "net.ipv4.tcp_tw_reuse_delay");
    // Another value may be the host's choice.
    let mut other = newer.clone();
    (other.host.release, other.host.stack) = ("6.17.13".into(), "linux 6.17".into());
    other.host.sysctls.insert("net.ipv4.tcp_tw_reuse_delay".into(), "0".into());
    assert_eq!(boundaries(&sweep([&newer, &other])).boundaries, []);
}

#[test]
fn a_large_sweep_stays_small() {
    let mut sweep = Sweep::default();
    let mut report = baseline().clone();
    for minor in 1..=15 {
        report.host.release = format!("6.{minor}.0").into();
        report.host.stack = format!("linux 6.{minor}").into();
        sweep.add(&digest_of_number(minor), &report);
    }
    let text = text(&Compat::of(&sweep));
    let calls = baseline().findings.len();
    // Half a kilobyte for each call.
    let most = calls << 9;
    assert!(text.len() < most, "{calls} calls on 15 kernels take {} bytes", text.len());
    assert_eq!(text.lines().filter(|line| line.starts_with("{\"scenario\"")).count(), calls);
}

fn digest_of_number(number: i32) -> String {
    format!("sha256:{}", errnoscope::words::digest::sha256([number.to_string()]))
}

/// A directory with the three reports.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        for (name, report) in ["a.json", "b.json", "c.json"].iter().zip(three()) {
            fs::write(place.0.path().join(name), text_of(&report)).unwrap();
        }
        place
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Said {
        run_in(self.0.as_ref(), arguments)
    }
}

#[test]
fn boundaries_are_told_by_classes() {
    let place = Place::new();
    let said = place.run(&["boundaries", "c.json", "a.json", "b.json"]);
    let words = ["linux  6.9.1, 6.16.12, 6.17.13", "between 6.9.1 and 6.16.12", "    ok → ELOOP", "1 boundary: "];
    said.check(0, &words, &[]).is_narrow();
    assert!(!said.out.contains("6.17.13\n  "), "nothing changed between the last two:\n{}", said.out);
    // A class shows one case, or all of them.
    let cases = |said: &Said| said.out.matches("protocol=").count();
    let named = place.run(&["boundaries", "c.json", "a.json", "b.json", "-v"]);
    assert!(cases(&said) < 10 && cases(&named) > 20, "{} {}", cases(&said), cases(&named));
    let json = place.run(&["boundaries", "a.json", "b.json", "--json"]).check(0, &[], &[]).json_of("boundaries");
    assert_eq!(json["boundaries"][0]["since"], "6.16.12");
    place.run(&["boundaries", "b.json", "c.json"]).check(0, &["nothing changed between them", "0 boundaries"], &[]);
    let alone = place.run(&["boundaries", "a.json", "a.json"]);
    alone.check(3, &[], &["no kernel in two versions: the reports are of linux (6.9.1)"]);
    run(&["boundaries"]).check(2, &[], &["<REPORT>"]);
}

/// The command that is printed shows the case that is named.
#[test]
fn a_class_can_be_reproduced() {
    let place = Place::new();
    let out = place.run(&["boundaries", "a.json", "b.json"]).check(0, &[], &[]).out.clone();
    let command = out.lines().find_map(|line| line.trim().strip_prefix("errnoscope run -v '")).unwrap();
    let case = command.trim_end_matches('\'');
    run(&["list", "--cases", case]).check(0, &[case], &[]);
}

#[test]
fn compat_writes_one_document() {
    let place = Place::new();
    let said = place.run(&["compat", "a.json", "b.json", "c.json"]);
    let json = said.check(0, &[], &[]).json_of("compat");
    assert_eq!(json["format"], "errnoscope-compat/2");
    let digests: BTreeSet<&str> =
        json["reports"].as_object().unwrap().values().flat_map(|r| r["digest"].as_str()).collect();
    assert_eq!(digests, three().iter().map(digest).collect::<Vec<_>>().iter().map(String::as_str).collect());
    place.run(&["compat", "a.json", "b.json", "c.json", "-o", "all.json"]).check(0, &[], &[]);
    assert_eq!(said.out, fs::read_to_string(place.0.path().join("all.json")).unwrap());
    place.run(&["compat", "a.json", "b.json", "c.json", "-o", "all.json.gz"]).check(0, &[], &[]);
    let gzip = fs::File::open(place.0.path().join("all.json.gz")).unwrap();
    assert_eq!(said.out, std::io::read_to_string(flate2::read::GzDecoder::new(gzip)).unwrap());
    place.run(&["compat", "a.json", "no-such-file"]).check(3, &[], &["`no-such-file` is neither a file nor"]);
    place.run(&["compat", "a.json", "-o", "no/such/place.json"]).check(2, &[], &["cannot write no/such/place.json"]);
    fs::write(place.0.path().join("bad.json"), "{}").unwrap();
    let bad = place.run(&["compat", "a.json", "bad.json", "-o", "none.json"]);
    bad.check(2, &[], &["bad.json:1:2: no errnoscope report"]);
    assert!(!place.0.path().join("none.json").exists());
}

/// The digest is that of the text, whether or not it is compressed.
#[test]
fn a_report_is_the_same_compressed() {
    let place = Place::new();
    let text = fs::read(place.0.path().join("a.json")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &text).unwrap();
    fs::write(place.0.path().join("a.json.gz"), encoder.finish().unwrap()).unwrap();
    let [plain, gzip] = ["a.json", "a.json.gz"].map(|name| place.run(&["compat", name]).check(0, &[], &[]).out.clone());
    assert_eq!(plain, gzip);
    let small = run(&["compat", SMALL]).check(0, &[], &[]).json_of("compat");
    assert_eq!(small["stacks"]["linux"]["calls"]["observed"], 65);
    let whole = run(&["compat", BASELINE]).check(0, &[], &[]).json_of("compat");
    let observed = baseline().findings.iter().filter(|finding| finding.outcome().is_some()).count();
    assert_eq!(whole["stacks"]["linux"]["calls"]["observed"], observed);
}
