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

mod backoff;
mod call;
mod command;
mod destination;
mod diagnosis;
pub mod dsn;
mod dsn_text;
mod entry;
mod heap;
mod meter;
mod queue;
mod queue_id;
mod record;
mod round;
mod schedule;
mod settings;
mod slab;

pub use backoff::Backoff;
pub use call::{
    Addressee, Answered, Arrival, Attempted, Call, Command, Duty, Fact, Listed, ListedDestination,
    Notice, Outcome, Persisted, Place, Removed, ReportKind, Reported, Selection, SiteState,
};
pub use destination::{Concurrency, Destination, Feedback, Transport};
pub use diagnosis::{Diagnosis, Remote};
pub use entry::{Change, Entry, EntryError, Fault, Origin, State, Waiting};
pub use queue::Queue;
pub use queue_id::{QueueId, QueueIdError};
pub use settings::Settings;
