//! What the next port costs, as pictures: one small plot for each stack, all to one scale.
//!
//! Coordinates only. The template makes SVG of them, and the style gives each call its colour and its dashes.

use super::super::document::{Curve, Plot};

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 10.0;

pub struct Drawn {
    pub plots: Vec<DrawnPlot>,
    /// What the lines are, with their numbers.
    pub legend: Vec<(usize, String)>,
    /// Microseconds, with the height of their line.
    pub costs: Vec<(String, String)>,
    /// Ports, with the place of their mark.
    pub ports: Vec<(String, String)>,
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
}

pub struct DrawnPlot {
    pub stack: String,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub series: usize,
    pub name: String,
    pub case: String,
    /// For a polyline.
    pub points: String,
    pub first: String,
    pub last: String,
    pub ports: u32,
}

pub fn plots(plots: &[Plot]) -> Option<Drawn> {
    let curves = || plots.iter().flat_map(|plot| &plot.curves);
    let points = || curves().flat_map(|curve| &curve.points);
    let most = points().map(|cost| f64::from(cost.nanos) / 1000.0).fold(0.0, f64::max);
    let ports = points().map(|cost| cost.ports).max().filter(|_| most > 0.0)?;
    let step = step(most);
    let top = (most / step).ceil() * step;
    let x = |ports_held: f64| LEFT + (WIDTH - LEFT - RIGHT) * ports_held / f64::from(ports);
    let y = |micros: f64| TOP + (HEIGHT - TOP - 24.0) * (1.0 - micros / top);
    let mut legend: Vec<(usize, String)> = curves().map(|curve| (curve.series, curve.name.clone())).collect();
    legend.sort();
    legend.dedup();
    let line = |curve: &Curve| {
        let points = curve.points.iter();
        let points = points
            .map(|cost| format!("{:.1},{:.1}", x(f64::from(cost.ports)), y(f64::from(cost.nanos) / 1000.0)))
            .collect::<Vec<_>>();
        Line {
            series: curve.series,
            name: curve.name.clone(),
            case: curve.case.clone(),
            points: points.join(" "),
            first: curve.first(),
            last: curve.last(),
            ports: curve.ports(),
        }
    };
    let ticks = (0..=(top / step).round() as u32).map(|tick| f64::from(tick) * step);
    Some(Drawn {
        plots: plots
            .iter()
            .map(|plot| DrawnPlot { stack: plot.stack.clone(), lines: plot.curves.iter().map(line).collect() })
            .collect(),
        legend,
        costs: ticks.map(|micros| (format!("{micros}"), format!("{:.1}", y(micros)))).collect(),
        ports: [0, ports / 2, ports].map(|held| (held.to_string(), format!("{:.1}", x(f64::from(held))))).into(),
        width: WIDTH,
        height: HEIGHT,
        left: LEFT,
        right: WIDTH - RIGHT,
    })
}

/// One, two or five times a power of ten, so that there are four to eight ticks.
fn step(most: f64) -> f64 {
    let rough = most / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!([3.0, 70.0, 99.0, 227.0].map(step), [1.0, 20.0, 20.0, 50.0]);
    }
}
