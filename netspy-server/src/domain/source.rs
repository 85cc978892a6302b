//! What the pipeline needs from the outside: records, and facts about the machine that they come from. A
//! running kernel and a recording both give them.

use std::{io, os::fd::BorrowedFd, time::Duration};

use super::{LossPlace, Process};

/// Which of the two rings a record came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Connects and their outcomes.
    Events,
    /// Dropped packets.
    Drops,
}

/// One thing that a source delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Bytes exactly as the kernel wrote them: untrusted.
    Record { ring: Ring, bytes: &'a [u8] },
    /// The kernel could not deliver this many; noticed at `monotonic_ns`.
    Lost { monotonic_ns: u64, place: LossPlace, count: u64 },
    /// From here on, wall time (ns since 1970) is `CLOCK_MONOTONIC` plus this many ns.
    Clock { wall_minus_monotonic_ns: i64 },
}

/// Where records come from.
pub trait Source: Send {
    /// Hands over what is there, a bounded number of records at a time; says whether there is more.
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool>;

    /// Waits until there may be more, `wake` is readable, or `at_most` is over.
    fn wait(&mut self, wake: BorrowedFd<'_>, at_most: Option<Duration>) -> io::Result<()>;

    /// `CLOCK_MONOTONIC` of the machine that the records come from, in ns.
    fn monotonic_ns(&self) -> u64;
}

/// Facts about the machine that the records come from.
pub trait Host: Send {
    /// Path of the executable of exactly this process: the same pid, start and name.
    fn exe(&mut self, process: &Process) -> Option<String>;

    /// `symbol+0xoffset` of an address in the kernel's code.
    fn symbol(&mut self, address: u64) -> Option<String>;

    /// The kernel's own name for a drop reason, without its `SKB_DROP_REASON_`.
    fn drop_reason(&self, code: u32) -> Option<String>;
}
