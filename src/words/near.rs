//! Which of the words that there are somebody may have meant by another.
//!
//! Where the words come from is known elsewhere.

use strsim::levenshtein;

/// The words that are near, or else all there are.
pub fn or_list<'k>(word: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    did_you_mean(word, known.clone())
        .unwrap_or_else(|| format!("; expected one of {}", known.collect::<Vec<_>>().join(", ")))
}

/// The words that are near, if some are.
pub fn did_you_mean<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    let near = nearest(word, known).join(" or ");
    (!near.is_empty()).then(|| format!("; did you mean {near}?"))
}

/// A longer word is no slip of a name.
const LONGEST: usize = 200;

/// At most three words that somebody may have meant by `word`, the nearest first.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Vec<&'k str> {
    let bare = word.trim_matches(['*', '?']);
    let known = known.filter(|known| bare.len().max(known.len()) <= LONGEST);
    // Of a short word everything is near.
    let most = if bare.len() < 4 { 1 } else { 2.max(bare.len() / 4) };
    let near = |known: &str| {
        let distance = levenshtein(bare, known);
        let part = bare.len() >= 3 && (known.contains(bare) || known.len() >= 3 && bare.contains(known));
        (part || distance <= most).then_some(distance)
    };
    let mut found: Vec<(usize, &str)> = known.filter_map(|known| Some((near(known)?, known))).collect();
    found.sort();
    found.into_iter().map(|(_, known)| known).take(3).collect()
}
