//! Hosts that refuse what a run needs: nothing of theirs is changed, and what is said is true and of use.
#![cfg(target_os = "linux")]

mod common;

use std::process::{Command, Output};

use common::PROGRAM;
use common::refusal::{Refusal, network, without_namespaces};
use rstest::rstest;

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Where no namespace is to be had, root could write to the host's network: no command does.
#[rstest]
#[case::run(&["run", "-q", "bind.broadcast"], 4)]
#[case::run_a_fill(&["run", "-q", "bind.ports-exhausted"], 4)]
#[case::run_with_packet_filters_and_routers(&["run", "-q", "connect.*"], 4)]
#[case::doctor(&["doctor"], 4)]
#[case::exec(&["exec", "-c", "ports-exhausted", "-c", "timestamps=on", "--", "true"], 125)]
#[case::exec_on_a_path(&["exec", "--path", "3", "--listen", "80", "--rtt", "10", "--", "true"], 125)]
#[case::shell(&["shell", "-c", "ports-exhausted"], 125)]
#[case::check(&["check", "errnoscope", "--trouble", "port-of-other-user"], 4)]
#[case::demo(&["trace", "--demo"], 4)]
fn nothing_is_written_to_a_network_that_is_not_ours(#[case] arguments: &[&str], #[case] code: i32) {
    for refusal in [Refusal::Errno(libc::EPERM), Refusal::Errno(libc::ENOSYS), Refusal::Lie] {
        let (before, ran, after) = without_namespaces(refusal, || {
            let before = network();
            let ran = Command::new(PROGRAM).args(arguments).output().expect("the program starts");
            (before, ran, network())
        });
        for (path, value) in &before {
            assert_eq!(after.get(path), Some(value), "{refusal:?}: {}\n{}", path.display(), said(&ran));
        }
        assert_eq!(ran.status.code(), Some(code), "{refusal:?}: {}", said(&ran));
    }
}
