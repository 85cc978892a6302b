//! What was there before the server.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::{Duration, Instant},
};

use netspy_api::ConnectionEvent;

use super::open_door;
use crate::{
    actor::{Actor, Part},
    server::Server,
};

/// This process's connections with `port` at either end, oldest first.
fn with_port(server: &Server, port: u16) -> Vec<ConnectionEvent> {
    let mut events = server.connections(Some(std::process::id()), None);
    events.retain(|event| event.destination_port == port);
    events
}

pub fn connections() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(at).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    client.write_all(b"before").unwrap();
    accepted.read_exact(&mut [0; 6]).unwrap();
    let elsewhere = Part { name: "actor-old".into(), namespace: Some(Vec::new()), ..Part::default() };
    let elsewhere =
        Part { listen: Some("127.0.0.1:84".into()), to: "127.0.0.1:84".into(), hold: true, ..elsewhere };
    let elsewhere = Actor::run(&elsewhere);

    let server = Server::start(&[]);
    let found = with_port(&server, at.port());
    let directions: Vec<_> = found.iter().map(|event| event.direction.as_str()).collect();
    assert!(directions.contains(&"outbound") && directions.contains(&"inbound"), "{found:#?}");
    assert_eq!(found.len(), 2, "{found:#?}");
    for event in &found {
        assert!(event.found && event.ending.is_none() && event.outcome == "established", "{event:#?}");
        assert_eq!(event.latency_us, None, "nobody knows how long it took: {event:#?}");
        assert_eq!(event.source, Some(client.local_addr().unwrap().to_string()));
        assert_eq!(event.destination, at.to_string());
    }
    let there = server.connections(Some(elsewhere.report.pid), None);
    assert_eq!(there.len(), 2, "{there:#?}");
    assert!(there.iter().all(|event| event.netns == Some(elsewhere.report.netns)), "{there:#?}");

    // Their end is seen, with everything that had passed over them.
    client.write_all(b"and after").unwrap();
    drop(client);
    accepted.read_to_end(&mut Vec::new()).unwrap();
    drop(accepted);
    thread::sleep(Duration::from_millis(100));
    let ended = with_port(&server, at.port());
    assert_eq!(ended.len(), 2, "{ended:#?}");
    for event in &ended {
        let (sent, received) = if event.direction == "outbound" { (15, 0) } else { (0, 15) };
        assert_eq!((event.bytes_sent, event.bytes_received), (Some(sent), Some(received)), "{event:#?}");
        assert!(event.found && event.ending.is_some(), "{event:#?}");
    }

    // A connection to a listener from before belongs to it.
    let late = TcpStream::connect(at).unwrap();
    let waiting = with_port(&server, at.port());
    let waiting = waiting.iter().find(|event| !event.found && event.direction == "inbound").unwrap();
    assert_eq!(waiting.source, Some(late.local_addr().unwrap().to_string()));
    assert_eq!(waiting.accepted_after_us, None);
    assert_eq!(server.stop(), Some(0));
}

/// Both ends of connections over UNIX sockets, which have no tuple to be known by.
pub fn unix_connections() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("found");
    let listener = UnixListener::bind(&path).unwrap();
    let clients = [&path; 3].map(|path| UnixStream::connect(path).unwrap());
    let accepted = clients.each_ref().map(|_| listener.accept().unwrap().0);

    let server = Server::start(&[]);
    let found = || {
        let mut events = server.connections(Some(std::process::id()), None);
        events.retain(|event| event.path.as_deref() == path.to_str());
        events
    };
    let before = found();
    let outbound = before.iter().filter(|event| event.direction == "outbound").count();
    assert_eq!((before.len(), outbound), (6, 3), "{before:#?}");
    let new = before.iter().all(|event| event.found && event.ending.is_none());
    assert!(new && before.iter().all(|event| event.peer_pid == Some(std::process::id())), "{before:#?}");
    drop(clients);
    drop(accepted);
    let of = |direction: &str| {
        let ended = found().into_iter().filter(|event| event.direction == direction);
        ended.map(|event| event.ending.unwrap_or_default()).collect::<Vec<_>>()
    };
    let endings = if server.program("unix").rung == "tracepoint" {
        ["", ""]
    } else {
        ["closed_locally", "closed_by_peer"]
    };
    assert_eq!([of("outbound"), of("inbound")], endings.map(|ending| vec![ending; 3]));
    assert_eq!(server.stop(), Some(0));
}

/// The server sleeps while more happens than the rings hold: afterwards what is over is not shown as open, and
/// what is open is known, though the records of both were lost.
pub fn after_a_loss() {
    let server = Server::start(&[]);
    let to = open_door().to_string();
    let holding = Part { name: "actor-holds".into(), to: to.clone(), hold: true, ..Part::default() };
    let before = Actor::run(&holding);
    assert_eq!(server.connections(Some(before.report.pid), None).len(), 1);
    server.signal(rustix::process::Signal::STOP);
    let part = Part { name: "actor-flood".into(), to, times: 13_000, ..Part::default() };
    let flood = Actor::run(&Part { hang_up: true, ..part });
    let during = Actor::run(&holding);
    server.go_on();
    let lost = server.summary("actor-flood").lost.unwrap();
    assert!(lost.total > 0, "the ring never filled");

    let deadline = Instant::now() + Duration::from_secs(20);
    let of_flood = loop {
        let (mut events, _) = server.connections_and_loss(Some(flood.report.pid), None);
        events.retain(|event| event.ending.is_none());
        if events.is_empty() || Instant::now() > deadline {
            break events;
        }
        thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(of_flood, [], "shown as open though it is over");
    for (holder, found) in [(before, false), (during, true)] {
        // What is open is looked for once the loss is noticed, up to a second later.
        let open = loop {
            let (open, _) = server.connections_and_loss(Some(holder.report.pid), None);
            if open.len() == 1 || Instant::now() > deadline {
                break open;
            }
            thread::sleep(Duration::from_millis(100));
        };
        assert_eq!(open.len(), 1, "{open:#?}");
        assert_eq!((open[0].found, &open[0].ending, open[0].direction.as_str()), (found, &None, "outbound"));
        assert_eq!(open[0].source, holder.attempt().source);
    }
    assert_eq!(server.stop(), Some(0));
}

pub fn listeners() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("listener");
    let unix = UnixListener::bind(&path).unwrap();
    let _waiting = [tcp.local_addr(), tcp.local_addr()].map(|at| TcpStream::connect(at.unwrap()).unwrap());
    let _waits = UnixStream::connect(&path).unwrap();

    let server = Server::start(&[]);
    let mine = |server: &Server| {
        let mut listeners = server.listeners();
        listeners.retain(|listener| listener.pid == std::process::id());
        listeners
    };
    let found = mine(&server);
    let by_port = |port| found.iter().find(|listener| listener.port == Some(port)).unwrap();
    let of_tcp = by_port(tcp.local_addr().unwrap().port());
    assert_eq!((of_tcp.protocol.as_str(), of_tcp.backlog), ("TCP", Some(2)));
    assert!(of_tcp.backlog_limit.unwrap() >= 2);
    assert_eq!(by_port(udp.local_addr().unwrap().port()).protocol, "UDP");
    let of_unix = found.iter().find(|listener| listener.path.as_deref() == path.to_str()).unwrap();
    assert_eq!((of_unix.protocol.as_str(), of_unix.backlog), ("UNIX", Some(1)));
    drop((tcp, unix));
    assert_eq!(mine(&server).len(), found.len() - 2);
    assert_eq!(server.stop(), Some(0));
}
