//! Everything of a window at once, grouped for a screen: who connects, where to, what fails, what is dropped.

use std::collections::BTreeMap;

use netspy_api::{ConnectionEvent, DropEvent};

use super::ToolError;
use super::analyze::windowed;
use super::listing::{BLIND, Listing};
use super::question::{MOST_EVENTS, Question};
use crate::render::remark::Remark;
use crate::render::{connection, drops, escape, loss};

/// A window, grouped. Every text is safe to write to a terminal.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    /// When the window ends, RFC 3339.
    pub(crate) query_time: String,
    /// Connections and drops in the window, however many are grouped below.
    pub(crate) connections: u64,
    pub(crate) drops: u64,
    /// Connections that failed, among those that are grouped.
    pub(crate) failed: u64,
    pub(crate) panels: [Panel; 4],
    pub(crate) remarks: Vec<Remark>,
}

/// One way to group.
#[derive(Debug, Default)]
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    /// Headings of the words of a line.
    pub(crate) words: &'static [&'static str],
    /// Headings of its numbers.
    pub(crate) numbers: &'static [&'static str],
    pub(crate) lines: Vec<Line>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) words: Vec<String>,
    pub(crate) numbers: Vec<u64>,
}

/// Asks for the whole window of a question: 60 seconds where it says none.
pub(crate) async fn overview(
    client: &netspy_api::Client,
    question: &Question,
) -> Result<Overview, ToolError> {
    let question = windowed(question);
    let mut connections = Listing::<ConnectionEvent>::ask(client, &question, MOST_EVENTS).await?;
    if connections.is_earlier {
        connections.trust.note(BLIND.to_owned());
    }
    let dropped = Listing::<DropEvent>::ask(client, &question, MOST_EVENTS).await?;
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
        connections: connections.total,
        drops: dropped.total,
        failed: failures.count() as u64,
        panels: panels(&connections.events, &dropped.events),
        query_time: connections.query_time,
        remarks,
    })
}

fn panels(connections: &[ConnectionEvent], dropped: &[DropEvent]) -> [Panel; 4] {
    let (mut processes, mut destinations) = (Groups::default(), Groups::default());
    let (mut failures, mut reasons) = (Groups::default(), Groups::default());
    for event in connections {
        let failed = u64::from(connection::is_failure(&event.outcome));
        let bytes = event.bytes_sent.unwrap_or_default() + event.bytes_received.unwrap_or_default();
        let destination = connection::destination(event);
        processes.add(&[&event.command], [1, failed, 0, bytes]);
        destinations.add(&[&destination, connection::protocol(&event.protocol)], [1, failed, bytes]);
        if failed > 0 {
            let error = event.errno_name.as_deref().unwrap_or_default();
            failures.add(&[&event.command, &destination, &connection::words(&event.outcome), error], [1]);
        }
    }
    for event in dropped {
        let owner = if drops::has_owner(event) { event.command.as_str() } else { "" };
        if !owner.is_empty() {
            processes.add(&[owner], [0, 0, 1, 0]);
        }
        reasons.add(&[drops::reason(event), &event.class, owner], [1]);
    }
    [
        processes.panel("Processes", &["PROCESS"], &["CONNS", "FAILED", "DROPS", "BYTES"]),
        destinations.panel("Destinations", &["DESTINATION", "PROTO"], &["CONNS", "FAILED", "BYTES"]),
        failures.panel("Failures", &["PROCESS", "DESTINATION", "OUTCOME", "ERROR"], &["COUNT"]),
        reasons.panel("Drops", &["REASON", "CLASS", "PROCESS"], &["COUNT"]),
    ]
}

/// Sums by words.
#[derive(Default)]
struct Groups(BTreeMap<Vec<String>, Vec<u64>>);

impl Groups {
    fn add<const N: usize>(&mut self, words: &[&str], numbers: [u64; N]) {
        let words = words.iter().map(|word| escape::text(word).into_owned()).collect();
        let sums = self.0.entry(words).or_insert_with(|| vec![0; N]);
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
    }

    fn panel(
        self,
        title: &'static str,
        words: &'static [&'static str],
        numbers: &'static [&'static str],
    ) -> Panel {
        let lines = self.0.into_iter().map(|(words, numbers)| Line { words, numbers }).collect();
        Panel { title, words, numbers, lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_grouped_in_four_ways() {
        let connection = |command: &str, outcome: &str| ConnectionEvent {
            command: command.to_owned(),
            outcome: outcome.to_owned(),
            destination_ip: "10.0.0.1".to_owned(),
            destination_port: 443,
            protocol: "TCP".to_owned(),
            bytes_sent: Some(7),
            ..ConnectionEvent::default()
        };
        let drop = DropEvent {
            command: "a".to_owned(),
            pid: 1,
            reason: "NO_SOCKET".to_owned(),
            ..DropEvent::default()
        };
        let nobodys = DropEvent { attribution: "none".to_owned(), ..drop.clone() };
        let connections =
            [connection("a", "refused"), connection("a", "refused"), connection("b\u{1b}", "established")];
        let lines = panels(&connections, &[drop, nobodys]).map(|panel| panel.lines);
        let line = |words: &[&str], numbers: &[u64]| Line {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            numbers: numbers.to_vec(),
        };
        assert_eq!(lines[0], [line(&["a"], &[2, 2, 1, 14]), line(&["b\\x1b"], &[1, 0, 0, 7])]);
        assert_eq!(lines[1], [line(&["10.0.0.1:443", "TCP"], &[3, 2, 21])]);
        assert_eq!(lines[2], [line(&["a", "10.0.0.1:443", "refused", ""], &[2])]);
        assert_eq!(lines[3], [line(&["NO_SOCKET", "", ""], &[1]), line(&["NO_SOCKET", "", "a"], &[1])]);
    }
}
