//! A table of events on disk: sealed segments in Parquet, what is not sealed yet in a log (an Arrow IPC stream), and
//! of segments that retention took away their sums.
//!
//! The log is written before anything is acknowledged, and holds what it says after kill -9. Segment *n* is
//! what log *n* held of events that are over; log *n + 1*, which takes over the rest, is there before it.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context as _, Result};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::schema::types::ColumnPath;

/// Rows in a segment. More make a better file, and more to keep in memory and to replay at start.
pub(crate) const SEGMENT_ROWS: usize = 1 << 18;

/// Columns whose neighbours differ by little.
const RISING: [&str; 3] = ["id", "wall_ns", "monotonic_ns"];

/// A sealed file; one that is condemned is removed when its last reader is done.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    number: u64,
    bytes: u64,
    /// The latest wall time in it, once it was asked for.
    pub(crate) latest_ns: OnceLock<i64>,
    condemned: AtomicBool,
}

impl Segment {
    fn new(path: PathBuf, number: u64, bytes: u64) -> Arc<Self> {
        Arc::new(Self { path, number, bytes, latest_ns: OnceLock::new(), condemned: false.into() })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.condemned.load(Ordering::Relaxed) {
            // What stays is removed at the next start: its sums are there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What a question reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) rollups: Vec<PathBuf>,
    /// Bytes of these.
    rollup_bytes: u64,
    /// Over, and not sealed yet.
    pub(crate) recent: Vec<RecordBatch>,
}

/// What writer and readers share of a table.
#[derive(Debug)]
pub(crate) struct Table {
    directory: PathBuf,
    pub(crate) schema: SchemaRef,
    state: Mutex<Snapshot>,
}

impl Table {
    /// Opens a table; hands over what its log holds.
    pub(crate) fn open(directory: PathBuf, schema: SchemaRef) -> Result<(Arc<Self>, Log, Vec<RecordBatch>)> {
        fs::create_dir_all(&directory)?;
        let rollups = numbered(&directory, "rollup")?;
        let mut state = Snapshot::default();
        for (number, path) in numbered(&directory, "segment")? {
            if rollups.iter().any(|(of, _)| *of == number) {
                fs::remove_file(&path)?;
                continue;
            }
            let bytes = fs::metadata(&path)?.len();
            state.segments.push(Segment::new(path, number, bytes));
        }
        let sealed = state.segments.last().map(|segment| segment.number);
        let next = sealed.max(rollups.last().map(|(number, _)| *number)).map_or(0, |number| number + 1);
        for (_, path) in rollups {
            state.rollup_bytes += fs::metadata(&path)?.len();
            state.rollups.push(path);
        }
        let mut held = Vec::new();
        for (number, path) in numbered(&directory, "log")? {
            if number == next {
                // A log that kill -9 cut ends with what was not acknowledged.
                let reader = StreamReader::try_new(BufReader::new(File::open(&path)?), None);
                held = reader.map_or_else(|_| Vec::new(), |reader| reader.map_while(Result::ok).collect());
            }
            if number != next {
                fs::remove_file(&path)?;
            }
        }
        let mut log = Log::begin(&directory, next, &schema)?;
        held.iter().try_for_each(|batch| log.append(batch))?;
        log.publish()?;
        let table = Self { directory, schema, state: Mutex::new(state) };
        Ok((Arc::new(table), log, held))
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// Rows that are over and in the log are there to be read.
    pub(crate) fn show(&self, over: RecordBatch) {
        self.lock().recent.push(over);
    }

    /// Bytes of segments and sums.
    pub(crate) fn bytes(&self) -> u64 {
        let state = self.lock();
        state.segments.iter().map(|segment| segment.bytes).sum::<u64>() + state.rollup_bytes
    }

    /// Rows that are over and not sealed.
    pub(crate) fn unsealed(&self) -> usize {
        self.lock().recent.iter().map(RecordBatch::num_rows).sum()
    }

    /// Makes a segment of what is over; `rest` is what the next log begins with.
    pub(crate) fn seal(&self, log: &mut Log, rest: &RecordBatch) -> Result<()> {
        let recent = self.lock().recent.clone();
        let mut next = Log::begin(&self.directory, log.number + 1, &self.schema)?;
        next.append(rest)?;
        next.publish()?;
        let path = named(&self.directory, "segment", log.number);
        let bytes = write_parquet(&path, &concat_batches(&self.schema, &recent)?)?;
        {
            let mut state = self.lock();
            state.segments.push(Segment::new(path, log.number, bytes));
            state.recent.clear();
        }
        let before = std::mem::replace(log, next);
        fs::remove_file(named(&self.directory, "log", before.number)).context("the log cannot be removed")
    }

    pub(crate) fn oldest(&self) -> Option<Arc<Segment>> {
        self.lock().segments.first().cloned()
    }

    /// The oldest segment goes, its sums stay.
    pub(crate) fn condemn(&self, segment: &Segment, sums: &RecordBatch) -> Result<()> {
        let path = named(&self.directory, "rollup", segment.number);
        let bytes = write_parquet(&path, sums)?;
        segment.condemned.store(true, Ordering::Relaxed);
        let mut state = self.lock();
        state.rollup_bytes += bytes;
        state.rollups.push(path);
        state.segments.retain(|one| one.number != segment.number);
        Ok(())
    }
}

/// What is written and not sealed.
pub(crate) struct Log {
    number: u64,
    path: PathBuf,
    stream: StreamWriter<File>,
}

impl Log {
    fn begin(directory: &Path, number: u64, schema: &SchemaRef) -> Result<Self> {
        let path = named(directory, "log", number);
        let stream = StreamWriter::try_new(File::create(unfinished(&path))?, schema)?;
        Ok(Self { number, path, stream })
    }

    /// Whatever it begins with is in it.
    fn publish(&self) -> Result<()> {
        self.stream.get_ref().sync_data()?;
        fs::rename(unfinished(&self.path), &self.path)?;
        Ok(())
    }

    pub(crate) fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() > 0 {
            self.stream.write(batch)?;
        }
        Ok(())
    }
}

fn write_parquet(path: &Path, rows: &RecordBatch) -> Result<u64> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(SEGMENT_ROWS));
    for column in RISING.into_iter().filter(|column| rows.column_by_name(column).is_some()) {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(column), false)
            .set_column_encoding(ColumnPath::from(column), Encoding::DELTA_BINARY_PACKED);
    }
    let file = File::create(unfinished(path))?;
    let mut writer = ArrowWriter::try_new(file.try_clone()?, rows.schema(), Some(properties.build()))?;
    writer.write(rows)?;
    writer.close()?;
    file.sync_data()?;
    fs::rename(unfinished(path), path)?;
    Ok(file.metadata()?.len())
}

fn named(directory: &Path, kind: &str, number: u64) -> PathBuf {
    let extension = if kind == "log" { "arrows" } else { "parquet" };
    directory.join(format!("{kind}-{number:08}.{extension}"))
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("unfinished")
}

/// The files of a kind, the oldest first.
fn numbered(directory: &Path, kind: &str) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let finished = path.extension().is_some_and(|extension| extension != "unfinished");
        if let Some(number) = stem.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-')?.parse().ok())
            && finished
        {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}
