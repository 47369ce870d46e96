#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The queue of messages that cannot be delivered now: what its files hold, who is tried when and
//! where, and what the sender is told.
//!
//! [`Queue`] is the machine that decides; [`Entry`] is what lies on disk; [`dsn`] writes reports.
//!
//! Nothing here touches a disk or a clock; `shells/world/src/spool` does.

extern crate alloc;
#[cfg(test)]
extern crate std;

mod activate;
mod arrive;
mod attempt;
mod backoff;
mod call;
mod change;
mod command;
mod destination;
mod diagnosis;
pub mod dsn;
mod dsn_text;
mod entry;
mod flow;
mod heap;
mod job;
mod meter;
mod origin;
mod queue;
mod queue_id;
mod record;
mod round;
mod schedule;
mod settings;
mod slab;
mod spool;
mod stop;
mod waiting;

pub use backoff::Backoff;
pub use call::{
    Addressee, Answered, Arrival, Attempted, Call, Command, Duty, Fact, Listed, ListedDestination,
    Notice, Outcome, Persisted, Place, Removed, ReportKind, Reported, Selection, SiteState,
};
pub use change::Change;
pub use destination::{Concurrency, Destination, Feedback, Transport};
pub use diagnosis::{Diagnosis, Remote};
pub use entry::{Entry, EntryError, Fault};
pub use origin::Origin;
pub use queue::Queue;
pub use queue_id::{QueueId, QueueIdError};
pub use settings::Settings;
pub use waiting::{State, Waiting};
