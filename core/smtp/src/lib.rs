#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! SMTP (RFC 5321), as machines.

extern crate alloc;

/// The server side.
pub mod server {
    mod call;
    pub use call::*;
}
