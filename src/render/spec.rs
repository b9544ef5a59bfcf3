//! Rules of the specification as text, and which of them the steps of a case meet.
//!
//! What applies when is the business of `spec`.

use super::style::{FAINT, HEADING, paint};
use super::text::{count, field};
use crate::plan::Plan;
use crate::spec::{Foreseen, NotModelled, Permitted, SpecRule, Way};
use crate::words::names::Os;

/// One rule a paragraph, under the call or the part of the kernel that it is about.
pub fn rules(rules: &[&SpecRule], width: usize) -> String {
    let (mut text, mut about) = (String::new(), "");
    for rule in rules {
        let (own, name) = rule.id.rsplit_once('.').unwrap_or(("", rule.id));
        if own != about {
            text.push_str(&format!("{}\n", paint(HEADING, own)));
            about = own;
        }
        let gives = rule.gives.map(|outcome| format!("  {outcome}")).unwrap_or_default();
        text.push_str(&format!("  {name}{gives}\n"));
        text.push_str(&field("      ", rule.says, width));
    }
    text.push_str(&format!("\n{}\n", count(rules.len() as u64, "rule")));
    text
}

/// Everything about one rule.
pub fn rule(rule: &SpecRule, width: usize) -> String {
    let mut text = format!("{}\n", paint(HEADING, rule.id));
    text.push_str(&field("  says       ", rule.says, width));
    if let Some(gives) = rule.gives {
        text.push_str(&field("  gives      ", gives.as_str(), width));
    }
    text.push_str(&field("  authority  ", rule.authority, width));
    let releases = match (rule.since, rule.until) {
        (None, None) => "every release that was looked at".to_owned(),
        (Some(since), None) => format!("{since} and later"),
        (None, Some(until)) => format!("before {until}"),
        (Some(since), Some(until)) => format!("{since} and later, before {until}"),
    };
    text.push_str(&field("  releases   ", &releases, width));
    text
}

/// Every outcome with the rules that lead to it, each once.
pub fn distinct(ways: &[Way]) -> Vec<(Permitted, Vec<&'static SpecRule>)> {
    let mut distinct: Vec<(Permitted, Vec<&'static SpecRule>)> = Vec::new();
    for way in ways {
        let mut rules: Vec<&'static SpecRule> = Vec::new();
        way.rules.iter().for_each(|rule| {
            if !rules.contains(rule) {
                rules.push(*rule)
            }
        });
        if !distinct.iter().any(|(outcome, own)| *outcome == way.outcome && *own == rules) {
            distinct.push((way.outcome, rules));
        }
    }
    distinct
}

/// The steps of a case, each with what it may give and the rules that lead there.
pub fn explanation(
    case: &str,
    os: Os,
    plan: &Plan,
    steps: &[Foreseen],
    not: Option<NotModelled>,
    width: usize,
) -> String {
    let mut text = format!("{}\n", paint(HEADING, &format!("{case} on {os}")));
    for foreseen in steps {
        text.push_str(&field("", &plan.steps[foreseen.step].op.in_words(), width));
        if foreseen.ways.is_empty() {
            text.push_str(&format!("  {}\n", paint(FAINT, "not reached")));
        }
        for (outcome, rules) in distinct(&foreseen.ways) {
            text.push_str(&format!("  {outcome}\n"));
            for rule in rules {
                text.push_str(&field("    ", rule.id, width));
                text.push_str(&field("      ", rule.says, width));
            }
        }
    }
    if let Some(not) = not {
        let next = plan.steps.get(steps.len()).map(|step| step.op.in_words()).unwrap_or_default();
        text.push_str(&field("", &next, width));
        text.push_str(&field("  ", &not.to_string(), width));
    }
    text
}
