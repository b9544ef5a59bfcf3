//! Runs cases on workers, several at a time, and collects their findings in the order of the catalogue.
//!
//! A worker that dies or falls silent costs the one case it was at: that case is `broken`, a new worker takes the
//! rest. Whether workers are processes of this host or of another is for [`Place`] to say, and all the same here. The
//! runner judges nothing itself.

mod link;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use crate::catalogue::Catalogue;
use crate::finding::{Finding, Missing};
use crate::judge;
use crate::plan::{Hello, Unsupported};
use crate::scenario::{Case, Compiled, compile};
use crate::untrusted::Text;
use link::{Link, Why};

pub use link::Place;

/// One case to run.
#[derive(Clone, Debug)]
pub struct Item {
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
}

impl Settings {
    /// For a worker on this host.
    const WAIT: Duration = Duration::from_secs(10);

    pub fn new(place: Place, jobs: NonZeroUsize) -> Settings {
        Settings { place, jobs, repeat: 1, patience: 1, wait: Settings::WAIT, stack: None }
    }
}

/// What a run gave.
#[derive(Debug)]
pub struct Ran {
    pub hello: Hello,
    pub findings: Vec<Finding>,
    /// False where the run was interrupted.
    pub complete: bool,
}

/// Cases that wait for kernel timers do nothing meanwhile: this many wait at once.
const SLOW_JOBS: usize = 64;

/// Plans that are under way to one worker, so that it never waits for us: those of a worker behind a slow link last it
/// for many times the way there and back.
const IN_FLIGHT: usize = 3;
const IN_FLIGHT_BEHIND: usize = 64;

/// When so many workers in a row were lost without one answer, there is no use in starting another.
const MOST_LOST: u32 = 5;

/// Runs `items`. `progress` sees the findings of each case as it ends, in no order.
pub fn run(
    catalogue: &Catalogue,
    items: &[Item],
    settings: &Settings,
    interrupted: &AtomicBool,
    mut progress: impl FnMut(&[Finding]),
) -> Result<Ran, String> {
    let first = Link::open(&settings.place, settings.wait, interrupted).map_err(|lost| lost.to_string())?;
    let mut hello = first.hello.clone();
    hello.stack = settings.stack.clone().map(Text::from).or(hello.stack);
    let run = Run {
        catalogue,
        items,
        settings,
        interrupted,
        hello,
        turn: AtomicUsize::new(0),
        failure: OnceLock::new(),
        given_up: OnceLock::new(),
    };
    // Without isolation all cases share the host's ports: one at a time, then, and nothing beside a slow one.
    let jobs = if run.isolated() { settings.jobs.get() } else { 1 };
    // Whoever says how often a command may be started has not asked for a crowd.
    let beside = run.isolated() && matches!(settings.place, Place::Here(_));
    let (slow, fast): (Vec<usize>, Vec<usize>) = (0..items.len()).partition(|&index| beside && items[index].slow);
    let (fast, slow) = (Queue::new(fast, settings.repeat), Queue::new(slow, settings.repeat));
    let mut results: Vec<Vec<Vec<Finding>>> = items.iter().map(|_| Vec::new()).collect();
    let mut done: Vec<Option<Vec<Finding>>> = items.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let mut first = Some(first);
        for (queue, jobs) in [(&fast, jobs), (&slow, SLOW_JOBS)] {
            for _ in 0..jobs.min(queue.len()) {
                let (sender, run, link) = (sender.clone(), &run, first.take());
                scope.spawn(move || run.serve(queue, link, &sender));
            }
        }
        drop(sender);
        for (index, findings) in receiver {
            results[index].push(findings);
            if results[index].len() == settings.repeat as usize {
                let mut runs = std::mem::take(&mut results[index]);
                let findings = if settings.repeat == 1 { runs.pop().unwrap_or_default() } else { judge::merge(runs) };
                progress(&findings);
                done[index] = Some(findings);
            }
        }
    });
    if let Some(failure) = run.failure.into_inner() {
        return Err(failure);
    }
    let complete = done.iter().all(Option::is_some);
    Ok(Ran { hello: run.hello, findings: done.into_iter().flatten().flatten().collect(), complete })
}

/// What the threads of one run share.
struct Run<'r> {
    catalogue: &'r Catalogue,
    items: &'r [Item],
    settings: &'r Settings,
    interrupted: &'r AtomicBool,
    hello: Hello,
    /// How many cases have been handed out.
    turn: AtomicUsize,
    /// Why there is nothing to report.
    failure: OnceLock<String>,
    /// Why no worker can be had any more.
    given_up: OnceLock<String>,
}

/// Work to hand out, each item as often as it is to be repeated, one after the other.
struct Queue {
    waiting: Mutex<VecDeque<usize>>,
}

impl Queue {
    fn new(items: Vec<usize>, repeat: u32) -> Queue {
        let waiting = items.into_iter().flat_map(|index| (0..repeat).map(move |_| index)).collect();
        Queue { waiting: Mutex::new(waiting) }
    }

    fn len(&self) -> usize {
        self.waiting.lock().map_or(0, |waiting| waiting.len())
    }

    fn next(&self) -> Option<usize> {
        self.waiting.lock().ok()?.pop_front()
    }
}

type Sender = mpsc::Sender<(usize, Vec<Finding>)>;

impl Run<'_> {
    /// Whether a case has a network of its own.
    fn isolated(&self) -> bool {
        self.hello.isolation != "none"
    }

    /// Whether that network is the worker's, so that it is good for one case.
    fn one_case_each(&self) -> bool {
        self.hello.isolation == "sandbox"
    }

    /// One worker's thread: hands it plans until there are none, and replaces it when it is lost or has served its turn.
    fn serve(&self, queue: &Queue, mut link: Option<Link>, sender: &Sender) {
        let mut sent: VecDeque<(usize, Compiled)> = VecDeque::new();
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
                match Link::open(&self.settings.place, self.settings.wait, self.interrupted) {
                    Ok(opened) if !self.is_same_stack(&opened.hello) => {
                        let (now, before) = (&opened.hello, &self.hello);
                        let _ = self.given_up.set(format!(
                            "a new worker runs on {} {}, the first one ran on {} {}",
                            now.os, now.release, before.os, before.release
                        ));
                    }
                    Ok(opened) => {
                        let opened = link.insert(opened);
                        // Also what a lost worker had been sent and had not begun.
                        sent.iter().for_each(|(_, compiled)| opened.send(&compiled.plan));
                    }
                    Err(why) if matches!(why.why, Why::Interrupted) => return,
                    // One start of thousands, which costs its case.
                    Err(why) if self.one_case_each() => lost = Some(why),
                    Err(why) => drop(self.given_up.set(why.to_string())),
                }
            }
            let Some((index, compiled)) = sent.front() else { return };
            let (item, index) = (&self.items[*index], *index);
            let scenario = &self.catalogue.scenarios[item.scenario];
            let answered = match &mut link {
                Some(link) => link.receive(&compiled.plan, self.interrupted).map_err(Some),
                None => Err(lost),
            };
            let findings = match answered {
                Ok(seen) => {
                    lost_in_a_row = 0;
                    judge::judge(scenario, &item.case, compiled, &self.hello, &seen)
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
                    judge::without_run(scenario, &item.case, compiled, &self.hello, &Missing::Broken(why.into()))
                }
            };
            sent.pop_front();
            if self.one_case_each() {
                link = None;
            }
            if sender.send((index, findings)).is_err() {
                return;
            }
        }
    }

    /// Whether findings of that worker may stand beside those of the first.
    fn is_same_stack(&self, hello: &Hello) -> bool {
        let first = &self.hello;
        (hello.os, &hello.release, &hello.arch, &hello.isolation)
            == (first.os, &first.release, &first.arch, &first.isolation)
    }

    /// Sends the next case that the worker can run; false when there is none.
    fn hand_out(
        &self,
        queue: &Queue,
        mut link: Option<&mut Link>,
        sent: &mut VecDeque<(usize, Compiled)>,
        sender: &Sender,
    ) -> bool {
        while let Some(index) = queue.next() {
            let item = &self.items[index];
            let scenario = &self.catalogue.scenarios[item.scenario];
            let compiled = match compile(scenario, &item.case) {
                Ok(mut compiled) => {
                    compiled.plan.patience = self.settings.patience;
                    compiled.share(&self.hello, self.turn.fetch_add(1, Ordering::Relaxed));
                    compiled
                }
                Err(problem) => {
                    let _ = self.failure.set(problem.to_string());
                    return false;
                }
            };
            match self.lacking(&compiled) {
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
                    sent.push_back((index, compiled));
                    return true;
                }
            }
        }
        false
    }

    fn lacking(&self, compiled: &Compiled) -> Option<Unsupported> {
        let implied = crate::names::Need::NetworkNamespace;
        compiled.needs.iter().copied().chain(self.isolated().then_some(implied)).find_map(|need| {
            let capability = self.hello.capabilities.get(&need);
            if capability.is_some_and(|capability| capability.available) {
                return None;
            }
            let reason = capability.and_then(|capability| capability.reason.clone());
            Some(Unsupported {
                need,
                reason: reason.unwrap_or_else(|| "this host does not offer it".to_owned().into()),
            })
        })
    }
}

/// What the workers of a place say of it, without running anything.
pub fn hello(place: &Place) -> Result<Hello, String> {
    let link = Link::open(place, Settings::WAIT, &AtomicBool::new(false));
    link.map(|link| link.hello.clone()).map_err(|lost| lost.to_string())
}
