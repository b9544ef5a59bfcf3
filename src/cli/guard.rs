//! Guards the terminal: only text, line ends and colours pass.
//!
//! It does not know where a text comes from; `untrusted` removes colours from the texts of others.

use std::io::{self, Write};

use crate::words::untrusted::is_spelled_out;

const ESCAPE: u8 = 0x1b;

/// Longer than any character, and than a colour.
const LONGEST: usize = 40;

pub struct Guard<W> {
    inner: W,
    /// What may be the begin of a character or of a colour.
    begun: Vec<u8>,
}

impl<W: Write> Guard<W> {
    pub fn new(inner: W) -> Guard<W> {
        Guard { inner, begun: Vec::new() }
    }

    /// Writes what is whole, and returns what is not yet.
    fn pass<'t>(&mut self, mut text: &'t [u8]) -> io::Result<&'t [u8]> {
        while !text.is_empty() {
            let plain = text.iter().take_while(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')).count();
            self.inner.write_all(&text[..plain])?;
            text = &text[plain..];
            let Some(&first) = text.first() else { break };
            match if first == ESCAPE { colour(text) } else { character(text) } {
                Piece::Begun => break,
                Piece::Passes(length) => {
                    self.inner.write_all(&text[..length])?;
                    text = &text[length..];
                }
                Piece::Controls(letter) => {
                    write!(self.inner, "{}", letter.escape_unicode())?;
                    text = &text[letter.len_utf8()..];
                }
                Piece::Garbage => {
                    self.inner.write_all("\u{fffd}".as_bytes())?;
                    text = &text[1..];
                }
            }
        }
        Ok(text)
    }
}

/// What a text begins with.
enum Piece {
    /// More has to come.
    Begun,
    /// So many bytes, of a character or a colour.
    Passes(usize),
    Controls(char),
    Garbage,
}

/// `ESC [ 1;31 m` (SGR, ECMA-48 section 8.3.117).
fn colour(text: &[u8]) -> Piece {
    let parameters = |text: &[u8]| text.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b';')).count();
    match text {
        [_] => Piece::Begun,
        [_, b'[', rest @ ..] => match rest.get(parameters(rest)) {
            _ if parameters(rest) > LONGEST => Piece::Controls('\x1b'),
            Some(b'm') => Piece::Passes(2 + parameters(rest) + 1),
            Some(_) => Piece::Controls('\x1b'),
            None => Piece::Begun,
        },
        _ => Piece::Controls('\x1b'),
    }
}

fn character(text: &[u8]) -> Piece {
    let text = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(text) {
        Ok(valid) => valid,
        Err(error) if error.valid_up_to() > 0 => std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
        Err(error) => return if error.error_len().is_none() { Piece::Begun } else { Piece::Garbage },
    };
    match valid.chars().next() {
        Some(letter) if is_spelled_out(letter) => Piece::Controls(letter),
        Some(letter) => Piece::Passes(letter.len_utf8()),
        None => Piece::Garbage,
    }
}

impl<W: Write> Write for Guard<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.begun.is_empty() {
            self.begun = self.pass(text)?.to_vec();
        } else {
            let mut whole = std::mem::take(&mut self.begun);
            whole.extend_from_slice(text);
            self.begun = self.pass(&whole)?.to_vec();
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What was begun and never ended is nothing that a terminal should complete.
impl<W> Drop for Guard<W> {
    fn drop(&mut self) {
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same whether it comes as a whole or byte by byte.
    #[track_caller]
    fn check(text: &[u8], passed: &str) {
        for size in [1, 2, 3, text.len().max(1)] {
            let mut out = Vec::new();
            let mut guard = Guard::new(&mut out);
            for piece in text.chunks(size) {
                guard.write_all(piece).unwrap();
            }
            drop(guard);
            assert_eq!(String::from_utf8(out).unwrap(), passed, "in pieces of {size}");
        }
    }

    #[test]
    fn text_and_colours_pass_and_nothing_else_does() {
        check("a\tb → …\n".as_bytes(), "a\tb → …\n");
        check(b"\x1b[1m\x1b[38;5;4mred\x1b[0m", "\x1b[1m\x1b[38;5;4mred\x1b[0m");
        check(b"\x1b]0;title\x07\x1b[2J\x1bc\x1b[6n.", "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}c\\u{1b}[6n.");
        check("\u{9b}31m\u{202e}x\u{200f}\r".as_bytes(), "\\u{9b}31m\\u{202e}x\\u{200f}\\u{d}");
        check(b"a\xff\xc3(", "a\u{fffd}\u{fffd}(");
        check(b"end \x1b[3", "end ");
    }
}
