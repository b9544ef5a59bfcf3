//! A comparison for GitHub Actions: annotations, which are lines on standard output, and a job summary in Markdown.
//!
//! Both have limits, and what a limit leaves out is counted. Where they go is not decided here.

use std::fmt::Write;

use super::compare::{case, of, total, values};
use super::text::{count, shown, truncate};
use crate::report::compare::{Comparison, Group, Weight};
use crate::words::untrusted::shown_lines;

/// GitHub shows this many annotations of each kind for a step, and drops the others without a word
/// (docs.github.com, "Usage limits for workflow commands").
const ANNOTATIONS: usize = 10;
/// How many cases an annotation names.
const EXAMPLES: usize = 3;
/// A check run's annotation has a title of at most 255 characters.
const TITLE: usize = 255;
/// No summary of a step may be larger, together with what earlier commands of the step have written.
pub const SUMMARY: usize = 1024 * 1024;
/// What is kept for saying how much is left out.
const REST: usize = 100;

/// Text in which the runner looks for no commands, whoever has written what stands in it: neither for lines that begin
/// with `::` nor for `##[` (actions/runner, ActionCommand.cs). The token is for this one text, and nobody may guess it.
pub fn without_commands(text: &str, token: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("::stop-commands::{token}\n{text}{end}::{token}::\n")
}

/// A message for standard error, which the runner reads as well and in no order with standard output: it begins with
/// words of ours, no other line of it begins as it came, and nowhere stands what the runner looks for.
pub fn harmless(message: &str) -> String {
    message.replace("##[", "# #[").split(['\n', '\r']).collect::<Vec<_>>().join("\n| ")
}

/// A line for each group of changes, at most ten of each kind, the worst first.
pub fn annotations(comparison: &Comparison) -> String {
    let groups = comparison.groups();
    let mut lines = String::new();
    for &weight in Weight::ALL {
        let mut most = ANNOTATIONS;
        if weight == Weight::Notice && !comparison.environment.is_empty() {
            most -= 1;
            lines.push_str(&environment(comparison));
        }
        let groups: Vec<&Group<'_>> = groups.iter().filter(|group| group.weight == weight).collect();
        // The last one counts the rest.
        let shown = if groups.len() > most { most - 1 } else { groups.len() };
        for group in &groups[..shown] {
            lines.push_str(&annotation(weight, &title(group), &message(group)));
        }
        let rest: usize = groups[shown..].iter().map(|group| group.changes.len()).sum();
        if rest > 0 {
            let title = format!("{} more: {}", groups.len() - shown, count(rest as u64, "case"));
            lines.push_str(&annotation(weight, &title, "more changes of this weight; the job summary has them"));
        }
    }
    lines
}

fn title(group: &Group<'_>) -> String {
    format!("{}: {}", group.scenario, count(group.changes.len() as u64, "case"))
}

fn message(group: &Group<'_>) -> String {
    let mut message = format!("{}: {}", group.call(), group.words);
    for change in group.changes.iter().take(EXAMPLES) {
        message.push('\n');
        message.push_str(&case(change));
    }
    if group.changes.len() > EXAMPLES {
        let _ = write!(message, "\n… and {} more", group.changes.len() - EXAMPLES);
    }
    message
}

fn environment(comparison: &Comparison) -> String {
    let facts: Vec<String> = comparison
        .environment
        .iter()
        .map(|difference| format!("{}: {}", shown(&difference.fact), values(difference)))
        .collect();
    annotation(Weight::Notice, "the environment differs, which is no change", &facts.join("\n"))
}

/// `::error title=…::…`, escaped as `@actions/core` does it (packages/core/src/command.ts).
fn annotation(weight: Weight, title: &str, message: &str) -> String {
    let data = |text: &str| shown_lines(text).replace('%', "%25").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!("::{weight} title={}::{}\n", property(&truncate(&shown(title), TITLE)), data(message))
}

/// A job summary of at most `room` bytes. Where it does not fit, rows are left out and counted.
pub fn summary(comparison: &Comparison, room: usize) -> String {
    let mut summary = Bounded { text: String::new(), room: room.min(SUMMARY) };
    let sides = format!("{} → {}", of(&comparison.baseline), of(&comparison.current));
    summary.push(&format!("## errnoscope: {}\n\n{}\n", cell(&sides), total(comparison)));
    if !comparison.environment.is_empty() {
        let rows = comparison.environment.iter().map(|difference| {
            let value = |value: &Option<String>| cell(value.as_deref().unwrap_or("absent"));
            row([cell(&difference.fact), value(&difference.baseline), value(&difference.current)])
        });
        summary.table("The environment differs, which is no change", ["", "baseline", "current"], "fact", rows);
    }
    let groups = comparison.groups();
    let rows = groups.iter().map(|group| {
        let cases = group.changes.len().to_string();
        row([group.weight.to_string(), cell(group.scenario), cell(&group.call()), cell(&group.words), cases])
    });
    summary.table("What changed", ["", "scenario", "call", "change", "cases"], "kind", rows);
    let changes = groups.iter().flat_map(|group| group.changes.iter().map(move |change| (group, change)));
    let rows = changes.map(|(group, change)| {
        row([format!("`{}`", cell(&case(change)).replace('`', "'")), cell(&group.call()), cell(&group.words)])
    });
    summary.table("Each case", ["case", "call", "change"], "case", rows);
    summary.text
}

fn row<const N: usize>(cells: [String; N]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Text that is only text in a table's cell.
fn cell(text: &str) -> String {
    shown(text).replace('|', "\\|").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text that does not grow beyond its room.
struct Bounded {
    text: String,
    room: usize,
}

impl Bounded {
    fn push(&mut self, text: &str) {
        if self.fits(text) {
            self.text.push_str(text);
        }
    }

    fn fits(&self, text: &str) -> bool {
        self.text.len() + text.len() + REST <= self.room
    }

    /// A table, cut off after the last row that fits; nothing where there are no rows.
    fn table<const N: usize>(
        &mut self,
        title: &str,
        heading: [&str; N],
        noun: &str,
        rows: impl Iterator<Item = String>,
    ) {
        let mut rows = rows.peekable();
        let head = format!("\n### {title}\n\n{}|{}\n", row(heading.map(str::to_owned)), "---|".repeat(N));
        let has_room = rows.peek().is_some_and(|first| self.fits(&(head.clone() + first)));
        if has_room {
            self.text.push_str(&head);
            while let Some(row) = rows.next_if(|row| self.fits(row)) {
                self.text.push_str(&row);
            }
        }
        let rest = rows.count();
        let note = format!("\n… and {} left out\n", count(rest as u64, &format!("more {noun}")));
        // Something of what is kept goes to each of three tables.
        if rest > 0 && self.text.len() + note.len() <= self.room {
            self.text.push_str(&note);
        }
    }
}
