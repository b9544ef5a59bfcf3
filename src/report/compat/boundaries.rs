//! Between which observed versions of a kernel calls began to give something else, by classes of cases.
//!
//! Only a stack that is its OS's own has versions: others are never on its line. Why something changed is what the
//! expectations say that the findings met; nothing is concluded here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::run::{Run, runs};
use super::sweep::{Asked, Said, Source, Sweep};
use crate::report::compare::{FactDifference, environment};
use crate::report::finding::call_name;
use crate::words::names::{Call, words};

/// The version of the boundaries, their first field.
pub const FORMAT: &str = "errnoscope-boundaries/3";

/// Where the versions of each stack differ.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Boundaries {
    /// `errnoscope-boundaries/3`.
    #[schemars(extend("const" = FORMAT))]
    pub format: &'static str,
    /// The reports by the first digits of their digests, in the order of stack, version and time.
    pub reports: IndexMap<String, Source>,
    /// The versions of each stack that has more than one, the oldest first.
    #[schemars(with = "IndexMap<String, Vec<String>>")]
    pub versions: IndexMap<String, Vec<Version>>,
    /// In the order of stacks and versions.
    pub boundaries: Vec<Boundary>,
}

/// Two versions between which something changed, and no version in between was observed to give either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Boundary {
    /// Its name.
    pub stack: String,
    /// The last version that was observed to give what was before.
    #[schemars(with = "String")]
    pub after: Version,
    /// The first version that was observed to give something else.
    #[schemars(with = "String")]
    pub since: Version,
    /// What else differs between the reports of the two: it may be the reason.
    pub environment: Vec<FactDifference>,
    /// The largest first.
    pub classes: Vec<Class>,
    /// What only the kernels on one side can do, so that cases could not be made on the other.
    pub refused: Vec<RefusedOp>,
}

/// An op of cases that a kernel refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RefusedOp {
    /// The op, and the errno that it got.
    pub op: String,
    /// By the version before, and not by the one after; or the other way round.
    pub by: Side,
    /// Their ids.
    pub cases: Vec<String>,
}

words! {
    /// One side of a boundary.
    Side {
        /// The older versions.
        Before = "before",
        /// The newer versions.
        Since = "since",
    }
}

/// Calls that changed alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Class {
    /// The scenario's id.
    pub scenario: String,
    /// Which call.
    pub call: Call,
    /// 1 for the first call under test of the cases, and so on.
    pub ordinal: u32,
    /// What the older versions give.
    pub from: BTreeSet<String>,
    /// What the newer versions give.
    pub to: BTreeSet<String>,
    /// Repeated runs, or reports of one version, disagree on one side or the other.
    pub unstable: bool,
    /// Where the last version before is documented to give what it gave, and the first one after.
    pub because: Reasons,
    /// Their ids.
    pub cases: Vec<String>,
}

/// References of the expectations that were met on either side; none where nothing is documented.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Reasons {
    /// Of what was before.
    pub before: BTreeSet<String>,
    /// Of what is since.
    pub since: BTreeSet<String>,
}

impl Class {
    /// `connect`, or `connect (call 2)` where others of the case come before it.
    pub fn call(&self) -> String {
        call_name(self.call, self.ordinal)
    }

    /// The command that shows one of the cases on the kernel where it runs.
    pub fn command(&self) -> String {
        let example = self.cases.first().map_or("", |case| case);
        format!("errnoscope run -v '{example}'")
    }
}

/// What is found between two versions.
#[derive(Default)]
struct Found<'s> {
    classes: Classes<'s>,
    refused: BTreeMap<(Side, &'s str), BTreeSet<String>>,
}

/// By what classes are told apart.
type Alike<'s> = (&'s str, Call, u32, BTreeSet<&'s str>, BTreeSet<&'s str>, bool);

type Classes<'s> = BTreeMap<Alike<'s>, (Reasons, Vec<String>)>;

/// Where the versions of each stack differ.
pub fn boundaries(sweep: &Sweep) -> Boundaries {
    let mut versions = IndexMap::new();
    let mut boundaries = Vec::new();
    for (stack, indices) in sweep.stacks() {
        let mut own: Vec<Version> = indices.iter().filter_map(|&index| sweep.sources[index].version.clone()).collect();
        own.dedup();
        if own.len() < 2 {
            continue;
        }
        let mut found: BTreeMap<Place<'_>, Found<'_>> = BTreeMap::new();
        for pair in indices.windows(2) {
            let [before, after] = [pair[0], pair[1]].map(|index| sweep.sources[index].version.as_ref());
            let Some(place) = before.zip(after).filter(|(before, after)| before < after) else { continue };
            if around(sweep, &indices, place.0, place.1).iter().any(is_setting_of_one) {
                found.entry(place).or_default();
            }
        }
        versions.insert(stack.to_owned(), own);
        for (key, asked) in &sweep.calls {
            for pair in runs(sweep, asked, &indices).windows(2) {
                let [before, after] = pair else { continue };
                let Some((place, alike)) = place(before, after) else { continue };
                let (from, to) = alike;
                let unstable = before.is_unstable() || after.is_unstable();
                let alike = (&*key.scenario, key.call, key.ordinal, from, to, unstable);
                let (because, cases) = found.entry(place).or_default().classes.entry(alike).or_default();
                because.before.extend(before.because[1].iter().map(|&reference| reference.to_owned()));
                because.since.extend(after.because[0].iter().map(|&reference| reference.to_owned()));
                cases.push(key.case.clone());
            }
            for (place, side, op) in refusals(sweep, asked, &indices) {
                found.entry(place).or_default().refused.entry((side, op)).or_default().insert(key.case.clone());
            }
        }
        for ((after, since), Found { classes, refused }) in found {
            let refused = refused.into_iter().map(|((by, op), cases)| RefusedOp {
                op: op.to_owned(),
                by,
                cases: cases.into_iter().collect(),
            });
            let mut classes: Vec<Class> = classes.into_iter().map(|(alike, found)| class(alike, found)).collect();
            classes.sort_by_key(|class| Reverse(class.cases.len()));
            boundaries.push(Boundary {
                stack: stack.to_owned(),
                after: after.clone(),
                since: since.clone(),
                environment: around(sweep, &indices, after, since),
                classes,
                refused: refused.collect(),
            });
        }
    }
    Boundaries { format: FORMAT, reports: sweep.by_id(), versions, boundaries }
}

type Place<'s> = (&'s Version, &'s Version);
type Change<'s> = (BTreeSet<&'s str>, BTreeSet<&'s str>);

fn place<'s>(before: &Run<'s>, after: &Run<'s>) -> Option<(Place<'s>, Change<'s>)> {
    let ((_, last), (first, _)) = before.versions.zip(after.versions)?;
    Some(((last, first), (before.outcomes.clone(), after.outcomes.clone())))
}

/// Neighbours of which one could be led into the situation and the other refused an op for it.
fn refusals<'s>(sweep: &'s Sweep, asked: &'s Asked, indices: &[usize]) -> Vec<(Place<'s>, Side, &'s str)> {
    let said =
        indices.iter().filter_map(|index| Some((sweep.sources[*index].version.as_ref()?, asked.said.get(index)?)));
    let said: Vec<(&Version, &Said)> =
        said.filter(|(_, said)| said.refused.is_some() || !said.outcomes.is_empty()).collect();
    let neighbours = said.windows(2).filter(|pair| pair[0].0 < pair[1].0);
    let one_sided = neighbours.filter_map(|pair| {
        let [(after, before), (since, now)] = [pair[0], pair[1]];
        match (before.refused.as_deref(), now.refused.as_deref()) {
            (Some(op), None) => Some(((after, since), Side::Before, op)),
            (None, Some(op)) => Some(((after, since), Side::Since, op)),
            _ => None,
        }
    });
    one_sided.collect()
}

/// A sysctl that only one of the two kernels has.
fn is_setting_of_one(difference: &FactDifference) -> bool {
    difference.fact.starts_with("net.") && difference.baseline.is_some() != difference.current.is_some()
}

fn class(alike: Alike<'_>, (because, cases): (Reasons, Vec<String>)) -> Class {
    let (scenario, call, ordinal, from, to, unstable) = alike;
    let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
    Class { scenario: scenario.to_owned(), call, ordinal, from: owned(from), to: owned(to), unstable, because, cases }
}

/// What differs around the newest reports of two versions, besides the version.
fn around(sweep: &Sweep, indices: &[usize], after: &Version, since: &Version) -> Vec<FactDifference> {
    let newest = |version| {
        let mut sources = indices.iter().rev().map(|&index| &sweep.sources[index]);
        sources.find(|source| source.version.as_ref() == Some(version)).map(|source| source.facts.clone())
    };
    let (before, now) = (newest(after).unwrap_or_default(), newest(since).unwrap_or_default());
    let mut differences = environment::between(before, now);
    differences.retain(|difference| !["stack", "release"].contains(&&*difference.fact));
    differences
}

/// The JSON Schema of boundaries.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<Boundaries>(FORMAT)
}
