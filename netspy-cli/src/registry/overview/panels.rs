//! The four panels: their columns, and sums by words.

use std::collections::BTreeMap;

use netspy_api::{ConnectionEvent, DropEvent};

use crate::render::{connection, drops, escape};

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

/// Sums by words, of each panel.
#[derive(Default)]
pub(super) struct Groups {
    /// By name: connections, failures, drops, bytes.
    pub(super) processes: Sums<4>,
    /// By address and protocol: connections, failures, bytes.
    pub(super) destinations: Sums<3>,
    /// By process, destination, outcome and error.
    pub(super) failures: Sums<1>,
    /// By reason and class.
    pub(super) drops: Sums<1>,
}

#[derive(Default)]
pub(super) struct Sums<const N: usize>(BTreeMap<Vec<String>, [u64; N]>)
where
    [u64; N]: Default;

/// All of them from the events themselves.
pub(super) fn of_events(connections: &[ConnectionEvent], dropped: &[DropEvent]) -> [Panel; 4] {
    let mut groups = Groups::default();
    for event in connections {
        let failed = u64::from(connection::is_failure(&event.outcome));
        let bytes = event.bytes_sent.unwrap_or_default() + event.bytes_received.unwrap_or_default();
        let (destination, protocol) = (connection::destination(event), connection::protocol(&event.protocol));
        groups.processes.add(&[&event.command], [1, failed, 0, bytes]);
        groups.destinations.add(&[&destination, protocol], [1, failed, bytes]);
        groups.add_failure(event);
    }
    for event in dropped {
        if drops::has_owner(event) && !event.command.is_empty() {
            groups.processes.add(&[&event.command], [0, 0, 1, 0]);
        }
        groups.drops.add(&[drops::reason(event), &event.class], [1]);
    }
    groups.panels()
}

impl Groups {
    /// Adds a connection if it failed.
    pub(super) fn add_failure(&mut self, event: &ConnectionEvent) {
        if connection::is_failure(&event.outcome) {
            let error = event.errno_name.as_deref().unwrap_or_default();
            let (destination, outcome) = (connection::destination(event), connection::words(&event.outcome));
            self.failures.add(&[&event.command, &destination, &outcome, error], [1]);
        }
    }

    pub(super) fn panels(self) -> [Panel; 4] {
        [
            self.processes.panel("Processes", &["PROCESS"], &["CONNS", "FAILED", "DROPS", "BYTES"]),
            self.destinations.panel("Destinations", &["DESTINATION", "PROTO"], &["CONNS", "FAILED", "BYTES"]),
            self.failures.panel("Failures", &["PROCESS", "DESTINATION", "OUTCOME", "ERROR"], &["COUNT"]),
            self.drops.panel("Drops", &["REASON", "CLASS"], &["COUNT"]),
        ]
    }
}

impl<const N: usize> Sums<N>
where
    [u64; N]: Default,
{
    pub(super) fn add(&mut self, words: &[&str], numbers: [u64; N]) {
        let words = words.iter().map(|word| escape::text(word).into_owned()).collect();
        let sums = self.0.entry(words).or_default();
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
    }

    fn panel(
        self,
        title: &'static str,
        words: &'static [&'static str],
        numbers: &'static [&'static str],
    ) -> Panel {
        let line = |(words, numbers): (_, [u64; N])| Line { words, numbers: numbers.to_vec() };
        Panel { title, words, numbers, lines: self.0.into_iter().map(line).collect() }
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
        let lines = of_events(&connections, &[drop, nobodys]).map(|panel| panel.lines);
        let line = |words: &[&str], numbers: &[u64]| Line {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            numbers: numbers.to_vec(),
        };
        assert_eq!(lines[0], [line(&["a"], &[2, 2, 1, 14]), line(&["b\\x1b"], &[1, 0, 0, 7])]);
        assert_eq!(lines[1], [line(&["10.0.0.1:443", "TCP"], &[3, 2, 21])]);
        assert_eq!(lines[2], [line(&["a", "10.0.0.1:443", "refused", ""], &[2])]);
        assert_eq!(lines[3], [line(&["NO_SOCKET", ""], &[2])]);
    }
}
