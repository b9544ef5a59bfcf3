//! `errnoscope list` and `errnoscope schema`: show which scenarios and formats there are.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use serde_json::json;

use super::select::Selection;
use super::{Exit, Failure, output};
use crate::render::style::{FAINT, HEADING, paint};
use crate::render::text::{count, glossary, truncate};
use crate::scenario::{Expectation, Platform, Scenario, compile};
use crate::suite::catalogue::Catalogue;
use crate::suite::judge;
use crate::suite::runner::CaseRun;
use crate::words::cause::Cause;
use crate::words::names::{Call, Os};

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope list                            all scenarios
  errnoscope list --cases 'bind.*' -x holder_state=time-wait
  errnoscope list --cases --json > cases.json
  errnoscope list --call connect --cause ports-exhausted")]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,

    /// One case a line
    #[arg(long)]
    cases: bool,

    /// As JSON: an array of scenarios or, with --cases, one entry per case and observed call
    #[arg(long)]
    json: bool,
}

pub fn list(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let catalogue = arguments.selection.load()?;
    let items = arguments.selection.items(&catalogue)?;
    match (arguments.cases, arguments.json) {
        (false, false) => tree(&catalogue, &items, out)?,
        (true, false) => {
            for item in &items {
                writeln!(out, "{}", item.case.id)?;
            }
        }
        (false, true) => array(counted(&catalogue, &items).iter().map(scenario_entry), out)?,
        (true, true) => {
            let mut entries = Vec::new();
            for item in &items {
                let scenario = &catalogue.scenarios[item.scenario];
                let compiled = compile(scenario, &item.case, crate::sys::OS)
                    .map_err(|problem| Failure::Problems(vec![problem]))?;
                for subject in &compiled.subjects {
                    let expected = judge::expectations(scenario, &item.case, subject, Platform::current);
                    entries.extend(expected.map(|expected| Entry {
                        scenario: &scenario.id,
                        case: &item.case.id,
                        axes: item.case.axes.iter().map(|(axis, value)| (&**axis, &**value)).collect(),
                        call: subject.call,
                        cause: subject.cause,
                        expected,
                    }));
                }
            }
            array(entries.iter(), out)?;
        }
    }
    Ok(Exit::Success)
}

/// One observed call of one case.
#[derive(Serialize)]
struct Entry<'c> {
    scenario: &'c str,
    case: &'c str,
    axes: indexmap::IndexMap<&'c str, &'c str>,
    call: Call,
    cause: Cause,
    expected: BTreeMap<Os, std::sync::Arc<[Expectation]>>,
}

/// An array with one entry a line.
fn array(entries: impl Iterator<Item = impl Serialize>, out: &mut dyn Write) -> Result<(), Failure> {
    let mut separator = "[\n";
    for entry in entries {
        let entry = serde_json::to_string(&entry).map_err(std::io::Error::from)?;
        write!(out, "{separator}{entry}")?;
        separator = ",\n";
    }
    Ok(writeln!(out, "\n]")?)
}

struct Counted<'c> {
    scenario: &'c Scenario,
    cases: u64,
    slow: u64,
}

fn counted<'c>(catalogue: &'c Catalogue, items: &[CaseRun]) -> Vec<Counted<'c>> {
    let mut counts: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for item in items {
        let (cases, slow) = counts.entry(item.scenario).or_default();
        (*cases, *slow) = (*cases + 1, *slow + u64::from(item.slow));
    }
    let scenario = |(index, (cases, slow))| Counted { scenario: &catalogue.scenarios[index], cases, slow };
    counts.into_iter().map(scenario).collect()
}

fn scenario_entry(counted: &Counted<'_>) -> serde_json::Value {
    let Counted { scenario, cases, slow } = counted;
    let axes: serde_json::Map<String, serde_json::Value> = scenario
        .axes
        .iter()
        .map(|axis| {
            let values: Vec<&String> = axis.values.iter().map(|value| value.get_ref()).collect();
            (axis.name.get_ref().clone(), json!(values))
        })
        .collect();
    let mut entry = json!({ "id": scenario.id, "claim": scenario.claim, "why": scenario.why });
    // A cause that differs from case to case is told by the cases.
    if let Some(cause) = scenario.cause.get_ref().as_str().filter(|cause| !cause.starts_with('$')) {
        entry["cause"] = json!(cause);
    }
    (entry["cases"], entry["slow"], entry["axes"]) = (json!(cases), json!(slow), json!(axes));
    entry
}

fn tree(catalogue: &Catalogue, items: &[CaseRun], out: &mut dyn Write) -> Result<(), Failure> {
    let counted = counted(catalogue, items);
    let widest = |text: fn(&Counted<'_>) -> usize| counted.iter().map(text).max().unwrap_or(0);
    let id_width = widest(|counted| counted.scenario.id.len());
    let count_width = widest(|counted| counted.cases.to_string().len());
    let slow = |counted: &Counted<'_>| match (counted.slow, counted.cases) {
        (0, _) => String::new(),
        (slow, cases) if slow == cases => "(slow) ".to_owned(),
        (slow, _) => format!("({slow} slow) "),
    };
    let (mut call, mut claims) = ("", String::new());
    for counted in &counted {
        let scenario = counted.scenario;
        let prefix = scenario.id.split('.').next().unwrap_or_default();
        if prefix != call {
            writeln!(out, "{}", paint(HEADING, prefix))?;
            call = prefix;
        }
        let left = format!("  {:id_width$}  {:>count_width$}  {}", scenario.id, counted.cases, slow(counted));
        let claim = truncate(&scenario.claim, output::full_width().saturating_sub(left.len()));
        claims.push_str(&claim);
        writeln!(out, "{left}{}", paint(FAINT, &claim))?;
    }
    let slow: u64 = counted.iter().map(|counted| counted.slow).sum();
    let slow = if slow > 0 { format!(", {slow} of them only with --slow") } else { String::new() };
    let cases = count(items.len() as u64, "case");
    writeln!(out, "\n{}, {cases}{slow}", count(counted.len() as u64, "scenario"))?;
    Ok(write!(out, "{}", glossary(&claims, output::width()))?)
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope schema > report.schema.json
  errnoscope schema explanation")]
pub struct SchemaArguments {
    /// Which format
    #[arg(value_enum, default_value_t = Format::Report)]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// What `run --json` writes
    Report,
    /// What `list --cases --json` prints
    List,
    /// A policy file: TOML of the shape of this JSON
    Policy,
    /// What `policy evaluate --json` prints
    PolicyEvaluation,
    /// What `policy derive --json` prints
    PolicyDerivation,
    /// What `policy diff --json` prints
    PolicyDiff,
    /// What `claims --json` prints
    Claims,
    /// A claims file: TOML of the shape of this JSON
    ClaimList,
    /// What `trace --json` writes
    Trace,
    /// What `explain --json` prints
    Explanation,
    /// What `compare --json` prints
    Comparison,
    /// What `compat` writes
    Compat,
    /// What `boundaries --json` prints
    Boundaries,
    /// What `exec --json` writes
    Calls,
    /// What `check --json` writes
    Check,
    /// A tracer, as `check` reads it
    Tracer,
    /// Known deviations of a stack: TOML of the shape of this JSON
    Deviations,
    /// What `condense` writes
    Knowledge,
    /// A worker's first line
    Hello,
    /// What a worker is sent
    Plan,
    /// What a worker answers to a plan
    Answer,
    /// What `protocol check --json` prints
    ProtocolCheck,
}

pub fn schema(arguments: &SchemaArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let schema = match arguments.format {
        Format::Report => crate::report::finding::schema(),
        Format::List => list_schema(),
        Format::Policy => crate::knowledge::policy::schema(),
        Format::PolicyEvaluation => crate::knowledge::policy::results::evaluation_schema(),
        Format::PolicyDerivation => crate::knowledge::policy::results::derivation_schema(),
        Format::PolicyDiff => crate::knowledge::policy::results::diff_schema(),
        Format::Claims => crate::report::claim::result_schema(),
        Format::ClaimList => crate::report::claim::schema(),
        Format::Trace => crate::tracer::report::schema(),
        Format::Explanation => crate::knowledge::explain::schema(),
        Format::Comparison => crate::report::compare::schema(),
        Format::Compat => crate::report::compat::schema(),
        Format::Boundaries => crate::report::compat::boundaries::schema(),
        Format::Calls => crate::knowledge::calls::schema(),
        Format::Check => crate::tracer::check::schema(),
        Format::Tracer => crate::tracer::check::profile::schema(),
        Format::Deviations => crate::report::deviation::schema(),
        Format::Knowledge => crate::knowledge::policy::causes::schema(),
        Format::Hello => crate::plan::hello_schema(),
        Format::Plan => crate::plan::plan_schema(),
        Format::Answer => crate::plan::answer_schema(),
        Format::ProtocolCheck => crate::report::conformance::schema(),
    };
    output::json(&schema, out)?;
    Ok(Exit::Success)
}

#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "describes `Entry`, which borrows")]
#[schemars(rename = "Entry", deny_unknown_fields)]
struct ListEntry {
    scenario: String,
    case: String,
    axes: BTreeMap<String, String>,
    call: Call,
    cause: Cause,
    expected: BTreeMap<Os, Vec<Expectation>>,
}

fn list_schema() -> serde_json::Value {
    crate::words::schema::schema::<Vec<ListEntry>>("errnoscope list --cases --json")
}
