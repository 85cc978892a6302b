//! The client against the earlier Go server and its aggregator: a fixture that answers as they did, down to the
//! line end after the JSON, `null` for an empty list, text for errors, and parameters that are accepted and ignored.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::{Value, json};
use support::{Question, Stub};

/// Seconds that the fixture's clock shows after 10:00:00.
const NOW: u32 = 59 * 60;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// One host, the last version.
    Server,
    /// One host, before there was `/api/events`.
    Oldest,
    Aggregator,
}

fn clock(second: u32) -> String {
    format!("2026-11-21T10:{:02}:{:02}Z", second / 60, second % 60)
}

/// Three hundred connections, one every ten seconds: the lists know the newest hundred only. `payroll` made the first.
fn connections() -> Vec<Value> {
    let event = |n: u32| {
        let (pid, command) = if n < 3 { (77, "payroll-service") } else { (4242, "curl") };
        json!({
            "address_family": 2, "command": command, "destination": "93.184.216.34:443",
            "destination_ip": "93.184.216.34", "destination_port": 443, "id": format!("{n:016x}"), "pid": pid,
            "protocol": "TCP", "raw_ipv4": 584_628_317, "raw_ipv6": vec![0; 16], "raw_protocol": 6,
            "raw_socktype": 1, "return_code": 0, "socket_type": "STREAM", "time": clock(n * 10),
            "timestamp": 3_015_390_000_000_u64 + u64::from(n), "type": "connection",
        })
    };
    (0..300).rev().map(event).collect()
}

/// What the aggregator keeps passed through a float.
fn blurred(mut event: Value) -> Value {
    event["timestamp"] = json!(event["timestamp"].to_string().parse::<f64>().unwrap());
    event["k8s_node_name"] = json!("node-1");
    event
}

fn text(status: u16, body: &str) -> (u16, String) {
    (status, format!("{body}\n"))
}

fn answer(kind: Kind, question: &Question) -> (u16, String) {
    let is_aggregator = kind == Kind::Aggregator;
    let mut all = connections();
    if is_aggregator {
        all = all.into_iter().map(blurred).collect();
    }
    let body = match question.path.as_str() {
        "/health" if is_aggregator => {
            json!({"component": "aggregator", "stats": {"total_events": 300}, "status": "healthy", "uptime": "1.01s"})
        }
        "/health" => {
            json!({"component": "eBPF Monitor API", "status": "healthy", "uptime": "active", "version": "1.0.0"})
        }
        "/api/connection-summary" | "/api/packet-drop-summary" => {
            let asked: Value = serde_json::from_str(&question.body).unwrap_or_default();
            let command = asked["command"].as_str().unwrap_or_default();
            let is_drop = question.path.contains("drop");
            let count = all
                .iter()
                .filter(|event| !is_drop && [event["command"].as_str().unwrap(), ""].contains(&command));
            json!({
                "command": command, "count": count.count(), "duration_seconds": asked["duration_seconds"],
                "pid": 0, "query_time": clock(NOW),
            })
        }
        // GET only, which a client has to find out.
        "/api/list-connections" | "/api/list-packet-drops" if is_aggregator && question.method != "GET" => {
            return text(405, "Method not allowed");
        }
        "/api/list-connections" => {
            let mut by_pid = serde_json::Map::new();
            for event in all.into_iter().take(100) {
                let pid = event["pid"].to_string();
                by_pid.entry(pid).or_insert_with(|| json!([])).as_array_mut().unwrap().push(event);
            }
            let pids = by_pid.len();
            json!({"events_by_pid": by_pid, "query_time": clock(NOW), "total_events": 100, "total_pids": pids})
        }
        "/api/list-packet-drops" => {
            json!({"events_by_pid": {}, "query_time": clock(NOW), "total_events": 0, "total_pids": 0})
        }
        "/api/events" if kind != Kind::Oldest => events(is_aggregator, question, all),
        _ => return text(404, "404 page not found"),
    };
    text(200, &body.to_string())
}

/// The one endpoint that filters: the server by all of these, the aggregator not by time.
fn events(is_aggregator: bool, question: &Question, all: Vec<Value>) -> Value {
    let given = |name: &str| question.query.get(name).filter(|value| !value.is_empty());
    let is_meant = |event: &Value| {
        given("type").is_none_or(|kind| event["type"] == kind.as_str())
            && given("pid").is_none_or(|pid| event["pid"].as_u64() == pid.parse().ok())
            && given("command").is_none_or(|name| event["command"] == name.as_str())
            && (is_aggregator
                || given("since").is_none_or(|since| event["time"].as_str().unwrap() >= since.as_str()))
    };
    let mut found: Vec<_> = all.into_iter().filter(is_meant).collect();
    let total = found.len();
    let limit = given("limit").map(|limit| limit.parse().unwrap());
    found.truncate(limit.unwrap_or(if is_aggregator { usize::MAX } else { 100 }));
    let listed = if found.is_empty() { Value::Null } else { Value::from(found.clone()) };
    let mut answer = json!({"count": found.len(), "events": listed});
    if !is_aggregator {
        answer["filters"] = json!(question.query);
        answer["query_time"] = clock(NOW).into();
        answer["total_count"] = total.into();
    }
    answer
}

fn server(kind: Kind) -> Stub {
    Stub::asked_by(move |question| answer(kind, question))
}

#[test]
fn what_the_lists_leave_out_is_found_among_the_events() {
    for kind in [Kind::Server, Kind::Aggregator] {
        let server = server(kind);
        let run = server.netspy(&["--tool", "list_connections", "--pid", "77", "--max-events", "2"]);
        assert_eq!(
            run.shown(),
            "Recent connection events (3 total):\n  10:00:20 | 93.184.216.34:443 | TCP | payroll-service | pid 77\n  \
             10:00:10 | 93.184.216.34:443 | TCP | payroll-service | pid 77\n  ... and 1 more events\n--- stderr\n--- exit 0"
        );
        // The kernel has cut the name, and so must the question.
        let named = server.netspy(&["list", "--process", "payroll-service-worker", "-o", "csv"]);
        assert_eq!(named.stdout.lines().count(), 4, "{}", named.shown());
        // Whatever the server does with the window, it is kept.
        let recent = server.netspy(&["analyze", "--since", "10m", "-o", "json"]);
        let recent: Value = serde_json::from_str(&recent.stdout).unwrap();
        assert_eq!(recent["total"], 6, "{recent}");
        let nothing = server.netspy(&["drops"]);
        assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(0), ""), "{}", nothing.shown());
        assert!(nothing.stderr.contains("No packet drop events found"), "{}", nothing.stderr);
        let summary = server.netspy(&["--tool", "get_network_summary", "--process", "curl"]).stdout;
        assert_eq!(
            summary,
            "Process 'curl' made 297 outbound connection attempts over the last 60 seconds\n"
        );
        assert!(server.netspy(&["status"]).stdout.contains("\"healthy\""));
        // It is always told how much, as the aggregator has no limit of its own.
        let asked = server.asked();
        let events: Vec<_> = asked.iter().filter(|line| line.starts_with("GET /api/events?")).collect();
        assert!(!events.is_empty() && events.iter().all(|line| line.contains("limit=10000")), "{asked:?}");
    }
}

#[test]
fn of_the_oldest_only_the_lists_are_known_and_that_is_said() {
    let server = server(Kind::Oldest);
    let run = server.netspy(&["list", "--process", "curl", "--max-events", "1", "-o", "text"]);
    assert!(run.stdout.contains("Recent connection events (100 total):\n  10:49:50 |"), "{}", run.shown());
    assert!(run.stdout.contains("lists only the newest 100 events of the last hour"), "{}", run.shown());
}

#[test]
fn what_such_a_server_cannot_know_is_not_claimed() {
    let server = server(Kind::Server);
    let blind = "This server does not know what becomes of connections";
    for words in [&["why"][..], &["list", "--failed"], &["analyze", "--failed"]] {
        let run = server.netspy(&[words, &["-o", "text"]].concat());
        assert!(run.code == Some(0) && run.stdout.contains(blind), "{}", run.shown());
    }
    let list = server.netspy(&["list", "--max-events", "1", "-o", "ndjson"]);
    let row: Value = serde_json::from_str(&list.stdout).unwrap();
    for unknown in ["outcome", "errno_name", "latency_us", "direction", "uid"] {
        assert_eq!(row[unknown], Value::Null, "{unknown}: {row}");
    }
}
