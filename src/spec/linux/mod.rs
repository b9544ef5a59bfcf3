//! Linux: what its calls give, op by op.
//!
//! It does not know which op comes next, or what any of them was seen to give.

mod address;
mod bind;
mod connect;
mod datagram;
mod host;
mod port;
pub mod rules;
mod segments;
mod stream;

use std::net::SocketAddr;

use super::Permitted;
use super::course::{Course, Ending, Stop};
use super::state::{SocketEntry, SocketId, State};
use crate::plan::{Op, SocketForm};
use crate::words::names::{Protocol, User, Via};

/// Walks one path through an op.
pub fn perform(cx: &mut Course<'_>, s: &mut State, op: &Op, user: User) -> Ending {
    segments::let_time_pass(cx, s);
    match op {
        Op::Socket { socket, family, protocol, form } => {
            if *protocol == Protocol::Mptcp {
                return Err(Stop::not("MPTCP"));
            }
            if *form != SocketForm::Usual {
                return Err(Stop::not("raw and ping sockets"));
            }
            cx.refuses(&rules::NO_DESCRIPTOR, s.host.descriptors_left == Some(0))?;
            s.host.descriptors_left = s.host.descriptors_left.map(|left| left.saturating_sub(1));
            let id = s.add(SocketEntry::new(*protocol, *family, user));
            s.names.insert(socket.clone(), id);
            Ok(cx.gives(&rules::SOCKET_IS_MADE))
        }
        Op::SetOption { socket, option } => bind::set_option(cx, s, open(s, socket)?, user, option),
        Op::Bind { scope: Some(_), .. } => Err(Stop::not("an address with a scope")),
        Op::Bind { socket, address, port, length, .. } => {
            bind::bind(cx, s, open(s, socket)?, user, SocketAddr::new(*address, *port), *length)
        }
        Op::Listen { socket, backlog, .. } => bind::listen(cx, s, open(s, socket)?, *backlog),
        Op::Connect { via: Via::IoUring, .. } => Err(Stop::not("a connect that a ring waits for")),
        Op::Connect { socket, address, port, length, nonblocking, .. } => {
            let to = SocketAddr::new(*address, *port);
            let call = connect::Connect { to, length: *length, nonblocking: *nonblocking };
            connect::connect(cx, s, open(s, socket)?, &call)
        }
        Op::Disconnect { socket } => connect::dissolve(cx, s, open(s, socket)?),
        Op::Accept { socket, new, .. } => stream::accept(cx, s, open(s, socket)?, user, new),
        Op::Send { socket, bytes, .. } => {
            let id = open(s, socket)?;
            match s.socket(id).protocol {
                Protocol::Udp => datagram::send(cx, s, id, None, *bytes),
                Protocol::Tcp | Protocol::Mptcp => stream::send(cx, s, id),
            }
        }
        Op::SendUntilFull { socket, .. } => {
            let id = open(s, socket)?;
            match s.socket(id).protocol {
                Protocol::Udp => Err(Stop::not("a UDP socket that is full")),
                Protocol::Tcp | Protocol::Mptcp => stream::send_until_full(cx, s, id),
            }
        }
        Op::SendTo { socket, address, port, bytes } => {
            let id = open(s, socket)?;
            match s.socket(id).protocol {
                Protocol::Udp => datagram::send(cx, s, id, Some(SocketAddr::new(*address, *port)), *bytes),
                // A TCP socket does not look at the address (`tcp_sendmsg_locked()`).
                Protocol::Tcp | Protocol::Mptcp => stream::send(cx, s, id),
            }
        }
        Op::Receive { socket, .. } => stream::receive(cx, s, open(s, socket)?),
        Op::Shutdown { socket, how } => stream::shutdown(cx, s, open(s, socket)?, *how),
        Op::Close { socket } => stream::close(cx, s, open(s, socket)?),
        Op::SoError { socket, .. } => stream::so_error(cx, s, open(s, socket)?),
        Op::GetName { socket } => open(s, socket).map(|_| Permitted::Ok),
        Op::Inherit { socket } => {
            let id = open(s, socket)?;
            s.socket_mut(id).descriptors += 1;
            Ok(Permitted::Ok)
        }
        Op::Wait { socket, state, .. } => match s.named(socket) {
            Some(id) => host::wait(cx, s, id, *state),
            None => Err(Stop::not("a wait for a socket of another family")),
        },
        Op::Elapse { ms } => host::elapse(cx, s, *ms),
        Op::SetSysctl { name, value } => {
            s.host.sysctls.insert(name.clone(), value.clone());
            if name == "net.ipv6.conf.all.disable_ipv6" && value != "0" {
                s.host.addresses.retain(|(_, own, _)| own.is_ipv4());
            }
            Ok(Permitted::Ok)
        }
        Op::SetUp { .. } => Ok(Permitted::Ok),
        Op::AddAddress { dad: true, .. } => Err(Stop::not("an address that is not yet proved unique")),
        Op::AddAddress { device, address, prefix, .. } => {
            s.host.addresses.push((device.clone(), *address, *prefix));
            Ok(Permitted::Ok)
        }
        Op::DeleteAddress { address, .. } => {
            s.host.addresses.retain(|(_, own, _)| own != address);
            Ok(Permitted::Ok)
        }
        Op::AddVeth { device, peer } => {
            s.host.devices.extend([device.clone(), peer.clone()]);
            Ok(Permitted::Ok)
        }
        Op::Fill(fill) if fill.protocol == Protocol::Mptcp => Err(Stop::not("MPTCP")),
        Op::Fill(fill) => host::fill(cx, s, user, fill),
        Op::AddRoute { .. } => Err(Stop::not("routes")),
        Op::AddTun { .. } | Op::Answer { .. } => Err(Stop::not("other hosts, and what they answer")),
        Op::Nft { .. } => Err(Stop::not("packet filters")),
        Op::ErrorQueue { .. } => Err(Stop::not("the error queue")),
        Op::ExhaustDescriptors {} => {
            s.host.descriptors_left = Some(0);
            Ok(Permitted::Ok)
        }
        Op::ForbidTcp {} => {
            s.host.tcp_forbidden = true;
            Ok(Permitted::Ok)
        }
        Op::UnixSocket { .. }
        | Op::UnixBind { .. }
        | Op::UnixConnect { .. }
        | Op::UnixSendTo { .. }
        | Op::MakeFile { .. }
        | Op::MakeDirectory { .. }
        | Op::Unlink { .. }
        | Op::MakeReadOnly {} => Err(Stop::not("the family unix")),
        Op::Raise { .. } => Err(Stop::not("signals")),
    }
}

/// A socket of this program that is open.
fn open(s: &State, name: &str) -> Result<SocketId, Stop> {
    let id = s.named(name).filter(|id| s.sockets.get(id).is_some_and(SocketEntry::is_open));
    id.ok_or_else(|| Stop::not("an op on a socket that is not open"))
}
