//! From TOML text to a [`Scenario`], keeping the place of everything that can be wrong later.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::rule::{OneOrMore, RuleText};
use super::{
    Axis, Condition, Exclude, Expectation, ExpectationRule, Expected, KEYS, NeedRule, PreconditionText, Problem,
    Scenario, StepText, Subject, ValueRow,
};
use crate::scenario::witness::WitnessTime;
use crate::words::errno;
use crate::words::names::{Authority, Need, Os};
use crate::words::near::did_you_mean;
use crate::words::problem::Problems;
use crate::words::untrusted::Text;

type Table = DeTable<'static>;
type Value = Spanned<DeValue<'static>>;

/// How long a case may take unless its scenario says otherwise.
const DEADLINE_MS: u32 = 5_000;

/// Reads one file. Problems are in the order of their places.
///
/// Scenarios point into their text, which therefore lives as long as the process: embedded, or read once.
pub fn read(file: &str, text: &'static str) -> Result<Scenario, Vec<Problem>> {
    let mut reader = Reader { file: file.to_owned(), text, problems: Problems::default() };
    let scenario = reader.scenario();
    match scenario {
        Some(scenario) if reader.problems.is_empty() => Ok(scenario),
        _ => Err(reader.problems.sorted()),
    }
}

struct Reader {
    file: String,
    text: &'static str,
    problems: Problems,
}

impl Reader {
    fn problem(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.problems.push(Problem {
            file: self.file.clone(),
            text: self.text,
            span,
            message: message.into(),
            help: help.into(),
        });
    }

    fn scenario(&mut self) -> Option<Scenario> {
        let mut table = match DeTable::parse(self.text) {
            Ok(document) => document.into_inner(),
            Err(error) => {
                self.toml_error(&error, 0..self.text.len());
                return None;
            }
        };
        let whole = 0..0;
        let claim: Option<Text> = self.required(&mut table, "claim", &whole);
        let id: Option<Spanned<String>> = self.required(&mut table, "id", &whole);
        let why: Option<Text> = self.required(&mut table, "why", &whole);
        let cause = self.take(&mut table, "cause");
        if cause.is_none() {
            self.problem(
                whole.clone(),
                "missing key `cause`",
                "what the subject call runs into, such as \"port-in-use\"".to_owned(),
            );
        }
        let mut needs: Vec<NeedRule> = self.optional(&mut table, "needs").unwrap_or_default();
        for need in &mut needs {
            need.parsed = self.word(need.need.get_ref(), need.need.span());
        }
        let slow = self.slow(&mut table);
        let deadline_ms = self.optional(&mut table, "deadline_ms").unwrap_or(DEADLINE_MS);
        let axes = self.axes(&mut table);
        let exclude: Vec<Exclude> = self.optional(&mut table, "exclude").unwrap_or_default();
        let facts = self.facts(&mut table);
        let values = self.values(&mut table);
        let setup = self.steps(&mut table, "setup");
        let preconditions = self.preconditions(&mut table);
        let subjects = self.subjects(&mut table);
        self.unknown_keys(&table, KEYS);
        if subjects.is_empty() {
            self.problem(whole, "missing `[[subject]]`", "a scenario observes at least one call".to_owned());
        }
        Some(Scenario {
            file: self.file.clone(),
            text: self.text,
            claim: claim?,
            id_span: id.as_ref()?.span(),
            id: id?.into_inner(),
            why: why?,
            cause: cause?,
            needs,
            slow,
            deadline_ms,
            axes,
            exclude,
            facts,
            values,
            setup,
            preconditions,
            subjects,
        })
    }

    /// `slow = true`, or a condition on the cases that are slow.
    fn slow(&mut self, table: &mut Table) -> Option<Condition> {
        match self.take(table, "slow")? {
            value if value.get_ref().as_bool() == Some(false) => None,
            value if value.get_ref().as_bool() == Some(true) => Some(Condition { any: vec![Default::default()] }),
            value => {
                let span = value.span();
                self.deserialize(value, &span)
            }
        }
    }

    fn axes(&mut self, table: &mut Table) -> Vec<Axis> {
        let Some(axes) = self.take_table(table, "axes") else { return Vec::new() };
        let mut read = Vec::new();
        for (name, value) in axes {
            let span = value.span();
            let values: Option<Vec<Spanned<String>>> = self.deserialize(value, &span);
            if let Some(values) = values {
                if values.is_empty() {
                    self.problem(span, format!("axis `{}` has no values", name.get_ref()), None);
                }
                read.push(Axis { name: owned_name(name), values });
            }
        }
        read
    }

    fn facts(&mut self, table: &mut Table) -> Vec<(Spanned<String>, Condition)> {
        let Some(facts) = self.take_table(table, "facts") else { return Vec::new() };
        let mut read = Vec::new();
        for (name, value) in facts {
            let span = value.span();
            if let Some(condition) = self.deserialize(value, &span) {
                read.push((owned_name(name), condition));
            }
        }
        read
    }

    fn values(&mut self, table: &mut Table) -> Vec<(Spanned<String>, Vec<ValueRow>)> {
        let Some(values) = self.take_table(table, "values") else { return Vec::new() };
        let mut read = Vec::new();
        for (name, rows) in values {
            let name = owned_name(name);
            let mut list = Vec::new();
            for row in self.tables(rows, &format!("rows of `{}`", name.get_ref())) {
                let span = row.span();
                let mut row = row.into_inner();
                let when = self.optional(&mut row, "when");
                let is = self.take(&mut row, "is");
                self.unknown_keys(&row, &["when", "is"]);
                match is {
                    Some(is) => list.push(ValueRow { when, is, span }),
                    None => self.problem(span, "missing key `is`", "the value where `when` holds".to_owned()),
                }
            }
            read.push((name, list));
        }
        read
    }

    fn steps(&mut self, table: &mut Table, key: &str) -> Vec<StepText> {
        let Some(steps) = self.take(table, key) else { return Vec::new() };
        let mut read = Vec::new();
        for step in self.tables(steps, key) {
            let span = step.span();
            read.extend(self.step(step.into_inner(), span));
        }
        read
    }

    /// A step: its own keys, and exactly one op.
    fn step(&mut self, mut table: Table, span: Range<usize>) -> Option<StepText> {
        let when = self.optional(&mut table, "when");
        let os = self.os(&mut table);
        let user = self.take(&mut table, "user");
        let permit = self.errnos(&mut table, "permit");
        let unsupported = self.errnos(&mut table, "unsupported");
        let op = self.only_key(table, &span, "op")?;
        Some(StepText { when, os, user, permit, unsupported, op, span })
    }

    /// The OS alone that an entry is for.
    fn os(&mut self, table: &mut Table) -> Option<Os> {
        let os: Spanned<String> = self.optional(table, "os")?;
        self.word(os.get_ref(), os.span())
    }

    fn errnos(&mut self, table: &mut Table, key: &str) -> Vec<String> {
        let names: Vec<Spanned<String>> = self.optional(table, key).unwrap_or_default();
        for name in &names {
            if errno::ErrnoName::new(name.get_ref()).is_none() {
                let meant = did_you_mean(name.get_ref(), errno::ErrnoName::names()).unwrap_or_default();
                self.problem(
                    name.span(),
                    format!("unknown errno `{}`{meant}", name.get_ref()),
                    "a symbolic name such as EINPROGRESS".to_owned(),
                );
            }
        }
        names.into_iter().map(Spanned::into_inner).collect()
    }

    fn preconditions(&mut self, table: &mut Table) -> Vec<PreconditionText> {
        let Some(list) = self.take(table, "precondition") else { return Vec::new() };
        let mut read = Vec::new();
        for precondition in self.tables(list, "precondition") {
            let span = precondition.span();
            let mut table = precondition.into_inner();
            let when = self.optional(&mut table, "when");
            let os = self.os(&mut table);
            let at = self.optional(&mut table, "at").unwrap_or(WitnessTime::Both);
            if let Some(what) = self.only_key(table, &span, "precondition") {
                read.push(PreconditionText { when, os, at, what, span });
            }
        }
        read
    }

    fn subjects(&mut self, table: &mut Table) -> Vec<Subject> {
        let Some(list) = self.take(table, "subject") else { return Vec::new() };
        let mut read = Vec::new();
        for subject in self.tables(list, "subject") {
            let span = subject.span();
            let mut table = subject.into_inner();
            let after = self.optional(&mut table, "after");
            let cause = self.take(&mut table, "cause");
            let before = self.steps(&mut table, "before");
            let preconditions = self.preconditions(&mut table);
            let unwitnessed = self.unwitnessed(&mut table);
            let rules = self.rules(&mut table);
            if rules.is_empty() {
                self.problem(
                    span.clone(),
                    "a subject without `[[subject.expect]]`",
                    "every call under test has expectations".to_owned(),
                );
            }
            if let Some(step) = self.step(table, span) {
                read.push(Subject { after, cause, before, step, preconditions, unwitnessed, rules });
            }
        }
        read
    }

    fn unwitnessed(&mut self, table: &mut Table) -> Option<Spanned<Arc<str>>> {
        let why: Spanned<String> = self.optional(table, "unwitnessed")?;
        if why.get_ref().trim().is_empty() {
            let help = "such as \"no kernel state tells …\"".to_owned();
            self.problem(why.span(), "`unwitnessed` is a sentence that says why", help);
        }
        Some(Spanned::new(why.span(), why.into_inner().into()))
    }

    fn rules(&mut self, table: &mut Table) -> Vec<ExpectationRule> {
        let Some(list) = self.take(table, "expect") else { return Vec::new() };
        let mut read = Vec::new();
        for rule in self.tables(list, "expect") {
            let span = rule.span();
            let text: Option<RuleText> =
                self.deserialize(Spanned::new(span.clone(), DeValue::Table(rule.into_inner())), &span);
            if let Some(rule) = text.and_then(|text| self.rule(text, span)) {
                read.push(rule);
            }
        }
        read
    }

    fn rule(&mut self, text: RuleText, span: Range<usize>) -> Option<ExpectationRule> {
        let os: Vec<Os> = self.words(&text.os);
        let kernel = text.kernel.and_then(|kernel| match semver::VersionReq::parse(kernel.get_ref()) {
            Ok(range) => Some(range),
            Err(error) => {
                self.problem(
                    kernel.span(),
                    format!("`{}` is no range of kernel releases: {error}", kernel.get_ref()),
                    "such as \">=6.17\" or \">=6.1, <6.6\"".to_owned(),
                );
                None
            }
        });
        let need: Option<Need> = text.need.and_then(|word| self.word(word.get_ref(), word.span()));
        let outcomes: Vec<Expected> = self.words(&text.outcome);
        let unknown = outcomes.contains(&Expected::Unknown);
        if unknown && outcomes.len() > 1 {
            self.problem(text.outcome.span(), "`unknown` stands alone", "it permits every outcome".to_owned());
        }
        for (&os, outcome) in os.iter().flat_map(|os| outcomes.iter().map(move |outcome| (os, outcome))) {
            let Expected::Errno(errno) = outcome else { continue };
            if errno.raw(os).is_none() {
                let named = errno
                    .on(os)
                    .map_or("nothing expects it there".to_owned(), |name| format!("it is {} there", name.as_str()));
                self.problem(
                    text.outcome.span(),
                    format!("{os} has no errno of its own called {}", errno.as_str()),
                    named,
                );
            }
        }
        let authority: Option<Authority> = text.authority.and_then(|word| self.word(word.get_ref(), word.span()));
        let reference = match (unknown, authority, text.reference, text.why) {
            (true, None, None, Some(why)) => why,
            (true, ..) => {
                self.problem(
                    span,
                    "an unknown outcome takes `why` and neither `authority` nor `ref`",
                    "say why nobody knows it".to_owned(),
                );
                return None;
            }
            (false, Some(_), Some(reference), _) if !reference.trim().is_empty() => reference,
            (false, ..) => {
                self.problem(
                    span,
                    "an expectation takes `authority` and `ref`",
                    "authority = \"kernel-source\", ref = \"inet_csk_get_port, net/ipv4/inet_connection_sock.c\""
                        .to_owned(),
                );
                return None;
            }
        };
        let expectations = outcomes
            .iter()
            .map(|outcome| Expectation {
                outcome: outcome.as_str().to_owned().into(),
                authority,
                reference: reference.clone().into(),
            })
            .collect();
        Some(ExpectationRule { os, kernel, need, when: text.when, outcomes, expectations, span })
    }

    fn words<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, list: &Spanned<OneOrMore>) -> Vec<T> {
        list.get_ref().iter().filter_map(|word| self.word(word, list.span())).collect()
    }

    fn word<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, word: &str, span: Range<usize>) -> Option<T> {
        match word.parse() {
            Ok(word) => Some(word),
            Err(message) => {
                self.problem(span, message.to_string(), None);
                None
            }
        }
    }

    /// The single remaining entry of a table, as a table of one.
    fn only_key(&mut self, table: Table, span: &Range<usize>, what: &str) -> Option<Value> {
        match table.len() {
            1 => Some(Spanned::new(span.clone(), DeValue::Table(table))),
            0 => {
                self.problem(span.clone(), format!("no {what} here"), None);
                None
            }
            _ => {
                let (key, _) = table.iter().nth(1)?;
                let known = ["when", "os", "user", "permit", "unsupported", "at", "after", "cause", "before"];
                let known = known.into_iter().chain(["unwitnessed", "precondition", "expect"]);
                let meant = did_you_mean(key.get_ref(), known).unwrap_or_default();
                self.problem(
                    key.span(),
                    format!("unknown key `{}`{meant}", key.get_ref()),
                    format!("one {what} an entry: the other key here is `{}`", table.iter().next()?.0.get_ref()),
                );
                None
            }
        }
    }

    fn take(&mut self, table: &mut Table, key: &str) -> Option<Value> {
        table.remove(key)
    }

    fn take_table(&mut self, table: &mut Table, key: &str) -> Option<Table> {
        let value = self.take(table, key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(table),
            other => {
                self.problem(span, format!("`{key}` is {}, expected a table", other.type_str()), None);
                None
            }
        }
    }

    /// The elements of an array of tables.
    fn tables(&mut self, value: Value, what: &str) -> Vec<Spanned<Table>> {
        let span = value.span();
        let DeValue::Array(array) = value.into_inner() else {
            self.problem(span, format!("{what}: expected an array of tables"), None);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for element in array {
            let span = element.span();
            match element.into_inner() {
                DeValue::Table(table) => tables.push(Spanned::new(span, table)),
                other => self.problem(span, format!("{what}: {}, expected a table", other.type_str()), None),
            }
        }
        tables
    }

    fn required<T: DeserializeOwned>(&mut self, table: &mut Table, key: &str, span: &Range<usize>) -> Option<T> {
        if table.get(key).is_none() {
            self.problem(
                span.clone(),
                format!("missing key `{key}`"),
                format!("a scenario has the keys {}", KEYS.join(", ")),
            );
        }
        self.optional(table, key)
    }

    fn optional<T: DeserializeOwned>(&mut self, table: &mut Table, key: &str) -> Option<T> {
        let value = self.take(table, key)?;
        let span = value.span();
        self.deserialize(value, &span)
    }

    fn deserialize<T: DeserializeOwned>(&mut self, value: Value, span: &Range<usize>) -> Option<T> {
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(value),
            Err(error) => {
                self.toml_error(&error, span.clone());
                None
            }
        }
    }

    fn toml_error(&mut self, error: &toml::de::Error, otherwise: Range<usize>) {
        self.problem(error.span().unwrap_or(otherwise), crate::words::problem::message(error), None);
    }

    fn unknown_keys(&mut self, table: &Table, known: &[&str]) {
        for key in table.keys() {
            let meant = did_you_mean(key.get_ref(), known.iter().copied()).unwrap_or_default();
            self.problem(
                key.span(),
                format!("unknown key `{}`{meant}", key.get_ref()),
                format!("expected one of {}", known.join(", ")),
            );
        }
    }
}

fn owned_name(name: Spanned<std::borrow::Cow<'static, str>>) -> Spanned<String> {
    let span = name.span();
    Spanned::new(span, name.into_inner().into_owned())
}
