//! Holds a worker's observations against preconditions and expectations.
//!
//! Only this module makes verdicts. It sees no kernel: the same observations give the same findings on any machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::xnu_run;
use crate::plan::{Answer, Fate, Hello, Observations, Op, Performed, Plan, Role, StepResult, Unsupported};
use crate::report::finding::{self, Finding, Missing, SubjectRef, TrailEntry, Unjudged, Verdict};
use crate::scenario::witness::Witness;
use crate::scenario::{Case, Compiled, Expectation, Expected, Platform, Scenario, SubjectCall};
use crate::words::names::{Need, Os};
use crate::words::release::version;

/// The findings of one case, one for each subject call that was to be made.
pub fn judge(
    scenario: &Scenario,
    case: &Case,
    compiled: &Compiled,
    hello: &Hello,
    seen: &Observations,
) -> Vec<Finding> {
    let trail: Vec<(u32, Arc<TrailEntry>)> = seen
        .steps
        .iter()
        .filter_map(|result| Some((result.step, Arc::new(trail_entry(&compiled.plan, result)?))))
        .collect();
    let ended = ending(&compiled.plan, seen, hello);
    let mut findings = Vec::new();
    // Why a call was not made. Those after it stand on what it would have done.
    let mut missing: Option<Missing> = None;
    for subject in &compiled.subjects {
        let Some(mut evidence) = evidence(scenario, case, subject, hello) else { continue };
        evidence.trail =
            trail.iter().filter(|(step, _)| *step <= subject.step).map(|(_, entry)| entry.clone()).collect();
        let result = seen.steps.iter().find(|result| result.step == subject.step);
        let made = match (result, &missing) {
            (Some(_), Some(earlier)) => Err(earlier.clone()),
            (Some(result), None) => match &result.result {
                Performed::Outcome(outcome) => {
                    evidence.witness = witness(subject, result);
                    Ok(outcome.clone())
                }
                Performed::Unsupported(lacking) => Err(Missing::Unsupported(lacking.clone())),
                Performed::Failed(why) => Err(Missing::Broken(why.clone())),
            },
            // Not made: either an earlier call has the say, or the case ended before it.
            (None, _) if poisoned(compiled, subject, seen) => continue,
            (None, _) => {
                evidence.trail = trail.iter().map(|(_, entry)| entry.clone()).collect();
                let left_out = || Missing::Broken("the worker left the call out".to_owned().into());
                Err(ended.clone().unwrap_or_else(left_out))
            }
        };
        missing = made.as_ref().err().cloned();
        findings.push(match made {
            Ok(outcome) => Finding::observed(evidence, outcome),
            Err(why) => Finding::without_outcome(evidence, why),
        });
        if findings.last().is_some_and(|finding| finding.verdict() == Verdict::Mismatch) {
            // What follows stands on an outcome that nobody expected: no longer comparable.
            break;
        }
    }
    findings
}

/// The findings of a case that this host cannot run, or whose worker never answered.
pub fn without_run(
    scenario: &Scenario,
    case: &Case,
    compiled: &Compiled,
    hello: &Hello,
    why: &Missing,
) -> Vec<Finding> {
    compiled
        .subjects
        .iter()
        .filter_map(|subject| evidence(scenario, case, subject, hello))
        .map(|evidence| Finding::without_outcome(evidence, why.clone()))
        .collect()
}

/// Adds one more run of a case to what its earlier runs gave: the worst verdict speaks, the outcomes are counted. What
/// is kept does not grow with the number of runs.
pub fn merge(into: &mut Vec<Finding>, run: Vec<Finding>) {
    for finding in run {
        let ordinal = finding.subject.ordinal;
        match into.iter().position(|known| known.subject.ordinal == ordinal) {
            None => into.push(finding.counted()),
            Some(index) => {
                let known = into.swap_remove(index);
                into.push(known.and(finding));
            }
        }
    }
    into.sort_by_key(|finding| finding.subject.ordinal);
}

/// What the expectations of a case say of one subject call, for listings and for findings alike; `None` where no
/// platform is expected to reach it.
pub fn expectations(
    scenario: &Scenario,
    case: &Case,
    subject: &SubjectCall,
    platform: impl Fn(Os) -> Platform,
) -> Option<BTreeMap<Os, Arc<[Expectation]>>> {
    let on = |&os: &Os| {
        let platform = platform(os);
        let expected = scenario.expectations(case, subject.subject, &platform);
        (os, xnu_run::graded(scenario, case, subject, platform, expected))
    };
    let all: BTreeMap<Os, Arc<[Expectation]>> = Os::ALL.iter().map(on).collect();
    all.values().any(|expected| !not_reached(expected)).then_some(all)
}

fn evidence(scenario: &Scenario, case: &Case, subject: &SubjectCall, hello: &Hello) -> Option<Unjudged> {
    // A stack that passes for an OS is not that OS, which is one of those elsewhere.
    let stranger = finding::stranger(hello);
    let platform = |os| if os == hello.os && stranger.is_none() { platform_of(hello) } else { Platform::current(os) };
    let mut all = expectations(scenario, case, subject, platform)?;
    let expected = match stranger {
        None => all.remove(&hello.os).unwrap_or_default(),
        Some(stack) => Arc::new([Expectation {
            outcome: Expected::Unknown.as_str().to_owned().into(),
            authority: None,
            reference: format!("no expectation is written for {stack}").into(),
        }]),
    };
    if not_reached(&expected) {
        return None;
    }
    Some(Unjudged {
        scenario: scenario.id.clone().into(),
        case: case.id.clone().into(),
        axes: case.axes.iter().map(|(axis, value)| (axis.as_str().into(), value.as_str().into())).collect(),
        cause: subject.cause,
        subject: SubjectRef {
            call: subject.call,
            port: subject.port,
            ordinal: subject.ordinal,
            socket: subject.socket,
        },
        expected,
        elsewhere: all,
        witness: Vec::new(),
        unwitnessed: subject.unwitnessed.as_deref().map(Into::into),
        trail: Vec::new(),
    })
}

fn platform_of(hello: &Hello) -> Platform {
    let offers = hello.capabilities.iter().filter(|(_, capability)| capability.available).map(|(&need, _)| need);
    Platform { os: hello.os, release: version(&hello.release), offers: offers.collect() }
}

fn not_reached(expected: &[Expectation]) -> bool {
    expected.iter().all(|expectation| expectation.outcome == Expected::NotReached.as_str()) && !expected.is_empty()
}

/// Whether the call was rightly not made because the one it stands on did not succeed.
fn poisoned(compiled: &Compiled, subject: &SubjectCall, seen: &Observations) -> bool {
    let step = compiled.plan.steps.get(subject.step as usize);
    let Some(earlier) = step.and_then(|step| step.role.requires()) else { return false };
    match seen.steps.iter().find(|result| result.step == earlier) {
        Some(result) => !result.result.went_well(),
        None => compiled
            .subjects
            .iter()
            .find(|other| other.step == earlier)
            .is_some_and(|other| poisoned(compiled, other, seen)),
    }
}

/// Why a case ended before its plan did.
const SIGSYS: i32 = 31;

fn ending(plan: &Plan, seen: &Observations, hello: &Hello) -> Option<Missing> {
    let at = |steps: &[StepResult]| {
        let next = steps.last().map_or(0, |last| last.step as usize + 1);
        plan.steps.get(next).map_or_else(|| "after the last op".to_owned(), |step| format!("in {}", in_words(&step.op)))
    };
    match &seen.fate {
        // What seccomp(2) sends for a call that is forbidden, by its number on Linux.
        Fate::Killed { signal: SIGSYS } if hello.os == Os::Linux => {
            let next = seen.steps.last().map_or(0, |last| last.step as usize + 1);
            let need = plan.steps.get(next).map_or(Need::Linux, |step| step.op.lacks());
            let reason = format!("killed by SIGSYS, {}: a seccomp filter forbids it", at(&seen.steps));
            return Some(Missing::Unsupported(Unsupported { need, reason: reason.into() }));
        }
        Fate::Killed { signal } => {
            return Some(Missing::Broken(format!("killed by signal {signal}, {}", at(&seen.steps)).into()));
        }
        Fate::Exited { code, message } => {
            return Some(Missing::Broken(format!("exited with {code}, {}: {message}", at(&seen.steps)).into()));
        }
        Fate::TimedOut { ms } => {
            return Some(Missing::TimedOut(format!("no end after {ms} ms, {}", at(&seen.steps)).into()));
        }
        Fate::Done => {}
    }
    let last = seen.steps.last()?;
    let step = plan.steps.get(last.step as usize)?;
    if !matches!(step.role, Role::Setup { .. }) {
        return None;
    }
    let op = format!("setup {}", in_words(&step.op));
    let why = match &last.result {
        Performed::Unsupported(lacking) => return Some(Missing::Unsupported(lacking.clone())),
        Performed::Failed(why) => format!("{op}: {why}"),
        Performed::Outcome(outcome) => format!("{op}: {}", outcome.name()),
    };
    // How a situation is made is written for systems: a stack that passes for one need not let itself be led into it.
    let of = |reason| Unsupported { need: Need::Linux, reason };
    Some(if finding::stranger(hello).is_some() {
        Missing::Unsupported(of(why.into()))
    } else {
        Missing::Broken(why.into())
    })
}

fn in_words(op: &Op) -> String {
    let (name, arguments) = op.describe();
    format!("`{name}` {} {arguments}", op.socket().unwrap_or_default())
}

/// The preconditions of a subject call with the answers around it.
fn witness(subject: &SubjectCall, result: &StepResult) -> Vec<Witness> {
    let mut index = 0;
    let mut list = Vec::with_capacity(subject.preconditions.len());
    for (at, precondition) in &subject.preconditions {
        let (before, after): (Option<&Answer>, Option<&Answer>) = match precondition.query() {
            Some(_) => {
                index += 1;
                (result.before.get(index - 1), result.after.get(index - 1))
            }
            None => (None, None),
        };
        list.push(Witness::new(*at, precondition, before, after, result.detail.as_ref()));
    }
    list
}

fn trail_entry(plan: &Plan, result: &StepResult) -> Option<TrailEntry> {
    let step = plan.steps.get(result.step as usize)?;
    let (outcome, unsupported, failed) = match &result.result {
        Performed::Outcome(outcome) => (Some(outcome.clone()), None, None),
        Performed::Unsupported(lacking) => (None, Some(lacking.clone()), None),
        Performed::Failed(why) => (None, None, Some(why.clone())),
    };
    Some(TrailEntry {
        op: step.op.clone(),
        user: step.user,
        outcome,
        unsupported,
        failed,
        micros: (result.micros * 10.0).round() / 10.0,
        detail: result.detail.clone(),
    })
}
