//! An environment for one command: the processes beside the command, and the way its exit code gets out.
//!
//! Process 1 of the environment builds it, creates the conditions and looks after the command. When it ends, everything
//! ends. `cli` reads the options.

mod condition;
mod environment;
mod failure;
mod holders;
mod without_namespaces;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::knowledge::calls::{Record, Seen};
use crate::sys::{self, Credentials, Ended, Fork, Isolate, Purpose, Supervision, Watch};
use crate::words::errno::Errno;
use crate::words::near::or_list;
use crate::words::ports::{PORT_RANGE, PortRange};

pub use condition::{DEFAULT_RANGE, Holder, HostCondition, Named, Prefix, VERDICTS};
pub use environment::{Environment, MOST_ROUTERS};
pub use failure::{Failed, NoEnvironment};

use condition::{ConditionCheck, Situation};
use failure::Unmakeable;
use holders::{Holders, Refusal};
use without_namespaces::SharedHost;

/// How a command ended.
#[derive(Clone, Debug)]
pub struct CommandEnd {
    pub ended: Ended,
    /// It was told to end, because its time was up.
    pub timed_out: bool,
    /// Conditions that did not hold then, a sentence each.
    pub lost: Vec<String>,
    /// What the command was allowed to change and did, a sentence each.
    pub changed: Vec<String>,
    /// Processes of its environment that did not work then, a sentence each.
    pub failed: Vec<String>,
    /// Its socket calls, where somebody wanted to see them.
    pub watched: Option<(Seen, Vec<Record>)>,
}

/// What there is to a run beside the command.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub environment: Environment,
    pub conditions: Vec<Named>,
    /// Sysctls that conditions set, and names of conditions, that may be another at the command's end.
    pub may_change: Vec<String>,
    /// How long the command may run.
    pub limit: Option<Duration>,
    /// Whether its socket calls are to be seen.
    pub watch: bool,
    /// What the command reads first.
    pub startup: Option<Startup>,
    /// Whether it starts in an empty directory that is its home, so that no file there is its configuration.
    pub empty_home: bool,
    /// Whether it is to have the terminal. A shell gives it back to the group that it came in, and nobody outside of
    /// the environment has a number in there.
    pub foreground: bool,
}

/// A file alone in a directory, and the variable by which a command finds that. Where the system can, the directory has
/// no name, so that nothing is left of it whatever happens; the command removes any other.
#[derive(Clone, Debug)]
pub struct Startup {
    pub variable: &'static str,
    pub file: &'static str,
    pub text: String,
}

/// What the process that is to become the command is told before that: without it, it never does.
const GO: u8 = b'g';

/// Runs the command in its environment. The process that returns from this may be another than the one that called it:
/// see [`sys::isolate`].
pub fn run(request: &Request, command: &mut Command) -> Result<CommandEnd, Failed> {
    let Request { environment, conditions, may_change, limit, watch, startup, empty_home, foreground } = request;
    let what = |what: &'static str| move |errno: Errno| NoEnvironment::System { what, errno };
    let caller = Credentials::current().map_err(what("cannot prepare for signals"))?;
    let isolation = sys::isolate(Purpose::Command, Isolate::WherePossible);
    if let Some(lacking) = &isolation.lacking {
        return Err(NoEnvironment::Private(lacking.clone()).into());
    }
    // Until the command runs, and when it has ended, there is nobody to pass them on to.
    sys::end_on_signals(&[], Duration::ZERO).map_err(NoEnvironment::Signals)?;
    let refused = |(index, why): (usize, Unmakeable)| {
        let text = conditions[index].text.clone();
        NoEnvironment::Condition { text, why }
    };
    // Its namespaces are there as long as it is.
    let (situation, built) = if let Some(why) = &isolation.shared {
        // A command that expects a network of its own, and nothing else, must not get everybody's.
        if conditions.is_empty() && environment.is_bare() {
            return Err(NoEnvironment::Private(why.clone()).into());
        }
        let range = sys::read_sysctl(PORT_RANGE).map_err(what("cannot read net.ipv4.ip_local_port_range"))?;
        let range = PortRange::from_sysctl(&range).map_err(NoEnvironment::PortRange)?;
        let shows_limits = sys::descriptor_limit_of(std::process::id() as i32).is_ok();
        let host = SharedHost { why, range, shows_limits, shows_calls: sys::cannot_trace().is_none() };
        let wanted = without_namespaces::conditions(request, &host).map_err(NoEnvironment::from)?;
        let _ = writeln!(std::io::stderr(), "errnoscope: note: the command has the network of this host: {why}");
        if let Some(warning) = without_namespaces::warning(&wanted) {
            let _ = writeln!(std::io::stderr(), "errnoscope: note: {warning}");
        }
        let around = environment::bystanders().map_err(NoEnvironment::ClientTable)?;
        (without_namespaces::situation(&wanted, &around).map_err(refused)?, None)
    } else {
        let built = environment.build(&caller)?;
        let mut around = environment::surroundings(&built.chain).map_err(NoEnvironment::ClientTable)?;
        let wanted: Vec<HostCondition> = conditions.iter().map(|named| named.condition.clone()).collect();
        if let Some((index, to)) = condition::unreachable(&wanted, &around) {
            return Err(refused((index, Unmakeable::NoWay { to })).into());
        }
        // A program of --with may have other ports before this one.
        let end = Instant::now() + environment::STARTUP_TIMEOUT;
        let is_with = environment.path.is_none() && !environment.with.is_empty();
        while let Some((index, to)) = condition::unserved(&wanted, &around).filter(|_| is_with) {
            if Instant::now() >= end {
                return Err(refused((index, Unmakeable::NoServer { to })).into());
            }
            sys::pause_ms(10.0);
            around = environment::surroundings(&built.chain).map_err(NoEnvironment::ClientTable)?;
        }
        (Situation::of(&wanted, &around).map_err(refused)?, Some(built))
    };
    for to in &situation.served {
        let told = format!("nobody listens on {to}: errnoscope does, and never answers");
        let _ = writeln!(std::io::stderr(), "errnoscope: note: {told}");
    }
    for name in may_change {
        let sysctls =
            situation.checks.iter().filter_map(ConditionCheck::sysctl).filter_map(|name| name.rsplit('.').next());
        let known = conditions.iter().map(Named::name).chain(sysctls.clone());
        let is_known = conditions.iter().any(|named| named.is_called(name))
            || situation.checks.iter().any(|check| check.is_of_sysctl(name));
        if !is_known {
            let meant = match known.clone().next() {
                Some(_) => or_list(name, known),
                None => "; there is no condition".to_owned(),
            };
            return Err(NoEnvironment::MayChange { name: name.clone(), meant }.into());
        }
    }
    let helpers = built.as_ref().map_or(&[][..], |built| &built.helpers);
    let descriptors = situation.descriptors.map(|(index, free)| (index, sys::lowest_inheritable_gap() + free));
    let lacking = |Refusal { why, lacks }| match lacks {
        None => NoEnvironment::Holders(why).into(),
        Some(lacks) => Failed::Lacks(why, lacks),
    };
    let mut held = match situation.is_held() {
        true => Some(Holders::make(conditions, may_change, situation, &isolation).map_err(lacking)?),
        false => None,
    };
    // Where it has a name, it is there until the command has ended.
    let mut _directory = None;
    if let Some(Startup { variable, file, text }) = startup {
        let place = match sys::nameless_directory(file, text) {
            Ok(place) => place,
            Err(_) => named_directory(file, text, &mut _directory).map_err(NoEnvironment::Startup)?,
        };
        command.env(variable, place);
    }
    if *empty_home {
        // Next to nobody has configuration there.
        let place = sys::empty_directory().unwrap_or_else(|_| PathBuf::from("/"));
        command.env("HOME", &place).env("PWD", &place).current_dir(place);
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
    }
    let mut gone = BTreeMap::new();
    let fails =
        |gone: &BTreeMap<i32, Ended>| helpers.iter().filter_map(|helper| helper.fails(gone)).collect::<Vec<_>>();
    if let Some(why) = fails(&gone).into_iter().next() {
        return Err(NoEnvironment::HelperFailed(why).into());
    }
    // Until then the command waits: it is looked at from its first call on.
    let (go, ready) = sys::pipe().map_err(what("cannot start the command: pipe"))?;
    sys::keep_signals();
    match sys::fork().map_err(what("cannot start the command: fork"))? {
        Fork::Child => {
            drop(ready);
            let mut said = [0];
            if sys::read(&go, &mut said) != Ok(1) || said != [GO] {
                sys::exit_now(NEVER_RAN);
            }
            drop(go);
            if *foreground {
                sys::take_foreground();
            }
            caller.restore().map_err(NoEnvironment::Caller)?;
            if let Some((index, most)) = descriptors {
                let hard = sys::descriptor_limit().1;
                let limited = sys::limit_descriptors(most);
                limited.map_err(|errno| refused((index, Unmakeable::Descriptors { most, errno, hard })))?;
            }
            if *watch {
                sys::be_watched().map_err(|errno| NoEnvironment::Untraceable { call: "seccomp", errno })?;
            }
            Err(Failed::Command(sys::become_command(command)))
        }
        Fork::Parent(pid) => {
            drop(go);
            let mut watch = match watch {
                true => {
                    let untraceable = |errno| NoEnvironment::Untraceable { call: "ptrace", errno };
                    Some(Watch::begin(pid).map_err(untraceable)?)
                }
                false => None,
            };
            let mut allowed = None;
            let mut at_end = |pid| allowed = sys::descriptor_limit_of(pid).ok();
            // One byte, and nothing else, says that it may run.
            let mut has_begun = false;
            let mut begin = || {
                has_begun = true;
                sys::write(&ready, &[GO]).map(drop)
            };
            let mut others = |pid, ended| {
                if helpers.iter().any(|helper| helper.pid() == pid) {
                    gone.insert(pid, ended);
                }
            };
            let (at_end, others) = (&mut at_end, &mut others);
            let flock = Supervision { begin: &mut begin, limit: *limit, at_end, others, watch: watch.as_mut() };
            let (ended, timed_out) = sys::shepherd(pid, flock).map_err(|errno| match has_begun {
                true => NoEnvironment::System { what: "cannot wait for the command", errno },
                false => NoEnvironment::Thread(errno),
            })?;
            sys::end_on_signals(&[], sys::TOGETHER).map_err(NoEnvironment::Signals)?;
            let failed = fails(&gone);
            let (mut lost, mut changed) = held.as_mut().map(Holders::lost).unwrap_or_default();
            if let Some((index, most)) = descriptors.filter(|(_, most)| allowed != Some(*most)) {
                let now = allowed.map_or("unknown".to_owned(), |now| now.to_string());
                let told = format!("`{}`: RLIMIT_NOFILE was {most}, and is {now}", conditions[index].text);
                match may_change.iter().any(|name| conditions[index].is_called(name)) {
                    true => changed.push(told),
                    false => lost.push(told),
                }
            }
            let watched = watch.map(|watch| (watch.seen, watch.calls));
            Ok(CommandEnd { ended, timed_out, lost, changed, failed, watched })
        }
    }
}

fn named_directory(file: &str, text: &str, kept: &mut Option<tempfile::TempDir>) -> std::io::Result<PathBuf> {
    let directory = kept.insert(tempfile::Builder::new().prefix("errnoscope-").tempdir()?);
    std::fs::write(directory.path().join(file), text)?;
    Ok(directory.path().to_owned())
}

/// The exit code of a process that was to become the command and was not told to; nobody waits for it.
const NEVER_RAN: i32 = 125;
