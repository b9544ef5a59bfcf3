//! A finished trace as JSON: the contract with whoever reads what `trace --json` writes.
//!
//! It adds nothing to the trace but the views that readers ask for first: hops and totals.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::record::{Choices, Ended, FORMAT, Hop, Record, Totals, Trace};
use crate::finding::Tool;

#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Report {
    /// `errnoscope-trace/1`.
    pub format: Format,
    pub tool: Tool,
    /// What was asked for, as it was typed.
    pub host: String,
    pub settings: Choices,
    /// Rounds that have begun.
    pub rounds: u32,
    /// Why the trace is over.
    pub ended: Ended,
    pub totals: Totals,
    /// Every TTL up to the end of the path, or up to the last one that was probed.
    pub hops: Vec<Hop>,
    /// Every probe that was issued, in order.
    pub probes: Vec<Record>,
}

/// The one format that this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format;

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(FORMAT)
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

impl Report {
    /// A trace that is over. `names` are what the resolver calls the addresses.
    pub fn new(host: &str, trace: Trace, names: &BTreeMap<IpAddr, String>) -> Report {
        let mut hops = trace.hops();
        name(&mut hops, names);
        Report {
            format: Format,
            tool: Tool::this(),
            host: host.to_owned(),
            rounds: trace.rounds,
            totals: trace.totals(),
            hops,
            ended: trace.ended.unwrap_or(Ended::Interrupted),
            settings: trace.settings,
            probes: trace.probes,
        }
    }
}

/// Writes the names of the addresses into the hops.
pub fn name(hops: &mut [Hop], names: &BTreeMap<IpAddr, String>) {
    for responder in hops.iter_mut().flat_map(|hop| &mut hop.answers) {
        responder.name = responder.address.and_then(|address| names.get(&address).cloned());
    }
}

/// The JSON Schema of the format.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Report).to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), FORMAT.into());
    }
    schema
}
