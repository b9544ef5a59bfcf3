//! Ranges of ports: from the lowest to the highest, with at least one port in them.
//!
//! It does not know the purpose of a range, or whether a port is free.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use fixedbitset::FixedBitSet;
use serde::{Deserialize, Serialize};

/// The sysctl that has a network namespace's range of ephemeral ports.
pub const PORT_RANGE: &str = "net.ipv4.ip_local_port_range";

/// A range of ports that is never empty, and in which port 0, which no socket has, is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "(u16, u16)", into = "(u16, u16)")]
pub struct PortRange {
    low: u16,
    high: u16,
}

/// Which ports something has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSet(FixedBitSet);

impl PortSet {
    /// None.
    pub fn new() -> PortSet {
        PortSet(FixedBitSet::with_capacity(1 << 16))
    }

    /// Adds a port.
    pub fn insert(&mut self, port: u16) {
        self.0.insert(port.into());
    }

    /// Whether the port is in it.
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(port.into())
    }

    /// Every port that is in it, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.ones().filter_map(|port| port.try_into().ok())
    }
}

impl Default for PortSet {
    fn default() -> PortSet {
        PortSet::new()
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> PortSet {
        let mut set = PortSet::new();
        ports.into_iter().for_each(|port| set.insert(port));
        set
    }
}

/// Why two numbers, or a text, are no range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The first port is higher than the last.
    #[error("the range {low}-{high} is empty: the first port must not be higher than the last")]
    Empty {
        /// The first.
        low: u16,
        /// The last.
        high: u16,
    },
    /// Port 0 asks the kernel for a port, and is none.
    #[error("a range of ports begins at 1: port 0 asks the kernel for a port")]
    Zero,
    /// It is not two numbers of ports.
    #[error("`{text}` is no range of ports, expected LOW-HIGH, such as 40000-40015")]
    Unreadable {
        /// What was read.
        text: String,
    },
}

impl PortRange {
    /// The range from `low` to `high`, both of them in it. It is an error for `low` to be 0, or higher than `high`.
    pub const fn new(low: u16, high: u16) -> Result<PortRange, RangeError> {
        match (low, high) {
            (low, high) if low > high => Err(RangeError::Empty { low, high }),
            (0, _) => Err(RangeError::Zero),
            (low, high) => Ok(PortRange { low, high }),
        }
    }

    /// A range that the compiler checks.
    pub const fn of<const LOW: u16, const HIGH: u16>() -> PortRange {
        const { assert!(LOW > 0 && LOW <= HIGH, "a range of ports has at least one port") };
        PortRange { low: LOW, high: HIGH }
    }

    /// The range of one port.
    pub fn one(port: u16) -> Result<PortRange, RangeError> {
        PortRange::new(port, port)
    }

    /// The lowest port.
    pub fn low(self) -> u16 {
        self.low
    }

    /// The highest port.
    pub fn high(self) -> u16 {
        self.high
    }

    /// How many ports it has: 1 to 65535.
    pub fn size(self) -> u32 {
        u32::from(self.high - self.low) + 1
    }

    /// Whether the port is in it.
    pub fn contains(self, port: u16) -> bool {
        self.ports().contains(&port)
    }

    /// Whether any port is in both.
    pub fn overlaps(self, other: PortRange) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// Every port, the lowest first.
    pub fn ports(self) -> RangeInclusive<u16> {
        self.low..=self.high
    }

    /// As [`PORT_RANGE`] has it: two numbers with white space between them.
    pub fn from_sysctl(value: &str) -> Result<PortRange, RangeError> {
        read(value, value.trim().split_once(char::is_whitespace))
    }

    /// As [`PORT_RANGE`] takes it: `32768 60999`.
    pub fn to_sysctl(self) -> String {
        format!("{} {}", self.low, self.high)
    }
}

/// Hands the range of ephemeral ports that the sysctl has, if it is [`PORT_RANGE`], to `range`, and writes what becomes
/// of it.
pub(crate) fn visit_sysctl(name: &str, value: &mut String, range: &mut dyn FnMut(&mut PortRange)) {
    if name != PORT_RANGE {
        return;
    }
    let Ok(old) = PortRange::from_sysctl(value) else { return };
    let mut new = old;
    range(&mut new);
    if new != old {
        *value = new.to_sysctl();
    }
}

/// `LOW-HIGH`, as people write it.
impl FromStr for PortRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<PortRange, RangeError> {
        read(text, text.split_once('-'))
    }
}

fn read(text: &str, ends: Option<(&str, &str)>) -> Result<PortRange, RangeError> {
    let numbers = ends.and_then(|(low, high)| Some((low.parse().ok()?, high.trim_start().parse().ok()?)));
    let (low, high) = numbers.ok_or_else(|| RangeError::Unreadable { text: text.to_owned() })?;
    PortRange::new(low, high)
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl TryFrom<(u16, u16)> for PortRange {
    type Error = RangeError;

    fn try_from((low, high): (u16, u16)) -> Result<PortRange, RangeError> {
        PortRange::new(low, high)
    }
}

impl From<PortRange> for (u16, u16) {
    fn from(range: PortRange) -> (u16, u16) {
        (range.low, range.high)
    }
}

/// A struct with a `range` that is written flat, as `low` and `high`: serde cannot both flatten a field and refuse
/// those that it does not know.
macro_rules! flat_range {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[doc = $before_doc:expr])* $before:ident: $before_type:ty,)*
        ..range,
        $($(#[doc = $after_doc:expr])* $(#[serde($($serde:tt)*)])* $after:ident: $after_type:ty,)*
    }) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[doc = $before_doc])* pub $before: $before_type,)*
            /// The range, written flat as `low` and `high`.
            pub range: $crate::words::ports::PortRange,
            $($(#[doc = $after_doc])* pub $after: $after_type,)*
        }

        const _: () = {
            #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
            #[serde(deny_unknown_fields)]
            struct Flat {
                $($(#[doc = $before_doc])* $before: $before_type,)*
                low: u16,
                high: u16,
                $($(#[doc = $after_doc])* $(#[serde($($serde)*)])* $after: $after_type,)*
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    let $name { $($before,)* range, $($after,)* } = self.clone();
                    Flat { $($before,)* low: range.low(), high: range.high(), $($after,)* }.serialize(serializer)
                }
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                    let Flat { $($before,)* low, high, $($after,)* } = Flat::deserialize(deserializer)?;
                    let range = $crate::words::ports::PortRange::new(low, high).map_err(serde::de::Error::custom)?;
                    Ok($name { $($before,)* range, $($after,)* })
                }
            }

            impl schemars::JsonSchema for $name {
                fn schema_name() -> std::borrow::Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    Flat::json_schema(generator)
                }
            }
        };
    };
}
pub(crate) use flat_range;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_port_and_never_port_0() {
        assert_eq!(PortRange::new(40_000, 30_000), Err(RangeError::Empty { low: 40_000, high: 30_000 }));
        assert_eq!(PortRange::new(1, 0), Err(RangeError::Empty { low: 1, high: 0 }));
        assert_eq!([PortRange::new(0, 0), PortRange::new(0, 9)], [Err(RangeError::Zero), Err(RangeError::Zero)]);
        for (low, high, size) in [(1, 1, 1), (65_535, 65_535, 1), (1, 65_535, 65_535), (40_000, 40_015, 16)] {
            let range = PortRange::new(low, high).unwrap();
            assert_eq!((range.low(), range.high(), range.size()), (low, high, size));
            assert_eq!(range.ports().count(), size as usize);
            assert!(range.contains(low) && range.contains(high) && range.overlaps(range));
            assert!(!range.contains(low - 1));
        }
    }

    #[test]
    fn ranges_are_read_as_people_and_as_kernels_write_them() {
        let range = PortRange::of::<49_152, 65_535>();
        for value in ["49152 65535", "49152\t65535\n", " 49152  65535"] {
            assert_eq!(PortRange::from_sysctl(value), Ok(range), "{value:?}");
        }
        assert_eq!(range.to_string().parse(), Ok(range));
        assert_eq!(PortRange::from_sysctl(&range.to_sysctl()), Ok(range));
        for text in ["", "-", "1", "1-", "1-65536", "a-b", "1-2-3", "0x1-2"] {
            assert_eq!(text.parse::<PortRange>(), Err(RangeError::Unreadable { text: text.to_owned() }));
        }
        for value in ["49152", "", "1 2 3", "1 -2"] {
            assert!(matches!(PortRange::from_sysctl(value), Err(RangeError::Unreadable { .. })), "{value}");
        }
    }

    /// Neither a file nor a worker can make one that is empty.
    #[test]
    fn what_is_read_is_held_to_the_same() {
        let read = |text: &str| serde_json::from_str::<PortRange>(text);
        assert_eq!(serde_json::to_string(&read("[1, 2]").unwrap()).unwrap(), "[1,2]");
        for text in ["[2, 1]", "[0, 1]", "[1]", "[1, 2, 3]", "[1, 65536]"] {
            read(text).expect_err(text);
        }
    }
}
