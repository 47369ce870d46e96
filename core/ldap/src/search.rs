//! What is asked of a directory and what comes back.

use alloc::string::String;
use alloc::vec::Vec;

use crate::dn::{Dn, Scope};
use crate::entry::Entry;
use crate::filter::Filter;

/// A search request (RFC 4511 4.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Where to begin.
    pub base: Dn,
    /// How far to look.
    pub scope: Scope,
    /// Which entries.
    pub filter: Filter,
    /// Which attributes to return; none means all.
    pub attributes: Vec<String>,
    /// At most so many entries; 0 for no limit of ours.
    pub size_limit: u32,
    /// Whether aliases are followed.
    pub deref: Deref,
}

/// When aliases are followed (RFC 4511 4.5.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deref {
    /// Never.
    #[default]
    Never,
    /// Below the base.
    Searching,
    /// At the base.
    Finding,
    /// Both.
    Always,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Entries; with `more`, there were further ones than the size limit, ours or the server's,
    /// allows (result code 4).
    Entries {
        /// Those that came.
        entries: Vec<Entry>,
        /// Whether the limit cut the answer short.
        more: bool,
    },
    /// The base does not exist, or is hidden from us (result code 32).
    NoSuchBase,
    /// Anything else: the directory does not answer, refuses, or failed. Says why.
    Unavailable(String),
}

impl Outcome {
    /// All entries that match.
    pub fn all(entries: Vec<Entry>) -> Self {
        Self::Entries { entries, more: false }
    }
}
