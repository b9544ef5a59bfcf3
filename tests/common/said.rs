//! The program as its user runs it: 80 columns, no colours.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

/// What it said, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("errnoscope").unwrap();
    command.args(arguments).env("COLUMNS", "80");
    command
}

#[track_caller]
pub fn run(arguments: &[&str]) -> Said {
    said(command(arguments).output().unwrap())
}

/// Where the paths of its arguments begin.
#[track_caller]
pub fn run_in(place: &Path, arguments: &[&str]) -> Said {
    said(command(arguments).current_dir(place).output().unwrap())
}

#[track_caller]
pub fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().expect("ended by a signal"), out: text(output.stdout), err: text(output.stderr) }
}

impl Said {
    /// The exit code, and words that standard output and standard error hold.
    #[track_caller]
    pub fn check(&self, code: i32, out: &[&str], err: &[&str]) -> &Said {
        let Said { out: stdout, err: stderr, .. } = self;
        assert_eq!(self.code, code, "\n--- out\n{stdout}\n--- err\n{stderr}");
        for words in out {
            assert!(stdout.contains(words), "no `{words}` on standard output:\n{stdout}");
        }
        for words in err {
            assert!(stderr.contains(words), "no `{words}` on standard error:\n{stderr}");
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}:\n{}", self.out))
    }

    /// JSON of the format that `errnoscope schema` calls so.
    #[track_caller]
    pub fn json_of(&self, format: &str) -> Value {
        let json = self.json();
        let schema = run(&["schema", format]).check(0, &[], &[]).json();
        if let Some(error) = jsonschema::validator_for(&schema).unwrap().iter_errors(&json).next() {
            panic!("{error} at {}:\n{}", error.instance_path(), self.out);
        }
        json
    }

    #[track_caller]
    pub fn is_narrow(&self) {
        for line in self.out.lines().chain(self.err.lines()) {
            // Ids and paths are for copying and stay whole.
            let whole = line.contains('[') || line.contains('/');
            assert!(line.chars().count() <= 80 || whole, "{} columns: {line}", line.chars().count());
        }
    }
}
