//! The shortest rule list that gives each of some points its action.
//!
//! A rule is a box: a set of values for each field. The list is built from the front: a box may come next if all points
//! in it that are still undecided want the same action. It does not know the meaning of the fields.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Action;

/// How many fields a point has. The last one has many values, the others few.
pub const FIELDS: usize = 7;
/// How many boxes the exact search may look at before the greedy list is taken.
const BUDGET: u64 = 4_000_000;

/// The values of a point, as small numbers.
pub type Point = [u8; FIELDS];
/// The values that a rule admits, field by field.
pub type Box = [BTreeSet<u8>; FIELDS];

pub struct Found {
    pub rules: Vec<(Box, Action)>,
    /// Whether no shorter list exists (over the same fields).
    pub shortest: bool,
}

/// A list that decides all `points`, where what no rule catches gets `otherwise`.
///
/// Fields of which `open` is false are not used.
pub fn search(points: &BTreeMap<Point, Action>, open: [bool; FIELDS], otherwise: Action) -> Found {
    let mut search = Search {
        points: points.iter().map(|(&point, &action)| (point, action)).collect(),
        open,
        otherwise,
        budget: BUDGET,
        failed: HashSet::new(),
    };
    let all = Bits::full(search.points.len());
    let greedy = search.greedy(all.clone());
    for length in search.fewest(&all)..greedy.len() {
        search.failed.clear();
        match search.within(&all, length) {
            Some(mut rules) => {
                rules.reverse();
                return Found { rules: search.boxes(rules), shortest: true };
            }
            None if search.budget == 0 => return Found { rules: search.boxes(greedy), shortest: false },
            None => {}
        }
    }
    Found { rules: search.boxes(greedy), shortest: true }
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Bits(Vec<u64>);

impl Bits {
    fn empty(size: usize) -> Bits {
        Bits(vec![0; size.div_ceil(64)])
    }

    fn full(size: usize) -> Bits {
        let mut bits = Bits::empty(size);
        (0..size).for_each(|index| bits.set(index));
        bits
    }

    fn set(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    fn join(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    fn and(&self, other: &Bits) -> Bits {
        Bits(self.0.iter().zip(&other.0).map(|(word, other)| word & other).collect())
    }

    fn without(&self, other: &Bits) -> Bits {
        Bits(self.0.iter().zip(&other.0).map(|(word, other)| word & !other).collect())
    }

    fn is_within(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).all(|(word, other)| word & !other == 0)
    }
}

/// A box that may come next: the undecided points in it, and what they want.
#[derive(Clone)]
struct Candidate {
    covered: Bits,
    action: Action,
    values: Box,
}

struct Search {
    points: Vec<(Point, Action)>,
    open: [bool; FIELDS],
    otherwise: Action,
    budget: u64,
    /// Points that were found not to be decidable within so many rules.
    failed: HashSet<(Bits, usize)>,
}

impl Search {
    fn boxes(&self, rules: Vec<Candidate>) -> Vec<(Box, Action)> {
        rules.into_iter().map(|candidate| (candidate.values, candidate.action)).collect()
    }

    fn of(&self, remaining: &Bits, action: Action) -> Bits {
        let mut bits = Bits::empty(self.points.len());
        for (index, (_, wanted)) in self.points.iter().enumerate() {
            if *wanted == action && remaining.has(index) {
                bits.set(index);
            }
        }
        bits
    }

    /// No list is shorter: each action but the last rule's takes a rule.
    fn fewest(&self, remaining: &Bits) -> usize {
        let wanted = Action::ALL.iter().filter(|&&action| action != self.otherwise);
        wanted.filter(|&&action| !self.of(remaining, action).is_empty()).count()
    }

    fn greedy(&mut self, mut remaining: Bits) -> Vec<Candidate> {
        let mut rules = Vec::new();
        while self.fewest(&remaining) > 0 {
            let candidates = self.candidates(&remaining);
            let finishing = candidates.iter().find(|candidate| self.finishes(candidate, &remaining));
            let Some(next) = finishing.or(candidates.first()).cloned() else { break };
            remaining = remaining.without(&next.covered);
            rules.push(next);
        }
        rules
    }

    /// The rules in reverse, where `length` of them are enough.
    fn within(&mut self, remaining: &Bits, length: usize) -> Option<Vec<Candidate>> {
        let fewest = self.fewest(remaining);
        if fewest == 0 {
            return Some(Vec::new());
        }
        if fewest > length || self.budget == 0 || self.failed.contains(&(remaining.clone(), length)) {
            return None;
        }
        let candidates = self.candidates(remaining);
        let finishing = candidates.iter().find(|candidate| self.finishes(candidate, remaining));
        // A box that decides the last points of its action can stand first in a shortest list: whatever rules of that
        // action the list has elsewhere are not needed then, and the others decide as they did.
        let next: Vec<Candidate> = match finishing {
            Some(candidate) => vec![candidate.clone()],
            None if fewest + 1 > length => Vec::new(),
            None => candidates,
        };
        for candidate in next {
            if let Some(mut rules) = self.within(&remaining.without(&candidate.covered), length - 1) {
                rules.push(candidate);
                return Some(rules);
            }
        }
        self.failed.insert((remaining.clone(), length));
        None
    }

    fn finishes(&self, candidate: &Candidate, remaining: &Bits) -> bool {
        candidate.action != self.otherwise && self.of(remaining, candidate.action) == candidate.covered
    }

    /// The boxes that may come next, those that decide most first, without those that decide less than another.
    fn candidates(&mut self, remaining: &Bits) -> Vec<Candidate> {
        let size = self.points.len();
        let mut masks: Vec<BTreeMap<u8, Bits>> = vec![BTreeMap::new(); FIELDS];
        for (index, (point, _)) in self.points.iter().enumerate().filter(|(index, _)| remaining.has(*index)) {
            for (field, &value) in point.iter().enumerate() {
                masks[field].entry(value).or_insert_with(|| Bits::empty(size)).set(index);
            }
        }
        let actions: Vec<(Action, Bits)> =
            Action::ALL.iter().map(|&action| (action, self.of(remaining, action))).collect();
        let mut found: BTreeMap<Bits, Candidate> = BTreeMap::new();
        let mut start: Box = Default::default();
        self.grow(0, remaining.clone(), &mut start, &masks, &actions, &mut found);
        let mut all: Vec<Candidate> = found.into_values().collect();
        all.sort_by_key(|candidate| std::cmp::Reverse(candidate.covered.count()));
        let mut kept: Vec<Candidate> = Vec::new();
        for candidate in all {
            if !kept.iter().any(|other| candidate.covered.is_within(&other.covered)) {
                kept.push(candidate);
            }
        }
        kept
    }

    /// Every subset of the values of each field, and for the last field the most values that keep the box pure.
    fn grow(
        &mut self,
        field: usize,
        inside: Bits,
        values: &mut Box,
        masks: &[BTreeMap<u8, Bits>],
        actions: &[(Action, Bits)],
        found: &mut BTreeMap<Bits, Candidate>,
    ) {
        if inside.is_empty() || self.budget == 0 {
            return;
        }
        if field == FIELDS - 1 {
            for (action, wanted) in actions {
                self.budget = self.budget.saturating_sub(1);
                let mut covered = Bits::empty(self.points.len());
                let mut last = BTreeSet::new();
                for (&value, mask) in &masks[field] {
                    let part = inside.and(mask);
                    if !part.is_empty() && part.is_within(wanted) {
                        covered.join(&part);
                        last.insert(value);
                    }
                }
                if covered.is_empty() || found.contains_key(&covered) {
                    continue;
                }
                values[field] = last;
                found.insert(covered.clone(), Candidate { covered, action: *action, values: values.clone() });
            }
            return;
        }
        let known: Vec<u8> = masks[field].keys().copied().collect();
        if !self.open[field] {
            values[field] = known.into_iter().collect();
            return self.grow(field + 1, inside, values, masks, actions, found);
        }
        // All values first: of two boxes with the same points the one with fewer conditions is kept.
        for subset in (1..1_u32 << known.len()).rev() {
            let chosen = known.iter().enumerate().filter(|(index, _)| subset & (1 << index) != 0);
            let chosen: BTreeSet<u8> = chosen.map(|(_, &value)| value).collect();
            let mut mask = Bits::empty(self.points.len());
            chosen.iter().for_each(|value| mask.join(&masks[field][value]));
            values[field] = chosen;
            self.grow(field + 1, inside.and(&mask), values, masks, actions, found);
        }
    }
}
