//! Tracers that are run under troubles, each by an `errnoscope exec` of its own.
//!
//! What their calls mean is the business of `tracer::check`, and so is whether that is right.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::USUAL;
use crate::cli::exec::{CANNOT_RUN, NO_ENVIRONMENT, NOT_FOUND};
use crate::cli::{Failure, complain, own_program};
use crate::knowledge::calls::Calls;
use crate::render::text::count;
use crate::report::finding::{Tool, stack};
use crate::sys::{self, Ended, Signals};
use crate::tracer::check::attempt::{attempts, reactions};
use crate::tracer::check::infer::Observed;
use crate::tracer::check::judge::{Behaviour, BehaviourJudgement, BehaviourVerdict, TracerRun, judge};
use crate::tracer::check::profile::Profile;
use crate::tracer::check::trouble::{PORT, ROUTERS, Trouble};
use crate::tracer::check::{Check, CheckRow, FORMAT, Tracer};
use crate::words::errno::ErrnoName;

/// What timeout(1) exits with when the time is up.
const TIMED_OUT: i32 = 124;
/// More of a tracer's output than anybody reads, in bytes.
const LONGEST: u64 = 1 << 20;
/// The same of what it says about its version, and how long it may take to say it.
const LONGEST_VERSION: u64 = 64 << 10;
const VERSION: Duration = Duration::from_secs(5);
/// How long nothing is said, where there is no terminal.
const SILENCE: Duration = Duration::from_secs(10);

/// The results of all these tracers under all these troubles, or of those before a signal came.
pub fn check(profiles: &[Profile], troubles: &[Trouble], signals: &Signals) -> Result<Check, Failure> {
    let mut tracers = Vec::new();
    for profile in profiles {
        if signals.received().is_none() {
            tracers.push(tracer(profile, troubles, signals)?);
        }
    }
    let stack = stack(sys::OS, &sys::machine().release);
    Ok(Check { format: FORMAT.to_owned(), tool: Tool::this(), stack, tracers })
}

/// How far the runs of a tracer are: a bar on a terminal, lines elsewhere.
struct Progress<'p> {
    bar: ProgressBar,
    name: &'p str,
    runs: usize,
    started: Instant,
    /// When something was said.
    told: Cell<Instant>,
}

impl Progress<'_> {
    fn start(name: &str, runs: usize) -> Progress<'_> {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(runs as u64) } else { ProgressBar::hidden() };
        if terminal {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs  {elapsed}  {prefix} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            complain("note", &format!("checking {name}: {}", count(runs as u64, "run")));
        }
        Progress { bar, name, runs, started: Instant::now(), told: Cell::new(Instant::now()) }
    }

    fn begins(&self, trouble: Trouble) {
        self.bar.set_message(trouble.as_str());
    }

    fn ended(&self) {
        self.bar.inc(1);
        if self.bar.is_hidden() && self.told.get().elapsed() >= SILENCE {
            self.told.set(Instant::now());
            let (ran, took) = (self.bar.position(), self.started.elapsed().as_secs());
            complain("note", &format!("{}: {ran} of {} in {took} s", self.name, count(self.runs as u64, "run")));
        }
    }

    fn stop(&self) {
        self.bar.finish_and_clear();
    }
}

fn tracer(profile: &Profile, troubles: &[Trouble], signals: &Signals) -> Result<Tracer, Failure> {
    let resolved = with_full_names(profile);
    let progress = Progress::start(&profile.name, troubles.len());
    let mut observed = Observed::default();
    let mut rows = Vec::new();
    for &trouble in troubles {
        progress.begins(trouble);
        let conditions = trouble.arguments(profile);
        let lacks = trouble == Trouble::SourceNotLocal && profile.source.is_empty();
        let row = if lacks {
            let why = "its profile names no option for the source address";
            CheckRow::new(
                trouble,
                conditions,
                None,
                unseen(Behaviour::NotExercised, BehaviourVerdict::NotExercised, why),
            )
        } else {
            let ran = under(trouble, &resolved, &conditions, signals);
            if signals.received().is_some() {
                progress.stop();
                complain("interrupted", &format!("while {} ran under {trouble}; no file is written", profile.name));
                break;
            }
            match ran? {
                Ok(Seen { calls, timed_out, output, errors }) => {
                    let attempts = attempts(&calls.calls, calls.os);
                    observed.add(&attempts, &reactions(&attempts, !timed_out));
                    let run = TracerRun { calls: &calls, timed_out, output: &output, errors: &errors };
                    let code = (!timed_out).then_some(calls.exit_code);
                    CheckRow::new(trouble, conditions, code, judge(trouble, profile, &run))
                }
                Err(NotRun { why, lacks }) => {
                    // What the host cannot make says nothing about the tracer.
                    let lacks = trouble != Trouble::Nothing && lacks;
                    let verdict = if lacks { BehaviourVerdict::NotExercised } else { BehaviourVerdict::Broken };
                    CheckRow::new(trouble, conditions, None, unseen(Behaviour::NotRun, verdict, &why))
                }
            }
        };
        progress.ended();
        let is_hopeless = trouble == Trouble::Nothing && row.verdict == BehaviourVerdict::Broken;
        rows.push(row);
        if is_hopeless {
            break;
        }
    }
    progress.stop();
    let command = profile.command(Trouble::Nothing.places());
    let habits = observed.habits(&sys::machine().kernel());
    let like = observed.likenesses(&habits);
    let version = if signals.received().is_some() { String::new() } else { version(&resolved) };
    Ok(Tracer { name: profile.name.clone(), version, command, runs: rows, habits, like })
}

/// The profile with the full names of files that are in the directory of whoever calls: the tracer runs in another one.
fn with_full_names(profile: &Profile) -> Profile {
    let Ok(here) = std::env::current_dir() else { return profile.clone() };
    let full = |name: &str| {
        let is_name = name.contains(['/', '.']) && !name.contains('{') && !name.starts_with('/');
        (is_name && here.join(name).exists()).then(|| here.join(name).to_string_lossy().into_owned())
    };
    let word = |word: &String| match (word.strip_prefix('-').and_then(|option| option.split_once('=')), full(word)) {
        // `--script=mine.lua`.
        (Some((option, name)), _) => full(name).map_or_else(|| word.clone(), |name| format!("-{option}={name}")),
        (None, Some(name)) => name,
        (None, None) => word.clone(),
    };
    let words = |words: &[String]| words.iter().map(word).collect();
    let program = |mut all: Vec<String>, given: &[String]| {
        // What has no `/` is looked for in PATH, whatever is here.
        if let (Some(first), Some(given)) = (all.first_mut(), given.first().filter(|given| !given.contains('/'))) {
            first.clone_from(given);
        }
        all
    };
    Profile {
        command: program(words(&profile.command), &profile.command),
        version: program(words(&profile.version), &profile.version),
        source: words(&profile.source),
        ..profile.clone()
    }
}

/// PATH without names that mean something else in another directory.
fn full_path() -> Option<OsString> {
    let (path, here) = (std::env::var_os("PATH")?, std::env::current_dir().ok()?);
    std::env::join_paths(std::env::split_paths(&path).map(|place| here.join(place))).ok()
}

fn unseen(behaviour: Behaviour, verdict: BehaviourVerdict, why: &str) -> BehaviourJudgement {
    let (reached, proof, why) = (Default::default(), Vec::new(), why.to_owned());
    BehaviourJudgement { behaviour, verdict, kind: None, why, reached, message: None, proof }
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
    let own = own_program()?;
    let words = profile.command(trouble.places());
    let mut command = Command::new(&own);
    sys::end_with_this(&mut command);
    command.envs(full_path().map(|path| ("PATH", path)));
    let calls = sys::lend(&mut command, &file);
    let mut child = command
        .args(["exec", "--empty-home", "--path", &ROUTERS.to_string(), "--listen", &PORT.to_string()])
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
            return Err(Failure::CannotRun(sys::no_thread(&error).to_string()));
        }
    };
    let ended = loop {
        // A signal cuts it short.
        match sys::wait_for(child.id() as i32, Duration::from_millis(100)) {
            Ok(Some(ended)) => break ended,
            Err(errno) if !errno.is(ErrnoName::EINTR) => {
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
    let codes = [NO_ENVIRONMENT, CANNOT_RUN, NOT_FOUND].map(i32::from);
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
fn program(index: usize, word: &str, own: &Path) -> OsString {
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
