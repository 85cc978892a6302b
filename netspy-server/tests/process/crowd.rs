//! Clients that are many, silent or slow: real sockets, none of which may hold up the others.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use netspy_api::{Client, ListRequest, SummaryRequest};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::server::{Installed, Running};

const IDLE: usize = 1_000;
const SLOW: usize = 100;
/// Requests that a slow client sends at once: their answers fill every buffer in between.
const ASKED: usize = 60;
/// The server cuts after ten seconds; a busy machine may need some more to say so.
const CUT_WITHIN: Duration = Duration::from_secs(25);

fn allow_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// A client that asks for everything, again and again, and reads nothing.
async fn slow_client(server: &Running) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(server.address().parse().unwrap()).await.unwrap();
    let request =
        "GET /api/events?limit=10000&since=2020-01-01T00:00:00Z HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.repeat(ASKED).as_bytes()).await.unwrap();
    stream
}

/// The bytes that come until the server has had enough.
async fn until_cut(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = timeout(CUT_WITHIN, stream.read_to_end(&mut bytes)).await;
    assert!(end.is_ok(), "it was never cut");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_and_a_hundred_slow_clients_hold_nobody_up_and_are_cut() {
    allow_files();
    let installed = Installed::new();
    let server = installed.replay(&[]);
    let client = Client::new(&server.url).unwrap();
    let all = ListRequest { limit: Some(10_000), ..ListRequest::default() };
    let expected = client.list_connections(&all).await.unwrap();

    let (mut idle, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let request =
        "GET /api/events?limit=10000&since=2020-01-01T00:00:00Z HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..SLOW {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stream = socket.connect(server.address().parse().unwrap()).await.unwrap();
        stream.write_all(request.repeat(ASKED).as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let begun = Instant::now();
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(client.list_connections(&all).await.unwrap().events_by_pid, expected.events_by_pid);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?} while others idle", asked.elapsed());
    }
    for stream in &mut idle {
        assert_eq!(until_cut(stream).await, b"", "who asks nothing gets nothing");
    }
    assert!(begun.elapsed() > Duration::from_secs(5), "idle clients are not cut at once");
    tokio::time::sleep(Duration::from_secs(12)).await; // more than a slow client has, once the server is at leisure
    for stream in &mut slow {
        // Whatever fitted into the buffers comes, and then the end instead of the rest.
        let mut bytes = Vec::new();
        let end = timeout(CUT_WITHIN, stream.read_to_end(&mut bytes)).await;
        let whole = bytes.windows(12).filter(|window| window == b"HTTP/1.1 200").count();
        assert!(end.is_ok() && whole < ASKED, "a slow client got {whole} of {ASKED} answers: {end:?}");
    }
    assert_eq!(client.list_connections(&all).await.unwrap().events_by_pid, expected.events_by_pid);
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tracing_does_not_wait_for_slow_clients() {
    const ATTEMPTS: u64 = 200;
    allow_files();
    let installed = Installed::new();
    let words = ["--port", "0", "--socket", "off", "--db", "history.db"];
    let server = Running::start(&mut installed.command(&words));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let attempt_all = || {
        for _ in 0..ATTEMPTS {
            assert!(std::net::TcpStream::connect(closed).is_err());
        }
    };
    attempt_all();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(slow_client(&server).await);
    }
    attempt_all();
    let request = SummaryRequest { pid: Some(std::process::id()), ..SummaryRequest::default() };
    let summary = Client::new(&server.url).unwrap().connection_summary(&request).await.unwrap();
    assert_eq!(summary.outcomes["refused"], 2 * ATTEMPTS, "{summary:?}");
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[tokio::test]
async fn heads_that_are_too_long_or_come_too_slowly_are_cut() {
    let server = Installed::new().replay(&[]);
    let connect = || TcpStream::connect(server.address());
    let mut long = connect().await.unwrap();
    let _ = long.write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)).as_bytes()).await;
    let mut many = connect().await.unwrap();
    let headers = "X-Y: z\r\n".repeat(100);
    many.write_all(format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
    for stream in [&mut long, &mut many] {
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"HTTP/1.1 431");
    }
    // A byte now and then is not enough.
    let mut slow = connect().await.unwrap();
    let begun = Instant::now();
    for byte in b"GET /health HTTP/1.1\r\nHost: localhost" {
        if slow.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(9));
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    // Between two requests as well.
    let mut kept = connect().await.unwrap();
    kept.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(until_cut(&mut kept).await.starts_with(b"HTTP/1.1 200"));
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

/// One whose body never comes keeps nobody waiting for longer than an answer may take.
#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Installed::new().replay(&[]);
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = "POST /api/connection-summary HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    let begun = Instant::now();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = [0; 12];
    timeout(Duration::from_mins(1), stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(&bytes, b"HTTP/1.1 503");
    assert!(begun.elapsed() > Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

/// The limit of connections is not the end of the next client: it waits until a place is free.
#[tokio::test]
async fn whoever_comes_when_every_place_is_taken_waits_for_one() {
    const PLACES: usize = 2_048;
    allow_files();
    let server = Installed::new().replay(&[]);
    let mut idle = Vec::new();
    for _ in 0..PLACES {
        idle.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let mut last = TcpStream::connect(server.address()).await.unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(until_cut(&mut last).await.starts_with(b"HTTP/1.1 200"));
    let mut still = idle.into_iter().map(|stream| stream.into_std().unwrap());
    assert!(
        still.any(|mut stream| matches!(stream.read(&mut [0]), Ok(0))),
        "it had a place before one was free"
    );
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[tokio::test]
async fn requests_under_way_are_answered_when_the_server_is_told_to_stop() {
    let server = Installed::new().replay(&[]);
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = "POST /api/connection-summary HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server has begun to read the request before it is told to stop.
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.signal(Signal::TERM);
    server.said("told to stop");
    stream.write_all(b"{}").await.unwrap();
    let answer = until_cut(&mut stream).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(server.stop(Signal::TERM), Some(0));
}
