//! A dropped packet as a row.

use std::collections::BTreeMap;

use netspy_api::{DropEvent, Sampled};

use super::{escape, time};

/// `PID n (NAME): packet dropped - REASON`, as it always was, then what else is known.
pub(crate) fn row(event: &DropEvent, now: &str) -> String {
    let owner = if has_owner(event) {
        format!("PID {} ({})", event.pid, escape::text(&event.command))
    } else {
        "no known owner".to_owned()
    };
    let class =
        if event.class.is_empty() { String::new() } else { format!(" ({})", escape::text(&event.class)) };
    let mut columns = vec![format!("{owner}: packet dropped - {}{class}", escape::text(reason(event)))];
    columns.extend(flow(event));
    columns.extend(way(event));
    if event.skb_length > 0 {
        columns.push(format!("{} bytes", event.skb_length));
    }
    if !event.location.is_empty() {
        columns.push(format!("at {}", escape::text(&event.location)));
    }
    if has_owner(event) && !event.attribution.is_empty() {
        columns.push(format!("owner by {}", escape::text(&event.attribution)));
    }
    columns.push(time::clock(&event.time, now));
    columns.join(" | ")
}

/// Whether it is known whose packet it was. The earlier server does not say how it knows.
pub(crate) fn has_owner(event: &DropEvent) -> bool {
    event.attribution != "none" && (event.pid != 0 || !event.command.is_empty())
}

/// The reason, under either of its names.
pub(crate) fn reason(event: &DropEvent) -> &str {
    [&event.drop_reason, &event.reason]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or("unknown", |name| name)
}

fn flow(event: &DropEvent) -> Option<String> {
    let end = |end: &Option<String>| end.as_deref().map_or("?".into(), escape::text).into_owned();
    let is_known = event.source.is_some() || event.destination.is_some();
    let ends = is_known.then(|| format!("{} -> {}", end(&event.source), end(&event.destination)));
    let protocol = (!event.protocol.is_empty()).then(|| escape::text(&event.protocol).into_owned());
    match (protocol, ends) {
        (Some(protocol), Some(ends)) => Some(format!("{protocol} {ends}")),
        (protocol, ends) => protocol.or(ends),
    }
}

/// Which way it was going, and where it was.
fn way(event: &DropEvent) -> Option<String> {
    let interface = event.interface.as_deref().map(|name| format!("at {}", escape::text(name)));
    let parts: Vec<_> = event
        .direction
        .as_deref()
        .map(|way| escape::text(way).into_owned())
        .into_iter()
        .chain(interface)
        .collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// What the reasons in a list mean, a line each.
pub(crate) fn legend(events: &[DropEvent]) -> Vec<String> {
    let explained = events.iter().filter(|event| !event.explanation.is_empty());
    let meanings: BTreeMap<_, _> = explained.map(|event| (reason(event), &event.explanation)).collect();
    let line =
        |(reason, meaning): (&str, &String)| format!("  {}: {}", escape::text(reason), escape::text(meaning));
    meanings.into_iter().map(line).collect()
}

/// What to know of numbers and lists of events that came too fast to record each of them.
pub(crate) fn sampling(sampled: &Sampled) -> Vec<String> {
    let Sampled { counted, recorded, unattributed } = sampled;
    let mut notes = Vec::new();
    if recorded < counted {
        notes.push(format!(
            "{recorded} of {counted} drops have a record of their own; the others came too fast and were only counted"
        ));
    }
    if *unattributed > 0 {
        notes.push(format!(
            "{unattributed} more drops were only counted, and whose they are is not known: any of them may belong here"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_left_out() {
        let event =
            DropEvent { pid: 1, command: "curl".into(), reason: "SKB_FREE".into(), ..Default::default() };
        assert_eq!(row(&event, ""), "PID 1 (curl): packet dropped - SKB_FREE | --:--:--");
        let nobody = DropEvent {
            attribution: "none".into(),
            destination: Some("[::1]:9".into()),
            ..Default::default()
        };
        assert_eq!(row(&nobody, ""), "no known owner: packet dropped - unknown | ? -> [::1]:9 | --:--:--");
    }

    #[test]
    fn the_way_of_a_packet_and_the_meaning_of_its_reason_are_shown() {
        let event = DropEvent {
            reason: "NO_SOCKET".into(),
            class: "harmful".into(),
            explanation: "Nobody\u{1b} listens.".into(),
            direction: Some("received".into()),
            interface: Some("lo".into()),
            ..Default::default()
        };
        assert_eq!(
            row(&event, ""),
            "no known owner: packet dropped - NO_SOCKET (harmful) | received at lo | --:--:--"
        );
        let legend = legend(&[event.clone(), event, DropEvent::default()]);
        assert_eq!(legend.len(), 1);
        assert!(legend[0].starts_with("  NO_SOCKET: Nobody") && !legend[0].contains('\u{1b}'));
    }

    #[test]
    fn a_flood_is_said_to_be_sampled() {
        assert!(sampling(&Sampled { counted: 3, recorded: 3, unattributed: 0 }).is_empty());
        let notes = sampling(&Sampled { counted: 200, recorded: 10, unattributed: 5 });
        assert!(notes[0].starts_with("10 of 200 drops have a record"));
        assert!(notes[1].starts_with("5 more drops were only counted"));
    }
}
