//! A scenario's tables: for each call the smallest ones that say all of its answers.
//!
//! Up to `BESIDE` rows, all stacks stand beside each other. Above, each has a grid of its own, and what answers like
//! the stack before it, but for some cases, only the rows that differ. How cases are folded into rows is the business
//! of `fold`.

use std::collections::{HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};

use super::fold::{self, Folded, Point, Set};
use super::{Document, Item, Said, ScenarioFindings, call, joined};
use crate::words::names::{Call, PortChoice};
use crate::words::untrusted::Text;

/// The most rows of a table with all stacks beside each other.
const BESIDE: usize = 16;
/// What an expectation says where nobody knows.
pub const UNKNOWN: &str = "unknown";

/// One call under test.
pub struct SubjectTables {
    pub call: Call,
    pub port: PortChoice,
    /// `bind, explicit port`.
    pub name: String,
    pub causes: Vec<String>,
    pub findings: usize,
    pub tables: Vec<Table>,
}

pub struct Table {
    /// Whose answers, where the columns do not say.
    pub of: Option<String>,
    /// Only what it answers otherwise than that one.
    pub unlike: Option<String>,
    /// The axes that the rows' first cells are about.
    pub axes: Vec<String>,
    /// The axis that the other columns are about; without one they are stacks.
    pub across: Option<String>,
    pub heads: Vec<String>,
    pub rows: Vec<Row>,
}

pub struct Row {
    /// The values on each axis: `addr, both`; `any`; `not time-wait`.
    pub place: Vec<String>,
    pub cells: Vec<Cell>,
    /// Calls that were observed or expected somewhere.
    pub calls: usize,
}

#[derive(Clone)]
pub struct Cell {
    /// Its text is empty where the call is made in no case.
    pub said: Said,
    /// Not what the first column says; only where stacks stand beside each other.
    pub other: bool,
    /// The cases: axes with the values that they may have.
    pub cases: Vec<(String, Vec<String>)>,
}

/// The calls of a scenario with their tables.
pub fn subjects(document: &Document<'_>, scenario: &ScenarioFindings<'_>) -> Vec<SubjectTables> {
    let subjects = scenario.subjects();
    subjects.into_iter().map(|(call, port)| subject(document, scenario, call, port)).collect()
}

fn subject(document: &Document<'_>, scenario: &ScenarioFindings<'_>, subject: Call, port: PortChoice) -> SubjectTables {
    let items: Vec<&Item<'_>> = scenario
        .items
        .iter()
        .filter(|item| (item.finding.subject.call, item.finding.subject.port) == (subject, port))
        .collect();
    let causes: IndexSet<&str> = items.iter().map(|item| item.finding.cause.as_str()).collect();
    let observed = items.iter().flat_map(|item| item.given.iter().flatten());
    SubjectTables {
        call: subject,
        port,
        name: call(subject, port),
        causes: causes.into_iter().map(str::to_owned).collect(),
        findings: observed.filter(|given| !given.is_expected()).count(),
        tables: layers(items).into_iter().flat_map(|items| Space::new(document, scenario, items).tables()).collect(),
    }
}

/// Items of which no two are in each other's place, and whose axes have no more values than a set holds. Reports that
/// this program writes need no second layer.
fn layers<'d>(items: Vec<&'d Item<'d>>) -> Vec<Vec<&'d Item<'d>>> {
    let mut layers: Vec<Vec<&Item<'_>>> = Vec::new();
    let mut values: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (axis, value) in items.iter().flat_map(|item| &item.finding.axes) {
        values.entry(axis).or_default().insert(value);
    }
    let many = values.values().any(|values| values.len() > Set::BITS as usize);
    let most = if many { Set::BITS as usize } else { usize::MAX };
    // No layer before has room for a place; none before `open` has room for anything.
    let mut next: HashMap<Vec<&str>, usize> = HashMap::new();
    let mut open = 0;
    for item in items {
        let place = item.finding.axes.iter().flat_map(|(axis, value)| [&**axis, &**value]).collect();
        let next = next.entry(place).or_insert(0);
        let mut layer = open.max(*next);
        while layers.get(layer).is_some_and(|layer| layer.len() >= most) {
            layer += 1;
        }
        *next = layer + 1;
        if layer >= layers.len() {
            layers.resize_with(layer + 1, Vec::new);
        }
        layers[layer].push(item);
        while layers.get(open).is_some_and(|layer| layer.len() >= most) {
            open += 1;
        }
    }
    layers.retain(|layer| !layer.is_empty());
    layers
}

fn value<'i>(item: &'i Item<'_>, axis: &str) -> &'i str {
    item.finding.axes.get(axis).map_or("", Text::as_str)
}

/// The cases of one call as points, and the texts of their answers as numbers.
struct Space<'d> {
    document: &'d Document<'d>,
    axes: Vec<(&'d str, Vec<&'d str>)>,
    items: Vec<&'d Item<'d>>,
    at: Vec<Vec<u8>>,
    /// By their texts and marks: what is expected and what was observed may be the same.
    said: IndexMap<(String, &'static str), Said>,
    /// For each column the number of each item's answer.
    answers: Vec<Vec<Option<u32>>>,
    /// Columns that answer alike.
    groups: Vec<Vec<usize>>,
}

impl<'d> Space<'d> {
    fn new(document: &'d Document<'d>, scenario: &'d ScenarioFindings<'d>, items: Vec<&'d Item<'d>>) -> Space<'d> {
        // In the order of the catalogue, and only the values that the call is made with.
        let axes: Vec<(&str, Vec<&str>)> = scenario
            .axes
            .iter()
            .map(|(&axis, all)| {
                let own: HashSet<&str> = items.iter().map(|item| value(item, axis)).collect();
                let mut values: Vec<&str> = own.into_iter().collect();
                // What has no value of the axis comes last, unless that is a value.
                values.sort_unstable_by_key(|value| all.get_index_of(value).unwrap_or(usize::MAX));
                (axis, values)
            })
            .collect();
        let places: Vec<HashMap<&str, u8>> = axes
            .iter()
            .map(|(_, values)| values.iter().enumerate().map(|(place, value)| (*value, place as u8)).collect())
            .collect();
        let place = |item: &Item<'_>| -> Vec<u8> {
            let axes = axes.iter().zip(&places);
            axes.map(|((axis, _), places)| places.get(value(item, axis)).copied().unwrap_or_default()).collect()
        };
        let at = items.iter().map(|item| place(item)).collect();
        let mut said: IndexMap<(String, &'static str), Said> = IndexMap::new();
        let answers: Vec<Vec<Option<u32>>> = (0..document.columns.len())
            .map(|column| {
                let number = |item: &&Item<'_>| {
                    let own = item.given[column]?.said();
                    let entry = said.entry((own.text.clone(), own.mark));
                    let number = entry.index() as u32;
                    entry.or_insert(own);
                    Some(number)
                };
                items.iter().map(number).collect()
            })
            .collect();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (place, column) in document.columns.iter().enumerate() {
            let alike = |group: &&mut Vec<usize>| {
                document.columns[group[0]].observed == column.observed && answers[group[0]] == answers[place]
            };
            match groups.iter_mut().find(alike) {
                Some(group) => group.push(place),
                None => groups.push(vec![place]),
            }
        }
        Space { document, axes, items, at, said, answers, groups }
    }

    fn tables(&self) -> Vec<Table> {
        let beside = self.beside();
        if beside.rows.len() <= BESIDE || self.groups.len() == 1 && self.grid(0).rows.len() >= beside.rows.len() {
            return vec![beside];
        }
        let mut tables: Vec<Table> = Vec::new();
        for group in 0..self.groups.len() {
            let own = self.grid(group);
            let unlike = (group > 0 && !self.is_expected(group)).then(|| self.unlike(group));
            tables.push(unlike.filter(|unlike| unlike.rows.len() < own.rows.len()).unwrap_or(own));
        }
        tables.retain(|table| !table.rows.is_empty());
        tables
    }

    fn is_expected(&self, group: usize) -> bool {
        !self.document.columns[self.groups[group][0]].observed
    }

    fn label(&self, group: usize) -> String {
        joined(&self.document.columns, &self.groups[group])
    }

    fn given(&self, group: usize, item: usize) -> Option<u32> {
        self.answers[self.groups[group][0]][item]
    }

    fn said(&self, number: Option<u32>) -> Said {
        let said = number.and_then(|number| self.said.get_index(number as usize));
        said.map(|(_, said)| said.clone()).unwrap_or_default()
    }

    /// A row for each kind of case, a column for each kind of stack.
    fn beside(&self) -> Table {
        let all = (0..self.items.len()).flat_map(|item| (0..self.groups.len()).map(move |group| (item, group)));
        let points: Vec<Point> = all
            .filter_map(|(item, group)| {
                let at = self.at[item].iter().copied().chain([group as u8]).collect();
                Some(Point { at, answer: self.given(group, item)? })
            })
            .collect();
        let folded = fold::fold_across(&points, self.axes.len(), self.groups.len());
        let counts = self.counts(&folded);
        let rows = folded.rows.iter().zip(counts).map(|(line, calls)| {
            let first = line.answers.iter().flatten().next().map(|first| self.said(Some(*first)).text);
            let cells = line.answers.iter().map(|answer| {
                let said = self.said(*answer);
                Cell {
                    other: answer.is_some() && Some(&said.text) != first.as_ref() && said.outcomes != [UNKNOWN],
                    said,
                    cases: self.cases(&folded, &line.sets, None),
                }
            });
            Row { place: self.place(&folded, &line.sets), cells: cells.collect(), calls }
        });
        Table {
            of: None,
            unlike: None,
            axes: self.names(&folded),
            across: None,
            heads: (0..self.groups.len()).map(|group| self.label(group)).collect(),
            rows: rows.collect(),
        }
    }

    /// The answers of one kind of stack, with an axis across if that makes it smaller.
    fn grid(&self, group: usize) -> Table {
        let points: Vec<Point> = (0..self.items.len())
            .filter_map(|item| Some(Point { at: self.at[item].clone(), answer: self.given(group, item)? }))
            .collect();
        let folded = self.folded(&points, true);
        let counts = self.counts(&folded);
        let rows = folded.rows.iter().zip(counts).map(|(line, calls)| {
            let cells = line.answers.iter().enumerate().map(|(column, answer)| Cell {
                said: self.said(*answer),
                other: false,
                cases: self.cases(&folded, &line.sets, Some(column)),
            });
            Row { place: self.place(&folded, &line.sets), cells: cells.collect(), calls }
        });
        let heads = match &folded.across {
            Some((axis, columns)) => columns.iter().map(|set| self.values(*axis, *set)).collect(),
            None => vec![self.label(group)],
        };
        Table {
            of: folded.across.is_some().then(|| self.label(group)),
            unlike: None,
            axes: self.names(&folded),
            across: folded.across.as_ref().map(|(axis, _)| self.axes[*axis].0.to_owned()),
            heads,
            rows: rows.collect(),
        }
    }

    /// Where the first stacks, and this one, gave different answers.
    fn unlike(&self, group: usize) -> Table {
        let mut pairs: IndexSet<Option<(Option<u32>, Option<u32>)>> = IndexSet::new();
        let points: Vec<Point> = (0..self.items.len())
            .map(|item| {
                let (first, own) = (self.given(0, item), self.given(group, item));
                let pair = (first != own).then_some((first, own));
                Point { at: self.at[item].clone(), answer: pairs.insert_full(pair).0 as u32 }
            })
            .collect();
        let folded = self.folded(&points, false);
        let counts = self.counts(&folded);
        let rows = folded.rows.iter().zip(counts).filter_map(|(line, calls)| {
            let (first, own) = line.answers[0].and_then(|pair| *pairs.get_index(pair as usize)?)?;
            let cell = |answer: Option<u32>, other: bool| Cell {
                said: if answer.is_none() { not_made() } else { self.said(answer) },
                other,
                cases: self.cases(&folded, &line.sets, None),
            };
            let cells = vec![cell(first, false), cell(own, true)];
            Some(Row { place: self.place(&folded, &line.sets), cells, calls })
        });
        Table {
            of: Some(self.label(group)),
            unlike: Some(self.label(0)),
            axes: self.names(&folded),
            across: None,
            heads: vec![self.label(0), self.label(group)],
            rows: rows.collect(),
        }
    }

    fn folded(&self, points: &[Point], across: bool) -> Folded {
        fold::fold(points, self.axes.len(), across)
    }

    fn names(&self, folded: &Folded) -> Vec<String> {
        folded.axes.iter().map(|&axis| self.axes[axis].0.to_owned()).collect()
    }

    fn place(&self, folded: &Folded, sets: &[Set]) -> Vec<String> {
        folded.axes.iter().zip(sets).map(|(&axis, set)| self.values(axis, *set)).collect()
    }

    fn counts(&self, folded: &Folded) -> Vec<usize> {
        folded.counts(self.at.iter())
    }

    fn cases(&self, folded: &Folded, sets: &[Set], column: Option<usize>) -> Vec<(String, Vec<String>)> {
        let across = column.zip(folded.across.as_ref()).map(|(column, (axis, columns))| (*axis, columns[column]));
        let rows = folded.axes.iter().copied().zip(sets.iter().copied());
        let parts = rows.chain(across).filter(|&(axis, set)| set.count_ones() < self.axes[axis].1.len() as u32);
        parts
            .map(|(axis, set)| {
                let (name, values) = &self.axes[axis];
                let values = values.iter().enumerate().filter(|(value, _)| set & (1 << value) != 0);
                ((*name).to_owned(), values.map(|(_, value)| (*value).to_owned()).collect())
            })
            .collect()
    }

    /// `any`, `not time-wait`, or the values.
    fn values(&self, axis: usize, set: Set) -> String {
        let values = &self.axes[axis].1;
        let of = |wanted: bool| {
            let chosen = values.iter().enumerate().filter(|(value, _)| (set & (1 << value) != 0) == wanted);
            chosen.map(|(_, value)| *value).collect::<Vec<_>>()
        };
        let (inside, outside) = (of(true), of(false));
        match &*outside {
            [] => "any".to_owned(),
            [one] if inside.len() > 2 => format!("not {one}"),
            _ => inside.join(", "),
        }
    }
}

fn not_made() -> Said {
    Said { text: "not made".to_owned(), ..Said::default() }
}

/// A command that makes some of the cases of a cell again: with the first of the values.
pub fn reproduce(scenario: &str, cases: &[(String, Vec<String>)]) -> String {
    let mut command = format!("errnoscope run -v {scenario}");
    for (axis, value) in cases.iter().filter_map(|(axis, values)| Some((axis, values.first()?))) {
        command.push_str(&format!(" -x {axis}={value}"));
    }
    command
}
