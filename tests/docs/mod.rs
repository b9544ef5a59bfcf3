//! The documents: each command that they show is run, and its output is the one that they show.
//!
//! `UPDATE_EXPECT=1 cargo test --test all -- docs::` writes outputs anew that are no longer true, and
//! `UPDATE_EXPECT=numbers` also those of which only numbers are others. A comment `<!-- test: … -->` before a block
//! says what is special about it: `page` has the list. A command that is not run, and one without an output, has at
//! least arguments that errnoscope takes.

mod library;
mod output;
mod page;
mod picture;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::error::ErrorKind;
use tempfile::TempDir;

use crate::common::PROGRAM;
use crate::common::golden::matches_file;
use crate::harness::{needs, test};
use page::{Block, Page};

needs!(Bash);

/// Languages of blocks that show no command.
const OTHERS: [&str; 5] = ["json", "rust", "text", "toml", "yaml"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn read(name: &str) -> (String, Page) {
    let text = std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let page = page::read(&text).unwrap_or_else(|why| panic!("{name}: {why}"));
    (text, page)
}

/// Where the commands of a page run: a directory of its own, which has of the checkout what pages show.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a directory"));
        for name in ["ci", "scenarios"] {
            symlink(root().join(name), place.0.path().join(name)).expect("a link");
        }
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the place")).expect("a directory");
        std::fs::write(path, text).expect("written");
    }

    /// What a terminal would show, of 80 columns and without colours, and the exit code.
    fn run(&self, command: &str) -> (String, Option<i32>) {
        let programs = Path::new(PROGRAM).parent().expect("a directory");
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("timeout")
            .args(["120", "bash", "-c", &format!("exec 2>&1\n{command}")])
            .current_dir(&self.0)
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("COLUMNS", "80")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("bash starts");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    }
}

/// Runs what a page shows, and holds its outputs against those that it shows.
#[track_caller]
fn check(name: &str) {
    let (mut text, page) = read(name);
    let place = Place::new();
    let mut renewed = Vec::new();
    for block in &page.blocks {
        for command in &block.before {
            let (said, code) = place.run(command);
            assert_eq!(code, Some(0), "{name}: {command}\n{said}");
        }
        if let Some(file) = &block.file {
            place.write(file, &block.text);
        }
        if block.language != "console" || !block.is_run {
            continue;
        }
        for (index, step) in block.steps().into_iter().enumerate() {
            // A file that is shown is one that the reader has.
            if let Some(file) =
                step.command.trim_end().strip_prefix("cat ").filter(|file| !place.0.path().join(file).exists())
            {
                place.write(file, &step.expected);
            }
            let (said, code) = place.run(&step.command);
            let expected = block.codes.get(index).copied().unwrap_or(0);
            assert_eq!(code, Some(expected), "{name}: $ {}{said}", step.command);
            renewed.push((step.range, output::renewed(&step.expected, &said, block.numbers_vary)));
        }
    }
    for (range, output) in renewed.into_iter().rev() {
        text.replace_range(range, &output);
    }
    matches_file(name, &text);
}

/// Arguments of errnoscope in a line of shell: of each command that the line names with errnoscope before anything
/// else.
fn calls(line: &str) -> Result<Vec<Vec<String>>, String> {
    let words = shell_words::split(&line.replace("; ", " ; ")).map_err(|error| format!("{error}: {line}"))?;
    let is_end = |word: &String| ["|", "||", "&&", ";", "#"].contains(&word.as_str());
    let commands = words.split(is_end).map(|words| {
        let words = words.split(|word| word.starts_with(['>', '<'])).next().unwrap_or_default();
        let is_cargo = words.starts_with(&["cargo", "run", "--"].map(str::to_owned));
        let begin = if is_cargo { Some(2) } else { words.iter().position(|word| word == "errnoscope") };
        begin.map(|begin| words[begin..].to_vec())
    });
    Ok(commands.flatten().collect())
}

/// A program or file of the checkout is there, and errnoscope takes its arguments.
fn parse(line: &str) -> Result<(), String> {
    for word in line.split([' ', '(', '"', '=']).filter(|word| word.starts_with("ci/") && word.ends_with(".sh")) {
        if !root().join(word).exists() {
            return Err(format!("there is no {word}"));
        }
    }
    if let Some((_, filters)) = line.split_once("cargo test --test all -- ") {
        let all = std::fs::read_to_string(root().join("tests/all.rs")).expect("readable");
        let module = filters.trim_end().trim_end_matches("::");
        // It takes one filter.
        if !all.contains(&format!("mod {module};")) {
            return Err(format!("no tests are called `{filters}`"));
        }
    }
    for call in calls(line)? {
        let parsed = errnoscope::cli::command().try_get_matches_from(&call);
        match parsed.map_err(|error| (error.kind(), error)) {
            Ok(_) | Err((ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _)) => {}
            Err((_, error)) => return Err(format!("{line}\n{error}")),
        }
    }
    Ok(())
}

/// `errnoscope exec` in a sentence is the command's name.
fn is_name(span: &str) -> bool {
    let name = span.strip_prefix("errnoscope ").unwrap_or_default();
    errnoscope::cli::command().get_subcommands().any(|command| command.get_name() == name)
}

/// Each command of a block: what a prompt precedes, or each line of one without outputs.
fn commands(block: &Block) -> Vec<String> {
    match block.language.as_str() {
        "console" => block.steps().into_iter().map(|step| step.command).collect(),
        "sh" => block.text.replace("\\\n", " ").lines().map(str::to_owned).collect(),
        // Steps of a workflow.
        "yaml" => {
            let lines = block.text.lines().map(|line| line.trim_start().trim_start_matches("- run: "));
            lines.filter(|line| line.starts_with("errnoscope ")).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn pages() -> BTreeSet<String> {
    let docs = std::fs::read_dir(root().join("docs")).expect("the documents are there");
    let names = docs.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"));
    let docs = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    docs.chain(["README.md", "CONTRIBUTING.md", "SECURITY.md", "scenarios/README.md"].map(str::to_owned)).collect()
}

macro_rules! pages {
    ($($name:ident($($need:ident),*): $page:literal;)*) => {
        $(
            #[test($($need),*)]
            fn $name() {
                check($page);
            }
        )*

        /// Those that have a test of their own.
        const CHECKED: &[&str] = &[$($page),*];
    };
}

pages! {
    readme(Namespaces, SecondUser, Tun, Nft, Ipv6): "README.md";
    ci(): "docs/ci.md";
    exec(Namespaces, Ptrace, Curl, Python, SecondUser): "docs/exec.md";
    exit_codes(Namespaces): "docs/exit-codes.md";
    explain(): "docs/explain.md";
    specification(): "docs/specification.md";
    findings(Namespaces): "docs/findings.md";
    formats(): "docs/formats.md";
    getting_started(Namespaces, SecondUser, Ipv6): "docs/getting-started.md";
    hosts(Namespaces): "docs/hosts.md";
    protocol(Namespaces): "docs/protocol.md";
    reports(): "docs/reports.md";
    scenarios(Namespaces): "scenarios/README.md";
    tracers(Namespaces, Ptrace, SecondUser): "docs/tracers.md";
}

#[test]
fn every_command_is_run_or_says_why_not() {
    for name in pages() {
        let (_, page) = read(&name);
        for block in &page.blocks {
            let known = ["console", "sh"].iter().chain(&OTHERS).any(|language| *language == block.language);
            assert!(known, "{name}: a block of `{}`:\n{}", block.language, block.text);
            if OTHERS.contains(&block.language.as_str()) {
                let hidden =
                    block.text.lines().find(|line| ["$ ", "errnoscope "].iter().any(|it| line.starts_with(it)));
                assert_eq!(hidden, None, "{name}: a command in a block of {}", block.language);
            }
            let needs_test = block.is_run && block.language == "console" || block.file.is_some();
            assert!(!needs_test || CHECKED.contains(&name.as_str()), "{name} has commands, and no test runs them");
        }
        let is_run = |block: &&Block| block.is_run && block.language == "console";
        let blocks = page.blocks.iter().filter(|block| !is_run(block)).flat_map(commands);
        let spans =
            page.spans.iter().filter(|span| ["errnoscope ", "cargo ", "ci/"].iter().any(|it| span.contains(it)));
        for line in blocks.chain(spans.filter(|span| !is_name(span)).cloned()) {
            parse(&line).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
}

/// It is read in three minutes.
#[test]
fn readme_is_short() {
    let (text, _) = read("README.md");
    assert!(text.len() <= 7_000, "README.md has {} bytes", text.len());
}

/// Below "Examples:", and in the rest of the help.
#[test]
fn the_examples_of_each_command_parse() {
    let mut command = errnoscope::cli::command();
    command.build();
    let mut examples = 0;
    let mut commands: Vec<&clap::Command> = command.get_subcommands().collect();
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter(|line| line.starts_with("  errnoscope ")) {
            // What it is for may stand behind it.
            let line = line.trim().split("  ").next().unwrap_or_default();
            parse(line).unwrap_or_else(|why| panic!("help {}: {why}", command.get_name()));
            examples += 1;
        }
    }
    assert!(examples > 30, "{examples} examples were found");
}

#[test]
fn the_formats_are_those_that_there_are() {
    let (text, _) = read("docs/formats.md");
    let named: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let known = std::fs::read_to_string(root().join("tests/golden/formats.txt")).expect("readable");
    assert_eq!(named, known.lines().filter_map(|line| line.split(' ').next()).collect());
}

/// What the page about the library shows is a part of this.
#[test]
fn the_example_of_the_library_is_compiled() {
    let example = include_str!("library.rs");
    let (_, page) = read("docs/library.md");
    let blocks: Vec<&Block> = page.blocks.iter().filter(|block| block.language == "rust").collect();
    assert!(!blocks.is_empty());
    for line in blocks.iter().flat_map(|block| block.text.lines()).filter(|line| !line.is_empty()) {
        assert!(
            example.lines().any(|own| own.trim_start() == line.trim_start()),
            "tests/docs/library.rs lacks: {line}"
        );
    }
}
