//! What becomes of a packet, and whose it was.

use netspy_api::DropEvent;

use super::{acting, closed_port, drop_rule, only_connection};
use crate::{
    actor::Actor,
    server::{self, drops},
};

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
    assert_eq!(found[0].netns, Some(actor.report.netns));
    assert!(found[0].skb_length >= 40);
}

pub fn drop_to_closed_udp_port() {
    datagram("127.0.0.1:0", 20 + 8, &["__udp4_lib_rcv", "udp_rcv", "udp_unicast_rcv_skb"]);
}

pub fn drop_to_closed_udp_port_v6() {
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

pub fn drop_by_output_rule() {
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

pub fn drop_by_input_rule() {
    let mut part = acting("actor-in", "127.0.0.1:81");
    part.namespace = Some(drop_rule("input"));
    part.close_at_once = true;
    let actor = Actor::run(&part);
    only_connection(&actor, &part);
    let found = drops_between(actor.attempt().source.as_deref().unwrap(), &part.to);
    assert_reason(&found[0], "NETFILTER_DROP", &["nf_hook_slow", "nft_do_chain", "nft_do_chain_inet"]);
    assert_owner(&found[0], &actor, "tuple");
}
