//! What a world keeps in memory, counted.

use crate::pool::Pool;
use crate::{World, lock};

/// What a world keeps in memory: numbers of things, for a look from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Messages that are coming in.
    pub transits: usize,
    /// Messages in the spool, those being tried included.
    pub queued: usize,
    /// Mailboxes: those that are open, and some that were.
    pub mailboxes: usize,
    /// IMAP sessions that have one open.
    pub open: usize,
    /// Messages that are being appended to one.
    pub uploads: usize,
    /// Answers of the tables that are remembered (`cache.entries`).
    pub answers: usize,
    /// Questions to them that are under way.
    pub questions: usize,
    /// Logins and clients whose mail is counted.
    pub rates: usize,
    /// Jobs for files, mailboxes and passwords that wait or run.
    pub jobs: usize,
}

impl World {
    /// What is kept in memory now.
    pub fn held(&self) -> Held {
        let inner = &self.inner;
        let [mailboxes, open, uploads] = inner.store.held();
        let (answers, questions) = inner.lookups.held();
        Held {
            transits: inner.transits.len(),
            queued: self.queued(),
            mailboxes,
            open,
            uploads,
            answers,
            questions,
            rates: lock(&inner.rates).len(),
            jobs: [&inner.files, &inner.mailboxes, &inner.passwords].map(Pool::jobs).iter().sum(),
        }
    }
}
