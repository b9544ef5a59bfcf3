//! The questions around a subject op, and the kernel's answers.
//!
//! If a question cannot be asked, the answer says so. Nothing here compares answers.

use std::io::Write;
use std::process::{Command, Stdio};

use super::case::{Domain, Known, RunningCase, known_as};
use super::table;
use crate::plan::socket_table::Sought;
use crate::plan::unix::UnixRow;
use crate::plan::{Answer, Census, MOST_FREE, MOST_ROWS, Query, Unsupported};
use crate::sys::{self, Fault};
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, Need, Protocol, User};
use crate::words::untrusted::Text;

pub fn ask(case: &mut RunningCase, query: &Query, user: Option<User>) -> Answer {
    answer(case, query, user).unwrap_or_else(|fault| Answer::Failed { error: fault.to_string().into() })
}

fn answer(case: &mut RunningCase, query: &Query, user: Option<User>) -> Result<Answer, Fault> {
    Ok(match query {
        Query::Socket { socket } => {
            let known = known_as(&case.sockets, socket)?;
            table::can_tell(case, known)?;
            let Some(sought) = table::sought(case, known)? else {
                return Ok(Answer::Socket { local: None, remote: None, rows: Vec::new(), inode: None });
            };
            let Sought { protocol, local, remote, inode } = sought;
            let mut rows = match local.port() {
                0 => Vec::new(),
                port => table::rows(case, protocol, port)?,
            };
            if rows.len() > MOST_ROWS {
                let mut first: Vec<_> = sought.among(&rows).take(MOST_ROWS).cloned().collect();
                rows.retain(|row| !first.contains(row));
                rows.truncate(MOST_ROWS - first.len());
                first.append(&mut rows);
                rows = first;
            }
            Answer::Socket { local: Some(local), remote, rows, inode }
        }
        Query::Census(Census { protocol, family: _, range }) => {
            let held = table::ports(case, protocol.table())?;
            let is_free = |port: &u16| !held.contains(*port);
            let free = range.ports().filter(is_free).count() as u32;
            let size = range.size();
            Answer::Census { held: size - free, size, free: range.ports().filter(is_free).take(MOST_FREE).collect() }
        }
        Query::Address { address } => Answer::Address { local: sys::has_address(*address)? },
        Query::Route { destination } => Answer::Route { kind: sys::route_kind(*destination)?.to_owned().into() },
        Query::Sysctl { name } => Answer::Sysctl { value: sysctl(name)?.into() },
        Query::Descriptors {} => {
            let limit = case.descriptor_limit();
            Answer::Descriptors { open: sys::open_descriptors(limit)?, limit }
        }
        Query::Counter { counter } => Answer::Counter { packets: packets(counter)? },
        Query::Unix { socket } => {
            let Known { domain: Domain::Unix(own), fd, .. } = known_as(&case.sockets, socket)? else {
                return Err(Fault::Failed(format!("`{socket}` is not of the family unix")));
            };
            let has_name = |row: &UnixRow| row.name.as_ref().map(Text::raw) == own.name.as_deref();
            let rows = match (sys::unix_rows(), fd) {
                (Ok(mut rows), _) => {
                    rows.retain(|row| row.inode == own.inode || (own.name.is_some() && has_name(row)));
                    rows.sort_by_key(|row| row.inode != own.inode);
                    rows.truncate(MOST_ROWS);
                    rows
                }
                // It says itself what it is, as long as it is there.
                (Err(_), Some(fd)) => vec![sys::own_unix_row(fd, own.kind)?],
                (Err(fault), None) => return Err(fault),
            };
            Answer::Unix { inode: own.inode, rows }
        }
        Query::File { path } => {
            case.is_at_home()?;
            let (kind, mode) = sys::file_kind(path)?;
            Answer::File { kind, mode }
        }
        Query::User {} => case.as_user::<_, Fault>(user, |_| {
            Ok(Answer::User { uid: sys::effective_uid(), net_bind_service: sys::may_bind_low_ports()? })
        })?,
    })
}

fn sysctl(name: &str) -> Result<String, Fault> {
    match sys::read_sysctl(name) {
        // Where there is no such switch, a new socket tells the default that it would be for (gVisor).
        Err(errno) if errno.is(ErrnoName::ENOENT) && name == "net.ipv6.bindv6only" => {
            let socket = sys::socket(Family::Ipv6, Protocol::Tcp)?;
            Ok(u8::from(sys::is_v6_only(&socket)?).to_string())
        }
        value => Ok(value?),
    }
}

fn packets(counter: &str) -> Result<u64, Fault> {
    let text = nft(&["-j", "list", "counter", "inet", "errnoscope", counter], "")?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Fault::Failed(format!("nft -j: {error}")))?;
    let entries = value["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .find_map(|entry| entry["counter"]["packets"].as_u64())
        .ok_or_else(|| Fault::Failed(format!("nft knows no counter `{counter}`")))
}

/// Runs nft(8) in this network namespace and gives back what it printed.
pub fn nft(arguments: &[&str], input: &str) -> Result<String, Fault> {
    sys::only_private()?;
    let failed = |error: std::io::Error| Fault::Failed(format!("nft: {error}"));
    let lacking = |reason: String| Fault::Unsupported(Unsupported { need: Need::Nft, reason: reason.into() });
    // It lives in sbin, which ordinary users' PATH leaves out.
    let start = |path: &str| {
        Command::new(path).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let is_absent =
        |tried: &std::io::Result<_>| matches!(tried, Err(error) if sys::errno_of(error).is(ErrnoName::ENOENT));
    let mut tried = ["nft", "/usr/sbin/nft", "/sbin/nft"].into_iter().map(start);
    let mut child = match tried.find(|tried| !is_absent(tried)) {
        Some(Ok(child)) => child,
        Some(Err(error)) => return Err(lacking(format!("nft cannot be started: {}", sys::errno_of(&error)))),
        None => return Err(lacking("nft cannot be started; install nftables".to_owned())),
    };
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(Fault::Failed(format!(
            "nft: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
