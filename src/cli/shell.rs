//! `errnoscope shell`: an interactive shell in a world of its own, with a prompt that says so.
//!
//! What the options do is the business of `exec`.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::exec::{Rest, Surroundings, no_world};
use super::{Exit, Failure, exec};
use crate::sys;

/// Open a shell under real conditions such as port exhaustion
#[derive(clap::Args)]
#[command(after_long_help = after_help())]
pub struct Arguments {
    #[command(flatten)]
    surroundings: Surroundings,
}

fn after_help() -> String {
    format!(
        "{}\n\nIt is the shell that SHELL names, or /bin/sh; bash and fish read their own files first. ERRNOSCOPE has the \
conditions. When it ends, everything that it has left in the background is ended too.

Examples:
  errnoscope shell -c ports-exhausted,free=1
  errnoscope shell --path 5 --listen 443 -c tuple-held=10.77.0.1:40000-10.77.5.2:443,state=time-wait",
        exec::condition::HELP
    )
}

pub fn shell(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let conditions: Vec<&str> = arguments.surroundings.conditions.iter().map(|named| &*named.text).collect();
    let conditions = conditions.join(" ");
    let blank = if conditions.is_empty() { "" } else { " " };
    let prompt = format!("(errnoscope{blank}{conditions}) ");
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or("/bin/sh".into());
    let name = Path::new(&shell).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Conditions hold no quote: their words are names, numbers and addresses.
    let (given, setting): (Vec<OsString>, _) = match &*name {
        "bash" => {
            let (from, to) = sys::pipe().map_err(|errno| no_world(format!("pipe: {errno}")))?;
            let fd = from.as_raw_fd();
            let file = format!("[ -r ~/.bashrc ] && . ~/.bashrc\nPS1='{prompt}'\"$PS1\"\nexec {fd}<&-\n");
            sys::write(&to, file.as_bytes()).map_err(|errno| no_world(format!("a pipe: {errno}")))?;
            (vec!["--rcfile".into(), format!("/dev/fd/{fd}").into(), "-i".into()], Some(from))
        }
        "fish" => {
            let greeting = "functions -c fish_prompt errnoscope_former_prompt";
            let function = format!("function fish_prompt; echo -n '{prompt}'; errnoscope_former_prompt; end");
            (vec!["-i".into(), "-C".into(), format!("{greeting}; {function}").into()], None)
        }
        _ => (vec!["-i".into()], None),
    };
    let environment = [("ERRNOSCOPE", conditions), ("PS1", format!("{prompt}$ "))];
    let rest = Rest { limit: None, trace: false, json: None, out, environment: &environment };
    let exit = arguments.surroundings.run(rest, &shell, &given);
    drop(setting);
    exit
}
