//! What a tracer did about a trouble, and whether that was right for its cause.
//!
//! The system calls are the evidence; its output says how far it came. `policy::right` has the right actions; this adds
//! only how to judge an exit and a silence.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Next, asks_for, attempts, binds_to, reactions};
use super::profile::Profile;
use super::trouble::{Trouble, address_at};
use crate::knowledge::calls::{Calls, Record};
use crate::knowledge::explain::read;
use crate::knowledge::policy::Action;
use crate::knowledge::policy::right::{Consequence, decision, right};
use crate::plan::Outcome;
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, PortChoice, words};

/// More failed attempts than a tracer has probes.
const MANY: usize = 64;
/// How many failed calls are shown, with what came next.
const SHOWN: usize = 2;
/// How many lines of what a tracer says are shown.
const LINES: usize = 4;
/// How tracers say that they may not do what they have to, in lower case.
const UNPRIVILEGED: &[&str] =
    &["privilege", "not permitted", "permission denied", "as root", "be root", "not root", "superuser", "cap_net_raw"];

words! {
    /// What a tracer did about a trouble.
    Behaviour {
        /// It found the whole path, and no call of a probe failed.
        Completes = "completes",
        /// It found the whole path, by trying other ports.
        Skips = "skips",
        /// It tried other ports where the port is not the trouble.
        SkipsInVain = "skips-in-vain",
        /// It went on, and lost probes.
        LosesProbes = "loses-probes",
        /// It ended and said why.
        Aborts = "aborts",
        /// It ended, and what it said does not name the error.
        EndsUnclearly = "ends-unclearly",
        /// It ended without a word.
        EndsSilently = "ends-silently",
        /// It was still making calls that failed when its time was up.
        Spins = "spins",
        /// It was not, and had not ended either.
        Hangs = "hangs",
        /// A signal killed it.
        Crashes = "crashes",
        /// It never does what the trouble makes fail.
        NotExercised = "not-exercised",
        /// It could not be started, or the trouble could not be made.
        NotRun = "not-run",
    }
}

words! {
    /// Whether that was the right thing to do.
    BehaviourVerdict {
        Right = "right",
        Wrong = "wrong",
        /// Nothing can be said: the trouble does not touch what the tracer does, or this host cannot make it.
        NotExercised = "not-exercised",
        /// Nothing can be said: the run was none, or the tracer does not even work without trouble.
        Broken = "broken",
    }
}

/// A run of a tracer, as far as it left something behind.
#[derive(Clone, Debug)]
pub struct TracerRun<'r> {
    pub calls: &'r Calls,
    pub timed_out: bool,
    pub output: &'r str,
    pub errors: &'r str,
}

/// What there is to say about one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BehaviourJudgement {
    pub behaviour: Behaviour,
    pub verdict: BehaviourVerdict,
    pub kind: Option<Consequence>,
    pub why: String,
    /// The TTLs whose routers, or server, are in its output at their place. Without a pattern for it, the TTLs of the
    /// probes that were under way.
    pub reached: BTreeSet<u8>,
    /// The line that names the error, or else what it complains about, in a few lines.
    pub message: Option<String>,
    /// The calls that show it, a line each.
    pub proof: Vec<String>,
}

pub fn judge(trouble: Trouble, profile: &Profile, run: &TracerRun<'_>) -> BehaviourJudgement {
    let calls = &run.calls.calls;
    let attempts = attempts(calls, run.calls.os);
    let reactions = reactions(&attempts, !run.timed_out);
    let reached = reached(profile, run.output, &attempts);
    let complete = (1..=trouble.last()).all(|ttl| reached.contains(&ttl));
    let message = message(run, calls, trouble);
    let failed: Vec<&Attempt> = attempts.iter().filter(|attempt| attempt.failure.is_some()).collect();
    let took = |next: Next| reactions.iter().any(|(_, taken)| *taken == Some(next));
    let code = run.calls.exit_code;

    let is_vain = |(index, next): &(usize, Option<Next>)| {
        let port = attempts[*index].failure.map(|signal| signal.port);
        [Some(Next::Skip), Some(Next::Retry)].contains(next) && !is_port_to_blame(trouble, port)
    };

    let behaviour = if run.timed_out {
        if failed.len() > MANY { Behaviour::Spins } else { Behaviour::Hangs }
    } else if code > 128 || run.errors.contains("panicked at") {
        Behaviour::Crashes
    } else if complete && is_exercised(trouble, profile, calls, &failed) {
        if failed.is_empty() { Behaviour::Completes } else { Behaviour::Skips }
    } else if complete {
        Behaviour::NotExercised
    } else if !calls.iter().any(is_trouble) && !attempts.is_empty() {
        // Raw sockets send from any address, and the answers go elsewhere.
        Behaviour::LosesProbes
    } else if reactions.iter().any(is_vain) {
        Behaviour::SkipsInVain
    } else if took(Next::FailProbe) && (code == 0 || message.is_none() || failed.len() < attempts.len()) {
        Behaviour::LosesProbes
    } else if message.is_some() && (code != 0 || reached.is_empty()) {
        Behaviour::Aborts
    } else if took(Next::FailProbe) {
        Behaviour::LosesProbes
    } else if complaint(run).is_some() {
        Behaviour::EndsUnclearly
    } else {
        Behaviour::EndsSilently
    };
    let nothing_sent = attempts.iter().all(|attempt| !attempt.under_way);
    let (verdict, kind, mut why) = verdict(trouble, behaviour, nothing_sent);
    let message = match verdict {
        BehaviourVerdict::Broken => complaint(run).or(message).or_else(|| words_of(run.output)),
        _ => message.or_else(|| complaint(run).filter(|_| behaviour == Behaviour::EndsUnclearly)),
    };
    if verdict == BehaviourVerdict::Broken && lacks_privileges(calls, message.as_deref()) {
        why = "it needs privileges that this user does not have: sudo env \"PATH=$PATH\" errnoscope check …".to_owned();
    }
    let proof = proof(calls, &attempts, &reactions, trouble, profile);
    BehaviourJudgement { behaviour, verdict, kind, why, reached, message, proof }
}

fn verdict(
    trouble: Trouble,
    behaviour: Behaviour,
    nothing_sent: bool,
) -> (BehaviourVerdict, Option<Consequence>, String) {
    let wrong = |kind, why: &str| (BehaviourVerdict::Wrong, Some(kind), why.to_owned());
    let fine = |why: &str| (BehaviourVerdict::Right, None, why.to_owned());
    if trouble == Trouble::Nothing {
        return match behaviour {
            Behaviour::Completes | Behaviour::Skips => fine("the whole path, as it should be"),
            _ => (
                BehaviourVerdict::Broken,
                None,
                "it does not find the path even without trouble: is its profile right?".to_owned(),
            ),
        };
    }
    let cause = trouble.cause();
    let wanted = wanted(cause);
    let judged = |action: Action| {
        let decision = decision(action, wanted);
        match decision.kind {
            Consequence::Right => fine(right(cause, usual(cause)).why),
            kind => wrong(kind, decision.why),
        }
    };
    match behaviour {
        Behaviour::NotExercised => (
            BehaviourVerdict::NotExercised,
            None,
            "none of its calls meets the trouble, and the path is complete".to_owned(),
        ),
        Behaviour::NotRun => (BehaviourVerdict::Broken, None, String::new()),
        Behaviour::Completes | Behaviour::Skips => fine("the whole path, trouble or not"),
        Behaviour::Spins => wrong(Consequence::Hides, "it tries on and on, and never says what is wrong"),
        Behaviour::Hangs => wrong(Consequence::Hides, "it waits for nothing, and never says what is wrong"),
        Behaviour::Crashes => wrong(Consequence::GivesUp, "a signal or a panic ends it"),
        Behaviour::EndsUnclearly => wrong(Consequence::Hides, "it ends, and what it says does not name the error"),
        Behaviour::EndsSilently => wrong(Consequence::Hides, "it ends, and the error is nowhere to be read"),
        Behaviour::Aborts if wanted == Action::FailProbe && nothing_sent => {
            fine("no probe at all could be sent, and it says why")
        }
        Behaviour::Aborts => judged(Action::Abort),
        Behaviour::SkipsInVain => judged(Action::Skip),
        Behaviour::LosesProbes => judged(Action::FailProbe),
    }
}

/// Whether another port may do better, as far as a tracer can know: where all of them are taken, the one that it chose
/// is, and the one that the kernel did not find is not.
fn is_port_to_blame(trouble: Trouble, port: Option<PortChoice>) -> bool {
    match trouble {
        Trouble::PortsExhausted | Trouble::EveryPortHeld => port == Some(PortChoice::Explicit),
        _ => [Action::Skip, Action::Proceed].contains(&wanted(trouble.cause())),
    }
}

/// The action that a policy takes which knows the cause.
fn wanted(cause: Cause) -> Action {
    right(cause, usual(cause)).action
}

/// An errno that the cause accounts for.
fn usual(cause: Cause) -> ErrnoName {
    match cause {
        Cause::None => ErrnoName::EINPROGRESS,
        Cause::NoRoute => ErrnoName::ENETUNREACH,
        Cause::AddressNotLocal | Cause::TupleInUse => ErrnoName::EADDRNOTAVAIL,
        _ => ErrnoName::EADDRINUSE,
    }
}

/// Whether the tracer met the trouble. A run that is not complete did.
fn is_exercised(trouble: Trouble, profile: &Profile, calls: &[Record], failed: &[&Attempt]) -> bool {
    match trouble {
        Trouble::Nothing => true,
        Trouble::SourceNotLocal => trouble.places().source.is_some_and(|source| binds_to(calls, source)),
        Trouble::NoRoute => calls.iter().any(is_about_the_way),
        Trouble::PortsExhausted | Trouble::EveryPortHeld => !failed.is_empty(),
        _ => asks_for(calls, &trouble.ports(profile)),
    }
}

fn is_about_the_way(record: &Record) -> bool {
    [Call::Connect, Call::Sendto].contains(&record.call)
        && matches!(record.outcome.errno(), Some(ErrnoName::ENETUNREACH | ErrnoName::EHOSTUNREACH))
}

fn reached(profile: &Profile, output: &str, attempts: &[Attempt]) -> BTreeSet<u8> {
    let Some(hop) = &profile.hop else {
        return attempts.iter().filter(|attempt| attempt.under_way).filter_map(|attempt| attempt.ttl).collect();
    };
    let lines = output.lines().filter_map(|line| hop.captures(line));
    let hops =
        lines.filter_map(|found| Some((found.get(1)?.as_str().parse().ok()?, found.get(2)?.as_str().to_owned())));
    let is_there = |ttl: u8, address: &str| (1..=64).contains(&ttl) && address == address_at(ttl).to_string();
    hops.filter(|(ttl, address)| is_there(*ttl, address)).map(|(ttl, _)| ttl).collect()
}

/// The first line that says an errno which some call has had, as `explain` reads it, or the address that is not to be
/// had.
fn message(run: &TracerRun<'_>, calls: &[Record], trouble: Trouble) -> Option<String> {
    let errnos: BTreeSet<&str> = calls.iter().filter(|it| is_trouble(it)).map(|it| it.outcome.name()).collect();
    let said = |line: &&str| {
        // tcptraceroute: "requested local port is already in use".
        if line.contains("already in use") && errnos.contains(ErrnoName::EADDRINUSE.as_str()) {
            return true;
        }
        let Ok(readings) = read::read(line) else { return false };
        readings.iter().any(|reading| {
            let numbered = || reading.number.and_then(|number| ErrnoName::numbered(run.calls.os, number));
            reading.errno.or_else(numbered).is_some_and(|errno| errnos.contains(errno.as_str()))
        })
    };
    let source = trouble.places().source.map(|source| source.to_string());
    let names_source = |line: &&str| source.as_ref().is_some_and(|source| line.contains(source));
    let named = run.errors.lines().chain(run.output.lines()).find(said);
    let found = named
        .or_else(|| run.errors.lines().find(names_source).filter(|_| run.calls.exit_code != 0 && !errnos.is_empty()));
    found.map(|line| line.trim().to_owned())
}

/// What it says on standard error: all of it, or how it begins and ends.
fn complaint(run: &TracerRun<'_>) -> Option<String> {
    words_of(run.errors)
}

fn words_of(text: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // Some say the error first, others last.
    if lines.len() > LINES {
        lines.splice(LINES / 2..lines.len() - LINES / 2, ["…"]);
    }
    Some(lines.join("\n")).filter(|words| !words.is_empty())
}

/// Whether the kernel refused it something that a privilege allows, or it says so.
fn lacks_privileges(calls: &[Record], message: Option<&str>) -> bool {
    let said = message.unwrap_or_default().to_lowercase();
    calls.iter().any(|record| matches!(record.outcome.errno(), Some(ErrnoName::EPERM | ErrnoName::EACCES)))
        || UNPRIVILEGED.iter().any(|word| said.contains(word))
}

/// A call that failed, other than what every trace sees.
fn is_trouble(record: &Record) -> bool {
    let Outcome::Errno(errno) = &record.outcome else { return false };
    !errno.is(ErrnoName::EINPROGRESS) && [Call::Socket, Call::Bind, Call::Connect, Call::Sendto].contains(&record.call)
}

/// The first failed attempts with what came after them; where none failed, the calls that met the trouble.
fn proof(
    calls: &[Record],
    attempts: &[Attempt],
    reactions: &[(usize, Option<Next>)],
    trouble: Trouble,
    profile: &Profile,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, next) in reactions.iter().take(SHOWN) {
        lines.push(attempt(calls, &attempts[*index]));
        if let Some(next) = next {
            let following = attempts.get(index + 1).filter(|_| *next != Next::Abort);
            let following = following.map_or(String::new(), |following| format!(": {}", attempt(calls, following)));
            lines.push(format!("  then {next}{following}"));
        }
    }
    if reactions.len() > SHOWN {
        let (mut counts, all) = (std::collections::BTreeMap::new(), reactions.len());
        for (_, next) in reactions {
            *counts.entry(next.map_or("unclear", Next::as_str)).or_insert(0) += 1;
        }
        let counts: Vec<String> = counts.into_iter().map(|(next, count)| format!("{count} {next}")).collect();
        lines.push(format!("{all} attempts failed: {}", counts.join(", ")));
    }
    if lines.is_empty() {
        let ports = trouble.ports(profile);
        let met = attempts.iter().filter(|attempt| ports.contains(&attempt.port)).take(SHOWN);
        lines.extend(met.map(|met| attempt(calls, met)));
    }
    if lines.is_empty() {
        lines.extend(calls.iter().filter(|record| is_trouble(record)).take(SHOWN).map(call));
    }
    lines
}

fn attempt(calls: &[Record], attempt: &Attempt) -> String {
    let ttl = attempt.ttl.map_or(String::new(), |ttl| format!("TTL {ttl}: "));
    format!("{ttl}{}", attempt.calls.iter().map(|&index| call(&calls[index])).collect::<Vec<_>>().join(", "))
}

/// `bind(10.77.0.1:33434) EADDRINUSE`, without what differs from run to run.
fn call(record: &Record) -> String {
    let address = record.address.map_or(String::new(), |address| address.to_string());
    let from = match (record.call, record.port, record.local) {
        (Call::Connect, PortChoice::Explicit, Some(local)) => format!("{local} → "),
        _ => String::new(),
    };
    format!("{}({from}{address}) {}", record.call, record.outcome.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_decides_what_is_right() {
        use Behaviour::{Aborts, Completes, EndsSilently, LosesProbes, NotExercised, Skips, SkipsInVain, Spins};
        let check = |trouble, behaviour, expected: Option<Consequence>| {
            let (verdict, kind, why) = verdict(trouble, behaviour, true);
            let expected_verdict = if expected.is_some() { BehaviourVerdict::Wrong } else { BehaviourVerdict::Right };
            assert_eq!((verdict, kind), (expected_verdict, expected), "{trouble} {behaviour}: {why}");
        };
        for trouble in Trouble::ALL.iter().copied().filter(|trouble| *trouble != Trouble::Nothing) {
            check(trouble, Completes, None);
            check(trouble, Spins, Some(Consequence::Hides));
            check(trouble, EndsSilently, Some(Consequence::Hides));
            assert_eq!(verdict(trouble, NotExercised, true).0, BehaviourVerdict::NotExercised);
        }
        check(Trouble::PortListening, Skips, None);
        check(Trouble::PortListening, LosesProbes, Some(Consequence::GivesUp));
        check(Trouble::TupleTimeWait, Aborts, Some(Consequence::GivesUp));
        check(Trouble::SourceNotLocal, Aborts, None);
        check(Trouble::SourceNotLocal, LosesProbes, Some(Consequence::Hides));
        check(Trouble::SourceNotLocal, SkipsInVain, Some(Consequence::Hides));
        check(Trouble::PortsExhausted, Aborts, None);
        check(Trouble::EveryPortHeld, LosesProbes, Some(Consequence::Hides));
        check(Trouble::NoRoute, LosesProbes, None);
        check(Trouble::NoRoute, Aborts, None);
        check(Trouble::NoRoute, SkipsInVain, Some(Consequence::Wastes));
        // Some probes were sent: then the others are no reason to end.
        assert_eq!(verdict(Trouble::NoRoute, Aborts, false).1, Some(Consequence::GivesUp));
        assert_eq!(verdict(Trouble::Nothing, Aborts, true).0, BehaviourVerdict::Broken);
    }

    #[test]
    fn a_port_that_was_chosen_is_to_blame_and_one_that_was_not_found_is_not() {
        let (explicit, ephemeral) = (Some(PortChoice::Explicit), Some(PortChoice::Ephemeral));
        assert!(is_port_to_blame(Trouble::EveryPortHeld, explicit));
        assert!(!is_port_to_blame(Trouble::PortsExhausted, ephemeral));
        assert!(is_port_to_blame(Trouble::TupleTimeWait, explicit));
        assert!(!is_port_to_blame(Trouble::SourceNotLocal, explicit));
    }
}
