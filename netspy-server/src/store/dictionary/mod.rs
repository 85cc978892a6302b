//! Values that many rows share, each stored once under a number: processes, the programs that they run, and the
//! causes of drops. Rows hold the number, so that they are small and cheap to write.

mod cause;
mod process;
mod program;

pub(super) use cause::{CauseReader, Causes};
pub(super) use process::{ProcessReader, Processes};
pub(super) use program::Programs;
