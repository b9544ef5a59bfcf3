//! From what a tracer did about failed calls to the policy that it follows.
//!
//! Only signals that were seen have a rule. The last rule, which every policy must have, says that the rest is unknown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Next};
use crate::knowledge::policy::right::{Consequence, decision, right};
use crate::knowledge::policy::{Action, BUILT_IN, Conditions, Policy, ProbeCall, Rule, Signal, built_in, causes};
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Os, PortChoice};

/// A signal as rules name it, and what the tracer did about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Habit {
    pub call: ProbeCall,
    pub port: PortChoice,
    pub errno: ErrnoName,
    pub action: Action,
    /// How often it was seen doing so.
    pub seen: u64,
    /// How often it did something else.
    pub otherwise: u64,
    /// What it amounts to for each cause that findings know to give this signal.
    pub by_cause: BTreeMap<Cause, Consequence>,
}

/// A policy of this binary that decides every signal as the tracer did, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Likeness {
    pub policy: String,
    /// Of the signals that were seen.
    pub agrees: u64,
    pub of: u64,
}

/// What a tracer was seen doing, run after run.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    seen: BTreeMap<(ProbeCall, PortChoice, ErrnoName), BTreeMap<Action, u64>>,
    /// One signal of each kind, to ask other policies about.
    signals: BTreeMap<(ProbeCall, PortChoice, ErrnoName), Signal>,
}

impl Observed {
    /// Adds a run.
    pub fn add(&mut self, attempts: &[Attempt], reactions: &[(usize, Option<Next>)]) {
        for (index, next) in reactions {
            let (Some(signal), Some(next)) = (attempts[*index].failure, next) else { continue };
            let action = match next {
                Next::Skip => Action::Skip,
                Next::FailProbe => Action::FailProbe,
                Next::Abort => Action::Abort,
                Next::Proceed => Action::Proceed,
                // No policy says so: a port that is tried again is neither left nor given up.
                Next::Retry => continue,
            };
            let key = (signal.call, signal.port, signal.errno);
            *self.seen.entry(key).or_default().entry(action).or_default() += 1;
            self.signals.entry(key).or_insert(signal);
        }
    }

    /// What it did most often about each signal. After many skips one has to end: a last attempt counts only where
    /// nothing else was seen. Which causes it may have met is asked of a kernel of this release.
    pub fn habits(&self, kernel: &semver::Version) -> Vec<Habit> {
        let habits = self.seen.iter().map(|(&(call, port, errno), actions)| {
            let most = actions.iter().filter(|(action, _)| actions.len() == 1 || **action != Action::Abort);
            let (&action, &seen) = most.max_by_key(|(_, count)| **count).expect("an entry has an action");
            let signal = self.signals[&(call, port, errno)];
            let known = causes::causes(&signal, kernel).into_iter();
            let by_cause = known.map(|cause| (cause, decision(action, right(cause, errno).action).kind)).collect();
            Habit { call, port, errno, action, seen, otherwise: actions.values().sum::<u64>() - seen, by_cause }
        });
        habits.collect()
    }

    /// The policies of this binary, those first that agree with the most of these habits.
    pub fn likenesses(&self, habits: &[Habit]) -> Vec<Likeness> {
        let policies = BUILT_IN.iter().filter_map(|(name, _)| built_in(name)?.ok());
        let mut likenesses: Vec<Likeness> = policies
            .map(|policy| {
                let signal = |habit: &Habit| self.signals[&(habit.call, habit.port, habit.errno)];
                let agrees = habits.iter().filter(|habit| policy.decide(&signal(habit)).1 == habit.action).count();
                Likeness { policy: policy.name, agrees: agrees as u64, of: habits.len() as u64 }
            })
            .collect();
        likenesses.sort_by_key(|likeness| std::cmp::Reverse(likeness.agrees));
        likenesses
    }
}

/// The policy of a tracer that has these habits.
pub fn policy(tracer: &str, os: Os, habits: &[Habit]) -> Policy {
    let mut rules: Vec<Rule> = habits
        .iter()
        .map(|habit| Rule {
            when: Conditions {
                os: vec![os],
                call: vec![habit.call],
                port: if habit.call == ProbeCall::Socket { Vec::new() } else { vec![habit.port] },
                errno: vec![habit.errno],
                ..Conditions::default()
            },
            action: habit.action,
            why: match habit.otherwise {
                0 => format!("seen {}×", habit.seen),
                otherwise => format!("seen {}×, and {otherwise}× something else", habit.seen),
            },
            forced: None,
        })
        .collect();
    let going_on = Rule {
        when: Conditions { errno: vec![ErrnoName::EINPROGRESS], ..Conditions::default() },
        action: Action::Proceed,
        why: "the connection is being made".to_owned(),
        forced: None,
    };
    let why = "never seen: this rule says nothing about the tracer".to_owned();
    rules.push(going_on);
    rules.push(Rule { when: Conditions::default(), action: Action::Abort, why, forced: None });
    Policy {
        name: tracer.to_owned(),
        why: format!(
            "What {tracer} was seen doing about failed calls. It says nothing about signals without a rule of their own."
        ),
        seen: vec![os],
        rules,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knowledge::policy::signal::Signal;

    fn attempt(call: ProbeCall, errno: &str) -> Attempt {
        Attempt::failed(Signal {
            os: Os::Linux,
            call,
            port: PortChoice::Explicit,
            protocol: crate::words::names::Protocol::Tcp,
            family: crate::words::names::Family::Ipv4,
            reuse: crate::words::names::Reuse::Port,
            errno: ErrnoName::new(errno).unwrap(),
        })
    }

    #[test]
    fn habits_are_what_was_seen_and_nothing_more() {
        let attempts = [attempt(ProbeCall::Bind, "EADDRINUSE"), attempt(ProbeCall::Connect, "EADDRNOTAVAIL")];
        let mut observed = Observed::default();
        let (skip, abort) = (Some(Next::Skip), Some(Next::Abort));
        // The last of many skips ends the trace: it is no other habit.
        observed.add(&attempts, &[(0, skip), (0, skip), (0, abort), (0, None), (1, abort)]);
        let habits = observed.habits(&crate::scenario::rule::NEWEST);
        let told: Vec<(ProbeCall, &str, Action, u64, u64)> =
            habits.iter().map(|it| (it.call, it.errno.as_str(), it.action, it.seen, it.otherwise)).collect();
        let expected = [
            (ProbeCall::Bind, "EADDRINUSE", Action::Skip, 2, 1),
            (ProbeCall::Connect, "EADDRNOTAVAIL", Action::Abort, 1, 0),
        ];
        assert_eq!(told, expected);
        assert_eq!(habits[1].by_cause[&Cause::TupleInUse], Consequence::GivesUp);
        let agrees = |name: &str| observed.likenesses(&habits).iter().find(|it| it.policy == name).unwrap().agrees;
        assert_eq!((agrees("addr-in-use-only"), agrees("evidence"), agrees("conflate")), (2, 1, 1));
        // What a file would say reads as the same policy.
        let policy = policy("x", Os::Linux, &habits);
        let text = crate::knowledge::policy::write(&policy, "");
        assert_eq!(crate::knowledge::policy::read("x.toml", text.leak()).unwrap(), policy);
    }
}
