//! What reports say about signals: which cause stood behind which of them.
//!
//! Only findings whose situation was confirmed count. What other systems are expected to do counts where nobody has
//! observed them, and stays marked as expected.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ProbeCall, Signal};
use crate::cause::Cause;
use crate::errno::ErrnoName;
use crate::finding::{Finding, Report, TrailEntry, Verdict};
use crate::names::{Family, Os, PortChoice, Protocol, Reuse, words};
use crate::plan::Outcome;
use crate::untrusted::Text;

words! {
    /// Why a signal is believed to come from a cause.
    Basis {
        /// A kernel gave it, and its situation was confirmed.
        Observed = "observed",
        /// A kernel that may choose gave another outcome, but this one is as good.
        Permitted = "permitted",
        /// Documents or sources say that a system would give it; nobody has looked.
        Expected = "expected",
    }
}

words! {
    /// Why a finding says nothing about a policy.
    LeftOut {
        /// The call did not fail.
        NotFailed = "not-failed",
        /// No probe makes this call.
        NoProbe = "no-probe",
        /// It did not run, or its situation was not confirmed.
        Unconfirmed = "unconfirmed",
        /// Nobody knows what this system answers.
        Unknown = "unknown",
        /// An errno without a name.
        Unreadable = "unreadable",
        /// Of a stack that passes for a system, which no policy tells from it.
        OtherStack = "other-stack",
    }
}

/// One signal with the cause behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    pub signal: Signal,
    pub cause: Cause,
    pub basis: Basis,
    pub scenario: String,
    pub case: String,
}

/// All that some reports say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    pub items: Vec<Item>,
    /// Findings (and expectations of systems that nobody observed) that say nothing, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
    /// The stacks that were observed: `linux 6.18`.
    pub stacks: BTreeSet<String>,
    /// The systems whose behaviour is only expected.
    pub expected: BTreeSet<Os>,
}

/// Takes the items out of reports.
pub fn evidence<'r>(reports: impl IntoIterator<Item = &'r Report> + Clone) -> Evidence {
    let own = reports.clone().into_iter().filter(|report| report.host.is_own());
    let observed: BTreeSet<Os> = own.map(|report| report.host.os).collect();
    let mut evidence = Evidence::default();
    for report in reports {
        if !report.host.is_own() {
            *evidence.left_out.entry(LeftOut::OtherStack).or_default() += report.findings.len() as u64;
            continue;
        }
        evidence.stacks.insert(report.host.stack.to_string());
        for finding in &report.findings {
            evidence.observe(finding, report.host.os);
            // Several reports of one catalogue expect the same of a system that none of them observed.
            for (&os, expected) in finding.elsewhere.iter().filter(|(os, _)| !observed.contains(os)) {
                let names = expected.iter().map(|expectation| expectation.outcome.as_str());
                evidence.add(finding, os, names, None);
            }
        }
    }
    evidence.items.sort();
    evidence.items.dedup();
    evidence
}

impl Evidence {
    fn observe(&mut self, finding: &Finding, os: Os) {
        let (Verdict::Match | Verdict::Mismatch, Some(outcome)) = (finding.verdict(), &finding.outcome) else {
            return self.leave_out(LeftOut::Unconfirmed);
        };
        // Where the kernel may choose, what it chose today must not make a difference.
        let permitted = finding.expected.iter().map(|expectation| expectation.outcome.as_str());
        let mut names: Vec<&str> = permitted.filter(|name| *name != "unknown").collect();
        if !names.contains(&outcome.name()) {
            names.push(outcome.name());
        }
        self.add(finding, os, names.into_iter(), Some(outcome));
    }

    /// One item for each outcome that is an errno, or one reason why there is none.
    fn add<'n>(
        &mut self,
        finding: &Finding,
        os: Os,
        outcomes: impl Iterator<Item = &'n str>,
        observed: Option<&Outcome>,
    ) {
        let call = ProbeCall::new(finding.subject.call);
        let Some(call) = call.filter(|call| (*call == ProbeCall::Socket) == (finding.subject.port == PortChoice::None))
        else {
            return self.leave_out(LeftOut::NoProbe);
        };
        let mut without = None;
        let mut found = false;
        for name in outcomes {
            let sockets = sockets(finding);
            match (name, ErrnoName::new(name)) {
                ("ok" | "blocked", _) => without = without.or(Some(LeftOut::NotFailed)),
                ("unknown" | "not-reached", _) => without = without.or(Some(LeftOut::Unknown)),
                (_, Some(errno)) if !sockets.is_empty() && errno.raw(os).is_some() => {
                    let basis = match observed {
                        None => Basis::Expected,
                        Some(outcome) if outcome.name() == name => Basis::Observed,
                        Some(_) => Basis::Permitted,
                    };
                    for (protocol, family, reuse) in sockets {
                        found = true;
                        let port = finding.subject.port;
                        self.items.push(Item {
                            signal: Signal { os, call, port, protocol, family, reuse, errno },
                            cause: finding.cause,
                            basis,
                            scenario: finding.scenario.to_string(),
                            case: finding.case.to_string(),
                        });
                    }
                    if observed.is_none() {
                        self.expected.insert(os);
                    }
                }
                _ => without = without.or(Some(LeftOut::Unreadable)),
            }
        }
        if !found && let Some(reason) = without {
            self.leave_out(reason);
        }
    }

    fn leave_out(&mut self, reason: LeftOut) {
        *self.left_out.entry(reason).or_default() += 1;
    }
}

/// Every kind of socket that a finding speaks of: what it leaves open, the scenario claims for every value.
fn sockets(finding: &Finding) -> Vec<(Protocol, Family, Reuse)> {
    let (protocol, family, reuse) = socket(finding);
    let protocols = protocol.map_or(Protocol::ALL.to_vec(), |protocol| vec![protocol]);
    let families = family.map_or(Family::ALL.to_vec(), |family| vec![family]);
    protocols.iter().flat_map(|&protocol| families.iter().map(move |&family| (protocol, family, reuse))).collect()
}

/// The kind of socket that made the call, as its trail tells it. A case that did not run has no trail: its axes
/// tell, as far as they do.
pub(super) fn socket(finding: &Finding) -> (Option<Protocol>, Option<Family>, Reuse) {
    let subject = finding.trail.last().and_then(|entry| entry.socket.as_deref());
    let own: Vec<&TrailEntry> =
        finding.trail.iter().map(|entry| &**entry).filter(|entry| entry.socket.as_deref() == subject).collect();
    let opened = own.iter().rev().find(|entry| subject.is_some() && entry.op == "socket");
    let argument = |name: &str| {
        let arguments = opened.iter().flat_map(|entry| entry.arguments.split_whitespace());
        arguments.filter_map(|argument| argument.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let axis = |names: &[&str]| names.iter().find_map(|name| finding.axes.get(*name).map(Text::as_str));
    let protocol = argument("protocol").or_else(|| axis(&["protocol"])).and_then(|word| word.parse().ok());
    let family = argument("family").or_else(|| axis(&["family"])).and_then(|word| word.parse().ok());
    let set = |option: &str| {
        let told = own.iter().rev().filter(|entry| entry.op == "set-option");
        let mut told = told.filter(|entry| entry.arguments.contains(&format!("\"{option}\"")));
        told.next().is_some_and(|entry| entry.arguments.contains("true"))
    };
    let reuse = match opened {
        Some(_) => match (set("reuse-addr"), set("reuse-port")) {
            (false, false) => Reuse::None,
            (true, false) => Reuse::Addr,
            (false, true) => Reuse::Port,
            (true, true) => Reuse::Both,
        },
        None => axis(&["claimer_reuse", "reuse"]).and_then(|word| word.parse().ok()).unwrap_or(Reuse::None),
    };
    (protocol, family, reuse)
}
