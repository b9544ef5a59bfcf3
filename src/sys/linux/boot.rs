//! A virtual machine whose first process is this program, straight from an initramfs.
//!
//! It mounts what the kernel offers, loads the modules that [`MODULES`] lists, and finds the line to the coordinator.
//! The worker talks on that line; when it ends, the machine ends. There is no shell, and nothing to configure.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::process::ExitCode;

use crate::sys::{Fork, check, fork, pause_for_ever};
use crate::words::errno::Errno;

/// Where a Linux system has the kernel's own file systems, in the order in which they can be mounted.
const KERNEL_FILE_SYSTEMS: [(&str, &str); 3] = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")];
/// The paths of kernel modules, one a line, in the order in which they can be loaded.
const MODULES: &str = "/modules";
/// What the virtio port is called that leads to the coordinator. Without one it is the console.
const PORT: &str = "errnoscope";
/// As many descriptors as a service manager allows its services.
const DESCRIPTORS: u64 = 524_288;

/// Runs `work` in a child with the line as its standard input and output, and switches the machine off when it ends.
pub fn boot(work: fn() -> ExitCode) -> ExitCode {
    if std::process::id() != 1 {
        complain("only a kernel can start this, as the first process of its machine");
        return ExitCode::from(2);
    }
    match prepare().and_then(|()| fork().map_err(as_error)) {
        Ok(Fork::Child) => return work(),
        Ok(Fork::Parent(worker)) => reap_until(worker),
        Err(error) => complain(&error.to_string()),
    }
    power_off()
}

fn prepare() -> io::Result<()> {
    for (kind, place) in KERNEL_FILE_SYSTEMS {
        mount(kind, place)?;
    }
    for path in fs::read_to_string(MODULES).unwrap_or_default().lines() {
        // What is missing shows in what the worker says that this machine offers.
        if let Err(error) = File::open(path).and_then(|module| load(&module)) {
            complain(&format!("{path}: {error}"));
        }
    }
    let limit = libc::rlimit64 { rlim_cur: DESCRIPTORS, rlim_max: DESCRIPTORS };
    // SAFETY: the pointer is to a whole rlimit.
    check(unsafe { libc::setrlimit64(libc::RLIMIT_NOFILE, &limit) }).map_err(as_error)?;
    port()?.map_or(Ok(()), become_streams)
}

fn mount(kind: &str, place: &str) -> io::Result<()> {
    fs::create_dir_all(place)?;
    let (kind, place) = (CString::new(kind)?, CString::new(place)?);
    // SAFETY: C strings, no flags and no data.
    match check(unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) }) {
        // The kernel has done it itself.
        Err(errno) if errno.raw() == libc::EBUSY => Ok(()),
        mounted => mounted.map(drop).map_err(as_error),
    }
}

/// finit_module(2), without parameters.
fn load(module: &File) -> io::Result<()> {
    // SAFETY: an open descriptor, and an empty C string for the parameters.
    check(unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), c"".as_ptr(), 0) } as i32)
        .map(drop)
        .map_err(as_error)
}

fn port() -> io::Result<Option<File>> {
    let Ok(ports) = fs::read_dir("/sys/class/virtio-ports") else { return Ok(None) };
    for entry in ports {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("name")).unwrap_or_default().trim() == PORT {
            let device = std::path::Path::new("/dev").join(entry.file_name());
            return File::options().read(true).write(true).open(device).map(Some);
        }
    }
    Ok(None)
}

/// Makes `file` the standard input and output of this process.
fn become_streams(file: File) -> io::Result<()> {
    let fd = file.into_raw_fd();
    for stream in [0, 1] {
        // SAFETY: dup2(2) takes no pointers.
        check(unsafe { libc::dup2(fd, stream) }).map_err(as_error)?;
    }
    Ok(())
}

/// Reaps until `pid` has ended. Orphans of the whole machine come to its first process.
fn reap_until(pid: i32) {
    loop {
        // SAFETY: a null status pointer asks for none.
        let reaped = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
        if reaped == pid || reaped == -1 {
            return;
        }
    }
}

/// reboot(2). A machine without a power switch stays where it is.
fn power_off() -> ! {
    // SAFETY: neither call takes pointers.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
    pause_for_ever()
}

fn as_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw())
}

fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "errnoscope init: {what}");
}
