//! Which cases a command is about.
//!
//! A word that the catalogue does not have is an error. The message names the nearest word.

use std::collections::{BTreeMap, BTreeSet};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use strsim::levenshtein;
use wildmatch::WildMatch;

use super::{Failure, source};
use crate::scenario::{Case, Scenario, cases, compile};
use crate::suite::catalogue::Catalogue;
use crate::suite::runner::CaseRun;
use crate::words::cause::Cause;
use crate::words::names::Call;
use crate::words::near::{did_you_mean, or_list};

#[derive(clap::Args)]
pub struct Selection {
    /// Ids of scenarios or cases; `*` and `?` are wildcards. Without any, all of them
    #[arg(value_name = "SELECTION")]
    patterns: Vec<String>,

    /// Only cases that test this call; several mean any of them
    #[arg(long, value_name = "CALL", value_parser = one_of(Call::ALL, Call::as_str), ignore_case = true, hide_possible_values = true)]
    call: Vec<Call>,

    /// Only cases whose call runs into this cause; several mean any of them
    #[arg(long, value_name = "CAUSE", value_parser = one_of(Cause::ALL, Cause::as_str), ignore_case = true, hide_possible_values = true)]
    cause: Vec<Cause>,

    /// Only cases with this value of an axis. Several values of one axis mean any of them; several axes mean all of
    /// them
    #[arg(short = 'x', long = "where", value_name = "AXIS=VALUE")]
    axes: Vec<String>,

    #[command(flatten)]
    scenarios: source::Scenarios,
}

/// One of a closed set of words, in whatever case.
pub fn one_of<T>(all: &'static [T], as_str: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let words: Vec<&'static str> = all.iter().map(|&word| as_str(word)).collect();
    PossibleValuesParser::new(words).try_map(move |typed| {
        all.iter().copied().find(|&word| as_str(word).eq_ignore_ascii_case(&typed)).ok_or("unknown word")
    })
}

impl Selection {
    pub fn load(&self) -> Result<Catalogue, Failure> {
        self.scenarios.load()
    }

    /// The selected cases, slow ones too, in the order of the catalogue.
    pub fn items(&self, catalogue: &Catalogue) -> Result<Vec<CaseRun>, Failure> {
        let axes = self.wanted_axes(catalogue)?;
        let patterns: Vec<WildMatch> = self.patterns.iter().map(|pattern| WildMatch::new(pattern)).collect();
        let mut matched = vec![false; patterns.len()];
        let mut items = Vec::new();
        for (index, scenario) in catalogue.scenarios.iter().enumerate() {
            let whole: Vec<bool> = patterns.iter().map(|pattern| pattern.matches(&scenario.id)).collect();
            for case in cases(scenario) {
                let mut selected = patterns.is_empty();
                for (pattern, matched) in matched.iter_mut().enumerate() {
                    let hit = whole[pattern] || patterns[pattern].matches(&case.id);
                    (*matched, selected) = (*matched || hit, selected || hit);
                }
                if selected && has_axes(&case, &axes) && self.has_subject(scenario, &case)? {
                    items.push(CaseRun { scenario: index, slow: scenario.is_slow(&case), case });
                }
            }
        }
        if let Some(missed) = matched.iter().position(|matched| !matched) {
            return Err(Failure::NothingSelected(unknown_id(&self.patterns[missed], catalogue)));
        }
        if items.is_empty() {
            return Err(Failure::NothingSelected("no case is selected: the conditions exclude each other".to_owned()));
        }
        Ok(items)
    }

    fn has_subject(&self, scenario: &Scenario, case: &Case) -> Result<bool, Failure> {
        if self.call.is_empty() && self.cause.is_empty() {
            return Ok(true);
        }
        let compiled = compile(scenario, case, crate::sys::OS).map_err(|problem| Failure::Problems(vec![problem]))?;
        Ok(compiled.subjects.iter().any(|subject| {
            (self.call.is_empty() || self.call.contains(&subject.call))
                && (self.cause.is_empty() || self.cause.contains(&subject.cause))
        }))
    }

    /// The values that are asked for, by axis.
    fn wanted_axes(&self, catalogue: &Catalogue) -> Result<BTreeMap<&str, Vec<&str>>, Failure> {
        let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for axis in catalogue.scenarios.iter().flat_map(|scenario| &scenario.axes) {
            let values = axis.values.iter().map(|value| value.get_ref().as_str());
            known.entry(axis.name.get_ref()).or_default().extend(values);
        }
        wanted(&self.axes, &known)
    }
}

/// The values that `AXIS=VALUE` arguments ask for, by axis, of the axes and values that there are.
pub fn wanted<'a>(
    arguments: &'a [String],
    known: &BTreeMap<&str, BTreeSet<&str>>,
) -> Result<BTreeMap<&'a str, Vec<&'a str>>, Failure> {
    let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for text in arguments {
        let Some((axis, value)) = text.split_once('=') else {
            return Err(Failure::bad(format!("`--where {text}`: expected axis=value, such as family=ipv6")));
        };
        let Some(values) = known.get(axis) else {
            return Err(Failure::bad(format!("unknown axis `{axis}`{}", or_list(axis, known.keys().copied()))));
        };
        if !values.contains(value) {
            let message = format!("unknown value `{value}` of axis `{axis}`");
            return Err(Failure::bad(message + &or_list(value, values.iter().copied())));
        }
        wanted.entry(axis).or_default().push(value);
    }
    Ok(wanted)
}

fn has_axes(case: &Case, wanted: &BTreeMap<&str, Vec<&str>>) -> bool {
    wanted.iter().all(|(axis, values)| case.value(axis).is_some_and(|value| values.contains(&value)))
}

/// Why an id or a glob names nothing, and what would.
pub fn unknown_id(pattern: &str, catalogue: &Catalogue) -> String {
    let ids = || catalogue.scenarios.iter().map(|scenario| scenario.id.as_str());
    if !pattern.contains('[') && pattern.contains('=') {
        return format!("no scenario or case matches `{pattern}`; did you mean `--where {pattern}`?");
    }
    let Some((id, point)) = pattern.split_once('[') else {
        return format!("no scenario or case matches `{pattern}`{}", or_hint(pattern, ids()));
    };
    match catalogue.get(id) {
        None => format!("no case matches `{pattern}`{}", or_hint(id, ids())),
        Some(scenario) => {
            let near: Vec<String> = cases(scenario).map(|case| case.id).collect();
            let near = near.iter().min_by_key(|case| levenshtein(&case[id.len()..], &format!("[{point}")));
            let near = near.map(|case| format!("; the nearest is `{case}`")).unwrap_or_default();
            format!("no case of {id} matches `[{point}`{near}")
        }
    }
}

fn or_hint<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> String {
    did_you_mean(word, known).unwrap_or_else(|| "; see `errnoscope list`".to_owned())
}
