//! The answer: what each call gives in each situation, with the condition that decides, a column for each system.
//!
//! A system's newest version speaks for it; where another version gave something else, that is told as a difference.
//! What was not confirmed decides nothing, and is counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::{IndexMap, IndexSet};

use super::super::text::SOME_RUN;
use super::phrase;
use super::{Column, Document, Item, Said, StackAnswer, families, mark};
use crate::report::compat::Basis;
use crate::report::decide::{CaseTable, When};
use crate::report::finding::{Report, Verdict};
use crate::words::names::Call;

pub struct Answers {
    pub heads: Vec<Head>,
    /// By call, in the order in which programs make them.
    pub calls: Vec<(Call, Vec<AnswerRow>)>,
}

/// A system, or what passes for one.
pub struct Head {
    /// The stack that speaks for it: `linux 7.3`.
    pub label: String,
    pub expected: bool,
    /// Its other versions: `linux 5.10, 6.1`.
    pub versions: String,
}

/// A scenario's calls of one kind.
pub struct AnswerRow {
    pub scenario: String,
    pub call: Call,
    /// Whether the scenario is not named after this call, and has a row at the call that it is named after.
    pub is_aside: bool,
    pub cells: Vec<AnswerCell>,
}

#[derive(Default)]
pub struct AnswerCell {
    /// The first is given wherever no condition of the others holds.
    pub given: Vec<Decided>,
    /// `of 28 calls 4 unwitnessed, 2 unsupported`; empty where every call was confirmed.
    pub silent: String,
    pub differences: Vec<StackDifference>,
}

/// An outcome, and when it is given.
pub struct Decided {
    /// With the marks of its cases.
    pub said: Said,
    /// What stands behind `if`; empty for the first outcome of a cell.
    pub when: String,
    /// Whether no shorter condition exists.
    pub shortest: bool,
}

/// What other versions of a system gave, and when.
pub struct StackDifference {
    /// `linux 5.10, 6.1`.
    pub stacks: String,
    pub given: Said,
    /// What the newest gives there; without text where it is not one outcome.
    pub instead_of: Said,
    /// What stands behind `if`; empty where it gave that in every case.
    pub when: String,
}

/// The columns of one system, the newest first.
struct System {
    places: Vec<usize>,
    /// Whether it is the OS itself, and nothing that passes for it.
    own: bool,
}

pub fn answers(document: &Document<'_>) -> Answers {
    let systems = systems(document);
    let heads = systems.iter().map(|system| {
        let column = &document.columns[system.places[0]];
        let mut others: Vec<usize> = system.places[1..].to_vec();
        others.sort_unstable();
        // Two builds of one version are one version here.
        let stacks: IndexSet<&str> = others.iter().map(|place| &*document.reports[*place].host.stack).collect();
        Head { label: column.label.clone(), expected: !column.observed, versions: families(stacks.into_iter()) }
    });
    let heads = heads.collect();
    let mut rows: IndexMap<(&str, Call), Vec<&Item<'_>>> = IndexMap::new();
    for scenario in &document.scenarios {
        for item in &scenario.items {
            rows.entry((scenario.id, item.finding.subject.call)).or_default().push(item);
        }
    }
    let mut calls: BTreeMap<Call, Vec<AnswerRow>> = BTreeMap::new();
    let own: BTreeSet<&str> = rows.keys().filter(|(id, call)| is_named_after(id, *call)).map(|(id, _)| *id).collect();
    for ((scenario, call), items) in rows {
        let is_aside = own.contains(scenario) && !is_named_after(scenario, call);
        let space = Space::new(&items);
        let cells = systems.iter().map(|system| space.cell(&document.columns, system)).collect();
        calls.entry(call).or_default().push(AnswerRow { scenario: scenario.to_owned(), call, is_aside, cells });
    }
    Answers { heads, calls: calls.into_iter().collect() }
}

/// Whether an id is that of situations which the call meets. What send() meets is what sendto() meets.
fn is_named_after(id: &str, call: Call) -> bool {
    let name = if call == Call::Sendto { Call::Send } else { call };
    id.split_once('.').is_some_and(|(first, _)| first == name.as_str())
}

/// Systems that were observed, then those of which something is only expected, then what passes for one.
fn systems(document: &Document<'_>) -> Vec<System> {
    let stranger = |report: &Report| (!report.host.is_own()).then(|| report.host.family().to_owned());
    let mut systems: IndexMap<(u8, String), Vec<usize>> = IndexMap::new();
    for (place, column) in document.columns.iter().enumerate() {
        let key = match document.reports.get(place).map(stranger) {
            Some(None) => (0, column.os.to_string()),
            None => (1, column.os.to_string()),
            Some(Some(family)) => (2, family),
        };
        systems.entry(key).or_default().push(place);
    }
    systems.sort_by(|a, _, b, _| a.0.cmp(&b.0));
    let newest = |places: &mut Vec<usize>| {
        // Of versions that are equal, and of strangers' that nobody can order, the later report.
        let version = |place: usize| document.reports.get(place).and_then(|report| report.host.kernel());
        places.sort_by(|a, b| (version(*b), b).cmp(&(version(*a), a)));
    };
    let system = |((kind, _), mut places): ((u8, String), Vec<usize>)| {
        newest(&mut places);
        System { places, own: kind == 0 }
    };
    systems.into_iter().map(system).collect()
}

/// Calls of one kind: the values of their axes, and which port and which of several calls it is.
struct Space<'d> {
    items: &'d [&'d Item<'d>],
    /// Nothing where they are too many to be told apart.
    table: Option<CaseTable>,
}

impl<'d> Space<'d> {
    fn new(items: &'d [&'d Item<'d>]) -> Space<'d> {
        let names: IndexSet<&str> =
            items.iter().flat_map(|item| item.finding.axes.keys()).map(|axis| &**axis).collect();
        let mut earlier: HashMap<&str, usize> = HashMap::new();
        let rows = items.iter().map(|item| {
            let finding = item.finding;
            let number = earlier.entry(&finding.case).or_insert(0);
            *number += 1;
            let own = names.iter().map(|axis| finding.axes.get(*axis).map_or("", |value| &**value).to_owned());
            own.chain([finding.subject.port.to_string(), number.to_string()]).collect()
        });
        let axes = names.iter().copied().chain(["port", "call"]).map(str::to_owned).collect();
        Space { items, table: CaseTable::new(axes, rows) }
    }

    fn cell(&self, columns: &[Column], system: &System) -> AnswerCell {
        // The newest version that was asked.
        let asked = |place: &&usize| self.items.iter().any(|item| item.given[**place].is_some());
        let Some(&newest) = system.places.iter().find(asked) else { return AnswerCell::default() };
        let given = |place: usize| self.items.iter().map(move |item| item.given[place].as_ref());
        let mut silent: BTreeMap<Verdict, usize> = BTreeMap::new();
        for verdict in given(newest).flatten().filter_map(silence) {
            *silent.entry(verdict).or_default() += 1;
        }
        let made = given(newest).flatten().count();
        let silent = match silent.first_key_value() {
            None => String::new(),
            Some((verdict, count)) if *count == made => verdict.to_string(),
            Some(_) => {
                let counts = silent.iter().map(|(verdict, count)| format!("{count} {verdict}"));
                format!("of {made} calls {}", counts.collect::<Vec<_>>().join(", "))
            }
        };
        let of_newest: Vec<Option<Said>> = given(newest).map(|given| given.and_then(answer)).collect();
        let mut decided = self.decided(&of_newest);
        for decided in &mut decided {
            let alike = given(newest).zip(&of_newest).filter(|(_, said)| said.as_ref() == Some(&decided.said));
            let bases: BTreeSet<Basis> = alike.filter_map(|(given, _)| given.map(StackAnswer::basis)).collect();
            decided.said.mark = match (bases.first(), bases.len()) {
                (Some(Basis::XnuRun), 2..) => SOME_RUN,
                (Some(&best), _) => mark(best),
                (None, _) => "",
            };
        }
        AnswerCell { given: decided, silent, differences: self.differences(columns, system, newest) }
    }

    /// Each outcome with its condition; first the one whose condition would be the longest.
    fn decided(&self, answers: &[Option<Said>]) -> Vec<Decided> {
        let mut counts: IndexMap<&Said, usize> = IndexMap::new();
        for said in answers.iter().flatten() {
            *counts.entry(said).or_default() += 1;
        }
        counts.sort_by(|a, calls, b, others| others.cmp(calls).then(a.cmp(b)));
        let conditions = counts.keys().map(|said| {
            let of = |item: usize| answers[item].as_ref().map(|own| own == *said);
            self.condition(of)
        });
        let mut decided: Vec<(&Said, Option<When>)> = counts.keys().copied().zip(conditions).collect();
        // Nothing could be said of an outcome without a condition: it is the rest.
        let terms = |condition: &Option<When>| condition.as_ref().map_or(usize::MAX, |one| one.terms.len());
        // Of equals the most frequent.
        let rest = (0..decided.len()).rev().max_by_key(|&place| terms(&decided[place].1));
        let first = rest.map(|rest| decided.remove(rest));
        let first = first.map(|(said, _)| Decided { said: said.clone(), when: String::new(), shortest: true });
        let others = decided.into_iter().map(|(said, condition)| Decided {
            said: said.clone(),
            shortest: condition.as_ref().is_some_and(|condition| condition.shortest),
            when: words(condition.as_ref()),
        });
        first.into_iter().chain(others).collect()
    }

    /// Where other versions gave something else than the newest.
    fn differences(&self, columns: &[Column], system: &System, newest: usize) -> Vec<StackDifference> {
        type Pair = (Said, Said);
        let mut found: IndexMap<(Pair, String), Vec<usize>> = IndexMap::new();
        let mut others: Vec<usize> = system.places.iter().copied().filter(|place| *place != newest).collect();
        others.sort_unstable();
        for place in others {
            let pairs = self.items.iter().map(|item| {
                let (new, old) = item.given[newest].as_ref().zip(item.given[place].as_ref())?;
                match (answer(new), answer(old)) {
                    (Some(new), Some(old)) => Some((new, old)),
                    // What a version lacks is a difference; what nobody confirmed is none.
                    (Some(_), None) if system.own && silence(old) == Some(Verdict::Unsupported) => {
                        let lacks = Said { text: Verdict::Unsupported.to_string(), ..Said::default() };
                        Some((Said::default(), lacks))
                    }
                    _ => None,
                }
            });
            let pairs: Vec<Option<Pair>> = pairs.collect();
            let kinds: BTreeSet<&Pair> = pairs.iter().flatten().filter(|(new, old)| new != old).collect();
            for kind in kinds {
                let condition = self.condition(|item| pairs[item].as_ref().map(|pair| pair == kind));
                found.entry((kind.clone(), words(condition.as_ref()))).or_default().push(place);
            }
        }
        let difference = |((pair, when), places): ((Pair, String), Vec<usize>)| StackDifference {
            stacks: families(places.iter().map(|&place| &*columns[place].label)),
            instead_of: pair.0,
            given: pair.1,
            when,
        };
        found.into_iter().map(difference).collect()
    }

    fn condition(&self, of: impl Fn(usize) -> Option<bool>) -> Option<When> {
        self.table.as_ref()?.when(of)
    }
}

fn words(condition: Option<&When>) -> String {
    condition.map_or_else(|| "… (the condition is too long to read)".to_owned(), phrase::when)
}

/// What was answered or is expected, unless nobody confirmed it.
fn answer(given: &StackAnswer<'_>) -> Option<Said> {
    if silence(given).is_some() {
        return None;
    }
    let said = given.said();
    match given {
        // How often is told elsewhere, and is no outcome. Where the kernel may choose, all that it may give is one.
        StackAnswer::Observed(finding) if said.unstable => {
            let outcomes: BTreeSet<&str> = match &**finding.expected() {
                several @ [_, _, ..] if finding.verdict() == Verdict::Match => {
                    several.iter().map(|expected| &*expected.outcome).collect()
                }
                _ => finding
                    .distribution()
                    .into_iter()
                    .flat_map(|runs| runs.outcomes.keys())
                    .map(|outcome| &**outcome)
                    .collect(),
            };
            Some(Said { verdict: said.verdict, ..Said::outcomes(outcomes) })
        }
        StackAnswer::Observed(finding) if finding.expected().len() > 1 => {
            let outcomes: BTreeSet<&str> = said.outcomes.iter().map(String::as_str).collect();
            Some(Said { verdict: said.verdict, ..Said::outcomes(outcomes) })
        }
        StackAnswer::Observed(_) | StackAnswer::Expected(_) => Some(said.unmarked()),
    }
}

/// The verdict of a call that says nothing about the stack.
fn silence(given: &StackAnswer<'_>) -> Option<Verdict> {
    match given {
        StackAnswer::Expected(_) => None,
        StackAnswer::Observed(finding) => match finding.verdict() {
            Verdict::Match | Verdict::Mismatch => None,
            silent @ (Verdict::Unwitnessed | Verdict::Unsupported | Verdict::Broken | Verdict::TimedOut) => {
                Some(silent)
            }
        },
    }
}
