//! A case on a host that it shares with others: which ports it takes there, so that it meets neither them nor what
//! earlier cases have left in TIME_WAIT.
//!
//! The case stays the one that the catalogue has, and its findings show the ports that it took. Whether they are free,
//! and who may change the range of ephemeral ports, the host says.

use crate::plan::{FillHow, Hello, Op, Query, Role};
use crate::words::names::{Need, Os};
use crate::words::ports::{PORT_RANGE, PortRange};

use super::Compiled;

/// Ports that the catalogue names, apart from those of the ranges that it makes.
const NAMED: std::ops::Range<u16> = 20_000..20_300;

/// Where there is room for them, a block after the other: below the range of ephemeral ports (49152 and up,
/// `IPPORT_HIFIRSTAUTO`, `bsd/netinet/in.h`), and between those that the catalogue makes at 30000 and at 40000.
const ROOM: [std::ops::Range<u16>; 3] = [20_000..30_000, 33_000..40_000, 41_000..49_000];

/// How often a block serves before its ports come again, two further on each time.
const TIMES: usize = 50;

impl Compiled {
    /// Moves a case away from the one before it, if the host is shared. `turn` counts the cases that have been sent
    /// there.
    pub fn share(&mut self, hello: &Hello, turn: usize) {
        if hello.os != Os::Macos || hello.isolation != "none" {
            return;
        }
        let range = self.range();
        let room = if range.is_some() { &ROOM[..1] } else { &ROOM[..] };
        self.for_each_port(shifted(room, turn));
        let root = hello.capabilities.get(&Need::SecondUser).is_some_and(|capability| capability.available);
        if let (Some(range), Some(own), false) = (range, own_range(hello), root)
            && self.fills_nothing_but(range)
        {
            self.put_range(range, own);
        }
    }

    /// The range of ephemeral ports that the case makes, if it is one alone.
    fn range(&self) -> Option<PortRange> {
        let mut ranges = self.plan.steps.iter().filter_map(|step| {
            let Op::SetSysctl { name, value } = &step.op else { return None };
            (name == PORT_RANGE).then(|| PortRange::from_sysctl(value).ok())
        });
        let first = ranges.next()?;
        if ranges.all(|range| range == first) { first } else { None }
    }

    /// Whether a larger range would be as good: all of it is bound, a port at a time, and that is all that is said of
    /// it.
    fn fills_nothing_but(&self, range: PortRange) -> bool {
        let mut fills = self.plan.steps.iter().filter_map(|step| {
            let Op::Fill(fill) = &step.op else { return None };
            Some(fill.how == FillHow::Bind && fill.range == range && fill.leave == 0)
        });
        fills.next() == Some(true) && fills.all(|whole| whole)
    }

    /// What is said of one range is said of another instead.
    fn put_range(&mut self, from: PortRange, to: PortRange) {
        let put = |range: &mut PortRange| {
            if *range == from {
                *range = to;
            }
        };
        for step in &mut self.plan.steps {
            step.op.visit_ports(&mut |_| {}, &mut { put });
            if let Role::Subject { queries, .. } = &mut step.role {
                for query in queries {
                    if let Query::Census(census) = query {
                        put(&mut census.range);
                    }
                }
            }
        }
        for (_, precondition) in self.subjects.iter_mut().flat_map(|subject| &mut subject.preconditions) {
            precondition.visit_ranges(&mut { put });
        }
    }

    fn for_each_port(&mut self, mut shift: impl FnMut(&mut u16)) {
        for step in &mut self.plan.steps {
            step.op.visit_ports(&mut shift, &mut |_| {});
        }
    }
}

fn shifted(room: &[std::ops::Range<u16>], turn: usize) -> impl Fn(&mut u16) {
    let size = NAMED.len();
    let blocks: Vec<u16> = room
        .iter()
        .flat_map(|part| part.clone().step_by(size).filter(|first| first + size as u16 <= part.end))
        .collect();
    let by = blocks[turn % blocks.len()] - NAMED.start + 2 * (turn / blocks.len() % TIMES) as u16;
    move |port| {
        if NAMED.contains(port) {
            *port += by;
        }
    }
}

fn own_range(hello: &Hello) -> Option<PortRange> {
    PortRange::from_sysctl(hello.sysctls.get(PORT_RANGE)?).ok()
}

// They go through the catalogue.
#[cfg(all(test, feature = "cli"))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::{Capability, PROTOCOL, Plan};
    use crate::scenario::witness::Precondition;
    use crate::scenario::{cases, compile};
    use crate::suite::catalogue::Catalogue;

    fn hello(os: Os, isolation: &str, root: bool) -> Hello {
        let capability = Capability { available: root, reason: None };
        Hello {
            protocol: PROTOCOL,
            os,
            release: "24.0.0".to_owned().into(),
            arch: "arm64".to_owned().into(),
            stack: None,
            isolation: isolation.to_owned().into(),
            capabilities: BTreeMap::from([(Need::SecondUser, capability)]),
            sysctls: BTreeMap::from([(PORT_RANGE.into(), "49152 65535".into())]),
        }
    }

    /// Some of each scenario: a number that no axis has as its size.
    fn for_each_case(mut check: impl FnMut(&dyn Fn() -> Compiled)) {
        for scenario in &Catalogue::embedded().unwrap().scenarios {
            for case in cases(scenario).step_by(11) {
                check(&|| compile(scenario, &case).unwrap());
            }
        }
    }

    fn ports(plan: &Plan) -> Vec<u16> {
        let mut all = Vec::new();
        let mut compiled = Compiled { plan: plan.clone(), needs: Vec::new(), subjects: Vec::new() };
        compiled.for_each_port(|port| all.push(*port));
        all
    }

    #[test]
    fn where_a_case_is_alone_nothing_of_it_changes() {
        for_each_case(|compiled| {
            for (os, isolation) in [(Os::Linux, "netns"), (Os::Linux, "none"), (Os::Macos, "netns")] {
                let mut moved = compiled();
                moved.share(&hello(os, isolation, false), 7);
                assert_eq!(moved.plan, compiled().plan);
            }
        });
    }

    #[test]
    fn one_case_after_the_other_takes_other_ports() {
        let (mut turn, mut before) = (0, Vec::new());
        for_each_case(|compiled| {
            let mut moved = compiled();
            moved.share(&hello(Os::Macos, "none", true), turn);
            let (former, now) = (ports(&compiled().plan), ports(&moved.plan));
            for (from, to) in former.iter().zip(&now) {
                let named = NAMED.contains(from);
                assert_eq!(
                    named,
                    ROOM.iter().any(|room| room.contains(to)) && !(30_000..33_000).contains(to),
                    "{from}"
                );
                assert!(named || from == to);
                assert!(!named || !before.contains(to), "{to} in turn {turn} of {}", moved.plan.case);
            }
            before = now;
            turn += 1;
        });
        assert!(turn > 300, "of the whole catalogue");
    }

    #[test]
    fn a_range_that_cannot_be_changed_is_filled_as_it_is() {
        let mut mapped = 0;
        for_each_case(|compiled| {
            let (mut user, mut root) = (compiled(), compiled());
            user.share(&hello(Os::Macos, "none", false), 0);
            root.share(&hello(Os::Macos, "none", true), 0);
            assert_eq!(root.range(), compiled().range(), "root makes the range that the case wants");
            let Some(range) = user.range().filter(|range| *range == PortRange::of::<49152, 65535>()) else { return };
            mapped += 1;
            assert!(user.fills_nothing_but(range), "{}", user.plan.case);
            for (_, precondition) in user.subjects.iter().flat_map(|subject| &subject.preconditions) {
                match precondition {
                    Precondition::Full(full) => assert_eq!(full.range, range),
                    Precondition::Sysctl { name, value } if name == PORT_RANGE => assert_eq!(value, "49152 65535"),
                    _ => {}
                }
            }
            for query in user.plan.steps.iter().flat_map(|step| match &step.role {
                Role::Subject { queries, .. } => &queries[..],
                Role::Setup { .. } => &[],
            }) {
                if let Query::Census(census) = query {
                    assert_eq!(census.range, range);
                }
            }
        });
        assert!(mapped > 5, "{mapped}");
    }
}
