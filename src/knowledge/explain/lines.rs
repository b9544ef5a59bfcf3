//! Takes a text apart: each line that tells of an error, with the lines that belong to it.
//!
//! It reads no call and no address.

use std::sync::LazyLock;

use regex_lite::Regex;

use super::message::{self, Mention};
use super::read::{group, pattern};
use super::system;
use crate::words::errno::ErrnoName;
use crate::words::names::Os;

/// One error of a text.
#[derive(Clone, Debug)]
pub struct Block {
    /// The line with the error, and what of it is about this error.
    pub line: String,
    pub errno: Option<Mention>,
    /// Every message in the line.
    pub mentions: Vec<Mention>,
    pub numbers: Vec<i32>,
    /// The lines above that lead to it, the nearest first.
    pub above: Vec<String>,
    /// The lines below that say more of it.
    pub below: Vec<String>,
    /// The lines near it that may say more of its ends, the surest first.
    pub beside: Vec<String>,
}

/// More errors than these, counted from the end, are not told.
pub const MOST: usize = 16;
/// More lines around an error are not its own.
const AROUND: usize = 24;
/// A paste of so many lines is about one failure; a longer one is a log.
const SHORT: usize = 20;
/// A longer line is cut around its error.
const LONGEST: usize = 4096;

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?ix)
        \b(?:os[\x20_]?|win|sock(?:et)?[\x20_]?|wsa[\x20_]?|last)?err(?:or|no)?(?:[\x20_]?(?:code|no|num))?(?:["']?\s?[:=]\s?|\x20|\s?\()(-?\d{1,5})\b
        | \b(?:code|res|ret|rc|status|result|errcode)["']?\s?[:=]\s?(-?\d{1,5})\b
        | \bWSAGetLastError(?:\(\))?\s?[:=]?\s?(\d{1,5})\b
        | (?:^|\W)\((-?\d{1,5})\s?[:)"] | \((\d{1,5})\x20" | \[(?:\w+[:.])?(-?\d{1,5})\] | \[(\d{1,5}):\x20 | (?:\s|=)(-\d{1,5})\b
        | \(-1,\s?(\d{1,5})\) | \berr\#(\d{1,5})
        | \bfailed(?:\s?[:=]\s?|\x20)(-?\d{1,5})\b
        | \bsystem:(\d{1,5})\b | \bE?UNKNOWN(?:ERR)?\x20\(?(-?\d{1,5})\b
        | Exception\x20\((\d{1,5})\)
        | :\x20(\d{2,5}):\x20(?:address|can|connection|network|no|operation|permission)
        | (?:^|[:\s])(\d{1,5})\x20(?:address|can|connection|network|no|operation|permission)
        "#,
    )
});
static BARE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:[a-zA-Z_][a-zA-Z0-9_]* )?(-?\d{1,5})$"));

/// An apostrophe has many shapes.
fn plain(line: &str) -> String {
    let line = line.replace(['\u{2019}', '\u{2018}'], "'");
    line.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

pub fn blocks(lines: &[&str]) -> Vec<Block> {
    // From the end, so that the length of a log costs nothing but the search for its last errors.
    let mut at: Vec<usize> = Vec::new();
    for (index, line) in lines.iter().enumerate().rev() {
        if message::has_mention(&line.to_ascii_lowercase().replace('\u{2019}', "'")) {
            at.push(index);
            if at.len() == MOST * 4 {
                break;
            }
        }
    }
    at.reverse();
    let mut blocks: Vec<Block> = Vec::new();
    // Lines that say an errno by its number alone count where no other does.
    if at.is_empty() {
        // A message that was wrapped.
        let joined = lines.iter().take(AROUND).map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        if lines.len() > 1 && joined.len() <= LONGEST && message::has_mention(&joined.to_ascii_lowercase()) {
            return self::blocks(&[&joined]);
        }
        let from = lines.len().saturating_sub(200);
        return (from..lines.len()).filter_map(|index| numbered(lines, index)).collect();
    }
    for (position, &index) in at.iter().enumerate() {
        let line = cut(&plain(lines[index]));
        let mentions = message::mentions(&line.to_ascii_lowercase());
        let since = position.checked_sub(1).map_or(0, |before| at[before] + 1);
        let until = at.get(position + 1).copied().unwrap_or(lines.len());
        let (above, below) = (above(lines, since, index), below(lines, index, until));
        let beside = beside(lines, &above, index, until);
        // Several errnos in one line are several errors; the same one twice is one.
        let mut start = 0;
        let mut differing: Vec<usize> = Vec::new();
        for (number, mention) in mentions.iter().enumerate() {
            if mentions.get(number + 1).is_none_or(|next| next.errno != mention.errno) {
                differing.push(number);
            }
        }
        for (number, &last) in differing.iter().enumerate() {
            let end = if number + 1 == differing.len() { line.len() } else { mentions[last].end };
            let text = line[start..end].to_owned();
            let mentions = message::mentions(&text.to_ascii_lowercase());
            let best = mentions.iter().find(|mention| mention.name).or(mentions.first()).copied();
            let field = number == 0 && is_field(lines[index]);
            let mut numbers = numbers(&text);
            if field {
                // Other fields of the same object.
                let fields = above.iter().take_while(|line| is_field(line)).take(6);
                numbers.extend(fields.flat_map(|line| self::numbers(line)));
            }
            start = end;
            let Some(best) = best else { continue };
            // A field below an error, or the same error told again in an outer exception, is no other error.
            if let Some(previous) = blocks.last_mut()
                && field
                && previous.errno.is_some_and(|errno| errno.errno == best.errno)
            {
                previous.numbers.extend(numbers);
                previous.below.push(text);
                previous.below.extend(below.iter().cloned());
                continue;
            }
            let below = if number + 1 == differing.len() { below.clone() } else { Vec::new() };
            let above = if number == 0 { above.clone() } else { Vec::new() };
            blocks.push(Block {
                line: text,
                errno: Some(best),
                mentions,
                numbers,
                above,
                below,
                beside: beside.clone(),
            });
        }
    }
    blocks
}

/// What of a long line is near its first error.
fn cut(line: &str) -> String {
    if line.len() <= LONGEST {
        return line.to_owned();
    }
    let first = message::mentions(&line.to_ascii_lowercase()).first().map_or(0, |mention| mention.start);
    let (mut from, mut to) = (first.saturating_sub(LONGEST / 2), (first + LONGEST / 2).min(line.len()));
    while !line.is_char_boundary(from) {
        from -= 1;
    }
    while !line.is_char_boundary(to) {
        to += 1;
    }
    line[from..to].to_owned()
}

fn numbered(lines: &[&str], index: usize) -> Option<Block> {
    let line = cut(&plain(lines[index]));
    let bare = BARE.captures(line.trim());
    let lone = bare.is_some();
    let all = match bare {
        Some(bare) => vec![group(&bare, 1).parse().ok()?],
        None => numbers(&line),
    };
    let is_errno = |number: &i32| {
        let named = |os: &Os| ErrnoName::numbered(*os, number.abs()).is_some_and(of_sockets);
        // One and four count things more often.
        !matches!(number, 1 | 4) && (system::windows(*number).is_some() || Os::ALL.iter().any(named))
    };
    // What the kernel and programs put in brackets, or behind a sign, is surer than the first number.
    let sure = all.iter().rev().copied().find(is_errno).or(all.first().copied().filter(|_| lone))?;
    let (above, below) = (above(lines, 0, index), below(lines, index, lines.len()));
    let beside = beside(lines, &above, index, lines.len());
    Some(Block { line, errno: None, mentions: Vec::new(), numbers: vec![sure], above, below, beside })
}

/// Errors of files and processes have small numbers that stand for many things.
fn of_sockets(errno: ErrnoName) -> bool {
    errno
        .raw(Os::Linux)
        .is_some_and(|number| (88..=115).contains(&number) || matches!(number, 1 | 4 | 11 | 13 | 22..=24 | 32 | 64))
}

pub fn numbers(line: &str) -> Vec<i32> {
    let found = NUMBER.captures_iter(line);
    found.filter_map(|found| found.iter().skip(1).flatten().next()?.as_str().parse().ok()).collect()
}

fn indented(line: &str) -> bool {
    line.starts_with([' ', '\t']) || line.starts_with(['}', ']', '{']) || line.starts_with("at ")
}

/// `  code: 'ECONNREFUSED',`, `"errno": -98`.
fn is_field(line: &str) -> bool {
    let told_anew = line.contains("Error: ");
    indented(line) && line.contains(':') && !line.trim_start().starts_with("at ") && !told_anew
        || line.starts_with("Caused by: ")
        || line.trim_start().starts_with(['"', '\''])
}

fn above(lines: &[&str], since: usize, index: usize) -> Vec<String> {
    let since = since.max(index.saturating_sub(AROUND));
    lines[since..index].iter().rev().filter(|line| !line.trim().is_empty()).map(|line| short(line)).collect()
}

fn below(lines: &[&str], index: usize, until: usize) -> Vec<String> {
    let lines = &lines[index + 1..until.min(index + 1 + AROUND)];
    // A line of the program itself, with a mark below it.
    let marked = |at: usize| lines.get(at + 1).is_some_and(|mark| mark.trim() == "^");
    let own = lines.iter().enumerate().take_while(|(at, line)| indented(line) || marked(*at));
    own.map(|(_, line)| short(line)).collect()
}

/// Two lines above lead to an error. A short paste is about it in all its lines.
fn beside(lines: &[&str], above: &[String], index: usize, until: usize) -> Vec<String> {
    if lines.len() > SHORT {
        return above.iter().take(2).cloned().collect();
    }
    let after = lines[index + 1..until].iter().filter(|line| !line.trim().is_empty()).map(|line| short(line));
    above.iter().cloned().chain(after).collect()
}

fn short(line: &str) -> String {
    let mut end = line.len().min(512);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    plain(&line[..end])
}
