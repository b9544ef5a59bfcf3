//! `run --on`: workers behind commands. Shell scripts play the hosts: some carry the lines as they should, some put
//! noise between them, and some go wrong in every way that a remote host can.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{needs, rstest, test};
use errnoscope::plan::Outcome;
use errnoscope::report::finding::{Finding, Report, Verdict};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

needs!(Namespaces);

const PROGRAM: &str = env!("CARGO_BIN_EXE_errnoscope");

/// Nothing here takes so long unless it hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Forty cases that take no time.
const QUICK: &str = r#"claim = "A port above the privileged ones can be bound"
id = "bind.free-port"
why = "The simplest thing that can work."
cause = "none"

[axes]
protocol = ["tcp", "udp"]
part = ["a", "b", "c", "d"]
again = ["1", "2", "3", "4", "5"]

[[setup]]
open = { socket = "claimer", protocol = "$protocol", family = "ipv4" }

[[subject]]
bind = { socket = "claimer", address = "127.0.0.1", port = 20000 }
unwitnessed = "nobody is in the way"

[[subject.expect]]
os = ["linux", "macos"]
outcome = "ok"
authority = "posix"
ref = "bind()"
"#;

/// One case, whose accept has nobody to wait for.
const BLOCKED: &str = r#"claim = "Nobody connects"
id = "connect.nobody"
why = "Waits are multiplied."
cause = "no-answer"
deadline_ms = 1000

[axes]
family = ["ipv4"]

[[setup]]
serve = { socket = "listener", address = "127.0.0.1", port = 20000, backlog = 0 }

[[setup]]
open = { socket = "first", protocol = "tcp", family = "ipv4" }

[[setup]]
connect = { socket = "first", address = "127.0.0.1", port = 20000 }

[[setup]]
open = { socket = "claimer", protocol = "tcp", family = "ipv4" }

[[subject]]
connect = { socket = "claimer", address = "127.0.0.1", port = 20000, wait_ms = 30 }
unwitnessed = "nothing shows that nobody answers"

[[subject.expect]]
os = ["linux", "macos"]
outcome = "blocked"
authority = "posix"
ref = "connect()"
"#;

/// A directory with scenarios and the scripts that play hosts, gone with the value.
struct Stage(TempDir);

impl Stage {
    fn new(scenario: &str) -> Stage {
        let stage = Stage(tempfile::tempdir().unwrap());
        fs::create_dir(stage.path("scenarios")).unwrap();
        fs::write(stage.path("scenarios/a.toml"), scenario).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command for `--on`: this script, whose arguments are the worker's program and its argument.
    fn host(&self, name: &str, script: &str) -> String {
        let path = self.path(name);
        fs::write(&path, script).unwrap();
        format!("sh {}", path.display())
    }

    fn command(&self, hosts: &[&str], more: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--scenarios").arg(self.path("scenarios"));
        for host in hosts {
            command.args(["--on", host]);
        }
        command.args(["--remote-binary", PROGRAM]).args(more).current_dir(self.0.path()).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, hosts: &[&str], more: &[&str]) -> Said {
        Said::of(self.command(hosts, more).output().unwrap())
    }

    fn report(&self, name: &str) -> Report {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Runs on one host and gives its findings.
    #[track_caller]
    fn findings(&self, host: &str, more: &[&str], code: i32) -> Vec<Finding> {
        let said = self.run(&[host], &[&["--json", "report.json"], more].concat());
        assert_eq!(said.code, code, "{said:?}");
        self.report("report.json").findings
    }
}

#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Said { code: output.status.code().unwrap_or(-1), out, err }
    }
}

fn verdicts(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.verdict() == verdict).count()
}

/// What these hosts say beside the protocol changes nothing.
#[rstest]
#[case::carries(r#"exec "$@""#)]
#[case::greets("echo 'Welcome to a host with a message of the day'\necho 'really' >&2\nexec \"$@\"")]
#[case::ends_lines_as_terminals_do(r#""$@" | sed -u 's/$/\r/'"#)]
#[case::kernel_messages_in_between(r#""$@" | sed -u 'i [    1.234567] random: crng init done {"protocol":1}\r'"#)]
#[case::noise_on_the_same_line(r#""$@" | sed -u 's/^/[    0.9] Freeing unused kernel image /'"#)]
#[case::is_a_terminal(r#"exec script -qec "$1 $2" /dev/null"#)]
#[case::noise_on_the_way_there(r#"sed -u 'i ~ # a shell prompt' | "$@""#)]
fn a_host_that_carries_the_lines_is_as_good_as_this_one(#[case] script: &str) {
    let stage = Stage::new(QUICK);
    let findings = stage.findings(&stage.host("host", script), &[], 0);
    let names: Vec<(String, &str)> =
        findings.iter().map(|finding| (finding.case.to_string(), finding.outcome_name())).collect();
    let here = Said::of(
        Command::new(PROGRAM)
            .args(["run", "--json", "here.json", "--scenarios", "scenarios"])
            .current_dir(&stage.0)
            .output()
            .unwrap(),
    );
    assert_eq!(here.code, 0, "{here:?}");
    let here = stage.report("here.json");
    let expected: Vec<(String, &str)> =
        here.findings.iter().map(|finding| (finding.case.to_string(), finding.outcome_name())).collect();
    assert_eq!(names, expected);
    assert_eq!(names.len(), 40);
}

/// These never give a worker: there is no report, and the message has what they said.
#[rstest]
#[case::silent_and_content("exit 0", "the worker ended before it said hello: exit code 0")]
#[case::fails(
    "echo 'ssh: Could not resolve hostname mac' >&2\nexit 255",
    "exit code 255; it said: ssh: Could not resolve hostname mac"
)]
#[case::says_something_else("echo 'Segmentation fault'\nexit 0", "exit code 0; it said: Segmentation fault")]
#[case::is_killed("kill -KILL $$", "the worker ended before it said hello")]
#[case::hangs("echo 'Booting the kernel.'\nsleep 1000", "said nothing for 1 s; it said: Booting the kernel.")]
#[case::sends_half_a_hello("printf '\\036{\"protocol\":2,'\nexit 0", "the worker ended before it said hello")]
#[case::sends_something_marked("printf '\\036hello\\n'\ncat", "not of the protocol")]
#[case::is_older("printf '\\036{\"protocol\":1,\"os\":\"linux\"}\\n'\ncat", "speaks protocol 1, this program 5")]
#[case::is_newer("printf '\\036{\"protocol\":9,\"more\":true}\\n'\ncat", "speaks protocol 9, this program 5")]
fn a_host_without_a_worker_is_an_error_with_its_words(#[case] script: &str, #[case] message: &str) {
    no_worker(script, "1", message);
}

/// What answers is said, and what to do about it.
#[rstest]
#[case::there_is_no_such_program(
    "exec /no/such/errnoscope worker",
    "exit code 127 (there is no such program there: --remote-binary"
)]
#[case::it_is_of_another_architecture(
    "printf '\\177ELF\\002\\001\\001' > other; chmod +x other; exec ./other worker",
    "exit code 126 (the program there cannot be run: of another architecture"
)]
#[case::a_login_shell(
    "printf 'Last login: today\\n$ '; sleep 1000",
    "said nothing for 1 s; it said: Last login: today | $"
)]
#[case::a_web_server("printf 'HTTP/1.1 400 Bad Request\\r\\n\\r\\n'", "it said: HTTP/1.1 400 Bad Request")]
#[case::binary_junk(
    "printf '\\000\\001\\377\\376junk\\033[2J'",
    "ended before it said hello: exit code 0; it said: ��junk[2J"
)]
#[case::json_of_somebody_else(
    "printf '\\036{\"jsonrpc\":\"2.0\"}\\n'; cat",
    "not of the protocol: a hello without a protocol"
)]
fn what_is_no_worker_is_told_as_what_it_is(#[case] script: &str, #[case] message: &str) {
    no_worker(script, "1", message);
}

/// Findings of two kinds of hosts never stand in one report.
#[test]
fn a_worker_of_another_architecture_takes_no_others_place() {
    let stage = Stage::new(QUICK);
    let script = r#"if mkdir once 2> /dev/null; then "$@" | sed -u 10q
        else "$@" | sed -u '1s/"arch":"[^"]*"/"arch":"m68k"/'; fi"#;
    let findings = stage.findings(&stage.host("host", script), &[], 4);
    assert_eq!((verdicts(&findings, Verdict::Broken), verdicts(&findings, Verdict::Match)), (31, 9));
    let last = findings.last().and_then(|finding| finding.reason()).unwrap_or_default();
    assert!(last.contains(" m68k, isolation netns, the first one ran on linux "), "{last}");
}

/// How much they say ends it, and not for how long.
#[rstest]
#[case::lines("exec yes 'no end to it'", "bytes and no message among them; it said: no end to it")]
#[case::one_line("exec cat /dev/zero", "bytes and no message among them")]
fn a_host_that_babbles_is_an_error(#[case] script: &str, #[case] message: &str) {
    no_worker(script, "3600", message);
}

#[track_caller]
fn no_worker(script: &str, wait: &str, message: &str) {
    let stage = Stage::new(QUICK);
    let host = stage.host("host", script);
    let said = stage.run(&[&host], &["--wait", wait, "--json", "report.json"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains(message), "{said:?}");
    assert!(said.err.contains(&host), "which host it was: {said:?}");
    assert!(!stage.path("report.json").exists(), "a report of a host that never was: {said:?}");
}

/// A host that is lost again and again costs a case each time, and every other case is run.
#[test]
fn a_host_that_dies_costs_one_case() {
    let stage = Stage::new(QUICK);
    // The hello and nine answers.
    let findings = stage.findings(&stage.host("host", "\"$@\" | sed -u 10q\necho 'out of memory' >&2"), &[], 4);
    assert_eq!((verdicts(&findings, Verdict::Broken), verdicts(&findings, Verdict::Match)), (4, 36));
    let broken: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict() == Verdict::Broken).collect();
    for finding in broken {
        let reason = finding.reason().unwrap_or_default();
        assert!(reason.contains("the worker ended") && reason.contains("out of memory"), "{reason}");
    }
}

#[test]
fn a_host_that_always_dies_is_given_up() {
    let stage = Stage::new(QUICK);
    let script = format!("echo start >> {}\n\"$@\" | sed -u 1q", stage.path("starts").display());
    let findings = stage.findings(&stage.host("host", &script), &[], 4);
    assert_eq!(verdicts(&findings, Verdict::Broken), 40);
    let starts = fs::read_to_string(stage.path("starts")).unwrap().lines().count();
    assert_eq!(starts, 5, "it was started for ever and ever");
    let last = findings.last().and_then(|finding| finding.reason()).unwrap_or_default();
    assert!(last.contains("in a row were lost"), "{last}");
}

/// A host that cannot be had a second time leaves what it gave, and the rest as broken.
#[test]
fn a_host_that_does_not_come_back_leaves_what_it_gave() {
    let stage = Stage::new(QUICK);
    let once = stage.path("once");
    let script = format!("mkdir {} || exit 7\n\"$@\" | sed -u 10q", once.display());
    let findings = stage.findings(&stage.host("host", &script), &[], 4);
    assert_eq!((verdicts(&findings, Verdict::Broken), verdicts(&findings, Verdict::Match)), (31, 9));
    let last = findings.last().and_then(|finding| finding.reason()).unwrap_or_default();
    assert!(last.contains("no worker") && last.contains("exit code 7"), "{last}");
}

#[rstest]
#[case::falls_silent(r#""$@" | { sed -u 1q; sleep 1000; }"#, "said nothing for 2 s")]
#[case::answers_in_another_tongue(r#""$@" | sed -u '1!s/.*/\x1eyes/'"#, "not of the protocol")]
#[case::cuts_answers_short(r#""$@" | sed -u '1!s/.\{20\}$//'"#, "not of the protocol")]
#[case::answers_about_something_else(
    r#""$@" | sed -u '1!s/connect.nobody/connect.somebody/'"#,
    "an answer about `connect.somebody"
)]
#[case::says_each_step_twice(
    r#""$@" | sed -u '1!s/"steps":\[\(.*\)\]}$/"steps":[\1,\1]}/'"#,
    "not of the protocol: step 0 twice"
)]
#[case::knows_other_steps(
    r#""$@" | sed -u '1!s/"step":1,/"step":7777,/'"#,
    "not of the protocol: step 7777 of a plan of"
)]
#[case::leaves_steps_out(
    r#""$@" | sed -u '1!s/"step":1,/"step":2,/'"#,
    "not of the protocol: step 2 where step 1 was due"
)]
#[case::answers_more_than_it_was_asked(
    r#""$@" | sed -u '1!s/"micros"/"after":[{"user":{"uid":0,"net_bind_service":true}}],"micros"/'"#,
    "not of the protocol: step 0: 1 answers to 0 questions"
)]
#[case::says_what_another_op_gives(
    r#""$@" | sed -u '1!s/"micros":[0-9.]*/&,"detail":{"bytes":{"count":1}}/'"#,
    "not of the protocol: step 0: a detail of another op"
)]
#[case::gives_the_plans_of_others(
    r#""$@" | sed -u '1!s/"number":1/"number":4/'"#,
    "an answer about `connect.nobody[family=ipv4]`, plan 4, where `connect.nobody[family=ipv4]`, plan 1, was due"
)]
#[case::says_that_success_has_a_number(
    r#""$@" | sed -u '1!s/{"blocked_ms":30}/{"errno":"ECONNREFUSED","raw":0}/'"#,
    "step 6: `ECONNREFUSED` with the number 0, which is no errno"
)]
#[case::takes_one_errno_for_another(
    r#""$@" | sed -u '1!s/{"blocked_ms":30}/{"errno":"ECONNREFUSED","raw":61}/'"#,
    "step 6: `ECONNREFUSED` with the number 61, and on linux that is `ENODATA`"
)]
#[case::does_not_wait(
    r#""$@" | sed -u '1!s/"blocked_ms":30/"blocked_ms":3/'"#,
    "step 6: blocked after 3 ms, and `connect` waits for 30 ms"
)]
#[case::blocks_in_what_never_does(
    r#""$@" | sed -u '1!s/\("step":1,"result":{"outcome":{\)"ok":true/\1"blocked_ms":100/'"#,
    "step 1: blocked, and `bind` does not wait"
)]
#[case::goes_on_after_the_end(
    r#""$@" | sed -u '1!s/\("step":1,"result":{"outcome":{\)"ok":true/\1"errno":"EPERM","raw":1/'"#,
    "step 2, and step 1 has ended the case"
)]
#[case::does_not_say_the_end(r#""$@" | sed -u '1!s/,{"step":6.*\]/]/'"#, "the case is done, and step 6 is missing")]
#[case::has_nothing_to_say(
    r#""$@" | sed -u '1!s/"steps":\[.*/"steps":[]}/'"#,
    "the case is done, and step 0 is missing"
)]
#[case::gives_up_too_early(
    r#""$@" | sed -u '1!s/"fate":"done"/"fate":{"timed-out":{"ms":999}}/'"#,
    "the case ended early, at a deadline of 999 ms, and it has 1000 ms"
)]
#[case::has_names_of_another_family(
    r#""$@" | sed -u '1!s/"names":{"local":"127.0.0.1:20000"/"names":{"local":"[::1]:20000"/'"#,
    "step 1: the socket `listener` has the name [::1]:20000"
)]
#[case::has_no_end_of_steps(
    r#"steps=$(yes '{"step":0,"result":{"failed":""},"micros":0},' | head -n 100000 | tr -d '\n')
    "$@" | { sed -u 1q; sed -u 's/"steps":.*//' | while IFS= read -r line; do
        printf '%s"steps":[%s%s]}\n' "$line" "$steps" '{"step":0,"result":{"failed":""},"micros":0}'
    done; }"#,
    "not of the protocol: a list of more than 4096"
)]
fn an_answer_that_is_none_is_broken(#[case] script: &str, #[case] reason: &str) {
    let stage = Stage::new(BLOCKED);
    let findings = stage.findings(&stage.host("host", script), &["--wait", "1"], 4);
    assert_eq!(verdicts(&findings, Verdict::Broken), 1);
    let said = findings[0].reason().unwrap_or_default();
    assert!(said.contains(reason), "{said}");
}

/// The second of two equal answers stands in the place of the next case's, which it costs, and no other.
#[test]
fn an_answer_that_comes_twice_is_no_other_cases() {
    let stage = Stage::new(QUICK);
    let script = r#""$@" | if mkdir once 2> /dev/null; then sed -u 2p; else exec cat; fi"#;
    let findings = stage.findings(&stage.host("host", script), &[], 4);
    assert_eq!((verdicts(&findings, Verdict::Broken), verdicts(&findings, Verdict::Match)), (1, 39));
    let broken = findings.iter().find(|finding| finding.verdict() == Verdict::Broken).unwrap();
    assert!(broken.reason().unwrap_or_default().contains("not of the protocol: an answer about"), "{broken:?}");
}

/// Of the last case nothing is due after its answer.
#[rstest]
#[case::the_same_again("2p")]
#[case::another(r#"2s/$/\n\x1e{"case":"x"}/"#)]
fn an_answer_that_nobody_asked_for_costs_the_last_case(#[case] script: &str) {
    let stage = Stage::new(BLOCKED);
    let findings = stage.findings(&stage.host("host", &format!("\"$@\" | sed -u '{script}'")), &[], 4);
    let reason = findings[0].reason().unwrap_or_default();
    assert!(findings.len() == 1 && reason.contains("not of the protocol: more than it was asked for: {"), "{reason}");
}

/// Each run of a case has an answer of its own.
#[test]
fn an_answer_that_comes_twice_is_no_other_runs() {
    let stage = Stage::new(BLOCKED);
    let script = r#""$@" | if mkdir once 2> /dev/null; then sed -u 3p; else exec cat; fi"#;
    let findings = stage.findings(&stage.host("host", script), &["--repeat", "5"], 4);
    let counts = &findings[0].distribution().unwrap();
    assert_eq!(counts.outcomes["blocked"], 4, "{counts:?}");
    assert!(findings[0].reason().unwrap_or_default().contains("plan 2, where"), "{:?}", findings[0].reason());
}

/// The worker's words are kept as far as anybody reads them.
#[rstest]
#[case::of_a_fate(r#""fate":{"exited":{"code":3,"message":"%s"}},"steps":[]}"#)]
#[case::without_a_step(r#""fate":"done","steps":[{"step":0,"result":{"failed":"%s"},"micros":0}]}"#)]
#[case::of_a_lack(
    r#""fate":"done","steps":[{"step":0,"result":{"unsupported":{"need":"tun","reason":"%s"}},"micros":0}]}"#
)]
fn long_words_are_cut(#[case] answer: &str) {
    let stage = Stage::new(BLOCKED);
    let script = format!(
        r#"long=$(printf '%02000000d' 0)
        "$@" | {{ sed -u 1q; sed -u 's/"fate":.*//' | while IFS= read -r line; do
            printf '%s{answer}\n' "$line" "$long"
        done; }}"#
    );
    let findings = stage.findings(&stage.host("host", &script), &[], 4);
    let reason = findings[0].reason().unwrap_or_default();
    assert!(reason.contains("0000") && reason.contains('…'), "{:?}", reason.get(..200));
    assert!((60_000..70_000).contains(&reason.len()), "{} bytes", reason.len());
}

/// A process that the host has left behind keeps its pipe open.
#[rstest]
#[case::before_hello("sleep 1000 & echo $! > left\nexit 7", "the worker ended before it said hello: exit code 7")]
#[case::after_it("\"$@\" | sed -u 1q\nsleep 1000 & echo $! > left\nexit 7", "the worker ended: exit code 7")]
fn a_host_that_has_ended_is_not_waited_for(#[case] script: &str, #[case] message: &str) {
    let stage = Stage::new(BLOCKED);
    let begun = Instant::now();
    // Its standard error is a pipe as well.
    let said = stage.run(&[&stage.host("host", script)], &["--wait", "600", "-v"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(format!("{}{}", said.err, said.out.replace("\n  ", "")).contains(message), "{said:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let left: i32 = fs::read_to_string(stage.path("left")).unwrap().trim().parse().unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    // Without a command line it is dead, and nobody has reaped it.
    while fs::read(format!("/proc/{left}/cmdline")).is_ok_and(|words| !words.is_empty()) {
        assert!(Instant::now() < patience, "the run left process {left} behind");
        errnoscope::sys::pause_ms(10.0);
    }
}

/// ssh that asks for a password is in the background, and stopped as soon as it touches the terminal.
#[rstest(Script)]
#[case::reads("read -r password < /dev/tty")]
#[case::hides_what_is_typed("stty -echo < /dev/tty")]
#[case::asks_beside_the_lines("\"$@\" | { sed -u 1q; stty -echo < /dev/tty; cat; }")]
fn a_host_that_asks_at_the_terminal_is_told_from_a_silent_one(#[case] script: &str) {
    let stage = Stage::new(BLOCKED);
    let run = format!(
        "{PROGRAM} run --scenarios scenarios --remote-binary {PROGRAM} --on '{}' --wait 600; echo code $?",
        stage.host("host", script)
    );
    let begun = Instant::now();
    let output = Command::new("script").args(["-qec", &run, "/dev/null"]).current_dir(&stage.0).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("it wanted something from the terminal") && said.ends_with("code 4"), "{said}");
    assert!(said.contains("ssh-agent"), "what to do: {said}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

/// The other side has deadlines, too, and has to know how slow the machine is.
#[test]
fn a_worker_is_told_how_patient_it_may_be() {
    let stage = Stage::new(BLOCKED);
    let host = stage.host("host", "echo \"$@\" > asked\nexec \"$@\"");
    for (patience, end) in [("1", "worker\n"), ("4", "worker --patience 4\n")] {
        stage.findings(&host, &["--patience", patience], 0);
        let asked = fs::read_to_string(stage.path("asked")).unwrap();
        assert!(asked.ends_with(end), "{asked}");
    }
}

/// The host, not this one, says what it offers.
#[test]
fn what_a_host_lacks_is_unsupported_there() {
    let stage =
        Stage::new(&QUICK.replace("\n[axes]", "needs = [{ need = \"tun\", when = { part = \"a\" } }]\n\n[axes]"));
    let lacks = r#"{"available":false,"reason":"no such thing there"}"#;
    let script = format!("\"$@\" | sed -u 's/\"tun\":{{\"available\":[^}}]*}}/\"tun\":{lacks}/'");
    let findings = stage.findings(&stage.host("host", &script), &[], 0);
    assert_eq!((verdicts(&findings, Verdict::Unsupported), verdicts(&findings, Verdict::Match)), (10, 30));
    let unsupported = findings.iter().find(|finding| finding.verdict() == Verdict::Unsupported).unwrap();
    assert!(unsupported.reason().unwrap_or_default().contains("no such thing there"));
}

/// This host gives no answer before it has been sent thirty plans: one that waited for each would wait for ever.
#[test]
fn a_slow_link_is_kept_busy() {
    let stage = Stage::new(QUICK);
    // Answers pass a gate that opens when thirty plans have passed.
    let script = r#"
        { sed -u 30q; : > open; cat; } | "$@" | {
            sed -u 1q
            for i in $(seq 300); do [ -e open ] && exec cat; sleep 0.1; done
        }
    "#;
    let findings = stage.findings(&stage.host("host", script), &[], 0);
    assert_eq!(verdicts(&findings, Verdict::Match), 40);
}

#[test]
fn patience_multiplies_waits() {
    let stage = Stage::new(BLOCKED);
    let host = stage.host("host", "exec \"$@\"");
    for (patience, ms) in [("1", 30), ("4", 120)] {
        let findings = stage.findings(&host, &["--patience", patience], 0);
        assert_eq!(findings[0].outcome(), Some(&Outcome::Blocked { ms }), "with patience {patience}");
    }
}

/// Each of two hosts waits for the other: they run at the same time, and each has a report of its own.
#[test]
fn two_stacks_run_at_once_into_a_directory() {
    let stage = Stage::new(QUICK);
    let meet = |mine: &str, other: &str| {
        format!(": > {mine}\nfor i in $(seq 300); do [ -e {other} ] && exec \"$@\"; sleep 0.1; done\nexit 9")
    };
    let (a, b) = (stage.host("a", &meet("at-a", "at-b")), stage.host("b", &meet("at-b", "at-a")));
    let said = stage.run(&[&a, &b], &["--json", "reports/", "--junit", "junit/"]);
    assert_eq!(said.code, 0, "{said:?}");
    for (directory, extension) in [("reports", ".json.gz"), ("junit", ".xml")] {
        let names: Vec<String> = fs::read_dir(stage.path(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.len() == 2 && names.iter().all(|name| name.ends_with(extension)), "{names:?}");
    }
}

/// What one host lacks is no loss of the other's report.
#[test]
fn a_host_that_fails_leaves_the_others_report() {
    let stage = Stage::new(QUICK);
    let (good, bad) = (stage.host("good", "exec \"$@\""), stage.host("bad", "echo 'no route' >&2\nexit 255"));
    let said = stage.run(&[&bad, &good], &["--json", "reports/"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("no route"), "{said:?}");
    assert_eq!(fs::read_dir(stage.path("reports")).unwrap().count(), 1);
}

#[rstest]
#[case::two_reports_in_one_file(&["--on", "true", "--on", "true", "--json", "one.json"], "name a directory, `one.json/`")]
#[case::two_reports_on_standard_output(&["--on", "true", "--on", "true", "--json", "-"], "name a directory")]
#[case::a_binary_of_no_remote(&["--remote-binary", "x"], "--on")]
#[case::a_stack_of_no_remote(&["--stack", "x"], "--on")]
#[case::fewer_names_than_stacks(&["--on", "true", "--on", "true", "--stack", "x"], "--stack is given 1 times and --on 2")]
#[case::no_patience(&["--patience", "0"], "1..=100")]
fn usage(#[case] arguments: &[&str], #[case] message: &str) {
    let place = tempfile::tempdir().unwrap();
    let said = Said::of(Command::new(PROGRAM).arg("run").args(arguments).current_dir(&place).output().unwrap());
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains(message), "{said:?}");
}

/// Waits for a file that somebody else is to write, and reads it.
#[track_caller]
fn awaited(path: &Path) -> String {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => std::thread::park_timeout(Duration::from_millis(5)),
        }
    }
    panic!("nobody wrote {}", path.display());
}

#[track_caller]
fn ends(child: &mut Child) -> i32 {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let _ = child.kill();
    panic!("it did not end");
}

/// Not by kill(1), which a minimal Debian does not have.
#[track_caller]
fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

#[track_caller]
fn is_gone(pid: &str) {
    let begun = Instant::now();
    let process = Pid::from_raw(pid.trim().parse().unwrap());
    let alive = || kill(process, None).is_ok();
    while alive() {
        assert!(begun.elapsed() < LIMIT, "process {pid} lives on");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The worker is no child of the coordinator's: only the end of its standard input tells it that nobody listens any
/// more.
#[rstest]
#[case::interrupted(Signal::SIGINT, 130)]
#[case::killed(Signal::SIGKILL, -1)]
fn a_coordinator_that_ends_leaves_no_worker(#[case] signal: Signal, #[case] code: i32) {
    let stage = Stage::new(QUICK);
    // Its hello is all that comes through, so that the run cannot end by itself.
    let script = r#"
        exec 5<&0
        { "$@" <&5 & echo $! > worker.part; mv worker.part worker; wait; } | { sed -u 1q; cat > /dev/null; }
    "#;
    let host = stage.host("host", script);
    let mut coordinator = stage.command(&[&host], &["--json", "report.json"]).spawn().unwrap();
    let worker = awaited(&stage.path("worker"));
    send(&coordinator, signal);
    assert_eq!(ends(&mut coordinator), code);
    is_gone(&worker);
}

/// These never look at their standard input.
#[rstest]
#[case::the_command("echo $$ > started.part; mv started.part started; exec sleep 1000")]
#[case::what_it_has_started("sleep 1000 & echo $! > started.part; mv started.part started; wait")]
#[case::with_a_pipe_of_its_own("sleep 1000 | { cat & echo $! > started.part; mv started.part started; wait; }")]
fn a_command_that_does_not_look_is_ended(#[case] script: &str) {
    let stage = Stage::new(QUICK);
    let mut coordinator = stage.command(&[&stage.host("host", script)], &[]).spawn().unwrap();
    let started = awaited(&stage.path("started"));
    send(&coordinator, Signal::SIGKILL);
    assert_eq!(ends(&mut coordinator), -1);
    is_gone(&started);
}

/// What a host says that isolates no case but is a fresh stack each time.
const SANDBOX: &str = r#"1s/"isolation":"netns"/"isolation":"sandbox"/"#;

/// From its second answer on, this host has kept something of the first case: whoever gets a host for himself never
/// sees it.
#[rstest]
#[case::for_one_case_each(SANDBOX, "3", 40)]
#[case::for_all("", "1", 1)]
fn a_host_that_isolates_nothing_is_used_once(#[case] hello: &str, #[case] jobs: &str, #[case] starts: usize) {
    let stage = Stage::new(QUICK);
    let kept = r#"1,2!s/\(.*\)"outcome":{"ok":true}/\1"outcome":{"errno":"EADDRINUSE","raw":98}/"#;
    let script = format!("echo start >> starts\n\"$@\" | sed -u -e '{hello}' -e '{kept}'");
    let said = stage.run(&[&stage.host("host", &script)], &["--json", "report.json", "-j", jobs]);
    let findings = stage.report("report.json").findings;
    assert_eq!((findings.len(), verdicts(&findings, Verdict::Match)), (40, starts), "{said:?}");
    assert_eq!(fs::read_to_string(stage.path("starts")).unwrap().lines().count(), starts);
}

/// None of these hosts answers before there is another one.
#[test]
fn as_many_hosts_as_jobs_run_at_once() {
    let stage = Stage::new(QUICK);
    let script = format!(
        r#"
        echo start >> starts
        "$@" | sed -u '{SANDBOX}' | {{
            sed -u 1q
            for i in $(seq 300); do [ $(wc -l < starts) -ge 2 ] && exec cat; sleep 0.1; done
        }}
        "#
    );
    let findings = stage.findings(&stage.host("host", &script), &["-j", "2"], 0);
    assert_eq!(verdicts(&findings, Verdict::Match), 40);
}

/// One start in three fails: each costs the case that it was for.
#[test]
fn a_host_that_does_not_start_costs_its_case() {
    let stage = Stage::new(QUICK);
    let script = format!(
        "echo start >> starts\n[ $(($(wc -l < starts) % 3)) = 0 ] && echo 'no room' >&2 && exit 7\n\"$@\" | sed -u '{SANDBOX}'"
    );
    let findings = stage.findings(&stage.host("host", &script), &[], 4);
    assert_eq!((verdicts(&findings, Verdict::Broken), verdicts(&findings, Verdict::Match)), (13, 27));
    for finding in findings.iter().filter(|finding| finding.verdict() == Verdict::Broken) {
        let reason = finding.reason().unwrap_or_default();
        assert!(reason.contains("ended before it said hello: exit code 7; it said: no room"), "{reason}");
    }
}

#[test]
fn a_host_that_never_starts_again_is_given_up() {
    let stage = Stage::new(QUICK);
    let script = format!("echo start >> starts\n[ $(wc -l < starts) = 1 ] || exit 7\n\"$@\" | sed -u '{SANDBOX}'");
    let findings = stage.findings(&stage.host("host", &script), &[], 4);
    assert_eq!((verdicts(&findings, Verdict::Broken), verdicts(&findings, Verdict::Match)), (39, 1));
    assert_eq!(fs::read_to_string(stage.path("starts")).unwrap().lines().count(), 6, "one, and five in a row");
    let last = findings.last().and_then(|finding| finding.reason()).unwrap_or_default();
    assert!(last.contains("in a row were lost") && last.contains("exit code 7"), "{last}");
}

/// What passes for Linux is not held against what Linux is expected to do, which the report still tells.
#[rstest]
#[case::says_so_itself(r#"1s/"isolation"/"stack":"lookalike","isolation"/"#, &[], "lookalike", "unknown")]
#[case::is_said_to(r#"1s/"isolation"/"stack":"lookalike","isolation"/"#, &["--stack", "lookalike 2.0"], "lookalike 2.0", "unknown")]
#[case::is_linux("", &[], "linux", "ok")]
fn another_stack_is_not_judged_as_linux(
    #[case] hello: &str,
    #[case] more: &[&str],
    #[case] stack: &str,
    #[case] expected: &str,
) {
    let stage = Stage::new(QUICK);
    let other = r#"1!s/\(.*\)"outcome":{"ok":true}/\1"outcome":{"errno":"EPERM","raw":1}/"#;
    let script = format!("\"$@\" | sed -u -e '{hello}' -e '{other}'");
    let said = stage.run(&[&stage.host("host", &script)], &[&["--json", "reports/"], more].concat());
    let name = fs::read_dir(stage.path("reports")).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    assert!(name.starts_with(&stack.replace(' ', "-")), "{name}");
    let file = fs::File::open(stage.path("reports").join(&name)).unwrap();
    let report: Report = serde_json::from_reader(flate2::read::GzDecoder::new(file)).unwrap();
    assert_eq!((report.host.is_own(), report.host.stack == stack), (expected == "ok", expected != "ok"));
    let last = report.findings.last().unwrap();
    assert_eq!(last.expected()[0].outcome, expected);
    assert_eq!(last.elsewhere.values().next().unwrap()[0].outcome, "ok", "what Linux or macOS is expected to do");
    assert_eq!(last.outcome_name(), "EPERM");
    assert_eq!(
        said.code,
        if expected == "ok" { 1 } else { 0 },
        "a mismatch only where something is expected: {said:?}"
    );
}

/// What ran before the interrupt is in the report, which says that it is not all.
#[test]
fn an_interrupted_run_has_a_report() {
    let stage = Stage::new(QUICK);
    let script = "\"$@\" | { sed -u 10q; echo > answered; cat > /dev/null; }";
    let mut coordinator = stage.command(&[&stage.host("host", script)], &["--json", "report.json"]).spawn().unwrap();
    awaited(&stage.path("answered"));
    // Nine answers are on their way; that they have arrived, nobody says: the run is interrupted until it ends.
    send(&coordinator, Signal::SIGINT);
    assert_eq!(ends(&mut coordinator), 130);
    let report = stage.report("report.json");
    assert!(!report.complete);
    assert!(report.findings.len() <= 9 && verdicts(&report.findings, Verdict::Match) == report.findings.len());
}
