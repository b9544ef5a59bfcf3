//! `errnoscope spec`: the rules of the executable specification, and which of them a case meets.

use std::io::Write;

use serde_json::json;
use wildmatch::WildMatch;

use super::select::{one_of, unknown_id};
use super::{Exit, Failure, output, source};
use crate::render::spec as text;
use crate::scenario::compile;
use crate::spec::{self, SpecRule, World, foresee};
use crate::words::names::Os;
use crate::words::near::did_you_mean;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope spec list 'linux.port.*'
  errnoscope spec show linux.port.listener-excludes-reuseaddr
  errnoscope spec explain 'listen.rival[family=ipv4,relation=same-specific,reuse=addr]'

The rules are Linux's; those of macOS are not written yet.")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the rules
    List(ListArguments),
    /// Show a rule: what it says, where it was read, and which releases have it
    Show(ShowArguments),
    /// Show, op by op, which rules a case meets and what each call may give
    Explain(ExplainArguments),
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope spec list 'linux.port.*'
  errnoscope spec list --os linux --json > rules.json")]
struct ListArguments {
    /// Ids of rules; `*` and `?` are wildcards. Without any, all of them
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,

    /// Only the rules of this OS
    #[arg(long, value_parser = one_of(Os::ALL, Os::as_str), ignore_case = true, hide_possible_values = true)]
    os: Option<Os>,

    /// As a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope spec show linux.bind.port-held")]
struct ShowArguments {
    /// The id of a rule
    rule: String,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope spec explain 'listen.rival[family=ipv4,relation=same-specific,reuse=addr]'
  errnoscope spec explain --kernel 5.10 \"$(errnoscope list --cases bind.third | head -1)\"")]
struct ExplainArguments {
    /// The id of a case, as `list --cases` prints it
    case: String,

    /// Of which OS [default: linux]
    #[arg(long, value_parser = one_of(Os::ALL, Os::as_str), ignore_case = true, hide_possible_values = true)]
    os: Option<Os>,

    /// Of which release of the kernel, such as 5.10 [default: the newest]
    #[arg(long, value_name = "RELEASE")]
    kernel: Option<String>,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    scenarios: source::Scenarios,
}

pub fn spec(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::List(arguments) => list(arguments, out),
        Command::Show(arguments) => show(arguments, out),
        Command::Explain(arguments) => explain(arguments, out),
    }
}

fn all() -> impl Iterator<Item = &'static SpecRule> {
    Os::ALL.iter().flat_map(|os| spec::rules(*os)).copied()
}

fn list(arguments: &ListArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let patterns: Vec<WildMatch> = arguments.patterns.iter().map(|pattern| WildMatch::new(pattern)).collect();
    let is_wanted = |rule: &&SpecRule| {
        arguments.os.is_none_or(|os| rule.os() == os)
            && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(rule.id)))
    };
    let rules: Vec<&SpecRule> = all().filter(is_wanted).collect();
    if rules.is_empty() {
        let near = arguments.patterns.first().and_then(|pattern| did_you_mean(pattern, all().map(|rule| rule.id)));
        let patterns = arguments.patterns.join(" ");
        return Err(Failure::NothingSelected(format!("no rule matches `{patterns}`{}", near.unwrap_or_default())));
    }
    match arguments.json {
        true => output::json(&rules, out)?,
        false => write!(out, "{}", text::rules(&rules, output::width()))?,
    }
    Ok(Exit::Success)
}

fn show(arguments: &ShowArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let id = &*arguments.rule;
    let Some(rule) = all().find(|rule| rule.id == id) else {
        let near = did_you_mean(id, all().map(|rule| rule.id)).unwrap_or("; see `errnoscope spec list`".to_owned());
        return Err(Failure::bad(format!("no rule is called `{id}`{near}")));
    };
    match arguments.json {
        true => output::json(rule, out)?,
        false => write!(out, "{}", text::rule(rule, output::width()))?,
    }
    Ok(Exit::Success)
}

fn explain(arguments: &ExplainArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let catalogue = arguments.scenarios.load()?;
    let id = arguments.case.as_str();
    let unknown = || Failure::bad(unknown_id(id, &catalogue));
    let scenario = catalogue.scenario_of(id).ok_or_else(unknown)?;
    if id == scenario.id {
        let message = format!("`{id}` is a scenario; one of its cases: errnoscope list --cases {id}");
        return Err(Failure::bad(message));
    }
    let case = scenario.case(id).ok_or_else(unknown)?;
    let os = arguments.os.unwrap_or(Os::Linux);
    let release = match &arguments.kernel {
        None => crate::scenario::rule::NEWEST,
        Some(text) if text.starts_with(|letter: char| letter.is_ascii_digit()) => crate::words::release::version(text),
        Some(text) => return Err(Failure::bad(format!("`--kernel {text}`: expected a release, such as 6.18"))),
    };
    let compiled = compile(scenario, &case, os).map_err(|problem| Failure::Problems(vec![problem]))?;
    let (steps, not) = foresee(&compiled.plan, &World::of(os, release), |_| None);
    if arguments.json {
        let step = |foreseen: &spec::Foreseen| {
            let ways = text::distinct(&foreseen.ways).into_iter();
            let way = |(outcome, rules): (spec::Permitted, Vec<&SpecRule>)| {
                let rules: Vec<&str> = rules.iter().map(|rule| rule.id).collect();
                json!({ "outcome": outcome, "rules": rules })
            };
            json!({ "op": compiled.plan.steps[foreseen.step].op, "ways": ways.map(way).collect::<Vec<_>>() })
        };
        let steps: Vec<_> = steps.iter().map(step).collect();
        let not = not.map(|not| not.reason);
        output::json(&json!({ "case": case.id, "os": os, "steps": steps, "not_modelled": not }), out)?;
    } else {
        let text = text::explanation(&case.id, os, &compiled.plan, &steps, not, output::width());
        write!(out, "{text}")?;
    }
    Ok(Exit::Success)
}
