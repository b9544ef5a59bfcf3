//! `errnoscope run`: runs selected cases on this kernel or on others, and writes a report for each stack.
//!
//! `suite` runs and judges the cases.

mod carried;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{self, Destination, Writing};
use super::select::{Selection, one_of};
use super::{Exit, Failure, complain, source};
use crate::plan::Hello;
use crate::render::style::{HEADING, paint};
use crate::render::text::{count, glossary};
use crate::render::{deviation as known_deviations, json, junit, summary};
use crate::report::compare::{Key, key};
use crate::report::deviation::{self, Deviations, Weighed};
use crate::report::finding::{self, Finding, Host, Report, Verdict};
use crate::suite::catalogue::Catalogue;
use crate::suite::runner::{self, CannotRun, CaseRun, Place, Ran, Settings};
use crate::sys::{Directory, Isolate, Signals};
use crate::words::moment::Moment;
use crate::words::names::{Need, Os};

/// What must not be missing, where it is an error and not a limitation: in CI. The tests read more words from it.
const REQUIRE: &str = "ERRNOSCOPE_REQUIRE";

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope run --json report.json          everything; findings in a file
  errnoscope run bind.port-held              all cases of one scenario
  errnoscope run 'connect.*' -x family=ipv6  IPv6 cases of some scenarios
  errnoscope run --call connect --cause ports-exhausted --repeat 20
  errnoscope run -v listen.rival             every finding in full
  errnoscope run --scenarios my-scenarios    scenario files of your own
  errnoscope run --also my-scenarios         them and the built-in ones, in one report
  errnoscope run --on 'ssh mac' --json mac.json
                                             on another host, with its errnoscope
  errnoscope run --on 'docker exec -i a' --on 'docker exec -i b' --json reports/
                                             on two at once, a file for each stack

The shell runs the COMMAND of --on with `errnoscope worker` (see
--remote-binary) appended. COMMAND must carry standard input and output to that
worker: ssh, docker exec -i, kubectl exec -i POD --, a script that boots a VM.
Its other output is ignored. -j says how often it is started. It cannot ask for
a password: ssh needs a key without a passphrase, or an agent.

Environment:
  ERRNOSCOPE_REQUIRE=namespaces  fail if there are no namespaces; so does `all`
  NO_COLOR, COLUMNS              no colours; the width of the terminal")]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,

    /// Run on the kernel that this command leads to, instead of on this one; give it several times for several at once
    #[arg(long, value_name = "COMMAND")]
    on: Vec<String>,

    /// The errnoscope on the other side: a path, or a name in its PATH
    #[arg(long, value_name = "PATH", default_value = "errnoscope", requires = "on")]
    remote_binary: String,

    /// The real name of the stack behind COMMAND if it presents itself as another kernel, such as `gvisor 20240729.0`;
    /// once for each --on. Its report has this name, and no expectation is about it
    #[arg(long, value_name = "NAME", requires = "on", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stack: Vec<String>,

    /// How long COMMAND may take to start a worker, and how much longer than its case an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "on", value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,

    /// Where cases run
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    isolation: IsolationWanted,

    /// Without network namespaces: also run the cases that take every ephemeral port of the host. Other programs get
    /// none for that moment
    #[arg(long)]
    exhaust_host: bool,

    /// Multiply all waits and deadlines of cases by N, for an emulator or another slow machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    patience: u32,

    /// Known deviations of a stack: a mismatch that is one of them is known, and one that no longer holds is news
    #[arg(long, value_name = "FILE")]
    deviations: Vec<PathBuf>,

    /// Write the findings to this file, compressed if its name ends in .gz; `-` is standard output, and moves the
    /// summary to standard error; a directory (with a `/` at its end if it is to be made) gets a compressed file named
    /// after each stack
    #[arg(long, value_name = "FILE|DIR/")]
    json: Option<PathBuf>,

    /// Write JUnit XML to this file, or to a file for each stack in this directory
    #[arg(long, value_name = "FILE|DIR/")]
    junit: Option<PathBuf>,

    /// Run nothing, and write the plans of the cases to this file: `errnoscope worker < PLANS > RESULTS` performs them
    /// where no pipe leads to
    #[arg(long, value_name = "PLANS", conflicts_with_all = ["on", "json", "junit", "repeat", "isolation", "jobs"])]
    plans_to: Option<PathBuf>,

    /// For which system the plans are [default: this one]
    #[arg(long, value_name = "OS", requires = "plans_to", value_parser = one_of(Os::ALL, Os::as_str))]
    plans_os: Option<Os>,

    /// Run nothing, and judge what a worker has answered to the plans of a file
    #[arg(long, num_args = 2, value_names = ["PLANS", "RESULTS"], conflicts_with_all = ["on", "plans_to", "patterns", "repeat", "isolation", "jobs"])]
    results_from: Vec<PathBuf>,

    /// How many cases run at once [default: one per core; 1 behind each --on]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Run each case this often, and report how often it gave each outcome
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: u32,

    /// Run the cases that wait for kernel timers as well
    #[arg(long)]
    slow: bool,

    /// Show no progress, and in the summary only what is no match
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Show every finding in full before the summary: expectation, outcome, trail and witness
    #[arg(short, long)]
    verbose: bool,
}

/// What `--isolation` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum IsolationWanted {
    /// Each case in a network namespace of its own. If the host gives none: as with `none`
    #[default]
    Auto,
    /// On the loopback of the host, one case at a time, on free ports. Nothing of the host is changed
    None,
}

impl From<IsolationWanted> for Isolate {
    fn from(wanted: IsolationWanted) -> Isolate {
        match wanted {
            IsolationWanted::Auto => Isolate::WherePossible,
            IsolationWanted::None => Isolate::Never,
        }
    }
}

pub fn run(arguments: Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let required = required()?;
    let deviations = source::deviations(&arguments.deviations)?;
    let catalogue = arguments.selection.load()?;
    let items = fast_or_slow(arguments.selection.items(&catalogue)?, arguments.slow)?;
    let output = |path: &Option<PathBuf>| path.as_deref().map(|path| Output::new(path, arguments.on.len())).transpose();
    let (json_to, junit_to) = (output(&arguments.json)?, output(&arguments.junit)?);
    if [&json_to, &junit_to].iter().all(|to| to.as_ref().is_some_and(Output::is_stdout)) {
        return Err(Failure::bad("only one of --json and --junit can go to standard output"));
    }
    if let Some(to) = &arguments.plans_to {
        return carried::write_plans(&catalogue, &items, to, (arguments.plans_os, arguments.patience), out);
    }
    let answered = match &arguments.results_from[..] {
        [plans, results] => Some(carried::from_results(&catalogue, plans, results)?),
        _ => None,
    };
    let settings = settings(&arguments)?;
    if required {
        require_namespaces(&settings[0])?;
    }

    let signals = Signals::watch().map_err(|error| Failure::because("cannot watch for signals", error))?;
    let started = Moment::of(SystemTime::now().into());
    let progress = Progress::start(&items, &settings, arguments.quiet || answered.is_some());
    let run = |settings: &Settings| {
        runner::run(&catalogue, &items, settings, &signals.interrupted, |findings| progress.case(findings))
    };
    let run_all = || {
        std::thread::scope(|scope| {
            let run = &run;
            let start = |settings| std::thread::Builder::new().spawn_scoped(scope, move || run(settings));
            let (here, others) = settings.split_at(1);
            let others: Vec<_> = others.iter().map(start).collect();
            let panicked = |_| Err(CannotRun::Panicked);
            let end = |thread: io::Result<ScopedJoinHandle<'_, _>>| match thread {
                Ok(thread) => thread.join().unwrap_or_else(panicked),
                Err(error) => Err(CannotRun::Thread(crate::sys::no_thread(&error))),
            };
            here.iter().map(run).chain(others.into_iter().map(end)).collect::<Vec<Result<Ran, CannotRun>>>()
        })
    };
    let ran = answered.map_or_else(run_all, |ran| vec![Ok(ran)]);
    let cases_ran = progress.stop();
    let again: u32 = ran.iter().flatten().map(|ran| ran.again).sum();
    if again > 0 {
        let cases = count(again.into(), "case");
        complain("note", &format!("{cases} timed out while others ran; run again alone, none of them hung"));
    }
    let moved: u32 = ran.iter().flatten().map(|ran| ran.moved).sum();
    if moved > 0 {
        let cases = count(moved.into(), "case");
        complain(
            "note",
            &format!(
                "{cases} went as expected only when run again on other ports: somebody else's socket may have been in the way"
            ),
        );
    }
    if let ([Err(message)], [here]) = (&ran[..], &settings[..]) {
        if let Some(signal) = signals.received() {
            complain("interrupted", "there was no worker yet: nothing ran, and there is no report");
            return Ok(Exit::Interrupted(signal));
        }
        return Err(Failure::CannotRun(format!("{}{message}", behind(&here.place))));
    }

    let (mut finished, mut failed) = (Vec::new(), false);
    let (mut names, mut named) = (Names::default(), Ok(()));
    for (ran, settings) in ran.into_iter().zip(&settings) {
        let ran = ran.map_err(|why| why.to_string());
        let ran = ran.and_then(|ran| if required { has_namespaces(&ran.hello).map(|()| ran) } else { Ok(ran) });
        let report = match ran.map(|ran| report(ran, &settings.place, started, &catalogue, &arguments)) {
            Ok(report) => report,
            Err(message) => {
                complain("error", &format!("{}{message}", behind(&settings.place)));
                failed = true;
                continue;
            }
        };
        let name = names.of(&report);
        let mut to = |output: &Option<Output>, kind: &str| {
            let to = output.as_ref().map(|output| output.named(&format!("{name}.{kind}")));
            // What one place does not take is no loss for the others.
            to.and_then(|to| to.map_err(|failure| named = Err(failure)).ok())
        };
        let (json, junit) = (to(&json_to, "json.gz"), to(&junit_to, "xml"));
        finished.push(Finished { report, place: &settings.place, json, junit });
    }
    let signal = signals.received();
    let written = named.and(write_all(&finished, signals, out));
    let to_stdout = [&json_to, &junit_to].iter().any(|to| to.as_ref().is_some_and(|to| to.is_stdout()));
    for Finished { report, place, .. } in &finished {
        let text = sum_up(report, place, &deviations, &arguments);
        match to_stdout {
            // Nothing depends on it.
            true => drop(write!(output::stderr(), "{text}")),
            false => write!(out, "{text}")?,
        }
    }
    out.flush()?;

    let complete = finished.iter().all(|finished| finished.report.complete);
    let signal = signal.filter(|_| !complete || failed);
    if signal.is_some() {
        complain("interrupted", &format!("{cases_ran} of {} ran", count(progress.cases, "case")));
    }
    written?;
    if let Some(signal) = signal {
        return Ok(Exit::Interrupted(signal));
    }
    let (mut known, mut news) = (0, false);
    for Finished { report, .. } in &finished {
        let weighed = weigh(&deviations, report);
        news |= weighed.iter().any(Weighed::is_news);
        let all = deviation::known(&weighed);
        known += report.findings.iter().filter(|finding| is_known(&all, finding)).count() as u64;
    }
    let findings: Vec<Finding> = finished.into_iter().flat_map(|finished| finished.report.findings).collect();
    if !findings.is_empty() && findings.iter().all(|finding| finding.verdict() == Verdict::Unsupported) {
        complain("error", "nothing could be run here; see `errnoscope doctor`");
    }
    let mut summary = finding::summary(&findings);
    // A mismatch that is known is as good as expected.
    *summary.entry(Verdict::Mismatch).or_default() -= known;
    *summary.entry(Verdict::Match).or_default() += known;
    Ok(match Exit::of(&summary) {
        Exit::Success | Exit::Broken if news => Exit::Mismatch,
        Exit::Success if failed => Exit::Broken,
        exit => exit,
    })
}

fn weigh<'w>(deviations: &'w [Deviations], report: &'w Report) -> Vec<Weighed<'w>> {
    deviations.iter().flat_map(|known| known.weigh(report)).collect()
}

fn is_known(known: &BTreeSet<Key<'_>>, finding: &Finding) -> bool {
    finding.verdict() == Verdict::Mismatch && known.contains(&key(finding))
}

/// The report without the mismatches that are known.
fn unknown<'r>(weighed: &[Weighed<'_>], report: &'r Report) -> Cow<'r, Report> {
    let known = deviation::known(weighed);
    if known.is_empty() {
        return Cow::Borrowed(report);
    }
    let rest = report.findings.iter().filter(|finding| !is_known(&known, finding)).cloned();
    Cow::Owned(report.with(rest.collect()))
}

/// What to run where.
fn settings(arguments: &Arguments) -> Result<Vec<Settings>, Failure> {
    let with = |place, jobs| Settings {
        repeat: arguments.repeat,
        patience: arguments.patience,
        isolate: arguments.isolation.into(),
        exhaust: arguments.exhaust_host,
        ..Settings::new(place, arguments.jobs.or(jobs).unwrap_or(NonZeroUsize::MIN))
    };
    if let [_, results] = &arguments.results_from[..] {
        // Somebody else's words, as those from behind a command are.
        let command = format!("--results-from {}", results.display());
        return Ok(vec![with(Place::Behind { command, program: String::new() }, None)]);
    }
    if arguments.on.is_empty() {
        let program = super::own_program()?;
        // On a host that others have as well, cases run one at a time.
        let jobs = match arguments.isolation {
            IsolationWanted::Auto => std::thread::available_parallelism().ok(),
            IsolationWanted::None => None,
        };
        return Ok(vec![with(Place::Here(program), jobs)]);
    }
    let (commands, stacks) = (arguments.on.len(), arguments.stack.len());
    if stacks != 0 && stacks != commands {
        return Err(Failure::bad(format!(
            "--stack is given {stacks} times and --on {commands}: once for each, in the same order"
        )));
    }
    let behind = |(index, command): (usize, &String)| Settings {
        wait: Duration::from_secs(arguments.wait),
        stack: arguments.stack.get(index).cloned(),
        ..with(Place::Behind { command: command.clone(), program: arguments.remote_binary.clone() }, None)
    };
    Ok(arguments.on.iter().enumerate().map(behind).collect())
}

fn report(ran: Ran, place: &Place, started: Moment, catalogue: &Catalogue, arguments: &Arguments) -> Report {
    let Ran { hello, findings, complete, again: _, moved: _ } = ran;
    let mut report = Report::new(&hello, catalogue.facts(), started, complete, arguments.repeat, findings);
    report.host.behind = match place {
        Place::Here(_) => None,
        Place::Behind { command, .. } => Some(command.as_str().into()),
    };
    report
}

/// Which command a message is about.
fn behind(place: &Place) -> String {
    match place {
        Place::Here(_) => String::new(),
        Place::Behind { command, .. } => format!("--on '{command}': "),
    }
}

/// What became of one stack, and where it goes.
struct Finished<'r> {
    report: Report,
    place: &'r Place,
    json: Option<Destination>,
    junit: Option<Destination>,
}

impl Finished<'_> {
    fn contents(&self) -> Vec<(&Destination, Content<'_>)> {
        let mut contents: Vec<(_, Content<'_>)> = Vec::new();
        if let Some(to) = &self.json {
            contents.push((to, Box::new(|out| json::write(&self.report, out))));
        }
        if let Some(to) = &self.junit {
            contents.push((
                to,
                Box::new(|out| out.write_all(junit::junit(&self.report).map_err(io::Error::other)?.as_bytes())),
            ));
        }
        contents
    }
}

/// Writes all reports; from then on signals are no longer watched.
fn write_all(finished: &[Finished<'_>], signals: Signals, out: &mut dyn Write) -> Result<(), Failure> {
    let contents: Vec<_> = finished.iter().flat_map(Finished::contents).collect();
    let writings: Vec<_> = contents.iter().map(|(to, content)| Writing { to, content }).collect();
    output::write_all(&writings, Some(signals), out)
}

type Content<'c> = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + 'c>;

/// Where one kind of report goes.
enum Output {
    One(Destination),
    /// A directory, with a file for each stack.
    Each(Directory, PathBuf),
}

impl Output {
    /// Finds out now whether it can be written.
    fn new(path: &Path, stacks: usize) -> Result<Output, Failure> {
        let is_directory = path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if is_directory {
            let directory = Directory::find_or_make(path).map_err(|why| output::cannot_write(path, why))?;
            Destination::within(&directory, path, "report")?;
            return Ok(Output::Each(directory, path.to_owned()));
        }
        if stacks > 1 {
            let name = path.display();
            return Err(Failure::bad(format!(
                "{stacks} times --on gives {stacks} reports, which do not fit into one file: name a directory, `{name}/`"
            )));
        }
        Destination::new(path).map(Output::One)
    }

    fn is_stdout(&self) -> bool {
        matches!(self, Output::One(Destination::Stdout))
    }

    fn named(&self, name: &str) -> Result<Destination, Failure> {
        match self {
            Output::One(destination) => Ok(destination.clone()),
            Output::Each(directory, path) => Destination::within(directory, path, name),
        }
    }
}

/// Names of files, no two alike.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// After the stack's kernel, `linux-6.1.0-50-cloud-amd64`, or after the stack itself: `gvisor-20240729.0`.
    fn of(&mut self, report: &Report) -> String {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || ".+_-".contains(letter) { letter } else { '-' };
        let name: String = own_name(&report.host).chars().map(plain).collect();
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !self.0.contains(name));
        let free = free.unwrap_or(name);
        self.0.insert(free.clone());
        free
    }
}

/// The kernel with its release, or what passes for one.
fn own_name(host: &Host) -> String {
    match host.kernel() {
        Some(_) => format!("{} {}", host.os, host.release),
        None => host.stack.to_string(),
    }
}

fn sum_up(report: &Report, place: &Place, deviations: &[Deviations], arguments: &Arguments) -> String {
    let width = output::width();
    let weighed = weigh(deviations, report);
    let report = &*unknown(&weighed, report);
    let text = match (arguments.quiet, arguments.verbose) {
        (true, _) => summary::trouble(report, width),
        (false, false) => summary::summary(report, width),
        (false, true) => format!("{}\n{}", summary::everything(report, width), summary::summary(report, width)),
    };
    let (news, known) = (known_deviations::news(&weighed, width), known_deviations::known(&weighed, width));
    let text = if arguments.quiet { format!("{news}{text}") } else { format!("{news}{known}{text}") };
    // Whoever wants little to read knows the words.
    let text = if arguments.quiet { text } else { format!("{text}{}", glossary(&text, width)) };
    match place {
        Place::Here(_) => text,
        Place::Behind { command, .. } => {
            let title = format!("{}, behind {command}", own_name(&report.host));
            format!("{}\n{text}\n", paint(HEADING, &title))
        }
    }
}

fn fast_or_slow(items: Vec<CaseRun>, slow: bool) -> Result<Vec<CaseRun>, Failure> {
    let selected = items.len();
    let items: Vec<CaseRun> = items.into_iter().filter(|item| slow || !item.slow).collect();
    if items.is_empty() {
        let all = match selected {
            1 => "the selected case waits".to_owned(),
            selected => format!("all {selected} selected cases wait"),
        };
        return Err(Failure::NothingSelected(format!("{all} for kernel timers; add --slow to run them")));
    }
    Ok(items)
}

/// Whether namespaces must not be missing.
fn required() -> Result<bool, Failure> {
    let words = std::env::var_os(REQUIRE).unwrap_or_default();
    let words = words.to_string_lossy();
    let mut words = words.split(',').map(str::trim).filter(|word| !word.is_empty()).peekable();
    let any = words.peek().is_some();
    match words.find(|word| !["namespaces", "all"].contains(word)) {
        Some(word) => Err(Failure::bad(format!(
            "{REQUIRE}: `run` cannot require `{}`: it knows `namespaces` and `all`",
            word.escape_debug()
        ))),
        None => Ok(any),
    }
}

/// Before anything runs, where it costs next to nothing to ask.
fn require_namespaces(settings: &Settings) -> Result<(), Failure> {
    if !matches!(settings.place, Place::Here(_)) {
        return Ok(());
    }
    let hello = runner::hello(&settings.place).map_err(|lost| Failure::CannotRun(lost.to_string()))?;
    has_namespaces(&hello).map_err(Failure::CannotRun)
}

fn has_namespaces(hello: &Hello) -> Result<(), String> {
    match hello.capabilities.get(&Need::NetworkNamespace) {
        Some(capability) if capability.available => Ok(()),
        capability => {
            let reason = capability.and_then(|capability| capability.reason.as_deref()).unwrap_or("no reason given");
            Err(format!("{REQUIRE} asks for namespaces, and there are none: {reason}"))
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
    fn start(items: &[CaseRun], settings: &[Settings], quiet: bool) -> Progress {
        let each = items.len() as u64;
        let cases = each * settings.len() as u64;
        let terminal = io::stderr().is_terminal() && !quiet;
        let bar = if terminal { ProgressBar::new(cases) } else { ProgressBar::hidden() };
        if terminal {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cases  {elapsed}  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        let lines = !terminal && !quiet;
        let progress = Progress { bar, trouble: AtomicUsize::new(0), started: Instant::now(), lines, cases };
        if progress.lines {
            let Settings { repeat, jobs, .. } = &settings[0];
            let times = if *repeat > 1 { format!(" {repeat} times each") } else { String::new() };
            let jobs = count(jobs.get() as u64, "worker");
            let stacks = match settings.len() {
                1 => String::new(),
                stacks => format!(" of each of {stacks} stacks"),
            };
            let _ = writeln!(io::stderr(), "errnoscope: running {}{times} on {jobs}{stacks}", count(each, "case"));
        }
        progress
    }

    /// A case has ended, or time has passed.
    fn case(&self, findings: Option<&[Finding]>) {
        let Some(findings) = findings else { return self.bar.tick() };
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
