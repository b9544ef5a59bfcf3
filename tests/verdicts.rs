//! Must-fail tests: for each verdict a scenario that must produce exactly it. No scenario of the catalogue is to be
//! believed while one of these fails.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::common::{alone, catalogue, findings, run_all};
use crate::harness::{needs, test};
use errnoscope::plan::{IpSocket, SocketKind};
use errnoscope::report::finding::{Finding, Verdict};
use errnoscope::scenario::witness::Witness;
use errnoscope::suite::judge;
use errnoscope::words::names::{Family, Protocol, Reuse};

needs!(Namespaces);

/// A scenario about a claimer that binds 127.0.0.1:20000, with these parts.
fn scenario(setup: &str, precondition: &str, expect: &str, more: &str) -> String {
    format!(
        r#"
claim = "A test of the harness"
id = "bind.self-test"
why = "The harness must be able to say no."
cause = "port-in-use"
{more}
[[setup]]
hold = {{ socket = "holder", state = "bound", protocol = "tcp", address = "127.0.0.1", port = 20000 }}

[[setup]]
open = {{ socket = "claimer", protocol = "tcp", family = "ipv4" }}

{setup}

[[subject]]
bind = {{ socket = "claimer", address = "127.0.0.1", port = 20000 }}

[[subject.precondition]]
{precondition}

[[subject.expect]]
os = ["linux", "macos"]
outcome = "{expect}"
authority = "posix"
ref = "bind()"
"#
    )
}

const HELD: &str = r#"socket = { socket = "holder", protocol = "tcp", state = "bound" }"#;

#[track_caller]
fn check(text: &str, verdict: Verdict, reason: &str) -> Finding {
    let mut findings = findings(text);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = findings.remove(0);
    let said = finding.reason().unwrap_or_default();
    assert_eq!(finding.verdict(), verdict, "{said}");
    assert!(said.contains(reason), "`{said}` does not say `{reason}`");
    finding
}

#[test]
fn the_expected_errno_is_a_match() {
    let finding = check(&scenario("", HELD, "EADDRINUSE", ""), Verdict::Match, "");
    assert_eq!(finding.outcome_name(), "EADDRINUSE");
    assert!(!finding.witness().is_empty() && finding.witness().iter().all(Witness::confirmed));
}

#[test]
fn another_errno_is_a_mismatch() {
    check(&scenario("", HELD, "EACCES", ""), Verdict::Mismatch, "failed otherwise: EADDRINUSE, expected EACCES");
}

#[test]
fn failure_where_success_is_expected_is_a_mismatch() {
    check(&scenario("", HELD, "ok", ""), Verdict::Mismatch, "failed with EADDRINUSE");
}

#[test]
fn success_where_failure_is_expected_is_a_mismatch() {
    let text = scenario("", HELD, "EADDRINUSE", "").replace("20000 }\n\n[[subject.pre", "20001 }\n\n[[subject.pre");
    check(&text, Verdict::Mismatch, "succeeded, expected EADDRINUSE");
}

#[test]
fn a_call_that_blocks_is_a_mismatch() {
    let setup = r#"
[[setup]]
serve = { socket = "listener", address = "127.0.0.1", port = 20001 }
"#;
    let text = scenario(setup, HELD, "ok", "").replace(
        "[[subject]]\nbind = { socket = \"claimer\", address = \"127.0.0.1\", port = 20000 }",
        "[[subject]]\naccept = { socket = \"listener\", new = \"new\", wait_ms = 20 }",
    );
    check(&text, Verdict::Mismatch, "blocked for 20 ms");
}

#[test]
fn a_precondition_that_never_held_is_unwitnessed() {
    let precondition = HELD.replace("\"bound\"", "\"time-wait\"");
    let finding = check(&scenario("", &precondition, "EADDRINUSE", ""), Verdict::Unwitnessed, "holder TIME_WAIT");
    assert_eq!(finding.outcome_name(), "EADDRINUSE", "what was seen is kept");
}

#[test]
fn a_precondition_that_is_lost_before_the_call_is_unwitnessed() {
    let setup = "[[setup]]\nclose = { socket = \"holder\" }";
    check(&scenario(setup, HELD, "ok", ""), Verdict::Unwitnessed, "holder BOUND");
}

#[test]
fn a_range_that_is_not_full_is_unwitnessed() {
    let precondition = r#"full = { protocol = "tcp", family = "ipv4", low = 20000, high = 20001 }"#;
    check(&scenario("", precondition, "EADDRINUSE", ""), Verdict::Unwitnessed, "ports 20000 to 20001 held");
}

#[test]
fn a_need_that_the_host_lacks_is_unsupported() {
    let needs = "needs = [{ need = \"xnu\" }]";
    check(&scenario("", HELD, "EADDRINUSE", needs), Verdict::Unsupported, "xnu: ");
}

#[test]
fn an_errno_that_means_a_missing_need_is_unsupported() {
    let setup = r#"
[[setup]]
unsupported = ["EADDRNOTAVAIL"]
bind = { socket = "claimer", address = "192.0.2.1", port = 20000 }
"#;
    check(&scenario(setup, HELD, "EADDRINUSE", ""), Verdict::Unsupported, "");
}

#[test]
fn a_setup_op_that_fails_is_broken() {
    let setup = r#"
[[setup]]
bind = { socket = "claimer", address = "192.0.2.1", port = 20000 }
"#;
    let finding = check(&scenario(setup, HELD, "EADDRINUSE", ""), Verdict::Broken, "EADDRNOTAVAIL");
    assert!(!finding.trail.is_empty(), "the trail tells how far it came");
}

#[test]
fn a_case_that_crashes_is_broken() {
    let setup = "[[setup]]\nraise = { signal = 11 }";
    check(&scenario(setup, HELD, "EADDRINUSE", ""), Verdict::Broken, "killed by signal 11, in `raise`");
}

#[test]
fn a_case_that_hangs_is_timed_out() {
    let setup = "[[setup]]\nelapse = { ms = 60000 }";
    let text = scenario(setup, HELD, "EADDRINUSE", "deadline_ms = 100");
    check(&text, Verdict::TimedOut, "no end after 100 ms, in `elapse`");
}

/// It may have been the machine that was too slow beside other cases: alone, it has more time.
#[test]
fn a_case_that_is_late_is_run_again_alone() {
    let setup = "[[setup]]\nelapse = { ms = 250 }";
    let ran = run_all(&catalogue(&scenario(setup, HELD, "EADDRINUSE", "deadline_ms = 100")));
    let verdicts: Vec<Verdict> = ran.findings.iter().map(Finding::verdict).collect();
    assert_eq!((verdicts, ran.again), (vec![Verdict::Match], 1));
    // And one that hangs takes no other's chance.
    let setup = "[[setup]]\nwhen = { pace = \"never\" }\nelapse = { ms = 60000 }\n\n[[setup]]\nelapse = { ms = 250 }";
    let axes = "deadline_ms = 100\n[axes]\npace = [\"late\", \"never\", \"also-late\"]";
    let ran = run_all(&catalogue(&scenario(setup, HELD, "EADDRINUSE", axes)));
    let verdicts: Vec<Verdict> = ran.findings.iter().map(Finding::verdict).collect();
    assert_eq!((verdicts, ran.again), (vec![Verdict::Match, Verdict::TimedOut, Verdict::Match], 2));
}

/// The worker of the first case is killed under it; the second case must not notice.
#[test]
fn a_worker_that_is_killed_breaks_one_case_only() {
    // No other test of this process has workers that could be taken for this one's.
    alone(worker_is_killed);
}

fn worker_is_killed() {
    let setup = r#"
[[setup]]
when = { pace = "slow" }
elapse = { ms = 60000 }
"#;
    let axes = "[axes]\npace = [\"slow\", \"quick\"]";
    let text = scenario(setup, HELD, "EADDRINUSE", axes).replace("[axes]", "deadline_ms = 30000\n[axes]");
    let killer = std::thread::spawn(|| {
        // The quick case is over long before the slow one, whose worker is the one that has a case below it.
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(worker) = worker_of_a_long_case() {
                // By number, and a process that this test's own run started.
                let worker = nix::unistd::Pid::from_raw(worker as i32);
                nix::sys::signal::kill(worker, nix::sys::signal::Signal::SIGKILL).unwrap();
                return;
            }
        }
        panic!("no worker was seen at work");
    });
    let findings = findings(&text);
    killer.join().expect("the worker was killed");
    let verdicts: Vec<(&str, Verdict)> =
        findings.iter().map(|finding| (finding.axes["pace"].as_str(), finding.verdict())).collect();
    assert_eq!(verdicts, [("slow", Verdict::Broken), ("quick", Verdict::Match)], "{findings:#?}");
    let reason = findings[0].reason().unwrap_or_default();
    assert!(reason.contains("worker ended"), "{reason}");
}

/// A child of this process that is a worker, below which a case lives for long.
fn worker_of_a_long_case() -> Option<u32> {
    let earlier = cases();
    std::thread::park_timeout(Duration::from_millis(400));
    let now = cases();
    now.into_iter().find(|(case, _)| earlier.contains_key(case)).map(|(_, worker)| worker)
}

/// The processes of cases, each with its worker: coordinator's child, its init, the case.
fn cases() -> BTreeMap<u32, u32> {
    let parents = processes();
    let below = |parent: u32| parents.iter().filter(move |(_, other)| *other == parent).map(|(pid, _)| *pid);
    let mut cases = BTreeMap::new();
    for worker in below(std::process::id()) {
        cases.extend(below(worker).flat_map(below).map(|case| (case, worker)));
    }
    cases
}

/// Every process with its parent.
fn processes() -> Vec<(u32, u32)> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything; the parent is the second field after it.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        list.extend(parent.map(|parent| (pid, parent)));
    }
    list
}

/// A scenario of somebody else's must not reach the host through a name.
#[test]
fn a_sysctl_outside_the_namespace_is_refused() {
    for name in ["kernel.hostname", "net.ipv4/../../kernel/hostname", "vm.swappiness"] {
        let setup = format!("[[setup]]\nset-sysctl = {{ name = \"{name}\", value = \"0\" }}");
        check(&scenario(&setup, HELD, "EADDRINUSE", ""), Verdict::Broken, "is not one of a network namespace");
    }
}

/// A case that makes the same call twice has two findings, also when it ran several times.
#[test]
fn equal_calls_of_a_case_are_told_apart_by_their_ordinals() {
    let again = r#"
[[subject]]
bind = { socket = "claimer", address = "127.0.0.1", port = 20000 }

[[subject.precondition]]
socket = { socket = "holder", protocol = "tcp", state = "bound" }

[[subject.expect]]
os = ["linux", "macos"]
outcome = "EADDRINUSE"
authority = "posix"
ref = "bind()"
"#;
    let text = scenario("", HELD, "EADDRINUSE", "") + again;
    let mut merged = Vec::new();
    for _ in 0..3 {
        judge::merge(&mut merged, findings(&text));
    }
    let told: Vec<(u32, u32)> = merged
        .iter()
        .map(|finding| (finding.subject.ordinal, finding.distribution().unwrap().verdicts[&Verdict::Match]))
        .collect();
    assert_eq!(told, [(1, 3), (2, 3)]);
}

/// Where the setup ends a case there is no trail to tell what kind of socket would have made the call.
#[test]
fn a_call_that_is_not_made_has_its_kind_of_socket() {
    let setup = r#"
[[setup]]
set-option = { socket = "claimer", option = { reuse-addr = true } }

[[setup]]
bind = { socket = "holder", address = "192.0.2.1", port = 20000 }
"#;
    let finding = check(&scenario(setup, HELD, "EADDRINUSE", ""), Verdict::Broken, "EADDRNOTAVAIL");
    let own = IpSocket { protocol: Protocol::Tcp, family: Family::Ipv4, reuse: Reuse::Addr };
    let kind = SocketKind::Ip(own);
    assert_eq!((finding.subject.socket, finding.subject.ordinal), (kind, 1));
}

/// A subject call of a claimer beside a holder, with what is asked of the holder. Both may have one name.
fn twins(protocol: &str, setup: &str, subject: &str, state: &str, at: &str, outcome: &str) -> String {
    let open = |socket: &str| {
        format!(
            "[[setup]]\nopen = {{ socket = \"{socket}\", protocol = \"{protocol}\", family = \"ipv4\", reuse = \"both\" }}\n\
             [[setup]]\nbind = {{ socket = \"{socket}\", address = \"127.0.0.1\", port = 20000 }}\n"
        )
    };
    format!(
        r#"
claim = "A test of the harness"
id = "bind.self-test"
why = "A witness is a socket, and not whoever has its name."
cause = "none"

{}
{setup}

[[subject]]
{subject}

[[subject.precondition]]
at = "{at}"
socket = {{ socket = "holder", protocol = "{protocol}", state = "{state}" }}

[[subject.expect]]
os = ["linux", "macos"]
outcome = "{outcome}"
authority = "posix"
ref = "socket()"
"#,
        open("holder") + &open("claimer")
    )
}

const LISTEN: &str = r#"listen = { socket = "claimer" }"#;
const NOTHING: &str = r#"set-option = { socket = "claimer", option = { broadcast = true } }"#;
const CLOSE: &str = "[[setup]]\nclose = { socket = \"holder\" }\n";

/// The claimer listens, and has the holder's name; the holder is merely bound.
#[test]
fn another_listener_of_the_same_name_is_no_witness() {
    check(&twins("tcp", "", LISTEN, "listening", "after", "ok"), Verdict::Unwitnessed, "holder LISTEN");
    check(&twins("tcp", "", LISTEN, "bound", "both", "ok"), Verdict::Match, "");
    let both = "[[setup]]\nlisten = { socket = \"holder\" }\n";
    check(&twins("tcp", both, LISTEN, "listening", "both", "ok"), Verdict::Match, "");
}

/// The holder is closed, and the claimer has its name: the holder is gone, and in no state.
#[test]
fn a_closed_socket_is_gone_whoever_has_its_name() {
    for protocol in ["tcp", "udp"] {
        let of = |state| twins(protocol, CLOSE, NOTHING, state, "both", "ok");
        check(&of("bound"), Verdict::Unwitnessed, "holder ");
        check(&of("gone"), Verdict::Match, "");
        let open = twins(protocol, "", NOTHING, "gone", "both", "ok");
        check(&open, Verdict::Unwitnessed, "holder gone");
    }
}

/// An op that waits asks for the socket as well, and not for its name.
#[test]
fn a_wait_is_for_the_socket_and_not_for_its_name() {
    let wait = |state| format!("[[setup]]\nwait = {{ socket = \"holder\", state = \"{state}\", deadline_ms = 100 }}\n");
    check(&twins("tcp", &(CLOSE.to_owned() + &wait("gone")), NOTHING, "gone", "both", "ok"), Verdict::Match, "");
    let listens = format!("[[setup]]\n{LISTEN}\n{}", wait("listening"));
    check(&twins("tcp", &listens, NOTHING, "bound", "both", "ok"), Verdict::Broken, "`holder` to be LISTEN");
}

/// The kernel takes over what the holder left in TIME_WAIT, and then has the claimer's connection there.
#[test]
fn another_time_wait_of_the_same_tuple_is_no_witness() {
    let serve = "[[setup]]\nserve = { socket = \"server\", address = \"127.0.0.2\", port = 20001 }\n";
    let connection = |socket: &str| {
        format!(
            "[[setup]]\nconnect = {{ socket = \"{socket}\", address = \"127.0.0.2\", port = 20001, wait_ms = 1000 }}\n\
             [[setup]]\naccept = {{ socket = \"server\", new = \"{socket}.peer\", wait_ms = 1000 }}\n"
        )
    };
    let leave = |socket: &str| {
        format!(
            "[[setup]]\nclose = {{ socket = \"{socket}\" }}\n[[setup]]\nclose = {{ socket = \"{socket}.peer\" }}\n\
             [[setup]]\nwait = {{ socket = \"{socket}\", state = \"time-wait\" }}\n"
        )
    };
    let holder = [serve, &connection("holder"), &leave("holder")].concat();
    let nothing = r#"set-option = { socket = "server", option = { broadcast = true } }"#;
    check(&twins("tcp", &holder, nothing, "time-wait", "both", "ok"), Verdict::Match, "");
    let claimed = holder.clone() + &connection("claimer");
    check(&twins("tcp", &claimed, nothing, "gone", "both", "ok"), Verdict::Match, "");
    check(&twins("tcp", &claimed, nothing, "established", "both", "ok"), Verdict::Unwitnessed, "holder ESTABLISHED");
    let left = claimed.clone() + &leave("claimer");
    check(&twins("tcp", &left, nothing, "time-wait", "both", "ok"), Verdict::Unwitnessed, "holder TIME_WAIT");
    check(&twins("tcp", &left, nothing, "gone", "both", "ok"), Verdict::Match, "");
    let of_claimer = |text: String| text.replace("socket = { socket = \"holder\"", "socket = { socket = \"claimer\"");
    check(&of_claimer(twins("tcp", &left, nothing, "time-wait", "both", "ok")), Verdict::Match, "");
}

/// Descriptors above the limit do not make up for one that is free below it.
#[test]
fn a_descriptor_that_is_free_is_no_witness_that_none_is() {
    let setup = |between: &str| {
        let sockets = ["a", "b", "c"].map(|socket| {
            format!("[[setup]]\nopen = {{ socket = \"{socket}\", protocol = \"tcp\", family = \"ipv4\" }}\n{between}")
        });
        sockets.concat()
    };
    let exhaust = "[[setup]]\nexhaust-descriptors = {}\n";
    let close = |socket: &str| format!("[[setup]]\nclose = {{ socket = \"{socket}\" }}\n");
    let check_after = |steps: String, verdict| {
        let text = scenario(&steps, "descriptors = { free = 0 }", "ok", "");
        check(&text, verdict, if verdict == Verdict::Match { "" } else { "descriptors free" });
    };
    let subject = "close = { socket = \"holder\" }\n";
    check_after(setup("") + exhaust + "[[setup]]\n" + subject, Verdict::Unwitnessed);
    check_after("[[setup]]\n".to_owned() + subject + &setup("") + exhaust, Verdict::Match);
    // Closed below, while `b` and `c` are above the limit.
    let above = setup("") + &close("a") + exhaust;
    check_after("[[setup]]\n".to_owned() + subject + &above, Verdict::Match);
    check_after(above + "[[setup]]\n" + subject, Verdict::Unwitnessed);
}

/// A socket that has finished stays open, while the kernel keeps its connection without a file.
#[test]
fn the_time_wait_of_a_socket_that_is_open_is_its_own() {
    let setup = "[[setup]]\nserve = { socket = \"server\", address = \"127.0.0.2\", port = 20001 }\n\
        [[setup]]\nconnect = { socket = \"holder\", address = \"127.0.0.2\", port = 20001, wait_ms = 1000 }\n\
        [[setup]]\naccept = { socket = \"server\", new = \"peer\", wait_ms = 1000 }\n\
        [[setup]]\nshutdown = { socket = \"holder\", how = \"write\" }\n[[setup]]\nclose = { socket = \"peer\" }\n\
        [[setup]]\nwait = { socket = \"holder\", state = \"time-wait\" }\n";
    let nothing = r#"set-option = { socket = "server", option = { broadcast = true } }"#;
    check(&twins("tcp", setup, nothing, "time-wait", "both", "ok"), Verdict::Match, "");
}
