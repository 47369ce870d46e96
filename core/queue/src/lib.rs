#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The queue of messages that cannot be delivered now: what its files hold, and when to try again.
//!
//! Nothing here touches a disk or a clock; `shells/world/src/spool` does.

extern crate alloc;
#[cfg(test)]
extern crate std;

mod backoff;
mod entry;
mod record;

pub use backoff::Backoff;
pub use entry::{Change, Entry, EntryError, Fault, Origin, Waiting};
