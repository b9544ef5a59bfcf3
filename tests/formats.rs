//! No renderer invents or drops a finding: every format, read back by somebody else's parser, has the same findings
//! with the same verdicts and outcomes, for any part of a report.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::reports::{HOSTILE, check_shown, evidence, hostile, small, text_of};
use crate::common::said::{run, run_in};
use crate::common::tries;
use crate::harness::test;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use errnoscope::render::document::Titles;
use errnoscope::render::{github, html, junit, markdown, summary};
use errnoscope::report::claim;
use errnoscope::report::compare::compare;
use errnoscope::report::compat::{Compat, Sweep};
use errnoscope::report::finding::{Finding, Missing, Report, Verdict};
use proptest::prelude::*;
use roxmltree::{Document, Node};
use serde_json::{Value, json};

/// Each finding as far as every format tells it: case, call, verdict, outcome; what was not made has the outcome `-`.
type Findings = Vec<[String; 4]>;

/// How many findings have a verdict and an outcome.
type Counts = BTreeMap<(String, String), u64>;

fn any_part() -> impl Strategy<Value = Report> {
    let all = &small().findings;
    prop::collection::vec(prop::bool::ANY, all.len()).prop_map(|keep| {
        let kept = all.iter().zip(keep).filter(|(_, keep)| *keep).map(|(finding, _)| finding.clone());
        small().with(kept.collect())
    })
}

fn sorted(mut findings: Findings) -> Findings {
    findings.sort();
    findings
}

/// What the report has, to hold the formats against.
fn findings(report: &Report) -> Findings {
    let of = |finding: &errnoscope::report::finding::Finding| {
        let outcome = finding.outcome().map_or("-", |outcome| outcome.name());
        [&*finding.case, finding.subject.call.as_str(), finding.verdict().as_str(), outcome].map(str::to_owned)
    };
    sorted(report.findings.iter().map(of).collect())
}

fn counts(findings: &Findings) -> Counts {
    let mut counts = Counts::new();
    for [_, _, verdict, outcome] in findings {
        *counts.entry((verdict.clone(), outcome.clone())).or_default() += 1;
    }
    counts
}

fn by_verdict(findings: &Findings) -> BTreeMap<String, u64> {
    let mut verdicts = BTreeMap::new();
    for [_, _, verdict, _] in findings {
        *verdicts.entry(verdict.clone()).or_default() += 1;
    }
    verdicts
}

/// `{"ok": true}`, `{"errno": "EADDRINUSE", …}` or `{"blocked_ms": 20}`.
fn outcome(json: &Value) -> String {
    match json["errno"].as_str() {
        Some(errno) => errno.to_owned(),
        None if json["ok"] == true => "ok".to_owned(),
        None if json["blocked_ms"].is_number() => "blocked".to_owned(),
        None => "-".to_owned(),
    }
}

fn in_json(report: &Report) -> Findings {
    let json: Value = serde_json::from_slice(&text_of(report)).unwrap();
    let told = json["findings"].as_array().unwrap().iter().map(|finding| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let outcome = outcome(&finding["outcome"]);
        [text(&finding["case"]), text(&finding["subject"]["call"]), text(&finding["verdict"]), outcome]
    });
    let told: Findings = told.collect();
    let mut summary: BTreeMap<String, u64> = serde_json::from_value(json["summary"].clone()).unwrap();
    summary.retain(|_, count| *count > 0);
    assert_eq!(by_verdict(&told), summary);
    sorted(told)
}

/// The case and call, and the verdict: of a finding that is as expected JUnit says no more.
fn in_junit(report: &Report) -> Vec<[String; 3]> {
    let xml = junit::junit(report).unwrap();
    let document = Document::parse(&xml).unwrap();
    let root = document.root_element();
    let number = |name| root.attribute(name).unwrap().parse::<usize>().unwrap();
    let mut told = Vec::new();
    for node in document.descendants().filter(|node| node.has_tag_name("testcase")) {
        let (case, call) = node.attribute("name").unwrap().rsplit_once(' ').unwrap();
        let said = node.children().find(Node::is_element);
        let verdict = said.map_or("match", |said| said.attribute("type").unwrap());
        told.push([case, call, verdict].map(str::to_owned));
    }
    assert_eq!(number("tests"), told.len());
    told.sort();
    told
}

/// What `run --verbose` prints.
fn on_the_terminal(report: &Report) -> Findings {
    let text = anstream::adapter::strip_str(&summary::everything(report, 100)).to_string();
    let mut told = Findings::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let verdict = line.split("  ").next().unwrap_or_default().to_lowercase();
        if verdict.parse::<Verdict>().is_ok() && !line.starts_with(' ') {
            told.push([lines.next().unwrap().trim().to_owned(), String::new(), verdict, String::new()]);
        }
        let Some(last) = told.last_mut() else { continue };
        if let Some(call) = line.strip_prefix("  call      ") {
            last[1] = call.split([' ', ',']).next().unwrap().to_owned();
        }
        if let Some(observed) = line.strip_prefix("  observed  ") {
            let first = observed.split(' ').next().unwrap();
            last[3] = if first == "nothing" { "-".to_owned() } else { first.to_owned() };
        }
    }
    sorted(told)
}

/// The totals line, and the table above it.
fn in_the_summary(report: &Report) -> BTreeMap<String, u64> {
    let text = anstream::adapter::strip_str(&summary::summary(report, 100)).to_string();
    let total = text.lines().find(|line| line.contains(" finding")).unwrap();
    let (ran, verdicts) = total.split_once(": ").unwrap();
    let findings: u64 = ran.rsplit(", ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(findings, report.findings.len() as u64, "{total}");
    let mut told = BTreeMap::new();
    for part in verdicts.split(", ").filter(|part| *part != "nothing ran") {
        let (count, verdict) = part.split_once(' ').unwrap();
        told.insert(verdict.to_owned(), count.parse::<u64>().unwrap());
    }
    let is_expected = told.keys().all(|verdict| ["match", "unsupported"].contains(&&**verdict));
    let is_new = !is_expected || report.findings.iter().any(Finding::is_unstable);
    let first = if is_new { "not as expected: " } else { "nothing " };
    assert!(text.starts_with(first), "{text}");
    let mut lines = text.lines().skip(2);
    let heads: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().skip(2).collect();
    let mut table: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines.take_while(|line| !line.is_empty() && !told.is_empty()) {
        let numbers = line.split_whitespace().skip(2).map(|number| number.parse::<u64>().unwrap_or(0));
        for (head, number) in heads.iter().zip(numbers) {
            *table.entry((*head).to_owned()).or_default() += number;
        }
    }
    assert_eq!(table, told, "{text}");
    told
}

/// The cells of the table below the heading.
fn table<'t>(markdown: &'t str, heading: &str) -> Vec<Vec<&'t str>> {
    let (_, below) = markdown.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = below.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn in_markdown(report: &Report) -> Counts {
    let claims = claim::embedded().unwrap_or_else(|problem| panic!("{problem}")).claims;
    let reports = [report.clone()];
    let text = markdown::markdown(&reports, &claim::judge(&claims, &reports), &Titles::new(), markdown::Extent::Whole);
    let mut scenarios: BTreeMap<&str, u64> = BTreeMap::new();
    for finding in &report.findings {
        *scenarios.entry(&finding.scenario).or_default() += 1;
    }
    let told: BTreeMap<String, u64> = table(&text, "Scenarios")
        .into_iter()
        .map(|row| (row[0].trim_start_matches('[').split(']').next().unwrap().to_owned(), row[2].parse().unwrap()))
        .collect();
    assert_eq!(told, scenarios.into_iter().map(|(id, count)| (id.to_owned(), count)).collect());
    let counted = table(&text, "All findings, counted").into_iter();
    let outcome = |cell: &str| if cell.is_empty() { "-".to_owned() } else { cell.to_owned() };
    counted.map(|row| ((row[0].to_owned(), outcome(row[1])), row[2].parse().unwrap())).collect()
}

/// The data behind the page's filters.
fn in_html(report: &Report) -> Findings {
    let claims = claim::embedded().unwrap_or_else(|problem| panic!("{problem}")).claims;
    let reports = [report.clone()];
    let page = html::html(&reports, &claim::judge(&claims, &reports), &Titles::new());
    let (_, data) = page.split_once("id=\"index\">").unwrap();
    let gzip = STANDARD.decode(data.split('<').next().unwrap()).unwrap();
    let index: Value = serde_json::from_reader(flate2::read::GzDecoder::new(&*gzip)).unwrap();
    let place = index["stacks"].as_array().unwrap().iter().position(|stack| stack["observed"] == true);
    let (calls, given) = (index["calls"].as_array().unwrap(), &index["given"]);
    let told = calls.iter().enumerate().map(|(number, call)| {
        let case = &index["cases"][call[0].as_u64().unwrap() as usize]["id"];
        let answer = &index["answers"][given[place.unwrap()][number].as_u64().unwrap() as usize];
        [case, &call[1], &answer["verdict"], &answer["outcomes"][0]].map(|text| text.as_str().unwrap_or("-").to_owned())
    });
    sorted(told.collect())
}

/// All of it is new beside a report of nothing.
fn in_a_comparison(report: &Report) -> Findings {
    let comparison = compare(&report.with(Vec::new()), report);
    let json = serde_json::to_value(&comparison).unwrap();
    let told = json["changes"].as_array().unwrap().iter().map(|change| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let current = &change["current"];
        [text(&change["case"]), text(&change["call"]), text(&current["verdict"]), text(&current["outcome"])]
    });
    let told: Findings = told.collect();
    let groups: usize = comparison.groups().iter().map(|group| group.changes.len()).sum();
    assert_eq!(groups, told.len());
    let page = github::summary(&comparison, github::SUMMARY);
    if !told.is_empty() {
        let cases = page.split("\n### ").find(|part| part.starts_with("What changed")).unwrap();
        let rows = cases.lines().filter(|line| line.starts_with('|')).skip(2);
        let counted: usize =
            rows.map(|row| row.trim_end_matches(" |").rsplit("| ").next().unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(counted, told.len(), "{page}");
    }
    sorted(told)
}

/// Which findings say something, and why the others do not.
fn in_compat(report: &Report) -> BTreeMap<String, u64> {
    let mut sweep = Sweep::default();
    sweep.add("sha256:0123456789abcdef", report);
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for entry in Compat::of(&sweep).calls {
        let support = &entry.on["linux"];
        let why = support.missing.values().next().map_or("observed", String::as_str);
        *told.entry(why.to_owned()).or_default() += 1;
    }
    told
}

fn check(report: &Report) -> Result<(), TestCaseError> {
    let (all, verdicts) = (findings(report), by_verdict(&findings(report)));
    prop_assert_eq!(&in_json(report), &all, "JSON");
    let mut three: Vec<[String; 3]> =
        all.iter().map(|[case, call, verdict, _]| [case, call, verdict].map(String::clone)).collect();
    three.sort();
    prop_assert_eq!(in_junit(report), three, "JUnit");
    prop_assert_eq!(&on_the_terminal(report), &all, "terminal");
    prop_assert_eq!(&in_the_summary(report), &verdicts, "summary");
    prop_assert_eq!(in_markdown(report), counts(&all), "Markdown");
    prop_assert_eq!(&in_html(report), &all, "HTML");
    prop_assert_eq!(&in_a_comparison(report), &all, "comparison");
    let mut known = verdicts;
    let observed: u64 = ["match", "mismatch"].iter().filter_map(|verdict| known.remove(*verdict)).sum();
    known.extend((observed > 0).then(|| ("observed".to_owned(), observed)));
    prop_assert_eq!(in_compat(report), known, "compat");
    Ok(())
}

#[test]
fn all_of_a_report_is_in_every_format() {
    assert!(Verdict::ALL.iter().all(|verdict| small().summary()[verdict] > 0), "the report has every verdict");
    check(small()).unwrap();
    check(&small().with(Vec::new())).unwrap();
}

proptest! {
    #![proptest_config(tries(32))]

    #[test]
    fn any_part_of_a_report_is_in_every_format(report in any_part()) {
        check(&report)?;
    }
}

/// A report of so many findings of one scenario, with these axes.
fn many(findings: usize, axes: impl Fn(usize) -> Vec<(&'static str, usize)>) -> Report {
    let first = &small().findings[0];
    let findings = (0..findings).map(|number| {
        let mut evidence = evidence(first);
        evidence.subject.ordinal = number as u32 + 1;
        let axes = axes(number);
        evidence.axes = axes.iter().map(|(axis, value)| ((*axis).into(), value.to_string().into())).collect();
        let place: Vec<String> = axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
        evidence.case = format!("{}[{}]", evidence.scenario, place.join(",")).into();
        evidence.subject.ordinal = number as u32 + 1;
        evidence.trail.clear();
        evidence.elsewhere.clear();
        evidence.witness.clear();
        let why = if number % 3 == 0 { Missing::Broken("x".into()) } else { Missing::TimedOut("y".into()) };
        Finding::without_outcome(evidence, why)
    });
    small().with(findings.collect())
}

/// Files from elsewhere may have more findings of one scenario than any catalogue. Each shape took time as the square
/// of them.
#[test]
fn a_report_of_many_findings_of_one_scenario_is_told_whole() {
    const MANY: usize = 50_000;
    let shapes: [&dyn Fn(usize) -> Vec<(&'static str, usize)>; 3] =
        [&|number| vec![("n", number)], &|_| vec![("n", 1)], &|number| {
            vec![("a", number % 100), ("b", number / 100 % 100), ("c", number / 10_000)]
        }];
    for axes in shapes {
        let report = many(MANY, axes);
        let text = markdown::markdown(&[report], &[], &Titles::new(), markdown::Extent::Whole);
        let counted = table(&text, "All findings, counted");
        let counted: usize = counted.iter().map(|row| row[2].parse::<usize>().unwrap()).sum();
        assert_eq!(counted, MANY);
        let scenario = text.split("\n## ").find(|part| part.contains("\nReproduce: ")).unwrap();
        let rows = scenario.lines().filter(|line| line.starts_with('|'));
        let calls =
            rows.filter_map(|row| row.trim_matches('|').rsplit('|').next().unwrap().trim().parse::<usize>().ok());
        assert_eq!(calls.sum::<usize>(), MANY);
    }
}

#[test]
fn text_from_outside_controls_no_terminal_page_or_log() {
    let (report, places) = hostile();
    for place in [".host.release", ".host.arch", ".host.sysctls.*", ".findings.*.case", ".findings.*.axes.*"] {
        assert!(places.iter().any(|known| known == place), "{place} is not among {places:?}");
    }
    let claims = claim::embedded().unwrap_or_else(|problem| panic!("{problem}")).claims;
    let judged = claim::judge(&claims, std::slice::from_ref(report));
    let comparison = compare(small(), report);
    check_shown("the summary", &summary::summary(report, 100));
    check_shown("--verbose", &summary::everything(report, 100));
    check_shown(
        "Markdown",
        &markdown::markdown(std::slice::from_ref(report), &judged, &Titles::new(), markdown::Extent::Whole),
    );
    check_shown("JUnit", &junit::junit(report).unwrap());
    check_shown("annotations", &github::annotations(&comparison));
    check_shown("a job's summary", &github::summary(&comparison, github::SUMMARY));
    let page = html::html(std::slice::from_ref(report), &judged, &Titles::new());
    // Not the program's own script.
    check_shown("the page", page.split("<script>").next().unwrap());
    for data in ["index", "details"] {
        let (_, data) = page.split_once(&format!("id=\"{data}\">")).unwrap();
        let gzip = STANDARD.decode(data.split('<').next().unwrap()).unwrap();
        let data: Value = serde_json::from_reader(flate2::read::GzDecoder::new(&*gzip)).unwrap();
        check_texts(&data);
    }
    // Data stays what it was, and is shown without harm.
    let written = String::from_utf8(text_of(report)).unwrap();
    check_shown("JSON", &written);
    assert_eq!(&serde_json::from_str::<Report>(&written).unwrap(), report);
    let json: Value = serde_json::from_str(&written).unwrap();
    assert!(json["host"]["arch"].as_str().unwrap().ends_with(HOSTILE));
}

fn check_texts(value: &Value) {
    match value {
        Value::String(text) => check_shown("the page's data", &text.replace('\n', "\u{0}")),
        Value::Array(items) => items.iter().for_each(check_texts),
        Value::Object(entries) => {
            for (name, value) in entries {
                check_shown("the page's data", &name.replace('\n', "\u{0}"));
                check_texts(value);
            }
        }
        _ => {}
    }
}

/// A report as if it had come from behind a command.
fn behind() -> Report {
    let mut report = small().clone();
    report.host.behind = Some("ssh mac.example".into());
    report
}

/// Whoever reads what is made of a report sees that somebody else said it.
#[test]
fn what_came_from_behind_a_command_is_marked() {
    let place = tempfile::tempdir().unwrap();
    let newer = {
        let mut newer = small().clone();
        newer.host.release = "6.19.1".into();
        newer.host.stack = "linux 6.19".into();
        newer
    };
    for (name, report) in [("here.json", small()), ("there.json", &behind()), ("newer.json", &newer)] {
        std::fs::write(place.path().join(name), text_of(report)).unwrap();
    }
    let run = |arguments: &[&str]| run_in(place.as_ref(), arguments);
    for (arguments, mark) in [
        (&["report", "FILE"][..], "| linux 6.18† |"),
        (&["report", "FILE", "--html", "-"], "<th scope=\"row\">linux 6.18†</th>"),
        (&["claims", "FILE"], "observed  linux 6.18†"),
        (&["claims", "FILE", "time-wait-makes-connect-fail"], "† linux 6.18: as a program behind `ssh mac.example`"),
        (&["claims", "FILE", "--json"], "\"linux 6.18\": [\n      \"ssh mac.example\""),
        (&["compat", "FILE"], "\"behind\": \"ssh mac.example\""),
        (&["boundaries", "FILE", "newer.json"], "6.18.44†"),
        (&["boundaries", "FILE", "newer.json", "--json"], "\"behind\": \"ssh mac.example\""),
        (&["compare", "FILE", "newer.json"], "behind `ssh"),
        (&["policy", "derive", "FILE"], "of linux 6.18†"),
        (&["policy", "derive", "FILE", "-o", "-"], "# observed: linux 6.18†"),
        (&["policy", "evaluate", "FILE"], "of linux 6.18†"),
        (&["policy", "evaluate", "FILE", "--json"], "\"ssh mac.example\""),
        (&["condense", "FILE"], "\"behind\":true"),
        (&["explain", "connect EADDRNOTAVAIL", "-v", "--report", "FILE"], "6.18†"),
    ] {
        let with = |file: &str| {
            let own: Vec<&str> = arguments.iter().map(|word| if *word == "FILE" { file } else { word }).collect();
            run(&own).out
        };
        let (here, there) = (with("here.json"), with("there.json"));
        assert!(there.contains(mark), "{arguments:?} does not say `{mark}`:\n{there}");
        assert!(!here.contains(mark) && !here.contains('†'), "{arguments:?} says it of this host:\n{here}");
    }
}

/// Readers refuse what they do not know, so that a shape has one number. A line of the file below is never changed for
/// another: a version that has been released stays what it is.
const KNOWN: &str = "tests/golden/formats.txt";

#[test]
fn a_change_of_a_format_is_a_change_of_its_version() {
    let help = run(&["schema", "--help"]).out;
    let (_, values) = help.split_once("Possible values:").unwrap();
    let names = values.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split(':').next());
    // `list` prints no version: it is a list of what this very version has.
    let names: Vec<&str> = names.filter(|name| *name != "list").collect();
    assert!(names.len() > 15 && names.contains(&"report") && names.contains(&"plan"), "{help}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(KNOWN);
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines: BTreeMap<&str, &str> = known.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut current = Vec::new();
    for name in names {
        let mut schema = run(&["schema", name]).check(0, &[], &[]).json();
        let title = schema["title"].as_str().unwrap().to_owned();
        assert!(title.rsplit_once('/').is_some_and(|(_, version)| version.parse::<u32>().is_ok()), "{name}: {title}");
        only_shape(&mut schema);
        current.push((name, title, format!("sha256:{}", errnoscope::words::digest::sha256([schema.to_string()]))));
    }
    for (name, title, digest) in &current {
        match lines.get(&**title) {
            Some(known) if known == digest => {}
            Some(_) => panic!(
                "`errnoscope schema {name}` is no longer what `{title}` was: raise its number, where `{title}` is in src, and then add \
                 its line to {KNOWN} with UPDATE_EXPECT=1. Only the line of a version that was never released may be taken out."
            ),
            None if std::env::var_os("UPDATE_EXPECT").is_some() => drop(lines.insert(title, digest)),
            None => panic!("{KNOWN} does not have `{title}`: UPDATE_EXPECT=1 adds its line"),
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let text: String = lines.iter().map(|(title, digest)| format!("{title} {digest}\n")).collect();
        std::fs::write(path, text).unwrap();
    }
}

/// Without what is said in words, and in one order. A word of a vocabulary is the same word with a description.
fn only_shape(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields
                .retain(|name, value| !(["title", "description", "$comment"].contains(&&**name) && value.is_string()));
            fields.sort_keys();
            fields.values_mut().for_each(only_shape);
            let is_text = fields.get("type").is_some_and(|kind| kind == "string");
            if let Some(word) = fields.get("const").filter(|_| is_text).cloned() {
                *schema = json!({ "enum": [word], "type": "string" });
                return;
            }
            if let Some(Value::Array(words)) = fields.get_mut("enum") {
                words.sort_by_key(Value::to_string);
            }
            let Some(Value::Array(mut choices)) = fields.shift_remove("oneOf") else { return };
            let own = |choice: Value| choice["enum"].as_array().cloned().unwrap_or_default();
            let is_word = |choice: &mut Value| choice.get("enum").is_some();
            let mut words: Vec<Value> = choices.extract_if(.., is_word).flat_map(own).collect();
            words.sort_by_key(Value::to_string);
            let words = (!words.is_empty()).then(|| json!({ "enum": words, "type": "string" }));
            match words {
                Some(words) if choices.is_empty() => *schema = words,
                words => {
                    choices.extend(words);
                    choices.sort_by_key(Value::to_string);
                    fields.insert("oneOf".to_owned(), choices.into());
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(only_shape),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every command that reads reports says the same of one that an earlier version wrote.
#[test]
fn a_report_of_an_earlier_version_is_refused_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let current = String::from_utf8(text_of(small())).unwrap();
    let old = current.replace("errnoscope-report/3", "errnoscope-report/2").replace("\"ordinal\":1,", "");
    // As jq writes it: the format comes after what no longer can be read.
    let sorted = {
        let mut value: Value = serde_json::from_str(&old.replace("report/2", "report/1")).unwrap();
        value.sort_all_objects();
        value.to_string()
    };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, old.as_bytes()).unwrap();
    for (name, bytes) in [
        ("good.json", current.as_bytes()),
        ("two.json", old.as_bytes()),
        ("one.json", sorted.as_bytes()),
        ("two.json.gz", &encoder.finish().unwrap()),
    ] {
        std::fs::write(place.path().join(name), bytes).unwrap();
    }
    for (file, format) in [("two.json", 2), ("one.json", 1), ("two.json.gz", 2)] {
        for arguments in [
            &["report", file][..],
            &["report", "good.json", file, "--html", "out.html"],
            &["compare", file, "good.json"],
            &["compare", "good.json", file],
            &["compare", file, "good.json", "--accept"],
            &["claims", file],
            &["compat", file],
            &["boundaries", "good.json", file],
            &["condense", file],
            &["policy", "derive", file],
            &["policy", "evaluate", file],
            &["policy", "diff", "conflate", "evidence", "--report", file],
            &["explain", "connect EADDRNOTAVAIL", "--report", file],
        ] {
            let said = run_in(place.as_ref(), arguments);
            let format = format!("{file}: its format `errnoscope-report/{format}` is that of an earlier version");
            let again = format!("`errnoscope run --json {file}`");
            said.check(2, &[], &["error: ", &format, "reads `errnoscope-report/3`", &again]);
            assert_eq!((said.err.lines().count(), &*said.out), (1, ""), "{arguments:?}: {}", said.err);
        }
    }
    assert_eq!(std::fs::read(place.path().join("two.json")).unwrap(), old.as_bytes());
}
