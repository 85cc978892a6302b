//! Replaying a recording: the same records, the same answers about the host, no kernel and no root.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufReader},
    os::fd::BorrowedFd,
    path::Path,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::trace::{Frame, TraceError, TraceHeader, TraceReader};
use crate::domain::{Host, Input, LossPlace, Process, Ring, Source};

/// A recording, taken apart.
pub struct Replay {
    /// Where and with what it was made.
    pub header: TraceHeader,
    /// The records.
    pub source: ReplaySource,
    /// The facts.
    pub host: ReplayHost,
    /// When it ended, ns since 1970; its last record if the recording server was killed.
    pub ended_ns: i64,
}

impl Replay {
    /// Reads all of `path`. Recordings are for demonstrations, tests and bug reports: they fit in memory.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let (mut reader, header) = TraceReader::open(BufReader::new(File::open(path)?))?;
        let mut records = Vec::new();
        let mut host = ReplayHost::new(header.drop_reasons.clone());
        let (mut offset_ns, mut ended_ns) = (0, 0);
        while let Some(frame) = reader.next_frame()? {
            match frame {
                Frame::Exe { pid, started_ns, name, exe } => {
                    host.exes.entry((pid, started_ns, name)).or_insert(exe);
                }
                Frame::Symbol { address, symbol } => {
                    host.symbols.entry(address).or_insert(symbol);
                }
                Frame::End(at) => ended_ns = at,
                record => {
                    match &record {
                        Frame::Clock(offset) => offset_ns = *offset,
                        Frame::Events(bytes) | Frame::Drops(bytes) => {
                            ended_ns = ended_ns.max(offset_ns.saturating_add(time_of(bytes)));
                        }
                        _ => {}
                    }
                    records.push(record);
                }
            }
        }
        Ok(Self { header, source: ReplaySource { records: records.into_iter() }, host, ended_ns })
    }
}

/// `CLOCK_MONOTONIC` in ns in a record's header; 0 where there is none, which decoding will complain about.
fn time_of(record: &[u8]) -> i64 {
    let time = record
        .get(std::mem::offset_of!(netspy_common::RecordHeader, time_ns)..)
        .and_then(|rest| rest.first_chunk());
    time.map_or(0, |bytes| i64::from_ne_bytes(*bytes))
}

/// The records of a recording: all of them at once, then none.
pub struct ReplaySource {
    records: std::vec::IntoIter<Frame>,
}

impl Source for ReplaySource {
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        for frame in self.records.by_ref() {
            match frame {
                Frame::Events(bytes) => take(Input::Record { ring: Ring::Events, bytes: &bytes }),
                Frame::Drops(bytes) => take(Input::Record { ring: Ring::Drops, bytes: &bytes }),
                Frame::Clock(offset) => take(Input::Clock { wall_minus_monotonic_ns: offset }),
                Frame::Lost { monotonic_ns, place, count } => {
                    if let Some(place) = LossPlace::from_name(&place) {
                        take(Input::Lost { monotonic_ns, place, count });
                    } else {
                        tracing::warn!(place, count, "the recording lost events at a place unknown here");
                    }
                }
                Frame::Exe { .. } | Frame::Symbol { .. } | Frame::End(_) => {}
            }
        }
        Ok(false)
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, at_most: Option<Duration>) -> io::Result<()> {
        let limit = at_most.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn monotonic_ns(&self) -> u64 {
        u64::MAX // nothing more will come: whatever waits for something later need not wait
    }
}

/// What the recording's host answered.
pub struct ReplayHost {
    exes: HashMap<(u32, u64, String), String>,
    symbols: HashMap<u64, String>,
    drop_reasons: BTreeMap<u32, String>,
}

impl ReplayHost {
    fn new(drop_reasons: BTreeMap<u32, String>) -> Self {
        Self { exes: HashMap::new(), symbols: HashMap::new(), drop_reasons }
    }
}

impl Host for ReplayHost {
    fn exe(&mut self, process: &Process) -> Option<String> {
        self.exes.get(&(process.pid, process.started_ns, process.name.clone())).cloned()
    }

    fn symbol(&mut self, address: u64) -> Option<String> {
        self.symbols.get(&address).cloned()
    }

    fn drop_reason(&self, code: u32) -> Option<String> {
        self.drop_reasons.get(&code).cloned()
    }
}
