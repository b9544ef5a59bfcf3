//! One round: which TTLs are still to be probed, and where the path ends.
//!
//! It knows no sequence numbers and no sockets.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::horizon::Horizon;

#[derive(Clone, Debug)]
pub struct Round {
    /// From 1.
    pub number: u32,
    pub started: Duration,
    pub horizon: Horizon,
    /// The lowest TTL at which the path was seen to end.
    pub end: Option<u8>,
    /// The slowest answer so far.
    pub slowest: Duration,
    /// When something was last sent or answered.
    pub last_progress: Duration,
    /// The TTL of each probe that is still to be sent, in order.
    queue: VecDeque<u8>,
}

impl Round {
    pub fn new(number: u32, started: Duration, ttls: &RangeInclusive<u8>, queries: u8, horizon: Horizon) -> Round {
        let queue = ttls.clone().flat_map(|ttl| std::iter::repeat_n(ttl, queries.into())).collect();
        Round { number, started, horizon, end: None, slowest: Duration::ZERO, last_progress: started, queue }
    }

    /// The TTL of the probe to send next, if one may be sent now.
    pub fn take(&mut self) -> Option<u8> {
        let ttl = *self.queue.front()?;
        if ttl > self.horizon.ttl() { None } else { self.queue.pop_front() }
    }

    /// Whether nothing is left to send, unless an answer shows that the path is longer than it was.
    pub fn is_sent(&self) -> bool {
        self.queue.front().is_none_or(|ttl| *ttl > self.horizon.ttl() && !self.horizon.is_open())
    }

    /// The probe of this TTL is to be sent again, before all others.
    pub fn again(&mut self, ttl: u8) {
        if self.end.is_none_or(|end| ttl <= end) {
            self.queue.push_front(ttl);
        }
    }

    /// The path ends here: nothing is to be learnt beyond.
    pub fn ended(&mut self, ttl: u8) {
        let end = self.end.map_or(ttl, |end| end.min(ttl));
        self.end = Some(end);
        self.queue.retain(|ttl| *ttl <= end);
        // Up to there everything is worth a probe.
        let last = end.max(self.horizon.ttl());
        self.horizon = Horizon::known(last, last);
    }
}
