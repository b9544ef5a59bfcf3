//! `explain --here`: what a host says of the causes of a failure, in situations that `exec` makes.

use std::process::Command;

use crate::common::PROGRAM;
use crate::harness::{rstest, test};

/// What is printed below these conditions, as one line without the breaks of a terminal.
fn here(conditions: &[&str], text: &str) -> String {
    let mut command = Command::new(PROGRAM);
    command.arg("exec").args(conditions).args(["--", "sh", "-c"]);
    let output = command.args([r#""$0" explain --here "$1""#, PROGRAM, text]).output().unwrap();
    let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}{complained}", output.status);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

const HELD: &str = "bind() to 127.0.0.1:28080 failed (98: Address already in use)";
const ANOTHER: &str = "bind() to 127.0.0.1:28081 failed (98: Address already in use)";
const WILDCARD: &str = "bind() to 0.0.0.0:28080 failed (98: Address already in use)";
const TUPLE: &str = "connect: 127.0.0.1:20000 -> 127.0.0.1:20100: EADDRNOTAVAIL";
const EXHAUSTED: &str = "dial tcp 127.0.0.1:20100: connect: cannot assign requested address";
const REFUSED: &str = "dial tcp 127.0.0.1:20100: connect: connection refused";
const NO_ROUTE: &str = "dial tcp 198.51.100.1:80: connect: network is unreachable";
const RANGE: &str = "ports-exhausted,range=40000-40003,to=127.0.0.1:20100";

#[rstest(Namespaces)]
#[case::held(&["-c", "port-held=28080,address=127.0.0.1,state=listening"], HELD,
    "here port-in-use holds now: tcp 127.0.0.1:28080 LISTEN, errnoscope (pid ")]
#[case::of_a_wildcard(&["-c", "port-held=28080,address=127.0.0.1,state=listening"], WILDCARD,
    "here port-in-use holds now: tcp 127.0.0.1:28080 LISTEN, errnoscope (pid ")]
#[case::time_wait(&["-c", "port-held=28080,address=127.0.0.1,state=time-wait"], HELD,
    "here port-in-use holds now: tcp 127.0.0.1:28080 to 127.0.0.")]
#[case::udp(&["-c", "port-held=28080,address=127.0.0.1,protocol=udp,state=bound"], HELD,
    "here port-in-use holds now: udp 127.0.0.1:28080 ")]
#[case::another(&["-c", "port-held=28080,address=127.0.0.1,state=listening"], ANOTHER,
    "here port-in-use does not hold now: no socket has port 28081 of 127.0.0.1 now")]
#[case::of_another_address(&["-c", "port-held=28080,address=127.0.0.2,state=listening"], HELD,
    "here port-in-use does not hold now: no socket has port 28080 of 127.0.0.1 now")]
#[case::tuple(&["-c", "tuple-held=127.0.0.1:20000-127.0.0.1:20100,state=established"], TUPLE,
    "likely tuple-in-use")]
#[case::no_tuple(&["-c", "timestamps=off"], TUPLE,
    "tuple-in-use does not hold now: no socket has a connection from port 20000 to 127.0.0.1:20100 now")]
#[case::exhausted(&["--listen", "20100", "-c", RANGE], EXHAUSTED,
    "here ports-exhausted holds now: 0 of 4 tcp ports from 40000 to 40003 are free; 4 have a connection to 127.0.0.1:20100")]
#[case::not_exhausted(&["-c", "timestamps=off"], EXHAUSTED,
    "ports-exhausted does not hold now: 28232 of 28232 tcp ports from 32768 to 60999 are free; 0 have a connection")]
#[case::refused(&["-c", "timestamps=off"], REFUSED, "here refused holds now: nobody has tcp port 20100 of 127.0.0.1 open now")]
#[case::not_refused(&["-c", "port-held=20100,address=127.0.0.1,state=listening"], REFUSED,
    "refused does not hold now: somebody does now: tcp 127.0.0.1:20100 LISTEN")]
#[case::no_route(&["-c", "timestamps=off"], NO_ROUTE,
    "here no-route and unreachable hold now: connect() of a UDP socket to 198.51.100.1, which sends nothing, gives ENETUN")]
#[case::another_errno(&["-c", "unreachable=198.51.100.0/24"], NO_ROUTE,
    "cannot be told: connect() of a UDP socket to 198.51.100.1, which sends nothing, gives EHOSTUNREACH instead of ENETUN")]
fn a_host_is_asked_which_cause_holds(#[case] conditions: &[&str], #[case] text: &str, #[case] said: &str) {
    let all = here(conditions, text);
    assert!(all.contains(said), "{all}");
}

/// Where the host has no IPv6 address, that is the cause, and the ports are none.
#[test(Namespaces)]
fn a_host_without_an_ipv6_address_says_so() {
    let script = r#"sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && exec "$0" explain --here "$1""#;
    let text = "dial tcp [2001:db8::1]:443: connect: cannot assign requested address";
    let output = Command::new(PROGRAM).args(["exec", "--", "sh", "-c", script, PROGRAM, text]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("likely    no-source-address"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("no-source-address holds now"), "{said}");
}

/// A failure of another system is not looked for on this one.
#[test]
fn another_system_is_not_this_host() {
    let output = Command::new(PROGRAM).args(["explain", "--here", "os error 10048"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(complained.contains("the failure is one of windows: run it there"), "{complained}");
}
