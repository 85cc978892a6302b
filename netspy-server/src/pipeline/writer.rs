//! The thread that writes: the pipeline goes on draining the rings while a transaction is committed.
//!
//! Batches wait in a short queue. When it is full the pipeline waits too, and what then no longer fits into the
//! rings is counted there: nothing is thrown away here.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use crate::{
    domain::{Batch, Sink, Told},
    feed::Feed,
};

/// Batches that may wait.
const QUEUE: usize = 8;

/// A batch, which may be empty, and the queries that wait until everything up to it can be read.
struct Job {
    batch: Batch,
    waiting: Vec<Told>,
}

/// The way to the writing thread.
pub(super) struct Writer {
    jobs: SyncSender<Job>,
    /// Jobs handed over, and those that are done.
    begun: u64,
    done: Arc<AtomicU64>,
    feed: Arc<Feed>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(mut sink: Box<dyn Sink>, feed: Arc<Feed>) -> io::Result<Self> {
        let (jobs, to_do) = sync_channel(QUEUE);
        let (done, told) = (Arc::<AtomicU64>::default(), feed.clone());
        let (store, doing) = (thread::Builder::new().name("store".to_owned()), done.clone());
        let thread = store.spawn(move || work(&mut *sink, &to_do, &told, &doing))?;
        Ok(Self { jobs, begun: 0, done, feed, thread })
    }

    /// Whether everything that was handed over is written and can be read.
    pub(super) fn is_idle(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.begun && self.feed.is_stored()
    }

    /// Has a batch written after those before it, then the queries answered.
    pub(super) fn write(&mut self, batch: Batch, waiting: Vec<Told>) -> io::Result<()> {
        self.feed.enqueued();
        self.begun += 1;
        self.jobs.send(Job { batch, waiting }).map_err(|_| gone())
    }

    /// Waits until everything is written.
    pub(super) fn finish(self) -> io::Result<()> {
        drop(self.jobs);
        self.thread.join().map_err(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes history panicked; please report it with the log above")
}

fn work(sink: &mut dyn Sink, to_do: &Receiver<Job>, feed: &Feed, done: &AtomicU64) {
    let mut works = true;
    while let Ok(first) = to_do.recv() {
        // What has come meanwhile goes into the same transaction: the further behind it is, the less a row costs.
        let jobs = std::iter::once(first).chain(to_do.try_iter().take(QUEUE));
        let (batches, waiting): (Vec<_>, Vec<_>) = jobs
            .map(|job| {
                feed.dequeued();
                (job.batch, job.waiting)
            })
            .unzip();
        // What could not be written before is tried again with each batch, and whenever somebody asks.
        let nothing = works && batches.iter().all(Batch::is_empty);
        let written = if nothing { Ok(Vec::new()) } else { sink.write_all(&batches) };
        // Once, not per batch: a full disk would fill the log as well.
        match (&written, works) {
            (Ok(_), true) | (Err(_), false) => {}
            (Ok(_), false) => tracing::info!("the store can be written again"),
            (Err(error), true) => {
                tracing::error!(%error, "what cannot be written is counted as lost; tracing goes on");
            }
        }
        works = written.is_ok();
        feed.stores(works);
        // Before queries are answered: what is told on is in the history, and what is in an answer has been told.
        let written = match written {
            Ok(more) => {
                if !more.is_empty() {
                    feed.lost(&more);
                }
                for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
                    feed.wrote(batch);
                }
                Ok(())
            }
            Err(error) => {
                for batch in &batches {
                    feed.failed(batch);
                }
                Err(error)
            }
        };
        done.fetch_add(waiting.len() as u64, Ordering::Release);
        for told in waiting.into_iter().flatten() {
            told(Ok(written.clone()));
        }
    }
    // There is no later batch to take along what is still only in memory.
    if !works && let Err(error) = sink.write(&Batch::default()) {
        tracing::error!(%error, "what was lost is not in the history: it could not be written until the end");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::domain::{Connection, HistoryError, Loss};

    /// Says how many batches it is to write, and does it when it is told to.
    struct Slow {
        asked: Sender<usize>,
        go_on: Receiver<()>,
    }

    impl Sink for Slow {
        fn write_all(&mut self, batches: &[Batch]) -> Result<Vec<Loss>, HistoryError> {
            self.asked.send(batches.len()).unwrap();
            self.go_on.recv().map(|()| Vec::new()).map_err(|_| HistoryError("nobody is there".to_owned()))
        }
    }

    #[test]
    fn what_waits_is_written_together() {
        let ((asked, writes), (tell, go_on)) = (channel(), channel());
        let feed = Arc::new(Feed::default());
        let mut writer = Writer::start(Box::new(Slow { asked, go_on }), feed.clone()).unwrap();
        let (answer, answered) = channel();
        let batch = || Batch { connections: vec![Connection::default()], ..Batch::default() };
        writer.write(batch(), Vec::new()).unwrap();
        assert_eq!(writes.recv(), Ok(1));
        for _ in 0..3 {
            writer.write(batch(), Vec::new()).unwrap();
        }
        let told: Told = Box::new(move |reached| answer.send(reached).unwrap());
        writer.write(Batch::default(), vec![told]).unwrap();
        assert_eq!(feed.queued(), 4);
        assert!(!writer.is_idle());
        tell.send(()).unwrap();
        assert_eq!(writes.recv(), Ok(4));
        assert!(answered.try_recv().is_err(), "a question waits for what was before it");
        tell.send(()).unwrap();
        assert_eq!(answered.recv(), Ok(Ok(Ok(()))));
        assert!(writer.is_idle());
        assert_eq!((feed.end().batches, feed.queued()), (4, 0), "an empty one is not told on");
        writer.finish().unwrap();
    }
}
