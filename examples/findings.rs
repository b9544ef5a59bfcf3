//! Reads a report, says where connect() gave EADDRNOTAVAIL, and what a policy would have done about each failed call.
//!
//!     errnoscope run --json report.json
//!     cargo run --example findings --no-default-features -- report.json

use std::error::Error;
use std::io::{self, Write};

use errnoscope::knowledge::policy::{self, evaluate::evaluate, evidence::evidence};
use errnoscope::report::finding::Report;
use errnoscope::words::errno::ErrnoName;
use errnoscope::words::names::Call;

pub fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: findings REPORT.json")?;
    tell(&std::fs::read_to_string(path)?, &mut io::stdout().lock())
}

pub fn tell(text: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let report: Report = text.parse()?;
    for finding in &report.findings {
        let gave = |errno| finding.outcome().is_some_and(|outcome| outcome.is(errno));
        if finding.subject.call == Call::Connect && gave(ErrnoName::EADDRNOTAVAIL) {
            writeln!(out, "{}: {} ({})", finding.case, finding.cause, finding.verdict())?;
        }
    }

    let policy = policy::built_in("conflate").ok_or("no such policy")??;
    let evaluation = evaluate(&policy, &evidence([&report]));
    let wrong: u64 = evaluation.wrong.iter().map(|wrong| wrong.count).sum();
    writeln!(out, "{}: {} decisions right, {wrong} wrong", policy.name, evaluation.total.right)?;
    Ok(())
}
