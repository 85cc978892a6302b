//! Reading the rings: polling while there is traffic, sleeping when there is none, and counting what the
//! programs could not deliver.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, ring_buf::RingBuf},
};
use aya_log::EbpfLogger;
use netspy_common::{loss, reader};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};
use tracing_log::log::Log;

use crate::domain::{Input, LossPlace, Ring, Source};

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
    loss: PerCpuArray<MapData, u64>,
    reader: Array<MapData, u32>,
    logger: Option<EbpfLogger<&'static dyn Log>>,
    /// Loss counters as they were last read.
    counted: [u64; loss::COUNT as usize],
    idle_looks: u32,
    asleep: bool,
    wall_minus_monotonic_ns: Option<i64>,
    /// Holds the programs: they are detached when it goes.
    _programs: Ebpf,
}

impl KernelSource {
    pub(super) fn new(
        programs: Ebpf,
        events: RingBuf<MapData>,
        drops: RingBuf<MapData>,
        loss: PerCpuArray<MapData, u64>,
        reader: Array<MapData, u32>,
        logger: Option<EbpfLogger<&'static dyn Log>>,
    ) -> Self {
        Self {
            events,
            drops,
            loss,
            reader,
            logger,
            counted: [0; loss::COUNT as usize],
            idle_looks: 0,
            asleep: false,
            wall_minus_monotonic_ns: None,
            _programs: programs,
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

    fn check_loss(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        for index in 0..loss::COUNT {
            let per_cpu = self.loss.get(&index, 0).map_err(io::Error::other)?;
            let total: u64 = per_cpu.iter().sum();
            let counted = &mut self.counted[index as usize];
            if total != *counted {
                let (monotonic_ns, count) = (now_ns(ClockId::Monotonic).unsigned_abs(), total - *counted);
                take(Input::Lost { monotonic_ns, place: place(index), count });
                *counted = total;
            }
        }
        Ok(())
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
        self.check_loss(take)?;
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.idle_looks = if any { 0 } else { self.idle_looks.saturating_add(1) };
        Ok(more)
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, at_most: Option<Duration>) -> io::Result<()> {
        if self.idle_looks < IDLE_LOOKS {
            self.set_asleep(false)?;
            return wait_for(&[wake], Some(at_most.map_or(POLL_EVERY, |limit| limit.min(POLL_EVERY))));
        }
        if !self.asleep {
            // Look once more after saying so: a record submitted just before did not wake anybody.
            self.set_asleep(true)?;
            return wait_for(&[wake], Some(POLL_EVERY));
        }
        let mut all = vec![wake, self.events.as_fd(), self.drops.as_fd()];
        all.extend(self.logger.as_ref().map(AsFd::as_fd));
        wait_for(&all, at_most)?;
        self.idle_looks = 0;
        self.set_asleep(false)
    }

    fn monotonic_ns(&self) -> u64 {
        now_ns(ClockId::Monotonic).unsigned_abs()
    }
}

fn wait_for(fds: &[BorrowedFd<'_>], at_most: Option<Duration>) -> io::Result<()> {
    let limit = at_most.and_then(|limit| Timespec::try_from(limit).ok());
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    match poll(&mut fds, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn now_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// The ledger's name for a counter of the programs.
fn place(index: u32) -> LossPlace {
    match index {
        loss::EVENTS_RING_FULL => LossPlace::EventsRingFull,
        loss::DROPS_RING_FULL => LossPlace::DropsRingFull,
        loss::SOCKETS_FULL => LossPlace::SocketsFull,
        loss::INFLIGHT_FULL => LossPlace::InflightFull,
        _ => LossPlace::ReturnMissed,
    }
}
