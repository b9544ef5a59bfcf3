//! Sees the socket calls of a command and of all that it starts, by ptrace(2).
//!
//! A seccomp filter stops the calls that matter and no other, which is what keeps a program near its own pace. It changes
//! no call, and says nothing about what one means.

use std::collections::{HashMap, HashSet};
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::OS;
use super::options::option_name;
use crate::calls::{MOST_CALLS, Record, Seen};
use crate::errno::Errno;
use crate::names::{Call, Family, PortChoice, Protocol, Reuse};
use crate::plan::Outcome;
use crate::sys::{Result, check, local_name};

/// PTRACE_EVENT_STOP: a new thread, or a stop of the whole group (`include/uapi/linux/ptrace.h`).
const EVENT_STOP: i32 = 128;
/// Kernel-internal errnos (ERESTARTSYS to ERESTART_RESTARTBLOCK, `include/linux/errno.h`): the call is made again.
const RESTARTS: std::ops::RangeInclusive<i64> = 512..=516;
/// The longest address of a family that is looked at, `struct sockaddr_in6`.
const LONGEST_ADDRESS: usize = 28;
const SO_ERROR_ARGUMENTS: (u64, u64) = (libc::SOL_SOCKET as u64, libc::SO_ERROR as u64);

/// Stops this process's socket calls, and those of all that it starts, for a tracer that is there already.
///
/// The filter is our own: those that crates make end a program of the other word size, which here goes unseen instead.
pub fn be_watched() -> Result<()> {
    let filter = filter();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let install = |flag: i32| {
        // SAFETY: the program points to as many instructions as it says, and the kernel copies them.
        check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, flag, &raw const program) })
    };
    if install(libc::SECCOMP_MODE_FILTER as i32).is_err() {
        // Who may not install one for set-uid programs may have one without them.
        // SAFETY: no pointers here.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        install(libc::SECCOMP_MODE_FILTER as i32)?;
    }
    Ok(())
}

fn filter() -> Vec<libc::sock_filter> {
    #[cfg(target_arch = "x86_64")]
    const NATIVE: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const NATIVE: u32 = 0xc000_00b7;
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // The lower half of an argument, and the upper one, as little-endian machines have them (`struct seccomp_data`).
    let low = |argument: u32| 16 + 8 * argument;
    let high = |argument: u32| low(argument) + 4;
    let op = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let jump = |k, jt, jf| libc::sock_filter { code: EQUAL, jt, jf, k };
    let (allow, stop) = (op(RETURN, libc::SECCOMP_RET_ALLOW), op(RETURN, libc::SECCOMP_RET_TRACE));
    let mut program = vec![op(LOAD, ARCH), jump(NATIVE, 1, 0), allow, op(LOAD, NUMBER)];
    let mut on = |number: i64, block: &[libc::sock_filter]| {
        program.push(jump(number as u32, 0, block.len() as u8));
        program.extend_from_slice(block);
    };
    for number in [libc::SYS_bind, libc::SYS_connect, libc::SYS_listen, libc::SYS_setsockopt, libc::SYS_io_uring_setup]
    {
        on(number, &[stop]);
    }
    let (ipv4, ipv6) = (libc::AF_INET as u32, libc::AF_INET6 as u32);
    on(libc::SYS_socket, &[op(LOAD, low(0)), jump(ipv4, 1, 0), jump(ipv6, 0, 1), stop, allow]);
    // With an address: send(2) is sendto(2) without one.
    on(libc::SYS_sendto, &[op(LOAD, low(4)), jump(0, 0, 2), op(LOAD, high(4)), jump(0, 1, 0), stop, allow]);
    let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_ERROR as u32);
    on(libc::SYS_getsockopt, &[op(LOAD, low(1)), jump(level, 0, 3), op(LOAD, low(2)), jump(name, 0, 1), stop, allow]);
    program.push(allow);
    program
}

/// A call that has begun.
#[derive(Clone, Debug)]
struct Begun {
    call: Call,
    arguments: [u64; 6],
    address: Option<SocketAddr>,
}

#[derive(Default)]
struct Thread {
    process: i32,
    begun: Option<Begun>,
}

/// What has been seen so far.
pub struct Watch {
    threads: HashMap<i32, Thread>,
    /// A pidfd for each process, to look at its sockets.
    processes: HashMap<i32, OwnedFd>,
    /// Inodes of the sockets that were bound to a port by number.
    explicit: HashSet<u64>,
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
            processes: HashMap::new(),
            explicit: HashSet::new(),
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
        let (pid, signal, event) = (Pid::from_raw(thread), status & 0xff, status >> 8);
        // A thread may be killed at any time: what fails then does not matter.
        let _ = match event {
            libc::PTRACE_EVENT_SECCOMP if self.begin_call(thread) => ptrace::syscall(pid, None),
            0 if signal == libc::SIGTRAP | 0x80 => {
                self.end_call(thread);
                ptrace::cont(pid, None)
            }
            0 => ptrace::cont(pid, Signal::try_from(signal).ok()),
            EVENT_STOP if signal != libc::SIGTRAP => listen(pid),
            libc::PTRACE_EVENT_EXEC => {
                // The thread that called execve(2) has become the first of its process.
                if let Some(former) = ptrace::getevent(pid).ok().filter(|&former| former as i32 != thread) {
                    self.threads.remove(&(former as i32));
                }
                ptrace::cont(pid, None)
            }
            _ => ptrace::cont(pid, None),
        };
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
        // Only the first thread of a process has a pidfd.
        let process = match pidfd(thread) {
            Some(fd) => {
                self.seen.processes += 1;
                self.processes.insert(thread, fd);
                thread
            }
            None => self.processes.keys().copied().find(|&process| is_thread_of(thread, process)).unwrap_or(thread),
        };
        self.threads.insert(thread, Thread { process, begun: None });
    }

    /// Whether the end of the call is to be seen as well.
    fn begin_call(&mut self, thread: i32) -> bool {
        let Ok(info) = ptrace::syscall_info(Pid::from_raw(thread)) else { return false };
        // SAFETY: in this stop the kernel has filled in `seccomp`.
        let (number, arguments) = unsafe { (info.u.seccomp.nr, info.u.seccomp.args) };
        let (place, length) = match number as i64 {
            libc::SYS_bind | libc::SYS_connect => (arguments[1], arguments[2]),
            libc::SYS_sendto => (arguments[4], arguments[5]),
            _ => (0, 0),
        };
        let address = read_address(thread, place, length);
        let call = match number as i64 {
            libc::SYS_socket => Call::Socket,
            libc::SYS_setsockopt => Call::Setsockopt,
            libc::SYS_bind if address.is_some() => Call::Bind,
            libc::SYS_connect if address.is_some() => Call::Connect,
            libc::SYS_sendto if address.is_some() => Call::Sendto,
            libc::SYS_listen => Call::Listen,
            libc::SYS_getsockopt if (arguments[1], arguments[2]) == SO_ERROR_ARGUMENTS => Call::SoError,
            number => {
                self.seen.io_uring |= number == libc::SYS_io_uring_setup;
                return false;
            }
        };
        if let Some(thread) = self.threads.get_mut(&thread) {
            thread.begun = Some(Begun { call, arguments, address });
        }
        true
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
        let descriptor = if begun.call == Call::Socket { value } else { begun.arguments[0] as i64 };
        let mut record = Record {
            micros: self.start.elapsed().as_micros() as u64,
            pid: process,
            thread,
            call: begun.call,
            descriptor: i32::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0),
            protocol: None,
            family: None,
            reuse: None,
            port: PortChoice::None,
            address: begun.address,
            local: None,
            option: None,
            outcome,
            causes: Vec::new(),
        };
        let is_internet = match begun.call {
            Call::Socket => describe_new(&mut record, &begun.arguments),
            _ => self.describe(&mut record, &begun),
        };
        if !is_internet {
            return;
        }
        if self.calls.len() < MOST_CALLS { self.calls.push(record) } else { self.seen.left_out += 1 }
    }

    /// Whether it is a socket of IPv4 or IPv6. Of one that is gone already nothing but the call is known.
    fn describe(&mut self, record: &mut Record, begun: &Begun) -> bool {
        let Some(socket) = record.descriptor.and_then(|descriptor| self.socket(record.pid, descriptor)) else {
            return begun.address.is_some();
        };
        let Some((family, protocol)) = kind(&socket) else { return false };
        (record.family, record.protocol) = (Some(family), protocol);
        let flag = |name| read_option(&socket, libc::SOL_SOCKET, name).is_some_and(|value| value != 0);
        record.reuse = Some(match (flag(libc::SO_REUSEADDR), flag(libc::SO_REUSEPORT)) {
            (false, false) => Reuse::None,
            (true, false) => Reuse::Addr,
            (false, true) => Reuse::Port,
            (true, true) => Reuse::Both,
        });
        record.local = local_name(&socket).ok().flatten().filter(|local| local.port() != 0);
        let inode = inode(&socket);
        record.port = match begun.call {
            Call::Setsockopt => PortChoice::None,
            Call::Bind if begun.address.is_some_and(|address| address.port() != 0) => PortChoice::Explicit,
            Call::Bind => PortChoice::Ephemeral,
            _ if inode.is_some_and(|inode| self.explicit.contains(&inode)) => PortChoice::Explicit,
            _ => PortChoice::Ephemeral,
        };
        match begun.call {
            Call::Bind if record.port == PortChoice::Explicit && record.outcome == Outcome::Ok => {
                self.explicit.extend(inode);
            }
            Call::Setsockopt => {
                let [_, level, name, place, length, _] = begun.arguments;
                let mut value = [0; 16];
                let size = read_memory(record.thread, place, &mut value[..(length as usize).min(16)]);
                record.option = Some(option_name(level as i32, name as i32, &value[..size]));
            }
            Call::SoError if record.outcome == Outcome::Ok => {
                let mut value = [0; 4];
                read_memory(record.thread, begun.arguments[3], &mut value);
                match i32::from_ne_bytes(value) {
                    0 => {}
                    raw => record.outcome = Outcome::Errno(Errno::from_raw(OS, raw)),
                }
            }
            _ => {}
        }
        true
    }

    /// A descriptor of our own for somebody else's socket.
    fn socket(&self, process: i32, descriptor: i32) -> Option<OwnedFd> {
        let pidfd = self.processes.get(&process)?.as_raw_fd();
        // SAFETY: pidfd_getfd(2) takes no pointers; the descriptor is new.
        let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, descriptor, 0) } as i32).ok()?;
        // SAFETY: as above.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Its arguments say what kind of socket it is.
fn describe_new(record: &mut Record, arguments: &[u64; 6]) -> bool {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    record.family = family(arguments[0] as i32);
    record.protocol = match arguments[1] as i32 & !flags {
        libc::SOCK_STREAM if [0, libc::IPPROTO_TCP].contains(&(arguments[2] as i32)) => Some(Protocol::Tcp),
        libc::SOCK_DGRAM if [0, libc::IPPROTO_UDP].contains(&(arguments[2] as i32)) => Some(Protocol::Udp),
        _ => None,
    };
    record.family.is_some()
}

fn family(number: i32) -> Option<Family> {
    match number {
        libc::AF_INET => Some(Family::Ipv4),
        libc::AF_INET6 => Some(Family::Ipv6),
        _ => None,
    }
}

fn kind(socket: &OwnedFd) -> Option<(Family, Option<Protocol>)> {
    let family = family(read_option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)?)?;
    let protocol = match read_option(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL)? {
        libc::IPPROTO_TCP => Some(Protocol::Tcp),
        libc::IPPROTO_UDP => Some(Protocol::Udp),
        _ => None,
    };
    Some((family, protocol))
}

fn read_option(socket: &OwnedFd, level: i32, name: i32) -> Option<i32> {
    let (mut value, mut length) = (0_i32, size_of::<i32>() as u32);
    // SAFETY: the pointers are to an int and to its size.
    let done =
        check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &mut length) });
    done.ok().map(|_| value)
}

fn inode(socket: &OwnedFd) -> Option<u64> {
    nix::sys::stat::fstat(socket).ok().map(|stat| stat.st_ino)
}

/// An address that a thread has in its memory, if it is of a family that is looked at.
fn read_address(thread: i32, place: u64, length: u64) -> Option<SocketAddr> {
    if place == 0 || length < 16 {
        return None;
    }
    let mut bytes = [0; LONGEST_ADDRESS];
    let size = read_memory(thread, place, &mut bytes[..LONGEST_ADDRESS.min(length as usize)]);
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
        libc::AF_INET if size >= 16 => {
            let address: [u8; 4] = bytes[4..8].try_into().ok()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), port))
        }
        libc::AF_INET6 if size >= 24 => {
            let address: [u8; 16] = bytes[8..24].try_into().ok()?;
            Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), port))
        }
        _ => None,
    }
}

/// How much of it could be read.
fn read_memory(thread: i32, place: u64, bytes: &mut [u8]) -> usize {
    let there = [RemoteIoVec { base: place as usize, len: bytes.len() }];
    process_vm_readv(Pid::from_raw(thread), &mut [IoSliceMut::new(bytes)], &there).unwrap_or(0)
}

fn pidfd(process: i32) -> Option<OwnedFd> {
    // SAFETY: pidfd_open(2) takes no pointers; the descriptor is new.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) } as i32).ok()?;
    // SAFETY: as above.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn is_thread_of(thread: i32, process: i32) -> bool {
    // SAFETY: tgkill(2) takes no pointers; signal 0 only asks.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, 0) == 0 }
}

/// A stop of the whole group goes on until SIGCONT ends it.
fn listen(pid: Pid) -> nix::Result<()> {
    let (none, request) = (std::ptr::null_mut::<libc::c_void>(), libc::PTRACE_LISTEN);
    // SAFETY: PTRACE_LISTEN takes no pointers.
    nix::errno::Errno::result(unsafe { libc::ptrace(request, pid.as_raw(), none, none) }).map(drop)
}

fn own(errno: nix::Error) -> Errno {
    Errno::from_raw(OS, errno as i32)
}
