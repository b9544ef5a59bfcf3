//! `errnoscope claims`: holds what people say against reports.
//!
//! It reads files and prints; `report::claim` decides. A refuted claim is knowledge, not a failure.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use wildmatch::WildMatch;

use super::filter::Filter;
use super::{Exit, Failure, output, source};
use crate::render::claims as text;
use crate::report::claim::verdict::Judgement;
use crate::report::claim::{self, Claim, Claims};
use crate::report::finding;
use crate::words::near::did_you_mean;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope run --json report.json; errnoscope claims report.json
  errnoscope claims linux.json mac.json -v
  errnoscope claims report.json time-wait-makes-connect-fail
  errnoscope claims report.json --claims mine.toml --json

An argument that is the id of a claim, or a pattern that fits one, means that claim; every other argument is a \
report. If no report has observed a system, its verdict is unknown, and a star marks what documents and sources expect.
Exit codes: 0 for any verdicts, 2 a file that does not parse, 3 no such claim.")]
pub struct Arguments {
    /// Reports, as `run --json` writes them, and ids of claims; `*` and `?` are wildcards
    #[arg(value_names = ["REPORT", "CLAIM"], required = true, num_args = 1..)]
    arguments: Vec<String>,

    #[command(flatten)]
    filter: Filter,

    /// Take the claims of this file instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,

    /// Show every claim with its sources, what decides it and what speaks against it
    #[arg(short, long)]
    verbose: bool,

    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn claims(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let claims = load(arguments.claims.as_deref())?;
    let (selected, files) = sort(&claims, &arguments.arguments)?;
    let mut reports = source::reports(&files)?;
    arguments.filter.apply(&[], &mut reports)?;
    reports.iter().for_each(source::mention_stranger);
    let named = selected.len() < claims.claims.len();
    let judged = claim::judge(&selected, &reports);
    let own = reports.iter().filter(|report| report.host.is_own());
    let stacks: BTreeSet<String> = own.clone().map(|report| report.host.stack.to_string()).collect();
    let behind = finding::behind(own.map(|report| &report.host));
    if arguments.json {
        let judgement = Judgement { format: claim::FORMAT, stacks, behind, claims: judged };
        output::json(&judgement, out)?;
        return Ok(Exit::Success);
    }
    let width = output::width();
    if !arguments.verbose && !named {
        write!(out, "{}", text::verdicts(&judged, &stacks, &behind, width))?;
        return Ok(Exit::Success);
    }
    for (index, claim) in judged.iter().enumerate() {
        let blank = if index > 0 { "\n" } else { "" };
        write!(out, "{blank}{}", text::claim(claim, &behind, width))?;
    }
    Ok(Exit::Success)
}

/// The claims of this binary, or, read and checked, those of a file.
fn load(path: Option<&Path>) -> Result<Claims, Failure> {
    let broken = |problem| Failure::Claims(vec![problem]);
    let Some(path) = path else {
        return claim::embedded().map_err(broken);
    };
    let (file, text) = source::read(path)?;
    let claims = claim::read(&file, text).map_err(broken)?;
    let problems = crate::suite::claims::check(&claims, &source::embedded()?);
    if problems.is_empty() { Ok(claims) } else { Err(Failure::Claims(problems)) }
}

/// The claims that are asked for, all of them where none is, and the reports.
fn sort(claims: &Claims, arguments: &[String]) -> Result<(Vec<Claim>, Vec<PathBuf>), Failure> {
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    let mut files = Vec::new();
    for argument in arguments {
        let pattern = WildMatch::new(argument);
        let ids = claims.claims.iter().map(|claim| claim.id.get_ref().as_str());
        let fitting: Vec<&str> = ids.clone().filter(|id| pattern.matches(id)).collect();
        if fitting.is_empty() && !argument.contains(['/', '.']) && !Path::new(argument).exists() {
            let near = did_you_mean(argument, ids).unwrap_or_default();
            return Err(Failure::NothingSelected(format!("`{argument}` is neither a claim nor a file{near}")));
        }
        if fitting.is_empty() {
            files.push(PathBuf::from(argument));
        }
        asked.extend(fitting);
    }
    if files.is_empty() {
        return Err(source::no_report());
    }
    let wanted = |claim: &&Claim| asked.is_empty() || asked.contains(claim.id.get_ref().as_str());
    Ok((claims.claims.iter().filter(wanted).cloned().collect(), files))
}
