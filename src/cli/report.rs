//! `errnoscope report`: reports, from whatever machine, as Markdown.

use std::io::Write;
use std::path::PathBuf;

use super::output::Destination;
use super::{Exit, Failure};
use crate::render::{json, markdown};

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
    let mut reports = Vec::new();
    for file in &arguments.files {
        let name = file.display();
        let text =
            std::fs::read_to_string(file).map_err(|error| Failure::because(format!("cannot read {name}"), error))?;
        let report = json::read(&text).map_err(|(line, column, message)| {
            Failure::bad(format!("{name}:{line}:{column}: no errnoscope report: {message}"))
        })?;
        reports.push(markdown::markdown(&report));
    }
    let destination = arguments.output.as_deref().map_or(Ok(Destination::Stdout), Destination::new)?;
    destination.write(out, |out| out.write_all(reports.join("\n").as_bytes()))?;
    Ok(Exit::Success)
}
