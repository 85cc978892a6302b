//! Calls that have begun and not returned: the value type of the map `INFLIGHT`, which the server reads too.

/// A thread inside a connect call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inflight {
    /// Address of the `struct sock`.
    pub socket: u64,
    /// `CLOCK_MONOTONIC` in ns when the call began.
    pub started_ns: u64,
    /// Destination that the caller named; IPv4 in the first four bytes.
    pub destination: [u8; 16],
    /// Its port in host order.
    pub port: u16,
    /// Its family, or 0.
    pub family: u16,
    /// One of [`phase`].
    pub phase: u32,
}

/// Values of [`Inflight::phase`].
pub mod phase {
    /// Nothing was reported yet.
    pub const CALLED: u32 = 0;
    /// The socket is followed; its outcome comes with a state change.
    pub const FOLLOWED: u32 = 1;
    /// The kernel took the attempt back; the call's return value says why.
    pub const TAKEN_BACK: u32 = 2;
    /// The socket could not be followed: it was counted as lost.
    pub const LOST: u32 = 3;

    /// Whether nothing but the call's return says what became of it.
    pub const fn only_its_return_tells(phase: u32) -> bool {
        matches!(phase, CALLED | TAKEN_BACK)
    }
}

const _: () = assert!(size_of::<Inflight>() == 40);
