//! What is wrong with a file that somebody wrote, and where. Reading files, and deciding what is wrong, is done elsewhere.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::de::DeserializeOwned;
use toml::Spanned;

/// One fault: a place in a file, what is there, what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    pub text: &'static str,
    pub span: Range<usize>,
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// A text with the name of the file that it is from: what its faults are told with.
#[derive(Clone, Copy, Debug)]
pub struct Input<'s> {
    pub file: &'s str,
    pub text: &'static str,
}

impl Input<'_> {
    pub fn problem(self, span: Range<usize>, message: String, help: Option<&str>) -> Problem {
        Problem { file: self.file.to_owned(), text: self.text, span, message, help: help.map(str::to_owned) }
    }

    /// TOML of the shape of a `T`.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, Problem> {
        toml::from_str(self.text).map_err(|error| self.problem(error.span().unwrap_or(0..0), message(&error), None))
    }

    /// Refuses every format but the one that is read here.
    pub fn expect_format(self, format: &Spanned<String>, known: &str) -> Result<(), Problem> {
        if format.get_ref() == known {
            return Ok(());
        }
        let message = format!("format `{}`, this version reads `{known}`", format.get_ref());
        Err(self.problem(format.span(), message, None))
    }
}

/// What a TOML error says, on one line.
pub fn message(error: &toml::de::Error) -> String {
    error.message().trim().replace('\n', ", ")
}

impl Problem {
    /// 1-based line and column (in characters) of the place.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = &self.text[..self.start()];
        let line = before.matches('\n').count() + 1;
        let column = before[before.rfind('\n').map_or(0, |newline| newline + 1)..].chars().count() + 1;
        (line, column)
    }

    /// Where it begins. The end of a file is the end of its last line, not a line of its own below it.
    fn start(&self) -> usize {
        let last = self.text.strip_suffix('\n').map_or(self.text.len(), str::len);
        floor_boundary(self.text, self.span.start.min(last))
    }

    /// The fault with its lines of source, as rustc shows one.
    pub fn render(&self, renderer: &Renderer) -> String {
        let start = self.start();
        let mut end = floor_boundary(self.text, self.span.end.max(start));
        // A table can span half the file: its first line says enough.
        if let Some(newline) = self.text[start..end].find('\n') {
            end = start + newline.max(1);
        }
        let snippet = Snippet::source(self.text)
            .path(&*self.file)
            .annotation(AnnotationKind::Primary.span(start..floor_boundary(self.text, end)));
        let mut group = Level::ERROR.primary_title(&*self.message).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(&**help));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

/// The nearest character boundary at or before `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0)
}
