//! Outputs beside the files that have them.

use std::path::Path;

/// Holds an output, without styles, against its file.
#[track_caller]
pub fn golden(name: &str, text: &str) {
    matches_file(&format!("tests/golden/{name}"), &anstream::adapter::strip_str(text).to_string());
}

/// Holds a text against a file of the checkout. `UPDATE_EXPECT=1` writes the file instead, which CI must not.
#[track_caller]
pub fn matches_file(name: &str, text: &str) {
    let rewrites = ["UPDATE_EXPECT", "CI"].iter().all(|name| std::env::var_os(name).is_some());
    assert!(!rewrites, "UPDATE_EXPECT is not for CI, which is to find differences");
    expect_test::expect_file![Path::new(env!("CARGO_MANIFEST_DIR")).join(name)].assert_eq(text);
}
