//! Runs cases on workers, several at a time, and collects their findings in the order of the catalogue.
//!
//! A worker that dies or falls silent costs the one case it was at: that case is `broken`, a new worker takes the
//! rest. The runner judges nothing itself.

mod link;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};

use crate::catalogue::Catalogue;
use crate::finding::{Finding, Missing};
use crate::judge;
use crate::plan::{Hello, Unsupported};
use crate::scenario::{Case, Compiled, compile};
use link::{Link, Lost};

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
    pub jobs: NonZeroUsize,
    /// How often each case runs.
    pub repeat: u32,
    /// The program that is a worker when called with `worker`.
    pub program: PathBuf,
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

/// Plans that are under way to one worker, so that it never waits for us.
const IN_FLIGHT: usize = 3;

/// Runs `items`. `progress` sees the findings of each case as it ends, in no order.
pub fn run(
    catalogue: &Catalogue,
    items: &[Item],
    settings: &Settings,
    interrupted: &AtomicBool,
    mut progress: impl FnMut(&[Finding]),
) -> Result<Ran, String> {
    let first = Link::open(&settings.program).map_err(|lost| lost.to_string())?;
    let run = Run { catalogue, items, settings, interrupted, hello: first.hello.clone(), failure: OnceLock::new() };
    // Without namespaces all cases share the host's ports: one at a time, then, and nothing beside a slow one.
    let isolated = run.hello.isolation == "netns";
    let jobs = if isolated { settings.jobs.get() } else { 1 };
    let (slow, fast): (Vec<usize>, Vec<usize>) = (0..items.len()).partition(|&index| isolated && items[index].slow);
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
    /// Why no worker can be had any more.
    failure: OnceLock<String>,
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
    /// One worker's thread: hands it plans until there are none, and replaces it when it is lost.
    fn serve(&self, queue: &Queue, mut link: Option<Link>, sender: &Sender) {
        let mut sent: VecDeque<(usize, Compiled)> = VecDeque::new();
        loop {
            if self.interrupted.load(Ordering::Relaxed) || self.failure.get().is_some() {
                return;
            }
            let connected = match &mut link {
                Some(connected) => connected,
                None => match Link::open(&self.settings.program) {
                    Ok(opened) => {
                        let opened = link.insert(opened);
                        // What the lost worker had been sent and had not begun.
                        for (_, compiled) in &sent {
                            let _ = opened.send(&compiled.plan);
                        }
                        opened
                    }
                    Err(lost) => {
                        let _ = self.failure.set(lost.to_string());
                        return;
                    }
                },
            };
            while sent.len() < IN_FLIGHT && self.hand_out(queue, connected, &mut sent, sender) {}
            let Some((index, compiled)) = sent.front() else { return };
            let (item, index) = (&self.items[*index], *index);
            let scenario = &self.catalogue.scenarios[item.scenario];
            let findings = match connected.receive(&compiled.plan, self.interrupted) {
                Ok(seen) => judge::judge(scenario, &item.case, compiled, &self.hello, &seen),
                Err(Lost::Interrupted) => return,
                Err(lost) => {
                    link = None;
                    judge::without_run(scenario, &item.case, compiled, &self.hello, &Missing::Broken(lost.to_string()))
                }
            };
            sent.pop_front();
            if sender.send((index, findings)).is_err() {
                return;
            }
        }
    }

    /// Sends the next case that the worker can run; false when there is none.
    fn hand_out(
        &self,
        queue: &Queue,
        link: &mut Link,
        sent: &mut VecDeque<(usize, Compiled)>,
        sender: &Sender,
    ) -> bool {
        while let Some(index) = queue.next() {
            let item = &self.items[index];
            let scenario = &self.catalogue.scenarios[item.scenario];
            let compiled = match compile(scenario, &item.case) {
                Ok(compiled) => compiled,
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
                    let _ = link.send(&compiled.plan);
                    sent.push_back((index, compiled));
                    return true;
                }
            }
        }
        false
    }

    fn lacking(&self, compiled: &Compiled) -> Option<Unsupported> {
        let implied = crate::names::Need::NetworkNamespace;
        compiled.needs.iter().copied().chain((self.hello.isolation == "netns").then_some(implied)).find_map(|need| {
            let capability = self.hello.capabilities.get(&need);
            if capability.is_some_and(|capability| capability.available) {
                return None;
            }
            let reason = capability.and_then(|capability| capability.reason.clone());
            Some(Unsupported { need, reason: reason.unwrap_or_else(|| "this host does not offer it".to_owned()) })
        })
    }
}

/// What the workers of this host say of it, without running anything.
pub fn hello(program: &std::path::Path) -> Result<Hello, String> {
    Link::open(program).map(|link| link.hello.clone()).map_err(|lost| lost.to_string())
}
