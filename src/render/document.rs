//! What a document about one or several reports says, whatever it is written in: the stacks, their answers beside each
//! other, tables folded to what makes a difference, and what must not be overlooked.
//!
//! Markdown and HTML are made of this and of nothing else, so that neither can invent or drop a finding. It reads
//! reports and judges nothing.

pub mod answers;
pub mod costs;
mod fold;
pub mod notes;
pub mod phrase;
mod stacks;
pub mod tables;

use std::collections::BTreeMap;

use indexmap::{IndexMap, IndexSet};

use super::claims;
use super::text::{EXPECTED, XNU_RUN, distribution};
use crate::report::claim::Judged;
use crate::report::compat::Basis;
use crate::report::finding::{Finding, Report, Verdict};
use crate::scenario::Expectation;
use crate::words::cause::Cause;
use crate::words::names::{Call, PortChoice};

pub use costs::{Curve, Plot};
pub use stacks::{Column, families, joined};

/// Reports beside each other.
pub struct Document<'r> {
    pub reports: &'r [Report],
    /// What people say, held against all of the reports.
    pub claims: &'r [Judged],
    /// What each scenario claims, by its id, as far as that is known: reports do not have it.
    pub titles: &'r Titles,
    /// The stacks that were observed, in the order of the reports, and then the systems that none of them is about.
    pub columns: Vec<Column>,
    pub scenarios: Vec<ScenarioFindings<'r>>,
}

/// What every document says, beside the scenarios and what is drawn.
pub struct Contents {
    pub stacks: Vec<notes::Stack>,
    pub answers: answers::Answers,
    pub claims: claims::ClaimTable,
    pub trouble: Vec<notes::Trouble>,
    pub strangers: Vec<notes::Stranger>,
    pub unstable: Vec<notes::Unstable>,
    pub unsupported: Vec<notes::Lack>,
    pub not_observed: Vec<notes::NotObserved>,
    pub counted: Vec<(Verdict, String, Vec<u64>)>,
}

/// The findings of one scenario.
pub struct ScenarioFindings<'r> {
    pub id: &'r str,
    /// The axes with the values that they take, in the order of the catalogue.
    pub axes: IndexMap<&'r str, IndexSet<&'r str>>,
    pub items: Vec<Item<'r>>,
}

/// One subject call of one case, and what each column says of it.
pub struct Item<'r> {
    /// That of the first report which has it. Case, call, port and cause are the same in all.
    pub finding: &'r Finding,
    pub given: Vec<Option<StackAnswer<'r>>>,
}

/// What a stack answered, or what documents and sources expect of a system that nobody observed.
#[derive(Clone, Copy, Debug)]
pub enum StackAnswer<'r> {
    Observed(&'r Finding),
    Expected(&'r [Expectation]),
}

impl Contents {
    pub fn new(document: &Document<'_>) -> Contents {
        Contents {
            stacks: notes::stacks(document),
            answers: answers::answers(document),
            claims: claims::ClaimTable::new(document.claims),
            trouble: notes::trouble(document),
            strangers: notes::strangers(document),
            unstable: notes::unstable(document),
            unsupported: notes::unsupported(document),
            not_observed: notes::not_observed(document),
            counted: notes::counted(document),
        }
    }
}

/// An answer in words, with what the words are made of: nobody needs to take them apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Said {
    pub text: String,
    /// What was given, or may be.
    pub outcomes: Vec<String>,
    /// Of what was observed.
    pub verdict: Option<Verdict>,
    pub unstable: bool,
    /// What stands behind it: nothing where it was observed.
    pub mark: &'static str,
}

impl Said {
    /// Any of these outcomes, none of which was observed to be wrong.
    pub fn outcomes<'o>(outcomes: impl IntoIterator<Item = &'o str>) -> Said {
        let outcomes: Vec<String> = outcomes.into_iter().map(str::to_owned).collect();
        Said { text: outcomes.join(" or "), outcomes, ..Said::default() }
    }

    /// Any of those that are permitted, as far as their outcomes go.
    fn permitted(expected: &[Expectation]) -> Said {
        Said::outcomes(expected.iter().map(|expectation| &*expectation.outcome))
    }

    /// What nobody observed.
    fn expected(expected: &[Expectation]) -> Said {
        Said { mark: mark(Basis::of(expected)), ..Said::permitted(expected) }
    }

    /// Without the mark: what is given, however it is known.
    fn unmarked(self) -> Said {
        Said { mark: "", ..self }
    }
}

impl StackAnswer<'_> {
    pub fn text(&self) -> String {
        self.said().text
    }

    /// `EADDRINUSE`; `ok or EADDRINUSE` where the kernel may choose, because one run says nothing about the next; and
    /// what is no match never without its verdict.
    pub fn said(&self) -> Said {
        match self {
            StackAnswer::Expected(expected) => Said::expected(expected),
            StackAnswer::Observed(finding) => {
                let said = match &**finding.expected() {
                    several @ [_, _, ..] if finding.verdict() == Verdict::Match => Said::permitted(several),
                    _ => Said::outcomes(finding.outcome().map(|outcome| outcome.name())),
                };
                let outcome = if said.outcomes.is_empty() { finding.outcome_name() } else { &said.text };
                let text = match finding.verdict() {
                    _ if finding.is_unstable() => format!("{outcome} (unstable: {})", distribution(finding)),
                    Verdict::Match => outcome.to_owned(),
                    verdict if finding.outcome().is_none() => verdict.to_string(),
                    verdict => format!("{outcome} ({verdict})"),
                };
                Said { text, verdict: Some(finding.verdict()), unstable: finding.is_unstable(), ..said }
            }
        }
    }

    pub fn is_expected(&self) -> bool {
        matches!(self, StackAnswer::Expected(_))
    }

    /// How it is known.
    pub fn basis(&self) -> Basis {
        match self {
            StackAnswer::Observed(_) => Basis::Observed,
            StackAnswer::Expected(expected) => Basis::of(expected),
        }
    }
}

/// What stands behind what is known so.
pub fn mark(basis: Basis) -> &'static str {
    match basis {
        Basis::Observed => "",
        Basis::XnuRun => XNU_RUN,
        Basis::Expected | Basis::Unknown => EXPECTED,
    }
}

/// How many findings have each verdict and outcome, of each stack that was observed.
pub type Counts = BTreeMap<String, BTreeMap<(Verdict, String), u64>>;

type Key<'r> = (&'r str, u32, Call, PortChoice, Cause);

/// A sentence for each scenario, by its id.
pub type Titles = BTreeMap<String, String>;

impl<'r> Document<'r> {
    pub fn new(reports: &'r [Report], claims: &'r [Judged], titles: &'r Titles) -> Document<'r> {
        let columns = stacks::columns(reports);
        let mut scenarios: IndexMap<&'r str, IndexMap<Key<'r>, Item<'r>>> = IndexMap::new();
        for (place, report) in reports.iter().enumerate() {
            for finding in &report.findings {
                let subject = &finding.subject;
                let key = (&*finding.case, subject.ordinal, subject.call, subject.port, finding.cause);
                let item = scenarios.entry(&finding.scenario).or_default().entry(key);
                let item = item.or_insert_with(|| Item { finding, given: vec![None; columns.len()] });
                item.given[place] = Some(StackAnswer::Observed(finding));
                for (column, given) in columns.iter().zip(&mut item.given).skip(reports.len()) {
                    let expected = finding.elsewhere.get(&column.os).filter(|expected| is_made(expected));
                    let expected = expected.map(|expected| StackAnswer::Expected(expected));
                    // Of two reports one may be older, and know less.
                    *given = given.iter().copied().chain(expected).min_by_key(StackAnswer::basis);
                }
            }
        }
        let scenarios = scenarios.into_iter().map(|(id, items)| {
            let items: Vec<Item<'r>> = items.into_values().collect();
            ScenarioFindings { id, axes: values(&items), items }
        });
        Document { reports, claims, titles, columns, scenarios: scenarios.collect() }
    }

    /// What a reader of this document can count in it; a shared test holds it against the reports.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for (place, column) in self.observed() {
            let own = counts.entry(column.label.clone()).or_default();
            for item in self.items() {
                if let Some(StackAnswer::Observed(finding)) = item.given[place] {
                    let outcome = finding.outcome().map_or("", |outcome| outcome.name());
                    *own.entry((finding.verdict(), outcome.to_owned())).or_default() += 1;
                }
            }
        }
        counts
    }

    pub fn items(&self) -> impl Iterator<Item = &Item<'r>> {
        self.scenarios.iter().flat_map(|scenario| &scenario.items)
    }

    /// The columns of the reports, with their place among all columns.
    pub fn observed(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| column.observed)
    }
}

impl ScenarioFindings<'_> {
    /// The calls under test, in the order in which they first appear.
    pub fn subjects(&self) -> IndexSet<(Call, PortChoice)> {
        self.items.iter().map(|item| (item.finding.subject.call, item.finding.subject.port)).collect()
    }

    pub fn cases(&self) -> usize {
        self.items.iter().map(|item| &*item.finding.case).collect::<IndexSet<&str>>().len()
    }
}

impl Item<'_> {
    /// Whether two stacks that were observed gave different answers.
    pub fn differs(&self) -> bool {
        let mut texts = self.given.iter().flatten().filter(|given| !given.is_expected()).map(StackAnswer::text);
        texts.next().is_some_and(|first| texts.any(|text| text != first))
    }
}

/// Whether a call is expected to be made at all.
fn is_made(expected: &[Expectation]) -> bool {
    expected.iter().any(|expectation| expectation.outcome != "not-reached")
}

fn values<'r>(items: &[Item<'r>]) -> IndexMap<&'r str, IndexSet<&'r str>> {
    let mut all: IndexMap<&str, IndexSet<&str>> = IndexMap::new();
    for (axis, value) in items.iter().flat_map(|item| &item.finding.axes) {
        all.entry(axis).or_default().insert(value);
    }
    all
}

/// `bind to a port`, `connect from any port`, … as people say it.
pub fn call(call: Call, port: PortChoice) -> String {
    match port {
        PortChoice::None => call.to_string(),
        port => format!("{call}, {port} port"),
    }
}
