//! What becomes of a connect.

use std::net::TcpListener;

use super::{acting, assert_established, assert_failed, check, closed_port, drop_rule, only_connection};
use crate::{
    actor::Actor,
    server::{connections_named, connections_of},
};

pub fn established() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let part = acting("actor-ok", &listener.local_addr().unwrap().to_string());
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_established(&event, actor.attempt());
    assert_eq!(event.address_family, 2);
}

pub fn refused() {
    let part = acting("actor-refused", &closed_port("127.0.0.1:0"));
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::ECONNREFUSED);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    assert_eq!(event.source_ip.as_deref(), Some("127.0.0.1"));
    assert_ne!(event.source_port.unwrap(), 0);
}

pub fn refused_from_a_bound_port() {
    let bind = closed_port("127.0.0.1:0");
    let mut part = acting("actor-bound", &closed_port("127.0.0.1:0"));
    part.bind = Some(bind.clone());
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    assert_eq!(event.source, Some(bind));
}

pub fn unreachable() {
    let mut part = acting("actor-noroute", "192.0.2.1:80");
    part.namespace = Some(Vec::new());
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::ENETUNREACH);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "unreachable", "route", libc::ENETUNREACH, "ENETUNREACH");
}

pub fn no_such_host() {
    let mut part = acting("actor-nohost", "192.0.2.2:80");
    // A network of its own with nobody else on it. By its path: a shell built into busybox has an `ip` without veth.
    let commands = [
        "link add here type veth peer name there",
        "address add 192.0.2.1/24 dev here",
        "link set here up",
        "link set there up",
    ];
    part.namespace = Some(commands.map(|command| format!("/usr/sbin/ip {command}")).to_vec());
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::EHOSTUNREACH);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "unreachable", "handshake", libc::EHOSTUNREACH, "EHOSTUNREACH");
    assert_eq!(event.source_ip.as_deref(), Some("192.0.2.1"));
}

pub fn no_free_port() {
    let mut part = acting("actor-noport", "127.0.0.1:90");
    part.namespace = Some(Vec::new());
    part.sysctl = vec![("net/ipv4/ip_local_port_range".into(), "40000 40000".into())];
    part.listen = Some("127.0.0.1:90".into());
    part.times = 2;
    let actor = Actor::run(&part);
    let mut events = connections_of(actor.report.pid);
    // It listens itself: the other end of the first is its own too.
    events.retain(|event| event.direction == "outbound");
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_established(&events[0], &actor.report.attempts[0]);
    assert_eq!(events[0].source.as_deref(), Some("127.0.0.1:40000"));
    assert_eq!(actor.report.attempts[1].errno, libc::EADDRNOTAVAIL);
    assert_failed(&events[1], "failed", "bind", libc::EADDRNOTAVAIL, "EADDRNOTAVAIL");
    assert_eq!(events[1].source, None);
    check(&events[1], &actor, &part, &actor.report.attempts[1]);
}

pub fn timed_out() {
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

pub fn non_blocking() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut part = acting("actor-nb", &listener.local_addr().unwrap().to_string());
    part.non_blocking = true;
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, 0);
    assert_established(&only_connection(&actor, &part), actor.attempt());
}

pub fn non_blocking_refused() {
    let mut part = acting("actor-nb-ref", &closed_port("127.0.0.1:0"));
    part.non_blocking = true;
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::ECONNREFUSED);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
}

pub fn aborted() {
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

pub fn ipv6() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let part = acting("actor-6", &listener.local_addr().unwrap().to_string());
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_established(&event, actor.attempt());
    assert_eq!((event.address_family, event.destination_ip.as_str()), (10, "::1"));
    assert_eq!(event.raw_ipv6, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

pub fn ipv6_refused() {
    let part = acting("actor-6-refused", &closed_port("[::1]:0"));
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    assert_eq!(event.source_ip.as_deref(), Some("::1"));
}

/// The same address may exist at every interface: which one it was is part of the destination.
pub fn link_local() {
    let mut part = acting("actor-ll", "[fe80::1%2]:81");
    let commands = [
        "link add here type veth peer name there",
        "address add fe80::1/64 dev there nodad",
        "link set there up",
        "link set here up",
    ];
    part.namespace = Some(commands.map(|command| format!("/usr/sbin/ip {command}")).to_vec());
    let actor = Actor::run(&part);
    assert_eq!(actor.attempt().errno, libc::ECONNREFUSED);
    let events = connections_of(actor.report.pid);
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_failed(&events[0], "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    assert_eq!(events[0].destination, "[fe80::1%2]:81");
    let source = events[0].source.as_deref().unwrap();
    assert!(source.starts_with("[fe80::1%2]:"), "{source}");
}

pub fn v4_mapped() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut part = acting("actor-mapped", &format!("[::ffff:127.0.0.1]:{port}"));
    part.v6_socket = true;
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_established(&event, actor.attempt());
    assert_eq!((event.address_family, event.destination_ip.as_str()), (10, "127.0.0.1"));
}

pub fn v4_mapped_refused() {
    let port = closed_port("127.0.0.1:0").rsplit_once(':').unwrap().1.to_owned();
    let mut part = acting("actor-mapped-no", &format!("[::ffff:127.0.0.1]:{port}"));
    part.v6_socket = true;
    let actor = Actor::run(&part);
    let event = only_connection(&actor, &part);
    assert_failed(&event, "refused", "handshake", libc::ECONNREFUSED, "ECONNREFUSED");
    assert_eq!(event.source_ip.as_deref(), Some("127.0.0.1"));
    assert_ne!(event.source_port, None);
}

pub fn short_lived() {
    let to = closed_port("127.0.0.1:0");
    let mut part = acting("actor-brief", &to);
    part.short_lived = true;
    let mut pids: Vec<u32> = (0..20).map(|_| Actor::run(&part).report.pid).collect();
    let mut events = connections_named("actor-brief");
    events.retain(|event| pids.contains(&event.pid));
    let mut seen: Vec<u32> = events.iter().map(|event| event.pid).collect();
    pids.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, pids);
    for event in &events {
        assert_eq!((event.outcome.as_str(), &event.destination), ("refused", &to));
        assert_eq!(event.exe.as_deref(), std::env::current_exe().unwrap().to_str());
    }
}

pub fn named_thread() {
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

pub fn hostile_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // A terminal escape, a quote, a newline, and a bidirectional override: 15 bytes.
    let part = acting("\u{1b}[31m\"';\n\u{202e}--x", &listener.local_addr().unwrap().to_string());
    let actor = Actor::run(&part);
    assert_established(&only_connection(&actor, &part), actor.attempt());
    let named = connections_named(&part.name);
    assert_eq!(named.iter().filter(|event| event.pid == actor.report.pid).count(), 1);
}

pub fn several_attempts() {
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
