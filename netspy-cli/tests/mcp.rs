//! `netspy mcp` with a real MCP client, and line by line as old clients speak.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ServiceError, ServiceExt};
use serde_json::{Value, json};
use support::{Stub, nobody};

type Agent = RunningService<RoleClient, ClientConfig>;

async fn agent(server: &str) -> Agent {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_netspy"));
    command.env_clear().args(["mcp", "--server", server]);
    ClientConfig::default().serve(TokioChildProcess::new(command).unwrap()).await.unwrap()
}

async fn call(agent: &Agent, tool: &'static str, arguments: Value) -> Result<CallToolResult, ServiceError> {
    let request = CallToolRequestParams::new(tool).with_arguments(arguments.as_object().unwrap().clone());
    agent.call_tool(request).await
}

fn text(result: &CallToolResult) -> &str {
    result.content[0].as_text().map(|content| content.text.as_str()).unwrap()
}

#[tokio::test]
async fn it_says_who_it_is_and_what_it_can() {
    let agent = agent(&Stub::of("ours").url).await;
    let peer = agent.peer_info().unwrap().clone();
    let netspy = peer.server_info.clone().unwrap();
    assert_eq!((netspy.name.as_str(), netspy.title.as_deref()), ("netspy", Some("netspy")));
    assert_eq!(netspy.version, env!("CARGO_PKG_VERSION"));
    assert!(peer.instructions.as_ref().unwrap().contains("`lost`"));

    let tools = agent.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(
        names,
        [
            "get_network_summary",
            "list_connections",
            "analyze_patterns",
            "get_packet_drop_summary",
            "list_packet_drops"
        ]
    );
    for tool in &tools {
        let hints = tool.annotations.as_ref().unwrap();
        assert_eq!((hints.read_only_hint, hints.open_world_hint), (Some(true), Some(false)));
        for schema in [&tool.input_schema, tool.output_schema.as_ref().unwrap()] {
            assert_eq!(schema["type"], "object");
            assert!(schema["properties"].as_object().unwrap().values().all(Value::is_object));
        }
        assert_eq!(tool.input_schema["additionalProperties"], false);
    }
    agent.cancel().await.unwrap();
}

#[tokio::test]
async fn every_tool_answers_with_text_and_structure() {
    let agent = agent(&Stub::of("ours").url).await;
    for tool in agent.list_all_tools().await.unwrap() {
        let name: &'static str = tool.name.clone().into_owned().leak();
        let result = call(&agent, name, json!({"process_name": "curl"})).await.unwrap();
        assert_ne!(result.is_error, Some(true), "{name}");
        assert!(text(&result).contains("lost in this window"), "{name}");
        let value = result.structured_content.unwrap();
        assert!(value["lost"]["total"].is_u64(), "{name}: {value}");
        // Everything that the output schema promises is there, and nothing else.
        let schema = tool.output_schema.unwrap();
        let known = schema["properties"].as_object().unwrap();
        assert!(value.as_object().unwrap().keys().all(|key| known.contains_key(key)), "{name}: {value}");
        let promised = schema["required"].as_array().unwrap();
        assert!(promised.iter().all(|key| value.get(key.as_str().unwrap()).is_some()), "{name}: {value}");
    }
    let list = call(&agent, "list_connections", json!({"max_events": 2})).await.unwrap();
    let list = list.structured_content.unwrap();
    assert_eq!((&list["total"], &list["shown"], &list["truncated"]), (&json!(15), &json!(2), &json!(true)));
    assert_eq!(list["rows"][0].as_array().unwrap().len(), list["columns"].as_array().unwrap().len());
    agent.cancel().await.unwrap();
}

#[tokio::test]
async fn a_long_list_is_bounded() {
    let server = Stub::of("ours");
    let agent = agent(&server.url).await;
    call(&agent, "list_packet_drops", json!({"max_events": 5000})).await.unwrap();
    assert_eq!(server.asked().last().unwrap(), r#"POST /api/list-packet-drops {"limit":100}"#);
    agent.cancel().await.unwrap();
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let nobody = nobody();
    let lonely = agent(&nobody).await;
    let failed = call(&lonely, "list_connections", json!({})).await.unwrap();
    assert_eq!(failed.is_error, Some(true));
    assert_eq!(
        text(&failed),
        format!(
            "netspy-server is not reachable at {nobody}: connection refused; start it with: sudo netspy-server"
        )
    );
    let wrong = call(&lonely, "get_network_summary", json!({"pid": "curl"})).await.unwrap();
    assert_eq!(wrong.is_error, Some(true));
    assert_eq!(
        text(&wrong),
        "get_network_summary: pid takes a process id: a whole number from 0 to 4294967295, not \"curl\""
    );
    let unknown = call(&lonely, "get_weather", json!({})).await.unwrap_err();
    assert!(matches!(&unknown, ServiceError::McpError(error) if error.message.contains("list_connections")));
    lonely.cancel().await.unwrap();
}

#[tokio::test]
async fn no_name_reaches_the_model_raw() {
    let agent = agent(&Stub::of("hostile").url).await;
    for tool in agent.list_all_tools().await.unwrap() {
        let name: &'static str = tool.name.into_owned().leak();
        let result = call(&agent, name, json!({})).await.unwrap();
        let shown = format!("{}{}", text(&result), result.structured_content.clone().unwrap());
        assert!(shown.contains("evil"));
        assert!(!shown.contains(['\u{1b}', '\u{202e}']) && !shown.contains("\\u001b["), "{shown}");
    }
    agent.cancel().await.unwrap();
}

/// `netspy mcp`, spoken to by hand.
fn spawn(server: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_netspy"))
        .args(["mcp", "--server", server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_oldest_clients_are_understood_line_by_line() {
    let server = Stub::of("ours");
    let mut child = spawn(&server.url);
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |message: Value| writeln!(input, "{message}").unwrap();
    let mut answer = || serde_json::from_str::<Value>(&answers.next().unwrap().unwrap()).unwrap();

    let client = json!({"name": "by hand", "version": "0"});
    let hello = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client});
    ask(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}));
    let welcome = answer();
    assert_eq!(welcome["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(welcome["result"]["serverInfo"]["name"], "netspy");
    ask(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    ask(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
    assert_eq!(answer()["result"]["tools"].as_array().unwrap().len(), 5);
    let summary = json!({"name": "get_network_summary", "arguments": {"process_name": "curl"}});
    ask(json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": summary}));
    assert_eq!(answer()["result"]["structuredContent"]["count"], 5);
    ask(json!({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "nonsense"}}));
    assert_eq!(answer()["error"]["code"], -32602);

    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_client_that_leaves_early_is_no_failure() {
    let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{
        "io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientInfo":{"name":"by hand","version":"0"},
        "io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    for said in [String::new(), discover.replace('\n', "") + "\n"] {
        let mut child = spawn("http://127.0.0.1:1");
        child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(stdout.contains("2026-07-28"), !said.is_empty(), "{stdout}");
    }
}
