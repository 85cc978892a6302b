//! `bench kernel`: what tracing costs whoever is traced, what it loses, and what the server costs, together with
//! other tools in the same run. How to read the numbers is in docs/benchmarks.md.
//!
//! Of netspy it knows what its users know: the program, its flags, its HTTP API.

#![allow(
    clippy::cast_precision_loss,
    reason = "counts and times as ratios: far more exact than what is measured"
)]

mod generator;
mod goals;
mod idle;
mod ledger;
pub(crate) mod load;
mod loss;
mod peers;
mod process;
mod programs;
mod report;
mod server;
mod setup;
mod slowdown;
mod spread;
mod workload;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::report::Report;
use self::setup::{Bench, Machine};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Tables for people, in Markdown
    Table,
    /// One JSON object
    Json,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// How much slower the generator is under each tool
    Slowdown,
    /// What each eBPF program costs
    Programs,
    /// What is lost at a rate
    Loss,
    /// What the server does while nothing happens
    Idle,
}

/// Options of `bench kernel`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A short run: that everything works, not how well
    #[arg(long)]
    quick: bool,
    /// Fail when a goal is missed
    #[arg(long)]
    check: bool,
    /// Measure only this, repeatable
    #[arg(long = "part", value_name = "PART")]
    parts: Vec<Part>,
    /// Rounds of the slow-down, each with every tool [default: 9; quick: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Time for each rate at which loss is looked for [default: 60; quick: 2]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    loss_seconds: Option<u32>,
    /// Also measure tools that stop the traced process at each call (strace)
    #[arg(long)]
    slow_peers: bool,
    /// How results are printed
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// Times that `--quick` shortens.
struct Times {
    rounds: u32,
    each: Duration,
    programs: Duration,
    loss: Duration,
    idle: Duration,
}

impl Arguments {
    fn times(&self) -> Times {
        let (rounds, each_ms, programs_ms, loss, idle) =
            if self.quick { (1, 200, 500, 2, 3) } else { (9, 500, 2000, 60, 10) };
        Times {
            rounds: self.rounds.unwrap_or(rounds),
            each: Duration::from_millis(each_ms),
            programs: Duration::from_millis(programs_ms),
            loss: Duration::from_secs(self.loss_seconds.unwrap_or(loss).into()),
            idle: Duration::from_secs(idle),
        }
    }

    fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

/// Measures, prints, and fails when asked to and a goal is missed.
pub(super) fn job(arguments: &Arguments) -> Result<()> {
    let mut bench = Bench::prepare()?;
    let (started, times) = (Instant::now(), arguments.times());
    let machine = Machine::look(&bench.root)?;
    let hooks = hooks(&bench)?;
    // Idle first: later the machine still writes what the other parts left behind.
    let idle = arguments.wants(Part::Idle).then(|| idle::measure(&bench, times.idle)).transpose()?;
    let slowdown = arguments
        .wants(Part::Slowdown)
        .then(|| slowdown::measure(&mut bench, times.rounds as usize, times.each, arguments.slow_peers))
        .transpose()?;
    let programs =
        arguments.wants(Part::Programs).then(|| programs::measure(&mut bench, times.programs)).transpose()?;
    let loss = arguments.wants(Part::Loss).then(|| loss::measure(&mut bench, times.loss)).transpose()?;
    let seconds = started.elapsed().as_secs();
    let mut goals = Vec::new();
    goals.extend(slowdown.iter().flat_map(|slowdown| goals::of_slowdown(&slowdown.rows)));
    goals.extend(loss.iter().flat_map(|rows| goals::of_loss(rows)));
    goals.extend(idle.iter().flat_map(goals::of_idle));
    let report = Report { machine, hooks, slowdown, programs, loss, idle, goals, seconds };
    match arguments.output {
        Output::Table => println!("{}", report.text()),
        Output::Json => println!("{}", serde_json::to_string(&report)?),
    }
    let missed: Vec<&str> =
        report.goals.iter().filter(|goal| !goal.met).map(|goal| goal.what.as_str()).collect();
    if arguments.check && !missed.is_empty() {
        bail!("{} of {} goals are missed: {}", missed.len(), report.goals.len(), missed.join("; "));
    }
    Ok(())
}

/// How the server traces each event on this kernel.
fn hooks(bench: &Bench) -> Result<Vec<String>> {
    let mut server = bench.start_server()?;
    let health = server.health()?;
    server.stop()?;
    let programs =
        health["programs"].as_array().with_context(|| format!("/health names no event: {health}"))?;
    let hook = |program: &serde_json::Value| {
        let word = |key: &str| program[key].as_str().unwrap_or("unknown").to_owned();
        format!("{} by {}", word("name"), word("rung"))
    };
    Ok(programs.iter().map(hook).collect())
}
