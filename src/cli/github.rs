//! Where GitHub Actions wants what a command says: annotations on standard output, and a step's summary in a file.
//!
//! What they say is rendered elsewhere.

use std::io::{self, Write};
use std::path::Path;

use super::output::cannot_write;
use super::{Failure, complain};
use crate::render::github;
use crate::sys;

/// Where GitHub Actions wants a step's summary.
const SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Text for people, in which nothing is a command, and then the annotations.
pub fn print(text: &str, annotations: &str, out: &mut dyn Write) -> io::Result<()> {
    // What nobody guesses who has written a part of it.
    let token = format!("errnoscope-{:016x}{:016x}", sys::random(), sys::random());
    write!(out, "{}{annotations}", github::without_commands(text, &token))
}

/// Appends a summary of at most as many bytes as it is told. Other commands of the same step may have written to the
/// file.
pub fn sum_up(summary: impl FnOnce(usize) -> String) -> Result<(), Failure> {
    let Some(path) = std::env::var_os(SUMMARY).filter(|path| !path.is_empty()) else {
        complain("warning", &format!("{SUMMARY} is not set: no job summary is written"));
        return Ok(());
    };
    let path = Path::new(&path);
    let cannot = |error: io::Error| cannot_write(path, error.into());
    let mut file = sys::open_to_append(path).map_err(|why| cannot_write(path, why))?;
    let written = usize::try_from(file.metadata().map_err(cannot)?.len()).unwrap_or(usize::MAX);
    file.write_all(summary(github::SUMMARY.saturating_sub(written)).as_bytes()).map_err(cannot)
}
