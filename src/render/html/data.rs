//! All findings as data for the page's script: compressed, and each text once.
//!
//! The index is what filters need and is read when the page opens; trails and witnesses are read when the first case is
//! opened. The script decides how to show them.

use std::collections::HashMap;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use indexmap::IndexSet;
use serde::Serialize;

use super::super::details;
use super::super::document::{Document, Item, Said, StackAnswer};
use super::super::json;
use super::super::text::{SOME_RUN, XNU_RUN, distribution};
use crate::report::finding::{Finding, Verdict};
use crate::words::untrusted::Text;

/// How what nobody observed is known, as the page's styles call it.
pub fn how(said: &Said) -> &'static str {
    match said.mark {
        "" => "",
        XNU_RUN => "xnu-run",
        SOME_RUN => "expected xnu-run",
        _ => "expected",
    }
}

/// How an answer is coloured; its text says the same.
pub fn tone(said: &Said) -> &'static str {
    match said.verdict {
        Some(Verdict::Mismatch | Verdict::Unwitnessed | Verdict::Broken | Verdict::TimedOut) => return "bad",
        Some(Verdict::Match | Verdict::Unsupported) | None if said.unstable => return "bad",
        Some(Verdict::Match | Verdict::Unsupported) | None => {}
    }
    match said.outcomes.first().map_or("", String::as_str) {
        "ok" => "ok",
        "EADDRINUSE" => "in-use",
        "EADDRNOTAVAIL" => "not-available",
        "EAGAIN" => "again",
        "EINPROGRESS" | "EALREADY" => "progress",
        "blocked" => "blocked",
        "" | "unknown" | "not-reached" => "nothing",
        _ => "error",
    }
}

#[derive(Serialize)]
struct Index<'d> {
    stacks: Vec<Stack<'d>>,
    cases: Vec<Case<'d>>,
    calls: Vec<Row>,
    answers: IndexSet<Answer>,
    /// For each stack the number of each call's answer, -1 where it has none.
    given: Vec<Vec<i64>>,
}

#[derive(Serialize)]
struct Stack<'d> {
    label: &'d str,
    os: &'static str,
    observed: bool,
}

#[derive(Serialize)]
struct Case<'d> {
    id: &'d str,
    scenario: &'d str,
    axes: &'d indexmap::IndexMap<Text, Text>,
}

/// One call under test: the number of its case, and what it is.
#[derive(Serialize)]
struct Row(usize, &'static str, &'static str, &'static str);

#[derive(Serialize, PartialEq, Eq, Hash)]
struct Answer {
    text: String,
    tone: &'static str,
    /// Empty where nobody observed it.
    verdict: &'static str,
    /// How what nobody observed is known.
    basis: &'static str,
    outcomes: Vec<String>,
}

impl Answer {
    fn of(given: &StackAnswer<'_>) -> Answer {
        let said = given.said();
        let (verdict, basis, outcomes) = match given {
            StackAnswer::Observed(finding) => {
                let outcome = finding.outcome().map(|outcome| outcome.name().to_owned());
                (finding.verdict().as_str(), "", outcome.into_iter().collect())
            }
            StackAnswer::Expected(expected) => {
                let outcomes = expected.iter().map(|one| one.outcome.to_string()).collect();
                ("", how(&said), outcomes)
            }
        };
        Answer { tone: tone(&said), text: said.text, verdict, basis, outcomes }
    }
}

pub fn index(document: &Document<'_>) -> String {
    let mut cases: IndexMapOfCases<'_> = indexmap::IndexMap::new();
    let calls = document.items().map(|item| {
        let Finding { case, cause, subject, .. } = item.finding;
        let count = cases.len();
        let number = cases.entry(case).or_insert((count, item)).0;
        Row(number, subject.call.as_str(), subject.port.as_str(), cause.as_str())
    });
    let calls = calls.collect();
    let mut answers = IndexSet::new();
    let given = (0..document.columns.len()).map(|place| {
        let numbers = document.items().map(|item| match &item.given[place] {
            Some(given) => answers.insert_full(Answer::of(given)).0 as i64,
            None => -1,
        });
        numbers.collect()
    });
    let given = given.collect();
    let stacks = document.columns.iter();
    packed(&Index {
        stacks: stacks
            .map(|column| Stack { label: &column.label, os: column.os.as_str(), observed: column.observed })
            .collect(),
        cases: cases
            .values()
            .map(|(_, item)| Case {
                id: &item.finding.case,
                scenario: &item.finding.scenario,
                axes: &item.finding.axes,
            })
            .collect(),
        calls,
        answers,
        given,
    })
}

type IndexMapOfCases<'d> = indexmap::IndexMap<&'d Text, (usize, &'d Item<'d>)>;

#[derive(Serialize)]
struct Details<'d> {
    texts: &'d Texts,
    /// For each stack and call, nothing or the finding.
    findings: Vec<Vec<Option<Told>>>,
    /// For each stack, trails: op, outcome, tenths of microseconds, one after the other.
    trails: Vec<Vec<Vec<u64>>>,
    /// For each call what other systems are expected to do: system and text.
    elsewhere: Vec<Vec<(&'static str, usize)>>,
}

/// A finding, in numbers of texts.
#[derive(Serialize)]
struct Told {
    /// The trail, and how many of its ops came before the answer.
    trail: (usize, usize),
    expected: Vec<usize>,
    witness: Vec<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<usize>,
    outcome: usize,
}

/// Each text once.
#[derive(Default, Serialize)]
#[serde(transparent)]
struct Texts(IndexSet<String>);

impl Texts {
    fn number(&mut self, text: String) -> usize {
        self.0.insert_full(text).0
    }
}

pub fn details(document: &Document<'_>) -> String {
    let mut texts = Texts::default();
    let mut words = details::Words::default();
    let mut trails = Vec::new();
    let mut findings = Vec::new();
    for (place, _) in document.observed() {
        let mut own: Vec<Vec<u64>> = Vec::new();
        let mut of_case: HashMap<&str, usize> = HashMap::new();
        let told = document.items().map(|item| {
            let Some(StackAnswer::Observed(finding)) = item.given[place] else { return None };
            let trail: Vec<u64> = details::steps(finding, &mut words)
                .into_iter()
                .flat_map(|step| {
                    let tenths = (step.micros * 10.0).round() as u64;
                    [texts.number(step.op) as u64, texts.number(step.outcome) as u64, tenths]
                })
                .collect();
            let length = trail.len() / 3;
            // The calls of a case follow each other, and the last one's trail has those of the others.
            let number = match of_case.get(&*finding.case) {
                Some(&known) if own[known].starts_with(&trail) => known,
                Some(&known) if trail.starts_with(&own[known]) => {
                    own[known] = trail;
                    known
                }
                _ => {
                    own.push(trail);
                    own.len() - 1
                }
            };
            of_case.insert(&finding.case, number);
            Some(told(finding, (number, length), &mut texts))
        });
        findings.push(told.collect());
        trails.push(own);
    }
    let elsewhere = document.items().map(|item| {
        let systems = item.finding.elsewhere.iter();
        let said = systems.flat_map(|(os, expected)| expected.iter().map(|one| (os.as_str(), details::expected(one))));
        said.map(|(os, text)| (os, texts.number(text))).collect()
    });
    let elsewhere = elsewhere.collect();
    packed(&Details { texts: &texts, findings, trails, elsewhere })
}

fn told(finding: &Finding, trail: (usize, usize), texts: &mut Texts) -> Told {
    let witness = finding.witness().iter().map(details::evidence);
    let none = finding.unwitnessed().map(|why| vec![details::unwitnessed(why)]);
    let witness = witness.chain(none).map(Vec::into_iter);
    Told {
        trail,
        expected: finding.expected().iter().map(|expected| texts.number(details::expected(expected))).collect(),
        witness: witness.map(|lines| lines.map(|line| texts.number(line)).collect()).collect(),
        reason: finding.reason().map(|reason| texts.number(reason)),
        repeated: finding.distribution().map(|_| texts.number(distribution(finding))),
        outcome: texts.number(finding.outcome().map_or_else(|| "nothing".to_owned(), details::outcome)),
    }
}

/// JSON, compressed, as letters of base64: nothing in it can end the element that holds it.
fn packed(data: &impl Serialize) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Neither numbers nor texts fail to be written to memory.
    let written = json::write_shown(data, &mut encoder).is_ok() && encoder.flush().is_ok();
    debug_assert!(written);
    STANDARD.encode(encoder.finish().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_match_is_never_coloured_as_one() {
        for &verdict in Verdict::ALL {
            let said =
                Said { verdict: Some(verdict), ..Said::outcomes(["ok"].into_iter().filter(|_| verdict.has_outcome())) };
            assert_eq!(tone(&said) == "ok", verdict == Verdict::Match, "{verdict}");
            assert_eq!(tone(&Said { unstable: true, ..said }), "bad", "{verdict}");
        }
        assert_eq!(tone(&Said::outcomes(["EADDRNOTAVAIL", "EINPROGRESS"])), "not-available");
        assert_eq!(tone(&Said::default()), "nothing");
    }
}
