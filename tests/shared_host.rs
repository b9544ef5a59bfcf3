//! Hosts without namespaces, such as containers: cases run on the loopback that everybody has, and nothing of it is
//! changed, whoever is there as well and however the run ends.

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use errnoscope::report::finding::{Report, Verdict};

use crate::common::PROGRAM;
use crate::common::refusal::{Refusal, network, without_namespaces, without_namespaces_and};
use crate::harness::{needs, rstest, test};

needs!(Namespaces, Root);

/// The program, started by a user without privileges, or by root without any.
fn program(ordinary: bool) -> Command {
    let mut command = Command::new("setpriv");
    match ordinary {
        true => command.args(["--reuid", "64321", "--regid", "64321", "--clear-groups"]),
        false => command.args(["--inh-caps=-all", "--bounding-set=-all"]),
    };
    command.arg(PROGRAM);
    command
}

fn command(ordinary: bool, arguments: &[&str]) -> Command {
    let mut command = program(ordinary);
    command.args(["run", "-q"]).args(arguments);
    command
}

/// Cases of each kind that runs there, and of each that does not.
const SELECTION: &[&str] = &[
    "bind.already-bound",
    "bind.inherited",
    "bind.port-held-by-other-user",
    "bind.ports-exhausted",
    "bind.unix-*",
    "connect.after-refusal",
    "connect.filtered",
    "connect.odd-range",
    "connect.self",
    "connect.unix-*",
    "connect.wildcard",
    "socket.descriptors-exhausted",
];

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn report(output: &Output) -> Report {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// What a run on such a host may leave: nothing but an empty journal.
fn is_clean() {
    for entry in std::fs::read_dir("/tmp").expect("/tmp").flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        assert!(!name.starts_with("errnoscope-case-"), "{name} was left");
    }
    for journal in ["/run/errnoscope.journal", "/tmp/errnoscope-64321.journal"] {
        let text = std::fs::read_to_string(journal).unwrap_or_default();
        assert!(text.lines().count() <= 1, "{journal}: {text}");
    }
}

/// How many findings have which verdict; none is a fault.
#[track_caller]
fn verdicts(report: &Report) -> BTreeMap<Verdict, usize> {
    let mut verdicts = BTreeMap::new();
    for finding in &report.findings {
        *verdicts.entry(finding.verdict()).or_default() += 1;
        let is_good = matches!(finding.verdict(), Verdict::Match | Verdict::Unsupported);
        assert!(is_good, "{}: {:?} {:?}", finding.case, finding.verdict(), finding.missing());
    }
    verdicts
}

#[rstest]
#[case::root(false, Refusal::Errno(libc::EPERM))]
#[case::a_user(true, Refusal::Errno(libc::EPERM))]
#[case::a_sandbox_that_kills(true, Refusal::Kill)]
fn a_container_makes_findings_and_changes_nothing(#[case] ordinary: bool, #[case] refusal: Refusal) {
    let (before, ran, after) = without_namespaces(refusal, || {
        let before = network();
        let ran = command(ordinary, &[SELECTION, &["--json", "-"]].concat()).output().expect("setpriv starts");
        (before, ran, network())
    });
    for (path, value) in &before {
        assert_eq!(after.get(path), Some(value), "{}\n{}", path.display(), said(&ran));
    }
    assert!(ran.status.success(), "{}: {}", ran.status, said(&ran));
    let report = report(&ran);
    assert_eq!(report.host.isolation, "none");
    let capability = &report.host.capabilities[&errnoscope::words::names::Need::NetworkNamespace];
    let reason = capability.reason.as_ref().expect("there is none, and why").as_str();
    assert!(!capability.available && reason.contains("unshare("), "{reason}");
    let verdicts = verdicts(&report);
    // Of these, most of the cases that do not run are about another user.
    let supported = verdicts[&Verdict::Match];
    assert!(supported > 200 && verdicts[&Verdict::Unsupported] < 2 * supported, "{verdicts:?}");
    is_clean();
}

/// Sockets of others are there before, come in between, and go: that is nobody's mismatch.
#[test]
fn a_busy_host_makes_no_false_findings() {
    let stop = AtomicBool::new(false);
    let ran = without_namespaces(Refusal::Errno(libc::EPERM), || {
        // Ports that cases would take, and ephemeral ones.
        let named = (0..500).filter_map(|index| TcpListener::bind(("127.0.0.1", 20_000 + 13 * index)).ok());
        let others: Vec<TcpListener> =
            named.chain((0..500).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))).collect();
        assert!(others.len() > 900, "{}", others.len());
        let mut child = command(
            true,
            &["bind.inherited", "bind.ports-exhausted", "connect.after-refusal", "connect.self", "--json", "-"],
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv starts");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut port = 1_024_u16;
                while !stop.load(Ordering::Relaxed) {
                    // As cases name them, a moment each.
                    port = port.checked_add(101).unwrap_or(1_024);
                    let held = (TcpListener::bind(("0.0.0.0", port)), UdpSocket::bind(("0.0.0.0", port)));
                    std::thread::sleep(Duration::from_micros(500));
                    drop(held);
                }
            });
            let mut output = Vec::new();
            std::io::Read::read_to_end(&mut child.stdout.take().expect("a pipe"), &mut output).expect("read");
            stop.store(true, Ordering::Relaxed);
            let ended = child.wait_with_output().expect("it ends");
            Output { stdout: output, ..ended }
        })
    });
    assert!(ran.status.success(), "{}: {}", ran.status, said(&ran));
    verdicts(&report(&ran));
    is_clean();
}

/// As a container whose files cannot be changed.
#[rstest]
#[case::nothing_can_be_written(&["/tmp", "/run", "/dev/shm", "/var/tmp"], "no directory for temporary files")]
#[case::memory_can(&["/tmp", "/run"], "Read-only file system")]
fn where_no_file_can_be_written_only_its_cases_are_missing(#[case] read_only: &[&str], #[case] told: &str) {
    // This program may be below one of them.
    let mounts = read_only.iter().flat_map(|path| [vec!["--bind", path, path], vec!["-o", "remount,bind,ro", path]]);
    let mounts: Vec<Vec<&str>> = mounts.collect();
    let mounts: Vec<&[&str]> = mounts.iter().map(|arguments| &**arguments).collect();
    for ordinary in [false, true] {
        let ran = without_namespaces_and(&mounts, Refusal::Errno(libc::EPERM), || {
            command(ordinary, &["bind.already-bound", "bind.unix-*", "--json", "-"]).output().expect("setpriv starts")
        });
        assert!(ran.status.success(), "{}: {}", ran.status, said(&ran));
        let verdicts = verdicts(&report(&ran));
        assert!(verdicts[&Verdict::Match] >= 42, "{verdicts:?}");
        assert!(said(&ran).contains(told), "{told} is not told");
    }
    is_clean();
}

#[test]
fn a_hidden_proc_is_told() {
    let ran = without_namespaces_and(&[&["-t", "tmpfs", "none", "/proc"]], Refusal::Errno(libc::EPERM), || {
        command(true, &["bind.already-bound"]).output().expect("setpriv starts")
    });
    let said = said(&ran);
    assert_eq!(ran.status.code(), Some(4), "{said}");
    assert!(said.contains("there is no /proc; mount it"), "{said}");
}

/// Of one user, of two, and where they do not see each other's files.
#[rstest]
#[case::of_a_user(true, "/tmp", "another errnoscope (process ")]
#[case::of_two_users(false, "/tmp", "another errnoscope, of another user or container")]
#[case::of_two_places(true, "/dev/shm", "another errnoscope, of another user or container")]
fn two_at_once_are_one_too_many(#[case] ordinary: bool, #[case] place: &str, #[case] told: &str) {
    without_namespaces(Refusal::Errno(libc::EPERM), || {
        let first = command(true, &["bind.port-held"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut first = first.expect("setpriv starts");
        wait_for_worker();
        let mut second = command(ordinary, &["bind.already-bound"]);
        let second = second.env("TMPDIR", place).output().expect("setpriv starts");
        let said = said(&second);
        assert_eq!(second.status.code(), Some(4), "{said}");
        assert!(said.contains(told), "{said}");
        interrupt(&mut first);
    });
    is_clean();
}

/// Whatever is killed, nothing goes on, and what is left the next run undoes.
#[rstest]
#[case::interrupt(libc::SIGINT)]
#[case::terminate(libc::SIGTERM)]
#[case::kill(libc::SIGKILL)]
fn a_run_that_is_killed_leaves_the_host_as_it_was(#[case] signal: i32) {
    without_namespaces(Refusal::Errno(libc::EPERM), || {
        let before = network();
        for moment in [5, 30, 80, 170] {
            let mut run = command(true, &["bind.unix-*", "connect.unix-*", "bind.inherited", "bind.ports-exhausted"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("setpriv starts");
            wait_for_worker();
            std::thread::sleep(Duration::from_millis(moment));
            // SAFETY: it is a child of this process, and not waited for yet.
            unsafe { libc::kill(run.id() as i32, signal) };
            let ended = run.wait().expect("it ends");
            assert!(signal != libc::SIGKILL || ended.signal() == Some(signal) || ended.success(), "{ended}");
            let deadline = Instant::now() + Duration::from_secs(20);
            while !workers().is_empty() {
                assert!(Instant::now() < deadline, "still there: {:?}", workers());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let next = command(true, &["bind.unix-path"]).output().expect("setpriv starts");
        assert!(next.status.success(), "{}: {}", next.status, said(&next));
        let after = network();
        for (path, value) in &before {
            assert_eq!(after.get(path), Some(value), "{}", path.display());
        }
    });
    is_clean();
}

#[test]
fn every_ephemeral_port_is_taken_only_if_asked_for() {
    let case =
        ["bind.ports-exhausted", "-x", "range=default", "-x", "protocol=tcp", "-x", "family=ipv4", "--json", "-"];
    let (careful, reckless) = without_namespaces(Refusal::Errno(libc::EPERM), || {
        let run = |arguments: &[&str]| command(true, arguments).output().expect("setpriv starts");
        (run(&case), run(&[&case[..], &["--exhaust-host"]].concat()))
    });
    let counts = [careful, reckless].map(|output| verdicts(&report(&output)).get(&Verdict::Match).copied());
    assert!(counts[0].is_none() && counts[1].is_some_and(|count| count > 0), "{counts:?}");
    is_clean();
}

/// Where there is not even a loopback, that is what is said.
#[test]
fn a_network_that_nobody_has_set_up_is_told() {
    let (ran, doctor) = without_namespaces(Refusal::Errno(libc::EPERM), || {
        let down = Command::new("ip").args(["link", "set", "lo", "down"]).status().expect("ip starts");
        assert!(down.success());
        let ran = command(true, &["bind.already-bound"]).env("COLUMNS", "200").output().expect("setpriv starts");
        (ran, Command::new(PROGRAM).arg("doctor").env("COLUMNS", "200").output().expect("it starts"))
    });
    for (output, code) in [(ran, 4), (doctor, 4)] {
        let said = said(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("the loopback interface does not work") && said.contains("ip link set lo up"), "{said}");
    }
}

/// Also in a container a command meets a port that is held, or none that is left.
#[rstest]
#[case::held(&["-c", "port-held=28080"], "s.bind(('127.0.0.1', 28080))", 98)]
#[case::time_wait(&["-c", "port-held=28080,state=time-wait"], "s.bind(('127.0.0.1', 28080))", 98)]
#[case::many(&["-c", "ports-held=28100-28200"], "s.bind(('127.0.0.1', 28150))", 98)]
#[case::none_left(&["-c", "ports-exhausted"], "s.bind(('127.0.0.1', 0))", 98)]
#[case::none_left_to_connect(&["-c", "ports-exhausted"], "s.connect(('127.0.0.1', 1))", 99)]
#[case::no_descriptor(&["-c", "descriptors-exhausted=20"], "[socket.socket() for _ in range(21)]", 24)]
fn a_command_meets_conditions_without_namespaces(#[case] conditions: &[&str], #[case] call: &str, #[case] errno: i32) {
    let python =
        format!("import socket, sys\ns = socket.socket()\ntry: {call}\nexcept OSError as error: sys.exit(error.errno)");
    for ordinary in [false, true] {
        let (before, ran, after) = without_namespaces(Refusal::Errno(libc::EPERM), || {
            let before = network();
            let mut exec = program(ordinary);
            let ran = exec.arg("exec").args(conditions).args(["--", "python3", "-c", &python]).output();
            let ran = ran.expect("setpriv starts");
            (before, ran, network())
        });
        assert_eq!(ran.status.code(), Some(errno), "{ordinary}: {}", said(&ran));
        for (path, value) in &before {
            assert_eq!(after.get(path), Some(value), "{}", path.display());
        }
    }
    is_clean();
}

#[rstest]
#[case::icmp(&["exec", "-c", "icmp=3/1,for=192.0.2.0/24"])]
#[case::sysctl(&["exec", "-c", "tw-reuse=1"])]
#[case::route(&["exec", "-c", "no-route=192.0.2.0/24"])]
#[case::path(&["exec", "--path", "1"])]
#[case::server(&["exec", "--listen", "80"])]
fn what_takes_a_network_of_the_commands_own_is_refused(#[case] arguments: &[&str]) {
    let ran = without_namespaces(Refusal::Errno(libc::EPERM), || {
        Command::new(PROGRAM).args(arguments).args(["--", "true"]).output().expect("it starts")
    });
    let said = said(&ran);
    assert_eq!(ran.status.code(), Some(125), "{said}");
    assert!(said.contains("a network of the command's own; unshare(") && said.contains("--privileged"), "{said}");
}

/// Processes of the program in this thread's network, but those of the run itself.
fn workers() -> Vec<u32> {
    let own = std::fs::read_link("/proc/thread-self/ns/net").expect("/proc");
    let mut workers = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let place = Path::new("/proc").join(pid.to_string());
        let line = std::fs::read(place.join("cmdline")).unwrap_or_default();
        let is_worker = line.split(|byte| *byte == 0).nth(1) == Some(b"worker");
        if is_worker && std::fs::read_link(place.join("ns/net")).is_ok_and(|network| network == own) {
            workers.push(pid);
        }
    }
    workers
}

#[track_caller]
fn wait_for_worker() {
    let deadline = Instant::now() + Duration::from_secs(20);
    while workers().is_empty() {
        assert!(Instant::now() < deadline, "no worker came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn interrupt(run: &mut Child) {
    // SAFETY: it is a child of this process, and not waited for yet.
    unsafe { libc::kill(run.id() as i32, libc::SIGINT) };
    run.wait().expect("it ends");
}
