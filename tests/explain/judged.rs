//! What `explain` makes of a message, field by field, against what the kernel said to the program.
//!
//! A field that the text does not have cannot be read: then it has to be open, not wrong.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use errnoscope::knowledge::explain::read::read;
use errnoscope::knowledge::explain::{Explanation, Given, Understood, explain_all, understand};
use errnoscope::knowledge::policy::causes::Knowledge;
use errnoscope::knowledge::policy::separate::End;
use errnoscope::words::errno::ErrnoName;
use errnoscope::words::names::Os;

/// What a program said, and what the kernel had said to it.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    pub program: String,
    pub version: String,
    pub situation: String,
    /// Whether the text says the errno in any way.
    pub tells: bool,
    pub kernel: Kernel,
    pub text: String,
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    pub call: String,
    pub errno: String,
    pub protocol: Option<String>,
    pub family: Option<String>,
    pub port: String,
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
}

/// What ci/messages/programs.toml says of a situation.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Situation {
    pub name: String,
    pub kind: String,
    pub cause: Vec<String>,
    #[serde(default)]
    open: Option<toml::Value>,
    #[serde(default = "lo")]
    pub address: IpAddr,
    #[serde(default = "port")]
    pub port: u16,
    pub source: Option<IpAddr>,
    #[serde(default)]
    pub source_port: u16,
}

impl Situation {
    /// Whether the text has nothing of what tells this situation from others.
    fn is_open(&self, text: &str) -> bool {
        match &self.open {
            Some(toml::Value::Boolean(open)) => *open,
            Some(toml::Value::String(says)) => !text.contains(&**says),
            _ => false,
        }
    }
}

fn lo() -> IpAddr {
    [127, 0, 0, 1].into()
}

fn port() -> u16 {
    8000
}

#[derive(serde::Deserialize)]
struct Programs {
    situation: Vec<Situation>,
}

pub fn messages(lines: &str) -> Vec<Message> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
}

pub fn situations(programs: &str) -> BTreeMap<String, Situation> {
    let programs: Programs = toml::from_str(programs).expect("the programs are TOML");
    programs.situation.into_iter().map(|situation| (situation.name.clone(), situation)).collect()
}

/// What is explained of a text on a Linux host. A text may tell of several failures: of the one with this errno.
pub fn explained(text: &str, errno: Option<&str>) -> Result<Explanation, String> {
    let knowledge = Knowledge::built_in();
    let readings = read(text).map_err(|why| why.to_string())?;
    let all = readings.into_iter().map(|reading| understand(reading, Given::default(), Some(Os::Linux), knowledge));
    let mut understood: Vec<Understood> = all.filter_map(Result::ok).collect();
    if let Some(asked) = understood.iter().position(|one| Some(one.errno.as_str()) == errno) {
        understood = vec![understood.swap_remove(asked)];
    }
    explain_all(understood, knowledge).ok_or_else(|| "nothing is known".to_owned())
}

/// The fields that are wrong, with what was said instead.
pub fn wrong(message: &Message, situation: &Situation) -> Vec<(&'static str, String)> {
    let Message { text, kernel, .. } = message;
    let explanation = match explained(text, Some(&kernel.errno)) {
        Err(_) if !message.tells => return Vec::new(),
        Err(why) => return vec![("errno", why)],
        Ok(explanation) => explanation,
    };
    // MariaDB's client says with the number that its connect() was under way, Ruby the error of a later call.
    let told = explanation.understood.errno;
    if !message.tells && (told == ErrnoName::EINPROGRESS || text.contains(told.as_str())) {
        return Vec::new();
    }
    if !message.tells && explanation.understood.errno.as_str() != kernel.errno {
        return vec![("errno", format!("{} is not in the text", explanation.understood.errno.as_str()))];
    }
    let understood = &explanation.understood;
    let mut wrong: Vec<(&'static str, String)> = Vec::new();
    let mut check = |field: &'static str, right: bool, said: String| {
        if !right {
            wrong.push((field, said));
        }
    };
    let binds = kernel.call == "bind";
    check("errno", understood.errno.as_str() == kernel.errno, understood.errno.as_str().to_owned());
    check("os", understood.os.as_str() == "linux", understood.os.to_string());
    let call = explanation.failures.first().map_or("none", |failure| failure.call.as_str());
    // Who says no call, or connect for all that leads to it, can only be told what else it may be.
    let lower = text.to_lowercase().replace("connection re", "");
    let mut words = lower.split(|c: char| !c.is_ascii_alphabetic());
    const VERBS: &[&str] = &["bind", "listen", "connect", "send", "write", "recv", "read"];
    let silent = !words.any(|word| VERBS.iter().any(|verb| word.starts_with(verb)));
    let open = silent || situation.is_open(text);
    let among = explanation.failures.iter().any(|failure| class(failure.call.as_str()) == class(&kernel.call));
    let before = call == "connect" && kernel.call == "bind";
    check(
        "call",
        class(call) == class(&kernel.call) || open && (among || before),
        format!("{call} of {:?}", understood.calls),
    );
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let mapped = kernel.remote.or(kernel.local).is_some_and(|end| end.ip() != end.ip().to_canonical());
    let (local, remote) = (kernel.local.map(canonical), kernel.remote.map(canonical));
    let own = local.or(situation.source.map(|source| SocketAddr::new(source, situation.source_port)));
    let target = SocketAddr::new(situation.address, situation.port);
    let peer = remote.or((situation.kind != "listen" && situation.kind != "udp-bind").then_some(target));
    end(&mut check, ["local address", "local port"], understood.local, own, text, binds);
    end(&mut check, ["remote address", "remote port"], understood.remote, peer, text, !binds);
    let port = understood.port.map(|port| port.to_string());
    check(
        "port",
        kernel.port == "none" || situation.is_open(text) || port.as_ref().is_none_or(|port| *port == kernel.port),
        format!("{port:?}"),
    );
    let protocol = understood.protocol.map(|protocol| protocol.to_string());
    // A banner has addresses and protocols of its own.
    let tells =
        |line: &&str| read(line).is_ok_and(|read| read[0].errno.is_some_and(|errno| errno.as_str() == kernel.errno));
    let lines = text.lines().filter(tells).collect::<Vec<_>>().join("\n");
    let words: Vec<String> =
        lines.replace("TCP/IP", "").split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase).collect();
    let said = |word: &str| words.iter().any(|said| said == word);
    let is_said = kernel.protocol.as_deref().is_some_and(&said) && !(said("tcp") && said("udp"));
    let right =
        protocol.as_ref().map_or(!is_said, |protocol| kernel.protocol.as_ref().is_none_or(|own| own == protocol));
    check("protocol", right, format!("{protocol:?}"));
    let family = understood.family.map(|family| family.to_string());
    let has = if binds { own } else { peer }.filter(|end| has_address(text, end.ip()));
    let right = family
        .as_ref()
        .map_or(has.is_none(), |family| kernel.family.as_ref() == Some(family) || (mapped && family == "ipv4"));
    check("family", right, format!("{family:?}"));
    let wanted = |cause: &str| situation.cause.iter().any(|own| own == cause);
    let first = explanation.failures.first().and_then(|failure| failure.causes.first());
    let first = first.map(|cause| cause.cause.to_string());
    let any = explanation.failures.iter().flat_map(|failure| &failure.causes).any(|cause| wanted(cause.cause.as_str()));
    check("cause", first.as_deref().is_some_and(wanted) || (open && any), format!("{first:?}"));
    wrong
}

/// connect() and SO_ERROR are one to a program, and so are all ways to send and to receive.
fn class(call: &str) -> &str {
    match call {
        "SO_ERROR" => "connect",
        "sendto" | "sendmsg" => "send",
        call => call,
    }
}

fn end(
    check: &mut impl FnMut(&'static str, bool, String),
    [address, port]: [&'static str; 2],
    said: End,
    own: Option<SocketAddr>,
    text: &str,
    must: bool,
) {
    let open = |ip: IpAddr| ip.is_unspecified();
    let right = match (said.address, own) {
        (Some(said), Some(own)) => said == own.ip() || open(said),
        // The kernel chose it, and the program asked for it.
        (Some(said), None) => open(said) || has_address(text, said),
        (None, Some(own)) => !(must && has_address(text, own.ip())),
        (None, None) => true,
    };
    check(address, right, format!("{:?}", said.address));
    let right = match (said.port, own) {
        (Some(said), Some(own)) => {
            said == own.port() || (said == 0 && !must) || (own.port() == 0 && has_number(text, said))
        }
        (Some(said), None) => said == 0 || has_number(text, said),
        (None, Some(own)) => own.port() == 0 || !(must && has_number(text, own.port())),
        (None, None) => true,
    };
    check(port, right, format!("{:?}", said.port));
}

/// Whether an address is in a text, as programs write it.
fn has_address(text: &str, address: IpAddr) -> bool {
    let written = address.to_string();
    let tuple = match address {
        IpAddr::V4(address) => format!("{{{}}}", address.octets().map(|octet| octet.to_string()).join(",")),
        IpAddr::V6(address) => format!("{{{}}}", address.segments().map(|part| part.to_string()).join(",")),
    };
    text.contains(&tuple)
        || text.match_indices(&written).any(|(start, _)| {
            let part = |c: char| c.is_ascii_alphanumeric() || c == '.';
            !text[..start].ends_with(|c| part(c) || c == ':')
                && !text[start + written.len()..].starts_with(|c: char| c.is_ascii_alphanumeric())
        })
}

fn has_number(text: &str, port: u16) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == port.to_string())
}
