//! Known deviations of a stack: what it gives instead of what is expected, said beforehand, so that only the rest is
//! news.
//!
//! A finding stays the mismatch that it is. Here is decided what is known of it, and which deviation is there no more.

use serde::Deserialize;
use toml::Spanned;
use wildmatch::WildMatch;

use crate::report::compare::{Key, key};
use crate::report::finding::{Finding, Report, Verdict};
use crate::words::errno::ErrnoName;
use crate::words::names::Call;
use crate::words::near::did_you_mean;
use crate::words::problem::{Input, Problem};

/// The version of the format, a file's first key.
pub const FORMAT: &str = "errnoscope-deviations/1";

/// What is known of one stack.
#[derive(Clone, Debug)]
pub struct Deviations {
    /// The name of the file, for people.
    pub file: String,
    /// The stacks that it is about, as reports name them; `*` and `?` are wildcards.
    pub stack: String,
    /// In the order of the file.
    pub entries: Vec<Deviation>,
}

/// One thing that a stack does otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// A scenario or a case; `*` and `?` are wildcards.
    pub id: String,
    /// Absent for every call of those.
    pub call: Option<Call>,
    /// What the stack gives: `ok`, `blocked` or an errno.
    pub outcome: String,
    /// In a sentence.
    pub says: String,
    /// Where that is told.
    pub link: String,
}

/// A deviation beside a report.
#[derive(Clone, Debug)]
pub struct Weighed<'w> {
    /// What was said beforehand.
    pub deviation: &'w Deviation,
    /// The findings that are so.
    pub known: Vec<&'w Finding>,
    /// Those that it is about as well, and that are not.
    pub otherwise: Vec<&'w Finding>,
}

impl Weighed<'_> {
    /// Whether it no longer holds: calls that it is about were made, and none gave what it says.
    pub fn is_news(&self) -> bool {
        self.known.is_empty() && !self.otherwise.is_empty()
    }
}

impl Deviations {
    /// Each deviation beside a report; none where it is of another stack.
    pub fn weigh<'w>(&'w self, report: &'w Report) -> Vec<Weighed<'w>> {
        if !WildMatch::new(&self.stack).matches(&report.host.stack) {
            return Vec::new();
        }
        self.entries.iter().map(|deviation| deviation.weigh(report)).collect()
    }
}

impl Deviation {
    fn weigh<'w>(&'w self, report: &'w Report) -> Weighed<'w> {
        let pattern = WildMatch::new(&self.id);
        let is_about = |finding: &&Finding| {
            (pattern.matches(&finding.scenario) || pattern.matches(&finding.case))
                && self.call.is_none_or(|call| call == finding.subject.call)
                && finding.outcome().is_some()
        };
        let is_so = |finding: &&Finding| finding.outcome_name() == self.outcome && deviates(report, finding);
        let (known, otherwise) = report.findings.iter().filter(is_about).partition(is_so);
        Weighed { deviation: self, known, otherwise }
    }
}

/// Whether a finding is not what its system is expected to give. A stack that passes for another system has no
/// expectations of its own.
fn deviates(report: &Report, finding: &Finding) -> bool {
    if report.host.is_own() {
        return finding.verdict() == Verdict::Mismatch;
    }
    let expected = finding.elsewhere.get(&report.host.os);
    expected.is_some_and(|expected| {
        let is_permitted = |outcome: &str| outcome == finding.outcome_name() || outcome == "unknown";
        !expected.iter().any(|expectation| is_permitted(&expectation.outcome))
    })
}

/// The findings that some deviation knows.
pub fn known<'w>(weighed: &[Weighed<'w>]) -> std::collections::BTreeSet<Key<'w>> {
    weighed.iter().flat_map(|weighed| &weighed.known).map(|finding| key(finding)).collect()
}

/// Whether a file is one of deviations.
pub fn is_list(text: &str) -> bool {
    crate::report::claim::is_list(text) && text.contains("\"errnoscope-deviations/")
}

/// Reads a file of deviations.
pub fn read(file: &str, text: &'static str) -> Result<Deviations, Problem> {
    let input = Input { file, text };
    let wire: WireDeviations = input.parse()?;
    input.expect_format(&wire.format, FORMAT)?;
    if wire.deviation.is_empty() {
        return Err(input.problem(0..0, "no deviations".to_owned(), Some("a file has at least one `[[deviation]]`")));
    }
    let mut entries: Vec<Deviation> = Vec::new();
    for wire in wire.deviation {
        for text in [&wire.id, &wire.says, &wire.link] {
            if text.get_ref().trim().is_empty() {
                let help = "a deviation has an id, says what is otherwise in a sentence, and where that is told";
                return Err(input.problem(text.span(), "empty text".to_owned(), Some(help)));
            }
        }
        let (outcome, span) = (wire.outcome.get_ref(), wire.outcome.span());
        if !["ok", "blocked"].contains(&&**outcome) && ErrnoName::new(outcome).is_none() {
            let meant = did_you_mean(outcome, ErrnoName::names().chain(["ok", "blocked"])).unwrap_or_default();
            let help = Some("`ok`, `blocked` or the name of an errno");
            return Err(input.problem(span, format!("unknown outcome `{outcome}`{meant}"), help));
        }
        if !wire.link.get_ref().contains("://") {
            let help = "such as https://example.org/issue/1";
            return Err(input.problem(wire.link.span(), "no link".to_owned(), Some(help)));
        }
        let is_twin = |other: &&Deviation| {
            (&other.id, other.call, &other.outcome) == (wire.id.get_ref(), wire.call, wire.outcome.get_ref())
        };
        if entries.iter().find(is_twin).is_some() {
            return Err(input.problem(wire.id.span(), "a second deviation of this id and outcome".to_owned(), None));
        }
        entries.push(Deviation {
            id: wire.id.into_inner(),
            call: wire.call,
            outcome: wire.outcome.into_inner(),
            says: wire.says.into_inner(),
            link: wire.link.into_inner(),
        });
    }
    Ok(Deviations { file: file.to_owned(), stack: wire.stack, entries })
}

/// The JSON Schema of a file of deviations, whose TOML has the shape of this JSON.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<WireDeviations>(FORMAT)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Deviations")]
struct WireDeviations {
    /// `errnoscope-deviations/1`.
    #[schemars(with = "String", extend("const" = FORMAT))]
    format: Spanned<String>,
    /// The stacks that it is about, as reports name them; `*` and `?` are wildcards.
    stack: String,
    #[serde(default)]
    deviation: Vec<WireDeviation>,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Deviation")]
struct WireDeviation {
    /// A scenario or a case; `*` and `?` are wildcards.
    #[schemars(with = "String")]
    id: Spanned<String>,
    /// Absent for every call of those.
    call: Option<Call>,
    /// What the stack gives: `ok`, `blocked` or an errno.
    #[schemars(with = "String")]
    outcome: Spanned<String>,
    /// In a sentence.
    #[schemars(with = "String")]
    says: Spanned<String>,
    /// Where that is told.
    #[schemars(with = "String")]
    link: Spanned<String>,
}
