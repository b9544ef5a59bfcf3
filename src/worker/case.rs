//! What one case has built up, and the settings that hold for every op of it.
//!
//! The interpreter performs the ops; `queries` and `table` ask the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::plan::{Detail, Unsupported};
use crate::sys::{self, Fault, Isolation, Mode, SocketTable, Tun};
use crate::words::names::{Family, Need, Protocol, UnixKind, User};

/// Which port bind() gave a socket. An explicit one it keeps as long as it is open; one that the kernel chose goes back
/// when a connection ends, although getsockname(2) still names it (`tcp_set_state`, SOCK_BINDPORT_LOCK).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    No,
    Explicit,
    Ephemeral,
}

/// What the socket table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    All,
    /// All but TCP sockets that are merely bound (Linux before 6.8).
    AllButBound,
    /// There is none (gVisor).
    Nothing,
}

/// What socket(2) was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    Ip(Family, Protocol),
    Unix(UnixSocket),
}

/// What is known of a socket of the family unix besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    pub kind: UnixKind,
    /// What fstat(2) gave, by which the kernel lists it.
    pub inode: u32,
    /// What bind(2) has given it, as the kernel lists it.
    pub name: Option<String>,
}

/// A socket that a plan named. It stays known when it is closed, because the kernel may keep the connection.
pub struct Known {
    pub fd: Option<OwnedFd>,
    pub domain: Domain,
    /// As the socket table has it.
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    /// Whether it was bound to `::ffff:0.0.0.0`.
    pub(super) is_mapped_any: bool,
    /// Which connection of the case this was, in the order in which they began; 0 without one.
    pub(super) joined: u32,
    pub(super) mode: Mode,
    pub bound: Bound,
}

impl Known {
    pub fn new(fd: OwnedFd, domain: Domain) -> Known {
        let (local, remote, joined, mode, bound) = (None, None, 0, Mode::Blocking, Bound::No);
        Known { fd: Some(fd), domain, local, remote, is_mapped_any: false, joined, mode, bound }
    }

    /// Notes the name that getsockname(2) gives. XNU's calls `::ffff:0.0.0.0` `::` (`in6_mapped_sockaddr()`,
    /// `bsd/netinet6/in6_pcb.c`), and its socket table 0.0.0.0.
    pub(super) fn note_name(&mut self, local: Option<SocketAddr>) {
        self.local = local.map(|local| match local.ip() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) if self.is_mapped_any => {
                SocketAddr::new(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into(), local.port())
            }
            _ => local,
        });
    }

    /// In which table of sockets with ports it is.
    pub fn table(&self) -> Option<Protocol> {
        match &self.domain {
            Domain::Ip(_, protocol) => Some(protocol.table()),
            Domain::Unix(_) => None,
        }
    }
}

/// How long a wait of an op may be where no case has a deadline.
const UNBOUND: Duration = Duration::from_secs(10);

/// What one case has built up.
pub struct RunningCase<'a> {
    pub sockets: BTreeMap<String, Known>,
    /// Ports that `fill` holds, in this process and in others.
    pub filled: Vec<OwnedFd>,
    pub(super) has_filled: bool,
    /// Connections of named sockets that have begun.
    pub(super) joined: u32,
    pub isolation: &'a Isolation,
    pub(super) patience: u32,
    /// Whether connections are made to somebody's server, which may take its time.
    pub(super) waits_for_servers: bool,
    /// Until when an op may wait for what takes the kernel time, and still say what it waited for.
    pub(super) ends: Instant,
    /// What the socket table has; what it has not, sockets of this process are asked themselves.
    pub listed: Listed,
    table: Option<SocketTable>,
    pub(super) tuns: BTreeMap<String, Tun>,
    pub(super) exhausted_at: Option<u64>,
    /// Why there is no directory of the case's own, unless it is in one.
    pub(super) no_directory: Option<String>,
    /// How long the last system call took.
    pub(super) took: Duration,
}

/// An op's detail may come with a fault as well as without.
pub type OpResult = Result<Option<Detail>, DetailedFault>;

pub struct DetailedFault(pub Fault, pub Option<Detail>);

pub fn known_as<'c>(sockets: &'c BTreeMap<String, Known>, name: &str) -> Result<&'c Known, Fault> {
    sockets.get(name).ok_or_else(|| Fault::Failed(format!("no socket is called `{name}`")))
}

impl<'a> RunningCase<'a> {
    /// A case of the network namespace that this process is in.
    pub fn new(isolation: &'a Isolation) -> RunningCase<'a> {
        RunningCase {
            sockets: BTreeMap::new(),
            filled: Vec::new(),
            has_filled: false,
            joined: 0,
            isolation,
            patience: 1,
            waits_for_servers: false,
            ends: Instant::now() + UNBOUND,
            listed: Listed::All,
            table: None,
            tuns: BTreeMap::new(),
            exhausted_at: None,
            no_directory: Some("nothing has made one".to_owned()),
            took: Duration::ZERO,
        }
    }

    /// One whose connections go to somebody's server.
    pub fn with_servers(isolation: &'a Isolation) -> RunningCase<'a> {
        RunningCase { waits_for_servers: true, ..RunningCase::new(isolation) }
    }

    /// The socket table of this case's namespace, opened when it is first needed.
    pub fn table(&mut self) -> Result<&mut SocketTable, Fault> {
        if self.table.is_none() {
            self.table = Some(SocketTable::open()?);
        }
        self.table.as_mut().ok_or_else(|| Fault::Failed("the socket table is not open".to_owned()))
    }

    /// Soft RLIMIT_NOFILE as the ops find it, whatever the queries do to it meanwhile.
    pub fn descriptor_limit(&self) -> u64 {
        self.exhausted_at.unwrap_or_else(|| sys::descriptor_limit().0)
    }

    /// Runs something under a user's effective uid.
    pub fn as_user<T, E: From<Fault>>(
        &mut self,
        user: Option<User>,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let uid = match user {
            Some(User::Root) if sys::effective_uid() != 0 => {
                let reason = "this worker is not root; run as root".to_owned();
                return Err(E::from(Fault::Unsupported(Unsupported { need: Need::SecondUser, reason: reason.into() })));
            }
            // In a container, it need not have what makes it root.
            Some(User::Root) if !sys::may_bind_low_ports().map_err(Fault::from)? => {
                let reason = "this worker's root has no CAP_NET_BIND_SERVICE".to_owned();
                return Err(E::from(Fault::Unsupported(Unsupported { need: Need::SecondUser, reason: reason.into() })));
            }
            None | Some(User::Root) => return work(self),
            Some(User::UserA) => self.isolation.users[0],
            Some(User::UserB) => self.isolation.users[1],
        };
        if let Err(errno) = sys::set_effective_uid(uid) {
            let reason = format!("the effective uid {uid} cannot be taken: {errno}");
            return Err(E::from(Fault::Unsupported(Unsupported { need: Need::SecondUser, reason: reason.into() })));
        }
        let result = work(self);
        match sys::set_effective_uid(0) {
            Ok(()) => result,
            Err(errno) => Err(E::from(Fault::Failed(format!("back to uid 0: {errno}")))),
        }
    }

    /// Files are looked for in a directory of the case's own, or not at all.
    pub(super) fn is_at_home(&self) -> Result<(), Fault> {
        match &self.no_directory {
            Some(why) => {
                let reason = format!("this case has no directory of its own: {why}");
                // What others leave no room for on a host that they have, too.
                Err(match self.isolation.is_shared() {
                    true => Fault::Unsupported(Unsupported { need: Need::Resources, reason: reason.into() }),
                    false => Fault::Failed(reason),
                })
            }
            None => Ok(()),
        }
    }

    /// How long a wait of so many milliseconds takes on this machine.
    pub(super) fn patient(&self, ms: u32) -> u32 {
        ms.saturating_mul(self.patience)
    }

    pub fn note_time(&mut self, took: Duration) {
        self.took = took;
    }

    pub(super) fn timed<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = call();
        self.took = start.elapsed();
        result
    }

    /// Makes a call on a named socket and times it.
    pub(super) fn on<T, E: Into<Fault>>(
        &mut self,
        socket: &str,
        call: impl FnOnce(&OwnedFd) -> Result<T, E>,
    ) -> Result<T, Fault> {
        let known = known_as(&self.sockets, socket)?;
        let fd = known.fd.as_ref().ok_or_else(|| not_open(socket))?;
        let start = Instant::now();
        let result = call(fd);
        self.took = start.elapsed();
        result.map_err(E::into)
    }
}

pub fn not_open(socket: &str) -> Fault {
    Fault::Failed(format!("no open socket is called `{socket}`"))
}

impl From<Fault> for DetailedFault {
    fn from(fault: Fault) -> DetailedFault {
        DetailedFault(fault, None)
    }
}
