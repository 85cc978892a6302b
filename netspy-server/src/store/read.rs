//! The reading side. Every answer is read in one transaction, so that its parts are of the same moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Transaction;

use super::block::{CONNECTIONS, DROPS};
use super::dictionary::{CauseReader, ProcessReader};
use super::ledger::{self, Unwritten};
use super::question::Question;
use super::row::{Columns, cannot_read, unreadable};
use super::{codes, connection, packet_drop, scan, sums, top, troubles};
use crate::domain::{
    Connection, ConnectionCounts, CountedKind, Filter, Group, GroupBy, History, HistoryError, LossCounts,
    LossKind, LossPlace, PacketDrop, Page, ReasonCounts, Sum, Trouble, TroubleKind, Unrecorded, Window,
};

/// Answers from a history; clones share its connections.
#[derive(Clone, Debug)]
pub struct SqliteHistory {
    readers: Arc<[Mutex<rusqlite::Connection>]>,
    turn: Arc<AtomicUsize>,
    unwritten: Arc<Unwritten>,
}

impl SqliteHistory {
    pub(super) fn new(readers: Vec<rusqlite::Connection>, unwritten: Arc<Unwritten>) -> Self {
        Self { readers: readers.into_iter().map(Mutex::new).collect(), turn: Arc::default(), unwritten }
    }

    /// An idle connection, or the next one in turn as soon as it is idle. A query that panicked leaves no
    /// harm in its connection: its transaction was rolled back.
    fn reader(&self) -> MutexGuard<'_, rusqlite::Connection> {
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
}

impl History for SqliteHistory {
    fn connections(&self, filter: &Filter, limit: u32) -> Result<Page<Connection>, HistoryError> {
        self.read(|file| {
            let (question, mut processes) =
                (Question::of_connections(file, filter)?, ProcessReader::of(file));
            scan::page(file, CONNECTIONS, &question, limit, &mut |row| {
                connection::read(row, &mut processes).map(|stored| stored.connection)
            })
        })
    }

    fn connection_counts(&self, filter: &Filter) -> Result<ConnectionCounts, HistoryError> {
        let counts = self.read(|file| {
            let question = Question::of_connections(file, filter)?;
            sums::count(file, CONNECTIONS, question, filter)
        })?;
        let named = |(class, count)| match codes::from_class(class) {
            Some(what) => Ok((what, count)),
            None => Err(unreadable("class", &format!("nothing has number {class}"))),
        };
        counts.into_iter().map(named).collect()
    }

    fn drops(&self, filter: &Filter, limit: u32) -> Result<Page<PacketDrop>, HistoryError> {
        self.read(|file| {
            let question = Question::of_drops(file, filter)?;
            let (mut processes, mut causes) = (ProcessReader::of(file), CauseReader::of(file));
            scan::page(file, DROPS, &question, limit, &mut |row| {
                packet_drop::read(row, &mut processes, &mut causes)
            })
        })
    }

    fn drop_counts(&self, filter: &Filter) -> Result<ReasonCounts, HistoryError> {
        self.read(|file| {
            let (question, mut causes) = (Question::of_drops(file, filter)?, CauseReader::of(file));
            let mut reasons = ReasonCounts::new();
            for (cause, count) in sums::count(file, DROPS, question, filter)? {
                let cause = causes.get(cause)?;
                *reasons.entry((cause.reason, cause.location)).or_default() += count;
            }
            Ok(reasons)
        })
    }

    fn troubles(
        &self,
        kind: TroubleKind,
        filter: &Filter,
        limit: u32,
    ) -> Result<Page<Trouble>, HistoryError> {
        self.read(|file| troubles::page(file, kind, filter, limit))
    }

    fn unrecorded(&self, kind: CountedKind, filter: &Filter) -> Result<Unrecorded, HistoryError> {
        self.read(|file| troubles::unrecorded(file, kind, filter))
    }

    fn top(&self, filter: &Filter, by: GroupBy, limit: u32) -> Result<Vec<(Group, Sum)>, HistoryError> {
        self.read(|file| top::connections(file, filter, by, limit))
    }

    fn top_drops(&self, filter: &Filter, by: GroupBy, limit: u32) -> Result<Vec<(Group, Sum)>, HistoryError> {
        self.read(|file| top::drops(file, filter, by, limit))
    }

    fn size_bytes(&self) -> Result<u64, HistoryError> {
        self.read(|file| {
            let pragma =
                |name| file.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(cannot_read);
            Ok(pragma("page_count")?.cast_unsigned() * pragma("page_size")?.cast_unsigned())
        })
    }

    fn losses(&self, window: Window) -> Result<LossCounts, HistoryError> {
        // Held while the file is read: what is not written yet must be seen in one place and only there.
        let unwritten = self.unwritten.lock();
        let mut counts = self.read(|file| written_losses(file, window))?;
        for loss in ledger::within(&unwritten, window).filter(|loss| loss.count > 0) {
            let count = counts.entry((loss.place, loss.kind)).or_default();
            *count = count.saturating_add(loss.count);
        }
        Ok(counts)
    }
}

fn written_losses(file: &Transaction<'_>, window: Window) -> Result<LossCounts, HistoryError> {
    // Equal counts are added up by SQLite, different ones here: its sum() fails beyond an i64.
    let sql = "SELECT place, kind, count, count(*) AS times FROM losses WHERE wall_ns BETWEEN ?1 AND ?2
               GROUP BY place, kind, count";
    let mut statement = file.prepare_cached(sql).map_err(cannot_read)?;
    let mut rows = statement.query([window.since_ns, window.until_ns]).map_err(cannot_read)?;
    let mut counts = LossCounts::new();
    while let Some(row) = rows.next().map_err(cannot_read)? {
        let mut columns = Columns::of(row);
        let place = columns.named("place", LossPlace::from_name)?;
        let kind = columns.named("kind", LossKind::from_name)?;
        let lost = columns.unsigned("count")?.saturating_mul(columns.unsigned("times")?);
        if lost > 0 {
            let count = counts.entry((place, kind)).or_default();
            *count = count.saturating_add(lost);
        }
    }
    Ok(counts)
}
