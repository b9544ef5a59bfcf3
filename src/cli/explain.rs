//! `errnoscope explain`: tells a person what findings know about an error.
//!
//! It finds the text and prints; `knowledge::explain` reads the text and finds the causes.

mod here;

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use super::output::{self, Destination};
use super::select::one_of;
use super::{Exit, Failure, complain, source};
use crate::knowledge::explain::{self, Given, Understood, read};
use crate::knowledge::policy::causes::Knowledge;
use crate::render::explain as text;
use crate::sys;
use crate::words::names::{Family, Os, PortChoice, Protocol, Reuse};

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope explain connect EADDRNOTAVAIL
  errnoscope explain connect EADDRNOTAVAIL --port ephemeral --protocol tcp
  errnoscope explain bind 48 --os macos
  errnoscope explain EADDRINUSE
  errnoscope explain 'dial tcp 127.0.0.1:80: connect: cannot assign requested address'
  tail -n 1 error.log | errnoscope explain
  errnoscope explain connect EADDRNOTAVAIL --report mine.json --json
  sudo errnoscope explain --here 'bind() to 0.0.0.0:80 failed (98: Address already in use)'

The text may be lines of strace or of a log, an exception of Rust, Go, Node, Python, Java or Ruby, a message of \
perror(), an errno by name or number. If it tells of several failures, each is told, the last one first. The answer \
is short: what failed, the most likely cause, how to see it, and what to do. -v shows every cause with its evidence.
Exit codes: 0 explained, 2 no errno in the text, 3 no finding has that call with that errno.")]
pub struct Arguments {
    /// A call and an errno, or the message as it came; `-`, or nothing, for standard input
    #[arg(value_name = "TEXT")]
    text: Vec<String>,

    /// The system that gave the errno; without it, the one that the text is about, or this host's
    #[arg(long, value_name = "OS", value_parser = one_of(Os::ALL, Os::as_str), ignore_case = true)]
    os: Option<Os>,

    /// Explicit: the call finds a source port, which bind() passes or has set; ephemeral: the kernel picks one in the
    /// call
    #[arg(long, value_name = "CHOICE", value_parser = one_of(&[PortChoice::Explicit, PortChoice::Ephemeral], PortChoice::as_str))]
    port: Option<PortChoice>,

    /// The socket's protocol
    #[arg(long, value_name = "PROTOCOL", value_parser = one_of(Protocol::ALL, Protocol::as_str), ignore_case = true)]
    protocol: Option<Protocol>,

    /// The socket's address family
    #[arg(long, value_name = "FAMILY", value_parser = one_of(Family::ALL, Family::as_str), ignore_case = true)]
    family: Option<Family>,

    /// Which of SO_REUSEADDR and SO_REUSEPORT the socket has
    #[arg(long, value_name = "OPTIONS", value_parser = one_of(Reuse::ALL, Reuse::as_str))]
    reuse: Option<Reuse>,

    /// Count the findings of this report as well; may be given several times
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,

    /// Every cause with its evidence, and what tells them apart
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,

    /// Look at this host, changing nothing, and say which of the causes hold on it now; as root it also finds who has a
    /// port
    #[arg(long)]
    here: bool,

    /// As JSON
    #[arg(long)]
    json: bool,
}

/// More than this, from the end of standard input, is not read.
const LONGEST: usize = 1024 * 1024;

pub fn explain(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Arguments { os, port, protocol, family, reuse, .. } = *arguments;
    let readings = read::read(&words(&arguments.text)?).map_err(|unreadable| Failure::bad(unreadable.to_string()))?;
    let mut knowledge = Knowledge::built_in().clone();
    for file in &arguments.report {
        let report = source::report(file)?;
        source::mention_stranger(&report);
        knowledge = knowledge.and(Knowledge::of([&report]));
    }
    let given = Given { os, port, protocol, family, reuse };
    let understand = |reading| explain::understand(reading, given, sys::HOST, &knowledge);
    let mut understood = Vec::new();
    let mut wrong = None;
    for one in readings.into_iter().map(understand) {
        match one {
            Ok(one) => understood.push(one),
            Err(why) => wrong = wrong.or(Some(why.to_string())),
        }
    }
    let Some(first) = understood.first().cloned() else { return Err(Failure::bad(wrong.unwrap_or_default())) };
    let Some(explanation) = explain::explain_all(understood, &knowledge) else {
        return Err(unknown(&first, &knowledge));
    };
    let explanation = if arguments.here { here::looked_at(explanation)? } else { explanation };
    if arguments.json {
        output::json(&explanation, out)?;
    } else {
        let shown = if arguments.verbose { text::explanation } else { text::answer };
        write!(out, "{}", shown(&explanation, output::width()))?;
    }
    Ok(Exit::Success)
}

/// The arguments as one text, or standard input.
fn words(arguments: &[String]) -> Result<String, Failure> {
    match arguments {
        [] if std::io::stdin().is_terminal() => Err(Failure::bad(read::Unreadable::NoErrno.to_string())),
        [only] if only != "-" => Ok(only.clone()),
        [] | [_] => {
            let (bytes, cut) =
                last(std::io::stdin().lock()).map_err(|error| Failure::because("cannot read standard input", error))?;
            if cut {
                complain("note", &format!("only the last {} KiB of standard input are read", LONGEST >> 10));
            }
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        several => Ok(several.join(" ")),
    }
}

/// As many as a person reads.
const NEAR: usize = 6;

/// What comes last, and whether there was more.
fn last(mut input: impl Read) -> std::io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut cut = false;
    while input.by_ref().take(LONGEST as u64).read_to_end(&mut bytes)? > 0 {
        if bytes.len() > LONGEST {
            bytes.drain(..bytes.len() - LONGEST);
            cut = true;
        }
    }
    Ok((bytes, cut))
}

fn unknown(understood: &Understood, knowledge: &Knowledge) -> Failure {
    let asked = text::asked(understood);
    let near = explain::near(understood, knowledge);
    let more = near.len().saturating_sub(NEAR);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let near = &near[..near.len().min(NEAR)];
    let near = if near.is_empty() { String::new() } else { format!("; findings know {}{more}", near.join(", ")) };
    Failure::NothingSelected(format!("no finding has {asked}{near}"))
}

#[derive(clap::Args)]
pub struct CondenseArguments {
    /// Reports, as `run --json` writes them
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,

    /// Write to this file
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// What the built-in knowledge is made with.
pub fn condense(arguments: &CondenseArguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let destination = Destination::new(&arguments.output)?;
    let reports = source::reports(&arguments.reports)?;
    let knowledge = Knowledge::of(&reports).write();
    destination.write(out, |out| out.write_all(knowledge.as_bytes()))?;
    Ok(Exit::Success)
}
