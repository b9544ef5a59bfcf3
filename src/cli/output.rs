//! Where results go: standard output that may close, and files that are there whole or not at all.
//!
//! What is written is decided elsewhere.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use annotate_snippets::Renderer;
use anstream::AutoStream;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::Failure;
use super::guard::Guard;
use crate::render::json;
use crate::render::text::count;
use crate::scenario::Problem;
use crate::sys;

/// The width to fill where nobody says another.
const WIDTH: usize = 80;
/// Longer lines are hard to read.
const WIDEST: usize = 120;

/// Standard output, with colours where they are wanted. Buffered behind what takes colours out, which writes each piece of
/// text between two of them by itself.
pub fn stdout() -> impl Write {
    let choice = AutoStream::choice(&io::stdout());
    let buffered: Box<dyn Write> = Box::new(BufWriter::new(io::stdout().lock()));
    Guard::new(AutoStream::new(buffered, choice))
}

/// Standard error, for people.
pub fn stderr() -> impl Write {
    Guard::new(anstream::stderr())
}

/// How many columns text may take: COLUMNS, or the terminal's, or 80.
pub fn width() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || comfy_table::Table::new().width().map(usize::from);
    said.or_else(terminal).unwrap_or(WIDTH).clamp(40, WIDEST)
}

/// More faults than anybody mends before looking again.
pub const MOST_PROBLEMS: usize = 200;

/// Faults of files with their lines of source, and how many more there are.
pub fn problems(problems: &[Problem]) -> String {
    let (told, more) = problems.split_at(problems.len().min(MOST_PROBLEMS));
    let mut text: String = told.iter().map(|problem| problem.render(&Renderer::styled()) + "\n\n").collect();
    if !more.is_empty() {
        text.push_str(&format!("… and {}\n\n", count(more.len() as u64, "more problem")));
    }
    text
}

/// Writes a value as JSON for people and machines, with a line's end.
pub fn json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    json::write_pretty(value, out)?;
    writeln!(out)
}

/// A reader that has seen enough costs nobody else their report.
pub fn bearing_closed_pipe(written: Result<(), Failure>) -> Result<(), Failure> {
    match written {
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A place that a file will be written to, known to be writable.
#[derive(Clone, Debug)]
pub enum Destination {
    Stdout,
    File(PathBuf),
}

impl Destination {
    /// Finds out now whether the file can be written, and leaves no trace of it.
    pub fn new(path: &Path) -> Result<Destination, Failure> {
        if path == Path::new("-") {
            return Ok(Destination::Stdout);
        }
        let cannot = |error| Failure::because(format!("cannot write {}", path.display()), error);
        if path.is_dir() {
            return Err(cannot(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        // A report takes the place of the file that a link leads to, not of the link.
        let path = if path.is_symlink() { fs::canonicalize(path).map_err(cannot)? } else { path.to_owned() };
        if is_regular_or_absent(&path) {
            Unfinished::beside(&path).map_err(cannot)?;
        }
        Ok(Destination::File(path))
    }

    pub fn is_stdout(&self) -> bool {
        matches!(self, Destination::Stdout)
    }

    /// Writes the whole file, compressed if its name ends in `.gz`, or leaves what was there.
    pub fn write(
        &self,
        out: &mut dyn Write,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let path = match self {
            Destination::Stdout => return Ok(content(out)?),
            Destination::File(path) => path,
        };
        let cannot = |error| Failure::because(format!("cannot write {}", path.display()), error);
        if !is_regular_or_absent(path) {
            // A pipe or a device cannot be replaced.
            let file = fs::OpenOptions::new().write(true).open(path).map_err(cannot)?;
            return buffered(&file, path, content).map_err(cannot);
        }
        let unfinished = Unfinished::beside(path).map_err(cannot)?;
        buffered(unfinished.file(), path, content).map_err(cannot)?;
        unfinished.finish(path).map_err(cannot)
    }
}

fn buffered(file: &fs::File, path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(file);
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut encoder = GzEncoder::new(&mut writer, Compression::best());
        content(&mut encoder)?;
        encoder.finish()?;
    } else {
        content(&mut writer)?;
    }
    writer.flush()
}

fn is_regular_or_absent(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

/// A file that is being written, and that a crash takes along.
enum Unfinished {
    /// It has no name at all yet.
    Nameless(fs::File),
    /// Where the system or the file system has no such thing; only a SIGKILL would leave it behind.
    Temporary(tempfile::NamedTempFile),
}

impl Unfinished {
    fn beside(path: &Path) -> io::Result<Unfinished> {
        let directory = directory_of(path);
        if let Ok(file) = sys::nameless_file(directory) {
            return Ok(Unfinished::Nameless(file));
        }
        tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(directory)
            .map(Unfinished::Temporary)
            .map_err(|error| io::Error::from(error.kind()))
    }

    fn file(&self) -> &fs::File {
        match self {
            Unfinished::Nameless(file) => file,
            Unfinished::Temporary(file) => file.as_file(),
        }
    }

    /// Puts the whole file in the place of what is at `path`.
    fn finish(self, path: &Path) -> io::Result<()> {
        match self {
            Unfinished::Temporary(file) => file.persist(path).map(drop).map_err(|error| error.error),
            Unfinished::Nameless(file) => match sys::name_file(&file, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // A name can be given only where there is none, and taken over only by another name.
                    let other = directory_of(path).join(format!("{PREFIX}{}", std::process::id()));
                    sys::name_file(&file, &other)?;
                    fs::rename(&other, path).inspect_err(|_| drop(fs::remove_file(&other)))
                }
                named => named,
            },
        }
    }
}

const PREFIX: &str = ".errnoscope-";

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
