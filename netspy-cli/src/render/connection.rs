//! A connection as a row, and the words for its parts.

use std::collections::BTreeMap;

use netspy_api::ConnectionEvent;

use super::{escape, time};

/// Outcomes in the order in which they are told; the second says whether it is a failure.
const OUTCOMES: [(&str, bool); 9] = [
    ("established", false),
    ("pending", false),
    ("unanswered", false),
    ("refused", true),
    ("reset", true),
    ("timed_out", true),
    ("unreachable", true),
    ("aborted", true),
    ("failed", true),
];

/// `TIME | DEST | PROTO | COMMAND`, as it always was, then what else is known.
pub(crate) fn row(event: &ConnectionEvent, now: &str) -> String {
    let mut columns = vec![
        time::clock(&event.time, now),
        escape::text(&destination(event)).into_owned(),
        escape::text(protocol(&event.protocol)).into_owned(),
        escape::text(&event.command).into_owned(),
        format!("pid {}", event.pid),
    ];
    columns.extend(event.source.as_deref().map(|source| format!("from {}", escape::text(source))));
    columns.extend((event.direction == "inbound").then(|| event.direction.clone()));
    columns.extend(outcome(event));
    columns.join(" | ")
}

/// Address and port, unambiguous for IPv6; a path where the socket has one.
pub(crate) fn destination(event: &ConnectionEvent) -> String {
    match (event.destination_ip.as_str(), event.destination_port) {
        ("", _) if event.destination.is_empty() => "(local socket)".to_owned(),
        ("", _) => event.destination.clone(),
        (ip, 0) if event.destination.is_empty() => ip.to_owned(),
        (_, 0) => event.destination.clone(),
        (ip, port) if ip.contains(':') => format!("[{ip}]:{port}"),
        (ip, port) => format!("{ip}:{port}"),
    }
}

/// The earlier server calls everything that is not IP `Unknown(0)`.
pub(crate) fn protocol(name: &str) -> &str {
    match name {
        "Unknown(0)" => "UNIX",
        "" => "unknown",
        name => name,
    }
}

/// Whether the connection did not come about.
pub(crate) fn is_failure(outcome: &str) -> bool {
    OUTCOMES.iter().any(|(name, failure)| *name == outcome && *failure)
}

/// Every outcome that is a failure, separated by commas.
pub(crate) fn failures() -> String {
    let failures = OUTCOMES.iter().filter(|(_, failure)| *failure).map(|(name, _)| *name);
    failures.collect::<Vec<_>>().join(",")
}

/// Whether more may yet become known of it: still trying, or no datagram has come back.
pub(crate) fn is_open(outcome: &str) -> bool {
    ["pending", "unanswered"].contains(&outcome)
}

/// Outcomes with their counts, in the order in which they are told.
pub(crate) fn by_outcome(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (String, u64)> {
    let rank =
        |outcome: &str| OUTCOMES.iter().position(|(name, _)| *name == outcome).unwrap_or(OUTCOMES.len());
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(outcome, _)| rank(outcome));
    counts.into_iter().map(|(outcome, n)| (words(outcome), *n))
}

fn outcome(event: &ConnectionEvent) -> Option<String> {
    let known = words(&event.outcome);
    match (event.outcome.as_str(), &event.errno_name, event.latency_us) {
        ("", ..) => None,
        ("established", _, Some(latency)) => Some(format!("{known} {}", time::latency(latency))),
        (_, Some(errno), _) => Some(format!("{known} ({})", escape::text(errno))),
        _ => Some(known),
    }
}

/// An outcome as people read it.
pub(crate) fn words(outcome: &str) -> String {
    escape::text(outcome).replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(ip: &str, port: u16, destination: &str) -> String {
        let (destination_ip, destination) = (ip.to_owned(), destination.to_owned());
        let event =
            ConnectionEvent { destination_ip, destination_port: port, destination, ..Default::default() };
        super::destination(&event)
    }

    #[test]
    fn destinations_are_unambiguous() {
        assert_eq!(to("1.2.3.4", 443, "1.2.3.4:443"), "1.2.3.4:443");
        assert_eq!(to("2606:4700::1", 443, ""), "[2606:4700::1]:443");
        assert_eq!(to("1.2.3.4", 0, ""), "1.2.3.4");
        assert_eq!(to("", 0, "/run/x.sock"), "/run/x.sock");
        assert_eq!(to("", 0, ""), "(local socket)");
    }

    #[test]
    fn a_hostile_name_cannot_forge_a_row() {
        let event = ConnectionEvent { command: "x\n  21:05:53 | \x1b[8m".into(), ..Default::default() };
        assert!(!row(&event, "").contains(['\n', '\x1b']));
    }

    #[test]
    fn who_was_connected_to_is_told_from_who_connected() {
        let event = ConnectionEvent {
            direction: "inbound".into(),
            source: Some("10.0.0.9:4000".into()),
            outcome: "established".into(),
            ..Default::default()
        };
        assert!(
            row(&event, "").ends_with(" | from 10.0.0.9:4000 | inbound | established"),
            "{}",
            row(&event, "")
        );
        let outbound = ConnectionEvent { direction: "outbound".into(), ..event };
        assert!(row(&outbound, "").ends_with(" | from 10.0.0.9:4000 | established"));
    }

    #[test]
    fn unknown_outcomes_come_last() {
        let counts =
            [("weird", 1), ("timed_out", 2), ("established", 3)].map(|(k, v)| (k.to_owned(), v)).into();
        let told: Vec<_> = by_outcome(&counts).map(|(outcome, _)| outcome).collect();
        assert_eq!(told, ["established", "timed out", "weird"]);
        assert!(is_failure("timed_out") && !is_failure("pending") && !is_failure("weird"));
    }
}
