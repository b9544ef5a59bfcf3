//! Host safety: a run leaves the host as it was, also when it is interrupted or killed at any moment.

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{needs, test};

const PROGRAM: &str = env!("CARGO_BIN_EXE_errnoscope");

needs!(Namespaces);

/// Everything of the host that a run could leave changed.
#[derive(Debug, PartialEq)]
struct Picture {
    sysctls: BTreeMap<PathBuf, String>,
    sockets: BTreeMap<&'static str, BTreeSet<String>>,
    routes: BTreeMap<&'static str, BTreeSet<String>>,
    links: BTreeSet<String>,
    named_namespaces: BTreeSet<String>,
    /// Network, PID and user namespaces of processes that run our program.
    namespaces: BTreeSet<String>,
    /// Processes that run our program.
    processes: BTreeSet<u32>,
    files: BTreeSet<PathBuf>,
}

/// Every kind of process: workers, their init processes, cases, holders of a fill. For runs that go on to their end.
const PART: &[&str] = &["connect.*", "bind.ports-exhausted"];

/// What changes by itself, whoever runs what.
const RESTLESS: &[&str] = &["netdev_rss_key", "stat", "conntrack_count", "route/gc", "flush"];

fn picture(directory: &Path) -> Picture {
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
    let processes = ours();
    let kinds = ["net", "pid", "user"];
    let namespace = |pid: &u32, kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    Picture {
        sysctls,
        // Local address, remote address and state; what counts is that no socket is added.
        sockets: ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"].map(|table| (table, columns(table, 1..4))).into(),
        routes: ["route", "ipv6_route"].map(|table| (table, columns(table, 0..4))).into(),
        links: names(Path::new("/sys/class/net")),
        named_namespaces: names(Path::new("/run/netns")),
        namespaces: processes
            .iter()
            .flat_map(|pid| kinds.map(|kind| namespace(pid, kind)))
            .flatten()
            .map(|link| link.to_string_lossy().into_owned())
            .collect(),
        processes,
        files,
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
    let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
    let row = |line: &str| line.split_whitespace().skip(range.start).take(range.len()).collect::<Vec<_>>().join(" ");
    text.lines().skip(1).map(row).collect()
}

/// Processes whose program is ours, wherever they run.
fn ours() -> BTreeSet<u32> {
    let program = std::fs::canonicalize(PROGRAM).expect("the program is there");
    let is_ours = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    names(Path::new("/proc")).iter().filter_map(|name| name.parse().ok()).filter(is_ours).collect()
}

/// After a kill the kernel takes everything down in its own time, which is short.
#[track_caller]
fn check_unchanged(before: &Picture, directory: &Path, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ours().is_empty() && Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let after = picture(directory);
    assert_eq!(after.processes, before.processes, "{what}: processes are left");
    for (name, value) in &before.sysctls {
        assert_eq!(after.sysctls.get(name), Some(value), "{what}: {} changed", name.display());
    }
    for (table, rows) in &after.sockets {
        let new: Vec<&String> = rows.difference(&before.sockets[table]).collect();
        assert!(new.is_empty(), "{what}: sockets are left in {table}: {new:?}");
    }
    assert_eq!(after.routes, before.routes, "{what}: routes");
    assert_eq!(after.links, before.links, "{what}: links");
    assert_eq!(after.named_namespaces, before.named_namespaces, "{what}: named namespaces");
    assert_eq!(after.namespaces, before.namespaces, "{what}: namespaces");
    let new: Vec<&PathBuf> = after.files.difference(&before.files).collect();
    assert!(new.is_empty(), "{what}: files are left: {new:?}");
}

/// A run of these scenarios, of all where none is named.
fn start(report: &Path, scenarios: &[&str]) -> Child {
    let child = Command::new(PROGRAM)
        .env("TMPDIR", report.with_file_name("tmp"))
        .args(["run", "--quiet", "--json"])
        .arg(report)
        .args(scenarios)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.expect("the program starts")
}

fn signal(pid: u32, name: &str) {
    // The process may be gone already, which is as good.
    let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Moments spread over a run, the same ones each time (a linear congruential generator, so that a failure comes again).
fn moments(seed: u64, longest: Duration) -> impl Iterator<Item = Duration> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        longest.mul_f64((state >> 11) as f64 / (1_u64 << 53) as f64)
    })
}

/// One test, so that no other run is under way while a picture is taken.
#[test]
fn a_run_leaves_the_host_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let report = directory.path().join("report.json");
    std::fs::create_dir(directory.path().join("tmp")).expect("a directory");
    let before = picture(directory.path());

    let begun = Instant::now();
    let status = start(&report, &[]).wait().expect("it ends");
    let whole = begun.elapsed();
    assert!(status.success(), "the suite passes: {status}");
    std::fs::remove_file(&report).expect("the report was written");
    check_unchanged(&before, directory.path(), "a whole run");

    for (count, moment) in moments(1, whole).take(20).enumerate() {
        let mut child = start(&report, &[]);
        std::thread::park_timeout(moment);
        signal(child.id(), "-INT");
        let status = child.wait().expect("it ends");
        let what = format!("SIGINT {count} after {moment:?}");
        if report.exists() {
            let text = std::fs::read(&report).expect("readable");
            let read: errnoscope::finding::Report =
                serde_json::from_slice(&text).expect("an interrupted run's report is whole");
            assert_eq!(read.complete, status.success(), "{what}: {status}");
            std::fs::remove_file(&report).expect("removable");
        } else {
            // Only before the run had begun.
            assert!(!status.success(), "{what}: {status} without a report");
        }
        check_unchanged(&before, directory.path(), &what);
    }

    for (count, moment) in moments(2, whole).take(20).enumerate() {
        let mut child = start(&report, &[]);
        std::thread::park_timeout(moment);
        signal(child.id(), "-KILL");
        child.wait().expect("it ends");
        let _ = std::fs::remove_file(&report);
        check_unchanged(&before, directory.path(), &format!("SIGKILL {count} after {moment:?}"));
    }

    let begun = Instant::now();
    assert!(start(&report, PART).wait().expect("it ends").success(), "a part of the suite passes");
    let part = begun.elapsed();
    for (count, moment) in moments(3, part).take(20).enumerate() {
        let mut child = start(&report, PART);
        std::thread::park_timeout(moment);
        // Any process of the tree but its root: workers, their init processes, cases, holders.
        let below: Vec<u32> = ours().into_iter().filter(|&pid| pid != child.id()).collect();
        if let Some(&victim) = below.get(count % below.len().max(1)) {
            signal(victim, "-KILL");
        }
        let status = child.wait().expect("it ends");
        let what = format!("SIGKILL {count} of a descendant after {moment:?}");
        assert!(matches!(status.code(), Some(0 | 4)), "{what}: {status}");
        let text = std::fs::read(&report).expect("the rest was reported");
        let read: errnoscope::finding::Report = serde_json::from_slice(&text).expect("the report is whole");
        assert!(read.complete, "{what}: one case is broken and none is lost");
        std::fs::remove_file(&report).expect("removable");
        check_unchanged(&before, directory.path(), &what);
    }
}

fn main() -> std::process::ExitCode {
    harness::main()
}
