//! Questions about processes and ports of a history of many blocks: from summaries of summaries, and as exact as from rows.

use super::*;
use crate::domain::End;

/// Rows of which one block is in no segment, and a little more.
const ROWS: u64 = 71_000;

/// A busy process, ten that are less, and two that are rare; times that are not quite in the order of ids.
fn row(id: u64) -> Connection {
    let (pid, name) = match id {
        id if id.is_multiple_of(3_571) => (90, "rare"),
        id if id.is_multiple_of(20_011) => (91, "rarest"),
        id if id.is_multiple_of(3) => (1 + (id % 30 / 3) as u32, "some"),
        _ => (50, "busy"),
    };
    let outcome =
        if id.is_multiple_of(7) { Outcome::Pending } else { Outcome::Established { latency_ns: 1 } };
    Connection {
        process: process(pid, name, name).into(),
        direction: if id % 10 < 8 { Direction::Outbound } else { Direction::Inbound },
        source: end("10.0.0.2", (40_000 + id % 9_000) as u16),
        destination: end("10.0.0.1", (id % 100) as u16),
        ..connection(id, (id ^ 0x155) as i64, outcome)
    }
}

/// Asks everything, and compares it with what the rows say.
fn check(history: &SqliteHistory, rows: &BTreeMap<u64, Connection>) {
    let windows = [(i64::MIN, i64::MAX), (0, 70_000), (1_234, 69_999), (30_000, 40_000), (66_000, i64::MAX)];
    for (since_ns, until_ns) in windows {
        let all = Filter::within(Window { since_ns, until_ns });
        let to = |ports| End { network: None, ports: Some(ports) };
        let host = End { network: Some("10.0.0.1/32".parse().unwrap()), ports: Some(3..=4) };
        for filter in [
            Filter { pid: Some(90), ..all.clone() },
            Filter { process: Some("rarest".into()), ..all.clone() },
            Filter { process: Some("some".into()), verdicts: vec![Verdict::Pending], ..all.clone() },
            Filter { process: Some("busy".into()), ..all.clone() },
            Filter { pid: Some(50), remote: to(17..=17), ..all.clone() },
            Filter { remote: to(17..=17), ..all.clone() },
            Filter { remote: to(44_008..=44_009), ..all.clone() },
            Filter { remote: to(0..=u16::MAX), ..all.clone() },
            Filter { remote: to(7..=7), local: to(40_007..=48_999), ..all.clone() },
            Filter { remote: host, ..all.clone() },
            Filter { remote: to(44_009..=44_009), verdicts: vec![Verdict::Pending], ..all.clone() },
            Filter { process: Some("nobody".into()), ..all.clone() },
        ] {
            let mut expected: Vec<_> = rows
                .values()
                .filter(|row| filter.matches_connection(row))
                .map(|row| (row.wall_ns, row.id))
                .collect();
            expected.sort_unstable_by(|one, other| other.cmp(one));
            let page = history.connections(&filter, 100).unwrap();
            assert_eq!(page.total as usize, expected.len(), "{filter:?}");
            expected.truncate(100);
            let found: Vec<_> = page.rows.iter().map(|row| (row.wall_ns, row.id)).collect();
            assert_eq!(found, expected, "{filter:?}");
            let counted: u64 = history.connection_counts(&filter).unwrap().values().sum();
            assert_eq!(counted, page.total, "{filter:?}");
        }
    }
}

#[test]
fn answers_from_segments_are_those_of_the_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let (mut sink, history) = open(&path, Keep::default()).unwrap();
    let mut rows: BTreeMap<_, _> = (1..=ROWS).map(|id| (id, row(id))).collect();
    for batch in rows.values().cloned().collect::<Vec<_>>().chunks(5_000) {
        write_connections(&mut sink, batch);
    }
    check(&history, &rows);

    // What comes later, in blocks that are in a segment: another outcome, another process, a row.
    let later = [
        Connection { outcome: Outcome::Aborted { after_ns: 1 }, ..row(7 * 300) },
        Connection { process: process(91, "rarest", "rarest").into(), ..row(10_000) },
        Connection { process: process(90, "rare", "rare").into(), ..row(20_011) },
        Connection { process: process(92, "new", "new").into(), ..row(30_001) },
        Connection { destination: end("10.0.0.1", 17), ..row(16) },
    ];
    write_connections(&mut sink, &later);
    rows.extend(later.map(|row| (row.id, row)));
    check(&history, &rows);
    assert_eq!(ids(&history, &named("new")), [30_001]);

    // Whoever reads a row without need finds it damaged.
    let editor = rusqlite::Connection::open(&path).unwrap();
    let damage = "UPDATE connections SET process = -1 WHERE id < 60000 AND id NOT IN (30001, 20011)";
    editor.execute_batch(damage).unwrap();
    assert_eq!(ids(&history, &named("new")), [30_001]);
    assert_eq!(ids(&history, &named("busy")).len(), 100);
    assert!(history.connection_counts(&named("some")).is_ok());
    let to = |ports| Filter { remote: End { network: None, ports: Some(ports) }, ..ALL };
    assert_eq!(ids(&history, &to(10..=17)).len(), 100);
    assert!(ids(&history, &to(7_777..=7_777)).is_empty());
    assert!(history.connections(&Filter { verdicts: Vec::new(), ..ALL }, 100_000).is_err());
}

#[test]
fn a_segment_goes_with_its_first_block() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Keep { bytes: 4 << 20, ..Keep::default() };
    let (mut sink, history) = open(&directory.path().join("history.db"), keep).unwrap();
    let rows: Vec<_> = (1..=2 * ROWS).map(row).collect();
    for batch in rows.chunks(2_000) {
        write_connections(&mut sink, batch);
    }
    let left = history.connections(&ALL, 100_000).unwrap();
    assert!(left.total < ROWS, "{} rows left", left.total);
    let left: BTreeMap<_, _> = left.rows.into_iter().map(|row| (row.id, row)).collect();
    for name in ["busy", "some", "rare", "rarest"] {
        let page = history.connections(&named(name), 100_000).unwrap();
        let of_it = left.values().filter(|row| row.process.name == name).count();
        assert_eq!((page.total as usize, page.rows.len()), (of_it, of_it), "{name}");
    }
}
