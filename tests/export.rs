//! Policies as code: in each language what comes out compiles without a warning, and decides as the policy does.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use errnoscope::knowledge::policy::{self, Action, BUILT_IN, Policy, ProbeCall, Signal};
use errnoscope::words::names::{Family, Os, PortChoice, Protocol, Reuse};

use crate::common::said::run;
use crate::harness::test;

/// What each line of standard input is about: places of words in their lists, and an errno's number.
fn lines(signals: &[Signal]) -> String {
    fn place<T: PartialEq>(all: &[T], value: &T) -> usize {
        all.iter().position(|known| known == value).expect("it is one of all")
    }
    let mut lines = String::new();
    for Signal { os, call, port, protocol, family, reuse, errno } in signals {
        let number = errno.raw(*os).expect("the OS has it");
        let (os, call) = (place(Os::ALL, os), place(ProbeCall::ALL, call));
        let (port, protocol) = (place(PortChoice::ALL, port), place(Protocol::ALL, protocol));
        let (family, reuse) = (place(Family::ALL, family), place(Reuse::ALL, reuse));
        writeln!(lines, "{os} {call} {port} {protocol} {family} {reuse} {number}").expect("a string");
    }
    lines
}

/// Compiles what is exported with a program that reads such lines, and gives the command that runs it.
fn built(language: &str, policy: &str, place: &Path) -> Command {
    let write = |name: &str, text: &str| std::fs::write(place.join(name), text).expect("written");
    let export = |name: &str| {
        let file = place.join(name);
        let output = file.to_str().expect("UTF-8");
        run(&["policy", "export", policy, "--lang", language, "-o", output]).check(0, &[], &[]);
    };
    let compile = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(place).output().expect("a compiler");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{policy}: {said}");
    };
    let mut command = Command::new(place.join("program"));
    match language {
        "rust" => {
            export("policy.rs");
            write("main.rs", RUST);
            compile("rustc", &["--edition=2021", "-Dwarnings", "-Adead_code", "main.rs", "-o", "program"]);
        }
        "c" => {
            export("policy.h");
            write("main.c", C);
            compile("cc", &["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "main.c", "-o", "program"]);
        }
        "go" => {
            std::fs::create_dir(place.join("policy")).expect("a directory");
            export("policy/policy.go");
            write("go.mod", "module program\n\ngo 1.21\n");
            write("main.go", GO);
            compile("go", &["vet", "./..."]);
            compile("go", &["build", "-o", "program", "."]);
        }
        _ => {
            export("policy.py");
            write("main.py", PYTHON);
            command = Command::new("python3");
            command.args(["-W", "error", "main.py"]).current_dir(place);
        }
    }
    command
}

#[track_caller]
fn decides_alike(language: &str, name: &str, policy: &Policy) {
    let place = tempfile::tempdir().expect("a directory");
    let mut command = built(language, name, place.path());
    let signals: Vec<Signal> = Signal::all().collect();
    assert!(signals.len() > 10_000, "{}", signals.len());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let text = lines(&signals);
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads everything");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(said.lines().count(), signals.len());
    for (signal, said) in signals.iter().zip(said.lines()) {
        let wanted = policy.decide(signal).1;
        let place = Action::ALL.iter().position(|action| *action == wanted).expect("it is one of all");
        assert!(said == wanted.as_str() || said == place.to_string(), "{name} {signal}: {said}, and not {wanted}");
    }
}

/// Each policy of this program, for each signal that there can be, which are those of all findings and more.
#[track_caller]
fn each_decides_alike(language: &str) {
    for (name, _) in BUILT_IN {
        let policy = policy::built_in(name).expect("it is built in").expect("it is sound");
        decides_alike(language, name, &policy);
    }
    written_decides_alike(language, STRANGE);
    for rules in ["", "[[rule]]\ncall = \"bind\"\naction = \"skip\"\nwhy = \"a\"\n"] {
        written_decides_alike(language, &format!("{FEW}{rules}[[rule]]\naction = \"abort\"\nwhy = \"b\"\n"));
    }
}

/// The same of a policy that somebody wrote.
#[track_caller]
fn written_decides_alike(language: &str, text: &str) {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("mine.toml");
    std::fs::write(&file, text).expect("written");
    let name = file.to_str().expect("UTF-8");
    let policy = policy::read(name, text.to_owned().leak()).unwrap_or_else(|problem| panic!("{problem}"));
    decides_alike(language, name, &policy);
}

/// What looks like code stays in comments.
const STRANGE: &str = r#"
format = "errnoscope-policy/2"
name = "mine*/"
why = "one\nexit(1) \r exit(2) \u2028 */ \u202e ??/ \\"
[[rule]]
call = ["bind", "connect"]
reuse = ["addr", "both"]
action = "skip"
why = "two\\\n}\nexit(3)\\"
[[rule]]
action = "abort"
why = "\"\"\""
"#;

/// Nothing of it names an errno.
const FEW: &str = "format = \"errnoscope-policy/2\"\nname = \"few\"\nwhy = \"few rules\"\n";

#[test]
fn what_is_exported_to_rust_decides_as_the_policy_does() {
    each_decides_alike("rust");
}

#[test]
fn what_is_exported_to_c_decides_as_the_policy_does() {
    each_decides_alike("c");
}

#[test(Python)]
fn what_is_exported_to_python_decides_as_the_policy_does() {
    each_decides_alike("python");
}

#[test(Go)]
fn what_is_exported_to_go_decides_as_the_policy_does() {
    each_decides_alike("go");
}

#[test]
fn an_export_that_cannot_be_is_a_usage_error() {
    run(&["policy", "export", "--lang", "cobol"]).check(2, &[], &["'cobol'", "python"]);
    run(&["policy", "export", "nobody", "--lang", "c"]).check(2, &[], &["unknown policy `nobody`"]);
    run(&["policy", "export"]).check(2, &[], &["--lang <LANGUAGE>"]);
    run(&["policy", "export", "--lang", "C"]).check(0, &["#ifndef TRACER_POLICY_H"], &[]);
}

const RUST: &str = r#"
mod policy;
use policy::*;

fn main() {
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let at: Vec<usize> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let signal = Signal {
            os: [Os::Linux, Os::Macos][at[0]],
            call: [Call::Socket, Call::Bind, Call::Connect, Call::SoError][at[1]],
            port: [Port::Explicit, Port::Ephemeral, Port::None][at[2]],
            protocol: [Protocol::Tcp, Protocol::Udp, Protocol::Mptcp][at[3]],
            family: [Family::Ipv4, Family::Ipv6][at[4]],
            reuse: [Reuse::None, Reuse::Addr, Reuse::Port, Reuse::Both][at[5]],
            errno: at[6] as i32,
        };
        println!("{}", action(&signal) as i32);
    }
}
"#;

const C: &str = r#"
#include "policy.h"
#include <stdio.h>

int main(void) {
    int at[7];
    while (scanf("%d %d %d %d %d %d %d", at, at + 1, at + 2, at + 3, at + 4, at + 5, at + 6) == 7) {
        struct tracer_signal signal = {
            (enum tracer_os)at[0], (enum tracer_call)at[1], (enum tracer_port)at[2], (enum tracer_protocol)at[3],
            (enum tracer_family)at[4], (enum tracer_reuse)at[5], at[6]};
        printf("%d\n", (int)tracer_decide(&signal));
    }
    return 0;
}
"#;

const GO: &str = r#"package main

import (
	"bufio"
	"fmt"
	"os"

	"program/policy"
)

func main() {
	oses := []policy.Os{policy.OsLinux, policy.OsMacos}
	calls := []policy.Call{policy.CallSocket, policy.CallBind, policy.CallConnect, policy.CallSoError}
	ports := []policy.Port{policy.PortExplicit, policy.PortEphemeral, policy.PortNone}
	protocols := []policy.Protocol{policy.ProtocolTcp, policy.ProtocolUdp, policy.ProtocolMptcp}
	families := []policy.Family{policy.FamilyIpv4, policy.FamilyIpv6}
	reuses := []policy.Reuse{policy.ReuseNone, policy.ReuseAddr, policy.ReusePort, policy.ReuseBoth}
	in, out := bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		var at [7]int
		if _, err := fmt.Sscan(in.Text(), &at[0], &at[1], &at[2], &at[3], &at[4], &at[5], &at[6]); err != nil {
			panic(err)
		}
		fmt.Fprintln(out, policy.Decide(policy.Signal{
			Os: oses[at[0]], Call: calls[at[1]], Port: ports[at[2]], Protocol: protocols[at[3]],
			Family: families[at[4]], Reuse: reuses[at[5]], Errno: at[6],
		}))
	}
}
"#;

const PYTHON: &str = r#"
import sys
from policy import *

for line in sys.stdin:
    at = [int(word) for word in line.split()]
    kinds = (Os, Call, Port, Protocol, Family, Reuse)
    print(decide(Signal(*(list(kind)[place] for kind, place in zip(kinds, at)), at[6])).value)
"#;
