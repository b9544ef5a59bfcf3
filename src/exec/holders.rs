//! The process that holds the sockets of a condition for as long as the command runs.
//!
//! It performs ops and asks the kernel. It does not know the preconditions: its parent compares the answers with them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::condition::{ConditionCheck, HostCondition, Named, Situation};
use crate::plan::socket_table::Sought;
use crate::plan::{Answer, Op, Outcome, Performed, Query, Role, Step, Unsupported};
use crate::scenario::witness::{Precondition, Witness, WitnessTime};
use crate::sys::{self, Fork, Isolation, Life};
use crate::worker::{RunningCase, nft};

/// Why conditions could not be made.
#[derive(Debug)]
pub struct Refusal {
    pub why: String,
    /// What the host lacks: then no other writing of the condition would help.
    pub lacks: Option<Unsupported>,
}

impl From<String> for Refusal {
    fn from(why: String) -> Refusal {
        Refusal { why, lacks: None }
    }
}

/// Conditions that are there.
pub struct Holders {
    conditions: Vec<Named>,
    checks: Vec<ConditionCheck>,
    /// Sysctls and conditions that the command may change.
    may_change: Vec<String>,
    /// What there was to say when everything was there.
    before: Answers,
    since: Instant,
    line: BufReader<UnixStream>,
    pid: i32,
}

/// How long making one of their parts may take. Ops have deadlines of their own, but for those that take thousands of
/// ports.
const MAKING: Duration = Duration::from_secs(60);
/// How long the holding process may take to ask the kernel.
const ASKING: Duration = Duration::from_secs(10);
/// How often it is woken up meanwhile, in case that somebody has stopped it.
const NUDGE: Duration = Duration::from_millis(100);

/// Why there is no answer.
enum Unanswered {
    Refused(Refusal),
    /// The holding process is gone.
    Gone,
    /// It says nothing.
    Silent,
}

/// What the holding process says, in a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    /// One more of the parts is made.
    Made,
    /// This step, or this op that is performed over and over, ended so.
    Refused {
        condition: usize,
        op: String,
        result: Performed,
    },
    Answers(Answers),
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Answers {
    /// One to each check.
    answers: Vec<Answer>,
    /// For which conditions nobody answers SYNs, and whether that process is still there.
    silent: Vec<(usize, bool)>,
    /// How many sockets in TIME_WAIT connections have taken over.
    taken_over: u64,
    /// The rules that keep packets from leaving, in nft's words; empty where no check is about them.
    filter: String,
}

impl Holders {
    /// Makes the conditions in a process of their own, in the network namespace that this one is in.
    pub fn make(
        conditions: &[Named],
        may_change: &[String],
        situation: Situation,
        isolation: &Isolation,
    ) -> Result<Holders, Refusal> {
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| format!("cannot make conditions: socketpair: {error}"))?;
        ours.set_read_timeout(Some(NUDGE)).map_err(|error| format!("cannot make conditions: setsockopt: {error}"))?;
        let Situation { steps, repeated, checks, .. } = situation;
        let questions: Vec<Query> = checks.iter().filter_map(|check| check.precondition.query()).collect();
        debug_assert_eq!(questions.len(), checks.len(), "each can be asked for");
        let since = Instant::now();
        let pid = match sys::fork().map_err(|errno| format!("cannot make conditions: fork: {errno}"))? {
            Fork::Child => {
                sys::keep_signals();
                sys::die_with_parent();
                drop(ours);
                let _ = hold(&steps, &repeated, &questions, isolation, theirs);
                sys::exit_now(1)
            }
            Fork::Parent(pid) => {
                drop(theirs);
                pid
            }
        };
        let (conditions, may_change) = (conditions.to_vec(), may_change.to_vec());
        let mut held = Holders {
            conditions,
            checks,
            may_change,
            before: Answers::default(),
            since,
            line: BufReader::new(ours),
            pid,
        };
        held.before = held.listen(MAKING).map_err(|why| held.refusal(why))?;
        if let Some((condition, is_there)) = held.before.silent.first() {
            let text = &held.conditions[*condition].text;
            return Err(format!("condition `{text}` cannot be made: {}", silence(*is_there)).into());
        }
        for (check, answer) in held.checks.iter().zip(&held.before.answers) {
            if !is_made(&check.precondition, answer) {
                let text = &held.conditions[check.condition].text;
                return Err(format!("condition `{text}` cannot be made: {}", found(check, answer)).into());
            }
        }
        Ok(held)
    }

    /// What no longer holds, a sentence for each condition; and what does not because the command was allowed to change
    /// it.
    pub fn lost(&mut self) -> (Vec<String>, Vec<String>) {
        sys::wake(self.pid);
        let asked = self.line.get_mut().write_all(b"?\n");
        let answers = asked.map_err(|_| Unanswered::Gone).and_then(|()| self.listen(ASKING));
        let Answers { answers, silent, taken_over, filter } = match answers {
            Ok(answers) => answers,
            Err(why) => return (vec![self.why(why, "holds", ASKING)], Vec::new()),
        };
        let mut lost: Vec<(usize, String)> =
            silent.into_iter().map(|(condition, is_there)| (condition, silence(is_there).to_owned())).collect();
        let took = self.since.elapsed();
        let mut changed: Vec<(usize, String)> = Vec::new();
        // Without a trace: a connection may have been there and gone, or it was somebody's doing.
        let mut vanished = Vec::new();
        for ((check, before), after) in self.checks.iter().zip(&self.before.answers).zip(&answers) {
            // A counter outlives the rule that counts.
            if matches!(check.precondition, Precondition::Counted { .. }) && filter != self.before.filter {
                lost.push((check.condition, "the packet filter is no longer as it was made".to_owned()));
            }
            if Witness::new(WitnessTime::Both, &check.precondition, Some(before), Some(after), None).confirmed() {
                continue;
            }
            let why = || (check.condition, found(check, after));
            if self.may_change.iter().any(|name| check.is_of_sysctl(name)) {
                changed.push(why());
                continue;
            }
            if let Some(name) = check.sysctl() {
                let name = name.rsplit('.').next().unwrap_or(name);
                let (condition, why) = why();
                lost.push((condition, format!("{why}; if the command may do that: --may-change {name}")));
                continue;
            }
            match check.lasts {
                Some(lasts) if took < lasts => {
                    if !has_successor(&check.precondition, after) {
                        vanished.push(why());
                    }
                }
                Some(lasts) => {
                    let (condition, why) = why();
                    lost.push((condition, format!("{why}; it lasts for {} s", lasts.as_secs())));
                }
                None => lost.push(why()),
            }
        }
        if vanished.len() as u64 > taken_over.saturating_sub(self.before.taken_over) {
            let told = |(condition, why)| (condition, format!("{why}, and no connection has taken it over"));
            lost.extend(vanished.into_iter().map(told));
        }
        lost.sort_by_key(|(condition, _)| *condition);
        lost.dedup_by_key(|(condition, _)| *condition);
        let is_allowed = |(condition, _): &(usize, String)| {
            self.may_change.iter().any(|name| self.conditions[*condition].is_called(name))
        };
        let (allowed, lost): (Vec<_>, Vec<_>) = lost.into_iter().partition(is_allowed);
        changed.extend(allowed);
        let told = |(condition, why): (usize, String)| format!("`{}`: {why}", self.conditions[condition].text);
        (lost.into_iter().map(told).collect(), changed.into_iter().map(told).collect())
    }

    /// What went wrong with the process that does this to all conditions, and what follows from it.
    fn why(&self, why: Unanswered, does: &str, timeout: Duration) -> String {
        let how = match why {
            Unanswered::Refused(refusal) => return refusal.why,
            Unanswered::Gone => "was killed; if nobody did that, see dmesg: was there no memory left?".to_owned(),
            Unanswered::Silent => format!("does not answer within {} s; is it stopped, or traced?", timeout.as_secs()),
        };
        let held: BTreeSet<usize> = self.checks.iter().map(|check| check.condition).collect();
        let held: Vec<String> = held.iter().map(|&index| format!("`{}`", self.conditions[index].text)).collect();
        format!("{}: the process that {does} {} {how}", held.join(", "), if held.len() == 1 { "it" } else { "them" })
    }

    fn refusal(&self, why: Unanswered) -> Refusal {
        match why {
            Unanswered::Refused(refusal) => refusal,
            why @ (Unanswered::Gone | Unanswered::Silent) => self.why(why, "makes", MAKING).into(),
        }
    }

    /// What the holding process has to say, each time within this time.
    fn listen(&mut self, timeout: Duration) -> Result<Answers, Unanswered> {
        let (mut text, mut end) = (Vec::new(), Instant::now() + timeout);
        loop {
            match self.line.read_until(b'\n', &mut text) {
                Ok(_) if text.ends_with(b"\n") => match self.receive(&std::mem::take(&mut text)) {
                    Ok(None) => end = Instant::now() + timeout,
                    Ok(Some(answers)) => return Ok(answers),
                    Err(why) => return Err(why),
                },
                Ok(_) => return Err(Unanswered::Gone),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= end {
                        return Err(Unanswered::Silent);
                    }
                    sys::wake(self.pid);
                }
                Err(_) => return Err(Unanswered::Gone),
            }
        }
    }

    fn receive(&self, line: &[u8]) -> Result<Option<Answers>, Unanswered> {
        match serde_json::from_slice(line).map_err(|_| Unanswered::Gone)? {
            Said::Made => Ok(None),
            Said::Answers(answers) => Ok(Some(answers)),
            Said::Refused { condition, op, result } => {
                let why = match &result {
                    Performed::Unsupported(lack) => format!("this host has no {}: {}", lack.need, lack.reason),
                    Performed::Outcome(Outcome::Errno(errno)) => format!("{op}: {errno}"),
                    Performed::Outcome(outcome) => {
                        let fewer = match self.conditions[condition].condition {
                            HostCondition::PortsExhausted { .. } => {
                                " A server that may open no more files (ulimit -n) accepts none; a smaller \
                                 range=LOW-HIGH takes fewer connections"
                            }
                            _ => "",
                        };
                        format!("{op}: {}; does nobody listen, or accept, there?{fewer}", outcome.name())
                    }
                    Performed::Failed(why) => format!("{op}: {why}"),
                };
                let why = format!("condition `{}` cannot be made: {why}", self.conditions[condition].text);
                let lacks = match result {
                    Performed::Unsupported(lacks) => Some(lacks),
                    Performed::Outcome(_) | Performed::Failed(_) => None,
                };
                Err(Unanswered::Refused(Refusal { why, lacks }))
            }
        }
    }
}

/// Why nobody answers SYNs.
fn silence(is_there: bool) -> &'static str {
    match is_there {
        true => "the process that plays the router is stopped",
        false => "the process that plays the router was killed",
    }
}

/// Whether a condition is there to begin with: what is to be left free has to be free.
fn is_made(precondition: &Precondition, answer: &Answer) -> bool {
    match (precondition, answer) {
        (Precondition::Full(full), answer) => full.left(answer) == Some(u32::from(full.free)),
        (Precondition::Counted { .. }, answer) => matches!(answer, Answer::Counter { .. }),
        _ => Witness::new(WitnessTime::Before, precondition, Some(answer), None, None).confirmed(),
    }
}

/// What was to be there, and what the kernel says.
fn found(check: &ConditionCheck, answer: &Answer) -> String {
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
            let count = size.saturating_sub(*held);
            let more = if count as usize > free.len() { ", …" } else { "" };
            let free: Vec<String> = free.iter().map(u16::to_string).collect();
            format!("{count} ports are free ({}{more})", free.join(", "))
        }
        Answer::Address { local } => format!("it is {}configured", if *local { "" } else { "not " }),
        Answer::Route { kind } => format!("the kernel has: {kind}"),
        Answer::Sysctl { value } => format!("it is {value}"),
        Answer::Failed { error } => error.to_string(),
        Answer::Descriptors { .. }
        | Answer::Counter { .. }
        | Answer::User { .. }
        | Answer::Unix { .. }
        | Answer::File { .. } => "it is not so".to_owned(),
    };
    format!("{}: {said}", check.precondition.describe())
}

/// Whether another socket has the addresses of one that was in TIME_WAIT.
fn has_successor(precondition: &Precondition, answer: &Answer) -> bool {
    match (precondition, answer) {
        (Precondition::Socket { protocol, .. }, Answer::Socket { rows, .. }) => {
            Sought::of(*protocol, answer).is_some_and(|sought| sought.namesakes(rows).next().is_some())
        }
        _ => false,
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
    let mut case = RunningCase::with_servers(isolation);
    for (condition, step) in steps {
        if let Err(result) = case.set_up(step) {
            return refuse(*condition, &step.op, result);
        }
        say(&Said::Made)?;
    }
    let mut routers = Vec::new();
    for (condition, op) in repeated {
        match sys::fork() {
            Ok(Fork::Child) => {
                sys::die_with_parent();
                repeat(&mut case, op)
            }
            Ok(Fork::Parent(pid)) => routers.push((*condition, pid)),
            Err(errno) => return refuse(*condition, op, Performed::Failed(format!("fork: {errno}").into())),
        }
    }
    let mut commands = BufReader::new(&line);
    loop {
        let is_gone = |pid: i32| !matches!(sys::wait_for(pid, Duration::ZERO), Ok(None));
        let mut silent: Vec<(usize, bool)> = Vec::new();
        for &(condition, pid) in &routers {
            match sys::life_of(pid) {
                _ if is_gone(pid) => silent.push((condition, false)),
                Ok(Life::Stopped) => silent.push((condition, true)),
                Ok(Life::Ended) => silent.push((condition, false)),
                Ok(Life::Runs) | Err(_) => {}
            }
        }
        // Of Linux, or nothing is ever taken over.
        let taken_over = sys::time_waits_taken_over().unwrap_or(0);
        let filter = match questions.iter().any(|query| matches!(query, Query::Counter { .. })) {
            true => nft(&["list", "chain", "inet", "errnoscope", "output"], "").unwrap_or_default(),
            false => String::new(),
        };
        say(&Said::Answers(Answers { answers: case.answers(questions), silent, taken_over, filter }))?;
        if commands.read_line(&mut String::new())? == 0 {
            return Ok(());
        }
    }
}

/// Performs an op for ever. Nothing to do for a while is no failure.
fn repeat(case: &mut RunningCase, op: &Op) -> ! {
    let role = Role::Setup { permit: Vec::new(), unsupported: Vec::new(), requires: None };
    let step = Step { op: op.clone(), user: None, role };
    loop {
        match case.set_up(&step) {
            Ok(()) | Err(Performed::Outcome(Outcome::Blocked { .. })) => {}
            Err(_) => sys::exit_now(1),
        }
    }
}
