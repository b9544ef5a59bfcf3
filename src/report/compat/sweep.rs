//! What several reports say, call by call: outcomes without their trails and witnesses, so that many reports fit.
//!
//! It sorts and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use semver::Version;
use serde::Serialize;

use crate::report::compare;
use crate::report::finding::{Distribution, Finding, Report, Verdict};
use crate::scenario::Expectation;
use crate::words::cause::Cause;
use crate::words::moment::Moment;
use crate::words::names::{Call, Need, Os};

/// How much of a digest names a report or a reference.
const SHORT: usize = 12;

/// A report, as far as what is said of it depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Source {
    /// The stack, a key of `stacks`.
    pub stack: String,
    /// The kernel's version, as numbers; absent where the stack is not the OS's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub version: Option<Version>,
    /// The kernel's release, as it calls itself.
    pub release: String,
    /// The processor: `x86_64`.
    pub arch: String,
    /// `netns`, `sandbox` (a fresh stack for each case), or `none`.
    pub isolation: String,
    /// The command of `--on` that led to it: somebody behind that command says what the report says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// When the run began.
    pub started: Moment,
    /// Whether the run came to its end.
    pub complete: bool,
    /// How often each case ran.
    pub repeat: u32,
    /// The digest of the scenarios that ran.
    pub catalogue: String,
    /// What wrote the report.
    pub tool: String,
    /// The report file's uncompressed text.
    pub digest: String,
    /// How many it has.
    pub findings: u64,
    /// The OS that it is, or passes for.
    #[serde(skip)]
    pub os: Os,
    #[serde(skip)]
    pub(super) facts: IndexMap<String, String>,
}

impl Source {
    /// What it is called where it is referred to.
    pub fn id(&self) -> &str {
        short(self.digest.trim_start_matches("sha256:"))
    }

    /// Stacks of an OS's own come first, and their versions are numbers: 6.9 is before 6.16.
    fn place(&self) -> (bool, &str, Option<&Version>, Moment, &str) {
        (self.version.is_none(), &self.stack, self.version.as_ref(), self.started, &self.digest)
    }
}

pub(super) fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

/// A call of a case, in the order in which a case makes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub scenario: String,
    pub case: String,
    pub ordinal: u32,
    pub call: Call,
}

/// What one report says of a call.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub verdict: Verdict,
    /// Empty where it says nothing of the call: it was not made, or the kernel did not confirm the situation.
    pub outcomes: BTreeSet<String>,
    /// Between which the kernel may choose.
    pub choice: BTreeSet<String>,
    /// How often repeated runs gave each, where they disagree.
    pub distribution: Option<Distribution>,
    /// What was expected, whether it came about or not.
    pub expected: Arc<[Expectation]>,
    /// The op that this kernel refused, and how, where it could not be led into the situation.
    pub refused: Option<String>,
}

impl Said {
    fn of(finding: &Finding) -> Said {
        let verdict = finding.verdict();
        let names = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
        let counts = matches!(verdict, Verdict::Match | Verdict::Mismatch);
        Said {
            verdict,
            outcomes: if counts { names(compare::outcomes(finding)) } else { BTreeSet::new() },
            choice: names(compare::choice(finding)),
            distribution: finding.distribution().cloned().filter(|_| compare::is_unstable(finding)),
            expected: finding.expected().clone(),
            refused: refused(finding),
        }
    }

    /// What was expected instead.
    pub fn against(&self) -> Option<&Arc<[Expectation]>> {
        (self.verdict == Verdict::Mismatch).then_some(&self.expected)
    }

    /// Where it is documented that this is what comes about.
    pub fn because(&self) -> BTreeSet<&str> {
        let own = self.expected.iter().filter(|expectation| self.outcomes.contains(expectation.outcome.as_str()));
        own.map(|expectation| &*expectation.reference).collect()
    }
}

/// What a host lacks besides, another of the same kernel may have.
fn refused(finding: &Finding) -> Option<String> {
    let last = finding.trail.last().filter(|_| finding.verdict() == Verdict::Unsupported)?;
    let lacking = last.unsupported.as_ref().filter(|lacking| lacking.need == Need::Linux)?;
    Some(lacking.reason.to_string())
}

/// A call with all that is said of it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub cause: Cause,
    /// By the index of the report.
    pub said: BTreeMap<usize, Said>,
    /// What each OS is expected to give, by the newest report that has the call.
    pub expected: BTreeMap<Os, Arc<[Expectation]>>,
    newest: usize,
}

/// Reports, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    pub(super) sources: Vec<Source>,
    pub(super) calls: BTreeMap<Key, Asked>,
}

impl Sweep {
    /// Counts a report in, whose text has this digest (`sha256:…`). The same text a second time adds nothing.
    pub fn add(&mut self, digest: &str, report: &Report) {
        if self.sources.iter().any(|source| source.digest == digest) {
            return;
        }
        let Report { tool, host, catalogue, started, complete, repeat, .. } = report;
        let index = self.sources.len();
        let version = host.kernel();
        self.sources.push(Source {
            stack: if version.is_some() { host.os.to_string() } else { host.stack.to_string() },
            version,
            release: host.release.to_string(),
            arch: host.arch.to_string(),
            isolation: host.isolation.to_string(),
            behind: host.behind.as_ref().map(ToString::to_string),
            started: *started,
            complete: *complete,
            repeat: *repeat,
            catalogue: catalogue.digest.to_string(),
            tool: format!("{} {}", tool.name, tool.version),
            digest: digest.to_owned(),
            findings: report.findings.len() as u64,
            os: host.os,
            facts: compare::environment::facts(report),
        });
        for ((scenario, case, ordinal, call), finding) in compare::by_key(report) {
            let key = Key { scenario: scenario.to_owned(), case: case.to_owned(), ordinal, call };
            let asked = self.calls.entry(key).or_insert_with(|| Asked {
                cause: finding.cause,
                said: BTreeMap::new(),
                expected: BTreeMap::new(),
                newest: index,
            });
            asked.said.insert(index, Said::of(finding));
            let (last, this) = (&self.sources[asked.newest], &self.sources[index]);
            if (last.started, &last.digest) <= (this.started, &this.digest) {
                asked.newest = index;
                asked.cause = finding.cause;
                asked.expected = finding.elsewhere.clone();
                if host.is_own() {
                    asked.expected.insert(host.os, finding.expected().clone());
                }
            }
        }
    }

    /// The indices of the reports of each stack, in the order of stacks, versions and time.
    pub(super) fn stacks(&self) -> IndexMap<&str, Vec<usize>> {
        let mut indices: Vec<usize> = (0..self.sources.len()).collect();
        indices.sort_by(|&a, &b| self.sources[a].place().cmp(&self.sources[b].place()));
        let mut stacks: IndexMap<&str, Vec<usize>> = IndexMap::new();
        for index in indices {
            stacks.entry(&self.sources[index].stack).or_default().push(index);
        }
        stacks
    }

    /// The reports by their ids, in the same order.
    pub(super) fn by_id(&self) -> IndexMap<String, Source> {
        let ordered = self.stacks().into_values().flatten().map(|index| &self.sources[index]);
        ordered.map(|source| (source.id().to_owned(), source.clone())).collect()
    }
}
