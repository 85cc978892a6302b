//! Floods: a bounded number of records a second from each CPU; what is more is counted by reason, place and
//! owner, to the last one.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use netspy_common::{
    CountKey, CountValue, LIMIT_BUCKETS, RECORDS_AT_ONCE, RECORDS_PER_SECOND, loss, subject,
};

use crate::{
    emit,
    maps::{BPF_NOEXIST, COUNTED, COUNTS, DROPS, GENERATION, LIMITS},
    owner::Owner,
};

/// Between two records of a flood, in ns.
const APART_NS: u64 = 1_000_000_000 / RECORDS_PER_SECOND;
/// How far back unused records are remembered, in ns.
const BURST_NS: u64 = RECORDS_AT_ONCE * APART_NS;

/// What is left of an event that is only counted.
#[derive(Clone, Copy)]
pub struct Counted {
    /// `netspy_common::kind` of its record.
    pub kind: u16,
    /// As in its record.
    pub reason: u32,
    /// As in its record; 0 where that has none.
    pub location: u64,
}

/// Delivers a record to the ring of drops, or counts it if there are too many.
#[inline(always)]
pub fn deliver<T: 'static>(event: Counted, owner: &Owner, now: u64, fill: impl FnOnce(&mut T)) {
    if !admits(event, now) || !emit::submit(&DROPS, subject::of_trouble(event.kind), fill) {
        count(event, owner);
    }
}

/// Whether there may be one more record like this now. `LIMITS` holds when the next one is due at the rate of
/// `RECORDS_PER_SECOND`; after a quiet time that moment lies up to `BURST_NS` back. What differs in kind, reason
/// or place has another limit, so that a flood hides nothing but itself.
#[inline(always)]
fn admits(event: Counted, now: u64) -> bool {
    let mixed = u64::from(event.kind) * 31 + u64::from(event.reason) * 7 + (event.location >> 4);
    let Some(next_ns) = LIMITS.get_ptr_mut((mixed % u64::from(LIMIT_BUCKETS)) as u32) else { return false };
    // SAFETY: this CPU's own; an interruption in between lets a record more pass, or a record less.
    unsafe {
        let due = (*next_ns).max(now.saturating_sub(BURST_NS));
        if due > now {
            return false;
        }
        *next_ns = due + APART_NS;
    }
    true
}

/// Counts an event that is not delivered.
#[inline(always)]
fn count(event: Counted, owner: &Owner) {
    let (tgid, started_ns) = owner.process();
    let key = CountKey {
        location: event.location,
        started_ns,
        tgid,
        kind: u32::from(event.kind),
        reason: event.reason,
        generation: GENERATION.get(0).copied().unwrap_or(0),
    };
    if !counted_again(&key) {
        // SAFETY: integers and arrays of integers.
        let mut first: CountValue = unsafe { core::mem::zeroed() };
        owner.write(&mut first.owner);
        // Another CPU may be first: then this fails, and its entry is there.
        let _ = COUNTS.insert(&key, &first, BPF_NOEXIST);
        if !counted_again(&key) {
            emit::lost(loss::COUNTS_FULL, subject::of_trouble(event.kind));
        }
    }
    if let Some(total) = COUNTED.get_ptr_mut(0) {
        // SAFETY: an aligned u64 that lives as long as the map.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(total, 1) };
    }
}

/// Adds one to a count that is there.
#[inline(always)]
fn counted_again(key: &CountKey) -> bool {
    let Some(value) = COUNTS.get_ptr_mut(key) else { return false };
    // SAFETY: an aligned u64; the server removes entries only of generations that no program counts in.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*value).count, 1) };
    true
}
