//! The store against the real `SQLite`: what comes back, what is found, what is refused.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{SqliteHistory, SqliteSink, open, open_temporary};
use crate::domain::{
    Ancestor, Attribution, Batch, Connection, ConnectionCounts, Direction, Endpoint, Filter, History,
    Identity, Keep, Loss, LossKind, LossPlace, Outcome, PacketDirection, PacketDrop, Process, Sink, Stage,
    Verdict, Window,
};

mod faults;
mod files;
mod filters;
mod migration;
mod retention;
mod round_trip;
mod segments;
mod troubles;

const EVER: Window = Window { since_ns: i64::MIN, until_ns: i64::MAX };
const ALL: Filter = Filter::within(EVER);

#[expect(clippy::unnecessary_wraps, reason = "as the fields it fills want it")]
fn end(ip: &str, port: u16) -> Option<Endpoint> {
    Some(Endpoint { ip: ip.parse::<IpAddr>().unwrap(), port, scope: 0 })
}

fn process(pid: u32, comm: &str, name: &str) -> Process {
    Process { pid, tid: pid + 1, uid: 1000, comm: comm.into(), name: name.into(), ..Process::default() }
}

/// All that is known is the path of the executable.
fn at(exe: &str) -> Arc<Identity> {
    Arc::new(Identity { exe: Some(exe.into()), ..Identity::default() })
}

fn connection(id: u64, wall_ns: i64, outcome: Outcome) -> Connection {
    Connection {
        id,
        monotonic_ns: 7,
        wall_ns,
        process: process(42, "curl", "curl").into(),
        family: 2,
        source: None,
        destination: end("93.184.216.34", 443),
        protocol: 6,
        netns: 4_026_531_840,
        outcome,
        ..Connection::default()
    }
}

fn packet_drop(id: u64, wall_ns: i64, owner: Option<Process>, attribution: Attribution) -> PacketDrop {
    PacketDrop {
        id,
        monotonic_ns: 9,
        wall_ns,
        owner: owner.map(Into::into),
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
        direction: Some(PacketDirection::Received),
        interface: 2,
        interface_name: "eth0".into(),
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

fn outbound<const N: usize>(counts: [(Verdict, u64); N]) -> ConnectionCounts {
    counts.into_iter().map(|(verdict, count)| ((Direction::Outbound, verdict), count)).collect()
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
        identity: Arc::new(Identity {
            exe: Some("/bin/\u{1b}]0;x\u{7}".into()),
            cmdline: Some("\u{1b}[31m\n\"\u{fffd}\0".into()),
            parents: vec![
                Ancestor { pid: u32::MAX, name: "\"".into(), exe: Some(String::new()) },
                Ancestor::default(),
            ],
            unit: Some(String::new()),
            container_id: Some("c".into()),
            pod_uid: Some("p".into()),
        }),
    };
    let mut least = connection(0, i64::MIN, Outcome::Established { latency_ns: 0 });
    (least.destination, least.monotonic_ns) = (None, 0);
    let mut most = connection(u64::MAX, i64::MAX, Outcome::Aborted { after_ns: u64::MAX });
    (most.monotonic_ns, most.family, most.protocol, most.netns) = (u64::MAX, u16::MAX, u8::MAX, u32::MAX);
    most.process = process.clone().into();
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
        row.process = process(1, name, name).into();
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
    let identity = Identity { exe: Some("/usr/bin/curl".into()), ..Identity::default() };
    Arc::make_mut(&mut established.process).identity = identity.into();
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
        row.process = process(id as u32 + 1, comm, name).into();
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
        row.process = process(1, name, name).into();
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
    assert_eq!(history.connection_counts(&ALL).unwrap(), outbound(counts));
    let narrow = Filter { window: Window { since_ns: 2, until_ns: 2 }, ..ALL };
    assert_eq!(history.connection_counts(&narrow).unwrap(), outbound([(Verdict::Established, 1)]));

    let mut other = packet_drop(3, 3, None, Attribution::None);
    other.reason = "NETFILTER_DROP".into();
    let same = |id| packet_drop(id, 1, None, Attribution::None);
    write_drops(&mut sink, &[same(1), same(2), other]);
    let at = |reason: &str| (reason.to_owned(), "tcp_v4_rcv+0x84".to_owned());
    let counts = [(at("NO_SOCKET"), 2), (at("NETFILTER_DROP"), 1)];
    assert_eq!(history.drop_counts(&ALL).unwrap(), BTreeMap::from(counts));
}

#[test]
fn losses_are_summed_by_place_and_kind() {
    let (mut sink, history) = open_temporary().unwrap();
    let unknown = LossKind::Unknown;
    let loss = |wall_ns, place, count| Loss { wall_ns, place, kind: unknown, count };
    let mut losses: Vec<_> = LossPlace::ALL.into_iter().map(|place| loss(1, place, 2)).collect();
    losses.extend([
        loss(2, LossPlace::Store, 2),
        loss(3, LossPlace::Store, 5),
        loss(3, LossPlace::Orphaned, u64::MAX),
        loss(4, LossPlace::Orphaned, u64::MAX),
        loss(5, LossPlace::Undecodable, 0),
        Loss { kind: LossKind::Accept, ..loss(5, LossPlace::Skipped, 7) },
    ]);
    sink.write(&Batch { losses, ..Batch::default() }).unwrap();
    let counts = history.losses(EVER).unwrap();
    assert_eq!(counts.len(), LossPlace::ALL.len() + 1);
    assert_eq!(
        [LossPlace::Store, LossPlace::Orphaned, LossPlace::Skipped].map(|place| counts[&(place, unknown)]),
        [9, u64::MAX, 2]
    );
    assert_eq!(counts[&(LossPlace::Skipped, LossKind::Accept)], 7);
    let counts = history.losses(Window { since_ns: 2, until_ns: 2 }).unwrap();
    assert_eq!(counts, BTreeMap::from([((LossPlace::Store, unknown), 2)]));
    assert!(history.losses(Window { since_ns: 6, until_ns: 9 }).unwrap().is_empty());
}

#[test]
fn damaged_rows_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let (mut sink, history) = open(&path, Keep::default()).unwrap();
    write_connections(
        &mut sink,
        &[connection(1, 1, Outcome::Failed { errno: 1, stage: Stage::Call, after_ns: 1 })],
    );
    write_drops(&mut sink, &[packet_drop(1, 1, None, Attribution::None)]);
    sink.write(&Batch {
        losses: vec![Loss { wall_ns: 1, place: LossPlace::Store, kind: LossKind::Unknown, count: 1 }],
        ..Batch::default()
    })
    .unwrap();
    let editor = rusqlite::Connection::open(&path).unwrap();
    for (damage, column) in [
        ("UPDATE connections SET class = 99", "class"),
        ("UPDATE connections SET class = 7, stage = 99", "stage"),
        ("UPDATE connections SET stage = 2, errno = NULL", "errno"),
        ("UPDATE processes SET pid = -1; UPDATE connections SET errno = 1", "pid"),
        ("UPDATE processes SET pid = 1; UPDATE connections SET destination_ip = x'010203'", "destination_ip"),
        ("UPDATE connections SET destination_ip = 1, destination_port = 70000", "destination_port"),
        ("UPDATE connections SET destination_port = 7, process = 77", "process"),
    ] {
        editor.execute_batch(damage).unwrap();
        let error = history.connections(&ALL, 1).unwrap_err().0;
        assert!(error.contains(&format!("whose {column} cannot be read")), "{damage}: {error}");
    }
    editor.execute_batch("UPDATE drops SET attribution = 9; UPDATE losses SET place = 'sofa'").unwrap();
    assert!(history.drops(&ALL, 1).is_err());
    assert!(history.losses(EVER).is_err());
    editor.execute_batch("DROP TABLE drops; DROP TABLE drop_blocks").unwrap();
    assert!(history.drop_counts(&ALL).unwrap_err().0.starts_with("cannot read the history"));
    assert!(sink.write(&Batch { drops: vec![], ..Batch::default() }).is_ok());
    let batch = Batch {
        connections: vec![connection(77, 7, Outcome::Pending)],
        drops: vec![packet_drop(2, 2, None, Attribution::None)],
        ..Batch::default()
    };
    assert!(sink.write(&batch).is_err());
    assert!(history.connections(&ALL, 9).unwrap_err().0.contains("process"), "still only the first row");
    assert_eq!(history.connections(&ALL, 0).unwrap().total, 1, "a batch that fails leaves nothing behind");
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
fn only_rows_that_may_match_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let (mut sink, history) = open(&path, Keep::default()).unwrap();
    let mut rows: Vec<_> = (1..=10_000).map(|id| connection(id, id as i64, Outcome::Pending)).collect();
    rows[4_999].process = process(7, "rare", "rare").into();
    for batch in rows.chunks(1_700) {
        write_connections(&mut sink, batch);
    }
    // Whoever reads another row finds it damaged.
    let editor = rusqlite::Connection::open(&path).unwrap();
    editor.execute_batch("UPDATE connections SET process = -1 WHERE id <> 5000").unwrap();
    assert_eq!(ids(&history, &named("rare")), [5_000]);
    assert_eq!(ids(&history, &Filter { pid: Some(7), ..ALL }), [5_000]);
    assert!(ids(&history, &named("nobody")).is_empty());
    assert_eq!(history.connection_counts(&named("curl")).unwrap(), outbound([(Verdict::Pending, 9_999)]));
    assert!(history.connections(&ALL, 1).is_err());
}
