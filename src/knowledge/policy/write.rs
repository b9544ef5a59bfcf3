//! From a [`Policy`] to the TOML text that reads as the same policy.

use super::{Forced, Policy, read::FORMAT};

/// The whole file, behind `head`, whose lines become comments.
pub fn write(policy: &Policy, head: &str) -> String {
    let mut text: String = head.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
    text.push_str(&format!("format = {}\n", quoted(FORMAT)));
    text.push_str(&format!("name = {}\n", quoted(&policy.name)));
    text.push_str(&format!("why = {}\n", quoted(&policy.why)));
    if !policy.seen.is_empty() {
        text.push_str(&entry("seen", policy.seen.iter().map(|os| os.as_str())));
    }
    for rule in &policy.rules {
        text.push_str("\n[[rule]]\n");
        for (name, values) in rule.when.entries() {
            text.push_str(&entry(name, values.into_iter()));
        }
        text.push_str(&format!("action = {}\n", quoted(rule.action.as_str())));
        text.push_str(&format!("why = {}\n", quoted(&rule.why)));
        if let Some(forced) = &rule.forced {
            let Forced { observed, xnu_run, expected, example } = forced;
            let xnu_run = if *xnu_run > 0 { format!("xnu_run = {xnu_run}, ") } else { String::new() };
            let example = quoted(example);
            text.push_str(&format!(
                "forced = {{ observed = {observed}, {xnu_run}expected = {expected}, example = {example} }}\n"
            ));
        }
    }
    text
}

/// `os = "linux"`, or with several values an array.
fn entry<'v>(name: &str, values: impl Iterator<Item = &'v str>) -> String {
    let values: Vec<String> = values.map(quoted).collect();
    match values.as_slice() {
        [one] => format!("{name} = {one}\n"),
        more => format!("{name} = [{}]\n", more.join(", ")),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
