//! Reading what the programs only counted: each time the map is read, what has been added since becomes a
//! record, so that it is decoded and recorded like everything else.
//!
//! No entry may be removed while a program may be adding to it. So entries bear a generation; when the map is
//! half full, programs are told to count in the next one, and what is of earlier ones is removed after a while.

use std::{collections::HashMap as Counters, io};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray};
use netspy_common::{ABI_VERSION, CountKey, CountRecord, CountValue, MAX_COUNTS, RecordHeader, kind};

use crate::domain::{Input, Ring};

/// During a flood the map is read this often.
const READ_EVERY_NS: u64 = 100_000_000;
/// So long after the generation has changed no program counts in an earlier one any more: they run for µs.
const SETTLED_NS: u64 = 1_000_000_000;

/// Plain old data that aya may copy out of a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Plain<T>(T);

// SAFETY: integers and arrays of integers, `repr(C)`, explicitly padded: every bit pattern is valid.
#[allow(unsafe_code)]
unsafe impl aya::Pod for Plain<CountKey> {}
// SAFETY: likewise.
#[allow(unsafe_code)]
unsafe impl aya::Pod for Plain<CountValue> {}

/// The programs' counts, and what was read of them.
pub(super) struct Counts {
    entries: HashMap<MapData, Plain<CountKey>, Plain<CountValue>>,
    totals: PerCpuArray<MapData, u64>,
    generation: Array<MapData, u32>,
    /// Counts as they were last read.
    known: Counters<CountKey, u64>,
    /// Sum of `totals` before the last reading.
    read_up_to: u64,
    /// `CLOCK_MONOTONIC` in ns of the last reading.
    read_at_ns: u64,
    current: u32,
    /// When `current` began.
    since_ns: u64,
}

impl Counts {
    pub(super) fn new(
        entries: HashMap<MapData, Plain<CountKey>, Plain<CountValue>>,
        totals: PerCpuArray<MapData, u64>,
        generation: Array<MapData, u32>,
    ) -> Self {
        Self {
            entries,
            totals,
            generation,
            known: Counters::new(),
            read_up_to: 0,
            read_at_ns: 0,
            current: 0,
            since_ns: 0,
        }
    }

    /// Reads the map if it was not read for a while.
    pub(super) fn read_if_due(&mut self, now_ns: u64, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        if now_ns.saturating_sub(self.read_at_ns) < READ_EVERY_NS {
            return Ok(());
        }
        self.read(now_ns, take)
    }

    /// Reads the map if anything was counted since it was read.
    pub(super) fn read(&mut self, now_ns: u64, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        self.read_at_ns = now_ns;
        // Before the entries: what is added meanwhile is found now, or next time.
        let total: u64 = self.totals.get(&0, 0).map_err(io::Error::other)?.iter().sum();
        if total == self.read_up_to {
            return Ok(());
        }
        self.read_up_to = total;
        let entries: Vec<_> = self.entries.iter().collect::<Result<_, _>>().map_err(io::Error::other)?;
        for (Plain(key), Plain(value)) in entries {
            let known = self.known.entry(key).or_default();
            let count = value.count - *known;
            *known = value.count;
            if count > 0 {
                let len = size_of::<CountRecord>() as u32;
                let header = RecordHeader { abi: ABI_VERSION, kind: kind::COUNT, len, time_ns: now_ns };
                let record = CountRecord { header, key, value: CountValue { count, ..value } };
                take(Input::Record { ring: Ring::Drops, bytes: bytes_of(&record) });
            }
        }
        self.make_room(now_ns)
    }

    fn make_room(&mut self, now_ns: u64) -> io::Result<()> {
        if now_ns.saturating_sub(self.since_ns) < SETTLED_NS || self.known.len() < MAX_COUNTS as usize / 2 {
            return Ok(());
        }
        let current = self.current;
        let over: Vec<_> = self.known.extract_if(|key, _| key.generation != current).collect();
        for (key, _) in over {
            match self.entries.remove(&Plain(key)) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        self.current = current.wrapping_add(1);
        self.since_ns = now_ns;
        self.generation.set(0, self.current, 0).map_err(io::Error::other)
    }
}

fn bytes_of(record: &CountRecord) -> &[u8] {
    // SAFETY: integers without padding in between: each of its bytes is initialised.
    #[allow(unsafe_code)]
    unsafe {
        std::slice::from_raw_parts((&raw const *record).cast(), size_of::<CountRecord>())
    }
}
