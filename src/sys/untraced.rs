//! For systems where no command can be traced: those without ptrace(2)'s seccomp stops, and Linux on processors whose
//! calls nobody has listed.
//!
//! It makes no call, and says that there is no tracing.

use super::Result;
use super::os::{NAME, OS};
use crate::knowledge::calls::{Record, Seen};
use crate::words::errno::Errno;

/// No value of this type exists here.
pub struct Watch {
    pub seen: Seen,
    pub calls: Vec<Record>,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "it is what keeps a value from being made"))]
    never: std::convert::Infallible,
}

impl Watch {
    pub fn begin(_: i32) -> Result<Watch> {
        Err(Errno::from_raw(OS, libc::ENOTSUP))
    }

    #[cfg(target_os = "linux")]
    pub(super) fn stopped(&mut self, _: i32, _: i32) {
        match self.never {}
    }

    #[cfg(target_os = "linux")]
    pub(super) fn gone(&mut self, _: i32) {
        match self.never {}
    }
}

pub fn be_watched() -> Result<()> {
    Err(Errno::from_raw(OS, libc::ENOTSUP))
}

/// Why nothing can be traced here.
pub fn cannot_trace() -> Option<String> {
    Some(format!(
        "{NAME} on {} is not among the systems whose calls this program can trace: Linux on x86_64 and aarch64",
        std::env::consts::ARCH
    ))
}
