//! Whether an answer is one that a worker can give to its plan.
//!
//! It knows what contradicts the plan or itself: steps that were not reached, calls on sockets that no op made, errnos
//! that are none. A worker that contradicts nothing may still lie.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use crate::plan::socket_table::SocketRow;
use crate::plan::{
    Answer, Census, Detail, Fate, Gives, Made, Observations, Op, Outcome, Performed, Plan, Query, Role, Step,
    StepResult,
};
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, Os, Protocol};
use crate::words::untrusted::Text;

/// The most of a reason, or of any other text in an answer, that is kept.
const MOST_TEXT: usize = 64 << 10;

/// The most of what a worker said that a message quotes.
const MOST_QUOTED: usize = 4 << 10;

/// Longer names are none of an errno, nor of a type of route.
const MOST_NAME: usize = 64;

/// Larger numbers are no errno (`MAX_ERRNO`, include/linux/err.h), and of no signal on any OS.
const MOST_ERRNO: i32 = 4095;
const MOST_SIGNAL: i32 = 127;

/// Why an answer is none that a worker can give.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Misshapen {
    #[error("an answer about `{case}`, plan {number}, where `{due}`, plan {due_number}, was due")]
    OtherPlan { case: String, number: u32, due: String, due_number: u32 },
    #[error("step {step} of a plan of {steps}")]
    NoSuchStep { step: usize, steps: usize },
    #[error("step {step} twice, or after a later one")]
    OutOfOrder { step: usize },
    #[error("step {step} where step {due} was due")]
    LeftOut { step: usize, due: usize },
    #[error("step {step}, and step {end} has ended the case")]
    AfterEnd { step: usize, end: usize },
    #[error("step {step}, which requires step {required}, and that did not succeed")]
    NotReached { step: usize, required: u32 },
    #[error("the case is done, and step {due} is missing")]
    NotDone { due: usize },
    #[error("the case ended early, {how}")]
    Fate { how: String },
    #[error("step {step}: {why}")]
    Step { step: usize, why: MisshapenStep },
}

/// Why one of its steps is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MisshapenStep {
    #[error("an errno with a name of {bytes} bytes")]
    LongErrno { bytes: usize },
    #[error("`{name}` with the number {raw}, which is no errno")]
    NoErrno { name: Text, raw: i32 },
    #[error("`{name}` with the number {raw}, and on {os} {}", is.map_or("that name has another".to_owned(), |is| format!("that is `{is}`")))]
    OtherErrno { name: Text, raw: i32, os: Os, is: Option<&'static str> },
    #[error("blocked, and `{op}` does not wait")]
    NeverBlocks { op: String },
    #[error("blocked after {ms} ms, and `{op}` waits for {least} ms")]
    BlockedEarly { op: String, ms: u32, least: u32 },
    #[error("an outcome on the socket `{socket}`, which {}", if *was_made { "is closed" } else { "no op has made" })]
    NotOpen { socket: String, was_made: bool },
    #[error("it took {micros} µs")]
    Duration { micros: f64 },
    #[error("a detail of another op")]
    OtherDetail,
    #[error("bound to port {port}, and its name is {local}")]
    OtherPort { port: u16, local: SocketAddr },
    #[error("{given} where at most {most} were asked for")]
    MoreThanAsked { given: u64, most: u64 },
    #[error("the socket `{socket}` has the name {local}, which is none of its family")]
    OtherFamily { socket: String, local: SocketAddr },
    #[error("{answers} answers to {questions} questions")]
    AnswerCount { answers: usize, questions: usize },
    #[error("an answer about the socket `{socket}`, which no op has made")]
    NoSuchSocket { socket: String },
    #[error(
        "a row of {protocol} {local} in the answer about the socket `{socket}`, which has another port or protocol"
    )]
    OtherRow { socket: String, protocol: Protocol, local: SocketAddr },
    #[error("a census that contradicts itself or its question")]
    Census,
    #[error("{open} open descriptors below a limit of {limit}")]
    Descriptors { open: u64, limit: u64 },
    #[error("an answer to another question")]
    OtherQuestion,
}

/// The answer, with its texts cut; or what is wrong with it.
pub fn checked(plan: &Plan, os: Os, mut seen: Observations) -> Result<Observations, Misshapen> {
    if (&seen.case, seen.number) != (&plan.case, plan.number) {
        let (due, due_number) = (plan.case.clone(), plan.number);
        return Err(Misshapen::OtherPlan { case: seen.case, number: seen.number, due, due_number });
    }
    let mut went_well = vec![false; plan.steps.len()];
    let mut sockets = Sockets::default();
    let (mut next, mut end, mut is_cut_short) = (0, None, false);
    for result in &mut seen.steps {
        let index = result.step as usize;
        let Some(step) = plan.steps.get(index) else {
            return Err(Misshapen::NoSuchStep { step: index, steps: plan.steps.len() });
        };
        if index < next {
            return Err(Misshapen::OutOfOrder { step: index });
        }
        if let Some(end) = end {
            return Err(Misshapen::AfterEnd { step: index, end });
        }
        if let Some(due) = first_due(plan, &went_well, next..index) {
            return Err(Misshapen::LeftOut { step: index, due });
        }
        if let Some(required) = failed_requirement(step, &went_well) {
            return Err(Misshapen::NotReached { step: index, required });
        }
        of_step(plan, os, step, &mut sockets, result).map_err(|why| Misshapen::Step { step: index, why })?;
        went_well[index] = result.result.went_well();
        end = (!step.goes_on(&result.result)).then_some(index);
        // A host that lacks what a case takes has nothing to say of the rest.
        is_cut_short = matches!(result.result, Performed::Unsupported(_));
        next = index + 1;
    }
    match &mut seen.fate {
        Fate::Done if end.is_some() || is_cut_short => {}
        Fate::Done => {
            let due = first_due(plan, &went_well, next..plan.steps.len());
            due.map_or(Ok(()), |due| Err(Misshapen::NotDone { due }))?;
        }
        Fate::Exited { code: 0, .. } => return Err(Misshapen::Fate { how: "with exit code 0".to_owned() }),
        Fate::Exited { message, .. } => cut(message),
        Fate::Killed { signal } if !(1..=MOST_SIGNAL).contains(signal) => {
            return Err(Misshapen::Fate { how: format!("by signal {signal}") });
        }
        Fate::TimedOut { ms } if *ms < plan.deadline() => {
            return Err(Misshapen::Fate {
                how: format!("at a deadline of {ms} ms, and it has {} ms", plan.deadline()),
            });
        }
        Fate::Killed { .. } | Fate::TimedOut { .. } => {}
    }
    Ok(seen)
}

/// The first of these steps that was to be performed: only what requires a step that failed is left out.
fn first_due(plan: &Plan, went_well: &[bool], mut among: Range<usize>) -> Option<usize> {
    among.find(|&at| failed_requirement(&plan.steps[at], went_well).is_none())
}

fn failed_requirement(step: &Step, went_well: &[bool]) -> Option<u32> {
    step.role.requires().filter(|&required| !went_well.get(required as usize).copied().unwrap_or(false))
}

/// The sockets of a case, as far as its answers tell.
#[derive(Default)]
struct Sockets<'p>(BTreeMap<&'p str, Socket>);

#[derive(Clone, Copy)]
struct Socket {
    is_open: bool,
    /// Absent where it is of the family unix.
    kind: Option<(Family, Protocol)>,
}

impl<'p> Sockets<'p> {
    /// Notes what an op that was performed has made or closed.
    fn note(&mut self, op: &'p Op, outcome: &Outcome) {
        let open = |kind| Socket { is_open: true, kind };
        match (op.makes(), outcome) {
            (Some(Made::New { socket, family, protocol }), Outcome::Ok) => {
                self.0.insert(socket, open(Some((family, protocol))));
            }
            (Some(Made::Unix { socket, .. }), Outcome::Ok) => drop(self.0.insert(socket, open(None))),
            (Some(Made::Accepted { socket, listener }), Outcome::Ok) => {
                let kind = self.0.get(listener).and_then(|listener| listener.kind);
                self.0.insert(socket, open(kind));
            }
            (Some(_) | None, _) => {}
        }
        // Whatever close(2) gives, the descriptor is gone.
        if let Op::Close { socket } = op
            && let Some(closed) = self.0.get_mut(&**socket)
        {
            closed.is_open = false;
        }
    }

    /// Whether a call on its socket can have been made.
    fn can_act(&self, op: &Op) -> Result<(), MisshapenStep> {
        let socket = match (op.makes(), op.socket()) {
            (Some(made), _) if made.is_new() => return Ok(()),
            (_, Some(socket)) => socket,
            (_, None) => return Ok(()),
        };
        match (self.0.get(socket), op) {
            (Some(known), _) if known.is_open => Ok(()),
            // The kernel may keep what nobody has open.
            (Some(_), Op::Wait { .. }) => Ok(()),
            (known, _) => Err(MisshapenStep::NotOpen { socket: socket.to_owned(), was_made: known.is_some() }),
        }
    }

    fn made(&self, socket: &str) -> Result<Socket, MisshapenStep> {
        let unknown = || MisshapenStep::NoSuchSocket { socket: socket.to_owned() };
        self.0.get(socket).copied().ok_or_else(unknown)
    }

    /// Whether it can have that name.
    fn can_be_called(&self, socket: &str, local: Option<SocketAddr>) -> Result<(), MisshapenStep> {
        let family = self.0.get(socket).and_then(|known| known.kind).map(|(family, _)| family);
        match (family, local) {
            (Some(family), Some(local)) if Family::of(local.ip()) != family => {
                Err(MisshapenStep::OtherFamily { socket: socket.to_owned(), local })
            }
            _ => Ok(()),
        }
    }
}

/// What one step gave, by what it was asked.
fn of_step<'p>(
    plan: &Plan,
    os: Os,
    Step { op, role, .. }: &'p Step,
    sockets: &mut Sockets<'p>,
    result: &mut StepResult,
) -> Result<(), MisshapenStep> {
    let questions = match role {
        Role::Setup { .. } => &[][..],
        Role::Subject { queries, .. } => queries,
    };
    // What could not be performed need not have been asked about.
    let was_made = matches!(result.result, Performed::Outcome(_));
    of_questions(questions, was_made, sockets, &mut result.before)?;
    match &mut result.result {
        Performed::Outcome(outcome) => {
            sockets.can_act(op)?;
            of_outcome(plan, os, op, outcome)?;
            sockets.note(op, outcome);
        }
        Performed::Unsupported(lack) => cut(&mut lack.reason),
        Performed::Failed(why) => cut(why),
    }
    if !result.micros.is_finite() || result.micros < 0.0 {
        return Err(MisshapenStep::Duration { micros: result.micros });
    }
    if let Some(detail) = &result.detail {
        of_detail(op, detail, sockets)?;
    }
    if let (Op::Bind { port: port @ 1.., .. }, Performed::Outcome(Outcome::Ok)) = (op, &result.result)
        && let Some(Detail::Names { local: Some(local), .. }) = result.detail
        && local.port() != *port
    {
        return Err(MisshapenStep::OtherPort { port: *port, local });
    }
    of_questions(questions, was_made, sockets, &mut result.after)
}

fn of_outcome(plan: &Plan, os: Os, op: &Op, outcome: &Outcome) -> Result<(), MisshapenStep> {
    let named = || op.describe().0;
    match outcome {
        Outcome::Ok => Ok(()),
        Outcome::Errno(errno) if errno.name().len() > MOST_NAME => {
            Err(MisshapenStep::LongErrno { bytes: errno.name().len() })
        }
        Outcome::Errno(errno) => {
            let (name, raw) = (errno.name(), errno.raw());
            if !(1..=MOST_ERRNO).contains(&raw) {
                return Err(MisshapenStep::NoErrno { name: name.into(), raw });
            }
            // A newer version may know names that this one does not.
            let is = ErrnoName::numbered(os, raw);
            let has_another = errno.known().is_some_and(|name| name.raw(os).is_some());
            match is {
                Some(is) if errno.is(is) => Ok(()),
                None if !has_another => Ok(()),
                is => Err(MisshapenStep::OtherErrno { name: name.into(), raw, os, is: is.map(ErrnoName::as_str) }),
            }
        }
        Outcome::Blocked { ms } => {
            let least = op.waits_ms().ok_or_else(|| MisshapenStep::NeverBlocks { op: named() })?;
            let least = least.saturating_mul(plan.patience);
            if *ms < least { Err(MisshapenStep::BlockedEarly { op: named(), ms: *ms, least }) } else { Ok(()) }
        }
    }
}

fn of_questions(
    questions: &[Query],
    was_made: bool,
    sockets: &Sockets<'_>,
    answers: &mut [Answer],
) -> Result<(), MisshapenStep> {
    let is_whole = answers.len() == questions.len() || (answers.is_empty() && !was_made);
    if !is_whole {
        return Err(MisshapenStep::AnswerCount { answers: answers.len(), questions: questions.len() });
    }
    questions.iter().zip(answers).try_for_each(|(question, answer)| of_question(question, sockets, answer))
}

fn of_question(question: &Query, sockets: &Sockets<'_>, answer: &mut Answer) -> Result<(), MisshapenStep> {
    match (question, answer) {
        (Query::Socket { socket }, Answer::Socket { local, rows, .. }) => {
            let known = sockets.made(socket)?;
            sockets.can_be_called(socket, *local)?;
            let table = known.kind.map(|(_, protocol)| protocol.table());
            let is_meant = |row: &SocketRow| {
                Some(row.protocol) == table && local.is_some_and(|own| own.port() == row.local.port())
            };
            match rows.iter().find(|row| !is_meant(row)) {
                Some(&SocketRow { protocol, local, .. }) => {
                    Err(MisshapenStep::OtherRow { socket: socket.clone(), protocol, local })
                }
                None => Ok(()),
            }
        }
        (Query::Unix { socket }, Answer::Unix { .. }) => match sockets.made(socket)?.kind {
            None => Ok(()),
            Some(_) => Err(MisshapenStep::OtherQuestion),
        },
        (Query::Census(Census { range, .. }), Answer::Census { held, size, free }) => {
            let fits = *size == range.size() && free.iter().all(|port| range.ports().contains(port));
            match fits && u64::from(*held) + free.len() as u64 <= u64::from(*size) {
                true => Ok(()),
                false => Err(MisshapenStep::Census),
            }
        }
        (Query::Descriptors {}, &mut Answer::Descriptors { open, limit }) if open > limit => {
            Err(MisshapenStep::Descriptors { open, limit })
        }
        (Query::File { .. }, Answer::File { .. })
        | (Query::Address { .. }, Answer::Address { .. })
        | (Query::Descriptors {}, Answer::Descriptors { .. })
        | (Query::Counter { .. }, Answer::Counter { .. })
        | (Query::User {}, Answer::User { .. }) => Ok(()),
        (Query::Route { .. }, Answer::Route { kind }) if kind.len() <= MOST_NAME => Ok(()),
        (Query::Sysctl { .. }, Answer::Sysctl { value: text }) | (_, Answer::Failed { error: text }) => {
            cut(text);
            Ok(())
        }
        (
            Query::Socket { .. }
            | Query::Census { .. }
            | Query::Address { .. }
            | Query::Route { .. }
            | Query::Sysctl { .. }
            | Query::Descriptors {}
            | Query::Counter { .. }
            | Query::User {}
            | Query::Unix { .. }
            | Query::File { .. },
            _,
        ) => Err(MisshapenStep::OtherQuestion),
    }
}

/// Whether an op can give this back.
fn of_detail(op: &Op, detail: &Detail, sockets: &Sockets<'_>) -> Result<(), MisshapenStep> {
    let gives = match detail {
        Detail::Names { .. } => Gives::Names,
        Detail::ErrorQueue { .. } => Gives::ErrorQueue,
        Detail::Packet { .. } => Gives::Packet,
        Detail::Fill { .. } => Gives::Fill,
        Detail::Bytes { .. } => Gives::Bytes,
    };
    if op.gives() != gives {
        return Err(MisshapenStep::OtherDetail);
    }
    let at_most = |given: u64, most: u64| match given <= most {
        true => Ok(()),
        false => Err(MisshapenStep::MoreThanAsked { given, most }),
    };
    match (op, detail) {
        (Op::Send { bytes, .. }, Detail::Bytes { count }) => at_most(*count, (*bytes).into()),
        (Op::Fill(fill), Detail::Fill { ports, .. }) => at_most((*ports).into(), fill.range.size().into()),
        // Of an accepted socket: the listener's own name is not asked for.
        (Op::Accept { new: socket, .. }, Detail::Names { local, .. }) => sockets.can_be_called(socket, *local),
        (_, Detail::Names { local, .. }) => sockets.can_be_called(op.socket().unwrap_or_default(), *local),
        _ => Ok(()),
    }
}

/// Cuts a text that is longer than anybody reads.
pub fn cut(text: &mut Text) {
    cut_to(text, MOST_TEXT);
}

/// As much of a text as a message quotes.
pub fn short(text: &str) -> Text {
    let mut text = Text::from(text);
    cut_to(&mut text, MOST_QUOTED);
    text
}

pub fn cut_to(text: &mut Text, most: usize) {
    let raw = text.raw();
    if raw.len() > most {
        let end = (0..=most).rev().find(|&end| raw.is_char_boundary(end)).unwrap_or(0);
        *text = Text::from(format!("{}…", &raw[..end]));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A plan of five steps: two sockets, a call under test, one that requires it, and one that does not.
    fn plan() -> Plan {
        let setup = json!({ "setup": {} });
        let socket = |name| json!({ "socket": { "socket": name, "family": "ipv4", "protocol": "tcp" } });
        let bind = |port| json!({ "bind": { "socket": "a", "address": "127.0.0.1", "port": port } });
        let queries = json!([{ "socket": { "socket": "b" } }, { "sysctl": { "name": "net.x" } }]);
        let plan = json!({ "case": "a[b=c]", "number": 7, "deadline_ms": 100, "patience": 2, "steps": [
            { "op": socket("a"), "role": setup },
            { "op": socket("b"), "role": setup },
            { "op": bind(1), "role": { "subject": { "queries": queries } } },
            { "op": bind(2), "role": { "subject": { "requires": 2 } } },
            { "op": bind(3), "role": { "subject": {} } },
        ] });
        serde_json::from_value(plan).unwrap()
    }

    /// Two sockets, and then these, each as `step` has it.
    fn plan_of(ops: Value) -> Plan {
        let mut plan = plan();
        plan.steps.truncate(2);
        for op in ops.as_array().unwrap() {
            let (role, queries) = (json!({ "subject": { "queries": op["queries"] } }), op["queries"].is_array());
            let role = if queries { role } else { json!({ "setup": { "permit": ["EADDRINUSE"] } }) };
            plan.steps.push(serde_json::from_value(json!({ "op": op["op"], "role": role })).unwrap());
        }
        plan
    }

    fn step(index: u32, result: Value) -> Value {
        json!({ "step": index, "result": result, "micros": 1.0 })
    }

    fn ok(index: u32) -> Value {
        step(index, json!({ "outcome": { "ok": true } }))
    }

    fn errno(index: u32) -> Value {
        step(index, json!({ "outcome": { "errno": "EADDRINUSE", "raw": 98 } }))
    }

    fn row(port: u16) -> Value {
        json!({ "protocol": "tcp", "state": "LISTEN", "local": format!("127.0.0.1:{port}"), "uid": 0, "inode": 9 })
    }

    /// With these answers before and after.
    fn asked(mut step: Value, answers: Value) -> Value {
        (step["before"], step["after"]) = (answers.clone(), answers);
        step
    }

    fn about_b(mut step: Value) -> Value {
        let socket = json!({ "socket": { "local": null, "remote": null, "rows": [] } });
        step = asked(step, json!([socket, { "failed": { "error": "x" } }]));
        step
    }

    fn check_of(plan: &Plan, fate: Value, steps: &[Value]) -> Result<Observations, String> {
        let seen = json!({ "case": "a[b=c]", "number": 7, "fate": fate, "steps": steps });
        let seen = serde_json::from_value(seen).map_err(|error| error.to_string())?;
        checked(plan, Os::Linux, seen).map_err(|why| why.to_string())
    }

    fn check(steps: &[Value]) -> Result<Observations, String> {
        check_of(&plan(), json!("done"), steps)
    }

    #[test]
    fn what_a_worker_says_is_taken() {
        for steps in [
            vec![errno(0)],
            vec![ok(0), ok(1), about_b(ok(2)), ok(3), ok(4)],
            vec![ok(0), ok(1), about_b(errno(2)), ok(4)],
            vec![ok(0), ok(1), about_b(step(2, json!({ "failed": "x" }))), ok(4)],
            vec![step(0, json!({ "failed": "x" }))],
            vec![ok(0), ok(1), step(2, json!({ "unsupported": { "need": "tun", "reason": "x" } }))],
        ] {
            assert!(check(&steps).is_ok(), "{steps:?}: {:?}", check(&steps));
        }
        for fate in [
            json!({ "killed": { "signal": 9 } }),
            json!({ "exited": { "code": 101, "message": "x" } }),
            json!({ "timed-out": { "ms": 200 } }),
        ] {
            for steps in [vec![], vec![ok(0)], vec![ok(0), ok(1), about_b(ok(2))]] {
                check_of(&plan(), fate.clone(), &steps).unwrap();
            }
        }
    }

    #[test]
    fn what_no_worker_says_is_not() {
        let timed = |micros: f64| json!({ "step": 0, "result": { "outcome": { "ok": true } }, "micros": micros });
        let bytes =
            json!({ "step": 0, "result": { "failed": "x" }, "micros": 1.0, "detail": { "bytes": { "count": 1 } } });
        let mut asked_nothing = ok(0);
        asked_nothing["after"] = json!([{ "failed": { "error": "x" } }]);
        let socket = || json!({ "socket": { "local": null, "remote": null, "rows": [] } });
        let sysctl = || json!({ "sysctl": { "value": "1" } });
        let of = |name: &str, raw: i32| step(0, json!({ "outcome": { "errno": name, "raw": raw } }));
        for (steps, says) in [
            (vec![], "the case is done, and step 0 is missing"),
            (vec![ok(0)], "the case is done, and step 1 is missing"),
            (vec![ok(0), ok(1), about_b(errno(2))], "the case is done, and step 4 is missing"),
            (vec![ok(0), ok(0)], "step 0 twice"),
            (vec![ok(0), ok(1), about_b(ok(2)), ok(1)], "step 1 twice, or after a later one"),
            (vec![ok(1)], "step 1 where step 0 was due"),
            (vec![ok(0), about_b(ok(2))], "step 2 where step 1 was due"),
            (vec![ok(0), ok(1), about_b(ok(2)), ok(4)], "step 4 where step 3 was due"),
            (vec![ok(0), ok(1), about_b(ok(2)), ok(3), ok(4), ok(5)], "step 5 of a plan of 5"),
            (vec![ok(u32::MAX)], "step 4294967295 of a plan of 5"),
            (vec![errno(0), ok(1)], "step 1, and step 0 has ended the case"),
            (vec![ok(0), ok(1), about_b(errno(2)), ok(3)], "step 3, which requires step 2, and that did not succeed"),
            (vec![ok(0), ok(1), asked(ok(2), json!([socket(), socket()]))], "step 2: an answer to another question"),
            (vec![ok(0), ok(1), ok(2)], "step 2: 0 answers to 2 questions"),
            (vec![ok(0), ok(1), asked(ok(2), json!([socket()]))], "step 2: 1 answers to 2 questions"),
            (
                vec![ok(0), ok(1), asked(ok(2), json!([socket(), sysctl(), socket()]))],
                "step 2: 3 answers to 2 questions",
            ),
            (vec![asked_nothing], "step 0: 1 answers to 0 questions"),
            (vec![timed(-1.0)], "step 0: it took -1 µs"),
            (vec![bytes], "step 0: a detail of another op"),
            (vec![of(&"E".repeat(65), 1)], "step 0: an errno with a name of 65 bytes"),
            (vec![of("EADDRINUSE", 0)], "step 0: `EADDRINUSE` with the number 0, which is no errno"),
            (vec![of("EPERM", -1)], "step 0: `EPERM` with the number -1, which is no errno"),
            (vec![of("EPERM", 4096)], "step 0: `EPERM` with the number 4096, which is no errno"),
            (
                vec![of("EADDRINUSE", 99)],
                "step 0: `EADDRINUSE` with the number 99, and on linux that is `EADDRNOTAVAIL`",
            ),
            (
                vec![of("EADDRINUSE", 777)],
                "step 0: `EADDRINUSE` with the number 777, and on linux that name has another",
            ),
            (vec![of("EWHATEVER", 98)], "step 0: `EWHATEVER` with the number 98, and on linux that is `EADDRINUSE`"),
            (vec![step(0, json!({ "outcome": { "blocked_ms": 9 } }))], "step 0: blocked, and `socket` does not wait"),
            (vec![ok(0); MOST_STEPS_AND_ONE], "a list of more than 4096"),
        ] {
            let said = check(&steps).unwrap_err();
            assert!(said.starts_with(says), "{said}, and not {says}");
        }
        // A name that only a newer version knows.
        check(&[of("ENEWER", 777)]).unwrap();
        for (fate, says) in [
            (json!({ "killed": { "signal": 0 } }), "the case ended early, by signal 0"),
            (json!({ "exited": { "code": 0, "message": "" } }), "the case ended early, with exit code 0"),
            (json!({ "timed-out": { "ms": 199 } }), "the case ended early, at a deadline of 199 ms, and it has 200 ms"),
        ] {
            assert_eq!(check_of(&plan(), fate, &[]).unwrap_err(), says);
        }
    }

    /// What each op can give depends on what those before it have made.
    #[test]
    fn what_contradicts_the_ops_is_not_taken() {
        let bind = |socket: &str| json!({ "bind": { "socket": socket, "address": "127.0.0.1", "port": 1 } });
        let made = |name: &str| json!({ "socket": { "socket": name, "family": "ipv4", "protocol": "tcp" } });
        let close = json!({ "op": { "close": { "socket": "b" } } });
        let accept = json!({ "op": { "accept": { "socket": "a", "new": "c", "wait_ms": 30 } } });
        let send = json!({ "op": { "send": { "socket": "a", "bytes": 5 } } });
        let names = |local: &str| json!({ "names": { "local": local, "remote": null } });
        let with = |mut step: Value, detail: Value| {
            step["detail"] = detail;
            step
        };
        let census = json!({ "census": { "protocol": "tcp", "family": "ipv4", "low": 10, "high": 13 } });
        let counted = |held, size, free: Value| json!([{ "census": { "held": held, "size": size, "free": free } }]);
        let about = |question: Value| json!([{ "op": bind("b"), "queries": [question] }]);
        let listed = |local: &str, rows: Value| json!([{ "socket": { "local": local, "remote": null, "rows": rows } }]);
        let socket = json!({ "socket": { "socket": "b" } });
        let blocked = |ms: u32| step(2, json!({ "outcome": { "blocked_ms": ms } }));
        for (ops, steps, says) in [
            (json!([{ "op": bind("x") }]), vec![ok(2)], "step 2: an outcome on the socket `x`, which no op has made"),
            (
                // It was permitted to fail, and did.
                json!([{ "op": made("x") }, { "op": bind("x") }]),
                vec![errno(2), errno(3)],
                "step 3: an outcome on the socket `x`, which no op has made",
            ),
            (
                json!([close, { "op": bind("b") }]),
                vec![ok(2), ok(3)],
                "step 3: an outcome on the socket `b`, which is closed",
            ),
            (json!([close, close]), vec![ok(2), ok(3)], "step 3: an outcome on the socket `b`, which is closed"),
            (json!([accept]), vec![blocked(59)], "step 2: blocked after 59 ms, and `accept` waits for 60 ms"),
            (json!([accept]), vec![blocked(60)], ""),
            (
                json!([send]),
                vec![with(ok(2), json!({ "bytes": { "count": 6 } }))],
                "step 2: 6 where at most 5 were asked for",
            ),
            (json!([{ "op": bind("b") }]), vec![with(ok(2), names("127.0.0.1:1"))], ""),
            (
                json!([{ "op": bind("b") }]),
                vec![with(ok(2), names("[::1]:1"))],
                "step 2: the socket `b` has the name [::1]:1, which is none of its family",
            ),
            (
                json!([{ "op": bind("b") }]),
                vec![with(ok(2), names("127.0.0.1:2"))],
                "step 2: bound to port 1, and its name is 127.0.0.1:2",
            ),
            (
                json!([accept]),
                vec![with(ok(2), names("[::1]:1"))],
                "step 2: the socket `c` has the name [::1]:1, which is none of its family",
            ),
            (about(census.clone()), vec![asked(ok(2), counted(2, 4, json!([12, 13])))], ""),
            (about(census.clone()), vec![asked(ok(2), counted(3, 4, json!([12, 13])))], "step 2: a census that"),
            (about(census.clone()), vec![asked(ok(2), counted(2, 4, json!([14])))], "step 2: a census that"),
            (about(census.clone()), vec![asked(ok(2), counted(2, 5, json!([])))], "step 2: a census that"),
            (
                about(json!({ "descriptors": {} })),
                vec![asked(ok(2), json!([{ "descriptors": { "open": 11, "limit": 10 } }]))],
                "step 2: 11 open descriptors below a limit of 10",
            ),
            (about(socket.clone()), vec![asked(ok(2), listed("127.0.0.1:5", json!([row(5)])))], ""),
            (
                about(socket.clone()),
                vec![asked(ok(2), listed("127.0.0.1:5", json!([row(5), row(6)])))],
                "step 2: a row of tcp 127.0.0.1:6 in the answer about the socket `b`",
            ),
            (
                about(socket.clone()),
                vec![asked(ok(2), listed("[::1]:5", json!([])))],
                "step 2: the socket `b` has the name [::1]:5",
            ),
            (
                about(json!({ "socket": { "socket": "x" } })),
                vec![asked(ok(2), listed("127.0.0.1:5", json!([])))],
                "step 2: an answer about the socket `x`, which no op has made",
            ),
            (
                about(json!({ "unix": { "socket": "b" } })),
                vec![asked(ok(2), json!([{ "unix": { "inode": 1, "rows": [] } }]))],
                "step 2: an answer to another question",
            ),
        ] {
            let steps = [vec![ok(0), ok(1)], steps].concat();
            match (check_of(&plan_of(ops), json!("done"), &steps), says) {
                (Ok(_), "") => {}
                (Ok(_), says) => panic!("{steps:?} was taken, and not told: {says}"),
                (Err(said), says) => assert!(!says.is_empty() && said.starts_with(says), "{said}, and not {says}"),
            }
        }
    }

    #[test]
    fn an_answer_to_another_plan_is_not_taken() {
        for (case, number) in [("a[b=d]", 7), ("a[b=c]", 6), ("a[b=c]", 8)] {
            let seen = json!({ "case": case, "number": number, "fate": "done", "steps": [errno(0)] });
            let said = checked(&plan(), Os::Linux, serde_json::from_value(seen).unwrap()).unwrap_err().to_string();
            assert_eq!(said, format!("an answer about `{case}`, plan {number}, where `a[b=c]`, plan 7, was due"));
        }
    }

    const MOST_STEPS_AND_ONE: usize = crate::plan::MOST_STEPS + 1;

    #[test]
    fn long_texts_are_cut() {
        let long = "é".repeat(MOST_TEXT);
        let fate = json!({ "exited": { "code": 1, "message": long } });
        let seen = check_of(&plan(), fate, &[step(0, json!({ "failed": long }))]).unwrap();
        let Fate::Exited { message, .. } = &seen.fate else { panic!("{:?}", seen.fate) };
        let Performed::Failed(why) = &seen.steps[0].result else { panic!("{:?}", seen.steps) };
        for text in [message, why] {
            assert!(text.len() <= MOST_TEXT + '…'.len_utf8() && text.ends_with('…'), "{} bytes", text.len());
        }
    }
}
