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

/// A rung that an event does not stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `kprobe`, `fentry`, `tracepoint`.
    pub rung: &'static str,
    /// Why not.
    pub reason: String,
    /// What would change that, in a sentence.
    pub remedy: String,
}

/// What events tell, in kinds that are right or wrong together: the kernel's types say where all of a kind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Who did it, and when that process began.
    Caller,
    /// The network namespace.
    Namespace,
    /// A socket's ends and what kind of socket it is.
    Ends,
    /// A socket's error.
    Error,
    /// A TCP connection's bytes, round trip and end.
    Course,
    /// A packet's headers, length and interface.
    Packet,
}

/// What came of comparing an event's records with what the server did itself at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// There is nothing to compare: a recording, an event that is not traced, or one that has no check.
    None,
    /// They were right.
    Passed,
    /// It could not be done, and why; the event is served.
    Undone(String),
    /// They were wrong, and how; the event is not served.
    Failed(String),
}

/// One traced event and the rung of the ladder that it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// What is traced: `connection`, `packet_drop`, … (the contract's program names).
    pub event: &'static str,
    /// `kprobe`, `fentry`, `tracepoint`, `replay`, or `none`.
    pub rung: &'static str,
    /// Whether it works.
    pub state: HookState,
    /// The better rungs, best first.
    pub refused: Vec<Refusal>,
    /// What is missing on the rung that was taken.
    pub remarks: Vec<String>,
    /// Whether its records are known to be right.
    pub check: Check,
}

impl Hook {
    /// Everything that there is to say about it in one line; empty if it has all that it could have.
    pub fn note(&self) -> String {
        let refused = self.refused.iter().map(|refusal| format!("{}: {}", refusal.rung, refusal.reason));
        let check = match &self.check {
            Check::None | Check::Passed => None,
            Check::Undone(why) => Some(format!("not checked at start: {why}")),
            Check::Failed(how) => Some(format!("disabled, what it reported at start was wrong: {how}")),
        };
        refused.chain(self.remarks.iter().cloned()).chain(check).collect::<Vec<_>>().join("; ")
    }

    /// It is no longer served: what it reported was wrong, and how.
    pub fn disable(&mut self, how: String) {
        (self.rung, self.state, self.check) = ("none", HookState::Unavailable, Check::Failed(how));
    }
}
