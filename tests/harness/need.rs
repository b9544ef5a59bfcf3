//! What a test may need of the host, each tried out once. What a need is good for, the tests know.

use std::fmt;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// `all`, or a list of needs: their absence is a failure.
pub const REQUIRE: &str = "ERRNOSCOPE_REQUIRE";
/// What it said, where the program under test does not see it.
pub const REQUIRED: &str = "ERRNOSCOPE_TEST_REQUIRE";

/// Nothing that is tried out takes so long.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Network and PID namespaces, in a user namespace where this is no root.
    Namespaces,
    /// To watch the system calls of a child.
    Ptrace,
    /// Root, who can become other users.
    Root,
    /// Root, or an ordinary user with subordinate ids.
    SecondUser,
    /// A TUN device in a network namespace.
    Tun,
    Nft,
    /// ip and ss.
    Iproute2,
    /// ::1 on the loopback interface.
    Ipv6,
    Chromium,
    Python,
    /// The compiler of Go, which ci/go.sh installs.
    Go,
    Curl,
    Bash,
    Zsh,
    Fish,
    /// script(1), which gives a command a terminal.
    Script,
}

const ALL: [Need; 16] = [
    Need::Namespaces,
    Need::Ptrace,
    Need::Root,
    Need::SecondUser,
    Need::Tun,
    Need::Nft,
    Need::Iproute2,
    Need::Ipv6,
    Need::Chromium,
    Need::Python,
    Need::Go,
    Need::Curl,
    Need::Bash,
    Need::Zsh,
    Need::Fish,
    Need::Script,
];

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Need {
    pub fn name(self) -> &'static str {
        match self {
            Need::Namespaces => "namespaces",
            Need::Ptrace => "ptrace",
            Need::Root => "root",
            Need::SecondUser => "second-user",
            Need::Tun => "tun",
            Need::Nft => "nft",
            Need::Iproute2 => "iproute2",
            Need::Ipv6 => "ipv6",
            Need::Chromium => "chromium",
            Need::Python => "python",
            Need::Go => "go",
            Need::Curl => "curl",
            Need::Bash => "bash",
            Need::Zsh => "zsh",
            Need::Fish => "fish",
            Need::Script => "script",
        }
    }

    /// How to get it.
    pub fn remedy(self) -> &'static str {
        match self {
            Need::Namespaces => {
                "run as root, or allow user namespaces (kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu)"
            }
            Need::Ptrace => "allow ptrace (kernel.yama.ptrace_scope=1 or less; in a container, SYS_PTRACE)",
            Need::Root => "run as root",
            Need::SecondUser => "run as root, or give this user subordinate ids (uidmap, /etc/subuid)",
            Need::Tun => "create /dev/net/tun: modprobe tun",
            Need::Ipv6 => "enable IPv6 (net.ipv6.conf.lo.disable_ipv6=0)",
            Need::Go => "ci/go.sh says where it has installed it: PATH=$(ci/go.sh):$PATH",
            Need::Nft
            | Need::Iproute2
            | Need::Chromium
            | Need::Python
            | Need::Curl
            | Need::Bash
            | Need::Zsh
            | Need::Fish
            | Need::Script => "ci/install.sh installs it on Debian and Ubuntu",
        }
    }

    /// Whether this host has it, and why not.
    pub fn probed(self) -> Result<(), String> {
        static KNOWN: [OnceLock<Result<(), String>>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];
        KNOWN[self as usize].get_or_init(|| self.probe()).clone()
    }

    pub fn is_required(self) -> bool {
        required().iter().any(|word| word == "all" || word == self.name())
    }

    pub fn names() -> String {
        ALL.map(Need::name).join(", ")
    }

    /// A word of ERRNOSCOPE_REQUIRE that is no need.
    pub fn unknown() -> Option<String> {
        let is_known = |word: &String| word == "all" || ALL.iter().any(|need| word == need.name());
        required().into_iter().find(|word| !is_known(word))
    }

    fn probe(self) -> Result<(), String> {
        match self {
            Need::Namespaces => in_namespace("true"),
            Need::Ptrace => ptrace(),
            Need::Root => {
                if !is_root() {
                    return Err("this is not root".to_owned());
                }
                success(Command::new("true").uid(65_534).gid(65_534))
            }
            Need::SecondUser if is_root() => Need::Root.probed(),
            Need::SecondUser => success(Command::new("unshare").args(["--map-root-user", "--map-auto", "true"])),
            Need::Tun => in_namespace("exec 3<>/dev/net/tun"),
            Need::Nft => in_namespace(
                "PATH=$PATH:/usr/sbin:/sbin; nft 'add table inet t; add chain inet t c \
                 { type filter hook output priority 0; }; add rule inet t c counter drop'",
            ),
            Need::Iproute2 => in_namespace("PATH=$PATH:/usr/sbin:/sbin; ip link show dev lo && ss -tan"),
            Need::Ipv6 => {
                std::net::TcpListener::bind("[::1]:0").map(drop).map_err(|error| format!("bind(::1): {error}"))
            }
            Need::Chromium => success(
                Command::new(chromium().ok_or("no chromium in PATH, nor named by CHROMIUM")?)
                    .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"])
                    .arg("about:blank"),
            ),
            Need::Go => success(Command::new("go").arg("version")),
            Need::Python => success(Command::new("python3").args(["-c", "import ctypes, http.server, socket"])),
            Need::Curl => success(Command::new("curl").arg("--version")),
            Need::Bash => success(Command::new("bash").args(["-c", "true"])),
            Need::Zsh => success(Command::new("/usr/bin/zsh").args(["-c", "true"])),
            Need::Fish => success(Command::new("/usr/bin/fish").args(["-c", "true"])),
            Need::Script => success(Command::new("script").args(["-qec", "true", "/dev/null"])),
        }
    }
}

fn required() -> Vec<String> {
    let words = std::env::var(REQUIRED).unwrap_or_default();
    words.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// What people may call it: CHROMIUM, or one of these in PATH.
pub fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    named.or_else(|| {
        std::env::split_paths(&path)
            .flat_map(|place| ["chromium", "chromium-browser", "google-chrome"].map(|name| place.join(name)))
            .find(|path| path.is_file())
    })
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// In namespaces of a process that ends with this, made by a program that is not under test.
fn in_namespace(script: &str) -> Result<(), String> {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.arg("--map-root-user");
    }
    success(command.args(["--net", "--pid", "--fork", "--mount-proc", "sh", "-c", script]))
}

fn ptrace() -> Result<(), String> {
    use nix::sys::{ptrace, wait};
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("cat: {error}"))?;
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let tried = ptrace::attach(pid).and_then(|()| wait::waitpid(pid, None)).and_then(|_| ptrace::detach(pid, None));
    drop(child.stdin.take());
    let _ = child.kill();
    let _ = child.wait();
    tried.map_err(|errno| format!("ptrace: {errno}"))
}

/// Runs it to its end, which is to be 0.
fn success(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let mut complaints = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = complaints.as_mut().map(|pipe| pipe.read_to_string(&mut text));
        text
    });
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().map_err(|error| format!("{name}: {error}"))? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name} did not end within {} s", LIMIT.as_secs()));
            }
            None => std::thread::park_timeout(Duration::from_millis(2)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let text = reader.join().unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(format!("{name} failed ({status}): {last}"))
}
