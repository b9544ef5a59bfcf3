//! Along the versions of one stack: runs of neighbours that answer a call alike.
//!
//! Versions nobody observed are in no run, and reports of one version that disagree are not made to agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use semver::Version;

use super::sweep::{Asked, Said, Source, Sweep};
use crate::report::finding::Distribution;
use crate::scenario::Expectation;

/// Neighbouring versions that answer alike; where a stack has no versions, its reports.
#[derive(Clone, Debug)]
pub(super) struct Run<'s> {
    /// The first and the last version in which this was observed.
    pub versions: Option<(&'s Version, &'s Version)>,
    pub outcomes: BTreeSet<&'s str>,
    choice: BTreeSet<&'s str>,
    pub distributions: BTreeMap<&'s str, &'s Distribution>,
    /// Where reports of the same version disagree: which of them gave what.
    pub conflict: BTreeMap<&'s str, Vec<&'s str>>,
    /// What was expected instead.
    pub against: Vec<&'s Arc<[Expectation]>>,
    /// Where it is documented for the first and for the last of the versions.
    pub because: [BTreeSet<&'s str>; 2],
}

impl Run<'_> {
    /// Whether what it gave is chance, or depends on what nobody recorded.
    pub fn is_unstable(&self) -> bool {
        !self.distributions.is_empty() || !self.conflict.is_empty()
    }
}

/// The runs of a call on a stack, whose reports are those of `indices`, in the order of their versions.
pub(super) fn runs<'s>(sweep: &'s Sweep, asked: &'s Asked, indices: &[usize]) -> Vec<Run<'s>> {
    let said = indices.iter().filter_map(|index| Some((&sweep.sources[*index], asked.said.get(index)?)));
    let said: Vec<(&Source, &Said)> = said.filter(|(_, said)| !said.outcomes.is_empty()).collect();
    let mut runs: Vec<Run<'s>> = Vec::new();
    for same in said.chunk_by(|(a, _), (b, _)| a.version == b.version) {
        let Some(run) = at_one_version(same) else { continue };
        match runs.last_mut() {
            Some(last) if is_alike(last, &run) => last.extend(run),
            _ => runs.push(run),
        }
    }
    runs
}

fn at_one_version<'s>(said: &[(&'s Source, &'s Said)]) -> Option<Run<'s>> {
    let mut runs = said.iter().map(|(source, said)| Run {
        versions: source.version.as_ref().map(|version| (version, version)),
        outcomes: said.outcomes.iter().map(String::as_str).collect(),
        choice: said.choice.iter().map(String::as_str).collect(),
        distributions: said.distribution.iter().map(|distribution| (source.id(), distribution)).collect(),
        conflict: BTreeMap::new(),
        against: said.against().into_iter().collect(),
        because: [said.because(), said.because()],
    });
    let mut whole = runs.next()?;
    let mut agree = true;
    for run in runs {
        agree &= is_alike(&whole, &run);
        whole.extend(run);
    }
    if !agree {
        for (source, said) in said {
            for outcome in &said.outcomes {
                whole.conflict.entry(outcome).or_default().push(source.id());
            }
        }
    }
    Some(whole)
}

/// Whether both gave the same, or what either gave is the other's to choose.
fn is_alike(a: &Run<'_>, b: &Run<'_>) -> bool {
    let same = a.outcomes == b.outcomes || (a.outcomes.is_subset(&b.choice) && b.outcomes.is_subset(&a.choice));
    same && a.conflict.is_empty() == b.conflict.is_empty()
}

impl<'s> Run<'s> {
    fn extend(&mut self, next: Run<'s>) {
        if let (Some((_, last)), Some((_, next))) = (&mut self.versions, next.versions) {
            *last = next;
        }
        let [_, last] = next.because;
        self.because[1] = last;
        self.outcomes.extend(next.outcomes);
        self.choice.retain(|outcome| next.choice.contains(outcome));
        self.distributions.extend(next.distributions);
        for (outcome, reports) in next.conflict {
            self.conflict.entry(outcome).or_default().extend(reports);
        }
        for against in next.against {
            if !self.against.contains(&against) {
                self.against.push(against);
            }
        }
    }
}
