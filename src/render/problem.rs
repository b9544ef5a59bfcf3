//! What is wrong with a file, with the line of source that it stands in.
//!
//! Which faults a file has is known elsewhere.

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use crate::words::problem::{Problem, floor_boundary};
use crate::words::untrusted::shown;

/// A longer line is shown around its fault only.
const LONGEST_LINE: usize = 400;
/// As much of such a line before and after where the fault begins.
const AROUND: usize = 120;

/// The fault with its line of source, as rustc shows one.
pub fn problem(problem: &Problem, renderer: &Renderer) -> String {
    let (line, column) = problem.line_and_column();
    let text = problem.text;
    let start = problem.start();
    let first = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let last = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    // A table can span half the file: its first line says enough.
    let end = floor_boundary(text, problem.span.end.clamp(start, last));
    let (from, to) = if last - first > LONGEST_LINE {
        let around = |place: usize| floor_boundary(text, place.clamp(first, last));
        (around(start.saturating_sub(AROUND)), around(start + AROUND))
    } else {
        (first, last)
    };
    let end = end.min(to);
    let [before, fault, after] = [from..start, start..end, end..to].map(|part| in_line(&text[part]));
    let source = format!("{before}{fault}{after}");
    let fault = AnnotationKind::Primary.span(before.len()..before.len() + fault.len());
    let snippet = Snippet::source(&*source).line_start(line).annotation(fault);
    let file = shown(&problem.file);
    let message = problem.message();
    let title = Level::ERROR.primary_title(&*message);
    let mut group = if source == text[first..last] {
        title.element(snippet.path(&*file))
    } else {
        // The columns of what is shown are not those of the file.
        title.element(Origin::path(&*file).line(line).char_column(column)).element(snippet)
    };
    let help = problem.help();
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(&**help));
    }
    renderer.render(&[group])
}

/// A piece of a line: a tab has no column of its own, and a carriage return ends most lines of some files.
fn in_line(text: &str) -> String {
    let pieces: Vec<_> = text.trim_end_matches('\r').split('\t').map(shown).collect();
    pieces.join("\t")
}
