//! Events besides connections and drops, and floods that left no record of each.

use netspy_server::domain::{Batch, CountedKind, TroubleKind};
use serde_json::json;

use super::server::{Server, counted, packet_drop, trouble};
use super::shapes::{EVENTS, LIST, LIST_TOO, LOST, SAMPLED, assert_event, assert_shape};

fn flood() -> Batch {
    Batch {
        drops: vec![packet_drop(1, 5, 4242, "NO_SOCKET"), packet_drop(2, 5, 0, "NOT_SPECIFIED")],
        troubles: vec![
            trouble(11, 7, 4242, TroubleKind::Retransmit),
            trouble(12, 8, 0, TroubleKind::ListenOverflow),
            trouble(13, 9, 4242, TroubleKind::ResetSent),
        ],
        counted: vec![
            counted(21, 6, 4242, CountedKind::Drop, 100),
            counted(22, 6, 0, CountedKind::Drop, 1_000),
            counted(23, 4_000, 4242, CountedKind::Drop, 10_000),
            counted(24, 6, 4242, CountedKind::Trouble(TroubleKind::Retransmit), 7),
        ],
        ..Batch::default()
    }
}

#[test]
fn a_flood_is_counted_exactly_and_said_to_be_sampled() {
    let server = Server::with(&flood());
    let all = server.get("/api/packet-drop-summary");
    assert_eq!(all["count"], 1_102);
    assert_eq!(all["reasons"], json!({"NO_SOCKET": 1_101, "NOT_SPECIFIED": 1}));
    assert_eq!(all["classes"], json!({"harmful": 1_101, "unclassified": 1}));
    let place = json!({"location": "tcp_v4_rcv+0x84", "reason": "NOT_SPECIFIED", "count": 1});
    assert_eq!(all["unclassified_at"], json!([place]));
    assert_eq!(all["sampled"], json!({"counted": 1_102, "recorded": 2, "unattributed": 0}));

    // What was counted of nobody may be anybody's: it is not theirs, and it is not kept quiet.
    let theirs = server.get("/api/packet-drop-summary?pid=4242");
    assert_eq!(theirs["count"], 101);
    let sampled = json!({"counted": 101, "recorded": 1, "unattributed": 1_000});
    assert_eq!(theirs["sampled"], sampled);

    let list = server.get("/api/list-packet-drops?command=curl&duration_seconds=60");
    assert_shape(&list, &[LIST, LIST_TOO, SAMPLED], &[]);
    assert_eq!((&list["total_count"], &list["sampled"]), (&json!(1), &sampled));
}

#[test]
fn troubles_are_events_of_their_own_types() {
    let server = Server::with(&flood());
    let all = server.get("/api/events?duration_seconds=60");
    assert_shape(&all, &[EVENTS, LOST, SAMPLED], &[]);
    let events = all["events"].as_array().unwrap();
    events.iter().for_each(assert_event);
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["packet_drop", "packet_drop", "retransmit", "listen_overflow", "reset_sent"]);
    assert_eq!(all["sampled"], json!({"counted": 1_112, "recorded": 5, "unattributed": 0}));

    let overflow = &server.get("/api/events?type=listen_overflow")["events"][0];
    assert_eq!((&overflow["backlog"], &overflow["backlog_limit"]), (&json!(129), &json!(128)));
    assert_eq!((&overflow["pid"], &overflow["attribution"]), (&json!(0), &json!("none")));
    let again = server.get("/api/events?type=retransmit&pid=4242");
    assert_eq!((&again["count"], &again["sampled"]["counted"]), (&json!(1), &json!(8)));
    assert_eq!(again["events"][0]["segment_length"], 1_448);
    assert_eq!(again["events"][0]["source"], "10.0.0.2:443");
}
