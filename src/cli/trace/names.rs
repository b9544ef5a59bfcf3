//! What the system's resolver calls the addresses of a trace.
//!
//! It asks while the trace goes on, and nobody waits long for an answer: a name is a comfort.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::tracer::record::Trace;
use crate::untrusted::Text;

/// How long the end of a trace waits for the names that are still missing.
const LAST_WAIT: Duration = Duration::from_secs(2);

pub struct Names {
    wanted: bool,
    asked: BTreeSet<IpAddr>,
    answers: (Sender<Answer>, Receiver<Answer>),
    pending: usize,
    known: BTreeMap<IpAddr, Text>,
}

type Answer = (IpAddr, Option<String>);

impl Names {
    pub fn new(wanted: bool) -> Names {
        let (asked, known) = (BTreeSet::new(), BTreeMap::new());
        Names { wanted, asked, answers: channel(), pending: 0, known }
    }

    /// Asks for the addresses that are new.
    pub fn look_up(&mut self, trace: &Trace) {
        if !self.wanted {
            return;
        }
        for address in trace.addresses() {
            if self.asked.insert(address) {
                self.pending += 1;
                let answers = self.answers.0.clone();
                // A lookup may take as long as the resolver likes, and cannot be called off.
                std::thread::spawn(move || {
                    let name = dns_lookup::lookup_addr(&address).ok();
                    let _ = answers.send((address, name.filter(|name| *name != address.to_string())));
                });
            }
        }
        while let Ok(answer) = self.answers.1.try_recv() {
            self.take(answer);
        }
    }

    pub fn known(&self) -> &BTreeMap<IpAddr, Text> {
        &self.known
    }

    /// Waits a while for what is missing.
    pub fn finish(mut self) -> BTreeMap<IpAddr, Text> {
        let end = Instant::now() + LAST_WAIT;
        while self.pending > 0 {
            match self.answers.1.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(answer) => self.take(answer),
                Err(_) => break,
            }
        }
        self.known
    }

    fn take(&mut self, (address, name): Answer) {
        self.pending -= 1;
        if let Some(name) = name {
            self.known.insert(address, name.into());
        }
    }
}
