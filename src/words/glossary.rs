//! The words of this project that a newcomer does not know, each in a sentence.
//!
//! Where they are shown is decided elsewhere.

/// A word, and what it means.
pub type Term = (&'static str, &'static str);

/// In the order in which they are best read.
pub const TERMS: &[Term] = &[
    ("holder", "the socket that has the port or the 4-tuple"),
    ("claimer", "the socket that asks for it, by the call that is tested"),
    (
        "relation",
        "the addresses of holder and claimer: same-specific is one address, different-specific two that do not overlap; a \
         wildcard (0.0.0.0 or ::) overlaps with every address",
    ),
    ("witness", "what the kernel said about the state that the case needs, before and after the call"),
    ("unwitnessed", "the kernel did not confirm that state, so the outcome proves nothing"),
    ("xnu-run", "XNU 7195.141.2's own networking code (macOS 11.6) gave this, run in user space on Linux; not a Mac"),
];

/// The words that stand in a text, alone or in names such as `holder_state`.
pub fn used_in(text: &str) -> impl Iterator<Item = Term> {
    TERMS.iter().copied().filter(|(word, _)| {
        let is_of_a_word = |letter: char| letter.is_ascii_alphabetic() || letter == '-' && word.contains('-');
        text.split(|letter| !is_of_a_word(letter)).any(|part| part.eq_ignore_ascii_case(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_names_and_not_in_other_words() {
        let used = |text| used_in(text).map(|(word, _)| word).collect::<Vec<_>>();
        assert_eq!(used("bind.port-held[holder_state=bound,relation=both-wildcard]"), ["holder", "relation"]);
        assert_eq!(used("2 UNWITNESSED"), ["unwitnessed"]);
        assert_eq!(used("EADDRINUSE (xnu-run: XNU 7195.141.2)"), ["xnu-run"]);
        assert_eq!(used("stakeholders correlate, xnu run"), [""; 0]);
    }
}
