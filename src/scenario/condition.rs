//! Conditions on the axes: `{ family = "ipv6", holder_reuse = ["addr", "both"], both_addr = true }`.
//!
//! A table holds when all its entries do, an array of tables when one of them does. `not` negates a condition, `same`
//! says that axes have equal values, and a scenario's facts are conditions with a name.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::{Case, Scenario};
use crate::words::values::tables;

/// One of these clauses holds.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// The clauses; none is no condition, and never holds.
    pub any: Vec<Clause>,
}

/// All of these entries hold.
#[derive(Clone, Debug, Default)]
pub struct Clause {
    pub all: Vec<(Spanned<String>, Test)>,
}

#[derive(Clone, Debug)]
pub enum Test {
    /// The axis has one of these values; for `same`, these axes are equal.
    OneOf(Vec<Spanned<String>>),
    /// The fact holds, or does not.
    Is(bool),
    /// For `not`.
    Condition(Condition),
}

impl Condition {
    /// Whether `case` satisfies it. Facts and axes are known to exist: reading has checked.
    pub fn holds(&self, scenario: &Scenario, case: &Case) -> bool {
        self.any
            .iter()
            .any(|clause| clause.all.iter().all(|(key, test)| entry_holds(key.get_ref(), test, scenario, case)))
    }

    /// How many comparisons it can take; `facts`: how many each of the first facts can.
    pub fn weight(&self, scenario: &Scenario, facts: &[u64]) -> u64 {
        let entry = |(key, test): &(Spanned<String>, Test)| match test {
            Test::OneOf(values) => 1 + values.len() as u64,
            Test::Condition(inner) => inner.weight(scenario, facts).saturating_add(1),
            Test::Is(_) => {
                let place = scenario.facts.iter().position(|(name, _)| name.get_ref() == key.get_ref());
                place.and_then(|place| facts.get(place)).map_or(1, |weight| weight.saturating_add(1))
            }
        };
        self.any.iter().flat_map(|clause| &clause.all).map(entry).fold(1, u64::saturating_add)
    }

    /// Every key that is used, at any depth.
    pub fn walk<'c>(&'c self, visit: &mut dyn FnMut(&'c Spanned<String>, &'c Test)) {
        for (key, test) in self.any.iter().flat_map(|clause| &clause.all) {
            visit(key, test);
            if let Test::Condition(inner) = test {
                inner.walk(visit);
            }
        }
    }
}

fn entry_holds(key: &str, test: &Test, scenario: &Scenario, case: &Case) -> bool {
    match test {
        Test::Condition(inner) => !inner.holds(scenario, case),
        Test::Is(wanted) => {
            let fact = scenario.facts.iter().find(|(name, _)| name.get_ref() == key);
            fact.is_some_and(|(_, fact)| fact.holds(scenario, case)) == *wanted
        }
        Test::OneOf(axes) if key == "same" => {
            axes.windows(2).all(|pair| case.value(pair[0].get_ref()) == case.value(pair[1].get_ref()))
        }
        Test::OneOf(values) => {
            let value = case.value(key);
            values.iter().any(|candidate| Some(candidate.get_ref().as_str()) == value)
        }
    }
}

/// As in a file, on one line.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, clause) in self.any.iter().enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            for (index, (key, test)) in clause.all.iter().enumerate() {
                if index > 0 {
                    f.write_str(", ")?;
                }
                let key = key.get_ref();
                match test {
                    Test::Is(true) => write!(f, "{key}")?,
                    Test::Is(false) => write!(f, "not {key}")?,
                    Test::Condition(inner) => write!(f, "not ({inner})")?,
                    Test::OneOf(values) => {
                        let values: Vec<&str> = values.iter().map(|value| value.get_ref().as_str()).collect();
                        write!(f, "{key}={}", values.join("|"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        Ok(Condition { any: tables(deserializer, "{ family = \"ipv4\" }")? })
    }
}

impl<'de> Deserialize<'de> for Clause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Clause, D::Error> {
        struct ClauseVisitor;

        impl<'de> Visitor<'de> for ClauseVisitor {
            type Value = Clause;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table such as { family = \"ipv4\" }")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Clause, M::Error> {
                let mut clause = Clause::default();
                while let Some(entry) = map.next_entry()? {
                    clause.all.push(entry);
                }
                Ok(clause)
            }
        }

        deserializer.deserialize_map(ClauseVisitor)
    }
}

impl<'de> Deserialize<'de> for Test {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Test, D::Error> {
        struct TestVisitor;

        impl<'de> Visitor<'de> for TestVisitor {
            type Value = Test;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of the axis, an array of values, or true or false for a fact")
            }

            fn visit_bool<E>(self, fact: bool) -> Result<Test, E> {
                Ok(Test::Is(fact))
            }

            fn visit_str<E>(self, value: &str) -> Result<Test, E> {
                Ok(Test::OneOf(vec![Spanned::new(0..0, value.to_owned())]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Test, S::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element::<Spanned<String>>()? {
                    values.push(value);
                }
                Ok(Test::OneOf(values))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Test, M::Error> {
                Condition::deserialize(de::value::MapAccessDeserializer::new(map)).map(Test::Condition)
            }
        }

        deserializer.deserialize_any(TestVisitor)
    }
}
