//! What XNU's own networking code gave, and which expectations for macOS that bears out.
//!
//! It ran in user space on Linux (ci/evidence/README.md): no Mac, and never called observed. It makes no expectation
//! and changes no outcome: a rule of a scenario that agrees with it has a better authority in that case.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use crate::scenario::{Case, Expectation, ExpectationRule, Platform, Scenario, SubjectCall, cases};
use crate::words::names::{Authority, Call, Os, PortChoice};

/// Whose code it is, for references.
pub const SOURCE: &str = "XNU 7195.141.2";

/// The release of the kernel that it is: macOS 11.6.
pub const RELEASE: semver::Version = semver::Version::new(20, 6, 0);

static LINES: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/ci/evidence/xnu-7195.141.2.jsonl.gz"));

/// One call under test of one case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The case's id.
    pub case: String,
    /// Which call.
    pub call: Call,
    /// Whether it found its source port.
    pub port: PortChoice,
    /// 1 for the first such call of the case, and so on.
    pub nth: u32,
    /// `ok`, `blocked`, or an errno's name.
    pub outcome: String,
    /// Whether the list of sockets of that code confirmed every precondition.
    pub witnessed: bool,
    /// Which of the runs has it: ci/evidence/README.md.
    pub run: String,
}

/// All lines, in their order.
pub fn lines() -> Vec<Line> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(LINES).read_to_string(&mut text).expect("the tests read the file");
    let lines = serde_json::Deserializer::from_str(&text).into_iter();
    lines.collect::<Result<_, _>>().expect("the tests read the file")
}

/// What the calls of a case gave, by the case's id. What was not witnessed is no evidence.
fn witnessed() -> &'static HashMap<String, Vec<(Call, String)>> {
    static WITNESSED: LazyLock<HashMap<String, Vec<(Call, String)>>> = LazyLock::new(|| {
        let mut cases: HashMap<String, Vec<(Call, String)>> = HashMap::new();
        for line in lines().into_iter().filter(|line| line.witnessed) {
            cases.entry(line.case).or_default().push((line.call, line.outcome));
        }
        cases
    });
    &WITNESSED
}

/// What that code gave to a call of a case, if it was witnessed. No case of it makes a call twice.
pub fn outcome(case: &Case, call: Call) -> Option<&'static str> {
    let (_, outcome) = witnessed().get(&case.id)?.iter().find(|(own, _)| *own == call)?;
    Some(outcome)
}

/// How many cases a rule for macOS decides, for a subject that is this call, and in how many of them that code agrees.
pub fn agrees(scenario: &Scenario, subject: usize, call: Call, rule: &ExpectationRule) -> (usize, usize) {
    let then = Platform { os: Os::Macos, release: RELEASE, offers: Vec::new() };
    let made =
        |case: &Case| scenario.subjects[subject].step.when.as_ref().is_none_or(|when| when.holds(scenario, case));
    let decided = cases(scenario)
        .filter(made)
        .filter(|case| Arc::ptr_eq(&scenario.expectations(case, subject, &then), &rule.expectations));
    decided.fold((0, 0), |(all, agree), case| {
        let gave = outcome(&case, call);
        let permits = gave.is_some_and(|gave| rule.expectations.iter().any(|one| one.outcome == gave));
        (all + 1, agree + usize::from(permits))
    })
}

/// What is expected of a subject call on `platform`: where that code gave the same, it is the authority, with the
/// reference that there was before. A rule for other releases alone says what has changed since, and stays as it is.
pub fn graded(
    scenario: &Scenario,
    case: &Case,
    subject: &SubjectCall,
    platform: Platform,
    expected: Arc<[Expectation]>,
) -> Arc<[Expectation]> {
    if platform.os != Os::Macos {
        return expected;
    }
    let Some(outcome) = outcome(case, subject.call) else { return expected };
    let then = scenario.expectations(case, subject.subject, &Platform { release: RELEASE, ..platform });
    if then != expected {
        return expected;
    }
    let graded = |expectation: &Expectation| match expectation.authority {
        Some(authority) if authority < Authority::XnuRun && expectation.outcome == outcome => Expectation {
            outcome: expectation.outcome.clone(),
            authority: Some(Authority::XnuRun),
            reference: format!("{SOURCE}, and {}", expectation.reference.raw()).into(),
        },
        _ => expectation.clone(),
    };
    expected.iter().map(graded).collect()
}
