//! Sequence numbers: each at most once in a round, in order, around the end of their range.
//!
//! In the port mode `sequence` they are source ports; what a port is good for is found out elsewhere.

/// The sequence numbers that there are, and the one to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequences {
    low: u16,
    high: u16,
    next: u16,
    /// One of them that is never taken.
    except: Option<u16>,
    /// How many of them this round has taken.
    taken: u32,
}

impl Sequences {
    /// `low` to `high`, from the `offset`th on. `None` where there would be none.
    pub fn new(low: u16, high: u16, offset: u64) -> Option<Sequences> {
        let size = u64::from(high.checked_sub(low)?) + 1;
        let next = u16::try_from(u64::from(low) + offset % size).ok()?;
        Some(Sequences { low, high, next, except: None, taken: 0 })
    }

    /// The same without this one.
    pub fn without(self, number: u16) -> Sequences {
        Sequences { except: Some(number).filter(|number| (self.low..=self.high).contains(number)), ..self }
    }

    /// How many a round has.
    pub fn size(&self) -> u32 {
        u32::from(self.high - self.low) + 1 - u32::from(self.except.is_some())
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
        if Some(self.next) == self.except {
            self.advance();
        }
        let taken = self.next;
        self.advance();
        Some(taken)
    }

    fn advance(&mut self) {
        self.next = if self.next == self.high { self.low } else { self.next + 1 };
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
        let mut sequences = Sequences::new(1, 3, 0).unwrap().without(2).without(9);
        assert_eq!(std::iter::from_fn(|| sequences.take()).collect::<Vec<_>>(), [1, 2, 3]);
        let mut sequences = Sequences::new(1, 3, 1).unwrap().without(2);
        assert_eq!(std::iter::from_fn(|| sequences.take()).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(Sequences::new(2, 2, 0).unwrap().without(2).take(), None);
    }
}
