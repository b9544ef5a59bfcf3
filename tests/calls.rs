//! `errnoscope exec --trace`: which calls are seen, of whom, and what is said about them.

mod common;

use std::process::{Command, Output, Stdio};

use common::PROGRAM;
use errnoscope::calls::{self, Calls, Record};
use errnoscope::cause::Cause;
use errnoscope::names::{Call, PortChoice, Reuse};
use rstest::rstest;

fn exec(options: &[&str], command: &[&str]) -> (Output, Calls) {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("calls.json");
    let mut exec = Command::new(PROGRAM);
    exec.arg("exec").args(options).arg("--json").arg(&json).arg("--").args(command);
    let output = exec.stdin(Stdio::null()).output().unwrap();
    let text = std::fs::read(&json).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    jsonschema::validator_for(&calls::schema()).unwrap().validate(&value).unwrap();
    (output, serde_json::from_value(value).unwrap())
}

/// Python, because everybody knows what its calls are.
fn python(options: &[&str], script: &str) -> Vec<Record> {
    let script = format!("import os, socket, sys, threading\n{script}");
    let (output, calls) = exec(options, &["python3", "-c", &script]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    calls.calls
}

fn said(records: &[Record]) -> Vec<(Call, &str)> {
    records.iter().map(|record| (record.call, record.outcome.name())).collect()
}

#[test]
fn a_call_is_told_with_its_port_and_its_options() {
    let script = "
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', 4000))
s.setblocking(False)
s.connect_ex(('127.0.0.1', 9))
s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
t = socket.socket(socket.AF_INET6)
t.bind(('::1', 0))
t.listen()
u = socket.socket(type=socket.SOCK_DGRAM)
u.sendto(b'x', ('127.0.0.1', 9))
";
    let calls = python(&[], script);
    assert_eq!(
        said(&calls),
        [
            (Call::Socket, "ok"),
            (Call::Setsockopt, "ok"),
            (Call::Bind, "ok"),
            (Call::Connect, "EINPROGRESS"),
            (Call::SoError, "ECONNREFUSED"),
            (Call::Socket, "ok"),
            (Call::Bind, "ok"),
            (Call::Listen, "ok"),
            (Call::Socket, "ok"),
            (Call::Sendto, "ok"),
        ],
        "{calls:#?}"
    );
    assert_eq!(calls[1].option.as_deref(), Some("SO_REUSEADDR = 1"));
    let connect = &calls[3];
    assert_eq!((connect.reuse, connect.port), (Some(Reuse::Addr), PortChoice::Explicit));
    assert_eq!(connect.local, "127.0.0.1:4000".parse().ok());
    assert_eq!(connect.address, "127.0.0.1:9".parse().ok());
    assert_eq!(calls[4].causes, [Cause::Refused]);
    assert_eq!((calls[6].port, calls[7].port), (PortChoice::Ephemeral, PortChoice::Ephemeral));
    assert!(calls[9].local.is_some(), "what sendto() chose");
}

const CONNECT: &str = "
def connect():
    try: socket.create_connection(('127.0.0.1', 9))
    except OSError: pass
";

#[rstest]
#[case::threads(
    "ts = [threading.Thread(target=connect) for _ in range(4)]\nfor t in ts: t.start()\nfor t in ts: t.join()",
    4
)]
#[case::forks("for _ in range(4):\n  if os.fork() == 0: connect(); os._exit(0)\nfor _ in range(4): os.wait()", 4)]
#[case::a_fork_of_a_thread(
    "def f():\n  if os.fork() == 0: connect(); os._exit(0)\n  os.wait()\nt = threading.Thread(target=f); t.start(); t.join()",
    1
)]
#[case::exec_of_a_thread(
    "def f(): os.execvp('python3', ['python3', '-c', 'import socket; socket.socket().connect_ex((\"127.0.0.1\", 9))'])\nt = threading.Thread(target=f); t.start(); t.join()",
    1
)]
#[case::vfork(
    "os.posix_spawnp('python3', ['python3', '-c', 'import socket; socket.socket().connect_ex((\"127.0.0.1\", 9))'], os.environ); os.wait()",
    1
)]
#[case::an_orphan(
    "if os.fork() == 0:\n  if os.fork() == 0: connect(); os.write(1, b'x')\n  os._exit(0)\nos.wait()\nimport time; time.sleep(0.5)",
    1
)]
fn everybody_is_seen(#[case] script: &str, #[case] expected: usize) {
    let calls = python(&[], &format!("{CONNECT}\n{script}"));
    let connects: Vec<&Record> = calls.iter().filter(|record| record.call == Call::Connect).collect();
    assert_eq!(connects.len(), expected, "{calls:#?}");
    assert!(connects.iter().all(|record| record.outcome.name() == "ECONNREFUSED"), "{connects:#?}");
}

#[test]
fn what_is_no_internet_socket_is_nobodys_business() {
    let script = "
a, b = socket.socketpair()
u = socket.socket(socket.AF_UNIX)
try: u.connect('/nowhere')
except OSError: pass
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
n.bind((0, 0))
";
    assert_eq!(said(&python(&[], script)), []);
}

#[test]
fn lines_come_after_the_commands_output() {
    let mut exec = Command::new(PROGRAM);
    let script = "echo said; echo complained >&2; exec 3<>/dev/tcp/127.0.0.1/9";
    let arguments = ["exec", "-c", "ports-exhausted,range=40000-40001", "--trace", "--", "bash", "-c", script];
    let output = exec.args(arguments).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.stdout, b"said\n");
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(complained.starts_with("complained\n"), "{complained}");
    assert!(complained.contains("2 calls of 1 process on internet sockets, 1 failed"), "{complained}");
    assert!(complained.contains("127.0.0.1:9 EADDRNOTAVAIL: ports-exhausted"), "{complained}");
    assert!(complained.lines().all(|line| line.chars().count() <= 80), "{complained}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_program_that_is_traced_can_be_stopped_and_killed() {
    let (output, _) = exec(&["--timeout", "0.3"], &["sh", "-c", "kill -STOP $$"]);
    assert_eq!(output.status.code(), Some(124));
    let (output, calls) = exec(&[], &["sh", "-c", "kill -9 $$"]);
    assert_eq!((output.status.code(), calls.exit_code), (Some(137), 137));
}
