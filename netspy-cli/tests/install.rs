//! `netspy install`: the settings of each client, in a home of the test's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::Run;

fn install(home: &Path, arguments: &[&str]) -> Run {
    let mut netspy = Command::new(env!("CARGO_BIN_EXE_netspy"));
    let output = netspy.env_clear().env("HOME", home).arg("install").args(arguments).output().unwrap();
    Run {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

fn read(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn every_client_gets_its_own_form() {
    for (client, file, member, typed) in [
        ("claude-desktop", ".config/Claude/claude_desktop_config.json", "mcpServers", false),
        ("claude-code", ".claude.json", "mcpServers", true),
        ("vscode", ".config/Code/User/mcp.json", "servers", true),
        ("cursor", ".cursor/mcp.json", "mcpServers", false),
    ] {
        let home = tempfile::tempdir().unwrap();
        let run = install(home.path(), &[client]);
        assert_eq!(run.code, Some(0), "{}", run.shown());
        assert!(run.stdout.contains("+    \"netspy\": {"), "{}", run.stdout);
        let settings = read(&home.path().join(file));
        let entry = &settings[member]["netspy"];
        assert_eq!(
            (&entry["command"], &entry["args"]),
            (&json!(env!("CARGO_BIN_EXE_netspy")), &json!(["mcp"]))
        );
        assert_eq!(entry["type"] == "stdio", typed);
        assert!(install(home.path(), &[client]).stdout.contains("has netspy already"));
    }
}

#[test]
fn what_was_there_is_kept_and_a_backup_too() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".claude.json");
    fs::write(&file, r#"{"theme": "dark", "mcpServers": {"other": {"command": "x"}}}"#).unwrap();
    let dry = install(home.path(), &["claude-code", "--dry-run"]);
    assert!(dry.stdout.contains("Nothing was changed") && read(&file)["mcpServers"].get("netspy").is_none());
    let run = install(home.path(), &["claude-code", "--server", "http://127.0.0.1:9000"]);
    assert_eq!(run.code, Some(0), "{}", run.shown());
    let settings = read(&file);
    assert_eq!(
        (&settings["theme"], &settings["mcpServers"]["other"]["command"]),
        (&json!("dark"), &json!("x"))
    );
    assert_eq!(settings["mcpServers"]["netspy"]["args"], json!(["mcp", "--server", "http://127.0.0.1:9000"]));
    let kept: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|p| *p != file)
        .collect();
    assert_eq!(kept.len(), 1);
    assert!(read(&kept[0])["mcpServers"].get("netspy").is_none());
}

#[test]
fn a_file_that_is_not_understood_stays_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".claude.json");
    fs::write(&file, "// mine\n{}").unwrap();
    let run = install(home.path(), &["claude-code"]);
    assert_eq!((run.code, fs::read_to_string(&file).unwrap().as_str()), (Some(1), "// mine\n{}"));
    assert!(run.stderr.contains("not plain JSON") && run.stderr.contains("\"netspy\": {"), "{}", run.stderr);
}
