//! netspy's history against the same in Parquet segments that `DataFusion` reads: the same batches go into both, and
//! both are asked the same, in turn. `cargo xtask bench history` builds and runs it.
//!
//! Prints one JSON object per measurement. Arguments: `--connections N`, `--directory DIR`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that fails ends; its output is its answer"
)]
#![allow(clippy::cast_precision_loss, reason = "far more exact than what is measured")]
#![allow(clippy::cast_possible_truncation, reason = "places in short lists")]

mod both;
mod condition;
mod crash;
mod history;
#[allow(dead_code, reason = "another measurement uses the rest")]
#[path = "../../history/pipe.rs"]
mod pipe;
mod questions;
mod rows;
mod sink;
mod table;
#[allow(dead_code, reason = "another measurement uses the rest")]
#[path = "../../history/trace.rs"]
mod trace;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use both::{Both, Costs};
use netspy_server::domain::{Filter, History, Keep, Sink, Window};
use serde_json::json;
use trace::Trace;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Columnar,
}

const KINDS: [Kind; 2] = [Kind::Sqlite, Kind::Columnar];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Columnar => "columnar",
        }
    }

    fn directory(self, below: &Path) -> PathBuf {
        below.join(format!("netspy-compared-{}", self.name()))
    }

    fn open(self, below: &Path, keep: Keep) -> (Box<dyn Sink>, Arc<dyn History>) {
        let directory = self.directory(below);
        std::fs::create_dir_all(&directory).unwrap();
        match self {
            Self::Sqlite => {
                let (sink, history) =
                    netspy_server::store::open(&directory.join("history.db"), keep).unwrap();
                (Box::new(sink), Arc::new(history))
            }
            Self::Columnar => {
                let (sink, history) = sink::open(&directory, keep).unwrap();
                (Box::new(sink), Arc::new(history))
            }
        }
    }

    /// Bytes of all its files.
    fn bytes(self, below: &Path) -> u64 {
        let mut waiting = vec![self.directory(below)];
        let mut bytes = 0;
        while let Some(directory) = waiting.pop() {
            // A file may go while it is looked at.
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(file) if file.is_dir() => waiting.push(entry.path()),
                    Ok(file) => bytes += file.len(),
                    Err(_) => {}
                }
            }
        }
        bytes
    }

    fn remove(self, below: &Path) {
        let directory = self.directory(below);
        if directory.exists() {
            std::fs::remove_dir_all(directory).unwrap();
        }
    }
}

/// Everything.
const EVER: Window = Window { since_ns: i64::MIN, until_ns: i64::MAX };

fn report(what: &str, unit: &str, sqlite: f64, columnar: f64) {
    println!("{}", json!({"what": what, "unit": unit, "sqlite": sqlite, "columnar": columnar}));
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (mut connections, mut directory, mut victim) = (1_000_000, std::env::temp_dir(), None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--connections" => connections = words.next().unwrap().parse().unwrap(),
            "--directory" => directory = PathBuf::from(words.next().unwrap()),
            "--victim" => {
                let name = words.next().unwrap();
                victim = KINDS.into_iter().find(|kind| kind.name() == name);
            }
            other => panic!("unknown argument {other}"),
        }
    }
    if let Some(kind) = victim {
        return crash::write_until_killed(kind, &directory);
    }
    let begin_anew = || KINDS.iter().for_each(|kind| kind.remove(&directory));
    begin_anew();
    let keep = Keep { bytes: 64 << 30, ..Keep::default() };
    let opened = KINDS.map(|kind| kind.open(&directory, keep));
    let [(sqlite, sqlite_history), (columnar, columnar_history)] = opened;
    let costs = Arc::new(Costs::default());
    pipe::run(Box::new(Both::new([sqlite, columnar], &costs)), Trace::of_a_day(connections));
    costs.report("ingest", connections);
    let bytes = KINDS.map(|kind| kind.bytes(&directory) as f64 / connections as f64);
    report("disk", "bytes/connection", bytes[0], bytes[1]);
    questions::ask_all("idle", &[sqlite_history, columnar_history]);

    let [(sqlite, sqlite_history), (columnar, columnar_history)] =
        KINDS.map(|kind| kind.open(&directory, keep));
    let (sinks, histories) = ([sqlite, columnar], [sqlite_history, columnar_history]);
    let (costs, done) = (Arc::new(Costs::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let more = connections / 4;
            pipe::run(Box::new(Both::new(sinks, &costs)), Trace::of_the_next_minute(more));
            costs.report("ingest while asked", more);
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            questions::ask_all("busy", &histories);
        }
    });
    drop(histories);
    begin_anew();
    retention(&directory, connections / 4);
    begin_anew();
    crash::kill_often(&directory);
    begin_anew();
}

/// Writes far more than is kept; the sums of everything must stay exact.
fn retention(directory: &Path, connections: u64) {
    let keep = Keep { bytes: 64 << 20, ..Keep::default() };
    let [(sqlite, sqlite_history), (columnar, columnar_history)] =
        KINDS.map(|kind| kind.open(directory, keep));
    let (costs, done) = (Arc::new(Costs::default()), AtomicBool::new(false));
    let most: [AtomicU64; 2] = Default::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pipe::run(Box::new(Both::new([sqlite, columnar], &costs)), Trace::of_a_day(connections));
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            for (kind, most) in KINDS.iter().zip(&most) {
                most.fetch_max(kind.bytes(directory), Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    costs.report("ingest with retention", connections);
    let [sqlite, columnar] = most.map(|most| most.into_inner() as f64 / f64::from(1 << 20));
    report("most on disk of 64 MiB", "MiB", sqlite, columnar);
    let ever = Filter::within(EVER);
    let left = [sqlite_history, columnar_history].map(|history| {
        let counted: u64 = history.connection_counts(&ever).unwrap().values().sum();
        assert_eq!(counted, connections, "sums are exact after retention");
        history.connections(&ever, 0).unwrap().total as f64
    });
    report("rows left of 64 MiB", "connections", left[0], left[1]);
}

/// How long something takes.
fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let answer = what();
    (answer, began.elapsed())
}
