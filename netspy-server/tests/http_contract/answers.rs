//! What is answered to a good question.

use std::sync::atomic::Ordering;

use netspy_server::domain::{Batch, HookState, Outcome};
use serde_json::{Value, json};

use super::server::{NOW, SECOND, Server, attempt, hooks, packet_drop, sample};
use super::shapes::{
    CONNECTION_SUMMARY_TOO, DROP_SUMMARY_TOO, EVENTS, GOES_ON, HEALTH, HEALTH_TOO, LIST, LIST_TOO, LOST,
    PROGRAM, PROGRAM_TOO, PROGRAMS, SAMPLED, SUMMARY, assert_event, assert_shape,
};

const SUMMARIES: [&str; 2] = ["/api/connection-summary", "/api/packet-drop-summary"];
const LISTS: [&str; 2] = ["/api/list-connections", "/api/list-packet-drops"];

/// The moment a rendered time stands for, whatever the zone.
fn moment(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_nanosecond() as i64
}

fn ids(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect()
}

fn id(number: u64) -> String {
    format!("{number:016x}")
}

#[test]
fn summaries_by_both_verbs() {
    let server = Server::with(&sample());
    let (path, body) = (SUMMARIES[0], r#"{"command":"curl","process_name":"curl","duration_seconds":60}"#);
    let posted = server.post(path, body);
    assert_eq!(posted, server.get(&format!("{path}?command=curl&duration_seconds=60")));
    assert_shape(&posted, &[SUMMARY, CONNECTION_SUMMARY_TOO], &[]);
    let expected = json!({
        "command": "curl", "count": 3, "duration_seconds": 60, "pid": 0, "query_time": posted["query_time"],
        "total_attempts": 3, "duration": 60,
        "message": "Process 'curl' made 3 outbound connection attempts over the last 60 seconds",
        "outcomes": {"established": 1, "refused": 1, "aborted": 1},
        "inbound": 0,
        "lost": {"total": 3, "by_place": {"events_ring_full": 3}},
    });
    assert_eq!(posted, expected);
    assert_eq!(moment(&posted["query_time"]), NOW - NOW % SECOND, "whole seconds");

    let path = SUMMARIES[1];
    let posted = server.post(path, r#"{"pid":4242,"duration":3600}"#);
    assert_eq!(posted, server.get(&format!("{path}?pid=4242&duration=3600")));
    assert_shape(&posted, &[SUMMARY, DROP_SUMMARY_TOO], &[]);
    let expected = json!({
        "command": "", "count": 2, "duration_seconds": 3600, "pid": 4242, "query_time": posted["query_time"],
        "total_drops": 2, "duration": 3600,
        "message": "PID 4242 had 2 packet drops over the last 3600 seconds",
        "reasons": {"NO_SOCKET": 2}, "classes": {"harmful": 2}, "unclassified_at": [],
        "sampled": {"counted": 2, "recorded": 2, "unattributed": 0},
        "lost": {"total": 7, "by_place": {"events_ring_full": 3, "store": 4}, "by_kind": {"connection": 4}},
    });
    assert_eq!(posted, expected);
}

#[test]
fn summaries_default_to_everybody_and_the_last_minute() {
    let server = Server::with(&sample());
    for body in ["", "{}", " \n", r#"{"pid":0,"command":"","duration_seconds":0,"unknown":"ignored"}"#] {
        let connections = server.post(SUMMARIES[0], body);
        assert_eq!((&connections["count"], &connections["duration_seconds"]), (&json!(5), &json!(60)));
        assert!(connections["message"].as_str().unwrap().starts_with("All processes made 5 "));
        assert_eq!(connections, server.get(SUMMARIES[0]));
        let drops = server.post(SUMMARIES[1], body);
        assert_eq!((&drops["count"], &drops["reasons"]["NO_SOCKET"]), (&json!(3), &json!(2)));
        assert_eq!(drops["message"], "All processes had 3 packet drops over the last 60 seconds");
    }
    // Both conditions hold, and a name longer than the kernel's 15 bytes finds what is left of it.
    assert_eq!(server.post(SUMMARIES[0], r#"{"pid":4243,"command":"curl"}"#)["count"], 1);
    assert_eq!(server.post(SUMMARIES[0], r#"{"pid":4243,"command":"snapd"}"#)["count"], 0);
    assert_eq!(server.get("/api/connection-summary?command=systemd-resolved")["count"], 1);
    assert_eq!(server.get("/api/connection-summary?command=Curl")["count"], 0);
}

#[test]
fn the_body_wins_over_the_query_string() {
    let server = Server::with(&sample());
    let both = server.post("/api/connection-summary?pid=4243&duration=5", r#"{"pid":4242}"#);
    assert_eq!(
        (&both["pid"], &both["duration_seconds"], &both["count"]),
        (&json!(4242), &json!(5), &json!(0))
    );
    let null = server.post("/api/connection-summary?pid=4243", r#"{"pid":null,"unknown":[{}]}"#);
    assert_eq!((&null["pid"], &null["count"]), (&json!(4243), &json!(1)));
}

#[test]
fn lists_by_pid_newest_first() {
    let server = Server::with(&sample());
    for path in LISTS {
        let list = server.get(path);
        assert_eq!(list, server.post(path, "{}"));
        assert_shape(&list, &[LIST, LIST_TOO], SAMPLED);
        for (pid, events) in list["events_by_pid"].as_object().unwrap() {
            for event in events.as_array().unwrap() {
                assert_event(event);
                assert_eq!(event["pid"].to_string(), *pid);
            }
        }
        assert_eq!(list["lost"]["total"], 7);
    }
    let list = server.get(LISTS[0]);
    assert_eq!(ids(&list["events_by_pid"]["4242"]), [id(1), id(2)]);
    let totals = ["total_events", "total_pids", "total_count", "truncated"].map(|key| list[key].clone());
    assert_eq!(
        totals,
        [json!(6), json!(5), json!(6), json!(false)],
        "what is older than an hour is not in it"
    );
    let event = &list["events_by_pid"]["4242"][1];
    assert_eq!((&event["return_code"], &event["errno_name"]), (&json!(-111), &json!("ECONNREFUSED")));
    assert_eq!(moment(&event["time"]), NOW - 20 * SECOND);
    let mapped = &list["events_by_pid"]["777"][0];
    assert_eq!((&mapped["destination"], &mapped["address_family"]), (&json!("1.2.3.4:65535"), &json!(10)));

    let list = server.get(LISTS[1]);
    assert_eq!(ids(&list["events_by_pid"]["0"]), [id(2), id(3)], "what nobody owns is under 0");
    assert_eq!(ids(&list["events_by_pid"]["4242"]), [id(1), id(4)]);
}

#[test]
fn lists_take_conditions() {
    let server = Server::with(&sample());
    let count = |path: &str, body: &str| server.post(path, body)["total_count"].as_u64().unwrap();
    assert_eq!(count(LISTS[0], r#"{"pid":4242}"#), 2);
    assert_eq!(count(LISTS[0], r#"{"process_name":"curl"}"#), 3);
    assert_eq!(count(LISTS[0], r#"{"duration_seconds":30}"#), 3);
    assert_eq!(count(LISTS[0], r#"{"since":"2026-11-20T23:00:00Z"}"#), 7);
    assert_eq!(count(LISTS[0], r#"{"until":"2026-11-21T01:51:56.5+01:00"}"#), 6, "the hour before until");
    assert_eq!(
        count(LISTS[0], r#"{"since":"2026-11-21T00:51:46.5Z","until":"2026-11-21T00:51:56.5Z"}"#),
        2,
        "both ends are in it"
    );
    assert_eq!(count(LISTS[1], r#"{"pid":4242,"duration":89}"#), 1);
    let until = server.get("/api/list-connections?until=2026-11-21T00:51:56.9%2B00:00");
    assert_eq!(moment(&until["query_time"]), NOW - 20 * SECOND - SECOND / 2, "the end of the window");
}

#[test]
fn lists_are_capped_and_say_so() {
    let connections = (0..130).map(|n| attempt(n, n as i64, 1, "many", Outcome::Pending)).collect();
    let server = Server::with(&Batch { connections, ..Batch::default() });
    let list = server.get(LISTS[0]);
    let totals = ["total_events", "total_pids", "total_count", "truncated"].map(|key| list[key].clone());
    assert_eq!(totals, [json!(100), json!(1), json!(130), json!(true)]);
    let expected: Vec<_> = (0..100).map(id).collect();
    assert_eq!(ids(&list["events_by_pid"]["1"]), expected);
    for (limit, events) in [("0", 100), ("1", 1), ("130", 130), ("10000", 130)] {
        let list = server.get(&format!("/api/list-connections?limit={limit}"));
        assert_eq!((&list["total_events"], &list["truncated"]), (&json!(events), &json!(events < 130)));
    }
    assert_eq!(server.get("/api/events")["count"], 100);
}

#[test]
fn lists_go_on_where_the_page_before_ended() {
    let server = Server::with(&sample());
    let all = server.get("/api/events");
    for limit in 1..=13 {
        let (mut events, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("/api/events?limit={limit}{cursor}"));
            assert_shape(&page, &[EVENTS, LOST, SAMPLED], GOES_ON);
            assert_eq!(page["total_count"], 12, "of all, whatever the page");
            events.extend_from_slice(page["events"].as_array().unwrap());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(all["events"], Value::Array(events), "{limit}");
    }
    for path in LISTS {
        let first = server.get(&format!("{path}?limit=3"));
        assert_eq!((&first["total_events"], &first["truncated"]), (&json!(3), &json!(true)));
        let body = json!({"limit": 3, "cursor": first["next_cursor"]}).to_string();
        let second = server.post(path, &body);
        assert_eq!(second["total_count"], first["total_count"]);
        let rest = second["total_count"].as_u64().unwrap() - 3;
        assert_eq!(
            (second["total_events"].as_u64(), &second["truncated"]),
            (Some(rest), &json!(false)),
            "{path}"
        );
        assert_eq!(second.get("next_cursor"), None);
    }
    let answer = server.request("GET", "/api/events?cursor=yesterday", "", b"");
    let message = super::refusals::message(&answer, 400, "Bad Request");
    assert!(message.contains("cursor takes the next_cursor of an answer"), "{message}");
}

#[test]
fn events_of_both_kinds_newest_first() {
    let server = Server::with(&sample());
    let all = server.get("/api/events");
    assert_shape(&all, &[EVENTS, LOST, SAMPLED], &[]);
    assert_eq!((&all["count"], &all["total_count"]), (&json!(12), &json!(12)), "everything that is stored");
    assert_eq!(all["filters"], json!({"limit": 100}));
    assert_eq!(all["lost"]["total"], 12);
    let events = all["events"].as_array().unwrap();
    events.iter().for_each(assert_event);
    let times: Vec<_> = events.iter().map(|event| moment(&event["time"])).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    assert_eq!(
        events[..4].iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>(),
        ["packet_drop", "connection", "packet_drop", "connection"]
    );

    let few = server.get("/api/events?limit=3");
    assert_eq!(few["events"].as_array().unwrap()[..], events[..3]);
    assert_eq!((&few["count"], &few["total_count"]), (&json!(3), &json!(12)));
}

#[test]
fn events_take_conditions_and_echo_them() {
    let server = Server::with(&sample());
    let some = server.get(
        "/api/events?type=connection&pid=4242&command=curl&since=2026-11-21T00:51:16Z\
         &until=2026-11-21T00:52:00Z&limit=7&k8s_node_name=x",
    );
    assert_eq!(ids(&some["events"]), [id(2)]);
    let filters = &some["filters"];
    let rest = json!({
        "type": "connection", "pid": 4242, "command": "curl", "limit": 7,
        "since": filters["since"], "until": filters["until"],
    });
    assert_eq!(*filters, rest);
    assert_eq!(moment(&filters["since"]), NOW - 60 * SECOND - SECOND / 2);

    let drops = server.get("/api/events?type=packet_drop&duration_seconds=60&process_name=curl");
    assert_eq!(ids(&drops["events"]), [id(1)]);
    let expected = json!({"type": "packet_drop", "duration_seconds": 60, "command": "curl", "limit": 100});
    assert_eq!(drops["filters"], expected);

    for nothing in ["type=dns", "type=Connection", "pid=99", "command=nobody", "command=%00", "command=%FF"] {
        let none = server.get(&format!("/api/events?{nothing}"));
        assert_eq!(
            (&none["events"], &none["count"], &none["total_count"]),
            (&json!([]), &json!(0), &json!(0))
        );
    }
}

#[test]
fn empty_answers_have_their_shapes() {
    let server = Server::empty();
    let no_loss = json!({"total": 0, "by_place": {}});
    let summary = server.get(SUMMARIES[0]);
    assert_eq!(
        (&summary["count"], &summary["outcomes"], &summary["lost"]),
        (&json!(0), &json!({}), &no_loss)
    );
    assert_eq!(server.get(SUMMARIES[1])["reasons"], json!({}));
    for path in LISTS {
        let list = server.get(path);
        assert_shape(&list, &[LIST, LIST_TOO], SAMPLED);
        assert_eq!((&list["events_by_pid"], &list["total_events"]), (&json!({}), &json!(0)));
        assert_eq!((&list["truncated"], &list["lost"]), (&json!(false), &no_loss));
    }
    assert_eq!(server.get("/api/events")["events"], json!([]), "not null");
}

#[test]
fn hostile_names_are_escaped() {
    let name = "\u{1b}[2J\"'<\u{0}é";
    let connections = vec![attempt(1, 1, 7, name, Outcome::Pending)];
    let server = Server::with(&Batch { connections, ..Batch::default() });
    let answer = server.request("GET", LISTS[0], "", b"");
    assert!(!answer.body.contains('\u{1b}') && !answer.body.contains('\0'));
    assert_eq!(answer.json()["events_by_pid"]["7"][0]["command"], name);
    assert_eq!(server.post(SUMMARIES[0], &json!({ "command": name }).to_string())["count"], 1);
}

#[test]
fn health_and_programs() {
    let server = Server::with(&sample());
    let health = server.get("/health");
    assert_shape(&health, &[HEALTH, HEALTH_TOO], &[]);
    for (key, value) in [
        ("status", json!("healthy")),
        ("component", json!("eBPF Monitor API")),
        ("uptime", json!("active")),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("running", json!(true)),
    ] {
        assert_eq!(health[key], value, "{key}");
    }
    assert_eq!((moment(&health["time"]), &health["lost"]["total"]), (NOW - SECOND / 2, &json!(7)));

    let programs = server.get("/api/programs");
    assert_shape(&programs, &[PROGRAMS, LOST], &[]);
    assert_eq!((&programs["total_count"], &programs["programs"]), (&json!(2), &health["programs"]));
    for program in programs["programs"].as_array().unwrap() {
        assert_shape(program, &[PROGRAM, PROGRAM_TOO], &[]);
    }
    let expected = json!({
        "name": "connection", "type": "eBPF", "status": "active", "id": 3_012_402_454_u32,
        "rung": "kprobe", "note": "", "refused": [], "remarks": [], "check": "passed",
    });
    assert_eq!(programs["programs"][0], expected);
    let second = &programs["programs"][1];
    assert_eq!((&second["id"], &second["rung"]), (&json!(3_940_834_765_u32), &json!("tracepoint")));
    assert_eq!((&second["check"], &second["remarks"]), (&json!("undone"), &json!(["without reasons"])));
    let refused = json!([{"rung": "fentry", "reason": "no function tcp_drop", "remedy": "another kernel"}]);
    assert_eq!(second["refused"], refused);
    let note = "fentry: no function tcp_drop; without reasons; not checked at start: no loopback";
    assert_eq!(second["note"], note);

    for (state, status, program) in
        [(HookState::Unavailable, "degraded", "inactive"), (HookState::Replayed, "healthy", "active")]
    {
        let health = Server::start(&Batch::default(), hooks(state)).get("/health");
        assert_eq!((&health["status"], &health["running"]), (&json!(status), &json!(status == "healthy")));
        assert_eq!(health["programs"][1]["status"], program);
    }
}

#[test]
fn who_listens() {
    let answer = Server::with(&sample()).get("/api/listeners");
    let expected = json!([
        {
            "pid": 42, "process": "sshd", "protocol": "TCP", "address": "127.0.0.1", "port": 22,
            "backlog": 3, "backlog_limit": 128, "netns": 4_026_531_840_u32,
        },
        {
            "pid": 0, "process": "", "protocol": "UNIX", "path": "@sshd",
            "backlog": 3, "backlog_limit": 128, "netns": 4_026_531_840_u32,
        },
    ]);
    assert_eq!((&answer["count"], &answer["listeners"]), (&json!(2), &expected));
    assert_eq!(moment(&answer["query_time"]), NOW - SECOND / 2);
}

#[test]
fn the_index_names_the_endpoints() {
    let server = Server::with(&sample());
    let index = server.get("/");
    assert_eq!(index["service"], "eBPF Network Monitor");
    assert!(index["version"].is_string() && index["description"].is_string());
    assert_eq!(index["documentation"]["api"], "/docs");
    for (name, path) in
        [("health", "/health"), ("list_connections", "/api/list-connections"), ("events", "/api/events")]
    {
        assert_eq!(index["endpoints"][name], path);
    }
    for path in index["endpoints"].as_object().unwrap().values() {
        // A stream has an end only if it is asked for.
        let target = format!("{}?until=0s", path.as_str().unwrap());
        assert_eq!(server.request("GET", &target, "", b"").status, 200, "{target}");
    }
}

#[test]
fn answers_are_lines_of_json_that_nobody_keeps() {
    let server = Server::with(&sample());
    for path in ["/", "/health", SUMMARIES[0], SUMMARIES[1], LISTS[0], LISTS[1], "/api/events", "/nowhere"] {
        let answer = server.request("GET", path, "Origin: http://localhost:3000\r\n", b"");
        assert!(answer.body.ends_with("}\n"), "{path}");
        let content = if answer.status == 200 { "application/json" } else { "application/problem+json" };
        for (header, value) in [
            ("content-type", Some(content)),
            ("cache-control", Some("no-store")),
            ("x-content-type-options", Some("nosniff")),
            ("access-control-allow-origin", None),
        ] {
            assert_eq!(answer.header(header), value, "{path}: {header}");
        }
        let head = server.request("HEAD", path, "", b"");
        assert_eq!((head.status, head.body.as_str()), (answer.status, ""), "HEAD {path}");
    }
}

#[test]
fn double_slashes_are_single_ones() {
    let server = Server::with(&sample());
    assert_eq!(server.get("//health"), server.get("/health"));
    assert_eq!(server.get("/api///events?limit=1&command=a//b")["filters"]["command"], "a//b");
    let body = r#"{"pid":4242,"command":"curl","process_name":"curl","duration_seconds":120}"#;
    assert_eq!(server.post("//api/connection-summary", body)["count"], 2);
    assert_eq!(server.post("//api//list-connections", body)["total_count"], 2);
}

#[test]
fn a_body_needs_no_content_type_and_may_come_in_chunks() {
    let server = Server::with(&sample());
    let answer = server.send(
        b"POST /api/connection-summary HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
          Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n\
          7\r\n{\"pid\":\r\n5\r\n4242}\r\n0\r\n\r\n",
    );
    assert_eq!((answer.status, &answer.json()["count"]), (200, &json!(2)));
}

#[test]
fn what_happened_before_the_question_is_in_the_answer() {
    let server = Server::empty();
    for (n, path) in
        SUMMARIES.iter().chain(&LISTS).chain(&["/api/events", "/health", "/api/programs"]).enumerate()
    {
        let id = n as u64;
        *server.barrier.writes.lock().unwrap() = Batch {
            connections: vec![attempt(id, 1, 1, "late", Outcome::Pending)],
            drops: vec![packet_drop(id, 1, 0, "LATE")],
            ..Batch::default()
        };
        let answer = server.get(path);
        assert_eq!(server.barrier.calls.load(Ordering::SeqCst), n + 1, "{path}");
        if let Some(count) = answer.get("total_count").or(answer.get("count")).filter(|_| n < 5) {
            let kinds = if *path == "/api/events" { 2 } else { 1 };
            assert_eq!(count.as_u64().unwrap(), (id + 1) * kinds, "{path}");
        }
    }
    server.get("/");
    assert_eq!(server.barrier.calls.load(Ordering::SeqCst), 7, "the index asks nothing");
}

#[test]
fn what_is_asked_again_is_read_again_only_when_something_was_written() {
    let server = Server::with(&sample());
    let late = |id| Batch {
        connections: vec![attempt(id, 1, 4242, "curl", Outcome::Pending)],
        drops: vec![packet_drop(id, 1, 4242, "LATE")],
        ..Batch::default()
    };
    for (n, path) in SUMMARIES.iter().chain(&LISTS).chain(&["/api/top"]).enumerate() {
        let id = 100 + 2 * n as u64;
        let path = format!("{path}?pid=4242");
        let path = path.replace("top?pid=4242", "top?process=curl");
        let first = server.get(&path);
        assert_eq!(server.get(&path), first);
        // Behind the server's back: what it has not heard of has not happened.
        server.barrier.record_silently(&late(id));
        assert_eq!(server.get(&path), first, "{path} was read again");
        let other = path.replace("4242", "4243").replace("curl", "old");
        assert_ne!(server.get(&other), first, "{other} is another question");
        server.record(late(id + 1));
        let now = server.get(&path);
        assert_ne!(now, first, "{path} was not read again");
        assert_eq!(server.get(&path), now);
    }
}
