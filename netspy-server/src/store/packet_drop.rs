//! Rows of the table `drops`.

use rusqlite::{Row, Statement};

use super::codes::Coded;
use super::dictionary::{CauseReader, ProcessReader};
use super::row::{Columns, Parameters};
use crate::domain::{Attribution, HistoryError, PacketDrop, Process};

/// A drop has one id and one truth: the same again is a recording that is replayed into the same history.
pub(super) const PUT: &str = "INSERT OR IGNORE INTO drops VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The owner where one is known. A guessed pid must not be found by a search for that pid either.
pub(super) fn known_owner(drop: &PacketDrop) -> Option<&std::sync::Arc<Process>> {
    drop.owner.as_ref().filter(|_| drop.attribution != Attribution::None)
}

/// Runs [`PUT`]; says whether the drop is new.
pub(super) fn put(
    statement: &mut Statement<'_>,
    packet: &PacketDrop,
    process: u32,
    cause: u32,
) -> rusqlite::Result<bool> {
    let mut row = Parameters::of(statement);
    row.put(packet.id.cast_signed())?;
    row.put(packet.wall_ns)?;
    row.put(process)?;
    row.put(cause)?;
    row.put(packet.monotonic_ns.cast_signed())?;
    row.put(packet.attribution.code())?;
    row.put(packet.family)?;
    row.put(packet.protocol)?;
    row.put_end(packet.source)?;
    row.put_end(packet.destination)?;
    row.put(packet.length)?;
    row.put(packet.ether_type)?;
    row.put(packet.direction.map(Coded::code))?;
    row.put(packet.interface)?;
    row.put(packet.interface_name.as_str())?;
    row.put(packet.netns)?;
    Ok(row.execute()? == 1)
}

/// A row, whose columns are in the table's order.
pub(super) fn read(
    row: &Row<'_>,
    processes: &mut ProcessReader<'_>,
    causes: &mut CauseReader<'_>,
) -> Result<PacketDrop, HistoryError> {
    let mut columns = Columns::of(row);
    let (id, wall_ns) = (columns.unsigned("id")?, columns.take("wall_ns")?);
    let process: u32 = columns.take("process")?;
    let owner = if process == 0 { None } else { Some(processes.get(process)?.0) };
    let cause = causes.get(columns.take("class")?)?;
    Ok(PacketDrop {
        id,
        monotonic_ns: columns.unsigned("monotonic_ns")?,
        wall_ns,
        owner,
        attribution: columns.coded("attribution")?,
        reason_code: cause.code,
        reason: cause.reason,
        location: cause.location,
        family: columns.take("family")?,
        protocol: columns.take("protocol")?,
        source: columns.end("source_ip", "source_port")?,
        destination: columns.end("destination_ip", "destination_port")?,
        length: columns.take("length")?,
        ether_type: columns.take("ether_type")?,
        direction: columns.optional_coded("direction")?,
        interface: columns.take("interface")?,
        interface_name: columns.take("interface_name")?,
        netns: columns.take("netns")?,
    })
}
