//! Domain values → wire types. Pure: the time zone is an argument.

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use netspy_api::{
    Ancestor, ConnectionEvent, DropEvent, Event, Lost, Program, RefusedRung, Sampled, TroubleEvent,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::Failure;
use crate::domain::{
    self, Attribution, Check, Connection, Direction, Endpoint, Hook, HookState, Identity, LossCounts,
    LossKind, Outcome, PacketDrop, Refusal, Trouble, TroubleKind, Unrecorded, errno_name, explain,
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// One line of JSON, as the earlier server ended its answers.
pub(super) fn json(answer: &impl Serialize) -> Result<Response, Failure> {
    line(answer).map(body).map_err(|error| Failure::unavailable(&error))
}

/// The same, without its head.
pub(super) fn line(answer: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line.into())
}

/// A line of JSON as an answer.
pub(super) fn body(line: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], line).into_response()
}

pub(super) fn connection(connection: &Connection, zone: &TimeZone) -> Event {
    let (process, traffic, close) = (&connection.process, connection.traffic, connection.close);
    let identity = &*process.identity;
    let mut event = ConnectionEvent {
        id: id(connection.id),
        pid: process.pid,
        command: process.comm.clone(),
        timestamp: connection.monotonic_ns,
        time: time(connection.wall_ns, zone),
        address_family: connection.family,
        protocol: if i32::from(connection.family) == libc::AF_UNIX {
            "UNIX".to_owned()
        } else {
            protocol(connection.protocol)
        },
        socket_type: socket_type(connection.socket_type),
        raw_ipv6: vec![0; 16],
        raw_protocol: connection.protocol,
        raw_socktype: connection.socket_type,
        direction: connection.direction.name().to_owned(),
        found: connection.found,
        outcome: connection.outcome.verdict().name().to_owned(),
        source_ip: connection.source.map(ip),
        source_port: connection.source.map(|end| end.port),
        source: connection.source.map(|end| address(end, connection.protocol)),
        tid: process.tid,
        process: process.name.clone(),
        uid: process.uid,
        exe: identity.exe.clone(),
        cmdline: identity.cmdline.clone(),
        parents: parents(identity),
        unit: identity.unit.clone(),
        container_id: identity.container_id.clone(),
        pod_uid: identity.pod_uid.clone(),
        cgroup_id: known(process.cgroup_id),
        netns: known(connection.netns),
        destination: connection.path.clone().unwrap_or_default(),
        path: connection.path.clone(),
        peer_pid: connection.peer_pid,
        accepted_after_us: connection.accepted_after_ns.map(microseconds),
        bytes_sent: traffic.map(|traffic| traffic.bytes_sent),
        bytes_received: traffic.map(|traffic| traffic.bytes_received),
        packets_sent: traffic.and_then(|traffic| traffic.packets_sent),
        packets_received: traffic.and_then(|traffic| traffic.packets_received),
        srtt_us: traffic.and_then(|traffic| traffic.srtt_us),
        retransmits: traffic.and_then(|traffic| traffic.retransmits),
        ending: close.map(|close| close.ending.name().to_owned()),
        ending_errno_name: close.and_then(|close| errno_name(close.errno)).map(str::to_owned),
        duration_us: close.map(|close| microseconds(close.after_ns)),
        ..ConnectionEvent::default()
    };
    if let Some(end) = connection.destination {
        event.destination_ip = ip(end);
        event.destination_port = end.port;
        event.destination = address(end, connection.protocol);
        match end.ip {
            // Its network-order bytes read little-endian, as the earlier server's x86 kernel side did.
            std::net::IpAddr::V4(ip) => event.raw_ipv4 = u32::from_le_bytes(ip.octets()),
            std::net::IpAddr::V6(ip) => event.raw_ipv6 = ip.octets().to_vec(),
        }
    }
    match connection.outcome {
        // An inbound one is first seen when its handshake is complete; of one that was found, or whose outcome was lost, nobody
        // knows how long it took.
        Outcome::Pending | Outcome::Unanswered | Outcome::Established { latency_ns: 0 } => {}
        Outcome::Established { .. } if connection.direction == Direction::Inbound => {}
        Outcome::Established { latency_ns } => event.latency_us = Some(microseconds(latency_ns)),
        Outcome::Aborted { after_ns } => event.latency_us = Some(microseconds(after_ns)),
        Outcome::Failed { errno, stage, after_ns } => {
            event.latency_us = Some(microseconds(after_ns));
            event.return_code = i32::try_from(errno).map_or(i32::MIN, |errno| -errno);
            event.stage = Some(stage.name().to_owned());
            event.errno = Some(errno);
            event.errno_name = errno_name(errno).map(str::to_owned);
        }
    }
    Event::Connection(event)
}

pub(super) fn packet_drop(drop: &PacketDrop, zone: &TimeZone) -> Event {
    let owner = drop.owner.as_ref().filter(|_| drop.attribution != Attribution::None);
    let identity = owner.map(|process| &*process.identity);
    let (class, explanation) = explain(&drop.reason);
    Event::PacketDrop(DropEvent {
        id: id(drop.id),
        pid: owner.map_or(0, |process| process.pid),
        command: owner.map(|process| process.comm.clone()).unwrap_or_default(),
        timestamp: drop.monotonic_ns,
        time: time(drop.wall_ns, zone),
        drop_reason: drop.reason.clone(),
        reason: drop.reason.clone(),
        drop_reason_code: drop.reason_code.unwrap_or(0),
        class: class.name().to_owned(),
        explanation: explanation.to_owned(),
        skb_length: drop.length,
        packet_size_bytes: drop.length,
        attribution: drop.attribution.name().to_owned(),
        location: drop.location.clone(),
        protocol: protocol(drop.protocol),
        raw_protocol: drop.protocol,
        source_ip: drop.source.map(ip),
        source_port: drop.source.and_then(|end| port(end, drop.protocol)),
        source: drop.source.map(|end| address(end, drop.protocol)),
        destination_ip: drop.destination.map(ip),
        destination_port: drop.destination.and_then(|end| port(end, drop.protocol)),
        destination: drop.destination.map(|end| address(end, drop.protocol)),
        ether_type: known(drop.ether_type),
        direction: drop.direction.map(|direction| direction.name().to_owned()),
        interface_index: known(drop.interface),
        interface: known(drop.interface_name.clone()),
        netns: known(drop.netns),
        tid: owner.map(|process| process.tid),
        process: owner.map(|process| process.name.clone()),
        uid: owner.map(|process| process.uid),
        exe: identity.and_then(|identity| identity.exe.clone()),
        cmdline: identity.and_then(|identity| identity.cmdline.clone()),
        parents: identity.map(parents).unwrap_or_default(),
        unit: identity.and_then(|identity| identity.unit.clone()),
        container_id: identity.and_then(|identity| identity.container_id.clone()),
        pod_uid: identity.and_then(|identity| identity.pod_uid.clone()),
    })
}

fn parents(identity: &Identity) -> Vec<Ancestor> {
    let wire = |parent: &domain::Ancestor| Ancestor {
        pid: parent.pid,
        name: parent.name.clone(),
        exe: parent.exe.clone(),
    };
    identity.parents.iter().map(wire).collect()
}

pub(super) fn trouble(trouble: &Trouble, zone: &TimeZone) -> Event {
    let owner = trouble.owner.as_ref().filter(|_| trouble.attribution != Attribution::None);
    let identity = owner.map(|process| &*process.identity);
    let event = TroubleEvent {
        id: id(trouble.id),
        pid: owner.map_or(0, |process| process.pid),
        command: owner.map(|process| process.comm.clone()).unwrap_or_default(),
        timestamp: trouble.monotonic_ns,
        time: time(trouble.wall_ns, zone),
        attribution: trouble.attribution.name().to_owned(),
        protocol: protocol(TCP),
        source_ip: trouble.source.map(ip),
        source_port: trouble.source.map(|end| end.port),
        source: trouble.source.map(|end| address(end, TCP)),
        destination_ip: trouble.destination.map(ip),
        destination_port: trouble.destination.map(|end| end.port),
        destination: trouble.destination.map(|end| address(end, TCP)),
        reason: trouble.reason.clone(),
        segment_length: (trouble.kind == TroubleKind::Retransmit).then_some(trouble.length),
        backlog: trouble.backlog.map(|backlog| backlog.waiting),
        backlog_limit: trouble.backlog.map(|backlog| backlog.limit),
        netns: known(trouble.netns),
        tid: owner.map(|process| process.tid),
        process: owner.map(|process| process.name.clone()),
        uid: owner.map(|process| process.uid),
        exe: identity.and_then(|identity| identity.exe.clone()),
        cmdline: identity.and_then(|identity| identity.cmdline.clone()),
        parents: identity.map(parents).unwrap_or_default(),
        unit: identity.and_then(|identity| identity.unit.clone()),
        container_id: identity.and_then(|identity| identity.container_id.clone()),
        pod_uid: identity.and_then(|identity| identity.pod_uid.clone()),
    };
    match trouble.kind {
        TroubleKind::Retransmit => Event::Retransmit(event),
        TroubleKind::ResetSent => Event::ResetSent(event),
        TroubleKind::ResetReceived => Event::ResetReceived(event),
        TroubleKind::ListenOverflow => Event::ListenOverflow(event),
    }
}

/// `recorded` events that match have a record.
pub(super) fn sampled(recorded: u64, unrecorded: &Unrecorded) -> Sampled {
    Sampled { counted: recorded + unrecorded.total(), recorded, unattributed: unrecorded.undecided }
}

pub(super) fn lost(counts: &LossCounts) -> Lost {
    let mut lost = Lost::default();
    let add = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
    for ((place, kind), count) in counts {
        add(&mut lost.total, *count);
        add(lost.by_place.entry(place.name().to_owned()).or_default(), *count);
        if *kind != LossKind::Unknown {
            add(lost.by_kind.entry(kind.name().to_owned()).or_default(), *count);
        }
    }
    lost
}

pub(super) fn program(hook: &Hook) -> Program {
    Program {
        name: hook.event.to_owned(),
        program_type: "eBPF".to_owned(),
        status: if works(hook) { "active" } else { "inactive" }.to_owned(),
        id: program_id(hook.event),
        rung: hook.rung.to_owned(),
        note: hook.note(),
        refused: hook.refused.iter().map(refused_rung).collect(),
        remarks: hook.remarks.clone(),
        check: match hook.check {
            Check::None => "none",
            Check::Passed => "passed",
            Check::Undone(_) => "undone",
            Check::Failed(_) => "failed",
        }
        .to_owned(),
    }
}

fn refused_rung(refusal: &Refusal) -> RefusedRung {
    RefusedRung {
        rung: refusal.rung.to_owned(),
        reason: refusal.reason.clone(),
        remedy: refusal.remedy.clone(),
    }
}

pub(super) fn works(hook: &Hook) -> bool {
    matches!(hook.state, HookState::Active | HookState::Replayed)
}

/// First four bytes, big-endian, of SHA-256 of the name, as the earlier server numbered its programs:
/// `printf connection | sha256sum` → `b38d9d16…`.
fn program_id(name: &str) -> u32 {
    Sha256::digest(name).first_chunk().map_or(0, |first| u32::from_be_bytes(*first))
}

/// RFC 3339 in `zone`, with as many digits of the fraction as there are.
pub(super) fn time(wall_ns: i64, zone: &TimeZone) -> String {
    let Ok(timestamp) = Timestamp::from_nanosecond(wall_ns.into()) else { return String::new() };
    let offset = zone.to_offset(timestamp);
    // `Z` rather than `+00:00`, as Go writes it.
    if offset.seconds() == 0 {
        timestamp.to_string()
    } else {
        timestamp.display_with_offset(offset).to_string()
    }
}

/// The same without a fraction.
pub(super) fn whole_seconds(wall_ns: i64, zone: &TimeZone) -> String {
    time(wall_ns.saturating_sub(wall_ns.rem_euclid(1_000_000_000)), zone)
}

fn id(id: u64) -> String {
    format!("{id:016x}")
}

fn ip(end: Endpoint) -> String {
    end.canonical().ip.to_string()
}

/// A protocol without ports has none to show.
fn port(end: Endpoint, protocol: u8) -> Option<u16> {
    (end.port != 0 || matches!(protocol, TCP | UDP)).then_some(end.port)
}

pub(super) fn address(end: Endpoint, protocol: u8) -> String {
    match (port(end, protocol), end.scope) {
        (Some(_), _) => end.to_string(),
        (None, 0) => ip(end),
        (None, scope) => format!("{}%{scope}", ip(end)),
    }
}

/// IP protocols that have a name here.
pub(super) const PROTOCOLS: [(u8, &str); 10] = [
    (1, "ICMP"),
    (2, "IGMP"),
    (TCP, "TCP"),
    (UDP, "UDP"),
    (33, "DCCP"),
    (47, "GRE"),
    (50, "ESP"),
    (58, "ICMPv6"),
    (132, "SCTP"),
    (136, "UDPLite"),
];

pub(super) fn protocol(number: u8) -> String {
    let named = PROTOCOLS.iter().find(|(known, _)| *known == number);
    named.map_or_else(|| format!("Unknown({number})"), |(_, name)| (*name).to_owned())
}

/// `SOCK_*` by name (include/linux/net.h).
fn socket_type(number: u8) -> String {
    let name = match number {
        1 => "STREAM",
        2 => "DGRAM",
        3 => "RAW",
        5 => "SEQPACKET",
        other => return format!("Unknown({other})"),
    };
    name.to_owned()
}

fn microseconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000 + u64::from(nanoseconds % 1_000 >= 500)
}

/// Zero stands for unknown in what the kernel reports.
fn known<T: Default + PartialEq>(number: T) -> Option<T> {
    (number != T::default()).then_some(number)
}

#[cfg(test)]
mod tests;
