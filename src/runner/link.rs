//! The connection to one worker process: lines of JSON down its stdin and up its stdout.

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::plan::{Hello, Observations, PROTOCOL, Plan};

/// How long a worker may take to say hello, or longer than a case's own deadline to answer.
const GRACE: Duration = Duration::from_secs(10);

/// How often a wait looks whether the run was interrupted.
const SLICE_MS: u16 = 100;

/// Longer lines than this are no answer of ours.
const LONGEST_LINE: usize = 64 << 20;

pub struct Link {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    unread: Vec<u8>,
    pub hello: Hello,
}

/// Why a worker can no longer be used.
#[derive(Debug)]
pub enum Lost {
    Spawn(std::io::Error),
    /// It ended, with this status.
    Gone(String),
    Silent(Duration),
    /// A line that is not of the protocol.
    Babble(String),
    Protocol(u32),
    Interrupted,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Spawn(error) => write!(f, "cannot start a worker: {error}"),
            Lost::Gone(status) => write!(f, "the worker ended: {status}"),
            Lost::Silent(after) => write!(f, "the worker said nothing for {} s", after.as_secs()),
            Lost::Babble(why) => write!(f, "the worker sent a line that is not of the protocol: {why}"),
            Lost::Protocol(version) => write!(f, "the worker speaks protocol {version}, this program {PROTOCOL}"),
            Lost::Interrupted => write!(f, "interrupted"),
        }
    }
}

impl Link {
    /// Starts a worker, in a process group of its own so that a terminal's Ctrl-C reaches the coordinator alone.
    pub fn open(program: &Path) -> Result<Link, Lost> {
        let mut child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(Lost::Spawn)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Lost::Gone("its pipes are missing".to_owned()));
        };
        let hello = Hello {
            protocol: PROTOCOL,
            os: crate::sys::OS,
            release: String::new(),
            arch: String::new(),
            isolation: String::new(),
            capabilities: Default::default(),
            sysctls: Default::default(),
        };
        let mut link = Link { child, stdin: Some(stdin), stdout, unread: Vec::new(), hello };
        let line = link.line(GRACE, &AtomicBool::new(false))?;
        link.hello = serde_json::from_slice(&line).map_err(|error| Lost::Babble(error.to_string()))?;
        if link.hello.protocol != PROTOCOL {
            return Err(Lost::Protocol(link.hello.protocol));
        }
        Ok(link)
    }

    pub fn send(&mut self, plan: &Plan) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(plan)?;
        line.push(b'\n');
        self.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(&line))
    }

    /// Waits for the answer to `plan`.
    pub fn receive(&mut self, plan: &Plan, interrupted: &AtomicBool) -> Result<Observations, Lost> {
        let patience = Duration::from_millis(plan.deadline_ms.into()) + GRACE;
        let line = self.line(patience, interrupted)?;
        let seen: Observations = serde_json::from_slice(&line).map_err(|error| Lost::Babble(error.to_string()))?;
        if seen.case == plan.case { Ok(seen) } else { Err(Lost::Babble(format!("an answer about {}", seen.case))) }
    }

    fn line(&mut self, patience: Duration, interrupted: &AtomicBool) -> Result<Vec<u8>, Lost> {
        let deadline = Instant::now() + patience;
        let mut searched = 0;
        loop {
            if let Some(newline) = self.unread[searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.unread.split_off(searched + newline + 1);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.pop();
                return Ok(line);
            }
            searched = self.unread.len();
            if searched > LONGEST_LINE {
                return Err(Lost::Babble(format!("longer than {LONGEST_LINE} bytes")));
            }
            let mut fds = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
            // EINTR comes from our own signals, and the loop looks at what they set.
            let _ = poll(&mut fds, PollTimeout::from(SLICE_MS));
            if fds[0].any() == Some(true) {
                let mut piece = [0; 1 << 16];
                match self.stdout.read(&mut piece) {
                    Ok(0) => return Err(self.gone()),
                    Ok(length) => self.unread.extend_from_slice(&piece[..length]),
                    Err(error) => return Err(Lost::Gone(error.to_string())),
                }
            } else if interrupted.load(Ordering::Relaxed) {
                return Err(Lost::Interrupted);
            } else if Instant::now() > deadline {
                return Err(Lost::Silent(patience));
            }
        }
    }

    fn gone(&mut self) -> Lost {
        self.stdin = None;
        Lost::Gone(match self.child.wait() {
            Ok(status) => match status.signal() {
                Some(signal) => format!("killed by signal {signal}"),
                None => status.to_string(),
            },
            Err(error) => error.to_string(),
        })
    }
}

/// A worker ends with its stdin; one that does not is killed, and takes its case along.
impl Drop for Link {
    fn drop(&mut self) {
        self.stdin = None;
        let mut fds = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        let ended = poll(&mut fds, PollTimeout::from(SLICE_MS)).is_ok_and(|ready| ready > 0);
        if !ended || !self.unread.is_empty() {
            let _ = self.child.kill();
        }
        let mut rest = [0; 1 << 12];
        // A worker that still has answers to give is not waited for.
        if ended && !matches!(self.stdout.read(&mut rest), Ok(0)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
