//! Reports and compatibility data as JSON text, one finding or call a line, so that they can be searched and compared line
//! by line.
//!
//! The formats are the business of `finding` and `compat`; this is their layout, and a report's way back.

use std::io::{self, Write};

use serde::Serialize;

use crate::compat::Compat;
use crate::finding::Report;

pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    lines(&report.wire([(); 0]), &report.findings, out)
}

pub fn write_compat(compat: &Compat, out: &mut dyn Write) -> io::Result<()> {
    let Compat { format, stacks, reports, references, calls } = compat;
    let header = Compat {
        format,
        stacks: stacks.clone(),
        reports: reports.clone(),
        references: references.clone(),
        calls: Vec::new(),
    };
    lines(&header, calls, out)
}

/// `header`, whose last field is the array of `items`, still empty, and then these.
fn lines<T: Serialize>(header: &impl Serialize, items: &[T], out: &mut dyn Write) -> io::Result<()> {
    let header = serde_json::to_string_pretty(header)?;
    out.write_all(header.strip_suffix("]\n}").unwrap_or(&header).as_bytes())?;
    for (index, item) in items.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, item)?;
    }
    out.write_all(if items.is_empty() { b"]\n}\n" } else { b"\n]\n}\n" })
}

/// Reads a report; what is wrong with the text, and at which line and column.
pub fn read(text: &str) -> Result<Report, (usize, usize, String)> {
    serde_json::from_str(text).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        (error.line(), error.column(), error.to_string().replace(&place, ""))
    })
}
