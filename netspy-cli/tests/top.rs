//! `netspy top` on a real terminal: the real server with the recording that ships, and servers that misbehave.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use insta::assert_snapshot;
use support::screen::Screen;
use support::server::Server;
use support::{Stub, netspy, nobody};

#[test]
fn four_panels_are_sorted_resized_and_left() {
    let server = Server::replaying();
    let mut top = Screen::start(32, 140, &server.url, "top", &[]);
    let first = top.until(|shown| shown.contains("p pause") && shown.contains("NETFILTER_DROP"));
    assert!(top.is_alternate());
    assert_snapshot!("panels", first.replace(&server.url, "URL"));

    // The most failures first, then the other way round.
    top.press("s");
    top.until(|shown| shown.contains("FAILED▼"));
    top.press("r");
    top.until(|shown| shown.contains("FAILED▲"));

    // In a small window there is the panel that keys are about, alone.
    top.resize(15, 70);
    // The keys stand in the last line again: it has noticed.
    top.until(|shown| {
        shown.contains("1 Processes") && !shown.contains("2 Destinations") && shown.contains("p pause")
    });
    top.press("3");
    let failures = top.until(|shown| shown.contains("3 Failures"));
    assert!(failures.contains("ECONNREFUSED") && !failures.contains("1 Processes"), "{failures}");
    top.resize(32, 140);
    top.until(|shown| shown.contains("1 Processes") && shown.contains("4 Drops"));

    top.press("q");
    let (code, left) = top.ended();
    assert_eq!(code, 0);
    assert!(!left.is_alternate(), "the terminal is as it was");
}

#[test]
fn only_what_was_asked_for_is_shown() {
    let server = Server::replaying();
    let mut top = Screen::start(32, 140, &server.url, "top --process ssh --failed", &[("NO_COLOR", "1")]);
    let shown = top.until(|shown| shown.contains("127.0.0.1:22"));
    assert!(!shown.contains("curl"), "{shown}");
    top.press("\u{3}");
    let (code, left) = top.ended();
    assert_eq!(code, 0);
    let raw = String::from_utf8_lossy(left.raw()).into_owned();
    assert!(!raw.contains("\u{1b}[38;") && !raw.contains("\u{1b}[31m"), "no colours: {raw:?}");
}

#[test]
fn a_loss_is_shown_and_hostile_names_are_not_obeyed() {
    let server = Stub::of("hostile");
    let mut top = Screen::start(40, 160, &server.url, "top", &[]);
    let shown = top.until(|shown| shown.contains("3 Failures"));
    assert!(shown.contains("\\x1b[2J\\u{202e}evil\\x0a"), "{shown}");
    top.press("q");
    let (_, left) = top.ended();
    // The name would clear the screen and turn the reading direction.
    let raw = String::from_utf8(left.raw().to_vec()).unwrap();
    assert!(!raw.contains("\u{202e}") && !raw.contains("\u{1b}[2Jevil"), "{raw:?}");

    let server = Stub::of("ours");
    let mut top = Screen::start(32, 140, &server.url, "top", &[]);
    top.until(|shown| shown.contains("12 events were lost in this window"));
}

#[test]
fn a_server_that_goes_away_is_said_and_waited_for() {
    let server = Stub::failing_after(18);
    let mut top = Screen::start(32, 140, &server.url, "top", &[]);
    let shown = top.until(|shown| shown.contains("! netspy-server answered 503"));
    assert!(shown.contains("1 Processes"), "what was known stays: {shown}");
    top.press("q");
    assert_eq!(top.ended().0, 0);
}

#[test]
fn without_a_terminal_or_a_server_there_is_no_screen() {
    let piped = netspy(&nobody(), &["top"], "");
    assert_eq!(piped.code, Some(2));
    assert!(piped.stderr.contains("this is none; use summary"), "{}", piped.stderr);
    let top = Screen::start(24, 80, &nobody(), "top", &[]);
    let (code, mut left) = top.ended();
    assert!(code == 3 && left.shown().contains("start it with: sudo netspy-server"), "{}", left.shown());
}

#[test]
fn a_server_that_takes_its_time_is_said_to_be_waited_for() {
    let server = Stub::slow(std::time::Duration::from_millis(1500));
    for command in ["top", "follow --seconds 1"] {
        let mut screen = Screen::start(24, 100, &server.url, command, &[]);
        screen.until(|shown| shown.contains("... waiting for the server, "));
        // The line goes when there is something to show.
        screen.until(|shown| {
            (shown.contains("1 Processes") || shown.contains("Following connections"))
                && !shown.contains("waiting for the server")
        });
    }
}
