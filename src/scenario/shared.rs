//! A case on a host that it shares with others: which ports it takes there, so that it meets neither them nor what
//! earlier cases have left in TIME_WAIT, and how it gets a range of ephemeral ports of its own.
//!
//! The case stays the one that the catalogue has, and its findings show the ports that it took. Whether they are free,
//! and who may change what, the host says.

use std::ops::Range;

use crate::plan::{FillHow, Hello, Op, Query, Role, SocketForm, SocketOption, Step, Unsupported};
use crate::scenario::witness::Precondition;
use crate::words::errno::ErrnoName;
use crate::words::names::{Need, Os, Protocol};
use crate::words::ports::{PORT_RANGE, PortRange};

use super::Compiled;

/// Ports that the catalogue names, apart from those of the ranges that it makes.
const NAMED: Range<u16> = 20_000..20_300;

/// Where there is room for them on macOS, a block after the other: below the range of ephemeral ports (49152 and up,
/// `IPPORT_HIFIRSTAUTO`, `bsd/netinet/in.h`), and between those that the catalogue makes at 30000 and at 40000.
const ROOM_ON_MACOS: [Range<u16>; 3] = [20_000..30_000, 33_000..40_000, 41_000..49_000];

/// The lowest port that takes no privilege, unless the host says otherwise.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Linux's range of ephemeral ports where it does not say which it has.
const USUAL_RANGE: PortRange = PortRange::of::<32_768, 60_999>();

/// How often a block serves before its ports come again, two further on each time.
const TIMES: usize = 50;

/// A case that takes more than one of so many ephemeral ports takes them from everybody.
const FEW: u32 = 8;

/// No TCP socket of macOS gets this one, which is reserved (`bsd/netinet/in_pcb.c`, `restricted_in_port.c`): a range
/// that has it is full with one port free.
const RESERVED_ON_MACOS: u16 = 55_555;

/// Without it, sockets of Linux have the range that all have.
const OPTION_SINCE: semver::Version = semver::Version::new(6, 3, 0);

impl Compiled {
    /// Moves a case away from the one before it, if the host is shared. `turn` counts the cases that have been sent
    /// there. An error says why it cannot run there; with `exhaust` it may take every ephemeral port of the host.
    pub fn share(&mut self, hello: &Hello, turn: usize, exhaust: bool) -> Result<(), Unsupported> {
        if !hello.is_shared() {
            return Ok(());
        }
        match hello.os {
            Os::Macos => self.share_macos(hello, turn),
            Os::Linux => self.share_linux(hello, turn)?,
        }
        let Some(own) = own_range(hello) else { return Ok(()) };
        let taken = self.plan.steps.iter().filter_map(|step| match &step.op {
            Op::Fill(fill) if fill.range.overlaps(own) => Some(fill.range.size()),
            _ => None,
        });
        match taken.max() {
            Some(size) if size > own.size() / FEW && !exhaust => Err(Unsupported {
                need: Need::NetworkNamespace,
                reason: format!(
                    "it takes {size} of the {} ephemeral ports, which are everybody's here; --exhaust-host lets it",
                    own.size()
                )
                .into(),
            }),
            _ => Ok(()),
        }
    }

    fn share_macos(&mut self, hello: &Hello, turn: usize) {
        let range = self.range();
        let room = if range.is_some() { &ROOM_ON_MACOS[..1] } else { &ROOM_ON_MACOS[..] };
        self.move_named(&mut shifted(room, turn));
        let root = hello.capabilities.get(&Need::SecondUser).is_some_and(|capability| capability.available);
        if let (Some(range), Some(own), false) = (range, own_range(hello), root)
            && self.fills_nothing_but(range)
        {
            self.for_each_range(&mut |other| {
                if *other == range {
                    *other = own;
                }
            });
        }
        for (_, precondition) in self.subjects.iter_mut().flat_map(|subject| &mut subject.preconditions) {
            if let Precondition::Full(full) = precondition
                && full.protocol == Protocol::Tcp
                && full.range.contains(RESERVED_ON_MACOS)
            {
                full.free += 1;
            }
        }
    }

    fn share_linux(&mut self, hello: &Hello, turn: usize) -> Result<(), Unsupported> {
        let own = own_range(hello).unwrap_or(USUAL_RANGE);
        // Ports that no connect() of somebody else's is given.
        let outside = [FIRST_UNPRIVILEGED..own.low().max(FIRST_UNPRIVILEGED), own.high().saturating_add(1)..u16::MAX];
        let has_room = outside.iter().any(|part| part.len() >= NAMED.len());
        let inside = own.low()..own.high();
        let moved = self.move_ranges(own, turn);
        self.move_named(&mut shifted(if has_room { &outside } else { std::slice::from_ref(&inside) }, turn));
        if moved { self.range_by_option(hello, own) } else { Ok(()) }
    }

    /// Moves ranges of ephemeral ports that the case makes, and ports in them, to where the host has room: all of them
    /// together. Whether there are any.
    fn move_ranges(&mut self, own: PortRange, turn: usize) -> bool {
        let is_made = |range: &PortRange| *range != own && !is_named(*range);
        let mut hull: Option<(u16, u16)> = None;
        let mut widen = |low: u16, high: u16| {
            hull = Some(hull.map_or((low, high), |(from, to)| (from.min(low), to.max(high))));
        };
        self.for_each_range(&mut |range| {
            if is_made(range) {
                widen(range.low(), range.high());
            }
        });
        let ranges = self.options_mut().map(|range| *range).collect::<Vec<_>>();
        ranges.iter().for_each(|range| widen(range.low(), range.high()));
        let Some((low, high)) = hull else { return false };
        let size = u32::from(high - low) + 1;
        let Some(places) = (own.size() / 2).checked_sub(size).filter(|places| *places > 0) else { return false };
        // In the upper half, from where Linux takes ports last: even beside odd, as they were. Scattered (Knuth's
        // multiplicative hash), since neighbours of what is in TIME_WAIT are no better.
        let from = u32::from(own.low()) + own.size() / 2;
        let to = (from + ((turn as u32).wrapping_mul(2_654_435_769) >> 8) % places) as u16;
        let to = if (to ^ low) & 1 == 1 { to - 1 } else { to };
        let moved = |port: u16| to + (port - low);
        self.for_each_range(&mut |range| {
            if is_made(range)
                && let Ok(there) = PortRange::new(moved(range.low()), moved(range.high()))
            {
                *range = there;
            }
        });
        for range in self.options_mut() {
            if let Ok(there) = PortRange::new(moved(range.low()), moved(range.high())) {
                *range = there;
            }
        }
        self.for_each_port(&mut |port| {
            if (low..=high).contains(port) {
                *port = moved(*port);
            }
        });
        true
    }

    /// The range of ephemeral ports that the case makes, if it is one alone.
    fn range(&self) -> Option<PortRange> {
        let mut ranges = self.plan.steps.iter().filter_map(|step| made_range(&step.op));
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

    /// Where the case would change the range of ephemeral ports for everybody, its sockets get that range instead
    /// (IP_LOCAL_PORT_RANGE, ip(7)): it narrows the host's, within which it has to be.
    fn range_by_option(&mut self, hello: &Hello, own: PortRange) -> Result<(), Unsupported> {
        if !self.plan.steps.iter().any(|step| made_range(&step.op).is_some_and(|range| range != Some(own))) {
            return Ok(());
        }
        let release = hello.release.raw();
        if crate::words::release::version(release) < OPTION_SINCE {
            let reason = format!(
                "the range of ephemeral ports is everybody's, and a socket has none of its own before Linux {OPTION_SINCE}: \
                 this is {release}"
            );
            return Err(Unsupported { need: Need::NetworkNamespace, reason: reason.into() });
        }
        let (mut range, mut sockets) = (own, Vec::new());
        let mut places = Vec::with_capacity(self.plan.steps.len());
        let mut steps: Vec<Step> = Vec::with_capacity(self.plan.steps.len());
        for (index, mut step) in std::mem::take(&mut self.plan.steps).into_iter().enumerate() {
            places.push(steps.len() as u32);
            // Where the socket of a call under test is not had, there is none to set an option of.
            let requires = match step.role {
                Role::Subject { .. } => Some(index as u32),
                Role::Setup { requires, .. } => requires,
            };
            let narrow = |socket: &String, range| Step {
                op: Op::SetOption { socket: socket.clone(), option: SocketOption::LocalPortRange(range) },
                user: None,
                role: Role::Setup {
                    permit: Vec::new(),
                    unsupported: vec![ErrnoName::ENOPROTOOPT, ErrnoName::EOPNOTSUPP],
                    requires,
                },
            };
            if let Some(made) = made_range(&step.op) {
                range = made.unwrap_or(own);
                steps.extend(sockets.iter().map(|socket| narrow(socket, range)));
                continue;
            }
            // What binds says which port it wants.
            if let Op::Fill(fill) = &mut step.op
                && matches!(fill.how, FillHow::BindZero | FillHow::Connect)
            {
                fill.by_option = range != own;
            }
            if let Op::Close { socket } = &step.op {
                sockets.retain(|open| open != socket);
            }
            let made = if let Op::Socket { socket, form: SocketForm::Usual, .. } = &step.op {
                Some(socket.clone())
            } else {
                None
            };
            steps.push(step);
            if let Some(socket) = made {
                steps.extend((range != own).then(|| narrow(&socket, range)));
                sockets.push(socket);
            }
        }
        for step in &mut steps {
            if let Role::Setup { requires: Some(required), .. } | Role::Subject { requires: Some(required), .. } =
                &mut step.role
            {
                *required = places[*required as usize];
            }
        }
        self.plan.steps = steps;
        for subject in &mut self.subjects {
            subject.step = places[subject.step as usize];
            for (_, precondition) in &mut subject.preconditions {
                if let Precondition::Sysctl { name, value } = precondition
                    && name == PORT_RANGE
                {
                    *value = own.to_sysctl();
                }
            }
        }
        Ok(())
    }

    /// Gives ports that the catalogue names, and ranges of them, other numbers.
    fn move_named(&mut self, shift: &mut dyn FnMut(&mut u16)) {
        self.for_each_port(shift);
        self.for_each_range(&mut |range| {
            let (mut low, mut high) = (range.low(), range.high());
            if is_named(*range) {
                shift(&mut low);
                shift(&mut high);
                *range = PortRange::new(low, high).unwrap_or(*range);
            }
        });
    }

    fn for_each_port(&mut self, port: &mut dyn FnMut(&mut u16)) {
        for step in &mut self.plan.steps {
            step.op.visit_ports(port, &mut |_| {});
        }
    }

    /// Whatever is said of a range: in ops, in questions and in what is to hold.
    fn for_each_range(&mut self, range: &mut dyn FnMut(&mut PortRange)) {
        for step in &mut self.plan.steps {
            step.op.visit_ports(&mut |_| {}, range);
            if let Role::Subject { queries, .. } = &mut step.role {
                for query in queries {
                    if let Query::Census(census) = query {
                        range(&mut census.range);
                    }
                }
            }
        }
        for (_, precondition) in self.subjects.iter_mut().flat_map(|subject| &mut subject.preconditions) {
            precondition.visit_ranges(range);
        }
    }

    /// The ranges that single sockets get.
    fn options_mut(&mut self) -> impl Iterator<Item = &mut PortRange> {
        self.plan.steps.iter_mut().filter_map(|step| match &mut step.op {
            Op::SetOption { option: SocketOption::LocalPortRange(range), .. } => Some(range),
            _ => None,
        })
    }
}

fn is_named(range: PortRange) -> bool {
    NAMED.contains(&range.low()) && NAMED.contains(&range.high())
}

/// Whether an op makes a range of ephemeral ports, and which, if it can be read.
fn made_range(op: &Op) -> Option<Option<PortRange>> {
    let Op::SetSysctl { name, value } = op else { return None };
    (name == PORT_RANGE).then(|| PortRange::from_sysctl(value).ok())
}

fn shifted(room: &[Range<u16>], turn: usize) -> impl Fn(&mut u16) {
    let size = NAMED.len();
    let blocks: Vec<u16> = room
        .iter()
        .flat_map(|part| part.clone().step_by(size).filter(|first| part.end - first >= size as u16))
        .collect();
    let to = blocks[turn % blocks.len()] + 2 * (turn / blocks.len() % TIMES) as u16;
    move |port| {
        if NAMED.contains(port) {
            *port = to + (*port - NAMED.start);
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
    use crate::scenario::{cases, compile};
    use crate::suite::catalogue::Catalogue;

    fn hello(os: Os, isolation: &str, root: bool) -> Hello {
        let capability = Capability { available: root, reason: None };
        let (release, range) = match os {
            Os::Macos => ("24.0.0", "49152 65535"),
            Os::Linux => ("6.18.0", "32768 60999"),
        };
        Hello {
            protocol: PROTOCOL,
            os,
            release: release.to_owned().into(),
            arch: "arm64".to_owned().into(),
            stack: None,
            isolation: isolation.to_owned().into(),
            capabilities: BTreeMap::from([(Need::SecondUser, capability)]),
            sysctls: BTreeMap::from([(PORT_RANGE.into(), range.into())]),
        }
    }

    /// Some of each scenario: a number that no axis has as its size.
    fn for_each_case(os: Os, check: impl FnMut(&dyn Fn() -> Compiled)) {
        for_each_of("", 23, os, check);
    }

    fn for_each_of(id: &str, step: usize, os: Os, mut check: impl FnMut(&dyn Fn() -> Compiled)) {
        static CATALOGUE: std::sync::LazyLock<Catalogue> = std::sync::LazyLock::new(|| Catalogue::embedded().unwrap());
        for scenario in CATALOGUE.scenarios.iter().filter(|scenario| scenario.id.starts_with(id)) {
            for case in cases(scenario).step_by(step) {
                check(&|| compile(scenario, &case, os).unwrap());
            }
        }
    }

    fn ports(plan: &Plan) -> Vec<u16> {
        let mut all = Vec::new();
        let mut compiled = Compiled { plan: plan.clone(), needs: Vec::new(), subjects: Vec::new() };
        compiled.for_each_port(&mut |port| all.push(*port));
        all
    }

    #[test]
    fn where_a_case_is_alone_nothing_of_it_changes() {
        for os in [Os::Linux, Os::Macos] {
            for_each_case(os, |compiled| {
                let mut moved = compiled();
                moved.share(&hello(os, "netns", false), 7, false).unwrap();
                assert_eq!(moved.plan, compiled().plan);
            });
        }
    }

    #[test]
    fn one_case_after_the_other_takes_other_ports() {
        for os in [Os::Linux, Os::Macos] {
            let (mut turn, mut before) = (0, Vec::new());
            for_each_case(os, |compiled| {
                let mut moved = compiled();
                let shared = moved.share(&hello(os, "none", true), turn, true);
                let (former, now) = (ports(&compiled().plan), ports(&moved.plan));
                let named: Vec<u16> =
                    former.iter().zip(&now).filter(|(from, _)| NAMED.contains(from)).map(|(_, to)| *to).collect();
                for to in named.iter().filter(|_| shared.is_ok()) {
                    assert!(!before.contains(to), "{to} in turn {turn} of {}", moved.plan.case);
                    match os {
                        Os::Linux => assert!(*to >= 1024 && !(32_768..=60_999).contains(to), "{to}"),
                        Os::Macos => assert!(ROOM_ON_MACOS.iter().any(|room| room.contains(to)), "{to}"),
                    }
                }
                before = named;
                turn += 1;
            });
            assert!(turn > 200, "of the whole catalogue");
        }
    }

    #[test]
    fn no_case_of_linux_changes_the_range_that_all_have() {
        let own = PortRange::of::<32_768, 60_999>();
        let (mut turn, mut narrowed) = (0, 0);
        for_each_case(Os::Linux, |compiled| {
            let (mut moved, before) = (compiled(), compiled());
            turn += 1;
            if moved.share(&hello(Os::Linux, "none", false), turn, false).is_err() {
                return;
            }
            assert!(moved.plan.steps.iter().all(|step| made_range(&step.op).is_none_or(|range| range == Some(own))));
            // Each call under test is the one that it was.
            assert_eq!(moved.subjects.len(), before.subjects.len());
            for (now, then) in moved.subjects.iter().zip(&before.subjects) {
                let (now, then) = (&moved.plan.steps[now.step as usize], &before.plan.steps[then.step as usize]);
                assert_eq!(std::mem::discriminant(&now.op), std::mem::discriminant(&then.op));
                assert!(matches!(now.role, Role::Subject { .. }));
                if let (Some(now), Some(then)) = (now.role.requires(), then.role.requires()) {
                    let (now, then) = (&moved.plan.steps[now as usize], &before.plan.steps[then as usize]);
                    assert_eq!(std::mem::discriminant(&now.op), std::mem::discriminant(&then.op));
                }
            }
            let ranges: Vec<PortRange> = moved.options_mut().map(|range| *range).collect();
            narrowed += usize::from(before.range().is_some() && !ranges.is_empty());
            for range in ranges {
                assert!(own.low() <= range.low() && range.high() <= own.high(), "{range} of {}", moved.plan.case);
            }
        });
        assert!(narrowed > 5, "{narrowed}");
        // A kernel without the option has no such range.
        let old = Hello { release: "6.1.0".to_owned().into(), ..hello(Os::Linux, "none", false) };
        let mut refused = 0;
        for_each_case(Os::Linux, |compiled| {
            let (made, mut moved) = (compiled().range(), compiled());
            let shared = moved.share(&old, 0, false);
            assert!(made.is_none_or(|range| range == own) || shared.is_err(), "{}", moved.plan.case);
            refused += usize::from(shared.is_err_and(|lack| lack.reason.as_str().contains("before Linux 6.3.0")));
        });
        assert!(refused > 5, "{refused}");
    }

    #[test]
    fn every_ephemeral_port_is_taken_only_where_somebody_wants_it() {
        for os in [Os::Linux, Os::Macos] {
            let (mut refused, mut turn) = (0, 0);
            for_each_of("bind.ports-exhausted", 1, os, |compiled| {
                turn += 1;
                let (mut careful, mut reckless) = (compiled(), compiled());
                let refusal = careful.share(&hello(os, "none", false), turn, false).err();
                if reckless.share(&hello(os, "none", false), turn, true).is_ok()
                    && let Some(refusal) = refusal
                {
                    assert!(refusal.reason.as_str().contains("--exhaust-host"), "{}", refusal.reason);
                    refused += 1;
                }
            });
            assert!(refused > 0, "{os}");
        }
    }

    #[test]
    fn a_range_that_cannot_be_changed_is_filled_as_it_is() {
        let mut mapped = 0;
        for_each_case(Os::Macos, |compiled| {
            let (mut user, mut root) = (compiled(), compiled());
            user.share(&hello(Os::Macos, "none", false), 0, true).unwrap();
            root.share(&hello(Os::Macos, "none", true), 0, true).unwrap();
            assert_eq!(root.range(), compiled().range(), "root makes the range that the case wants");
            let Some(range) = user.range().filter(|range| *range == PortRange::of::<49152, 65535>()) else { return };
            mapped += 1;
            assert!(user.fills_nothing_but(range), "{}", user.plan.case);
            for (_, precondition) in user.subjects.iter().flat_map(|subject| &subject.preconditions) {
                match precondition {
                    Precondition::Full(full) => {
                        assert_eq!(full.range, range);
                        assert_eq!(full.free, u16::from(full.protocol == Protocol::Tcp), "port 55555 is nobody's");
                    }
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
        assert!(mapped > 2, "{mapped}");
    }

    /// What is asked about a port that was moved is asked about where it is now.
    #[test]
    fn questions_move_with_their_ports() {
        let mut moved_ranges = 0;
        for_each_case(Os::Macos, |compiled| {
            let mut moved = compiled();
            moved.share(&hello(Os::Macos, "none", true), 5, true).unwrap();
            let ports = ports(&moved.plan);
            let named = |compiled: &Compiled| {
                let preconditions = compiled.subjects.iter().flat_map(|subject| &subject.preconditions);
                preconditions
                    .filter_map(|(_, precondition)| match precondition {
                        Precondition::Full(full) => Some(full.range),
                        _ => None,
                    })
                    .collect::<Vec<_>>()
            };
            for (range, _) in named(&moved).iter().zip(named(&compiled())).filter(|(_, before)| is_named(*before)) {
                assert!(ports.contains(&range.low()), "{range} of {}", moved.plan.case);
                moved_ranges += 1;
            }
        });
        assert!(moved_ranges > 0);
    }
}
