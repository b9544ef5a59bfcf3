//! `errnoscope run`: selected cases on this kernel, judged, summed up and written down.

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{self, Destination};
use super::select::Selection;
use super::{Exit, Failure, complain};
use crate::finding::{Finding, Report, Verdict};
use crate::moment::Moment;
use crate::names::Need;
use crate::render::text::count;
use crate::render::{json, junit, summary};
use crate::runner::{self, Item, Ran, Settings};
use crate::sys::Signals;

/// Set where a host without namespaces is an error and not a limitation: in CI.
const REQUIRE_NAMESPACES: &str = "ERRNOSCOPE_REQUIRE_NAMESPACES";

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope run --json report.json          everything; findings in a file
  errnoscope run bind.port-held              all cases of one scenario
  errnoscope run 'connect.*' -x family=ipv6  IPv6 cases of some scenarios
  errnoscope run --call connect --cause ports-exhausted --repeat 20
  errnoscope run -v listen.rival             every finding in full
  errnoscope run --scenarios my-scenarios    scenario files of your own

Environment:
  ERRNOSCOPE_REQUIRE_NAMESPACES=1  fail where there are no namespaces
  NO_COLOR, COLUMNS                no colours; how wide lines may be")]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,

    /// Write the findings to this file, compressed if its name ends in .gz; `-` is standard output, and moves the summary
    /// to standard error
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// How many cases run at once [default: one per core]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Run each case this often, and report how often it gave what
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: u32,

    /// Run the cases that wait for kernel timers as well
    #[arg(long)]
    slow: bool,

    /// No progress, and of the summary only what is no match
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Every finding in full before the summary: expectation, outcome, trail and witness
    #[arg(short, long)]
    verbose: bool,
}

pub fn run(arguments: Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let catalogue = arguments.selection.load()?;
    let items = fast_or_slow(arguments.selection.items(&catalogue)?, arguments.slow)?;
    let destination = |path: &Option<PathBuf>| path.as_deref().map(Destination::new).transpose();
    let (json_to, junit_to) = (destination(&arguments.json)?, destination(&arguments.junit)?);
    if [&json_to, &junit_to].iter().all(|to| to.as_ref().is_some_and(Destination::is_stdout)) {
        return Err(Failure::bad("only one of --json and --junit can go to standard output"));
    }
    let program = std::env::current_exe().map_err(|error| Failure::because("cannot find this program", error))?;
    let jobs = arguments.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let settings = Settings { jobs, repeat: arguments.repeat, program };
    require_namespaces(&settings)?;

    let signals = Signals::watch().map_err(|error| Failure::because("cannot watch for signals", error))?;
    let started = Moment::of(SystemTime::now().into());
    let progress = Progress::start(&items, &settings, arguments.quiet);
    let ran = runner::run(&catalogue, &items, &settings, &signals.interrupted, |findings| progress.case(findings));
    let Ran { hello, findings, complete } = ran.map_err(|message| {
        progress.stop();
        Failure::CannotRun(message)
    })?;
    let cases_ran = progress.stop();

    let report = Report::new(&hello, catalogue.facts(), started, complete, arguments.repeat, findings);
    if let Some(to) = &json_to {
        output::bearing_closed_pipe(to.write(out, |out| json::write(&report, out)))?;
    }
    if let Some(to) = &junit_to {
        let xml = junit::junit(&report).map_err(Failure::bad)?;
        output::bearing_closed_pipe(to.write(out, |out| out.write_all(xml.as_bytes())))?;
    }
    let to_stdout = [&json_to, &junit_to].iter().any(|to| to.as_ref().is_some_and(Destination::is_stdout));
    output::bearing_closed_pipe(sum_up(&report, &arguments, to_stdout, out))?;
    // Whoever closed the pipe may still ask for the exit code.
    output::bearing_closed_pipe(out.flush().map_err(Failure::Output))?;

    let exit = Exit::of(&report.summary);
    if let Some(signal) = signals.received().filter(|_| !complete) {
        complain("interrupted", &format!("{cases_ran} of {} ran", count(items.len() as u64, "case")));
        return Ok(Exit::Interrupted(signal));
    }
    if report.findings.iter().all(|finding| finding.verdict() == Verdict::Unsupported) {
        complain("error", "nothing could be run here; see `errnoscope doctor`");
    }
    Ok(exit)
}

fn sum_up(report: &Report, arguments: &Arguments, to_stderr: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let width = output::width();
    let text = match (arguments.quiet, arguments.verbose) {
        (true, _) => summary::trouble(report, width),
        (false, false) => summary::summary(report, width),
        (false, true) => format!("{}\n{}", summary::everything(report, width), summary::summary(report, width)),
    };
    if to_stderr {
        write!(anstream::stderr(), "{text}")?
    } else {
        write!(out, "{text}")?
    }
    Ok(())
}

fn fast_or_slow(items: Vec<Item>, slow: bool) -> Result<Vec<Item>, Failure> {
    let selected = items.len();
    let items: Vec<Item> = items.into_iter().filter(|item| slow || !item.slow).collect();
    if items.is_empty() {
        let all = match selected {
            1 => "the selected case waits".to_owned(),
            selected => format!("all {selected} selected cases wait"),
        };
        return Err(Failure::NothingSelected(format!("{all} for kernel timers; add --slow to run them")));
    }
    Ok(items)
}

fn require_namespaces(settings: &Settings) -> Result<(), Failure> {
    if !std::env::var_os(REQUIRE_NAMESPACES).is_some_and(|value| !value.is_empty() && value != "0") {
        return Ok(());
    }
    let hello = runner::hello(&settings.program).map_err(Failure::CannotRun)?;
    match hello.capabilities.get(&Need::NetworkNamespace) {
        Some(capability) if capability.available => Ok(()),
        capability => {
            let reason = capability.and_then(|capability| capability.reason.as_deref()).unwrap_or("no reason given");
            Err(Failure::CannotRun(format!(
                "{REQUIRE_NAMESPACES} is set, and there are no network namespaces: {reason}"
            )))
        }
    }
}

/// How far the run is: a bar on a terminal, two lines elsewhere.
struct Progress {
    bar: ProgressBar,
    /// Findings that are neither a match nor unsupported.
    trouble: AtomicUsize,
    started: Instant,
    lines: bool,
    cases: u64,
}

impl Progress {
    fn start(items: &[Item], settings: &Settings, quiet: bool) -> Progress {
        let cases = items.len() as u64;
        let terminal = io::stderr().is_terminal() && !quiet;
        let bar = if terminal { ProgressBar::new(cases) } else { ProgressBar::hidden() };
        if terminal {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cases  {elapsed}  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        let lines = !terminal && !quiet;
        let progress = Progress { bar, trouble: AtomicUsize::new(0), started: Instant::now(), lines, cases };
        if progress.lines {
            let times = if settings.repeat > 1 { format!(" {} times each", settings.repeat) } else { String::new() };
            let jobs = count(settings.jobs.get() as u64, "worker");
            let _ = writeln!(io::stderr(), "errnoscope: running {}{times} on {jobs}", count(cases, "case"));
        }
        progress
    }

    fn case(&self, findings: &[Finding]) {
        self.bar.inc(1);
        let bad = |finding: &&Finding| !matches!(finding.verdict(), Verdict::Match | Verdict::Unsupported);
        let bad = findings.iter().filter(bad).count();
        if bad > 0 {
            let all = self.trouble.fetch_add(bad, Ordering::Relaxed) + bad;
            self.bar.set_message(format!("{all} not as expected"));
        }
    }

    /// How many cases ran.
    fn stop(&self) -> u64 {
        let ran = self.bar.position();
        self.bar.finish_and_clear();
        if self.lines {
            let of = if ran == self.cases { String::new() } else { format!(" of {}", self.cases) };
            let (took, noun) = (self.started.elapsed().as_secs_f64(), if self.cases == 1 { "case" } else { "cases" });
            let _ = writeln!(io::stderr(), "errnoscope: {ran}{of} {noun} in {took:.2} s");
        }
        ran
    }
}
