//! SHA-256 and bytes as hexadecimal digits: for what is written down in place of a secret or a name.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Hash of a text, as 64 lower-case digits.
pub(crate) fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
