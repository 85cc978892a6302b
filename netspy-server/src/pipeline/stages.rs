//! What records pass: drain → decode → track → store, a turn at a time, on whatever thread has the turn.

use std::{io, sync::Arc, time::Duration};

use super::writer::Writer;
use crate::{
    decode::{Record, decode, time_ns},
    domain::{Batch, CountedKind, Host, Input, LossKind, LossPlace, Rest, Ring, Sink, Source, Told},
    feed::Feed,
    names::Names,
    track::{DROP_PATIENCE_NS, Tracker},
};

/// A batch is written when it has this many rows …
const BATCH_ROWS: usize = 2_000;
/// … or is this old.
const BATCH_AGE_NS: u64 = 100_000_000;
/// How often held drops are looked at.
const HELD_DROPS_EVERY: Duration = Duration::from_millis(5);
/// How often the counters of open flows are read.
const FLOWS_EVERY: Duration = Duration::from_secs(1);
/// How long the rings of a busy machine are still emptied after the server was told to stop.
const STOP_WITHIN_NS: u64 = 2_000_000_000;

/// Everything that a turn needs.
pub(super) struct Stages {
    source: Box<dyn Source>,
    names: Names,
    writer: Writer,
    tracker: Tracker,
    batch: Batch,
    /// `CLOCK_MONOTONIC` in ns of the oldest row in the batch.
    batch_since_ns: Option<u64>,
    /// `CLOCK_MONOTONIC` in ns of the last reading of the open flows.
    flows_read_ns: u64,
    /// How far the rings were read.
    read: Progress,
    /// Queries that wait, each with the time at which it asked.
    waiting: Vec<(u64, Told)>,
    undecodable: u64,
    /// How long the pipeline's thread sleeps if nobody wakes it.
    sleeps: Option<Duration>,
    /// Why no further turn can be taken.
    failed: Option<io::Error>,
}

impl Stages {
    pub(super) fn new(
        source: Box<dyn Source>,
        host: Box<dyn Host>,
        sink: Box<dyn Sink>,
        feed: Arc<Feed>,
    ) -> io::Result<Self> {
        Ok(Self {
            source,
            names: Names::new(host),
            writer: Writer::start(sink, feed)?,
            tracker: Tracker::new(),
            batch: Batch::default(),
            batch_since_ns: None,
            flows_read_ns: 0,
            read: Progress::default(),
            waiting: Vec::new(),
            undecodable: 0,
            sleeps: None,
            failed: None,
        })
    }

    /// Queries that wait from here on.
    pub(super) fn ask(&mut self, questions: Vec<Told>) {
        if !questions.is_empty() {
            let asked_ns = self.source.monotonic_ns();
            self.waiting.extend(questions.into_iter().map(|told| (asked_ns, told)));
        }
    }

    /// Whether a turn takes no time worth mentioning, so that whoever asks may take it: nothing has come for a while, and
    /// nobody writes.
    pub(super) fn is_quiet(&self) -> bool {
        self.failed.is_none()
            && self.waiting.is_empty()
            && self.batch.is_empty()
            && self.source.rests()
            && self.writer.is_idle()
    }

    /// A turn of somebody who asks; says whether something is left for the pipeline's thread, which must then be woken.
    pub(super) fn turn(&mut self, questions: Vec<Told>) -> bool {
        self.ask(questions);
        let stepped = self.step();
        let more = *stepped.as_ref().unwrap_or(&true);
        self.failed = stepped.err();
        let sooner = |patience| self.sleeps.is_none_or(|sleeps| patience < sleeps);
        more || !self.source.rests() || self.patience().is_some_and(sooner)
    }

    /// A turn of the pipeline's thread; what it then waits for, unless there is more.
    pub(super) fn next(&mut self) -> io::Result<Option<Rest>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.step()? {
            return Ok(None);
        }
        self.sleeps = self.patience();
        self.source.rest().map(|rest| Some(rest.at_most(self.sleeps)))
    }

    /// What the thread has waited for has come.
    pub(super) fn woken(&mut self) -> io::Result<()> {
        self.source.woken()
    }

    /// Writes everything that had been reported by now, and ends.
    pub(super) fn finish(mut self) -> io::Result<()> {
        // What was reported until now, not what a busy machine goes on reporting.
        let asked_ns = self.source.monotonic_ns();
        while self.step()? && self.source.monotonic_ns() < asked_ns.saturating_add(STOP_WITHIN_NS) {}
        self.settle();
        self.read_flows(self.source.monotonic_ns(), true)?;
        self.tracker.advance(u64::MAX, &mut self.batch);
        let waiting = self.waiting.drain(..).map(|(_, told)| told).collect();
        self.write(waiting)?;
        self.writer.finish()
    }

    /// Takes what is there, a bounded part at a time, and writes what is due; says whether there is more.
    fn step(&mut self) -> io::Result<bool> {
        // Before draining: only up to here is everything known, however long draining takes.
        let now_ns = self.source.monotonic_ns();
        let more = self.drain()?;
        self.write_if_due(now_ns)?;
        if more && !self.waiting.is_empty() {
            // Under a load that never lets the rings run empty, they are known up to a time all the same.
            let known_ns = self.read.known_until_ns(now_ns);
            self.read_flows(now_ns, true)?;
            self.tracker.advance(known_ns, &mut self.batch);
            self.answer(known_ns.saturating_sub(DROP_PATIENCE_NS))?;
        } else if !more {
            let due = now_ns.saturating_sub(self.flows_read_ns) >= FLOWS_EVERY.as_nanos() as u64;
            // What a query is about to read must be complete.
            self.read_flows(now_ns, due || !self.waiting.is_empty())?;
            self.tracker.advance(now_ns, &mut self.batch);
            self.answer(now_ns)?;
        }
        Ok(more)
    }

    fn drain(&mut self) -> io::Result<bool> {
        let Self { source, names, tracker, batch, undecodable, read, .. } = self;
        read.begin();
        source.drain(&mut |input| {
            read.note(&input);
            take(input, names, tracker, batch, undecodable);
        })
    }

    /// Takes what is only summed up until somebody asks.
    fn settle(&mut self) {
        let Self { source, names, tracker, batch, undecodable, .. } = self;
        let settled = source.settle(&mut |input| take(input, names, tracker, batch, undecodable));
        if let Err(error) = settled {
            tracing::error!(%error, "what the programs counted cannot be read");
        }
    }

    /// Reads the last counters of the flows whose sockets were closed, and those of the open ones.
    fn read_flows(&mut self, now_ns: u64, open_too: bool) -> io::Result<()> {
        if !self.tracker.has_flows() || now_ns == u64::MAX {
            return Ok(()); // a recording says itself what was read
        }
        let mut readings = self.tracker.released_flows();
        if open_too {
            self.flows_read_ns = now_ns;
            readings.extend(self.tracker.open_flows(now_ns));
        }
        let Self { source, names, tracker, batch, undecodable, .. } = self;
        source.read_flows(&readings, &mut |input| take(input, names, tracker, batch, undecodable))
    }

    /// Has a batch written that is large or old.
    fn write_if_due(&mut self, now_ns: u64) -> io::Result<()> {
        let rows = self.batch.rows();
        if !self.batch.is_empty() && self.batch_since_ns.is_none() {
            self.batch_since_ns = Some(now_ns);
        }
        let old = self.batch_since_ns.is_some_and(|since| now_ns.saturating_sub(since) >= BATCH_AGE_NS);
        let over = now_ns == u64::MAX; // a recording has no later
        if old || over || rows >= BATCH_ROWS { self.write(Vec::new()) } else { Ok(()) }
    }

    /// Answers the queries that asked before `now_ns`, up to which everything is known.
    fn answer(&mut self, now_ns: u64) -> io::Result<()> {
        // A query also waits for the drops that were held when it asked.
        let held = self.tracker.holds_drops();
        let ready = |asked_ns: u64| {
            asked_ns <= now_ns && (!held || now_ns >= asked_ns.saturating_add(DROP_PATIENCE_NS))
        };
        if !self.waiting.iter().any(|(asked_ns, _)| ready(*asked_ns)) {
            return Ok(());
        }
        self.settle();
        let waiting = self.waiting.extract_if(.., |(asked_ns, _)| ready(*asked_ns));
        let waiting: Vec<_> = waiting.map(|(_, told)| told).collect();
        if self.batch.is_empty() && self.writer.is_idle() {
            // Everything is written, and nobody else has to be waited for to know it.
            for told in waiting {
                told(Ok(Ok(())));
            }
            return Ok(());
        }
        self.write(waiting)
    }

    /// Has the batch written, then the queries answered.
    fn write(&mut self, waiting: Vec<Told>) -> io::Result<()> {
        self.batch_since_ns = None;
        if self.batch.is_empty() && waiting.is_empty() {
            return Ok(());
        }
        self.batch.until_ns = Some(self.tracker.wall_ns(self.tracker.latest_ns()));
        self.writer.write(std::mem::take(&mut self.batch), waiting)
    }

    /// How long there is nothing to do if nothing comes.
    fn patience(&self) -> Option<Duration> {
        if self.tracker.holds_drops() || !self.waiting.is_empty() {
            return Some(HELD_DROPS_EVERY);
        }
        let write = self.batch_since_ns.map(|_| Duration::from_nanos(BATCH_AGE_NS));
        write.or_else(|| self.tracker.has_flows().then_some(FLOWS_EVERY))
    }
}

/// How far the two rings were read in the last turn: the time of the last record, where there was one.
#[derive(Debug, Default)]
struct Progress([Option<u64>; 2]);

impl Progress {
    fn begin(&mut self) {
        self.0 = [None; 2];
    }

    fn note(&mut self, input: &Input<'_>) {
        if let Input::Record { ring, bytes } = input {
            let of = match ring {
                Ring::Events => 0,
                Ring::Drops => 1,
            };
            self.0[of] = Some(time_ns(bytes));
        }
    }

    /// Everything up to here has been read, but for records that were overtaken by a few µs. A ring without a record was
    /// empty at `now_ns`, or its next one is later than all that was read.
    fn known_until_ns(&self, now_ns: u64) -> u64 {
        self.0.iter().flatten().copied().fold(now_ns, u64::min)
    }
}

/// Takes over one input; one that is malformed is counted.
fn take(
    input: Input<'_>,
    names: &mut Names,
    tracker: &mut Tracker,
    batch: &mut Batch,
    undecodable: &mut u64,
) {
    match input {
        Input::Clock { wall_minus_monotonic_ns } => tracker.set_clock(wall_minus_monotonic_ns),
        Input::Lost { monotonic_ns, place, kind, count } => {
            tracker.lost(monotonic_ns, place, kind, count, batch);
        }
        Input::Existing { monotonic_ns, socket } => {
            let process = socket.owner.map(|owner| names.process(&owner)).unwrap_or_default();
            tracker.existing(monotonic_ns, socket, process, batch);
        }
        Input::Listed { monotonic_ns } => tracker.listed(monotonic_ns, batch),
        Input::Record { ring, bytes } => match decode(ring, bytes) {
            Ok(record) => follow(tracker, record, names, batch),
            Err(error) => {
                // Once, not per record: a bad stream would fill the log as well.
                if *undecodable == 0 {
                    tracing::error!(%error, "a record from the kernel is malformed; further ones are only counted");
                }
                *undecodable += 1;
                let kind = match ring {
                    Ring::Events => LossKind::Unknown,
                    Ring::Drops => LossKind::PacketDrop,
                };
                tracker.lost(tracker.latest_ns(), LossPlace::Undecodable, kind, 1, batch);
            }
        },
    }
}

/// Gives a record its names and hands it to the tracker; counts one whose beginning was never seen.
fn follow(tracker: &mut Tracker, record: Record, names: &mut Names, batch: &mut Batch) {
    let (time_ns, kind, known) = match record {
        Record::Connect(begun) => {
            tracker.advance(begun.time_ns, batch);
            tracker.connect(&begun, names.process(&begun.thread), batch);
            (begun.time_ns, LossKind::Connection, true)
        }
        Record::Outcome(outcome) => {
            tracker.advance(outcome.time_ns, batch);
            (outcome.time_ns, LossKind::Connection, tracker.outcome(&outcome, batch))
        }
        Record::Accept(accept) => {
            let process = names.process(&accept.thread);
            (accept.time_ns, LossKind::Accept, tracker.accept(&accept, process, batch))
        }
        Record::Process(event) => {
            names.process_event(&event);
            return;
        }
        Record::Close(close) => (close.time_ns, LossKind::Connection, tracker.close(&close, batch)),
        Record::Unix(unix) => {
            tracker.unix(&unix, names.process(&unix.thread), batch);
            (unix.time_ns, LossKind::Unix, true)
        }
        Record::UnixClose(close) => {
            tracker.unix_close(&close, batch);
            (close.time_ns, LossKind::Unix, true)
        }
        Record::Flow(flow) => {
            tracker.advance(flow.time_ns, batch);
            tracker.flow(&flow, names.process(&flow.thread), batch);
            (flow.time_ns, LossKind::Udp, true)
        }
        Record::Traffic(traffic) => (traffic.time_ns, LossKind::Udp, tracker.traffic(&traffic, batch)),
        Record::Release(release) => {
            tracker.release(&release);
            (release.time_ns, LossKind::Udp, true)
        }
        // Says nothing of the time up to which connections are known: the rings are read one after the other.
        Record::Drop(drop) => {
            let owner = drop.owner.as_ref().map(|owner| names.process(owner));
            let (reason, location) = (names.drop_reason(drop.reason), names.location(drop.location));
            tracker.dropped(&drop, owner, reason, location, batch);
            (drop.time_ns, LossKind::PacketDrop, true)
        }
        Record::Trouble(trouble) => {
            let owner = trouble.owner.as_ref().map(|owner| names.process(owner));
            let reason = trouble.reason.map(|reason| names.reset_reason(reason));
            tracker.trouble(&trouble, owner, reason, batch);
            (trouble.time_ns, CountedKind::Trouble(trouble.kind).loss(), true)
        }
        Record::Count(counted) => {
            let owner = counted.owner.as_ref().map(|owner| names.process(owner));
            let (reason, location) = match counted.kind {
                CountedKind::Drop => (names.drop_reason(counted.reason), names.location(counted.location)),
                CountedKind::Trouble(_) => {
                    let reason = counted.reason.map(|reason| names.reset_reason(reason));
                    (reason.unwrap_or_default(), String::new())
                }
            };
            tracker.counted(&counted, owner, reason, location, batch);
            (counted.time_ns, counted.kind.loss(), true)
        }
    };
    if !known {
        tracker.lost(time_ns, LossPlace::Orphaned, kind, 1, batch);
    }
}
