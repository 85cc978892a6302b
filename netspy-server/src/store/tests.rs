//! The store against the real `SQLite`: what comes back, what is found, what is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{SqliteHistory, SqliteSink, open, open_temporary};
use crate::domain::{
    Attribution, Batch, Connection, Endpoint, Filter, History, Loss, LossPlace, Outcome, PacketDrop, Process,
    Sink, Stage, Verdict, Window,
};

mod files;

const EVER: Window = Window { since_ns: i64::MIN, until_ns: i64::MAX };
const ALL: Filter = Filter { window: EVER, pid: None, process: None };

#[expect(clippy::unnecessary_wraps, reason = "as the fields it fills want it")]
fn end(ip: &str, port: u16) -> Option<Endpoint> {
    Some(Endpoint { ip: ip.parse::<IpAddr>().unwrap(), port })
}

fn process(pid: u32, comm: &str, name: &str) -> Process {
    Process { pid, tid: pid + 1, uid: 1000, comm: comm.into(), name: name.into(), ..Process::default() }
}

fn connection(id: u64, wall_ns: i64, outcome: Outcome) -> Connection {
    Connection {
        id,
        monotonic_ns: 7,
        wall_ns,
        process: process(42, "curl", "curl"),
        family: 2,
        source: None,
        destination: end("93.184.216.34", 443),
        protocol: 6,
        netns: 4_026_531_840,
        outcome,
    }
}

fn packet_drop(id: u64, wall_ns: i64, owner: Option<Process>, attribution: Attribution) -> PacketDrop {
    PacketDrop {
        id,
        monotonic_ns: 9,
        wall_ns,
        owner,
        attribution,
        reason_code: Some(6),
        reason: "NO_SOCKET".into(),
        location: "tcp_v4_rcv+0x84".into(),
        family: 2,
        protocol: 6,
        source: end("10.0.0.1", 40000),
        destination: end("10.0.0.2", 81),
        length: 60,
        ether_type: 0x0800,
        interface: 2,
        netns: 1,
    }
}

fn write_connections(sink: &mut SqliteSink, connections: &[Connection]) {
    sink.write(&Batch { connections: connections.to_vec(), ..Batch::default() }).unwrap();
}

fn write_drops(sink: &mut SqliteSink, drops: &[PacketDrop]) {
    sink.write(&Batch { drops: drops.to_vec(), ..Batch::default() }).unwrap();
}

fn ids(history: &SqliteHistory, filter: &Filter) -> Vec<u64> {
    history.connections(filter, 100).unwrap().rows.iter().map(|row| row.id).collect()
}

fn named(name: &str) -> Filter {
    Filter { process: Some(name.into()), ..ALL }
}

#[test]
fn every_outcome_comes_back() {
    let (mut sink, history) = open_temporary().unwrap();
    let mut written = vec![
        connection(1, 1, Outcome::Pending),
        connection(2, 2, Outcome::Established { latency_ns: 1_500 }),
        connection(3, 3, Outcome::Aborted { after_ns: 5 }),
    ];
    for (n, stage) in [Stage::Route, Stage::Bind, Stage::Call, Stage::Handshake].into_iter().enumerate() {
        for (m, errno) in [111, 104, 110, 101, 13, 99_999].into_iter().enumerate() {
            let n = (10 + n * 10 + m) as u64;
            written.push(connection(n, n as i64, Outcome::Failed { errno, stage, after_ns: n }));
        }
    }
    write_connections(&mut sink, &written);
    written.reverse();
    assert_eq!(history.connections(&ALL, 100).unwrap().rows, written);
}

#[test]
fn extremes_and_absent_values_come_back() {
    let (mut sink, history) = open_temporary().unwrap();
    let process = Process {
        pid: u32::MAX,
        tid: u32::MAX,
        uid: u32::MAX,
        cgroup_id: u64::MAX,
        started_ns: u64::MAX,
        comm: String::new(),
        name: String::new(),
        exe: Some("/bin/\u{1b}]0;x\u{7}".into()),
    };
    let mut least = connection(0, i64::MIN, Outcome::Established { latency_ns: 0 });
    (least.destination, least.monotonic_ns) = (None, 0);
    let mut most = connection(u64::MAX, i64::MAX, Outcome::Aborted { after_ns: u64::MAX });
    (most.monotonic_ns, most.family, most.protocol, most.netns) = (u64::MAX, u16::MAX, u8::MAX, u32::MAX);
    most.process = process.clone();
    (most.source, most.destination) = (end("::ffff:10.0.0.1", 65_535), end("2001:db8::1", 0));
    write_connections(&mut sink, &[least.clone(), most.clone()]);
    assert_eq!(history.connections(&ALL, 100).unwrap().rows, [most, least]);

    let mut drop = packet_drop(1 << 63, 5, Some(process), Attribution::Tuple);
    (drop.reason_code, drop.length, drop.ether_type) = (Some(u32::MAX), u32::MAX, u16::MAX);
    let mut bare = packet_drop(1, 4, None, Attribution::None);
    (bare.reason_code, bare.source, bare.destination) = (None, None, None);
    let socket = packet_drop(2, 3, Some(super::tests::process(1, "a", "b")), Attribution::Socket);
    write_drops(&mut sink, &[drop.clone(), bare.clone(), socket.clone()]);
    assert_eq!(history.drops(&ALL, 100).unwrap().rows, [drop, bare, socket]);
}

#[test]
fn hostile_names_are_only_names() {
    let (mut sink, history) = open_temporary().unwrap();
    let names = ["'; DROP TABLE connections; --", "a\0b", "\u{1b}[31m\n\"", "\u{fffd}é中", "%", "_", "?"];
    for (id, name) in names.into_iter().enumerate() {
        let mut row = connection(id as u64, id as i64, Outcome::Pending);
        row.process = process(1, name, name);
        write_connections(&mut sink, &[row]);
    }
    for (id, name) in names.into_iter().enumerate() {
        assert_eq!(ids(&history, &named(name)), [id as u64], "{name:?}");
    }
    assert!(ids(&history, &named("a")).is_empty());
}

#[test]
fn what_comes_later_completes_a_row() {
    let (mut sink, history) = open_temporary().unwrap();
    let pending = connection(1, 1, Outcome::Pending);
    write_connections(&mut sink, std::slice::from_ref(&pending));

    let mut established = connection(1, 1, Outcome::Established { latency_ns: 20 });
    established.source = end("10.0.0.1", 40_000);
    established.process.exe = Some("/usr/bin/curl".into());
    write_connections(&mut sink, std::slice::from_ref(&established));
    assert_eq!(history.connections(&ALL, 100).unwrap().rows, [established.clone()]);

    write_connections(&mut sink, &[pending]);
    let page = history.connections(&ALL, 100).unwrap();
    assert_eq!((page.rows, page.total), (vec![established], 1), "a pending must not undo an outcome");

    let reset = connection(1, 1, Outcome::Failed { errno: 104, stage: Stage::Handshake, after_ns: 30 });
    write_connections(&mut sink, std::slice::from_ref(&reset));
    let row = &history.connections(&ALL, 100).unwrap().rows[0];
    assert_eq!((row.outcome, row.source), (reset.outcome, end("10.0.0.1", 40_000)));
}

#[test]
fn a_drop_written_twice_is_one() {
    let (mut sink, history) = open_temporary().unwrap();
    let drop = packet_drop(1, 1, None, Attribution::None);
    write_drops(&mut sink, &[drop.clone(), drop.clone()]);
    assert_eq!(history.drops(&ALL, 100).unwrap().total, 1);
}

#[test]
fn a_name_is_that_of_the_thread_or_of_the_process() {
    let (mut sink, history) = open_temporary().unwrap();
    let rows = [("curl", "curl"), ("resolver", "firefox"), ("firefox", "firefox"), ("Curl", "curl2")];
    for (id, (comm, name)) in rows.into_iter().enumerate() {
        let mut row = connection(id as u64, id as i64, Outcome::Pending);
        row.process = process(id as u32 + 1, comm, name);
        write_connections(&mut sink, &[row]);
        write_drops(
            &mut sink,
            &[packet_drop(id as u64, id as i64, Some(process(9, comm, name)), Attribution::Socket)],
        );
    }
    for (name, expected) in [
        ("curl", vec![0]),
        ("Curl", vec![3]),
        ("firefox", vec![2, 1]),
        ("resolver", vec![1]),
        ("CURL", vec![]),
        ("cur", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(ids(&history, &named(name)), expected, "{name}");
        assert_eq!(history.drops(&named(name), 9).unwrap().total as usize, expected.len(), "{name}");
    }
    assert_eq!(ids(&history, &Filter { pid: Some(2), ..named("firefox") }), [1]);
    assert!(ids(&history, &Filter { pid: Some(1), ..named("firefox") }).is_empty());
}

#[test]
fn a_long_name_matches_what_the_kernel_keeps_of_it() {
    let (mut sink, history) = open_temporary().unwrap();
    let rows = ["systemd-resolve", "exactly-fifteen", "f\u{fc}nfzehn-byte\u{fffd}"];
    for (id, name) in rows.into_iter().enumerate() {
        let mut row = connection(id as u64, id as i64, Outcome::Pending);
        row.process = process(1, name, name);
        write_connections(&mut sink, &[row]);
    }
    assert_eq!(ids(&history, &named("systemd-resolved")), [0]);
    assert_eq!(ids(&history, &named("exactly-fifteen")), [1]);
    assert_eq!(ids(&history, &named("exactly-fifteen-and-more")), [1]);
    // The fifteenth byte is the first half of the last letter.
    assert_eq!(ids(&history, &named("f\u{fc}nfzehn-byte\u{fc}")), [2]);
    assert!(ids(&history, &named("exactly-fiftee")).is_empty());
}

#[test]
fn an_unowned_drop_is_not_found_by_a_pid() {
    let (mut sink, history) = open_temporary().unwrap();
    let guessed = packet_drop(1, 1, Some(process(42, "curl", "curl")), Attribution::None);
    write_drops(&mut sink, &[guessed]);
    assert_eq!(history.drops(&Filter { pid: Some(42), ..ALL }, 9).unwrap().total, 0);
    assert_eq!(history.drops(&named("curl"), 9).unwrap().total, 0);
    assert_eq!(history.drops(&ALL, 9).unwrap().rows[0].owner, None);
}

#[test]
fn newest_first_within_the_limit_and_the_total_beyond_it() {
    let (mut sink, history) = open_temporary().unwrap();
    let rows: Vec<_> = [(5, 30), (1, 10), (9, 20), (8, 20)]
        .map(|(id, wall_ns)| connection(id, wall_ns, Outcome::Pending))
        .into();
    write_connections(&mut sink, &rows);
    assert_eq!(ids(&history, &ALL), [5, 9, 8, 1]);
    let page = history.connections(&ALL, 2).unwrap();
    assert_eq!((page.rows.len(), page.rows[0].id, page.rows[1].id, page.total), (2, 5, 9, 4));
    assert_eq!(history.connections(&ALL, 0).unwrap().total, 4);
}

#[test]
fn a_window_includes_both_of_its_ends() {
    let (mut sink, history) = open_temporary().unwrap();
    let rows: Vec<_> = (1..=5).map(|n| connection(n, n as i64, Outcome::Pending)).collect();
    write_connections(&mut sink, &rows);
    let within = |since_ns, until_ns| Filter { window: Window { since_ns, until_ns }, ..ALL };
    assert_eq!(ids(&history, &within(2, 4)), [4, 3, 2]);
    assert_eq!(ids(&history, &within(3, 3)), [3]);
    assert!(ids(&history, &within(4, 2)).is_empty());
    assert!(ids(&history, &within(6, i64::MAX)).is_empty());
}

#[test]
fn counts_by_verdict_and_by_reason() {
    let (mut sink, history) = open_temporary().unwrap();
    assert!(history.connection_counts(&ALL).unwrap().is_empty());
    write_connections(
        &mut sink,
        &[
            connection(1, 1, Outcome::Pending),
            connection(2, 2, Outcome::Established { latency_ns: 1 }),
            connection(3, 3, Outcome::Established { latency_ns: 1 }),
            connection(4, 4, Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: 1 }),
        ],
    );
    let counts = [(Verdict::Pending, 1), (Verdict::Established, 2), (Verdict::Refused, 1)];
    assert_eq!(history.connection_counts(&ALL).unwrap(), BTreeMap::from(counts));
    let narrow = Filter { window: Window { since_ns: 2, until_ns: 2 }, ..ALL };
    assert_eq!(history.connection_counts(&narrow).unwrap(), BTreeMap::from([(Verdict::Established, 1)]));

    let mut other = packet_drop(3, 3, None, Attribution::None);
    other.reason = "NETFILTER_DROP".into();
    let same = |id| packet_drop(id, 1, None, Attribution::None);
    write_drops(&mut sink, &[same(1), same(2), other]);
    let counts = [("NO_SOCKET".to_owned(), 2), ("NETFILTER_DROP".to_owned(), 1)];
    assert_eq!(history.drop_counts(&ALL).unwrap(), BTreeMap::from(counts));
}

#[test]
fn losses_are_summed_by_place() {
    let (mut sink, history) = open_temporary().unwrap();
    let loss = |wall_ns, place, count| Loss { wall_ns, place, count };
    let mut losses: Vec<_> = LossPlace::ALL.into_iter().map(|place| loss(1, place, 2)).collect();
    losses.extend([
        loss(2, LossPlace::Store, 2),
        loss(3, LossPlace::Store, 5),
        loss(3, LossPlace::Orphaned, u64::MAX),
        loss(4, LossPlace::Orphaned, u64::MAX),
        loss(5, LossPlace::Undecodable, 0),
    ]);
    sink.write(&Batch { losses, ..Batch::default() }).unwrap();
    let counts = history.losses(EVER).unwrap();
    assert_eq!(counts.len(), LossPlace::ALL.len());
    assert_eq!(
        (counts[&LossPlace::Store], counts[&LossPlace::Orphaned], counts[&LossPlace::EventsRingFull]),
        (9, u64::MAX, 2)
    );
    let counts = history.losses(Window { since_ns: 2, until_ns: 2 }).unwrap();
    assert_eq!(counts, BTreeMap::from([(LossPlace::Store, 2)]));
    assert!(history.losses(Window { since_ns: 5, until_ns: 9 }).unwrap().is_empty());
}

#[test]
fn damaged_rows_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let (mut sink, history) = open(&path).unwrap();
    write_connections(
        &mut sink,
        &[connection(1, 1, Outcome::Failed { errno: 1, stage: Stage::Call, after_ns: 1 })],
    );
    write_drops(&mut sink, &[packet_drop(1, 1, None, Attribution::None)]);
    sink.write(&Batch {
        losses: vec![Loss { wall_ns: 1, place: LossPlace::Store, count: 1 }],
        ..Batch::default()
    })
    .unwrap();
    let editor = rusqlite::Connection::open(&path).unwrap();
    for (damage, column) in [
        ("UPDATE connections SET verdict = 'great'", "verdict"),
        ("UPDATE connections SET verdict = 'failed', stage = 'left'", "stage"),
        ("UPDATE connections SET stage = 'call', errno = NULL", "errno"),
        ("UPDATE connections SET errno = 1, pid = -1", "pid"),
        ("UPDATE connections SET pid = 1, destination_ip = x'010203'", "destination_ip"),
        ("UPDATE connections SET destination_ip = x'01020304', destination_port = 70000", "destination_port"),
    ] {
        editor.execute_batch(damage).unwrap();
        let error = history.connections(&ALL, 1).unwrap_err().0;
        assert!(error.contains(&format!("whose {column} cannot be read")), "{damage}: {error}");
    }
    editor.execute_batch("UPDATE drops SET attribution = 'luck'; UPDATE losses SET place = 'sofa'").unwrap();
    assert!(history.drops(&ALL, 1).is_err());
    assert!(history.losses(EVER).is_err());
    editor.execute_batch("DROP TABLE drops").unwrap();
    assert!(history.drop_counts(&ALL).unwrap_err().0.starts_with("cannot read the history"));
    assert!(sink.write(&Batch { drops: vec![], ..Batch::default() }).is_ok());
    let batch = Batch {
        connections: vec![connection(77, 7, Outcome::Pending)],
        drops: vec![packet_drop(2, 2, None, Attribution::None)],
        ..Batch::default()
    };
    assert!(sink.write(&batch).is_err());
    editor.execute_batch("DELETE FROM connections WHERE id = 1").unwrap();
    assert!(ids(&history, &ALL).is_empty(), "a batch that fails leaves nothing behind");
}

#[test]
fn one_writer_and_many_readers_of_a_temporary_history() {
    let (mut sink, history) = open_temporary().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let history = history.clone();
            scope.spawn(move || {
                let (mut seen, mut readings) = (0, 0);
                while seen < 10_000 && readings < 100_000 {
                    readings += 1;
                    let total = history.connections(&ALL, 10).unwrap().total;
                    assert!(total >= seen, "what was written is not unwritten");
                    seen = total;
                }
            });
        }
        // Enough for SQLite to copy its log into the database now and then.
        for batch in 0..200 {
            let ids = batch * 50..(batch + 1) * 50;
            let rows: Vec<_> = ids.map(|id| connection(id, id as i64, Outcome::Pending)).collect();
            write_connections(&mut sink, &rows);
        }
    });
    let (_other_sink, other) = open_temporary().unwrap();
    assert_eq!(other.connections(&ALL, 1).unwrap().total, 0, "each is its own");
}

#[test]
fn filters_are_answered_from_their_indexes() {
    let (_sink, history) = open_temporary().unwrap();
    let plan = |table: &str, filter: &Filter| {
        let condition = super::read::Condition::of(filter);
        let sql = format!("EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {}", condition.sql);
        let reader = history.reader();
        let mut statement = reader.prepare(&sql).unwrap();
        let rows = statement
            .query_map(rusqlite::params_from_iter(&condition.values), |row| row.get::<_, String>(3))
            .unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    };
    for table in ["connections", "drops"] {
        assert!(plan(table, &ALL).contains(&format!("{table}_by_time")));
        assert!(plan(table, &Filter { pid: Some(1), ..ALL }).contains(&format!("{table}_by_pid")));
        let by_name = plan(table, &named("curl"));
        assert!(by_name.contains(&format!("{table}_by_process")), "{by_name}");
        assert!(by_name.contains(&format!("{table}_by_thread")), "{by_name}");
    }
}
