//! What we need of a directory, whatever it is: searches and password checks.
//!
//! Both answer by callback, so that no thread waits while a directory thinks.
//!
//! | file | what is there |
//! |---|---|
//! | `ldif.rs` | a directory out of an LDIF file, in this process |
//! | `password.rs` | password hashes as `userPassword` holds them (RFC 3112) |
//! | `waypost-ldap3` (a crate of its own) | a directory reached by LDAP |

use std::sync::atomic::{AtomicU64, Ordering};

use waypost_ldap::{Outcome, Search};
use waypost_machine::Secret;

pub mod ldif;
pub mod password;

pub use crate::promise::Sure;
pub use ldif::Ldif;

/// Takes the outcome of a search, once.
pub type SearchDone = Box<dyn FnOnce(Outcome) + Send>;
/// Takes the outcome of a bind, once.
pub type BindDone = Box<dyn FnOnce(Bound) + Send>;

/// Takes the outcome of a check, once: what is well, or what is wrong.
pub type CheckDone = Box<dyn FnOnce(Result<String, String>) + Send>;

/// A directory.
///
/// The callbacks run on a thread of the directory's own (or on the caller's, when the answer is at
/// hand) and must not wait for anything. Each is called exactly once, within the directory's time
/// limit.
pub trait Directory: Send + Sync {
    /// Searches with the directory's own identity.
    fn search(&self, search: Search, done: SearchDone);

    /// Checks a password by binding with a name, most often a DN. An empty password is refused
    /// here, before anything is sent (RFC 4513 5.1.2).
    fn bind(&self, name: &str, password: Secret<Box<str>>, done: BindDone);

    /// What was asked so far.
    fn counters(&self) -> Counts;

    /// Asks whether the directory can be used, with one line about it; for `waypost check`.
    fn check(&self, done: CheckDone);
}

/// The outcome of a bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The password is right.
    Accepted,
    /// Wrong password or no such entry (result code 49, and an empty password): for good.
    Denied,
    /// Anything else: the password may well be right.
    Unavailable {
        /// The LDAP result code, where there was one.
        code: Option<u32>,
        /// What happened, for the admin.
        text: String,
    },
}

/// How many operations a directory was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Searches.
    pub searches: u64,
    /// Binds to check a password.
    pub binds: u64,
}

/// Counts operations.
#[derive(Debug, Default)]
pub struct Counters {
    searches: AtomicU64,
    binds: AtomicU64,
}

impl Counters {
    /// One more search.
    pub fn search(&self) {
        self.searches.fetch_add(1, Ordering::Relaxed);
    }

    /// One more bind.
    pub fn bind(&self) {
        self.binds.fetch_add(1, Ordering::Relaxed);
    }

    /// The sums.
    pub fn read(&self) -> Counts {
        Counts {
            searches: self.searches.load(Ordering::Relaxed),
            binds: self.binds.load(Ordering::Relaxed),
        }
    }
}
