//! Rankings.

use netspy_server::domain::{Batch, Outcome, Traffic};
use serde_json::{Value, json};

use super::refusals::message;
use super::server::{Server, attempt, end, packet_drop};

fn busy() -> Batch {
    let traffic = Traffic { bytes_sent: 10, bytes_received: 100, ..Traffic::default() };
    let mut connections = Vec::new();
    for n in 0..6 {
        let name = if n < 4 { "curl" } else { "dig" };
        let mut one = attempt(n, 60 * n.cast_signed(), 7, name, Outcome::Established { latency_ns: 1 });
        one.traffic = Some(traffic);
        connections.push(one);
    }
    connections[5].destination = end("::ffff:93.184.216.34", 80);
    connections[4].outcome = Outcome::Pending;
    let mut path = attempt(9, 30, 8, "snapd", Outcome::Pending);
    (path.destination, path.path) = (None, Some("/run/x".into()));
    connections.push(path);
    let drops = vec![
        packet_drop(20, 5, 7, "NO_SOCKET"),
        packet_drop(21, 6, 0, "NO_SOCKET"),
        packet_drop(22, 7, 7, "CSUM"),
    ];
    Batch { connections, drops, ..Batch::default() }
}

/// Groups with their counts.
fn groups(answer: &Value) -> Vec<(String, u64)> {
    let groups = answer["groups"].as_array().unwrap().iter();
    groups
        .map(|group| (group["group"].as_str().unwrap_or("?").to_owned(), group["count"].as_u64().unwrap()))
        .collect()
}

#[test]
fn groups_of_most_events_come_first() {
    let server = Server::with(&busy());
    for (query, expected) in [
        ("", &[("curl", 4), ("dig", 2), ("snapd", 1)][..]),
        ("by=process&limit=1", &[("curl", 4)]),
        ("by=exe", &[("/usr/bin/curl", 4), ("/usr/bin/dig", 2), ("/usr/bin/snapd", 1)]),
        ("by=uid", &[("1000", 7)]),
        ("by=destination", &[("93.184.216.34:443", 5), ("93.184.216.34:80", 1), ("/run/x", 1)]),
        ("by=destination_ip", &[("93.184.216.34", 6), ("/run/x", 1)]),
        ("by=destination_port", &[("443", 5), ("/run/x", 1), ("80", 1)]),
        ("by=outcome", &[("established", 5), ("pending", 2)]),
        ("by=outcome&process=dig", &[("established", 1), ("pending", 1)]),
        ("outcome=pending&direction=outbound", &[("dig", 1), ("snapd", 1)]),
        ("direction=inbound", &[]),
        ("since=90s", &[("curl", 3), ("snapd", 1)]),
        ("type=packet_drop&by=drop_reason", &[("NO_SOCKET", 2), ("CSUM", 1)]),
        ("type=packet_drop&drop_reason=NO_SOCKET", &[("curl", 1), ("?", 1)]),
        ("type=packet_drop&process=curl&by=uid", &[("1000", 2)]),
    ] {
        let answer = server.get(&format!("/api/top?{query}"));
        let mut found = groups(&answer);
        // Equals have an order, which need not be this one.
        found.sort_by_key(|(group, count)| (std::cmp::Reverse(*count), group.clone()));
        let mut expected: Vec<_> =
            expected.iter().map(|(group, count)| ((*group).to_owned(), *count)).collect();
        expected.sort_by_key(|(group, count)| (std::cmp::Reverse(*count), group.clone()));
        assert_eq!(found, expected, "{query}");
    }
    let answer = server.post("/api/top", r#"{"by":"destination","limit":1,"since":"10m"}"#);
    let group = json!({"group": "93.184.216.34:443", "protocol": "TCP", "count": 5, "bytes_sent": 50, "bytes_received": 500});
    assert_eq!((&answer["by"], &answer["type"]), (&json!("destination"), &json!("connection")));
    assert_eq!(answer["groups"], json!([group]));
    let since = answer["since"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(since.to_string(), "2026-11-21T00:42:00Z", "the whole minute that is touched");
}

#[test]
fn what_sums_do_not_know_is_refused() {
    let server = Server::with(&busy());
    for (query, expected) in [
        (
            "by=colour",
            "by takes one of process, exe, uid, destination, destination_ip, destination_port, outcome, not",
        ),
        ("by=drop_reason", "by takes one of process"),
        ("type=packet_drop&by=outcome", "by takes one of process, exe, uid, drop_reason, not"),
        ("type=retransmit", "type takes connection or packet_drop"),
        ("pid=7", "pid is no condition here: sums do not know it"),
        ("remote=10.0.0.1", "remote is no condition here"),
        ("unit=nginx", "unit is no condition here"),
        ("drop_reason=CSUM", "add type=packet_drop"),
        ("type=packet_drop&outcome=refused", "leave out type=packet_drop"),
        ("type=packet_drop&direction=outbound", "direction is no condition here"),
        ("direction=sent", "direction takes outbound or inbound"),
        ("limit=1001", "limit takes a whole number from 0 to 1000"),
    ] {
        let answer = server.request("GET", &format!("/api/top?{query}"), "", b"");
        let message = message(&answer, 400, "Bad Request");
        assert!(message.contains(expected), "{query}: {message}");
    }
}
