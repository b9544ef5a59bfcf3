//! `errnoscope report`: reports, from whatever machine, as Markdown.

use std::io::Write;
use std::path::PathBuf;

use super::output::Destination;
use super::{Exit, Failure, source};
use crate::claim;
use crate::finding::Report;
use crate::render::markdown;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope run --json report.json; errnoscope report report.json -o REPORT.md
  errnoscope report linux.json other.json > both.md")]
pub struct Arguments {
    /// Reports, as `run --json` writes them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn report(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let claims = claim::embedded().map_err(|problem| Failure::Claims(vec![problem]))?.claims;
    let reports = arguments.files.iter().map(|file| source::report(file)).collect::<Result<Vec<Report>, Failure>>()?;
    let judged = claim::judge(&claims, &reports);
    let destination = arguments.output.as_deref().map_or(Ok(Destination::Stdout), Destination::new)?;
    destination.write(out, |out| out.write_all(markdown::markdown(&reports, &judged).as_bytes()))?;
    Ok(Exit::Success)
}
