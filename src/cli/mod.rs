//! The command line: reads what a person asks for, and decides where the answer goes.
//!
//! Results go to standard output, progress and diagnostics to standard error. Other rooms find the answers, and
//! `render` makes text of them.

mod bounded;
mod check;
mod claims;
mod compare;
mod compat;
mod completions;
mod doctor;
mod exec;
mod explain;
mod filter;
mod github;
mod guard;
mod lint;
mod list;
mod output;
mod policy;
mod protocol;
mod report;
mod run;
mod select;
mod shell;
mod show;
mod source;
mod spec;
mod trace;

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::render::style::{BAD, paint};
use crate::report::finding::Verdict;
use crate::words::problem::Problem;
use crate::words::untrusted::shown_lines;

/// Creates port exhaustion, 4-tuple collisions and other socket trouble for real, in private network namespaces, and
/// reports which errno the kernel gives to which call.
#[derive(Parser)]
#[command(name = "errnoscope", version, max_term_width = 100)]
#[command(
    after_help = "`errnoscope help COMMAND` shows examples. Exit codes: 0 all match, 1 some mismatch or change, \
2 usage, a file that does not parse or a result that cannot be written, 3 nothing was selected, 4 broken, timed-out or \
unwitnessed, 130 Ctrl-C, 143 SIGTERM."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run cases on this kernel and judge what it answers
    Run(Deferred<run::Arguments>),
    /// List scenarios, or their cases
    List(Deferred<list::Arguments>),
    /// Show a scenario or case, and what each OS is expected to answer
    Show(Deferred<show::Arguments>),
    /// Check scenario files without running them
    Lint(Deferred<lint::Arguments>),
    /// Show what this host can run, and how to enable the rest
    Doctor(Deferred<doctor::Arguments>),
    /// Render reports as one document: Markdown, or a page for browsers
    Report(Deferred<report::Arguments>),
    /// Compare two reports
    Compare(Deferred<compare::Arguments>),
    /// Show between which kernel versions outcomes changed
    Boundaries(Deferred<compat::BoundariesArguments>),
    /// Combine the reports of all stacks in one compatibility document
    Compat(Deferred<compat::Arguments>),
    /// Check what people say about sockets against findings
    Claims(Deferred<claims::Arguments>),
    /// Explain an errno or an error message
    Explain(Deferred<explain::Arguments>),
    /// List the rules of the specification, or show which of them a case meets
    Spec(Deferred<spec::Arguments>),
    /// Judge what a tracer does with failed probes
    Policy(Deferred<policy::Arguments>),
    /// Trace the path to a host with TCP probes
    Trace(Deferred<trace::Arguments>),
    /// Run a command under real conditions such as port exhaustion
    Exec(Deferred<exec::Arguments>),
    /// Open a shell under real conditions such as port exhaustion
    Shell(Deferred<shell::Arguments>),
    /// Test what a tracer does about busy ports and other troubles
    Check(Deferred<check::Arguments>),
    /// Test a worker that somebody else has written
    Protocol(Deferred<protocol::Arguments>),
    /// Print the JSON Schema of a format
    Schema(Deferred<list::SchemaArguments>),
    /// Print a script that completes commands and options in a shell
    Completions(Deferred<completions::CompletionsArguments>),
    /// Print the manual page, or write one for each command
    Man(Deferred<completions::ManArguments>),
    #[command(hide = true)]
    Condense(Deferred<explain::CondenseArguments>),
    #[command(hide = true)]
    Worker(WorkerArguments),
    #[command(hide = true)]
    Init,
}

#[derive(clap::Args)]
struct WorkerArguments {
    /// By how much this machine is slower than others
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    patience: u32,

    /// Whether to look for a private host
    #[arg(long, value_enum, default_value_t)]
    isolation: run::IsolationWanted,
}

/// The arguments of a command, described to clap only when it is this command that is called: most calls are of one.
struct Deferred<T>(T);

impl<T: Args> Args for Deferred<T> {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.defer(T::augment_args)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command.defer(T::augment_args_for_update)
    }
}

impl<T: FromArgMatches> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Deferred<T>, clap::Error> {
        T::from_arg_matches(matches).map(Deferred)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// How a command ended, where it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Success,
    Mismatch,
    Problems,
    Broken,
    /// By this signal, after everything was written.
    Interrupted(u8),
    /// With the exit code of somebody else's command.
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Success => 0,
            Exit::Mismatch => 1,
            Exit::Problems => 2,
            Exit::Broken => 4,
            Exit::Interrupted(signal) => 128 + signal,
            Exit::Command(code) => code,
        })
    }
}

impl Exit {
    /// The one place that says what verdicts mean to a caller.
    fn of(summary: &std::collections::BTreeMap<Verdict, u64>) -> Exit {
        let (mut ran, mut exit) = (false, Exit::Success);
        for (&verdict, _) in summary.iter().filter(|(_, count)| **count > 0) {
            match verdict {
                Verdict::Match => ran = true,
                Verdict::Mismatch => (ran, exit) = (true, Exit::Mismatch),
                Verdict::Unwitnessed | Verdict::Broken | Verdict::TimedOut => {
                    ran = true;
                    exit = if exit == Exit::Mismatch { exit } else { Exit::Broken };
                }
                Verdict::Unsupported => {}
            }
        }
        // A run that could try nothing has shown nothing.
        if ran { exit } else { Exit::Broken }
    }
}

/// Why a command could not do what it was asked to.
#[derive(Debug)]
enum Failure {
    /// Usage, or a file that cannot be read or written.
    Bad(Box<dyn Error + Send + Sync>),
    /// Scenario files with faults.
    Problems(Vec<Problem>),
    /// A policy file with a fault.
    Policy(Problem),
    /// A file that describes a tracer, with a fault.
    Tracer(Problem),
    /// A file of known deviations with a fault.
    Deviations(Problem),
    /// A claims file with faults.
    Claims(Vec<Problem>),
    NothingSelected(String),
    CannotRun(String),
    /// Somebody else's command has not run.
    Command {
        code: u8,
        message: String,
    },
    /// Standard output cannot be written to.
    Output(io::Error),
}

impl Failure {
    fn bad(message: impl Into<String>) -> Failure {
        Failure::Bad(message.into().into())
    }

    /// `what` could not be done because of `source`.
    fn because(what: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Failure {
        Failure::Bad(Box::new(Because { what: what.into(), source: Box::new(source) }))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

#[derive(Debug)]
struct Because {
    what: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Because {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// What the command line takes: for whoever wants to know whether arguments are right without obeying them.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses the command line and obeys it.
pub fn main() -> ExitCode {
    let command = match Arguments::try_parse() {
        Ok(Arguments { command: Command::Worker(arguments) }) => {
            return crate::worker::main(arguments.patience, arguments.isolation.into());
        }
        Ok(Arguments { command: Command::Init }) => return crate::sys::boot(crate::worker::main_booted),
        Ok(arguments) => arguments.command,
        Err(error) => return usage(&error),
    };
    let bad = bad(matches!(command, Command::Exec(_) | Command::Shell(_)));
    let readable: fn(&str) -> String = match &command {
        Command::Report(Deferred(arguments)) if arguments.is_for_github() => crate::render::github::harmless,
        Command::Compare(Deferred(arguments)) if arguments.is_for_github() => crate::render::github::harmless,
        Command::Check(Deferred(arguments)) if arguments.is_for_github() => crate::render::github::harmless,
        _ => str::to_owned,
    };
    let mut out = output::stdout();
    let done = obey(command, &mut out);
    let flushed = out.flush();
    match done.and_then(|exit| Ok(flushed.map(|()| exit)?)) {
        Ok(exit) => exit.into(),
        Err(failure) => failed(&failure, bad, readable),
    }
}

/// The exit code for usage, and for what cannot be read or written. The codes of a command's own begin low, so that
/// those of whoever starts one are high.
fn bad(starts_a_command: bool) -> u8 {
    if starts_a_command { exec::NO_ENVIRONMENT } else { 2 }
}

fn obey(command: Command, out: &mut dyn Write) -> Result<Exit, Failure> {
    match command {
        Command::Run(Deferred(arguments)) => run::run(arguments, out),
        Command::List(Deferred(arguments)) => list::list(&arguments, out),
        Command::Show(Deferred(arguments)) => show::show(&arguments, out),
        Command::Lint(Deferred(arguments)) => lint::lint(&arguments, out),
        Command::Doctor(Deferred(arguments)) => doctor::doctor(&arguments, out),
        Command::Report(Deferred(arguments)) => report::report(&arguments, out),
        Command::Compare(Deferred(arguments)) => compare::compare(&arguments, out),
        Command::Boundaries(Deferred(arguments)) => compat::print_boundaries(&arguments, out),
        Command::Compat(Deferred(arguments)) => compat::compat(&arguments, out),
        Command::Claims(Deferred(arguments)) => claims::claims(&arguments, out),
        Command::Explain(Deferred(arguments)) => explain::explain(&arguments, out),
        Command::Spec(Deferred(arguments)) => spec::spec(&arguments, out),
        Command::Policy(Deferred(arguments)) => policy::policy(&arguments, out),
        Command::Trace(Deferred(arguments)) => trace::trace(&arguments, out),
        Command::Check(Deferred(arguments)) => check::check(&arguments, out),
        Command::Protocol(Deferred(arguments)) => protocol::protocol(&arguments, out),
        Command::Schema(Deferred(arguments)) => list::schema(&arguments, out),
        Command::Completions(Deferred(arguments)) => completions::completions(&arguments, Arguments::command(), out),
        Command::Man(Deferred(arguments)) => completions::man(&arguments, Arguments::command(), out),
        Command::Condense(Deferred(arguments)) => explain::condense(&arguments, out),
        Command::Exec(Deferred(arguments)) => exec::exec(&arguments, out),
        Command::Shell(Deferred(arguments)) => shell::shell(&arguments, out),
        Command::Worker(_) | Command::Init => unreachable!("handled before there is an output"),
    }
}

/// Where this program is, to start it again.
fn own_program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        let why = match std::path::Path::new("/proc/self").exists() {
            true => error.to_string(),
            false => "there is no /proc; mount it: mount -t proc proc /proc".to_owned(),
        };
        Failure::CannotRun(format!("cannot find this program to start its workers: {why}"))
    })
}

/// Help and version, which are results, or a complaint about the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    let bad = bad(std::env::args_os().nth(1).is_some_and(|command| command == "exec" || command == "shell"));
    let text = error.render().ansi().to_string();
    if !error.use_stderr() {
        let mut out = output::stdout();
        return match write!(out, "{text}").and_then(|()| out.flush()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&Failure::Output(error), bad, str::to_owned),
        };
    }
    // The same first words as every other error.
    let name = Arguments::command().get_name().to_owned();
    let text = if text.contains("error:") { text.replacen("error:", &format!("{name}: error:"), 1) } else { text };
    let _ = write!(output::stderr(), "{}", on_one_line(text));
    ExitCode::from(bad)
}

/// The text with the lines of arguments that it quotes on one line: only its own begin a line.
fn on_one_line(mut text: String) -> String {
    for argument in std::env::args_os() {
        let argument = argument.to_string_lossy();
        // What colours and moves the cursor in there is shown as text, whichever part is quoted.
        for part in argument.split(['\n', '=']).filter(|part| part.contains(char::is_control)) {
            text = text.replace(part, &shown_lines(part));
        }
        for line in argument.split('\n').skip(1).filter(|line| !line.is_empty()) {
            // A part of the argument may be quoted, but hardly less of a line than its begin.
            let begin: String = line.chars().take(2).collect();
            text = text.replace(&format!("\n{begin}"), &format!("\\n{begin}"));
        }
    }
    text
}

/// The one place where a failure is printed, with all that led to it.
fn failed(failure: &Failure, bad: u8, readable: fn(&str) -> String) -> ExitCode {
    let code = match failure {
        Failure::Bad(_)
        | Failure::Problems(_)
        | Failure::Policy(_)
        | Failure::Tracer(_)
        | Failure::Deviations(_)
        | Failure::Claims(_)
        | Failure::Output(_) => bad,
        Failure::NothingSelected(_) => 3,
        Failure::CannotRun(_) => 4,
        Failure::Command { code, .. } => *code,
    };
    let message = match failure {
        Failure::Bad(error) => {
            let chain = std::iter::successors(Some(&**error as &dyn Error), |&error| error.source());
            chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        }
        Failure::Problems(problems) => shown(problems, "scenario files"),
        Failure::Policy(problem) => shown(std::slice::from_ref(problem), "a policy file"),
        Failure::Tracer(problem) => shown(std::slice::from_ref(problem), "a tracer file"),
        Failure::Deviations(problem) => shown(std::slice::from_ref(problem), "a file of deviations"),
        Failure::Claims(problems) => shown(problems, "a claims file"),
        Failure::NothingSelected(message) | Failure::CannotRun(message) | Failure::Command { message, .. } => {
            message.clone()
        }
        Failure::Output(error) => format!("cannot write to standard output: {error}"),
    };
    complain("error", &readable(&message));
    ExitCode::from(code)
}

/// Shows the first faults, and says how many there are.
fn shown(problems: &[Problem], of: &str) -> String {
    let _ = write!(output::stderr(), "{}", output::problems(problems));
    format!("{} in {of}", crate::render::text::count(problems.len() as u64, "problem"))
}

/// A line on standard error that nothing depends on. It may name files and quote what others wrote.
fn complain(kind: &str, message: &str) {
    // A line of a message never begins as one of its own: its words may be somebody else's.
    let message = shown_lines(message).replace('\n', "\n  ").replace("\n    ", "\n  ");
    let _ = writeln!(output::stderr(), "errnoscope: {} {message}", paint(BAD, &format!("{kind}:")));
}
