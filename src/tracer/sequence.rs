//! Sequence numbers: each at most once in a round, in order, around the end of their range.
//!
//! In the port mode `sequence` they are source ports; what a port is good for is found out elsewhere.

/// The sequence numbers that there are, and the one to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequences {
    low: u16,
    high: u16,
    next: u16,
    /// How many of them this round has taken.
    taken: u32,
}

impl Sequences {
    /// `low` to `high`, from the `offset`th on. `None` where there would be none.
    pub fn new(low: u16, high: u16, offset: u64) -> Option<Sequences> {
        let size = u64::from(high.checked_sub(low)?) + 1;
        let next = u16::try_from(u64::from(low) + offset % size).ok()?;
        Some(Sequences { low, high, next, taken: 0 })
    }

    /// How many a round has.
    pub fn size(&self) -> u32 {
        u32::from(self.high - self.low) + 1
    }

    pub fn low(&self) -> u16 {
        self.low
    }

    pub fn high(&self) -> u16 {
        self.high
    }

    /// A new round may take each number once more.
    pub fn start_round(&mut self) {
        self.taken = 0;
    }

    /// Whether the round has had all of them.
    pub fn are_spent(&self) -> bool {
        self.taken == self.size()
    }

    /// The next number; `None` once they are spent.
    pub fn take(&mut self) -> Option<u16> {
        if self.are_spent() {
            return None;
        }
        self.taken += 1;
        let taken = self.next;
        self.next = if taken == self.high { self.low } else { taken + 1 };
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_each_number_once_and_goes_on_where_the_last_one_ended() {
        let mut sequences = Sequences::new(65_533, 65_535, 4).unwrap();
        let round: Vec<u16> = std::iter::from_fn(|| sequences.take()).collect();
        assert_eq!(round, [65_534, 65_535, 65_533]);
        sequences.start_round();
        assert_eq!(sequences.take(), Some(65_534));
        assert_eq!(Sequences::new(2, 1, 0), None);
    }
}
