//! `errnoscope exec`: the path is what it says, the command ends as if nobody stood in between, and nothing is left.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{MARK, PROGRAM, hop, inside, marked};
use crate::harness::{needs, rstest, test};
use errnoscope::plan::{Detail, SocketOption};
use errnoscope::sys::{self, Address, Mode, Until};
use errnoscope::words::names::{Family, Protocol};

needs!(Namespaces);

const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];
const PORT: u16 = 443;
/// How long something that must not come is waited for.
const SILENCE_MS: u32 = 300;
const PATIENCE_MS: u32 = 10_000;

#[derive(Debug, PartialEq)]
enum Answer {
    Connected,
    /// Whose ICMP error it was, its type and code.
    Icmp(IpAddr, u8, u8),
    Failed(String),
    Nothing,
}

/// A TCP connection attempt that goes no further than `hops`.
fn connect(to: IpAddr, hops: u8, wait_ms: u32) -> Answer {
    let family = if to.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
    let fd = sys::socket(family, Protocol::Tcp).unwrap();
    sys::set_nonblocking(&fd, Mode::Nonblocking).unwrap();
    for option in [SocketOption::Ttl(hops), SocketOption::RecvErr(true)] {
        sys::set_option(&fd, family, &option).unwrap();
    }
    match sys::connect(&fd, &Address::new(SocketAddr::new(to, PORT))) {
        Err(errno) if errno.name() == "EINPROGRESS" => {}
        Err(errno) => return Answer::Failed(errno.to_string()),
        Ok(()) => return Answer::Connected,
    }
    if !sys::poll(&fd, Until::Writable, wait_ms).unwrap() {
        return Answer::Nothing;
    }
    match sys::receive_error(&fd) {
        Ok((_, Detail::ErrorQueue { icmp_type, icmp_code, offender: Some(offender), .. })) => {
            Answer::Icmp(offender, icmp_type, icmp_code)
        }
        _ => sys::socket_error(&fd).map_or_else(|errno| Answer::Failed(errno.to_string()), |()| Answer::Connected),
    }
}

fn time_exceeded(router: usize, family: Family) -> Answer {
    let kind = if family == Family::Ipv4 { 11 } else { 3 };
    Answer::Icmp(hop(router, family), kind, 0)
}

#[rstest]
#[case(0)]
#[case(1)]
#[case(5)]
#[case(15)]
#[case(64)]
fn every_hop_of_a_path_is_where_the_plan_says(#[case] routers: u8) {
    inside(&["--path", &routers.to_string(), "--listen", &PORT.to_string()], || {
        for family in FAMILIES {
            for hops in 1..=routers {
                let router = usize::from(hops);
                let answer = connect(hop(usize::from(routers) + 1, family), hops, PATIENCE_MS);
                assert_eq!(answer, time_exceeded(router, family));
                // An error closes the attempt, and nobody listens on a router.
                let answer = connect(hop(router, family), 255, PATIENCE_MS);
                assert_eq!(answer, Answer::Failed("ECONNREFUSED".to_owned()), "router {router}");
            }
            let server = hop(usize::from(routers) + 1, family);
            assert_eq!(connect(server, routers + 1, PATIENCE_MS), Answer::Connected);
        }
    });
}

#[test]
fn a_path_of_no_length_is_a_network_of_its_own() {
    inside(&["--listen", &PORT.to_string()], || {
        for address in ["127.0.0.1", "::1"] {
            assert_eq!(connect(address.parse().unwrap(), 64, PATIENCE_MS), Answer::Connected);
        }
        for family in FAMILIES {
            assert_eq!(connect(hop(1, family), 64, PATIENCE_MS), Answer::Failed("ENETUNREACH".to_owned()));
        }
    });
}

#[test]
fn the_server_closes_when_its_client_does() {
    inside(&["--path", "1", "--listen", "443", "--listen", "80"], || {
        for port in [80, PORT] {
            for family in FAMILIES {
                let mut stream = TcpStream::connect((hop(2, family), port)).unwrap();
                stream.write_all(b"said and not answered").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            }
        }
    });
}

#[test]
fn a_silent_router_only_forwards() {
    inside(&["--path", "3", "--listen", "443", "--silent", "2"], || {
        for family in FAMILIES {
            let server = hop(4, family);
            assert_eq!(connect(server, 1, PATIENCE_MS), time_exceeded(1, family));
            assert_eq!(connect(server, 2, SILENCE_MS), Answer::Nothing);
            assert_eq!(connect(server, 3, PATIENCE_MS), time_exceeded(3, family));
            assert_eq!(connect(server, 4, PATIENCE_MS), Answer::Connected);
        }
    });
}

/// What the router says is the kernel's: RFC 1812 section 5.2.7.1, RFC 4443 section 3.1.
#[rstest]
#[case::unreachable("2", Some([(3, 1), (1, 0)]))]
#[case::prohibit("2,prohibit", Some([(3, 13), (1, 1)]))]
#[case::blackhole("2,blackhole", None)]
fn a_router_without_a_way_says_so(#[case] option: &str, #[case] expected: Option<[(u8, u8); 2]>) {
    inside(&["--path", "3", "--listen", "443", "--unreachable", option], || {
        for (index, family) in FAMILIES.into_iter().enumerate() {
            let server = hop(4, family);
            assert_eq!(connect(server, 1, PATIENCE_MS), time_exceeded(1, family));
            let (expected, wait_ms) = match expected {
                Some(said) => (Answer::Icmp(hop(2, family), said[index].0, said[index].1), PATIENCE_MS),
                None => (Answer::Nothing, SILENCE_MS),
            };
            assert_eq!(connect(server, 64, wait_ms), expected);
            // Only the way to the server is missing.
            assert_eq!(connect(hop(3, family), 64, PATIENCE_MS), Answer::Failed("ECONNREFUSED".to_owned()));
        }
    });
}

#[test]
fn a_filtered_server_answers_nothing_behind_routers_that_do() {
    inside(&["--path", "2", "--listen", "443", "--filtered"], || {
        for family in FAMILIES {
            assert_eq!(connect(hop(3, family), 2, PATIENCE_MS), time_exceeded(2, family));
            assert_eq!(connect(hop(3, family), 64, SILENCE_MS), Answer::Nothing);
        }
    });
}

/// No upper bound: how late a process gets its turn is no business of this program.
#[test(Tun)]
fn a_round_trip_takes_as_long_as_asked_for() {
    inside(&["--path", "2", "--listen", "443", "--rtt", "40"], || {
        for family in FAMILIES {
            for hops in 1..=3 {
                let start = Instant::now();
                let answer = connect(hop(3, family), hops, PATIENCE_MS);
                assert!(start.elapsed() >= Duration::from_millis(40), "{answer:?} after {:?}", start.elapsed());
                let reached = hops == 3;
                assert_eq!(answer, if reached { Answer::Connected } else { time_exceeded(hops.into(), family) });
            }
        }
    });
}

/// Without the 12 bytes of the option, segments hold 1460 bytes.
#[rstest]
#[case(&[], 1448)]
#[case(&["--no-timestamps"], 1460)]
fn timestamps_are_the_servers_to_refuse(#[case] options: &[&str], #[case] segment: u32) {
    inside(&[&["--path", "1", "--listen", "443"], options].concat(), || {
        let stream = TcpStream::connect((hop(2, Family::Ipv4), PORT)).unwrap();
        assert_eq!(socket2::SockRef::from(&stream).tcp_mss().unwrap(), segment);
        assert_ne!(sys::read_sysctl("net.ipv4.tcp_timestamps").unwrap(), "0", "the client has them");
    });
}

fn exec(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("exec").args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[rstest]
#[case::success(&["--", "true"], 0, "")]
#[case::its_own(&["--path", "1", "--", "sh", "-c", "exit 3"], 3, "")]
#[case::without_dashes(&["sh", "-c", "exit 4"], 4, "")]
#[case::killed(&["--", "sh", "-c", "kill -9 $$"], 137, "")]
#[case::not_a_program(&["--", "/"], 126, "cannot run `/`: EACCES")]
#[case::not_found(&["--", "errnoscope-has-no-such-program"], 127, "cannot run `errnoscope-has-no-such-program`: ENOENT")]
#[case::no_command(&["--path", "1"], 125, "required arguments")]
#[case::no_such_option(&["--pith", "1", "--", "true"], 125, "--pith")]
#[case::too_long(&["--path", "65", "--", "true"], 125, "0..=64")]
#[case::no_such_router(&["--path", "2", "--silent", "3", "--", "true"], 125, "there is no router 3")]
#[case::no_path(&["--filtered", "--", "true"], 125, "--path")]
#[case::no_such_kind(&["--path", "1", "--unreachable", "1,sulking", "--", "true"], 125, "unknown kind `sulking`")]
fn the_exit_code_says_who_failed(#[case] arguments: &[&str], #[case] code: i32, #[case] complaint: &str) {
    let output = exec(arguments);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{complained}");
    assert!(complained.contains(complaint), "{complained}");
    assert_eq!(complained.starts_with("errnoscope: error: "), !complaint.is_empty(), "{complained}");
}

#[test]
fn a_command_finds_what_its_caller_gave_it() {
    let directory = tempfile::tempdir().unwrap();
    let script = "cat; pwd; echo $WHAT; echo error >&2; ls /proc | grep -c '^[0-9]'; test -d /proc/self";
    let mut child = Command::new(PROGRAM)
        .args(["exec", "--", "sh", "-c", script])
        .current_dir(&directory)
        .env("WHAT", "environment")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"input\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let place = directory.path().canonicalize().unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..3], ["input", place.to_str().unwrap(), "environment"]);
    assert_eq!(output.stderr, b"error\n");
    assert!(output.status.success(), "{}", output.status);
}

/// A world that has everything, and a command that says when it runs.
fn running(command: &str) -> Child {
    let mut child = Command::new(PROGRAM)
        .args(["exec", "--path", "1", "--listen", "443", "--", "sh", "-c"])
        .arg(format!("{command}; echo ready; while :; do sleep 0.01; done"))
        // A group of its own has a parent in the session, whatever becomes of this one's: an orphaned group is not
        // stopped.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    child
}

#[rstest]
#[case("TERM", Some(15))]
#[case("INT", Some(2))]
#[case("HUP", Some(1))]
#[case("QUIT", Some(3))]
#[case("ALRM", Some(14))]
#[case("USR1", Some(10))]
#[case("USR2", Some(12))]
#[case("WINCH", None)]
#[case("CONT", None)]
fn a_signal_is_the_commands(#[case] signal: &str, #[case] ends: Option<i32>) {
    let mut child = running(&format!("trap 'exit 9' {signal}"));
    send_signal(signal, child.id());
    assert_eq!(child.wait().unwrap().code(), Some(9));
    let Some(number) = ends else { return };
    let mut child = running(":");
    send_signal(signal, child.id());
    assert_eq!(child.wait().unwrap().code(), Some(128 + number));
}

/// The terminal of script(1) sends it to the whole group, in which the command is.
#[test(Script)]
fn a_key_of_the_terminal_is_the_commands_once() {
    let count = "n=0; trap 'n=$((n+1))' INT; echo ready; for i in $(seq 100); do sleep .01; done; exit $n";
    // Without a shell between, which would end of the key itself.
    let command =
        format!("exec {PROGRAM} exec --listen 80 -c timestamps=on -- sh -c \"{}\"", count.replace('$', "\\$"));
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it never ran");
    }
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    said.read_to_string(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{line}");
}

/// As a shell's `kill -TSTP` and `kill -CONT` do.
#[test]
fn a_stop_is_the_commands_and_ours() {
    let mut child = running("trap 'echo stops' TSTP; trap 'exit 9' CONT");
    let is_stopped = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
    send_signal("TSTP", child.id());
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"stops\n");
    let patience = Instant::now() + Duration::from_secs(60);
    while !is_stopped(child.id()) {
        assert!(Instant::now() < patience, "it never stopped");
        sys::pause_ms(1.0);
    }
    send_signal("CONT", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

/// Whoever set it before is gone: alarm(2) goes on where a program becomes another.
#[test(Python)]
fn an_alarm_of_the_callers_is_the_commands() {
    let script = "import os, signal, sys; signal.alarm(1); os.execv(sys.argv[1], sys.argv[1:])";
    let status = Command::new("python3").args(["-c", script, PROGRAM, "exec", "--", "sleep", "60"]).status().unwrap();
    assert_eq!(status.code(), Some(128 + 14));
}

/// Before the command starts, and when it has ended: nobody else is there to get it.
#[rstest(Python, Ptrace)]
#[case::before("sleep 1000", ":")]
#[case::after("exec python3 -m http.server 80", ATTACH)]
fn a_signal_ends_it_at_any_time(#[case] helper: &str, #[case] script: &str) {
    for (signal, number) in [("TERM", 15), ("INT", 2)] {
        let mark = format!("{signal}-of-{}", std::process::id());
        let mut child = Command::new(PROGRAM)
            .args(["exec", "-c", "timestamps=on", "--with"])
            .arg(format!("echo ready >&2; {helper}"))
            .args(["--", "sh", "-c", script])
            .env(MARK, &mark)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let expected = if script == ":" { "ready" } else { "attached" };
        let mut line = String::new();
        while !line.contains(expected) {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "no `{expected}`");
        }
        // The command has still to end, and what comes right then was meant for it.
        sys::pause_ms(if script == ":" { 0.0 } else { 1000.0 });
        let start = Instant::now();
        send_signal(signal, child.id());
        assert_eq!(child.wait().unwrap().code(), Some(128 + number));
        assert!(start.elapsed() < Duration::from_secs(5), "{signal} took {:?}", start.elapsed());
        said.read_to_string(&mut line).unwrap();
        // The kernel takes the world down in its own time, which is short.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !marked(&mark).is_empty() && Instant::now() < deadline {
            sys::pause_ms(5.0);
        }
        assert_eq!(marked(&mark), Vec::<String>::new());
    }
}

/// Stops the process that holds the conditions, the last before the command, in a way that SIGCONT does not end.
const ATTACH: &str = "python3 -c 'import ctypes, os, sys, time; l = ctypes.CDLL(None); l.ptrace.argtypes = [ctypes.c_long] * 4
if l.ptrace(16, int(sys.argv[1]), 0, 0): sys.exit(\"ptrace\")
print(\"attached\", file=sys.stderr, flush=True); time.sleep(1000)' $(($$ - 1)) & while ! grep -q 'State:.t' /proc/$(($$ - 1))/status; do :; done";

#[test(Python, Ptrace)]
fn a_holder_that_does_not_answer_is_told() {
    let output = exec(&["-c", "timestamps=on", "--", "sh", "-c", ATTACH]);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{complained}");
    assert!(
        complained.contains("`timestamps=on`: ") && complained.contains("does not answer within 10 s"),
        "{complained}"
    );
}

/// What a command does to the first process of its world, and how that is told; nothing, where all is well.
#[rstest(Tun, Python, Ptrace)]
#[case::server_killed(&["--listen", "80"], "kill -9 $P", "--listen: the server was killed by signal 9")]
#[case::server_stopped(&["--listen", "80"], "kill -STOP $P", "--listen: the server is stopped")]
#[case::server_woken(&["--listen", "80"], "kill -STOP $P; kill -CONT $P", "")]
#[case::under_trace(&["--listen", "80", "--json", "/dev/null"], "kill -STOP $P; sleep .05", "the server is stopped")]
#[case::line_killed(&["--path", "1", "--rtt", "1"], "kill -9 $P", "--rtt: the process that carries the packets was killed")]
#[case::line_stopped(&["--path", "1", "--rtt", "1"], "kill -STOP $P", "--rtt: the process that carries the packets is stopped")]
#[case::holder_killed(&["-c", "timestamps=on"], "kill -9 $P", "`timestamps=on`: the process that holds it was killed")]
#[case::holder_stopped(&["-c", "timestamps=on"], "kill -STOP $P", "")]
#[case::router_stopped(&["-c", "icmp=3/1,for=198.51.100.0/24"], "kill -STOP 3", "the process that plays the router is stopped")]
#[case::program_killed(&["--with", SERVE], "kill -9 $P", "was killed by signal 9")]
#[case::program_stopped(&["--with", SERVE], "kill -STOP $P", "is stopped")]
#[case::program_failed(&["--with", SERVE], "kill -USR1 $P; while test -e /proc/$P; do :; done", "ended with exit code 3")]
#[case::program_done(&["--with", SERVE], "kill -USR2 $P; while test -e /proc/$P; do :; done", "")]
fn what_the_command_relies_on_is_there_when_it_has_ended(
    #[case] options: &[&str],
    #[case] script: &str,
    #[case] complaint: &str,
) {
    let script = format!("P=2; {script}; exit 5");
    let output = exec(&[options, &["--", "sh", "-c", &script]].concat());
    let complained = String::from_utf8_lossy(&output.stderr);
    if complaint.is_empty() {
        assert_eq!(output.status.code(), Some(5), "{complained}");
        assert!(!complained.contains("errnoscope: error"), "{complained}");
    } else {
        assert_eq!(output.status.code(), Some(125), "{complained}");
        assert!(complained.contains(complaint) && complained.contains("(exit code 5)"), "{complained}");
    }
}

/// There is nobody else in there.
#[test]
fn without_a_condition_none_is_lost() {
    let output = exec(&["--", "sh", "-c", "kill -9 2"]);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(137), "".into()));
}

/// A server that is one process, and ends in more than one way.
const SERVE: &str = "exec python3 -c 'import os, signal, socket; s = socket.socket(); \
signal.signal(signal.SIGUSR1, lambda *_: os._exit(3)); signal.signal(signal.SIGUSR2, lambda *_: os._exit(0)); \
s.listen(); [signal.pause() for _ in iter(int, 1)]'";

/// Its process group, and what it leaves to pid 1.
#[rstest(Python)]
#[case::stopped(&format!("({SERVE}) & wait"), "STOP", "is stopped")]
#[case::killed(&format!("({SERVE}) & wait $!"), "KILL", "exit code 137")]
#[case::left_behind(
    // It begins to serve when the shell that left it has ended: before, its end would be the shell's to notice.
    &format!("setsid sh -c \"while kill -0 $$; do sleep .01; done 2>/dev/null; {SERVE}\" & sleep .1"),
    "KILL",
    "a process that it started was killed"
)]
#[case::left_behind_later(&format!("setsid sh -c \"{SERVE}\" & sleep 1"), "STOP", "a process that it started is stopped")]
fn a_program_is_all_its_processes(#[case] program: &str, #[case] signal: &str, #[case] complaint: &str) {
    let kill = format!("case $(readlink $p/exe) in *python*) kill -{signal} ${{p#/proc/}};; esac");
    let script = format!("for p in /proc/[0-9]*; do {kill}; done; sleep .1; exit 5");
    let output = exec(&["--with", program, "--", "sh", "-c", &script]);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{complained}");
    assert!(complained.contains(complaint), "{complained}");
}

#[test(Python)]
fn what_the_command_relies_on_is_there_before_it_starts() {
    for (signal, complaint) in [("KILL", "the server was killed by signal 9"), ("STOP", "the server is stopped")] {
        let place = tempfile::tempdir().unwrap();
        let program = format!("kill -{signal} 2; exec python3 -m http.server 81");
        let command = ["--listen", "80", "--with", &program, "--", "touch", "ran"];
        let output = Command::new(PROGRAM).arg("exec").args(command).current_dir(&place).output().unwrap();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{complained}");
        assert!(complained.contains(complaint) && complained.contains("it has not run"), "{complained}");
        assert!(!place.path().join("ran").exists());
    }
}

/// A server of UDP alone is ready when it is said to be, and a client's UDP socket says nothing.
#[rstest(Python, Iproute2)]
#[case::tcp(&[], "*:80")]
#[case::named(&["--ready", "53"], "*:53")]
#[case::of_tcp(&["--ready", "80"], "*:80")]
fn a_helper_is_ready_when_it_serves(#[case] ready: &[&str], #[case] port: &str) {
    let helper = "exec python3 -c 'import socket, time; d = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); d.bind((\"\", 53))
time.sleep(.3); s = socket.socket(socket.AF_INET6); s.bind((\"\", 80)); s.listen(); time.sleep(1000)'";
    let output = exec(&[&["--with", helper], ready, &["--", "ss", "-lntuH"]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(port), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.contains("*:80"), port == "*:80", "{said}");
}

/// Seccomp is Linux's.
#[cfg(target_os = "linux")]
mod refused {
    use super::*;

    /// Has the kernel refuse system calls to a command and to all that it starts, where some bits of the first argument
    /// are set.
    fn refuse(command: &mut Command, calls: &[(i64, u32, i32)]) {
        let mut program: Vec<libc::sock_filter> = Vec::new();
        let mut add = |code: u32, jt, jf, k| program.push(libc::sock_filter { code: code as u16, jt, jf, k });
        let (load, equal, any_bit, give) = (
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K,
            libc::BPF_RET | libc::BPF_K,
        );
        for &(number, bits, errno) in calls {
            add(load, 0, 0, 0);
            add(equal, 0, if bits == 0 { 1 } else { 3 }, number as u32);
            if bits != 0 {
                add(load, 0, 0, 16);
                add(any_bit, 0, 1, bits);
            }
            add(give, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32);
        }
        add(give, 0, 0, libc::SECCOMP_RET_ALLOW);
        // SAFETY: prctl(2) is all that the child calls, with a program that it owns.
        unsafe {
            command.pre_exec(move || {
                let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
                let is_set = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                    && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) == 0;
                if is_set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            })
        };
    }

    const THREAD: u32 = libc::CLONE_THREAD as u32;

    #[rstest]
    #[case::ptrace(&[(libc::SYS_ptrace, 0, libc::EPERM)], &["--trace"], "cannot trace the command, which has not run: ptrace(2): EPERM")]
    #[case::filter(&[(libc::SYS_seccomp, 0, libc::EPERM)], &["--trace"], "cannot trace the command, which has not run: seccomp(2): EPERM")]
    #[case::thread(
        &[(libc::SYS_clone3, 0, libc::ENOSYS), (libc::SYS_clone, THREAD, libc::EAGAIN)],
        &["--trace"],
        "cannot start the thread that a traced command needs: EAGAIN"
    )]
    #[case::unshare(&[(libc::SYS_unshare, 0, libc::EPERM)], &[], "cannot create a private network for the command: ")]
    #[case::setns(&[(libc::SYS_setns, 0, libc::EPERM)], &["--path", "1"], "the client: EPERM; a seccomp filter or a security module")]
    fn what_the_kernel_refuses_is_told_and_nothing_has_run(
        #[case] calls: &[(i64, u32, i32)],
        #[case] options: &[&str],
        #[case] complaint: &str,
    ) {
        for ordinary in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let program = directory.path().join("errnoscope");
            crate::common::copy_program(PROGRAM, &program);
            for path in [directory.path(), &program] {
                std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
            }
            let mut command = Command::new(&program);
            command.arg("exec").args(options).args(["--", "touch", "ran"]).current_dir(&directory).stdin(Stdio::null());
            if ordinary && sys::effective_uid() == 0 {
                command.uid(65_534).gid(65_534);
            }
            refuse(&mut command, calls);
            let output = command.output().unwrap();
            let complained = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "{complained}");
            assert!(complained.contains(complaint), "{complained}");
            assert!(!directory.path().join("ran").exists(), "{complained}");
            let is_root = !ordinary && sys::effective_uid() == 0;
            assert!(!(is_root && complained.contains("run as root")), "{complained}");
        }
    }
}

/// Limits of a user namespace that is its own root's: what is told is what has to be raised.
#[rstest]
#[case::user("user", true, "raise user.max_user_namespaces above 0")]
#[case::net("net", false, "raise user.max_net_namespaces")]
#[case::pid("pid", false, "user.max_pid_namespaces")]
fn a_limit_of_namespaces_is_told(#[case] kind: &str, #[case] powerless: bool, #[case] complaint: &str) {
    let drop = if powerless { "setpriv --bounding-set -all --inh-caps -all" } else { "" };
    let script = format!("echo 0 >/proc/sys/user/max_{kind}_namespaces && exec {drop} {PROGRAM} exec -- true");
    let output = Command::new("unshare").args(["--user", "--map-root-user", "sh", "-c", &script]).output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{complained}");
    assert!(complained.contains(complaint) && !complained.contains("run as root"), "{complained}");
}

fn send_signal(signal: &str, pid: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status().unwrap();
    assert!(status.success());
}

/// Every process of a world has its standard output: it ends when the last of them is gone.
#[rstest]
#[case::the_one_outside(false)]
#[case::pid_1_inside(true)]
fn nothing_survives_a_kill(#[case] inside: bool) {
    let mut child = running(":");
    let outside = child.id();
    let victim = if inside {
        let children = std::fs::read_to_string(format!("/proc/{outside}/task/{outside}/children")).unwrap();
        children.trim().parse().unwrap()
    } else {
        outside
    };
    send_signal("KILL", victim);
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), if inside { (Some(137), None) } else { (None, Some(9)) });
    let mut output = child.stdout.take().unwrap();
    assert!(sys::poll(&output, Until::Readable, PATIENCE_MS).unwrap(), "somebody is left");
    assert_eq!(output.read(&mut [0]).unwrap(), 0);
}

/// Root becomes somebody else for this; the program may lie where only root can go.
#[test]
fn an_ordinary_user_has_a_path_and_stays_who_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("errnoscope");
    crate::common::copy_program(PROGRAM, &program);
    for path in [directory.path(), &program] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let script = "test $(id -u) = $0 && exec 3<>/dev/tcp/10.77.5.2/443 && exec 4<>/dev/tcp/fd77:0:0:5::2/443";
    let run = |options: &[&str]| {
        let mut command = Command::new(&program);
        let mut uid = sys::effective_uid();
        if uid == 0 {
            uid = 65_534;
            command.uid(uid).gid(uid);
        }
        command.args(["exec", "--path", "5", "--listen", "443", "--silent", "1", "--no-timestamps"]).args(options);
        command.args(["--", "bash", "-c", script, &uid.to_string()]).current_dir("/").stdin(Stdio::null());
        command.output().unwrap()
    };
    let output = run(&[]);
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    // /dev/net/tun is for everybody on most systems, and for root alone on some.
    let output = run(&["--rtt", "1"]);
    if !output.status.success() {
        let complained = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{complained}");
        assert!(complained.starts_with("errnoscope: error: ") && complained.contains("/dev/net/tun"), "{complained}");
    }
}

/// script(1) gives it a terminal.
#[test]
fn a_shell_has_a_prompt_that_says_where_it_is() {
    let command = format!("{PROGRAM} shell -c ports-exhausted,range=40000-40001");
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("SHELL", "/bin/bash")
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = b"exec 3<>/dev/tcp/127.0.0.1/9\nsleep 30 & jobs; kill %1\necho $ERRNOSCOPE=$((6*7))\nexit 3\n";
    child.stdin.as_mut().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("(errnoscope ports-exhausted,range=40000-40001) "), "{said}");
    assert!(said.contains("Cannot assign requested address") && said.contains("range=40000-40001=42"), "{said}");
    assert!(said.contains("Running") && !said.contains("no job control"), "{said}");
}

/// The kernel makes an IPv6 address usable in its own time: it is waited for as long as there is time, and one that is
/// still not usable then is told, and nothing goes on without it.
#[test(Iproute2, Root)]
fn an_address_that_is_late_is_waited_for() {
    const ADDRESS: &str = "2001:db8::9";
    let ip = |arguments: &str| {
        let status = Command::new("ip").arg("-6").args(arguments.split(' ')).status().expect("ip starts");
        assert!(status.success(), "ip -6 {arguments}");
    };
    inside(&[], || {
        let begun = Instant::now();
        ip(&format!("address add {ADDRESS}/128 dev lo nodad"));
        sys::settle(Duration::from_secs(60)).expect("it is usable in the end");
        // As it is for a moment before the kernel has got round to it.
        ip(&format!("route del local {ADDRESS} dev lo table local"));
        let told = sys::settle(Duration::from_millis(100)).expect_err("it is not usable");
        assert!(told.to_string().starts_with("the address 2001:db8::9 is not usable after 1"), "{told}");
        let late = Duration::from_millis(900);
        let kernel = std::thread::spawn(move || {
            std::thread::park_timeout(late);
            ip(&format!("route add local {ADDRESS} dev lo table local"));
        });
        sys::settle(Duration::from_secs(60)).expect("it is usable in the end");
        kernel.join().expect("the address is usable");
        assert!(begun.elapsed() > late, "it was not waited for");
    });
}
