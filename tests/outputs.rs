//! Where results go: pipes that close, outputs that take nothing, signals, and files that are there whole or not at
//! all.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::common::PROGRAM;
use crate::common::reports::{SMALL, small, text_of};
use crate::harness::test;
use errnoscope::report::finding::{Finding, Report, Verdict};
#[cfg(target_os = "linux")]
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

/// Longer than any of these commands takes.
const LONGEST: Duration = Duration::from_secs(30);

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("COLUMNS", "80").stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// The exit code as a shell says it.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
}

/// Waits for the end of a child that has to come.
#[track_caller]
fn end_of(child: &mut Child) -> i32 {
    let deadline = Instant::now() + LONGEST;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return code(status);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A path in a directory, as text.
fn at(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

/// Files that the commands are about: two reports that differ, a wrong scenario, a tracer's results.
struct Inputs {
    directory: TempDir,
}

static INPUTS: LazyLock<Inputs> = LazyLock::new(|| {
    let inputs = Inputs { directory: tempfile::tempdir().unwrap() };
    let mut findings = small().findings.clone();
    findings.pop();
    fs::write(inputs.path("less.json"), text_of(&small().with(findings))).unwrap();
    let settled = |finding: &&Finding| matches!(finding.verdict(), Verdict::Match | Verdict::Mismatch);
    let settled: Vec<Finding> = small().findings.iter().filter(settled).cloned().collect();
    let clean = |findings: &[Finding]| Report { complete: true, ..small().with(findings.to_vec()) };
    fs::write(inputs.path("now.json"), text_of(&clean(&settled))).unwrap();
    fs::write(inputs.path("then.json"), text_of(&clean(&settled[1..]))).unwrap();
    fs::write(inputs.path("wrong.toml"), "claim = 1\n").unwrap();
    let scenario = "claim = \"A port above the privileged ones can be bound\"\nid = \"bind.free-port\"\n\
        why = \"The simplest thing that can work.\"\ncause = \"none\"\n\n[axes]\nprotocol = [\"tcp\", \"udp\"]\n\n\
        [[setup]]\nopen = { socket = \"claimer\", protocol = \"$protocol\", family = \"ipv4\" }\n\n\
        [[subject]]\nunwitnessed = \"nobody is in the way\"\n\
        bind = { socket = \"claimer\", address = \"127.0.0.1\", port = 20000 }\n\n\
        [[subject.expect]]\nos = [\"linux\", \"macos\"]\noutcome = \"EADDRINUSE\"\n\
        authority = \"posix\"\nref = \"bind()\"\n";
    fs::create_dir(inputs.path("mismatch")).unwrap();
    fs::write(inputs.path("mismatch/a.toml"), scenario).unwrap();
    inputs
});

impl Inputs {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Commands with all that they find, and their exit codes where somebody reads everything. `LESS`, `WRONG` and
/// `MISMATCH` are inputs.
const COMMANDS: &[(&str, i32)] = &[
    ("--help", 0),
    ("--version", 0),
    ("help run", 0),
    ("list", 0),
    ("list --cases --json", 0),
    ("show bind.port-held", 0),
    ("lint", 0),
    ("lint WRONG", 2),
    ("lint WRONG --json", 2),
    ("schema", 0),
    ("completions zsh", 0),
    ("man", 0),
    ("explain EADDRINUSE", 0),
    ("explain connect EADDRNOTAVAIL --json", 0),
    ("report SMALL", 0),
    ("report SMALL --html -", 0),
    ("compat SMALL", 0),
    ("claims SMALL", 0),
    ("claims SMALL -v", 0),
    ("claims SMALL --json", 0),
    ("compare SMALL SMALL", 0),
    ("compare SMALL LESS", 1),
    ("compare SMALL LESS -v", 1),
    ("compare SMALL LESS --json", 1),
    ("compare SMALL LESS --github", 1),
    ("policy list", 0),
    ("policy show", 0),
    ("policy derive SMALL", 0),
    ("policy derive SMALL -o -", 0),
    ("policy diff conflate addr-in-use-only", 1),
    ("policy diff conflate addr-in-use-only --json", 1),
    ("policy evaluate SMALL --policy conflate", 1),
    ("check --results ci/tracers/mtr.json", 1),
    ("check --results ci/tracers/mtr.json --markdown", 1),
    ("check --results ci/tracers/mtr.json --json -", 1),
    ("doctor", 0),
    ("run --scenarios MISMATCH", 1),
    ("run -q --scenarios MISMATCH --json -", 1),
    ("run -q --scenarios MISMATCH --junit -", 1),
    ("exec --json - -- sh -c exit$IFS\\7", 7),
    ("trace -n -p 9 127.0.0.1", 0),
    ("trace -n -p 9 127.0.0.1 --json -", 0),
];

fn words(command: &str) -> Vec<String> {
    let path = |name: &str| INPUTS.path(name).to_str().unwrap().to_owned();
    let word = |word: &str| match word {
        "SMALL" => SMALL.to_owned(),
        "LESS" => path("less.json"),
        "WRONG" => path("wrong.toml"),
        "MISMATCH" => path("mismatch"),
        word => word.to_owned(),
    };
    command.split(' ').map(word).collect()
}

fn named(command: &str) -> Command {
    let words = words(command);
    program(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The exit code for what cannot be written: those of `exec` begin high.
fn unwritable(command: &str) -> i32 {
    if command.starts_with("exec") { 125 } else { 2 }
}

#[test(Namespaces, Ptrace)]
fn the_exit_code_is_what_was_found_whoever_reads_it() {
    for &(command, expected) in COMMANDS {
        let output = named(command).output().unwrap();
        assert_eq!(code(output.status), expected, "{command}");
        assert!(!output.stdout.is_empty(), "{command} prints nothing");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = named(command).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(code(closed.status), expected, "{command}, to a pipe that was closed before");
        let complaint = String::from_utf8_lossy(&closed.stderr);
        assert!(!complaint.contains("write") && !complaint.contains("panicked"), "{command}: {complaint}");

        let (mut stdout, writer) = small_pipe();
        let mut child = named(command).stdout(writer).spawn().unwrap();
        let mut first = [0];
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        assert_eq!(end_of(&mut child), expected, "{command}, to a pipe that was closed after the first letter");
    }
}

/// Where a pipe can be so small, what comes after the first page has to wait for a reader.
fn small_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    #[cfg(target_os = "linux")]
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    (reader, writer)
}

#[test(Namespaces, Ptrace)]
fn what_standard_output_does_not_take_is_an_error() {
    for (&(command, _), redirection) in COMMANDS.iter().zip([">&-", ">&-", "1</dev/null"].into_iter().cycle()) {
        let full = named(command).stdout(File::options().write(true).open("/dev/full").unwrap()).output().unwrap();
        assert_eq!(code(full.status), unwritable(command), "{command}, to /dev/full");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$@\" {redirection}"), "sh", PROGRAM]).args(words(command));
        let output = shell.stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(output.status), unwritable(command), "{command} {redirection}: {complaint}");
        assert!(complaint.contains("cannot write to standard output: Bad file descriptor"), "{command}: {complaint}");
    }
    // What prints nothing has lost nothing.
    let directory = tempfile::tempdir().unwrap();
    let quiet = format!("exec {PROGRAM} report {SMALL} -o {} >&-", at(&directory, "report.md"));
    assert!(Command::new("sh").args(["-c", &quiet]).status().unwrap().success());
    // And a report that cannot be told is not worth a run.
    let begun = Instant::now();
    let early = format!("exec {PROGRAM} run --json - >&-");
    let output = Command::new("sh").args(["-c", &early]).output().unwrap();
    assert_eq!(code(output.status), 2);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!complaint.contains("running") && begun.elapsed() < LONGEST, "{complaint}");
}

#[test(Namespaces, Ptrace)]
fn standard_error_decides_nothing() {
    let commands = COMMANDS.iter().copied().chain([
        ("exec --trace -- true", 0),
        ("lint no-such-file", 2),
        ("list --no-such-option", 2),
        ("list no-such-scenario", 3),
    ]);
    for ((command, expected), redirection) in commands.zip(["2>&-", "2>/dev/full"].into_iter().cycle()) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$@\" {redirection}"), "sh", PROGRAM]).args(words(command));
        let status = shell.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
        assert_eq!(code(status), expected, "{command} {redirection}");
    }
}

/// Nobody reads: what a command does is done all the same.
#[test]
fn effects_come_before_output() {
    let directory = tempfile::tempdir().unwrap();
    let less = INPUTS.path("less.json");
    let (baseline, page, policy) = (at(&directory, "a.json"), at(&directory, "a.html"), at(&directory, "a.toml"));
    let summary = at(&directory, "summary.md");
    fs::copy(INPUTS.path("then.json"), &baseline).unwrap();
    let (less, now) = (less.to_str().unwrap(), INPUTS.path("now.json"));
    let accepted = fs::read(&now).unwrap();
    let results = "ci/tracers/mtr.json";
    type Done<'d> = Box<dyn Fn() -> bool + 'd>;
    let there = |path: &str| -> Done<'_> {
        let path = path.to_owned();
        Box::new(move || fs::metadata(&path).is_ok_and(|found| found.len() > 0))
    };
    let commands: Vec<(Vec<&str>, Done<'_>, i32)> = vec![
        (vec!["compare", SMALL, less, "-v", "--github"], there(&summary), 1),
        (vec!["report", SMALL, "-o", "-", "--html", &page], there(&page), 0),
        (vec!["policy", "derive", SMALL, "-o", &policy], there(&policy), 0),
        (
            vec!["check", "--results", results, "-v", "--json", &at(&directory, "a.check").leak()[..]],
            there(&at(&directory, "a.check")),
            1,
        ),
        (
            vec!["compare", &baseline, now.to_str().unwrap(), "-v", "--accept"],
            Box::new(|| fs::read(&baseline).is_ok_and(|now| now == accepted)),
            0,
        ),
    ];
    for (arguments, done, expected) in commands {
        let mut command = program(&arguments);
        let (stdout, writer) = small_pipe();
        let mut child = command.env("GITHUB_STEP_SUMMARY", &summary).stdout(writer).spawn().unwrap();
        // With it goes the writing end of ours.
        drop(command);
        let deadline = Instant::now() + LONGEST;
        while !done() {
            assert!(Instant::now() < deadline, "{arguments:?}: it waits for its reader first");
            std::thread::park_timeout(Duration::from_millis(2));
        }
        drop(stdout);
        assert_eq!(end_of(&mut child), expected, "{arguments:?}");
    }
}

const ENDING: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// Commands that wait for something, and how one sees that they do.
#[test(Namespaces)]
fn every_command_that_waits_ends_on_the_first_signal() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = at(&directory, "fifo.toml");
    mkfifo(&*fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let fifo = fifo.as_str();
    let commands: &[&[&str]] = &[
        &["explain"],
        &["explain", "bind", "98", "--report", fifo],
        &["report", fifo],
        &["compat", fifo],
        &["boundaries", fifo],
        &["claims", fifo],
        &["compare", fifo, SMALL],
        &["policy", "derive", fifo],
        &["policy", "evaluate", fifo],
        &["policy", "show", fifo],
        &["check", "--results", fifo],
        &["check", fifo],
        &["lint", fifo],
        &["run", "--scenarios", fifo],
        &["exec", "--", "sleep", "60"],
    ];
    for &arguments in commands {
        for ending in ENDING {
            let mut child = program(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            until_idle(&child);
            signal(&child, ending);
            assert_eq!(end_of(&mut child), 128 + ending as i32, "{arguments:?} {ending}");
        }
    }
}

/// Until a process sleeps and does nothing more.
#[track_caller]
fn until_idle(child: &Child) {
    let mut before = String::new();
    let deadline = Instant::now() + LONGEST;
    loop {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        // State, and the time it has had, of proc(5).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let now = [fields[0], fields[11], fields[12]].join(" ");
        if now == before && now.starts_with('S') {
            return;
        }
        assert!(Instant::now() < deadline, "it is not idle: {stat}");
        before = now;
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// pid 1 of a PID namespace, to which nothing happens by default.
#[test(Namespaces, Tun)]
fn the_demo_ends_on_signals_with_the_hops_it_has() {
    for ending in ENDING {
        let arguments = ["trace", "--demo", "-n", "-c", "1000", "--interval", "60"];
        let mut child = program(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        until_idle(&child);
        // It tells nobody how far it is: the first round takes milliseconds.
        std::thread::park_timeout(Duration::from_millis(500));
        signal(&child, ending);
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(end_of(&mut child), 128 + ending as i32, "{ending}: {said}");
        assert!(said.contains("203.0.113.80") && said.contains("interrupted"), "{ending}: {said}");
    }
    for other in [Signal::SIGHUP, Signal::SIGQUIT] {
        let mut child = program(&["trace", "--demo", "-n", "-c", "1000"]).stdout(Stdio::null()).spawn().unwrap();
        until_idle(&child);
        std::thread::park_timeout(Duration::from_millis(500));
        signal(&child, other);
        assert_eq!(end_of(&mut child), 128 + other as i32, "{other}");
    }
}

/// A worker that never speaks.
#[test(Namespaces)]
fn before_there_is_a_worker_signals_end_a_run_and_a_doctor() {
    for (arguments, message) in [(&["run", "bind.broadcast"][..], "there was no worker yet"), (&["doctor"], "")] {
        for ending in ENDING {
            // A worker may have spoken before it is stopped: then another one is.
            let is_early = (0..20).any(|_| {
                let mut child = program(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
                let stopped = stop_worker(&child);
                let begun = Instant::now();
                signal(&child, ending);
                let code = end_of(&mut child);
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                // Where nobody looks after it any more.
                let _ = killpg(stopped, Signal::SIGKILL);
                assert!(begun.elapsed() < LONGEST / 6, "{arguments:?} {ending}: {said}");
                code == 128 + ending as i32 && said.contains(message)
            });
            assert!(is_early, "{arguments:?} {ending}");
        }
    }
}

/// As soon as it exists, with all that it has started.
#[track_caller]
fn stop_worker(parent: &Child) -> Pid {
    let deadline = Instant::now() + LONGEST;
    while Instant::now() < deadline {
        // Other threads than the first start workers as well.
        for task in fs::read_dir(format!("/proc/{}/task", parent.id())).unwrap().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            // Not before it is a worker: until then its parent waits for that, and for nothing else (vfork(2)).
            let is_worker = |child: &&str| {
                fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|words| words.ends_with(b"\0worker\0"))
            };
            if let Some(child) = children.split_whitespace().find(is_worker) {
                let child = Pid::from_raw(child.parse().unwrap());
                killpg(child, Signal::SIGSTOP).unwrap();
                return child;
            }
        }
        std::thread::yield_now();
    }
    panic!("no child of {}", parent.id());
}

/// A run that was interrupted, and whose summary nobody reads; a FIFO that nobody opens.
#[test(Namespaces, Ptrace, Tun)]
fn a_second_signal_and_one_after_the_run_end_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = at(&directory, "fifo");
    mkfifo(&*fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let mismatch = INPUTS.path("mismatch");
    let mismatch = mismatch.to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["run", "-q", "--scenarios", mismatch, "--json", &fifo],
        &["check", "--results", "ci/tracers/mtr.json", "--json", &fifo],
        &["trace", "-n", "-p", "9", "127.0.0.1", "--json", &fifo],
        &["trace", "--demo", "-n", "--json", &fifo],
        &["exec", "--json", &fifo, "--", "true"],
        &["report", SMALL, "-o", &fifo],
        &["compat", SMALL, "-o", &fifo],
        &["policy", "derive", SMALL, "-o", &fifo],
    ];
    for &arguments in commands {
        for ending in ENDING {
            let mut child = program(arguments).stdout(Stdio::null()).spawn().unwrap();
            until_waiting_for(&child, &fifo);
            if arguments[0] == "exec" {
                // What comes at once was for the command.
                std::thread::park_timeout(Duration::from_millis(300));
            }
            signal(&child, ending);
            assert_eq!(end_of(&mut child), 128 + ending as i32, "{arguments:?} {ending}");
        }
    }
    // It goes to whoever comes.
    let mut child = program(commands[0]).stdout(Stdio::null()).spawn().unwrap();
    assert!(fs::read_to_string(&fifo).unwrap().starts_with('{'));
    assert_eq!(end_of(&mut child), 1);
    // And is no error where somebody has seen enough of it.
    let mut child = program(&["report", SMALL, "--html", &fifo]).stdout(Stdio::null()).spawn().unwrap();
    let mut reader = File::open(&fifo).unwrap();
    reader.read_exact(&mut [0]).unwrap();
    drop(reader);
    assert_eq!(end_of(&mut child), 0);

    let waits = "deadline_ms = 100000\n\n[axes]";
    let elapse = "[[setup]]\nelapse = { ms = 60000 }\n\n[[subject]]";
    let text = fs::read_to_string(INPUTS.path("mismatch/a.toml")).unwrap();
    fs::create_dir(directory.path().join("waits")).unwrap();
    fs::write(directory.path().join("waits/a.toml"), text.replace("[axes]", waits).replace("[[subject]]", elapse))
        .unwrap();
    let waits = at(&directory, "waits");
    let run = |more: &[&str], stdout: Stdio| {
        let arguments = [&["run", "--scenarios", &waits], more].concat();
        let mut child = program(&arguments).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("running"), "{line}");
        child
    };
    // One that is interrupted does not wait for a reader.
    let mut child = run(&["--json", &fifo], Stdio::null());
    signal(&child, Signal::SIGINT);
    assert_eq!(end_of(&mut child), 2);
    // One whose summary nobody reads has heard the first signal, and waits; the second ends it.
    for ending in ENDING {
        let (_reader, mut writer) = small_pipe();
        writer.write_all(&[0; 4096]).unwrap();
        let mut child = run(&["-v"], writer.into());
        signal(&child, Signal::SIGINT);
        std::thread::park_timeout(Duration::from_secs(1));
        assert!(child.try_wait().unwrap().is_none(), "it has not waited for its reader");
        signal(&child, ending);
        let begun = Instant::now();
        assert_eq!(end_of(&mut child), 128 + ending as i32);
        assert!(begun.elapsed() < LONGEST / 6);
    }
}

/// Whether one of its processes is in the open() of this FIFO: the kernel calls that `wait_for_partner`.
#[track_caller]
fn until_waiting_for(child: &Child, fifo: &str) {
    let deadline = Instant::now() + LONGEST;
    loop {
        // The demo and `exec` wait in a process below.
        let mut processes = vec![child.id().to_string()];
        let mut index = 0;
        while index < processes.len() {
            let path = format!("/proc/{0}/task/{0}/children", processes[index]);
            let below = fs::read_to_string(path).unwrap_or_default();
            processes.extend(below.split_whitespace().map(str::to_owned));
            index += 1;
        }
        let waits = |process: &String| {
            let wchan = fs::read_to_string(format!("/proc/{process}/wchan")).unwrap_or_default();
            wchan.contains("wait_for_partner")
        };
        if processes.iter().any(waits) {
            return;
        }
        assert!(Instant::now() < deadline, "nobody waits for {fifo}: {processes:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Every option that names a file to write: what stands before the path, and the path in there.
const WRITERS: &[(&[&str], &str)] = &[
    (&["run", "-q", "bind.broadcast", "--json"], ""),
    (&["run", "-q", "bind.broadcast", "--junit"], ""),
    (&["report", SMALL, "-o"], ""),
    (&["report", SMALL, "--html"], ""),
    (&["compat", SMALL, "-o"], ""),
    (&["policy", "derive", SMALL, "-o"], ""),
    (&["check", "--results", "ci/tracers/errnoscope.json", "--json"], ""),
    (&["check", "--results", "ci/tracers/errnoscope.json", "--policy-out"], ""),
    (&["trace", "-n", "-p", "9", "127.0.0.1", "--json"], ""),
    (&["exec", "--json"], "-- true"),
    (&["condense", SMALL, "-o"], ""),
];

/// What each of them may write over: one leaves alone what does not begin so.
const MINE: &str = "# Seen by `errnoscope check`, not written.\nmine";

fn writer(before: &[&str], path: &str, after: &str) -> Command {
    let mut command = program(before);
    command.arg(path).args(after.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const STRANGER: u32 = 65_534;

/// A sticky directory that everybody may write to, with a file that only its owner may.
fn sticky() -> (TempDir, String, String) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let (sticky, victim) = (at(&directory, "sticky"), at(&directory, "victim"));
    fs::create_dir(&sticky).unwrap();
    fs::set_permissions(&sticky, Permissions::from_mode(0o1777)).unwrap();
    fs::write(&victim, MINE).unwrap();
    (directory, sticky, victim)
}

fn given_to(path: &str, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
}

#[test(Root, Namespaces, Ptrace)]
fn nothing_is_written_through_what_a_stranger_planted() {
    let (directory, sticky, victim) = sticky();
    let planted = format!("{sticky}/report");
    for &(before, after) in WRITERS {
        for what in ["link", "dangling", "fifo", "file"] {
            match what {
                "link" => symlink(&victim, &planted).unwrap(),
                "dangling" => symlink(at(&directory, "new"), &planted).unwrap(),
                "fifo" => mkfifo(&*planted, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap(),
                _ => fs::write(&planted, "theirs").unwrap(),
            }
            given_to(&planted, STRANGER);
            let begun = Instant::now();
            let output = writer(before, &planted, after).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(code(output.status), unwritable(before[0]), "{before:?} {what}: {said}");
            assert!(said.contains("of another user (uid 65534)"), "{before:?} {what}: {said}");
            assert!(!said.contains("running") && begun.elapsed() < LONGEST, "{before:?} {what}: {said}");
            assert_eq!(fs::read_to_string(&victim).unwrap(), MINE, "{before:?} {what}");
            assert_eq!(names(directory.path()), ["sticky", "victim"], "{before:?} {what}");
            assert_eq!(names(Path::new(&sticky)), ["report"], "{before:?} {what}");
            fs::remove_file(&planted).unwrap();
        }
    }
    // On the way as well, where the kernel does not look; a directory that is made, too.
    fs::create_dir(at(&directory, "inner")).unwrap();
    symlink(at(&directory, "inner"), &planted).unwrap();
    given_to(&planted, STRANGER);
    let on_the_way: &[&[&str]] = &[
        &["compat", SMALL, "-o", &format!("{planted}/file").leak()[..]],
        &["run", "-q", "bind.broadcast", "--json", &format!("{planted}/").leak()[..]],
        &["run", "-q", "bind.broadcast", "--json", &format!("{planted}/deep/er/").leak()[..]],
        &["man", &planted],
        &["man", &format!("{planted}/deep").leak()[..]],
    ];
    for &arguments in on_the_way {
        let output = program(arguments).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(code(output.status) == 2 && said.contains("a symbolic link of another user"), "{arguments:?}: {said}");
        assert_eq!(names(&directory.path().join("inner")), [""; 0], "{arguments:?}");
    }
    fs::remove_file(&planted).unwrap();
    let summary = |kind: &str| {
        let mut command = program(&["compare", SMALL, INPUTS.path("less.json").to_str().unwrap(), "--github"]);
        let output = command.env("GITHUB_STEP_SUMMARY", &planted).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(code(output.status) == 2 && said.contains("of another user"), "{kind}: {said}");
    };
    symlink(&victim, &planted).unwrap();
    given_to(&planted, STRANGER);
    summary("link");
    assert_eq!(fs::read_to_string(&victim).unwrap(), MINE);
    fs::remove_file(&planted).unwrap();
    fs::write(&planted, "theirs").unwrap();
    given_to(&planted, STRANGER);
    summary("file");
    assert_eq!(fs::read_to_string(&planted).unwrap(), "theirs");
    let accept = program(&["compare", "--accept", &planted, SMALL]).status().unwrap();
    assert_eq!(code(accept), 2);
    assert_eq!(fs::read_to_string(&planted).unwrap(), "theirs");
}

/// What is one's own works, and what belongs to whoever owns the directory.
#[test(Namespaces, Ptrace)]
fn links_of_ones_own_still_work() {
    let (directory, sticky, victim) = sticky();
    let link = format!("{sticky}/report");
    symlink("../victim", &link).unwrap();
    for &(before, after) in WRITERS {
        fs::write(&victim, MINE).unwrap();
        let output = writer(before, &link, after).output().unwrap();
        assert!(code(output.status) < 2, "{before:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_ne!(fs::read_to_string(&victim).unwrap(), MINE, "{before:?}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{before:?}");
        assert_eq!(names(directory.path()), ["sticky", "victim"], "{before:?}");
        assert_eq!(names(Path::new(&sticky)), ["report"], "{before:?}");
    }
    // Also one that leads to a name that is free, and in a circle.
    fs::remove_file(&victim).unwrap();
    assert!(writer(WRITERS[4].0, &link, "").status().unwrap().success());
    assert!(fs::read_to_string(&victim).unwrap().starts_with('{'));
    let circle = at(&directory, "circle");
    symlink("circle", &circle).unwrap();
    let output = writer(WRITERS[4].0, &circle, "").output().unwrap();
    assert_eq!(code(output.status), 2, "{}", String::from_utf8_lossy(&output.stderr));
    // Through /dev, to what is open already.
    for path in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1"] {
        let mut command = program(&["compat", SMALL, "-o", path]);
        let output = command.stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"{"), "{path}");
    }
    let script = format!("exec {PROGRAM} compat {SMALL} -o /dev/fd/7 7> {victim}");
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    assert!(fs::read_to_string(&victim).unwrap().starts_with('{'));
    if errnoscope::sys::effective_uid() == 0 {
        // Of the directory's owner, who is another.
        given_to(&sticky, STRANGER);
        given_to(&link, STRANGER);
        assert!(writer(WRITERS[4].0, &link, "").status().unwrap().success());
        // And elsewhere than in a directory for everybody.
        fs::set_permissions(&sticky, Permissions::from_mode(0o755)).unwrap();
        given_to(&link, STRANGER - 1);
        assert!(writer(WRITERS[4].0, &link, "").status().unwrap().success());
    }
}

#[test(Namespaces, Ptrace)]
fn the_mode_and_the_owner_of_a_replaced_file_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = at(&directory, "report");
    let state = |path: &str| {
        let found = fs::metadata(path).unwrap();
        (found.mode() & 0o7777, found.uid(), found.gid())
    };
    let root = errnoscope::sys::effective_uid() == 0;
    for &(before, after) in WRITERS {
        for mode in [0o600, 0o640, 0o604, 0o666, 0o755, 0o6755] {
            fs::write(&path, MINE).unwrap();
            if root {
                chown(&path, Some(1234), Some(5678)).unwrap();
            }
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let former = state(&path);
            let output = writer(before, &path, after).output().unwrap();
            assert!(code(output.status) < 2, "{before:?}: {}", String::from_utf8_lossy(&output.stderr));
            assert_ne!(fs::read_to_string(&path).unwrap(), MINE, "{before:?}");
            assert_eq!(state(&path), former, "{before:?} {mode:o}");
            // One is enough, where every writer has been shown to go the same way.
            fs::remove_file(&path).unwrap();
            if before[0] == "run" {
                break;
            }
        }
    }
    // A new one has what the umask leaves.
    let script = format!("umask 027; exec {PROGRAM} compat {SMALL} -o {path}");
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    assert_eq!(state(&path).0, 0o640);
    if root {
        // An owner that cannot be kept is told before anything runs.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let copy = at(&directory, "errnoscope");
        crate::common::copy_program(PROGRAM, &copy);
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        let script =
            format!("exec setpriv --reuid {STRANGER} --regid {STRANGER} --clear-groups {copy} run --json {path}");
        let output = Command::new("sh").args(["-c", &script]).current_dir("/").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(output.status), 2, "{said}");
        assert!(said.contains("it belongs to uid 0 and gid 0") && !said.contains("running"), "{said}");
        assert_eq!(names(directory.path()), ["errnoscope", "report"]);
    }
}

/// A new name may be impossible although the file can be made: without /proc a file without a name never gets one.
#[test(Root)]
fn that_a_name_can_be_made_is_tried_before_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (at(&directory, "old"), at(&directory, "new"));
    fs::write(&old, "old").unwrap();
    let inside = |script: String| {
        let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
        (code(output.status), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let hidden = "mount -t tmpfs none /proc &&";
    for path in [&old, &new] {
        let (code, said) = inside(format!("{hidden} exec {PROGRAM} compat {SMALL} -o {path}"));
        assert_eq!(code, 0, "{said}");
        assert!(fs::read_to_string(path).unwrap().starts_with('{'));
    }
    assert_eq!(names(directory.path()), ["new", "old"]);
    // What no new file can replace.
    let mounted = "mount --bind new old &&";
    let here = directory.path().display();
    let program = Path::new(PROGRAM).display();
    let (code, said) = inside(format!("cd {here} && {mounted} exec {program} run --json old"));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("it is a mount point") && !said.contains("running"), "{said}");
    for read_only in ["mount -t tmpfs -o ro none .", "mount -t tmpfs -o size=0,nr_inodes=1 none ."] {
        let (code, said) = inside(format!("cd {here} && {read_only} && cd {here} && exec {program} run --json old"));
        assert_eq!(code, 2, "{read_only}: {said}");
        assert!(said.contains("cannot write old") && !said.contains("running"), "{read_only}: {said}");
    }
    // A disk that is full leaves what was there.
    let small = "mount -t tmpfs -o size=8k none . && cd";
    let keep = format!("{PROGRAM} compat $OLDPWD/{SMALL} -o old; echo $?; cat old; ls -A");
    let script = format!("here=$PWD; cd {here} && {small} {here} && echo before > old && OLDPWD=$here && {keep}");
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "2\nbefore\nold\n", "{}", String::from_utf8_lossy(&output.stderr));
}

/// Somebody who knows the process's number knows no name of its files.
#[test]
fn no_name_can_be_taken_beforehand() {
    let directory = tempfile::tempdir().unwrap();
    let path = at(&directory, "report");
    fs::write(&path, MINE).unwrap();
    let own = std::process::id();
    for number in own.saturating_sub(100)..own + 3_000 {
        symlink("nowhere", at(&directory, &format!(".errnoscope-{number}"))).unwrap();
    }
    let before = names(directory.path());
    assert!(writer(WRITERS[4].0, &path, "").status().unwrap().success());
    assert!(fs::read_to_string(&path).unwrap().starts_with('{'));
    assert_eq!(names(directory.path()), before);
}

/// What was seen until then is shown, and no file says that it is all.
#[test(Namespaces, Ptrace)]
fn a_check_that_is_interrupted_shows_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let (profile, results, began) = (at(&directory, "slow.toml"), at(&directory, "results"), at(&directory, "began"));
    let text = format!(
        "format = \"errnoscope-tracer/1\"\nname = \"slow\"\ntimeout_s = 30\n\
         command = [\"sh\", \"-c\", \"touch {began}; exec sleep 25\", \"{{port}}\", \"{{target}}\"]\n"
    );
    fs::write(&profile, text).unwrap();
    for ending in ENDING {
        let arguments = ["check", "errnoscope", &profile, "--trouble", "none", "--json", &results];
        let arguments =
            if ending == Signal::SIGINT { &arguments[..] } else { &[&arguments[..1], &arguments[2..]].concat() };
        let mut child = program(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + 2 * LONGEST;
        while !Path::new(&began).exists() {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "it never began");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        signal(&child, ending);
        let code = end_of(&mut child);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code, 128 + ending as i32, "{said}{complaint}");
        assert!(complaint.contains("interrupted: while slow ran"), "{complaint}");
        assert_eq!(said.contains("errnoscope "), ending == Signal::SIGINT, "{said}");
        assert!(!Path::new(&results).exists());
        fs::remove_file(&began).unwrap();
    }
}

/// timeout(1) signals the program and then its group: the second signal is no reason to lose what the first one ended.
#[test(Namespaces, Ptrace)]
fn what_is_sent_to_the_whole_group_ends_the_command_alone() {
    let directory = tempfile::tempdir().unwrap();
    let calls = at(&directory, "calls");
    let mut command = Command::new("timeout");
    command.args(["-s", "TERM", "1", PROGRAM, "exec", "--json", &calls, "--", "sleep", "60"]);
    for _ in 0..5 {
        assert_eq!(code(command.stdin(Stdio::null()).status().unwrap()), 124);
        assert!(fs::read_to_string(&calls).unwrap().contains("\"exit_code\": 143"));
        fs::remove_file(&calls).unwrap();
    }
}
