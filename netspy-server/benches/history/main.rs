//! What history costs and how fast it answers: a synthetic trace goes through decode, track and store, then the
//! store is asked. `cargo xtask bench server` runs it and puts the goals next to the numbers.
//!
//! Prints one JSON object per measurement. Arguments: `--connections N`, `--directory DIR`, and `--long N` for nothing but
//! writing so many connections with the bounds that a server has by default, and what memory that takes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that fails ends; its output is its answer"
)]
#![allow(clippy::cast_precision_loss, reason = "far more exact than what is measured")]

mod http;
mod pipe;
mod trace;
mod tracing;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use netspy_server::domain::{Batch, Filter, GroupBy, History, HistoryError, Keep, Loss, Sink, Window};
use netspy_server::store::{self, SqliteHistory, SqliteSink};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use trace::{BEGIN_NS, DAY_NS, RARE, Trace};

/// Each question is asked so often.
const ASKED: usize = 30;
/// Connections in the minute before HTTP clients ask.
const LAST_MINUTE: u64 = 10_000;
/// Connections a second while HTTP clients ask: as many as none of may be lost.
const FULL_LOAD: u64 = 50_000;
/// A long run is looked at so often.
const LOOKS: u64 = 10;

fn main() {
    let mut words = std::env::args().skip(1);
    let (mut connections, mut long, mut directory) = (1_000_000, None, std::env::temp_dir());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--connections" => connections = words.next().unwrap().parse().unwrap(),
            "--long" => long = Some(words.next().unwrap().parse().unwrap()),
            "--directory" => directory = PathBuf::from(words.next().unwrap()),
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    let path = directory.join("netspy-bench.db");
    remove(&path);
    if let Some(connections) = long {
        return long_run(&path, connections);
    }
    tracing::ask_all(&directory);
    let keep = Keep { bytes: 16 << 30, ..Keep::default() };
    let (sink, history) = store::open(&path, keep).unwrap();
    ingest("ingest", sink, Trace::of_a_day(connections));
    report(&json!({
        "what": "disk", "connections": connections,
        "bytes": std::fs::metadata(&path).unwrap().len(),
    }));
    let ever = Window { since_ns: i64::MIN, until_ns: i64::MAX };
    assert!(history.losses(ever).unwrap().is_empty(), "every record was understood");
    ask_all("idle", &history);
    let (sink, _) = store::open(&path, keep).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ingest("ingest while asked", sink, Trace::of_the_next_minute(connections / 8));
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            ask_all("busy", &history);
        }
    });
    let (sink, _) = store::open(&path, keep).unwrap();
    http::ask_all("idle", sink, &history, Trace::of_the_last_minute(LAST_MINUTE));
    let (sink, _) = store::open(&path, keep).unwrap();
    http::ask_all("busy", sink, &history, Trace::of_the_minute_to_come(FULL_LOAD));
    let (sink, _) = store::open(&path, keep).unwrap();
    ingest("ingest, the clock set back", sink, Trace::of_the_next_minute(connections / 8));
    drop(history);
    remove(&path);
    let (sink, _) = store::open(&path, keep).unwrap();
    ingest("ingest, a transaction for each batch", OneByOne(sink), Trace::of_a_day(connections / 8));
    remove(&path);
    retention(&path, connections / 4);
    report(&json!({ "what": "memory", "peak_bytes": memory("VmHWM:") }));
}

/// Writes each batch in a transaction of its own, however many wait.
struct OneByOne(SqliteSink);

impl Sink for OneByOne {
    fn write_all(&mut self, batches: &[Batch]) -> Result<Vec<Loss>, HistoryError> {
        let lost = batches.iter().map(|batch| self.0.write(batch)).collect::<Result<Vec<_>, _>>()?;
        Ok(lost.concat())
    }
}

/// Writes on and on, and looks at its memory meanwhile.
fn long_run(path: &Path, connections: u64) {
    let (sink, history) = store::open(path, Keep::default()).unwrap();
    let trace = Trace::of_a_day(connections);
    let (written, finished) = (trace.records(), trace.finished());
    std::thread::scope(|scope| {
        scope.spawn(|| ingest("ingest, long", sink, trace));
        let mut looks = 0;
        while !finished.load(Ordering::Acquire) {
            sleep(Duration::from_millis(100));
            let records = written.load(Ordering::Relaxed);
            // 2.8 records for a connection.
            if records * 5 / 14 * LOOKS / connections > looks {
                looks += 1;
                report(&json!({
                    "what": "memory meanwhile", "records": records, "resident_bytes": memory("VmRSS:"),
                }));
            }
        }
    });
    let ever = Filter::within(Window { since_ns: i64::MIN, until_ns: i64::MAX });
    let counted: u64 = history.connection_counts(&ever).unwrap().values().sum();
    assert_eq!(counted, connections, "sums are exact after retention");
    report(&json!({
        "what": "long run", "connections": connections, "drops": history.drop_counts(&ever).unwrap().values().sum::<u64>(),
        "bytes": std::fs::metadata(path).unwrap().len(), "rows_left": history.connections(&ever, 0).unwrap().total,
    }));
    report(&json!({ "what": "memory", "peak_bytes": memory("VmHWM:") }));
    remove(path);
}

/// Memory of this process: `VmRSS:` that is resident, `VmHWM:` the most that was, everything above included.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

/// Writes far more than is kept, and watches the file and its log meanwhile.
fn retention(path: &Path, connections: u64) {
    let keep = Keep { bytes: 64 << 20, ..Keep::default() };
    let (sink, history) = store::open(path, keep).unwrap();
    let done = AtomicBool::new(false);
    let size =
        |suffix: &str| std::fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |file| file.len());
    let (mut most, mut most_log) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ingest("ingest with retention", sink, Trace::of_a_day(connections));
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let log = size("-wal");
            (most, most_log) = (most.max(size("") + log), most_log.max(log));
            sleep(Duration::from_millis(2));
        }
    });
    let ever = Filter::within(Window { since_ns: i64::MIN, until_ns: i64::MAX });
    let counted: u64 = history.connection_counts(&ever).unwrap().values().sum();
    assert_eq!(counted, connections, "sums are exact after retention");
    report(&json!({
        "what": "retention", "most_bytes": most, "most_log_bytes": most_log, "allowed_bytes": keep.bytes,
        "rows_left": history.connections(&ever, 0).unwrap().total,
    }));
    remove(path);
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

fn report(measured: &serde_json::Value) {
    println!("{measured}");
}

/// CPU time of the process or of this thread.
fn cpu(of: ClockId) -> Duration {
    Duration::try_from(clock_gettime(of)).unwrap()
}

/// Runs a trace through the whole pipeline.
fn ingest(what: &str, sink: impl Sink + 'static, trace: Trace) {
    let (connections, records) = (trace.connections(), trace.records());
    let (began, cpu_began) = (Instant::now(), cpu(ClockId::ProcessCPUTime));
    pipe::run(Box::new(sink), trace);
    let (wall, cpu) = (began.elapsed(), cpu(ClockId::ProcessCPUTime).saturating_sub(cpu_began));
    report(&json!({
        "what": what, "connections": connections, "records": records.load(Ordering::Relaxed),
        "seconds": wall.as_secs_f64(), "cpu_seconds": cpu.as_secs_f64(),
        "connections_per_second": connections as f64 / wall.as_secs_f64(),
    }));
}

fn ask_all(load: &str, history: &SqliteHistory) {
    let day = Window { since_ns: *BEGIN_NS, until_ns: *BEGIN_NS + DAY_NS };
    let all = Filter::within(day);
    let named = |name: &str| Filter { process: Some(name.to_owned()), ..all.clone() };
    let noon_ns = *BEGIN_NS + DAY_NS / 2 + 7;
    let minute = Window { since_ns: noon_ns, until_ns: noon_ns + 60_000_000_000 };
    let counts = |filter: Filter| move || history.connection_counts(&filter).unwrap().values().sum::<u64>();
    let newest = |filter: Filter| move || history.connections(&filter, 100).unwrap().total;
    let top = |by| {
        let all = &all;
        move || history.top(all, by, 10).unwrap()[0].1.count
    };
    let to = |port| Filter {
        remote: netspy_server::domain::End { network: None, ports: Some(port..=port) },
        ..all.clone()
    };
    let ask = |what: &str, times: usize, question: &dyn Fn() -> u64| {
        let (mut took, mut cpu_took) = (Vec::new(), Vec::new());
        let mut answer = 0;
        for _ in 0..times {
            let (began, cpu_began) = (Instant::now(), cpu(ClockId::ThreadCPUTime));
            answer = question();
            cpu_took.push(cpu(ClockId::ThreadCPUTime).saturating_sub(cpu_began).as_secs_f64() * 1e3);
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        cpu_took.sort_by(f64::total_cmp);
        report(&json!({
            "what": what, "load": load, "answer": answer, "median_ms": took[times / 2],
            "cpu_median_ms": cpu_took[times / 2], "p99_ms": took[times - 1 - times / 100],
        }));
    };
    ask("summary of the day", ASKED, &counts(all.clone()));
    ask("summary of the day, one process", ASKED, &counts(named("program-1")));
    ask("summary of a minute", ASKED, &counts(Filter::within(minute)));
    ask("newest 100", ASKED, &newest(all.clone()));
    ask("newest 100 of a busy process", ASKED, &newest(named("program-1")));
    ask("newest 100 of a rare process", ASKED, &newest(named(RARE)));
    ask("newest 100 of no process", ASKED, &newest(named("no-such-name")));
    ask("newest 100 of a pid", ASKED, &newest(Filter { pid: Some(1_001), ..all.clone() }));
    ask("top destinations of the day", ASKED, &top(GroupBy::Destination));
    ask("top processes of the day", ASKED, &top(GroupBy::Process));
    ask("newest 100 to a usual port", ASKED, &newest(to(443)));
    ask("newest 100 to a port of nobody", ASKED, &newest(to(7)));
    if load == "idle" {
        let own = netspy_server::domain::End { network: None, ports: Some(7..=7) };
        ask("newest 100 from a port, all rows read", 3, &newest(Filter { local: own, ..all.clone() }));
    }
}
