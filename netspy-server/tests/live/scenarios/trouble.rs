//! What goes wrong on a connection: resets, segments that are sent again, listeners without room.

use std::net::TcpListener;

use netspy_api::TroubleEvent;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{acting, drop_rule, only_connection};
use crate::{
    actor::{Actor, End, Part, Talk},
    server::{connections_of, program, says_why, troubles},
};

/// The one trouble of a process from there to there.
fn only(event_type: &str, pid: u32, source: &str, destination: &str) -> TroubleEvent {
    let all = troubles(event_type, None);
    let mut found = all.clone();
    found.retain(|event| {
        let (from, to) = (event.source.as_deref(), event.destination.as_deref());
        event.pid == pid && from == Some(source) && to == Some(destination)
    });
    assert_eq!(found.len(), 1, "{event_type} of {pid} from {source} to {destination}: {all:#?}");
    found.remove(0)
}

fn assert_owner(event: &TroubleEvent, actor: &Actor, part: &Part) {
    assert_eq!((event.attribution.as_str(), event.pid), ("socket", actor.report.pid), "{event:#?}");
    assert_eq!((event.uid, event.process.as_deref()), (Some(actor.report.uid), Some(part.name.as_str())));
    assert_eq!((event.protocol.as_str(), event.netns), ("TCP", Some(actor.report.netns)));
}

/// Both ends are the actor's: it aborts, and its other end is told.
pub fn aborted() {
    let mut part = acting("actor-abort", "127.0.0.1:84");
    part.namespace = Some(Vec::new());
    part.listen = Some(part.to.clone());
    part.talk = Some(Talk { send: 10, receive: 10, end: End::Reset, ..Talk::default() });
    let actor = Actor::run(&part);
    let (pid, source) = (actor.report.pid, actor.attempt().source.clone().unwrap());
    let sent = only("reset_sent", pid, &source, &part.to);
    assert_owner(&sent, &actor, &part);
    let gives_reasons = program("reset_sent").note.is_empty();
    assert_eq!(sent.reason.as_deref(), gives_reasons.then_some("TCP_STATE"), "{sent:#?}");
    // A socket that was closed with a linger of 0 s: the kernel disconnects it, which resets in this state.
    assert_owner(&only("reset_received", pid, &source, &part.to), &actor, &part);
}

/// Nobody listens: the kernel itself answers, and no process has sent that RST.
pub fn refused() {
    let mut part = acting("actor-rst", "127.0.0.1:86");
    part.namespace = Some(Vec::new()); // nobody else is sent a RST there
    let actor = Actor::run(&part);
    let connection = only_connection(&actor, &part);
    let source = connection.source.unwrap();
    let received = only("reset_received", actor.report.pid, &part.to, &source);
    assert_owner(&received, &actor, &part);
    let mut sent = troubles("reset_sent", None);
    // An earlier namespace may have had the same number.
    sent.retain(|event| event.netns == Some(actor.report.netns) && event.timestamp >= connection.timestamp);
    // Before 6.10 the kernel tells of resets by sockets alone.
    let told = usize::from(program("reset_sent").note.is_empty());
    assert_eq!(sent.len(), told, "{sent:#?}");
    if let Some(sent) = sent.first() {
        assert_eq!((sent.attribution.as_str(), sent.pid), ("none", 0));
        assert_eq!((sent.reason.as_deref(), sent.source.as_ref()), (Some("NO_SOCKET"), Some(&part.to)));
        assert_eq!(sent.destination, Some(source));
    }
}

/// Its own counter says how many there must be.
pub fn retransmitted() {
    let mut part = acting("actor-again", "127.0.0.1:85");
    part.namespace = Some(Vec::new());
    part.listen = Some(part.to.clone());
    let meanwhile = Some(drop_rule("input").join(" && ").replace("dport 81", "dport 85"));
    part.talk = Some(Talk { send: 10, receive: 10, meanwhile, end: End::Timeout, ..Talk::default() });
    let actor = Actor::run(&part);
    let connections = connections_of(actor.report.pid);
    let connection = connections.iter().find(|event| event.direction == "outbound").unwrap();
    let mut again = troubles("retransmit", Some(actor.report.pid));
    again.retain(|event| event.source == connection.source);
    assert_eq!(Some(again.len() as u32), connection.retransmits, "{again:#?}");
    assert!(!again.is_empty());
    for event in &again {
        assert_owner(event, &actor, &part);
        assert_eq!(event.destination.as_deref(), Some(part.to.as_str()));
        // What was said before the silence is acknowledged; "hello?" is not.
        assert_eq!(event.segment_length, Some(6), "{event:#?}");
    }
}

pub fn overflow() {
    overflow_at("127.0.0.1:0");
}

pub fn overflow_over_ipv6() {
    overflow_at("[::1]:0");
}

/// A listener that accepts nothing has room for one connection more than it allowed: for one.
fn overflow_at(any: &str) {
    let mut part = acting("actor-queue", "");
    let traced = program("listen_overflow");
    let address: std::net::SocketAddr = any.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(address)).unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    part.to = listener.local_addr().unwrap().to_string();
    (part.times, part.close_at_once) = (2, true);
    let actor = Actor::run(&part);
    let sources: Vec<_> = actor.report.attempts.iter().map(|attempt| attempt.source.clone()).collect();
    let mut found = troubles("listen_overflow", None);
    found.retain(|event| event.destination.as_ref() == Some(&part.to));
    if traced.status != "active" {
        // Said where it is asked for, and not traced by halves.
        assert!(says_why(&traced), "{traced:#?}");
        assert!(found.is_empty(), "{found:#?}");
        return;
    }
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].attribution.as_str(), found[0].pid), ("socket", std::process::id()));
    assert_eq!(found[0].source, sources[1], "{found:#?}");
    assert_eq!((found[0].backlog, found[0].backlog_limit), (Some(1), Some(0)));
    assert_eq!(found[0].netns, Some(actor.report.netns));
}
