//! `netspy` against the real netspy-server: the recording that ships with the repository, so that every
//! answer is known to the last digit, and a live run in which this test itself makes what it asks for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use insta::assert_snapshot;
use rmcp::{
    ServiceExt,
    model::{CallToolRequestParams, ClientConfig},
    transport::TokioChildProcess,
};
use serde_json::json;
use support::netspy;
use support::server::Server;

#[test]
fn the_recording_that_ships_tells_its_story() {
    let server = Server::replaying();
    for (name, words) in [
        ("summary", &["summary", "--process", "curl"][..]),
        ("list", &["list"]),
        ("list_one_process", &["list", "--process", "ssh"]),
        ("list_nobody", &["list", "--process", "nobody"]),
        ("analyze", &["analyze"]),
        ("why", &["why", "--process", "curl", "--port", "5432"]),
        ("list_misspelt", &["list", "--process", "crul"]),
        ("dropsummary", &["dropsummary"]),
        ("droplist", &["droplist"]),
        ("tool_by_name", &["--tool", "list_connections", "--process", "curl", "--max-events", "2"]),
    ] {
        // The text of the prompt, of which the README shows a part.
        let run = netspy(&server.url, &[words, &["-o", "text"]].concat(), "");
        let shown = format!("$ netspy {}\n{}", words.join(" "), run.shown());
        assert_snapshot!(format!("demo_{name}"), shown);
    }
}

#[tokio::test]
async fn an_agent_is_told_the_same() {
    let server = Server::replaying();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_netspy"));
    command.args(["mcp", "--server", &server.url]);
    let agent = ClientConfig::default().serve(TokioChildProcess::new(command).unwrap()).await.unwrap();
    let arguments = json!({"process_name": "ssh"}).as_object().unwrap().clone();
    let request = CallToolRequestParams::new("list_connections").with_arguments(arguments);
    let value = agent.call_tool(request).await.unwrap().structured_content.unwrap();
    let at =
        |name: &str| value["columns"].as_array().unwrap().iter().position(|column| column == name).unwrap();
    // Besides, it looked for a name service at a UNIX socket.
    let mut rows = value["rows"].as_array().unwrap().iter().filter(|row| row[at("protocol")] == "TCP");
    let row = rows.next().unwrap();
    assert_eq!(rows.next(), None, "{value}");
    let column = |name: &str| row[at(name)].clone();
    assert_eq!((column("outcome"), column("errno_name")), (json!("refused"), json!("ECONNREFUSED")));
    assert_eq!(value["lost"]["total"], 0);
    agent.cancel().await.unwrap();
}

#[test]
fn conditions_are_applied_before_a_list_is_cut_to_its_page() {
    let server = Server::replaying();
    let ask = |words: &[&str]| -> serde_json::Value {
        let run = netspy(&server.url, &[words, &["-o", "json"]].concat(), "");
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.shown()))
    };
    // 23 newer ones do not fit it; the one that does is on the first page of one, and there is no other.
    let conditions = ["--to", "192.0.2.0/24", "--port", "80", "--failed"];
    let list = ask(&[&["list", "--max-events", "1"], &conditions[..]].concat());
    assert_eq!((&list["total"], &list["rows"][0][1]), (&json!(1), &json!("192.0.2.10:80")), "{list}");
    let summary = ask(&[&["summary"], &conditions[..]].concat());
    assert_eq!((&summary["count"], &summary["outcomes"]), (&json!(1), &json!({"unreachable": 1})));
    let summary = ask(&["summary", "--failed", "--since", "2020-01-01T00:00:00Z"]);
    let failed = ask(&["list", "--failed", "--max-events", "1"]);
    assert_eq!(summary["count"], failed["total"], "{summary} {failed}");
    let dropped = ask(&["dropsummary", "--to", "192.0.2.0/24"]);
    assert_eq!(dropped["count"], ask(&["drops", "--to", "192.0.2.0/24"])["total"], "{dropped}");
}

#[test]
fn what_just_happened_is_in_the_answer() {
    let server = Server::start(&[]);
    let mut curl = Command::new("curl").args(["-s", "http://127.0.0.1:1/"]).spawn().unwrap();
    let pid = curl.id().to_string();
    assert_eq!(curl.wait().unwrap().code(), Some(7), "curl says that it could not connect");
    let listed = netspy(&server.url, &["list", "--process", "curl", "--pid", &pid, "-o", "text"], "");
    assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""), "{}", listed.shown());
    let row = listed.stdout.lines().find(|line| line.contains("127.0.0.1:1 ")).unwrap();
    for fact in ["| TCP | curl |", &format!("pid {pid}"), "from 127.0.0.1:", "refused (ECONNREFUSED)"] {
        assert!(row.contains(fact), "{fact} is not in {row}");
    }
    assert!(listed.stdout.contains("Nothing was lost"), "{}", listed.stdout);
    let dropped = netspy(&server.url, &["droplist", "--pid", &pid, "-o", "text"], "");
    assert!(dropped.stdout.contains("NO_SOCKET"), "{}", dropped.stdout);
}

#[test]
fn what_happens_is_followed_line_by_line() {
    let server = Server::start(&[]);
    let mut following = Command::new(env!("CARGO_BIN_EXE_netspy"))
        .args([
            "follow",
            "--process",
            "curl",
            "--failed",
            "--port",
            "1",
            "--seconds",
            "5",
            "-o",
            "text",
            "--server",
            &server.url,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(following.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "Following connections; Ctrl-C ends\n");
    let curl =
        Command::new("curl").args(["-s", "http://127.0.0.1:1/"]).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(curl.status.code(), Some(7), "curl says that it could not connect");
    let followed = following.wait_with_output().unwrap();
    let lines = String::from_utf8(followed.stdout).unwrap();
    assert_eq!(followed.status.code(), Some(0));
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(
        lines.contains("127.0.0.1:1 | TCP | curl") && lines.contains("refused (ECONNREFUSED)"),
        "{lines}"
    );
}
