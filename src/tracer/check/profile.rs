//! How to start a tracer and read its output: a small TOML file, the profile, and the built-in profiles.
//!
//! It does not start the tracer.

use std::net::IpAddr;

use regex_lite::Regex;
use serde::Deserialize;
use toml::Spanned;

use crate::words::problem::{Input, Problem};

/// The version of the profile format, a file's first key.
pub const FORMAT: &str = "errnoscope-tracer/1";

/// The name and text of the profiles in this binary.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("errnoscope", include_str!("builtin/errnoscope.toml")),
    ("trippy", include_str!("builtin/trippy.toml")),
    ("mtr", include_str!("builtin/mtr.toml")),
    ("traceroute", include_str!("builtin/traceroute.toml")),
    ("tcptraceroute", include_str!("builtin/tcptraceroute.toml")),
];

/// The longest time that a tracer can be given, in seconds.
const LONGEST: u64 = 600;

/// What may stand between braces in an argument.
const PLACES: &[&str] = &["target", "port", "source", "first"];

/// A tracer, as somebody describes it.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What is added, behind the program's name, to make it use a source address. Empty: it has no such option.
    pub source: Vec<String>,
    /// What prints its version. Empty: nothing does.
    pub version: Vec<String>,
    /// Its first source port, where it takes one after the other. Without it the kernel chooses.
    pub first: Option<u16>,
    /// A line of its output about a hop: the first group is the TTL, the second the address that answered.
    pub hop: Option<Regex>,
    /// How long it may take, in seconds.
    pub timeout_s: u64,
}

/// What the places of a command stand for.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub target: IpAddr,
    pub port: u16,
    pub source: Option<IpAddr>,
}

impl Profile {
    /// The program and its arguments, with nothing left open.
    pub fn command(&self, places: Places) -> Vec<String> {
        let mut words = self.command.clone();
        if places.source.is_some() {
            let at = words.iter().position(|word| word.contains("{target}")).unwrap_or(words.len());
            words.splice(at..at, self.source.iter().cloned());
        }
        words.iter().map(|word| self.fill(word, places)).collect()
    }

    fn fill(&self, word: &str, places: Places) -> String {
        let word = word.replace("{target}", &places.target.to_string()).replace("{port}", &places.port.to_string());
        let word = places.source.map_or_else(|| word.clone(), |source| word.replace("{source}", &source.to_string()));
        self.first.map_or_else(|| word.clone(), |first| word.replace("{first}", &first.to_string()))
    }
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tracer")]
struct WireProfile {
    /// `errnoscope-tracer/1`.
    #[schemars(with = "String", extend("const" = FORMAT))]
    format: Spanned<String>,
    #[schemars(with = "String")]
    name: Spanned<String>,
    /// The program and its arguments; `{target}`, `{port}` and `{first}` in them are filled in. One probe for each hop.
    #[schemars(with = "Vec<String>")]
    command: Vec<Spanned<String>>,
    /// The arguments that make it use a source address, `{source}`. They go before the one with `{target}`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    source: Vec<Spanned<String>>,
    /// What prints its version.
    #[serde(default)]
    version: Vec<String>,
    /// Its first source port, where each probe takes the next one. Without it the kernel chooses.
    #[schemars(with = "Option<u16>")]
    first: Option<Spanned<u16>>,
    /// A regular expression for a line about a hop: the first group is the TTL, the second the address that answered.
    /// Without it only system calls tell how far it came.
    #[schemars(with = "Option<String>")]
    hop: Option<Spanned<String>>,
    /// How long it may take, in seconds, from 1 to 600.
    #[schemars(with = "u64")]
    timeout_s: Spanned<u64>,
}

pub fn schema() -> serde_json::Value {
    crate::words::schema::schema::<WireProfile>(FORMAT)
}

/// Reads a profile; the first thing that is wrong is an error with its place.
pub fn read(file: &str, text: &'static str) -> Result<Profile, Problem> {
    let input = Input { file, text };
    let wire: WireProfile = input.parse()?;
    input.expect_format(&wire.format, FORMAT)?;
    if wire.name.get_ref().trim().is_empty() {
        return Err(input.problem(wire.name.span(), "empty name".to_owned(), None));
    }
    let Some(program) = wire.command.first().filter(|word| !word.get_ref().is_empty()) else {
        let at = wire.command.first().map_or(0..0, Spanned::span);
        return Err(input.problem(at, "no command".to_owned(), Some("its first word is the program to run")));
    };
    for word in wire.command.iter().chain(&wire.source) {
        for place in places(word.get_ref()) {
            let message = format!("unknown place `{{{place}}}`");
            if !PLACES.contains(&place) {
                let help = format!("expected one of {}", braced(PLACES));
                return Err(input.problem(word.span(), message, Some(&help)));
            }
        }
    }
    let names = |words: &[Spanned<String>], place: &str| words.iter().any(|word| word.get_ref().contains(place));
    if !names(&wire.command, "{target}") {
        let help = "one of the arguments has `{target}`, the address to trace";
        return Err(input.problem(program.span(), "the command has no target".to_owned(), Some(help)));
    }
    if let Some(word) = wire.command.iter().find(|word| word.get_ref().contains("{source}")) {
        let help = "what chooses the source address is in `source`: most runs do without";
        return Err(input.problem(word.span(), "`{source}` in `command`".to_owned(), Some(help)));
    }
    if let Some(word) = wire.source.first().filter(|_| !names(&wire.source, "{source}")) {
        let help = "one of these arguments has `{source}`, the address to use";
        return Err(input.problem(word.span(), "`source` has no address".to_owned(), Some(help)));
    }
    let all = wire.command.iter().chain(&wire.source);
    if let (None, Some(word)) = (&wire.first, all.into_iter().find(|word| word.get_ref().contains("{first}"))) {
        let help = "say `first = PORT`";
        return Err(input.problem(word.span(), "`{first}` without a first source port".to_owned(), Some(help)));
    }
    if let Some(first) = wire.first.as_ref().filter(|first| !(1024..=65_000).contains(first.get_ref())) {
        let help = "expected a port from 1024 to 65000";
        return Err(input.problem(first.span(), format!("source port {}", first.get_ref()), Some(help)));
    }
    if !(1..=LONGEST).contains(wire.timeout_s.get_ref()) {
        let help = format!("expected seconds from 1 to {LONGEST}");
        let message = format!("a timeout of {} s", wire.timeout_s.get_ref());
        return Err(input.problem(wire.timeout_s.span(), message, Some(&help)));
    }
    let hop = wire.hop.map(|hop| pattern(input, &hop)).transpose()?;
    let words = |words: Vec<Spanned<String>>| words.into_iter().map(Spanned::into_inner).collect();
    Ok(Profile {
        name: wire.name.into_inner(),
        command: words(wire.command),
        source: words(wire.source),
        version: wire.version,
        first: wire.first.map(Spanned::into_inner),
        hop,
        timeout_s: wire.timeout_s.into_inner(),
    })
}

fn pattern(input: Input<'_>, hop: &Spanned<String>) -> Result<Regex, Problem> {
    let wrong = |message: String| {
        input.problem(hop.span(), message, Some("the first group is the TTL, the second the address"))
    };
    let regex = Regex::new(hop.get_ref()).map_err(|error| wrong(format!("no regular expression: {error}")))?;
    if regex.captures_len() != 3 {
        return Err(wrong(format!("{} groups in this regular expression, expected 2", regex.captures_len() - 1)));
    }
    Ok(regex)
}

/// What stands between braces.
fn places(word: &str) -> impl Iterator<Item = &str> {
    word.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(place, _)| place))
}

fn braced(places: &[&str]) -> String {
    places.iter().map(|place| format!("{{{place}}}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "format = \"errnoscope-tracer/1\"\nname = \"x\"\ncommand = [\"x\", \"{target}\"]\ntimeout_s = 5\n";

    #[track_caller]
    fn refused(text: &str, place: (usize, usize), why: &str) {
        let problem = read("x.toml", text.to_owned().leak()).expect_err(text);
        assert!(problem.to_string().contains(why), "{problem}");
        assert_eq!(problem.line_and_column(), place, "{problem}");
    }

    #[test]
    fn the_profiles_of_this_binary_are_good_and_named_after_themselves() {
        for (name, text) in BUILT_IN {
            assert_eq!(read(name, text).unwrap().name, *name);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!(read("x.toml", GOOD).unwrap().command, ["x", "{target}"]);
        refused(&GOOD.replace("tracer/1", "tracer/2"), (1, 10), "this version reads");
        refused(&GOOD.replace("{target}", "{host}"), (3, 17), "unknown place `{host}`");
        refused(&GOOD.replace("{target}", "-n"), (3, 12), "the command has no target");
        refused(&GOOD.replace("\"x\", ", "\"x\", \"{source}\", "), (3, 17), "`{source}` in `command`");
        refused(&GOOD.replace("\"x\", ", "\"x\", \"{first}\", "), (3, 17), "without a first source port");
        refused(&GOOD.replace("= 5", "= 0"), (4, 13), "from 1 to 600");
        refused(&GOOD.replace("= 5", "= \"5\""), (4, 13), "invalid type");
        refused(&format!("{GOOD}first = 80\n"), (5, 9), "from 1024");
        refused(&format!("{GOOD}source = [\"-s\"]\n"), (5, 11), "has no address");
        refused(&format!("{GOOD}hop = '(\\d+'\n"), (5, 7), "no regular expression");
        refused(&format!("{GOOD}hop = '(\\d+)'\n"), (5, 7), "1 groups");
        refused(&format!("{GOOD}hops = 1\n"), (5, 1), "unknown field");
    }

    #[test]
    fn a_source_address_goes_before_the_target() {
        let text = format!("{GOOD}source = [\"-s\", \"{{source}}\"]\n");
        let profile = read("x.toml", text.leak()).unwrap();
        let places = Places { target: [10, 0, 0, 1].into(), port: 443, source: Some([192, 0, 2, 1].into()) };
        assert_eq!(profile.command(places), ["x", "-s", "192.0.2.1", "10.0.0.1"]);
        assert_eq!(profile.command(Places { source: None, ..places }), ["x", "10.0.0.1"]);
    }
}
