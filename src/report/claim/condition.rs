//! Conditions on what a call ran into and what it gave: `{ call = "bind", axes = { holder_state = "time-wait" } }`.
//!
//! All entries of a table must hold, and one entry of an array of tables; `not` negates a condition. `check` finds out
//! whether the names in it exist.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{self, Deserializer};
use toml::Spanned;
use wildmatch::WildMatch;

use crate::scenario::Expected;
use crate::words::cause::Cause;
use crate::words::names::{Call, Os, PortChoice};
use crate::words::untrusted::Text;
use crate::words::values::{Values, tables};

/// One of these clauses holds.
#[derive(Clone, Debug)]
pub struct ClaimCondition {
    /// The clauses.
    pub any: Vec<Clause>,
}

/// All of these entries hold. An absent one is no condition.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// The systems.
    #[serde(default)]
    pub os: Values<Os>,
    /// Ids of scenarios; `*` and `?` are wildcards.
    #[serde(default)]
    #[schemars(with = "Values<String>")]
    pub scenario: Option<Spanned<Values<String>>>,
    /// The calls.
    #[serde(default)]
    pub call: Values<Call>,
    /// Whether the call finds its source port.
    #[serde(default)]
    pub port: Values<PortChoice>,
    /// What the call ran into.
    #[serde(default)]
    pub cause: Values<Cause>,
    /// `ok`, `blocked` or an errno.
    #[serde(default)]
    pub outcome: Values<OutcomeName>,
    /// The scenario has the axis, and the case one of its values.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Values<String>>")]
    pub axes: BTreeMap<Spanned<String>, Spanned<Values<String>>>,
    /// This must not hold.
    pub not: Option<ClaimCondition>,
}

/// The name of something that a call can give.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema)]
pub struct OutcomeName(pub String);

/// One call of one case, with one outcome.
#[derive(Clone, Copy, Debug)]
pub struct CallView<'f> {
    /// The system that gave it, or is expected to.
    pub os: Os,
    /// The scenario's id.
    pub scenario: &'f str,
    /// The call.
    pub call: Call,
    /// Whether it found its source port.
    pub port: PortChoice,
    /// What it ran into.
    pub cause: Cause,
    /// The case's value of each axis.
    pub axes: &'f IndexMap<Text, Text>,
    /// `ok`, `blocked` or an errno's name.
    pub outcome: &'f str,
}

impl ClaimCondition {
    /// Whether it is so of this call.
    pub fn holds(&self, view: &CallView<'_>) -> bool {
        self.any.iter().any(|clause| clause.holds(view))
    }

    /// Every clause in it, those that are negated too.
    pub fn clauses(&self) -> Vec<&Clause> {
        let own = self.any.iter();
        own.flat_map(|clause| std::iter::once(clause).chain(clause.not.iter().flat_map(|inner| inner.clauses())))
            .collect()
    }

    /// What holds where this does not.
    pub fn negated(self) -> ClaimCondition {
        ClaimCondition { any: vec![Clause { not: Some(self), ..Clause::default() }] }
    }
}

impl Clause {
    fn holds(&self, view: &CallView<'_>) -> bool {
        fn one_of<T: PartialEq>(values: &Values<T>, value: &T) -> bool {
            values.0.is_empty() || values.0.contains(value)
        }
        one_of(&self.os, &view.os)
            && one_of(&self.call, &view.call)
            && one_of(&self.port, &view.port)
            && one_of(&self.cause, &view.cause)
            && (self.outcome.0.is_empty() || self.outcome.0.iter().any(|outcome| outcome.0 == view.outcome))
            && self.axes.iter().all(|(axis, values)| {
                let value = view.axes.get(axis.get_ref().as_str());
                value.is_some_and(|value| values.get_ref().0.iter().any(|known| value == known))
            })
            && self.scenario.as_ref().is_none_or(|patterns| matches(&patterns.get_ref().0, view.scenario))
            && self.not.as_ref().is_none_or(|inner| !inner.holds(view))
    }
}

/// Whether one of the patterns fits an id.
pub fn matches(patterns: &[String], id: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| pattern == id || (pattern.contains(['*', '?']) && WildMatch::new(pattern).matches(id)))
}

impl<'de> Deserialize<'de> for OutcomeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OutcomeName, D::Error> {
        let word = String::deserialize(deserializer)?;
        match word.parse() {
            // What nobody knows can neither be claimed nor be asked for.
            Ok(Expected::Unknown | Expected::NotReached) => Err(de::Error::custom("`unknown` is not an outcome")),
            Ok(Expected::Ok | Expected::Blocked | Expected::Errno(_)) => Ok(OutcomeName(word)),
            Err(message) => Err(de::Error::custom(message)),
        }
    }
}

impl<'de> Deserialize<'de> for ClaimCondition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ClaimCondition, D::Error> {
        Ok(ClaimCondition { any: tables(deserializer, "{ call = \"bind\" }")? })
    }
}

/// A clause, or several of which one must hold.
impl schemars::JsonSchema for ClaimCondition {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClaimCondition".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let clause = generator.subschema_for::<Clause>();
        schemars::json_schema!({ "anyOf": [clause, { "type": "array", "items": clause, "minItems": 1 }] })
    }
}
