//! What is wrong, decided by rules: pure functions from events to ranked findings with their evidence.
//!
//! A model may explain findings; it never makes one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use netspy_api::{ConnectionEvent, DropEvent};
use schemars::JsonSchema;
use serde::Serialize;

use crate::render::{connection, drops, escape, time};

/// Ids shown per finding.
const EVIDENCE: usize = 3;
/// Microseconds after which an established connection was slow: the first retransmission of a SYN comes after 1 s (RFC 6298).
const SLOW_US: u64 = 1_000_000;

/// A service that the C library asks for names first, and does without: mostly it is not there.
const OPTIONAL: &str = "/nscd/socket";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    pub(crate) severity: Severity,
    pub(crate) process_name: String,
    /// Remote end; empty where many are meant.
    pub(crate) destination: String,
    /// How it ended, such as `refused`; the kernel's reason for a drop.
    pub(crate) outcome: String,
    pub(crate) errno_name: String,
    /// Events of this kind.
    pub(crate) count: u64,
    /// Attempts of this process to this destination, failed or not.
    pub(crate) attempts: u64,
    /// Dropped packets of these connections, by the kernel's reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// What that means.
    pub(crate) meaning: &'static str,
    /// What to look at next.
    pub(crate) next: &'static str,
    /// When it last happened, RFC 3339.
    pub(crate) last: String,
    /// Ids of the newest events.
    pub(crate) evidence: Vec<String>,
}

/// Which rule found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    FailedConnections,
    SlowConnections,
    DroppedPackets,
}

/// Worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    // Plain comments: with documented variants the schema would be three times as long.
    // Nothing gets through, and that is the newest state.
    High,
    // Some gets through.
    Medium,
    // It works again, or only costs time.
    Low,
}

/// All findings, worst first. Events are newest first.
pub(crate) fn find(connections: &[ConnectionEvent], dropped: &[DropEvent]) -> Vec<Finding> {
    let mut findings = failures(connections, dropped);
    findings.extend(slow(connections));
    findings.extend(unexplained(connections, dropped));
    findings.sort_by_key(|finding| (finding.severity, Reverse(finding.count)));
    findings
}

type Pair<'a> = (&'a str, String);

fn pair(event: &ConnectionEvent) -> Pair<'_> {
    (&event.command, connection::destination(event))
}

fn failures(connections: &[ConnectionEvent], dropped: &[DropEvent]) -> Vec<Finding> {
    let mut attempts: BTreeMap<Pair<'_>, Vec<&ConnectionEvent>> = BTreeMap::new();
    for event in connections {
        attempts.entry(pair(event)).or_default().push(event);
    }
    let mut findings = Vec::new();
    for ((process, destination), events) in attempts {
        let newest_failed = events.iter().find(|e| e.outcome != "pending").is_some_and(|e| failed(e));
        let mut kinds: BTreeMap<(&str, &str), Vec<&ConnectionEvent>> = BTreeMap::new();
        for event in events.iter().copied().filter(|event| failed(event)) {
            let errno = event.errno_name.as_deref().unwrap_or_default();
            kinds.entry((&event.outcome, errno)).or_default().push(event);
        }
        for ((outcome, errno), failures) in kinds {
            let drops = drops_of(&failures, dropped);
            let (meaning, next) = explain(outcome, errno, failures[0].stage.as_deref(), &drops);
            findings.push(Finding {
                rule: Rule::FailedConnections,
                severity: match (newest_failed, failures.len() == events.len()) {
                    _ if errno == "ENOENT" && destination.ends_with(OPTIONAL) => Severity::Low,
                    (true, true) => Severity::High,
                    (true, false) => Severity::Medium,
                    (false, _) => Severity::Low,
                },
                process_name: process.to_owned(),
                destination: destination.clone(),
                outcome: outcome.to_owned(),
                errno_name: errno.to_owned(),
                count: failures.len() as u64,
                attempts: events.len() as u64,
                drops,
                meaning,
                next,
                last: time::utc(&failures[0].time),
                evidence: failures.iter().take(EVIDENCE).map(|event| event.id.clone()).collect(),
            });
        }
    }
    findings
}

fn failed(event: &ConnectionEvent) -> bool {
    connection::is_failure(&event.outcome)
}

/// Drops whose packet has both ends of one of these connections, in either direction.
fn drops_of(failures: &[&ConnectionEvent], dropped: &[DropEvent]) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for drop in dropped.iter().filter(|drop| failures.iter().any(|event| belongs(drop, event))) {
        *reasons.entry(drops::reason(drop).to_owned()).or_default() += 1;
    }
    reasons
}

fn belongs(drop: &DropEvent, event: &ConnectionEvent) -> bool {
    let Some(local) = event.source.as_deref() else { return false };
    let (from, to) = (drop.source.as_deref(), drop.destination.as_deref());
    let remote = event.destination.as_str();
    (from, to) == (Some(local), Some(remote)) || (from, to) == (Some(remote), Some(local))
}

fn slow(connections: &[ConnectionEvent]) -> Vec<Finding> {
    let mut kinds: BTreeMap<Pair<'_>, Vec<&ConnectionEvent>> = BTreeMap::new();
    for event in connections.iter().filter(|event| event.outcome == "established") {
        kinds.entry(pair(event)).or_default().push(event);
    }
    let slow = kinds.into_iter().filter_map(|((process, destination), events)| {
        let slow: Vec<_> = events.iter().filter(|event| event.latency_us >= Some(SLOW_US)).collect();
        let newest = slow.first()?;
        Some(Finding {
            rule: Rule::SlowConnections,
            severity: Severity::Low,
            process_name: process.to_owned(),
            destination,
            outcome: "established".to_owned(),
            errno_name: String::new(),
            count: slow.len() as u64,
            attempts: events.len() as u64,
            drops: BTreeMap::new(),
            meaning: "It took over a second until the other side answered: a first packet was probably lost and sent again.",
            next: "Look for packet loss on the way, or a full accept queue on the other host.",
            last: time::utc(&newest.time),
            evidence: slow.iter().take(EVIDENCE).map(|event| event.id.clone()).collect(),
        })
    });
    slow.collect()
}

/// Dropped packets that no failed connection accounts for, by owner and reason.
fn unexplained(connections: &[ConnectionEvent], dropped: &[DropEvent]) -> Vec<Finding> {
    let failures: Vec<_> = connections.iter().filter(|event| failed(event)).collect();
    let mut kinds: BTreeMap<(&str, &str), Vec<&DropEvent>> = BTreeMap::new();
    for drop in dropped.iter().filter(|drop| !failures.iter().any(|event| belongs(drop, event))) {
        let owner = if drops::has_owner(drop) { drop.command.as_str() } else { "" };
        kinds.entry((owner, drops::reason(drop))).or_default().push(drop);
    }
    let found = kinds.into_iter().map(|((owner, reason), drops)| {
        let (meaning, next) = explain_drop(reason);
        Finding {
            rule: Rule::DroppedPackets,
            severity: Severity::Low,
            process_name: owner.to_owned(),
            destination: String::new(),
            outcome: reason.to_owned(),
            errno_name: String::new(),
            count: drops.len() as u64,
            attempts: drops.len() as u64,
            drops: BTreeMap::new(),
            meaning,
            next,
            last: time::utc(&drops[0].time),
            evidence: drops.iter().take(EVIDENCE).map(|drop| drop.id.clone()).collect(),
        }
    });
    found.collect()
}

/// What a failure means and what to look at: by errno (connect(2), tcp(7)) and the place where it happened.
fn explain(
    outcome: &str,
    errno: &str,
    stage: Option<&str>,
    drops: &BTreeMap<String, u64>,
) -> (&'static str, &'static str) {
    if drops.contains_key("NETFILTER_DROP") {
        return (
            "A netfilter rule of this machine drops its packets.",
            "List the rules: nft list ruleset, or iptables-save.",
        );
    }
    match (errno, outcome, stage) {
        ("ECONNREFUSED", ..) | (_, "refused", _) => (
            "The host is there, but nothing listens on that port, or a firewall rejects it.",
            "On that host: does the service run, and listen on this address? ss -ltnp",
        ),
        ("ENETUNREACH", ..) | (_, "unreachable", Some("route")) => (
            "This machine has no route to that network: nothing was sent.",
            "Look at the routes: ip route get ADDRESS.",
        ),
        ("EHOSTUNREACH", ..) | (_, "unreachable", _) => (
            "A router, or the lack of an answer from a neighbour, says that the host cannot be reached.",
            "Is the host up? ip neigh, ping, and the routers on the way.",
        ),
        ("ETIMEDOUT", ..) | (_, "timed_out", _) => (
            "Nobody answered: the host is down, the address is wrong, or a firewall discards the packets silently.",
            "Is the address right? Ask the firewalls on the way; on the host, tcpdump shows whether packets arrive.",
        ),
        ("ECONNRESET", ..) | (_, "reset", _) => (
            "The other side broke the connection off while it was being made.",
            "Look at the log of the service there, and of a proxy or load balancer before it.",
        ),
        ("EPERM" | "EACCES", ..) => (
            "This machine forbids it: a firewall rule, a cgroup program or a security module.",
            "nft list ruleset; bpftool cgroup tree; the audit log.",
        ),
        ("EADDRNOTAVAIL", ..) => (
            "There is no free local port to this destination, or the local address is not of this machine.",
            "ss -s, and sysctl net.ipv4.ip_local_port_range.",
        ),
        ("ENOENT", ..) => (
            "There is no socket at that path: its service does not run, or uses another path.",
            "Is the service meant to run? For name lookups (nscd) it mostly is not, and nothing is wrong.",
        ),
        (_, "aborted", _) => (
            "The caller gave up before an answer came: its own time-out, or it was stopped.",
            "Is its time-out shorter than the way to that host takes? Does anything answer there?",
        ),
        _ => ("The attempt failed.", "man 2 connect explains the error."),
    }
}

/// What a drop means: by the kernel's reason (include/net/dropreason-core.h).
fn explain_drop(reason: &str) -> (&'static str, &'static str) {
    match reason {
        "NETFILTER_DROP" => {
            ("A netfilter rule of this machine drops the packets.", "nft list ruleset, or iptables-save.")
        }
        "NO_SOCKET" => ("Packets came for a port on which nothing listens.", "ss -ltnup shows what listens."),
        "SOCKET_RCVBUFF" | "PROTO_MEM" => (
            "The receiving process does not read fast enough: its buffer is full.",
            "Look at the load of that process, and at net.core.rmem_max.",
        ),
        "TCP_CSUM" | "UDP_CSUM" | "IP_CSUM" | "SKB_CSUM" => {
            ("Packets arrived damaged.", "Look at the network card and its offloads: ethtool -S.")
        }
        "QDISC_DROP" | "FULL_RING" | "CPU_BACKLOG" => {
            ("A queue of this machine was full.", "tc -s qdisc, and /proc/net/softnet_stat.")
        }
        "NEIGH_FAILED" | "NEIGH_QUEUEFULL" | "NEIGH_CREATEFAIL" => {
            ("A neighbour did not answer: its hardware address is not known.", "ip neigh; is that host up?")
        }
        "UNCLASSIFIED" | "SKB_FREE" | "NOT_SPECIFIED" => (
            "The kernel gives no reason; ordinary frees may be among them.",
            "See the place in the kernel: list_packet_drops.",
        ),
        _ => ("The kernel discarded packets.", "See the place in the kernel: list_packet_drops."),
    }
}

/// Safe to write to a terminal: the finding, what it means, what to do.
pub(crate) fn lines(number: usize, finding: &Finding) -> Vec<String> {
    let shown = |text: &str| escape::text(text).into_owned();
    let who = if finding.process_name.is_empty() {
        "nobody known".to_owned()
    } else {
        shown(&finding.process_name)
    };
    let (outcome, errno) = (shown(&finding.outcome).replace('_', " "), shown(&finding.errno_name));
    let errno = if errno.is_empty() { errno } else { format!(" ({errno})") };
    let (count, attempts) = (finding.count, finding.attempts);
    let title = match finding.rule {
        Rule::FailedConnections => {
            format!(
                "{who} -> {}: {outcome}{errno}, {count} of {attempts} attempts",
                shown(&finding.destination)
            )
        }
        Rule::SlowConnections => {
            format!(
                "{who} -> {}: slow, {count} of {attempts} took over a second",
                shown(&finding.destination)
            )
        }
        Rule::DroppedPackets => {
            format!("{count} packets of {who} dropped: {}", shown(&finding.outcome))
        }
    };
    let mut lines = vec![format!("{number}. {title}"), format!("   {}", finding.meaning)];
    if !finding.drops.is_empty() {
        let drops: Vec<_> =
            finding.drops.iter().map(|(reason, n)| format!("{} ({n})", shown(reason))).collect();
        lines.push(format!("   Dropped packets of these connections: {}", drops.join(", ")));
    }
    lines.push(format!("   Next: {}", finding.next));
    lines.push(format!("   Evidence: {}", shown(&finding.evidence.join(", "))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mostly_harmless_comes_last() {
        let nobody = |id| event(id, "curl", "/var/run/nscd/socket", "failed", "ENOENT");
        let refused = event("1", "curl", "10.0.0.1:443", "refused", "ECONNREFUSED");
        let found = find(&[nobody("4"), nobody("3"), nobody("2"), refused], &[]);
        let ends: Vec<_> = found.iter().map(|finding| finding.destination.as_str()).collect();
        assert_eq!(ends, ["10.0.0.1:443", "/var/run/nscd/socket"]);
    }

    fn event(id: &str, command: &str, destination: &str, outcome: &str, errno: &str) -> ConnectionEvent {
        ConnectionEvent {
            id: id.into(),
            command: command.into(),
            destination: destination.into(),
            source: Some(format!("127.0.0.1:{id}")),
            outcome: outcome.into(),
            errno_name: Some(errno.into()).filter(|errno: &String| !errno.is_empty()),
            ..ConnectionEvent::default()
        }
    }

    fn told(connections: &[ConnectionEvent], drops: &[DropEvent]) -> Vec<String> {
        let findings = find(connections, drops);
        findings.iter().map(|f| format!("{:?} {}", f.severity, lines(1, f)[0])).collect()
    }

    #[test]
    fn what_never_works_comes_first() {
        let connections = [
            event("9", "curl", "a:1", "established", ""),
            event("8", "curl", "a:1", "refused", "ECONNREFUSED"),
            event("7", "ssh", "b:22", "timed_out", "ETIMEDOUT"),
            event("6", "ssh", "b:22", "timed_out", "ETIMEDOUT"),
            event("5", "app", "c:5", "refused", "ECONNREFUSED"),
            event("4", "app", "c:5", "established", ""),
        ];
        assert_eq!(
            told(&connections, &[]),
            [
                "High 1. ssh -> b:22: timed out (ETIMEDOUT), 2 of 2 attempts",
                "Medium 1. app -> c:5: refused (ECONNREFUSED), 1 of 2 attempts",
                "Low 1. curl -> a:1: refused (ECONNREFUSED), 1 of 2 attempts",
            ]
        );
        assert_eq!(find(&connections, &[])[0].evidence, ["7", "6"]);
    }

    #[test]
    fn a_drop_of_the_same_packet_explains_the_failure() {
        let drop = |source: &str, reason: &str| DropEvent {
            source: Some(source.into()),
            destination: Some("a:1".into()),
            drop_reason: reason.into(),
            ..DropEvent::default()
        };
        let connections = [event("9", "curl", "a:1", "aborted", "")];
        let drops = [drop("127.0.0.1:9", "NETFILTER_DROP"), drop("127.0.0.1:1", "NO_SOCKET")];
        let findings = find(&connections, &drops);
        assert!(findings[0].meaning.contains("netfilter rule"), "{findings:?}");
        assert_eq!(findings[0].drops, [("NETFILTER_DROP".to_owned(), 1)].into());
        assert_eq!(told(&connections, &drops)[1], "Low 1. 1 packets of nobody known dropped: NO_SOCKET");
    }

    #[test]
    fn slow_is_more_than_a_second() {
        let mut slow = event("9", "curl", "a:1", "established", "");
        slow.latency_us = Some(1_020_000);
        assert_eq!(told(&[slow], &[]), ["Low 1. curl -> a:1: slow, 1 of 1 took over a second"]);
        assert_eq!(told(&[event("9", "curl", "a:1", "pending", "")], &[]), [""; 0]);
    }
}
