//! Hosts that refuse what a run needs: nothing of theirs is changed, and what is said is true and of use.

use std::process::{Command, Output, Stdio};

use crate::common::PROGRAM;
use crate::common::refusal::{Refusal, network, without_namespaces};
use crate::harness::{needs, rstest, test};

needs!(Namespaces, Root);

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Where no namespace is to be had, root could write to the host's network: no command does.
#[rstest]
#[case::run(&["run", "-q", "bind.broadcast"], 4)]
#[case::run_a_fill(&["run", "-q", "bind.ports-exhausted", "-x", "family=ipv4", "-x", "protocol=udp"], 0)]
#[case::run_with_packet_filters(&["run", "-q", "connect.filtered"], 4)]
#[case::run_with_routers(&["run", "-q", "connect.icmp"], 4)]
#[case::run_with_sysctls_and_addresses(&["run", "-q", "connect.tuple-held", "-x", "family=ipv4"], 0)]
#[case::doctor(&["doctor"], 0)]
#[case::exec(&["exec", "-c", "ports-exhausted", "-c", "timestamps=on", "--", "true"], 125)]
#[case::exec_on_a_path(&["exec", "--path", "3", "--listen", "80", "--rtt", "10", "--", "true"], 125)]
#[case::shell(&["shell", "-c", "ports-exhausted"], 0)]
#[case::shell_on_a_path(&["shell", "--path", "3"], 125)]
#[case::check(&["check", "errnoscope", "--trouble", "port-of-other-user"], 4)]
#[case::demo(&["trace", "--demo"], 4)]
fn nothing_is_written_to_a_network_that_is_not_ours(#[case] arguments: &[&str], #[case] code: i32) {
    for refusal in [Refusal::Errno(libc::EPERM), Refusal::Errno(libc::ENOSYS), Refusal::Lie] {
        let (before, ran, after) = without_namespaces(refusal, || {
            let before = network();
            let ran = Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().expect("the program starts");
            (before, ran, network())
        });
        for (path, value) in &before {
            assert_eq!(after.get(path), Some(value), "{refusal:?}: {}\n{}", path.display(), said(&ran));
        }
        assert_eq!(ran.status.code(), Some(code), "{refusal:?}: {}", said(&ran));
    }
}

/// Root is not sent to root, and the one thing that is lacking is named once, by its own name.
#[test]
fn what_is_lacking_is_said_once_and_to_whom_it_concerns() {
    let run = |arguments: &[&str]| {
        let run = || Command::new(PROGRAM).args(arguments).env("COLUMNS", "120").output().expect("the program starts");
        said(&without_namespaces(Refusal::Errno(libc::EPERM), run))
    };
    let of_run = run(&["run", "-q", "bind.broadcast"]);
    assert!(of_run.contains("unsupported  network-namespace: there is no network of its own"), "{of_run}");
    assert_eq!(of_run.matches("unsupported  ").count(), 1, "{of_run}");
    assert!(!of_run.contains("run as root"), "{of_run}");
    for text in [run(&["doctor"]), run(&["exec", "--", "true"])] {
        assert!(!text.contains("run as root") && text.contains("RestrictNamespaces"), "{text}");
    }
}

/// A shell that sets a limit, and starts the program with it.
fn limited(limit: &str, arguments: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh", PROGRAM]).args(arguments);
    shell
}

/// What a host has too little of is told; nothing breaks.
#[rstest]
#[case::no_worker("-n 14", "socket.descriptors-exhausted", 4, "only 14 files may be open at once")]
#[case::one_worker(
    "-n 16",
    "socket.descriptors-exhausted",
    0,
    "resources: holding 16 ports takes 16 processes where each may have 16"
)]
#[case::few("-n 20", "socket.descriptors-exhausted", 0, "resources: holding 16 ports")]
#[case::enough("-n 24", "socket.descriptors-exhausted", 0, "")]
#[case::a_holder_for_each_port(
    "-n 65",
    "bind.ports-exhausted",
    0,
    "resources: holding 28232 ports takes 28232 processes"
)]
#[case::some_holders("-n 400", "bind.ports-exhausted", 0, "")]
fn few_descriptors(#[case] limit: &str, #[case] scenario: &str, #[case] code: i32, #[case] message: &str) {
    let choice = ["-x", "protocol=tcp", "-x", "family=ipv4", "-j", "1"];
    let output = limited(limit, &[&["run", "-q", scenario], &choice[..]].concat()).output().expect("sh starts");
    let said = said(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!((output.status.code(), said.contains(message)), (Some(code), true), "{said}");
    assert!(!said.contains("BROKEN"), "{said}");
}

/// Where no thread or process can be had, that is said, and nothing is aborted.
#[rstest]
#[case(1)]
#[case(2)]
#[case(3)]
#[case(4)]
#[case(5)]
#[case(6)]
#[case(8)]
#[case(12)]
fn few_processes(#[case] processes: u32) {
    // A uid of its own for each, since the limit is on all that one has.
    let uid = (64_000 + processes).to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "prlimit", &format!("--nproc={processes}")]);
    let run = [PROGRAM, "run", "-q", "bind.already-bound", "-j", "3"];
    let output = command.args(run).output().expect("setpriv starts");
    let said = said(&output);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}: {said}", output.status);
    assert!(!said.contains("panicked"), "{said}");
}
