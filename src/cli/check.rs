//! `errnoscope check`: runs tracers under each trouble, as `errnoscope exec` would, and judges them.
//!
//! `tracer::check` interprets a tracer's calls; `exec` creates the network that it runs in.

mod running;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::output::{self, Destination, Writing};
use super::{Exit, Failure, bounded, github, source};
use crate::knowledge::policy;
use crate::render::check::CallsShown;
use crate::render::{check as text, github as annotations};
use crate::sys::{self, Signals};
use crate::tracer::check::infer;
use crate::tracer::check::judge::BehaviourVerdict;
use crate::tracer::check::profile::{self, BUILT_IN, Profile};
use crate::tracer::check::trouble::Trouble;
use crate::tracer::check::{self, Check};
use crate::words::near::or_list;

/// The tracer that is checked where nobody names one.
const USUAL: &str = "errnoscope";
/// What a policy begins with that was put together here.
const SEEN: &str = "Seen by `errnoscope check`, not written.";
/// More than a policy has, in bytes.
const LONGEST: u64 = 1 << 20;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope check
  errnoscope check trippy mtr --json results.json
  errnoscope check trippy --trouble tuple-time-wait -v
  errnoscope check ./my-tracer.toml --baseline results.json
  sudo env \"PATH=$PATH\" errnoscope check ./target/release/trip --github    in CI, raw sockets
  errnoscope check --results results.json --markdown

A tracer runs once under each trouble, on a path of five routers and a server, as by `errnoscope exec --trace`. What it did \
about the calls that failed is held against what their cause asks for: a busy port or 4-tuple costs another port and no hop, \
exhaustion and a foreign source address end the trace with a message that names the error, and without a route probes are \
lost, or it says so. A trouble that does not touch what the tracer does says nothing: not-exercised. The tracer runs in an \
empty directory that is its HOME, so that no file of yours configures it; files that its command names are looked for where you are.

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

    /// Write the policy that the tracer follows, as far as it was seen, to FILE; a file that another program or a
    /// person wrote is left alone
    #[arg(long, value_name = "FILE")]
    policy_out: Option<PathBuf>,

    /// As Markdown
    #[arg(long)]
    markdown: bool,

    /// Annotations for GitHub Actions after the text, and a job summary
    #[arg(long, conflicts_with = "markdown")]
    github: bool,

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

impl Arguments {
    pub fn is_for_github(&self) -> bool {
        self.github
    }
}

pub fn check(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let json = arguments.json.as_deref().map(Destination::new).transpose()?;
    let policy = arguments.policy_out.as_deref().map(policy_out).transpose()?;
    let baseline = arguments.baseline.as_deref().map(read).transpose()?;
    if policy.is_some() && arguments.results.is_empty() && arguments.tracers.len() > 1 {
        return Err(Failure::bad("--policy-out writes the policy of one tracer: name one"));
    }
    let (check, signals) = match &*arguments.results {
        [] => {
            let profiles =
                arguments.tracers.iter().map(|name| load(name)).collect::<Result<Vec<Profile>, Failure>>()?;
            let asked = |trouble: &Trouble| {
                *trouble == Trouble::Nothing || arguments.trouble.is_empty() || arguments.trouble.contains(trouble)
            };
            let troubles: Vec<Trouble> = Trouble::ALL.iter().copied().filter(asked).collect();
            let signals = Signals::watch().map_err(|error| Failure::because("cannot watch for signals", error))?;
            (running::check(&profiles, &troubles, &signals)?, Some(signals))
        }
        results => (earlier(results)?, None),
    };
    if let Some(signal) = signals.as_ref().and_then(Signals::received) {
        drop(signals);
        // What there is, for people: a file with some of the results would pass for all of them.
        if check.tracers.iter().any(|tracer| !tracer.runs.is_empty()) {
            let detail = if arguments.verbose { CallsShown::Everything } else { CallsShown::Wrong };
            write!(out, "{}", text::check(&check, detail, output::width()))?;
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
        let detail = match &changes {
            _ if arguments.verbose => CallsShown::Everything,
            Some(changes) => CallsShown::Changed(changes),
            None => CallsShown::Wrong,
        };
        let mut said = match arguments.markdown {
            true => text::markdown(&check),
            false => text::check(&check, detail, output::width()),
        };
        said.extend(changes.as_deref().map(text::changes));
        match arguments.github {
            true => github::print(&said, &annotations::check_annotations(&check, changes.as_deref()), out)?,
            false => write!(out, "{said}")?,
        }
    }
    let summary = |room| annotations::check_summary(&check, changes.as_deref(), room);
    if arguments.github {
        github::sum_up(summary)?;
    }
    let any = |verdict| check.tracers.iter().any(|tracer| tracer.has(verdict));
    Ok(match changes {
        _ if arguments.results.is_empty() && any(BehaviourVerdict::Broken) => Exit::Broken,
        Some(changes) if changes.is_empty() => Exit::Success,
        Some(_) => Exit::Mismatch,
        None if any(BehaviourVerdict::Wrong) => Exit::Mismatch,
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
