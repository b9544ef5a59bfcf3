//! Reads and checks files that the user names: scenarios (or the program's own), reports, policies.
//!
//! It does not interpret them.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::bounded::{self, Refused};
use super::{Failure, complain};
use crate::render::json;
use crate::report::deviation::{self, Deviations};
use crate::report::finding::{FORMAT, Host, Report, outdated};
use crate::suite::catalogue::{self, Catalogue};
use crate::words::digest;

/// More text than any report has: the whole catalogue gives 18 MB.
const LARGEST: u64 = 128 << 20;
/// More than a person writes into one file, of scenarios, claims, a policy or a tracer: the largest has 30 KB.
const LARGEST_TEXT: u64 = 1 << 20;
/// More than all files of one catalogue have together, and how many there are.
const LARGEST_CATALOGUE: usize = 64 << 20;
const MOST_FILES: usize = 10_000;
/// Whoever looks for scenarios among more names than this has named the wrong directory.
const MOST_NAMES: usize = 200_000;
const DEEPEST: usize = 32;

/// Says of a report that it counts for nothing where systems are meant.
pub fn mention_stranger(report: &Report) {
    let Host { os, stack, .. } = &report.host;
    if !report.host.is_own() {
        complain("note", &format!("the report of {stack} is left out: it passes for {os} and says nothing of it"));
    }
}

/// Which scenarios a command is about.
#[derive(clap::Args)]
pub struct Scenarios {
    /// Take the scenario files below this directory instead of the built-in ones; may be given several times
    #[arg(long, value_name = "DIR")]
    scenarios: Vec<PathBuf>,

    /// Take the scenario files below this directory as well; may be given several times
    #[arg(long, value_name = "DIR")]
    also: Vec<PathBuf>,
}

impl Scenarios {
    /// The catalogue of this binary, and what files are beside it or in its place, read and checked.
    pub fn load(&self) -> Result<Catalogue, Failure> {
        let mut own = Vec::new();
        for path in self.scenarios.iter().chain(&self.also) {
            own.extend(files(path)?.into_iter().filter(|file| !own.contains(file)).collect::<Vec<_>>());
        }
        if own.is_empty() {
            return embedded();
        }
        let all = if self.scenarios.is_empty() { [catalogue::embedded(), own].concat() } else { own };
        let catalogue = Catalogue::read(&all).map_err(Failure::Problems)?;
        let problems = catalogue::check(&catalogue);
        if problems.is_empty() { Ok(catalogue) } else { Err(Failure::Problems(problems)) }
    }
}

/// The catalogue of this binary.
pub fn embedded() -> Result<Catalogue, Failure> {
    Catalogue::embedded().map_err(Failure::Problems)
}

/// The path and text of a scenario file, or of every `*.toml` below a directory, in the order of their names.
pub fn files(path: &Path) -> Result<Vec<(String, &'static str)>, Failure> {
    if !path.is_dir() {
        return Ok(vec![read(path)?]);
    }
    let mut walk = Walk { top: path, visited: HashSet::new(), names: 0, bytes: 0, files: Vec::new() };
    walk.directory(path, 0)?;
    if walk.files.is_empty() {
        return Err(Failure::bad(format!("no scenario files (*.toml) in {}", path.display())));
    }
    Ok(walk.files)
}

/// A way through directories. Links may lead in circles, and a directory may be anything.
struct Walk<'p> {
    top: &'p Path,
    /// The device and inode of each directory.
    visited: HashSet<(u64, u64)>,
    names: usize,
    bytes: usize,
    files: Vec<(String, &'static str)>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, depth: usize) -> Result<(), Failure> {
        let cannot = |error| Failure::because(format!("cannot read {}", directory.display()), error);
        let metadata = fs::metadata(directory).map_err(cannot)?;
        if !self.visited.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        self.at_most(DEEPEST, depth, "levels of directories")?;
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(cannot)? {
            self.names += 1;
            self.at_most(MOST_NAMES, self.names, "names")?;
            paths.push(entry.map_err(cannot)?.path());
        }
        paths.sort();
        for path in paths {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                continue;
            }
            if path.is_dir() {
                self.directory(&path, depth + 1)?;
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        // A FIFO that somebody names is read; one that lies about is not waited for.
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Failure::bad(format!("cannot read {}: not a regular file", path.display())));
        }
        let file = read(path)?;
        self.bytes += file.1.len();
        self.files.push(file);
        self.at_most(MOST_FILES, self.files.len(), "scenario files")?;
        self.at_most(LARGEST_CATALOGUE, self.bytes, "bytes of scenario files")
    }

    fn at_most(&self, most: usize, found: usize, what: &str) -> Result<(), Failure> {
        if found <= most {
            return Ok(());
        }
        let top = self.top.display();
        Err(Failure::bad(format!("more than {most} {what} below {top}: name the directory that has the scenarios")))
    }
}

/// A report, as `run --json` writes it, compressed or not.
pub fn report(path: &Path) -> Result<Report, Failure> {
    parsed(path, &text(path)?)
}

/// The same, behind the digest of its uncompressed text.
pub fn digested_report(path: &Path) -> Result<(String, Report), Failure> {
    let text = text(path)?;
    Ok((format!("sha256:{}", digest::sha256([&text])), parsed(path, &text)?))
}

/// Reports, in the order of their files, and as many at once as there are processors.
pub fn reports(paths: &[PathBuf]) -> Result<Vec<Report>, Failure> {
    let next = AtomicUsize::new(0);
    let read = Mutex::new(Vec::with_capacity(paths.len()));
    let reader = || {
        while let Some((index, path)) = paths.iter().enumerate().nth(next.fetch_add(1, Relaxed)) {
            let result = report(path);
            read.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 1..processors.min(paths.len()) {
            // Without another thread it takes longer.
            let _ = std::thread::Builder::new().spawn_scoped(scope, reader);
        }
        reader();
    });
    let mut read = read.into_inner().unwrap_or_else(PoisonError::into_inner);
    read.sort_by_key(|(index, _)| *index);
    read.into_iter().map(|(_, report)| report).collect()
}

/// Why a command about reports can say nothing.
pub fn no_report() -> Failure {
    Failure::bad("no report among the arguments; `errnoscope run --json report.json` writes one")
}

fn text(path: &Path) -> Result<String, Failure> {
    bounded::text_or_gzip(path, LARGEST).map_err(|refused| match refused {
        Refused::NotUtf8 { .. } => {
            Failure::bad(format!("{}: no errnoscope report: neither UTF-8 nor gzip", path.display()))
        }
        other => cannot_read(path, other),
    })
}

fn parsed(path: &Path, text: &str) -> Result<Report, Failure> {
    json::read(text).map_err(|(line, column, message)| {
        if let Some(old) = outdated(text) {
            let name = path.display();
            return Failure::bad(format!(
                "{name}: its format `{old}` is that of an earlier version, and this one reads `{FORMAT}`; make the report again: \
                 `errnoscope run --json {name}`"
            ));
        }
        Failure::bad(format!("{}:{line}:{column}: no errnoscope report: {message}", path.display()))
    })
}

/// Known deviations, a file for each stack.
pub fn deviations(paths: &[PathBuf]) -> Result<Vec<Deviations>, Failure> {
    let read = |path: &PathBuf| {
        let (file, text) = read(path)?;
        deviation::read(&file, text).map_err(Failure::Deviations)
    };
    paths.iter().map(read).collect()
}

/// What people write points into its text for as long as the process lives.
pub fn read(path: &Path) -> Result<(String, &'static str), Failure> {
    let text = bounded::text(path, LARGEST_TEXT).map_err(|refused| cannot_read(path, refused))?;
    Ok((path.display().to_string(), text.leak()))
}

/// The text of a file that this program has written, which is as long as a report at most.
pub fn read_results(path: &Path) -> Result<String, Failure> {
    bounded::text(path, LARGEST).map_err(|refused| cannot_read(path, refused))
}

fn cannot_read(path: &Path, refused: Refused) -> Failure {
    Failure::because(format!("cannot read {}", path.display()), refused)
}
