//! Where records come from: a running kernel or a recording. Depends on `domain`, and for what records say on `decode`.

pub mod existing;
pub mod kernel;
mod programs;
mod record;
mod replay;
mod resumed;
mod trace;

pub use programs::OwnPrograms;
pub use record::{Recorder, RecordingHost, RecordingSource};
pub use replay::Replay;
pub use resumed::ResumedSource;
pub use trace::TraceHeader;
