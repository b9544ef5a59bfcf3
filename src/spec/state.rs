//! The state that a specification speaks of: sockets, what is left of closed ones, bind buckets and the host.
//!
//! It is a value: a step takes one and gives others. It has no rules.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::plan::socket_table::SocketRow;
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, Os, Protocol, SocketState, User};
use crate::words::ports::PortRange;

/// Everything that later ops of a program can find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Milliseconds of which the program has said that they pass.
    pub now: u64,
    /// Sockets, and entries of the kernel's tables without one, by a number of their own.
    pub sockets: BTreeMap<SocketId, SocketEntry>,
    /// The program's names of them. A closed socket keeps its name.
    pub names: BTreeMap<String, SocketId>,
    /// The ports that somebody has.
    pub buckets: BTreeMap<(Protocol, u16), Bucket>,
    /// What all of them share.
    pub host: HostState,
    made: u32,
}

/// The number of a socket, in the order in which they are made.
pub type SocketId = u32;

/// A socket, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketEntry {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Of socket(2).
    pub family: Family,
    /// What setsockopt(2) has set.
    pub options: Options,
    /// Whose it is.
    pub owner: User,
    /// How many descriptors it has; none where the kernel alone knows it.
    pub descriptors: u32,
    /// Of a listener: the connections that nobody has accepted, the oldest first.
    pub queue: Vec<SocketId>,
    /// Whether it is in such a queue.
    pub is_queued: bool,
    /// The address that it receives for.
    pub address: IpAddr,
    /// Its port; 0 where it has none.
    pub port: u16,
    /// The port that getsockname(2) tells, which outlives the port itself.
    pub told_port: u16,
    /// Its peer.
    pub peer: Option<SocketAddr>,
    /// Whether bind(2) has set the address (`SOCK_BINDADDR_LOCK`).
    pub address_set: bool,
    /// Whether bind(2) has set the port (`SOCK_BINDPORT_LOCK`).
    pub port_set: bool,
    /// Whether connect(2) chose the port (`SOCK_CONNECT_BIND`).
    pub autobound: bool,
    /// As the socket table shows it.
    pub state: SocketState,
    /// For an entry in TIME_WAIT: whether it stands for FIN_WAIT_2.
    pub waits_for_fin: bool,
    /// What the descriptor's layer thinks (`sock->state`).
    pub attempt: Attempt,
    /// An error that the next call hears of (`sk_err`, `so_error`).
    pub error: Option<ErrnoName>,
    /// Nothing more is received.
    pub read_shut: bool,
    /// Nothing more is sent.
    pub write_shut: bool,
    /// The peer's FIN has come (`SOCK_DONE`).
    pub ended: bool,
    /// Messages or pieces of data that have come and are not read.
    pub unread: u32,
    /// Data is queued that the peer takes no more of, so that a FIN stays behind it.
    pub stuck: bool,
    /// Of a listener: listen(2)'s argument.
    pub backlog: u32,
    /// The other end of its connection.
    pub other: Option<SocketId>,
    /// Whether both ends have agreed on timestamps.
    pub timestamps: bool,
    /// When it came into TIME_WAIT.
    pub since: u64,
    /// When it leaves that.
    pub expires: u64,
}

/// What a socket's descriptor has been told of connect(2) (`socket_state`, include/linux/net.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attempt {
    /// No attempt, or none that has not been told the end of.
    #[default]
    Unconnected,
    /// An attempt whose end nobody has been told.
    Connecting,
    /// It has been told that there is a connection.
    Connected,
    /// shutdown(2) has come into an attempt.
    Disconnecting,
}

/// Options of a socket that change what calls give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// IPV6_V6ONLY, which Linux sets when it binds a socket to an IPv6 address.
    pub v6only: bool,
    /// SO_BINDTODEVICE.
    pub device: Option<String>,
    /// IP_FREEBIND.
    pub freebind: bool,
    /// IP_BIND_ADDRESS_NO_PORT.
    pub no_port: bool,
    /// IP_LOCAL_PORT_RANGE.
    pub range: Option<PortRange>,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// SO_LINGER.
    pub linger: Option<u16>,
    /// TCP_LINGER2.
    pub linger2: i32,
    /// SO_RCVTIMEO is not 0.
    pub receive_timeout: bool,
}

/// A port that sockets of one protocol have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Who has it, in the order of coming.
    pub owners: Vec<SocketId>,
    /// What Linux has cached of the owners of a TCP port.
    pub cache: Cache,
}

/// `struct inet_bind_bucket`, include/net/inet_hashtables.h.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// `fastreuse`; nothing for -1: only connect(2) has chosen this port.
    pub reuse: Option<bool>,
    /// `fastreuseport`, with whom it stands for.
    pub reuse_port: CachedReusePort,
}

/// `fastreuseport` and the `fast_*` fields beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CachedReusePort {
    /// -1: only connect(2) has chosen this port.
    #[default]
    Autobound,
    /// 0.
    No,
    /// `FASTREUSEPORT_ANY`: every owner has SO_REUSEPORT.
    Any(User),
    /// `FASTREUSEPORT_STRICT`: for sockets that want no more than this one.
    Strict(User, Family, IpAddr, bool),
}

/// What a program's sockets share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostState {
    /// Addresses with their device and the length of their prefix.
    pub addresses: Vec<(String, IpAddr, u8)>,
    /// Devices beyond loopback.
    pub devices: Vec<String>,
    /// How many descriptors the program may still open, where there is a limit.
    pub descriptors_left: Option<u32>,
    /// Whether the program may neither bind nor connect TCP sockets.
    pub tcp_forbidden: bool,
    /// Sysctls that are not what the OS begins with.
    pub sysctls: BTreeMap<String, String>,
}

impl State {
    /// A host with nothing but loopback, and with these sysctls.
    pub fn new(sysctls: &BTreeMap<String, String>) -> State {
        let loopback = |address: IpAddr, prefix| ("lo".to_owned(), address, prefix);
        let addresses = vec![loopback(Ipv4Addr::LOCALHOST.into(), 8), loopback(Ipv6Addr::LOCALHOST.into(), 128)];
        let host = HostState {
            addresses,
            devices: Vec::new(),
            descriptors_left: None,
            tcp_forbidden: false,
            sysctls: sysctls.clone(),
        };
        let (sockets, names, buckets) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        State { now: 0, sockets, names, buckets, host, made: 0 }
    }

    /// Adds a socket.
    pub fn add(&mut self, socket: SocketEntry) -> SocketId {
        self.made += 1;
        self.sockets.insert(self.made, socket);
        self.made
    }

    /// The socket that the program calls so.
    pub fn named(&self, name: &str) -> Option<SocketId> {
        self.names.get(name).copied()
    }

    /// A socket that is there.
    pub fn socket(&self, id: SocketId) -> &SocketEntry {
        &self.sockets[&id]
    }

    /// A socket that is there, to be changed.
    pub fn socket_mut(&mut self, id: SocketId) -> &mut SocketEntry {
        self.sockets.get_mut(&id).expect("an id is of a socket that is there")
    }

    /// Those that have a port of a protocol, in the order of coming.
    pub fn owners(&self, protocol: Protocol, port: u16) -> impl DoubleEndedIterator<Item = (SocketId, &SocketEntry)> {
        let owners = self.buckets.get(&(protocol, port)).map_or(&[][..], |bucket| &bucket.owners);
        owners.iter().map(|id| (*id, self.socket(*id)))
    }

    /// Gives a socket a port.
    pub fn take_port(&mut self, id: SocketId, port: u16) {
        let socket = self.socket_mut(id);
        (socket.port, socket.told_port) = (port, port);
        let protocol = socket.protocol;
        let owners = &mut self.buckets.entry((protocol, port)).or_default().owners;
        if !owners.contains(&id) {
            owners.push(id);
        }
    }

    /// Takes a socket's port away; what getsockname(2) tells stays.
    pub fn release_port(&mut self, id: SocketId) {
        let socket = self.socket_mut(id);
        let key = (socket.protocol, std::mem::take(&mut socket.port));
        socket.autobound = false;
        let Some(bucket) = self.buckets.get_mut(&key) else { return };
        bucket.owners.retain(|owner| *owner != id);
        if bucket.owners.is_empty() {
            self.buckets.remove(&key);
        }
    }

    /// Removes a socket, and its port with it.
    pub fn remove(&mut self, id: SocketId) {
        if self.sockets.contains_key(&id) {
            self.release_port(id);
            self.sockets.remove(&id);
        }
    }

    /// The rows that the kernel's socket table must show, in the order of making.
    pub fn table(&self) -> Vec<SocketRow> {
        let rows = self.sockets.values().filter(|socket| socket.port != 0);
        let row = |socket: &SocketEntry| SocketRow {
            protocol: socket.protocol,
            state: match (socket.protocol, socket.state) {
                (Protocol::Tcp, SocketState::Close) => SocketState::Bound,
                (Protocol::Tcp, SocketState::TimeWait) if socket.waits_for_fin => SocketState::FinWait2,
                (_, state) => state,
            },
            local: SocketAddr::new(socket.address, socket.port),
            remote: socket.peer,
            uid: 0,
            user: (socket.descriptors > 0).then_some(socket.owner),
            inode: 0,
        };
        rows.map(row).collect()
    }
}

impl SocketEntry {
    /// As socket(2) makes it.
    pub fn new(protocol: Protocol, family: Family, owner: User) -> SocketEntry {
        SocketEntry {
            protocol,
            family,
            options: Options::default(),
            owner,
            descriptors: 1,
            queue: Vec::new(),
            is_queued: false,
            address: unspecified(family),
            port: 0,
            told_port: 0,
            peer: None,
            address_set: false,
            port_set: false,
            autobound: false,
            state: SocketState::Close,
            waits_for_fin: false,
            attempt: Attempt::Unconnected,
            error: None,
            read_shut: false,
            write_shut: false,
            ended: false,
            unread: 0,
            stuck: false,
            backlog: 0,
            other: None,
            timestamps: false,
            since: 0,
            expires: 0,
        }
    }

    /// Its name.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.told_port)
    }

    /// Whether it is open, or the kernel alone knows it.
    pub fn is_open(&self) -> bool {
        self.descriptors > 0
    }
}

impl HostState {
    /// The value of a sysctl, which is the OS's own where nobody has set another.
    pub fn sysctl(&self, os: Os, name: &str) -> &str {
        self.sysctls.get(name).map_or_else(|| default(os, name), String::as_str)
    }

    /// A sysctl that is a number.
    pub fn number(&self, os: Os, name: &str) -> u64 {
        self.sysctl(os, name).trim().parse().unwrap_or(0)
    }

    /// Whether an address is one of this host's.
    pub fn has(&self, os: Os, address: IpAddr) -> bool {
        let is_own = |own: IpAddr, prefix: u8| match (os, own, address) {
            // All that is in the prefix of an address on loopback is local (`fib_add_ifaddr`).
            (Os::Linux, IpAddr::V4(own), IpAddr::V4(address)) if own.is_loopback() && prefix == 8 => {
                address.is_loopback()
            }
            _ => own == address,
        };
        self.addresses.iter().any(|(_, own, prefix)| is_own(*own, *prefix))
    }
}

/// What the kernels begin with, of what is read here.
fn default(os: Os, name: &str) -> &'static str {
    match (os, name) {
        (Os::Linux, "net.core.somaxconn") => "4096",
        (Os::Linux, "net.ipv4.ip_local_port_range") => "32768 60999",
        (Os::Linux, "net.ipv4.ip_unprivileged_port_start") => "1024",
        (Os::Linux, "net.ipv4.tcp_fin_timeout") => "60",
        (Os::Linux, "net.ipv4.tcp_timestamps") => "1",
        (Os::Linux, "net.ipv4.tcp_tw_reuse") => "2",
        (Os::Linux, "net.ipv4.tcp_tw_reuse_delay") => "1000",
        (Os::Macos, "net.ipv4.ip_local_port_range") => "49152 65535",
        _ => "",
    }
}

/// The wildcard address of a family.
pub fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The IPv4 address in an IPv4-mapped one.
pub fn mapped(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    }
}

/// The IPv4 address that an address stands for on the wire.
pub fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => mapped(address),
    }
}
