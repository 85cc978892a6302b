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
        loop {
            let stop = self.take_requests();
            self.step(stop)?;
            if stop {
                return Ok(());
            }
            self.source.wait(self.wake.as_fd(), self.patience())?;
        }
    }

    /// Takes what is there and writes what is due; with `last`, everything.
    fn step(&mut self, last: bool) -> io::Result<()> {
        loop {
            let more = self.drain()?;
            let now_ns = if last { u64::MAX } else { self.source.monotonic_ns() };
            self.tracker.advance(now_ns, &mut self.batch);
            self.write_what_is_due(now_ns);
            if !more {
                return Ok(());
            }
        }
    }

    fn drain(&mut self) -> io::Result<bool> {
        let Self { source, host, tracker, batch, undecodable, .. } = self;
        source.drain(&mut |input| match input {
            Input::Clock { wall_minus_monotonic_ns } => tracker.set_clock(wall_minus_monotonic_ns),
            Input::Lost { monotonic_ns, place, count } => {
                tracker.advance(monotonic_ns, batch);
                tracker.lost(place, count, batch);
            }
            Input::Record { ring, bytes } => match decode(ring, bytes) {
                Ok(record) => follow(tracker, record, host.as_mut(), batch),
                Err(error) => {
                    // Once, not per record: a bad stream would fill the log as well.
                    if *undecodable == 0 {
                        tracing::error!(%error, "a record from the kernel is malformed; further ones are only counted");
                    }
                    *undecodable += 1;
                    tracker.lost(LossPlace::Undecodable, 1, batch);
                }
            },
        })
    }

    fn write_what_is_due(&mut self, now_ns: u64) {
        let rows = self.batch.connections.len() + self.batch.drops.len();
        if !self.batch.is_empty() && self.batch_since_ns.is_none() {
            self.batch_since_ns = Some(now_ns);
        }
        let old = self.batch_since_ns.is_some_and(|since| now_ns.saturating_sub(since) >= BATCH_AGE_NS);
        // A query also waits for the drops that were held when it asked.
        let held = self.tracker.holds_drops();
        let ready = |asked_ns: u64| !held || now_ns >= asked_ns.saturating_add(DROP_PATIENCE_NS);
        let answers = self.waiting.iter().any(|(asked_ns, _)| ready(*asked_ns));
        if !(old || answers || rows >= BATCH_ROWS || now_ns == u64::MAX) {
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
            self.tracker.lost(LossPlace::Store, count, &mut self.batch);
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
    tracker.advance(record.time_ns(), batch);
    match record {
        Record::Connect(mut attempt) => {
            attempt.process.exe = host.exe(&attempt.process);
            tracker.connect(attempt, batch);
        }
        Record::Outcome(outcome) => {
            if !tracker.outcome(&outcome, batch) {
                tracker.lost(LossPlace::Orphaned, 1, batch);
            }
        }
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
