//! Text from outside: from another machine, another program or another person.
//!
//! It decides what of such a text may reach a terminal, a page or a log. It does not know where a text comes from.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text from outside. As a `str`, and printed, it is what may be shown; files keep what was written.
///
/// Two texts are equal where they look alike.
#[derive(Clone, Default)]
pub struct Text {
    shown: Box<str>,
    /// Only where that is something else.
    raw: Option<Box<str>>,
}

impl Text {
    /// What may be shown.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// What was written, which may control a terminal: for files, never for people.
    pub fn raw(&self) -> &str {
        self.raw.as_deref().unwrap_or(&self.shown)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        match shown(&text) {
            Cow::Borrowed(_) => Text { shown: text.into(), raw: None },
            Cow::Owned(shown) => Text { shown: shown.into(), raw: Some(text.into()) },
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::from(text.to_owned())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.shown
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        **self == **other
    }
}

impl PartialEq<Text> for String {
    fn eq(&self, other: &Text) -> bool {
        **self == **other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Text) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Text) -> Ordering {
        (**self).cmp(other)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.raw())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        String::deserialize(deserializer).map(Text::from)
    }
}

impl schemars::JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

/// The text as something that a terminal, a page or a log only shows: what would control one is spelled out, as `\n` or
/// `\u{202e}`, and a tab is a blank.
pub fn shown(text: &str) -> Cow<'_, str> {
    // Nearly every text: bytes are looked at faster than characters.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain || !text.contains(is_spelled_out) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '\t' => shown.push(' '),
            '\n' | '\r' => shown.extend(letter.escape_default()),
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
        assert_eq!(shown("a\x1b[31mb\u{9b}\u{7f}\n\t"), "a\\u{1b}[31mb\\u{9b}\\u{7f}\\n ");
        assert_eq!(shown("\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}"), "\\u{202e}\\u{2066}\\u{200f}\\u{61c}\\u{200b}");
    }

    #[test]
    fn a_text_is_shown_without_harm_and_written_as_it_was() {
        let text = Text::from("a\u{202e}");
        assert_eq!((text.to_string(), text.len(), text.raw()), ("a\\u{202e}".to_owned(), 9, "a\u{202e}"));
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(json, "\"a\u{202e}\"");
        assert_eq!(serde_json::from_str::<Text>(&json).unwrap().raw(), "a\u{202e}");
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äbcd", 3), "äb…");
        assert_eq!(cut("abcd", 0), "…");
    }
}
