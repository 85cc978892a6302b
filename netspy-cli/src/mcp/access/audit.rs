//! The audit log: who called what, when, and how it went, one line of JSON each. Arguments are hashed: they
//! name processes and addresses.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rmcp::model::CallToolResult;
use serde_json::{Value, json};

use super::caller::Caller;
use crate::digest::sha256;
use crate::output;

pub(in crate::mcp) struct Audit(Mutex<File>);

impl Audit {
    /// Appends to this file, which only its owner can read.
    pub(in crate::mcp) fn open(file: &Path) -> Result<Self, String> {
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(file);
        opened
            .map(|file| Self(Mutex::new(file)))
            .map_err(|error| format!("cannot write the audit log {}: {error}", file.display()))
    }

    /// A tool was called.
    pub(in crate::mcp) fn called(
        &self,
        caller: &Caller,
        tool: &str,
        arguments: &str,
        result: &CallToolResult,
        took: Duration,
    ) {
        let answer = result.structured_content.as_ref().map_or(0, |value| value.to_string().len());
        self.write(&json!({
            "time": Timestamp::now().to_string(),
            "event": "tool_call",
            "caller": caller.name,
            "tool": tool,
            "arguments_sha256": sha256(arguments),
            "is_error": result.is_error.unwrap_or_default(),
            "answer_bytes": answer,
            "milliseconds": took.as_millis() as u64,
        }));
    }

    /// Somebody was not let in.
    pub(in crate::mcp) fn refused(&self, address: &str, status: u16, reason: &str) {
        self.write(&json!({
            "time": Timestamp::now().to_string(),
            "event": "refused",
            "address": address,
            "status": status,
            "reason": reason,
        }));
    }

    fn write(&self, line: &Value) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            output::words(&format!("Warning: the audit log cannot be written: {error}"));
        }
    }
}
