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
    /// One host, v0.0.1: other names, less of each event, and conditions on what is asked.
    First,
    Aggregator,
}

/// Never today: of the first version the client must take its own clock.
fn clock(second: u32) -> String {
    format!("2025-11-21T10:{:02}:{:02}Z", second / 60, second % 60)
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

/// v0.0.1: events are short, and what cannot be asked is refused, as JSON.
fn first(question: &Question) -> (u16, String) {
    let asked: Value = serde_json::from_str(&question.body).unwrap_or_else(|_| json!(question.query));
    let refused = |message: &str| (400, json!({"error": "Bad Request", "message": message}).to_string());
    let number =
        |name: &str| asked[name].as_u64().or_else(|| asked[name].as_str()?.parse().ok()).unwrap_or_default();
    let short = |event: &Value| {
        json!({
            "pid": event["pid"], "command": event["command"], "destination": event["destination"],
            "protocol": "TCP", "return_code": 0, "timestamp": event["time"],
        })
    };
    let all = connections();
    let body = match question.path.as_str() {
        "/health" => json!({"status": "healthy", "service": "ebpf-server", "version": "v1.0.0"}),
        "/api/connection-summary" | "/api/packet-drop-summary" if question.method != "POST" => {
            return (405, json!({"error": "Method Not Allowed", "message": "use POST"}).to_string());
        }
        "/api/connection-summary" | "/api/packet-drop-summary" => {
            let command = asked["command"].as_str().unwrap_or_default();
            if command.is_empty() == (number("pid") == 0) {
                return refused("exactly one of pid and command is needed");
            }
            if !(1..=3600).contains(&number("duration")) {
                return refused("duration must be 1 to 3600");
            }
            let is_meant = |event: &&Value| event["command"] == command || event["pid"] == number("pid");
            let count = all.iter().filter(is_meant).count();
            let name = if question.path.contains("drop") { "total_drops" } else { "total_attempts" };
            let mut answer = json!({"duration": number("duration"), "message": "…"});
            answer[name] = if name == "total_drops" { 4.into() } else { count.into() };
            answer
        }
        "/api/list-connections" | "/api/list-packet-drops" => {
            let limit = if number("limit") == 0 { 100 } else { number("limit") };
            if limit > 1000 {
                return refused("limit must be at most 1000");
            }
            if question.path.contains("drop") {
                let drop = json!({"pid": 7, "command": "curl", "drop_reason": "SKB_FREE", "skb_length": 1, "timestamp": clock(NOW - 5)});
                return (
                    200,
                    json!({"total_pids": 1, "drops": {"7": [drop]}, "truncated": false, "message": ""})
                        .to_string(),
                );
            }
            let mut by_pid = serde_json::Map::new();
            for pid in [77, 4242].into_iter().filter(|pid| [0, *pid].contains(&number("pid"))) {
                let events = all.iter().filter(|event| event["pid"] == pid).take(limit as usize).map(short);
                by_pid.insert(pid.to_string(), events.collect());
            }
            json!({"total_pids": by_pid.len(), "connections": by_pid, "truncated": true, "message": "…"})
        }
        _ => return text(404, "404 page not found"),
    };
    (200, body.to_string())
}

fn answer(kind: Kind, question: &Question) -> (u16, String) {
    if kind == Kind::First {
        return first(question);
    }
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
             10:00:10 | 93.184.216.34:443 | TCP | payroll-service | pid 77\n  ... and 1 more events\n  ! This server guesses protocols from ports: a port of DNS, NTP or DHCP is UDP, \
             any other is TCP.\n--- stderr\n--- exit 0"
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
fn the_first_version_is_understood_under_its_own_names() {
    let server = server(Kind::First);
    let run = server.netspy(&["list", "--pid", "77", "--since", "2020-01-01T00:00:00Z", "-o", "text"]);
    assert!(
        run.stdout.starts_with(
            "Recent connection events (3 total):\n  11/21 10:00:20 | 93.184.216.34:443 | TCP | payroll-service | pid 77\n"
        ),
        "{}",
        run.shown()
    );
    // A larger limit than it takes, a port that it knows only as a part of a text, an address elsewhere.
    for (words, total) in [(["--port", "443"], 300), (["--port", "80"], 0), (["--to", "93.184.0.0/16"], 300)]
    {
        let asked = [&["analyze", "-o", "json", "--since", "2020-01-01T00:00:00Z"], &words[..]].concat();
        let analyzed: Value = serde_json::from_str(&server.netspy(&asked).stdout).unwrap();
        assert_eq!(analyzed["total"], total, "{analyzed}");
    }
    let summary = server.netspy(&["--tool", "get_network_summary", "--process", "curl", "--duration", "120"]);
    assert_eq!(
        summary.stdout,
        "Process 'curl' made 297 outbound connection attempts over the last 120 seconds\n",
        "{}",
        summary.shown()
    );
    // Of everybody it makes no summary: the list is counted.
    let all = server.netspy(&["summary", "--since", "2020-01-01T00:00:00Z", "-o", "json"]);
    let all: Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!(all["count"], 300, "{all}");
    let everybody = server.netspy(&["summary"]);
    assert_eq!(everybody.code, Some(0), "{}", everybody.shown());
    let drops = server.netspy(&["--tool", "get_packet_drop_summary", "--process", "curl"]);
    assert!(drops.stdout.starts_with("Process 'curl' had 4 packet drops"), "{}", drops.shown());
    let drops = server.netspy(&["drops", "--since", "2020-01-01T00:00:00Z", "-o", "text"]);
    assert!(drops.stdout.contains("1. PID 7 (curl): packet dropped - SKB_FREE"), "{}", drops.shown());
}

#[test]
fn it_is_followed_by_asking_again_and_again() {
    for kind in [Kind::Server, Kind::Aggregator, Kind::Oldest, Kind::First] {
        let server = server(kind);
        let run = server.netspy(&["follow", "--seconds", "3", "--process", "curl"]);
        assert!(run.code == Some(0) && run.stderr.starts_with("Following connections"), "{}", run.shown());
        let asked = server.asked();
        assert_eq!(asked.iter().filter(|line| line.contains("/api/stream")).count(), 1, "{asked:?}");
        let is_asked_again = |line: &String| line.contains("/api/list-connections") && line.contains("since");
        assert!(asked.iter().any(is_asked_again), "{asked:?}");
    }
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
