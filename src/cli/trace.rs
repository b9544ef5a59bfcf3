//! `errnoscope trace`: the reference tracer on a real network.
//!
//! It starts the tracer and prints; `tracer` decides when to send a probe, and the policy what a failure means.

mod names;

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use self::names::Names;
use super::output::{self, Destination, Writing};
use super::select::one_of;
use super::{Exit, Failure, complain, policy};
use crate::knowledge::policy::DEFAULT;
use crate::render::trace as text;
use crate::sys::{self, Signals};
use crate::tracer::demo;
use crate::tracer::network::{Config, Interrupt, Replies, Wire};
use crate::tracer::record::{RoundEnd, Trace};
use crate::tracer::report::TraceReport;
use crate::tracer::view::{HopRow, TraceView};
use crate::tracer::{self, PortMode, PortModeName, Sequences, TraceSettings};
use crate::words::names::{Family, Reuse};
use crate::words::ports::PortRange;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope trace example.org                  port 80, a probe for each hop
  errnoscope trace -p 443 -q 3 -n example.org   three probes, no names
  errnoscope trace -6 --json t.json host        all about each probe, as JSON
  errnoscope trace --source-port 443 192.0.2.1  always from this port
  errnoscope trace --policy conflate 192.0.2.1  as another tracer does it
  errnoscope trace --demo                       a simulated path

A probe is a TCP connection attempt with a limited TTL: the router that uses the TTL up sends an ICMP error. On Linux no \
privileges are needed: the error comes through the error queue of the probe's socket. The policy (see \
`errnoscope policy`) decides about each failed call, and may skip the port; every skip is shown.

Exit codes: 0 the target answered, open or closed, 1 it did not, 2 usage or a host without an address, 4 the trace \
could not go on (with the reason, and the hops found so far).")]
pub struct Arguments {
    /// The host: a name or an address
    #[arg(value_name = "HOST", required_unless_present = "demo")]
    host: Option<String>,

    /// Trace a path of N routers that this program simulates on a TUN device, in a network of its own [default: 5]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "5", conflicts_with_all = ["host", "interface", "source"], value_parser = clap::value_parser!(u8).range(..=100))]
    demo: Option<u8>,

    /// The target's port
    #[arg(short, long, value_name = "PORT", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// The first TTL
    #[arg(short, long, value_name = "TTL", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    first_ttl: u8,

    /// The last TTL
    #[arg(short, long, value_name = "TTL", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..))]
    max_ttl: u8,

    /// Probes for each hop in a round
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=10))]
    queries: u8,

    /// Seconds to wait for an answer; from 1 on the kernel repeats the SYN by itself
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    wait: Duration,

    /// How often the whole path is probed
    #[arg(short = 'c', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,

    /// Seconds from the start of a round to the start of the next
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,

    /// Probes in flight at once
    #[arg(short = 'N', long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    in_flight: u16,

    /// Send from this interface
    #[arg(short, long, value_name = "NAME")]
    interface: Option<String>,

    /// Send from this address [default: the one that the route says]
    #[arg(short, long, value_name = "ADDRESS")]
    source: Option<IpAddr>,

    /// Where source ports come from: `sequence` (the probe's number), `fixed` (always the same one), `ephemeral` (the
    /// kernel)
    #[arg(long, value_name = "MODE", default_value = "sequence", value_parser = one_of(PortModeName::ALL, PortModeName::as_str), hide_possible_values = true)]
    source_port_mode: PortModeName,

    /// The source port of the mode `fixed`, which it implies
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    source_port: Option<u16>,

    /// Sequence numbers, which are the source ports of the mode `sequence`
    #[arg(long, value_name = "LOW-HIGH", default_value = "33434-65535")]
    source_port_range: PortRange,

    /// The first sequence number [default: a random one of the range]
    #[arg(long, value_name = "N")]
    initial_sequence: Option<u16>,

    /// The reuse options of each probe's socket: none, addr, port or both
    #[arg(long, value_name = "OPTIONS", default_value = "port", value_parser = one_of(Reuse::ALL, Reuse::as_str), hide_possible_values = true)]
    reuse: Reuse,

    /// What to do with failed calls: a built-in policy or a policy file
    #[arg(long, value_name = "NAME|FILE", default_value = DEFAULT)]
    policy: String,

    /// How ICMP errors are read: auto, error-queue, raw-icmp, or so-error (which does not tell who sent them)
    #[arg(long, value_name = "WAY", default_value = "auto", value_parser = one_of(Replies::ALL, Replies::as_str), hide_possible_values = true)]
    replies: Replies,

    /// Show addresses without names
    #[arg(short)]
    n: bool,

    /// IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,

    /// IPv6 only
    #[arg(short = '6')]
    v6: bool,

    /// Write everything about each probe to this file; `-` is standard output, and moves the table to standard error
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn trace(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let policy = policy::load(&arguments.policy)?;
    let json_to = arguments.json.as_deref().map(Destination::new).transpose()?;
    let cannot = |error| Failure::because("cannot watch for signals", error);
    let watch = || -> io::Result<(Signals, Interrupt)> {
        // In this order: who is woken up knows which signal it was.
        Ok((Signals::watch()?, Interrupt::on_signals(&sys::INTERRUPTS)?))
    };
    let (host, watched) = match arguments.demo {
        None => (arguments.host.clone().unwrap_or_default(), None),
        Some(routers) => {
            let host = demo(routers, arguments)?;
            let watched = watch().map_err(cannot)?;
            // They were kept back until here.
            sys::end_on_signals(&sys::INTERRUPTS, Duration::ZERO).map_err(cannot)?;
            (host, Some(watched))
        }
    };
    let target = resolve(&host, arguments)?;
    let mut settings = settings(arguments, target)?;
    let (signals, interrupt) = watched.map_or_else(watch, Ok).map_err(cannot)?;
    let config = Config {
        target,
        source: arguments.source,
        interface: arguments.interface.clone(),
        reuse: arguments.reuse,
        replies: arguments.replies,
    };
    let mut wire = Wire::open(&config, interrupt).map_err(|error| Failure::CannotRun(error.to_string()))?;
    settings.source = wire.source();

    let mut names = Names::new(!arguments.n);
    let mut live = Live::start(&host);
    let trace = tracer::trace(&settings, &policy, &mut wire, &mut |trace| {
        names.look_up(trace);
        live.show(trace, &names);
    });
    live.stop();
    drop(wire);
    let (names, lacking) = names.finish();
    let report = TraceReport::new(&host, trace, &names);
    let signal = signals.received();
    let as_json = |out: &mut dyn Write| output::json(&report, out);
    let writings: Vec<_> = json_to.iter().map(|to| Writing { to, content: &as_json }).collect();
    let written = output::write_all(&writings, Some(signals), out);
    let table = table(&report);
    match json_to.as_ref().is_some_and(Destination::is_stdout) {
        // Nothing depends on it.
        true => drop(write!(output::stderr(), "{table}")),
        false => write!(out, "{table}")?,
    }
    out.flush()?;
    if let Some(why) = lacking {
        complain("warning", &why);
    }
    if let Some(message) = text::error(&report.ended, &report.settings) {
        complain("error", &message);
    }
    written?;
    Ok(match report.ended {
        RoundEnd::Reached { .. } => Exit::Success,
        RoundEnd::NotReached | RoundEnd::Unreachable { .. } => Exit::Mismatch,
        RoundEnd::Aborted(_) | RoundEnd::SequencesSpent { .. } | RoundEnd::NothingSent { .. } => Exit::Broken,
        RoundEnd::Interrupted => Exit::Interrupted(signal.unwrap_or_default()),
    })
}

fn table(report: &TraceReport) -> String {
    let width = output::width();
    [
        text::header(&report.host, &report.settings, width),
        text::hops(&report.hops.iter().map(HopRow::from).collect::<Vec<_>>(), width),
        text::skips(&report.probes, &report.settings, width),
        text::ended(&report.ended, &report.settings).unwrap_or_default(),
    ]
    .concat()
}

/// Enters the network of the demo; where its path leads.
fn demo(routers: u8, arguments: &Arguments) -> Result<String, Failure> {
    let cannot = |why: demo::NoDemo| Failure::CannotRun(format!("no demo: {why}"));
    demo::Path { routers, silent: None }.enter().map_err(cannot)?;
    let family = if arguments.v6 { Family::Ipv6 } else { Family::Ipv4 };
    Ok(demo::Path::target(family).to_string())
}

/// The first address of the family that was asked for, as the system's resolver orders them.
fn resolve(host: &str, arguments: &Arguments) -> Result<SocketAddr, Failure> {
    let found = (host, arguments.port).to_socket_addrs();
    let found = found.map_err(|error| Failure::because(format!("cannot resolve {host}"), error))?;
    // ::ffff:192.0.2.1 is traced by IPv4, whose options it needs.
    let mut found = found.map(|address| match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    });
    let wanted = |address: &SocketAddr| !(arguments.v4 && address.is_ipv6() || arguments.v6 && address.is_ipv4());
    found.find(wanted).ok_or_else(|| {
        let family = if arguments.v4 { "IPv4" } else { "IPv6" };
        Failure::bad(format!("{host} has no {family} address"))
    })
}

fn settings(arguments: &Arguments, target: SocketAddr) -> Result<TraceSettings, Failure> {
    if arguments.first_ttl > arguments.max_ttl {
        let (first, last) = (arguments.first_ttl, arguments.max_ttl);
        return Err(Failure::bad(format!("--first-ttl {first} is above --max-ttl {last}")));
    }
    if let Some(source) = arguments.source
        && source.is_ipv4() != target.is_ipv4()
    {
        return Err(Failure::bad(format!("--source {source} and the target {} are of two families", target.ip())));
    }
    if let Some(interface) = &arguments.interface {
        sys::device_index(interface)
            .map_err(|errno| Failure::bad(format!("no interface is called `{interface}`: {errno}")))?;
    }
    let mode = match (arguments.source_port_mode, arguments.source_port) {
        (PortModeName::Fixed, None) => return Err(Failure::bad("--source-port-mode fixed needs a --source-port")),
        (PortModeName::Ephemeral, Some(_)) => {
            return Err(Failure::bad("--source-port and --source-port-mode ephemeral exclude each other"));
        }
        (_, Some(port)) => PortMode::Fixed(port),
        // An address takes a bind(), which is where the kernel picks the port then.
        (PortModeName::Ephemeral, None) if arguments.source.is_some() => PortMode::BindZero,
        (PortModeName::Ephemeral, None) => PortMode::Ephemeral,
        (PortModeName::Sequence, None) => PortMode::Sequence,
    };
    let range = arguments.source_port_range;
    let offset = match arguments.initial_sequence {
        // So that two tracers rarely want the same ports.
        None => sys::random(),
        Some(initial) if range.contains(initial) => u64::from(initial - range.low()),
        Some(initial) => {
            return Err(Failure::bad(format!(
                "--initial-sequence {initial} is not within --source-port-range {range}"
            )));
        }
    };
    let os = sys::HOST.ok_or_else(|| {
        Failure::bad("trace runs on Linux and macOS: what another system's errnos mean for a probe is not known")
    })?;
    Ok(TraceSettings {
        os,
        kernel: sys::machine().kernel(),
        target,
        source: arguments.source,
        ttls: arguments.first_ttl..=arguments.max_ttl,
        queries: arguments.queries,
        rounds: arguments.rounds,
        wait: arguments.wait,
        interval: arguments.interval,
        in_flight: arguments.in_flight.into(),
        ports: mode,
        sequences: Sequences::new(range, offset),
        reuse: arguments.reuse,
    })
}

/// Above this the kernel has given up by itself, as long as nobody made it more patient (tcp(7), tcp_syn_retries).
const LONGEST: f64 = 60.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds, such as 0.5".to_owned())?;
    if !(0.001..=LONGEST).contains(&seconds) {
        return Err(format!("expected 0.001 to {LONGEST} seconds"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The hops as they come, on a terminal.
struct Live {
    bar: Option<ProgressBar>,
    host: String,
    view: TraceView,
}

impl Live {
    fn start(host: &str) -> Live {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Live { bar, host: host.to_owned(), view: TraceView::default() }
    }

    fn show(&mut self, trace: &Trace, names: &Names) {
        let Some(bar) = &self.bar else { return };
        let mut hops = self.view.rows(trace);
        for voice in hops.iter_mut().flat_map(|hop| &mut hop.answers) {
            voice.name = voice.address.and_then(|address| names.known().get(&address).cloned());
        }
        let width = output::width();
        bar.set_message(text::header(&self.host, &trace.settings, width) + &text::hops(&hops, width));
        bar.tick();
    }

    fn stop(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
