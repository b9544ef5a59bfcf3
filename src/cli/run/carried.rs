//! `errnoscope run --plans-to` and `--results-from`: files that somebody carries to a worker and back.
//!
//! `suite::batch` makes the plans and judges the answers.

use std::io::Write;
use std::path::Path;

use super::super::output::Destination;
use super::super::{Exit, Failure, complain, source};
use crate::render::text::count;
use crate::suite::batch::{self, BatchFile};
use crate::suite::catalogue::Catalogue;
use crate::suite::runner::{CaseRun, Ran};
use crate::sys;
use crate::words::names::Os;

/// Writes the plans of the cases for a worker that no pipe leads to.
pub fn write_plans(
    catalogue: &Catalogue,
    items: &[CaseRun],
    to: &Path,
    (os, patience): (Option<Os>, u32),
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let destination = Destination::new(to)?;
    let plans = batch::plans(catalogue, items, os.unwrap_or(sys::OS), patience);
    let plans = plans.map_err(|problem| Failure::Problems(vec![problem]))?;
    destination.write(out, |out| out.write_all(&plans))?;
    let (cases, name) = (count(items.len() as u64, "case"), to.display());
    complain(
        "note",
        &format!(
            "{name} has the plans of {cases}: errnoscope worker < {name} > RESULTS; then: errnoscope run --results-from {name} RESULTS"
        ),
    );
    Ok(Exit::Success)
}

pub fn from_results(catalogue: &Catalogue, plans: &Path, results: &Path) -> Result<Ran, Failure> {
    let (plans_text, results_text) = (source::read_results(plans)?, source::read_results(results)?);
    batch::judged(catalogue, plans_text.as_bytes(), results_text.as_bytes()).map_err(|fault| {
        let file = match fault.file {
            BatchFile::Plans => plans,
            BatchFile::Results => results,
        };
        Failure::bad(format!("{}:{}: {}", file.display(), fault.line, fault.why))
    })
}
