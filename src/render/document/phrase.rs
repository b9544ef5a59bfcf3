//! A condition in words: `both sockets set SO_REUSEADDR and the holder is not listening`.
//!
//! Axes that many scenarios share have words of their own; any other is said as `-x AXIS=VALUE` takes it. What decides
//! was worked out before.

use super::tables::UNKNOWN;
use crate::report::decide::When;

/// An axis, the values for which something is true, and those of the same cases for which it is false.
#[derive(Clone, Copy, Debug)]
struct Part<'v> {
    axis: &'v str,
    values: &'v [&'v str],
    others: &'v [&'v str],
}

/// What stands behind `if`; empty where it always holds.
pub fn when(when: &When) -> String {
    fn texts(values: &[String]) -> Vec<&str> {
        values.iter().map(String::as_str).collect()
    }
    let terms = when.terms.iter().filter(|term| !term.is_empty()).map(|parts| {
        let parts: Vec<_> = parts.iter().map(|part| (&*part.axis, texts(&part.values), texts(&part.others))).collect();
        let parts: Vec<Part<'_>> = parts.iter().map(|(axis, values, others)| Part { axis, values, others }).collect();
        term(&parts)
    });
    let unproven = if when.shortest { "" } else { " (a shorter condition may exist)" };
    terms.collect::<Vec<_>>().join("; or if ") + unproven
}

/// All of these together.
fn term(parts: &[Part<'_>]) -> String {
    let of = |axis: &str| parts.iter().find(|part| part.axis == axis);
    let both = |first: &Part<'_>| of("claimer_reuse").filter(|own| own.values == first.values).and(options(first));
    let both = of("holder_reuse").and_then(both);
    // The protocol and the family come first, as in `TCP over IPv4`.
    let nouns: Vec<&str> = ["protocol", "family"].into_iter().filter_map(of).filter_map(noun).collect();
    let mut said: Vec<String> = Vec::new();
    if !nouns.is_empty() {
        said.push(nouns.join(" over "));
    }
    said.extend(both.as_ref().map(|options| options.two.to_owned()));
    let rest = parts.iter().filter(|part| noun(part).is_none());
    let rest = rest.filter(|part| both.is_none() || !matches!(part.axis, "holder_reuse" | "claimer_reuse"));
    said.extend(rest.map(clause));
    said.join(" and ")
}

fn noun(part: &Part<'_>) -> Option<&'static str> {
    match (part.axis, part.values) {
        ("protocol", ["tcp"]) => Some("TCP"),
        ("protocol", ["udp"]) => Some("UDP"),
        ("family", ["ipv4"]) => Some("IPv4"),
        ("family", ["ipv6"]) => Some("IPv6"),
        _ => None,
    }
}

fn clause(part: &Part<'_>) -> String {
    let own = match part.axis {
        "holder_reuse" => options(part).map(|options| format!("the holder {}", options.one)),
        "claimer_reuse" => options(part).map(|options| format!("the claimer {}", options.one)),
        "reuse" => options(part).map(|options| options.two.to_owned()),
        "holder_state" => state(part).map(|state| format!("the holder is {state}")),
        "relation" => relation(part).map(str::to_owned),
        _ => None,
    };
    own.unwrap_or_else(|| plain(part))
}

/// `range=narrow,single`; `range is not socket`; `mode=blocking or no mode`, of situations that do not have the axis.
fn plain(part: &Part<'_>) -> String {
    let list = |values: &[&str]| {
        values.iter().filter(|value| !value.is_empty()).map(|value| (*value).to_owned()).collect::<Vec<_>>()
    };
    let (values, others, axis) = (list(part.values), list(part.others), part.axis);
    let or_none = if part.values.contains(&"") { format!(" or no {axis}") } else { String::new() };
    let but_not_none = if part.others.contains(&"") { format!("there is {axis}") } else { String::new() };
    match (&*values, &*others) {
        ([], _) => format!("there is no {axis}"),
        (values, []) if values.len() > 3 => but_not_none,
        (values, others) if values.len() > 2 && others.len() * 2 < values.len() && but_not_none.is_empty() => {
            format!("{axis} is not {}", either(others))
        }
        (values, _) => format!("{axis}={}{or_none}", values.join(",")),
    }
}

/// What sockets do about SO_REUSEADDR and SO_REUSEPORT, as far as these values say so.
struct Options {
    /// `the holder …`.
    one: &'static str,
    /// Of two sockets.
    two: &'static str,
}

fn options(part: &Part<'_>) -> Option<Options> {
    let is_other = |value: &str| part.others.contains(&value);
    let mut values = part.values.to_vec();
    values.sort_unstable();
    let (one, two) = match &*values {
        ["both", "port"] => ("sets SO_REUSEPORT", "both sockets set SO_REUSEPORT"),
        ["port"] if !is_other("both") => ("sets SO_REUSEPORT", "both sockets set SO_REUSEPORT"),
        ["port"] => ("sets only SO_REUSEPORT", "both sockets set only SO_REUSEPORT"),
        ["addr", "both"] => ("sets SO_REUSEADDR", "both sockets set SO_REUSEADDR"),
        ["addr"] if !is_other("both") => ("sets SO_REUSEADDR", "both sockets set SO_REUSEADDR"),
        ["addr"] => ("sets only SO_REUSEADDR", "both sockets set only SO_REUSEADDR"),
        ["addr", "both", "port"] => ("sets SO_REUSEADDR or SO_REUSEPORT", "both sockets set one of the options"),
        ["addr", "port"] if !is_other("both") => ("sets one of the options", "both sockets set one of the options"),
        ["both"] => ("sets both options", "both sockets set both options"),
        ["none"] => ("sets no option", "no socket sets an option"),
        ["addr", "none"] => ("does not set SO_REUSEPORT", "no socket sets SO_REUSEPORT"),
        ["none", "port"] => ("does not set SO_REUSEADDR", "no socket sets SO_REUSEADDR"),
        _ => return None,
    };
    Some(Options { one, two })
}

/// `bound, listening or in TIME_WAIT`; `not listening`.
fn state(part: &Part<'_>) -> Option<String> {
    if !part.values.iter().chain(part.others).all(|value| is_adjective(value) || is_tcp_state(value)) {
        return None;
    }
    Some(if part.values.len() > 1 && part.others.len() * 2 <= part.values.len() {
        format!("not {}", states(part.others))
    } else {
        states(part.values)
    })
}

fn states(values: &[&str]) -> String {
    let (own, tcp): (Vec<&str>, Vec<&str>) = values.iter().partition(|value| is_adjective(value));
    let mut words: Vec<String> = own.into_iter().map(str::to_owned).collect();
    let tcp: Vec<String> = tcp.iter().map(|value| value.to_uppercase().replace('-', "_")).collect();
    match (words.is_empty(), &*tcp) {
        (_, []) => either(&words),
        (true, tcp) => format!("in {}", either(tcp)),
        (false, [one]) => {
            words.push(format!("in {one}"));
            either(&words)
        }
        (false, tcp) => format!("{}, or in {}", words.join(", "), either(tcp)),
    }
}

/// What a socket is, besides the states of RFC 9293, section 3.3.2: `accepted` is a connection that accept(2) returned.
fn is_adjective(value: &str) -> bool {
    matches!(value, "bound" | "listening" | "connected" | "accepted")
}

fn is_tcp_state(value: &str) -> bool {
    matches!(value, "syn-sent" | "established" | "fin-wait-1" | "fin-wait-2" | "close-wait" | "last-ack" | "time-wait")
}

fn relation(part: &Part<'_>) -> Option<&'static str> {
    let mut values = part.values.to_vec();
    values.sort_unstable();
    Some(match (&*values, part.others) {
        (["different-specific"], _) => "the addresses do not overlap",
        (_, ["different-specific"]) => "the addresses overlap",
        (["both-wildcard", "same-specific"], _) => "the addresses are equal",
        (["claimer-wildcard", "holder-wildcard"], _) => "only one of the addresses is the wildcard",
        (["both-wildcard"], _) => "both addresses are the wildcard",
        (["claimer-wildcard"], _) => "only the claimer's address is the wildcard",
        (["holder-wildcard"], _) => "only the holder's address is the wildcard",
        (["same-specific"], _) => "both have the same specific address",
        _ => return None,
    })
}

/// `a`, `a or b`, `a, b or c`.
pub fn either(words: &[String]) -> String {
    match words {
        [] => UNKNOWN.to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(parts: &[(&str, &[&str], &[&str])], said: &str) {
        let parts: Vec<Part<'_>> = parts.iter().map(|&(axis, values, others)| Part { axis, values, others }).collect();
        assert_eq!(term(&parts), said);
    }

    #[test]
    fn conditions_are_sentences() {
        let (addr, port) = (["addr", "both"], ["port", "both"]);
        check(
            &[
                ("holder_state", &["bound", "established", "time-wait"], &["listening"]),
                ("holder_reuse", &addr, &["none", "port"]),
                ("claimer_reuse", &addr, &["none", "port"]),
            ],
            "both sockets set SO_REUSEADDR and the holder is not listening",
        );
        check(
            &[("holder_reuse", &port, &["none"]), ("family", &["ipv4"], &["ipv6"]), ("protocol", &["udp"], &["tcp"])],
            "UDP over IPv4 and the holder sets SO_REUSEPORT",
        );
        check(&[("relation", &["different-specific"], &["same-specific"])], "the addresses do not overlap");
        check(
            &[("holder_state", &["listening", "time-wait"], &["bound", "syn-sent"])],
            "the holder is listening or in TIME_WAIT",
        );
    }

    #[test]
    fn other_axes_are_said_as_they_are_selected() {
        check(&[("range", &["single", "wide"], &["default", "narrow"])], "range=single,wide");
        check(&[("range", &["single", "wide"], &["default"])], "range=single,wide");
        check(&[("range", &["narrow", "single", "wide"], &["default"])], "range is not default");
        check(&[("reuse", &["mine"], &["yours"])], "reuse=mine");
        check(&[("holder_state", &["hot"], &["cold"])], "holder_state=hot");
        check(&[("mode", &["blocking", ""], &["nonblocking"])], "mode=blocking or no mode");
        check(&[("mode", &[""], &["nonblocking"])], "there is no mode");
        check(&[("mode", &["nonblocking"], &[""])], "mode=nonblocking");
        check(&[("mode", &["a", "b", "c", "d"], &[""])], "there is mode");
        check(&[("reuse", &["none", ""], &["addr"])], "reuse=none or no reuse");
    }
}
