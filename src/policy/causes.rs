//! What may stand behind a failed call, as far as the scenarios know.
//!
//! It says nothing about what to do: that is the business of `right` and of the policies.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{ProbeCall, Signal};
use crate::catalogue::Catalogue;
use crate::cause::Cause;
use crate::errno::ErrnoName;
use crate::judge::CURRENT;
use crate::names::{Family, Os, PortChoice, Protocol};
use crate::scenario::{cases, compile};

/// In how many cases each cause is expected to give a call this errno, by the kind of socket, where the case names it.
type Known = BTreeMap<(Os, ProbeCall, PortChoice, ErrnoName), BTreeMap<(Option<Protocol>, Option<Family>, Cause), u64>>;

/// The whole catalogue takes a while to go through, and whoever explains one error may have to explain another.
static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let mut known = Known::new();
    let scenarios = Catalogue::embedded().map(|catalogue| catalogue.scenarios).unwrap_or_default();
    for (scenario, case) in scenarios.iter().flat_map(|scenario| cases(scenario).map(move |case| (scenario, case))) {
        let Ok(compiled) = compile(scenario, &case) else { continue };
        let protocol = case.value("protocol").and_then(|value| value.parse().ok());
        let family = case.value("family").and_then(|value| value.parse().ok());
        for subject in compiled.subjects.iter().filter(|subject| subject.cause != Cause::SocketState) {
            let Some(call) = ProbeCall::new(subject.call) else { continue };
            for &os in Os::ALL {
                let expected = scenario.expectations(&case, subject.subject, os, CURRENT);
                for errno in expected.iter().filter_map(|expected| ErrnoName::new(&expected.outcome)) {
                    let causes = known.entry((os, call, subject.port, errno)).or_default();
                    *causes.entry((protocol, family, subject.cause)).or_default() += 1;
                }
            }
        }
    }
    known
});

/// The causes that are known to give this errno to this call, the one with the most cases first.
///
/// Empty where no scenario expects it. A probe's socket is new, so that its state is never the cause. The first call
/// reads the whole catalogue.
pub fn causes(signal: &Signal) -> Vec<Cause> {
    let Signal { os, call, port, protocol, family, errno, .. } = *signal;
    let mut counts: BTreeMap<Cause, u64> = BTreeMap::new();
    for (&(of_protocol, of_family, cause), count) in KNOWN.get(&(os, call, port, errno)).into_iter().flatten() {
        if of_protocol.is_none_or(|of| of == protocol) && of_family.is_none_or(|of| of == family) {
            *counts.entry(cause).or_default() += count;
        }
    }
    let mut causes: Vec<(Cause, u64)> = counts.into_iter().collect();
    causes.sort_by_key(|&(cause, count)| (std::cmp::Reverse(count), cause));
    causes.into_iter().map(|(cause, _)| cause).collect()
}
