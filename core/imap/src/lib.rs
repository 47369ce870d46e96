#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! IMAP4rev1 (RFC 3501), as a machine.

extern crate alloc;

pub mod search;

/// The server side.
pub mod server {
    mod call;
    pub use call::*;
}
