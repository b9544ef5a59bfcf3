//! `errnoscope doctor`: shows what this host can run, what it cannot, and how to change that.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use serde_json::json;

use super::{Exit, Failure, output, source};
use crate::plan::{Capability, Hello};
use crate::render::style::{BAD, GOOD, HEADING, WARN, paint};
use crate::render::text::field;
use crate::scenario::{cases, compile};
use crate::suite::catalogue::Catalogue;
use crate::suite::runner::{self, Place};
use crate::sys;
use crate::words::names::{Need, Os};
use crate::words::ports::PortRange;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope doctor
  errnoscope doctor --json")]
pub struct Arguments {
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

/// Settings of the host that decide whether an ordinary user gets namespaces, and the value that lets them.
const SWITCHES: &[(&str, &str, &str)] = &[
    ("user.max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=15000"),
    ("user.max_pid_namespaces", "0", "sudo sysctl user.max_pid_namespaces=15000"),
    ("user.max_net_namespaces", "0", "sudo sysctl user.max_net_namespaces=15000"),
    ("kernel.unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    (
        "kernel.apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,`",
    ),
];

/// Descriptors that a process which holds ports needs for itself.
const OWN_DESCRIPTORS: u64 = 70;

pub fn doctor(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let hello =
        runner::hello(&Place::Here(super::own_program()?)).map_err(|lost| Failure::CannotRun(lost.to_string()))?;
    let affected = affected(&source::embedded()?, &hello)?;
    let switches: Vec<Switch> = SWITCHES.iter().filter_map(Switch::read).collect();
    let descriptors = Descriptors::read(&hello);
    if arguments.json {
        let needs: BTreeMap<Need, serde_json::Value> = Need::ALL
            .iter()
            .map(|&need| {
                let Capability { available, reason } = capability(&hello, need);
                let cases = affected.get(&need).unwrap_or(&0);
                let enable = remedies(&hello, need, &switches);
                (need, json!({ "available": available, "reason": reason, "cases": cases, "enable": enable }))
            })
            .collect();
        let sysctls: BTreeMap<&str, &str> = hello
            .sysctls
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(switches.iter().map(|switch| (switch.name, switch.value.as_str())))
            .collect();
        let report = json!({
            "host": { "os": hello.os, "release": hello.release, "arch": hello.arch, "isolation": hello.isolation },
            "needs": needs,
            "descriptors": {
                "soft": descriptors.soft,
                "hard": descriptors.hard,
                "ephemeral_ports": descriptors.ports,
                "holder_processes": descriptors.holders(),
            },
            "sysctls": sysctls,
        });
        output::json(&report, out)?;
    } else {
        write!(out, "{}", text(&hello, &affected, &switches, &descriptors))?;
    }
    let runs = capability(&hello, Need::FreePorts).available;
    Ok(if runs { Exit::Success } else { Exit::Broken })
}

fn text(hello: &Hello, affected: &BTreeMap<Need, u64>, switches: &[Switch], descriptors: &Descriptors) -> String {
    let width = output::width();
    let stack = hello.stack.as_ref().map(|stack| format!(" ({stack})")).unwrap_or_default();
    let mut text = format!("{} {}{stack} {}, isolation {}\n", hello.os, hello.release, hello.arch, hello.isolation);
    text.push_str(&format!("\n{}\n", paint(HEADING, "needs of the catalogue")));
    for &need in Need::ALL {
        let Capability { available, reason } = capability(hello, need);
        let needed = match affected.get(&need).copied().unwrap_or(0) {
            0 => "no case needs it".to_owned(),
            1 => "1 case needs it".to_owned(),
            cases => format!("{cases} cases need it"),
        };
        let (mark, style) = match (available, may_be_missing(need)) {
            (true, _) => ("yes", GOOD),
            (false, true) => ("no", WARN),
            (false, false) => ("NO", BAD),
        };
        let label = format!("  {need:<17} {mark:<3}  ");
        let said = match &reason {
            None => needed,
            Some(reason) if untried(hello, need, reason) => {
                format!("{needed}; unknown as long as there are no network namespaces")
            }
            Some(reason) => format!("{needed}: {reason}"),
        };
        let lines = field(&label, &said, width);
        text.push_str(&lines.replacen(
            &format!(" {mark:<3} "),
            &format!(" {} ", paint(style, &format!("{mark:<3}"))),
            1,
        ));
        for remedy in remedies(hello, need, switches) {
            text.push_str(&field(&format!("{:25}to enable: ", ""), &remedy, width));
        }
    }
    text.push_str(&format!("\n{}\n", paint(HEADING, "descriptors")));
    text.push_str(&field("  ", &descriptors.describe(), width));
    text.push_str(&format!("\n{}\n", paint(HEADING, "settings")));
    for (name, value) in hello.sysctls.iter().map(|(name, value)| (name.as_str(), value.as_str())) {
        text.push_str(&setting(name, value));
    }
    for switch in switches {
        let refused = if switch.refuses() { "  (refuses ordinary users)" } else { "" };
        text.push_str(&setting(switch.name, &format!("{}{refused}", switch.value)));
    }
    text
}

fn setting(name: &str, value: &str) -> String {
    format!("  {name} = {}\n", value.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn capability(hello: &Hello, need: Need) -> Capability {
    let unknown = || Capability { available: false, reason: Some("the worker did not say".to_owned().into()) };
    hello.capabilities.get(&need).cloned().unwrap_or_else(unknown)
}

/// Whether a host is in order without it.
fn may_be_missing(need: Need) -> bool {
    match need {
        Need::FreePorts => false,
        Need::NetworkNamespace
        | Need::Ipv6
        | Need::SecondUser
        | Need::Tun
        | Need::Nft
        | Need::Xnu
        | Need::Linux
        | Need::Selinux
        | Need::Resources
        | Need::Mptcp
        | Need::IoUring => true,
    }
}

/// Whether a need was not even tried, for want of a namespace to try it in.
fn untried(hello: &Hello, need: Need, reason: &str) -> bool {
    need != Need::NetworkNamespace && capability(hello, Need::NetworkNamespace).reason.as_deref() == Some(reason)
}

/// What to do about a need that this host does not offer, beyond what the reason says.
fn remedies(hello: &Hello, need: Need, switches: &[Switch]) -> Vec<String> {
    let Capability { available, reason } = capability(hello, need);
    // The reasons of macOS say all there is to do, and in a network that is everybody's there is nothing.
    let is_shared = hello.is_shared() && matches!(need, Need::Tun | Need::Nft);
    if available || is_shared || hello.os == Os::Macos || untried(hello, need, reason.as_deref().unwrap_or_default()) {
        return Vec::new();
    }
    let remedy = match need {
        Need::NetworkNamespace => {
            let refusing: Vec<String> =
                switches.iter().filter(|switch| switch.refuses()).map(|switch| switch.enable.to_owned()).collect();
            if !refusing.is_empty() {
                return refusing;
            }
            let container = "in a container, let unshare(2) through: --privileged, or --cap-add SYS_ADMIN with \
                 --security-opt seccomp=unconfined --security-opt apparmor=unconfined";
            return vec![match sys::effective_uid() {
                0 => format!("{container}; in a systemd service, RestrictNamespaces=no"),
                _ => format!("run as root; {container}"),
            }];
        }
        Need::Tun => "sudo modprobe tun; in a container, --device /dev/net/tun",
        Need::Nft => "install nftables; sudo modprobe nf_tables",
        // The reasons name the remedy.
        Need::FreePorts | Need::Ipv6 | Need::SecondUser | Need::Resources | Need::Mptcp | Need::IoUring => {
            return Vec::new();
        }
        // There is none.
        Need::Xnu | Need::Linux | Need::Selinux => return Vec::new(),
    };
    vec![remedy.to_owned()]
}

/// How many cases need what.
fn affected(catalogue: &Catalogue, hello: &Hello) -> Result<BTreeMap<Need, u64>, Failure> {
    let mut affected: BTreeMap<Need, u64> = BTreeMap::new();
    for scenario in &catalogue.scenarios {
        for case in cases(scenario) {
            let compiled = compile(scenario, &case, hello.os).map_err(|problem| Failure::Problems(vec![problem]))?;
            let own_network = hello.os == Os::Linux
                && (!hello.is_shared() || compiled.plan.steps.iter().any(|step| step.op.changes_host()));
            let implied = own_network.then_some(Need::NetworkNamespace);
            let shared = hello.is_shared().then_some(Need::FreePorts);
            let mut needs: Vec<Need> = compiled.needs.into_iter().chain(implied).chain(shared).collect();
            needs.sort();
            needs.dedup();
            for need in needs {
                *affected.entry(need).or_default() += 1;
            }
        }
    }
    Ok(affected)
}

/// A setting that can deny namespaces to ordinary users.
struct Switch {
    name: &'static str,
    refusing: &'static str,
    enable: &'static str,
    value: String,
}

impl Switch {
    /// `None` where the kernel has no such setting.
    fn read(&(name, refusing, enable): &(&'static str, &'static str, &'static str)) -> Option<Switch> {
        let value = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
        Some(Switch { name, refusing, enable, value: value.trim().to_owned() })
    }

    fn refuses(&self) -> bool {
        self.value == self.refusing
    }
}

/// How many sockets a process may have open, and how many it takes to exhaust the ephemeral ports.
struct Descriptors {
    soft: u64,
    hard: u64,
    ports: Option<u64>,
}

impl Descriptors {
    fn read(hello: &Hello) -> Descriptors {
        let (soft, hard) = sys::descriptor_limit();
        let value = |name: &str| hello.sysctls.get(name).cloned().unwrap_or_default();
        let linux = value("net.ipv4.ip_local_port_range");
        let macos = format!("{} {}", value("net.inet.ip.portrange.first"), value("net.inet.ip.portrange.last"));
        let range = |text: &str| PortRange::from_sysctl(text).ok().map(|range| u64::from(range.size()));
        Descriptors { soft, hard, ports: range(&linux).or_else(|| range(&macos)) }
    }

    /// Workers raise their soft limit to the hard one.
    fn holders(&self) -> Option<u64> {
        self.ports.map(|ports| ports.div_ceil(self.hard.saturating_sub(OWN_DESCRIPTORS).max(1)))
    }

    fn describe(&self) -> String {
        let Descriptors { soft, hard, .. } = self;
        let limits = format!("soft limit {soft}, hard limit {hard}");
        match self.ports.zip(self.holders()) {
            Some((ports, 1)) => format!("{limits}: one process can hold all {ports} ephemeral ports"),
            Some((ports, holders)) => {
                format!("{limits}: it takes {holders} processes to hold all {ports} ephemeral ports")
            }
            None => limits,
        }
    }
}
