//! The causes that findings know for a failed call, with the evidence.
//!
//! It does not say what to do: `right` and the policies do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::evidence::Basis;
use super::{ProbeCall, Signal};
use crate::plan::{IpSocket, SocketKind};
use crate::report::finding::{Finding, Host, Report, Verdict, stack_version};
use crate::scenario::Expectation;
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Os, PortChoice, Protocol, Reuse};

/// The version of the file that `condense` writes, its first field.
pub const FORMAT: &str = "errnoscope-knowledge/2";

/// What reports say about failed calls, without their trails and witnesses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Knowledge {
    /// `errnoscope-knowledge/2`.
    #[schemars(extend("const" = FORMAT))]
    pub format: String,
    /// Sorted, and no two alike.
    pub known: Vec<Known>,
}

/// The findings of one scenario in which one call of one kind of socket failed alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// On which system.
    pub os: Os,
    /// Which call.
    pub call: Call,
    /// Whether it found its source port.
    pub port: PortChoice,
    /// What it gave.
    pub errno: ErrnoName,
    /// What it ran into.
    pub cause: Cause,
    /// The scenario's id.
    pub scenario: String,
    /// How it is known.
    pub basis: Basis,
    /// The stack that was observed (`linux 6.18`), or the authority of what is only expected.
    pub by: String,
    /// Whether somebody behind a command speaks for that stack.
    #[serde(default, skip_serializing_if = "is_false")]
    pub behind: bool,
    /// Absent where the case leaves it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Absent where the case leaves it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The socket's options.
    pub reuse: Reuse,
    /// How many findings it stands for.
    pub findings: u64,
    /// The id of one of their cases.
    pub example: String,
}

/// What is known of a call, before the evidence is weighed. An open field takes every value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallQuery {
    /// On which system.
    pub os: Option<Os>,
    /// Empty: every call.
    pub calls: Vec<Call>,
    /// Which errno.
    pub errno: Option<ErrnoName>,
    /// Whether the call found its source port.
    pub port: Option<PortChoice>,
    /// Which transport.
    pub protocol: Option<Protocol>,
    /// Which address family.
    pub family: Option<Family>,
    /// Which options.
    pub reuse: Option<Reuse>,
}

impl CallQuery {
    /// Whether this may be what was asked for.
    pub fn selects(&self, known: &Known) -> bool {
        fn is<T: PartialEq>(asked: Option<T>, value: T) -> bool {
            asked.is_none_or(|asked| asked == value)
        }
        // Neither side has to name its kind of socket.
        fn may_be<T: PartialEq>(asked: Option<T>, value: Option<T>) -> bool {
            value.is_none_or(|value| is(asked, value))
        }
        is(self.os, known.os)
            && (self.calls.is_empty() || self.calls.contains(&known.call))
            && is(self.errno, known.errno)
            && (known.port == PortChoice::None || is(self.port, known.port))
            && may_be(self.protocol, known.protocol)
            && may_be(self.family, known.family)
            && is(self.reuse, known.reuse)
    }
}

/// One cause with all that speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked<'k> {
    /// The cause.
    pub cause: Cause,
    /// How many scenarios have it.
    pub scenarios: u64,
    /// How many findings have it.
    pub findings: u64,
    /// The best reason for it.
    pub basis: Basis,
    /// All that speaks for it.
    pub known: Vec<&'k Known>,
}

/// How many scenarios there are; what is known without one has none.
fn scenarios(known: &[&Known]) -> u64 {
    let named = known.iter().map(|known| &known.scenario).filter(|scenario| !scenario.is_empty());
    named.collect::<BTreeSet<_>>().len() as u64
}

/// The causes in what is known: by the best reason for each, so that what was observed comes first and what is only
/// expected last; then by scenarios, then by findings.
///
/// A scenario is a situation that somebody thought of, and has as many findings as its axes have values: that is why
/// scenarios count before findings.
pub fn rank<'k>(known: impl IntoIterator<Item = &'k Known>) -> Vec<Ranked<'k>> {
    let mut causes: BTreeMap<Cause, Vec<&Known>> = BTreeMap::new();
    for known in known {
        causes.entry(known.cause).or_default().push(known);
    }
    let mut ranked: Vec<Ranked<'_>> = causes
        .into_iter()
        .map(|(cause, known)| Ranked {
            cause,
            scenarios: scenarios(&known),
            findings: known.iter().map(|known| known.findings).sum(),
            basis: known.iter().map(|known| known.basis).min().unwrap_or(Basis::Expected),
            known,
        })
        .collect();
    ranked.sort_by_key(|ranked| (ranked.basis, Reverse((ranked.scenarios, ranked.findings)), ranked.cause));
    ranked
}

/// The causes that are known to give this errno to this call of a probe on a kernel of this release, the most likely
/// first.
///
/// Empty where no finding has it. A probe's socket is new, so that its state is never the cause.
pub fn causes(signal: &Signal, kernel: &Version) -> Vec<Cause> {
    let Signal { os, call, port, protocol, family, errno, .. } = *signal;
    let query = CallQuery {
        os: Some(os),
        calls: vec![call.into()],
        errno: Some(errno),
        port: Some(port),
        protocol: Some(protocol),
        family: Some(family),
        reuse: None,
    };
    let probes = |known: &&Known| known.cause != Cause::SocketState && ProbeCall::new(known.call).is_some();
    let knowledge = Knowledge::built_in();
    let known = knowledge.of_stack(knowledge.most_like(os, kernel), |known| query.selects(known) && probes(&known));
    rank(known).into_iter().map(|ranked| ranked.cause).collect()
}

impl Knowledge {
    /// What the committed baselines say. `ci/generated.sh` makes the file, and the tests hold it against them.
    pub fn built_in() -> &'static Knowledge {
        static BUILT_IN: LazyLock<Knowledge> = LazyLock::new(|| {
            serde_json::from_str(include_str!("builtin/knowledge.json")).expect("the tests read the file")
        });
        &BUILT_IN
    }

    /// The failed calls in reports of systems' own stacks: those that were observed, and those that somebody only
    /// expects.
    pub fn of<'r>(reports: impl IntoIterator<Item = &'r Report>) -> Knowledge {
        let mut cases: BTreeMap<Known, BTreeSet<String>> = BTreeMap::new();
        for report in reports.into_iter().filter(|report| report.host.is_own()) {
            for finding in &report.findings {
                for known in of_finding(finding, &report.host) {
                    // Reports of one stack, and what several expect of another, say the same of the same case.
                    cases.entry(known).or_default().insert(finding.case.to_string());
                }
            }
        }
        let known = cases.into_iter().map(|(known, cases)| {
            let example = cases.first().cloned().unwrap_or_default();
            Known { findings: cases.len() as u64, example, ..known }
        });
        Knowledge { format: FORMAT.to_owned(), known: known.collect() }
    }

    /// What is known of a stack, with what others observed of scenarios that it knows nothing of: its report may be
    /// older than they are. Only where that is nothing, what is known of all: other releases have other reasons for the
    /// same errno.
    pub fn of_stack(&self, stack: Option<&str>, selects: impl Fn(&Known) -> bool) -> Vec<&Known> {
        let is_own = |known: &Known| Some(&*known.by) == stack;
        let ran: BTreeSet<&str> =
            self.known.iter().filter(|known| is_own(known)).map(|known| &*known.scenario).collect();
        let selected: Vec<&Known> = self.known.iter().filter(|known| selects(known)).collect();
        let new = |known: &Known| stack.is_some() && known.basis.is_of_a_host() && !ran.contains(&*known.scenario);
        let own: Vec<&Known> = selected.iter().copied().filter(|known| is_own(known) || new(known)).collect();
        if own.is_empty() { selected } else { own }
    }

    /// The newest observed stack that is not newer than this kernel, or else the oldest.
    pub fn most_like(&self, os: Os, kernel: &Version) -> Option<&str> {
        let observed = self.known.iter().filter(|known| known.os == os && known.basis == Basis::Observed);
        let names: BTreeSet<&str> = observed.map(|known| &*known.by).collect();
        let stacks: BTreeMap<Version, &str> = names.into_iter().map(|by| (stack_version(os, by), by)).collect();
        let older = stacks.range(..=kernel).next_back();
        older.or(stacks.first_key_value()).map(|(_, stack)| *stack)
    }

    /// This and `newer`, which is believed where both observed a scenario on the same stack.
    pub fn and(&self, newer: Knowledge) -> Knowledge {
        let alike = |one: &Known, other: &Known| {
            let observed = one.basis.is_of_a_host();
            (one.os, observed, &one.by, &one.scenario)
                == (other.os, other.basis.is_of_a_host(), &other.by, &other.scenario)
                && (observed || (one.call, one.port, one.errno) == (other.call, other.port, other.errno))
        };
        let kept = self.known.iter().filter(|old| !newer.known.iter().any(|new| alike(old, new))).cloned();
        let mut known: Vec<Known> = kept.chain(newer.known.iter().cloned()).collect();
        known.sort();
        Knowledge { format: FORMAT.to_owned(), known }
    }

    /// One entry a line, so that a difference is readable.
    pub fn write(&self) -> String {
        let lines: Vec<String> = self.known.iter().map(|known| serde_json::json!(known).to_string()).collect();
        format!("{{\"format\":\"{}\",\"known\":[\n{}\n]}}\n", self.format, lines.join(",\n"))
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Without counts and examples. Where a kernel may choose, what it chose is observed and the rest is as good.
fn of_finding(finding: &Finding, host: &Host) -> Vec<Known> {
    let Host { os, stack, behind, .. } = host;
    // What failed on a socket of the family unix is nothing that a text with addresses and ports could be about.
    let SocketKind::Ip(IpSocket { protocol, family, reuse }) = finding.subject.socket else { return Vec::new() };
    let known = |os, basis: Basis, by: &str, errno| Known {
        os,
        call: finding.subject.call,
        port: finding.subject.port,
        errno,
        cause: finding.cause,
        scenario: finding.scenario.to_string(),
        basis,
        by: by.to_owned(),
        behind: behind.is_some() && basis.is_of_a_host(),
        protocol: Some(protocol),
        family: Some(family),
        reuse,
        findings: 0,
        example: String::new(),
    };
    let expected = |os, expectations: &[Expectation]| {
        let expectations = expectations.iter().filter_map(|expectation| {
            let by = expectation.authority?.as_str();
            Some(known(os, Basis::of(expectation), by, ErrnoName::new(&expectation.outcome)?))
        });
        expectations.collect::<Vec<_>>()
    };
    let mut all: Vec<Known> =
        finding.elsewhere.iter().flat_map(|(&os, expectations)| expected(os, expectations)).collect();
    match (finding.verdict(), finding.outcome()) {
        (Verdict::Match | Verdict::Mismatch, Some(outcome)) => {
            let observed = outcome.name();
            all.extend(ErrnoName::new(observed).map(|errno| known(*os, Basis::Observed, stack, errno)));
            let others = finding.expected().iter().filter(|expectation| expectation.outcome != observed);
            let others = others.filter_map(|expectation| ErrnoName::new(&expectation.outcome));
            all.extend(others.map(|errno| known(*os, Basis::Permitted, stack, errno)));
        }
        _ => all.extend(expected(*os, finding.expected())),
    }
    all
}

/// The JSON Schema of the file that `condense` writes.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<Knowledge>(FORMAT)
}
