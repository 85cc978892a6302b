//! Everything of a window at once, grouped for a screen: who connects, where to, what fails, what is dropped.
//!
//! The server's sums count all of it, however much there is. Where it has none (an earlier server), or they do not
//! know a condition, the newest events are grouped here.

mod panels;
mod sums;

use netspy_api::{Client, ConnectionEvent, DropEvent};

use super::analyze::windowed;
use super::listing::{BLIND, Listing};
use super::question::{MOST_EVENTS, Question};
use super::{ToolError, filter};
use crate::render::connection;
use crate::render::loss;
use crate::render::remark::Remark;

pub(crate) use panels::{Line, Panel};

/// A window, grouped. Every text is safe to write to a terminal.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    /// Length of the window in words.
    pub(crate) window: String,
    /// When it ends, RFC 3339.
    pub(crate) query_time: String,
    /// Connections and drops in the window, however many are grouped below.
    pub(crate) connections: u64,
    pub(crate) drops: u64,
    /// Connections that failed, among those that are grouped.
    pub(crate) failed: u64,
    pub(crate) panels: [Panel; 4],
    pub(crate) remarks: Vec<Remark>,
}

/// Asks for the whole window of a question: 60 seconds where it says none.
pub(crate) async fn overview(client: &Client, question: &Question) -> Result<Overview, ToolError> {
    let question = windowed(question);
    if let Some(request) = filter::of_sums(&question) {
        // Many requests at once: more than a stack should hold.
        match Box::pin(sums::overview(client, &question, &request)).await {
            Err(ToolError::Client(error)) if error.is_unknown_path() => {}
            answer => return answer,
        }
    }
    listed(client, &question).await
}

async fn listed(client: &Client, question: &Question) -> Result<Overview, ToolError> {
    let mut connections = Listing::<ConnectionEvent>::ask(client, question, MOST_EVENTS).await?;
    if connections.is_earlier {
        connections.trust.note(BLIND.to_owned());
    }
    let dropped = Listing::<DropEvent>::ask(client, question, MOST_EVENTS).await?;
    let mut remarks = Vec::new();
    if connections.hidden() + dropped.hidden() > 0 {
        let (newest, drops) = (connections.events.len(), dropped.events.len());
        remarks.push(Remark::Notice(format!(
            "  ! Only the newest {newest} connections and {drops} drops are grouped."
        )));
    }
    remarks.extend(connections.trust.lines(loss::COUNTS));
    // Both lists know the same loss.
    let more = dropped.trust.lines(loss::COUNTS).into_iter().filter(|remark| !remarks.contains(remark));
    remarks.extend(more.collect::<Vec<_>>());
    let failures = connections.events.iter().filter(|event| connection::is_failure(&event.outcome));
    Ok(Overview {
        window: question.window_in_words(),
        connections: connections.total,
        drops: dropped.total,
        failed: failures.count() as u64,
        panels: panels::of_events(&connections.events, &dropped.events),
        query_time: connections.query_time,
        remarks,
    })
}
