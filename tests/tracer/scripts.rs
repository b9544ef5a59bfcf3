//! Arbitrary scripts: any settings, any path, and calls that fail as findings say they do.
//!
//! Whatever shrinks, shrinks to what is ordinary: one probe, nothing fails, nothing is waited for.

use std::time::Duration;

use errnoscope::knowledge::policy::right::right;
use errnoscope::knowledge::policy::{Action, ProbeCall};
use errnoscope::scenario::rule::NEWEST;
use errnoscope::tracer::{PortMode, Sequences, TraceSettings};
use errnoscope::words::cause::Cause;
use errnoscope::words::errno::ErrnoName;
use errnoscope::words::names::{Family, Os, Reuse};
use errnoscope::words::ports::PortRange;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::tracer::findings::faults;
use crate::tracer::simulated::{Fault, Lot, Reply, Script};

/// A lot before it is known which failures there are to draw from.
#[derive(Clone, Debug)]
enum Draw {
    Path,
    /// Another port would do.
    Busy(Index),
    Fails(Index),
    Answers(Duration, Reply, bool),
    FailsLater(Duration, Index, bool),
}

fn milliseconds(most: u64) -> impl Strategy<Value = Duration> {
    (0..=most).prop_map(Duration::from_millis)
}

fn reply() -> impl Strategy<Value = Reply> + Clone {
    select(&[Reply::Router, Reply::Silence, Reply::Closed, Reply::Open, Reply::Unreachable][..])
}

fn draw() -> impl Strategy<Value = Draw> {
    prop_oneof![
        8 => Just(Draw::Path),
        4 => any::<Index>().prop_map(Draw::Busy),
        1 => any::<Index>().prop_map(Draw::Fails),
        2 => (milliseconds(1500), reply(), any::<bool>()).prop_map(|(after, reply, twice)| Draw::Answers(after, reply, twice)),
        1 => (milliseconds(1500), any::<Index>(), any::<bool>()).prop_map(|(after, which, twice)| Draw::FailsLater(after, which, twice)),
    ]
}

/// Sizes with many small ones, where the ends of things are.
fn size(most: u16) -> impl Strategy<Value = u16> {
    prop_oneof![3 => 1..=most.min(4), 2 => 1..=most.min(40), 1 => 1..=most]
}

fn settings(os: &'static [Os]) -> impl Strategy<Value = TraceSettings> {
    let ttls = (prop_oneof![4 => Just(1), 1 => 1..=255_u8], size(255));
    let ports = select(&[PortMode::Sequence, PortMode::Fixed(20_000), PortMode::Ephemeral][..]);
    let sequences = (20_000..=65_535_u16, size(45_536), any::<u16>());
    (
        (select(os), select(&[Family::Ipv4, Family::Ipv6][..]), any::<bool>(), select(Reuse::ALL)),
        (ttls, 1..=4_u8, 1..=4_u32, size(300)),
        (milliseconds(1000), milliseconds(3000)),
        (ports, sequences),
    )
        .prop_map(
            |(socket, ((first, count), queries, rounds, in_flight), (wait, interval), (ports, sequences))| {
                let (os, family, with_source, reuse) = socket;
                let (target, source) = match family {
                    Family::Ipv4 => ("192.0.2.99:80", "192.0.2.1"),
                    Family::Ipv6 => ("[2001:db8::99]:80", "2001:db8::1"),
                };
                let (low, size, offset) = sequences;
                let low = low.min(u16::MAX - (size - 1));
                let ports = match ports {
                    // A source takes a bind(), as on the command line.
                    PortMode::Ephemeral if with_source => PortMode::BindZero,
                    ports => ports,
                };
                TraceSettings {
                    os,
                    kernel: NEWEST,
                    target: target.parse().expect("an address"),
                    source: with_source.then(|| source.parse().expect("an address")),
                    ttls: first..=u8::try_from(u16::from(first) + count - 1).unwrap_or(u8::MAX),
                    queries,
                    rounds,
                    wait,
                    interval,
                    in_flight: in_flight.into(),
                    ports,
                    sequences: Sequences::new(
                        PortRange::new(low, low + (size - 1)).expect("there is one"),
                        offset.into(),
                    ),
                    reuse,
                }
            },
        )
}

pub fn scripts(os: &'static [Os]) -> impl Strategy<Value = Script> {
    let path = prop::collection::vec((milliseconds(1500), reply()), 1..12);
    let lots = prop::collection::vec(draw(), 0..24);
    (settings(os), path, lots, draw(), any::<bool>()).prop_map(|(settings, path, lots, rest, tells)| {
        let mut script = Script { settings, path, lots: Vec::new(), rest: Lot::Path, tells, interrupted: None };
        let at_once = known(&script, &[ProbeCall::Bind, ProbeCall::Connect, ProbeCall::Socket]);
        let later = known(&script, &[ProbeCall::SoError]);
        let is_busy = |fault: &&Fault| right(fault.cause, fault.errno).action == Action::Skip;
        let busy: Vec<Fault> = at_once.iter().filter(is_busy).copied().collect();
        let one = |faults: &[Fault], which: Index| (!faults.is_empty()).then(|| *which.get(faults));
        let lot = |draw| match draw {
            Draw::Path => Lot::Path,
            Draw::Busy(which) => one(&busy, which).map_or(Lot::Path, Lot::Fails),
            Draw::Fails(which) => one(&at_once, which).map_or(Lot::Path, Lot::Fails),
            Draw::Answers(after, reply, twice) => Lot::Answers { after, reply, twice },
            Draw::FailsLater(after, which, twice) => {
                one(&later, which).map_or(Lot::Path, |fault| Lot::Answers { after, reply: Reply::Failed(fault), twice })
            }
        };
        script.lots = lots.into_iter().map(lot).collect();
        script.rest = lot(rest);
        script
    })
}

/// The failures that findings know of these calls, as this tracer makes them.
fn known(script: &Script, calls: &[ProbeCall]) -> Vec<Fault> {
    let binds = script.settings.ports != PortMode::Ephemeral;
    let calls = calls.iter().filter(|call| binds || **call != ProbeCall::Bind);
    let errno = ErrnoName::new("EINPROGRESS").expect("a known errno");
    calls.flat_map(|&call| faults(script.signal(Fault { call, errno, cause: Cause::None }))).collect()
}
