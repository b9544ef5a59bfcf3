//! Where results go: to standard output, which may close, and to files, which are there whole or not at all.
//!
//! It does not decide what is written.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use annotate_snippets::Renderer;
use anstream::AutoStream;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::Failure;
use super::guard::Guard;
use crate::render::text::count;
use crate::render::{self, json};
use crate::scenario::Problem;
use crate::sys::{self, Directory, Reader, Signals, Target, Unwritable};

/// The width to fill where nobody says another.
const WIDTH: usize = 80;
/// Longer lines are hard to read.
const WIDEST: usize = 120;

/// Standard output, with colours where they are wanted. Buffered behind what takes colours out, which writes each piece
/// of text between two of them by itself.
pub fn stdout() -> impl Write {
    let choice = AutoStream::choice(&io::stdout());
    let buffered: Box<dyn Write> = Box::new(BufWriter::new(Lasting { stdout: sys::Stdout, failed: None }));
    Guard::new(AutoStream::new(buffered, choice))
}

/// Standard error, for people.
pub fn stderr() -> impl Write {
    Guard::new(anstream::stderr())
}

/// Standard output for a command that goes on when nobody reads it any more: what a command finds and does is not for
/// its reader to decide. Only a flush tells that something was lost, and a pipe that was closed has lost nothing that
/// anybody wanted.
struct Lasting<W> {
    stdout: W,
    failed: Option<io::Error>,
}

impl<W: Write> Write for Lasting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_none() {
            self.failed = self.stdout.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// How many columns text may take: COLUMNS, or the terminal's, or 80.
pub fn width() -> usize {
    told_width().unwrap_or(WIDTH).clamp(40, WIDEST)
}

/// How wide lines may be that are cut rather than read to their end. Nothing is cut where there is no terminal.
pub fn full_width() -> usize {
    told_width().map_or(usize::MAX, |width| width.max(40))
}

/// What COLUMNS says, or the terminal.
fn told_width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    said.or_else(|| comfy_table::Table::new().width().map(usize::from))
}

/// More faults than anybody mends before looking again.
pub const MOST_PROBLEMS: usize = 200;

/// Faults of files with their lines of source, and how many more there are.
pub fn problems(problems: &[Problem]) -> String {
    let (told, more) = problems.split_at(problems.len().min(MOST_PROBLEMS));
    let mut text: String =
        told.iter().map(|problem| render::problem::problem(problem, &Renderer::styled()) + "\n\n").collect();
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

/// A place that a file will be written to, known to be writable.
#[derive(Clone, Debug)]
pub enum Destination {
    Stdout,
    File { path: PathBuf, target: Rc<Target> },
}

impl Destination {
    /// Finds out now whether the file can be written, and leaves no trace of it.
    pub fn new(path: &Path) -> Result<Destination, Failure> {
        if path == Path::new("-") {
            return Destination::stdout();
        }
        let target = Target::find(path).map_err(|why| cannot_write(path, why))?;
        match &target {
            // As /dev/stdout is.
            Target::Open(file) if sys::is_same_file(file, &io::stdout()) => Destination::stdout(),
            _ => Ok(Destination::File { path: path.to_owned(), target: Rc::new(target) }),
        }
    }

    fn stdout() -> Result<Destination, Failure> {
        match sys::stdout_was_closed() {
            true => Err(Failure::Output(io::Error::from_raw_os_error(libc::EBADF))),
            false => Ok(Destination::Stdout),
        }
    }

    /// A file in a directory that `directory` stands for.
    pub fn within(directory: &Directory, path: &Path, name: &str) -> Result<Destination, Failure> {
        let path = path.join(name);
        let target = directory.file(name.as_ref()).map_err(|why| cannot_write(&path, why))?;
        Ok(Destination::File { path, target: Rc::new(target) })
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
        self.write_for(Reader::Awaited, out, content)
    }

    fn write_for(
        &self,
        reader: Reader,
        out: &mut dyn Write,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let (path, target) = match self {
            Destination::Stdout => return Ok(content(out)?),
            Destination::File { path, target } => (path, target),
        };
        let cannot = |why| cannot_write(path, why);
        let bytes = bytes(path, content).map_err(|error| cannot(error.into()))?;
        let in_place = |mut file: &fs::File| match file.write_all(&bytes) {
            // As for standard output, a reader that has seen enough has lost nothing.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot(error.into())),
            Ok(()) | Err(_) => Ok(()),
        };
        match &**target {
            Target::File(name) => name.write(&bytes).map_err(cannot),
            Target::Special(name, number) => in_place(&name.open_special(*number, reader).map_err(cannot)?),
            Target::Open(file) => {
                // What was in a regular file before is not to stand behind the new content.
                let _ = file.set_len(0);
                in_place(file)
            }
        }
    }

    /// Whether somebody may keep us waiting there: readers of standard output, of a FIFO or of a terminal can.
    fn has_reader(&self) -> bool {
        match self {
            Destination::Stdout => true,
            Destination::File { target, .. } => match **target {
                Target::File(_) => false,
                Target::Special(..) | Target::Open(_) => true,
            },
        }
    }
}

/// Something that is ready to be written.
pub struct Writing<'w> {
    pub to: &'w Destination,
    pub content: &'w dyn Fn(&mut dyn Write) -> io::Result<()>,
}

/// Writes everything, also where one place fails, and first what has no reader. Before it comes to the others,
/// `signals` are no longer watched, so that they end a wait. One that has come already is reason enough not to wait for
/// the reader of a FIFO.
pub fn write_all(writings: &[Writing<'_>], signals: Option<Signals>, out: &mut dyn Write) -> Result<(), Failure> {
    let interrupted = signals.as_ref().is_some_and(|signals| signals.received().is_some());
    let reader = if interrupted { Reader::Present } else { Reader::Awaited };
    let (read, stored): (Vec<_>, Vec<_>) = writings.iter().partition(|writing| writing.to.has_reader());
    let mut write = |writing: &&Writing<'_>| writing.to.write_for(reader, out, writing.content);
    let written = stored.iter().map(&mut write).fold(Ok(()), Result::and);
    drop(signals);
    written.and(read.iter().map(&mut write).fold(Ok(()), Result::and))
}

pub fn cannot_write(path: &Path, why: Unwritable) -> Failure {
    Failure::because(format!("cannot write {}", path.display()), why)
}

/// What the file will have in it.
fn bytes(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut encoder = GzEncoder::new(&mut bytes, Compression::best());
        // The encoder takes large pieces better.
        let mut buffered = BufWriter::new(&mut encoder);
        content(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        encoder.finish()?;
    } else {
        content(&mut bytes)?;
    }
    Ok(bytes)
}
