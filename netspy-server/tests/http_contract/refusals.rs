//! What is answered to everything else: the right status, as JSON, with a sentence that helps.

use std::sync::Arc;

use netspy_server::domain::Batch;
use serde_json::Value;

use super::server::{Answer, Server, attempt, sample};

/// The members of RFC 9457 and the contract's `error` and `message`, and nothing else.
#[track_caller]
pub(crate) fn message(answer: &Answer, status: u16, error: &str) -> String {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body = answer.json();
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(6), "{body}");
    assert_eq!(
        (&body["type"], &body["title"], &body["error"]),
        (&"about:blank".into(), &error.into(), &error.into())
    );
    assert_eq!((&body["status"], &body["detail"]), (&status.into(), &body["message"]));
    body["message"].as_str().filter(|message| !message.is_empty()).unwrap().to_owned()
}

#[test]
fn bad_bodies_are_refused_by_name() {
    let server = Server::with(&sample());
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let cases: &[(&[u8], &str)] = &[
        (b"{", "not valid JSON"),
        (b"{\"pid\":1", "not valid JSON"),
        (b"{\"pid\":1}}", "not valid JSON"),
        (b"{'pid':1}", "not valid JSON"),
        (b"pid=1", "not valid JSON"),
        (b"\x00", "not valid JSON"),
        (b"{\"command\":\"a\x00b\"}", "not valid JSON"),
        (b"{\"command\":\"\xff\xfe\"}", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b"{\"command\":\"\\ud800\"}", "not valid JSON"),
        (deep.as_bytes(), "not valid JSON"),
        (b"{\"pid\":1e400}", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"[{\"pid\":1}]", "must be a JSON object"),
        (b"\"x\"", "must be a JSON object"),
        (b"1", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"true", "must be a JSON object"),
        (b"{\"pid\":1,\"pid\":1}", "pid is given more than once"),
        (b"{\"pid\":\"1\"}", "pid takes a whole number from 0 to 4294967295"),
        (b"{\"pid\":-1}", "pid takes a whole number"),
        (b"{\"pid\":1.0}", "pid takes a whole number"),
        (b"{\"pid\":1e3}", "pid takes a whole number"),
        (b"{\"pid\":4294967296}", "pid takes a whole number"),
        (b"{\"pid\":18446744073709551616}", "pid takes a whole number"),
        (b"{\"pid\":true}", "pid takes a whole number"),
        (b"{\"pid\":[1]}", "pid takes a whole number"),
        (b"{\"pid\":{}}", "pid takes a whole number"),
        (b"{\"command\":7}", "command takes a string"),
        (b"{\"command\":[\"curl\"]}", "command takes a string"),
        (b"{\"process_name\":{}}", "process_name takes a string"),
        (b"{\"command\":\"a\",\"process_name\":\"b\"}", "command and process_name mean the same"),
        (b"{\"duration_seconds\":-5}", "duration_seconds takes a whole number from 0 to 315360000"),
        (b"{\"duration_seconds\":315360001}", "duration_seconds takes a whole number"),
        (b"{\"duration_seconds\":9223372036854775807}", "duration_seconds takes a whole number"),
        (b"{\"duration\":\"60\"}", "duration takes a whole number"),
        (b"{\"duration\":60,\"duration_seconds\":61}", "duration_seconds and duration mean the same"),
    ];
    for (body, expected) in cases {
        for path in ["/api/connection-summary", "/api/packet-drop-summary", "/api/list-connections"] {
            let answer = server.request("POST", path, "", body);
            let message = message(&answer, 400, "Bad Request");
            assert!(message.contains(expected), "{path} {:?}: {message}", String::from_utf8_lossy(body));
            assert!(message.len() < 300, "{message}");
        }
    }
    for (body, expected) in [
        (r#"{"limit":10001}"#, "limit takes a whole number from 0 to 10000"),
        (r#"{"limit":-1}"#, "limit takes a whole number"),
        (r#"{"since":"yesterday"}"#, "since takes an RFC 3339 time"),
        (r#"{"since":""}"#, "since takes an RFC 3339 time"),
        (r#"{"since":1795222336}"#, "since takes an RFC 3339 time"),
        (r#"{"until":"2026-11-21T00:52:16"}"#, "until takes an RFC 3339 time"),
        (r#"{"until":"2026-02-30T00:00:00Z"}"#, "until takes an RFC 3339 time"),
        (r#"{"since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}"#, "since must not be later"),
        (r#"{"since":"2026-01-02T00:00:00Z","duration":5}"#, "since and duration_seconds"),
    ] {
        for path in ["/api/list-connections", "/api/list-packet-drops"] {
            let answer = server.request("POST", path, "", body.as_bytes());
            let message = message(&answer, 400, "Bad Request");
            assert!(message.contains(expected), "{path} {body}: {message}");
        }
    }
}

#[test]
fn bad_query_strings_are_refused_by_name() {
    let server = Server::with(&sample());
    for (query, expected) in [
        ("pid=abc", "pid takes a whole number"),
        ("pid=", "pid takes a whole number"),
        ("pid=-1", "pid takes a whole number"),
        ("pid=%2B1", "pid takes a whole number"),
        ("pid=1.5", "pid takes a whole number"),
        ("pid=%zz", "pid takes a whole number"),
        ("pid=%00", "pid takes a whole number"),
        ("pid=%FF", "pid takes a whole number"),
        ("pid=99999999999999999999999", "pid takes a whole number"),
        ("pid=1&pid=1", "pid is given more than once"),
        ("limit=ten", "limit takes a whole number"),
        ("limit=10001", "limit takes a whole number"),
        ("duration_seconds=1m", "duration_seconds takes a whole number"),
        ("since=2026-11-21T00:52:16+01:00", "in a query string + is written %2B"),
        ("until=now", "until takes an RFC 3339 time"),
    ] {
        for path in ["/api/list-connections", "/api/events"] {
            let message =
                message(&server.request("GET", &format!("{path}?{query}"), "", b""), 400, "Bad Request");
            assert!(message.contains(expected), "{path}?{query}: {message}");
        }
    }
}

#[test]
fn long_bodies_are_refused() {
    let server = Server::empty();
    for length in [70 * 1024, 1024 * 1024] {
        let answer = server.request("POST", "/api/connection-summary", "", &vec![b' '; length]);
        let message = message(&answer, 413, "Payload Too Large");
        assert!(message.contains("65536 bytes"), "{message}");
    }
    let most = format!("{}{{}}", " ".repeat(64 * 1024 - 2));
    server.post("/api/connection-summary", &most);
}

#[test]
fn other_verbs_are_refused_with_the_right_ones() {
    let server = Server::empty();
    let both = [
        "/api/connection-summary",
        "/api/packet-drop-summary",
        "/api/list-connections",
        "//api/list-packet-drops",
        "/api/events",
        "/api/top",
    ];
    let reading = ["/", "/health", "/api/listeners", "/api/programs"];
    for (paths, verbs, allowed) in [
        (&both[..], &["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"][..], "GET,HEAD,POST"),
        (&reading[..], &["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"][..], "GET,HEAD"),
    ] {
        for path in paths {
            for verb in verbs {
                let answer = server.request(verb, path, "", b"{}");
                let message = message(&answer, 405, "Method Not Allowed");
                assert!(message.contains(verb), "{message}");
                assert_eq!(answer.header("allow"), Some(allowed), "{verb} {path}");
            }
        }
    }
}

#[test]
fn unknown_paths_are_told_the_known_ones() {
    let server = Server::empty();
    for target in [
        "/healthz",
        "/api",
        "/api/",
        "/api/list-conections",
        "/health/",
        "/docs/x",
        "/api/events/ingest",
        "/%2e%2e/etc",
        "/api/events%00",
    ] {
        for verb in ["GET", "POST", "DELETE"] {
            let message = message(&server.request(verb, target, "", b""), 404, "Not Found");
            assert!(message.contains("/api/list-connections") && message.contains("/health"), "{message}");
        }
    }
    let answer = server.request("OPTIONS", "*", "", b"");
    assert!((400..500).contains(&answer.status), "{}", answer.head);
    let answer = server.request("CONNECT", "localhost:80", "", b"");
    assert!((400..500).contains(&answer.status), "{}", answer.head);
}

#[test]
fn only_this_machines_names_are_answered() {
    let server = Server::with(&sample());
    for host in ["localhost", "LocalHost:8080", "127.0.0.1:1", "[::1]", "[::1]:8080", "monitor.lan:80"] {
        assert_eq!(server.request("GET", "/health", &format!("Host: {host}\r\n"), b"").status, 200, "{host}");
    }
    assert_eq!(server.send(b"GET /health HTTP/1.0\r\n\r\n").status, 200, "HTTP/1.0 names no host");
    for headers in [
        "Host: evil.example\r\n",
        "Host: evil.example:8080\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "Host: \r\n",
        "Host: 10.0.0.1\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Origin: http://evil.example\r\n",
        "Origin: https://localhost.evil.example:8080\r\n",
        "Origin: null\r\n",
        "Origin: \r\n",
        "Origin: http://localhost@evil.example\r\n",
    ] {
        for (verb, path) in
            [("GET", "/health"), ("POST", "/api/list-connections"), ("OPTIONS", "/"), ("GET", "/x")]
        {
            let answer = server.request(verb, path, headers, b"");
            message(&answer, 403, "Forbidden");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    let absolute = server.request("GET", "http://evil.example/health", "", b"");
    message(&absolute, 403, "Forbidden");
    assert_eq!(server.request("GET", "http://localhost:8080//health", "", b"").status, 200);
    for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:1", "http://monitor.lan"] {
        let answer = server.request("GET", "/health", &format!("Origin: {origin}\r\n"), b"");
        assert_eq!(answer.status, 200, "{origin}");
    }
}

const ASKING: [&str; 8] = [
    "/api/top",
    "/health",
    "/api/programs",
    "/api/events",
    "/api/connection-summary",
    "/api/packet-drop-summary",
    "/api/list-connections",
    "/api/list-packet-drops",
];

#[test]
fn an_answer_that_would_be_incomplete_is_none() {
    let server = Server::with(&sample());
    *server.barrier.fails.lock().unwrap() = Some("the pipeline has stopped".to_owned());
    for path in ASKING {
        let message = message(&server.request("GET", path, "", b""), 503, "Service Unavailable");
        assert!(message.contains("the pipeline has stopped"), "{message}");
    }
    *server.barrier.fails.lock().unwrap() = None;
    assert_eq!(server.get("/health")["status"], "healthy");
}

/// A history whose disk is gone.
struct Broken;

mod broken {
    use netspy_server::domain::{
        Connection, ConnectionCounts, CountedKind, Filter, Group, GroupBy, History, HistoryError, LossCounts,
        PacketDrop, Page, ReasonCounts, Sum, Trouble, TroubleKind, Unrecorded, Window,
    };

    type Answer<T> = Result<T, HistoryError>;

    fn gone<T>() -> Answer<T> {
        Err(HistoryError("cannot read the history: disk I/O error".to_owned()))
    }

    impl History for super::Broken {
        fn connections(&self, _: &Filter, _: u32) -> Answer<Page<Connection>> {
            gone()
        }
        fn connection_counts(&self, _: &Filter) -> Answer<ConnectionCounts> {
            gone()
        }
        fn drops(&self, _: &Filter, _: u32) -> Answer<Page<PacketDrop>> {
            panic!("even so")
        }
        fn drop_counts(&self, _: &Filter) -> Answer<ReasonCounts> {
            gone()
        }
        fn troubles(&self, _: TroubleKind, _: &Filter, _: u32) -> Answer<Page<Trouble>> {
            gone()
        }
        fn unrecorded(&self, _: CountedKind, _: &Filter) -> Answer<Unrecorded> {
            gone()
        }
        fn top(&self, _: &Filter, _: GroupBy, _: u32) -> Answer<Vec<(Group, Sum)>> {
            gone()
        }
        fn top_drops(&self, _: &Filter, _: GroupBy, _: u32) -> Answer<Vec<(Group, Sum)>> {
            gone()
        }
        fn size_bytes(&self) -> Answer<u64> {
            gone()
        }
        fn losses(&self, _: Window) -> Answer<LossCounts> {
            gone()
        }
    }
}

#[test]
fn a_history_that_fails_is_said_to() {
    let server = Server::over(Arc::new(Broken));
    for path in ASKING {
        let message = message(&server.request("GET", path, "", b""), 503, "Service Unavailable");
        assert!(message.contains("disk I/O error") || path.ends_with("packet-drops"), "{path}: {message}");
    }
}

#[test]
fn a_replaced_parameter_is_checked_too() {
    let connections = vec![attempt(1, 1, 1, "x", netspy_server::domain::Outcome::Pending)];
    let server = Server::with(&Batch { connections, ..Batch::default() });
    let answer = server.request("POST", "/api/list-connections?pid=1", "", b"{\"pid\":\"1\"}");
    assert!(message(&answer, 400, "Bad Request").contains("pid"));
    let counted: Value = server.post("/api/list-connections?pid=1", "");
    assert_eq!(counted["total_count"], 1);
}
