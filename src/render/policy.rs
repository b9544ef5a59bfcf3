//! Policies, and what they do with findings, as text for terminals.
//!
//! `knowledge::policy` has judged before.

use std::collections::BTreeMap;

use comfy_table::{Cell, Color, Row};

use super::style::{FAINT, HEADING, paint};
use super::text::{
    self, EXPECTED, XNU_RUN, count, expected_marks, field, heading, lines, numbers_from, table, unwrapped,
};
use crate::knowledge::policy::derive::{Ambiguity, Derived};
use crate::knowledge::policy::diff::PolicyDifference;
use crate::knowledge::policy::evaluate::{DecisionTally, Evaluation, Wrong};
use crate::knowledge::policy::evidence::{Basis, Evidence, LeftOut};
use crate::knowledge::policy::right::Consequence;
use crate::knowledge::policy::{Action, Forced, Policy};
use crate::words::names::Os;

/// A policy, rule by rule.
pub fn policy(policy: &Policy, width: usize) -> String {
    let mut text = format!("{}\n", paint(HEADING, &policy.name));
    text.push_str(&field("  ", &policy.why, width));
    for (index, rule) in policy.rules.iter().enumerate() {
        text.push('\n');
        text.push_str(&field(
            &format!("  {:>2}  {:<10}  ", index + 1, rule.action),
            &breakable(&rule.when.to_string(), width),
            width,
        ));
        text.push_str(&field(INDENT, &rule.why, width));
        if let Some(forced) = &rule.forced {
            let &Forced { observed, xnu_run, expected, example: _ } = forced;
            let xnu_run = if xnu_run > 0 { format!(", {xnu_run} of XNU's code ({XNU_RUN})") } else { String::new() };
            let expected = if expected > 0 {
                format!(" and {} expected, not observed", count(expected, "finding"))
            } else {
                String::new()
            };
            let observed = count(observed, "observed finding");
            text.push_str(&field(INDENT, &format!("rests on {observed}{xnu_run}{expected}:"), width));
            text.push_str(&field(INDENT, &forced.example, width));
        }
    }
    text
}

/// Long lists of values may be broken, short ones stay together.
fn breakable(conditions: &str, width: usize) -> String {
    let longest = conditions.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
    if INDENT.len() + longest > width { conditions.replace('|', " | ") } else { conditions.to_owned() }
}

const INDENT: &str = "                  ";

/// What the rules were derived from, the rules, and what they cannot tell apart.
pub fn derived(derived: &Derived, evidence: &Evidence, width: usize) -> String {
    let mut text = basis(evidence, width);
    text.push('\n');
    text.push_str(&policy(&derived.policy, width));
    let proven = if derived.shortest {
        "no shorter list of rules does the same with the fields that it needs"
    } else {
        "no rule, condition or value can be left out; a shorter list was not found, and may exist"
    };
    text.push_str(&format!("\n{}: {proven}\n", count(derived.policy.rules.len() as u64, "rule")));
    let ambiguous = match derived.ambiguities.len() as u64 {
        0 => "no signal has causes that want different actions".to_owned(),
        1 => "1 signal has causes that want different actions".to_owned(),
        many => format!("{many} signals have causes that want different actions"),
    };
    text.push_str(&format!("\n{}\n", paint(HEADING, &ambiguous)));
    for ambiguity in &derived.ambiguities {
        text.push_str(&self::ambiguity(ambiguity, width));
    }
    text
}

fn ambiguity(ambiguity: &Ambiguity, width: usize) -> String {
    fn words<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
        values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join("|")
    }
    let Ambiguity { os, call, port, errno, protocol, family, reuse, sides, safe, why, separate } = ambiguity;
    let signal = format!("{os} {call} {port} {}", errno.as_str());
    let sockets = format!("({}, {}, reuse={})", words(protocol), words(family), words(reuse));
    let mut text = format!("\n  {}  {}\n", paint(HEADING, &signal), paint(FAINT, &sockets));
    for side in sides {
        let others = [(side.xnu_run, "xnu-run"), (side.expected, "expected")];
        let others = others.iter().filter(|(number, _)| *number > 0).map(|(number, how)| format!(", {number} {how}"));
        let counts = format!("{} ({} observed{})", side.cause, side.observed, others.collect::<String>());
        text.push_str(&field(&format!("    {:<10}  ", side.action), &counts, width));
        text.push_str(&field("                ", &side.example, width));
    }
    text.push_str(&field("    takes       ", &format!("{safe}: {why}"), width));
    for separate in separate {
        text.push_str(&field("    separate    ", separate, width));
    }
    text
}

/// The stacks that were observed, with the mark of those behind a command.
pub fn stacks(evidence: &Evidence) -> Vec<String> {
    evidence.stacks.iter().map(|stack| text::marked(stack, evidence.behind.contains_key(stack))).collect()
}

/// What counted, and what did not.
pub fn basis(evidence: &Evidence, width: usize) -> String {
    let number = |basis| evidence.items.iter().filter(|item| item.basis == basis).count() as u64;
    let calls = count(number(Basis::Observed), "failed call");
    let mut text = field("observed  ", &format!("{calls} of {}", stacks(evidence).join(", ")), width);
    text.extend(text::behind(&evidence.behind).iter().map(|line| field("          ", line, width)));
    if !evidence.expected.is_empty() {
        let systems: Vec<&str> = evidence.expected.iter().map(|os| os.as_str()).collect();
        let run = number(Basis::XnuRun);
        if run > 0 {
            let said = format!("{} of XNU 7195.141.2's own code, not of a Mac", count(run, "failed call"));
            text.push_str(&field("xnu-run   ", &said, width));
        }
        let expected = count(number(Basis::Expected), "failed call");
        text.push_str(&field("expected  ", &format!("{expected} of {}, not observed", systems.join(", ")), width));
    }
    let left_out: Vec<String> =
        evidence.left_out.iter().map(|(reason, count)| format!("{count} {}", left_out(*reason))).collect();
    if !left_out.is_empty() {
        text.push_str(&field("left out  ", &left_out.join("; "), width));
    }
    text
}

fn left_out(reason: LeftOut) -> &'static str {
    match reason {
        LeftOut::NotFailed => "did not fail",
        LeftOut::NoProbe => "calls that no probe makes",
        LeftOut::Unconfirmed => "did not run or were not confirmed",
        LeftOut::Unknown => "of which nobody knows the outcome",
        LeftOut::Unreadable => "with an errno without a name",
        LeftOut::OtherStack => "of stacks that only pass for one of these systems",
    }
}

fn mark(basis: Basis) -> &'static str {
    match basis {
        Basis::Observed | Basis::Permitted => "",
        Basis::XnuRun => XNU_RUN,
        Basis::Expected => EXPECTED,
    }
}

/// `linux`, `macos‡`, `macos*`.
fn marked(os: Os, basis: Basis) -> String {
    format!("{os}{}", mark(basis))
}

/// How a policy does, by cause and OS, and each kind of wrong decision.
pub fn evaluation(evaluation: &Evaluation, width: usize) -> String {
    let mut text = format!("{}\n{}\n", paint(HEADING, &evaluation.policy), in_short(evaluation, width));
    let mut rows = table(width.saturating_sub(2));
    let was_seen = !evaluation.seen.is_empty();
    let is_avoidable = was_seen && evaluation.total.unavoidable == 0;
    let columns = ["os", "cause", "right", "hides", "gives up", "wastes"].into_iter();
    let columns = columns.chain((!is_avoidable).then_some("unavoidable")).chain(was_seen.then_some("not seen"));
    rows.set_header(heading(columns));
    let tally = |os: &str, cause: &str, tally: &DecisionTally| {
        let number = |number: u64, colour| match number {
            0 => Cell::new("·"),
            number => Cell::new(number).fg(colour),
        };
        let &DecisionTally { right, hides, gives_up, wastes, unavoidable, not_seen } = tally;
        let mut cells = vec![
            Cell::new(os),
            Cell::new(cause),
            number(right, Color::Green),
            number(hides, Color::Red),
            number(gives_up, Color::Red),
            number(wastes, Color::Yellow),
        ];
        cells.extend((!is_avoidable).then(|| number(unavoidable, Color::Yellow)));
        cells.extend(was_seen.then(|| number(not_seen, Color::DarkGrey)));
        Row::from(cells)
    };
    for row in &evaluation.table {
        rows.add_row(tally(&marked(row.os, row.basis), row.cause.as_str(), &row.tally));
    }
    rows.add_row(tally("", "all", &evaluation.total));
    numbers_from(&mut rows, 2);
    unwrapped(&mut rows, 8);
    text.push_str(&lines(rows, "  "));
    if was_seen {
        let systems: Vec<&str> = evaluation.seen.iter().map(|os| os.as_str()).collect();
        let said = format!(
            "{} was seen on {} only. Not seen are calls about which its policy has no rule of its own: what it would do \
             then nobody knows.",
            evaluation.policy,
            systems.join(" and ")
        );
        text.push_str(&field("  ", &said, width));
    }
    let shown: String = evaluation.table.iter().map(|row| mark(row.basis)).collect();
    text.extend(expected_marks(&shown).lines().map(|line| format!("  {line}\n")));
    for (kind, title) in [
        (Consequence::Hides, "hides a real error"),
        (Consequence::GivesUp, "gives up too early"),
        (Consequence::Wastes, "wastes probes"),
    ] {
        let own: Vec<&Wrong> =
            evaluation.wrong.iter().filter(|wrong| wrong.kind == kind && !wrong.unavoidable).collect();
        section(&mut text, title, &own, width);
    }
    let unavoidable: Vec<&Wrong> = evaluation.wrong.iter().filter(|wrong| wrong.unavoidable).collect();
    section(&mut text, "unavoidable: the same signal, and the safe action", &unavoidable, width);
    text
}

/// By kind of mistake, how many calls of which cause.
type Kinds<'e> = BTreeMap<&'e str, Vec<(u64, &'e str)>>;

/// How many causes stand in a line.
const CAUSES: usize = 3;

/// What is wrong on each system, a line each: `linux   gives up 683 (554 tuple-in-use, …); hides 90 (90
/// ports-exhausted)`.
fn in_short(evaluation: &Evaluation, width: usize) -> String {
    let mut wrong: BTreeMap<(Os, Basis), Kinds<'_>> = BTreeMap::new();
    for row in &evaluation.table {
        let kinds = wrong.entry((row.os, row.basis)).or_default();
        let DecisionTally { hides, gives_up, wastes, .. } = row.tally;
        for (kind, count) in [("hides", hides), ("gives up", gives_up), ("wastes", wastes)] {
            if count > 0 {
                kinds.entry(kind).or_default().push((count, row.cause.as_str()));
            }
        }
    }
    let mut text = String::new();
    for ((os, basis), kinds) in wrong {
        let mut words = Vec::new();
        for (kind, mut causes) in kinds {
            causes.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
            let all: u64 = causes.iter().map(|(count, _)| count).sum();
            let mut told: Vec<String> =
                causes.iter().take(CAUSES).map(|(count, cause)| format!("{count} {cause}")).collect();
            told.extend((causes.len() > CAUSES).then(|| "…".to_owned()));
            words.push(format!("{kind} {all} ({})", told.join(", ")));
        }
        let is_seen = evaluation.seen.is_empty() || evaluation.seen.contains(&os);
        let said = match words.is_empty() {
            true if is_seen => "nothing wrong".to_owned(),
            true => "not seen there".to_owned(),
            false => words.join("; "),
        };
        text.push_str(&field(&format!("  {:<6}  ", marked(os, basis)), &said, width));
    }
    text
}

fn section(text: &mut String, title: &str, wrong: &[&Wrong], width: usize) {
    if wrong.is_empty() {
        return;
    }
    text.push_str(&format!("\n  {}\n", paint(HEADING, title)));
    for wrong in wrong {
        let signal = format!(
            "{} {} {} {}, {}: {}, right is {}",
            marked(wrong.os, wrong.basis),
            wrong.call,
            wrong.port,
            wrong.errno.as_str(),
            wrong.cause,
            wrong.action,
            wrong.right
        );
        text.push_str(&field(&format!("  {:>5}  ", wrong.count), &signal, width));
        text.push_str(&field("         ", &format!("rule {}: {}", wrong.rule, wrong.why), width));
        let cases = if wrong.cases.is_empty() { std::slice::from_ref(&wrong.example) } else { &wrong.cases[..] };
        for case in cases {
            text.push_str(&field("         ", case, width));
        }
    }
}

/// Where two policies differ.
pub fn differences(first: &str, second: &str, differences: &[PolicyDifference], width: usize) -> String {
    if differences.is_empty() {
        return format!("{first} and {second} decide every signal alike\n");
    }
    let mut text = String::new();
    let mut last: Option<(Action, Action)> = None;
    for difference in differences {
        let actions = (difference.first, difference.second);
        if last.replace(actions) != Some(actions) {
            let blank = if text.is_empty() { "" } else { "\n" };
            let title = format!("{first}: {}, {second}: {}", actions.0, actions.1);
            text.push_str(&format!("{blank}{}\n", paint(HEADING, &title)));
        }
        let order = ["os", "call", "port", "protocol", "family", "reuse", "errno"];
        let conditions = order.iter().filter_map(|name| {
            let values: Vec<&str> = difference.when.get(name)?.iter().copied().collect();
            let but = if *name == "errno" && difference.all_errnos_but { "all but " } else { "" };
            Some(format!("{name}={but}{}", values.join("|")))
        });
        let conditions: Vec<String> = conditions.collect();
        let conditions = if conditions.is_empty() { "always".to_owned() } else { conditions.join(", ") };
        text.push_str(&field("  ", &breakable(&conditions, width), width));
    }
    text
}
