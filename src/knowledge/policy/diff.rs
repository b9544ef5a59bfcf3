//! Where two policies decide differently.
//!
//! It joins signals into boxes again, so that a difference reads like a rule. It does not say which policy is right.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Action, Policy, Signal};

/// Signals that two policies treat differently, as a box: a set of values for each field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct PolicyDifference {
    /// What the first of them does.
    pub first: Action,
    /// What the second does.
    pub second: Action,
    /// How many signals are in the box.
    pub signals: u64,
    /// Field by field; a field that makes no difference is absent.
    pub when: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// Whether `errno` lists those that are not meant.
    pub all_errnos_but: bool,
}

const FIELDS: [&str; 7] = ["errno", "reuse", "family", "protocol", "port", "call", "os"];

type Box = [BTreeSet<&'static str>; 7];

/// The differences over `signals`.
pub fn diff(first: &Policy, second: &Policy, signals: impl IntoIterator<Item = Signal>) -> Vec<PolicyDifference> {
    let mut all: Box = Default::default();
    let mut pairs: BTreeMap<(Action, Action), BTreeSet<Box>> = BTreeMap::new();
    for signal in signals {
        let fields = fields(&signal);
        all.iter_mut().zip(fields).for_each(|(known, value)| known.extend([value]));
        let actions = (first.decide(&signal).1, second.decide(&signal).1);
        if actions.0 != actions.1 {
            pairs.entry(actions).or_default().insert(fields.map(|value| BTreeSet::from([value])));
        }
    }
    let mut differences = Vec::new();
    for ((first, second), mut boxes) in pairs {
        for field in 0..FIELDS.len() {
            boxes = merged(boxes, field);
        }
        differences.extend(boxes.into_iter().map(|values| difference(first, second, &values, &all)));
    }
    differences
}

fn fields(signal: &Signal) -> [&'static str; 7] {
    let Signal { os, call, port, protocol, family, reuse, errno } = signal;
    [errno.as_str(), reuse.as_str(), family.as_str(), protocol.as_str(), port.as_str(), call.as_str(), os.as_str()]
}

/// Boxes that differ in one field only become one.
fn merged(boxes: BTreeSet<Box>, field: usize) -> BTreeSet<Box> {
    let mut rest: BTreeMap<Box, BTreeSet<&'static str>> = BTreeMap::new();
    for mut values in boxes {
        let own = std::mem::take(&mut values[field]);
        rest.entry(values).or_default().extend(own);
    }
    let put_back = |(mut values, own): (Box, _)| {
        values[field] = own;
        values
    };
    rest.into_iter().map(put_back).collect()
}

fn difference(first: Action, second: Action, values: &Box, all: &Box) -> PolicyDifference {
    let mut when = BTreeMap::new();
    let mut all_errnos_but = false;
    for (index, name) in FIELDS.iter().enumerate() {
        let missing: BTreeSet<&str> = all[index].difference(&values[index]).copied().collect();
        if index == 0 && !missing.is_empty() && missing.len() * 2 < all[index].len() {
            all_errnos_but = true;
            when.insert(*name, missing);
        } else if !missing.is_empty() {
            when.insert(*name, values[index].clone());
        }
    }
    let signals = values.iter().map(|values| values.len() as u64).product();
    PolicyDifference { first, second, signals, when, all_errnos_but }
}
