//! The smallest table that says what many cases answer.
//!
//! Cases are points in a space of axes, each with an answer. An axis whose values never make a difference is left out.
//! One axis may lie across the table, the others make its rows; values, and then rows, that answer alike wherever they
//! have cases are merged, rows only where one axis tells them apart, so that each row is a product of sets of values.
//! Every axis is tried across and every order of merging, and the table with the fewest rows, then cells, is taken.
//! What an answer is, and what its words are, is decided elsewhere.

use std::collections::HashMap;

/// Values of an axis as bits; a table of more values than that is not folded along this axis.
pub type Set = u128;

/// The most columns that people can read.
const WIDEST: usize = 8;

pub struct Point {
    /// The value on each axis.
    pub at: Vec<u8>,
    pub answer: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The axes that make rows, each with the place among all axes.
    pub axes: Vec<usize>,
    /// The axis that lies across, and the values of each column.
    pub across: Option<(usize, Vec<Set>)>,
    pub rows: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The values on each of the table's axes.
    pub sets: Vec<Set>,
    /// One answer for each column; nothing where it has no case.
    pub answers: Vec<Option<u32>>,
    /// The places that were merged into it: values on each of the table's axes.
    pub places: Vec<Vec<u8>>,
}

impl Folded {
    /// How many of these points each row has. Together the rows have exactly the places that were folded.
    pub fn counts<'p>(&self, points: impl Iterator<Item = &'p Vec<u8>>) -> Vec<usize> {
        let rows = self.rows.iter().enumerate();
        let rows: HashMap<&[u8], usize> =
            rows.flat_map(|(row, line)| line.places.iter().map(move |place| (&**place, row))).collect();
        let mut counts = vec![0; self.rows.len()];
        let mut place = Vec::new();
        for at in points {
            place.clear();
            place.extend(self.axes.iter().map(|&axis| at[axis]));
            if let Some(&row) = rows.get(&*place) {
                counts[row] += 1;
            }
        }
        counts
    }

    fn size(&self) -> (usize, usize) {
        let columns = self.across.as_ref().map_or(1, |(_, columns)| columns.len());
        (self.rows.len(), columns + self.axes.len())
    }
}

/// Folds points that are not in each other's place. `across`: whether an axis may lie across the table.
pub fn fold(points: &[Point], axes: usize, across: bool) -> Folded {
    let relevant = relevant(points, axes);
    let mut best = rows(points, &relevant, None, columns);
    for &axis in relevant.iter().filter(|_| across) {
        let folded = rows(points, &relevant, Some(axis), columns);
        let fits = folded.across.as_ref().is_some_and(|(_, columns)| columns.len() <= WIDEST);
        // The last axes are those of the claimer: on equal terms they lie across.
        if fits && folded.size() <= best.size() {
            best = folded;
        }
    }
    best
}

/// Folds points with the axis after the last of `axes` across, as it is: one column for each of its values.
pub fn fold_across(points: &[Point], axes: usize, values: usize) -> Folded {
    let relevant = relevant(points, axes);
    let all: Vec<usize> = relevant.into_iter().chain([axes]).collect();
    rows(points, &all, Some(axes), |_| (0..values).map(|value| 1 << value).collect())
}

/// What lines answer for each value of the axis across.
type Lines = HashMap<Vec<u8>, HashMap<u8, u32>>;

/// Of the first axes, those without which points of different answers would be in each other's place.
fn relevant(points: &[Point], axes: usize) -> Vec<usize> {
    let all = points.first().map_or(axes, |point| point.at.len());
    let mut kept: Vec<usize> = (0..all).collect();
    for axis in 0..axes {
        let without: Vec<usize> = kept.iter().copied().filter(|other| *other != axis).collect();
        let mut answers: HashMap<Vec<u8>, u32> = HashMap::new();
        let same = points.iter().all(|point| {
            let place = without.iter().map(|&axis| point.at[axis]).collect();
            *answers.entry(place).or_insert(point.answer) == point.answer
        });
        if same {
            kept = without;
        }
    }
    kept.retain(|axis| *axis < axes);
    kept
}

fn rows(points: &[Point], relevant: &[usize], across: Option<usize>, columns: impl Fn(&Lines) -> Vec<Set>) -> Folded {
    let axes: Vec<usize> = relevant.iter().copied().filter(|axis| Some(*axis) != across).collect();
    let mut lines = Lines::new();
    for point in points {
        let place = axes.iter().map(|&axis| point.at[axis]).collect();
        lines.entry(place).or_default().insert(across.map_or(0, |axis| point.at[axis]), point.answer);
    }
    let columns = columns(&lines);
    let mut lines: Vec<Line> = lines
        .into_iter()
        .map(|(place, answers)| Line {
            sets: place.iter().map(|value| 1 << value).collect(),
            answers: columns
                .iter()
                .map(|column| answers.iter().find(|(value, _)| column & (1 << **value) != 0).map(|(_, answer)| *answer))
                .collect(),
            places: vec![place],
        })
        .collect();
    lines.sort_by(|a, b| a.sets.cmp(&b.sets));
    let orders = (0..axes.len().max(1)).map(|first| merged(lines.clone(), axes.len(), first));
    let rows = orders.min_by_key(Vec::len).unwrap_or_default();
    Folded { axes, across: across.map(|axis| (axis, columns)), rows: sorted(rows) }
}

/// Values that no line tells apart, together.
fn columns(lines: &Lines) -> Vec<Set> {
    let mut values: Vec<u8> = lines.values().flat_map(HashMap::keys).copied().collect();
    values.sort_unstable();
    values.dedup();
    let lines: Vec<&HashMap<u8, u32>> = lines.values().collect();
    // The values of a column, and what it answers in each line.
    let mut columns: Vec<(Set, Vec<Option<u32>>)> = Vec::new();
    for value in values {
        let answers: Vec<Option<u32>> = lines.iter().map(|line| line.get(&value).copied()).collect();
        match columns.iter_mut().find(|(_, known)| agree(known, &answers)) {
            Some((set, known)) => {
                *set |= 1 << value;
                for (own, other) in known.iter_mut().zip(answers) {
                    *own = own.or(other);
                }
            }
            None => columns.push((1 << value, answers)),
        }
    }
    columns.into_iter().map(|(set, _)| set).collect()
}

/// Merges lines along one axis after the other, beginning with `first`, until nothing changes.
fn merged(mut lines: Vec<Line>, axes: usize, first: usize) -> Vec<Line> {
    loop {
        let before = lines.len();
        for axis in (0..axes).map(|axis| (first + axis) % axes) {
            let mut groups: HashMap<Vec<Set>, Vec<Line>> = HashMap::new();
            let mut order: Vec<Vec<Set>> = Vec::new();
            for line in lines {
                let mut others = line.sets.clone();
                others.remove(axis);
                let group = groups.entry(others.clone()).or_insert_with(|| {
                    order.push(others);
                    Vec::new()
                });
                match group.iter_mut().find(|known| agree(&known.answers, &line.answers)) {
                    Some(known) => {
                        known.sets[axis] |= line.sets[axis];
                        known.places.extend(line.places);
                        for (own, other) in known.answers.iter_mut().zip(line.answers) {
                            *own = own.or(other);
                        }
                    }
                    None => group.push(line),
                }
            }
            lines = order.iter().flat_map(|others| groups.remove(others).unwrap_or_default()).collect();
        }
        if lines.len() == before {
            return lines;
        }
    }
}

fn agree(a: &[Option<u32>], b: &[Option<u32>]) -> bool {
    a.iter().zip(b).all(|pair| !matches!(pair, (Some(a), Some(b)) if a != b))
}

/// In the order of the catalogue, by their smallest values.
fn sorted(mut rows: Vec<Line>) -> Vec<Line> {
    let smallest = |line: &Line| line.sets.iter().map(|set| set.trailing_zeros()).collect::<Vec<_>>();
    rows.sort_by_key(smallest);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(answers: impl Fn(u8, u8, u8) -> u32) -> Vec<Point> {
        let mut points = Vec::new();
        for a in 0..3 {
            for b in 0..4 {
                for c in 0..2 {
                    points.push(Point { at: vec![a, b, c], answer: answers(a, b, c) });
                }
            }
        }
        points
    }

    /// Every point is in exactly one row, in a cell with its answer.
    #[track_caller]
    fn holds(points: &[Point], folded: &Folded) {
        for point in points {
            let rows: Vec<&Line> = folded
                .rows
                .iter()
                .filter(|line| line.sets.iter().zip(&folded.axes).all(|(set, &axis)| set & (1 << point.at[axis]) != 0))
                .collect();
            assert_eq!(rows.len(), 1, "{:?}", point.at);
            let column = folded.across.as_ref().map_or(0, |(axis, columns)| {
                columns.iter().position(|column| column & (1 << point.at[*axis]) != 0).unwrap()
            });
            assert_eq!(rows[0].answers[column], Some(point.answer), "{:?}", point.at);
        }
    }

    #[track_caller]
    fn check(answers: impl Fn(u8, u8, u8) -> u32, rows: usize, columns: usize) {
        let points = points(answers);
        for across in [false, true] {
            let folded = fold(&points, 3, across);
            holds(&points, &folded);
            if across {
                let found = folded.across.as_ref().map_or(1, |(_, columns)| columns.len());
                assert_eq!((folded.rows.len(), found), (rows, columns), "{folded:?}");
            }
        }
    }

    #[test]
    fn what_makes_no_difference_is_left_out() {
        check(|_, _, _| 7, 1, 1);
        // One axis alone is laid across.
        check(|a, _, _| u32::from(a == 2), 1, 2);
    }

    #[test]
    fn options_of_both_sides_make_a_grid() {
        // Both sides have to agree: the answer of SO_REUSEADDR.
        check(|_, b, c| u32::from(b % 2 == 1 && c == 1), 2, 2);
        check(|a, b, c| u32::from(a == 0) * 4 + u32::from(b == 3) * 2 + u32::from(c), 4, 2);
    }

    #[test]
    fn places_without_a_case_fit_anything_and_say_nothing() {
        let mut points = points(|_, b, c| u32::from(b + c > 2));
        points.retain(|point| !(point.at[1] == 3 && point.at[2] == 0));
        let folded = fold(&points, 3, true);
        holds(&points, &folded);
        // What is left of 3 joins 2, which without the hole is another row.
        assert_eq!(folded.rows.len() * folded.across.map_or(1, |(_, columns)| columns.len()), 4);
    }
}
