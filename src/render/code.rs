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

/// A field of a signal, with its type's name and all of its values.
struct Field {
    name: &'static str,
    kind: &'static str,
    says: &'static str,
    values: Vec<&'static str>,
}

fn fields() -> [Field; 6] {
    [
        Field {
            name: "os",
            kind: "Os",
            says: "the system that the tracer runs on",
            values: names(Os::ALL, Os::as_str),
        },
        Field {
            name: "call",
            kind: "Call",
            says: "the call that failed; SO_ERROR is what a connect that went on has left",
            values: names(ProbeCall::ALL, ProbeCall::as_str),
        },
        Field {
            name: "port",
            kind: "Port",
            says: "explicit if the socket had its source port before the call, ephemeral if the kernel picks one in it",
            values: names(PortChoice::ALL, PortChoice::as_str),
        },
        Field {
            name: "protocol",
            kind: "Protocol",
            says: "of the probe",
            values: names(Protocol::ALL, Protocol::as_str),
        },
        Field { name: "family", kind: "Family", says: "of the target", values: names(Family::ALL, Family::as_str) },
        Field {
            name: "reuse",
            kind: "Reuse",
            says: "SO_REUSEADDR and SO_REUSEPORT of the probe's socket",
            values: names(Reuse::ALL, Reuse::as_str),
        },
    ]
}

fn names<T: Copy>(all: &'static [T], name: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().copied().map(name).collect()
}

fn actions() -> Vec<&'static str> {
    names(Action::ALL, Action::as_str)
}

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

/// The conditions of a rule in that language; without any it applies always.
fn conditions(rule: &Rule, one: impl Fn(&str, &[&str]) -> String) -> Vec<String> {
    rule.when.entries().into_iter().map(|(field, values)| one(field, &values)).collect()
}

fn kind(field: &str) -> &'static str {
    fields().into_iter().find(|known| known.name == field).map_or("", |known| known.kind)
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
    let kinds = fields().into_iter().map(|field| (field.kind, sentence(field.says), field.values));
    for (name, says, values) in kinds.chain([("Action", ACTIONS.to_owned(), actions())]) {
        let variants = list(values.iter().map(|value| format!("    {},\n", camel(value))), "");
        let says = comment(&[says], "///");
        let _ =
            write!(text, "\n{says}#[derive(Clone, Copy, Debug, PartialEq, Eq)]\npub enum {name} {{\n{variants}}}\n");
    }
    text.push_str("\n/// What the tracer knows of the failed call.\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\n");
    text.push_str("pub struct Signal {\n");
    for Field { name, kind, .. } in fields() {
        let _ = writeln!(text, "    pub {name}: {kind},");
    }
    let _ = writeln!(text, "    /// As the system numbers it.\n    pub errno: i32,\n}}\n\n// {}", numbered());
    for (name, all) in errnos(policy) {
        let _ = writeln!(text, "const {name}: [i32; {}] = [{}];", all.len(), list(all, ", "));
    }
    text.push_str("\n/// What to do about it.\npub fn action(signal: &Signal) -> Action {\n");
    if !errnos(policy).is_empty() {
        let width = Os::ALL.len();
        let _ = writeln!(
            text,
            "    let is = |errnos: &[[i32; {width}]]| errnos.iter().any(|errno| errno[signal.os as usize] == signal.errno);"
        );
    }
    let one = |field: &str, values: &[&str]| match (field, values) {
        ("errno", _) => format!("is(&[{}])", list(values, ", ")),
        (_, [only]) => format!("signal.{field} == {}::{}", kind(field), camel(only)),
        _ => {
            let values = values.iter().map(|value| format!("{}::{}", kind(field), camel(value)));
            format!("matches!(signal.{field}, {})", list(values, " | "))
        }
    };
    for rule in &policy.rules {
        text.push_str(&comment(&grounds(rule), "    //"));
        let (action, when) = (camel(rule.action.as_str()), conditions(rule, one));
        let _ = match when.is_empty() {
            true => writeln!(text, "    Action::{action}"),
            false => {
                let line = format!("    if {} {{", list(&when, " && "));
                let line = match line.len() <= WIDTH {
                    true => line,
                    false => format!("    if {}\n    {{", list(&when, "\n        && ")),
                };
                writeln!(text, "{line}\n        return Action::{action};\n    }}")
            }
        };
    }
    text.push_str("}\n");
    text
}

fn go(policy: &Policy) -> String {
    let mut text = comment(&head(policy, Language::Go), "//");
    text.push_str("package policy\n\nimport \"slices\"\n");
    let kinds = fields().into_iter().map(|field| (field.kind, field.says.to_owned(), field.values));
    for (name, says, values) in kinds.chain([("Action", ACTIONS.to_owned(), actions())]) {
        let says = comment(&[format!("{name}: {says}")], "//");
        let _ = write!(text, "\n{says}type {name} string\n\nconst (\n");
        for value in values {
            let _ = writeln!(text, "\t{name}{} {name} = \"{value}\"", camel(value));
        }
        text.push_str(")\n");
    }
    text.push_str("\n// Signal is what the tracer knows of the failed call.\ntype Signal struct {\n");
    for Field { kind, .. } in fields() {
        let _ = writeln!(text, "\t{kind} {kind}");
    }
    text.push_str("\t// Errno is the number that the system has for it.\n\tErrno int\n}\n");
    let _ = writeln!(text, "\n// {}", numbered());
    for (name, all) in errnos(policy) {
        let numbers = Os::ALL.iter().zip(all).map(|(os, number)| format!("Os{}: {number}", camel(os.as_str())));
        let _ = writeln!(text, "var {} = map[Os]int{{{}}}", name.to_lowercase(), list(numbers, ", "));
    }
    text.push_str("\n// Decide says what to do about it.\nfunc Decide(signal Signal) Action {\n");
    if !errnos(policy).is_empty() {
        text.push_str("\tis := func(errnos ...map[Os]int) bool {\n");
        text.push_str("\t\treturn slices.ContainsFunc(errnos, func(errno map[Os]int) bool {\n");
        text.push_str("\t\t\tnumber, known := errno[signal.Os]\n\t\t\treturn known && number == signal.Errno\n");
        text.push_str("\t\t})\n\t}\n");
    }
    let one = |field: &str, values: &[&str]| match (field, values) {
        ("errno", _) => format!("is({})", list(values.iter().map(|value| value.to_lowercase()), ", ")),
        (_, [only]) => format!("signal.{0} == {0}{1}", kind(field), camel(only)),
        _ => {
            let values = values.iter().map(|value| format!("{}{}", kind(field), camel(value)));
            format!("slices.Contains([]{0}{{{1}}}, signal.{0})", kind(field), list(values, ", "))
        }
    };
    for rule in &policy.rules {
        text.push_str(&comment(&grounds(rule), "\t//"));
        let (action, when) = (camel(rule.action.as_str()), conditions(rule, one));
        let _ = match when.is_empty() {
            true => writeln!(text, "\treturn Action{action}"),
            false => writeln!(text, "\tif {} {{\n\t\treturn Action{action}\n\t}}", list(when, " &&\n\t\t")),
        };
    }
    text.push_str("}\n");
    text
}

fn c(policy: &Policy) -> String {
    let mut text = comment(&head(policy, Language::C), "//");
    text.push_str("#ifndef TRACER_POLICY_H\n#define TRACER_POLICY_H\n\n#include <stdbool.h>\n#include <stddef.h>\n");
    let kinds = fields().into_iter().map(|field| (field.name, sentence(field.says), field.values));
    for (name, says, values) in kinds.chain([("action", ACTIONS.to_owned(), actions())]) {
        let variants = list(values.iter().map(|value| format!("    {}_{},\n", upper(name), upper(value))), "");
        let _ = write!(text, "\n{}enum tracer_{name} {{\n{variants}}};\n", comment(&[says], "//"));
    }
    text.push_str("\n// What the tracer knows of the failed call.\nstruct tracer_signal {\n");
    for Field { name, .. } in fields() {
        let _ = writeln!(text, "    enum tracer_{name} {name};");
    }
    text.push_str("    // As the system numbers it.\n    int error;\n};\n");
    let width = Os::ALL.len();
    if !errnos(policy).is_empty() {
        let _ = writeln!(
            text,
            "\nstatic inline bool tracer_is(const struct tracer_signal *signal, const int (*errors)[{width}], size_t count) {{\n\
             \x20   for (size_t index = 0; index < count; index++) {{\n        if (errors[index][signal->os] == signal->error) \
             {{\n            return true;\n        }}\n    }}\n    return false;\n}}"
        );
    }
    text.push_str("\n// What to do about it.\n");
    text.push_str("static inline enum tracer_action tracer_decide(const struct tracer_signal *signal) {\n");
    let all = errnos(policy);
    let one = |field: &str, values: &[&str]| match field {
        "errno" => {
            // Numbers stand here, since <errno.h> has only those of the system that compiles it.
            let numbers = all.iter().filter(|(name, _)| values.contains(name));
            let rows = numbers.map(|(name, all)| format!("{{{}}} /* {name} */", list(all, ", ")));
            format!("tracer_is(signal, (const int[][{width}]){{{}}}, {})", list(rows, ", "), values.len())
        }
        _ => {
            let values = values.iter().map(|value| format!("signal->{field} == {}_{}", upper(field), upper(value)));
            format!("({})", list(values, " || "))
        }
    };
    for rule in &policy.rules {
        text.push_str(&comment(&grounds(rule), "    //"));
        let (action, when) = (upper(rule.action.as_str()), conditions(rule, one));
        let _ = match when.is_empty() {
            true => writeln!(text, "    return ACTION_{action};"),
            false => {
                writeln!(text, "    if ({}) {{\n        return ACTION_{action};\n    }}", list(when, "\n        && "))
            }
        };
    }
    text.push_str("}\n\n#endif\n");
    text
}

fn python(policy: &Policy) -> String {
    let mut text = comment(&head(policy, Language::Python), "#");
    text.push_str("import enum\nfrom typing import NamedTuple\n");
    let kinds = fields().into_iter().map(|field| (field.kind, sentence(field.says), field.values));
    for (name, says, values) in kinds.chain([("Action", ACTIONS.to_owned(), actions())]) {
        let _ = write!(text, "\n\n{}class {name}(enum.Enum):\n", comment(&[says], "#"));
        for value in values {
            let _ = writeln!(text, "    {} = \"{value}\"", upper(value));
        }
    }
    text.push_str("\n\n# What the tracer knows of the failed call.\nclass Signal(NamedTuple):\n");
    for Field { name, kind, .. } in fields() {
        let _ = writeln!(text, "    {name}: {kind}");
    }
    let _ = writeln!(text, "    errno: int  # as the system numbers it\n\n\n# {}", numbered());
    for (name, all) in errnos(policy) {
        let numbers = Os::ALL.iter().zip(all).map(|(os, number)| format!("Os.{}: {number}", upper(os.as_str())));
        let _ = writeln!(text, "{name} = {{{}}}", list(numbers, ", "));
    }
    text.push_str("\n\ndef decide(signal: Signal) -> Action:\n    \"\"\"What to do about it.\"\"\"\n");
    let one = |field: &str, values: &[&str]| match (field, values) {
        ("errno", [only]) => format!("signal.errno == {only}[signal.os]"),
        ("errno", _) => {
            format!("signal.errno in ({})", list(values.iter().map(|value| format!("{value}[signal.os]")), ", "))
        }
        (_, [only]) => format!("signal.{field} is {}.{}", kind(field), upper(only)),
        _ => {
            let values = values.iter().map(|value| format!("{}.{}", kind(field), upper(value)));
            format!("signal.{field} in ({})", list(values, ", "))
        }
    };
    for rule in &policy.rules {
        text.push_str(&comment(&grounds(rule), "    #"));
        let (action, when) = (upper(rule.action.as_str()), conditions(rule, one));
        let _ = match when.is_empty() {
            true => writeln!(text, "    return Action.{action}"),
            false => writeln!(text, "    if {}:\n        return Action.{action}", list(when, " and ")),
        };
    }
    text
}

const ACTIONS: &str = "Skip: the next port. FailProbe: this probe is lost. Abort: a real error, stop. Proceed: \
                       nothing is wrong.";

fn sentence(says: &str) -> String {
    let (first, rest) = says.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}
