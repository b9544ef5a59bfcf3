//! Rules: every branch of a specification, with an id, a sentence and the kernel function that it was read in.
//!
//! A rule does not know when it applies: the code of an OS asks that, in the order in which the kernel does.

use std::fmt;

use serde::Serialize;

use crate::words::errno::ErrnoName;
use crate::words::names::Os;

/// One branch of what an OS does.
#[derive(Debug, Serialize)]
pub struct SpecRule {
    /// `linux.bind.already-bound`: the OS, the call or what the rule is about, and the rule.
    pub id: &'static str,
    /// What it says, in one sentence.
    pub says: &'static str,
    /// The kernel function that it was read in, and its file.
    pub authority: &'static str,
    /// The outcome of the call that it decides; absent where it decides what a later rule or call finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gives: Option<Permitted>,
    /// The first release that has it, where not every release does that this program knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Release>,
    /// The first release that does not have it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Release>,
}

/// What a call may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permitted {
    /// It succeeds.
    Ok,
    /// It does not return within the time that the op waits.
    Blocked,
    /// It fails with this errno.
    Errno(ErrnoName),
}

/// A release of a kernel: three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u16, pub u16, pub u16);

/// A rule is its id.
impl PartialEq for SpecRule {
    fn eq(&self, other: &SpecRule) -> bool {
        self.id == other.id
    }
}

impl Eq for SpecRule {}

impl SpecRule {
    /// The OS that it is a rule of.
    pub fn os(&self) -> Os {
        if self.id.starts_with("linux.") { Os::Linux } else { Os::Macos }
    }

    /// Whether not every release has it.
    pub fn is_bounded(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether that release has it.
    pub fn is_in(&self, release: &semver::Version) -> bool {
        self.since.is_none_or(|since| since.version() <= *release)
            && self.until.is_none_or(|until| *release < until.version())
    }
}

impl Permitted {
    /// `ok`, `blocked`, or the errno's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Permitted::Ok => "ok",
            Permitted::Blocked => "blocked",
            Permitted::Errno(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Permitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Permitted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Release {
    fn version(self) -> semver::Version {
        semver::Version::new(self.0.into(), self.1.into(), self.2.into())
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Release(major, minor, 0) => write!(f, "{major}.{minor}"),
            Release(major, minor, patch) => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

impl Serialize for Release {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A table of rules: a static for each, and `RULES`, which has them all in this order.
macro_rules! rules {
    ($($name:ident = $id:literal $says:literal $authority:literal
        $(=> $gives:ident)? $(since $since:tt)? $(until $until:tt)?;)+) => {
        $(pub static $name: $crate::spec::SpecRule = $crate::spec::SpecRule {
            id: $id,
            says: $says,
            authority: $authority,
            gives: $crate::spec::rule::outcome!($($gives)?),
            since: $crate::spec::rule::release!($($since)?),
            until: $crate::spec::rule::release!($($until)?),
        };)+

        pub static RULES: &[&$crate::spec::SpecRule] = &[$(&$name),+];
    };
}

macro_rules! outcome {
    () => {
        None
    };
    (OK) => {
        Some($crate::spec::Permitted::Ok)
    };
    (BLOCKED) => {
        Some($crate::spec::Permitted::Blocked)
    };
    ($errno:ident) => {
        Some($crate::spec::Permitted::Errno($crate::words::errno::ErrnoName::$errno))
    };
}

macro_rules! release {
    () => {
        None
    };
    (($major:literal, $minor:literal, $patch:literal)) => {
        Some($crate::spec::Release($major, $minor, $patch))
    };
}

pub(super) use {outcome, release, rules};
