//! Who may know whom, and who may talk to the system: the rooms of `src/`, as ARCHITECTURE.md draws them.
//!
//! What is not allowed here fails, and so does a room or a way to the system that nobody has thought of. Rust's own
//! parser reads the sources, without comments, strings and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};

use crate::harness::test;
use crate::tidy::files;

/// A room, and those that it may know. What stands further down knows less.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "render",
            "suite",
            "exec",
            "tracer",
            "worker",
            "sys",
            "knowledge",
            "report",
            "scenario",
            "spec",
            "plan",
            "words",
        ],
    ),
    ("render", &["tracer", "knowledge", "report", "scenario", "spec", "plan", "words"]),
    ("suite", &["sys", "report", "scenario", "plan", "words"]),
    ("exec", &["worker", "sys", "knowledge", "scenario", "plan", "words"]),
    ("tracer", &["sys", "knowledge", "report", "scenario", "plan", "words"]),
    ("worker", &["sys", "plan", "words"]),
    ("sys", &["knowledge", "plan", "words"]),
    // The purity line.
    ("knowledge", &["report", "scenario", "plan", "words"]),
    ("report", &["scenario", "plan", "words"]),
    ("scenario", &["plan", "words"]),
    ("spec", &["plan", "words"]),
    ("plan", &["words"]),
    ("words", &[]),
];

/// What leads out of the program, or to what is not the same in every run; and who may take it.
const WAYS_OUT: &[(&str, &[&str])] = &[
    ("std::env", &["cli", "sys"]),
    ("std::fs", &["cli", "exec", "sys"]),
    ("std::net::TcpListener", &[]),
    ("std::net::TcpStream", &[]),
    ("std::net::UdpSocket", &[]),
    ("std::os", &["cli", "exec", "suite/runner", "tracer/network", "worker", "sys"]),
    ("std::process", &["main", "cli", "exec", "suite/runner", "worker", "sys"]),
    ("std::thread", &["cli", "suite/runner", "tracer/demo", "sys"]),
    ("std::time::Instant", &["cli", "exec", "suite/runner", "tracer/network", "worker", "sys"]),
    ("std::time::SystemTime", &["cli"]),
    ("clap", &["cli"]),
    ("dns_lookup", &["cli"]),
    ("getrandom", &["sys"]),
    ("indicatif", &["cli"]),
    ("io_uring", &["sys"]),
    // Constants, poll(2), and signals of the tracers that are checked.
    ("libc", &["cli/bounded", "cli/output", "sys"]),
    ("nix", &["cli/check", "suite/runner/link", "sys"]),
    ("mio", &["tracer/network"]),
    ("netlink_packet_core", &["sys"]),
    ("netlink_packet_route", &["sys"]),
    ("netlink_packet_sock_diag", &["sys"]),
    ("netlink_sys", &["sys"]),
    ("rustix", &["sys"]),
    ("signal_hook", &["tracer/network/interrupt", "sys"]),
    ("socket2", &["sys"]),
    ("tempfile", &["cli", "exec"]),
];

/// The crates that lead nowhere.
const HARMLESS: &[&str] = &[
    "anstream",
    "anstyle",
    "annotate_snippets",
    "askama",
    "base64",
    "chrono",
    "clap_complete",
    "clap_mangen",
    "comfy_table",
    "etherparse",
    "fixedbitset",
    "flate2",
    "include_dir",
    "indexmap",
    "ipnet",
    "percent_encoding",
    "quick_junit",
    "regex_lite",
    "schemars",
    "semver",
    "serde",
    "serde_json",
    "sha2",
    "strsim",
    "textwrap",
    "thiserror",
    "toml",
    "unicode_width",
    "wildmatch",
];

/// Which of the names in a path lead where, of one file.
#[derive(Default)]
struct Paths {
    found: BTreeSet<Vec<String>>,
    /// Types that are there for more than their own module.
    types: BTreeSet<String>,
    has_unsafe: bool,
    asks_for_the_system: bool,
}

impl Paths {
    fn of(file: &syn::File) -> Paths {
        let mut paths = Paths { types: public_types(file.to_token_stream()), ..Paths::default() };
        paths.visit_file(file);
        paths
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => drop(self.found.insert(with(&name.ident))),
            syn::UseTree::Rename(name) => drop(self.found.insert(with(&name.ident))),
            syn::UseTree::Glob(_) => drop(self.found.insert(before.to_vec())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }

    /// What a macro is given is no syntax yet: every `a::b::c` in it counts.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    let name = ident.to_string();
                    self.has_unsafe |= name == "unsafe";
                    self.asks_for_the_system |= is_of_the_system(&name);
                    if colons != 2 {
                        self.found.insert(std::mem::take(&mut path));
                    }
                    path.push(name);
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.found.insert(std::mem::take(&mut path));
                    colons = 0;
                }
            }
        }
        self.found.insert(path);
    }
}

/// Those of macros as well.
fn public_types(tokens: TokenStream) -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    let mut before = [String::new(), String::new()];
    for token in tokens {
        let word = match token {
            TokenTree::Ident(ident) => ident.to_string(),
            TokenTree::Group(group) => {
                types.extend(public_types(group.stream()));
                String::new()
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => String::new(),
        };
        let [first, second] = &before;
        if first == "pub" && ["enum", "struct", "trait", "type"].contains(&&**second) {
            types.insert(word.clone());
        }
        before = [std::mem::take(&mut before[1]), word];
    }
    types
}

fn is_of_the_system(word: &str) -> bool {
    ["target_os", "target_family", "target_vendor", "unix", "windows"].contains(&word)
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg = attribute.path().is_ident("cfg");
        let conditions = ["test", "all (test , feature = \"cli\")"];
        is_cfg && attribute.meta.require_list().is_ok_and(|list| conditions.contains(&&*list.tokens.to_string()))
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Const(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
        item.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.found.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        // `cfg!` and any other.
        self.tokens(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            let words = attribute.meta.to_token_stream();
            self.tokens(words);
        }
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.has_unsafe = true;
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.has_unsafe |= item.unsafety.is_some();
        visit::visit_item_impl(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let mut tokens = signature.to_token_stream().into_iter();
        self.has_unsafe |= tokens.any(|token| matches!(token, TokenTree::Ident(ident) if ident == "unsafe"));
        visit::visit_signature(self, signature);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.has_unsafe = true;
        visit::visit_item_foreign_mod(self, item);
    }
}

/// A file below `src/`: the path of its module, such as `tracer/network/raw`, and what is in it.
struct Source {
    module: String,
    paths: Paths,
}

impl Source {
    fn room(&self) -> &str {
        self.module.split('/').next().unwrap_or_default()
    }

    fn is_of(&self, places: &[&str]) -> bool {
        places
            .iter()
            .any(|place| self.module.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// A path from the top: `super` and `self` are walked.
    fn resolved(&self, path: &[String]) -> Vec<String> {
        let mut at: Vec<String> = self.module.split('/').map(str::to_owned).collect();
        let mut rest = path;
        let mut is_relative = false;
        while let Some((first, others)) = rest.split_first() {
            match &**first {
                "super" => drop(at.pop()),
                "self" => {}
                _ => break,
            }
            is_relative = true;
            rest = others;
        }
        if is_relative { [vec!["crate".to_owned()], at, rest.to_vec()].concat() } else { path.to_vec() }
    }
}

fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let source = |(file, text): (PathBuf, String)| {
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let module = file.strip_prefix(&top).expect("below src").with_extension("");
        let module = module.to_str().expect("UTF-8").trim_end_matches("/mod").to_owned();
        Source { module, paths: Paths::of(&parsed) }
    };
    let sources: Vec<Source> = files(&top).into_iter().map(source).collect();
    assert!(sources.len() > 100, "the files were found");
    sources
}

#[track_caller]
fn none(faults: BTreeSet<String>) {
    assert!(faults.is_empty(), "{}", faults.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_room_knows_those_below_it_alone() {
    let mut faults = BTreeSet::new();
    for source in sources().iter().filter(|source| !["lib", "main"].contains(&&*source.module)) {
        let Some((_, known)) = ROOMS.iter().find(|(name, _)| *name == source.room()) else {
            faults.insert(format!("src/{} is in no room", source.module));
            continue;
        };
        for path in &source.paths.found {
            let path = source.resolved(path);
            let [first, room, ..] = &path[..] else { continue };
            if first == "crate" && room != source.room() && !known.contains(&&**room) {
                faults.insert(format!("{} knows {room}: {}", source.module, path.join("::")));
            }
        }
    }
    none(faults);
}

/// Inside of its room a short name is enough.
#[test]
fn a_type_that_leaves_its_room_has_a_name_of_its_own() {
    let sources = sources();
    let mut rooms: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in &sources {
        for name in &source.paths.types {
            rooms.entry(name).or_default().insert(source.room());
        }
    }
    let mut faults = BTreeSet::new();
    for user in &sources {
        for path in user.paths.found.iter().map(|path| user.resolved(path)) {
            let [first, room, names @ ..] = &path[..] else { continue };
            if first != "crate" || room == user.room() {
                continue;
            }
            for (name, rooms) in names.iter().filter_map(|name| rooms.get_key_value(&**name)) {
                if rooms.len() > 1 && rooms.contains(&**room) {
                    faults.insert(format!("{name} names a type in each of {rooms:?}"));
                }
            }
        }
    }
    none(faults);
}

#[test]
fn the_table_has_every_room_and_no_circle() {
    for (index, (room, known)) in ROOMS.iter().enumerate() {
        let below: Vec<&str> = ROOMS[index + 1..].iter().map(|(name, _)| *name).collect();
        for other in *known {
            assert!(below.contains(other), "{room} knows {other}, which does not stand below it");
        }
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = std::fs::read_dir(top).expect("there").map(|entry| entry.expect("readable"));
    let there: BTreeSet<String> = entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    let rooms = ROOMS.iter().map(|(room, _)| (*room).to_owned());
    assert_eq!(there, rooms.chain(["lib.rs".to_owned(), "main.rs".to_owned()]).collect());
}

#[test]
fn few_talk_to_the_system() {
    let mut faults = BTreeSet::new();
    for source in sources() {
        for path in &source.paths.found {
            let path = path.join("::");
            for (way, allowed) in WAYS_OUT {
                let takes = path.strip_prefix(way).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
                if takes && !source.is_of(allowed) {
                    faults.insert(format!("{} takes {path}", source.module));
                }
            }
        }
    }
    none(faults);
}

#[test]
fn unsafe_and_the_operating_system_are_in_sys_alone() {
    let mut faults = BTreeSet::new();
    for source in sources().iter().filter(|source| !source.is_of(&["sys"])) {
        if source.paths.has_unsafe {
            faults.insert(format!("{} is unsafe", source.module));
        }
        if source.paths.asks_for_the_system {
            faults.insert(format!("{} asks which system this is", source.module));
        }
    }
    none(faults);
}

/// A crate that is new to the project is thought about: does it lead out?
#[test]
fn every_crate_is_known() {
    let manifest = include_str!("../Cargo.toml").parse::<toml::Table>().expect("a manifest");
    let targets = manifest["target"].as_table().expect("a table").values();
    let tables = [&manifest].into_iter().chain(targets.filter_map(|target| target.as_table()));
    let named = tables.filter_map(|table| table.get("dependencies")?.as_table()).flat_map(|table| table.keys());
    let ways = WAYS_OUT.iter().map(|(way, _)| *way);
    let known: BTreeSet<&str> = ways.chain(HARMLESS.iter().copied()).collect();
    let strange: Vec<&String> = named.filter(|name| !known.contains(&*name.replace('-', "_"))).collect();
    assert!(strange.is_empty(), "neither harmless nor a way out: {strange:?}");
}

/// The rules above see what they are there to see.
#[test]
fn what_is_hidden_is_found() {
    let of = |text: &str| Paths::of(&syn::parse_file(text).expect("Rust"));
    let has = |text: &str, path: &str| of(text).found.iter().any(|found| found.join("::") == path);
    assert!(has("use std::{io, fs::{self, File}};", "std::fs::File"));
    assert!(has("use crate::{words, sys::{self as s}};", "crate::sys::self"));
    assert!(has("fn f() { let x = vec![format!(\"{}\", crate::sys::machine())]; }", "crate::sys::machine"));
    assert!(has("fn f() -> std::time::Instant { loop {} }", "std::time::Instant"));
    assert!(has("macro_rules! m { () => { nix::unistd::fork() } }", "nix::unistd::fork"));
    assert!(!has("#[cfg(test)] mod tests { use std::fs; }", "std::fs"));
    assert!(!has("// use std::fs;\nconst A: &str = \"std::fs\";", "std::fs"));
    let types = of("pub struct A; pub(super) struct B; enum C {} words! { pub enum D { E = \"e\" } }").types;
    assert_eq!(types.into_iter().collect::<Vec<_>>(), ["A", "D"]);
    assert!(of("fn f() { unsafe { g() } }").has_unsafe && of("unsafe impl Send for X {}").has_unsafe);
    assert!(of("fn f() -> bool { cfg!(target_os = \"linux\") }").asks_for_the_system);
    assert!(of("#[cfg(not(unix))] fn f() {}").asks_for_the_system);
    let source = |module: &str| Source { module: module.to_owned(), paths: Paths::default() };
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(source("plan/op").resolved(&path("super::super::sys::f")).join("::"), "crate::sys::f");
    assert!(
        source("tracer/network/raw").is_of(&["tracer/network"])
            && !source("tracer/networks").is_of(&["tracer/network"])
    );
}
