//! Which call a number is, and what its arguments say.
//!
//! It does not know the socket.

use std::net::SocketAddr;

use super::look::{self, Message};
use crate::knowledge::calls::SystemCall;
use crate::sys::linux::error_queue;
use crate::words::errno::Errno;
use crate::words::names::Call;

/// Messages that one call takes at most (UIO_MAXIOV).
const MOST_MESSAGES: usize = 1024;

/// What a call does.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    NewSocket,
    /// Its first argument is a descriptor.
    Socket {
        call: Call,
        by: Option<SystemCall>,
    },
    /// io_uring is set up.
    Uring,
    /// The program filters its own calls.
    OwnFilter,
}

/// A call that has begun.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub about: About,
    pub arguments: [u64; 6],
    /// What was passed as an address, by all but the calls of messages.
    pub address: Option<SocketAddr>,
}

impl Begun {
    /// `None` of a call that nobody wants to see.
    pub fn new(thread: i32, number: i64, arguments: [u64; 6]) -> Option<Begun> {
        let socket = |call| About::Socket { call, by: None };
        let by = |call, by| About::Socket { call, by: Some(by) };
        let receive = |flags: u64| match flags as i32 & libc::MSG_ERRQUEUE {
            0 => Call::Recv,
            _ => Call::ErrorQueue,
        };
        let about = match number {
            libc::SYS_socket => About::NewSocket,
            libc::SYS_setsockopt => socket(Call::Setsockopt),
            libc::SYS_bind => socket(Call::Bind),
            libc::SYS_connect => socket(Call::Connect),
            libc::SYS_listen => socket(Call::Listen),
            libc::SYS_accept | libc::SYS_accept4 => socket(Call::Accept),
            libc::SYS_getsockopt => socket(Call::SoError),
            libc::SYS_sendto if arguments[4] == 0 => socket(Call::Send),
            libc::SYS_sendto => socket(Call::Sendto),
            libc::SYS_sendmsg => by(Call::Send, SystemCall::Sendmsg),
            libc::SYS_sendmmsg => by(Call::Send, SystemCall::Sendmmsg),
            libc::SYS_recvfrom => socket(receive(arguments[3])),
            libc::SYS_recvmsg => by(receive(arguments[2]), SystemCall::Recvmsg),
            libc::SYS_recvmmsg => by(receive(arguments[3]), SystemCall::Recvmmsg),
            libc::SYS_io_uring_setup => About::Uring,
            libc::SYS_seccomp | libc::SYS_prctl => About::OwnFilter,
            _ => return None,
        };
        let (place, length) = match number {
            libc::SYS_bind | libc::SYS_connect => (arguments[1], arguments[2]),
            libc::SYS_sendto => (arguments[4], arguments[5]),
            _ => (0, 0),
        };
        Some(Begun { about, arguments, address: look::address(thread, place, length) })
    }

    /// Where messages went that have an address of their own; of a call that failed, where the first of them would have
    /// gone.
    pub fn destinations(&self, thread: i32, value: i64, is_ok: bool) -> Vec<SocketAddr> {
        let place = self.arguments[1];
        match self.about {
            About::Socket { by: Some(SystemCall::Sendmsg), .. } => {
                Message::read(thread, place).and_then(|message| message.address(thread)).into_iter().collect()
            }
            About::Socket { by: Some(SystemCall::Sendmmsg), .. } => {
                const EACH: usize = size_of::<libc::mmsghdr>();
                let count = if is_ok { value as usize } else { self.arguments[2].min(1) as usize };
                let mut bytes = vec![0; count.min(MOST_MESSAGES) * EACH];
                let size = look::memory(thread, place, &mut bytes);
                let messages = bytes[..size].chunks_exact(EACH).filter_map(Message::new);
                messages.filter_map(|message| message.address(thread)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What recvmsg(MSG_ERRQUEUE) has got: the errno, and where the datagram was to go.
    pub fn queued_error(&self, thread: i32) -> Option<(Errno, Option<SocketAddr>)> {
        let About::Socket { by: Some(SystemCall::Recvmsg | SystemCall::Recvmmsg), .. } = self.about else {
            return None;
        };
        // The first one of recvmmsg() begins with a message as well.
        let message = Message::read(thread, self.arguments[1])?;
        let errno = message.control(thread).into_iter().find_map(|(level, kind, payload)| {
            let is_error =
                [(libc::SOL_IP, libc::IP_RECVERR), (libc::SOL_IPV6, libc::IPV6_RECVERR)].contains(&(level, kind));
            is_error.then(|| error_queue::parse(&payload)).flatten().map(|(errno, _)| errno)
        })?;
        Some((errno, message.address(thread)))
    }
}
