//! Reads what somebody else wrote up to a bound: a file, a pipe or a device, compressed or not.
//!
//! The caller says how long a text may be, and reads its meaning.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;

use crate::sys::{self, Ready, Until};

/// What gzip files begin with (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How long a FIFO is given until somebody opens it for writing.
const NOBODY: Duration = Duration::from_secs(5);

/// Why nothing was read.
#[derive(Debug)]
pub enum Refused {
    Io(io::Error),
    /// More than this many bytes, as the file is or uncompressed.
    TooLarge(u64),
    /// A FIFO that no process has open for writing.
    NobodyWrites,
    /// The 1-based line and column (in bytes) of the first byte that is no text.
    NotUtf8 {
        line: usize,
        column: usize,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Io(error) => error.fmt(f),
            Refused::TooLarge(most) if *most >= 1 << 20 => {
                write!(f, "larger than {} MiB, the most that is read", most >> 20)
            }
            Refused::TooLarge(most) => write!(f, "larger than {most} bytes, the most that is read"),
            Refused::NobodyWrites => write!(f, "a FIFO that nobody opened for writing within {} s", NOBODY.as_secs()),
            Refused::NotUtf8 { line, column } => {
                write!(f, "not UTF-8 text: line {line}, byte {column} of the line is part of no character")
            }
        }
    }
}

impl std::error::Error for Refused {}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused::Io(error)
    }
}

/// The text of a file of at most `most` bytes.
pub fn text(path: &Path, most: u64) -> Result<String, Refused> {
    utf8(plain(open(path, most)?, most)?)
}

/// The text of a file that may be compressed, of at most `most` bytes both as it is and uncompressed.
pub fn text_or_gzip(path: &Path, most: u64) -> Result<String, Refused> {
    utf8(decompressed(open(path, most)?, most)?)
}

/// All of `reader`, of which no more than `most` bytes are ever held.
pub fn plain(reader: impl Read, most: u64) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    reader.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(Refused::TooLarge(most)) } else { Ok(bytes) }
}

/// The same of what may be gzip: a little of that can be a lot of text, and a lot of it none at all.
fn decompressed(mut reader: impl Read, most: u64) -> Result<Vec<u8>, Refused> {
    let mut head = Vec::new();
    reader.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
    let is_gzip = head == GZIP;
    let mut whole = io::Cursor::new(head).chain(reader).take(most + 1);
    if !is_gzip {
        return plain(whole, most);
    }
    let read = plain(MultiGzDecoder::new(&mut whole), most);
    if whole.limit() == 0 { Err(Refused::TooLarge(most)) } else { read }
}

fn utf8(bytes: Vec<u8>) -> Result<String, Refused> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = good.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Refused::NotUtf8 { line, column }
    })
}

/// Opens without waiting: a FIFO without a writer would hold an open() for ever.
fn open(path: &Path, most: u64) -> Result<Patient, Refused> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
    }
    if metadata.is_file() && metadata.len() > most {
        return Err(Refused::TooLarge(most));
    }
    let nobody = metadata.file_type().is_fifo().then(|| Instant::now() + NOBODY);
    Ok(Patient { file, nobody })
}

/// A file that was opened without waiting. Whoever has it open for writing may take as long as it likes.
struct Patient {
    file: File,
    /// For a FIFO of which nothing has come yet: until when somebody has to open it for writing.
    nobody: Option<Instant>,
}

impl Patient {
    /// Whether there is something to read, or will be nothing.
    fn wait(&self, limit: Option<Duration>) -> io::Result<Option<Ready>> {
        let ready = sys::poll_all(&[(self.file.as_fd(), Until::Readable)], limit);
        Ok(ready.map_err(|errno| io::Error::from_raw_os_error(errno.raw()))?.into_iter().next())
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (self.file.read(buffer), self.nobody) {
                (Ok(0), Some(end)) if !buffer.is_empty() => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(io::Error::other(Refused::NobodyWrites));
                    }
                    // The last writer of a pipe is gone, which a FIFO that never had one does not say.
                    if self.wait(Some(left))?.is_some_and(|said| said.ended && !said.came) {
                        return Ok(0);
                    }
                }
                (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.nobody = None;
                    self.wait(None)?;
                }
                (read, _) => {
                    self.nobody = None;
                    return read;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(reader: impl Read, most: u64, bytes: Option<&[u8]>) {
        match (decompressed(reader, most), bytes) {
            (Ok(read), Some(bytes)) => assert_eq!(read, bytes),
            (Err(Refused::TooLarge(told)), None) => assert_eq!(told, most),
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_fits_is_read_and_what_never_ends_is_not() {
        check(&b""[..], 3, Some(b""));
        check(&b"abc"[..], 3, Some(b"abc"));
        check(&b"abcd"[..], 3, None);
        check(io::repeat(b' '), 1 << 20, None);
        check(&*gzip(b"abc"), 1 << 10, Some(b"abc"));
        check(&*[gzip(b"ab"), gzip(b"c")].concat(), 1 << 10, Some(b"abc"));
        check(&*gzip(&[b' '; 1 << 16]), (1 << 16) - 1, None);
        // Small as a file, and without an end: a member after the other, of something and of nothing.
        for member in [gzip(&[0; 1 << 16]), gzip(b"")] {
            assert!(member.len() < 1 << 10);
            check(Endless(member, 0), 1 << 20, None);
        }
    }

    #[test]
    fn half_a_gzip_file_is_an_error() {
        let whole = gzip(b"some text that is long enough to be cut");
        assert!(matches!(decompressed(&whole[..whole.len() / 2], 1 << 20), Err(Refused::Io(_))));
    }

    #[test]
    fn the_first_byte_that_is_no_text_is_named() {
        let told = |bytes: &[u8]| utf8(bytes.to_vec()).map_err(|refused| refused.to_string());
        assert_eq!(told("ü\n".as_bytes()), Ok("ü\n".to_owned()));
        let place = told(b"a\nbc\xff").unwrap_err();
        assert!(place.starts_with("not UTF-8 text: line 2, byte 3 "), "{place}");
    }

    /// The same bytes again and again.
    struct Endless(Vec<u8>, usize);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            for byte in &mut *buffer {
                *byte = self.0[self.1 % self.0.len()];
                self.1 += 1;
            }
            Ok(buffer.len())
        }
    }
}
