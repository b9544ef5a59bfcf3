//! Memory that a case's process writes and its parent reads, even after the writer has crashed.
//!
//! Records are appended and then committed by one atomic store, so a crash loses only the record in progress, and no
//! record costs a wake-up. It does not read the records.

use std::io::Write;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// An anonymous shared mapping: committed length, last words, records.
pub struct Trail {
    base: *mut u8,
    capacity: usize,
}

#[repr(C)]
struct Header {
    committed: AtomicUsize,
    message: AtomicU32,
}

const HEADER: usize = 64;
const MESSAGE: usize = 4096 - HEADER;

/// Miri interprets one process, and knows memory of its own alone.
const SHARING: i32 = if cfg!(miri) { libc::MAP_PRIVATE } else { libc::MAP_SHARED };

impl Trail {
    pub fn new(capacity: usize) -> super::Result<Trail> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                HEADER + MESSAGE + capacity,
                libc::PROT_READ | libc::PROT_WRITE,
                SHARING | libc::MAP_ANON,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED { Err(super::last()) } else { Ok(Trail { base: base.cast(), capacity }) }
    }

    /// Forgets everything. Only while no process writes.
    pub fn reset(&mut self) {
        self.header().message.store(0, Ordering::Relaxed);
        self.header().committed.store(0, Ordering::Release);
    }

    /// Appends what `write` writes, all of it or nothing; records are separated by commas.
    pub fn append(&mut self, write: impl FnOnce(&mut &mut [u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        let start = self.header().committed.load(Ordering::Relaxed);
        // SAFETY: the range lies in the mapping beyond what is committed, and this process is its only writer.
        let mut free =
            unsafe { std::slice::from_raw_parts_mut(self.base.add(HEADER + MESSAGE + start), self.capacity - start) };
        let room = free.len();
        if start != 0 {
            free.write_all(b",")?;
        }
        write(&mut free)?;
        let used = room - free.len();
        self.header().committed.store(start + used, Ordering::Release);
        Ok(())
    }

    /// Everything committed, the records separated by commas.
    pub fn records(&self) -> &[u8] {
        let committed = self.header().committed.load(Ordering::Acquire).min(self.capacity);
        // SAFETY: the range lies in the mapping, and a writer never changes what it has committed.
        unsafe { std::slice::from_raw_parts(self.base.add(HEADER + MESSAGE), committed) }
    }

    /// The last words of a process that is about to give up.
    pub fn leave_message(&self, message: &str) {
        let length = (0..=message.len().min(MESSAGE)).rev().find(|&end| message.is_char_boundary(end)).unwrap_or(0);
        // SAFETY: the destination has room for MESSAGE bytes and is no part of the source.
        unsafe { std::ptr::copy_nonoverlapping(message.as_ptr(), self.base.add(HEADER), length) };
        self.header().message.store(length as u32, Ordering::Release);
    }

    pub fn message(&self) -> String {
        let length = (self.header().message.load(Ordering::Acquire) as usize).min(MESSAGE);
        // SAFETY: the range lies in the mapping; its writer is gone or has stored the length after the text.
        let bytes = unsafe { std::slice::from_raw_parts(self.base.add(HEADER), length) };
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Another handle on the same memory, for a panic hook: it may outlive nothing, since a mapping is never undone.
    pub fn alias(&self) -> Trail {
        Trail { base: self.base, capacity: self.capacity }
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, zeroed and at least as large as a header.
        unsafe { &*self.base.cast::<Header>() }
    }
}

// SAFETY: the mapping lives as long as the process; what is shared in it is atomic or has one writer.
unsafe impl Send for Trail {}
// SAFETY: as above.
unsafe impl Sync for Trail {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_does_not_fit_leaves_no_trace() {
        let mut trail = Trail::new(10).unwrap();
        trail.append(|out| out.write_all(b"12345")).unwrap();
        assert!(trail.append(|out| out.write_all(b"67890")).is_err());
        assert_eq!(trail.records(), b"12345");
        trail.append(|out| out.write_all(b"6")).unwrap();
        assert_eq!(trail.records(), b"12345,6");
        trail.leave_message("é".repeat(4000).as_str());
        assert!(trail.message().chars().all(|c| c == 'é'));
        trail.reset();
        assert_eq!((trail.records(), trail.message().as_str()), (&b""[..], ""));
    }
}
