//! Whether an answer is one that a worker can give to its plan.
//!
//! It checks only the shape: which steps, in which order, with which kind of answer. A worker that keeps to the shape
//! may still lie.

use std::collections::BTreeSet;

use crate::plan::{
    Answer, Detail, Fate, Gives, Observations, Op, Outcome, Performed, Plan, Query, Role, Step, StepResult,
};
use crate::words::untrusted::Text;

/// The most of a reason, or of any other text in an answer, that is kept.
const MOST_TEXT: usize = 64 << 10;

/// Longer names are none of an errno, nor of a type of route.
const MOST_NAME: usize = 64;

/// Why an answer is none that a worker can give.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Misshapen {
    #[error("step {step} of a plan of {steps}")]
    NoSuchStep { step: usize, steps: usize },
    #[error("step {step} twice, or after a later one")]
    OutOfOrder { step: usize },
    #[error("step {step} where step {due} was due")]
    LeftOut { step: usize, due: usize },
    #[error("step {step}: {why}")]
    Step { step: usize, why: MisshapenStep },
}

/// Why one of its steps is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MisshapenStep {
    #[error("an errno with a name of {bytes} bytes")]
    LongErrno { bytes: usize },
    #[error("it took {micros} µs")]
    Duration { micros: f64 },
    #[error("a detail of another op")]
    OtherDetail,
    #[error("{answers} answers to {questions} questions")]
    MoreAnswers { answers: usize, questions: usize },
    #[error("an answer about the socket `{socket}`, which no op has made")]
    NoSuchSocket { socket: String },
    #[error("an answer to another question")]
    OtherQuestion,
}

/// The answer, with its texts cut; or what is wrong with it.
pub fn checked(plan: &Plan, mut seen: Observations) -> Result<Observations, Misshapen> {
    let mut went_well = vec![false; plan.steps.len()];
    let mut made = BTreeSet::new();
    let mut next = 0;
    for result in &mut seen.steps {
        let index = result.step as usize;
        let Some(step) = plan.steps.get(index) else {
            return Err(Misshapen::NoSuchStep { step: index, steps: plan.steps.len() });
        };
        if index < next {
            return Err(Misshapen::OutOfOrder { step: index });
        }
        // Only what requires a step that failed is left out.
        let stands_on_failure = |step: &Step| step.role.requires().is_some_and(|it| !went_well[it as usize]);
        if let Some(due) = (next..index).find(|&at| !stands_on_failure(&plan.steps[at])) {
            return Err(Misshapen::LeftOut { step: index, due });
        }
        of_step(&step.op, &step.role, &mut made, result).map_err(|why| Misshapen::Step { step: index, why })?;
        went_well[index] = result.result.went_well();
        next = index + 1;
    }
    match &mut seen.fate {
        Fate::Exited { message, .. } => cut(message),
        Fate::Done | Fate::Killed { .. } | Fate::TimedOut { .. } => {}
    }
    Ok(seen)
}

/// What one step gave, by what it was asked. `made` has the sockets that there are by now.
fn of_step<'p>(
    op: &'p Op,
    role: &Role,
    made: &mut BTreeSet<&'p str>,
    result: &mut StepResult,
) -> Result<(), MisshapenStep> {
    let questions = match role {
        Role::Setup { .. } => &[][..],
        Role::Subject { queries, .. } => queries,
    };
    of_questions(questions, made, &mut result.before)?;
    match &mut result.result {
        Performed::Outcome(Outcome::Ok) => made.extend(op.makes().map(|made| made.socket())),
        Performed::Outcome(Outcome::Errno(errno)) if errno.name().len() > MOST_NAME => {
            return Err(MisshapenStep::LongErrno { bytes: errno.name().len() });
        }
        Performed::Outcome(Outcome::Errno(_) | Outcome::Blocked { .. }) => {}
        Performed::Unsupported(lack) => cut(&mut lack.reason),
        Performed::Failed(why) => cut(why),
    }
    if !result.micros.is_finite() || result.micros < 0.0 {
        return Err(MisshapenStep::Duration { micros: result.micros });
    }
    if result.detail.as_ref().is_some_and(|detail| !fits(op, detail)) {
        return Err(MisshapenStep::OtherDetail);
    }
    of_questions(questions, made, &mut result.after)
}

fn of_questions(questions: &[Query], made: &BTreeSet<&str>, answers: &mut [Answer]) -> Result<(), MisshapenStep> {
    if answers.len() > questions.len() {
        return Err(MisshapenStep::MoreAnswers { answers: answers.len(), questions: questions.len() });
    }
    for (question, answer) in questions.iter().zip(answers) {
        match (question, answer) {
            (Query::Socket { socket }, Answer::Socket { .. }) if !made.contains(socket.as_str()) => {
                return Err(MisshapenStep::NoSuchSocket { socket: socket.clone() });
            }
            (Query::Unix { socket }, Answer::Unix { .. }) if !made.contains(socket.as_str()) => {
                return Err(MisshapenStep::NoSuchSocket { socket: socket.clone() });
            }
            (Query::Unix { .. }, Answer::Unix { .. })
            | (Query::File { .. }, Answer::File { .. })
            | (Query::Socket { .. }, Answer::Socket { .. })
            | (Query::Census { .. }, Answer::Census { .. })
            | (Query::Address { .. }, Answer::Address { .. })
            | (Query::Descriptors {}, Answer::Descriptors { .. })
            | (Query::Counter { .. }, Answer::Counter { .. })
            | (Query::User {}, Answer::User { .. }) => {}
            (Query::Route { .. }, Answer::Route { kind }) if kind.len() <= MOST_NAME => {}
            (Query::Sysctl { .. }, Answer::Sysctl { value }) => cut(value),
            (_, Answer::Failed { error }) => cut(error),
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
            ) => return Err(MisshapenStep::OtherQuestion),
        }
    }
    Ok(())
}

/// Whether an op can give this back.
fn fits(op: &Op, detail: &Detail) -> bool {
    op.gives()
        == match detail {
            Detail::Names { .. } => Gives::Names,
            Detail::ErrorQueue { .. } => Gives::ErrorQueue,
            Detail::Packet { .. } => Gives::Packet,
            Detail::Fill { .. } => Gives::Fill,
            Detail::Bytes { .. } => Gives::Bytes,
        }
}

/// Cuts a text that is longer than anybody reads.
pub fn cut(text: &mut Text) {
    cut_to(text, MOST_TEXT);
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
        let plan = json!({ "case": "a[b=c]", "deadline_ms": 100, "patience": 1, "steps": [
            { "op": socket("a"), "role": setup },
            { "op": socket("b"), "role": setup },
            { "op": bind(1), "role": { "subject": { "queries": queries } } },
            { "op": bind(2), "role": { "subject": { "requires": 2 } } },
            { "op": bind(3), "role": { "subject": {} } },
        ] });
        serde_json::from_value(plan).unwrap()
    }

    fn step(index: u32, outcome: Value) -> Value {
        json!({ "step": index, "result": outcome, "micros": 1.0 })
    }

    fn ok(index: u32) -> Value {
        step(index, json!({ "outcome": { "ok": true } }))
    }

    fn errno(index: u32) -> Value {
        step(index, json!({ "outcome": { "errno": "EADDRINUSE", "raw": 98 } }))
    }

    fn answered(before: Value) -> Value {
        let mut step = ok(2);
        step["before"] = before;
        step
    }

    fn check(steps: &[Value]) -> Result<Observations, String> {
        let seen = json!({ "case": "a[b=c]", "fate": "done", "steps": steps });
        let seen = serde_json::from_value(seen).map_err(|error| error.to_string())?;
        checked(&plan(), seen).map_err(|why| why.to_string())
    }

    #[test]
    fn what_a_worker_says_is_taken() {
        let row = json!({ "socket": { "local": null, "remote": null, "rows": [] } });
        for steps in [
            vec![],
            vec![ok(0)],
            vec![errno(0)],
            vec![ok(0), ok(1), ok(2), ok(3), ok(4)],
            vec![ok(0), ok(1), errno(2), ok(4)],
            vec![ok(0), ok(1), answered(json!([row, { "failed": { "error": "x" } }])), ok(3), ok(4)],
            vec![step(0, json!({ "failed": "x" }))],
        ] {
            assert!(check(&steps).is_ok(), "{steps:?}: {:?}", check(&steps));
        }
    }

    #[test]
    fn what_no_worker_says_is_not() {
        let row = || json!({ "socket": { "local": null, "remote": null, "rows": [] } });
        let timed = |micros: f64| json!({ "step": 0, "result": { "outcome": { "ok": true } }, "micros": micros });
        let bytes =
            json!({ "step": 0, "result": { "failed": "x" }, "micros": 1.0, "detail": { "bytes": { "count": 1 } } });
        let mut asked_nothing = ok(0);
        asked_nothing["after"] = json!([{ "failed": { "error": "x" } }]);
        for (steps, says) in [
            (vec![ok(0), ok(0)], "step 0 twice"),
            (vec![ok(0), ok(1), ok(2), ok(1)], "step 1 twice, or after a later one"),
            (vec![ok(1)], "step 1 where step 0 was due"),
            (vec![ok(0), ok(2)], "step 2 where step 1 was due"),
            (vec![ok(0), ok(1), ok(2), ok(4)], "step 4 where step 3 was due"),
            (vec![ok(0), ok(1), ok(2), ok(3), ok(4), ok(5)], "step 5 of a plan of 5"),
            (vec![ok(u32::MAX)], "step 4294967295 of a plan of 5"),
            (vec![ok(0), ok(1), answered(json!([row(), row()]))], "step 2: an answer to another question"),
            (
                vec![ok(0), ok(1), answered(json!([row(), { "sysctl": { "value": "1" } }, row()]))],
                "step 2: 3 answers to 2 questions",
            ),
            (vec![asked_nothing], "step 0: 1 answers to 0 questions"),
            (vec![timed(-1.0)], "step 0: it took -1 µs"),
            (vec![bytes], "step 0: a detail of another op"),
            (
                vec![step(0, json!({ "outcome": { "errno": "E".repeat(65), "raw": 1 } }))],
                "step 0: an errno with a name of 65 bytes",
            ),
            (vec![ok(0); MOST_STEPS_AND_ONE], "a list of more than 4096"),
        ] {
            let said = check(&steps).unwrap_err();
            assert!(said.starts_with(says), "{said}, and not {says}");
        }
    }

    const MOST_STEPS_AND_ONE: usize = crate::plan::MOST_STEPS + 1;

    /// The socket is asked about, and the op that was to make it has failed.
    #[test]
    fn a_socket_that_nobody_made_has_no_witness() {
        let mut plan = plan();
        plan.steps[1].role = Role::Subject { queries: Vec::new(), requires: None };
        let row = json!({ "socket": { "local": null, "remote": null, "rows": [] } });
        let seen = json!({ "case": "a[b=c]", "fate": "done", "steps": [ok(0), errno(1), answered(json!([row]))] });
        let said = checked(&plan, serde_json::from_value(seen).unwrap()).unwrap_err().to_string();
        assert_eq!(said, "step 2: an answer about the socket `b`, which no op has made");
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "é".repeat(MOST_TEXT);
        let fate = json!({ "exited": { "code": 1, "message": long } });
        let seen = json!({ "case": "a[b=c]", "fate": fate, "steps": [step(0, json!({ "failed": long }))] });
        let seen = checked(&plan(), serde_json::from_value(seen).unwrap()).unwrap();
        let Fate::Exited { message, .. } = &seen.fate else { panic!("{:?}", seen.fate) };
        let Performed::Failed(why) = &seen.steps[0].result else { panic!("{:?}", seen.steps) };
        for text in [message, why] {
            assert!(text.len() <= MOST_TEXT + '…'.len_utf8() && text.ends_with('…'), "{} bytes", text.len());
        }
    }
}
