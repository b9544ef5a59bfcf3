//! Checks of tracers as text: for a terminal, and as Markdown.
//!
//! `tracer::check` has judged before.

use comfy_table::{Cell, Row};

use super::style::{BAD, FAINT, GOOD, HEADING, WARN, paint};
use super::text::{count, field, heading, lines, shown, table, unwrapped};
use crate::knowledge::policy::right::Consequence;
use crate::tracer::check::infer::{Habit, Likeness};
use crate::tracer::check::judge::{Behaviour, BehaviourVerdict};
use crate::tracer::check::{BehaviourChange, Check, CheckOutcome, CheckRow, Tracer};
use crate::words::names::PortChoice;

/// Which runs are shown with the calls that prove what is said of them.
#[derive(Clone, Copy, Debug)]
pub enum CallsShown<'c> {
    Wrong,
    Everything,
    /// What a baseline says as well is no news.
    Changed(&'c [BehaviourChange]),
}

impl CallsShown<'_> {
    fn has(self, tracer: &str, row: &CheckRow) -> bool {
        match self {
            CallsShown::Everything => true,
            CallsShown::Wrong => {
                row.behaviour == Behaviour::NotRun
                    || [BehaviourVerdict::Wrong, BehaviourVerdict::Broken].contains(&row.verdict)
            }
            CallsShown::Changed(changes) => {
                let is_of = |change: &BehaviourChange| change.tracer == tracer && change.trouble == row.trouble;
                row.behaviour == Behaviour::NotRun
                    || row.verdict == BehaviourVerdict::Broken
                    || changes.iter().any(is_of)
            }
        }
    }
}

/// Every tracer with what it did.
pub fn check(check: &Check, detail: CallsShown<'_>, width: usize) -> String {
    let mut text = String::new();
    for tracer in &check.tracers {
        let label = shown(&tracer.label());
        let command = field(&format!("{label}  "), &shown(&tracer.command.join(" ")), width);
        text.push_str(&format!("{}{}\n", paint(HEADING, &label), paint(FAINT, command[label.len()..].trim_end())));
        let mut rows = table(width.saturating_sub(2));
        rows.set_header(heading(["trouble", "behaviour", "verdict"]));
        for row in &tracer.runs {
            let verdict = match row.kind {
                Some(kind) => format!("{}: {kind}", row.verdict),
                None => row.verdict.to_string(),
            };
            rows.add_row(Row::from(vec![
                Cell::new(row.trouble),
                Cell::new(row.behaviour),
                Cell::new(paint(style(row.verdict), &verdict)),
            ]));
        }
        unwrapped(&mut rows, 2);
        text.push_str(&lines(rows, "  "));
        for row in tracer.runs.iter().filter(|row| detail.has(&tracer.label(), row)) {
            text.push_str(&details(row, width));
        }
        text.push_str(&habits(tracer, width));
        text.push('\n');
    }
    text + &total(check) + "\n"
}

fn style(verdict: BehaviourVerdict) -> anstyle::Style {
    match verdict {
        BehaviourVerdict::Right => GOOD,
        BehaviourVerdict::Wrong | BehaviourVerdict::Broken => BAD,
        BehaviourVerdict::NotExercised => WARN,
    }
}

fn details(row: &CheckRow, width: usize) -> String {
    let mut text = format!("\n  {}\n", paint(HEADING, row.trouble.as_str()));
    let mut add = |label: &str, value: &str| text.push_str(&field(&format!("    {label:<8}"), &shown(value), width));
    let mut add_lines = |label: &str, lines: &mut dyn Iterator<Item = &str>| {
        for (index, line) in lines.enumerate() {
            add(if index == 0 { label } else { "" }, line);
        }
    };
    let mut said = row.message.iter().flat_map(|message| message.lines());
    // Nobody knows better what is wrong with a tracer that does not even work.
    if row.verdict == BehaviourVerdict::Broken {
        add_lines("said", &mut said);
    }
    add_lines("why", &mut std::iter::once(&*row.why));
    add_lines("calls", &mut row.proof.iter().map(String::as_str));
    add_lines("said", &mut said);
    add("reached", &reached(row));
    if !row.conditions.is_empty() {
        add("made by", &format!("errnoscope exec {}", row.conditions.join(" ")));
    }
    text
}

fn reached(row: &CheckRow) -> String {
    let ttls: Vec<String> = row.reached.iter().map(u8::to_string).collect();
    let code = row.exit_code.map_or(String::new(), |code| format!(", exit code {code}"));
    if ttls.is_empty() { format!("no hop{code}") } else { format!("hops {}{code}", ttls.join(" ")) }
}

fn habits(tracer: &Tracer, width: usize) -> String {
    if tracer.habits.is_empty() {
        return String::new();
    }
    let mut text = format!("\n  {}\n", paint(HEADING, "what it does about failed calls"));
    for habit in &tracer.habits {
        text.push_str(&field("    ", &self::habit(habit), width));
    }
    text.push_str(&field("    ", &like(&tracer.like), width));
    text
}

/// `connect EADDRNOTAVAIL, explicit port: abort (tuple-in-use: gives-up)`.
fn habit(habit: &Habit) -> String {
    let port = if habit.port == PortChoice::None { String::new() } else { format!(", {} port", habit.port) };
    let causes: Vec<String> = habit.by_cause.iter().map(|(cause, kind)| format!("{cause}: {kind}")).collect();
    let causes = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
    format!("{} {}{port}: {}{causes}", habit.call, habit.errno.as_str(), habit.action)
}

/// `behaves like conflate; evidence 3 of 4`.
fn like(likenesses: &[Likeness]) -> String {
    let (same, other): (Vec<&Likeness>, Vec<&Likeness>) = likenesses.iter().partition(|like| like.agrees == like.of);
    let names: Vec<&str> = same.iter().map(|like| &*like.policy).collect();
    let rest: Vec<String> =
        other.iter().map(|like| format!("{} {} of {}", like.policy, like.agrees, like.of)).collect();
    let head = match (&*names, likenesses.first()) {
        ([], _) => "behaves like none of the built-in policies".to_owned(),
        (names, Some(like)) => format!("behaves like {} in the {} seen", names.join(" and "), count(like.of, "signal")),
        _ => String::new(),
    };
    if rest.is_empty() { head } else { format!("{head}; agrees with {}", rest.join(", ")) }
}

/// `13 runs: 9 right, 4 wrong`.
pub fn total(check: &Check) -> String {
    let rows: Vec<&CheckRow> = check.tracers.iter().flat_map(|tracer| &tracer.runs).collect();
    let counts = BehaviourVerdict::ALL
        .iter()
        .map(|verdict| (verdict, rows.iter().filter(|row| row.verdict == *verdict).count()));
    let counts: Vec<String> =
        counts.filter(|(_, count)| *count > 0).map(|(verdict, count)| format!("{count} {verdict}")).collect();
    format!("{}: {}", count(rows.len() as u64, "run"), counts.join(", "))
}

/// What changed since the baseline.
pub fn changes(changes: &[BehaviourChange]) -> String {
    if changes.is_empty() {
        return format!("{} since the baseline\n", paint(GOOD, "no change"));
    }
    let words = |(behaviour, verdict, kind): CheckOutcome| {
        format!("{behaviour} ({verdict}{})", kind.map_or(String::new(), |kind| format!(": {kind}")))
    };
    let lines = changes.iter().map(|change| {
        let before = change.baseline.map_or("not in the baseline".to_owned(), words);
        let better = change.current.1 == BehaviourVerdict::Right;
        let now = paint(if better { GOOD } else { BAD }, &words(change.current));
        format!("  {}  {}  {before} → {now}\n", shown(&change.tracer), change.trouble)
    });
    let head = paint(HEADING, &count(changes.len() as u64, "change"));
    format!("{head} since the baseline\n{}", lines.collect::<String>())
}

/// The same for a file: a table of all tracers, and what is behind it.
pub fn markdown(check: &Check) -> String {
    let mut text = format!(
        "# What tracers do about socket errors\n\nMade by `errnoscope check` on {}: each tracer ran once under each trouble, on a \
path of five routers and a server, and its system calls were seen. That slows them down: one that tries port after port comes less \
far than by itself. Wrong behaviour is **bold**.\n\n",
        check.stack
    );
    let names: Vec<String> = check.tracers.iter().map(|tracer| cell(&tracer.label())).collect();
    text.push_str(&format!("| trouble | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len())));
    for trouble in crate::tracer::check::trouble::Trouble::ALL {
        let cells: Vec<String> = check
            .tracers
            .iter()
            .map(|tracer| {
                let row = tracer.runs.iter().find(|row| row.trouble == *trouble);
                row.map_or(String::new(), |row| match row.verdict {
                    BehaviourVerdict::Wrong | BehaviourVerdict::Broken => format!("**{}**", words(row)),
                    BehaviourVerdict::Right | BehaviourVerdict::NotExercised => words(row),
                })
            })
            .collect();
        text.push_str(&format!("| `{trouble}` | {} |\n", cells.join(" | ")));
    }
    text.push_str("\n`aborts` is right where no other port would help, `skips` where one does.\n");
    for tracer in &check.tracers {
        text.push_str(&format!("\n## {}\n\n    {}\n", cell(&tracer.label()), tracer.command.join(" ")));
        if !tracer.habits.is_empty() {
            text.push_str("\n| call | port | errno | what it does | by cause |\n|---|---|---|---|---|\n");
        }
        for habit in &tracer.habits {
            let causes: Vec<String> = habit
                .by_cause
                .iter()
                .map(|(cause, kind)| match kind {
                    Consequence::Right => format!("{cause}: {kind}"),
                    _ => format!("{cause}: **{kind}**"),
                })
                .collect();
            let errno = habit.errno.as_str();
            text.push_str(&format!(
                "| {} | {} | {errno} | {} | {} |\n",
                habit.call,
                habit.port,
                habit.action,
                causes.join(", ")
            ));
        }
        if !tracer.habits.is_empty() {
            text.push_str(&format!("\nIt {}.\n", like(&tracer.like)));
        }
        for row in tracer
            .runs
            .iter()
            .filter(|row| row.verdict == BehaviourVerdict::Wrong || row.verdict == BehaviourVerdict::Broken)
        {
            let said = row.message.as_ref().map_or(String::new(), |message| {
                format!(" It says `{}`.", message.replace('`', "'").replace('\n', " "))
            });
            text.push_str(&format!("\n**{}**: {}; {}.{said}\n", row.trouble, row.why, reached(row)));
            if !row.proof.is_empty() {
                text.push_str(&format!("\n    {}\n", row.proof.join("\n    ")));
            }
        }
    }
    text
}

fn words(row: &CheckRow) -> String {
    match row.kind {
        Some(kind) => format!("{}, {kind}", row.behaviour),
        None => row.behaviour.to_string(),
    }
}

fn cell(text: &str) -> String {
    shown(text).replace('|', "\\|")
}
