//! Explanations: what is read from what people have in front of them, and what findings then know. No kernel.

mod judged;
mod messages;

use std::collections::{BTreeMap, BTreeSet};

use crate::common::reports::{baseline, baselines};
use crate::common::tries;
use crate::harness::test;
use errnoscope::knowledge::explain::read::{Reading, Unreadable, read};
use errnoscope::knowledge::explain::system::System;
use errnoscope::knowledge::explain::{self, Explanation, Given, Told, Understood, explain, near, schema, understand};
use errnoscope::knowledge::policy::causes::{self, Knowledge, Known};
use errnoscope::knowledge::policy::evidence::Basis;
use errnoscope::knowledge::policy::separate::End;
use errnoscope::plan::SocketKind;
use errnoscope::render;
use errnoscope::report::finding::Verdict;
use errnoscope::words::cause::Cause;
use errnoscope::words::names::{Os, PortChoice};
use proptest::prelude::*;

/// What is read, in a few words: calls, errno or number, then what else the text tells.
fn words(reading: &Reading) -> String {
    let Reading { calls, errno, number, system, port, protocol, family, local, remote } = reading;
    let end = |name: &str, end: &End| match (end.address, end.port) {
        (None, None) => None,
        (address, port) => {
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            let port = port.map(|port| port.to_string()).unwrap_or_default();
            Some(format!("{name}={address}/{port}"))
        }
    };
    let calls: Vec<&str> = calls.iter().map(|call| call.as_str()).collect();
    let words = [
        (!calls.is_empty()).then(|| calls.join("|")),
        errno.map(|errno| errno.as_str().to_owned()),
        number.map(|number| number.to_string()),
        system.map(|system| system.to_string()),
        port.map(|port| port.to_string()),
        protocol.map(|protocol| protocol.to_string()),
        family.map(|family| family.to_string()),
        end("local", local),
        end("remote", remote),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

const READINGS: &[(&str, &str)] = &[
    // As an argument.
    ("connect EADDRNOTAVAIL", "connect EADDRNOTAVAIL"),
    ("EADDRINUSE", "EADDRINUSE"),
    ("eaddrinuse", "EADDRINUSE"),
    ("bind 48", "bind 48"),
    ("98", "98"),
    ("accept EMFILE", "accept EMFILE"),
    ("SO_ERROR ETIMEDOUT", "SO_ERROR ETIMEDOUT"),
    ("send EWOULDBLOCK", "send EAGAIN"),
    ("WSAEADDRINUSE", "EADDRINUSE windows"),
    // strace.
    (
        "connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"192.0.2.1\")}, 16) = -1 EADDRNOTAVAIL (Cannot assign requested address)",
        "connect EADDRNOTAVAIL linux ipv4 remote=192.0.2.1/80",
    ),
    (
        "bind(3, {sa_family=AF_INET6, sin6_port=htons(0), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::1\", &sin6_addr), sin6_scope_id=0}, 28) = -1 EADDRINUSE (Address already in use)",
        "bind EADDRINUSE linux ephemeral ipv6 local=::1/0",
    ),
    (
        "[pid  4711] 12:00:01.123456 bind(7, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr(\"0.0.0.0\")}, 16) = -1 EACCES (Permission denied) <0.000012>",
        "bind EACCES linux explicit ipv4 local=0.0.0.0/443",
    ),
    ("<... connect resumed>)             = -1 ECONNREFUSED (Connection refused)", "connect ECONNREFUSED linux"),
    ("getsockopt(3, SOL_SOCKET, SO_ERROR, [ECONNREFUSED], [4]) = 0", "SO_ERROR ECONNREFUSED linux"),
    (
        "socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = -1 EMFILE (Too many open files)",
        "socket EMFILE linux tcp ipv6",
    ),
    ("sendto(5, \"x\", 1, 0, NULL, 0)          = -1 EPIPE (Broken pipe)", "send EPIPE linux"),
    (
        "sendto(5, \"x\", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = -1 EAGAIN (Resource temporarily unavailable)",
        "sendto EAGAIN linux ipv4 remote=127.0.0.1/53",
    ),
    (
        "recvmsg(3, {msg_namelen=0}, MSG_ERRQUEUE) = -1 EAGAIN (Resource temporarily unavailable)",
        "MSG_ERRQUEUE EAGAIN linux",
    ),
    ("accept4(3, NULL, NULL, SOCK_CLOEXEC) = -1 EMFILE (Too many open files)", "accept EMFILE linux"),
    (
        "socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3\nbind(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"0.0.0.0\")}, 16) = -1 EADDRINUSE (Address already in use)\nclose(3) = 0",
        "bind EADDRINUSE linux explicit ipv4 local=0.0.0.0/80",
    ),
    // Rust.
    ("Os { code: 99, kind: AddrNotAvailable, message: \"Cannot assign requested address\" }", "EADDRNOTAVAIL linux"),
    ("Os { code: 49, kind: AddrNotAvailable, message: \"Can't assign requested address\" }", "EADDRNOTAVAIL macos"),
    ("Error: Address already in use (os error 48)", "EADDRINUSE macos"),
    ("(os error 99)", "99"),
    (
        "Only one usage of each socket address (protocol/network address/port) is normally permitted. (os error 10048)",
        "EADDRINUSE windows",
    ),
    // Go.
    (
        "dial tcp 127.0.0.1:80: connect: cannot assign requested address",
        "connect EADDRNOTAVAIL linux tcp ipv4 remote=127.0.0.1/80",
    ),
    (
        "dial tcp 127.0.0.1:80: connect: can't assign requested address",
        "connect EADDRNOTAVAIL macos tcp ipv4 remote=127.0.0.1/80",
    ),
    ("listen tcp :80: bind: address already in use", "bind EADDRINUSE explicit tcp local=/80"),
    ("listen tcp4 0.0.0.0:80: bind: permission denied", "bind EACCES explicit tcp ipv4 local=0.0.0.0/80"),
    (
        "Get \"http://[::1]:8080/\": dial tcp [::1]:8080: connect: connection refused",
        "connect ECONNREFUSED tcp ipv6 remote=::1/8080",
    ),
    (
        "dial tcp 10.0.0.1:5000->10.0.0.2:80: bind: address already in use",
        "bind EADDRINUSE explicit tcp ipv4 local=10.0.0.1/5000 remote=10.0.0.2/80",
    ),
    (
        "read udp 127.0.0.1:40000->127.0.0.1:53: read: connection refused",
        "recv ECONNREFUSED explicit udp ipv4 local=127.0.0.1/40000 remote=127.0.0.1/53",
    ),
    ("accept tcp [::]:80: accept4: too many open files", "accept EMFILE explicit tcp ipv6 local=::/80"),
    // Node.
    (
        "Error: connect EADDRNOTAVAIL 127.0.0.1:80 - Local (0.0.0.0:0)",
        "connect EADDRNOTAVAIL ephemeral tcp ipv4 local=0.0.0.0/0 remote=127.0.0.1/80",
    ),
    (
        "Error: connect EADDRNOTAVAIL 127.0.0.1 - Local (127.0.0.1:4000)",
        "connect EADDRNOTAVAIL explicit tcp ipv4 local=127.0.0.1/4000 remote=127.0.0.1/",
    ),
    (
        "Error: listen EADDRINUSE: address already in use :::3000",
        "bind|listen EADDRINUSE explicit tcp ipv6 local=::/3000",
    ),
    ("Error: listen EACCES: permission denied 0.0.0.0:80", "bind EACCES explicit tcp ipv4 local=0.0.0.0/80"),
    ("Error: bind EADDRINUSE 0.0.0.0:41234", "bind EADDRINUSE explicit udp ipv4 local=0.0.0.0/41234"),
    ("{ errno: -99, code: 'EADDRNOTAVAIL', syscall: 'connect' }", "connect EADDRNOTAVAIL linux"),
    // Python.
    ("OSError: [Errno 99] Cannot assign requested address", "EADDRNOTAVAIL linux"),
    ("OSError: [Errno 48] Address already in use", "EADDRINUSE macos"),
    ("ConnectionRefusedError: [Errno 61] Connection refused", "ECONNREFUSED macos"),
    (
        "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8080): address already in use",
        "bind EADDRINUSE linux explicit ipv4 local=0.0.0.0/8080",
    ),
    ("  s.bind(('', 80))\nPermissionError: [Errno 13] Permission denied", "bind EACCES"),
    // Java: a BindException is thrown by connect() as well.
    ("java.net.BindException: Address already in use", "EADDRINUSE"),
    ("java.net.BindException: Address already in use (Bind failed)", "bind EADDRINUSE"),
    ("java.net.BindException: Cannot assign requested address (connect failed)", "connect EADDRNOTAVAIL linux"),
    (
        "java.net.BindException: Address already in use\n\tat java.base/sun.nio.ch.Net.bind0(Native Method)",
        "bind EADDRINUSE",
    ),
    // Servers.
    (
        "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)",
        "bind EADDRINUSE linux explicit ipv4 local=0.0.0.0/80",
    ),
    (
        "2026/01/02 03:04:05 [crit] 7#7: *1 connect() to 127.0.0.1:8080 failed (99: Cannot assign requested address) while connecting to upstream, client: 10.0.0.9",
        "connect EADDRNOTAVAIL linux ipv4 remote=127.0.0.1/8080",
    ),
    (
        "nginx: [emerg] bind() to [::]:80 failed (48: Address already in use)",
        "bind EADDRINUSE macos explicit ipv6 local=::/80",
    ),
    (
        "connect() failed (99: Cannot assign requested address) while connecting to upstream",
        "connect EADDRNOTAVAIL linux",
    ),
    ("accept4() failed (24: Too many open files)", "accept EMFILE"),
    ("send() failed (32: Broken pipe)", "send EPIPE"),
    (
        "error: Bind to port 22 on 0.0.0.0 failed: Address already in use.",
        "bind EADDRINUSE explicit ipv4 local=0.0.0.0/22",
    ),
    (
        "Could not create server TCP listening socket *:6379: bind: Address already in use",
        "bind EADDRINUSE explicit tcp local=/6379",
    ),
    // perror, and others.
    ("bind: Address already in use", "bind EADDRINUSE"),
    ("prog: connect: Can\u{2019}t assign requested address", "connect EADDRNOTAVAIL macos"),
    ("Resource temporarily unavailable", "EAGAIN"),
    ("curl: (45) bind failed with errno 98: Address already in use", "bind EADDRINUSE linux"),
    ("System.Net.Sockets.SocketException (99): Cannot assign requested address", "EADDRNOTAVAIL linux"),
    (
        "Address already in use - bind(2) for \"0.0.0.0\" port 3000 (Errno::EADDRINUSE)",
        "bind EADDRINUSE explicit ipv4 local=0.0.0.0/3000",
    ),
    ("{error,eaddrinuse}", "EADDRINUSE"),
];

#[test]
fn messages_are_read_as_they_come() {
    let wrong = READINGS.iter().filter_map(|(text, expected)| {
        let said = read(text).map_or_else(|unreadable| unreadable.to_string(), |readings| words(&readings[0]));
        (said != *expected).then(|| format!("{text}\n  read     {said}\n  expected {expected}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    text: String,
    is: String,
    first: Option<String>,
    #[serde(default)]
    others: Vec<String>,
}

/// Texts of programs that people have pasted, each with all that it says and the cause that comes first.
#[test]
fn reports_from_practice_are_read_in_every_field() {
    let cases: Cases = toml::from_str(include_str!("explain/cases.toml")).expect("the cases are TOML");
    let mut wrong = Vec::new();
    for Case { text, is, first: expected, others } in &cases.case {
        let readings = read(text).unwrap_or_else(|unreadable| panic!("{text}: {unreadable}"));
        let said: Vec<String> = readings.iter().map(words).collect();
        if said[0] != *is || said[1..] != others[..] {
            wrong.push(format!("{text}\n  read     {said:?}\n  expected {is:?} {others:?}"));
        }
        let understood = understand(readings[0].clone(), Given::default(), Some(Os::Linux), Knowledge::built_in())
            .expect("an errno");
        let known = explain(understood, Knowledge::built_in());
        let first = known.as_ref().and_then(|known| first(known).into_iter().next());
        if expected.is_some() && first != *expected {
            wrong.push(format!("{text}\n  first    {first:?}\n  expected {expected:?}"));
        }
        assert!(known.is_some(), "{text}: nothing is known");
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.case.len(), wrong.join("\n"));
}

#[test]
fn what_has_no_errno_is_unreadable() {
    for text in [
        "",
        "hello",
        "connect",
        "connection to 10.0.0.1 lost",
        "dial tcp 10.0.0.1:80: i/o timeout",
        "E",
        "close(3) = 0",
    ] {
        assert_eq!(read(text), Err(Unreadable::NoErrno), "{text}");
    }
    for text in [
        "connect(3, {sa_family=AF_UNIX, sun_path=\"/run/x\"}, 110) = -1 ENOENT (No such file or directory)",
        "dial unix /var/run/docker.sock: connect: permission denied",
        "connect() to unix:/run/php.sock failed (13: Permission denied)",
    ] {
        assert_eq!(read(text), Err(Unreadable::UnixSocket), "{text}");
    }
}

proptest! {
    #![proptest_config(tries(256))]

    #[test]
    fn reading_never_panics(text in any::<String>()) {
        let _ = read(&text);
    }

    /// Pieces of real messages, in any order.
    #[test]
    fn reading_torn_messages_never_panics(
        pieces in prop::collection::vec((0..READINGS.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4)
    ) {
        let text: String = pieces.iter().map(|(reading, start, end)| {
            let text: Vec<char> = READINGS[*reading].0.chars().collect();
            let (start, end) = (start.index(text.len()), end.index(text.len()));
            text[start.min(end)..start.max(end)].iter().collect::<String>()
        }).collect();
        for reading in read(&text).into_iter().flatten() {
            prop_assert!(reading.errno.is_some() || reading.number.is_some());
        }
    }
}

/// Whatever a log is made of, it is read in a time that its length alone decides. The bound is that of a slow build.
#[test]
fn a_log_of_a_megabyte_is_read_at_once() {
    let failing = "*1 connect() failed (111: Connection refused) while connecting to upstream, client: 192.0.2.9\n";
    let busy = "app[123]: request (id 4711) took 12 ms from 192.0.2.1:5123 err=0 code: 200\n";
    let traced = "[pid 663] connect(3, {sa_family=AF_INET, sin_port=htons(80)}, 16 <unfinished ...>\n";
    let torn = "connect(3, {}, 16) = -1 E connect(\n";
    let long = "a(1) 192.0.2.1:5 :: ->";
    for piece in [failing, busy, traced, torn, long, "connect(", "1.1.1.1:1 ", "[::1]:", "(111: ", "EADDRINUSE "] {
        let text = piece.repeat((1 << 20) / piece.len());
        let began = std::time::Instant::now();
        let failures = read(&text).map_or(0, |readings| readings.len());
        assert!(failures <= 16, "{piece}");
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{piece}: {:?}", began.elapsed());
    }
}

#[track_caller]
fn understood(text: &str, given: Given, host: Os) -> Understood {
    let reading = read(text).unwrap_or_else(|unreadable| panic!("{text}: {unreadable}")).remove(0);
    understand(reading, given, Some(host), Knowledge::built_in()).unwrap_or_else(|why| panic!("{text}: {why}"))
}

#[track_caller]
fn explained(text: &str, given: Given, host: Os) -> Explanation {
    let understood = understood(text, given, host);
    explain(understood, Knowledge::built_in()).unwrap_or_else(|| panic!("{text}: nothing is known"))
}

#[test]
fn numbers_are_those_of_the_system_that_is_meant() {
    let macos = Given { os: Some(Os::Macos), ..Given::default() };
    let table = [
        ("98", Given::default(), Os::Linux, ("EADDRINUSE", Os::Linux, Told::Assumed)),
        ("os error 48", Given::default(), Os::Linux, ("EADDRINUSE", Os::Macos, Told::ByNumber)),
        ("os error 48", Given::default(), Os::Macos, ("EADDRINUSE", Os::Macos, Told::Assumed)),
        ("bind 49", macos, Os::Linux, ("EADDRNOTAVAIL", Os::Macos, Told::Given)),
        ("11", Given::default(), Os::Linux, ("EAGAIN", Os::Linux, Told::Assumed)),
        ("11", Given::default(), Os::Macos, ("EAGAIN", Os::Linux, Told::ByNumber)),
        ("Address already in use (os error 48)", Given::default(), Os::Linux, ("EADDRINUSE", Os::Macos, Told::Read)),
    ];
    for (text, given, host, (errno, os, told)) in table {
        let understood = understood(text, given, host);
        assert_eq!(
            (understood.errno.as_str(), understood.os, understood.told),
            (errno, os.into(), told),
            "{text} on {host}"
        );
    }
    let numbers = understood("EADDRINUSE", Given::default(), Os::Linux).numbers;
    assert_eq!(numbers.into_iter().collect::<Vec<_>>(), [("linux", 98), ("macos", 48), ("windows", 10_048)]);
}

/// The first cause of each call, of the kind `call port cause`.
fn first(explanation: &Explanation) -> Vec<String> {
    let failures = explanation.failures.iter();
    failures.map(|failure| format!("{} {} {}", failure.call, failure.port, failure.causes[0].cause)).collect()
}

#[test]
fn one_errno_has_other_causes_elsewhere() {
    let linux = |text| first(&explained(text, Given::default(), Os::Linux));
    assert_eq!(linux("connect EADDRNOTAVAIL"), ["connect ephemeral ports-exhausted", "connect explicit tuple-in-use"]);
    let ephemeral = Given { port: Some(PortChoice::Ephemeral), ..Given::default() };
    let bind = explained("bind EADDRINUSE", ephemeral, Os::Linux);
    assert_eq!(first(&bind), ["bind ephemeral ports-exhausted"]);
    assert_eq!(
        linux("listen EADDRINUSE: address already in use :::3000"),
        ["bind explicit port-in-use", "listen explicit port-in-use"]
    );
    let explicit = Given { os: Some(Os::Macos), port: Some(PortChoice::Explicit), ..Given::default() };
    let macos = explained("connect EADDRINUSE", explicit, Os::Linux);
    assert_eq!(first(&macos), ["connect explicit tuple-in-use"]);
    let bases: Vec<Basis> = macos.failures[0].causes[0].evidence.iter().map(|evidence| evidence.basis).collect();
    assert!(bases.iter().all(|basis| !basis.is_of_a_host()), "nobody has observed a Mac: {bases:?}");
    assert!(linux("EADDRINUSE").len() >= 4, "every call");
}

#[test]
fn what_nothing_is_known_of_has_something_near() {
    let near = |text| {
        let understood = understood(text, Given::default(), Os::Linux);
        assert_eq!(explain(understood.clone(), Knowledge::built_in()), None, "{text}");
        near(&understood, Knowledge::built_in())
    };
    let elsewhere = near("listen EADDRNOTAVAIL");
    assert!(elsewhere.iter().any(|near| near.starts_with("listen EADDRNOTAVAIL on macos")), "{elsewhere:?}");
    assert!(elsewhere.iter().any(|near| near.starts_with("bind EADDRNOTAVAIL on linux")), "{elsewhere:?}");
    assert!(near("close EBADRQC").is_empty());
}

#[test]
fn commands_name_what_the_text_names() {
    let explanation = explained(
        "dial tcp 10.0.0.1:5000->10.0.0.2:80: connect: cannot assign requested address",
        Given::default(),
        Os::Macos,
    );
    assert_eq!(explanation.understood.os, System::Linux);
    let commands = &explanation.failures[0].causes[0].commands;
    assert_eq!(commands, &["ss -tanp 'sport = :5000 and dst 10.0.0.2:80'"]);
}

#[test]
fn the_knowledge_is_what_the_baselines_give() {
    let knowledge = Knowledge::built_in();
    assert_eq!(knowledge.format, causes::FORMAT);
    assert!(*knowledge == Knowledge::of(baselines()), "ci/generated.sh --write makes it again");
    let again: Knowledge = serde_json::from_str(&knowledge.write()).expect("what is written is read");
    assert_eq!(again, *knowledge);
}

#[test]
fn every_finding_with_an_errno_is_explained_by_its_cause() {
    let mut explained = 0;
    let mut explanations = BTreeMap::new();
    for report in baselines().iter().filter(|report| report.host.is_own()) {
        for finding in report.findings.iter().filter(|finding| finding.verdict() == Verdict::Match) {
            let outcome = finding.outcome().expect("a match has one").name();
            // Messages about sockets of the family unix are not explained.
            if matches!(outcome, "ok" | "blocked") || matches!(finding.subject.socket, SocketKind::Unix(_)) {
                continue;
            }
            let (call, port) = (finding.subject.call, finding.subject.port);
            let explanation = explanations.entry((report.host.os, call, port, outcome)).or_insert_with(|| {
                let given = Given { os: Some(report.host.os), port: Some(port), ..Given::default() };
                let understood = understood(&format!("{call} {outcome}"), given, Os::Macos);
                assert_eq!(understood.calls, [call], "{}", finding.case);
                explain(understood, Knowledge::built_in()).unwrap_or_else(|| panic!("{}", finding.case))
            });
            let candidates = explanation.failures.iter().flat_map(|failure| &failure.causes);
            let own = candidates.into_iter().find(|candidate| candidate.cause == finding.cause);
            let own = own.unwrap_or_else(|| panic!("{}: {} is not there", finding.case, finding.cause));
            assert!(
                own.evidence
                    .iter()
                    .any(|evidence| evidence.basis == Basis::Observed && evidence.by == report.host.stack)
            );
            explained += 1;
        }
    }
    assert!(explained > 2_000, "{explained}");
}

/// What is expected is never counted as observed, and every finding is counted once, also where two reports of a stack
/// have it.
#[test]
fn counts_are_those_of_the_reports() {
    let mut failed: BTreeMap<(Os, &str), BTreeSet<_>> = BTreeMap::new();
    for report in baselines().iter().filter(|report| report.host.is_own()) {
        let failed = failed.entry((report.host.os, &report.host.stack)).or_default();
        failed.extend(report.findings.iter().filter_map(|finding| {
            let outcome = finding.outcome()?.name();
            let is_ip = matches!(finding.subject.socket, SocketKind::Ip(_));
            let counts = is_ip && finding.verdict() == Verdict::Match && outcome.starts_with('E');
            counts.then_some((&finding.case, finding.subject.call, finding.subject.port, outcome))
        }));
    }
    for ((os, stack), findings) in failed {
        let observed = Knowledge::built_in().known.iter().filter(|known| known.basis == Basis::Observed);
        let observed = observed.filter(|known| known.by == stack);
        assert!(observed.clone().all(|known| known.os == os));
        assert_eq!(observed.map(|known| known.findings).sum::<u64>(), findings.len() as u64, "{stack}");
    }
}

/// Older kernels had another reason for the same errno: who sits before one is not told theirs.
#[test]
fn a_kernel_is_told_what_the_observed_one_nearest_to_it_did() {
    let known = &Knowledge::built_in().known[0];
    let entry = |by: &str, basis, cause| Known { os: Os::Linux, by: by.to_owned(), basis, cause, ..known.clone() };
    let known = vec![
        entry("kernel-source", Basis::Expected, Cause::Refused),
        entry("linux 6.1", Basis::Observed, Cause::InProgress),
        entry("linux 6.18", Basis::Observed, Cause::PortsExhausted),
        entry("linux 6.18", Basis::Permitted, Cause::TupleInUse),
    ];
    let knowledge = Knowledge { known, ..Knowledge::default() };
    let told = |os, kernel: &str, selects: fn(&Known) -> bool| -> Vec<Cause> {
        let kernel = kernel.parse().expect("a version");
        knowledge.of_stack(knowledge.most_like(os, &kernel), selects).iter().map(|known| known.cause).collect()
    };
    let newest = vec![Cause::PortsExhausted, Cause::TupleInUse];
    for (kernel, causes) in [
        ("6.18.44", &newest),
        ("7.3.0", &newest),
        ("6.17.13", &vec![Cause::InProgress]),
        // Older than all that were observed.
        ("5.4.0", &vec![Cause::InProgress]),
    ] {
        assert_eq!(told(Os::Linux, kernel, |_| true), *causes, "{kernel}");
    }
    // Where the nearest has nothing to say, whatever is known.
    assert_eq!(told(Os::Linux, "6.18.44", |known| known.cause == Cause::InProgress), [Cause::InProgress]);
    assert_eq!(told(Os::Macos, "24.2.0", |_| true).len(), 4);
}

#[test]
fn a_newer_report_takes_the_place_of_what_was_known() {
    let knowledge = Knowledge::built_in();
    assert_eq!(knowledge.and(Knowledge::default()).known, knowledge.known);
    assert_eq!(knowledge.and(Knowledge::of(baselines())).known, knowledge.known, "nothing is counted twice");
    let mut other = baseline().clone();
    (other.host.stack, other.host.release) = ("linux 5.0".into(), "5.0.0".into());
    let both = knowledge.and(Knowledge::of([&other]));
    let stacks = |by: &str| both.known.iter().filter(|known| known.by == by).count();
    // Another report speaks of this stack too, and where a search has luck it may know more of it.
    assert_eq!(
        stacks("linux 5.0"),
        Knowledge::of([baseline()]).known.iter().filter(|known| known.by == "linux 6.18").count()
    );
    other.host.stack = "gvisor 1.0".into();
    assert_eq!(knowledge.and(Knowledge::of([&other])), *knowledge, "what passes for Linux says nothing of it");
}

#[test]
fn explanations_keep_to_their_schema_and_to_80_columns() {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is one");
    for text in ["EADDRINUSE", "EADDRNOTAVAIL", "EINVAL", "SO_ERROR EHOSTUNREACH", "connect EAGAIN", READINGS[9].0] {
        for os in Os::ALL {
            let understood = understood(text, Given { os: Some(*os), ..Given::default() }, Os::Linux);
            let Some(explanation) = explain(understood, Knowledge::built_in()) else { continue };
            let json = serde_json::to_value(&explanation).expect("JSON");
            assert_eq!(json["format"], explain::FORMAT);
            let faults: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
            assert_eq!(faults, [""; 0], "{text} on {os}");
            let shown = anstream::adapter::strip_str(&render::explain::explanation(&explanation, 80)).to_string();
            for line in shown.lines() {
                // Ids and commands are for copying and stay whole.
                let whole = line.contains('[') || line.contains("ss -");
                assert!(line.chars().count() <= 80 || whole, "{line}");
            }
        }
    }
}
