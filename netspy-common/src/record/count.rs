//! What is counted in the kernel because it was not reported one by one.

use super::{RecordHeader, Task};

/// Key of the map `COUNTS`: events of one kind, reason, place and process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CountKey {
    /// Address of the kernel code of a drop; 0 for other kinds.
    pub location: u64,
    /// [`Task::started_ns`] of the owner; 0 where nobody is known.
    pub started_ns: u64,
    /// [`Task::tgid`] of the owner; 0 where nobody is known.
    pub tgid: u32,
    /// The kind of record that each of these events would have been ([`super::kind`]).
    pub kind: u32,
    /// As in that record.
    pub reason: u32,
    /// The generation (map `GENERATION`) in which it was counted: the server removes keys of earlier ones.
    pub generation: u32,
}

/// Value of the map `COUNTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountValue {
    /// How many.
    pub count: u64,
    /// Their owner; zeroes where nobody is known.
    pub owner: Task,
}

/// More events of one key were counted. Written by the server when it reads the map, so that a recording has
/// them too.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountRecord {
    /// Kind [`super::kind::COUNT`]; [`RecordHeader::time_ns`] is when the map was read.
    pub header: RecordHeader,
    /// What was counted.
    pub key: CountKey,
    /// How many since the map was read before, and whose.
    pub value: CountValue,
}

const _: () = {
    assert!(size_of::<CountKey>() == 32);
    assert!(size_of::<CountValue>() == 72);
    assert!(size_of::<CountRecord>() == 120);
};
