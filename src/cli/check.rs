//! `errnoscope check`: runs tracers under each trouble, as `errnoscope exec` would, and judges them.
//!
//! `tracer::check` interprets a tracer's calls; `exec` creates the network that it runs in.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::exec::{CANNOT_RUN, NO_WORLD, NOT_FOUND};
use super::output::{self, Destination, Writing};
use super::select::or_list;
use super::{Exit, Failure, bounded, complain, source};
use crate::knowledge::calls::Calls;
use crate::knowledge::policy;
use crate::render::check as text;
use crate::report::finding::{Tool, stack};
use crate::sys::{self, Ended, Signals};
use crate::tracer::check::attempt::{attempts, reactions};
use crate::tracer::check::infer::{self, Observed};
use crate::tracer::check::judge::{Behaviour, Judgement, Run, Verdict, judge};
use crate::tracer::check::profile::{self, BUILT_IN, Profile};
use crate::tracer::check::trouble::{PORT, ROUTERS, Trouble};
use crate::tracer::check::{self, Check, FORMAT, Row, Tracer};

/// The tracer that is checked where nobody names one.
const USUAL: &str = "errnoscope";
/// What timeout(1) exits with when the time is up.
const TIMED_OUT: i32 = 124;
/// What a policy begins with that was put together here.
const SEEN: &str = "Seen by `errnoscope check`, not written.";
/// More of a tracer's output than anybody reads, in bytes.
const LONGEST: u64 = 1 << 20;
/// The same of what it says about its version, and how long it may take to say it.
const LONGEST_VERSION: u64 = 64 << 10;
const VERSION: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope check
  errnoscope check trippy mtr --json results.json
  errnoscope check trippy --trouble tuple-time-wait -v
  errnoscope check ./my-tracer.toml --baseline results.json
  errnoscope check --results results.json --markdown

A tracer runs once under each trouble, on a path of five routers and a server, as by `errnoscope exec --trace`. What it did \
about the calls that failed is held against what their cause asks for: a busy port or 4-tuple costs another port and no hop, \
exhaustion and a foreign source address end the trace with a message that names the error, and without a route probes are \
lost, or it says so. A trouble that does not touch what the tracer does says nothing: not-exercised.

Tracers are known by name (errnoscope, trippy, mtr, traceroute, tcptraceroute; the program has to be in PATH) or described by \
a file:

  format = \"errnoscope-tracer/1\"
  name = \"mine\"
  command = [\"mytrace\", \"--tcp\", \"{port}\", \"{target}\"]  # {first}: the first source port. One probe for each hop
  source = [\"--source\", \"{source}\"]    # what makes it use a source address; left out if nothing does
  version = [\"mytrace\", \"--version\"]   # left out if nothing prints it
  first = 33434                        # where its source ports begin; left out if the kernel chooses them
  hop = '^\\s*(\\d+)\\s+(\\S+)'            # TTL and address in a line about a hop; left out, system calls must do
  timeout_s = 20

Exit codes: 0 nothing is wrong, or with --baseline nothing changed; 1 something is wrong, or changed; 2 a file that does not \
parse; 4 a tracer could not be run, or does not work even without trouble.")]
pub struct Arguments {
    /// Names of tracers, their programs (./trip), or files (with a / or a dot) that describe one
    #[arg(value_name = "TRACER|FILE", default_value = USUAL, conflicts_with = "results")]
    tracers: Vec<String>,

    /// Only this trouble, and none; may be given several times
    #[arg(long, value_name = "TROUBLE", value_parser = trouble, conflicts_with = "results")]
    trouble: Vec<Trouble>,

    /// Show the results of earlier runs instead of running anything; several are put together
    #[arg(long, value_name = "FILE")]
    results: Vec<PathBuf>,

    /// Write the results to FILE (errnoscope-check/2); - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Results to hold these against: what changed, and nothing else, decides the exit code
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Write the policy that the tracer follows, as far as it was seen, to FILE; a file that another program or a person wrote
    /// is left alone
    #[arg(long, value_name = "FILE")]
    policy_out: Option<PathBuf>,

    /// As Markdown
    #[arg(long)]
    markdown: bool,

    /// The system calls of every run, not only of those that are wrong
    #[arg(short, long, conflicts_with = "markdown")]
    verbose: bool,
}

fn trouble(text: &str) -> Result<Trouble, String> {
    text.parse().map_err(|_| {
        let known = Trouble::ALL.iter().map(|trouble| trouble.as_str());
        format!("unknown trouble `{text}`{}", or_list(text, known))
    })
}

pub fn check(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let json = arguments.json.as_deref().map(Destination::new).transpose()?;
    let policy = arguments.policy_out.as_deref().map(policy_out).transpose()?;
    let baseline = arguments.baseline.as_deref().map(read).transpose()?;
    if policy.is_some() && arguments.results.is_empty() && arguments.tracers.len() > 1 {
        return Err(Failure::bad("--policy-out writes the policy of one tracer: name one"));
    }
    let (check, signals) = match &*arguments.results {
        [] => run(arguments).map(|(check, signals)| (check, Some(signals)))?,
        results => (earlier(results)?, None),
    };
    if let Some(signal) = signals.as_ref().and_then(Signals::received) {
        drop(signals);
        // What there is, for people: a file with some of the results would pass for all of them.
        if check.tracers.iter().any(|tracer| !tracer.runs.is_empty()) {
            write!(out, "{}", text::check(&check, arguments.verbose, output::width()))?;
        }
        return Ok(Exit::Interrupted(signal));
    }
    let mut inferred = String::new();
    if policy.is_some() {
        let [tracer] = &check.tracers[..] else {
            return Err(Failure::bad("--policy-out writes the policy of one tracer: name one"));
        };
        let policy = infer::policy(&tracer.label(), sys::OS, &tracer.habits);
        inferred = policy::write(&policy, SEEN);
    }
    let as_policy = |out: &mut dyn Write| out.write_all(inferred.as_bytes());
    let as_json = |out: &mut dyn Write| output::json(&check, out);
    let writings = policy.iter().map(|to| Writing { to, content: &as_policy });
    let writings = writings.chain(json.iter().map(|to| Writing { to, content: &as_json }));
    output::write_all(&writings.collect::<Vec<_>>(), signals, out)?;
    let changes = baseline.as_ref().map(|baseline| check::changes(baseline, &check));
    let is_taken = |destination: &Option<Destination>| destination.as_ref().is_some_and(Destination::is_stdout);
    if !is_taken(&json) && !is_taken(&policy) {
        if arguments.markdown {
            write!(out, "{}", text::markdown(&check))?;
        } else {
            write!(out, "{}", text::check(&check, arguments.verbose, output::width()))?;
        }
        if let Some(changes) = &changes {
            write!(out, "{}", text::changes(changes))?;
        }
    }
    let any = |verdict| check.tracers.iter().any(|tracer| tracer.has(verdict));
    Ok(match changes {
        _ if arguments.results.is_empty() && any(Verdict::Broken) => Exit::Broken,
        Some(changes) if changes.is_empty() => Exit::Success,
        Some(_) => Exit::Mismatch,
        None if any(Verdict::Wrong) => Exit::Mismatch,
        None => Exit::Success,
    })
}

/// Where a policy that was seen goes. Elsewhere `--policy` names one to be read, and the file that is named here may be
/// somebody's own.
fn policy_out(path: &Path) -> Result<Destination, Failure> {
    let name = path.display();
    if policy::BUILT_IN.iter().any(|(known, _)| Path::new(known) == path) {
        return Err(Failure::bad(format!(
            "--policy-out {name}: a built-in policy is called so, and this option names a file to write: ./{name}.toml"
        )));
    }
    // Before a file is looked into it is known whose it is.
    let destination = Destination::new(path)?;
    let is_ours = |text: String| text.is_empty() || text.starts_with(&format!("# {SEEN}\n"));
    if path.is_file() && !bounded::text(path, LONGEST).is_ok_and(is_ours) {
        return Err(Failure::bad(format!(
            "--policy-out {name}: the file is there, and errnoscope check did not write it; name another, or remove it"
        )));
    }
    Ok(destination)
}

fn read(path: &Path) -> Result<Check, Failure> {
    let text = source::read_results(path)?;
    check::read(&text).map_err(|(line, column, message)| {
        Failure::bad(format!("{}:{line}:{column}: no results of errnoscope check: {message}", path.display()))
    })
}

fn earlier(files: &[PathBuf]) -> Result<Check, Failure> {
    let mut checks = files.iter().map(|file| read(file)).collect::<Result<Vec<Check>, Failure>>()?.into_iter();
    let first = checks.next().ok_or_else(|| Failure::bad("no results"))?;
    Ok(checks.fold(first, |mut all, check| {
        all.tracers.extend(check.tracers);
        all
    }))
}

/// The results, while signals are still watched.
fn run(arguments: &Arguments) -> Result<(Check, Signals), Failure> {
    let profiles = arguments.tracers.iter().map(|name| load(name)).collect::<Result<Vec<Profile>, Failure>>()?;
    let asked = |trouble: &Trouble| {
        *trouble == Trouble::Nothing || arguments.trouble.is_empty() || arguments.trouble.contains(trouble)
    };
    let troubles: Vec<Trouble> = Trouble::ALL.iter().copied().filter(asked).collect();
    let signals = Signals::watch().map_err(|error| Failure::because("cannot watch for signals", error))?;
    let mut tracers = Vec::new();
    for profile in &profiles {
        if signals.received().is_none() {
            tracers.push(tracer(profile, &troubles, &signals)?);
        }
    }
    let stack = stack(sys::OS, &sys::machine().release);
    Ok((Check { format: FORMAT.to_owned(), tool: Tool::this(), stack, tracers }, signals))
}

/// A tracer of this binary, or that of a file.
fn load(name: &str) -> Result<Profile, Failure> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return built_in(name, text);
    }
    if is_program(Path::new(name)) {
        return of_program(name);
    }
    if !name.contains(['/', '.']) {
        let known = BUILT_IN.iter().map(|(known, _)| *known);
        let what = "a file is written with a / or a dot: ./mine.toml";
        return Err(Failure::bad(format!("unknown tracer `{name}`{}; {what}", or_list(name, known))));
    }
    let (file, text) = source::read(Path::new(name))?;
    profile::read(&file, text).map_err(Failure::Tracer)
}

fn built_in(name: &str, text: &'static str) -> Result<Profile, Failure> {
    profile::read(&format!("src/tracer/check/builtin/{name}.toml"), text).map_err(Failure::Tracer)
}

/// Whether somebody named the tracer itself: a program (ELF or Mach-O), or a script (execve(2)).
fn is_program(path: &Path) -> bool {
    let mut begin = [0; 4];
    let is_read = path.is_file() && File::open(path).and_then(|mut file| file.read(&mut begin)).is_ok();
    is_read && (begin.starts_with(b"#!") || [*b"\x7fELF", *b"\xcf\xfa\xed\xfe", *b"\xca\xfe\xba\xbe"].contains(&begin))
}

/// A program that is called as that of a known tracer is that tracer, wherever it is.
fn of_program(path: &str) -> Result<Profile, Failure> {
    let file = Path::new(path).file_name().unwrap_or_default();
    for (name, text) in BUILT_IN {
        let known = built_in(name, text)?;
        let program = known.command.first().cloned().unwrap_or_default();
        if file == Path::new(&program) || file == Path::new(name) {
            let here = |mut words: Vec<String>| {
                if words.first() == Some(&program) {
                    path.clone_into(&mut words[0]);
                }
                words
            };
            return Ok(Profile { command: here(known.command), version: here(known.version), ..known });
        }
    }
    Err(Failure::bad(format!(
        "{path} is a program, and none of the known tracers is called `{}`: describe how it is started in a file, as \
         `errnoscope help check` shows",
        file.display()
    )))
}

fn tracer(profile: &Profile, troubles: &[Trouble], signals: &Signals) -> Result<Tracer, Failure> {
    complain("note", &format!("checking {}: {} runs", profile.name, troubles.len()));
    let mut observed = Observed::default();
    let mut rows = Vec::new();
    for &trouble in troubles {
        let conditions = trouble.arguments(profile);
        let lacks = trouble == Trouble::SourceNotLocal && profile.source.is_empty();
        let row = if lacks {
            let why = "its profile names no option for the source address";
            Row::new(trouble, conditions, None, unseen(Behaviour::NotExercised, Verdict::NotExercised, why))
        } else {
            let ran = under(trouble, profile, &conditions, signals);
            if signals.received().is_some() {
                complain("interrupted", &format!("while {} ran under {trouble}; no file is written", profile.name));
                break;
            }
            match ran? {
                Ok(Seen { calls, timed_out, output, errors }) => {
                    let attempts = attempts(&calls.calls, calls.os);
                    observed.add(&attempts, &reactions(&attempts, !timed_out));
                    let run = Run { calls: &calls, timed_out, output: &output, errors: &errors };
                    let code = (!timed_out).then_some(calls.exit_code);
                    Row::new(trouble, conditions, code, judge(trouble, profile, &run))
                }
                Err(NotRun { why, lacks }) => {
                    // What the host cannot make says nothing about the tracer.
                    let lacks = trouble != Trouble::Nothing && lacks;
                    let verdict = if lacks { Verdict::NotExercised } else { Verdict::Broken };
                    Row::new(trouble, conditions, None, unseen(Behaviour::NotRun, verdict, &why))
                }
            }
        };
        let is_hopeless = trouble == Trouble::Nothing && row.verdict == Verdict::Broken;
        rows.push(row);
        if is_hopeless {
            break;
        }
    }
    let command = profile.command(Trouble::Nothing.places());
    let habits = observed.habits(&sys::machine().kernel());
    let like = observed.likenesses(&habits);
    let version = if signals.received().is_some() { String::new() } else { version(profile) };
    Ok(Tracer { name: profile.name.clone(), version, command, runs: rows, habits, like })
}

fn unseen(behaviour: Behaviour, verdict: Verdict, why: &str) -> Judgement {
    let (reached, proof, why) = (Default::default(), Vec::new(), why.to_owned());
    Judgement { behaviour, verdict, kind: None, why, reached, message: None, proof }
}

/// What a run left behind.
struct Seen {
    calls: Calls,
    timed_out: bool,
    output: String,
    errors: String,
}

/// Why there was no run.
struct NotRun {
    why: String,
    /// The host lacks something that the trouble needs.
    lacks: bool,
}

/// Runs the tracer; the inner error is why there was no run.
fn under(
    trouble: Trouble,
    profile: &Profile,
    conditions: &[String],
    signals: &Signals,
) -> Result<Result<Seen, NotRun>, Failure> {
    // It has no name, so that nothing is left of it whatever ends us.
    let mut file = tempfile::tempfile().map_err(|error| Failure::because("cannot make a temporary file", error))?;
    let own = super::own_program()?;
    let words = profile.command(trouble.places());
    let mut command = Command::new(&own);
    sys::end_with_this(&mut command);
    let calls = sys::lend(&mut command, &file);
    let mut child = command
        .args(["exec", "--path", &ROUTERS.to_string(), "--listen", &PORT.to_string()])
        .args(["--timeout", &profile.timeout_s.to_string()])
        .arg("--json")
        .arg(calls)
        .args(conditions)
        .arg("--")
        .args(words.iter().enumerate().map(|(index, word)| program(index, word, &own)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::because("cannot start errnoscope exec", error))?;
    let output = child.stdout.take().map(|pipe| begin_of(pipe, LONGEST)).transpose();
    let errors = child.stderr.take().map(|pipe| begin_of(pipe, LONGEST)).transpose();
    let (output, errors) = match (output, errors) {
        (Ok(output), Ok(errors)) => (output, errors),
        (Err(error), _) | (_, Err(error)) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::CannotRun(crate::sys::no_thread(&error)));
        }
    };
    let ended = loop {
        // A signal cuts it short.
        match sys::wait_for(child.id() as i32, Duration::from_millis(100)) {
            Ok(Some(ended)) => break ended,
            Err(errno) if errno.name() != "EINTR" => {
                return Err(Failure::bad(format!("errnoscope exec cannot be waited for: {errno}")));
            }
            // Its world ends with it.
            _ if signals.interrupted.load(Ordering::Relaxed) => drop(child.kill()),
            _ => {}
        }
    };
    // It ends with the last process of the tracer's world.
    let text = |reader: Option<JoinHandle<String>>| reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    let (output, errors) = (text(output), text(errors));
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    let calls: Option<Calls> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
    let codes = [NO_WORLD, CANNOT_RUN, NOT_FOUND].map(i32::from);
    let never_ran = |calls: &Calls| calls.calls.is_empty() && codes.contains(&calls.exit_code);
    let lacks = calls.as_ref().is_some_and(|calls| calls.lacks.is_some());
    Ok(match calls.filter(|calls| !lacks && !never_ran(calls)) {
        Some(calls) if calls.lost.is_empty() => {
            // A tracer may exit with that code itself: then nothing told it to end.
            let timed_out = ended == Ended::Exited(TIMED_OUT) && calls.exit_code != TIMED_OUT;
            Ok(Seen { calls, timed_out, output, errors })
        }
        Some(calls) => {
            Err(NotRun { why: format!("the trouble did not last: {}", calls.lost.join("; ")), lacks: false })
        }
        None => {
            let why = errors.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
            let why = why.unwrap_or_else(|| {
                format!("`errnoscope exec` ended with {} and said nothing; was it killed? see dmesg", ended.code())
            });
            Err(NotRun { why: why.trim_start_matches("errnoscope: error: ").to_owned(), lacks })
        }
    })
}

/// As much of it as anybody reads; who says more is not kept waiting, and fills no disk.
fn begin_of(mut pipe: impl Read + Send + 'static, most: u64) -> std::io::Result<JoinHandle<String>> {
    thread::Builder::new().spawn(move || begin(&mut pipe, most))
}

fn begin(pipe: &mut impl Read, most: u64) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.by_ref().take(most).read_to_end(&mut bytes);
    let _ = std::io::copy(pipe, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `errnoscope` is this program, wherever it is.
fn program(index: usize, word: &str, own: &Path) -> std::ffi::OsString {
    if index == 0 && word == USUAL { own.into() } else { word.into() }
}

/// The first line with a number in it that the tracer prints about itself.
fn version(profile: &Profile) -> String {
    let Some((first, rest)) = profile.version.split_first() else { return String::new() };
    let Ok(own) = std::env::current_exe() else { return String::new() };
    let text = said(Command::new(program(0, first, &own)).args(rest));
    text.lines().find(|line| line.contains(|it: char| it.is_ascii_digit())).unwrap_or_default().trim().to_owned()
}

/// The begin of what a command says about itself: all that it starts is killed when it has ended, or its time is over.
fn said(command: &mut Command) -> String {
    let Ok((reader, writer)) = std::io::pipe() else { return String::new() };
    let Ok(errors) = writer.try_clone() else { return String::new() };
    let child = command.stdin(Stdio::null()).stdout(writer).stderr(errors).process_group(0).spawn();
    // What is left of the command would keep the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = child else { return String::new() };
    let (send, receive) = mpsc::channel();
    let mut reader = reader;
    let reading = thread::Builder::new().spawn(move || send.send(begin(&mut reader, LONGEST_VERSION)));
    if reading.is_err() {
        let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    }
    let _ = sys::wait_for(child.id() as i32, VERSION);
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let _ = child.wait();
    // Somebody who left the group may keep the pipe open.
    receive.recv_timeout(VERSION).unwrap_or_default()
}
