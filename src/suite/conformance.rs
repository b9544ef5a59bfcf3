//! Asks a worker what every worker must get right, point by point.
//!
//! What is asked, and what is right, is in `conformance/points.toml`. What a kernel should answer is no matter of this:
//! the few outcomes there are those of every kernel.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::runner::answer;
use super::runner::link::{Link, Lost, Place, WorkerEnd};
use crate::plan::socket_table::Sought;
use crate::plan::{Answer, Fate, Hello, Observations, PROTOCOL, Performed, Plan, Query, StepResult};
use crate::report::conformance::{Conformance, ConformancePoint, Message, PointResult};
use crate::sys::Isolate;
use crate::words::names::{Need, Protocol};
use crate::words::near::or_list;

static POINTS: &str = include_str!("conformance/points.toml");

/// Ports that a worker which shares its host is asked to take instead of these.
const PORTS: std::ops::RangeInclusive<u64> = 20_000..=20_009;
const BLOCKS: u64 = 900;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Points {
    point: Vec<Asked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    rule: String,
    #[serde(default = "yes")]
    core: bool,
    case: Vec<AskedCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedCase {
    #[serde(default = "two_seconds")]
    deadline_ms: u32,
    #[serde(default = "once")]
    patience: u32,
    #[serde(default = "done")]
    fate: String,
    /// What somebody else says on the same line.
    #[serde(default)]
    noise: String,
    steps: Vec<AskedStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedStep {
    op: Value,
    want: String,
    #[serde(default)]
    subject: bool,
    #[serde(default)]
    permit: Vec<String>,
    requires: Option<u32>,
    user: Option<String>,
    #[serde(default)]
    queries: Vec<Value>,
    before: Option<String>,
    after: Option<String>,
}

fn yes() -> bool {
    true
}

fn two_seconds() -> u32 {
    2_000
}

fn once() -> u32 {
    1
}

fn done() -> String {
    "done".to_owned()
}

/// The points that a worker itself cannot be asked about in a plan.
const HELLO: (&str, &str) = ("hello", "its first line is a hello of this protocol, which says what is missing and why");
const END: (&str, &str) = ("end", "it ends with its standard input, and says nothing that it was not asked");

/// Why a point is not right.
enum Fault {
    Wrong { said: String, expected: String },
    NotOffered(String),
}

impl Fault {
    fn wrong(said: impl Into<String>, expected: impl Into<String>) -> Fault {
        Fault::Wrong { said: said.into(), expected: expected.into() }
    }
}

impl From<Lost> for Fault {
    fn from(lost: Lost) -> Fault {
        Fault::wrong(lost.to_string(), "a worker that answers")
    }
}

/// The names of all points, in their order.
pub fn names() -> Vec<String> {
    let asked = points().into_iter().map(|point| point.name);
    std::iter::once(HELLO.0.to_owned()).chain(asked).chain([END.0.to_owned()]).collect()
}

/// A name that no point has.
pub fn unknown(wanted: &[String]) -> Option<String> {
    let names = names();
    let unknown = wanted.iter().find(|name| !names.contains(name))?;
    Some(format!("no point is called `{unknown}`{}", or_list(unknown, names.iter().map(String::as_str))))
}

fn points() -> Vec<Asked> {
    // A test reads the same text.
    toml::from_str::<Points>(POINTS).map(|points| points.point).unwrap_or_default()
}

/// Asks the worker of `place` about `wanted` points, or all. Without a hello there is nothing to ask. `turn` is another
/// in each check.
pub fn check(
    place: &Place,
    command: &str,
    wait: Duration,
    wanted: &[String],
    turn: u64,
    interrupted: &AtomicBool,
) -> Conformance {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| it == name);
    let mut points = Vec::new();
    let mut exchange = Vec::new();
    let opened = Link::open(place, wait, 1, Isolate::WherePossible, interrupted);
    let (link, hello, fault) = match opened {
        Ok(link) => {
            let hello = link.hello.clone();
            exchange.extend(serde_json::to_string(&hello).map(|text| Message::FromWorker(text.into())));
            let fault = of_hello(&hello).err();
            (Some(link), Some(hello), fault)
        }
        Err(lost) => (None, None, Some(Fault::wrong(lost.to_string(), format!("a hello of protocol {PROTOCOL}")))),
    };
    if is_wanted(HELLO.0) || hello.is_none() {
        points.push(point(HELLO, true, fault, exchange));
    }
    if let Some(hello) = hello {
        let mut session = Session { place, wait, interrupted, hello, link, number: 0, turn };
        for (index, asked) in points_of(is_wanted) {
            let mut exchange = Vec::new();
            let fault = session.ask(index, &asked, &mut exchange).err();
            if fault.is_some() {
                // Whatever else this one has to say belongs to no other point.
                session.link = None;
            }
            points.push(point((&asked.name, &asked.rule), asked.core, fault, exchange));
        }
        if is_wanted(END.0) {
            points.push(point(END, true, session.end().err(), Vec::new()));
        }
    }
    Conformance::new(PROTOCOL, command, points)
}

fn points_of(is_wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (u64, Asked)> {
    (0..).zip(points()).filter(move |(_, asked)| is_wanted(&asked.name))
}

fn point((name, rule): (&str, &str), core: bool, fault: Option<Fault>, exchange: Vec<Message>) -> ConformancePoint {
    let (result, said, expected) = match fault {
        None => (PointResult::Right, None, None),
        Some(Fault::NotOffered(why)) if core => {
            (PointResult::Wrong, Some(why), Some("every worker has this".to_owned()))
        }
        Some(Fault::NotOffered(why)) => (PointResult::NotOffered, Some(why), None),
        Some(Fault::Wrong { said, expected }) => (PointResult::Wrong, Some(said), Some(expected)),
    };
    let (said, expected) = (said.map(|said| answer::short(&said)), expected.map(Into::into));
    ConformancePoint { name: name.to_owned(), rule: rule.to_owned(), core, result, said, expected, exchange }
}

fn of_hello(hello: &Hello) -> Result<(), Fault> {
    if !["netns", "sandbox", "none"].iter().any(|known| hello.isolation == *known) {
        return Err(Fault::wrong(format!("isolation `{}`", hello.isolation), "`netns`, `sandbox` or `none`"));
    }
    for need in Need::ALL {
        match hello.capabilities.get(need) {
            None => return Err(Fault::wrong(format!("nothing about `{need}`"), "each need, available or not")),
            Some(capability)
                if !capability.available && capability.reason.as_ref().is_none_or(|why| why.is_empty()) =>
            {
                return Err(Fault::wrong(format!("`{need}` is not available"), "and why not"));
            }
            Some(_) => {}
        }
    }
    let has = |need| hello.capabilities.get(&need).is_some_and(|capability| capability.available);
    match (hello.is_shared(), has(Need::NetworkNamespace), has(Need::FreePorts)) {
        (true, true, _) => Err(Fault::wrong("isolation `none`, and network-namespace is available", "one of the two")),
        (false, false, _) => {
            let said = format!("isolation `{}`, and network-namespace is not available", hello.isolation);
            Err(Fault::wrong(said, "isolation `none`, where cases have no network of their own"))
        }
        (true, false, false) => Err(Fault::NotOffered("neither a network of a case's own nor free ports".to_owned())),
        (true, false, true) | (false, true, _) => Ok(()),
    }
}

/// A worker that is asked one point after the other, and replaced when it has got one wrong.
struct Session<'s> {
    place: &'s Place,
    wait: Duration,
    interrupted: &'s AtomicBool,
    hello: Hello,
    link: Option<Link>,
    number: u32,
    /// On a shared host, what keeps this check off the ports of the last.
    turn: u64,
}

impl Session<'_> {
    fn link(&mut self) -> Result<Link, Lost> {
        match self.link.take() {
            Some(link) => Ok(link),
            None => Link::open(self.place, self.wait, 1, Isolate::WherePossible, self.interrupted),
        }
    }

    fn ask(&mut self, index: u64, asked: &Asked, exchange: &mut Vec<Message>) -> Result<(), Fault> {
        let moved = (self.turn * 7 + index) % BLOCKS * 10;
        let plans: Vec<Value> = (1..)
            .zip(&asked.case)
            .map(|(which, case)| {
                self.number += 1;
                let mut plan = plan(&asked.name, which, self.number, case);
                if self.hello.is_shared() {
                    move_ports(&mut plan, moved);
                }
                plan
            })
            .collect();
        let is_sandbox = self.hello.is_sandbox();
        let together = if is_sandbox { 1 } else { plans.len() };
        let mut answers = Vec::new();
        for (plans, cases) in plans.chunks(together).zip(asked.case.chunks(together)) {
            let mut link = self.link()?;
            for (plan, case) in plans.iter().zip(cases) {
                let text = plan.to_string();
                exchange.push(Message::ToWorker(text.as_str().into()));
                link.send_line(&case.noise, text.as_bytes());
            }
            for (plan, case) in plans.iter().zip(cases) {
                let deadline = Duration::from_millis((case.deadline_ms * case.patience).into());
                let line = link.receive_line(deadline + self.wait, self.interrupted)?;
                exchange.push(Message::FromWorker(String::from_utf8_lossy(&line).into_owned().into()));
                answers.push(of_plan(plan, &line)?);
            }
            // A sandbox is good for one case.
            self.link = (!is_sandbox).then_some(link);
        }
        let all = (1..).zip(&asked.case).zip(plans.iter().zip(answers));
        all.into_iter().try_for_each(|((which, case), (plan, seen))| self.judge(which, case, plan, seen))
    }

    /// Holds an answer against what it was to be.
    fn judge(&self, which: usize, case: &AskedCase, plan: &Value, seen: Observations) -> Result<(), Fault> {
        let at = |what: &str| format!("case {which}: {what}");
        let seen = match serde_json::from_value::<Plan>(plan.clone()) {
            Ok(plan) => answer::checked(&plan, self.hello.os, seen).map_err(|why| {
                Fault::wrong(at(&why.to_string()), "an answer that contradicts neither plan nor itself")
            })?,
            Err(_) => seen,
        };
        for (index, step) in case.steps.iter().enumerate() {
            let result = seen.steps.iter().find(|result| result.step as usize == index);
            of_step(step, &plan["steps"][index], result).map_err(|fault| match fault {
                Fault::Wrong { said, expected } => {
                    let name = step.op.as_object().and_then(|op| op.keys().next()).map_or("", String::as_str);
                    Fault::wrong(at(&format!("step {index}, `{name}`: {said}")), expected)
                }
                Fault::NotOffered(why) => Fault::NotOffered(why),
            })?;
        }
        let (fate, message) = match &seen.fate {
            Fate::Done => ("done", None),
            Fate::Killed { .. } => ("killed", None),
            Fate::Exited { message, .. } => ("exited", Some(message)),
            Fate::TimedOut { .. } => ("timed-out", None),
        };
        if message.is_some_and(|message| message.is_empty()) {
            return Err(Fault::wrong(at("exited without a message"), "a message that says why"));
        }
        if !is_among(fate, &case.fate) {
            let why = message.map(|message| format!(": {message}")).unwrap_or_default();
            return Err(Fault::wrong(at(&format!("the case is {fate}{why}")), case.fate.clone()));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.link()?.finish()? {
            WorkerEnd::ByItself => Ok(()),
            WorkerEnd::ByForce => Err(Fault::wrong("it had to be killed", "that it ends with its standard input")),
        }
    }
}

/// The answer, if it is one, and to this plan: otherwise those that follow are to others as well.
fn of_plan(plan: &Value, line: &[u8]) -> Result<Observations, Fault> {
    let seen: Observations = serde_json::from_slice(line).map_err(|error| {
        let said = format!("no answer of this protocol ({error}): {}", String::from_utf8_lossy(line));
        Fault::wrong(said, format!("an answer to {}", plan["case"]))
    })?;
    if (json!(seen.case), json!(seen.number)) != (plan["case"].clone(), plan["number"].clone()) {
        let said = format!("an answer about `{}`, plan {}", seen.case, seen.number);
        return Err(Fault::wrong(said, format!("{}, plan {}", plan["case"], plan["number"])));
    }
    Ok(seen)
}

fn of_step(asked: &AskedStep, sent: &Value, result: Option<&StepResult>) -> Result<(), Fault> {
    let (word, why) = match result.map(|result| &result.result) {
        None => ("left-out", String::new()),
        Some(Performed::Outcome(outcome)) => (outcome.name(), String::new()),
        Some(Performed::Failed(why)) => ("failed", format!(": {why}")),
        Some(Performed::Unsupported(lack)) if is_among("unsupported", &asked.want) => {
            ("unsupported", lack.reason.to_string())
        }
        Some(Performed::Unsupported(lack)) => return Err(Fault::NotOffered(format!("{}: {}", lack.need, lack.reason))),
    };
    if !is_among(word, &asked.want) {
        return Err(Fault::wrong(format!("{word}{why}"), asked.want.clone()));
    }
    let Some(result) = result else { return Ok(()) };
    let of = |when: &str, answers: &[Answer], wanted: &Option<String>| {
        let (Some(wanted), Some(answer)) = (wanted, answers.first()) else { return Ok(()) };
        let question = sent["role"]["subject"]["queries"][0].clone();
        let said = in_words(serde_json::from_value(question).ok(), answer)?;
        match said == *wanted {
            true => Ok(()),
            false => Err(Fault::wrong(format!("{when} it, {said}"), wanted.clone())),
        }
    };
    of("before", &result.before, &asked.before)?;
    of("after", &result.after, &asked.after)
}

fn is_among(word: &str, wanted: &str) -> bool {
    wanted.split(" or ").any(|it| it == word)
}

/// An answer as the file of points spells it.
fn in_words(question: Option<Query>, answer: &Answer) -> Result<String, Fault> {
    Ok(match (question, answer) {
        (_, Answer::Failed { error }) => return Err(Fault::NotOffered(error.to_string())),
        (Some(Query::Socket { .. }), Answer::Socket { rows, .. }) => {
            let sought = [Protocol::Tcp, Protocol::Udp].map(|protocol| Sought::of(protocol, answer));
            let found = sought.into_iter().flatten().flat_map(|sought| sought.among(rows));
            let mut states: Vec<&str> = found.map(|row| row.state.as_str()).collect();
            states.sort_unstable();
            if states.is_empty() { "gone".to_owned() } else { states.join(" ") }
        }
        (_, Answer::Census { held, size, .. }) => format!("{held} of {size}"),
        (_, Answer::User { uid, .. }) => format!("uid {uid}"),
        (_, answer) => serde_json::to_string(answer).unwrap_or_default(),
    })
}

fn plan(point: &str, which: usize, number: u32, case: &AskedCase) -> Value {
    let steps: Vec<Value> = case
        .steps
        .iter()
        .map(|step| {
            let mut about = json!({});
            if !step.permit.is_empty() {
                about["permit"] = json!(step.permit);
            }
            if !step.queries.is_empty() {
                about["queries"] = json!(step.queries);
            }
            if let Some(required) = step.requires {
                about["requires"] = json!(required);
            }
            let role = if step.subject { json!({ "subject": about }) } else { json!({ "setup": about }) };
            let mut sent = json!({ "op": step.op, "role": role });
            if let Some(user) = &step.user {
                sent["user"] = json!(user);
            }
            sent
        })
        .collect();
    json!({ "case": format!("protocol.{point}[case={which}]"), "number": number, "deadline_ms": case.deadline_ms,
        "patience": case.patience, "steps": steps })
}

/// Has other ports in the place of those that the points name.
fn move_ports(value: &mut Value, by: u64) {
    match value {
        Value::Number(number) => {
            if let Some(port) = number.as_u64().filter(|port| PORTS.contains(port)) {
                *value = (port + by).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_ports(item, by)),
        Value::Object(fields) => fields.values_mut().for_each(|field| move_ports(field, by)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Role;
    use crate::words::errno::ErrnoName;

    /// All but one of the plans are plans, and what they want can be said.
    #[test]
    fn the_points_are_well_formed() {
        let all = toml::from_str::<Points>(POINTS).unwrap_or_else(|error| panic!("{error}")).point;
        assert!(all.len() > 20);
        let words = ["ok", "blocked", "failed", "unsupported", "left-out"];
        let mut foreign = Vec::new();
        for asked in &all {
            for (which, case) in (1..).zip(&asked.case) {
                let plan = plan(&asked.name, which, 1, case);
                let Ok(plan) = serde_json::from_value::<Plan>(plan) else {
                    foreign.push(&*asked.name);
                    continue;
                };
                for (asked, step) in case.steps.iter().zip(&plan.steps) {
                    let is_word = |word: &str| words.contains(&word) || ErrnoName::new(word).is_some();
                    assert!(asked.want.split(" or ").all(is_word), "{}", asked.want);
                    let questions = match &step.role {
                        Role::Subject { queries, .. } => queries.len(),
                        Role::Setup { .. } => 0,
                    };
                    assert_eq!(asked.before.is_some() && asked.after.is_some(), questions == 1, "{:?}", step.op);
                }
            }
        }
        assert_eq!(foreign, ["unknown-op"]);
        let mut plan = plan("a", 1, 1, &all[1].case[0]);
        move_ports(&mut plan, 40);
        assert!(plan.to_string().contains("20040") && !plan.to_string().contains("20000"), "{plan}");
    }
}
