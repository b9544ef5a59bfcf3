//! Conditions of `errnoscope exec`: a program of somebody else's sees what the scenario's claimer saw, a condition that
//! is lost is told, and nothing stays behind.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{MARK, PROGRAM, marked, reports};
use crate::harness::{needs, rstest, test};
use errnoscope::knowledge::calls::Calls;
use errnoscope::plan::{Outcome, SocketOption};
use errnoscope::report::finding::Finding;
use errnoscope::sys::{self, Address, Mode, Until};
use errnoscope::words::cause::Cause;
use errnoscope::words::names::{Call, Family, Protocol};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

needs!(Namespaces);

/// What the client is to do, where this program is one.
pub const SCRIPT: &str = "ERRNOSCOPE_TEST_CLIENT";
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
    (&["-c", "port-held=20000,address=127.0.0.1,state=listening,reuse=port,user=other"], "tcp port bind=127.0.0.1:20000",
        "bind.port-held-by-other-user[holder_user=user-a,claimer_user=root,holder_state=listening,relation=same-specific,reuse=port]", Call::Bind),
    (&["-c", "port-held=20000,address=127.0.0.1,state=established,reuse=port,user=other"], "tcp port bind=127.0.0.1:20000",
        "bind.port-held-by-other-user[holder_user=user-a,claimer_user=root,holder_state=established,relation=same-specific,reuse=port]", Call::Bind),
    (&["-c", "port-held=20000,protocol=udp,address=127.0.0.1"], "udp bind=127.0.0.1:20000",
        "bind.port-held[protocol=udp,family=ipv4,holder_state=bound,relation=same-specific,holder_reuse=none,claimer_reuse=none]", Call::Bind),
    (&["-c", "port-held=20000,protocol=udp,state=connected"], "udp bind=127.0.0.1:20000",
        "bind.port-held[protocol=udp,family=ipv4,holder_state=connected,relation=same-specific,holder_reuse=none,claimer_reuse=none]", Call::Bind),
    (&["-c", "ports-held=20000-20001,address=127.0.0.1"], "tcp addr bind=127.0.0.1:20001",
        "bind.port-held[protocol=tcp,family=ipv4,holder_state=bound,relation=same-specific,holder_reuse=none,claimer_reuse=addr]", Call::Bind),
    (&["-c", "tuple-held=127.0.0.1:20000-127.0.0.1:20100"], "tcp addr bind=127.0.0.1:20000 connect=127.0.0.1:20100",
        "connect.tuple-held[protocol=tcp,family=ipv4,holder_state=established,holder_closed=no,address=loopback,destination=same,timestamps=on,tw_reuse=2,reuse=addr]", Call::Connect),
    (&["-c", "tuple-held=127.0.0.1:20000-127.0.0.1:20100,state=fin-wait-2"], "tcp addr bind=127.0.0.1:20000 connect=127.0.0.1:20100",
        "connect.tuple-held[protocol=tcp,family=ipv4,holder_state=fin-wait-2,holder_closed=no,address=loopback,destination=same,timestamps=on,tw_reuse=2,reuse=addr]", Call::Connect),
    (&["-c", "tuple-held=127.0.0.1:20000-127.0.0.1:20100,state=close-wait"], "tcp addr bind=127.0.0.1:20000 connect=127.0.0.1:20100",
        "connect.tuple-held[protocol=tcp,family=ipv4,holder_state=close-wait,holder_closed=no,address=loopback,destination=same,timestamps=on,tw_reuse=2,reuse=addr]", Call::Connect),
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
    (&["--listen", "20100", "-c", "output-dropped=127.0.0.1,port=20100,verdict=net-unreachable"], "tcp connect=127.0.0.1:20100 error",
        "connect.filtered[socket=tcp,family=ipv4,verdict=net-unreachable]", Call::SoError),
    (&["--listen", "20100", "-c", "output-dropped=127.0.0.1,port=20100,verdict=host-unreachable"], "tcp connect=127.0.0.1:20100 error",
        "connect.filtered[socket=tcp,family=ipv4,verdict=host-unreachable]", Call::SoError),
    (&["--listen", "20100", "-c", "output-dropped=127.0.0.1,port=20100,verdict=port-unreachable"], "tcp connect=127.0.0.1:20100 error",
        "connect.filtered[socket=tcp,family=ipv4,verdict=port-unreachable]", Call::SoError),
    (&["--listen", "20100", "-c", "output-dropped=127.0.0.1,port=20100,verdict=admin-prohibited"], "tcp connect=127.0.0.1:20100 error",
        "connect.filtered[socket=tcp,family=ipv4,verdict=admin-prohibited]", Call::SoError),
    (&["-c", "output-dropped,port=20100"], "udp send=127.0.0.1:20100",
        "connect.filtered[socket=udp-unconnected,family=ipv4,verdict=drop]", Call::Sendto),
    (&["-c", "icmp=3/1,for=198.51.100.0/24"], "tcp connect=198.51.100.1:20100 error",
        "connect.icmp[family=ipv4,message=host-unreachable,source=unbound,recverr=off,first=so-error]", Call::SoError),
    (&["-c", "icmp=11/0,for=198.51.100.0/24"], "tcp connect=198.51.100.1:20100 error",
        "connect.icmp[family=ipv4,message=time-exceeded,source=unbound,recverr=off,first=so-error]", Call::SoError),
    (&["-c", "icmp=3/0,for=2001:db8:1::/64"], "tcp connect=[2001:db8:1::1]:20100 error",
        "connect.icmp[family=ipv6,message=time-exceeded,source=unbound,recverr=off,first=so-error]", Call::SoError),
    (&["-c", "descriptors-exhausted=4"], "all tcp",
        "socket.descriptors-exhausted[protocol=tcp,family=ipv4,ports=left]", Call::Socket),
];

/// What this program is where [`SCRIPT`] is set: a client in plain calls, which says how its last one ended.
pub fn client(script: &str) {
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
            "port" => {
                sys::set_option(fd, family, &SocketOption::ReusePort(true)).unwrap();
                Ok(())
            }
            "bind" => sys::bind(fd, &Address::new(address())),
            "connect" => {
                sys::set_nonblocking(fd, Mode::Nonblocking).unwrap();
                sys::connect(fd, &Address::new(address()))
            }
            "send" => sys::send(fd, b"x", Some(&Address::new(address()))).map(drop),
            "error" if sys::poll(fd, Until::Writable, 100).unwrap() => sys::socket_error(fd),
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
        crate::common::copy_program(PROGRAM, place.program());
        crate::common::copy_program(std::env::current_exe().unwrap(), place.client());
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
        let output = command.env(SCRIPT, script).output().unwrap();
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
    let findings = reports::baseline().findings.iter();
    let key = |it: &Finding| (it.case.to_string(), it.subject.call);
    findings.filter_map(|it| Some((key(it), (it.outcome()?.clone(), it.cause)))).collect()
}

#[test(Nft, Tun)]
fn a_client_sees_what_the_claimer_of_the_scenario_saw() {
    let (place, report) = (Place::new(None), baseline());
    ROWS.iter().for_each(|row| place.check(row, &report));
}

#[test(Nft)]
fn so_does_an_ordinary_users() {
    let (place, report) = (Place::new((sys::effective_uid() == 0).then_some(ORDINARY)), baseline());
    // /dev/net/tun is for everybody on most systems, and for root alone on some.
    let tun =
        Command::new("test").args(["-w", "/dev/net/tun"]).uid(place.user.unwrap_or(sys::effective_uid())).status();
    let tun = tun.unwrap().success();
    let has = |row: &Row, what: &str| row.0.iter().any(|option| option.contains(what));
    let (others, rows): (Vec<&Row>, Vec<&Row>) = ROWS.iter().partition(|row| has(row, "user=other"));
    rows.into_iter().filter(|row| tun || !has(row, "icmp=")).for_each(|row| place.check(row, &report));
    // Of two users where the system gives this one subordinate ids, which nobody gives to an account without a name.
    for (options, ..) in others {
        let output = place.exec(options).args(["--", "true"]).output().unwrap();
        let complained = String::from_utf8_lossy(&output.stderr);
        let is_refused = output.status.code() == Some(125) && complained.contains("this host has no second-user");
        assert!(is_refused || (output.status.success() && place.user.is_none()), "{options:?}: {complained}");
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
#[case::peer(&["--path", "1", "--listen", "80", "-c", "tuple-held=10.77.0.1:9-10.77.1.2:80,state=fin-wait-2", "--", "true"], "needs a peer that it can make do its part")]
#[case::covered(&["-c", "unreachable=127.0.0.1", "--", "true"], "the kernel has: local")]
#[case::helper(&["--with", "exit 3", "--", "true"], "--with: `exit 3` ended with exit code 3 before it was ready to serve")]
#[case::time(&["--timeout", "soon", "--", "true"], "expected a time above 0")]
#[case::file(&["--json", "/nowhere/calls.json", "--", "true"], "cannot write /nowhere/calls.json")]
fn what_cannot_be_made_is_refused(#[case] arguments: &[&str], #[case] complaint: &str) {
    let output = exec(arguments);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{complained}");
    assert!(complained.starts_with("errnoscope: error: ") && complained.contains(complaint), "{complained}");
}

/// Ports that several conditions want, and their helpers as well. What is held, `ss` has to show; TCP sockets that are
/// merely bound it does not.
#[rstest(Iproute2)]
#[case::both_protocols(&["port-held=53", "port-held=53,protocol=udp"], 2)]
#[case::both_bound(&["port-held=53,state=bound", "port-held=53,protocol=udp,state=bound"], 1)]
#[case::both_with_peers(&["port-held=53,state=established", "port-held=53,protocol=udp,state=connected"], 2)]
#[case::one_after_the_other(&["port-held=53,state=time-wait", "port-held=53,protocol=udp"], 2)]
#[case::shared(&["port-held=53,reuse=port", "port-held=53,reuse=port", "port-held=53,reuse=port,protocol=udp"], 3)]
#[case::tuples(&["tuple-held=127.0.0.1:53-127.0.0.1:80", "tuple-held=127.0.0.1:53-127.0.0.1:80,protocol=udp"], 2)]
#[case::ranges(&["ports-held=53-56", "ports-held=53-56,protocol=udp"], 1)]
#[case::peer_above(&["ports-held=20100-65535", "port-held=53,state=established"], 1)]
#[case::fillers_apart(&["ports-held=20100-65535", "port-held=53,state=syn-sent"], 1)]
#[case::peer_in_range(&["ports-exhausted,range=20000-20199", "port-held=53,state=established"], 1)]
#[case::peer_at_the_end(&["ports-exhausted,range=1024-65535", "port-held=53,state=close-wait"], 1)]
fn conditions_keep_out_of_each_others_way(#[case] conditions: &[&str], #[case] rows: usize) {
    let mut arguments: Vec<&str> = conditions.iter().flat_map(|condition| ["-c", condition]).collect();
    arguments.extend(["--", "sh", "-c", "ss -Htuan 'sport = :53' && sysctl -n net.ipv4.ip_local_port_range"]);
    let output = exec(&arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| line.contains(":53 ")).count(), rows, "{said}");
    let is_exhausted = conditions.iter().any(|condition| condition.starts_with("ports-exhausted"));
    assert!(is_exhausted || said.ends_with("32768\t60999\n"), "{said}");
}

#[test]
fn no_port_is_left_for_the_other_end() {
    let output = exec(&["-c", "ports-held=1024-65535", "-c", "port-held=80,state=fin-wait-2", "--", "true"]);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{complained}");
    assert!(complained.contains("name one by peer=ADDRESS:PORT"), "{complained}");
}

/// A connection that nobody answers is given up in time, whatever signals are kept for the command.
#[test]
fn a_holder_waits_no_longer_than_its_ops() {
    let start = Instant::now();
    let condition = "tuple-held=10.77.0.1:9-10.77.1.2:80";
    let output = exec(&["--path", "1", "--listen", "80", "--filtered", "-c", condition, "--", "true"]);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{complained}");
    assert!(complained.contains("blocked; does nobody listen"), "{complained}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// One is gone when it is reaped, or waits for that.
const KILL_3: &str = "kill -9 3; while grep -qs 'State:.[RSDTt]' /proc/3/status; do :; done";

/// Every condition, and what takes it away; `ss -K` needs a kernel with CONFIG_INET_DIAG_DESTROY, as distributions
/// build it.
#[rustfmt::skip]
const LOSSES: &[(&[&str], &str, &str)] = &[
    (&["-c", "port-held=80"], "kill -9 -1", "was killed"),
    (&["-c", "ports-exhausted"], KILL_3, "ports are free"),
    (&["-c", "ports-exhausted,range=40000-40003,to=127.0.0.1:80"], "ss -K dport = :80", "4 ports are free (40000, 40001, 40002, 40003)"),
    (&["-c", "ports-held=40000-40003"], "kill -9 -1", "was killed"),
    (&["-c", "port-held=80"], "ss -K state listening", "LISTEN: the socket table has BOUND"),
    (&["-c", "port-held=80,state=bound"], "kill -9 -1", "was killed"),
    (&["-c", "port-held=80,state=established"], "ss -K sport = :80", "ESTABLISHED: the socket table has"),
    (&["-c", "port-held=80,state=accepted"], "ss -K sport = :80", "ESTABLISHED: the socket table has"),
    (&["-c", "port-held=80,state=syn-sent"], "ss -K sport = :80", "SYN_SENT: the socket table has"),
    (&["-c", "port-held=80,state=fin-wait-2"], "ss -K sport = :80", "FIN_WAIT_2: the socket table has"),
    (&["-c", "port-held=80,state=close-wait"], "ss -K sport = :80", "CLOSE_WAIT: the socket table has"),
    (&["-c", "port-held=80,state=time-wait"], "ss -K state time-wait", "nothing on its port, and no connection has taken it over"),
    (&["-c", "port-held=80,protocol=udp,state=connected"], "ss -uK state all sport = :80", "ESTABLISHED: the socket table has"),
    (&["-c", "port-held=80,reuse=port,user=other"], "ss -K state listening", "of user-a: the socket table has BOUND"),
    (&["-c", "tuple-held=127.0.0.1:9-127.0.0.1:80"], "ss -K sport = :9", "ESTABLISHED: the socket table has"),
    (&["-c", "tuple-held=127.0.0.1:9-127.0.0.1:80,state=time-wait"], "ss -K state time-wait", "no connection has taken it over"),
    (&["-c", "source-not-local"], "ip address add 192.0.2.1/32 dev lo", "192.0.2.1 not configured: it is configured"),
    (&["-c", "no-route"], "ip route add default dev lo", "none: the kernel has: unicast"),
    (&["-c", "no-route", "--path", "1"], "ip route del throw 10.77.1.2", "throw: the kernel has: unicast"),
    (&["-c", "unreachable=198.51.100.0/24"], "ip route del unreachable 198.51.100.0/24", "unreachable: the kernel has: none"),
    (&["-c", "blackhole=198.51.100.0/24"], "ip route del blackhole 198.51.100.0/24", "blackhole: the kernel has: none"),
    (&["-c", "prohibit=2001:db8:1::/64"], "ip -6 route del prohibit 2001:db8:1::/64", "prohibit: the kernel has: none"),
    (&["-c", "output-dropped"], "nft flush ruleset", "the packet filter is no longer as it was made"),
    (&["-c", "output-dropped"], "nft flush chain inet errnoscope output", "the packet filter is no longer as it was made"),
    (&["-c", "icmp=3/1,for=198.51.100.0/24"], KILL_3, "the process that plays the router was killed"),
    (&["-c", "icmp=3/1,for=198.51.100.0/24"], "ip route del 198.51.100.0/24", "unicast: the kernel has: none"),
    // More is for those to ask for who have CAP_SYS_RESOURCE; with less, there are not sixteen left either.
    (&["-c", "descriptors-exhausted=16"], "ulimit -n 1000 2>/dev/null || ulimit -n 5", "RLIMIT_NOFILE was"),
    (&["-c", "timestamps=on"], "echo 0 >/proc/sys/net/ipv4/tcp_timestamps", "net.ipv4.tcp_timestamps = 1: it is 0"),
    (&["-c", "tw-reuse=1"], "echo 2 >/proc/sys/net/ipv4/tcp_tw_reuse", "net.ipv4.tcp_tw_reuse = 1: it is 2"),
];

#[track_caller]
fn is_told(place: &Place, (options, script, why): &(&[&str], &str, &str)) {
    let script = format!("{{ {script}; }} >&2");
    let output = place.exec(options).args(["--timeout", "20", "--", "bash", "-c", &script]).output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    let row = format!("{options:?} {script} as {:?}: {}\n{complained}", place.user, output.status);
    assert_eq!(output.status.code(), Some(125), "{row}");
    assert!(complained.contains("did not hold until the command ended"), "{row}");
    assert!(complained.contains(&format!("`{}`: ", options[1])) && complained.contains(why), "{row}");
}

/// Whoever runs this as an ordinary user can do no more to a condition than one does whom root plays.
fn undoes_without_power(loss: &&(&[&str], &str, &str)) -> bool {
    ["kill", "ulimit"].iter().any(|word| loss.1.starts_with(word))
}

#[test(Nft, Tun, Iproute2)]
fn a_condition_that_is_lost_is_told() {
    let place = Place::new(None);
    let losses = LOSSES.iter().filter(|loss| sys::effective_uid() == 0 || undoes_without_power(loss));
    losses.for_each(|loss| is_told(&place, loss));
}

#[test(Iproute2)]
fn so_is_one_that_an_ordinary_user_loses() {
    let place = Place::new((sys::effective_uid() == 0).then_some(ORDINARY));
    let is_kept = |loss: &&(&[&str], &str, &str)| undoes_without_power(loss) && !loss.0[1].starts_with("icmp");
    LOSSES.iter().filter(is_kept).for_each(|loss| is_told(&place, loss));
}

/// A connection that is reset at once leaves nothing of either behind.
#[test(Root, Python)]
fn what_the_command_takes_over_was_there() {
    let script = "import socket as s; c = s.socket(); c.setsockopt(s.SOL_SOCKET, s.SO_REUSEADDR, 1); \
        c.setsockopt(s.SOL_SOCKET, s.SO_LINGER, b'\\1\\0\\0\\0\\0\\0\\0\\0'); \
        c.bind(('127.0.0.1', 9)); c.connect(('127.0.0.1', 80)); c.close()";
    let options = ["-c", "tuple-held=127.0.0.1:9-127.0.0.1:80,state=time-wait", "--", "python3", "-c", script];
    let output = exec(&options);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
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

#[test(Python)]
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

fn lines_of(program: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // How long an address or a route is still valid changes by itself.
    let lasting = |line: &str| line.split(" expires ").next().unwrap_or_default().to_owned();
    text.lines().filter(|line| !line.contains("valid_lft")).map(lasting).collect()
}

/// What a run could leave on the host, as far as nobody else changes it meanwhile. A network namespace lives as long as
/// a process or a mount has it.
fn host() -> BTreeMap<String, Vec<String>> {
    let mut host = BTreeMap::new();
    for command in [
        "ip netns list",
        "ip -o link",
        "ip address",
        "ip rule",
        "ip route show table all",
        "ip -6 route show table all",
        "nft list ruleset",
        "cat /proc/self/mounts",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        host.insert(command.to_owned(), lines_of(words[0], &words[1..]));
    }
    let mut places = ["ipv4", "ipv6", "core"].map(|name| PathBuf::from("/proc/sys/net").join(name)).to_vec();
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if entry.is_dir() {
                places.push(entry);
            } else if let Ok(text) = std::fs::read_to_string(&entry) {
                host.insert(entry.display().to_string(), vec![text]);
            }
        }
    }
    host
}

/// A process and all below it, outermost first.
fn tree(pid: u32) -> Vec<u32> {
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(pid) = tree.get(next) {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        tree.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    tree
}

/// A hundred runs, sixteen at a time, and in many of them SIGKILL for one of the processes at some moment: each ends,
/// and the host is as it was. ERRNOSCOPE_SOAK=N makes it N hundreds.
#[test(Nft, Tun, Iproute2)]
fn nothing_is_left_of_a_hundred_runs() {
    let mark = format!("runs-of-{}", std::process::id());
    let (temporary, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let before = host();
    let kinds: [&[&str]; 4] = [
        &["-c", NARROW],
        &["-c", "port-held=28777,state=time-wait", "-c", "unreachable=198.51.100.0/24"],
        &["--listen", "28777", "-c", "icmp=3/1,for=198.51.100.0/24", "-c", "descriptors-exhausted=8"],
        &["--path", "2", "--listen", "28777", "--json", "/dev/null", "-c", "output-dropped", "-c", "timestamps=off"],
    ];
    let log = |number: usize| logs.path().join(number.to_string());
    let start = |number: usize| -> Child {
        let mut command = Command::new(PROGRAM);
        command.arg("exec").args(kinds[number % kinds.len()]).args(["--", "sh", "-c", "sleep 0.02"]);
        command.env(MARK, &mark).env("TMPDIR", temporary.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(log(number)).unwrap()).spawn().unwrap()
    };
    let hundreds = std::env::var("ERRNOSCOPE_SOAK").map_or(1, |number| number.parse().expect("ERRNOSCOPE_SOAK=N"));
    let numbers: Vec<usize> = (0..hundreds * 100).collect();
    for batch in numbers.chunks(16) {
        let running: Vec<(usize, Child)> = batch.iter().map(|&number| (number, start(number))).collect();
        // Moments that come about by themselves, the same in no two runs.
        for (number, child) in running.iter().filter(|(number, _)| number.is_multiple_of(3)) {
            sys::pause_ms(f64::from(child.id() % 23));
            let tree = tree(child.id());
            let victim = tree[number / 3 % tree.len()];
            // Who has gone by now may have left its number to somebody else.
            if marked(&mark).contains(&format!("/proc/{victim}")) {
                let _ = kill(Pid::from_raw(victim as i32), Signal::SIGKILL);
            }
        }
        for (number, mut child) in running {
            let patience = Instant::now() + Duration::from_secs(60);
            let ended = loop {
                match child.try_wait().unwrap() {
                    Some(ended) => break ended,
                    None => assert!(Instant::now() < patience, "run {number} does not end: {:?}", tree(child.id())),
                }
                sys::pause_ms(1.0);
            };
            let complained = std::fs::read_to_string(log(number)).unwrap();
            let may_fail = number.is_multiple_of(3);
            assert!(ended.code() == Some(0) || may_fail, "run {number}: {ended}: {complained}");
            assert!(!complained.contains("panicked"), "run {number}: {ended}: {complained}");
        }
    }
    let patience = Instant::now() + Duration::from_secs(10);
    while !marked(&mark).is_empty() && Instant::now() < patience {
        sys::pause_ms(5.0);
    }
    assert_eq!(marked(&mark), Vec::<String>::new(), "processes");
    let after = host();
    for (what, before) in before {
        assert_eq!(after.get(&what), Some(&before), "{what}");
    }
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "temporary files");
    let sockets = lines_of("ss", &["-tanH", "sport = :28777"]);
    assert!(sockets.is_empty(), "{sockets:?}");
}
