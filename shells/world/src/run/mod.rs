//! What is done for each call: call in, answer out, in plain steps.
//!
//! | file | what is there |
//! |---|---|
//! | `smtp.rs`, `imap.rs` | the calls of the two servers |
//! | `resolve.rs`, `lookup.rs` | where a recipient leads; what a table says |
//! | `login.rs` | passwords and accounts |
//! | `query.rs` | questions of the admin |
//! | `ask.rs`, `cache.rs` | waiting without a thread; remembering |

mod ask;
mod cache;
pub(crate) mod imap;
pub(crate) mod login;
pub(crate) mod lookup;
pub(crate) mod query;
mod resolve;
pub(crate) mod smtp;
