//! What the rest of the server needs from a store, whichever it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use thiserror::Error;

use super::{
    Connection, Counted, CountedKind, Direction, Endpoint, Filter, Loss, LossCounts, LossKind, PacketDrop,
    ReasonCounts, Trouble, TroubleKind, Unrecorded, Verdict, Window,
};

/// The newest rows that match, and how many match in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Newest first.
    pub rows: Vec<T>,
    /// Rows that match, whatever the limit.
    pub total: u64,
}

/// What is written in one transaction, alone or with the next ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// New connections, and known ones whose outcome has become known (same id).
    pub connections: Vec<Connection>,
    /// New drops.
    pub drops: Vec<PacketDrop>,
    /// New trouble of other kinds.
    pub troubles: Vec<Trouble>,
    /// Events without a record.
    pub counted: Vec<Counted>,
    /// What was lost meanwhile.
    pub losses: Vec<Loss>,
    /// Wall time up to which it tells, ns since 1970: what it says of a connection may be of one that began long ago.
    pub until_ns: Option<i64>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0 && self.losses.is_empty()
    }

    /// Rows that it holds, the ledger not counted.
    pub fn rows(&self) -> usize {
        self.connections.len() + self.drops.len() + self.troubles.len() + self.counted.len()
    }

    /// How many events its rows stand for, by what they are.
    pub fn events(&self) -> BTreeMap<LossKind, u64> {
        let mut events = BTreeMap::new();
        let mut add = |kind, count: u64| {
            if count > 0 {
                *events.entry(kind).or_default() += count;
            }
        };
        add(LossKind::Connection, self.connections.len() as u64);
        add(LossKind::PacketDrop, self.drops.len() as u64);
        for trouble in &self.troubles {
            add(CountedKind::Trouble(trouble.kind).loss(), 1);
        }
        for counted in &self.counted {
            add(counted.kind.loss(), counted.count);
        }
        events
    }
}

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Age of the oldest event, in ns.
    pub for_ns: i64,
    /// Size of the file and its log, in bytes; at least [`Keep::LEAST_BYTES`].
    pub bytes: u64,
}

impl Keep {
    /// Below this, what is written between two steps would not fit.
    pub const LEAST_BYTES: u64 = 64 << 20;
}

/// A week, 2 GiB.
impl Default for Keep {
    fn default() -> Self {
        Self { for_ns: 7 * 86_400_000_000_000, bytes: 2 << 30 }
    }
}

/// Why the store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct HistoryError(pub String);

impl HistoryError {
    /// The pipeline was asked, and did not answer.
    pub fn too_late(limit: Duration) -> Self {
        Self(format!("the pipeline did not answer within {} s; see the server's log", limit.as_secs()))
    }

    /// There is no pipeline any more.
    pub fn ended() -> Self {
        Self("the pipeline has ended; restart netspy-server".to_owned())
    }
}

/// The writing side.
pub trait Sink: Send {
    /// Writes all of the batches or nothing of them. What could not be written is in the ledger that the history
    /// answers with, at once, and is written to it with the next batch that can be; an empty one does. Returns what else
    /// was found lost, which is in the ledger.
    fn write_all(&mut self, batches: &[Batch]) -> Result<Vec<Loss>, HistoryError>;

    /// The same of one batch.
    fn write(&mut self, batch: &Batch) -> Result<Vec<Loss>, HistoryError> {
        self.write_all(std::slice::from_ref(batch))
    }
}

/// Connections by direction and verdict; those that did not occur are absent.
pub type ConnectionCounts = BTreeMap<(Direction, Verdict), u64>;

/// What events are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Name of the process.
    Process,
    /// Path of the executable.
    Exe,
    /// User id.
    User,
    /// Where connections went: address, port and protocol, or path.
    Destination,
    /// The address alone.
    Address,
    /// Port and protocol alone.
    Port,
    /// What became of connections.
    Outcome,
    /// Why packets were dropped.
    Reason,
}

/// What a group's events have in common. Where there are as many of several, they come in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Name of the process.
    Process(String),
    /// Path of the executable.
    Exe(String),
    /// User id.
    User(u32),
    /// The end that did not begin them, and the IP protocol number.
    Destination { end: Endpoint, protocol: u8 },
    /// The address of that end, v4-mapped IPv6 as IPv4.
    Address(IpAddr),
    /// The port of that end, and the IP protocol number.
    Port { port: u16, protocol: u8 },
    /// A UNIX socket's path.
    Path(String),
    /// What became of connections.
    Outcome(Verdict),
    /// The kernel's name for why packets were dropped.
    Reason(String),
    /// Nothing is known of it.
    Unknown,
    /// The sum of what was too various to be kept apart.
    Others,
}

/// Events, and what has passed over connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// Payload in bytes; 0 for drops.
    pub bytes_sent: u64,
    /// Payload in bytes; 0 for drops.
    pub bytes_received: u64,
}

/// The reading side.
pub trait History: Send + Sync {
    /// The newest `limit` connections that match.
    fn connections(&self, filter: &Filter, limit: u32) -> Result<Page<Connection>, HistoryError>;
    /// How many connections match, by direction and verdict. Beyond the retention of the connections themselves,
    /// the window is widened to whole minutes, then hours.
    fn connection_counts(&self, filter: &Filter) -> Result<ConnectionCounts, HistoryError>;
    /// The newest `limit` drops that match.
    fn drops(&self, filter: &Filter, limit: u32) -> Result<Page<PacketDrop>, HistoryError>;
    /// How many drops with a record match, by reason and location; beyond the retention of the drops themselves as
    /// with connections.
    fn drop_counts(&self, filter: &Filter) -> Result<ReasonCounts, HistoryError>;
    /// The `limit` groups of most connections, among the minutes (older ones: hours) that the window touches.
    /// Only the conditions on name, executable, user, direction and verdict can be asked.
    fn top(&self, filter: &Filter, by: GroupBy, limit: u32) -> Result<Vec<(Group, Sum)>, HistoryError>;
    /// The same of drops with a record. Only the conditions on name, executable, user and reason can be asked, and only
    /// those are there to group by.
    fn top_drops(&self, filter: &Filter, by: GroupBy, limit: u32) -> Result<Vec<(Group, Sum)>, HistoryError>;
    /// The newest `limit` troubles of a kind that match.
    fn troubles(&self, kind: TroubleKind, filter: &Filter, limit: u32)
    -> Result<Page<Trouble>, HistoryError>;
    /// Events of a kind that have no record.
    fn unrecorded(&self, kind: CountedKind, filter: &Filter) -> Result<Unrecorded, HistoryError>;
    /// What was lost in a window.
    fn losses(&self, window: Window) -> Result<LossCounts, HistoryError>;
    /// Bytes that it takes on disk, its log not counted.
    fn size_bytes(&self) -> Result<u64, HistoryError>;
}

/// Whether everything up to a question can be read from the history; within, whether the store took what there was. What it
/// did not take is in its ledger instead, so that an answer says what is missing.
pub type Reached = Result<Result<(), HistoryError>, HistoryError>;

/// Called with it, once, on whatever thread knows it first: it must not block. Dropped instead if nobody will ever know.
pub type Told = Box<dyn FnOnce(Reached) + Send>;

/// Makes an answer complete.
pub trait Barrier: Send + Sync {
    /// Tells when everything that the kernel had reported before the call can be read from the history.
    fn ask(&self, told: Told);

    /// Blocks until then, or for so long.
    fn reached(&self, limit: Duration) -> Reached {
        let (answer, answered) = channel();
        // Who no longer waits needs no answer.
        self.ask(Box::new(move |reached| drop(answer.send(reached))));
        answered.recv_timeout(limit).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(HistoryError::too_late(limit)),
            RecvTimeoutError::Disconnected => Err(HistoryError::ended()),
        })
    }

    /// Blocks until then.
    fn wait(&self) -> Result<(), HistoryError> {
        self.reached(ANSWER_WITHIN).map(drop)
    }

    /// The same; what cannot be written is an error.
    fn written(&self) -> Result<(), HistoryError> {
        self.reached(ANSWER_WITHIN)?
    }
}

/// How long a question waits for the pipeline: longer means that it is stuck.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(20);
