//! Holds a policy against evidence: counts what it does and what would have been right.
//!
//! If no action is right for every cause of a signal, the safe action does not count as wrong, but is reported.

use std::collections::BTreeMap;

use serde::Serialize;

use super::derive::targets;
use super::evidence::{Basis, Evidence};
use super::right::{Consequence, decision, right};
use super::{Action, Policy, ProbeCall};
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Os, PortChoice};

/// One policy, held against evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Evaluation {
    /// Its name.
    pub policy: String,
    /// Where the tracer was seen whose policy this is; empty for policies that somebody wrote or derived.
    pub seen: Vec<Os>,
    /// All decisions.
    pub total: DecisionTally,
    /// What happens to each cause on each system.
    pub table: Vec<CauseRow>,
    /// The wrong decisions; those that no policy avoids come last.
    pub wrong: Vec<Wrong>,
}

/// How many decisions amount to what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct DecisionTally {
    /// What a tracer would do that knew the cause.
    pub right: u64,
    /// A real error is taken for something that passes.
    pub hides: u64,
    /// Something that another try would have got is given up.
    pub gives_up: u64,
    /// A probe, or the wait for it, is spent on nothing.
    pub wastes: u64,
    /// Wrong in a way that no policy over these signals avoids without being wrong elsewhere. Not among the above.
    pub unavoidable: u64,
    /// Nobody has seen what the tracer does then: only the last rule of a policy that was seen decides. Not among the
    /// above.
    pub not_seen: u64,
}

/// The decisions about one cause on one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Row")]
pub struct CauseRow {
    /// On which system.
    pub os: Os,
    /// How the signals are known.
    pub basis: Basis,
    /// The cause.
    pub cause: Cause,
    /// How many decisions amount to what.
    #[serde(flatten)]
    pub tally: DecisionTally,
}

/// Wrong decisions that differ in nothing but the kind of socket and the case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Wrong {
    /// What they amount to.
    pub kind: Consequence,
    /// Whether no policy over these signals avoids them without being wrong elsewhere.
    pub unavoidable: bool,
    /// On which system.
    pub os: Os,
    /// How that is known.
    pub basis: Basis,
    /// The call that failed.
    pub call: ProbeCall,
    /// Whether it finds its source port.
    pub port: PortChoice,
    /// What it gave.
    pub errno: ErrnoName,
    /// What it ran into.
    pub cause: Cause,
    /// What the policy does.
    pub action: Action,
    /// What would be right.
    pub right: Action,
    /// What the difference costs.
    pub why: &'static str,
    /// The rule that decided, from 1.
    pub rule: usize,
    /// How many there are.
    pub count: u64,
    /// The id of the first of the cases.
    pub example: String,
    /// Every case, for who asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<String>,
}

/// Every decision of the policy that the evidence asks for.
pub fn evaluate(policy: &Policy, evidence: &Evidence) -> Evaluation {
    let (targets, _) = targets(&evidence.items);
    let mut total = DecisionTally::default();
    let mut table: BTreeMap<(Os, Basis, Cause), DecisionTally> = BTreeMap::new();
    let mut wrong: BTreeMap<_, Wrong> = BTreeMap::new();
    for item in evidence.items.iter().filter(|item| item.basis != Basis::Permitted) {
        let (rule, action) = policy.decide(&item.signal);
        let basis = item.basis;
        if !policy.seen.is_empty() && rule + 1 == policy.rules.len() {
            total.not_seen += 1;
            table.entry((item.signal.os, basis, item.cause)).or_default().not_seen += 1;
            continue;
        }
        let wanted = right(item.cause, item.signal.errno).action;
        let decision = decision(action, wanted);
        // The target of a signal without a doubt is right for each of its causes.
        let unavoidable = decision.kind != Consequence::Right && targets[&item.signal] == action;
        total.add(decision.kind, unavoidable);
        table.entry((item.signal.os, basis, item.cause)).or_default().add(decision.kind, unavoidable);
        if decision.kind == Consequence::Right {
            continue;
        }
        let signal = item.signal;
        let key = (unavoidable, decision.kind, signal.os, signal.call, signal.port, signal.errno, item.cause, action);
        let entry = wrong.entry((key, rule, basis)).or_insert_with(|| Wrong {
            kind: decision.kind,
            unavoidable,
            os: signal.os,
            basis,
            call: signal.call,
            port: signal.port,
            errno: signal.errno,
            cause: item.cause,
            action,
            right: wanted,
            why: decision.why,
            rule: rule + 1,
            count: 0,
            example: item.case.clone(),
            cases: Vec::new(),
        });
        entry.count += 1;
        entry.cases.push(item.case.clone());
    }
    let mut wrong: Vec<Wrong> = wrong.into_values().collect();
    for wrong in &mut wrong {
        wrong.cases.sort();
        wrong.example.clone_from(&wrong.cases[0]);
    }
    let table = table.into_iter().map(|((os, basis, cause), tally)| CauseRow { os, basis, cause, tally }).collect();
    Evaluation { policy: policy.name.clone(), seen: policy.seen.clone(), total, table, wrong }
}

impl Evaluation {
    /// Whether nothing is wrong that another policy would get right without getting something else wrong.
    pub fn is_right(&self) -> bool {
        self.wrong.iter().all(|wrong| wrong.unavoidable)
    }
}

impl DecisionTally {
    fn add(&mut self, kind: Consequence, unavoidable: bool) {
        *match kind {
            _ if unavoidable => &mut self.unavoidable,
            Consequence::Right => &mut self.right,
            Consequence::Hides => &mut self.hides,
            Consequence::GivesUp => &mut self.gives_up,
            Consequence::Wastes => &mut self.wastes,
        } += 1;
    }
}
