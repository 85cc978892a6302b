//! What the pipeline needs from the outside: records, and facts about the machine that they come from. A
//! running kernel and a recording both give them.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use netspy_common::FlowKey;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{ExistingSocket, HistoryError, Identity, KernelNames, LossKind, LossPlace, ProcessEvent, Thread};

/// Which of the two rings a record came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Everything that happens to sockets and processes.
    Events,
    /// Dropped packets and other trouble.
    Drops,
}

/// One thing that a source delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Bytes exactly as the kernel wrote them: untrusted.
    Record { ring: Ring, bytes: &'a [u8] },
    /// The kernel could not deliver this many; noticed at `monotonic_ns`.
    Lost { monotonic_ns: u64, place: LossPlace, kind: LossKind, count: u64 },
    /// One of the sockets that there were at `monotonic_ns`: when tracing began, or after something was lost.
    Existing { monotonic_ns: u64, socket: &'a ExistingSocket },
    /// These were all: a connection that began before and is not among them is over.
    Listed { monotonic_ns: u64 },
    /// From here on, wall time (ns since 1970) is `CLOCK_MONOTONIC` plus this many ns.
    Clock { wall_minus_monotonic_ns: i64 },
}

/// An [`Input`] that is kept for later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptInput {
    /// [`Input::Record`]
    Record { ring: Ring, bytes: Vec<u8> },
    /// [`Input::Lost`]
    Lost { monotonic_ns: u64, place: LossPlace, kind: LossKind, count: u64 },
    /// [`Input::Existing`]
    Existing { monotonic_ns: u64, socket: Box<ExistingSocket> },
    /// [`Input::Listed`]
    Listed { monotonic_ns: u64 },
    /// [`Input::Clock`]
    Clock { wall_minus_monotonic_ns: i64 },
}

impl From<Input<'_>> for KeptInput {
    fn from(input: Input<'_>) -> Self {
        match input {
            Input::Record { ring, bytes } => Self::Record { ring, bytes: bytes.to_vec() },
            Input::Lost { monotonic_ns, place, kind, count } => {
                Self::Lost { monotonic_ns, place, kind, count }
            }
            Input::Existing { monotonic_ns, socket } => {
                Self::Existing { monotonic_ns, socket: Box::new(socket.clone()) }
            }
            Input::Listed { monotonic_ns } => Self::Listed { monotonic_ns },
            Input::Clock { wall_minus_monotonic_ns } => Self::Clock { wall_minus_monotonic_ns },
        }
    }
}

impl KeptInput {
    /// What it was.
    pub fn as_input(&self) -> Input<'_> {
        match *self {
            Self::Record { ring, ref bytes } => Input::Record { ring, bytes },
            Self::Lost { monotonic_ns, place, kind, count } => {
                Input::Lost { monotonic_ns, place, kind, count }
            }
            Self::Existing { monotonic_ns, ref socket } => Input::Existing { monotonic_ns, socket },
            Self::Listed { monotonic_ns } => Input::Listed { monotonic_ns },
            Self::Clock { wall_minus_monotonic_ns } => Input::Clock { wall_minus_monotonic_ns },
        }
    }
}

/// A wish for the counters of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowReading {
    /// Which flow.
    pub flow: FlowKey,
    /// `CLOCK_MONOTONIC` in ns of the latest packet or error that is known already; 0 if its socket was closed.
    pub seen_ns: u64,
    /// Whether the flow is over unless there was a later one.
    pub over: bool,
}

/// How to wait for a source.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// Until one of these is readable, …
    pub until: Arc<[OwnedFd]>,
    /// … or for so long.
    pub at_most: Option<Duration>,
}

impl Rest {
    /// For so long.
    pub fn of(at_most: Duration) -> Self {
        Self { at_most: Some(at_most), ..Self::default() }
    }

    /// The same, and for no longer than that.
    #[must_use]
    pub fn at_most(self, limit: Option<Duration>) -> Self {
        let at_most = self.at_most.into_iter().chain(limit).min();
        Self { at_most, ..self }
    }

    /// Waits, or until `wake` is readable; says whether the source woke it.
    pub fn wait(&self, wake: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let limit = self.at_most.and_then(|limit| Timespec::try_from(limit).ok());
        let all = self.until.iter().map(AsFd::as_fd).chain(wake);
        let mut all: Vec<_> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut all, limit.as_ref()) {
            Ok(_) => Ok(all.iter().take(self.until.len()).any(|fd| !fd.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where records come from.
pub trait Source: Send {
    /// Hands over what is there, a bounded number of records at a time; says whether there is more.
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool>;

    /// Hands over what is only summed up, losses among it, for an answer that must be exact; [`Source::drain`] does
    /// so from time to time.
    fn settle(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()>;
    /// Hands over the counters of these flows where they have changed, and the last ones of those that are over.
    fn read_flows(&mut self, readings: &[FlowReading], take: &mut dyn FnMut(Input<'_>)) -> io::Result<()>;

    /// Whether nothing has come for a while: [`Source::drain`] then takes no time worth mentioning.
    fn rests(&self) -> bool;

    /// How to wait until there may be more.
    fn rest(&mut self) -> io::Result<Rest>;

    /// One of [`Rest::until`] is readable.
    fn woken(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// `CLOCK_MONOTONIC` of the machine that the records come from, in ns.
    fn monotonic_ns(&self) -> u64;
}

/// The sockets that exist at this moment.
pub trait Sockets: Send + Sync {
    /// Each of them, in every network namespace.
    fn existing(&self) -> Result<Vec<ExistingSocket>, HistoryError>;
}

/// Facts about the machine that the records come from.
pub trait Host: Send {
    /// A process began, changed or ended: what is asked from here on is about the time after it.
    fn process(&mut self, event: &ProcessEvent);

    /// What the process of this thread was at the moment at which the thread was seen.
    fn identify(&mut self, thread: &Thread) -> Identity;

    /// `symbol+0xoffset` of an address in the kernel's code.
    fn symbol(&mut self, address: u64) -> Option<String>;

    /// The kernel's own names for its numbers.
    fn kernel_names(&self) -> &KernelNames;
}
