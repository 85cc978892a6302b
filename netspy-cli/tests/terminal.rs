//! What a person at a real terminal sees of one-shots: tables as wide as the window, colours, progress.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;

use rexpect::session::spawn_command;
use support::Stub;

/// All that `netspy` writes to a terminal of so many columns, with these variables.
fn on_terminal(columns: u16, server: &str, variables: &[(&str, &str)], words: &str) -> String {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("stty cols {columns}; exec \"$NETSPY\" {words}")]);
    shell.env_clear().envs([("PATH", "/usr/bin:/bin"), ("TERM", "xterm"), ("TZ", "UTC")]);
    shell.envs([("NETSPY_SERVER", server), ("NETSPY", env!("CARGO_BIN_EXE_netspy"))]);
    shell.envs(variables.iter().copied());
    let mut terminal = spawn_command(shell, Some(20_000)).unwrap();
    let read = terminal.exp_eof().unwrap();
    // rexpect takes every byte for a character.
    String::from_utf8(read.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()).unwrap()
}

/// Without the sequences that only colour.
fn plain(shown: &str) -> String {
    let mut parts = shown.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn a_list_is_a_table_as_wide_as_the_window() {
    let server = Stub::of("ours");
    for columns in [60, 80, 200] {
        let shown = plain(&on_terminal(columns, &server.url, &[], "list --max-events 5"));
        let lines: Vec<_> = shown.lines().take(6).collect();
        assert!(lines[0].starts_with("TIME"), "{shown}");
        assert!(lines.iter().all(|line| line.trim_end().chars().count() <= columns.into()), "{shown}");
        assert!(lines[2].contains("refused") && lines[2].contains("127.0.0.1:1 "), "{shown}");
        assert_eq!(lines[0].contains("ERROR"), columns > 80, "{shown}");
        assert!(shown.contains("12 events were lost"), "{shown}");
    }
    let summary = on_terminal(80, &server.url, &[], "summary --process curl");
    assert!(summary.starts_with("Process 'curl' made 5 outbound"), "{summary}");
}

#[test]
fn colours_are_used_where_they_are_welcome() {
    let server = Stub::of("ours");
    let shown = |variables: &[(&str, &str)], flags: &str| {
        on_terminal(100, &server.url, variables, &format!("list {flags}"))
    };
    assert!(shown(&[], "").contains("\u{1b}[38;5;9m"), "a failure is red");
    for bare in [
        shown(&[("NO_COLOR", "1")], ""),
        shown(&[("TERM", "dumb")], ""),
        shown(&[], "--color never"),
        shown(&[], "-o json --color always"),
    ] {
        assert!(!bare.contains('\u{1b}'), "{bare}");
    }
    assert!(shown(&[("NO_COLOR", "")], "").contains('\u{1b}'), "an empty one is none");
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let server = Stub::of("hostile");
    for words in ["list", "list -o wide", "drops", "analyze", "why", "summary", "status"] {
        let shown = plain(&on_terminal(120, &server.url, &[], words));
        let is_safe = shown.chars().all(|c| matches!(c, '\r' | '\n') || !c.is_control() && c != '\u{202e}');
        assert!(is_safe && (words == "status" || shown.contains("evil")), "{words}: {shown:?}");
    }
}

#[test]
fn a_slow_answer_is_waited_for_visibly() {
    let server = Stub::slow(std::time::Duration::from_millis(2500));
    let shown = on_terminal(80, &server.url, &[], "summary");
    let line = "... waiting for the server, 1 s";
    assert!(shown.contains(line), "{shown:?}");
    // It is gone when the answer is there.
    assert!(shown.rsplit_once(line).unwrap().1.contains("\r\u{1b}[K"), "{shown:?}");
    let piped = server.netspy(&["summary"]);
    assert_eq!((piped.code, piped.stderr.as_str()), (Some(0), ""));
}
