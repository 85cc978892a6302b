//! Files of schema versions 4 and 5, whose summaries know less of the same rows: they are made anew.

use rusqlite::Transaction;

use super::block::{Blocks, CONNECTIONS, DROPS, Entry, NO_PORT, Table};
use super::codes::from_class;
use super::schema::summaries;
use crate::domain::Direction;

/// Rows summed up at once.
const ROWS: usize = 20_000;

pub(super) fn migrate(file: &Transaction<'_>) -> rusqlite::Result<()> {
    tracing::info!("bringing the history to a new format; this takes a few seconds per million events");
    let ends = "outcome_ns, close_ns, source_port, destination_port";
    for (table, columns) in [(CONNECTIONS, ends), (DROPS, "NULL, NULL, NULL, NULL")] {
        file.execute_batch(&format!("DROP TABLE {}; {}", table.blocks, summaries(table)))?;
        sum_up(file, table, columns)?;
    }
    Ok(())
}

fn sum_up(file: &Transaction<'_>, table: Table, columns: &str) -> rusqlite::Result<()> {
    let sql = format!("SELECT id, wall_ns, process, class, {columns} FROM {} ORDER BY id", table.rows);
    let mut statement = file.prepare(&sql)?;
    let mut rows = statement.query([])?;
    loop {
        let (mut blocks, mut taken) = (Blocks::of(file, table)?, 0);
        while taken < ROWS
            && let Some(row) = rows.next()?
        {
            let (wall_ns, class) = (row.get::<_, i64>(1)?, row.get(3)?);
            let after_ns =
                |column| row.get::<_, Option<i64>>(column).map(|after| after.unwrap_or(0).cast_unsigned());
            let changed_ns = wall_ns.saturating_add_unsigned(after_ns(4)?.max(after_ns(5)?));
            let is_inbound = from_class(class).is_some_and(|(direction, _)| direction == Direction::Inbound);
            let port: Option<u32> = row.get(if is_inbound { 6 } else { 7 })?;
            let of = [row.get(2)?, port.unwrap_or(NO_PORT)];
            blocks.add(row.get(0)?, Entry { wall_ns, changed_ns, of, class })?;
            taken += 1;
        }
        blocks.flush()?;
        if taken < ROWS {
            return Ok(());
        }
    }
}
