//! How far an answer can be trusted: what it is missing, and whether anything was watched at all.

use netspy_api::{Client, Lost};
use schemars::JsonSchema;
use serde::Serialize;

use super::listing::as_comm;
use super::question::Question;
use super::seen::Seen;
use super::suggest;
use crate::render::remark::Remark;
use crate::render::{escape, loss};

/// The end of every answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Trust {
    /// How many events the window is missing; absent where the server cannot tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    lost: Option<Lost>,
    /// What else to know before trusting this; mostly empty.
    notes: Vec<String>,
    /// A process that was seen, where the one that was asked for was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    did_you_mean: Option<String>,
}

impl Trust {
    pub(super) fn new(lost: Option<Lost>) -> Self {
        Self { lost, notes: Vec::new(), did_you_mean: None }
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The same for people: `meaning` is what a loss does to what stands above.
    pub(super) fn lines(&self, meaning: &str) -> Vec<Remark> {
        let hint = self.did_you_mean.as_deref().map(|name| {
            Remark::Notice(format!(
                "  ! Nobody of that name connected in the last hour; did you mean '{}'?",
                escape::text(name)
            ))
        });
        hint.into_iter().chain(loss::lines(&self.notes, self.lost.as_ref(), meaning)).collect()
    }

    /// Asked of an empty answer: did nothing happen, is nothing watched, or is the name mistyped?
    pub(super) async fn check_empty(
        &mut self,
        client: &Client,
        program: &str,
        events: &str,
        question: &Question,
    ) {
        self.check_traced(client, program, events).await;
        let name = question.process_name.as_str();
        if !name.is_empty() {
            let seen = Seen::look(client).await.names;
            if !seen.contains(name) && !seen.contains(as_comm(name)) {
                self.did_you_mean =
                    suggest::nearest(name, seen.iter().map(String::as_str)).map(str::to_owned);
            }
        }
    }

    /// The earlier server's health knows no programs; there nothing is claimed.
    async fn check_traced(&mut self, client: &Client, program: &str, events: &str) {
        let Ok(health) = client.health().await else { return };
        let Some(idle) = health.programs.into_iter().find(|p| p.name == program && p.status != "active")
        else {
            return;
        };
        let why = if idle.note.is_empty() { String::new() } else { format!(": {}", idle.note) };
        self.note(format!("The server does not trace {events}{why}; see the log of netspy-server"));
    }
}
