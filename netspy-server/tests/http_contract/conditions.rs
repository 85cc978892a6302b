//! Conditions on what is asked, as parameters of every endpoint that lists or counts.

use netspy_server::domain::{
    Batch, Direction, Identity, Outcome, PacketDirection, Process, Stage, TroubleKind,
};
use serde_json::{Value, json};

use super::refusals::message;
use super::server::{Server, attempt, end, packet_drop, process, trouble};

/// Two connections of which one failed, one that came in, two drops and a RST.
fn various() -> Batch {
    let identity = Identity {
        exe: Some("/usr/sbin/nginx".into()),
        unit: Some("nginx.service".into()),
        container_id: Some("0123456789abcdef0123".into()),
        ..Identity::default()
    };
    let nginx = Process { uid: 0, identity: identity.into(), ..process(7, "nginx") };
    let refused = Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: 9 };
    let mut datagrams = attempt(2, 20, 4242, "dig", Outcome::Unanswered);
    (datagrams.protocol, datagrams.destination) = (17, end("2001:db8::53", 53));
    datagrams.family = 10;
    let mut arrived = attempt(3, 30, 7, "nginx", Outcome::Established { latency_ns: 0 });
    (arrived.direction, arrived.process) = (Direction::Inbound, nginx.into());
    (arrived.source, arrived.destination) = (end("192.0.2.9", 50_000), end("10.0.0.1", 80));
    let mut sent = packet_drop(4, 40, 0, "NETFILTER_DROP");
    sent.direction = Some(PacketDirection::Sent);
    Batch {
        connections: vec![attempt(1, 10, 4242, "curl", refused), datagrams, arrived],
        drops: vec![sent, packet_drop(5, 50, 4242, "NO_SOCKET")],
        troubles: vec![trouble(6, 55, 4242, TroubleKind::ResetSent)],
        ..Batch::default()
    }
}

fn found(list: &Value) -> Vec<u64> {
    let events = list["events"].as_array().unwrap().iter();
    events.map(|event| u64::from_str_radix(event["id"].as_str().unwrap(), 16).unwrap()).collect()
}

#[test]
fn each_condition_finds_what_it_says_by_both_verbs() {
    let server = Server::with(&various());
    for (condition, expected) in [
        (json!({"process": "curl"}), &[1, 5, 6][..]),
        (json!({"exe": "/usr/sbin/nginx"}), &[3]),
        (json!({"uid": 0}), &[3]),
        (json!({"unit": "nginx"}), &[3]),
        (json!({"unit": "nginx.service"}), &[3]),
        (json!({"container": "0123456789ab"}), &[3]),
        (json!({"container": "0123456789abcdef0123"}), &[3]),
        (json!({"container": "0123456789"}), &[]),
        (json!({"direction": "inbound"}), &[3]),
        (json!({"direction": "outbound"}), &[1, 2]),
        (json!({"direction": "sent"}), &[4]),
        (json!({"protocol": "udp"}), &[2]),
        (json!({"protocol": 17}), &[2]),
        (json!({"protocol": "unix"}), &[]),
        (json!({"family": "inet6"}), &[2]),
        (json!({"local": "10.0.0.1"}), &[1, 2, 3, 4, 5, 6]),
        (json!({"local": "10.0.0.0/8", "direction": "inbound"}), &[3]),
        (json!({"remote": "192.0.2.0/24"}), &[3]),
        (json!({"remote": "2001:db8::/32"}), &[2]),
        (json!({"local_port": "80"}), &[3]),
        (json!({"remote_port": "53"}), &[2]),
        (json!({"remote_port": "400-500"}), &[1, 4, 5, 6]),
        (json!({"outcome": "refused"}), &[1]),
        (json!({"outcome": "refused,unanswered"}), &[1, 2]),
        (json!({"errno": "ECONNREFUSED"}), &[1]),
        (json!({"errno": 111}), &[1]),
        (json!({"drop_reason": "NO_SOCKET"}), &[5]),
        (json!({"since": "35s"}), &[1, 2, 3]),
        (json!({"since": "35s", "until": "15s"}), &[2, 3]),
        (json!({"duration_seconds": 25, "until": "25s"}), &[3, 4, 5]),
        (json!({"type": "reset_sent", "pid": 4242}), &[6]),
    ] {
        let posted = server.post("/api/events", &condition.to_string());
        assert_eq!(found(&posted), expected, "{condition}");
        let pairs = condition.as_object().unwrap().iter();
        let pairs: Vec<_> =
            pairs.map(|(name, value)| format!("{name}={}", value.to_string().trim_matches('"'))).collect();
        assert_eq!(server.get(&format!("/api/events?{}", pairs.join("&"))), posted, "{condition}");
        for (name, value) in condition.as_object().unwrap() {
            if !matches!(name.as_str(), "since" | "until" | "process") {
                assert!(posted["filters"].get(name).is_some(), "{name} = {value} in {}", posted["filters"]);
            }
        }
    }
}

#[test]
fn conditions_narrow_summaries_and_lists_too() {
    let server = Server::with(&various());
    let count = |path: &str, body: &str, member: &str| server.post(path, body)[member].as_u64().unwrap();
    assert_eq!(count("/api/connection-summary", r#"{"outcome":"refused"}"#, "count"), 1);
    assert_eq!(count("/api/connection-summary", r#"{"uid":0}"#, "inbound"), 1);
    assert_eq!(count("/api/connection-summary", r#"{"since":"15s"}"#, "count"), 1);
    assert_eq!(count("/api/connection-summary", r#"{"since":"15s"}"#, "duration_seconds"), 15);
    assert_eq!(count("/api/packet-drop-summary", r#"{"direction":"sent"}"#, "count"), 1);
    assert_eq!(count("/api/packet-drop-summary", r#"{"drop_reason":"NO_SOCKET"}"#, "count"), 1);
    assert_eq!(count("/api/list-connections", r#"{"remote":"2001:db8::53"}"#, "total_count"), 1);
    assert_eq!(count("/api/list-packet-drops", r#"{"remote_port":"443"}"#, "total_count"), 2);
}

#[test]
fn a_condition_that_nothing_here_could_meet_is_refused() {
    let server = Server::with(&various());
    for (path, query, elsewhere) in [
        ("/api/connection-summary", "drop_reason=NO_SOCKET", "/api/list-packet-drops"),
        ("/api/list-connections", "drop_reason=NO_SOCKET", "/api/list-packet-drops"),
        ("/api/packet-drop-summary", "outcome=refused", "/api/list-connections"),
        ("/api/list-packet-drops", "errno=111", "/api/list-connections"),
    ] {
        let answer = server.request("GET", &format!("{path}?{query}"), "", b"");
        let message = message(&answer, 400, "Bad Request");
        assert!(message.contains("no condition here") && message.contains(elsewhere), "{message}");
    }
}
