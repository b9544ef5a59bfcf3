//! `errnoscope compat` and `errnoscope boundaries`: several reports side by side, by stack and by version.
//!
//! It reads reports one after the other, and prints; `report::compat` decides.

use std::io::Write;
use std::path::PathBuf;

use super::filter::{self, Filter};
use super::output::{self, Destination};
use super::{Exit, Failure, source};
use crate::render::boundaries::{self as text, Cases};
use crate::render::json;
use crate::report::compat::boundaries::boundaries;
use crate::report::compat::{Compat, Sweep};

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope compat linux-6.1.json.gz linux-6.18.json.gz -o compat.json
  errnoscope compat reports/*.json.gz -o compat.json.gz

A stack has one value for each call of each case. If versions of its kernel differ, it has several, each with the last \
version observed before and the first observed after. A value is observed (by every report of its stack from `since` to \
`until` that `missing` does not name), or nobody has observed it: then it is xnu-run (XNU's own code gave it, run on \
Linux, not on a Mac), expected (by another authority) or unknown. If reports of one version disagree, or contradict an \
expectation, the document says so.
`errnoscope schema compat` describes the format.")]
pub struct Arguments {
    /// Reports, as `run --json` writes them, and ids of scenarios and cases if not all of their findings are wanted;
    /// `*` and `?` are wildcards
    #[arg(value_names = ["REPORT", "ID"], required = true, num_args = 1..)]
    arguments: Vec<PathBuf>,

    #[command(flatten)]
    filter: Filter,

    /// Write to this file, compressed if its name ends in .gz, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn compat(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let destination = arguments.output.as_deref().map_or(Ok(Destination::Stdout), Destination::new)?;
    let compat = Compat::of(&sweep(&arguments.arguments, &arguments.filter)?);
    destination.write(out, |out| json::write_compat(&compat, out))?;
    Ok(Exit::Success)
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope boundaries reports/*.json.gz
  errnoscope boundaries reports/*.json.gz -v
  errnoscope boundaries reports/*.json.gz --json

Versions are compared as numbers, 6.9 before 6.16, and only those of an OS's own kernel, not those of a sandbox that \
presents itself as one. What is marked unstable differs between repeated runs, or between reports of one version: the \
boundary may be chance.
Exit codes: 0 whether something changed or not, 2 a file that does not parse, 3 no kernel in two versions.")]
pub struct BoundariesArguments {
    /// Reports, as `run --json` writes them, of more than one version of a kernel, and ids of scenarios and cases if
    /// not all of their findings are wanted; `*` and `?` are wildcards
    #[arg(value_names = ["REPORT", "ID"], required = true, num_args = 1..)]
    arguments: Vec<PathBuf>,

    #[command(flatten)]
    filter: Filter,

    /// Show every case, not just one of each class
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,

    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn print_boundaries(arguments: &BoundariesArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let found = boundaries(&sweep(&arguments.arguments, &arguments.filter)?);
    if found.versions.is_empty() {
        let mut seen: Vec<String> =
            found.reports.values().map(|source| format!("{} ({})", source.stack, source.release)).collect();
        seen.dedup();
        let seen = seen.join(", ");
        return Err(Failure::NothingSelected(format!("no kernel in two versions: the reports are of {seen}")));
    }
    if arguments.json {
        output::json(&found, out)?;
    } else {
        let cases = if arguments.verbose { Cases::Named } else { Cases::Example };
        write!(out, "{}", text::boundaries(&found, cases, output::width()))?;
    }
    Ok(Exit::Success)
}

/// Each report is read, counted in and forgotten: many of them are large. Those of which only a part is wanted are read
/// before, all of them.
fn sweep(arguments: &[PathBuf], filter: &Filter) -> Result<Sweep, Failure> {
    let (files, ids) = filter::sort(arguments)?;
    let mut sweep = Sweep::default();
    let digested = files.iter().map(|file| source::digested_report(file));
    if filter.is_empty() && ids.is_empty() {
        for report in digested {
            let (digest, report) = report?;
            sweep.add(&digest, &report);
        }
        return Ok(sweep);
    }
    let (mut digests, mut reports) = (Vec::new(), Vec::new());
    for report in digested {
        let (digest, report) = report?;
        if filter.is_on_stack(&report) {
            digests.push(digest);
        }
        reports.push(report);
    }
    filter.apply(&ids, &mut reports)?;
    digests.iter().zip(&reports).for_each(|(digest, report)| sweep.add(digest, report));
    Ok(sweep)
}
