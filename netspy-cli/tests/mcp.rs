//! `netspy mcp` with a real MCP client, and line by line as old clients speak.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientConfig, GetPromptRequestParams, ReadResourceRequestParams,
    Tool,
};
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
            "list_packet_drops",
            "explain_failures",
            "watch_connections",
            "get_status",
            "ai_insights",
            "contextual_analysis"
        ]
    );
    for tool in &tools {
        let hints = tool.annotations.as_ref().unwrap();
        assert_eq!(
            (hints.read_only_hint, hints.open_world_hint),
            (Some(true), Some(["ai_insights", "contextual_analysis"].contains(&tool.name.as_ref())))
        );
        for schema in [&tool.input_schema, tool.output_schema.as_ref().unwrap()] {
            assert_eq!(schema["type"], "object");
            assert!(schema["properties"].as_object().unwrap().values().all(Value::is_object));
        }
        assert_eq!(tool.input_schema["additionalProperties"], false);
    }
    agent.cancel().await.unwrap();
}

/// Some arguments that the tool takes.
fn arguments(tool: &Tool) -> Value {
    let given = [
        ("process_name", json!("curl")),
        ("seconds", json!(1)),
        ("query", json!("why?")),
        ("summary_text", json!("all")),
    ];
    let takes = |name: &str| tool.input_schema["properties"].get(name).is_some();
    Value::Object(given.into_iter().filter(|(name, _)| takes(name)).map(|(n, v)| (n.to_owned(), v)).collect())
}

#[tokio::test]
async fn every_tool_answers_with_text_and_structure() {
    let agent = agent(&Stub::of("ours").url).await;
    for tool in agent.list_all_tools().await.unwrap() {
        let name: &'static str = tool.name.clone().into_owned().leak();
        let result = call(&agent, name, arguments(&tool)).await.unwrap();
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
    for tool in agent.list_all_tools().await.unwrap().into_iter().filter(|tool| tool.name != "get_status") {
        let mut asked = arguments(&tool);
        asked.as_object_mut().unwrap().remove("process_name");
        let name: &'static str = tool.name.into_owned().leak();
        let result = call(&agent, name, asked).await.unwrap();
        let shown = format!("{}{}", text(&result), result.structured_content.clone().unwrap());
        assert!(shown.contains("evil"));
        assert!(!shown.contains(['\u{1b}', '\u{202e}']) && !shown.contains("\\u001b["), "{shown}");
    }
    agent.cancel().await.unwrap();
}

#[tokio::test]
async fn mistakes_are_met_with_what_was_meant() {
    let agent = agent(&Stub::of("ours").url).await;
    let misspelt = call(&agent, "list_connections", json!({"proces_name": "curl"})).await.unwrap();
    assert!(text(&misspelt).contains("did you mean process_name?"), "{}", text(&misspelt));
    let unknown = call(&agent, "list_conections", json!({})).await.unwrap_err();
    assert!(unknown.to_string().contains("did you mean list_connections?"), "{unknown}");
    agent.cancel().await.unwrap();
}

#[tokio::test]
async fn a_long_answer_comes_in_pages_of_bounded_tokens() {
    let agent = agent(&Stub::of("many").url).await;
    let tokenizer = tiktoken_rs::o200k_base().unwrap();
    for most in [1_000, 2_000, 6_000] {
        let asked = json!({"max_events": 100, "max_tokens": most});
        let page = call(&agent, "list_connections", asked).await.unwrap();
        let words = text(&page).to_owned();
        let value = page.structured_content.unwrap();
        assert_eq!((&value["total"], &value["truncated"]), (&json!(100), &json!(true)));
        for part in [words.as_str(), &value.to_string()] {
            let tokens = tokenizer.encode_ordinary(part).len();
            assert!(tokens <= most, "{tokens} of {most} tokens");
            println!("{tokens} of {most}");
            assert!(tokens * 2 > most, "{tokens} of {most}: too careful");
        }
        assert!(words.contains(value["next_cursor"].as_str().unwrap()), "{words}");
    }
    agent.cancel().await.unwrap();
}

#[tokio::test]
async fn prompts_resources_and_completions_are_served() {
    let agent = agent(&Stub::of("ours").url).await;
    let prompts = agent.list_all_prompts().await.unwrap();
    assert_eq!(prompts.len(), 4);
    let arguments = json!({"process_name": "curl"}).as_object().unwrap().clone();
    let asked = GetPromptRequestParams::new("investigate_process").with_arguments(arguments);
    let prompt = agent.get_prompt(asked).await.unwrap();
    assert!(serde_json::to_string(&prompt.messages).unwrap().contains("'curl'"));
    let missing = agent.get_prompt(GetPromptRequestParams::new("investigate_process")).await.unwrap_err();
    assert!(missing.to_string().contains("needs process_name"), "{missing}");

    for resource in agent.list_all_resources().await.unwrap() {
        let read = agent.read_resource(ReadResourceRequestParams::new(resource.uri.clone())).await.unwrap();
        let read = serde_json::to_value(&read.contents[0]).unwrap();
        let value: Value = serde_json::from_str(read["text"].as_str().unwrap()).unwrap();
        assert!(value.get("properties").or(value.get("programs")).is_some(), "{value}");
    }
    let findings = ReadResourceRequestParams::new("netspy://findings/curl");
    let findings = serde_json::to_string(&agent.read_resource(findings).await.unwrap()).unwrap();
    assert!(findings.contains("failed_connections"), "{findings}");
    let nothing = agent.read_resource(ReadResourceRequestParams::new("netspy://nothing")).await.unwrap_err();
    assert!(nothing.to_string().contains("netspy://status"), "{nothing}");

    let names =
        agent.complete_prompt_argument("investigate_process", "process_name", "cu", None).await.unwrap();
    assert_eq!(names.values, ["curl"]);
    let to = agent.complete_prompt_argument("triage_destination", "to", "127.", None).await.unwrap();
    assert_eq!(to.values, ["127.0.0.1"]);
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
    assert_eq!(answer()["result"]["tools"].as_array().unwrap().len(), 10);
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

#[test]
fn watching_reports_progress_and_can_be_cancelled() {
    let server = Stub::of("ours");
    let mut child = spawn(&server.url);
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |message: Value| writeln!(input, "{message}").unwrap();
    let mut answer = || serde_json::from_str::<Value>(&answers.next().unwrap().unwrap()).unwrap();
    let client = json!({"name": "by hand", "version": "0"});
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    ask(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}));
    answer();
    ask(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let watch = |id: u32, seconds: u32| {
        let params = json!({"name": "watch_connections", "arguments": {"seconds": seconds}, "_meta": {"progressToken": "p"}});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    ask(watch(2, 2));
    for step in 1..=2 {
        let progress = answer();
        assert_eq!(progress["method"], "notifications/progress");
        let (done, total) = (progress["params"]["progress"].as_f64(), progress["params"]["total"].as_f64());
        assert_eq!((done, total), (Some(f64::from(step)), Some(2.0)));
    }
    assert_eq!(answer()["id"], 2);
    ask(watch(3, 60));
    answer();
    ask(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}}));
    ask(json!({"jsonrpc": "2.0", "id": 4, "method": "ping"}));
    // The cancelled call is not answered, or with an error; the next question is answered at once.
    let pong = std::iter::repeat_with(answer).find(|message| message["id"] == 4).unwrap();
    assert!(pong["error"].is_null(), "{pong}");
    let asked = server.asked().len();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(server.asked().len(), asked, "nobody is asked for a call that was cancelled");
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
