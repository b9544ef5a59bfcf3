//! Cases by the texts of their values, and what decides between them in those texts.
//!
//! How a condition is said to people is not its business.

use indexmap::IndexSet;
use serde::Serialize;

use super::{Literal, Set, decide};

/// A condition over axes of scenarios, and over `scenario`, `call`, `port`, `cause`, `ordinal` and `stack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The claim holds where all parts of any of them do.
    pub terms: Vec<Vec<Part>>,
    /// Whether no condition with fewer terms, or with as many and fewer parts, exists.
    pub shortest: bool,
}

/// A call has one of these values on an axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name.
    pub axis: String,
    /// An empty one is that of a scenario without the axis.
    pub values: Vec<String>,
    /// The other values, of calls for which the other parts of the term hold.
    pub others: Vec<String>,
}

/// Rows of cases, a value for each axis.
pub struct CaseTable {
    axes: Vec<(String, IndexSet<String>)>,
    at: Vec<Vec<u8>>,
}

impl CaseTable {
    /// Nothing if an axis has more values than a set holds. Each row has a value for each of the axes.
    pub fn new(axes: Vec<String>, rows: impl IntoIterator<Item = Vec<String>>) -> Option<CaseTable> {
        let mut axes: Vec<(String, IndexSet<String>)> = axes.into_iter().map(|axis| (axis, IndexSet::new())).collect();
        let number = |(value, (_, values)): (String, &mut (String, IndexSet<String>))| {
            u8::try_from(values.insert_full(value).0).ok().filter(|number| u32::from(*number) < Set::BITS)
        };
        let rows = rows.into_iter().map(|row| row.into_iter().zip(&mut axes).map(number).collect());
        let mut at: Vec<Vec<u8>> = rows.collect::<Option<_>>()?;
        // An axis of one value decides nothing.
        let open: Vec<usize> = (0..axes.len()).filter(|axis| axes[*axis].1.len() > 1).collect();
        for at in &mut at {
            *at = open.iter().map(|axis| at[*axis]).collect();
        }
        axes.retain(|(_, values)| values.len() > 1);
        Some(CaseTable { axes, at })
    }

    /// When a row is one of those that are `true`, and none of those that are `false`; what it says of the rest does
    /// not count. Nothing if two rows cannot be told apart, or no condition is short enough to be read.
    pub fn when(&self, of: impl Fn(usize) -> Option<bool>) -> Option<When> {
        let rows = self.at.iter().enumerate();
        let places: Vec<(&[u8], bool)> = rows.filter_map(|(row, at)| Some((&**at, of(row)?))).collect();
        let distinct: IndexSet<&[u8]> = places.iter().map(|(at, _)| *at).collect();
        if distinct.len() < places.len() {
            return None;
        }
        let condition = decide(&places, self.axes.len())?;
        let terms = condition.terms.iter().map(|term| term.iter().map(|literal| self.part(literal)).collect());
        Some(When { terms: terms.collect(), shortest: condition.shortest })
    }

    fn part(&self, literal: &Literal) -> Part {
        let (axis, values) = &self.axes[literal.axis];
        let named = |set: Set| {
            let own = values.iter().enumerate().filter(|(value, _)| set >> value & 1 == 1);
            own.map(|(_, value)| value.clone()).collect()
        };
        Part { axis: axis.clone(), values: named(literal.values), others: named(literal.others) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 2]]) -> Option<CaseTable> {
        let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec());
        CaseTable::new(["colour", "size"].map(str::to_owned).to_vec(), rows)
    }

    #[test]
    fn a_condition_is_said_in_the_texts_of_its_values() {
        let table = table(&[["red", "s"], ["blue", "s"], ["green", "s"]]).unwrap();
        let part = |values: &[&str], others: &[&str]| Part {
            axis: "colour".to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            others: others.iter().map(|value| (*value).to_owned()).collect(),
        };
        let when = table.when(|row| Some(row > 0)).unwrap();
        assert_eq!(when, When { terms: vec![vec![part(&["blue", "green"], &["red"])]], shortest: true });
        assert_eq!(table.when(|row| (row < 2).then_some(row == 0)).unwrap().terms, [[part(&["red"], &["blue"])]]);
    }

    #[test]
    fn rows_that_cannot_be_told_apart_have_no_condition() {
        assert_eq!(table(&[["red", "s"], ["red", "s"]]).unwrap().when(|row| Some(row == 0)), None);
        let many: Vec<String> = (0..129).map(|value| value.to_string()).collect();
        let rows = |most: usize| many[..most].iter().map(|value| [&**value, "s"]).collect::<Vec<_>>();
        assert!(table(&rows(128)).is_some());
        assert!(table(&rows(129)).is_none());
    }
}
