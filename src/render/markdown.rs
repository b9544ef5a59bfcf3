//! Reports as one Markdown document: the words and the layout are `templates/report.md`'s.
//!
//! What it says is the business of `document`; here it becomes text that means nothing to Markdown.

use std::fmt;

use askama::Template;
use askama::filters::{Escaper as Escape, Safe};

use super::document::answers::{AnswerCell, AnswerRow, StackDifference};
use super::document::tables::{self, Cell, SubjectTables};
use super::document::{Contents, Document, Said, Titles, costs, notes};
use super::text::count;
use crate::report::claim::Judged;
use crate::report::finding::Report;
use crate::words::names::Call;
use crate::words::untrusted::shown;

/// How much a document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The answers and what must not be overlooked: what a code host shows well.
    Brief,
    /// All tables too.
    Whole,
}

/// Of the conditions that a brief document writes out, in bytes.
const LONGEST: usize = 160;

/// One document about all of these reports.
pub fn markdown(reports: &[Report], claims: &[Judged], titles: &Titles, extent: Extent) -> String {
    let document = Document::new(reports, claims, titles);
    let scenarios = document.scenarios.iter().map(|scenario| Scenario::new(&document, scenario));
    let is_brief = extent == Extent::Brief;
    let mut contents = Contents::new(&document);
    if is_brief {
        // What a connect in progress comes to is its second half.
        let is_shown = |row: &AnswerRow| !row.is_aside || matches!(row.call, Call::SoError | Call::ErrorQueue);
        contents.answers.calls.iter_mut().for_each(|(_, rows)| rows.retain(is_shown));
        contents.answers.calls.retain(|(_, rows)| !rows.is_empty());
    }
    let page = Page {
        contents,
        plots: if is_brief { Vec::new() } else { costs::plots(&document) },
        scenarios: if is_brief { Vec::new() } else { scenarios.collect() },
        document: &document,
        is_brief,
    };
    // Writing to a string cannot fail.
    page.render().unwrap_or_default()
}

#[derive(Template)]
#[template(path = "report.md")]
struct Page<'d> {
    document: &'d Document<'d>,
    contents: Contents,
    plots: Vec<costs::Plot>,
    scenarios: Vec<Scenario<'d>>,
    is_brief: bool,
}

struct Scenario<'d> {
    id: &'d str,
    cases: usize,
    findings: usize,
    differing: usize,
    other: String,
    axes: Vec<(&'d str, Vec<&'d str>)>,
    subjects: Vec<SubjectTables>,
}

impl<'d> Scenario<'d> {
    fn new(document: &'d Document<'d>, scenario: &'d super::document::ScenarioFindings<'d>) -> Scenario<'d> {
        let subjects = tables::subjects(document, scenario);
        Scenario {
            id: scenario.id,
            cases: scenario.cases(),
            findings: subjects.iter().map(|subject| subject.findings).sum(),
            differing: scenario.items.iter().filter(|item| item.differs()).count(),
            other: notes::other_than_match(scenario),
            axes: scenario.axes.iter().map(|(&axis, values)| (axis, values.iter().copied().collect())).collect(),
            subjects,
        }
    }

    /// One real command, of the first table that has one.
    fn reproduce(&self) -> String {
        let mut cells = self.subjects.iter().flat_map(|subject| &subject.tables).flat_map(|table| &table.rows);
        let cases = cells.next().and_then(|row| row.cells.first()).map(|cell| &*cell.cases).unwrap_or_default();
        tables::reproduce(self.id, cases)
    }
}

impl Page<'_> {
    fn title(&self) -> String {
        match &*self.contents.stacks {
            [one] => one.label.clone(),
            several => count(several.len() as u64, "network stack"),
        }
    }

    /// The scenario's id, and what it claims, where it stands first.
    fn situation(&self, row: &AnswerRow) -> Safe<String> {
        let scenario = &*row.scenario;
        let title = self.document.titles.get(scenario).filter(|_| !row.is_aside);
        let title = title.map_or_else(String::new, |title| format!("<br>{}", escaped(title)));
        Safe(format!("{}{title}", self.code(scenario).0))
    }

    /// A condition, as far as this document writes it out.
    fn written(&self, when: &str) -> Safe<String> {
        Safe(if self.is_brief && when.len() > LONGEST { "…".to_owned() } else { escaped(when) })
    }

    /// A line for each outcome, the first without a condition.
    fn answer(&self, cell: &AnswerCell) -> Safe<String> {
        let mut lines: Vec<String> = Vec::new();
        for decided in &cell.given {
            let outcome = format!("**{}**{}", escaped(&decided.said.text), escaped(decided.said.mark));
            lines.push(match &*decided.when {
                "" => outcome,
                when => format!("{outcome} if {}", self.written(when).0),
            });
        }
        lines.extend(Some(escaped(&cell.silent)).filter(|silent| !silent.is_empty()));
        if !cell.differences.is_empty() {
            lines.push("[≠ other versions](#where-versions-differ)".to_owned());
        }
        Safe(if lines.is_empty() { "–".to_owned() } else { lines.join("<br>") })
    }

    /// Where other versions gave something else: scenario, call, and what they gave.
    fn differences(&self) -> Vec<(&str, Call, &StackDifference)> {
        let rows = self.contents.answers.calls.iter().flat_map(|(_, rows)| rows);
        let cells = rows.flat_map(|row| row.cells.iter().map(move |cell| (row, cell)));
        cells.flat_map(|(row, cell)| cell.differences.iter().map(|one| (&*row.scenario, row.call, one))).collect()
    }

    /// What has no proof that it is as short as can be.
    fn is_proven(&self) -> bool {
        let mut rows = self.contents.answers.calls.iter().flat_map(|(_, rows)| rows);
        rows.all(|row| row.cells.iter().flat_map(|cell| &cell.given).all(|decided| decided.shortest))
    }

    fn shown(&self, cell: &Cell) -> Safe<String> {
        Safe(marked(&cell.said, cell.other))
    }

    /// Text between backquotes, where nothing but a backquote and, in a table, a bar has a meaning.
    fn code(&self, text: impl AsRef<str>) -> Safe<String> {
        Safe(format!("`{}`", shown(text.as_ref()).replace('`', "'").replace('|', "\\|")))
    }

    /// The anchor that renderers give a heading.
    fn anchor(&self, heading: &str) -> Safe<String> {
        let kept = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        Safe(heading.chars().filter(kept).collect::<String>().to_lowercase())
    }

    /// The dashes below a heading, and the colons where numbers stand.
    fn rule(&self, texts: usize, numbers: usize) -> Safe<String> {
        Safe("---|".repeat(texts) + &"---:|".repeat(numbers))
    }

    fn count(&self, number: &usize, noun: &str) -> String {
        count(*number as u64, noun)
    }
}

/// What nobody observed in italics with its mark, different in bold.
fn marked(said: &Said, other: bool) -> String {
    let (text, mark) = (escaped(&said.text), escaped(said.mark));
    match (text.is_empty(), !mark.is_empty(), other) {
        (true, ..) => "–".to_owned(),
        (_, true, false) => format!("*{text}*{mark}"),
        (_, true, true) => format!("***{text}***{mark}"),
        (_, false, true) => format!("**{text}**"),
        (_, false, false) => text,
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // Writing to a string cannot fail.
    let _ = Escaper.write_escaped_str(&mut escaped, text);
    escaped
}

/// Text from reports, as text: it makes no table, no link, no emphasis and no HTML.
#[derive(Clone, Copy, Debug, Default)]
pub struct Escaper;

impl Escape for Escaper {
    fn write_escaped_str<W: fmt::Write>(&self, mut out: W, text: &str) -> fmt::Result {
        for letter in shown(text).chars() {
            match letter {
                '\\' | '`' | '*' | '[' | ']' | '|' => write!(out, "\\{letter}")?,
                '<' => out.write_str("&lt;")?,
                '&' => out.write_str("&amp;")?,
                letter => out.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_reports_stays_text() {
        assert_eq!(escaped("a|b <img> [x](y) *z* `c`\n# d"), "a\\|b &lt;img> \\[x\\](y) \\*z\\* \\`c\\`\\\\n# d");
        let expected = Said { mark: "*", ..Said::outcomes(["a*"]) };
        assert_eq!(marked(&expected, true), "***a\\****\\*");
    }
}
