//! Text from outside: what another machine, another program or another person wrote.
//!
//! It owns what of such a text may reach a terminal, a page or a log. Where a text comes from is known elsewhere.

use std::borrow::Cow;

/// The text as something that a terminal, a page or a log only shows: what would control one is spelled out, as
/// `\n` or `\u{202e}`.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(is_spelled_out) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => shown.extend(letter.escape_default()),
            letter if is_spelled_out(letter) => shown.extend(letter.escape_unicode()),
            letter => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

/// The same of a text that has lines.
pub fn shown_lines(text: &str) -> String {
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

/// Whether a character controls how others are shown, or is not to be seen itself: C0, DEL and C1; the directions of
/// Unicode's bidirectional algorithm (UAX #9, section 2); line and paragraph separators; what has no width.
pub fn is_spelled_out(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// At most `most` characters of it, the last of them `…` where something is left out.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let end = text.char_indices().nth(most.saturating_sub(1)).map_or(0, |(end, _)| end);
            Cow::Owned(format!("{}…", text[..end].trim_end()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_is_spelled_out_and_what_is_text_stays() {
        assert!(matches!(shown("Füße, 日本語, → …"), Cow::Borrowed(_)));
        assert_eq!(shown("a\x1b[31mb\u{9b}\u{7f}\n\t"), "a\\u{1b}[31mb\\u{9b}\\u{7f}\\n\\t");
        assert_eq!(shown("\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}"), "\\u{202e}\\u{2066}\\u{200f}\\u{61c}\\u{200b}");
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äbcd", 3), "äb…");
        assert_eq!(cut("abcd", 0), "…");
    }
}
