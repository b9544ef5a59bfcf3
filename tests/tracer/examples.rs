//! Situations with one outcome, to the millisecond.
//!
//! A path is a word for each TTL: `r` a router, `!H` one that has no way to the target, `open` and `closed` the target,
//! `*` silence; a number behind it says after how many milliseconds, 10 by default.

use std::time::Duration;

use errnoscope::knowledge::policy::ProbeCall;
use errnoscope::scenario::rule::NEWEST;
use errnoscope::tracer::record::{Fate, Hop, RoundEnd, Tried};
use errnoscope::tracer::view::TraceView;
use errnoscope::tracer::{
    Dispatched, FailedCall, Meaning, Next, PortMode, ProbeReply, Sequences, State, TraceSettings, TracerCall,
};
use errnoscope::words::cause::Cause;
use errnoscope::words::errno::{Errno, ErrnoName};
use errnoscope::words::names::{Os, Reuse};
use errnoscope::words::ports::PortRange;

use crate::harness::test;
use crate::tracer::laws::policy;
use crate::tracer::simulated::{Fault, Lot, Reply, Run, Script, run, run_watched};

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn sequences(low: u16, high: u16) -> Sequences {
    Sequences::new(PortRange::new(low, high).expect("there are some"), 0)
}

pub fn script(path: &str) -> Script {
    let station = |word: &str| {
        let name = word.trim_end_matches(|char: char| char.is_ascii_digit());
        let reply = match name {
            "r" => Reply::Router,
            "!H" => Reply::Unreachable,
            "open" => Reply::Open,
            "closed" => Reply::Closed,
            "*" => Reply::Silence,
            other => panic!("nobody answers like `{other}`"),
        };
        (ms(word[name.len()..].parse().unwrap_or(10)), reply)
    };
    let settings = TraceSettings {
        os: Os::Linux,
        kernel: NEWEST,
        target: "192.0.2.99:80".parse().expect("an address"),
        source: None,
        ttls: 1..=30,
        queries: 1,
        rounds: 1,
        wait: ms(1000),
        interval: Duration::ZERO,
        in_flight: 64,
        ports: PortMode::Sequence,
        sequences: sequences(33_434, 65_535),
        reuse: Reuse::None,
    };
    let path = path.split_whitespace().map(station).collect();
    Script { settings, path, lots: Vec::new(), rest: Lot::Path, tells: true, interrupted: None }
}

pub fn fault(call: ProbeCall, errno: &str, cause: Cause) -> Fault {
    Fault { call, errno: ErrnoName::new(errno).expect("a known errno"), cause }
}

fn fails(call: ProbeCall, errno: &str, cause: Cause) -> Lot {
    Lot::Fails(fault(call, errno, cause))
}

fn busy_port() -> Lot {
    fails(ProbeCall::Bind, "EADDRINUSE", Cause::PortInUse)
}

fn trace(path: &str, change: impl Fn(&mut Script)) -> Run {
    let mut script = script(path);
    change(&mut script);
    run(&script, policy("evidence"))
}

/// Hops as in a path (`-` where no probe was sent, `*×3` for three of them); the end; the counts; how long it took.
fn told(run: &Run) -> String {
    let word = |hop: &Hop| match hop.answers.first().map(|answer| answer.meaning) {
        Some(Meaning::Router) => "r",
        Some(Meaning::Unreachable) => "!H",
        Some(Meaning::Open) => "open",
        Some(Meaning::Closed) => "closed",
        Some(Meaning::Silence) => "silence",
        None if hop.totals.sent > 0 => "*",
        None => "-",
    };
    let mut hops: Vec<(&str, u32)> = Vec::new();
    for hop in &run.trace.hops() {
        match hops.last_mut().filter(|(last, _)| *last == word(hop)) {
            Some((_, count)) => *count += 1,
            None => hops.push((word(hop), 1)),
        }
    }
    let hop = |&(word, count): &(&str, u32)| if count > 1 { format!("{word}×{count}") } else { word.to_owned() };
    let hops: Vec<String> = hops.iter().map(hop).collect();
    let tried = |tried: &[Tried]| -> String {
        tried.iter().map(|Tried { call, errno, count }| format!(" {call} {errno} ×{count}")).collect()
    };
    let ended = match run.trace.ended.as_ref().expect("it is over") {
        RoundEnd::Reached { ttl, .. } => format!("reached at {ttl}"),
        RoundEnd::Unreachable { ttl, from } => format!("unreachable at {ttl}, says {}", from.expect("who says so")),
        RoundEnd::NotReached => "not reached".to_owned(),
        RoundEnd::NothingSent { tried: all } => format!("nothing sent:{}", tried(all)),
        RoundEnd::Aborted(abort) => {
            let causes: Vec<&str> = abort.causes.iter().map(|cause| cause.as_str()).collect();
            let failure = &abort.failure;
            format!("aborted: {}({}) {}: {}", failure.call, failure.operands, failure.errno, causes.join(" or "))
        }
        RoundEnd::SequencesSpent { round, numbers, tried: all } => {
            format!("spent {numbers} in round {round}:{}", tried(all))
        }
        RoundEnd::Interrupted => "interrupted".to_owned(),
    };
    let totals = run.trace.totals();
    let mut counts = format!("{} sent, {} answered", totals.sent, totals.answered);
    for (count, name) in [(totals.skipped, "skipped"), (totals.failed, "failed")] {
        if count > 0 {
            counts.push_str(&format!(", {count} {name}"));
        }
    }
    format!("{}; {ended}; {counts}; {} ms", hops.join(" "), run.elapsed.as_millis())
}

#[track_caller]
fn check(path: &str, change: impl Fn(&mut Script), expected: &str) {
    assert_eq!(told(&trace(path, change)), expected, "{path}");
}

#[test]
fn a_path_ends_where_the_target_or_somebody_for_it_answers() {
    check("r r r r r open", |_| {}, "r×5 open; reached at 6; 7 sent, 6 answered; 10 ms");
    check("r r r r r closed", |_| {}, "r×5 closed; reached at 6; 7 sent, 6 answered; 10 ms");
    check("open", |_| {}, "open; reached at 1; 7 sent, 1 answered; 10 ms");
    check("r r !H", |_| {}, "r×2 !H; unreachable at 3, says 198.51.100.3; 7 sent, 3 answered; 10 ms");
    check("r r r r r r open", |script| script.settings.ttls = 1..=4, "r×4; not reached; 4 sent, 4 answered; 10 ms");
    check("r r r r open", |script| script.settings.ttls = 3..=30, "r×2 open; reached at 5; 7 sent, 3 answered; 10 ms");
}

#[test]
fn silence_costs_one_wait_and_an_answer_ends_the_wait() {
    check("r r * r r open", |_| {}, "r×2 * r×2 open; reached at 6; 7 sent, 5 answered; 1000 ms");
    check("r * * * r open", |_| {}, "r *×3 r open; reached at 6; 7 sent, 3 answered; 1000 ms");
    // Seven TTLs at once, and twice as many whenever an eighth of the wait has passed: 10, 135, 260, 385 and a wait.
    check("r r r *", |_| {}, "r×3 *×27; not reached; 30 sent, 3 answered; 1385 ms");
    check("r r r420 r open", |_| {}, "r×4 open; reached at 5; 7 sent, 5 answered; 420 ms");
    check("r r25 r20 r15 open", |_| {}, "r×4 open; reached at 5; 7 sent, 5 answered; 25 ms");
}

#[test]
fn a_short_path_costs_at_most_half_as_many_probes_again() {
    for hops in 5..=40_u8 {
        let path = format!("{}open", "r ".repeat(usize::from(hops) - 1));
        for in_flight in [1, 4, 64] {
            let run = trace(&path, |script| {
                script.settings.ttls = 1..=64;
                script.settings.in_flight = in_flight;
            });
            let totals = run.trace.totals();
            assert!(2 * totals.sent <= 3 * u64::from(hops), "{hops} hops, {in_flight} in flight: {}", told(&run));
            assert_eq!(run.trace.ended, Some(RoundEnd::Reached { ttl: hops, open: true }));
        }
    }
}

#[test]
fn only_the_first_answer_in_time_counts() {
    // The second round is under way when the late ones of the first come.
    let two_rounds = |script: &mut Script| {
        script.settings.rounds = 2;
        script.settings.interval = ms(1995);
    };
    check("r r2000 open", two_rounds, "r * open; reached at 3; 10 sent, 4 answered; 2995 ms");
    let twice = |script: &mut Script| {
        let twice = |reply| Lot::Answers { after: ms(10), reply, twice: true };
        script.lots = vec![twice(Reply::Router), twice(Reply::Router), twice(Reply::Open)];
    };
    check("r r open", twice, "r×2 open; reached at 3; 7 sent, 3 answered; 10 ms");
    check("r r open30 open10", |_| {}, "r×2 open; reached at 3; 7 sent, 4 answered; 30 ms");
}

/// A program that is late itself may see an answer that came too late before it sees that the time is over.
#[test]
fn an_answer_after_the_deadline_is_late_whenever_it_is_seen() {
    let Script { settings, .. } = script("open");
    let settings = TraceSettings { ttls: 1..=1, ..settings };
    let evidence = policy("evidence");
    for (at, fate) in [(ms(1000), Fate::Answered), (ms(1001), Fate::Silent)] {
        let mut state = State::new(&settings, evidence);
        let Next::Send(probe) = state.next(Duration::ZERO) else { panic!("there is a probe to send") };
        let errno = Errno::from_raw(Os::Linux, 115);
        let failed = FailedCall { call: TracerCall::Connect, operands: "192.0.2.99:80".to_owned(), errno, cause: None };
        state.dispatched(probe.id, Dispatched { source: None, result: Err(failed) }, Duration::ZERO);
        assert_eq!(state.next(Duration::ZERO), Next::Wait(ms(1000)));
        state.answered(probe.id, ProbeReply { at, error: Ok(()), icmp: None });
        assert_eq!(state.next(ms(1002)), Next::Forget(probe.id));
        assert_eq!(state.next(ms(1002)), Next::Done);
        assert_eq!(state.trace().probes[0].fate, fate, "{at:?}");
    }
}

#[test]
fn a_later_round_begins_in_time_and_looks_no_further_than_the_end_that_is_known() {
    let rounds = |rounds, interval| {
        move |script: &mut Script| {
            script.settings.rounds = rounds;
            script.settings.interval = ms(interval);
        }
    };
    check("r r r open", rounds(3, 500), "r×3 open; reached at 4; 15 sent, 12 answered; 1010 ms");
    check("r r r open", rounds(3, 5), "r×3 open; reached at 4; 15 sent, 12 answered; 30 ms");
    // The first round takes the target for silent at 135, 260 and 385; the second knows how slow it is.
    check("r r r open400", rounds(2, 0), "r×3 open; reached at 4; 34 sent, 8 answered; 800 ms");
    // What the last probe of the second round meets, at the TTL where the path ended in the first.
    let then = |reply| {
        move |script: &mut Script| {
            script.settings.rounds = 2;
            script.lots = vec![Lot::Path; 9];
            script.lots.push(Lot::Answers { after: ms(10), reply, twice: false });
        }
    };
    check("r r open", then(Reply::Silence), "r×2 open; reached at 3; 10 sent, 5 answered; 1010 ms");
    check("r r open", then(Reply::Router), "r×2 open×2; reached at 4; 13 sent, 7 answered; 30 ms");
    // What nobody answered says nothing about how long answers take.
    let given_up = |script: &mut Script| {
        let reply = Reply::Failed(fault(ProbeCall::SoError, "ETIMEDOUT", Cause::NoAnswer));
        script.lots = vec![Lot::Path, Lot::Answers { after: ms(100), reply, twice: false }];
    };
    check("r r *", given_up, "r *×29; not reached; 30 sent, 1 answered; 1475 ms");
}

#[test]
fn a_busy_port_or_4_tuple_costs_a_number_and_nothing_else() {
    let third = |lot: Lot| move |script: &mut Script| script.lots = vec![Lot::Path, Lot::Path, lot];
    let tuple = fails(ProbeCall::Connect, "EADDRNOTAVAIL", Cause::TupleInUse);
    for lot in [busy_port(), tuple] {
        check("r r r open", third(lot), "r×3 open; reached at 4; 7 sent, 4 answered, 1 skipped; 10 ms");
        let probes = trace("r r r open", third(lot)).trace.probes;
        let issued: Vec<(u8, u16)> = probes.iter().take(5).map(|record| (record.ttl, record.sequence)).collect();
        assert_eq!(issued, [(1, 33_434), (2, 33_435), (3, 33_436), (3, 33_437), (4, 33_438)]);
    }
}

/// bind(port 0) has given the probe a port whose 4-tuple is busy: another bind(port 0) gives another.
#[test]
fn a_busy_tuple_of_a_port_that_bind_picked_is_skipped() {
    let bind_zero = |script: &mut Script| {
        script.settings.ports = PortMode::BindZero;
        script.settings.source = Some("192.0.2.1".parse().expect("an address"));
        let tuple = fails(ProbeCall::Connect, "EADDRNOTAVAIL", Cause::TupleInUse);
        script.lots = vec![Lot::Path, tuple, tuple];
    };
    check("r r r open", bind_zero, "r×3 open; reached at 4; 7 sent, 4 answered, 2 skipped; 10 ms");
}

/// The error came back long after connect() had sent the probe, and does not mean that the path ends there.
#[test]
fn a_port_that_turns_out_to_be_taken_ends_no_path() {
    let late = |script: &mut Script| {
        script.settings.in_flight = 2;
        let reply = Reply::Failed(fault(ProbeCall::SoError, "EADDRINUSE", Cause::TupleInUse));
        script.lots = vec![Lot::Answers { after: ms(10), reply, twice: false }];
    };
    check("r r r open", late, "r×3 open; reached at 4; 5 sent, 4 answered, 1 skipped; 30 ms");
}

/// What the host says goes before what any policy makes of the errno: another port is of no use.
#[test]
fn without_an_address_to_send_from_one_probe_is_tried() {
    let Script { settings, .. } = script("open");
    for name in ["evidence", "conflate", "next-port-on-both"] {
        let mut state = State::new(&settings, policy(name));
        let Next::Send(probe) = state.next(Duration::ZERO) else { panic!("there is a probe to send") };
        let failed = FailedCall {
            call: TracerCall::Connect,
            operands: "192.0.2.99:80".to_owned(),
            errno: Errno::from_raw(Os::Linux, 99),
            cause: Some(Cause::NoSourceAddress),
        };
        state.dispatched(probe.id, Dispatched { source: None, result: Err(failed) }, Duration::ZERO);
        assert_eq!(state.next(Duration::ZERO), Next::Forget(probe.id));
        assert_eq!(state.next(Duration::ZERO), Next::Done);
        let Some(RoundEnd::Aborted(abort)) = &state.trace().ended else { panic!("{name}: {:?}", state.trace().ended) };
        assert_eq!((&*abort.causes, abort.failure.decision), (&[Cause::NoSourceAddress][..], None));
    }
}

/// An answer that was there before connect() returned is connect()'s, and is told as such.
#[test]
fn an_error_of_connect_is_not_told_as_one_of_so_error() {
    let refused = |script: &mut Script| script.rest = fails(ProbeCall::Connect, "ECONNREFUSED", Cause::Refused);
    let probes = trace("closed", refused).trace.probes;
    let failure = probes[0].failure.as_ref().expect("it failed");
    assert_eq!((failure.call, probes[0].fate), (TracerCall::Connect, Fate::Answered));
}

#[test]
fn a_real_error_ends_the_trace_and_keeps_its_hops() {
    let fourth = |ports, lot: Lot| {
        move |script: &mut Script| {
            script.settings.in_flight = 1;
            script.settings.ports = ports;
            script.settings.source = Some("192.0.2.1".parse().expect("an address"));
            script.lots = vec![Lot::Path, Lot::Path, Lot::Path, lot];
        }
    };
    use ProbeCall::{Bind, Connect, Socket};
    let ephemeral = |ports, call, errno, cause| fourth(ports, fails(call, errno, cause));
    check(
        "r r r r open",
        ephemeral(PortMode::Ephemeral, Connect, "EADDRNOTAVAIL", Cause::PortsExhausted),
        "r×3 -; aborted: connect(192.0.2.99:80) EADDRNOTAVAIL: ports-exhausted; 3 sent, 3 answered, 1 failed; 30 ms",
    );
    check(
        "r r r r open",
        ephemeral(PortMode::BindZero, Bind, "EADDRINUSE", Cause::PortsExhausted),
        "r×3 -; aborted: bind(192.0.2.1:0) EADDRINUSE: ports-exhausted; 3 sent, 3 answered, 1 failed; 30 ms",
    );
    check(
        "r r r r open",
        fourth(PortMode::Sequence, fails(Bind, "EADDRNOTAVAIL", Cause::AddressNotLocal)),
        "r×3 -; aborted: bind(192.0.2.1:33437) EADDRNOTAVAIL: address-not-local; \
         3 sent, 3 answered, 1 failed; 30 ms",
    );
    check(
        "r r r r open",
        fourth(PortMode::Sequence, fails(Socket, "EMFILE", Cause::DescriptorsExhausted)),
        "r×3 -; aborted: socket(tcp) EMFILE: descriptors-exhausted; 3 sent, 3 answered, 1 failed; 30 ms",
    );
}

/// Where nobody knows what a probe was sent from, an error that comes later says at least where it was sent to.
#[test]
fn an_error_of_an_unknown_source_names_the_target() {
    let untold = |script: &mut Script| {
        let reply = Reply::Failed(fault(ProbeCall::SoError, "ENOBUFS", Cause::None));
        script.tells = false;
        script.settings.ports = PortMode::Ephemeral;
        script.lots = vec![Lot::Answers { after: ms(5), reply, twice: false }];
    };
    check("r r open", untold, "!H; aborted: SO_ERROR(192.0.2.99:80) ENOBUFS: ; 7 sent, 1 answered; 5 ms");
}

#[test]
fn what_no_probe_survives_is_told_as_such() {
    let no_route = |script: &mut Script| script.rest = fails(ProbeCall::Connect, "ENETUNREACH", Cause::NoRoute);
    let expected = "-×30; nothing sent: connect ENETUNREACH ×30; 0 sent, 0 answered, 30 failed; 0 ms";
    check("r open", no_route, expected);
    let all_busy = |script: &mut Script| {
        script.settings.sequences = sequences(40_000, 40_002);
        script.rest = busy_port();
    };
    check("r open", all_busy, "-; spent 3 in round 1: bind EADDRINUSE ×3; 0 sent, 0 answered, 3 skipped; 0 ms");
    let interrupted = |script: &mut Script| script.interrupted = Some(ms(20));
    check("r r25 open", interrupted, "r * open; interrupted; 7 sent, 2 answered; 20 ms");
}

/// What is under way may show that the path is no longer than the numbers last.
#[test]
fn the_last_numbers_are_waited_for() {
    let three = |ports| {
        move |script: &mut Script| {
            script.settings.ports = ports;
            script.settings.sequences = sequences(40_000, 40_002);
        }
    };
    check("r open", three(PortMode::Sequence), "r open; reached at 2; 3 sent, 2 answered; 10 ms");
    check("r r r r open", three(PortMode::Sequence), "r×3; spent 3 in round 1:; 3 sent, 3 answered; 10 ms");
    check("r r * r open", three(PortMode::Ephemeral), "r×2 *; spent 3 in round 1:; 3 sent, 2 answered; 1000 ms");
    check("r r r r open", three(PortMode::Fixed(20_000)), "r×3; spent 3 in round 1:; 3 sent, 3 answered; 30 ms");
    let busy = |script: &mut Script| {
        script.settings.ports = PortMode::Fixed(20_000);
        script.lots = vec![Lot::Path, busy_port()];
    };
    check("r r open", busy, "r -; spent 1 in round 1: bind EADDRINUSE ×1; 1 sent, 1 answered, 1 skipped; 10 ms");
}

/// However long the trace, a look goes over the probes of one round at most.
#[test]
fn looking_on_costs_the_same_in_the_last_round_as_in_the_first() {
    let mut script = script("r r r * open");
    script.settings.queries = 10;
    script.settings.rounds = 1000;
    script.settings.sequences = sequences(33_434, 33_534);
    let (mut view, mut most, mut looks) = (TraceView::default(), 0, 0);
    let run = run_watched(&script, policy("evidence"), &mut |trace| {
        view.rows(trace);
        most = most.max(trace.probes.len() - view.settled());
        looks += 1;
    });
    let probes = run.trace.probes.len();
    assert!(probes >= 1000 * 5 * 10 && looks > 1000, "{probes} probes, {looks} looks");
    assert!(most <= 101, "{most} of {probes} probes were gone over in one look");
    assert_eq!(view.settled(), probes);
}

#[test]
fn numbers_go_around_between_rounds() {
    let run = trace("r open", |script| {
        script.settings.ttls = 1..=2;
        script.settings.rounds = 2;
        script.settings.sequences = sequences(65_533, 65_535);
    });
    let issued: Vec<(u32, u16)> = run.trace.probes.iter().map(|record| (record.round, record.sequence)).collect();
    assert_eq!(issued, [(1, 65_533), (1, 65_534), (2, 65_535), (2, 65_533)]);
}
