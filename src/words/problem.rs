//! A mistake in a file, and its place.
//!
//! It does not read files or find mistakes.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;

use crate::words::near::did_you_mean;
use crate::words::untrusted::{cut, shown};

/// Faults of one file that are told; the others are counted.
const MOST: usize = 100;

/// Characters of a message: it may quote what somebody wrote.
const LONGEST_MESSAGE: usize = 500;

/// One fault: a place in a file, what is there, what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name of the file, for people.
    pub file: String,
    /// All of its text.
    pub text: &'static str,
    /// Where the fault is: bytes of `text`. It may be longer than what is shown of it.
    pub span: Range<usize>,
    /// What is wrong, in a sentence without its full stop. It may quote the file.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// A text with the name of the file that it is from: what its faults are told with.
#[derive(Clone, Copy, Debug)]
pub struct Input<'s> {
    /// Its name, for people.
    pub file: &'s str,
    /// All of it. Faults keep it, which is why it lives for ever: `String::leak` or `include_str!` give such a text.
    pub text: &'static str,
}

impl Input<'_> {
    /// A fault at these bytes of the text.
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

/// What a TOML error says, on one line; of words that it names as possible only those that may have been meant, if some
/// are near.
pub fn message(error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', ", ");
    let meant = |unknown: &str, word: Option<&str>, mut known: Box<dyn Iterator<Item = &str> + '_>| {
        word.and_then(|word| did_you_mean(word, &mut known)).map(|meant| format!("{unknown}{meant}"))
    };
    // As serde says it, and as toml does of the only entry of a table.
    let told = if let Some((unknown, known)) = message.split_once(", expected ")
        && unknown.starts_with("unknown ")
    {
        meant(unknown, unknown.split('`').nth(1), Box::new(known.split('`').skip(1).step_by(2)))
    } else if let Some((unknown, known)) = message.split_once(", available keys: ") {
        meant(unknown, unknown.rsplit(": ").next(), Box::new(known.split(", ")))
    } else {
        None
    };
    told.unwrap_or(message)
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
    pub(crate) fn start(&self) -> usize {
        let last = self.text.strip_suffix('\n').map_or(self.text.len(), str::len);
        floor_boundary(self.text, self.span.start.min(last))
    }

    /// The message as something that a terminal only shows.
    pub(crate) fn message(&self) -> String {
        shown(&cut(&self.message, LONGEST_MESSAGE)).into_owned()
    }

    pub(crate) fn help(&self) -> Option<String> {
        self.help.as_ref().map(|help| shown(&cut(help, LONGEST_MESSAGE)).into_owned())
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}: {}", shown(&self.file), self.message())?;
        self.help().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

/// The faults of one file, of which there may be more than anybody reads.
#[derive(Debug, Default)]
pub struct Problems {
    told: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// Adds one; from the hundred-and-first on they are only counted.
    pub fn push(&mut self, problem: Problem) {
        if self.told.len() < MOST {
            self.told.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// In the order of their places; behind them, how many are not told.
    pub fn sorted(self) -> Vec<Problem> {
        let Problems { mut told, more } = self;
        told.sort_by_key(|problem| problem.span.start);
        let rest = told.last().filter(|_| more > 0).cloned();
        told.extend(rest.map(|last| Problem {
            message: format!("{more} more problems in this file"),
            help: None,
            ..last
        }));
        told
    }
}

impl Extend<Problem> for Problems {
    fn extend<T: IntoIterator<Item = Problem>>(&mut self, problems: T) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

/// Words that would be right, in a row; only the first of many.
pub fn listed<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    const MOST: usize = 30;
    let mut words = words.into_iter();
    let listed = words.by_ref().take(MOST).collect::<Vec<_>>().join(", ");
    match words.count() {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// The nearest character boundary at or before `index`.
pub(crate) fn floor_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0)
}
