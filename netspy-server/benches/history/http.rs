//! The API at an HTTP client, and a bare axum handler with answers of the same size, in turn.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use netspy_server::access::{self, Door};
use netspy_server::domain::{Clock, ExistingSocket, HistoryError, ProgramCost, Programs, Sockets};
use netspy_server::http::{Api, ApiState};
use netspy_server::store::{SqliteHistory, SqliteSink};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::pipe::Running;
use super::report;
use super::trace::{RARE, Trace};

/// Clients that ask at the same time, each again as soon as it has its answer: more than two processors can serve.
const CLIENTS: usize = 8;
/// Each handler is asked so often, for so long.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(1);

/// Asks while the trace goes through a pipeline into the store.
pub(super) fn ask_all(load: &str, sink: SqliteSink, history: &SqliteHistory, trace: Trace) {
    let running = Running::begin(Box::new(sink), trace);
    if load == "idle" {
        running.written();
    }
    let (api, bare) = (runtime(), runtime());
    let address = serve(&api, history.clone(), &running);
    let day = "since=24h";
    for target in [
        "/livez".to_owned(),
        "/api/connection-summary".to_owned(),
        format!("/api/connection-summary?{day}"),
        format!("/api/list-connections?process_name=program-1&{day}"),
        format!("/api/list-connections?process_name={RARE}&{day}"),
        format!("/api/top?by=process&{day}"),
    ] {
        compare(load, address, &bare, &target);
    }
    assert!(load == "idle" || !running.is_finished(), "it was busy to the end: give it more connections");
    running.finish();
}

/// Asks a server, and in turn a bare handler with answers of the same size.
pub(super) fn compare(load: &str, address: SocketAddr, bare: &Runtime, target: &str) {
    let bytes = Client::of(address).ask(target);
    let same = serve_bare(bare, bytes);
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.extend(press(address, target, CLIENTS));
        others.extend(press(same, "/", CLIENTS));
    }
    let mut alone = press(address, target, 1);
    let seconds = (ROUND * ROUNDS as u32).as_secs_f64();
    let p99 = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() - 1 - times.len() / 100]
    };
    report(&json!({
        "what": format!("GET {target}"), "load": load, "bytes": bytes,
        "requests_per_second": ours.len() as f64 / seconds,
        "bare_requests_per_second": others.len() as f64 / seconds,
        "p99_ms": p99(&mut ours), "bare_p99_ms": p99(&mut others), "alone_p99_ms": p99(&mut alone),
    }));
}

/// As the server itself has it.
pub(super) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The server's own way from a socket to the store.
fn serve(runtime: &Runtime, history: SqliteHistory, running: &Running) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = ApiState {
        history: Arc::new(history),
        barrier: running.gate.clone(),
        clock: Clock::System,
        sockets: Arc::new(Nothing),
        feed: running.feed.clone(),
        programs: Arc::new(Nothing),
        hooks: Arc::new([]),
        allowed_hosts: Arc::new([]),
        answers: Arc::default(),
    };
    runtime.spawn(async move {
        // Whoever drops the sender says stop: it lives as long as the runtime.
        let (_go_on, stopped) = tokio::sync::watch::channel(false);
        access::serve(vec![Door::Tcp(listener)], Api::of(state), None, stopped).await.unwrap();
    });
    address
}

/// One handler that knows its answer.
fn serve_bare(runtime: &Runtime, bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let body = Bytes::from(vec![b' '; bytes]);
    let answer = get(async move || ([(CONTENT_TYPE, "application/json")], body));
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        axum::serve(listener, axum::Router::new().route("/", answer)).await.unwrap();
    });
    address
}

/// How long each answer took, in ms.
fn press(address: SocketAddr, target: &str, clients: usize) -> Vec<f64> {
    let asking = || {
        let mut client = Client::of(address);
        let (began, mut took) = (Instant::now(), Vec::new());
        while began.elapsed() < ROUND {
            let asked = Instant::now();
            client.ask(target);
            took.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        took
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(asking)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// A connection that is kept.
struct Client(BufReader<TcpStream>);

impl Client {
    fn of(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Bytes of the answer's body.
    fn ask(&mut self, target: &str) -> usize {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{target}: {line}");
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        length
    }
}

/// No machine.
struct Nothing;

impl Sockets for Nothing {
    fn existing(&self) -> Result<Vec<ExistingSocket>, HistoryError> {
        Ok(Vec::new())
    }
}

impl Programs for Nothing {
    fn costs(&self) -> Option<Vec<ProgramCost>> {
        None
    }

    fn detached(&self) -> Vec<String> {
        Vec::new()
    }
}
