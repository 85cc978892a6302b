//! Files of schema version 2, which kept every row's names as text: read once, and written anew.

use std::net::{Ipv4Addr, Ipv6Addr};

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior};

use super::row::{cannot_read, unreadable};
use super::schema::{VERSION, all_tables};
use super::write::{Known, write_batches};
use crate::domain::{
    self, Attribution, Batch, Close, Direction, Ending, Endpoint, HistoryError, Identity, Outcome,
    PacketDrop, Process, Stage, Traffic, Verdict,
};

/// Rows moved at once.
const ROWS: usize = 2_000;

/// Makes a file of version 2 one of [`VERSION`]: all of it or, if that is interrupted, nothing.
pub(super) fn migrate(file: &mut Connection) -> Result<(), HistoryError> {
    tracing::info!("bringing the history to a new format; this takes a few seconds per million events");
    let moving = file.transaction_with_behavior(TransactionBehavior::Immediate).map_err(cannot_read)?;
    let rename = "ALTER TABLE connections RENAME TO old_connections; ALTER TABLE drops RENAME TO old_drops;
                  ALTER TABLE losses RENAME TO old_losses; DROP INDEX losses_by_time;";
    moving.execute_batch(&format!("{rename} {}", all_tables())).map_err(cannot_read)?;
    let mut known = Known::default();
    move_rows(&moving, "old_connections", connection, |rows| {
        write_batches(&moving, &mut known, &[Batch { connections: rows, ..Batch::default() }]).map(drop)
    })?;
    move_rows(&moving, "old_drops", packet_drop, |rows| {
        write_batches(&moving, &mut known, &[Batch { drops: rows, ..Batch::default() }]).map(drop)
    })?;
    let finish = "INSERT INTO losses SELECT wall_ns, place, 'unknown', count FROM old_losses;
                  DROP TABLE old_connections; DROP TABLE old_drops; DROP TABLE old_losses";
    moving.execute_batch(finish).map_err(cannot_read)?;
    moving.pragma_update(None, "user_version", VERSION).map_err(cannot_read)?;
    moving.commit().map_err(cannot_read)?;
    // Gives back what the old rows took, and makes the file one that can be shortened.
    file.execute_batch("VACUUM").map_err(cannot_read)
}

fn move_rows<T>(
    file: &Transaction<'_>,
    table: &str,
    read: fn(&Row<'_>) -> Result<T, HistoryError>,
    mut write: impl FnMut(Vec<T>) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let mut statement = file.prepare(&format!("SELECT * FROM {table} ORDER BY id")).map_err(cannot_read)?;
    let mut rows = statement.query([]).map_err(cannot_read)?;
    let mut batch = Vec::with_capacity(ROWS);
    while let Some(row) = rows.next().map_err(cannot_read)? {
        batch.push(read(row)?);
        if batch.len() == ROWS {
            write(std::mem::take(&mut batch))?;
        }
    }
    write(batch)
}

fn connection(row: &Row<'_>) -> Result<domain::Connection, HistoryError> {
    Ok(domain::Connection {
        id: unsigned(row, "id")?,
        monotonic_ns: unsigned(row, "monotonic_ns")?,
        wall_ns: column(row, "wall_ns")?,
        process: process(row)?.into(),
        direction: named(row, "direction", Direction::from_name)?,
        found: column(row, "found")?,
        family: column(row, "family")?,
        socket_type: column(row, "socket_type")?,
        source: endpoint(row, "source_ip", "source_port")?,
        destination: endpoint(row, "destination_ip", "destination_port")?,
        path: column(row, "path")?,
        peer_pid: column(row, "peer_pid")?,
        protocol: column(row, "protocol")?,
        netns: column(row, "netns")?,
        outcome: outcome(row)?,
        accepted_after_ns: optional_unsigned(row, "accepted_after_ns")?,
        traffic: traffic(row)?,
        close: close(row)?,
    })
}

fn packet_drop(row: &Row<'_>) -> Result<PacketDrop, HistoryError> {
    let owner = match column::<Option<u32>>(row, "pid")? {
        Some(_) => Some(process(row)?.into()),
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
        direction: None,
        interface: column(row, "interface")?,
        interface_name: String::new(),
        netns: column(row, "netns")?,
    })
}

/// A column that holds the name of a variant.
fn named<T>(row: &Row<'_>, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, HistoryError> {
    let text: String = column(row, name)?;
    parse(&text).ok_or_else(|| unreadable(name, &format!("nothing is called {text:?}")))
}

/// A column that holds a u64 as the i64 with the same bits.
fn unsigned(row: &Row<'_>, name: &str) -> Result<u64, HistoryError> {
    column(row, name).map(i64::cast_unsigned)
}

fn optional_unsigned(row: &Row<'_>, name: &str) -> Result<Option<u64>, HistoryError> {
    Ok(column::<Option<i64>>(row, name)?.map(i64::cast_unsigned))
}

fn traffic(row: &Row<'_>) -> Result<Option<Traffic>, HistoryError> {
    let Some(bytes_sent) = optional_unsigned(row, "bytes_sent")? else { return Ok(None) };
    Ok(Some(Traffic {
        bytes_sent,
        bytes_received: unsigned(row, "bytes_received")?,
        packets_sent: optional_unsigned(row, "packets_sent")?,
        packets_received: optional_unsigned(row, "packets_received")?,
        srtt_us: column(row, "srtt_us")?,
        retransmits: column(row, "retransmits")?,
    }))
}

fn close(row: &Row<'_>) -> Result<Option<Close>, HistoryError> {
    let Some(after_ns) = optional_unsigned(row, "close_ns")? else { return Ok(None) };
    let ending = named(row, "ending", Ending::from_name)?;
    Ok(Some(Close { after_ns, ending, errno: column(row, "close_errno")? }))
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
        identity: Identity { exe: column(row, "exe")?, ..Identity::default() }.into(),
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
    Ok(Some(Endpoint { ip: address, port: column(row, port)?, scope: 0 }))
}

fn outcome(row: &Row<'_>) -> Result<Outcome, HistoryError> {
    let verdict = named(row, "verdict", Verdict::from_name)?;
    let stage = match column::<Option<String>>(row, "stage")? {
        Some(_) => Some(named(row, "stage", Stage::from_name)?),
        None => None,
    };
    let (after_ns, errno) = (optional_unsigned(row, "outcome_ns")?, column(row, "errno")?);
    Outcome::of_parts(verdict, after_ns, errno, stage).map_err(|part| unreadable(part, &"it is missing"))
}

fn column<T: FromSql>(row: &Row<'_>, name: &str) -> Result<T, HistoryError> {
    row.get(name).map_err(|error| unreadable(name, &error))
}
