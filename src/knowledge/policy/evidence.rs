//! What reports say about signals: which cause was behind each of them.
//!
//! Only findings with a confirmed situation count. Expectations for other systems count if nobody has observed them,
//! and stay marked as expected.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ProbeCall, Signal};
use crate::plan::{IpSocket, Op, SocketKind};
use crate::report::finding::{Behind, Finding, Report, Verdict, behind};
use crate::scenario::Expectation;
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Authority, Family, Os, PortChoice, Protocol, words};

words! {
    /// Why a signal is believed to come from a cause, the best reason first.
    Basis {
        /// A kernel gave it, and its situation was confirmed.
        Observed = "observed",
        /// A kernel that may choose gave another outcome, but this one is as good.
        Permitted = "permitted",
        /// XNU's own networking code gave it, which ran in user space on Linux: no Mac.
        XnuRun = "xnu-run",
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
pub struct CausedSignal {
    /// What a tracer knows.
    pub signal: Signal,
    /// What it does not know.
    pub cause: Cause,
    /// How that is known.
    pub basis: Basis,
    /// The scenario's id.
    pub scenario: String,
    /// The case's id.
    pub case: String,
}

/// All that some reports say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Sorted, and no two alike.
    pub items: Vec<CausedSignal>,
    /// Findings (and expectations of systems that nobody observed) that say nothing, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
    /// The stacks that were observed: `linux 6.18`.
    pub stacks: BTreeSet<String>,
    /// Those of them that somebody behind a command speaks for.
    pub behind: Behind,
    /// The systems whose behaviour is only expected.
    pub expected: BTreeSet<Os>,
}

impl Basis {
    /// Whether a kernel was there that gave it, or chose otherwise.
    pub fn is_of_a_host(self) -> bool {
        matches!(self, Basis::Observed | Basis::Permitted)
    }

    /// That of what is expected of a system which nobody observed.
    pub fn of(expectation: &Expectation) -> Basis {
        if expectation.authority == Some(Authority::XnuRun) { Basis::XnuRun } else { Basis::Expected }
    }
}

/// Takes the items out of reports.
pub fn evidence<'r>(reports: impl IntoIterator<Item = &'r Report> + Clone) -> Evidence {
    let own = || reports.clone().into_iter().map(|report| &report.host).filter(|host| host.is_own());
    let observed: BTreeSet<Os> = own().map(|host| host.os).collect();
    let mut evidence = Evidence { behind: behind(own()), ..Evidence::default() };
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
                let outcomes = expected.iter().map(|one| (one.outcome.as_str(), Basis::of(one)));
                evidence.add(finding, os, outcomes);
            }
        }
    }
    evidence.items.sort();
    evidence.items.dedup();
    evidence.keep_the_best();
    evidence
}

impl Evidence {
    fn observe(&mut self, finding: &Finding, os: Os) {
        let (Verdict::Match | Verdict::Mismatch, Some(outcome)) = (finding.verdict(), finding.outcome()) else {
            return self.leave_out(LeftOut::Unconfirmed);
        };
        // Where the kernel may choose, what it chose today must not make a difference.
        let permitted = finding.expected().iter().map(|expectation| expectation.outcome.as_str());
        let others = permitted.filter(|name| *name != "unknown" && *name != outcome.name());
        let others = others.map(|name| (name, Basis::Permitted));
        self.add(finding, os, others.chain([(outcome.name(), Basis::Observed)]));
    }

    /// One item for each outcome that is an errno, or one reason why there is none.
    fn add<'n>(&mut self, finding: &Finding, os: Os, outcomes: impl Iterator<Item = (&'n str, Basis)>) {
        let call = ProbeCall::new(finding.subject.call)
            .filter(|_| is_of_a_probe(finding.subject.socket, finding.trail.iter().map(|entry| &entry.op)));
        let call = call.filter(|call| (*call == ProbeCall::Socket) == (finding.subject.port == PortChoice::None));
        let (Some(call), SocketKind::Ip(socket)) = (call, finding.subject.socket) else {
            return self.leave_out(LeftOut::NoProbe);
        };
        let mut without = None;
        let mut found = false;
        for (name, basis) in outcomes {
            match (name, ErrnoName::new(name)) {
                ("ok" | "blocked", _) => without = without.or(Some(LeftOut::NotFailed)),
                ("unknown" | "not-reached", _) => without = without.or(Some(LeftOut::Unknown)),
                (_, Some(errno)) if errno.raw(os).is_some() => {
                    found = true;
                    let (port, IpSocket { protocol, family, reuse }) = (finding.subject.port, socket);
                    self.items.push(CausedSignal {
                        signal: Signal { os, call, port, protocol, family, reuse, errno },
                        cause: finding.cause,
                        basis,
                        scenario: finding.scenario.to_string(),
                        case: finding.case.to_string(),
                    });
                    if !basis.is_of_a_host() {
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

    /// Older reports may only expect what newer ones have a better reason for.
    fn keep_the_best(&mut self) {
        let run = self.items.iter().filter(|item| item.basis == Basis::XnuRun);
        let run: BTreeSet<CausedSignal> =
            run.map(|item| CausedSignal { basis: Basis::Expected, ..item.clone() }).collect();
        self.items.retain(|item| !run.contains(item));
    }

    fn leave_out(&mut self, reason: LeftOut) {
        *self.left_out.entry(reason).or_default() += 1;
    }
}

/// Whether a probe could make the last of these ops, as far as they tell: its TCP connect() never waits, and reads
/// SO_ERROR instead; and its socket is given whole addresses, of the socket's family alone.
pub fn is_of_a_probe<'o>(socket: SocketKind, ops: impl DoubleEndedIterator<Item = &'o Op> + Clone) -> bool {
    let SocketKind::Ip(IpSocket { family, protocol, .. }) = socket else { return false };
    let last = ops.clone().next_back();
    let waits = protocol == Protocol::Tcp && matches!(last, Some(Op::Connect { nonblocking: false, .. }));
    let name = last.and_then(Op::socket);
    let mut given = ops.filter(|op| op.socket() == name);
    !waits
        && given.all(|op| match op {
            Op::Bind { address, length, .. } | Op::Connect { address, length, .. } => {
                // An IPv4-mapped address is one of IPv4 in the clothes of IPv6.
                Family::of(*address) == family && *address == address.to_canonical() && length.is_none()
            }
            _ => true,
        })
}
