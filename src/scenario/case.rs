//! Cases: the points of the product of a scenario's axes, less its exclusions.

use std::sync::Arc;

use super::{Expectation, Expected, Platform, Scenario};
use crate::words::names::{Need, Os};

/// One point of the product of a scenario's axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// `scenario[axis=value,…]`, in the order of the axes.
    pub id: String,
    /// Name and value of each axis, in the order of the file.
    pub axes: Vec<(String, String)>,
}

impl Case {
    /// The value of an axis, if the scenario has that axis.
    pub fn value(&self, axis: &str) -> Option<&str> {
        self.axes.iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
    }
}

/// How many points the product has, before exclusions; saturating.
pub fn product(scenario: &Scenario) -> usize {
    scenario.axes.iter().fold(1, |product: usize, axis| product.saturating_mul(axis.values.len()))
}

/// Every case, in the order of the axes' values: the last axis varies fastest.
pub fn cases(scenario: &Scenario) -> impl Iterator<Item = Case> + '_ {
    points(scenario).filter(|case| !scenario.excludes(case))
}

/// Every point of the product, excluded ones too.
pub fn points(scenario: &Scenario) -> impl Iterator<Item = Case> + '_ {
    (0..product(scenario)).map(move |index| point(scenario, index))
}

fn point(scenario: &Scenario, mut index: usize) -> Case {
    let mut axes: Vec<(String, String)> = Vec::with_capacity(scenario.axes.len());
    for axis in scenario.axes.iter().rev() {
        let value = &axis.values[index % axis.values.len()];
        index /= axis.values.len();
        axes.push((axis.name.get_ref().clone(), value.get_ref().clone()));
    }
    axes.reverse();
    let point: Vec<String> = axes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Case { id: format!("{}[{}]", scenario.id, point.join(",")), axes }
}

impl Scenario {
    /// The case of that id, which none of the others is made for.
    pub fn case(&self, id: &str) -> Option<Case> {
        let mut rest = id.strip_prefix(&*self.id)?.strip_prefix('[')?.strip_suffix(']')?;
        let mut index = 0;
        for axis in &self.axes {
            rest = rest.strip_prefix(axis.name.get_ref().as_str())?.strip_prefix('=')?;
            let (place, after) = axis.values.iter().enumerate().find_map(|(place, value)| {
                let after = rest.strip_prefix(value.get_ref().as_str())?;
                Some((place, if after.is_empty() { after } else { after.strip_prefix(',')? }))
            })?;
            (index, rest) = (index * axis.values.len() + place, after);
        }
        Some(point(self, index)).filter(|case| case.id == id && !self.excludes(case))
    }

    fn excludes(&self, case: &Case) -> bool {
        self.exclude.iter().any(|exclude| exclude.when.get_ref().holds(self, case))
    }

    /// Whether it waits for kernel timers: such cases run only when they are asked for.
    pub fn is_slow(&self, case: &Case) -> bool {
        self.slow.as_ref().is_some_and(|slow| slow.holds(self, case))
    }

    /// What `platform` is expected to answer to subject call number `subject` of `case`.
    ///
    /// Empty where no rule covers the case, which reading a catalogue rules out. Where an earlier call that this one
    /// stands on is expected to fail, the one expectation is `not-reached`.
    pub fn expectations(&self, case: &Case, subject: usize, platform: &Platform) -> Arc<[Expectation]> {
        if let Some(earlier) = self.earlier(subject)
            && let Some(rule) = self.deciding_rule(case, earlier, platform)
            && !rule.outcomes.iter().any(Expected::goes_on)
        {
            let outcomes: Vec<&str> = rule.outcomes.iter().map(Expected::as_str).collect();
            let call = self.subjects[subject].after.as_ref().map_or("", |after| after.get_ref().as_str());
            let authority = rule.expectations.first().and_then(|expectation| expectation.authority);
            let reference = rule.expectations.first().map_or("", |expectation| &*expectation.reference);
            return Arc::new([Expectation {
                outcome: Expected::NotReached.as_str().to_owned().into(),
                authority,
                reference: format!("{call} is expected to give {}: {}", outcomes.join(" or "), reference).into(),
            }]);
        }
        match self.deciding_rule(case, subject, platform) {
            Some(rule) => rule.expectations.clone(),
            None if self.is_only_elsewhere(case, platform.os) => Arc::new([Expectation {
                outcome: Expected::Unknown.as_str().to_owned().into(),
                authority: None,
                reference: "another system is needed".to_owned().into(),
            }]),
            None => Arc::default(),
        }
    }

    /// Whether the case needs another system than this, so that no rule has to say what happens on it.
    pub(super) fn is_only_elsewhere(&self, case: &Case, os: Os) -> bool {
        self.needs(case).any(|need| match need {
            Need::Linux | Need::Mptcp | Need::IoUring => os != Os::Linux,
            Need::Xnu => os != Os::Macos,
            _ => false,
        })
    }

    /// What the host of a case must offer.
    pub(super) fn needs<'s>(&'s self, case: &'s Case) -> impl Iterator<Item = Need> + 's {
        let holds = |need: &&super::NeedRule| need.when.as_ref().is_none_or(|when| when.get_ref().holds(self, case));
        self.needs.iter().filter(holds).filter_map(|need| need.parsed)
    }

    /// The first rule that applies, unless an earlier subject call is expected to fail.
    pub(super) fn deciding_rule(
        &self,
        case: &Case,
        subject: usize,
        platform: &Platform,
    ) -> Option<&super::ExpectationRule> {
        self.subjects[subject].rules.iter().find(|rule| rule.applies(self, case, platform))
    }

    /// The subject call that must have succeeded for this one to be made.
    pub(super) fn earlier(&self, subject: usize) -> Option<usize> {
        let after = self.subjects[subject].after.as_ref()?;
        (0..subject).rev().find(|&earlier| self.subjects[earlier].name() == after.get_ref())
    }
}

impl super::Subject {
    /// The op's name, by which later calls refer to this one.
    pub fn name(&self) -> &str {
        self.step.name()
    }
}

impl super::StepText {
    /// The op's name, as the file spells it.
    pub fn name(&self) -> &str {
        let table = self.op.get_ref().as_table();
        table.and_then(|table| table.keys().next()).map_or("", |key| key.get_ref())
    }
}
