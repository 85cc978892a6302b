//! Every condition of a filter, on connections and on drops.

use super::*;
use crate::domain::End;

/// From 10.0.0.1:40000 to 93.184.216.34:443 over TCP, but for what `change` makes different.
fn write(change: &[fn(&mut Connection)]) -> SqliteHistory {
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
    history
}

fn network(text: &str) -> End {
    End { network: Some(text.parse().unwrap()), ports: None }
}

fn ports(first: u16, last: u16) -> End {
    End { network: None, ports: Some(first..=last) }
}

#[test]
fn conditions_on_connections() {
    let history = write(&[
        |_| (),
        |row| row.direction = Direction::Inbound,
        |row| row.outcome = Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: 1 },
        |row| row.destination = end("::ffff:93.184.216.34", 443),
        |row| (row.destination, row.family) = (end("2001:db8::1", 80), 10),
        |row| (row.destination, row.protocol) = (end("192.0.2.1", 53), 17),
        |row| (row.destination, row.path) = (None, Some("/run/x".into())),
        |row| row.process = Process { uid: 7, identity: at("/bin/x"), ..process(1, "x", "x") }.into(),
    ]);
    let outbound = Filter { direction: Some(Direction::Outbound), ..ALL };
    let all = |rest: &[u64]| rest.to_vec();
    for (filter, expected) in [
        (outbound.clone(), all(&[7, 6, 5, 4, 3, 2, 0])),
        (Filter { direction: Some(Direction::Inbound), ..ALL }, all(&[1])),
        (Filter { verdict: Some(Verdict::Refused), ..ALL }, all(&[2])),
        (Filter { verdict: Some(Verdict::Refused), direction: Some(Direction::Inbound), ..ALL }, all(&[])),
        (Filter { errno: Some(111), ..ALL }, all(&[2])),
        (Filter { protocol: Some(17), ..ALL }, all(&[5])),
        (Filter { family: Some(10), ..ALL }, all(&[4])),
        (Filter { uid: Some(7), ..ALL }, all(&[7])),
        (Filter { exe: Some("/bin/x".into()), ..ALL }, all(&[7])),
        (Filter { exe: Some("/bin/y".into()), ..ALL }, all(&[])),
        (Filter { reason: Some("NO_SOCKET".into()), ..ALL }, all(&[])),
        (Filter { remote: network("93.184.216.34/32"), ..ALL }, all(&[7, 3, 2, 0])),
        (Filter { local: network("93.184.0.0/16"), ..ALL }, all(&[1])),
        (Filter { remote: network("10.0.0.0/8"), ..ALL }, all(&[1])),
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
            all(&[1]),
        ),
    ] {
        assert_eq!(ids(&history, &filter), expected, "{filter:?}");
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
    write_drops(&mut sink, &[packet_drop(1, 1, None, Attribution::None), other]);
    for (filter, expected) in [
        (Filter { reason: Some("NO_SOCKET".into()), ..ALL }, vec![1]),
        (Filter { reason: Some("NONE_SUCH".into()), ..ALL }, vec![]),
        (Filter { protocol: Some(17), ..ALL }, vec![2]),
        (Filter { pid: Some(7), ..ALL }, vec![2]),
        (Filter { local: network("10.0.0.2/32"), ..ALL }, vec![1]),
        (Filter { remote: network("10.0.0.2/32"), local: network("10.0.0.1/32"), ..ALL }, vec![1]),
        (Filter { remote: ports(6, 6), ..ALL }, vec![2]),
        (Filter { direction: Some(Direction::Outbound), ..ALL }, vec![]),
        (Filter { verdict: Some(Verdict::Failed), ..ALL }, vec![]),
        (Filter { errno: Some(1), ..ALL }, vec![]),
    ] {
        let page = history.drops(&filter, 9).unwrap();
        assert_eq!(page.rows.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{filter:?}");
        assert_eq!(history.drop_counts(&filter).unwrap().values().sum::<u64>(), page.total, "{filter:?}");
    }
}
