//! Outputs beside the files that have them.

use std::path::Path;

/// Holds an output, without styles, against its file. `UPDATE_EXPECT=1` writes the file instead, which CI must not.
#[track_caller]
pub fn golden(name: &str, text: &str) {
    let rewrites = ["UPDATE_EXPECT", "CI"].iter().all(|name| std::env::var_os(name).is_some());
    assert!(!rewrites, "UPDATE_EXPECT is not for CI, which is to find differences");
    let text = anstream::adapter::strip_str(text).to_string();
    expect_test::expect_file![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)].assert_eq(&text);
}
