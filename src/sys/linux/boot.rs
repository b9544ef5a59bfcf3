//! A virtual machine whose first process is this program, straight from an initramfs.
//!
//! It mounts what the kernel offers, loads the modules that [`MODULES`] lists, and finds the line to the coordinator.
//! The worker talks on that line; when it ends, the machine ends. There is no shell, and nothing to configure.

use std::fs::{self, File};
use std::io::{self, Write};
use std::process::ExitCode;

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{self, Resource, Rlimit, WaitOptions};
use rustix::{stdio, system};

use crate::sys::{Fork, fork, pause_for_ever};

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
    match prepare().and_then(|()| fork().map_err(|errno| io::Error::from_raw_os_error(errno.raw()))) {
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
    let limit = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    process::setrlimit(Resource::Nofile, limit)?;
    port()?.map_or(Ok(()), become_streams)
}

fn mount(kind: &str, place: &str) -> io::Result<()> {
    fs::create_dir_all(place)?;
    match rustix::mount::mount(kind, place, kind, MountFlags::empty(), None) {
        // The kernel has done it itself.
        Err(Errno::BUSY) => Ok(()),
        mounted => Ok(mounted?),
    }
}

/// finit_module(2), without parameters.
fn load(module: &File) -> io::Result<()> {
    Ok(system::finit_module(module, c"", 0)?)
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
    stdio::dup2_stdin(&file)?;
    Ok(stdio::dup2_stdout(&file)?)
}

/// Reaps until `pid` has ended. Orphans of the whole machine come to its first process.
fn reap_until(pid: i32) {
    loop {
        match process::wait(WaitOptions::empty()) {
            Ok(Some((reaped, _))) if reaped.as_raw_pid() != pid => {}
            _ => return,
        }
    }
}

/// reboot(2). A machine without a power switch stays where it is.
fn power_off() -> ! {
    rustix::fs::sync();
    let _ = system::reboot(system::RebootCommand::PowerOff);
    pause_for_ever()
}

fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "errnoscope init: {what}");
}
