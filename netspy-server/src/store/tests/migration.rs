//! A file of the schema before this one.

use super::*;
use crate::domain::{Close, Ending, Traffic};

#[test]
fn a_file_of_version_2_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(include_str!("version2.sql")).unwrap();
    for _ in 0..2 {
        let (_sink, history) = open(&path, Keep::default()).unwrap();
        let curl = Process {
            cgroup_id: 9,
            started_ns: 8,
            identity: at("/usr/bin/curl"),
            ..process(42, "worker", "curl")
        };
        let inbound = Connection {
            monotonic_ns: 11,
            process: curl.clone().into(),
            direction: Direction::Inbound,
            found: true,
            family: 10,
            socket_type: 1,
            source: end("::ffff:10.0.0.1", 40_000),
            destination: end("::ffff:93.184.216.34", 443),
            accepted_after_ns: Some(30),
            traffic: Some(Traffic {
                bytes_sent: 100,
                bytes_received: 200,
                srtt_us: Some(40),
                retransmits: Some(2),
                ..Traffic::default()
            }),
            close: Some(Close { after_ns: 50, ending: Ending::ClosedByPeer, errno: 0 }),
            ..connection(1, 60_000_000_001, Outcome::Established { latency_ns: 20 })
        };
        let refused = Connection {
            monotonic_ns: 12,
            process: Process { tid: 42, comm: "curl".into(), identity: Arc::default(), ..curl.clone() }
                .into(),
            socket_type: 1,
            source: end("10.0.0.1", 40_001),
            destination: end("10.0.0.2", 81),
            ..connection(
                2,
                60_000_000_002,
                Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: 21 },
            )
        };
        let unix = Connection {
            monotonic_ns: 13,
            process: Process { tid: 7, uid: 0, ..process(7, "sshd", "sshd") }.into(),
            family: 1,
            socket_type: 5,
            destination: None,
            path: Some("@/run/x".into()),
            peer_pid: Some(99),
            protocol: 0,
            netns: 0,
            traffic: Some(Traffic {
                bytes_sent: 1,
                bytes_received: 2,
                packets_sent: Some(3),
                packets_received: Some(4),
                ..Traffic::default()
            }),
            ..connection(3_u64.wrapping_neg(), 60_000_000_003, Outcome::Pending)
        };
        assert_eq!(history.connections(&ALL, 9).unwrap().rows, [unix, refused, inbound]);
        let owned = PacketDrop {
            monotonic_ns: 14,
            direction: None,
            interface_name: String::new(),
            source: end("10.0.0.1", 1),
            destination: end("10.0.0.2", 2),
            ..packet_drop(4, 60_000_000_004, Some(curl), Attribution::Socket)
        };
        let drops = history.drops(&ALL, 9).unwrap();
        assert_eq!((drops.total, &drops.rows[1]), (2, &owned));
        assert_eq!((drops.rows[0].reason_code, &drops.rows[0].owner), (None, &None));
        assert_eq!(
            history.losses(EVER).unwrap(),
            BTreeMap::from([((LossPlace::Store, LossKind::Unknown), 7)])
        );
        let top = history.top(&ALL, crate::domain::GroupBy::Process, 9).unwrap();
        assert_eq!(top[0].1.count, 2, "rollups are made of what was there: {top:?}");
    }
}

/// Makes the file one of an earlier version: without segments, and with blocks that know less.
fn make_older(path: &std::path::Path, version: i32) {
    let file = rusqlite::Connection::open(path).unwrap();
    for of in ["connection", "drop"] {
        let back = format!(
            "DROP TABLE {of}_segments; DROP TABLE {of}_blocks; PRAGMA user_version = {version};
             CREATE TABLE {of}_blocks (first_id INTEGER PRIMARY KEY, wall_last_ns INTEGER) STRICT;
             CREATE INDEX {of}_blocks_by_time ON {of}_blocks (wall_last_ns);"
        );
        file.execute_batch(&back).unwrap();
    }
}

#[test]
fn a_file_of_version_4_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let rows: Vec<_> = (1..=3_000).map(|id| connection(id, id as i64, Outcome::Pending)).collect();
    write_connections(&mut open(&path, Keep::default()).unwrap().0, &rows);
    make_older(&path, 4);
    let (mut sink, history) = open(&path, Keep::default()).unwrap();
    let late = Filter { changed_since_ns: Some(2_500), ..ALL };
    assert_eq!(history.connections(&late, 0).unwrap().total, 501, "it is known when rows changed");
    write_connections(&mut sink, &[connection(7, 7, Outcome::Established { latency_ns: 5_000 })]);
    assert_eq!(history.connections(&late, 0).unwrap().total, 502);
    assert_eq!(history.connections(&ALL, 0).unwrap().total, 3_000);
}

#[test]
fn a_file_of_version_5_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let rows: Vec<_> = (1..=70_000)
        .map(|id| {
            let name = if id % 10_000 == 7 { "rare" } else { "curl" };
            let process = process(1, name, name).into();
            Connection { process, ..connection(id, id as i64, Outcome::Pending) }
        })
        .collect();
    write_connections(&mut open(&path, Keep::default()).unwrap().0, &rows);
    make_older(&path, 5);
    let (mut sink, history) = open(&path, Keep::default()).unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    let segments: i64 =
        file.query_row("SELECT count(*) FROM connection_segments", [], |row| row.get(0)).unwrap();
    assert_eq!(segments, 1, "what was there has segments");
    assert_eq!(ids(&history, &named("rare")), [60_007, 50_007, 40_007, 30_007, 20_007, 10_007, 7]);
    let late = Connection { process: process(2, "rare", "rare").into(), ..rows[8].clone() };
    write_connections(&mut sink, &[late]);
    assert_eq!(ids(&history, &named("rare")), [60_007, 50_007, 40_007, 30_007, 20_007, 10_007, 9, 7]);
    assert_eq!(history.connections(&named("curl"), 0).unwrap().total, 70_000 - 8);
    let remote = crate::domain::End { ports: Some(443..=443), ..Default::default() };
    assert_eq!(history.connections(&Filter { remote, ..ALL }, 0).unwrap().total, 70_000);
}

#[test]
fn a_damaged_file_of_version_2_is_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(include_str!("version2.sql")).unwrap();
    file.execute_batch("UPDATE connections SET verdict = 'great' WHERE id = 2").unwrap();
    let error = open(&path, Keep::default()).err().unwrap().0;
    assert!(error.contains("verdict") && error.contains("with its format 2"), "{error}");
    let version: i32 = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let rows: i32 = file.query_row("SELECT count(*) FROM connections", [], |row| row.get(0)).unwrap();
    assert_eq!((version, rows), (2, 3));
}
