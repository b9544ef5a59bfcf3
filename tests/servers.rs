//! `errnoscope exec` beside servers of the user's own, and remedies that are tried under a condition.

use std::process::{Command, Output};

use crate::common::PROGRAM;
use crate::harness::{needs, rstest, test};

needs!(Namespaces);

const EXHAUSTED: &str = "ports-exhausted,range=40000-40031,to=127.0.0.1:8080";

fn exec(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(PROGRAM).arg("exec").args(arguments).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

/// A server with a short queue that takes its time between two connections.
fn slow(port: u16, ms: u32) -> String {
    format!(
        "exec python3 -c \"import socket as s, time; l = s.socket(); l.bind(('127.0.0.1', {port})); l.listen(1); a = []\n\
         while True: a.append(l.accept()); time.sleep({ms} / 1000)\""
    )
}

#[test]
fn a_listener_that_nobody_asked_for_is_told() {
    let (code, _, complained) = exec(&["-c", EXHAUSTED, "--", "true"]);
    assert_eq!(code, Some(0), "{complained}");
    assert!(
        complained.contains("nobody listens on 127.0.0.1:8080: errnoscope does, and never answers"),
        "{complained}"
    );
    let (code, _, complained) = exec(&["--listen", "8080", "-c", EXHAUSTED, "--", "true"]);
    assert_eq!((code, &*complained), (Some(0), ""));
}

#[test(Python)]
fn a_server_with_a_short_queue_gets_time() {
    let (code, _, complained) = exec(&["--with", &slow(8080, 20), "-c", EXHAUSTED, "--", "true"]);
    assert_eq!((code, &*complained), (Some(0), ""));
}

/// What its programs do first may be something else.
#[test(Python)]
fn a_server_that_comes_late_is_waited_for_and_one_that_never_comes_is_no_server() {
    let late = format!("python3 -m http.server 9 & sleep 1; {}", slow(8080, 0));
    let (code, _, complained) = exec(&["--with", &late, "-c", EXHAUSTED, "--", "true"]);
    assert_eq!(code, Some(0), "{complained}");
    let (code, _, complained) = exec(&["--with", &slow(9, 0), "-c", EXHAUSTED, "--", "true"]);
    assert_eq!(code, Some(125), "{complained}");
    assert!(complained.contains("nobody listens on 127.0.0.1:8080, and no program of --with has"), "{complained}");
}

#[test]
fn a_place_without_a_way_is_told_with_one_that_has_one() {
    let (code, _, complained) = exec(&["-c", "ports-exhausted,to=10.0.3.7:443", "--", "true"]);
    assert_eq!(code, Some(125), "{complained}");
    assert!(complained.contains("with --path 0 --listen 443 there is a server, to=10.77.0.2:443"), "{complained}");
    let (code, _, complained) =
        exec(&["--path", "0", "--listen", "443", "-c", "ports-exhausted,to=10.77.0.2:443", "--", "true"]);
    assert_eq!((code, &*complained), (Some(0), ""));
}

/// One starts after the other is ready, each is looked after, and each ends.
#[test(Python)]
fn several_programs_serve() {
    let second =
        format!("python3 -c \"import socket; socket.create_connection(('127.0.0.1', 8080))\" && {}", slow(8081, 0));
    let both = ["--with", &slow(8080, 0), "--with", &second];
    let connect = "exec 3<>/dev/tcp/127.0.0.1/8080 4<>/dev/tcp/127.0.0.1/8081";
    let (code, _, complained) = exec(&[&both[..], &["--", "bash", "-c", connect]].concat());
    assert_eq!((code, &*complained), (Some(0), ""));
    let (code, _, complained) = exec(&[&both[..], &["--ready", "8080", "--", "true"]].concat());
    assert_eq!(code, Some(125), "{complained}");
    assert!(complained.contains("--ready is given 1× and --with 2×"), "{complained}");
    let ready = ["--ready", "8080", "--ready", "8081"];
    let kill = "kill $(ss -Htlnp 'sport = :8081' | sed 's/.*pid=\\([0-9]*\\).*/\\1/'); sleep 0.1";
    let (code, _, complained) = exec(&[&both[..], &ready, &["--", "bash", "-c", kill]].concat());
    assert_eq!(code, Some(125), "{complained}");
    assert!(complained.contains("8081") && complained.contains("was killed by signal 15"), "{complained}");
}

/// What is allowed is told, and nothing else is allowed.
#[rstest(Root)]
#[case::by_its_last_word("ip_local_port_range", "30000 40031", Some(0))]
#[case::by_its_name("net.ipv4.ip_local_port_range", "30000 40031", Some(0))]
#[case::by_the_condition("ports-exhausted", "30000 40031", Some(0))]
#[case::another("timestamps", "30000 40031", Some(125))]
fn a_remedy_may_change_what_was_given(#[case] name: &str, #[case] range: &str, #[case] expected: Option<i32>) {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/8080 2>/dev/null && exit 9; \
         echo {range} >/proc/sys/net/ipv4/ip_local_port_range; exec 3<>/dev/tcp/127.0.0.1/8080"
    );
    let given = ["--listen", "8080", "-c", EXHAUSTED, "-c", "timestamps=on", "--may-change", name];
    let (code, _, complained) = exec(&[&given[..], &["--", "bash", "-c", &script]].concat());
    assert_eq!(code, expected, "{complained}");
    match expected {
        Some(0) => {
            assert!(complained.contains("changed, as --may-change allows: `ports-exhausted,range="), "{complained}")
        }
        _ => {
            assert!(complained.contains("if the command may do that: --may-change ip_local_port_range"), "{complained}")
        }
    }
}

#[test]
fn what_may_change_was_given() {
    let (code, _, complained) = exec(&["-c", EXHAUSTED, "--may-change", "ip_local_port_rnge", "--", "true"]);
    assert_eq!(code, Some(125), "{complained}");
    assert!(complained.contains("did you mean ip_local_port_range?"), "{complained}");
    let (code, _, complained) = exec(&["--may-change", "timestamps", "--", "true"]);
    assert_eq!(code, Some(125), "{complained}");
    assert!(complained.contains("there is no condition"), "{complained}");
}
