//! What the people who run the server ask: whether it lives, whether it is to be trusted, how much it does.

use netspy_server::domain::{Batch, CountedKind, Outcome, ProgramCost, TroubleKind};
use serde_json::json;

use super::server::{Server, attempt, counted, sample};

#[test]
fn a_server_that_answers_lives_whatever_else_is_wrong() {
    let server = Server::empty();
    *server.barrier.fails.lock().unwrap() = Some("the pipeline has stopped".to_owned());
    assert_eq!(server.get("/livez"), json!({"status": "alive"}));
}

#[test]
fn a_server_is_ready_while_nothing_is_missing_from_its_answers() {
    let server = Server::empty();
    let fine = |name: &str| json!({"name": name, "ok": true});
    let ready = json!({"ready": true, "checks": [fine("recording"), fine("history"), fine("probes")]});
    assert_eq!(server.get("/readyz"), ready);

    *server.barrier.unwritten.lock().unwrap() = Some("cannot write to the history: disk full".to_owned());
    let answer = server.request("GET", "/readyz", "", b"");
    assert_eq!((answer.status, answer.header("content-type")), (503, Some("application/json")));
    let failed =
        json!({"name": "recording", "ok": false, "detail": "cannot write to the history: disk full"});
    let expected = json!({"ready": false, "checks": [failed, fine("history"), fine("probes")]});
    assert_eq!(answer.json(), expected);
    server.barrier.feed.stores(false);
    let health = server.get("/health");
    assert_eq!((&health["status"], &health["running"]), (&json!("degraded"), &json!(false)));
    assert_eq!(server.get("/api/connection-summary")["count"], 0, "what is there can be asked for");

    server.barrier.feed.stores(true);
    *server.barrier.unwritten.lock().unwrap() = None;
    server.programs.detached.lock().unwrap().push("program 42 is no longer loaded".to_owned());
    let answer = server.request("GET", "/readyz", "", b"");
    assert_eq!(answer.status, 503);
    let detail = "program 42 is no longer loaded; restart netspy-server";
    assert_eq!(answer.json()["checks"][2], json!({"name": "probes", "ok": false, "detail": detail}));
    server.programs.detached.lock().unwrap().clear();
    assert_eq!(server.get("/readyz"), ready);
}

/// The value of a metric with exactly these labels.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn metrics_count_what_happened_and_cost() {
    let server = Server::with(&sample());
    let later = vec![attempt(7, 3_601, 1, "older", Outcome::Aborted { after_ns: 1 })];
    let flood = vec![counted(30, 1, 0, CountedKind::Trouble(TroubleKind::Retransmit), 1_000)];
    server.record(Batch { connections: later, counted: flood, ..Batch::default() });
    let scrape = || {
        let answer = server.request("GET", "/metrics", "", b"");
        let content = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content)));
        assert!(answer.body.ends_with("# EOF\n"));
        answer.body
    };
    let text = scrape();
    for (series, expected) in [
        (r#"netspy_events_total{event="connection"}"#, 7.0),
        (r#"netspy_events_total{event="packet_drop"}"#, 5.0),
        (r#"netspy_events_total{event="retransmit"}"#, 1_000.0),
        (r#"netspy_lost_events_total{place="events_ring_full",event="unknown"}"#, 3.0),
        (r#"netspy_lost_events_total{place="store",event="connection"}"#, 9.0),
        ("netspy_failed_batches_total", 0.0),
        ("netspy_queued_batches", 0.0),
        ("netspy_streams", 0.0),
        (r#"netspy_traced{event="connection",rung="kprobe"}"#, 1.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
    }
    assert!(value(&text, "netspy_store_size_bytes").unwrap() > 10_000.0);
    assert!(!text.contains("netspy_program_run"), "the kernel does not measure");
    assert!(!text.contains("4242") && !text.contains("93.184") && !text.contains("curl"), "{text}");

    let cost = ProgramCost { name: "tcp_v4_connect".into(), runs: 4, run_ns: 1_500_000_000 };
    *server.programs.costs.lock().unwrap() = Some(vec![cost]);
    let text = scrape();
    assert_eq!(value(&text, r#"netspy_program_runs_total{program="tcp_v4_connect"}"#), Some(4.0));
    assert_eq!(value(&text, r#"netspy_program_run_seconds_total{program="tcp_v4_connect"}"#), Some(1.5));
}
