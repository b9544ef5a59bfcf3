//! The hops of a trace in progress, for somebody who looks again and again.
//!
//! A look costs as much as one round has hops and probes, however long the trace is: finished rounds are summed up
//! once. Single times are not kept; [`Trace::hops`] has them.

use std::net::IpAddr;

use super::Meaning;
use super::record::{Fold, Hop, IcmpError, Rtts, Totals, Trace};
use crate::words::untrusted::Text;

/// All that is shown of one TTL.
#[derive(Clone, Debug, PartialEq)]
pub struct HopRow {
    pub ttl: u8,
    pub totals: Totals,
    /// Who answered, in the order of their first answers.
    pub answers: Vec<Voice>,
}

/// One that answered at a hop.
#[derive(Clone, Debug, PartialEq)]
pub struct Voice {
    pub address: Option<IpAddr>,
    /// What the system's resolver calls it.
    pub name: Option<Text>,
    pub meaning: Meaning,
    pub icmp: Option<IcmpError>,
    pub times: Times,
}

/// Round-trip times in milliseconds, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    pub count: u64,
    pub best: f64,
    pub sum: f64,
    pub worst: f64,
}

impl Default for Times {
    fn default() -> Times {
        Times { count: 0, best: f64::INFINITY, sum: 0.0, worst: 0.0 }
    }
}

impl Rtts for Times {
    fn add(&mut self, ms: f64) {
        self.count += 1;
        self.best = self.best.min(ms);
        self.sum += ms;
        self.worst = self.worst.max(ms);
    }
}

/// How far a trace has been looked at.
#[derive(Clone, Debug, Default)]
pub struct TraceView {
    settled: Fold<Times>,
    next: usize,
}

impl TraceView {
    /// The hops by now, without names. Always of the same trace.
    pub fn rows(&mut self, trace: &Trace) -> Vec<HopRow> {
        let settled = trace.settled(self.next);
        trace.probes[self.next..settled].iter().for_each(|record| self.settled.add(record));
        self.next = settled;
        let mut now = self.settled.clone();
        trace.probes[settled..].iter().for_each(|record| now.add(record));
        now.hops(|ttl, totals, answers| {
            let voice = |(address, meaning, icmp, times)| Voice { address, name: None, meaning, icmp, times };
            HopRow { ttl, totals, answers: answers.into_iter().map(voice).collect() }
        })
    }

    /// The probes that no look goes over again.
    pub fn settled(&self) -> usize {
        self.next
    }
}

impl From<&Hop> for HopRow {
    fn from(hop: &Hop) -> HopRow {
        let answers = hop.answers.iter().map(|responder| {
            let mut times = Times::default();
            responder.rtts_ms.iter().for_each(|&ms| times.add(ms));
            let (address, name) = (responder.address, responder.name.clone());
            Voice { address, name, meaning: responder.meaning, icmp: responder.icmp, times }
        });
        HopRow { ttl: hop.ttl, totals: hop.totals, answers: answers.collect() }
    }
}
