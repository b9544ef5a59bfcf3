//! The command line: exit codes, what goes to which stream, and what is printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::reports::{HOSTILE, check_shown, hostile, text_of};
use crate::common::said::{Said, run, said};
use crate::harness::test;
use assert_cmd::Command as Tested;
use errnoscope::suite::catalogue::Catalogue;
use serde_json::Value;
use tempfile::TempDir;

/// Two cases that any kernel runs alike, a slow one, and one that is wrong on purpose where `outcome` is.
fn scenario(id: &str, outcome: &str) -> String {
    format!(
        r#"claim = "A port above the privileged ones can be bound"
id = "{id}"
why = "The simplest thing that can work."
cause = "none"

[axes]
protocol = ["tcp", "udp"]
family = ["ipv4"]

[[setup]]
open = {{ socket = "claimer", protocol = "$protocol", family = "$family" }}

[[subject]]
bind = {{ socket = "claimer", address = "127.0.0.1", port = 20000 }}
unwitnessed = "nobody is in the way"

[[subject.expect]]
os = ["linux", "macos"]
outcome = "{outcome}"
authority = "posix"
ref = "bind()"
"#
    )
}

/// A directory of scenario files, gone with the value.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Files(directory)
    }

    fn good() -> Files {
        Files::new(&[("a.toml", &scenario("bind.free-port", "ok"))])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let (command, rest) = arguments.split_first().unwrap();
        let mut all = vec![*command, "--scenarios", self.0.path().to_str().unwrap()];
        all.extend(rest);
        run(&all)
    }
}

#[test]
fn help_and_version_are_results() {
    for arguments in [&["--help"][..], &["help", "run"], &["help", "list"], &["help", "lint"], &["doctor", "--help"]] {
        let said = run(arguments);
        said.check(0, &["Usage: errnoscope"], &[]).is_narrow();
        assert_eq!(said.err, "");
    }
    run(&["--version"]).check(0, &["errnoscope 0."], &[]);
    assert!(!run(&["--help"]).out.contains("\n  worker "), "the hidden subcommand shows");
}

#[test]
fn usage_errors_name_the_program_and_what_was_meant() {
    run(&[]).check(2, &[], &["Usage: errnoscope"]);
    run(&["lits"]).check(2, &[], &["errnoscope: error: ", "'list'"]);
    run(&["list", "--cal", "bind"]).check(2, &[], &["errnoscope: error: ", "--call"]);
    run(&["list", "--call", "bnid"]).check(2, &[], &["errnoscope: error: ", "bind"]);
    run(&["list", "--cause", "port-in-us"]).check(2, &[], &["errnoscope: error: ", "port-in-use"]);
    run(&["run", "--repeat", "0"]).check(2, &[], &["errnoscope: error: ", "--repeat"]);
    run(&["run", "--jobs", "0"]).check(2, &[], &["errnoscope: error: ", "--jobs"]);
}

#[test]
fn unknown_axes_and_values_name_what_is_near() {
    let files = Files::good();
    files.run(&["list", "-x", "familly=ipv4"]).check(2, &[], &["unknown axis `familly`; did you mean family?"]);
    files.run(&["list", "-x", "family=ipv5"]).check(
        2,
        &[],
        &["unknown value `ipv5` of axis `family`; did you mean ipv4?"],
    );
    files.run(&["list", "-x", "protocol=sctp-one"]).check(2, &[], &["expected one of tcp, udp"]);
    files.run(&["list", "-x", "family"]).check(2, &[], &["expected axis=value"]);
}

#[test]
fn what_matches_nothing_names_what_is_near() {
    let files = Files::good();
    files.run(&["list", "bind.free-prot"]).check(
        3,
        &[],
        &["no scenario or case matches `bind.free-prot`; did you mean bind.free-port?"],
    );
    files.run(&["list", "family=ipv4"]).check(3, &[], &["did you mean `--where family=ipv4`?"]);
    files.run(&["list", "bind.free-port[protocol=tpc,family=ipv4]"]).check(
        3,
        &[],
        &["bind.free-port[protocol=tcp,family=ipv4]"],
    );
    files.run(&["run", "bind.*", "zzz*"]).check(3, &[], &["`zzz*`"]);
    files.run(&["run", "--call", "listen"]).check(3, &[], &["no case is selected"]);
    files.run(&["show", "bind.free-prot"]).check(2, &[], &["did you mean bind.free-port?"]);
    files.run(&["show", "bind.free-port[protocol=tcp]"]).check(2, &[], &["the nearest is"]);
}

#[test]
fn selections_narrow_each_other() {
    let files = Files::new(&[("a.toml", &scenario("bind.a", "ok")), ("b.toml", &scenario("bind.b", "ok"))]);
    let lines =
        |arguments: &[&str]| files.run(arguments).check(0, &[], &[]).out.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&["list", "--cases"]).len(), 4);
    assert_eq!(lines(&["list", "--cases", "bind.b"]).len(), 2);
    assert_eq!(lines(&["list", "--cases", "*protocol=udp*"]).len(), 2);
    assert_eq!(lines(&["list", "--cases", "-x", "protocol=tcp", "-x", "protocol=udp"]).len(), 4);
    assert_eq!(
        lines(&["list", "--cases", "--call", "bind", "--cause", "none", "-x", "family=ipv4", "-x", "protocol=tcp"])
            .len(),
        2
    );
    assert_eq!(lines(&["list", "--cases", "bind.a[protocol=tcp,family=ipv4]"]), ["bind.a[protocol=tcp,family=ipv4]"]);
}

#[test(Namespaces)]
fn slow_cases_run_when_asked_for() {
    let text = scenario("bind.slow", "ok").replace("[axes]", "slow = true\n\n[axes]");
    let files = Files::new(&[("a.toml", &text)]);
    files.run(&["list"]).check(0, &["slow", "1 scenario, 2 cases, 2 of them only with --slow"], &[]);
    files.run(&["run"]).check(3, &[], &["all 2 selected cases wait for kernel timers; add --slow"]);
    files.run(&["run", "--slow"]).check(0, &["2 cases, 2 findings: 2 match"], &[]);
}

#[test]
fn list_prints_a_tree_and_json() {
    let files = Files::good();
    files
        .run(&["list"])
        .check(0, &["bind\n  bind.free-port  2  A port above", "\n1 scenario, 2 cases\n"], &[])
        .is_narrow();
    let scenarios = files.run(&["list", "--json"]).json();
    assert_eq!(scenarios[0]["id"], "bind.free-port");
    assert_eq!(scenarios[0]["axes"]["protocol"], serde_json::json!(["tcp", "udp"]));
    assert_eq!((&scenarios[0]["cases"], &scenarios[0]["slow"]), (&2.into(), &0.into()));
}

#[test]
fn list_of_cases_is_what_its_schema_says() {
    let cases = run(&["list", "--cases", "--json"]).json();
    let schema = run(&["schema", "list"]).json();
    jsonschema::validator_for(&schema).unwrap().validate(&cases).unwrap();
    let cases = Files::good().run(&["list", "--cases", "--json"]).json();
    let expected = serde_json::json!([{ "outcome": "ok", "authority": "posix", "ref": "bind()" }]);
    assert_eq!(
        cases[0],
        serde_json::json!({
            "scenario": "bind.free-port", "case": "bind.free-port[protocol=tcp,family=ipv4]",
            "axes": { "protocol": "tcp", "family": "ipv4" }, "call": "bind", "cause": "none",
            "expected": { "linux": expected, "macos": expected },
        })
    );
}

#[test]
fn show_tells_all_of_a_scenario_and_of_a_case() {
    let files = Files::good();
    let scenario = files.run(&["show", "bind.free-port"]);
    let words =
        ["claim", "why", "protocol  tcp udp", "expected on linux", "expected on macos", "always  ok       posix"];
    scenario.check(0, &words, &[]).is_narrow();
    let case = files.run(&["show", "bind.free-port[protocol=udp,family=ipv4]"]);
    case.check(0, &["steps", "family=ipv4 protocol=udp", "call bind (step 2), cause none", "ok (posix: bind())"], &[]);
}

/// A reason of several lines is one text, however wide the terminal.
#[test]
fn show_breaks_the_lines_of_a_reason_anew() {
    let catalogue = Catalogue::embedded().unwrap();
    let broken = catalogue.scenarios.iter().filter(|scenario| scenario.why.raw().trim().contains('\n'));
    for scenario in broken.take(3) {
        let said = run(&["show", &scenario.id]);
        assert!(!said.out.contains("\\n"), "{}", said.out);
    }
}

#[test]
fn lint_shows_the_place_of_a_problem() {
    run(&["lint"]).check(0, &["no problems"], &[]);
    let files = Files::new(&[
        ("a.toml", &scenario("bind.a", "EADDRINUS")),
        ("b.toml", "claim = 3\nwhom = 1\n"),
        ("c.toml", "a = ["),
    ]);
    let path = files.0.path().to_str().unwrap();
    let said = run(&["lint", path]);
    said.check(2, &["EADDRINUS", "a.toml:19:11", "unknown key `whom`", "b.toml:2:1", "c.toml:1:", "problems\n"], &[]);
    assert_eq!(said.err, "");
    let problems = run(&["lint", path, "--json"]).json();
    assert!(
        problems.as_array().unwrap().iter().any(|problem| problem["line"] == 19 && problem["column"] == 11),
        "{problems}"
    );
    run(&["lint", Files::good().path("a.toml").to_str().unwrap()]).check(
        0,
        &["1 file, 1 scenario, 2 cases: no problems"],
        &[],
    );
}

#[test]
fn lint_knows_where_files_belong_and_whose_ids_they_have() {
    let good = scenario("bind.a", "ok");
    let files = Files::new(&[("scenarios/bind/wrong.toml", &good)]);
    let said = run(&["lint", files.0.path().to_str().unwrap()]);
    said.check(
        2,
        &["the file's name is not its claim", "bind/a-port-above-the-privileged-ones-can-be-bound.toml"],
        &[],
    );
    let files = Files::new(&[("a.toml", &good), ("b.toml", &good)]);
    run(&["lint", files.0.path().to_str().unwrap()]).check(2, &["the id `bind.a` is taken"], &[]);
    files.run(&["run"]).check(2, &[], &["the id `bind.a` is taken", "errnoscope: error: 1 problem in scenario files"]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    run(&["lint", "/nonexistent/a.toml"]).check(
        2,
        &[],
        &["errnoscope: error: cannot read /nonexistent/a.toml: No such file"],
    );
    Files::new(&[]).run(&["list"]).check(2, &[], &["no scenario files (*.toml) in"]);
    let files = Files::good();
    let said = files.run(&["run", "--json", "/nonexistent/report.json"]);
    said.check(2, &[], &["cannot write /nonexistent/report.json"]);
    assert!(!said.err.contains("running"), "it ran before it found out");
}

/// Everything that reads a file named by somebody: the command, and the file it gets.
const READERS: &[&[&str]] = &[
    &["lint"],
    &["list", "--scenarios"],
    &["run", "-q", "--scenarios"],
    &["show", "bind.port-held", "--scenarios"],
    &["report"],
    &["compare", "tests/golden/report.json"],
    &["claims"],
    &["claims", "tests/golden/report.json", "--claims"],
    &["boundaries", "tests/golden/report.json"],
    &["compat"],
    &["policy", "show"],
    &["policy", "derive"],
    &["policy", "evaluate"],
    &["policy", "evaluate", "tests/golden/report.json", "--policy"],
    &["explain", "EADDRINUSE", "--report"],
    &["check"],
    &["check", "--results"],
    &["check", "--baseline"],
];

/// What the reader says of a file, within its limits of memory and time.
#[track_caller]
fn refused(reader: &[&str], file: &str, words: &str) {
    let mut command = Tested::new("sh");
    command.args(["-c", "ulimit -v 1500000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_errnoscope")]);
    let said = said(command.args(reader).arg(file).timeout(std::time::Duration::from_secs(60)).output().unwrap());
    assert_eq!(said.code, 2, "{reader:?} {file}: {}", said.err);
    assert!(said.err.contains(file) && said.err.contains(words), "{reader:?} {file}: no `{words}` in {}", said.err);
}

#[test]
fn no_reader_reads_without_a_bound() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    fs::File::create(file("sparse.toml")).unwrap().set_len(10 << 30).unwrap();
    let mut bomb =
        flate2::write::GzEncoder::new(fs::File::create(file("bomb.json.gz")).unwrap(), flate2::Compression::fast());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), 1 << 30), &mut bomb).unwrap();
    bomb.finish().unwrap();
    fs::write(file("bytes.toml"), b"format = \"\xff\"\n").unwrap();
    fs::create_dir(file("directory.toml")).unwrap();
    for reader in READERS {
        refused(reader, "/dev/zero", "the most that is read");
        refused(reader, &file("sparse.toml"), "the most that is read");
        refused(reader, &file("bytes.toml"), "UTF-8");
        refused(reader, &file("absent.toml"), "No such file");
        if !matches!(reader.last(), Some(&"lint" | &"--scenarios")) {
            refused(reader, &file("directory.toml"), "is a directory");
        }
    }
    for reader in READERS.iter().filter(|reader| matches!(reader[0], "report" | "compat" | "compare")) {
        refused(reader, &file("bomb.json.gz"), "larger than 128 MiB");
    }
}

#[test]
fn a_fifo_is_read_where_somebody_writes_and_not_waited_for_where_nobody_does() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("fifo.toml");
    let name = path.to_str().unwrap().to_owned();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(&["lint"], &name, "nobody opened for writing");
    // Below a directory it is somebody else's.
    refused(&["lint"], place.path().to_str().unwrap(), "not a regular file");
    let writer = std::thread::spawn(move || fs::write(path, scenario("bind.free-port", "ok")).unwrap());
    run(&["lint", &name]).check(0, &["1 scenario, 2 cases: no problems"], &[]);
    writer.join().unwrap();
}

#[test]
fn directories_are_visited_once_and_not_without_end() {
    let files = Files::good();
    for link in ["a", "b", "c"] {
        std::os::unix::fs::symlink(".", files.path(link)).unwrap();
    }
    run(&["lint", files.0.path().to_str().unwrap()]).check(0, &["1 file, 1 scenario, 2 cases: no problems"], &[]);
    files.run(&["list"]).check(0, &["bind.free-port"], &[]);
    let deep = Files::new(&[(&format!("{}a.toml", "d/".repeat(40)), "")]);
    refused(&["lint"], deep.0.path().to_str().unwrap(), "more than 32 levels of directories");
    let wide = tempfile::tempdir().unwrap();
    for number in 0..10_001 {
        fs::write(wide.path().join(format!("{number}.toml")), "").unwrap();
    }
    refused(&["lint"], wide.path().to_str().unwrap(), "more than 10000 scenario files");
}

/// Small files that would be much work.
#[test]
fn what_multiplies_is_refused_with_its_place() {
    let list = |number: usize, text: &dyn Fn(usize) -> String| (0..number).map(text).collect::<Vec<_>>().join(",");
    let good = scenario("bind.free-port", "ok");
    let with = |tables: &str| good.replace("\n[[setup]]", &format!("\n{tables}\n[[setup]]"));
    let values: String = (0..7)
        .map(|depth| format!("v{depth} = [{{ is = [{}] }}]\n", list(100, &|_| format!("\"$v{}\"", depth + 1))))
        .collect();
    let references = with(&format!("[values]\n{values}v7 = [{{ is = 1 }}]"))
        .replace("socket = \"claimer\", protocol", "socket = \"$v0\", protocol");
    let facts: String =
        (1..60).map(|fact| format!("f{fact} = [{{ f{0} = true }}, {{ f{0} = false }}]\n", fact - 1)).collect();
    let facts = with(&format!("[facts]\nf0 = {{ protocol = \"tcp\" }}\n{facts}"));
    let axis = good.replace("[\"ipv4\"]", &format!("[{}]", list(50_000, &|value| format!("\"{value}\""))));
    let axes = good.replace(
        "[\"ipv4\"]",
        &format!("[\"ipv4\"]\n{}", (0..40).map(|axis| format!("a{axis} = [\"1\"]\n")).collect::<String>()),
    );
    let rule = good.split_once("[[subject.expect]]").unwrap().1;
    let rules: String = (0..3_000).map(|minor| format!("[[subject.expect]]\nkernel = \">=6.{minor}\"{rule}")).collect();
    let rules = good.replace("[[subject.expect]]", &format!("{rules}[[subject.expect]]")).replace(
        "family = [\"ipv4\"]",
        &format!("family = [\"ipv4\"]\nx = [{}]", list(500, &|value| format!("\"{value}\""))),
    );
    let nested = good.replace("\"none\"", &"[".repeat(10_000));
    let many = good.replace("[\"ipv4\"]", &format!("[{}]", list(9_000, &|value| format!("\"w{value}\""))));
    for (text, words) in [
        (references, "too many values once references are resolved"),
        (facts, "comparisons, at most 10000 are taken"),
        (axis, "the axes span 100000 cases, at most 20000 are taken"),
        (axes, "42 axes, at most 32 are taken"),
        (rules, "are too many for these conditions"),
        (nested, "recurse"),
        (many, "more problems in this file"),
    ] {
        let files = Files::new(&[("a.toml", &text)]);
        let path = files.path("a.toml");
        let mut command = crate::common::said::command(&["lint", path.to_str().unwrap()]);
        let said = said(command.timeout(std::time::Duration::from_secs(60)).output().unwrap());
        said.check(2, &[words, "a.toml:"], &[]);
        assert!(said.out.len() < 200_000, "{} bytes: {words}", said.out.len());
        assert!(said.out.lines().all(|line| line.chars().count() < 700), "{words}");
    }
}

/// Whoever wrote a file, named it, or is named in an argument says nothing to the terminal by that.
#[test]
fn no_command_lets_others_speak_to_the_terminal() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let name = HOSTILE.replace('\n', "");
    let (report, bad, scenarios) = (file("report.json"), file(&format!("{name}.toml")), file("scenarios"));
    fs::write(&report, text_of(&hostile().0)).unwrap();
    fs::write(&bad, format!("a = \"{HOSTILE}\"\n{HOSTILE} = 1\n")).unwrap();
    fs::create_dir(&scenarios).unwrap();
    let quoted = HOSTILE.escape_default().to_string().replace("\\u{", "\\U{");
    let quoted = quoted.split("\\U{").enumerate().map(|(number, part)| match part.split_once('}') {
        Some((hex, rest)) if number > 0 => format!("\\U{:0>8}{rest}", hex),
        _ => part.to_owned(),
    });
    let quoted: String = quoted.collect();
    let claim = "claim = \"A port above the privileged ones can be bound";
    let text = scenario("bind.free-port", "ok")
        .replace(claim, &format!("{claim}{quoted}"))
        .replace("bind()", &format!("bind(){quoted}"));
    let text = text.replace("The simplest", &format!("{quoted} The simplest"));
    fs::write(Path::new(&scenarios).join("a.toml"), text).unwrap();
    let golden = "tests/golden/report.json";
    let commands: &[&[&str]] = &[
        &["report", &report],
        &["compare", golden, &report],
        &["compare", golden, &report, "-v"],
        &["compare", &report, golden, "--github"],
        &["claims", &report],
        &["claims", &report, "-v"],
        &["claims", &report, "--json"],
        &["compat", &report],
        &["boundaries", golden, &report],
        &["policy", "derive", &report],
        &["policy", "evaluate", &report],
        &["explain", "bind", "EADDRINUSE", "--report", &report],
        &["explain", &format!("bind EADDRINUSE {HOSTILE}")],
        &["explain", HOSTILE],
        &["list", "--scenarios", &scenarios],
        &["list", "--scenarios", &scenarios, "-v"],
        &["list", "--scenarios", &scenarios, "--json"],
        &["show", "--scenarios", &scenarios, "bind.free-port"],
        &["show", "--scenarios", &scenarios, "bind.free-port", "--json"],
        &["run", "--scenarios", &scenarios, "-v"],
        &["lint", &bad],
        &["lint", &bad, "--json"],
        &["policy", "show", &bad],
        &["claims", golden, "--claims", &bad],
        &["check", &bad],
        &["check", "--results", &bad],
        &["report", &bad],
        &["compare", &bad, golden],
        &["run", HOSTILE],
        &["show", HOSTILE],
        &["policy", "show", HOSTILE],
        &["trace", HOSTILE],
        &["exec", "-c", HOSTILE, "--", "true"],
        &[HOSTILE],
        &["run", &format!("--{HOSTILE}")],
    ];
    for arguments in commands {
        for colours in ["0", "1"] {
            let said = said(crate::common::said::command(arguments).env("CLICOLOR_FORCE", colours).output().unwrap());
            check_shown(&format!("{arguments:?} on standard output"), &said.out);
            check_shown(&format!("{arguments:?} on standard error"), &said.err);
        }
    }
}

#[test(Namespaces)]
fn schema_describes_what_run_writes() {
    let files = Files::good();
    let report = files.path("report.json");
    files
        .run(&["run", "--json", report.to_str().unwrap()])
        .check(0, &["2 cases, 2 findings: 2 match"], &["running 2 cases"])
        .is_narrow();
    let text = fs::read_to_string(&report).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("\"trail\"")).count(), 2, "one finding a line");
    let report: Value = serde_json::from_str(&text).unwrap();
    let schema = run(&["schema", "report"]).json();
    jsonschema::validator_for(&schema).unwrap().validate(&report).unwrap();
    assert_eq!(schema, run(&["schema"]).json());
}

#[test(Namespaces)]
fn report_on_standard_output_moves_the_summary() {
    let said = Files::good().run(&["run", "--json", "-", "--quiet"]);
    assert_eq!(said.check(0, &[], &[]).json()["summary"]["match"], 2);
    let said = Files::good().run(&["run", "--json", "-"]);
    said.check(0, &[], &["2 match", "bind.free-port"]).json();
    Files::good().run(&["run", "--json", "-", "--junit", "-"]).check(2, &[], &["only one of"]);
}

#[test(Namespaces)]
fn quiet_says_nothing_where_all_is_well() {
    let said = Files::good().run(&["run", "--quiet"]);
    assert_eq!((said.code, &*said.out, &*said.err), (0, "", ""));
}

#[test(Namespaces)]
fn mismatches_are_shown_in_full() {
    let files = Files::new(&[("a.toml", &scenario("bind.wrong", "EADDRINUSE"))]);
    let said = files.run(&["run"]);
    let words = [
        "2 mismatch",
        "MISMATCH  bind.wrong  (×2",
        "succeeded, expected EADDRINUSE",
        "expected  EADDRINUSE (posix: bind())",
        "observed  ok",
    ];
    said.check(1, &words, &[]).is_narrow();
    let junit = files.path("junit.xml");
    let said = files.run(&["run", "-q", "--repeat", "3", "--junit", junit.to_str().unwrap()]);
    said.check(1, &["repeated  ok 3/3"], &[]);
    let junit = fs::read_to_string(junit).unwrap();
    assert!(junit.contains("failures=\"2\"") && junit.contains("type=\"mismatch\""), "{junit}");
}

#[test(Namespaces)]
fn a_case_that_is_killed_is_broken() {
    let text = scenario("bind.killed", "ok").replace("[[subject]]", "[[setup]]\nraise = { signal = 9 }\n\n[[subject]]");
    let files = Files::new(&[("a.toml", &text)]);
    files.run(&["run"]).check(4, &["2 broken", "BROKEN  bind.killed", "killed by signal 9"], &[]).is_narrow();
}

#[test(Namespaces)]
fn where_nothing_can_run_that_is_an_error() {
    let text = scenario("bind.xnu", "ok").replace("[axes]", "[[needs]]\nneed = \"xnu\"\n\n[axes]");
    if std::env::consts::OS == "macos" {
        return;
    }
    let said = Files::new(&[("a.toml", &text)]).run(&["run"]);
    said.check(4, &["2 unsupported", "xnu: only XNU has this rule"], &["nothing could be run"]).is_narrow();
}

#[test(Namespaces)]
fn reports_become_markdown() {
    let files = Files::good();
    let report = files.path("report.json");
    let report = report.to_str().unwrap();
    files.run(&["run", "--json", report]).check(0, &[], &[]);
    let first = run(&["report", report]);
    first.check(
        0,
        &[
            "# What ",
            "| [bind.free-port](#bindfree-port) | 2 | 2 |",
            "**macos was not observed.**",
            "| ok | *ok*\\* | 2 |",
        ],
        &[],
    );
    files.run(&["run", "--json", report]).check(0, &[], &[]);
    let second = run(&["report", report]);
    assert_eq!(undated(&first.out), undated(&second.out), "two runs differ");
    let markdown = files.path("REPORT.md");
    run(&["report", report, "-o", markdown.to_str().unwrap()]).check(0, &[], &[]);
    assert_eq!(second.out, fs::read_to_string(markdown).unwrap());
    // The answer, and no tables behind it.
    let brief = run(&["report", report, "--brief"]);
    brief.check(0, &["\n### bind\n", "| `bind.free-port` | **ok** | **ok**\\* |"], &[]);
    assert!(!brief.out.contains("\n## Scenarios\n"), "{}", brief.out);
    assert!(!brief.out.contains("\n## bind.free-port\n"), "{}", brief.out);
}

/// A report without its date: two runs begin at two times.
fn undated(markdown: &str) -> String {
    let (before, rest) = markdown.split_once("Z | netns | ").expect("a report has a date");
    let (before, _) = before.rsplit_once(" | ").expect("in a column");
    format!("{before} | {rest}")
}

#[test(Namespaces)]
fn files_that_are_no_reports_are_told_by_place() {
    let files = Files::good();
    let report = files.path("report.json");
    files.run(&["run", "--json", report.to_str().unwrap()]).check(0, &[], &[]);
    let text = fs::read_to_string(&report).unwrap();
    let place = |said: &Said| said.check(2, &[], &["no errnoscope report"]).err.clone();
    let written = |text: &str| {
        fs::write(files.path("bad.json"), text).unwrap();
        place(&run(&["report", files.path("bad.json").to_str().unwrap()]))
    };
    assert!(written(&text[..text.len() / 2]).contains("bad.json:"));
    let other = written(&text.replace("errnoscope-report/3", "errnoscope-report/9"));
    assert!(
        other.contains("bad.json:2:") && other.contains("format `errnoscope-report/9`, this version reads"),
        "{other}"
    );
    assert!(written("").contains("bad.json:1:0"));
    assert!(written(&text.replace("\"repeat\"", "\"again\"")).contains("unknown field `again`"));
    run(&["report"]).check(2, &[], &["<FILE>"]);
}

#[test(Namespaces)]
fn reports_may_be_compressed() {
    let files = Files::good();
    let [plain, gzip] = ["report.json", "report.json.gz"].map(|name| files.path(name).to_str().unwrap().to_owned());
    for report in [&plain, &gzip] {
        files.run(&["run", "--json", report]).check(0, &[], &[]);
    }
    assert!(fs::read(&gzip).unwrap().starts_with(&[0x1f, 0x8b]));
    let [plain, gzip] =
        [plain, gzip].map(|report| undated(&run(&["report", &report]).check(0, &["bind.free-port"], &[]).out));
    assert_eq!(plain, gzip);
    let half = fs::read(files.path("report.json.gz")).unwrap();
    fs::write(files.path("half.json.gz"), &half[..half.len() / 2]).unwrap();
    run(&["report", files.path("half.json.gz").to_str().unwrap()]).check(2, &[], &["cannot read", "half.json.gz"]);
}

#[test]
fn doctor_says_what_the_host_offers() {
    let said = run(&["doctor"]);
    assert!(matches!(said.code, 0 | 4));
    said.check(said.code, &["network-namespace", "descriptors", "settings"], &[]).is_narrow();
    let json = run(&["doctor", "--json"]).json();
    assert_eq!(json["needs"]["network-namespace"]["available"], said.code == 0);
}

/// The first signal ends a run in good order, and what ran is written down.
#[test]
fn an_interrupted_run_still_reports() {
    let wait = "[[setup]]\nwhen = { protocol = \"udp\" }\nelapse = { ms = 60000 }\n\n[[subject]]";
    let text =
        scenario("bind.waits", "ok").replace("[[subject]]", wait).replace("[axes]", "deadline_ms = 100000\n\n[axes]");
    let files = Files::new(&[("a.toml", &text)]);
    let report = files.path("report.json");
    let child = Command::new(assert_cmd::cargo::cargo_bin("errnoscope"))
        .args([
            "run",
            "--jobs",
            "1",
            "--scenarios",
            files.0.path().to_str().unwrap(),
            "--json",
            report.to_str().unwrap(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its handlers are in place once it says so: the first line on standard error.
    let mut child = child;
    let mut err = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut err, &mut line).unwrap();
    assert!(line.contains("running 2 cases"), "{line}");
    // Twice at once, as timeout(1) sends it: to the program, and to its group.
    for _ in 0..2 {
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut err, &mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143), "{rest}");
    assert!(rest.contains("interrupted:") && rest.contains("of 2 cases ran"), "{rest}");
    let report: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(report["complete"], false);
}

#[test]
fn policies_are_listed_shown_and_compared() {
    let listed = run(&["policy", "list"]);
    listed
        .check(0, &["evidence", "The default.", "conflate", "addr-in-use-only", "next-port-on-both"], &[])
        .is_narrow();
    run(&["policy", "show"]).check(0, &["evidence", "rests on", "otherwise"], &[]).is_narrow();
    run(&["policy", "show", "conflate"]).check(0, &["skip", "errno=EADDRINUSE|EADDRNOTAVAIL"], &[]).is_narrow();
    for name in ["evidence", "conflate", "addr-in-use-only", "next-port-on-both"] {
        run(&["policy", "show", name, "--json"]).check(0, &[], &[]).json_of("policy");
    }
    run(&["policy", "diff", "conflate", "conflate"]).check(0, &["alike"], &[]);
    let differ = run(&["policy", "diff", "conflate", "addr-in-use-only"]);
    differ.check(1, &["conflate: skip, addr-in-use-only: abort", "errno=EADDRNOTAVAIL"], &[]).is_narrow();
    run(&["policy", "diff", "conflate", "addr-in-use-only", "--json"]).check(1, &[], &[]).json_of("policy-diff");
    run(&["policy", "show", "nonsense"]).check(2, &[], &["unknown policy `nonsense`", "evidence, conflate"]);
    let files = Files::new(&[("bad.toml", "format = \"errnoscope-policy/1\"\ncolour = 1\n")]);
    let bad = files.path("bad.toml");
    run(&["policy", "show", bad.to_str().unwrap()]).check(2, &[], &["bad.toml:2:1", "unknown field `colour`"]);
}

#[test(Namespaces)]
fn policies_are_held_against_reports() {
    let report = Files::new(&[]);
    let (json, toml) = (report.path("report.json"), report.path("mine.toml"));
    let (json, toml) = (json.to_str().unwrap(), toml.to_str().unwrap());
    run(&["run", "-q", "--json", json, "connect.ports-exhausted", "connect.tuple-held"]).check(0, &[], &[]);
    let wrong = ["policy", "evaluate", json, "--policy", "conflate", "--policy", "addr-in-use-only"];
    let said = run(&wrong);
    said.check(1, &["hides a real error", "gives up too early", "tuple-in-use", "macos‡ "], &[]);
    said.is_narrow();
    let all = run(&[&wrong[..], &["--all", "--json"]].concat()).check(1, &[], &[]).json_of("policy-evaluation");
    assert_eq!(all["format"], "errnoscope-policy-evaluation/3");
    let entry = &all["policies"][0]["wrong"][0];
    assert_eq!(entry["count"].as_u64(), entry["cases"].as_array().map(|cases| cases.len() as u64));
    run(&["policy", "evaluate", json]).check(0, &["evidence"], &[]);
    run(&["policy", "derive", json, "-o", toml]).check(0, &["rests on", "no shorter list"], &[]);
    run(&["policy", "evaluate", json, "--policy", toml]).check(0, &[], &[]);
    let derived = run(&["policy", "derive", json, "-o", "-"]).check(0, &["[[rule]]"], &[]).out.clone();
    // A file's policy is called after it.
    assert_eq!(derived.replace("\"evidence\"", "\"mine\""), fs::read_to_string(toml).unwrap());
    let derived = run(&["policy", "derive", json, "--json"]).check(0, &[], &[]).json_of("policy-derivation");
    assert_eq!(derived["format"], "errnoscope-policy-derivation/3");
    run(&["policy", "evaluate", toml]).check(2, &[], &["no errnoscope report"]);
}

#[test]
fn errors_are_explained_from_arguments_and_standard_input() {
    let line = "bind(3, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = -1 EADDRINUSE (Address already in use)";
    let words =
        ["failed    bind, EADDRINUSE, linux (the text says so), ephemeral port, ipv4", "likely    ports-exhausted"];
    run(&["explain", line]).check(0, &words, &[]);
    for arguments in [&["explain"][..], &["explain", "-"]] {
        let mut command = Tested::cargo_bin("errnoscope").unwrap();
        let output = command.args(arguments).env("COLUMNS", "80").write_stdin(line).output().unwrap();
        said(output).check(0, &words, &[]);
    }
    let narrowed = ["explain", "connect", "EADDRNOTAVAIL", "--os", "linux", "--port", "explicit", "--protocol", "tcp"];
    run(&narrowed).check(0, &["likely    tuple-in-use", "see       ss -tanp"], &[]);
    let narrowed = [&narrowed[..], &["-v"]].concat();
    let all = run(&narrowed).check(0, &["tuple-in-use", "observed", "next port"], &[]).out.clone();
    assert!(!all.contains("ports-exhausted"), "{all}");
    let macos = ["explain", "connect", "EADDRINUSE", "--os", "macos", "--json"];
    let json = run(&macos).check(0, &[], &[]).json_of("explanation");
    assert_eq!(json["failures"][0]["causes"][0]["evidence"][0]["basis"], "xnu-run");
    run(&["explain", "hello"]).check(2, &[], &["no errno in this text", "connect EADDRNOTAVAIL"]);
    run(&["explain"]).check(2, &[], &["no errno in this text"]);
    run(&["explain", "listen", "EADDRNOTAVAIL", "--os", "linux"]).check(3, &[], &["listen EADDRNOTAVAIL on macos"]);
    run(&["explain", "bind", "98", "--os", "macos", "--port", "none"]).check(2, &[], &["explicit, ephemeral"]);
    run(&["explain", "bind", "98", "--report", "no-such-file"]).check(2, &[], &["cannot read no-such-file"]);
}

#[test]
fn every_command_has_examples_a_manual_page_and_completions() {
    let directory = tempfile::tempdir().unwrap();
    run(&["man", directory.path().to_str().unwrap()]).check(0, &[], &[]);
    let pages = names(directory.path());
    assert!(!pages.iter().any(|page| page.contains("worker") || page.contains("condense")), "{pages:?}");
    for page in &pages {
        let words: Vec<&str> = page.trim_end_matches(".1").split('-').skip(1).collect();
        if !words.is_empty() {
            run(&[&["help"], &words[..]].concat()).check(0, &["Examples:", "  errnoscope "], &[]);
        }
    }
    let commands = ["", "-run", "-explain", "-policy", "-policy-derive", "-trace", "-man", "-completions"];
    for command in commands {
        assert!(pages.contains(&format!("errnoscope{command}.1")), "{command}: {pages:?}");
    }
    run(&["man"]).check(0, &[".TH errnoscope 1"], &[]);
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        script.check(0, &["errnoscope", "explain"], &[]);
    }
    run(&["completions", "csh"]).check(2, &[], &["bash"]);
    let short = run(&["--help"]);
    assert!(short.out.lines().count() < 40, "{}", short.out);
}

/// Standard output closes after the first line, or before it.
#[test]
fn a_trace_is_a_table_or_json() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let reached = format!("reached 127.0.0.1 at hop 1, port {port} is open");
    run(&["trace", "-n", "-p", &port, "127.0.0.1"]).check(0, &[&reached], &[]);
    let json = run(&["trace", "-n", "-p", &port, "--json", "-", "127.0.0.1"]);
    let trace: Value = serde_json::from_str(&json.check(0, &[], &[&reached]).out).unwrap();
    let schema: Value = serde_json::from_str(&run(&["schema", "trace"]).out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert_eq!(validator.iter_errors(&trace).map(|error| error.to_string()).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(trace["ended"]["reason"], "reached");
}

#[test]
fn a_trace_that_cannot_be_is_a_usage_error() {
    let table: &[(&[&str], &str)] = &[
        (&[], "<HOST>"),
        (&["-f", "5", "-m", "3", "127.0.0.1"], "--first-ttl 5 is above --max-ttl 3"),
        (&["-4", "::1"], "::1 has no IPv4 address"),
        (&["-6", "127.0.0.1"], "127.0.0.1 has no IPv6 address"),
        (&["--source", "::1", "127.0.0.1"], "are of two families"),
        (&["--source-port-mode", "fixed", "127.0.0.1"], "needs a --source-port"),
        (&["--source-port-mode", "ephemeral", "--source-port", "9", "127.0.0.1"], "exclude each other"),
        (&["--source-port-mode", "random", "127.0.0.1"], "sequence, fixed, ephemeral"),
        (&["--source-port-range", "9-8", "127.0.0.1"], "is empty"),
        (&["--source-port-range", "0-8", "127.0.0.1"], "a range of ports begins at 1"),
        (&["--initial-sequence", "9", "127.0.0.1"], "is not within --source-port-range 33434-65535"),
        (&["--interface", "no-such-device", "127.0.0.1"], "no interface is called `no-such-device`"),
        (&["--wait", "0", "127.0.0.1"], "expected 0.001 to 60 seconds"),
        (&["--policy", "evidense", "127.0.0.1"], "unknown policy `evidense`"),
        (&["host.invalid"], "cannot resolve host.invalid"),
        (&["--json", "no-such-directory/file", "127.0.0.1"], "cannot write no-such-directory/file"),
    ];
    for (arguments, message) in table {
        let said = run(&[&["trace"], *arguments].concat());
        assert_eq!(said.check(2, &[], &[message]).out, "", "{arguments:?}");
    }
}

#[test(Namespaces)]
fn closed_pipes_end_quietly() {
    let files = Files::good();
    let directory = files.0.path().to_str().unwrap();
    let report = files.path("closed.json");
    for (arguments, code) in [
        (vec!["list", "--cases", "--json"], 0),
        (vec!["--help"], 0),
        (vec!["lint"], 0),
        (vec!["schema"], 0),
        (vec!["explain", "EADDRINUSE"], 0),
        (vec!["completions", "zsh"], 0),
        (vec!["man"], 0),
        (vec!["run", "-q", "--json", "-", "--scenarios", directory], 0),
        (vec!["run", "-q", "--scenarios", directory, "--json", report.to_str().unwrap()], 0),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let program = assert_cmd::cargo::cargo_bin("errnoscope");
        let child = Command::new(program).args(&arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let said = said(child.wait_with_output().unwrap());
        assert_eq!((said.code, &*said.err), (code, ""), "{arguments:?}");
    }
    assert!(report.exists(), "the report is not there");
}

#[test(Namespaces)]
fn reports_replace_files_whole_and_leave_nothing_else() {
    let files = Files::good();
    let (report, link) = (files.path("report.json"), files.path("link.json"));
    fs::write(&report, "old").unwrap();
    std::os::unix::fs::symlink(&report, &link).unwrap();
    files.run(&["run", "--json", link.to_str().unwrap()]).check(0, &[], &[]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && fs::read_to_string(&report).unwrap().starts_with('{'));
    assert_eq!(names(files.0.path()), ["a.toml", "link.json", "report.json"]);
    files.run(&["run", "-q", "--json", "/dev/null"]).check(0, &[], &[]);
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_cannot_be_required_is_refused_before_anything_runs() {
    let files = Files::good();
    for words in ["nft", "namespace", "namespaces,chromium", "all, \u{1b}[31m"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_errnoscope"));
        command.env("ERRNOSCOPE_REQUIRE", words).args(["run", "--scenarios"]).arg(files.0.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{words}: {said}");
        assert!(said.contains("ERRNOSCOPE_REQUIRE") && said.contains("`namespaces` and `all`"), "{words}: {said}");
        assert!(!said.contains("running") && !said.contains("\u{1b}[31m"), "{words}: {said}");
    }
}
