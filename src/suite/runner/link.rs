//! The connection to one worker process: lines of JSON down its stdin and up its stdout.
//!
//! The process is this program, or a user's command that connects to this program on another host. Other output is kept
//! only for the message about a lost worker.

use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::answer::{self, cut_to, short};
use super::guard::Guard;
use crate::plan::{Hello, MARK, Observations, PROTOCOL, Plan, message};
use crate::sys::{self, Isolate, Until};
use crate::words::untrusted::Text;

/// How often a wait looks whether the run was interrupted.
const SLICE: Duration = Duration::from_millis(100);

/// How often a process that has closed its output is asked whether it has ended.
const ENDED_POLL: Duration = Duration::from_millis(1);

/// How long a worker on this kernel still has to say hello when the run is interrupted.
const HELLO_GRACE: Duration = Duration::from_secs(1);

/// How long what is still in the pipe of a process that has ended may take: somebody else may keep the pipe open for
/// ever.
const GRACE: Duration = Duration::from_secs(1);

/// Longer lines than this are no answer of ours: a case says less than 8 MiB.
const LONGEST_LINE: usize = 16 << 20;

/// The most settings that a hello may have, and the most bytes that it may be long: some of it goes into every finding.
const LONGEST_HELLO: usize = 1 << 20;
const MOST_SETTINGS: usize = 256;
/// The most of a reason in a hello that is kept.
const MOST_WORDS: usize = 4 << 10;

/// More than this between two lines of the protocol is not a console that has something to say.
const MOST_NOISE: usize = 16 << 20;

/// How much of what it said beside the protocol is kept.
const LAST_WORDS: usize = 2 << 10;

/// Where workers run.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this kernel: this program.
    Here(PathBuf),
    /// Behind a command for the shell, which gets the name of the program over there, `worker`, and what is for that as
    /// its last arguments.
    Behind { command: String, program: String },
}

impl Place {
    fn command(&self, patience: u32, isolate: Isolate) -> Command {
        let mut started = match self {
            Place::Here(program) => {
                let mut command = Command::new(program);
                command.arg("worker");
                command
            }
            Place::Behind { command, program } => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{command} \"$@\""), "sh", program, "worker"]);
                shell
            }
        };
        if patience > 1 {
            started.args(["--patience", &patience.to_string()]);
        }
        if isolate == Isolate::Never {
            started.args(["--isolation", "none"]);
        }
        started
    }

    /// How long it may take to end by itself once its standard input has: a machine has to be switched off.
    fn end_within(&self) -> Duration {
        Duration::from_millis(if matches!(self, Place::Here(_)) { 100 } else { 3000 })
    }
}

/// How a worker ended that was asked nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    ByItself,
    /// It did not end with its standard input.
    ByForce,
}

pub struct Link {
    process: Process,
    wait: Duration,
    pub hello: Hello,
}

/// A worker can no longer be used.
#[derive(Debug)]
pub struct Lost {
    pub why: Why,
    /// The last that it said beside the protocol, on standard error or in between.
    said: String,
}

#[derive(Debug)]
pub enum Why {
    Spawn(std::io::Error),
    /// It ended, with this status, before it had said anything of the protocol.
    NeverSpoke(String),
    /// It ended, with this status.
    Gone(String),
    Silent(Duration),
    /// It does nothing because a signal has stopped it.
    Stopped(i32),
    /// A line that is not of the protocol.
    Babble(Text),
    Protocol(u64),
    Interrupted,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Spawn(error) => write!(f, "cannot start a worker: {error}")?,
            Why::NeverSpoke(status) => {
                write!(f, "the worker ended before it said hello: {status}")?;
                // What a shell says of a program (POSIX.1-2024, XCU 2.8.2).
                f.write_str(match &**status {
                    "exit code 126" => " (the program there cannot be run: of another architecture, or no program)",
                    "exit code 127" => " (there is no such program there: --remote-binary names another path)",
                    _ => "",
                })?;
            }
            Why::Gone(status) => write!(f, "the worker ended: {status}")?,
            Why::Silent(after) => write!(f, "the worker said nothing for {} s", after.as_secs())?,
            Why::Stopped(signal) if sys::is_from_terminal(*signal) => write!(
                f,
                "the command was stopped because it wanted something from the terminal (signal {signal}), most likely a \
                 password, which it cannot ask for here; use a key without one or ssh-agent, or see what it says with -o \
                 BatchMode=yes"
            )?,
            Why::Stopped(signal) => {
                write!(f, "the worker said nothing because it is stopped (signal {signal}); kill -CONT lets it go on")?;
            }
            Why::Babble(what) => write!(f, "the worker sent what is not of the protocol: {what}")?,
            Why::Protocol(version) => {
                write!(
                    f,
                    "the worker speaks protocol {version}, this program {PROTOCOL}: another version of errnoscope"
                )?;
            }
            Why::Interrupted => write!(f, "interrupted")?,
        }
        if self.said.is_empty() { Ok(()) } else { write!(f, "; it said: {}", self.said) }
    }
}

impl Link {
    /// Starts a worker and waits for its hello, as later for its answers, for so long beyond what they take. Its
    /// process group is its own, so that a terminal's Ctrl-C reaches the coordinator alone.
    pub fn open(
        place: &Place,
        wait: Duration,
        patience: u32,
        isolate: Isolate,
        interrupted: &AtomicBool,
    ) -> Result<Link, Lost> {
        let mut process = Process::start(place, patience, isolate)
            .map_err(|error| Lost { why: Why::Spawn(error), said: String::new() })?;
        // Here it takes milliseconds, and without a hello an interrupted run would have no report.
        let grace = if matches!(place, Place::Here(_)) { HELLO_GRACE } else { Duration::ZERO };
        match handshake(&mut process, wait, interrupted, grace) {
            Ok(hello) => Ok(Link { process, wait, hello }),
            Err(Why::Gone(status)) => Err(process.lost(Why::NeverSpoke(status))),
            Err(why) => Err(process.lost(why)),
        }
    }

    /// Hands a plan over, without waiting for it to be taken.
    pub fn send(&mut self, plan: &Plan) {
        self.send_line("", &serde_json::to_vec(plan).unwrap_or_default());
    }

    /// Hands any message over, behind what somebody else says.
    pub fn send_line(&mut self, noise: &str, message: &[u8]) {
        let unsent = &mut self.process.unsent;
        unsent.extend(noise.as_bytes().iter().chain(&[MARK]).chain(message).chain(b"\n"));
        self.process.flush();
    }

    /// Waits for the next message, whatever it says.
    pub fn receive_line(&mut self, timeout: Duration, interrupted: &AtomicBool) -> Result<Vec<u8>, Lost> {
        self.process.line(timeout, interrupted).map_err(|why| self.process.lost(why))
    }

    /// Waits for the answer to `plan`.
    pub fn receive(&mut self, plan: &Plan, interrupted: &AtomicBool) -> Result<Observations, Lost> {
        let timeout = Duration::from_millis(plan.deadline().into()) + self.wait;
        let os = self.hello.os;
        let seen = self.process.line(timeout, interrupted).and_then(|line| {
            let seen: Observations = serde_json::from_slice(&line).map_err(babble)?;
            answer::checked(plan, os, seen).map_err(babble)
        });
        seen.map_err(|why| self.process.lost(why))
    }

    /// Ends a worker that has answered all that it was asked.
    pub fn finish(mut self) -> Result<WorkerEnd, Lost> {
        let status = self.process.wait();
        let unread = std::mem::take(&mut self.process.unread);
        match unread.split_inclusive(|&byte| byte == b'\n').find_map(message) {
            None if status.signal() == Some(Signal::SIGKILL as i32) => Ok(WorkerEnd::ByForce),
            None => Ok(WorkerEnd::ByItself),
            Some(more) => {
                let more = readable(&more[..more.len().min(LAST_WORDS)]);
                Err(self.process.lost(babble(format!("more than it was asked for: {more}"))))
            }
        }
    }
}

fn handshake(process: &mut Process, wait: Duration, interrupted: &AtomicBool, grace: Duration) -> Result<Hello, Why> {
    let line = match process.line(wait, interrupted) {
        Err(Why::Interrupted) => match process.line(grace, &AtomicBool::new(false)) {
            Err(Why::Silent(_)) => return Err(Why::Interrupted),
            line => line?,
        },
        line => line?,
    };
    read_hello(&line).map_err(|bad| match bad {
        BadHello::Protocol(version) => Why::Protocol(version),
        BadHello::NotJson(error) | BadHello::OtherShape(error) => babble(error),
        BadHello::Settings(_) | BadHello::Long(_) | BadHello::NoProtocol => babble(bad),
    })
}

/// Why a line is no hello of this protocol.
#[derive(Debug, thiserror::Error)]
pub enum BadHello {
    #[error("no hello: {0}")]
    NotJson(serde_json::Error),
    #[error("no hello of this protocol: {0}")]
    OtherShape(serde_json::Error),
    #[error("the worker speaks protocol {0}, this program {PROTOCOL}")]
    Protocol(u64),
    #[error("a hello without a protocol")]
    NoProtocol,
    #[error("a hello of {0} bytes")]
    Long(usize),
    #[error("a hello with {0} settings")]
    Settings(usize),
}

/// The version comes first: what else a hello has differs between versions.
pub fn read_hello(line: &[u8]) -> Result<Hello, BadHello> {
    if line.len() > LONGEST_HELLO {
        return Err(BadHello::Long(line.len()));
    }
    let value: serde_json::Value = serde_json::from_slice(line).map_err(BadHello::NotJson)?;
    match value["protocol"].as_u64() {
        Some(version) if version == u64::from(PROTOCOL) => {}
        Some(version) => return Err(BadHello::Protocol(version)),
        None => return Err(BadHello::NoProtocol),
    }
    let mut hello: Hello = serde_json::from_value(value).map_err(BadHello::OtherShape)?;
    if hello.sysctls.len() > MOST_SETTINGS {
        return Err(BadHello::Settings(hello.sysctls.len()));
    }
    let reasons = hello.capabilities.values_mut().filter_map(|capability| capability.reason.as_mut());
    reasons.for_each(|reason| cut_to(reason, MOST_WORDS));
    Ok(hello)
}

fn babble(what: impl fmt::Display) -> Why {
    Why::Babble(short(&what.to_string()))
}

/// A process and what is on its way to and from it. Nothing here waits for one direction alone: both ends would wait
/// for each other as soon as the pipes are full.
struct Process {
    child: Child,
    /// Ends the process and all that it has started, should this program end without having done so.
    guard: Option<Guard>,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    unsent: VecDeque<u8>,
    unread: Vec<u8>,
    /// What it said beside the protocol: all, and the end of it.
    noise: usize,
    last_words: Vec<u8>,
    end_within: Duration,
}

impl Process {
    fn start(place: &Place, patience: u32, isolate: Isolate) -> std::io::Result<Process> {
        // A worker of this host ends by itself when its parent does.
        let guard = match place {
            Place::Here(_) => None,
            Place::Behind { .. } => Some(Guard::start()?),
        };
        let mut child = place
            .command(patience, isolate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(guard.as_ref().map_or(0, Guard::group))
            .spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(std::io::Error::other("its pipes are missing"));
        };
        for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Process {
            child,
            guard,
            stdin: Some(stdin),
            stdout,
            stderr: Some(stderr),
            unsent: VecDeque::new(),
            unread: Vec::new(),
            noise: 0,
            last_words: Vec::new(),
            end_within: place.end_within(),
        })
    }

    /// The next message.
    fn line(&mut self, timeout: Duration, interrupted: &AtomicBool) -> Result<Vec<u8>, Why> {
        let deadline = Instant::now() + timeout;
        let (mut searched, mut ended, mut ended_at) = (0, false, None);
        loop {
            let unread = std::mem::take(&mut self.unread);
            let (mut start, mut found) = (0, None);
            while let Some(length) = unread[searched..].iter().position(|&byte| byte == b'\n') {
                let line = &unread[start..searched + length];
                searched += length + 1;
                start = searched;
                found = message(line);
                match found {
                    Some(_) => break,
                    None => self.keep_noise(line),
                }
            }
            let found = found.map(<[u8]>::to_vec);
            self.unread = unread;
            self.unread.drain(..start);
            if let Some(message) = found {
                self.noise = 0;
                return Ok(message);
            }
            searched = self.unread.len();
            if searched > LONGEST_LINE || self.noise > MOST_NOISE {
                let bytes = searched.max(self.noise);
                return Err(babble(format!("{bytes} bytes and no message among them")));
            }
            // Somebody else may have the pipe as well, and keep it.
            if ended_at.is_none() && self.child.try_wait().is_ok_and(|status| status.is_some()) {
                ended_at = Some(Instant::now());
            }
            if ended || ended_at.is_some_and(|at| at.elapsed() > GRACE) {
                return Err(self.ended());
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(Why::Interrupted);
            }
            let stopped = sys::stopped_by(self.child.id() as i32);
            let is_late = Instant::now() > deadline;
            match stopped.filter(|&signal| is_late || sys::is_from_terminal(signal)) {
                Some(signal) => return Err(Why::Stopped(signal)),
                None if is_late => return Err(Why::Silent(timeout)),
                None => {}
            }
            ended = self.exchange().map_err(|error| Why::Gone(error.to_string()))?;
        }
    }

    /// Sends and receives what can be, or waits a while until something can; true at the end of its output.
    fn exchange(&mut self) -> std::io::Result<bool> {
        let mut fds = vec![(self.stdout.as_fd(), Until::Readable)];
        fds.extend(self.stderr.as_ref().map(|stderr| (stderr.as_fd(), Until::Readable)));
        if let (Some(stdin), false) = (&self.stdin, self.unsent.is_empty()) {
            fds.push((stdin.as_fd(), Until::Writable));
        }
        // EINTR comes from our own signals, and the caller looks at what they set.
        let _ = sys::poll_all(&fds, Some(SLICE));
        self.flush();
        let mut piece = [0; 1 << 16];
        match self.stderr.as_mut().map(|stderr| stderr.read(&mut piece)) {
            Some(Ok(0)) => self.stderr = None,
            Some(Ok(length)) => self.keep_noise(&piece[..length]),
            Some(Err(_)) | None => {}
        }
        match self.stdout.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(length) => self.unread.extend_from_slice(&piece[..length]),
            Err(error) if is_for_later(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    /// Sends what the pipe takes.
    fn flush(&mut self) {
        let Some(stdin) = self.stdin.as_mut().filter(|_| !self.unsent.is_empty()) else { return };
        match stdin.write(self.unsent.as_slices().0) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) if is_for_later(&error) => {}
            // It takes no more; why, its end tells.
            Err(_) => self.stdin = None,
        }
    }

    fn keep_noise(&mut self, words: &[u8]) {
        self.noise += words.len();
        self.last_words.extend_from_slice(&words[words.len().saturating_sub(LAST_WORDS)..]);
        self.last_words.push(b'\n');
        // Not each time: somebody may have a lot of short things to say.
        if self.last_words.len() > 8 * LAST_WORDS {
            self.last_words.drain(..self.last_words.len() - LAST_WORDS);
        }
    }

    fn ended(&mut self) -> Why {
        let status = self.wait();
        Why::Gone(match (status.signal(), status.code()) {
            (Some(signal), _) => format!("killed by signal {signal}"),
            (None, code) => format!("exit code {}", code.unwrap_or_default()),
        })
    }

    /// Waits for its end, and brings it about where it does not come in time. Answers that are still to come are lost.
    fn wait(&mut self) -> std::process::ExitStatus {
        self.stdin = None;
        self.unsent.clear();
        let deadline = Instant::now() + self.end_within;
        let mut ended = false;
        let status = loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                break Some(status);
            }
            if Instant::now() > deadline {
                break None;
            }
            // An answer that nobody waits for begins with a mark.
            if self.unread.len() > LAST_WORDS && message(&self.unread).is_none() {
                self.unread.clear();
            }
            if self.unread.len() > LONGEST_LINE {
                break None;
            }
            match ended {
                true => std::thread::sleep(ENDED_POLL),
                false => ended = self.exchange().unwrap_or(true),
            }
        };
        // Nobody else has this number as long as its leader is not reaped. The guard leads that of a command, and what
        // the command has left in it ends, too: a run leaves nothing behind.
        if status.is_none() || self.guard.is_some() {
            let group = self.guard.as_ref().map_or(self.child.id() as i32, Guard::group);
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        status.or_else(|| self.child.wait().ok()).unwrap_or_default()
    }

    fn lost(&mut self, why: Why) -> Lost {
        match why {
            Why::Interrupted => {}
            Why::Stopped(_) => {
                self.end_within = Duration::ZERO;
                self.wait();
            }
            // What it says about its end.
            _ => drop(self.wait()),
        }
        let mut words = std::mem::take(&mut self.last_words);
        // What it has answered to other plans explains nothing.
        let unread = self.unread.split_inclusive(|&byte| byte == b'\n').filter(|line| message(line).is_none());
        words.extend(unread.flatten());
        Lost { why, said: readable(&words[words.len().saturating_sub(LAST_WORDS)..]) }
    }
}

impl Drop for Process {
    /// A worker ends with its standard input.
    fn drop(&mut self) {
        self.wait();
    }
}

fn is_for_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The last lines of what somebody else's program said, on one line and without what would move a terminal's cursor.
fn readable(words: &[u8]) -> String {
    const LINES: usize = 4;
    let text = String::from_utf8_lossy(words);
    let clean = |line: &str| line.chars().filter(|letter| !letter.is_control()).collect::<String>().trim().to_owned();
    let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}
