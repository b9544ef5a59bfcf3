//! The tracer on real paths: kernels as routers, in namespaces of their own.
//!
//! Each test runs inside `errnoscope exec --path`: the client is 10.77.0.1, router k answers from 10.77.(k-1).2, the
//! server is at the end of the last link; IPv6 in the same way below fd77::/48.

use std::fs::Permissions;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};

use crate::common::{PROGRAM, hop, inside};
use crate::harness::{needs, rstest, test};
use errnoscope::sys;
use errnoscope::words::names::{Family, Protocol, SocketState};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use Family::{Ipv4, Ipv6};

needs!(Namespaces);

fn client(family: Family) -> IpAddr {
    let text = if family == Ipv4 { "10.77.0.1" } else { "fd77::1" };
    text.parse().expect("an address")
}

fn server(family: Family, routers: usize) -> IpAddr {
    hop(routers + 1, family)
}

/// What should answer at each of these TTLs.
fn hops(family: Family, ttls: impl IntoIterator<Item = usize>) -> Vec<Option<IpAddr>> {
    ttls.into_iter().map(|ttl| Some(hop(ttl, family))).collect()
}

struct Traced {
    json: Value,
    code: Option<i32>,
    errors: String,
}

fn start(arguments: &[&str]) -> Child {
    start_by(&mut Command::new(PROGRAM), arguments)
}

fn start_by(command: &mut Command, arguments: &[&str]) -> Child {
    command.args(["trace", "-n", "--json", "-"]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the tracer starts")
}

fn trace(arguments: &[&str]) -> Traced {
    finish(start(arguments))
}

#[track_caller]
fn finish(child: Child) -> Traced {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the tracer ends");
    let errors = String::from_utf8_lossy(&stderr).into_owned();
    let json = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    Traced { json, code: status.code(), errors }
}

impl Traced {
    fn reason(&self) -> &str {
        self.json["ended"]["reason"].as_str().unwrap_or_default()
    }

    /// Who answered at each hop.
    fn hops(&self) -> Vec<Option<IpAddr>> {
        let hops = self.json["hops"].as_array().into_iter().flatten();
        hops.map(|hop| hop["answers"][0]["address"].as_str()?.parse().ok()).collect()
    }

    #[track_caller]
    fn reached(&self, family: Family, routers: usize, open: bool) {
        assert_eq!(self.hops(), hops(family, 1..=routers + 1), "{:#}\n{}", self.json, self.errors);
        assert_eq!((self.reason(), self.code), ("reached", Some(0)), "{}", self.errors);
        assert_eq!(self.json["ended"]["open"], open);
        assert_eq!(self.json["ended"]["ttl"], routers + 1);
    }

    fn probes(&self) -> impl Iterator<Item = &Value> {
        self.json["probes"].as_array().into_iter().flatten()
    }

    /// `call errno action cause` of every call that failed, where the policy did not say proceed.
    fn failures(&self) -> Vec<String> {
        let failures = self.probes().map(|probe| &probe["failure"]).filter(|failure| !failure.is_null());
        let decided = failures.filter(|failure| failure["decision"]["action"] != "proceed");
        let word = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        decided
            .map(|failure| [&failure["call"], &failure["errno"], &failure["decision"]["action"]].map(word).join(" "))
            .collect()
    }

    fn total(&self, name: &str) -> u64 {
        self.json["totals"][name].as_u64().unwrap_or_default()
    }
}

#[rstest]
fn every_hop_is_found(#[values(Ipv4, Ipv6)] family: Family, #[values(5, 15)] routers: usize) {
    inside(&["--path", &routers.to_string(), "--listen", "80"], || {
        let open = trace(&[&server(family, routers).to_string()]);
        open.reached(family, routers, true);
        let (sent, hops) = (open.total("sent"), routers as u64 + 1);
        assert!(2 * sent <= 3 * hops, "{sent} SYNs for {hops} hops");
        trace(&["-p", "81", &server(family, routers).to_string()]).reached(family, routers, false);
        let thrice = trace(&["-q", "3", "-c", "2", "--interval", "0.01", &server(family, routers).to_string()]);
        thrice.reached(family, routers, true);
        for hop in thrice.json["hops"].as_array().into_iter().flatten() {
            assert_eq!(hop["answers"].as_array().map(Vec::len), Some(1), "{hop}");
            assert_eq!(hop["totals"]["sent"], hop["totals"]["issued"]);
        }
    });
}

#[rstest]
fn any_number_of_probes_at_once_finds_the_target(#[values("1", "2", "3", "64")] in_flight: &str) {
    inside(&["--path", "5", "--listen", "80"], || {
        trace(&["-N", in_flight, "-w", "0.5", "10.77.5.2"]).reached(Ipv4, 5, true);
    });
}

#[rstest]
fn a_filtered_target_is_not_reached(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&["--path", "5", "--filtered"], || {
        let traced = trace(&["-w", "0.3", "-m", "12", &server(family, 5).to_string()]);
        assert_eq!(traced.hops(), [hops(family, 1..=5), vec![None; 7]].concat());
        assert_eq!((traced.reason(), traced.code), ("not-reached", Some(1)));
    });
}

#[rstest]
fn a_silent_router_is_a_gap(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&["--path", "5", "--listen", "80", "--silent", "3"], || {
        let traced = trace(&["-w", "0.3", &server(family, 5).to_string()]);
        assert_eq!(traced.hops(), [hops(family, 1..=2), vec![None], hops(family, 4..=6)].concat());
        assert_eq!((traced.reason(), traced.code), ("reached", Some(0)));
    });
}

#[rstest]
fn a_path_may_be_longer_than_the_last_ttl(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&["--path", "5", "--listen", "80"], || {
        let traced = trace(&["-m", "3", &server(family, 5).to_string()]);
        assert_eq!(traced.hops(), hops(family, 1..=3));
        assert_eq!((traced.reason(), traced.code), ("not-reached", Some(1)));
        let traced = trace(&["-f", "3", "-m", "4", &server(family, 5).to_string()]);
        assert_eq!(traced.hops(), hops(family, 3..=4));
    });
}

#[rstest]
fn a_router_may_say_that_there_is_no_way(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&["--path", "5", "--listen", "80", "--unreachable", "3"], || {
        let traced = trace(&["-w", "0.3", &server(family, 5).to_string()]);
        assert_eq!(traced.hops(), hops(family, 1..=3));
        assert_eq!((traced.reason(), traced.code), ("unreachable", Some(1)), "{}", traced.errors);
        assert_eq!(traced.json["ended"]["ttl"], 3);
    });
}

/// A source port that is held in some way, and what the tracer meets there.
const PORT: u16 = 40_000;

#[track_caller]
fn socket(family: Family, reuse_port: bool) -> Socket {
    let domain = if family == Ipv4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(reuse_port).expect("SO_REUSEPORT");
    socket
}

#[track_caller]
fn bound(family: Family, address: IpAddr, reuse_port: bool) -> Socket {
    let socket = socket(family, reuse_port);
    socket.bind(&SocketAddr::new(address, PORT).into()).expect("the port is free");
    socket
}

fn wildcard(family: Family) -> IpAddr {
    if family == Ipv4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Bound,
    Listener,
    WildcardListener,
    Connected,
    OtherUser,
    SynSent,
    TimeWait,
}

/// Holds [`PORT`]; the sockets live as long as what is returned.
#[track_caller]
fn hold(holder: Holder, family: Family) -> Vec<Socket> {
    let (own, target) = (client(family), SocketAddr::new(server(family, 5), 80));
    match holder {
        Holder::Bound => vec![bound(family, own, false)],
        Holder::Listener | Holder::WildcardListener => {
            let address = if holder == Holder::Listener { own } else { wildcard(family) };
            let socket = bound(family, address, false);
            socket.listen(1).expect("listens");
            vec![socket]
        }
        Holder::Connected | Holder::OtherUser => {
            if holder == Holder::OtherUser {
                sys::set_effective_uid(60_001).expect("another user");
            }
            let socket = bound(family, own, holder == Holder::OtherUser);
            socket.connect(&target.into()).expect("connects");
            if holder == Holder::OtherUser {
                sys::set_effective_uid(0).expect("back again");
            }
            vec![socket]
        }
        Holder::SynSent => {
            let socket = bound(family, own, true);
            socket.set_nonblocking(true).expect("nonblocking");
            let started = socket.connect(&target.into());
            assert!(started.is_err_and(|error| error.raw_os_error() == Some(libc::EINPROGRESS)));
            vec![socket]
        }
        Holder::TimeWait => {
            let socket = bound(family, own, true);
            socket.connect(&target.into()).expect("connects");
            let mut stream = TcpStream::from(socket);
            stream.shutdown(std::net::Shutdown::Write).expect("closes first");
            let end = std::io::Read::read(&mut stream, &mut [0]).expect("the server closes as well");
            assert_eq!(end, 0);
            drop(stream);
            assert_eq!(states(PORT, SocketState::TimeWait), 1, "a TIME_WAIT is there");
            Vec::new()
        }
    }
}

fn states(port: u16, state: SocketState) -> usize {
    let mut table = sys::SocketTable::open().expect("the socket table");
    table.rows(Protocol::Tcp, port, &[state]).expect("rows").len()
}

/// The rows of the tracer pattern: SO_REUSEPORT, bind to an address and port, connect.
#[rstest]
#[case(Holder::Bound, &["bind EADDRINUSE skip"])]
#[case(Holder::Listener, &["bind EADDRINUSE skip"])]
#[case(Holder::WildcardListener, &["bind EADDRINUSE skip"])]
#[case(Holder::Connected, &["bind EADDRINUSE skip"])]
#[case(Holder::TimeWait, &[])]
fn a_busy_port_costs_a_port_and_no_hop(
    #[case] holder: Holder,
    #[case] failures: &[&str],
    #[values(Ipv4, Ipv6)] family: Family,
) {
    costs_no_hop(holder, failures, family);
}

#[rstest(Root)]
fn a_port_of_another_user_costs_root_a_port_and_no_hop(#[values(Ipv4, Ipv6)] family: Family) {
    costs_no_hop(Holder::OtherUser, &["bind EADDRINUSE skip"], family);
}

#[track_caller]
fn costs_no_hop(holder: Holder, failures: &[&str], family: Family) {
    inside(&["--path", "5", "--listen", "80"], || {
        let _held = hold(holder, family);
        let first = PORT.to_string();
        let traced = trace(&["--initial-sequence", &first, &server(family, 5).to_string()]);
        traced.reached(family, 5, true);
        assert_eq!(traced.failures(), failures);
        assert_eq!(traced.total("skipped"), failures.len() as u64);
        if !failures.is_empty() {
            assert!(traced.errors.contains("skipped 1 source port"), "a skip is never silent: {}", traced.errors);
        }
    });
}

/// The tracer of a user who is not the holder's, nor root.
#[rstest(Root)]
fn a_port_of_another_user_costs_a_port_and_no_hop(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&["--path", "5", "--listen", "80"], || {
        let _held = hold(Holder::OtherUser, family);
        // The program may lie where only root can go.
        let place = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).expect("open to all");
        let program = place.path().join("errnoscope");
        crate::common::copy_program(PROGRAM, &program);
        let mut command = Command::new(program);
        command.uid(60_002).gid(60_002);
        let traced =
            finish(start_by(&mut command, &["--initial-sequence", &PORT.to_string(), &server(family, 5).to_string()]));
        traced.reached(family, 5, true);
        assert_eq!(traced.failures(), ["bind EADDRINUSE skip"]);
    });
}

/// Trippy 0.11 to 0.13 loses the whole trace here.
#[rstest]
fn a_busy_4_tuple_costs_a_port_and_no_hop(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&["--path", "5", "--listen", "80", "--no-timestamps"], || {
        hold(Holder::TimeWait, family);
        let first = PORT.to_string();
        let traced = trace(&["--initial-sequence", &first, &server(family, 5).to_string()]);
        traced.reached(family, 5, true);
        assert_eq!(traced.failures(), ["connect EADDRNOTAVAIL skip"]);
        let traced =
            trace(&["--policy", "addr-in-use-only", "--initial-sequence", &first, &server(family, 5).to_string()]);
        assert_eq!((traced.reason(), traced.code), ("aborted", Some(4)), "what that policy does");
    });
}

#[rstest]
fn a_probe_of_another_tracer_costs_a_port_and_no_hop(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&["--path", "5", "--filtered"], || {
        let _held = hold(Holder::SynSent, family);
        let first = PORT.to_string();
        let target = server(family, 5).to_string();
        let traced = trace(&["-w", "0.2", "-m", "6", "--initial-sequence", &first, &target]);
        assert_eq!(traced.hops()[..5], hops(family, 1..=5));
        assert_eq!(traced.failures(), ["connect EADDRNOTAVAIL skip"]);
    });
}

/// bind(address, 0) hands out the one port of the range, whose 4-tuple is busy; connect() finds one that is not.
#[rstest(Root)]
fn a_busy_4_tuple_of_a_port_that_bind_picked_is_skipped(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&["--path", "2", "--listen", "80"], || {
        let range = format!("{PORT} {}", PORT + 1);
        set_sysctl("net.ipv4.ip_local_port_range", &range).expect("root's own network");
        set_sysctl("net.ipv4.ip_local_reserved_ports", &(PORT + 1).to_string()).expect("root's own network");
        set_sysctl("net.ipv4.ip_autobind_reuse", "1").expect("root's own network");
        let holder = Socket::new(Domain::for_address(SocketAddr::new(client(family), 0)), Type::STREAM, None);
        let holder = holder.expect("a socket");
        holder.set_reuse_address(true).expect("an option");
        holder.bind(&SocketAddr::new(client(family), PORT).into()).expect("a free port");
        holder.connect(&SocketAddr::new(server(family, 2), 80).into()).expect("connects");
        let (source, target) = (client(family).to_string(), server(family, 2).to_string());
        let arguments = ["--source", &source, "--source-port-mode", "ephemeral", "--reuse", "addr", "-N", "1"];
        let in_vain = trace(&[&arguments[..], &["--source-port-range", "1000-1004", &target]].concat());
        assert_eq!((in_vain.reason(), in_vain.code), ("sequences-spent", Some(4)), "{}", in_vain.errors);
        assert_eq!(in_vain.failures(), ["connect EADDRNOTAVAIL skip"; 5]);
        let port = format!("skipped 5 source ports: 5 by connect EADDRNOTAVAIL ({PORT})");
        for words in [&*port, "leave --source out"] {
            assert!(in_vain.errors.contains(words), "no `{words}` in {}", in_vain.errors);
        }
        set_sysctl("net.ipv4.ip_local_reserved_ports", "\n").expect("root's own network");
        let without = trace(&["--source-port-mode", "ephemeral", "--reuse", "addr", "-N", "1", &target]);
        without.reached(family, 2, true);
        assert_eq!(without.failures(), [""; 0], "connect() looks for a tuple that is free");
    });
}

/// No port helps, and none is tried in vain.
#[rstest(Root)]
#[case("2001:db8::1", &[])]
#[case("::1", &[])]
#[case("2001:db8::1", &["--source-port-mode", "ephemeral"])]
#[case("::1", &["--source-port", "4000"])]
#[case("2001:db8::1", &["--policy", "next-port-on-both", "-c", "100", "-q", "10"])]
fn a_host_without_an_ipv6_address_is_told_at_once(#[case] target: &str, #[case] options: &[&str]) {
    inside(&["--path", "1", "--listen", "80"], || {
        set_sysctl("net.ipv6.conf.all.disable_ipv6", "1").expect("root's own network");
        let traced = trace(&[options, &[target]].concat());
        assert_eq!((traced.reason(), traced.code), ("aborted", Some(4)), "{}", traced.errors);
        assert_eq!((traced.total("issued"), traced.probes().count()), (1, 1));
        assert_eq!(traced.json["ended"]["causes"], serde_json::json!(["no-source-address"]));
        let [error] = traced.errors.lines().filter(|line| line.contains("error:")).collect::<Vec<_>>()[..] else {
            panic!("{}", traced.errors)
        };
        for words in ["this host has no IPv6 address", "`ip -6 address`", "net.ipv6.conf.all.disable_ipv6"] {
            assert!(error.contains(words), "no `{words}` in {error}");
        }
        assert!(!traced.errors.contains("port range") && !traced.errors.contains("skipped"), "{}", traced.errors);
        // IPv4 goes on as ever.
        trace(&[&server(Ipv4, 1).to_string()]).reached(Ipv4, 1, true);
    });
}

/// There is an address to send from: it is the route that is missing, and the port that is taken.
#[test]
fn one_address_is_enough_not_to_be_without() {
    inside(&[], || {
        let traced = trace(&["2001:db8::1"]);
        assert_eq!((traced.reason(), traced.code), ("nothing-sent", Some(4)), "{}", traced.errors);
        assert!(traced.errors.contains("connect ENETUNREACH"), "{}", traced.errors);
    });
}

/// Mtr tries 32,535 ports, trippy takes IPv4 and IPv6 for different cases.
#[rstest]
fn a_source_that_is_not_local_is_tried_once(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&["--path", "5", "--listen", "80"], || {
        let source = if family == Ipv4 { "192.0.2.1" } else { "2001:db8::1" };
        let traced = trace(&["--source", source, &server(family, 5).to_string()]);
        assert_eq!((traced.reason(), traced.code), ("aborted", Some(4)));
        assert_eq!(traced.failures(), ["bind EADDRNOTAVAIL abort"]);
        assert_eq!(traced.total("issued"), 1);
        assert_eq!(traced.json["ended"]["causes"][0], "address-not-local", "{:#}", traced.json["ended"]);
        let bound = if family == Ipv4 { "bind(192.0.2.1:" } else { "bind([2001:db8::1]:" };
        for word in [bound, "EADDRNOTAVAIL", "address-not-local", "choose another --source"] {
            assert!(traced.errors.contains(word), "{word} in {}", traced.errors);
        }
    });
}

/// Trippy and mtr end with 0 and an empty report.
#[rstest]
fn no_route_is_an_error(#[values(Ipv4, Ipv6)] family: Family) {
    inside(&[], || {
        let traced = trace(&["-m", "4", &server(family, 5).to_string()]);
        assert_eq!((traced.reason(), traced.code), ("nothing-sent", Some(4)));
        assert_eq!(traced.failures(), ["connect ENETUNREACH fail-probe"; 4]);
        assert!(traced.errors.contains("4 connect ENETUNREACH"), "{}", traced.errors);
    });
}

/// Four ephemeral ports: probes that nobody answers keep them, and the hops before are told all the same.
#[rstest(Root)]
#[case(&[], "connect EADDRNOTAVAIL abort")]
#[case(&["--source", "10.77.0.1"], "bind EADDRINUSE abort")]
fn exhaustion_is_an_error_and_loses_no_hop(#[case] source: &[&str], #[case] failure: &str) {
    inside(&["--path", "2", "--filtered"], || {
        set_sysctl("net.ipv4.ip_local_port_range", "40000 40003").expect("the namespace is ours");
        let mut arguments = vec!["-w", "0.3", "--source-port-mode", "ephemeral", "10.77.2.2"];
        arguments.extend(source);
        let traced = trace(&arguments);
        assert_eq!((traced.reason(), traced.code), ("aborted", Some(4)), "{:#}", traced.json);
        assert_eq!(traced.failures(), [failure]);
        assert_eq!(traced.json["ended"]["causes"][0], "ports-exhausted", "{:#}", traced.json["ended"]);
        assert_eq!(traced.hops()[..2], hops(Ipv4, 1..=2));
        assert_eq!(traced.total("sent"), 6);
        assert!(traced.errors.contains("ip_local_port_range"), "{}", traced.errors);
    });
}

#[test]
fn no_descriptor_left_is_an_error_and_not_a_busy_port() {
    inside(&["--path", "2", "--filtered"], || {
        let script = format!("ulimit -n 14; exec {PROGRAM} trace -n -w 0.3 --json - 10.77.2.2");
        let child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let traced = finish(child.expect("a shell"));
        assert_eq!((traced.reason(), traced.code), ("aborted", Some(4)), "{:#}", traced.json);
        assert_eq!(traced.failures(), ["socket EMFILE abort"]);
        assert_eq!(traced.json["ended"]["causes"][0], "descriptors-exhausted");
        assert_eq!(traced.hops()[..2], hops(Ipv4, 1..=2));
    });
}

#[test]
fn a_range_of_busy_ports_is_spent() {
    inside(&["--path", "5", "--listen", "80"], || {
        let _held: Vec<TcpListener> =
            (PORT..PORT + 3).map(|port| TcpListener::bind(("10.77.0.1", port)).expect("the port is free")).collect();
        let traced = trace(&["--source-port-range", "40000-40002", "10.77.5.2"]);
        assert_eq!((traced.reason(), traced.code), ("sequences-spent", Some(4)), "{:#}", traced.json);
        for word in ["3 ports tried", "3 bind EADDRINUSE"] {
            assert!(traced.errors.contains(word), "{word} in {}", traced.errors);
        }
    });
}

#[test]
fn a_range_may_cross_a_server() {
    inside(&["--path", "5", "--listen", "80"], || {
        let _held = [PORT + 1, PORT + 4].map(|port| TcpListener::bind(("0.0.0.0", port)).expect("the port is free"));
        let traced = trace(&["--source-port-range", "40000-40020", "--initial-sequence", "40000", "10.77.5.2"]);
        traced.reached(Ipv4, 5, true);
        assert_eq!(traced.failures(), ["bind EADDRINUSE skip"; 2]);
    });
}

/// Trippy 0.10 shows routers at wrong hops.
#[test]
fn two_tracers_at_once_do_not_mix() {
    two_tracers_at_once("error-queue");
}

#[test(Root)]
fn two_tracers_with_raw_sockets_do_not_mix() {
    two_tracers_at_once("raw-icmp");
}

#[track_caller]
fn two_tracers_at_once(replies: &str) {
    inside(&["--path", "5", "--listen", "80", "--listen", "81"], || {
        for target_ports in [["80", "81"], ["80", "80"]] {
            let first = PORT.to_string();
            let both = target_ports.map(|port| {
                let rounds = ["-c", "5", "--interval", "0.002", "-q", "3", "--initial-sequence", &first];
                start(&[&["-p", port, "--replies", replies, "10.77.5.2"], &rounds[..]].concat())
            });
            for traced in both.map(finish) {
                traced.reached(Ipv4, 5, true);
                for hop in traced.json["hops"].as_array().into_iter().flatten() {
                    assert_eq!(hop["answers"].as_array().map(Vec::len), Some(1), "one router a hop: {hop:#}");
                }
            }
        }
    });
}

#[rstest]
fn ten_rounds_pass_through_time_wait(#[values(true, false)] timestamps: bool) {
    let options: &[&str] = if timestamps { &[] } else { &["--no-timestamps"] };
    inside(&[&["--path", "5", "--listen", "80"], options].concat(), || {
        hold(Holder::TimeWait, Ipv4);
        // Few enough numbers that each is used many times.
        let range = ["--source-port-range", "40000-40009", "--initial-sequence", "40000"];
        let traced = trace(&[&["-c", "10", "--interval", "0.001", "10.77.5.2"], &range[..]].concat());
        traced.reached(Ipv4, 5, true);
        assert_eq!(traced.json["rounds"], 10);
        let failures = traced.failures();
        assert!(failures.iter().all(|failure| failure == "connect EADDRNOTAVAIL skip"), "{failures:?}");
        assert_eq!(failures.is_empty(), timestamps, "{failures:?}");
    });
}

/// With a TIME_WAIT left behind, the second run would meet busy 4-tuples.
#[test]
fn nothing_is_left_in_the_way_of_the_next_trace() {
    inside(&["--path", "5", "--listen", "80", "--no-timestamps"], || {
        for _ in 0..2 {
            let range = ["--source-port-range", "40000-40009", "--initial-sequence", "40000"];
            let traced = trace(&[&["10.77.5.2"], &range[..]].concat());
            traced.reached(Ipv4, 5, true);
            assert_eq!(traced.total("skipped"), 0, "{:?}", traced.failures());
            for port in PORT..PORT + 10 {
                assert_eq!(states(port, SocketState::TimeWait), 0, "port {port}");
            }
        }
    });
}

#[test]
fn one_port_is_enough() {
    inside(&["--path", "5", "--listen", "80"], || {
        let traced = trace(&["--source-port", "40000", "10.77.5.2"]);
        traced.reached(Ipv4, 5, true);
        assert!(traced.probes().all(|probe| probe["source"] == "10.77.0.1:40000"), "{:#}", traced.json);
        trace(&["--source-port-mode", "ephemeral", "10.77.5.2"]).reached(Ipv4, 5, true);
    });
}

/// A connection from a port of this host to itself succeeds, whether anybody listens or not.
#[test]
fn a_closed_port_does_not_answer_itself() {
    inside(&[], || {
        let range = ["--source-port-range", "40001-40002", "--initial-sequence", "40001"];
        let traced = trace(&[&["-p", "40001", "127.0.0.1"], &range[..]].concat());
        assert_eq!((traced.reason(), traced.code), ("reached", Some(0)));
        assert_eq!(traced.json["ended"]["open"], false);
    });
}

/// Nobody but the program itself answers here.
#[rstest(Tun)]
fn a_path_may_be_played(#[values(&[], &["-6"])] family: &[&str]) {
    let traced = trace(&[&["--demo", "7"], family].concat());
    assert_eq!(traced.hops().len(), 8, "{}", traced.errors);
    assert!(traced.hops().iter().all(Option::is_some), "{:#}", traced.json);
    assert_eq!((traced.reason(), traced.code), ("reached", Some(0)));
}

#[test]
fn without_the_message_the_router_is_not_known() {
    inside(&["--path", "5", "--listen", "80"], || {
        let traced = trace(&["--replies", "so-error", "10.77.5.2"]);
        assert_eq!(traced.hops()[..5], [None; 5]);
        assert_eq!((traced.reason(), traced.code), ("reached", Some(0)));
        assert_eq!(traced.json["hops"][0]["totals"]["answered"], 1);
    });
}

/// Of the network that this process is in, which `exec` has made for it.
fn set_sysctl(name: &str, value: &str) -> std::io::Result<()> {
    std::fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
}
