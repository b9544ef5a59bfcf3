//! What holds for every trace, whatever the network does.
//!
//! Ambiguous signals are left out where the right action is the point; `findings` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use errnoscope::knowledge::policy::right::right;
use errnoscope::knowledge::policy::{Action, BUILT_IN, Policy, built_in, read};
use errnoscope::tracer::record::{Fate, ProbeRecord, RoundEnd, Trace};
use errnoscope::tracer::view::{HopRow, TraceView};
use errnoscope::tracer::{PortMode, Sequences, TracerCall};
use errnoscope::words::names::Os;
use errnoscope::words::ports::PortRange;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::FileFailurePersistence;
use proptest::test_runner::TestCaseResult;

use crate::common::tries;
use crate::harness::test;
use crate::tracer::findings::is_ambiguous;
use crate::tracer::scripts::scripts;
use crate::tracer::simulated::{Fault, Lot, Reply, Run, Script, run, run_watched};

static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let read = |name| built_in(name).expect("it is built in").unwrap_or_else(|problem| panic!("{problem}"));
    BUILT_IN.iter().map(|(name, _)| read(name)).collect()
});

pub fn policy(name: &str) -> &'static Policy {
    POLICIES.iter().find(|policy| policy.name == name).expect("it is built in")
}

/// Takes every error that comes back for a busy port.
fn skips_answers() -> Policy {
    let text = r#"
        format = "errnoscope-policy/1"
        name = "skips-answers"
        why = "Wrong on purpose."
        [[rule]]
        errno = ["EINPROGRESS", "EALREADY"]
        action = "proceed"
        why = "the probe is under way"
        [[rule]]
        call = "SO_ERROR"
        action = "skip"
        why = "wrong on purpose"
        [[rule]]
        action = "abort"
        why = "nothing else is of interest"
    "#;
    read("skips-answers.toml", text).expect("a policy")
}

/// What the policy did about each fault that the tracer saw, with the right action where there is one.
fn decided<'r>(script: &'r Script, run: &'r Run) -> impl Iterator<Item = (Fault, Action, Action)> + 'r {
    run.trace.probes.iter().zip(&run.met).filter_map(|(record, met)| {
        let (fault, failure) = (met.fault?, record.failure.as_ref()?);
        let same = failure.call.probe_call() == Some(fault.call) && failure.errno == fault.errno.as_str();
        let action = failure.decision.filter(|_| same)?.action;
        let only = !is_ambiguous(script.signal(fault));
        only.then(|| (fault, action, right(fault.cause, fault.errno).action))
    })
}

/// No real error is taken for a busy port.
pub fn hides_no_error(script: &Script, run: &Run) -> TestCaseResult {
    for (fault, action, right) in decided(script, run) {
        prop_assert!((action, right) != (Action::Skip, Action::Abort), "{fault:?}: tried the next port");
    }
    Ok(())
}

/// No trace is lost to a busy port or 4-tuple while there are other ports.
pub fn loses_nothing_to_a_busy_port(script: &Script, run: &Run) -> TestCaseResult {
    for (fault, action, right) in decided(script, run) {
        prop_assert!((action, right) != (Action::Abort, Action::Skip), "{fault:?}: gave up");
    }
    let probes = &run.trace.probes;
    for (index, skipped) in probes.iter().enumerate().filter(|(_, record)| record.fate == Fate::Skipped) {
        match probes.get(index + 1).filter(|next| next.round == skipped.round) {
            Some(next) => prop_assert_eq!(next.ttl, skipped.ttl, "the probe is sent from the next port"),
            None => prop_assert!(nothing_is_left(script, &run.trace, skipped.round), "there were other ports"),
        }
    }
    if let Some(RoundEnd::SequencesSpent { round, numbers, .. }) = run.trace.ended {
        prop_assert!(nothing_is_left(script, &run.trace, round));
        prop_assert!(numbers == 1 || numbers == u64::from(script.settings.sequences.size()));
    }
    Ok(())
}

/// Whether no port is left to a round that could not be finished.
fn nothing_is_left(script: &Script, trace: &Trace, round: u32) -> bool {
    let of_round = || trace.probes.iter().filter(|record| record.round == round);
    let all = of_round().count() as u64 == u64::from(script.settings.sequences.size());
    let the_only_one = matches!(script.settings.ports, PortMode::Fixed(_))
        && of_round().next_back().is_some_and(|record| record.fate == Fate::Skipped);
    all || the_only_one
}

/// A probe that is skipped is sent again, however late its port turned out to be taken, and says nothing about the
/// path.
fn a_skip_ends_nothing(script: &Script, run: &Run) -> TestCaseResult {
    let probes = &run.trace.probes;
    let ending = |record: &&ProbeRecord| record.answer.as_ref().is_some_and(|answer| answer.meaning.ends_path());
    for (index, skipped) in probes.iter().enumerate().filter(|(_, record)| record.fate == Fate::Skipped) {
        prop_assert!(skipped.answer.is_none(), "{skipped:?} is skipped and answered");
        let of_round = || probes.iter().filter(|record| record.round == skipped.round);
        let is_again = |next: &ProbeRecord| (next.round, next.ttl) == (skipped.round, skipped.ttl);
        let beyond = || of_round().filter(ending).any(|end| end.ttl < skipped.ttl);
        let over = || match &run.trace.ended {
            Some(RoundEnd::Aborted(_) | RoundEnd::Interrupted) => skipped.round == run.trace.rounds,
            _ => nothing_is_left(script, &run.trace, skipped.round),
        };
        // The next is near; the others look at all probes.
        let is_right = probes[index + 1..].iter().any(is_again) || beyond() || over();
        prop_assert!(is_right, "{skipped:?} is not sent again");
    }
    Ok(())
}

/// A round has a sequence number once.
fn repeats_no_sequence(script: &Script, run: &Run) -> TestCaseResult {
    let mut taken = BTreeSet::new();
    let sequences = script.settings.sequences;
    for ProbeRecord { round, sequence, .. } in &run.trace.probes {
        prop_assert!(taken.insert((round, sequence)), "sequence number {sequence} twice in round {round}");
        prop_assert!(sequences.range().contains(*sequence));
    }
    Ok(())
}

/// It ends, and in time. The network itself holds the number of probes and of waits against their bounds.
///
/// A round lasts as long as some probe is under way, each of them for `wait` at most: the longest trace sends one probe
/// after the other and gets no answer. Only between rounds nothing is under way, for `interval` at most.
fn ends(script: &Script, run: &Run) -> TestCaseResult {
    let (totals, trace) = (run.trace.totals(), &run.trace);
    prop_assert!(trace.ended.is_some());
    prop_assert!(trace.probes.iter().all(|record| record.fate != Fate::UnderWay));
    let skipped_late = trace.probes.iter().filter(|record| {
        let failure = record.failure.as_ref().filter(|_| record.fate == Fate::Skipped);
        failure.is_some_and(|failure| failure.call == TracerCall::SoError)
    });
    let under_way = totals.sent + skipped_late.count() as u64;
    let waits = script.settings.wait * u32::try_from(under_way).expect("few");
    let most = waits + script.settings.interval * (trace.rounds - 1);
    prop_assert!(run.elapsed <= most, "it took {:?}, and {most:?} is the longest", run.elapsed);
    prop_assert!((1..=script.settings.rounds).contains(&trace.rounds));
    Ok(())
}

/// Every probe is accounted for, and every answer that came in time is reported.
fn loses_no_answer(script: &Script, run: &Run) -> TestCaseResult {
    let (trace, totals) = (&run.trace, run.trace.totals());
    prop_assert_eq!(totals.issued, totals.sent + totals.skipped + totals.failed);
    prop_assert_eq!((totals.issued, trace.probes.len()), (run.met.len() as u64, run.met.len()));
    let mut ends: BTreeMap<u32, u8> = BTreeMap::new();
    let ending = |record: &&ProbeRecord| record.answer.as_ref().is_some_and(|answer| answer.meaning.ends_path());
    for record in trace.probes.iter().filter(ending) {
        ends.entry(record.round).and_modify(|end| *end = record.ttl.min(*end)).or_insert(record.ttl);
    }
    let end = |round| ends.get(&round).copied().unwrap_or(u8::MAX);
    let hops = trace.hops();
    let last = ends.values().max().copied().unwrap_or(u8::MAX);
    for (record, met) in trace.probes.iter().zip(&run.met) {
        let in_time = met.due.is_some_and(|due| due <= met.sent + script.settings.wait && due < run.elapsed);
        let silent = met.fault.is_some_and(|fault| fault.errno.as_str() == "ETIMEDOUT");
        if in_time && record.was_sent() && !silent {
            let beyond = record.fate == Fate::Abandoned && record.ttl > end(record.round);
            prop_assert!(record.fate == Fate::Answered || beyond, "{record:?} was answered");
        }
        if let Some(answer) = record.answer.as_ref().filter(|_| record.ttl <= last) {
            let told = hops.iter().filter(|hop| hop.ttl == record.ttl).flat_map(|hop| &hop.answers);
            let mut alike = told.filter(|told| (told.address, told.meaning) == (answer.from, answer.meaning));
            prop_assert!(alike.any(|told| told.rtts_ms.contains(&answer.rtt_ms)), "{record:?} is in no hop");
        }
        if record.fate == Fate::Abandoned && matches!(trace.ended, Some(RoundEnd::SequencesSpent { .. })) {
            prop_assert!(record.ttl > end(record.round), "{record:?} might have been answered");
        }
    }
    Ok(())
}

/// Whoever reads why a trace was given up learns which call it was, with what, and what may be behind it.
fn accounts_for_an_abort(script: &Script, run: &Run) -> TestCaseResult {
    let aborted = |record: &&ProbeRecord| {
        let decision = record.failure.as_ref().and_then(|failure| failure.decision);
        decision.is_some_and(|decision| decision.action == Action::Abort)
    };
    let at_fault: Vec<&ProbeRecord> = run.trace.probes.iter().filter(aborted).collect();
    let Some(RoundEnd::Aborted(abort)) = &run.trace.ended else {
        prop_assert!(at_fault.is_empty(), "{at_fault:?} ended nothing");
        return Ok(());
    };
    // Of what was under way when the trace was given up, more may be answered so.
    let first = at_fault.iter().copied().find(|record| record.failure.as_ref() == Some(&abort.failure));
    let Some(record) = first else { return Err(TestCaseError::fail(format!("none of {at_fault:?} ended it"))) };
    let sent = at_fault.iter().filter(|record| record.was_sent()).count();
    prop_assert!(at_fault.len() - sent <= 1, "{at_fault:?}: something was sent after the end");
    let index = run.trace.probes.iter().position(|other| other == record).expect("it is one of them");
    let Some(fault) = run.met[index].fault else { return Err(TestCaseError::fail("nothing was wrong")) };
    prop_assert_eq!(abort.failure.call.probe_call(), Some(fault.call));
    prop_assert_eq!(&abort.failure.errno, fault.errno.as_str());
    prop_assert_eq!(Some(abort.failure.raw), fault.errno.raw(script.settings.os));
    prop_assert!(!abort.failure.operands.is_empty());
    if let Some(operands) = &run.met[index].operands {
        prop_assert_eq!(&abort.failure.operands, operands);
    }
    prop_assert!(abort.causes.contains(&fault.cause), "{:?} does not have {}", abort.causes, fault.cause);
    Ok(())
}

/// No socket is left open, and none given back twice. How many are open at once is the network's to hold.
fn forgets_every_socket(run: &Run) -> TestCaseResult {
    for met in &run.met {
        let times = if met.kept { 1..=1 } else { 0..=1 };
        prop_assert!(times.contains(&met.forgotten), "{:?} was forgotten {} times", met.probe, met.forgotten);
    }
    Ok(())
}

const SEEDS: FileFailurePersistence =
    FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proptest-regressions/laws.txt"));

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: Some(Box::new(SEEDS)), ..tries(512) })]

    /// With the rules that follow from the findings.
    #[test]
    fn the_evidence_hides_no_error_and_loses_nothing_to_a_busy_port(script in scripts(Os::ALL)) {
        let run = run(&script, policy("evidence"));
        hides_no_error(&script, &run)?;
        loses_nothing_to_a_busy_port(&script, &run)?;
    }

    /// With any rules, right or wrong.
    #[test]
    fn a_trace_ends_in_time_and_accounts_for_everything(
        script in scripts(Os::ALL),
        policy in select([POLICIES.as_slice(), &[skips_answers()]].concat()),
    ) {
        let (mut view, mut rows) = (TraceView::default(), Vec::new());
        let first = run_watched(&script, &policy, &mut |trace| rows = view.rows(trace));
        let hops: Vec<HopRow> = first.trace.hops().iter().map(HopRow::from).collect();
        prop_assert_eq!(rows, hops, "whoever looked on saw the same in the end");
        repeats_no_sequence(&script, &first)?;
        ends(&script, &first)?;
        loses_no_answer(&script, &first)?;
        accounts_for_an_abort(&script, &first)?;
        forgets_every_socket(&first)?;
        a_skip_ends_nothing(&script, &first)?;
        prop_assert_eq!(run(&script, &policy).trace, first.trace, "the same inputs give the same trace");
    }

    /// Where every hop answers, in order, and before the horizon takes its patience for silence.
    #[test]
    fn a_short_path_is_not_flooded(
        mut script in scripts(&[Os::Linux]),
        delays in prop::collection::vec(0..100_u64, 5..60),
        end in select(&[Reply::Open, Reply::Closed, Reply::Unreachable][..]),
    ) {
        let mut delays: Vec<Duration> = delays.into_iter().map(Duration::from_millis).collect();
        delays.sort();
        let hops = delays.len();
        script.path = delays.into_iter().map(|delay| (delay, Reply::Router)).collect();
        script.path[hops - 1].1 = end;
        script.lots = Vec::new();
        script.rest = Lot::Path;
        script.settings.ttls = 1..=255;
        script.settings.rounds = 1;
        script.settings.wait = Duration::from_millis(800);
        script.settings.sequences = Sequences::new(PortRange::of::<20_000, 60_000>(), 0);
        let trace = run(&script, policy("evidence")).trace;
        let most = hops * 3 / 2 * usize::from(script.settings.queries);
        prop_assert!(trace.totals().sent <= most as u64, "{} sent over {hops} hops", trace.totals().sent);
        prop_assert_eq!(trace.hops().len(), hops);
    }
}
