#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! SMTP (RFC 5321), as machines.
//!
//! [`server::Server`] is the server side and [`client::Client`] the client side, each to be run by a
//! [`waypost_machine::Session`]. What can go wrong between two servers, and what stands against it
//! here, is told in [`manual`].
//!
//! # What happens after RCPT TO?
//!
//! | step | file | what is there |
//! |---|---|---|
//! | parse, state, limits | core/smtp/src/server/rcpt.rs | syntax → [`server::Call::Recipient`]; below it, the verdict becomes a reply |
//! | run it | shells/world/src/run/smtp.rs, shells/world/src/run/resolve.rs | starts the resolution, answers its lookups |
//! | decide | core/route/src/resolve.rs | relay allowed? class? alias? mailbox? next hop? Written in that order |
//! | look up | shells/world/src/run/lookup.rs → core/ldap/src/table.rs → shells/ldap/src/search.rs | cache, filter, escaping, result mapping, the directory |
//! | words | core/mail/src/verdict.rs, core/route/src/reply.rs, core/smtp/src/reply.rs | 250 2.1.5, 550 5.1.1, 451 4.3.0 |
//! | example | conformance/sessions/smtp/24-unknown-recipients.txt | each outcome, as a dialogue |

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod body;
pub mod client;
pub mod error;
pub mod limits;
pub mod manual;
pub mod reply;
pub mod server;
pub mod syntax;
