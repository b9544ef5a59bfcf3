//! The router behind a TUN device: it answers SYNs and datagrams with the ICMP error that a plan asks for, and forwards
//! nothing.
//!
//! Each operating system has its own way to read and write the device.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{Fault, Until, poll};
use crate::words::names::Protocol;
use crate::words::packet::{icmp_error, request};

/// Waits for a TCP SYN or a UDP datagram, answers it, and says whose it was.
pub(super) fn answer<D: AsFd>(
    device: &mut D,
    receive: impl Fn(&mut D, &mut [u8]) -> Result<usize, Fault>,
    send: impl Fn(&mut D, &[u8]) -> Result<(), Fault>,
    protocol: Protocol,
    router: IpAddr,
    icmp: (u8, u8),
    wait_ms: u32,
) -> Result<(SocketAddr, SocketAddr), Fault> {
    let end = Instant::now() + Duration::from_millis(wait_ms.into());
    let mut packet = [0_u8; 2048];
    loop {
        let left = end.saturating_duration_since(Instant::now()).as_millis() as u32;
        if left == 0 || !poll(&*device, Until::Readable, left)? {
            return Err(Fault::Blocked { ms: wait_ms });
        }
        let size = receive(device, &mut packet)?;
        let Some((source, destination)) = request(protocol, &packet[..size]) else { continue };
        let answer = icmp_error(router, source.ip(), icmp, &packet[..size])
            .ok_or_else(|| Fault::Failed(format!("{router} cannot answer {source}: another family")))?;
        send(device, &answer)?;
        return Ok((source, destination));
    }
}
