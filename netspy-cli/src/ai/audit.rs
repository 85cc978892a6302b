//! The record of what was sent to a model: when, where to, how much; hashes instead of words.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::settings::Endpoint;
use crate::digest::sha256;

/// Appends a line. A home that cannot be written to is no reason to give no answer, but is told to the log.
pub(super) fn record(file: Option<&Path>, endpoint: &Endpoint, sent: &str, answer: Result<&str, &str>) {
    let Some(file) = file else { return };
    let line = json!({
        "time": Timestamp::now().to_string(),
        "sent_to": endpoint.base,
        "model": endpoint.model,
        "request_bytes": sent.len(),
        "request_sha256": sha256(sent),
        "answer_bytes": answer.map_or(0, str::len),
        "answer_sha256": answer.ok().map(sha256),
        "error": answer.err(),
    });
    let written = file
        .parent()
        .map_or(Ok(()), |directory| DirBuilder::new().recursive(true).mode(0o700).create(directory));
    let written = written.and_then(|()| OpenOptions::new().create(true).append(true).mode(0o600).open(file));
    if let Err(error) = written.and_then(|mut file| writeln!(file, "{line}")) {
        tracing::warn!(file = %file.display(), %error, "cannot write the record of what was sent to a model");
    }
}
