//! `errnoscope exec`: the path is what it says, the command ends as if nobody stood in between, and nothing is left.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{PROGRAM, hop, inside};
use crate::harness::{needs, rstest, test};
use errnoscope::names::{Family, Protocol};
use errnoscope::plan::{Detail, SocketOption};
use errnoscope::sys::{self, Address, Mode, Until};

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
    if !sys::poll(fd.as_raw_fd(), Until::Writable, wait_ms).unwrap() {
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

/// A world that has everything, and a command that says when it runs. Whoever runs the tests (nohup, a shell's background) may have
/// had signals ignored, which would stay so.
fn running(command: &str) -> Child {
    let mut child = Command::new("env")
        .args(["--default-signal=INT,HUP", PROGRAM, "exec", "--path", "1", "--listen", "443", "--", "sh", "-c"])
        .arg(format!("{command}; echo ready; while :; do sleep 0.01; done"))
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
#[case("TERM")]
#[case("INT")]
#[case("HUP")]
fn a_signal_is_the_commands(#[case] signal: &str) {
    let mut child = running(&format!("trap 'exit 9' {signal}"));
    send_signal(signal, child.id());
    assert_eq!(child.wait().unwrap().code(), Some(9));
    let mut child = running(":");
    send_signal(signal, child.id());
    let number = [("TERM", 15), ("INT", 2), ("HUP", 1)].into_iter().find(|(name, _)| *name == signal).unwrap().1;
    assert_eq!(child.wait().unwrap().code(), Some(128 + number));
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
    assert!(sys::poll(output.as_raw_fd(), Until::Readable, PATIENCE_MS).unwrap(), "somebody is left");
    assert_eq!(output.read(&mut [0]).unwrap(), 0);
}

/// Root becomes somebody else for this; the program may lie where only root can go.
#[test]
fn an_ordinary_user_has_a_path_and_stays_who_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("errnoscope");
    std::fs::copy(PROGRAM, &program).unwrap();
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
