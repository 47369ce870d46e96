#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! SASL mechanisms, server side (RFC 4422).

extern crate alloc;

mod credentials;

pub use credentials::{Credentials, Verified};
