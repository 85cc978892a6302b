//! What is deleted, and when: by age and by size, while writing, a block at a time.
//!
//! Rows go first; the rollups of their minutes stay as long as rows may become, those of their hours for more than a
//! year. Freed pages are used again, so that the file stops growing at its limit; a file that is above it (the
//! limit was lowered) gives its free pages back, a few with each batch.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::block::{BLOCK_ROWS, CONNECTIONS, DROPS, Table};
use super::rollup::{HOUR_MINUTES, MINUTE_NS, Rollup};
use super::segment;
use super::write::Known;
use crate::domain::{Batch, Keep};

/// For the log (up to 18 MB at full speed, see [`super::checkpoint`]), and what batches add before a step takes away: at
/// most a third of what is allowed.
const RESERVED_BYTES: u64 = 24 << 20;
/// What a row takes, about, in bytes: a connection with everything about it 125, an attempt less.
const ROW_BYTES: u64 = 100;
const HOURS_KEPT: i64 = 400 * 24;
/// Free pages that are given back at once.
const PAGES_AT_ONCE: u32 = 256;

/// What retention remembers between batches.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The minute for which the rollups were looked at last.
    minute: i64,
    /// Whether rollups take more than half of the room.
    rollups_first: bool,
}

/// The latest wall time in a batch: what "now" is for retention.
pub(super) fn latest(batch: &Batch) -> Option<i64> {
    let connections = batch.connections.iter().map(|row| row.wall_ns);
    let drops = batch.drops.iter().map(|row| row.wall_ns);
    let troubles = batch.troubles.iter().map(|row| row.wall_ns);
    let others =
        batch.counted.iter().map(|row| row.wall_ns).chain(batch.losses.iter().map(|loss| loss.wall_ns));
    connections.chain(drops).chain(troubles).chain(others).chain(batch.until_ns).max()
}

/// The least id that may be in the table: older ones were deleted.
pub(super) fn horizon(file: &Connection, table: Table) -> rusqlite::Result<i64> {
    value(file, table.rows).map(|value| value.unwrap_or(i64::MIN))
}

/// The first minute since 1970 of which every row is in the table; rollups know the earlier ones.
pub(super) fn first_minute(file: &Connection, table: Table) -> rusqlite::Result<i64> {
    value(file, table.blocks).map(|value| value.unwrap_or(i64::MIN))
}

/// The first minute since 1970 whose rollup is kept; the earlier ones are only in those of hours.
pub(super) fn first_rolled_minute(file: &Connection) -> rusqlite::Result<i64> {
    value(file, "minutes").map(|value| value.unwrap_or(i64::MIN))
}

fn value(file: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    file.prepare_cached("SELECT value FROM horizons WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn raise(file: &Connection, name: &str, to: i64) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO horizons VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)";
    file.prepare_cached(sql)?.execute(params![name, to]).map(drop)
}

/// Deletes what is too old or too much, at least as fast as the batches add to it.
pub(super) fn enforce(
    file: &Connection,
    known: &mut Known,
    keep: Keep,
    batches: &[Batch],
) -> rusqlite::Result<()> {
    let Some(now_ns) = batches.iter().filter_map(latest).max() else { return Ok(()) };
    let oldest_ns = now_ns.saturating_sub(keep.for_ns);
    let minute = now_ns.div_euclid(MINUTE_NS);
    if known.progress.minute != minute {
        known.progress = Progress { minute, rollups_first: rows_are_few(file, keep)? };
        forget_old(file, known, oldest_ns, minute)?;
    }
    let rows: usize = batches.iter().map(|batch| batch.connections.len() + batch.drops.len()).sum();
    let mut may_delete = 2 * (BLOCK_ROWS as usize + rows);
    while may_delete > 0 {
        let too_big = used_bytes(file)? > most_bytes(keep);
        if too_big
            && known.progress.rollups_first
            && let Some(sums) = forget_oldest_rollups(file)?
        {
            // A sum takes about half of what a row does, and few are added to a minute that is full.
            may_delete = may_delete.saturating_sub(1 + sums / 2);
            continue;
        }
        let Some(block) = oldest_block(file)? else { return Ok(()) };
        if !too_big && block.wall_last_ns >= oldest_ns {
            return Ok(());
        }
        delete(file, &block)?;
        let oldest = oldest_block(file)?.map_or(block.ids.1, |next| next.ids.0);
        for table in ["troubles", "counted"] {
            file.prepare_cached(&format!("DELETE FROM {table} WHERE id < ?1"))?.execute([oldest])?;
        }
        known.processes.sweep(file, oldest)?;
        may_delete = may_delete.saturating_sub(BLOCK_ROWS as usize);
    }
    Ok(())
}

/// A block that may be deleted.
struct Oldest {
    table: Table,
    ids: (i64, i64),
    wall_last_ns: i64,
}

/// The block of either table that begins with the oldest id.
fn oldest_block(file: &Connection) -> rusqlite::Result<Option<Oldest>> {
    let first = |table: Table| {
        let sql =
            format!("SELECT first_id, last_id, wall_last_ns FROM {} ORDER BY first_id LIMIT 1", table.blocks);
        let read =
            |row: &Row<'_>| Ok(Oldest { table, ids: (row.get(0)?, row.get(1)?), wall_last_ns: row.get(2)? });
        file.prepare_cached(&sql)?.query_row([], read).optional()
    };
    Ok([first(CONNECTIONS)?, first(DROPS)?].into_iter().flatten().min_by_key(|block| block.ids.0))
}

fn delete(file: &Connection, block: &Oldest) -> rusqlite::Result<()> {
    let Table { rows, blocks, .. } = block.table;
    segment::forget(file, block.table, block.ids.0)?;
    let sql = format!("DELETE FROM {rows} WHERE id BETWEEN ?1 AND ?2");
    file.prepare_cached(&sql)?.execute([block.ids.0, block.ids.1])?;
    file.prepare_cached(&format!("DELETE FROM {blocks} WHERE first_id = ?1"))?.execute([block.ids.0])?;
    raise(file, rows, block.ids.1.saturating_add(1))?;
    raise(file, blocks, block.wall_last_ns.div_euclid(MINUTE_NS) + 1)
}

/// What is kept by age alone.
fn forget_old(file: &Connection, known: &mut Known, oldest_ns: i64, minute: i64) -> rusqlite::Result<()> {
    file.prepare_cached("DELETE FROM losses WHERE wall_ns < ?1")?.execute([oldest_ns])?;
    for table in ["troubles", "counted"] {
        // Ids are wall times, or later than those: none that is young enough is deleted.
        file.prepare_cached(&format!("DELETE FROM {table} WHERE id < ?1 AND wall_ns < ?1"))?
            .execute([oldest_ns])?;
    }
    let oldest_minute = oldest_ns.div_euclid(MINUTE_NS);
    let oldest_hour = minute.div_euclid(HOUR_MINUTES) - HOURS_KEPT;
    let mut delete = file.prepare_cached("DELETE FROM rollups WHERE kind = ?1 AND bucket < ?2")?;
    let minutes = delete.execute(params![Rollup::ConnectionsByMinute as u8, oldest_minute])?
        + delete.execute(params![Rollup::DropsByMinute as u8, oldest_minute])?;
    if minutes > 0 {
        raise(file, "minutes", oldest_minute)?;
    }
    let hours = delete.execute(params![Rollup::ConnectionsByHour as u8, oldest_hour])?
        + delete.execute(params![Rollup::DropsByHour as u8, oldest_hour])?;
    if hours > 0 {
        let sql = "DELETE FROM programs WHERE last_hour < ?1 AND id NOT IN (SELECT program FROM processes)";
        file.prepare_cached(sql)?.execute([oldest_hour])?;
        known.forget_numbers();
    }
    Ok(())
}

/// Deletes the oldest minute of the rollups, or the oldest hour when there is none; says how many sums that were, if there
/// was any.
fn forget_oldest_rollups(file: &Connection) -> rusqlite::Result<Option<usize>> {
    let kinds = [
        (Rollup::ConnectionsByMinute, Rollup::DropsByMinute),
        (Rollup::ConnectionsByHour, Rollup::DropsByHour),
    ];
    for (connections, drops) in kinds {
        let sql = "SELECT min(bucket) FROM rollups WHERE kind = ?1";
        let mut oldest = file.prepare_cached(sql)?;
        let mut of = |kind: Rollup| oldest.query_row([kind as u8], |row| row.get::<_, Option<i64>>(0));
        let Some(bucket) = [of(connections)?, of(drops)?].into_iter().flatten().min() else { continue };
        let sums = file
            .prepare_cached("DELETE FROM rollups WHERE kind IN (?1, ?2) AND bucket = ?3")?
            .execute(params![connections as u8, drops as u8, bucket])?;
        if connections == Rollup::ConnectionsByMinute {
            raise(file, "minutes", bucket + 1)?;
        }
        return Ok(Some(sums));
    }
    Ok(None)
}

/// Whether the rows take less than half of what may be in the file.
fn rows_are_few(file: &Connection, keep: Keep) -> rusqlite::Result<bool> {
    let sql = "SELECT (SELECT count(*) FROM connection_blocks) + (SELECT count(*) FROM drop_blocks)";
    let blocks: i64 = file.query_row(sql, [], |row| row.get(0))?;
    Ok(blocks.cast_unsigned() * u64::from(BLOCK_ROWS) * ROW_BYTES < most_bytes(keep) / 2)
}

/// What may be in the file.
fn most_bytes(keep: Keep) -> u64 {
    keep.bytes - RESERVED_BYTES.min(keep.bytes / 3)
}

fn used_bytes(file: &Connection) -> rusqlite::Result<u64> {
    let (pages, free, size) = pages(file)?;
    Ok((pages - free) * size)
}

/// Pages in the file, those of them that are free, and bytes in each.
fn pages(file: &Connection) -> rusqlite::Result<(u64, u64, u64)> {
    let ask = |what: &str| -> rusqlite::Result<u64> {
        let sql = format!("PRAGMA {what}");
        file.prepare_cached(&sql)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    };
    Ok((ask("page_count")?, ask("freelist_count")?, ask("page_size")?))
}

/// Between two transactions: makes the file smaller where it is too big.
pub(super) fn shrink(file: &Connection, keep: Keep) -> rusqlite::Result<()> {
    let (pages, free, size) = pages(file)?;
    if pages * size > u64::midpoint(most_bytes(keep), keep.bytes) && free > 0 {
        let mut vacuum = file.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
    }
    Ok(())
}
