//! A finished trace as JSON: the contract with readers of `trace --json`.
//!
//! It adds to the trace only the views that readers ask for first: hops and totals.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::record::{Choices, FORMAT, Hop, ProbeRecord, RoundEnd, Totals, Trace};
use crate::report::finding::Tool;
use crate::words::untrusted::Text;

#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TraceReport {
    /// `errnoscope-trace/2`.
    #[schemars(extend("const" = FORMAT))]
    pub format: &'static str,
    pub tool: Tool,
    /// What was asked for, as it was typed.
    pub host: String,
    pub settings: Choices,
    /// Rounds that have begun.
    pub rounds: u32,
    /// Why the trace is over.
    pub ended: RoundEnd,
    pub totals: Totals,
    /// Every TTL up to the end of the path, or up to the last one that was probed.
    pub hops: Vec<Hop>,
    /// Every probe that was issued, in order.
    pub probes: Vec<ProbeRecord>,
}

impl TraceReport {
    /// A trace that is over. `names` are what the resolver calls the addresses.
    pub fn new(host: &str, trace: Trace, names: &BTreeMap<IpAddr, Text>) -> TraceReport {
        let mut hops = trace.hops();
        name(&mut hops, names);
        TraceReport {
            format: FORMAT,
            tool: Tool::this(),
            host: host.to_owned(),
            rounds: trace.rounds,
            totals: trace.totals(),
            hops,
            ended: trace.ended.unwrap_or(RoundEnd::Interrupted),
            settings: trace.settings,
            probes: trace.probes,
        }
    }
}

/// Writes the names of the addresses into the hops.
fn name(hops: &mut [Hop], names: &BTreeMap<IpAddr, Text>) {
    for responder in hops.iter_mut().flat_map(|hop| &mut hop.answers) {
        responder.name = responder.address.and_then(|address| names.get(&address).cloned());
    }
}

/// The JSON Schema of the format.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<TraceReport>(FORMAT)
}
