//! The writing side: a batch is a transaction.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::row;
use crate::domain::{self, Batch, HistoryError, Loss, PacketDrop, Process, Sink};

/// What comes later fills in what was unknown; a known outcome is never forgotten. Who connected, when and
/// where to do not change.
const UPSERT_CONNECTION: &str = "
INSERT INTO connections (
    id, wall_ns, monotonic_ns, pid, tid, uid, cgroup_id, started_ns, comm, process, exe,
    family, source_ip, source_port, destination_ip, destination_port, protocol, netns,
    verdict, outcome_ns, errno, stage
) VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22
)
ON CONFLICT (id) DO UPDATE SET
    exe = coalesce(excluded.exe, exe),
    source_ip = coalesce(excluded.source_ip, source_ip),
    source_port = iif(excluded.source_ip IS NULL, source_port, excluded.source_port),
    destination_ip = coalesce(excluded.destination_ip, destination_ip),
    destination_port = iif(excluded.destination_ip IS NULL, destination_port, excluded.destination_port),
    verdict = iif(excluded.verdict = 'pending', verdict, excluded.verdict),
    outcome_ns = iif(excluded.verdict = 'pending', outcome_ns, excluded.outcome_ns),
    errno = iif(excluded.verdict = 'pending', errno, excluded.errno),
    stage = iif(excluded.verdict = 'pending', stage, excluded.stage)
";

/// A drop has one id and one truth: the same again is a recording that is replayed into the same history.
const INSERT_DROP: &str = "
INSERT INTO drops (
    id, wall_ns, monotonic_ns, attribution, pid, tid, uid, cgroup_id, started_ns, comm, process, exe,
    reason_code, reason, location, family, source_ip, source_port, destination_ip, destination_port,
    protocol, length, ether_type, interface, netns
) VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
    ?24, ?25
)
ON CONFLICT (id) DO NOTHING
";

const INSERT_LOSS: &str = "INSERT INTO losses (wall_ns, place, count) VALUES (?1, ?2, ?3)";

/// The one writer of a history.
#[derive(Debug)]
pub struct SqliteSink {
    connection: Connection,
}

impl SqliteSink {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    fn try_write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for connection in &batch.connections {
            upsert_connection(&transaction, connection)?;
        }
        for drop in &batch.drops {
            insert_drop(&transaction, drop)?;
        }
        for loss in &batch.losses {
            insert_loss(&transaction, loss)?;
        }
        transaction.commit()
    }
}

impl Sink for SqliteSink {
    fn write(&mut self, batch: &Batch) -> Result<(), HistoryError> {
        self.try_write(batch).map_err(|error| HistoryError(format!("cannot write to the history: {error}")))
    }
}

fn upsert_connection(transaction: &Transaction<'_>, connection: &domain::Connection) -> rusqlite::Result<()> {
    let process = &connection.process;
    let outcome = row::outcome_columns(connection.outcome);
    transaction.prepare_cached(UPSERT_CONNECTION)?.execute(params![
        connection.id.cast_signed(),
        connection.wall_ns,
        connection.monotonic_ns.cast_signed(),
        process.pid,
        process.tid,
        process.uid,
        process.cgroup_id.cast_signed(),
        process.started_ns.cast_signed(),
        process.comm,
        process.name,
        process.exe,
        connection.family,
        connection.source.map(row::address_blob),
        connection.source.map(|end| end.port),
        connection.destination.map(row::address_blob),
        connection.destination.map(|end| end.port),
        connection.protocol,
        connection.netns,
        connection.outcome.verdict().name(),
        outcome.after_ns.map(u64::cast_signed),
        outcome.errno,
        outcome.stage,
    ])?;
    Ok(())
}

fn insert_drop(transaction: &Transaction<'_>, drop: &PacketDrop) -> rusqlite::Result<()> {
    let owner: Option<&Process> = row::known_owner(drop);
    transaction.prepare_cached(INSERT_DROP)?.execute(params![
        drop.id.cast_signed(),
        drop.wall_ns,
        drop.monotonic_ns.cast_signed(),
        drop.attribution.name(),
        owner.map(|process| process.pid),
        owner.map(|process| process.tid),
        owner.map(|process| process.uid),
        owner.map(|process| process.cgroup_id.cast_signed()),
        owner.map(|process| process.started_ns.cast_signed()),
        owner.map(|process| &process.comm),
        owner.map(|process| &process.name),
        owner.and_then(|process| process.exe.as_ref()),
        drop.reason_code,
        drop.reason,
        drop.location,
        drop.family,
        drop.source.map(row::address_blob),
        drop.source.map(|end| end.port),
        drop.destination.map(row::address_blob),
        drop.destination.map(|end| end.port),
        drop.protocol,
        drop.length,
        drop.ether_type,
        drop.interface,
        drop.netns,
    ])?;
    Ok(())
}

fn insert_loss(transaction: &Transaction<'_>, loss: &Loss) -> rusqlite::Result<()> {
    transaction.prepare_cached(INSERT_LOSS)?.execute(params![
        loss.wall_ns,
        loss.place.name(),
        loss.count.cast_signed()
    ])?;
    Ok(())
}
