//! What a trace leaves behind: every probe with its result, and why the trace ended.
//!
//! Hops are not kept: they are a view of the probes. `render` shows all this.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Meaning, PortModeName, TracerCall};
use crate::knowledge::policy::{Action, Signal};
use crate::words::cause::Cause;
use crate::words::names::{Os, Reuse, words};
use crate::words::untrusted::Text;

/// The version of the format of a trace, its first field.
pub const FORMAT: &str = "errnoscope-trace/2";

/// One trace, finished or under way.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Trace {
    pub settings: Choices,
    /// Every probe that was issued, in order.
    pub probes: Vec<ProbeRecord>,
    /// Rounds that have begun.
    pub rounds: u32,
    /// Absent while the trace goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<RoundEnd>,
}

/// The settings that a reader of the result needs.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Choices {
    pub os: Os,
    pub target: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    pub first_ttl: u8,
    pub max_ttl: u8,
    pub queries: u8,
    pub rounds: u32,
    pub wait_ms: u64,
    pub interval_ms: u64,
    pub in_flight: u64,
    pub port_mode: PortModeName,
    /// In the mode `fixed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_port: Option<u16>,
    pub first_sequence: u16,
    pub last_sequence: u16,
    pub reuse: Reuse,
    /// The name of the policy that decided.
    pub policy: String,
}

words! {
    /// What became of a probe.
    Fate {
        /// It has left, and its answer is waited for.
        UnderWay = "under-way",
        /// Its port was taken, as the policy sees it, and it was issued again with the next sequence number. What came
        /// back for it says nothing about the path.
        Skipped = "skipped",
        /// It was never sent.
        Failed = "failed",
        /// Somebody answered.
        Answered = "answered",
        /// Nobody answered in time.
        Silent = "silent",
        /// Its answer was not waited for: the path was known to end before its TTL, or the trace ended.
        Abandoned = "abandoned",
    }
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ProbeRecord {
    /// From 1.
    pub round: u32,
    pub ttl: u8,
    /// No two probes of a round have the same.
    pub sequence: u16,
    /// Where it was sent from, or should have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SocketAddr>,
    /// When it was issued, in milliseconds since the trace began.
    pub at_ms: f64,
    pub fate: Fate,
    /// The call that failed, and what the policy made of it. EINPROGRESS is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Reply>,
}

impl ProbeRecord {
    /// Whether it left this host, as far as one can tell.
    pub fn was_sent(&self) -> bool {
        match self.fate {
            Fate::UnderWay | Fate::Answered | Fate::Silent | Fate::Abandoned => true,
            Fate::Skipped | Fate::Failed => false,
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Failure {
    pub call: TracerCall,
    pub operands: String,
    pub errno: String,
    pub raw: i32,
    /// Absent where no policy has a say: of calls that it does not know, and where the host itself told the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What the policy made of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Decision {
    /// The rule that decided, from 1.
    pub rule: u64,
    pub action: Action,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Reply {
    pub meaning: Meaning,
    /// Who answered, where the network shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// The ICMP error, where the network shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpError>,
    /// From the probe's departure to its answer.
    pub rtt_ms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct IcmpError {
    #[serde(rename = "type")]
    pub kind: u8,
    pub code: u8,
}

/// Why a trace is over.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum RoundEnd {
    /// The target answered: its port is open, or closed.
    Reached {
        ttl: u8,
        open: bool,
    },
    /// Somebody says that there is no way to the target.
    Unreachable {
        ttl: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<IpAddr>,
    },
    /// The target answered to no TTL.
    NotReached,
    /// No probe could be sent at all.
    NothingSent {
        tried: Vec<Tried>,
    },
    /// A real error, as the policy sees it.
    Aborted(Abort),
    /// Every sequence number of the round was tried.
    SequencesSpent {
        round: u32,
        numbers: u64,
        tried: Vec<Tried>,
    },
    Interrupted,
}

impl RoundEnd {
    pub fn is_reached(&self) -> bool {
        matches!(self, RoundEnd::Reached { .. })
    }
}

/// The failure that ended a trace.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Abort {
    pub failure: Failure,
    /// Every cause that is known to give this errno to this call, the likeliest first; none where nobody knows.
    pub causes: Vec<Cause>,
}

/// Failures that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Tried {
    pub call: TracerCall,
    pub errno: String,
    pub count: u64,
}

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.count, self.call, self.errno)
    }
}

/// How many probes became what. `issued` is the sum of `sent`, `skipped` and `failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Totals {
    pub issued: u64,
    pub sent: u64,
    pub skipped: u64,
    pub failed: u64,
    pub answered: u64,
}

/// All that is known of one TTL.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Hop {
    pub ttl: u8,
    pub totals: Totals,
    /// Who answered, in the order of their first answers. More than one where the path varies.
    pub answers: Vec<Responder>,
}

/// One that answered at a hop.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Responder {
    /// Absent where the network does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// What the system's resolver calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    pub meaning: Meaning,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpError>,
    /// In milliseconds, in the order of the answers.
    pub rtts_ms: Vec<f64>,
}

impl Trace {
    pub fn totals(&self) -> Totals {
        totals(self.probes.iter())
    }

    /// What is known of each TTL, from the first to the last that matters: the end of the path, or the last TTL that
    /// was probed.
    pub fn hops(&self) -> Vec<Hop> {
        let mut fold: Fold<Vec<f64>> = Fold::default();
        self.probes.iter().for_each(|record| fold.add(record));
        fold.hops(|ttl, totals, answers| {
            let responder =
                |(address, meaning, icmp, rtts_ms)| Responder { address, name: None, meaning, icmp, rtts_ms };
            Hop { ttl, totals, answers: answers.into_iter().map(responder).collect() }
        })
    }

    /// The first probe from `from` on that may still be answered, or the number of probes.
    pub fn settled(&self, from: usize) -> usize {
        let under_way = self.probes[from..].iter().position(|record| record.fate == Fate::UnderWay);
        under_way.map_or(self.probes.len(), |index| from + index)
    }

    /// Failures of probes that were not sent, counted by call and errno.
    pub fn tried<'t>(records: impl Iterator<Item = &'t ProbeRecord>) -> Vec<Tried> {
        let mut counts: BTreeMap<(TracerCall, &str), u64> = BTreeMap::new();
        for failure in records.filter(|record| !record.was_sent()).filter_map(|record| record.failure.as_ref()) {
            *counts.entry((failure.call, &failure.errno)).or_default() += 1;
        }
        let tried = counts.into_iter();
        tried.map(|((call, errno), count)| Tried { call, errno: errno.to_owned(), count }).collect()
    }
}

fn totals<'r>(records: impl Iterator<Item = &'r ProbeRecord>) -> Totals {
    let mut totals = Totals::default();
    records.for_each(|record| totals.add(record));
    totals
}

impl Totals {
    fn add(&mut self, record: &ProbeRecord) {
        self.issued += 1;
        match record.fate {
            Fate::Skipped => self.skipped += 1,
            Fate::Failed => self.failed += 1,
            Fate::UnderWay | Fate::Silent | Fate::Abandoned => self.sent += 1,
            Fate::Answered => {
                self.sent += 1;
                self.answered += 1;
            }
        }
    }
}

/// What is kept of the times of one responder.
pub(super) trait Rtts: Clone + Default {
    fn add(&mut self, ms: f64);
}

impl Rtts for Vec<f64> {
    fn add(&mut self, ms: f64) {
        self.push(ms);
    }
}

/// Who answered, how, and how fast.
pub(super) type ReplyKind<T> = (Option<IpAddr>, Meaning, Option<IcmpError>, T);

/// Records in the order of their probes, as hops.
#[derive(Clone, Debug, Default)]
pub(super) struct Fold<T> {
    by_ttl: BTreeMap<u8, (Totals, Vec<ReplyKind<T>>)>,
    round: u32,
    /// Where the path ends in this round.
    end: Option<u8>,
    /// Where it ended furthest in the rounds before: if it has changed, its longest form is shown.
    furthest: Option<u8>,
}

impl<T: Rtts> Fold<T> {
    pub fn add(&mut self, record: &ProbeRecord) {
        let (totals, replies) = self.by_ttl.entry(record.ttl).or_default();
        totals.add(record);
        if record.round != self.round {
            self.furthest = self.furthest.max(self.end.take());
            self.round = record.round;
        }
        let Some(answer) = &record.answer else { return };
        if answer.meaning.ends_path() {
            self.end = Some(self.end.map_or(record.ttl, |end| end.min(record.ttl)));
        }
        let key = (answer.from, answer.meaning, answer.icmp);
        match replies.iter_mut().find(|(from, meaning, icmp, _)| (*from, *meaning, *icmp) == key) {
            Some((.., rtts)) => rtts.add(answer.rtt_ms),
            None => {
                let mut rtts = T::default();
                rtts.add(answer.rtt_ms);
                replies.push((answer.from, answer.meaning, answer.icmp, rtts));
            }
        }
    }

    /// Up to the end of the path, or up to the last TTL that was probed.
    pub fn hops<H>(self, hop: impl Fn(u8, Totals, Vec<ReplyKind<T>>) -> H) -> Vec<H> {
        let last = self.furthest.max(self.end).unwrap_or(u8::MAX);
        let hops = self.by_ttl.into_iter().filter(|(ttl, _)| *ttl <= last);
        hops.map(|(ttl, (totals, replies))| hop(ttl, totals, replies)).collect()
    }
}

/// Milliseconds with microseconds.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// What `causes` are asked for: the failed call as the policy saw it, and whose release gave the errno. Where the host
/// has told the cause, nobody asks.
pub(super) fn abort(
    failure: Failure,
    known: Option<Cause>,
    signal: Option<&Signal>,
    kernel: &semver::Version,
) -> Abort {
    let causes = match (known, signal) {
        (Some(cause), _) => vec![cause],
        (None, Some(signal)) => crate::knowledge::policy::causes::causes(signal, kernel),
        (None, None) => Vec::new(),
    };
    Abort { failure, causes }
}
