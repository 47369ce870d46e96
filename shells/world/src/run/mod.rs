//! What is done for each call: call in, answer out, in plain steps.
//!
//! | file | what is there |
//! |---|---|
//! | `smtp.rs`, `imap.rs` | the calls of the two servers |
//! | `message.rs`, `header.rs` | a message on its way into mailboxes or the spool |
//! | `submission.rs` | what is done to a message because a user sends it |
//! | `rate.rs` | how much one user, or one client, may send |
//! | `srs.rs` | how forwarded mail leaves, and how its failure notices come back |
//! | `queue/`, `queue_id.rs` | messages that were not delivered at once; names of messages |
//! | `resolve.rs`, `lookup.rs` | where a recipient leads; what a table says |
//! | `login.rs` | passwords and accounts |
//! | `query.rs` | questions of the admin |
//! | `ask.rs`, `cache.rs` | waiting without a thread; remembering |

mod ask;
mod cache;
mod header;
pub(crate) mod imap;
pub(crate) mod login;
pub(crate) mod lookup;
pub(crate) mod message;
pub(crate) mod query;
pub(crate) mod queue;
pub(crate) mod queue_id;
mod rate;
mod resolve;
pub(crate) mod smtp;
pub(crate) mod srs;
mod submission;
