//! Columns ↔ domain values. A row that cannot be read back is an error that says which column: the file may
//! have been damaged or edited, and a guess would be a wrong answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rusqlite::Row;
use rusqlite::types::FromSql;

use crate::domain::{
    Attribution, Connection, Endpoint, HistoryError, Outcome, PacketDrop, Process, Stage, Verdict,
};

/// What an [`Outcome`] holds besides its verdict.
#[derive(Default)]
pub(super) struct OutcomeColumns {
    pub(super) after_ns: Option<u64>,
    pub(super) errno: Option<u32>,
    pub(super) stage: Option<&'static str>,
}

pub(super) fn outcome_columns(outcome: Outcome) -> OutcomeColumns {
    match outcome {
        Outcome::Pending => OutcomeColumns::default(),
        Outcome::Established { latency_ns: after_ns } | Outcome::Aborted { after_ns } => {
            OutcomeColumns { after_ns: Some(after_ns), ..OutcomeColumns::default() }
        }
        Outcome::Failed { errno, stage, after_ns } => {
            OutcomeColumns { after_ns: Some(after_ns), errno: Some(errno), stage: Some(stage.name()) }
        }
    }
}

/// 4 or 16 bytes. Not text: a v4-mapped address must come back as what it was, and it is smaller.
pub(super) fn address_blob(end: Endpoint) -> Vec<u8> {
    match end.ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The owner where one is known. A guessed pid must not be found by a search for that pid either.
pub(super) fn known_owner(drop: &PacketDrop) -> Option<&Process> {
    drop.owner.as_ref().filter(|_| drop.attribution != Attribution::None)
}

pub(super) fn connection(row: &Row<'_>) -> Result<Connection, HistoryError> {
    Ok(Connection {
        id: unsigned(row, "id")?,
        monotonic_ns: unsigned(row, "monotonic_ns")?,
        wall_ns: column(row, "wall_ns")?,
        process: process(row)?,
        family: column(row, "family")?,
        source: endpoint(row, "source_ip", "source_port")?,
        destination: endpoint(row, "destination_ip", "destination_port")?,
        protocol: column(row, "protocol")?,
        netns: column(row, "netns")?,
        outcome: outcome(row)?,
    })
}

pub(super) fn packet_drop(row: &Row<'_>) -> Result<PacketDrop, HistoryError> {
    let owner = match column::<Option<u32>>(row, "pid")? {
        Some(_) => Some(process(row)?),
        None => None,
    };
    Ok(PacketDrop {
        id: unsigned(row, "id")?,
        monotonic_ns: unsigned(row, "monotonic_ns")?,
        wall_ns: column(row, "wall_ns")?,
        owner,
        attribution: named(row, "attribution", Attribution::from_name)?,
        reason_code: column(row, "reason_code")?,
        reason: column(row, "reason")?,
        location: column(row, "location")?,
        family: column(row, "family")?,
        protocol: column(row, "protocol")?,
        source: endpoint(row, "source_ip", "source_port")?,
        destination: endpoint(row, "destination_ip", "destination_port")?,
        length: column(row, "length")?,
        ether_type: column(row, "ether_type")?,
        interface: column(row, "interface")?,
        netns: column(row, "netns")?,
    })
}

/// A column that holds the name of a variant.
pub(super) fn named<T>(row: &Row<'_>, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, HistoryError> {
    let text: String = column(row, name)?;
    parse(&text).ok_or_else(|| unreadable(name, &format!("nothing is called {text:?}")))
}

/// A column that holds a u64 as the i64 with the same bits.
pub(super) fn unsigned(row: &Row<'_>, name: &str) -> Result<u64, HistoryError> {
    column(row, name).map(i64::cast_unsigned)
}

fn process(row: &Row<'_>) -> Result<Process, HistoryError> {
    Ok(Process {
        pid: column(row, "pid")?,
        tid: column(row, "tid")?,
        uid: column(row, "uid")?,
        cgroup_id: unsigned(row, "cgroup_id")?,
        started_ns: unsigned(row, "started_ns")?,
        comm: column(row, "comm")?,
        name: column(row, "process")?,
        exe: column(row, "exe")?,
    })
}

fn endpoint(row: &Row<'_>, ip: &str, port: &str) -> Result<Option<Endpoint>, HistoryError> {
    let Some(bytes) = column::<Option<Vec<u8>>>(row, ip)? else { return Ok(None) };
    let address = if let Ok(octets) = <[u8; 4]>::try_from(&bytes[..]) {
        Ipv4Addr::from(octets).into()
    } else if let Ok(octets) = <[u8; 16]>::try_from(&bytes[..]) {
        Ipv6Addr::from(octets).into()
    } else {
        return Err(unreadable(ip, &format!("an address of {} bytes", bytes.len())));
    };
    Ok(Some(Endpoint { ip: address, port: column(row, port)? }))
}

fn outcome(row: &Row<'_>) -> Result<Outcome, HistoryError> {
    Ok(match named(row, "verdict", Verdict::from_name)? {
        Verdict::Pending => Outcome::Pending,
        Verdict::Established => Outcome::Established { latency_ns: unsigned(row, "outcome_ns")? },
        Verdict::Aborted => Outcome::Aborted { after_ns: unsigned(row, "outcome_ns")? },
        // The others are words for an errno.
        Verdict::Refused | Verdict::Reset | Verdict::TimedOut | Verdict::Unreachable | Verdict::Failed => {
            Outcome::Failed {
                errno: column(row, "errno")?,
                stage: named(row, "stage", Stage::from_name)?,
                after_ns: unsigned(row, "outcome_ns")?,
            }
        }
    })
}

fn column<T: FromSql>(row: &Row<'_>, name: &str) -> Result<T, HistoryError> {
    row.get(name).map_err(|error| unreadable(name, &error))
}

fn unreadable(column: &str, why: &dyn std::fmt::Display) -> HistoryError {
    HistoryError(format!(
        "the history holds a row whose {column} cannot be read: {why}; the file is damaged: move it away or \
         pass --db FILE"
    ))
}
