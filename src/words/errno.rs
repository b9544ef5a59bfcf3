//! Error numbers as values: the symbolic name first, the number beside it.
//!
//! Platforms are compared by name, because the numbers differ (EADDRINUSE is 98 on Linux and 48 on macOS). A number
//! that has no name here is kept as it came. This module does not read `errno`: `sys` does.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::words::names::Os;
use crate::words::near::did_you_mean;
use crate::words::untrusted;

/// One error number of one platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Errno {
    name: Cow<'static, str>,
    raw: i32,
}

impl Errno {
    /// The errno that `os` numbers `raw`; an unlisted number is named `errno RAW` and preserved.
    pub fn from_raw(os: Os, raw: i32) -> Errno {
        let row = TABLE.iter().find(|row| raw != 0 && number(row, os) == raw);
        let name = row.map_or_else(|| Cow::Owned(format!("errno {raw}")), |row| Cow::Borrowed(row.0));
        Errno { name, raw }
    }

    /// An errno as a report of another host spells it: both parts are kept, neither is checked against the other.
    pub fn recorded(name: &str, raw: i32) -> Errno {
        let known = TABLE.iter().find(|row| row.0 == name);
        Errno {
            name: known.map_or_else(|| Cow::Owned(untrusted::shown(name).into_owned()), |row| Cow::Borrowed(row.0)),
            raw,
        }
    }

    /// `EADDRINUSE`, or `errno 4095` where the number has no name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as a value that the compiler knows; nothing where no platform here has that name.
    pub fn known(&self) -> Option<ErrnoName> {
        ErrnoName::new(&self.name)
    }

    /// Whether it has that name. The numbers are not compared: they differ from platform to platform.
    pub fn is(&self, name: ErrnoName) -> bool {
        self.name == name.0
    }

    /// The number on the platform where it was seen.
    pub fn raw(&self) -> i32 {
        self.raw
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A symbolic name that some platform defines, as expectations spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ErrnoName(&'static str);

impl ErrnoName {
    /// The name spelled so; nothing where no platform here defines it.
    pub fn new(name: &str) -> Option<ErrnoName> {
        TABLE.iter().find(|row| row.0 == name).map(|row| ErrnoName(row.0))
    }

    /// `EADDRINUSE`.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Every name that there is.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        TABLE.iter().map(|row| row.0)
    }

    /// What a call on `os` can give that programs there may call so: itself, or the name that has its number; nothing
    /// where `os` has no such errno.
    pub fn on(self, os: Os) -> Option<ErrnoName> {
        match (self, os) {
            // `#define ENOTSUP EOPNOTSUPP` (glibc, bits/errno.h): one number, which the kernel has one name for.
            (ErrnoName::ENOTSUP, Os::Linux) => Some(ErrnoName::EOPNOTSUPP),
            _ => self.raw(os).map(|_| self),
        }
    }

    /// The number on `os`, where it has this errno.
    pub fn raw(self, os: Os) -> Option<i32> {
        TABLE.iter().find(|row| row.0 == self.0).map(|row| number(row, os)).filter(|&raw| raw != 0)
    }

    /// The errno that `os` numbers `raw`.
    pub fn numbered(os: Os, raw: i32) -> Option<ErrnoName> {
        TABLE.iter().find(|row| raw != 0 && number(row, os) == raw).map(|row| ErrnoName(row.0))
    }

    /// What Windows calls it, `WSA` before it, where that is known.
    pub fn windows(self) -> Option<i32> {
        WINDOWS.iter().find(|row| row.0 == self).map(|row| row.1)
    }

    /// The errno that Windows Sockets number `raw`.
    pub fn windows_numbered(raw: i32) -> Option<ErrnoName> {
        WINDOWS.iter().find(|row| row.1 == raw).map(|row| row.0)
    }
}

impl<'de> Deserialize<'de> for ErrnoName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ErrnoName, D::Error> {
        struct NameVisitor;

        // A visitor's fault has the place of the value, one that comes later that of the whole array.
        impl serde::de::Visitor<'_> for NameVisitor {
            type Value = ErrnoName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a symbolic name such as `EADDRINUSE`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<ErrnoName, E> {
                ErrnoName::new(name).ok_or_else(|| {
                    let meant = did_you_mean(name, ErrnoName::names());
                    let otherwise = || ", expected a symbolic name such as EADDRINUSE".to_owned();
                    E::custom(format!("unknown errno `{name}`{}", meant.unwrap_or_else(otherwise)))
                })
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

impl schemars::JsonSchema for ErrnoName {
    fn schema_name() -> Cow<'static, str> {
        "Errno".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "enum": TABLE.iter().map(|row| row.0).collect::<Vec<_>>() })
    }
}

/// Every name with its number on `os`, for tests that hold the table against the C library.
pub fn table(os: Os) -> impl Iterator<Item = (&'static str, i32)> {
    TABLE.iter().map(move |row| (row.0, number(row, os))).filter(|&(_, raw)| raw != 0)
}

fn number(row: &Row, os: Os) -> i32 {
    match os {
        Os::Linux => row.1,
        Os::Macos => row.2,
    }
}

/// Name, number on Linux, number on macOS; 0 where the platform has none.
type Row = (&'static str, i32, i32);

/// The table, and a constant for each name in it.
macro_rules! errnos {
    ($($name:ident $linux:literal $macos:literal,)+) => {
        const TABLE: &[Row] = &[$((stringify!($name), $linux, $macos)),+];

        /// A constant for each name, which may be a pattern of a `match`.
        impl ErrnoName {
            $(#[doc = concat!("Number ", $linux, " on Linux and ", $macos, " on macOS; 0: it has none of that name.")]
            pub const $name: ErrnoName = ErrnoName(stringify!($name));)+
        }
    };
}

// Linux: `include/uapi/asm-generic/errno{-base,}.h`. macOS: XNU `bsd/sys/errno.h`.
errnos! {
    EPERM 1 1,
    ENOENT 2 2,
    ESRCH 3 3,
    EINTR 4 4,
    EIO 5 5,
    ENXIO 6 6,
    E2BIG 7 7,
    ENOEXEC 8 8,
    EBADF 9 9,
    ECHILD 10 10,
    EAGAIN 11 35,
    ENOMEM 12 12,
    EACCES 13 13,
    EFAULT 14 14,
    ENOTBLK 15 15,
    EBUSY 16 16,
    EEXIST 17 17,
    EXDEV 18 18,
    ENODEV 19 19,
    ENOTDIR 20 20,
    EISDIR 21 21,
    EINVAL 22 22,
    ENFILE 23 23,
    EMFILE 24 24,
    ENOTTY 25 25,
    ETXTBSY 26 26,
    EFBIG 27 27,
    ENOSPC 28 28,
    ESPIPE 29 29,
    EROFS 30 30,
    EMLINK 31 31,
    EPIPE 32 32,
    EDOM 33 33,
    ERANGE 34 34,
    EDEADLK 35 11,
    ENAMETOOLONG 36 63,
    ENOLCK 37 77,
    ENOSYS 38 78,
    ENOTEMPTY 39 66,
    ELOOP 40 62,
    ENOMSG 42 91,
    EIDRM 43 90,
    ECHRNG 44 0,
    EL2NSYNC 45 0,
    EL3HLT 46 0,
    EL3RST 47 0,
    ELNRNG 48 0,
    EUNATCH 49 0,
    ENOCSI 50 0,
    EL2HLT 51 0,
    EBADE 52 0,
    EBADR 53 0,
    EXFULL 54 0,
    ENOANO 55 0,
    EBADRQC 56 0,
    EBADSLT 57 0,
    EBFONT 59 0,
    ENOSTR 60 99,
    ENODATA 61 96,
    ETIME 62 101,
    ENOSR 63 98,
    ENONET 64 0,
    ENOPKG 65 0,
    EREMOTE 66 71,
    ENOLINK 67 97,
    EADV 68 0,
    ESRMNT 69 0,
    ECOMM 70 0,
    EPROTO 71 100,
    EMULTIHOP 72 95,
    EDOTDOT 73 0,
    EBADMSG 74 94,
    EOVERFLOW 75 84,
    ENOTUNIQ 76 0,
    EBADFD 77 0,
    EREMCHG 78 0,
    ELIBACC 79 0,
    ELIBBAD 80 0,
    ELIBSCN 81 0,
    ELIBMAX 82 0,
    ELIBEXEC 83 0,
    EILSEQ 84 92,
    ERESTART 85 0,
    ESTRPIPE 86 0,
    EUSERS 87 68,
    ENOTSOCK 88 38,
    EDESTADDRREQ 89 39,
    EMSGSIZE 90 40,
    EPROTOTYPE 91 41,
    ENOPROTOOPT 92 42,
    EPROTONOSUPPORT 93 43,
    ESOCKTNOSUPPORT 94 44,
    EOPNOTSUPP 95 102,
    EPFNOSUPPORT 96 46,
    EAFNOSUPPORT 97 47,
    EADDRINUSE 98 48,
    EADDRNOTAVAIL 99 49,
    ENETDOWN 100 50,
    ENETUNREACH 101 51,
    ENETRESET 102 52,
    ECONNABORTED 103 53,
    ECONNRESET 104 54,
    ENOBUFS 105 55,
    EISCONN 106 56,
    ENOTCONN 107 57,
    ESHUTDOWN 108 58,
    ETOOMANYREFS 109 59,
    ETIMEDOUT 110 60,
    ECONNREFUSED 111 61,
    EHOSTDOWN 112 64,
    EHOSTUNREACH 113 65,
    EALREADY 114 37,
    EINPROGRESS 115 36,
    ESTALE 116 70,
    EUCLEAN 117 0,
    ENOTNAM 118 0,
    ENAVAIL 119 0,
    EISNAM 120 0,
    EREMOTEIO 121 0,
    EDQUOT 122 69,
    ENOMEDIUM 123 0,
    EMEDIUMTYPE 124 0,
    ECANCELED 125 89,
    ENOKEY 126 0,
    EKEYEXPIRED 127 0,
    EKEYREVOKED 128 0,
    EKEYREJECTED 129 0,
    EOWNERDEAD 130 105,
    ENOTRECOVERABLE 131 104,
    ERFKILL 132 0,
    ENOTSUP 0 45,
    EPROCLIM 0 67,
    EBADRPC 0 72,
    ERPCMISMATCH 0 73,
    EPROGUNAVAIL 0 74,
    EPROGMISMATCH 0 75,
    EPROCUNAVAIL 0 76,
    EFTYPE 0 79,
    EAUTH 0 80,
    ENEEDAUTH 0 81,
    EPWROFF 0 82,
    EDEVERR 0 83,
    EBADEXEC 0 85,
    EBADARCH 0 86,
    ESHLIBVERS 0 87,
    EBADMACHO 0 88,
    ENOATTR 0 93,
    ENOPOLICY 0 103,
    EQFULL 0 106,
}

/// Name and number of Windows Sockets (`winsock2.h`: `WSAEINTR` and so on), for translation: no scenario knows what
/// Windows does.
const WINDOWS: &[(ErrnoName, i32)] = &[
    (ErrnoName::EINTR, 10_004),
    (ErrnoName::EBADF, 10_009),
    (ErrnoName::EACCES, 10_013),
    (ErrnoName::EFAULT, 10_014),
    (ErrnoName::EINVAL, 10_022),
    (ErrnoName::EMFILE, 10_024),
    (ErrnoName::EAGAIN, 10_035),
    (ErrnoName::EINPROGRESS, 10_036),
    (ErrnoName::EALREADY, 10_037),
    (ErrnoName::ENOTSOCK, 10_038),
    (ErrnoName::EDESTADDRREQ, 10_039),
    (ErrnoName::EMSGSIZE, 10_040),
    (ErrnoName::EPROTOTYPE, 10_041),
    (ErrnoName::ENOPROTOOPT, 10_042),
    (ErrnoName::EPROTONOSUPPORT, 10_043),
    (ErrnoName::ESOCKTNOSUPPORT, 10_044),
    (ErrnoName::EOPNOTSUPP, 10_045),
    (ErrnoName::EPFNOSUPPORT, 10_046),
    (ErrnoName::EAFNOSUPPORT, 10_047),
    (ErrnoName::EADDRINUSE, 10_048),
    (ErrnoName::EADDRNOTAVAIL, 10_049),
    (ErrnoName::ENETDOWN, 10_050),
    (ErrnoName::ENETUNREACH, 10_051),
    (ErrnoName::ENETRESET, 10_052),
    (ErrnoName::ECONNABORTED, 10_053),
    (ErrnoName::ECONNRESET, 10_054),
    (ErrnoName::ENOBUFS, 10_055),
    (ErrnoName::EISCONN, 10_056),
    (ErrnoName::ENOTCONN, 10_057),
    (ErrnoName::ESHUTDOWN, 10_058),
    (ErrnoName::ETOOMANYREFS, 10_059),
    (ErrnoName::ETIMEDOUT, 10_060),
    (ErrnoName::ECONNREFUSED, 10_061),
    (ErrnoName::ELOOP, 10_062),
    (ErrnoName::ENAMETOOLONG, 10_063),
    (ErrnoName::EHOSTDOWN, 10_064),
    (ErrnoName::EHOSTUNREACH, 10_065),
    (ErrnoName::ENOTEMPTY, 10_066),
    (ErrnoName::EPROCLIM, 10_067),
    (ErrnoName::EUSERS, 10_068),
    (ErrnoName::EDQUOT, 10_069),
    (ErrnoName::ESTALE, 10_070),
    (ErrnoName::EREMOTE, 10_071),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_names_agree() {
        assert_eq!(Errno::from_raw(Os::Linux, 98).name(), "EADDRINUSE");
        assert_eq!(Errno::from_raw(Os::Macos, 48).name(), "EADDRINUSE");
        assert_eq!(ErrnoName::new("EADDRNOTAVAIL").and_then(|name| name.raw(Os::Macos)), Some(49));
        assert_eq!(ErrnoName::windows_numbered(10_048), ErrnoName::numbered(Os::Linux, 98));
        assert_eq!(ErrnoName::windows_numbered(10_048), ErrnoName::numbered(Os::Macos, 48));
    }

    #[test]
    fn what_windows_numbers_has_a_name_of_ours() {
        for &(name, number) in WINDOWS {
            assert_eq!(ErrnoName::windows_numbered(number), Some(name));
        }
        let named = [10_013, 10_022, 10_054, 10_055, 10_060]
            .map(|number| ErrnoName::windows_numbered(number).unwrap().as_str());
        assert_eq!(named, ["EACCES", "EINVAL", "ECONNRESET", "ENOBUFS", "ETIMEDOUT"]);
    }

    #[test]
    fn linux_has_one_name_for_enotsup_and_eopnotsupp() {
        let enotsup = ErrnoName::new("ENOTSUP").unwrap();
        assert_eq!(enotsup.on(Os::Linux).map(ErrnoName::as_str), Some("EOPNOTSUPP"));
        assert_eq!(enotsup.on(Os::Macos), Some(enotsup));
        assert_eq!(ErrnoName::new("ENONET").unwrap().on(Os::Macos), None);
    }

    #[test]
    fn an_errno_is_compared_with_a_constant_by_its_name() {
        for os in [Os::Linux, Os::Macos] {
            let busy = Errno::from_raw(os, ErrnoName::EADDRINUSE.raw(os).unwrap());
            assert!(busy.is(ErrnoName::EADDRINUSE) && !busy.is(ErrnoName::EADDRNOTAVAIL), "{os}");
            assert!(matches!(busy.known(), Some(ErrnoName::EADDRINUSE)), "{os}");
        }
        assert_eq!(Errno::from_raw(Os::Linux, 4095).known(), None);
    }

    #[test]
    fn an_unlisted_number_is_preserved() {
        let errno = Errno::from_raw(Os::Linux, 4095);
        assert_eq!((errno.name(), errno.raw()), ("errno 4095", 4095));
        assert_eq!(Errno::from_raw(Os::Linux, 0).name(), "errno 0");
    }

    #[test]
    fn no_number_is_listed_twice() {
        for os in [Os::Linux, Os::Macos] {
            let mut numbers: Vec<i32> = table(os).map(|(_, raw)| raw).collect();
            let listed = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), listed, "{os}");
        }
    }
}
