//! kill -9 while writing: what was acknowledged must be there afterwards, and no more than one transaction besides.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use netspy_server::domain::{Batch, Filter, HistoryError, Keep, Loss, Sink};

use crate::trace::Trace;
use crate::{EVER, KINDS, Kind, pipe, report, timed};

/// How often each is killed, and how long it may write.
const TIMES: u64 = 5;
const WRITES_FOR: Duration = Duration::from_millis(1_500);
/// Connections that a transaction may begin: of nine batches, each of as many as there are records handed over at once.
const AT_ONCE: u64 = 9 * (4_096 + 2_000);

/// Says on stdout how many connections are in the store.
struct Acknowledging {
    sink: Box<dyn Sink>,
    newest: u64,
    written: u64,
}

impl Sink for Acknowledging {
    fn write_all(&mut self, batches: &[Batch]) -> Result<Vec<Loss>, HistoryError> {
        let losses = self.sink.write_all(batches)?;
        for batch in batches {
            self.written += batch.connections.iter().filter(|row| row.id > self.newest).count() as u64;
            self.newest = batch.connections.iter().map(|row| row.id).max().unwrap_or(0).max(self.newest);
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", self.written).and_then(|()| out.flush()).unwrap();
        Ok(losses)
    }
}

/// What the process does that is killed.
pub(crate) fn write_until_killed(kind: Kind, directory: &Path) {
    let (sink, _history) = kind.open(directory, Keep { bytes: 64 << 30, ..Keep::default() });
    let sink = Acknowledging { sink, newest: 0, written: 0 };
    pipe::run(Box::new(sink), Trace::of_a_day(100_000_000));
}

/// Kills each in turn, and looks at what is left.
pub(crate) fn kill_often(directory: &Path) {
    let (mut opening_ms, mut unacknowledged) = ([0.0_f64; 2], [0_u64; 2]);
    for round in 0..TIMES {
        for (of, kind) in KINDS.into_iter().enumerate() {
            kind.remove(directory);
            let acknowledged =
                killed(kind, directory, WRITES_FOR + Duration::from_millis(137) * round as u32);
            let ((sink, history), took) = timed(|| kind.open(directory, Keep::default()));
            let filter = Filter::within(EVER);
            let page = history.connections(&filter, 100).unwrap();
            let counted: u64 = history.connection_counts(&filter).unwrap().values().sum();
            assert_eq!((counted, page.rows.len()), (page.total, 100), "{kind:?}: rows and sums agree");
            assert!(
                (acknowledged..=acknowledged + AT_ONCE).contains(&page.total),
                "{kind:?}: {acknowledged} were acknowledged, {} are there",
                page.total
            );
            opening_ms[of] = opening_ms[of].max(took.as_secs_f64() * 1e3);
            unacknowledged[of] = unacknowledged[of].max(page.total - acknowledged);
            drop((sink, history));
        }
    }
    report("kill -9: acknowledged and lost", "connections", 0.0, 0.0);
    let more = unacknowledged.map(|rows| rows as f64);
    report("kill -9: there though not acknowledged", "connections", more[0], more[1]);
    report("kill -9: opening again, at most", "ms", opening_ms[0], opening_ms[1]);
}

/// How many connections it had acknowledged.
fn killed(kind: Kind, directory: &Path, after: Duration) -> u64 {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--victim", kind.name(), "--directory"])
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let reading = std::thread::spawn(|| lines.map_while(Result::ok).last().unwrap());
    std::thread::sleep(after);
    victim.kill().unwrap(); // SIGKILL
    victim.wait().unwrap();
    reading.join().unwrap().parse().unwrap()
}
