//! What is deleted, what is left, and that sums stay exact.

use super::*;
use crate::domain::{Group, GroupBy, Traffic};

const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;

const STEP: i64 = 250_000_000;

/// Four rows a second from 1970 on; outcomes, processes and destinations in turn.
fn row(n: u64) -> Connection {
    let outcome = match n % 3 {
        0 => Outcome::Established { latency_ns: n },
        1 => Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: n },
        _ => Outcome::Pending,
    };
    let name = format!("program-{}", n % 7);
    Connection {
        process: process(100 + (n % 7) as u32, &name, &name).into(),
        destination: end("10.0.0.1", (n % 2) as u16),
        traffic: Some(Traffic { bytes_sent: n, bytes_received: 1, ..Traffic::default() }),
        ..connection(n + 1, n as i64 * STEP, outcome)
    }
}

/// Writes `count` rows, and a moment later what became of some of them.
fn write_rows(sink: &mut SqliteSink, count: u64) -> Vec<Connection> {
    let mut rows: Vec<_> = (0..count).map(row).collect();
    for start in (0..rows.len()).step_by(1_000) {
        let end = (start + 1_000).min(rows.len());
        write_connections(sink, &rows[start..end]);
        let mut later = Vec::new();
        for row in rows[start..end].iter_mut().step_by(4).filter(|row| row.outcome == Outcome::Pending) {
            row.outcome = Outcome::Established { latency_ns: 7 };
            row.traffic = Some(Traffic { bytes_sent: 1_000, bytes_received: 5, ..Traffic::default() });
            row.process = process(9, "late", "late").into();
            later.push(row.clone());
        }
        write_connections(sink, &later);
    }
    rows
}

/// What the rows themselves say, for comparison.
fn expected(rows: &[Connection], filter: &Filter) -> ConnectionCounts {
    let window = filter.window.since_ns..=filter.window.until_ns;
    let mut counts = ConnectionCounts::new();
    for row in rows.iter().filter(|row| window.contains(&row.wall_ns)) {
        if filter.process.as_ref().is_none_or(|name| *name == row.process.name) {
            *counts.entry((row.direction, row.outcome.verdict())).or_default() += 1;
        }
    }
    counts
}

fn check_sums(history: &SqliteHistory, rows: &[Connection], windows: &[(i64, i64)]) {
    for (since_ns, end_ns) in windows {
        let window = Window { since_ns: *since_ns, until_ns: end_ns - 1 };
        for process in [None, Some("program-3"), Some("late"), Some("nobody")] {
            let filter = Filter { process: process.map(str::to_owned), ..Filter::within(window) };
            assert_eq!(history.connection_counts(&filter).unwrap(), expected(rows, &filter), "{filter:?}");
        }
        let mut sent = BTreeMap::new();
        let minutes = since_ns.div_euclid(MINUTE)..=(end_ns - 1).div_euclid(MINUTE);
        for row in rows.iter().filter(|row| minutes.contains(&row.wall_ns.div_euclid(MINUTE))) {
            *sent.entry(row.process.name.clone()).or_default() += row.traffic.unwrap().bytes_sent;
        }
        let top = history.top(&Filter::within(window), GroupBy::Process, 100).unwrap();
        let found: BTreeMap<_, _> = top
            .into_iter()
            .map(|(group, sum)| match group {
                Group::Process(name) => (name, sum.bytes_sent),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, sent, "{window:?}");
    }
}

#[test]
fn the_file_stays_below_its_size_and_sums_stay_exact() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let keep = Keep { bytes: 4 << 20, ..Keep::default() };
    let (mut sink, history) = open(&path, keep).unwrap();
    let rows = write_rows(&mut sink, 60_000);
    let size = history.size_bytes().unwrap();
    assert!(size <= keep.bytes && size > keep.bytes / 2, "{size} bytes");
    let left = history.connections(&ALL, 100).unwrap();
    assert!((10_000..50_000).contains(&left.total), "{} rows left", left.total);
    assert_eq!(left.rows[0], rows[59_999], "the newest are there");
    let ever = 60_000 * STEP;
    check_sums(
        &history,
        &rows,
        &[
            (0, MINUTE),
            (7 * MINUTE, 9 * MINUTE),
            (0, 100 * MINUTE),
            (59 * MINUTE, 61 * MINUTE),
            (MINUTE, ever),
            (ever - 90 * MINUTE, ever - MINUTE / 7),
            (0, ever),
        ],
    );
    let of_gone = "SELECT count(*) FROM connections WHERE process NOT IN (SELECT id FROM processes)";
    let file = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(file.query_row(of_gone, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    drop(file);

    // What comes later for a row that is gone is counted, not resurrected.
    write_connections(&mut sink, &rows[..3]);
    assert_eq!(
        history.losses(EVER).unwrap(),
        BTreeMap::from([((LossPlace::Expired, LossKind::Connection), 3)])
    );
    check_sums(&history, &rows, &[(0, MINUTE)]);

    // A thread copies the log into the file, as slowly as the disk is. Whoever is the last to close it copies the rest.
    drop((sink, history));
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size <= keep.bytes && size > keep.bytes / 2, "{size} bytes");

    // A smaller limit makes the file smaller, in steps.
    let keep = Keep { bytes: 2 << 20, ..keep };
    let (mut sink, history) = open(&path, keep).unwrap();
    for n in 60_000..60_200 {
        write_connections(&mut sink, &[row(n)]);
    }
    assert_eq!(history.connections(&ALL, 1).unwrap().rows[0], row(60_199));
    drop((sink, history));
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size <= keep.bytes && size > keep.bytes / 4, "{size} bytes");
}

#[test]
fn processes_stay_as_long_as_an_event_names_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let (mut sink, history) = open(&path, Keep { bytes: 2 << 20, ..Keep::default() }).unwrap();
    // One that is always there, and of each second another.
    let rows = (1..40_000_u64).map(|n| {
        let pid = if n % 2 == 0 { 1 } else { 2 + n as u32 / 10 };
        let at = n as i64 * STEP;
        Connection { process: process(pid, "p", "p").into(), ..connection(at as u64, at, Outcome::Pending) }
    });
    for batch in rows.collect::<Vec<_>>().chunks(300) {
        write_connections(&mut sink, batch);
    }
    let file = rusqlite::Connection::open(&path).unwrap();
    let count = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM connections WHERE process NOT IN (SELECT id FROM processes)"), 0);
    let (named, kept) =
        (count("SELECT count(DISTINCT process) FROM connections"), count("SELECT count(*) FROM processes"));
    assert!(named < 3_000 && kept <= named + 500, "{kept} are kept, {named} are named");
    assert!(history.connections(&Filter { pid: Some(1), ..ALL }, 1).unwrap().total > 1_000);
}

#[test]
fn what_is_too_old_goes_and_its_hours_stay() {
    let (directory, keep) = (tempfile::tempdir().unwrap(), Keep { for_ns: HOUR, ..Keep::default() });
    let path = directory.path().join("history.db");
    let (mut sink, history) = open(&path, keep).unwrap();
    let rows = write_rows(&mut sink, 60_000);
    let last_ns = rows[59_999].wall_ns;
    let left = history.connections(&ALL, 0).unwrap().total;
    // To the block, and the block before it that is not all too old.
    assert!((14_400..=14_400 + 2 * 2_000).contains(&left), "{left} rows left");
    check_sums(
        &history,
        &rows,
        &[(0, HOUR), (0, 2 * HOUR), (HOUR, 4 * HOUR), (0, last_ns + 1), (last_ns - 30 * MINUTE, last_ns + 1)],
    );
    // A minute that is only in its hour is answered with the hour.
    let minute = Filter::within(Window { since_ns: 5 * MINUTE, until_ns: 6 * MINUTE - 1 });
    let hour = Filter::within(Window { since_ns: 0, until_ns: HOUR - 1 });
    assert_eq!(history.connection_counts(&minute).unwrap(), expected(&rows, &hour));
}

#[test]
fn drops_are_summed_after_retention_too() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Keep { bytes: 1 << 20, ..Keep::default() };
    let (mut sink, history) = open(&directory.path().join("history.db"), keep).unwrap();
    for batch in 0..40_u64 {
        let drops: Vec<_> = (batch * 1_000..batch * 1_000 + 1_000)
            .map(|n| {
                let owner = (n % 2 == 0).then(|| process(5, "curl", "curl"));
                let known = if owner.is_some() { Attribution::Socket } else { Attribution::None };
                packet_drop(n + 1, n as i64 * 100_000_000, owner, known)
            })
            .collect();
        write_drops(&mut sink, &drops);
    }
    assert!(history.drops(&ALL, 0).unwrap().total < 30_000);
    let count = |filter: &Filter| history.drop_counts(filter).unwrap().values().sum::<u64>();
    assert_eq!((count(&ALL), count(&named("curl")), count(&named("wget"))), (40_000, 20_000, 0));
    let reason = |name: &str| Filter { reason: Some(name.into()), ..ALL };
    assert_eq!((count(&reason("NO_SOCKET")), count(&reason("OTHER"))), (40_000, 0));
}

#[test]
fn a_program_that_goes_everywhere_does_not_hide_the_others() {
    let (mut sink, history) = open_temporary().unwrap();
    let everywhere = (0..20_000_u32).map(|n| Connection {
        process: process(1, "scan", "scan").into(),
        destination: Some(Endpoint { ip: std::net::Ipv4Addr::from(n).into(), port: 1, scope: 0 }),
        ..connection(u64::from(n) + 1, i64::from(n), Outcome::Pending)
    });
    let rows: Vec<_> =
        everywhere.chain((20_001..20_101).map(|id| connection(id, id as i64, Outcome::Pending))).collect();
    write_connections(&mut sink, &rows);
    let top = history.top(&ALL, GroupBy::Destination, 2).unwrap();
    let others = 20_000 - 2_000; // by hour, as the window is long
    assert_eq!((&top[0].0, top[0].1.count), (&Group::Others, others));
    let usual = Group::Destination { end: end("93.184.216.34", 443).unwrap(), protocol: 6 };
    assert_eq!((&top[1].0, top[1].1.count), (&usual, 100));
    assert_eq!(history.top(&ALL, GroupBy::Process, 1).unwrap()[0].1.count, 20_000);
    assert!(history.top(&Filter { pid: Some(1), ..ALL }, GroupBy::Process, 1).is_err());
}
