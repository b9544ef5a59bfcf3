//! Addresses and ports of a text, and which end of a connection each is.
//!
//! It takes no name for an address: nothing is looked up.

use std::net::IpAddr;
use std::sync::LazyLock;

use regex_lite::Regex;

use super::read::{Reading, first, group, pattern};
use crate::knowledge::policy::separate::End;
use crate::words::names::{Call, Family, PortChoice, Protocol};

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)+) => {
        $(static $name: LazyLock<Regex> = LazyLock::new(|| pattern($pattern));)+
    };
}

patterns! {
    PORT_BEHIND = r#"(?i)^["'\])]*[,;]?\s*\(?(?:(?:tcp|udp)?[/ ]?port[ =:#]*|['"]?port['"]?\s*[:=]\s*)["']?(\d{1,5})\b"#;
    PYTHON_BEHIND = r#"^['"], ?(\d{1,5})\b"#;
    COLON_BEHIND = r#"^['")|\]]*[:#](\d{1,5})\b|^<(\d{1,5})>"#;
    PREFIX_BEHIND = r"^/(\d{1,3})(?:[^\d.]|$)";
    DEVICE_BEHIND = r"^/(\d{1,5})\b";
    NETCAT_BEHIND = r"^\]? (\d{1,5})(?: ?[:(]|$)";
    PORT = r#"(?i)(?:\b|_|")port(?:"|')?\s*[ =:#,]\s*["']?(?:(?:tcp|udp)/)?(\d{1,5})\b|\bon ["'](\d{1,5})["']|\(\*, ?(\d{1,5})\)|port already in use: (\d{1,5})"#;
    NAMED = r#"(?i)(?:\b(?:to|at|on|from|address|host|tcp[46]?|udp[46]?)|://|@|[=("'])\s*["'(\[]?([a-z](?:[a-z0-9-]*\.)*[a-z0-9-]*):(\d{1,5})(?:[^\d.:]|$|[.:](?:\s|$))"#;
    // No file has this name, and a dotted one only elsewhere in a line.
    LOCALHOST = r#"\b(localhost)["'\]]?[:,] ?(\d{1,5})(?:[^\d.:]|$|[.:](?:\s|$))"#;
    OPENING = r#"(?:^|: )((?:[a-z0-9-]+\.)+[a-z]{2,}):(\d{1,5})(?:[^\d.:]|$|[.:](?:\s|$))"#;
    TUPLE = r"\{(\d{1,3}),\s?(\d{1,3}),\s?(\d{1,3}),\s?(\d{1,3})\}(?:,\s?(\d{1,5})\b)?";
    TUPLE6 = r"\{((?:\d{1,5},\s?){7}\d{1,5})\}(?:,\s?(\d{1,5})\})?";
    DOCKER = r"(\S+):(\d{1,5}):(\S+):(\d{1,5})/(tcp|udp)\b";
    DART = r"\bOS Error: .*errno = \d+\)?, address = ([^\s,]+), port = (\d{1,5})";
    GO = r"\b(dial|listen|read|write|accept|set) (tcp|udp|ip)[46]?(?::\w+)? (?:([^\s>]*)->)?(\S*):? ";
    LOCAL_WORD = r#"(?i)(?:\blocal|\bsource|\bsrc|\blisten|\bbind|\blisten(?:ing)? on|\bbind(?:ing)? to)[ _]?(?:addr(?:ess)?|ip)?['"]?[ :=(]*['"]?(?:AF_INET6?\()?$"#;
    REMOTE_WORD = r#"(?i)(?:\bremote|\bpeer|\bdst|\bdest(?:ination)?|\bupstream|\bto server at|\bserver=)[ _]?(?:addr(?:ess)?|ip)?['"]?[ :=(]*["'(]*(?:[a-z]+://|AF_INET6?\()?$"#;
    FROM_WORD = r"(?i)(\brequest .*)?\bfrom (?:[\w.-]+/)?$";
    OTHER_WORD = r#"(?i)(?:\bclient|\bserver|\bhost|\bgateway|\breferrer)['"]?: *["']?(?:[a-z]+://)?$"#;
    PROTOCOL = r"(?i)(?:\b|_)(tcp|udp)(?:v?[46])?(?:\b|_)|\b(https?|postgres(?:ql)?|mysql|redis|amqp)://|\b(SOCK_STREAM)\b|\b(SOCK_DGRAM|datagrams?)\b";
    FAMILY = r"(?i)(?:\b(?:AF|PF)_INET|\bIPv?|\b(?:tcp|udp|ip)v?)(4|6)\b|\b(?:AF|PF)_INET\b";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Local,
    Remote,
    /// Of somebody who has nothing to do with the call.
    Other,
    /// Where a connection comes from; who chose its port is not said.
    From,
    Open,
}

struct Found {
    end: End,
    role: Role,
}

/// Reads what one line says of both ends.
pub fn read(line: &str, reading: &mut Reading) {
    if let Some(found) = DOCKER.captures(line) {
        let address = address(group(&found, 1));
        reading.protocol = group(&found, 5).parse().ok();
        return local(reading, End { address, port: group(&found, 2).parse().ok() });
    }
    reading.protocol = reading.protocol.or_else(|| protocol(line));
    reading.family = reading.family.or_else(|| family(line));
    // Dart tells the address of the one end with the port of the other.
    if let Some(found) = DART.captures(line).filter(|_| !binds(reading)) {
        if let Some(address) = address(group(&found, 1)) {
            remote(reading, End { address: Some(address), port: None });
        }
        reading.local.port = group(&found, 2).parse().ok();
        return;
    }
    if let Some(found) = GO.captures_iter(line).last() {
        let (operation, before, after) = (group(&found, 1), group(&found, 3), group(&found, 4));
        reading.protocol = group(&found, 2).parse().ok().or(reading.protocol);
        let after = end(after.trim_end_matches(':'), true);
        if after.address.is_some() || after.port.is_some() || !before.is_empty() {
            let own = matches!(operation, "listen" | "accept" | "set");
            if own {
                local(reading, after)
            } else {
                remote(reading, after)
            }
            if !before.is_empty() {
                local(reading, end(before, true));
            }
            return;
        }
    }
    let mut found = places(line);
    if let Some((first, second)) = line.split_once("->").or_else(|| line.split_once("=>")).filter(|_| found.len() > 1) {
        let (first, second) = (places(first).pop(), places(second).into_iter().next());
        if let (Some(first), Some(second)) = (first, second) {
            local(reading, first.end);
            return remote(reading, second.end);
        }
    }
    if found.iter().any(|place| place.role != Role::Other) {
        found.retain(|place| place.role != Role::Other);
    } else {
        found.clear();
    }
    // A port that stands apart belongs to the address that has none.
    if let Some(port) = PORT.captures_iter(line).last().and_then(|found| first(&found).parse().ok()) {
        match &mut found[..] {
            [] => found.push(Found { end: End { address: None, port: Some(port) }, role: Role::Open }),
            [only] if only.end.port.is_none() => only.end.port = Some(port),
            _ => {}
        }
    }
    let binds = binds(reading) || reading.calls.first() == Some(&Call::Accept);
    for place in found.iter().filter(|place| place.role == Role::Local) {
        if reading.local == End::default() {
            local(reading, place.end);
        }
    }
    for place in found.iter().filter(|place| place.role == Role::From) {
        if reading.local == End::default() && found.len() > 1 {
            reading.local = place.end;
        }
    }
    for place in found.iter().filter(|place| place.role == Role::Remote) {
        if reading.remote == End::default() {
            remote(reading, place.end);
        }
    }
    // Nobody connects to all addresses where there is another one.
    if !binds
        && let Some(at) = found
            .iter()
            .position(|place| place.role == Role::Open && place.end.address.is_none_or(|one| !one.is_unspecified()))
    {
        found.rotate_left(at);
    }
    for place in found.iter().filter(|place| place.role == Role::Open) {
        if binds && reading.local == End::default() {
            local(reading, place.end);
        } else if !binds && reading.remote == End::default() {
            remote(reading, place.end);
        }
    }
}

/// An address of a call is the local one where the call binds, and the other one elsewhere.
pub fn place(reading: &mut Reading, end: End) {
    if binds(reading) { local(reading, end) } else { remote(reading, end) }
}

/// The bind() before a connect() is told with the connect's address.
fn binds(reading: &Reading) -> bool {
    let taken = reading.calls.is_empty() && reading.errno.is_some_and(|errno| errno.as_str() == "EADDRINUSE");
    taken
        || matches!(reading.calls[..], [Call::Bind | Call::Listen | Call::Socket, ..])
            && !reading.calls.contains(&Call::Connect)
}

pub fn remote(reading: &mut Reading, end: End) {
    reading.family = end.address.map(Family::of).or(reading.family);
    reading.remote = end;
}

pub fn local(reading: &mut Reading, end: End) {
    reading.family = end.address.map(Family::of).or(reading.family);
    let choice = |port| if port == 0 { PortChoice::Ephemeral } else { PortChoice::Explicit };
    reading.port = end.port.map(choice).or(reading.port);
    reading.local = end;
}

pub fn protocol(line: &str) -> Option<Protocol> {
    let mut said = PROTOCOL.captures_iter(line).map(|found| {
        let word = group(&found, 1).to_ascii_lowercase();
        let udp = word == "udp" || !group(&found, 4).is_empty();
        if udp { Protocol::Udp } else { Protocol::Tcp }
    });
    let first = said.next()?;
    said.all(|other| other == first).then_some(first)
}

fn family(line: &str) -> Option<Family> {
    let mut said = FAMILY.captures_iter(line).map(|found| match group(&found, 1) {
        "6" => Family::Ipv6,
        _ => Family::Ipv4,
    });
    let first = said.next()?;
    said.all(|other| other == first).then_some(first)
}

/// Every address of a line, with its port.
fn places(line: &str) -> Vec<Found> {
    let mut found: Vec<(usize, Found)> = Vec::new();
    for tuple in TUPLE.captures_iter(line) {
        let octets: Vec<String> = (1..5).map(|index| group(&tuple, index).to_owned()).collect();
        let end = End { address: octets.join(".").parse().ok(), port: group(&tuple, 5).parse().ok() };
        found.push((tuple.get(0).map_or(0, |whole| whole.start()), Found { end, role: Role::Open }));
    }
    for tuple in TUPLE6.captures_iter(line) {
        let parts: Vec<u16> = group(&tuple, 1).split(',').filter_map(|part| part.trim().parse().ok()).collect();
        let address = <[u16; 8]>::try_from(parts).ok().map(|parts| IpAddr::from(std::net::Ipv6Addr::from(parts)));
        let end = End { address, port: group(&tuple, 2).parse().ok() };
        found.push((tuple.get(0).map_or(0, |whole| whole.start()), Found { end, role: Role::Open }));
    }
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '[' | ']' | '%' | '*' | '_' | '-');
    let mut at = 0;
    while let Some(start) = line[at..].find(part).map(|offset| at + offset) {
        let stop = line[start..].find(|c| !part(c)).map_or(line.len(), |offset| start + offset);
        at = stop;
        let token = &line[start..stop];
        let token = token.strip_prefix("[AF_INET]").or(token.strip_prefix("[AF_INET6]")).unwrap_or(token);
        let token = token.strip_prefix("[undef]").unwrap_or(token);
        // `mx.example.com[192.0.2.25]:25`, `server[192.0.2.2:80]`.
        let bracket = token.find('[').filter(|&at| token[..at].ends_with(|c: char| c.is_ascii_lowercase()));
        let token = bracket.map_or(token, |at| &token[at..]);
        // `v2:192.0.2.11:7300`, `tcp:127.0.0.1:80`.
        let kind =
            token.split_once(':').filter(|(kind, end)| is_kind(kind) && end.starts_with(|c: char| c.is_ascii_digit()));
        let token = kind.map_or(token, |(_, end)| end);
        let start = stop - token.len();
        // `192.0.2.17:[9300-9400]`: a range is no port.
        let token = token.split_once(":[").map_or(token, |(address, _)| address);
        let token = token.trim_end_matches(['.', '-', '_']);
        let token = if token.ends_with("::") { token } else { token.trim_end_matches(':') };
        // A quote before it opens: `"port":80` is a field.
        let before = line[..start].trim_end_matches(['"', '\'']).chars().next_back();
        let apart = before.is_none_or(|c| c.is_whitespace() || matches!(c, '(' | '=' | '/' | ']'));
        let node = line[..start].trim_end().rsplit([' ', ':']).next().is_some_and(|word| word.starts_with('E'))
            || line[..start].trim_end().ends_with("socket");
        let mut end = end(token, node);
        // mount.cifs: `could not connect to 192.0.2.5Unable to find suitable address`.
        if end.address.is_none() && token.ends_with("Unable") {
            end.address = address(token.trim_end_matches("Unable"));
        }
        if is_separator(line, start, stop) {
            continue;
        }
        // `:0` alone is a display.
        let port = apart && (token.starts_with(':') || token.starts_with("*:")) && token != ":0";
        if end.address.is_none() && !port {
            continue;
        }
        let rest = &line[start + token.len()..];
        if end.port.is_none() && end.address.is_some() {
            let behind = [&*PORT_BEHIND, &*PYTHON_BEHIND, &*COLON_BEHIND, &*NETCAT_BEHIND];
            if line[..start].ends_with("/dev/tcp/") || line[..start].ends_with("/dev/udp/") {
                end.port = DEVICE_BEHIND.captures(rest).and_then(|found| group(&found, 1).parse().ok());
            }
            let captured = behind.iter().find_map(|pattern| pattern.captures(rest));
            end.port = end.port.or(captured.and_then(|found| first(&found).parse().ok()));
            // `192.0.2.0/24` is a network.
            let bits = PREFIX_BEHIND.captures(rest).and_then(|bits| group(&bits, 1).parse::<u8>().ok());
            if end.port.is_none() && bits.is_some_and(|bits| bits <= if token.contains(':') { 128 } else { 32 }) {
                continue;
            }
        }
        if end != End::default() {
            // `rabbit@127.0.0.1` is the name of somebody.
            let name = line[..start].ends_with('@') && end.port.is_none();
            found.push((start, Found { end, role: if name { Role::Other } else { role(line, start) } }));
        }
    }
    for name in [&*NAMED, &*LOCALHOST, &*OPENING].into_iter().flat_map(|names| names.captures_iter(line)) {
        let (Some(whole), port) = (name.get(1), group(&name, 2)) else { continue };
        let host = whole.as_str().to_ascii_lowercase();
        const FILES: &[&str] = &[
            ".go", ".js", ".java", ".c", ".cc", ".cpp", ".py", ".rs", ".rb", ".ex", ".erl", ".ts", ".cs", ".php", ".h",
            ".kt",
        ];
        // Places in a program: `at Net.connect(Net.java:601)`, `(org.eclipse.jetty.util.AbstractLifeCycle:212)`.
        let is_class = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase());
        let other = line.trim_start().starts_with("at ")
            || FILES.iter().any(|ending| host.ends_with(ending))
            || whole.as_str().rsplit_once('.').is_some_and(|(_, last)| is_class(last))
            || ["node", "port", "line", "code", "errno", "ip4", "ip6", "pid"].contains(&&*host);
        if !other {
            let end = End { address: None, port: port.parse().ok() };
            found.push((whole.start(), Found { end, role: role(line, whole.start()) }));
        }
    }
    found.sort_by_key(|(start, _)| *start);
    // The address that a log line begins with is its client's.
    if found.len() > 1 && found[0].0 == 0 && found[0].1.end.port.is_none() {
        found.remove(0);
    }
    // `localhost/127.0.0.1:80`, `example.com:80 (192.0.2.1)` and `localhost (127.0.0.1) port 80` say an end twice.
    found.dedup_by(|(start, again), (_, first)| {
        let End { address, port } = again.end;
        let beside = line[..*start].ends_with('(') && port.is_none();
        let named = first.end.address.is_none() && (first.end.port == port || beside);
        let same = address.is_some() && first.end.address == address && (first.end.port.is_none() || port.is_none());
        let twice = (named || same) && first.role == again.role;
        if twice {
            first.end = End { address: first.end.address.or(address), port: first.end.port.or(port) };
        }
        twice
    });
    found.into_iter().map(|(_, found)| found).collect()
}

/// `v2`, `tcp`: what may stand before an address.
fn is_kind(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(|c| c.is_ascii_alphanumeric())
}

/// `… :: caused by :: …`: nobody's address.
fn is_separator(line: &str, start: usize, stop: usize) -> bool {
    let before = line[..start].strip_suffix(' ').and_then(|before| before.rsplit(' ').next());
    let apart = line[start..stop] == *"::" && line[stop..].starts_with(' ');
    apart && before.is_some_and(|word| !["to", "on", "at", "for", "address", "host"].contains(&word))
}

fn role(line: &str, start: usize) -> Role {
    // As much as a role takes.
    let mut from = start.saturating_sub(48);
    while !line.is_char_boundary(from) {
        from += 1;
    }
    let before = &line[from..start];
    match before {
        _ if OTHER_WORD.is_match(before) => Role::Other,
        _ if REMOTE_WORD.is_match(before) => Role::Remote,
        _ if LOCAL_WORD.is_match(before) => Role::Local,
        // Who asks a proxy is no end of the proxy's own connection.
        _ if line.contains(" to ") => match FROM_WORD.captures(before) {
            Some(from) if from.get(1).is_some() => Role::Other,
            Some(_) => Role::From,
            None => Role::Open,
        },
        _ => Role::Open,
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches(['"', '\'', '(']).trim_start_matches('[').trim_end_matches(']');
    let (address, zone) = text.split_once('%').unwrap_or((text, ""));
    address.parse().ok().filter(|_| !zone.contains([':', ']']))
}

/// One end as a program writes it alone.
pub fn endpoint(text: &str) -> End {
    end(text, true)
}

/// `127.0.0.1:80`, `[::1]:80`, `:::80`, `:80`, `localhost:80`, `127.0.0.1`; `joined`: `::1:80` has a port.
fn end(text: &str, joined: bool) -> End {
    // `[0.0.0.0:443]`, as HAProxy writes it.
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).filter(|inner| address(inner).is_none());
    let text = inner.unwrap_or(text);
    let split = text.trim_end_matches(']').rsplit_once(':');
    let split = split.filter(|(_, port)| !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()));
    if let Some(whole) = address(text) {
        // Node and Redis write the port behind a bare IPv6 address; of the shortest ones everybody does.
        let shortest = |before: &str| matches!(before, "::" | "::1");
        return match split {
            Some((before, port)) if whole.is_ipv6() && (joined || shortest(before.trim_start_matches('['))) => {
                match (address(before), port.parse()) {
                    // HAProxy has brackets around both.
                    (Some(address), Ok(port)) if !text.ends_with(']') || shortest(before.trim_start_matches('[')) => {
                        End { address: Some(address), port: Some(port) }
                    }
                    _ => End { address: Some(whole), port: None },
                }
            }
            _ => End { address: Some(whole), port: None },
        };
    }
    split.map_or(End::default(), |(before, port)| End { address: address(before), port: port.parse().ok() })
}
