//! A line that takes its time: packets from one TUN device to the other, each after the same delay, both ways.
//!
//! It loses a packet only where a full queue keeps it from reading, and never changes their order. It looks at none.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;

use super::chain::Line;
use crate::sys::{Mode, exit_now, read, set_nonblocking, write};

/// How many packets may be under way in one direction; what comes then waits in the device, which drops what is too
/// much for it.
const MOST_PACKETS: usize = 16 * 1024;
/// How many packets are read from one end before those that are due get their turn.
const BATCH: usize = 64;

/// Carries packets for ever: a packet and its answer take `rtt` together.
pub fn carry((near, far): Line, rtt: Duration) -> ! {
    let _ = carry_all([near.into_fd(), far.into_fd()], rtt / 2);
    exit_now(1)
}

fn carry_all(ends: [OwnedFd; 2], delay: Duration) -> nix::Result<()> {
    // Or the kernel may let us sleep 50 microseconds longer, to wake up less often.
    set_timerslack(1)?;
    for end in &ends {
        set_nonblocking(end, Mode::Nonblocking).map_err(|errno| nix::Error::from_raw(errno.raw()))?;
    }
    // By the end that they came in at.
    let mut under_way: [VecDeque<(Instant, Vec<u8>)>; 2] = Default::default();
    let mut packet = vec![0; 64 * 1024];
    loop {
        for (queue, to) in under_way.iter_mut().zip(ends.iter().rev()) {
            while queue.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                // An end that is down swallows it, as it would anywhere.
                let _ = queue.pop_front().map(|(_, packet)| write(to, &packet));
            }
        }
        let wanted = |queue: &VecDeque<_>| {
            if queue.len() < MOST_PACKETS { PollFlags::POLLIN } else { PollFlags::empty() }
        };
        let due = under_way.iter().filter_map(|queue| queue.front()).map(|(due, _)| *due).min();
        let wait = due.map(|due| TimeSpec::from_duration(due.saturating_duration_since(Instant::now())));
        let mut polled = [0, 1].map(|end| PollFd::new(ends[end].as_fd(), wanted(&under_way[end])));
        match ppoll(&mut polled, wait, None) {
            // It was stopped and continued.
            Err(nix::Error::EINTR) => continue,
            count => count?,
        };
        let readable = polled.map(|end| end.any() == Some(true));
        for end in (0..2).filter(|&end| readable[end]) {
            for _ in 0..BATCH {
                let Ok(size @ 1..) = read(&ends[end], &mut packet) else { break };
                under_way[end].push_back((Instant::now() + delay, packet[..size].to_vec()));
            }
        }
    }
}
