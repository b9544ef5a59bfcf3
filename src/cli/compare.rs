//! `errnoscope compare`: two reports held against each other, for people, programs and CI.
//!
//! What counts as a change is decided by `compare`; this reads and writes files.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::output::{self, Destination};
use super::{Exit, Failure, complain, source};
use crate::compare::{self, Comparison, accept};
use crate::finding::Report;
use crate::render::compare::Cases;
use crate::render::text::count;
use crate::render::{compare as text, github, json};

/// Where GitHub Actions wants a step's summary.
const SUMMARY: &str = "GITHUB_STEP_SUMMARY";

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope run --json today.json.gz
  errnoscope compare baseline.json.gz today.json.gz
  errnoscope compare baseline.json.gz today.json.gz --github
  errnoscope compare baseline.json.gz today.json.gz --accept

A change is a finding (a case and a call) whose outcome or verdict is another, that became unstable or stable under \
run --repeat, that appeared or that disappeared. Where the kernel may choose between outcomes, its choice is no change. \
The environment (kernel, settings, capabilities, catalogue, tool) is told where it differs, and is no change by itself: \
kernels get patches all the time.

Exit codes: 0 no change, or accepted; 1 a change, or not accepted; 2 a file that does not parse.

Environment:
  GITHUB_STEP_SUMMARY  the file to which --github appends a summary; GitHub sets it")]
pub struct Arguments {
    /// A report, as `run --json` writes it, compressed or not
    baseline: PathBuf,

    /// The report to hold against it
    current: PathBuf,

    /// The case of each change as well
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,

    /// As JSON
    #[arg(long)]
    json: bool,

    /// Annotations for GitHub Actions after the text, and a job summary
    #[arg(long, conflicts_with = "json")]
    github: bool,

    /// Make CURRENT the BASELINE, which need not exist yet, if it is complete, stable and nothing in it is in doubt:
    /// broken, timed-out or unwitnessed
    #[arg(long)]
    accept: bool,
}

pub fn compare(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Arguments { baseline: place, current, accept, .. } = arguments;
    let destination = if *accept { Some(Destination::new(place)?) } else { None };
    let current = source::report(current)?;
    // The first baseline replaces none.
    let baseline = if *accept && !place.exists() { None } else { Some(source::report(place)?) };
    let mut exit = Exit::Success;
    if let Some(baseline) = &baseline {
        let comparison = compare::compare(baseline, &current);
        print(&comparison, arguments, out)?;
        if comparison.is_changed() {
            exit = Exit::Mismatch;
        }
    }
    match destination {
        None => Ok(exit),
        Some(destination) => become_baseline(&destination, place, baseline.as_ref(), &current, out),
    }
}

fn print(comparison: &Comparison, arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    if arguments.json {
        return Ok(output::json(comparison, out)?);
    }
    let cases = if arguments.verbose { Cases::Named } else { Cases::Counted };
    write!(out, "{}", text::comparison(comparison, cases, output::width()))?;
    if arguments.github {
        write!(out, "{}", github::annotations(comparison))?;
        match std::env::var_os(SUMMARY).filter(|path| !path.is_empty()) {
            Some(path) => append_summary(comparison, Path::new(&path))?,
            None => complain("warning", &format!("{SUMMARY} is not set: no job summary is written")),
        }
    }
    Ok(())
}

/// Other commands of the same step may have written to it.
fn append_summary(comparison: &Comparison, path: &Path) -> Result<(), Failure> {
    let cannot = |error| Failure::because(format!("cannot write {}", path.display()), error);
    let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(cannot)?;
    let written = usize::try_from(file.metadata().map_err(cannot)?.len()).unwrap_or(usize::MAX);
    let summary = github::summary(comparison, github::SUMMARY.saturating_sub(written));
    file.write_all(summary.as_bytes()).map_err(cannot)
}

fn become_baseline(
    destination: &Destination,
    place: &Path,
    baseline: Option<&Report>,
    current: &Report,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let doubts = accept::doubts(baseline, current);
    if !doubts.is_empty() {
        for doubt in doubts {
            complain("not accepted", &doubt);
        }
        return Ok(Exit::Mismatch);
    }
    destination.write(out, |out| json::write(current, out))?;
    let findings = count(current.findings.len() as u64, "finding");
    // Standard output may hold JSON.
    let _ = writeln!(output::stderr(), "errnoscope: accepted as {}: {findings}", place.display());
    Ok(Exit::Success)
}
