//! From evidence to the shortest policy that decides all of it right, and to the signals that no policy can decide.
//!
//! A field that makes no difference is not used. If the causes of a signal want different actions, the policy takes the
//! safe one, and the ambiguity is reported. The order of the evidence makes no difference.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::evidence::{Basis, CausedSignal, Evidence};
use super::right::{decision, right};
use super::search::{Box as Values, FIELDS, Point, search};
use super::separate::separate;
use super::{Action, Conditions, DEFAULT, Forced, Policy, ProbeCall, Rule, Signal, decide};
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, Os, PortChoice, Protocol, Reuse};

/// What the last rule does: what nobody has seen is a real error.
const OTHERWISE: Action = Action::Abort;

/// What follows from some evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// Its last rule has no conditions and stops the trace.
    pub policy: Policy,
    /// Whether it is known that no policy over the fields that it needs has fewer rules.
    pub shortest: bool,
    /// Signals for which no policy is right with every cause.
    pub ambiguities: Vec<Ambiguity>,
}

/// Causes that want different actions and give one signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Ambiguity {
    /// The signal's system.
    pub os: Os,
    /// Its call.
    pub call: ProbeCall,
    /// Whether that finds its source port.
    pub port: PortChoice,
    /// Its errno.
    pub errno: ErrnoName,
    /// The kinds of sockets where it was met.
    pub protocol: BTreeSet<Protocol>,
    /// And their address families.
    pub family: BTreeSet<Family>,
    /// And their options.
    pub reuse: BTreeSet<Reuse>,
    /// Each action with the causes that want it.
    pub sides: Vec<CauseAction>,
    /// What a policy does that cannot tell them apart.
    pub safe: Action,
    /// Why that is the safe one.
    pub why: String,
    /// What would tell them apart.
    pub separate: BTreeSet<&'static str>,
}

/// A cause, with what it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct CauseAction {
    /// What would be right.
    pub action: Action,
    /// The cause.
    pub cause: Cause,
    /// In how many cases of systems that were observed.
    pub observed: u64,
    /// In how many XNU's own code gave the signal, which ran in user space on Linux.
    pub xnu_run: u64,
    /// In how many of systems that are only expected to behave so.
    pub expected: u64,
    /// The id of one of the cases.
    pub example: String,
}

/// What a policy should do with each signal: the right action, or the safe one where there are several.
pub type Targets = BTreeMap<Signal, Action>;

/// The policy that the evidence makes, which is the same whatever the order of the evidence.
pub fn derive(evidence: &Evidence) -> Derived {
    let (targets, ambiguities) = targets(&evidence.items);
    let fields = Fields::new(&targets);
    let open = fields.needed(&targets);
    let points = targets.iter().map(|(signal, &action)| (fields.point(signal, open), action)).collect();
    let found = search(&points, open, OTHERWISE);
    let mut rules: Vec<Rule> =
        found.rules.iter().map(|(values, action)| rule(fields.conditions(values, open), *action)).collect();
    rules.push(rule(Conditions::default(), OTHERWISE));
    loosen(&mut rules, &targets);
    for index in 0..rules.len() {
        rules[index].why = why(&rules, index, &evidence.items);
        rules[index].forced = Some(forced(&rules, index, &evidence.items));
    }
    let policy = Policy { name: DEFAULT.to_owned(), why: claim(evidence), seen: Vec::new(), rules };
    Derived { policy, shortest: found.shortest, ambiguities }
}

/// What to do with each signal, and which signals leave a doubt.
pub fn targets(items: &[CausedSignal]) -> (Targets, Vec<Ambiguity>) {
    let mut by_signal: BTreeMap<Signal, BTreeSet<Action>> = BTreeMap::new();
    for item in items {
        by_signal.entry(item.signal).or_default().insert(right(item.cause, item.signal.errno).action);
    }
    let doubtful: BTreeSet<Signal> =
        by_signal.iter().filter(|(_, actions)| actions.len() > 1).map(|(&signal, _)| signal).collect();
    let mut groups: BTreeMap<(Os, ProbeCall, PortChoice, ErrnoName), Vec<&CausedSignal>> = BTreeMap::new();
    for item in items.iter().filter(|item| doubtful.contains(&item.signal)) {
        let Signal { os, call, port, errno, .. } = item.signal;
        groups.entry((os, call, port, errno)).or_default().push(item);
    }
    let ambiguities: Vec<Ambiguity> = groups.into_values().map(|group| ambiguity(&group)).collect();
    let targets = by_signal.into_iter().map(|(signal, actions)| {
        let safe = ambiguities.iter().find(|ambiguity| ambiguity.holds(&signal)).map(|ambiguity| ambiguity.safe);
        let only = actions.into_iter().next().unwrap_or(OTHERWISE);
        (signal, safe.filter(|_| doubtful.contains(&signal)).unwrap_or(only))
    });
    (targets.collect(), ambiguities)
}

impl Ambiguity {
    fn holds(&self, signal: &Signal) -> bool {
        let Signal { os, call, port, errno, .. } = *signal;
        (self.os, self.call, self.port, self.errno) == (os, call, port, errno)
    }
}

/// One ambiguity of the items that share OS, call, port and errno.
fn ambiguity(items: &[&CausedSignal]) -> Ambiguity {
    let Signal { os, call, port, errno, .. } = items[0].signal;
    let mut sides: BTreeMap<(Action, Cause), CauseAction> = BTreeMap::new();
    for item in items {
        let action = right(item.cause, errno).action;
        let side = sides.entry((action, item.cause)).or_insert_with(|| CauseAction {
            action,
            cause: item.cause,
            observed: 0,
            xnu_run: 0,
            expected: 0,
            example: item.case.clone(),
        });
        *match item.basis {
            Basis::Observed | Basis::Permitted => &mut side.observed,
            Basis::XnuRun => &mut side.xnu_run,
            Basis::Expected => &mut side.expected,
        } += 1;
        // The order of the items must not matter.
        if item.case < side.example {
            side.example.clone_from(&item.case);
        }
    }
    let sides: Vec<CauseAction> = sides.into_values().collect();
    let safe = safe(items);
    let mut separators = BTreeSet::new();
    for (index, side) in sides.iter().enumerate() {
        for other in sides[..index].iter().filter(|other| other.action != side.action) {
            separators.insert(separate(side.cause, other.cause, call));
        }
    }
    let mistakes: BTreeSet<String> = sides
        .iter()
        .filter(|side| side.action != safe)
        .map(|side| format!("for {} it {}", side.cause, decision(safe, side.action).why))
        .collect();
    let others: BTreeSet<String> = sides
        .iter()
        .filter(|side| side.action != safe)
        .map(|side| format!("{} {}", side.action, decision(side.action, safe).why))
        .collect();
    let list = |texts: BTreeSet<String>| texts.into_iter().collect::<Vec<_>>().join(", ");
    let why = format!(
        "{}; otherwise {}, which is no better over the scenarios that give this signal",
        list(mistakes),
        list(others)
    );
    Ambiguity {
        os,
        call,
        port,
        errno,
        protocol: items.iter().map(|item| item.signal.protocol).collect(),
        family: items.iter().map(|item| item.signal.family).collect(),
        reuse: items.iter().map(|item| item.signal.reuse).collect(),
        sides,
        safe,
        why,
        separate: separators,
    }
}

/// Of the actions that are right for some of the causes the one whose mistakes cost least. Each scenario has one vote
/// for each action that is right in it, so that an axis with many values does not outvote another scenario.
fn safe(items: &[&CausedSignal]) -> Action {
    let votes: BTreeSet<(&str, Action)> =
        items.iter().map(|item| (item.scenario.as_str(), right(item.cause, item.signal.errno).action)).collect();
    let cost = |action: Action| -> u64 { votes.iter().map(|&(_, right)| decision(action, right).cost).sum() };
    // At equal cost what keeps the trace going: the error is shown with its probe either way.
    let order = [Action::Proceed, Action::FailProbe, Action::Abort, Action::Skip];
    let wanted = order.into_iter().filter(|&action| votes.iter().any(|&(_, right)| right == action));
    wanted.min_by_key(|&action| cost(action)).unwrap_or(OTHERWISE)
}

fn rule(when: Conditions, action: Action) -> Rule {
    Rule { when, action, why: String::new(), forced: None }
}

/// Whether the rules do with every signal what they should.
pub fn decides(rules: &[Rule], targets: &Targets) -> bool {
    targets.iter().all(|(signal, &action)| decide(rules, signal).1 == action)
}

/// Drops every rule, condition and value that nothing needs.
fn loosen(rules: &mut Vec<Rule>, targets: &Targets) {
    for index in (0..rules.len() - 1).rev() {
        let removed = rules.remove(index);
        if !decides(rules, targets) {
            rules.insert(index, removed);
        }
    }
    // A narrower list can make another condition droppable: repeat until nothing changes.
    loop {
        let before = rules.clone();
        for index in 0..rules.len() - 1 {
            // What nobody has seen is an error: only a rule that says so may do without naming errnos.
            let droppable = if rules[index].action == OTHERWISE { FIELDS } else { FIELDS - 1 };
            for drop in &DROPS[..droppable] {
                attempt(rules, index, targets, |when| drop(when, None));
            }
            for drop in DROPS {
                let mut value = 0;
                while attempt_value(rules, index, targets, drop, value).unwrap_or_else(|| {
                    value += 1;
                    true
                }) {}
            }
        }
        if *rules == before {
            return;
        }
    }
}

/// Removes one value of a condition, or the condition; says whether there was one.
type Drop = fn(&mut Conditions, Option<usize>) -> bool;

/// What a reader misses least comes first.
const DROPS: [Drop; FIELDS] = [
    |when, value| remove(&mut when.reuse, value),
    |when, value| remove(&mut when.family, value),
    |when, value| remove(&mut when.protocol, value),
    |when, value| remove(&mut when.os, value),
    |when, value| remove(&mut when.port, value),
    |when, value| remove(&mut when.call, value),
    |when, value| remove(&mut when.errno, value),
];

fn remove<T>(values: &mut Vec<T>, value: Option<usize>) -> bool {
    match value {
        None if values.is_empty() => false,
        None => {
            values.clear();
            true
        }
        // The last value stays: an empty list is no condition.
        Some(index) if values.len() > 1 && index < values.len() => {
            values.remove(index);
            true
        }
        Some(_) => false,
    }
}

/// Keeps a change of a rule's conditions if everything is still decided right.
fn attempt(rules: &mut [Rule], index: usize, targets: &Targets, change: impl Fn(&mut Conditions) -> bool) -> bool {
    let before = rules[index].when.clone();
    let kept = change(&mut rules[index].when) && decides(rules, targets);
    if !kept {
        rules[index].when = before;
    }
    kept
}

/// `Some(true)` where a value was dropped, `None` where it is needed, `Some(false)` past the last one.
fn attempt_value(rules: &mut [Rule], index: usize, targets: &Targets, drop: Drop, value: usize) -> Option<bool> {
    if !drop(&mut rules[index].when.clone(), Some(value)) {
        return Some(false);
    }
    attempt(rules, index, targets, |when| drop(when, Some(value))).then_some(true)
}

/// The findings that the rule decides right and that would be decided otherwise without it; of the last one, all that
/// it decides right.
fn forced(rules: &[Rule], index: usize, items: &[CausedSignal]) -> Forced {
    let mut without = rules.to_vec();
    without.remove(index);
    let last = index == without.len();
    let mut forced = Forced { observed: 0, xnu_run: 0, expected: 0, example: String::new() };
    let mut example: Option<&CausedSignal> = None;
    let action = rules[index].action;
    for item in items.iter().filter(|item| right(item.cause, item.signal.errno).action == action) {
        if decide(rules, &item.signal).0 != index {
            continue;
        }
        if last || decide(&without, &item.signal).1 != action {
            *match item.basis {
                Basis::Observed | Basis::Permitted => &mut forced.observed,
                Basis::XnuRun => &mut forced.xnu_run,
                Basis::Expected => &mut forced.expected,
            } += 1;
            let key = |item: &CausedSignal| (!item.basis.is_of_a_host(), item.case.clone());
            if example.is_none_or(|example| key(item) < key(example)) {
                example = Some(item);
            }
        }
    }
    Forced { example: example.map(|item| item.case.clone()).unwrap_or_default(), ..forced }
}

/// The causes that a rule decides, with the reasons for its action.
fn why(rules: &[Rule], index: usize, items: &[CausedSignal]) -> String {
    let decided = items.iter().filter(|item| decide(rules, &item.signal).0 == index);
    let mut reasons: BTreeMap<&str, BTreeSet<Cause>> = BTreeMap::new();
    for item in decided {
        let right = right(item.cause, item.signal.errno);
        if right.action == rules[index].action {
            reasons.entry(right.why).or_default().insert(item.cause);
        }
    }
    if index + 1 == rules.len() {
        return "what no rule above decides is a real error: stop and say so".to_owned();
    }
    let mut reasons: Vec<String> = reasons
        .into_iter()
        .map(|(why, causes)| {
            let causes: Vec<&str> = causes.into_iter().map(Cause::as_str).collect();
            format!("{}: {why}", causes.join(", "))
        })
        .collect();
    reasons.sort();
    reasons.join("; ")
}

fn claim(evidence: &Evidence) -> String {
    let expected: Vec<&str> = evidence.expected.iter().map(|os| os.as_str()).collect();
    let expected = match expected.as_slice() {
        [] => String::new(),
        some => format!(" What it does on {} rests on expectations: nobody has observed it.", some.join(" and ")),
    };
    format!("The shortest list of rules that does the right thing with every finding, as far as one can.{expected}")
}

/// The values of each field as small numbers.
struct Fields {
    errnos: Vec<ErrnoName>,
}

impl Fields {
    fn new(targets: &Targets) -> Fields {
        let errnos: BTreeSet<ErrnoName> = targets.keys().map(|signal| signal.errno).collect();
        Fields { errnos: errnos.into_iter().collect() }
    }

    /// The fields without which two signals that want different actions would be one. Those that tracers have least
    /// reason to look at go first.
    fn needed(&self, targets: &Targets) -> [bool; FIELDS] {
        let mut open = [true; FIELDS];
        for field in [REUSE, FAMILY, PROTOCOL, PORT, OS, CALL] {
            open[field] = false;
            let mut seen: BTreeMap<Point, Action> = BTreeMap::new();
            let conflict = targets
                .iter()
                .any(|(signal, &action)| *seen.entry(self.point(signal, open)).or_insert(action) != action);
            open[field] = conflict;
        }
        open
    }

    fn point(&self, signal: &Signal, open: [bool; FIELDS]) -> Point {
        let errno = self.errnos.iter().position(|errno| *errno == signal.errno).unwrap_or(usize::MAX);
        let mut point = [0; FIELDS];
        point[OS] = signal.os as u8;
        point[CALL] = signal.call as u8;
        point[PORT] = signal.port as u8;
        point[PROTOCOL] = signal.protocol as u8;
        point[FAMILY] = signal.family as u8;
        point[REUSE] = signal.reuse as u8;
        point[ERRNO] = u8::try_from(errno).unwrap_or(u8::MAX);
        for (value, open) in point.iter_mut().zip(open) {
            *value *= u8::from(open);
        }
        point
    }

    fn conditions(&self, values: &Values, open: [bool; FIELDS]) -> Conditions {
        fn some<T: Copy>(all: &[T], values: &std::collections::BTreeSet<u8>, open: bool) -> Vec<T> {
            let chosen = values.iter().filter(|_| open);
            chosen.filter_map(|&value| all.get(usize::from(value)).copied()).collect()
        }
        Conditions {
            os: some(Os::ALL, &values[OS], open[OS]),
            call: some(ProbeCall::ALL, &values[CALL], open[CALL]),
            port: some(PortChoice::ALL, &values[PORT], open[PORT]),
            protocol: some(Protocol::ALL, &values[PROTOCOL], open[PROTOCOL]),
            family: some(Family::ALL, &values[FAMILY], open[FAMILY]),
            reuse: some(Reuse::ALL, &values[REUSE], open[REUSE]),
            errno: some(&self.errnos, &values[ERRNO], open[ERRNO]),
        }
    }
}

const OS: usize = 0;
const CALL: usize = 1;
const PORT: usize = 2;
const PROTOCOL: usize = 3;
const FAMILY: usize = 4;
const REUSE: usize = 5;
const ERRNO: usize = 6;
