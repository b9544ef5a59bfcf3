//! What a tracer does when a probe fails: an ordered list of rules over what it knows at that moment.
//!
//! A policy decides by signals alone; it never sees a cause. `right` knows the right action, and `evaluate` counts how
//! often a policy takes it.

pub mod advice;
pub mod causes;
pub mod derive;
pub mod diff;
pub mod evaluate;
pub mod evidence;
mod read;
pub mod results;
pub mod right;
mod search;
pub mod separate;
pub mod signal;
mod write;

use serde::{Deserialize, Serialize};

use crate::words::errno::ErrnoName;
use crate::words::names::{Family, Os, PortChoice, Protocol, Reuse, words};

pub use read::{FORMAT, read, schema};
pub use signal::{ProbeCall, Signal};
pub use write::write;

words! {
    /// What the tracer does next.
    Action {
        /// This port is taken: the probe is sent again from the next one.
        Skip = "skip",
        /// This probe is lost, the trace goes on.
        FailProbe = "fail-probe",
        /// A real error: the trace stops and says so.
        Abort = "abort",
        /// Nothing is wrong: the probe is under way, or this is its answer.
        Proceed = "proceed",
    }
}

/// A policy that has been read or derived. Its last rule has no conditions, so that it decides every signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name, for tables.
    pub name: String,
    /// A sentence about the whole.
    pub why: String,
    /// Where the tracer was seen whose policy this is; nowhere if somebody wrote or derived it. Of a policy that was
    /// seen, the last rule stands for all that was not.
    pub seen: Vec<Os>,
    /// The first that applies decides.
    pub rules: Vec<Rule>,
}

/// Where the conditions hold, this is what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// To which signals it applies.
    pub when: Conditions,
    /// What the tracer does then.
    pub action: Action,
    /// A sentence.
    pub why: String,
    /// What a derived rule rests on.
    pub forced: Option<Forced>,
}

/// The findings that would be decided wrong without a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forced {
    /// Of systems that were observed.
    pub observed: u64,
    /// That XNU's own code gave, which ran in user space on Linux.
    pub xnu_run: u64,
    /// Of systems that are only expected to behave so.
    pub expected: u64,
    /// The id of one of their cases.
    pub example: String,
}

/// All of them must hold. An empty list is no condition; otherwise one of the values must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conditions {
    /// On which systems.
    pub os: Vec<Os>,
    /// For which calls.
    pub call: Vec<ProbeCall>,
    /// Whether the call finds its source port.
    pub port: Vec<PortChoice>,
    /// For which transports.
    pub protocol: Vec<Protocol>,
    /// For which address families.
    pub family: Vec<Family>,
    /// With which options.
    pub reuse: Vec<Reuse>,
    /// With which errnos.
    pub errno: Vec<ErrnoName>,
}

impl Policy {
    /// The index of the rule that decides, and its action.
    pub fn decide(&self, signal: &Signal) -> (usize, Action) {
        decide(&self.rules, signal)
    }
}

/// The first rule that applies decides. Where none does, which reading a policy rules out, the trace stops.
pub fn decide(rules: &[Rule], signal: &Signal) -> (usize, Action) {
    let found = rules.iter().enumerate().find(|(_, rule)| rule.when.apply(signal));
    found.map_or((rules.len(), Action::Abort), |(index, rule)| (index, rule.action))
}

impl Conditions {
    /// Whether a signal meets all of them.
    pub fn apply(&self, signal: &Signal) -> bool {
        fn one_of<T: PartialEq>(values: &[T], value: &T) -> bool {
            values.is_empty() || values.contains(value)
        }
        one_of(&self.errno, &signal.errno)
            && one_of(&self.call, &signal.call)
            && one_of(&self.os, &signal.os)
            && one_of(&self.port, &signal.port)
            && one_of(&self.protocol, &signal.protocol)
            && one_of(&self.family, &signal.family)
            && one_of(&self.reuse, &signal.reuse)
    }

    /// Whether there is none, so that every signal meets them.
    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// Each condition with its values, in the order in which files and tables have them.
    pub fn entries(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        let entries = [
            ("os", self.os.iter().map(|os| os.as_str()).collect()),
            ("call", self.call.iter().map(|call| call.as_str()).collect()),
            ("port", self.port.iter().map(|port| port.as_str()).collect()),
            ("protocol", self.protocol.iter().map(|protocol| protocol.as_str()).collect()),
            ("family", self.family.iter().map(|family| family.as_str()).collect()),
            ("reuse", self.reuse.iter().map(|reuse| reuse.as_str()).collect()),
            ("errno", self.errno.iter().map(|errno| errno.as_str()).collect()),
        ];
        entries.into_iter().filter(|(_, values): &(_, Vec<_>)| !values.is_empty()).collect()
    }
}

/// As tables show them: `call=connect, errno=EADDRINUSE|EADDRNOTAVAIL`.
impl std::fmt::Display for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str("otherwise");
        }
        for (index, (name, values)) in self.entries().into_iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name}={}", values.join("|"))?;
        }
        Ok(())
    }
}

/// The name and text of the policies in this binary, the default one first.
pub const BUILT_IN: &[(&str, &str)] = &[
    (DEFAULT, include_str!("policy/builtin/evidence.toml")),
    ("conflate", include_str!("policy/builtin/conflate.toml")),
    ("addr-in-use-only", include_str!("policy/builtin/addr-in-use-only.toml")),
    ("next-port-on-both", include_str!("policy/builtin/next-port-on-both.toml")),
];

/// The policy that the findings give.
pub const DEFAULT: &str = "evidence";

/// A policy of this binary. That each of its rules can decide something is checked by the tests, and not at every
/// start.
pub fn built_in(name: &str) -> Option<Result<Policy, crate::words::problem::Problem>> {
    let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
    Some(read::read_rules(&format!("src/knowledge/policy/builtin/{name}.toml"), text).map(|(policy, _)| policy))
}
