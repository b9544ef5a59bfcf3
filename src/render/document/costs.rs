//! What the next port costs as a range fills: the costs that fills of large ranges left in their trails.
//!
//! It does not draw the curve.

use super::{Document, StackAnswer};
use crate::plan::{Cost, Detail, FillHow, Op};
use crate::report::finding::TrailEntry;
use crate::words::names::Protocol;

/// The curves of one stack.
pub struct Plot {
    pub stack: String,
    pub curves: Vec<Curve>,
}

pub struct Curve {
    /// `bind, port 0, tcp`.
    pub name: String,
    /// For colours and dashes: the same call has the same number on every stack.
    pub series: usize,
    pub case: String,
    pub points: Vec<Cost>,
}

/// What a fill does again and again, and what people call it.
const SERIES: [(FillHow, Protocol, &str); 6] = [
    (FillHow::BindZero, Protocol::Tcp, "bind to port 0, tcp"),
    (FillHow::Connect, Protocol::Tcp, "connect, tcp"),
    (FillHow::Bind, Protocol::Tcp, "bind to each port, tcp"),
    (FillHow::BindZero, Protocol::Udp, "bind to port 0, udp"),
    (FillHow::Connect, Protocol::Udp, "connect, udp"),
    (FillHow::Bind, Protocol::Udp, "bind to each port, udp"),
];

/// One plot for each stack that has such costs; the first case of each kind.
pub fn plots(document: &Document<'_>) -> Vec<Plot> {
    let plots = document.observed().map(|(place, column)| {
        let mut curves: Vec<Curve> = Vec::new();
        for item in document.items() {
            let Some(StackAnswer::Observed(finding)) = item.given[place] else { continue };
            for entry in &finding.trail {
                let Some((series, points)) = measured(entry) else { continue };
                if curves.iter().all(|known| known.series != series) {
                    let (name, case) = (SERIES[series].2.to_owned(), finding.case.clone());
                    curves.push(Curve { name, series, case: case.to_string(), points: points.to_vec() });
                }
            }
        }
        curves.sort_by_key(|curve| curve.series);
        Plot { stack: column.label.clone(), curves }
    });
    plots.filter(|plot| !plot.curves.is_empty()).collect()
}

fn measured(entry: &TrailEntry) -> Option<(usize, &[Cost])> {
    let Some(Detail::Fill { costs, .. }) = &entry.detail else { return None };
    let points = costs.get(1..).filter(|more| !more.is_empty()).map(|_| &**costs)?;
    let Op::Fill(fill) = &entry.op else { return None };
    let series = SERIES.iter().position(|(how, protocol, _)| (*how, *protocol) == (fill.how, fill.protocol))?;
    Some((series, points))
}

impl Curve {
    /// Microseconds.
    pub fn first(&self) -> String {
        micros(self.points.first())
    }

    pub fn last(&self) -> String {
        micros(self.points.last())
    }

    pub fn ports(&self) -> u32 {
        self.points.last().map_or(0, |cost| cost.ports)
    }
}

fn micros(cost: Option<&Cost>) -> String {
    cost.map_or(String::new(), |cost| format!("{:.1}", f64::from(cost.nanos) / 1000.0))
}
