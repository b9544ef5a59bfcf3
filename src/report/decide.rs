//! What decides: the shortest condition that is true for some cases and for no others.
//!
//! Cases are points in a space of axes with few values each. A condition is one term or another, a term one literal and
//! another, a literal some values of an axis. The exact search takes the fewest terms, then the fewest literals.
//! `Table` knows what axes and values are called.

mod table;

use std::collections::{BTreeMap, HashMap};

use fixedbitset::FixedBitSet;

pub use table::{CaseTable, Part, When};

/// Values of an axis as bits, the value 0 as the lowest.
pub type Set = u128;

/// How many words of places and candidates the exact search looks at, above which there is no proof.
const EXACT: u64 = 1 << 25;
/// The most classes of an axis of which it tries every choice.
const MIXED: usize = 16;
/// How many places a condition is looked for, and how many terms it may have: nobody reads more.
const PLACES: usize = 1 << 14;
const TERMS: usize = 64;

/// True where any of its terms is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    /// None: it holds nowhere.
    pub terms: Vec<Term>,
    /// Whether no condition with fewer terms, or with as many and fewer literals, exists.
    pub shortest: bool,
}

/// True where all of its literals are.
pub type Term = Vec<Literal>;

/// The case has one of some values of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The number of the axis, from 0.
    pub axis: usize,
    /// The values for which it is true, as far as cases that the other literals admit have them.
    pub values: Set,
    /// The values for which it is false, of the same cases.
    pub others: Set,
}

/// The shortest condition that holds at the places which are `true`, and at none of the others; what it says of places
/// that are neither does not count. Nothing if it would be too long for anybody to read, or there are too many places.
///
/// No two places may be equal; each has a value below 128 for each of `axes` axes.
pub fn decide(places: &[(&[u8], bool)], axes: usize) -> Option<Formula> {
    if places.len() > PLACES {
        return None;
    }
    let space = Space::new(places, axes);
    let (cover, shortest) = match space.boxes().and_then(|boxes| space.cover(&boxes)) {
        Some(cover) => (cover, true),
        None => (space.grown()?, false),
    };
    Some(Formula { terms: cover.iter().map(|sets| space.term(places, sets)).collect(), shortest })
}

/// A set of classes for each axis.
type Box = Vec<Set>;

/// The places, with values of an axis that make no difference anywhere as one class.
struct Space {
    /// For each axis the class of each value that a place has.
    classes: Vec<BTreeMap<u8, u8>>,
    /// How many classes each axis has.
    widths: Vec<usize>,
    inside: Vec<Vec<u8>>,
    outside: Vec<Vec<u8>>,
}

/// A box without a place outside, and the places inside that are in it.
struct Candidate {
    sets: Box,
    literals: usize,
    covered: FixedBitSet,
}

impl Space {
    fn new(places: &[(&[u8], bool)], axes: usize) -> Space {
        let mut all: BTreeMap<Vec<u8>, bool> = places.iter().map(|(at, inside)| (at.to_vec(), *inside)).collect();
        let mut classes = Vec::with_capacity(axes);
        for axis in 0..axes {
            let own = merged(&all, axis);
            let renamed = all.into_iter().map(|(mut at, inside)| {
                at[axis] = own.get(&at[axis]).copied().unwrap_or_default();
                (at, inside)
            });
            all = renamed.collect();
            classes.push(own);
        }
        let widths = classes.iter().map(|own| own.values().max().map_or(0, |most| usize::from(*most) + 1)).collect();
        let (inside, outside) = all.into_iter().partition::<Vec<_>, _>(|(_, inside)| *inside);
        let places = |all: Vec<(Vec<u8>, bool)>| all.into_iter().map(|(at, _)| at).collect();
        Space { classes, widths, inside: places(inside), outside: places(outside) }
    }

    fn full(&self, axis: usize) -> Set {
        if self.widths[axis] >= Set::BITS as usize { Set::MAX } else { (1 << self.widths[axis]) - 1 }
    }

    fn literals(&self, sets: &[Set]) -> usize {
        sets.iter().enumerate().filter(|&(axis, set)| *set != self.full(axis)).count()
    }

    /// For each axis and class those of the places that have it.
    fn by_class(&self, places: &[Vec<u8>]) -> Vec<Vec<FixedBitSet>> {
        let axes = self.widths.iter().enumerate();
        axes.map(|(axis, width)| {
            let mut own = vec![FixedBitSet::with_capacity(places.len()); *width];
            for (place, at) in places.iter().enumerate() {
                own[usize::from(at[axis])].insert(place);
            }
            own
        })
        .collect()
    }

    /// Every box that may be worth it: no other covers as much with as few literals. Nothing if there are too many.
    fn boxes(&self) -> Option<Vec<Candidate>> {
        let mut search = Boxes {
            space: self,
            inside: self.by_class(&self.inside),
            outside: self.by_class(&self.outside),
            words: (self.inside.len() + self.outside.len()).div_ceil(64) as u64 + 1,
            left: EXACT,
            found: Vec::new(),
        };
        search.deepen(&mut Vec::new(), 0, &all(self.inside.len()), &all(self.outside.len()))?;
        let mut found = search.found;
        // Large ones first: a good cover is found early.
        found.sort_by_key(|candidate| std::cmp::Reverse(candidate.covered.count_ones(..)));
        Some(found)
    }

    /// Boxes that together cover every place inside, each the largest of some that grow from a place which none before
    /// covers, along one axis after the other. Nothing if they are too many.
    fn grown(&self) -> Option<Vec<Box>> {
        let axes = self.widths.len();
        let (inside, outside) = (self.by_class(&self.inside), self.by_class(&self.outside));
        let mut cover: Vec<Box> = Vec::new();
        let mut open = all(self.inside.len());
        while let Some(first) = open.minimum() {
            let at = &self.inside[first];
            let grow = |first: usize| {
                let mut sets: Box = at.iter().map(|class| 1 << class).collect();
                for axis in (0..axes).map(|axis| (first + axis) % axes) {
                    // What the other axes admit of the places outside. No such place is in the box so far.
                    let mut admitted = all(self.outside.len());
                    let others = (0..axes).filter(|&other| other != axis && sets[other] != self.full(other));
                    others.for_each(|other| admit(&mut admitted, sets[other], &outside[other]));
                    let classes = outside[axis].iter().enumerate();
                    let free = classes.filter(|(_, own)| admitted.is_disjoint(own));
                    sets[axis] = free.fold(sets[axis], |set, (class, _)| set | 1 << class);
                }
                sets
            };
            let covered = |sets: &Box| {
                let mut covered = open.clone();
                (0..axes).for_each(|axis| admit(&mut covered, sets[axis], &inside[axis]));
                covered
            };
            // Without an axis there is one place at most.
            let boxes = (0..axes.max(1)).map(grow);
            let (largest, covered) = boxes
                .map(|sets| {
                    let covered = covered(&sets);
                    (sets, covered)
                })
                .max_by_key(|(_, covered)| covered.count_ones(..))?;
            open.difference_with(&covered);
            cover.push(largest);
            if cover.len() > TERMS {
                return None;
            }
        }
        Some(cover)
    }

    /// The fewest of the candidates that cover every place inside. Nothing if there is no proof that they are.
    fn cover(&self, candidates: &[Candidate]) -> Option<Vec<Box>> {
        let open = all(self.inside.len());
        let mut search = Cover { candidates, best: None, left: EXACT };
        search.within(&open, &mut Vec::new(), 0);
        let (chosen, _) = search.best.filter(|(chosen, _)| search.left > 0 && chosen.len() <= TERMS)?;
        let mut boxes: Vec<Box> = chosen.into_iter().map(|chosen| candidates[chosen].sets.clone()).collect();
        boxes.sort_by(|a, b| self.literals(a).cmp(&self.literals(b)).then_with(|| a.cmp(b)));
        Some(boxes)
    }

    /// A box as literals: of each axis that it restricts the values that cases in it have, and those that it excludes.
    fn term(&self, places: &[(&[u8], bool)], sets: &[Set]) -> Term {
        let axes = (0..sets.len()).filter(|&axis| sets[axis] != self.full(axis));
        let mut term: Term = axes.map(|axis| Literal { axis, values: 0, others: 0 }).collect();
        for (at, _) in places {
            let fails = |literal: &Literal| {
                let class = self.classes[literal.axis].get(&at[literal.axis]);
                class.is_none_or(|class| sets[literal.axis] & (1 << class) == 0)
            };
            let mut failed = term.iter().enumerate().filter(|(_, literal)| fails(literal)).map(|(number, _)| number);
            match (failed.next(), failed.next()) {
                (None, _) => term.iter_mut().for_each(|literal| literal.values |= 1 << at[literal.axis]),
                // The other literals admit it.
                (Some(only), None) => term[only].others |= 1 << at[term[only].axis],
                (Some(_), Some(_)) => {}
            }
        }
        term
    }
}

/// The search for boxes without a place outside.
struct Boxes<'s> {
    space: &'s Space,
    /// For each axis and class its places.
    inside: Vec<Vec<FixedBitSet>>,
    outside: Vec<Vec<FixedBitSet>>,
    words: u64,
    /// How many words may still be looked at.
    left: u64,
    /// None of them covers as much as another with as few literals.
    found: Vec<Candidate>,
}

impl Boxes<'_> {
    /// All boxes that end with these sets, the last axis's first, so many of which are literals, and which admit these
    /// places. Nothing if they are too many.
    fn deepen(&mut self, sets: &mut Box, literals: usize, inside: &FixedBitSet, outside: &FixedBitSet) -> Option<()> {
        // Of conditions that are equally short, the one about the first axes is found first.
        let axes = self.space.widths.len() - sets.len();
        let width = axes.checked_sub(1).map_or(0, |axis| self.space.widths[axis]);
        self.left = self.left.checked_sub(self.words * (width + self.found.len() + 1) as u64)?;
        let is_known = |known: &Candidate| known.literals <= literals && inside.is_subset(&known.covered);
        if inside.is_clear() || self.found.iter().any(is_known) {
            return Some(());
        }
        if outside.is_clear() {
            let rest = (0..axes).map(|axis| self.space.full(axis));
            let sets: Box = rest.chain(sets.iter().rev().copied()).collect();
            self.found.retain(|known| known.literals < literals || !known.covered.is_subset(inside));
            self.found.push(Candidate { sets, literals, covered: inside.clone() });
            return Some(());
        }
        let Some(axis) = axes.checked_sub(1) else { return Some(()) };
        let full = self.space.full(axis);
        sets.push(full);
        self.deepen(sets, literals, inside, outside)?;
        sets.pop();
        if width == 1 {
            return Some(());
        }
        // What has no place outside is in every set that is worth it, what has only such places in none.
        let (mut free, mut both): (Set, Vec<usize>) = (0, Vec::new());
        for class in 0..width {
            let is_inside = !inside.is_disjoint(&self.inside[axis][class]);
            match (is_inside, !outside.is_disjoint(&self.outside[axis][class])) {
                (_, false) => free |= 1 << class,
                (true, true) => both.push(class),
                (false, true) => {}
            }
        }
        if both.len() > MIXED {
            return None;
        }
        for chosen in (0..1u32 << both.len()).rev() {
            let chosen = both.iter().enumerate().filter(|(place, _)| chosen >> place & 1 == 1);
            let set = chosen.fold(free, |set, (_, class)| set | 1 << class);
            if set == 0 || set == full {
                continue;
            }
            let (mut inside, mut outside) = (inside.clone(), outside.clone());
            admit(&mut inside, set, &self.inside[axis]);
            admit(&mut outside, set, &self.outside[axis]);
            self.left = self.left.checked_sub(self.words * width as u64)?;
            sets.push(set);
            self.deepen(sets, literals + 1, &inside, &outside)?;
            sets.pop();
        }
        Some(())
    }
}

fn all(places: usize) -> FixedBitSet {
    let mut all = FixedBitSet::with_capacity(places);
    all.insert_range(..);
    all
}

/// Keeps those of the places that have one of these classes of an axis.
fn admit(places: &mut FixedBitSet, set: Set, by_class: &[FixedBitSet]) {
    let mut admitted = FixedBitSet::with_capacity(places.len());
    let classes = by_class.iter().enumerate().filter(|(class, _)| set >> class & 1 == 1);
    classes.for_each(|(_, own)| admitted.union_with(own));
    places.intersect_with(&admitted);
}

/// The values of an axis that say the same wherever they have places, each with the number of its class.
fn merged(places: &BTreeMap<Vec<u8>, bool>, axis: usize) -> BTreeMap<u8, u8> {
    let mut columns: BTreeMap<u8, Vec<(u32, bool)>> = places.keys().map(|at| (at[axis], Vec::new())).collect();
    if columns.len() > 1 {
        // What the places have on the other axes, by number. Every column is in the order of the places.
        let mut rest: HashMap<Vec<u8>, u32> = HashMap::new();
        for (at, inside) in places {
            let mut others = at.clone();
            others.remove(axis);
            let number = rest.len() as u32;
            let number = *rest.entry(others).or_insert(number);
            columns.entry(at[axis]).or_default().push((number, *inside));
        }
    }
    let mut classes: HashMap<Vec<(u32, bool)>, u8> = HashMap::new();
    let class = |(value, column)| {
        let number = classes.len() as u8;
        (value, *classes.entry(column).or_insert(number))
    };
    columns.into_iter().map(class).collect()
}

struct Cover<'c> {
    candidates: &'c [Candidate],
    /// The chosen ones, and how many literals they have.
    best: Option<(Vec<usize>, usize)>,
    /// How many candidates may still be looked at.
    left: u64,
}

impl Cover<'_> {
    fn within(&mut self, open: &FixedBitSet, chosen: &mut Vec<usize>, literals: usize) {
        let better =
            |best: &(Vec<usize>, usize), terms: usize, literals: usize| (terms, literals) < (best.0.len(), best.1);
        if open.is_clear() {
            if self.best.as_ref().is_none_or(|best| better(best, chosen.len(), literals)) {
                self.best = Some((chosen.clone(), literals));
            }
            return;
        }
        // At least one more, with at least one literal.
        let hopeless = self.best.as_ref().is_some_and(|best| !better(best, chosen.len() + 1, literals + 1));
        let places = open.ones().take(64);
        self.left = self.left.saturating_sub(places.clone().count() as u64 * self.candidates.len() as u64);
        if hopeless || self.left == 0 {
            return;
        }
        // The place that the fewest cover has to be covered by one of them.
        let covering = |place: usize| {
            let all = self.candidates.iter().enumerate();
            all.filter(|(_, candidate)| candidate.covered.contains(place)).map(|(number, _)| number).collect::<Vec<_>>()
        };
        let Some(mut next) = places.map(covering).min_by_key(Vec::len) else { return };
        let candidates = self.candidates;
        next.sort_by_key(|&number| std::cmp::Reverse(candidates[number].covered.intersection_count(open)));
        for number in next {
            let mut rest = open.clone();
            rest.difference_with(&candidates[number].covered);
            chosen.push(number);
            self.within(&rest, chosen, literals + candidates[number].literals);
            chosen.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Formula {
        /// Whether it holds at a place: the number of the case's value for each axis.
        fn holds(&self, at: &[u8]) -> bool {
            let literal = |literal: &Literal| literal.values & (1 << at[literal.axis]) != 0;
            self.terms.iter().any(|term| term.iter().all(literal))
        }

        /// How many terms it has, and how many literals they have.
        fn size(&self) -> (usize, usize) {
            (self.terms.len(), self.terms.iter().map(Vec::len).sum())
        }
    }

    fn places(widths: &[u8]) -> Vec<Vec<u8>> {
        widths.iter().fold(vec![Vec::new()], |all, width| {
            all.iter()
                .flat_map(|at| (0..*width).map(move |value| at.iter().copied().chain([value]).collect()))
                .collect()
        })
    }

    fn decided(widths: &[u8], holds: impl Fn(&[u8]) -> bool) -> Formula {
        let places = places(widths);
        let places: Vec<(&[u8], bool)> = places.iter().map(|at| (&**at, holds(at))).collect();
        decide(&places, widths.len()).unwrap()
    }

    fn literal(axis: usize, values: Set, others: Set) -> Literal {
        Literal { axis, values, others }
    }

    #[test]
    fn the_shortest_condition_is_found() {
        // The rule of SO_REUSEADDR and SO_REUSEPORT: none, addr, port, both on each side; the state 1 is LISTEN.
        let condition = decided(&[3, 4, 4], |at| {
            let (holder, claimer) = (at[1], at[2]);
            holder >= 2 && claimer >= 2 || at[0] != 1 && holder % 2 == 1 && claimer % 2 == 1
        });
        let port = [literal(1, 0b1100, 0b0011), literal(2, 0b1100, 0b0011)];
        let addr = [literal(0, 0b101, 0b010), literal(1, 0b1010, 0b0101), literal(2, 0b1010, 0b0101)];
        assert_eq!(condition, Formula { terms: vec![port.to_vec(), addr.to_vec()], shortest: true });
    }

    #[test]
    fn values_that_no_case_has_are_not_named() {
        // The value 2 of the second axis goes with 1 of the first only.
        let all: [(&[u8], bool); 4] = [(&[0, 0], true), (&[0, 1], false), (&[1, 2], true), (&[1, 1], true)];
        let condition = decide(&all, 2).unwrap();
        assert_eq!(condition.terms, [vec![literal(0, 0b10, 0b01)], vec![literal(1, 0b101, 0b010)]]);
    }

    #[test]
    fn nothing_and_everything_need_no_literal() {
        assert_eq!(decided(&[2, 3], |_| true).terms, [Term::new()]);
        assert_eq!(decided(&[2, 3], |_| false).terms, [] as [Term; 0]);
        assert_eq!(decide(&[], 2).unwrap().terms, [] as [Term; 0]);
    }

    #[test]
    fn a_space_that_is_too_large_is_decided_without_a_proof() {
        // Of 40 values no two say the same: more classes than the exact search enumerates.
        let places: Vec<(Vec<u8>, bool)> =
            (0..40u8).flat_map(|a| (0..6u8).map(move |b| (vec![a, b], (a + 1) >> b & 1 == 1))).collect();
        let places: Vec<(&[u8], bool)> = places.iter().map(|(at, inside)| (&**at, *inside)).collect();
        let condition = decide(&places, 2).unwrap();
        assert!(!condition.shortest);
        for (at, inside) in places {
            assert_eq!(condition.holds(at), inside, "{at:?}");
        }
    }

    #[test]
    fn what_nobody_reads_is_not_looked_for() {
        // No two rows are alike, and hardly two places inside are in one box.
        let scattered = |a: u64, b: u64| (a * 100 + b).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 == 0;
        let places: Vec<Vec<u8>> = (0..100u8).flat_map(|a| (0..100u8).map(move |b| vec![a, b])).collect();
        let places: Vec<(&[u8], bool)> =
            places.iter().map(|at| (&**at, scattered(at[0].into(), at[1].into()))).collect();
        assert_eq!(decide(&places, 2), None);
    }

    proptest! {
        /// Exactly the cases that are inside, whatever they are and whichever are missing.
        #[test]
        fn a_condition_holds_where_it_should(answers in proptest::collection::vec(0..3u8, 3 * 4 * 2)) {
            let all = places(&[3, 4, 2]);
            let all: Vec<(&[u8], bool)> = (all.iter().zip(&answers))
                .filter(|(_, answer)| **answer < 2)
                .map(|(at, answer)| (&**at, *answer == 1))
                .collect();
            let condition = decide(&all, 3).unwrap();
            for (at, inside) in &all {
                prop_assert_eq!(condition.holds(at), *inside, "{:?} in {:?}", at, condition);
            }
            // No term and no literal can go.
            for term in 0..condition.terms.len() {
                let mut fewer = condition.clone();
                fewer.terms.remove(term);
                prop_assert!(fewer.size() < condition.size());
                prop_assert!(all.iter().any(|(at, inside)| fewer.holds(at) != *inside));
                for literal in 0..condition.terms[term].len() {
                    let mut wider = condition.clone();
                    wider.terms[term].remove(literal);
                    prop_assert!(all.iter().any(|(at, inside)| wider.holds(at) != *inside));
                }
            }
        }

        /// No condition of two terms is found where one of a single term would do.
        #[test]
        fn one_term_is_found_if_there_is_one(sets in proptest::array::uniform3(1..8u32)) {
            let condition = decided(&[3, 3, 3], |at| sets.iter().zip(at).all(|(set, value)| set >> value & 1 == 1));
            prop_assert_eq!(condition.terms.len(), 1);
            prop_assert!(condition.shortest);
        }
    }
}
