//! SIGINT and SIGTERM: the first ends the command in good order, another one ends everything.
//!
//! What good order is, the command knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::Failure;

pub struct Signals {
    pub interrupted: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

/// Signals that come together are one wish: timeout(1) sends its signal to the program and to the whole group.
const TOGETHER: Duration = Duration::from_millis(500);

impl Signals {
    /// `wake` is called with the first of them, on another thread.
    pub fn watch(wake: impl FnOnce() + Send + 'static) -> Result<Signals, Failure> {
        let signals = Signals { interrupted: Arc::default(), signal: Arc::default() };
        let mut received = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Failure::because("cannot watch for signals", error))?;
        let (interrupted, number) = (signals.interrupted.clone(), signals.signal.clone());
        std::thread::spawn(move || {
            let mut first: Option<Instant> = None;
            let mut wake = Some(wake);
            for signal in received.forever() {
                match first {
                    None => {
                        first = Some(Instant::now());
                        number.store(signal as usize, Ordering::Relaxed);
                        interrupted.store(true, Ordering::Relaxed);
                        wake.take().into_iter().for_each(|wake| wake());
                    }
                    Some(first) if first.elapsed() > TOGETHER => std::process::exit(128 + signal),
                    Some(_) => {}
                }
            }
        });
        Ok(signals)
    }

    /// The first of them.
    pub fn received(&self) -> Option<u8> {
        u8::try_from(self.signal.load(Ordering::Relaxed)).ok().filter(|&signal| signal != 0)
    }
}
