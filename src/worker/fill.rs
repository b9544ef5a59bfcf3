//! Takes every port of a range.
//!
//! The sockets may be more than one process may have open. Then other processes hold their share, and die with the
//! case. It does not say that a range is exhausted: a census of the socket table does.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::case::{DetailedFault, Domain, Listed, RunningCase};
use crate::plan::{Cost, Detail, Fill, FillHow, MOST_COSTS, SocketOption, Unsupported};
use crate::sys::{self, Address, Fault, Fork, Isolation};
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, Need, Reuse};

/// Descriptors that a case keeps for itself.
const SPARE: u64 = 64;
/// More processes than this would be a burden for the host.
const MOST_PROCESSES: u64 = 512;
/// From this many sockets on, several processes bind at once.
const WORTH_SHARING: u64 = 8192;
/// A connect that takes longer, times the patience of the case, has no room in its listener's queue.
const STUCK_MS: u32 = 1000;
/// How long a listener may take to make room, where it is somebody's server ([`RunningCase::with_servers`]).
const PATIENCE_MS: u32 = 10_000;
/// The least time that one of several attempts is given.
const ATTEMPT_MS: u32 = 50;
/// From this many ports on, costs show how the range fills, and not only what the first calls take.
const WORTH_TIMING: u64 = 256;

pub fn fill(case: &mut RunningCase, fill: &Fill) -> Result<Option<Detail>, DetailedFault> {
    let start = Instant::now();
    let mut done = Done { ports: 0, processes: 1, costs: Vec::new() };
    let result = run(case, fill, &mut done);
    case.note_time(start.elapsed());
    let detail = Some(Detail::Fill { ports: done.ports, processes: done.processes, costs: done.costs });
    match result {
        Ok(()) => Ok(detail),
        Err(fault) => Err(DetailedFault(fault, detail)),
    }
}

/// How long a connect() may take.
#[derive(Clone, Copy)]
struct Waits {
    /// One attempt.
    stuck_ms: u32,
    /// All attempts together.
    all_ms: u32,
}

impl Waits {
    fn of(case: &RunningCase) -> Waits {
        let stuck_ms = case.patient(STUCK_MS);
        Waits { stuck_ms, all_ms: if case.waits_for_servers { case.patient(PATIENCE_MS) } else { stuck_ms } }
    }
}

struct Done {
    ports: u32,
    processes: u32,
    /// Empty where several processes share the range: theirs would stand in each other's way.
    costs: Vec<Cost>,
}

fn run(case: &mut RunningCase, fill: &Fill, done: &mut Done) -> Result<(), Fault> {
    let count = u64::from(fill.range.size()).saturating_sub(fill.leave.into());
    match fill.how {
        FillHow::TimeWait => return leave_in_time_wait(case, fill, count, &mut done.ports),
        FillHow::Connect if fill.to.is_none() => return Err(Fault::Failed("`connect` needs `to`".to_owned())),
        FillHow::Bind | FillHow::BindZero | FillHow::Connect => {}
    }
    let waits = Waits::of(case);
    let limit = sys::descriptor_limit().0;
    let room = limit.saturating_sub(sys::lowest_free_descriptor()? + SPARE);
    // Of other processes' sockets only the socket table tells.
    let side_by_side = fill.how == FillHow::Bind && count >= WORTH_SHARING && case.listed == Listed::All;
    // The others begin without a descriptor.
    let processes = count.div_ceil(limit.saturating_sub(SPARE).max(1)).max(if side_by_side { 2 } else { 1 });
    if count <= room && !side_by_side {
        case.filled.reserve(count as usize);
        let mut taken = Taken::new(count, &mut done.ports, &mut done.costs);
        return hold(fill, case.isolation, waits, 0..count, &mut case.filled, &mut taken);
    }
    // Each is known here by a descriptor.
    if processes > MOST_PROCESSES.min(limit.saturating_sub(sys::lowest_free_descriptor()? + 2)) {
        return Err(lacking(format!(
            "holding {count} ports takes {processes} processes where each may have {limit} files open; raise the limit: ulimit \
             -n 4096"
        )));
    }
    done.processes = processes as u32;
    let share = count.div_ceil(processes);
    let mut reports = Vec::new();
    for from in (0..count).step_by(share as usize) {
        let report = holder(fill, case.isolation, waits, from..(from + share).min(count))?;
        if side_by_side {
            reports.push(report);
        } else {
            done.ports += listen_to(&report, waits)?;
            case.filled.push(report);
        }
    }
    for report in reports {
        done.ports += listen_to(&report, waits)?;
        case.filled.push(report);
    }
    Ok(())
}

/// Starts a process that takes a share, reports on the pipe that is returned, and then lives as long as the case.
fn holder(fill: &Fill, isolation: &Isolation, waits: Waits, share: std::ops::Range<u64>) -> Result<OwnedFd, Fault> {
    let (report, ours) = sys::pipe()?;
    let forked = sys::fork().map_err(|errno| {
        lacking(format!("a process that is to hold ports cannot be started: {errno}; raise the limit: ulimit -u"))
    })?;
    match forked {
        Fork::Parent(_) => Ok(report),
        Fork::Child => {
            sys::die_with_parent();
            let Ok(ours) = sys::keep_only(ours) else { sys::exit_now(1) };
            let (mut held, mut ports) = (Vec::with_capacity((share.end - share.start) as usize), 0);
            let mut no_costs = Vec::new();
            let mut taken = Taken::new(0, &mut ports, &mut no_costs);
            let error = match hold(fill, isolation, waits, share, &mut held, &mut taken) {
                Ok(()) => 0,
                Err(Fault::Errno(errno)) => errno.raw(),
                Err(_) => -1,
            };
            let mut message = [0; 8];
            message[..4].copy_from_slice(&ports.to_ne_bytes());
            message[4..].copy_from_slice(&error.to_ne_bytes());
            let _ = sys::write(&ours, &message);
            sys::pause_for_ever()
        }
    }
}

fn lacking(reason: String) -> Fault {
    Fault::Unsupported(Unsupported { need: Need::Resources, reason: reason.into() })
}

fn listen_to(report: &OwnedFd, waits: Waits) -> Result<u32, Fault> {
    let mut message = [0; 8];
    if sys::read(report, &mut message)? != message.len() {
        return Err(Fault::Failed("a process that held ports died".to_owned()));
    }
    let [ports, error] =
        [0, 4].map(|at| i32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]));
    match error {
        0 => Ok(ports as u32),
        -1 => Err(Fault::Blocked { ms: waits.all_ms }),
        raw => Err(Fault::Errno(crate::words::errno::Errno::from_raw(sys::OS, raw))),
    }
}

/// Counts the ports taken, and what they cost.
struct Taken<'d> {
    ports: &'d mut u32,
    costs: &'d mut Vec<Cost>,
    /// Ports that share one cost; none is recorded where it is 0.
    step: u32,
    /// What the last of them took.
    spent: Vec<Duration>,
}

impl<'d> Taken<'d> {
    fn new(count: u64, ports: &'d mut u32, costs: &'d mut Vec<Cost>) -> Taken<'d> {
        let step = if count >= WORTH_TIMING { count.div_ceil(MOST_COSTS as u64) as u32 } else { 0 };
        Taken { ports, costs, step, spent: Vec::with_capacity(step as usize) }
    }

    fn one_more(&mut self, spent: Duration) {
        *self.ports += 1;
        if self.step == 0 {
            return;
        }
        self.spent.push(spent);
        if self.spent.len() == self.step as usize {
            self.spent.sort_unstable();
            let nanos = self.spent[self.spent.len() / 2].as_nanos().try_into().unwrap_or(u32::MAX);
            self.costs.push(Cost { ports: *self.ports, nanos });
            self.spent.clear();
        }
    }
}

/// Takes the ports of a share, in this process.
fn hold(
    fill: &Fill,
    isolation: &Isolation,
    waits: Waits,
    share: std::ops::Range<u64>,
    held: &mut Vec<OwnedFd>,
    taken: &mut Taken<'_>,
) -> Result<(), Fault> {
    let family = Family::of(fill.address);
    let mut attempt_ms = None;
    let mut take = |target: Option<&Address>, port: u16| -> Result<(), sys::Fault> {
        let name = Address::new(SocketAddr::new(fill.address, port));
        let begin = Instant::now();
        let fd = loop {
            let fd = open(family, fill)?;
            let start = Instant::now();
            match target {
                Some(target) => match connect(&fd, target, attempt_ms.unwrap_or(waits.stuck_ms)) {
                    // A full queue drops the SYN, which is sent again after a second: a new socket's comes sooner.
                    Err(Fault::Blocked { .. }) if begin.elapsed().as_millis() < waits.all_ms.into() => continue,
                    Err(Fault::Blocked { .. }) => return Err(Fault::Blocked { ms: waits.all_ms }),
                    result => result?,
                },
                None => match sys::bind(&fd, &name) {
                    // Somebody else has it, which fills the range as well; whether it is full the socket table says.
                    Err(errno) if isolation.is_shared() && port != 0 && errno.is(ErrnoName::EADDRINUSE) => {
                        return Ok(());
                    }
                    result => result?,
                },
            }
            let took = start.elapsed();
            // On the way to this server no other takes much longer.
            let usual = took.as_millis().saturating_mul(4).clamp(ATTEMPT_MS.into(), waits.stuck_ms.into());
            attempt_ms = attempt_ms.or(Some(usual as u32)).filter(|_| waits.all_ms > waits.stuck_ms);
            taken.one_more(took);
            break fd;
        };
        held.push(fd);
        Ok(())
    };
    match fill.how {
        FillHow::Bind => share.map(|index| fill.range.low() + index as u16).try_for_each(|port| take(None, port)),
        FillHow::BindZero => share.map(|_| 0).try_for_each(|port| take(None, port)),
        FillHow::Connect | FillHow::TimeWait => {
            let to = fill.to.map(Address::new);
            share.map(|_| 0).try_for_each(|port| take(to.as_ref(), port))
        }
    }
}

fn open(family: Family, fill: &Fill) -> Result<OwnedFd, Fault> {
    let fd = sys::socket(family, fill.protocol)?;
    if fill.by_option {
        sys::set_option(&fd, family, &SocketOption::LocalPortRange(fill.range))?;
    }
    if fill.reuse != Reuse::None {
        for (wanted, option) in
            [(fill.reuse.address(), SocketOption::ReuseAddr(true)), (fill.reuse.port(), SocketOption::ReusePort(true))]
        {
            if wanted {
                sys::set_option(&fd, family, &option)?;
            }
        }
    }
    Ok(fd)
}

/// Leaves one connection in TIME_WAIT per port: the client closes first.
fn leave_in_time_wait(case: &RunningCase, fill: &Fill, count: u64, ports: &mut u32) -> Result<(), Fault> {
    let to = fill.to.ok_or_else(|| Fault::Failed("`time-wait` needs `to`".to_owned()))?;
    let listener = case.sockets.values().filter(|known| {
        matches!(known.domain, Domain::Ip(_, protocol) if protocol == fill.protocol) && known.remote.is_none()
    });
    let listener = listener.filter(|known| {
        known
            .local
            .is_some_and(|local| local.port() == to.port() && (local.ip() == to.ip() || local.ip().is_unspecified()))
    });
    let listener = listener.filter_map(|known| known.fd.as_ref()).next();
    let listener = listener.ok_or_else(|| Fault::Failed(format!("no socket of this case listens on {to}")))?;
    let (family, stuck_ms) = (Family::of(fill.address), Waits::of(case).stuck_ms);
    let target = Address::new(to);
    for port in (0..count).map(|index| fill.range.low() + index as u16) {
        let client = open(family, fill)?;
        sys::bind(&client, &Address::new(SocketAddr::new(fill.address, port)))?;
        connect(&client, &target, stuck_ms)?;
        if !sys::poll(listener, sys::Until::Readable, stuck_ms)? {
            return Err(Fault::Blocked { ms: stuck_ms });
        }
        let server = sys::accept(listener)?;
        sys::close(client)?;
        sys::close(server)?;
        *ports += 1;
    }
    Ok(())
}

/// A blocking connect: on loopback it is done when it returns, unless the listener's queue is full.
fn connect(fd: &OwnedFd, to: &Address, stuck_ms: u32) -> Result<(), Fault> {
    sys::limit_connect(fd, stuck_ms)?;
    match sys::connect(fd, to) {
        Err(errno) if errno.is(ErrnoName::EINPROGRESS) => Err(Fault::Blocked { ms: stuck_ms }),
        result => Ok(result?),
    }
}
