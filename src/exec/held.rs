//! The process that holds what conditions are made of, for as long as the command runs, and what it says of them.
//!
//! It performs ops and asks the kernel, and is told no precondition; whether an answer is the right one is decided on this
//! side of the line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::condition::{Check, Named, Situation};
use crate::plan::{Answer, Op, Outcome, Performed, Query, Role, Step};
use crate::sys::{self, Fork, Isolation};
use crate::witness::{Moment, Precondition};
use crate::worker::Case;

/// Conditions that are there.
pub struct Held {
    conditions: Vec<Named>,
    checks: Vec<Check>,
    /// The answer to each check when everything was there.
    before: Vec<Answer>,
    since: Instant,
    line: BufReader<UnixStream>,
}

/// What the holding process says, in a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    /// This step, or this op that is performed over and over, ended so.
    Refused { condition: usize, op: String, result: Performed },
    /// An answer to each question; and for which conditions nobody answers SYNs any more.
    Answers { answers: Vec<Answer>, silent: Vec<usize> },
}

impl Held {
    /// Makes the conditions in a process of their own, in the network namespace that this one is in.
    pub fn make(conditions: &[Named], situation: Situation, isolation: &Isolation) -> Result<Held, String> {
        let (ours, theirs) = UnixStream::pair().map_err(|error| format!("socketpair: {error}"))?;
        let Situation { steps, repeated, checks, .. } = situation;
        let questions: Vec<Query> = checks.iter().filter_map(|check| check.precondition.query()).collect();
        debug_assert_eq!(questions.len(), checks.len(), "each can be asked for");
        let since = Instant::now();
        match sys::fork().map_err(|errno| format!("fork: {errno}"))? {
            Fork::Child => {
                sys::die_with_parent();
                drop(ours);
                let _ = hold(&steps, &repeated, &questions, isolation, theirs);
                sys::exit_now(1)
            }
            Fork::Parent(_) => drop(theirs),
        }
        let conditions = conditions.to_vec();
        let mut held = Held { conditions, checks, before: Vec::new(), since, line: BufReader::new(ours) };
        let (answers, _) = held.listen().map_err(|why| why.unwrap_or("its holder died".to_owned()))?;
        for (check, answer) in held.checks.iter().zip(&answers) {
            if !is_made(&check.precondition, answer) {
                let text = &held.conditions[check.condition].text;
                return Err(format!("condition `{text}` cannot be made: {}", found(check, answer)));
            }
        }
        held.before = answers;
        Ok(held)
    }

    /// What no longer holds, a sentence for each condition.
    pub fn lost(&mut self) -> Vec<String> {
        let asked = self.line.get_mut().write_all(b"?\n");
        let answers = asked.map_err(|_| None).and_then(|()| self.listen());
        let (answers, silent) = match answers {
            Ok(answers) => answers,
            Err(why) => {
                let why = why.unwrap_or("the process that held it was killed".to_owned());
                let all: Vec<String> = self.conditions.iter().map(|named| format!("`{}`", named.text)).collect();
                return vec![format!("{}: {why}", all.join(", "))];
            }
        };
        let mut lost: Vec<(usize, String)> =
            silent.into_iter().map(|condition| (condition, "the router was killed".to_owned())).collect();
        let took = self.since.elapsed();
        for ((check, before), after) in self.checks.iter().zip(&self.before).zip(&answers) {
            let witness = check.precondition.witness(Moment::Both, Some(before), Some(after), None);
            let used_up = check.at == Moment::Before && check.lasts.is_none_or(|lasts| took < lasts);
            if !witness.confirmed && !used_up {
                lost.push((check.condition, found(check, after)));
            }
        }
        lost.dedup_by_key(|(condition, _)| *condition);
        lost.into_iter().map(|(condition, why)| format!("`{}`: {why}", self.conditions[condition].text)).collect()
    }

    /// `Err` without a reason: the other side is gone.
    fn listen(&mut self) -> Result<(Vec<Answer>, Vec<usize>), Option<String>> {
        let mut text = String::new();
        self.line.read_line(&mut text).map_err(|_| None)?;
        match serde_json::from_str(&text).map_err(|_| None)? {
            Said::Answers { answers, silent } => Ok((answers, silent)),
            Said::Refused { condition, op, result } => {
                let why = match result {
                    Performed::Unsupported(lack) => format!("this host has no {}: {}", lack.need, lack.reason),
                    Performed::Outcome(Outcome::Errno(errno)) => format!("{op}: {errno}"),
                    Performed::Outcome(outcome) => {
                        format!("{op}: {}; does nobody listen, or accept, there?", outcome.name())
                    }
                    Performed::Failed(why) => format!("{op}: {why}"),
                };
                Err(Some(format!("condition `{}` cannot be made: {why}", self.conditions[condition].text)))
            }
        }
    }
}

/// Whether a condition is there to begin with: what is to be left free has to be free.
fn is_made(precondition: &Precondition, answer: &Answer) -> bool {
    match (precondition, answer) {
        (Precondition::Full { free, .. }, Answer::Census { held, size, .. }) => size - held == u32::from(*free),
        (Precondition::Counted { .. }, answer) => matches!(answer, Answer::Counter { .. }),
        _ => precondition.witness(Moment::Before, Some(answer), None, None).confirmed,
    }
}

/// What was to be there, and what the kernel says.
fn found(check: &Check, answer: &Answer) -> String {
    let said = match answer {
        Answer::Socket { rows, .. } if rows.is_empty() => "the socket table has nothing on its port".to_owned(),
        Answer::Socket { rows, .. } => {
            let rows = rows.iter().take(4).map(|row| match row.remote {
                Some(remote) => format!("{} {} to {remote}", row.state, row.local),
                None => format!("{} {}", row.state, row.local),
            });
            format!("the socket table has {}", rows.collect::<Vec<_>>().join(", "))
        }
        Answer::Census { held, size, free } => {
            let free: Vec<String> = free.iter().map(u16::to_string).collect();
            format!("{} ports are free ({}, …)", size - held, free.join(", "))
        }
        Answer::Address { local } => format!("it is {}configured", if *local { "" } else { "not " }),
        Answer::Route { kind } => format!("the kernel has: {kind}"),
        Answer::Sysctl { value } => format!("it is {value}"),
        Answer::Failed { error } => error.clone(),
        Answer::Descriptors { .. } | Answer::Counter { .. } | Answer::User { .. } => "it is not so".to_owned(),
    };
    let described = check.precondition.describe();
    match check.lasts {
        Some(lasts) => format!("{described}: {said}; it lasts for {} s", lasts.as_secs()),
        None => format!("{described}: {said}"),
    }
}

/// The other side: makes, answers, asks again when told to.
fn hold(
    steps: &[(usize, Step)],
    repeated: &[(usize, Op)],
    questions: &[Query],
    isolation: &Isolation,
    line: UnixStream,
) -> std::io::Result<()> {
    let say = |said: &Said| -> std::io::Result<()> {
        let mut text = serde_json::to_vec(said)?;
        text.push(b'\n');
        (&line).write_all(&text)
    };
    let refuse = |condition, op: &Op, result| {
        let (name, arguments) = op.describe();
        say(&Said::Refused { condition, op: format!("{name} {arguments}"), result })
    };
    sys::no_core_files();
    let _ = sys::set_descriptor_limit(sys::descriptor_limit().1);
    let mut case = Case::new(isolation);
    for (condition, step) in steps {
        if let Err(result) = case.set_up(step) {
            return refuse(*condition, &step.op, result);
        }
    }
    let mut routers = Vec::new();
    for (condition, op) in repeated {
        match sys::fork() {
            Ok(Fork::Child) => {
                sys::die_with_parent();
                repeat(&mut case, op)
            }
            Ok(Fork::Parent(pid)) => routers.push((*condition, pid)),
            Err(errno) => return refuse(*condition, op, Performed::Failed(format!("fork: {errno}"))),
        }
    }
    let mut commands = BufReader::new(&line);
    loop {
        let is_gone = |pid: i32| !matches!(sys::wait_for(pid, Duration::ZERO), Ok(None));
        let silent = routers.iter().filter(|(_, pid)| is_gone(*pid)).map(|(condition, _)| *condition).collect();
        say(&Said::Answers { answers: case.answers(questions), silent })?;
        if commands.read_line(&mut String::new())? == 0 {
            return Ok(());
        }
    }
}

/// Performs an op for ever. Nothing to do for a while is no failure.
fn repeat(case: &mut Case, op: &Op) -> ! {
    let role = Role::Setup { permit: Vec::new(), unsupported: Vec::new(), requires: None };
    let step = Step { op: op.clone(), user: None, role };
    loop {
        match case.set_up(&step) {
            Ok(()) | Err(Performed::Outcome(Outcome::Blocked { .. })) => {}
            Err(_) => sys::exit_now(1),
        }
    }
}
