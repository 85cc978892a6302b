//! What netspy knows: values without a kernel, a database or a wire in them. Everything else in the server
//! depends on this module; it depends on nothing.

mod clock;
mod close;
mod connection;
mod count;
mod drop_class;
mod errno;
mod existing;
mod filter;
mod history;
mod kernel_names;
mod loss;
mod packet_drop;
mod process;
mod program;
mod source;
mod status;
mod trouble;

pub use clock::Clock;
pub use close::{Close, Ending, Traffic};
pub use connection::{Connection, Direction, Endpoint, Outcome, Stage, Verdict};
pub use count::{Counted, CountedKind, ReasonCounts, Unrecorded};
pub use drop_class::{DropClass, NO_REASON, explain, is_explained};
pub use errno::{errno_name, errno_of_name};
pub use existing::{ExistingSocket, Role as SocketRole};
pub use filter::{End, Filter, Place, Window, as_kernel_keeps, is_short_id};
pub use history::{
    ANSWER_WITHIN, Barrier, Batch, ConnectionCounts, Group, GroupBy, History, HistoryError, Keep, Page,
    Reached, Sink, Sum, Told,
};
pub use kernel_names::KernelNames;
pub use loss::{Loss, LossCounts, LossKind, LossPlace};
pub use packet_drop::{Attribution, PacketDirection, PacketDrop};
pub use process::{Ancestor, Identity, Process, ProcessEvent, ProcessId, Thread};
pub use program::{ProgramCost, Programs};
pub use source::{FlowReading, Host, Input, KeptInput, Rest, Ring, Sockets, Source};
pub use status::{Aspect, Check, Hook, HookState, Refusal};
pub use trouble::{Backlog, Trouble, TroubleKind};
