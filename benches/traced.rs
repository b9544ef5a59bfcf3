//! What `errnoscope exec --trace` costs a program that does nothing but connect, beside strace, as ratios.
//!
//!     cargo bench --bench traced [-- refused|accepted]
//!
//! Every side runs the same client in a private network of `errnoscope exec`, and the client itself takes the time of a
//! connection: socket(), connect(), close(). `floor` is the least that ptrace(2) can do: two stops for each of socket()
//! and connect(), where the tracer looks at nothing and lets the program go on at once. The sides alternate, the median
//! of the ratios counts. `ERRNOSCOPE=program` measures another program than the one cargo builds.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe, read};

const ROUNDS: usize = 15;
const CONNECTIONS: usize = 3_000;
const PORT: &str = "4000";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("client") => client(),
        Some("floor") => floor(),
        // `cargo test --benches` passes no --bench: nothing is measured then.
        _ if !arguments.iter().any(|argument| argument == "--bench") => {}
        _ => ["refused", "accepted"].iter().filter(|name| is_chosen(&arguments, name)).for_each(|name| measure(name)),
    }
}

fn is_chosen(arguments: &[String], name: &str) -> bool {
    let mut chosen = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    chosen.peek().is_none() || chosen.any(|chosen| chosen == name)
}

/// A side: options of `errnoscope exec`, and what stands before the client.
const SIDES: [(&str, &[&str], &[&str]); 5] = [
    ("untraced", &[], &[]),
    ("floor", &[], &["floor"]),
    ("--trace", &["--json", "/dev/null"], &[]),
    ("strace -f", &[], &["strace", "-f", "-o", "/dev/null"]),
    (
        "strace -f --seccomp-bpf -e trace=network",
        &[],
        &["strace", "-f", "--seccomp-bpf", "-e", "trace=network", "-o", "/dev/null"],
    ),
];

fn measure(name: &str) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(SIDES.map(|(_, options, before)| side(name, options, before)));
    }
    println!("{name}: {CONNECTIONS} connections, {ROUNDS} rounds");
    for (index, (side, ..)) in SIDES.iter().enumerate() {
        let micros = median(rounds.iter().map(|round| round[index]));
        let best = rounds.iter().map(|round| round[index]).fold(f64::INFINITY, f64::min);
        let ratio = median(rounds.iter().map(|round| round[index] / round[0]));
        println!("    {side}: {micros:.1} µs a connection, best {best:.1} µs; {ratio:.2}x untraced");
    }
}

fn side(name: &str, options: &[&str], before: &[&str]) -> f64 {
    let program = std::env::var("ERRNOSCOPE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_errnoscope").to_owned());
    let own = std::env::current_exe().expect("this program is somewhere");
    let own = own.to_str().expect("a path in UTF-8");
    let mut exec = Command::new(program);
    exec.arg("exec").args(options);
    if name == "accepted" {
        exec.args(["--listen", PORT]);
    }
    exec.arg("--");
    match before {
        ["floor"] => exec.args([own, "floor"]),
        _ => exec.args(before).args([own, "client"]),
    };
    let output = exec.stdin(Stdio::null()).output().expect("errnoscope starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let (micros, outcome) = said.trim().split_once(' ').unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(outcome, name, "{output:?}");
    micros.parse().expect("a number")
}

fn client() {
    let address = format!("127.0.0.1:{PORT}").parse().expect("an address");
    let start = Instant::now();
    let mut accepted = 0;
    for _ in 0..CONNECTIONS {
        accepted += usize::from(TcpStream::connect::<std::net::SocketAddr>(address).is_ok());
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / CONNECTIONS as f64;
    let outcome = match accepted {
        0 => "refused",
        CONNECTIONS => "accepted",
        _ => "both",
    };
    println!("{micros:.3} {outcome}");
}

fn floor() {
    let (ready, go) = pipe().expect("a pipe");
    // SAFETY: there is one thread here.
    match unsafe { fork() }.expect("a process") {
        ForkResult::Child => {
            drop(go);
            let _ = read(&ready, &mut [0]);
            stop_at_two_calls();
            client();
        }
        ForkResult::Parent { child } => {
            let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACESECCOMP | Options::PTRACE_O_EXITKILL;
            ptrace::seize(child, options).expect("a child can be traced");
            drop((ready, go));
            let_it_run(child);
        }
    }
}

fn let_it_run(child: Pid) {
    loop {
        let _ = match waitpid(child, Some(WaitPidFlag::__WALL)).expect("a child can be waited for") {
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_SECCOMP) => ptrace::syscall(child, None),
            WaitStatus::Stopped(_, signal) => ptrace::cont(child, Some(signal).filter(|it| *it != Signal::SIGTRAP)),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return,
            _ => ptrace::cont(child, None),
        };
    }
}

fn stop_at_two_calls() {
    let op = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let filter = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(equal, libc::SYS_socket as u32, 2, 0),
        op(equal, libc::SYS_connect as u32, 1, 0),
        op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRACE, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program points to as many instructions as it says, and the kernel copies them.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    assert!(done, "{}", std::io::Error::last_os_error());
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
