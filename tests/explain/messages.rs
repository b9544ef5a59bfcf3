//! What programs said when the kernel refused a call, as ci/messages.sh recorded it: each is explained right.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::judged::{self, Message, Situation, explained, wrong};
use crate::common::golden::matches_file;
use crate::common::tries;
use crate::harness::test;
use errnoscope::knowledge::explain::read::read;
use errnoscope::render;
use proptest::prelude::*;

fn messages() -> Vec<Message> {
    judged::messages(include_str!("messages.jsonl"))
}

fn situations() -> BTreeMap<String, Situation> {
    judged::situations(include_str!("../../ci/messages/programs.toml"))
}

/// What is known to come out wrong, and why.
const WRONG: &[(&str, &str, &str)] = &[
    ("OpenVPN", "output filter", "the address stands too far above, in a log"),
    ("memcached", "foreign address", "its second line says the address, with an errno of its own"),
    ("memcached", "no permission", "its second line says the address, with an errno of its own"),
    ("memcached", "no IPv6 address to bind", "its second line says the address, with an errno of its own"),
];

#[test]
fn what_programs_say_is_explained_as_the_kernel_meant_it() {
    let situations = situations();
    let mut faults = Vec::new();
    for message in &messages() {
        let Message { program, situation, text, .. } = message;
        let wrong = wrong(message, &situations[situation]);
        let known = WRONG.iter().any(|(wrong, of, _)| wrong == program && of == situation);
        if wrong.is_empty() == known {
            faults.push(format!("{program}, {situation}: {wrong:?}\n{text}\n  kernel {:?}", message.kernel));
        }
    }
    assert!(faults.is_empty(), "{}:\n{}", faults.len(), faults.join("\n"));
}

/// A program that nobody has recorded has words of its own. So the words that one program alone says are made nonsense:
/// what is left is what it shares with the others.
#[test]
fn a_program_that_was_never_recorded_is_understood_as_well() {
    let (messages, situations) = (messages(), situations());
    let mut users: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for message in &messages {
        for word in words(&message.text) {
            users.entry(word.to_lowercase()).or_default().insert(runtime(&message.program));
        }
    }
    let mut right: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for message in &messages {
        let foreign = |word: &str| {
            let word = word.to_lowercase();
            !SYSTEM.contains(&&*word) && users.get(&word).is_none_or(|users| users.len() < 2)
        };
        let text = masked(&message.text, foreign);
        let counts = right.entry(runtime(&message.program)).or_default();
        let masked = Message { text, ..message.clone() };
        counts.1 += 1;
        counts.0 += usize::from(wrong(&masked, &situations[&message.situation]).is_empty());
    }
    let shown = right.iter().map(|(program, (right, all))| format!("{program}: {right} of {all}"));
    println!("{}", shown.collect::<Vec<_>>().join("\n"));
    // A few texts say too little to count by percent.
    let few = right.iter().filter(|(_, (right, all))| right * 5 < all * 4 && all - right > 2);
    let few: Vec<String> = few.map(|(program, (right, all))| format!("{program}: {right} of {all}")).collect();
    assert!(few.is_empty(), "{few:?}");
}

/// `Node http` is Node's.
fn runtime(program: &str) -> &str {
    program.split([' ', ',']).next().unwrap_or(program)
}

/// Words of the system that no program made up.
const SYSTEM: &[&str] = &["inet", "dev"];

/// The words of a text with what stands between them, in order. `finishConnect` is two.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let same = c.is_ascii_alphabetic() == before.is_ascii_alphabetic();
        if at > start && (!same || (c.is_ascii_uppercase() && before.is_ascii_lowercase())) {
            parts.push(&text[start..at]);
            start = at;
        }
        before = c;
    }
    parts.push(&text[start..]);
    parts
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter(|part| part.len() > 2 && part.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Nonsense of the same length in the place of words.
fn masked(text: &str, foreign: impl Fn(&str) -> bool) -> String {
    let is_word = |part: &str| part.len() > 2 && part.starts_with(|c: char| c.is_ascii_alphabetic());
    let nonsense = |part: &str| if is_word(part) && foreign(part) { "x".repeat(part.len()) } else { part.to_owned() };
    parts(text).into_iter().map(nonsense).collect()
}

/// Those that most people meet come first.
const SHOWN: &[&str] = &[
    "C",
    "curl",
    "Python",
    "Node",
    "Go",
    "Java",
    "Ruby",
    "PHP",
    "Perl",
    "Erlang",
    "Rust, unwrap",
    "Lua",
    "nginx",
    "Redis",
    "psql",
    "PostgreSQL",
    "HAProxy",
    "Apache",
    "ssh",
    "nc (OpenBSD)",
    "socat",
    "wget",
    "redis-cli",
    "OpenVPN",
    "Tcl",
    "OCaml",
];

#[test]
fn the_page_of_messages_has_the_words_of_the_programs() {
    let messages = messages();
    let mut page = String::from(
        "# What programs say\n\nFind your message: search this page for its words.\n\n\
         Each text was said by a real program on Linux while the kernel refused the call. `errnoscope explain TEXT` answers for\n\
         the message that you have: [From an error to its causes](explain.md). This page is made of\n\
         `tests/explain/messages.jsonl`; `ci/messages.sh` records that anew.\n",
    );
    let table = toml::from_str::<toml::Table>(include_str!("../../ci/messages/programs.toml")).expect("TOML");
    for situation in table["situation"].as_array().expect("a list") {
        let name = situation["name"].as_str().expect("a name");
        let of =
            |program: &&str| messages.iter().find(|one| one.program == **program && one.situation == name && one.tells);
        let rows: Vec<(&Message, String)> =
            SHOWN.iter().filter_map(of).filter_map(|one| Some((one, telling(one)?))).take(12).collect();
        let Some((first, _)) = rows.first() else { continue };
        let kernel = &first.kernel;
        let (call, errno) = (if kernel.call == "SO_ERROR" { "connect" } else { &kernel.call }, &kernel.errno);
        writeln!(page, "\n## {}: {call} {errno}\n", title(name)).expect("a string");
        if let Ok(explanation) = explained(&first.text, Some(errno)) {
            let answer = anstream::adapter::strip_str(&render::explain::answer(&explanation, 100)).to_string();
            let answer: Vec<&str> = answer.lines().filter(|line| !line.starts_with("-v ")).collect();
            writeln!(page, "```text\n{}\n```\n", answer.join("\n")).expect("a string");
        }
        page.push_str("| program | says |\n|---|---|\n");
        for (message, line) in rows {
            writeln!(page, "| {} | {line} |", versioned(message)).expect("a string");
        }
    }
    let columns = page.lines().map(|line| line.chars().count()).max();
    assert!(columns <= Some(120), "{columns:?} columns");
    matches_file("docs/messages.md", &page);
}

/// `curl 8.14.1`.
fn versioned(message: &Message) -> String {
    let program = message.program.split(',').next().unwrap_or_default();
    let is_number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let words = message.version.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
    let number = words.map(|word| word.trim_start_matches(['v', 'n', 'g', 'o'])).find(is_number);
    let short: String = number.unwrap_or_default().chars().take(8).collect();
    format!("{program} {short}").trim_end().to_owned()
}

fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

/// The line that says the errno, for a cell of a table.
fn telling(message: &Message) -> Option<String> {
    let tells = |line: &&str| {
        read(line).is_ok_and(|said| said[0].errno.is_some_and(|errno| errno.as_str() == message.kernel.errno))
    };
    let line = message.text.lines().find(tells)?.trim().replace('|', "\\|").replace('`', "'");
    let short: String = line.chars().take(84).collect();
    Some(if short.len() < line.len() { format!("`{short}…`") } else { format!("`{short}`") })
}

proptest! {
    #![proptest_config(tries(512))]

    /// Bytes, pieces of real messages, each in any order and as often as may be: an answer or a reason, and never a
    /// panic.
    #[test]
    fn any_text_is_explained_or_refused(
        pieces in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<(u16, u16)>(), 0_usize..4, prop::collection::vec(any::<u8>(), 0..12)), 1..6)
    ) {
        let text = spliced(&pieces);
        if let Ok(explanation) = explained(&text, None) {
            prop_assert!(!explanation.failures.is_empty() || explanation.meaning.is_some());
            render::explain::answer(&explanation, 80);
            render::explain::explanation(&explanation, 80);
        }
    }
}

type Piece = (prop::sample::Index, (u16, u16), usize, Vec<u8>);

fn spliced(pieces: &[Piece]) -> String {
    static TEXTS: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| messages().into_iter().map(|message| message.text).collect());
    let mut bytes = Vec::new();
    for (which, (from, to), times, noise) in pieces {
        let text = TEXTS[which.index(TEXTS.len())].as_bytes();
        let (from, to) = (usize::from(*from) % text.len(), usize::from(*to) % text.len());
        bytes.extend(text[from.min(to)..from.max(to)].repeat(*times));
        bytes.extend(noise);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
