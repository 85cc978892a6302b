//! Delivery to the server, and the count of what could not be delivered.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    mem::MaybeUninit,
};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    maps::RingBuf,
};
use netspy_common::{ABI_VERSION, RING_BYTES, RecordHeader, loss, reader, subject::SUBJECTS};

use crate::maps::{LOSS, READER};

/// The header of a record of type `T`.
#[inline(always)]
pub fn header<T>(kind: u16, time_ns: u64) -> RecordHeader {
    RecordHeader { abi: ABI_VERSION, kind, len: size_of::<T>() as u32, time_ns }
}

/// Puts a record about `subject` (`netspy_common::subject`), zeroed and then filled in place, into `ring`; a full ring
/// is counted (`false`).
///
/// Waking the reader costs far more than the record does, so it is woken only when it says that it sleeps.
/// The question is asked after the reservation: a reader about to sleep either sees the reservation or has
/// already said that it sleeps.
#[inline(always)]
pub fn submit<T: 'static>(ring: &RingBuf, subject: u32, fill: impl FnOnce(&mut T)) -> bool {
    put(ring, subject, fill, || true)
}

/// [`submit`] of what nobody waits for: a sleeping reader is left asleep until a quarter of the ring is used.
#[inline(always)]
pub fn submit_quietly<T: 'static>(ring: &RingBuf, subject: u32, fill: impl FnOnce(&mut T)) -> bool {
    put(ring, subject, fill, || ring.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(RING_BYTES / 4))
}

#[inline(always)]
fn put<T: 'static>(
    ring: &RingBuf,
    subject: u32,
    fill: impl FnOnce(&mut T),
    worth_waking: impl FnOnce() -> bool,
) -> bool {
    let Some(mut entry) = ring.reserve::<T>(0) else {
        lost(loss::RING_FULL, subject);
        return false;
    };
    zero(&mut entry);
    // SAFETY: records are integers and arrays of integers: zeroes are a valid value.
    fill(unsafe { entry.assume_init_mut() });
    let wake = READER.get(0).is_some_and(|state| *state == reader::ASLEEP) && worth_waking();
    entry.submit(u64::from(if wake { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
    true
}

/// Eight bytes at a time: the compiler's own way is a loop over single ones.
#[inline(always)]
fn zero<T>(record: &mut MaybeUninit<T>) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    let words = record.as_mut_ptr().cast::<u64>();
    for at in 0..size_of::<T>() / 8 {
        // SAFETY: inside the record. Volatile, or the compiler makes its loop of it.
        unsafe { words.add(at).write_volatile(0) };
    }
}

/// Counts one loss of `subject` (`netspy_common::subject`) at `place` (`netspy_common::loss`).
#[inline(always)]
pub fn lost(place: u32, subject: u32) {
    if let Some(counters) = LOSS.get_ptr_mut(0) {
        let index = place as usize * SUBJECTS + subject as usize;
        // Atomic although each CPU has its own: softirq interrupts a program in process context.
        // SAFETY: both are below the numbers of places and subjects; the value is an array of aligned u64 that lives as
        // long as the map.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counters.cast::<u64>().add(index), 1) };
    }
}
