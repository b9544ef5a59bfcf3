//! What an OS does, as rules that can be run: the executable specification.
//!
//! A program is a list of the ops of [`plan`](crate::plan). [`step`] takes a [`State`] and an op, and gives every
//! outcome that the kernel may come to, each with the rules that led there and the state after it. [`accept`] holds
//! that against what a kernel was seen to do: where nothing is left, kernel and specification contradict each other.
//! What it does not cover is [`NotModelled`], and never a guess.
//!
//! It makes no call, reads no clock and knows no scenario: what is expected of a case is somebody else's word.

mod course;
mod foresee;
mod linux;
mod rule;
mod state;
mod world;

use std::net::SocketAddr;

use crate::plan::Op;
use crate::words::names::{Os, User};

pub use foresee::{Foreseen, foresee};
pub use rule::{Permitted, Release, SpecRule};
pub use state::State;
pub use world::{Break, Broken, World};

use course::{Course, Ending, Stop};

/// What the specification says nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[error("{reason} is not modelled")]
pub struct NotModelled {
    /// What that is, as a noun.
    pub reason: &'static str,
}

/// One way in which an op may go.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// What the call gives.
    pub outcome: Permitted,
    /// The rules that applied on the way, in order.
    pub rules: Vec<&'static SpecRule>,
    /// The rules that not every release has and whose condition held: another release may go another way.
    pub bounded: Vec<&'static SpecRule>,
    /// The state after it.
    pub state: State,
}

/// What was seen of an op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenOp {
    /// What it gave; nothing where nobody looked.
    pub outcome: Option<Permitted>,
    /// The name of its socket afterwards, or of the socket that it made.
    pub local: Option<SocketAddr>,
}

/// The rules of an OS.
pub fn rules(os: Os) -> &'static [&'static SpecRule] {
    match os {
        Os::Linux => linux::rules::RULES,
        Os::Macos => &[],
    }
}

/// Every way in which an op may go. Where the kernel picks a port, one that it may pick stands for all.
///
/// # Errors
///
/// The specification does not cover the op, or not in this state.
pub fn step(state: &State, op: &Op, user: Option<User>, world: &World) -> Result<Vec<Way>, NotModelled> {
    ways(state, op, user, world, None)
}

/// The ways that are left, from all of `states`, of an op that was seen to go so, one for each state that it may have
/// led to. None: a contradiction.
///
/// # Errors
///
/// The specification does not cover the op in one of the states.
pub fn accept(
    states: &[State],
    op: &Op,
    user: Option<User>,
    seen: SeenOp,
    world: &World,
) -> Result<Vec<Way>, NotModelled> {
    let mut left: Vec<Way> = Vec::new();
    for state in states {
        for way in ways(state, op, user, world, seen.local.map(|local| local.port()))? {
            if way.agrees(op, seen) && !left.iter().any(|other| other.state == way.state) {
                left.push(way);
            }
        }
    }
    Ok(left)
}

fn ways(state: &State, op: &Op, user: Option<User>, world: &World, wish: Option<u16>) -> Result<Vec<Way>, NotModelled> {
    let user = user.unwrap_or(User::Root);
    let mut ways: Vec<Way> = Vec::new();
    let mut next = Some(Course::new(world, wish.filter(|port| *port != 0)));
    while let Some(mut course) = next {
        let mut state = state.clone();
        let ending: Ending = match world.os {
            Os::Linux => linux::perform(&mut course, &mut state, op, user),
            Os::Macos => Err(Stop::not("macOS")),
        };
        let outcome = match ending {
            Ok(outcome) | Err(Stop::Gives(outcome)) => Some(outcome),
            Err(Stop::Impossible) => None,
            Err(Stop::NotModelled(not)) => return Err(not),
        };
        if let Some(outcome) = outcome {
            let (rules, bounded) = (std::mem::take(&mut course.rules), std::mem::take(&mut course.bounded));
            let way = Way { outcome, rules, bounded, state };
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        next = course.again();
    }
    Ok(ways)
}

impl Way {
    /// Whether this is what was seen.
    fn agrees(&self, op: &Op, seen: SeenOp) -> bool {
        let name = match op {
            Op::Accept { new, .. } => Some(&**new),
            _ => op.socket(),
        };
        let socket = name.and_then(|name| self.state.sockets.get(&self.state.named(name)?));
        let has_name = seen.local.is_none_or(|local| socket.is_none_or(|socket| same(socket.local(), local)));
        seen.outcome.is_none_or(|outcome| outcome == self.outcome) && has_name
    }
}

/// A flow label is no part of a name, and neither is a scope.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    (a.ip(), a.port()) == (b.ip(), b.port())
}
