//! From a [`Policy`] to the TOML text that reads as the same policy.

use super::{Policy, read::FORMAT};

/// The whole file, behind `head`, whose lines become comments.
pub fn write(policy: &Policy, head: &str) -> String {
    let mut text: String = head.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
    text.push_str(&format!("format = {}\n", quoted(FORMAT)));
    text.push_str(&format!("name = {}\n", quoted(&policy.name)));
    text.push_str(&format!("why = {}\n", quoted(&policy.why)));
    for rule in &policy.rules {
        text.push_str("\n[[rule]]\n");
        for (name, values) in rule.when.entries() {
            let values: Vec<String> = values.into_iter().map(quoted).collect();
            let values = match values.as_slice() {
                [one] => one.clone(),
                more => format!("[{}]", more.join(", ")),
            };
            text.push_str(&format!("{name} = {values}\n"));
        }
        text.push_str(&format!("action = {}\n", quoted(rule.action.as_str())));
        text.push_str(&format!("why = {}\n", quoted(&rule.why)));
        if let Some(forced) = &rule.forced {
            let (observed, expected) = (forced.observed, forced.expected);
            let example = quoted(&forced.example);
            text.push_str(&format!(
                "forced = {{ observed = {observed}, expected = {expected}, example = {example} }}\n"
            ));
        }
    }
    text
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
