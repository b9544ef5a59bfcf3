//! The tracer's state machine: it is told what happened, and says what to do next.
//!
//! It makes no call and reads no clock.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::answer::{Meaning, meaning};
use super::horizon::Horizon;
use super::record::{
    Choices, Decision, Failure, Fate, IcmpError, ProbeRecord, Reply, RoundEnd, Trace, abort, milliseconds,
};
use super::round::Round;
use super::{Dispatched, FailedCall, PortMode, Probe, ProbeId, ProbeReply, Sequences, TraceSettings, TracerCall};
use crate::knowledge::policy::right::right;
use crate::knowledge::policy::{Action, Policy, Signal};
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, Protocol};

/// A trace under way.
#[derive(Debug)]
pub struct State<'t> {
    settings: &'t TraceSettings,
    policy: &'t Policy,
    sequences: Sequences,
    trace: Trace,
    round: Round,
    under_way: BTreeMap<ProbeId, Flight>,
    /// When the last probe was issued.
    issued: Duration,
    /// Probes whose sockets are of no use any more.
    forget: VecDeque<ProbeId>,
    /// How far earlier rounds have shown the path to reach.
    known: Option<u8>,
    /// Nothing is sent any more.
    stopped: bool,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    sent: Duration,
    deadline: Duration,
}

/// What a failed call is taken for.
struct Judged {
    signal: Option<Signal>,
    decision: Option<Decision>,
    action: Action,
}

/// What the driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Send(Probe),
    /// The probe's socket is not needed any more.
    Forget(ProbeId),
    /// Nothing, until an answer comes or until this time.
    Wait(Duration),
    Done,
}

impl<'t> State<'t> {
    pub fn new(settings: &'t TraceSettings, policy: &'t Policy) -> State<'t> {
        let (first, last) = (*settings.ttls.start(), *settings.ttls.end());
        let round = Round::new(1, Duration::ZERO, &settings.ttls, settings.queries, Horizon::new(first, last));
        let trace = Trace { settings: choices(settings, policy), probes: Vec::new(), rounds: 1, ended: None };
        let sequences = match settings.ports {
            // Where the target is this host, a connection from its port to itself would be taken for an open port.
            PortMode::Sequence => settings.sequences.without(settings.target.port()),
            PortMode::Fixed(_) | PortMode::Ephemeral | PortMode::BindZero => settings.sequences,
        };
        State {
            settings,
            policy,
            sequences,
            trace,
            round,
            under_way: BTreeMap::new(),
            issued: Duration::ZERO,
            forget: VecDeque::new(),
            known: None,
            stopped: false,
        }
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    pub fn into_trace(self) -> Trace {
        self.trace
    }

    /// What to do at `now`. Each call makes progress, or waits for a later time.
    pub fn next(&mut self, now: Duration) -> Next {
        self.expire(now);
        loop {
            if let Some(probe) = self.forget.pop_front() {
                return Next::Forget(probe);
            }
            let deadline = self.under_way.values().map(|flight| flight.deadline).min();
            if self.stopped {
                return deadline.map_or(Next::Done, Next::Wait);
            }
            if self.under_way.len() < self.bound()
                && let Some((ttl, sequence)) = self.take()
            {
                return Next::Send(self.issue(ttl, sequence, now));
            }
            match deadline {
                None if self.round.is_sent() => {
                    let start = self.round.started + self.settings.interval;
                    if self.round.number == self.settings.rounds {
                        self.finish();
                    } else if now < start {
                        return Next::Wait(start);
                    } else {
                        self.start_round(now);
                    }
                }
                // Only now: what was under way might have shown that the path ends before the numbers do.
                None if self.sequences.are_spent() => self.spent(self.sequences.size()),
                None => self.round.horizon.stalled(),
                Some(deadline)
                    if self.round.is_sent() || self.sequences.are_spent() || !self.round.horizon.is_open() =>
                {
                    return Next::Wait(deadline);
                }
                Some(deadline) => {
                    let timeout = Horizon::stall_timeout(self.settings.wait, self.round.slowest);
                    let stall = self.round.last_progress + timeout;
                    if now < stall {
                        return Next::Wait(deadline.min(stall));
                    }
                    self.round.last_progress = now;
                    self.round.horizon.stalled();
                }
            }
        }
    }

    /// How a probe's calls went.
    pub fn dispatched(&mut self, probe: ProbeId, dispatched: Dispatched, now: Duration) {
        self.record(probe).source = dispatched.source.or(self.record(probe).source);
        let Err(failed) = dispatched.result else {
            self.send(probe);
            return self.record_answer(probe, &ProbeReply { at: now, error: Ok(()), icmp: None });
        };
        let Judged { signal, decision, action } = self.judge(&failed);
        let took = failed.call == TracerCall::Connect;
        let in_progress = took && matches!(failed.errno.known(), Some(ErrnoName::EINPROGRESS | ErrnoName::EALREADY));
        match action {
            Action::Proceed if in_progress => return self.send(probe),
            Action::Proceed if took => {
                // The answer was there before connect() returned.
                self.send(probe);
                let answer = ProbeReply { at: now, error: Err(failed.errno.clone()), icmp: None };
                self.record(probe).failure = Some(failure(failed, decision));
                return self.record_answer(probe, &answer);
            }
            Action::Skip => {
                self.record(probe).failure = Some(failure(failed, decision));
                self.skip(probe);
            }
            // Without a socket that is bound there is nothing to proceed with.
            Action::Proceed | Action::FailProbe => self.fail(probe, failure(failed, decision)),
            Action::Abort => {
                let cause = failed.cause;
                let failure = failure(failed, decision);
                self.fail(probe, failure.clone());
                self.end(RoundEnd::Aborted(abort(failure, cause, signal.as_ref(), &self.settings.kernel)));
            }
        }
        self.forget.push_back(probe);
    }

    /// What came back for a probe. Too late is as good as never.
    pub fn answered(&mut self, probe: ProbeId, answer: ProbeReply) {
        if self.flight(probe, &answer).is_none() {
            return;
        }
        let Err(errno) = &answer.error else { return self.record_answer(probe, &answer) };
        let operands = self.record(probe).source.unwrap_or(self.settings.target).to_string();
        let failed = FailedCall { call: TracerCall::SoError, operands, errno: errno.clone(), cause: None };
        let Judged { signal, decision, action } = self.judge(&failed);
        let failure = failure(failed, decision);
        self.record(probe).failure = Some(failure.clone());
        match action {
            // About the port, and not about the path.
            Action::Skip => {
                self.under_way.remove(&probe);
                self.forget.push_back(probe);
                self.round.last_progress = answer.at;
                self.skip(probe);
            }
            Action::FailProbe | Action::Proceed => self.record_answer(probe, &answer),
            Action::Abort => {
                self.record_answer(probe, &answer);
                self.end(RoundEnd::Aborted(abort(failure, None, signal.as_ref(), &self.settings.kernel)));
            }
        }
    }

    /// A probe under way, unless the answer comes too late.
    fn flight(&self, probe: ProbeId, answer: &ProbeReply) -> Option<Flight> {
        self.under_way.get(&probe).copied().filter(|flight| answer.at <= flight.deadline)
    }

    /// Takes the answer to a probe under way for what it says about the path.
    fn record_answer(&mut self, probe: ProbeId, answer: &ProbeReply) {
        let Some(flight) = self.flight(probe, answer) else { return };
        self.under_way.remove(&probe);
        self.forget.push_back(probe);
        let meaning = meaning(self.settings.target, answer);
        let rtt = answer.at.saturating_sub(flight.sent);
        let target = self.settings.target.ip();
        let record = self.record(probe);
        let ttl = record.ttl;
        if meaning == Meaning::Silence {
            record.fate = Fate::Silent;
        } else {
            record.fate = Fate::Answered;
            let from = answer.icmp.map(|icmp| icmp.from);
            record.answer = Some(Reply {
                meaning,
                from: from.or(matches!(meaning, Meaning::Open | Meaning::Closed).then_some(target)),
                icmp: answer.icmp.map(|icmp| IcmpError { kind: icmp.kind, code: icmp.code }),
                rtt_ms: milliseconds(rtt),
            });
        }
        self.round.last_progress = answer.at;
        if meaning != Meaning::Silence {
            self.round.slowest = self.round.slowest.max(rtt);
        }
        if meaning == Meaning::Router {
            self.round.horizon.answered(ttl);
        }
        if meaning.ends_path() {
            self.round.ended(ttl);
            let end = self.round.end;
            self.abandon(|ttl| end.is_some_and(|end| ttl > end));
        }
    }

    /// Its port is taken: it is to be sent from another.
    fn skip(&mut self, probe: ProbeId) {
        let record = self.record(probe);
        record.fate = Fate::Skipped;
        let ttl = record.ttl;
        match self.settings.ports {
            // The only port there is.
            PortMode::Fixed(_) => self.spent(1),
            PortMode::Sequence | PortMode::Ephemeral | PortMode::BindZero => self.round.again(ttl),
        }
    }

    /// Somebody wants it to end now.
    pub fn interrupt(&mut self) {
        self.end(RoundEnd::Interrupted);
        self.abandon(|_| true);
    }

    fn bound(&self) -> usize {
        match self.settings.ports {
            // Two probes from one port to one target would be one 4-tuple.
            PortMode::Fixed(_) => 1,
            PortMode::Sequence | PortMode::Ephemeral | PortMode::BindZero => self.settings.in_flight,
        }
    }

    /// The TTL and the sequence number of the probe to send next, if one may be sent now. One that may not takes no
    /// number.
    fn take(&mut self) -> Option<(u8, u16)> {
        if self.sequences.are_spent() {
            return None;
        }
        let ttl = self.round.take()?;
        Some((ttl, self.sequences.take()?))
    }

    fn issue(&mut self, ttl: u8, sequence: u16, now: Duration) -> Probe {
        let port = match self.settings.ports {
            PortMode::Sequence => Some(sequence),
            PortMode::Fixed(port) => Some(port),
            PortMode::Ephemeral => None,
            PortMode::BindZero => Some(0),
        };
        let id = ProbeId(self.trace.probes.len());
        self.issued = now;
        let known = port.filter(|port| *port != 0);
        let source = self.settings.source.zip(known).map(|(address, port)| SocketAddr::new(address, port));
        self.trace.probes.push(ProbeRecord {
            round: self.round.number,
            ttl,
            sequence,
            source,
            at_ms: milliseconds(now),
            fate: Fate::UnderWay,
            failure: None,
            answer: None,
        });
        Probe { id, ttl, port }
    }

    /// Its time runs from before its calls: the answer may be there before the last of them returns.
    fn send(&mut self, probe: ProbeId) {
        let sent = self.issued;
        self.under_way.insert(probe, Flight { sent, deadline: sent + self.settings.wait });
        self.round.last_progress = sent;
    }

    fn fail(&mut self, probe: ProbeId, failure: Failure) {
        let record = self.record(probe);
        record.fate = Fate::Failed;
        record.failure = Some(failure);
    }

    /// The one place where the policy is asked. It knows no call but a probe's, and no errno without a name; and a
    /// cause that the host has told is not its business.
    fn judge(&self, failed: &FailedCall) -> Judged {
        let errno = ErrnoName::new(failed.errno.name());
        if let (Some(cause), Some(errno)) = (failed.cause, errno) {
            return Judged { signal: None, decision: None, action: right(cause, errno).action };
        }
        let signal = failed.call.probe_call().zip(errno).map(|(call, errno)| Signal {
            os: self.settings.os,
            call,
            port: self.settings.ports.choice(call),
            protocol: Protocol::Tcp,
            family: Family::of(self.settings.target.ip()),
            reuse: self.settings.reuse,
            errno,
        });
        let decision = signal.map(|signal| {
            let (rule, action) = self.policy.decide(&signal);
            Decision { rule: rule as u64 + 1, action }
        });
        Judged { signal, decision, action: decision.map_or(Action::Abort, |decision| decision.action) }
    }

    fn record(&mut self, probe: ProbeId) -> &mut ProbeRecord {
        &mut self.trace.probes[probe.0]
    }

    fn expire(&mut self, now: Duration) {
        let late: Vec<ProbeId> =
            self.under_way.iter().filter(|(_, flight)| flight.deadline <= now).map(|(&probe, _)| probe).collect();
        for probe in late {
            self.under_way.remove(&probe);
            self.record(probe).fate = Fate::Silent;
            self.forget.push_back(probe);
        }
    }

    fn abandon(&mut self, which: impl Fn(u8) -> bool) {
        let probes: Vec<ProbeId> = self.under_way.keys().copied().collect();
        for probe in probes {
            if which(self.record(probe).ttl) {
                self.under_way.remove(&probe);
                self.record(probe).fate = Fate::Abandoned;
                self.forget.push_back(probe);
            }
        }
    }

    fn start_round(&mut self, now: Duration) {
        self.known = self.round.end.or(self.known);
        let last = *self.settings.ttls.end();
        // Without an end, everything was probed to no avail once, and there is no reason to wait for it again.
        let horizon = Horizon::known(self.known.map_or(last, |end| end.min(last)), last);
        let number = self.round.number + 1;
        // Answers take as long as they took before: without that, a slow one would look like silence again.
        let slowest = self.round.slowest;
        self.round = Round::new(number, now, &self.settings.ttls, self.settings.queries, horizon);
        self.round.slowest = slowest;
        self.sequences.start_round();
        self.trace.rounds = number;
    }

    /// None of the `numbers` that the round could try is left.
    fn spent(&mut self, numbers: u32) {
        let round = self.round.number;
        let tried = Trace::tried(self.trace.probes.iter().filter(|record| record.round == round));
        self.end(RoundEnd::SequencesSpent { round, numbers: numbers.into(), tried });
    }

    /// Every round is through: what they have shown.
    fn finish(&mut self) {
        let ending = |record: &&ProbeRecord| record.answer.as_ref().is_some_and(|answer| answer.meaning.ends_path());
        let last_round = self.trace.probes.iter().filter(ending).map(|record| record.round).max();
        let nearest = self.trace.probes.iter().filter(ending);
        let nearest = nearest.filter(|record| Some(record.round) == last_round).min_by_key(|record| record.ttl);
        let ended = match nearest.and_then(|record| Some((record.ttl, record.answer.as_ref()?))) {
            Some((ttl, answer)) if answer.meaning == Meaning::Unreachable => {
                RoundEnd::Unreachable { ttl, from: answer.from }
            }
            Some((ttl, answer)) => RoundEnd::Reached { ttl, open: answer.meaning == Meaning::Open },
            None if self.trace.probes.iter().any(ProbeRecord::was_sent) => RoundEnd::NotReached,
            None => RoundEnd::NothingSent { tried: Trace::tried(self.trace.probes.iter()) },
        };
        self.end(ended);
    }

    /// The first reason counts. What is under way may still be answered: the hops found so far are worth the wait.
    fn end(&mut self, ended: RoundEnd) {
        self.stopped = true;
        self.trace.ended.get_or_insert(ended);
    }
}

fn failure(failed: FailedCall, decision: Option<Decision>) -> Failure {
    let FailedCall { call, operands, errno, cause: _ } = failed;
    Failure { call, operands, errno: errno.name().to_owned(), raw: errno.raw(), decision }
}

fn choices(settings: &TraceSettings, policy: &Policy) -> Choices {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Choices {
        os: settings.os,
        target: settings.target,
        source: settings.source,
        first_ttl: *settings.ttls.start(),
        max_ttl: *settings.ttls.end(),
        queries: settings.queries,
        rounds: settings.rounds,
        wait_ms: millis(settings.wait),
        interval_ms: millis(settings.interval),
        in_flight: settings.in_flight as u64,
        port_mode: settings.ports.name(),
        fixed_port: match settings.ports {
            PortMode::Fixed(port) => Some(port),
            PortMode::Sequence | PortMode::Ephemeral | PortMode::BindZero => None,
        },
        first_sequence: settings.sequences.range().low(),
        last_sequence: settings.sequences.range().high(),
        reuse: settings.reuse,
        policy: policy.name.clone(),
    }
}
