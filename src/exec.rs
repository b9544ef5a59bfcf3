//! A world for one command: which processes there are besides the command, and how the command's end gets out.
//!
//! pid 1 of the world builds it, has the conditions made, and then looks after the command; with it everything ends. What
//! the options of a command line mean is decided there.

mod beside;
mod condition;
mod held;
mod world;

use std::process::Command;
use std::time::Duration;

use crate::calls::{Record, Seen};
use crate::errno::Errno;
use crate::plan::Unsupported;
use crate::ports::{PORT_RANGE, PortRange};
use crate::sys::{self, Caller, Ended, Flock, Fork, Outside, Watch};

pub use condition::{Condition, DEFAULT_RANGE, Holder, Named, Prefix, VERDICTS};
pub use world::{MOST_ROUTERS, World};

use condition::Situation;
use held::{Held, Refusal};

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ran {
    pub ended: Ended,
    /// It was told to end, because its time was up.
    pub timed_out: bool,
    /// Conditions that did not hold until then, a sentence each.
    pub lost: Vec<String>,
    /// Its socket calls, where somebody wanted to see them.
    pub watched: Option<(Seen, Vec<Record>)>,
}

/// What there is to a run beside the command.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub world: World,
    pub conditions: Vec<Named>,
    /// How long the command may run.
    pub limit: Option<Duration>,
    /// Whether its socket calls are to be seen.
    pub watch: bool,
    /// Whether it is to have the terminal. A shell gives it back to the group that it came in, and nobody outside of the
    /// world has a number in there.
    pub foreground: bool,
}

/// Why a command has not run.
#[derive(Debug)]
pub enum Failed {
    /// There is no world for it.
    World(String),
    /// Nor can there be one on this host, which lacks something that a condition needs: in words, and what it is.
    Lacks(String, Unsupported),
    /// The world was there, and the command refused.
    Command(Errno),
}

/// Runs the command in its world. The process that returns from this may be another than the one that called it: see
/// [`sys::isolate`].
pub fn run(request: &Request, command: &mut Command) -> Result<Ran, Failed> {
    let Request { world, conditions, limit, watch, foreground } = request;
    let what = |what: &'static str| move |errno: Errno| Failed::World(format!("{what}: {errno}"));
    let caller = Caller::current().map_err(what("cannot tell who the caller is"))?;
    let isolation = sys::isolate(Outside::Command);
    if let Some(lacking) = &isolation.lacking {
        return Err(Failed::World(format!("no private world to be had: {lacking}")));
    }
    let no_table = |fault| Failed::World(format!("cannot read the client's socket table: {fault}"));
    let refused = |(index, why): (usize, String)| {
        Failed::World(format!("condition `{}` cannot be made: {why}", conditions[index].text))
    };
    // Its namespaces are there as long as it is.
    let (situation, _chain) = if isolation.is_shared() {
        let range = sys::read_sysctl(PORT_RANGE).map_err(what("the range of ephemeral ports"))?;
        let range = PortRange::from_sysctl(&range)
            .map_err(|why| Failed::World(format!("the range of ephemeral ports: {why}")))?;
        let wanted = beside::conditions(request, range).map_err(Failed::World)?;
        if let Some(warning) = beside::warning(&wanted) {
            eprintln!("errnoscope: {warning}");
        }
        (beside::situation(&wanted, &world::bystanders().map_err(no_table)?).map_err(refused)?, None)
    } else {
        let chain = world.build(&caller).map_err(Failed::World)?;
        let around = world::surroundings(&chain).map_err(no_table)?;
        let wanted: Vec<Condition> = conditions.iter().map(|named| named.condition.clone()).collect();
        (Situation::of(&wanted, &around).map_err(refused)?, Some(chain))
    };
    let descriptors = situation.descriptors.map(|(index, free)| (index, sys::lowest_inheritable_gap() + free));
    let refused = |Refusal { why, lacks }| match lacks {
        None => Failed::World(why),
        Some(lacks) => Failed::Lacks(why, lacks),
    };
    let mut held = Held::make(conditions, situation, &isolation).map_err(refused)?;
    // Until then the command waits: it is looked at from its first call on.
    let (go, ready) = sys::pipe().map_err(what("pipe"))?;
    match sys::fork().map_err(what("fork"))? {
        Fork::Child => {
            drop(ready);
            let _ = sys::read(&go, &mut [0]);
            drop(go);
            if *foreground {
                sys::take_foreground();
            }
            caller.restore().map_err(|why| Failed::World(format!("the caller's ids: {why}")))?;
            if let Some((_, most)) = descriptors {
                sys::limit_descriptors(most).map_err(what("the limit of descriptors"))?;
            }
            if *watch {
                sys::be_watched().map_err(what("the filter that shows the command's calls"))?;
            }
            Err(Failed::Command(sys::become_command(command)))
        }
        Fork::Parent(pid) => {
            let mut watch = match watch {
                true => Some(Watch::begin(pid).map_err(what("the command cannot be traced"))?),
                false => None,
            };
            drop((go, ready));
            let mut allowed = None;
            let mut at_end = |pid| allowed = sys::descriptor_limit_of(pid).ok();
            let flock = Flock { limit: *limit, at_end: &mut at_end, watch: watch.as_mut() };
            let (ended, timed_out) = sys::shepherd(pid, flock).map_err(what("the command cannot be waited for"))?;
            let mut lost = held.lost();
            if let Some((index, most)) = descriptors.filter(|(_, most)| allowed != Some(*most)) {
                let now = allowed.map_or("unknown".to_owned(), |now| now.to_string());
                lost.push(format!("`{}`: RLIMIT_NOFILE was {most}, and is {now}", conditions[index].text));
            }
            let watched = watch.map(|watch| (watch.seen, watch.calls));
            Ok(Ran { ended, timed_out, lost, watched })
        }
    }
}
