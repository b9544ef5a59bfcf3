//! A TUN device: behind it this process is the only router, or `delay` has a line.
//!
//! As a router it answers SYNs with the ICMP error that a plan asks for; it forwards nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use crate::names::Need;
use crate::sys::{Fault, Until, check, errno_of, poll, unsupported, write_sysctl};

pub struct Tun {
    file: File,
}

impl Tun {
    /// Opens the device, creates the interface and brings it up.
    pub fn create(device: &str) -> Result<Tun, Fault> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(|error| {
            let errno = errno_of(&error);
            unsupported(
                Need::Tun,
                format!("/dev/net/tun cannot be opened: {errno}; load the tun module, and let this user open it"),
            )
        })?;
        // SAFETY: zeroed is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(device.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
        // Or closing it would unregister it, and wait for everybody who may still look at it (netdev_run_todo(), 30 ms
        // where this was measured). The namespace takes the device along when it goes, and lets nobody wait for that.
        // SAFETY: TUNSETPERSIST takes an int.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST as _, 1) })?;
        // A namespace may start with the host's strict filter, which drops a router that no route leads back to.
        for scope in ["all", device] {
            write_sysctl(&format!("net.ipv4.conf.{scope}.rp_filter"), "0")?;
        }
        super::set_up(device)?;
        Ok(Tun { file })
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.file.into()
    }

    /// Waits for a TCP SYN, answers it, and says whose it was.
    pub fn answer_syn(
        &mut self,
        router: IpAddr,
        icmp: (u8, u8),
        wait_ms: u32,
    ) -> Result<(SocketAddr, SocketAddr), Fault> {
        let end = std::time::Instant::now() + std::time::Duration::from_millis(wait_ms.into());
        let mut packet = [0_u8; 2048];
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now()).as_millis() as u32;
            if left == 0 || !poll(self.file.as_raw_fd(), Until::Readable, left)? {
                return Err(Fault::Blocked { ms: wait_ms });
            }
            let size = self.file.read(&mut packet).map_err(|error| errno_of(&error))?;
            let Some((source, destination)) = syn(&packet[..size]) else { continue };
            let answer = icmp_error(router, source.ip(), icmp, &packet[..size])
                .ok_or_else(|| Fault::Failed(format!("{router} cannot answer {source}: another family")))?;
            self.file.write_all(&answer).map_err(|error| errno_of(&error))?;
            return Ok((source, destination));
        }
    }
}

/// The endpoints of a TCP SYN, if the packet is one.
fn syn(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let (source, destination) = match sliced.net? {
        NetSlice::Ipv4(ip) => (IpAddr::V4(ip.header().source_addr()), IpAddr::V4(ip.header().destination_addr())),
        NetSlice::Ipv6(ip) => (IpAddr::V6(ip.header().source_addr()), IpAddr::V6(ip.header().destination_addr())),
        _ => return None,
    };
    match sliced.transport? {
        TransportSlice::Tcp(tcp) if tcp.syn() && !tcp.ack() => {
            Some((SocketAddr::new(source, tcp.source_port()), SocketAddr::new(destination, tcp.destination_port())))
        }
        _ => None,
    }
}

/// The error message, quoting the packet whole (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4).
fn icmp_error(router: IpAddr, to: IpAddr, (kind, code): (u8, u8), packet: &[u8]) -> Option<Vec<u8>> {
    let mut answer = Vec::with_capacity(packet.len() + 64);
    match (router, to) {
        (IpAddr::V4(router), IpAddr::V4(to)) => PacketBuilder::ipv4(router.octets(), to.octets(), 64)
            .icmpv4_raw(kind, code, [0; 4])
            .write(&mut answer, &packet[..packet.len().min(548)]),
        (IpAddr::V6(router), IpAddr::V6(to)) => PacketBuilder::ipv6(router.octets(), to.octets(), 64)
            .icmpv6_raw(kind, code, [0; 4])
            .write(&mut answer, &packet[..packet.len().min(1232)]),
        _ => return None,
    }
    .ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_is_told_from_other_segments_and_quoted() {
        let segment = |ack: bool| {
            let builder = PacketBuilder::ipv4([192, 0, 2, 1], [198, 51, 100, 1], 3).tcp(40_000, 80, 1, 100).syn();
            let mut packet = Vec::new();
            if ack { builder.ack(1) } else { builder }.write(&mut packet, &[]).unwrap();
            packet
        };
        assert_eq!(syn(&segment(true)), None);
        let packet = segment(false);
        let (source, _) = syn(&packet).unwrap();
        assert_eq!(source, "192.0.2.1:40000".parse().unwrap());
        let answer = icmp_error([192, 0, 2, 254].into(), source.ip(), (11, 0), &packet).unwrap();
        assert_eq!(answer[20..22], [11, 0]);
        assert_eq!(answer[28..], packet[..]);
        assert_eq!(icmp_error("2001:db8::1".parse().unwrap(), source.ip(), (3, 0), &packet), None);
    }
}
