//! `netspy follow` against streams that break off, lag and lose: servers that say exactly what is wanted. What the real one
//! does is in `real_server.rs`; how an earlier one is asked instead is in `earlier.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use support::Stub;

const NOW: &str = "2026-11-21T10:00:00Z";

/// A connection of a second of the minute, as the stream sends it.
fn event(id: &str, second: u32, outcome: &str) -> String {
    let time = format!("2026-11-21T10:00:{second:02}.5Z");
    let event = json!({
        "type": "connection", "id": id, "pid": 7, "command": "curl\u{1b}[2J", "time": time, "outcome": outcome,
        "destination_ip": "10.0.0.1", "destination_port": 80, "protocol": "TCP", "direction": "outbound",
    });
    format!("event: connection\ndata: {event}\n\n")
}

fn lagged(missed: u64, last_event_id: Option<&str>) -> String {
    let lagged = json!({"missed": missed, "last_event_id": last_event_id, "message": "too slow"});
    format!("event: lagged\ndata: {lagged}\n\n")
}

/// Answers a stream by where it is to go on; `lost` is what everything is missing.
fn server(lost: u64, stream: impl Fn(Option<&str>) -> String + Clone + Send + Sync + 'static) -> Stub {
    let asked = Arc::new(AtomicU64::new(0));
    Stub::asked_by(move |question| match question.path.as_str() {
        "/api/stream" => (200, stream(question.last_event_id.as_deref())),
        "/api/top" => {
            let lost = if asked.fetch_add(1, Ordering::SeqCst) == 0 { 0 } else { lost };
            (200, json!({"groups": [], "since": NOW, "query_time": NOW, "lost": {"total": lost}}).to_string())
        }
        _ => (200, json!({"query_time": NOW, "total_count": 0, "lost": {}}).to_string()),
    })
}

#[test]
fn a_stream_that_breaks_off_goes_on_where_it_ended_and_nothing_comes_twice() {
    let server = server(0, |resume| match resume {
        None => [&event("a", 1, "refused"), "id: 1000\n\n"].concat(),
        // What was sent just before comes again.
        Some("1000") => [
            &event("a", 1, "refused"),
            &event("b", 2, "pending"),
            &event("b", 2, "established"),
            "id: 2000\n\n",
        ]
        .concat(),
        Some("2000") => [&event("b", 2, "established"), &event("c", 3, "timed_out"), "id: 3000\n\n"].concat(),
        Some(_) => String::new(),
    });
    let flags = ["--process", "curl", "--to", "10.0.0.0/8", "--port", "80", "--failed", "--seconds", "4"];
    let run = server.netspy(&[&["follow", "-o", "ndjson"], &flags[..]].concat());
    let told: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        told.iter().map(|row| (row["id"].as_str().unwrap(), row["outcome"].as_str().unwrap())).collect();
    assert_eq!(told, [("a", "refused"), ("b", "established"), ("c", "timed_out")], "{}", run.shown());
    assert!(run.code == Some(0) && !run.stdout.contains('\u{1b}'), "{}", run.shown());
    // The server filters, each time.
    let asked = server.asked();
    let streams: Vec<_> = asked.iter().filter(|line| line.contains("/api/stream")).collect();
    let conditions = "GET /api/stream?type=connection&command=curl&outcome=refused%2Creset%2Ctimed_out%2Cunreachable%2C\
                      aborted%2Cfailed&remote=10.0.0.0%2F8&remote_port=80";
    let same = |line: &str| {
        let mut given: Vec<_> = line.split(['?', '&']).collect();
        given.sort_unstable();
        given.join("&")
    };
    assert!(streams.len() >= 4 && streams.iter().all(|line| same(line) == same(conditions)), "{asked:?}");
}

#[test]
fn what_is_missing_is_said() {
    let server = server(12, |resume| match resume {
        None => [lagged(3, None), event("a", 1, "refused"), lagged(40, Some("5000"))].concat(),
        // Asked for again where it said, it tells what was left out.
        Some("5000") => [&event("b", 2, "refused"), "id: 6000\n\n"].concat(),
        Some(_) => String::new(),
    });
    let run = server.netspy(&["follow", "--seconds", "3", "-o", "text"]);
    assert_eq!(run.stdout.lines().count(), 2, "{}", run.shown());
    for said in [
        "! 3 older events are not shown: too many to be sent; netspy list has them",
        "! 40 changes came faster than they were read; asking the server's history for them",
        "! 12 events were lost: the lines above are incomplete",
    ] {
        assert_eq!(run.stderr.matches(said).count(), 1, "{}", run.shown());
    }
}

#[test]
fn what_stays_open_is_told_after_a_while_and_with_its_outcome_when_there_is_one() {
    let begin = std::time::Instant::now();
    let server = server(0, move |resume| match resume {
        None => [&event("a", 1, "pending"), "id: 1000\n\n"].concat(),
        _ if begin.elapsed().as_secs() < 5 => String::new(),
        _ => event("a", 1, "timed_out"),
    });
    let run = server.netspy(&["follow", "--seconds", "8", "-o", "csv"]);
    let outcomes: Vec<_> = run.stdout.lines().skip(1).map(|line| line.split(',').nth(6).unwrap()).collect();
    assert_eq!(outcomes, ["pending", "timed_out"], "{}", run.shown());
}

#[test]
fn a_stream_that_is_refused_is_an_error_and_not_waited_for() {
    for (status, code) in [(401, 4), (503, 1)] {
        let server = Stub::asked_by(move |question| match question.path.as_str() {
            "/api/stream" => (status, json!({"error": "no", "message": "64 followers"}).to_string()),
            _ => (200, json!({"query_time": NOW, "total_count": 0, "lost": {}}).to_string()),
        });
        let run = server.netspy(&["follow"]);
        assert!(run.code == Some(code) && run.stderr.contains("64 followers"), "{}", run.shown());
    }
}
