//! Where records come from: a running kernel or a recording. Depends on `domain` only.

pub mod kernel;
mod record;
mod replay;
mod trace;

pub use record::{Recorder, RecordingHost, RecordingSource};
pub use replay::Replay;
pub use trace::TraceHeader;
