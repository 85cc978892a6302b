//! Replaying a recording: the same records, the same answers about the host, no kernel and no root.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader},
    path::Path,
};

use super::trace::{Frame, TraceError, TraceHeader, TraceReader};
use crate::domain::{
    ExistingSocket, FlowReading, HistoryError, Host, Identity, Input, KernelNames, LossKind, LossPlace,
    ProcessEvent, ProcessId, Rest, Ring, Sockets, Source, Thread,
};

/// A recording, taken apart.
pub struct Replay {
    /// Where and with what it was made.
    pub header: TraceHeader,
    /// The records.
    pub source: ReplaySource,
    /// The facts.
    pub host: ReplayHost,
    /// The sockets that were there when it began.
    pub sockets: ReplaySockets,
    /// When it ended, ns since 1970; its last record if the recording server was killed.
    pub ended_ns: i64,
}

impl Replay {
    /// Reads all of `path`. Recordings are for demonstrations, tests and bug reports: they fit in memory.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let (mut reader, header) = TraceReader::open(BufReader::new(File::open(path)?))?;
        let mut records = Vec::new();
        let mut host = ReplayHost::new(header.names.clone());
        let (mut offset_ns, mut ended_ns, mut existing) = (0, 0, Vec::new());
        while let Some(frame) = reader.next_frame()? {
            match frame {
                Frame::Identity { process, cgroup_id, identity } => {
                    host.identities.entry((process, cgroup_id)).or_insert(identity);
                }
                Frame::Symbol { address, symbol } => {
                    host.symbols.entry(address).or_insert(symbol);
                }
                Frame::End(at) => ended_ns = at,
                record => {
                    match &record {
                        Frame::Existing { socket, .. } => existing.push(ExistingSocket::clone(socket)),
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
        let (source, sockets) = (ReplaySource { records: records.into_iter() }, ReplaySockets(existing));
        Ok(Self { header, source, host, sockets, ended_ns })
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
                Frame::Lost { monotonic_ns, place, kind, count } => {
                    if let Some(place) = LossPlace::from_name(&place) {
                        let kind = LossKind::from_name(&kind).unwrap_or(LossKind::Unknown);
                        take(Input::Lost { monotonic_ns, place, kind, count });
                    } else {
                        tracing::warn!(place, count, "the recording lost events at a place unknown here");
                    }
                }
                Frame::Existing { monotonic_ns, socket } => {
                    take(Input::Existing { monotonic_ns, socket: &socket });
                }
                Frame::Listed { monotonic_ns } => take(Input::Listed { monotonic_ns }),
                Frame::Identity { .. } | Frame::Symbol { .. } | Frame::End(_) => {}
            }
        }
        Ok(false)
    }

    /// What was read is among the records.
    fn read_flows(&mut self, _readings: &[FlowReading], _take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self, _take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn rests(&self) -> bool {
        self.records.len() == 0
    }

    fn rest(&mut self) -> io::Result<Rest> {
        Ok(Rest::default())
    }

    fn monotonic_ns(&self) -> u64 {
        u64::MAX // nothing more will come: whatever waits for something later need not wait
    }
}

/// The sockets that were there when the recording began.
pub struct ReplaySockets(Vec<ExistingSocket>);

impl Sockets for ReplaySockets {
    fn existing(&self) -> Result<Vec<ExistingSocket>, HistoryError> {
        Ok(self.0.clone())
    }
}

/// What the recording's host answered.
pub struct ReplayHost {
    identities: HashMap<(ProcessId, u64), Identity>,
    symbols: HashMap<u64, String>,
    names: KernelNames,
}

impl ReplayHost {
    fn new(names: KernelNames) -> Self {
        Self { identities: HashMap::new(), symbols: HashMap::new(), names }
    }
}

impl Host for ReplayHost {
    /// The recorded host has drawn its conclusions.
    fn process(&mut self, _event: &ProcessEvent) {}

    fn identify(&mut self, thread: &Thread) -> Identity {
        self.identities.get(&(thread.process(), thread.cgroup_id)).cloned().unwrap_or_default()
    }

    fn symbol(&mut self, address: u64) -> Option<String> {
        self.symbols.get(&address).cloned()
    }

    fn kernel_names(&self) -> &KernelNames {
        &self.names
    }
}
