//! What may be behind an errno: the causes of scenarios, and those that only a connection or a device in use runs into.
//!
//! It has no order: `fit` has one.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::supplement::{PRACTICE, SOURCE};
use super::{Candidate, CauseEvidence, Understood, fill};
use crate::knowledge::policy::evidence::Basis;
use crate::knowledge::policy::right::Step;
use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Os, words};

words! {
    /// A cause that no scenario makes.
    InUse {
        /// The other end, or something between, ended the connection with a reset.
        Reset = "reset",
        /// A queue of the device, or the socket's memory, is full.
        QueueFull = "queue-full",
    }
}

/// What a call ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Reason {
    /// One that scenarios make.
    Cause(Cause),
    /// One that they do not.
    InUse(InUse),
}

impl Reason {
    /// The word, as every format spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Cause(cause) => cause.as_str(),
            Reason::InUse(reason) => reason.as_str(),
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl PartialEq<Cause> for Reason {
    fn eq(&self, cause: &Cause) -> bool {
        *self == Reason::Cause(*cause)
    }
}

/// What is known of such a cause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) reason: InUse,
    pub(super) call: Call,
    pub(super) by: &'static str,
    pub(super) how: &'static str,
    pub(super) step: Step,
    pub(super) why: &'static str,
    pub(super) advice: &'static str,
    pub(super) commands: &'static [&'static str],
}

/// The calls that have a cause of this kind for the errno.
pub(super) fn calls(errno: ErrnoName) -> &'static [Call] {
    use Call::{Accept, Connect, Recv, Send, Sendto};
    match errno.as_str() {
        "ECONNRESET" => &[Recv, Send, Connect],
        "ECONNABORTED" => &[Accept, Recv, Send],
        "ENOBUFS" => &[Sendto, Send],
        _ => &[],
    }
}

/// The causes of this kind that the errno has, in the calls that are asked for.
pub(super) fn entries(understood: &Understood, os: Os) -> Vec<Entry> {
    let calls = calls(understood.errno);
    let asked = calls.iter().filter(|call| understood.calls.is_empty() || understood.calls.contains(call));
    asked
        .map(|&call| if understood.errno.as_str() == "ENOBUFS" { queue_full(call, os) } else { reset(call, os) })
        .collect()
}

fn reset(call: Call, os: Os) -> Entry {
    let (by, how) = match (os, call) {
        (Os::Linux, Call::Accept) => (PRACTICE, "the client reset the connection before accept()"),
        (Os::Linux, _) => (SOURCE, "net/ipv4/tcp_input.c: tcp_reset"),
        (Os::Macos, _) => (PRACTICE, "a peer that resets the connection"),
    };
    Entry {
        reason: InUse::Reset,
        call,
        by,
        how,
        step: Step::BackOff,
        why: "the connection is gone: make another, but not at once",
        advice: "the other end closed the connection with a reset: see its log. A proxy, a firewall or a load balancer \
                 between may send one as well, often after an idle time",
        commands: &["tcpdump -n host REMOTE and 'tcp[tcpflags] & tcp-rst != 0'"],
    }
}

fn queue_full(call: Call, os: Os) -> Entry {
    let (how, commands): (_, &[&str]) = match os {
        Os::Linux => {
            ("include/linux/netdevice.h: net_xmit_errno, for a socket with IP_RECVERR", &["tc -s qdisc", "ip -s link"])
        }
        Os::Macos => ("XNU bsd/net/classq: a full queue of the interface", &["netstat -id", "netstat -m"]),
    };
    Entry {
        reason: InUse::QueueFull,
        call,
        by: SOURCE,
        how,
        step: Step::BackOff,
        why: "a queue empties in a moment: send the same again, more slowly",
        advice: "packets are sent faster than the device takes them: send more slowly, or lengthen the device's queue",
        commands,
    }
}

/// What no scenario makes.
pub(super) fn candidate(entry: &Entry, understood: &Understood) -> Candidate {
    let evidence = CauseEvidence {
        basis: Basis::Expected,
        by: entry.by.to_owned(),
        behind: false,
        findings: 1,
        example: entry.how.to_owned(),
    };
    Candidate {
        cause: Reason::InUse(entry.reason),
        scenarios: 0,
        findings: 1,
        evidence: vec![evidence],
        protocols: BTreeSet::new(),
        families: BTreeSet::new(),
        reuse: BTreeSet::new(),
        commands: entry.commands.iter().map(|command| fill(command, understood)).collect(),
        step: entry.step,
        why: entry.why,
        advice: entry.advice.to_owned(),
    }
}
