//! A whole plan: what each of its steps may come to.
//!
//! It walks the steps as a worker performs them: what a setup step must give for the case to go on, and which steps
//! are left out, is the plan's word.

use super::{NotModelled, Permitted, SeenOp, State, Way, World, accept};
use crate::plan::{Plan, Role, Step};
use crate::words::errno::ErrnoName;

/// What a step of a plan may come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreseen {
    /// Index into the plan's steps.
    pub step: usize,
    /// The ways it may go, one for each state that it may lead to. None: the step is not reached.
    pub ways: Vec<Way>,
}

/// One way through the plan so far, and which of its steps went well.
struct Branch {
    state: State,
    went_well: Vec<bool>,
}

/// The steps of a plan, as far as the specification covers them, and why it does not cover the next one. What was seen
/// of a step, if anybody looked, is for `seen` to say: then only the ways that agree are followed.
pub fn foresee(
    plan: &Plan,
    world: &World,
    seen: impl Fn(usize) -> Option<Permitted>,
) -> (Vec<Foreseen>, Option<NotModelled>) {
    let mut branches = vec![Branch { state: State::new(&world.sysctls), went_well: Vec::new() }];
    let mut steps = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let (mut next, mut ways): (Vec<Branch>, Vec<Way>) = (Vec::new(), Vec::new());
        for branch in branches {
            let required = step.role.requires().map(|required| required as usize);
            if required.is_some_and(|required| branch.went_well.get(required) != Some(&true)) {
                next.push(branch.then(false, None));
                continue;
            }
            let looked = SeenOp { outcome: seen(index), local: None };
            let own = match accept(std::slice::from_ref(&branch.state), &step.op, step.user, looked, world) {
                Ok(own) => own,
                Err(not) => return (steps, Some(not)),
            };
            for way in own {
                if goes_on(step, way.outcome) {
                    next.push(branch.then(goes_well(way.outcome), Some(&way.state)));
                }
                ways.push(way);
            }
        }
        branches = next;
        steps.push(Foreseen { step: index, ways });
    }
    (steps, None)
}

impl Branch {
    fn then(&self, went_well: bool, state: Option<&State>) -> Branch {
        let went_well = [&self.went_well[..], &[went_well]].concat();
        Branch { state: state.unwrap_or(&self.state).clone(), went_well }
    }
}

impl Foreseen {
    /// What the step may give.
    pub fn outcomes(&self) -> std::collections::BTreeSet<Permitted> {
        self.ways.iter().map(|way| way.outcome).collect()
    }
}

/// Whether steps that require this one are performed.
fn goes_well(outcome: Permitted) -> bool {
    matches!(outcome, Permitted::Ok | Permitted::Errno(ErrnoName::EINPROGRESS))
}

/// Whether a worker goes on after a step.
fn goes_on(step: &Step, outcome: Permitted) -> bool {
    match outcome {
        Permitted::Ok => true,
        Permitted::Errno(errno) => step.goes_on_after(errno),
        Permitted::Blocked => matches!(step.role, Role::Subject { .. }),
    }
}
