//! The reading side: windows and filters.
//!
//! Every answer is read in one transaction, so that its rows and its total are of the same moment. The order
//! is newest first; rows of the same nanosecond follow their stored ids, which only makes it always the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::types::Value;
use rusqlite::{Row, Transaction, params_from_iter};

use super::row;
use crate::domain::{
    Connection, Filter, History, HistoryError, LossCounts, LossPlace, PacketDrop, Page, Verdict, Window,
};

/// Bytes of a name that the kernel keeps (`TASK_COMM_LEN` without the terminating zero).
const COMM_BYTES: usize = 15;

/// Answers from a history; clones share its connections.
#[derive(Clone, Debug)]
pub struct SqliteHistory {
    readers: Arc<[Mutex<rusqlite::Connection>]>,
    turn: Arc<AtomicUsize>,
}

impl SqliteHistory {
    pub(super) fn new(readers: Vec<rusqlite::Connection>) -> Self {
        Self { readers: readers.into_iter().map(Mutex::new).collect(), turn: Arc::default() }
    }

    /// An idle connection, or the next one in turn as soon as it is idle. A query that panicked leaves no
    /// harm in its connection: its transaction was rolled back.
    pub(super) fn reader(&self) -> MutexGuard<'_, rusqlite::Connection> {
        self.readers.iter().find_map(|reader| reader.try_lock().ok()).unwrap_or_else(|| {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.readers.len();
            self.readers[turn].lock().unwrap_or_else(PoisonError::into_inner)
        })
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Transaction<'_>) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        query(&self.reader().transaction().map_err(cannot_read)?)
    }

    fn page<T>(
        &self,
        table: &str,
        filter: &Filter,
        limit: u32,
        convert: fn(&Row<'_>) -> Result<T, HistoryError>,
    ) -> Result<Page<T>, HistoryError> {
        let Condition { sql, mut values } = Condition::of(filter);
        self.read(|transaction| {
            let total: i64 = transaction
                .prepare_cached(&format!("SELECT count(*) FROM {table} WHERE {sql}"))
                .and_then(|mut statement| statement.query_row(params_from_iter(&values), |row| row.get(0)))
                .map_err(cannot_read)?;
            values.push(limit.into());
            let rows = collect(
                transaction,
                &format!("SELECT * FROM {table} WHERE {sql} ORDER BY wall_ns DESC, id DESC LIMIT ?"),
                &values,
                convert,
            )?;
            Ok(Page { rows, total: total.cast_unsigned() })
        })
    }

    fn counts<K: Ord>(
        &self,
        table: &str,
        key: &str,
        filter: &Filter,
        convert: fn(&Row<'_>) -> Result<K, HistoryError>,
    ) -> Result<BTreeMap<K, u64>, HistoryError> {
        let Condition { sql, values } = Condition::of(filter);
        let sql = format!("SELECT {key}, count(*) AS count FROM {table} WHERE {sql} GROUP BY {key}");
        let rows = self.read(|transaction| {
            collect(transaction, &sql, &values, |row| Ok((convert(row)?, row::unsigned(row, "count")?)))
        })?;
        Ok(rows.into_iter().collect())
    }
}

impl History for SqliteHistory {
    fn connections(&self, filter: &Filter, limit: u32) -> Result<Page<Connection>, HistoryError> {
        self.page("connections", filter, limit, row::connection)
    }

    fn connection_counts(&self, filter: &Filter) -> Result<BTreeMap<Verdict, u64>, HistoryError> {
        self.counts("connections", "verdict", filter, |row| row::named(row, "verdict", Verdict::from_name))
    }

    fn drops(&self, filter: &Filter, limit: u32) -> Result<Page<PacketDrop>, HistoryError> {
        self.page("drops", filter, limit, row::packet_drop)
    }

    fn drop_counts(&self, filter: &Filter) -> Result<BTreeMap<String, u64>, HistoryError> {
        self.counts("drops", "reason", filter, |row| row::named(row, "reason", |name| Some(name.to_owned())))
    }

    fn losses(&self, window: Window) -> Result<LossCounts, HistoryError> {
        // Equal counts are added up by SQLite, different ones here: its sum() fails beyond an i64.
        let sql = "SELECT place, count, count(*) AS times FROM losses WHERE wall_ns BETWEEN ?1 AND ?2
                   GROUP BY place, count";
        let window = [Value::from(window.since_ns), Value::from(window.until_ns)];
        let rows = self.read(|transaction| {
            collect(transaction, sql, &window, |row| {
                let lost = row::unsigned(row, "count")?.saturating_mul(row::unsigned(row, "times")?);
                Ok((row::named(row, "place", LossPlace::from_name)?, lost))
            })
        })?;
        let mut counts = LossCounts::new();
        for (place, lost) in rows.into_iter().filter(|(_, lost)| *lost > 0) {
            let count = counts.entry(place).or_default();
            *count = count.saturating_add(lost);
        }
        Ok(counts)
    }
}

/// A filter as SQL, and the values of its placeholders in their order.
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Condition {
    pub(super) fn of(filter: &Filter) -> Self {
        let mut sql = String::from("wall_ns BETWEEN ? AND ?");
        let mut values = vec![Value::from(filter.window.since_ns), Value::from(filter.window.until_ns)];
        if let Some(pid) = filter.pid {
            sql.push_str(" AND pid = ?");
            values.push(pid.into());
        }
        if let Some(name) = &filter.process {
            // The last condition lets SQLite use the index on threads, which has only those rows.
            sql.push_str(" AND (process IN (?, ?) OR (comm IN (?, ?) AND comm <> process))");
            let kept = as_kernel_keeps(name);
            values.extend([name.clone(), kept.clone(), name.clone(), kept].map(Value::from));
        }
        Self { sql, values }
    }
}

/// What is left of a name in the kernel. A character that is cut in two reads as U+FFFD, as it does when the
/// kernel's bytes are decoded.
fn as_kernel_keeps(name: &str) -> String {
    let bytes = name.as_bytes();
    String::from_utf8_lossy(&bytes[..bytes.len().min(COMM_BYTES)]).into_owned()
}

fn collect<T>(
    transaction: &Transaction<'_>,
    sql: &str,
    values: &[Value],
    convert: impl Fn(&Row<'_>) -> Result<T, HistoryError>,
) -> Result<Vec<T>, HistoryError> {
    let mut statement = transaction.prepare_cached(sql).map_err(cannot_read)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(cannot_read)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(cannot_read)? {
        found.push(convert(row)?);
    }
    Ok(found)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn cannot_read(error: rusqlite::Error) -> HistoryError {
    HistoryError(format!("cannot read the history: {error}"))
}
