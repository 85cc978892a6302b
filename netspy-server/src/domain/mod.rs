//! What netspy knows: values without a kernel, a database or a wire in them. Everything else in the server
//! depends on this module; it depends on nothing.

mod clock;
mod connection;
mod errno;
mod history;
mod loss;
mod packet_drop;
mod process;
mod source;
mod status;

pub use clock::Clock;
pub use connection::{Connection, Endpoint, Outcome, Stage, Verdict};
pub use errno::errno_name;
pub use history::{Barrier, Batch, Filter, History, HistoryError, Page, Sink, Window};
pub use loss::{Loss, LossCounts, LossPlace};
pub use packet_drop::{Attribution, PacketDrop};
pub use process::Process;
pub use source::{Host, Input, Ring, Source};
pub use status::{Hook, HookState};
