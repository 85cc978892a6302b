//! Who may call over HTTP, how often, and what is written down about it.

pub(super) mod audit;
pub(super) mod caller;
pub(super) mod gate;
pub(super) mod jwt;
pub(super) mod token;
