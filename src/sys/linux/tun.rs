//! A TUN device: behind it this process is the only router, or `delay` has a line.
//!
//! `router` decides what the router answers.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::namespace::only_private;
use crate::sys::{Fault, check, errno_of, router, unsupported, write_sysctl};
use crate::words::names::{Need, Protocol};

pub struct Tun {
    file: File,
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Tun {
    /// Opens the device, creates the interface and brings it up.
    pub fn create(device: &str) -> Result<Tun, Fault> {
        only_private()?;
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

    /// Waits for a TCP SYN or a UDP datagram, answers it, and says whose it was.
    pub fn answer(
        &mut self,
        protocol: Protocol,
        from: IpAddr,
        icmp: (u8, u8),
        wait_ms: u32,
    ) -> Result<(SocketAddr, SocketAddr), Fault> {
        router::answer(self, Tun::receive, Tun::send, protocol, from, icmp, wait_ms)
    }

    /// Waits for the next packet that is sent into the device, and gives its size.
    pub fn receive(&mut self, packet: &mut [u8]) -> Result<usize, Fault> {
        Ok(self.file.read(packet).map_err(|error| errno_of(&error))?)
    }

    /// The packet comes out of the device.
    pub fn send(&mut self, packet: &[u8]) -> Result<(), Fault> {
        Ok(self.file.write_all(packet).map_err(|error| errno_of(&error))?)
    }
}
