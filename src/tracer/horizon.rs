//! How far ahead a round looks while the end of the path is unknown.
//!
//! Each answer shows that the path is longer, and only then do probes go further. So at most half as many probes as the
//! path has hops are in vain. After some time of silence the horizon grows without an answer.

use std::time::Duration;

/// The first round begins with this many TTLs at once.
const START: u8 = 7;

/// The share of `wait` after which silence makes the horizon grow.
const STALL_SHARE: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// The last TTL that may be probed now.
    ttl: u8,
    last: u8,
    /// Whether the path was seen to end there: silence is then no reason to look further.
    known: bool,
}

impl Horizon {
    /// For TTLs from `first` to `last`.
    pub fn new(first: u8, last: u8) -> Horizon {
        Horizon { ttl: first.saturating_add(START - 1).min(last), last, known: false }
    }

    /// Where the path was seen to end at `end`.
    pub fn known(end: u8, last: u8) -> Horizon {
        Horizon { ttl: end, last, known: true }
    }

    pub fn ttl(self) -> u8 {
        self.ttl
    }

    pub fn is_open(self) -> bool {
        self.ttl < self.last && !self.known
    }

    /// A router answered at `ttl`, so that the path has at least one hop more.
    pub fn answered(&mut self, ttl: u8) {
        if self.known && ttl < self.ttl {
            return;
        }
        self.known = false;
        let hops = u16::from(ttl) + 1;
        self.raise(hops + hops / 2);
    }

    /// Nobody has answered for a while: silent routers may be what fills the horizon.
    pub fn stalled(&mut self) {
        self.raise(u16::from(self.ttl) * 2);
    }

    fn raise(&mut self, ttl: u16) {
        let ttl = u8::try_from(ttl).unwrap_or(u8::MAX);
        self.ttl = self.ttl.max(ttl.min(self.last));
    }

    /// How long nothing may happen before it counts as silence: a fraction of `wait`, but longer than the slowest
    /// answer so far has shown answers to take.
    pub fn stall_timeout(wait: Duration, slowest: Duration) -> Duration {
        (wait / STALL_SHARE).max(slowest * 2).min(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_half_of_the_hops_are_probed_in_vain() {
        for hops in 5..=255_u8 {
            let mut horizon = Horizon::new(1, 255);
            for router in 1..hops {
                horizon.answered(router);
            }
            assert!(2 * u16::from(horizon.ttl()) <= 3 * u16::from(hops), "{hops} hops: {horizon:?}");
            assert!(horizon.ttl() >= hops, "{hops} hops are all within {horizon:?}");
        }
    }

    #[test]
    fn silence_opens_the_whole_range_in_a_few_steps() {
        let mut horizon = Horizon::new(1, 30);
        let steps = std::iter::from_fn(|| {
            horizon.is_open().then(|| {
                horizon.stalled();
                horizon.ttl()
            })
        });
        assert_eq!(steps.collect::<Vec<_>>(), [14, 28, 30]);
    }
}
