//! A utun device, behind which this process is the only router. It needs root. Its addresses and routes go when it is
//! closed.
//!
//! Kernel controls are described in `bsd/sys/kern_control.h` and `sys_domain.h`, this one in `bsd/net/if_utun.h`.
//! `router` decides what the router answers.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Mutex;

use super::super::darwin::{UTUN_HEADER, utun_frame, utun_packet};
use super::super::{Fault, Result, check, posix, router, unsupported};
use crate::words::names::{Need, Protocol};

/// What plans call a device, and what the kernel does: it numbers them.
static NAMES: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

pub struct Tun {
    fd: OwnedFd,
}

/// The utun device that plans call so, in this process.
pub(super) fn named(device: &str) -> Option<String> {
    NAMES.lock().ok()?.get(device).cloned()
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Tun {
    /// Creates a device with the next number that is free; it is up as soon as it has an address.
    pub fn create(device: &str) -> Result<Tun, Fault> {
        let (fd, name) = open().map_err(|errno| {
            unsupported(Need::Tun, format!("a utun device cannot be made: {errno}; run as root (sudo)"))
        })?;
        if let Ok(mut names) = NAMES.lock() {
            names.insert(device.to_owned(), name);
        }
        Ok(Tun { fd })
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

    /// Waits for the next packet that is sent into the device, and gives its size, which is 0 for what is no IP packet.
    pub fn receive(&mut self, packet: &mut [u8]) -> Result<usize, Fault> {
        let mut frame = vec![0; packet.len() + UTUN_HEADER];
        let size = crate::sys::read(&self.fd, &mut frame)?;
        let found = utun_packet(&frame[..size]).unwrap_or_default();
        packet[..found.len()].copy_from_slice(found);
        Ok(found.len())
    }

    /// The packet comes out of the device.
    pub fn send(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let frame = utun_frame(packet).ok_or_else(|| Fault::Failed("neither IPv4 nor IPv6".to_owned()))?;
        crate::sys::write(&self.fd, &frame)?;
        Ok(())
    }
}

/// A connected control socket is a device; which, an option tells.
fn open() -> Result<(OwnedFd, String)> {
    const CONTROL: &[u8] = b"com.apple.net.utun_control";
    // SAFETY: socket(2) takes no pointers.
    let fd = check(unsafe { libc::socket(libc::PF_SYSTEM, libc::SOCK_DGRAM, libc::SYSPROTO_CONTROL) })?;
    // SAFETY: the kernel has just handed out this descriptor, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    posix::close_on_exec(&fd)?;
    // SAFETY: zeroed is a valid ctl_info, which CTLIOCGINFO reads and writes.
    let id = unsafe {
        let mut info: libc::ctl_info = std::mem::zeroed();
        for (to, from) in info.ctl_name.iter_mut().zip(CONTROL) {
            *to = *from as libc::c_char;
        }
        check(libc::ioctl(fd.as_raw_fd(), libc::CTLIOCGINFO, &raw mut info))?;
        info.ctl_id
    };
    // SAFETY: zeroed is a valid sockaddr_ctl; unit 0 leaves the number to the kernel.
    let mut address: libc::sockaddr_ctl = unsafe { std::mem::zeroed() };
    address.sc_len = size_of::<libc::sockaddr_ctl>() as u8;
    address.sc_family = libc::AF_SYSTEM as u8;
    address.ss_sysaddr = libc::AF_SYS_CONTROL as u16;
    address.sc_id = id;
    // SAFETY: the pointer is to a whole sockaddr_ctl.
    check(unsafe {
        libc::connect(fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ctl>() as u32)
    })?;
    let mut name = [0_u8; libc::IFNAMSIZ];
    let mut length = name.len() as libc::socklen_t;
    // SAFETY: the pointers are to the name's bytes and their number.
    check(unsafe {
        let option = libc::UTUN_OPT_IFNAME;
        libc::getsockopt(fd.as_raw_fd(), libc::SYSPROTO_CONTROL, option, name.as_mut_ptr().cast(), &mut length)
    })?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok((fd, String::from_utf8_lossy(name).into_owned()))
}
