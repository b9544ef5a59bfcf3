//! Asks the system's resolver for the names of the addresses of a trace.
//!
//! It asks while the trace goes on. Nobody waits long for an answer: a trace is complete without names.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::tracer::record::Trace;
use crate::words::untrusted::Text;

/// How long the end of a trace waits for the names that are still missing.
const LAST_WAIT: Duration = Duration::from_secs(2);

pub struct Names {
    wanted: bool,
    /// Starts a look-up that may take as long as the resolver likes, and cannot be called off.
    start: fn(IpAddr, Sender<Answer>) -> io::Result<()>,
    /// Why no more look-ups are started.
    refused: Option<io::Error>,
    /// Everything before this probe has been looked at.
    next: usize,
    asked: BTreeSet<IpAddr>,
    answers: (Sender<Answer>, Receiver<Answer>),
    pending: usize,
    known: BTreeMap<IpAddr, Text>,
}

type Answer = (IpAddr, Option<String>);

impl Names {
    pub fn new(wanted: bool) -> Names {
        Names::by(look_up, wanted)
    }

    fn by(start: fn(IpAddr, Sender<Answer>) -> io::Result<()>, wanted: bool) -> Names {
        let (asked, known) = (BTreeSet::new(), BTreeMap::new());
        Names { wanted, start, refused: None, next: 0, asked, answers: channel(), pending: 0, known }
    }

    /// Asks for the addresses that are new. Always of the same trace.
    pub fn look_up(&mut self, trace: &Trace) {
        if !self.wanted {
            return;
        }
        let new = trace.probes[self.next..].iter().filter_map(|record| record.answer.as_ref()?.from);
        for address in new {
            if self.refused.is_none() && self.asked.insert(address) {
                match (self.start)(address, self.answers.0.clone()) {
                    Ok(()) => self.pending += 1,
                    Err(error) => self.refused = Some(error),
                }
            }
        }
        self.next = trace.settled(self.next);
        while let Ok(answer) = self.answers.1.try_recv() {
            self.take(answer);
        }
    }

    pub fn known(&self) -> &BTreeMap<IpAddr, Text> {
        &self.known
    }

    /// Waits a while for what is missing. Beside the names, why some are left out.
    pub fn finish(mut self) -> (BTreeMap<IpAddr, Text>, Option<String>) {
        let end = Instant::now() + LAST_WAIT;
        while self.pending > 0 {
            match self.answers.1.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(answer) => self.take(answer),
                Err(_) => break,
            }
        }
        let lacking = self.refused.map(|error| {
            format!("some addresses have no names: cannot start a thread to look them up: {error}; -n leaves names out")
        });
        (self.known, lacking)
    }

    fn take(&mut self, (address, name): Answer) {
        self.pending -= 1;
        if let Some(name) = name {
            self.known.insert(address, name.into());
        }
    }
}

fn look_up(address: IpAddr, answers: Sender<Answer>) -> io::Result<()> {
    let look_up = move || {
        let name = dns_lookup::lookup_addr(&address).ok();
        let _ = answers.send((address, name.filter(|name| *name != address.to_string())));
    };
    thread::Builder::new().name("names".to_owned()).spawn(look_up).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracer::record::{Choices, Fate, ProbeRecord, Reply};
    use crate::tracer::{Meaning, PortModeName};
    use crate::words::names::{Os, Reuse};

    fn trace(answers: &[(Fate, u8)]) -> Trace {
        let settings = Choices {
            os: Os::Linux,
            target: "192.0.2.9:80".parse().unwrap(),
            source: None,
            first_ttl: 1,
            max_ttl: 30,
            queries: 1,
            rounds: 1,
            wait_ms: 1000,
            interval_ms: 1000,
            in_flight: 32,
            port_mode: PortModeName::Sequence,
            fixed_port: None,
            first_sequence: 1,
            last_sequence: 9,
            reuse: Reuse::Port,
            policy: "evidence".to_owned(),
        };
        let record = |&(fate, last): &(Fate, u8)| {
            let reply =
                Reply { meaning: Meaning::Router, from: Some([192, 0, 2, last].into()), icmp: None, rtt_ms: 1.0 };
            let answer = (fate == Fate::Answered).then_some(reply);
            ProbeRecord { round: 1, ttl: last, sequence: 1, source: None, at_ms: 0.0, fate, failure: None, answer }
        };
        Trace { settings, probes: answers.iter().map(record).collect(), rounds: 1, ended: None }
    }

    fn name(address: IpAddr, answers: Sender<Answer>) -> io::Result<()> {
        answers.send((address, Some(format!("router-{address}")))).map_err(io::Error::other)
    }

    #[test]
    fn each_address_is_asked_for_once_also_behind_one_that_is_waited_for() {
        let mut names = Names::by(name, true);
        names.look_up(&trace(&[(Fate::Answered, 1), (Fate::UnderWay, 2), (Fate::Answered, 3)]));
        assert_eq!(names.next, 1);
        names.look_up(&trace(&[(Fate::Answered, 1), (Fate::Answered, 2), (Fate::Answered, 3)]));
        assert_eq!((names.next, names.asked.len(), names.pending), (3, 3, 0));
        assert_eq!(names.known()[&IpAddr::from([192, 0, 2, 2])], "router-192.0.2.2");
        assert_eq!(names.finish().1, None);
    }

    #[test]
    fn without_a_thread_the_numbers_stay_and_it_is_told() {
        let mut names = Names::by(|_, _| Err(io::Error::from_raw_os_error(libc::EAGAIN)), true);
        names.look_up(&trace(&[(Fate::Answered, 1), (Fate::Answered, 2)]));
        assert_eq!(names.asked.len(), 1, "the second would fail as well");
        let (known, lacking) = names.finish();
        assert!(known.is_empty() && lacking.is_some_and(|why| why.contains("cannot start a thread")));
    }
}
