//! A worker's first line: where it runs and what this host offers, found by trying.
//!
//! Every probe runs in a fresh network namespace, as a case would. If something is missing, the reason says what a
//! person can do.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{HELLO_DEADLINE, enter_case, in_child, queries};
use crate::plan::{Capability, Fate, Hello, PROTOCOL};
use crate::sys::{self, Fault, Isolation, Ring, SocketTable, Trail};
use crate::words::errno::ErrnoName;
use crate::words::names::{Call, Family, Need, Os, Protocol, SocketState};
use crate::words::untrusted::Text;

/// What packet filters are made of here. A kernel may have nf_tables without all of it: Debian's user-mode Linux cannot
/// reject.
const RULES: &str = "table inet errnoscope { counter hits { }; chain output { type filter hook output priority 0; \
    tcp dport 20100 counter name hits reject with icmpx type no-route; }; }";

/// What the largest case opens in one process, if others hold its ports.
const LEAST_DESCRIPTORS: u64 = 64;

const SYSCTLS: &[&str] = &[
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_tw_reuse_delay",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.ip_autobind_reuse",
    "net.ipv4.ip_nonlocal_bind",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_max_tw_buckets",
    "net.core.somaxconn",
    "net.ipv6.bindv6only",
    "net.inet.ip.portrange.first",
    "net.inet.ip.portrange.last",
    "net.inet.tcp.msl",
];

pub fn write(isolation: &Isolation, patience: u32, trail: &mut Trail, line: &mut Vec<u8>) -> std::io::Result<()> {
    let mut fate = Fate::Done;
    // A sandbox may kill whoever makes a call that it forbids.
    let mut fatal: BTreeMap<Need, String> = BTreeMap::new();
    while isolation.lacking.is_none() {
        fate = in_child(isolation, trail, HELLO_DEADLINE * patience, |trail| {
            enter_case(isolation, trail);
            let hello = hello(isolation, probe_all(isolation, &fatal, trail), read_sysctls());
            trail.append(|out| Ok(serde_json::to_writer(out, &hello)?)).unwrap_or_default();
        })?;
        let (Fate::Killed { signal }, Ok(need)) = (&fate, trail.message().parse::<Need>()) else { break };
        let why = format!("to try it ends the process that does (signal {signal}), as a seccomp filter has it");
        if fatal.insert(need, why).is_some() {
            break;
        }
    }
    match (&isolation.lacking, fate) {
        (None, Fate::Done) => line.extend_from_slice(trail.records()),
        (Some(reason), _) => serde_json::to_writer(&mut *line, &hello(isolation, lacking(reason), BTreeMap::new()))?,
        (None, fate) => {
            let reason = in_words(&fate, &trail.message());
            serde_json::to_writer(&mut *line, &hello(isolation, lacking(&reason), BTreeMap::new()))?;
        }
    }
    line.push(b'\n');
    Ok(())
}

/// Why nothing is known of this host. `at` is the need that was tried last.
fn in_words(fate: &Fate, at: &str) -> String {
    let what = "the look at what this host offers";
    match fate {
        Fate::Done => format!("{what} ended early"),
        Fate::Killed { signal } => format!("{what} was killed by signal {signal}, at {at}"),
        Fate::Exited { code, message } => format!("{what} ended with exit code {code}: {message}"),
        Fate::TimedOut { ms } => {
            format!("{what} took longer than {} s, at {at}; for a machine that is just slow: --patience 5", ms / 1000)
        }
    }
}

fn hello(isolation: &Isolation, capabilities: BTreeMap<Need, Capability>, sysctls: BTreeMap<Text, Text>) -> Hello {
    let machine = sys::machine();
    let isolation = isolation.kind.to_owned();
    Hello {
        protocol: PROTOCOL,
        os: sys::OS,
        release: machine.release.into(),
        arch: machine.arch.into(),
        stack: machine.stack.map(Text::from),
        isolation: isolation.into(),
        capabilities,
        sysctls,
    }
}

fn lacking(reason: &str) -> BTreeMap<Need, Capability> {
    Need::ALL.iter().map(|&need| (need, capability(Err(failed(reason))))).collect()
}

fn capability(tried: Result<(), Fault>) -> Capability {
    Capability { available: tried.is_ok(), reason: tried.err().map(|fault| fault.to_string().into()) }
}

fn probe_all(isolation: &Isolation, fatal: &BTreeMap<Need, String>, trail: &Trail) -> BTreeMap<Need, Capability> {
    let tried = |&need: &Need| {
        if let Some(why) = fatal.get(&need) {
            return (need, capability(Err(failed(why))));
        }
        // What it was at, should it get no further.
        trail.leave_message(need.as_str());
        (need, capability(probe(need, isolation)))
    };
    Need::ALL.iter().map(tried).collect()
}

fn failed(why: impl Into<String>) -> Fault {
    Fault::Failed(why.into())
}

fn probe(need: Need, isolation: &Isolation) -> Result<(), Fault> {
    match need {
        Need::NetworkNamespace => isolation.shared.as_ref().map_or(Ok(()), |why| Err(failed(why))),
        Need::FreePorts => loopback(),
        Need::Ipv6 => {
            let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
            let bound =
                sys::socket(Family::Ipv6, Protocol::Tcp).and_then(|fd| sys::bind(&fd, &sys::Address::new(address)));
            bound.map_err(|errno| {
                failed(format!("bind to ::1: {errno}; enable IPv6 (net.ipv6.conf.all.disable_ipv6=0)"))
            })
        }
        Need::SecondUser => {
            let [user, _] = isolation.users;
            let own = sys::effective_uid();
            let there_and_back = sys::set_effective_uid(user).and_then(|()| sys::set_effective_uid(own));
            let otherwise = match sys::OS {
                Os::Linux => ", or install newuidmap and give this user a range in /etc/subuid and /etc/subgid",
                Os::Macos => "",
            };
            there_and_back
                .map_err(|errno| failed(format!("uid {user} cannot be taken: {errno}; run as root{otherwise}")))
        }
        Need::Tun => sys::Tun::create("errnoscope0").map(drop),
        Need::Nft => queries::nft(&["--check", "-f", "-"], RULES).map(drop).map_err(|fault| {
            let fault = fault.to_string();
            failed(format!("{} (nf_tables and nft_reject_inet are needed)", fault.lines().next().unwrap_or_default()))
        }),
        Need::Xnu if sys::OS == Os::Macos => Ok(()),
        Need::Xnu => Err(failed("only XNU has this rule")),
        Need::Linux if sys::OS == Os::Linux => Ok(()),
        Need::Linux => Err(failed("only Linux has this rule")),
        Need::Resources => match sys::descriptor_limit().1 {
            LEAST_DESCRIPTORS.. => Ok(()),
            limit => Err(failed(format!(
                "a process may have {limit} files open, and some cases need {LEAST_DESCRIPTORS}; raise the limit: ulimit -n 1024"
            ))),
        },
        Need::Selinux if sys::has_selinux() => Ok(()),
        Need::Selinux => Err(failed("SELinux is not enabled")),
        Need::Mptcp if sys::OS == Os::Linux => mptcp(),
        Need::Mptcp => Err(failed("only Linux has MPTCP sockets")),
        Need::IoUring => Ring::new(Call::Connect).map(drop),
    }
}

/// Whether a connection to this host gets there: in a network that nobody has set up, nothing does.
fn loopback() -> Result<(), Fault> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let tried = || -> Result<bool, Fault> {
        let open = || sys::socket(Family::Ipv4, Protocol::Tcp);
        let (listener, client) = (open()?, open()?);
        sys::bind(&listener, &sys::Address::new(address))?;
        sys::listen(&listener, 1)?;
        let Some(name) = sys::local_name(&listener)? else { return Ok(false) };
        sys::limit_connect(&client, 1_000)?;
        sys::connect(&client, &sys::Address::new(name))?;
        Ok(true)
    };
    let why = match tried() {
        Ok(true) => return Ok(()),
        Ok(false) => "a listener has no name".to_owned(),
        Err(fault) => fault.to_string(),
    };
    Err(failed(format!("the loopback interface does not work: {why}; as root: ip link set lo up")))
}

/// Whether there are MPTCP sockets, and whether what the kernel says of them can be witnessed: by the subflow that it
/// lists.
fn mptcp() -> Result<(), Fault> {
    let lacking = |errno| match errno {
        Fault::Errno(errno) if errno.is(ErrnoName::EPROTONOSUPPORT) => failed("this kernel is built without MPTCP"),
        fault => failed(format!("socket(IPPROTO_MPTCP): {fault}; enable it: sysctl net.mptcp.enabled=1")),
    };
    let fd = sys::socket(Family::Ipv4, Protocol::Mptcp).map_err(|errno| lacking(errno.into()))?;
    let is_listed = || -> Result<bool, Fault> {
        sys::bind(&fd, &sys::Address::new(SocketAddr::from(([127, 0, 0, 1], 0))))?;
        sys::listen(&fd, 1)?;
        let (Some(state), Some(local)) = (sys::tcp_state(&fd)?, sys::local_name(&fd)?) else { return Ok(false) };
        let rows = SocketTable::open()?.rows(Protocol::Tcp, local.port(), &[state])?;
        let inode = sys::listed_inode(Some(&fd))?;
        Ok(rows.iter().any(|row| row.state == SocketState::Listen && Some(row.inode) == inode))
    };
    match is_listed() {
        Ok(true) => Ok(()),
        Ok(false) => Err(failed("this kernel does not list the subflow of an MPTCP socket")),
        Err(fault) => Err(failed(format!("this kernel does not tell the state of an MPTCP socket's subflow: {fault}"))),
    }
}

fn read_sysctls() -> BTreeMap<Text, Text> {
    SYSCTLS.iter().filter_map(|&name| Some((name.into(), sys::read_sysctl(name).ok()?.into()))).collect()
}
