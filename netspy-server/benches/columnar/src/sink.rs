//! The writing side: a connection stays in memory, and in each log, until it is over; then its row is final.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use netspy_server::domain::{
    Batch, Connection, HistoryError, Keep, Loss, LossKind, LossPlace, Outcome, Sink,
};
use netspy_server::store::{self, SqliteSink};

use crate::history::{ColumnarHistory, Engine};
use crate::rows;
use crate::table::{Log, SEGMENT_ROWS, Table};

/// What a row takes in a log, about.
const LOGGED_ROW_BYTES: u64 = 300;

/// Connections that are not over.
pub(crate) type Open = Arc<Mutex<BTreeMap<u64, Connection>>>;

/// The one writer. What is rare (troubles, counts, losses) is a file of `SQLite`, as netspy's whole history is.
pub(crate) struct ColumnarSink {
    keep: Keep,
    rare: SqliteSink,
    engine: Engine,
    open: Open,
    connections: (Arc<Table>, Log),
    drops: (Arc<Table>, Log),
    /// Below it connections are over, or were never seen.
    newest: u64,
}

/// Opens or begins a history in a directory.
pub(crate) fn open(directory: &Path, keep: Keep) -> Result<(ColumnarSink, ColumnarHistory)> {
    std::fs::create_dir_all(directory)?;
    let (rare, rare_history) = store::open(&directory.join("rare.db"), keep)?;
    let schema = rows::schema(rows::of_connections(&[]))?;
    let (connections, connections_log, held) = Table::open(directory.join("connections"), schema)?;
    let (drops, drops_log, held_drops) =
        Table::open(directory.join("drops"), rows::schema(rows::of_drops(&[]))?)?;
    held_drops.into_iter().for_each(|batch| drops.show(batch));
    let open = Open::default();
    let mut newest = 0;
    for batch in held {
        let rows = rows::connections(&batch).context("the log of connections is damaged")?;
        newest = rows.iter().map(|row| row.id).max().unwrap_or(0).max(newest);
        let over = keep_open(&open, rows);
        connections.show(rows::of_connections(&over)?);
    }
    let engine = Engine::new()?;
    let history = ColumnarHistory::new(
        rare_history,
        engine.clone(),
        Arc::clone(&connections),
        Arc::clone(&drops),
        Arc::clone(&open),
    );
    let sink = ColumnarSink {
        keep,
        rare,
        engine,
        open,
        connections: (connections, connections_log),
        drops: (drops, drops_log),
        newest,
    };
    Ok((sink, history))
}

/// Takes in what is not over; gives back what is.
fn keep_open(open: &Open, rows: Vec<Connection>) -> Vec<Connection> {
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    let mut over = Vec::with_capacity(rows.len());
    for row in rows {
        if row.close.is_some() || matches!(row.outcome, Outcome::Failed { .. } | Outcome::Aborted { .. }) {
            open.remove(&row.id);
            over.push(row);
        } else {
            open.insert(row.id, row);
        }
    }
    over
}

impl ColumnarSink {
    fn try_write(&mut self, batches: &[Batch]) -> Result<Vec<Loss>> {
        let mut losses = Vec::new();
        for batch in batches {
            if batch.troubles.len() + batch.counted.len() + batch.losses.len() > 0 {
                let rare = Batch { connections: Vec::new(), drops: Vec::new(), ..batch.clone() };
                losses.extend(self.rare.write(&rare)?);
            }
            let (drops, log) = &mut self.drops;
            let rows = rows::of_drops(&batch.drops)?;
            log.append(&rows)?;
            drops.show(rows);
            losses.extend(self.write_connections(batch)?);
            self.seal_if_full()?;
            self.enforce(batch)?;
        }
        Ok(losses)
    }

    fn write_connections(&mut self, batch: &Batch) -> Result<Option<Loss>> {
        let (table, log) = &mut self.connections;
        let is_known = |row: &&Connection| {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            row.id > self.newest || open.contains_key(&row.id)
        };
        let known: Vec<_> = batch.connections.iter().filter(is_known).cloned().collect();
        let expired = (batch.connections.len() - known.len()) as u64;
        let expired = Loss {
            wall_ns: batch.until_ns.unwrap_or_default(),
            place: LossPlace::Expired,
            kind: LossKind::Connection,
            count: expired,
        };
        self.newest = known.iter().map(|row| row.id).max().unwrap_or(0).max(self.newest);
        log.append(&rows::of_connections(&known)?)?;
        table.show(rows::of_connections(&keep_open(&self.open, known))?);
        Ok(Some(expired).filter(|loss| loss.count > 0))
    }

    fn seal_if_full(&mut self) -> Result<()> {
        // A log may take a quarter of what is kept.
        let full = SEGMENT_ROWS.min((self.keep.bytes / 4 / LOGGED_ROW_BYTES) as usize);
        if self.connections.0.unsealed() >= full {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let rest: Vec<_> = open.values().cloned().collect();
            drop(open);
            self.connections.0.seal(&mut self.connections.1, &rows::of_connections(&rest)?)?;
        }
        if self.drops.0.unsealed() >= full {
            self.drops.0.seal(&mut self.drops.1, &rows::of_drops(&[])?)?;
        }
        Ok(())
    }

    /// By size, a segment at a time; by age, once all of it is too old.
    fn enforce(&mut self, batch: &Batch) -> Result<()> {
        let oldest_ns = batch.until_ns.map(|now_ns| now_ns.saturating_sub(self.keep.for_ns));
        let is_too_big = || self.connections.0.bytes() + self.drops.0.bytes() > self.keep.bytes / 2;
        for (table, is_of_connections) in [(&self.connections.0, true), (&self.drops.0, false)] {
            while let Some(segment) = table.oldest() {
                let too_old = match oldest_ns {
                    Some(oldest_ns) => self.engine.latest(table, &segment)? < oldest_ns,
                    None => false,
                };
                if !too_old && !is_too_big() {
                    break;
                }
                table.condemn(&segment, &self.engine.sums(table, &segment, is_of_connections)?)?;
            }
        }
        Ok(())
    }
}

impl Sink for ColumnarSink {
    fn write_all(&mut self, batches: &[Batch]) -> Result<Vec<Loss>, HistoryError> {
        self.try_write(batches)
            .map_err(|error| HistoryError(format!("cannot write to the history: {error:#}")))
    }
}
