//! Sequence numbers: each at most once in a round, in order, wrapping at the end of their range.
//!
//! In the port mode `sequence` they are source ports. It does not know whether a port is free.

use crate::words::ports::PortRange;

/// The sequence numbers that there are, and the one to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequences {
    range: PortRange,
    next: u16,
    /// One of them that is never taken.
    except: Option<u16>,
    /// How many of them this round has taken.
    taken: u32,
}

impl Sequences {
    /// Those of the range, from the `offset`th on.
    pub fn new(range: PortRange, offset: u64) -> Sequences {
        let next = range.low() + (offset % u64::from(range.size())) as u16;
        Sequences { range, next, except: None, taken: 0 }
    }

    /// The same without this one.
    pub fn without(self, number: u16) -> Sequences {
        Sequences { except: Some(number).filter(|number| self.range.contains(*number)), ..self }
    }

    /// How many a round has.
    pub fn size(&self) -> u32 {
        self.range.size() - u32::from(self.except.is_some())
    }

    pub fn range(&self) -> PortRange {
        self.range
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
        self.next = if self.next == self.range.high() { self.range.low() } else { self.next + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_each_number_once_and_goes_on_where_the_last_one_ended() {
        let mut sequences = Sequences::new(PortRange::of::<65_533, 65_535>(), 4);
        let round: Vec<u16> = std::iter::from_fn(|| sequences.take()).collect();
        assert_eq!(round, [65_534, 65_535, 65_533]);
        sequences.start_round();
        assert_eq!(sequences.take(), Some(65_534));
        let mut sequences = Sequences::new(PortRange::of::<1, 3>(), 0).without(2).without(9);
        assert_eq!(std::iter::from_fn(|| sequences.take()).collect::<Vec<_>>(), [1, 2, 3]);
        let mut sequences = Sequences::new(PortRange::of::<1, 3>(), 1).without(2);
        assert_eq!(std::iter::from_fn(|| sequences.take()).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(Sequences::new(PortRange::of::<2, 2>(), 0).without(2).take(), None);
    }
}
