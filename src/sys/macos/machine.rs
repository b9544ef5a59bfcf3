//! What a case changes of the Mac that it shares with everybody, and how that is undone: the range of ephemeral ports,
//! and addresses of the loopback interface. Both need root.
//!
//! `darwin` has the words for that, and `journal` remembers what is left to undo. Nothing else of the machine is
//! changed.

use std::ffi::CString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::net::if_::InterfaceFlags;

use super::super::darwin::{self, Own, Setting};
use super::super::journal::HostChange;
use super::super::{
    Fault, Isolate, Isolation, Purpose, Result, check, effective_uid, pause_ms, shared_host, unsupported,
};
use super::{NAME, OS, has_address, interfaces, ip, no_private_host, utun};
use crate::plan::RouteKind;
use crate::words::errno::Errno;
use crate::words::names::Need;

/// The uids that stand for user-a and user-b: nobody's, and only root can take them.
const USERS: [u32; 2] = [60_001, 60_002];

pub(super) const LOOPBACK: &str = "lo0";

/// How long duplicate address detection may take: it waits for a second.
const TENTATIVE: Duration = Duration::from_secs(4);

/// There is no private host.
pub fn isolate(outside: Purpose, _: Isolate) -> Isolation {
    if outside == Purpose::Worker {
        shared_host::be_the_only_worker();
    }
    let shared = Some(format!("{NAME} has no network namespaces"));
    Isolation { kind: "none", users: USERS, lacking: None, shared }
}

/// What no two boots have in common.
pub(in super::super) fn boot_session() -> Result<String, Fault> {
    text("kern.bootsessionuuid").map_err(|errno| Fault::Failed(format!("kern.bootsessionuuid: {errno}")))
}

/// Root's is emptied by a boot, as the changes are; a user's, which has no changes, only keeps a second worker out.
pub(in super::super) fn journal_path() -> Option<PathBuf> {
    Some(match effective_uid() {
        0 => PathBuf::from("/var/run/errnoscope.journal"),
        uid => std::env::temp_dir().join(format!("errnoscope-{uid}.journal")),
    })
}

pub fn enter_case(_: &Isolation) -> Result<()> {
    shared_host::enter_case()
}

pub fn leave_case(_: &Isolation, pid: i32) {
    shared_host::leave_case(pid);
}

pub(in super::super) fn undo(change: &HostChange) -> Result<(), Fault> {
    if !darwin::is_made(change, |name| number(name).ok(), |address| has_address(address).unwrap_or(false)) {
        return Ok(());
    }
    match change {
        HostChange::Setting { name, from, .. } => {
            set_number(name, *from).map_err(|errno| Fault::Failed(format!("{name} = {from}: {errno}")))
        }
        HostChange::Address { device, address } => {
            run("/sbin/ifconfig", &darwin::remove_address(device, *address)).map(drop)
        }
        HostChange::Directory { path } => shared_host::remove_directory(path),
    }
}

pub fn enter_directory(_: &Isolation) -> Result<(), Fault> {
    shared_host::enter_directory()
}

/// Notes a change and makes it.
fn change(change: &HostChange, make: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    if effective_uid() != 0 {
        return Err(unsupported(Need::NetworkNamespace, format!("{NAME} lets only root change that; run with sudo")));
    }
    shared_host::make(change, make).unwrap_or_else(no_private_host)
}

pub fn read_sysctl(name: &str) -> Result<String> {
    match Setting::named(name) {
        Setting::PortRange => {
            let [first, last] = darwin::RANGES[0];
            Ok(format!("{} {}", number(first)?, number(last)?))
        }
        Setting::Number(name) => Ok(number(&name)?.to_string()),
        Setting::Absent => Err(Errno::from_raw(OS, libc::ENOENT)),
    }
}

/// The range of ports is the one setting that is changed.
pub fn write_sysctl(name: &str, value: &str) -> Result<(), Fault> {
    match Setting::named(name) {
        Setting::PortRange => {
            for (name, to) in darwin::port_range(value)? {
                let from = number(name)?;
                if from != to {
                    let made = HostChange::Setting { name: name.to_owned(), from, to };
                    change(&made, || Ok(set_number(name, to)?))?;
                }
            }
            Ok(())
        }
        Setting::Number(_) => no_private_host(),
        Setting::Absent => Err(unsupported(Need::Linux, format!("{NAME} has no {name}"))),
    }
}

/// An integer of sysctl(3).
pub(super) fn number(name: &str) -> Result<i32> {
    let name = CString::new(name).unwrap_or_default();
    let (mut value, mut size) = (0_i32, size_of::<i32>());
    // SAFETY: the pointers are to an int and its size; null asks for no change.
    check(unsafe { libc::sysctlbyname(name.as_ptr(), (&raw mut value).cast(), &mut size, std::ptr::null_mut(), 0) })?;
    Ok(value)
}

fn set_number(name: &str, mut value: i32) -> Result<()> {
    let name = CString::new(name).unwrap_or_default();
    let (nothing, size) = (std::ptr::null_mut(), size_of::<i32>());
    // SAFETY: the pointer is to an int, and null asks for no old value.
    check(unsafe { libc::sysctlbyname(name.as_ptr(), nothing, nothing.cast(), (&raw mut value).cast(), size) })
        .map(drop)
}

/// A string of sysctl(3).
fn text(name: &str) -> Result<String> {
    let name = CString::new(name).unwrap_or_default();
    let mut bytes = [0_u8; 128];
    let mut size = bytes.len();
    // SAFETY: the buffer has as many bytes as the size says, which the kernel sets to what it wrote.
    check(unsafe { libc::sysctlbyname(name.as_ptr(), bytes.as_mut_ptr().cast(), &mut size, std::ptr::null_mut(), 0) })?;
    let text = bytes[..size].split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

pub fn add_address(device: &str, address: IpAddr, prefix: u8) -> Result<(), Fault> {
    if let Some(device) = utun::named(device) {
        refuse(address)?;
        run("/sbin/ifconfig", &darwin::add_address(&device, address, prefix))?;
        return settle(&device, address);
    }
    if device != "lo" {
        return no_private_host();
    }
    // Whose it is, it is there, and stays.
    if has_address(address)? {
        return Ok(());
    }
    refuse(address)?;
    let made = HostChange::Address { device: LOOPBACK.to_owned(), address };
    change(&made, || run("/sbin/ifconfig", &darwin::add_address(LOOPBACK, address, prefix)).map(drop))?;
    settle(LOOPBACK, address)
}

/// Only what a case has added.
pub fn delete_address(device: &str, address: IpAddr, _: u8) -> Result<(), Fault> {
    let made = HostChange::Address { device: LOOPBACK.to_owned(), address };
    if device != "lo" || !shared_host::has_made(&made)? {
        return no_private_host();
    }
    run("/sbin/ifconfig", &darwin::remove_address(LOOPBACK, address)).map(drop)
}

fn refuse(address: IpAddr) -> Result<(), Fault> {
    let others: Vec<Own> = interfaces()?
        .iter()
        .filter(|interface| !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(|interface| {
            let netmask = interface.netmask.as_ref().and_then(ip);
            let peer = interface.destination.as_ref().and_then(ip);
            Some(Own { address: interface.address.as_ref().and_then(ip)?, netmask, peer })
        })
        .collect();
    match darwin::refuses(address, &others) {
        Some(why) => Err(unsupported(Need::NetworkNamespace, why)),
        None => Ok(()),
    }
}

/// Waits until an IPv6 address may be used.
fn settle(device: &str, address: IpAddr) -> Result<(), Fault> {
    let end = Instant::now() + TENTATIVE;
    while address.is_ipv6() && darwin::is_tentative(&run("/sbin/ifconfig", &[device.to_owned()])?, address) {
        if Instant::now() > end {
            return Err(Fault::Failed(format!("{address} is still tentative on {device}")));
        }
        pause_ms(20.0);
    }
    Ok(())
}

/// Through a utun device of the case's own, with which it goes.
pub fn add_route(destination: IpAddr, prefix: u8, kind: RouteKind, device: Option<&str>) -> Result<(), Fault> {
    match (kind, device.and_then(utun::named)) {
        (RouteKind::Unicast, Some(device)) => {
            refuse(destination)?;
            run("/sbin/route", &darwin::add_route(destination, prefix, &device)).map(drop)
        }
        _ => no_private_host(),
    }
}

pub fn route_kind(destination: IpAddr) -> Result<&'static str, Fault> {
    let said = said("/sbin/route", &darwin::ask_route(destination))?;
    darwin::route_kind(&said)
        .ok_or_else(|| Fault::Failed(format!("route get {destination} says what is not known: {}", said.trim())))
}

/// What a program says, if it ends well.
fn run(program: &str, words: &[String]) -> Result<String, Fault> {
    let output = output(program, words)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Fault::Failed(format!("{program} {}: {}: {why}", words.join(" "), output.status)))
}

/// What a program says, however it ends.
fn said(program: &str, words: &[String]) -> Result<String, Fault> {
    let output = output(program, words)?;
    Ok([output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
}

fn output(program: &str, words: &[String]) -> Result<std::process::Output, Fault> {
    let output = Command::new(program).args(words).env("LC_ALL", "C").stdin(Stdio::null()).output();
    output.map_err(|error| Fault::Failed(format!("{program}: {error}")))
}
