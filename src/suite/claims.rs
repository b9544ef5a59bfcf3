//! Checks claims against a catalogue: the names in their conditions exist, and each claim is about some call.
//!
//! It does not say whether a claim is true.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use toml::Spanned;

use crate::report::claim::condition::{CallView, matches};
use crate::report::claim::{Claim, ClaimCondition, Claims};
use crate::scenario::{Platform, cases, compile};
use crate::suite::catalogue::Catalogue;
use crate::suite::judge;
use crate::words::near::did_you_mean;
use crate::words::problem::Problem;
use crate::words::untrusted::Text;

/// Every fault, in the order of their places.
pub fn check(claims: &Claims, catalogue: &Catalogue) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut sound: Vec<&Claim> = Vec::new();
    for claim in &claims.claims {
        let before = problems.len();
        for condition in [&claim.selects, &claim.holds] {
            names(claims, condition, catalogue, &mut problems);
        }
        if problems.len() == before {
            sound.push(claim);
        }
    }
    for claim in selecting_nothing(sound, catalogue) {
        let help = "no call of the catalogue, with an outcome that it is expected to give, satisfies `where`";
        problems.push(problem(claims, &claim.selects, format!("`{}` selects nothing", claim.id.get_ref()), help));
    }
    problems.sort_by_key(|problem| problem.span.start);
    problems
}

fn problem<T>(claims: &Claims, place: &Spanned<T>, message: String, help: impl Into<String>) -> Problem {
    Problem { file: claims.file.clone(), text: claims.text, span: place.span(), message, help: Some(help.into()) }
}

/// The scenarios, axes and values that a condition names and the catalogue does not have.
fn names(claims: &Claims, condition: &Spanned<ClaimCondition>, catalogue: &Catalogue, problems: &mut Vec<Problem>) {
    for clause in condition.get_ref().clauses() {
        if let Some(patterns) = &clause.scenario {
            for pattern in &patterns.get_ref().0 {
                let known =
                    catalogue.scenarios.iter().any(|scenario| matches(std::slice::from_ref(pattern), &scenario.id));
                if !known {
                    let near = did_you_mean(pattern, catalogue.scenarios.iter().map(|scenario| &*scenario.id));
                    let message = format!("no scenario matches `{pattern}`{}", near.unwrap_or_default());
                    problems.push(problem(claims, patterns, message, "`errnoscope list` shows their ids"));
                }
            }
        }
        for (axis, values) in &clause.axes {
            let axes = catalogue.scenarios.iter().flat_map(|scenario| &scenario.axes);
            let own: Vec<_> = axes.clone().filter(|known| known.name.get_ref() == axis.get_ref()).collect();
            let known: BTreeSet<&str> =
                own.iter().flat_map(|axis| &axis.values).map(|value| value.get_ref().as_str()).collect();
            if own.is_empty() {
                let all: BTreeSet<&str> = axes.map(|known| known.name.get_ref().as_str()).collect();
                let near = did_you_mean(axis.get_ref(), all.into_iter());
                let message = format!("unknown axis `{}`{}", axis.get_ref(), near.unwrap_or_default());
                problems.push(problem(claims, axis, message, "no scenario has it"));
                continue;
            }
            for value in values.get_ref().0.iter().filter(|value| !known.contains(value.as_str())) {
                let near = did_you_mean(value, known.iter().copied());
                let message =
                    format!("unknown value `{value}` of axis `{}`{}", axis.get_ref(), near.unwrap_or_default());
                let known: Vec<&str> = known.iter().copied().collect();
                problems.push(problem(claims, values, message, format!("expected one of {}", known.join(", "))));
            }
        }
    }
}

/// The claims whose `where` no expectation of any case satisfies.
fn selecting_nothing<'c>(mut claims: Vec<&'c Claim>, catalogue: &Catalogue) -> Vec<&'c Claim> {
    for scenario in &catalogue.scenarios {
        for case in cases(scenario) {
            if claims.is_empty() {
                return claims;
            }
            // A case that cannot be compiled is a fault of its scenario.
            let Ok(compiled) = compile(scenario, &case, crate::sys::OS) else { continue };
            let axes = case.axes.iter().map(|(axis, value)| (axis.as_str().into(), value.as_str().into()));
            let axes: IndexMap<Text, Text> = axes.collect();
            for subject in &compiled.subjects {
                let expected = judge::expectations(scenario, &case, subject, Platform::current).unwrap_or_default();
                for (os, outcome) in expected.iter().flat_map(|(os, all)| all.iter().map(move |one| (*os, one))) {
                    let (call, port, cause) = (subject.call, subject.port, subject.cause);
                    let outcome = &*outcome.outcome;
                    let view = CallView { os, scenario: &scenario.id, call, port, cause, axes: &axes, outcome };
                    claims.retain(|claim| !claim.selects.get_ref().holds(&view));
                }
            }
        }
    }
    claims
}
