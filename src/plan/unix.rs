//! Names of sockets of the family unix, and the rows by which a kernel lists them (unix(7)).
//!
//! Files of a case are below a directory of its own: no name here leads out of it.

use serde::{Deserialize, Serialize};

use super::{Op, Plan, Query, Role};
use crate::words::names::{UnixKind, UnixState};
use crate::words::untrusted::Text;

/// What bind(2), connect(2) and sendto(2) call a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum UnixName {
    /// A file of the case's directory.
    Path(OwnPath),
    /// A name that no file has, of the network namespace (Linux).
    Abstract(String),
}

/// The path of a file below the directory that a case has for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct OwnPath(#[schemars(regex(pattern = r"^[^/].*$"))] String);

/// A path that leads somewhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path of a case's file has names and `/` between them: it begins with none, and has neither `..` nor NUL")]
pub struct Elsewhere;

/// One socket of the family unix, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnixRow {
    /// Of which kind it is.
    pub kind: UnixKind,
    /// What it is doing.
    pub state: UnixState,
    /// The path that bind(2) was given, or the abstract name behind an `@`; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// 0 for the server's end of a connection that nobody has accepted.
    pub inode: u32,
}

impl Plan {
    /// Whether it takes a directory of the case's own.
    pub fn uses_files(&self) -> bool {
        let is_about_files = |query: &Query| matches!(query, Query::File { .. });
        self.steps.iter().any(|step| {
            let asks = matches!(&step.role, Role::Subject { queries, .. } if queries.iter().any(is_about_files));
            asks || step.op.uses_files()
        })
    }
}

impl Op {
    /// Whether it takes a directory of the case's own.
    pub fn uses_files(&self) -> bool {
        match self {
            Op::UnixBind { name, .. } | Op::UnixConnect { name, .. } | Op::UnixSendTo { name, .. } => {
                name.path().is_some()
            }
            Op::MakeFile { .. } | Op::MakeDirectory { .. } | Op::Unlink { .. } | Op::MakeReadOnly {} => true,
            _ => false,
        }
    }
}

impl OwnPath {
    /// As a call takes it, relative to the directory.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OwnPath {
    type Error = Elsewhere;

    fn try_from(path: String) -> Result<OwnPath, Elsewhere> {
        let is_own = |part: &str| !part.is_empty() && part != ".." && !part.contains('\0');
        if path.split('/').all(is_own) { Ok(OwnPath(path)) } else { Err(Elsewhere) }
    }
}

impl From<OwnPath> for String {
    fn from(path: OwnPath) -> String {
        path.0
    }
}

impl UnixName {
    /// The file that it names.
    pub fn path(&self) -> Option<&OwnPath> {
        match self {
            UnixName::Path(path) => Some(path),
            UnixName::Abstract(_) => None,
        }
    }

    /// As the kernel's list spells it.
    pub fn listed(&self) -> String {
        match self {
            UnixName::Path(path) => path.0.clone(),
            UnixName::Abstract(name) => format!("@{name}"),
        }
    }
}

impl UnixRow {
    /// A line of /proc/net/unix (proc(5)): address, references, protocol, flags, type, state, inode, and a name if
    /// there is one. Nothing where it is no such line, as the first is none.
    pub fn of_line(line: &str) -> Option<UnixRow> {
        /// `__SO_ACCEPTCON`, include/uapi/linux/net.h.
        const ACCEPTS: u32 = 1 << 16;
        let mut fields = line.split_ascii_whitespace().skip(3);
        let mut number = |radix| u32::from_str_radix(fields.next()?, radix).ok();
        let (flags, kind, state, inode) = (number(16)?, number(16)?, number(16)?, number(10)?);
        let kind = match kind {
            1 => UnixKind::Stream,
            2 => UnixKind::Datagram,
            5 => UnixKind::Seqpacket,
            _ => return None,
        };
        // `SS_UNCONNECTED` and so on, include/uapi/linux/net.h; `unix_seq_show()`, net/unix/af_unix.c, gives
        // SS_CONNECTING to a connection without a file.
        let state = match state {
            1 if flags & ACCEPTS != 0 => UnixState::Listening,
            1 => UnixState::Unconnected,
            2 => UnixState::Pending,
            3 => UnixState::Connected,
            _ => return None,
        };
        Some(UnixRow { kind, state, name: fields.next().map(Text::from), inode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_s_list_is_a_socket() {
        let line = |text| UnixRow::of_line(text);
        assert_eq!(line("Num       RefCount Protocol Flags    Type St Inode Path"), None);
        let row =
            |kind, state, name: Option<&str>, inode| Some(UnixRow { kind, state, name: name.map(Text::from), inode });
        use UnixKind::{Datagram, Seqpacket, Stream};
        use UnixState::{Connected, Listening, Pending, Unconnected};
        for (text, expected) in [
            (
                "0000000000000000: 00000002 00000000 00010000 0001 01 20367 a.sock",
                row(Stream, Listening, Some("a.sock"), 20_367),
            ),
            ("0000000000000000: 00000002 00000000 00000000 0002 01 7 @a", row(Datagram, Unconnected, Some("@a"), 7)),
            ("0000000000000000: 00000003 00000000 00000000 0005 03 8", row(Seqpacket, Connected, None, 8)),
            (
                "0000000000000000: 00000002 00000000 00000000 0001 02     0 a.sock",
                row(Stream, Pending, Some("a.sock"), 0),
            ),
            ("0000000000000000: 00000002 00000000 00000000 0009 01 7", None),
            ("0000000000000000: 00000002 00000000", None),
        ] {
            assert_eq!(line(text), expected, "{text}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_directory() {
        let is_own = |path: &str| OwnPath::try_from(path.to_owned()).is_ok();
        assert!(is_own("a") && is_own("a/b.sock") && is_own(&"x".repeat(200)) && is_own("..."));
        for path in ["", "/", "/a", "..", "../a", "a/../../b", "a//b", "a/", "a\0b"] {
            assert!(!is_own(path), "{path:?}");
        }
    }
}
