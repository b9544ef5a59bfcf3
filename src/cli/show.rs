//! `errnoscope show`: prints everything that a file says about one scenario or one case.

use std::io::Write;

use toml::de::DeValue;

use super::select::unknown_id;
use super::{Exit, Failure, output, source};
use crate::plan::Role;
use crate::render::style::{HEADING, paint};
use crate::render::text::{count, field, glossary, heading, lines, shown, table, unwrapped};
use crate::scenario::{Case, Condition, ExpectationRule, Platform, Scenario, StepText, cases, compile};
use crate::suite::{judge, xnu_run};
use crate::words::names::{Authority, Os};
use crate::words::untrusted::Text;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope show bind.port-held
  errnoscope show \"$(errnoscope list --cases bind.port-held | head -1)\"")]
pub struct Arguments {
    /// The id of a scenario or of a case
    id: String,

    #[command(flatten)]
    scenarios: source::Scenarios,
}

pub fn show(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let catalogue = arguments.scenarios.load()?;
    let id = arguments.id.as_str();
    let scenario = catalogue.scenario_of(id);
    let unknown = || Failure::bad(unknown_id(id, &catalogue));
    let scenario = scenario.ok_or_else(unknown)?;
    let width = output::width();
    let text = if id == scenario.id {
        show_scenario(scenario, width)
    } else {
        let case = scenario.case(id).ok_or_else(unknown)?;
        show_case(scenario, &case, width)?
    };
    write!(out, "{text}{}", glossary(&text, width))?;
    Ok(Exit::Success)
}

/// A text whose lines end where its file's do, to be broken into others.
fn flowing(text: &Text) -> String {
    shown(&text.raw().split_whitespace().collect::<Vec<_>>().join(" "))
}

fn show_scenario(scenario: &Scenario, width: usize) -> String {
    let mut text = format!("{}\n", paint(HEADING, &scenario.id));
    text.push_str(&field("  claim    ", &scenario.claim, width));
    text.push_str(&field("  why      ", &flowing(&scenario.why), width));
    text.push_str(&field("  cause    ", &inline(scenario.cause.get_ref()), width));
    let slow = cases(scenario).filter(|case| scenario.is_slow(case)).count();
    let slow = if slow > 0 { format!(", {slow} of them only with --slow") } else { String::new() };
    text.push_str(&field("  cases    ", &format!("{}{slow}", cases(scenario).count()), width));
    text.push_str(&field("  file     ", &scenario.file, width));
    section(
        &mut text,
        "axes",
        scenario.axes.iter().map(|axis| {
            let values: Vec<&str> = axis.values.iter().map(|value| value.get_ref().as_str()).collect();
            (axis.name.get_ref().clone(), values.join(" "))
        }),
        width,
    );
    section(
        &mut text,
        "facts",
        scenario.facts.iter().flat_map(|(name, when)| {
            let entry = |(index, clause)| (if index == 0 { name.get_ref().clone() } else { String::new() }, clause);
            clauses(when).into_iter().enumerate().map(entry)
        }),
        width,
    );
    section(
        &mut text,
        "values",
        scenario.values.iter().flat_map(|(name, rows)| {
            rows.iter().enumerate().map(move |(index, row)| {
                let name = if index == 0 { format!("${}", name.get_ref()) } else { String::new() };
                (name, format!("{} {}", inline(row.is.get_ref()), when(row.when.as_ref())))
            })
        }),
        width,
    );
    if !scenario.exclude.is_empty() {
        text.push_str(&format!("\n{}\n", paint(HEADING, "left out")));
    }
    for exclude in &scenario.exclude {
        text.push_str(&field("  ", &flowing(&exclude.why), width));
        for clause in clauses(exclude.when.get_ref()) {
            text.push_str(&field("      ", &clause, width));
        }
    }
    section(
        &mut text,
        "needs",
        scenario
            .needs
            .iter()
            .map(|need| (need.need.get_ref().clone(), when(need.when.as_ref().map(|when| when.get_ref())))),
        width,
    );
    section(&mut text, "setup", scenario.setup.iter().map(step), width);
    section(&mut text, "preconditions", scenario.preconditions.iter().map(precondition), width);
    let mut references = References::default();
    for subject in 0..scenario.subjects.len() {
        text.push_str(&show_subject(scenario, subject, &mut references, width));
    }
    let references = references.list.iter().enumerate();
    section(&mut text, "references", references.map(|(index, text)| (format!("[{}]", index + 1), text.clone())), width);
    text
}

fn show_subject(scenario: &Scenario, place: usize, references: &mut References, width: usize) -> String {
    let subject = &scenario.subjects[place];
    let after =
        subject.after.as_ref().map(|after| format!(", after {} succeeded", after.get_ref())).unwrap_or_default();
    let mut text = format!("\n{}{after}\n", paint(HEADING, &format!("call {}", subject.name())));
    let (what, arguments) = step(&subject.step);
    text.push_str(&field(&format!("  {what} "), &arguments, width));
    if let Some(cause) = &subject.cause {
        text.push_str(&field("  cause ", &inline(cause.get_ref()), width));
    }
    section(&mut text, "  before it", subject.before.iter().map(step), width);
    section(&mut text, "  preconditions", subject.preconditions.iter().map(precondition), width);
    if let Some(why) = &subject.unwitnessed {
        text.push_str(&field("  without a precondition: ", why.get_ref(), width));
    }
    for &os in Os::ALL {
        let rules: Vec<&ExpectationRule> = subject.rules.iter().filter(|rule| rule.os.contains(&os)).collect();
        text.push_str(&format!("\n  {}\n", paint(HEADING, &format!("expected on {os}"))));
        let authorities = rules.iter().map(|rule| authority(scenario, place, rule, os));
        text.push_str(&rules_table(&rules, authorities, references, width));
    }
    text
}

/// Why a rule is believed, and in how many of its cases there is a better reason.
fn authority(scenario: &Scenario, subject: usize, rule: &ExpectationRule, os: Os) -> String {
    let Some(authority) = rule.expectations.first().and_then(|first| first.authority) else { return String::new() };
    let call = || {
        let compiled = cases(scenario).filter_map(|case| compile(scenario, &case, Os::Macos).ok());
        let mut calls = compiled.flat_map(|compiled| compiled.subjects);
        calls.find(|call| call.subject == subject).map(|call| call.call)
    };
    let agrees = match os {
        Os::Macos if authority < Authority::XnuRun => call().map(|call| xnu_run::agrees(scenario, subject, call, rule)),
        Os::Macos | Os::Linux => None,
    };
    match agrees {
        None | Some((_, 0)) => authority.to_string(),
        Some((all, agree)) => {
            let cases = count(all as u64, "case");
            format!("{authority}; {} in {agree} of {cases}", Authority::XnuRun)
        }
    }
}

/// The first row whose condition holds decides. References are long: each stands once, below all tables.
fn rules_table(
    rules: &[&ExpectationRule],
    authorities: impl Iterator<Item = String>,
    references: &mut References,
    width: usize,
) -> String {
    let mut table = table(width.saturating_sub(4));
    table.set_header(heading(["where", "outcome", "authority", "ref"]));
    for (index, (rule, authority)) in rules.iter().zip(authorities).enumerate() {
        let kernel = rule.kernel.as_ref().map(|kernel| format!("kernel {kernel}"));
        let when = rule.when.as_ref().map(|when| clauses(when).join("\n"));
        let need = rule.need.map(|need| format!("need {need}"));
        let condition = [kernel, need, when].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let condition = match (condition.is_empty(), index) {
            (false, _) => condition,
            (true, 0) => "always".to_owned(),
            (true, _) => "otherwise".to_owned(),
        };
        let first = rule.expectations.first();
        table.add_row([
            condition,
            rule.outcomes.iter().map(|outcome| outcome.as_str()).collect::<Vec<_>>().join(" or "),
            authority,
            first.map(|first| references.number(&first.reference)).unwrap_or_default(),
        ]);
    }
    lines(table, "    ")
}

/// What the rules refer to, by number, in the order of the rules.
#[derive(Default)]
struct References {
    list: indexmap::IndexSet<String>,
}

impl References {
    fn number(&mut self, reference: &str) -> String {
        format!("[{}]", self.list.insert_full(reference.to_owned()).0 + 1)
    }
}

fn show_case(scenario: &Scenario, case: &Case, width: usize) -> Result<String, Failure> {
    let compiled = compile(scenario, case, crate::sys::OS).map_err(|problem| Failure::Problems(vec![problem]))?;
    let mut text = format!("{}\n", paint(HEADING, &case.id));
    text.push_str(&field("  claim  ", &scenario.claim, width));
    if scenario.is_slow(case) {
        text.push_str("  slow   runs only with --slow\n");
    }
    let needs: Vec<&str> = compiled.needs.iter().map(|need| need.as_str()).collect();
    if !needs.is_empty() {
        text.push_str(&field("  needs  ", &needs.join(", "), width));
    }
    text.push_str(&format!("\n{}\n", paint(HEADING, &format!("steps, within {} ms", compiled.plan.deadline_ms))));
    let mut steps = table(width.saturating_sub(2));
    steps.set_header(heading(["#", "", "op", "socket", "arguments"]));
    for (index, step) in compiled.plan.steps.iter().enumerate() {
        let role = if matches!(step.role, Role::Subject { .. }) { "call" } else { "" };
        let (op, arguments) = step.op.describe();
        let user = step.user.map(|user| format!(" as {user}")).unwrap_or_default();
        let socket = step.op.socket().unwrap_or_default().to_owned();
        steps.add_row([(index + 1).to_string(), role.to_owned(), op + &user, socket, arguments]);
    }
    unwrapped(&mut steps, 4);
    text.push_str(&lines(steps, "  "));
    for subject in &compiled.subjects {
        let title = format!("call {} (step {})", subject.call, subject.step + 1);
        text.push_str(&format!("\n{}, cause {}\n", paint(HEADING, &title), subject.cause));
        for (_, precondition) in &subject.preconditions {
            text.push_str(&field("  while   ", &precondition.describe(), width));
        }
        if let Some(why) = &subject.unwitnessed {
            text.push_str(&field("  without a precondition: ", why, width));
        }
        match judge::expectations(scenario, case, subject, Platform::current) {
            None => text.push_str("  not reached on any OS\n"),
            Some(expected) => {
                for (os, expectations) in expected {
                    for expectation in expectations.iter() {
                        let expected = crate::render::details::expected(expectation);
                        text.push_str(&field(&format!("  {os:<7} "), &expected, width));
                    }
                }
            }
        }
    }
    Ok(text)
}

/// A heading and a list of names with what belongs to them; nothing where the list is empty.
fn section(text: &mut String, title: &str, entries: impl Iterator<Item = (String, String)>, width: usize) {
    let entries: Vec<(String, String)> = entries.collect();
    if entries.is_empty() {
        return;
    }
    let indent = title.len() - title.trim_start().len();
    let (blank, title) = title.split_at(indent);
    text.push_str(&format!("\n{blank}{}\n", paint(HEADING, title)));
    let names = entries.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, content) in entries {
        let label = if names == 0 { format!("{blank}  ") } else { format!("{blank}  {name:names$}  ") };
        text.push_str(&field(&label, &content, width));
    }
}

/// The clauses of a condition, of which one must hold.
fn clauses(condition: &Condition) -> Vec<String> {
    let clause = |(index, clause): (usize, &_)| {
        let clause = Condition { any: vec![Clone::clone(clause)] };
        if index == 0 { clause.to_string() } else { format!("or {clause}") }
    };
    condition.any.iter().enumerate().map(clause).collect()
}

fn when(condition: Option<&Condition>) -> String {
    condition.map(|condition| format!("where {condition}")).unwrap_or_default()
}

/// An op's name, and its arguments as the file has them.
fn step(step: &StepText) -> (String, String) {
    let arguments = step.op.get_ref().as_table().and_then(|table| table.values().next());
    let mut text = arguments.map(|arguments| inline(arguments.get_ref())).unwrap_or_default();
    if let Some(user) = &step.user {
        text.push_str(&format!(" as {}", inline(user.get_ref())));
    }
    if let Some(condition) = &step.when {
        text.push_str(&format!(" where {condition}"));
    }
    (step.name().to_owned(), text)
}

fn precondition(text: &crate::scenario::PreconditionText) -> (String, String) {
    let (name, arguments) = match text.what.get_ref().as_table().and_then(|table| table.iter().next()) {
        Some((name, arguments)) => (name.get_ref().to_string(), inline(arguments.get_ref())),
        None => Default::default(),
    };
    let at = match text.at {
        crate::scenario::witness::WitnessTime::Before => "before: ",
        crate::scenario::witness::WitnessTime::After => "after: ",
        crate::scenario::witness::WitnessTime::Both => "",
    };
    let condition = text.when.as_ref().map(|condition| format!(" where {condition}")).unwrap_or_default();
    (name, format!("{at}{arguments}{condition}"))
}

/// A value on one line, without the quotes that the file needs.
fn inline(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(array) => {
            let elements: Vec<String> = array.iter().map(|element| inline(element.get_ref())).collect();
            format!("[{}]", elements.join(", "))
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                match value.get_ref() {
                    nested @ DeValue::Table(_) => format!("{key}={{{}}}", inline(nested)),
                    value => format!("{key}={}", inline(value)),
                }
            };
            table.iter().map(entry).collect::<Vec<_>>().join(" ")
        }
    }
}
