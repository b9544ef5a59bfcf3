//! The failures of TCP calls that findings know, each with the cause behind it.
//!
//! Those of Linux were observed: the baseline has them. Those of macOS are what its documents and sources lead to
//! expect; nobody has observed them. A probe's socket is new: what the state of a socket causes does not happen to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use errnoscope::knowledge::policy::causes::causes;
use errnoscope::knowledge::policy::derive::targets;
use errnoscope::knowledge::policy::evidence::{CausedSignal, evidence};
use errnoscope::knowledge::policy::right::right;
use errnoscope::knowledge::policy::{Action, ProbeCall, Signal};
use errnoscope::words::cause::Cause;
use errnoscope::words::names::{Os, Protocol};

use crate::common::reports::baseline;
use crate::harness::test;
use crate::tracer::simulated::Fault;

static ITEMS: LazyLock<Vec<CausedSignal>> = LazyLock::new(|| {
    let items = evidence(std::slice::from_ref(baseline())).items;
    let happens = |item: &CausedSignal| item.signal.protocol == Protocol::Tcp && item.cause != Cause::SocketState;
    items.into_iter().filter(happens).collect()
});

/// The faults behind each kind of signal; the errno is the fault's own.
static FAULTS: LazyLock<BTreeMap<Signal, BTreeSet<Fault>>> = LazyLock::new(|| {
    let mut faults: BTreeMap<Signal, BTreeSet<Fault>> = BTreeMap::new();
    for CausedSignal { signal, cause, .. } in ITEMS.iter() {
        let fault = Fault { call: signal.call, errno: signal.errno, cause: *cause };
        faults.entry(*signal).or_default().insert(fault);
    }
    faults
});

/// What is known to happen to a call, whatever the errno: signals like `alike`.
pub fn faults(alike: Signal) -> Vec<Fault> {
    let of = |signal: &Signal| Signal { errno: alike.errno, ..*signal } == alike;
    FAULTS.iter().filter(|(signal, _)| of(signal)).flat_map(|(_, faults)| faults.iter().copied()).collect()
}

/// Signals whose causes want different actions: nobody can decide them right.
pub fn is_ambiguous(signal: Signal) -> bool {
    let faults = FAULTS.get(&signal).into_iter().flatten();
    let actions: BTreeSet<Action> = faults.map(|fault| right(fault.cause, fault.errno).action).collect();
    actions.len() > 1
}

/// What the laws leave out, so that a new one is noticed.
#[test]
fn the_ambiguous_signals_are_known() {
    let (_, ambiguities) = targets(&ITEMS);
    let left_out: Vec<String> = ambiguities
        .iter()
        .map(|found| {
            let (os, call, port, errno) = (found.os, found.call, found.port, found.errno.as_str());
            let sides: Vec<String> = found.sides.iter().map(|side| format!("{} {}", side.cause, side.action)).collect();
            format!("{os} {call} {port} {errno}: {} of {}", found.safe, sides.join(", "))
        })
        .collect();
    let expected = [
        "linux connect explicit EINVAL: abort of unreachable fail-probe, address-invalid abort",
        "linux connect ephemeral EACCES: fail-probe of unreachable fail-probe, permission abort",
        "linux connect ephemeral EINVAL: fail-probe of unreachable fail-probe, address-invalid abort",
        "linux connect ephemeral ENETUNREACH: fail-probe of no-route fail-probe, address-invalid abort",
        "linux SO_ERROR explicit EHOSTUNREACH: proceed of unreachable fail-probe, filtered fail-probe, ttl-exceeded proceed",
        "linux SO_ERROR ephemeral ECONNREFUSED: proceed of filtered fail-probe, refused proceed",
        "linux SO_ERROR ephemeral EHOSTUNREACH: proceed of unreachable fail-probe, filtered fail-probe, ttl-exceeded proceed",
        "macos bind explicit EADDRINUSE: skip of port-in-use skip, permission abort, none abort",
        "macos connect explicit EHOSTUNREACH: fail-probe of no-route fail-probe, address-invalid abort",
        "macos connect ephemeral EADDRNOTAVAIL: abort of unreachable fail-probe, ports-exhausted abort, no-route abort, in-progress abort",
        "macos connect ephemeral EAGAIN: abort of unreachable fail-probe, ports-exhausted abort, no-route abort, in-progress abort",
        "macos connect ephemeral EHOSTUNREACH: fail-probe of no-route fail-probe, unreachable fail-probe, address-invalid abort",
        "macos SO_ERROR explicit ECONNREFUSED: proceed of filtered fail-probe, refused proceed",
        "macos SO_ERROR ephemeral ECONNREFUSED: proceed of filtered fail-probe, refused proceed",
    ];
    assert_eq!(left_out, expected, "{left_out:#?}");
}

#[test]
fn the_findings_are_observed_on_linux_and_expected_of_macos() {
    for item in ITEMS.iter() {
        assert_eq!(!item.basis.is_of_a_host(), item.signal.os == Os::Macos, "{item:?}");
    }
    let count = |os| FAULTS.keys().filter(|signal| signal.os == os).count();
    assert!(count(Os::Linux) > 60 && count(Os::Macos) > 60, "{} and {}", count(Os::Linux), count(Os::Macos));
    let calls: BTreeSet<ProbeCall> = FAULTS.keys().map(|signal| signal.call).collect();
    assert_eq!(calls.len(), ProbeCall::ALL.len());
}

/// Whoever gets such a signal is told the cause that the finding has.
#[test]
fn the_cause_of_a_finding_is_among_the_causes_of_its_signal() {
    let kernel = errnoscope::sys::machine().kernel();
    let mut told: BTreeMap<Signal, Vec<_>> = BTreeMap::new();
    for item in ITEMS.iter() {
        let causes = told.entry(item.signal).or_insert_with(|| causes(&item.signal, &kernel));
        assert!(causes.contains(&item.cause), "{}: {} is not in {causes:?}", item.signal, item.case);
    }
}
