//! The library by itself: what it needs, and what a program does with it.

use crate::common::reports::{small, text_of};
use crate::harness::test;

#[path = "../examples/findings.rs"]
#[expect(dead_code, reason = "its main() is the example's")]
mod findings;

/// What it takes to use the library alone. Everything else of Cargo.toml comes with the feature `cli`. What these need
/// in turn is in `ci/library.txt`.
#[test]
fn the_library_needs_few_crates() {
    let manifest = include_str!("../Cargo.toml").parse::<toml::Table>().expect("a manifest");
    let is_needed = |value: &toml::Value| value.get("optional").and_then(toml::Value::as_bool) != Some(true);
    let targets = manifest["target"].as_table().expect("a table").values();
    let tables =
        std::iter::once(&manifest["dependencies"]).chain(targets.filter_map(|target| target.get("dependencies")));
    let all = tables.flat_map(|table| table.as_table().expect("a table"));
    let mut needed: Vec<&str> = all.filter(|(_, value)| is_needed(value)).map(|(name, _)| name.as_str()).collect();
    needed.sort_unstable();
    let expected = [
        "chrono",
        "fixedbitset",
        "indexmap",
        "regex-lite",
        "schemars",
        "semver",
        "serde",
        "serde_json",
        "sha2",
        "strsim",
        "thiserror",
        "toml",
        "wildmatch",
    ];
    assert_eq!(needed, expected);
}

#[test]
fn the_example_finds_what_it_says() {
    let report = small();
    let text = String::from_utf8(text_of(report)).expect("JSON");
    let mut out = Vec::new();
    findings::tell(&text, &mut out).expect("a report");
    let out = String::from_utf8(out).expect("text");
    let told = out.lines().filter(|line| line.starts_with("connect.")).count();
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let failed =
        json["findings"].as_array().expect("findings").iter().filter(|finding| {
            finding["subject"]["call"] == "connect" && finding["outcome"]["errno"] == "EADDRNOTAVAIL"
        });
    let failed = failed.count();
    assert!(failed > 0 && told == failed, "{told} of {failed}: {out}");
    let last = out.lines().last().expect("a line");
    assert!(last.starts_with("conflate: ") && !last.ends_with(" 0 wrong"), "{last}");
}

#[test]
fn a_report_that_contradicts_itself_is_no_report() {
    let text = String::from_utf8(text_of(small())).expect("JSON");
    let first = text.lines().find(|line| line.contains("\"verdict\":\"match\"")).expect("a match");
    let other = text.replacen(first, &first.replace("\"verdict\":\"match\"", "\"verdict\":\"mismatch\""), 1);
    let why = findings::tell(&other, &mut Vec::new()).expect_err("its verdict does not follow").to_string();
    assert!(why.contains("says `mismatch`, and what it has makes it `match`"), "{why}");
}
