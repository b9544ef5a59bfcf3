//! A time in UTC, to the second, as it is written in a file: `2026-11-22T17:16:08Z` (RFC 3339).
//!
//! It reads no clock: the caller gives the time.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";
const LENGTH: usize = "2026-11-22T17:16:08Z".len();

/// A second between the years 0 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(DateTime<Utc>);

impl Moment {
    /// The second in which this is.
    pub fn of(time: DateTime<Utc>) -> Moment {
        Moment(time.trunc_subsecs(0))
    }

    /// It, as a time of `chrono`.
    pub fn time(self) -> DateTime<Utc> {
        self.0
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format(FORMAT).fmt(out)
    }
}

/// A text that is no second in UTC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time, which is written `2026-11-22T17:16:08Z`")]
pub struct NoMoment(
    /// The text.
    pub String,
);

/// RFC 3339 with whole seconds and `Z`, and nothing else.
impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Moment, NoMoment> {
        // The parser takes fewer digits, and years with more.
        let time = NaiveDateTime::parse_from_str(text, FORMAT).map(|time| Moment(time.and_utc()));
        time.ok()
            .filter(|time| text.len() == LENGTH && time.to_string() == text)
            .ok_or_else(|| NoMoment(text.to_owned()))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Moment {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_whole_second_in_utc() {
        let read = |text: &str| text.parse::<Moment>();
        assert_eq!(read("2026-11-22T17:16:08Z").unwrap().to_string(), "2026-11-22T17:16:08Z");
        for other in [
            "",
            "2026-11-22",
            "2026-11-22T17:16:08",
            "2026-11-22T17:16:08+00:00",
            "2026-11-22T17:16:08.5Z",
            "2026-11-22 17:16:08Z",
            "2026-11-22T7:16:08Z",
            "2026-11-31T17:16:08Z",
            "+12026-11-22T17:16:08Z",
            " 2026-11-22T17:16:08Z",
        ] {
            assert!(read(other).is_err(), "{other}");
        }
        let half = DateTime::from_timestamp(1_000_000_000, 999_999_999).unwrap();
        assert_eq!(Moment::of(half).to_string(), "2001-09-09T01:46:40Z");
    }
}
