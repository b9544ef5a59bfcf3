//! `errnoscope completions` and `errnoscope man`: describe the command line to shells and to man(1).
//!
//! Each command describes its own options; nothing is written here by hand.

use std::io::Write;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use super::output::{self, Destination};
use super::{Exit, Failure};
use crate::sys::Directory;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope completions bash > /usr/share/bash-completion/completions/errnoscope
  errnoscope completions zsh > ~/.zfunc/_errnoscope
  errnoscope completions fish > ~/.config/fish/completions/errnoscope.fish")]
pub struct CompletionsArguments {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope man | man -l -
  errnoscope man /usr/local/share/man/man1")]
pub struct ManArguments {
    /// Write a page for each command into this directory, instead of the first to standard output
    #[arg(value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

pub fn completions(
    arguments: &CompletionsArguments,
    mut command: Command,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let name = command.get_name().to_owned();
    // The generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    out.write_all(&script)?;
    Ok(Exit::Success)
}

pub fn man(arguments: &ManArguments, command: Command, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Some(directory) = &arguments.directory else {
        clap_mangen::Man::new(command).render(out)?;
        return Ok(Exit::Success);
    };
    let place = Directory::find_or_make(directory).map_err(|why| output::cannot_write(directory, why))?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect_pages(&command, &mut pages)?;
    for (name, page) in pages {
        Destination::within(&place, directory, &name)?.write(out, |out| out.write_all(&page))?;
    }
    Ok(Exit::Success)
}

/// A page for each command that help shows.
fn collect_pages(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        collect_pages(command, pages)?;
    }
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((man.get_filename(), page));
    Ok(())
}
