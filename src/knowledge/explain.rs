//! Explains a failed call from findings: its causes with evidence, how to see them, and what to do.
//!
//! It ranks by what `policy` knows, and prints nothing.

pub mod read;

mod call;
mod fit;
mod here;
mod lines;
mod message;
mod place;
mod strace;
mod supplement;
pub mod system;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::knowledge::policy::causes::{CallQuery, Knowledge, Known, Ranked, rank};
use crate::knowledge::policy::evidence::Basis;
use crate::knowledge::policy::right::{Step, accounts_for, step};
use crate::knowledge::policy::separate::{About, End, commands, separate};
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Os, PortChoice, Protocol, Reuse, words};

pub use here::Here;
use read::{Reading, Unreadable};
use system::System;

/// The version of the explanation format, its first field.
pub const FORMAT: &str = "errnoscope-explanation/3";

words! {
    /// How it is known which OS is meant.
    Told {
        /// Somebody says so.
        Given = "given",
        /// The text has it: its numbers, its words, or strace.
        Read = "read",
        /// The host that explains.
        Assumed = "assumed",
        /// Findings know the number on this system alone.
        ByNumber = "by-number",
    }
}

/// What somebody says beside the text; it has the last word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Which OS.
    pub os: Option<Os>,
    /// Whether the call found its source port.
    pub port: Option<PortChoice>,
    /// The socket's protocol.
    pub protocol: Option<Protocol>,
    /// The socket's address family.
    pub family: Option<Family>,
    /// The socket's options.
    pub reuse: Option<Reuse>,
}

/// What is explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Understood {
    /// Empty: every call.
    pub calls: Vec<Call>,
    /// The errno, by its name on that system.
    pub errno: ErrnoName,
    /// The errno's number on each system that has it, `windows` among them.
    pub numbers: BTreeMap<&'static str, i32>,
    /// The system that is meant.
    pub os: System,
    /// How that is known.
    pub told: Told,
    /// Whether the call found its source port; absent: either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortChoice>,
    /// Absent: either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Absent: either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse: Option<Reuse>,
    /// The socket's own end.
    pub local: End,
    /// Its peer.
    pub remote: End,
    /// Whether the text says connect where the call is the bind() before it.
    #[serde(skip)]
    pub connecting: bool,
}

/// Everything that findings know about a failed call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explanation {
    /// `errnoscope-explanation/3`.
    #[schemars(extend("const" = FORMAT))]
    pub format: &'static str,
    /// What was explained.
    pub understood: Understood,
    /// One for each call and way to get a port, the best known first. Empty where nothing was observed on the system.
    pub failures: Vec<ExplainedCall>,
    /// What the errno means on a system that nothing was observed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Meaning>,
    /// What other systems mean by it, where the text does not say which it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// The other failures of the text, the last one first.
    pub others: Vec<Other>,
    /// What the host that explains says of the causes now, where somebody asks it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub here: Vec<Here>,
}

/// What an errno means, where no finding says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Meaning {
    /// What may be behind it.
    pub meaning: &'static str,
    /// What shows it.
    pub commands: Vec<String>,
    /// What a person can do.
    pub advice: &'static str,
}

/// Another failure of the same text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Other {
    /// What it was.
    pub understood: Understood,
    /// The cause that comes first, where one is known.
    pub cause: Option<Cause>,
}

/// One call that fails so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExplainedCall {
    /// Which call.
    pub call: Call,
    /// Whether it found its source port.
    pub port: PortChoice,
    /// Observed before only expected, then by scenarios, then by findings.
    pub causes: Vec<Candidate>,
    /// What a program can look at to tell its causes apart, the cheapest for each pair.
    pub apart: Vec<Apart>,
}

/// One cause with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Candidate {
    /// What it ran into.
    pub cause: Cause,
    /// How many scenarios have it.
    pub scenarios: u64,
    /// How many findings have it.
    pub findings: u64,
    /// Who says so, the surest first.
    pub evidence: Vec<CauseEvidence>,
    /// The kinds of socket in its findings.
    pub protocols: BTreeSet<Protocol>,
    /// Their address families.
    pub families: BTreeSet<Family>,
    /// Their options.
    pub reuse: BTreeSet<Reuse>,
    /// What shows whether it was this one; words in capitals stand for what the text does not say.
    pub commands: Vec<String>,
    /// What a program should do next.
    pub step: Step,
    /// Why that.
    pub why: &'static str,
    /// What a person can do.
    pub advice: String,
}

/// What one stack did, or one authority says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Evidence")]
pub struct CauseEvidence {
    /// How it is known.
    pub basis: Basis,
    /// The stack, or the authority of what is only expected.
    pub by: String,
    /// Whether somebody behind a command speaks for that stack.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub behind: bool,
    /// How many.
    pub findings: u64,
    /// The id of one of the cases, or a place in sources.
    pub example: String,
}

/// What tells some causes apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Apart {
    /// Those causes.
    pub causes: Vec<Cause>,
    /// What to look at.
    pub by: &'static str,
}

/// Why it is not clear which errno of which system is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Nothing says which system it is, and this program runs on none that it knows.
    #[error(
        "this is neither Linux nor macOS, and the text does not say which of them it is from: say --os linux or --os macos"
    )]
    NoSystem,
    /// The system has no errno of that number.
    #[error("{system} has no errno {number}")]
    NotOf {
        /// The system.
        system: System,
        /// The number.
        number: i32,
    },
    /// No system has one.
    #[error("no system here has an errno {number}")]
    Unnumbered {
        /// The number.
        number: i32,
    },
    /// The text names no errno.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Settles what is meant: an errno of one system.
pub fn understand(
    reading: Reading,
    given: Given,
    host: Option<Os>,
    knowledge: &Knowledge,
) -> Result<Understood, Unclear> {
    let told = reading.system.map(|system| (system, Told::Read));
    let said = given.os.map(|os| (System::from(os), Told::Given)).or(told);
    let (os, told, errno) = match (reading.errno, reading.number) {
        (Some(errno), _) => {
            let (system, told) = said.or(assumed(host)).ok_or(Unclear::NoSystem)?;
            (system, told, system.rules().and_then(|os| errno.on(os)).unwrap_or(errno))
        }
        (None, Some(number)) => numbered(number, said, host, knowledge)?,
        (None, None) => return Err(Unclear::Unreadable(Unreadable::NoErrno)),
    };
    let mut numbers: BTreeMap<&'static str, i32> = BTreeMap::new();
    numbers.extend(Os::ALL.iter().filter_map(|&os| Some((os.as_str(), errno.raw(os)?))));
    numbers.extend(errno.windows().map(|number| ("windows", number)));
    let mut understood = Understood {
        calls: reading.calls,
        errno,
        numbers,
        os,
        told,
        port: given.port.or(reading.port),
        protocol: given.protocol.or(reading.protocol),
        family: given.family.or(reading.family),
        reuse: given.reuse,
        local: reading.local,
        remote: reading.remote,
        connecting: false,
    };
    // What a program calls connect was on Linux the bind() before it.
    if understood.calls == [Call::Bind, Call::Connect] {
        if os == System::Linux {
            (understood.calls, understood.connecting) = (vec![Call::Bind], true);
        } else {
            (understood.calls, understood.port) = (vec![Call::Connect], given.port);
        }
    }
    Ok(understood)
}

fn assumed(host: Option<Os>) -> Option<(System, Told)> {
    host.map(|os| (os.into(), Told::Assumed))
}

/// A number is that of the OS that is meant. Where nobody says which, of the first that findings know it on.
fn numbered(
    number: i32,
    said: Option<(System, Told)>,
    host: Option<Os>,
    knowledge: &Knowledge,
) -> Result<(System, Told, ErrnoName), Unclear> {
    if let Some((system, told)) = said {
        let errno = system.rules().and_then(|os| ErrnoName::numbered(os, number));
        return Ok((system, told, errno.ok_or(Unclear::NotOf { system, number })?));
    }
    let others = Os::ALL.iter().copied().filter(|&os| Some(os) != host).map(|os| (os, Told::ByNumber));
    let numbered = host.map(|os| (os, Told::Assumed)).into_iter().chain(others);
    let named = numbered.filter_map(|(os, told)| Some((os, told, ErrnoName::numbered(os, number)?)));
    let named: Vec<(Os, Told, ErrnoName)> = named.collect();
    let is_known = |&&(os, _, errno): &&(Os, Told, ErrnoName)| {
        knowledge.known.iter().any(|known| known.os == os && known.errno == errno)
    };
    let first = named.iter().find(is_known).or(named.first()).copied();
    let (os, told, errno) = first.ok_or(Unclear::Unnumbered { number })?;
    Ok((os.into(), told, errno))
}

impl Understood {
    fn query(&self) -> CallQuery {
        CallQuery {
            os: self.os.rules(),
            calls: self.calls.clone(),
            errno: Some(self.errno),
            port: self.port,
            protocol: self.protocol,
            family: self.family,
            reuse: self.reuse,
        }
    }
}

/// Every cause of the call that is understood; `None` where no finding has it.
pub fn explain(understood: Understood, knowledge: &Knowledge) -> Option<Explanation> {
    let explanation = |understood, failures, meaning| Explanation {
        format: FORMAT,
        understood,
        failures,
        meaning,
        elsewhere: None,
        others: Vec::new(),
        here: Vec::new(),
    };
    let Some(os) = understood.os.rules() else {
        let (meaning, commands, advice) = system::meaning(understood.errno, &understood.calls);
        let fill = |command: &&str| fill(command, &understood);
        let meaning = Meaning { meaning, commands: commands.iter().map(fill).collect(), advice };
        return Some(explanation(understood, Vec::new(), Some(meaning)));
    };
    let added = supplement::known(&understood, os);
    let known = knowledge.known.iter().chain(&added);
    // Not every scenario is made of every kind of socket: what is known of another kind is better than nothing.
    let kinds = [understood.query(), CallQuery { family: None, ..understood.query() }];
    let open = CallQuery { protocol: None, ..kinds[1].clone() };
    let asked = kinds.into_iter().chain([open]);
    let mut asked = asked.map(|query| grouped(&query, known.clone())).filter(|failures| !failures.is_empty());
    let failures = asked.next().unwrap_or_default();
    let mut ranked: Vec<((Call, PortChoice), Vec<Ranked<'_>>)> = failures
        .into_iter()
        .map(|((call, port), known)| {
            let mut causes = rank(known);
            causes.sort_by_key(|cause| fit::order(cause.cause, call, port, &understood));
            ((call, port), causes)
        })
        .collect();
    let basis = |causes: &[Ranked<'_>]| causes.iter().map(|cause| cause.basis).min().unwrap_or(Basis::Expected);
    let sum = |causes: &[Ranked<'_>], of: fn(&Ranked<'_>) -> u64| causes.iter().map(of).sum::<u64>();
    // What is known of a call with either port.
    let mut calls: BTreeMap<(Call, Basis), (u64, u64)> = BTreeMap::new();
    for ((call, _), causes) in &ranked {
        let (scenarios, findings) = calls.entry((*call, basis(causes))).or_default();
        *scenarios += sum(causes, |cause| cause.scenarios);
        *findings += sum(causes, |cause| cause.findings);
    }
    ranked.sort_by_key(|((call, port), causes)| {
        let basis = basis(causes);
        let said = understood.calls.iter().position(|said| said == call);
        let known = (basis, Reverse(calls[&(*call, basis)]));
        let unusual = is_usual(*call, *port) == understood.connecting;
        (said, fit::obscure(*call, understood.errno), unusual && !understood.calls.is_empty(), known, *call, unusual)
    });
    let failures: Vec<ExplainedCall> = ranked
        .into_iter()
        .map(|((call, port), causes)| {
            let apart = apart(call, understood.errno, &causes);
            let causes = causes.into_iter().map(|cause| candidate(cause, call, port, &understood)).collect();
            ExplainedCall { call, port, apart, causes }
        })
        .collect();
    (!failures.is_empty()).then(|| {
        let elsewhere = elsewhere(&understood);
        Explanation { elsewhere, ..explanation(understood, failures, None) }
    })
}

/// Explains the first of those that are known best, and tells of the others.
pub fn explain_all(understood: Vec<Understood>, knowledge: &Knowledge) -> Option<Explanation> {
    let basis = |explanation: &Explanation| {
        let evidence = explanation.failures.iter().flat_map(|failure| &failure.causes).flat_map(|one| &one.evidence);
        let best = evidence.map(|evidence| evidence.basis).min();
        if explanation.meaning.is_some() { Basis::Observed } else { best.unwrap_or(Basis::Expected) }
    };
    let known: Vec<Option<Explanation>> = understood.iter().map(|one| explain(one.clone(), knowledge)).collect();
    let explained = known.iter().enumerate().filter_map(|(index, one)| Some((index, basis(one.as_ref()?))));
    let (explained, _) = explained.min_by_key(|(_, basis)| *basis)?;
    let mut best = None;
    let mut others = Vec::new();
    for (index, (one, known)) in understood.into_iter().zip(known).enumerate() {
        if index == explained {
            best = known;
        } else {
            let first = known.as_ref().and_then(|known| known.failures.first()?.causes.first());
            others.push(Other { cause: first.map(|first| first.cause), understood: one });
        }
    }
    best.map(|best| Explanation { others, ..best })
}

/// What is known of each call. A program that says connect may have read it from SO_ERROR: both are told as one.
fn grouped<'k>(
    query: &CallQuery,
    known: impl Iterator<Item = &'k Known> + Clone,
) -> BTreeMap<(Call, PortChoice), Vec<&'k Known>> {
    let mut failures: BTreeMap<(Call, PortChoice), Vec<&Known>> = BTreeMap::new();
    for known in known.clone().filter(|known| query.selects(known)) {
        failures.entry((known.call, known.port)).or_default().push(known);
    }
    let connects = query.calls.contains(&Call::Connect) && !query.calls.contains(&Call::SoError);
    let answers = CallQuery { calls: vec![Call::SoError], port: None, ..query.clone() };
    // A reset that answers connect() is ECONNREFUSED (tcp_reset, in SYN_SENT). Where connect() gives ECONNRESET, the
    // connection was made, and reset before anybody looked: `refused`, which scenarios say of one in use, is not why.
    let made = |known: &Known| known.errno == ErrnoName::ECONNRESET && known.cause == Cause::Refused;
    let answers: Vec<&Known> = known.filter(|known| connects && answers.selects(known) && !made(known)).collect();
    if !answers.is_empty() {
        if failures.keys().all(|(call, _)| *call != Call::Connect) {
            failures.insert((Call::Connect, query.port.unwrap_or(PortChoice::Ephemeral)), Vec::new());
        }
        for ((call, _), known) in &mut failures {
            if *call == Call::Connect {
                known.extend(&answers);
            }
        }
    }
    failures
}

/// What connect EADDRINUSE is where nothing says that it is Linux's.
fn elsewhere(understood: &Understood) -> Option<String> {
    let open = understood.told == Told::Assumed && understood.connecting;
    let note = "on macOS, Windows and lwIP connect() itself gives it: tuple-in-use, the connection's 4-tuple is taken";
    open.then(|| note.to_owned())
}

/// A command with the address and the port of the text.
fn fill(command: &str, understood: &Understood) -> String {
    let End { address, port } = understood.remote;
    let command = port.map_or(command.to_owned(), |port| command.replace("REMOTE_PORT", &port.to_string()));
    match address {
        // REMOTE_PORT is another word.
        Some(address) => command.replace("REMOTE ", &format!("{address} ")),
        None => command,
    }
}

/// Whether most programs make the call so: they name the port that they bind, and let the kernel pick the one that they
/// connect from.
fn is_usual(call: Call, port: PortChoice) -> bool {
    (call == Call::Bind) == (port == PortChoice::Explicit)
}

fn candidate(ranked: Ranked<'_>, call: Call, port: PortChoice, understood: &Understood) -> Candidate {
    let Ranked { cause, scenarios, findings, known, .. } = ranked;
    let mut evidence: BTreeMap<(Basis, &str, bool), Vec<&Known>> = BTreeMap::new();
    for known in &known {
        evidence.entry((known.basis, &known.by, known.behind)).or_default().push(known);
    }
    let evidence = evidence.into_iter().map(|((basis, by, behind), known)| {
        let findings = known.iter().map(|known| known.findings).sum();
        // A scenario that is about the call says more about it than one that is about an earlier call.
        let about = |known: &&&Known| !known.scenario.starts_with(known.call.as_str());
        let example = known.iter().min_by_key(about).map(|known| known.example.clone()).unwrap_or_default();
        CauseEvidence { basis, by: by.to_owned(), behind, findings, example }
    });
    let (step, why) = step(cause, understood.errno);
    // What does not account for the errno has nothing to show.
    let accounts = accounts_for(cause, understood.errno);
    let about = About { protocol: understood.protocol, local: understood.local, remote: understood.remote };
    Candidate {
        cause,
        scenarios,
        findings,
        evidence: evidence.collect(),
        protocols: known.iter().filter_map(|known| known.protocol).collect(),
        families: known.iter().filter_map(|known| known.family).collect(),
        reuse: known.iter().map(|known| known.reuse).collect(),
        commands: match (fit::commands(cause, call, understood), understood.os.rules()) {
            (Some(own), _) if accounts => own,
            (None, Some(os)) if accounts => commands(cause, os, &about),
            _ => Vec::new(),
        },
        step,
        why,
        advice: fit::advice(cause, call, port, understood),
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Pairs that one observation tells apart share it.
fn apart(call: Call, errno: ErrnoName, causes: &[Ranked<'_>]) -> Vec<Apart> {
    let causes: Vec<&Ranked<'_>> = causes.iter().filter(|cause| accounts_for(cause.cause, errno)).collect();
    let mut apart: Vec<Apart> = Vec::new();
    for (index, one) in causes.iter().enumerate() {
        for other in &causes[index + 1..] {
            let by = separate(one.cause, other.cause, call);
            let known = apart.iter().position(|apart| apart.by == by);
            let entry = known.unwrap_or_else(|| {
                apart.push(Apart { causes: Vec::new(), by });
                apart.len() - 1
            });
            for cause in [one.cause, other.cause] {
                if !apart[entry].causes.contains(&cause) {
                    apart[entry].causes.push(cause);
                }
            }
        }
    }
    apart
}

/// What findings know that is like what they do not: in fewer words than are asked, elsewhere, or of the call.
pub fn near(understood: &Understood, knowledge: &Knowledge) -> Vec<String> {
    let asked = understood.query();
    let open = CallQuery { port: None, protocol: None, family: None, reuse: None, ..asked.clone() };
    let elsewhere = [CallQuery { os: None, ..open.clone() }, CallQuery { calls: Vec::new(), ..open.clone() }];
    let questions = [vec![open.clone()], elsewhere.to_vec(), vec![CallQuery { errno: None, ..open }]];
    let mut near = questions
        .iter()
        .map(|questions| questions.iter().flat_map(|question| failures(question, knowledge)).collect::<Vec<String>>());
    near.find(|near| !near.is_empty()).unwrap_or_default()
}

/// `bind EADDRINUSE on linux (explicit port, tcp, udp)`.
fn failures(query: &CallQuery, knowledge: &Knowledge) -> Vec<String> {
    type Kinds = (BTreeSet<PortChoice>, BTreeSet<Protocol>);
    let mut failures: BTreeMap<(Os, Call, ErrnoName), Kinds> = BTreeMap::new();
    for known in knowledge.known.iter().filter(|known| query.selects(known)) {
        let (ports, protocols) = failures.entry((known.os, known.call, known.errno)).or_default();
        ports.insert(known.port);
        protocols.extend(known.protocol);
    }
    let lines = failures.into_iter().map(|((os, call, errno), (ports, protocols))| {
        let ports: Vec<&str> =
            ports.iter().filter(|port| **port != PortChoice::None).map(|port| port.as_str()).collect();
        let ports = if ports.is_empty() { String::new() } else { format!("{} port, ", ports.join(" or ")) };
        let protocols: Vec<&str> = protocols.iter().map(|protocol| protocol.as_str()).collect();
        format!("{call} {} on {os} ({ports}{})", errno.as_str(), protocols.join(" or "))
    });
    lines.collect()
}

/// The JSON Schema of an explanation.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<Explanation>(FORMAT)
}
