//! The pipeline with a source and a store that do what a test wants.

use std::{
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use super::*;
use crate::domain::{
    Barrier, Batch, FlowReading, HistoryError, Identity, Input, KernelNames, Loss, LossPlace, ProcessEvent,
    Rest, Ring, Thread,
};

/// Delivers these records, then nothing, on a clock that stands still.
struct Records(Vec<Vec<u8>>);

impl Source for Records {
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        for bytes in self.0.drain(..) {
            take(Input::Record { ring: Ring::Events, bytes: &bytes });
        }
        Ok(false)
    }

    fn read_flows(&mut self, _: &[FlowReading], _: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self, _take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn rests(&self) -> bool {
        self.0.is_empty()
    }

    fn rest(&mut self) -> io::Result<Rest> {
        Ok(Rest::default())
    }

    fn monotonic_ns(&self) -> u64 {
        1_000
    }
}

#[derive(Default)]
struct Nobody(KernelNames);

impl Host for Nobody {
    fn process(&mut self, _event: &ProcessEvent) {}

    fn identify(&mut self, _thread: &Thread) -> Identity {
        Identity::default()
    }

    fn symbol(&mut self, _address: u64) -> Option<String> {
        None
    }

    fn kernel_names(&self) -> &KernelNames {
        &self.0
    }
}

/// Fails this many times, then keeps what it is given.
#[derive(Clone)]
struct Flaky {
    failures: u32,
    written: Arc<Mutex<Vec<Batch>>>,
}

impl Sink for Flaky {
    fn write_all(&mut self, batches: &[Batch]) -> Result<Vec<Loss>, HistoryError> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(HistoryError("disk full".to_owned()));
        }
        self.written.lock().unwrap().extend_from_slice(batches);
        Ok(Vec::new())
    }
}

/// Runs a pipeline over `records` while `work` uses its gate; what was written in the end.
fn run(records: Vec<Vec<u8>>, failures: u32, work: impl FnOnce(&Gate)) -> Vec<Batch> {
    run_telling(records, failures, Arc::default(), work)
}

/// The same, and what is written is told on.
fn run_telling(
    records: Vec<Vec<u8>>,
    failures: u32,
    feed: Arc<Feed>,
    work: impl FnOnce(&Gate),
) -> Vec<Batch> {
    let sink = Flaky { failures, written: Arc::default() };
    let (pipeline, gate) =
        Pipeline::new(Box::new(Records(records)), Box::new(Nobody::default()), Box::new(sink.clone()), feed)
            .unwrap();
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
fn a_store_that_fails_is_said_to_and_asked_again() {
    let written = run(vec![vec![0; 3]], 1, |gate| {
        assert_eq!(gate.written(), Err(HistoryError("disk full".to_owned())));
        assert_eq!(gate.written(), Ok(()));
    });
    assert!(losses(&written).is_empty(), "the one batch failed; its losses are the sink's to keep");
    assert_eq!(written.len(), 1, "which the second query has write them");
}

#[test]
fn a_store_that_works_again_only_at_the_end_is_asked_at_the_end() {
    let written = run(vec![vec![0; 3]], 2, |gate| {
        gate.written().unwrap_err();
        gate.wait().unwrap(); // the ledger has what is missing
    });
    assert_eq!(written.len(), 1);
}

#[test]
fn a_query_after_the_end_is_an_error() {
    let (pipeline, gate) = Pipeline::new(
        Box::new(Records(Vec::new())),
        Box::new(Nobody::default()),
        Box::new(Flaky { failures: 0, written: Arc::default() }),
        Arc::default(),
    )
    .unwrap();
    drop(pipeline);
    assert!(gate.wait().is_err());
}

#[test]
fn whoever_asks_takes_the_turn_of_a_thread_that_sleeps() {
    let sink = Flaky { failures: 0, written: Arc::default() };
    let source = Box::new(Records(Vec::new()));
    let (pipeline, gate) =
        Pipeline::new(source, Box::new(Nobody::default()), Box::new(sink.clone()), Arc::default()).unwrap();
    assert_eq!(gate.written(), Ok(()), "although its thread does not run, …");
    assert!(!gate.answers_within(Duration::from_millis(20)), "… which is not hidden from who wants to know");
    let thread = std::thread::spawn(|| pipeline.run());
    assert!(gate.answers_within(Duration::from_secs(20)));
    gate.stop();
    thread.join().unwrap().unwrap();
}

/// Has nothing, and fails after so many looks.
struct Broken(u32);

impl Source for Broken {
    fn drain(&mut self, _take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::other("gone"))?;
        Ok(false)
    }

    fn read_flows(&mut self, _: &[FlowReading], _: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self, _take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn rests(&self) -> bool {
        true
    }

    fn rest(&mut self) -> io::Result<Rest> {
        Ok(Rest::default())
    }

    fn monotonic_ns(&self) -> u64 {
        1_000
    }
}

#[test]
fn a_source_that_fails_ends_the_pipeline_whoever_has_the_turn() {
    let sink = Flaky { failures: 0, written: Arc::default() };
    let (source, host) = (Box::new(Broken(3)), Box::new(Nobody::default()));
    let (pipeline, gate) = Pipeline::new(source, host, Box::new(sink), Arc::default()).unwrap();
    let thread = std::thread::spawn(|| pipeline.run());
    while gate.wait().is_ok() {}
    assert_eq!(thread.join().unwrap().unwrap_err().to_string(), "gone");
}

#[test]
fn what_is_written_is_told_on_before_queries_are_answered() {
    let feed = Arc::new(Feed::default());
    let mut told = feed.follow(1).unwrap();
    let written = run_telling(vec![vec![0; 3]], 0, feed.clone(), |gate| {
        gate.wait().unwrap();
        assert_eq!(feed.end().batches, 1);
    });
    assert_eq!(told.try_recv().unwrap().batch, written[0]);
    assert_eq!((feed.queued(), feed.tally().failed_batches), (0, 0));
}

#[test]
fn what_cannot_be_written_is_counted_and_told_to_nobody() {
    let feed = Arc::new(Feed::default());
    let mut told = feed.follow(1).unwrap();
    run_telling(vec![vec![0; 3]], 1, feed.clone(), |gate| {
        gate.written().unwrap_err();
        assert!(!feed.is_stored());
        gate.wait().unwrap();
        assert!(feed.is_stored());
    });
    assert!(told.try_recv().is_err());
    let tally = feed.tally();
    assert_eq!(tally.failed_batches, 1);
    assert_eq!(tally.losses.values().sum::<u64>(), 1, "{tally:?}");
}

/// Has always one more record; a ms passes with each.
struct Endless(u64);

impl Source for Endless {
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        self.0 += 1_000_000;
        let mut bytes = vec![0; 8];
        bytes.extend(self.0.to_ne_bytes());
        take(Input::Record { ring: Ring::Events, bytes: &bytes });
        Ok(true)
    }

    fn read_flows(&mut self, _: &[FlowReading], _: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self, _take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn rests(&self) -> bool {
        false
    }

    fn rest(&mut self) -> io::Result<Rest> {
        panic!("there is more")
    }

    fn monotonic_ns(&self) -> u64 {
        self.0
    }
}

#[test]
fn a_flood_without_end_does_not_keep_queries_waiting() {
    let sink = Flaky { failures: 0, written: Arc::default() };
    let (source, host) = (Box::new(Endless(1)), Box::new(Nobody::default()));
    let (pipeline, gate) = Pipeline::new(source, host, Box::new(sink.clone()), Arc::default()).unwrap();
    let thread = std::thread::spawn(|| pipeline.run());
    gate.wait().unwrap();
    assert!(!sink.written.lock().unwrap().is_empty(), "what came before the question is written");
    gate.stop();
    thread.join().unwrap().unwrap();
}

/// Delivers what others put in, and sleeps meanwhile.
#[derive(Clone)]
struct Mailbox {
    records: Arc<Mutex<Vec<Vec<u8>>>>,
    began: Instant,
}

impl Source for Mailbox {
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        for bytes in std::mem::take(&mut *self.records.lock().unwrap()) {
            take(Input::Record { ring: Ring::Events, bytes: &bytes });
        }
        Ok(false)
    }

    fn read_flows(&mut self, _: &[FlowReading], _: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self, _take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn rests(&self) -> bool {
        true
    }

    fn rest(&mut self) -> io::Result<Rest> {
        Ok(Rest::default())
    }

    fn monotonic_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}

#[test]
fn whoever_asks_finds_what_happened_before_however_many_ask_at_once() {
    let mailbox = Mailbox { records: Arc::default(), began: Instant::now() };
    let sink = Flaky { failures: 0, written: Arc::default() };
    let (source, host) = (Box::new(mailbox.clone()), Box::new(Nobody::default()));
    let (pipeline, gate) = Pipeline::new(source, host, Box::new(sink.clone()), Arc::default()).unwrap();
    let thread = std::thread::spawn(|| pipeline.run());
    let happened = Mutex::new(0);
    let written = || losses(&sink.written.lock().unwrap()).iter().map(|(_, count)| count).sum::<u64>();
    std::thread::scope(|scope| {
        for asker in 0..8 {
            let (gate, mailbox, happened, written) = (&gate, &mailbox, &happened, &written);
            scope.spawn(move || {
                for turn in 0..200 {
                    // Half of them only ask, so that there are questions without anything new, too.
                    let before = {
                        let mut happened = happened.lock().unwrap();
                        if (asker + turn) % 2 == 0 {
                            mailbox.records.lock().unwrap().push(vec![0; 3]);
                            *happened += 1;
                        }
                        *happened
                    };
                    gate.wait().unwrap();
                    assert!(written() >= before, "{} of {before} are written", written());
                }
            });
        }
    });
    gate.stop();
    thread.join().unwrap().unwrap();
    assert_eq!(written(), 800);
}

#[test]
fn questions_that_come_together_are_answered_together() {
    let mailbox = Mailbox { records: Arc::default(), began: Instant::now() };
    let sink = Flaky { failures: 0, written: Arc::default() };
    let (source, host) = (Box::new(mailbox.clone()), Box::new(Nobody::default()));
    let (pipeline, gate) = Pipeline::new(source, host, Box::new(sink.clone()), Arc::default()).unwrap();
    mailbox.records.lock().unwrap().push(vec![0; 3]);
    let (tell, told) = channel();
    for _ in 0..100 {
        let tell = tell.clone();
        gate.ask(Box::new(move |reached| tell.send(reached).unwrap()));
    }
    let thread = std::thread::spawn(|| pipeline.run());
    for _ in 0..100 {
        assert_eq!(told.recv(), Ok(Ok(Ok(()))));
    }
    assert_eq!(sink.written.lock().unwrap().len(), 1, "one batch for all of them");
    gate.stop();
    thread.join().unwrap().unwrap();
    // Nobody is there to answer: who asks is told so, by being told nothing.
    drop(tell);
    let (tell, told) = channel::<()>();
    gate.ask(Box::new(move |_| tell.send(()).unwrap()));
    assert!(told.recv().is_err());
}
