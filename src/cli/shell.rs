//! `errnoscope shell`: opens an interactive shell in its own network, with a prompt that says so.
//!
//! It has the options of `exec`.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::exec::{EnvironmentArguments, Rest, no_world};
use super::{Exit, Failure, exec};
use crate::exec::Startup;
use crate::sys;

/// Open a shell under real conditions such as port exhaustion
#[derive(clap::Args)]
#[command(after_long_help = after_help())]
pub struct Arguments {
    #[command(flatten)]
    environment: EnvironmentArguments,
}

fn after_help() -> String {
    format!(
        "{}\n\nIt starts the shell that SHELL names, or /bin/sh; bash, zsh and fish read their own files first. The variable ERRNOSCOPE \
has the conditions. When the shell ends, everything that it has left in the background is ended too.

Examples:
  errnoscope shell -c ports-exhausted,free=1
  errnoscope shell --path 5 --listen 443 -c tuple-held=10.77.0.1:40000-10.77.5.2:443,state=time-wait",
        exec::condition::HELP
    )
}

pub fn shell(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let conditions: Vec<&str> = arguments.environment.conditions.iter().map(|named| &*named.text).collect();
    let conditions = conditions.join(" ");
    let blank = if conditions.is_empty() { "" } else { " " };
    let prompt = format!("(errnoscope{blank}{conditions}) ");
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or("/bin/sh".into());
    let name = Path::new(&shell).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut environment = vec![("ERRNOSCOPE", conditions)];
    let no_setting =
        |what: &str, why: &dyn std::fmt::Display| no_world(format!("cannot set the shell's prompt: {what}: {why}"));
    // What the shell reads before it asks for its first line, to be kept until then.
    let (mut pipe, mut startup) = (None, None);
    // Conditions hold no quote: their words are names, numbers and addresses.
    let given: Vec<OsString> = match &*name {
        "bash" => {
            let (from, to) = sys::pipe().map_err(|errno| no_setting("pipe", &errno))?;
            let fd = from.as_raw_fd();
            let file = format!("[ -r ~/.bashrc ] && . ~/.bashrc\nPS1='{prompt}'\"$PS1\"\nexec {fd}<&-\n");
            sys::write(&to, file.as_bytes()).map_err(|errno| no_setting("a pipe", &errno))?;
            pipe = Some(from);
            vec!["--rcfile".into(), format!("/dev/fd/{fd}").into(), "-i".into()]
        }
        "zsh" => {
            let text = zshenv(std::env::var("ZDOTDIR").ok().as_deref(), &prompt);
            startup = Some(Startup { variable: "ZDOTDIR", file: ".zshenv", text });
            vec!["-i".into()]
        }
        "fish" => {
            let greeting = "functions -c fish_prompt errnoscope_former_prompt";
            let function = format!("function fish_prompt; echo -n '{prompt}'; errnoscope_former_prompt; end");
            vec!["-i".into(), "-C".into(), format!("{greeting}; {function}").into()]
        }
        _ => {
            environment.push(("PS1", format!("{prompt}$ ")));
            vec!["-i".into()]
        }
    };
    let rest = Rest {
        limit: None,
        trace: false,
        json: None,
        out,
        environment: &environment,
        startup,
        empty_home: false,
        foreground: sys::is_in_foreground(),
    };
    let exit = arguments.environment.run(rest, &shell, &given);
    drop(pipe);
    exit
}

/// What zsh reads first, from where ZDOTDIR says: it has no option for that. It removes itself, or closes its nameless
/// directory, and lets zsh go on with the user's files; the prompt is that of whoever sets it last, before every line.
fn zshenv(former: Option<&str>, prompt: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let restore = former.map_or("unset ZDOTDIR".to_owned(), |former| format!("export ZDOTDIR={}", quoted(former)));
    let shown = quoted(&prompt.replace('%', "%%"));
    format!(
        "case $ZDOTDIR in
    /proc/self/fd/*) errnoscope_own=${{ZDOTDIR##*/}}; exec {{errnoscope_own}}<&- ;;
    *) command rm -rf -- $ZDOTDIR ;;
esac
unset errnoscope_own
{restore}
[[ -r ${{ZDOTDIR:-$HOME}}/.zshenv ]] && . ${{ZDOTDIR:-$HOME}}/.zshenv
errnoscope_prompt() {{
    emulate -L zsh
    precmd_functions=(${{precmd_functions:#errnoscope_prompt}} errnoscope_prompt)
    [[ $PROMPT = {shown}* ]] || PROMPT={shown}$PROMPT
}}
precmd_functions+=(errnoscope_prompt)
"
    )
}
