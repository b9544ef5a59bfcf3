//! `errnoscope protocol`: for those who write a worker.
//!
//! `suite::conformance` asks the worker.

use std::io::Write;
use std::time::Duration;

use super::output;
use super::{Exit, Failure};
use crate::render::conformance::{self as text, Shown};
use crate::suite::conformance;
use crate::suite::runner::Place;
use crate::sys::Signals;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope protocol check 'python3 examples/worker.py'
  errnoscope schema plan

docs/protocol.md says what a worker reads and writes.")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Ask a worker what every worker must get right
    Check(CheckArguments),
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope protocol check env                           this program's own worker
  errnoscope protocol check 'python3 examples/worker.py'
  errnoscope protocol check 'ssh mac' blocked deadline    two points
  errnoscope protocol check env bind -v                   and the lines that were exchanged

COMMAND is started as by `run --on`. docs/protocol.md says what the lines mean.

Exit codes: 0 nothing is wrong, 1 something is, 2 usage.")]
struct CheckArguments {
    /// The command that leads to the worker; it gets `errnoscope worker` as its last arguments
    command: String,

    /// Only these points
    #[arg(value_name = "POINT")]
    points: Vec<String>,

    /// The program that COMMAND is to start
    #[arg(long, value_name = "PATH", default_value = "errnoscope")]
    remote_binary: String,

    /// How long COMMAND may take to start a worker, and how much longer than its case an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,

    /// The lines that were exchanged as well
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,

    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn protocol(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Command::Check(CheckArguments { command, points, remote_binary, wait, verbose, json }) = &arguments.command;
    if let Some(unknown) = conformance::unknown(points) {
        return Err(Failure::bad(unknown));
    }
    let signals = Signals::watch().map_err(|error| Failure::because("cannot watch for signals", error))?;
    let place = Place::Behind { command: command.clone(), program: remote_binary.clone() };
    let (wait, turn) = (Duration::from_secs(*wait), std::process::id().into());
    let checked = conformance::check(&place, command, wait, points, turn, &signals.interrupted);
    if let Some(signal) = signals.received() {
        return Ok(Exit::Interrupted(signal));
    }
    if *json {
        output::json(&checked, out)?;
    } else {
        let what = if *verbose { Shown::Exchange } else { Shown::Result };
        write!(out, "{}", text::conformance(&checked, what, output::width()))?;
    }
    Ok(if checked.is_right() { Exit::Success } else { Exit::Mismatch })
}
