//! Files that the user names: scenarios (or the binary's own), reports, policies.
//!
//! Reads them and has them checked; what they mean is the business of others.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{Failure, complain};
use crate::catalogue::{self, Catalogue};
use crate::digest;
use crate::finding::{FORMAT, Host, Report, outdated};
use crate::render::json;

/// What gzip files begin with (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// More text than any report has: the whole catalogue gives 18 MB.
const LARGEST: u64 = 128 << 20;

/// Says of a report that it counts for nothing where systems are meant.
pub fn mention_stranger(report: &Report) {
    let Host { os, stack, .. } = &report.host;
    if !report.host.is_own() {
        complain("note", &format!("the report of {stack} is left out: it passes for {os} and says nothing of it"));
    }
}

/// The catalogue of this binary, or, read and checked, that of a directory.
pub fn load(scenarios: Option<&Path>) -> Result<Catalogue, Failure> {
    let Some(path) = scenarios else {
        return Catalogue::embedded().map_err(Failure::Problems);
    };
    let catalogue = Catalogue::read(&files(path)?).map_err(Failure::Problems)?;
    let problems = catalogue::check(&catalogue);
    if problems.is_empty() { Ok(catalogue) } else { Err(Failure::Problems(problems)) }
}

/// The path and text of a scenario file, or of every `*.toml` below a directory, in the order of their names.
pub fn files(path: &Path) -> Result<Vec<(String, &'static str)>, Failure> {
    let mut files = Vec::new();
    if path.is_dir() {
        walk(path, &mut files)?;
        if files.is_empty() {
            return Err(Failure::bad(format!("no scenario files (*.toml) in {}", path.display())));
        }
    } else {
        files.push(read(path)?);
    }
    Ok(files)
}

fn walk(directory: &Path, files: &mut Vec<(String, &'static str)>) -> Result<(), Failure> {
    let cannot = |error| Failure::because(format!("cannot read {}", directory.display()), error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(cannot)? {
        paths.push(entry.map_err(cannot)?.path());
    }
    paths.sort();
    for path in paths {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(read(&path)?);
        }
    }
    Ok(())
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

fn text(path: &Path) -> Result<String, Failure> {
    let name = path.display();
    let cannot = |error| Failure::because(format!("cannot read {name}"), error);
    let bytes = fs::File::open(path).and_then(|file| decompressed(file, LARGEST)).map_err(cannot)?;
    let Some(bytes) = bytes else {
        let megabytes = LARGEST >> 20;
        return Err(Failure::bad(format!("{name}: no errnoscope report: larger than {megabytes} MiB of text")));
    };
    String::from_utf8(bytes).map_err(|_| Failure::bad(format!("{name}: no errnoscope report: neither UTF-8 nor gzip")))
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

/// What `reader` has, decompressed if it is gzip; nothing where that is more than `most` bytes, of which no more are
/// ever held: a little gzip can be a lot of text.
fn decompressed(mut reader: impl Read, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    reader.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
    let is_gzip = head == GZIP;
    let whole = io::Cursor::new(head).chain(reader);
    let mut bytes = Vec::new();
    if is_gzip {
        MultiGzDecoder::new(whole).take(most + 1).read_to_end(&mut bytes)?;
    } else {
        whole.take(most + 1).read_to_end(&mut bytes)?;
    }
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// What people write points into its text for as long as the process lives.
pub fn read(path: &Path) -> Result<(String, &'static str), Failure> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| Failure::because(format!("cannot read {name}"), error))?;
    Ok((name, text.leak()))
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
        assert_eq!(decompressed(reader, most).unwrap().as_deref(), bytes);
    }

    #[test]
    fn what_fits_is_read_and_what_never_ends_is_not() {
        check(&b""[..], 3, Some(b""));
        check(&b"abc"[..], 3, Some(b"abc"));
        check(&b"abcd"[..], 3, None);
        check(io::repeat(b' '), 1 << 20, None);
        check(&*gzip(b"abc"), 3, Some(b"abc"));
        check(&*[gzip(b"ab"), gzip(b"c")].concat(), 3, Some(b"abc"));
        check(&*gzip(&[b' '; 1 << 16]), (1 << 16) - 1, None);
        // Small as a file, and without an end: a member after the other.
        let member = gzip(&[0; 1 << 16]);
        assert!(member.len() < 1 << 10);
        check(Endless(member, 0), 1 << 20, None);
    }

    #[test]
    fn half_a_gzip_file_is_an_error() {
        let whole = gzip(b"some text that is long enough to be cut");
        assert!(decompressed(&whole[..whole.len() / 2], 1 << 20).is_err());
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
