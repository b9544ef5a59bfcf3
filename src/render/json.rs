//! Reports and compatibility data as JSON text, one finding or call a line, so that they can be searched and compared
//! line by line.
//!
//! The formats are the business of `finding` and `compat`; this is their layout, and a report's way back.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter, Serializer};

use crate::report::compat::Compat;
use crate::report::finding::Report;
use crate::words::untrusted::{is_spelled_out, shown};

pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    lines(&report.wire([(); 0]), &report.findings, out)
}

pub fn write_compat(compat: &Compat, out: &mut dyn Write) -> io::Result<()> {
    let Compat { format, stacks, reports, references, calls } = compat;
    let header = Compat {
        format,
        stacks: stacks.clone(),
        reports: reports.clone(),
        references: references.clone(),
        calls: Vec::new(),
    };
    lines(&header, calls, out)
}

/// `header`, whose last field is the array of `items`, still empty, and then these.
fn lines<T: Serialize>(header: &impl Serialize, items: &[T], out: &mut dyn Write) -> io::Result<()> {
    let mut head = Vec::new();
    write_pretty(header, &mut head)?;
    out.write_all(head.strip_suffix(b"]\n}").unwrap_or(&head))?;
    for (index, item) in items.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        item.serialize(&mut Serializer::with_formatter(&mut *out, Plain(CompactFormatter)))?;
    }
    out.write_all(if items.is_empty() { b"]\n}\n" } else { b"\n]\n}\n" })
}

/// Reads a report; what is wrong with the text, and at which line and column.
pub fn read(text: &str) -> Result<Report, (usize, usize, String)> {
    text.parse().map_err(|error: serde_json::Error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        (error.line(), error.column(), error.to_string().replace(&place, ""))
    })
}

/// A value over several lines, for people and machines.
pub fn write_pretty(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, Plain(PrettyFormatter::new())))?)
}

/// The same value as text without any that controls whoever shows it, and not the one that was written: for data that
/// is only shown.
pub fn write_shown(value: &impl Serialize, out: impl Write) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, Shown(CompactFormatter)))?)
}

/// JSON that a terminal shows as it is: what would control one is written as `\u202e`, which is the same text.
struct Plain<F>(F);

/// JSON with texts as they are shown.
struct Shown<F>(F);

/// The methods of a formatter that are about arrays and objects.
macro_rules! layout {
    () => {
        fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
            self.0.begin_array(out)
        }
        fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
            self.0.end_array(out)
        }
        fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
            self.0.begin_array_value(out, first)
        }
        fn end_array_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
            self.0.end_array_value(out)
        }
        fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
            self.0.begin_object(out)
        }
        fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
            self.0.end_object(out)
        }
        fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
            self.0.begin_object_key(out, first)
        }
        fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
            self.0.begin_object_value(out)
        }
        fn end_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
            self.0.end_object_value(out)
        }
    };
}

impl<F: Formatter> Formatter for Plain<F> {
    layout!();

    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((place, letter)) = rest.char_indices().find(|(_, letter)| is_spelled_out(*letter)) {
            out.write_all(&rest.as_bytes()[..place])?;
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[place + letter.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

impl<F: Formatter> Formatter for Shown<F> {
    layout!();

    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        // A fragment has no backslash of its own: those are escapes.
        out.write_all(shown(fragment).replace('\\', "\\\\").as_bytes())
    }

    fn write_char_escape<W: Write + ?Sized>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        let control = match escape {
            CharEscape::Quote | CharEscape::ReverseSolidus | CharEscape::Solidus => {
                return CompactFormatter.write_char_escape(out, escape);
            }
            CharEscape::Backspace => '\u{8}',
            CharEscape::FormFeed => '\u{c}',
            CharEscape::LineFeed => '\n',
            CharEscape::CarriageReturn => '\r',
            CharEscape::Tab => '\t',
            CharEscape::AsciiControl(byte) => char::from(byte),
        };
        self.write_string_fragment(out, control.encode_utf8(&mut [0; 4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\"\\b\n\x1b[31m\u{7f}\u{9b}\u{202e}\u{e0041}ü";

    #[test]
    fn json_keeps_a_text_and_shows_none_that_controls() {
        let mut out = Vec::new();
        write_pretty(&[HOSTILE], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(|letter| letter != '\n' && is_spelled_out(letter)), "{text}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [HOSTILE]);
    }

    #[test]
    fn data_that_is_only_shown_says_what_is_shown() {
        let mut out = Vec::new();
        write_shown(&[HOSTILE], &mut out).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<String>>(&out).unwrap(), [shown(HOSTILE)]);
    }
}
