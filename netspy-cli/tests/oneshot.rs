//! `netspy --tool …` and `netspy <command>`: what is printed where, and the exit code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use insta::assert_snapshot;
use serde_json::Value;
use support::{Stub, netspy, nobody};

/// Every tool by its name and by its command: the same text, once.
#[test]
fn every_tool_answers() {
    let server = Stub::of("ours");
    for (tool, command, flags) in [
        ("get_network_summary", "summary", &["--process", "curl"][..]),
        ("list_connections", "list", &["--max-events", "5"]),
        ("analyze_patterns", "analyze", &["--pid", "777"]),
        ("get_packet_drop_summary", "dropsummary", &["--process", "curl", "--duration", "60"]),
        ("list_packet_drops", "droplist", &[]),
    ] {
        let by_tool = server.netspy(&[&["--tool", tool], flags].concat());
        let by_command = server.netspy(&[&[command, "-o", "text"], flags].concat());
        assert_eq!(by_tool.shown(), by_command.shown());
        assert_snapshot!(format!("tool_{tool}"), by_tool.shown());
        let json = server.netspy(&[&[command, "-o", "json"], flags].concat());
        assert_eq!((json.code, json.stdout.lines().count(), json.stderr.as_str()), (Some(0), 1, ""));
        assert_json(&format!("json_{tool}"), &json.stdout);
    }
}

#[test]
fn flags_become_the_servers_filters() {
    let server = Stub::of("ours");
    server.netspy(&["summary", "--pid", "42", "--process", "a-name-longer-than-comm", "--duration", "5"]);
    server.netspy(&["--tool", "list_connections"]);
    server.netspy(&["list", "-pid=42"]);
    server.netspy(&["-tool", "list_packet_drops", "-process", "curl", "-max-events=3"]);
    server.netspy(&["analyze", "--process", "", "--pid", "0", "--duration", "0"]);
    server.netspy(&["dropsummary"]);
    let remote = ["--to", "10.1.2.3/8", "--port", "5432"];
    for command in ["summary", "list", "analyze"] {
        server.netspy(&[&[command, "--failed", "--since", "10m"], &remote[..]].concat());
    }
    for command in ["drops", "dropsummary", "why"] {
        server.netspy(&[&[command, "--since", "2026-11-21T10:00:00Z"], &remote[..]].concat());
    }
    assert_snapshot!(server.asked().join("\n"));
}

#[test]
fn the_earlier_server_is_understood() {
    let server = Stub::of("earlier");
    let golden: [&[&str]; 9] = [
        &["--tool", "get_network_summary", "--process", "curl", "--duration", "120"],
        &["--tool", "list_connections", "--max-events", "2"],
        &["--tool", "list_connections", "--process", "snapd"],
        &["--tool", "list_connections", "--pid", "4242"],
        &["--tool", "list_connections", "--process", "systemd-resolved"],
        &["--tool", "analyze_patterns", "--duration", "60"],
        &["--tool", "get_packet_drop_summary", "--process", "curl", "--duration", "300"],
        &["--tool", "list_packet_drops", "--pid", "4242", "--max-events", "1"],
        &["--tool", "list_packet_drops", "--pid", "1", "--process", "foo"],
    ];
    let shown: Vec<_> = golden
        .iter()
        .map(|arguments| format!("$ netspy {}\n{}", arguments.join(" "), server.netspy(arguments).shown()))
        .collect();
    assert_snapshot!(shown.join("\n"));
}

#[test]
fn an_empty_answer_says_whether_it_can_be_trusted() {
    let server = Stub::of("quiet");
    let shown: Vec<_> = ["summary", "list", "analyze", "dropsummary", "droplist"]
        .iter()
        .flat_map(|command| {
            let text = [command, "-o", "text"];
            [
                server.netspy(&text).shown(),
                server.netspy(&[&text[..], &["--process", "curl"]].concat()).shown(),
            ]
        })
        .collect();
    assert_snapshot!(shown.join("\n"));
}

#[test]
fn nothing_of_the_machine_reaches_the_terminal_raw() {
    let server = Stub::of("hostile");
    let mut shown = String::new();
    for command in ["summary", "list", "analyze", "dropsummary", "droplist"] {
        let json = server.netspy(&[command, "-o", "json"]).stdout;
        assert!(is_safe(&json), "{json:?}");
        // Escaped, not changed: a script reads what the machine said.
        assert!(serde_json::from_str::<Value>(&json).unwrap().to_string().contains("\u{202e}evil"));
        shown += &server.netspy(&[command, "-o", "text", "--process", "\u{1b}]0;x\u{7}"]).shown();
        shown.push('\n');
        for format in ["table", "wide", "ndjson", "csv"] {
            let run = server.netspy(&[command, "-o", format]);
            assert!(run.code == Some(0) && is_safe(&run.shown()), "{:?}", run.shown());
        }
    }
    assert!(is_safe(&shown), "{shown:?}");
    assert_snapshot!(shown);
}

fn is_safe(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}')
}

/// The order of the members says nothing, and depends on what else is built with `serde_json`.
fn assert_json(name: &str, text: &str) {
    let value: Value = serde_json::from_str(text).unwrap();
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(name, value) });
}

#[test]
fn every_failure_has_its_exit_code() {
    let failing = |server: &str, arguments: &[&str]| {
        let run = netspy(server, arguments, "");
        assert_eq!(run.stdout, "");
        format!("{} {}", run.code.unwrap(), run.stderr.lines().next().unwrap_or_default())
    };
    let refused = |status, body| failing(&Stub::answering(status, body).url, &["list"]);
    let nobody = nobody();
    let absent = failing(&nobody, &["--tool", "get_network_summary"]).replace(&nobody, "URL");
    let denied = Stub::answering(401, r#"{"error":"Unauthorized","message":"a token is needed"}"#);
    let denied = failing(&denied.url, &["summary"]).replace(&denied.url, "URL");
    let odd = Stub::answering(200, "<html>");
    let odd = failing(&odd.url, &["summary"]).replace(&odd.url, "URL");
    assert_snapshot!(
        [
            absent,
            denied,
            odd,
            refused(400, r#"{"error":"Bad Request","message":"limit: 1 to 10000\u001b[8m"}"#),
            refused(503, "System not initialized\n"),
            failing("https://user:secret@host", &["list"]),
            failing("user:secret@host", &["list"]),
        ]
        .join("\n")
    );
}

#[test]
fn mistakes_in_what_is_typed_are_usage_errors() {
    let server = Stub::of("ours");
    let mistakes: [&[&str]; 13] = [
        &["--tool", "list_connection"],
        &["--tool", "list_connections", "list"],
        &["lsit"],
        &["list", "--nonsense"],
        &["list", "--duration", "5"],
        &["list", "--pid", "abc"],
        &["list", "--pid", "-1"],
        &["summary", "--duration", "-5"],
        &["list", "--max-events", "10001"],
        &["--pid", "3"],
        &["--pid", "3", "list"],
        &["summary", "-o", "xml"],
        &["--tool"],
    ];
    let shown: Vec<_> = mistakes
        .iter()
        .map(|arguments| {
            let run = server.netspy(arguments);
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}");
            format!("$ netspy {}\n{}", arguments.join(" "), run.stderr)
        })
        .collect();
    assert_snapshot!(shown.join("\n"));
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn a_flag_that_the_tool_does_not_take_is_mentioned() {
    let run =
        Stub::of("ours").netspy(&["--tool", "get_network_summary", "--max-events", "5", "-verbose=false"]);
    assert_eq!(run.code, Some(0));
    assert_eq!(run.stderr, "Note: get_network_summary takes no max_events; it is ignored\n");
}

#[test]
fn help_version_and_tools_are_answers() {
    let nobody = nobody();
    let help = netspy(&nobody, &["--help"], "");
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    assert!(!help.stdout.contains(&nobody), "the environment may hold a password");
    assert_snapshot!("help", help.stdout);
    assert_eq!(netspy(&nobody, &["-help"], "").stdout, help.stdout);
    assert_snapshot!("help_list", netspy(&nobody, &["list", "--help"], "").shown());
    assert_snapshot!("tools", netspy(&nobody, &["tools"], "").shown());
    assert_json("tools_json", &netspy(&nobody, &["tools", "-o", "json"], "").stdout);
    let version = netspy(&nobody, &["--version"], "");
    assert_eq!(version.shown(), format!("netspy {}\n--- stderr\n--- exit 0", env!("CARGO_PKG_VERSION")));
}

#[test]
fn verbose_speaks_on_stderr_and_hides_the_password() {
    let server = Stub::of("ours");
    let address = server.url.replace("http://", "http://user:secret@");
    let run = netspy(&address, &["summary", "--verbose"], "");
    assert_eq!(run.stdout, server.netspy(&["summary"]).stdout);
    assert!(run.stderr.contains("get_network_summary") && !run.stderr.contains("secret"), "{}", run.stderr);
}

#[test]
fn a_reader_that_has_seen_enough_is_success() {
    let server = Stub::of("ours");
    let mut netspy = std::process::Command::new(env!("CARGO_BIN_EXE_netspy"))
        .args(["--server", &server.url, "list"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(netspy.stdout.take());
    assert_eq!(netspy.wait().unwrap().code(), Some(0));
}

#[test]
fn following_asks_again_and_again_and_tells_nothing_of_before() {
    let server = Stub::of("names");
    let run = server.netspy(&["follow", "--seconds", "2"]);
    assert_eq!(run.shown(), "--- stderr\nFollowing connections; Ctrl-C ends\n--- exit 0");
    assert!(server.asked().len() > 2, "{:?}", server.asked());
    assert_eq!(netspy(&nobody(), &["follow"], "").code, Some(3));
    let csv = server.netspy(&["follow", "-o", "csv", "--seconds", "1"]);
    assert!(csv.stdout.starts_with("time,destination,protocol,"), "{}", csv.shown());
}

#[test]
fn rows_can_be_had_as_lines() {
    let server = Stub::of("hostile");
    let csv = server.netspy(&["list", "-o", "csv"]);
    assert_eq!((csv.code, csv.stdout.lines().count()), (Some(0), 2), "{}", csv.shown());
    assert!(csv.stdout.starts_with("time,destination,protocol,process_name,pid,") && is_safe(&csv.stdout));
    let ndjson = server.netspy(&["list", "-o", "ndjson"]).stdout;
    let row: Value = serde_json::from_str(ndjson.lines().next().unwrap()).unwrap();
    assert!(row["process_name"].as_str().unwrap().contains("evil") && is_safe(&ndjson), "{ndjson}");
    let counts = Stub::of("ours").netspy(&["summary", "-o", "csv", "--process", "curl"]);
    assert_eq!(
        counts.stdout,
        "count,outcomes.established,outcomes.refused,outcomes.timed_out,inbound,pid,process_name,duration_seconds,\
         query_time,lost.total\n5,3,1,1,0,0,curl,60,2026-11-21T19:06:00Z,0\n"
    );
    let groups = Stub::of("ours").netspy(&["analyze", "-o", "csv"]).stdout;
    assert!(groups.starts_with("address,connections,failed\n127.0.0.1:8080,2,0\n"), "{groups}");
}

#[test]
fn a_pipe_gets_rows_and_what_they_lack_is_said_on_stderr() {
    let server = Stub::of("ours");
    let run = server.netspy(&["list", "--max-events", "5"]);
    let rows: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((run.code, rows.len()), (Some(0), 5));
    assert_eq!(rows[0]["time"], "2026-11-21T19:05:53.5Z");
    assert_eq!((&rows[1]["outcome"], &rows[1]["pid"]), (&Value::from("refused"), &Value::from(777)));
    let snake = |key: &String| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    assert!(rows.iter().all(|row| row.as_object().unwrap().keys().all(snake)));
    assert_eq!(
        run.stderr,
        "  ... and 10 more events\n  ! 12 events were lost in this window (events_ring_full 12): the list above is \
         incomplete.\n"
    );
    // An answer that is no list is one object, which says everything.
    let summary = server.netspy(&["summary"]);
    assert_eq!((summary.stdout.lines().count(), summary.stderr.as_str()), (1, ""));
    // By its name a tool answers as it always did, wherever to.
    assert!(
        server.netspy(&["--tool", "list_connections"]).stdout.starts_with("Recent connection events (15")
    );
}

#[test]
fn a_table_shows_what_fits() {
    let server = Stub::of("ours");
    let table = |flags: &[&str]| {
        let server_clock = ["list", "--max-events", "5", "-o"];
        let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_netspy"))
            .args(server_clock)
            .args(flags)
            .env_clear()
            .envs([("NETSPY_SERVER", server.url.as_str()), ("TZ", "UTC")])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_snapshot!("table", table(&["table"]));
    assert_snapshot!("wide", table(&["wide"]));
    assert!(!table(&["table"]).contains('\u{1b}'));
    assert!(table(&["table", "--color", "always"]).contains("\u{1b}[38;5;9m"), "a failure is red");
}
