//! Sees the socket calls of a command and of all that it starts, by ptrace(2).
//!
//! A seccomp filter stops only the calls that matter, so the program keeps nearly its own speed. It changes no call,
//! and does not interpret any.

mod ask;
mod call;
mod filter;
mod look;
mod option;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;

pub use filter::be_watched;

use super::OS;
use crate::knowledge::calls::{MOST_CALLS, Record, Seen};
use crate::plan::Outcome;
use crate::sys::Result;
use crate::words::errno::{Errno, ErrnoName};
use crate::words::names::{Call, LocalPort, PortChoice, Protocol};
use ask::Sent;
use call::{About, Begun};
use look::Socket;
use option::option_name;

/// PTRACE_EVENT_STOP: a new thread, or a stop of the whole group (`include/uapi/linux/ptrace.h`).
const EVENT_STOP: i32 = 128;
/// Kernel-internal errnos (ERESTARTSYS to ERESTART_RESTARTBLOCK, `include/linux/errno.h`): the call is made again.
const RESTARTS: std::ops::RangeInclusive<i64> = 512..=516;

#[derive(Default)]
struct Thread {
    process: i32,
    begun: Option<Begun>,
    /// To look at its sockets.
    pidfd: Option<OwnedFd>,
}

/// A port from bind() or accept().
#[derive(Clone, Copy)]
struct Bound {
    port: u16,
    /// Whether the program has set it, and keeps it.
    kept: LocalPort,
}

impl Bound {
    /// A TCP connection attempt that has come to nothing gives a port back that bind(port 0) had picked
    /// (`tcp_set_state()`, net/ipv4/tcp.c: SOCK_BINDPORT_LOCK). getsockname() goes on telling it.
    fn is_given_back(self, record: &Record) -> bool {
        let is_over = match record.call {
            Call::Connect => {
                matches!(
                    record.outcome.errno(),
                    Some(
                        ErrnoName::EADDRNOTAVAIL
                            | ErrnoName::ECONNREFUSED
                            | ErrnoName::ECONNRESET
                            | ErrnoName::ETIMEDOUT
                    )
                )
            }
            Call::SoError => record.outcome != Outcome::Ok,
            _ => false,
        };
        is_over && self.kept == LocalPort::Open && record.protocol.map(Protocol::table) == Some(Protocol::Tcp)
    }
}

/// What has been seen so far.
pub struct Watch {
    threads: HashMap<i32, Thread>,
    processes: HashSet<i32>,
    /// Sockets that have a port from bind() or accept(), by their inodes.
    bound: HashMap<u64, Bound>,
    sent: Sent,
    pub seen: Seen,
    pub calls: Vec<Record>,
    start: Instant,
}

impl Watch {
    /// Begins with a child that waits for it, and is to call [`be_watched`] then.
    pub fn begin(child: i32) -> Result<Watch> {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEEXIT
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(Pid::from_raw(child), options).map_err(own)?;
        let mut watch = Watch {
            threads: HashMap::new(),
            processes: HashSet::new(),
            bound: HashMap::new(),
            sent: Sent::default(),
            seen: Seen::default(),
            calls: Vec::new(),
            start: Instant::now(),
        };
        watch.meet(child);
        Ok(watch)
    }

    /// Lets a thread that has stopped go on. `status` is its signal, and above it the event (ptrace(2)).
    pub(super) fn stopped(&mut self, thread: i32, status: i32) {
        self.meet(thread);
        let (signal, event) = (status & 0xff, status >> 8);
        match event {
            libc::PTRACE_EVENT_SECCOMP if self.begin_call(thread) => resume(libc::PTRACE_SYSCALL, thread, 0),
            0 if signal == libc::SIGTRAP | 0x80 => {
                self.end_call(thread);
                resume(libc::PTRACE_CONT, thread, 0);
            }
            // Also one that has no name, such as those of the C library.
            0 => resume(libc::PTRACE_CONT, thread, signal),
            // A stop of the whole group goes on until SIGCONT ends it.
            EVENT_STOP if signal != libc::SIGTRAP => resume(libc::PTRACE_LISTEN, thread, 0),
            libc::PTRACE_EVENT_EXEC => {
                // The thread that called execve(2) has become the first of its process.
                let former = ptrace::getevent(Pid::from_raw(thread)).map_or(thread, |former| former as i32);
                if former != thread {
                    self.threads.remove(&former);
                }
                if let Some(known) = self.threads.get_mut(&thread) {
                    (known.begun, known.pidfd) = (None, None);
                }
                resume(libc::PTRACE_CONT, thread, 0);
            }
            _ => resume(libc::PTRACE_CONT, thread, 0),
        }
    }

    pub(super) fn gone(&mut self, thread: i32) {
        self.threads.remove(&thread);
        self.processes.remove(&thread);
    }

    fn meet(&mut self, thread: i32) {
        if self.threads.contains_key(&thread) {
            return;
        }
        self.seen.threads += 1;
        let process = if look::is_thread_of(thread, thread) {
            self.seen.processes += 1;
            self.processes.insert(thread);
            thread
        } else {
            self.processes.iter().copied().find(|&process| look::is_thread_of(thread, process)).unwrap_or(thread)
        };
        self.threads.insert(thread, Thread { process, ..Thread::default() });
    }

    /// Whether the end of the call is to be seen as well.
    fn begin_call(&mut self, thread: i32) -> bool {
        let Ok(info) = ptrace::syscall_info(Pid::from_raw(thread)) else { return false };
        // SAFETY: in this stop the kernel has filled in `seccomp`.
        let (number, arguments) = unsafe { (info.u.seccomp.nr as i64, info.u.seccomp.args) };
        if filter::is_compat32(info.arch, number) {
            self.seen.compat32 = true;
            return false;
        }
        let Some(begun) = Begun::new(thread, number, arguments) else { return false };
        // Most other sockets are told by the address that is passed, which saves a look and a stop.
        let is_one = match begun.about {
            About::Socket { call: Call::Bind | Call::Connect | Call::Sendto, .. } if begun.address.is_some() => true,
            About::Socket { call: Call::Setsockopt | Call::Listen | Call::SoError, .. } => true,
            About::Socket { .. } => self.socket(thread, arguments[0] as i32).is_some(),
            About::NewSocket | About::Uring | About::OwnFilter => true,
        };
        if let Some(thread) = self.threads.get_mut(&thread).filter(|_| is_one) {
            thread.begun = Some(begun);
        }
        is_one
    }

    fn end_call(&mut self, thread: i32) {
        let Some(known) = self.threads.get_mut(&thread) else { return };
        let (process, Some(begun)) = (known.process, known.begun.take()) else { return };
        let Ok(info) = ptrace::syscall_info(Pid::from_raw(thread)) else { return };
        // SAFETY: in this stop the kernel has filled in `exit`.
        let (value, is_error) = unsafe { (info.u.exit.sval, info.u.exit.is_error != 0) };
        if is_error && RESTARTS.contains(&-value) {
            return;
        }
        let outcome = if is_error { Outcome::Errno(Errno::from_raw(OS, -value as i32)) } else { Outcome::Ok };
        let mut record = Record {
            micros: self.start.elapsed().as_micros() as u64,
            pid: process,
            thread,
            call: Call::Socket,
            by: None,
            descriptor: i32::try_from(value).ok().filter(|_| !is_error),
            protocol: None,
            family: None,
            reuse: None,
            port: PortChoice::None,
            address: begun.address,
            local: None,
            option: None,
            outcome,
            reason: None,
            earlier: None,
            causes: Vec::new(),
        };
        match begun.about {
            About::Uring => self.seen.io_uring |= !is_error,
            About::OwnFilter => self.seen.own_filter |= !is_error,
            About::NewSocket => {
                let [domain, kind, protocol, ..] = begun.arguments.map(|argument| argument as i32);
                (record.family, record.protocol) = look::kind(domain, kind, protocol);
                record.reason = ask::about_new_socket(&record, begun.arguments);
                self.keep(record);
            }
            About::Socket { call, by } => {
                (record.call, record.by) = (call, by);
                self.end_call_of_socket(record, &begun, value);
            }
        }
    }

    fn end_call_of_socket(&mut self, mut record: Record, begun: &Begun, value: i64) {
        // Nothing has come yet, or there is no room yet: it is asked again.
        let is_traffic = matches!(record.call, Call::Send | Call::Recv | Call::Accept | Call::ErrorQueue);
        if is_traffic && record.outcome.is(ErrnoName::EAGAIN) {
            return;
        }
        let addresses = match (record.call, &record.outcome) {
            (Call::Send, outcome) => begun.destinations(record.thread, value, *outcome == Outcome::Ok),
            (Call::ErrorQueue, Outcome::Ok) => {
                let Some((errno, destination)) = begun.queued_error(record.thread) else { return };
                (record.outcome, record.address) = (Outcome::Errno(errno), destination);
                Vec::new()
            }
            _ => Vec::new(),
        };
        // What is merely received or sent on is nobody's business.
        let is_known = record.outcome != Outcome::Ok || !matches!(record.call, Call::Send | Call::Recv);
        if addresses.is_empty() && !is_known {
            return;
        }
        if record.call != Call::Accept || record.outcome != Outcome::Ok {
            record.descriptor = i32::try_from(begun.arguments[0] as i64).ok().filter(|descriptor| *descriptor >= 0);
        }
        if !self.describe(&mut record, begun, &addresses) {
            return;
        }
        if addresses.is_empty() {
            return self.keep(record);
        }
        for address in addresses {
            self.keep(Record { call: Call::Sendto, address: Some(address), ..record.clone() });
        }
    }

    /// Whether it is a socket of IPv4 or IPv6. Of one that is gone already nothing but the call is known.
    fn describe(&mut self, record: &mut Record, begun: &Begun, addresses: &[SocketAddr]) -> bool {
        let Some(socket) = record.descriptor.and_then(|descriptor| self.socket(record.thread, descriptor)) else {
            return begun.address.is_some();
        };
        (record.family, record.protocol) = (Some(socket.family), socket.protocol());
        record.reuse = Some(socket.reuse());
        record.local = socket.local;
        match record.call {
            Call::Setsockopt => {
                let [_, level, name, place, length, _] = begun.arguments;
                let mut value = [0; 16];
                let size = look::memory(record.thread, place, &mut value[..(length as usize).min(16)]);
                record.option = Some(option_name(level as i32, name as i32, &value[..size]));
            }
            Call::SoError if record.outcome == Outcome::Ok => {
                let mut value = [0; 4];
                look::memory(record.thread, begun.arguments[3], &mut value);
                match i32::from_ne_bytes(value) {
                    0 => {}
                    raw => record.outcome = Outcome::Errno(Errno::from_raw(OS, raw)),
                }
            }
            Call::Send | Call::Recv | Call::Accept if record.address.is_none() => record.address = socket.peer(),
            _ => {}
        }
        let port = self.port(&socket, record, begun);
        // A message with an address of its own is sent to that.
        let call = if addresses.is_empty() { record.call } else { Call::Sendto };
        record.port = match begun.address {
            // connect(AF_UNSPEC) dissolves an association, and asks for no port.
            None if call == Call::Connect => PortChoice::None,
            _ => PortChoice::of(call, port),
        };
        let destinations = if addresses.is_empty() { record.address.as_slice() } else { addresses };
        match record.outcome {
            Outcome::Ok if record.protocol == Some(Protocol::Udp) && is_sending(record.call) => {
                self.sent.add(&socket, destinations);
            }
            Outcome::Errno(_) => {
                let told = ask::about(record, destinations.first().copied(), &socket, &self.sent);
                (record.reason, record.earlier) =
                    told.map_or((None, None), |(reason, earlier)| (Some(reason), earlier));
            }
            Outcome::Ok | Outcome::Blocked { .. } => {}
        }
        true
    }

    /// What the call found where the socket's port should be.
    fn port(&mut self, socket: &Socket, record: &Record, begun: &Begun) -> LocalPort {
        let passed = begun.address.map_or(LocalPort::Open, |address| address.port().into());
        let gives_port = matches!(record.call, Call::Bind | Call::Accept) && record.outcome == Outcome::Ok;
        let inode = if gives_port || !self.bound.is_empty() { socket.inode() } else { None };
        let known = inode.and_then(|inode| self.bound.get(&inode).copied());
        match (inode, socket.local) {
            (Some(inode), Some(local)) if gives_port => {
                let kept = if record.call == Call::Bind { passed } else { LocalPort::Set };
                self.bound.insert(inode, Bound { port: local.port(), kept });
            }
            (Some(inode), _) if known.is_some_and(|bound| bound.is_given_back(record)) => {
                self.bound.remove(&inode);
            }
            // A bind that leaves the port to connect() gives none.
            _ => {}
        }
        // What is read here is what the call has left: another port is one that the kernel has picked since.
        let is_found = known.is_some_and(|bound| socket.local.is_none_or(|local| local.port() == bound.port));
        match record.call {
            Call::Bind => passed,
            _ if is_found => LocalPort::Set,
            _ => LocalPort::Open,
        }
    }

    fn keep(&mut self, record: Record) {
        if self.calls.len() < MOST_CALLS { self.calls.push(record) } else { self.seen.left_out += 1 }
    }

    fn socket(&mut self, thread: i32, descriptor: i32) -> Option<Socket> {
        let known = self.threads.get(&thread)?;
        if known.pidfd.is_none() {
            let process = known.process;
            let pidfd = look::pidfd(thread, process).or_else(|_| {
                // There may be more threads than we may have descriptors.
                self.threads.values_mut().for_each(|thread| thread.pidfd = None);
                look::pidfd(thread, process)
            });
            self.threads.get_mut(&thread)?.pidfd = pidfd.ok();
        }
        Socket::of(self.threads.get(&thread)?.pidfd.as_ref()?, descriptor)
    }
}

fn is_sending(call: Call) -> bool {
    matches!(call, Call::Send | Call::Sendto)
}

/// A thread may be killed at any time: that this fails then does not matter.
fn resume(request: libc::c_uint, thread: i32, signal: i32) {
    let (none, signal) = (std::ptr::null_mut::<libc::c_void>(), signal as usize as *mut libc::c_void);
    // SAFETY: these requests take no pointers; the last argument is a number.
    unsafe { libc::ptrace(request, thread, none, signal) };
}

/// Nothing is in the way of tracing that is known beforehand.
pub fn cannot_trace() -> Option<String> {
    None
}

fn own(errno: nix::Error) -> Errno {
    Errno::from_raw(OS, errno as i32)
}
