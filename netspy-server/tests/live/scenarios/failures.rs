//! What the kernel or the surroundings refuse: the message, what still works, and the exit code.

use serde_json::Value;

use crate::{
    environment::Environment,
    server::{self, Server},
    types::{self, Wrong},
};

/// A number that is never 0: without an error the kernel's own return value would tell the right one.
const ANOTHER_ERROR: Wrong = Wrong::At("sk_sndbuf");
const CAP_SYS_RESOURCE: u8 = 24;
const CAP_PERFMON: u8 = 38;
const CAP_BPF: u8 = 39;

/// An event in a doctor's report.
fn event<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["events"].as_array().unwrap().iter().find(|event| event["name"] == name).unwrap()
}

fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["machine"].as_array().unwrap().iter().find(|finding| finding["name"] == name).unwrap()
}

/// The events that the report says are traced by programs.
fn active(report: &Value) -> Vec<&str> {
    let events = report["events"].as_array().unwrap().iter().filter(|event| event["status"] == "active");
    events.filter(|event| event["rung"] != "sock_diag").map(|event| event["name"].as_str().unwrap()).collect()
}

/// Events that no tracepoint gives: a kernel without kprobes that refuses programs at the entry of functions as well
/// has neither, and only such a kernel.
const WITHOUT_TRACEPOINT: [&str; 2] = ["raw", "listen_overflow"];

/// The exit code that is right, and the report of a doctor here, where nothing is different.
fn doctor_here() -> (i32, Value) {
    let (code, report) = server::doctor(Environment::default());
    let refused = finding(&report, "fentry")["state"] == "limited" && server::rung() != "kprobe";
    let expected: &[&str] = if refused { &WITHOUT_TRACEPOINT } else { &[] };
    let events = report["events"].as_array().unwrap().iter();
    let lacking: Vec<_> =
        events.filter(|event| event["status"] != "active").map(|event| &event["name"]).collect();
    assert_eq!(lacking, expected, "{report:#}");
    assert_eq!((code, &report["healthy"]), (Some(i32::from(refused)), &Value::Bool(!refused)), "{report:#}");
    (i32::from(refused), report)
}

fn assert_checked(report: &Value) {
    for name in ["connection", "accept", "packet_drop"] {
        let event = event(report, name);
        assert_eq!(event["check"], "passed", "{event:#}");
    }
}

/// Each does the same things at the same time, and must take for its own only what it did itself.
pub fn several_at_once() {
    std::thread::scope(|scope| {
        let doctors = [(); 3].map(|()| scope.spawn(|| server::doctor(Environment::default()).1));
        for doctor in doctors {
            assert_checked(&doctor.join().unwrap());
        }
    });
}

/// Nothing is different: every event that this kernel allows is there, checked, and each refusal has a remedy. The
/// lines it prints are what `docs/kernels.md` is made of.
pub fn every_event_is_checked() {
    let (_, report) = doctor_here();
    assert_checked(&report);
    for event in report["events"].as_array().unwrap() {
        for refused in event["refused"].as_array().unwrap() {
            assert_ne!(refused["remedy"], "", "{event:#}");
        }
    }
    let events = &report["events"];
    println!("\nNETSPY-EVENTS {events}");
}

pub fn no_privileges() {
    let nothing = Environment { capabilities: Some(Vec::new()), ..Environment::default() };
    let (code, report) = server::doctor(nothing.clone());
    assert_eq!((code, active(&report).len()), (Some(1), 0), "{report:#}");
    assert_eq!(report["capabilities"]["lacking"], serde_json::json!(["CAP_BPF", "CAP_PERFMON"]));
    let refused = &event(&report, "connection")["refused"][0];
    assert!(
        refused["reason"].as_str().unwrap().contains("root, but lacks CAP_BPF and CAP_PERFMON"),
        "{refused}"
    );
    assert!(refused["remedy"].as_str().unwrap().contains("--cap-add BPF --cap-add PERFMON"), "{refused}");
    let said = server::fails_to_start(nothing);
    assert!(said.contains("not permitted") && said.contains("--cap-add"), "{said}");
}

/// Two capabilities, and before 5.11 a third to raise the limit on locked memory, are enough for everything that
/// does not need tracefs, which only an administrator may mount.
pub fn no_tracefs() {
    let mut capabilities = vec![CAP_BPF, CAP_PERFMON];
    if rustix::system::uname().release().to_bytes().starts_with(b"5.10.") {
        capabilities.push(CAP_SYS_RESOURCE);
    }
    let capabilities = Some(capabilities);
    let (code, report) =
        server::doctor(Environment { capabilities, without_tracefs: true, ..Environment::default() });
    assert_eq!(finding(&report, "tracefs")["state"], "limited", "{report:#}");
    assert!(finding(&report, "tracefs")["remedy"].as_str().unwrap().contains("mount -t tracefs"));
    assert_eq!(event(&report, "packet_drop")["status"], "active", "{report:#}");
    let connection = event(&report, "connection");
    if server::rung() == "kprobe" {
        // Debian lets only administrators attach kprobes.
        let reason = connection["refused"][0]["reason"].as_str().unwrap_or_default();
        let had = connection["check"] == "passed" || reason.contains("perf_event_paranoid");
        assert!(had, "{report:#}");
        return;
    }
    assert_eq!((code, &connection["status"]), (Some(1), &Value::from("inactive")), "{report:#}");
    let refused = connection["refused"].as_array().unwrap().last().unwrap();
    assert!(refused["reason"].as_str().unwrap().starts_with("tracefs cannot be mounted"), "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("mount -t tracefs"), "{refused}");
    let accept = event(&report, "accept")["refused"].as_array().unwrap().last().unwrap();
    assert_eq!(accept["reason"], "it needs the event connection, which is not traced");
}

pub fn no_types() {
    let environment = Environment { types: Some(Vec::new()), ..Environment::default() };
    let (code, report) = server::doctor(environment.clone());
    assert_eq!((code, &finding(&report, "btf")["state"]), (Some(1), &Value::from("missing")), "{report:#}");
    let said = server::fails_to_start(environment);
    assert!(said.contains("/sys/kernel/btf/vmlinux") && said.contains("CONFIG_DEBUG_INFO_BTF"), "{said}");
}

pub fn damaged_types() {
    let whole = std::fs::read(types::VMLINUX).unwrap();
    let mut noise = whole.clone();
    noise[64..].iter_mut().step_by(7).for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(7));
    let damages =
        [b"no types at all".to_vec(), whole[..whole.len() / 3].to_vec(), whole[..20].to_vec(), noise];
    for (damage, types) in damages.into_iter().enumerate() {
        let environment = Environment { types: Some(types), ..Environment::default() };
        let (code, report) = server::doctor(environment.clone());
        assert_eq!((code, active(&report).len()), (Some(1), 0), "damage {damage}: {report:#}");
        let refused = &event(&report, "connection")["refused"][0];
        let reason = refused["reason"].as_str().unwrap();
        assert!(reason.contains("type information"), "damage {damage}: {reason}");
        assert_ne!(refused["remedy"], "");
        assert!(server::fails_to_start(environment).contains("type information"), "damage {damage}");
    }
}

/// Types of another kernel: the canary or the verifier finds the field wrong, and exactly the events that it is part of are gone, also
/// those that it cannot check. What this kernel refuses anyway is not there either.
pub fn wrong_types() {
    let available = doctor_here().1;
    let available = active(&available);
    let wrong: [(&str, Wrong, &[&str]); 6] = [
        (
            "skc_dport",
            Wrong::By(2),
            &["connection", "accept", "udp", "raw", "retransmit", "reset_sent", "reset_received"],
        ),
        ("sk_err", ANOTHER_ERROR, &["connection", "accept", "udp", "raw"]),
        ("bytes_received", Wrong::By(8), &["connection", "accept"]),
        ("start_boottime", Wrong::By(8), &["connection", "process", "accept", "unix", "udp", "raw"]),
        (
            "network_header",
            Wrong::By(2),
            &["udp", "raw", "packet_drop", "retransmit", "reset_sent", "reset_received", "listen_overflow"],
        ),
        (
            "inum",
            Wrong::By(4),
            &[
                "connection",
                "accept",
                "unix",
                "udp",
                "raw",
                "packet_drop",
                "retransmit",
                "reset_sent",
                "reset_received",
                "listen_overflow",
            ],
        ),
    ];
    for (member, to, gone) in wrong {
        let types = Some(types::with_member_moved(member, to));
        let (code, report) = server::doctor(Environment { types, ..Environment::default() });
        assert_eq!(code, Some(1), "{member}: {report:#}");
        let right: Vec<_> = available.iter().copied().filter(|name| !gone.contains(name)).collect();
        assert_eq!(active(&report), right, "{member}: {report:#}");
        for event in available.iter().filter(|name| gone.contains(name)).map(|name| event(&report, name)) {
            // Or the verifier saw that no such field is there, or what the event builds on is gone.
            let last = event["refused"].as_array().unwrap().last();
            let unloadable = last.is_some_and(|refused| {
                let reason = refused["reason"].as_str().unwrap();
                reason.starts_with("the kernel refused to load") || reason.starts_with("it needs the event")
            });
            assert!(event["check"] == "failed" || unloadable, "{member}: {event:#}");
            assert!(event["check_note"] != "" || unloadable, "{member}: {event:#}");
        }
    }
}

/// What is known to be wrong is not served, and `/health` says so.
pub fn wrong_data_is_not_served() {
    let types = Some(types::with_member_moved("sk_err", ANOTHER_ERROR));
    let server = Server::start_in(Environment { types, ..Environment::default() }, &[]);
    let health = server.health();
    assert_eq!((health.status.as_str(), health.running), ("degraded", false), "{health:#?}");
    let state = |name: &str| health.programs.iter().find(|program| program.name == name).unwrap();
    for (name, status, check) in [
        ("connection", "inactive", "failed"),
        ("accept", "inactive", "failed"),
        ("packet_drop", "active", "passed"),
    ] {
        assert_eq!((state(name).status.as_str(), state(name).check.as_str()), (status, check), "{health:#?}");
    }
    let expected = "the error of a refusal was reported as (false, ";
    assert!(state("connection").note.contains(expected), "{}", state("connection").note);
    let to = super::closed_port("127.0.0.1:0");
    assert!(std::net::TcpStream::connect(&to).is_err());
    let mut connections = server.connections(None, None);
    // The other events, `unix` among them, are about other processes too.
    connections.retain(|event| event.protocol == "TCP" && !event.found);
    assert_eq!(connections, []);
    assert!(server.drops().iter().any(|drop| drop.destination.as_deref() == Some(to.as_str())));
    assert_eq!(server.stop(), Some(0));
}

/// A function that the kernel's types do not know cannot be entered; the next rung holds.
pub fn no_such_function() {
    let types = Some(types::without_function("security_sock_graft"));
    let (code, report) = server::doctor(Environment { types, ..Environment::default() });
    assert_eq!(code, Some(doctor_here().0), "{report:#}");
    let accept = event(&report, "accept");
    let refused = accept["refused"].as_array().unwrap().iter().find(|refused| refused["rung"] == "fentry");
    if server::rung() == "kprobe" {
        // A kprobe asks the kernel's symbols, not its types.
        assert_eq!((&accept["rung"], refused), (&Value::from("kprobe"), None), "{report:#}");
    } else {
        assert_eq!(accept["rung"], "tracepoint", "{report:#}");
        let reason = refused.unwrap()["reason"].as_str().unwrap();
        assert!(reason.contains("security_sock_graft"), "{reason}");
    }
}

pub fn no_loopback() {
    let (code, report) = server::doctor(Environment { without_network: true, ..Environment::default() });
    // Nothing is refused for it.
    assert_eq!(code, Some(doctor_here().0), "{report:#}");
    for name in ["connection", "accept", "packet_drop"] {
        let event = event(&report, name);
        assert_eq!((&event["status"], &event["check"]), (&Value::from("active"), &Value::from("undone")));
        let why = event["check_note"].as_str().unwrap();
        assert!(why.starts_with("a connection over the loopback failed"), "{why}");
    }
}

/// The server's own traffic at start is not part of the history.
pub fn canary_leaves_no_trace() {
    let server = Server::start(&[]);
    let own = |process: &str, pid: u32| process == "netspy-server" && pid == server.pid();
    let outbound = server.connections(None, Some("netspy-server")).into_iter();
    let outbound: Vec<_> =
        outbound.filter(|event| own(&event.process, event.pid) && event.direction == "outbound").collect();
    assert_eq!(outbound, []);
    let refused: Vec<_> = server
        .drops()
        .into_iter()
        .filter(|drop| drop.pid == server.pid() && drop.reason == "NO_SOCKET")
        .collect();
    assert_eq!(refused, []);
    assert_eq!(server.stop(), Some(0));
}

/// In confidentiality mode programs may not read the kernel's memory: nothing can be had, and that is said.
pub fn locked_down() {
    let (code, report) = server::doctor(Environment::default());
    assert_eq!((code, active(&report).len()), (Some(1), 0), "{report:#}");
    assert_eq!(finding(&report, "lockdown")["state"], "missing", "{report:#}");
    let refused = &event(&report, "connection")["refused"][0];
    assert!(refused["reason"].as_str().unwrap().contains("locked down (confidentiality)"), "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("lockdown=integrity"), "{refused}");
    assert!(server::fails_to_start(Environment::default()).contains("locked down"));
}
