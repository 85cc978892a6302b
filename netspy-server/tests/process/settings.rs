//! Settings by flag, environment and file, and what SIGHUP changes.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::server::{Installed, failure};

/// `netspy-server config` as (name, value, origin).
fn shown(installed: &Installed, words: &[&str], variables: &[(&str, &str)]) -> Vec<(String, String, String)> {
    let mut command = installed.command(&[&["config"], words].concat());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let (name, rest) = line.split_once(' ').unwrap();
        let (value, origin) = rest.trim_start().split_once(' ').unwrap();
        (name.to_owned(), value.to_owned(), origin.trim_start().to_owned())
    };
    text.lines().map(line).collect()
}

#[track_caller]
fn is(shown: &[(String, String, String)], name: &str, value: &str, origin: &str) {
    let (_, v, o) = shown.iter().find(|(known, ..)| known == name).unwrap();
    assert_eq!((v.as_str(), o.as_str()), (value, origin), "{name}");
}

#[test]
fn flag_before_environment_before_file_before_default() {
    let installed = Installed::new();
    fs::write(
        installed.path("server.toml"),
        "keep-for = \"1d\"\nkeep-size = \"1GiB\"\nhooks = \"tracepoint\"\nmax-sockets = 100\n",
    )
    .unwrap();
    let words = ["--config", "server.toml", "--keep-for", "3d"];
    let variables = [("NETSPY_KEEP_FOR", "2d"), ("NETSPY_KEEP_SIZE", "2GiB")];
    let settings = shown(&installed, &words, &variables);
    is(&settings, "keep-for", "3d", "flag");
    is(&settings, "keep-size", "2GiB", "environment NETSPY_KEEP_SIZE");
    is(&settings, "hooks", "tracepoint", "file server.toml");
    is(&settings, "max-sockets", "100", "file server.toml");
    is(&settings, "cmdline", "full", "default");
    is(&settings, "token-file", "-", "default");
    is(&settings, "listen", "127.0.0.1:8080", "default");
    let settings = shown(&installed, &["--port", "9"], &[("NETSPY_CONFIG", "server.toml")]);
    is(&settings, "listen", "127.0.0.1:9", "flag");
    is(&settings, "keep-for", "1d", "file server.toml");

    let output = installed.command(&["config", "-o", "json"]).env("NETSPY_DB", "/x").output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let db = report["settings"].as_array().unwrap().iter().find(|setting| setting["name"] == "db").unwrap();
    assert_eq!(db["value"], "/x");
    assert_eq!(db["origin"], serde_json::json!({"from": "environment", "at": "NETSPY_DB"}));
}

#[test]
fn a_setting_that_nobody_knows_or_that_is_wrong_ends_the_server() {
    let installed = Installed::new();
    fs::write(installed.path("server.toml"), "keep_for = \"1d\"\n").unwrap();
    let text = installed.fails(&["--config", "server.toml", "--replay", "demo.netspy"]);
    assert!(
        text.contains("server.toml: there is no setting 'keep_for'") && text.contains("keep-for"),
        "{text}"
    );
    fs::write(installed.path("server.toml"), "keep-size = \"1\"\n").unwrap();
    let text = installed.fails(&["config", "--config", "server.toml"]);
    assert!(text.contains("server.toml: keep-size: ") && text.contains("500MiB"), "{text}");
    let text = failure(&installed.command(&["config", "--config", "missing.toml"]).output().unwrap());
    assert!(text.contains("missing.toml") && text.contains("--config"), "{text}");
    let wrong = installed.command(&["config"]).env("NETSPY_HOOKS", "none").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("possible values: auto"));
}

#[test]
fn hangup_takes_over_what_can_be_and_says_what_cannot() {
    let installed = Installed::new();
    let file = installed.path("server.toml");
    fs::write(&file, "keep-for = \"1d\"\n").unwrap();
    let server = installed.replay(&["--config", "server.toml"]);
    fs::write(&file, "keep-for = \"2d\"\nmax-sockets = 5\n").unwrap();
    server.signal(Signal::HUP);
    let log = server.said("settings and tokens were read again");
    assert!(log.contains("keep-for is 2d from now on"), "{log}");
    assert!(log.contains("max-sockets will be 5 when the server is restarted"), "{log}");
    fs::write(&file, "keep-for = 2").unwrap();
    server.signal(Signal::HUP);
    server.said("the settings stay as they were: server.toml: keep-for: ");
    assert_eq!(server.stop(Signal::TERM), Some(0));
}
