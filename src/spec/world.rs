//! The world of a specification: which OS of which release, and with which settings a host of it begins.
//!
//! What a program changes of that is in the state.

use std::collections::BTreeMap;

use super::{Permitted, SpecRule};
use crate::words::names::Os;

/// An OS, its release, its settings, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct World {
    /// Which OS.
    pub os: Os,
    /// The kernel's version.
    pub release: semver::Version,
    /// The sysctls that differ from the OS's own defaults.
    pub sysctls: BTreeMap<String, String>,
    /// Whether SELinux looks at calls before the protocol does.
    pub selinux: bool,
    /// What is wrong with the specification, on purpose: tests break rules one by one.
    pub broken: Option<Broken>,
}

/// A rule that is not as it should be.
#[derive(Clone, Copy, Debug)]
pub struct Broken {
    /// Which one.
    pub rule: &'static SpecRule,
    /// How.
    pub how: Break,
}

/// What can be wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// It never applies.
    Dropped,
    /// It applies where it should not, and does not where it should.
    Inverted,
    /// It gives another outcome.
    Swapped(Permitted),
    /// It is in every release.
    Timeless,
}

impl World {
    /// An OS of that release with its own defaults.
    pub fn of(os: Os, release: semver::Version) -> World {
        World { os, release, sysctls: BTreeMap::new(), selinux: false, broken: None }
    }

    /// The same, with one rule broken.
    pub fn with(&self, broken: Broken) -> World {
        World { broken: Some(broken), ..self.clone() }
    }
}
