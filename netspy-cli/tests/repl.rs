//! The REPL through a real pseudo-terminal, as a person uses it, and through a pipe, as a script does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use support::screen::Screen;
use support::server::Server;
use support::{Stub, netspy, nobody};

const PROMPT: &str = "netspy-mcp> ";
const UP: &str = "\x1b[A";

/// `netspy` in a terminal of its own, its history under `home`.
fn start(server: &str, home: &Path) -> PtySession {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netspy"));
    command.env_clear().envs([("TERM", "xterm"), ("NETSPY_SERVER", server)]).env("HOME", home);
    spawn_command(command, Some(10_000)).unwrap()
}

/// Everything up to the next prompt.
fn prompt(terminal: &mut PtySession) -> String {
    terminal.exp_string(PROMPT).unwrap()
}

/// Types a line and waits for what it should say, then for the prompt. The editor may paint a prompt again
/// while it is typed at; only the one after the answer counts.
fn ask(terminal: &mut PtySession, line: &str, answer: &str) -> String {
    terminal.send_line(line).unwrap();
    let before = terminal.exp_string(answer).unwrap();
    before + answer + &prompt(terminal)
}

/// Types and waits until the editor has painted it.
fn type_in(terminal: &mut PtySession, keys: &str, painted: &str) {
    terminal.send(keys).unwrap();
    terminal.flush().unwrap();
    terminal.exp_string(painted).unwrap();
}

/// rexpect takes every byte for a character.
fn utf8(read: &str) -> String {
    String::from_utf8(read.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()).unwrap()
}

fn ended(terminal: &mut PtySession) -> i32 {
    terminal.exp_eof().unwrap();
    match terminal.process().wait().unwrap() {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session() {
    let (server, home) = (Stub::of("ours"), tempfile::tempdir().unwrap());
    let mut terminal = start(&server.url, home.path());
    // What follows the last line end are the editor's own controls.
    let banner = utf8(&prompt(&mut terminal)).replace('\r', "");
    assert_snapshot!("banner", banner.rsplit_once('\n').unwrap().0);
    ask(
        &mut terminal,
        "summary --process curl",
        "Process 'curl' made 5 outbound connection attempts over the last 60 seconds\r\n  3 established, 1 refused",
    );
    let list = ask(&mut terminal, "list --max-events 2", "... and 13 more events");
    assert!(
        list.contains("  21:05:53 | 127.0.0.1:8080 | TCP | netspy | pid 4242 | from 127.0.0.1:51234"),
        "{list}"
    );
    ask(&mut terminal, r#"droplist --process "two words" --max_events 3"#, "NO_SOCKET");
    let asked = server.asked();
    assert_eq!(asked.last().unwrap(), r#"POST /api/list-packet-drops {"command":"two words","limit":3}"#);
    ask(&mut terminal, "help list", "--max-events <COUNT>");
    ask(&mut terminal, "help", "  quit/exit    - Exit interactive mode");
    terminal.send_line("quit").unwrap();
    terminal.exp_string("Goodbye!").unwrap();
    assert_eq!(ended(&mut terminal), 0);
}

#[test]
fn errors_do_not_end_the_session() {
    let (nobody, home) = (nobody(), tempfile::tempdir().unwrap());
    let mut terminal = start(&nobody, home.path());
    assert!(prompt(&mut terminal).contains("Warning: netspy-server is not reachable"));
    ask(&mut terminal, "foo", "Error: unknown command: foo (type 'help' for available commands)");
    ask(&mut terminal, "list", "start it with: sudo netspy-server");
    ask(&mut terminal, "list --pid -1", "pid takes a process id");
    ask(&mut terminal, "list 'x", "a quote is not closed");
    ask(&mut terminal, "tools", " get_network_summary: ");
    terminal.send_control('d').unwrap();
    assert_eq!(ended(&mut terminal), 0);
}

#[test]
fn history_is_recalled_and_kept() {
    let (server, home) = (Stub::of("ours"), tempfile::tempdir().unwrap());
    let mut first = start(&server.url, home.path());
    prompt(&mut first);
    ask(&mut first, "summary --pid 41", "PID 41 made 5");
    type_in(&mut first, UP, "summary --pid 41");
    ask(&mut first, "", "PID 41 made 5");
    first.send_control('d').unwrap();
    assert_eq!(ended(&mut first), 0);
    assert!(home.path().join(".local/state/netspy/history").exists());

    let mut second = start(&server.url, home.path());
    prompt(&mut second);
    type_in(&mut second, UP, "summary --pid 41");
    ask(&mut second, "", "PID 41 made 5");
}

#[test]
fn the_tab_key_completes() {
    let (server, home) = (Stub::of("ours"), tempfile::tempdir().unwrap());
    let mut terminal = start(&server.url, home.path());
    prompt(&mut terminal);
    type_in(&mut terminal, "dropl\t", "droplist ");
    type_in(&mut terminal, "--max\t", "--max-events ");
    ask(&mut terminal, "1", "... and 1 more events");
}

#[test]
fn ctrl_c_gives_up_the_line_or_the_command() {
    let (server, home) = (Stub::stuck(), tempfile::tempdir().unwrap());
    let mut terminal = start(&server.url, home.path());
    prompt(&mut terminal);
    type_in(&mut terminal, "nonsense", "nonsense");
    terminal.send_control('c').unwrap();
    prompt(&mut terminal);
    terminal.send_line("summary").unwrap();
    while !server.asked().iter().any(|line| line.contains("/api/connection-summary")) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    terminal.send_control('c').unwrap();
    terminal.exp_string("Interrupted").unwrap();
    prompt(&mut terminal);
    terminal.send_control('d').unwrap();
    assert_eq!(ended(&mut terminal), 0);
}

#[test]
fn a_home_that_cannot_be_written_to_is_no_error() {
    let server = Stub::of("ours");
    let mut terminal = start(&server.url, Path::new("/proc/nowhere"));
    prompt(&mut terminal);
    let summary = ask(&mut terminal, "summary", "All processes made 5");
    assert!(!summary.contains("rror"), "{summary}");
}

#[test]
fn a_script_prints_only_answers() {
    let server = Stub::of("ours");
    let run =
        netspy(&server.url, &[], "# what is going on?\n\nsummary --process curl\nlist --max-events 1\n");
    assert_snapshot!("script", run.shown());
    assert_eq!(netspy(&server.url, &["-o", "json"], "dropsummary").stdout.lines().count(), 1);
    assert!(netspy(&server.url, &[], "summary -o json").stdout.starts_with('{'));
}

#[test]
fn a_script_ends_with_its_worst_exit_code() {
    let server = Stub::of("ours");
    let run = netspy(&server.url, &[], "foo\nsummary\nquit\nlist\n");
    assert_eq!((run.code, run.stdout.lines().count()), (Some(2), 3));
    let nobody = nobody();
    assert_snapshot!("script_errors", netspy(&nobody, &[], "foo\nlist\n").shown().replace(&nobody, "URL"));
    assert_eq!(netspy(&server.url, &[], "").shown(), "--- stderr\n--- exit 0");
}

#[test]
fn what_is_set_holds_for_the_session() {
    let (server, home) = (Stub::of("ours"), tempfile::tempdir().unwrap());
    let mut terminal = start(&server.url, home.path());
    prompt(&mut terminal);
    ask(&mut terminal, "set --process curl --failed", "set --process curl --failed\r\n");
    ask(&mut terminal, "list --max-events 2", "Recent connection events");
    let asked = |part: &str| server.asked().iter().any(|line| line.contains(part));
    let failures = "refused,reset,timed_out,unreachable,aborted,failed";
    let list = format!(r#"list-connections {{"command":"curl","limit":2,"outcome":"{failures}"}}"#);
    assert!(asked(&list), "{:?}", server.asked());
    ask(&mut terminal, "summary --process sshd", "Process 'sshd' made");
    ask(&mut terminal, "set --to nowhere", "to takes an address or a network");
    ask(&mut terminal, "show", "set --process curl --failed\r\n");
    ask(&mut terminal, "unset failed", "set --process curl\r\n");
    ask(&mut terminal, "set -o json", "set --process curl -o json\r\n");
    ask(&mut terminal, "status", "{\"server\":");
    ask(&mut terminal, "unset", "Nothing is set");
}

#[test]
fn what_is_set_holds_for_a_script() {
    let server = Stub::of("ours");
    let run = netspy(&server.url, &[], "set -o ndjson --max-events 1\nlist\nshow\nunset\nsummary\n");
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(
        lines[0].starts_with("{\"time\":") && lines[2].starts_with("All processes made 5"),
        "{}",
        run.shown()
    );
    // Only what was asked for is data.
    assert_eq!((run.code, lines[1]), (Some(0), "set --max-events 1 -o ndjson"));
    assert!(run.stderr.starts_with("set --max-events 1 -o ndjson\n"), "{}", run.stderr);
    assert!(
        run.stderr.contains("Nothing is set; for example: set --process curl -o table"),
        "{}",
        run.stderr
    );
}

#[test]
fn connections_appear_above_the_line_that_is_typed() {
    let (server, home) = (Stub::busy(), tempfile::tempdir().unwrap());
    let mut screen = Screen::start(30, 120, &server.url, "", &[("HOME", home.path().to_str().unwrap())]);
    let typed = |shown: &str| {
        shown.lines().rfind(|line| !line.trim().is_empty()).map(|line| line.trim_end().to_owned())
    };
    let rows =
        |shown: &str| shown.lines().filter(|line| line.contains("| TCP | curl | pid 7 | refused")).count();
    screen.until(|shown| typed(shown).as_deref() == Some("netspy-mcp>"));
    screen.press("follow --process curl\r");
    screen.until(|shown| shown.contains("Following connections; Ctrl-C ends") && rows(shown) > 0);
    // Half a command stays while lines go by.
    screen.press("summ");
    let shown = screen.until(|shown| typed(shown).is_some_and(|line| line.starts_with("netspy-mcp> summ")));
    let before = rows(&shown);
    screen.until(|shown| {
        rows(shown) > before && typed(shown).is_some_and(|line| line.starts_with("netspy-mcp> summ"))
    });
    screen.press("ary\r");
    screen.until(|shown| shown.contains("No network connections found"));
    // Ctrl-C ends what is followed, not the session.
    screen.press("\u{3}");
    screen.until(|shown| shown.contains("Stopped following"));
    screen.press("stop\r");
    screen.until(|shown| shown.contains("Nothing is being followed"));
    screen.press("follow\r");
    screen.until(|shown| shown.matches("Following connections").count() == 2);
    screen.press("stop\r");
    screen.until(|shown| shown.matches("Stopped following").count() == 2);
    screen.press("quit\r");
    assert_eq!(screen.ended().0, 0);
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let (server, home) = (Server::replaying(), tempfile::tempdir().unwrap());
    let url = server.url.clone();
    let mut screen = Screen::start(40, 140, &url, "", &[("HOME", home.path().to_str().unwrap())]);
    screen.press("follow\r");
    screen.until(|shown| shown.contains("Following connections"));
    screen.press("summary --process curl\r");
    screen.until(|shown| shown.contains("made 18 outbound"));
    drop(server);
    screen.until(|shown| shown.contains("waiting for it"));
    screen.press("summary\r");
    screen.until(|shown| shown.contains("Error: netspy-server is not reachable"));
    let _again = Server::replaying_again(&url);
    screen.until(|shown| shown.contains("The server is back"));
    screen.press("summary --process ssh\r");
    screen.until(|shown| shown.contains("Process 'ssh' made 5 outbound"));
}

#[test]
fn names_that_were_seen_are_completed_and_hints_are_shown() {
    let (server, home) = (Server::replaying(), tempfile::tempdir().unwrap());
    let mut screen = Screen::start(30, 120, &server.url, "", &[("HOME", home.path().to_str().unwrap())]);
    let shows = |wanted: &'static str| move |shown: &str| shown.contains(wanted);
    screen.press("list --process cu\t");
    screen.until(shows("netspy-mcp> list --process curl"));
    screen.press("--to 192\t\r");
    screen.until(shows("list --process curl --to 192.0.2.10"));
    screen.until(shows("192.0.2.10:80 | TCP | curl"));
    screen.press("status");
    screen.until(shows("status  (Show what is traced, how, and what was lost)"));
    // Ctrl-U clears the line; what was typed before is offered, and taken with the right arrow.
    screen.press("\u{15}list --pro");
    screen.until(|shown| shown.matches("list --process curl --to 192.0.2.10").count() == 2);
    screen.press("\u{1b}[C\r");
    screen.until(|shown| shown.matches("192.0.2.10:80 | TCP | curl").count() == 2);
}
