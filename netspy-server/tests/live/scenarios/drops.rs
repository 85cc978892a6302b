//! What becomes of a packet, and whose it was.

use std::time::{Duration, Instant};

use netspy_api::DropEvent;
use netspy_server::{domain::is_explained, source::Replay};

use super::{acting, closed_port, datagrams, drop_rule, only_connection};
use crate::{
    actor::{Actor, Datagrams},
    server::{self, Server, drops},
};

/// How long a drop waits for its connection (docs/architecture.md).
const DROP_PATIENCE_US: u64 = 20_000;

/// Whether the running kernel gives drop reasons (5.17 and later): the scenarios then expect its name.
pub fn kernel_gives_reasons() -> bool {
    !server::health().programs.iter().any(|program| program.note.contains("gives no drop reasons"))
}

/// The drops between two ends; there must be at least one.
pub fn drops_between(source: &str, destination: &str) -> Vec<DropEvent> {
    let between = |drop: &DropEvent| {
        drop.source.as_deref() == Some(source) && drop.destination.as_deref() == Some(destination)
    };
    let mut found: Vec<_> = drops().into_iter().filter(between).collect();
    let Some(newest_ns) = found.last().map(|drop| drop.timestamp) else {
        panic!("no drop from {source} to {destination} among {:#?}", drops());
    };
    // Minutes ago somebody in another network may have had the same port.
    found.retain(|drop| newest_ns - drop.timestamp < 5_000_000_000);
    found
}

fn assert_reason(drop: &DropEvent, reason: &str, code_in: &[&str]) {
    let expected = if kernel_gives_reasons() { reason } else { "UNCLASSIFIED" };
    assert_eq!(drop.drop_reason, expected, "{drop:#?}");
    assert_eq!(drop.reason, drop.drop_reason);
    assert_eq!(drop.class, if kernel_gives_reasons() { "harmful" } else { "unclassified" });
    assert!(drop.explanation.ends_with('.'), "{drop:#?}");
    let symbol = drop.location.split('+').next().unwrap();
    assert!(code_in.contains(&symbol) || is_its_own_place(&drop.location), "dropped at {}", drop.location);
}

/// Where a compiler has split `kfree_skb` in two (Debian's 5.10 for arm64; later kernels forbid it), its second half takes the first
/// for the caller, and the kernel tells that as the place of every drop.
pub fn is_its_own_place(location: &str) -> bool {
    cfg!(target_arch = "aarch64") && !kernel_gives_reasons() && location.starts_with("kfree_skb+")
}

pub fn assert_owner(drop: &DropEvent, actor: &Actor, attribution: &str) {
    assert_eq!(drop.attribution, attribution, "{drop:#?}");
    assert_eq!(drop.pid, actor.report.pid);
    assert_eq!(drop.tid, Some(actor.report.tid));
    assert_eq!(drop.uid, Some(actor.report.uid));
}

pub fn drop_to_closed_tcp_port() {
    let part = acting("actor-drop", &closed_port("127.0.0.1:0"));
    let actor = Actor::run(&part);
    let connection = only_connection(&actor, &part);
    let found = drops_between(connection.source.as_deref().unwrap(), &part.to);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_reason(&found[0], "NO_SOCKET", &["tcp_v4_rcv"]);
    assert_owner(&found[0], &actor, "tuple");
    assert_eq!(found[0].command, "actor-drop");
    assert_eq!((found[0].protocol.as_str(), found[0].interface_index), ("TCP", Some(1)));
    assert_eq!(found[0].interface.as_deref(), Some("lo"));
    assert_eq!(found[0].netns, Some(actor.report.netns));
    assert!(found[0].skb_length >= 40);
    assert_way(&found[0], "received");
}

/// All of these go over loopback.
fn assert_way(drop: &DropEvent, direction: &str) {
    assert_eq!(drop.direction.as_deref(), Some(direction), "{drop:#?}");
    // Before it is given to a device a packet is at none.
    assert!(drop.interface.as_deref().is_none_or(|name| name == "lo"), "{drop:#?}");
    assert!(drop.interface_index.is_none_or(|index| index == 1), "{drop:#?}");
}

pub fn drop_to_closed_udp_port() {
    datagram("127.0.0.1:0", 20 + 8, &["__udp4_lib_rcv", "udp_rcv", "udp_unicast_rcv_skb"]);
}

pub fn drop_to_closed_udp_port_v6() {
    datagram("[::1]:0", 40 + 8, &["__udp6_lib_rcv", "udpv6_rcv"]);
}

/// A datagram is its flow's, where flows are seen; elsewhere it must be nobody's, not somebody else's.
fn datagram(any: &str, headers: u32, code_in: &[&str]) {
    let to = closed_port(any);
    let mut part = acting("actor-udp", &to);
    part.datagrams = Some(Datagrams { send: vec![5], ..Datagrams::default() });
    part.bind = Some(any.to_owned());
    let actor = Actor::run(&part);
    let found = drops_between(actor.attempt().source.as_deref().unwrap(), &to);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_reason(&found[0], "NO_SOCKET", code_in);
    if datagrams::watched("udp", &actor) {
        assert_owner(&found[0], &actor, "tuple");
    } else {
        assert_eq!((found[0].attribution.as_str(), found[0].pid), ("none", 0));
    }
    assert_eq!(found[0].protocol, "UDP");
    assert_way(&found[0], "received");
    // Where the kernel drops it the headers before the data may or may not count any more.
    let (length, data) = (found[0].skb_length, 5);
    assert!([data, 8 + data, headers + data].contains(&length), "{length} bytes");
}

pub fn drop_by_output_rule() {
    let mut part = acting("actor-out", "127.0.0.1:81");
    part.namespace = Some(drop_rule("output"));
    part.close_at_once = true;
    let actor = Actor::run(&part);
    only_connection(&actor, &part);
    let found = drops_between(actor.attempt().source.as_deref().unwrap(), &part.to);
    assert_reason(&found[0], "NETFILTER_DROP", &["nf_hook_slow", "nft_do_chain", "nft_do_chain_inet"]);
    assert_owner(&found[0], &actor, "socket");
    assert_way(&found[0], "sent");
    assert_eq!(found[0].netns, Some(actor.report.netns));
}

/// Its port is known when the call is over: only where a busy machine takes longer for that than a drop waits, it is nobody's.
pub fn drop_by_input_rule() {
    let is_in_time = |_| drop_on_its_way_in().attribution == "tuple";
    assert!((0..3).any(is_in_time), "none of three drops has an owner");
}

fn drop_on_its_way_in() -> DropEvent {
    let mut part = acting("actor-in", "127.0.0.1:81");
    part.namespace = Some(drop_rule("input"));
    part.close_at_once = true;
    let actor = Actor::run(&part);
    only_connection(&actor, &part);
    let found = drops_between(actor.attempt().source.as_deref().unwrap(), &part.to);
    let dropped = found.into_iter().next().unwrap();
    assert_reason(&dropped, "NETFILTER_DROP", &["nf_hook_slow", "nft_do_chain", "nft_do_chain_inet"]);
    if dropped.attribution == "none" {
        let took_us = actor.attempt().took_us.max(actor.attempt().lasted_us);
        assert!(took_us > DROP_PATIENCE_US, "after {took_us} µs: {dropped:#?}");
        assert_eq!(dropped.pid, 0, "{dropped:#?}");
    } else {
        assert_owner(&dropped, &actor, "tuple");
    }
    dropped
}

/// A router, in a namespace of its own for some seconds, drops it as it leaves through another interface.
pub fn drop_while_forwarded() {
    const ROUTER: &str = r#"
unshare -n sleep 10 >/dev/null 2>&1 &
router=$!
sleep 0.3
ip=/usr/sbin/ip
inside="nsenter -t $router -n"
set -e
$ip link add here type veth peer name there netns $router
$ip address add 192.0.2.1/25 dev here
$ip link set here up
$inside $ip address add 192.0.2.2/25 dev there
$inside $ip link set there up
$inside $ip link add out type veth peer name far
$inside $ip address add 192.0.2.129/25 dev out
$inside $ip link set out up
$inside $ip link set far up
$inside sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
$inside nft add table inet t
$inside nft add chain inet t c '{ type filter hook postrouting priority 0; }'
$inside nft add rule inet t c tcp dport 81 drop
$ip route add default via 192.0.2.2
"#;
    let mut part = acting("actor-routed", "192.0.2.130:81");
    part.namespace = Some(vec![ROUTER.to_owned()]);
    part.close_at_once = true;
    let actor = Actor::run(&part);
    let source = actor.attempt().source.clone().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let found = loop {
        let sent = drops().into_iter().find(|drop| drop.source.as_ref() == Some(&source));
        if let Some(drop) = sent {
            break drop;
        }
        assert!(Instant::now() < deadline, "no drop from {source}: {:#?}", drops());
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_reason(&found, "NETFILTER_DROP", &["nf_hook_slow", "nft_do_chain", "nft_do_chain_inet"]);
    assert_eq!((found.direction.as_deref(), found.interface.as_deref()), (Some("forwarded"), Some("out")));
    // It is the actor's packet, but on another host: addresses there may be anybody's.
    assert_eq!((found.attribution.as_str(), found.pid), ("none", 0));
    assert_ne!(found.netns, Some(actor.report.netns));
}

/// The names are those of the running kernel's own types, as they stand in a recording.
pub fn reasons() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let server = Server::start(&["--record", file.path().to_str().unwrap()]);
    server.health(); // it can be told to stop once it answers
    assert_eq!(server.stop(), Some(0));
    let names = Replay::open(file.path()).unwrap().header.names;
    let missing: Vec<_> = names.drop_reasons.values().filter(|name| !is_explained(name)).collect();
    assert!(missing.is_empty(), "without a class and a sentence: {missing:?}");
    assert_eq!(names.drop_reasons.is_empty(), !kernel_gives_reasons());
    if kernel_gives_reasons() {
        assert!(names.drop_reasons.len() > 60, "{names:?}");
        assert!(names.drop_reasons.values().any(|name| name == "NO_SOCKET"));
    }
    let has_qdisc = names.drop_subsystems.values().any(|name| name == "QDISC");
    assert_eq!(has_qdisc, names.drop_reasons.values().any(|name| name == "QDISC_DROP_OVERLIMIT"));
}
