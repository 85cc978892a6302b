//! `netspy mcp --http`: who is let in, who is not, and what is written down about it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use support::{Stub, netspy, nobody};

/// `netspy mcp --http`, ended with the test.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(server: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_netspy"))
            .args(["mcp", "--http", "127.0.0.1:0", "--server", server])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut words = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = words.next().unwrap().unwrap();
        let url =
            line.strip_prefix("Serving MCP at ").and_then(|rest| rest.split(';').next()).unwrap().to_owned();
        Self { child, url }
    }

    /// A tools/list of the newest revision, with these headers too.
    async fn list(&self, headers: &[(&str, &str)]) -> Response {
        self.ask("tools/list", json!({}), headers).await
    }

    async fn ask(&self, method: &str, params: Value, headers: &[(&str, &str)]) -> Response {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let mut params = params;
        params["_meta"] = meta;
        let mut request = Client::new()
            .post(&self.url)
            .header("Accept", "application/json, text/event-stream")
            .header("MCP-Protocol-Version", "2026-07-28")
            .header("Mcp-Method", method)
            .json(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
        if let Some(name) = params["name"].as_str() {
            request = request.header("Mcp-Name", name);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn token(file: &Path, arguments: &[&str]) -> String {
    let file = file.to_str().unwrap();
    let made = netspy("", &[&["mcp", "token", "ci", "--file", file], arguments].concat(), "");
    assert_eq!(made.code, Some(0), "{}", made.shown());
    made.stdout.trim().to_owned()
}

async fn tools(response: Response) -> Vec<String> {
    assert_eq!(response.status(), StatusCode::OK);
    let body: Value = response.json().await.unwrap();
    let tools = body["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn this_machine_needs_no_token_and_a_web_page_gets_nothing() {
    let served = Served::start(&nobody(), &[]);
    assert!(tools(served.list(&[]).await).await.contains(&"list_connections".to_owned()));
    assert_eq!(served.list(&[("Origin", "http://localhost:6274")]).await.status(), StatusCode::OK);
    for headers in [("Origin", "https://evil.example"), ("Origin", "null"), ("Host", "evil.example")] {
        assert_eq!(served.list(&[headers]).await.status(), StatusCode::FORBIDDEN, "{headers:?}");
    }
}

#[tokio::test]
async fn names_and_origins_can_be_added() {
    let served = Served::start(
        &nobody(),
        &["--allow-host", "netspy.example", "--allow-origin", "https://ui.example:443"],
    );
    let headers = [("Host", "netspy.example"), ("Origin", "https://ui.example")];
    assert_eq!(served.list(&headers).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_token_allows_its_scopes_until_it_expires() {
    let (server, home) = (Stub::of("ours"), tempfile::tempdir().unwrap());
    let (file, audit) = (home.path().join("tokens"), home.path().join("audit"));
    let reader = token(&file, &[]);
    let tracer = token(&file, &["--scopes", "netspy:read,netspy:trace"]);
    let expired = token(&file, &["--expires", "2026-01-01T00:00:00Z"]);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&reader), "only hashes are kept");
    let flags = ["--token-file", file.to_str().unwrap(), "--audit", audit.to_str().unwrap()];
    let served = Served::start(&server.url, &flags);

    for (header, challenge) in [
        (None, "Bearer realm=\"netspy\", scope=\"netspy:read netspy:trace netspy:ai\""),
        (
            Some("Bearer wrong".to_owned()),
            "error=\"invalid_token\", error_description=\"the token is not known\"",
        ),
        (Some(format!("Bearer {expired}")), "error_description=\"the token has expired\""),
        (Some(format!("Basic {reader}")), "Bearer realm=\"netspy\""),
    ] {
        let headers: Vec<_> = header.iter().map(|value| ("Authorization", value.as_str())).collect();
        let refused = served.list(&headers).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        let said = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(said.contains(challenge), "{said}");
    }

    let (reader, tracer) = (format!("bearer {reader}"), format!("Bearer {tracer}"));
    let may_read = tools(served.list(&[("Authorization", &reader)]).await).await;
    assert!(
        may_read.contains(&"list_connections".to_owned())
            && !may_read.contains(&"watch_connections".to_owned())
    );
    let may_trace = tools(served.list(&[("Authorization", &tracer)]).await).await;
    assert!(may_trace.contains(&"watch_connections".to_owned()));
    let watch = json!({"name": "watch_connections", "arguments": {"seconds": 1}});
    let refused: Value =
        served.ask("tools/call", watch, &[("Authorization", &reader)]).await.json().await.unwrap();
    assert!(refused["error"]["message"].as_str().unwrap().contains("unknown tool"), "{refused}");
    let list = json!({"name": "list_connections", "arguments": {"process_name": "secret-name"}});
    let answer: Value =
        served.ask("tools/call", list, &[("Authorization", &reader)]).await.json().await.unwrap();
    assert_eq!(answer["result"]["structuredContent"]["total"], 15, "{answer}");

    let log = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["event"] == "refused" && line["status"] == 401).count(), 4);
    let call = lines.iter().find(|line| line["event"] == "tool_call").unwrap();
    assert_eq!(
        (&call["caller"], &call["tool"], &call["is_error"]),
        (&json!("ci"), &json!("list_connections"), &json!(false))
    );
    assert!(!log.contains("secret-name"), "{log}");
}

#[tokio::test]
async fn one_caller_cannot_take_all() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("tokens");
    let good = format!("Bearer {}", token(&file, &[]));
    let served = Served::start(&nobody(), &["--token-file", file.to_str().unwrap(), "--rate", "3"]);
    for _ in 0..3 {
        assert_eq!(served.list(&[]).await.status(), StatusCode::UNAUTHORIZED);
    }
    let refused = served.list(&[]).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    // Who guesses tokens does not use up what belongs to the one who has one.
    assert_eq!(served.list(&[("Authorization", &good)]).await.status(), StatusCode::OK);
}

#[test]
fn mistakes_are_named_before_anything_is_served() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, code, said) in [
        (&["mcp", "--http", "0.0.0.0:0"][..], 2, "give --token-file"),
        (&["mcp", "--http", "127.0.0.1:0", "--token-file", "/nowhere"], 1, "cannot read the tokens"),
        (&["mcp", "--http", &taken], 1, "cannot listen"),
        (&["mcp", "--token-file", "x"], 2, "--http"),
        (&["mcp", "--tools", "nonsense"], 2, "nonsense"),
        (&["mcp", "token", "a b", "--file", "/tmp/x"], 2, "letters, digits"),
        (&["mcp", "token", "a", "--file", "/tmp/x", "--scopes", "netspy:write"], 2, "is no scope"),
        (&["mcp", "token", "a", "--file", "/tmp/x", "--expires", "soon"], 2, "--expires takes"),
    ] {
        let run = netspy(&nobody(), arguments, "");
        assert_eq!(
            (run.code, run.stderr.contains(said)),
            (Some(code), true),
            "{arguments:?} {}",
            run.shown()
        );
    }
}
