//! The rules of ARCHITECTURE.md that a machine can hold.

use crate::harness::test;
use std::path::{Path, PathBuf};

/// Longer files want to be split by idea.
const MOST_LINES: usize = 600;

fn sources() -> Vec<(PathBuf, String)> {
    files(&root().join("src"))
}

/// Every file of Rust below a directory.
pub fn files(directory: &Path) -> Vec<(PathBuf, String)> {
    let rust = walk(directory).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let files: Vec<(PathBuf, String)> = rust
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("readable");
            (path, text)
        })
        .collect();
    assert!(files.len() > 20, "the files were found");
    files
}

/// Every file below a directory, in order.
fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    entries.sort();
    entries.into_iter().flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every line of code that breaks a rule.
#[track_caller]
fn none(rule: &str, breaks: impl Fn(&Path, &str) -> bool) {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let path = path.strip_prefix(root().join("src")).expect("below src").to_owned();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if breaks(&path, code) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn a_worker_never_sees_an_expectation() {
    const FORBIDDEN: &[&str] = &["scenario", "judge", "witness", "finding", "catalogue", "Expect"];
    none("the worker performs, and judges nothing", |path, line| {
        (path.starts_with("worker") || path == Path::new("worker.rs"))
            && FORBIDDEN.iter().any(|word| line.contains(word))
    });
}

#[test]
fn unsafe_says_why() {
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {") || code.contains("unsafe impl") {
                let said = (number.saturating_sub(6)..=number).any(|before| lines[before].contains("SAFETY:"));
                assert!(said, "{}:{}: unsafe without SAFETY:", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn every_module_says_what_it_is() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not begin with //!", path.display());
    }
}

#[test]
fn files_are_short() {
    for (path, text) in sources() {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        // The errno table is data.
        if !path.ends_with("errno.rs") {
            assert!(code.lines().count() <= MOST_LINES, "{} has {} lines", path.display(), code.lines().count());
        }
    }
}

#[test]
fn nothing_is_unfinished() {
    const FORBIDDEN: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore", "#[allow("];
    none("finished code only", |_, line| FORBIDDEN.iter().any(|word| line.contains(word)));
}

#[test]
fn architecture_is_short() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    assert!(text.lines().count() <= 120, "ARCHITECTURE.md has {} lines", text.lines().count());
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(long.is_empty(), "longer than 120 columns: {long:#?}");
}

/// What a code host still shows as a document.
#[test]
fn the_report_is_short() {
    let report = std::fs::read(root().join("REPORT.md")).unwrap();
    assert!(report.len() <= 60_000, "REPORT.md has {} bytes", report.len());
}

/// A file that nobody declares is never compiled, and libtest's `#[test]` is no test of a program with its own harness.
#[test]
fn no_test_is_left_out() {
    let all = std::fs::read_to_string(root().join("tests/all.rs")).expect("readable");
    for (path, text) in files(&root().join("tests")) {
        let name = path.strip_prefix(root().join("tests")).expect("below tests").with_extension("");
        let first = name.iter().next().and_then(|name| name.to_str()).expect("UTF-8");
        if ["all", "host", "attribute", "harness"].contains(&first) {
            continue;
        }
        assert!(all.contains(&format!("mod {first};\n")), "tests/all.rs has no `mod {first};`");
        for name in ["test", "rstest"] {
            let is_used = text.lines().any(|line| {
                let line = line.trim_start();
                line.starts_with(&format!("#[{name}]")) || line.starts_with(&format!("#[{name}("))
            });
            let is_ours = text.lines().any(|line| {
                let names = line.strip_prefix("use crate::harness::").map(|names| names.trim_matches(['{', '}', ';']));
                names.is_some_and(|names| names.split([',', '{', '}']).any(|it| it.trim() == name))
            });
            assert!(!is_used || is_ours, "{}: #[{name}] is not that of crate::harness", path.display());
        }
    }
}

/// What people read: comments, and documents without their tables and without what a program printed. Code is
/// rustfmt's matter.
#[test]
fn prose_ends_by_column_120() {
    let mut long = Vec::new();
    let mut seen = 0;
    let mut check = |path: &Path, number: usize, line: &str| {
        seen += 1;
        // A link cannot be broken.
        if line.chars().count() > 120 && !line.contains("://") {
            long.push(format!("{}:{}: {line}", path.display(), number + 1));
        }
    };
    for directory in ["src", "tests", "benches", "ci", ".ci", ".github"] {
        let files = walk(&root().join(directory)).into_iter();
        for path in files.filter(|path| !path.starts_with(root().join("tests/golden"))) {
            let mark = match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => "//",
                Some("sh" | "yml" | "toml") | None => "#",
                Some(_) => continue,
            };
            let text = std::fs::read_to_string(&path).expect("readable");
            let comments = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with(mark));
            comments.for_each(|(number, line)| check(&path, number, line));
        }
    }
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("readable");
        let mut printed = false;
        for (number, line) in text.lines().enumerate() {
            if line.starts_with("```") {
                printed = !printed;
            } else if !printed && !line.starts_with('|') {
                check(&path, number, line);
            }
        }
    }
    assert!(seen > 2000, "{seen} lines of prose were found");
    assert!(long.is_empty(), "longer than 120 columns:\n{}", long.join("\n"));
}

/// What somebody has written for people to read.
fn documents() -> Vec<PathBuf> {
    let by_name =
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "scenarios/README.md"];
    let pages = walk(&root().join("docs")).into_iter().filter(|path| path.extension().is_some_and(|it| it == "md"));
    by_name.map(|name| root().join(name)).into_iter().chain(pages).collect()
}

/// What a document points to is there.
#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("readable");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let place = document.parent().expect("a directory").join(file);
            assert!(place.exists(), "{} points to {target}", document.display());
            links += 1;
        }
    }
    assert!(links > 20, "{links} links were found");
}
