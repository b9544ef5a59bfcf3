//! The specification, held against what kernels were seen to do, and against what is expected of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::common::golden::golden;
use crate::common::reports::baselines;
use crate::harness::test;
use errnoscope::plan::{Detail, Op, Outcome, SocketOption};
use errnoscope::report::finding::{Report, TrailEntry};
use errnoscope::spec::{self, Break, Broken, NotModelled, Permitted, SeenOp, SpecRule, State, Way, World};

use errnoscope::words::errno::ErrnoName;
use errnoscope::words::names::{Need, Os, User};
use errnoscope::words::release::version;

/// One op, as whom it was performed, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Event {
    op: Op,
    user: Option<User>,
    outcome: Option<Permitted>,
    local: Option<std::net::SocketAddr>,
}

/// What many findings have in common: what was done, and what was seen.
struct Trail {
    world: World,
    events: Vec<Event>,
    /// The first of them.
    name: String,
    /// What is expected of the last op.
    expected: BTreeSet<String>,
    /// What it took to walk it.
    took: Duration,
    verdict: Judged,
}

#[derive(Clone, Debug)]
enum Judged {
    /// Every rule that applied on a way that was seen, what the last op may give, and the rules that it would take
    /// another release to see otherwise.
    Accepted {
        rules: Vec<&'static SpecRule>,
        permitted: BTreeSet<Permitted>,
        bounded: Vec<&'static SpecRule>,
    },
    NotModelled(NotModelled),
    /// At which event.
    Contradicted(usize),
}

/// Every finding of the baselines of Linux, equal ones folded, and how many there are of each report.
struct Evidence {
    trails: Vec<Trail>,
    /// By report: how many are modelled, how many there are, and what the others are about.
    counts: Vec<(String, usize, usize, BTreeMap<NotModelled, usize>)>,
}

static EVIDENCE: LazyLock<Evidence> = LazyLock::new(|| {
    let reports = baselines().iter().filter(|report| report.host.is_own() && report.host.os == Os::Linux);
    let mut evidence = Evidence { trails: Vec::new(), counts: Vec::new() };
    let mut known: HashMap<Vec<Event>, Vec<usize>> = HashMap::new();
    for report in reports {
        let world = world(report);
        let (mut modelled, mut all, mut not) = (0, 0, BTreeMap::new());
        // The findings of one case are one after the other, and each has the ops of the one before.
        let mut earlier = Walk::new(&world);
        for finding in report.findings.iter().filter(|finding| finding.outcome().is_some()) {
            all += 1;
            let events = events(&finding.trail);
            let at =
                known.get(&events).and_then(|all| all.iter().copied().find(|at| evidence.trails[*at].holds_in(&world)));
            let at = at.unwrap_or_else(|| {
                earlier = std::mem::replace(&mut earlier, Walk::new(&world)).or_new(&events, &world);
                let start = Instant::now();
                let verdict = earlier.on(&events, &world);
                earlier.took += start.elapsed();
                let took = earlier.took;
                let name = format!("{} {} on {}", finding.case, finding.subject.call, report.host.release);
                let expected = finding.expected().iter().map(|one| one.outcome.to_string()).collect();
                evidence.trails.push(Trail {
                    world: world.clone(),
                    events: events.clone(),
                    name,
                    expected,
                    took,
                    verdict,
                });
                known.entry(events).or_default().push(evidence.trails.len() - 1);
                evidence.trails.len() - 1
            });
            match &evidence.trails[at].verdict {
                Judged::NotModelled(reason) => *not.entry(*reason).or_default() += 1,
                Judged::Accepted { .. } | Judged::Contradicted(_) => modelled += 1,
            }
        }
        evidence.counts.push((report.host.release.to_string(), modelled, all, not));
    }
    evidence
});

impl Trail {
    /// The rules that decided, the last op and what came of it.
    fn met(&self) -> (Vec<&'static str>, Option<(String, Option<Permitted>)>) {
        let rules = match &self.verdict {
            Judged::Accepted { rules, bounded, .. } => rules.iter().chain(bounded).map(|rule| rule.id).collect(),
            Judged::NotModelled(_) | Judged::Contradicted(_) => Vec::new(),
        };
        (rules, self.events.last().map(|event| (event.op.in_words(), event.outcome)))
    }

    /// Whether another world would walk it alike.
    fn holds_in(&self, world: &World) -> bool {
        let same = |rule: &&SpecRule| rule.is_in(&world.release) == rule.is_in(&self.world.release);
        let own = self.world.selinux == world.selinux;
        let asks_selinux = |rule: &&SpecRule| rule.id == "linux.bind.other-family" || rule.id.contains("selinux");
        match &self.verdict {
            Judged::Accepted { rules, bounded, .. } => {
                bounded.iter().all(same) && (own || !rules.iter().any(asks_selinux))
            }
            Judged::NotModelled(_) => true,
            Judged::Contradicted(_) => false,
        }
    }
}

/// What has been walked of a trail.
struct Walk {
    done: Vec<Event>,
    ways: Vec<Way>,
    rules: Vec<&'static SpecRule>,
    bounded: Vec<&'static SpecRule>,
    /// Before the last event.
    states: Vec<State>,
    stopped: Option<Judged>,
    took: Duration,
}

impl Walk {
    fn new(world: &World) -> Walk {
        let start =
            Way { outcome: Permitted::Ok, rules: Vec::new(), bounded: Vec::new(), state: State::new(&world.sysctls) };
        let (rules, bounded, states) = (Vec::new(), Vec::new(), Vec::new());
        Walk { done: Vec::new(), ways: vec![start], rules, bounded, states, stopped: None, took: Duration::ZERO }
    }

    /// This one, if the events begin as it did.
    fn or_new(self, events: &[Event], world: &World) -> Walk {
        if events.len() > self.done.len() && events.starts_with(&self.done) { self } else { Walk::new(world) }
    }

    fn on(&mut self, events: &[Event], world: &World) -> Judged {
        for event in &events[self.done.len()..] {
            if self.stopped.is_some() {
                break;
            }
            self.states = self.ways.drain(..).map(|way| way.state).collect();
            let seen = SeenOp { outcome: event.outcome, local: event.local };
            match spec::accept(&self.states, &event.op, event.user, seen, world) {
                Ok(ways) if ways.is_empty() => self.stopped = Some(Judged::Contradicted(self.done.len())),
                Ok(ways) => {
                    self.bounded.extend(ways.iter().flat_map(|way| &way.bounded));
                    ways.iter().flat_map(|way| &way.rules).for_each(|rule| self.rules.push(rule));
                    self.ways = ways;
                }
                Err(not) => self.stopped = Some(Judged::NotModelled(not)),
            }
            self.done.push(event.clone());
        }
        self.rules.sort_unstable_by_key(|rule| rule.id);
        self.rules.dedup();
        self.stopped.clone().unwrap_or_else(|| Judged::Accepted {
            rules: self.rules.clone(),
            permitted: self.permitted(world),
            bounded: self.bounded.clone(),
        })
    }
}

impl Walk {
    /// What the last op may give, in any of the states before it.
    fn permitted(&self, world: &World) -> BTreeSet<Permitted> {
        let Some(last) = self.done.last() else { return BTreeSet::new() };
        let ways = self.states.iter().flat_map(|state| spec::step(state, &last.op, last.user, world));
        ways.flatten().map(|way| way.outcome).collect()
    }
}

/// The world of a report. Of its sysctls those that differ between hosts and that no rule reads are left out.
fn world(report: &Report) -> World {
    let host = &report.host;
    let unread = ["net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_tw_reuse_delay"];
    let sysctls = host.sysctls.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let sysctls = sysctls.filter(|(name, _)| !unread.contains(&&**name)).collect();
    let selinux = host.capabilities.get(&Need::Selinux).is_some_and(|capability| capability.available);
    World { sysctls, selinux, ..World::of(host.os, version(&host.release)) }
}

/// A trail, with the ports that the kernel picked numbered as they came: which one of the same parity and the same half
/// of the range it was is nobody's business.
fn events(trail: &[std::sync::Arc<TrailEntry>]) -> Vec<Event> {
    let mut named: Vec<(u16, u16)> = Vec::new();
    for entry in trail {
        let (mut ports, mut ranges) = (Vec::new(), Vec::new());
        entry.op.clone().visit_ports(&mut |port| ports.push((*port, *port)), &mut |range| {
            ranges.push((range.low(), range.high()));
        });
        named.extend(ports.into_iter().chain(ranges));
        if let Op::SetOption { option: SocketOption::LocalPortRange(range), .. } = &entry.op {
            named.push((range.low(), range.high()));
        }
    }
    named.retain(|range| *range != (32_768, 60_999));
    let mut picked: Vec<(u16, u16)> = Vec::new();
    let mut event = |entry: &TrailEntry| {
        let local = match entry.detail {
            Some(Detail::Names { local, .. }) => local,
            _ => None,
        };
        let local = local.map(|mut local| {
            let port = local.port();
            if port != 0 && !named.iter().any(|(low, high)| (*low..=*high).contains(&port)) {
                let known = picked.iter().find(|(own, _)| *own == port).map(|(_, number)| *number);
                local.set_port(known.unwrap_or_else(|| {
                    // Only bind() and listen() prefer a half.
                    let prefers = matches!(entry.op, Op::Bind { .. } | Op::Listen { .. });
                    let half = if prefers && port < 46_884 { 44_000 } else { 54_000 };
                    let number = half + 2 * picked.len() as u16 + port % 2;
                    picked.push((port, number));
                    number
                }));
            }
            local
        });
        Event { op: entry.op.clone(), user: entry.user, outcome: entry.outcome.as_ref().and_then(permitted), local }
    };
    trail.iter().map(|entry| event(entry)).collect()
}

fn permitted(outcome: &Outcome) -> Option<Permitted> {
    match outcome {
        Outcome::Ok => Some(Permitted::Ok),
        Outcome::Blocked { .. } => Some(Permitted::Blocked),
        Outcome::Errno(errno) => errno.known().map(Permitted::Errno),
    }
}

fn described(trail: &Trail) -> String {
    let mut text = format!("{}\n", trail.name);
    for event in &trail.events {
        let outcome = event.outcome.map_or("-", Permitted::as_str);
        let local = event.local.map(|local| format!(" {local}")).unwrap_or_default();
        writeln!(text, "  {} -> {outcome}{local}", event.op.in_words()).expect("a string");
    }
    text
}

#[test]
fn every_finding_that_is_modelled_is_accepted() {
    let wrong = EVIDENCE.trails.iter().filter_map(|trail| match trail.verdict {
        Judged::Contradicted(at) => Some(format!("at {at}: {}", described(trail))),
        Judged::Accepted { .. } | Judged::NotModelled(_) => None,
    });
    let wrong: Vec<String> = wrong.collect();
    for (release, modelled, all, _) in &EVIDENCE.counts {
        assert!(modelled * 100 >= all * 82, "{release}: {modelled} of {all}");
    }
    assert!(wrong.is_empty(), "{} contradictions\n{}", wrong.len(), wrong[..wrong.len().min(8)].join("\n"));
}

/// Of old releases less may be known than the kernel's source says.
#[test]
fn what_is_expected_of_linux_is_what_the_specification_permits() {
    let mut differ = Vec::new();
    for trail in &EVIDENCE.trails {
        let Judged::Accepted { permitted, .. } = &trail.verdict else { continue };
        let permitted: BTreeSet<String> = permitted.iter().map(|one| one.to_string()).collect();
        let is_new = trail.world.release >= version("6.18.0");
        if if is_new { permitted != trail.expected } else { !permitted.is_subset(&trail.expected) } {
            differ.push(format!("{:?} expected, {permitted:?} permitted: {}", trail.expected, trail.name));
        }
    }
    assert!(differ.is_empty(), "{} differ\n{}", differ.len(), differ.join("\n"));
}

/// Findings that take longer to walk are not tried against broken rules.
const CHEAP: Duration = Duration::from_millis(10);

/// How many findings are tried against one broken rule.
const MOST_TRIED: usize = 250;

/// Which ways of breaking a rule change what it does.
fn breaks(rule: &SpecRule) -> Vec<Break> {
    let other = match rule.gives {
        None => None,
        Some(Permitted::Errno(ErrnoName::EADDRINUSE)) => Some(ErrnoName::EADDRNOTAVAIL),
        Some(Permitted::Errno(ErrnoName::EADDRNOTAVAIL) | Permitted::Ok | Permitted::Blocked) => {
            Some(ErrnoName::EADDRINUSE)
        }
        Some(Permitted::Errno(_)) => Some(ErrnoName::EADDRNOTAVAIL),
    };
    let timeless = rule.is_bounded().then_some(Break::Timeless);
    [Break::Dropped, Break::Inverted]
        .into_iter()
        .chain(other.map(|errno| Break::Swapped(Permitted::Errno(errno))))
        .chain(timeless)
        .collect()
}

/// Whether a specification in which one rule is broken does not accept a finding any more.
fn contradicts(trail: &Trail, broken: Broken) -> bool {
    let world = trail.world.with(broken);
    !matches!(Walk::new(&world).on(&trail.events, &world), Judged::Accepted { .. })
}

/// A rule that no finding contradicts when it is broken so, and why.
const SURVIVORS: &[(&str, &str, &str)] = &[
    ("linux.connect.tw-reuse-age-in-seconds", "dropped", NO_OLD_ENTRY),
    ("linux.connect.tw-reuse-age-in-seconds", "inverted", NO_OLD_ENTRY),
    ("linux.connect.tw-reuse-age-in-seconds", "timeless", NO_OLD_ENTRY),
    ("linux.connect.tw-reuse-for-loopback", "dropped", NO_OLD_ENTRY),
    ("linux.connect.tw-reuse-for-loopback", "inverted", NO_OLD_ENTRY),
    ("linux.segment.disconnect-leaves-error", "swapped", "no case reads SO_ERROR after an association was dissolved"),
    ("linux.segment.orphan-in-fin-wait-2", "inverted", "only orphans are asked for their 4-tuple in that state"),
    ("linux.table.lists-bound", "dropped", NO_BOUND_GONE),
    ("linux.table.lists-bound", "inverted", NO_BOUND_GONE),
    ("linux.table.lists-bound", "timeless", NO_BOUND_GONE),
];

const NO_OLD_ENTRY: &str = "cases with entries older than a second are slow, and in no baseline";
const NO_BOUND_GONE: &str = "no case waits for a socket to be gone that is still bound";

/// Rules that no finding of the baselines meets, and why they are there.
const NEVER_MET: &[(&str, &str)] = &[
    ("linux.connect.tw-reuse-after-a-second", NO_OLD_ENTRY),
    ("linux.connect.tw-reuse-not-of-fin-wait-2", NO_OLD_ENTRY),
    ("linux.listen.has-peer", "every socket of the catalogue that has a peer has been told of it"),
    ("linux.option.device-takes-privilege", "no case has another user change a device"),
    ("linux.receive.listening", "no case receives on a listener"),
    ("linux.segment.time-wait-ends", "cases that wait for TIME_WAIT to end are slow, and in no baseline"),
    ("linux.send.shut-down", "no case connects a socket that was shut down before"),
    ("linux.udp.shut-down", "no case sends on a UDP socket that is shut down"),
];

#[test]
fn findings_contradict_a_broken_rule() {
    let mut met: HashMap<&str, Vec<&Trail>> = HashMap::new();
    for trail in EVIDENCE.trails.iter().filter(|trail| trail.took < CHEAP) {
        let Judged::Accepted { rules, bounded, .. } = &trail.verdict else { continue };
        let all: BTreeSet<&str> = rules.iter().chain(bounded).map(|rule| rule.id).collect();
        all.into_iter().for_each(|rule| met.entry(rule).or_default().push(trail));
    }
    for trails in met.values_mut() {
        trails.sort_by_key(|trail| trail.events.len());
    }
    let mut scenarios = BTreeSet::new();
    let cheap = EVIDENCE.trails.iter().filter(|trail| trail.took < CHEAP);
    let cheap = cheap.filter(|trail| matches!(trail.verdict, Judged::Accepted { .. }));
    let plain: Vec<&Trail> =
        cheap.filter(|trail| scenarios.insert(trail.name.split('[').next().unwrap_or_default())).collect();
    let (mut mutants, mut survivors, mut never) = (0, BTreeSet::new(), BTreeSet::new());
    for rule in spec::rules(Os::Linux).iter().copied() {
        let Some(trails) = met.get(rule.id) else {
            never.insert(rule.id);
            continue;
        };
        // The plainest of each kind of situation: of those that meet the same rules.
        let kinds = |is_tried: &dyn Fn(&&&Trail) -> bool| -> Vec<&Trail> {
            let mut kinds = BTreeSet::new();
            let tried = trails.iter().filter(is_tried).filter(|trail| kinds.insert(trail.met()));
            tried.take(MOST_TRIED).copied().collect()
        };
        let tried = kinds(&|_| true);
        for how in breaks(rule) {
            let tried = match how {
                // It may apply now where it did not.
                Break::Inverted => [&tried[..], &plain[..]].concat(),
                Break::Timeless => kinds(&|trail| !rule.is_in(&trail.world.release)),
                Break::Dropped | Break::Swapped(_) => tried.clone(),
            };
            // What is decided without a condition cannot be dropped, but give something else.
            if always_gives(rule, &tried) && !matches!(how, Break::Swapped(_)) {
                continue;
            }
            mutants += 1;
            if !tried.iter().any(|trail| contradicts(trail, Broken { rule, how })) {
                survivors.insert((rule.id, name(how)));
            }
        }
    }
    let listed: BTreeSet<(&str, &str)> = SURVIVORS.iter().map(|(rule, how, _)| (*rule, *how)).collect();
    assert_eq!(survivors, listed, "mutants that survive");
    assert_eq!(never, NEVER_MET.iter().map(|(rule, _)| *rule).collect(), "rules that no finding meets");
    let contradicted = mutants - survivors.len();
    assert!(contradicted * 100 >= mutants * 95, "{contradicted} of {mutants}");
    golden("specification.txt", &summary(contradicted, mutants));
}

/// How much is modelled, and how much of that is held by findings.
fn summary(contradicted: usize, mutants: usize) -> String {
    let mut text = "findings that the specification covers, all of which it accepts\n".to_owned();
    let mut reasons: BTreeMap<NotModelled, usize> = BTreeMap::new();
    for (release, modelled, all, not) in &EVIDENCE.counts {
        text.push_str(&format!("  {modelled:5} of {all:5}  linux {release}\n"));
        not.iter().for_each(|(reason, count)| *reasons.entry(*reason).or_default() += count);
    }
    text.push_str("\nwhat the others are about\n");
    reasons.iter().for_each(|(not, count)| text.push_str(&format!("  {count:5}  {}\n", not.reason)));
    let rules = spec::rules(Os::Linux).len();
    text.push_str(&format!("\n{rules} rules, of which findings meet {}\n", rules - NEVER_MET.len()));
    text.push_str(&format!("findings contradict {contradicted} of {mutants} ways of breaking one; not these\n"));
    SURVIVORS.iter().for_each(|(rule, how, why)| text.push_str(&format!("  {rule}, {how}: {why}\n")));
    text.push_str("\nrules that no finding meets\n");
    NEVER_MET.iter().for_each(|(rule, why)| text.push_str(&format!("  {rule}: {why}\n")));
    text
}

fn name(how: Break) -> &'static str {
    match how {
        Break::Dropped => "dropped",
        Break::Inverted => "inverted",
        Break::Swapped(_) => "swapped",
        Break::Timeless => "timeless",
    }
}

/// Whether dropping the rule changes nothing: what it gives is all that is left to give.
fn always_gives(rule: &'static SpecRule, tried: &[&Trail]) -> bool {
    let dropped = |trail: &&Trail| {
        let world = trail.world.with(Broken { rule, how: Break::Dropped });
        let mut walk = Walk::new(&world);
        walk.on(&trail.events, &world);
        walk.rules.iter().any(|own| own.id == rule.id)
    };
    rule.gives.is_some() && tried.first().is_some_and(dropped)
}

#[test]
fn each_rule_has_an_id_a_sentence_and_an_authority_of_its_own() {
    let mut ids = BTreeSet::new();
    for os in Os::ALL {
        for rule in spec::rules(*os) {
            assert!(ids.insert(rule.id), "{} is there twice", rule.id);
            assert_eq!(rule.os(), *os, "{}", rule.id);
            assert!(rule.id.chars().all(|letter| letter.is_ascii_lowercase() || "0123456789-.".contains(letter)));
            assert!(rule.says.ends_with('.') && !rule.says.contains(". "), "{}: one sentence", rule.id);
            assert!(rule.authority.contains("()") && rule.authority.contains(".c") || rule.authority.contains(".h"));
        }
    }
}
