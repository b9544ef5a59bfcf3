//! A set of scenarios: the built-in one, or files.
//!
//! It reads no files itself; the command line does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use include_dir::{Dir, DirEntry, include_dir};

use crate::report::claim;
use crate::report::finding;
use crate::scenario::{self, Problem, Scenario};
use crate::words::digest;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/scenarios");

/// Scenarios in the order of their ids.
#[derive(Debug)]
pub struct Catalogue {
    pub scenarios: Vec<Scenario>,
    /// `sha256:` over names and contents.
    pub digest: String,
}

/// The path and text of each scenario file in the binary.
pub fn embedded() -> Vec<(String, &'static str)> {
    fn walk(dir: &'static Dir<'static>, files: &mut Vec<(String, &'static str)>) {
        for entry in dir.entries() {
            match entry {
                DirEntry::Dir(dir) => walk(dir, files),
                DirEntry::File(file) if file.path().extension().is_some_and(|extension| extension == "toml") => {
                    let path = format!("scenarios/{}", file.path().display());
                    files.extend(file.contents_utf8().filter(|text| !claim::is_list(text)).map(|text| (path, text)));
                }
                DirEntry::File(_) => {}
            }
        }
    }
    let mut files = Vec::new();
    walk(&EMBEDDED, &mut files);
    files.sort();
    files
}

impl Catalogue {
    /// Reads files, without the checks that take every case apart ([`check`]). Claims are no scenarios.
    pub fn read(files: &[(String, &'static str)]) -> Result<Catalogue, Vec<Problem>> {
        let mut scenarios = Vec::new();
        let mut problems = Vec::new();
        let mut parts: Vec<&[u8]> = Vec::new();
        for (path, text) in files.iter().filter(|(_, text)| !claim::is_list(text)) {
            let name = path.rsplit("scenarios/").next().unwrap_or(path);
            parts.extend([name.as_bytes(), &[0], text.as_bytes(), &[0]]);
            match scenario::read(path, text) {
                Ok(scenario) => scenarios.push(scenario),
                Err(found) => problems.extend(found),
            }
        }
        scenarios.sort_by(|a, b| a.id.cmp(&b.id));
        problems.extend(same_ids(&scenarios));
        let digest = format!("sha256:{}", digest::sha256(parts));
        if problems.is_empty() { Ok(Catalogue { scenarios, digest }) } else { Err(problems) }
    }

    /// The catalogue in this binary. Its files are checked by the tests.
    pub fn embedded() -> Result<Catalogue, Vec<Problem>> {
        Catalogue::read(&embedded())
    }

    pub fn facts(&self) -> finding::CatalogueFacts {
        let cases = self.scenarios.iter().map(|scenario| scenario::cases(scenario).count() as u64).sum();
        finding::CatalogueFacts { scenarios: self.scenarios.len() as u64, cases, digest: self.digest.clone().into() }
    }

    pub fn get(&self, id: &str) -> Option<&Scenario> {
        self.scenarios.iter().find(|scenario| scenario.id == id)
    }

    /// The scenario of that id, or of which it is a case's.
    pub fn scenario_of(&self, id: &str) -> Option<&Scenario> {
        self.get(id.split('[').next().unwrap_or(id))
    }
}

/// Every fault of every scenario.
pub fn check(catalogue: &Catalogue) -> Vec<Problem> {
    catalogue.scenarios.iter().flat_map(scenario::check).collect()
}

/// Where a file of the catalogue must lie: `<call>/<claim-in-kebab-case>.toml`.
pub fn check_place(scenario: &Scenario) -> Option<Problem> {
    let call = scenario.id.split('.').next().unwrap_or_default();
    let place = format!("{call}/{}", scenario.expected_file_name());
    if scenario.file.ends_with(&format!("/{place}")) {
        return None;
    }
    Some(Problem {
        file: scenario.file.clone(),
        text: scenario.text,
        span: 0..0,
        message: "the file's name is not its claim".to_owned(),
        help: Some(format!("expected scenarios/{place}")),
    })
}

fn same_ids(scenarios: &[Scenario]) -> Vec<Problem> {
    let mut first: BTreeMap<&str, &Scenario> = BTreeMap::new();
    let mut problems = Vec::new();
    for scenario in scenarios {
        let problem = |of: &Scenario, help| Problem {
            file: of.file.clone(),
            text: of.text,
            span: of.id_span.clone(),
            message: format!("the id `{}` is taken", of.id),
            help,
        };
        match first.entry(&scenario.id) {
            Entry::Vacant(entry) => drop(entry.insert(scenario)),
            Entry::Occupied(other) => {
                let (line, _) = problem(other.get(), None).line_and_column();
                let help = format!("{}:{line} has it; ids are unique and never change", other.get().file);
                problems.push(problem(scenario, Some(help)));
            }
        }
    }
    problems
}
