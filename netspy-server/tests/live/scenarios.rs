//! The table. A row acts, asks the server, and compares every fact with what the actor itself saw.

use std::net::TcpListener;

use netspy_api::{ConnectionEvent, DropEvent};

use crate::{
    actor::{Actor, Attempt, Part},
    server::{self, connections_named, connections_of, drops, rung},
};

/// Name and body of each scenario.
pub const TABLE: &[(&str, fn())] = &[
    ("connect_is_established_with_its_latency", established),
    ("connect_to_a_closed_port_is_refused", refused),
    ("connect_from_a_bound_port_keeps_it", refused_from_a_bound_port),
    ("connect_without_a_route_is_unreachable", unreachable),
    ("connect_without_a_free_port_fails_at_bind", no_free_port),
    ("connect_that_nobody_answers_times_out", timed_out),
    ("non_blocking_connect_is_established", non_blocking),
    ("non_blocking_connect_is_refused", non_blocking_refused),
    ("non_blocking_connect_given_up_is_aborted", aborted),
    ("ipv6_connect_is_established", ipv6),
    ("ipv6_connect_is_refused", ipv6_refused),
    ("v4_mapped_connect_is_one_event", v4_mapped),
    ("v4_mapped_connect_is_refused_once", v4_mapped_refused),
    ("short_lived_processes_are_all_there", short_lived),
    ("a_thread_with_its_own_name_is_found_by_both_names", named_thread),
    ("a_hostile_name_is_data", hostile_name),
    ("a_socket_that_tries_again_is_two_events", several_attempts),
    ("a_segment_to_a_closed_port_is_dropped", drop_to_closed_tcp_port),
    ("a_datagram_to_a_closed_port_is_dropped", drop_to_closed_udp_port),
    ("an_ipv6_datagram_to_a_closed_port_is_dropped", drop_to_closed_udp_port_v6),
    ("a_packet_dropped_by_a_rule_on_its_way_out_has_its_owner", drop_by_output_rule),
    ("a_packet_dropped_by_a_rule_on_its_way_in_has_no_wrong_owner", drop_by_input_rule),
    ("a_recording_replays_to_the_same_answers", recording),
    ("the_programs_own_words_are_in_the_log_only_when_asked_for", programs_log),
];

/// A port on which nobody listens.
fn closed_port(any: &str) -> String {
    TcpListener::bind(any).unwrap().local_addr().unwrap().to_string()
}

/// A part that connects to `to`. Starting it makes sure that the server is already watching.
fn acting(name: &str, to: &str) -> Part {
    rung();
    Part { name: name.to_owned(), to: to.to_owned(), ..Part::default() }
}

/// nft commands that make a rule for port 81 at a hook.
fn drop_rule(hook: &str) -> Vec<String> {
    vec![
        "nft add table inet t".to_owned(),
        format!("nft add chain inet t c '{{ type filter hook {hook} priority 0; }}'"),
        "nft add rule inet t c tcp dport 81 drop".to_owned(),
    ]
}

/// The one connection of an actor, checked against everything that the actor knows about itself.
fn only_connection(actor: &Actor, part: &Part) -> ConnectionEvent {
    let events = connections_of(actor.report.pid);
    assert_eq!(events.len(), 1, "{events:#?}");
    check(&events[0], actor, part, actor.attempt());
    events.into_iter().next().unwrap()
}

fn check(event: &ConnectionEvent, actor: &Actor, part: &Part, attempt: &Attempt) {
    let report = &actor.report;
    assert_eq!((event.pid, event.tid, event.uid), (report.pid, report.tid, report.uid));
    assert_eq!(event.process, part.name);
    assert_eq!(&event.command, part.thread.as_ref().unwrap_or(&part.name));
    assert_eq!(event.netns, Some(report.netns));
    assert_eq!(event.exe.as_deref(), std::env::current_exe().unwrap().to_str());
    let to: std::net::SocketAddr = part.to.parse().unwrap();
    assert_eq!(event.destination, std::net::SocketAddr::new(to.ip().to_canonical(), to.port()).to_string());
    assert_eq!(event.destination_port, to.port());
    assert_eq!(event.protocol, "TCP");
    assert_eq!(event.direction, "outbound");
    if attempt.source.is_some() {
        assert_eq!(event.source, attempt.source);
    }
}

fn assert_established(event: &ConnectionEvent, attempt: &Attempt) {
    assert_eq!(event.outcome, "established");
    assert_eq!((event.errno, event.return_code, &event.stage), (None, 0, &None));
    let latency = event.latency_us.unwrap();
    assert!(latency <= attempt.took_us + 1, "{latency} µs, but the caller waited {} µs", attempt.took_us);
    assert!(attempt.source.is_some());
}

fn assert_failed(event: &ConnectionEvent, outcome: &str, stage: &str, errno: i32, name: &str) {
    assert_eq!(event.outcome, outcome, "{event:#?}");
    assert_eq!(event.stage.as_deref(), Some(stage));
    assert_eq!(event.errno, Some(errno.unsigned_abs()));
    assert_eq!(event.errno_name.as_deref(), Some(name));
    assert_eq!(event.return_code, -errno);
}

fn established() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let part = acting("actor-ok", &listener.local_addr().unwrap().to_string());
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_established(&event, actor.attempt());
    assert_eq!(event.address_family, 2);
}

fn refused() {
    let part = acting("actor-refused", &closed_port("127.0.0.1:0"));
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::ECONNREFUSED);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    assert_eq!(event.source_ip.as_deref(), Some("127.0.0.1"));
    assert_ne!(event.source_port.unwrap(), 0);
}

fn refused_from_a_bound_port() {
    let bind = closed_port("127.0.0.1:0");
    let mut part = acting("actor-bound", &closed_port("127.0.0.1:0"));
    part.bind = Some(bind.clone());
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    assert_eq!(event.source, Some(bind));
}

fn unreachable() {
    let mut part = acting("actor-noroute", "192.0.2.1:80");
    part.namespace = Some(Vec::new());
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::ENETUNREACH);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "unreachable", "route", libc::ENETUNREACH, "ENETUNREACH");
}

fn no_free_port() {
    let mut part = acting("actor-noport", "127.0.0.1:90");
    part.namespace = Some(Vec::new());
    part.sysctl = vec![("net/ipv4/ip_local_port_range".into(), "40000 40000".into())];
    part.listen = Some("127.0.0.1:90".into());
    part.times = 2;
    let actor = Actor::run(&part);
    let events = connections_of(actor.report.pid);
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_established(&events[0], &actor.report.attempts[0]);
    assert_eq!(events[0].source.as_deref(), Some("127.0.0.1:40000"));
    assert_eq!(actor.report.attempts[1].errno, libc::EADDRNOTAVAIL);
    assert_failed(&events[1], "failed", "bind", libc::EADDRNOTAVAIL, "EADDRNOTAVAIL");
    assert_eq!(events[1].source, None);
    check(&events[1], &actor, &part, &actor.report.attempts[1]);
}

fn timed_out() {
    let mut part = acting("actor-timeout", "127.0.0.1:81");
    part.namespace = Some(drop_rule("input"));
    part.sysctl = vec![("net/ipv4/tcp_syn_retries".into(), "1".into())];
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::ETIMEDOUT);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "timed_out", "handshake", libc::ETIMEDOUT, "ETIMEDOUT");
    let (latency, took) = (event.latency_us.unwrap(), actor.attempt().took_us);
    assert!(latency <= took + 1 && latency + 500_000 > took, "{latency} µs of {took} µs");
}

fn non_blocking() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut part = acting("actor-nb", &listener.local_addr().unwrap().to_string());
    part.non_blocking = true;
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, 0);
    assert_established(&only_connection(&actor, &part), actor.attempt());
}

fn non_blocking_refused() {
    let mut part = acting("actor-nb-ref", &closed_port("127.0.0.1:0"));
    part.non_blocking = true;
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::ECONNREFUSED);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
}

fn aborted() {
    let mut part = acting("actor-abort", "127.0.0.1:81");
    part.namespace = Some(drop_rule("input"));
    part.close_at_once = true;
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::EINPROGRESS);
    let event = only_connection(&actor, &part);
    assert_eq!(event.outcome, "aborted");
    assert_eq!((event.errno, event.return_code), (None, 0));
    assert!(actor.attempt().source.is_some());
}

fn ipv6() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let part = acting("actor-6", &listener.local_addr().unwrap().to_string());
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_established(&event, actor.attempt());
    assert_eq!((event.address_family, event.destination_ip.as_str()), (10, "::1"));
    assert_eq!(event.raw_ipv6, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

fn ipv6_refused() {
    let part = acting("actor-6-refused", &closed_port("[::1]:0"));
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    assert_eq!(event.source_ip.as_deref(), Some("::1"));
}

fn v4_mapped() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut part = acting("actor-mapped", &format!("[::ffff:127.0.0.1]:{port}"));
    part.v6_socket = true;
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_established(&event, actor.attempt());
    assert_eq!((event.address_family, event.destination_ip.as_str()), (10, "127.0.0.1"));
}

fn v4_mapped_refused() {
    let port = closed_port("127.0.0.1:0").rsplit_once(':').unwrap().1.to_owned();
    let mut part = acting("actor-mapped-no", &format!("[::ffff:127.0.0.1]:{port}"));
    part.v6_socket = true;
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    assert_eq!(event.source_ip.as_deref(), Some("127.0.0.1"));
    assert_ne!(event.source_port, None);
}

fn short_lived() {
    let to = closed_port("127.0.0.1:0");
    let mut part = acting("actor-brief", &to);
    part.short_lived = true;
    let mut pids: Vec<u32> = (0..20).map(|_| Actor::run(&part).report.pid).collect();
    let events = connections_named("actor-brief");
    let mut seen: Vec<u32> = events.iter().map(|event| event.pid).collect();
    pids.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, pids);
    for event in &events {
        assert_eq!((event.outcome.as_str(), &event.destination), ("refused", &to));
        // The process may be gone before its executable could be read; it must never be another's.
        assert!(event.exe.is_none() || event.exe.as_deref() == std::env::current_exe().unwrap().to_str());
    }
}

fn named_thread() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut part = acting("actor-threads", &listener.local_addr().unwrap().to_string());
    part.thread = Some("worker 7".to_owned());
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_ne!(event.tid, event.pid);
    for name in ["worker 7", "actor-threads"] {
        let found = connections_named(name);
        assert!(found.iter().any(|found| found.id == event.id), "not found as {name}");
    }
}

fn hostile_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // A terminal escape, a quote, a newline, and a bidirectional override: 15 bytes.
    let part = acting("\u{1b}[31m\"';\n\u{202e}--x", &listener.local_addr().unwrap().to_string());
    let actor = Actor::run(&part);
    assert_established(&only_connection(&actor, &part), actor.attempt());
    assert_eq!(connections_named(&part.name).len(), 1);
}

fn several_attempts() {
    let mut part = acting("actor-again", &closed_port("127.0.0.1:0"));
    part.times = 3;
    let actor = Actor::run(&part);
    let events = connections_of(actor.report.pid);
    assert_eq!(events.len(), 3, "{events:#?}");
    for (event, attempt) in events.iter().zip(&actor.report.attempts) {
        check(event, &actor, &part, attempt);
        assert_failed(event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    }
}

/// Whether the running kernel gives drop reasons (5.17 and later): the scenarios then expect its name.
fn kernel_gives_reasons() -> bool {
    !server::health().programs.iter().any(|program| program.note.contains("gives no drop reasons"))
}

/// The drops between two ends; there must be at least one.
fn drops_between(source: &str, destination: &str) -> Vec<DropEvent> {
    let between = |drop: &DropEvent| {
        drop.source.as_deref() == Some(source) && drop.destination.as_deref() == Some(destination)
    };
    let found: Vec<_> = drops().into_iter().filter(between).collect();
    assert!(!found.is_empty(), "no drop from {source} to {destination} among {:#?}", drops());
    found
}

fn assert_reason(drop: &DropEvent, reason: &str, code_in: &[&str]) {
    let expected = if kernel_gives_reasons() { reason } else { "UNCLASSIFIED" };
    assert_eq!(drop.drop_reason, expected, "{drop:#?}");
    assert_eq!(drop.reason, drop.drop_reason);
    let symbol = drop.location.split('+').next().unwrap();
    assert!(code_in.contains(&symbol), "dropped at {}", drop.location);
}

fn assert_owner(drop: &DropEvent, actor: &Actor, attribution: &str) {
    assert_eq!(drop.attribution, attribution, "{drop:#?}");
    assert_eq!(drop.pid, actor.report.pid);
    assert_eq!(drop.tid, Some(actor.report.tid));
    assert_eq!(drop.uid, Some(actor.report.uid));
}

fn drop_to_closed_tcp_port() {
    let part = acting("actor-drop", &closed_port("127.0.0.1:0"));
    let actor = Actor::run(&part);
    let connection = only_connection(&actor, &part);
    let found = drops_between(connection.source.as_deref().unwrap(), &part.to);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_reason(&found[0], "NO_SOCKET", &["tcp_v4_rcv"]);
    assert_owner(&found[0], &actor, "tuple");
    assert_eq!(found[0].command, "actor-drop");
    assert_eq!((found[0].protocol.as_str(), found[0].interface_index), ("TCP", Some(1)));
    assert_eq!(found[0].netns, Some(actor.report.netns));
    assert!(found[0].skb_length >= 40);
}

fn drop_to_closed_udp_port() {
    datagram("127.0.0.1:0", 20 + 8, &["__udp4_lib_rcv", "udp_rcv", "udp_unicast_rcv_skb"]);
}

fn drop_to_closed_udp_port_v6() {
    datagram("[::1]:0", 40 + 8, &["__udp6_lib_rcv", "udpv6_rcv"]);
}

/// A datagram's owner is not followed yet: it must be nobody, not somebody else.
fn datagram(any: &str, headers: u32, code_in: &[&str]) {
    let to = std::net::UdpSocket::bind(any).unwrap().local_addr().unwrap().to_string();
    let mut part = acting("actor-udp", &to);
    part.datagram = true;
    let actor = Actor::run(&part);
    let found = drops_between(actor.attempt().source.as_deref().unwrap(), &to);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_reason(&found[0], "NO_SOCKET", code_in);
    assert_eq!((found[0].attribution.as_str(), found[0].pid), ("none", 0));
    assert_eq!(found[0].protocol, "UDP");
    // Where the kernel drops it the headers before the data may or may not count any more.
    let (length, data) = (found[0].skb_length, 5);
    assert!([data, 8 + data, headers + data].contains(&length), "{length} bytes");
}

fn drop_by_output_rule() {
    let mut part = acting("actor-out", "127.0.0.1:81");
    part.namespace = Some(drop_rule("output"));
    part.close_at_once = true;
    let actor = Actor::run(&part);
    only_connection(&actor, &part);
    let found = drops_between(actor.attempt().source.as_deref().unwrap(), &part.to);
    assert_reason(&found[0], "NETFILTER_DROP", &["nf_hook_slow", "nft_do_chain", "nft_do_chain_inet"]);
    assert_owner(&found[0], &actor, "socket");
    assert_eq!(found[0].netns, Some(actor.report.netns));
}

fn drop_by_input_rule() {
    let mut part = acting("actor-in", "127.0.0.1:81");
    part.namespace = Some(drop_rule("input"));
    part.close_at_once = true;
    let actor = Actor::run(&part);
    only_connection(&actor, &part);
    let found = drops_between(actor.attempt().source.as_deref().unwrap(), &part.to);
    assert_reason(&found[0], "NETFILTER_DROP", &["nf_hook_slow", "nft_do_chain", "nft_do_chain_inet"]);
    assert_owner(&found[0], &actor, "tuple");
}

fn recording() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let recorder = server::Server::start(&["--record", path]);
    let parts = [
        acting("actor-rec-ok", &listener.local_addr().unwrap().to_string()),
        acting("actor-rec-no", &closed_port("127.0.0.1:0")),
        Part { datagram: true, ..acting("actor-rec-udp", &closed_port("127.0.0.1:0")) },
    ];
    let datagram_to = parts[2].to.clone();
    let actors = parts.map(|part| Actor::run(&part));
    let pids: Vec<u32> = actors.iter().map(|actor| actor.report.pid).collect();
    // Both servers see everything that the machine does; what these three did is what must be the same.
    let seen = |server: &server::Server| -> (Vec<_>, Vec<_>) {
        let connections = pids.iter().flat_map(|pid| server.connections(Some(*pid), None)).collect();
        let mut drops = server.drops();
        drops.retain(|drop| pids.contains(&drop.pid) || drop.destination.as_ref() == Some(&datagram_to));
        (connections, drops)
    };
    let live = seen(&recorder);
    assert_eq!(live.0.len(), 2, "{live:#?}");
    for protocol in ["TCP", "UDP"] {
        let found = live.1.iter().any(|drop| drop.protocol == protocol);
        assert!(found, "no {protocol} drop in {live:#?} but {:#?}", recorder.drops());
    }
    assert_eq!(recorder.stop(), Some(0));
    let replay = server::Server::start(&["--replay", path]);
    assert_eq!(seen(&replay), live);
    assert_eq!(replay.stop(), Some(0));
}

fn programs_log() {
    let part = acting("actor-log", &closed_port("127.0.0.1:0"));
    for (words, spoken) in [(&["-vv"][..], true), (&["-v"], false)] {
        let server = server::Server::start(words);
        let actor = Actor::run(&part);
        assert_eq!(server.connections(Some(actor.report.pid), None).len(), 1);
        assert_eq!(server.stop(), Some(0));
        let said = server.log().contains(&format!("connect tgid {} errno 0", actor.report.pid));
        assert_eq!(said, spoken, "{words:?}: {}", server.log());
    }
}

/// More attempts than fit into the ring while the server does not read: the ledger must account for every
/// single one. Runs alone, after the server that the other scenarios share has ended.
pub fn full_rings() {
    const ATTEMPTS: usize = 60_000;
    let server = server::Server::start(&[]);
    let part = Part {
        name: "actor-flood".to_owned(),
        to: closed_port("127.0.0.1:0"),
        times: ATTEMPTS,
        ..Part::default()
    };
    // The questions go over this connection: a new one would be one more attempt that may be lost.
    server.health();
    server.signal(rustix::process::Signal::STOP);
    let actor = Actor::run(&part);
    server.signal(rustix::process::Signal::CONT);
    assert_eq!(actor.report.attempts.len(), ATTEMPTS);

    let summary = server.summary("actor-flood");
    let lost = summary.lost.unwrap().by_place;
    let (refused, pending) =
        (summary.outcomes["refused"], summary.outcomes.get("pending").copied().unwrap_or(0));
    assert_eq!(refused + pending, summary.count, "{:?}", summary.outcomes);
    // A lost attempt is counted once and is not there; a lost outcome is counted once and leaves it pending.
    let lost_attempts = ATTEMPTS as u64 - summary.count;
    assert!(lost_attempts > 0, "the ring never filled");
    assert_eq!(lost.get("events_ring_full"), Some(&(lost_attempts + pending)), "{lost:?}");

    let drops = server.drop_summary();
    let lost_drops = drops.lost.unwrap().by_place.get("drops_ring_full").copied().unwrap_or(0);
    assert!(drops.count + lost_drops >= ATTEMPTS as u64, "{} drops, {lost_drops} lost", drops.count);

    // And after a flood everything is as before.
    let after = Actor::run(&Part { name: "actor-after".to_owned(), times: 1, ..part });
    assert_eq!(server.summary("actor-after").outcomes["refused"], after.report.attempts.len() as u64);
    assert_eq!(server.stop(), Some(0));
}
