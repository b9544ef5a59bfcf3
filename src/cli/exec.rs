//! `errnoscope exec`: runs a command in its own network, and ends with the command's exit code.
//!
//! It checks which options fit together. `exec` does the work.

pub mod condition;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::output::{self, Destination};
use super::{Exit, Failure, complain};
use crate::exec::{self, CommandEnd, Environment, Failed, MOST_ROUTERS, Named, Request, Startup};
use crate::knowledge::calls::{self, Calls, Seen};
use crate::plan::RouteKind;
use crate::sys::{self, Ended, OS, machine};
use crate::words::errno::ErrnoName;

/// The longest round trip that a line can be given.
const LONGEST_RTT_MS: f64 = 10_000.0;

/// Exit codes of our own, as env(1) and timeout(1) have them.
pub const NO_ENVIRONMENT: u8 = 125;
const TIMED_OUT: u8 = 124;
pub(super) const CANNOT_RUN: u8 = 126;
pub(super) const NOT_FOUND: u8 = 127;

/// What a command finds around it, and runs into.
#[derive(clap::Args)]
pub struct EnvironmentArguments {
    /// A condition that the command runs into: see below. May be repeated
    #[arg(short, long = "condition", value_name = "CONDITION", value_parser = condition::named)]
    pub conditions: Vec<Named>,
    /// Client, N routers and server, each with a network of its own; the command runs as the client. With 0 a single
    /// link joins client and server, 10.77.0.2. Without it: one private network with nothing but lo
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(..=i64::from(MOST_ROUTERS)))]
    path: Option<u8>,
    /// The server accepts TCP connections on this port, and closes them when the client does
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    listen: Vec<u16>,
    /// A program to start first, where the server is, by `sh -c`. The command starts when it listens on a TCP port. May
    /// be repeated: one starts after the other is ready
    #[arg(long, value_name = "CMD")]
    with: Vec<OsString>,
    /// The program of --with is ready when it has this port: it listens there (TCP), or its socket is bound to it
    /// (UDP). Once for each --with, in the same order
    #[arg(long, value_name = "PORT", requires = "with", value_parser = clap::value_parser!(u16).range(1..))]
    ready: Vec<u16>,
    /// Router N forwards, but sends no ICMP of its own
    #[arg(long, value_name = "N", requires = "path")]
    silent: Vec<u8>,
    /// Router N has no way to the server, and says so. KIND: unreachable (the default), prohibit, or blackhole, which
    /// says nothing
    #[arg(long, value_name = "N[,KIND]", requires = "path", value_parser = unreachable)]
    unreachable: Vec<(u8, RouteKind)>,
    /// The server answers no TCP, as if it dropped what comes in
    #[arg(long, requires = "path")]
    filtered: bool,
    /// The first link adds this to every round trip. Needs /dev/net/tun
    #[arg(long, value_name = "MS", requires = "path", value_parser = rtt)]
    rtt: Option<Duration>,
    /// The server has no TCP timestamps (net.ipv4.tcp_timestamps=0)
    #[arg(long)]
    no_timestamps: bool,
    /// The command may change this sysctl, or end this condition, which -c made: that is told, and is no failure. May
    /// be repeated
    #[arg(long, value_name = "NAME")]
    may_change: Vec<String>,
}

/// Run a command under real conditions such as port exhaustion
#[derive(clap::Args)]
#[command(override_usage = "errnoscope exec [OPTIONS] -- CMD [ARG]...", after_long_help = after_help())]
pub struct Arguments {
    #[command(flatten)]
    environment: EnvironmentArguments,
    /// End the command after this time (SIGTERM, 2 s later SIGKILL): seconds, or with m, h or d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Show the socket calls of the command and of all that it starts, with the causes of those that failed, on
    /// standard error when it has ended
    #[arg(long)]
    trace: bool,
    /// Write those calls to FILE as JSON (errnoscope-calls/2); - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The command starts in an empty directory, which is its HOME as well: no file of yours configures it
    #[arg(long)]
    empty_home: bool,
    /// What to run, with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn after_help() -> String {
    format!(
        "{}\n\n{ADDRESSES}\n\n{TRACED}\n\n\
The command has your user, files, environment and terminal. When it ends, everything that it left in the background is \
ended too.\n\n\
Exit codes: the command's own, or 128 + the number of the signal that killed it; 124 if its time was up; 125 if the \
environment could not be created or a condition stopped holding (also if a process of --listen, --with or --rtt is gone \
or stopped; a program of --with may end with 0); 126 if the command cannot be run; 127 if it is not found. Conditions \
and processes are checked before the command starts and after it has ended, not in between.

Examples:
  errnoscope exec -c ports-exhausted -- curl http://127.0.0.1/
  errnoscope exec -c port-held=8080,state=time-wait -- ./my-server 8080
  errnoscope exec --with ./my-server -c ports-exhausted,to=127.0.0.1:80 -- sh
  errnoscope exec -c ports-exhausted --may-change ip_local_port_range -- ./my-remedy
  errnoscope exec --path 5 --listen 443 -- traceroute -T -p 443 -n 10.77.5.2
  errnoscope exec --path 15 --silent 3 --rtt 20 -- ping -c 3 fd77:0:0:15::2",
        condition::HELP
    )
}

const ADDRESSES: &str = "\
Addresses of a path: link 0 is between the client and router 1 (or the server, if there is no router), link N between \
router N and the server. Of link I, the end nearer to the client is 10.77.I.1 and fd77:0:0:I::1, the other end is \
10.77.I.2 and fd77:0:0:I::2, with prefixes of 24 and 64 bits; I has the same digits in both, so that link 15 is \
fd77:0:0:15::. So the client is 10.77.0.1, router K answers as 10.77.(K-1).2, and the server of a path of N routers is \
10.77.N.2. The devices are named towards-server and towards-client.";

const TRACED: &str = "\
--trace shows, of sockets of IPv4 and IPv6: socket, setsockopt, bind, connect, listen, accept, what is sent to an \
address (sendto, sendmsg, sendmmsg), getsockopt(SO_ERROR), what the error queue gives, and each other send or recv call \
that failed, EAGAIN apart. read(2) and write(2) are not shown. If calls were hidden (io_uring, a 32-bit program, or \
the command's own seccomp filter), the trace says so. The command cannot trace others itself. Each call that is shown \
stops the command twice: `taskset -c 0 errnoscope exec --trace` keeps both sides on one processor, which makes that cheaper.";

fn unreachable(text: &str) -> Result<(u8, RouteKind), String> {
    let (router, kind) = text.split_once(',').unwrap_or((text, "unreachable"));
    let kind = match kind {
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        "blackhole" => RouteKind::Blackhole,
        other => return Err(format!("unknown kind `{other}`, expected one of unreachable, prohibit, blackhole")),
    };
    Ok((router.parse().map_err(|_| format!("`{router}` is not the number of a router"))?, kind))
}

fn rtt(text: &str) -> Result<Duration, String> {
    let ms = text.parse().ok().filter(|ms| (0.0..=LONGEST_RTT_MS).contains(ms));
    let ms = ms.ok_or_else(|| format!("expected milliseconds, from 0 to {LONGEST_RTT_MS}"))?;
    Ok(Duration::from_secs_f64(ms / 1000.0))
}

/// As timeout(1) takes it.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3_600.0),
        Some((at, 'd')) => (&text[..at], 86_400.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * unit).filter(|seconds| *seconds > 0.0);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "expected a time above 0, such as 10, 0.5, 10s, 5m or 1h".to_owned())
}

pub fn no_world(message: impl Into<String>) -> Failure {
    Failure::Command { code: NO_ENVIRONMENT, message: message.into() }
}

impl EnvironmentArguments {
    fn environment(&self) -> Result<Environment, Failure> {
        let routers = self.path.unwrap_or(0);
        let named = self.silent.iter().chain(self.unreachable.iter().map(|(router, _)| router));
        if let Some(router) = named.clone().find(|router| !(1..=routers).contains(*router)) {
            let message = format!("there is no router {router}: --path {routers} has the routers 1 to {routers}");
            return Err(no_world(message));
        }
        let (programs, ports) = (self.with.len(), self.ready.len());
        if ports != 0 && ports != programs {
            return Err(no_world(format!(
                "--ready is given {ports}× and --with {programs}×: once for each, in the same order, or not at all"
            )));
        }
        Ok(Environment {
            path: self.path,
            listen: self.listen.iter().copied().collect(),
            silent: self.silent.iter().copied().collect(),
            unreachable: self.unreachable.iter().copied().collect(),
            filtered: self.filtered,
            rtt: self.rtt,
            timestamps: !self.no_timestamps,
            with: self.with.clone(),
            ready: self.ready.clone(),
        })
    }

    /// Runs the command, and says on standard error what the exit code alone would not.
    pub fn run(&self, rest: Rest, program: &OsString, given: &[OsString]) -> Result<Exit, Failure> {
        let failed = |code, message| Failure::Command { code, message };
        let Rest { limit, trace, json, out, environment, startup, empty_home, foreground } = rest;
        let watch = trace || json.is_some();
        if let Some(why) = sys::cannot_trace().filter(|_| watch) {
            return Err(failed(
                NO_ENVIRONMENT,
                format!("{why}; leave out --trace and --json, or use strace in its place"),
            ));
        }
        if let Some(json) = json {
            sys::keep_lent(json);
        }
        let json = json.map(Destination::new).transpose()?;
        let conditions = self.conditions.clone();
        let may_change = self.may_change.clone();
        let request = Request {
            environment: self.environment()?,
            conditions,
            may_change,
            limit,
            watch,
            startup,
            empty_home,
            foreground,
        };
        let command = std::iter::once(program).chain(given).map(|word| word.to_string_lossy().into_owned());
        let nothing = Calls {
            format: calls::FORMAT.to_owned(),
            os: OS,
            command: command.collect(),
            conditions: self.conditions.iter().map(|named| named.text.clone()).collect(),
            lacks: None,
            lost: Vec::new(),
            exit_code: NO_ENVIRONMENT.into(),
            seen: Seen::default(),
            calls: Vec::new(),
        };
        let ran = match exec::run(
            &request,
            Command::new(program).args(given).envs(environment.iter().map(|(name, value)| (name, value))),
        ) {
            Ok(ran) => ran,
            Err(Failed::Environment(why)) => return Err(failed(NO_ENVIRONMENT, why.to_string())),
            Err(Failed::Lacks(why, lacks)) => {
                let calls = Calls { lacks: Some(lacks), ..nothing };
                if let Some(json) = json {
                    json.write(out, |out| output::json(&calls, out))?;
                }
                return Err(failed(NO_ENVIRONMENT, why));
            }
            Err(Failed::Command(errno)) => {
                let (code, advice) = match errno.known() {
                    Some(ErrnoName::ENOENT) => (NOT_FOUND, "give a path, or the name of a program in PATH"),
                    Some(ErrnoName::EACCES) => (CANNOT_RUN, "it has to be a file that this user may execute"),
                    _ => (CANNOT_RUN, "it has to be a program of this machine, or begin with #! and one"),
                };
                return Err(failed(code, format!("cannot run `{}`: {errno}; {advice}", program.to_string_lossy())));
            }
        };
        let CommandEnd { ended, timed_out, lost, changed, failed: unserved, watched } = ran;
        for changed in changed {
            complain("note", &format!("changed, as --may-change allows: {changed}"));
        }
        if let Some((seen, mut calls)) = watched {
            calls::explain(&mut calls, OS, &machine().kernel());
            let lost = unserved.iter().chain(&lost).cloned().collect();
            let calls = Calls { lost, exit_code: ended.code(), seen, calls, ..nothing };
            if let Some(json) = json {
                json.write(out, |out| output::json(&calls, out))?;
                out.flush()?;
            }
            if trace {
                // Whoever closes standard error does not want it.
                let _ = write!(output::stderr(), "{}", crate::render::calls::calls(&calls, output::width()));
            }
        }
        if !lost.is_empty() || !unserved.is_empty() {
            let (how, code) = match ended {
                Ended::Exited(code) => ("exit code", code),
                Ended::Killed(signal) => ("signal", signal),
            };
            let what = match unserved.is_empty() {
                true => "a condition did not hold until the command ended",
                false => "the command's environment was not all there when it ended",
            };
            let all: String = unserved.iter().chain(&lost).map(|why| format!("\n  {why}")).collect();
            return Err(failed(NO_ENVIRONMENT, format!("{what} ({how} {code}):{all}")));
        }
        Ok(Exit::Command(if timed_out { TIMED_OUT } else { ended.code() as u8 }))
    }
}

/// What only `exec` has.
pub struct Rest<'a> {
    pub limit: Option<Duration>,
    pub trace: bool,
    pub json: Option<&'a Path>,
    pub out: &'a mut dyn Write,
    /// Variables beside the caller's.
    pub environment: &'a [(&'static str, String)],
    pub startup: Option<Startup>,
    /// Whether the command starts in an empty directory that is its home.
    pub empty_home: bool,
    /// Whether the command is to have the terminal to itself.
    pub foreground: bool,
}

pub fn exec(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let [program, given @ ..] = &arguments.command[..] else {
        return Err(no_world("there is no command to run"));
    };
    let Arguments { timeout, trace, json, empty_home, .. } = arguments;
    let rest = Rest {
        limit: *timeout,
        trace: *trace,
        json: json.as_deref(),
        out,
        environment: &[],
        startup: None,
        empty_home: *empty_home,
        foreground: false,
    };
    arguments.environment.run(rest, program, given)
}
