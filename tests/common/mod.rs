//! What the kernel tests share: running scenario texts on real workers.

pub mod golden;
#[cfg(target_os = "linux")]
pub mod refusal;
pub mod reports;
pub mod said;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;

use errnoscope::report::finding::Finding;
use errnoscope::scenario::cases;
use errnoscope::suite::catalogue::Catalogue;
use errnoscope::suite::runner::{self, CaseRun, Place, Ran, Settings};
use errnoscope::words::moment::Moment;
use errnoscope::words::names::Family;

use proptest::test_runner::Config as ProptestConfig;

use crate::harness::STARTED;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_errnoscope");

/// A process of a test has this in its environment, with the test's own value.
pub const MARK: &str = "ERRNOSCOPE_TEST_MARK";

/// Usually so many inputs, and ERRNOSCOPE_FUZZ times as many where that is set.
pub fn tries(usual: u32) -> ProptestConfig {
    let times = std::env::var("ERRNOSCOPE_FUZZ").map_or(1, |times| times.parse().expect("ERRNOSCOPE_FUZZ is a number"));
    ProptestConfig { cases: usual * times, failure_persistence: None, ..ProptestConfig::default() }
}

/// A copy of a program that can be started at once. One that this process writes itself is busy (ETXTBSY) for as long
/// as a child that another test forks meanwhile has not become its own program.
#[track_caller]
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let copied = Command::new("cp").arg(from.as_ref()).arg(to.as_ref()).status().expect("cp starts");
    assert!(copied.success(), "{} is copied", from.as_ref().display());
}

/// Runs the body in the world that these options of `errnoscope exec` make, in another process. To be called once by a
/// test, as all that it does.
#[track_caller]
pub fn inside(options: &[&str], body: impl FnOnce()) {
    let mut exec = Command::new(PROGRAM);
    exec.arg("exec").args(options).arg("--");
    start_again(&mut exec, body);
}

/// Runs the body in a process that does nothing else. To be called once by a test, as all that it does.
#[track_caller]
pub fn alone(body: impl FnOnce()) {
    start_again(&mut Command::new("env"), body);
}

/// Runs the body in network, PID and mount namespaces of its own, where /proc shows nobody else. To be called once by a
/// test, as all that it does.
#[track_caller]
pub fn in_namespaces(body: impl FnOnce()) {
    let mut unshare = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("--map-current-user");
    }
    unshare.args(["--net", "--pid", "--mount-proc", "--fork", "--kill-child"]);
    // The shell is pid 1: it waits for whoever has lost its parent.
    start_again(unshare.args(["sh", "-c", "\"$@\"; exit $?", "sh"]), body);
}

/// Starts this test's program again behind a command, for this test alone.
#[track_caller]
fn start_again(command: &mut Command, body: impl FnOnce()) {
    if std::env::var_os(STARTED).is_some() {
        return body();
    }
    let thread = std::thread::current();
    let test = thread.name().expect("a test's thread has its name");
    let output = only(command.env(STARTED, "1"), test);
    let [said, complained] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{test} by {command:?}: {}\n{said}\n{complained}", output.status);
    // A name that selects no test would succeed as well.
    assert!(said.contains("test result: ok. 1 passed"), "{test} did not run:\n{said}");
}

/// Runs one test of this program behind a command.
pub fn only(command: &mut Command, test: &str) -> Output {
    command
        .arg(std::env::current_exe().expect("this program is somewhere"))
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// Processes of this machine that have a mark, as /proc has them.
pub fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let has_mark = |path: &PathBuf| {
        std::fs::read(path.join("environ"))
            .is_ok_and(|text| text.split(|byte| *byte == 0).any(|it| it == wanted.as_bytes()))
    };
    processes.filter(has_mark).map(|path| path.display().to_string()).collect()
}

/// Where router `number` of a path answers; with one more than there are routers, the server.
pub fn hop(number: usize, family: Family) -> IpAddr {
    let link = number - 1;
    let text = match family {
        Family::Ipv4 => format!("10.77.{link}.2"),
        Family::Ipv6 => format!("fd77:0:0:{link}::2"),
    };
    text.parse().expect("an address")
}

/// When every run of a test began.
pub fn started() -> Moment {
    "2026-11-22T17:16:08Z".parse().expect("a time")
}

/// Every case that is not slow, on two workers.
pub fn run_all(catalogue: &Catalogue) -> Ran {
    let mut items = Vec::new();
    for (index, scenario) in catalogue.scenarios.iter().enumerate() {
        for case in cases(scenario).filter(|case| !scenario.is_slow(case)) {
            items.push(CaseRun { scenario: index, case, slow: false });
        }
    }
    let settings = Settings::new(Place::Here(Path::new(PROGRAM).to_owned()), 2.try_into().expect("two is not zero"));
    let ran = runner::run(catalogue, &items, &settings, &AtomicBool::new(false), |_| {}).expect("workers start");
    assert!(
        ran.hello.capabilities.values().any(|capability| capability.available) && ran.hello.isolation == "netns",
        "no network namespace to be had, so nothing was tested: run as root or enable user namespaces (errnoscope doctor)"
    );
    ran
}

/// The findings of one scenario text.
#[track_caller]
pub fn findings(text: &str) -> Vec<Finding> {
    run_all(&catalogue(text)).findings
}

#[track_caller]
pub fn catalogue(text: &str) -> Catalogue {
    let text: &'static str = String::leak(text.to_owned());
    let catalogue = Catalogue::read(&[("test.toml".to_owned(), text)]);
    let catalogue = catalogue.unwrap_or_else(|problems| panic!("{}", problems[0]));
    if let Some(problem) = errnoscope::suite::catalogue::check(&catalogue).first() {
        panic!("{problem}");
    }
    catalogue
}
