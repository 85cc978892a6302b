//! Events as they are recorded.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use netspy_api::{Event, StreamRequest, Streamed, TopRequest};
use netspy_server::domain::{Batch, Close, Ending, Outcome, TroubleKind};
use serde_json::Value;

use super::refusals::message;
use super::server::{NOW, SECOND, Server, attempt, packet_drop, sample, trouble};
use super::shapes::assert_event;

/// A server-sent event.
#[derive(Debug, Default)]
struct Sent {
    name: String,
    id: Option<i64>,
    data: Option<Value>,
}

/// What a browser's `EventSource` does, event by event.
struct Follower(BufReader<TcpStream>);

impl Follower {
    fn of(server: &Server, target: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        let mut follower = Self(BufReader::new(stream));
        let head: Vec<_> =
            std::iter::from_fn(|| Some(follower.line()).filter(|line| !line.is_empty())).collect();
        assert!(head[0].starts_with("HTTP/1.1 200"), "{head:?}");
        assert!(
            head.iter().any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")),
            "{head:?}"
        );
        follower
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next event, its chunks put together.
    fn next(&mut self) -> Sent {
        let mut sent = Sent::default();
        let mut text = String::new();
        while !text.ends_with("\n\n") {
            let length = usize::from_str_radix(&self.line(), 16).unwrap();
            assert!(length > 0, "the stream ended");
            let mut chunk = vec![0; length];
            self.0.read_exact(&mut chunk).unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            assert_eq!(self.line(), "");
        }
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("event", name)) => name.clone_into(&mut sent.name),
                Some(("id", id)) => sent.id = Some(id.parse().unwrap()),
                Some(("data", data)) => sent.data = Some(serde_json::from_str(data).unwrap()),
                Some(("", _)) => {}
                other => panic!("{other:?}"),
            }
        }
        sent
    }

    /// Ids and types of the next events, up to the next id of the stream, and that.
    fn until_id(&mut self) -> (Vec<(String, u64)>, i64) {
        let mut events = Vec::new();
        loop {
            let sent = self.next();
            if let Some(data) = &sent.data {
                assert_event(data);
                assert_eq!(data["type"], sent.name);
                let id = u64::from_str_radix(data["id"].as_str().unwrap(), 16).unwrap();
                events.push((sent.name, id));
            }
            if let Some(id) = sent.id {
                return (events, id);
            }
        }
    }

    /// Whether the server ends the stream.
    fn ends(&mut self) -> bool {
        self.line() == "0"
    }
}

fn named(events: &[(&str, u64)]) -> Vec<(String, u64)> {
    events.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect()
}

/// A batch that was written `ago` seconds before now.
fn batch(ago: i64, connections: &[(u64, Outcome)]) -> Batch {
    let connections =
        connections.iter().map(|(id, outcome)| attempt(*id, ago, 7, "curl", *outcome)).collect();
    Batch { connections, until_ns: Some(NOW - ago * SECOND), ..Batch::default() }
}

const SUCCESS: Outcome = Outcome::Established { latency_ns: 1 };

#[test]
fn events_come_as_they_are_recorded() {
    let server = Server::with(&sample());
    let mut all = Follower::of(&server, "/api/stream", "");
    let mut failures = Follower::of(&server, "/api/stream?outcome=refused,aborted&process=curl", "");
    assert_eq!((all.until_id(), failures.until_id()), ((vec![], NOW), (vec![], NOW)), "nothing of the past");
    server.record(batch(-1, &[(100, Outcome::Pending), (101, Outcome::Aborted { after_ns: 5 })]));
    let more = Batch {
        drops: vec![packet_drop(102, -2, 0, "NO_SOCKET")],
        troubles: vec![trouble(103, -3, 7, TroubleKind::ResetSent)],
        ..batch(-2, &[(100, SUCCESS)])
    };
    server.record(more);
    assert_eq!(all.until_id(), (named(&[("connection", 100), ("connection", 101)]), NOW + SECOND));
    let expected = [("connection", 100), ("packet_drop", 102), ("reset_sent", 103)];
    assert_eq!(all.until_id(), (named(&expected), NOW + 2 * SECOND));
    assert_eq!(failures.until_id(), (named(&[("connection", 101)]), NOW + SECOND));
    assert!(server.request("GET", "/metrics", "", b"").body.contains("\nnetspy_streams 2\n"));
    server.barrier.feed.close();
    assert!(all.ends() && failures.ends(), "the server stops");
}

#[test]
fn a_stream_may_begin_with_the_past_and_end() {
    let server = Server::with(&sample());
    let mut past = Follower::of(&server, "/api/stream?since=30s&until=0s", "");
    let expected = [
        ("connection", 3),
        ("packet_drop", 3),
        ("connection", 2),
        ("packet_drop", 2),
        ("connection", 1),
        ("packet_drop", 1),
    ];
    assert_eq!(past.until_id(), (named(&expected), NOW));
    assert!(past.ends());
    let mut one =
        Follower::of(&server, "/api/stream?since=1h&until=12s&type=packet_drop&drop_reason=NO_SOCKET", "");
    assert_eq!(one.until_id().0, named(&[("packet_drop", 4), ("packet_drop", 3)]));
    assert!(one.ends());
}

#[test]
fn a_stream_that_broke_off_goes_on_from_the_history() {
    let server = Server::with(&sample());
    // Began long before, and ended when nobody was listening.
    let mut long = attempt(5, 61, 1, "old", Outcome::Established { latency_ns: 1 });
    long.close = Some(Close { after_ns: 60 * SECOND as u64, ending: Ending::ClosedByPeer, errno: 0 });
    server.record(Batch { connections: vec![long], ..Batch::default() });
    let last = NOW - 12 * SECOND;
    let mut again = Follower::of(&server, "/api/stream", &format!("Last-Event-ID: {last}\r\n"));
    let expected = [("connection", 5), ("connection", 1), ("packet_drop", 1)];
    assert_eq!(again.until_id(), (named(&expected), NOW));
    server.record(batch(-1, &[(100, SUCCESS)]));
    assert_eq!(again.until_id(), (named(&[("connection", 100)]), NOW + SECOND));
}

#[test]
fn a_past_that_is_too_long_is_said_to_be() {
    let connections: Vec<_> = (0..10_005).map(|id| (id, SUCCESS)).collect();
    let server = Server::with(&batch(10, &connections));
    let mut past = Follower::of(&server, "/api/stream?since=1m&until=0s", "");
    let lagged = past.next();
    assert_eq!((lagged.name.as_str(), &lagged.data.unwrap()["missed"]), ("lagged", &Value::from(5)));
    assert_eq!(past.until_id().0.len(), 10_000);
}

#[test]
fn who_reads_slowly_is_told_what_was_missed_and_nobody_waits() {
    let server = Server::empty();
    let mut slow = Follower::of(&server, "/api/stream", "");
    assert_eq!(slow.until_id().1, NOW);
    let began = std::time::Instant::now();
    let (batches, rows) = (400_u64, 200_u64);
    for number in 0..batches {
        let rows: Vec<_> = (0..rows).map(|row| (1_000 + number * rows + row, SUCCESS)).collect();
        let ago = -1 - number.cast_signed();
        server.record(batch(ago, &rows));
    }
    assert!(began.elapsed() < Duration::from_mins(1), "recording waited for the reader");
    let (mut read, mut missed) = (0, 0);
    let mut resume = None;
    while read + missed < batches * rows {
        let sent = slow.next();
        match (sent.name.as_str(), sent.data) {
            ("lagged", Some(data)) => {
                missed += data["missed"].as_u64().unwrap();
                resume = resume.or(data["last_event_id"].as_str().map(str::to_owned));
            }
            (_, Some(_)) => read += 1,
            (_, None) => {}
        }
    }
    assert_eq!(read + missed, batches * rows, "what was not sent was said");
    assert!(missed > 0 && read > 0, "{missed} {read}");
    let at = resume.unwrap().parse::<i64>().unwrap();
    assert!(at >= NOW && (at - NOW) % SECOND == 0, "the end of a batch: {at}");
}

#[test]
fn what_a_stream_does_not_take_is_refused() {
    let server = Server::empty();
    for (target, headers, expected) in [
        ("/api/stream?limit=5", "", "limit is no condition here"),
        ("/api/stream?duration_seconds=5", "", "a stream begins with since"),
        ("/api/stream?since=1m&until=2m", "", "since must not be later than until"),
        ("/api/stream?outcome=bad", "", "outcome takes one or more of"),
        ("/api/stream", "Last-Event-ID: yesterday\r\n", "Last-Event-ID takes the id"),
    ] {
        let answer = server.request("GET", target, headers, b"");
        let message = message(&answer, 400, "Bad Request");
        assert!(message.contains(expected), "{target}: {message}");
    }
    let followers: Vec<_> = (0..64).map(|_| Follower::of(&server, "/api/stream", "")).collect();
    let answer = server.request("GET", "/api/stream", "", b"");
    assert!(message(&answer, 503, "Service Unavailable").contains("64 followers already"));
    drop(followers);
}

#[test]
fn the_client_follows_and_goes_on_where_it_was() {
    let server = Server::with(&sample());
    let client = netspy_api::Client::new(&format!("http://{}", server.address)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut request = StreamRequest { event_type: Some("connection".into()), ..StreamRequest::default() };
        let mut stream = client.stream(&request, None).await.unwrap();
        server.record(batch(-1, &[(100, SUCCESS)]));
        let Some(Streamed::Event(event)) = stream.next().await.unwrap() else { panic!("no event") };
        let Event::Connection(connection) = *event else { panic!("{event:?}") };
        assert_eq!(
            (connection.id.as_str(), connection.outcome.as_str()),
            ("0000000000000064", "established")
        );
        let last = stream.last_event_id().unwrap().to_owned();
        assert_eq!(last, NOW.to_string(), "what is behind an event is known once the next is read");

        request.until = Some("0s".into());
        let mut rest = client.stream(&request, Some(&last)).await.unwrap();
        let mut ids = Vec::new();
        while let Some(Streamed::Event(event)) = rest.next().await.unwrap() {
            let Event::Connection(connection) = *event else { panic!("{event:?}") };
            ids.push(connection.id);
        }
        assert!(ids.is_empty(), "what is after until is not asked for: {ids:?}");

        let ready = client.ready().await.unwrap();
        assert!(ready.ready && ready.checks.len() == 3);
        *server.barrier.fails.lock().unwrap() = Some("disk full".into());
        let ready = client.ready().await.unwrap();
        assert!(!ready.ready && ready.checks[0].detail.as_deref() == Some("disk full"));
        *server.barrier.fails.lock().unwrap() = None;
        let top =
            TopRequest { by: Some("outcome".into()), since: Some("30s".into()), ..TopRequest::default() };
        assert_eq!(client.top(&top).await.unwrap().groups.len(), 4, "of the whole minutes");
    });
}
