//! Copying the log into the database. It flushes the disk, for which nobody who asks should wait: a thread beside the writer does most of it.
//!
//! The log begins anew where all of it was copied. While rows are written beside there is always a rest: the writer copies that.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB};

/// A log of so many pages is copied: the fewer times a page is, the less is written …
const WORTH: i32 = 1_500;
/// … and a shorter one after so many transactions, as only then the file itself becomes smaller.
const OFTEN: u32 = 64;
/// The rest that the writer copies, in pages.
const REST: i32 = 250;
/// With so many pages in the log the writer waits for the thread, and copies what is left, however much that is …
const LONG: i32 = 2_500;
/// … and this long it only becomes where readers have always kept it from beginning anew.
const LONGEST: i32 = 8_192;

/// The writer's side.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Pages in the log at the last commit.
    pages: Arc<AtomicI32>,
    /// Those of them that the thread has copied. It holds the lock while it copies.
    copied: Arc<Mutex<i32>>,
    /// Transactions since the last copying began.
    transactions: u32,
    thread: Beside,
}

/// The thread, from when it is needed.
#[derive(Debug)]
enum Beside {
    NotYet(Connection),
    Runs(SyncSender<()>, JoinHandle<()>),
    /// It could not be started: the writer copies.
    Never,
}

impl Checkpoints {
    /// Of the log that `writer` writes; the thread will use `other`, which must have read: before, it knows of no log.
    pub(super) fn of(writer: &mut Connection, other: Connection) -> rusqlite::Result<Self> {
        let pages = Arc::<AtomicI32>::default();
        let told = pages.clone();
        // In place of SQLite's own, which copies within the commit.
        writer.wal_hook(Some(move |_: &mut _, in_log| {
            told.store(in_log, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, copied: Arc::default(), transactions: 0, thread: Beside::NotYet(other) })
    }

    /// After a transaction of the writer: copies, or has copied, what is worth it.
    pub(super) fn keep_short(&mut self, writer: &Connection) -> rusqlite::Result<()> {
        let pages = self.pages.load(Ordering::Relaxed);
        self.transactions += 1;
        let shared = self.copied.clone();
        let mut copied = match shared.try_lock() {
            Ok(copied) => copied,
            Err(_) if pages < LONG => return Ok(()), // the thread is at it
            Err(_) => shared.lock().unwrap_or_else(PoisonError::into_inner),
        };
        if *copied > pages {
            *copied = 0; // of a log that has begun anew
        }
        let is_long_ago = self.transactions >= OFTEN;
        if pages < WORTH && !is_long_ago && *copied == 0 {
            return Ok(());
        }
        if pages <= LONGEST || is_long_ago {
            self.transactions = 0;
        }
        if pages - *copied > REST && pages < LONG && self.thread.copy(&self.copied) {
            return Ok(());
        }
        *copied = 0;
        // A restart waits for the readers, which are done within moments. For one that is not, each transaction would wait.
        let waits = pages > LONGEST && is_long_ago;
        let how = if waits { CheckpointMode::RESTART } else { CheckpointMode::PASSIVE };
        writer.wal_checkpoint_v2(Some(MAIN_DB), how).map(drop)
    }

    /// After a transaction that failed, for which a full disk may have had no room in the log: copies all of it, so that it
    /// begins anew. Whether it does.
    pub(super) fn make_room(&mut self, writer: &Connection) -> bool {
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        let had_room = *copied == self.pages.load(Ordering::Relaxed);
        let Ok((pages, so_far)) = writer.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE) else {
            return false;
        };
        *copied = so_far;
        so_far == pages && !had_room
    }
}

impl Beside {
    /// Asks it to; false where there is none.
    fn copy(&mut self, copied: &Arc<Mutex<i32>>) -> bool {
        if let Self::NotYet(_) = self
            && let Self::NotYet(log) = std::mem::replace(self, Self::Never)
        {
            let ((ask, asked), copied) = (sync_channel(1), copied.clone());
            let named = thread::Builder::new().name("checkpoint".to_owned());
            match named.spawn(move || copy(&log, &asked, &copied)) {
                Ok(thread) => *self = Self::Runs(ask, thread),
                Err(error) => tracing::warn!(%error, "whoever asks waits for the disk more often"),
            }
        }
        let Self::Runs(ask, _) = self else { return false };
        // Where one such wish waits already, that is enough.
        let _ = ask.try_send(());
        true
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Beside::Runs(ask, thread) = std::mem::replace(&mut self.thread, Beside::Never) {
            drop(ask);
            let _ = thread.join();
        }
    }
}

fn copy(log: &Connection, asked: &Receiver<()>, copied: &Mutex<i32>) {
    while asked.recv().is_ok() {
        let mut copied = copied.lock().unwrap_or_else(PoisonError::into_inner);
        match log.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE) {
            Ok((_, so_far)) => *copied = so_far,
            Err(error) => tracing::debug!(%error, "the log of the history could not be copied"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A page and its header in the log, in bytes.
    const PAGE: u64 = 4_096 + 24;
    /// Pages that a transaction of [`Log::write`] writes, about.
    const AT_ONCE: i32 = 500;

    struct Log {
        directory: tempfile::TempDir,
        writer: Connection,
        checkpoints: Checkpoints,
    }

    impl Log {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let open = || Connection::open(directory.path().join("db")).unwrap();
            let mut writer = open();
            writer.pragma_update(None, "journal_mode", "WAL").unwrap();
            writer.execute_batch("CREATE TABLE pages (bytes BLOB)").unwrap();
            let other = open();
            other.query_row("SELECT count(*) FROM pages", [], |_| Ok(())).unwrap();
            let checkpoints = Checkpoints::of(&mut writer, other).unwrap();
            Self { directory, writer, checkpoints }
        }

        fn write(&mut self) {
            let bytes = AT_ONCE * 4_080;
            self.writer.execute("INSERT INTO pages VALUES (zeroblob(?1))", [bytes]).unwrap();
        }

        /// The most pages that the log has ever had.
        fn pages(&self) -> i32 {
            let log = std::fs::metadata(self.directory.path().join("db-wal")).unwrap();
            (log.len() / PAGE) as i32
        }
    }

    #[test]
    fn the_log_stays_short_however_much_is_written() {
        let mut log = Log::new();
        for _ in 0..60 {
            log.write();
            log.checkpoints.keep_short(&log.writer).unwrap();
        }
        assert!(log.pages() <= LONG + 2 * AT_ONCE, "{}", log.pages());
        let written: i32 = log.writer.query_row("SELECT count(*) FROM pages", [], |row| row.get(0)).unwrap();
        assert_eq!(written, 60);
    }

    #[test]
    fn the_thread_copies_and_the_writer_only_the_rest() {
        let mut log = Log::new();
        for _ in 0..=WORTH / AT_ONCE {
            log.write();
        }
        let in_log = log.checkpoints.pages.load(Ordering::Relaxed);
        assert!((WORTH..LONG).contains(&in_log));
        log.checkpoints.keep_short(&log.writer).unwrap();
        let asked = Instant::now();
        while *log.checkpoints.copied.lock().unwrap() < in_log {
            assert!(asked.elapsed() < Duration::from_secs(20), "nobody copies");
            thread::sleep(Duration::from_millis(1));
        }
        log.checkpoints.keep_short(&log.writer).unwrap();
        log.write();
        assert!(log.checkpoints.pages.load(Ordering::Relaxed) < WORTH, "it has begun anew");
    }

    #[test]
    fn a_reader_that_stays_for_long_makes_it_longer_only_until_it_goes() {
        let mut log = Log::new();
        let reader = Connection::open(log.directory.path().join("db")).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM pages").unwrap();
        while log.checkpoints.pages.load(Ordering::Relaxed) <= LONG + 2 * AT_ONCE {
            log.write();
            log.checkpoints.keep_short(&log.writer).unwrap();
        }
        reader.execute_batch("COMMIT").unwrap();
        let longest = log.pages();
        for _ in 0..40 {
            log.write();
            log.checkpoints.keep_short(&log.writer).unwrap();
        }
        assert!(log.pages() <= longest + 2 * AT_ONCE, "{} after {longest}", log.pages());
    }

    #[test]
    fn a_reader_that_never_ends_is_waited_for_once_in_a_while() {
        let mut log = Log::new();
        log.writer.busy_timeout(Duration::ZERO).unwrap();
        let reader = Connection::open(log.directory.path().join("db")).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM pages").unwrap();
        while log.checkpoints.pages.load(Ordering::Relaxed) <= LONGEST {
            log.write();
        }
        let waited = (0..2 * OFTEN).filter(|_| {
            log.writer.execute("INSERT INTO pages VALUES (zeroblob(1))", []).unwrap();
            log.checkpoints.keep_short(&log.writer).is_err()
        });
        assert_eq!(waited.count(), 2);
    }
}
