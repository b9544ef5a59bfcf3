//! Known deviations beside a report, as text: those that no longer hold, and those that do.
//!
//! It decides nothing: `report::deviation` does.

use super::style::{BAD, FAINT, paint};
use super::text::{count, field};
use crate::report::deviation::{Deviation, Weighed};
use crate::words::untrusted::shown;

/// Deviations that are there no more, which come before everything else.
pub fn news(weighed: &[Weighed<'_>], width: usize) -> String {
    let news = weighed.iter().filter(|weighed| weighed.is_news());
    let line = |weighed: &Weighed<'_>| {
        let mut now: Vec<&str> = weighed.otherwise.iter().map(|finding| finding.outcome_name()).collect();
        now.sort_unstable();
        now.dedup();
        let text = format!("{}; now {}", words(weighed.deviation), now.join(", "));
        field("no longer so: ", &shown(&text), width).replacen("no longer so", &paint(BAD, "no longer so"), 1)
    };
    news.map(line).collect()
}

/// Those that hold.
pub fn known(weighed: &[Weighed<'_>], width: usize) -> String {
    let known = weighed.iter().filter(|weighed| !weighed.known.is_empty());
    let line = |weighed: &Weighed<'_>| {
        let findings = count(weighed.known.len() as u64, "finding");
        let text = format!("{}, {findings}", words(weighed.deviation));
        field("known: ", &shown(&text), width).replacen("known", &paint(FAINT, "known"), 1)
    };
    known.map(line).collect()
}

/// `bind.dual-stack bind: ok (it binds both, https://…)`.
fn words(deviation: &Deviation) -> String {
    let Deviation { id, call, outcome, says, link } = deviation;
    let call = call.map(|call| format!(" {call}")).unwrap_or_default();
    format!("{id}{call}: {outcome} ({}; {link})", says.trim_end_matches('.'))
}
