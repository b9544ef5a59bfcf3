//! A policy as a function in a programming language, for tracers that decide by it.
//!
//! Each rule is an `if` in its order, below a comment that says what it rests on. What comes out needs nothing but the
//! language. It does not judge the policy.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::knowledge::policy::{Action, Forced, Policy, ProbeCall, Rule};
use crate::words::errno::ErrnoName;
use crate::words::names::{Family, Os, PortChoice, Protocol, Reuse, words};
use crate::words::untrusted::Text;

words! {
    /// What a policy can be exported to.
    Language {
        /// A module without dependencies.
        Rust = "rust",
        /// A package of the standard library alone.
        Go = "go",
        /// A header of C99.
        C = "c",
        /// A module of Python 3.
        Python = "python",
    }
}

/// The columns that a comment may take.
const WIDTH: usize = 100;

/// A field of a signal, or what a policy says, with all of its values. Its type is called as it is, with a capital.
struct Field {
    name: &'static str,
    says: &'static str,
    values: Vec<&'static str>,
}

fn fields() -> [Field; 6] {
    [
        Field { name: "os", says: "the system that the tracer runs on", values: names(Os::ALL, Os::as_str) },
        Field {
            name: "call",
            says: "the call that failed; SO_ERROR is what a connect that went on has left",
            values: names(ProbeCall::ALL, ProbeCall::as_str),
        },
        Field {
            name: "port",
            says: "explicit if the socket had its source port before the call, ephemeral if the kernel picks one in it",
            values: names(PortChoice::ALL, PortChoice::as_str),
        },
        Field { name: "protocol", says: "of the probe", values: names(Protocol::ALL, Protocol::as_str) },
        Field { name: "family", says: "of the target", values: names(Family::ALL, Family::as_str) },
        Field {
            name: "reuse",
            says: "SO_REUSEADDR and SO_REUSEPORT of the probe's socket",
            values: names(Reuse::ALL, Reuse::as_str),
        },
    ]
}

fn names<T: Copy>(all: &'static [T], name: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().copied().map(name).collect()
}

/// All that has a type of its own.
fn types() -> impl Iterator<Item = Field> {
    fields().into_iter().chain([Field { name: "action", says: ACTIONS, values: names(Action::ALL, Action::as_str) }])
}

const ACTIONS: &str = "Skip: the next port. FailProbe: this probe is lost. Abort: a real error, stop. Proceed: \
                       nothing is wrong.";

/// The policy as a file of that language.
pub fn code(policy: &Policy, language: Language) -> String {
    match language {
        Language::Rust => rust(policy),
        Language::Go => go(policy),
        Language::C => c(policy),
        Language::Python => python(policy),
    }
}

/// What the file begins with, in sentences.
fn head(policy: &Policy, language: Language) -> Vec<String> {
    vec![
        format!("The policy {}: what a tracer does when a call of a probe has failed.", Text::from(&*policy.name)),
        format!("{}", Text::from(&*policy.why)),
        format!("Made by `errnoscope policy export --lang {language}`. The first rule that applies decides."),
    ]
}

/// Why a rule is there, and what it rests on.
fn grounds(rule: &Rule) -> Vec<String> {
    let mut lines = vec![Text::from(&*rule.why).to_string()];
    if let Some(Forced { observed, xnu_run, expected, example }) = &rule.forced {
        let counted = [(observed, "observed"), (xnu_run, "of XNU's code"), (expected, "expected")];
        let counted = counted.iter().filter(|(count, _)| **count > 0).map(|(count, of)| format!("{count} {of}"));
        let counted: Vec<String> = counted.collect();
        if !counted.is_empty() {
            let example = Text::from(&**example);
            lines.push(format!("Without it wrong for {} findings, such as {example}.", counted.join(", ")));
        }
    }
    lines
}

/// Paragraphs as a comment, each line behind a mark.
fn comment(paragraphs: &[String], mark: &str) -> String {
    let mut text = String::new();
    // Ids stay in one piece.
    let options = textwrap::Options::new(WIDTH).word_splitter(textwrap::WordSplitter::NoHyphenation).break_words(false);
    for paragraph in paragraphs {
        for line in textwrap::wrap(paragraph, &options) {
            // At its end a backslash, of which C has a second spelling, would make the next line a comment, too.
            let end = if line.ends_with('\\') || line.ends_with("??/") { "." } else { "" };
            let _ = writeln!(text, "{}", format!("{mark} {line}{end}").trim_end());
        }
    }
    text
}

/// `fail-probe` as `FailProbe`, `SO_ERROR` as `SoError`.
fn camel(word: &str) -> String {
    word.split(['-', '_'])
        .map(|part| {
            let (first, rest) = part.split_at(part.len().min(1));
            first.to_uppercase() + &rest.to_lowercase()
        })
        .collect()
}

/// `fail-probe` as `FAIL_PROBE`.
fn upper(word: &str) -> String {
    word.to_uppercase().replace('-', "_")
}

/// The errnos that rules name, each with its number on every OS; a number that no call gives where the OS lacks it.
fn errnos(policy: &Policy) -> Vec<(&'static str, Vec<i32>)> {
    let named: BTreeSet<ErrnoName> = policy.rules.iter().flat_map(|rule| rule.when.errno.iter().copied()).collect();
    let numbers = |errno: ErrnoName| Os::ALL.iter().map(|&os| errno.raw(os).unwrap_or(-1)).collect();
    named.into_iter().map(|errno| (errno.as_str(), numbers(errno))).collect()
}

/// The rules in that language, each below its grounds: `one` writes a condition, `rule` an action behind all of them.
/// A rule without any applies always.
fn rules(
    policy: &Policy,
    mark: &str,
    one: impl Fn(&str, &[&str]) -> String,
    rule: impl Fn(&str, &[String]) -> String,
) -> String {
    let each = |own: &Rule| {
        let when: Vec<String> = own.when.entries().iter().map(|(field, values)| one(field, values)).collect();
        comment(&grounds(own), mark) + &rule(own.action.as_str(), &when)
    };
    policy.rules.iter().map(each).collect()
}

/// Whether the function looks at its argument at all.
fn has_conditions(policy: &Policy) -> bool {
    policy.rules.iter().any(|rule| !rule.when.is_empty())
}

fn list<T: ToString>(values: impl IntoIterator<Item = T>, between: &str) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(between)
}

/// Above the numbers of errnos.
fn numbered() -> String {
    format!("Numbers on {}; -1 where the system has no such errno.", list(names(Os::ALL, Os::as_str), " and "))
}

fn rust(policy: &Policy) -> String {
    let mut text = comment(&head(policy, Language::Rust), "//!");
    let errnos = errnos(policy);
    for Field { name, says, values } in types() {
        let (name, says) = (camel(name), comment(&[sentence(says)], "///"));
        let variants = list(values.iter().map(|value| format!("    {},\n", camel(value))), "");
        let _ =
            write!(text, "\n{says}#[derive(Clone, Copy, Debug, PartialEq, Eq)]\npub enum {name} {{\n{variants}}}\n");
    }
    text.push_str("\n/// What the tracer knows of the failed call.\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\n");
    text.push_str("pub struct Signal {\n");
    for Field { name, .. } in fields() {
        let _ = writeln!(text, "    pub {name}: {},", camel(name));
    }
    let _ = writeln!(text, "    /// As the system numbers it.\n    pub errno: i32,\n}}\n\n// {}", numbered());
    for (name, all) in &errnos {
        let _ = writeln!(text, "const {name}: [i32; {}] = [{}];", all.len(), list(all, ", "));
    }
    let signal = if has_conditions(policy) { "signal" } else { "_" };
    let _ = writeln!(text, "\n/// What to do about it.\npub fn action({signal}: &Signal) -> Action {{");
    if !errnos.is_empty() {
        let width = Os::ALL.len();
        let _ = writeln!(
            text,
            "    let is = |errnos: &[[i32; {width}]]| errnos.iter().any(|errno| errno[signal.os as usize] == signal.errno);"
        );
    }
    let one = |field: &str, values: &[&str]| match (field, values) {
        ("errno", _) => format!("is(&[{}])", list(values, ", ")),
        (_, [only]) => format!("signal.{field} == {}::{}", camel(field), camel(only)),
        _ => {
            let values = values.iter().map(|value| format!("{}::{}", camel(field), camel(value)));
            format!("matches!(signal.{field}, {})", list(values, " | "))
        }
    };
    let rule = |action: &str, when: &[String]| {
        let action = camel(action);
        let line = format!("    if {} {{", list(when, " && "));
        match when {
            [] => format!("    Action::{action}\n"),
            _ if line.len() <= WIDTH => format!("{line}\n        return Action::{action};\n    }}\n"),
            _ => {
                let when = list(when, "\n        && ");
                format!("    if {when}\n    {{\n        return Action::{action};\n    }}\n")
            }
        }
    };
    text.push_str(&rules(policy, "    //", one, rule));
    text.push_str("}\n");
    text
}

fn go(policy: &Policy) -> String {
    let mut text = comment(&head(policy, Language::Go), "//");
    let errnos = errnos(policy);
    text.push_str("package policy\n");
    let rules = go_rules(policy);
    if !errnos.is_empty() || rules.contains("slices.") {
        text.push_str("\nimport \"slices\"\n");
    }
    for Field { name, says, values } in types() {
        let name = camel(name);
        let says = comment(&[format!("{name}: {says}")], "//");
        let _ = write!(text, "\n{says}type {name} string\n\nconst (\n");
        for value in values {
            let _ = writeln!(text, "\t{name}{} {name} = \"{value}\"", camel(value));
        }
        text.push_str(")\n");
    }
    text.push_str("\n// Signal is what the tracer knows of the failed call.\ntype Signal struct {\n");
    for Field { name, .. } in fields() {
        let _ = writeln!(text, "\t{0} {0}", camel(name));
    }
    text.push_str("\t// Errno is the number that the system has for it.\n\tErrno int\n}\n");
    let _ = writeln!(text, "\n// {}", numbered());
    for (name, all) in &errnos {
        let numbers = Os::ALL.iter().zip(all).map(|(os, number)| format!("Os{}: {number}", camel(os.as_str())));
        let _ = writeln!(text, "var {} = map[Os]int{{{}}}", name.to_lowercase(), list(numbers, ", "));
    }
    text.push_str("\n// Decide says what to do about it.\nfunc Decide(signal Signal) Action {\n");
    if !errnos.is_empty() {
        text.push_str("\tis := func(errnos ...map[Os]int) bool {\n");
        text.push_str("\t\treturn slices.ContainsFunc(errnos, func(errno map[Os]int) bool {\n");
        text.push_str("\t\t\tnumber, known := errno[signal.Os]\n\t\t\treturn known && number == signal.Errno\n");
        text.push_str("\t\t})\n\t}\n");
    }
    text.push_str(&rules);
    text.push_str("}\n");
    text
}

fn go_rules(policy: &Policy) -> String {
    let one = |field: &str, values: &[&str]| match (field, values) {
        ("errno", _) => format!("is({})", list(values.iter().map(|value| value.to_lowercase()), ", ")),
        (_, [only]) => format!("signal.{0} == {0}{1}", camel(field), camel(only)),
        _ => {
            let (kind, values) = (camel(field), values.iter().map(|value| camel(field) + &camel(value)));
            format!("slices.Contains([]{kind}{{{}}}, signal.{kind})", list(values, ", "))
        }
    };
    let rule = |action: &str, when: &[String]| match (when, camel(action)) {
        ([], action) => format!("\treturn Action{action}\n"),
        (_, action) => format!("\tif {} {{\n\t\treturn Action{action}\n\t}}\n", list(when, " &&\n\t\t")),
    };
    rules(policy, "\t//", one, rule)
}

fn c(policy: &Policy) -> String {
    let mut text = comment(&head(policy, Language::C), "//");
    let errnos = errnos(policy);
    text.push_str("#ifndef TRACER_POLICY_H\n#define TRACER_POLICY_H\n\n#include <stdbool.h>\n#include <stddef.h>\n");
    for Field { name, says, values } in types() {
        let variants = list(values.iter().map(|value| format!("    {}_{},\n", upper(name), upper(value))), "");
        let _ = write!(text, "\n{}enum tracer_{name} {{\n{variants}}};\n", comment(&[sentence(says)], "//"));
    }
    text.push_str("\n// What the tracer knows of the failed call.\nstruct tracer_signal {\n");
    for Field { name, .. } in fields() {
        let _ = writeln!(text, "    enum tracer_{name} {name};");
    }
    text.push_str("    // As the system numbers it.\n    int error;\n};\n");
    let width = Os::ALL.len();
    if !errnos.is_empty() {
        let _ = writeln!(
            text,
            "\nstatic inline bool tracer_is(const struct tracer_signal *signal, const int (*errors)[{width}], size_t count) {{\n\
             \x20   for (size_t index = 0; index < count; index++) {{\n        if (errors[index][signal->os] == signal->error) \
             {{\n            return true;\n        }}\n    }}\n    return false;\n}}"
        );
    }
    text.push_str("\n// What to do about it.\n");
    text.push_str("static inline enum tracer_action tracer_decide(const struct tracer_signal *signal) {\n");
    if !has_conditions(policy) {
        text.push_str("    (void)signal;\n");
    }
    let one = |field: &str, values: &[&str]| match field {
        "errno" => {
            // Numbers stand here, since <errno.h> has only those of the system that compiles it.
            let numbers = errnos.iter().filter(|(name, _)| values.contains(name));
            let rows = numbers.map(|(name, all)| format!("{{{}}} /* {name} */", list(all, ", ")));
            format!("tracer_is(signal, (const int[][{width}]){{{}}}, {})", list(rows, ", "), values.len())
        }
        _ => {
            let values = values.iter().map(|value| format!("signal->{field} == {}_{}", upper(field), upper(value)));
            format!("({})", list(values, " || "))
        }
    };
    let rule = |action: &str, when: &[String]| match (when, upper(action)) {
        ([], action) => format!("    return ACTION_{action};\n"),
        (_, action) => {
            format!("    if ({}) {{\n        return ACTION_{action};\n    }}\n", list(when, "\n        && "))
        }
    };
    text.push_str(&rules(policy, "    //", one, rule));
    text.push_str("}\n\n#endif\n");
    text
}

fn python(policy: &Policy) -> String {
    let mut text = comment(&head(policy, Language::Python), "#");
    let errnos = errnos(policy);
    text.push_str("import enum\nfrom typing import NamedTuple\n");
    for Field { name, says, values } in types() {
        let _ = write!(text, "\n\n{}class {}(enum.Enum):\n", comment(&[sentence(says)], "#"), camel(name));
        for value in values {
            let _ = writeln!(text, "    {} = \"{value}\"", upper(value));
        }
    }
    text.push_str("\n\n# What the tracer knows of the failed call.\nclass Signal(NamedTuple):\n");
    for Field { name, .. } in fields() {
        let _ = writeln!(text, "    {name}: {}", camel(name));
    }
    let _ = writeln!(text, "    errno: int  # as the system numbers it\n\n\n# {}", numbered());
    for (name, all) in &errnos {
        let numbers = Os::ALL.iter().zip(all).map(|(os, number)| format!("Os.{}: {number}", upper(os.as_str())));
        let _ = writeln!(text, "{name} = {{{}}}", list(numbers, ", "));
    }
    text.push_str("\n\ndef decide(signal: Signal) -> Action:\n    \"\"\"What to do about it.\"\"\"\n");
    let one = |field: &str, values: &[&str]| match (field, values) {
        ("errno", [only]) => format!("signal.errno == {only}[signal.os]"),
        ("errno", _) => {
            format!("signal.errno in ({})", list(values.iter().map(|value| format!("{value}[signal.os]")), ", "))
        }
        (_, [only]) => format!("signal.{field} is {}.{}", camel(field), upper(only)),
        _ => {
            let values = values.iter().map(|value| format!("{}.{}", camel(field), upper(value)));
            format!("signal.{field} in ({})", list(values, ", "))
        }
    };
    let rule = |action: &str, when: &[String]| match (when, upper(action)) {
        ([], action) => format!("    return Action.{action}\n"),
        (_, action) => format!("    if {}:\n        return Action.{action}\n", list(when, " and ")),
    };
    text + &rules(policy, "    #", one, rule)
}

/// A phrase as a sentence; sentences stay as they are.
fn sentence(says: &str) -> String {
    if says.ends_with('.') {
        return says.to_owned();
    }
    let (first, rest) = says.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}
