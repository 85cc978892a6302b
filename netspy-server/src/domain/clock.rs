//! What time it is for a query: now, or the moment at which a replayed recording ended.

use std::time::{SystemTime, UNIX_EPOCH};

/// The clock that windows such as "the last 60 seconds" are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The system's wall clock.
    System,
    /// Stands still at this wall time (ns since 1970): a replayed recording always answers the same.
    Frozen(i64),
}

impl Clock {
    /// Wall time in ns since 1970-01-01 UTC.
    pub fn now_ns(self) -> i64 {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)),
            Self::Frozen(at) => at,
        }
    }
}
