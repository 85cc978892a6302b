//! Every field of the two kinds of events, against values worked out by hand.

use std::{net::IpAddr, sync::Arc};

use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use super::*;
use crate::domain::{self, Identity, LossKind, LossPlace, PacketDirection, Process, Stage};

const WALL_NS: i64 = 1_795_222_330_390_000_000; // 2026-11-21T00:52:10.39Z

#[expect(clippy::unnecessary_wraps, reason = "as the fields it fills want it")]
fn end(ip: &str, port: u16) -> Option<Endpoint> {
    Some(Endpoint { ip: ip.parse::<IpAddr>().unwrap(), port, scope: 0 })
}

fn curl() -> Process {
    Process {
        pid: 4242,
        tid: 4243,
        uid: 1000,
        cgroup_id: 77,
        started_ns: 1,
        comm: "curl".into(),
        name: "curl-main".into(),
        identity: Arc::new(Identity {
            exe: Some("/usr/bin/curl".into()),
            cmdline: Some("curl -s 'a b'".into()),
            parents: vec![domain::Ancestor { pid: 1, name: "init".into(), exe: None }],
            unit: Some("fetch.service".into()),
            container_id: Some("c0ffee".into()),
            pod_uid: Some("0f1e2d3c".into()),
        }),
    }
}

fn attempt(outcome: Outcome) -> Connection {
    Connection {
        id: 0x71c7_7682_424b_3983,
        monotonic_ns: 3_015_390_000_000,
        wall_ns: WALL_NS,
        process: curl().into(),
        family: 2,
        source: end("10.0.0.1", 40_000),
        destination: end("93.184.216.34", 443),
        protocol: 6,
        socket_type: 1,
        netns: 4_026_531_840,
        outcome,
        ..Connection::default()
    }
}

fn shown(connection: &Connection) -> Value {
    serde_json::to_value(super::connection(connection, &TimeZone::UTC)).unwrap()
}

#[test]
fn an_established_connection() {
    let expected = json!({
        "type": "connection", "id": "71c77682424b3983", "pid": 4242, "command": "curl",
        "timestamp": 3_015_390_000_000_u64, "time": "2026-11-21T00:52:10.39Z", "return_code": 0,
        "destination_ip": "93.184.216.34", "destination_port": 443, "destination": "93.184.216.34:443",
        "address_family": 2, "protocol": "TCP", "socket_type": "STREAM", "raw_ipv4": 584_628_317,
        "raw_ipv6": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "raw_protocol": 6, "raw_socktype": 1,
        "direction": "outbound", "outcome": "established", "latency_us": 2, "source_ip": "10.0.0.1",
        "source_port": 40_000, "source": "10.0.0.1:40000", "tid": 4243, "process": "curl-main", "uid": 1000,
        "exe": "/usr/bin/curl", "cmdline": "curl -s 'a b'", "parents": [{"pid": 1, "name": "init"}],
        "unit": "fetch.service", "container_id": "c0ffee", "pod_uid": "0f1e2d3c", "cgroup_id": 77, "netns": 4_026_531_840_u32,
    });
    assert_eq!(shown(&attempt(Outcome::Established { latency_ns: 1_500 })), expected);
}

#[test]
fn a_failed_connection_says_how_and_where() {
    let event = shown(&attempt(Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: 1_499 }));
    for (key, value) in [
        ("return_code", json!(-111)),
        ("outcome", json!("refused")),
        ("stage", json!("handshake")),
        ("errno", json!(111)),
        ("errno_name", json!("ECONNREFUSED")),
        ("latency_us", json!(1)),
    ] {
        assert_eq!(event[key], value, "{key}");
    }
    let odd = shown(&attempt(Outcome::Failed { errno: u32::MAX, stage: Stage::Call, after_ns: u64::MAX }));
    assert_eq!((&odd["return_code"], odd.get("errno_name")), (&json!(i32::MIN), None));
}

#[test]
fn unknown_facts_are_absent() {
    let mut connection = attempt(Outcome::Pending);
    (connection.source, connection.destination, connection.netns) = (None, None, 0);
    let process = Arc::make_mut(&mut connection.process);
    (process.identity, process.cgroup_id, connection.protocol) = (Arc::default(), 0, 0);
    connection.socket_type = 0;
    let event = shown(&connection);
    for key in [
        "stage",
        "errno",
        "errno_name",
        "latency_us",
        "source_ip",
        "source_port",
        "source",
        "exe",
        "cmdline",
        "parents",
        "unit",
        "container_id",
        "pod_uid",
        "cgroup_id",
        "netns",
    ] {
        assert!(event.get(key).is_none(), "{key}");
    }
    assert_eq!((&event["destination"], &event["destination_ip"]), (&json!(""), &json!("")));
    assert_eq!((&event["protocol"], &event["socket_type"]), (&json!("Unknown(0)"), &json!("Unknown(0)")));
}

#[test]
fn ipv6_and_mapped_addresses() {
    let mut connection = attempt(Outcome::Pending);
    (connection.family, connection.destination) = (10, end("2606:4700::1", 443));
    let event = shown(&connection);
    assert_eq!(event["destination"], "[2606:4700::1]:443");
    assert_eq!(event["raw_ipv6"], json!([0x26, 6, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(event["raw_ipv4"], 0);

    connection.destination = end("::ffff:1.2.3.4", 80);
    let event = shown(&connection);
    assert_eq!((&event["destination"], &event["destination_ip"]), (&json!("1.2.3.4:80"), &json!("1.2.3.4")));
    assert_eq!(
        (&event["address_family"], event["raw_ipv6"].as_array().map(Vec::len)),
        (&json!(10), Some(16))
    );
}

#[test]
fn an_owned_and_an_unowned_drop() {
    let mut drop = PacketDrop {
        id: 1,
        monotonic_ns: u64::MAX,
        wall_ns: WALL_NS,
        owner: Some(curl().into()),
        attribution: Attribution::Tuple,
        reason_code: Some(6),
        reason: "NETFILTER_DROP".into(),
        location: "nf_hook_slow+0x9a".into(),
        family: 2,
        protocol: 17,
        source: end("10.0.0.1", 53),
        destination: end("10.0.0.2", 0),
        length: 60,
        ether_type: 0x0800,
        direction: Some(PacketDirection::Received),
        interface: 2,
        interface_name: "eth0".into(),
        netns: 9,
    };
    let shown = |drop: &PacketDrop| serde_json::to_value(packet_drop(drop, &TimeZone::UTC)).unwrap();
    let expected = json!({
        "type": "packet_drop", "id": "0000000000000001", "pid": 4242, "command": "curl",
        "timestamp": u64::MAX, "time": "2026-11-21T00:52:10.39Z", "drop_reason": "NETFILTER_DROP",
        "reason": "NETFILTER_DROP", "drop_reason_code": 6, "skb_length": 60, "packet_size_bytes": 60,
        "attribution": "tuple", "location": "nf_hook_slow+0x9a", "protocol": "UDP", "raw_protocol": 17,
        "source_ip": "10.0.0.1", "source_port": 53, "source": "10.0.0.1:53", "destination_ip": "10.0.0.2",
        "destination_port": 0, "destination": "10.0.0.2:0", "ether_type": 0x0800, "interface_index": 2,
        "class": "harmful", "explanation": explain("NETFILTER_DROP").1, "direction": "received",
        "interface": "eth0",
        "netns": 9, "tid": 4243, "process": "curl-main", "uid": 1000, "exe": "/usr/bin/curl",
        "cmdline": "curl -s 'a b'", "parents": [{"pid": 1, "name": "init"}], "unit": "fetch.service",
        "container_id": "c0ffee", "pod_uid": "0f1e2d3c",
    });
    assert_eq!(shown(&drop), expected);

    // Even if somebody filled in an owner.
    drop.attribution = Attribution::None;
    (drop.reason_code, drop.protocol, drop.source) = (None, 1, end("10.0.0.1", 0));
    let event = shown(&drop);
    assert_eq!((&event["pid"], &event["command"], event.get("tid")), (&json!(0), &json!(""), None));
    assert_eq!((&event["drop_reason_code"], &event["protocol"]), (&json!(0), &json!("ICMP")));
    assert_eq!((&event["source"], event.get("source_port")), (&json!("10.0.0.1"), None));
}

#[test]
fn times_are_those_of_the_zone() {
    let west = TimeZone::fixed(Offset::constant(-5));
    assert_eq!(time(WALL_NS, &west), "2026-11-20T19:52:10.39-05:00");
    assert_eq!(whole_seconds(WALL_NS, &west), "2026-11-20T19:52:10-05:00");
    assert_eq!(time(WALL_NS + 1, &TimeZone::UTC), "2026-11-21T00:52:10.390000001Z");
    assert_eq!(time(0, &TimeZone::fixed(Offset::UTC)), "1970-01-01T00:00:00Z");
    let half = TimeZone::fixed(Offset::from_seconds(19_800).unwrap());
    assert_eq!(time(0, &half), "1970-01-01T05:30:00+05:30");
    assert_eq!(whole_seconds(-1, &TimeZone::UTC), "1969-12-31T23:59:59Z");
    for extreme in [i64::MIN, i64::MAX] {
        assert!(!whole_seconds(extreme, &west).is_empty());
    }
}

#[test]
fn programs_have_the_ids_of_the_contract() {
    let hook = |event, state| Hook {
        event,
        rung: "kprobe",
        state,
        refused: Vec::new(),
        remarks: Vec::new(),
        check: Check::None,
    };
    let connection = program(&hook("connection", HookState::Active));
    assert_eq!((connection.id, connection.status.as_str()), (3_012_402_454, "active"));
    let drop = program(&hook("packet_drop", HookState::Unavailable));
    assert_eq!((drop.id, drop.status.as_str()), (3_940_834_765, "inactive"));
    assert_eq!(program(&hook("connection", HookState::Replayed)).status, "active");
}

#[test]
fn losses_add_up() {
    let counts = LossCounts::from([
        ((LossPlace::Store, LossKind::Connection), 2),
        ((LossPlace::Store, LossKind::PacketDrop), 3),
        ((LossPlace::EventsRingFull, LossKind::Unknown), 4),
        ((LossPlace::Orphaned, LossKind::Connection), u64::MAX),
    ]);
    let lost = lost(&counts);
    assert_eq!((lost.total, lost.by_place["store"], lost.by_place.len()), (u64::MAX, 5, 3));
    let by_kind = [("connection".to_owned(), u64::MAX), ("packet_drop".to_owned(), 3)];
    assert_eq!(lost.by_kind, by_kind.into(), "what is not known to be of a kind is of none");
}
