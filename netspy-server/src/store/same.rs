//! How long an answer stays the same while nothing is written: until the first event leaves its window.

use rusqlite::{Connection, params};

use super::block::{CONNECTIONS, DROPS, Table};
use super::rollup::MINUTE_NS;
use super::row::cannot_read;
use crate::domain::{CountedKind, HistoryError, TroubleKind};

/// No answer is the same for longer: it says in which second it was asked for.
const MOST_NS: i64 = 1_000_000_000;

/// The first event at `since_ns` or later, or the end of the minute, which sums are kept by.
pub(super) fn from(file: &Connection, since_ns: i64) -> Result<i64, HistoryError> {
    let minute_end = (since_ns.div_euclid(MINUTE_NS) + 1).saturating_mul(MINUTE_NS).saturating_sub(1);
    let most = minute_end.min(since_ns.saturating_add(MOST_NS));
    let mut first = most;
    let mut ask = |sql: &str, kind: Option<&str>| -> rusqlite::Result<()> {
        let mut statement = file.prepare_cached(sql)?;
        let read = |row: &rusqlite::Row<'_>| row.get::<_, Option<i64>>(0);
        let found = match kind {
            Some(kind) => statement.query_row(params![since_ns, kind], read)?,
            None => statement.query_row([since_ns], read)?,
        };
        first = found.map_or(first, |found| first.min(found));
        Ok(())
    };
    ask("SELECT min(wall_ns) FROM losses WHERE wall_ns >= ?1", None).map_err(cannot_read)?;
    for kind in TroubleKind::ALL {
        let sql = "SELECT min(wall_ns) FROM troubles WHERE kind = ?2 AND wall_ns >= ?1";
        ask(sql, Some(kind.name())).map_err(cannot_read)?;
    }
    for kind in TroubleKind::ALL.map(CountedKind::Trouble).into_iter().chain([CountedKind::Drop]) {
        let sql = "SELECT min(wall_ns) FROM counted WHERE kind = ?2 AND wall_ns >= ?1";
        ask(sql, Some(kind.name())).map_err(cannot_read)?;
    }
    for table in [CONNECTIONS, DROPS] {
        first = first_row(file, table, (since_ns, first)).map_err(cannot_read)?;
    }
    Ok(first)
}

/// The wall time of the first row in this stretch, or its end.
fn first_row(file: &Connection, table: Table, (since_ns, until_ns): (i64, i64)) -> rusqlite::Result<i64> {
    let blocks = format!(
        "SELECT first_id, last_id, wall_first_ns FROM {} WHERE wall_last_ns >= ?1 AND wall_first_ns <= ?2",
        table.blocks
    );
    let rows =
        format!("SELECT min(wall_ns) FROM {} WHERE id BETWEEN ?1 AND ?2 AND wall_ns >= ?3", table.rows);
    let mut first = until_ns;
    let mut blocks = file.prepare_cached(&blocks)?;
    let mut touched = blocks.query([since_ns, until_ns])?;
    while let Some(block) = touched.next()? {
        let begins: i64 = block.get(2)?;
        let found = if begins >= since_ns {
            Some(begins)
        } else {
            let stretch = [block.get(0)?, block.get(1)?, since_ns];
            file.prepare_cached(&rows)?.query_row(stretch, |row| row.get(0))?
        };
        first = found.map_or(first, |found| first.min(found));
    }
    Ok(first)
}
