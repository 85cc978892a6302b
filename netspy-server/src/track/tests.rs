//! Sequences of records and what they must come to.

use netspy_common::ConnectionKey;

use super::*;
use crate::{
    decode::{Ends, RawUnix, RawUnixClose},
    domain::{ExistingSocket, SocketRole, Thread},
};

const MS: u64 = 1_000_000;

fn end(port: u16) -> Endpoint {
    Endpoint { ip: [127, 0, 0, 1].into(), port, scope: 0 }
}

fn ends(source: u16, destination: u16) -> Ends {
    Ends { family: 2, protocol: 6, source: Some(end(source)), destination: Some(end(destination)) }
}

fn key(started_ns: u64) -> ConnectionKey {
    ConnectionKey { socket: 0xffff, started_ns }
}

fn attempt(pid: u32, time_ns: u64, source: u16) -> RawConnect {
    let thread = Thread { pid, ..Thread::default() };
    let (key, ends, role) = (key(time_ns), ends(source, 80), Role::Outbound);
    RawConnect { time_ns, key, thread, ends, errno: 0, netns: 1, role, socket_type: 1 }
}

fn process_of(begun: &RawConnect) -> Arc<Process> {
    Arc::new(Process::of_thread(&begun.thread))
}

fn begin(tracker: &mut Tracker, begun: &RawConnect, batch: &mut Batch) {
    tracker.connect(begun, process_of(begun), batch);
}

fn outcome(started_ns: u64, time_ns: u64, errno: u32) -> RawOutcome {
    RawOutcome { time_ns, key: key(started_ns), ends: ends(4000, 80), established: errno == 0, errno }
}

fn close(started_ns: u64, established_ns: u64, time_ns: u64) -> RawClose {
    RawClose {
        time_ns,
        key: key(started_ns),
        ends: ends(4000, 80),
        established_ns,
        bytes_sent: 0,
        bytes_received: 0,
        srtt_us: 0,
        retransmits: 0,
        closer: closer::LOCAL,
        errno: 0,
        netns: 1,
    }
}

fn dropped(time_ns: u64, ends: Ends, netns: u32) -> RawDrop {
    RawDrop {
        time_ns,
        location: 0,
        owner: None,
        ends,
        reason: None,
        length: 60,
        interface: 1,
        netns,
        ether_type: 0x800,
        direction: None,
        interface_name: String::new(),
    }
}

fn drop_owner(tracker: &mut Tracker, raw: &RawDrop) -> Option<u32> {
    let (mut batch, late) = (Batch::default(), raw.time_ns + DROP_PATIENCE_NS);
    tracker.dropped(raw, None, String::new(), String::new(), &mut batch);
    tracker.advance(late, &mut batch);
    batch.drops.pop().unwrap().owner.map(|owner| owner.pid)
}

#[test]
fn an_attempt_and_its_outcome_are_one_connection() {
    let (mut tracker, mut batch) = (Tracker::new(), Batch::default());
    begin(&mut tracker, &attempt(7, MS, 0), &mut batch);
    assert_eq!(batch.connections[0].outcome, Outcome::Pending);
    assert_eq!(batch.connections[0].source, None);
    assert!(tracker.outcome(&outcome(MS, 3 * MS, 0), &mut batch));
    assert_eq!(batch.connections.len(), 1);
    assert_eq!(batch.connections[0].outcome, Outcome::Established { latency_ns: 2 * MS });
    assert_eq!(batch.connections[0].source, Some(end(4000)));
}

#[test]
fn an_outcome_in_a_later_batch_updates_the_same_id() {
    let (mut tracker, mut first, mut second) = (Tracker::new(), Batch::default(), Batch::default());
    begin(&mut tracker, &attempt(7, MS, 4000), &mut first);
    tracker.outcome(&outcome(MS, 2 * MS, 111), &mut second);
    assert_eq!(first.connections[0].id, second.connections[0].id);
    let refused = Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: MS };
    assert_eq!(second.connections[0].outcome, refused);
}

#[test]
fn an_outcome_without_its_attempt_is_said_to_be_lost() {
    assert!(!Tracker::new().outcome(&outcome(MS, MS, 0), &mut Batch::default()));
}

#[test]
fn a_drop_finds_its_owner_in_both_directions_and_only_in_its_namespace() {
    let mut tracker = Tracker::new();
    begin(&mut tracker, &attempt(7, MS, 4000), &mut Batch::default());
    assert_eq!(drop_owner(&mut tracker, &dropped(2 * MS, ends(4000, 80), 1)), Some(7));
    assert_eq!(drop_owner(&mut tracker, &dropped(2 * MS, ends(80, 4000), 1)), Some(7));
    assert_eq!(drop_owner(&mut tracker, &dropped(2 * MS, ends(4000, 80), 2)), None);
    assert_eq!(drop_owner(&mut tracker, &dropped(2 * MS, ends(4001, 80), 1)), None);
}

#[test]
fn a_drop_waits_for_the_outcome_that_tells_the_source_port() {
    let (mut tracker, mut batch) = (Tracker::new(), Batch::default());
    begin(&mut tracker, &attempt(7, MS, 0), &mut batch);
    tracker.dropped(&dropped(2 * MS, ends(4000, 80), 1), None, String::new(), String::new(), &mut batch);
    assert!(tracker.holds_drops() && batch.drops.is_empty());
    tracker.outcome(&outcome(MS, 2 * MS, 111), &mut batch);
    tracker.advance(2 * MS + DROP_PATIENCE_NS, &mut batch);
    assert_eq!(batch.drops[0].attribution, Attribution::Tuple);
    assert!(!tracker.holds_drops());
}

#[test]
fn a_failed_attempt_owns_no_later_drop() {
    let mut tracker = Tracker::new();
    begin(&mut tracker, &attempt(7, MS, 4000), &mut Batch::default());
    tracker.outcome(&outcome(MS, 2 * MS, 111), &mut Batch::default());
    assert_eq!(drop_owner(&mut tracker, &dropped(3 * MS, ends(4000, 80), 1)), None);
}

#[test]
fn a_reused_tuple_belongs_to_the_newer_process() {
    let mut tracker = Tracker::new();
    begin(&mut tracker, &attempt(7, MS, 4000), &mut Batch::default());
    begin(&mut tracker, &attempt(8, 5 * MS, 4000), &mut Batch::default());
    assert_eq!(drop_owner(&mut tracker, &dropped(6 * MS, ends(4000, 80), 1)), Some(8));
}

/// Lists connections of process 7.
fn listed(tracker: &mut Tracker, at_ns: u64, sources: &[u16]) -> Vec<Connection> {
    let mut batch = Batch::default();
    for source in sources {
        let socket = ExistingSocket {
            role: SocketRole::Outbound,
            family: 2,
            protocol: 6,
            socket_type: 1,
            local: Some(end(*source)),
            remote: Some(end(80)),
            path: None,
            peer_pid: None,
            netns: 1,
            inode: 1,
            owner: None,
            backlog: None,
            backlog_limit: None,
        };
        tracker.existing(at_ns, &socket, process_of(&attempt(7, 0, *source)), &mut batch);
    }
    tracker.listed(at_ns, &mut batch);
    batch.connections
}

fn established(tracker: &mut Tracker, started_ns: u64, source: u16) {
    begin(tracker, &attempt(7, started_ns, source), &mut Batch::default());
    let done = RawOutcome { ends: ends(source, 80), ..outcome(started_ns, started_ns + 1, 0) };
    assert!(tracker.outcome(&done, &mut Batch::default()));
}

#[test]
fn what_a_listing_does_not_name_is_over_and_what_nobody_knew_is_found() {
    let mut tracker = Tracker::new();
    established(&mut tracker, MS, 4000);
    established(&mut tracker, 2 * MS, 4001);
    // Another process's: the connection that is listed is not of this attempt, which is over, as nothing waits for an answer.
    begin(&mut tracker, &attempt(8, 3 * MS, 0), &mut Batch::default());
    established(&mut tracker, 9 * MS, 4003);
    let rows = listed(&mut tracker, 5 * MS, &[4001, 4002]);
    let seen: Vec<_> = rows.iter().map(|row| (row.source, row.found, row.close.map(|c| c.ending))).collect();
    let over = Some(Ending::Unseen);
    assert_eq!(seen, [(Some(end(4002)), true, None), (Some(end(4000)), false, over), (None, false, over)]);
    assert_eq!(listed(&mut tracker, 7 * MS, &[4001, 4002]), []);
    let rows = listed(&mut tracker, 8 * MS, &[4001]);
    assert_eq!(rows[0].close.map(|close| (close.ending, close.after_ns)), Some((Ending::Unseen, 3 * MS)));
}

#[test]
fn a_listed_connection_is_the_attempt_of_its_process_whose_outcome_was_lost() {
    // Its port is known from the beginning with kprobes, and without them not at all.
    for port in [4000, 0] {
        let mut tracker = Tracker::new();
        begin(&mut tracker, &attempt(7, MS, port), &mut Batch::default());
        let rows = listed(&mut tracker, 5 * MS, &[4000]);
        let seen: Vec<_> = rows.iter().map(|row| (row.source, row.outcome, row.found, row.close)).collect();
        assert_eq!(seen, [(Some(end(4000)), Outcome::Established { latency_ns: 0 }, false, None)]);
        assert_eq!(listed(&mut tracker, 6 * MS, &[4000]), []);

        let mut batch = Batch::default();
        assert!(tracker.close(&close(MS, 3 * MS, 7 * MS), &mut batch));
        assert_eq!(batch.connections[0].outcome, Outcome::Established { latency_ns: 2 * MS });
    }
}

fn unix_connected(tracker: &mut Tracker, inode: u64, started_ns: u64, watched: bool, batch: &mut Batch) {
    let raw = RawUnix {
        time_ns: started_ns + 5,
        inode,
        started_ns,
        thread: Thread::default(),
        errno: 0,
        netns: 1,
        socket_type: 1,
        peer_pid: None,
        path: Some("/run/x".to_owned()),
        watched,
    };
    tracker.unix(&raw, Arc::default(), batch);
}

#[test]
fn a_unix_connection_ends_once_and_in_the_row_that_it_has() {
    let (mut tracker, mut batch) = (Tracker::new(), Batch::default());
    unix_connected(&mut tracker, 7, MS, true, &mut batch);
    let close = RawUnixClose { time_ns: 3 * MS, inode: 7, started_ns: MS, closer: closer::REMOTE, errno: 0 };
    for _ in 0..2 {
        tracker.unix_close(&close, &mut batch);
    }
    assert_eq!(batch.connections.len(), 1);
    let end = batch.connections[0].close.map(|close| (close.after_ns, close.ending));
    assert_eq!(end, Some((2 * MS, Ending::ClosedByPeer)));
}

#[test]
fn a_unix_connection_that_a_listing_does_not_name_is_over_if_its_end_would_have_been_told() {
    let mut tracker = Tracker::new();
    for (inode, watched) in [(7, true), (8, true), (9, false)] {
        unix_connected(&mut tracker, inode, MS, watched, &mut Batch::default());
    }
    let socket = ExistingSocket {
        role: SocketRole::Outbound,
        family: 1,
        protocol: 0,
        socket_type: 1,
        local: None,
        remote: None,
        path: Some("/run/x".to_owned()),
        peer_pid: None,
        netns: 1,
        inode: 8,
        owner: None,
        backlog: None,
        backlog_limit: None,
    };
    let mut batch = Batch::default();
    tracker.existing(2 * MS, &socket, Arc::default(), &mut batch);
    for (inode, role) in [(10, SocketRole::Outbound), (11, SocketRole::Outbound), (12, SocketRole::Closing)] {
        let found = ExistingSocket { role, inode, ..socket.clone() };
        tracker.existing(2 * MS, &found, Arc::default(), &mut batch);
    }
    tracker.listed(2 * MS, &mut batch);
    let rows: Vec<_> = batch.connections.iter().map(|row| (row.found, row.close.map(|c| c.ending))).collect();
    assert_eq!(rows, [(true, None), (true, None), (false, Some(Ending::Unseen))]);
    let mut later = Batch::default();
    let new = ExistingSocket { inode: 13, ..socket };
    tracker.existing(3 * MS, &new, Arc::default(), &mut later);
    assert_eq!(later, Batch::default(), "it was told when it was connected");
}
