//! Conditions of `errnoscope exec`: a program of somebody else's sees what the scenario's claimer saw, a condition that is lost is
//! told, and nothing stays behind.

mod common;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{PROGRAM, reports};
use errnoscope::calls::Calls;
use errnoscope::cause::Cause;
use errnoscope::names::{Call, Family, Protocol};
use errnoscope::plan::{Outcome, SocketOption};
use errnoscope::sys::{self, Address, Mode, Until};
use rstest::rstest;

/// What the client is to do, where this program is one.
const SCRIPT: &str = "ERRNOSCOPE_TEST_CLIENT";
/// A process of a test has this, with the test's own value.
const MARK: &str = "ERRNOSCOPE_TEST_MARK";
const ORDINARY: u32 = 65_534;

/// Options of exec; what a plain client does; the finding in the baseline that says what it sees, and its call.
type Row = (&'static [&'static str], &'static str, &'static str, Call);

const NARROW: &str = "ports-exhausted,range=40000-40015";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (&["-c", "ports-exhausted"], "tcp bind=127.0.0.1:0",
        "bind.ports-exhausted[protocol=tcp,family=ipv4,reuse=none,fill=bind,relation=holder-wildcard,range=narrow,autobind_reuse=0]", Call::Bind),
    (&["-c", "ports-exhausted"], "tcp connect=127.0.0.1:20100",
        "connect.ports-exhausted[protocol=tcp,family=ipv4,call=connect,filled=bound-default-range,address=loopback,destination=same,claimer=unbound,timestamps=on,tw_reuse=2]", Call::Connect),
    (&["-c", "ports-exhausted,range=40000-40000"], "tcp connect=127.0.0.1:20100",
        "connect.ports-exhausted[protocol=tcp,family=ipv4,call=connect,filled=bound-one-port,address=loopback,destination=same,claimer=unbound,timestamps=on,tw_reuse=2]", Call::Connect),
    (&["-c", NARROW], "tcp connect=[::1]:20100",
        "connect.ports-exhausted[protocol=tcp,family=ipv6,call=connect,filled=bound,address=loopback,destination=same,claimer=unbound,timestamps=on,tw_reuse=2]", Call::Connect),
    (&["-c", "ports-exhausted,range=40000-40015,to=127.0.0.1:20100"], "tcp connect=127.0.0.1:20100",
        "connect.ports-exhausted[protocol=tcp,family=ipv4,call=connect,filled=connected,address=loopback,destination=same,claimer=unbound,timestamps=on,tw_reuse=2]", Call::Connect),
    (&["--listen", "20100", "-c", "ports-exhausted,range=40000-40015,to=127.0.0.1:20100"], "tcp connect=127.0.0.2:20100",
        "connect.ports-exhausted[protocol=tcp,family=ipv4,call=connect,filled=connected,address=loopback,destination=other-address,claimer=unbound,timestamps=on,tw_reuse=2]", Call::Connect),
    (&["-c", "ports-exhausted,range=40000-40015,protocol=udp"], "udp connect=127.0.0.1:20100",
        "connect.ports-exhausted[protocol=udp,family=ipv4,call=connect,filled=bound,address=loopback,destination=same,claimer=unbound,timestamps=on,tw_reuse=2]", Call::Connect),
    (&["-c", "ports-exhausted,range=40000-40015,protocol=udp"], "udp send=127.0.0.1:20100",
        "connect.ports-exhausted[protocol=udp,family=ipv4,call=sendto,filled=bound,address=loopback,destination=same,claimer=unbound,timestamps=on,tw_reuse=2]", Call::Sendto),
    (&["-c", "port-held=20000,state=bound"], "tcp addr bind=127.0.0.1:20000",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=bound,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "port-held=20000,address=127.0.0.1"], "tcp addr bind=127.0.0.1:20000",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=listening,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "port-held=20000,state=syn-sent"], "tcp addr bind=127.0.0.1:20000",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=syn-sent,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "port-held=20000,state=established"], "tcp addr bind=127.0.0.1:20000",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=established,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "port-held=20000,state=accepted"], "tcp addr bind=127.0.0.1:20000",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=accepted,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "port-held=20000,state=fin-wait-2"], "tcp addr bind=127.0.0.1:20000",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=fin-wait-2,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "port-held=20000,state=close-wait"], "tcp addr bind=127.0.0.1:20000",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=close-wait,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "port-held=20000,state=time-wait"], "tcp addr bind=127.0.0.1:20000",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=time-wait,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "port-held=20000,state=time-wait,reuse=addr"], "tcp addr bind=127.0.0.1:20000",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=time-wait,relation=same-specific,holder_reuse=addr,claimer_reuse=addr]", Call::Bind),
    (&["-c", "port-held=20000,protocol=udp,state=connected"], "udp bind=127.0.0.1:20000",
        "bind.port-held[protocol=udp,family=ipv4,holder_state=connected,relation=same-specific,holder_reuse=none,claimer_reuse=none]", Call::Bind),
    (&["-c", "ports-held=20000-20001,address=127.0.0.1"], "tcp addr bind=127.0.0.1:20001",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=bound,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "tuple-held=127.0.0.1:20000-127.0.0.1:20100"], "tcp addr bind=127.0.0.1:20000 connect=127.0.0.1:20100",
        "connect.tuple-held[protocol=tcp,family=ipv4,holder_state=established,holder_closed=no,address=loopback,destination=same,timestamps=on,tw_reuse=2,reuse=addr]", Call::Connect),
    (&["-c", "tuple-held=[::1]:20000-[::1]:20100,state=syn-sent", "-c", "timestamps=on"], "tcp addr bind=[::1]:20000 connect=[::1]:20100",
        "connect.tuple-held[protocol=tcp,family=ipv6,holder_state=syn-sent,holder_closed=no,address=loopback,destination=same,timestamps=on,tw_reuse=2,reuse=addr]", Call::Connect),
    (&["-c", "tuple-held=127.0.0.1:20000-127.0.0.1:20100,state=time-wait", "-c", "timestamps=off"], "tcp addr bind=127.0.0.1:20000 connect=127.0.0.1:20100",
        "connect.tuple-held[protocol=tcp,family=ipv4,holder_state=time-wait,holder_closed=yes,address=loopback,destination=same,timestamps=off,tw_reuse=2,reuse=addr]", Call::Connect),
    // What is taken over has held: the command has used it up.
    (&["-c", "tuple-held=127.0.0.1:20000-127.0.0.1:20100,state=time-wait", "-c", "tw-reuse=0"], "tcp addr bind=127.0.0.1:20000 connect=127.0.0.1:20100",
        "connect.tuple-held[protocol=tcp,family=ipv4,holder_state=time-wait,holder_closed=yes,address=loopback,destination=same,timestamps=on,tw_reuse=0,reuse=addr]", Call::Connect),
    (&["-c", "source-not-local"], "tcp bind=192.0.2.1:20000",
        "bind.address-not-local[protocol=tcp,family=ipv4,address=never,nonlocal=no]", Call::Bind),
    (&["--path", "0", "-c", "source-not-local=10.77.0.1"], "tcp bind=10.77.0.1:20000",
        "bind.address-not-local[protocol=tcp,family=ipv4,address=removed,nonlocal=no]", Call::Bind),
    (&["-c", "no-route"], "tcp connect=198.51.100.1:20100",
        "connect.route[protocol=tcp,family=ipv4,route=none,source=unbound,ports=free]", Call::Connect),
    (&["--path", "1", "--listen", "20100", "-c", "no-route"], "tcp connect=10.77.1.2:20100",
        "connect.route[protocol=tcp,family=ipv4,route=throw,source=unbound,ports=free]", Call::Connect),
    (&["-c", "unreachable=198.51.100.0/24"], "tcp connect=198.51.100.1:20100",
        "connect.route[protocol=tcp,family=ipv4,route=unreachable,source=unbound,ports=free]", Call::Connect),
    (&["-c", "blackhole=198.51.100.0/24"], "tcp connect=198.51.100.1:20100",
        "connect.route[protocol=tcp,family=ipv4,route=blackhole,source=unbound,ports=free]", Call::Connect),
    (&["-c", "prohibit=2001:db8:1::/64"], "tcp connect=[2001:db8:1::1]:20100",
        "connect.route[protocol=tcp,family=ipv6,route=prohibit,source=unbound,ports=free]", Call::Connect),
    // Both are true, and the route is looked for first.
    (&["-c", "unreachable=198.51.100.1", "-c", NARROW], "tcp connect=198.51.100.1:20100",
        "connect.route[protocol=tcp,family=ipv4,route=unreachable,source=unbound,ports=exhausted]", Call::Connect),
    (&["--listen", "20100", "-c", "output-dropped=127.0.0.0/8,port=20100"], "tcp connect=127.0.0.1:20100 error",
        "connect.filtered[socket=tcp,family=ipv4,verdict=drop]", Call::SoError),
    (&["--listen", "20100", "-c", "output-dropped,protocol=tcp,port=20100,verdict=reset"], "tcp connect=127.0.0.1:20100 error",
        "connect.filtered[socket=tcp,family=ipv4,verdict=reset]", Call::SoError),
    (&["-c", "output-dropped,port=20100"], "udp send=127.0.0.1:20100",
        "connect.filtered[socket=udp-unconnected,family=ipv4,verdict=drop]", Call::Sendto),
    (&["-c", "icmp=3/1,for=198.51.100.0/24"], "tcp connect=198.51.100.1:20100 error",
        "connect.icmp[family=ipv4,message=host-unreachable,source=unbound,recverr=off,first=so-error]", Call::SoError),
    (&["-c", "icmp=3/0,for=2001:db8:1::/64"], "tcp connect=[2001:db8:1::1]:20100 error",
        "connect.icmp[family=ipv6,message=time-exceeded,source=unbound,recverr=off,first=so-error]", Call::SoError),
    (&["-c", "descriptors-exhausted=4"], "all tcp",
        "socket.descriptors-exhausted[protocol=tcp,family=ipv4,ports=left]", Call::Socket),
];

/// Not a test where nobody asks for it: a client in plain calls, which says how its last one ended.
#[test]
fn client() {
    let Ok(script) = std::env::var(SCRIPT) else { return };
    let mut words = script.split(' ').peekable();
    let all = words.next_if_eq(&"all").is_some();
    let protocol: Protocol = words.next().unwrap().parse().unwrap();
    let family = if script.contains("=[") { Family::Ipv6 } else { Family::Ipv4 };
    let mut held: Vec<OwnedFd> = Vec::new();
    let mut outcome = sys::socket(family, protocol).map(|fd| held.push(fd));
    while all && outcome.is_ok() {
        outcome = sys::socket(family, protocol).map(|fd| held.push(fd));
    }
    let mut text = String::new();
    for word in words {
        let fd = &held[0];
        let (call, address) = word.split_once('=').unwrap_or((word, ""));
        let address = || -> SocketAddr { address.parse().unwrap() };
        outcome = match call {
            "addr" => {
                sys::set_option(fd, family, &SocketOption::ReuseAddr(true)).unwrap();
                Ok(())
            }
            "bind" => sys::bind(fd, &Address::new(address())),
            "connect" => {
                sys::set_nonblocking(fd, Mode::Nonblocking).unwrap();
                sys::connect(fd, &Address::new(address()))
            }
            "send" => sys::send(fd, b"x", Some(&Address::new(address()))).map(drop),
            "error" if sys::poll(fd.as_raw_fd(), Until::Writable, 100).unwrap() => sys::socket_error(fd),
            "error" => {
                text = "blocked".to_owned();
                Ok(())
            }
            other => panic!("{other}"),
        };
    }
    if text.is_empty() {
        text = outcome.map_or_else(|errno| errno.name().to_owned(), |()| "ok".to_owned());
    }
    println!("outcome {text}.");
    std::process::exit(0);
}

/// The program and this test's own, where anybody can run them, and a place where anybody can write.
struct Place {
    directory: tempfile::TempDir,
    user: Option<u32>,
}

impl Place {
    fn new(user: Option<u32>) -> Place {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
        let place = Place { directory, user };
        std::fs::copy(PROGRAM, place.program()).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), place.client()).unwrap();
        place
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("errnoscope")
    }

    fn client(&self) -> PathBuf {
        self.directory.path().join("client")
    }

    fn exec(&self, options: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.arg("exec").args(options).current_dir("/").stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn check(&self, row: &Row, report: &BTreeMap<(String, Call), (Outcome, Cause)>) {
        let (options, script, case, call) = row;
        let (outcome, cause) = report.get(&((*case).to_owned(), *call)).unwrap_or_else(|| panic!("no {case}"));
        let json = self.directory.path().join("calls.json");
        let _ = std::fs::remove_file(&json);
        let mut command = self.exec(options);
        command.arg("--json").arg(&json).arg("--").arg(self.client());
        let output = command.args(["client", "--exact", "--nocapture"]).env(SCRIPT, script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        let row = format!("{options:?} {script} as {:?}: {}\n{said}{complained}", self.user, output.status);
        assert_eq!(output.status.code(), Some(0), "{row}");
        assert!(said.contains(&format!("outcome {}.", outcome.name())), "expected {}: {row}", outcome.name());
        if let Outcome::Errno(_) = outcome {
            let calls: Calls = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
            let last = calls.calls.last().unwrap();
            assert_eq!((last.call, &last.outcome), (*call, outcome), "{row}");
            // A connect in progress has not failed, whatever it is in the way of.
            assert!(last.causes.contains(cause) || last.is_under_way(), "{cause} in {:?}: {row}", last.causes);
        }
    }
}

/// What the baseline has, by case and call.
fn baseline() -> BTreeMap<(String, Call), (Outcome, Cause)> {
    let findings = reports::baseline().findings.iter().cloned();
    findings.filter_map(|it| Some(((it.case, it.subject.call), (it.outcome?, it.cause)))).collect()
}

#[test]
fn a_client_sees_what_the_claimer_of_the_scenario_saw() {
    let (place, report) = (Place::new(None), baseline());
    ROWS.iter().for_each(|row| place.check(row, &report));
}

#[test]
fn so_does_an_ordinary_users() {
    let (place, report) = (Place::new((sys::effective_uid() == 0).then_some(ORDINARY)), baseline());
    // /dev/net/tun is for everybody on most systems, and for root alone on some.
    let tun =
        Command::new("test").args(["-w", "/dev/net/tun"]).uid(place.user.unwrap_or(sys::effective_uid())).status();
    let tun = tun.unwrap().success();
    for row in ROWS.iter().filter(|row| tun || !row.0.iter().any(|option| option.starts_with("icmp"))) {
        place.check(row, &report);
    }
}

fn exec(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("exec").args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[rstest]
#[case::typo(&["-c", "ports-exhasuted", "--", "true"], "did you mean ports-exhausted?")]
#[case::of_no_host(&["-c", "port-held=80,address=192.0.2.1", "--", "true"], "bind address=192.0.2.1 port=80: EADDRNOTAVAIL")]
#[case::twice(&["-c", "port-held=80", "-c", "port-held=80", "--", "true"], "tcp port 80 is held already")]
#[case::server(&["--listen", "80", "-c", "port-held=80", "--", "true"], "tcp port 80 is held already")]
#[case::no_server(&["--path", "1", "-c", "ports-exhausted,to=10.77.1.2:80", "--", "true"], "ECONNREFUSED")]
#[case::too_few(&["-c", "ports-held=40000-40015", "-c", "ports-exhausted,range=40000-40015,free=1", "--", "true"], "0 are not held")]
#[case::peer(&["--path", "1", "--listen", "80", "-c", "tuple-held=10.77.0.1:9-10.77.1.2:80,state=fin-wait-2", "--", "true"], "takes a peer that does as it is told")]
#[case::covered(&["-c", "unreachable=127.0.0.1", "--", "true"], "the kernel has: local")]
#[case::helper(&["--with", "exit 3", "--", "true"], "ended before it was ready, with exit code 3")]
#[case::time(&["--timeout", "soon", "--", "true"], "expected a time above 0")]
#[case::file(&["--json", "/nowhere/calls.json", "--", "true"], "cannot write /nowhere/calls.json")]
fn what_cannot_be_made_is_refused(#[case] arguments: &[&str], #[case] complaint: &str) {
    let output = exec(arguments);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{complained}");
    assert!(complained.starts_with("errnoscope: error: ") && complained.contains(complaint), "{complained}");
}

#[rstest]
#[case::holders(&["-c", "port-held=80"], "kill -9 -1", "was killed")]
#[case::filler(&["-c", "ports-exhausted"], "kill -9 3", "ports are free")]
#[case::router(&["-c", "icmp=3/1,for=198.51.100.0/24"], "kill -9 3", "the router was killed")]
#[case::sysctl(&["-c", "timestamps=on"], "echo 0 >/proc/sys/net/ipv4/tcp_timestamps", "net.ipv4.tcp_timestamps = 1: it is 0")]
#[case::route(&["-c", "unreachable=198.51.100.0/24"], "ip route del unreachable 198.51.100.0/24", "unreachable: the kernel has: none")]
#[case::address(&["-c", "source-not-local"], "ip address add 192.0.2.1/32 dev lo", "192.0.2.1 not configured: it is configured")]
#[case::filter(&["-c", "output-dropped"], "nft flush ruleset", "counter")]
fn a_condition_that_is_lost_is_told(#[case] options: &[&str], #[case] script: &str, #[case] why: &str) {
    if sys::effective_uid() != 0 && !script.starts_with("kill") {
        eprintln!("only root can undo what `{script}` undoes");
        return;
    }
    let output = exec(&[options, &["--", "bash", "-c", script]].concat());
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{complained}");
    assert!(complained.contains("did not hold until the command ended"), "{complained}");
    assert!(complained.contains(&format!("`{}`", options[1])) && complained.contains(why), "{complained}");
}

#[test]
fn a_port_that_was_left_free_is_the_commands_to_take() {
    let options = ["-c", "ports-exhausted,range=40000-40015,free=1", "--", "bash", "-c"];
    let output = exec(&[&options[..], &["exec 3<>/dev/tcp/127.0.0.1/9; exit 5"]].concat());
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
}

#[rstest]
#[case::asked("exec sleep 60", 124)]
#[case::stopped("kill -STOP $$; exit 3", 124)]
#[case::deaf("trap '' TERM; while :; do sleep 0.05; done", 124)]
#[case::in_time("exit 3", 3)]
fn a_command_that_hangs_is_ended(#[case] script: &str, #[case] code: i32) {
    let output = exec(&["--timeout", "0.3", "-c", "port-held=80", "--", "bash", "-c", script]);
    let complained = String::from_utf8_lossy(&output.stderr);
    // Whose time is up lives for two more seconds at most, and then for as long as the machine takes.
    assert_eq!(output.status.code(), Some(code), "{complained}");
}

#[rstest]
#[case::closes_its_input("exec <&-; exit 5", 5)]
#[case::closes_everything("exec <&- >&- 2>&-; exit 6", 6)]
#[case::is_killed("kill -9 $$", 137)]
#[case::leaves_others("sleep 1000 & setsid sleep 1000 & exit 7", 7)]
fn whatever_a_command_does_its_end_is_ours(#[case] script: &str, #[case] code: i32) {
    let output = exec(&["-c", NARROW, "--trace", "--", "bash", "-c", script]);
    // All output has been read to its end: nobody has it any more.
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_flood_ends_when_nobody_reads_it() {
    let mut child = Command::new(PROGRAM)
        .args(["exec", "-c", NARROW, "--", "yes", "a line of some length, again and again"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = vec![0; 8 << 20];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    // `yes` says why it cannot write, or dies of SIGPIPE where that is not ignored.
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(1 | 141)), "{code:?}");
}

#[test]
fn a_helper_is_there_before_the_command() {
    let helper = "echo from the helper; exec python3 -m http.server 8080 --bind 127.0.0.1";
    let script = "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.0\r\n\r\n' >&3; head -n 1 <&3";
    let output =
        exec(&["--with", helper, "--ready", "8080", "-c", "ports-exhausted,free=1", "--", "bash", "-c", script]);
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("HTTP/1.0 200"), "{said}{complained}");
    assert!(complained.contains("from the helper") && !said.contains("helper"), "{said}{complained}");
    assert_eq!(output.status.code(), Some(0));
}

/// Processes of this machine that have a mark.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let has_mark = |path: &PathBuf| {
        std::fs::read(path.join("environ"))
            .is_ok_and(|text| text.split(|byte| *byte == 0).any(|it| it == wanted.as_bytes()))
    };
    processes.filter(has_mark).map(|path| path.display().to_string()).collect()
}

fn lines_of(program: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A hundred runs, sixteen at a time, and many of them killed at some moment: the host is as it was.
#[test]
fn nothing_is_left_of_a_hundred_runs() {
    let mark = format!("runs-of-{}", std::process::id());
    let temporary = tempfile::tempdir().unwrap();
    let (before_networks, before_links) = (lines_of("ip", &["netns", "list"]), lines_of("ip", &["-o", "link"]).len());
    let kinds: [&[&str]; 4] = [
        &["-c", NARROW],
        &["-c", "port-held=28777,state=time-wait", "-c", "unreachable=198.51.100.0/24"],
        &["--listen", "28777", "-c", "icmp=3/1,for=198.51.100.0/24", "-c", "descriptors-exhausted=8"],
        &["--path", "2", "--listen", "28777", "--json", "/dev/null"],
    ];
    let start = |number: usize| -> (Child, bool) {
        let mut command = Command::new(PROGRAM);
        command.arg("exec").args(kinds[number % 4]).args(["--", "sh", "-c", "sleep 0.02"]);
        command.env(MARK, &mark).env("TMPDIR", temporary.path()).stdin(Stdio::null());
        (command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap(), number.is_multiple_of(3))
    };
    let mut running: Vec<(Child, bool)> = Vec::new();
    for number in 0..100 {
        running.push(start(number));
        if running.len() == 16 {
            // Moments that come about by themselves, the same in no two runs.
            for (child, to_kill) in &mut running {
                if *to_kill {
                    sys::pause_ms(f64::from(child.id() * 7 % 23));
                    child.kill().unwrap();
                }
            }
            running.drain(..).for_each(end);
        }
    }
    running.drain(..).for_each(end);
    let patience = Instant::now() + Duration::from_secs(10);
    while !marked(&mark).is_empty() && Instant::now() < patience {
        sys::pause_ms(5.0);
    }
    assert_eq!(marked(&mark), Vec::<String>::new(), "processes");
    assert_eq!(lines_of("ip", &["netns", "list"]), before_networks, "network namespaces");
    assert_eq!(lines_of("ip", &["-o", "link"]).len(), before_links, "devices");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "temporary files");
    let sockets = lines_of("ss", &["-tanH", "sport = :28777"]);
    assert!(sockets.is_empty(), "{sockets:?}");
}

fn end((child, killed): (Child, bool)) {
    let output = child.wait_with_output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(0) || killed, "{}: {complained}", output.status);
}
