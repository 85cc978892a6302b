//! Connects of UNIX sockets, and their end.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread, time::Duration};

use netspy_api::ConnectionEvent;
use socket2::Socket;

use super::{acting, assert_failed, datagrams::watched};
use crate::{
    actor::{Actor, Part, Unix},
    server::connections_of,
};

const STREAM: i32 = libc::SOCK_STREAM;

/// A socket of this type that has this name, and listens if that is what such a socket does.
fn serve(unix: &Unix, backlog: i32) -> Socket {
    let socket = unix.socket();
    socket.bind(&unix.address()).unwrap();
    if unix.socket_type != libc::SOCK_DGRAM {
        socket.listen(backlog).unwrap();
    }
    socket
}

fn path(directory: &Path, name: &str) -> Vec<u8> {
    directory.join(name).into_os_string().into_encoded_bytes()
}

/// The one event of an actor that connects there, compared with what the actor knows.
fn connected(actor_name: &str, unix: &Unix, more: impl FnOnce(&mut Part)) -> (ConnectionEvent, Actor) {
    let mut part = acting(actor_name, "");
    part.unix = Some(unix.clone());
    more(&mut part);
    let actor = Actor::run(&part);
    let events = connections_of(actor.report.pid);
    assert_eq!(events.len(), 1, "{events:#?}");
    let event = events.into_iter().next().unwrap();
    let report = &actor.report;
    assert_eq!((event.pid, event.tid, event.uid), (report.pid, report.tid, report.uid));
    assert_eq!((event.process.as_str(), event.direction.as_str()), (actor_name, "outbound"));
    assert_eq!((event.address_family, event.protocol.as_str()), (1, "UNIX"));
    assert_eq!(i32::from(event.raw_socktype), unix.socket_type);
    assert_eq!(event.netns, Some(report.netns));
    assert!(event.latency_us.unwrap() <= actor.attempt().took_us + 1, "{event:#?} {report:#?}");
    (event, actor)
}

fn assert_connected(event: &ConnectionEvent, name: &str, peer: Option<u32>) {
    assert_eq!((event.outcome.as_str(), event.errno), ("established", None), "{event:#?}");
    assert_eq!(event.path.as_deref(), Some(name));
    assert_eq!(event.destination, name);
    assert_eq!(event.peer_pid, peer);
}

fn assert_refused(event: &ConnectionEvent, actor: &Actor, outcome: &str, errno: i32, name: &str) {
    assert_eq!(actor.attempt().errno, errno);
    assert_failed(event, outcome, "call", errno, name);
    assert_eq!(event.peer_pid, None);
}

/// Where only the system call is hooked, the end of a connection is not seen.
fn assert_ended(event: &ConnectionEvent, actor: &Actor, ending: &str, pause_ms: u64) {
    if !watched("unix", actor) {
        return;
    }
    let lasted_us = actor.attempt().lasted_us;
    assert_eq!(event.ending.as_deref(), Some(ending), "{event:#?}");
    let duration = event.duration_us.unwrap();
    assert!((pause_ms * 1000..=lasted_us).contains(&duration), "{duration} of {lasted_us} µs");
}

/// Every type of socket, with the pid of the process that listens.
pub fn by_path() {
    let directory = tempfile::tempdir().unwrap();
    let me = std::process::id();
    let types = [
        ("STREAM", STREAM, Some(me)),
        ("SEQPACKET", libc::SOCK_SEQPACKET, Some(me)),
        ("DGRAM", libc::SOCK_DGRAM, None),
    ];
    for (socket_type, number, peer) in types {
        let name = path(directory.path(), socket_type);
        let unix = Unix { socket_type: number, name, pause_ms: 20, ..Unix::default() };
        let _server = serve(&unix, 1);
        let (event, actor) = connected("actor-unix", &unix, |_| {});
        assert_eq!(actor.attempt().errno, 0);
        assert_connected(&event, &String::from_utf8(unix.name).unwrap(), peer);
        assert_eq!(event.socket_type, socket_type);
        assert_ended(&event, &actor, "closed_locally", unix.pause_ms);
    }
}

/// The peer closes first: with nothing left to read, and with something.
pub fn closed_by_peer() {
    let directory = tempfile::tempdir().unwrap();
    for (socket_type, send, ending, errno) in [
        (STREAM, b"".as_slice(), "closed_by_peer", None),
        (libc::SOCK_SEQPACKET, b"", "closed_by_peer", None),
        (STREAM, b"unread", "reset_by_peer", Some("ECONNRESET")),
    ] {
        let name = path(directory.path(), &format!("{socket_type}-{}", send.len()));
        let unix = Unix { socket_type, name, send: send.to_vec(), pause_ms: 300, then: None };
        let server = serve(&unix, 1);
        let closing = thread::spawn(move || {
            let (peer, _) = server.accept().unwrap();
            thread::sleep(Duration::from_millis(50)); // until it was sent
            drop(peer);
        });
        let (event, actor) = connected("actor-unix-left", &unix, |_| {});
        closing.join().unwrap();
        assert_ended(&event, &actor, ending, unix.pause_ms);
        assert_eq!(event.ending_errno_name.as_deref(), errno.filter(|_| event.ending.is_some()));
    }
}

/// A datagram socket leaves its peer for another one: two connections, one after the other.
pub fn another_peer() {
    let directory = tempfile::tempdir().unwrap();
    let to = |name: &str| Unix {
        socket_type: libc::SOCK_DGRAM,
        name: path(directory.path(), name),
        pause_ms: 20,
        ..Unix::default()
    };
    let (first, second) = (to("first"), to("second"));
    let _servers = [serve(&first, 1), serve(&second, 1)];
    let mut part = acting("actor-unix-two", "");
    part.unix = Some(Unix { then: Some(second.name.clone()), ..first.clone() });
    let actor = Actor::run(&part);
    let events = connections_of(actor.report.pid);
    let names: Vec<_> = events.iter().map(|event| event.destination.as_bytes()).collect();
    assert_eq!(names, [first.name, second.name]);
    assert_ended(&events[0], &actor, "closed_locally", first.pause_ms);
    assert_ended(&events[1], &actor, "closed_locally", 0);
}

/// All 108 bytes: a path with its terminating NUL, an abstract name without one.
pub fn longest_names() {
    let directory = tempfile::tempdir().unwrap();
    let mut name = path(directory.path(), "");
    name.resize(107, b'x');
    let unix = Unix { socket_type: STREAM, name: name.clone(), ..Unix::default() };
    let _server = serve(&unix, 1);
    let (event, _actor) = connected("actor-unix-108", &unix, |_| {});
    assert_connected(&event, &String::from_utf8(name).unwrap(), Some(std::process::id()));

    let mut name = vec![b'y'; 108];
    name[0] = 0;
    let unix = Unix { socket_type: STREAM, name, ..Unix::default() };
    let _server = serve(&unix, 1);
    let (event, _actor) = connected("actor-unix-108", &unix, |_| {});
    assert_connected(&event, &format!("@{}", "y".repeat(107)), Some(std::process::id()));
}

/// An abstract name may hold any bytes: here a NUL, an escape, and what is no UTF-8.
pub fn abstract_name() {
    let unix = Unix { socket_type: STREAM, name: b"\0netspy\0\x1b[31m\xff\n".to_vec(), ..Unix::default() };
    let _server = serve(&unix, 1);
    let (event, _actor) = connected("actor-abstract", &unix, |_| {});
    assert_connected(&event, "@netspy@\u{1b}[31m\u{fffd}\n", Some(std::process::id()));
}

pub fn missing() {
    let directory = tempfile::tempdir().unwrap();
    let unix = Unix { socket_type: STREAM, name: path(directory.path(), "nothing"), ..Unix::default() };
    let (event, actor) = connected("actor-unix-no", &unix, |_| {});
    assert_refused(&event, &actor, "failed", libc::ENOENT, "ENOENT");
    assert_eq!(event.path.unwrap().as_bytes(), unix.name);
}

/// A socket's file that its process left behind.
pub fn nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let unix = Unix { socket_type: STREAM, name: path(directory.path(), "left"), ..Unix::default() };
    drop(serve(&unix, 1));
    let (event, actor) = connected("actor-unix-left", &unix, |_| {});
    assert_refused(&event, &actor, "refused", libc::ECONNREFUSED, "ECONNREFUSED");
}

pub fn forbidden() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let unix = Unix { socket_type: STREAM, name: path(directory.path(), "private"), ..Unix::default() };
    let _server = serve(&unix, 1);
    let (event, actor) = connected("actor-unix-uid", &unix, |part| part.uid = Some(65_534));
    assert_eq!(event.uid, 65_534);
    assert_refused(&event, &actor, "failed", libc::EACCES, "EACCES");
}

/// A listener's queue that is full: a call that may not wait fails.
pub fn full_backlog() {
    let directory = tempfile::tempdir().unwrap();
    let unix = Unix { socket_type: STREAM, name: path(directory.path(), "busy"), ..Unix::default() };
    let _server = serve(&unix, 0);
    let first = unix.socket();
    first.connect(&unix.address()).unwrap();
    let (event, actor) = connected("actor-unix-full", &unix, |part| part.non_blocking = true);
    assert_refused(&event, &actor, "failed", libc::EAGAIN, "EAGAIN");
}
