//! What the rest of the server needs from a store, whichever it is.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Connection, Loss, LossCounts, PacketDrop, Verdict};

/// A stretch of wall time, both ends included, in ns since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First moment.
    pub since_ns: i64,
    /// Last moment.
    pub until_ns: i64,
}

/// Which events a query is about; every given condition must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// When it happened.
    pub window: Window,
    /// Process id.
    pub pid: Option<u32>,
    /// Exact name of the process or of the thread; a name longer than the 15 bytes that the kernel keeps
    /// matches what the kernel keeps of it.
    pub process: Option<String>,
}

/// The newest rows that match, and how many match in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Newest first.
    pub rows: Vec<T>,
    /// Rows that match, whatever the limit.
    pub total: u64,
}

/// What is written in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// New connections, and known ones whose outcome has become known (same id).
    pub connections: Vec<Connection>,
    /// New drops.
    pub drops: Vec<PacketDrop>,
    /// What was lost meanwhile.
    pub losses: Vec<Loss>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.drops.is_empty() && self.losses.is_empty()
    }
}

/// Why the store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct HistoryError(pub String);

/// The writing side.
pub trait Sink: Send {
    /// Writes all of `batch` or none of it.
    fn write(&mut self, batch: &Batch) -> Result<(), HistoryError>;
}

/// The reading side.
pub trait History: Send + Sync {
    /// The newest `limit` connections that match.
    fn connections(&self, filter: &Filter, limit: u32) -> Result<Page<Connection>, HistoryError>;
    /// How many connections match, by verdict.
    fn connection_counts(&self, filter: &Filter) -> Result<BTreeMap<Verdict, u64>, HistoryError>;
    /// The newest `limit` drops that match.
    fn drops(&self, filter: &Filter, limit: u32) -> Result<Page<PacketDrop>, HistoryError>;
    /// How many drops match, by reason.
    fn drop_counts(&self, filter: &Filter) -> Result<BTreeMap<String, u64>, HistoryError>;
    /// What was lost in a window.
    fn losses(&self, window: Window) -> Result<LossCounts, HistoryError>;
}

/// Makes an answer complete.
pub trait Barrier: Send + Sync {
    /// Blocks until everything that the kernel had reported before the call can be read from the history.
    fn wait(&self) -> Result<(), HistoryError>;
}
