//! Bad scenario files: each fault is found, at its place, with what was expected. No kernel, no privileges.

use crate::harness::{rstest, test};
use errnoscope::render;
use errnoscope::scenario::{self, Problem};
use errnoscope::suite::catalogue::Catalogue;

const GOOD: &str = r#"claim = "A bound port cannot be bound again"
id = "bind.twice"
why = "The shortest scenario there is."
cause = "port-in-use"

[axes]
protocol = ["tcp", "udp"]
reuse = ["none", "addr"]

[[exclude]]
when = { protocol = "udp", reuse = "addr" }
why = "another rule holds there"

[facts]
shared = { reuse = "addr" }

[values]
address = [{ when = { protocol = "tcp" }, is = "127.0.0.1" }, { is = "127.0.0.2" }]

[[setup]]
hold = { socket = "holder", state = "bound", protocol = "$protocol", address = "$address", port = 20000, reuse = "$reuse" }

[[setup]]
open = { socket = "claimer", protocol = "$protocol", family = "ipv4", reuse = "$reuse" }

[[subject]]
bind = { socket = "claimer", address = "$address", port = 20000 }

[[subject.precondition]]
socket = { socket = "holder", protocol = "$protocol", state = "bound" }

[[subject.expect]]
os = ["linux", "macos"]
when = { shared = false }
outcome = "EADDRINUSE"
authority = "posix"
ref = "bind(), POSIX.1-2024"

[[subject.expect]]
os = "linux"
outcome = "ok"
authority = "kernel-source"
ref = "inet_bind_conflict(), net/ipv4/inet_connection_sock.c"

[[subject.expect]]
os = "macos"
outcome = "unknown"
why = "nobody has looked"
"#;

fn problems(text: &str) -> Vec<Problem> {
    match scenario::read("bad.toml", String::leak(text.to_owned())) {
        Ok(scenario) => scenario::check(&scenario),
        Err(problems) => problems,
    }
}

#[test]
fn the_good_one_is_good() {
    assert_eq!(problems(GOOD), []);
}

/// One replacement, the place of the fault as `line:column`, what the message says, and what it says would be right.
#[rstest]
#[case::syntax("[axes]", "[axes", "6:6", "unclosed table", "")]
#[case::unknown_key("why = \"The", "wyh = \"The", "3:1", "unknown key `wyh`", "claim, id, why")]
#[case::missing_key("claim = \"A bound port cannot be bound again\"\n", "", "1:1", "missing key `claim`", "")]
#[case::wrong_type("[\"tcp\", \"udp\"]", "\"tcp\"", "7:12", "invalid type: string", "")]
#[case::bad_id("\"bind.twice\"", "\"bind\"", "2:6", "`bind` is no scenario id", "bind.port-held")]
#[case::unknown_cause("port-in-use", "port-in-yous", "4:9", "unknown variant `port-in-yous`", "")]
#[case::unknown_axis_value("\"udp\"]", "\"udb\"]", "7:20", "unknown value `udb` of axis `protocol`", "tcp, udp")]
#[case::value_twice("[\"none\", \"addr\"]", "[\"none\", \"none\", \"addr\"]", "8:18", "lists `none` twice", "")]
#[case::unknown_axis(
    "when = { protocol = \"udp\"",
    "when = { protocl = \"udp\"",
    "11:10",
    "unknown axis `protocl`",
    "the axes are protocol, reuse"
)]
#[case::unknown_value_in_condition(
    "reuse = \"addr\" }\nwhy",
    "reuse = \"adr\" }\nwhy",
    "11:28",
    "unknown value `adr`",
    "none, addr"
)]
#[case::unknown_fact("{ shared = false }", "{ sharde = false }", "34:10", "unknown fact `sharde`", "shared")]
#[case::name_taken("shared =", "protocol =", "15:1", "the name `protocol` is taken", "")]
#[case::excludes_nothing(
    "when = { protocol = \"udp\", reuse",
    "when = { not = { reuse = [\"none\", \"addr\"] }, reuse",
    "11:8",
    "excludes nothing",
    ""
)]
#[case::unknown_op("hold = {", "hodl = {", "21:1", "unknown op `hodl`; did you mean hold?", "open, serve, hold")]
#[case::two_ops(
    "open = { socket",
    "listen = { socket = \"x\" }\nopen = { socket",
    "25:1",
    "unknown key `open`",
    "one op an entry"
)]
#[case::unknown_argument("port = 20000, reuse", "prt = 20000, reuse", "21:92", "unknown field `prt`", "")]
#[case::port_too_large("port = 20000 }", "port = 70000 }", "27:59", "invalid value: integer `70000`", "")]
#[case::not_an_address("is = \"127.0.0.1\"", "is = \"localhost\"", "18:48", "invalid IP address syntax", "")]
#[case::unknown_reference(
    "\"$address\", port = 20000 }",
    "\"$adress\", port = 20000 }",
    "27:40",
    "unknown reference `$adress`",
    "protocol, reuse, address"
)]
#[case::reference_to_itself("is = \"127.0.0.1\"", "is = \"$address\"", "18:48", "`$address` refers to itself", "")]
#[case::no_row(
    "{ is = \"127.0.0.2\" }",
    "{ when = { protocol = \"tcp\" }, is = \"127.0.0.2\" }",
    "21:80",
    "no row of `address` applies",
    ""
)]
#[case::impossible_state(
    "state = \"bound\", protocol = \"$protocol\", address",
    "state = \"listening\", protocol = \"$protocol\", address",
    "20:1",
    "no udp socket is ever in the state listening",
    ""
)]
#[case::empty_range(
    "bind = { socket = \"claimer\", address = \"$address\", port = 20000 }",
    "fill = { how = \"bind\", protocol = \"tcp\", address = \"$address\", low = 40000, high = 30000 }",
    "27:8",
    "the range 40000-30000 is empty",
    ""
)]
#[case::empty_range_that_is_witnessed(
    "socket = { socket = \"holder\", protocol = \"$protocol\", state = \"bound\" }",
    "full = { protocol = \"$protocol\", family = \"ipv4\", low = 20001, high = 20000 }",
    "30:8",
    "the range 20001-20000 is empty",
    ""
)]
#[case::empty_range_of_a_socket(
    "open = { socket = \"claimer\", protocol = \"$protocol\", family = \"ipv4\", reuse = \"$reuse\" }",
    "set-option = { socket = \"holder\", option = { local-port-range = [40000, 30000] } }",
    "24:44",
    "the range 40000-30000 is empty",
    ""
)]
#[case::range_with_port_0(
    "socket = { socket = \"holder\", protocol = \"$protocol\", state = \"bound\" }",
    "full = { protocol = \"$protocol\", family = \"ipv4\", low = 0, high = 20000 }",
    "30:8",
    "begins at 1",
    ""
)]
#[case::range_without_an_end(
    "socket = { socket = \"holder\", protocol = \"$protocol\", state = \"bound\" }",
    "full = { protocol = \"$protocol\", family = \"ipv4\", low = 1 }",
    "30:8",
    "missing field `high`",
    ""
)]
#[case::range_with_more(
    "socket = { socket = \"holder\", protocol = \"$protocol\", state = \"bound\" }",
    "full = { protocol = \"$protocol\", family = \"ipv4\", low = 1, high = 2, fre = 1 }",
    "30:70",
    "unknown field `fre`",
    ""
)]
#[case::nothing_is_witnessed(
    "[[subject.precondition]]\nsocket = {",
    "[[subject.precondition]]\nwhen = { protocol = \"tcp\" }\nsocket = {",
    "26:1",
    "nothing witnesses bind of bind.twice[protocol=udp,reuse=none]",
    "unwitnessed = "
)]
#[case::witnessed_and_unwitnessed(
    "[[subject.precondition]]\nsocket = {",
    "unwitnessed = \"it is not\"\n[[subject.precondition]]\nsocket = {",
    "29:15",
    "every case has a precondition",
    "leave it out"
)]
#[case::no_reason(
    "[[subject.precondition]]\nsocket = {",
    "unwitnessed = \" \"\n[[subject.precondition]]\nwhen = { protocol = \"tcp\" }\nsocket = {",
    "29:15",
    "is a sentence",
    ""
)]
#[case::a_subject_without_its_socket(
    "bind = { socket = \"claimer\"",
    "bind = { socket = \"claimr\"",
    "27:19",
    "no op before this call makes a socket `claimr`",
    "there are claimer, holder"
)]
#[case::a_precondition_of_no_socket(
    "socket = { socket = \"holder\"",
    "socket = { socket = \"holdr\"",
    "30:21",
    "makes a socket `holdr`",
    "there are claimer, holder"
)]
#[case::a_setup_op_without_its_socket(
    "[[subject]]\nbind",
    "[[setup]]\nlisten = { socket = \"holdr\" }\n\n[[subject]]\nbind",
    "27:21",
    "makes a socket `holdr`",
    "there are claimer, holder"
)]
#[case::said_why_nothing_is_witnessed(
    "[[subject.precondition]]\nsocket = {",
    "unwitnessed = \"udp has no states\"\n[[subject.precondition]]\nwhen = { protocol = \"tcp\" }\nsocket = {",
    "",
    "",
    ""
)]
#[case::unknown_os("\"macos\"]\nwhen", "\"maccos\"]\nwhen", "33:6", "unknown os `maccos`; did you mean macos?", "")]
#[case::unknown_errno(
    "\"EADDRINUSE\"",
    "\"EADDRINUSED\"",
    "35:11",
    "unknown outcome `EADDRINUSED`; did you mean EADDRINUSE?",
    ""
)]
#[case::bad_release(
    "outcome = \"ok\"",
    "kernel = \"6.x.y.z\"\noutcome = \"ok\"",
    "41:10",
    "no range of kernel releases",
    ">=6.17"
)]
#[case::unknown_need(
    "outcome = \"ok\"",
    "need = \"selinuks\"\noutcome = \"ok\"",
    "41:8",
    "unknown need `selinuks`; did you mean selinux?",
    ""
)]
#[case::only_where_something_is_offered(
    "outcome = \"ok\"",
    "need = \"selinux\"\noutcome = \"ok\"",
    "26:1",
    "no rule covers bind",
    "add a rule"
)]
#[case::no_reference("ref = \"bind(), POSIX.1-2024\"\n", "", "32:1", "takes `authority` and `ref`", "")]
#[case::unknown_with_authority(
    "why = \"nobody has looked\"",
    "authority = \"posix\"\nref = \"x\"",
    "45:1",
    "unknown outcome takes `why`",
    ""
)]
#[case::never_applies(
    "outcome = \"ok\"",
    "when = { shared = false }\noutcome = \"ok\"",
    "39:1",
    "can never apply",
    "an earlier rule"
)]
#[case::not_covered("when = { shared = false }\n", "when = { shared = false, protocol = \"udp\" }\n", "", "", "")]
#[case::no_rule_for_macos(
    "os = \"macos\"\noutcome = \"unknown\"\nwhy = \"nobody has looked\"",
    "os = \"linux\"\nkernel = \"<3.0\"\noutcome = \"unknown\"\nwhy = \"x\"",
    "26:1",
    "no rule covers bind of bind.twice[protocol=tcp,reuse=addr] on macos",
    "add a rule"
)]
fn a_fault_is_found_at_its_place(
    #[case] from: &str,
    #[case] to: &str,
    #[case] place: &str,
    #[case] message: &str,
    #[case] help: &str,
) {
    assert!(GOOD.contains(from), "the good file has `{from}`");
    let found = problems(&GOOD.replacen(from, to, 1));
    if message.is_empty() {
        // Still covered: the later rules take over.
        assert_eq!(found, []);
        return;
    }
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    let fits = |problem: &&Problem| {
        let (line, column) = problem.line_and_column();
        format!("{line}:{column}") == place
            && problem.message.contains(message)
            && (problem.message.contains(help) || problem.help.as_ref().is_some_and(|said| said.contains(help)))
    };
    let problem = found.iter().find(fits).unwrap_or_else(|| panic!("not found at {place}: {message}; {shown:#?}"));
    let rendered = render::problem::problem(problem, &annotate_snippets::Renderer::plain());
    assert!(rendered.contains(&format!("bad.toml:{place}")), "{rendered}");
}

#[test]
fn two_scenarios_cannot_have_one_id() {
    let other = GOOD.replacen("A bound port", "Another bound port", 1);
    let files = [("a.toml".to_owned(), GOOD), ("b.toml".to_owned(), &*String::leak(other))];
    let problems = Catalogue::read(&files).expect_err("both say bind.twice");
    assert_eq!(
        problems[0].to_string(),
        "b.toml:2:6: the id `bind.twice` is taken; a.toml:2 has it; ids are unique and never change"
    );
}

/// A condition on the kernel's release must leave no release uncovered.
#[test]
fn releases_are_covered_without_a_gap() {
    let gap = GOOD
        .replacen("outcome = \"ok\"", "kernel = \"<6.17\"\noutcome = \"ok\"", 1)
        .replace("os = \"macos\"\noutcome", "os = \"linux\"\nkernel = \">=6.18\"\noutcome = \"ok\"\nauthority = \"posix\"\nref = \"x\"\n\n[[subject.expect]]\nos = \"macos\"\noutcome");
    let found = problems(&gap);
    assert!(found.iter().any(|problem| problem.message.contains("no rule covers")), "{found:#?}");
    assert_eq!(problems(&gap.replace(">=6.18", ">=6.17")), []);
}
