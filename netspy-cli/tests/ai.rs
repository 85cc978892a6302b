//! Asking a model: what leaves the machine, what comes back, and what happens without one. The model is a server of
//! the test, so that the very bytes it was sent can be looked at.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::screen::Screen;
use support::{Run, Stub};

/// `netspy` with a model at `base`, its state below `home`.
fn netspy(server: &str, base: &str, home: &Path, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_netspy"))
        .args(arguments)
        .env_clear()
        .envs([("NETSPY_SERVER", server), ("OPENAI_API_KEY", "sk-very-secret")])
        .env("OPENAI_BASE_URL", base)
        .env("HOME", home)
        .output()
        .unwrap();
    Run {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

fn says(text: &str) -> Value {
    json!({"choices": [{"message": {"role": "assistant", "content": text}}]})
}

fn wants(tool: &str, arguments: &Value) -> Value {
    let function = json!({"name": tool, "arguments": arguments.to_string()});
    let call = json!({"id": "call_1", "type": "function", "function": function});
    json!({"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": [call]}}]})
}

/// What the model was sent, request by request.
fn sent(model: &Stub) -> Vec<Value> {
    let lines = model.asked();
    lines.iter().map(|line| serde_json::from_str(line.splitn(3, ' ').nth(2).unwrap()).unwrap()).collect()
}

fn json(run: &Run) -> Value {
    assert_eq!(run.code, Some(0), "{}", run.shown());
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn the_model_looks_with_tools_and_its_answer_bears_the_real_names() {
    let (server, home) = (Stub::of("names"), tempfile::tempdir().unwrap());
    let look = wants("list_connections", &json!({"process_name": "proc_1"}));
    let model = Stub::talking(vec![
        look,
        says("\u{1b}[31mproc_1 cannot reach host_1:5432, see https://evil.example/x"),
    ]);
    let asked = ["ask", "Why does payroll-db fail at 10.20.30.40?", "-o", "json"];
    let answer = json(&netspy(&server.url, &model.url, home.path(), &asked));
    assert_eq!(answer["source"], "model");
    assert_eq!(answer["answer"], "[31mpayroll-db cannot reach 10.20.30.40:5432, see (link removed)");
    assert_eq!(
        answer["calls"],
        json!([{"tool": "list_connections", "arguments": {"process_name": "payroll-db"}}])
    );
    assert_eq!(answer["sent_to"], model.url);
    assert!(server.asked().iter().any(|line| line.contains(r#"list-connections {"command":"payroll-db""#)));

    let requests = sent(&model);
    assert_eq!(requests.len(), 2);
    let tools: Vec<_> =
        requests[0]["tools"].as_array().unwrap().iter().map(|t| t["function"]["name"].clone()).collect();
    assert!(
        tools.contains(&json!("list_connections")) && !tools.contains(&json!("ai_insights")),
        "{tools:?}"
    );
    assert!(
        requests[0]["messages"][1]["content"].as_str().unwrap().contains("Why does proc_1 fail at host_1?")
    );
    let log = std::fs::read_to_string(home.path().join(".local/state/netspy/ai-audit.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 2);
    assert!(!log.contains("payroll") && !log.contains("sk-very-secret"), "{log}");
}

/// Names that give orders, paint the terminal, or turn the text around.
#[test]
fn no_hostile_name_leaves_the_machine() {
    let (server, home) = (Stub::of("corpus"), tempfile::tempdir().unwrap());
    let pages = [
        "list_connections",
        "explain_failures",
        "analyze_patterns",
        "list_packet_drops",
        "get_network_summary",
    ];
    let mut script: Vec<_> = pages.iter().map(|tool| wants(tool, &json!({"process_name": ""}))).collect();
    script.push(says("done"));
    let model = Stub::talking(script);
    let corpus =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/corpus/names.json"))
            .unwrap();
    let corpus: Vec<String> = serde_json::from_str(&corpus).unwrap();
    let text = corpus.join(" | ");
    for asked in [&["ask", "What fails?", "-o", "json"][..], &["insights", &text, "-o", "json"]] {
        let run = netspy(&server.url, &model.url, home.path(), asked);
        assert_eq!(json(&run)["source"], "model", "{}", run.shown());
        assert!(run.stdout.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'));
    }
    let requests = model.asked();
    assert_eq!(requests.len(), pages.len() + 2);
    for request in &requests {
        for name in &corpus {
            let quoted = serde_json::to_string(name).unwrap();
            let escaped = quoted.trim_matches('"');
            assert!(
                !request.contains(name.as_str()) && !request.contains(escaped),
                "{name:?} is in {request}"
            );
        }
        for word in ["IGNORE", "obey", "evil", "im_start", "\\u001b", "\u{202e}", "\\u202e", "exfiltrate"] {
            assert!(!request.contains(word), "{word} is in {request}");
        }
    }
    // All five tools were really asked, and their answers sent.
    assert_eq!(requests[pages.len()].matches("\"role\":\"tool\"").count(), pages.len());
}

#[test]
fn without_a_model_the_rules_answer_in_the_same_shape() {
    let (server, home) = (Stub::of("names"), tempfile::tempdir().unwrap());
    let off = support::netspy(&server.url, &["ask", "why?", "-o", "json"], "");
    let off = json(&off);
    assert_eq!((&off["source"], off.get("sent_to")), (&json!("rules"), None));
    assert!(off["notes"][0].as_str().unwrap().contains("OPENAI_API_KEY"), "{off}");
    assert!(off["answer"].as_str().unwrap().contains("payroll-db -> 10.20.30.40:5432: refused"), "{off}");

    let broken = Stub::answering(500, r#"{"error":{"message":"overloaded","type":"server_error"}}"#);
    let broken =
        json(&netspy(&server.url, &broken.url, home.path(), &["insights", "anything", "-o", "json"]));
    assert_eq!((&broken["source"], &broken["answer"]), (&json!("rules"), &off["answer"]));
    assert!(broken["notes"][0].as_str().unwrap().contains("overloaded"), "{broken}");
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&broken), keys(&off));
}

#[test]
fn the_model_may_be_named_in_a_file_and_the_environment_wins() {
    let (server, home) = (Stub::of("names"), tempfile::tempdir().unwrap());
    let (model, other) = (Stub::talking(vec![says("fine")]), Stub::talking(vec![says("fine")]));
    let directory = home.path().join(".config/netspy");
    std::fs::create_dir_all(&directory).unwrap();
    let (file, key) = (directory.join("client.toml"), home.path().join("key"));
    std::fs::write(&key, "sk-of-a-file\n").unwrap();
    let text =
        format!("[ai]\nbase_url = '{}'\nmodel = 'our-own'\nkey_file = '{}'\n", model.url, key.display());
    std::fs::write(&file, text).unwrap();
    let ask = |variables: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_netspy"))
            .args(["insights", "anything", "-o", "json", "--server", &server.url])
            .env_clear()
            .env("HOME", home.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() }
    };
    assert_eq!(json(&ask(&[]))["sent_to"], model.url);
    assert_eq!(sent(&model)[0]["model"], "our-own");
    let variables = [("OPENAI_BASE_URL", other.url.as_str()), ("NETSPY_AI_MODEL", "another")];
    assert_eq!(json(&ask(&variables))["sent_to"], other.url);
    assert_eq!((sent(&other)[0]["model"].as_str(), model.asked().len()), (Some("another"), 1));

    std::fs::write(&file, "[ai]\nkey = 'sk-in-the-open'\n").unwrap();
    let run = ask(&[]);
    assert!(
        run.code == Some(2) && run.stderr.contains("client.toml") && run.stderr.contains("unknown field")
    );
}

#[test]
fn a_model_that_never_answers_is_left_after_six_steps_and_eight_calls() {
    let (server, home) = (Stub::of("names"), tempfile::tempdir().unwrap());
    let mut greedy = wants("get_network_summary", &json!({}));
    let call = greedy["choices"][0]["message"]["tool_calls"][0].clone();
    greedy["choices"][0]["message"]["tool_calls"] = json!([call, call, call]);
    let model = Stub::talking(vec![greedy]);
    let answer = json(&netspy(&server.url, &model.url, home.path(), &["ask", "why?", "-o", "json"]));
    assert_eq!((&answer["source"], answer["calls"].as_array().unwrap().len()), (&json!("rules"), 8));
    let requests = sent(&model);
    assert_eq!(requests.len(), 6);
    assert!(requests[2].get("tools").is_some() && requests[3].get("tools").is_none(), "no calls are left");
}

#[test]
fn the_preview_is_what_would_be_sent_and_sends_nothing() {
    let (server, home) = (Stub::of("names"), tempfile::tempdir().unwrap());
    let model = Stub::talking(vec![says("fine")]);
    let asked = ["insights", "Process 'payroll-db' made 2 attempts", "-o", "json"];
    let preview =
        json(&netspy(&server.url, &model.url, home.path(), &[&asked[..], &["--ai-preview"]].concat()));
    assert_eq!(preview["source"], "preview");
    assert!(model.asked().is_empty());
    netspy(&server.url, &model.url, home.path(), &asked);
    let shown: Value = serde_json::from_str(preview["answer"].as_str().unwrap()).unwrap();
    assert_eq!(sent(&model), [shown]);
    let sent = model.asked()[0].clone();
    assert!(sent.contains("Process 'proc_1' made 2 attempts") && !sent.contains("payroll"), "{sent}");
    let raw = netspy(&server.url, &model.url, home.path(), &[&asked[..], &["--ai-raw"]].concat());
    assert_eq!(raw.code, Some(0));
    assert!(model.asked()[1].contains("payroll-db"));
}

#[test]
fn ctrl_c_gives_up_a_model_that_thinks_and_not_the_session() {
    let (server, home) = (Stub::of("ours"), tempfile::tempdir().unwrap());
    let model = Stub::thinking();
    let variables = [
        ("OPENAI_BASE_URL", model.url.as_str()),
        ("OPENAI_API_KEY", "k"),
        ("HOME", home.path().to_str().unwrap()),
    ];
    let mut screen = Screen::start(30, 120, &server.url, "", &variables);
    screen.press("ask why does curl fail?\r");
    model.until_asked("chat/completions");
    screen.until(|shown| shown.contains("... asking "));
    screen.press("\u{3}");
    let shown = screen.until(|shown| shown.contains("Interrupted"));
    assert!(!shown.contains("... asking "), "the line is gone: {shown}");
    // Nobody waits for the answer any more: the connection is closed.
    model.until_left();
    screen.press("summary --process curl\r");
    screen.until(|shown| shown.contains("Process 'curl' made 5 outbound"));
    assert_eq!(model.asked().len(), 1);
}

#[test]
fn an_agent_that_cancels_leaves_the_model_alone() {
    let (server, home) = (Stub::of("ours"), tempfile::tempdir().unwrap());
    let model = Stub::thinking();
    let mut child = Command::new(env!("CARGO_BIN_EXE_netspy"))
        .args(["mcp", "--server", &server.url])
        .env_clear()
        .envs([("OPENAI_BASE_URL", model.url.as_str()), ("OPENAI_API_KEY", "k")])
        .env("HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut tell = |message: Value| writeln!(input, "{message}").unwrap();
    let mut answer = || serde_json::from_str::<Value>(&answers.next().unwrap().unwrap()).unwrap();
    let client = json!({"name": "by hand", "version": "0"});
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    tell(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}));
    answer();
    tell(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let ask = json!({"name": "contextual_analysis", "arguments": {"query": "why?"}, "_meta": {"progressToken": "p"}});
    tell(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": ask}));
    assert_eq!(answer()["method"], "notifications/progress");
    model.until_asked("chat/completions");
    tell(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}));
    model.until_left();
    // The next question is answered as if nothing had been.
    let summary = json!({"name": "get_network_summary", "arguments": {"process_name": "curl"}});
    tell(json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": summary}));
    let counted = std::iter::repeat_with(answer).find(|message| message["id"] == 3).unwrap();
    assert_eq!(counted["result"]["structuredContent"]["count"], 5);
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(model.asked().len(), 1);
}
