//! A TCP server that accepts every connection and closes it when the peer does.
//!
//! It never answers, and ends only with its world.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::plan::SocketOption;
use crate::sys::{
    Address, Fault, Mode, accept, bind, descriptor_limit, exit_now, listen, receive, set_descriptor_limit,
    set_nonblocking, set_option, socket,
};
use crate::words::names::{Family, Protocol};

/// More connections than any client asks for between two looks.
const BACKLOG: i32 = 65_535;

/// Listens on a port in both families.
pub fn listen_on(port: u16) -> Result<Vec<OwnedFd>, Fault> {
    let listener = |family, address: IpAddr| {
        let fd = socket(family, Protocol::Tcp)?;
        if family == Family::Ipv6 {
            set_option(&fd, family, &SocketOption::V6Only(true))?;
        }
        bind(&fd, &Address::new(SocketAddr::new(address, port)))?;
        listen(&fd, BACKLOG)?;
        set_nonblocking(&fd, Mode::Nonblocking)?;
        Ok::<_, Fault>(fd)
    };
    Ok(vec![
        listener(Family::Ipv4, Ipv4Addr::UNSPECIFIED.into())?,
        listener(Family::Ipv6, Ipv6Addr::UNSPECIFIED.into())?,
    ])
}

/// Accepts for ever.
pub fn serve(listeners: Vec<OwnedFd>) -> ! {
    let _ = set_descriptor_limit(descriptor_limit().1);
    let _ = accept_all(listeners);
    exit_now(1)
}

fn accept_all(listeners: Vec<OwnedFd>) -> nix::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let watch = |fd: &OwnedFd, flags| epoll.add(fd, EpollEvent::new(flags, fd.as_raw_fd() as u64));
    let listeners: HashMap<RawFd, OwnedFd> = listeners.into_iter().map(|fd| (fd.as_raw_fd(), fd)).collect();
    for listener in listeners.values() {
        watch(listener, EpollFlags::EPOLLIN | EpollFlags::EPOLLET)?;
    }
    let mut peers: HashMap<RawFd, OwnedFd> = HashMap::new();
    // Without a descriptor to be had, connections stay in the backlog until something happens to another one.
    let mut starved = false;
    let mut events = [EpollEvent::empty(); 256];
    let mut data = vec![0; 64 * 1024];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            // It was stopped and continued.
            Err(nix::Error::EINTR) => continue,
            count => count?,
        };
        let mut ready = Vec::new();
        for fd in events[..count].iter().map(|event| event.data() as RawFd) {
            match peers.get(&fd) {
                None => ready.push(fd),
                Some(peer) if receive(peer, &mut data).unwrap_or(0) == 0 => drop(peers.remove(&fd)),
                Some(_) => {}
            }
        }
        if std::mem::take(&mut starved) {
            ready = listeners.keys().copied().collect();
        }
        for listener in ready.iter().filter_map(|fd| listeners.get(fd)) {
            loop {
                match accept(listener) {
                    Ok(peer) => {
                        watch(&peer, EpollFlags::EPOLLIN)?;
                        peers.insert(peer.as_raw_fd(), peer);
                    }
                    Err(errno) => {
                        starved |= errno.raw() != libc::EAGAIN;
                        break;
                    }
                }
            }
        }
    }
}
