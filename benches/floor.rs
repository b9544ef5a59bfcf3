//! errnoscope against its floor: the same kernel work without errnoscope, in one run, as ratios.
//!
//!     cargo bench --bench floor [-- collisions|exhaustion|flat|catalogue]
//!
//! (a) 3,000 cases of one TIME_WAIT collision each, against a bare loop of fork + unshare + lo up + the same calls +
//! wait on as many processes, once in namespaces with the host's hash tables and once with small ones of their own, as
//! errnoscope's cases have them; (b) the default ephemeral range taken by number, against a bare loop of socket + bind;
//! (c) the cost of a case at 100, 1,000 and 10,000 cases; (d) the whole catalogue, and the coordinator's memory. The
//! rounds of both sides alternate, and the median of their ratios counts: this is how one gets ratios out of a noisy
//! machine. Needs root.

use std::fmt::Write as _;
use std::io::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_errnoscope");
const ROUNDS: usize = 7;
const JOBS: usize = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` passes no --bench: nothing is measured then.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let benches: [(&str, fn()); 4] =
        [("collisions", collisions), ("exhaustion", exhaustion), ("flat", flat), ("catalogue", catalogue)];
    for (name, bench) in benches {
        if chosen.is_empty() || chosen.iter().any(|chosen| *chosen == name) {
            bench();
        }
    }
}

fn collisions() {
    const CASES: usize = 3_000;
    let directory = scenarios(CASES);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push([
            cost(|| bare_collisions(CASES, Tables::Host)),
            cost(|| bare_collisions(CASES, Tables::Small)),
            cost(|| run(&["--scenarios", &text(directory.path())])),
        ]);
    }
    println!("(a) {CASES} TIME_WAIT collisions, {JOBS} at a time");
    for (side, name) in ["bare", "bare with small tables", "errnoscope"].into_iter().enumerate() {
        let of = |what: fn(&Cost) -> f64| median(rounds.iter().map(|round| what(&round[side])));
        let ratio = |what: fn(&Cost) -> f64| median(rounds.iter().map(|round| what(&round[2]) / what(&round[side])));
        println!(
            "    {name}: {:.2} s, {:.2} s of CPU; errnoscope takes {:.2}x the time, {:.2}x the CPU",
            of(|cost| cost.wall),
            of(|cost| cost.cpu),
            ratio(|cost| cost.wall),
            ratio(|cost| cost.cpu)
        );
    }
}

fn exhaustion() {
    const PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;
    let directory = fill_scenario();
    let rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| (bare_fill(PORTS).as_secs_f64() * 1e3, fill_duration(directory.path()).as_secs_f64() * 1e3))
        .collect();
    println!(
        "(b) {} ports taken: bare {:.0} ms, errnoscope {:.0} ms: {:.2}x",
        PORTS.len(),
        median(rounds.iter().map(|(bare, _)| *bare)),
        median(rounds.iter().map(|(_, ours)| *ours)),
        median(rounds.iter().map(|(bare, ours)| ours / bare)),
    );
}

/// What starts with the suite is paid once: the cost of a case is what more cases take more.
fn flat() {
    let sizes = [1, 100, 1_000, 10_000];
    let directories = sizes.map(scenarios);
    let mut rounds: Vec<[f64; 4]> = Vec::new();
    for _ in 0..3 {
        rounds.push(directories.each_ref().map(|directory| timed(|| run(&["--scenarios", &text(directory.path())]))));
    }
    let start = median(rounds.iter().map(|round| round[0]));
    let mut line = format!("(c) starting up {:.0} ms; a case:", start * 1e3);
    for (index, cases) in sizes.into_iter().enumerate().skip(1) {
        let each = median(rounds.iter().map(|round| (round[index] - round[0]) * 1e3 / (cases - 1) as f64));
        let _ = write!(line, " {each:.2} ms of {cases}");
    }
    println!("{line}");
}

/// The goal of 4 s is for a machine on which the bare loop of (a) takes 1.3 s: 3.1x.
fn catalogue() {
    const CASES: usize = 3_000;
    let mut memory = 0;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let bare = timed(|| bare_collisions(CASES, Tables::Host));
        rounds.push((bare, timed(|| memory = run(&["--json", "/dev/null"]))));
    }
    println!(
        "(d) whole catalogue: {:.2} s, best {:.2} s; {:.2}x {CASES} bare collisions; its largest process had {} MiB",
        median(rounds.iter().map(|(_, ours)| *ours)),
        rounds.iter().map(|(_, ours)| *ours).fold(f64::INFINITY, f64::min),
        median(rounds.iter().map(|(bare, ours)| ours / bare)),
        memory / 1024
    );
}

/// Runs the suite; the wall time is the caller's to take. Returns the largest resident set of its processes, in KiB.
fn run(arguments: &[&str]) -> i64 {
    let status = Command::new(PROGRAM)
        .args(["run", "--quiet", "--jobs", "2"])
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .expect("errnoscope runs");
    assert!(status.success(), "errnoscope run {arguments:?}: {status}");
    usage().ru_maxrss
}

/// In seconds; the CPU time is that of all processes, and what the kernel does later on its own is in neither.
struct Cost {
    wall: f64,
    cpu: f64,
}

fn cost<T>(work: impl FnOnce() -> T) -> Cost {
    let (begun, before) = (Instant::now(), usage());
    work();
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = |usage: libc::rusage| seconds(usage.ru_utime) + seconds(usage.ru_stime);
    Cost { wall: begun.elapsed().as_secs_f64(), cpu: cpu(usage()) - cpu(before) }
}

fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    cost(work).wall
}

/// Of all children that have been waited for.
fn usage() -> libc::rusage {
    // SAFETY: zeroed is a valid rusage, and the pointer is to a whole one.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A scenario with so many cases, each of which collides with one TIME_WAIT.
fn scenarios(cases: usize) -> tempfile::TempDir {
    let values: Vec<String> = (0..cases).map(|number| format!("\"{number}\"")).collect();
    write_scenario(&format!(
        r#"
claim = "A benchmark"
id = "bind.benchmark"
why = "To know what a case costs."
cause = "port-in-use"

[axes]
number = [{}]

[[setup]]
hold = {{ socket = "holder", state = "time-wait", protocol = "tcp", address = "127.0.0.1", port = 20000, peer = "127.0.0.1", peer_port = 20100 }}

[[setup]]
open = {{ socket = "claimer", protocol = "tcp", family = "ipv4" }}

[[subject]]
bind = {{ socket = "claimer", address = "127.0.0.1", port = 20000 }}

[[subject.precondition]]
socket = {{ socket = "holder", protocol = "tcp", state = "time-wait" }}

[[subject.expect]]
os = ["linux", "macos"]
outcome = "EADDRINUSE"
authority = "posix"
ref = "bind()"
"#,
        values.join(", ")
    ))
}

fn fill_scenario() -> tempfile::TempDir {
    write_scenario(
        r#"
claim = "A benchmark"
id = "bind.benchmark"
why = "To know what exhausting the ports costs."
cause = "ports-exhausted"

[[setup]]
fill = { how = "bind", protocol = "tcp", address = "127.0.0.1", low = 32768, high = 60999 }

[[setup]]
open = { socket = "claimer", protocol = "tcp", family = "ipv4" }

[[subject]]
bind = { socket = "claimer", address = "127.0.0.1", port = 0 }

[[subject.precondition]]
full = { protocol = "tcp", family = "ipv4", low = 32768, high = 60999 }

[[subject.expect]]
os = ["linux", "macos"]
outcome = ["EADDRINUSE", "EADDRNOTAVAIL"]
authority = "manual"
ref = "bind(2)"
"#,
    )
}

fn write_scenario(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("bind")).expect("a directory");
    std::fs::write(directory.path().join("bind/a-benchmark.toml"), text).expect("a scenario");
    directory
}

/// How long the fill op took, from the trail.
fn fill_duration(directory: &Path) -> Duration {
    let report = directory.join("report.json");
    run(&["--scenarios", &text(directory), "--json", &text(&report)]);
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("a report is JSON");
    let micros = report["findings"][0]["trail"][0]["micros"].as_f64().expect("the fill's duration");
    Duration::from_secs_f64(micros / 1e6)
}

/// Whose hash tables the cases' sockets are in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tables {
    Host,
    Small,
}

/// The same kernel work for each case as `scenarios`, and nothing else.
fn bare_collisions(cases: usize, tables: Tables) {
    let workers: Vec<i32> = (0..JOBS)
        .map(|_| {
            in_child(|| {
                if tables == Tables::Small {
                    private_network();
                    std::fs::write("/proc/sys/net/ipv4/tcp_child_ehash_entries", "512").expect("a sysctl");
                    std::fs::write("/proc/sys/net/ipv4/udp_child_hash_entries", "128").expect("a sysctl");
                }
                for _ in 0..cases / JOBS {
                    wait_for(in_child(|| {
                        private_network();
                        collision();
                    }));
                }
            })
        })
        .collect();
    workers.into_iter().for_each(wait_for);
}

fn collision() {
    let listener = socket();
    bind(listener, 20_100);
    // SAFETY: no pointers.
    check(unsafe { libc::listen(listener, 8) });
    let holder = socket();
    bind(holder, 20_000);
    let address = address(20_100);
    // SAFETY: the address is whole; accept takes null pointers for an address that nobody wants.
    let accepted = unsafe {
        check(libc::connect(holder, (&raw const address).cast(), size_of_val(&address) as u32));
        check(libc::accept(listener, std::ptr::null_mut(), std::ptr::null_mut()))
    };
    // SAFETY: both are open and used nowhere else.
    unsafe {
        libc::close(holder);
        libc::close(accepted);
    }
    let claimer = socket();
    assert_eq!(try_bind(claimer, 20_000), -1, "the port is held");
}

/// As many processes as descriptors demand, one after the other, each with its share of the range. errnoscope lets its
/// processes bind side by side.
fn bare_fill(ports: std::ops::RangeInclusive<u16>) -> Duration {
    const SHARE: usize = 19_000;
    let (read, write) = std::io::pipe().expect("a pipe");
    let child = in_child(|| {
        raise_descriptors();
        private_network();
        let begun = Instant::now();
        let all: Vec<u16> = ports.clone().collect();
        let (here, there) = all.split_at(SHARE.min(all.len()));
        let fill = |ports: &[u16]| ports.iter().for_each(|&port| bind(socket(), port));
        let (done, tell) = std::io::pipe().expect("a pipe");
        let other = in_child(|| {
            fill(there);
            std::io::Write::write_all(&mut &tell, &[0]).expect("a pipe");
            // SAFETY: no pointers.
            unsafe { libc::pause() };
        });
        std::io::Read::read_exact(&mut &done, &mut [0]).expect("the other process");
        fill(here);
        // The clock stops when the last port is taken: closing them all is no part of it, here as in errnoscope.
        let micros = begun.elapsed().as_micros() as u64;
        // SAFETY: no pointers; a child that is reaped right here.
        unsafe {
            libc::kill(other, libc::SIGKILL);
            libc::waitpid(other, std::ptr::null_mut(), 0);
        }
        std::io::Write::write_all(&mut &write, &micros.to_le_bytes()).expect("a pipe");
    });
    let mut micros = [0; 8];
    std::io::Read::read_exact(&mut &read, &mut micros).expect("the child's time");
    wait_for(child);
    Duration::from_micros(u64::from_le_bytes(micros))
}

fn in_child(work: impl FnOnce()) -> i32 {
    // SAFETY: this program has one thread.
    match check(unsafe { libc::fork() }) {
        0 => {
            work();
            // SAFETY: it does not return.
            unsafe { libc::_exit(0) }
        }
        pid => pid,
    }
}

fn wait_for(pid: i32) {
    let mut status = 0;
    // SAFETY: the pointer is to an int.
    check(unsafe { libc::waitpid(pid, &mut status, 0) });
    assert_eq!(status, 0, "a bare child failed");
}

/// unshare(CLONE_NEWNET), and lo up.
fn private_network() {
    // SAFETY: zeroed is a valid ifreq; the ioctls get a whole one.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNET));
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        let socket = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0));
        check(libc::ioctl(socket, libc::SIOCSIFFLAGS, &request));
        libc::close(socket);
    }
}

fn raise_descriptors() {
    // SAFETY: the pointers are to a whole rlimit.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

fn socket() -> i32 {
    // SAFETY: no pointers.
    check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })
}

fn bind(socket: i32, port: u16) {
    check(try_bind(socket, port));
}

fn try_bind(socket: i32, port: u16) -> i32 {
    let address = address(port);
    // SAFETY: the address is whole.
    unsafe { libc::bind(socket, (&raw const address).cast(), size_of_val(&address) as u32) }
}

fn address(port: u16) -> libc::sockaddr_in {
    // SAFETY: zeroed is a valid sockaddr_in.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    address
}

fn check(result: i32) -> i32 {
    assert_ne!(result, -1, "{}", Error::last_os_error());
    result
}
