//! A TUN device: behind it this process is the only router, or `delay` has a line.
//!
//! As a router it answers SYNs with the ICMP error that a plan asks for; it forwards nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::names::Need;
use crate::packet::{Syn, icmp_error};
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
            let size = self.receive(&mut packet)?;
            let Some(Syn { source, destination, .. }) = Syn::parse(&packet[..size]) else { continue };
            let answer = icmp_error(router, source.ip(), icmp, &packet[..size])
                .ok_or_else(|| Fault::Failed(format!("{router} cannot answer {source}: another family")))?;
            self.send(&answer)?;
            return Ok((source, destination));
        }
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
