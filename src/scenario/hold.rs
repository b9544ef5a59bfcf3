//! Compound ops: situations that many scenarios start from, spelled out as plain ops.
//!
//! They expand before a plan is sent, so that a trail shows every call. How each TCP state is reached, and kept without
//! waiting for a timer, is written here once.

use std::net::IpAddr;

use serde::Deserialize;

use crate::plan::{How, Op, SocketForm, SocketOption, WaitFor};
use crate::words::names::{Family, HolderState, Os, Protocol, Reuse, Via};

/// Ops that a file may use beside those of [`Op`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Compound {
    /// socket() and its options.
    Open {
        /// What to call it.
        socket: String,
        /// Its transport.
        protocol: Protocol,
        /// Its address family.
        family: Family,
        /// SO_REUSEADDR and SO_REUSEPORT; neither where it is not said.
        #[serde(default = "none")]
        reuse: Reuse,
        /// IPV6_V6ONLY, where it is set at all.
        v6only: Option<bool>,
    },
    /// A listener: open, bind, listen.
    Serve {
        /// What to call it; it is open already.
        socket: String,
        /// Its transport; TCP where it is not said.
        #[serde(default = "tcp")]
        protocol: Protocol,
        /// Where it listens.
        address: IpAddr,
        /// 0: the kernel picks one.
        port: u16,
        /// As listen(2) takes it; 8 where it is not said.
        #[serde(default = "backlog")]
        backlog: i32,
    },
    /// A socket that holds `address:port` in `state`, connected to `peer:peer_port` where the state has a peer.
    Hold(Hold),
}

/// A socket in a state that others run into. Where the state takes a peer, that is made as well.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// What to call it. What is made besides has names that begin with this one and a dot.
    pub socket: String,
    /// The state that it is to be in, and to stay in.
    pub state: HolderState,
    /// TCP or UDP; UDP has the states `bound` and `connected` alone.
    pub protocol: Protocol,
    /// Its own address.
    pub address: IpAddr,
    /// Its own port.
    pub port: u16,
    /// Which options are set before bind(2).
    #[serde(default = "none")]
    pub reuse: Reuse,
    /// IPV6_V6ONLY, where it is set at all.
    pub v6only: Option<bool>,
    /// The other end, for the states that have one.
    pub peer: Option<IpAddr>,
    /// The other end's port; 0 where it has none.
    #[serde(default)]
    pub peer_port: u16,
}

/// Why a situation cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// TCP has no connected sockets without a connection, UDP no connections.
    #[error("no {protocol} socket is ever in the state {state}")]
    State {
        /// The protocol that was asked for.
        protocol: Protocol,
        /// The state that it does not have.
        state: HolderState,
    },
    /// The peer is no address of this host, and would have to act for this state.
    #[error(
        "{protocol} in state {state} needs a peer that it can make do its part, and {peer} is somebody else's; choose an \
         address of this host and a free port for it, or one of the states established, syn-sent, time-wait"
    )]
    ForeignPeer {
        /// The protocol that was asked for.
        protocol: Protocol,
        /// The state that needs such a peer.
        state: HolderState,
        /// The address that is somebody else's.
        peer: IpAddr,
    },
    /// The state is one of a connection, whose other end is not named.
    #[error("a holder in state {state} needs `peer` and `peer_port`")]
    NoPeer {
        /// That state.
        state: HolderState,
    },
}

impl Compound {
    /// What files call them.
    pub const NAMES: &'static [&'static str] = &["open", "serve", "hold"];

    /// The ops that it stands for on that OS.
    ///
    /// # Errors
    ///
    /// There is no such state of that protocol, or its other end is not named.
    pub fn expand(self, os: Os) -> Result<Vec<Op>, Impossible> {
        match self {
            Compound::Open { socket, protocol, family, reuse, v6only } => {
                Ok(open(&socket, protocol, family, reuse, v6only))
            }
            Compound::Serve { socket, protocol, address, port, backlog } => {
                Ok(serve(&socket, protocol, address, port, backlog))
            }
            Compound::Hold(hold) => hold.expand(os),
        }
    }
}

impl Hold {
    fn expand(&self, os: Os) -> Result<Vec<Op>, Impossible> {
        match (self.protocol, self.state) {
            (_, HolderState::Bound) => Ok(self.bound()),
            (Protocol::Tcp | Protocol::Mptcp, HolderState::Listening) => {
                Ok([self.bound(), vec![listen(&self.socket, 8)]].concat())
            }
            (Protocol::Udp, HolderState::Connected) => {
                let peer = self.peer()?;
                Ok([self.bound(), vec![self.connect(peer)]].concat())
            }
            (Protocol::Tcp | Protocol::Mptcp, HolderState::SynSent) => self.syn_sent(os),
            (Protocol::Tcp | Protocol::Mptcp, HolderState::Accepted) => self.accepted(),
            (Protocol::Tcp | Protocol::Mptcp, HolderState::Established) => self.established(),
            (Protocol::Tcp, HolderState::FinWait1) => Ok([
                self.established_with(Buffers::Small)?,
                vec![send_until_full(&self.socket), finish(&self.socket), self.wait()],
            ]
            .concat()),
            // The peer would acknowledge the FIN 40 ms later at worst.
            (Protocol::Tcp, HolderState::FinWait2) => Ok([
                self.established()?,
                vec![finish(&self.socket), set(&self.name("peer"), SocketOption::QuickAck(true)), self.wait()],
            ]
            .concat()),
            (Protocol::Tcp, HolderState::CloseWait) => {
                Ok([self.established()?, vec![finish(&self.name("peer")), self.wait()]].concat())
            }
            (Protocol::Tcp, HolderState::LastAck) => Ok([
                self.established_with(Buffers::Small)?,
                vec![
                    send_until_full(&self.socket),
                    finish(&self.name("peer")),
                    self.wait_for(HolderState::CloseWait),
                    finish(&self.socket),
                    self.wait(),
                ],
            ]
            .concat()),
            // The states before are not in the socket table for MPTCP: a subflow stays established until both ends have
            // closed.
            (Protocol::Tcp | Protocol::Mptcp, HolderState::TimeWait) => {
                Ok([self.established()?, vec![close(&self.socket), close(&self.name("peer")), self.wait()]].concat())
            }
            (protocol, state) => Err(Impossible::State { protocol, state }),
        }
    }

    /// As [`Compound::expand`], with a peer that is somebody else's: a server that accepts, or never answers, and
    /// closes when its client does.
    pub fn towards_server(&self) -> Result<Vec<Op>, Impossible> {
        let peer = self.peer()?;
        let mut ops = self.bound();
        match (self.protocol, self.state) {
            (Protocol::Tcp, HolderState::Established) | (Protocol::Udp, HolderState::Connected) => {
                ops.push(self.connect(peer));
            }
            (Protocol::Tcp, HolderState::SynSent) => ops.push(self.begin(peer)),
            (Protocol::Tcp, HolderState::TimeWait) => {
                ops.extend([self.connect(peer), close(&self.socket), self.wait()]);
            }
            (protocol, state) => {
                return Err(Impossible::ForeignPeer { protocol, state, peer });
            }
        }
        Ok(ops)
    }

    fn bound(&self) -> Vec<Op> {
        let mut ops = open(&self.socket, self.protocol, family(self.address), self.reuse, self.v6only);
        ops.push(bind(&self.socket, self.address, self.port));
        ops
    }

    /// The holder connects to a listener of its peer, which accepts.
    fn established(&self) -> Result<Vec<Op>, Impossible> {
        self.established_with(Buffers::Usual)
    }

    /// With small ones, little is enough to fill them, and then nothing more is sent: a FIN stays queued behind the
    /// data.
    fn established_with(&self, buffers: Buffers) -> Result<Vec<Op>, Impossible> {
        let peer = self.peer()?;
        let listener = self.name("peer-listener");
        let mut ops = open(&listener, self.protocol, family(peer), Reuse::None, None);
        if buffers == Buffers::Small {
            // What accept() gives has it from its listener.
            ops.push(set(&listener, SocketOption::ReceiveBuffer(SMALL)));
        }
        ops.extend([bind(&listener, peer, self.peer_port), listen(&listener, 8)]);
        ops.extend(self.bound());
        if buffers == Buffers::Small {
            ops.push(set(&self.socket, SocketOption::SendBuffer(SMALL)));
        }
        ops.push(self.connect(peer));
        ops.push(accept(&listener, &self.name("peer")));
        Ok(ops)
    }

    /// The holder comes out of accept(), and its listener is closed.
    fn accepted(&self) -> Result<Vec<Op>, Impossible> {
        let peer = self.peer()?;
        let (listener, client) = (self.name("listener"), self.name("peer"));
        let mut ops = open(&listener, self.protocol, family(self.address), self.reuse, self.v6only);
        ops.push(bind(&listener, self.address, self.port));
        ops.push(listen(&listener, 8));
        ops.extend(open(&client, self.protocol, family(peer), Reuse::None, None));
        ops.push(bind(&client, peer, self.peer_port));
        let reached_at = if self.address.is_unspecified() { peer } else { self.address };
        ops.push(connect(&client, reached_at, self.port));
        ops.push(accept(&listener, &self.socket));
        ops.push(close(&listener));
        Ok(ops)
    }

    /// A listener whose accept queue is full drops the SYN: `tcp_conn_request` in net/ipv4/tcp_input.c. A backlog of
    /// one keeps Linux from logging a SYN flood, which a backlog of none would not.
    fn syn_sent(&self, os: Os) -> Result<Vec<Op>, Impossible> {
        let peer = self.peer()?;
        let mut ops = serve(&self.name("peer-listener"), self.protocol, peer, self.peer_port, 1);
        // How many connections a backlog of one admits.
        let admitted = match os {
            // `sk_acceptq_is_full`, include/net/sock.h: it is full when there are more.
            Os::Linux => 2,
            // `sonewconn_internal()`, bsd/kern/uipc_socket2.c, with `soqlimitcompat`: when there are as many.
            Os::Macos => 1,
        };
        for filler in 1..=admitted {
            let filler = self.name(&format!("filler-{filler}"));
            ops.extend(open(&filler, self.protocol, family(peer), Reuse::None, None));
            ops.push(connect(&filler, peer, self.peer_port));
        }
        ops.extend(self.bound());
        ops.push(self.begin(peer));
        Ok(ops)
    }

    /// A connect that nobody waits for.
    fn begin(&self, peer: IpAddr) -> Op {
        Op::Connect {
            socket: self.socket.clone(),
            address: peer,
            port: self.peer_port,
            length: None,
            nonblocking: true,
            wait_ms: WAIT_MS,
            via: Via::Syscall,
        }
    }

    fn peer(&self) -> Result<IpAddr, Impossible> {
        self.peer.filter(|_| self.peer_port != 0).ok_or(Impossible::NoPeer { state: self.state })
    }

    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.socket)
    }

    fn connect(&self, peer: IpAddr) -> Op {
        connect(&self.socket, peer, self.peer_port)
    }

    fn wait(&self) -> Op {
        self.wait_for(self.state)
    }

    fn wait_for(&self, state: HolderState) -> Op {
        Op::Wait { socket: self.socket.clone(), state: WaitFor::State(state), deadline_ms: 2_000 }
    }
}

const WAIT_MS: u32 = 1_000;

/// How much the two ends of a connection hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buffers {
    Usual,
    Small,
}

/// Bytes: about as little as a kernel takes.
const SMALL: u32 = 4096;

fn set(socket: &str, option: SocketOption) -> Op {
    Op::SetOption { socket: socket.to_owned(), option }
}

fn open(socket: &str, protocol: Protocol, family: Family, reuse: Reuse, v6only: Option<bool>) -> Vec<Op> {
    let mut ops = vec![Op::Socket { socket: socket.to_owned(), family, protocol, form: SocketForm::Usual }];
    ops.extend(v6only.map(|v6only| set(socket, SocketOption::V6Only(v6only))));
    ops.extend(reuse.address().then(|| set(socket, SocketOption::ReuseAddr(true))));
    ops.extend(reuse.port().then(|| set(socket, SocketOption::ReusePort(true))));
    ops
}

fn serve(socket: &str, protocol: Protocol, address: IpAddr, port: u16, backlog: i32) -> Vec<Op> {
    let mut ops = open(socket, protocol, family(address), Reuse::None, None);
    ops.push(bind(socket, address, port));
    ops.push(listen(socket, backlog));
    ops
}

fn bind(socket: &str, address: IpAddr, port: u16) -> Op {
    Op::Bind { socket: socket.to_owned(), address, port, length: None, scope: None, via: Via::Syscall }
}

fn listen(socket: &str, backlog: i32) -> Op {
    Op::Listen { socket: socket.to_owned(), backlog, via: Via::Syscall }
}

fn connect(socket: &str, address: IpAddr, port: u16) -> Op {
    let (length, via) = (None, Via::Syscall);
    Op::Connect { socket: socket.to_owned(), address, port, length, nonblocking: false, wait_ms: WAIT_MS, via }
}

fn accept(socket: &str, new: &str) -> Op {
    Op::Accept { socket: socket.to_owned(), new: new.to_owned(), wait_ms: WAIT_MS, via: Via::Syscall }
}

fn send_until_full(socket: &str) -> Op {
    Op::SendUntilFull { socket: socket.to_owned(), bytes: 64 * 1024 }
}

fn finish(socket: &str) -> Op {
    Op::Shutdown { socket: socket.to_owned(), how: How::Write }
}

fn close(socket: &str) -> Op {
    Op::Close { socket: socket.to_owned() }
}

fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Ipv4,
        IpAddr::V6(_) => Family::Ipv6,
    }
}

fn tcp() -> Protocol {
    Protocol::Tcp
}

fn none() -> Reuse {
    Reuse::None
}

fn backlog() -> i32 {
    8
}
