//! The harness itself: what is missing is told and never passed, what is required fails, and a panic has its place.

use std::process::{Command, Output};

use crate::common::only;
use crate::harness::need::{REQUIRE, REQUIRED};
use crate::harness::{STARTED, test};

/// This test needs what the variables take away.
const NEEDY: &str = "page::the_keyboard_is_enough";

#[track_caller]
fn check(variables: &[(&str, &str)], test: &str, code: i32, words: &[&str]) {
    let mut command = Command::new("/usr/bin/env");
    command.env_remove(REQUIRE).env_remove(REQUIRED).env_remove(STARTED).envs(variables.iter().copied());
    let Output { status, stdout, stderr } = only(&mut command, test);
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in:\n{said}");
    }
}

const NO_CHROMIUM: (&str, &str) = ("CHROMIUM", "/nonexistent/chromium");

#[test]
fn what_is_missing_is_ignored_with_its_reason() {
    for required in ["", "nft,zsh"] {
        let words = ["needs chromium: /nonexistent/chromium: No such file", "ok. 0 passed; 0 failed; 1 ignored"];
        check(&[NO_CHROMIUM, (REQUIRE, required)], NEEDY, 0, &words);
    }
}

#[test]
fn what_is_missing_and_required_is_a_failure() {
    for required in ["all", "nft, chromium"] {
        let words = [
            "needs chromium: /nonexistent",
            "required by ERRNOSCOPE_REQUIRE",
            "ci/install.sh",
            "FAILED. 0 passed; 1 failed",
        ];
        check(&[NO_CHROMIUM, (REQUIRE, required)], NEEDY, 101, &words);
    }
}

#[test]
fn a_need_that_is_none_is_refused() {
    check(&[(REQUIRE, "nft,chrome")], NEEDY, 2, &["no need is called `chrome`", "chromium"]);
}

/// Panics where this program was started for it.
#[test]
fn a_panic_is_told_with_its_place() {
    assert!(std::env::var_os(STARTED).is_none(), "this is {}", "the message");
    let name = "needs::a_panic_is_told_with_its_place";
    check(
        &[(STARTED, "1")],
        name,
        101,
        &["panicked at tests/needs.rs:", "this is the message", "FAILED. 0 passed; 1 failed"],
    );
}
