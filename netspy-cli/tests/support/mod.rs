//! A server for the tests to talk to: fixed answers, and a record of what was asked.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test binary uses another part of it"
)]

pub mod screen;
pub mod server;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Query, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;

/// What a stub was asked.
pub struct Question {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub body: String,
    /// Where a stream is to go on.
    pub last_event_id: Option<String>,
}

/// Lives until the test's process ends.
pub struct Stub {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
    was_left: Arc<AtomicBool>,
}

/// Notices that a request is given up.
struct Watch(Option<Arc<AtomicBool>>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(was_left) = &self.0 {
            was_left.store(true, Ordering::SeqCst);
        }
    }
}

impl Stub {
    /// Answers every path from `tests/fixtures/<kind>/<last part of the path>.json`.
    pub fn of(kind: &'static str) -> Self {
        Self::start(move |path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let file = format!("{}/tests/fixtures/{kind}/{name}.json", env!("CARGO_MANIFEST_DIR"));
            match std::fs::read_to_string(file) {
                Ok(body) => (200, body),
                Err(_) => (404, "404 page not found\n".to_owned()),
            }
        })
    }

    /// Answers everything the same way.
    pub fn answering(status: u16, body: &'static str) -> Self {
        Self::start(move |_| (status, body.to_owned()))
    }

    /// Answers one request after the other with these, whatever is asked; the last one again and again.
    pub fn talking(answers: Vec<serde_json::Value>) -> Self {
        let next = Arc::new(Mutex::new(answers.into_iter().peekable()));
        Self::start(move |_| {
            let mut next = next.lock().unwrap();
            let answer = next.next().unwrap();
            let body = answer.to_string();
            if next.peek().is_none() {
                *next = vec![answer].into_iter().peekable();
            }
            (200, body)
        })
    }

    /// Healthy, but takes longer over any question than a test waits.
    pub fn stuck() -> Self {
        Self::start(|path| {
            if path != "/health" {
                std::thread::sleep(Duration::from_secs(20));
            }
            (200, "{}".to_owned())
        })
    }

    /// Answers so many requests with nothing found, then fails at every one.
    pub fn failing_after(requests: usize) -> Self {
        let left = Arc::new(AtomicUsize::new(requests));
        Self::start(move |_| {
            let spend = |left: usize| left.checked_sub(1);
            match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
                Ok(_) => (200, "{\"total_count\":0,\"lost\":{}}".to_owned()),
                Err(_) => (503, "System not initialized\n".to_owned()),
            }
        })
    }

    /// Healthy, and takes its time over any question.
    pub fn slow(time: Duration) -> Self {
        Self::start(move |path| {
            if path != "/health" {
                std::thread::sleep(time);
            }
            (200, "{\"lost\":{}}".to_owned())
        })
    }

    /// Each question finds one more connection, of curl, at this moment. It has no stream of them.
    pub fn busy() -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        Self::start(move |path| {
            if path == "/api/stream" {
                return (404, "404 page not found\n".to_owned());
            }
            let (n, now) = (count.fetch_add(1, Ordering::SeqCst), jiff::Timestamp::now());
            let event = serde_json::json!({
                "id": format!("{n:016x}"), "pid": 7, "command": "curl", "process": "curl", "time": now.to_string(),
                "destination_ip": "10.0.0.1", "destination_port": 1000 + n, "protocol": "TCP", "outcome": "refused",
                "direction": "outbound",
            });
            let events = if path.contains("list-connections") { vec![event] } else { vec![] };
            let lost = serde_json::json!({"total": 0, "by_place": {}});
            let answer = serde_json::json!({
                "events_by_pid": {"7": events}, "total_count": 1, "query_time": now.to_string(), "lost": lost,
            });
            (200, answer.to_string())
        })
    }

    fn start(answer: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static) -> Self {
        Self::asked_by(move |question| answer(&question.path))
    }

    /// A model's server that thinks for longer than anybody waits.
    pub fn thinking() -> Self {
        Self::asked_by(|_| {
            std::thread::sleep(Duration::from_secs(20));
            (200, "{}".to_owned())
        })
    }

    /// Answers by everything that was asked.
    pub fn asked_by(answer: impl Fn(&Question) -> (u16, String) + Clone + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        let was_left = Arc::new(AtomicBool::new(false));
        let left = Arc::clone(&was_left);
        let routes = Router::new().fallback(async move |request: Request| {
            // Dropped before it is disarmed if whoever asked goes away.
            let mut watch = Watch(Some(left));
            let (head, body) = request.into_parts();
            let body = to_bytes(body, 1 << 20).await.unwrap();
            let line = format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body));
            record.lock().unwrap().push(line.trim_end().to_owned());
            let query = Query::<BTreeMap<String, String>>::try_from_uri(&head.uri).unwrap().0;
            let question = Question {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                query,
                body: String::from_utf8_lossy(&body).into_owned(),
                last_event_id: head.headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned()),
            };
            let kind = if question.path == "/api/stream" { "text/event-stream" } else { "text/plain" };
            let (status, body) = tokio::task::spawn_blocking(move || answer(&question)).await.unwrap();
            watch.0 = None;
            (StatusCode::from_u16(status).unwrap(), [(CONTENT_TYPE, kind)], body)
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, routes).await.unwrap();
            });
        });
        Self { url, asked, was_left }
    }

    /// Waits until it was asked something like this.
    pub fn until_asked(&self, part: &str) {
        self.until("nobody asked", || self.asked().iter().any(|line| line.contains(part)));
    }

    /// Waits until somebody who asked has gone away without an answer.
    pub fn until_left(&self) {
        self.until("nobody gave up", || self.was_left.load(Ordering::SeqCst));
    }

    fn until(&self, complaint: &str, is_so: impl Fn() -> bool) {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(std::time::Instant::now() < end, "{complaint}: {:?}", self.asked());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `METHOD PATH BODY` of every request so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// `netspy` with this server and these arguments.
    pub fn netspy(&self, arguments: &[&str]) -> Run {
        netspy(&self.url, arguments, "")
    }
}

/// What a finished `netspy` left behind.
pub struct Run {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Run {
    /// All of it, as a snapshot shows it.
    pub fn shown(&self) -> String {
        let code = self.code.map_or("signal".to_owned(), |code| code.to_string());
        format!("{}--- stderr\n{}--- exit {code}", self.stdout, self.stderr)
    }
}

/// Runs `netspy` to its end, in an environment that holds nothing of the developer's.
pub fn netspy(server: &str, arguments: &[&str], stdin: &'static str) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_netspy"))
        .args(arguments)
        .env_clear()
        .env("NETSPY_SERVER", server)
        .write_stdin(stdin)
        .timeout(Duration::from_secs(30))
        .output()
        .unwrap();
    Run {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

/// An address where nobody listens.
pub fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
