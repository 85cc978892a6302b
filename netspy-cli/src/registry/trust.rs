//! How far an answer can be trusted: what it is missing, and whether anything was watched at all.

use netspy_api::{Client, Lost};
use schemars::JsonSchema;
use serde::Serialize;

use crate::render::loss;

/// The end of every answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Trust {
    /// How many events the window is missing; absent where the server cannot tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Lost")]
    lost: Option<Lost>,
    /// What else to know before trusting this; mostly empty.
    notes: Vec<String>,
}

impl Trust {
    pub(super) fn new(lost: Option<Lost>) -> Self {
        Self { lost, notes: Vec::new() }
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The same for people: `meaning` is what a loss does to what stands above.
    pub(super) fn lines(&self, meaning: &str) -> Vec<String> {
        loss::lines(&self.notes, self.lost.as_ref(), meaning)
    }

    /// Asked of an empty answer: did nothing happen, or is nothing watched? The earlier server's health knows
    /// no programs; there nothing is claimed.
    pub(super) async fn check_traced(&mut self, client: &Client, program: &str, events: &str) {
        let Ok(health) = client.health().await else { return };
        let Some(idle) = health.programs.into_iter().find(|p| p.name == program && p.status != "active")
        else {
            return;
        };
        let why = if idle.note.is_empty() { String::new() } else { format!(": {}", idle.note) };
        self.note(format!("The server does not trace {events}{why}; see the log of netspy-server"));
    }
}
