//! Plans and answers as files, for places that no pipe leads to: somebody carries them there and back.
//!
//! The worker is the usual one, with a file for its standard input and another for its output. Nothing is read or
//! written here: `cli` does.

use crate::plan::{MARK, Observations, Plan, message};
use crate::report::finding::Missing;
use crate::scenario::{Compiled, Problem, compile};
use crate::suite::catalogue::Catalogue;
use crate::suite::judge;
use crate::suite::runner::link::read_hello;
use crate::suite::runner::{CaseRun, Ran, answer, lacking};
use crate::words::names::Os;

/// What is wrong with one of the two files, and in which line.
#[derive(Debug)]
pub struct BatchFault {
    pub file: BatchFile,
    /// From 1.
    pub line: usize,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFile {
    Plans,
    Results,
}

/// A line for each case.
pub fn plans(catalogue: &Catalogue, items: &[CaseRun], os: Os, patience: u32) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    for (number, item) in (1..).zip(items) {
        let mut plan = compile(&catalogue.scenarios[item.scenario], &item.case, os)?.plan;
        (plan.number, plan.patience) = (number, patience);
        text.push(MARK);
        serde_json::to_writer(&mut text, &plan).unwrap_or_default();
        text.push(b'\n');
    }
    Ok(text)
}

/// The messages of a file, with their lines.
fn messages(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..).zip(text.split(|&byte| byte == b'\n')).filter_map(|(line, text)| Some((line, message(text)?)))
}

/// Judges what a worker has answered to the plans of a file.
pub fn judged(catalogue: &Catalogue, plans: &[u8], results: &[u8]) -> Result<Ran, BatchFault> {
    let in_plans = |line, why: String| BatchFault { file: BatchFile::Plans, line, why };
    let in_results = |line, why: String| BatchFault { file: BatchFile::Results, line, why };
    let mut answers = messages(results);
    let Some((line, first)) = answers.next() else {
        return Err(in_results(1, "no line of a worker: `errnoscope worker < PLANS > RESULTS` writes some".to_owned()));
    };
    let hello = read_hello(first).map_err(|bad| in_results(line, bad.to_string()))?;
    if hello.isolation != "netns" {
        let why = format!("isolation `{}`: plans in a file need a network for each case; use --on", hello.isolation);
        return Err(in_results(line, why));
    }
    let (mut findings, mut last) = (Vec::new(), line);
    let mut count = 0;
    for (line, text) in messages(plans) {
        let plan: Plan = serde_json::from_slice(text).map_err(|error| in_plans(line, format!("no plan: {error}")))?;
        let scenario = catalogue.scenario_of(&plan.case);
        let Some((scenario, case)) = scenario.and_then(|own| Some((own, own.case(&plan.case)?))) else {
            return Err(in_plans(line, format!("this catalogue has no case `{}`", plan.case)));
        };
        let compiled = compile(scenario, &case, hello.os).map_err(|problem| in_plans(line, problem.to_string()))?;
        let own = Plan { number: plan.number, patience: plan.patience, ..compiled.plan.clone() };
        if own != plan {
            let why = format!("the plan of `{}` is not that of this catalogue for {}", plan.case, hello.os);
            return Err(in_plans(line, format!("{why}; make the plans again with --plans-to")));
        }
        let Some((at, text)) = answers.next() else {
            return Err(in_results(last, format!("the last answer is to plan {count}, and PLANS has more: cut short")));
        };
        let seen: Observations = serde_json::from_slice(text)
            .map_err(|error| in_results(at, format!("no answer of this protocol: {error}")))?;
        let seen = answer::checked(&plan, hello.os, seen).map_err(|why| in_results(at, why.to_string()))?;
        let compiled = Compiled { plan, ..compiled };
        findings.extend(match lacking(&hello, &compiled) {
            Some(need) => judge::without_run(scenario, &case, &compiled, &hello, &Missing::Unsupported(need)),
            None => judge::judge(scenario, &case, &compiled, &hello, &seen),
        });
        (last, count) = (at, compiled.plan.number);
    }
    match answers.next() {
        Some((line, _)) => Err(in_results(line, "an answer more than PLANS has plans".to_owned())),
        None if count == 0 => Err(in_plans(1, "no plans: `errnoscope run --plans-to PLANS` writes some".to_owned())),
        None => Ok(Ran { hello, findings, complete: true, again: 0, moved: 0 }),
    }
}
