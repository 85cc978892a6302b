//! A dropped packet as a row.

use netspy_api::DropEvent;

use super::{escape, time};

/// `PID n (NAME): packet dropped - REASON`, as it always was, then what else is known.
pub(crate) fn row(event: &DropEvent, now: &str) -> String {
    let owner = if has_owner(event) {
        format!("PID {} ({})", event.pid, escape::text(&event.command))
    } else {
        "no known owner".to_owned()
    };
    let mut columns = vec![format!("{owner}: packet dropped - {}", escape::text(reason(event)))];
    columns.extend(flow(event));
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
}
