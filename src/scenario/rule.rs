//! Expectations: ordered rules that say which outcomes a platform permits, and why we believe it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Case, Condition, Scenario};
use crate::plan::Outcome;
use crate::words::errno::ErrnoName;
use crate::words::names::{Authority, Need, Os};
use crate::words::near::did_you_mean;
use crate::words::untrusted::Text;

/// Newer than any release there will be.
pub const NEWEST: semver::Version = semver::Version::new(9_999, 0, 0);

/// One rule of one subject call. The first rule that applies decides.
#[derive(Debug)]
pub struct ExpectationRule {
    /// The systems it is about.
    pub os: Vec<Os>,
    /// The kernel releases it applies to.
    pub kernel: Option<semver::VersionReq>,
    /// It applies only where the host offers this.
    pub need: Option<Need>,
    /// The cases it is about; absent: all.
    pub when: Option<Condition>,
    /// What is permitted.
    pub outcomes: Vec<Expected>,
    /// The outcomes with their authority, as findings share them.
    pub expectations: Arc<[Expectation]>,
    /// Its bytes in the file.
    pub span: std::ops::Range<usize>,
}

/// What something is expected of: an OS, its release, and what it offers beyond what all of them do.
#[derive(Clone, Debug)]
pub struct Platform {
    /// Which OS.
    pub os: Os,
    /// The kernel's version.
    pub release: semver::Version,
    /// What this host has of what not every host of the OS has.
    pub offers: Vec<Need>,
}

/// An outcome that an expectation permits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Expected {
    /// It succeeds.
    Ok,
    /// It does not return within the time that the op waits.
    Blocked,
    /// It fails with this errno.
    Errno(ErrnoName),
    /// Nobody has looked, and no source says: any outcome is news, none is a mismatch.
    Unknown,
    /// An earlier subject call is expected to fail, so that this one is not made.
    NotReached,
}

/// One permitted outcome with its authority, as reports and listings carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// `ok`, `blocked`, an errno's name, `unknown`, or `not-reached` where an earlier call is expected to fail.
    pub outcome: Text,
    /// Absent where the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Authority>,
    /// Man page, kernel function or RFC section; for an unknown outcome, why it is unknown.
    #[serde(rename = "ref")]
    pub reference: Text,
}

impl Expected {
    /// As files and reports spell it.
    pub fn as_str(&self) -> &str {
        match self {
            Expected::Ok => "ok",
            Expected::Blocked => "blocked",
            Expected::Errno(name) => name.as_str(),
            Expected::Unknown => "unknown",
            Expected::NotReached => "not-reached",
        }
    }

    /// Whether the outcome lets later calls on the same socket be made.
    pub fn goes_on(&self) -> bool {
        match self {
            Expected::Ok | Expected::Unknown => true,
            Expected::Errno(errno) => *errno == ErrnoName::EINPROGRESS,
            Expected::Blocked | Expected::NotReached => false,
        }
    }
}

/// Whether `outcome` is among the permitted ones.
pub fn permits(expected: &[Expectation], outcome: &Outcome) -> bool {
    expected.iter().any(|expectation| expectation.outcome == "unknown" || expectation.outcome == outcome.name())
}

/// A word that names no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown outcome `{word}`{}", meant(word))]
pub struct UnknownOutcome {
    /// The word.
    pub word: String,
}

fn meant(word: &str) -> String {
    did_you_mean(word, ErrnoName::names().chain(["ok", "blocked", "unknown"]))
        .unwrap_or_else(|| ", expected `ok`, `blocked`, `unknown` or an errno such as `EADDRINUSE`".to_owned())
}

impl std::str::FromStr for Expected {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Expected, UnknownOutcome> {
        match text {
            "ok" => Ok(Expected::Ok),
            "blocked" => Ok(Expected::Blocked),
            "unknown" => Ok(Expected::Unknown),
            errno => {
                ErrnoName::new(errno).map(Expected::Errno).ok_or_else(|| UnknownOutcome { word: errno.to_owned() })
            }
        }
    }
}

impl Platform {
    /// A release newer than any, with what every host of that OS offers: what a current kernel is expected to do.
    pub fn current(os: Os) -> Platform {
        Platform { os, release: NEWEST, offers: Vec::new() }
    }
}

impl ExpectationRule {
    /// Whether the rule says what this platform answers in this case.
    pub fn applies(&self, scenario: &Scenario, case: &Case, platform: &Platform) -> bool {
        self.os.contains(&platform.os)
            && self.kernel.as_ref().is_none_or(|kernel| kernel.matches(&platform.release))
            && self.need.is_none_or(|need| platform.offers.contains(&need))
            && self.when.as_ref().is_none_or(|when| when.holds(scenario, case))
    }
}

/// A rule as a file spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    pub os: Spanned<OneOrMore>,
    pub kernel: Option<Spanned<String>>,
    pub need: Option<Spanned<String>>,
    pub when: Option<Condition>,
    pub outcome: Spanned<OneOrMore>,
    pub authority: Option<Spanned<String>>,
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Why the outcome is unknown.
    pub why: Option<String>,
}

/// A string or an array of strings.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub fn iter(&self) -> std::slice::Iter<'_, String> {
        match self {
            OneOrMore::One(one) => std::slice::from_ref(one).iter(),
            OneOrMore::More(more) => more.iter(),
        }
    }
}
