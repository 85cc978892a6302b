//! A connection from its beginning to its end, at both ends: the actor connects, this process accepts.

use std::{
    net::TcpListener,
    os::fd::AsRawFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use netspy_api::ConnectionEvent;
use socket2::{Domain, Protocol, Socket, Type};

use super::{acting, assert_established, check, drop_rule, open_door};
use crate::{
    actor::{Actor, End, Part, Talk},
    server::{Server, connections_of},
};

/// Both ends of a conversation between an actor and this process.
struct Ends {
    actor: Actor,
    outbound: ConnectionEvent,
    inbound: ConnectionEvent,
}

fn converse(name: &str, talk: Talk, listen: &str, change: impl FnOnce(&mut Part)) -> Ends {
    let mut part = acting(name, ""); // from here on the server sees who listens
    let listener = TcpListener::bind(listen).unwrap();
    part.to = listener.local_addr().unwrap().to_string();
    part.talk = Some(talk.clone());
    change(&mut part);
    let answering = thread::spawn(move || talk.answer(listener.accept().unwrap().0));
    let actor = Actor::run(&part);
    answering.join().unwrap();
    let events = connections_of(actor.report.pid);
    assert_eq!(events.len(), 1, "{events:#?}");
    check(&events[0], &actor, &part, actor.attempt());
    assert_established(&events[0], actor.attempt());
    let inbound = of_peer(std::process::id(), &actor, &part);
    Ends { actor, outbound: events[0].clone(), inbound }
}

/// The end of the actor's one connection that belongs to `pid`.
fn of_peer(pid: u32, actor: &Actor, part: &Part) -> ConnectionEvent {
    let port = part.to.rsplit_once(':').unwrap().1;
    let mut events = connections_of(pid);
    events.retain(|event| event.direction == "inbound" && event.destination_port.to_string() == port);
    events.retain(|event| event.source == actor.attempt().source);
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

impl Ends {
    /// What both ends must say of bytes, time and owner.
    fn check(&self, talk: &Talk) {
        let (send, receive) = (Some(talk.send as u64), Some(talk.receive as u64));
        assert_eq!((self.outbound.bytes_sent, self.outbound.bytes_received), (send, receive));
        assert_eq!((self.inbound.bytes_sent, self.inbound.bytes_received), (receive, send));
        assert_eq!(self.inbound.pid, std::process::id());
        assert_eq!(self.inbound.destination, self.outbound.destination);
        assert_eq!(self.inbound.outcome, "established");
        assert!(self.inbound.accepted_after_us.is_some(), "{:#?}", self.inbound);
        let (duration, lasted) = (self.outbound.duration_us.unwrap(), self.actor.attempt().lasted_us);
        // The kernel closes for good when the peer has acknowledged the FIN: a little later than the call returns.
        assert!(
            duration >= talk.pause_ms * 1000 && duration <= lasted + 200_000,
            "{duration} of {lasted} µs"
        );
    }

    fn endings(&self) -> (Option<&str>, Option<&str>) {
        (self.outbound.ending.as_deref(), self.inbound.ending.as_deref())
    }
}

pub fn closed_locally() {
    let talk = Talk { send: 300_000, receive: 5_000, pause_ms: 30, ..Talk::default() };
    let ends = converse("actor-closes", talk.clone(), "127.0.0.1:0", |_| ());
    ends.check(&talk);
    assert_eq!(ends.endings(), (Some("closed_locally"), Some("closed_by_peer")));
    let told = ends.actor.attempt();
    let srtt = ends.outbound.srtt_us.unwrap();
    // The acknowledgement of the FIN is one more sample, with an eighth of the weight (RFC 6298 §2).
    assert!(srtt >= told.srtt_us / 2 && srtt <= told.srtt_us + 25_000, "{srtt} of {} µs", told.srtt_us);
    // A FIN that a very busy machine acknowledges too late is sent again.
    let again = ends.outbound.retransmits.unwrap() - told.retransmits;
    assert!(again <= 1, "{again} more than before the close: {:#?}", ends.outbound);
}

pub fn closed_by_peer_over_ipv6() {
    let talk = Talk { send: 1, receive: 70_000, pause_ms: 30, end: End::PeerCloses, ..Talk::default() };
    // Where the kernel has no room for another socket in TIME-WAIT, it resets the connection. A socket says so: then nobody has
    // closed it in peace, and it is done again.
    let mut tries = (0..5).map(|_| converse("actor-closed", talk.clone(), "[::1]:0", |_| ()));
    let ends = tries.find(|ends| ends.actor.attempt().end_errno == 0).unwrap();
    ends.check(&talk);
    assert_eq!(ends.endings(), (Some("closed_by_peer"), Some("closed_locally")));
}

pub fn reset_by_peer() {
    let talk = Talk { send: 10, receive: 10, end: End::PeerResets, ..Talk::default() };
    let ends = converse("actor-reset", talk.clone(), "127.0.0.1:0", |_| ());
    ends.check(&talk);
    assert_eq!(ends.actor.attempt().end_errno, libc::ECONNRESET);
    assert_eq!(ends.endings(), (Some("reset_by_peer"), Some("reset_locally")));
    assert_eq!(ends.outbound.ending_errno_name.as_deref(), Some("ECONNRESET"));
}

pub fn reset_locally() {
    let talk = Talk { send: 10, receive: 10, end: End::Reset, ..Talk::default() };
    let ends = converse("actor-resets", talk.clone(), "127.0.0.1:0", |_| ());
    ends.check(&talk);
    assert_eq!(ends.endings(), (Some("reset_locally"), Some("reset_by_peer")));
}

pub fn timed_out_after_it_was_established() {
    let mut part = acting("actor-silence", "127.0.0.1:81");
    part.namespace = Some(Vec::new());
    part.listen = Some("127.0.0.1:81".into());
    let meanwhile = Some(drop_rule("input").join(" && "));
    part.talk = Some(Talk { send: 10, receive: 10, meanwhile, end: End::Timeout, ..Talk::default() });
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().end_errno, libc::ETIMEDOUT);
    let events = connections_of(actor.report.pid);
    let event = events.iter().find(|event| event.direction == "outbound").unwrap();
    assert_eq!(event.ending.as_deref(), Some("timed_out"), "{event:#?}");
    assert_eq!(event.ending_errno_name.as_deref(), Some("ETIMEDOUT"));
    assert!(event.retransmits.unwrap() > 0, "{event:#?}");
    // Payload that was sent again is not counted twice.
    assert_eq!((event.bytes_sent, event.bytes_received), (Some(16), Some(10)));
}

/// Nobody has accepted it: it belongs to whom the peer waits for, the listener's owner.
pub fn never_accepted() {
    let mut part = acting("actor-waits", "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    part.to = listener.local_addr().unwrap().to_string();
    let actor = Actor::run(&part);
    let event = of_peer(std::process::id(), &actor, &part);
    assert_eq!((event.accepted_after_us, event.ending), (None, None));
    drop(listener);
    // The peer had said goodbye while it waited.
    assert_eq!(of_peer(std::process::id(), &actor, &part).ending.as_deref(), Some("closed_by_peer"));
}

/// A worker that inherited the listener: the connection is the worker's, not the listener's owner's.
pub fn accepted_by_another_process() {
    let mut part = acting("actor-worker", "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    part.accept = 1;
    let worker = Actor::start_with(&part, listener.as_raw_fd());
    let part = acting("actor-customer", &listener.local_addr().unwrap().to_string());
    let actor = Actor::run(&part);
    let worker = worker.wait();
    let event = of_peer(worker.report.pid, &actor, &part);
    assert!(event.accepted_after_us.is_some());
    assert_eq!(event.process, "actor-worker");
}

pub fn multipath() {
    if !Path::new("/proc/sys/net/mptcp").exists() {
        let none = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).unwrap_err();
        assert_eq!(none.raw_os_error(), Some(libc::EPROTONOSUPPORT), "this kernel has multipath after all");
        return;
    }
    let mut part = acting("actor-mptcp", "127.0.0.1:82");
    part.namespace = Some(Vec::new());
    part.mptcp = true;
    part.listen_mptcp = true;
    part.listen = Some("127.0.0.1:82".into());
    part.talk = Some(Talk { send: 10, receive: 10, ..Talk::default() });
    let actor = Actor::run(&part);
    let events = connections_of(actor.report.pid);
    assert_eq!(events.len(), 2, "{events:#?}");
    let outbound = events.iter().find(|event| event.direction == "outbound").unwrap();
    check(outbound, &actor, &part, actor.attempt());
    assert_established(outbound, actor.attempt());
    let inbound = events.iter().find(|event| event.direction == "inbound").unwrap();
    assert!(inbound.accepted_after_us.is_some(), "{inbound:#?}");
}

pub fn fast_open() {
    let mut part = acting("actor-tfo", "127.0.0.1:83");
    part.namespace = Some(Vec::new());
    // Client and server, without cookies (Documentation/networking/ip-sysctl.rst).
    part.sysctl = vec![("net/ipv4/tcp_fastopen".into(), "1543".into())];
    part.fast_open = true;
    part.listen = Some("127.0.0.1:83".into());
    part.talk = Some(Talk { send: 10, receive: 20, ..Talk::default() });
    let actor = Actor::run(&part);
    let events = connections_of(actor.report.pid);
    assert_eq!(events.len(), 2, "{events:#?}");
    let outbound = events.iter().find(|event| event.direction == "outbound").unwrap();
    assert_established(outbound, actor.attempt());
    assert_eq!((outbound.bytes_sent, outbound.bytes_received), (Some(15), Some(20)), "{outbound:#?}");
    let inbound = events.iter().find(|event| event.direction == "inbound").unwrap();
    assert!(inbound.accepted_after_us.is_some(), "{inbound:#?}");
    // The peer read ten of the fifteen bytes and was then told goodbye.
    assert_eq!((inbound.bytes_sent, inbound.bytes_received), (Some(20), Some(15)), "{inbound:#?}");
}

/// Outbound ones, once the accepting thread has caught up and all are over.
fn ended_connections_of(server: &Server, pid: u32) -> (Vec<ConnectionEvent>, usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (mut events, lost) = server.connections_and_loss(Some(pid), None);
        events.retain(|event| event.direction == "outbound");
        if lost.total > 0 || events.iter().all(|event| event.ending.is_some()) {
            return (events, lost.total as usize);
        }
        events.retain(|event| event.ending.is_none());
        assert!(Instant::now() < deadline, "some do not end: {events:#?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Fifty processes, two hundred connections each: every one once, with its owner, or counted as lost. Runs after
/// the server that the other scenarios share has ended: what is lost here must not be held against them.
pub fn ten_thousand() {
    const PROCESSES: usize = 50;
    const EACH: usize = 200;
    let server = Server::start(&[]);
    let mut part = Part { name: "actor-many".to_owned(), to: open_door().to_string(), ..Part::default() };
    (part.times, part.hang_up, part.short_lived) = (EACH, true, true);
    let started: Vec<_> = (0..PROCESSES).map(|_| Actor::start(&part)).collect();
    let actors: Vec<_> = started.into_iter().map(super::super::actor::Started::wait).collect();
    let (mut recorded, mut lost) = (0, 0);
    for actor in &actors {
        let sources: Vec<_> = actor.report.attempts.iter().map(|attempt| attempt.source.clone()).collect();
        let (events, lost_by_now) = ended_connections_of(&server, actor.report.pid);
        assert!(lost_by_now > 0 || events.iter().all(|event| event.outcome == "established"));
        // Without kprobes an attempt whose outcome was skipped has no port.
        let other = events.iter().find(|event| event.source.is_some() && !sources.contains(&event.source));
        assert!(other.is_none(), "another's connection, and {lost_by_now} lost: {other:#?}");
        recorded += events.len();
        lost = lost_by_now;
    }
    // What was lost may also be a record of another kind, or of another process.
    assert!(
        recorded <= PROCESSES * EACH && recorded + lost >= PROCESSES * EACH,
        "{recorded} and {lost} lost"
    );
    assert_eq!(server.stop(), Some(0));
}
