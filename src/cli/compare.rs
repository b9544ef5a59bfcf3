//! `errnoscope compare`: holds two reports against each other, for people, programs and CI.
//!
//! It reads and writes files; `report::compare` decides which difference is a change.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::filter::Filter;
use super::output::{self, Destination};
use super::{Exit, Failure, complain, github, source};
use crate::render::compare::Cases;
use crate::render::text::count;
use crate::render::{compare as text, deviation as known_deviations, github as annotations, json};
use crate::report::compare::{self, Comparison, accept};
use crate::report::deviation::{self, Weighed};
use crate::report::finding::Report;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope run --json today.json.gz
  errnoscope compare baseline.json.gz today.json.gz
  errnoscope compare baseline.json.gz today.json.gz 'bind.*'         what a patch of bind() changed
  errnoscope compare baseline.json.gz today.json.gz --github
  errnoscope compare baseline.json.gz today.json.gz --accept

A change is a finding (a case and a call) that has another outcome or verdict, that became unstable or stable under \
run --repeat, that appeared or that disappeared. If the kernel may choose between outcomes, its choice is no change. \
A different environment (kernel, settings, capabilities, catalogue, tool) is shown, and is no change by itself: kernels \
get patches all the time. A file of --deviations has what is known of a stack (errnoscope schema deviations): such \
changes are known, and one that no longer holds is news.

Exit codes: 0 no change, or accepted; 1 a change, or not accepted; 2 a file that does not parse.

Environment:
  GITHUB_STEP_SUMMARY  the file to which --github appends a summary; GitHub sets it")]
pub struct Arguments {
    /// A report, as `run --json` writes it, compressed or not
    baseline: PathBuf,

    /// The report to hold against it
    current: PathBuf,

    /// Compare only findings of these scenarios and cases; `*` and `?` are wildcards
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    #[command(flatten)]
    filter: Filter,

    /// Known deviations of CURRENT's stack: a change to one of them is none, and one that no longer holds is news
    #[arg(long, value_name = "FILE")]
    deviations: Vec<PathBuf>,

    /// The case of each change as well
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,

    /// As JSON
    #[arg(long)]
    json: bool,

    /// Annotations for GitHub Actions after the text, and a job summary
    #[arg(long, conflicts_with = "json")]
    github: bool,

    /// Make CURRENT the BASELINE, which need not exist yet. CURRENT must be complete and stable, and nothing in it
    /// broken, timed out or unwitnessed
    #[arg(long)]
    accept: bool,
}

impl Arguments {
    pub fn is_for_github(&self) -> bool {
        self.github
    }
}

pub fn compare(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Arguments { baseline: place, current, accept, .. } = arguments;
    let deviations = source::deviations(&arguments.deviations)?;
    let destination = if *accept { Some(Destination::new(place)?) } else { None };
    let is_part = !arguments.ids.is_empty() || !arguments.filter.is_empty();
    if *accept && is_part {
        return Err(Failure::bad("--accept takes a whole report: a part of one is no baseline"));
    }
    // The first baseline replaces none.
    let has_baseline = !*accept || place.exists();
    let files: Vec<PathBuf> = [place, current].into_iter().skip(usize::from(!has_baseline)).cloned().collect();
    let mut reports = source::reports(&files)?;
    arguments.filter.apply(&arguments.ids, &mut reports)?;
    let are_all = reports.len() == files.len();
    let (true, Some(current)) = (are_all, reports.pop()) else {
        return Err(Failure::NothingSelected("--on-stack leaves one report out; two are needed to compare: name a stack, such as `linux *`, that both are of".to_owned()));
    };
    let baseline = reports.pop();
    let weighed: Vec<Weighed<'_>> = deviations.iter().flat_map(|known| known.weigh(&current)).collect();
    let known = deviation::known(&weighed);
    let comparison = baseline.as_ref().map(|baseline| compare::compare(baseline, &current).without(&known));
    let news = weighed.iter().any(Weighed::is_news);
    let found = match &comparison {
        Some(comparison) if comparison.is_changed() || news => Exit::Mismatch,
        Some(_) | None => Exit::Success,
    };
    // What is done comes before what is said: whoever reads it may keep us waiting.
    let done = destination
        .map_or(Ok(found), |destination| become_baseline(&destination, place, baseline.as_ref(), &current, out));
    let Some(comparison) = comparison else { return done };
    let summary = |room| annotations::summary(&comparison, room);
    let summed_up = if arguments.github { github::sum_up(summary) } else { Ok(()) };
    print(&comparison, &weighed, arguments, out)?;
    done.and_then(|exit| summed_up.map(|()| exit))
}

fn print(
    comparison: &Comparison,
    weighed: &[Weighed<'_>],
    arguments: &Arguments,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let cases = if arguments.verbose { Cases::Named } else { Cases::Counted };
    let width = output::width();
    let (news, known) = (known_deviations::news(weighed, width), known_deviations::known(weighed, width));
    let text = || format!("{news}{known}{}", text::comparison(comparison, cases, width));
    if arguments.json {
        // Standard output has JSON.
        let _ = write!(output::stderr(), "{news}");
    }
    let written = match (arguments.json, arguments.github) {
        (true, _) => output::json(comparison, out),
        (false, false) => write!(out, "{}", text()),
        (false, true) => github::print(&text(), &annotations::annotations(comparison), out),
    };
    Ok(written?)
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
            complain("not accepted", &annotations::harmless(&doubt));
        }
        return Ok(Exit::Mismatch);
    }
    destination.write(out, |out| json::write(current, out))?;
    let findings = count(current.findings.len() as u64, "finding");
    // Standard output may hold JSON.
    let _ = writeln!(output::stderr(), "errnoscope: accepted as {}: {findings}", place.display());
    Ok(Exit::Success)
}
