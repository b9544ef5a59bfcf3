//! The few styles of terminal text. Nothing depends on them: a caller may strip them.

use anstyle::{AnsiColor, Style};

use crate::report::finding::Verdict;

pub const HEADING: Style = Style::new().bold();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const FAINT: Style = Style::new().dimmed();

pub fn paint(style: Style, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}

pub fn verdict(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Match => GOOD,
        Verdict::Mismatch | Verdict::Broken | Verdict::TimedOut | Verdict::Unwitnessed => BAD,
        Verdict::Unsupported => WARN,
    }
}
