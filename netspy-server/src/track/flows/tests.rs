//! Sequences of records of datagram sockets and what they must come to.

use netspy_common::Task;

use super::*;
use crate::{
    decode::Ends,
    domain::{Endpoint, Thread},
};

const MS: u64 = 1_000_000;

fn key(inode: u64, port: u16) -> FlowKey {
    FlowKey { socket: 0xffff, inode, remote: [0; 16], port, family: 2, scope: 0 }
}

fn begun(time_ns: u64, flow: FlowKey, traffic: bool, role: Role) -> RawFlow {
    let end = |port| Some(Endpoint { ip: [127, 0, 0, 1].into(), port, scope: 0 });
    RawFlow {
        time_ns,
        flow,
        thread: Thread { pid: 7, ..Thread::default() },
        ends: Ends { family: 2, protocol: 17, source: end(4000), destination: end(flow.port) },
        errno: 0,
        netns: 1,
        role,
        socket_type: 2,
        traffic,
        watched: true,
    }
}

fn begin(tracker: &mut Tracker, raw: &RawFlow, batch: &mut Batch) {
    tracker.flow(raw, Arc::new(Process::of_thread(&raw.thread)), batch);
}

/// Sent 5 bytes at 1 ms.
fn sent() -> Flow {
    let owner = Task {
        tgid: 0,
        tid: 0,
        uid: 0,
        exec_id: 0,
        cgroup_id: 0,
        started_ns: 0,
        comm: [0; 16],
        process: [0; 16],
    };
    Flow {
        started_ns: MS,
        last_ns: MS,
        answered_ns: 0,
        failed_ns: 0,
        packets_sent: 1,
        bytes_sent: 5,
        packets_received: 0,
        bytes_received: 0,
        errno: 0,
        pad: 0,
        owner,
    }
}

fn read(tracker: &mut Tracker, flow: FlowKey, counters: Flow, over: bool, batch: &mut Batch) -> bool {
    tracker.traffic(&RawTraffic { time_ns: counters.last_ns, flow, counters, over }, batch)
}

/// A tracker with one flow of one datagram, and the batch with its row.
fn one_flow() -> (Tracker, Batch) {
    let (mut tracker, mut batch) = (Tracker::new(), Batch::default());
    begin(&mut tracker, &begun(MS, key(1, 53), true, Role::Outbound), &mut batch);
    (tracker, batch)
}

#[test]
fn what_was_sent_is_unanswered_until_something_comes_back() {
    let (mut tracker, mut batch) = one_flow();
    assert!(read(&mut tracker, key(1, 53), sent(), false, &mut batch));
    assert_eq!(batch.connections[0].outcome, Outcome::Unanswered);
    assert_eq!(batch.connections[0].traffic.unwrap().packets_sent, Some(1));
    let answered = Flow { answered_ns: 3 * MS, last_ns: 3 * MS, packets_received: 1, ..sent() };
    read(&mut tracker, key(1, 53), answered, false, &mut batch);
    assert_eq!(batch.connections.len(), 1);
    assert_eq!(batch.connections[0].outcome, Outcome::Established { latency_ns: 2 * MS });
    let refused = Flow { errno: 111, failed_ns: 4 * MS, ..answered };
    read(&mut tracker, key(1, 53), refused, false, &mut batch);
    assert_eq!(batch.connections[0].outcome, Outcome::Established { latency_ns: 2 * MS });
}

#[test]
fn an_error_before_any_answer_is_a_failure() {
    let (mut tracker, mut batch) = one_flow();
    let refused = Flow { errno: 111, failed_ns: 2 * MS, ..sent() };
    read(&mut tracker, key(1, 53), refused, false, &mut batch);
    let failed = Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: MS };
    assert_eq!(batch.connections[0].outcome, failed);
}

#[test]
fn a_closed_socket_ends_all_its_flows_with_their_last_counters_and_no_others() {
    let (mut tracker, mut batch) = one_flow();
    begin(&mut tracker, &begun(2 * MS, key(1, 54), true, Role::Outbound), &mut batch);
    begin(&mut tracker, &begun(2 * MS, key(2, 53), true, Role::Outbound), &mut batch);
    tracker.release(&RawRelease { time_ns: 9 * MS, socket: (0xffff, 1) });
    let readings = tracker.released_flows();
    assert_eq!(readings.len(), 2);
    assert!(readings.iter().all(|reading| reading.over && reading.flow.inode == 1));
    assert!(!tracker.has_released_flows());
    for reading in readings {
        assert!(read(&mut tracker, reading.flow, sent(), true, &mut batch));
    }
    let closed = Close { after_ns: 8 * MS, ending: Ending::ClosedLocally, errno: 0 };
    assert_eq!(batch.connections[0].close, Some(closed));
    assert_eq!(batch.connections[1].close.unwrap().after_ns, 7 * MS);
    assert_eq!(batch.connections[2].close, None);
    assert!(tracker.has_flows());
}

#[test]
fn the_first_packet_of_a_connected_socket_is_no_second_flow() {
    let (mut tracker, mut batch) = (Tracker::new(), Batch::default());
    begin(&mut tracker, &begun(MS, key(1, 53), false, Role::Outbound), &mut batch);
    assert!(tracker.open_flows(2 * MS).is_empty(), "nothing is counted yet");
    begin(&mut tracker, &begun(2 * MS, key(1, 53), true, Role::Outbound), &mut batch);
    assert_eq!(batch.connections.len(), 1);
    assert_eq!(tracker.open_flows(2 * MS).len(), 1);
}

#[test]
fn a_silent_flow_is_over_at_its_last_packet() {
    let (mut tracker, mut batch) = one_flow();
    read(&mut tracker, key(1, 53), Flow { last_ns: 5 * MS, ..sent() }, false, &mut batch);
    assert!(!tracker.open_flows(5 * MS + IDLE_NS - 1)[0].over);
    let reading = tracker.open_flows(5 * MS + IDLE_NS)[0];
    assert!(reading.over && reading.seen_ns == 5 * MS);
    read(&mut tracker, reading.flow, Flow { last_ns: 5 * MS, ..sent() }, true, &mut batch);
    let idle = Close { after_ns: 4 * MS, ending: Ending::Idle, errno: 0 };
    assert_eq!(batch.connections[0].close, Some(idle));
    assert!(!tracker.has_flows());
    assert!(!read(&mut tracker, key(1, 53), sent(), false, &mut batch), "its beginning is forgotten");
}

#[test]
fn what_cannot_be_watched_has_no_end() {
    let (mut tracker, mut batch) = (Tracker::new(), Batch::default());
    let unwatched = RawFlow { watched: false, ..begun(MS, key(1, 53), false, Role::Outbound) };
    begin(&mut tracker, &unwatched, &mut batch);
    assert_eq!(batch.connections.len(), 1);
    assert!(!tracker.has_flows());
}

#[test]
fn an_inbound_flow_has_its_peer_as_its_source() {
    let (mut tracker, mut batch) = (Tracker::new(), Batch::default());
    begin(&mut tracker, &begun(MS, key(1, 53), true, Role::Inbound), &mut batch);
    let flow = &batch.connections[0];
    assert_eq!((flow.source.unwrap().port, flow.destination.unwrap().port), (53, 4000));
    assert_eq!(flow.outcome, Outcome::Established { latency_ns: 0 });
}
