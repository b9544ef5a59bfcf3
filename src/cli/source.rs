//! Files that the user names: scenarios (or the binary's own), reports, policies.
//!
//! Reads them and has them checked; what they mean is the business of others.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::Failure;
use crate::catalogue::{self, Catalogue};
use crate::finding::Report;
use crate::render::json;

/// What gzip files begin with (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

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
    let name = path.display();
    let cannot = |error| Failure::because(format!("cannot read {name}"), error);
    let mut bytes = fs::read(path).map_err(cannot)?;
    if bytes.starts_with(&GZIP) {
        let mut text = Vec::new();
        GzDecoder::new(&*bytes).read_to_end(&mut text).map_err(cannot)?;
        bytes = text;
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::bad(format!("{name}: no errnoscope report: neither UTF-8 nor gzip")))?;
    json::read(&text).map_err(|(line, column, message)| {
        Failure::bad(format!("{name}:{line}:{column}: no errnoscope report: {message}"))
    })
}

/// What people write points into its text for as long as the process lives.
pub fn read(path: &Path) -> Result<(String, &'static str), Failure> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| Failure::because(format!("cannot read {name}"), error))?;
    Ok((name, text.leak()))
}
