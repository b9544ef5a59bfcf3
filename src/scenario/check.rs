//! Finds mistakes beyond syntax: names, values, rules and cases that do not fit each other.
//!
//! It reads no file and runs no case.

use std::collections::BTreeSet;
use std::ops::Range;

use semver::Version;
use toml::Spanned;

use super::case::product;
use super::compile::compile_within;
use super::condition::Test;
use super::rule::NEWEST;
use super::{Case, Condition, Expected, Platform, Problem, Scenario, Subject, cases, kebab};
use crate::words::names::{Need, Os, axis_vocabulary};
use crate::words::near::did_you_mean;
use crate::words::problem::{Problems, listed};
use crate::words::untrusted::is_spelled_out;

/// A scenario that spans more than this is a mistake.
const MOST_CASES: usize = 20_000;
const MOST_AXES: usize = 32;
/// Facts may stand on facts, which are looked up again each time.
const MOST_FACTS: usize = 100;
const MOST_SUBJECTS: usize = 50;
/// Comparisons that one condition may take, with the facts that it stands on. The catalogue's largest takes a few
/// dozen.
const MOST_COMPARISONS: u64 = 10_000;
/// Comparisons for all cases, platforms and rules of a scenario: some seconds of work.
const MOST_WORK: u64 = 200_000_000;
/// Values that may be put in place of references in all cases of a scenario.
const MOST_VALUES: usize = 20_000_000;

/// Every fault of one scenario. An empty list means that each of its cases compiles and has an expectation for every OS
/// and every kernel release.
pub fn check(scenario: &Scenario) -> Vec<Problem> {
    let mut checker = Checker { scenario, problems: Problems::default() };
    checker.sizes();
    if checker.problems.is_empty() {
        checker.names();
        checker.conditions();
    }
    if checker.problems.is_empty() {
        // From here on conditions can be evaluated.
        checker.work();
    }
    if checker.problems.is_empty() {
        checker.cases();
    }
    checker.problems.sorted()
}

struct Checker<'s> {
    scenario: &'s Scenario,
    problems: Problems,
}

impl<'s> Checker<'s> {
    fn problem(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.problems.push(Problem {
            file: self.scenario.file.clone(),
            text: self.scenario.text,
            span,
            message: message.into(),
            help: help.into(),
        });
    }

    /// What is too much of anything, before anything is done about each of it.
    fn sizes(&mut self) {
        let scenario = self.scenario;
        let Scenario { axes, facts, subjects, .. } = scenario;
        let sizes = [
            ("axes", MOST_AXES, axes.len(), axes.get(MOST_AXES).map(|axis| axis.name.span())),
            ("facts", MOST_FACTS, facts.len(), facts.get(MOST_FACTS).map(|(name, _)| name.span())),
            ("subjects", MOST_SUBJECTS, subjects.len(), subjects.get(MOST_SUBJECTS).map(|it| it.step.span.clone())),
        ];
        for (what, most, size, first) in sizes {
            if let Some(span) = first {
                self.problem(span, format!("{size} {what}, at most {most} are taken"), None);
            }
        }
        if product(scenario) > MOST_CASES {
            let largest = axes.iter().max_by_key(|axis| axis.values.len());
            let span = largest.map_or(0..0, |axis| axis.name.span());
            let message = format!("the axes span {} cases, at most {MOST_CASES} are taken", product(scenario));
            self.problem(span, message, "take values, or axes, out".to_owned());
        }
    }

    /// How long it would take to evaluate the conditions: facts that stand on facts, and rules for many cases,
    /// multiply.
    fn work(&mut self) {
        let scenario = self.scenario;
        let mut facts: Vec<u64> = Vec::new();
        for (name, fact) in &scenario.facts {
            let weight = fact.weight(scenario, &facts);
            facts.push(weight);
            self.comparisons(weight, || name.span());
        }
        let rules: Vec<_> = scenario.subjects.iter().flat_map(|subject| &subject.rules).collect();
        let mut most = (0, 0..0);
        let mut all: u64 = 0;
        for rule in &rules {
            let weight = 1 + rule.when.as_ref().map_or(0, |when| when.weight(scenario, &facts));
            self.comparisons(weight, || rule.span.clone());
            all = all.saturating_add(weight);
            most = if weight > most.0 { (weight, rule.span.clone()) } else { most };
        }
        if !self.problems.is_empty() {
            return;
        }
        let platforms = representative_platforms(scenario).len() as u64;
        // A rule is asked again for each call that stands on its own.
        let factors = [product(scenario) as u64, platforms, scenario.subjects.len() as u64, all];
        let rules = factors.into_iter().fold(1, u64::saturating_mul);
        let others =
            conditions(scenario).map(|condition| condition.weight(scenario, &facts)).fold(0, u64::saturating_add);
        if others > MOST_COMPARISONS * 10 || rules.saturating_add(others.saturating_mul(factors[0])) > MOST_WORK {
            let [cases, platforms, ..] = factors;
            let message = format!("{cases} cases on {platforms} platforms are too many for these conditions");
            let help = "split the scenario, or use fewer rules, facts or kernel releases".to_owned();
            self.problem(most.1, message, help);
        }
    }

    fn comparisons(&mut self, weight: u64, span: impl FnOnce() -> Range<usize>) {
        if weight > MOST_COMPARISONS {
            let message = format!("a condition of {weight} comparisons, at most {MOST_COMPARISONS} are taken");
            self.problem(span(), message, "facts that it stands on count each time".to_owned());
        }
    }

    fn names(&mut self) {
        let scenario = self.scenario;
        let (call, name) = scenario.id.split_once('.').unwrap_or((&scenario.id, ""));
        if name.is_empty() || kebab(call) != call || kebab(name) != name {
            let help = "a call and a name in kebab-case, such as `bind.port-held`".to_owned();
            self.problem(scenario.id_span.clone(), format!("`{}` is no scenario id", scenario.id), help);
        }
        let mut seen = BTreeSet::new();
        for axis in &scenario.axes {
            let name = axis.name.get_ref();
            seen.insert(name.as_str());
            if name.contains(is_spelled_out) {
                self.problem(axis.name.span(), format!("`{name}` is no axis"), None);
            }
            let vocabulary = axis_vocabulary(name);
            let mut values = BTreeSet::new();
            for value in &axis.values {
                if !values.insert(value.get_ref()) {
                    self.problem(value.span(), format!("axis `{name}` lists `{}` twice", value.get_ref()), None);
                }
                if vocabulary.as_ref().is_some_and(|known| !known.contains(&value.get_ref().as_str())) {
                    let known = listed(vocabulary.iter().flatten().copied());
                    let meant = did_you_mean(value.get_ref(), vocabulary.iter().flatten().copied()).unwrap_or_default();
                    let message = format!("unknown value `{}` of axis `{name}`{meant}", value.get_ref());
                    self.problem(value.span(), message, format!("expected one of {known}"));
                }
                let is_other = |letter| matches!(letter, '[' | ']' | ',' | '=' | ' ') || is_spelled_out(letter);
                if value.get_ref().is_empty() || value.get_ref().contains(is_other) {
                    self.problem(value.span(), "an axis value is text without spaces, commas, brackets or =", None);
                }
            }
        }
        let others = scenario.facts.iter().map(|(name, _)| name).chain(scenario.values.iter().map(|(name, _)| name));
        for name in others {
            if name.get_ref().contains(is_spelled_out) {
                self.problem(name.span(), format!("`{}` is no name", name.get_ref()), None);
            }
            if !seen.insert(name.get_ref()) || matches!(name.get_ref().as_str(), "same" | "not") {
                self.problem(name.span(), format!("the name `{}` is taken", name.get_ref()), None);
            }
        }
        for (index, subject) in scenario.subjects.iter().enumerate() {
            if let Some(after) = &subject.after
                && scenario.earlier(index).is_none()
            {
                self.problem(after.span(), format!("no earlier subject is called `{}`", after.get_ref()), None);
            }
        }
    }

    fn conditions(&mut self) {
        let scenario = self.scenario;
        for (index, (_, condition)) in scenario.facts.iter().enumerate() {
            // A fact may stand on earlier facts only, so that none stands on itself.
            self.condition(condition, index);
        }
        for condition in conditions(scenario) {
            self.condition(condition, scenario.facts.len());
        }
    }

    fn condition(&mut self, condition: &'s Condition, facts: usize) {
        let mut entries = Vec::new();
        condition.walk(&mut |key, test| entries.push((key, test)));
        for (key, test) in entries {
            self.entry(key, test, facts);
        }
    }

    fn entry(&mut self, key: &Spanned<String>, test: &Test, facts: usize) {
        let scenario = self.scenario;
        let axis = |name: &str| scenario.axes.iter().find(|axis| axis.name.get_ref() == name);
        let name = key.get_ref();
        match (name.as_str(), test) {
            ("not", Test::Condition(_)) => {}
            ("not", _) => self.problem(key.span(), "`not` takes a condition", None),
            (_, Test::Condition(_)) => {
                self.problem(key.span(), format!("`{name}` takes a value, not a condition"), None)
            }
            ("same", Test::OneOf(axes)) => {
                for same in axes {
                    if axis(same.get_ref()).is_none() {
                        self.problem(key.span(), format!("`{}` is no axis", same.get_ref()), None);
                    }
                }
                if axes.len() < 2 {
                    self.problem(key.span(), "`same` takes two axes or more", None);
                }
            }
            (_, Test::Is(_)) => {
                if !scenario.facts[..facts].iter().any(|(fact, _)| fact.get_ref() == name) {
                    let known = scenario.facts[..facts].iter().map(|(fact, _)| fact.get_ref().as_str());
                    let meant = did_you_mean(name, known.clone()).unwrap_or_default();
                    let help = format!("known here: {}", listed(known));
                    self.problem(key.span(), format!("unknown fact `{name}`{meant}"), help);
                }
            }
            (_, Test::OneOf(values)) => {
                let Some(axis) = axis(name) else {
                    let known = scenario.axes.iter().map(|axis| axis.name.get_ref().as_str());
                    let meant = did_you_mean(name, known.clone()).unwrap_or_default();
                    let help = format!("the axes are {}", listed(known));
                    self.problem(key.span(), format!("unknown axis `{name}`{meant}"), help);
                    return;
                };
                let known: BTreeSet<&str> = axis.values.iter().map(|value| value.get_ref().as_str()).collect();
                for value in values {
                    if !known.contains(value.get_ref().as_str()) {
                        let meant = did_you_mean(value.get_ref(), known.iter().copied()).unwrap_or_default();
                        let known = listed(axis.values.iter().map(|value| value.get_ref().as_str()));
                        let span = if value.span().is_empty() { key.span() } else { value.span() };
                        let message = format!("unknown value `{}` of axis `{name}`{meant}", value.get_ref());
                        self.problem(span, message, format!("expected one of {known}"));
                    }
                }
            }
        }
    }

    fn cases(&mut self) {
        let scenario = self.scenario;
        let cases: Vec<Case> = cases(scenario).collect();
        if cases.is_empty() {
            self.problem(0..0, "every case is excluded", None);
        }
        for exclude in &scenario.exclude {
            let points = super::case::points(scenario);
            if !points.into_iter().any(|case| exclude.when.get_ref().holds(scenario, &case)) {
                self.problem(exclude.when.span(), "this exclusion excludes nothing", None);
            }
        }
        let mut values = MOST_VALUES;
        // Where nothing is for one OS alone, what compiles for one compiles for each.
        let systems = if scenario.has_entries_of_an_os() { Os::ALL } else { &Os::ALL[..1] };
        // Of each subject, the first case that has nothing to be witnessed.
        let mut bare: Vec<Option<&Case>> = vec![None; scenario.subjects.len()];
        for case in &cases {
            for os in systems {
                match compile_within(scenario, case, *os, &mut values) {
                    Ok(compiled) => {
                        for call in compiled.subjects.iter().filter(|call| call.preconditions.is_empty()) {
                            bare[call.subject].get_or_insert(case);
                        }
                    }
                    // One fault a file is enough: every case of it shows the same one.
                    Err(problem) => {
                        self.problems.push(problem);
                        return;
                    }
                }
            }
        }
        for (subject, bare) in scenario.subjects.iter().zip(bare) {
            self.unwitnessed(subject, bare);
        }
        for subject in 0..scenario.subjects.len() {
            self.rules(subject, &cases);
        }
    }

    /// What has no precondition says why, and nothing else does.
    fn unwitnessed(&mut self, subject: &Subject, bare: Option<&Case>) {
        match (&subject.unwitnessed, bare) {
            (None, Some(case)) => {
                let message = format!("nothing witnesses {} of {}", subject.name(), case.id);
                let help = "add a [[subject.precondition]], or unwitnessed = \"why there is none\"".to_owned();
                self.problem(subject.step.span.clone(), message, help);
            }
            (Some(why), None) => {
                let help = "leave it out: it is for cases that have none".to_owned();
                self.problem(why.span(), "`unwitnessed`, and every case has a precondition", help);
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Each case is covered, on every OS and release, and each rule decides some case.
    fn rules(&mut self, subject: usize, cases: &[Case]) {
        let scenario = self.scenario;
        let rules = &scenario.subjects[subject].rules;
        let platforms = representative_platforms(scenario);
        let mut decides = vec![false; rules.len()];
        let mut uncovered = Vec::new();
        for case in cases {
            let step = &scenario.subjects[subject].step;
            if step.when.as_ref().is_some_and(|when| !when.holds(scenario, case)) {
                continue;
            }
            for platform in &platforms {
                if !self.reached(case, subject, platform) {
                    continue;
                }
                let uncovered_on = (&case.id, platform.os);
                match rules.iter().position(|rule| rule.applies(scenario, case, platform)) {
                    Some(rule) => decides[rule] = true,
                    None if scenario.is_only_elsewhere(case, platform.os) => {}
                    None if uncovered.last() != Some(&uncovered_on) => uncovered.push(uncovered_on),
                    None => {}
                }
            }
        }
        if let Some((case, os)) = uncovered.first() {
            let name = scenario.subjects[subject].name();
            let message = format!("no rule covers {name} of {case} on {os}");
            let more = match uncovered.len() - 1 {
                0 => String::new(),
                more => format!("so it is {more} times more; "),
            };
            let help = format!("{more}add a rule, or outcome = \"unknown\" and why");
            self.problem(scenario.subjects[subject].step.span.clone(), message, help);
        }
        for (rule, decides) in rules.iter().zip(decides) {
            if !decides {
                let help = "an earlier rule always comes first, or no case is so".to_owned();
                self.problem(rule.span.clone(), "this rule can never apply", help);
            }
        }
    }

    fn reached(&self, case: &Case, subject: usize, platform: &Platform) -> bool {
        let Some(earlier) = self.scenario.earlier(subject) else { return true };
        self.reached(case, earlier, platform)
            && self
                .scenario
                .deciding_rule(case, earlier, platform)
                .is_none_or(|rule| rule.outcomes.iter().any(Expected::goes_on))
    }
}

/// Every condition but those of facts.
fn conditions(scenario: &Scenario) -> impl Iterator<Item = &Condition> {
    let steps = scenario.setup.iter().chain(scenario.subjects.iter().flat_map(|subject| &subject.before));
    let preconditions =
        scenario.preconditions.iter().chain(scenario.subjects.iter().flat_map(|subject| &subject.preconditions));
    (scenario.slow.iter())
        .chain(scenario.exclude.iter().map(|exclude| exclude.when.get_ref()))
        .chain(scenario.needs.iter().filter_map(|need| need.when.as_ref().map(Spanned::get_ref)))
        .chain(scenario.values.iter().flat_map(|(_, rows)| rows.iter().filter_map(|row| row.when.as_ref())))
        .chain(steps.filter_map(|step| step.when.as_ref()))
        .chain(preconditions.filter_map(|precondition| precondition.when.as_ref()))
        .chain(scenario.subjects.iter().filter_map(|subject| subject.step.when.as_ref()))
        .chain(scenario.subjects.iter().flat_map(|subject| subject.rules.iter().filter_map(|rule| rule.when.as_ref())))
}

/// Releases of every OS on both sides of every boundary that the rules name, with what the rules need and without.
fn representative_platforms(scenario: &Scenario) -> Vec<Platform> {
    let mut releases = BTreeSet::from([Version::new(0, 0, 0), NEWEST]);
    let mut needs: BTreeSet<Vec<Need>> = BTreeSet::from([Vec::new()]);
    for rule in scenario.subjects.iter().flat_map(|subject| &subject.rules) {
        needs.extend(rule.need.map(|need| vec![need]));
        for comparator in rule.kernel.iter().flat_map(|kernel| &kernel.comparators) {
            let boundary = Version::new(comparator.major, comparator.minor.unwrap_or(0), comparator.patch.unwrap_or(0));
            let before = match (boundary.minor, boundary.patch) {
                (minor, patch) if patch > 0 => Version::new(boundary.major, minor, patch - 1),
                (minor, _) if minor > 0 => Version::new(boundary.major, minor - 1, 9_999),
                _ => Version::new(boundary.major.saturating_sub(1), 9_999, 9_999),
            };
            let after = Version::new(boundary.major, boundary.minor, boundary.patch.saturating_add(1));
            let next = Version::new(boundary.major, boundary.minor.saturating_add(1), 0);
            releases.extend([before, boundary, after, next]);
        }
    }
    let mut platforms = Vec::new();
    for &os in Os::ALL {
        for release in &releases {
            platforms.extend(needs.iter().map(|offers| Platform {
                os,
                release: release.clone(),
                offers: offers.clone(),
            }));
        }
    }
    platforms
}
