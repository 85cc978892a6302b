//! How much slower the generator is while a tool watches it: each tool in turn, round after round, each measurement
//! between two of nothing, so that whatever else the machine does meets all of them alike.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::ledger::Ledger;
use super::peers::{self, Peer, Running};
use super::process::Watch;
use super::server::Server;
use super::setup::Bench;
use super::spread::Spread;
use super::workload::{Made, Workload};

/// For a peer to read what it was sent, before the next workload.
const DRAIN: Duration = Duration::from_millis(200);

/// The one tool that goals are set for.
pub(super) const NETSPY: &str = "netspy";

/// A row of the table: one tool, one workload, all rounds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The tool.
    pub(super) tool: &'static str,
    /// What was done meanwhile.
    pub(super) workload: Workload,
    /// Rate without any tool divided by the rate with it.
    pub(super) slowdown: Spread,
    /// The same for the generator's CPU time only: what is left if the tool takes the generator's CPU away is not in it.
    pub(super) cpu_slowdown: Spread,
    /// Attempts per second with the tool.
    pub(super) rate: Spread,
    /// Attempts made while it watched.
    pub(super) made: u64,
    /// Of these, those that it reported.
    pub(super) reported: u64,
    /// Records that the tool says it lost; peers do not say.
    pub(super) lost: Option<u64>,
    /// Attempts that were neither reported nor counted as lost; see `ledger`.
    pub(super) unaccounted: Option<u64>,
    /// What other processes did meanwhile, in CPUs.
    pub(super) others: Spread,
}

/// What came of the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Slowdown {
    /// Attempts per second without any tool.
    pub(super) baseline: BTreeMap<Workload, Spread>,
    /// netspy's rows first.
    pub(super) rows: Vec<Row>,
    /// Tools that cannot run on this machine, and why.
    pub(super) cannot_run: Vec<(&'static str, String)>,
}

/// One measurement.
struct Sample {
    before: Made,
    with: Made,
    after: Made,
    others: f64,
    seen: Seen,
}

/// What a tool reported of a workload.
#[derive(Clone, Copy)]
struct Seen {
    reported: u64,
    lost: Option<u64>,
    unaccounted: Option<u64>,
}

/// A tool that can be measured.
#[derive(Clone, Copy)]
enum Tool {
    Netspy,
    Peer(&'static Peer),
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Netspy => NETSPY,
            Self::Peer(peer) => peer.name,
        }
    }

    fn shows(self) -> &'static [Workload] {
        match self {
            Self::Netspy => &Workload::MEASURED,
            Self::Peer(peer) => peer.shows,
        }
    }
}

/// Runs the rounds.
pub(super) fn measure(
    bench: &mut Bench,
    rounds: usize,
    each: Duration,
    slow_peers: bool,
) -> Result<Slowdown> {
    let mut tools = vec![Tool::Netspy];
    tools.extend(peers::ALL.iter().filter(|peer| slow_peers || !peer.slow).map(Tool::Peer));
    let order = tools.clone();
    let mut samples: Vec<(&'static str, Workload, Sample)> = Vec::new();
    let mut cannot_run = Vec::new();
    for round in 0..rounds {
        tools.rotate_left(round.min(1));
        let mut still = Vec::new();
        for tool in &tools {
            eprintln!("slow-down, round {} of {rounds}: {}", round + 1, tool.name());
            match visit(bench, *tool, round, each)? {
                Ok(new) => {
                    samples.extend(new.into_iter().map(|(workload, sample)| (tool.name(), workload, sample)));
                    still.push(*tool);
                }
                Err(reason) => cannot_run.push((tool.name(), reason)),
            }
        }
        tools = still;
    }
    let rows = order
        .iter()
        .flat_map(|tool| tool.shows().iter().map(|workload| (tool.name(), *workload)))
        .filter_map(|(tool, workload)| {
            let own = samples.iter().filter(|sample| (sample.0, sample.1) == (tool, workload));
            row(tool, workload, &own.map(|sample| &sample.2).collect::<Vec<_>>())
        })
        .collect();
    let baseline = Workload::MEASURED
        .into_iter()
        .filter_map(|workload| {
            let own = samples.iter().filter(|sample| sample.1 == workload);
            let rates = own.flat_map(|(.., sample)| [sample.before.rate(), sample.after.rate()]);
            Some((workload, Spread::of(rates)?))
        })
        .collect();
    Ok(Slowdown { baseline, rows, cannot_run })
}

/// One tool, started and stopped, on each of its workloads. The inner error is why it cannot run.
fn visit(
    bench: &mut Bench,
    tool: Tool,
    round: usize,
    each: Duration,
) -> Result<Result<Vec<(Workload, Sample)>, String>> {
    let mut workloads = tool.shows().to_vec();
    let turns = round % workloads.len();
    workloads.rotate_left(turns);
    let before = nothing(bench, &workloads, each)?;
    let mut watcher = match tool {
        Tool::Netspy => Watcher::Netspy(bench.start_server()?, Vec::new()),
        Tool::Peer(peer) => match peer.start(&bench.root, &bench.directory("peer"), bench.generator.pid()) {
            Ok(running) => Watcher::Peer(running),
            Err(reason) => return Ok(Err(reason.to_string())),
        },
    };
    let mut with = Vec::new();
    for workload in &workloads {
        with.push(watched(bench, &watcher, *workload, each)?);
        watcher.settle(*workload)?;
    }
    let made: Vec<(Workload, Made)> =
        workloads.iter().copied().zip(with.iter().map(|(made, _)| *made)).collect();
    let seen = watcher.finish(&made)?;
    let after = nothing(bench, &workloads, each)?;
    let samples = workloads.iter().enumerate().map(|(at, workload)| {
        let ((with, others), seen) = (with[at], seen[at]);
        let sample = Sample { before: before[at], with, after: after[at], others, seen };
        (*workload, sample)
    });
    Ok(Ok(samples.collect()))
}

fn nothing(bench: &mut Bench, workloads: &[Workload], each: Duration) -> Result<Vec<Made>> {
    workloads.iter().map(|workload| bench.generator.run(*workload, each, None)).collect()
}

/// What the generator makes under the eyes of the tool, and what others did meanwhile, in CPUs.
fn watched(bench: &mut Bench, watcher: &Watcher, workload: Workload, each: Duration) -> Result<(Made, f64)> {
    let watch = Watch::start(watcher.pid())?;
    let made = bench.generator.run(workload, each, None)?;
    Ok((made, watch.others(made)?))
}

/// A tool that runs.
enum Watcher {
    /// With what it said after each workload.
    Netspy(Server, Vec<Ledger>),
    Peer(Running),
}

impl Watcher {
    fn pid(&self) -> u32 {
        match self {
            Self::Netspy(server, _) => server.pid(),
            Self::Peer(running) => running.pid(),
        }
    }

    /// Lets it finish what it still has to do for this workload.
    fn settle(&mut self, workload: Workload) -> Result<()> {
        match self {
            Self::Netspy(server, ledgers) => ledgers.push(server.ledger(workload)?),
            Self::Peer(_) => sleep(DRAIN),
        }
        Ok(())
    }

    /// Stops it. What it reported of each workload.
    fn finish(self, made: &[(Workload, Made)]) -> Result<Vec<Seen>> {
        match self {
            Self::Peer(running) => {
                let workloads: Vec<Workload> = made.iter().map(|(workload, _)| *workload).collect();
                let seen = |reported| Seen { reported, lost: None, unaccounted: None };
                Ok(running.finish(&workloads)?.into_iter().map(seen).collect())
            }
            Self::Netspy(server, ledgers) => {
                server.stop()?;
                let mut earlier = Ledger::default();
                let mut seen = Vec::new();
                for (now, (workload, made)) in ledgers.into_iter().zip(made) {
                    seen.push(Seen {
                        reported: now.recorded,
                        lost: Some(now.lost_since(earlier)),
                        unaccounted: Some(now.unaccounted(*workload, *made, earlier).unsigned_abs()),
                    });
                    earlier = now;
                }
                Ok(seen)
            }
        }
    }
}

fn row(tool: &'static str, workload: Workload, samples: &[&Sample]) -> Option<Row> {
    let all = |value: fn(&Sample) -> f64| Spread::of(samples.iter().map(|sample| value(sample)));
    Some(Row {
        tool,
        workload,
        slowdown: all(|sample| {
            f64::midpoint(sample.before.rate(), sample.after.rate()) / sample.with.rate()
        })?,
        cpu_slowdown: all(|sample| {
            sample.with.cpu_each_ns() / f64::midpoint(sample.before.cpu_each_ns(), sample.after.cpu_each_ns())
        })?,
        rate: all(|sample| sample.with.rate())?,
        made: samples.iter().map(|sample| sample.with.attempts).sum(),
        reported: samples.iter().map(|sample| sample.seen.reported).sum(),
        lost: samples.iter().map(|sample| sample.seen.lost).sum(),
        unaccounted: samples.iter().map(|sample| sample.seen.unaccounted).sum(),
        others: all(|sample| sample.others)?,
    })
}
