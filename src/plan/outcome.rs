//! What became of a call, as one value and as files have it.
//!
//! It does not know which outcome was wanted.

use serde::{Deserialize, Serialize};

use crate::words::errno::{Errno, ErrnoName};

/// What a call gave back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "WireOutcome", try_from = "WireOutcome")]
pub enum Outcome {
    /// It succeeded.
    Ok,
    /// It failed.
    Errno(Errno),
    /// It did not return within this many milliseconds.
    Blocked {
        /// Milliseconds.
        ms: u32,
    },
}

impl Outcome {
    /// `ok`, the errno's name, or `blocked`.
    pub fn name(&self) -> &str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Errno(errno) => errno.name(),
            Outcome::Blocked { .. } => "blocked",
        }
    }

    /// The errno, where it is one that some platform here names.
    pub fn errno(&self) -> Option<ErrnoName> {
        match self {
            Outcome::Errno(errno) => errno.known(),
            Outcome::Ok | Outcome::Blocked { .. } => None,
        }
    }

    /// Whether it is this errno.
    pub fn is(&self, name: ErrnoName) -> bool {
        matches!(self, Outcome::Errno(errno) if errno.is(name))
    }
}

/// `{"ok": true}`, `{"errno": "EADDRINUSE", "raw": 98}` or `{"blocked_ms": 500}`.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Outcome")]
pub struct WireOutcome {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocked_ms: Option<u32>,
}

impl schemars::JsonSchema for Outcome {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Outcome".into()
    }

    /// Stricter than the fields alone: exactly one of the three shapes.
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "oneOf": [
                { "type": "object", "properties": { "ok": { "const": true } },
                  "required": ["ok"], "additionalProperties": false },
                { "type": "object", "properties": { "errno": { "type": "string" }, "raw": { "type": "integer" } },
                  "required": ["errno", "raw"], "additionalProperties": false },
                { "type": "object", "properties": { "blocked_ms": { "type": "integer", "minimum": 0 } },
                  "required": ["blocked_ms"], "additionalProperties": false }
            ]
        })
    }
}

impl From<Outcome> for WireOutcome {
    fn from(outcome: Outcome) -> WireOutcome {
        let mut wire = WireOutcome { ok: None, errno: None, raw: None, blocked_ms: None };
        match outcome {
            Outcome::Ok => wire.ok = Some(true),
            Outcome::Errno(errno) => (wire.errno, wire.raw) = (Some(errno.name().to_owned()), Some(errno.raw())),
            Outcome::Blocked { ms } => wire.blocked_ms = Some(ms),
        }
        wire
    }
}

impl TryFrom<WireOutcome> for Outcome {
    type Error = &'static str;

    fn try_from(wire: WireOutcome) -> Result<Outcome, &'static str> {
        match wire {
            WireOutcome { ok: Some(true), errno: None, raw: None, blocked_ms: None } => Ok(Outcome::Ok),
            WireOutcome { ok: None, errno: Some(name), raw: Some(raw), blocked_ms: None } => {
                Ok(Outcome::Errno(Errno::recorded(&name, raw)))
            }
            WireOutcome { ok: None, errno: None, raw: None, blocked_ms: Some(ms) } => Ok(Outcome::Blocked { ms }),
            _ => Err("an outcome is {\"ok\": true}, {\"errno\": NAME, \"raw\": NUMBER} or {\"blocked_ms\": NUMBER}"),
        }
    }
}
