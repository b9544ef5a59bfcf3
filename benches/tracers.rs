//! `errnoscope trace` beside other tracers and beside its floors: whole processes on the same path, in one run, as
//! ratios.
//!
//!     cargo bench --bench tracers [-- 5|15|5-rtt-20]
//!
//! The paths are 5 routers, 15 routers, and 5 routers behind a line of 20 ms, built by `errnoscope exec`, in which this
//! program runs itself. A tracer that is not in PATH is looked for where TRACEROUTE, TCPTRACEROUTE, MTR or TRIP say,
//! and ERRNOSCOPE may name another build of this one. The floors are processes of this program: a loop of connect()
//! that knows how long the path is, and the same with raw sockets. The rounds alternate, each begins with another
//! tracer, and the median of a round's ratios counts. SYNs are counted as they leave, whoever made them; the hops are
//! those whose addresses were printed. Nothing fails because of a time: the goals are told, with what is measured.
//! Needs root.

use std::fmt::Write as _;
use std::io::{PipeReader, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etherparse::{Ipv4HeaderSlice, PacketBuilder, SlicedPacket, TransportSlice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

const PROGRAM: &str = env!("CARGO_BIN_EXE_errnoscope");
const PORT: u16 = 80;
const ROUNDS: usize = 41;
/// Rounds for a tracer that takes longer than [`LONG`].
const FEW_ROUNDS: usize = 3;
const LONG: Duration = Duration::from_millis(500);
/// So that one tracer's resets, and answers that it has not waited for, do not meet the next: more than the longest
/// round trip.
const PAUSE: Duration = Duration::from_millis(40);

/// The places of those that others are compared with.
const OURS: usize = 0;
const TRACEROUTE: usize = 1;
const CONNECT: usize = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["inside", title, routers] => return inside(title, routers.parse().expect("a number")),
        ["connect", target, hops] => return connect_floor(target.parse().expect("an address"), hops),
        ["raw", target, hops] => return raw_floor(target.parse().expect("an address"), hops),
        // `cargo test --benches` passes no --bench: nothing is measured then.
        _ if !words.contains(&"--bench") => return,
        _ => {}
    }
    let chosen: Vec<&str> = words.into_iter().filter(|word| !word.starts_with('-')).collect();
    let paths: [(&str, &str, &[&str]); 3] = [
        ("5", "5 routers", &["--path", "5"]),
        ("15", "15 routers", &["--path", "15"]),
        ("5-rtt-20", "5 routers, RTT 20 ms", &["--path", "5", "--rtt", "20"]),
    ];
    for (name, title, options) in paths {
        if chosen.is_empty() || chosen.contains(&name) {
            let status = Command::new(PROGRAM)
                .args(["exec", "--listen", &PORT.to_string()])
                .args(options)
                .arg("--")
                .args([myself(), "inside".to_owned(), title.to_owned(), options[1].to_owned()])
                .status()
                .expect("errnoscope runs");
            assert!(status.success(), "errnoscope exec {options:?}: {status}");
        }
    }
}

fn myself() -> String {
    std::env::current_exe().expect("this program").display().to_string()
}

/// The client's side of a path: measures, and prints the table and the verdicts.
fn inside(title: &str, routers: u8) {
    let hops: Vec<Ipv4Addr> = (0..=routers).map(|link| Ipv4Addr::new(10, 77, link, 2)).collect();
    let mut tracers = tracers(routers);
    let tap = Tap::open();
    for tracer in &mut tracers {
        // The first also warms the caches of all the others.
        tracer.memory = (0..FEW_ROUNDS).map(|_| run(tracer, &tap, &hops, Memory::Own).memory).max().unwrap_or(0);
        tracer.is_slow = run(tracer, &tap, &hops, Memory::Shared).wall > LONG.as_secs_f64() * 1e3;
    }
    let mut runs: Vec<Vec<Run>> = tracers.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        for turn in 0..tracers.len() {
            let which = (round + turn) % tracers.len();
            if round < if tracers[which].is_slow { FEW_ROUNDS } else { ROUNDS } {
                runs[which].push(run(&tracers[which], &tap, &hops, Memory::Shared));
            }
        }
    }
    let mut text = format!(
        "{title}, {} hops, {ROUNDS} rounds\n    {:<17}{:>9}{:>15}{:>13}{:>9}{:>7}{:>10}{:>8}\n",
        hops.len(),
        "",
        "wall ms",
        "of traceroute",
        "of connect",
        "CPU ms",
        "SYNs",
        "RSS KiB",
        "hops"
    );
    for (tracer, runs_of) in tracers.iter().zip(&runs) {
        if tracer.program.is_none() {
            let _ = writeln!(text, "    {:<17}   missing", tracer.name);
            continue;
        }
        let of = |what: fn(&Run) -> f64| median(runs_of.iter().map(what));
        let ratio = |to: usize| match ratio(runs_of, &runs[to]) {
            Some(ratio) => format!("{ratio:.2}x"),
            None => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "    {:<17}{:>9.2}{:>15}{:>13}{:>9.2}{:>7}{:>10}{:>8}",
            tracer.name,
            of(|run| run.wall),
            ratio(TRACEROUTE),
            ratio(CONNECT),
            of(|run| run.cpu),
            of(|run| run.syns as f64),
            tracer.memory,
            format!("{}/{}", runs_of.iter().map(|run| run.hops).min().unwrap_or(0), hops.len()),
        );
    }
    let ours = |what: fn(&Run) -> f64| median(runs[OURS].iter().map(what));
    let goals = [
        ("wall of traceroute's", ratio(&runs[OURS], &runs[TRACEROUTE]), 1.15),
        ("wall of the connect floor's", ratio(&runs[OURS], &runs[CONNECT]), 1.3),
        ("CPU of wall", Some(ours(|run| run.cpu / run.wall)), 1.0),
        ("SYNs of hops", Some(ours(|run| run.syns as f64) / hops.len() as f64), 1.5),
        ("RSS of 8 MiB", Some(tracers[OURS].memory as f64 / 8192.0), 1.0),
    ];
    for (what, measured, most) in goals {
        let _ = match measured {
            Some(measured) if measured <= most => writeln!(text, "    {what}: {measured:.2}, at most {most}: met"),
            Some(measured) => writeln!(text, "    {what}: {measured:.2}, at most {most}: not met"),
            None => writeln!(text, "    {what}: not measured"),
        };
    }
    println!("{text}");
}

struct Tracer {
    name: &'static str,
    /// None where it is not installed.
    program: Option<PathBuf>,
    arguments: Vec<String>,
    is_slow: bool,
    /// In KiB.
    memory: i64,
}

fn tracers(routers: u8) -> Vec<Tracer> {
    let target = Ipv4Addr::new(10, 77, routers, 2).to_string();
    let hops = (u32::from(routers) + 1).to_string();
    let tracer = |name, program, arguments: &str| {
        let words = arguments.split_whitespace();
        let word = |word: &str| word.replace("TARGET", &target).replace("HOPS", &hops);
        Tracer { name, program, arguments: words.map(word).collect(), is_slow: false, memory: 0 }
    };
    vec![
        tracer(
            "errnoscope trace",
            Some(std::env::var_os("ERRNOSCOPE").map_or(PROGRAM.into(), PathBuf::from)),
            "trace -n TARGET",
        ),
        tracer("traceroute", find("TRACEROUTE"), "-T -q 1 -n -N 32 -p 80 TARGET"),
        tracer("connect floor", Some(myself().into()), "connect TARGET HOPS"),
        tracer("raw floor", Some(myself().into()), "raw TARGET HOPS"),
        tracer("tcptraceroute", find("TCPTRACEROUTE"), "-n TARGET 80"),
        // One round with the shortest waits that it takes. It prints nothing then: its reports wait for names.
        tracer(
            "trippy",
            find("TRIP"),
            "--tcp -P 80 -m silent -C 1 -i 10ms -T 100ms -g 10ms --read-timeout 10ms TARGET",
        ),
        tracer("mtr", find("MTR"), "--tcp -P 80 -c 1 -n --report TARGET"),
    ]
}

/// The program that the variable names, else the one in PATH that is called like the variable.
fn find(variable: &str) -> Option<PathBuf> {
    let said = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|directory| directory.join(variable.to_lowercase()));
    said.into_iter().chain(in_path).find(|program| program.is_file())
}

/// What a process cost; times are in milliseconds.
struct Run {
    wall: f64,
    cpu: f64,
    syns: usize,
    memory: i64,
    hops: usize,
}

/// Whose memory counts into a process's largest: it takes over what it has had before exec().
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// All of this program, by vfork(), which is quick.
    Shared,
    /// A fork's, which is less than any program has.
    Own,
}

fn run(tracer: &Tracer, tap: &Tap, hops: &[Ipv4Addr], memory: Memory) -> Run {
    let Some(program) = &tracer.program else {
        return Run { wall: 0.0, cpu: 0.0, syns: 0, memory: 0, hops: 0 };
    };
    let (output, write) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(program);
    command.args(&tracer.arguments).stdin(Stdio::null()).stdout(write).stderr(Stdio::null());
    if memory == Memory::Own {
        // SAFETY: it does nothing; that it is there makes std fork.
        unsafe { command.pre_exec(|| Ok(())) };
    }
    std::thread::sleep(PAUSE);
    tap.count();
    let begun = Instant::now();
    let child = command.spawn().expect("the tracer runs");
    let usage = wait(child);
    let wall = begun.elapsed().as_secs_f64() * 1e3;
    drop(command);
    let printed = printed(output);
    let is_there = |hop: &&Ipv4Addr| {
        let hop = hop.to_string();
        printed.split(|byte: char| !byte.is_ascii_digit() && byte != '.').any(|word| word == hop)
    };
    let millis = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    Run {
        wall,
        cpu: millis(usage.ru_utime) + millis(usage.ru_stime),
        syns: tap.count(),
        memory: usage.ru_maxrss,
        hops: hops.iter().filter(is_there).count(),
    }
}

/// wait4(2), with what the process and its children have used.
fn wait(child: Child) -> libc::rusage {
    let pid = child.id() as i32;
    let mut status = 0;
    // SAFETY: zeroed is a valid rusage, and the pointers are to a whole one and to an int.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(pid, &mut status, 0, &mut usage), pid, "wait4");
        usage
    }
}

/// It fits the pipe's buffer, so that nobody has to read while the process runs.
fn printed(mut output: PipeReader) -> String {
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).expect("the tracer's output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every packet of this namespace, as it passes the devices.
struct Tap(Socket);

impl Tap {
    fn open() -> Tap {
        let every = i32::from((libc::ETH_P_ALL as u16).to_be());
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(Protocol::from(every)));
        let socket = socket.expect("a packet socket");
        socket.set_recv_buffer_size(4 << 20).expect("room for packets");
        Tap(socket)
    }

    /// The SYNs that have left since the last count.
    fn count(&self) -> usize {
        let mut packet = [0; 256];
        let mut syns = 0;
        while let Ok(size) = (&self.0).read(&mut packet) {
            let parsed = SlicedPacket::from_ip(&packet[..size]);
            if let Ok(SlicedPacket { transport: Some(TransportSlice::Tcp(tcp)), .. }) = parsed {
                syns += usize::from(tcp.syn() && !tcp.ack() && tcp.destination_port() == PORT);
            }
        }
        syns
    }
}

/// Of those rounds that both took part in.
fn ratio(runs: &[Run], to: &[Run]) -> Option<f64> {
    let ratios = runs.iter().zip(to).filter(|(_, to)| to.wall > 0.0).map(|(run, to)| run.wall / to.wall);
    let ratios: Vec<f64> = ratios.collect();
    (!ratios.is_empty()).then(|| median(ratios.into_iter()))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A SYN for each TTL at once, from ordinary sockets, and their error queues.
fn connect_floor(target: Ipv4Addr, hops: &str) {
    let address = SocketAddr::from((target, PORT)).into();
    let mut sockets: Vec<Socket> = (1..=hops.parse().expect("a number"))
        .map(|ttl| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
            socket.set_ttl_v4(ttl).expect("a TTL");
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("an error queue");
            let error = socket.connect(&address).expect_err("it has only begun");
            assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS));
            socket
        })
        .collect();
    while !sockets.is_empty() {
        let mut polled: Vec<PollFd> =
            sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)).collect();
        poll(&mut polled, PollTimeout::NONE).expect("poll");
        let flags: Vec<PollFlags> =
            polled.iter().map(|polled| polled.revents().unwrap_or(PollFlags::empty())).collect();
        let mut flags = flags.into_iter();
        sockets.retain(|socket| match flags.next() {
            Some(flags) if flags.contains(PollFlags::POLLERR) => {
                println!("{}", offender(socket));
                false
            }
            Some(flags) if flags.contains(PollFlags::POLLOUT) => {
                println!("{target}");
                false
            }
            _ => true,
        });
    }
}

fn offender(socket: &Socket) -> Ipv4Addr {
    let mut control = nix::cmsg_space!([u8; 64]);
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut [], Some(&mut control), MsgFlags::MSG_ERRQUEUE);
    let message = message.expect("an entry in the error queue");
    let from = message.cmsgs().expect("whole").find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(_, from) => from,
        _ => None,
    });
    Ipv4Addr::from(u32::from_be(from.expect("its sender").sin_addr.s_addr))
}

/// A SYN for each TTL at once, through a raw socket, and whatever ICMP and TCP bring back.
fn raw_floor(target: Ipv4Addr, hops: &str) {
    const FIRST_PORT: u16 = 33_434;
    let hops: u16 = hops.parse().expect("a number");
    let raw = |protocol| Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(protocol)).expect("a raw socket");
    let (out, icmp, tcp) = (raw(Protocol::from(libc::IPPROTO_RAW)), raw(Protocol::ICMPV4), raw(Protocol::TCP));
    let address = SocketAddr::from((target, PORT)).into();
    for ttl in 1..=hops {
        let headers = PacketBuilder::ipv4(source(target).octets(), target.octets(), ttl as u8);
        let headers = headers.tcp(FIRST_PORT + ttl, PORT, 0, 64_240).syn();
        let mut packet = Vec::with_capacity(headers.size(0));
        headers.write(&mut packet, &[]).expect("a packet");
        out.send_to(&packet, &address).expect("it is sent");
    }
    let mut missing = hops;
    while missing > 0 {
        let mut polled = [&icmp, &tcp].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        poll(&mut polled, PollTimeout::NONE).expect("poll");
        let mut packet = [0; 256];
        for mut socket in [&icmp, &tcp] {
            while let Ok(size) = socket.read(&mut packet) {
                let from = Ipv4HeaderSlice::from_slice(&packet[..size]).map(|header| header.source_addr());
                if let Ok(from) = from {
                    println!("{from}");
                    missing = missing.saturating_sub(1);
                }
            }
        }
    }
}

fn source(target: Ipv4Addr) -> Ipv4Addr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    socket.connect(SocketAddrV4::new(target, PORT)).expect("a route");
    match socket.local_addr() {
        Ok(SocketAddr::V4(address)) => *address.ip(),
        other => panic!("no IPv4 address: {other:?}"),
    }
}
