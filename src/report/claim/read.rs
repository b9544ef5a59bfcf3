//! From TOML text to [`Claims`], and the schema of such a file.
//!
//! Reading is strict: the first thing that this version does not know is an error with its place. Whether a query can
//! be answered is not known here.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use super::{Claim, ClaimCondition, Claims, Source};
use crate::words::problem::{Input, Problem};

/// The version of the claims file, its first key.
pub const LIST: &str = "errnoscope-claim-list/1";

/// Whether a file is one of claims: it begins with its format, and scenarios have none.
pub fn is_list(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().and_then(|line| line.split_once('=')).is_some_and(|(key, _)| key.trim() == "format")
}

/// Reads claims, each of which has an id of its own, words and sources.
pub fn read(file: &str, text: &'static str) -> Result<Claims, Problem> {
    let input = Input { file, text };
    let wire: WireClaims = input.parse()?;
    input.expect_format(&wire.format, LIST)?;
    if wire.claim.is_empty() {
        return Err(input.problem(0..0, "no claims".to_owned(), Some("a claims file has at least one `[[claim]]`")));
    }
    let mut ids = BTreeSet::new();
    for claim in &wire.claim {
        let id = claim.id.get_ref();
        if id.is_empty() || crate::scenario::kebab(id) != *id {
            let help = "lower-case letters, digits and single hyphens";
            return Err(input.problem(claim.id.span(), format!("`{id}` is no claim's id"), Some(help)));
        }
        if !ids.insert(id) {
            return Err(input.problem(claim.id.span(), format!("the id `{id}` is taken"), Some("ids are unique")));
        }
        if claim.source.get_ref().is_empty() {
            let help = "source = [{ in = \"bind(2), ERRORS\", says = \"…\" }]";
            return Err(input.problem(claim.source.span(), "no source".to_owned(), Some(help)));
        }
        let said = claim.source.get_ref().iter().flat_map(|source| [&source.place, &source.says]);
        if let Some(text) = said.chain([&claim.statement]).find(|text| text.get_ref().trim().is_empty()) {
            let help = "a claim is a sentence, and a source a place and its words";
            return Err(input.problem(text.span(), "empty text".to_owned(), Some(help)));
        }
    }
    let claims = wire.claim.into_iter().map(Claim::from).collect();
    Ok(Claims { file: file.to_owned(), text, claims })
}

/// The JSON Schema of a claims file, whose TOML has the shape of this JSON.
pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<WireClaims>(LIST)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Claims")]
struct WireClaims {
    /// `errnoscope-claim-list/1`.
    #[schemars(with = "String", extend("const" = LIST))]
    format: Spanned<String>,
    #[serde(default)]
    claim: Vec<WireClaim>,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Claim")]
struct WireClaim {
    #[schemars(with = "String")]
    id: Spanned<String>,
    /// As people say it.
    #[schemars(with = "String")]
    statement: Spanned<String>,
    /// Who says so.
    #[schemars(with = "Vec<WireSource>")]
    source: Spanned<Vec<WireSource>>,
    /// Which calls it is about.
    #[serde(rename = "where")]
    #[schemars(with = "ClaimCondition")]
    selects: Spanned<ClaimCondition>,
    /// What it says of them.
    #[schemars(with = "ClaimCondition")]
    holds: Spanned<ClaimCondition>,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Source")]
struct WireSource {
    #[serde(rename = "in")]
    #[schemars(with = "String")]
    place: Spanned<String>,
    #[schemars(with = "String")]
    says: Spanned<String>,
}

impl From<WireClaim> for Claim {
    fn from(wire: WireClaim) -> Claim {
        let sources = wire.source.into_inner().into_iter();
        Claim {
            id: wire.id,
            statement: wire.statement.into_inner(),
            sources: sources
                .map(|source| Source { place: source.place.into_inner(), says: source.says.into_inner() })
                .collect(),
            selects: wire.selects,
            holds: wire.holds,
        }
    }
}
