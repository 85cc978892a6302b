//! The way of a record: drain → decode → track → store. One thread runs it; queries ask it, through a
//! [`Gate`], to write everything that has happened before they read.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};

use crate::{
    decode::{Record, decode},
    domain::{Barrier, Batch, HistoryError, Host, Input, LossPlace, Sink, Source},
    track::{DROP_PATIENCE_NS, Tracker},
};

/// A batch is written when it has this many rows …
const BATCH_ROWS: usize = 2_000;
/// … or is this old.
const BATCH_AGE_NS: u64 = 100_000_000;
/// How often held drops are looked at.
const HELD_DROPS_EVERY: Duration = Duration::from_millis(5);
/// How long the rings of a busy machine are still emptied after the server was told to stop.
const STOP_WITHIN_NS: u64 = 2_000_000_000;
/// How long a query waits for the pipeline: longer means that it is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

enum Request {
    /// Answer when everything reported so far is written.
    Flush(Sender<Result<(), HistoryError>>),
    /// Write what there is and end.
    Stop,
}

/// The way into a running pipeline for other threads.
pub struct Gate {
    requests: Sender<Request>,
    wake: OwnedFd,
}

impl Gate {
    /// Asks the pipeline to write what it has and end.
    pub fn stop(&self) {
        let _ = self.ask(Request::Stop);
    }

    fn ask(&self, request: Request) -> Result<(), HistoryError> {
        let gone = || HistoryError("the pipeline has ended; restart netspy-server".to_owned());
        self.requests.send(request).map_err(|_| gone())?;
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).map(drop).map_err(|_| gone())
    }
}

impl Barrier for Gate {
    fn wait(&self) -> Result<(), HistoryError> {
        let (answer, answered) = channel();
        self.ask(Request::Flush(answer))?;
        answered.recv_timeout(ANSWER_WITHIN).unwrap_or_else(|_| {
            let seconds = ANSWER_WITHIN.as_secs();
            Err(HistoryError(format!("the pipeline did not answer within {seconds} s; see the server's log")))
        })
    }
}

/// Everything that the pipeline's thread owns.
pub struct Pipeline {
    source: Box<dyn Source>,
    host: Box<dyn Host>,
    sink: Box<dyn Sink>,
    tracker: Tracker,
    batch: Batch,
    /// `CLOCK_MONOTONIC` in ns of the oldest row in the batch.
    batch_since_ns: Option<u64>,
    /// Queries that wait, each with the time at which it asked.
    waiting: Vec<(u64, Sender<Result<(), HistoryError>>)>,
    requests: Receiver<Request>,
    wake: OwnedFd,
    undecodable: u64,
}

impl Pipeline {
    /// A pipeline and the gate to it.
    pub fn new(
        source: Box<dyn Source>,
        host: Box<dyn Host>,
        sink: Box<dyn Sink>,
    ) -> io::Result<(Self, Gate)> {
        let (sender, requests) = channel();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let gate = Gate { requests: sender, wake: wake.try_clone()? };
        let pipeline = Self {
            source,
            host,
            sink,
            tracker: Tracker::new(),
            batch: Batch::default(),
            batch_since_ns: None,
            waiting: Vec::new(),
            requests,
            wake,
            undecodable: 0,
        };
        Ok((pipeline, gate))
    }

    /// Runs until it is asked to stop; everything that had been reported by then is written.
    pub fn run(mut self) -> io::Result<()> {
        while !self.take_requests() {
            if !self.step()? {
                self.source.wait(self.wake.as_fd(), self.patience())?;
            }
        }
        // What was reported until now, not what a busy machine goes on reporting.
        let asked_ns = self.source.monotonic_ns();
        while self.step()? && self.source.monotonic_ns() < asked_ns.saturating_add(STOP_WITHIN_NS) {}
        self.tracker.advance(u64::MAX, &mut self.batch);
        let written = self.write();
        for (_, answer) in self.waiting.drain(..) {
            let _ = answer.send(written.clone());
        }
        Ok(())
    }

    /// Takes what is there, a bounded part at a time, and writes what is due; says whether there is more.
    fn step(&mut self) -> io::Result<bool> {
        // Before draining: only up to here is everything known, however long draining takes.
        let now_ns = self.source.monotonic_ns();
        let more = self.drain()?;
        self.write_if_due(now_ns);
        if !more {
            self.tracker.advance(now_ns, &mut self.batch);
            self.answer(now_ns);
        }
        Ok(more)
    }

    fn drain(&mut self) -> io::Result<bool> {
        let Self { source, host, tracker, batch, undecodable, .. } = self;
        source.drain(&mut |input| match input {
            Input::Clock { wall_minus_monotonic_ns } => tracker.set_clock(wall_minus_monotonic_ns),
            Input::Lost { monotonic_ns, place, count } => {
                tracker.lost(monotonic_ns, place, count, batch);
            }
            Input::Record { ring, bytes } => match decode(ring, bytes) {
                Ok(record) => follow(tracker, record, host.as_mut(), batch),
                Err(error) => {
                    // Once, not per record: a bad stream would fill the log as well.
                    if *undecodable == 0 {
                        tracing::error!(%error, "a record from the kernel is malformed; further ones are only counted");
                    }
                    *undecodable += 1;
                    tracker.lost(tracker.latest_ns(), LossPlace::Undecodable, 1, batch);
                }
            },
        })
    }

    /// Writes a batch that is large or old; a failure is counted by [`Pipeline::write`].
    fn write_if_due(&mut self, now_ns: u64) {
        let rows = self.batch.connections.len() + self.batch.drops.len();
        if !self.batch.is_empty() && self.batch_since_ns.is_none() {
            self.batch_since_ns = Some(now_ns);
        }
        let old = self.batch_since_ns.is_some_and(|since| now_ns.saturating_sub(since) >= BATCH_AGE_NS);
        let over = now_ns == u64::MAX; // a recording has no later
        if old || over || rows >= BATCH_ROWS {
            let _ = self.write();
        }
    }

    /// Answers the queries that asked before `now_ns`, up to which everything is known.
    fn answer(&mut self, now_ns: u64) {
        // A query also waits for the drops that were held when it asked.
        let held = self.tracker.holds_drops();
        let ready = |asked_ns: u64| {
            asked_ns <= now_ns && (!held || now_ns >= asked_ns.saturating_add(DROP_PATIENCE_NS))
        };
        if !self.waiting.iter().any(|(asked_ns, _)| ready(*asked_ns)) {
            return;
        }
        let written = self.write();
        for (_, answer) in self.waiting.extract_if(.., |(asked_ns, _)| ready(*asked_ns)) {
            let _ = answer.send(written.clone()); // a query that has given up is no loss
        }
    }

    fn write(&mut self) -> Result<(), HistoryError> {
        self.batch_since_ns = None;
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.sink.write(&batch).inspect_err(|error| {
            tracing::error!(%error, "the store could not be written; tracing goes on");
            // What it held is lost; that, and earlier losses, go into the next batch.
            let count = (batch.connections.len() + batch.drops.len()) as u64;
            self.batch.losses = batch.losses;
            if count > 0 {
                self.tracker.lost(self.tracker.latest_ns(), LossPlace::Store, count, &mut self.batch);
            }
        })
    }

    /// Takes over what other threads ask; says whether to stop.
    fn take_requests(&mut self) -> bool {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        loop {
            match self.requests.try_recv() {
                Ok(Request::Flush(answer)) => self.waiting.push((self.source.monotonic_ns(), answer)),
                Err(TryRecvError::Empty) => return false,
                Ok(Request::Stop) | Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// How long there is nothing to do if nothing comes.
    fn patience(&self) -> Option<Duration> {
        if self.tracker.holds_drops() || !self.waiting.is_empty() {
            return Some(HELD_DROPS_EVERY);
        }
        self.batch_since_ns.map(|_| Duration::from_nanos(BATCH_AGE_NS))
    }
}

/// Gives a record its names and hands it to the tracker.
fn follow(tracker: &mut Tracker, record: Record, host: &mut dyn Host, batch: &mut Batch) {
    match record {
        Record::Connect(mut attempt) => {
            tracker.advance(attempt.time_ns, batch);
            attempt.process.exe = host.exe(&attempt.process);
            tracker.connect(attempt, batch);
        }
        Record::Outcome(outcome) => {
            tracker.advance(outcome.time_ns, batch);
            if !tracker.outcome(&outcome, batch) {
                tracker.lost(outcome.time_ns, LossPlace::Orphaned, 1, batch);
            }
        }
        // Says nothing of the time up to which connections are known: the rings are read one after the other.
        Record::Drop(mut drop) => {
            let reason = match drop.reason {
                None => "UNCLASSIFIED".to_owned(),
                Some(code) => host.drop_reason(code).unwrap_or_else(|| format!("UNKNOWN({code})")),
            };
            let location = host.symbol(drop.location).unwrap_or_else(|| "unresolved".to_owned());
            if let Some(owner) = &mut drop.owner {
                owner.exe = host.exe(owner);
            }
            tracker.dropped(drop, reason, location, batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::BorrowedFd,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::domain::{Process, Ring};

    /// Delivers these records, then nothing, on a clock that stands still.
    struct Records(Vec<Vec<u8>>);

    impl Source for Records {
        fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
            for bytes in self.0.drain(..) {
                take(Input::Record { ring: Ring::Events, bytes: &bytes });
            }
            Ok(false)
        }

        fn wait(&mut self, _wake: BorrowedFd<'_>, _at_most: Option<Duration>) -> io::Result<()> {
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        }

        fn monotonic_ns(&self) -> u64 {
            1_000
        }
    }

    struct Nobody;

    impl Host for Nobody {
        fn exe(&mut self, _process: &Process) -> Option<String> {
            None
        }

        fn symbol(&mut self, _address: u64) -> Option<String> {
            None
        }

        fn drop_reason(&self, _code: u32) -> Option<String> {
            None
        }
    }

    /// Fails this many times, then keeps what it is given.
    #[derive(Clone)]
    struct Flaky {
        failures: u32,
        written: Arc<Mutex<Vec<Batch>>>,
    }

    impl Sink for Flaky {
        fn write(&mut self, batch: &Batch) -> Result<(), HistoryError> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(HistoryError("disk full".to_owned()));
            }
            self.written.lock().unwrap().push(batch.clone());
            Ok(())
        }
    }

    /// Runs a pipeline over `records` while `work` uses its gate; what was written in the end.
    fn run(records: Vec<Vec<u8>>, failures: u32, work: impl FnOnce(&Gate)) -> Vec<Batch> {
        let sink = Flaky { failures, written: Arc::default() };
        let (pipeline, gate) =
            Pipeline::new(Box::new(Records(records)), Box::new(Nobody), Box::new(sink.clone())).unwrap();
        let thread = std::thread::spawn(|| pipeline.run());
        work(&gate);
        gate.stop();
        thread.join().unwrap().unwrap();
        let written = sink.written.lock().unwrap();
        written.clone()
    }

    fn losses(batches: &[Batch]) -> Vec<(LossPlace, u64)> {
        batches.iter().flat_map(|batch| &batch.losses).map(|loss| (loss.place, loss.count)).collect()
    }

    #[test]
    fn malformed_records_are_counted_and_nothing_else() {
        let written = run(vec![vec![0; 3], vec![0; 40]], 0, |gate| gate.wait().unwrap());
        assert_eq!(losses(&written), [(LossPlace::Undecodable, 2)]);
    }

    #[test]
    fn what_a_failing_store_lost_is_counted_once_it_works_again() {
        let written = run(vec![vec![0; 3]], 1, |gate| {
            assert_eq!(gate.wait(), Err(HistoryError("disk full".to_owned())));
            assert_eq!(gate.wait(), Ok(()));
        });
        // The ledger itself is not lost with the batch that carried it.
        assert_eq!(losses(&written), [(LossPlace::Undecodable, 1)]);
    }

    #[test]
    fn a_query_after_the_end_is_an_error() {
        let (pipeline, gate) = Pipeline::new(
            Box::new(Records(Vec::new())),
            Box::new(Nobody),
            Box::new(Flaky { failures: 0, written: Arc::default() }),
        )
        .unwrap();
        drop(pipeline);
        assert!(gate.wait().is_err());
    }
}
