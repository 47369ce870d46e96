#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! SMTP (RFC 5321), as machines.
//!
//! [`server::Server`] is the server side, to be run by a [`waypost_machine::Session`]. What can go
//! wrong between two servers, and what stands against it here, is told in [`manual`].

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod body;
pub mod error;
pub mod limits;
pub mod manual;
pub mod reply;
pub mod server;
pub mod syntax;
