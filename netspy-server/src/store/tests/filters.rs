//! Every condition of a filter, on connections, drops and troubles: what the store finds, and what matches of what is at
//! hand, is the same.

use super::*;
use crate::domain::{
    Backlog, Close, Counted, CountedKind, End, Ending, Place, Trouble, TroubleKind, Unrecorded,
};

/// From 10.0.0.1:40000 to 93.184.216.34:443 over TCP, but for what `change` makes different.
fn write(change: &[fn(&mut Connection)]) -> (SqliteHistory, Vec<Connection>) {
    let (mut sink, history) = open_temporary().unwrap();
    let rows: Vec<_> = change
        .iter()
        .enumerate()
        .map(|(n, change)| {
            let mut row = connection(n as u64, n as i64, Outcome::Established { latency_ns: 1 });
            row.source = end("10.0.0.1", 40_000);
            change(&mut row);
            row
        })
        .collect();
    write_connections(&mut sink, &rows);
    (history, rows)
}

/// Runs in this unit, this container.
fn within(unit: Option<&str>, container_id: Option<&str>) -> Arc<Identity> {
    let owned = |text: &str| text.to_owned();
    let (unit, container_id) = (unit.map(owned), container_id.map(owned));
    Arc::new(Identity { unit, container_id, ..Identity::default() })
}

fn network(text: &str) -> End {
    End { network: Some(text.parse().unwrap()), ports: None }
}

fn ports(first: u16, last: u16) -> End {
    End { network: None, ports: Some(first..=last) }
}

#[test]
fn conditions_on_connections() {
    let (history, rows) = write(&[
        |_| (),
        |row| row.direction = Direction::Inbound,
        |row| row.outcome = Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: 1 },
        |row| row.destination = end("::ffff:93.184.216.34", 443),
        |row| (row.destination, row.family) = (end("2001:db8::1", 80), 10),
        |row| (row.destination, row.protocol) = (end("192.0.2.1", 53), 17),
        |row| (row.destination, row.path) = (None, Some("/run/x".into())),
        |row| row.process = Process { uid: 7, identity: at("/bin/x"), ..process(1, "x", "x") }.into(),
        |row| {
            let identity = within(Some("a.service"), Some("0123456789abcdef"));
            row.process = Process { identity, ..process(1, "y", "y") }.into();
            row.direction = Direction::Inbound;
        },
    ]);
    let outbound = Filter { direction: Some(Direction::Outbound), ..ALL };
    let all = |rest: &[u64]| rest.to_vec();
    for (filter, expected) in [
        (outbound.clone(), all(&[7, 6, 5, 4, 3, 2, 0])),
        (Filter { direction: Some(Direction::Inbound), ..ALL }, all(&[8, 1])),
        (Filter { unit: Some("a.service".into()), ..ALL }, all(&[8])),
        (Filter { unit: Some("a".into()), ..ALL }, all(&[])),
        (Filter { container: Some("0123456789abcdef".into()), ..ALL }, all(&[8])),
        (Filter { container: Some("0123456789ab".into()), ..ALL }, all(&[8])),
        (Filter { container: Some("0123456789a".into()), ..ALL }, all(&[])),
        (Filter { container: Some("0123456789abcdef0".into()), ..ALL }, all(&[])),
        (Filter { packet_direction: Some(PacketDirection::Sent), ..ALL }, all(&[])),
        (
            Filter { verdicts: vec![Verdict::Refused, Verdict::Established], pid: Some(42), ..ALL },
            all(&[6, 5, 4, 3, 2, 1, 0]),
        ),
        (Filter { verdicts: vec![Verdict::Refused], ..ALL }, all(&[2])),
        (Filter { verdicts: vec![Verdict::Refused], direction: Some(Direction::Inbound), ..ALL }, all(&[])),
        (Filter { errno: Some(111), ..ALL }, all(&[2])),
        (Filter { protocol: Some(17), ..ALL }, all(&[5])),
        (Filter { family: Some(10), ..ALL }, all(&[4])),
        (Filter { uid: Some(7), ..ALL }, all(&[7])),
        (Filter { exe: Some("/bin/x".into()), ..ALL }, all(&[7])),
        (Filter { exe: Some("/bin/y".into()), ..ALL }, all(&[])),
        (Filter { reason: Some("NO_SOCKET".into()), ..ALL }, all(&[])),
        (Filter { remote: network("93.184.216.34/32"), ..ALL }, all(&[7, 3, 2, 0])),
        (Filter { local: network("93.184.0.0/16"), ..ALL }, all(&[8, 1])),
        (Filter { remote: network("10.0.0.0/8"), ..ALL }, all(&[8, 1])),
        (Filter { local: network("10.0.0.0/8"), ..outbound.clone() }, all(&[7, 6, 5, 4, 3, 2, 0])),
        (Filter { remote: network("2001:db8::/32"), ..ALL }, all(&[4])),
        (Filter { remote: network("0.0.0.0/0"), ..outbound.clone() }, all(&[7, 5, 3, 2, 0])),
        (Filter { remote: network("::/0"), ..ALL }, all(&[4, 3])),
        (Filter { remote: ports(53, 80), ..ALL }, all(&[5, 4])),
        (Filter { local: ports(40_000, 40_000), ..outbound }, all(&[7, 6, 5, 4, 3, 2, 0])),
        (
            Filter { remote: End { ports: Some(443..=443), ..network("93.184.0.0/16") }, ..ALL },
            all(&[7, 3, 2, 0]),
        ),
        (
            Filter { protocol: Some(6), remote: network("10.0.0.1/32"), local: ports(443, 443), ..ALL },
            all(&[8, 1]),
        ),
    ] {
        assert_eq!(ids(&history, &filter), expected, "{filter:?}");
        let matching = rows.iter().rev().filter(|row| filter.matches_connection(row)).map(|row| row.id);
        assert_eq!(matching.collect::<Vec<_>>(), expected, "{filter:?}");
        let total = history.connection_counts(&filter).unwrap().values().sum::<u64>();
        assert_eq!(total, expected.len() as u64, "{filter:?}");
        assert_eq!(history.connections(&filter, 1).unwrap().total, total, "{filter:?}");
    }
}

#[test]
fn conditions_on_drops() {
    let (mut sink, history) = open_temporary().unwrap();
    let mut other = packet_drop(2, 2, Some(process(7, "x", "x")), Attribution::Tuple);
    (other.reason, other.protocol) = ("NETFILTER_DROP".into(), 17);
    (other.source, other.destination) = (end("2001:db8::1", 5), end("2001:db8::2", 6));
    other.direction = Some(PacketDirection::Sent);
    let rows = [packet_drop(1, 1, None, Attribution::None), other];
    write_drops(&mut sink, &rows);
    for (filter, expected) in [
        (Filter { reason: Some("NO_SOCKET".into()), ..ALL }, vec![1]),
        (Filter { reason: Some("NONE_SUCH".into()), ..ALL }, vec![]),
        (Filter { protocol: Some(17), ..ALL }, vec![2]),
        (Filter { pid: Some(7), ..ALL }, vec![2]),
        (Filter { local: network("10.0.0.2/32"), ..ALL }, vec![1]),
        (Filter { remote: network("10.0.0.2/32"), local: network("10.0.0.1/32"), ..ALL }, vec![1]),
        (Filter { remote: ports(6, 6), ..ALL }, vec![2]),
        (Filter { direction: Some(Direction::Outbound), ..ALL }, vec![]),
        (Filter { verdicts: vec![Verdict::Failed], ..ALL }, vec![]),
        (Filter { errno: Some(1), ..ALL }, vec![]),
        (Filter { packet_direction: Some(PacketDirection::Sent), ..ALL }, vec![2]),
        (Filter { packet_direction: Some(PacketDirection::Forwarded), ..ALL }, vec![]),
        (Filter { unit: Some("a.service".into()), ..ALL }, vec![]),
    ] {
        let page = history.drops(&filter, 9).unwrap();
        assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{filter:?}");
        let matching = rows.iter().filter(|row| filter.matches_drop(row)).map(|row| row.id);
        assert_eq!(matching.collect::<Vec<_>>(), expected, "{filter:?}");
        assert_eq!(history.drop_counts(&filter).unwrap().values().sum::<u64>(), page.total, "{filter:?}");
    }
}

fn trouble(id: u64, kind: TroubleKind, owner: Option<Process>) -> Trouble {
    Trouble {
        id,
        kind,
        monotonic_ns: 7,
        wall_ns: 1_000,
        attribution: if owner.is_some() { Attribution::Socket } else { Attribution::None },
        owner: owner.map(Into::into),
        reason: (kind == TroubleKind::ResetSent).then(|| "NO_SOCKET".into()),
        family: 2,
        source: end("10.0.0.2", 443),
        destination: end("10.0.0.1", 40_000),
        netns: 1,
        length: 0,
        backlog: (kind == TroubleKind::ListenOverflow).then_some(Backlog { waiting: 2, limit: 1 }),
    }
}

#[test]
fn conditions_on_troubles() {
    let (mut sink, history) = open_temporary().unwrap();
    let somebody = Process { identity: within(Some("a.service"), None), ..process(7, "x", "x") };
    let mut other = trouble(2, TroubleKind::ResetSent, Some(somebody));
    (other.family, other.source, other.reason) = (10, end("2001:db8::1", 80), Some("ABORT".into()));
    let rows = [trouble(1, TroubleKind::ResetSent, None), other, trouble(3, TroubleKind::Retransmit, None)];
    sink.write(&Batch { troubles: rows.to_vec(), ..Batch::default() }).unwrap();
    for (filter, expected) in [
        (ALL, vec![2, 1]),
        (Filter { reason: Some("NO_SOCKET".into()), ..ALL }, vec![1]),
        (Filter { protocol: Some(6), ..ALL }, vec![2, 1]),
        (Filter { protocol: Some(17), ..ALL }, vec![]),
        (Filter { family: Some(10), ..ALL }, vec![2]),
        (Filter { unit: Some("a.service".into()), ..ALL }, vec![2]),
        (Filter { pid: Some(8), ..ALL }, vec![]),
        (Filter { remote: network("10.0.0.0/30"), pid: Some(7), ..ALL }, vec![2]),
        (Filter { local: network("2001:db8::/64"), remote: ports(80, 80), ..ALL }, vec![2]),
        (Filter { remote: ports(443, 443), ..ALL }, vec![1]),
        (Filter { direction: Some(Direction::Outbound), ..ALL }, vec![]),
        (Filter { packet_direction: Some(PacketDirection::Sent), ..ALL }, vec![]),
        (Filter { errno: Some(1), ..ALL }, vec![]),
    ] {
        let page = history.troubles(TroubleKind::ResetSent, &filter, 9).unwrap();
        assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{filter:?}");
        assert_eq!(page.total, expected.len() as u64, "{filter:?}");
        let matching = rows[..2].iter().rev().filter(|row| filter.matches_trouble(row)).map(|row| row.id);
        assert_eq!(matching.collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

#[test]
fn what_was_only_counted_may_match_where_a_count_does_not_tell() {
    let (mut sink, history) = open_temporary().unwrap();
    let counted = |id, reason: &str, owner: Option<Process>, count| Counted {
        id,
        wall_ns: 1,
        kind: CountedKind::Drop,
        reason: reason.into(),
        location: "a".into(),
        owner: owner.map(Into::into),
        count,
    };
    let known = counted(1, "A", Some(process(7, "x", "x")), 5);
    let rows = vec![known, counted(2, "A", None, 10), counted(3, "B", None, 20)];
    sink.write(&Batch { counted: rows, ..Batch::default() }).unwrap();
    let key = |reason: &str| (reason.to_owned(), "a".to_owned());
    let of_a = Filter { reason: Some("A".into()), ..ALL };
    for (filter, matching, undecided) in [
        (of_a.clone(), vec![(key("A"), 15)], 0),
        (Filter { pid: Some(7), ..ALL }, vec![(key("A"), 5)], 30),
        (Filter { pid: Some(7), ..of_a.clone() }, vec![(key("A"), 5)], 10),
        (Filter { pid: Some(7), protocol: Some(17), ..ALL }, vec![], 35),
        (Filter { remote: ports(1, 2), ..of_a }, vec![], 15),
        (Filter { errno: Some(1), ..ALL }, vec![], 0),
    ] {
        let expected = Unrecorded { matching: matching.into_iter().collect(), undecided };
        assert_eq!(history.unrecorded(CountedKind::Drop, &filter).unwrap(), expected, "{filter:?}");
    }
}

#[test]
fn a_list_goes_on_after_a_place() {
    let (mut sink, history) = open_temporary().unwrap();
    let rows: Vec<_> =
        (0..5_000).map(|id| connection(id, (id / 3).cast_signed(), Outcome::Pending)).collect();
    write_connections(&mut sink, &rows);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = history.connections(&Filter { after, ..ALL }, 777).unwrap();
        assert_eq!(page.total, 5_000, "of all, wherever it goes on");
        let Some(last) = page.rows.last() else { break };
        after = Some(Place { wall_ns: last.wall_ns, id: Some(last.id) });
        found.extend(page.rows.iter().map(|row| row.id));
    }
    assert_eq!(found, (0..5_000).rev().collect::<Vec<_>>());
    let after = Some(Place { wall_ns: 2, id: None });
    assert_eq!(ids(&history, &Filter { after, ..ALL }), [5, 4, 3, 2, 1, 0], "nothing of that moment");

    let kind = TroubleKind::ResetSent;
    let troubles: Vec<_> = (0..5).map(|id| trouble(id, kind, None)).collect();
    sink.write(&Batch { troubles, ..Batch::default() }).unwrap();
    let after = Some(Place { wall_ns: 1_000, id: Some(2) });
    let page = history.troubles(kind, &Filter { after, ..ALL }, 9).unwrap();
    assert_eq!((page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), page.total), (vec![1, 0], 5));
}

#[test]
fn connections_that_changed_since() {
    let (mut sink, history) = open_temporary().unwrap();
    let failed = Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: 50 };
    let rows = [
        connection(1, 10, Outcome::Pending),
        connection(2, 10, Outcome::Established { latency_ns: 50 }),
        connection(3, 10, failed),
        connection(4, 60, Outcome::Pending),
    ];
    write_connections(&mut sink, &rows);
    let since = |changed| ids(&history, &Filter { changed_since_ns: Some(changed), ..ALL });
    assert_eq!((since(60), since(61), since(10)), (vec![4, 3, 2], vec![], vec![4, 3, 2, 1]));
}

#[test]
fn what_has_not_changed_since_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let (mut sink, history) = open(&path, Keep::default()).unwrap();
    let open_one = |id: u64| connection(id, id as i64, Outcome::Established { latency_ns: 1 });
    for first in (1..=8_000).step_by(2_000) {
        write_connections(&mut sink, &(first..first + 2_000).map(open_one).collect::<Vec<_>>());
    }
    // One of the first block ends late; of the others the file says so behind the writer's back.
    let close = Close { after_ns: 99_999, ending: Ending::ClosedLocally, errno: 0 };
    write_connections(&mut sink, &[Connection { close: Some(close), ..open_one(5) }]);
    let editor = rusqlite::Connection::open(&path).unwrap();
    editor.execute_batch("UPDATE connections SET close_ns = 99999, ending = 0 WHERE id > 2000").unwrap();
    let changed = Filter { changed_since_ns: Some(100_000), ..ALL };
    assert_eq!(ids(&history, &changed), [5]);
    assert_eq!(history.connections(&changed, 0).unwrap().total, 1);
}
