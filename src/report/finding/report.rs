//! Reports: the findings of a run, and the host, catalogue and tool of that run.
//!
//! It records what a report says about its origin, and does not verify it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::{Contradiction, Finding, Verdict};
use crate::plan::{Capability, Hello};
use crate::words::moment::Moment;
use crate::words::names::{Need, Os};
use crate::words::untrusted::Text;

/// The version of the report format, its first field.
pub const FORMAT: &str = "errnoscope-report/3";

/// Formats before it. The first did not say when the run began; in the second, arguments and preconditions were text.
const OLD: &[&str] = &["errnoscope-report/1", "errnoscope-report/2"];

/// A run on one stack.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "WireReport<Vec<Finding>>")]
pub struct Report {
    /// What wrote it.
    pub tool: Tool,
    /// Where it ran.
    pub host: Host,
    /// What was run.
    pub catalogue: CatalogueFacts,
    /// When the run began, by the clock of the host that wrote the report.
    pub started: Moment,
    /// False where the run was interrupted: what did not run is absent.
    pub complete: bool,
    /// How often each case ran.
    pub repeat: u32,
    /// In the order of the catalogue. No two are of the same call of the same case.
    pub findings: Vec<Finding>,
}

/// A report as files have it: with any list of findings, so that a header can be written alone.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Report")]
pub struct WireReport<F> {
    /// `errnoscope-report/3`.
    format: Format,
    tool: Tool,
    host: Host,
    catalogue: CatalogueFacts,
    /// When the run began, by the clock of the host that wrote the report.
    started: Moment,
    /// False where the run was interrupted: what did not run is absent.
    complete: bool,
    /// How often each case ran.
    repeat: u32,
    /// Findings by verdict; every verdict is there. A reader counts again.
    summary: BTreeMap<Verdict, u64>,
    findings: F,
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.wire(&*self.findings).serialize(serializer)
    }
}

impl TryFrom<WireReport<Vec<Finding>>> for Report {
    type Error = Contradiction;

    fn try_from(wire: WireReport<Vec<Finding>>) -> Result<Report, Contradiction> {
        let WireReport { format: Format, tool, host, catalogue, started, complete, repeat, summary, findings } = wire;
        let report = Report { tool, host, catalogue, started, complete, repeat, findings };
        let counted = report.summary();
        if let Some(verdict) = Verdict::ALL.iter().find(|verdict| summary.get(verdict) != counted.get(verdict)) {
            let (says, counted) = (summary.get(verdict).copied(), counted.get(verdict).copied().unwrap_or(0));
            return Err(Contradiction::Summary { verdict: *verdict, says, counted });
        }
        let mut seen = HashSet::with_capacity(report.findings.len());
        for finding in &report.findings {
            if !seen.insert((&*finding.case, finding.subject.ordinal)) {
                return Err(Contradiction::Twice { ordinal: finding.subject.ordinal, case: finding.case.clone() });
            }
        }
        Ok(report)
    }
}

/// The JSON of a report. The error has the line and column of what is wrong, and says if a report contradicts itself.
impl std::str::FromStr for Report {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Report, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// The one format that this version reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Format;

impl Serialize for Format {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(FORMAT)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
        let format = String::deserialize(deserializer)?;
        if format == FORMAT {
            Ok(Format)
        } else {
            Err(serde::de::Error::custom(format!("format `{format}`, this version reads `{FORMAT}`")))
        }
    }
}

impl schemars::JsonSchema for Format {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": FORMAT })
    }
}

/// The format of a report that an earlier version wrote, wherever in the text it stands.
pub fn outdated(text: &str) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Any {
        format: String,
    }
    let any: Any = serde_json::from_str(text).ok()?;
    OLD.iter().find(|old| **old == any.format).copied()
}

/// The program that wrote a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// `errnoscope`.
    pub name: Text,
    /// Its version.
    pub version: Text,
}

impl Tool {
    /// This version of this program.
    pub fn this() -> Tool {
        Tool { name: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into() }
    }
}

/// The host of a run, as its worker describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The OS that it is, or passes for.
    pub os: Os,
    /// The kernel's release, as uname(2) has it.
    pub release: Text,
    /// The processor, as uname(2) has it: `x86_64`.
    pub arch: Text,
    /// What answered: `linux 6.18`, the OS's own, or one that passes for it: `gvisor 20240729.0`.
    pub stack: Text,
    /// The command of `--on` that led to it: then all else is what somebody behind that command says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Text>,
    /// `netns`, `sandbox` (a fresh stack for each case), or `none`.
    pub isolation: Text,
    /// Whether it offers each need, and why not.
    pub capabilities: BTreeMap<Need, Capability>,
    /// The settings that decide what calls give, by name.
    pub sysctls: BTreeMap<Text, Text>,
}

/// The catalogue that cases were taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogueFacts {
    /// How many scenarios it has.
    pub scenarios: u64,
    /// All cases of the catalogue, run or not.
    pub cases: u64,
    /// `sha256:` over the scenario files' names and contents.
    pub digest: Text,
}

impl Report {
    /// A report of this program, of the host that said hello.
    pub fn new(
        hello: &Hello,
        catalogue: CatalogueFacts,
        started: Moment,
        complete: bool,
        repeat: u32,
        findings: Vec<Finding>,
    ) -> Report {
        Report { tool: Tool::this(), host: Host::new(hello), catalogue, started, complete, repeat, findings }
    }

    /// The same run with other findings.
    pub fn with(&self, findings: Vec<Finding>) -> Report {
        let Report { tool, host, catalogue, started, complete, repeat, findings: _ } = self;
        Report {
            tool: tool.clone(),
            host: host.clone(),
            catalogue: catalogue.clone(),
            started: *started,
            complete: *complete,
            repeat: *repeat,
            findings,
        }
    }

    /// Findings by verdict; every verdict is there.
    pub fn summary(&self) -> BTreeMap<Verdict, u64> {
        summary(&self.findings)
    }

    /// As files have it, with the summary of all findings and these.
    pub fn wire<F>(&self, findings: F) -> WireReport<F> {
        let Report { tool, host, catalogue, started, complete, repeat, findings: _ } = self.with(Vec::new());
        WireReport {
            format: Format,
            tool,
            host,
            catalogue,
            started,
            complete,
            repeat,
            summary: self.summary(),
            findings,
        }
    }
}

impl Host {
    fn new(hello: &Hello) -> Host {
        let version = crate::words::release::version(&hello.release);
        Host {
            os: hello.os,
            release: hello.release.clone(),
            arch: hello.arch.clone(),
            stack: hello.stack.clone().unwrap_or_else(|| own_stack(hello.os, &version).into()),
            behind: None,
            isolation: hello.isolation.clone(),
            capabilities: hello.capabilities.clone(),
            sysctls: hello.sysctls.clone(),
        }
    }

    /// Whether it is the OS's own stack that answered: only then is it evidence of what the OS does.
    pub fn is_own(&self) -> bool {
        self.kernel().is_some()
    }

    /// `linux 6.18`, and behind which command, if behind one.
    pub fn in_words(&self) -> String {
        let behind = self.behind.as_ref().map(|command| format!(", behind `{command}`")).unwrap_or_default();
        format!("{}{behind}", self.stack)
    }

    /// `gvisor` of `gvisor 20240729.0`: stacks of one OS may be of several families.
    pub fn family(&self) -> &str {
        self.stack.split_once(' ').map_or(&*self.stack, |(family, _)| family)
    }

    /// The kernel's version, where it is the OS's own stack that answered.
    pub fn kernel(&self) -> Option<semver::Version> {
        let version = crate::words::release::version(&self.release);
        (self.stack == own_stack(self.os, &version)).then_some(version)
    }
}

/// The commands behind which reports came about, by stack. Stacks that this program ran on itself are not among them.
pub type Behind = BTreeMap<String, BTreeSet<String>>;

/// Those of some hosts.
pub fn behind<'h>(hosts: impl IntoIterator<Item = &'h Host>) -> Behind {
    let mut behind = Behind::new();
    for host in hosts {
        if let Some(command) = &host.behind {
            behind.entry(host.stack.to_string()).or_default().insert(command.to_string());
        }
    }
    behind
}

/// What answers, where it is not the OS's own stack. No expectation is about it.
pub fn stranger(hello: &Hello) -> Option<&str> {
    hello.stack.as_deref().filter(|name| *name != stack(hello.os, &hello.release))
}

/// What the stack of an OS of that release is called.
pub fn stack(os: Os, release: &str) -> String {
    own_stack(os, &crate::words::release::version(release))
}

/// The version in the name of an OS's own stack; 0.0.0 where it is none.
pub fn stack_version(os: Os, stack: &str) -> semver::Version {
    crate::words::release::version(stack.strip_prefix(os.as_str()).unwrap_or_default().trim_start())
}

/// What an OS's own stack is called.
fn own_stack(os: Os, version: &semver::Version) -> String {
    format!("{os} {}.{}", version.major, version.minor)
}

/// How many findings have each verdict.
pub fn summary(findings: &[Finding]) -> BTreeMap<Verdict, u64> {
    let mut counts: BTreeMap<Verdict, u64> = Verdict::ALL.iter().map(|&verdict| (verdict, 0)).collect();
    for finding in findings {
        *counts.entry(finding.verdict).or_default() += 1;
    }
    counts
}

/// The JSON Schema of a report.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<WireReport<Vec<Finding>>>(FORMAT)
}
