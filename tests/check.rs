//! `errnoscope check`: real runs of tracers that are right, wrong, or no tracers at all.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{MARK, PROGRAM, marked};
use crate::harness::{rstest, test};
use errnoscope::knowledge::policy::{self, right::Consequence};
use errnoscope::sys;
use errnoscope::tracer::check::judge::{Behaviour, BehaviourVerdict};
use errnoscope::tracer::check::trouble::Trouble;
use errnoscope::tracer::check::{self, Check, Tracer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("check").args(arguments).env("COLUMNS", "100").output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{}", text(&output.stderr)))
}

/// A place with a profile in it, and how one names that.
fn profile(command: &[&str], seconds: u64) -> (TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("fake.toml");
    let text = format!(
        "format = \"errnoscope-tracer/1\"\nname = \"fake\"\ncommand = {command:?}\nsource = [\"--source\", \"{{source}}\"]\n\
         first = 33434\nhop = '^\\s*(\\d+)\\s+(\\S+)'\ntimeout_s = {seconds}\n"
    );
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap().to_owned();
    (place, name)
}

/// The only tracer of a check that was written to standard output.
fn checked(output: &Output) -> Tracer {
    let check = check::read(&text(&output.stdout)).unwrap_or_else(|why| panic!("{why:?}\n{}", text(&output.stderr)));
    let [tracer] = <[Tracer; 1]>::try_from(check.tracers).unwrap();
    tracer
}

fn wrong(tracer: &Tracer) -> BTreeMap<Trouble, (Behaviour, Option<Consequence>)> {
    let wrong = tracer.runs.iter().filter(|row| row.verdict == BehaviourVerdict::Wrong);
    wrong.map(|row| (row.trouble, (row.behaviour, row.kind))).collect()
}

/// The reference tracer with another policy.
fn with_policy(policy: &str) -> Vec<&str> {
    vec![PROGRAM, "trace", "-n", "-p", "{port}", "--initial-sequence", "{first}", "--policy", policy, "{target}"]
}

#[test(Namespaces, Ptrace, Bash, SecondUser)]
fn the_reference_tracer_is_right_about_everything() {
    let output = run(&["--json", "-"]);
    let tracer = checked(&output);
    assert_eq!(code(&output), 0, "{:#?}", tracer.runs);
    assert_eq!(tracer.runs.iter().map(|row| row.trouble).collect::<Vec<_>>(), Trouble::ALL);
    let behaviour = |trouble| tracer.runs.iter().find(|row| row.trouble == trouble).unwrap().behaviour;
    for row in &tracer.runs {
        assert_eq!(row.verdict, BehaviourVerdict::Right, "{row:#?}");
    }
    assert_eq!(behaviour(Trouble::Nothing), Behaviour::Completes);
    assert_eq!(behaviour(Trouble::TupleTimeWait), Behaviour::Skips);
    assert_eq!(behaviour(Trouble::SourceNotLocal), Behaviour::Aborts);
    assert_eq!(tracer.like[0].policy, "evidence");
    assert_eq!(tracer.like[0].agrees, tracer.like[0].of);
}

#[rstest(Namespaces, Ptrace, Bash)]
#[case("conflate", &[(Trouble::SourceNotLocal, Behaviour::SkipsInVain, Consequence::Hides)])]
#[case("addr-in-use-only", &[
    (Trouble::TupleSynSent, Behaviour::Aborts, Consequence::GivesUp),
    (Trouble::TupleEstablished, Behaviour::Aborts, Consequence::GivesUp),
    (Trouble::TupleTimeWait, Behaviour::Aborts, Consequence::GivesUp),
])]
fn a_wrong_policy_is_caught_doing_what_it_does_wrong_and_nothing_else(
    #[case] name: &str,
    #[case] expected: &[(Trouble, Behaviour, Consequence)],
) {
    let (place, fake) = profile(&with_policy(name), 60);
    let inferred = place.path().join("inferred.toml");
    let mut arguments = vec![&*fake, "--json", "-", "--policy-out", inferred.to_str().unwrap()];
    for trouble in Trouble::ALL.iter().filter(|trouble| **trouble != Trouble::EveryPortHeld) {
        arguments.extend(["--trouble", trouble.as_str()]);
    }
    let output = run(&arguments);
    let tracer = checked(&output);
    let expected = expected.iter().map(|&(trouble, behaviour, kind)| (trouble, (behaviour, Some(kind)))).collect();
    assert_eq!(wrong(&tracer), expected, "{:#?}", tracer.runs);
    assert_eq!(code(&output), 1);
    // What it was seen doing is what its policy says, and a policy file says it again.
    let own = tracer.like.iter().find(|like| like.policy == name).unwrap();
    assert_eq!(own.agrees, own.of, "{:#?}", tracer.habits);
    let other = tracer.like.iter().find(|like| like.policy == "evidence").unwrap();
    assert!(other.agrees < other.of, "{:#?}", tracer.habits);
    let text = std::fs::read_to_string(inferred).unwrap();
    policy::read("inferred.toml", text.leak()).unwrap_or_else(|problem| panic!("{problem}"));
}

/// Whose file it is shows in its first line: a policy of somebody's own is not lost to what was seen.
#[test(Namespaces, Ptrace, Bash)]
fn a_policy_that_somebody_wrote_is_not_overwritten() {
    let (place, fake) = profile(&with_policy("evidence"), 60);
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let own = "format = \"errnoscope-policy/1\"\nname = \"mine\"\n";
    std::fs::write(path("mine.toml"), own).unwrap();
    std::fs::write(path("empty.toml"), "").unwrap();
    let out = |file: &str| run(&[&fake, "--trouble", "none", "--policy-out", file]);
    let refused = out(&path("mine.toml"));
    assert_eq!(code(&refused), 2);
    assert!(text(&refused.stderr).contains("errnoscope check did not write it"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_to_string(path("mine.toml")).unwrap(), own);
    for file in ["empty.toml", "new.toml", "new.toml"] {
        assert_eq!(code(&out(&path(file))), 0, "{file}");
        assert!(std::fs::read_to_string(path(file)).unwrap().starts_with("# Seen by `errnoscope check`"), "{file}");
    }
    let named = out("evidence");
    assert_eq!(code(&named), 2);
    assert!(text(&named.stderr).contains("a built-in policy is called so"), "{}", text(&named.stderr));
    let two = run(&[&fake, &fake, "--policy-out", &path("two.toml")]);
    assert_eq!((code(&two), two.stdout.len()), (2, 0), "before anything runs");
}

/// A path may be that of the tracer itself.
#[test(Namespaces, Ptrace, Bash)]
fn a_program_is_the_tracer_that_is_called_so() {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("errnoscope");
    crate::common::copy_program(PROGRAM, &program);
    let output = run(&[program.to_str().unwrap(), "--trouble", "none", "--json", "-"]);
    let tracer = checked(&output);
    assert_eq!((code(&output), &*tracer.name, &tracer.command[0]), (0, "errnoscope", &program.display().to_string()));
    let other = place.path().join("mytrace");
    std::fs::rename(program, &other).unwrap();
    let refused = run(&[other.to_str().unwrap()]);
    assert_eq!(code(&refused), 2);
    assert!(
        text(&refused.stderr).contains("none of the known tracers is called `mytrace`"),
        "{}",
        text(&refused.stderr)
    );
}

/// What a tracer says about itself is the first line with a number, however much it says, and nobody waits for more.
#[rstest(Namespaces, Ptrace, Bash)]
#[case(&["echo", "mytrace 1.2"], "mytrace 1.2")]
#[case(&["yes", "1"], "1")]
#[case(&["yes"], "")]
#[case(&["sleep", "1d"], "")]
#[case(&["sh", "-c", "echo v3; sleep 1d"], "v3")]
#[case(&["setsid", "sh", "-c", "echo v4; sleep 20"], "")]
#[case(&["/nonexistent/program", "1"], "")]
fn a_version_command_that_never_ends_ends(#[case] command: &[&str], #[case] version: &str) {
    let (_place, fake) = profile(&with_policy("evidence"), 60);
    let text = std::fs::read_to_string(&fake).unwrap();
    std::fs::write(&fake, format!("{text}version = {command:?}\n")).unwrap();
    let output = run(&[&fake, "--trouble", "none", "--json", "-"]);
    assert_eq!(checked(&output).version, version, "{}", self::text(&output.stderr));
}

/// The reference tracer where all is well, and something else where it fails.
#[rstest(Namespaces, Ptrace, Bash)]
#[case("while :; do : </dev/tcp/224.0.0.1/1; done 2>/dev/null", Behaviour::Spins)]
#[case("sleep 100", Behaviour::Hangs)]
#[case("exec yes", Behaviour::Hangs)]
#[case("kill -SEGV $$", Behaviour::Crashes)]
#[case("exit 0", Behaviour::EndsSilently)]
#[case("exit 7", Behaviour::EndsSilently)]
#[case("echo 'something went wrong' >&2; exit 7", Behaviour::EndsUnclearly)]
fn what_a_tracer_does_wrong_is_told_apart(#[case] then: &str, #[case] behaviour: Behaviour) {
    let script = format!("{PROGRAM} trace \"$@\" 2>/dev/null && exit 0; {then}");
    let (_place, fake) =
        profile(&["bash", "-c", &script, "fake", "-n", "-p", "{port}", "--initial-sequence", "{first}", "{target}"], 4);
    let output = run(&[&fake, "--trouble", "source-not-local", "--json", "-"]);
    let tracer = checked(&output);
    assert_eq!(wrong(&tracer).keys().collect::<Vec<_>>(), [&Trouble::SourceNotLocal], "{:#?}", tracer.runs);
    assert_eq!(wrong(&tracer)[&Trouble::SourceNotLocal].0, behaviour, "{:#?}", tracer.runs);
    assert_eq!(code(&output), 1);
}

#[test(Namespaces, Ptrace, Bash)]
fn what_does_not_meet_a_trouble_is_never_right() {
    // Its source ports are others than the profile says.
    let command = [PROGRAM, "trace", "-n", "-p", "{port}", "--initial-sequence", "50000", "{target}"];
    let (_place, fake) = profile(&command, 20);
    let output = run(&[&fake, "--trouble", "tuple-time-wait", "--json", "-"]);
    let verdicts: Vec<BehaviourVerdict> = checked(&output).runs.iter().map(|row| row.verdict).collect();
    assert_eq!((verdicts, code(&output)), (vec![BehaviourVerdict::Right, BehaviourVerdict::NotExercised], 0));
}

/// What lies in the caller's directory, or in HOME, is not the tracer's configuration; what its profile names is found.
#[test(Namespaces, Ptrace, Bash)]
fn files_of_the_caller_are_not_those_of_the_tracer() {
    let place = tempfile::tempdir().unwrap();
    let script = format!(
        "for place in . ~ \"${{XDG_CONFIG_HOME:-.}}\"; do\n\
             if [ -n \"$(ls -A \"$place\")\" ]; then echo \"in $place there is $(ls -A \"$place\")\" >&2; exit 1; fi\n\
         done\n\
         touch here && [ -e ~/here ] || exit 1\n\
         exec {PROGRAM} trace \"$@\"\n"
    );
    std::fs::write(place.path().join("mytrace.sh"), script).unwrap();
    std::fs::write(place.path().join("mytrace.conf"), "no configuration").unwrap();
    let words = ["bash", "mytrace.sh", "-n", "-p", "{port}", "--initial-sequence", "{first}", "{target}"];
    let (_profile, fake) = profile(&words, 20);
    let mut command = Command::new(PROGRAM);
    command.args(["check", &fake, "--trouble", "tuple-time-wait", "--json", "-"]).current_dir(&place);
    let output = command.env("HOME", place.path()).env("XDG_CONFIG_HOME", place.path()).output().unwrap();
    let tracer = checked(&output);
    assert_eq!(tracer.command[..2], ["bash", "mytrace.sh"]);
    let verdicts: Vec<BehaviourVerdict> = tracer.runs.iter().map(|row| row.verdict).collect();
    assert_eq!(verdicts, [BehaviourVerdict::Right; 2], "{:#?}", tracer.runs);
}

/// Nobody knows better than a tracer why it does not work.
#[rstest(Namespaces, Ptrace, Bash)]
#[case(
    "echo 'cannot parse line 2:' >&2; echo '  in /etc/x.toml' >&2; exit 1",
    "said cannot parse line 2: in /etc/x.toml why it does not find"
)]
#[case(
    "echo 'Error: privileges are required' >&2; exit 1",
    "said Error: privileges are required why it needs privileges"
)]
#[case("seq 1 9 >&2; exit 1", "said 1 2 … 8 9 why it does not find")]
#[case("echo 'usage: mytrace'; exit 1", "said usage: mytrace why it does not find the path even without trouble")]
fn a_tracer_that_does_not_work_speaks_first(#[case] script: &str, #[case] expected: &str) {
    let (_place, fake) = profile(&["bash", "-c", script, "{target}"], 20);
    let output = run(&[&fake]);
    let said = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(code(&output), 4);
    assert!(said.contains(expected), "{said}");
}

/// A policy that was seen on one system says nothing about another, and nothing about what was not seen.
#[test]
fn what_was_not_seen_is_not_judged() {
    let place = tempfile::tempdir().unwrap();
    let file = results().into_iter().find(|file| file.ends_with("trippy-0.13.0.json")).unwrap();
    let seen = place.path().join("trippy-0.13.0.seen.toml");
    let (file, seen) = (file.to_str().unwrap(), seen.to_str().unwrap());
    assert_eq!(code(&run(&["--results", file, "--policy-out", seen])), 1);
    let report = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/baselines/linux-6.18.json.gz");
    let mut command = Command::new(PROGRAM);
    command.args(["policy", "evaluate", report.to_str().unwrap(), "-p", seen]);
    let output = command.env("COLUMNS", "80").output().unwrap();
    let said = text(&output.stdout);
    assert_eq!(code(&output), 1, "{said}{}", text(&output.stderr));
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    let macos: Vec<&Vec<&str>> = rows.iter().filter(|row| row.first() == Some(&"macos‡") && row.len() == 7).collect();
    assert!(macos.len() > 3, "{said}");
    for row in macos {
        // EINPROGRESS alone is judged: it says the same everywhere.
        assert!(["·", "0"].contains(&row[3]) && ["·", "0"].contains(&row[4]), "{said}");
    }
    let linux = rows.iter().find(|row| row.starts_with(&["linux", "tuple-in-use"])).unwrap();
    assert_ne!(linux[4], "·", "{said}");
    assert!(said.contains("was seen on linux only") && said.contains("macos‡  not seen there"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80 || line.contains('[')), "{said}");
}

/// Lines that the runner reads, and a summary, say what is wrong; with a baseline, what is new.
#[test]
fn github_is_told_what_is_wrong_and_with_a_baseline_what_changed() {
    let place = tempfile::tempdir().unwrap();
    let summary = place.path().join("summary.md");
    let file = results().into_iter().find(|file| file.ends_with("trippy-0.13.0.json")).unwrap();
    let file = file.to_str().unwrap();
    let told = |arguments: &[&str]| {
        std::fs::write(&summary, "").unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("check").args(arguments).arg("--github").env("GITHUB_STEP_SUMMARY", &summary);
        let output = command.output().unwrap();
        let lines =
            text(&output.stdout).lines().filter(|line| line.starts_with("::error")).map(str::to_owned).collect();
        (code(&output), lines, std::fs::read_to_string(&summary).unwrap())
    };
    let (exit, lines, summary): (_, Vec<String>, _) = told(&["--results", file]);
    assert_eq!(exit, 1);
    assert!(
        lines.iter().any(|line| line.contains("title=trippy 0.13.0%2C tuple-time-wait%3A aborts%2C wrong")),
        "{lines:?}"
    );
    assert!(summary.contains("| trippy 0.13.0 | tuple-time-wait | aborts | wrong: gives-up |"), "{summary}");
    let (exit, lines, summary) = told(&["--results", file, "--baseline", file]);
    assert_eq!((exit, lines.len()), (0, 0), "{lines:?}");
    assert!(summary.contains("wrong: gives-up (as in the baseline)"), "{summary}");
}

#[test(Namespaces, Ptrace, Bash)]
fn a_tracer_that_cannot_be_run_or_finds_nothing_says_nothing_about_troubles() {
    for (command, why) in [
        (vec!["no-such-tracer", "{target}"], "none not-run broken none why cannot run `no-such-tracer`: ENOENT"),
        (vec!["true", "{target}"], "is its profile right?"),
    ] {
        let (_place, fake) = profile(&command, 20);
        let output = run(&[&fake]);
        assert_eq!(code(&output), 4);
        let said = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(why) && said.ends_with("1 run: 1 broken"), "{said}");
    }
}

/// Another user takes subordinate ids, which an account without a name never has.
#[test(Root)]
fn what_a_host_cannot_make_is_told_and_is_no_fault_of_the_tracers() {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&place, Permissions::from_mode(0o777)).unwrap();
    let program = place.path().join("errnoscope");
    crate::common::copy_program(PROGRAM, &program);
    let baseline = place.path().join("baseline.json");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/tracers/errnoscope.json"), &baseline).unwrap();
    let mut command = Command::new(program);
    command.args(["check", "--trouble", "port-of-other-user", "--baseline"]).arg(baseline);
    command.uid(65_534).gid(65_534).env("TMPDIR", place.path()).current_dir("/");
    let output = command.output().unwrap();
    let said = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(code(&output), 0, "{said}{}", text(&output.stderr));
    assert!(said.contains("port-of-other-user not-run not-exercised"), "{said}");
    assert!(
        said.contains("this host has no second-user: ") && said.ends_with("no change since the baseline"),
        "{said}"
    );
}

/// One signal, as a supervisor sends it: neither the tracer nor a file is left.
#[test(Namespaces, Ptrace, Bash)]
fn an_interrupted_check_leaves_nothing() {
    let (place, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name = place.path().join("{target}.began");
    let (_profile, fake) = profile(&["bash", "-c", "echo >\"$0\"; sleep 100", name.to_str().unwrap()], 60);
    let began = place.path().join("10.77.5.2.began");
    let mark = format!("check-of-{}", std::process::id());
    let mut command = Command::new(PROGRAM);
    command.args(["check", &fake]).current_dir(&place).env(MARK, &mark).env("TMPDIR", temporary.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while !began.exists() {
        assert!(Instant::now() < patience, "it never ran");
        sys::pause_ms(2.0);
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stdout)), (130, String::new()));
    assert!(text(&output.stderr).contains("interrupted: while fake ran under none"), "{}", text(&output.stderr));
    while !marked(&mark).is_empty() {
        assert!(Instant::now() < patience, "{:?}", marked(&mark));
        sys::pause_ms(2.0);
    }
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "temporary files");
}

/// SIGKILL as well: the world goes with it, and what it writes has no name.
#[rstest(Namespaces, Ptrace, Bash)]
#[case::root(None)]
#[case::ordinary(Some(65_534))]
fn a_killed_check_leaves_nothing(#[case] user: Option<u32>) {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&place, Permissions::from_mode(0o777)).unwrap();
    let (program, temporary) = (place.path().join("errnoscope"), place.path().join("tmp"));
    crate::common::copy_program(PROGRAM, &program);
    std::fs::create_dir(&temporary).unwrap();
    std::fs::set_permissions(&temporary, Permissions::from_mode(0o777)).unwrap();
    let name = place.path().join("{target}.began");
    let (_profile, fake) = profile(&["bash", "-c", "echo >\"$0\"; sleep 100", name.to_str().unwrap()], 60);
    let own = place.path().join("fake.toml");
    std::fs::copy(fake, &own).unwrap();
    let (began, mark) = (place.path().join("10.77.5.2.began"), format!("killed-{user:?}-{}", std::process::id()));
    let mut command = Command::new(&program);
    command.arg("check").arg(&own).current_dir(&place).env(MARK, &mark).env("TMPDIR", &temporary);
    if let Some(user) = user.filter(|_| sys::effective_uid() == 0) {
        command.uid(user).gid(user);
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while !began.exists() {
        assert!(Instant::now() < patience, "it never ran");
        sys::pause_ms(2.0);
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    // The tracer alone would go on for longer.
    while !marked(&mark).is_empty() {
        assert!(Instant::now() < patience, "{:?}", marked(&mark));
        sys::pause_ms(2.0);
    }
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "temporary files");
}

#[test]
fn a_profile_with_a_fault_and_a_name_that_nobody_has_are_told() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("bad.toml");
    std::fs::write(
        &file,
        "format = \"errnoscope-tracer/1\"\nname = \"bad\"\ncommand = [\"x\", \"{host}\"]\ntimeout_s = 1\n",
    )
    .unwrap();
    let output = run(&[file.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(code(&output), 2);
    assert!(said.contains("bad.toml:3:17") && said.contains("unknown place `{host}`"), "{said}");
    let output = run(&["tripy"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("unknown tracer `tripy`; did you mean trippy"), "{}", text(&output.stderr));
    let output = run(&["--trouble", "tuple-timewait"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("did you mean tuple-time-wait"), "{}", text(&output.stderr));
}

/// The committed results.
fn results() -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/tracers");
    let mut files: Vec<PathBuf> = std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

#[test]
fn the_committed_text_is_what_the_committed_results_render_to() {
    let mut arguments = vec!["--markdown".to_owned()];
    arguments.extend(results().iter().flat_map(|file| ["--results".to_owned(), file.to_str().unwrap().to_owned()]));
    let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
    let committed = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("TRACERS.md")).unwrap();
    assert_eq!(text(&output.stdout), committed, "TRACERS.md is not what ci/tracers/*.json say");
}

#[test]
fn results_fit_their_schema_and_are_held_against_others() {
    let schema = jsonschema::validator_for(&check::schema()).unwrap();
    for file in results() {
        let value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert!(schema.is_valid(&value), "{}: {:?}", file.display(), schema.iter_errors(&value).next());
    }
    let file = results().into_iter().find(|file| file.ends_with("errnoscope.json")).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(code(&run(&["--results", file, "--baseline", file])), 0);
    let mut check: Check = check::read(&std::fs::read_to_string(file).unwrap()).unwrap();
    let row = check.tracers[0].runs.iter_mut().find(|row| row.trouble == Trouble::TupleTimeWait).unwrap();
    (row.behaviour, row.verdict) = (Behaviour::Aborts, BehaviourVerdict::Wrong);
    let place = tempfile::tempdir().unwrap();
    let worse = place.path().join("worse.json");
    std::fs::write(&worse, serde_json::to_string(&check).unwrap()).unwrap();
    let output = run(&["--results", worse.to_str().unwrap(), "--baseline", file]);
    assert_eq!(code(&output), 1);
    let said = text(&output.stdout);
    assert!(said.contains("tuple-time-wait  skips (right) → aborts (wrong)"), "{said}");
    // What a wrong behaviour does may change as well; and what the baseline has is shown in short.
    let mut both = check.clone();
    for (check, kind) in [(&mut check, Consequence::GivesUp), (&mut both, Consequence::Hides)] {
        check.tracers[0].runs.iter_mut().find(|row| row.trouble == Trouble::TupleTimeWait).unwrap().kind = Some(kind);
    }
    let (hides, gives_up) = (place.path().join("hides.json"), place.path().join("gives-up.json"));
    std::fs::write(&hides, serde_json::to_string(&both).unwrap()).unwrap();
    std::fs::write(&gives_up, serde_json::to_string(&check).unwrap()).unwrap();
    let output = run(&["--results", gives_up.to_str().unwrap(), "--baseline", hides.to_str().unwrap()]);
    assert_eq!(code(&output), 1);
    let said = text(&output.stdout);
    assert!(said.contains("aborts (wrong: hides) → aborts (wrong: gives-up)") && said.contains("    why"), "{said}");
    let output = run(&["--results", hides.to_str().unwrap(), "--baseline", hides.to_str().unwrap()]);
    let said = text(&output.stdout);
    assert!(code(&output) == 0 && !said.contains("    why"), "{said}");
    let output = run(&["--results", "Cargo.toml"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("Cargo.toml:1:"), "{}", text(&output.stderr));
}
