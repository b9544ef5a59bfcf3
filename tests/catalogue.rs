//! The catalogue in the binary: sound as data, and true on this kernel.

use std::collections::BTreeMap;

use crate::common;
use crate::harness::test;
use errnoscope::knowledge::policy::evaluate::evaluate;
use errnoscope::knowledge::policy::evidence::{Basis, evidence};
use errnoscope::knowledge::policy::right::Consequence;
use errnoscope::knowledge::policy::{self, ProbeCall};
use errnoscope::report::finding::{self, Report, Verdict};
use errnoscope::scenario::cases;
use errnoscope::suite::catalogue::{Catalogue, check, check_place, embedded};
use errnoscope::words::cause::Cause;

fn catalogue() -> Catalogue {
    let catalogue = Catalogue::embedded();
    catalogue.unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

#[test]
fn every_scenario_is_sound() {
    let catalogue = catalogue();
    let mut problems = check(&catalogue);
    problems.extend(catalogue.scenarios.iter().filter_map(check_place));
    assert!(problems.is_empty(), "{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

/// `include_dir` embeds what is there when it is compiled: nothing in the tree may be missing from the binary.
#[test]
fn every_file_is_embedded() {
    fn count(dir: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable").path());
        entries
            .map(|path| {
                if path.is_dir() {
                    // What is known of stacks is no scenario.
                    if path.ends_with("scenarios/deviations") { 0 } else { count(&path) }
                } else {
                    usize::from(path.extension().is_some_and(|extension| extension == "toml"))
                }
            })
            .sum()
    }
    let files = count(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"));
    // One of them holds the claims, which are no scenarios.
    assert_eq!(embedded().len() + 1, files);
}

#[test]
fn case_ids_are_unique() {
    let mut seen = std::collections::BTreeSet::new();
    let catalogue = catalogue();
    for scenario in &catalogue.scenarios {
        for case in cases(scenario) {
            assert_eq!(scenario.case(&case.id).as_ref(), Some(&case));
            assert!(seen.insert(case.id.clone()), "{}", case.id);
        }
    }
    let scenario = catalogue.get("bind.port-held").expect("it is in the catalogue");
    let id = cases(scenario).next().expect("it has cases").id;
    for other in [&id[..id.len() - 1], &id.replace("ipv4", "ipv5"), &id.replace("]", ",more=1]"), &scenario.id, ""] {
        assert_eq!(scenario.case(other), None, "{other}");
    }
}

/// The whole catalogue on this kernel: no mismatch, nothing broken, nothing unwitnessed; what the host lacks is said.
#[test(Namespaces)]
fn every_case_matches_on_this_kernel() {
    let catalogue = catalogue();
    let ran = common::run_all(&catalogue);
    assert!(ran.complete);
    let mut wrong: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for finding in &ran.findings {
        match finding.verdict() {
            Verdict::Match | Verdict::Unsupported => {}
            verdict => {
                let reason = finding.reason().unwrap_or_default();
                let key = format!("{verdict} {} {}: {reason}", finding.scenario, finding.subject.call);
                wrong.entry(key).or_default().push(&finding.case);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let matched = ran.findings.iter().filter(|finding| finding.verdict() == Verdict::Match).count();
    assert!(matched > 1_500, "only {matched} findings match: too little of the catalogue can run here");

    let report = Report::new(&ran.hello, catalogue.facts(), common::started(), ran.complete, 1, ran.findings);
    let json = serde_json::to_value(&report).expect("a report is serializable");
    let schema = jsonschema::validator_for(&finding::schema()).expect("the schema is one");
    if let Some(error) = schema.iter_errors(&json).next() {
        panic!("{error} at {}", error.instance_path());
    }
    let read: Report = serde_json::from_value(json).expect("what was written is read");
    assert!(read == report, "reading a report gives the report");
    holds_the_committed_policy(&report);
}

/// What tracers do by default is what these findings give, and the other policies fail as they are known to.
fn holds_the_committed_policy(report: &Report) {
    let evidence = evidence(std::slice::from_ref(report));
    let built_in = |name: &str| policy::built_in(name).expect("built in").unwrap_or_else(|problem| panic!("{problem}"));
    let committed = built_in(policy::DEFAULT);
    assert!(evaluate(&committed, &evidence).is_right(), "{:#?}", evaluate(&committed, &evidence).wrong);
    let wrong = |name: &str, kind: Consequence, call: ProbeCall, errno: &str, cause: Cause| {
        let wrong = evaluate(&built_in(name), &evidence).wrong;
        let alike = wrong.iter().any(|wrong| {
            (wrong.kind, wrong.call, wrong.cause, wrong.errno.as_str(), wrong.basis)
                == (kind, call, cause, errno, Basis::Observed)
        });
        assert!(alike, "{name} {kind} {call} {errno} {cause}: {wrong:#?}");
    };
    wrong("conflate", Consequence::Hides, ProbeCall::Bind, "EADDRINUSE", Cause::PortsExhausted);
    wrong("conflate", Consequence::Hides, ProbeCall::Connect, "EADDRNOTAVAIL", Cause::PortsExhausted);
    wrong("addr-in-use-only", Consequence::GivesUp, ProbeCall::Connect, "EADDRNOTAVAIL", Cause::TupleInUse);
    wrong("addr-in-use-only", Consequence::Hides, ProbeCall::Bind, "EADDRINUSE", Cause::PortsExhausted);
    wrong("next-port-on-both", Consequence::Hides, ProbeCall::Bind, "EADDRNOTAVAIL", Cause::AddressNotLocal);
}

/// The committed schema is the one that the types give.
#[test]
fn the_schema_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("report.schema.json");
    let committed: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("report.schema.json is there"))
            .expect("it is JSON");
    assert!(committed == finding::schema(), "report.schema.json is stale: errnoscope schema > report.schema.json");
}

fn manual() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/README.md");
    std::fs::read_to_string(path).expect("the manual is there")
}

#[test]
fn the_manual_names_every_op() {
    let schema = schemars::schema_for!(errnoscope::plan::Op).to_value();
    let variants = schema["oneOf"].as_array().expect("an op is one of several");
    let names: Vec<&String> =
        variants.iter().filter_map(|variant| variant["properties"].as_object()?.keys().next()).collect();
    assert!(names.len() > 25, "{names:?}");
    let manual = manual();
    for name in names {
        assert!(manual.contains(&format!("`{name}`")), "scenarios/README.md does not name the op `{name}`");
    }
}
