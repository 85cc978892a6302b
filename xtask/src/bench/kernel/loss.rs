//! Whether anything is lost at a rate, whether what is lost is counted to the last one, and what recording costs
//! the server.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;
use serde::Serialize;

use super::ledger::Ledger;
use super::process::{Memory, Watch};
use super::setup::Bench;
use super::workload::Workload;

/// Less than this part of its rate and the generator has not reached it.
const REACHED: f64 = 0.99;

/// One trial.
#[derive(Clone, Copy)]
struct Trial {
    workload: Workload,
    /// Attempts a second; as many as possible without.
    rate: Option<u32>,
    /// Stop the server meanwhile (SIGSTOP), so that its rings overflow whatever it can do.
    stalled: bool,
}

/// At the first rate nothing may be lost; the second is a stretch; what is lost must be counted at every one.
const TRIALS: [Trial; 5] = [
    Trial { workload: Workload::Tcp, rate: Some(50_000), stalled: false },
    Trial { workload: Workload::Refused, rate: Some(50_000), stalled: false },
    Trial { workload: Workload::Retry, rate: Some(100_000), stalled: false },
    Trial { workload: Workload::Retry, rate: None, stalled: false },
    Trial { workload: Workload::Retry, rate: None, stalled: true },
];

/// Before the server is stopped and after it goes on: the connections of questions are to end and to begin while the rings have
/// room, or they are among what is lost.
const ROOM: Duration = Duration::from_millis(100);
/// Long enough to fill the rings of a server that is stopped.
const STALL: Duration = Duration::from_secs(3);

/// A row of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) workload: Workload,
    /// Attempts a second that were wanted; as many as possible if absent.
    pub(super) wanted: Option<u32>,
    /// Whether the server was stopped meanwhile.
    pub(super) stalled: bool,
    /// Whether the generator made as many.
    pub(super) reached: bool,
    /// Attempts a second that were made.
    pub(super) rate: f64,
    /// Exact number of attempts.
    pub(super) made: u64,
    /// Of these, recorded with the right process.
    pub(super) recorded: u64,
    /// Records of connections counted as lost.
    pub(super) lost: u64,
    /// Attempts that are neither recorded nor counted as lost. Negative: so many more were lost, of other processes.
    pub(super) unaccounted: i64,
    /// Connections of other processes that were recorded meanwhile.
    pub(super) of_others: u64,
    /// Drops counted, and those of them that have a record.
    pub(super) drops: (u64, u64),
    /// From the last attempt until everything was written, in seconds.
    pub(super) behind_s: f64,
    /// The server's CPU time for an attempt, in µs, until everything was written.
    pub(super) server_us_each: f64,
    /// What other processes did meanwhile, in CPUs.
    pub(super) others: f64,
    /// The server's memory afterwards.
    pub(super) memory: Memory,
    /// Its history on disk, in MiB.
    pub(super) history_mib: f64,
}

/// Runs each trial for this long, each with a server and a history of its own.
pub(super) fn measure(bench: &mut Bench, time: Duration) -> Result<Vec<Row>> {
    TRIALS.into_iter().map(|trial| measure_one(bench, trial, time)).collect()
}

fn measure_one(bench: &mut Bench, trial: Trial, time: Duration) -> Result<Row> {
    let Trial { workload, rate: wanted, stalled } = trial;
    let time = if stalled { STALL } else { time };
    let speed = wanted.map_or_else(|| "as fast as it can".to_owned(), |rate| format!("{rate} a second"));
    let state = if stalled { ", server stopped" } else { "" };
    eprintln!("loss: {}, {speed}{state}, {} s", workload.title(), time.as_secs());
    let mut server = bench.start_server()?;
    let watch = Watch::start(server.pid())?;
    if stalled {
        sleep(ROOM);
        server.signal(Signal::STOP)?;
    }
    let made = bench.generator.run(workload, time, wanted)?;
    if stalled {
        server.signal(Signal::CONT)?;
    }
    let (others, ended) = (watch.others(made)?, Instant::now());
    if stalled {
        sleep(ROOM);
    }
    let ledger = server.ledger(workload)?;
    let (behind_s, tool_ns) = (ended.elapsed().as_secs_f64(), watch.tool_ns()?);
    let everybodys = server.connections()?;
    let before = Ledger::default();
    let row = Row {
        workload,
        wanted,
        stalled,
        reached: wanted.is_none_or(|rate| made.rate() >= f64::from(rate) * REACHED),
        rate: made.rate(),
        made: made.attempts,
        recorded: ledger.recorded,
        lost: ledger.lost_since(before),
        unaccounted: ledger.unaccounted(workload, made, before),
        of_others: everybodys - ledger.recorded,
        drops: (ledger.drops, ledger.drops_recorded),
        behind_s,
        server_us_each: tool_ns as f64 / 1e3 / made.attempts.max(1) as f64,
        others,
        memory: Memory::of(server.pid())?,
        history_mib: server.history_bytes()? as f64 / f64::from(1 << 20),
    };
    server.stop()?;
    Ok(row)
}
