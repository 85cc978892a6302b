//! What holds for a whole run of a server: its recording, its log, its ledger.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use super::{acting, closed_port};
use crate::{
    actor::{Actor, Datagrams, Part},
    server,
};

pub fn recording() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let recorder = server::Server::start(&["--record", path]);
    let parts = [
        acting("actor-rec-ok", &listener.local_addr().unwrap().to_string()),
        acting("actor-rec-no", &closed_port("127.0.0.1:0")),
        Part {
            datagrams: Some(Datagrams { connect: true, send: vec![5], close: true, ..Datagrams::default() }),
            ..acting("actor-rec-udp", &closed_port("127.0.0.1:0"))
        },
    ];
    let datagram_to = parts[2].to.clone();
    let actors = parts.map(|part| Actor::run(&part));
    let pids: Vec<u32> = actors.iter().map(|actor| actor.report.pid).collect();
    // Both servers see everything that the machine does; what these three did is what must be the same.
    let seen = |server: &server::Server| -> (Vec<_>, Vec<_>) {
        let connections = pids.iter().flat_map(|pid| server.connections(Some(*pid), None)).collect();
        let mut drops = server.drops();
        drops.retain(|drop| pids.contains(&drop.pid) || drop.destination.as_ref() == Some(&datagram_to));
        (connections, drops)
    };
    let live = seen(&recorder);
    assert_eq!(live.0.len(), 3, "{live:#?}");
    for protocol in ["TCP", "UDP"] {
        let found = live.1.iter().any(|drop| drop.protocol == protocol);
        assert!(found, "no {protocol} drop in {live:#?} but {:#?}", recorder.drops());
    }
    assert_eq!(recorder.stop(), Some(0));
    let replay = server::Server::start(&["--replay", path]);
    assert_eq!(seen(&replay), live);
    assert_eq!(replay.stop(), Some(0));
}

pub fn programs_log() {
    let part = acting("actor-log", &closed_port("127.0.0.1:0"));
    for (words, spoken) in [(&["-vv"][..], true), (&["-v"], false)] {
        let server = server::Server::start(words);
        let actor = Actor::run(&part);
        assert_eq!(server.connections(Some(actor.report.pid), None).len(), 1);
        assert_eq!(server.stop(), Some(0));
        let said = server.log().contains(&format!("connect tgid {} errno 0", actor.report.pid));
        assert_eq!(said, spoken, "{words:?}: {}", server.log());
    }
}

/// A connection of an earlier scenario that the kernel still ends, be it minutes later, would be one more record that is lost:
/// one whose owner is gone, in whichever network namespace (`TCP: inuse 9 orphan 0 …`, net/ipv4/proc.c).
fn wait_until_no_connection_ends() {
    let begun = Instant::now();
    loop {
        let sockets = std::fs::read_to_string("/proc/net/sockstat").unwrap();
        if sockets.contains(" orphan 0 ") {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(150), "{sockets}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// More attempts than fit into the ring while the server does not read: the ledger must account for every
/// single one. Runs alone, after the server that the other scenarios share has ended.
pub fn full_rings() {
    const ATTEMPTS: usize = 40_000;
    let server = server::Server::start(&[]);
    let part = Part {
        name: "actor-flood".to_owned(),
        to: closed_port("127.0.0.1:0"),
        times: ATTEMPTS,
        ..Part::default()
    };
    wait_until_no_connection_ends();
    // Nobody has asked it anything yet: a connection for questions would be cut as idle, and its end lost too.
    server.signal(rustix::process::Signal::STOP);
    let actor = Actor::run(&part);
    server.go_on();
    assert_eq!(actor.report.attempts.len(), ATTEMPTS);

    let summary = server.summary("actor-flood");
    let lost = summary.lost.unwrap();
    let (refused, pending) =
        (summary.outcomes["refused"], summary.outcomes.get("pending").copied().unwrap_or(0));
    assert_eq!(refused + pending, summary.count, "{:?}", summary.outcomes);
    // A lost attempt is counted once and is not there; a lost outcome is counted once and leaves it pending.
    let lost_attempts = ATTEMPTS as u64 - summary.count;
    assert!(lost_attempts > 0, "the ring never filled");
    assert_eq!(lost.by_place.get("events_ring_full"), Some(&(lost_attempts + pending)), "{lost:?}");
    assert_eq!(lost.by_kind.get("connection"), Some(&(lost_attempts + pending)), "{lost:?}");

    // Drops without a record are counted all the same.
    let drops = server.drop_summary();
    assert!(drops.count >= ATTEMPTS as u64, "{drops:#?}");

    // And after a flood everything is as before.
    let after = Actor::run(&Part { name: "actor-after".to_owned(), times: 1, ..part });
    assert_eq!(server.summary("actor-after").outcomes["refused"], after.report.attempts.len() as u64);
    assert_eq!(server.stop(), Some(0));
}
