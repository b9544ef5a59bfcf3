//! The answer on one screen: what each call gives for each cause, stack beside stack.
//!
//! Calls differ in more than that: what decides between several outcomes is the business of `tables`.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::{Column, Document, Given, Said, call, joined};
use crate::report::finding::Verdict;
use crate::scenario::Expectation;
use crate::words::cause::Cause;
use crate::words::names::{Call, PortChoice};

/// Stacks with the same answers share a column.
pub struct Answers {
    pub heads: Vec<Head>,
    pub rows: Vec<AnswerRow>,
}

pub struct Head {
    pub label: String,
    pub expected: bool,
}

pub struct AnswerRow {
    pub cause: Cause,
    pub subject: Call,
    /// Where all of its calls have the same choice.
    pub port: Option<PortChoice>,
    pub call: String,
    /// Whether two stacks answered the same case differently.
    pub differs: bool,
    pub cells: Vec<AnswerCell>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnswerCell {
    /// The most frequent first.
    pub outcomes: Vec<Said>,
    pub expected: bool,
    /// Other outcomes than the first stack's, and both were observed.
    pub other: bool,
}

type Tally = BTreeMap<Said, u64>;

/// The findings of one cause and one call.
struct Found {
    /// For each column how often each outcome appears.
    tallies: Vec<Tally>,
    differs: bool,
    ports: BTreeSet<PortChoice>,
}

pub fn answers(document: &Document<'_>) -> Answers {
    let mut rows: IndexMap<(Cause, Call), Found> = IndexMap::new();
    for item in document.items() {
        let subject = &item.finding.subject;
        let found = rows.entry((item.finding.cause, subject.call)).or_insert_with(|| Found {
            tallies: vec![Tally::new(); document.columns.len()],
            differs: false,
            ports: BTreeSet::new(),
        });
        found.differs |= item.differs();
        found.ports.insert(subject.port);
        for (tally, given) in found.tallies.iter_mut().zip(&item.given) {
            for outcome in given.iter().flat_map(outcomes) {
                *tally.entry(outcome).or_default() += 1;
            }
        }
    }
    // In the order of the causes, and what ran into nothing last.
    rows.sort_by(|a, _, b, _| order(a.0).cmp(&order(b.0)).then(a.1.cmp(&b.1)));
    let mut groups = alike(document, rows.values().map(|found| &found.tallies));
    // The newest system comes first, and beside it what is expected of systems that nobody observed; then older versions, and
    // last what passes for a system.
    let newest = document.reports.iter().rposition(|report| report.host.is_own());
    groups.sort_by_key(|group| match document.reports.get(group[0]) {
        Some(_) if newest.is_some_and(|newest| group.contains(&newest)) => 0,
        None => 1,
        Some(report) if report.host.is_own() => 2,
        Some(_) => 3,
    });
    let row = |(&(cause, subject), Found { tallies, differs, ports }): (&(Cause, Call), &Found)| {
        let mut cells: Vec<AnswerCell> = groups
            .iter()
            .map(|group| AnswerCell {
                outcomes: most_frequent(&tallies[group[0]]),
                expected: !document.columns[group[0]].observed,
                other: false,
            })
            .collect();
        let first = cells.iter().find(|cell| !cell.outcomes.is_empty()).cloned();
        for cell in &mut cells {
            let differs = |first: &AnswerCell| set(&cell.outcomes) != set(&first.outcomes);
            cell.other = !cell.expected && !cell.outcomes.is_empty() && first.as_ref().is_some_and(differs);
        }
        let port = ports.first().copied().filter(|_| ports.len() == 1);
        AnswerRow {
            cause,
            subject,
            port,
            call: call(subject, port.unwrap_or(PortChoice::None)),
            differs: *differs,
            cells,
        }
    };
    let merged = rows.iter().map(row).collect();
    let heads = groups
        .iter()
        .map(|group| Head { label: joined(&document.columns, group), expected: !document.columns[group[0]].observed });
    Answers { heads: heads.collect(), rows: merged }
}

fn order(cause: Cause) -> (bool, Cause) {
    (matches!(cause, Cause::InProgress | Cause::None), cause)
}

/// What a call may give, each by itself: a permitted choice counts for all that it permits.
fn outcomes(given: &Given<'_>) -> Vec<Said> {
    match given {
        Given::Expected(expected) => each(expected, None),
        Given::Observed(finding) => match &**finding.expected() {
            several @ [_, _, ..] if finding.verdict() == Verdict::Match => each(several, Some(Verdict::Match)),
            _ => vec![given.said()],
        },
    }
}

fn each(expected: &[Expectation], verdict: Option<Verdict>) -> Vec<Said> {
    let each = expected.iter().map(|expectation| Said::outcomes([&*expectation.outcome]));
    each.map(|said| Said { verdict, ..said }).collect()
}

/// Columns that give the same outcomes in every row, by their places.
fn alike<'t>(document: &Document<'_>, rows: impl Iterator<Item = &'t Vec<Tally>> + Clone) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (place, column) in document.columns.iter().enumerate() {
        let same = |other: usize| {
            let observed = |column: &Column| column.observed;
            observed(column) == observed(&document.columns[other])
                && rows.clone().all(|tallies| tallies[place].keys().eq(tallies[other].keys()))
        };
        match groups.iter_mut().find(|group| same(group[0])) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

fn most_frequent(tally: &Tally) -> Vec<Said> {
    let mut outcomes: Vec<(&Said, &u64)> = tally.iter().collect();
    outcomes.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    outcomes.into_iter().map(|(outcome, _)| outcome.clone()).collect()
}

fn set(outcomes: &[Said]) -> BTreeSet<&str> {
    outcomes.iter().map(|said| &*said.text).collect()
}
