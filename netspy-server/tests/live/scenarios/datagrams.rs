//! Flows of datagrams: their counters, durations and errors are what the actor's own sockets measured.

use std::{
    net::SocketAddr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use netspy_api::ConnectionEvent;

use super::{acting, assert_failed, closed_port, drop_rule};
use crate::{
    actor::{Actor, Attempt, Counters, Datagrams, Part, echo},
    server::{connections_named, connections_of, program, says_why},
};

/// Whether this kernel lets netspy see what passes through sockets of this event; where it does not, netspy must
/// have said so, and must not have made anything up.
pub fn watched(event: &str, actor: &Actor) -> bool {
    let program = program(event);
    if matches!(program.rung.as_str(), "kprobe" | "fentry") {
        return true;
    }
    assert!(says_why(&program), "{program:#?}");
    assert!(program.status == "inactive" || program.note.contains("connects only"), "{program:#?}");
    let made_up = |flow: &ConnectionEvent| flow.packets_sent.is_some() || flow.ending.is_some();
    assert!(!connections_of(actor.report.pid).iter().any(made_up));
    false
}

fn peer(any: &str) -> String {
    echo(any.parse().unwrap()).to_string()
}

fn run(name: &str, to: &str, datagrams: Datagrams, more: impl FnOnce(&mut Part)) -> (Part, Actor) {
    let mut part = acting(name, to);
    part.datagrams = Some(datagrams);
    more(&mut part);
    let actor = Actor::run(&part);
    (part, actor)
}

fn counters(flow: &ConnectionEvent) -> Counters {
    Counters {
        packets_sent: flow.packets_sent.unwrap(),
        bytes_sent: flow.bytes_sent.unwrap(),
        packets_received: flow.packets_received.unwrap(),
        bytes_received: flow.bytes_received.unwrap(),
    }
}

/// Everything but the addresses.
fn assert_flow(flow: &ConnectionEvent, actor: &Actor, attempt: &Attempt, outcome: &str) {
    let report = &actor.report;
    assert_eq!((flow.pid, flow.tid, flow.uid), (report.pid, report.tid, report.uid));
    assert_eq!(flow.netns, Some(report.netns));
    assert_eq!(flow.outcome, outcome, "{flow:#?}");
    assert_eq!(counters(flow), attempt.counters, "{flow:#?}");
    let latency = flow.latency_us.unwrap_or(0);
    assert!(latency <= attempt.took_us + 1, "{latency} µs, but all of it took {} µs", attempt.took_us);
}

fn assert_closed(flow: &ConnectionEvent, attempt: &Attempt) {
    assert_eq!(flow.ending.as_deref(), Some("closed_locally"), "{flow:#?}");
    let duration = flow.duration_us.unwrap();
    assert!(duration <= attempt.lasted_us + 1, "{duration} µs of {} µs", attempt.lasted_us);
}

/// A connected socket, an empty datagram among the others, and one, the first that comes, that is looked at before it is taken.
fn conversation(name: &str, to: &str, send: [usize; 3], v6_socket: bool) {
    let datagrams = Datagrams {
        connect: true,
        send: send.to_vec(),
        receive: 3,
        peek: 1,
        close: true,
        ..Datagrams::default()
    };
    let (part, actor) = run(name, to, datagrams, |part| part.v6_socket = v6_socket);
    let flows = connections_of(actor.report.pid);
    assert_eq!(flows.len(), 1, "{flows:#?}");
    let (flow, attempt) = (&flows[0], actor.attempt());
    let to: SocketAddr = part.to.parse().unwrap();
    assert_eq!(flow.destination, SocketAddr::new(to.ip().to_canonical(), to.port()).to_string());
    assert_eq!((flow.protocol.as_str(), flow.socket_type.as_str()), ("UDP", "DGRAM"));
    assert_eq!((flow.direction.as_str(), &flow.source), ("outbound", &attempt.source));
    assert_eq!(attempt.counters.bytes_sent, 1405);
    if watched("udp", &actor) {
        assert_flow(flow, &actor, attempt, "established");
        assert_closed(flow, attempt);
    } else {
        assert_eq!(flow.outcome, "unanswered");
    }
}

pub fn connected() {
    conversation("actor-udp-c", &peer("127.0.0.1:0"), [5, 0, 1400], false);
}

/// The length of an empty one does not say whether it was taken.
pub fn empty_is_peeked_at() {
    conversation("actor-udp-e", &peer("127.0.0.1:0"), [0, 5, 1400], false);
    conversation("actor-udp-e6", &peer("[::1]:0"), [0, 5, 1400], false);
}

pub fn connected_v6() {
    conversation("actor-udp-c6", &peer("[::1]:0"), [5, 0, 1400], false);
}

pub fn v4_mapped() {
    let to: SocketAddr = peer("127.0.0.1:0").parse().unwrap();
    conversation("actor-udp-map", &format!("[::ffff:127.0.0.1]:{}", to.port()), [5, 0, 1400], true);
}

/// Without connect, by IPv4, IPv6 and a v4-mapped address: the source is known from the datagrams.
pub fn unconnected() {
    let v4 = peer("127.0.0.1:0");
    let mapped = format!("[::ffff:127.0.0.1]:{}", v4.rsplit_once(':').unwrap().1);
    for (to, shown, v6) in
        [(v4.clone(), v4.clone(), false), (peer("[::1]:0"), String::new(), false), (mapped, v4.clone(), true)]
    {
        let datagrams = Datagrams { send: vec![7; 10], receive: 10, close: true, ..Datagrams::default() };
        let (part, actor) = run("actor-udp-u", &to, datagrams, |part| part.v6_socket = v6);
        if !watched("udp", &actor) {
            continue;
        }
        let flows = connections_of(actor.report.pid);
        assert_eq!(flows.len(), 1, "{flows:#?}");
        assert_eq!(flows[0].destination, if shown.is_empty() { part.to.clone() } else { shown });
        assert_flow(&flows[0], &actor, actor.attempt(), "established");
        assert_closed(&flows[0], actor.attempt());
        let port = flows[0].source_port.unwrap();
        assert_ne!(port, 0);
        assert_eq!(
            flows[0].source_ip.as_deref(),
            Some(if part.to.contains("::1") { "::1" } else { "127.0.0.1" })
        );
    }
}

/// The counters of a flow that is not over are in the answer too.
pub fn open_flow() {
    let datagrams = Datagrams { send: vec![100; 3], receive: 3, ..Datagrams::default() };
    let (_, actor) = run("actor-udp-open", &peer("127.0.0.1:0"), datagrams, |_| {});
    if watched("udp", &actor) {
        let flows = connections_of(actor.report.pid);
        assert_eq!(flows.len(), 1, "{flows:#?}");
        assert_flow(&flows[0], &actor, actor.attempt(), "established");
        assert_eq!((&flows[0].ending, flows[0].duration_us), (&None, None));
    }
}

/// The peer sends first.
pub fn inbound() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (from, to) = (socket.local_addr().unwrap().to_string(), closed_port("127.0.0.1:0"));
    let mut part = acting("actor-udp-in", "");
    part.bind = Some(to.clone());
    part.datagrams =
        Some(Datagrams { answer: true, send: vec![300, 1], close: true, ..Datagrams::default() });
    let sender = std::thread::spawn({
        let to = to.clone();
        move || {
            // The actor may not be there yet, or never come.
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            for _ in 0..400 {
                if socket.recv(&mut [0; 400]).is_ok() {
                    break;
                }
                let _ = socket.send_to(&[1; 20], &to);
            }
        }
    });
    let actor = Actor::run(&part);
    sender.join().unwrap();
    if watched("udp", &actor) {
        let flows = connections_of(actor.report.pid);
        assert_eq!(flows.len(), 1, "{flows:#?}");
        assert_eq!(flows[0].direction, "inbound");
        assert_eq!((flows[0].source.as_ref(), &flows[0].destination), (Some(&from), &to));
        assert_flow(&flows[0], &actor, actor.attempt(), "established");
        assert_closed(&flows[0], actor.attempt());
    }
}

/// An ICMP port unreachable reaches a connected socket.
pub fn refused() {
    let datagrams =
        Datagrams { connect: true, send: vec![9], receive: 1, close: true, ..Datagrams::default() };
    let (_, actor) = run("actor-udp-ref", &closed_port("127.0.0.1:0"), datagrams, |_| {});
    assert_eq!(actor.attempt().errno, libc::ECONNREFUSED);
    if watched("udp", &actor) {
        let flows = connections_of(actor.report.pid);
        assert_eq!(flows.len(), 1, "{flows:#?}");
        assert_flow(&flows[0], &actor, actor.attempt(), "refused");
        assert_eq!((flows[0].return_code, flows[0].stage.as_deref()), (-111, Some("handshake")));
        assert_closed(&flows[0], actor.attempt());
        assert_eq!(flows[0].ending_errno_name.as_deref(), Some("ECONNREFUSED"));
    }
}

/// It proves nothing about the peer that a datagram was sent to it.
pub fn unanswered() {
    let datagrams = Datagrams { send: vec![9], close: true, ..Datagrams::default() };
    let (_, actor) = run("actor-udp-no", &closed_port("127.0.0.1:0"), datagrams, |_| {});
    if watched("udp", &actor) {
        let flows = connections_of(actor.report.pid);
        assert_eq!(flows.len(), 1, "{flows:#?}");
        assert_flow(&flows[0], &actor, actor.attempt(), "unanswered");
        assert_eq!((flows[0].errno, flows[0].latency_us), (None, None));
        assert_closed(&flows[0], actor.attempt());
    }
}

pub fn unreachable() {
    for to in ["192.0.2.1:53", "[2001:db8::1]:53"] {
        let datagrams = Datagrams { connect: true, close: true, ..Datagrams::default() };
        let (part, actor) = run("actor-udp-nort", to, datagrams, |part| part.namespace = Some(Vec::new()));
        assert_eq!(actor.attempt().errno, libc::ENETUNREACH);
        let flows = connections_of(actor.report.pid);
        assert_eq!(flows.len(), 1, "{flows:#?}");
        assert_failed(&flows[0], "unreachable", "route", libc::ENETUNREACH, "ENETUNREACH");
        assert_eq!((&flows[0].destination, flows[0].protocol.as_str()), (&part.to, "UDP"));
        assert_eq!(flows[0].netns, Some(actor.report.netns));
    }
}

/// `getaddrinfo` does this to learn its source address: nothing is ever sent.
pub fn unused() {
    let datagrams = Datagrams { connect: true, close: true, ..Datagrams::default() };
    let (part, actor) = run("actor-udp-unused", "127.0.0.1:53", datagrams, |part| part.times = 5);
    let flows = connections_of(actor.report.pid);
    assert_eq!(flows.len(), 5, "{flows:#?}");
    for (flow, attempt) in flows.iter().zip(&actor.report.attempts) {
        assert_eq!((&flow.destination, flow.outcome.as_str()), (&part.to, "unanswered"));
        assert_eq!((&flow.source, flow.packets_sent), (&attempt.source, None));
    }
    if watched("udp", &actor) {
        for (flow, attempt) in flows.iter().zip(&actor.report.attempts) {
            assert_closed(flow, attempt);
        }
    }
}

/// Two hundred flows of twenty processes, each with its owner and its counters.
pub fn many() {
    let to = peer("127.0.0.1:0");
    let datagrams = Datagrams { send: vec![64], receive: 1, close: true, ..Datagrams::default() };
    let actors: Vec<_> =
        (0..20).map(|_| run("actor-udp-many", &to, datagrams.clone(), |part| part.times = 10).1).collect();
    if !watched("udp", &actors[0]) {
        return;
    }
    let mut named = connections_named("actor-udp-many");
    named.retain(|event| actors.iter().any(|actor| actor.report.pid == event.pid));
    assert_eq!(named.len(), 200);
    for actor in &actors {
        let flows = connections_of(actor.report.pid);
        assert_eq!(flows.len(), 10, "{flows:#?}");
        for (flow, attempt) in flows.iter().zip(&actor.report.attempts) {
            assert_flow(flow, actor, attempt, "established");
            assert_closed(flow, attempt);
        }
    }
}

/// An address that means another host on each interface says which.
pub fn link_local() {
    let commands = [
        "link add d0 type veth peer name d1",
        "address add fe80::1/64 dev d1 nodad",
        "link set d1 up",
        "link set d0 up",
    ];
    let datagrams = Datagrams { send: vec![3], close: true, ..Datagrams::default() };
    let (_, actor) = run("actor-udp-ll", "[fe80::2%2]:9", datagrams.clone(), |part| {
        part.namespace = Some(commands.map(|command| format!("/usr/sbin/ip {command}")).to_vec());
    });
    let connect = Datagrams { connect: true, ..datagrams };
    let (_, connected) = run("actor-udp-llc", "[fe80::2%2]:9", connect, |part| {
        part.namespace = Some(commands.map(|command| format!("/usr/sbin/ip {command}")).to_vec());
    });
    let flows = connections_of(connected.report.pid);
    assert_eq!(flows.len(), 1, "{flows:#?}");
    assert_eq!(flows[0].destination, "[fe80::2%2]:9");
    if watched("udp", &actor) {
        let flows = connections_of(actor.report.pid);
        assert_eq!(flows.len(), 1, "{flows:#?}");
        assert_eq!(flows[0].destination, "[fe80::2%2]:9");
        assert_flow(&flows[0], &actor, actor.attempt(), "unanswered");
    }
}

/// ICMP echo through a socket for it, and through a raw one, which also hears the request.
pub fn ping_and_raw() {
    for (name, raw, receive, socket_type) in
        [("actor-ping", false, 1, "DGRAM"), ("actor-raw", true, 2, "RAW")]
    {
        let datagrams = Datagrams {
            ping: true,
            raw,
            send: vec![64],
            peek: 1,
            receive,
            close: true,
            ..Datagrams::default()
        };
        let (_, actor) = run(name, "127.0.0.1:0", datagrams, |part| {
            part.namespace = Some(Vec::new());
            part.sysctl = vec![("net/ipv4/ping_group_range".into(), "0 0".into())];
        });
        assert_eq!(actor.attempt().errno, 0);
        if watched("raw", &actor) {
            let flows = connections_of(actor.report.pid);
            assert_eq!(flows.len(), 1, "{flows:#?}");
            assert_eq!((flows[0].protocol.as_str(), flows[0].socket_type.as_str()), ("ICMP", socket_type));
            assert_eq!(flows[0].destination, "127.0.0.1");
            assert_flow(&flows[0], &actor, actor.attempt(), "established");
            assert_closed(&flows[0], actor.attempt());
        }
    }
}

/// A socket that stays open and silent, and when it fell silent.
static IDLE_FLOW: OnceLock<(Actor, Instant)> = OnceLock::new();

/// Begins with it, so that nobody has to wait for it later.
pub fn begin_idle_flow() -> &'static (Actor, Instant) {
    IDLE_FLOW.get_or_init(|| {
        let datagrams = Datagrams { send: vec![8; 2], receive: 2, ..Datagrams::default() };
        let (_, actor) = run("actor-udp-idle", &peer("127.0.0.1:0"), datagrams, |_| {});
        (actor, Instant::now())
    })
}

pub fn idle() {
    let (actor, silent_since) = begin_idle_flow();
    if watched("udp", actor) {
        std::thread::sleep(Duration::from_secs(32).saturating_sub(silent_since.elapsed()));
        let flows = connections_of(actor.report.pid);
        assert_eq!(flows.len(), 1, "{flows:#?}");
        assert_flow(&flows[0], actor, actor.attempt(), "established");
        assert_eq!(flows[0].ending.as_deref(), Some("idle"));
        assert!(flows[0].duration_us.unwrap() <= actor.attempt().took_us + 1);
    }
}

/// A datagram that a rule drops on its way out is its flow's.
pub fn dropped_on_its_way_out() {
    let datagrams = Datagrams { connect: true, send: vec![8], ..Datagrams::default() };
    let (part, actor) = run("actor-udp-rule", "127.0.0.1:81", datagrams, |part| {
        let mut rules = drop_rule("output");
        rules.push("nft add rule inet t c udp dport 81 drop".to_owned());
        part.namespace = Some(rules);
    });
    if watched("udp", &actor) {
        let found = super::drops::drops_between(actor.attempt().source.as_deref().unwrap(), &part.to);
        super::drops::assert_owner(&found[0], &actor, "socket");
    }
}
