//! A line with a delay: packets go from one TUN device to the other, each after the same time, both ways.
//!
//! It loses a packet only if its queue is full, and never changes their order. It does not look into packets.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_timerslack;

use super::chain::Line;
use crate::sys::{Mode, Result, Until, exit_now, poll_all, read, set_nonblocking, write};
use crate::words::errno::ErrnoName;

/// How many packets may be under way in one direction; what comes then waits in the device, which drops what is too
/// much for it.
const MOST_PACKETS: usize = 16 * 1024;
/// How many packets are read from one end before those that are due get their turn.
const BATCH: usize = 64;
/// A processor that has slept for long takes its time to wake up (0.2 ms where this was measured, 0.04 ms after a nap),
/// so that a long sleep ends early and the rest is a nap.
const NAP: Duration = Duration::from_millis(1);

/// Carries packets for ever: a packet and its answer take `rtt` together.
pub fn carry((near, far): Line, rtt: Duration) -> ! {
    let _ = carry_all([near.into_fd(), far.into_fd()], rtt / 2);
    exit_now(1)
}

fn carry_all(ends: [OwnedFd; 2], delay: Duration) -> Result<()> {
    // Or the kernel may let us sleep 50 microseconds longer, to wake up less often.
    let _ = set_timerslack(1);
    // A processor that is busy with others is the other way to be late. Not everybody may ask for this.
    // SAFETY: setpriority(2) takes no pointers.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    for end in &ends {
        set_nonblocking(end, Mode::Nonblocking)?;
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
            if queue.len() < MOST_PACKETS { Until::Readable } else { Until::Error }
        };
        let due = under_way.iter().filter_map(|queue| queue.front()).map(|(due, _)| *due).min();
        let wait = due.map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            if left > NAP { left - NAP / 2 } else { left }
        });
        let ready = match poll_all(&[0, 1].map(|end| (ends[end].as_fd(), wanted(&under_way[end]))), wait) {
            // It was stopped and continued.
            Err(errno) if errno.is(ErrnoName::EINTR) => continue,
            ready => ready?,
        };
        for end in (0..2).filter(|&end| ready[end].came || ready[end].ended) {
            for _ in 0..BATCH {
                let Ok(size @ 1..) = read(&ends[end], &mut packet) else { break };
                under_way[end].push_back((Instant::now() + delay, packet[..size].to_vec()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn packets_come_late_and_in_order() {
        const DELAY: Duration = Duration::from_millis(5);
        let pair = || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::empty()).unwrap();
        let ((near, line_near), (far, line_far)) = (pair(), pair());
        std::thread::spawn(move || carry_all([line_near, line_far], DELAY));
        for (from, to) in [(&near, &far), (&far, &near)] {
            let mut sent = Vec::new();
            for number in 0..100 {
                sent.push(Instant::now());
                write(from, &[number, 1, 2, 3]).unwrap();
            }
            for (number, sent) in (0..).zip(sent) {
                let mut packet = [0; 8];
                assert_eq!(read(to, &mut packet).unwrap(), 4);
                assert!(sent.elapsed() >= DELAY);
                assert_eq!(packet[..4], [number, 1, 2, 3]);
            }
        }
    }
}
