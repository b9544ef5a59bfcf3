//! Host safety: a run leaves its host as it was, also when it or a process of it is interrupted or killed at any
//! moment. The host is a set of namespaces of the test's own, so that nobody else changes it. A moment is found by
//! looking for what makes it, and never by waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use errnoscope::report::finding::Report;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{PROGRAM, in_namespaces};
use crate::harness::{needs, rstest, test};

needs!(Namespaces);

/// Nothing here takes so long, on whatever machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How many random kills, where a night is there for more than some.
const SOAK: &str = "ERRNOSCOPE_SOAK";

/// Everything of the host that a run could leave changed.
#[derive(Debug, PartialEq)]
struct Picture {
    sysctls: BTreeMap<PathBuf, String>,
    sockets: BTreeMap<&'static str, BTreeSet<String>>,
    routes: BTreeMap<&'static str, BTreeSet<String>>,
    links: BTreeSet<String>,
    mounts: BTreeSet<String>,
    named_namespaces: BTreeSet<String>,
    /// All of these PID namespaces, those below included. What is left of one that has ended is no process.
    processes: BTreeSet<u32>,
    files: BTreeSet<PathBuf>,
}

/// What changes by itself, whoever runs what.
const RESTLESS: &[&str] = &["netdev_rss_key", "stat", "conntrack_count", "route/gc", "flush"];

impl Picture {
    fn take(directory: &Path) -> Picture {
        let mut sysctls = BTreeMap::new();
        walk(Path::new("/proc/sys/net"), &mut |path| {
            if !RESTLESS.iter().any(|word| path.to_string_lossy().contains(word)) {
                // Some can only be written, some only be read by root.
                sysctls.insert(path.to_owned(), std::fs::read_to_string(path).unwrap_or_default());
            }
        });
        assert!(sysctls.len() > 100, "the sysctls were read");
        let mut files = BTreeSet::new();
        // The run's own temporary directory is below it: the real one belongs to everybody.
        walk(directory, &mut |path| {
            files.insert(path.to_owned());
        });
        Picture {
            sysctls,
            // Local address, remote address and state; what counts is that no socket is added.
            sockets: ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"].map(|table| (table, columns(table, 1..4))).into(),
            routes: ["route", "ipv6_route"].map(|table| (table, columns(table, 0..4))).into(),
            links: columns("dev", 0..1),
            mounts: std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(str::to_owned).collect(),
            named_namespaces: names(Path::new("/run/netns")),
            processes: processes(),
            files,
        }
    }

    /// After a kill the kernel takes everything down in its own time. That long it took.
    #[track_caller]
    fn check_unchanged(&self, directory: &Path, what: &str) -> Duration {
        let begun = Instant::now();
        while processes() != self.processes && begun.elapsed() < Duration::from_secs(10) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let took = begun.elapsed();
        let after = Picture::take(directory);
        assert_eq!(after.processes, self.processes, "{what}: processes");
        for (name, value) in &self.sysctls {
            assert_eq!(after.sysctls.get(name), Some(value), "{what}: {} changed", name.display());
        }
        for (table, rows) in &after.sockets {
            let new: Vec<&String> = rows.difference(&self.sockets[table]).collect();
            assert!(new.is_empty(), "{what}: sockets are left in {table}: {new:?}");
        }
        assert_eq!(after.routes, self.routes, "{what}: routes");
        assert_eq!(after.links, self.links, "{what}: links");
        assert_eq!(after.mounts, self.mounts, "{what}: mounts");
        assert_eq!(after.named_namespaces, self.named_namespaces, "{what}: named namespaces");
        let new: Vec<&PathBuf> = after.files.difference(&self.files).collect();
        assert!(new.is_empty(), "{what}: files are left: {new:?}");
        took
    }
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn columns(table: &str, range: std::ops::Range<usize>) -> BTreeSet<String> {
    let text = std::fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
    let row = |line: &str| line.split_whitespace().skip(range.start).take(range.len()).collect::<Vec<_>>().join(" ");
    text.lines().skip(1).map(row).collect()
}

/// A process as /proc/PID/stat has it.
#[derive(Clone, Debug)]
struct Process {
    pid: u32,
    name: String,
    state: String,
    parent: u32,
}

impl Process {
    fn read(pid: &str) -> Option<Process> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
        Some(Process { pid: pid.parse().ok()?, name: name.to_owned(), state, parent })
    }

    /// Where its descriptors lead to, the first `most` of them.
    fn descriptors(&self, most: usize) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().flatten();
        entries.take(most).filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect()
    }

    fn has_ended(&self) -> bool {
        ["Z", "X"].contains(&self.state.as_str())
    }

    fn runs(&self) -> bool {
        !self.has_ended() && !["T", "t"].contains(&self.state.as_str())
    }
}

fn all() -> impl Iterator<Item = Process> {
    names(Path::new("/proc")).into_iter().filter_map(|name| Process::read(&name))
}

fn processes() -> BTreeSet<u32> {
    all().filter(|process| !process.has_ended()).map(|process| process.pid).collect()
}

/// A run and everything below it: the process, and how far below.
struct Tree(Vec<(Process, usize)>);

impl Tree {
    fn of(run: &Child) -> Tree {
        let all: Vec<Process> = all().collect();
        let mut tree: Vec<(Process, usize)> =
            all.iter().filter(|it| it.pid == run.id()).map(|it| (it.clone(), 0)).collect();
        let mut at = 0;
        while let Some((parent, depth)) = tree.get(at).map(|(process, depth)| (process.pid, *depth)) {
            tree.extend(all.iter().filter(|it| it.parent == parent).map(|it| (it.clone(), depth + 1)));
            at += 1;
        }
        Tree(tree)
    }

    fn find(&self, is_it: impl Fn(&Process, usize) -> bool) -> Option<u32> {
        self.0.iter().find(|(process, depth)| is_it(process, *depth)).map(|(process, _)| process.pid)
    }
}

/// A run whose processes all stand still.
struct Frozen {
    tree: Tree,
    /// Also those that belong to nobody any more.
    stopped: BTreeSet<u32>,
}

impl Frozen {
    /// None where one cannot be stopped just now, such as one that waits for an execve.
    fn new(run: &Child) -> Option<Frozen> {
        let begun = Instant::now();
        let mut frozen = Frozen { tree: Tree::of(run), stopped: BTreeSet::new() };
        while begun.elapsed() < Duration::from_millis(500) {
            let running: Vec<u32> = frozen.tree.0.iter().filter(|(it, _)| it.runs()).map(|(it, _)| it.pid).collect();
            if running.is_empty() {
                return Some(frozen);
            }
            running.iter().for_each(|&pid| signal(pid, Signal::SIGSTOP));
            frozen.stopped.extend(running);
            frozen.tree = Tree::of(run);
        }
        frozen.thaw();
        None
    }

    fn thaw(self) {
        self.stopped.into_iter().for_each(|pid| signal(pid, Signal::SIGCONT));
    }
}

/// It may be gone already.
fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid as i32), signal);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    BeforeHello,
    MidFill,
    HoldersAlive,
    TunOpen,
    NftRunning,
    ReportBeingWritten,
}

/// A case is so far below its run: there is a worker that waits, and one that is pid 1.
const CASE: usize = 3;

impl Moment {
    /// What comes to it soon.
    fn scenarios(self) -> &'static [&'static str] {
        match self {
            Moment::BeforeHello => &["bind.broadcast"],
            // 2048 ports each, in one process.
            Moment::MidFill => &["bind.ports-exhausted[protocol=tcp,family=ipv4,*,fill=bind-zero,*,range=wide,*"],
            // 28,232 ports, more than one process takes.
            Moment::HoldersAlive => &["bind.ports-exhausted[protocol=tcp,family=ipv4,*,range=default,*"],
            Moment::TunOpen => &["connect.icmp[family=ipv4,message=time-exceeded,source=bound,*"],
            Moment::NftRunning => &["connect.filtered[*,family=ipv4,verdict=drop]"],
            // 245 findings.
            Moment::ReportBeingWritten => &["bind.dual-stack"],
        }
    }

    /// The process that it is about, in a run that has had workers or not.
    fn found(self, tree: &Tree, had_workers: bool, directory: &Path) -> Option<u32> {
        let has_children = |process: &Process| tree.find(|it, _| it.parent == process.pid).is_some();
        tree.find(|process, depth| match self {
            // What says hello is not there yet.
            Moment::BeforeHello => {
                let arguments = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
                depth == 1 && arguments.ends_with(b"\0worker\0") && !has_children(process)
            }
            Moment::MidFill => depth == CASE && (256..1792).contains(&process.descriptors(1792).len()),
            Moment::HoldersAlive => depth > CASE && process.name == "errnoscope",
            Moment::TunOpen => {
                depth >= CASE && process.descriptors(100).iter().any(|path| path == Path::new("/dev/net/tun"))
            }
            Moment::NftRunning => process.name == "nft",
            // A first look at the place was before there was a worker.
            Moment::ReportBeingWritten => {
                depth == 0 && had_workers && process.descriptors(100).iter().any(|path| path.starts_with(directory))
            }
        })
    }
}

struct Host {
    directory: tempfile::TempDir,
    before: Picture,
}

impl Host {
    fn new() -> Host {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("tmp")).expect("a directory");
        let before = Picture::take(directory.path());
        Host { directory, before }
    }

    fn report(&self) -> PathBuf {
        self.directory.path().join("report.json.gz")
    }

    fn start<S: AsRef<std::ffi::OsStr>>(&self, scenarios: &[S]) -> Child {
        let child = Command::new(PROGRAM)
            .env("TMPDIR", self.directory.path().join("tmp"))
            .args(["run", "--quiet", "--jobs", "2", "--json"])
            .arg(self.report())
            .args(scenarios)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.expect("the program starts")
    }

    /// A run that has been stopped at a moment, with the process that the moment is about.
    fn stopped_at(&self, moment: Moment) -> (Child, Frozen, u32) {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            let mut run = self.start(moment.scenarios());
            let mut had_workers = false;
            while run.try_wait().expect("it can be waited for").is_none() {
                let tree = Tree::of(&run);
                had_workers |= tree.0.len() > 1;
                if moment.found(&tree, had_workers, self.directory.path()).is_none() {
                    continue;
                }
                // It may be over.
                let Some(frozen) = Frozen::new(&run) else { continue };
                match moment.found(&frozen.tree, had_workers, self.directory.path()) {
                    Some(process) => return (run, frozen, process),
                    None => frozen.thaw(),
                }
            }
            // It went by between two looks.
            assert_eq!(self.check_report("a whole run"), Some(true), "{:?}", run.wait());
        }
        panic!("no run was seen at {moment:?}");
    }

    /// What a run may leave: a whole report, or none.
    #[track_caller]
    fn check_report(&self, what: &str) -> Option<bool> {
        let report = std::fs::read(self.report()).ok()?;
        let report: Report = serde_json::from_reader(flate2::read::GzDecoder::new(&report[..]))
            .unwrap_or_else(|error| panic!("{what}: the report is not whole: {error}"));
        std::fs::remove_file(self.report()).expect("removable");
        Some(report.complete)
    }

    /// Signals a process of a stopped run, lets it go on to its end, and looks at what is left.
    #[track_caller]
    fn check(&self, mut run: Child, frozen: Frozen, process: u32, signal: Signal, what: &str) {
        kill(Pid::from_raw(process as i32), signal).unwrap_or_else(|errno| panic!("{what}: {errno}"));
        frozen.thaw();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = run.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(begun.elapsed() < LIMIT, "{what}: the run does not end");
            std::thread::park_timeout(Duration::from_millis(1));
        };
        let took = begun.elapsed();
        let complete = self.check_report(what);
        check_end(status, complete, signal, process == run.id(), what);
        let after = self.before.check_unchanged(self.directory.path(), what);
        println!("{what}: {status} after {took:?}, everything gone {after:?} later");
    }
}

#[track_caller]
fn check_end(status: ExitStatus, complete: Option<bool>, signal: Signal, is_run: bool, what: &str) {
    let code = status.code();
    match (is_run, signal, complete) {
        (true, Signal::SIGKILL, _) => assert_eq!(status.signal(), Some(signal as i32), "{what}"),
        // One that had nothing left to do ends as if nothing had been.
        (true, _, Some(true)) => assert_eq!(code, Some(0), "{what}"),
        (true, _, Some(false)) => assert_eq!(code, Some(128 + signal as i32), "{what}"),
        // There was no worker yet, nor perhaps anybody who would have taken the signal for a wish.
        (true, _, None) => {
            let code = code.or(status.signal().map(|signal| 128 + signal));
            assert_eq!(code, Some(128 + signal as i32), "{what}: {status}");
        }
        // At most one case is broken, and none is lost, unless there was no worker yet.
        (false, _, Some(complete)) => assert!(complete && matches!(code, Some(0 | 4)), "{what}: {status}"),
        (false, _, None) => {
            // A random moment may be that one, too.
            let may_be_early = what.contains("BeforeHello") || !what.contains(" at ");
            assert_eq!((code, may_be_early), (Some(4), true), "{what}");
        }
    }
}

#[test]
fn a_run_of_every_scenario_leaves_the_host_as_it_was() {
    in_namespaces(|| {
        let host = Host::new();
        let list = Command::new(PROGRAM).args(["list", "--cases"]).output().expect("the program starts");
        let list = String::from_utf8(list.stdout).expect("text");
        let mut cases: BTreeMap<&str, &str> = BTreeMap::new();
        for case in list.lines() {
            cases.entry(case.split_once('[').map_or(case, |(scenario, _)| scenario)).or_insert(case);
        }
        assert!(cases.len() > 40, "{cases:?}");
        let cases: Vec<&str> = cases.into_values().collect();
        let status = host.start(&cases).wait().expect("it ends");
        assert_eq!(status.code(), Some(0));
        assert_eq!(host.check_report("a whole run"), Some(true));
        host.before.check_unchanged(host.directory.path(), "a whole run");
    });
}

#[rstest]
#[case::before_hello(Moment::BeforeHello)]
#[case::mid_fill(Moment::MidFill)]
#[case::holders_alive(Moment::HoldersAlive)]
#[case::report_being_written(Moment::ReportBeingWritten)]
fn a_run_that_is_killed_leaves_the_host_as_it_was(#[case] moment: Moment) {
    in_namespaces(|| check_kills(moment));
}

#[test(Tun)]
fn a_run_that_is_killed_while_a_tun_device_is_open_leaves_the_host_as_it_was() {
    in_namespaces(|| check_kills(Moment::TunOpen));
}

#[test(Nft)]
fn a_run_that_is_killed_while_nft_runs_leaves_the_host_as_it_was() {
    in_namespaces(|| check_kills(Moment::NftRunning));
}

fn check_kills(moment: Moment) {
    let host = Host::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let (run, frozen, _) = host.stopped_at(moment);
        let pid = run.id();
        host.check(run, frozen, pid, signal, &format!("{signal} at {moment:?}"));
    }
    let (run, frozen, process) = host.stopped_at(moment);
    // While the report is written there is nobody else left.
    if process != run.id() {
        host.check(run, frozen, process, Signal::SIGKILL, &format!("SIGKILL of its process at {moment:?}"));
    } else {
        host.check(run, frozen, process, Signal::SIGTERM, &format!("SIGTERM again at {moment:?}"));
    }
}

/// At any moment, of any process. Three times, or as often as ERRNOSCOPE_SOAK says.
#[test]
fn random_kills_leave_the_host_as_it_was() {
    in_namespaces(|| {
        let host = Host::new();
        let count = std::env::var(SOAK).map_or(3, |count| count.parse().expect("ERRNOSCOPE_SOAK is a number"));
        // The same ones each time (a linear congruential generator), so that a failure comes again.
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let scenarios = ["bind.ports-exhausted[protocol=tcp,*,reuse=none,*", "bind.device", "connect.icmp"];
        let begun = Instant::now();
        assert!(host.start(&scenarios).wait().expect("it ends").success());
        let whole = begun.elapsed().as_millis() as usize;
        assert_eq!(host.check_report("a whole run"), Some(true));
        for number in 0..count {
            let mut run = host.start(&scenarios);
            std::thread::park_timeout(Duration::from_millis(random(whole) as u64));
            // One process cannot be stopped while it starts another.
            let frozen = std::iter::repeat_with(|| Frozen::new(&run)).take(100).flatten().next().expect("it stops");
            let alive = frozen.tree.0.iter().filter(|(it, _)| !it.has_ended());
            let alive: Vec<u32> = alive.map(|(it, _)| it.pid).collect();
            if alive.is_empty() {
                // It was faster than the first.
                assert_eq!(host.check_report("a whole run"), Some(true), "{:?}", run.wait());
                continue;
            }
            let process = alive[random(alive.len())];
            let signal = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL][random(3)];
            let signal = if process == run.id() { signal } else { Signal::SIGKILL };
            host.check(run, frozen, process, signal, &format!("{signal} {number} of {process}"));
        }
    });
}
