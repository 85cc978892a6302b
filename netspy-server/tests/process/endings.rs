//! What the server says and how it ends when something is wrong, and that it needs neither root nor a kernel that can
//! trace to serve a recording.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use netspy_api::{Client, ListRequest, Lost, SummaryRequest};
use rustix::process::Signal;

use crate::server::{Installed, NOBODY, Running, demo, failure};

fn last_hour() -> SummaryRequest {
    SummaryRequest { duration_seconds: Some(3600), ..SummaryRequest::default() }
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let text = Installed::new().fails(&["--port", &port, "--replay", "demo.netspy"]);
    assert!(text.contains("in use") && text.contains("--port"), "{text}");
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let text = Installed::new().fails(&["--listen", "0.0.0.0:0", "--replay", "demo.netspy"]);
    assert!(text.contains("ssh -L"), "{text}");
}

#[test]
fn without_root_it_says_so() {
    let output = Installed::new().command(&["--port", "0", "--db", "x.db"]).uid(NOBODY).gid(NOBODY).output();
    let text = failure(&output.unwrap());
    assert!(text.contains("not permitted") && text.contains("sudo netspy-server"), "{text}");
}

#[test]
fn without_the_kernels_types_it_says_so() {
    let installed = Installed::new();
    let script = "mount -t tmpfs none /sys/kernel/btf && exec ./netspy-server --port 0 --db x.db";
    let output =
        Command::new("unshare").args(["--mount", "sh", "-c", script]).current_dir(&installed.0).output();
    let text = failure(&output.unwrap());
    assert!(text.contains("/sys/kernel/btf/vmlinux") && text.contains("CONFIG_DEBUG_INFO_BTF"), "{text}");
}

#[tokio::test]
async fn an_event_that_cannot_be_had_does_not_take_the_other_with_it() {
    let installed = Installed::new();
    let mut command = installed.command(&["--port", "0", "--db", "x.db", "--hooks", "kprobe"]);
    let server = Running::start(&mut command);
    let health = Client::new(&server.url).unwrap().health().await.unwrap();
    let state = |name: &str| health.programs.iter().find(|program| program.name == name).unwrap();
    assert_eq!(state("packet_drop").status, "active");
    let connection = state("connection");
    // Where perf knows kprobes (Documentation/ABI/testing/sysfs-bus-event_source-devices) the rung holds.
    if Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        assert_eq!((health.status.as_str(), connection.rung.as_str()), ("healthy", "kprobe"));
    } else {
        assert_eq!((health.status.as_str(), connection.status.as_str()), ("degraded", "inactive"));
        assert!(connection.note.contains("devices/kprobe"), "{}", connection.note);
    }
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[test]
fn what_is_not_a_recording_is_not_replayed() {
    let installed = Installed::new();
    let text = installed.fails(&["--port", "0", "--replay", "netspy-server"]);
    assert!(text.contains("not a netspy recording") && text.contains("--record"), "{text}");
    let text = installed.fails(&["--port", "0", "--replay", "missing"]);
    assert!(text.contains("cannot replay missing") && text.contains("No such file"), "{text}");
}

#[test]
fn what_is_not_a_database_is_not_overwritten() {
    let installed = Installed::new();
    let path = installed.0.path().join("precious");
    fs::write(&path, "somebody's notes, longer than a database header is: do not touch\n".repeat(20))
        .unwrap();
    let before = fs::read(&path).unwrap();
    let text = installed.fails(&["--port", "0", "--replay", "demo.netspy", "--db", "precious"]);
    assert!(text.contains("precious") && text.contains("--db"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn unknown_flags_are_usage_errors() {
    let output = Installed::new().command(&["--frobnicate"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn a_recording_is_served_without_root_and_always_the_same() {
    let installed = Installed::new();
    let mut answers = Vec::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = installed.command(&["--port", "0", "--replay", "demo.netspy"]);
        let server = Running::start(command.uid(NOBODY).gid(NOBODY));
        let client = Client::new(&server.url).unwrap();
        let health = client.health().await.unwrap();
        assert_eq!((health.status.as_str(), health.programs[0].rung.as_str()), ("healthy", "replay"));
        let request = ListRequest { limit: Some(10_000), ..ListRequest::default() };
        let connections = client.list_connections(&request).await.unwrap();
        let drops = client.list_packet_drops(&request).await.unwrap();
        let summary = client.connection_summary(&last_hour()).await.unwrap();
        assert_eq!(summary.count + summary.inbound, connections.total_events);
        assert!(connections.total_events > 0 && drops.total_events > 0);
        assert_eq!(connections.lost, Some(Lost::default()));
        answers.push((connections, drops));
        assert_eq!(server.stop(signal), Some(0));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn history_survives_a_restart() {
    let installed = Installed::new();
    // Magic, format version, length of the header, header: a recording of nothing.
    let recording = fs::read(demo()).unwrap();
    let header = u32::from_le_bytes(*recording[12..].first_chunk().unwrap()) as usize;
    fs::write(installed.0.path().join("nothing.netspy"), &recording[..16 + header]).unwrap();
    let mut counts = Vec::new();
    for recording in ["demo.netspy", "nothing.netspy", "demo.netspy"] {
        let words = ["--port", "0", "--replay", recording, "--db", "kept.db"];
        let server = Running::start(&mut installed.command(&words));
        let client = Client::new(&server.url).unwrap();
        counts.push(client.connection_summary(&last_hour()).await.unwrap().count);
        assert_eq!(server.stop(Signal::TERM), Some(0));
    }
    assert!(counts[0] > 0);
    assert_eq!(counts[1], counts[0], "what was there before the restart");
    assert_eq!(counts[2], counts[0], "the same connections again are found, not doubled");
    let mode = fs::metadata(installed.0.path().join("kept.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
