//! The writing side: what is there at a time is a transaction, mostly one batch.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::block::{Blocks, CONNECTIONS, DROPS, Entry, NO_PORT};
use super::checkpoint::Checkpoints;
use super::connection::{self, Stored};
use super::dictionary::{Causes, ProcessReader, Processes, Programs};
use super::ledger::{self, Unwritten};
use super::retention::{self, Progress};
use super::rollup::{Changes, Places};
use super::{packet_drop, troubles};
use crate::domain::{self, Batch, HistoryError, Keep, Loss, LossKind, LossPlace, Sink};

/// The one writer of a history.
#[derive(Debug)]
pub struct SqliteSink {
    file: Connection,
    bounds: Bounds,
    known: Known,
    unwritten: Arc<Unwritten>,
    checkpoints: Checkpoints,
}

/// How long and how much is kept, for whoever may change it while the history is written.
#[derive(Clone, Debug)]
pub struct Bounds(Arc<Mutex<Keep>>);

impl Bounds {
    /// From the next batch on.
    pub fn set(&self, keep: Keep) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keep;
    }

    fn get(&self) -> Keep {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer knows of the file without asking. A transaction that fails takes it along.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) processes: Processes,
    pub(super) programs: Programs,
    causes: Causes,
    places: Places,
    pub(super) progress: Progress,
}

impl Known {
    /// Numbers are asked of the file again.
    pub(super) fn forget_numbers(&mut self) {
        (self.processes, self.programs) = (Processes::default(), Programs::default());
    }
}

impl SqliteSink {
    pub(super) fn new(
        file: Connection,
        checkpoints: Checkpoints,
        keep: Keep,
        unwritten: Arc<Unwritten>,
    ) -> Self {
        let bounds = Bounds(Arc::new(Mutex::new(keep)));
        Self { file, bounds, known: Known::default(), unwritten, checkpoints }
    }

    /// The bounds that it enforces.
    pub fn bounds(&self) -> Bounds {
        self.bounds.clone()
    }

    fn try_write(&mut self, batches: &[Batch], unwritten: &[Loss]) -> Result<Vec<Loss>, HistoryError> {
        let mut written = self.transact(batches, unwritten);
        if written.is_err() {
            self.known = Known::default();
            if self.checkpoints.make_room(&self.file) {
                written = self.transact(batches, unwritten).inspect_err(|_| self.known = Known::default());
            }
        }
        written
    }

    fn transact(&mut self, batches: &[Batch], unwritten: &[Loss]) -> Result<Vec<Loss>, HistoryError> {
        let file =
            self.file.transaction_with_behavior(TransactionBehavior::Immediate).map_err(cannot_write)?;
        let expired = write_batches(&file, &mut self.known, batches)?;
        let losses = batches.iter().flat_map(|batch| &batch.losses);
        write_losses(&file, unwritten.iter().chain(losses)).map_err(cannot_write)?;
        retention::enforce(&file, &mut self.known, self.bounds.get(), batches).map_err(cannot_write)?;
        file.commit().map_err(cannot_write)?;
        Ok(expired)
    }

    /// The batches are written; what cannot be tidied up now can be later.
    fn tidy(&mut self) {
        let shrunk = retention::shrink(&self.file, self.bounds.get());
        if let Err(error) = shrunk.and_then(|()| self.checkpoints.keep_short(&self.file)) {
            tracing::debug!(%error, "the history could not be made smaller");
        }
    }
}

impl Sink for SqliteSink {
    fn write_all(&mut self, batches: &[Batch]) -> Result<Vec<Loss>, HistoryError> {
        let shared = self.unwritten.clone();
        let mut unwritten = shared.lock();
        // Readers only have to wait when there is something that must not be seen twice.
        let written = if unwritten.is_empty() {
            drop(unwritten);
            let written = self.try_write(batches, &[]);
            unwritten = shared.lock();
            written
        } else {
            let losses = std::mem::take(&mut *unwritten);
            self.try_write(batches, &losses).inspect_err(|_| *unwritten = losses)
        };
        if written.is_ok() {
            drop(unwritten);
            self.tidy();
            return written;
        }
        for batch in batches {
            batch.losses.iter().for_each(|loss| ledger::add(&mut unwritten, *loss));
            let wall_ns = retention::latest(batch).unwrap_or_default();
            for (kind, count) in batch.events() {
                ledger::add(&mut unwritten, Loss { wall_ns, place: LossPlace::Store, kind, count });
            }
        }
        written
    }
}

/// Everything but the batches' losses, within a transaction; returns those that were found only here.
pub(super) fn write_batches(
    file: &Transaction<'_>,
    known: &mut Known,
    batches: &[Batch],
) -> Result<Vec<Loss>, HistoryError> {
    let mut changes = Changes::default();
    let newest = batches.iter().flat_map(|batch| {
        let ids = batch.connections.iter().map(|row| row.id).chain(batch.drops.iter().map(|row| row.id));
        let others = batch.troubles.iter().map(|row| row.id).chain(batch.counted.iter().map(|row| row.id));
        ids.chain(others).map(u64::cast_signed)
    });
    known.processes.begin(newest.max().unwrap_or(i64::MIN));
    let expired = [
        (LossKind::Connection, write_connections(file, known, &mut changes, batches)?),
        (LossKind::PacketDrop, write_drops(file, known, &mut changes, batches).map_err(cannot_write)?),
    ];
    write_troubles(file, known, batches).map_err(cannot_write)?;
    let wall_ns = batches.iter().filter_map(retention::latest).max().unwrap_or_default();
    let expired = expired.map(|(kind, count)| Loss { wall_ns, place: LossPlace::Expired, kind, count });
    let expired: Vec<_> = expired.into_iter().filter(|loss| loss.count > 0).collect();
    write_losses(file, expired.iter()).map_err(cannot_write)?;
    changes.flush(file, &mut known.programs).map_err(cannot_write)?;
    Ok(expired)
}

/// Says for how many the beginning is no longer there.
fn write_connections(
    file: &Transaction<'_>,
    known: &mut Known,
    changes: &mut Changes,
    batches: &[Batch],
) -> Result<u64, HistoryError> {
    if batches.iter().all(|batch| batch.connections.is_empty()) {
        return Ok(0);
    }
    let mut blocks = Blocks::of(file, CONNECTIONS).map_err(cannot_write)?;
    let horizon = retention::horizon(file, CONNECTIONS).map_err(cannot_write)?;
    let mut put = file.prepare_cached(connection::PUT).map_err(cannot_write)?;
    let mut processes = ProcessReader::of(file);
    let mut expired = 0;
    for later in batches.iter().flat_map(|batch| &batch.connections) {
        let id = later.id.cast_signed();
        let before = if blocks.is_newest(id) { None } else { stored(file, id, &mut processes)? };
        if before.is_none() && id < horizon {
            expired += 1;
            continue;
        }
        let merged;
        let row = match &before {
            Some(before) => {
                merged = connection::merge(&before.connection, later);
                &merged
            }
            None => later,
        };
        let mut write = || {
            let numbers = known.processes.numbers(file, &mut known.programs, &row.process);
            let ((process, program), class) = (numbers?, connection::class_of(row));
            let of = [process, connection::remote_port(row)];
            let entry = Entry { wall_ns: row.wall_ns, changed_ns: connection::changed_ns(row), of, class };
            if let Some(before) = &before {
                let class_before = connection::class_of(&before.connection);
                changes.discount(&before.connection, before.program, class_before, before.rolled);
                let of_before = [before.process, connection::remote_port(&before.connection)];
                blocks.replace(id, (of_before, class_before), entry)?;
            } else {
                blocks.add(id, entry)?;
            }
            let rolled = changes.count(&mut known.places, row, program, class);
            connection::put(&mut put, row, process, rolled)
        };
        write().map_err(cannot_write)?;
    }
    blocks.flush().map_err(cannot_write)?;
    Ok(expired)
}

/// A connection that an earlier batch wrote, or this one.
fn stored(
    file: &Connection,
    id: i64,
    processes: &mut ProcessReader<'_>,
) -> Result<Option<Stored>, HistoryError> {
    let mut statement = file.prepare_cached(connection::ONE).map_err(cannot_write)?;
    let mut rows = statement.query([id]).map_err(cannot_write)?;
    let row = rows.next().map_err(cannot_write)?;
    row.map(|row| connection::read(row, processes)).transpose()
}

fn write_drops(
    file: &Transaction<'_>,
    known: &mut Known,
    changes: &mut Changes,
    batches: &[Batch],
) -> rusqlite::Result<u64> {
    if batches.iter().all(|batch| batch.drops.is_empty()) {
        return Ok(0);
    }
    let mut blocks = Blocks::of(file, DROPS)?;
    let horizon = retention::horizon(file, DROPS)?;
    let mut put = file.prepare_cached(packet_drop::PUT)?;
    let mut expired = 0;
    for drop in batches.iter().flat_map(|batch| &batch.drops) {
        let id = drop.id.cast_signed();
        if id < horizon {
            expired += 1;
            continue;
        }
        let (process, program) = match packet_drop::known_owner(drop) {
            Some(owner) => known.processes.numbers(file, &mut known.programs, owner)?,
            None => (0, 0),
        };
        let cause = known.causes.number(file, drop)?;
        if packet_drop::put(&mut put, drop, process, cause)? {
            let (wall_ns, changed_ns) = (drop.wall_ns, drop.wall_ns);
            blocks.add(id, Entry { wall_ns, changed_ns, of: [process, NO_PORT], class: cause })?;
            changes.count_drop(drop.wall_ns, program, cause);
        }
    }
    blocks.flush()?;
    Ok(expired)
}

fn write_troubles(file: &Transaction<'_>, known: &mut Known, batches: &[Batch]) -> rusqlite::Result<()> {
    let Known { processes, programs, .. } = known;
    let mut number = |owner: Option<&Arc<domain::Process>>| match owner {
        Some(owner) => processes.numbers(file, programs, owner).map(|numbers| numbers.0),
        None => Ok(0),
    };
    for trouble in batches.iter().flat_map(|batch| &batch.troubles) {
        troubles::put(file, trouble, number(troubles::known_owner(trouble))?)?;
    }
    for counted in batches.iter().flat_map(|batch| &batch.counted) {
        troubles::put_counted(file, counted, number(counted.owner.as_ref())?)?;
    }
    Ok(())
}

fn write_losses<'a>(file: &Transaction<'_>, losses: impl Iterator<Item = &'a Loss>) -> rusqlite::Result<()> {
    let sql = "INSERT INTO losses (wall_ns, place, kind, count) VALUES (?1, ?2, ?3, ?4)";
    let mut put = file.prepare_cached(sql)?;
    for loss in losses {
        put.execute(params![loss.wall_ns, loss.place.name(), loss.kind.name(), loss.count.cast_signed()])?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn cannot_write(error: rusqlite::Error) -> HistoryError {
    HistoryError(format!("cannot write to the history: {error}"))
}
