//! The course of one op: which rules it has met, and what the kernel chose on the way.
//!
//! The code of an OS is written as one path through the op. Where the kernel may go one way or another it asks
//! [`Course::choose`], and the op is walked again for each way. It does not know what the op was seen to do.

use super::{Break, NotModelled, Permitted, SpecRule, World};
use crate::words::errno::ErrnoName;

/// One path through an op.
pub struct Course<'w> {
    pub world: &'w World,
    /// The rules met, in order.
    pub rules: Vec<&'static SpecRule>,
    /// What to choose, and where choices have been made beyond that, how many ways there were.
    script: Vec<Choice>,
    next: usize,
    /// The port that the kernel was seen to pick.
    wish: Option<u16>,
    /// Those that not every release has and whose condition held.
    pub bounded: Vec<&'static SpecRule>,
    /// The only port to pick, where all ports of a range are taken one after the other, in whatever order.
    pub only: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Choice {
    taken: usize,
    of: usize,
}

/// Ports from the lowest to the highest, or every second one of them.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub low: u16,
    pub high: u16,
    pub step: u16,
}

/// Why a path through an op ends before the op has done its work.
#[derive(Clone, Debug)]
pub enum Stop {
    /// The op comes to this.
    Gives(Permitted),
    /// No kernel of this kind takes this path.
    Impossible,
    /// The specification says nothing of this.
    NotModelled(NotModelled),
}

/// What one path through an op comes to.
pub type Ending = Result<Permitted, Stop>;

impl<'w> Course<'w> {
    pub fn new(world: &'w World, wish: Option<u16>) -> Course<'w> {
        Course { world, rules: Vec::new(), script: Vec::new(), next: 0, wish, bounded: Vec::new(), only: None }
    }

    /// The next path: the last choice that has another way takes it. Nothing where every path has been walked.
    pub fn again(mut self) -> Option<Course<'w>> {
        while let Some(choice) = self.script.pop() {
            if choice.taken + 1 < choice.of {
                self.script.push(Choice { taken: choice.taken + 1, ..choice });
                return Some(Course { script: self.script, ..Course::new(self.world, self.wish) });
            }
        }
        None
    }

    /// Whether a rule applies: its condition holds, and the release has it.
    pub fn holds(&mut self, rule: &'static SpecRule, condition: bool) -> bool {
        let how = self.broken(rule);
        if condition && rule.is_bounded() && !self.bounded.contains(&rule) {
            self.bounded.push(rule);
        }
        let applies = match how {
            Some(Break::Dropped) => false,
            Some(Break::Inverted) => !condition && rule.is_in(&self.world.release),
            Some(Break::Timeless) => condition,
            Some(Break::Swapped(_)) | None => condition && rule.is_in(&self.world.release),
        };
        if applies {
            self.rules.push(rule);
        }
        applies
    }

    /// Ends the op with what the rule gives, where it applies.
    pub fn refuses(&mut self, rule: &'static SpecRule, condition: bool) -> Result<(), Stop> {
        if self.holds(rule, condition) { Err(Stop::Gives(self.outcome(rule))) } else { Ok(()) }
    }

    /// What the rule gives, which applies here for certain.
    pub fn gives(&mut self, rule: &'static SpecRule) -> Permitted {
        self.rules.push(rule);
        self.outcome(rule)
    }

    /// The errno that the rule gives, which a later op hears of.
    pub fn error(&mut self, rule: &'static SpecRule) -> Option<ErrnoName> {
        match self.gives(rule) {
            Permitted::Errno(name) => Some(name),
            Permitted::Ok | Permitted::Blocked => None,
        }
    }

    /// One of so many ways that the kernel may go.
    pub fn choose(&mut self, of: usize) -> usize {
        if self.next == self.script.len() {
            self.script.push(Choice { taken: 0, of });
        }
        let taken = self.script[self.next].taken;
        self.next += 1;
        taken
    }

    /// A port that the kernel picks: any free one of the first group that has one.
    pub fn pick(&self, groups: &[Ports], mut is_free: impl FnMut(u16) -> bool) -> Option<u16> {
        if let Some(only) = self.only {
            return Some(only).filter(|port| groups.iter().any(|group| group.has(*port)) && is_free(*port));
        }
        groups.iter().find_map(|group| {
            let wished = self.wish.filter(|wish| group.has(*wish) && is_free(*wish));
            wished.or_else(|| group.iter().find(|port| is_free(*port)))
        })
    }

    fn broken(&self, rule: &'static SpecRule) -> Option<Break> {
        self.world.broken.filter(|broken| std::ptr::eq(broken.rule, rule)).map(|broken| broken.how)
    }

    fn outcome(&self, rule: &'static SpecRule) -> Permitted {
        match (self.broken(rule), rule.gives) {
            (Some(Break::Swapped(other)), _) => other,
            (_, Some(gives)) => gives,
            (_, None) => unreachable!("{} gives nothing", rule.id),
        }
    }
}

impl Ports {
    fn has(self, port: u16) -> bool {
        (self.low..=self.high).contains(&port) && (port - self.low).is_multiple_of(self.step)
    }

    fn iter(self) -> impl Iterator<Item = u16> {
        (self.low..=self.high).step_by(self.step.into())
    }
}

impl Stop {
    pub fn not(reason: &'static str) -> Stop {
        Stop::NotModelled(NotModelled { reason })
    }
}
