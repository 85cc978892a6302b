//! Reading the rings: polling while there is traffic, sleeping when there is none, and counting what the
//! programs could not deliver.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError, ring_buf::RingBuf},
};
use aya_log::EbpfLogger;
use netspy_common::{RecordHeader, reader};
use rustix::time::{ClockId, clock_gettime};
use tracing_log::log::Log;

use super::{
    counts::Counts,
    flows::{self, FlowMap},
    ladder::{stop_connects, unload},
    ledger::Ledger,
};
use crate::domain::{FlowReading, Input, Rest, Ring, Source};

/// While there is traffic the rings are looked at this often: waking the reader for each record would cost
/// the traced programs many times what the record itself does.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// Records taken from one ring before other work gets its turn: queries must not wait for ever.
const RECORDS_AT_ONCE: u32 = 4096;
/// Looks without a record before the reader goes to sleep.
const IDLE_LOOKS: u32 = 20;
/// Wall clock steps smaller than this are not worth a record of their own.
const CLOCK_STEP_NS: u64 = 1_000_000;

/// The kernel's rings and counters.
pub struct KernelSource {
    events: RingBuf<MapData>,
    drops: RingBuf<MapData>,
    /// A record out of `drops` whose turn has not come.
    early: Option<Vec<u8>>,
    counts: Counts,
    ledger: Ledger,
    reader: Array<MapData, u32>,
    flows: FlowMap,
    logger: Option<EbpfLogger<&'static dyn Log>>,
    /// Readable when the rings or the log have something.
    wakers: Arc<[OwnedFd]>,
    idle_looks: u32,
    asleep: bool,
    wall_minus_monotonic_ns: Option<i64>,
    /// Holds the programs: they are detached when it goes.
    ebpf: Ebpf,
    /// Each event and the programs that serve it.
    programs: Vec<(&'static str, Vec<&'static str>)>,
}

impl KernelSource {
    #[expect(clippy::too_many_arguments, reason = "each is one of the maps")]
    pub(super) fn new(
        ebpf: Ebpf,
        programs: Vec<(&'static str, Vec<&'static str>)>,
        events: RingBuf<MapData>,
        drops: RingBuf<MapData>,
        counts: Counts,
        ledger: Ledger,
        reader: Array<MapData, u32>,
        flows: FlowMap,
        logger: Option<EbpfLogger<&'static dyn Log>>,
    ) -> io::Result<Self> {
        let fds = [events.as_fd(), drops.as_fd()].into_iter().chain(logger.as_ref().map(AsFd::as_fd));
        let wakers = fds.map(|fd| fd.try_clone_to_owned()).collect::<io::Result<_>>()?;
        Ok(Self {
            events,
            drops,
            early: None,
            counts,
            ledger,
            reader,
            flows,
            logger,
            wakers,
            idle_looks: 0,
            asleep: false,
            wall_minus_monotonic_ns: None,
            ebpf,
            programs,
        })
    }

    /// Follows these UNIX sockets, which were connected before the programs ran, to their end: their inode numbers.
    pub fn follow_unix(&mut self, inodes: &[u64]) -> Result<(), MapError> {
        let name = "UNIX_SOCKETS";
        let map = self.ebpf.map_mut(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })?;
        let mut sockets = HashMap::<_, u64, u64>::try_from(map)?;
        inodes.iter().try_for_each(|inode| sockets.insert(inode, 0, 0))
    }

    /// Detaches the programs of an event.
    pub(super) fn unload(&mut self, event: &str) {
        self.ledger.forget(event);
        let gone: Vec<_> = self.programs.extract_if(.., |(name, _)| *name == event).collect();
        for program in gone.into_iter().flat_map(|(_, used)| used) {
            if !self.programs.iter().any(|(_, used)| used.contains(&program)) {
                unload(&mut self.ebpf, program);
            }
        }
        if let Err(error) = stop_connects(&mut self.ebpf, event) {
            tracing::warn!(%error, event, "what is known to be wrong cannot be stopped in the kernel");
        }
    }

    /// Says so when the wall clock has moved against the monotonic one.
    fn check_clock(&mut self, take: &mut dyn FnMut(Input<'_>)) {
        let offset = now_ns(ClockId::Realtime) - now_ns(ClockId::Monotonic);
        if self.wall_minus_monotonic_ns.is_none_or(|known| known.abs_diff(offset) > CLOCK_STEP_NS) {
            self.wall_minus_monotonic_ns = Some(offset);
            take(Input::Clock { wall_minus_monotonic_ns: offset });
        }
    }

    /// Hands over the drops until that time; how many. A drop of a process of whose beginning the other ring still has the
    /// record would be nobody's, and drops may come faster than they are handled.
    fn drain_drops(&mut self, until_ns: u64, take: &mut dyn FnMut(Input<'_>)) -> u32 {
        let mut taken = 0;
        if let Some(early) = self.early.take_if(|early| time_ns(early) <= until_ns) {
            take(Input::Record { ring: Ring::Drops, bytes: &early });
            taken += 1;
        }
        while self.early.is_none()
            && taken < RECORDS_AT_ONCE
            && let Some(record) = self.drops.next()
        {
            if time_ns(&record) > until_ns {
                self.early = Some(record.to_vec());
            } else {
                take(Input::Record { ring: Ring::Drops, bytes: &record });
                taken += 1;
            }
        }
        taken
    }

    fn set_asleep(&mut self, asleep: bool) -> io::Result<()> {
        if self.asleep != asleep {
            self.asleep = asleep;
            let state = if asleep { reader::ASLEEP } else { reader::AWAKE };
            self.reader.set(0, state, 0).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl Source for KernelSource {
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        self.check_clock(take);
        let mut known_until_ns = now();
        let mut taken = 0;
        while taken < RECORDS_AT_ONCE
            && let Some(record) = self.events.next()
        {
            taken += 1;
            if taken == RECORDS_AT_ONCE {
                known_until_ns = time_ns(&record);
            }
            take(Input::Record { ring: Ring::Events, bytes: &record });
        }
        let drops = self.drain_drops(known_until_ns, take);
        let any = taken + drops > 0 || self.early.is_some();
        let more = taken == RECORDS_AT_ONCE || drops == RECORDS_AT_ONCE || self.early.is_some();
        self.counts.read_if_due(now(), take)?;
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.idle_looks = if any { 0 } else { self.idle_looks.saturating_add(1) };
        let now_ns = self.monotonic_ns();
        if self.ledger.is_due(now_ns, any, self.idle_looks >= IDLE_LOOKS) {
            self.ledger.read(now_ns, take)?;
        }
        Ok(more)
    }

    fn read_flows(&mut self, readings: &[FlowReading], take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        readings.iter().try_for_each(|reading| flows::read(&mut self.flows, now(), reading, take))
    }

    fn settle(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        self.ledger.read(now(), take)?;
        self.counts.read(now(), take)
    }

    fn rests(&self) -> bool {
        self.asleep
    }

    fn rest(&mut self) -> io::Result<Rest> {
        let was_asleep = self.asleep;
        self.set_asleep(self.idle_looks >= IDLE_LOOKS)?;
        // Looks once more after saying so: a record submitted just before did not wake anybody.
        let sleeps = was_asleep && self.asleep;
        Ok(if sleeps { Rest { until: self.wakers.clone(), at_most: None } } else { Rest::of(POLL_EVERY) })
    }

    fn woken(&mut self) -> io::Result<()> {
        self.idle_looks = 0;
        self.set_asleep(false)
    }

    fn monotonic_ns(&self) -> u64 {
        now()
    }
}

/// [`RecordHeader::time_ns`] of a record; 0 where it is too short to have one.
fn time_ns(record: &[u8]) -> u64 {
    let at = std::mem::offset_of!(RecordHeader, time_ns);
    record.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// `CLOCK_MONOTONIC` in ns.
fn now() -> u64 {
    now_ns(ClockId::Monotonic).unsigned_abs()
}

fn now_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
