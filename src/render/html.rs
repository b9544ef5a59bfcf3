//! Reports as one HTML page that needs nothing else: the words are `templates/page.html`'s, what moves is
//! `templates/page.js`'s.
//!
//! What it says is the business of `document`, and the same as in Markdown; all findings with their trails go along as
//! data (`html/data.rs`). The page asks no network for anything, and runs no script and takes no style but its own.

mod data;
mod plot;

use std::fmt;

use askama::Template;
use askama::filters::{Escaper as Escape, Html};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::document::answers::AnswerRow;
use super::document::tables::{self, SubjectTables};
use super::document::{Contents, Document, Said, Titles, costs, notes};
use super::text::count;
use crate::report::claim::Judged;
use crate::report::finding::{Report, Verdict};
use crate::words::untrusted::shown;

pub use data::tone;

const SCRIPT: &str = include_str!("templates/page.js");
const STYLE: &str = include_str!("templates/page.css");

/// One page about all of these reports.
pub fn html(reports: &[Report], claims: &[Judged], titles: &Titles) -> String {
    let document = Document::new(reports, claims, titles);
    let scenarios = document.scenarios.iter().map(|scenario| Scenario {
        id: scenario.id,
        cases: scenario.cases(),
        differing: scenario.items.iter().filter(|item| item.differs()).count(),
        other: notes::other_than_match(scenario),
        subjects: tables::subjects(&document, scenario),
    });
    let page = Page {
        titles,
        contents: Contents::new(&document),
        plots: plot::plots(&costs::plots(&document)),
        scenarios: scenarios.collect(),
        index: data::index(&document),
        details: data::details(&document),
        script: SCRIPT,
        style: STYLE,
        script_hash: digest(SCRIPT),
        style_hash: digest(STYLE),
    };
    // Writing to a string cannot fail.
    page.render().unwrap_or_default()
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'d> {
    titles: &'d Titles,
    contents: Contents,
    plots: Option<plot::Drawn>,
    scenarios: Vec<Scenario<'d>>,
    /// Compressed, in base64: letters that mean nothing to HTML.
    index: String,
    details: String,
    script: &'static str,
    style: &'static str,
    script_hash: String,
    style_hash: String,
}

struct Scenario<'d> {
    id: &'d str,
    cases: usize,
    differing: usize,
    other: String,
    subjects: Vec<SubjectTables>,
}

/// Text from reports, as text: it makes no element, and controls nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Escaper;

impl Escape for Escaper {
    fn write_escaped_str<W: fmt::Write>(&self, out: W, text: &str) -> fmt::Result {
        Html.write_escaped_str(out, &shown(text))
    }
}

impl Page<'_> {
    fn title(&self) -> String {
        match &*self.contents.stacks {
            [one] => format!("What {} answers", one.label),
            several => format!("What {} answer", count(several.len() as u64, "network stack")),
        }
    }

    /// What a scenario claims.
    fn claim(&self, scenario: &str) -> &str {
        self.titles.get(scenario).map_or("", String::as_str)
    }

    /// What a column of the answer is about.
    fn head(&self, place: &usize) -> &str {
        self.contents.answers.heads.get(*place).map_or("", |head| &head.label)
    }

    fn count(&self, number: &usize, noun: &str) -> String {
        count(*number as u64, noun)
    }

    fn tone(&self, said: &Said) -> &'static str {
        data::tone(said)
    }

    /// Its tone, and how it is known if nobody observed it.
    fn look(&self, said: &Said) -> String {
        [data::tone(said), data::how(said)].join(" ").trim_end().to_owned()
    }

    /// Where the cases of a cell are shown: what the page's script reads behind `#`.
    fn cell(&self, scenario: &str, subject: &SubjectTables, cases: &[(String, Vec<String>)]) -> String {
        let values = |values: &[String]| values.iter().map(|value| word(value)).collect::<Vec<_>>().join(",");
        let with: Vec<String> = cases.iter().map(|(axis, own)| format!("{}={}", word(axis), values(own))).collect();
        let call = (subject.call, subject.port);
        link(&[("scenario", scenario), ("call", call.0.as_str()), ("port", call.1.as_str()), ("with", &with.join(" "))])
    }

    fn row(&self, row: &AnswerRow, said: &Said) -> String {
        let outcome = said.outcomes.first().map_or("", String::as_str);
        let verdict = said.verdict.filter(|verdict| *verdict != Verdict::Match).map_or("", Verdict::as_str);
        let call = row.call.as_str();
        link(&[("scenario", &row.scenario), ("call", call), ("errno", outcome), ("verdict", verdict)])
    }

    fn case(&self, id: &str) -> String {
        link(&[("case", id)])
    }
}

/// `#name=value&…` without what is empty.
fn link(parts: &[(&str, &str)]) -> String {
    let parts = parts.iter().filter(|(_, value)| !value.is_empty());
    let parts: Vec<String> = parts.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    format!("#{}", parts.join("&"))
}

/// An axis or a value among others: without what stands between them.
fn word(text: &str) -> String {
    let encoded = |letter: char| match letter {
        '%' | ',' | '=' => format!("%{:02X}", u32::from(letter)),
        letter if letter.is_whitespace() => encoded(letter.encode_utf8(&mut [0; 4])),
        letter => letter.to_string(),
    };
    text.chars().map(encoded).collect()
}

/// What stands for itself in a fragment (RFC 3986 section 3.5), of what such a text has.
const FRAGMENT: AsciiSet =
    NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'=').remove(b',').remove(b':').remove(b'/');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, &FRAGMENT).to_string()
}

/// As a content security policy names a script or a style that it lets run.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_hold_any_text() {
        assert_eq!(
            link(&[("call", "bind"), ("cause", ""), ("with", "a=b,c d=&#\"")]),
            "#call=bind&with=a=b,c%20d=%26%23%22"
        );
    }
}
