//! `errnoscope policy`: holds rules for failed probes against findings.
//!
//! It reads files and prints; `knowledge::policy` decides.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::output::{self, Destination};
use super::select::one_of;
use super::{Exit, Failure, source};
use crate::knowledge::policy::derive::{self, Derived};
use crate::knowledge::policy::diff::diff;
use crate::knowledge::policy::evaluate::{Evaluation, evaluate};
use crate::knowledge::policy::evidence::{Evidence, evidence};
use crate::knowledge::policy::results::{self, Derivation, Diff, Evaluations, Grounds};
use crate::knowledge::policy::{self, BUILT_IN, DEFAULT, Forced, Policy, Signal};
use crate::render::code::{Language, code};
use crate::render::policy as text;
use crate::render::style::{HEADING, paint};
use crate::render::text::behind;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope run --json report.json
  errnoscope policy evaluate report.json --policy conflate --policy evidence
  errnoscope policy derive report.json -o mine.toml
  errnoscope policy diff conflate mine.toml

A policy is an ordered list of rules over what a tracer knows when a probe fails: OS, call, source port (explicit, \
if the call finds one; ephemeral, if the kernel picks one in the call), protocol, family, reuse options and errno. The first rule that applies decides: skip (try the next \
port), fail-probe (this probe is lost), abort (stop and say so) or proceed.")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hold policies against the findings of reports
    Evaluate(EvaluateArguments),
    /// Derive the shortest policy that is right for every finding, and show what no policy can decide
    Derive(DeriveArguments),
    /// Show one policy, rule by rule
    Show(ShowArguments),
    /// List the built-in policies
    List(ListArguments),
    /// Show where two policies decide differently
    Diff(DiffArguments),
    /// Write a policy as a function in a programming language
    Export(ExportArguments),
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope policy evaluate report.json
  errnoscope policy evaluate report.json --policy conflate --policy addr-in-use-only
  errnoscope policy evaluate linux.json mac.json --policy mine.toml --all --json

Expectations for a system count if no report is of that system, and are marked with a star.
Exit codes: 0 no wrong action that a policy could avoid, 1 such an action, 2 a file that does not parse.")]
pub struct EvaluateArguments {
    /// Reports, as `run --json` writes them
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,

    /// A built-in policy or a policy file; may be given several times
    #[arg(short, long, value_name = "NAME|FILE", default_value = DEFAULT)]
    policy: Vec<String>,

    /// Show every case of each wrong decision, not just one
    #[arg(long)]
    all: bool,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope policy derive report.json
  errnoscope policy derive report.json -o mine.toml
  errnoscope policy derive linux.json mac.json --json")]
pub struct DeriveArguments {
    /// Reports, as `run --json` writes them
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,

    /// Write the policy to this file, or with `-` only the policy to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope policy show
  errnoscope policy show conflate
  errnoscope policy show mine.toml --json")]
pub struct ShowArguments {
    /// A built-in policy or a policy file
    #[arg(value_name = "NAME|FILE", default_value = DEFAULT)]
    policy: String,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope policy list
  errnoscope policy list --json")]
pub struct ListArguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope policy diff conflate evidence
  errnoscope policy diff evidence mine.toml --report report.json")]
pub struct DiffArguments {
    /// A built-in policy or a policy file
    #[arg(value_name = "NAME|FILE")]
    first: String,

    /// The other one
    #[arg(value_name = "NAME|FILE")]
    second: String,

    /// Only signals that this report knows, instead of all that are possible; may be given several times
    #[arg(long, value_name = "REPORT")]
    report: Vec<PathBuf>,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope policy export --lang rust -o policy.rs
  errnoscope policy export conflate --lang c
  errnoscope policy export mine.toml --lang python -o policy.py

The function takes what a tracer knows of a failed call, with the errno as the system numbers it, and gives the action. \
Comments say what each rule rests on.")]
pub struct ExportArguments {
    /// A built-in policy or a policy file
    #[arg(value_name = "NAME|FILE", default_value = DEFAULT)]
    policy: String,

    /// The language: rust, go, c or python
    #[arg(short, long, value_name = "LANGUAGE", value_parser = one_of(Language::ALL, Language::as_str), ignore_case = true)]
    lang: Language,

    /// Write it to this file instead of standard output
    #[arg(short, long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    output: PathBuf,
}

pub fn policy(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Evaluate(arguments) => evaluate_policies(arguments, out),
        Command::Derive(arguments) => derive_policy(arguments, out),
        Command::Show(arguments) => show(arguments, out),
        Command::List(arguments) => list(arguments, out),
        Command::Diff(arguments) => compare(arguments, out),
        Command::Export(ExportArguments { policy, lang, output }) => {
            let destination = Destination::new(output)?;
            let code = code(&load(policy)?, *lang);
            destination.write(out, |out| out.write_all(code.as_bytes()))?;
            Ok(Exit::Success)
        }
    }
}

fn evaluate_policies(arguments: &EvaluateArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let policies = arguments.policy.iter().map(|name| load(name)).collect::<Result<Vec<Policy>, Failure>>()?;
    let evidence = read(&arguments.reports)?;
    let mut evaluations: Vec<Evaluation> = policies.iter().map(|policy| evaluate(policy, &evidence)).collect();
    let exit = if evaluations.iter().all(Evaluation::is_right) { Exit::Success } else { Exit::Mismatch };
    if !arguments.all {
        evaluations.iter_mut().flat_map(|evaluation| &mut evaluation.wrong).for_each(|wrong| wrong.cases.clear());
    }
    if arguments.json {
        let (format, evidence) = (results::EVALUATION, Grounds::of(&evidence));
        output::json(&Evaluations { format, evidence, policies: evaluations }, out)?;
        return Ok(exit);
    }
    let width = output::width();
    write!(out, "{}", text::basis(&evidence, width))?;
    for evaluation in &evaluations {
        write!(out, "\n{}", text::evaluation(evaluation, width))?;
    }
    Ok(exit)
}

fn derive_policy(arguments: &DeriveArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let destination = arguments.output.as_deref().map(Destination::new).transpose()?;
    let evidence = read(&arguments.reports)?;
    let mut derived = derive::derive(&evidence);
    // A policy is known by its file's name.
    let file = arguments.output.as_deref().filter(|_| destination.as_ref().is_some_and(|it| !it.is_stdout()));
    if let Some(name) = file.and_then(Path::file_stem) {
        derived.policy.name = name.to_string_lossy().into_owned();
    }
    let mut quiet = false;
    if let Some(destination) = &destination {
        let toml = policy::write(&derived.policy, &head(&evidence));
        destination.write(out, |out| out.write_all(toml.as_bytes()))?;
        quiet = destination.is_stdout();
    }
    if quiet {
        return Ok(Exit::Success);
    }
    if arguments.json {
        let Derived { policy, shortest, ambiguities } = derived;
        let (format, evidence) = (results::DERIVATION, Grounds::of(&evidence));
        output::json(&Derivation { format, evidence, policy: entry(&policy), shortest, ambiguities }, out)?;
    } else {
        write!(out, "{}", text::derived(&derived, &evidence, output::width()))?;
    }
    Ok(Exit::Success)
}

/// The comment at the head of a derived policy.
fn head(evidence: &Evidence) -> String {
    let expected: Vec<&str> = evidence.expected.iter().map(|os| os.as_str()).collect();
    let mut head =
        format!("Derived by `errnoscope policy derive`, not written.\nobserved: {}", text::stacks(evidence).join(", "));
    for line in behind(&evidence.behind) {
        head.push_str(&format!("\n{line}"));
    }
    if !expected.is_empty() {
        head.push_str(&format!("\nexpected, not observed: {}", expected.join(", ")));
    }
    head
}

fn show(arguments: &ShowArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let policy = load(&arguments.policy)?;
    if arguments.json {
        output::json(&entry(&policy), out)?;
    } else {
        write!(out, "{}", text::policy(&policy, output::width()))?;
    }
    Ok(Exit::Success)
}

fn list(arguments: &ListArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let policies = BUILT_IN.iter().map(|(name, _)| load(name)).collect::<Result<Vec<Policy>, Failure>>()?;
    if arguments.json {
        output::json(&Value::Array(policies.iter().map(entry).collect()), out)?;
        return Ok(Exit::Success);
    }
    for policy in &policies {
        let label = format!("{:<19}", policy.name);
        let default = if policy.name == DEFAULT { " The default." } else { "" };
        let text = crate::render::text::field(&label, &format!("{}{default}", policy.why), output::width());
        write!(out, "{}", text.replacen(&policy.name, &paint(HEADING, &policy.name), 1))?;
    }
    Ok(Exit::Success)
}

fn compare(arguments: &DiffArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (first, second) = (load(&arguments.first)?, load(&arguments.second)?);
    let differences = if arguments.report.is_empty() {
        diff(&first, &second, Signal::all())
    } else {
        diff(&first, &second, read(&arguments.report)?.items.iter().map(|item| item.signal))
    };
    if arguments.json {
        let (format, first, second) = (results::DIFF, first.name, second.name);
        output::json(&Diff { format, first, second, differences: differences.clone() }, out)?;
    } else {
        write!(out, "{}", text::differences(&first.name, &second.name, &differences, output::width()))?;
    }
    Ok(if differences.is_empty() { Exit::Success } else { Exit::Mismatch })
}

fn read(reports: &[PathBuf]) -> Result<Evidence, Failure> {
    let reports = source::reports(reports)?;
    Ok(evidence(&reports))
}

/// A policy of this binary, or that of a file.
pub fn load(name: &str) -> Result<Policy, Failure> {
    if let Some(policy) = policy::built_in(name) {
        return policy.map_err(Failure::Policy);
    }
    let path = Path::new(name);
    if !path.exists() && !name.contains(['/', '.']) {
        let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        return Err(Failure::bad(format!("unknown policy `{name}`, expected one of {}, or a file", known.join(", "))));
    }
    let (file, text) = source::read(path)?;
    policy::read(&file, text).map_err(Failure::Policy)
}

/// A policy as its file has it.
fn entry(policy: &Policy) -> Value {
    let rules = policy.rules.iter().map(|rule| {
        let mut entry: serde_json::Map<String, Value> =
            rule.when.entries().into_iter().map(|(name, values)| (name.to_owned(), json!(values))).collect();
        entry.insert("action".to_owned(), json!(rule.action));
        entry.insert("why".to_owned(), json!(rule.why));
        if let Some(forced) = &rule.forced {
            let Forced { observed, xnu_run, expected, example } = forced;
            let mut forced = json!({ "observed": observed, "expected": expected, "example": example });
            if *xnu_run > 0 {
                forced["xnu_run"] = json!(xnu_run);
            }
            entry.insert("forced".to_owned(), forced);
        }
        Value::Object(entry)
    });
    let rules: Vec<Value> = rules.collect();
    let mut entry = json!({ "format": policy::FORMAT, "name": policy.name, "why": policy.why, "rule": rules });
    if !policy.seen.is_empty() {
        entry["seen"] = json!(policy.seen);
    }
    entry
}
