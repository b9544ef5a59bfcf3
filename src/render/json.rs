//! Reports as JSON text, one finding a line, so that they can be searched and compared line by line.
//!
//! The format is the business of `finding`; this is its layout, and the way back.

use std::io::{self, Write};

use crate::finding::Report;

pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Report { format, tool, host, catalogue, started, complete, repeat, summary, findings } = report;
    let header = Report {
        format: *format,
        tool: tool.clone(),
        host: host.clone(),
        catalogue: catalogue.clone(),
        started: *started,
        complete: *complete,
        repeat: *repeat,
        summary: summary.clone(),
        findings: Vec::new(),
    };
    let header = serde_json::to_string_pretty(&header)?;
    // The findings come last: the array that is still empty is where they go.
    out.write_all(header.strip_suffix("]\n}").unwrap_or(&header).as_bytes())?;
    for (index, finding) in findings.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, finding)?;
    }
    out.write_all(if findings.is_empty() { b"]\n}\n" } else { b"\n]\n}\n" })
}

/// Reads a report; what is wrong with the text, and at which line and column.
pub fn read(text: &str) -> Result<Report, (usize, usize, String)> {
    serde_json::from_str(text).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        (error.line(), error.column(), error.to_string().replace(&place, ""))
    })
}
