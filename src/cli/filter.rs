//! Which findings of reports a command is about: those of some scenarios, cases, calls, causes, axis values or stacks.
//!
//! It uses the words of the reports, not those of a catalogue: a report may be of another one. `select` chooses what to
//! run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use wildmatch::WildMatch;

use super::select::{self, one_of};
use super::{Failure, complain, source};
use crate::report::finding::{Finding, Report};
use crate::words::cause::Cause;
use crate::words::names::Call;
use crate::words::near::{did_you_mean, or_list};

#[derive(clap::Args, Default)]
#[command(next_help_heading = "Only some findings")]
pub struct Filter {
    /// Only findings of this call; several mean any of them
    #[arg(long, value_name = "CALL", value_parser = one_of(Call::ALL, Call::as_str), ignore_case = true, hide_possible_values = true)]
    call: Vec<Call>,

    /// Only findings of calls that ran into this cause; several mean any of them
    #[arg(long, value_name = "CAUSE", value_parser = one_of(Cause::ALL, Cause::as_str), ignore_case = true, hide_possible_values = true)]
    cause: Vec<Cause>,

    /// Only findings with this value of an axis. Several values of one axis mean any of them; several axes mean all of
    /// them
    #[arg(short = 'x', long = "where", value_name = "AXIS=VALUE")]
    axes: Vec<String>,

    /// Only reports of this stack, such as `linux 6.18`; `*` and `?` are wildcards
    #[arg(long, value_name = "STACK")]
    on_stack: Vec<String>,
}

/// Files, and patterns of the ids of scenarios and cases, in the order in which they were given.
///
/// What exists, has a `/` in it or ends as reports do is a file. Without any there is nothing to choose from.
pub fn sort(arguments: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<String>), Failure> {
    let is_id = |argument: &&PathBuf| {
        let Some(text) = argument.to_str().filter(|text| *text != "-") else { return false };
        !text.contains('/') && !text.ends_with(".json") && !text.ends_with(".gz") && !argument.exists()
    };
    let (ids, files): (Vec<&PathBuf>, Vec<&PathBuf>) = arguments.iter().partition(is_id);
    if files.is_empty() {
        return Err(source::no_report());
    }
    Ok((files.into_iter().cloned().collect(), ids.into_iter().map(|id| id.display().to_string()).collect()))
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        let Filter { call, cause, axes, on_stack } = self;
        call.is_empty() && cause.is_empty() && axes.is_empty() && on_stack.is_empty()
    }

    /// Drops what is not asked for. A word that no report knows is an error, and so is it if nothing is left.
    pub fn apply(&self, ids: &[String], reports: &mut Vec<Report>) -> Result<(), Failure> {
        if self.is_empty() && ids.is_empty() {
            return Ok(());
        }
        self.choose_stacks(reports)?;
        let patterns: Vec<WildMatch> = ids.iter().map(|id| WildMatch::new(id)).collect();
        for (pattern, id) in patterns.iter().zip(ids) {
            if !reports.iter().flat_map(|report| &report.findings).any(|finding| is_of(pattern, finding)) {
                return Err(Failure::NothingSelected(unknown(id, reports)));
            }
        }
        let axes = self.wanted_axes(reports)?;
        let is_wanted = |finding: &Finding| {
            (patterns.is_empty() || patterns.iter().any(|pattern| is_of(pattern, finding)))
                && (self.call.is_empty() || self.call.contains(&finding.subject.call))
                && (self.cause.is_empty() || self.cause.contains(&finding.cause))
                && axes
                    .iter()
                    .all(|(axis, values)| finding.axes.get(*axis).is_some_and(|value| values.contains(&value.as_str())))
        };
        let count = |reports: &[Report]| reports.iter().map(|report| report.findings.len()).sum::<usize>();
        let before = count(reports);
        for report in reports.iter_mut() {
            report.findings.retain(is_wanted);
        }
        match count(reports) {
            0 => Err(Failure::NothingSelected("no finding is selected: the conditions exclude each other".to_owned())),
            left if left == before => Ok(()),
            left => {
                complain("note", &format!("only {left} of {before} findings are selected"));
                Ok(())
            }
        }
    }

    fn choose_stacks(&self, reports: &mut Vec<Report>) -> Result<(), Failure> {
        let stacks: BTreeSet<String> = reports.iter().map(|report| report.host.stack.to_string()).collect();
        for stack in &self.on_stack {
            if !stacks.iter().any(|known| WildMatch::new(stack).matches(known)) {
                let known = or_list(stack, stacks.iter().map(String::as_str));
                return Err(Failure::NothingSelected(format!("no report is of the stack `{stack}`{known}")));
            }
        }
        reports.retain(|report| self.is_on_stack(report));
        Ok(())
    }

    /// Whether a report is of a stack that is asked for.
    pub fn is_on_stack(&self, report: &Report) -> bool {
        let mut wanted = self.on_stack.iter();
        self.on_stack.is_empty() || wanted.any(|stack| WildMatch::new(stack).matches(&report.host.stack))
    }

    /// The values that are asked for, by axis.
    fn wanted_axes(&self, reports: &[Report]) -> Result<BTreeMap<&str, Vec<&str>>, Failure> {
        let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        if !self.axes.is_empty() {
            for (axis, value) in reports.iter().flat_map(|report| &report.findings).flat_map(|finding| &finding.axes) {
                known.entry(axis).or_default().insert(value);
            }
        }
        select::wanted(&self.axes, &known)
    }
}

fn is_of(pattern: &WildMatch, finding: &Finding) -> bool {
    pattern.matches(&finding.scenario) || pattern.matches(&finding.case)
}

/// Why an argument names nothing, and what would.
fn unknown(id: &str, reports: &[Report]) -> String {
    let scenarios: BTreeSet<&str> =
        reports.iter().flat_map(|report| &report.findings).map(|finding| finding.scenario.as_str()).collect();
    let bare = id.split('[').next().unwrap_or(id);
    let near = did_you_mean(bare, scenarios.into_iter()).unwrap_or_default();
    format!("`{id}` is neither a file nor a scenario or case of the reports{near}")
}
