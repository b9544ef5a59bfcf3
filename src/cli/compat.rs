//! `errnoscope compat` and `errnoscope boundaries`: several reports held side by side, by stack and by version.
//!
//! What is known, and how, is decided by `compat`; this reads reports one after the other, and prints.

use std::io::Write;
use std::path::PathBuf;

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

A stack has one value for each call of each case, or several, one after the other, where versions of a kernel differ: with \
the last version observed before and the first observed after. Each value is observed (by every report of its stack from \
`since` to `until` that `missing` does not name), expected (by an authority, where nobody has looked) or unknown. Reports of \
one version that disagree are shown to disagree, and so is what contradicts an expectation.
`errnoscope schema compat` describes the format.")]
pub struct Arguments {
    /// Reports, as `run --json` writes them
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,

    /// Write to this file, compressed if its name ends in .gz, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn compat(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let destination = arguments.output.as_deref().map_or(Ok(Destination::Stdout), Destination::new)?;
    let compat = Compat::of(&sweep(&arguments.reports)?);
    destination.write(out, |out| json::write_compat(&compat, out))?;
    Ok(Exit::Success)
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope boundaries reports/*.json.gz
  errnoscope boundaries reports/*.json.gz -v
  errnoscope boundaries reports/*.json.gz --json

Versions are compared as numbers, 6.9 before 6.16, and only those of an OS's own kernel: another stack that speaks for an \
OS (a sandbox, say) is on nobody's line. What is marked unstable differs between repeated runs, or between reports of one \
version: the boundary may be chance.
Exit codes: 0 whatever changed, 2 a file that does not parse, 3 no kernel in two versions.")]
pub struct BoundariesArguments {
    /// Reports, as `run --json` writes them, of more than one version of a kernel
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,

    /// Every case, and not an example of each class
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,

    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn print_boundaries(arguments: &BoundariesArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let found = boundaries(&sweep(&arguments.reports)?);
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

/// Each report is read, counted in and forgotten: many of them are large.
fn sweep(files: &[PathBuf]) -> Result<Sweep, Failure> {
    let mut sweep = Sweep::default();
    for file in files {
        let (digest, report) = source::digested_report(file)?;
        sweep.add(&digest, &report);
    }
    Ok(sweep)
}
