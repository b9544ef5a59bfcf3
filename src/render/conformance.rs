//! What a worker gets right of the protocol, as text.
//!
//! A point that is right is a line; one that is not says what was said and what was expected.

use std::fmt::Write;

use super::style::{BAD, FAINT, GOOD, WARN, paint};
use super::text::{count, field};
use crate::report::conformance::{Conformance, ConformancePoint, Message, PointResult};
use crate::words::untrusted::shown;

/// What is shown of each point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// What came of it.
    Result,
    /// The messages as well.
    Exchange,
}

/// The whole check, with styles; what is wrong comes last, where a person looks.
pub fn conformance(conformance: &Conformance, what: Shown, width: usize) -> String {
    let mut text = String::new();
    for point in &conformance.points {
        text.push_str(&self::point(point, what, width));
    }
    let of = |result| conformance.summary.get(&result).copied().unwrap_or(0);
    let parts = [(PointResult::Wrong, "wrong"), (PointResult::NotOffered, "not offered"), (PointResult::Right, "ok")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(result, _)| of(*result) > 0)
        .map(|(result, word)| format!("{} {word}", of(*result)))
        .collect();
    let style = if conformance.is_right() { GOOD } else { BAD };
    let all = count(conformance.points.len() as u64, "point");
    let _ = writeln!(
        text,
        "\n{}",
        paint(style, &format!("protocol {}, {all}: {}", conformance.protocol, parts.join(", ")))
    );
    text
}

fn point(point: &ConformancePoint, what: Shown, width: usize) -> String {
    let (word, style) = match point.result {
        PointResult::Right => ("ok", GOOD),
        PointResult::Wrong => ("wrong", BAD),
        PointResult::NotOffered => ("not offered", WARN),
    };
    let label = format!("{word:11}  {:14}  ", point.name);
    let mut text = field(&label, &point.rule, width).replacen(word, &paint(style, word), 1);
    let mut more = |label: &str, value: &str| text.push_str(&field(&format!("  {label:9}  "), &shown(value), width));
    match (&point.said, &point.expected) {
        (Some(said), Some(expected)) => {
            more("said", said);
            more("expected", expected);
        }
        (Some(why), None) => more("why", why),
        (None, _) => {}
    }
    if what == Shown::Exchange {
        for message in &point.exchange {
            // A line is one line, so that it can be copied.
            let line = match message {
                Message::ToWorker(line) => format!("  → {}\n", shown(line)),
                Message::FromWorker(line) => format!("  ← {}\n", shown(line)),
            };
            text.push_str(&paint(FAINT, &line));
        }
    }
    text
}
