//! Connects of UNIX sockets.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use netspy_api::ConnectionEvent;
use socket2::Socket;

use super::{acting, assert_failed};
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
        let unix = Unix { socket_type: number, name: path(directory.path(), socket_type) };
        let _server = serve(&unix, 1);
        let (event, actor) = connected("actor-unix", &unix, |_| {});
        assert_eq!(actor.attempt().errno, 0);
        assert_connected(&event, &String::from_utf8(unix.name).unwrap(), peer);
        assert_eq!(event.socket_type, socket_type);
    }
}

/// All 108 bytes: a path with its terminating NUL, an abstract name without one.
pub fn longest_names() {
    let directory = tempfile::tempdir().unwrap();
    let mut name = path(directory.path(), "");
    name.resize(107, b'x');
    let unix = Unix { socket_type: STREAM, name: name.clone() };
    let _server = serve(&unix, 1);
    let (event, _actor) = connected("actor-unix-108", &unix, |_| {});
    assert_connected(&event, &String::from_utf8(name).unwrap(), Some(std::process::id()));

    let mut name = vec![b'y'; 108];
    name[0] = 0;
    let unix = Unix { socket_type: STREAM, name };
    let _server = serve(&unix, 1);
    let (event, _actor) = connected("actor-unix-108", &unix, |_| {});
    assert_connected(&event, &format!("@{}", "y".repeat(107)), Some(std::process::id()));
}

/// An abstract name may hold any bytes: here a NUL, an escape, and what is no UTF-8.
pub fn abstract_name() {
    let unix = Unix { socket_type: STREAM, name: b"\0netspy\0\x1b[31m\xff\n".to_vec() };
    let _server = serve(&unix, 1);
    let (event, _actor) = connected("actor-abstract", &unix, |_| {});
    assert_connected(&event, "@netspy@\u{1b}[31m\u{fffd}\n", Some(std::process::id()));
}

pub fn missing() {
    let directory = tempfile::tempdir().unwrap();
    let unix = Unix { socket_type: STREAM, name: path(directory.path(), "nothing") };
    let (event, actor) = connected("actor-unix-no", &unix, |_| {});
    assert_refused(&event, &actor, "failed", libc::ENOENT, "ENOENT");
    assert_eq!(event.path.unwrap().as_bytes(), unix.name);
}

/// A socket's file that its process left behind.
pub fn nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let unix = Unix { socket_type: STREAM, name: path(directory.path(), "left") };
    drop(serve(&unix, 1));
    let (event, actor) = connected("actor-unix-left", &unix, |_| {});
    assert_refused(&event, &actor, "refused", libc::ECONNREFUSED, "ECONNREFUSED");
}

pub fn forbidden() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let unix = Unix { socket_type: STREAM, name: path(directory.path(), "private") };
    let _server = serve(&unix, 1);
    let (event, actor) = connected("actor-unix-uid", &unix, |part| part.uid = Some(65_534));
    assert_eq!(event.uid, 65_534);
    assert_refused(&event, &actor, "failed", libc::EACCES, "EACCES");
}

/// A listener's queue that is full: a call that may not wait fails.
pub fn full_backlog() {
    let directory = tempfile::tempdir().unwrap();
    let unix = Unix { socket_type: STREAM, name: path(directory.path(), "busy") };
    let _server = serve(&unix, 0);
    let first = unix.socket();
    first.connect(&unix.address()).unwrap();
    let (event, actor) = connected("actor-unix-full", &unix, |part| part.non_blocking = true);
    assert_refused(&event, &actor, "failed", libc::EAGAIN, "EAGAIN");
}
