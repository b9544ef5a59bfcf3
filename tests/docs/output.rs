//! An output that a page shows, beside the one that there is. `…` in a page stands for what it leaves out.

use regex_lite::Regex;

/// The output as the page is to show it: as it does where that is still true, with the same things left out where that
/// is possible, and whole otherwise.
pub fn renewed(shown: &str, output: &str, numbers_vary: bool) -> String {
    let renews_numbers = std::env::var("UPDATE_EXPECT").is_ok_and(|value| value == "numbers");
    if pattern(shown, numbers_vary).is_match(output) && !(numbers_vary && renews_numbers) {
        return shown.to_owned();
    }
    // Where only numbers are others, what is left out is still known.
    let Some(found) = pattern(shown, true).captures(output) else { return output.to_owned() };
    let mut renewed = String::new();
    let mut from = 0;
    for hole in found.iter().skip(1).map(|hole| hole.expect("each takes part")) {
        renewed.push_str(&output[from..hole.start()]);
        renewed.push('…');
        from = hole.end();
    }
    renewed.push_str(&output[from..]);
    let lines = renewed.lines().map(|line| if line.trim() == "…" { "…\n".to_owned() } else { format!("{line}\n") });
    lines.collect()
}

/// With a group for each `…`.
fn pattern(shown: &str, numbers_vary: bool) -> Regex {
    let mut pattern = "^".to_owned();
    let mut rest = shown;
    let word = |c: char| !c.is_whitespace() && c != '…' && !(numbers_vary && c.is_ascii_digit());
    while let Some(first) = rest.chars().next() {
        let take = |is: &dyn Fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
        let at_line = pattern == "^" || rest.len() < shown.len() && shown[..shown.len() - rest.len()].ends_with('\n');
        let length = if let Some(after) = rest.strip_prefix("…\n").filter(|_| at_line) {
            // Whole lines.
            pattern.push_str(if numbers_vary { r"((?s:.*?))\s*" } else { r"((?:.*\n)*?)" });
            rest.len() - after.len()
        } else if first == '…' {
            pattern.push_str("(.*?)");
            first.len_utf8()
        } else if numbers_vary && first.is_ascii_digit() {
            pattern.push_str("[0-9]+(?:[.,][0-9]+)*");
            let length = take(&|c| c.is_ascii_digit() || c == '.' || c == ',');
            // A full stop is no part of a number.
            rest[..length].trim_end_matches(['.', ',']).len()
        } else if numbers_vary && first.is_whitespace() {
            pattern.push_str(r"\s+");
            take(&char::is_whitespace)
        } else if first.is_whitespace() {
            pattern.push_str(&regex_lite::escape(&first.to_string()));
            first.len_utf8()
        } else {
            let length = take(&word);
            pattern.push_str(&regex_lite::escape(&rest[..length]));
            length
        };
        rest = &rest[length..];
    }
    pattern.push_str(if numbers_vary { r"\s*$" } else { "$" });
    Regex::new(&pattern).expect("every part is escaped")
}

#[crate::harness::test]
fn what_is_left_out_and_what_varies_may_be_anything_and_nothing_else_may() {
    for (shown, output, numbers_vary, renewed_to) in [
        ("a\n", "a\n", false, "a\n"),
        ("a\n", "b\n", false, "b\n"),
        ("a 1.5\n", "a 2.5\n", false, "a 2.5\n"),
        ("a 1.5 ms.\n", "a 27 ms.\n", true, "a 1.5 ms.\n"),
        ("a 1.5 ms\n", "a 27 s\n", true, "a 27 s\n"),
        ("a   1 b\n", "a\n  234 b\n", true, "a   1 b\n"),
        ("…\nz\n", "a\nb\nz\n", false, "…\nz\n"),
        ("…\nz\n", "z\n", false, "…\nz\n"),
        ("…\nz\n", "a\nz\nb\n", false, "a\nz\nb\n"),
        ("a\n…\nz 1\n", "a\nb\nc\nz 2\n", false, "a\n…\nz 2\n"),
        ("a\n…\n", "a\nb\nc\n", false, "a\n…\n"),
        ("a\n…\n", "b\n", false, "b\n"),
        ("a: …, b (…)\n", "a: x, y, b (1)\n", false, "a: …, b (…)\n"),
        ("", "", false, ""),
        ("", "a\n", false, "a\n"),
        ("a.c\n", "abc\n", false, "abc\n"),
    ] {
        assert_eq!(renewed(shown, output, numbers_vary), renewed_to, "{shown:?} beside {output:?}");
    }
}
