//! What a trace looks like, on the terminal and as JSON; see `tests/golden.rs`.

use std::collections::BTreeMap;

use errnoscope::knowledge::policy::ProbeCall;
use errnoscope::render::trace as text;
use errnoscope::tracer::report::{TraceReport, schema};
use errnoscope::tracer::view::HopRow;
use errnoscope::words::cause::Cause;

use crate::common::golden::golden;
use crate::harness::test;
use crate::tracer::examples::{fault, script};
use crate::tracer::laws::policy;
use crate::tracer::simulated::{Lot, run};

/// The first port is busy, the third hop silent.
#[test]
fn a_trace() {
    let mut script = script("r1 r5 * open20");
    script.settings.queries = 2;
    script.lots = vec![Lot::Fails(fault(ProbeCall::Bind, "EADDRINUSE", Cause::PortInUse))];
    let report = TraceReport::new("example.org", run(&script, policy("evidence")).trace, &BTreeMap::new());
    let TraceReport { host, settings, hops, probes, ended, .. } = &report;
    let parts = [
        text::header(host, settings, 80),
        text::hops(&hops.iter().map(HopRow::from).collect::<Vec<_>>(), 80),
        text::skips(probes, settings, 80),
        text::ended(ended, settings).unwrap_or_default(),
    ];
    golden("trace.txt", &parts.concat());
    golden("trace.json", &(serde_json::to_string_pretty(&report).unwrap() + "\n"));
    let json = serde_json::to_value(&report).unwrap();
    jsonschema::validator_for(&schema()).unwrap().validate(&json).unwrap();
}
