//! What was written to the history just now: told on to those who follow it, and added up for those who measure.
//!
//! Nobody waits for a follower: of what is told, the last [`BATCHES`] batches are kept, and one that is slower is told
//! how much it has missed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{Receiver, Sender};

use crate::domain::{Batch, CountedKind, Loss, LossCounts, LossKind, LossPlace};

/// Batches that a follower may be behind: at 2,000 rows each, about 60 MB at most, and less than 1 MB on a machine that
/// is not flooded.
const BATCHES: usize = 64;

/// A place among the batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Batches before it.
    pub batches: u64,
    /// Rows of these.
    pub rows: u64,
}

/// A batch that is in the history.
#[derive(Debug)]
pub struct Recorded {
    /// Where it is.
    pub at: Position,
    /// What it holds.
    pub batch: Batch,
}

/// What has happened since the server began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events by what they are, those without a record among them.
    pub events: BTreeMap<LossKind, u64>,
    /// What was lost, by place and kind.
    pub losses: LossCounts,
    /// Batches that could not be written.
    pub failed_batches: u64,
    /// The newest connection: what comes later of it is no other.
    newest: u64,
}

/// Where batches are told on.
#[derive(Debug)]
pub struct Feed {
    followers: Mutex<Option<Sender<Arc<Recorded>>>>,
    tally: Mutex<Tally>,
    end: Mutex<Position>,
    version: AtomicU64,
    queued: AtomicUsize,
    stores: AtomicBool,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            followers: Mutex::new(Some(Sender::new(BATCHES))),
            tally: Mutex::default(),
            end: Mutex::default(),
            version: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
            stores: AtomicBool::new(true),
        }
    }
}

impl Feed {
    /// From here on every batch; `None` once the server stops, or when there are `most` followers.
    pub fn follow(&self, most: usize) -> Option<Receiver<Arc<Recorded>>> {
        let followers = lock(&self.followers);
        followers.as_ref().filter(|sender| sender.receiver_count() < most).map(Sender::subscribe)
    }

    /// How many follow.
    pub fn followers(&self) -> usize {
        lock(&self.followers).as_ref().map_or(0, Sender::receiver_count)
    }

    /// Nobody is told anything any more.
    pub fn close(&self) {
        lock(&self.followers).take();
    }

    /// Behind the last batch that was told on: those before it are in the history.
    pub fn end(&self) -> Position {
        *lock(&self.end)
    }

    /// Grows whenever something was written, or was to be: what the history said at a version it still says while there is
    /// no later one.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What has happened so far.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Batches that wait to be written.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// One more waits.
    pub fn enqueued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// One less does.
    pub fn dequeued(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the store took what was written last.
    pub fn is_stored(&self) -> bool {
        self.stores.load(Ordering::Relaxed)
    }

    /// The store takes what is written, or does not.
    pub fn stores(&self, stores: bool) {
        self.stores.store(stores, Ordering::Relaxed);
    }

    /// Something was found lost when batches were written.
    pub fn lost(&self, losses: &[Loss]) {
        self.version.fetch_add(1, Ordering::Release);
        let mut tally = lock(&self.tally);
        for loss in losses {
            tally.lose(loss);
        }
    }

    /// A batch is in the history.
    pub fn wrote(&self, batch: Batch) {
        self.version.fetch_add(1, Ordering::Release);
        lock(&self.tally).add(&batch);
        let mut end = lock(&self.end);
        let at = *end;
        *end = Position { batches: at.batches + 1, rows: at.rows + batch.rows() as u64 };
        if let Some(sender) = lock(&self.followers).as_ref() {
            let _ = sender.send(Arc::new(Recorded { at, batch })); // nobody may follow
        }
    }

    /// A batch could not be written.
    pub fn failed(&self, batch: &Batch) {
        self.version.fetch_add(1, Ordering::Release);
        let mut tally = lock(&self.tally);
        tally.failed_batches += 1;
        for (kind, count) in batch.events() {
            *tally.losses.entry((LossPlace::Store, kind)).or_default() += count;
        }
        batch.losses.iter().for_each(|loss| tally.lose(loss));
    }
}

impl Tally {
    fn add(&mut self, batch: &Batch) {
        batch.losses.iter().for_each(|loss| self.lose(loss));
        let newest = self.newest;
        let new = batch.connections.iter().filter(|connection| connection.id > newest);
        let mut ids: Vec<_> = new.map(|connection| connection.id).collect();
        // They nearly always are in order already.
        ids.sort_unstable();
        ids.dedup();
        self.newest = ids.last().copied().unwrap_or(newest);
        let mut count = |kind, count| *self.events.entry(kind).or_default() += count;
        count(LossKind::Connection, ids.len() as u64);
        count(LossKind::PacketDrop, batch.drops.len() as u64);
        for trouble in &batch.troubles {
            count(CountedKind::Trouble(trouble.kind).loss(), 1);
        }
        for counted in &batch.counted {
            count(counted.kind.loss(), counted.count);
        }
    }

    fn lose(&mut self, loss: &Loss) {
        *self.losses.entry((loss.place, loss.kind)).or_default() += loss.count;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;
    use crate::domain::Connection;

    fn connections(ids: &[u64]) -> Batch {
        let connections = ids.iter().map(|id| Connection { id: *id, ..Connection::default() }).collect();
        Batch { connections, ..Batch::default() }
    }

    #[test]
    fn a_connection_is_counted_once_whatever_comes_later_of_it() {
        let feed = Feed::default();
        feed.wrote(connections(&[1, 2]));
        feed.wrote(connections(&[2, 3, 3, 1]));
        assert_eq!(feed.tally().events[&LossKind::Connection], 3);
    }

    #[test]
    fn what_is_lost_on_the_way_is_counted_where_it_was_lost() {
        let feed = Feed::default();
        let lost = Loss { wall_ns: 1, place: LossPlace::EventsRingFull, kind: LossKind::Unknown, count: 5 };
        let expired = Loss { place: LossPlace::Expired, kind: LossKind::Connection, ..lost };
        let batch = Batch { losses: vec![lost], ..connections(&[1]) };
        feed.failed(&batch);
        feed.wrote(batch);
        feed.lost(&[expired]);
        let tally = feed.tally();
        let expected = [
            ((LossPlace::EventsRingFull, LossKind::Unknown), 10),
            ((LossPlace::Store, LossKind::Connection), 1),
            ((LossPlace::Expired, LossKind::Connection), 5),
        ];
        assert_eq!((tally.losses, tally.failed_batches), (expected.into(), 1));
    }

    #[test]
    fn a_slow_follower_is_told_and_nobody_waits_for_it() {
        let feed = Feed::default();
        let (mut slow, second) = (feed.follow(2).unwrap(), feed.follow(2).unwrap());
        assert!(feed.follow(2).is_none(), "as many as there may be");
        drop(second);
        for id in 0..=BATCHES as u64 {
            feed.wrote(connections(&[id]));
        }
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Lagged(1))));
        assert_eq!(slow.try_recv().unwrap().at, Position { batches: 1, rows: 1 });
        feed.close();
        assert!(feed.follow(2).is_none() && feed.end().batches == BATCHES as u64 + 1);
        while slow.try_recv().is_ok() {}
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Closed)));
    }
}
