//! Domain values → wire types. Pure: the time zone is an argument.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use netspy_api::{ConnectionEvent, DropEvent, Event, Lost, Program};
use serde::Serialize;

use super::error::Failure;
use crate::domain::{
    Attribution, Connection, Endpoint, Hook, HookState, LossCounts, Outcome, PacketDrop, errno_name,
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// One line of JSON, as the earlier server ended its answers.
pub(super) fn json(answer: &impl Serialize) -> Result<Response, Failure> {
    let mut body = serde_json::to_vec(answer).map_err(|error| Failure::unavailable(&error))?;
    body.push(b'\n');
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) fn connection(connection: &Connection, zone: &TimeZone) -> Event {
    let process = &connection.process;
    let (raw_socktype, socket_type) = socket_type(connection.protocol);
    let mut event = ConnectionEvent {
        id: id(connection.id),
        pid: process.pid,
        command: process.comm.clone(),
        timestamp: connection.monotonic_ns,
        time: time(connection.wall_ns, zone),
        address_family: connection.family,
        protocol: protocol(connection.protocol),
        socket_type,
        raw_ipv6: vec![0; 16],
        raw_protocol: connection.protocol,
        raw_socktype,
        direction: "outbound".to_owned(),
        outcome: connection.outcome.verdict().name().to_owned(),
        source_ip: connection.source.map(ip),
        source_port: connection.source.map(|end| end.port),
        source: connection.source.map(|end| address(end, connection.protocol)),
        tid: process.tid,
        process: process.name.clone(),
        uid: process.uid,
        exe: process.exe.clone(),
        cgroup_id: known(process.cgroup_id),
        netns: known(connection.netns),
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
        Outcome::Pending => {}
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
    Event::PacketDrop(DropEvent {
        id: id(drop.id),
        pid: owner.map_or(0, |process| process.pid),
        command: owner.map(|process| process.comm.clone()).unwrap_or_default(),
        timestamp: drop.monotonic_ns,
        time: time(drop.wall_ns, zone),
        drop_reason: drop.reason.clone(),
        reason: drop.reason.clone(),
        drop_reason_code: drop.reason_code.unwrap_or(0),
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
        interface_index: known(drop.interface),
        netns: known(drop.netns),
        tid: owner.map(|process| process.tid),
        process: owner.map(|process| process.name.clone()),
        uid: owner.map(|process| process.uid),
        exe: owner.and_then(|process| process.exe.clone()),
    })
}

pub(super) fn lost(counts: &LossCounts) -> Lost {
    Lost {
        total: counts.values().fold(0, |total, count| total.saturating_add(*count)),
        by_place: counts.iter().map(|(place, count)| (place.name().to_owned(), *count)).collect(),
    }
}

pub(super) fn program(hook: &Hook) -> Program {
    Program {
        name: hook.event.to_owned(),
        program_type: "eBPF".to_owned(),
        status: if works(hook) { "active" } else { "inactive" }.to_owned(),
        id: program_id(hook.event),
        rung: hook.rung.to_owned(),
        note: hook.note.clone(),
    }
}

pub(super) fn works(hook: &Hook) -> bool {
    matches!(hook.state, HookState::Active | HookState::Replayed)
}

/// First four bytes, big-endian, of SHA-256 of the name: `printf connection | sha256sum` → `b38d9d16…`.
fn program_id(name: &str) -> u32 {
    match name {
        "connection" => 3_012_402_454,
        "packet_drop" => 3_940_834_765,
        _ => 0,
    }
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

fn address(end: Endpoint, protocol: u8) -> String {
    if port(end, protocol).is_some() { end.to_string() } else { ip(end) }
}

fn protocol(number: u8) -> String {
    let name = match number {
        1 => "ICMP",
        2 => "IGMP",
        TCP => "TCP",
        UDP => "UDP",
        33 => "DCCP",
        47 => "GRE",
        50 => "ESP",
        58 => "ICMPv6",
        132 => "SCTP",
        136 => "UDPLite",
        other => return format!("Unknown({other})"),
    };
    name.to_owned()
}

/// Raw and by name. Not recorded, but these protocols have one kind of socket each.
fn socket_type(protocol: u8) -> (u8, String) {
    match protocol {
        TCP => (1, "STREAM".to_owned()),
        UDP => (2, "DGRAM".to_owned()),
        _ => (0, "Unknown(0)".to_owned()),
    }
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
