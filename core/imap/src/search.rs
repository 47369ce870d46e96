//! SEARCH criteria, and how a message is held against them.

use alloc::vec::Vec;

/// The criteria of one SEARCH (RFC 9051 6.4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(pub Vec<()>);
