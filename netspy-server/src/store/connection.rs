//! Rows of the table `connections`.

use rusqlite::{Row, Statement};

use super::block::NO_PORT;
use super::codes::{Coded, class, from_class};
use super::dictionary::ProcessReader;
use super::row::{Columns, Parameters, unreadable};
use crate::domain::{
    Close, Connection, Direction, Ending, HistoryError, Identity, Outcome, Traffic, Verdict,
};

/// The row with an id.
pub(super) const ONE: &str = "SELECT * FROM connections WHERE id = ?";

/// Adds a row, or replaces the one with its id.
pub(super) const PUT: &str = "INSERT OR REPLACE INTO connections VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The class that a connection is counted in.
pub(super) fn class_of(connection: &Connection) -> u32 {
    class(connection.direction, connection.outcome.verdict())
}

/// The port of its other end, as blocks have it.
pub(super) fn remote_port(connection: &Connection) -> u32 {
    let remote = match connection.direction {
        Direction::Outbound => connection.destination,
        Direction::Inbound => connection.source,
    };
    remote.map_or(NO_PORT, |end| end.port.into())
}

/// When it began, was decided or ended, whichever came last; ns since 1970.
pub(super) fn changed_ns(connection: &Connection) -> i64 {
    let decided = connection.outcome.after_ns().unwrap_or(0);
    let ended = connection.close.map_or(0, |close| close.after_ns);
    connection.wall_ns.saturating_add_unsigned(decided.max(ended))
}

/// Runs [`PUT`].
pub(super) fn put(
    statement: &mut Statement<'_>,
    connection: &Connection,
    process: u32,
    rolled: u8,
) -> rusqlite::Result<()> {
    let failure = connection.outcome.failure();
    let (traffic, close) = (connection.traffic, connection.close);
    let mut row = Parameters::of(statement);
    row.put(connection.id.cast_signed())?;
    row.put(connection.wall_ns)?;
    row.put(process)?;
    row.put(class_of(connection))?;
    row.put(rolled)?;
    row.put(connection.monotonic_ns.cast_signed())?;
    row.put(connection.found)?;
    row.put(connection.family)?;
    row.put(connection.socket_type)?;
    row.put(connection.protocol)?;
    row.put(connection.netns)?;
    row.put_end(connection.source)?;
    row.put_end(connection.destination)?;
    row.put(connection.path.as_deref())?;
    row.put(connection.peer_pid)?;
    row.put(connection.outcome.after_ns().map(u64::cast_signed))?;
    row.put(failure.map(|(errno, _)| errno))?;
    row.put(failure.map(|(_, stage)| stage.code()))?;
    row.put(connection.accepted_after_ns.map(u64::cast_signed))?;
    row.put(traffic.map(|traffic| traffic.bytes_sent.cast_signed()))?;
    row.put(traffic.map(|traffic| traffic.bytes_received.cast_signed()))?;
    row.put(traffic.and_then(|traffic| traffic.packets_sent).map(u64::cast_signed))?;
    row.put(traffic.and_then(|traffic| traffic.packets_received).map(u64::cast_signed))?;
    row.put(traffic.and_then(|traffic| traffic.srtt_us))?;
    row.put(traffic.and_then(|traffic| traffic.retransmits))?;
    row.put(close.map(|close| close.after_ns.cast_signed()))?;
    row.put(close.map(|close| close.ending.code()))?;
    row.put(close.map(|close| close.errno))?;
    row.execute().map(drop)
}

/// A connection as it is stored.
pub(super) struct Stored {
    pub(super) connection: Connection,
    /// Numbers of its process and program.
    pub(super) process: u32,
    pub(super) program: u32,
    /// How it was counted, see [`super::rollup`].
    pub(super) rolled: u8,
}

/// A row, whose columns are in the table's order.
pub(super) fn read(row: &Row<'_>, processes: &mut ProcessReader<'_>) -> Result<Stored, HistoryError> {
    let mut columns = Columns::of(row);
    let (id, wall_ns) = (columns.unsigned("id")?, columns.take("wall_ns")?);
    let (process, class) = (columns.take("process")?, columns.take::<u32>("class")?);
    let (direction, verdict) =
        from_class(class).ok_or_else(|| unreadable("class", &format!("nothing has number {class}")))?;
    let rolled = columns.take("rolled")?;
    let (owner, program) = processes.get(process)?;
    let connection = Connection {
        id,
        monotonic_ns: columns.unsigned("monotonic_ns")?,
        wall_ns,
        process: owner,
        direction,
        found: columns.take("found")?,
        family: columns.take("family")?,
        socket_type: columns.take("socket_type")?,
        protocol: columns.take("protocol")?,
        netns: columns.take("netns")?,
        source: columns.end("source_ip", "source_port")?,
        destination: columns.end("destination_ip", "destination_port")?,
        path: columns.take("path")?,
        peer_pid: columns.take("peer_pid")?,
        outcome: outcome(&mut columns, verdict)?,
        accepted_after_ns: columns.optional_unsigned("accepted_after_ns")?,
        traffic: traffic(&mut columns)?,
        close: close(&mut columns)?,
    };
    Ok(Stored { connection, process, program, rolled })
}

fn outcome(columns: &mut Columns<'_, '_>, verdict: Verdict) -> Result<Outcome, HistoryError> {
    let after_ns = columns.optional_unsigned("outcome_ns")?;
    let (errno, stage) = (columns.take("errno")?, columns.optional_coded("stage")?);
    Outcome::of_parts(verdict, after_ns, errno, stage).map_err(|part| unreadable(part, &"it is missing"))
}

fn traffic(columns: &mut Columns<'_, '_>) -> Result<Option<Traffic>, HistoryError> {
    let bytes_sent = columns.optional_unsigned("bytes_sent")?;
    let bytes_received = columns.optional_unsigned("bytes_received")?;
    let traffic = Traffic {
        bytes_sent: bytes_sent.unwrap_or(0),
        bytes_received: bytes_received.unwrap_or(0),
        packets_sent: columns.optional_unsigned("packets_sent")?,
        packets_received: columns.optional_unsigned("packets_received")?,
        srtt_us: columns.take("srtt_us")?,
        retransmits: columns.take("retransmits")?,
    };
    Ok(bytes_sent.map(|_| traffic))
}

fn close(columns: &mut Columns<'_, '_>) -> Result<Option<Close>, HistoryError> {
    let after_ns = columns.optional_unsigned("close_ns")?;
    let ending = columns.optional_coded::<Ending>("ending")?;
    let errno = columns.take::<Option<u32>>("close_errno")?;
    let Some(after_ns) = after_ns else { return Ok(None) };
    let ending = ending.ok_or_else(|| unreadable("ending", &"it is missing"))?;
    Ok(Some(Close { after_ns, ending, errno: errno.unwrap_or(0) }))
}

/// What is known of a connection: what comes later fills in what was unknown, and what is known is never
/// forgotten. When it began does not change.
pub(super) fn merge(known: &Connection, later: &Connection) -> Connection {
    let mut merged = later.clone();
    (merged.wall_ns, merged.monotonic_ns) = (known.wall_ns, known.monotonic_ns);
    (merged.direction, merged.found) = (known.direction, known.found);
    if *later.process.identity == Identity::default() && same_thread(known, later) {
        merged.process = known.process.clone();
    }
    let says_less = later.outcome == Outcome::Unanswered && known.outcome != Outcome::Pending;
    if later.outcome == Outcome::Pending || says_less {
        merged.outcome = known.outcome;
    }
    merged.source = later.source.or(known.source);
    merged.destination = later.destination.or(known.destination);
    merged.path = later.path.clone().or_else(|| known.path.clone());
    merged.peer_pid = later.peer_pid.or(known.peer_pid);
    merged.accepted_after_ns = later.accepted_after_ns.or(known.accepted_after_ns);
    merged.traffic = merge_traffic(known.traffic, later.traffic);
    merged.close = later.close.or(known.close);
    merged
}

fn merge_traffic(known: Option<Traffic>, later: Option<Traffic>) -> Option<Traffic> {
    let (Some(before), Some(now)) = (known, later) else { return later.or(known) };
    Some(Traffic {
        packets_sent: now.packets_sent.or(before.packets_sent),
        packets_received: now.packets_received.or(before.packets_received),
        srtt_us: now.srtt_us.or(before.srtt_us),
        retransmits: now.retransmits.or(before.retransmits),
        ..now
    })
}

fn same_thread(one: &Connection, other: &Connection) -> bool {
    (one.process.pid, one.process.tid, one.process.started_ns)
        == (other.process.pid, other.process.tid, other.process.started_ns)
}
