//! `errnoscope lint`: checks scenario files, and claims and known deviations beside them, without running anything.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Exit, Failure, output, source};
use crate::render::style::{BAD, GOOD, paint};
use crate::render::text::count;
use crate::report::{claim, deviation};
use crate::scenario::{self, Problem, Scenario};
use crate::suite::catalogue::{self, Catalogue};

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope lint                       the catalogue of this binary
  errnoscope lint scenarios             every *.toml below a directory
  errnoscope lint my-scenario.toml --json

A file that lies below a directory `scenarios` must be named after its call and its claim. At most 10000 files of 1 MiB each, \
64 MiB together, are read, and at most 200 problems shown; each directory is visited once, wherever links lead.")]
pub struct Arguments {
    /// Files, or directories with files [default: the built-in catalogue]
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,

    /// Problems as a JSON array of {file, line, column, message, help}
    #[arg(long)]
    json: bool,
}

pub fn lint(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut files = Vec::new();
    if arguments.paths.is_empty() {
        files = catalogue::embedded();
        files.push((claim::FILE.to_owned(), claim::TEXT));
    }
    for path in &arguments.paths {
        files.extend(source::files(path)?);
    }
    files.sort();
    files.dedup();
    let (problems, scenarios, cases) = check(&files);
    if arguments.json {
        output::json(&entries(&problems), out)?;
    } else {
        write!(out, "{}", output::problems(&problems))?;
        let verdict = match problems.len() {
            0 => paint(GOOD, "no problems"),
            problems => paint(BAD, &count(problems as u64, "problem")),
        };
        let files = count(files.len() as u64, "file");
        writeln!(out, "{files}, {}, {}: {verdict}", count(scenarios, "scenario"), count(cases, "case"))?;
    }
    Ok(if problems.is_empty() { Exit::Success } else { Exit::Problems })
}

/// All problems by file and place, and how many scenarios and cases there are without those that cannot be read.
fn check(files: &[(String, &'static str)]) -> (Vec<Problem>, u64, u64) {
    let (claims, files): (Vec<_>, Vec<_>) = files.iter().cloned().partition(|(_, text)| claim::is_list(text));
    let (mut problems, scenarios) = match Catalogue::read(&files) {
        Ok(catalogue) => {
            let faults = claims.iter().flat_map(|(file, text)| about(file, text, &catalogue));
            (faults.collect(), catalogue.scenarios)
        }
        // What is wrong with the files that can be read is told as well.
        Err(problems) => (problems, files.iter().filter_map(|(file, text)| scenario::read(file, text).ok()).collect()),
    };
    let mut cases = 0;
    for scenario in &scenarios {
        let found = scenario::check(scenario);
        if found.is_empty() {
            cases += scenario::cases(scenario).count() as u64;
        }
        problems.extend(found);
        problems.extend(misplaced(scenario));
    }
    problems.sort_by(|a, b| (&a.file, a.span.start).cmp(&(&b.file, b.span.start)));
    (problems, scenarios.len() as u64, cases)
}

/// The faults of a claims file. By itself it is about the scenarios of this binary.
fn about(file: &str, text: &'static str, catalogue: &Catalogue) -> Vec<Problem> {
    if deviation::is_list(text) {
        return deviation::read(file, text).err().into_iter().collect();
    }
    match claim::read(file, text) {
        Err(problem) => vec![problem],
        Ok(claims) if catalogue.scenarios.is_empty() => Catalogue::embedded()
            .map_or_else(|problems| problems, |embedded| crate::suite::claims::check(&claims, &embedded)),
        Ok(claims) => crate::suite::claims::check(&claims, catalogue),
    }
}

fn misplaced(scenario: &Scenario) -> Option<Problem> {
    let in_tree = Path::new(&scenario.file).components().any(|part| part.as_os_str() == "scenarios");
    if in_tree { catalogue::check_place(scenario) } else { None }
}

/// As many as are shown to a person; the last one says how many more there are.
fn entries(problems: &[Problem]) -> Vec<serde_json::Value> {
    let entry = |problem: &Problem, message: &str, help: &Option<String>| {
        let (line, column) = problem.line_and_column();
        json!({ "file": problem.file, "line": line, "column": column, "message": message, "help": help })
    };
    let (told, more) = problems.split_at(problems.len().min(output::MOST_PROBLEMS));
    let mut entries: Vec<_> = told.iter().map(|problem| entry(problem, &problem.message, &problem.help)).collect();
    entries.extend(
        more.first().map(|first| entry(first, &format!("… and {}", count(more.len() as u64, "more problem")), &None)),
    );
    entries
}
