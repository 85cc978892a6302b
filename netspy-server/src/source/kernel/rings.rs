//! Reading the rings: polling while there is traffic, sleeping when there is none, and counting what the
//! programs could not deliver.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, MapData, ring_buf::RingBuf},
};
use aya_log::EbpfLogger;
use netspy_common::reader;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};
use tracing_log::log::Log;

use super::{
    counts::Counts,
    flows::{self, FlowMap},
    ladder::unload,
    ledger::Ledger,
};
use crate::domain::{FlowReading, Input, Ring, Source};

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
    counts: Counts,
    ledger: Ledger,
    reader: Array<MapData, u32>,
    flows: FlowMap,
    logger: Option<EbpfLogger<&'static dyn Log>>,
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
    ) -> Self {
        Self {
            events,
            drops,
            counts,
            ledger,
            reader,
            flows,
            logger,
            idle_looks: 0,
            asleep: false,
            wall_minus_monotonic_ns: None,
            ebpf,
            programs,
        }
    }

    /// Detaches the programs of an event.
    pub(super) fn unload(&mut self, event: &str) {
        self.ledger.forget(event);
        for program in self.programs.extract_if(.., |(name, _)| *name == event).flat_map(|(_, used)| used) {
            unload(&mut self.ebpf, program);
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
        let (mut any, mut more) = (false, false);
        for (ring, source) in [(Ring::Events, &mut self.events), (Ring::Drops, &mut self.drops)] {
            let mut taken = 0;
            while taken < RECORDS_AT_ONCE
                && let Some(record) = source.next()
            {
                taken += 1;
                take(Input::Record { ring, bytes: &record });
            }
            any |= taken > 0;
            more |= taken == RECORDS_AT_ONCE;
        }
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

    fn wait(&mut self, wake: BorrowedFd<'_>, at_most: Option<Duration>) -> io::Result<()> {
        if self.idle_looks < IDLE_LOOKS {
            self.set_asleep(false)?;
            wait_for(&[wake], Some(at_most.map_or(POLL_EVERY, |limit| limit.min(POLL_EVERY))))?;
            return Ok(());
        }
        if !self.asleep {
            // Look once more after saying so: a record submitted just before did not wake anybody.
            self.set_asleep(true)?;
            wait_for(&[wake], Some(POLL_EVERY))?;
            return Ok(());
        }
        let mut all = vec![wake, self.events.as_fd(), self.drops.as_fd()];
        all.extend(self.logger.as_ref().map(AsFd::as_fd));
        if !wait_for(&all, at_most)? {
            return Ok(()); // nothing came: it sleeps on when its work is done
        }
        self.idle_looks = 0;
        self.set_asleep(false)
    }

    fn monotonic_ns(&self) -> u64 {
        now()
    }
}

/// `CLOCK_MONOTONIC` in ns.
fn now() -> u64 {
    now_ns(ClockId::Monotonic).unsigned_abs()
}

/// Whether one of them is readable before the time is over.
fn wait_for(fds: &[BorrowedFd<'_>], at_most: Option<Duration>) -> io::Result<bool> {
    let limit = at_most.and_then(|limit| Timespec::try_from(limit).ok());
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    match poll(&mut fds, limit.as_ref()) {
        Ok(readable) => Ok(readable > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn now_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
