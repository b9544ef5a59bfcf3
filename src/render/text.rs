//! Words into lines and columns.
//!
//! Widths are columns of a terminal: a claim may be in a script whose characters take two.

use std::borrow::Cow;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width};
use textwrap::{Options, WordSeparator, WordSplitter};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::style::{HEADING, paint};
use crate::report::finding::{Behind, Distribution, Finding};
use crate::words::glossary::used_in;

/// `1 case`, `2 cases`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Text from a file as something that a terminal or a log only shows.
pub fn shown(text: &str) -> String {
    crate::words::untrusted::shown(text).into_owned()
}

/// What stands behind the name of a stack for which somebody behind a command (`run --on`) speaks.
pub const BEHIND: char = '†';

/// What stands behind what nobody observed, and documents or sources say.
pub const EXPECTED: &str = "*";

/// What stands behind what nobody observed, and XNU's own code gave.
pub const XNU_RUN: &str = "‡";

/// What stands behind an answer for several cases, of which one is so and the other so.
pub const SOME_RUN: &str = "‡*";

/// What the second of them says, in a few words.
pub const NOT_A_MAC: &str = "by XNU's code, run on Linux: not a Mac";

/// What the two marks mean, as far as a text has them, a line each.
pub fn expected_marks(text: &str) -> String {
    let meanings = [
        (EXPECTED, "expected by documents and sources, not observed"),
        (XNU_RUN, "given by XNU 7195.141.2's own code, run on Linux; not a Mac"),
    ];
    let used = meanings.into_iter().filter(|(mark, _)| text.contains(mark));
    used.map(|(mark, meaning)| format!("{mark} {meaning}\n")).collect()
}

/// A stack's name, with that mark if it is behind a command.
pub fn marked(stack: &str, is_behind: bool) -> String {
    if is_behind { format!("{stack}{BEHIND}") } else { stack.to_owned() }
}

/// A line for each stack with the mark: who speaks for it.
pub fn behind(behind: &Behind) -> Vec<String> {
    let lines = behind.iter().map(|(stack, commands)| {
        let commands: Vec<String> = commands.iter().map(|command| format!("`{}`", shown(command))).collect();
        format!("{BEHIND} {}: as a program behind {} said, not seen from here", shown(stack), commands.join(", "))
    });
    lines.collect()
}

/// At most `width` columns, the last of them `…` where something is left out.
pub fn truncate(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return text.into();
    }
    let mut columns = 1;
    let fits = |c: &char| {
        columns += c.width().unwrap_or(0);
        columns <= width
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{}…", kept.trim_end()).into()
}

/// `label` and then `text`, wrapped at `width` columns and indented as far as its first line. A word that is wider than
/// that keeps a line of its own.
pub fn field(label: &str, text: &str, width: usize) -> String {
    let indent = " ".repeat(label.width());
    // A word is never broken: people copy ids and commands.
    let options = Options::new(width)
        .initial_indent(label)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let words: Vec<&str> = text.split_whitespace().collect();
    textwrap::fill(&words.join(" "), options) + "\n"
}

/// The words in a text that need to be explained, a line or more each, behind an empty line; nothing where none does.
pub fn glossary(text: &str, width: usize) -> String {
    let lines: Vec<String> =
        used_in(text).map(|(word, meaning)| field(&format!("  {word:<12} "), meaning, width)).collect();
    if lines.is_empty() { String::new() } else { format!("\n{}\n{}", paint(HEADING, "words"), lines.concat()) }
}

/// A table without borders whose cells may be styled; the caller's stream decides whether the styles stay.
pub fn table(width: usize) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.enforce_styling();
    table
}

/// Its lines, each behind `indent`, without the blanks at their ends.
pub fn lines(mut table: Table, indent: &str) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    // Otherwise a style would reach to the end of its column.
    table.style_text_only();
    table.lines().map(|line| format!("{indent}{}\n", line.trim_end())).collect()
}

/// The cells of a heading, faint.
pub fn heading<'t>(names: impl IntoIterator<Item = &'t str>) -> Row {
    names.into_iter().map(|name| Cell::new(name).add_attribute(comfy_table::Attribute::Dim)).collect::<Vec<_>>().into()
}

/// Columns from `first` on hold numbers.
pub fn numbers_from(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// The first `columns` are never wrapped.
pub fn unwrapped(table: &mut Table, columns: usize) {
    let widths = table.column_max_content_widths();
    for (column, width) in table.column_iter_mut().zip(widths).take(columns) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width + 2)));
    }
}

/// `EADDRNOTAVAIL 7/10, ok 3/10`, the most frequent first.
pub fn distribution(finding: &Finding) -> String {
    let answers = finding.distribution().into_iter().flat_map(Distribution::answers);
    let mut outcomes: Vec<(u32, &str)> = answers.map(|(answer, count)| (count, answer)).collect();
    let all: u32 = outcomes.iter().map(|(count, _)| count).sum();
    outcomes.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    outcomes.iter().map(|(count, outcome)| format!("{} {count}/{all}", shown(outcome))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_columns_and_no_word_is_broken() {
        assert_eq!(field("  a ", "one two", 9), "  a one\n    two\n");
        assert_eq!(field("  a ", "a-long-word-is-kept  whole", 9), "  a a-long-word-is-kept\n    whole\n");
        assert_eq!(field("  ", "接続 拒否", 7), "  接続\n  拒否\n");
        assert_eq!(field("  ", "接続 拒否", 11), "  接続 拒否\n");
        assert_eq!(truncate("接続拒否", 8), "接続拒否");
        assert_eq!(truncate("接続拒否", 7), "接続拒…");
        assert_eq!(truncate("接続拒否", 6), "接続…");
        assert_eq!(truncate("one two", 5), "one…");
    }
}
