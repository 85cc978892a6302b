//! `cargo xtask run`, as a person uses it: at a terminal, with something happening elsewhere meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;

use rexpect::{process::WaitStatus, session::PtySession, session::spawn_command};

/// Building is part of it.
const PATIENCE_MS: u64 = 100_000;

fn run(words: &[&str]) -> PtySession {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("run").args(words).env("TERM", "xterm").env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    spawn_command(command, Some(PATIENCE_MS)).unwrap()
}

fn quit(terminal: &mut PtySession) {
    terminal.send_line("quit").unwrap();
    terminal.exp_string("Goodbye!").unwrap();
    terminal.exp_eof().unwrap();
    assert!(matches!(terminal.process().wait().unwrap(), WaitStatus::Exited(_, 0)));
}

#[test]
fn a_refused_connect_elsewhere_is_there_at_the_next_prompt() {
    let mut terminal = run(&[]);
    terminal.exp_string("netspy-mcp> ").unwrap();
    let mut curl = Command::new("curl").args(["-s", "http://127.0.0.1:1/"]).spawn().unwrap();
    let pid = curl.id();
    assert_eq!(curl.wait().unwrap().code(), Some(7), "curl says that it could not connect");
    terminal.send_line(&format!("list --pid {pid}")).unwrap();
    terminal.exp_string("127.0.0.1:1 | TCP | curl | pid").unwrap();
    terminal.exp_string("refused (ECONNREFUSED)").unwrap();
    terminal.exp_string("Nothing was lost").unwrap();
    quit(&mut terminal);
}

#[test]
fn the_recording_that_ships_can_always_be_looked_at() {
    let mut terminal = run(&["--", "--replay"]);
    terminal.exp_string("netspy-mcp> ").unwrap();
    terminal.send_line("list --process ssh").unwrap();
    terminal.exp_string("127.0.0.1:22 | TCP | ssh").unwrap();
    quit(&mut terminal);
}
