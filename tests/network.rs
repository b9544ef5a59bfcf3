//! Probes on the loopback interface. No privileges, no namespaces, and no limit on how long anything may take.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use crate::harness::{rstest, test};
use errnoscope::knowledge::policy::{self, Policy};
use errnoscope::tracer::network::{Config, Interrupt, Replies, Wire};
use errnoscope::tracer::record::RoundEnd;
use errnoscope::tracer::{
    self, Dispatched, Interrupted, Network, PortMode, Probe, ProbeId, ProbeReply, Sequences, TraceSettings, TracerCall,
};
use errnoscope::words::names::Reuse;
use errnoscope::words::ports::PortRange;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// What every user may have everywhere.
fn config(target: SocketAddr) -> Config {
    Config { target, source: None, interface: None, reuse: Reuse::None, replies: Replies::Auto }
}

fn open(config: &Config) -> Wire {
    let (interrupt, _) = Interrupt::pair().expect("a pair of sockets");
    Wire::open(config, interrupt).expect("a network")
}

fn probe(port: impl Into<Option<u16>>) -> Probe {
    Probe { id: ProbeId(0), ttl: 1, port: port.into() }
}

/// A port that nobody has.
fn free_port(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn errno(dispatched: &Dispatched) -> (TracerCall, &str, &str) {
    let failed = dispatched.result.as_ref().expect_err("a failure");
    (failed.call, &failed.operands, failed.errno.name())
}

/// The one answer to the one probe, however long it takes.
fn answer(wire: &mut Wire) -> ProbeReply {
    let mut answers = Vec::new();
    let until = wire.now() + Duration::from_secs(600);
    wire.receive(until, &mut answers).expect("nobody interrupts");
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, ProbeId(0));
    answers.remove(0).1
}

#[rstest(Ipv6)]
fn an_open_port_is_connected_to(
    #[values(V4, V6)] address: IpAddr,
    #[values(Replies::Auto, Replies::SoError)] replies: Replies,
    #[values(true, false)] explicit: bool,
) {
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    let target = listener.local_addr().expect("its address");
    let mut wire = open(&Config { replies, ..config(target) });
    assert_eq!(wire.source(), Some(address));
    let port = explicit.then(|| free_port(address));
    let dispatched = wire.dispatch(&probe(port));
    assert_eq!(errno(&dispatched).0, TracerCall::Connect);
    assert_eq!(errno(&dispatched).2, "EINPROGRESS");
    let source = dispatched.source.expect("a source");
    assert_eq!(source.ip(), address);
    assert!(port.is_none_or(|port| port == source.port()));
    let answer = answer(&mut wire);
    assert_eq!((&answer.error, answer.icmp), (&Ok(()), None));
    assert!(answer.at <= wire.now());
}

#[rstest(Ipv6)]
fn a_closed_port_refuses(
    #[values(V4, V6)] address: IpAddr,
    #[values(Replies::Auto, Replies::SoError)] replies: Replies,
) {
    let target = SocketAddr::new(address, free_port(address));
    let mut wire = open(&Config { replies, ..config(target) });
    let port = free_port(address);
    let dispatched = wire.dispatch(&probe(port));
    assert_eq!(errno(&dispatched).1, format!("{} -> {target}", SocketAddr::new(address, port)));
    let answer = answer(&mut wire);
    assert_eq!(answer.error.expect_err("refused").name(), "ECONNREFUSED");
    assert_eq!(answer.icmp, None);
}

#[rstest(Ipv6)]
fn a_taken_port_cannot_be_bound(#[values(V4, V6)] address: IpAddr) {
    let holder = TcpListener::bind((address, 0)).expect("a free port");
    let taken = holder.local_addr().expect("its address");
    let mut wire = open(&config(SocketAddr::new(address, free_port(address))));
    let dispatched = wire.dispatch(&probe(taken.port()));
    assert_eq!(errno(&dispatched), (TracerCall::Bind, &*taken.to_string(), "EADDRINUSE"));
    assert_eq!(dispatched.source, None);
    // Nothing is left of it.
    wire.forget(ProbeId(0));
}

#[rstest]
fn a_source_of_another_host_cannot_be_bound(#[values(33_434, 0)] port: u16) {
    let source = IpAddr::from([192, 0, 2, 1]);
    let mut wire = open(&Config { source: Some(source), ..config(SocketAddr::new(V4, 80)) });
    assert_eq!(wire.source(), Some(source));
    let dispatched = wire.dispatch(&probe(port));
    let operands = SocketAddr::new(source, port).to_string();
    assert_eq!(errno(&dispatched), (TracerCall::Bind, &*operands, "EADDRNOTAVAIL"));
}

#[test]
fn an_option_that_is_refused_is_told_with_its_value() {
    let interface = Some("no-such-link".to_owned());
    let mut wire = open(&Config { interface, ..config(SocketAddr::new(V4, 80)) });
    let dispatched = wire.dispatch(&probe(None));
    let operands = format!("{} no-such-link", errnoscope::sys::BOUND_INTERFACE);
    assert_eq!((errno(&dispatched).0, errno(&dispatched).1), (TracerCall::Setsockopt, &*operands));
}

/// Without SO_REUSEADDR, TIME_WAIT would be in the way of bind().
#[rstest(Ipv6)]
fn a_connected_port_can_be_used_again_at_once(#[values(V4, V6)] address: IpAddr) {
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    let target = listener.local_addr().expect("its address");
    let mut wire = open(&config(target));
    let port = free_port(address);
    for _ in 0..3 {
        let dispatched = wire.dispatch(&probe(port));
        assert_eq!(errno(&dispatched).2, "EINPROGRESS", "{dispatched:?}");
        assert_eq!(answer(&mut wire).error, Ok(()));
        wire.forget(ProbeId(0));
    }
    // Nobody has looked whether this one is connected.
    wire.dispatch(&probe(port));
    drop(wire);
    let dispatched = open(&config(target)).dispatch(&probe(port));
    assert_eq!(errno(&dispatched).2, "EINPROGRESS", "{dispatched:?}");
}

#[test]
fn what_was_forgotten_answers_no_more() {
    let listener = TcpListener::bind((V4, 0)).expect("a free port");
    let mut wire = open(&config(listener.local_addr().expect("its address")));
    wire.dispatch(&probe(None));
    wire.forget(ProbeId(0));
    wire.forget(ProbeId(0));
    wire.forget(ProbeId(7));
    let (until, mut answers) = (wire.now() + Duration::from_millis(20), Vec::new());
    assert_eq!(wire.receive(until, &mut answers), Ok(()));
    assert_eq!(answers, []);
}

#[test]
fn waiting_ends_no_sooner_than_it_should() {
    let mut wire = open(&config(SocketAddr::new(V4, 80)));
    for micros in [0, 1, 300, 1_000, 1_700, 20_000] {
        let until = wire.now() + Duration::from_micros(micros);
        assert_eq!(wire.receive(until, &mut Vec::new()), Ok(()));
        assert!(wire.now() >= until);
    }
}

#[test]
fn a_wish_for_the_end_wakes_whoever_waits() {
    let (interrupt, mut other) = Interrupt::pair().expect("a pair of sockets");
    let mut wire = Wire::open(&config(SocketAddr::new(V4, 80)), interrupt).expect("a network");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // So that the other most likely waits already; before or after, the wish has to be heard.
            std::thread::sleep(Duration::from_millis(20));
            other.write_all(b"!").expect("written");
        });
        let until = wire.now() + Duration::from_secs(600);
        assert_eq!(wire.receive(until, &mut Vec::new()), Err(Interrupted));
    });
    // It stays so.
    let until = wire.now();
    assert_eq!(wire.receive(until, &mut Vec::new()), Err(Interrupted));
}

#[test]
fn a_signal_is_such_a_wish_even_before_anybody_waits() {
    let signal = signal_hook::consts::SIGUSR1;
    let interrupt = Interrupt::on_signals(&[signal]).expect("a handler");
    signal_hook::low_level::raise(signal).expect("a signal");
    let mut wire = Wire::open(&config(SocketAddr::new(V4, 80)), interrupt).expect("a network");
    let until = wire.now() + Duration::from_secs(600);
    assert_eq!(wire.receive(until, &mut Vec::new()), Err(Interrupted));
}

#[test]
fn without_signals_nobody_asks_for_an_end() {
    let interrupt = Interrupt::on_signals(&[]).expect("a pair of sockets");
    let mut wire = Wire::open(&config(SocketAddr::new(V4, 80)), interrupt).expect("a network");
    let until = wire.now() + Duration::from_millis(5);
    assert_eq!(wire.receive(until, &mut Vec::new()), Ok(()));
    assert!(wire.now() >= until);
}

#[rstest(Ipv6)]
fn a_trace_to_this_host_has_one_hop(
    #[values(V4, V6)] address: IpAddr,
    #[values(true, false)] is_open: bool,
    #[values(Replies::Auto, Replies::SoError)] replies: Replies,
) {
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    let target = listener.local_addr().expect("its address");
    if !is_open {
        drop(listener);
    }
    let mut wire = open(&Config { replies, ..config(target) });
    let settings = TraceSettings {
        os: errnoscope::sys::OS,
        kernel: errnoscope::sys::machine().kernel(),
        target,
        source: wire.source(),
        ttls: 1..=30,
        queries: 3,
        rounds: 2,
        wait: Duration::from_secs(600),
        interval: Duration::ZERO,
        in_flight: 16,
        ports: PortMode::Ephemeral,
        sequences: Sequences::new(PortRange::of::<33_434, 33_534>(), 0),
        reuse: Reuse::None,
    };
    let trace = tracer::trace(&settings, &evidence(), &mut wire, &mut |_| {});
    assert_eq!(trace.ended, Some(RoundEnd::Reached { ttl: 1, open: is_open }), "{trace:#?}");
    assert_eq!(trace.hops().len(), 1);
    assert_eq!(trace.hops()[0].totals.answered, 6);
}

fn evidence() -> Policy {
    policy::built_in(policy::DEFAULT).and_then(Result::ok).expect("a policy that its tests have read")
}
