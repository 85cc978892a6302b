//! What the server is watching, and how.

/// State of one traced event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookState {
    /// Loaded and attached.
    Active,
    /// Served from a recording.
    Replayed,
    /// Could not be had on this kernel.
    Unavailable,
}

/// One traced event and the rung of the ladder that it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// What is traced: `connection` or `packet_drop` (the contract's program names).
    pub event: &'static str,
    /// `kprobe`, `tracepoint`, `replay`, or `none`.
    pub rung: &'static str,
    /// Whether it works.
    pub state: HookState,
    /// Why no better rung was taken; empty on the best one.
    pub note: String,
}
