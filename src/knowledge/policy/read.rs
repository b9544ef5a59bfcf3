//! From TOML text to a [`Policy`], and the schema of such a file.
//!
//! Reading is strict: the first thing that this version does not know is an error with its place.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Action, Conditions, Forced, Policy, ProbeCall, Rule, Signal};
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, Os, PortChoice, Protocol, Reuse};
use crate::words::problem::{Input, Problem};
use crate::words::values::Values;

/// The version of the policy format, a file's first key.
pub const FORMAT: &str = "errnoscope-policy/2";
/// The one before, which had no `seen`.
const FORMER: &str = "errnoscope-policy/1";

/// Reads a policy, and checks that it decides everything and that each of its rules can decide something.
pub fn read(file: &str, text: &'static str) -> Result<Policy, Problem> {
    let (policy, spans) = read_rules(file, text)?;
    if let Some(index) = never_applies(&policy.rules) {
        let why = match policy.rules[..index].iter().position(|rule| rule.when.is_empty()) {
            Some(earlier) => format!("rule {} above it has no conditions", earlier + 1),
            None => "no signal has these values together, or the rules above it decide all that do".to_owned(),
        };
        let (file, span) = (file.to_owned(), spans[index].clone());
        let message = format!("rule {} can never apply", index + 1);
        return Err(Problem { file, text, span, message, help: Some(why) });
    }
    Ok(policy)
}

/// All but the last check, which tries every signal there is; and where the rules are.
pub(super) fn read_rules(file: &str, text: &'static str) -> Result<(Policy, Vec<Range<usize>>), Problem> {
    let input = Input { file, text };
    let wire: WirePolicy = input.parse()?;
    if wire.format.get_ref() != FORMER {
        input.expect_format(&wire.format, FORMAT)?;
    }
    for text in [&wire.name, &wire.why] {
        if text.get_ref().trim().is_empty() {
            return Err(input.problem(text.span(), "empty text".to_owned(), Some("a policy has a name and says why")));
        }
    }
    let spans: Vec<Range<usize>> = wire.rule.iter().map(Spanned::span).collect();
    let rules: Vec<Rule> = wire.rule.into_iter().map(|rule| rule.into_inner().into()).collect();
    match (rules.last(), spans.last()) {
        (Some(last), Some(span)) if !last.when.is_empty() => {
            let help = "end with a rule that has an action and a why and no conditions";
            return Err(input.problem(span.clone(), "the last rule has conditions".to_owned(), Some(help)));
        }
        (Some(_), _) => {}
        (None, _) => {
            let help = "a policy has at least one `[[rule]]`, the last without conditions";
            return Err(input.problem(0..0, "no rules".to_owned(), Some(help)));
        }
    }
    Ok((Policy { name: wire.name.into_inner(), why: wire.why.into_inner(), seen: wire.seen.0, rules }, spans))
}

/// The first rule that decides none of the possible signals.
pub(super) fn never_applies(rules: &[Rule]) -> Option<usize> {
    let mut idle: BTreeSet<usize> = (0..rules.len()).collect();
    for signal in Signal::all() {
        idle.remove(&super::decide(rules, &signal).0);
        if idle.is_empty() {
            return None;
        }
    }
    idle.first().copied()
}

/// The JSON Schema of a policy file, whose TOML has the shape of this JSON.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<WirePolicy>(FORMAT)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Policy")]
pub(super) struct WirePolicy {
    /// `errnoscope-policy/2`; a file that is of version 1 is read as well.
    #[schemars(with = "String", extend("const" = FORMAT))]
    format: Spanned<String>,
    #[schemars(with = "String")]
    name: Spanned<String>,
    /// What it claims, and why it is believed.
    #[schemars(with = "String")]
    why: Spanned<String>,
    /// Where `errnoscope check` saw the tracer whose policy this is. Its last rule says nothing about the tracer.
    #[serde(default)]
    seen: Values<Os>,
    /// The first rule that applies decides; the last has no conditions.
    #[schemars(with = "Vec<WireRule>")]
    rule: Vec<Spanned<WireRule>>,
}

/// A rule as a file has it. Absent conditions hold.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rule")]
struct WireRule {
    #[serde(default)]
    os: Values<Os>,
    #[serde(default)]
    call: Values<ProbeCall>,
    /// Whether the caller chose the source port or the kernel; `none` for socket().
    #[serde(default)]
    port: Values<PortChoice>,
    #[serde(default)]
    protocol: Values<Protocol>,
    #[serde(default)]
    family: Values<Family>,
    /// Which of SO_REUSEADDR and SO_REUSEPORT the probe has set.
    #[serde(default)]
    reuse: Values<Reuse>,
    #[serde(default)]
    errno: Values<ErrnoName>,
    action: Action,
    why: String,
    /// What a derived rule rests on.
    forced: Option<WireForced>,
}

#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Forced")]
struct WireForced {
    /// Findings of observed systems that would be decided wrong without the rule.
    observed: u64,
    /// The same that XNU's own code gave, which ran in user space on Linux: no Mac.
    #[serde(default)]
    xnu_run: u64,
    /// The same of systems that are only expected to behave so.
    expected: u64,
    example: String,
}

impl From<WireRule> for Rule {
    fn from(wire: WireRule) -> Rule {
        let forced = wire.forced.map(|forced| {
            let WireForced { observed, xnu_run, expected, example } = forced;
            Forced { observed, xnu_run, expected, example }
        });
        let when = Conditions {
            os: wire.os.0,
            call: wire.call.0,
            port: wire.port.0,
            protocol: wire.protocol.0,
            family: wire.family.0,
            reuse: wire.reuse.0,
            errno: wire.errno.0,
        };
        Rule { when, action: wire.action, why: wire.why, forced }
    }
}
