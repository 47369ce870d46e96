#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! IMAP4rev1 (RFC 3501), as a machine.
//!
//! [`server::Server`] is the protocol; what it needs of the world stands in [`server::Call`].

extern crate alloc;
#[cfg(test)]
extern crate std;

mod config;
mod frame;
pub mod manual;
mod response;
pub mod search;
pub mod server;
mod state;
pub mod syntax;
mod view;

pub use config::Config;
