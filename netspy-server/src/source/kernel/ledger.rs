//! What the kernel side lost: the programs' own counters, the runs that the kernel skipped, and calls whose
//! return was never seen.
//!
//! Reading them costs system calls, so it is done once a second while there is traffic, when the traffic ends,
//! and for every query; never while nothing happens.

use std::{
    fs, io,
    mem::offset_of,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};
use netspy_common::{Inflight, LossCounters, loss, phase, subject};

use crate::domain::{Input, LossKind, LossPlace};

/// How often the counters are read while there is traffic, in ns.
const EVERY_NS: u64 = 1_000_000_000;
/// A connect call that the kernel has begun returns at once, without waiting for anything; one that is older than this,
/// in ns, has returned without its return having been seen, unless its thread has not had a processor since.
const CALL_AT_MOST_NS: u64 = 2_000_000_000;
/// Nobody is kept from every processor for so long, in ns: whoever runs now has returned.
const STARVED_AT_MOST_NS: u64 = 30_000_000_000;

/// The ledger's names for what programs lose, by index of [`subject`], each with the ring that its records go into.
const SUBJECTS: [(LossKind, LossPlace); subject::SUBJECTS] = [
    (LossKind::Connection, LossPlace::EventsRingFull),
    (LossKind::Accept, LossPlace::EventsRingFull),
    (LossKind::Unix, LossPlace::EventsRingFull),
    (LossKind::Udp, LossPlace::EventsRingFull),
    (LossKind::Raw, LossPlace::EventsRingFull),
    (LossKind::Process, LossPlace::ProcessesRingFull),
    (LossKind::PacketDrop, LossPlace::DropsRingFull),
    (LossKind::Retransmit, LossPlace::DropsRingFull),
    (LossKind::ResetSent, LossPlace::DropsRingFull),
    (LossKind::ResetReceived, LossPlace::DropsRingFull),
    (LossKind::ListenOverflow, LossPlace::DropsRingFull),
];

/// Its names for the places, by index of [`loss`].
fn place(index: usize, ring: LossPlace) -> LossPlace {
    match index as u32 {
        loss::SOCKETS_FULL => LossPlace::SocketsFull,
        loss::INFLIGHT_FULL => LossPlace::InflightFull,
        loss::RETURN_MISSED => LossPlace::ReturnMissed,
        loss::COUNTS_FULL => LossPlace::CountsFull,
        loss::FLOWS_FULL => LossPlace::FlowsFull,
        _ => ring,
    }
}

/// `Inflight` as a value that aya reads from a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Call(Inflight);

// SAFETY: `repr(C)`, integers without padding: every bit pattern is valid.
#[allow(unsafe_code)]
unsafe impl aya::Pod for Call {}

/// A program whose skipped runs the kernel counts.
pub(super) struct Watched {
    pub(super) name: &'static str,
    /// Events that it serves.
    pub(super) events: Vec<&'static str>,
    pub(super) skips: Skips,
    /// Skipped runs when they were last read.
    pub(super) counted: u64,
}

/// A program, about which the kernel is asked for every query: by system call, as the same in `/proc/self/fdinfo` is text, of which
/// most is something else.
pub(super) struct Skips(OwnedFd);

impl Skips {
    pub(super) fn of(program: BorrowedFd<'_>) -> io::Result<Self> {
        program.try_clone_to_owned().map(Self)
    }

    /// How often the kernel skipped the program because it would have interrupted itself, where it says so (since 5.12).
    #[allow(unsafe_code)]
    pub(super) fn read(&self) -> Option<u64> {
        // SAFETY: integers and arrays of integers: zeroes are a valid value, and ask for nothing that is kept elsewhere.
        let (mut told, mut ask): (bpf_prog_info, bpf_attr) = unsafe { std::mem::zeroed() };
        ask.info.bpf_fd = self.0.as_raw_fd().unsigned_abs();
        ask.info.info_len = size_of_val(&told) as u32;
        ask.info.info = &raw mut told as u64;
        // SAFETY: the kernel writes no more than it is told that there is room for (kernel/bpf/syscall.c,
        // `bpf_prog_get_info_by_fd`).
        let done = unsafe {
            libc::syscall(libc::SYS_bpf, bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &raw mut ask, size_of_val(&ask))
        };
        // SAFETY: whoever wrote it, it is a number.
        let length = unsafe { ask.info.info_len } as usize;
        (done == 0 && length > offset_of!(bpf_prog_info, recursion_misses)).then_some(told.recursion_misses)
    }
}

/// Everything that counts.
pub(super) struct Ledger {
    counters: PerCpuArray<MapData, LossCounters>,
    counted: LossCounters,
    watched: Vec<Watched>,
    /// Calls in flight, where each return is a program's run (the rung with kprobes).
    calls: Option<HashMap<MapData, u64, Call>>,
    /// Whether there was traffic since the last reading.
    unread: bool,
    read_ns: u64,
}

impl Ledger {
    pub(super) fn new(
        counters: PerCpuArray<MapData, LossCounters>,
        watched: Vec<Watched>,
        calls: Option<HashMap<MapData, u64, Call>>,
    ) -> Self {
        Self { counters, counted: LossCounters::default(), watched, calls, unread: false, read_ns: 0 }
    }

    /// Says whether a reading is due. `traffic`: the rings had something; `quiet`: the reader is about to sleep.
    pub(super) fn is_due(&mut self, now_ns: u64, traffic: bool, quiet: bool) -> bool {
        self.unread |= traffic;
        self.unread && (quiet || now_ns.saturating_sub(self.read_ns) >= EVERY_NS)
    }

    /// The programs of this event are gone.
    pub(super) fn forget(&mut self, event: &str) {
        for program in &mut self.watched {
            program.events.retain(|served| *served != event);
        }
        self.watched.retain(|program| !program.events.is_empty());
    }

    /// Reads every counter and hands over what has been added.
    pub(super) fn read(&mut self, now_ns: u64, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        (self.unread, self.read_ns) = (false, now_ns);
        let per_cpu = self.counters.get(&0, 0).map_err(io::Error::other)?;
        for (at, counted) in self.counted.iter_mut().enumerate() {
            for ((of, (kind, ring)), counted) in SUBJECTS.into_iter().enumerate().zip(counted) {
                let total: u64 = per_cpu.iter().map(|counters| counters[at][of]).sum();
                let count = total - std::mem::replace(counted, total);
                if count > 0 {
                    take(Input::Lost { monotonic_ns: now_ns, place: place(at, ring), kind, count });
                }
            }
        }
        for program in &mut self.watched {
            // It has said so once (`Watched`): silence would be a loss that nothing counts.
            let silent =
                || io::Error::other(format!("{}: the kernel no longer tells of skipped runs", program.name));
            let total = program.skips.read().ok_or_else(silent)?;
            let count = total.saturating_sub(program.counted);
            program.counted = total;
            if count > 0 {
                // One that serves several does not say which of them it was skipped for.
                let kind = match program.events[..] {
                    [event] => LossKind::from_name(event).unwrap_or(LossKind::Unknown),
                    _ => LossKind::Unknown,
                };
                take(Input::Lost { monotonic_ns: now_ns, place: LossPlace::Skipped, kind, count });
            }
        }
        self.sweep(now_ns, take)
    }

    /// Removes the calls whose return was missed (all instances of the kretprobe were in use, or its program was
    /// skipped): nobody else does when their threads make no further call.
    fn sweep(&mut self, now_ns: u64, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        let Some(calls) = &mut self.calls else { return Ok(()) };
        let is_over = |(thread, Call(call)): &(u64, Call)| {
            let age_ns = now_ns.saturating_sub(call.started_ns);
            age_ns > STARVED_AT_MOST_NS || age_ns > CALL_AT_MOST_NS && !wants_to_run(*thread)
        };
        let over: Vec<(u64, Call)> = calls.iter().flatten().filter(is_over).collect();
        for (thread, Call(call)) in over {
            match calls.remove(&thread) {
                Ok(()) if !phase::only_its_return_tells(call.phase) => {}
                Ok(()) => take(Input::Lost {
                    monotonic_ns: call.started_ns,
                    place: LossPlace::ReturnMissed,
                    kind: LossKind::Connection,
                    count: 1,
                }),
                Err(MapError::KeyNotFound) => {} // it has just returned
                Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(())
    }
}

/// Whether the thread (`tgid << 32 | tid`) runs or would run if it had a processor: the third field of its
/// `/proc/TGID/task/TID/stat`, after a name in parentheses (proc(5)).
fn wants_to_run(thread: u64) -> bool {
    let (tgid, tid) = (thread >> 32, thread & 0xffff_ffff);
    let stat = fs::read(format!("/proc/{tgid}/task/{tid}/stat")).unwrap_or_default();
    let state = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2));
    matches!(state, Some(b'R' | b'D'))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn each_counter_has_a_place_and_a_kind_of_its_own() {
        let all = (0..loss::PLACES).flat_map(|at| SUBJECTS.map(|(kind, ring)| (place(at, ring), kind)));
        let mut counters: Vec<_> = all.collect();
        counters.sort_unstable();
        counters.dedup();
        assert_eq!(counters.len(), loss::PLACES * subject::SUBJECTS);
    }

    #[test]
    fn whoever_sleeps_or_is_gone_is_not_inside_a_call() {
        let tgid = u64::from(std::process::id()) << 32;
        let own = u64::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        assert!(wants_to_run(tgid | own), "it asks");
        let (tell, told) = std::sync::mpsc::channel();
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let _ = never.recv();
        });
        let asleep = tgid | u64::try_from(told.recv().unwrap()).unwrap();
        let began = std::time::Instant::now();
        while wants_to_run(asleep) {
            assert!(began.elapsed().as_secs() < 10, "it never fell asleep");
        }
        assert!(!wants_to_run(tgid | 0xffff_ffff));
    }

    #[test]
    fn a_descriptor_that_is_no_program_has_no_skipped_runs() {
        assert_eq!(Skips::of(io::stdin().as_fd()).unwrap().read(), None);
    }
}
