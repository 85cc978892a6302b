//! Every field and every variant that the domain knows comes back as it was written.

use super::*;
use crate::domain::{
    Close, CountedKind, Ending, Group, GroupBy, Traffic, Trouble, TroubleKind, Unrecorded, errno_name,
};

const ENDINGS: [Ending; 8] = [
    Ending::ClosedLocally,
    Ending::ClosedByPeer,
    Ending::ResetByPeer,
    Ending::ResetLocally,
    Ending::TimedOut,
    Ending::Idle,
    Ending::Failed,
    Ending::Unseen,
];

/// Interface 3 has the first one, interface 2^32 - 1 the second.
fn link_local() -> (Option<Endpoint>, Option<Endpoint>) {
    let of = |ip, port, scope| end(ip, port).map(|end| Endpoint { scope, ..end });
    (of("fe80::1", 40_000, 3), of("fe80::2", 53, u32::MAX))
}

fn known() -> Process {
    let parents = vec![Ancestor { pid: 1, name: "systemd".into(), exe: Some("/sbin/init".into()) }];
    Process {
        cgroup_id: 9,
        started_ns: 8,
        identity: Arc::new(Identity {
            exe: Some("/usr/bin/curl".into()),
            cmdline: Some("curl example.org".into()),
            parents,
            unit: Some("session-1.scope".into()),
            container_id: Some("c0ffee".into()),
            pod_uid: Some("0a1b".into()),
        }),
        ..process(42, "worker", "curl")
    }
}

fn full(id: u64, outcome: Outcome) -> Connection {
    let (source, destination) = link_local();
    Connection {
        process: known().into(),
        direction: Direction::Inbound,
        found: true,
        family: 10,
        socket_type: 2,
        source,
        destination,
        protocol: 17,
        path: Some("@x".into()),
        peer_pid: Some(5),
        accepted_after_ns: Some(u64::MAX),
        traffic: Some(Traffic {
            bytes_sent: u64::MAX,
            bytes_received: 0,
            packets_sent: Some(u64::MAX),
            packets_received: Some(0),
            srtt_us: Some(u32::MAX),
            retransmits: Some(0),
        }),
        close: Some(Close { after_ns: u64::MAX, ending: Ending::Idle, errno: 104 }),
        ..connection(id, id as i64, outcome)
    }
}

#[test]
fn every_field_of_a_connection_and_every_ending() {
    let (mut sink, history) = open_temporary().unwrap();
    let endings = ENDINGS.into_iter().enumerate().map(|(n, ending)| Connection {
        close: Some(Close { after_ns: n as u64, ending, errno: n as u32 }),
        ..full(n as u64 + 10, Outcome::Unanswered)
    });
    let mut written: Vec<_> = [full(1, Outcome::Unanswered), full(2, Outcome::Pending)].into();
    written.extend(endings);
    write_connections(&mut sink, &written);
    written.reverse();
    assert_eq!(history.connections(&ALL, 100).unwrap().rows, written);
    let inbound = |verdict| (Direction::Inbound, verdict);
    let counts = [(inbound(Verdict::Unanswered), 9), (inbound(Verdict::Pending), 1)];
    assert_eq!(history.connection_counts(&ALL).unwrap(), BTreeMap::from(counts));
}

#[test]
fn every_verdict_can_be_asked_for() {
    let (mut sink, history) = open_temporary().unwrap();
    let errnos = (1..134).filter(|errno| errno_name(*errno).is_some());
    let outcomes: Vec<_> = errnos
        .map(|errno| Outcome::Failed { errno, stage: Stage::Call, after_ns: 1 })
        .chain([
            Outcome::Pending,
            Outcome::Unanswered,
            Outcome::Established { latency_ns: 1 },
            Outcome::Aborted { after_ns: 1 },
        ])
        .collect();
    let rows: Vec<_> =
        outcomes.iter().enumerate().map(|(n, outcome)| connection(n as u64, n as i64, *outcome)).collect();
    write_connections(&mut sink, &rows);
    let mut expected = BTreeMap::new();
    for outcome in outcomes {
        *expected.entry(outcome.verdict()).or_default() += 1;
    }
    assert_eq!(expected.len(), 9, "all of them: {expected:?}");
    for (verdict, count) in expected {
        let filter = Filter { verdicts: vec![verdict], ..ALL };
        let page = history.connections(&filter, 200).unwrap();
        assert!(page.rows.iter().all(|row| row.outcome.verdict() == verdict));
        assert_eq!((page.total, page.rows.len() as u64), (count, count), "{verdict:?}");
    }
}

#[test]
fn an_open_flow_is_brought_up_to_date_until_its_end() {
    let (mut sink, history) = open_temporary().unwrap();
    let stage = |traffic: Option<(u64, u64)>, outcome, close| Connection {
        direction: Direction::Outbound,
        found: false,
        traffic: traffic.map(|(sent, received)| Traffic {
            bytes_sent: sent * 10,
            bytes_received: received * 10,
            packets_sent: Some(sent),
            packets_received: Some(received),
            ..Traffic::default()
        }),
        close,
        ..full(1, outcome)
    };
    let answered = Outcome::Established { latency_ns: 7 };
    let end = Close { after_ns: 9, ending: Ending::ClosedLocally, errno: 111 };
    for flow in [
        stage(None, Outcome::Unanswered, None),
        stage(Some((1, 0)), Outcome::Unanswered, None),
        stage(Some((2, 1)), answered, None),
        stage(Some((20, 10)), answered, None),
        stage(Some((21, 10)), answered, Some(end)),
    ] {
        write_connections(&mut sink, std::slice::from_ref(&flow));
        let page = history.connections(&ALL, 9).unwrap();
        assert_eq!((page.total, &page.rows[0]), (1, &flow));
        let counts = history.connection_counts(&ALL).unwrap();
        assert_eq!(counts, outbound([(flow.outcome.verdict(), 1)]));
        let top = history.top(&ALL, GroupBy::Process, 9).unwrap();
        let sent = flow.traffic.map_or(0, |traffic| traffic.bytes_sent);
        assert_eq!((top.len(), top[0].1.count, top[0].1.bytes_sent), (1, 1, sent));
    }
    // A recording that is replayed into the same history begins anew.
    write_connections(&mut sink, &[stage(None, Outcome::Unanswered, None)]);
    assert_eq!(history.connections(&ALL, 9).unwrap().rows, [stage(Some((21, 10)), answered, Some(end))]);
}

#[test]
fn a_link_local_address_keeps_its_interface_and_is_found_without() {
    let (mut sink, history) = open_temporary().unwrap();
    let (source, destination) = link_local();
    let other = Connection { source, destination, ..connection(2, 2, Outcome::Pending) };
    let scope = 4;
    let next = Connection {
        destination: destination.map(|end| Endpoint { scope, ..end }),
        ..Connection { id: 3, wall_ns: 3, ..other.clone() }
    };
    write_connections(&mut sink, &[connection(1, 1, Outcome::Pending), other, next]);
    let to = |network: &str| {
        let network = Some(network.parse().unwrap());
        ids(&history, &Filter { remote: crate::domain::End { network, ports: None }, ..ALL })
    };
    assert_eq!(to("fe80::2/128"), [3, 2]);
    assert_eq!(to("fe80::/10"), [3, 2]);
    assert!(to("fe80::1/128").is_empty());
    assert!(to("fe80::3/128").is_empty());
    let top = history.top(&ALL, GroupBy::Destination, 9).unwrap();
    for scope in [4, u32::MAX] {
        let end = destination.map(|end| Endpoint { scope, ..end }).unwrap();
        let group = Group::Destination { end, protocol: 6 };
        assert!(top.iter().any(|(found, sum)| *found == group && sum.count == 1), "{top:?}");
    }
}

#[test]
fn every_field_and_variant_of_a_drop() {
    let (mut sink, history) = open_temporary().unwrap();
    let directions = [
        None,
        Some(PacketDirection::Received),
        Some(PacketDirection::Sent),
        Some(PacketDirection::Forwarded),
    ];
    let owners = [
        (None, Attribution::None),
        (Some(known()), Attribution::Socket),
        (Some(known()), Attribution::Tuple),
    ];
    let (source, destination) = link_local();
    let mut written = Vec::new();
    for direction in directions {
        for (owner, attribution) in owners.clone() {
            let id = written.len() as u64;
            let reason = format!("REASON_{}", id % 5);
            written.push(PacketDrop {
                direction,
                source,
                destination,
                reason,
                reason_code: id.is_multiple_of(2).then_some(id as u32),
                interface: u32::MAX,
                interface_name: "\u{fffd}".into(),
                ..packet_drop(id, id as i64, owner, attribution)
            });
        }
    }
    write_drops(&mut sink, &written);
    written.reverse();
    assert_eq!(history.drops(&ALL, 100).unwrap().rows, written);
}

#[test]
fn every_kind_of_trouble_and_of_count_and_of_loss() {
    let (mut sink, history) = open_temporary().unwrap();
    let (source, destination) = link_local();
    let troubles: Vec<_> = TroubleKind::ALL
        .into_iter()
        .enumerate()
        .map(|(n, kind)| Trouble {
            id: n as u64,
            kind,
            monotonic_ns: u64::MAX,
            wall_ns: 5,
            owner: Some(known().into()),
            attribution: Attribution::Socket,
            reason: None,
            family: 10,
            source,
            destination,
            netns: u32::MAX,
            length: u32::MAX,
            backlog: None,
        })
        .collect();
    let kinds = TroubleKind::ALL.map(CountedKind::Trouble).into_iter().chain([CountedKind::Drop]);
    let counted = kinds
        .clone()
        .enumerate()
        .map(|(n, kind)| crate::domain::Counted {
            id: n as u64,
            wall_ns: 5,
            kind,
            reason: "R".into(),
            location: "L".into(),
            owner: Some(known().into()),
            count: n as u64 + 1,
        })
        .collect();
    let mut losses = Vec::new();
    for place in LossPlace::ALL {
        losses.extend(LossKind::ALL.map(|kind| Loss {
            wall_ns: 5,
            place,
            kind,
            count: losses.len() as u64 + 1,
        }));
    }
    let lost = losses.iter().map(|loss| ((loss.place, loss.kind), loss.count)).collect();
    sink.write(&Batch { troubles: troubles.clone(), counted, losses, ..Batch::default() }).unwrap();
    for trouble in troubles {
        assert_eq!(history.troubles(trouble.kind, &ALL, 9).unwrap().rows, [trouble]);
    }
    for (n, kind) in kinds.enumerate() {
        let matching = [(("R".to_owned(), "L".to_owned()), n as u64 + 1)].into();
        assert_eq!(history.unrecorded(kind, &named("curl")).unwrap(), Unrecorded { matching, undecided: 0 });
    }
    assert_eq!(history.losses(EVER).unwrap(), lost);
}
