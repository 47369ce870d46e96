#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! (to be written)
extern crate alloc;

/// The MIME structure of a message.
#[derive(Clone, Debug)]
pub struct Structure;
