//! Runs cases on workers, several at a time, and collects their findings in the order of the catalogue.
//!
//! If a worker dies or is silent, its current case is `broken`, and a new worker takes the rest. [`Place`] says whether
//! workers are processes of this host or of another. The runner judges nothing itself.

pub(super) mod answer;
mod guard;
pub(super) mod link;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::plan::{Hello, Unsupported};
use crate::report::finding::{Finding, Missing, Verdict};
use crate::scenario::{Case, Compiled, Problem, compile};
use crate::suite::catalogue::Catalogue;
use crate::suite::judge;
use crate::sys::{self, Fault, Isolate};
use crate::words::names::Need;
use crate::words::untrusted::Text;
use link::{Link, Why};

pub use link::{Lost, Place};

/// One case to run.
#[derive(Clone, Debug)]
pub struct CaseRun {
    /// Index into the catalogue's scenarios.
    pub scenario: usize,
    pub case: Case,
    pub slow: bool,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub place: Place,
    pub jobs: NonZeroUsize,
    /// How often each case runs.
    pub repeat: u32,
    /// By how much every wait and deadline is longer than it says.
    pub patience: u32,
    /// How long a worker may take to say hello, and its answers longer than their cases.
    pub wait: Duration,
    /// What answers over there, where whoever runs it knows better than it does itself.
    pub stack: Option<String>,
    /// Whether cases may have a private host.
    pub isolate: Isolate,
    /// Whether cases may take every ephemeral port of a host that they share.
    pub exhaust: bool,
}

impl Settings {
    /// For a worker on this host. Longer than its own deadline for the same, so that it can say itself what took so
    /// long.
    const WAIT: Duration = Duration::from_secs(15);

    pub fn new(place: Place, jobs: NonZeroUsize) -> Settings {
        let (isolate, exhaust) = (Isolate::WherePossible, false);
        Settings { place, jobs, repeat: 1, patience: 1, wait: Settings::WAIT, stack: None, isolate, exhaust }
    }

    /// Starts a worker. How long one behind a command may take is said by whoever knows the way there.
    fn open(&self, interrupted: &AtomicBool) -> Result<Link, Lost> {
        let wait = match self.place {
            Place::Here(_) => self.wait * self.patience,
            Place::Behind { .. } => self.wait,
        };
        Link::open(&self.place, wait, self.patience, self.isolate, interrupted)
    }
}

/// Why nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    #[error(
        "only {limit} files may be open at once, and a run takes {least} at least; raise the limit: ulimit -n 1024"
    )]
    Descriptors { limit: u64, least: u64 },
    #[error("{0}")]
    Worker(Lost),
    #[error("{0}")]
    Thread(Fault),
    /// A case that has no plan.
    #[error("{0}")]
    Case(Problem),
    /// It is a fault of this program.
    #[error("the thread that ran it panicked")]
    Panicked,
}

/// What a run gave.
#[derive(Debug)]
pub struct Ran {
    pub hello: Hello,
    pub findings: Vec<Finding>,
    /// False where the run was interrupted.
    pub complete: bool,
    /// How many cases timed out beside others, and did not when they were run again alone.
    pub again: u32,
    /// How many cases of a shared host went wrong, and then, on other ports, as expected.
    pub moved: u32,
}

/// Cases that wait for kernel timers do nothing meanwhile: this many wait at once.
const SLOW_JOBS: usize = 64;

/// Plans that are under way to one worker, so that it never waits for us: those of a worker behind a slow link last it
/// for many times the way there and back.
const IN_FLIGHT: usize = 3;
const IN_FLIGHT_BEHIND: usize = 64;

/// When so many workers in a row were lost without one answer, there is no use in starting another.
const MOST_LOST: u32 = 5;

/// A case that times out beside others is run again alone, when they have ended, with so many times the time.
const AGAIN: u32 = 4;
/// If so many of those hang again, one after the other, it is not for want of processors: the rest are believed.
const MOST_HANGING: u32 = 2;
/// How many wait for that at most.
const MOST_AGAIN: usize = 64;

/// On a host that others use as well, somebody's socket may come in between: a case that did not go as expected is run
/// so often in all, each time on other ports.
const MOST_TRIES: u32 = 6;

/// How often progress is told that nothing has happened.
const TICK: Duration = Duration::from_millis(100);

/// Descriptors that this program needs for itself, and for each worker.
const OWN_DESCRIPTORS: u64 = 12;
const LINK_DESCRIPTORS: u64 = 4;

/// Runs `items`. `progress` sees the findings of each case as it ends, in no order, and now and then nothing.
pub fn run(
    catalogue: &Catalogue,
    items: &[CaseRun],
    settings: &Settings,
    interrupted: &AtomicBool,
    mut progress: impl FnMut(Option<&[Finding]>),
) -> Result<Ran, CannotRun> {
    let room = room_for_links()?;
    let first = settings.open(interrupted).map_err(CannotRun::Worker)?;
    let mut hello = first.hello.clone();
    hello.stack = settings.stack.clone().map(Text::from).or(hello.stack);
    let mut run = Run {
        catalogue,
        items,
        settings,
        interrupted,
        hello,
        // Not where an earlier run has begun, whose ports may still be in TIME_WAIT: this is a prime.
        turn: AtomicUsize::new(std::process::id() as usize * 197),
        number: AtomicU32::new(1),
        moved: AtomicU32::new(0),
        failure: OnceLock::new(),
        given_up: OnceLock::new(),
    };
    // Without isolation all cases share the host's ports: one at a time, then, and nothing beside a slow one.
    let jobs = if run.isolated() { settings.jobs.get() } else { 1 };
    // Whoever says how often a command may be started has not asked for a crowd.
    let beside = run.isolated() && matches!(settings.place, Place::Here(_));
    let (slow, fast): (Vec<usize>, Vec<usize>) = (0..items.len()).partition(|&index| beside && items[index].slow);
    let (fast, slow) = (Queue::new(fast, settings.repeat), Queue::new(slow, settings.repeat));
    let jobs = jobs.min(fast.len()).min(room);
    let slow_jobs = SLOW_JOBS.min(slow.len()).min((room - jobs).max(1));
    let mut collected = Collected::new(items.len(), settings.repeat);
    let mut held_back = Vec::new();
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let mut first = Some(first);
        for (queue, jobs) in [(&fast, jobs), (&slow, slow_jobs)] {
            for number in 0..jobs {
                let (sender, run, link) = (sender.clone(), &run, first.take());
                let thread = std::thread::Builder::new().spawn_scoped(scope, move || run.serve(queue, link, &sender));
                match thread {
                    Ok(_) => {}
                    // Fewer do the same.
                    Err(_) if number > 0 => break,
                    Err(error) => drop(run.failure.set(CannotRun::Thread(sys::no_thread(&error)))),
                }
            }
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(TICK) {
                Ok((index, findings)) if timed_out(&findings) && held_back.len() < MOST_AGAIN => {
                    held_back.push((index, findings));
                }
                Ok((index, findings)) => collected.add(index, findings, &mut progress),
                Err(RecvTimeoutError::Timeout) => progress(None),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    if let Some(failure) = run.failure.take() {
        return Err(failure);
    }
    let again = run.again(held_back, |index, findings| collected.add(index, findings, &mut progress));
    let complete = collected.done.iter().all(Option::is_some);
    let findings = collected.done.into_iter().flatten().flatten().collect();
    let moved = run.moved.into_inner();
    Ok(Ran { hello: run.hello, findings, complete, again, moved })
}

/// How many workers this process may have pipes to.
fn room_for_links() -> Result<usize, CannotRun> {
    let (_, hard) = sys::descriptor_limit();
    // What it may have it takes; workers do the same.
    let _ = sys::set_descriptor_limit(hard);
    let (limit, _) = sys::descriptor_limit();
    match limit.saturating_sub(OWN_DESCRIPTORS) / LINK_DESCRIPTORS {
        0 => Err(CannotRun::Descriptors { limit, least: OWN_DESCRIPTORS + LINK_DESCRIPTORS }),
        room => Ok(usize::try_from(room).unwrap_or(usize::MAX)),
    }
}

/// Whether somebody else's socket may have made it so.
fn may_be_disturbed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| match finding.verdict() {
        Verdict::Mismatch | Verdict::Unwitnessed | Verdict::Broken => true,
        Verdict::Unsupported => {
            matches!(finding.missing(), Some(Missing::Unsupported(lacking)) if lacking.need == Need::FreePorts)
        }
        Verdict::Match | Verdict::TimedOut => false,
    })
}

fn timed_out(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.verdict() == Verdict::TimedOut)
}

/// The findings of each item, put together as its runs end: what is kept does not grow with how often it runs.
struct Collected {
    repeat: u32,
    runs: Vec<(u32, Vec<Finding>)>,
    done: Vec<Option<Vec<Finding>>>,
}

impl Collected {
    fn new(items: usize, repeat: u32) -> Collected {
        let of_each = |_| (0, Vec::new());
        Collected { repeat, runs: (0..items).map(of_each).collect(), done: (0..items).map(|_| None).collect() }
    }

    fn add(&mut self, index: usize, findings: Vec<Finding>, progress: &mut impl FnMut(Option<&[Finding]>)) {
        let (count, merged) = &mut self.runs[index];
        *count += 1;
        if self.repeat == 1 {
            *merged = findings;
        } else {
            judge::merge(merged, findings);
        }
        if *count == self.repeat {
            progress(Some(merged));
            self.done[index] = Some(std::mem::take(merged));
        }
    }
}

/// What the threads of one run share.
struct Run<'r> {
    catalogue: &'r Catalogue,
    items: &'r [CaseRun],
    settings: &'r Settings,
    interrupted: &'r AtomicBool,
    hello: Hello,
    /// How many cases have been handed out.
    turn: AtomicUsize,
    /// That of the next plan.
    number: AtomicU32,
    /// How many went as expected only on other ports.
    moved: AtomicU32,
    /// Why there is nothing to report.
    failure: OnceLock<CannotRun>,
    /// Why no worker can be had any more.
    given_up: OnceLock<String>,
}

/// Work to hand out, each item as often as it is to be repeated, one after the other.
struct Queue {
    items: Vec<usize>,
    repeat: usize,
    next: Mutex<usize>,
}

impl Queue {
    fn new(items: Vec<usize>, repeat: u32) -> Queue {
        Queue { items, repeat: repeat as usize, next: Mutex::new(0) }
    }

    fn len(&self) -> usize {
        self.items.len().saturating_mul(self.repeat)
    }

    fn next(&self) -> Option<usize> {
        let mut next = self.next.lock().ok()?;
        let item = self.items.get(*next / self.repeat.max(1)).copied();
        *next += 1;
        item
    }
}

type Sender = mpsc::Sender<(usize, Vec<Finding>)>;

/// A plan that is under way.
struct Sent {
    /// Index into the run's items.
    index: usize,
    compiled: Compiled,
    /// How often it has been sent before, for other ports.
    tries: u32,
    /// Whether it ran one of those times, and went wrong: ports that are taken are looked for before it runs.
    went_wrong: bool,
}

impl Run<'_> {
    /// Whether a case has a network of its own.
    fn isolated(&self) -> bool {
        !self.hello.is_shared()
    }

    /// Whether that network is the worker's, so that it is good for one case.
    fn one_case_each(&self) -> bool {
        self.hello.is_sandbox()
    }

    /// One worker's thread: hands it plans until there are none, and replaces it when it is lost or has served its
    /// turn.
    fn serve(&self, queue: &Queue, mut link: Option<Link>, sender: &Sender) {
        let mut sent: VecDeque<Sent> = VecDeque::new();
        let mut lost_in_a_row = 0;
        let window = match self.settings.place {
            _ if self.one_case_each() => 1,
            Place::Here(_) => IN_FLIGHT,
            Place::Behind { .. } => IN_FLIGHT_BEHIND,
        };
        loop {
            if self.interrupted.load(Ordering::Relaxed) || self.failure.get().is_some() {
                return;
            }
            while sent.len() < window && self.hand_out(queue, link.as_mut(), &mut sent, sender) {}
            if sent.is_empty() {
                return;
            }
            let mut lost = None;
            if link.is_none() && self.given_up.get().is_none() {
                match self.settings.open(self.interrupted) {
                    Ok(opened) if !self.is_same_stack(&opened.hello) => {
                        let (now, before) = (&opened.hello, &self.hello);
                        let host = |hello: &Hello| {
                            format!("{} {} {}, isolation {}", hello.os, hello.release, hello.arch, hello.isolation)
                        };
                        let (now, before) = (host(now), host(before));
                        let _ = self.given_up.set(format!("a new worker runs on {now}, the first one ran on {before}"));
                    }
                    Ok(opened) => {
                        let opened = link.insert(opened);
                        // Also what a lost worker had been sent and had not begun.
                        sent.iter().for_each(|sent| opened.send(&sent.compiled.plan));
                    }
                    Err(why) if matches!(why.why, Why::Interrupted) => return,
                    // One start of thousands, which costs its case.
                    Err(why) if self.one_case_each() => lost = Some(why),
                    Err(why) => drop(self.given_up.set(why.to_string())),
                }
            }
            let Some(Sent { index, compiled, tries, went_wrong }) = sent.pop_front() else { return };
            let item = &self.items[index];
            let scenario = &self.catalogue.scenarios[item.scenario];
            let broken = |why: String| {
                judge::without_run(scenario, &item.case, &compiled, &self.hello, &Missing::Broken(why.into()))
            };
            let answered = match &mut link {
                Some(link) => link.receive(&compiled.plan, self.interrupted).map_err(Some),
                None => Err(lost),
            };
            let mut findings = match answered {
                Ok(seen) => {
                    lost_in_a_row = 0;
                    judge::judge(scenario, &item.case, &compiled, &self.hello, &seen)
                }
                Err(Some(lost)) if matches!(lost.why, Why::Interrupted) => return,
                Err(lost) => {
                    link = None;
                    lost_in_a_row += u32::from(lost.is_some());
                    let given_up = || format!("no worker: {}", self.given_up.get().map_or("", String::as_str));
                    let why = lost.map_or_else(given_up, |lost| lost.to_string());
                    if lost_in_a_row == MOST_LOST {
                        let _ = self.given_up.set(format!("{MOST_LOST} in a row were lost, the last like this: {why}"));
                    }
                    broken(why)
                }
            };
            let disturbed = !self.isolated() && may_be_disturbed(&findings);
            if disturbed
                && tries + 1 < MOST_TRIES
                && let (Ok((compiled, None)), Some(link)) = (self.compiled(item), link.as_mut())
            {
                link.send(&compiled.plan);
                let went_wrong = went_wrong || findings.iter().any(|finding| finding.verdict() != Verdict::Unsupported);
                sent.push_back(Sent { index, compiled, tries: tries + 1, went_wrong });
                continue;
            }
            if went_wrong && !disturbed {
                self.moved.fetch_add(1, Ordering::Relaxed);
            }
            while !self.one_case_each() && sent.len() < window && self.hand_out(queue, link.as_mut(), &mut sent, sender)
            {
            }
            // Of the last case is what a worker says beyond its answer, when nothing else was asked.
            if sent.is_empty()
                && let Some(Err(lost)) = link.take().map(Link::finish)
            {
                findings = broken(lost.to_string());
            }
            if sender.send((index, findings)).is_err() {
                return;
            }
        }
    }

    /// Runs cases that timed out once more, one at a time and nothing beside them: whether a case hangs, or the machine
    /// had too much to do, shows only there. Says how many did not hang.
    fn again(&self, cases: Vec<(usize, Vec<Finding>)>, mut found: impl FnMut(usize, Vec<Finding>)) -> u32 {
        let (mut link, mut hanging, mut ended) = (None, 0, 0);
        for (index, before) in cases {
            let now = if hanging == MOST_HANGING { None } else { self.once_more(index, &mut link) };
            let now = now.filter(|findings| !timed_out(findings));
            (hanging, ended) = if now.is_some() { (0, ended + 1) } else { (hanging + 1, ended) };
            found(index, now.unwrap_or(before));
        }
        ended
    }

    /// Nothing where no worker answers.
    fn once_more(&self, index: usize, link: &mut Option<Link>) -> Option<Vec<Finding>> {
        if self.interrupted.load(Ordering::Relaxed) {
            return None;
        }
        let item = &self.items[index];
        let scenario = &self.catalogue.scenarios[item.scenario];
        let (mut compiled, None) = self.compiled(item).ok()? else { return None };
        compiled.plan.deadline_ms = compiled.plan.deadline_ms.saturating_mul(AGAIN);
        if link.is_none() || self.one_case_each() {
            *link = self.settings.open(self.interrupted).ok().filter(|link| self.is_same_stack(&link.hello));
        }
        let worker = link.as_mut()?;
        worker.send(&compiled.plan);
        let Ok(seen) = worker.receive(&compiled.plan, self.interrupted) else {
            *link = None;
            return None;
        };
        Some(judge::judge(scenario, &item.case, &compiled, &self.hello, &seen))
    }

    /// What a worker is to do for a case, or why it cannot be done here.
    fn compiled(&self, item: &CaseRun) -> Result<(Compiled, Option<Unsupported>), Problem> {
        let mut compiled = compile(&self.catalogue.scenarios[item.scenario], &item.case, self.hello.os)?;
        compiled.plan.patience = self.settings.patience;
        compiled.plan.number = self.number.fetch_add(1, Ordering::Relaxed);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let lacking =
            lacking(&self.hello, &compiled).or_else(|| compiled.share(&self.hello, turn, self.settings.exhaust).err());
        Ok((compiled, lacking))
    }

    /// Whether findings of that worker may stand beside those of the first.
    fn is_same_stack(&self, hello: &Hello) -> bool {
        let first = &self.hello;
        (hello.os, &hello.release, &hello.arch, &hello.isolation)
            == (first.os, &first.release, &first.arch, &first.isolation)
    }

    /// Sends the next case that the worker can run; false when there is none.
    fn hand_out(&self, queue: &Queue, mut link: Option<&mut Link>, sent: &mut VecDeque<Sent>, sender: &Sender) -> bool {
        while let Some(index) = queue.next() {
            let item = &self.items[index];
            let scenario = &self.catalogue.scenarios[item.scenario];
            let (compiled, lacking) = match self.compiled(item) {
                Ok(compiled) => compiled,
                Err(problem) => {
                    let _ = self.failure.set(CannotRun::Case(problem));
                    return false;
                }
            };
            match lacking {
                Some(lacking) => {
                    let findings = judge::without_run(
                        scenario,
                        &item.case,
                        &compiled,
                        &self.hello,
                        &Missing::Unsupported(lacking),
                    );
                    if sender.send((index, findings)).is_err() {
                        return false;
                    }
                }
                None => {
                    // A worker that is gone shows when its answer is read.
                    if let Some(link) = link.as_mut() {
                        link.send(&compiled.plan);
                    }
                    sent.push_back(Sent { index, compiled, tries: 0, went_wrong: false });
                    return true;
                }
            }
        }
        false
    }
}

/// What a case needs and the host does not offer.
pub(super) fn lacking(hello: &Hello, compiled: &Compiled) -> Option<Unsupported> {
    let implied = if hello.is_shared() { Need::FreePorts } else { Need::NetworkNamespace };
    std::iter::once(implied).chain(compiled.needs.iter().copied()).find_map(|need| {
        let capability = hello.capabilities.get(&need);
        if capability.is_some_and(|capability| capability.available) {
            return None;
        }
        let reason = capability.and_then(|capability| capability.reason.clone());
        let reason = reason.unwrap_or_else(|| "this host does not offer it".to_owned().into());
        Some(Unsupported { need, reason })
    })
}

/// What the workers of a place say of it, without running anything.
pub fn hello(place: &Place) -> Result<Hello, Lost> {
    let link = Settings::new(place.clone(), NonZeroUsize::MIN).open(&AtomicBool::new(false))?;
    Ok(link.hello.clone())
}
