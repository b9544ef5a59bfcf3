//! The worker: plans in, observations out, one line of JSON each, one process per case.
//!
//! It never sees an expectation and judges nothing. A case runs in a child with its own network; a crash of the child
//! is an observation, and never ends the worker.

mod case;
mod fill;
mod hello;
mod interpreter;
mod queries;
mod shared;
mod table;

pub use case::RunningCase;
pub use queries::nft;

use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::plan::{Fate, MARK, Op, Performed, Plan, StepResult, Unsupported, message};
use crate::sys::{self, Ended, Fork, Isolate, Isolation, Purpose, Tables, Trail};
use crate::words::names::Need;
use case::Listed;

/// How much a case may report. Pages that no case touches are never allocated.
const TRAIL_BYTES: usize = 8 << 20;
/// How long the probes behind the first line may take, times the patience that is asked for. Whoever waits for the line
/// has more.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// An emulated machine is as slow as that, and nobody can tell it when it boots.
const BOOTED_PATIENCE: u32 = 5;
/// The exit code of a process that left its last words in the trail.
const GAVE_UP: i32 = 101;

/// In a machine that boots into this program.
pub fn main_booted() -> ExitCode {
    main(BOOTED_PATIENCE, Isolate::WherePossible)
}

/// The hidden subcommand.
pub fn main(patience: u32, isolate: Isolate) -> ExitCode {
    sys::close_from(3);
    sys::ignore_interrupts();
    let isolation = sys::isolate(Purpose::Worker, isolate);
    match serve(&isolation, patience) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The coordinator closes our output first when it has had enough.
            let _ = writeln!(std::io::stderr(), "errnoscope worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(isolation: &Isolation, patience: u32) -> std::io::Result<()> {
    let (input, mut output) = sys::take_standard_streams()?;
    // A terminal would send every plan back, and cut the long ones.
    sys::raw_terminal(&input);
    let mut trail = Trail::new(TRAIL_BYTES).map_err(|errno| std::io::Error::other(format!("mmap: {errno}")))?;
    sys::no_core_files();
    let mut tables = Tables::Large;
    // Where there is no private network, the tables of the host's would be meant.
    if isolation.has_network() {
        sys::size_tables(tables);
    }
    let _ = sys::set_descriptor_limit(sys::descriptor_limit().1);
    leave_panics_in(trail.alias());

    let listed = table::listed();
    let mut line = Vec::with_capacity(64 * 1024);
    line.push(MARK);
    hello::write(isolation, patience, &mut trail, &mut line)?;
    output.write_all(&line)?;

    let mut input = BufReader::with_capacity(64 * 1024, input);
    let mut received = Vec::new();
    loop {
        received.clear();
        if input.read_until(b'\n', &mut received)? == 0 {
            return Ok(());
        }
        // Whoever carries this may have something to say as well.
        let Some(message) = message(&received) else { continue };
        line.clear();
        line.push(MARK);
        answer(message, isolation, listed, &mut tables, &mut trail, &mut line)?;
        output.write_all(&line)?;
        if isolation.kind == "sandbox" {
            // What this case has left behind is nobody else's.
            return Ok(());
        }
    }
}

/// One plan's observations.
fn answer(
    text: &[u8],
    isolation: &Isolation,
    listed: Listed,
    tables: &mut Tables,
    trail: &mut Trail,
    line: &mut Vec<u8>,
) -> std::io::Result<()> {
    let plan: Plan = match serde_json::from_slice(text) {
        Ok(plan) => plan,
        Err(error) => {
            let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
            let case = value["case"].as_str().unwrap_or_default();
            let number = value["number"].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
            let fate = Fate::Exited { code: 2, message: format!("the plan cannot be read: {error}").into() };
            return compose(line, (case, number), &fate, b"");
        }
    };
    let lacking = isolation.lacking.clone().map(|reason| (Need::NetworkNamespace, reason));
    let lacking = lacking.or_else(|| shared::in_the_way(isolation, &plan).map(|reason| (Need::FreePorts, reason)));
    if let Some((need, reason)) = lacking {
        let lack = Unsupported { need, reason: reason.into() };
        let result = Performed::Unsupported(lack);
        let step = StepResult { step: 0, result, micros: 0.0, detail: None, before: Vec::new(), after: Vec::new() };
        return compose(line, (&plan.case, plan.number), &Fate::Done, &serde_json::to_vec(&step)?);
    }
    let fills = plan.steps.iter().any(|step| matches!(step.op, Op::Fill(_)));
    let wanted = if fills { Tables::Large } else { Tables::Small };
    if *tables != wanted && isolation.has_network() {
        sys::size_tables(wanted);
        *tables = wanted;
    }
    let deadline = Duration::from_millis(plan.deadline().into());
    let fate = in_child(isolation, trail, deadline, |trail| {
        // A sandbox is this case's as it is.
        if isolation.kind != "sandbox" {
            enter_case(isolation, trail);
        }
        interpreter::run(&plan, isolation, listed, trail)
    })?;
    compose(line, (&plan.case, plan.number), &fate, trail.records())
}

/// The line is put together from what the trail holds: nothing in it is parsed again.
fn compose(line: &mut Vec<u8>, (case, number): (&str, u32), fate: &Fate, steps: &[u8]) -> std::io::Result<()> {
    line.extend_from_slice(b"{\"case\":");
    serde_json::to_writer(&mut *line, case)?;
    write!(line, ",\"number\":{number}")?;
    line.extend_from_slice(b",\"fate\":");
    serde_json::to_writer(&mut *line, fate)?;
    line.extend_from_slice(b",\"steps\":[");
    line.extend_from_slice(steps);
    line.extend_from_slice(b"]}\n");
    Ok(())
}

/// Runs `work` in a child, and clears away whatever the child leaves behind.
fn in_child(
    isolation: &Isolation,
    trail: &mut Trail,
    deadline: Duration,
    work: impl FnOnce(&mut Trail),
) -> std::io::Result<Fate> {
    trail.reset();
    let pid = match sys::fork().map_err(|errno| std::io::Error::other(format!("fork: {errno}")))? {
        Fork::Child => {
            sys::die_with_parent();
            work(trail);
            sys::exit_now(0)
        }
        Fork::Parent(pid) => pid,
    };
    let fate = match sys::wait_for(pid, deadline) {
        Ok(Some(Ended::Exited(0))) => Fate::Done,
        Ok(Some(Ended::Exited(code))) => Fate::Exited { code, message: trail.message().into() },
        Ok(Some(Ended::Killed(signal))) => Fate::Killed { signal },
        Ok(None) => {
            sys::kill(pid);
            let _ = sys::reap(pid);
            Fate::TimedOut { ms: deadline.as_millis() as u32 }
        }
        Err(errno) => {
            sys::kill(pid);
            let _ = sys::reap(pid);
            Fate::Exited { code: GAVE_UP, message: format!("the case could not be waited for: {errno}").into() }
        }
    };
    sys::leave_case(isolation, pid);
    Ok(fate)
}

/// Gives this process a network of its own, where there is one.
fn enter_case(isolation: &Isolation, trail: &Trail) {
    if let Err(errno) = sys::enter_case(isolation) {
        give_up(trail, &format!("a place of its own for this case: {errno}"));
    }
}

/// Ends a case's process with a reason.
fn give_up(trail: &Trail, why: &str) -> ! {
    trail.leave_message(why);
    sys::exit_now(GAVE_UP)
}

/// A panic in a case becomes its exit message.
fn leave_panics_in(trail: Trail) {
    std::panic::set_hook(Box::new(move |panic| give_up(&trail, &panic.to_string())));
}
