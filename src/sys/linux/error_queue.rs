//! The error queue of a socket: who sent the ICMP error, and what it said (ip(7), IP_RECVERR).
//!
//! It reads one entry; the caller waits for one.

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use super::OS;
use crate::plan::Detail;
use crate::sys::{Fault, check_size};
use crate::words::errno::Errno;

/// recvmsg(MSG_ERRQUEUE): `ee_errno` and the rest of the entry.
pub fn receive_error(fd: &OwnedFd) -> Result<(Errno, Detail), Fault> {
    let mut data = [0_u8; 2048];
    let mut control = [0_u64; 64];
    let mut parts = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: zeroed is a valid msghdr; the pointers put into it outlive the call.
    let message = unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &mut parts;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        check_size(libc::recvmsg(fd.as_raw_fd(), &mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT))?;
        message
    };
    // SAFETY: the kernel has filled in a chain of control messages of msg_controllen bytes.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while let Some(entry) = header.as_ref() {
            let ours = [(libc::SOL_IP, libc::IP_RECVERR), (libc::SOL_IPV6, libc::IPV6_RECVERR)];
            if ours.contains(&(entry.cmsg_level, entry.cmsg_type)) {
                let length = entry.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as _) as _;
                let payload = std::slice::from_raw_parts(libc::CMSG_DATA(header), length);
                return parse(payload)
                    .ok_or_else(|| Fault::Failed("an entry of the error queue is too short".to_owned()));
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    Err(Fault::Failed("the error queue held a message without an error".to_owned()))
}

/// `struct sock_extended_err`, and behind it the offender's address (`include/uapi/linux/errqueue.h`).
pub(super) fn parse(payload: &[u8]) -> Option<(Errno, Detail)> {
    let (entry, offender) = payload.split_at_checked(size_of::<libc::sock_extended_err>())?;
    let errno = u32::from_ne_bytes(entry[..4].try_into().ok()?);
    let family = offender.get(..2).map_or(0, |bytes| i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])));
    let offender = match family {
        libc::AF_INET => {
            offender.get(4..8).and_then(|a| <[u8; 4]>::try_from(a).ok()).map(|a| IpAddr::V4(Ipv4Addr::from(a)))
        }
        libc::AF_INET6 => {
            offender.get(8..24).and_then(|a| <[u8; 16]>::try_from(a).ok()).map(|a| IpAddr::V6(Ipv6Addr::from(a)))
        }
        _ => None,
    };
    let detail = Detail::ErrorQueue { origin: entry[4], icmp_type: entry[5], icmp_code: entry[6], offender };
    Some((Errno::from_raw(OS, errno as i32), detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_the_router() {
        let mut entry = Vec::from(113_u32.to_ne_bytes());
        entry.extend([2, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        entry.extend((libc::AF_INET as u16).to_ne_bytes());
        entry.extend([0, 0, 192, 0, 2, 254, 0, 0, 0, 0, 0, 0, 0, 0]);
        let (errno, detail) = parse(&entry).unwrap();
        assert_eq!(errno.name(), "EHOSTUNREACH");
        let offender = Some(IpAddr::from([192, 0, 2, 254]));
        assert_eq!(detail, Detail::ErrorQueue { origin: 2, icmp_type: 11, icmp_code: 0, offender });
        assert_eq!(parse(&entry[..15]), None);
        assert!(matches!(parse(&entry[..20]), Some((_, Detail::ErrorQueue { offender: None, .. }))));
    }
}
