//! SHA-256 of texts: identifies a file by its content.
//!
//! It reads no file.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The digest of the parts one after the other, in 64 hexadecimal digits.
pub fn sha256<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
